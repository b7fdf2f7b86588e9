/* replicas_insert.c - own blocks until all of their holders have them.
 *
 * A block that waits knows its holders and which of them have it.  While one of
 * them does not answer, the next nearest stands in: a block is safe when a
 * majority, counted in nodes that said that it is durable, has it.  It is done
 * when every true holder has; so a stand-in is no reason to forget the rest.
 *
 * A change of the nodes makes new lists, and keeps what is known of those who
 * are on both.  What waits is in the index as well (the driver's), and is given
 * again after a restart. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

static uint64_t
hash_id(const struct id *id)
{
	return hash64(id, ID_BYTES, 0);
}

static bool
is_waiting(const void *item, const void *key)
{
	const struct past_waiting *w = item;

	return id_eq(&w->id, key);
}

static struct past_waiting *
find(const struct replicas *r, const struct id *id)
{
	return map_find(&r->waiting, hash_id(id), is_waiting, id);
}

static void
waiting_free(struct replicas *r, struct past_waiting *w)
{
	map_remove(&r->waiting, hash_id(&w->id), is_waiting, &w->id);
	*(w->prev ? &w->prev->next : &r->wait_first) = w->next;
	*(w->next ? &w->next->prev : &r->wait_last) = w->prev;
	free(w);
}

/* Tell what has become true, and forget what is done. */
static void
check(struct replicas *r, struct past_waiting *w)
{
	unsigned held = w->self, true_held = w->self;
	unsigned holders = w->holders + (w->self ? 1u : 0u);

	if (!w->placed || w->holders == 0)
		return; /* alone */
	for (unsigned i = 0; i < w->count; i++) {
		held += w->state[i] == WAIT_HELD;
		true_held += w->state[i] == WAIT_HELD && i < w->holders;
	}
	if (!w->safe && held > holders / 2 &&
	    (w->renewal || past_ids_push(&r->safe, &w->id))) {
		w->safe = true;
		r->counters.safe += !w->renewal;
	}
	if (w->safe && true_held == holders &&
	    (w->renewal || past_ids_push(&r->done, &w->id)))
		waiting_free(r, w);
}

static void
enter(struct replicas *r, struct past_waiting *w, unsigned n)
{
	struct past_peer *p = past_peer(r, w->peer[n]);

	w->state[n] = WAIT_TODO;
	if (p)
		past_queue(r, p, PAST_INSERT, &w->id);
}

/* Who holds it now; to those who are new it is queued. */
static void
place(struct replicas *r, struct past_waiting *w)
{
	uint32_t now[3 * REPLICA_K_MAX];
	struct past_waiting before = *w;
	unsigned count, holders;
	bool self;

	if (!past_holders(r, &w->id, 0, now, &count, &holders, &self)) {
		w->placed = false;
		w->count = w->holders = 0;
		return;
	}
	w->placed = true;
	w->self = self;
	w->count = w->holders = (uint8_t)holders;
	for (unsigned i = 0; i < holders; i++) {
		unsigned j = 0;

		while (j < before.count && before.peer[j] != now[i])
			j++;
		w->peer[i] = now[i];
		if (j == before.count)
			enter(r, w, i);
		else
			w->state[i] = before.state[j];
	}
	/* A stand-in that has it counts on, as long as it is there. */
	for (unsigned j = 0; j < before.count; j++) {
		bool is_holder = false;

		for (unsigned i = 0; i < holders; i++)
			is_holder |= now[i] == before.peer[j];
		if (is_holder || before.state[j] != WAIT_HELD ||
		    w->count == REPLICA_K_MAX || !past_peer(r, before.peer[j]))
			continue;
		w->peer[w->count] = before.peer[j];
		w->state[w->count++] = WAIT_HELD;
	}
	check(r, w);
}

enum err
past_insert_own(
    struct replicas *r, const struct id *ids, size_t count, bool renewal)
{
	if (r->waiting.count + count > REPLICA_WAITING_MAX)
		return ERR_AGAIN;
	if (map_reserve(&r->waiting, count))
		return ERR_NOMEM;
	for (size_t i = 0; i < count; i++) {
		struct past_waiting *w = find(r, &ids[i]);

		if (w) {
			w->renewal = w->renewal && renewal;
			continue;
		}
		w = calloc(1, sizeof(*w));
		if (!w || map_add(&r->waiting, hash_id(&ids[i]), w)) {
			free(w);
			return ERR_NOMEM; /* those before it are in; given
					     again they are known */
		}
		w->id = ids[i];
		w->renewal = renewal;
		w->prev = r->wait_last;
		*(r->wait_last ? &r->wait_last->next : &r->wait_first) = w;
		r->wait_last = w;
		place(r, w);
	}
	return OK;
}

void
past_insert_held(
    struct replicas *r, const struct id *id, const struct past_peer *p)
{
	struct past_waiting *w = find(r, id);

	for (unsigned i = 0; w && i < w->count; i++)
		if (w->peer[i] == p->number) {
			w->state[i] = WAIT_HELD;
			check(r, w);
			return;
		}
}

static void
stand_in(struct replicas *r, struct past_waiting *w)
{
	uint32_t near[3 * REPLICA_K_MAX];
	unsigned count, holders, todo = 0;
	bool self;

	if (w->safe || !w->placed || w->count == REPLICA_K_MAX ||
	    !past_holders(
		r, &w->id, REPLICA_K_MAX, near, &count, &holders, &self))
		return;
	for (unsigned i = w->holders; i < w->count; i++)
		todo += w->state[i] == WAIT_TODO;
	for (unsigned i = holders; i < count; i++) {
		const struct past_peer *p = past_peer(r, near[i]);
		bool listed = p->fails > 0;

		for (unsigned j = 0; j < w->count; j++)
			listed |= w->peer[j] == near[i];
		if (listed || todo >= w->holders)
			continue;
		w->peer[w->count] = near[i];
		enter(r, w, w->count++);
		return;
	}
}

void
past_insert_late(
    struct replicas *r, const struct id *ids, size_t count, struct past_peer *p)
{
	for (size_t i = 0; i < count; i++) {
		struct past_waiting *w = find(r, &ids[i]);
		unsigned n = 0;

		if (!w)
			continue;
		while (n < w->count && w->peer[n] != p->number)
			n++;
		if (n < w->holders)
			past_queue(r, p, PAST_INSERT, &ids[i]);
		stand_in(r, w);
	}
}

/* The driver no longer has it: nothing to wait for. */
void
past_insert_gone(struct replicas *r, const struct id *id)
{
	struct past_waiting *w = find(r, id);

	if (w && (w->renewal || past_ids_push(&r->done, id)))
		waiting_free(r, w);
}

void
past_insert_place(struct replicas *r, bool all)
{
	struct past_waiting *w, *next;

	for (w = r->wait_first; w; w = next) {
		next = w->next;
		if (all || !w->placed)
			place(r, w);
	}
}

static void
tell(struct replicas *r, struct past_ids *of, enum replicas_action_kind kind)
{
	struct replicas_action a = { .kind = kind };

	if (of->count == 0)
		return;
	a.ids = of->v + of->head;
	a.id_count = of->count;
	if (past_act(r, &a))
		of->count = of->head = 0;
}

void
past_insert_tell(struct replicas *r)
{
	tell(r, &r->safe, REPLICAS_ACT_SAFE);
	tell(r, &r->done, REPLICAS_ACT_DONE);
}

void
past_insert_fini(struct replicas *r)
{
	while (r->wait_first)
		waiting_free(r, r->wait_first);
	map_fini(&r->waiting);
	past_ids_fini(&r->safe);
	past_ids_fini(&r->done);
}
