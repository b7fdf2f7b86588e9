/* names.c - directories: looking up, listing, making, linking, removing.
 *
 * Each change is validated against the live tree under the exclusive lock, put
 * together as one frame (redo.c) and committed.  What a log record says is
 * decided here: an entry is *local* when its directory is scratch (tmp), or
 * was made below one, or its name is a mail program's own file; only entries
 * that are not local have records.  A file that moves from a local place to a
 * shared one (a delivery: tmp to new) is created in the log at that moment;
 * one that moves the other way is unlinked from it. */
#include "store/names.h"

#include <assert.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIR_SIZE 4096u /* what a directory says its size is */

uint8_t
type_of(uint32_t mode)
{
	return (uint8_t)((mode & S_IFMT) >> 12); /* DT_* are made so */
}

void
touch_dir(struct inode *dir, int64_t now)
{
	dir->mtime_ns = now > dir->mtime_ns ? now : dir->mtime_ns + 1;
	dir->ctime_ns = now > dir->ctime_ns ? now : dir->ctime_ns + 1;
}

static bool
dir_is_local(const struct inode *dir)
{
	return dir->shared_links == 0 || dir->data == DATA_DIR_SCRATCH;
}

bool
entry_is_local(struct store *s, const struct inode *dir, const char *name,
    bool is_dir)
{
	if (dir_is_local(dir))
		return true;
	return s->env.is_local &&
	    s->env.is_local(s->env.arg, "", name, is_dir);
}

uint8_t
dir_purpose(struct store *s, const char *name)
{
	if (s->env.is_local && s->env.is_local(s->env.arg, name, "", false))
		return DATA_DIR_SCRATCH;
	if (s->env.is_message_dir && s->env.is_message_dir(name))
		return DATA_DIR_MESSAGES;
	return DATA_DIR;
}

enum err
check_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || strchr(name, '/'))
		return ERR_INVALID;
	return len > NAME_BYTES_MAX ? ERR_NAME_TOO_LONG : OK;
}

/* A directory that entries may be looked up in. */
static enum err
get_dir(struct store *s, struct index_txn *txn, uint64_t ino,
    struct inode *out)
{
	enum err e = live_inode(s, txn, ino, out);

	return e ? e : S_ISDIR(out->mode) ? OK : ERR_NOTDIR;
}

/* One that entries may be changed in. */
enum err
get_dir_for_change(struct store *s, struct index_txn *txn, uint64_t ino,
    struct inode *out)
{
	enum err e;

	if (s->broken)
		return s->broken;
	if ((e = get_dir(s, txn, ino, out)))
		return e;
	if (ino == STORE_ROOT)
		return ERR_PERM;
	return out->nlink ? OK : ERR_ABSENT;
}

/* A user's own directory stays where it is. */
bool
is_user_root(const struct inode *in)
{
	return S_ISDIR(in->mode) && in->parent == STORE_ROOT;
}

void
set_name(struct entry *e, const char *name)
{
	size_t len = strlen(name);

	assert(len <= NAME_BYTES_MAX);
	memset(e->name, 0, sizeof(e->name));
	memcpy(e->name, name, len);
	e->name_len = (uint8_t)len;
}

bool
counts_as_message(
    const struct inode *dir, const struct inode *in, bool local)
{
	return !local && dir->data == DATA_DIR_MESSAGES && S_ISREG(in->mode);
}

/* ---- log records -------------------------------------------------------- */

static void
record_init(struct store *s, struct ulog_record *r, enum ulog_op op,
    const struct inode *in, int64_t now)
{
	memset(r, 0, sizeof(*r));
	r->op = op;
	r->time_ns = now;
	r->object = oid_of(s, in->owner, in->ino);
}

void
record_create(struct change *c, const struct inode *in, uint64_t dir,
    const char *name, int64_t now)
{
	struct ulog_record r;

	record_init(c->s, &r, ULOG_CREATE, in, now);
	r.dir = oid_of(c->s, in->owner, dir);
	r.name = name;
	r.name_len = strlen(name);
	r.mode = in->mode;
	r.uid = in->uid;
	r.gid = in->gid;
	r.rdev = in->rdev;
	r.mtime_ns = in->mtime_ns;
	r.ctime_ns = in->ctime_ns;
	/* What was sealed before, when the file was in the log for the first
	 * time, is not sealed again. */
	if (S_ISLNK(in->mode) ||
	    (S_ISREG(in->mode) && in->data == DATA_RECIPE &&
		in->content.len && !file_is_staged(c->s, in->ino))) {
		r.has_content = true;
		r.size = in->size;
		r.content = in->content;
	}
	change_record(c, in->owner, &r);
}

void
record_enter(struct change *c, struct index_txn *txn, const struct inode *in,
    uint64_t dir, const char *name, int64_t now)
{
	record_create(c, in, dir, name, now);
	record_xattrs(c, txn, in, now);
}

void
record_name(struct change *c, enum ulog_op op, const struct inode *in,
    uint64_t dir, const char *name, int64_t now)
{
	struct ulog_record r;

	record_init(c->s, &r, op, in, now);
	r.dir = oid_of(c->s, in->owner, dir);
	r.name = name;
	r.name_len = strlen(name);
	change_record(c, in->owner, &r);
}

void
record_move(struct change *c, enum ulog_op op, const struct inode *in,
    uint64_t dir, const char *name, uint64_t to, const char *to_name,
    const struct inode *over, int64_t now)
{
	struct ulog_record r;

	record_init(c->s, &r, op, in, now);
	r.dir = oid_of(c->s, in->owner, dir);
	r.name = name;
	r.name_len = strlen(name);
	r.to_dir = oid_of(c->s, in->owner, to);
	r.to_name = to_name;
	r.to_name_len = strlen(to_name);
	if (over) {
		r.has_over = true;
		r.over = oid_of(c->s, over->owner, over->ino);
	}
	change_record(c, in->owner, &r);
}

/* ---- looking ------------------------------------------------------------ */

enum err
store_inode(struct store *s, uint64_t ino, struct inode *out)
{
	struct index_txn *txn = NULL;
	enum err e;

	pthread_rwlock_rdlock(&s->lock);
	if (!(e = index_begin_read(s->env.index, &txn)))
		e = live_inode(s, txn, ino, out);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	return e;
}

static enum err
lookup(struct store *s, uint64_t dir, const char *name, bool hold,
    struct inode *out)
{
	struct index_txn *txn = NULL;
	struct entry entry;
	size_t len = strlen(name);
	enum err e;

	if (len > NAME_BYTES_MAX)
		return ERR_NAME_TOO_LONG;
	pthread_rwlock_rdlock(&s->lock);
	if (!(e = index_begin_read(s->env.index, &txn)))
		e = tree_find(s->tree, txn, dir, name, len, &entry);
	if (!e)
		e = live_inode(s, txn, entry.ino, out);
	if (!e && hold)
		e = store_hold(s, out->ino, 1);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	return e;
}

enum err
store_lookup(
    struct store *s, uint64_t dir, const char *name, struct inode *out)
{
	return lookup(s, dir, name, false, out);
}

enum err
store_lookup_hold(
    struct store *s, uint64_t dir, const char *name, struct inode *out)
{
	return lookup(s, dir, name, true, out);
}

enum with_inodes { NO_INODES, ALL_INODES, UNHELD_INODES };

static enum err
list(struct store *s, uint64_t dir, uint64_t cookie, enum with_inodes which,
    store_entry_fn *fn, void *arg)
{
	struct index_txn *txn = NULL;
	struct tree_walk walk;
	struct entry entry;
	struct inode in;
	enum err e;

	pthread_rwlock_rdlock(&s->lock);
	if ((e = index_begin_read(s->env.index, &txn)))
		goto unlock;
	if ((e = get_dir(s, txn, dir, &in)))
		goto unlock;
	tree_walk_init(&walk, s->tree, txn, dir, cookie);
	while (!(e = tree_walk_next(&walk, &entry))) {
		bool give = which == ALL_INODES ||
		    (which == UNHELD_INODES && !held(s, entry.ino));

		if (give && (e = live_inode(s, txn, entry.ino, &in)))
			break;
		if (!fn(arg, &entry, give ? &in : NULL))
			break;
	}
	tree_walk_fini(&walk);
	if (e == ERR_ABSENT)
		e = OK;
unlock:
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	return e;
}

enum err
store_list(struct store *s, uint64_t dir, uint64_t cookie, bool inodes,
    store_entry_fn *fn, void *arg)
{
	return list(
	    s, dir, cookie, inodes ? ALL_INODES : NO_INODES, fn, arg);
}

enum err
store_list_unheld(struct store *s, uint64_t dir, uint64_t cookie,
    store_entry_fn *fn, void *arg)
{
	return list(s, dir, cookie, UNHELD_INODES, fn, arg);
}

enum err
store_resolve(struct store *s, const char *path, struct inode *out)
{
	char name[NAME_BYTES_MAX + 1];
	enum err e = store_inode(s, STORE_ROOT, out);

	while (!e && *path) {
		size_t len = strcspn(path, "/");

		if (len > NAME_BYTES_MAX)
			return ERR_NAME_TOO_LONG;
		if (len) {
			memcpy(name, path, len);
			name[len] = '\0';
			e = S_ISDIR(out->mode)
			    ? store_lookup(s, out->ino, name, out)
			    : ERR_NOTDIR;
		}
		path += len + (path[len] == '/');
	}
	return e;
}

/* The name that `child` has in `dir`. */
static enum err
name_of(struct store *s, struct index_txn *txn, uint64_t dir, uint64_t child,
    struct entry *out)
{
	struct tree_walk walk;
	enum err e;

	tree_walk_init(&walk, s->tree, txn, dir, 0);
	while (!(e = tree_walk_next(&walk, out)) && out->ino != child)
		;
	tree_walk_fini(&walk);
	return e;
}

enum err
store_path(struct store *s, uint64_t dir, const char *name, char *buf,
    size_t cap)
{
	struct index_txn *txn = NULL;
	char *at = buf + cap;
	struct inode in;
	struct entry entry;
	size_t len = strlen(name);
	enum err e;

	/* From the end of buf backwards, then moved to its start. */
	if (cap < len + 1)
		return ERR_RANGE;
	*--at = '\0';
	at -= len;
	memcpy(at, name, len);
	pthread_rwlock_rdlock(&s->lock);
	e = index_begin_read(s->env.index, &txn);
	for (unsigned i = 0; !e && dir != STORE_ROOT && i < DIR_DEPTH_MAX; i++) {
		if ((e = get_dir(s, txn, dir, &in)) ||
		    (e = name_of(s, txn, in.parent, dir, &entry)))
			break;
		if ((size_t)(at - buf) < entry.name_len + 1u) {
			e = ERR_RANGE;
			break;
		}
		if (*at)
			*--at = '/';
		at -= entry.name_len;
		memcpy(at, entry.name, entry.name_len);
		dir = in.parent;
	}
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	memmove(buf, at, strlen(at) + 1);
	return e;
}

/* ---- making ------------------------------------------------------------- */

static enum err
symlink_content(struct inode *in, const char *target)
{
	size_t len = strlen(target);

	if (len == 0)
		return ERR_ABSENT;
	if (len > 4095)
		return ERR_NAME_TOO_LONG;
	in->size = len;
	in->data = DATA_LINK;
	if (len > CONTENT_MAX)
		return OK; /* change_long_link() keeps it */
	in->content.len = (uint16_t)len;
	memcpy(in->content.bytes, target, len);
	return OK;
}

enum err
store_make(struct store *s, uint64_t dir, const char *name, uint32_t mode,
    uint64_t rdev, const char *target, const struct store_who *who, bool hold,
    struct inode *out)
{
	struct index_txn *txn = NULL;
	struct inode parent, in;
	struct entry entry;
	struct change c;
	uint64_t lsn = 0;
	bool local;
	enum err e;

	if ((e = check_name(name)))
		return e;
	change_init(&c, s);
	pthread_rwlock_wrlock(&s->lock);
	if ((e = index_begin_read(s->env.index, &txn)) ||
	    (e = get_dir_for_change(s, txn, dir, &parent)))
		goto unlock;
	e = tree_find(s->tree, txn, dir, name, strlen(name), &entry);
	if (e != ERR_ABSENT) {
		e = e ? e : ERR_EXISTS;
		goto unlock;
	}
	memset(&in, 0, sizeof(in));
	in.ino = s->next_ino;
	in.mode = mode;
	in.uid = who->uid;
	in.gid = parent.mode & S_ISGID ? parent.gid : who->gid;
	in.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
	in.nlink = 1;
	in.owner = parent.owner;
	in.mtime_ns = in.ctime_ns = in.atime_ns = in.btime_ns = store_now(s);
	e = OK;
	if (S_ISLNK(mode))
		e = symlink_content(&in, target);
	if (e)
		goto unlock;
	if (S_ISDIR(mode)) {
		if (parent.nlink >= LINKS_MAX) {
			e = ERR_MANY_LINKS;
			goto unlock;
		}
		in.nlink = 2;
		in.parent = dir;
		in.size = DIR_SIZE;
		in.mode |= parent.mode & S_ISGID;
		in.data = dir_purpose(s, name);
		parent.nlink++;
	}
	local = entry_is_local(s, &parent, name, S_ISDIR(mode));
	in.shared_links = local ? 0 : 1;
	touch_dir(&parent, in.mtime_ns);

	memset(&entry, 0, sizeof(entry));
	entry.dir = dir;
	entry.cookie = s->next_cookie;
	entry.ino = in.ino;
	entry.type = type_of(mode);
	entry.local = local;
	set_name(&entry, name);

	change_inode(&c, &in);
	change_inode(&c, &parent);
	change_entry(&c, &entry, NULL);
	if (!local) {
		record_create(&c, &in, dir, name, in.mtime_ns);
		change_count(&c, in.owner,
		    counts_as_message(&parent, &in, local));
	}
	if (S_ISLNK(mode) && in.size > CONTENT_MAX)
		change_long_link(&c, &in, target, local);
	if (!(e = change_commit(&c, &lsn)) && hold)
		e = store_hold(s, in.ino, 1);
	if (!e)
		*out = in;
unlock:
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	return e ? e : change_acknowledge(s, lsn);
}

enum err
store_link(struct store *s, uint64_t ino, uint64_t dir, const char *name,
    bool hold, struct inode *out)
{
	struct index_txn *txn = NULL;
	struct inode parent, in;
	struct entry entry;
	struct change c;
	uint64_t lsn = 0;
	int64_t now;
	enum err e;

	if ((e = check_name(name)) || (e = store_settle(s, ino)))
		return e;
	change_init(&c, s);
	pthread_rwlock_wrlock(&s->lock);
	if ((e = index_begin_read(s->env.index, &txn)) ||
	    (e = get_dir_for_change(s, txn, dir, &parent)) ||
	    (e = live_inode(s, txn, ino, &in)))
		goto unlock;
	e = tree_find(s->tree, txn, dir, name, strlen(name), &entry);
	if (e != ERR_ABSENT)
		e = e ? e : ERR_EXISTS;
	else
		e = S_ISDIR(in.mode)	    ? ERR_PERM
		    : in.nlink == 0	    ? ERR_ABSENT
		    : in.nlink >= LINKS_MAX ? ERR_MANY_LINKS
		    : in.owner != parent.owner ? ERR_CROSS
					       : OK;
	if (e)
		goto unlock;
	now = store_now(s);
	memset(&entry, 0, sizeof(entry));
	entry.dir = dir;
	entry.cookie = s->next_cookie;
	entry.ino = ino;
	entry.type = type_of(in.mode);
	entry.local = entry_is_local(s, &parent, name, false);
	set_name(&entry, name);
	in.nlink++;
	in.ctime_ns = now;
	touch_dir(&parent, now);
	if (!entry.local) {
		if (in.shared_links++ == 0)
			record_enter(&c, txn, &in, dir, name, now);
		else
			record_name(&c, ULOG_LINK, &in, dir, name, now);
		change_count(&c, in.owner,
		    counts_as_message(&parent, &in, entry.local));
	}
	change_inode(&c, &in);
	change_inode(&c, &parent);
	change_entry(&c, &entry, NULL);
	if (!(e = change_commit(&c, &lsn)) && hold)
		e = store_hold(s, ino, 1);
	if (!e)
		*out = in;
unlock:
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	return e ? e : change_acknowledge(s, lsn);
}

/* ---- removing ----------------------------------------------------------- */

/* The part of unlink, rmdir and rename-over that takes an entry away from
 * `parent` (which the caller then puts).  *gone: no name is left. */
void
take_entry(struct change *c, struct inode *parent,
    const struct entry *entry, struct inode *in, int64_t now, bool record,
    bool *gone)
{
	bool message = counts_as_message(parent, in, entry->local);

	touch_dir(parent, now);
	in->ctime_ns = now;
	if (S_ISDIR(in->mode)) {
		parent->nlink--;
		in->nlink = 0;
	} else {
		in->nlink--;
	}
	*gone = in->nlink == 0;
	if (!entry->local) {
		assert(in->shared_links);
		in->shared_links--;
		if (record)
			record_name(c, ULOG_UNLINK, in, entry->dir,
			    entry->name, now);
		change_count(c, in->owner, -(int64_t)message);
	}
	if (*gone)
		change_drop_inode(c, in->ino);
	else
		change_inode(c, in);
}

/* Commit a change by which `gone` (may be NULL) loses its last name. */
enum err
commit_removal(struct store *s, struct index_txn *txn, struct change *c,
    const struct inode *gone, uint64_t *lsn)
{
	struct file *f = NULL;
	enum err e;

	if (c->e)
		return c->e;
	/* Whoever holds it must find it after the tree has forgotten it. */
	if (gone) {
		f = file_find(s, gone->ino);
		if (!f && held(s, gone->ino) &&
		    (e = file_get(s, txn, gone->ino, &f)))
			return e;
	}
	e = change_commit(c, lsn);
	if (gone && !e)
		file_forget(s, f, gone);
	else if (f)
		file_put(s, f);
	return e;
}

enum err
dir_is_empty(struct store *s, struct index_txn *txn, uint64_t dir)
{
	struct tree_walk walk;
	struct entry entry;
	enum err e;

	tree_walk_init(&walk, s->tree, txn, dir, 0);
	e = tree_walk_next(&walk, &entry);
	tree_walk_fini(&walk);
	return e == ERR_ABSENT ? OK : e ? e : ERR_NOTEMPTY;
}

static enum err
remove_entry(struct store *s, uint64_t dir, const char *name, bool want_dir)
{
	struct index_txn *txn = NULL;
	struct inode parent, in;
	struct entry entry;
	struct change c;
	uint64_t lsn = 0;
	bool gone = false;
	enum err e;

	if ((e = check_name(name)))
		return e;
	change_init(&c, s);
	pthread_rwlock_wrlock(&s->lock);
	if ((e = index_begin_read(s->env.index, &txn)) ||
	    (e = get_dir_for_change(s, txn, dir, &parent)) ||
	    (e = tree_find(
		 s->tree, txn, dir, name, strlen(name), &entry)) ||
	    (e = live_inode(s, txn, entry.ino, &in)))
		goto unlock;
	if (want_dir && !S_ISDIR(in.mode))
		e = ERR_NOTDIR;
	else if (!want_dir && S_ISDIR(in.mode))
		e = ERR_ISDIR;
	else if (want_dir && is_user_root(&in))
		e = ERR_PERM;
	else if (want_dir)
		e = dir_is_empty(s, txn, in.ino);
	if (e)
		goto unlock;
	take_entry(&c, &parent, &entry, &in, store_now(s), true, &gone);
	change_inode(&c, &parent);
	change_drop_entry(&c, &entry);
	e = commit_removal(s, txn, &c, gone ? &in : NULL, &lsn);
unlock:
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	return e ? e : change_acknowledge(s, lsn);
}

enum err
store_unlink(struct store *s, uint64_t dir, const char *name)
{
	return remove_entry(s, dir, name, false);
}

enum err
store_rmdir(struct store *s, uint64_t dir, const char *name)
{
	return remove_entry(s, dir, name, true);
}
