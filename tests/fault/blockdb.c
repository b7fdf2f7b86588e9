/* Blocks while the disk fails, fills up, loses power or can not be read. */
#include "tests/contract/blockdb_test.h"

#include "store/disk_private.h"

#define PACK_MAX 6000u
#define ROUNDS 5u
#define PER_ROUND 6u
#define BLOCKS (2 * ROUNDS * PER_ROUND)

/* What we know of each block. */
struct model {
	bool put[BLOCKS], committed[BLOCKS];
	unsigned next;
};

/* Up to which block a checkpoint took. */
static enum err
model_checkpoint(struct fixture *f, struct model *m)
{
	enum err e = checkpoint(f->db, f->ix);

	for (unsigned i = 0; !e && i < BLOCKS; i++)
		m->committed[i] |= m->put[i];
	return e;
}

/* Some rounds of blocks, heads and checkpoints, until the first error. */
static enum err
work(struct fixture *f, struct model *m)
{
	enum err e;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < PER_ROUND; i++, m->next++) {
			e = put_block(f->db, m->next, len_of(m->next));
			if (e)
				return e;
			m->put[m->next] = true;
		}
		if ((e = blockdb_put_head(f->db, "head", 4)) ||
		    (e = model_checkpoint(f, m)))
			return e;
	}
	return OK;
}

/* The same, but every step is tried again until it succeeds. */
static unsigned
work_stubbornly(struct fixture *f, struct model *m)
{
	unsigned failures = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < PER_ROUND; i++, m->next++) {
			while (put_block(f->db, m->next, len_of(m->next)))
				failures++;
			m->put[m->next] = true;
		}
		while (blockdb_put_head(f->db, "head", 4))
			failures++;
		while (model_checkpoint(f, m)) {
			failures++;
			for (unsigned i = 0; i < BLOCKS; i++)
				if (m->put[i])
					must(get_block(f->db, i, len_of(i)));
		}
	}
	return failures;
}

static void
assert_keeps(struct fixture *f, const struct model *m)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		enum err e = get_block(f->db, i, len_of(i));

		if (m->committed[i])
			must(e);
		else if (e)
			assert_string_equal(err_name(e), "ERR_ABSENT");
	}
}

/* The packs alone suffice for what was committed. */
static void
assert_rebuilds(struct fixture *f, const struct model *m)
{
	struct index *kept = f->ix;
	struct index_txn *txn;
	uint64_t damaged;

	must(index_mem_new(&f->ix));
	must(index_begin_write(f->ix, &txn));
	must(blockdb_rebuild(f->d, txn, &damaged));
	must(index_commit(&txn));
	reopen(f);
	assert_keeps(f, m);
	blockdb_close(f->db);
	f->db = NULL;
	index_close(f->ix);
	f->ix = kept;
	reopen(f);
}

static bool
has_mark(struct index *ix)
{
	struct pack_mark mark;
	struct index_txn *txn;
	enum err e;

	must(index_begin_read(ix, &txn));
	e = mark_get(txn, &mark);
	index_abort(&txn);
	return !e;
}

/* The disk dies at its nth change; then the power goes, or (kill) the process
 * alone.  False if nothing failed any more. */
static bool
die_at(uint64_t nth, uint64_t seed, bool kill)
{
	struct model m = { .next = 0 };
	struct fixture f;
	enum err e;
	bool died;

	set_up_mem(&f, seed, PACK_MAX);
	disk_mem_fail(f.d, nth, ERR_IO, true);
	e = work(&f, &m);
	died = disk_mem_failed(f.d);
	assert_int_equal(e != OK, died);
	disk_mem_fail(f.d, 0, OK, false);
	blockdb_close(f.db);
	f.db = NULL;
	if (kill)
		disk_mem_kill(f.d);
	else
		disk_mem_crash(f.d);
	must(blockdb_open(f.d, f.ix, PACK_MAX, &f.db));
	assert_keeps(&f, &m);
	/* Damage is no alarm after a crash, since there is none left; only
	 * before the first commit nothing tells us what was of no use. */
	if (has_mark(f.ix))
		assert_int_equal(walk(f.d).damages, 0);
	assert_rebuilds(&f, &m);
	memcpy(m.put, m.committed, sizeof(m.put));
	m.next = BLOCKS / 2;
	must(work(&f, &m));
	assert_keeps(&f, &m);
	assert_rebuilds(&f, &m);
	tear_down_mem(&f);
	return died;
}

static void
a_power_cut_at_any_change_loses_nothing_committed(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		uint64_t nth = 1;

		while (die_at(nth, seed * 1000 + nth, false))
			nth++;
		assert_true(nth > 2 * ROUNDS);
	}
}

static void
a_kill_at_any_change_loses_nothing_committed(void **state)
{
	uint64_t nth = 1;

	(void)state;
	while (die_at(nth, nth, true))
		nth++;
	assert_true(nth > 2 * ROUNDS);
}

static void
after_any_one_failure_the_work_goes_on(void **state)
{
	static const enum err how[] = { ERR_IO, ERR_NOSPACE };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		bool failed = true;

		for (uint64_t nth = 1; failed; nth++) {
			struct model m = { .next = 0 };
			struct fixture f;

			set_up_mem(&f, nth, PACK_MAX);
			disk_mem_fail(f.d, nth, how[i], false);
			/* A failure may be survived in silence: of what only
			 * gives room back. */
			work_stubbornly(&f, &m);
			failed = disk_mem_failed(f.d);
			assert_true(failed || nth > 2 * ROUNDS);
			disk_mem_fail(f.d, 0, OK, false);
			assert_keeps(&f, &m);
			/* A sync that failed lost what it should have kept,
			 * and says so to nobody the second time. */
			blockdb_close(f.db);
			f.db = NULL;
			disk_mem_crash(f.d);
			must(blockdb_open(f.d, f.ix, PACK_MAX, &f.db));
			for (unsigned b = 0; b < BLOCKS / 2; b++)
				assert_true(m.committed[b]);
			assert_keeps(&f, &m);
			assert_rebuilds(&f, &m);
			tear_down_mem(&f);
		}
	}
}

static void
after_any_two_failures_the_work_goes_on(void **state)
{
	bool failed = true;

	(void)state;
	for (uint64_t nth = 1; failed; nth++) {
		for (uint64_t then = 1; then <= 4; then++) {
			struct model m = { .next = 0 };
			struct fixture f;

			set_up_mem(&f, 7 * nth + then, PACK_MAX);
			disk_mem_fail(f.d, nth, ERR_IO, false);
			while (!disk_mem_failed(f.d) && m.next < BLOCKS / 2)
				if (work(&f, &m))
					break;
			failed = disk_mem_failed(f.d);
			disk_mem_fail(f.d, failed ? then : 0, ERR_IO, false);
			while (model_checkpoint(&f, &m))
				assert_true(failed);
			disk_mem_fail(f.d, 0, OK, false);
			blockdb_close(f.db);
			f.db = NULL;
			disk_mem_crash(f.d);
			must(blockdb_open(f.d, f.ix, PACK_MAX, &f.db));
			for (unsigned b = 0; b < BLOCKS; b++)
				assert_int_equal(m.put[b], m.committed[b]);
			assert_keeps(&f, &m);
			assert_rebuilds(&f, &m);
			tear_down_mem(&f);
		}
	}
}

static void
after_any_failure_of_the_index_the_next_commit_has_all(void **state)
{
	unsigned failures = 1;

	(void)state;
	for (uint64_t nth = 1; failures; nth++) {
		struct model m = { .next = 0 };
		struct fixture f;

		set_up_mem(&f, nth, PACK_MAX);
		index_mem_fail(f.ix, nth, ERR_NOSPACE);
		failures = work_stubbornly(&f, &m);
		assert_true(failures || nth > ROUNDS * PER_ROUND);
		reopen(&f);
		assert_keeps(&f, &m);
		tear_down_mem(&f);
	}
}

static void
a_disk_that_fills_up_and_gets_room_again_is_used_again(void **state)
{
	(void)state;
	for (uint64_t limit = 0; limit < 30000; limit += 700) {
		struct model m = { .next = 0 };
		struct fixture f;

		set_up_mem(&f, limit + 1, PACK_MAX);
		disk_mem_limit(f.d, limit);
		assert_string_equal(err_name(work(&f, &m)), "ERR_NOSPACE");
		/* What was written of a write that failed is given back. */
		assert_int_equal(walk(f.d).damages, 0);
		for (unsigned i = 0; i < BLOCKS; i++)
			if (m.put[i])
				must(get_block(f.db, i, len_of(i)));
		disk_mem_limit(f.d, UINT64_MAX);
		must(model_checkpoint(&f, &m));
		m.next = BLOCKS / 2;
		must(work(&f, &m));
		assert_int_equal(walk(f.d).damages, 0);
		reopen(&f);
		assert_keeps(&f, &m);
		tear_down_mem(&f);
	}
}

static void
a_buffer_that_can_not_be_written_refuses_more_and_loses_nothing(void **state)
{
	struct fixture f;
	unsigned n = 0;
	enum err e;

	(void)state;
	set_up_mem(&f, 1, 64u << 20);
	disk_mem_limit(f.d, 100);
	while (!(e = put_block(f.db, n, 100000)))
		n++;
	assert_string_equal(err_name(e), "ERR_NOSPACE");
	assert_true(n >= 10);
	for (unsigned i = 0; i < n; i++)
		must(get_block(f.db, i, 100000));
	assert_string_equal(
	    err_name(put_block(f.db, n, 100000)), "ERR_NOSPACE");
	disk_mem_limit(f.d, UINT64_MAX);
	must(put_block(f.db, n, 100000));
	must(checkpoint(f.db, f.ix));
	reopen(&f);
	for (unsigned i = 0; i <= n; i++)
		must(get_block(f.db, i, 100000));
	tear_down_mem(&f);
}

/* ---- sectors that can not be read --------------------------------------- */

/* A disk with one bad range in every file. */
struct bad_disk {
	struct disk base;
	struct disk *below;
	uint64_t from, to;
};

struct bad_file {
	struct disk_file base;
	struct disk_file *below;
	const struct bad_disk *disk;
};

static const struct disk_ops bad_ops;

static enum err
bad_open(struct disk *d, const char *name, enum disk_mode mode,
    struct disk_file **out)
{
	struct bad_disk *bad = (struct bad_disk *)d;
	struct bad_file *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	must(disk_open(bad->below, name, mode, &f->below));
	f->base.ops = &bad_ops;
	f->base.writable = mode != DISK_READ;
	f->disk = bad;
	*out = &f->base;
	return OK;
}

static enum err
bad_names(struct disk *d, const char *name, struct disk_names *all)
{
	struct disk *below = ((struct bad_disk *)d)->below;

	return below->ops->names(below, name, all);
}

static void
bad_close(struct disk_file *file)
{
	disk_file_close(((struct bad_file *)file)->below);
	free(file);
}

static enum err
bad_read(
    struct disk_file *file, uint64_t off, void *buf, size_t len, size_t *got)
{
	struct bad_file *f = (struct bad_file *)file;

	if (off < f->disk->to && off + len > f->disk->from)
		return ERR_IO;
	return disk_read(f->below, off, buf, len, got);
}

static enum err
bad_size(struct disk_file *file, uint64_t *size)
{
	return disk_size(((struct bad_file *)file)->below, size);
}

static const struct disk_ops bad_ops = {
	.open = bad_open,
	.names = bad_names,
	.file_close = bad_close,
	.read = bad_read,
	.size = bad_size,
};

static void
a_walk_goes_around_what_can_not_be_read(void **state)
{
	struct bad_disk bad = { .base = { &bad_ops } };
	struct fixture f;
	struct tally t;

	(void)state;
	set_up_mem(&f, 1, 64u << 20);
	for (unsigned i = 0; i < 100; i++)
		must(put_block(f.db, i, 1000));
	must(checkpoint(f.db, f.ix));
	bad.below = f.d;
	bad.from = 50000;
	bad.to = 50001;
	t = walk(&bad.base);
	/* One sector of 4096 bytes, and the frames it touches. */
	assert_int_equal(t.damages, 1);
	assert_in_range(t.blocks, 93, 96);
	assert_int_equal(t.blocks * frame_size(1000) + t.damaged + PACK_HEADER,
	    PACK_HEADER + 100 * frame_size(1000));
	assert_in_range(t.off, 47000, 50000);
	bad.from = 0;
	t = walk(&bad.base);
	assert_true(t.blocks > 40 && t.damages == 1 && t.off == 0);
	tear_down_mem(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_power_cut_at_any_change_loses_nothing_committed),
		cmocka_unit_test(a_kill_at_any_change_loses_nothing_committed),
		cmocka_unit_test(after_any_one_failure_the_work_goes_on),
		cmocka_unit_test(after_any_two_failures_the_work_goes_on),
		cmocka_unit_test(
		    after_any_failure_of_the_index_the_next_commit_has_all),
		cmocka_unit_test(
		    a_disk_that_fills_up_and_gets_room_again_is_used_again),
		cmocka_unit_test(
		    a_buffer_that_can_not_be_written_refuses_more_and_loses_nothing),
		cmocka_unit_test(a_walk_goes_around_what_can_not_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
