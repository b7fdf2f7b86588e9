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
 * Damage: LMDB trusts its file.  Each row has a checksum of ours, which every
 * read compares.  What LMDB's own checks find (MDB_CORRUPTED and its kin) is
 * ERR_CORRUPT as well; its assertions, which would end the process, are caught
 * by a jump out of the call, after which this index answers nothing but
 * ERR_CORRUPT.  A mapped file that is shorter than LMDB believes is SIGBUS at
 * some later read, so check_file() compares them before it is mapped.  A wrong
 * bit in a page's own header can still mislead LMDB, as far as ending us: all
 * that is kept here is made anew from the packs.  To read LMDB's pages with
 * code of our own was tried: 700 lines that follow another program's private
 * format are the larger risk. */
#include "store/index_private.h"

#include "overlay/base/map.h"
#include "overlay/base/wire.h"

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
#include <sys/stat.h>
#include <unistd.h>

/* Address space, not bytes: never grown, and more than an index needs. */
#define MAP_BYTES ((size_t)64 << 30)

/* Read transactions at a time, idle ones included. */
#define READERS_MAX 510

/* The file is kept this much longer than its last used page; see
 * keep_ahead(). */
#define AHEAD_BYTES ((off_t)4 << 20)

/* What is_full() asks for. */
#define PROBE_BYTES ((off_t)64 << 10)

/* The kernel reads no more than its readahead window for one advice. */
#define WARM_STEP ((off_t)128 << 10)

#define PATH_BYTES 4096

/* Of a row: FORMAT.md, "Index".  Rows of another format have other checksums:
 * to this program they are damaged, and it makes the index anew. */
#define ROW_FORMAT UINT64_C(2)
#define SUM_BYTES 4

static const char *const table_name[INDEX_TABLES] = {
	[INDEX_META] = "meta",
	[INDEX_BLOCKS] = "blocks",
	[INDEX_INODES] = "inodes",
	[INDEX_ENTRIES] = "entries",
	[INDEX_NAMES] = "names",
	[INDEX_XATTRS] = "xattrs",
	[INDEX_LEDGER] = "ledger",
};

struct lm_txn {
	struct index_txn base;
	MDB_txn *txn;
	enum err failed; /* why it is of no more use */
	struct lm_txn *next; /* idle */
};

struct lm_cursor {
	struct index_cursor base;
	MDB_cursor *cursor;
	enum index_table t;
};

struct lm {
	struct index base;
	MDB_env *env;
	MDB_dbi dbi[INDEX_TABLES];
	atomic_bool broken; /* an assertion of LMDB failed */
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

/* ---- the file before and after LMDB ------------------------------------- */

/* The first two pages of a file of LMDB 0.9 (data version 1), in the byte
 * order and word size of this machine: the one that has the higher txnid is
 * in force. */
struct meta_page {
	uint64_t pgno;
	uint16_t pad, flags, lower, upper;
	uint32_t magic, version;
	uint64_t address, map_size;
	struct {
		uint32_t pad; /* of the first: page size */
		uint16_t flags, depth;
		uint64_t branches, leaves, overflows, entries, root;
	} db[2]; /* free pages, names of the others */
	uint64_t last_pgno, txnid;
};

_Static_assert(sizeof(size_t) == 8, "LMDB's page numbers are size_t");
_Static_assert(sizeof(struct meta_page) == 152, "as LMDB has it");

#define META_FLAG 0x08u
#define META_MAGIC 0xbeefc0deu
#define META_VERSION 1u
#define NO_PAGE UINT64_MAX

static bool
meta_is_sane(const struct meta_page *m, uint64_t pgno, uint64_t size)
{
	uint64_t psize = m->db[0].pad;

	if (m->pgno != pgno || !(m->flags & META_FLAG) ||
	    m->magic != META_MAGIC || m->version != META_VERSION ||
	    psize < 512 || psize > 65536 || (psize & (psize - 1)) ||
	    m->last_pgno < 1 || m->last_pgno >= MAP_BYTES / psize)
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (m->db[i].root != NO_PAGE &&
		    (m->db[i].root < 2 || m->db[i].root > m->last_pgno))
			return false;
	return (m->last_pgno + 1) * psize <= size;
}

static enum err
read_meta(int fd, off_t at, struct meta_page *out)
{
	ssize_t got = pread(fd, out, sizeof(*out), at);

	if (got < 0)
		return err_from_errno(errno);
	return (size_t)got == sizeof(*out) ? OK : ERR_CORRUPT;
}

static enum err
join(char out[PATH_BYTES], const char *path, const char *name)
{
	int len = snprintf(out, PATH_BYTES, "%s/%s", path, name);

	return len < PATH_BYTES ? OK : ERR_NAME_TOO_LONG;
}

/* ERR_ABSENT: there is no file yet. */
static enum err
check_file(const char *path)
{
	struct meta_page m[2];
	char name[PATH_BYTES];
	struct stat st;
	enum err e;
	int fd;

	e = join(name, path, "data.mdb");
	if (e)
		return e;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	e = fstat(fd, &st) ? err_from_errno(errno) : OK;
	if (!e)
		e = read_meta(fd, 0, &m[0]);
	if (!e && !meta_is_sane(&m[0], 0, UINT64_MAX))
		e = ERR_CORRUPT;
	if (!e)
		e = read_meta(fd, (off_t)m[0].db[0].pad, &m[1]);
	/* The older one may speak of pages that were never written. */
	if (!e && (!meta_is_sane(&m[1], 1, UINT64_MAX) ||
		      m[0].db[0].pad != m[1].db[0].pad ||
		      !meta_is_sane(&m[m[0].txnid < m[1].txnid],
			  m[0].txnid < m[1].txnid, (uint64_t)st.st_size)))
		e = ERR_CORRUPT;
	close(fd);
	return e;
}

/* LMDB does not write pages that a transaction took and gave back, so a sound
 * file may end before its last page, just as a truncated one does.  Keep it
 * longer than it need be, and the two can be told apart.  Failing costs no
 * more than a false alarm after a crash in between. */
static void
keep_ahead(struct lm *lm)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat st;
	off_t used;
	int fd;

	if (mdb_env_info(lm->env, &info) || mdb_env_stat(lm->env, &stat) ||
	    mdb_env_get_fd(lm->env, &fd) || fstat(fd, &st))
		return;
	used = (off_t)(info.me_last_pgno + 1) * (off_t)stat.ms_psize;
	if (st.st_size >= used + AHEAD_BYTES / 2 ||
	    ftruncate(fd, used + AHEAD_BYTES))
		return;
	if (st.st_size < used)
		(void)fdatasync(fd);
}

/* LMDB makes EIO of a write that ended early, which is how a disk first says
 * that it is full.  Ask for a little more room to learn which it was. */
static bool
is_full(struct lm *lm)
{
	struct stat st;
	int fd;

	if (mdb_env_get_fd(lm->env, &fd) || fstat(fd, &st) ||
	    !fallocate(fd, 0, st.st_size, PROBE_BYTES))
		return false;
	return translate(errno) == ERR_NOSPACE;
}

static enum err
sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = OK;

	if (fd < 0)
		return err_from_errno(errno);
	if (fsync(fd))
		e = err_from_errno(errno);
	close(fd);
	return e;
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

static enum err
lm_begin(struct index *ix, bool write, struct index_txn **out)
{
	struct lm *lm = lm_of(ix);
	struct lm_txn *t;
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	t = enter(lm, write);
	if (t) {
		rc = renew(lm, t);
	} else {
		t = calloc(1, sizeof(*t));
		rc = t ? begin(lm, write ? 0 : MDB_RDONLY, &t->txn) : ENOMEM;
	}
	if (rc) {
		free_txn(lm, t);
		leave(lm);
		return translate(rc);
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

/* Low half of XXH3-64 of the value, its seed XXH3-64 of the key, whose seed
 * is the table's number and the format's; big-endian, behind the value. */
static uint32_t
row_sum(enum index_table t, struct index_bytes key, const void *val, size_t len)
{
	uint64_t seed = hash64(key.p, key.len, ROW_FORMAT << 8 | (uint64_t)t);

	return (uint32_t)hash64(val, len, seed);
}

/* What LMDB says of a row, if it is the row that was put. */
static enum err
take_row(enum index_table t, MDB_val k, MDB_val v, struct index_bytes *key,
    struct index_bytes *val)
{
	struct index_bytes kb = { k.mv_data, k.mv_size };
	size_t len = v.mv_size - SUM_BYTES;
	struct rd r;

	/* The lengths first: they may be damaged as well. */
	if (k.mv_size < 1 || k.mv_size > INDEX_KEY_MAX ||
	    v.mv_size < SUM_BYTES || len > INDEX_VALUE_MAX)
		return ERR_CORRUPT;
	rd_init(&r, (const uint8_t *)v.mv_data + len, SUM_BYTES);
	if (rd_be(&r, SUM_BYTES) != row_sum(t, kb, v.mv_data, len))
		return ERR_CORRUPT;
	*key = kb;
	*val = (struct index_bytes){ v.mv_data, len };
	return OK;
}

static enum err
lm_get(struct index_txn *txn, enum index_table t, struct index_bytes key,
    struct index_bytes *val)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(key), v = { 0 };
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	TRAPPED(lm, rc, mdb_get(txn_of(txn)->txn, lm->dbi[t], &k, &v));
	return rc ? outcome(txn, rc) : take_row(t, k, v, &key, val);
}

static enum err
lm_put(struct index_txn *txn, enum index_table t, struct index_bytes key,
    struct index_bytes val)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(key), v = { val.len + SUM_BYTES, NULL };
	struct wr w;
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	TRAPPED(lm, rc,
	    mdb_put(txn_of(txn)->txn, lm->dbi[t], &k, &v, MDB_RESERVE));
	if (rc)
		return outcome(txn, rc);
	wr_init(&w, v.mv_data, v.mv_size);
	wr_bytes(&w, val.p, val.len);
	wr_be(&w, row_sum(t, key, val.p, val.len), SUM_BYTES);
	assert(!w.bad);
	return OK;
}

static enum err
lm_del(struct index_txn *txn, enum index_table t, struct index_bytes key)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(key);
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	TRAPPED(lm, rc, mdb_del(txn_of(txn)->txn, lm->dbi[t], &k, NULL));
	return outcome(txn, rc);
}

static void
lm_cursor_close(struct index_cursor *cursor)
{
	struct lm_cursor *c = (struct lm_cursor *)cursor;

	mdb_cursor_close(c->cursor);
	free(c);
}

static enum err
lm_seek(struct index_txn *txn, enum index_table t, struct index_bytes from,
    struct index_cursor **out, struct index_bytes *key, struct index_bytes *val)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_val k = to_mdb(from), v = { 0 };
	struct lm_cursor *c;
	enum err e;
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	c = malloc(sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	c->base.txn = txn;
	c->t = t;
	TRAPPED(
	    lm, rc, mdb_cursor_open(txn_of(txn)->txn, lm->dbi[t], &c->cursor));
	if (rc) {
		free(c);
		return outcome(txn, rc);
	}
	TRAPPED(lm, rc,
	    mdb_cursor_get(
		c->cursor, &k, &v, from.len ? MDB_SET_RANGE : MDB_FIRST));
	e = rc ? outcome(txn, rc) : take_row(t, k, v, key, val);
	if (e) {
		lm_cursor_close(&c->base);
		return e;
	}
	*out = &c->base;
	return OK;
}

static enum err
lm_next(struct index_cursor *cursor, struct index_bytes *key,
    struct index_bytes *val)
{
	struct lm *lm = lm_of(cursor->txn->ix);
	struct lm_cursor *c = (struct lm_cursor *)cursor;
	MDB_val k = { 0 }, v = { 0 };
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	TRAPPED(lm, rc, mdb_cursor_get(c->cursor, &k, &v, MDB_NEXT));
	return rc ? outcome(cursor->txn, rc) : take_row(c->t, k, v, key, val);
}

static enum err
lm_count(struct index_txn *txn, enum index_table t, uint64_t *out)
{
	struct lm *lm = lm_of(txn->ix);
	MDB_stat stat;
	int rc;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	TRAPPED(lm, rc, mdb_stat(txn_of(txn)->txn, lm->dbi[t], &stat));
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
	int rc = 0;

	if (atomic_load(&lm->broken))
		return ERR_CORRUPT;
	for (unsigned i = 0; i < INDEX_TABLES && !rc; i++)
		rc = empty(lm, txn_of(txn)->txn, lm->dbi[i]);
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
	pthread_mutex_destroy(&lm->lock);
	free(lm);
}

static void
lm_warm(struct index *ix, uint64_t max)
{
	off_t end = max < MAP_BYTES ? (off_t)max : (off_t)MAP_BYTES;
	mdb_filehandle_t fd;
	struct stat st;

	if (mdb_env_get_fd(lm_of(ix)->env, &fd) || fstat(fd, &st))
		return;
	if (end > st.st_size)
		end = st.st_size;
	for (off_t at = 0; at < end; at += WARM_STEP)
		if (posix_fadvise(fd, at, WARM_STEP, POSIX_FADV_WILLNEED))
			return;
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
	    (rc = mdb_env_set_mapsize(lm->env, MAP_BYTES)) ||
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

static int
open_table(struct lm *lm, MDB_txn *txn, unsigned i, unsigned flags)
{
	int rc;

	TRAPPED(lm, rc, mdb_dbi_open(txn, table_name[i], flags, &lm->dbi[i]));
	return rc;
}

/* Find the tables, or make them all: one that is missing beside others has a
 * damaged name, and an empty one in its place would hide that.  Finding all of
 * them writes nothing. */
static int
open_tables(struct lm *lm)
{
	unsigned found = 0;
	MDB_txn *txn;
	int rc;

	rc = begin(lm, 0, &txn);
	if (rc)
		return rc;
	for (unsigned i = 0; i < INDEX_TABLES && !rc; i++) {
		rc = open_table(lm, txn, i, 0);
		found += rc == 0;
		if (rc == MDB_NOTFOUND)
			rc = 0;
	}
	if (!rc && found && found < INDEX_TABLES)
		rc = MDB_CORRUPTED;
	for (unsigned i = 0; i < INDEX_TABLES && !rc && !found; i++)
		rc = open_table(lm, txn, i, MDB_CREATE);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	TRAPPED(lm, rc, mdb_txn_commit(txn));
	return rc;
}

enum err
index_lmdb_open(const char *path, struct index **out)
{
	enum err e = check_file(path);
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
		e = translate(open_tables(lm));
	if (!e && fresh)
		e = sync_dir(path);
	if (e) {
		lm_close(&lm->base);
		return e;
	}
	keep_ahead(lm);
	*out = &lm->base;
	return OK;
}

enum err
index_lmdb_set_aside(const char *path)
{
	char data[PATH_BYTES], damaged[PATH_BYTES], lock[PATH_BYTES];
	enum err e;

	if ((e = join(data, path, "data.mdb")) ||
	    (e = join(damaged, path, "data.mdb.damaged")) ||
	    (e = join(lock, path, "lock.mdb")))
		return e;
	if (rename(data, damaged))
		return err_from_errno(errno);
	if (unlink(lock) && errno != ENOENT)
		return err_from_errno(errno);
	return sync_dir(path);
}
