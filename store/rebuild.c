/* rebuild.c - a new index, from the packs and the journal.
 *
 * Blocks are found by reading the packs.  The newest valid head of each user's
 * log leads to its batches; the past they make (past.h) becomes the tree, with
 * the same inode numbers.  The journal has what came after the last
 * checkpoint, whose end a mark in the packs tells.  A checkpoint that failed
 * may have left its heads without a mark; hence records are applied only if
 * their stamp is newer than the log's, and the journal's bytes all, in order,
 * which ends at the same bytes however often it is done (redo.c).
 *
 * What is local-only (indexes and caches of mail programs, tmp/) is not in the
 * log and is not found again; nor are the bytes of a file that was local-only
 * at the last checkpoint, and came into the log since: they are in its page
 * file only.  Names that are in the log stay there, whatever the list of
 * local-only names says now. */
#include "overlay/base/wire.h"
#include "store/past.h"
#include "store/userlog.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES 512
#define DEPTH_MAX 2000u

/* The users' directories have no number in any log; they get these, which no
 * counter of files has reached. */
#define ROOT_INO_BASE (UINT64_C(1) << 40)

struct frame_copy {
	uint8_t *bytes;
	size_t len;
};

struct rebuild {
	const struct store_env *env;
	struct home_keys *keys;
	scrub_fn *tell;
	void *arg;
	struct scrub_report *out;
	struct ulog_head *head; /* [users]; sequence 0: none found */
	uint64_t *newest;	/* [users]: stamp of the newest batched record */
	uint64_t damaged;
	struct frame_copy *frame; /* the journal's */
	size_t frames, frames_cap;
	uint64_t from_lsn; /* where the journal has to go on */
	uint64_t end_lsn;
};

static enum err
find_head(void *arg, const struct frame_place *at, const uint8_t *bytes,
    size_t len)
{
	struct rebuild *rb = arg;
	struct ulog_head h;

	if (at->e) {
		char line[LINE_MAX_BYTES];

		snprintf(line, sizeof(line),
		    "%s: byte %" PRIu64 ": %zu bytes are damaged", at->pack,
		    at->off, len);
		rb->tell(rb->arg, line);
		rb->out->damaged_blocks++;
		return OK;
	}
	rb->out->bytes += len;
	rb->out->blocks += at->type == FRAME_BLOCK;
	if (at->type == FRAME_MARK && len == 8) {
		struct rd r;

		rd_init(&r, bytes, len);
		rb->from_lsn = rd_be(&r, 8);
	}
	if (at->type != FRAME_HEAD || ulog_head_decode(bytes, len, &h))
		return OK;
	if (!id_eq(&h.device, &rb->keys->device_id))
		return OK;
	for (unsigned i = 0; i < rb->keys->users; i++)
		if (id_eq(&h.user, &rb->keys->user[i].id) &&
		    h.sequence > rb->head[i].sequence) {
			rb->head[i] = h;
			rb->head[i].recent = NULL; /* was borrowed */
			rb->head[i].recent_len = 0;
		}
	return OK;
}

static enum err
keep_frame(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	struct rebuild *rb = arg;
	struct frame_copy *f;

	if (rb->frames == rb->frames_cap) {
		size_t cap = rb->frames_cap ? rb->frames_cap * 2 : 256;

		f = realloc(rb->frame, cap * sizeof(*f));
		if (!f)
			return ERR_NOMEM;
		rb->frame = f;
		rb->frames_cap = cap;
	}
	f = &rb->frame[rb->frames];
	f->bytes = malloc(len + 1);
	if (!f->bytes)
		return ERR_NOMEM;
	memcpy(f->bytes, bytes, len);
	f->len = len;
	rb->frames++;
	rb->end_lsn = lsn;
	return OK;
}

static enum err
read_journal(struct rebuild *rb)
{
	struct journal *j = NULL;
	struct key key;
	uint64_t torn;
	enum err e;

	key_derive(&rb->keys->home, "post journal", 0, &key);
	e = journal_open(rb->env->disk, &key, rb->from_lsn, &j);
	wipe(&key, sizeof(key));
	if (!e)
		e = journal_replay(j, keep_frame, rb, &torn);
	if (!e && journal_end(j) > rb->end_lsn)
		rb->end_lsn = journal_end(j);
	journal_close(j);
	return e;
}

/* ---- the tree ----------------------------------------------------------- */

struct user_tree {
	struct rebuild *rb;
	struct store *s;
	unsigned user;
	struct past *past;
	uint64_t root;
};

static enum err
apply_batched(void *arg, const struct ulog_batch_info *info,
    uint64_t sequence, const struct ulog_record *r)
{
	struct user_tree *t = arg;
	struct log_state *l = &t->s->user[t->user].log;

	(void)sequence;
	if (r->lamport > t->rb->newest[t->user])
		t->rb->newest[t->user] = r->lamport;
	if (!l->first_ns)
		l->first_ns = r->time_ns;
	return past_apply(t->past, r, info->device_table, info->devices);
}

static enum err
apply_journalled(void *arg, unsigned user, const uint8_t *bytes, size_t len,
    const uint8_t *item, size_t item_len)
{
	struct user_tree *t = arg;
	struct ulog_record r;
	struct ulog_prev prev;
	size_t used;
	enum err e;

	if (user != t->user + 1)
		return OK;
	memset(&prev, 0, sizeof(prev));
	if ((e = ulog_record_decode(bytes, len, &prev, &r, &used)))
		return e;
	if (r.lamport <= t->rb->newest[t->user])
		return OK; /* in a batch already */
	if (r.lamport > t->s->user[t->user].log.lamport)
		t->s->user[t->user].log.lamport = r.lamport;
	if ((e = pending_add(&t->s->pending, item, item_len)))
		return e;
	return past_apply(t->past, &r, &t->rb->keys->device_id, 1);
}

static uint64_t
ino_of(const struct user_tree *t, uint64_t number)
{
	return number == ULOG_ROOT ? t->root : number;
}

static enum err
put_inode(struct user_tree *t, uint64_t number, uint64_t parent,
    const char *name)
{
	const uint8_t *row;
	struct inode in;
	size_t len;
	enum err e;

	if ((e = past_inode(t->past, number, &in)))
		return e;
	in.ino = ino_of(t, number);
	in.parent = S_ISDIR(in.mode) ? parent : 0;
	in.owner = (uint16_t)(t->user + 1);
	if (S_ISDIR(in.mode) && t->s->env.is_local &&
	    t->s->env.is_local(t->s->env.arg, name, "", false))
		in.data = DATA_DIR_SCRATCH;
	else if (S_ISDIR(in.mode) && t->s->env.is_message_dir &&
	    t->s->env.is_message_dir(name))
		in.data = DATA_DIR_MESSAGES;
	if (in.ino >= t->s->next_ino)
		t->s->next_ino = in.ino + 1;
	if ((e = put_counted(t->s, &in)) ||
	    (e = past_xattrs(t->past, number, &row, &len)))
		return e;
	return len ? tree_put_xattrs(t->s->tree, in.ino, row, len) : OK;
}

static enum err
put_dir(struct user_tree *t, uint64_t number, bool messages, unsigned depth)
{
	struct past_walk walk;
	struct entry entry;
	enum err e;

	if (depth > DEPTH_MAX)
		return ERR_TOO_BIG;
	if ((e = past_walk_init(&walk, t->past, number, 0)))
		return e;
	while (!(e = past_walk_next(&walk, &entry))) {
		uint64_t child = entry.ino;
		struct inode in;

		if ((e = put_inode(t, child, ino_of(t, number), entry.name)) ||
		    (e = past_inode(t->past, child, &in)))
			return e;
		entry.dir = ino_of(t, number);
		entry.ino = ino_of(t, child);
		entry.cookie = t->s->next_cookie++;
		entry.local = false;
		if ((e = tree_put_entry(t->s->tree, &entry, NULL, 0)))
			return e;
		if (messages && S_ISREG(in.mode))
			t->s->user[t->user].messages++;
		if (S_ISDIR(in.mode) &&
		    (e = put_dir(t, child,
			 t->s->env.is_message_dir &&
			     t->s->env.is_message_dir(entry.name),
			 depth + 1)))
			return e;
	}
	return e == ERR_ABSENT ? OK : e;
}

/* The state a log had when its head was written. */
static void
log_state_from_head(const struct ulog_head *h, struct log_state *l)
{
	memset(l, 0, sizeof(*l));
	l->record_sequence = h->record_sequence;
	l->head_sequence = h->sequence;
	l->lamport = h->lamport;
	l->has_batch = h->has_batch;
	l->batch = h->batch;
	l->batch_first = h->batch_first;
	l->batches = h->has_batch;
	l->has_snapshot = h->has_snapshot;
	l->snapshot = h->snapshot;
	l->snapshot_of = h->snapshot_of;
	l->snapshot_parts = h->snapshot_parts;
	l->last_ns = l->snapshot_ns = h->time_ns;
}

static enum err
put_user_dir(struct user_tree *t)
{
	const char *address = t->rb->keys->user[t->user].address;
	struct index_txn *txn = NULL;
	struct inode top;
	struct entry entry;
	enum err e;

	if ((e = put_inode(t, ULOG_ROOT, STORE_ROOT, address)))
		return e;
	memset(&entry, 0, sizeof(entry));
	entry.dir = STORE_ROOT;
	entry.cookie = t->s->next_cookie++;
	entry.ino = t->root;
	entry.type = S_IFDIR >> 12;
	entry.name_len = (uint8_t)strlen(address);
	memcpy(entry.name, address, entry.name_len);
	if ((e = tree_put_entry(t->s->tree, &entry, NULL, 0)) ||
	    (e = index_begin_read(t->s->env.index, &txn)))
		return e;
	e = live_inode(t->s, txn, STORE_ROOT, &top);
	index_abort(&txn);
	top.nlink++;
	return e ? e : tree_put_inode(t->s->tree, &top);
}

static enum err
rebuild_user(struct rebuild *rb, struct store *s, unsigned user)
{
	struct user_tree t = { .rb = rb, .s = s, .user = user };
	struct store_user *u = &s->user[user];
	char line[LINE_MAX_BYTES];
	enum err e;

	log_state_from_head(&rb->head[user], &u->log);
	t.root = ROOT_INO_BASE + user;
	u->root = t.root;
	if ((e = past_new(&rb->keys->device_id, 1, 0, &t.past)))
		return e;
	if (u->log.has_batch)
		e = userlog_read(s, user, &u->log, false, apply_batched, &t);
	for (size_t i = 0; !e && i < rb->frames; i++)
		e = redo_salvage(s, rb->frame[i].bytes, rb->frame[i].len,
		    apply_journalled, &t);
	if (!e && !(e = put_user_dir(&t)))
		e = put_dir(&t, ULOG_ROOT, false, 0);
	past_free(t.past);
	if (e)
		return e;
	rb->out->files += u->files;
	rb->out->repaired += u->files;
	snprintf(line, sizeof(line),
	    "%s: %" PRIu64 " files, %" PRIu64 " messages", u->keys->address,
	    u->files, u->messages);
	rb->tell(rb->arg, line);
	return OK;
}

/* ---- the whole ---------------------------------------------------------- */

/* An index that store_open() takes: the blocks, and an empty tree. */
static enum err
empty_index(struct rebuild *rb)
{
	struct index_txn *txn = NULL;
	struct store_state st = { .lsn = rb->end_lsn,
		.next_ino = ROOT_INO_BASE + rb->keys->users,
		.next_cookie = 1 };
	enum err e;

	if ((e = index_begin_write(rb->env->index, &txn)))
		return e;
	if ((e = index_clear(txn)) || (e = index_commit(&txn))) {
		index_abort(&txn);
		return e;
	}
	if ((e = make_root(
		 rb->env->index, rb->env->now_ns(rb->env->arg))) ||
	    (e = index_begin_write(rb->env->index, &txn)))
		return e;
	if (!(e = blockdb_rebuild(rb->env->disk, txn, &rb->damaged)) &&
	    !(e = state_put(txn, &st)))
		e = index_commit(&txn);
	index_abort(&txn);
	return e;
}

static enum err
fill(struct rebuild *rb)
{
	struct store *s = NULL;
	enum err e, e2;

	if ((e = store_open(rb->env, rb->keys, &s)))
		return e;
	pthread_rwlock_wrlock(&s->lock);
	for (unsigned i = 0; !e && i < rb->keys->users; i++)
		e = rebuild_user(rb, s, i);
	for (size_t i = 0; !e && i < rb->frames; i++)
		e = redo_salvage(s, rb->frame[i].bytes, rb->frame[i].len,
		    NULL, NULL);
	pthread_rwlock_unlock(&s->lock);
	if (e) {
		store_abandon(s);
		return e;
	}
	e2 = store_close(s);
	return e2;
}

enum err
store_rebuild(const struct store_env *env, struct home_keys *keys,
    scrub_fn *fn, void *arg, struct scrub_report *out)
{
	struct rebuild rb = { .env = env, .keys = keys, .tell = fn, .arg = arg,
		.out = out };
	enum err e = OK;

	memset(out, 0, sizeof(*out));
	rb.head = calloc(keys->users + 1, sizeof(*rb.head));
	rb.newest = calloc(keys->users + 1, sizeof(*rb.newest));
	if (!rb.head || !rb.newest)
		e = ERR_NOMEM;
	if (!e && !(e = blockdb_walk(env->disk, find_head, &rb)) &&
	    !(e = read_journal(&rb)) && !(e = empty_index(&rb)))
		e = fill(&rb);
	for (size_t i = 0; i < rb.frames; i++) {
		wipe(rb.frame[i].bytes, rb.frame[i].len);
		free(rb.frame[i].bytes);
	}
	free(rb.frame);
	free(rb.head);
	free(rb.newest);
	return e;
}
