#include "fs/events.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As it lies in the queue, followed by path and was with their NULs. */
struct packed {
	struct user *user;
	uint64_t ino;
	int64_t time_ns;
	uint16_t path_size, was_size; /* was_size 0: none */
	uint8_t kind, made;
};

#define ALIGN(n) (((n) + 7u) & ~(size_t)7u)

enum err
events_init(struct events *q)
{
	pthread_condattr_t attr;

	memset(q, 0, sizeof(*q));
	if (pthread_condattr_init(&attr))
		return ERR_NOMEM;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&q->lock, NULL);
	return OK;
}

void
events_fini(struct events *q)
{
	event_batch_free(&q->fill);
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->lock);
}

void
event_batch_free(struct event_batch *batch)
{
	free(batch->bytes);
	memset(batch, 0, sizeof(*batch));
}

/* Add a whole path at `at`; its size with the NUL. */
static size_t
join(char *at, const char *dir, const char *name)
{
	size_t len = strlen(dir), name_len = strlen(name);

	memcpy(at, dir, len);
	if (len)
		at[len++] = '/';
	memcpy(at + len, name, name_len + 1);
	return len + name_len + 1;
}

/* Paths in two pieces, dir and name; was NULL: there is none. */
static void
put(struct events *q, struct packed p, const char *dir, const char *name,
    const char *was_dir, const char *was)
{
	struct event_batch *b = &q->fill;
	size_t most = sizeof(p) + strlen(dir) + strlen(name) + 2 +
		      (was ? strlen(was_dir) + strlen(was) + 2 : 0);
	char *at;

	pthread_mutex_lock(&q->lock);
	if (!b->bytes)
		b->bytes = malloc(EVENTS_BYTES);
	if (!b->bytes || b->count == EVENTS_MAX ||
	    ALIGN(most) > EVENTS_BYTES - b->len) {
		p.user->missed++;
		b->missed = true;
	} else {
		at = (char *)b->bytes + b->len + sizeof(p);
		p.path_size = (uint16_t)join(at, dir, name);
		if (was)
			p.was_size =
			    (uint16_t)join(at + p.path_size, was_dir, was);
		memcpy(b->bytes + b->len, &p, sizeof(p));
		b->len += ALIGN(sizeof(p) + p.path_size + p.was_size);
		b->count++;
	}
	if (q->sleeping) {
		q->sleeping = false;
		pthread_cond_signal(&q->wake);
	}
	pthread_mutex_unlock(&q->lock);
}

void
events_put(struct events *q, enum notify_kind kind, bool made, int64_t now_ns,
    uint64_t ino, const struct folder *dir, const char *name,
    const struct folder *was_dir, const char *was_name)
{
	struct packed p = { .user = dir->user,
		.ino = ino,
		.time_ns = now_ns,
		.kind = (uint8_t)kind,
		.made = made };

	put(q, p, dir->path, name, was_name ? was_dir->path : "", was_name);
}

void
events_again(struct events *q, const struct event *event)
{
	struct packed p = { .user = event->user,
		.ino = event->ino,
		.time_ns = event->time_ns,
		.kind = (uint8_t)event->kind,
		.made = event->made };

	put(q, p, "", event->path, "", event->was);
}

static struct timespec
after(int64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ns += ts.tv_nsec;
	ts.tv_sec += ns / 1000000000;
	ts.tv_nsec = ns % 1000000000;
	return ts;
}

bool
events_wait(struct events *q, int64_t wait_ns)
{
	struct timespec until = after(wait_ns);
	bool some;

	pthread_mutex_lock(&q->lock);
	while (!q->stop && !q->fill.count && !q->fill.missed) {
		q->sleeping = true;
		if (pthread_cond_timedwait(&q->wake, &q->lock, &until))
			break;
	}
	q->sleeping = false;
	some = !q->stop && (q->fill.count || q->fill.missed);
	pthread_mutex_unlock(&q->lock);
	return some;
}

void
events_pause(struct events *q, int64_t ns)
{
	struct timespec until = after(ns);

	pthread_mutex_lock(&q->lock);
	while (
	    !q->stop && pthread_cond_timedwait(&q->wake, &q->lock, &until) == 0)
		;
	pthread_mutex_unlock(&q->lock);
}

void
events_stop(struct events *q)
{
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->lock);
}

bool
events_stopped(struct events *q)
{
	bool stop;

	pthread_mutex_lock(&q->lock);
	stop = q->stop;
	pthread_mutex_unlock(&q->lock);
	return stop;
}

void
events_take(struct events *q, struct event_batch *batch)
{
	struct event_batch taken;

	assert(batch->count == 0 && !batch->missed);
	batch->len = 0;
	pthread_mutex_lock(&q->lock);
	taken = q->fill;
	q->fill = *batch; /* its memory serves again */
	pthread_mutex_unlock(&q->lock);
	*batch = taken;
}

bool
events_next(const struct event_batch *batch, size_t *pos, struct event *out)
{
	const char *text;
	struct packed p;

	if (*pos >= batch->len)
		return false;
	memcpy(&p, batch->bytes + *pos, sizeof(p));
	text = (const char *)batch->bytes + *pos + sizeof(p);
	*out = (struct event){
		.kind = (enum notify_kind)p.kind,
		.made = p.made,
		.user = p.user,
		.ino = p.ino,
		.time_ns = p.time_ns,
		.path = text,
		.was = p.was_size ? text + p.path_size : NULL,
	};
	*pos += ALIGN(sizeof(p) + p.path_size + p.was_size);
	return true;
}

uint64_t
events_missed(struct events *q, struct user *user)
{
	uint64_t missed;

	pthread_mutex_lock(&q->lock);
	missed = user->missed;
	user->missed = 0;
	pthread_mutex_unlock(&q->lock);
	return missed;
}
