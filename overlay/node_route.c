/* ROUTE at one hop: where next, acks, going round, holding.
 *
 * A request that was accepted is acked and is ours until the next hop acks.
 * Every hop is nearer to the key or shares a longer prefix with it, so none
 * comes back, whoever is suspected.  One that does not ack in the time that
 * its round trips suggest is suspected and gone round (Castro et al.,
 * section 3.2), except the last hop, for which there is no other: it is sent
 * the same again first.
 *
 * Nobody nearer that answers, and yet no lease: the request waits here until
 * the suspect speaks, or is dead and its leases have ended.  It is never
 * delivered on the chance that we are right. */
#include "overlay/node_private.h"

#include <assert.h>
#include <stdlib.h>

/* A held request is looked at when something changed, and now and then. */
#define HELD_LOOK_US (500 * NODE_MS)
/* After that its origin has sent another, or given up. */
#define HELD_MAX_US (30 * NODE_SECOND)
#define PASSING_MAX_US (10 * NODE_SECOND)
#define ROUTE_HEAD_MAX 256u

/* ---- the next hop ------------------------------------------------------- */

static bool
is_open(struct node *n, const struct transit *t, const struct id *id)
{
	if (t->service == SERVICE_JOIN && id_eq(id, &t->origin.id))
		return false; /* it asks who else is there */
	for (unsigned i = 0; i < t->tried_n; i++)
		if (id_eq(&t->tried[i], id))
			return false;
	return known_is_usable(n, id);
}

/* The nearest to the key of the leaf set that is open and nearer than us. */
static const struct peer *
nearest_leaf(struct node *n, const struct transit *t)
{
	const struct peer *best = leaf_set_nearest(n->leaves, &t->key);
	const struct id *nearest = &n->config.self.id;

	if (!best || is_open(n, t, &best->id))
		return best;
	best = NULL;
	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++) {
		const struct peer *p = leaf_set_member(n->leaves, i);

		if (id_nearer(&t->key, &p->id, nearest) &&
		    is_open(n, t, &p->id)) {
			nearest = &p->id;
			best = p;
		}
	}
	return best;
}

/* Pastry's rare case: of all in the table that share at least as long a
 * prefix and are nearer, the best that is open. */
static const struct peer *
nearest_cell(struct node *n, const struct transit *t, unsigned shared)
{
	const struct id *nearest = &n->config.self.id;
	const struct peer *best = NULL;

	for (unsigned r = shared; r < routing_table_rows(n->table); r++) {
		for (unsigned d = 0; d < ID_BASE; d++) {
			const struct routing_entry *e =
			    routing_table_cell(n->table, r, d);

			if (e && id_nearer(&t->key, &e->peer.id, nearest) &&
			    is_open(n, t, &e->peer.id)) {
				nearest = &e->peer.id;
				best = &e->peer;
			}
		}
	}
	return best;
}

/* The leaf that shares most with the key, if that is more than we do. */
static const struct peer *
leaf_beyond(struct node *n, const struct transit *t, unsigned shared)
{
	const struct peer *best = NULL;

	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++) {
		const struct peer *p = leaf_set_member(n->leaves, i);
		unsigned more = id_shared_digits(&p->id, &t->key);

		if (more > shared && is_open(n, t, &p->id)) {
			shared = more;
			best = p;
		}
	}
	return best;
}

/* NULL: nobody but us. */
static const struct peer *
next_hop(struct node *n, const struct transit *t)
{
	unsigned shared = id_shared_digits(&n->config.self.id, &t->key);
	const struct peer *leaf = nearest_leaf(n, t), *cell;
	const struct routing_entry *e;

	if (leaf_set_covers(n->leaves, &t->key)) {
		if (!leaf_set_is_whole_ring(n->leaves) || !leaf)
			return leaf;
		/* A large ring's set that lost a member looks like a whole
		 * small ring: the table may know better. */
		cell = nearest_cell(n, t, shared);
		return cell && id_nearer(&t->key, &cell->id, &leaf->id) ? cell
									: leaf;
	}
	e = routing_table_next(n->table, &t->key);
	if (e && !is_open(n, t, &e->peer.id))
		e = NULL;
	/* Leaves need no cell, and yet may be what it would hold, or lead
	 * further. */
	cell = leaf_beyond(
	    n, t, e ? id_shared_digits(&e->peer.id, &t->key) : shared);
	if (cell)
		return cell;
	if (e)
		return &e->peer;
	cell = nearest_cell(n, t, shared);
	if (!cell || (leaf && id_shared_digits(&leaf->id, &t->key) >= shared &&
			 id_nearer(&t->key, &leaf->id, &cell->id)))
		cell = leaf;
	if (cell)
		table_ask_row(n, &t->key, cell);
	return cell;
}

/* ---- requests at this hop ----------------------------------------------- */

static struct transit *
transit_new(struct node *n, const struct msg_route *m, const struct peer *from)
{
	struct transit *t;

	if (n->transit_n == TRANSITS_MAX ||
	    n->transit_bytes + m->payload_len > TRANSIT_BYTES_MAX)
		return NULL;
	if (n->transit_n == n->transit_cap) {
		unsigned cap = n->transit_cap ? 2 * n->transit_cap : 4;
		void *more = realloc(n->transit, cap * sizeof(n->transit[0]));

		if (!more)
			return NULL;
		n->transit = more;
		n->transit_cap = cap;
	}
	t = calloc(1, sizeof(*t) + m->payload_len);
	if (!t)
		return NULL;
	t->service = m->service;
	t->hops = m->hops;
	t->tries = m->tries;
	t->request = m->request;
	t->key = m->key;
	t->origin = m->origin;
	t->from = *from;
	t->due_us = n->now_us;
	t->end_us = n->now_us + PASSING_MAX_US;
	t->len = m->payload_len;
	if (t->len)
		memcpy(t->payload, m->payload, t->len);
	n->transit[n->transit_n++] = t;
	n->transit_bytes += t->len;
	return t;
}

static void
transit_free(struct node *n, unsigned at)
{
	n->transit_bytes -= n->transit[at]->len;
	free(n->transit[at]);
	n->transit_n--;
	memmove(n->transit + at, n->transit + at + 1,
	    (n->transit_n - at) * sizeof(n->transit[0]));
	if (n->transit_n == 0) {
		free(n->transit);
		n->transit = NULL;
		n->transit_cap = 0;
	}
}

void
route_free(struct node *n)
{
	while (n->transit_n)
		transit_free(n, n->transit_n - 1);
}

static struct transit *
transit_find(struct node *n, const struct id *origin, uint64_t request)
{
	for (unsigned i = 0; i < n->transit_n; i++)
		if (n->transit[i]->request == request &&
		    id_eq(&n->transit[i]->origin.id, origin))
			return n->transit[i];
	return NULL;
}

static void
transit_send(struct node *n, struct transit *t, const struct peer *to)
{
	struct msg_route m = {
		.service = t->service,
		.hops = (uint8_t)(t->hops + 1),
		.tries = t->tries,
		.nonce = t->nonce,
		.request = t->request,
		.key = t->key,
		.origin = t->origin,
		.payload = t->payload,
		.payload_len = t->len,
	};
	size_t cap = ROUTE_HEAD_MAX + t->len, len;
	uint8_t *frame;

	if (cap > FRAME_MAX)
		cap = FRAME_MAX;
	frame = malloc(cap);
	if (!frame)
		return; /* like lost: the ack will not come */
	if (msg_route_encode(&m, frame, cap, &len))
		out_frame(n, to, frame, len);
	free(frame);
	t->sent_us = n->now_us;
	t->due_us = n->now_us + (known_ack_wait(n, &to->id) << t->resent);
}

/* True: it is done with, and is to be freed. */
static bool
transit_step(struct node *n, struct transit *t)
{
	const struct peer *next;
	bool join = t->service == SERVICE_JOIN;

	next = t->hops < ROUTE_HOPS_MAX ? next_hop(n, t) : NULL;
	if (next) {
		struct peer to = *next; /* asking may move what it points to */

		if (join)
			join_pass(n, t, false);
		t->held = false;
		t->nonce = node_nonce(n);
		t->to = to.id;
		t->resent = 0;
		n->counters.routed++;
		transit_send(n, t, &to);
		return false;
	}
	if (join) {
		join_pass(n, t, true);
		return true;
	}
	if (t->hops >= ROUTE_HOPS_MAX && leaf_set_nearest(n->leaves, &t->key))
		return true; /* it went in circles: the origin tries again */
	if (node_is_home(n, &t->key, n->now_us)) {
		request_deliver(n, t);
		return true;
	}
	if (!t->held) {
		t->held = true;
		t->end_us = n->now_us + HELD_MAX_US;
	}
	t->tried_n = 0; /* whoever failed may be well again */
	t->due_us = n->now_us + node_jitter(n, HELD_LOOK_US);
	return n->now_us >= t->end_us;
}

/* Take it in.  False: no room, so that no ack may be sent. */
static bool
accept(struct node *n, const struct msg_route *m, const struct peer *from)
{
	struct transit *t = transit_find(n, &m->origin.id, m->request);

	if (t && t->tries >= m->tries)
		return true; /* the same again: it is here already */
	if (t) {
		/* The origin's next try: start afresh. */
		t->tries = m->tries;
		t->hops = m->hops;
		if (!t->held)
			t->end_us = n->now_us + PASSING_MAX_US;
		return true;
	}
	t = transit_new(n, m, from);
	if (!t)
		return false;
	if (transit_step(n, t))
		transit_free(n, n->transit_n - 1);
	return true;
}

bool
route_begin(struct node *n, const struct request *r)
{
	struct msg_route m = {
		.service = r->service,
		.tries = r->tries,
		.request = r->request,
		.key = r->key,
		.origin = n->config.self,
		.payload = r->payload,
		.payload_len = r->len,
	};

	return accept(n, &m, &n->config.self);
}

void
route_end(struct node *n, uint64_t request)
{
	for (unsigned i = n->transit_n; i--;)
		if (n->transit[i]->request == request &&
		    id_eq(&n->transit[i]->origin.id, &n->config.self.id))
			transit_free(n, i);
}

/* ---- frames ------------------------------------------------------------- */

enum err
route_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_route_ack ack;
	struct msg_route m;
	uint8_t answer[32];
	size_t used;
	enum err e = msg_route_decode(frame, len, &m);

	if (e)
		return e;
	/* The first hop is told by the origin itself. */
	if (m.hops == 0 || m.hops > ROUTE_HOPS_MAX ||
	    (m.hops == 1 && !id_eq(&m.origin.id, &o->peer.id)))
		return ERR_MALFORMED;
	if (m.service == SERVICE_JOIN && m.payload_len)
		return ERR_MALFORMED;
	node_heard(n, o);
	if (m.service == SERVICE_JOIN &&
	    id_eq(&m.origin.id, &n->config.self.id))
		return OK; /* our own: an old table led it back */
	if (!accept(n, &m, &o->peer))
		return OK;
	ack.nonce = m.nonce;
	if (!msg_route_ack_encode(&ack, answer, sizeof(answer), &used))
		assert(!"an ack fits");
	out_reply(n, o, answer, used);
	if (!o->relayed)
		table_learn(n, &o->peer);
	return OK;
}

enum err
route_acked(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_route_ack m;
	enum err e = msg_route_ack_decode(frame, len, &m);

	if (e)
		return e;
	node_heard(n, o);
	for (unsigned i = 0; i < n->transit_n; i++) {
		struct transit *t = n->transit[i];
		struct known *k;

		if (t->held || t->nonce == 0 || t->nonce != m.nonce ||
		    !id_eq(&t->to, &o->peer.id))
			continue;
		k = known_get(n, &o->peer);
		if (k && t->resent == 0 && !o->relayed)
			known_rtt(n, k, n->now_us - t->sent_us);
		if (k && o->relayed)
			known_answered(n, k, 0, false);
		transit_free(n, i);
		break;
	}
	return OK;
}

/* ---- time --------------------------------------------------------------- */

/* No ack.  True: done with. */
static bool
unanswered(struct node *n, struct transit *t)
{
	struct peer to = { .id = t->to };
	const struct peer *last = leaf_set_nearest(n->leaves, &t->key);
	const struct peer *leaf = leaf_set_find(n->leaves, &t->to);
	const struct routing_entry *e = routing_table_find(n->table, &t->to);
	struct known *k;

	if (leaf)
		to = *leaf;
	else if (e)
		to = e->peer;
	k = known_get(n, &to);
	if (k && t->resent < TRANSIT_RESEND_MAX && !k->dead_us && last &&
	    id_eq(&last->id, &to.id)) {
		if (t->resent)
			known_suspect(n, k);
		else
			known_probe(n, k);
		t->resent++;
		transit_send(n, t, &to);
		return false;
	}
	if (k)
		known_suspect(n, k);
	n->counters.rerouted++;
	if (t->tried_n < TRANSIT_TRIED_MAX)
		t->tried[t->tried_n++] = t->to;
	else
		return true;
	return n->now_us >= t->end_us || transit_step(n, t);
}

/* Where there is another way, take it now. */
void
route_avoid(struct node *n, const struct id *id)
{
	for (unsigned i = 0; i < n->transit_n; i++) {
		struct transit *t = n->transit[i];
		const struct peer *last = leaf_set_nearest(n->leaves, &t->key);

		if (!t->held && id_eq(&t->to, id) &&
		    !(last && id_eq(&last->id, id))) {
			t->resent = TRANSIT_RESEND_MAX;
			t->due_us = n->now_us + 1; /* not in this step */
		}
	}
}

void
route_check(struct node *n)
{
	for (unsigned i = 0; i < n->transit_n;) {
		if (n->transit[i]->held && transit_step(n, n->transit[i]))
			transit_free(n, i);
		else
			i++;
	}
}

void
route_timers(struct node *n)
{
	for (unsigned i = 0; i < n->transit_n;) {
		struct transit *t = n->transit[i];
		bool done = false;

		if (t->due_us <= n->now_us)
			done = t->held ? transit_step(n, t) : unanswered(n, t);
		if (done)
			transit_free(n, i);
		else
			i++;
	}
}

uint64_t
route_deadline(const struct node *n)
{
	uint64_t at = NEVER;

	for (unsigned i = 0; i < n->transit_n; i++)
		at = min_us(at, n->transit[i]->due_us);
	return at;
}
