/* The index in LMDB with one bit of its file wrong: each answer is the right
 * one or ERR_CORRUPT, whatever the bit meant. */
#include "store/index.h"

#include "overlay/base/map.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096u
#define ROWS 60u /* in each table */
#define VALUE_MAX 5000u

/* Looked at by readers, and by writers: a second or two of work. */
#define FLIPS_READ 3000u
#define FLIPS_WRITTEN 700u

struct fixture {
	char dir[64];
	int fd;
	uint8_t *image; /* of the sound file, as far as it is used */
	size_t used;
};

static uint64_t
key_of(unsigned i)
{
	return hash64_u64(i, 1);
}

/* None, some, and (of one row) more than a page holds. */
static size_t
value_of(unsigned table, unsigned i, uint8_t val[VALUE_MAX])
{
	size_t len = i == 7 ? VALUE_MAX : (i * 37 + table) % 150;

	for (size_t at = 0; at < len; at++)
		val[at] = (uint8_t)(i * 31 + table * 7 + at);
	return len;
}

static void
path_of(const struct fixture *f, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", f->dir, name);
}

/* Of the newer of the two meta pages. */
static size_t
used_bytes(int fd)
{
	uint64_t word[2][2]; /* last page, transaction */

	for (off_t page = 0; page < 2; page++)
		assert_int_equal(
		    pread(fd, word[page], 16, page * PAGE + 136), 16);
	return (word[word[1][1] > word[0][1]][0] + 1) * PAGE;
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t val[VALUE_MAX];
	struct index_txn *txn;
	struct index *ix;
	char path[128];

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/post-index-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(index_lmdb_open(f->dir, &ix), OK);
	/* In parts, so that there are free pages too. */
	for (unsigned part = 0; part < 3; part++) {
		assert_int_equal(index_begin_write(ix, &txn), OK);
		for (unsigned n = part; n < INDEX_TABLES * ROWS; n += 3) {
			uint64_t key = key_of(n / INDEX_TABLES);
			size_t len =
			    value_of(n % INDEX_TABLES, n / INDEX_TABLES, val);

			assert_int_equal(index_put(txn, n % INDEX_TABLES, &key,
					     sizeof(key), val, len),
			    OK);
		}
		assert_int_equal(index_commit(&txn), OK);
	}
	index_close(ix);
	path_of(f, "data.mdb", path);
	f->fd = open(path, O_RDWR);
	assert_true(f->fd >= 0);
	f->used = used_bytes(f->fd);
	f->image = malloc(f->used);
	assert_non_null(f->image);
	assert_int_equal(pread(f->fd, f->image, f->used, 0), f->used);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	static const char *const name[] = { "data.mdb", "lock.mdb" };
	struct fixture *f = *state;
	char path[128];

	close(f->fd);
	for (unsigned i = 0; i < 2; i++) {
		path_of(f, name[i], path);
		unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f->image);
	free(f);
	return 0;
}

static void
flip(const struct fixture *f, uint64_t bit)
{
	uint8_t byte = f->image[bit / 8] ^ (uint8_t)(1u << bit % 8);

	assert_int_equal(pwrite(f->fd, &byte, 1, (off_t)(bit / 8)), 1);
}

static void
restore(const struct fixture *f)
{
	assert_int_equal(pwrite(f->fd, f->image, f->used, 0), f->used);
}

/* In an order that jumps about in the file, each bit behind the meta pages at
 * most once. */
static uint64_t
nth_bit(const struct fixture *f, uint64_t n)
{
	uint64_t bits = (f->used - 2 * PAGE) * 8;

	/* A prime that no file of this test is a multiple of. */
	return 2 * PAGE * 8 + n * 1000003 % bits;
}

/* Ask for every row, one by one and in order.  True if all are there. */
static bool
rows_are_right(struct index_txn *txn, unsigned table, uint64_t bit)
{
	uint8_t want[VALUE_MAX];
	const uint8_t *k, *v;
	size_t k_len, v_len;
	struct index_cursor *c = NULL;
	bool all = true;
	unsigned n = 0;
	enum err e;

	for (unsigned i = 0; i < ROWS; i++) {
		uint64_t key = key_of(i);
		size_t len = value_of(table, i, want);

		e = index_get(txn, table, &key, sizeof(key), &v, &v_len);
		if (e == OK && (v_len != len || memcmp(v, want, len) != 0))
			fail_msg("bit %llu: row %u of table %u is wrong",
			    (unsigned long long)bit, i, table);
		if (e != OK && e != ERR_CORRUPT)
			fail_msg("bit %llu: row %u of table %u: %s",
			    (unsigned long long)bit, i, table, err_text(e));
		all = all && e == OK;
	}
	e = index_seek(txn, table, NULL, 0, &c, &k, &k_len, &v, &v_len);
	for (; !e; e = index_next(c, &k, &k_len, &v, &v_len)) {
		uint64_t key;
		unsigned i = 0;
		size_t len;

		assert_int_equal(k_len, sizeof(key));
		memcpy(&key, k, sizeof(key));
		while (i < ROWS && key_of(i) != key)
			i++;
		assert_true(i < ROWS);
		len = value_of(table, i, want);
		if (v_len != len || memcmp(v, want, len) != 0)
			fail_msg("bit %llu: row %u of table %u is wrong",
			    (unsigned long long)bit, i, table);
		n++;
	}
	index_cursor_close(c);
	if (e != ERR_CORRUPT) {
		assert_int_equal(e, ERR_ABSENT);
		assert_int_equal(n, ROWS);
	}
	return all && e == ERR_ABSENT;
}

/* Open it and look at everything.  True if nothing was noticed. */
static bool
all_is_right(const struct fixture *f, bool write, uint64_t bit)
{
	struct index_txn *txn = NULL;
	struct index *ix;
	bool all = true;
	enum err e = index_lmdb_open(f->dir, &ix);

	if (e) {
		assert_int_equal(e, ERR_CORRUPT);
		return false;
	}
	e = write ? index_begin_write(ix, &txn) : index_begin_read(ix, &txn);
	if (e) {
		assert_int_equal(e, ERR_CORRUPT);
		all = false;
	}
	for (unsigned t = 0; !e && t < INDEX_TABLES; t++)
		if (!rows_are_right(txn, t, bit))
			all = false;
	index_abort(&txn);
	/* It notices more: the number of rows. */
	e = index_check(ix);
	assert_true(e == ERR_CORRUPT || (e == OK && all));
	index_close(ix);
	return all;
}

static void
with_one_bit_wrong_each_answer_is_right_or_corrupt(void **state)
{
	struct fixture *f = *state;
	unsigned noticed = 0;

	assert_true(all_is_right(f, false, 0));
	assert_true(all_is_right(f, true, 0));
	for (unsigned n = 0; n < FLIPS_READ; n++) {
		uint64_t bit = nth_bit(f, n);

		flip(f, bit);
		/* A writer's reads go another way. */
		noticed += !all_is_right(f, n % 4 == 3, bit);
		restore(f);
	}
	assert_true(all_is_right(f, false, 0));
	print_message("%u bits, %u noticed\n", FLIPS_READ, noticed);
	assert_true(
	    noticed > FLIPS_READ / 5); /* the others are of free pages */
}

static void
each_bit_of_a_page_header_is_of_no_harm(void **state)
{
	struct fixture *f = *state;
	unsigned noticed = 0, flips = 0;

	for (size_t page = 2; page < f->used / PAGE; page += 2)
		for (unsigned bit = 0; bit < 8 * 24; bit += 1 + bit % 2) {
			uint64_t at = page * PAGE * 8 + bit;

			flip(f, at);
			noticed += !all_is_right(f, false, at);
			restore(f);
			flips++;
		}
	print_message("%u bits, %u noticed\n", flips, noticed);
	assert_true(noticed > flips / 5);
}

/* Put a third of the rows again as they are, and another third after deleting
 * them. */
static enum err
change(struct index *ix, unsigned round)
{
	struct index_txn *txn = NULL;
	uint8_t val[VALUE_MAX];
	enum err e = index_begin_write(ix, &txn);

	for (unsigned n = 0; !e && n < INDEX_TABLES * ROWS; n++) {
		unsigned table = n % INDEX_TABLES, i = n / INDEX_TABLES;
		uint64_t key = key_of(i);
		size_t len = value_of(table, i, val);

		if ((i + round) % 3 == 0)
			e = index_del(txn, table, &key, sizeof(key));
		if (!e && (i + round) % 3 != 2)
			e = index_put(txn, table, &key, sizeof(key), val, len);
	}
	if (!e && round % 8 == 0)
		e = index_commit(&txn);
	index_abort(&txn);
	return e;
}

static void
a_writer_on_a_file_with_one_bit_wrong_does_no_harm(void **state)
{
	struct fixture *f = *state;
	unsigned refused = 0;

	for (unsigned n = 0; n < FLIPS_WRITTEN; n++) {
		uint64_t bit = nth_bit(f, n + 7);
		struct index *ix;
		enum err e;

		flip(f, bit);
		e = index_lmdb_open(f->dir, &ix);
		if (!e) {
			e = change(ix, n);
			index_close(ix);
		}
		if (e) {
			assert_int_equal(e, ERR_CORRUPT);
			refused++;
		}
		(void)all_is_right(f, false, bit);
		restore(f);
	}
	print_message("%u bits, %u refused\n", FLIPS_WRITTEN, refused);
	assert_true(refused > FLIPS_WRITTEN / 5);
	assert_true(all_is_right(f, false, 0));
}

/* A table whose name can not be read is not one that is not there yet. */
static void
no_table_is_made_anew_for_a_damaged_name(void **state)
{
	static const char name[] = "xattrs";
	struct fixture *f = *state;
	unsigned found = 0;

	for (size_t at = 2 * PAGE; at + sizeof(name) < f->used; at++) {
		struct index *ix;

		if (memcmp(f->image + at, name, sizeof(name) - 1) != 0)
			continue;
		flip(f, at * 8);
		if (index_lmdb_open(f->dir, &ix) == OK)
			index_close(ix); /* a free page */
		else
			found++;
		restore(f);
		assert_true(all_is_right(f, false, at * 8));
	}
	assert_int_equal(found, 1);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(with_one_bit_wrong_each_answer_is_right_or_corrupt),
		TEST(each_bit_of_a_page_header_is_of_no_harm),
		TEST(a_writer_on_a_file_with_one_bit_wrong_does_no_harm),
		TEST(no_table_is_made_anew_for_a_damaged_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
