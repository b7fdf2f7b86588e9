/* poll(2) on .notify.
 *
 * The kernel asks once for each poll(2) or wake-up, and may leave a handle by
 * which it wants to be woken.  What it asks about is an open file, which we do
 * not know, since open is never sent; but each open file has a number of its
 * own in the handle.  So a poller is (inode, that number), and remembers how
 * far the feed had grown when it last got POLLIN.
 *
 * libfuse keeps the number in its opaque handle, first, with the session
 * behind it.  There is no other way to it; that the session is where it is
 * expected proves the layout, and without it every poll is a first poll, which
 * is what a poll without a handle (one that does not wait) is, too. */
#include "fs/fuse/ops.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define POLLERS_MAX 256u
#define WAKE_MAX 64u /* handles taken out at once */

struct poller {
	struct poller *next;
	uint64_t ino, file, seen; /* seen: size of the file it was told of */
	struct user *user;
	uint64_t start;
	struct fuse_pollhandle *waits; /* or NULL */
};

struct handle_layout {
	uint64_t file;
	struct fuse_session *session;
};

static bool
file_of(const struct mount *m, const struct fuse_pollhandle *ph, uint64_t *file)
{
	struct handle_layout layout;

	if (!ph)
		return false;
	memcpy(&layout, ph, sizeof(layout));
	*file = layout.file;
	return layout.session == m->session;
}

/* Under poll_lock.  NULL: no room. */
static struct poller *
poller_of(struct announcer *a, const struct virtual *node, uint64_t file)
{
	struct poller *p, **at, **idle = NULL;

	for (at = &a->pollers; (p = *at); at = &p->next) {
		if (p->ino == node->ino && p->file == file)
			return p;
		if (!p->waits)
			idle = at; /* the oldest, in the end */
	}
	if (a->poller_count == POLLERS_MAX) {
		if (!idle)
			return NULL;
		p = *idle;
		*idle = p->next;
	} else if (!(p = malloc(sizeof(*p)))) {
		return NULL;
	} else {
		a->poller_count++;
	}
	*p = (struct poller){ .next = a->pollers,
		.ino = node->ino,
		.file = file,
		.user = node->feed.user,
		.start = node->feed.start };
	a->pollers = p;
	return p;
}

void
poll_answer(fuse_req_t req, struct virtual *node,
    const struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	struct mount *m = mount_of(req);
	struct announcer *a = &m->announcer;
	unsigned in = fi->poll_events & (POLLIN | POLLRDNORM);
	struct poller *p = NULL;
	struct fuse_pollhandle *drop = ph;
	int64_t changed_ns;
	uint64_t file, size;
	bool ready;

	pthread_mutex_lock(&a->poll_lock);
	size = feed_size(&node->feed.user->feed, node->feed.start, &changed_ns);
	if (file_of(m, ph, &file))
		p = poller_of(a, node, file);
	ready = size > (p ? p->seen : 0);
	if (p && ready) {
		p->seen = size;
	} else if (p) {
		drop = p->waits; /* the newer handle serves */
		p->waits = ph;
	}
	pthread_mutex_unlock(&a->poll_lock);
	if (drop)
		fuse_pollhandle_destroy(drop);
	fuse_reply_poll(req, ready ? in : 0);
}

/* Take out handles to be woken: of one user whose feed grew, or (user NULL)
 * all of an inode. */
static unsigned
take(struct announcer *a, const struct user *user, uint64_t ino,
    struct fuse_pollhandle *out[WAKE_MAX])
{
	unsigned count = 0;

	pthread_mutex_lock(&a->poll_lock);
	for (struct poller *p = a->pollers; p && count < WAKE_MAX; p = p->next)
		if (p->waits && (user ? p->user == user : p->ino == ino)) {
			out[count++] = p->waits;
			p->waits = NULL;
		}
	pthread_mutex_unlock(&a->poll_lock);
	return count;
}

void
poll_wake(struct mount *m, struct user *user)
{
	struct fuse_pollhandle *handle[WAKE_MAX];
	unsigned count;

	do {
		count = take(&m->announcer, user, 0, handle);
		for (unsigned i = 0; i < count; i++) {
			/* One that is gone meanwhile needs no waking. */
			(void)fuse_lowlevel_notify_poll(handle[i]);
			fuse_pollhandle_destroy(handle[i]);
		}
	} while (count == WAKE_MAX);
}

void
poll_forget(struct mount *m, uint64_t ino)
{
	struct announcer *a = &m->announcer;
	struct poller *p, **at, *gone = NULL;

	pthread_mutex_lock(&a->poll_lock);
	for (at = &a->pollers; (p = *at);) {
		if (p->ino != ino) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		a->poller_count--;
		p->next = gone;
		gone = p;
	}
	pthread_mutex_unlock(&a->poll_lock);
	while ((p = gone)) {
		gone = p->next;
		if (p->waits)
			fuse_pollhandle_destroy(p->waits);
		free(p);
	}
}

void
poll_fini(struct mount *m)
{
	while (m->announcer.pollers)
		poll_forget(m, m->announcer.pollers->ino);
}
