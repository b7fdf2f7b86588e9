/* index.h - ordered tables of small values with snapshots and atomic commit:
 * the contract of the embedded database.
 *
 * Implementations: LMDB (store/db/), and memory (index_mem.c), under one
 * contract suite (tests/contract).  All that is kept here can be rebuilt from
 * the packs (scrub), so it may be lost without losing mail.
 *
 * Keys are compared as bytes, at most INDEX_KEY_MAX long.  Values over a page
 * do not belong here (SPIKES: LMDB's overflow pages); INDEX_VALUE_MAX is
 * enforced with ERR_TOO_BIG.  A read transaction sees the state at its begin,
 * whatever is committed meanwhile, and may be used by one thread at a time;
 * there is one write transaction at a time (a second waits).
 *
 * Errors: ERR_NOMEM, ERR_NOSPACE, ERR_IO, ERR_CORRUPT; ERR_ABSENT is an
 * answer. */
#ifndef POST_STORE_INDEX_H
#define POST_STORE_INDEX_H

#include "overlay/base/outcome.h"

#include <stddef.h>
#include <stdint.h>

#define INDEX_KEY_MAX 400
#define INDEX_VALUE_MAX 65536

enum index_table {
	INDEX_META,    /* text name -> state of the store (home, checkpoint) */
	INDEX_BLOCKS,  /* block id -> where it is packed (blockdb.c) */
	INDEX_INODES,  /* ino -> attributes and content (tree.c) */
	INDEX_ENTRIES, /* dir ino, cookie -> child and name (tree.c) */
	INDEX_NAMES,   /* dir ino, hash of name -> cookie (tree.c) */
	INDEX_XATTRS,  /* ino -> extended attributes (tree.c) */
	INDEX_LEDGER,  /* fingerprints of what was imported */
	INDEX_TABLES
};

struct index;
struct index_txn;
struct index_cursor;

/* Open or make the LMDB database in directory `path` (which must exist).
 * Commit is durable on return.  One process opens it once at a time. */
enum err index_lmdb_open(const char *path, struct index **out) MUST_CHECK;

/* Put a damaged database out of the way (data.mdb.damaged, in place of an
 * older one), so that an empty one can be opened and rebuilt.  No process has
 * it open.  ERR_ABSENT: there is none. */
enum err index_lmdb_set_aside(const char *path) MUST_CHECK;

/* Memory.  To abort what was not committed is what a crash does. */
enum err index_mem_new(struct index **out) MUST_CHECK;

void index_close(struct index *ix); /* NULL is allowed; no txn open */

/* Have at most `max` bytes of it read into memory, without waiting for them:
 * after a cold start, each row that is looked up would wait for the disk.
 * Only advice; from any thread. */
void index_warm(struct index *ix, uint64_t max);

enum err index_begin_read(struct index *ix, struct index_txn **out) MUST_CHECK;
enum err index_begin_write(struct index *ix, struct index_txn **out) MUST_CHECK;

/* End a transaction and set *txn to NULL.  Abort takes NULL and both kinds;
 * commit is for writers, and consumes the transaction whatever it returns. */
void index_abort(struct index_txn **txn);
enum err index_commit(struct index_txn **txn) MUST_CHECK;

/* *val is borrowed until the transaction ends or, in a write transaction,
 * until its next change. */
enum err index_get(struct index_txn *txn, enum index_table t, const void *key,
    size_t key_len, const uint8_t **val, size_t *val_len) MUST_CHECK;

/* Insert or replace. */
enum err index_put(struct index_txn *txn, enum index_table t, const void *key,
    size_t key_len, const void *val, size_t val_len) MUST_CHECK;

/* ERR_ABSENT if it was not there. */
enum err index_del(struct index_txn *txn, enum index_table t, const void *key,
    size_t key_len) MUST_CHECK;

/* The first pair whose key is >= the given one (the first of all if from_len
 * is 0), *key, *val borrowed as above, or ERR_ABSENT, and then there is no
 * cursor.  A cursor can be moved while nothing is put or deleted, and is
 * closed before its transaction ends. */
enum err index_seek(struct index_txn *txn, enum index_table t, const void *from,
    size_t from_len, struct index_cursor **out, const uint8_t **key,
    size_t *key_len, const uint8_t **val, size_t *val_len) MUST_CHECK;
enum err index_next(struct index_cursor *c, const uint8_t **key,
    size_t *key_len, const uint8_t **val, size_t *val_len) MUST_CHECK;
void index_cursor_close(struct index_cursor *c); /* NULL is allowed */

/* Number of pairs in a table. */
enum err index_count(
    struct index_txn *txn, enum index_table t, uint64_t *out) MUST_CHECK;

/* Read every row of every table.  ERR_CORRUPT: there is damage. */
enum err index_check(struct index *ix) MUST_CHECK;

/* Empty every table: the first step of a rebuild. */
enum err index_clear(struct index_txn *txn) MUST_CHECK;

/* For tests: let the nth call that changes or commits fail with `e`. */
void index_mem_fail(struct index *ix, uint64_t nth, enum err e);

#endif
