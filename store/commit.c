/* commit.c - the checkpoint: what was acknowledged out of the journal becomes
 * sealed blocks, records of the logs, and rows of the index.
 *
 *   1 freeze   (exclusive lock) live inodes go to the tree, the tree's active
 *              layer is frozen, a new journal segment begins at `lsn`
 *   2 seal     every file that was staged at 1: its bytes into blocks, or,
 *              local-only, into its page file
 *   3 log      the waiting records, with the contents from 2, into batches;
 *              a new head
 *   4 flush    the packs are synced
 *   5 commit   one index transaction: frozen rows, block places, log states,
 *              and `lsn`
 *   6 settle   (exclusive lock) the frozen layer and the staged bytes that are
 *              sealed now are dropped; the journal before `lsn` is released
 *
 * A crash before 5 leaves the old index and the whole journal; one after 5
 * the new index and a journal that is replayed from `lsn`.  Blocks of a
 * checkpoint that did not commit are found again by their ids and used.
 *
 * A file written to between 2 and 6 keeps its staging (its version tells) and
 * is sealed again by the next one.  Which bytes a sealing of 2 has seen does
 * not matter: frames say what is there *after* a change, so a replay over a
 * newer content ends at the same bytes. */
#include "store/mime.h"
#include "store/userlog.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WRITE_OUT_NS 200000000 /* what may wait in memory waits this long */

void
set_problem(struct store *s, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&s->problem_lock);
	va_start(ap, fmt);
	vsnprintf(s->problem, sizeof(s->problem), fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&s->problem_lock);
}

void
store_problem(struct store *s, char *buf, size_t cap)
{
	pthread_mutex_lock(&s->problem_lock);
	snprintf(buf, cap, "%s", s->problem);
	pthread_mutex_unlock(&s->problem_lock);
}

/* ---- the list of files to seal ------------------------------------------ */

static enum err
sealed_add(struct sealed_list *l, struct file *f)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct sealed *bigger = realloc(l->one, cap * sizeof(*bigger));

		if (!bigger)
			return ERR_NOMEM;
		l->one = bigger;
		l->cap = cap;
	}
	memset(&l->one[l->count], 0, sizeof(*l->one));
	l->one[l->count].ino = f->ino;
	l->one[l->count].file = f;
	l->count++;
	return OK;
}

static int
by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct sealed *)a)->ino;
	uint64_t y = ((const struct sealed *)b)->ino;

	return (x > y) - (x < y);
}

static void
sealed_sort(struct sealed_list *l)
{
	if (l->count)
		qsort(l->one, l->count, sizeof(*l->one), by_ino);
}

struct sealed *
sealed_find(struct sealed_list *l, uint64_t ino)
{
	struct sealed key = { .ino = ino };

	return l->count ? bsearch(&key, l->one, l->count, sizeof(key), by_ino)
			: NULL;
}

/* ---- 1: freeze ---------------------------------------------------------- */

struct checkpoint {
	struct store *s;
	struct sealed_list sealed;
	struct store_state state;
	struct store_user *users; /* counters as of the freeze */
	struct log_state *logs;
	unsigned user_count;
	bool nothing;
};

static enum err
freeze_file(struct checkpoint *cp, struct file *f)
{
	struct store *s = cp->s;
	bool list = false;
	enum err e = OK;

	pthread_mutex_lock(&f->lock);
	if (!f->orphan && f->inode.nlink && (f->inode_dirty || f->staging)) {
		if (!(e = put_counted(s, &f->inode)))
			f->inode_dirty = false;
		list = f->staging != NULL;
	}
	pthread_mutex_unlock(&f->lock);
	if (!e && list && !(e = sealed_add(&cp->sealed, f))) {
		cp->sealed.one[cp->sealed.count - 1].shared =
		    f->inode.shared_links > 0;
		f->refs++;
	}
	return e;
}

static enum err
freeze(struct checkpoint *cp)
{
	struct store *s = cp->s;
	struct file *f;
	size_t pos = 0;
	enum err e;

	pthread_rwlock_wrlock(&s->lock);
	e = s->broken;
	pthread_mutex_lock(&s->files_lock);
	while (!e && (f = map_next(&s->files, &pos)))
		e = freeze_file(cp, f);
	pthread_mutex_unlock(&s->files_lock);
	cp->user_count = s->users;
	cp->users = calloc(s->users + 1, sizeof(*cp->users));
	cp->logs = calloc(s->users + 1, sizeof(*cp->logs));
	if (!e && (!cp->users || !cp->logs))
		e = ERR_NOMEM;
	if (!e && tree_active_count(s->tree) == 0 && s->pending.count == 0 &&
	    s->ledger.count == 0) {
		cp->nothing = true;
	} else if (!e) {
		memcpy(cp->users, s->user, s->users * sizeof(*cp->users));
		cp->state.next_ino = s->next_ino;
		cp->state.next_cookie = s->next_cookie;
		if (!(e = journal_switch(s->journal, &cp->state.lsn)) &&
		    !(e = tree_freeze(s->tree))) {
			s->frozen_pending = s->pending;
			s->frozen_ledger = s->ledger;
			memset(&s->pending, 0, sizeof(s->pending));
			memset(&s->ledger, 0, sizeof(s->ledger));
		}
	}
	if (!e) {
		atomic_store(&s->first_change_ns, 0);
		atomic_store(&s->told_much, false);
	}
	pthread_rwlock_unlock(&s->lock);
	return e;
}

/* ---- 2: seal ------------------------------------------------------------ */

struct kept_list {
	uint64_t *ino;
	size_t count, cap;
};

/* A local-only file that got a name in the log: its page file is sealed. */
static enum err
collect_kept(void *arg, const struct inode *in)
{
	struct kept_list *l = arg;

	if (!S_ISREG(in->mode) || in->data != DATA_KEPT || !in->shared_links)
		return OK;
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		uint64_t *bigger = realloc(l->ino, cap * sizeof(*bigger));

		if (!bigger)
			return ERR_NOMEM;
		l->ino = bigger;
		l->cap = cap;
	}
	l->ino[l->count++] = in->ino;
	return OK;
}

static enum err
add_kept(struct checkpoint *cp)
{
	struct store *s = cp->s;
	struct kept_list l = { 0 };
	enum err e = tree_frozen_inodes(s->tree, collect_kept, &l);

	sealed_sort(&cp->sealed);
	for (size_t i = 0, listed = cp->sealed.count; !e && i < l.count; i++) {
		struct sealed_list before = cp->sealed;
		struct index_txn *txn = NULL;
		struct file *f = NULL;

		before.count = listed;
		if (sealed_find(&before, l.ino[i]))
			continue;
		pthread_rwlock_rdlock(&s->lock);
		if (!(e = index_begin_read(s->env.index, &txn)))
			e = file_get(s, txn, l.ino[i], &f);
		index_abort(&txn);
		pthread_rwlock_unlock(&s->lock);
		if (e == ERR_ABSENT) {
			e = OK; /* deleted since the freeze */
			continue;
		}
		if (e)
			break;
		pthread_mutex_lock(&f->lock);
		e = file_stage(f);
		pthread_mutex_unlock(&f->lock);
		if (!e)
			e = sealed_add(&cp->sealed, f);
		if (e)
			file_put(s, f);
		else
			cp->sealed.one[cp->sealed.count - 1].shared = true;
	}
	free(l.ino);
	sealed_sort(&cp->sealed);
	return e;
}

static enum err
put_block(void *arg, const struct id *id, const void *block, size_t len)
{
	struct store *s = arg;
	bool fresh;

	return blockdb_put(s->blocks, id, block, len, &fresh);
}

static enum err
read_staged(void *arg, uint64_t off, void *buf, size_t len)
{
	struct file *f = arg;
	size_t got;
	enum err e = staging_read(f->staging, off, buf, len, &got);

	return e ? e : got == len ? OK : ERR_CORRUPT;
}

struct buffer {
	uint8_t *bytes;
	size_t cap;
};

static enum err
buffer_room(struct buffer *b, size_t need)
{
	uint8_t *bigger;

	if (b->cap >= need)
		return OK;
	bigger = realloc(b->bytes, need);
	if (!bigger)
		return ERR_NOMEM;
	b->bytes = bigger;
	b->cap = need;
	return OK;
}

/* Bytes into blocks.  f->lock is held on entry; a file of ordinary size is
 * copied and sealed without it, so that its readers do not wait. */
static enum err
seal_shared(
    struct store *s, struct sealed *one, struct file *f, struct buffer *buf)
{
	struct content_sink sink = { s, put_block };
	enum err e;

	if (one->size > SEAL_BUFFER_MAX) {
		e = content_store_stream(
		    s->sealer, &sink, one->size, read_staged, f, &one->content);
		pthread_mutex_unlock(&f->lock);
		return e;
	}
	if (!(e = buffer_room(buf, (size_t)one->size + 1)))
		e = read_staged(f, 0, buf->bytes, (size_t)one->size);
	pthread_mutex_unlock(&f->lock);
	if (e || one->size == 0)
		return e;
	return content_store(s->sealer, &sink, buf->bytes, (size_t)one->size,
	    mime_is_mail(buf->bytes, (size_t)one->size), &one->content);
}

static enum err
seal_file(struct store *s, struct sealed *one, struct buffer *buf)
{
	struct file *f = one->file;
	uint8_t data = DATA_RECIPE;
	enum err e;

	pthread_mutex_lock(&f->lock);
	if (f->orphan || f->inode.nlink == 0 || !f->staging) {
		/* Deleted since the freeze: its frozen row goes with the next
		 * checkpoint, and meanwhile says that it is empty. */
		pthread_mutex_unlock(&f->lock);
		one->version = UINT64_MAX;
		return tree_frozen_content(
		    s->tree, one->ino, DATA_RECIPE, 0, &one->content);
	}
	one->version = staging_version(f->staging);
	one->size = staging_size(f->staging);
	one->owner = f->inode.owner;
	one->mtime_ns = f->inode.mtime_ns;
	one->ctime_ns = f->inode.ctime_ns;
	one->was_kept = f->inode.data == DATA_KEPT;
	one->shared = one->shared || f->inode.shared_links > 0;
	if (one->shared) {
		e = seal_shared(s, one, f, buf);
	} else {
		data = DATA_KEPT;
		e = staging_keep(f->staging);
		pthread_mutex_unlock(&f->lock);
	}
	if (e)
		return e;
	return tree_frozen_content(
	    s->tree, one->ino, data, one->size, &one->content);
}

static enum err
seal_all(struct checkpoint *cp)
{
	struct buffer buf = { 0 };
	enum err e = add_kept(cp);

	for (size_t i = 0; !e && i < cp->sealed.count; i++)
		e = seal_file(cp->s, &cp->sealed.one[i], &buf);
	free(buf.bytes);
	return e;
}

/* ---- 5: commit ---------------------------------------------------------- */

static enum err
put_ledger(struct store *s, struct index_txn *txn)
{
	enum err e = OK;

	for (size_t i = 0; !e && i < s->frozen_ledger.len; i += 16)
		e = index_put(txn, INDEX_LEDGER, s->frozen_ledger.bytes + i,
		    16, "", 0);
	return e;
}

static enum err
commit(struct checkpoint *cp)
{
	struct store *s = cp->s;
	struct index_txn *txn = NULL;
	enum err e;

	if ((e = index_begin_write(s->env.index, &txn)))
		return e;
	if ((e = tree_write_frozen(s->tree, txn)) ||
	    (e = blockdb_index(s->blocks, txn)) ||
	    (e = put_ledger(s, txn)) || (e = state_put(txn, &cp->state)))
		goto fail;
	for (unsigned i = 0; i < cp->user_count; i++)
		if ((e = user_row_put(txn, i, &cp->users[i])) ||
		    (e = log_state_put(s, txn, i, &cp->logs[i])))
			goto fail;
	return index_commit(&txn);
fail:
	index_abort(&txn);
	return e;
}

/* ---- 6: settle ---------------------------------------------------------- */

/* A change of names since the freeze put a row in the active layer that does
 * not know of the sealing (and whose file may not have been in use then). */
static void
correct_row(struct store *s, struct index_txn *txn, struct file *f)
{
	struct inode row;
	bool same = !txn || tree_inode(s->tree, txn, f->ino, &row) ||
	    (row.data == f->inode.data && row.size == f->inode.size &&
		row.content.len == f->inode.content.len &&
		memcmp(row.content.bytes, f->inode.content.bytes,
		    row.content.len) == 0);

	f->inode_dirty = f->inode_dirty || !same || !txn;
	if (f->inode_dirty && !put_counted(s, &f->inode))
		f->inode_dirty = false;
}

static void
settle_file(
    struct store *s, struct index_txn *txn, struct sealed *one, bool committed)
{
	struct file *f = one->file;
	bool discard = false;

	pthread_mutex_lock(&f->lock);
	if (committed && f->staging && !f->orphan &&
	    staging_version(f->staging) == one->version) {
		staging_free(f->staging);
		f->staging = NULL;
		f->inode.data = one->shared ? DATA_RECIPE : DATA_KEPT;
		f->inode.content = one->content;
		f->inode.size = one->size;
		discard = one->shared && one->was_kept;
		correct_row(s, txn, f);
	}
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	if (discard)
		(void)!staging_discard(s->pool, one->ino);
}

static void
settle(struct checkpoint *cp, enum err e)
{
	struct store *s = cp->s;
	struct index_txn *txn = NULL;
	int64_t now = store_now(s), none = 0;

	pthread_rwlock_wrlock(&s->lock);
	if (!e) {
		tree_drop_frozen(s->tree);
		blockdb_committed(s->blocks);
		for (unsigned i = 0; i < cp->user_count; i++) {
			uint64_t lamport = s->user[i].log.lamport;

			s->user[i].log = cp->logs[i];
			s->user[i].log.lamport = lamport;
		}
		pending_clear(&s->frozen_pending);
		pending_clear(&s->frozen_ledger);
	} else if (!cp->nothing) {
		if (tree_is_frozen(s->tree))
			tree_thaw(s->tree);
		blockdb_uncommitted(s->blocks);
		if (pending_join(&s->frozen_pending, &s->pending) ||
		    pending_join(&s->frozen_ledger, &s->ledger))
			s->broken = ERR_NOMEM;
		atomic_compare_exchange_strong(
		    &s->first_change_ns, &none, now);
	}
	if (index_begin_read(s->env.index, &txn))
		txn = NULL; /* then every row is put once more */
	for (size_t i = 0; i < cp->sealed.count; i++)
		settle_file(s, txn, &cp->sealed.one[i], !e && !cp->nothing);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
}

static void
tell_failure(struct store *s, enum err e)
{
	if (e == ERR_NOSPACE)
		set_problem(s,
		    "the disk is full: nothing is lost, but new mail is "
		    "refused: make room, then it goes on by itself");
	else if (e == ERR_CORRUPT)
		set_problem(s,
		    "index or packs are damaged: run 'post umount' and "
		    "'post scrub --repair'");
	else
		set_problem(s, "checkpoint: %s: it is tried again",
		    err_text(e));
}

static enum err
checkpoint(struct store *s)
{
	struct checkpoint cp = { .s = s };
	enum err e = freeze(&cp);

	if (!e && !cp.nothing) {
		if (!(e = seal_all(&cp)) &&
		    !(e = userlog_write(s, &cp.sealed, cp.logs)) &&
		    !(e = blockdb_put_mark(s->blocks, cp.state.lsn)) &&
		    !(e = blockdb_flush(s->blocks)))
			e = commit(&cp);
	}
	if (!cp.nothing)
		settle(&cp, e);
	if (!e && !cp.nothing) {
		e = journal_release(s->journal, cp.state.lsn);
		atomic_fetch_add(&s->checkpoints, 1);
	}
	pthread_mutex_lock(&s->wait_lock);
	pthread_cond_broadcast(&s->memory_freed);
	pthread_mutex_unlock(&s->wait_lock);
	if (e)
		tell_failure(s, e);
	else if (s->retry_ns)
		set_problem(s, "%s", "");
	s->retry_ns = e ? store_now(s) + RETRY_NS : 0;
	free(cp.sealed.one);
	free(cp.users);
	free(cp.logs);
	return e;
}

enum err
store_checkpoint(struct store *s)
{
	enum err e;

	pthread_mutex_lock(&s->checkpointing);
	e = checkpoint(s);
	pthread_mutex_unlock(&s->checkpointing);
	return e;
}

/* ---- the background ----------------------------------------------------- */

enum err
store_tick(struct store *s, int64_t *next_ns)
{
	int64_t first = atomic_load(&s->first_change_ns), now = store_now(s);
	enum err e = OK;

	*next_ns = AGE_DUE_NS;
	if (first) {
		bool quiet =
		    now - atomic_load(&s->last_change_ns) >= QUIET_NS;
		bool due = now < first ||
		    now - first >= (quiet ? AGE_DUE_NS : AGE_BUSY_NS) ||
		    much_waits(s);

		if (due && now >= s->retry_ns)
			e = store_checkpoint(s);
		else if (!(e = settle_quiet_files(s)))
			e = journal_write(
			    s->journal, journal_end(s->journal));
		*next_ns = WRITE_OUT_NS;
	} else if (!atomic_load(&s->trimmed) &&
	    now - atomic_load(&s->last_change_ns) >= IDLE_TRIM_NS) {
		atomic_store(&s->trimmed, true);
		e = journal_trim(s->journal);
	}
	return e;
}
