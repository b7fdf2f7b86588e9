/* index_private.h - what an implementation of index.h fills in.
 *
 * An implementation begins its own structures with these; index.c checks the
 * arguments and passes every call on, so the implementations see keys of 1 to
 * INDEX_KEY_MAX bytes (seek: from 0), values of at most INDEX_VALUE_MAX, and
 * changes in write transactions only. */
#ifndef POST_STORE_INDEX_PRIVATE_H
#define POST_STORE_INDEX_PRIVATE_H

#include "store/index.h"

#include <stdbool.h>

struct index_bytes {
	const void *p;
	size_t len;
};

struct index_ops {
	void (*close)(struct index *ix);
	void (*warm)(struct index *ix, uint64_t max); /* or NULL */
	enum err (*begin)(struct index *ix, bool write, struct index_txn **out);
	void (*abort)(struct index_txn *txn);
	enum err (*commit)(struct index_txn *txn);
	enum err (*get)(struct index_txn *txn, enum index_table t,
	    struct index_bytes key, struct index_bytes *val);
	enum err (*put)(struct index_txn *txn, enum index_table t,
	    struct index_bytes key, struct index_bytes val);
	enum err (*del)(
	    struct index_txn *txn, enum index_table t, struct index_bytes key);
	/* On any outcome but OK there is no cursor to close. */
	enum err (*seek)(struct index_txn *txn, enum index_table t,
	    struct index_bytes from, struct index_cursor **out,
	    struct index_bytes *key, struct index_bytes *val);
	enum err (*next)(struct index_cursor *c, struct index_bytes *key,
	    struct index_bytes *val);
	void (*cursor_close)(struct index_cursor *c);
	enum err (*count)(
	    struct index_txn *txn, enum index_table t, uint64_t *out);
	enum err (*clear)(struct index_txn *txn);
};

struct index {
	const struct index_ops *ops;
};

struct index_txn {
	struct index *ix;
	unsigned cursors; /* open ones */
	bool write;
};

struct index_cursor {
	struct index_txn *txn;
};

#endif
