/* Names: looking up, making, linking, moving, removing, forgetting. */
#include "fs/fuse/ops.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_LEN_MAX 255u

_Static_assert(STORE_ROOT == FUSE_ROOT_ID, "the whole tree needs no mapping");
_Static_assert(sizeof(fuse_ino_t) == sizeof(uint64_t),
    "virtual inode numbers need 64 bits");

/* ---- answers ------------------------------------------------------------ */

bool
name_too_long(fuse_req_t req, const char *name)
{
	if (strlen(name) <= NAME_LEN_MAX)
		return false;
	fuse_reply_err(req, ENAMETOOLONG);
	return true;
}

static void
set_time(struct timespec *ts, int64_t ns)
{
	ts->tv_sec = ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	if (ts->tv_nsec < 0) { /* before 1970 */
		ts->tv_sec--;
		ts->tv_nsec += 1000000000;
	}
}

void
stat_of(const struct mount *m, const struct inode *inode, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = from_store(m, inode->ino);
	st->st_mode = inode->mode;
	st->st_nlink = inode->nlink;
	st->st_uid = inode->uid;
	st->st_gid = inode->gid;
	st->st_rdev = inode->rdev;
	st->st_size = (off_t)inode->size;
	st->st_blksize = 4096;
	st->st_blocks = (blkcnt_t)((inode->size + 511) / 512);
	set_time(&st->st_atim, inode->atime_ns);
	set_time(&st->st_mtim, inode->mtime_ns);
	set_time(&st->st_ctim, inode->ctime_ns);
}

static void
entry_of(const struct mount *m, const struct inode *inode,
    struct fuse_entry_param *entry)
{
	entry->ino = from_store(m, inode->ino);
	entry->generation = 0; /* numbers are never used twice */
	entry->attr_timeout = TIMEOUT_REAL;
	entry->entry_timeout = TIMEOUT_REAL;
	stat_of(m, inode, &entry->attr);
}

void
reply_inode(fuse_req_t req, const struct inode *inode)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param entry;

	entry_of(m, inode, &entry);
	if (fuse_reply_entry(req, &entry))
		store_release(m->store, inode->ino, 1);
}

void
reply_absent(fuse_req_t req)
{
	struct fuse_entry_param none;

	memset(&none, 0, sizeof(none));
	none.entry_timeout = TIMEOUT_REAL;
	fuse_reply_entry(req, &none);
}

void
note_user(struct mount *m, uint64_t ino, const char *name)
{
	if (users_note(&m->users, ino, name))
		fuse_log(FUSE_LOG_WARNING,
		    "post: %s: no .notify: too many users\n", name);
}

/* ---- looking ------------------------------------------------------------ */

void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	uint64_t dir = to_store(m, parent);
	struct inode inode;
	enum err e;

	if (virtual_is(parent)) {
		virtual_lookup(req, parent, name);
		return;
	}
	if (name[0] == '.' && virtual_name_lookup(req, dir, name))
		return;
	e = store_lookup_hold(m->store, dir, name, &inode);
	if (e == ERR_ABSENT) {
		reply_absent(req);
	} else if (e) {
		reply_err(req, e);
	} else {
		if (dir == STORE_ROOT && S_ISDIR(inode.mode))
			note_user(m, inode.ino, name);
		reply_inode(req, &inode);
	}
}

static void
forget(struct mount *m, fuse_ino_t ino, uint64_t n)
{
	if (!virtual_is(ino))
		store_release(m->store, to_store(m, ino), n);
	else if (virtuals_forget(&m->virtuals, ino, n))
		poll_forget(m, ino);
}

void
op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(mount_of(req), ino, n);
	fuse_reply_none(req);
}

void
op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct mount *m = mount_of(req);

	for (size_t i = 0; i < count; i++)
		forget(m, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void
op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	char target[PATH_MAX];
	enum err e;

	if (virtual_is(ino)) {
		virtual_readlink(req, ino);
		return;
	}
	e = store_read_link(m->store, to_store(m, ino), target, sizeof(target));
	if (e)
		reply_err(req, e);
	else
		fuse_reply_readlink(req, target);
}

/* ---- making ------------------------------------------------------------- */

/* May something be made or put there?  Answered if not. */
static bool
refused(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);

	if (virtual_is(parent)) {
		virtual_refuse(req, parent);
		return true;
	}
	if (name_too_long(req, name))
		return true;
	if (name[0] == '.' && virtual_name(m, to_store(m, parent), name)) {
		fuse_reply_err(req, EPERM);
		return true;
	}
	return false;
}

static enum err
make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
    dev_t rdev, const char *target, struct inode *out)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct mount *m = mount_of(req);
	struct store_who who = { .uid = ctx->uid, .gid = ctx->gid };

	return store_make(m->store, to_store(m, parent), name, mode, rdev,
	    target, &who, true, out);
}

void
op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param entry;
	struct inode inode;
	enum err e;

	if (refused(req, parent, name))
		return;
	e = make(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFREG, 0, NULL,
	    &inode);
	if (e) {
		reply_err(req, e);
		return;
	}
	event_made(m, to_store(m, parent), name, true, &inode);
	entry_of(m, &inode, &entry);
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &entry, fi))
		store_release(m->store, inode.ino, 1);
}

void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
    dev_t rdev)
{
	struct inode inode;
	enum err e;

	if (refused(req, parent, name))
		return;
	if ((mode & S_IFMT) == 0)
		mode |= S_IFREG;
	e = make(req, parent, name, mode, rdev, NULL, &inode);
	if (e) {
		reply_err(req, e);
		return;
	}
	event_made(
	    mount_of(req), to_store(mount_of(req), parent), name, true, &inode);
	reply_inode(req, &inode);
}

void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct inode inode;
	enum err e;

	if (refused(req, parent, name))
		return;
	e = make(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0, NULL,
	    &inode);
	if (e) {
		reply_err(req, e);
		return;
	}
	event_mkdir(mount_of(req), to_store(mount_of(req), parent), name);
	reply_inode(req, &inode);
}

void
op_symlink(
    fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct inode inode;
	enum err e;

	if (refused(req, parent, name))
		return;
	e = make(req, parent, name, S_IFLNK | 0777, 0, target, &inode);
	if (e)
		reply_err(req, e);
	else
		reply_inode(req, &inode);
}

void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct inode inode;
	enum err e;

	if (refused(req, parent, name))
		return;
	if (virtual_is(ino)) {
		virtual_refuse(req, ino);
		return;
	}
	e = store_link(m->store, to_store(m, ino), to_store(m, parent), name,
	    true, &inode);
	if (e) {
		reply_err(req, e);
		return;
	}
	event_made(m, to_store(m, parent), name, false, &inode);
	reply_inode(req, &inode);
}

/* ---- removing ----------------------------------------------------------- */

void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	enum err e;

	if (refused(req, parent, name))
		return;
	e = store_unlink(m->store, to_store(m, parent), name);
	if (!e)
		event_unlink(m, to_store(m, parent), name);
	reply_err(req, e);
}

void
op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	enum err e;

	if (refused(req, parent, name))
		return;
	e = store_rmdir(m->store, to_store(m, parent), name);
	if (!e)
		event_rmdir(m, to_store(m, parent), name);
	reply_err(req, e);
}

/* ---- moving ------------------------------------------------------------- */

static void
tell_rename(struct mount *m, const struct folder *from, const char *name,
    const struct folder *to, uint64_t to_dir, const char *to_name)
{
	struct inode inode;

	if (store_lookup(m->store, to_dir, to_name, &inode) == OK)
		event_rename(m, from, name, to, to_name, &inode);
}

void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
    fuse_ino_t to_parent, const char *to_name, unsigned flags)
{
	struct mount *m = mount_of(req);
	uint64_t dir = to_store(m, parent), to_dir = to_store(m, to_parent);
	struct folder from, to;
	unsigned how = 0;
	bool known;
	enum err e;

	if (refused(req, parent, name) || refused(req, to_parent, to_name))
		return;
	if (flags & RENAME_NOREPLACE)
		how |= STORE_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		how |= STORE_RENAME_EXCHANGE;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		fuse_reply_err(req, EINVAL); /* whiteout: not our business */
		return;
	}
	/* Where they are now: afterwards a path may be another. */
	known = m->announcing && folders_find(&m->folders, dir, &from) == OK &&
		folders_find(&m->folders, to_dir, &to) == OK;
	e = store_rename(m->store, dir, name, to_dir, to_name, how);
	if (!e && known) {
		tell_rename(m, &from, name, &to, to_dir, to_name);
		if (how & STORE_RENAME_EXCHANGE)
			tell_rename(m, &to, to_name, &from, dir, name);
	}
	reply_err(req, e);
}
