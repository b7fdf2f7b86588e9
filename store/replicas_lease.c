/* replicas_lease.c - an owner renews what its logs still reach: LEASE, LEASED.
 *
 * For each holder, the digests of the own ids in the ranges it holds.  A holder
 * that has a lease of ours on just these renews them all; where it differs
 * (something was deleted, or is missing there) the range is halved, and at
 * last its ids go one by one through HAVE, which leases what is there and puts
 * what is not.  So renewal finds what was lost, too.
 *
 * Ids beyond the leaf set are renewed as if they were inserted again: their
 * holders have to be found first. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define ROUNDS INT64_C(4) /* in the time of a lease */
#define CLOCK_SLACK_S INT64_C(86400)
#define ONE_BY_ONE REPLICA_BATCH_IDS

struct past_renewal { /* a question */
	struct past_renewal *next;
	uint64_t nonce, due_us;
	uint32_t peer;
	unsigned tries;
	size_t count;
	struct past_range range[PAST_RANGES_MAX];
};

int64_t
past_lease_until(const struct replicas *r, int64_t asked_s)
{
	int64_t most = r->now_s + (int64_t)r->c.lease_s + CLOCK_SLACK_S;

	return asked_s < most ? asked_s : most;
}

/* ---- the holder --------------------------------------------------------- */

/* All that `peer` has a lease on in the range.  False: out of memory. */
static bool
renew(struct replicas *r, const struct id *peer, const struct past_range *g,
    int64_t until_s)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_LEASE };
	struct id ids[ONE_BY_ONE], from = g->from, id;
	bool more = true;

	a.peer = *peer;
	a.until_s = until_s;
	a.ids = ids;
	while (more) {
		more =
		    r->c.holdings.next(r->c.holdings.arg, peer, &from, &id) &&
		    id_cmp(&id, &g->to) <= 0;
		if (more) {
			ids[a.id_count++] = from = id;
			more = past_id_next(&from);
		}
		if (a.id_count == ONE_BY_ONE || (!more && a.id_count)) {
			if (!past_act(r, &a))
				return false;
			a.id_count = 0;
		}
	}
	return true;
}

void
past_lease_asked(
    struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	struct past_msg out = { .kind = PAST_LEASED, .nonce = m->nonce };
	uint8_t same[PAST_RANGES_MAX];
	struct past_range g, ours;

	for (size_t i = 0; i < m->count; i++) {
		past_row_range(m, i, &g);
		ours = g;
		past_range_digest(r, peer, &ours);
		same[i] = ours.count == g.count && ours.sum == g.sum &&
			  renew(r, peer, &g, past_lease_until(r, m->until_s));
	}
	out.count = out.len = m->count;
	out.bytes = same;
	past_send(r, peer, &out);
}

/* ---- the owner ---------------------------------------------------------- */

static void
ask(struct replicas *r, struct past_renewal *n, const struct past_peer *p)
{
	struct past_msg m = { .kind = PAST_LEASE };
	uint8_t rows[PAST_RANGES_MAX * PAST_RANGE_BYTES];
	struct wr w;

	n->nonce = past_number(r);
	n->due_us = r->now_us + r->c.answer_us;
	past_wake(r, n->due_us);
	wr_init(&w, rows, sizeof(rows));
	for (size_t i = 0; i < n->count; i++)
		past_write_range(&w, &n->range[i]);
	m.nonce = n->nonce;
	m.until_s = r->now_s + (int64_t)r->c.lease_s;
	m.count = n->count;
	m.bytes = rows;
	m.len = wr_len(&w);
	past_send(r, &p->node.id, &m);
}

/* Into the question that is being made for a peer, or a new one. */
static void
add(struct replicas *r, struct past_renewal **open, const struct past_peer *p,
    struct past_range *g)
{
	past_range_digest(r, &r->c.self, g);
	if (g->count == 0)
		return;
	if (*open && (*open)->count == PAST_RANGES_MAX) {
		ask(r, *open, p);
		*open = NULL;
	}
	if (!*open) {
		*open = calloc(1, sizeof(**open));
		if (!*open)
			return; /* the next round has it */
		(*open)->peer = p->number;
		(*open)->next = r->renewals;
		r->renewals = *open;
	}
	(*open)->range[(*open)->count++] = *g;
}

static void
one_by_one(struct replicas *r, struct past_peer *p, const struct past_range *g)
{
	struct id from = g->from, id;

	while (r->c.holdings.next(r->c.holdings.arg, &r->c.self, &from, &id) &&
	       id_cmp(&id, &g->to) <= 0) {
		past_queue(r, p, PAST_RENEW, &id);
		from = id;
		if (!past_id_next(&from))
			break;
	}
}

static struct past_renewal **
find(struct replicas *r, const struct past_peer *p, uint64_t nonce)
{
	struct past_renewal **at = &r->renewals;

	while (*at && ((*at)->nonce != nonce || (*at)->peer != p->number))
		at = &(*at)->next;
	return at;
}

void
past_lease_answered(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	struct past_renewal **at = find(r, p, m->nonce), *n = *at;
	struct past_renewal *open = NULL;
	struct past_range half[2];

	if (!n || n->count != m->count) {
		r->counters.unasked++;
		return;
	}
	past_peer_answered(p);
	*at = n->next;
	for (size_t i = 0; i < m->count; i++) {
		if (m->bytes[i])
			continue;
		if (n->range[i].count <= ONE_BY_ONE ||
		    !past_range_halve(&n->range[i], half)) {
			one_by_one(r, p, &n->range[i]);
			continue;
		}
		add(r, &open, p, &half[0]);
		add(r, &open, p, &half[1]);
	}
	if (open)
		ask(r, open, p);
	free(n);
}

static void
renew_near(struct replicas *r, struct past_peer *p)
{
	struct past_renewal *open = NULL;
	struct past_range g;

	for (size_t i = 0; i < r->place.segments; i++) {
		struct past_segment *s = &r->place.segment[i];

		if (!past_is_holder(r, &s->from, &p->node.id))
			continue;
		g.from = s->from;
		past_segment_end(&r->place, s, &g.to);
		add(r, &open, p, &g);
	}
	if (open)
		ask(r, open, p);
}

static void
renew_far(struct replicas *r)
{
	for (size_t i = 0; i < r->place.segments; i++) {
		struct past_segment *s = &r->place.segment[i];
		struct id from = s->from, to, id;

		past_segment_end(&r->place, s, &to);
		while (!s->known &&
		       r->c.holdings.next(
			   r->c.holdings.arg, &r->c.self, &from, &id) &&
		       id_cmp(&id, &to) <= 0) {
			if (past_insert_own(r, &id, 1, true))
				return; /* full; the next round has the rest */
			from = id;
			if (!past_id_next(&from))
				break;
		}
	}
}

void
past_lease_timers(struct replicas *r)
{
	uint64_t every = r->c.lease_s / (uint64_t)ROUNDS * PAST_SECOND;
	struct past_renewal **at = &r->renewals;

	while (*at) {
		struct past_renewal *n = *at;
		struct past_peer *p = past_peer(r, n->peer);

		if (r->now_us < n->due_us) {
			past_wake(r, n->due_us);
		} else if (p && ++n->tries < PAST_TRIES) {
			ask(r, n, p);
		} else { /* sooner than the next round */
			if (p)
				past_peer_failed(r, p);
			if (r->renew_us > r->now_us + every / 8)
				r->renew_us = r->now_us + every / 8;
			*at = n->next;
			free(n);
			continue;
		}
		at = &n->next;
	}
	/* The first round is soon: how long we were away nobody knows. */
	if (r->renew_us == PAST_NEVER)
		r->renew_us =
		    r->now_us + past_jitter(r, r->c.exchange_us < every
						   ? r->c.exchange_us
						   : every);
	if (r->now_us >= r->renew_us) {
		r->renew_us = r->now_us + past_jitter(r, every);
		for (unsigned i = 0; i < r->peers; i++)
			if (r->peer[i]->leaf)
				renew_near(r, r->peer[i]);
		renew_far(r);
	}
	past_wake(r, r->renew_us);
}

void
past_lease_forget(struct replicas *r, uint32_t peer)
{
	struct past_renewal **at = &r->renewals;

	while (*at) {
		struct past_renewal *n = *at;

		if (n->peer != peer) {
			at = &n->next;
			continue;
		}
		*at = n->next;
		free(n);
	}
}

void
past_lease_fini(struct replicas *r)
{
	while (r->renewals) {
		struct past_renewal *next = r->renewals->next;

		free(r->renewals);
		r->renewals = next;
	}
}
