/* index.c - checks arguments, then asks the implementation. */
#include "store/index_private.h"

#include <assert.h>

static struct index_bytes
key_bytes(enum index_table t, const void *key, size_t len)
{
	assert((unsigned)t < INDEX_TABLES);
	assert(len >= 1 && len <= INDEX_KEY_MAX);
	return (struct index_bytes){ key, len };
}

void
index_close(struct index *ix)
{
	if (ix)
		ix->ops->close(ix);
}

void
index_warm(struct index *ix, uint64_t max)
{
	if (ix->ops->warm)
		ix->ops->warm(ix, max);
}

enum err
index_begin_read(struct index *ix, struct index_txn **out)
{
	return ix->ops->begin(ix, false, out);
}

enum err
index_begin_write(struct index *ix, struct index_txn **out)
{
	return ix->ops->begin(ix, true, out);
}

void
index_abort(struct index_txn **txn)
{
	if (!*txn)
		return;
	assert((*txn)->cursors == 0);
	(*txn)->ix->ops->abort(*txn);
	*txn = NULL;
}

enum err
index_commit(struct index_txn **txn)
{
	enum err e;

	assert((*txn)->write && (*txn)->cursors == 0);
	e = (*txn)->ix->ops->commit(*txn);
	*txn = NULL;
	return e;
}

enum err
index_get(struct index_txn *txn, enum index_table t, const void *key,
    size_t key_len, const uint8_t **val, size_t *val_len)
{
	struct index_bytes v;
	enum err e;

	e = txn->ix->ops->get(txn, t, key_bytes(t, key, key_len), &v);
	if (e)
		return e;
	*val = v.p;
	*val_len = v.len;
	return OK;
}

enum err
index_put(struct index_txn *txn, enum index_table t, const void *key,
    size_t key_len, const void *val, size_t val_len)
{
	assert(txn->write);
	if (val_len > INDEX_VALUE_MAX)
		return ERR_TOO_BIG;
	return txn->ix->ops->put(txn, t, key_bytes(t, key, key_len),
	    (struct index_bytes){ val, val_len });
}

enum err
index_del(
    struct index_txn *txn, enum index_table t, const void *key, size_t key_len)
{
	assert(txn->write);
	return txn->ix->ops->del(txn, t, key_bytes(t, key, key_len));
}

enum err
index_seek(struct index_txn *txn, enum index_table t, const void *from,
    size_t from_len, struct index_cursor **out, const uint8_t **key,
    size_t *key_len, const uint8_t **val, size_t *val_len)
{
	struct index_bytes k, v;
	enum err e;

	assert((unsigned)t < INDEX_TABLES && from_len <= INDEX_KEY_MAX);
	e = txn->ix->ops->seek(
	    txn, t, (struct index_bytes){ from, from_len }, out, &k, &v);
	if (e)
		return e;
	txn->cursors++;
	*key = k.p;
	*key_len = k.len;
	*val = v.p;
	*val_len = v.len;
	return OK;
}

enum err
index_next(struct index_cursor *c, const uint8_t **key, size_t *key_len,
    const uint8_t **val, size_t *val_len)
{
	struct index_bytes k, v;
	enum err e = c->txn->ix->ops->next(c, &k, &v);

	if (e)
		return e;
	*key = k.p;
	*key_len = k.len;
	*val = v.p;
	*val_len = v.len;
	return OK;
}

void
index_cursor_close(struct index_cursor *c)
{
	if (!c)
		return;
	c->txn->cursors--;
	c->txn->ix->ops->cursor_close(c);
}

enum err
index_count(struct index_txn *txn, enum index_table t, uint64_t *out)
{
	assert((unsigned)t < INDEX_TABLES);
	return txn->ix->ops->count(txn, t, out);
}

static enum err
check_table(struct index_txn *txn, enum index_table t)
{
	struct index_bytes key, val;
	struct index_cursor *c = NULL;
	const struct index_ops *ops = txn->ix->ops;
	uint64_t count, met = 0;
	enum err e;

	if ((e = ops->count(txn, t, &count)))
		return e;
	e = ops->seek(txn, t, (struct index_bytes){ 0 }, &c, &key, &val);
	for (; !e; e = ops->next(c, &key, &val))
		met++;
	if (c)
		ops->cursor_close(c);
	if (e == ERR_ABSENT)
		e = met == count ? OK : ERR_CORRUPT;
	return e;
}

enum err
index_check(struct index *ix)
{
	struct index_txn *txn = NULL;
	enum err e = index_begin_read(ix, &txn);

	for (unsigned t = 0; !e && t < INDEX_TABLES; t++)
		e = check_table(txn, t);
	index_abort(&txn);
	return e;
}

enum err
index_clear(struct index_txn *txn)
{
	assert(txn->write);
	return txn->ix->ops->clear(txn);
}
