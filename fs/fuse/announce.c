/* The announcer: the one thread that tells people, and serves no request.
 *
 * It makes lines of what requests queued and appends them to .notify by writing
 * through our own mount, so that the kernel itself tells inotify's watchers,
 * knows the new size (tail -f) and has the pages.  A request thread must never
 * do that: the write is a request, too, and the last free thread would wait for
 * itself.  The write's handler knows the announcer by its thread.  No lock is
 * held here while anything goes through the mount.
 *
 * Without anyone who ever looked, a feed only grows in memory.  "Looked" is set
 * before a lookup reads the feed's size, and read after an append in memory:
 * so either the lookup sees the new size, or the announcer sees that someone
 * looked and tells the kernel that its attributes are old.
 *
 * It also asks the kernel to let go of views of the past that are not used. */
#include "fs/fuse/ops.h"
#include "fs/header.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCH_NS ((int64_t)50000000) /* what comes together is told together */
#define SWEEP_NS (10 * WHEN_SECOND)
#define IDLE_VIEWS_MAX 16
#define OLD_GENERATIONS_MAX 16
#define FIELD_MAX 512u /* bytes of a From or Subject */
#define LINE_MAX_BYTES 16384u
#define HEADER_FIRST 2048u /* bytes read first: most headers end there */

/* When a message made in place counts as written: not empty and unchanged for
 * a while, or too old to wait for. */
#define QUIET_NS ((int64_t)200000000)
#define PATIENCE_NS (2 * WHEN_SECOND)

bool
announcer_is(const struct mount *m, fuse_req_t req)
{
	int tid = atomic_load(&m->announcer.tid);

	return tid != 0 && fuse_req_ctx(req)->pid == tid;
}

/* ---- appending ---------------------------------------------------------- */

/* Write text at `off` of a file in a user's directory; it must be that inode:
 * a path can lead anywhere if something was mounted over ours. */
static bool
write_file(const struct mount *m, const struct user *user, const char *name,
    uint64_t ino, uint64_t off, const char *text, size_t len)
{
	char path[PATH_MAX];
	struct stat st;
	int n, fd;
	bool done = false;

	n = snprintf(path, sizeof(path), "%s%s%s/%s", m->mountpoint,
	    m->whole ? "/" : "", m->whole ? user->address : "", name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return false;
	fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_ino == ino)
		done = pwrite(fd, text, len, (off_t)off) == (ssize_t)len;
	close(fd);
	return done;
}

static uint64_t
size_of(struct feed *f, uint64_t start)
{
	int64_t changed_ns;

	return feed_size(f, start, &changed_ns);
}

/* Tell the kernel that what it knows of every generation is old. */
static void
invalidate(struct mount *m, struct user *user)
{
	struct feed_view view[OLD_GENERATIONS_MAX];
	unsigned count =
	    virtuals_feeds(&m->virtuals, user, view, OLD_GENERATIONS_MAX);

	for (unsigned i = 0; i < count; i++)
		(void)fuse_lowlevel_notify_inval_inode(
		    m->session, view[i].ino, -1, 0);
}

/* The older generations that someone still reads grow with the current one. */
static void
grow_old(struct mount *m, struct user *user, const struct feed_view *current,
    const char *text, size_t len)
{
	struct feed_view view[OLD_GENERATIONS_MAX];
	unsigned count =
	    virtuals_feeds(&m->virtuals, user, view, OLD_GENERATIONS_MAX);
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		if (view[i].ino == current->ino)
			continue;
		snprintf(name, sizeof(name), "%s%u", m->announcer.secret,
		    view[i].generation);
		if (!write_file(m, user, name, view[i].ino,
			size_of(&user->feed, view[i].start) - len, text, len))
			(void)fuse_lowlevel_notify_inval_inode(
			    m->session, view[i].ino, -1, 0);
	}
}

static void
append(struct mount *m, struct user *user, const char *text, size_t len)
{
	struct feed_view current;
	uint64_t before;

	feed_make_room(&user->feed, len, virtuals_number(&m->virtuals));
	feed_current(&user->feed, &current);
	before = size_of(&user->feed, current.start);
	if (atomic_load(&user->watched) &&
	    write_file(m, user, ".notify", current.ino, before, text, len)) {
		grow_old(m, user, &current, text, len);
	} else {
		/* The write may have failed after its bytes were taken. */
		if (size_of(&user->feed, current.start) == before &&
		    feed_append(&user->feed, text, len, wall_ns()))
			fuse_log(FUSE_LOG_WARNING,
			    "post: %s/.notify: lines lost: out of memory\n",
			    user->address);
		if (atomic_load(&user->watched))
			invalidate(m, user);
	}
	poll_wake(m, user);
}

/* ---- lines -------------------------------------------------------------- */

static void
flush(struct mount *m, struct user *user)
{
	struct announcer *a = &m->announcer;

	if (a->text_len)
		append(m, user, a->text, a->text_len);
	a->text_len = 0;
}

static size_t
text_cap(const struct user *user)
{
	return FEED_APPEND_MAX(user->feed.keep);
}

/* Read From and Subject of a message that may be gone by now. */
static void
read_fields(struct store *s, uint64_t ino, char from[FIELD_MAX],
    char subject[FIELD_MAX])
{
	char buf[HEADER_READ_MAX];
	size_t got = 0;
	enum err e;

	e = store_read(s, ino, 0, buf, HEADER_FIRST, &got);
	if (!e && got == HEADER_FIRST && !header_complete(buf, got))
		e = store_read(s, ino, 0, buf, sizeof(buf), &got);
	if (e)
		got = 0;
	(void)header_field(buf, got, "From", from, FIELD_MAX);
	(void)header_field(buf, got, "Subject", subject, FIELD_MAX);
}

/* Put off a message that is still being written; drop one that is gone. */
static bool
not_yet(struct mount *m, const struct event *event, bool *drop)
{
	int64_t now = wall_ns();
	struct inode inode;

	*drop =
	    store_inode(m->store, event->ino, &inode) != OK || inode.nlink == 0;
	if (*drop)
		return false;
	return now - event->time_ns < PATIENCE_NS &&
	       (inode.size == 0 || now - inode.mtime_ns < QUIET_NS);
}

static void
add_line(struct mount *m, const struct event *event)
{
	struct announcer *a = &m->announcer;
	char from[FIELD_MAX], subject[FIELD_MAX], line[LINE_MAX_BYTES];
	struct notify_line l = { .kind = event->kind,
		.time_ns = event->time_ns,
		.path = event->path,
		.was = event->was };
	bool drop = false;
	size_t len;

	if (event->kind == NOTIFY_NEW) {
		if (event->made && not_yet(m, event, &drop)) {
			events_again(&m->events, event);
			return;
		}
		if (drop)
			return;
		read_fields(m->store, event->ino, from, subject);
		l.from = from;
		l.subject = subject;
	}
	/* Two paths and two fields, all to be escaped, might not fit. */
	len = notify_format(line, sizeof(line), &l);
	if (len == 0)
		len = notify_format_more(line, sizeof(line), event->time_ns, 1);
	if (a->text_len + len > text_cap(event->user))
		flush(m, event->user);
	if (len <= text_cap(event->user)) {
		memcpy(a->text + a->text_len, line, len);
		a->text_len += len;
	}
}

static void
add_missed(struct mount *m, struct user *user)
{
	struct announcer *a = &m->announcer;
	uint64_t missed = events_missed(&m->events, user);

	if (!missed)
		return;
	if (a->text_len + WHEN_MAX * 2 > text_cap(user))
		flush(m, user);
	a->text_len += notify_format_more(a->text + a->text_len,
	    text_cap(user) - a->text_len, wall_ns(), missed);
}

/* Each user's events in one go, so that each feed is written once. */
struct batch_item {
	size_t pos;
	uint32_t next; /* index + 1; 0: none */
};

static void
announce_user(struct mount *m, struct user *user, const struct batch_item *item)
{
	struct event event;

	for (uint32_t i = user->first; i; i = item[i - 1].next) {
		size_t pos = item[i - 1].pos;

		if (events_next(&m->announcer.batch, &pos, &event))
			add_line(m, &event);
	}
	add_missed(m, user);
	flush(m, user);
}

static void
announce(struct mount *m, struct batch_item item[EVENTS_MAX])
{
	struct event_batch *batch = &m->announcer.batch;
	struct user *users = NULL;
	struct event event;
	uint32_t count = 0;
	size_t pos = 0, at = 0;

	while (events_next(batch, &pos, &event)) {
		struct user *user = event.user;

		item[count++] = (struct batch_item){ at, 0 };
		if (user->first) {
			item[user->last - 1].next = count;
		} else {
			user->first = count;
			user->next_of_batch = users;
			users = user;
		}
		user->last = count;
		at = pos;
	}
	for (; users; users = users->next_of_batch) {
		announce_user(m, users, item);
		users->first = users->last = 0;
	}
	if (batch->missed) { /* of users that had nothing else */
		unsigned all = atomic_load(&m->users.count);

		for (unsigned i = 0; i < all; i++)
			announce_user(m, m->users.user[i], item);
	}
	batch->len = 0;
	batch->count = 0;
	batch->missed = false;
}

/* ---- views of the past -------------------------------------------------- */

static int64_t
monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * WHEN_SECOND + ts.tv_nsec;
}

static void
sweep(struct mount *m)
{
	struct past_idle idle[IDLE_VIEWS_MAX];
	unsigned count = past_idle(&m->past, wall_ns(), idle, IDLE_VIEWS_MAX);

	for (unsigned i = 0; i < count; i++) {
		struct user *user = users_by_ino(&m->users, idle[i].user_ino);

		if (user)
			(void)fuse_lowlevel_notify_inval_entry(m->session,
			    user->at_ino, idle[i].name, strlen(idle[i].name));
	}
	past_trim(&m->past, wall_ns());
}

/* ---- the thread --------------------------------------------------------- */

static void *
run(void *arg)
{
	struct mount *m = arg;
	struct announcer *a = &m->announcer;
	struct batch_item *item = calloc(EVENTS_MAX, sizeof(*item));

	atomic_store(&a->tid, (int)gettid());
	a->swept_ns = monotonic_ns();
	while (item && !events_stopped(&m->events)) {
		if (events_wait(&m->events, SWEEP_NS)) {
			events_pause(&m->events, BATCH_NS);
			if (events_stopped(&m->events))
				break;
			events_take(&m->events, &a->batch);
			announce(m, item);
		}
		if (monotonic_ns() - a->swept_ns >= SWEEP_NS) {
			sweep(m);
			a->swept_ns = monotonic_ns();
		}
	}
	free(item);
	return NULL;
}

enum err
announcer_init(struct mount *m)
{
	struct announcer *a = &m->announcer;
	uint64_t chance;

	random_bytes(&chance, sizeof(chance));
	snprintf(a->secret, sizeof(a->secret), ".\x01%016llx.",
	    (unsigned long long)chance);
	pthread_mutex_init(&a->poll_lock, NULL);
	a->text = malloc(FEED_APPEND_MAX(FEED_KEEP_MAX));
	return a->text ? OK : ERR_NOMEM;
}

enum err
announcer_start(struct mount *m)
{
	struct announcer *a = &m->announcer;

	if (pthread_create(&a->thread, NULL, run, m))
		return ERR_NOMEM;
	a->running = true;
	return OK;
}

void
announcer_stop(struct mount *m)
{
	events_stop(&m->events);
}

bool
announcer_join(struct mount *m, int64_t wait_ns)
{
	struct announcer *a = &m->announcer;
	struct timespec until;

	if (!a->running)
		return true;
	clock_gettime(CLOCK_REALTIME, &until);
	wait_ns += until.tv_nsec;
	until.tv_sec += wait_ns / WHEN_SECOND;
	until.tv_nsec = wait_ns % WHEN_SECOND;
	if (pthread_timedjoin_np(a->thread, NULL, &until))
		return false;
	a->running = false;
	return true;
}

void
announcer_fini(struct mount *m)
{
	poll_fini(m);
	event_batch_free(&m->announcer.batch);
	free(m->announcer.text);
	m->announcer.text = NULL;
	pthread_mutex_destroy(&m->announcer.poll_lock);
}
