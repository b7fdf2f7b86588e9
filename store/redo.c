/* redo.c - one change of the tree, as a frame of the journal.
 *
 * A frame is a list of items, each the state of a thing *after* the change
 * (physical redo), so that applying a frame twice is applying it once: a
 * checkpoint may therefore freeze the tree at a point of the journal while
 * bytes written later are already sealed.
 *
 *   u8 kind, then
 *   INODE      u8 staged, varint ino, varint len, row (tree rows, FORMAT.md)
 *   DROP       varint ino
 *   ENTRY      varint dir, cookie, ino; u8 type, u8 local; u8 len, name;
 *              u8 old_len, old name (0: an addition)
 *   DROP_ENTRY varint dir, cookie, ino; u8 type, u8 local; u8 len, name
 *   XATTRS     varint ino, varint len, row (xattr.h)
 *   COUNT      varint user, svarint messages
 *   RECORD     varint user, varint len, record of the user log (ulog.h),
 *              coded against a zeroed predecessor
 *   LEDGER     16 bytes
 *   DATA       varint ino, varint offset, varint len, bytes of the file
 *   TRUNCATE   varint ino, varint size
 *   PUNCH      varint ino, varint offset, varint len
 *
 * What a file holds has two sources: its row (sealed content) and the DATA
 * and TRUNCATE items since.  While a file is staged its row is behind, and a
 * checkpoint may be sealing it: an INODE item written meanwhile is marked
 * `staged`, and a replay then leaves content and size as it finds them, lest
 * a stale row undo what the checkpoint committed.
 *
 * Frames come from our own journal, authenticated; they are decoded as
 * strictly as any stranger's bytes all the same. */
#include "overlay/base/wire.h"
#include "store/store_private.h"
#include "store/xattr.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

enum item {
	ITEM_INODE = 1,
	ITEM_DROP,
	ITEM_ENTRY,
	ITEM_DROP_ENTRY,
	ITEM_XATTRS,
	ITEM_COUNT,
	ITEM_RECORD,
	ITEM_LEDGER,
	ITEM_DATA,
	ITEM_TRUNCATE,
	ITEM_PUNCH,
};

#define MARK_BYTES 16

/* ---- building ----------------------------------------------------------- */

void
change_init(struct change *c, struct store *s)
{
	c->s = s;
	c->bytes = c->small;
	c->cap = sizeof(c->small);
	c->len = 0;
	c->e = OK;
	c->shared = false;
}

void
change_fini(struct change *c)
{
	if (c->bytes != c->small)
		free(c->bytes);
	c->bytes = NULL;
}

/* A writer over `need` bytes at the end; change_wrote() takes what it used. */
static bool
change_room(struct change *c, size_t need, struct wr *w)
{
	if (c->e)
		return false;
	if (c->cap - c->len < need) {
		size_t cap = c->cap * 2 + need;
		uint8_t *bigger;

		if (cap > JOURNAL_FRAME_MAX)
			cap = JOURNAL_FRAME_MAX;
		if (cap - c->len < need) {
			c->e = ERR_TOO_BIG;
			return false;
		}
		bigger = c->bytes == c->small ? malloc(cap)
					      : realloc(c->bytes, cap);
		if (!bigger) {
			c->e = ERR_NOMEM;
			return false;
		}
		if (c->bytes == c->small)
			memcpy(bigger, c->small, c->len);
		c->bytes = bigger;
		c->cap = cap;
	}
	wr_init(w, c->bytes + c->len, c->cap - c->len);
	return true;
}

static void
change_wrote(struct change *c, const struct wr *w)
{
	assert(!w->bad);
	c->len += wr_len(w);
}

static void
put_inode(struct change *c, const struct inode *ino, bool staged)
{
	uint8_t row[INODE_ROW_MAX];
	struct wr w;
	size_t len;

	if (!c->e)
		c->e = inode_encode(ino, row, sizeof(row), &len);
	if (!change_room(c, INODE_ROW_MAX + 32, &w))
		return;
	wr_be(&w, ITEM_INODE, 1);
	wr_be(&w, staged, 1);
	wr_varint(&w, ino->ino);
	wr_varint(&w, len);
	wr_bytes(&w, row, len);
	change_wrote(c, &w);
}

void
change_inode(struct change *c, const struct inode *ino)
{
	put_inode(c, ino,
	    S_ISREG(ino->mode) &&
		(ino->data == DATA_KEPT || file_is_staged(c->s, ino->ino)));
}

void
change_inode_staged(struct change *c, const struct inode *ino)
{
	put_inode(c, ino, true);
}

void
change_drop_inode(struct change *c, uint64_t ino)
{
	struct wr w;

	if (!change_room(c, 16, &w))
		return;
	wr_be(&w, ITEM_DROP, 1);
	wr_varint(&w, ino);
	change_wrote(c, &w);
}

static void
put_entry(struct wr *w, const struct entry *e)
{
	wr_varint(w, e->dir);
	wr_varint(w, e->cookie);
	wr_varint(w, e->ino);
	wr_be(w, e->type, 1);
	wr_be(w, e->local, 1);
	wr_be(w, e->name_len, 1);
	wr_bytes(w, e->name, e->name_len);
}

void
change_entry(struct change *c, const struct entry *e, const char *old_name)
{
	size_t old_len = old_name ? strlen(old_name) : 0;
	struct wr w;

	assert(old_len <= NAME_BYTES_MAX);
	if (!change_room(c, 600, &w))
		return;
	wr_be(&w, ITEM_ENTRY, 1);
	put_entry(&w, e);
	wr_be(&w, old_len, 1);
	wr_bytes(&w, old_name, old_len);
	change_wrote(c, &w);
}

void
change_drop_entry(struct change *c, const struct entry *e)
{
	struct wr w;

	if (!change_room(c, 320, &w))
		return;
	wr_be(&w, ITEM_DROP_ENTRY, 1);
	put_entry(&w, e);
	change_wrote(c, &w);
}

void
change_xattrs(struct change *c, uint64_t ino, const uint8_t *bytes, size_t len)
{
	struct wr w;

	if (!change_room(c, len + 32, &w))
		return;
	wr_be(&w, ITEM_XATTRS, 1);
	wr_varint(&w, ino);
	wr_varint(&w, len);
	wr_bytes(&w, bytes, len);
	change_wrote(c, &w);
}

void
change_count(struct change *c, unsigned user, int64_t messages)
{
	struct wr w;

	if (messages == 0 || !change_room(c, 40, &w))
		return;
	wr_be(&w, ITEM_COUNT, 1);
	wr_varint(&w, user);
	wr_svarint(&w, messages);
	change_wrote(c, &w);
}

void
change_record(struct change *c, unsigned user, struct ulog_record *r)
{
	size_t cap =
	    1024 + r->name_len + r->to_name_len + r->value_len + CONTENT_MAX;
	struct store_user *u = user_of(c->s, user);
	struct ulog_prev prev;
	uint8_t *tmp;
	struct wr w;
	size_t len;

	if (c->e || !u)
		return;
	tmp = malloc(cap);
	if (!tmp) {
		c->e = ERR_NOMEM;
		return;
	}
	memset(&prev, 0, sizeof(prev));
	r->lamport = ++u->log.lamport;
	c->e = ulog_record_encode(r, &prev, tmp, cap, &len);
	if (!c->e && change_room(c, len + 32, &w)) {
		wr_be(&w, ITEM_RECORD, 1);
		wr_varint(&w, user);
		wr_varint(&w, len);
		wr_bytes(&w, tmp, len);
		change_wrote(c, &w);
		c->shared = true;
	}
	free(tmp);
}

void
change_ledger(struct change *c, const uint8_t mark[16])
{
	struct wr w;

	if (!change_room(c, 32, &w))
		return;
	wr_be(&w, ITEM_LEDGER, 1);
	wr_bytes(&w, mark, MARK_BYTES);
	change_wrote(c, &w);
}

void
change_data(struct change *c, uint64_t ino, uint64_t off, const void *bytes,
    size_t len)
{
	struct wr w;

	if (!change_room(c, len + 40, &w))
		return;
	wr_be(&w, ITEM_DATA, 1);
	wr_varint(&w, ino);
	wr_varint(&w, off);
	wr_varint(&w, len);
	if (bytes)
		wr_bytes(&w, bytes, len);
	else
		(void)wr_take(&w, len); /* the caller fills it in */
	change_wrote(c, &w);
}

void
change_truncate(struct change *c, uint64_t ino, uint64_t size)
{
	struct wr w;

	if (!change_room(c, 32, &w))
		return;
	wr_be(&w, ITEM_TRUNCATE, 1);
	wr_varint(&w, ino);
	wr_varint(&w, size);
	change_wrote(c, &w);
}

void
change_punch(struct change *c, uint64_t ino, uint64_t off, uint64_t len)
{
	struct wr w;

	if (!change_room(c, 40, &w))
		return;
	wr_be(&w, ITEM_PUNCH, 1);
	wr_varint(&w, ino);
	wr_varint(&w, off);
	wr_varint(&w, len);
	change_wrote(c, &w);
}

enum err
change_append(struct change *c, uint64_t *lsn)
{
	struct store *s = c->s;

	*lsn = 0;
	if (c->e)
		return c->e;
	if (s->broken)
		return s->broken;
	if (atomic_load_explicit(&s->bulk, memory_order_relaxed))
		return OK;
	return journal_append(s->journal, c->bytes, c->len, lsn);
}

enum err
change_commit(struct change *c, uint64_t *lsn)
{
	struct store *s = c->s;
	enum err e = change_append(c, lsn);

	if (e)
		return e;
	e = redo_apply(s, c->bytes, c->len, false);
	if (e) {
		/* The journal has it, memory has half of it: only a replay
		 * can tell what is true now. */
		s->broken = e;
		set_problem(s,
		    "memory ran out in the middle of a change: no more changes "
		    "are taken: run 'post umount' and mount again");
		return e;
	}
	note_change(s);
	/* What stays on this node can wait for the next write. */
	if (!c->shared)
		*lsn = 0;
	return OK;
}

enum err
change_acknowledge(struct store *s, uint64_t lsn)
{
	return lsn ? journal_write(s->journal, lsn) : OK;
}

/* ---- applying ----------------------------------------------------------- */

/* Keep the owner's counters of files and bytes, which are sums over the rows
 * of inodes that are in the log: `in` (NULL: none) takes the place of the row
 * there is. */
static enum err
count_inode(struct store *s, uint64_t ino, const struct inode *in)
{
	struct index_txn *txn = NULL;
	struct store_user *u;
	struct inode old;
	enum err e = index_begin_read(s->env.index, &txn);

	if (e)
		return e;
	e = tree_inode(s->tree, txn, ino, &old);
	index_abort(&txn);
	if (e && e != ERR_ABSENT)
		return e;
	if (!e && S_ISREG(old.mode) && old.shared_links &&
	    (u = user_of(s, old.owner))) {
		u->files--;
		u->logical_bytes -= old.size;
	}
	if (in && S_ISREG(in->mode) && in->shared_links &&
	    (u = user_of(s, in->owner))) {
		u->files++;
		u->logical_bytes += in->size;
	}
	return OK;
}

enum err
put_counted(struct store *s, const struct inode *in)
{
	enum err e = count_inode(s, in->ino, in);

	return e ? e : tree_put_inode(s->tree, in);
}

/* Content and size as they are now, instead of a staged file's row's. */
static enum err
keep_content(struct store *s, struct inode *in)
{
	struct index_txn *txn = NULL;
	struct inode now;
	enum err e = index_begin_read(s->env.index, &txn);

	if (e)
		return e;
	e = live_inode(s, txn, in->ino, &now);
	index_abort(&txn);
	if (e)
		return e == ERR_ABSENT ? OK : e;
	in->size = now.size;
	in->data = now.data;
	in->content = now.content;
	return OK;
}

static enum err
apply_inode(struct store *s, struct rd *r, bool replay)
{
	uint64_t staged = rd_be(r, 1), ino = rd_varint(r), len = rd_varint(r);
	const uint8_t *row;
	struct inode in;
	struct file *f;
	enum err e;

	if (r->bad || staged > 1 || len > INODE_ROW_MAX ||
	    !(row = rd_take(r, len)))
		return ERR_MALFORMED;
	if ((e = inode_decode(ino, row, len, &in)))
		return e;
	if (replay && staged && (e = keep_content(s, &in)))
		return e;
	if (ino >= s->next_ino)
		s->next_ino = ino + 1;
	f = file_find(s, ino);
	if (f) {
		pthread_mutex_lock(&f->lock);
		f->inode = in;
		f->inode_dirty = true;
		f->row_unsaved = false;
		pthread_mutex_unlock(&f->lock);
		file_put(s, f);
	}
	return put_counted(s, &in);
}

static bool
get_entry(struct rd *r, struct entry *e)
{
	uint64_t local;

	memset(e, 0, sizeof(*e));
	e->dir = rd_varint(r);
	e->cookie = rd_varint(r);
	e->ino = rd_varint(r);
	e->type = (uint8_t)rd_be(r, 1);
	local = rd_be(r, 1);
	e->name_len = (uint8_t)rd_be(r, 1);
	rd_bytes(r, e->name, e->name_len);
	e->local = local == 1;
	return !r->bad && local <= 1 && e->name_len && e->cookie;
}

static enum err
apply_entry(struct store *s, struct rd *r)
{
	const uint8_t *old = NULL;
	struct entry e;
	size_t old_len;

	if (!get_entry(r, &e))
		return ERR_MALFORMED;
	old_len = rd_be(r, 1);
	if (old_len)
		old = rd_take(r, old_len);
	if (r->bad)
		return ERR_MALFORMED;
	if (e.cookie >= s->next_cookie)
		s->next_cookie = e.cookie + 1;
	return tree_put_entry(s->tree, &e, (const char *)old, old_len);
}

static enum err
apply_xattrs(struct store *s, struct rd *r)
{
	uint64_t ino = rd_varint(r), len = rd_varint(r);
	const uint8_t *row;

	if (r->bad || len > XATTR_ROW_MAX || !(row = rd_take(r, len)))
		return ERR_MALFORMED;
	return tree_put_xattrs(s->tree, ino, row, len);
}

static enum err
apply_count(struct store *s, struct rd *r)
{
	uint64_t number = rd_varint(r);
	int64_t messages = rd_svarint(r);
	struct store_user *u = r->bad ? NULL : user_of(s, (unsigned)number);

	if (!u)
		return ERR_MALFORMED;
	u->messages += (uint64_t)messages;
	return OK;
}

static enum err
apply_record(struct store *s, struct rd *r, bool replay)
{
	const uint8_t *at = r->p;
	uint64_t number = rd_varint(r), len = rd_varint(r);
	const uint8_t *bytes = r->bad ? NULL : rd_take(r, len);
	struct store_user *u = user_of(s, (unsigned)number);
	struct ulog_record rec;
	struct ulog_prev prev;
	size_t used;
	enum err e;

	if (!bytes || !u)
		return ERR_MALFORMED;
	if (replay) {
		memset(&prev, 0, sizeof(prev));
		if ((e = ulog_record_decode(bytes, len, &prev, &rec, &used)))
			return e;
		if (rec.lamport > u->log.lamport)
			u->log.lamport = rec.lamport;
	}
	return pending_add(&s->pending, at, (size_t)(r->p - at));
}

/* Replay of bytes that were journalled but not sealed. */
static enum err
apply_bytes(struct store *s, struct rd *r, enum item item)
{
	uint64_t ino = rd_varint(r), a = rd_varint(r), b = 0;
	const uint8_t *bytes = NULL;
	struct index_txn *txn = NULL;
	struct file *f = NULL;
	enum err e;

	if (item != ITEM_TRUNCATE)
		b = rd_varint(r);
	if (item == ITEM_DATA && !r->bad && b)
		bytes = rd_take(r, b);
	if (r->bad)
		return ERR_MALFORMED;
	if ((e = index_begin_read(s->env.index, &txn)))
		return e;
	e = file_get(s, txn, ino, &f);
	index_abort(&txn);
	if (e)
		return e == ERR_ABSENT ? OK : e; /* deleted before the crash */
	pthread_mutex_lock(&f->lock);
	if (!(e = file_stage(f))) {
		if (item == ITEM_DATA && b)
			e = staging_write(f->staging, a, bytes, b);
		else if (item == ITEM_TRUNCATE)
			e = staging_truncate(f->staging, a);
		else if (item == ITEM_PUNCH)
			e = staging_punch(f->staging, a, b);
	}
	if (!e) {
		staging_clean(f->staging, 0, staging_size(f->staging));
		f->inode.size = staging_size(f->staging);
		f->inode_dirty = true;
	}
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	return e;
}

static enum err
apply_drop(struct store *s, uint64_t ino, bool replay)
{
	struct index_txn *txn = NULL;
	struct inode now;
	enum err e = count_inode(s, ino, NULL);

	/* Live, the one who dropped it looks after its holders. */
	if (!e && replay && !(e = index_begin_read(s->env.index, &txn))) {
		e = live_inode(s, txn, ino, &now);
		index_abort(&txn);
		if (!e)
			file_forget(s, file_find(s, ino), &now);
		else if (e == ERR_ABSENT)
			e = OK;
	}
	return e ? e : tree_drop_inode(s->tree, ino);
}

/* Step over an item. */
static bool
skip_item(struct rd *r, enum item item)
{
	struct entry entry;
	uint64_t len;

	switch (item) {
	case ITEM_INODE:
		(void)rd_be(r, 1);
		(void)rd_varint(r);
		len = rd_varint(r);
		return rd_take(r, len) != NULL;
	case ITEM_DROP:
		(void)rd_varint(r);
		return !r->bad;
	case ITEM_ENTRY:
		if (!get_entry(r, &entry))
			return false;
		len = rd_be(r, 1);
		return len == 0 || rd_take(r, len);
	case ITEM_DROP_ENTRY:
		return get_entry(r, &entry);
	case ITEM_XATTRS:
		(void)rd_varint(r);
		len = rd_varint(r);
		return len == 0 || rd_take(r, len);
	case ITEM_COUNT:
		(void)rd_varint(r);
		(void)rd_svarint(r);
		return !r->bad;
	case ITEM_RECORD:
		(void)rd_varint(r);
		len = rd_varint(r);
		return rd_take(r, len) != NULL;
	case ITEM_LEDGER:
		return rd_take(r, MARK_BYTES) != NULL;
	case ITEM_DATA:
		(void)rd_varint(r);
		(void)rd_varint(r);
		len = rd_varint(r);
		return rd_take(r, len) != NULL;
	case ITEM_TRUNCATE:
		(void)rd_varint(r);
		(void)rd_varint(r);
		return !r->bad;
	case ITEM_PUNCH:
		(void)rd_varint(r);
		(void)rd_varint(r);
		(void)rd_varint(r);
		return !r->bad;
	}
	return false;
}


static enum err
apply_item(struct store *s, struct rd *r, enum item item, bool replay)
{
	const uint8_t *mark;
	struct entry entry;
	uint64_t ino;

	switch (item) {
	case ITEM_INODE:
		return apply_inode(s, r, replay);
	case ITEM_DROP:
		ino = rd_varint(r);
		return r->bad ? ERR_MALFORMED : apply_drop(s, ino, replay);
	case ITEM_ENTRY:
		return apply_entry(s, r);
	case ITEM_DROP_ENTRY:
		if (!get_entry(r, &entry))
			return ERR_MALFORMED;
		return tree_drop_entry(s->tree, &entry);
	case ITEM_XATTRS:
		return apply_xattrs(s, r);
	case ITEM_COUNT:
		return apply_count(s, r);
	case ITEM_RECORD:
		return apply_record(s, r, replay);
	case ITEM_LEDGER:
		mark = rd_take(r, MARK_BYTES);
		return mark ? pending_add(&s->ledger, mark, MARK_BYTES)
			    : ERR_MALFORMED;
	case ITEM_DATA:
	case ITEM_TRUNCATE:
	case ITEM_PUNCH:
		if (replay)
			return apply_bytes(s, r, item);
		/* Live, they are where they belong already. */
		return skip_item(r, item) ? OK : ERR_MALFORMED;
	}
	return ERR_MALFORMED;
}

enum err
redo_apply(struct store *s, const uint8_t *bytes, size_t len, bool replay)
{
	struct rd r;
	enum err e = OK;

	rd_init(&r, bytes, len);
	while (!e && !r.bad && rd_left(&r)) {
		enum item item = (enum item)rd_be(&r, 1);

		e = apply_item(s, &r, item, replay);
	}
	return e ? e : r.bad ? ERR_MALFORMED : OK;
}

enum err
redo_salvage(struct store *s, const uint8_t *bytes, size_t len,
    redo_record_fn *fn, void *arg)
{
	struct rd r;
	enum err e = OK;

	rd_init(&r, bytes, len);
	while (!e && !r.bad && rd_left(&r)) {
		enum item item = (enum item)rd_be(&r, 1);
		const uint8_t *at = r.p, *record;
		uint64_t user, record_len;

		switch (item) {
		case ITEM_RECORD:
			user = rd_varint(&r);
			record_len = rd_varint(&r);
			record = r.bad ? NULL : rd_take(&r, record_len);
			if (!record)
				return ERR_MALFORMED;
			if (fn)
				e = fn(arg, (unsigned)user, record, record_len,
				    at, (size_t)(r.p - at));
			break;
		case ITEM_DATA:
		case ITEM_TRUNCATE:
		case ITEM_PUNCH:
			if (!fn) {
				e = apply_bytes(s, &r, item);
				break;
			}
			if (!skip_item(&r, item))
				return ERR_MALFORMED;
			break;
		default:
			if (!skip_item(&r, item))
				return ERR_MALFORMED;
			break;
		}
	}
	return e ? e : r.bad ? ERR_MALFORMED : OK;
}

/* ---- what waits for the next batch -------------------------------------- */

enum err
pending_add(struct pending *p, const void *bytes, size_t len)
{
	if (p->cap - p->len < len) {
		size_t cap = p->cap * 2 + len + 256;
		uint8_t *bigger = realloc(p->bytes, cap);

		if (!bigger)
			return ERR_NOMEM;
		p->bytes = bigger;
		p->cap = cap;
	}
	memcpy(p->bytes + p->len, bytes, len);
	p->len += len;
	p->count++;
	return OK;
}

void
pending_clear(struct pending *p)
{
	free(p->bytes);
	memset(p, 0, sizeof(*p));
}

enum err
pending_join(struct pending *first, struct pending *then)
{
	size_t count = first->count + then->count;
	enum err e = then->len ? pending_add(first, then->bytes, then->len) : OK;

	if (e)
		return e;
	first->count = count;
	pending_clear(then);
	*then = *first;
	memset(first, 0, sizeof(*first));
	return OK;
}
