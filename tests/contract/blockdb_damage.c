/* Blocks of packs that are damaged, cut short, gone, or as a crash leaves
 * them; on the real disk with LMDB and in memory. */
#include "tests/contract/blockdb_test.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
