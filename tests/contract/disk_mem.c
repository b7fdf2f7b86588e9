/* The simulated disk: what a power cut, a kill, a fault and a limit leave.
 * What may go either way is tried often enough to see both ways; the seeds
 * are fixed, so an outcome is one for ever. */
#include "overlay/base/rng.h"
#include "tests/contract/disk_test.h"

static int
setup(void **state)
{
	struct disk *d = NULL;

	must(disk_mem_new(7, &d));
	*state = d;
	return 0;
}

static int
teardown(void **state)
{
	disk_close(*state);
	return 0;
}

static struct disk *
disk_in(void **state)
{
	return *state;
}

static struct disk *
new_disk(void **state, uint64_t seed)
{
	struct disk *d = NULL;

	disk_close(*state);
	must(disk_mem_new(seed, &d));
	*state = d;
	return d;
}

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

#define MEM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
