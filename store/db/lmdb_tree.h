/* lmdb_tree.h - the committed trees of an LMDB file, read with nothing taken
 * on trust.
 *
 * LMDB follows what its pages say; one bit in a page's header or in a node can
 * lead it out of its map.  Here every offset, length and page number is
 * compared with its bounds before it is used, so that whatever is in the file
 * the worst outcome is ERR_CORRUPT.  A page is looked through as a whole when
 * it is first met (order of the keys, no gap, the checksum of each row), and
 * the row that is given out is checked each time.
 *
 * Only what is committed can be read: a write transaction's own changes are
 * in LMDB's memory.  Nothing is allocated; keys and values are borrowed from
 * the map, for as long as LMDB keeps the snapshot that the tree is of. */
#ifndef POST_STORE_DB_LMDB_TREE_H
#define POST_STORE_DB_LMDB_TREE_H

#include "store/index_private.h"

#include <stdatomic.h>

/* Behind the value of each row; see row_sum(). */
#define ROW_SUM_BYTES 4

/* A tree as LMDB 0.9 (data version 1) describes it, in the byte order and word
 * size of this machine. */
struct lmdb_db {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branches, leaves, overflows, entries, root;
};

_Static_assert(sizeof(struct lmdb_db) == 48, "as LMDB has it");

#define LMDB_NO_PAGE UINT64_MAX

/* The rows of enum index_table, or one of LMDB's own two trees. */
enum {
	LMDB_TREE_NAMES = INDEX_TABLES, /* name -> struct lmdb_db */
	LMDB_TREE_FREE, /* transaction -> pages that it left */
};

struct lmdb_map {
	const uint8_t *base;
	size_t page_bytes;
	/* By page: the tree for which it was looked through, plus 1.  What is
	 * written later comes from memory, and needs no second look. */
	atomic_uchar *seen;
};

struct lmdb_tree {
	const struct lmdb_map *map;
	uint64_t pages; /* of the snapshot; those behind it are none */
	uint64_t root, entries;
	unsigned depth; /* 0: empty */
	unsigned kind; /* table, or as above */
};

#define LMDB_DEPTH_MAX 32 /* LMDB's own */

struct lmdb_path {
	struct lmdb_tree tree;
	unsigned at[LMDB_DEPTH_MAX]; /* node of each level's page */
	const uint8_t *page[LMDB_DEPTH_MAX];
};

/* ERR_CORRUPT: db is none that LMDB writes. */
enum err lmdb_tree_init(struct lmdb_tree *tree, const struct lmdb_map *map,
    uint64_t pages, const struct lmdb_db *db, unsigned kind) MUST_CHECK;

/* As the operations of struct index_ops; values come without their sums.  An
 * ERR_ABSENT is only said of a page that has the keys that its parents promise.
 */
enum err lmdb_tree_get(const struct lmdb_tree *tree, struct index_bytes key,
    struct index_bytes *val) MUST_CHECK;
enum err lmdb_tree_seek(const struct lmdb_tree *tree, struct index_bytes from,
    struct lmdb_path *out, struct index_bytes *key,
    struct index_bytes *val) MUST_CHECK;
enum err lmdb_tree_next(struct lmdb_path *path, struct index_bytes *key,
    struct index_bytes *val) MUST_CHECK;

/* Look at each page that LMDB visits for the row at `key`: those on the way,
 * and, to delete it or to go on from it, those beside each of them. */
enum err lmdb_tree_vet(const struct lmdb_tree *tree, struct index_bytes key,
    bool beside) MUST_CHECK;

/* Look at every page and every row. */
enum err lmdb_tree_vet_all(const struct lmdb_tree *tree) MUST_CHECK;

/* FORMAT.md, "Index". */
uint32_t row_sum(
    enum index_table t, struct index_bytes key, const void *val, size_t len);
/* Take the sum off a value that has one.  ERR_CORRUPT: it does not fit. */
enum err row_check(enum index_table t, struct index_bytes key,
    struct index_bytes *val) MUST_CHECK;

#endif
