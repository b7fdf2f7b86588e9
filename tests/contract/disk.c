/* One suite for both disks: what disk.h promises holds on the real file
 * system and on the simulated one.  What only the simulated one can do (crash,
 * kill, faults, limits) is in disk_mem.c. */
#include "overlay/base/rng.h"
#include "tests/contract/disk_test.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
