/* index_lmdb.c - the index in LMDB; the only includer of lmdb.h.
 *
 * One environment, one named database for each table, one file (data.mdb)
 * mapped read-only, changes written by write(): a wild pointer of ours can
 * not damage it.  A commit is durable when it returns (no NOSYNC of any kind).
 *
 * Readers: MDB_NOTLS makes a read transaction an object of its own instead of
 * the thread's.  Those that ended are kept reset and renewed, so that to begin
 * one costs a lock and no allocation.
 *
 * Damage: LMDB trusts its file, to the point of following a wrong bit out of
 * its map.  So it is asked for nothing that was not looked at before.  A read
 * transaction is LMDB's only to hold its snapshot; what it reads is read by
 * lmdb_tree.c, through a map of our own, and each row has a checksum.  A write
 * transaction has its changes in LMDB's memory and must ask LMDB; before each
 * call the committed pages that the call may touch are vetted.  LMDB's own
 * trees are vetted when the file is opened.  What these find, and LMDB's own
 * checks (MDB_CORRUPTED and its kin), is ERR_CORRUPT; LMDB's assertions, which
 * would end the process, are caught by a jump out of the call, after which this
 * index answers nothing but ERR_CORRUPT.  A mapped file that is shorter than
 * LMDB believes is SIGBUS at some later read, so lmdb_file_check() compares them
 * before it is mapped.
 *
 * Not noticed is a list of free pages with another number in it that is in
 * bounds and in order: LMDB will write over a page in use, which is then found
 * out by those who read that page.  Nor is a page that is damaged after it was
 * vetted, read back from the disk, and then written by LMDB; its rows still
 * have their checksums. */
#include "overlay/base/wire.h"
#include "store/db/lmdb_file.h"
#include "store/db/lmdb_tree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Read transactions at a time, idle ones included. */
#define READERS_MAX 510

static const char *const table_name[INDEX_TABLES] = {
	[INDEX_META] = "meta",
	[INDEX_BLOCKS] = "blocks",
	[INDEX_INODES] = "inodes",
	[INDEX_ENTRIES] = "entries",
	[INDEX_NAMES] = "names",
	[INDEX_XATTRS] = "xattrs",
	[INDEX_LEDGER] = "ledger",
};

/* The file as one transaction found it: a reader's snapshot, or what a writer
 * began with. */
struct snapshot {
	uint64_t pages;
	struct lmdb_tree names, free;
	struct lmdb_tree table[INDEX_TABLES];
	bool known[INDEX_TABLES]; /* whether it was looked up in names */
};

struct lm_txn {
	struct index_txn base;
	MDB_txn *txn;
	struct snapshot at;
	enum err failed; /* why it is of no more use */
	struct lm_txn *next; /* idle */
};

struct lm_cursor {
	struct index_cursor base;
	enum index_table t;
	MDB_cursor *cursor; /* of a write transaction */
	struct lmdb_path path; /* of a read transaction */
};

struct lm {
	struct index base;
	MDB_env *env;
	MDB_dbi dbi[INDEX_TABLES];
	struct lmdb_map map;
	atomic_bool broken; /* an assertion of LMDB failed */
	atomic_ullong commits; /* begun */
	pthread_mutex_t lock;
	struct lm_txn *idle; /* read transactions, reset */
	unsigned open; /* transactions */
};

static struct lm *
lm_of(struct index *ix)
{
	return (struct lm *)ix;
}

static struct lm_txn *
txn_of(struct index_txn *txn)
{
	return (struct lm_txn *)txn;
}

static enum err
translate(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return OK;
	case MDB_NOTFOUND:
		return ERR_ABSENT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case EDQUOT:
	case EFBIG: /* a limit of the process, or of the file system */
		return ERR_NOSPACE;
	case MDB_CORRUPTED:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_PAGE_NOTFOUND:
	case MDB_PAGE_FULL:
	case MDB_CURSOR_FULL:
	case MDB_INCOMPATIBLE:
		return ERR_CORRUPT;
	case MDB_READERS_FULL:
		return ERR_NOMEM;
	}
	return rc > 0 ? err_from_errno(rc) : ERR_IO;
}

/* Where a failed assertion of LMDB jumps to; set around each call into it. */
static _Thread_local jmp_buf *trap;

static void
on_assert(MDB_env *env, const char *text)
{
	(void)env;
	(void)text;
	if (trap)
		longjmp(*trap, 1);
}

#define TRAPPED(lm, rc, call)                                                  \
	do {                                                                   \
		jmp_buf here_;                                                 \
                                                                               \
		trap = &here_;                                                 \
		if (setjmp(here_) == 0) {                                      \
			rc = (call);                                           \
		} else {                                                       \
			atomic_store(&(lm)->broken, true);                     \
			rc = MDB_CORRUPTED;                                    \
		}                                                              \
		trap = NULL;                                                   \
	} while (0)

static void
keep_ahead(struct lm *lm)
{
	MDB_envinfo info;
	int fd;

	if (!mdb_env_info(lm->env, &info) && !mdb_env_get_fd(lm->env, &fd))
		lmdb_file_keep_ahead(
		    fd, (info.me_last_pgno + 1) * lm->map.page_bytes);
}

static bool
is_full(struct lm *lm)
{
	int fd;

	return !mdb_env_get_fd(lm->env, &fd) &&
	       translate(lmdb_file_probe(fd)) == ERR_NOSPACE;
}

/* ---- transactions ------------------------------------------------------- */

/* Count one more; an idle one for a reader, if there is one. */
static struct lm_txn *
enter(struct lm *lm, bool write)
{
	struct lm_txn *t;

	pthread_mutex_lock(&lm->lock);
	t = write ? NULL : lm->idle;
	if (t)
		lm->idle = t->next;
	lm->open++;
	pthread_mutex_unlock(&lm->lock);
	return t;
}

static void
free_txn(struct lm *lm, struct lm_txn *t)
{
	int rc;

	if (t && t->txn) {
		TRAPPED(lm, rc, (mdb_txn_abort(t->txn), 0));
		(void)rc; /* broken is set */
	}
	free(t);
}

static void
leave(struct lm *lm)
{
	pthread_mutex_lock(&lm->lock);
	lm->open--;
	pthread_mutex_unlock(&lm->lock);
}

/* TRAPPED() in functions of their own: what a jump might spoil is not theirs.
 */
static int
renew(struct lm *lm, struct lm_txn *t)
{
	int rc;

	TRAPPED(lm, rc, mdb_txn_renew(t->txn));
	return rc;
}

static int
begin(struct lm *lm, unsigned flags, MDB_txn **out)
{
	int rc;

	TRAPPED(lm, rc, mdb_txn_begin(lm->env, NULL, flags, out));
	return rc;
}

/* Where the transaction's trees are, as its meta page tells.  ERR_BUSY: that
 * page may have been written over while it was read. */
static enum err
look(struct lm *lm, struct lm_txn *t, bool write, unsigned long long commits)
{
	/* A writer has the number that its commit will have. */
	uint64_t id = mdb_txn_id(t->txn) - write;
	struct snapshot *at = &t->at;
	struct lmdb_meta m;
	enum err e;

	memcpy(&m, lm->map.base + (id & 1) * lm->map.page_bytes, sizeof(m));
	atomic_thread_fence(memory_order_acquire);
	/* The second commit after it writes that page again. */
	if (!write && atomic_load(&lm->commits) != commits)
		return ERR_BUSY;
	if (m.txnid != id || !lmdb_meta_is_sane(&m, id & 1, UINT64_MAX))
		return ERR_CORRUPT;
	memset(at->known, 0, sizeof(at->known));
	at->pages = m.last_pgno + 1;
	e = lmdb_tree_init(
	    &at->free, &lm->map, at->pages, &m.db[0], LMDB_TREE_FREE);
	return e ? e
		 : lmdb_tree_init(&at->names, &lm->map, at->pages, &m.db[1],
		       LMDB_TREE_NAMES);
}

/* One of the snapshot's tables. */
static enum err
table_of(struct lm_txn *t, enum index_table table, struct lmdb_tree **out)
{
	struct snapshot *at = &t->at;
	struct index_bytes name = { table_name[table],
		strlen(table_name[table]) };
	struct index_bytes val;
	struct lmdb_db db;
	enum err e;

	*out = &at->table[table];
	if (at->known[table])
		return OK;
	if ((e = lmdb_tree_get(&at->names, name, &val)))
		return e == ERR_ABSENT ? ERR_CORRUPT : e;
	memcpy(&db, val.p, sizeof(db));
	if ((e = lmdb_tree_init(*out, at->names.map, at->pages, &db, table)))
		return e;
	at->known[table] = true;
	return OK;
}

static enum err
lm_begin(struct index *ix, bool write, struct index_txn **out)
{
	struct lm *lm = lm_of(ix);
	unsigned long long commits;
	struct lm_txn *t;
	enum err e;
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	t = enter(lm, write);
	do {
		commits = atomic_load(&lm->commits);
		if (t) {
			rc = renew(lm, t);
		} else {
			t = calloc(1, sizeof(*t));
			rc = t ? begin(lm, write ? 0 : MDB_RDONLY, &t->txn)
			       : ENOMEM;
		}
		e = translate(rc);
		if (!e && (e = look(lm, t, write, commits)) == ERR_BUSY)
			mdb_txn_reset(t->txn);
	} while (e == ERR_BUSY);
	if (e) {
		free_txn(lm, t);
		leave(lm);
		return e;
	}
	t->base.ix = ix;
	t->base.write = write;
	t->base.cursors = 0;
	t->failed = OK;
	*out = &t->base;
	return OK;
}

static void
lm_abort(struct index_txn *txn)
{
	struct lm *lm = lm_of(txn->ix);
	struct lm_txn *t = txn_of(txn);

	if (txn->write) {
		free_txn(lm, t);
		leave(lm);
		return;
	}
	mdb_txn_reset(t->txn);
	pthread_mutex_lock(&lm->lock);
	t->next = lm->idle;
	lm->idle = t;
	lm->open--;
	pthread_mutex_unlock(&lm->lock);
}

/* After an error LMDB answers MDB_BAD_TXN to the rest of the transaction; we
 * go on saying what the error was. */
static enum err
outcome(struct index_txn *txn, int rc)
{
	struct lm_txn *t = txn_of(txn);
	enum err e = rc == MDB_BAD_TXN && t->failed ? t->failed : translate(rc);

	if (e == ERR_IO && txn->write && is_full(lm_of(txn->ix)))
		e = ERR_NOSPACE;
	if (e && e != ERR_ABSENT)
		t->failed = e;
	return e;
}

static enum err
lm_commit(struct index_txn *txn)
{
	struct lm *lm = lm_of(txn->ix);
	struct lm_txn *t = txn_of(txn);
	enum err e;
	int rc;

	if (atomic_load(&lm->broken)) {
		lm_abort(txn);
		return ERR_CORRUPT;
	}
	atomic_fetch_add(&lm->commits, 1);
	TRAPPED(lm, rc, mdb_txn_commit(t->txn));
	e = outcome(txn, rc);
	/* LMDB freed it, unless an assertion took us out of the middle: then
	 * abort lets go of the writers' lock. */
	if (!atomic_load(&lm->broken))
		t->txn = NULL;
	if (!e)
		keep_ahead(lm);
	free_txn(lm, t);
	leave(lm);
	return e;
}

/* ---- operations --------------------------------------------------------- */

static MDB_val
to_mdb(struct index_bytes b)
{
	return (MDB_val){ b.len, (void *)(uintptr_t)b.p };
}

/* Ready to ask LMDB for the row at `key` in a write transaction. */
static enum err
vet(struct index_txn *txn, enum index_table table, struct index_bytes key,
    bool beside)
{
	struct lm_txn *t = txn_of(txn);
	struct lmdb_tree *tree;
	enum err e;

	if (atomic_load(&lm_of(txn->ix)->broken))
		return ERR_CORRUPT;
	if ((e = t->failed) || (e = table_of(t, table, &tree)) ||
	    (e = lmdb_tree_vet(tree, key, beside)))
		t->failed = e;
	return e;
}

/* What LMDB says in a write transaction, if it is what was put. */
static enum err
take_row(enum index_table table, MDB_val k, MDB_val v, struct index_bytes *key,
    struct index_bytes *val)
{
	*key = (struct index_bytes){ k.mv_data, k.mv_size };
	*val = (struct index_bytes){ v.mv_data, v.mv_size };
	return row_check(table, *key, val);
}

static enum err
lm_get(struct index_txn *txn, enum index_table table, struct index_bytes key,
    struct index_bytes *val)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(key), v;
	struct lmdb_tree *tree;
	enum err e;
	int rc;

	if (!txn->write) {
		e = table_of(txn_of(txn), table, &tree);
		return e ? e : lmdb_tree_get(tree, key, val);
	}
	if ((e = vet(txn, table, key, false)))
		return e;
	TRAPPED(lm, rc, mdb_get(txn_of(txn)->txn, lm->dbi[table], &k, &v));
	return rc ? outcome(txn, rc) : take_row(table, k, v, &key, val);
}

static enum err
lm_put(struct index_txn *txn, enum index_table table, struct index_bytes key,
    struct index_bytes val)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(key), v = { val.len + ROW_SUM_BYTES, NULL };
	uint32_t sum = row_sum(table, key, val.p, val.len);
	enum err e;
	struct wr w;
	int rc;

	if ((e = vet(txn, table, key, false)))
		return e;
	TRAPPED(lm, rc,
	    mdb_put(txn_of(txn)->txn, lm->dbi[table], &k, &v, MDB_RESERVE));
	if (rc)
		return outcome(txn, rc);
	wr_init(&w, v.mv_data, v.mv_size);
	wr_bytes(&w, val.p, val.len);
	wr_be(&w, sum, ROW_SUM_BYTES);
	assert(!w.bad);
	return OK;
}

static enum err
lm_del(struct index_txn *txn, enum index_table table, struct index_bytes key)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(key);
	enum err e;
	int rc;

	if ((e = vet(txn, table, key, true)))
		return e;
	TRAPPED(lm, rc, mdb_del(txn_of(txn)->txn, lm->dbi[table], &k, NULL));
	return outcome(txn, rc);
}

static void
lm_cursor_close(struct index_cursor *cursor)
{
	struct lm_cursor *c = (struct lm_cursor *)cursor;

	if (c->cursor)
		mdb_cursor_close(c->cursor);
	free(c);
}

/* lm_seek() where changes are. */
static enum err
seek_changed(struct index_txn *txn, struct lm_cursor *c,
    struct index_bytes from, struct index_bytes *key, struct index_bytes *val)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(from), v;
	enum err e;
	int rc;

	if ((e = vet(txn, c->t, from, true)))
		return e;
	TRAPPED(lm, rc,
	    mdb_cursor_open(txn_of(txn)->txn, lm->dbi[c->t], &c->cursor));
	if (!rc)
		TRAPPED(lm, rc,
		    mdb_cursor_get(c->cursor, &k, &v,
			from.len ? MDB_SET_RANGE : MDB_FIRST));
	return rc ? outcome(txn, rc) : take_row(c->t, k, v, key, val);
}

static enum err
lm_seek(struct index_txn *txn, enum index_table table, struct index_bytes from,
    struct index_cursor **out, struct index_bytes *key, struct index_bytes *val)
{
	struct lmdb_tree *tree;
	struct lm_cursor *c;
	enum err e;

	c = malloc(sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	c->base.txn = txn;
	c->t = table;
	c->cursor = NULL;
	if (txn->write)
		e = seek_changed(txn, c, from, key, val);
	else if (!(e = table_of(txn_of(txn), table, &tree)))
		e = lmdb_tree_seek(tree, from, &c->path, key, val);
	if (e)
		lm_cursor_close(&c->base);
	else
		*out = &c->base;
	return e;
}

static enum err
lm_next(struct index_cursor *cursor, struct index_bytes *key,
    struct index_bytes *val)
{
	struct lm *lm = lm_of(cursor->txn->ix);
	struct lm_cursor *c = (struct lm_cursor *)cursor;
	MDB_val k, v;
	enum err e;
	int rc;

	if (!c->cursor)
		return lmdb_tree_next(&c->path, key, val);
	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	/* The next row is in the same leaf, or in the one beside it. */
	TRAPPED(lm, rc, mdb_cursor_get(c->cursor, &k, &v, MDB_GET_CURRENT));
	if (!rc && (e = vet(cursor->txn, c->t,
			(struct index_bytes){ k.mv_data, k.mv_size }, true)))
		return e;
	if (!rc)
		TRAPPED(lm, rc, mdb_cursor_get(c->cursor, &k, &v, MDB_NEXT));
	return rc ? outcome(cursor->txn, rc) : take_row(c->t, k, v, key, val);
}

static enum err
lm_count(struct index_txn *txn, enum index_table table, uint64_t *out)
{
	struct lm *lm = lm_of(txn->ix);
	struct lmdb_tree *tree;
	MDB_stat stat;
	enum err e;
	int rc;

	if ((e = table_of(txn_of(txn), table, &tree)))
		return e;
	if (!txn->write) {
		*out = tree->entries;
		return OK;
	}
	TRAPPED(lm, rc, mdb_stat(txn_of(txn)->txn, lm->dbi[table], &stat));
	if (!rc)
		*out = stat.ms_entries;
	return outcome(txn, rc);
}

static int
empty(struct lm *lm, MDB_txn *txn, MDB_dbi dbi)
{
	int rc;

	TRAPPED(lm, rc, mdb_drop(txn, dbi, 0));
	return rc;
}

static enum err
lm_clear(struct index_txn *txn)
{
	struct lm *lm = lm_of(txn->ix);
	struct lmdb_tree *tree;
	enum err e;
	int rc = 0;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	for (unsigned i = 0; i < INDEX_TABLES && !rc; i++) {
		/* LMDB will read all of its branches. */
		if ((e = table_of(txn_of(txn), i, &tree)) ||
		    (e = lmdb_tree_vet_all(tree)))
			return e;
		rc = empty(lm, txn_of(txn)->txn, lm->dbi[i]);
	}
	return outcome(txn, rc);
}

/* ---- open and close ----------------------------------------------------- */

static void
lm_close(struct index *ix)
{
	struct lm *lm = lm_of(ix);

	assert(lm->open == 0);
	while (lm->idle) {
		struct lm_txn *t = lm->idle;

		lm->idle = t->next;
		free_txn(lm, t);
	}
	if (lm->env)
		mdb_env_close(lm->env);
	if (lm->map.base)
		munmap((void *)(uintptr_t)lm->map.base, LMDB_MAP_BYTES);
	if (lm->map.seen)
		munmap(lm->map.seen, LMDB_MAP_BYTES / lm->map.page_bytes);
	pthread_mutex_destroy(&lm->lock);
	free(lm);
}

static void
lm_warm(struct index *ix, uint64_t max)
{
	int fd;

	if (!mdb_env_get_fd(lm_of(ix)->env, &fd))
		lmdb_file_warm(fd, max);
}

static const struct index_ops lm_ops = {
	.close = lm_close,
	.warm = lm_warm,
	.begin = lm_begin,
	.abort = lm_abort,
	.commit = lm_commit,
	.get = lm_get,
	.put = lm_put,
	.del = lm_del,
	.seek = lm_seek,
	.next = lm_next,
	.cursor_close = lm_cursor_close,
	.count = lm_count,
	.clear = lm_clear,
};

static int
open_env(struct lm *lm, const char *path)
{
	int rc, dead;

	if ((rc = mdb_env_create(&lm->env)) ||
	    (rc = mdb_env_set_assert(lm->env, on_assert)) ||
	    (rc = mdb_env_set_mapsize(lm->env, LMDB_MAP_BYTES)) ||
	    (rc = mdb_env_set_maxdbs(lm->env, INDEX_TABLES)) ||
	    (rc = mdb_env_set_maxreaders(lm->env, READERS_MAX)))
		return rc;
	TRAPPED(lm, rc,
	    mdb_env_open(lm->env, path, MDB_NOTLS | MDB_NORDAHEAD, 0600));
	if (rc)
		return rc;
	/* Readers that died hold back pages for ever. */
	return mdb_reader_check(lm->env, &dead);
}

/* Our own map, and a byte for each of its pages: address space, of which no
 * more is used than is met. */
static enum err
open_map(struct lm *lm)
{
	MDB_stat stat;
	void *base, *seen;
	int fd, rc;

	if ((rc = mdb_env_stat(lm->env, &stat)) ||
	    (rc = mdb_env_get_fd(lm->env, &fd)))
		return translate(rc);
	lm->map.page_bytes = stat.ms_psize;
	base = mmap(NULL, LMDB_MAP_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return err_from_errno(errno);
	lm->map.base = base;
	(void)!madvise(base, LMDB_MAP_BYTES, MADV_RANDOM); /* as LMDB's own */
	seen = mmap(NULL, LMDB_MAP_BYTES / lm->map.page_bytes,
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	    -1, 0);
	if (seen == MAP_FAILED)
		return err_from_errno(errno);
	lm->map.seen = seen;
	return OK;
}

/* LMDB's own trees, before it is let near them.  Either there is no table yet,
 * or there are all of them: LMDB would make one whose name is damaged anew. */
static enum err
vet_own(struct lm *lm, MDB_txn *txn)
{
	struct lm_txn t = { .txn = txn };
	struct lmdb_tree *tree;
	enum err e;

	if ((e = look(lm, &t, true, 0)) ||
	    (e = lmdb_tree_vet_all(&t.at.free)) ||
	    (e = lmdb_tree_vet_all(&t.at.names)))
		return e;
	for (unsigned i = 0; !e && t.at.names.depth && i < INDEX_TABLES; i++)
		e = table_of(&t, i, &tree);
	return e;
}

static int
open_table(struct lm *lm, MDB_txn *txn, unsigned i)
{
	int rc;

	TRAPPED(
	    lm, rc, mdb_dbi_open(txn, table_name[i], MDB_CREATE, &lm->dbi[i]));
	return rc;
}

/* Make or find the tables.  Finding all of them writes nothing. */
static enum err
open_tables(struct lm *lm)
{
	MDB_txn *txn;
	enum err e;
	int rc;

	rc = begin(lm, 0, &txn);
	if (rc)
		return translate(rc);
	e = vet_own(lm, txn);
	for (unsigned i = 0; i < INDEX_TABLES && !e; i++)
		e = translate(open_table(lm, txn, i));
	if (e) {
		mdb_txn_abort(txn);
		return e;
	}
	TRAPPED(lm, rc, mdb_txn_commit(txn));
	return translate(rc);
}

enum err
index_lmdb_open(const char *path, struct index **out)
{
	enum err e = lmdb_file_check(path);
	bool fresh = e == ERR_ABSENT;
	struct lm *lm;

	if (e && !fresh)
		return e;
	lm = calloc(1, sizeof(*lm));
	if (!lm)
		return ERR_NOMEM;
	lm->base.ops = &lm_ops;
	pthread_mutex_init(&lm->lock, NULL);
	e = translate(open_env(lm, path));
	if (!e)
		e = open_map(lm);
	if (!e)
		e = open_tables(lm);
	if (!e && fresh)
		e = lmdb_file_sync_dir(path);
	if (e) {
		lm_close(&lm->base);
		return e;
	}
	keep_ahead(lm);
	*out = &lm->base;
	return OK;
}
