/* replicas_exchange.c - anti-entropy, and what may go.
 *
 * Two nodes compare the ranges of ids that both hold: DIGEST has a sum over each
 * range.  Where it differs the other answers with the digests of the halves,
 * or, when few ids are left, with a LIST; who gets the list knows both sides,
 * offers what the other lacks, and asks (WANT) for what it lacks itself.
 *
 * Only the home of a range compares it with the others, so that each block
 * moves once: what the home lacks it asks of one, what another lacks it offers.
 * Every ANY_EVERY-th time a node compares with all, in case a home lies.
 *
 * What is not ours to hold any more is offered to each of its holders; only
 * when all have said that they have it, it goes to the trash.  What no lease
 * wants goes there too. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define LIST_IDS 256u /* ids on both sides together, when no longer halved */
#define ANY_EVERY 8u
#define DEFER_MAX 16u
#define EXPIRED_MAX 512u /* in one sweep's action */

_Static_assert(LIST_IDS <= REPLICA_BATCH_IDS, "a list fits its message");

/* ---- ranges ------------------------------------------------------------- */

void
past_range_digest(
    struct replicas *r, const struct id *owner, struct past_range *g)
{
	r->c.holdings.digest(
	    r->c.holdings.arg, owner, &g->from, &g->to, &g->sum, &g->count);
}

bool
past_range_halve(const struct past_range *g, struct past_range out[2])
{
	if (id_eq(&g->from, &g->to))
		return false;
	memset(out, 0, 2 * sizeof(*out));
	out[0].from = g->from;
	past_middle(&g->from, &g->to, &out[0].to);
	out[1].from = out[0].to;
	past_id_next(&out[1].from);
	out[1].to = g->to;
	return true;
}

struct ranges { /* of one message, sent as it fills */
	struct past_msg m;
	struct wr w;
	uint8_t rows[PAST_RANGES_MAX * PAST_RANGE_BYTES];
};

static void
ranges_init(struct ranges *g, uint8_t flags)
{
	memset(&g->m, 0, sizeof(g->m));
	g->m.kind = PAST_DIGEST;
	g->m.flags = flags;
	wr_init(&g->w, g->rows, sizeof(g->rows));
}

static void
ranges_send(struct replicas *r, const struct past_peer *p, struct ranges *g)
{
	g->m.bytes = g->rows;
	g->m.len = wr_len(&g->w);
	if (g->m.count)
		past_send(r, &p->node.id, &g->m);
	ranges_init(g, g->m.flags);
}

static void
ranges_add(struct replicas *r, const struct past_peer *p, struct ranges *g,
    const struct past_range *range)
{
	if (g->m.count == PAST_RANGES_MAX)
		ranges_send(r, p, g);
	past_write_range(&g->w, range);
	g->m.count++;
}

/* ---- comparing ---------------------------------------------------------- */

/* Whether a and b are both holders, and one of them the home (or any). */
static bool
shared(const struct past_place *p, const struct past_segment *s,
    const struct id *a, const struct id *b, bool any)
{
	unsigned found = 0;
	bool home = any;

	for (unsigned i = 0; s->known && i < s->count; i++) {
		const struct id *id = &p->node[s->node[i]].id;

		if (!id_eq(id, a) && !id_eq(id, b))
			continue;
		found++;
		home = home || i == 0;
	}
	return found == 2 && home;
}

static void
compare(struct replicas *r, struct past_peer *p)
{
	bool any = ++p->exchanges % ANY_EVERY == 0;
	struct past_place *place = &r->place;
	struct past_range g;
	struct ranges out;
	bool open = false;

	ranges_init(&out, any ? PAST_FLAG_ANY : 0);
	for (size_t i = 0; i < place->segments; i++) {
		struct past_segment *s = &place->segment[i];
		bool ours = shared(place, s, &r->c.self, &p->node.id, any) &&
			    (any || past_is_home(r, &s->from, NULL));

		if (ours && !open)
			g.from = s->from;
		open = ours;
		if (!ours)
			continue;
		past_segment_end(place, s, &g.to);
		if (i + 1 < place->segments &&
		    shared(place, s + 1, &r->c.self, &p->node.id, any) &&
		    (any || past_is_home(r, &s[1].from, NULL)))
			continue; /* one range with the next */
		past_range_digest(r, NULL, &g);
		ranges_add(r, p, &out, &g);
		open = false;
	}
	ranges_send(r, p, &out);
}

static void
list(struct replicas *r, const struct past_peer *p, uint8_t flags,
    const struct past_range *g)
{
	struct past_msg m = { .kind = PAST_LIST, .flags = flags };
	struct id ids[LIST_IDS], from = g->from, id;

	while (m.count < LIST_IDS &&
	       r->c.holdings.next(r->c.holdings.arg, NULL, &from, &id) &&
	       id_cmp(&id, &g->to) <= 0) {
		ids[m.count++] = from = id;
		if (!past_id_next(&from))
			break;
	}
	m.from = g->from;
	m.to = g->to;
	m.ids = ids;
	past_send(r, &p->node.id, &m);
}

void
past_exchange_digest(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	struct past_range theirs, ours, half[2];
	struct ranges out;

	ranges_init(&out, m->flags);
	for (size_t i = 0; i < m->count; i++) {
		past_row_range(m, i, &theirs);
		ours = theirs;
		past_range_digest(r, NULL, &ours);
		if (ours.sum == theirs.sum && ours.count == theirs.count)
			continue;
		/* A list holds what is here, the other's may be longer: what it
		 * has and we lack it sees itself. */
		if (ours.count <= LIST_IDS || !past_range_halve(&ours, half)) {
			list(r, p, m->flags, &ours);
			continue;
		}
		for (unsigned n = 0; n < 2; n++) {
			past_range_digest(r, NULL, &half[n]);
			ranges_add(r, p, &out, &half[n]);
		}
	}
	ranges_send(r, p, &out);
}

static void
offer(struct replicas *r, struct past_peer *p, const struct id *id, bool any)
{
	const struct past_segment *s = past_place_find(&r->place, id);

	if (shared(&r->place, s, &r->c.self, &p->node.id, any))
		past_queue(r, p, PAST_REPAIR, id);
}

static bool
lacking(struct replicas *r, struct past_peer *p, const struct id *id, bool any)
{
	const struct past_segment *s = past_place_find(&r->place, id);

	if (!shared(&r->place, s, &r->c.self, &p->node.id, any) ||
	    past_expected(r, id, NULL))
		return false;
	past_expect(r, id, &p->node.id);
	return true;
}

void
past_exchange_list(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	struct past_msg want = { .kind = PAST_WANT };
	struct id wanted[REPLICA_BATCH_IDS], from = m->from, id;
	bool any = m->flags & PAST_FLAG_ANY, mine;
	size_t i = 0;

	for (;;) {
		mine =
		    r->c.holdings.next(r->c.holdings.arg, NULL, &from, &id) &&
		    id_cmp(&id, &m->to) <= 0;
		for (; i < m->count && (!mine || id_cmp(&m->ids[i], &id) < 0);
		     i++)
			if (lacking(r, p, &m->ids[i], any))
				wanted[want.count++] = m->ids[i];
		if (!mine)
			break;
		if (i < m->count && id_eq(&m->ids[i], &id))
			i++;
		else
			offer(r, p, &id, any);
		from = id;
		if (!past_id_next(&from))
			break;
	}
	want.ids = wanted;
	if (want.count)
		past_send(r, &p->node.id, &want);
}

void
past_exchange_want(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (past_is_holder(r, &m->ids[i], &p->node.id) &&
		    r->c.holdings.role(r->c.holdings.arg, &m->ids[i]) >=
			REPLICA_KEPT)
			past_queue(r, p, PAST_REPAIR, &m->ids[i]);
}

/* ---- what may go -------------------------------------------------------- */

void
past_drop(struct replicas *r, const struct id *ids, size_t count)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_DROP };

	a.ids = ids;
	a.id_count = count;
	a.until_s = r->now_s + (int64_t)r->c.trash_s;
	if (count)
		past_act(r, &a); /* or the next sweep */
}

static void
sweep_expired(struct replicas *r)
{
	struct id ids[EXPIRED_MAX], id;
	size_t n = 0;

	while (n < EXPIRED_MAX && r->c.holdings.expired(r->c.holdings.arg,
				      r->now_s, &r->expire_from, &id)) {
		ids[n++] = r->expire_from = id;
		if (!past_id_next(&r->expire_from))
			break;
	}
	if (n < EXPIRED_MAX)
		memset(&r->expire_from, 0, sizeof(r->expire_from));
	else
		past_wake(r, r->sweep_us = r->now_us + r->c.answer_us);
	past_drop(r, ids, n);
}

static void
leave(struct replicas *r, const struct id *id)
{
	struct past_leaving *l;
	uint32_t near[3 * REPLICA_K_MAX];
	unsigned count, holders;
	bool self;

	if (!past_holders(r, id, 0, near, &count, &holders, &self) || self ||
	    holders == 0)
		return;
	if (!r->leaving)
		r->leaving = malloc(PAST_LEAVING_MAX * sizeof(*r->leaving));
	if (!r->leaving)
		return; /* the next sweep */
	l = &r->leaving[r->leavings];
	*l = (struct past_leaving){ .id = *id, .holders = holders };
	memcpy(l->peer, near, holders * sizeof(near[0]));
	r->leavings++;
	for (unsigned i = 0; i < holders; i++)
		past_queue(r, past_peer(r, near[i]), PAST_LEAVE, id);
}

/* Begins where the last sweep ended, so that it comes round to all. */
static void
sweep_leaving(struct replicas *r)
{
	struct id id;

	r->leavings = 0; /* who has not confirmed is asked again */
	free(r->leaving);
	r->leaving = NULL;
	while (r->leavings < PAST_LEAVING_MAX) {
		if (!r->c.holdings.next(
			r->c.holdings.arg, NULL, &r->leave_from, &id)) {
			memset(&r->leave_from, 0, sizeof(r->leave_from));
			return;
		}
		if (!past_is_holder(r, &id, NULL) &&
		    r->c.holdings.role(r->c.holdings.arg, &id) == REPLICA_KEPT)
			leave(r, &id);
		r->leave_from = id;
		if (!past_id_next(&r->leave_from))
			return;
	}
}

void
past_leave_held(
    struct replicas *r, const struct id *id, const struct past_peer *p)
{
	struct past_leaving *l = r->leaving;
	unsigned i = 0;

	while (l < r->leaving + r->leavings && !id_eq(&l->id, id))
		l++;
	if (l == r->leaving + r->leavings)
		return;
	while (i < l->holders && l->peer[i] != p->number)
		i++;
	if (i < l->holders)
		l->confirmed |= 1u << i;
	if (l->confirmed != (1u << l->holders) - 1)
		return;
	past_drop(r, id, 1);
	*l = r->leaving[--r->leavings];
	if (r->leavings == 0) /* on with the rest */
		past_wake(r, r->sweep_us = r->now_us + r->c.answer_us / 4);
}

/* ---- when --------------------------------------------------------------- */

void
past_exchange_soon(struct replicas *r)
{
	for (unsigned i = 0; i < r->peers; i++) {
		struct past_peer *p = r->peer[i];
		uint64_t at = r->now_us + past_jitter(r, r->c.answer_us);

		if (!p->leaf)
			p->exchange_us = PAST_NEVER;
		else if (p->exchange_us > at)
			p->exchange_us = at;
		past_wake(r, p->exchange_us);
	}
	/* Not before the homes had time to offer. */
	r->sweep_us = r->now_us + 8 * r->c.answer_us;
	past_wake(r, r->sweep_us);
}

void
past_exchange_timers(struct replicas *r)
{
	for (unsigned i = 0; i < r->peers; i++) {
		struct past_peer *p = r->peer[i];

		if (r->now_us < p->exchange_us) {
			past_wake(r, p->exchange_us);
			continue;
		}
		p->exchange_us = r->now_us + past_jitter(r, r->c.exchange_us);
		/* What is going there would be found to differ; but who always
		 * sends must compare as well. */
		if ((p->flying || p->queue[PAST_REPAIR].count) &&
		    p->deferred++ < DEFER_MAX)
			p->exchange_us =
			    r->now_us + past_jitter(r, r->c.answer_us);
		else {
			p->deferred = 0;
			compare(r, p);
			past_head_exchange(r, p);
		}
		past_wake(r, p->exchange_us);
	}
	if (r->now_us >= r->sweep_us) {
		r->sweep_us = r->now_us + past_jitter(r, r->c.exchange_us);
		sweep_expired(r);
		sweep_leaving(r);
	}
	past_wake(r, r->sweep_us);
}
