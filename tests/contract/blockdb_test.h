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
#include <unistd.h>

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

/* ---- fixtures for cmocka ------------------------------------------------ */

#define FIXTURE_PACK_MAX (64u << 10)

static inline int
mem_new(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	set_up_mem(f, 1, FIXTURE_PACK_MAX);
	*state = f;
	return 0;
}

static inline int
mem_end(void **state)
{
	tear_down_mem(*state);
	free(*state);
	return 0;
}

static inline int
real_new(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	must(crypto_init());
	f->pack_max = FIXTURE_PACK_MAX;
	snprintf(f->dir, sizeof(f->dir), "/tmp/post-blockdb-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	must(disk_posix_open(f->dir, &f->d));
	must(index_lmdb_open(f->dir, &f->ix));
	must(blockdb_open(f->d, f->ix, f->pack_max, &f->db));
	*state = f;
	return 0;
}

static inline enum err
unlink_pack(void *arg, const char *entry)
{
	char name[64];

	snprintf(name, sizeof(name), "packs/%s", entry);
	return disk_unlink(arg, name);
}

static inline int
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

static inline void
assert_e(enum err e, enum err want)
{
	assert_string_equal(err_name(e), err_name(want));
}

/* Lengths that pad in every way, and one over the buffer's size. */
static inline size_t
len_of(unsigned number)
{
	return number % 97 == 13 ? 40000 : 1 + number * 7919u % 3000;
}

static inline void
put_range(struct fixture *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		must(put_block(f->db, i, len_of(i)));
}

static inline void
assert_range(struct fixture *f, unsigned from, unsigned to, enum err want)
{
	for (unsigned i = from; i < to; i++)
		assert_e(get_block(f->db, i, len_of(i)), want);
}

static inline uint64_t
pack_size(struct disk *d, const char *name)
{
	struct disk_file *file;
	uint64_t size;

	must(disk_open(d, name, DISK_READ, &file));
	must(disk_size(file, &size));
	disk_file_close(file);
	return size;
}

static inline void
overwrite(struct disk *d, const char *name, uint64_t off, const void *bytes,
    size_t len)
{
	struct disk_file *file;

	must(disk_open(d, name, DISK_CREATE, &file));
	must(disk_write(file, off, bytes, len));
	must(disk_sync(file));
	disk_file_close(file);
}

static inline void
truncate_to(struct disk *d, const char *name, uint64_t size)
{
	struct disk_file *file;

	must(disk_open(d, name, DISK_WRITE, &file));
	must(disk_truncate(file, size));
	must(disk_sync(file));
	disk_file_close(file);
}

static inline void
rebuild(struct disk *d, struct index *ix, uint64_t *damaged)
{
	struct index_txn *txn;

	must(index_begin_write(ix, &txn));
	must(index_clear(txn));
	must(blockdb_rebuild(d, txn, damaged));
	must(index_commit(&txn));
}

#define MEM(test) cmocka_unit_test_setup_teardown(test, mem_new, mem_end)
#define BOTH(test)                                                             \
	MEM(test), cmocka_unit_test_setup_teardown(test, real_new, real_end)

#endif
