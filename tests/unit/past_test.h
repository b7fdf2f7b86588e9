/* past_test.h - a past told of as text, records made by hand, and what must
 * hold of any past; for the tests of past.h. */
#ifndef POST_TESTS_UNIT_PAST_TEST_H
#define POST_TESTS_UNIT_PAST_TEST_H

#include "store/past.h"

#include "overlay/base/rng.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define T0 INT64_C(1790000000000000000)

/* Device i of a test: its id shows in suffixes as "0000000i". */
static inline struct id
test_device(unsigned i)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	id.b[3] = (uint8_t)i;
	return id;
}

/* Text that grows. */
struct text {
	char *s;
	size_t len, cap;
};

static inline void __attribute__((format(printf, 2, 3)))
say(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	for (;;) {
		if (!t->s) {
			t->cap = 256;
			t->s = malloc(t->cap);
			assert_non_null(t->s);
		}
		va_start(ap, fmt);
		n = vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
		va_end(ap);
		assert_true(n >= 0);
		if ((size_t)n < t->cap - t->len)
			break;
		t->cap = 2 * t->cap + (size_t)n + 1;
		t->s = realloc(t->s, t->cap);
		assert_non_null(t->s);
	}
	t->len += (size_t)n;
}

static inline uint64_t
device_of(const struct past *p, uint64_t number, uint64_t *its)
{
	struct id id;

	past_origin(p, number, &id, its);
	return id.b[3];
}

/* Everything that is the same wherever the past is made: not numbers, which
 * depend on whose it is, nor cookies. */
static inline void
tell(const struct past *p, uint64_t dir, const char *path, bool all,
    struct text *t)
{
	struct past_walk w;
	struct entry e;
	enum err err;

	assert_int_equal(past_walk_init(&w, p, dir, 0), OK);
	while ((err = past_walk_next(&w, &e)) == OK) {
		const uint8_t *row;
		struct inode in;
		uint64_t its = 0, device;
		char below[4096];
		size_t len;

		assert_int_equal(past_inode(p, e.ino, &in), OK);
		device = e.ino == ULOG_ROOT ? 0 : device_of(p, e.ino, &its);
		say(t, "%s%s%s %u:%u", path, e.name,
		    S_ISDIR(in.mode) ? "/" : "", (unsigned)device,
		    (unsigned)its);
		if (all) {
			assert_int_equal(past_xattrs(p, e.ino, &row, &len), OK);
			say(t, " %o %u %u n%u s%llu r%llu m%lld c%lld b%lld x",
			    in.mode, in.uid, in.gid, in.nlink,
			    (unsigned long long)in.size,
			    (unsigned long long)in.rdev,
			    (long long)in.mtime_ns, (long long)in.ctime_ns,
			    (long long)in.btime_ns);
			for (size_t i = 0; i < len; i++)
				say(t, "%02x", row[i]);
			say(t, " ");
			for (size_t i = 0; i < in.content.len; i++)
				say(t, "%02x", in.content.bytes[i]);
		}
		say(t, "\n");
		if (!S_ISDIR(in.mode))
			continue;
		snprintf(below, sizeof(below), "%s%s/", path, e.name);
		tell(p, e.ino, below, all, t);
	}
	assert_int_equal(err, ERR_ABSENT);
}

static inline char *
told(const struct past *p, bool all)
{
	struct text t = { 0 };

	say(&t, "%s", "");
	tell(p, ULOG_ROOT, "", all, &t);
	return t.s;
}

/* ---- what must hold ----------------------------------------------------- */

struct sums {
	uint64_t entries, directories;
	uint32_t depth;
};

static inline void
check_dir(const struct past *p, uint64_t dir, struct sums *sums)
{
	uint64_t before = 0;
	uint32_t subdirs = 0;
	struct past_walk w;
	struct inode in;
	struct entry e, found;

	assert_true(++sums->depth < 1000); /* a cycle would not end */
	sums->directories++;
	assert_int_equal(past_walk_init(&w, p, dir, 0), OK);
	while (past_walk_next(&w, &e) == OK) {
		char path[8192], *slash;
		struct past_walk from;

		sums->entries++;
		assert_int_equal(e.dir, dir);
		assert_true(e.cookie > before);
		assert_int_equal(
		    past_lookup(p, dir, e.name, e.name_len, &found), OK);
		assert_memory_equal(&e, &found, sizeof(e));
		assert_int_equal(past_walk_init(&from, p, dir, before), OK);
		assert_int_equal(past_walk_next(&from, &found), OK);
		assert_memory_equal(&e, &found, sizeof(e));
		before = e.cookie;
		assert_int_equal(past_inode(p, e.ino, &in), OK);
		assert_int_equal(e.type, in.mode >> 12);
		assert_int_equal(in.ino, e.ino);
		assert_int_equal(
		    past_path(p, e.ino, path, sizeof(path)), OK);
		if (in.nlink == 1 || S_ISDIR(in.mode)) {
			slash = strrchr(path, '/');
			assert_string_equal(slash ? slash + 1 : path, e.name);
		}
		if (S_ISDIR(in.mode)) {
			assert_int_equal(in.parent, dir);
			assert_int_equal(in.shared_links, 1);
			subdirs++;
			check_dir(p, e.ino, sums);
		}
	}
	assert_int_equal(past_inode(p, dir, &in), OK);
	assert_int_equal(in.nlink, 2 + subdirs);
	sums->depth--;
}

static inline void
check(const struct past *p)
{
	struct sums sums = { 0 };
	struct past_stats stats;

	check_dir(p, ULOG_ROOT, &sums);
	past_stats(p, &stats);
	assert_int_equal(stats.entries, sums.entries);
	assert_true(stats.objects >= sums.directories &&
	    stats.objects <= sums.entries + 1);
}

/* ---- records by hand ---------------------------------------------------- */

/* Records of devices 1, 2, ... one after another; objects are dev * 100 + n,
 * the root 0. */
struct script {
	struct past *p;
	struct id table[10];
	uint64_t lamport;
};

static inline void
script_init(struct script *s, unsigned logs)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 10; i++)
		s->table[i] = test_device(i);
	assert_int_equal(past_new(&s->table[1], logs, 0, &s->p), OK);
}

static inline struct ulog_oid
oid(unsigned name)
{
	return (struct ulog_oid){ name / 100, name % 100 };
}

static inline void
script_apply(struct script *s, struct ulog_record *r)
{
	r->lamport = ++s->lamport;
	r->time_ns = T0 + (int64_t)s->lamport * 1000;
	assert_int_equal(past_apply(s->p, r, s->table, 10), OK);
	check(s->p);
}

static inline void
name_record(struct script *s, enum ulog_op op, unsigned object, unsigned dir,
    const char *name, uint32_t mode)
{
	struct ulog_record r;

	memset(&r, 0, sizeof(r));
	r.op = op;
	r.object = oid(object);
	r.dir = oid(dir);
	r.name = name;
	r.name_len = strlen(name);
	r.mode = mode;
	r.mtime_ns = r.ctime_ns = T0 + (int64_t)(s->lamport + 1) * 1000;
	script_apply(s, &r);
}

static inline void
mail(struct script *s, unsigned object, unsigned dir, const char *name)
{
	name_record(s, ULOG_CREATE, object, dir, name, S_IFREG | 0600);
}

static inline void
make_dir(struct script *s, unsigned object, unsigned dir, const char *name)
{
	name_record(s, ULOG_CREATE, object, dir, name, S_IFDIR | 0700);
}

static inline void
link_to(struct script *s, unsigned object, unsigned dir, const char *name)
{
	name_record(s, ULOG_LINK, object, dir, name, 0);
}

static inline void
unlink_it(struct script *s, unsigned object, unsigned dir, const char *name)
{
	name_record(s, ULOG_UNLINK, object, dir, name, 0);
}

/* over: 0 for none */
static inline void
move(struct script *s, enum ulog_op op, unsigned object, unsigned dir,
    const char *name, unsigned to_dir, const char *to_name, unsigned over)
{
	struct ulog_record r;

	memset(&r, 0, sizeof(r));
	r.op = op;
	r.object = oid(object);
	r.dir = oid(dir);
	r.name = name;
	r.name_len = strlen(name);
	r.to_dir = oid(to_dir);
	r.to_name = to_name;
	r.to_name_len = strlen(to_name);
	r.has_over = over != 0;
	if (over)
		r.over = oid(over);
	script_apply(s, &r);
}

static inline void
rename_it(struct script *s, unsigned object, unsigned dir, const char *name,
    unsigned to_dir, const char *to_name, unsigned over)
{
	move(s, ULOG_RENAME, object, dir, name, to_dir, to_name, over);
}

static inline void
script_is(struct script *s, const char *want)
{
	char *got = told(s->p, false);

	assert_string_equal(got, want);
	free(got);
}

static inline uint64_t
script_ignored(struct script *s)
{
	struct past_stats stats;

	past_stats(s->p, &stats);
	return stats.ignored;
}

static inline uint64_t
script_number(struct script *s, unsigned object)
{
	uint64_t number;

	assert_int_equal(past_number(s->p, &s->table[object / 100],
			     object % 100, &number),
	    OK);
	return number;
}

#endif
