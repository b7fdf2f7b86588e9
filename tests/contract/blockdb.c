/* What blockdb.h promises, on the real disk with LMDB and in memory. */
#include "tests/contract/blockdb_test.h"

#include <pthread.h>
#include <stdatomic.h>

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
		assert_true(size > PACK_HEADER && size <= FIXTURE_PACK_MAX);
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
		BOTH(readers_find_every_block_during_checkpoints),
		BOTH(threads_share_the_files_that_are_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
