/* ops.h - what the files of fs/fuse share: the mount, and how requests are
 * answered.
 *
 * The order of a change's steps is the same everywhere: ask the store, tell the
 * announcer's queue, answer the kernel; and if the answer could not be given
 * (the caller was interrupted), take back the lookup that it counted. */
#ifndef POST_FS_FUSE_OPS_H
#define POST_FS_FUSE_OPS_H

#include "fs/events.h"
#include "fs/folders.h"
#include "fs/mount.h"
#include "fs/past_view.h"
#include "fs/status.h"
#include "fs/users.h"
#include "fs/virtual.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <semaphore.h>

/* Threads that serve, and how many of them at most wait for requests at once;
 * why not all: mount.c.  Each costs a buffer of a mebibyte when large writes
 * come. */
#define WORKERS 8
#define READERS_MAX 4

/* Seconds for which the kernel need not ask again: every change of a real file
 * comes through this kernel. */
#define TIMEOUT_REAL 86400.0

struct worker {
	struct mount *mount;
	pthread_t thread;
	bool reads; /* is one of those that wait for requests */
	struct fuse_buf request;
	void *scratch;
	size_t scratch_cap;
};

struct poller;

struct announcer {
	pthread_t thread;
	bool running;
	_Atomic int tid; /* its thread, as requests name it; 0: none yet */
	char secret[24]; /* prefix of names that only it may look up */
	struct event_batch batch;
	char *text; /* lines being made */
	size_t text_len;
	pthread_mutex_t poll_lock;
	struct poller *pollers;
	unsigned poller_count;
	int64_t swept_ns; /* when views of the past were last looked after */
};

struct mount {
	struct store *store;
	struct fuse_session *session;
	char *mountpoint;
	struct status_about about;
	uint64_t root; /* the store's inode that is the mount's root */
	bool whole; /* it is the store's root */
	bool announcing; /* .notify can be seen in this mount */
	uint32_t uid, gid; /* ours: who owns what is virtual */
	struct users users;
	struct folders folders;
	struct events events;
	struct virtuals virtuals;
	struct past past;
	struct announcer announcer;
	sem_t stop;
	sem_t readers; /* places free */
	struct worker worker[WORKERS];
	/* INIT's negotiation (init_flags.c): the request being answered, and
	 * whether dropping set-id bits on a change is ours to do. */
	uint64_t init_unique;
	bool init_offered, kills_suid;
};

/* Let init_flags.c see the session's INIT; call between mounting and the first
 * request. */
enum err init_flags_hook(struct mount *m) MUST_CHECK;

/* Does this caller's change of a file drop its set-id bits?  As the kernel
 * judges: unless it may set them anyway (CAP_FSETID: root). */
static inline bool
must_kill_suid(const struct mount *m, fuse_req_t req)
{
	return m->kills_suid && fuse_req_ctx(req)->uid != 0;
}

/* ---- numbers, time, memory ---------------------------------------------- */

static inline struct mount *
mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The mount's root is 1 to the kernel, whatever it is to the store. */
static inline uint64_t
to_store(const struct mount *m, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? m->root : ino;
}

static inline fuse_ino_t
from_store(const struct mount *m, uint64_t ino)
{
	return ino == m->root ? FUSE_ROOT_ID : ino;
}

int64_t wall_ns(void);

/* This worker's buffer, of at least len bytes; NULL: no memory.  Its content
 * is good until the next call. */
void *scratch(size_t len);

/* This request may wait for a disk: let another thread wait for requests in
 * this one's place. */
void may_wait(void);

/* ---- answers ------------------------------------------------------------ */

static inline void
reply_err(fuse_req_t req, enum err e)
{
	fuse_reply_err(req, err_errno(e));
}

/* Longer than any name here; answered if so. */
bool name_too_long(fuse_req_t req, const char *name);

void stat_of(const struct mount *m, const struct inode *inode, struct stat *st);
/* An entry of the store, held once for this answer. */
void reply_inode(fuse_req_t req, const struct inode *inode);
/* "No such name", which the kernel may remember. */
void reply_absent(fuse_req_t req);

/* A user's directory was seen; she may be new. */
void note_user(struct mount *m, uint64_t ino, const char *name);

/* ---- requests on virtual inodes (virtual_ops.c) ------------------------- */

/* A name in a directory of the store that is not in the store; answered if
 * true. */
bool virtual_name_lookup(fuse_req_t req, uint64_t dir, const char *name);
/* Is that name, of a directory of the store, ours? */
bool virtual_name(struct mount *m, uint64_t dir, const char *name);
/* The i-th virtual name of a directory of the store, as a listing shows it;
 * false beyond the last. */
bool virtual_listed(struct mount *m, uint64_t dir, unsigned i,
    const char **name, struct stat *st);

void virtual_lookup(fuse_req_t req, fuse_ino_t dir, const char *name);
void virtual_getattr(fuse_req_t req, fuse_ino_t ino);
void virtual_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off);
void virtual_write(
    fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t len, off_t off);
void virtual_seek(fuse_req_t req, fuse_ino_t ino, off_t off, bool hole);
void virtual_readlink(fuse_req_t req, fuse_ino_t ino);
void virtual_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus);
/* Refuse a change: EROFS in the past, else EPERM. */
void virtual_refuse(fuse_req_t req, fuse_ino_t ino);

/* ---- the announcer (announce.c, tell.c, poll.c) ------------------------- */

/* Init before any request is served; fini after failure, too. */
enum err announcer_init(struct mount *m) MUST_CHECK;
enum err announcer_start(struct mount *m) MUST_CHECK;
/* Ask it to stop; wait for it, at most so long: true if it has. */
void announcer_stop(struct mount *m);
bool announcer_join(struct mount *m, int64_t wait_ns);
void announcer_fini(struct mount *m);
bool announcer_is(const struct mount *m, fuse_req_t req);

/* What requests saw, for the queue; each does nothing if it is no event. */
void event_made(struct mount *m, uint64_t dir, const char *name, bool empty,
    const struct inode *inode);
void event_mkdir(struct mount *m, uint64_t dir, const char *name);
void event_unlink(struct mount *m, uint64_t dir, const char *name);
void event_rmdir(struct mount *m, uint64_t dir, const char *name);
void event_rename(struct mount *m, const struct folder *was_dir,
    const char *was_name, const struct folder *dir, const char *name,
    const struct inode *inode);

void poll_answer(fuse_req_t req, struct virtual *node,
    const struct fuse_file_info *fi, struct fuse_pollhandle *ph);
/* Wake who waits for a feed that has grown; never from a request. */
void poll_wake(struct mount *m, struct user *user);
/* The inode is forgotten. */
void poll_forget(struct mount *m, uint64_t ino);
void poll_fini(struct mount *m);

/* ---- operations, by file ------------------------------------------------ */

/* ops_names.c */
void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void op_forget_multi(
    fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
    struct fuse_file_info *fi);
void op_mknod(
    fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode);
void op_symlink(
    fuse_req_t req, const char *target, fuse_ino_t dir, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name,
    fuse_ino_t to_dir, const char *to_name, unsigned flags);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
/* ops_files.c */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
    struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t len,
    off_t off, struct fuse_file_info *fi);
void op_fsync(
    fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
    off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
    struct fuse_file_info *fi);
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
    struct fuse_pollhandle *ph);
/* ops_dirs.c */
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi);
void op_fsyncdir(
    fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
/* ops_attr.c */
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int which,
    struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
/* ops_xattr.c */
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
    const char *value, size_t size, int flags);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
