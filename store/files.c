/* files.c - the bytes of files: reading, writing, making them durable.
 *
 * A file that is only read has no struct file: its row says where its bytes
 * are, and no lock is held while they are fetched.  The first write makes a
 * struct file whose staging lies over the old content; it lives until a
 * checkpoint has sealed it and nobody uses it.
 *
 * Writers hold `lock` shared, so that no change of names (which holds it
 * exclusively) can see a file's live inode half changed, nor journal a row
 * that is older than the bytes journalled before it. */
#include "store/store_private.h"
#include "store/xattr.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DATA_PIECE (256u << 10) /* bytes of a file in one frame */

int64_t
store_now(struct store *s)
{
	return s->env.now_ns(s->env.arg);
}

/* ---- the table of files in use ------------------------------------------ */

static bool
file_matches(const void *item, const void *key)
{
	return ((const struct file *)item)->ino == *(const uint64_t *)key;
}

static uint64_t
ino_hash(uint64_t ino)
{
	return hash64_u64(ino, 0);
}

struct file *
file_find(struct store *s, uint64_t ino)
{
	struct file *f;

	pthread_mutex_lock(&s->files_lock);
	f = map_find(&s->files, ino_hash(ino), file_matches, &ino);
	if (f)
		f->refs++;
	pthread_mutex_unlock(&s->files_lock);
	return f;
}

static void
file_free(struct file *f)
{
	staging_free(f->staging);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void
file_put(struct store *s, struct file *f)
{
	bool gone = false;

	pthread_mutex_lock(&s->files_lock);
	assert(f->refs);
	/* Nobody else has it: its fields are ours to look at. */
	if (--f->refs == 0 && !f->staging && !f->inode_dirty && !f->orphan) {
		map_remove(
		    &s->files, ino_hash(f->ino), file_matches, &f->ino);
		gone = true;
	}
	pthread_mutex_unlock(&s->files_lock);
	if (gone)
		file_free(f);
}

bool
file_is_staged(struct store *s, uint64_t ino)
{
	struct file *f = file_find(s, ino);
	bool staged;

	if (!f)
		return false;
	pthread_mutex_lock(&f->lock);
	staged = f->staging != NULL;
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	return staged;
}

enum err
live_inode(struct store *s, struct index_txn *txn, uint64_t ino,
    struct inode *out)
{
	struct file *f = file_find(s, ino);

	if (!f)
		return tree_inode(s->tree, txn, ino, out);
	pthread_mutex_lock(&f->lock);
	*out = f->inode;
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	return OK;
}

enum err
file_get(struct store *s, struct index_txn *txn, uint64_t ino,
    struct file **out)
{
	struct file *f = file_find(s, ino), *other;
	enum err e;

	if (f) {
		*out = f;
		return OK;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	f->ino = ino;
	f->refs = 1;
	f->store = s;
	if ((e = tree_inode(s->tree, txn, ino, &f->inode))) {
		free(f);
		return e;
	}
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&s->files_lock);
	other = map_find(&s->files, ino_hash(ino), file_matches, &ino);
	if (other)
		other->refs++;
	else
		e = map_add(&s->files, ino_hash(ino), f);
	pthread_mutex_unlock(&s->files_lock);
	if (other || e) {
		file_free(f);
		f = other;
	}
	*out = f;
	return e;
}

static enum err
read_base(void *arg, uint64_t off, void *buf, size_t len)
{
	struct file *f = arg;
	size_t got;
	enum err e = content_read(
	    f->store->reader, &f->base, off, buf, len, &got);

	return e ? e : got == len ? OK : ERR_CORRUPT;
}

enum err
file_stage(struct file *f)
{
	struct store *s = f->store;

	if (f->staging)
		return OK;
	if (f->inode.data == DATA_KEPT)
		return staging_open_kept(
		    s->pool, f->ino, f->inode.size, &f->staging);
	f->base = f->inode.content;
	return staging_new(s->pool, f->ino, f->inode.size,
	    f->inode.size ? read_base : NULL, f, &f->staging);
}

enum err
file_read(struct file *f, uint64_t off, void *buf, size_t len, size_t *got)
{
	enum err e;

	if (!f->staging && f->inode.data == DATA_KEPT && (e = file_stage(f)))
		return e;
	if (f->staging)
		return staging_read(f->staging, off, buf, len, got);
	return content_read(
	    f->store->reader, &f->inode.content, off, buf, len, got);
}

/* ---- holds -------------------------------------------------------------- */

static bool
hold_matches(const void *item, const void *key)
{
	return ((const struct hold *)item)->ino == *(const uint64_t *)key;
}

enum err
store_hold(struct store *s, uint64_t ino, uint64_t n)
{
	struct hold *h;
	enum err e = OK;

	pthread_mutex_lock(&s->holds_lock);
	h = map_find(&s->holds, ino_hash(ino), hold_matches, &ino);
	if (h) {
		h->n += n;
	} else if (!(h = calloc(1, sizeof(*h)))) {
		e = ERR_NOMEM;
	} else {
		h->ino = ino;
		h->n = n;
		if ((e = map_add(&s->holds, ino_hash(ino), h)))
			free(h);
	}
	pthread_mutex_unlock(&s->holds_lock);
	return e;
}

uint64_t
held(struct store *s, uint64_t ino)
{
	struct hold *h;
	uint64_t n;

	pthread_mutex_lock(&s->holds_lock);
	h = map_find(&s->holds, ino_hash(ino), hold_matches, &ino);
	n = h ? h->n : 0;
	pthread_mutex_unlock(&s->holds_lock);
	return n;
}

void
store_release(struct store *s, uint64_t ino, uint64_t n)
{
	struct hold *h;
	struct file *f;
	bool last = false;

	pthread_mutex_lock(&s->holds_lock);
	h = map_find(&s->holds, ino_hash(ino), hold_matches, &ino);
	if (h && h->n > n) {
		h->n -= n;
	} else if (h) {
		map_remove(&s->holds, ino_hash(ino), hold_matches, &ino);
		free(h);
		last = true;
	}
	pthread_mutex_unlock(&s->holds_lock);
	if (!last)
		return;
	/* A nameless file goes with its last holder. */
	pthread_rwlock_wrlock(&s->lock);
	f = file_find(s, ino);
	if (f) {
		pthread_mutex_lock(&f->lock);
		if (f->orphan && !held(s, ino)) {
			f->orphan = false;
			f->inode_dirty = false;
			staging_free(f->staging);
			f->staging = NULL;
			if (f->kept)
				(void)!staging_discard(s->pool, ino);
		}
		pthread_mutex_unlock(&f->lock);
		file_put(s, f);
	}
	pthread_rwlock_unlock(&s->lock);
}

void
file_forget(struct store *s, struct file *f, const struct inode *ino)
{
	bool holders = held(s, ino->ino) > 0;

	if (f) {
		pthread_mutex_lock(&f->lock);
		f->inode = *ino;
		f->inode.nlink = 0;
		f->kept = S_ISREG(ino->mode) && ino->data == DATA_KEPT;
		f->inode_dirty = false;
		f->orphan = holders;
		if (!holders) {
			staging_free(f->staging);
			f->staging = NULL;
		}
		pthread_mutex_unlock(&f->lock);
		file_put(s, f);
	}
	if (!holders && S_ISREG(ino->mode) && ino->data == DATA_KEPT)
		(void)!staging_discard(s->pool, ino->ino);
}

/* ---- telling the background --------------------------------------------- */

static size_t
memory_max(const struct store *s)
{
	return s->env.memory_max ? s->env.memory_max : MEMORY_DEFAULT;
}

bool
much_waits(struct store *s)
{
	return staging_pool_used(s->pool) >= memory_max(s) / 2 ||
	    journal_backlog(s->journal) >= BACKLOG_DUE;
}

/* The background is told of the first change, and once when much has come
 * together: it must begin to seal long before writers have to wait for it. */
void
note_change(struct store *s)
{
	int64_t none = 0, now = store_now(s);
	bool tell;

	atomic_store_explicit(&s->last_change_ns, now, memory_order_relaxed);
	atomic_store_explicit(&s->trimmed, false, memory_order_relaxed);
	tell = atomic_compare_exchange_strong(&s->first_change_ns, &none, now);
	if (!atomic_load(&s->told_much) && much_waits(s))
		tell = !atomic_exchange(&s->told_much, true) || tell;
	if (tell && s->on_busy)
		s->on_busy(s->on_busy_arg);
}

/* A writer that outruns the sealing waits for it, but not for ever: a disk
 * that is full must be told by a write's error, not by silence. */
void
wait_for_memory(struct store *s)
{
	size_t most = memory_max(s) / 8 * 7;
	struct timespec until;

	if (staging_pool_used(s->pool) < most &&
	    journal_backlog(s->journal) < 4 * (uint64_t)BACKLOG_DUE)
		return;
	if (s->on_busy)
		s->on_busy(s->on_busy_arg);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	pthread_mutex_lock(&s->wait_lock);
	while (s->on_busy &&
	    (staging_pool_used(s->pool) >= most ||
		journal_backlog(s->journal) >= 4 * (uint64_t)BACKLOG_DUE) &&
	    pthread_cond_timedwait(&s->memory_freed, &s->wait_lock, &until) !=
		ETIMEDOUT)
		;
	pthread_mutex_unlock(&s->wait_lock);
}

/* ---- reading and writing ------------------------------------------------ */

enum err
store_read(struct store *s, uint64_t ino, uint64_t off, void *buf, size_t len,
    size_t *got)
{
	struct index_txn *txn = NULL;
	struct file *f;
	struct inode in;
	enum err e;

	pthread_rwlock_rdlock(&s->lock);
	f = file_find(s, ino);
	if (!f) {
		if (!(e = index_begin_read(s->env.index, &txn)))
			e = tree_inode(s->tree, txn, ino, &in);
		if (!e && S_ISREG(in.mode) && in.data == DATA_KEPT)
			e = file_get(s, txn, ino, &f);
		index_abort(&txn);
		if (e) {
			pthread_rwlock_unlock(&s->lock);
			return e;
		}
	}
	pthread_rwlock_unlock(&s->lock);
	if (!f) {
		if (!S_ISREG(in.mode))
			return S_ISDIR(in.mode) ? ERR_ISDIR : ERR_INVALID;
		return content_read(
		    s->reader, &in.content, off, buf, len, got);
	}
	pthread_mutex_lock(&f->lock);
	if (f->orphan && f->kept && !f->staging)
		e = file_stage(f);
	else
		e = OK;
	if (!e)
		e = file_read(f, off, buf, len, got);
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	return e;
}

/* Run `fn` on a regular file's staging, with its inode's times set and its
 * size followed. */
typedef enum err stage_fn(struct file *f, void *arg);

static enum err
change_bytes(
    struct store *s, uint64_t ino, bool kill_suid, stage_fn *fn, void *arg)
{
	struct index_txn *txn = NULL;
	struct file *f = NULL;
	enum err e;

	wait_for_memory(s);
	pthread_rwlock_rdlock(&s->lock);
	if ((e = s->broken))
		goto unlock;
	if (!(f = file_find(s, ino))) {
		if ((e = index_begin_read(s->env.index, &txn)))
			goto unlock;
		e = file_get(s, txn, ino, &f);
		index_abort(&txn);
		if (e)
			goto unlock;
	}
	pthread_mutex_lock(&f->lock);
	if (!S_ISREG(f->inode.mode))
		e = S_ISDIR(f->inode.mode) ? ERR_ISDIR : ERR_INVALID;
	if (!e && !(e = file_stage(f)) && !(e = fn(f, arg))) {
		f->inode.size = staging_size(f->staging);
		f->inode.mtime_ns = f->inode.ctime_ns = store_now(s);
		f->written_ns = f->inode.mtime_ns;
		if (kill_suid)
			f->inode.mode &= ~(uint32_t)S_ISUID &
			    ~(f->inode.mode & S_IXGRP ? (uint32_t)S_ISGID : 0u);
		f->inode_dirty = f->row_unsaved = !f->orphan;
	}
	pthread_mutex_unlock(&f->lock);
	if (!e)
		note_change(s);
unlock:
	if (f)
		file_put(s, f);
	pthread_rwlock_unlock(&s->lock);
	return e;
}

struct piece {
	uint64_t off;
	const void *buf;
	uint64_t len;
	int mode;
};

static enum err
stage_write(struct file *f, void *arg)
{
	struct piece *p = arg;

	return staging_write(f->staging, p->off, p->buf, (size_t)p->len);
}

enum err
store_write(struct store *s, uint64_t ino, uint64_t off, const void *buf,
    size_t len, bool kill_suid)
{
	struct piece p = { .off = off, .buf = buf, .len = len };

	return change_bytes(s, ino, kill_suid, stage_write, &p);
}

static enum err
stage_fallocate(struct file *f, void *arg)
{
	struct piece *p = arg;
	uint64_t end = p->off + p->len, size = staging_size(f->staging);
	struct change c;
	uint64_t lsn;
	enum err e = OK;

	if (p->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		e = staging_punch(f->staging, p->off, p->len);
		change_init(&c, f->store);
		change_punch(&c, f->ino, p->off, p->len);
		if (!e && !f->orphan)
			e = change_append(&c, &lsn);
		change_fini(&c);
	}
	if (!e && !(p->mode & FALLOC_FL_KEEP_SIZE) && end > size) {
		e = staging_truncate(f->staging, end);
		change_init(&c, f->store);
		change_truncate(&c, f->ino, end);
		if (!e && !f->orphan)
			e = change_append(&c, &lsn);
		change_fini(&c);
	}
	return e;
}

enum err
store_fallocate(struct store *s, uint64_t ino, int mode, uint64_t off,
    uint64_t len)
{
	struct piece p = { .off = off, .len = len, .mode = mode };
	int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
	    FALLOC_FL_ZERO_RANGE;

	if (mode & ~known)
		return ERR_UNSUPPORTED;
	if (len == 0 || off + len < off)
		return ERR_INVALID;
	if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
		return ERR_UNSUPPORTED;
	return change_bytes(s, ino, true, stage_fallocate, &p);
}

enum err
store_seek(struct store *s, uint64_t ino, uint64_t off, bool hole,
    uint64_t *out)
{
	struct index_txn *txn = NULL;
	struct file *f;
	struct inode in;
	enum err e;

	pthread_rwlock_rdlock(&s->lock);
	f = file_find(s, ino);
	e = index_begin_read(s->env.index, &txn);
	if (!e && !f)
		e = tree_inode(s->tree, txn, ino, &in);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	if (f) {
		pthread_mutex_lock(&f->lock);
		in = f->inode;
		if (!e && f->staging) {
			e = staging_seek(f->staging, off, hole, out);
			pthread_mutex_unlock(&f->lock);
			file_put(s, f);
			return e;
		}
		pthread_mutex_unlock(&f->lock);
		file_put(s, f);
	}
	if (e)
		return e;
	if (off >= in.size)
		return ERR_ABSENT;
	*out = hole ? in.size : off;
	return OK;
}

/* ---- making it durable -------------------------------------------------- */

/* A DATA item with the bytes read straight into the frame. */
static enum err
append_range(struct store *s, struct file *f, uint64_t off, uint64_t len,
    uint64_t *lsn)
{
	struct change c;
	size_t got = 0;
	enum err e;

	change_init(&c, s);
	change_data(&c, f->ino, off, NULL, (size_t)len);
	if (!(e = c.e))
		e = staging_read(f->staging, off, c.bytes + c.len - len,
		    (size_t)len, &got);
	if (!e && got != len)
		e = ERR_CORRUPT;
	if (!e)
		e = change_append(&c, lsn);
	change_fini(&c);
	return e;
}

enum err
file_settle(struct store *s, struct file *f, uint64_t *lsn, bool *whole)
{
	uint64_t off = 0, len, dirty = 0;
	struct change c;
	enum err e = OK;

	*whole = true;
	pthread_mutex_lock(&f->lock);
	if (f->orphan || !f->staging || atomic_load(&s->bulk))
		goto done;
	while (staging_next_dirty(f->staging, &off, &len, UINT64_MAX)) {
		dirty += len;
		off += len;
	}
	if (dirty > SETTLE_MAX) {
		*whole = false;
		goto done;
	}
	for (off = 0;
	     staging_next_dirty(f->staging, &off, &len, DATA_PIECE);
	     off += len) {
		if ((e = append_range(s, f, off, len, lsn)))
			goto done;
		staging_clean(f->staging, off, len);
	}
	if (dirty || f->row_unsaved) {
		change_init(&c, s);
		change_truncate(&c, f->ino, staging_size(f->staging));
		change_inode_staged(&c, &f->inode);
		e = change_append(&c, lsn);
		change_fini(&c);
		f->row_unsaved = e != OK;
	}
done:
	pthread_mutex_unlock(&f->lock);
	return e;
}

enum err
store_settle(struct store *s, uint64_t ino)
{
	struct file *f;
	uint64_t lsn = 0;
	bool whole;
	enum err e = OK;

	pthread_rwlock_rdlock(&s->lock);
	f = file_find(s, ino);
	if (f) {
		e = file_settle(s, f, &lsn, &whole);
		file_put(s, f);
	}
	pthread_rwlock_unlock(&s->lock);
	return e ? e : change_acknowledge(s, lsn);
}

/* One of the files to look at, from *pos on; its reference is the caller's. */
static struct file *
next_file(struct store *s, size_t *pos)
{
	struct file *f;

	pthread_mutex_lock(&s->files_lock);
	f = map_next(&s->files, pos);
	if (f)
		f->refs++;
	pthread_mutex_unlock(&s->files_lock);
	return f;
}

enum err
settle_quiet_files(struct store *s)
{
	int64_t now = store_now(s);
	uint64_t lsn = 0;
	size_t pos = 0;
	struct file *f;
	enum err e = OK;

	/* The table may change between two looks: a file that is missed, or
	 * seen twice, is seen again in a moment. */
	while (!e && (f = next_file(s, &pos))) {
		bool due, whole;

		pthread_mutex_lock(&f->lock);
		due = f->row_unsaved && now - f->written_ns >= SETTLE_NS;
		pthread_mutex_unlock(&f->lock);
		if (due) {
			pthread_rwlock_rdlock(&s->lock);
			e = file_settle(s, f, &lsn, &whole);
			pthread_rwlock_unlock(&s->lock);
		}
		file_put(s, f);
	}
	return e;
}

enum err
store_sync(struct store *s, uint64_t ino)
{
	struct file *f;
	uint64_t lsn = 0;
	bool whole = true;
	enum err e = OK;

	if (atomic_load(&s->bulk))
		return store_checkpoint(s);
	pthread_rwlock_rdlock(&s->lock);
	f = ino ? file_find(s, ino) : NULL;
	if (f) {
		e = file_settle(s, f, &lsn, &whole);
		file_put(s, f);
	}
	if (!e)
		e = s->broken;
	pthread_rwlock_unlock(&s->lock);
	if (e)
		return e;
	if (!whole)
		return store_checkpoint(s);
	return journal_sync(s->journal, journal_end(s->journal));
}
