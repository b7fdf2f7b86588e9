#include "fs/past_view.h"

#include <stdlib.h>
#include <string.h>

/* When the kernel is asked to forget a view: unused for so long, or, beyond
 * so many, for a shorter while.  A view may be as large as the tree was. */
#define IDLE_NS (60 * WHEN_SECOND)
#define HELD_MAX 4u
#define CROWDED_NS (5 * WHEN_SECOND)

void
past_init(struct past *p, struct store *s)
{
	memset(p, 0, sizeof(*p));
	p->store = s;
	pthread_mutex_init(&p->lock, NULL);
}

static void
free_view(struct past_view *view)
{
	history_free(view->history);
	pthread_mutex_destroy(&view->making);
	free(view);
}

void
past_fini(struct past *p)
{
	while (p->views) {
		struct past_view *view = p->views;

		p->views = view->next;
		free_view(view);
	}
	pthread_mutex_destroy(&p->lock);
}

/* Under the lock: to the front. */
static void
touch(struct past *p, struct past_view *view)
{
	struct past_view **at;

	for (at = &p->views; *at && *at != view; at = &(*at)->next)
		;
	if (*at)
		*at = view->next;
	view->next = p->views;
	p->views = view;
}

/* Under the lock: take out a view that no one holds and that is one too many,
 * was not used since a time, or can not be found again; the caller frees it,
 * and calls again, without the lock. */
static struct past_view *
take_surplus(struct past *p, int64_t since_ns)
{
	unsigned idle = 0;

	for (struct past_view **at = &p->views; *at; at = &(*at)->next) {
		struct past_view *view = *at;

		if (view->holders ||
		    (view->settled && ++idle <= PAST_IDLE_MAX &&
			atomic_load(&view->used_ns) >= since_ns))
			continue;
		*at = view->next;
		return view;
	}
	return NULL;
}

static void
free_surplus(struct past *p, int64_t since_ns)
{
	struct past_view *view;

	do {
		pthread_mutex_lock(&p->lock);
		view = take_surplus(p, since_ns);
		pthread_mutex_unlock(&p->lock);
		if (view)
			free_view(view);
	} while (view);
}

static struct past_view *
find_view(struct past *p, uint64_t user_ino, const char *name, int64_t now_ns)
{
	struct past_view *view;

	pthread_mutex_lock(&p->lock);
	for (view = p->views; view; view = view->next)
		if (view->settled && view->user_ino == user_ino &&
		    strcmp(view->name, name) == 0)
			break;
	if (view) {
		view->holders++;
		atomic_store(&view->used_ns, now_ns);
		touch(p, view);
	}
	pthread_mutex_unlock(&p->lock);
	return view;
}

enum err
past_view_open(struct past *p, uint64_t user_ino, const char *address,
    const char *name, int64_t now_ns, struct past_view **out)
{
	struct past_view *view;
	int64_t ns, length_ns;

	if (strlen(name) >= PAST_NAME_MAX ||
	    !when_parse(name, &ns, &length_ns) || ns > now_ns)
		return ERR_ABSENT;
	view = find_view(p, user_ino, name, now_ns);
	if (view) {
		*out = view;
		return OK;
	}
	view = calloc(1, sizeof(*view));
	if (!view)
		return ERR_NOMEM;
	pthread_mutex_init(&view->making, NULL);
	view->past = p;
	view->until_ns = ns + length_ns - 1; /* its last nanosecond */
	view->user_ino = user_ino;
	view->address = address;
	memcpy(view->name, name, strlen(name) + 1);
	view->settled = view->until_ns < now_ns;
	view->holders = 1;
	atomic_init(&view->used_ns, now_ns);
	/* Two threads may have made the same view; both are right, and the
	 * one that is not found again goes when it is let go. */
	pthread_mutex_lock(&p->lock);
	touch(p, view);
	pthread_mutex_unlock(&p->lock);
	free_surplus(p, INT64_MIN);
	*out = view;
	return OK;
}

enum err
past_view_tree(struct past_view *view, int64_t now_ns, struct history **out)
{
	enum err e = OK;

	atomic_store(&view->used_ns, now_ns);
	pthread_mutex_lock(&view->making);
	if (!view->history)
		e = store_history(view->past->store, view->address,
		    view->until_ns, &view->history);
	*out = view->history;
	pthread_mutex_unlock(&view->making);
	return e;
}

void
past_trim(struct past *p, int64_t now_ns)
{
	free_surplus(p, now_ns - IDLE_NS);
}

void
past_view_hold(struct past_view *view)
{
	pthread_mutex_lock(&view->past->lock);
	view->holders++;
	pthread_mutex_unlock(&view->past->lock);
}

void
past_view_release(struct past_view *view)
{
	struct past *p = view->past;

	pthread_mutex_lock(&p->lock);
	view->holders--;
	pthread_mutex_unlock(&p->lock);
	free_surplus(p, INT64_MIN);
}

unsigned
past_idle(struct past *p, int64_t now_ns, struct past_idle *out, unsigned cap)
{
	unsigned count = 0, held = 0;

	pthread_mutex_lock(&p->lock);
	for (struct past_view *view = p->views; view && count < cap;
	     view = view->next) {
		int64_t unused = now_ns - atomic_load(&view->used_ns);

		if (view->holders == 0)
			continue;
		held++;
		if (unused < CROWDED_NS ||
		    (unused < IDLE_NS && held <= HELD_MAX))
			continue;
		out[count].user_ino = view->user_ino;
		memcpy(out[count].name, view->name, sizeof(view->name));
		count++;
	}
	pthread_mutex_unlock(&p->lock);
	return count;
}

void
past_days(int64_t first_ns, int64_t last_ns, struct past_days *out)
{
	out->newest_ns = last_ns;
	out->first = first_ns / WHEN_DAY + 1; /* before it: nothing */
	out->last = last_ns / WHEN_DAY;
	if (out->last - out->first >= PAST_DAYS_MAX)
		out->first = out->last - PAST_DAYS_MAX + 1;
}
