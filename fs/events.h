/* events.h - what requests saw happen, on its way to the announcer.
 *
 * A request only copies a few words into the queue: no allocation, and a
 * wake-up only when the announcer sleeps.  The announcer takes all that came
 * together.  The queue is bounded; what does not fit is counted per user.
 *
 * Threads: any may put; one takes. */
#ifndef POST_FS_EVENTS_H
#define POST_FS_EVENTS_H

#include "fs/folders.h"

#define EVENTS_MAX 4096u /* in a batch */
#define EVENTS_BYTES (512u << 10) /* of a batch */

struct event {
	enum notify_kind kind;
	bool made; /* NEW: made in place, so perhaps still being written */
	struct user *user;
	uint64_t ino; /* NEW: the message */
	int64_t time_ns;
	const char *path, *was; /* was: FLAGS, MOVE; else NULL */
};

struct event_batch {
	uint8_t *bytes; /* NULL until first used */
	size_t len;
	unsigned count;
	bool missed; /* some user's `missed` counts */
};

struct events {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct event_batch fill; /* being filled */
	bool sleeping, stop;
};

enum err events_init(struct events *q) MUST_CHECK;
void events_fini(struct events *q);

/* An entry `name` of `dir`; was_dir, was_name: where it was, or NULL. */
void events_put(struct events *q, enum notify_kind kind, bool made,
    int64_t now_ns, uint64_t ino, const struct folder *dir, const char *name,
    const struct folder *was_dir, const char *was_name);

/* Put an event taken from a batch once more, for the next one. */
void events_again(struct events *q, const struct event *event);

/* Sleep until there is something (true), or `wait_ns` have passed, or it is to
 * stop (false). */
bool events_wait(struct events *q, int64_t wait_ns);
/* Sleep `ns`, or until it is to stop. */
void events_pause(struct events *q, int64_t ns);
/* To stop: wakes the announcer. */
void events_stop(struct events *q);
bool events_stopped(struct events *q);

/* Take all: `batch` was emptied by the caller, and is filled. */
void events_take(struct events *q, struct event_batch *batch);
/* Walk it: start with *pos = 0; false at the end. */
bool events_next(
    const struct event_batch *batch, size_t *pos, struct event *out);
/* A user's missed count, which is 0 afterwards. */
uint64_t events_missed(struct events *q, struct user *user);
void event_batch_free(struct event_batch *batch);

#endif
