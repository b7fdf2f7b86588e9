/* Bytes.  There is no open and no flush: both answer ENOSYS once, after which
 * the kernel asks no more, keeps pages and listings, and a warm read costs no
 * request at all.  What follows from it: no file handle but a created file's,
 * truncation at open comes as setattr, and what is open is known by lookups
 * alone.  Nor is release sent, once an open was refused so, not even for what
 * create made: a file that is closed without fsync or rename is handed to the
 * disk by the store's own clock. */
#include "fs/fuse/ops.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define LARGE_WRITE 65536u

void
op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

void
op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

/* Of files created before the first open.  Nobody waits for the answer. */
void
op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	if (virtual_is(ino))
		fuse_reply_err(req, 0);
	else
		reply_err(req, store_settle(m->store, to_store(m, ino)));
}

void
op_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	size_t got = 0;
	void *buf;
	enum err e;

	(void)fi;
	if (virtual_is(ino)) {
		virtual_read(req, ino, len, off);
		return;
	}
	may_wait();
	buf = scratch(len);
	e = buf ? store_read(
		      m->store, to_store(m, ino), (uint64_t)off, buf, len, &got)
		: ERR_NOMEM;
	if (e)
		reply_err(req, e);
	else
		fuse_reply_buf(req, buf, got);
}

void
op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t len,
    off_t off, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	enum err e;

	(void)fi;
	if (virtual_is(ino)) {
		virtual_write(req, ino, bytes, len, off);
		return;
	}
	e = store_write(m->store, to_store(m, ino), (uint64_t)off, bytes, len,
	    must_kill_suid(m, req));
	if (e)
		reply_err(req, e);
	else
		fuse_reply_write(req, len);
}

void
op_fsync(
    fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)data_only;
	(void)fi;
	if (virtual_is(ino)) {
		fuse_reply_err(req, 0);
		return;
	}
	may_wait();
	reply_err(req, store_sync(m->store, to_store(m, ino)));
}

void
op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	if (virtual_is(ino))
		virtual_refuse(req, ino);
	else
		reply_err(req, store_fallocate(m->store, to_store(m, ino), mode,
				   (uint64_t)off, (uint64_t)len));
}

void
op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	uint64_t at;
	enum err e;

	(void)fi;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL); /* the others are the kernel's */
		return;
	}
	if (virtual_is(ino)) {
		virtual_seek(req, ino, off, whence == SEEK_HOLE);
		return;
	}
	e = store_seek(m->store, to_store(m, ino), (uint64_t)off,
	    whence == SEEK_HOLE, &at);
	if (e == ERR_ABSENT || e == ERR_RANGE)
		fuse_reply_err(req, ENXIO); /* at or beyond the end */
	else if (e)
		reply_err(req, e);
	else
		fuse_reply_lseek(req, (off_t)at);
}

void
op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
    struct fuse_pollhandle *ph)
{
	struct mount *m = mount_of(req);
	struct virtual *node = NULL;

	if (virtual_is(ino))
		node = virtuals_find(&m->virtuals, ino);
	if (node && node->kind == VIRTUAL_FEED) {
		poll_answer(req, node, fi, ph);
		return;
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req,
	    fi->poll_events & (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM));
}
