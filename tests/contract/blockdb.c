/* What blockdb.h promises, on the real disk with LMDB and in memory. */
#include "tests/contract/blockdb_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define PACK_MAX (64u << 10)

static int
mem_new(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	set_up_mem(f, 1, PACK_MAX);
	*state = f;
	return 0;
}

static int
mem_end(void **state)
{
	tear_down_mem(*state);
	free(*state);
	return 0;
}

static int
real_new(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	must(crypto_init());
	f->pack_max = PACK_MAX;
	strcpy(f->dir, "/tmp/post-blockdb-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	must(disk_posix_open(f->dir, &f->d));
	must(index_lmdb_open(f->dir, &f->ix));
	must(blockdb_open(f->d, f->ix, f->pack_max, &f->db));
	*state = f;
	return 0;
}

static enum err
unlink_pack(void *arg, const char *entry)
{
	char name[64];

	snprintf(name, sizeof(name), "packs/%s", entry);
	return disk_unlink(arg, name);
}

static int
real_end(void **state)
{
	struct fixture *f = *state;
	char path[128];

	blockdb_close(f->db);
	index_close(f->ix);
	must(disk_list(f->d, "packs", unlink_pack, f->d));
	must(disk_unlink(f->d, "data.mdb"));
	must(disk_unlink(f->d, "lock.mdb"));
	disk_close(f->d);
	snprintf(path, sizeof(path), "%s/packs", f->dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void
assert_e(enum err e, enum err want)
{
	assert_string_equal(err_name(e), err_name(want));
}

/* Lengths that pad in every way, and one over the buffer's size. */
static size_t
len_of(unsigned number)
{
	return number % 97 == 13 ? 40000 : 1 + number * 7919u % 3000;
}

static void
put_range(struct fixture *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		must(put_block(f->db, i, len_of(i)));
}

static void
assert_range(struct fixture *f, unsigned from, unsigned to, enum err want)
{
	for (unsigned i = from; i < to; i++)
		assert_e(get_block(f->db, i, len_of(i)), want);
}

static uint64_t
pack_size(struct disk *d, const char *name)
{
	struct disk_file *file;
	uint64_t size;

	must(disk_open(d, name, DISK_READ, &file));
	must(disk_size(file, &size));
	disk_file_close(file);
	return size;
}

static void
overwrite(struct disk *d, const char *name, uint64_t off, const void *bytes,
    size_t len)
{
	struct disk_file *file;

	must(disk_open(d, name, DISK_CREATE, &file));
	must(disk_write(file, off, bytes, len));
	must(disk_sync(file));
	disk_file_close(file);
}

static void
truncate_to(struct disk *d, const char *name, uint64_t size)
{
	struct disk_file *file;

	must(disk_open(d, name, DISK_WRITE, &file));
	must(disk_truncate(file, size));
	must(disk_sync(file));
	disk_file_close(file);
}

/* ---- blocks ------------------------------------------------------------- */

static void
a_block_is_read_when_put_flushed_committed_and_reopened(void **state)
{
	struct fixture *f = *state;

	assert_range(f, 0, 1, ERR_ABSENT);
	put_range(f, 0, 20);
	assert_range(f, 0, 20, OK);
	must(blockdb_flush(f->db));
	assert_range(f, 0, 20, OK);
	must(commit_blocks(f->db, f->ix));
	assert_range(f, 0, 20, OK);
	reopen(f);
	assert_range(f, 0, 20, OK);
	assert_range(f, 20, 22, ERR_ABSENT);
	put_range(f, 20, 40);
	must(checkpoint(f->db, f->ix));
	reopen(f);
	assert_range(f, 0, 40, OK);
}

static void
has_len_and_where_agree(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 3; round++) {
		char name[32], small[14];
		struct id id, other;
		uint64_t off;
		size_t len;
		bool here;

		if (round == 0)
			put_range(f, 0, 3);
		if (round == 1)
			must(checkpoint(f->db, f->ix));
		if (round == 2)
			reopen(f);
		free(make_block(1, len_of(1), &id));
		free(make_block(99, len_of(99), &other));
		must(blockdb_has(f->db, &id, &here));
		assert_true(here);
		must(blockdb_len(f->db, &id, &len));
		assert_int_equal(len, len_of(1));
		must(blockdb_where(f->db, &id, name, sizeof(name), &off));
		assert_string_equal(name, "packs/00000001");
		assert_int_equal(off, PACK_HEADER + frame_size(len_of(0)));
		assert_e(blockdb_where(f->db, &id, small, sizeof(small), &off),
		    ERR_RANGE);
		must(blockdb_has(f->db, &other, &here));
		assert_false(here);
		assert_e(blockdb_len(f->db, &other, &len), ERR_ABSENT);
		assert_e(blockdb_where(f->db, &other, name, sizeof(name), &off),
		    ERR_ABSENT);
	}
}

static void
a_block_that_is_here_is_not_stored_again(void **state)
{
	struct fixture *f = *state;
	struct blockdb_stats before, after;
	struct id id;
	uint8_t *bytes = make_block(5, 777, &id);
	bool fresh;

	must(blockdb_put(f->db, &id, bytes, 777, &fresh));
	assert_true(fresh);
	blockdb_stats(f->db, &before);
	for (unsigned round = 0; round < 3; round++) {
		if (round == 1)
			must(checkpoint(f->db, f->ix));
		if (round == 2)
			reopen(f);
		must(blockdb_put(f->db, &id, bytes, 777, &fresh));
		assert_false(fresh);
		blockdb_stats(f->db, &after);
		assert_int_equal(after.blocks, 1);
		assert_int_equal(after.stored_bytes, before.stored_bytes);
	}
	assert_int_equal(before.stored_bytes, PACK_HEADER + frame_size(777));
	assert_int_equal(
	    pack_size(f->d, "packs/00000001"), before.stored_bytes);
	free(bytes);
}

static void
lengths_from_one_to_the_largest_are_kept(void **state)
{
	struct fixture *f = *state;
	struct id id;
	uint8_t *bytes;
	bool fresh;

	for (unsigned i = 1; i <= 40; i++)
		must(put_block(f->db, i, i));
	must(put_block(f->db, 41, BLOCK_MAX));
	must(put_block(f->db, 42, BLOCK_MAX - 1));
	must(put_block(f->db, 43, 1));
	bytes = make_block(44, BLOCK_MAX + 1, &id);
	assert_e(
	    blockdb_put(f->db, &id, bytes, BLOCK_MAX + 1, &fresh), ERR_TOO_BIG);
	assert_e(blockdb_put(f->db, &id, bytes, 0, &fresh), ERR_INVALID);
	free(bytes);
	for (unsigned round = 0; round < 3; round++) {
		if (round == 1)
			must(checkpoint(f->db, f->ix));
		if (round == 2)
			reopen(f);
		for (unsigned i = 1; i <= 40; i++)
			must(get_block(f->db, i, i));
		must(get_block(f->db, 41, BLOCK_MAX));
		must(get_block(f->db, 42, BLOCK_MAX - 1));
		must(get_block(f->db, 43, 1));
	}
}

static void
blocks_of_a_commit_that_failed_are_indexed_by_the_next(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn;

	put_range(f, 0, 5);
	must(blockdb_flush(f->db));
	must(index_begin_write(f->ix, &txn));
	must(blockdb_index(f->db, txn));
	index_abort(&txn);
	blockdb_uncommitted(f->db);
	assert_range(f, 0, 5, OK);
	put_range(f, 5, 10);
	must(checkpoint(f->db, f->ix));
	reopen(f);
	assert_range(f, 0, 10, OK);
}

static void
blocks_put_after_the_flush_wait_for_the_next_commit(void **state)
{
	struct fixture *f = *state;

	put_range(f, 0, 5);
	must(blockdb_flush(f->db));
	put_range(f, 5, 10);
	must(commit_blocks(f->db, f->ix));
	assert_range(f, 0, 10, OK);
	must(checkpoint(f->db, f->ix));
	assert_range(f, 0, 10, OK);
	reopen(f);
	assert_range(f, 0, 10, OK);
}

static void
a_full_pack_is_followed_by_another(void **state)
{
	struct fixture *f = *state;
	struct blockdb_stats stats;
	uint64_t bytes = 0;
	uint32_t *number;
	size_t count;

	for (unsigned i = 0; i < 300; i += 100) {
		put_range(f, i, i + 100);
		assert_range(f, 0, i + 100, OK);
		must(checkpoint(f->db, f->ix));
		assert_range(f, 0, i + 100, OK);
	}
	must(pack_list(f->d, &number, &count));
	assert_true(count > 5);
	for (size_t i = 0; i < count; i++) {
		char name[PACK_NAME_CAP];
		uint64_t size;

		assert_int_equal(number[i], i + 1);
		pack_name(number[i], name);
		size = pack_size(f->d, name);
		assert_true(size > PACK_HEADER && size <= PACK_MAX);
		bytes += size;
	}
	free(number);
	for (unsigned round = 0; round < 2; round++) {
		blockdb_stats(f->db, &stats);
		assert_int_equal(stats.blocks, 300);
		assert_int_equal(stats.stored_bytes, bytes);
		assert_range(f, 0, 300, OK);
		reopen(f);
	}
}

static void
more_packs_than_may_be_open_are_read(void **state)
{
	struct fixture *f = *state;
	struct rng rng;

	f->pack_max = 64;
	reopen(f);
	for (unsigned i = 0; i < PACK_FILES_MAX + 50; i++)
		must(put_block(f->db, i, 60));
	must(checkpoint(f->db, f->ix));
	rng_init(&rng, 3);
	for (unsigned n = 0; n < 2000; n++)
		must(get_block(
		    f->db, (unsigned)rng_below(&rng, PACK_FILES_MAX + 50), 60));
}

/* ---- walking and rebuilding --------------------------------------------- */

static void
a_walk_meets_every_frame_once(void **state)
{
	struct fixture *f = *state;
	struct tally t = walk(f->d);

	assert_int_equal(t.blocks + t.heads + t.damages, 0);
	for (unsigned i = 0; i < 50; i++) {
		put_range(f, 4 * i, 4 * i + 4);
		must(blockdb_put_head(f->db, &i, sizeof(i)));
	}
	must(checkpoint(f->db, f->ix));
	t = walk(f->d);
	assert_int_equal(t.blocks, 200);
	assert_int_equal(t.heads, 50);
	assert_int_equal(t.damages, 0);
}

static enum err
heads_rise(
    void *arg, const struct frame_place *at, const uint8_t *bytes, size_t len)
{
	unsigned *next = arg, head;

	must(at->e);
	if (at->type != FRAME_HEAD)
		return OK;
	assert_int_equal(len, sizeof(head));
	memcpy(&head, bytes, sizeof(head));
	assert_int_equal(head, *next);
	++*next;
	return *next == 40 ? ERR_ABSENT : OK;
}

static void
a_walk_goes_in_the_order_of_writing_and_stops_when_told(void **state)
{
	struct fixture *f = *state;
	unsigned next = 0;

	for (unsigned i = 0; i < 50; i++) {
		put_range(f, 4 * i, 4 * i + 4);
		must(blockdb_put_head(f->db, &i, sizeof(i)));
	}
	must(blockdb_flush(f->db));
	assert_e(blockdb_walk(f->d, heads_rise, &next), ERR_ABSENT);
	assert_int_equal(next, 40);
}

/* Whether two indices hold the same rows in a table. */
static void
assert_same_rows(struct index *a, struct index *b, enum index_table t)
{
	struct index_cursor *ca = NULL, *cb = NULL;
	const uint8_t *ka, *va, *kb, *vb;
	size_t ka_len, va_len, kb_len, vb_len;
	struct index_txn *ta, *tb;
	enum err ea, eb;

	must(index_begin_read(a, &ta));
	must(index_begin_read(b, &tb));
	ea = index_seek(ta, t, NULL, 0, &ca, &ka, &ka_len, &va, &va_len);
	eb = index_seek(tb, t, NULL, 0, &cb, &kb, &kb_len, &vb, &vb_len);
	for (;;) {
		assert_e(ea, eb);
		if (ea)
			break;
		assert_int_equal(ka_len, kb_len);
		assert_memory_equal(ka, kb, ka_len);
		assert_int_equal(va_len, vb_len);
		assert_memory_equal(va, vb, va_len);
		ea = index_next(ca, &ka, &ka_len, &va, &va_len);
		eb = index_next(cb, &kb, &kb_len, &vb, &vb_len);
	}
	assert_e(ea, ERR_ABSENT);
	index_cursor_close(ca);
	index_cursor_close(cb);
	index_abort(&ta);
	index_abort(&tb);
}

static void
rebuild(struct disk *d, struct index *ix, uint64_t *damaged)
{
	struct index_txn *txn;

	must(index_begin_write(ix, &txn));
	must(index_clear(txn));
	must(blockdb_rebuild(d, txn, damaged));
	must(index_commit(&txn));
}

static void
a_rebuilt_index_equals_the_one_that_grew(void **state)
{
	struct fixture *f = *state;
	struct index *again;
	uint64_t damaged = 1;

	for (unsigned i = 0; i < 200; i += 50) {
		put_range(f, i, i + 50);
		must(blockdb_put_head(f->db, "head", 4));
		must(checkpoint(f->db, f->ix));
	}
	must(index_mem_new(&again));
	rebuild(f->d, again, &damaged);
	assert_int_equal(damaged, 0);
	assert_same_rows(f->ix, again, INDEX_BLOCKS);
	assert_same_rows(f->ix, again, INDEX_META);
	index_close(again);
	rebuild(f->d, f->ix, &damaged);
	reopen(f);
	assert_range(f, 0, 200, OK);
	put_range(f, 200, 220);
	must(checkpoint(f->db, f->ix));
	reopen(f);
	assert_range(f, 0, 220, OK);
}

/* ---- damage ------------------------------------------------------------- */

static void
a_damaged_block_is_corrupt_and_its_file_can_be_named(void **state)
{
	struct fixture *f = *state;
	struct tally t;
	char name[32];
	struct id id;
	uint64_t off, damaged;
	uint8_t bad = 0xee;

	put_range(f, 0, 200);
	must(checkpoint(f->db, f->ix));
	free(make_block(100, len_of(100), &id));
	must(blockdb_where(f->db, &id, name, sizeof(name), &off));
	assert_string_not_equal(name, "packs/00000001");
	overwrite(f->d, name, off + FRAME_HEADER + 50, &bad, 1);
	assert_range(f, 0, 100, OK);
	assert_range(f, 100, 101, ERR_CORRUPT);
	assert_range(f, 101, 200, OK);
	t = walk(f->d);
	assert_int_equal(t.blocks, 199);
	assert_int_equal(t.damages, 1);
	assert_int_equal(t.damaged, frame_size(len_of(100)));
	assert_string_equal(t.pack, name);
	assert_int_equal(t.off, off);
	rebuild(f->d, f->ix, &damaged);
	assert_int_equal(damaged, t.damaged);
	reopen(f);
	assert_range(f, 0, 100, OK);
	assert_range(f, 100, 101, ERR_ABSENT);
	assert_range(f, 101, 200, OK);
	put_range(f, 100, 101);
	must(checkpoint(f->db, f->ix));
	assert_range(f, 0, 200, OK);
}

static void
a_pack_that_is_gone_is_corrupt_and_not_absent(void **state)
{
	struct fixture *f = *state;
	unsigned lost = 0;

	put_range(f, 0, 200);
	must(checkpoint(f->db, f->ix));
	blockdb_close(f->db);
	f->db = NULL;
	must(disk_unlink(f->d, "packs/00000002"));
	reopen(f);
	for (unsigned i = 0; i < 200; i++) {
		enum err e = get_block(f->db, i, len_of(i));

		if (e) {
			assert_e(e, ERR_CORRUPT);
			lost++;
		}
	}
	assert_true(lost > 10 && lost < 100);
}

static void
a_row_that_makes_no_sense_is_corrupt(void **state)
{
	static const uint8_t row[][4] = { { 0, 2, 1 }, { 1, 1, 1 }, { 1, 2, 0 },
		{ 0x81, 0, 2, 1 }, { 1, 2, 1, 0 }, { 1, 2 } };
	static const size_t len[] = { 3, 3, 3, 4, 4, 2 };
	struct fixture *f = *state;
	struct id id;

	for (unsigned i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		struct index_txn *txn;

		free(make_block(i, 9, &id));
		must(index_begin_write(f->ix, &txn));
		must(index_put(
		    txn, INDEX_BLOCKS, id.b, ID_BYTES, row[i], len[i]));
		must(index_commit(&txn));
		assert_e(get_block(f->db, i, 9), ERR_CORRUPT);
	}
}

#define GOLDEN "packs/00000001"

/* Three frames that pad to 8, 0 and 5 bytes. */
static void
make_golden(struct fixture *f)
{
	static const char hello[] = "Hello, pack", head[] = "a head of 16 b..";
	static const char third[] = "abc";
	struct id id;
	bool fresh;

	hash_bytes(hello, strlen(hello), &id);
	must(blockdb_put(f->db, &id, hello, strlen(hello), &fresh));
	must(blockdb_put_head(f->db, head, strlen(head)));
	hash_bytes(third, strlen(third), &id);
	must(blockdb_put(f->db, &id, third, strlen(third), &fresh));
	must(checkpoint(f->db, f->ix));
}

static void
the_golden_pack_is_written_as_ever(void **state)
{
	static const uint8_t golden[] = {
#include "tests/contract/golden_pack.inc"
	};
	struct fixture *f = *state;
	uint8_t got[sizeof(golden) + 1];
	struct disk_file *file;
	size_t len;

	make_golden(f);
	must(disk_open(f->d, GOLDEN, DISK_READ, &file));
	must(disk_read(file, 0, got, sizeof(got), &len));
	disk_file_close(file);
	assert_int_equal(len, sizeof(golden));
	assert_memory_equal(got, golden, sizeof(golden));
}

static void
every_flipped_bit_of_a_pack_is_noticed_and_costs_one_frame(void **state)
{
	struct fixture *f = *state;
	uint64_t size;

	make_golden(f);
	size = pack_size(f->d, GOLDEN);
	for (uint64_t bit = 0; bit < 8 * size; bit++) {
		struct tally t;

		must(disk_mem_flip(f->d, GOLDEN, bit));
		t = walk(f->d);
		assert_int_equal(t.damages, 1);
		assert_int_equal(t.off <= bit / 8, 1);
		assert_true(bit / 8 < t.off + t.damaged);
		assert_int_equal(
		    t.blocks + t.heads, bit / 8 < PACK_HEADER ? 3 : 2);
		must(disk_mem_flip(f->d, GOLDEN, bit));
	}
}

static void
every_prefix_of_a_pack_is_whole_frames_and_damage(void **state)
{
	struct fixture *f = *state;
	uint64_t size;
	const uint64_t end[] = { PACK_HEADER, PACK_HEADER + frame_size(11),
		PACK_HEADER + frame_size(11) + frame_size(16) };

	make_golden(f);
	size = pack_size(f->d, GOLDEN);
	assert_int_equal(size, end[2] + frame_size(3));
	while (size--) {
		struct tally t;
		uint64_t whole = 0, frames = 0;

		truncate_to(f->d, GOLDEN, size);
		t = walk(f->d);
		for (unsigned i = 0; i < 3; i++) {
			if (size < end[i])
				continue;
			whole = end[i];
			frames = i;
		}
		assert_int_equal(t.blocks + t.heads, frames);
		assert_int_equal(t.damaged, size - whole);
		assert_int_equal(t.damages, size != whole);
	}
}

/* ---- what a crash leaves ------------------------------------------------ */

static void
whole_frames_behind_the_mark_stay_and_the_rest_is_cut_off(void **state)
{
	struct fixture *f = *state;
	uint64_t end, more;
	uint8_t junk[100];

	memset(junk, 0x5a, sizeof(junk));
	put_range(f, 0, 5);
	must(checkpoint(f->db, f->ix));
	end = pack_size(f->d, "packs/00000001");
	put_range(f, 5, 7);
	must(blockdb_flush(f->db)); /* and no commit */
	more = pack_size(f->d, "packs/00000001");
	assert_true(more > end);
	overwrite(f->d, "packs/00000001", more, junk, sizeof(junk));
	reopen(f);
	assert_int_equal(pack_size(f->d, "packs/00000001"), more);
	assert_range(f, 0, 5, OK);
	assert_range(f, 5, 7, ERR_ABSENT);
	put_range(f, 5, 10);
	must(checkpoint(f->db, f->ix));
	assert_int_equal(walk(f->d).damages, 0);
	reopen(f);
	assert_range(f, 0, 10, OK);
}

static void
what_follows_the_first_hole_behind_the_mark_is_cut_off(void **state)
{
	struct fixture *f = *state;
	uint8_t zero[100] = { 0 };
	uint64_t end;

	put_range(f, 0, 5);
	must(checkpoint(f->db, f->ix));
	end = pack_size(f->d, "packs/00000001");
	put_range(f, 5, 10);
	must(blockdb_flush(f->db));
	overwrite(f->d, "packs/00000001", end, zero, sizeof(zero));
	reopen(f);
	assert_int_equal(pack_size(f->d, "packs/00000001"), end);
	assert_range(f, 0, 5, OK);
}

static void
damage_before_the_mark_is_left_alone(void **state)
{
	struct fixture *f = *state;
	uint8_t junk[20]; /* header, first frame */
	uint64_t size;

	memset(junk, 0x5a, sizeof(junk));
	put_range(f, 0, 10);
	must(checkpoint(f->db, f->ix));
	size = pack_size(f->d, "packs/00000001");
	overwrite(f->d, "packs/00000001", 0, junk, sizeof(junk));
	reopen(f);
	assert_range(f, 0, 1, ERR_CORRUPT);
	assert_range(f, 1, 10, OK);
	assert_int_equal(pack_size(f->d, "packs/00000001"), size);
}

static void
a_place_that_the_index_knows_is_never_given_again(void **state)
{
	struct fixture *f = *state;

	put_range(f, 0, 10);
	must(checkpoint(f->db, f->ix));
	truncate_to(
	    f->d, "packs/00000001", PACK_HEADER + frame_size(len_of(0)));
	reopen(f);
	assert_range(f, 0, 1, OK);
	assert_range(f, 1, 10, ERR_CORRUPT);
	put_range(f, 20, 30);
	must(checkpoint(f->db, f->ix));
	assert_true(pack_size(f->d, "packs/00000002") > PACK_HEADER);
	assert_range(f, 1, 10, ERR_CORRUPT);
	assert_range(f, 20, 30, OK);
	blockdb_close(f->db);
	f->db = NULL;
	must(disk_unlink(f->d, "packs/00000001"));
	must(disk_unlink(f->d, "packs/00000002"));
	reopen(f);
	put_range(f, 30, 40);
	must(checkpoint(f->db, f->ix));
	assert_true(pack_size(f->d, "packs/00000003") > PACK_HEADER);
	assert_range(f, 0, 10, ERR_CORRUPT);
	assert_range(f, 20, 30, ERR_CORRUPT);
	assert_range(f, 30, 40, OK);
}

static void
without_an_index_nothing_whole_is_cut_off(void **state)
{
	struct fixture *f = *state;
	uint8_t junk[16] = { 1 };
	struct index_txn *txn;
	uint64_t size, damaged;

	put_range(f, 0, 10);
	must(checkpoint(f->db, f->ix));
	size = pack_size(f->d, "packs/00000001");
	overwrite(f->d, "packs/00000001", 20, junk, sizeof(junk));
	overwrite(f->d, "packs/00000001", size, junk, sizeof(junk));
	must(index_begin_write(f->ix, &txn));
	must(index_clear(txn));
	must(index_commit(&txn));
	reopen(f);
	assert_int_equal(pack_size(f->d, "packs/00000001"), size);
	assert_range(f, 0, 10, ERR_ABSENT);
	rebuild(f->d, f->ix, &damaged);
	reopen(f);
	assert_range(f, 0, 1, ERR_ABSENT);
	assert_range(f, 1, 10, OK);
}

static void
a_pack_whose_header_is_damaged_is_not_appended_to(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn;
	uint64_t size;

	put_range(f, 0, 3);
	must(checkpoint(f->db, f->ix));
	size = pack_size(f->d, "packs/00000001");
	overwrite(f->d, "packs/00000001", 3, "?", 1);
	must(index_begin_write(f->ix, &txn));
	must(index_clear(txn));
	must(index_commit(&txn));
	reopen(f);
	put_range(f, 3, 6);
	must(checkpoint(f->db, f->ix));
	assert_int_equal(pack_size(f->d, "packs/00000001"), size);
	assert_true(pack_size(f->d, "packs/00000002") > PACK_HEADER);
	reopen(f);
	assert_range(f, 3, 6, OK);
}

static void
a_pack_that_a_crash_left_empty_is_removed(void **state)
{
	struct fixture *f = *state;
	struct disk_file *file;
	uint8_t half[10] = { 'P' };

	put_range(f, 0, 3);
	must(checkpoint(f->db, f->ix));
	overwrite(f->d, "packs/00000002", 0, half, sizeof(half));
	reopen(f);
	assert_e(
	    disk_open(f->d, "packs/00000002", DISK_READ, &file), ERR_ABSENT);
	overwrite(f->d, "packs/00000002", 0, half, 0);
	reopen(f);
	assert_int_equal(walk(f->d).damages, 0);
	put_range(f, 3, 6);
	must(checkpoint(f->db, f->ix));
	reopen(f);
	assert_range(f, 0, 6, OK);
}

static void
files_of_other_names_are_none_of_ours(void **state)
{
	static const char *const name[] = { "packs/00000000", "packs/0000000G",
		"packs/000000001", "packs/0000001", "packs/0000000A" };
	struct fixture *f = *state;

	put_range(f, 0, 3);
	must(checkpoint(f->db, f->ix));
	for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		overwrite(f->d, name[i], 0, "junk", 4);
	reopen(f);
	assert_range(f, 0, 3, OK);
	assert_int_equal(walk(f->d).damages, 0);
	for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		must(disk_unlink(f->d, name[i]));
}

/* ---- threads ------------------------------------------------------------ */

struct shared {
	struct fixture *f;
	atomic_uint put; /* blocks below this are there */
	atomic_bool done;
	atomic_uint wrong;
};

static void *
read_for_ever(void *arg)
{
	struct shared *s = arg;
	struct rng rng;

	rng_init(&rng, (uintptr_t)&rng);
	while (!atomic_load(&s->done)) {
		unsigned below = atomic_load(&s->put);
		struct id id;
		uint8_t *bytes, *got;
		size_t len, n;
		unsigned i;

		if (!below)
			continue;
		i = (unsigned)rng_below(&rng, below);
		n = len_of(i);
		bytes = malloc(n);
		if (!bytes)
			break;
		rng_init(&rng, i); /* as make_block(), which may not assert */
		for (size_t j = 0; j < n; j++)
			bytes[j] = (uint8_t)rng_u64(&rng);
		hash_bytes(bytes, n, &id);
		if (blockdb_get(s->f->db, &id, &got, &len)) {
			atomic_fetch_add(&s->wrong, 1);
		} else {
			if (len != n || memcmp(got, bytes, n) != 0)
				atomic_fetch_add(&s->wrong, 1);
			free(got);
		}
		free(bytes);
	}
	return NULL;
}

static void
threads_share_the_files_that_are_open(void **state)
{
	struct fixture *f = *state;
	struct shared s = { .f = f, .put = 2 * PACK_FILES_MAX };
	pthread_t thread[4];

	f->pack_max = 64;
	reopen(f);
	for (unsigned i = 0; i < 2 * PACK_FILES_MAX; i++)
		must(put_block(f->db, i, len_of(i)));
	must(checkpoint(f->db, f->ix));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(
		    pthread_create(&thread[i], NULL, read_for_ever, &s), 0);
	assert_range(f, 0, 2 * PACK_FILES_MAX, OK);
	assert_range(f, 0, 2 * PACK_FILES_MAX, OK);
	atomic_store(&s.done, true);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(atomic_load(&s.wrong), 0);
}

static void
readers_find_every_block_during_checkpoints(void **state)
{
	struct fixture *f = *state;
	struct shared s = { .f = f };
	pthread_t thread[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    pthread_create(&thread[i], NULL, read_for_ever, &s), 0);
	for (unsigned i = 0; i < 400; i++) {
		must(put_block(f->db, i, len_of(i)));
		atomic_store(&s.put, i + 1);
		if (i % 20 == 19)
			must(checkpoint(f->db, f->ix));
	}
	atomic_store(&s.done, true);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(atomic_load(&s.wrong), 0);
}

#define MEM(test) cmocka_unit_test_setup_teardown(test, mem_new, mem_end)
#define BOTH(test)                                                             \
	MEM(test), cmocka_unit_test_setup_teardown(test, real_new, real_end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_block_is_read_when_put_flushed_committed_and_reopened),
		BOTH(has_len_and_where_agree),
		BOTH(a_block_that_is_here_is_not_stored_again),
		BOTH(lengths_from_one_to_the_largest_are_kept),
		BOTH(blocks_of_a_commit_that_failed_are_indexed_by_the_next),
		BOTH(blocks_put_after_the_flush_wait_for_the_next_commit),
		BOTH(a_full_pack_is_followed_by_another),
		BOTH(more_packs_than_may_be_open_are_read),
		BOTH(a_walk_meets_every_frame_once),
		BOTH(a_walk_goes_in_the_order_of_writing_and_stops_when_told),
		BOTH(a_rebuilt_index_equals_the_one_that_grew),
		BOTH(a_damaged_block_is_corrupt_and_its_file_can_be_named),
		BOTH(a_pack_that_is_gone_is_corrupt_and_not_absent),
		BOTH(a_row_that_makes_no_sense_is_corrupt),
		BOTH(the_golden_pack_is_written_as_ever),
		MEM(every_flipped_bit_of_a_pack_is_noticed_and_costs_one_frame),
		MEM(every_prefix_of_a_pack_is_whole_frames_and_damage),
		BOTH(whole_frames_behind_the_mark_stay_and_the_rest_is_cut_off),
		BOTH(what_follows_the_first_hole_behind_the_mark_is_cut_off),
		BOTH(damage_before_the_mark_is_left_alone),
		BOTH(a_place_that_the_index_knows_is_never_given_again),
		BOTH(without_an_index_nothing_whole_is_cut_off),
		BOTH(a_pack_whose_header_is_damaged_is_not_appended_to),
		BOTH(a_pack_that_a_crash_left_empty_is_removed),
		BOTH(files_of_other_names_are_none_of_ours),
		BOTH(readers_find_every_block_during_checkpoints),
		BOTH(threads_share_the_files_that_are_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
