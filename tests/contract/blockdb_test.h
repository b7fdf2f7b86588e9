/* What the tests of blockdb share: numbered blocks of known contents, and a
 * block database over an index and a disk of either kind. */
#ifndef POST_TESTS_BLOCKDB_TEST_H
#define POST_TESTS_BLOCKDB_TEST_H

#include "store/pack.h"

#include "overlay/base/crypto.h"
#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define must(call) assert_string_equal(err_name(call), "OK")

struct fixture {
	struct disk *d;
	struct index *ix;
	struct blockdb *db;
	uint64_t pack_max;
	char dir[64]; /* empty: memory */
};

/* Block `number`: its bytes and id.  The caller frees. */
static inline uint8_t *
make_block(unsigned number, size_t len, struct id *id)
{
	uint8_t *bytes = malloc(len);
	struct rng rng;

	assert_non_null(bytes);
	rng_init(&rng, number);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rng_u64(&rng);
	hash_bytes(bytes, len, id);
	return bytes;
}

static inline enum err
put_block(struct blockdb *db, unsigned number, size_t len)
{
	struct id id;
	uint8_t *bytes = make_block(number, len, &id);
	bool fresh;
	enum err e = blockdb_put(db, &id, bytes, len, &fresh);

	free(bytes);
	return e;
}

/* What blockdb_get() says of it; OK means that the bytes were right too. */
static inline enum err
get_block(struct blockdb *db, unsigned number, size_t len)
{
	struct id id;
	uint8_t *bytes = make_block(number, len, &id), *got;
	size_t got_len;
	enum err e = blockdb_get(db, &id, &got, &got_len);

	if (!e) {
		assert_int_equal(got_len, len);
		assert_memory_equal(got, bytes, len);
		free(got);
	}
	free(bytes);
	return e;
}

/* Index and commit what was flushed. */
static inline enum err
commit_blocks(struct blockdb *db, struct index *ix)
{
	struct index_txn *txn;
	enum err e = index_begin_write(ix, &txn);

	if (e)
		return e;
	e = blockdb_index(db, txn);
	if (!e)
		e = index_commit(&txn);
	index_abort(&txn);
	if (e)
		blockdb_uncommitted(db);
	else
		blockdb_committed(db);
	return e;
}

static inline enum err
checkpoint(struct blockdb *db, struct index *ix)
{
	enum err e = blockdb_flush(db);

	return e ? e : commit_blocks(db, ix);
}

static inline void
reopen(struct fixture *f)
{
	blockdb_close(f->db);
	f->db = NULL;
	must(blockdb_open(f->d, f->ix, f->pack_max, &f->db));
}

static inline void
set_up_mem(struct fixture *f, uint64_t seed, uint64_t pack_max)
{
	memset(f, 0, sizeof(*f));
	must(crypto_init());
	f->pack_max = pack_max;
	must(disk_mem_new(seed, &f->d));
	must(index_mem_new(&f->ix));
	must(blockdb_open(f->d, f->ix, pack_max, &f->db));
}

static inline void
tear_down_mem(struct fixture *f)
{
	blockdb_close(f->db);
	index_close(f->ix);
	disk_close(f->d);
}

struct tally {
	uint64_t blocks, heads, damages, damaged;
	char pack[32]; /* of the last damage */
	uint64_t off;
};

static inline enum err
tally_one(
    void *arg, const struct frame_place *at, const uint8_t *bytes, size_t len)
{
	struct tally *t = arg;

	assert_int_equal(at->off % FRAME_ALIGN, 0);
	if (at->e) {
		assert_string_equal(err_name(at->e), "ERR_CORRUPT");
		assert_null(bytes);
		t->damages++;
		t->damaged += len;
		snprintf(t->pack, sizeof(t->pack), "%s", at->pack);
		t->off = at->off;
	} else if (at->type == FRAME_BLOCK) {
		t->blocks++;
	} else {
		assert_int_equal(at->type, FRAME_HEAD);
		t->heads++;
	}
	return OK;
}

static inline struct tally
walk(struct disk *d)
{
	struct tally t = { 0 };

	must(blockdb_walk(d, tally_one, &t));
	return t;
}

#endif
