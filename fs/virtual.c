#include "fs/virtual.h"
#include "fs/past_view.h"
#include "fs/users.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct past_key {
	const struct past_view *view;
	uint64_t number;
};

static bool
match_ino(const void *item, const void *key)
{
	const struct virtual *node = item;

	return node->ino == *(const uint64_t *)key;
}

static bool
match_past(const void *item, const void *key)
{
	const struct virtual *node = item;
	const struct past_key *k = key;

	return node->past.view == k->view && node->past.number == k->number;
}

static uint64_t
hash_ino(uint64_t ino)
{
	return hash64_u64(ino, 0);
}

static uint64_t
hash_past(const struct past_view *view, uint64_t number)
{
	return hash64_u64((uint64_t)(uintptr_t)view, number);
}

/* Under the lock. */
static struct virtual *
find(struct virtuals *v, uint64_t ino)
{
	return map_find(&v->by_ino, hash_ino(ino), match_ino, &ino);
}

/* Under the lock; a node with one lookup, in the table. */
static enum err
add(struct virtuals *v, uint64_t ino, enum virtual_kind kind,
    struct virtual **out)
{
	struct virtual *node = calloc(1, sizeof(*node));

	if (!node)
		return ERR_NOMEM;
	node->ino = ino;
	node->kind = kind;
	node->lookups = 1;
	if (map_add(&v->by_ino, hash_ino(ino), node)) {
		free(node);
		return ERR_NOMEM;
	}
	*out = node;
	return OK;
}

enum err
virtuals_init(struct virtuals *v, int64_t now_ns)
{
	struct virtual *control;
	enum err e;

	memset(v, 0, sizeof(*v));
	pthread_mutex_init(&v->lock, NULL);
	atomic_init(&v->next, VIRTUAL_LISTED + VIRTUAL_TEXTS);
	v->started_ns = now_ns;
	e = add(v, VIRTUAL_CONTROL, VIRTUAL_CONTROL_DIR, &control);
	if (e)
		virtuals_fini(v);
	return e;
}

static void
free_node(struct virtual *node)
{
	if (node->kind == VIRTUAL_TEXT)
		free(node->text.bytes);
	if (node->kind == VIRTUAL_PAST)
		past_view_release(node->past.view);
	free(node);
}

void
virtuals_fini(struct virtuals *v)
{
	struct virtual *node;
	size_t pos = 0;

	while ((node = map_next(&v->by_ino, &pos)))
		free_node(node);
	map_fini(&v->by_ino);
	map_fini(&v->past);
	pthread_mutex_destroy(&v->lock);
}

uint64_t
virtuals_number(struct virtuals *v)
{
	return atomic_fetch_add(&v->next, 1);
}

struct virtual *
virtuals_find(struct virtuals *v, uint64_t ino)
{
	struct virtual *node;

	pthread_mutex_lock(&v->lock);
	node = find(v, ino);
	pthread_mutex_unlock(&v->lock);
	return node;
}

enum err
virtuals_text(struct virtuals *v, unsigned which, char *bytes, size_t len,
    int64_t now_ns, struct virtual **out)
{
	struct virtual *node;
	enum err e = OK;

	assert(which < VIRTUAL_TEXTS);
	pthread_mutex_lock(&v->lock);
	node = v->text[which];
	if (node && node->text.len == len &&
	    memcmp(node->text.bytes, bytes, len) == 0) {
		node->lookups++;
		free(bytes);
	} else if ((e = add(v, virtuals_number(v), VIRTUAL_TEXT, &node))) {
		free(bytes);
	} else {
		node->text.bytes = bytes;
		node->text.len = len;
		node->text.time_ns = now_ns;
		node->text.which = which;
		v->text[which] = node;
	}
	pthread_mutex_unlock(&v->lock);
	if (!e)
		*out = node;
	return e;
}

enum err
virtuals_feed(struct virtuals *v, struct user *user, struct virtual **out)
{
	struct feed_view current;
	struct virtual *node;
	enum err e = OK;

	pthread_mutex_lock(&v->lock);
	feed_current(&user->feed, &current);
	node = find(v, current.ino);
	if (node) {
		node->lookups++;
	} else if (!(e = add(v, current.ino, VIRTUAL_FEED, &node))) {
		node->feed.user = user;
		node->feed.start = current.start;
		node->feed.generation = current.generation;
		node->feed.next = v->feeds;
		v->feeds = node;
	}
	pthread_mutex_unlock(&v->lock);
	if (!e)
		*out = node;
	return e;
}

enum err
virtuals_feed_old(struct virtuals *v, struct user *user, unsigned generation,
    struct virtual **out)
{
	struct virtual *node;

	pthread_mutex_lock(&v->lock);
	for (node = v->feeds; node; node = node->feed.next)
		if (node->feed.user == user &&
		    node->feed.generation == generation)
			break;
	if (node)
		node->lookups++;
	pthread_mutex_unlock(&v->lock);
	if (!node)
		return ERR_ABSENT;
	*out = node;
	return OK;
}

enum err
virtuals_at(struct virtuals *v, struct user *user, struct virtual **out)
{
	struct virtual *node;
	enum err e = OK;

	pthread_mutex_lock(&v->lock);
	node = find(v, user->at_ino);
	if (node) {
		node->lookups++;
	} else if (!(e = add(v, user->at_ino, VIRTUAL_AT_DIR, &node))) {
		node->user = user;
	}
	pthread_mutex_unlock(&v->lock);
	if (!e)
		*out = node;
	return e;
}

enum err
virtuals_past(struct virtuals *v, struct past_view *view, uint64_t number,
    struct virtual **out)
{
	struct past_key key = { view, number };
	uint64_t hash = hash_past(view, number);
	struct virtual *node;
	enum err e = OK;

	pthread_mutex_lock(&v->lock);
	node = map_find(&v->past, hash, match_past, &key);
	if (node) {
		node->lookups++;
	} else if (!(e = map_reserve(&v->past, 1)) &&
		   !(e = add(v, virtuals_number(v), VIRTUAL_PAST, &node))) {
		node->past.view = view;
		node->past.number = number;
		past_view_hold(view);
		e = map_add(&v->past, hash, node);
		assert(e == OK); /* room was reserved */
	}
	pthread_mutex_unlock(&v->lock);
	if (!e)
		*out = node;
	return e;
}

/* Under the lock: out of every table but by_ino. */
static void
unlist(struct virtuals *v, struct virtual *node)
{
	struct past_key key;
	struct virtual **at;

	switch (node->kind) {
	case VIRTUAL_TEXT:
		if (v->text[node->text.which] == node)
			v->text[node->text.which] = NULL;
		break;
	case VIRTUAL_FEED:
		for (at = &v->feeds; *at != node; at = &(*at)->feed.next)
			;
		*at = node->feed.next;
		break;
	case VIRTUAL_PAST:
		key = (struct past_key){ node->past.view, node->past.number };
		map_remove(&v->past, hash_past(key.view, key.number),
		    match_past, &key);
		break;
	case VIRTUAL_CONTROL_DIR:
	case VIRTUAL_AT_DIR:
		break;
	}
}

bool
virtuals_forget(struct virtuals *v, uint64_t ino, uint64_t n)
{
	struct virtual *node;
	bool gone = false;

	pthread_mutex_lock(&v->lock);
	node = find(v, ino);
	if (node) {
		node->lookups = node->lookups > n ? node->lookups - n : 0;
		gone = node->lookups == 0 && ino != VIRTUAL_CONTROL;
	}
	if (gone) {
		unlist(v, node);
		map_remove(&v->by_ino, hash_ino(ino), match_ino, &ino);
	}
	pthread_mutex_unlock(&v->lock);
	if (gone)
		free_node(node); /* may free a view: not under the lock */
	return gone;
}

unsigned
virtuals_feeds(
    struct virtuals *v, struct user *user, struct feed_view *out, unsigned cap)
{
	unsigned count = 0;

	pthread_mutex_lock(&v->lock);
	for (struct virtual *node = v->feeds; node && count < cap;
	     node = node->feed.next)
		if (node->feed.user == user)
			out[count++] = (struct feed_view){ node->feed.start,
				node->ino, node->feed.generation };
	pthread_mutex_unlock(&v->lock);
	return count;
}
