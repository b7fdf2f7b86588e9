/* The index in LMDB on a file that was cut short, overwritten or could not
 * grow: an outcome, and never a crash. */
#include "store/index.h"

#include "overlay/base/map.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define T INDEX_INODES

struct fixture {
	struct index *ix;
	char dir[64];
};

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/post-index-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	static const char *const name[] = { "data.mdb", "lock.mdb",
		"data.mdb.damaged" };
	struct fixture *f = *state;
	char path[128];

	index_close(f->ix);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, name[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static struct index_txn *
begin_read(struct index *ix)
{
	struct index_txn *txn;

	assert_int_equal(index_begin_read(ix, &txn), OK);
	return txn;
}

static struct index_txn *
begin_write(struct index *ix)
{
	struct index_txn *txn;

	assert_int_equal(index_begin_write(ix, &txn), OK);
	return txn;
}

static void
commit(struct index_txn **txn)
{
	assert_int_equal(index_commit(txn), OK);
	assert_null(*txn);
}

/* Values of more than a page among them, whose pages LMDB does not check. */
static void
fill(struct index *ix, unsigned n)
{
	static uint8_t val[9000];

	for (unsigned part = 0; part < 4; part++) {
		struct index_txn *txn = begin_write(ix);

		for (unsigned i = part; i < n; i += 4) {
			uint64_t key = hash64_u64(i, 1);
			size_t len = i % 50 ? 80 : sizeof(val);

			memset(val, (int)(i & 0xff), len);
			assert_int_equal(
			    index_put(txn, T, &key, sizeof(key), val, len), OK);
		}
		commit(&txn);
	}
}

/* Every pair is what fill() put, or ERR_CORRUPT. */
static enum err
check_filled(struct index *ix, unsigned n)
{
	struct index_txn *txn;
	enum err worst = index_begin_read(ix, &txn);

	if (worst)
		return worst;
	for (unsigned i = 0; i < n; i++) {
		uint64_t key = hash64_u64(i, 1);
		const uint8_t *v;
		size_t len;
		enum err e = index_get(txn, T, &key, sizeof(key), &v, &len);

		if (e) {
			assert_int_equal(e, ERR_CORRUPT);
			worst = e;
			continue;
		}
		assert_int_equal(len, i % 50 ? 80 : 9000);
		for (size_t j = 0; j < len; j++)
			assert_int_equal(v[j], i & 0xff);
	}
	index_abort(&txn);
	return worst;
}

/* The last page in use, from the meta page in force. */
static uint64_t
used_bytes(int fd)
{
	uint64_t used = 0, newest = 0;

	for (off_t page = 0; page < 2; page++) {
		uint64_t word[2]; /* last page, transaction */

		assert_int_equal(pread(fd, word, 16, page * 4096 + 136), 16);
		if (page == 0 || word[1] > newest) {
			newest = word[1];
			used = (word[0] + 1) * 4096;
		}
	}
	return used;
}

static void
a_row_is_key_value_and_sum(void **state)
{
	static const char row[] = "golden keygolden value"
				  "\x7b\xf6\xe3\xd4";
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);
	char path[128];
	uint8_t *bytes;
	uint64_t used;
	int fd;

	assert_int_equal(
	    index_put(txn, T, "golden key", 10, "golden value", 12), OK);
	commit(&txn);
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	used = used_bytes(fd);
	bytes = malloc((size_t)used);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, used, 0), used);
	close(fd);
	assert_non_null(memmem(bytes, used, row, sizeof(row) - 1));
	free(bytes);
}

/* LMDB would make a new, empty table in its place. */
static void
a_table_whose_name_is_damaged_is_not_made_anew(void **state)
{
	struct fixture *f = *state;
	unsigned found = 0;
	struct index *ix = NULL;
	char path[128];
	uint8_t *bytes;
	uint64_t used;
	int fd;

	fill(f->ix, 10);
	index_close(f->ix);
	f->ix = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	used = used_bytes(fd);
	bytes = malloc((size_t)used);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, used, 0), used);
	/* Wherever it stands: in the page in use, and in older ones. */
	for (uint64_t at = 0; at + 7 <= used; at++)
		if (memcmp(bytes + at, "entries", 7) == 0) {
			assert_int_equal(pwrite(fd, "f", 1, (off_t)at), 1);
			found++;
		}
	close(fd);
	free(bytes);
	assert_true(found > 0);
	assert_int_equal(index_lmdb_open(f->dir, &ix), ERR_CORRUPT);
	assert_null(ix);
	assert_int_equal(index_lmdb_set_aside(f->dir), OK);
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
}

static void
a_truncated_file_is_corrupt_and_not_a_crash(void **state)
{
	enum { N = 3000 };
	struct fixture *f = *state;
	char path[128];
	uint8_t *bytes;
	uint64_t used;
	off_t size;
	int fd;

	fill(f->ix, N);
	assert_int_equal(check_filled(f->ix, N), OK);
	index_close(f->ix);
	f->ix = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	size = lseek(fd, 0, SEEK_END);
	used = used_bytes(fd);
	assert_true(used > 100 * 4096 && (off_t)used <= size);
	bytes = malloc((size_t)used);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, used, 0), used);
	for (unsigned i = 0; i < 40; i++) {
		/* Nothing, parts of the meta pages, every quarter, one page
		 * and one byte too few. */
		const uint64_t cut[] = { 0, 1, 100, 4095, 4096, 4097, 8191,
			8192, used / 4, used / 2, used / 4 * 3, used - 4096,
			used - 1 };

		if (i >= sizeof(cut) / sizeof(cut[0]))
			break;
		assert_int_equal(ftruncate(fd, (off_t)cut[i]), 0);
		assert_int_equal(index_lmdb_open(f->dir, &f->ix), ERR_CORRUPT);
		assert_int_equal(pwrite(fd, bytes, used, 0), used);
	}
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
	assert_int_equal(check_filled(f->ix, N), OK);
	free(bytes);
	close(fd);
}

static void
zeroed_or_wrong_meta_pages_are_corrupt(void **state)
{
	/* Offsets within a meta page and what makes it a lie. */
	static const struct {
		unsigned at;
		uint64_t word;
	} lie[] = {
		{ 16, 0 }, /* magic, version */
		{ 16, 0x00000002beefc0de }, /* a newer one */
		{ 40, 0 }, /* page size */
		{ 40, 4097 }, { 80, 1 }, /* a root that is a meta page */
		{ 128, 0xffffffff }, /* a root behind the end */
		{ 136, 0 }, /* last page */
		{ 136, (uint64_t)1 << 40 },
		{ 144, UINT64_MAX }, /* none: the other lies then */
	};
	struct fixture *f = *state;
	uint8_t saved[8192], zero[8192] = { 0 };
	char path[128];
	int fd;

	fill(f->ix, 500);
	index_close(f->ix);
	f->ix = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, saved, sizeof(saved), 0), sizeof(saved));
	for (unsigned mask = 1; mask < 4; mask++) {
		for (unsigned page = 0; page < 2; page++)
			if (mask & 1u << page)
				assert_int_equal(
				    pwrite(fd, zero, 4096, page * 4096), 4096);
		assert_int_equal(index_lmdb_open(f->dir, &f->ix), ERR_CORRUPT);
		assert_int_equal(
		    pwrite(fd, saved, sizeof(saved), 0), sizeof(saved));
	}
	for (unsigned i = 0; i + 1 < sizeof(lie) / sizeof(lie[0]); i++) {
		for (unsigned page = 0; page < 2; page++)
			assert_int_equal(pwrite(fd, &lie[i].word, 8,
					     page * 4096 + lie[i].at),
			    8);
		assert_int_equal(index_lmdb_open(f->dir, &f->ix), ERR_CORRUPT);
		assert_int_equal(
		    pwrite(fd, saved, sizeof(saved), 0), sizeof(saved));
	}
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
	assert_int_equal(check_filled(f->ix, 500), OK);
	close(fd);
}

static void
zeroed_pages_in_the_middle_are_corrupt_when_met(void **state)
{
	enum { N = 400 };
	struct fixture *f = *state;
	uint8_t zero[4096] = { 0 }, saved[4096];
	unsigned noticed = 0;
	char path[128];
	uint64_t used;
	int fd;

	/* Small values only: LMDB does not look at the pages of long ones. */
	for (unsigned part = 0; part < 4; part++) {
		struct index_txn *txn = begin_write(f->ix);

		for (unsigned i = part; i < N; i += 4) {
			uint64_t key = hash64_u64(i, 1);

			assert_int_equal(
			    index_put(txn, T, &key, sizeof(key), saved, 80),
			    OK);
		}
		commit(&txn);
	}
	index_close(f->ix);
	f->ix = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	used = used_bytes(fd);
	for (uint64_t at = 8192; at < used; at += 4096) {
		enum err worst;

		assert_int_equal(pread(fd, saved, 4096, (off_t)at), 4096);
		assert_int_equal(pwrite(fd, zero, 4096, (off_t)at), 4096);
		worst = index_lmdb_open(f->dir, &f->ix);
		if (!worst) {
			struct index_txn *txn = begin_read(f->ix);

			for (unsigned i = 0; i < N; i++) {
				uint64_t key = hash64_u64(i, 1);
				const uint8_t *v;
				size_t len;
				enum err e = index_get(
				    txn, T, &key, sizeof(key), &v, &len);

				if (e)
					worst = e;
			}
			index_abort(&txn);
			index_close(f->ix);
		}
		f->ix = NULL;
		assert_true(worst == OK || worst == ERR_CORRUPT);
		noticed += worst == ERR_CORRUPT;
		assert_int_equal(pwrite(fd, saved, 4096, (off_t)at), 4096);
	}
	close(fd);
	assert_true(noticed > 5); /* the others were free pages */
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
}

static void
a_damaged_index_can_be_set_aside_and_begun_anew(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct stat st;

	fill(f->ix, 500);
	index_close(f->ix);
	f->ix = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	assert_int_equal(truncate(path, 20000), 0);
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), ERR_CORRUPT);
	assert_int_equal(index_lmdb_set_aside(f->dir), OK);
	assert_int_equal(index_lmdb_set_aside(f->dir), ERR_ABSENT);
	snprintf(path, sizeof(path), "%s/data.mdb.damaged", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 20000);
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
	fill(f->ix, 500);
	assert_int_equal(check_filled(f->ix, 500), OK);
}

/* Fill until something fails for want of room; nothing of it stays. */
static void
a_file_that_can_not_grow_is_no_space_and_the_commit_never_was(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, low;
	struct sigaction ignore = { .sa_handler = SIG_IGN }, saved;
	struct index_txn *txn;
	uint64_t count;
	enum err e = OK;

	fill(f->ix, 500);
	assert_int_equal(sigaction(SIGXFSZ, &ignore, &saved), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 8u << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	txn = begin_write(f->ix);
	for (uint64_t i = 0; !e && i < 4000; i++) {
		static const uint8_t val[3000];

		e = index_put(
		    txn, INDEX_LEDGER, &i, sizeof(i), val, sizeof(val));
	}
	if (!e)
		e = index_commit(&txn);
	index_abort(&txn);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(sigaction(SIGXFSZ, &saved, NULL), 0);
	assert_int_equal(e, ERR_NOSPACE);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(check_filled(f->ix, 500), OK);
		txn = begin_read(f->ix);
		assert_int_equal(index_count(txn, INDEX_LEDGER, &count), OK);
		assert_int_equal(count, 0);
		index_abort(&txn);
		index_close(f->ix);
		f->ix = NULL;
		assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
	}
	fill(f->ix, 1000);
	assert_int_equal(check_filled(f->ix, 1000), OK);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_table_whose_name_is_damaged_is_not_made_anew),
		TEST(a_row_is_key_value_and_sum),
		TEST(a_truncated_file_is_corrupt_and_not_a_crash),
		TEST(zeroed_or_wrong_meta_pages_are_corrupt),
		TEST(zeroed_pages_in_the_middle_are_corrupt_when_met),
		TEST(a_damaged_index_can_be_set_aside_and_begun_anew),
		TEST(
		    a_file_that_can_not_grow_is_no_space_and_the_commit_never_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
