/* One suite for both disks: what disk.h promises holds on the real file
 * system and on the simulated one; then what only one of them can do. */
#include "store/disk.h"

#include "overlay/base/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)

struct world {
	struct disk *d;
	char path[64]; /* of the real one; "" for the simulated */
};

static int
real_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	snprintf(w->path, sizeof(w->path), "/tmp/post-disk-XXXXXX");
	assert_non_null(mkdtemp(w->path));
	must(disk_posix_open(w->path, &w->d));
	*state = w;
	return 0;
}

static int
mem_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	must(disk_mem_new(7, &w->d));
	*state = w;
	return 0;
}

struct below {
	struct disk *d;
	const char *dir;
};

static enum err
remove_one(void *arg, const char *entry)
{
	const struct below *b = arg;
	struct below in;
	char name[512];

	snprintf(
	    name, sizeof(name), "%s%s%s", b->dir, *b->dir ? "/" : "", entry);
	if (disk_unlink(b->d, name) == OK)
		return OK;
	in = (struct below){ b->d, name };
	return disk_list(b->d, name, remove_one, &in);
}

/* All files; directories stay. */
static void
remove_all(struct disk *d)
{
	struct below b = { d, "" };

	must(disk_list(d, "", remove_one, &b));
}

static int
teardown(void **state)
{
	struct world *w = *state;
	char command[128];

	remove_all(w->d);
	disk_close(w->d);
	if (*w->path) {
		snprintf(command, sizeof(command),
		    "find %s -depth -type d -empty -delete", w->path);
		assert_int_equal(system(command), 0);
	}
	free(w);
	return 0;
}

static struct disk *
disk_in(void **state)
{
	return ((struct world *)*state)->d;
}

static struct disk *
new_disk(void **state, uint64_t seed)
{
	struct world *w = *state;

	disk_close(w->d);
	must(disk_mem_new(seed, &w->d));
	return w->d;
}

static struct disk_file *
opened(struct disk *d, const char *name, enum disk_mode mode)
{
	struct disk_file *f = NULL;

	must(disk_open(d, name, mode, &f));
	assert_non_null(f);
	return f;
}

static void
put(struct disk_file *f, uint64_t off, const char *text)
{
	must(disk_write(f, off, text, strlen(text)));
}

static void
expect(struct disk_file *f, const char *bytes, size_t len)
{
	char *buf = malloc(len + 1);
	uint64_t size;
	size_t got;

	assert_non_null(buf);
	must(disk_size(f, &size));
	assert_int_equal(size, len);
	must(disk_read(f, 0, buf, len + 1, &got));
	assert_int_equal(got, len);
	assert_memory_equal(buf, bytes, len);
	free(buf);
}

static void
make_file(struct disk *d, const char *name, const char *text)
{
	struct disk_file *f = opened(d, name, DISK_EXCL);

	put(f, 0, text);
	must(disk_sync(f));
	disk_file_close(f);
}

/* "-" if the file is not there. */
static void
slurp(struct disk *d, const char *name, char *buf, size_t cap)
{
	struct disk_file *f = NULL;
	enum err e = disk_open(d, name, DISK_READ, &f);
	size_t got = 1;

	if (e == ERR_ABSENT) {
		buf[0] = '-';
	} else {
		must(e);
		must(disk_read(f, 0, buf, cap - 1, &got));
		disk_file_close(f);
	}
	buf[got] = '\0';
}

static void
expect_file(struct disk *d, const char *name, const char *text)
{
	char buf[256];

	slurp(d, name, buf, sizeof(buf));
	assert_string_equal(buf, text);
}

static enum err
join(void *arg, const char *entry)
{
	char *all = arg;
	size_t len = strlen(all);

	snprintf(all + len, 256 - len, "%s ", entry);
	return OK;
}

static void
expect_names(struct disk *d, const char *dir, const char *names)
{
	char all[256] = "";

	must(disk_list(d, dir, join, all));
	assert_string_equal(all, names);
}

/* ---- both --------------------------------------------------------------- */

static void
a_mode_says_whether_the_file_must_exist(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = NULL;

	assert_int_equal(disk_open(d, "a", DISK_READ, &f), ERR_ABSENT);
	assert_int_equal(disk_open(d, "a", DISK_WRITE, &f), ERR_ABSENT);
	assert_null(f);
	f = opened(d, "a", DISK_EXCL);
	put(f, 0, "one");
	disk_file_close(f);
	f = NULL;
	assert_int_equal(disk_open(d, "a", DISK_EXCL, &f), ERR_EXISTS);
	assert_null(f);
	f = opened(d, "a", DISK_CREATE);
	expect(f, "one", 3);
	disk_file_close(f);
	f = opened(d, "a", DISK_WRITE);
	put(f, 0, "two");
	disk_file_close(f);
	expect_file(d, "a", "two");
	disk_file_close(NULL);
}

static void
a_directory_is_no_file_and_a_file_no_directory(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = NULL;
	char all[256] = "";

	must(disk_mkdir(d, "dir"));
	assert_int_equal(disk_open(d, "dir", DISK_READ, &f), ERR_DENIED);
	assert_int_equal(disk_open(d, "dir", DISK_WRITE, &f), ERR_DENIED);
	assert_int_equal(disk_open(d, "dir", DISK_CREATE, &f), ERR_DENIED);
	assert_int_equal(disk_open(d, "dir", DISK_EXCL, &f), ERR_EXISTS);
	assert_int_equal(disk_unlink(d, "dir"), ERR_DENIED);
	assert_int_equal(disk_mkdir(d, "dir"), ERR_EXISTS);
	make_file(d, "file", "x");
	assert_int_equal(disk_open(d, "file/x", DISK_CREATE, &f), ERR_ABSENT);
	assert_int_equal(disk_mkdir(d, "file/x"), ERR_ABSENT);
	assert_int_equal(disk_mkdir(d, "file"), ERR_EXISTS);
	assert_int_equal(disk_list(d, "file", join, all), ERR_ABSENT);
	assert_int_equal(disk_sync_dir(d, "file"), ERR_ABSENT);
	assert_null(f);
}

static void
what_is_in_a_missing_directory_is_absent(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = NULL;
	char all[256] = "";

	assert_int_equal(disk_open(d, "no/a", DISK_CREATE, &f), ERR_ABSENT);
	assert_int_equal(disk_mkdir(d, "no/a"), ERR_ABSENT);
	assert_int_equal(disk_unlink(d, "no/a"), ERR_ABSENT);
	assert_int_equal(disk_unlink(d, "a"), ERR_ABSENT);
	assert_int_equal(disk_rename(d, "no/a", "b"), ERR_ABSENT);
	make_file(d, "a", "x");
	assert_int_equal(disk_rename(d, "a", "no/b"), ERR_ABSENT);
	assert_int_equal(disk_rename(d, "b", "a"), ERR_ABSENT);
	assert_int_equal(disk_list(d, "no", join, all), ERR_ABSENT);
	assert_int_equal(disk_sync_dir(d, "no"), ERR_ABSENT);
	assert_null(f);
	expect_file(d, "a", "x");
}

static void
reads_past_the_end_are_short(void **state)
{
	struct disk_file *f = opened(disk_in(state), "a", DISK_CREATE);
	static const uint64_t past[] = { 5, 1u << 20, INT64_MAX - 2, INT64_MAX,
		UINT64_MAX };
	char buf[8];
	size_t got;

	put(f, 0, "hello");
	must(disk_read(f, 3, buf, 8, &got));
	assert_int_equal(got, 2);
	assert_memory_equal(buf, "lo", 2);
	for (unsigned i = 0; i < sizeof(past) / sizeof(*past); i++) {
		got = 1;
		must(disk_read(f, past[i], buf, 8, &got));
		assert_int_equal(got, 0);
	}
	must(disk_read(f, 0, buf, 0, &got));
	assert_int_equal(got, 0);
	disk_file_close(f);
}

static void
a_gap_reads_as_zeros(void **state)
{
	struct disk_file *f = opened(disk_in(state), "a", DISK_CREATE);

	put(f, 4, "x");
	expect(f, "\0\0\0\0x", 5);
	must(disk_truncate(f, 2));
	expect(f, "\0\0", 2);
	put(f, 0, "abcdef");
	must(disk_truncate(f, 3));
	must(disk_truncate(f, 6));
	expect(f, "abc\0\0\0", 6);
	disk_file_close(f);
}

static void
a_write_no_file_can_hold_is_refused(void **state)
{
	struct disk_file *f = opened(disk_in(state), "a", DISK_CREATE);

	assert_int_equal(disk_write(f, UINT64_MAX, "x", 1), ERR_NOSPACE);
	assert_int_equal(disk_write(f, INT64_MAX, "x", 1), ERR_NOSPACE);
	assert_int_equal(disk_truncate(f, UINT64_MAX), ERR_NOSPACE);
	must(disk_write(f, 5, "x", 0));
	expect(f, "", 0);
	disk_file_close(f);
}

static void
two_openings_see_one_file(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *a = opened(d, "a", DISK_CREATE);
	struct disk_file *b = opened(d, "a", DISK_READ);

	put(a, 0, "shared");
	expect(b, "shared", 6);
	must(disk_sync(b));
	disk_file_close(a);
	expect(b, "shared", 6);
	disk_file_close(b);
}

static void
an_unlinked_file_lives_while_it_is_open(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = opened(d, "a", DISK_CREATE);

	put(f, 0, "still");
	must(disk_unlink(d, "a"));
	expect_names(d, "", "");
	put(f, 5, " here");
	expect(f, "still here", 10);
	make_file(d, "a", "new");
	expect(f, "still here", 10);
	disk_file_close(f);
	expect_file(d, "a", "new");
}

static void
a_rename_replaces(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f;

	make_file(d, "a", "old");
	make_file(d, "b", "new");
	f = opened(d, "a", DISK_READ);
	must(disk_rename(d, "b", "a"));
	expect_file(d, "a", "new");
	expect_file(d, "b", "-");
	expect(f, "old", 3);
	disk_file_close(f);
	must(disk_rename(d, "a", "a"));
	expect_file(d, "a", "new");
	must(disk_mkdir(d, "dir"));
	must(disk_rename(d, "a", "dir/c"));
	expect_names(d, "", "dir ");
	expect_names(d, "dir", "c ");
	expect_file(d, "dir/c", "new");
}

static void
a_directory_moves_with_what_is_in_it(void **state)
{
	struct disk *d = disk_in(state);

	must(disk_mkdir(d, "a"));
	must(disk_mkdir(d, "b"));
	must(disk_mkdir(d, "c"));
	make_file(d, "a/x", "x");
	make_file(d, "c/y", "y");
	make_file(d, "f", "f");
	assert_int_equal(disk_rename(d, "a", "c"), ERR_EXISTS);
	assert_int_equal(disk_rename(d, "a", "f"), ERR_EXISTS);
	assert_int_equal(disk_rename(d, "f", "b"), ERR_EXISTS);
	assert_int_equal(disk_rename(d, "a", "a/z"), ERR_DENIED);
	must(disk_rename(d, "a", "b")); /* which is empty */
	must(disk_rename(d, "b", "c/d"));
	expect_names(d, "", "c f ");
	expect_names(d, "c", "d y ");
	expect_file(d, "c/d/x", "x");
}

static enum err
stop_at_b(void *arg, const char *entry)
{
	unsigned *calls = arg;

	++*calls;
	return strcmp(entry, "b") == 0 ? ERR_AGAIN : OK;
}

static void
a_list_is_sorted_and_stops_at_an_error(void **state)
{
	struct disk *d = disk_in(state);
	unsigned calls = 0;

	make_file(d, "c", "");
	make_file(d, "a", "");
	make_file(d, "aa", "");
	must(disk_mkdir(d, "b"));
	make_file(d, "B", "");
	expect_names(d, "", "B a aa b c ");
	expect_names(d, ".", "B a aa b c ");
	expect_names(d, "b", "");
	assert_int_equal(disk_list(d, "", stop_at_b, &calls), ERR_AGAIN);
	assert_int_equal(calls, 4);
}

static void
a_listing_may_remove_what_it_is_shown(void **state)
{
	struct disk *d = disk_in(state);
	char name[16];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%02u", i);
		make_file(d, name, "x");
	}
	remove_all(d);
	expect_names(d, "", "");
}

static void
free_space_is_a_part_of_the_whole(void **state)
{
	uint64_t left = 0, total = 0;

	must(disk_free(disk_in(state), &left, &total));
	assert_true(total > 0);
	assert_true(left <= total);
}

/* Against a plain array, so that no mix of calls is left out. */
static void
random_changes_leave_what_an_array_would_hold(void **state)
{
	enum { MAX = 20000 };
	static uint8_t shadow[MAX], buf[MAX];
	struct disk_file *f = opened(disk_in(state), "a", DISK_CREATE);
	uint64_t off, len, size = 0;
	struct rng rng;
	size_t got;

	memset(shadow, 0, sizeof(shadow));
	rng_init(&rng, 11);
	for (unsigned i = 0; i < 3000; i++) {
		off = rng_below(&rng, MAX);
		len = rng_below(&rng, MAX - off);
		switch (rng_below(&rng, 8)) {
		case 0:
			must(disk_truncate(f, off));
			if (off < size)
				memset(shadow + off, 0, MAX - off);
			size = off;
			break;
		case 1:
			if (i % 10 == 0)
				must(disk_sync(f));
			break;
		case 2:
		case 3:
		case 4:
			len %= 1500;
			for (uint64_t k = 0; k < len; k++)
				shadow[off + k] = (uint8_t)rng_u64(&rng);
			must(disk_write(f, off, shadow + off, len));
			if (len && off + len > size)
				size = off + len;
			break;
		default:
			must(disk_read(f, off, buf, len, &got));
			if (off >= size)
				assert_int_equal(got, 0);
			else if (off + len > size)
				assert_int_equal(got, size - off);
			else
				assert_int_equal(got, len);
			assert_memory_equal(buf, shadow + off, got);
		}
	}
	disk_file_close(f);
}

struct worker {
	struct disk *d;
	unsigned number;
	bool bad;
};

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct disk_file *f = NULL;
	char name[16] = "", to[16], got[16];
	size_t len;

	for (unsigned i = 0; i < 100 && !w->bad; i++) {
		snprintf(name, sizeof(name), "%u.%u", w->number, i);
		snprintf(to, sizeof(to), "%u", w->number);
		w->bad = disk_open(w->d, name, DISK_EXCL, &f) ||
			 disk_write(f, i, name, sizeof(name)) ||
			 (i % 16 == 0 && disk_sync(f)) ||
			 disk_read(f, i, got, sizeof(got), &len) ||
			 len != sizeof(got) || memcmp(got, name, len) ||
			 disk_rename(w->d, name, to);
		disk_file_close(f);
		f = NULL;
	}
	return NULL;
}

static void
threads_do_not_disturb_each_other(void **state)
{
	struct worker w[4];
	pthread_t t[4];

	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){ disk_in(state), i, false };
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(t[i], NULL), 0);
		assert_false(w[i].bad);
	}
	expect_names(disk_in(state), "", "0 1 2 3 ");
}

/* ---- the real one ------------------------------------------------------- */

static void
only_the_owner_may_look(void **state)
{
	struct world *w = *state;
	char path[128];
	struct stat st;

	make_file(w->d, "a", "x");
	must(disk_mkdir(w->d, "b"));
	snprintf(path, sizeof(path), "%s/a", w->path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/b", w->path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void
a_disk_must_exist(void **state)
{
	struct disk *d = NULL;

	(void)state;
	assert_int_equal(disk_posix_open("/tmp/post-no/such", &d), ERR_ABSENT);
	assert_int_equal(disk_posix_open("/dev/null", &d), ERR_ABSENT);
	assert_null(d);
	disk_close(NULL);
}

static void
what_is_no_regular_file_is_not_opened(void **state)
{
	struct disk_file *f = NULL;
	struct world *w = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/fifo", w->path);
	assert_int_equal(mkfifo(path, 0600), 0);
	/* Neither opened nor waited for. */
	assert_int_equal(disk_open(w->d, "fifo", DISK_READ, &f), ERR_DENIED);
	assert_int_equal(disk_open(w->d, "fifo", DISK_WRITE, &f), ERR_DENIED);
	assert_null(f);
}

/* ---- the simulated one -------------------------------------------------- */

static void
a_crash_keeps_what_was_synced(void **state)
{
	struct disk *d = disk_in(state);
	char name[16], dir[16], to[32];

	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		snprintf(dir, sizeof(dir), "dir%u", i);
		snprintf(to, sizeof(to), "dir%u/f", i);
		make_file(d, name, "kept");
		must(disk_mkdir(d, dir));
		must(disk_sync_dir(d, ""));
		must(disk_rename(d, name, to));
		must(disk_sync_dir(d, dir));
		disk_mem_crash(d);
		expect_file(d, to, "kept");
		expect_file(d, name, "-");
	}
}

static void
a_crash_keeps_or_loses_each_unsynced_sector(void **state)
{
	enum { SECTORS = 64, SECTOR = 512, BYTES = SECTORS * SECTOR };
	static uint8_t old[BYTES], new[BYTES], got[BYTES];
	unsigned kept = 0, lost = 0, all = 0, none = 0, mixed = 0;
	struct disk *d = disk_in(state);
	size_t len;

	memset(old, 'o', BYTES);
	memset(new, 'n', BYTES);
	for (unsigned i = 0; i < 60; i++) {
		struct disk_file *f = opened(d, "a", DISK_CREATE);
		unsigned here = 0;

		must(disk_sync_dir(d, ""));
		must(disk_write(f, 0, old, BYTES));
		must(disk_sync(f));
		must(disk_write(f, 100, new, BYTES - 200));
		disk_mem_crash(d);
		disk_file_close(f);
		f = opened(d, "a", DISK_READ);
		must(disk_read(f, 0, got, BYTES, &len));
		disk_file_close(f);
		assert_int_equal(len, BYTES);
		assert_memory_equal(got, old, 100);
		assert_memory_equal(got + BYTES - 100, old, 100);
		for (size_t s = 0; s < SECTORS; s++) {
			size_t from = s ? s * SECTOR : 100;
			size_t to =
			    s + 1 < SECTORS ? (s + 1) * SECTOR : BYTES - 100;

			assert_true(got[from] == 'o' || got[from] == 'n');
			assert_memory_equal(got + from,
			    got[from] == 'o' ? old : new, to - from);
			here += got[from] == 'n';
		}
		kept += here;
		lost += SECTORS - here;
		all += here == SECTORS;
		none += here == 0;
		mixed += here > 0 && here < SECTORS;
	}
	assert_true(kept > 500 && lost > 500);
	assert_true(all > 2 && none > 2 && mixed > 10);
}

static void
a_crash_keeps_or_loses_each_unsynced_name(void **state)
{
	unsigned made = 0, gone = 0, moved = 0, dirs = 0;
	char a[8], b[8], c[8], e[8];

	for (unsigned i = 0; i < 100; i++) {
		struct disk *d = new_disk(state, i);

		make_file(d, "old", "o");
		make_file(d, "tmp", "t");
		make_file(d, "target", "x");
		must(disk_sync_dir(d, ""));
		make_file(d, "new", "n");
		must(disk_unlink(d, "old"));
		must(disk_rename(d, "tmp", "target"));
		must(disk_mkdir(d, "dir"));
		make_file(d, "dir/in", "i");
		must(disk_sync_dir(d, "dir"));
		disk_mem_crash(d);
		slurp(d, "new", a, sizeof(a));
		slurp(d, "old", b, sizeof(b));
		slurp(d, "target", c, sizeof(c));
		slurp(d, "tmp", e, sizeof(e));
		/* Whole or not at all. */
		assert_true(strcmp(c, "x") == 0 || strcmp(c, "t") == 0);
		assert_string_equal(e, strcmp(c, "x") == 0 ? "t" : "-");
		made += strcmp(a, "n") == 0;
		gone += strcmp(b, "-") == 0;
		moved += strcmp(c, "t") == 0;
		/* What is in a directory goes with it. */
		slurp(d, "dir/in", a, sizeof(a));
		assert_int_equal(disk_mkdir(d, "dir") == OK, a[0] == '-');
		dirs += a[0] == 'i';
	}
	assert_true(made > 20 && made < 80);
	assert_true(gone > 20 && gone < 80);
	assert_true(moved > 20 && moved < 80);
	assert_true(dirs > 20 && dirs < 80);
}

static void
an_unsynced_length_is_kept_or_lost(void **state)
{
	unsigned longer = 0, shorter = 0, zeros = 0;
	struct disk *d = disk_in(state);

	for (unsigned i = 0; i < 100; i++) {
		struct disk_file *f = opened(d, "a", DISK_CREATE);
		char buf[16] = "";
		uint64_t size;
		size_t got;

		must(disk_truncate(f, 0));
		put(f, 0, "12345");
		must(disk_sync(f));
		must(disk_sync_dir(d, ""));
		if (i % 2)
			must(disk_truncate(f, 2));
		else
			put(f, 5, "6789");
		disk_mem_crash(d);
		disk_file_close(f);
		f = opened(d, "a", DISK_READ);
		must(disk_size(f, &size));
		must(disk_read(f, 0, buf, sizeof(buf), &got));
		disk_file_close(f);
		if (size == 9) {
			longer++;
			zeros += buf[8] == 0;
			assert_true(buf[8] == 0 || buf[8] == '9');
		} else if (size == 2) {
			shorter++;
		} else {
			assert_int_equal(size, 5);
		}
	}
	assert_true(longer > 5 && longer < 49 && zeros > 0);
	assert_true(shorter > 5 && shorter < 45);
}

static void
a_name_that_moved_on_is_not_moved_back(void **state)
{
	for (unsigned i = 0; i < 30; i++) {
		struct disk *d = new_disk(state, i);

		must(disk_mkdir(d, "x"));
		must(disk_mkdir(d, "y"));
		must(disk_sync_dir(d, ""));
		make_file(d, "x/a", "1");
		must(disk_rename(d, "x/a", "y/b"));
		make_file(d, "x/a", "2");
		must(disk_sync_dir(d, "y"));
		must(disk_sync_dir(d, "x"));
		disk_mem_crash(d);
		expect_file(d, "y/b", "1");
		expect_file(d, "x/a", "2");
		/* Into each other in turn: if only the second move is kept,
		 * both are gone, and the disk still closes. */
		must(disk_rename(d, "x", "y/x"));
		must(disk_rename(d, "y/x", "z"));
		must(disk_rename(d, "y", "z/y"));
		disk_mem_crash(d);
	}
}

static void
files_of_before_a_crash_or_kill_are_dead(void **state)
{
	struct disk *d = disk_in(state);

	for (unsigned i = 0; i < 2; i++) {
		struct disk_file *f = opened(d, "a", DISK_CREATE);
		uint64_t size;
		size_t got;
		char c;

		if (i)
			disk_mem_crash(d);
		else
			disk_mem_kill(d);
		assert_int_equal(disk_read(f, 0, &c, 1, &got), ERR_IO);
		assert_int_equal(disk_write(f, 0, "x", 1), ERR_IO);
		assert_int_equal(disk_sync(f), ERR_IO);
		assert_int_equal(disk_truncate(f, 0), ERR_IO);
		assert_int_equal(disk_size(f, &size), ERR_IO);
		disk_file_close(f);
	}
}

static void
a_kill_keeps_everything_written(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = opened(d, "a", DISK_CREATE);
	unsigned lost = 0;

	put(f, 0, "written");
	must(disk_rename(d, "a", "b"));
	disk_mem_kill(d);
	disk_file_close(f);
	expect_file(d, "b", "written");
	/* But did not make it durable. */
	for (unsigned i = 0; i < 60; i++) {
		d = new_disk(state, i);
		f = opened(d, "a", DISK_CREATE);
		disk_mem_kill(d);
		disk_file_close(f);
		disk_mem_crash(d);
		lost += disk_unlink(d, "a") == ERR_ABSENT;
	}
	assert_true(lost > 10 && lost < 50);
}

static void
the_nth_change_fails(void **state)
{
	enum { CALLS = 8 };

	for (unsigned nth = 1; nth <= 2 * CALLS; nth++) {
		struct disk *d = new_disk(state, nth);
		struct disk_file *f = opened(d, "a", DISK_CREATE), *g = NULL;
		bool ever = nth > CALLS;
		unsigned at = (nth - 1) % CALLS;
		enum err e[CALLS];

		make_file(d, "c", "c");
		make_file(d, "e", "e");
		disk_mem_fail(d, at + 1, ERR_NOSPACE, ever);
		assert_false(disk_mem_failed(d));
		e[0] = disk_mkdir(d, "dir");
		e[1] = disk_open(d, "b", DISK_CREATE, &g);
		e[2] = disk_write(f, 0, "x", 1);
		e[3] = disk_truncate(f, 5);
		e[4] = disk_sync(f);
		e[5] = disk_sync_dir(d, "");
		e[6] = disk_rename(d, "c", "d");
		e[7] = disk_unlink(d, "e");
		assert_true(disk_mem_failed(d));
		for (unsigned i = 0; i < CALLS; i++)
			assert_int_equal(e[i],
			    i == at || (ever && i > at) ? ERR_NOSPACE : OK);
		assert_int_equal(g == NULL, e[1] != OK);
		expect_file(d, e[6] ? "c" : "d", "c");
		expect_file(d, "e", e[7] ? "e" : "-");
		disk_mem_fail(d, 0, OK, false);
		assert_true(disk_mem_failed(d));
		put(f, 0, "x");
		disk_file_close(g);
		disk_file_close(f);
	}
}

static void
what_changes_nothing_is_not_counted(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = opened(d, "a", DISK_CREATE), *g = NULL;

	disk_mem_fail(d, 1, ERR_IO, false);
	disk_file_close(opened(d, "a", DISK_CREATE));
	assert_int_equal(disk_open(d, "a", DISK_EXCL, &g), ERR_EXISTS);
	assert_int_equal(disk_unlink(d, "b"), ERR_ABSENT);
	must(disk_rename(d, "a", "a"));
	must(disk_write(f, 0, "", 0));
	expect(f, "", 0);
	assert_false(disk_mem_failed(d));
	assert_int_equal(disk_write(f, 0, "x", 1), ERR_IO);
	disk_file_close(f);
}

/* As on Linux: the kernel calls the pages clean and forgets them. */
static void
a_later_sync_does_not_mend_a_failed_one(void **state)
{
	struct disk *d = disk_in(state);
	unsigned lost = 0;

	for (unsigned i = 0; i < 60; i++) {
		struct disk_file *f = opened(d, "a", DISK_CREATE);
		char buf[8];

		must(disk_truncate(f, 0));
		put(f, 0, "old");
		must(disk_sync(f));
		must(disk_sync_dir(d, ""));
		put(f, 0, "new");
		disk_mem_fail(d, 1, ERR_IO, false);
		assert_int_equal(disk_sync(f), ERR_IO);
		expect(f, "new", 3);
		must(disk_sync(f));
		disk_mem_crash(d);
		disk_file_close(f);
		slurp(d, "a", buf, sizeof(buf));
		lost += strcmp(buf, "old") == 0;
	}
	assert_true(lost > 10 && lost < 50);
}

static void
the_limit_counts_what_can_be_reached(void **state)
{
	struct disk *d = disk_in(state);
	struct disk_file *f = opened(d, "a", DISK_CREATE), *g;
	uint64_t left, total, size;
	char buf[1000] = "";

	disk_mem_limit(d, 2500);
	must(disk_write(f, 0, buf, 1000));
	must(disk_write(f, 1000, buf, 1000));
	assert_int_equal(disk_truncate(f, 2501), ERR_NOSPACE);
	assert_int_equal(disk_write(f, 2000, buf, 1000), ERR_NOSPACE);
	must(disk_size(f, &size));
	assert_true(size <= 2500);
	must(disk_truncate(f, 1000));
	must(disk_free(d, &left, &total));
	assert_int_equal(left, 1500);
	assert_int_equal(total, 2500);
	must(disk_unlink(d, "a"));
	must(disk_free(d, &left, &total));
	assert_int_equal(left, 1500); /* it is open */
	g = opened(d, "b", DISK_CREATE);
	must(disk_write(g, 500, buf, 1000));
	disk_file_close(f);
	must(disk_free(d, &left, &total));
	assert_int_equal(left, 1000);
	must(disk_unlink(d, "b"));
	disk_mem_kill(d);
	must(disk_free(d, &left, &total));
	assert_int_equal(left, 2500);
	disk_file_close(g);
	make_file(d, "c", "12345");
	must(disk_sync_dir(d, ""));
	must(disk_unlink(d, "c"));
	disk_mem_crash(d);
	must(disk_free(d, &left, &total));
	assert_int_equal(left, disk_unlink(d, "c") ? 2500 : 2495);
	must(disk_free(d, &left, &total));
	assert_int_equal(left, 2500);
}

static void
a_flipped_bit_stays_flipped(void **state)
{
	struct disk *d = disk_in(state);

	make_file(d, "a", "AAAA");
	must(disk_sync_dir(d, ""));
	must(disk_mem_flip(d, "a", 8));
	expect_file(d, "a", "A@AA");
	disk_mem_crash(d);
	expect_file(d, "a", "A@AA");
	assert_int_equal(disk_mem_flip(d, "a", 32), ERR_INVALID);
	assert_int_equal(disk_mem_flip(d, "b", 0), ERR_ABSENT);
}

/* A history of every kind of change and of crashes, as one number. */
static uint64_t
history(uint64_t seed)
{
	const uint64_t prime = 1099511628211u; /* FNV-1a */
	uint64_t digest = 14695981039346656037u;
	struct disk *d = NULL;
	struct rng rng;

	must(disk_mem_new(seed, &d));
	rng_init(&rng, 5);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned a = (unsigned)rng_below(&rng, 9);
		unsigned b = (unsigned)rng_below(&rng, 9);
		char name[16], to[16];
		uint8_t bytes[3000];
		struct disk_file *f = NULL;
		size_t got;

		snprintf(name, sizeof(name), "%u", a);
		snprintf(to, sizeof(to), "%u", b);
		memset(bytes, (int)i, sizeof(bytes));
		switch (rng_below(&rng, 6)) {
		case 0:
			(void)!disk_rename(d, name, to);
			break;
		case 1:
			(void)!disk_unlink(d, name);
			break;
		case 2:
			if (i % 7 == 0)
				must(disk_sync_dir(d, ""));
			break;
		case 3:
			if (i % 5 == 0)
				disk_mem_crash(d);
			break;
		default:
			f = opened(d, name, DISK_CREATE);
			must(disk_write(f, rng_below(&rng, 2000), bytes, 700));
			if (i % 3 == 0)
				must(disk_sync(f));
			must(disk_read(f, 0, bytes, sizeof(bytes), &got));
			for (size_t at = 0; at < got; at++)
				digest = (digest ^ bytes[at]) * prime;
			disk_file_close(f);
		}
	}
	disk_close(d);
	return digest;
}

static void
one_seed_gives_one_history(void **state)
{
	(void)state;
	assert_true(history(1) == history(1));
	assert_true(history(1) != history(2));
}

#define REAL(test) cmocka_unit_test_setup_teardown(test, real_setup, teardown)
#define MEM(test) cmocka_unit_test_setup_teardown(test, mem_setup, teardown)
#define BOTH(test) REAL(test), MEM(test)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_mode_says_whether_the_file_must_exist),
		BOTH(a_directory_is_no_file_and_a_file_no_directory),
		BOTH(what_is_in_a_missing_directory_is_absent),
		BOTH(reads_past_the_end_are_short),
		BOTH(a_gap_reads_as_zeros),
		BOTH(a_write_no_file_can_hold_is_refused),
		BOTH(two_openings_see_one_file),
		BOTH(an_unlinked_file_lives_while_it_is_open),
		BOTH(a_rename_replaces),
		BOTH(a_directory_moves_with_what_is_in_it),
		BOTH(a_list_is_sorted_and_stops_at_an_error),
		BOTH(a_listing_may_remove_what_it_is_shown),
		BOTH(free_space_is_a_part_of_the_whole),
		BOTH(random_changes_leave_what_an_array_would_hold),
		BOTH(threads_do_not_disturb_each_other),
		REAL(only_the_owner_may_look),
		REAL(a_disk_must_exist),
		REAL(what_is_no_regular_file_is_not_opened),
		MEM(a_crash_keeps_what_was_synced),
		MEM(a_crash_keeps_or_loses_each_unsynced_sector),
		MEM(a_crash_keeps_or_loses_each_unsynced_name),
		MEM(an_unsynced_length_is_kept_or_lost),
		MEM(a_name_that_moved_on_is_not_moved_back),
		MEM(files_of_before_a_crash_or_kill_are_dead),
		MEM(a_kill_keeps_everything_written),
		MEM(the_nth_change_fails),
		MEM(what_changes_nothing_is_not_counted),
		MEM(a_later_sync_does_not_mend_a_failed_one),
		MEM(the_limit_counts_what_can_be_reached),
		MEM(a_flipped_bit_stays_flipped),
		MEM(one_seed_gives_one_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
