/* attrs.c - attributes, extended attributes, and the targets of long symlinks.
 *
 * A symlink's target of up to CONTENT_MAX bytes stands in its row.  A longer
 * one is kept as the extended attribute LONG_LINK, whose name no program can
 * reach: names without a namespace prefix are ours.  So the log has it, and
 * with the log a view of the past and a rebuilt index. */
#include "store/store_private.h"
#include "store/xattr.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define LONG_LINK "post.link"

static void
record_attr(struct change *c, const struct inode *in, int64_t now)
{
	struct ulog_record r;

	if (!in->shared_links)
		return;
	memset(&r, 0, sizeof(r));
	r.op = ULOG_SETATTR;
	r.time_ns = now;
	r.object = oid_of(c->s, in->owner, in->ino);
	r.mode = in->mode;
	r.uid = in->uid;
	r.gid = in->gid;
	r.mtime_ns = in->mtime_ns;
	r.ctime_ns = in->ctime_ns;
	change_record(c, in->owner, &r);
}

static void
record_xattr(struct change *c, const struct inode *in, const char *name,
    size_t name_len, const void *value, size_t len, int64_t now)
{
	struct ulog_record r;

	if (!in->shared_links)
		return;
	memset(&r, 0, sizeof(r));
	r.op = ULOG_XATTR;
	r.time_ns = now;
	r.object = oid_of(c->s, in->owner, in->ino);
	r.name = name;
	r.name_len = name_len;
	r.value = value;
	r.value_len = len;
	change_record(c, in->owner, &r);
}

struct entering {
	struct change *c;
	const struct inode *in;
	int64_t now;
};

static enum err
record_one(void *arg, const char *name, size_t name_len, const uint8_t *value,
    size_t value_len)
{
	struct entering *en = arg;

	record_xattr(
	    en->c, en->in, name, name_len, value, value_len, en->now);
	return en->c->e;
}

void
record_xattrs(struct change *c, struct index_txn *txn, const struct inode *in,
    int64_t now)
{
	struct entering en = { c, in, now };
	uint8_t *row = NULL;
	size_t len;

	if (c->e)
		return;
	c->e = tree_xattrs(c->s->tree, txn, in->ino, &row, &len);
	if (c->e || len == 0)
		return;
	c->e = xattr_each(row, len, record_one, &en);
	/* Whoever replays them takes them for changes made now. */
	if (!c->e && in->ctime_ns != now)
		record_attr(c, in, now);
	free(row);
}

/* ---- setattr ------------------------------------------------------------ */

/* Change the size: bytes first, then the journal's note of it. */
static enum err
set_size(struct store *s, struct index_txn *txn, struct change *c,
    struct inode *in, uint64_t size)
{
	struct file *f;
	enum err e;

	if (!S_ISREG(in->mode))
		return S_ISDIR(in->mode) ? ERR_ISDIR : ERR_INVALID;
	if ((e = file_get(s, txn, in->ino, &f)))
		return e;
	pthread_mutex_lock(&f->lock);
	if (!(e = file_stage(f)) &&
	    !(e = staging_truncate(f->staging, size))) {
		f->inode.size = size;
		f->inode_dirty = !f->orphan;
		in->size = size;
		change_truncate(c, in->ino, size);
	}
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	return e;
}

static void
set_fields(struct inode *in, const struct store_set *set, int64_t now)
{
	uint32_t type = in->mode & S_IFMT;

	if (set->set & STORE_SET_MODE)
		in->mode = type | (set->mode & 07777);
	if (set->set & STORE_SET_UID)
		in->uid = set->uid;
	if (set->set & STORE_SET_GID)
		in->gid = set->gid;
	if ((set->set & STORE_KILL_SUID) && S_ISREG(type)) {
		in->mode &= ~(uint32_t)S_ISUID;
		if (in->mode & S_IXGRP)
			in->mode &= ~(uint32_t)S_ISGID;
	}
	if (set->set & STORE_SET_ATIME)
		in->atime_ns = set->atime_ns;
	if (set->set & STORE_SET_MTIME)
		in->mtime_ns = set->mtime_ns;
	else if (set->set & STORE_SET_SIZE)
		in->mtime_ns = now;
	in->ctime_ns = set->set & STORE_SET_CTIME ? set->ctime_ns : now;
}

/* A nameless file has only its live inode. */
static bool
set_orphan(struct store *s, const struct inode *in)
{
	struct file *f = file_find(s, in->ino);
	bool orphan;

	if (!f)
		return false;
	pthread_mutex_lock(&f->lock);
	orphan = f->orphan;
	if (orphan)
		f->inode = *in;
	pthread_mutex_unlock(&f->lock);
	file_put(s, f);
	return orphan;
}

enum err
store_set_attr(struct store *s, uint64_t ino, const struct store_set *set,
    struct inode *out)
{
	struct index_txn *txn = NULL;
	struct inode in;
	struct change c;
	uint64_t lsn = 0;
	int64_t now;
	enum err e;

	change_init(&c, s);
	pthread_rwlock_wrlock(&s->lock);
	if ((e = s->broken) || (e = index_begin_read(s->env.index, &txn)) ||
	    (e = live_inode(s, txn, ino, &in)))
		goto unlock;
	if (ino == STORE_ROOT) {
		e = ERR_PERM;
		goto unlock;
	}
	now = store_now(s);
	if ((set->set & STORE_SET_SIZE) &&
	    (e = set_size(s, txn, &c, &in, set->size)))
		goto unlock;
	set_fields(&in, set, now);
	if (!set_orphan(s, &in)) {
		change_inode(&c, &in);
		record_attr(&c, &in, now);
		e = change_commit(&c, &lsn);
	}
	if (!e)
		*out = in;
unlock:
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	return e ? e : change_acknowledge(s, lsn);
}

/* ---- extended attributes ------------------------------------------------ */

static bool
is_ours(const char *name)
{
	return strncmp(name, "post.", 5) == 0;
}

static enum err
read_row(struct store *s, uint64_t ino, uint8_t **row, size_t *len)
{
	struct index_txn *txn = NULL;
	enum err e;

	pthread_rwlock_rdlock(&s->lock);
	if (!(e = index_begin_read(s->env.index, &txn)))
		e = tree_xattrs(s->tree, txn, ino, row, len);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	return e;
}

enum err
store_get_xattr(struct store *s, uint64_t ino, const char *name, void *buf,
    size_t cap, size_t *len)
{
	uint8_t *row = NULL;
	const uint8_t *value;
	size_t row_len;
	enum err e;

	if (is_ours(name))
		return ERR_NOATTR;
	if ((e = read_row(s, ino, &row, &row_len)))
		return e;
	if (row_len == 0)
		e = ERR_NOATTR;
	else
		e = xattr_get(row, row_len, name, &value, len);
	if (!e && cap) {
		if (*len > cap)
			e = ERR_RANGE;
		else if (*len)
			memcpy(buf, value, *len);
	}
	free(row);
	return e;
}

struct listing {
	char *buf;
	size_t cap, len;
};

static enum err
list_one(void *arg, const char *name, size_t name_len, const uint8_t *value,
    size_t value_len)
{
	struct listing *l = arg;

	(void)value;
	(void)value_len;
	if (name_len >= 5 && memcmp(name, "post.", 5) == 0)
		return OK;
	if (l->cap) {
		if (l->cap - l->len < name_len + 1)
			return ERR_RANGE;
		memcpy(l->buf + l->len, name, name_len);
		l->buf[l->len + name_len] = '\0';
	}
	l->len += name_len + 1;
	return OK;
}

enum err
store_list_xattr(
    struct store *s, uint64_t ino, char *buf, size_t cap, size_t *len)
{
	struct listing l = { buf, cap, 0 };
	uint8_t *row = NULL;
	size_t row_len;
	enum err e;

	if ((e = read_row(s, ino, &row, &row_len)))
		return e;
	if (row_len)
		e = xattr_each(row, row_len, list_one, &l);
	free(row);
	*len = l.len;
	return e;
}

/* Set, or (value NULL) remove. */
static enum err
change_xattr(struct store *s, uint64_t ino, const char *name,
    const void *value, size_t len, int flags)
{
	struct index_txn *txn = NULL;
	uint8_t *row = NULL, *fresh = NULL;
	size_t row_len, fresh_len;
	struct inode in;
	struct change c;
	uint64_t lsn = 0;
	enum err e;

	if (is_ours(name))
		return ERR_PERM;
	change_init(&c, s);
	pthread_rwlock_wrlock(&s->lock);
	if ((e = s->broken) || (e = index_begin_read(s->env.index, &txn)) ||
	    (e = live_inode(s, txn, ino, &in)))
		goto unlock;
	if (ino == STORE_ROOT || in.nlink == 0) {
		e = ERR_PERM;
		goto unlock;
	}
	if ((e = tree_xattrs(s->tree, txn, ino, &row, &row_len)) ||
	    (e = xattr_set(row, row_len, name, value, len,
		 (flags & XATTR_CREATE) != 0,
		 !value || (flags & XATTR_REPLACE), &fresh, &fresh_len)))
		goto unlock;
	in.ctime_ns = store_now(s);
	change_inode(&c, &in);
	change_xattrs(&c, ino, fresh, fresh_len);
	record_xattr(
	    &c, &in, name, strlen(name), value, len, in.ctime_ns);
	e = change_commit(&c, &lsn);
unlock:
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	free(row);
	free(fresh);
	return e ? e : change_acknowledge(s, lsn);
}

enum err
store_set_xattr(struct store *s, uint64_t ino, const char *name,
    const void *value, size_t len, int flags)
{
	return change_xattr(s, ino, name, value ? value : "", len, flags);
}

enum err
store_remove_xattr(struct store *s, uint64_t ino, const char *name)
{
	return change_xattr(s, ino, name, NULL, 0, 0);
}

/* ---- symlinks ----------------------------------------------------------- */

void
change_long_link(struct change *c, const struct inode *in, const char *target,
    bool local)
{
	uint8_t *row = NULL;
	size_t len;

	if (c->e)
		return;
	c->e = xattr_set(NULL, 0, LONG_LINK, target, strlen(target), 0, 0,
	    &row, &len);
	if (!c->e)
		change_xattrs(c, in->ino, row, len);
	if (!c->e && !local)
		record_xattr(c, in, LONG_LINK, strlen(LONG_LINK), target,
		    strlen(target), in->ctime_ns);
	free(row);
}

enum err
link_target(const struct inode *in, const uint8_t *row, size_t row_len,
    char *buf, size_t cap)
{
	const uint8_t *target = in->content.bytes;
	size_t len = in->content.len;

	if (!S_ISLNK(in->mode))
		return ERR_INVALID;
	if (in->size > CONTENT_MAX &&
	    xattr_get(row, row_len, LONG_LINK, &target, &len))
		return ERR_CORRUPT;
	if (len != in->size)
		return ERR_CORRUPT;
	if (len >= cap)
		return ERR_RANGE;
	memcpy(buf, target, len);
	buf[len] = '\0';
	return OK;
}

enum err
store_read_link(struct store *s, uint64_t ino, char *buf, size_t cap)
{
	uint8_t *row = NULL;
	size_t row_len = 0;
	struct inode in;
	enum err e = store_inode(s, ino, &in);

	if (!e && in.size > CONTENT_MAX)
		e = read_row(s, ino, &row, &row_len);
	if (!e)
		e = link_target(&in, row, row_len, buf, cap);
	free(row);
	return e;
}
