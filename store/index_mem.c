/* index_mem.c - the index in memory, for tests and simulations.
 *
 * Each table is a treap whose priorities are hashes of the keys: its shape
 * depends on its keys alone, so the same run does the same work twice.  Nodes
 * are counted by reference and shared between versions.  A transaction takes
 * references to the roots it sees; a change copies what it must of the path
 * from the root (what others hold too) and alters in place what is its own.
 * So a snapshot costs nothing, and a long transaction does not copy the same
 * node again and again. */
#include "store/index_private.h"

#include "overlay/base/map.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A key and a value; never changed once made. */
struct pair {
	_Atomic uint32_t refs;
	uint32_t key_len, val_len;
	uint64_t priority;
	uint8_t bytes[]; /* key, value */
};

struct node {
	_Atomic uint32_t refs;
	struct pair *pair;
	struct node *left, *right;
};

struct table {
	struct node *root;
	uint64_t count;
};

struct mem {
	struct index base;
	pthread_mutex_t writer; /* held by the write transaction */
	pthread_mutex_t lock; /* guards what follows */
	struct table table[INDEX_TABLES];
	unsigned open; /* transactions */
	uint64_t fail_in;
	enum err fail_with;
};

struct mem_txn {
	struct index_txn base;
	struct table table[INDEX_TABLES];
};

struct mem_cursor {
	struct index_cursor base;
	const struct table *table;
	const struct pair *at;
};

static struct mem *
mem_of(struct index *ix)
{
	return (struct mem *)ix;
}

static struct mem_txn *
txn_of(struct index_txn *txn)
{
	return (struct mem_txn *)txn;
}

/* ---- the treap ---------------------------------------------------------- */

static void
pair_drop(struct pair *p)
{
	if (p && atomic_fetch_sub(&p->refs, 1) == 1)
		free(p);
}

static struct pair *
pair_new(struct index_bytes key, struct index_bytes val)
{
	struct pair *p = malloc(sizeof(*p) + key.len + val.len);

	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->key_len = (uint32_t)key.len;
	p->val_len = (uint32_t)val.len;
	p->priority = hash64(key.p, key.len, 0);
	memcpy(p->bytes, key.p, key.len);
	if (val.len)
		memcpy(p->bytes + key.len, val.p, val.len);
	return p;
}

static struct node *
node_keep(struct node *n)
{
	if (n)
		atomic_fetch_add(&n->refs, 1);
	return n;
}

static void
node_drop(struct node *n)
{
	if (!n || atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	node_drop(n->left);
	node_drop(n->right);
	pair_drop(n->pair);
	free(n);
}

static struct node *
node_new(struct pair *pair, struct node *left, struct node *right)
{
	struct node *n = malloc(sizeof(*n));

	if (!n)
		return NULL;
	atomic_init(&n->refs, 1);
	n->pair = pair;
	n->left = left;
	n->right = right;
	return n;
}

/* Make *at, whose parent is ours alone, ours alone too.  Who else holds it
 * keeps what he sees; nobody can come to hold it meanwhile. */
static enum err
own(struct node **at)
{
	struct node *n = *at, *copy;

	if (atomic_load(&n->refs) == 1)
		return OK;
	copy = node_new(n->pair, n->left, n->right);
	if (!copy)
		return ERR_NOMEM;
	atomic_fetch_add(&n->pair->refs, 1);
	node_keep(n->left);
	node_keep(n->right);
	node_drop(n);
	*at = copy;
	return OK;
}

static int
compare(struct index_bytes key, const struct pair *p)
{
	size_t shorter = key.len < p->key_len ? key.len : p->key_len;
	int order = shorter ? memcmp(key.p, p->bytes, shorter) : 0;

	if (order)
		return order;
	return (key.len > p->key_len) - (key.len < p->key_len);
}

static void
rotate_right(struct node **at)
{
	struct node *n = *at, *up = n->left;

	n->left = up->right;
	up->right = n;
	*at = up;
}

static void
rotate_left(struct node **at)
{
	struct node *n = *at, *up = n->right;

	n->right = up->left;
	up->left = n;
	*at = up;
}

/* Put `pair` below *at, taking it over.  All that can fail happens on the way
 * down, before anything that a reader of the tree would notice. */
static enum err
treap_put(struct node **at, struct pair *pair, bool *fresh)
{
	struct index_bytes key = { pair->bytes, pair->key_len };
	enum err e;
	int order;

	if (!*at) {
		*at = node_new(pair, NULL, NULL);
		*fresh = true;
		return *at ? OK : ERR_NOMEM;
	}
	e = own(at);
	if (e)
		return e;
	order = compare(key, (*at)->pair);
	if (order == 0) {
		pair_drop((*at)->pair);
		(*at)->pair = pair;
		*fresh = false;
	} else if (order < 0) {
		e = treap_put(&(*at)->left, pair, fresh);
		if (!e && (*at)->left->pair->priority > (*at)->pair->priority)
			rotate_right(at);
	} else {
		e = treap_put(&(*at)->right, pair, fresh);
		if (!e && (*at)->right->pair->priority > (*at)->pair->priority)
			rotate_left(at);
	}
	return e;
}

/* Take the pair out that is known to be there: turn it down to a leaf.
 * Failing half-way leaves the order of priorities a little wrong, which costs
 * balance, and every pair in its place. */
static enum err
treap_del(struct node **at, struct index_bytes key)
{
	struct node *gone;
	enum err e;
	int order;

	for (;;) {
		e = own(at);
		if (e)
			return e;
		order = compare(key, (*at)->pair);
		if (order == 0)
			break;
		at = order < 0 ? &(*at)->left : &(*at)->right;
	}
	gone = *at;
	while (gone->left && gone->right) {
		bool left =
		    gone->left->pair->priority > gone->right->pair->priority;

		e = own(left ? &gone->left : &gone->right);
		if (e)
			return e;
		if (left) {
			rotate_right(at);
			at = &(*at)->right;
		} else {
			rotate_left(at);
			at = &(*at)->left;
		}
	}
	*at = gone->left ? gone->left : gone->right;
	gone->left = gone->right = NULL;
	node_drop(gone);
	return OK;
}

/* The first pair with a key >= `key`, or > if `after`. */
static const struct pair *
treap_seek(const struct node *n, struct index_bytes key, bool after)
{
	const struct pair *best = NULL;

	while (n) {
		int order = compare(key, n->pair);

		if (order < 0 || (order == 0 && !after)) {
			best = n->pair;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

static const struct pair *
treap_find(const struct node *n, struct index_bytes key)
{
	while (n) {
		int order = compare(key, n->pair);

		if (order == 0)
			return n->pair;
		n = order < 0 ? n->left : n->right;
	}
	return NULL;
}

/* ---- transactions ------------------------------------------------------- */

/* Is this the call that the test wants to see fail? */
static enum err
fault(struct mem *m)
{
	enum err e = OK;

	pthread_mutex_lock(&m->lock);
	if (m->fail_in && --m->fail_in == 0)
		e = m->fail_with;
	pthread_mutex_unlock(&m->lock);
	return e;
}

static enum err
mem_begin(struct index *ix, bool write, struct index_txn **out)
{
	struct mem *m = mem_of(ix);
	struct mem_txn *t = calloc(1, sizeof(*t));

	if (!t)
		return ERR_NOMEM;
	t->base.ix = ix;
	t->base.write = write;
	if (write)
		pthread_mutex_lock(&m->writer);
	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < INDEX_TABLES; i++) {
		t->table[i] = m->table[i];
		node_keep(t->table[i].root);
	}
	m->open++;
	pthread_mutex_unlock(&m->lock);
	*out = &t->base;
	return OK;
}

static void
mem_abort(struct index_txn *txn)
{
	struct mem_txn *t = txn_of(txn);
	struct mem *m = mem_of(txn->ix);

	for (unsigned i = 0; i < INDEX_TABLES; i++)
		node_drop(t->table[i].root);
	pthread_mutex_lock(&m->lock);
	m->open--;
	pthread_mutex_unlock(&m->lock);
	if (txn->write)
		pthread_mutex_unlock(&m->writer);
	free(t);
}

static enum err
mem_commit(struct index_txn *txn)
{
	struct mem_txn *t = txn_of(txn);
	struct mem *m = mem_of(txn->ix);
	enum err e = fault(m);

	if (!e) {
		pthread_mutex_lock(&m->lock);
		for (unsigned i = 0; i < INDEX_TABLES; i++) {
			struct table old = m->table[i];

			m->table[i] = t->table[i];
			t->table[i] = old;
		}
		pthread_mutex_unlock(&m->lock);
	}
	mem_abort(txn); /* drops whichever version lost */
	return e;
}

/* ---- operations --------------------------------------------------------- */

static void
pair_bytes(
    const struct pair *p, struct index_bytes *key, struct index_bytes *val)
{
	*key = (struct index_bytes){ p->bytes, p->key_len };
	*val = (struct index_bytes){ p->bytes + p->key_len, p->val_len };
}

static enum err
mem_get(struct index_txn *txn, enum index_table t, struct index_bytes key,
    struct index_bytes *val)
{
	const struct pair *p = treap_find(txn_of(txn)->table[t].root, key);
	struct index_bytes same;

	if (!p)
		return ERR_ABSENT;
	pair_bytes(p, &same, val);
	return OK;
}

static enum err
mem_put(struct index_txn *txn, enum index_table t, struct index_bytes key,
    struct index_bytes val)
{
	struct table *table = &txn_of(txn)->table[t];
	enum err e = fault(mem_of(txn->ix));
	struct pair *pair;
	bool fresh;

	if (e)
		return e;
	pair = pair_new(key, val);
	if (!pair)
		return ERR_NOMEM;
	e = treap_put(&table->root, pair, &fresh);
	if (e)
		pair_drop(pair);
	else if (fresh)
		table->count++;
	return e;
}

static enum err
mem_del(struct index_txn *txn, enum index_table t, struct index_bytes key)
{
	struct table *table = &txn_of(txn)->table[t];
	enum err e = fault(mem_of(txn->ix));

	if (e)
		return e;
	if (!treap_find(table->root, key))
		return ERR_ABSENT;
	e = treap_del(&table->root, key);
	if (!e)
		table->count--;
	return e;
}

static enum err
mem_seek(struct index_txn *txn, enum index_table t, struct index_bytes from,
    struct index_cursor **out, struct index_bytes *key, struct index_bytes *val)
{
	const struct table *table = &txn_of(txn)->table[t];
	const struct pair *p = treap_seek(table->root, from, false);
	struct mem_cursor *c;

	if (!p)
		return ERR_ABSENT;
	c = malloc(sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	c->base.txn = txn;
	c->table = table;
	c->at = p;
	pair_bytes(p, key, val);
	*out = &c->base;
	return OK;
}

static enum err
mem_next(struct index_cursor *cursor, struct index_bytes *key,
    struct index_bytes *val)
{
	struct mem_cursor *c = (struct mem_cursor *)cursor;
	struct index_bytes here = { c->at->bytes, c->at->key_len };
	const struct pair *p = treap_seek(c->table->root, here, true);

	if (!p)
		return ERR_ABSENT;
	c->at = p;
	pair_bytes(p, key, val);
	return OK;
}

static void
mem_cursor_close(struct index_cursor *c)
{
	free(c);
}

static enum err
mem_count(struct index_txn *txn, enum index_table t, uint64_t *out)
{
	*out = txn_of(txn)->table[t].count;
	return OK;
}

static enum err
mem_clear(struct index_txn *txn)
{
	struct mem_txn *t = txn_of(txn);
	enum err e = fault(mem_of(txn->ix));

	if (e)
		return e;
	for (unsigned i = 0; i < INDEX_TABLES; i++) {
		node_drop(t->table[i].root);
		t->table[i] = (struct table){ NULL, 0 };
	}
	return OK;
}

static void
mem_close(struct index *ix)
{
	struct mem *m = mem_of(ix);

	assert(m->open == 0);
	for (unsigned i = 0; i < INDEX_TABLES; i++)
		node_drop(m->table[i].root);
	pthread_mutex_destroy(&m->writer);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static const struct index_ops mem_ops = {
	.close = mem_close,
	.begin = mem_begin,
	.abort = mem_abort,
	.commit = mem_commit,
	.get = mem_get,
	.put = mem_put,
	.del = mem_del,
	.seek = mem_seek,
	.next = mem_next,
	.cursor_close = mem_cursor_close,
	.count = mem_count,
	.clear = mem_clear,
};

enum err
index_mem_new(struct index **out)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return ERR_NOMEM;
	m->base.ops = &mem_ops;
	pthread_mutex_init(&m->writer, NULL);
	pthread_mutex_init(&m->lock, NULL);
	*out = &m->base;
	return OK;
}

void
index_mem_fail(struct index *ix, uint64_t nth, enum err e)
{
	struct mem *m = mem_of(ix);

	assert(ix->ops == &mem_ops);
	pthread_mutex_lock(&m->lock);
	m->fail_in = nth;
	m->fail_with = e;
	pthread_mutex_unlock(&m->lock);
}
