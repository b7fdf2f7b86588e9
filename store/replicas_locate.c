/* replicas_locate.c - holders of ids beyond our leaf set: LOCATE, HOLDERS.
 *
 * The question is routed to the id's home, which knows all around it; the
 * answer names the range of ids that it holds for, and is believed for
 * LOCATED_US, or until one of those it names says that it is no holder. */
#include "store/replicas_private.h"

#include <assert.h>

#define LOCATED_US (600 * PAST_SECOND)

static bool
in_range(const struct id *id, const struct id *from, const struct id *to)
{
	return id_cmp(from, id) <= 0 && id_cmp(id, to) <= 0;
}

const struct past_located *
past_located(const struct replicas *r, const struct id *id)
{
	for (unsigned i = 0; i < r->locateds; i++)
		if (r->now_us < r->located[i].until_us &&
		    in_range(id, &r->located[i].from, &r->located[i].to))
			return &r->located[i];
	return NULL;
}

static void
ask(struct replicas *r, struct past_locating *l)
{
	struct past_msg m = { .kind = PAST_LOCATE };

	l->due_us = r->now_us + r->c.answer_us;
	past_wake(r, l->due_us);
	m.nonce = l->nonce;
	m.id = l->id;
	past_send(r, &r->c.self, &m); /* it is routed */
}

void
past_locate(struct replicas *r, const struct id *id)
{
	struct past_locating *l;

	for (unsigned i = 0; i < r->locatings; i++)
		if (id_eq(&r->locating[i].id, id))
			return;
	if (r->locatings == PAST_LOCATING_MAX)
		return; /* an answer to another looks again */
	l = &r->locating[r->locatings++];
	*l = (struct past_locating){ .id = *id, .nonce = past_number(r) };
	ask(r, l);
}

/* The same holders, if not the same window. */
static bool
same(const struct past_segment *a, const struct past_segment *b)
{
	return a->known && a->count == b->count &&
	       memcmp(a->node, b->node, a->count) == 0;
}

void
past_locate_asked(
    struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	const struct past_segment *s = past_place_find(&r->place, &m->id);
	uint8_t rows[REPLICA_K_MAX * PAST_NODE_BYTES];
	const struct past_segment *first = s, *last = s;
	struct past_msg out = { .kind = PAST_HOLDERS, .nonce = m->nonce };
	struct wr w;

	if (!r->joined || !s->known)
		return; /* we are not where it should have come */
	while (first > r->place.segment && same(first - 1, s))
		first--;
	while (last + 1 < r->place.segment + r->place.segments &&
	       same(last + 1, s))
		last++;
	wr_init(&w, rows, sizeof(rows));
	for (unsigned i = 0; i < s->count; i++)
		past_write_node(&w, &r->place.node[s->node[i]]);
	assert(!w.bad);
	out.from = first->from;
	past_segment_end(&r->place, last, &out.to);
	out.count = s->count;
	out.bytes = rows;
	out.len = wr_len(&w);
	past_send(r, peer, &out);
}

static void
forget(struct replicas *r, unsigned n)
{
	r->located[n] = r->located[--r->locateds];
}

void
past_locate_answered(struct replicas *r, const struct past_msg *m)
{
	struct past_located l = { .from = m->from, .to = m->to };
	struct replica_node node;
	unsigned n = 0;

	while (n < r->locatings && r->locating[n].nonce != m->nonce)
		n++;
	if (n == r->locatings ||
	    !in_range(&r->locating[n].id, &m->from, &m->to)) {
		r->counters.unasked++;
		return;
	}
	r->locating[n] = r->locating[--r->locatings];
	for (size_t i = 0; i < m->count; i++) {
		const struct past_peer *p;

		past_row_node(m, i, &node);
		if (id_eq(&node.id, &r->c.self))
			continue;
		p = past_peer_of(r, &node.id);
		if (!p) /* what we know better stays */
			p = past_peer_add(r, &node);
		if (p)
			l.peer[l.count++] = p->number;
	}
	for (unsigned i = r->locateds; i-- > 0;)
		if (r->now_us >= r->located[i].until_us ||
		    in_range(&r->located[i].from, &l.from, &l.to))
			forget(r, i);
	if (r->locateds == PAST_LOCATED_MAX)
		forget(r, (unsigned)rng_below(&r->rng, r->locateds));
	l.until_us = r->now_us + LOCATED_US;
	r->located[r->locateds++] = l;
	r->unplaced = true;
}

void
past_locate_stale(struct replicas *r, const struct id *id)
{
	if (past_place_find(&r->place, id)->known)
		return;
	for (unsigned i = r->locateds; i-- > 0;)
		if (in_range(id, &r->located[i].from, &r->located[i].to))
			forget(r, i);
	r->stale = true;
	past_locate(r, id);
}

void
past_locate_timers(struct replicas *r)
{
	for (unsigned i = r->locatings; i-- > 0;) {
		struct past_locating *l = &r->locating[i];

		if (r->now_us < l->due_us) {
			past_wake(r, l->due_us);
			continue;
		}
		if (++l->tries >= PAST_TRIES) {
			*l = r->locating[--r->locatings];
			r->unplaced = true; /* who still waits asks again */
		} else
			ask(r, l);
	}
}
