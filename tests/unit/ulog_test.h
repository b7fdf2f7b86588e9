/* ulog_test.h - records to test with, random and fixed, and how to compare
 * them; for the tests of the user log's formats. */
#ifndef POST_TESTS_UNIT_ULOG_TEST_H
#define POST_TESTS_UNIT_ULOG_TEST_H

#include "store/ulog.h"

#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define NS INT64_C(1000000000)
#define DEVICES 5u
#define T0 INT64_C(1790000000123456789)

static inline uint8_t *
exact(const void *bytes, size_t len)
{
	uint8_t *p = malloc(len ? len : 1);

	assert_non_null(p);
	if (len)
		memcpy(p, bytes, len);
	return p;
}

static inline void
assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	char *got = malloc(2 * len + 1);

	assert_non_null(got);
	for (size_t i = 0; i < len; i++)
		snprintf(got + 2 * i, 3, "%02x", bytes[i]);
	got[2 * len] = '\0';
	assert_string_equal(got, hex);
	free(got);
}

static inline void
fill_id(struct id *id, unsigned n)
{
	memset(id, 0, sizeof(*id));
	id->b[0] = (uint8_t)(n >> 8);
	id->b[31] = (uint8_t)n;
}

struct arena { /* what a random record's pointers lead to */
	char name[ULOG_NAME_MAX], to_name[ULOG_NAME_MAX];
	uint8_t value[2000];
};

static inline uint64_t
random_number(struct rng *g)
{
	switch (rng_below(g, 4)) {
	case 0:
		return 1 + rng_below(g, 3);
	case 1:
		return ULOG_NUMBER_MAX - rng_below(g, 3);
	default:
		return 1 + rng_below(g, UINT64_C(1) << rng_below(g, 56));
	}
}

static inline struct ulog_oid
random_oid(struct rng *g)
{
	struct ulog_oid o = { 0, random_number(g) };

	if (rng_below(g, 3) == 0)
		o.device = (uint32_t)rng_below(g, DEVICES);
	return o;
}

static inline struct ulog_oid
random_dir(struct rng *g, const struct ulog_prev *prev)
{
	switch (rng_below(g, 5)) {
	case 0:
		return (struct ulog_oid){ 0, ULOG_ROOT };
	case 1:
		return prev->dir;
	case 2:
		return prev->to_dir;
	default:
		return random_oid(g);
	}
}

static inline size_t
random_name(struct rng *g, char name[ULOG_NAME_MAX])
{
	size_t len = 1 + rng_below(g, rng_below(g, 8) ? 60 : ULOG_NAME_MAX);

	for (size_t i = 0; i < len; i++) {
		name[i] = (char)rng_u64(g);
		if (name[i] == '/' || name[i] == '\0')
			name[i] = 'x';
	}
	if (name[0] == '.' && len <= 2)
		name[0] = '_';
	return len;
}

static inline int64_t
random_time(struct rng *g, int64_t near)
{
	switch (rng_below(g, 6)) {
	case 0:
		return (int64_t)rng_u64(g);
	case 1:
		return (int64_t)rng_below(g, 2000000000) * NS;
	case 2:
		return rng_below(g, 2) ? INT64_MIN : INT64_MAX;
	case 3:
		return -(int64_t)rng_below(g, 2000000000) * NS;
	default:
		return (int64_t)((uint64_t)near + rng_below(g, 1000000) - 500);
	}
}

static inline uint32_t
random_mode(struct rng *g, const struct ulog_prev *prev)
{
	static const uint32_t type[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR,
		S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };

	if (prev->mode && rng_below(g, 2))
		return prev->mode;
	return type[rng_below(g, 9)] | (uint32_t)rng_below(g, 010000);
}

static inline void
random_content(struct rng *g, struct ulog_record *r)
{
	r->size = rng_u64(g) >> rng_below(g, 64);
	r->content.len = (uint16_t)rng_below(g, CONTENT_MAX + 1);
	for (unsigned i = 0; i < r->content.len; i++)
		r->content.bytes[i] = (uint8_t)rng_u64(g);
}

static inline void
random_times(struct rng *g, struct ulog_record *r)
{
	r->mtime_ns = rng_below(g, 2) ? r->time_ns : random_time(g, r->time_ns);
	r->ctime_ns = rng_below(g, 2) ? r->time_ns : random_time(g, r->time_ns);
	if (rng_below(g, 4) == 0)
		r->ctime_ns = r->mtime_ns;
}

static inline void
random_record(struct rng *g, const struct ulog_prev *prev, struct arena *a,
    struct ulog_record *r)
{
	memset(r, 0, sizeof(*r));
	r->op = 1 + (enum ulog_op)rng_below(g, ULOG_OP_END - 1);
	r->lamport = prev->lamport + 1 + (rng_below(g, 2) ? 0 : rng_below(g, 9));
	r->time_ns = random_time(g, prev->time_ns);
	r->object = random_oid(g);
	if (r->op != ULOG_CONTENT && r->op != ULOG_SETATTR) {
		r->name = a->name;
		r->name_len = random_name(g, a->name);
	}
	if (r->name && r->op != ULOG_XATTR)
		r->dir = random_dir(g, prev);
	switch (r->op) {
	case ULOG_CREATE:
		if (rng_below(g, 2))
			r->object = (struct ulog_oid){ 0, prev->created + 1 };
		if (r->object.number > ULOG_NUMBER_MAX)
			r->object.number = 1;
		/* fallthrough */
	case ULOG_SETATTR:
		r->mode = random_mode(g, prev);
		r->uid = rng_below(g, 2) ? prev->uid : (uint32_t)rng_u64(g);
		r->gid = rng_below(g, 2) ? prev->gid : (uint32_t)rng_u64(g);
		random_times(g, r);
		if (r->op == ULOG_SETATTR)
			break;
		if (S_ISCHR(r->mode) || S_ISBLK(r->mode))
			r->rdev = rng_u64(g) >> rng_below(g, 64);
		r->has_content = (S_ISREG(r->mode) || S_ISLNK(r->mode)) &&
		    rng_below(g, 4);
		if (r->has_content)
			random_content(g, r);
		break;
	case ULOG_CONTENT:
		random_times(g, r);
		random_content(g, r);
		break;
	case ULOG_RENAME:
	case ULOG_EXCHANGE:
		r->to_dir = rng_below(g, 2) ? r->dir : random_dir(g, prev);
		r->to_name = a->to_name;
		r->to_name_len = random_name(g, a->to_name);
		r->has_over = rng_below(g, 2);
		if (r->has_over)
			r->over = random_oid(g);
		break;
	case ULOG_XATTR:
		if (rng_below(g, 3) == 0)
			break;
		r->value = a->value;
		r->value_len = rng_below(g, sizeof(a->value) + 1);
		for (size_t i = 0; i < r->value_len; i++)
			a->value[i] = (uint8_t)rng_u64(g);
		break;
	default:
		break;
	}
}

static inline void
assert_oid(struct ulog_oid a, struct ulog_oid b)
{
	assert_int_equal(a.device, b.device);
	assert_int_equal(a.number, b.number);
}

static inline void
assert_same(const struct ulog_record *a, const struct ulog_record *b)
{
	assert_int_equal(a->op, b->op);
	assert_int_equal(a->lamport, b->lamport);
	assert_int_equal(a->time_ns, b->time_ns);
	assert_oid(a->object, b->object);
	assert_oid(a->dir, b->dir);
	assert_oid(a->to_dir, b->to_dir);
	assert_int_equal(a->name_len, b->name_len);
	if (a->name_len)
		assert_memory_equal(a->name, b->name, a->name_len);
	assert_int_equal(a->to_name_len, b->to_name_len);
	if (a->to_name_len)
		assert_memory_equal(a->to_name, b->to_name, a->to_name_len);
	assert_int_equal(a->has_over, b->has_over);
	assert_oid(a->over, b->over);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->rdev, b->rdev);
	assert_int_equal(a->mtime_ns, b->mtime_ns);
	assert_int_equal(a->ctime_ns, b->ctime_ns);
	assert_int_equal(a->has_content, b->has_content);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->content.len, b->content.len);
	assert_memory_equal(a->content.bytes, b->content.bytes, CONTENT_MAX);
	assert_int_equal(!a->value, !b->value);
	assert_int_equal(a->value_len, b->value_len);
	if (a->value_len)
		assert_memory_equal(a->value, b->value, a->value_len);
}

static inline void
a_mail(struct ulog_record *r, uint64_t lamport, uint64_t number)
{
	static const char name[] =
	    "1790000000.M123456P4711.mail.rice.example,S=10240:2";

	memset(r, 0, sizeof(*r));
	r->op = ULOG_CREATE;
	r->lamport = lamport;
	r->time_ns = T0 + (int64_t)lamport * 731234567;
	r->object.number = number;
	r->dir.number = 7;
	r->name = name;
	r->name_len = sizeof(name) - 1;
	r->mode = S_IFREG | 0600;
	r->uid = r->gid = 1000;
	r->mtime_ns = r->time_ns - 3456789;
	r->ctime_ns = r->time_ns;
	r->has_content = true;
	r->size = 10240;
	r->content.len = 70;
	for (unsigned i = 0; i < 70; i++)
		r->content.bytes[i] = (uint8_t)(i * 37);
}

static inline void
set_name(struct ulog_record *r, const char *name)
{
	r->name = name;
	r->name_len = strlen(name);
}

static inline void
set_to_name(struct ulog_record *r, const char *name)
{
	r->to_name = name;
	r->to_name_len = strlen(name);
}

/* One of each op; the order and values are part of the golden vector. */
static inline unsigned
each_op(struct ulog_record r[8])
{
	static const uint8_t value[] = { 1, 2, 3 };

	memset(r, 0, 8 * sizeof(*r));
	for (unsigned i = 0; i < 8; i++) {
		r[i].op = ULOG_CREATE + i;
		r[i].lamport = 10 + i + (i > 3);
		r[i].time_ns = T0 + i;
		r[i].object = (struct ulog_oid){ i == 5 ? 2 : 0, 300 + i };
		r[i].mtime_ns = r[i].ctime_ns = 0;
		r[i].dir = (struct ulog_oid){ 0, 0 };
	}
	r[0].dir = r[2].dir = (struct ulog_oid){ 1, 9 };
	set_name(&r[0], "new");
	r[0].mode = S_IFREG | 0644;
	r[0].uid = 1000;
	r[0].mtime_ns = 5 * NS;
	r[0].ctime_ns = T0 - 1;
	r[0].has_content = true;
	r[0].size = 3;
	r[0].content.len = 2;
	memcpy(r[0].content.bytes, "\x01\x61", 2);
	r[1].mtime_ns = T0 - 100;
	r[1].ctime_ns = r[1].mtime_ns;
	r[1].size = 1000;
	set_name(&r[2], "link");
	set_name(&r[3], "gone");
	set_name(&r[4], "a");
	r[4].to_dir = (struct ulog_oid){ 1, 9 };
	set_to_name(&r[4], "b");
	r[4].has_over = true;
	r[4].over = (struct ulog_oid){ 3, 290 };
	set_name(&r[5], "c");
	r[5].to_dir = (struct ulog_oid){ 1, 9 };
	set_to_name(&r[5], "d");
	r[5].has_over = true;
	r[5].over = (struct ulog_oid){ 0, 306 };
	r[6].mode = S_IFREG | 0600;
	r[6].uid = 1000;
	r[6].gid = 8;
	r[6].mtime_ns = r[6].time_ns;
	r[6].ctime_ns = r[6].time_ns;
	set_name(&r[7], "user.tag");
	r[7].value = value;
	r[7].value_len = sizeof(value);
	return 8;
}

#endif
