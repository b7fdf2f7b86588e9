/* Attributes of inodes and of the filesystem. */
#include "fs/fuse/ops.h"

#include <string.h>
#include <sys/statvfs.h>

#define STATFS_BLOCK 4096u
#define NAME_LEN_MAX 255u

static void
reply_attr(fuse_req_t req, const struct inode *inode)
{
	struct stat st;

	stat_of(mount_of(req), inode, &st);
	fuse_reply_attr(req, &st, TIMEOUT_REAL);
}

void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct inode inode;
	enum err e;

	(void)fi;
	if (virtual_is(ino)) {
		virtual_getattr(req, ino);
		return;
	}
	e = store_inode(m->store, to_store(m, ino), &inode);
	if (e)
		reply_err(req, e);
	else
		reply_attr(req, &inode);
}

static int64_t
ns_of(const struct timespec *ts)
{
	/* Beyond what 64 bits of nanoseconds tell: the nearest they do. */
	if (ts->tv_sec >= INT64_MAX / 1000000000)
		return INT64_MAX;
	if (ts->tv_sec <= INT64_MIN / 1000000000)
		return INT64_MIN;
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int which,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct store_set set = { 0 };
	struct inode inode;
	int64_t now = 0;
	enum err e;

	(void)fi;
	if (virtual_is(ino)) {
		virtual_refuse(req, ino);
		return;
	}
	if (which & (FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW))
		now = wall_ns();
	if (which & FUSE_SET_ATTR_MODE) {
		set.set |= STORE_SET_MODE;
		set.mode = st->st_mode & 07777;
	}
	if (which & FUSE_SET_ATTR_UID) {
		set.set |= STORE_SET_UID;
		set.uid = st->st_uid;
	}
	if (which & FUSE_SET_ATTR_GID) {
		set.set |= STORE_SET_GID;
		set.gid = st->st_gid;
	}
	if (which & FUSE_SET_ATTR_SIZE) {
		set.set |= STORE_SET_SIZE;
		set.size = (uint64_t)st->st_size;
	}
	if (which & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
		set.set |= STORE_SET_ATIME;
		set.atime_ns =
		    which & FUSE_SET_ATTR_ATIME_NOW ? now : ns_of(&st->st_atim);
	}
	if (which & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
		set.set |= STORE_SET_MTIME;
		set.mtime_ns =
		    which & FUSE_SET_ATTR_MTIME_NOW ? now : ns_of(&st->st_mtim);
	}
	if (which & FUSE_SET_ATTR_CTIME) {
		set.set |= STORE_SET_CTIME;
		set.ctime_ns = ns_of(&st->st_ctim);
	}
	/* A change of owner drops set-id bits whoever makes it; one of size,
	 * if its maker may not set them. */
	if (m->kills_suid && !(which & FUSE_SET_ATTR_MODE) &&
	    ((which & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) ||
		((which & FUSE_SET_ATTR_SIZE) && must_kill_suid(m, req))))
		set.set |= STORE_KILL_SUID;
	e = store_set_attr(m->store, to_store(m, ino), &set, &inode);
	if (e)
		reply_err(req, e);
	else
		reply_attr(req, &inode);
}

/* With a limit, the filesystem is as large as that; without, as what is
 * stored and what is free. */
void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct store_stats stats;
	struct statvfs st;
	uint64_t used, free_bytes;
	enum err e = store_stats(m->store, &stats);

	(void)ino;
	if (e) {
		reply_err(req, e);
		return;
	}
	used = stats.stored_bytes + stats.index_bytes + stats.journal_bytes +
	       stats.local_bytes;
	free_bytes = stats.free_bytes;
	if (stats.limit_bytes && stats.limit_bytes < used + free_bytes)
		free_bytes =
		    stats.limit_bytes > used ? stats.limit_bytes - used : 0;
	memset(&st, 0, sizeof(st));
	st.f_bsize = st.f_frsize = STATFS_BLOCK;
	st.f_blocks = (used + free_bytes) / STATFS_BLOCK;
	st.f_bfree = st.f_bavail = free_bytes / STATFS_BLOCK;
	/* Inodes cost nothing until they are made: no number is a bound, and
	 * a program that asks for free ones shall find some. */
	st.f_files = stats.files + st.f_bfree;
	st.f_ffree = st.f_favail = st.f_bfree;
	st.f_namemax = NAME_LEN_MAX;
	fuse_reply_statfs(req, &st);
}
