/* init_flags.c - what libfuse 3.14 does not know how to ask the kernel for.
 *
 * Before each write(2) the kernel asks for `security.capability`, to know
 * whether privileges must be dropped: one request more for every write.  A
 * file system that says FUSE_HANDLE_KILLPRIV_V2 drops set-id bits itself (on
 * write, truncation and chown), and is not asked.  libfuse has no name for
 * that flag before 3.15; so the one INIT reply passes through here, and the
 * flag is set in it if the kernel offered it.  Nothing else is touched.
 *
 * INIT is the first request, and the kernel sends no other before its answer:
 * what is noted here is written before any other thread reads it. */
#include "fs/fuse/ops.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Bytes of fuse_init_in and fuse_init_out up to and with `flags`. */
#define INIT_HEAD 16

static ssize_t
read_request(int fd, void *buf, size_t len, void *userdata)
{
	struct mount *m = userdata;
	ssize_t n = read(fd, buf, len);
	struct fuse_in_header head;
	struct fuse_init_in init;

	if (n < (ssize_t)(sizeof(head) + INIT_HEAD))
		return n;
	memcpy(&head, buf, sizeof(head));
	if (head.opcode != FUSE_INIT)
		return n;
	memset(&init, 0, sizeof(init));
	memcpy(&init, (const uint8_t *)buf + sizeof(head), INIT_HEAD);
	m->init_unique = head.unique;
	m->init_offered = init.flags & FUSE_HANDLE_KILLPRIV_V2;
	return n;
}

static ssize_t
write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	struct mount *m = userdata;
	const struct fuse_out_header *head = iov[0].iov_base;

	if (m->init_unique && count == 2 && head->unique == m->init_unique &&
	    head->error == 0 && iov[1].iov_len >= INIT_HEAD) {
		struct fuse_init_out *init = iov[1].iov_base;

		if (m->init_offered)
			init->flags |= FUSE_HANDLE_KILLPRIV_V2;
		m->kills_suid = m->init_offered;
		m->init_unique = 0;
	}
	return writev(fd, iov, count);
}

enum err
init_flags_hook(struct mount *m)
{
	static const struct fuse_custom_io io = {
		.read = read_request,
		.writev = write_reply,
	};

	return err_from_errno(-fuse_session_custom_io(
	    m->session, &io, fuse_session_fd(m->session)));
}
