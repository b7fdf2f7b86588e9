/* Joining: contacts, our place, ready or not; and leaving.
 *
 *   NEW      no event yet; a TIMER without a contact makes a ring of one
 *   SEEKING  JOIN goes by way of one contact after another towards our own
 *            id; those that pass it on send us rows of their tables, the home
 *            its leaf set
 *   PROBING  every node that is or would be in our leaf set is asked for its
 *            own, and comes to know of us by that; until all have answered or
 *            are dead
 *   JOINED   leases are asked for; with both we are ready
 *
 * Who was never ready becomes so only if a member of its leaf set says that it
 * is: else a few that join at once, and know only each other, could build an
 * island in the middle of a ring.  If none is for ORPHAN_US (the whole ring
 * was started at once) it goes on without.
 *
 * Who was given contacts and reaches none is not ready, however long it lasts:
 * somewhere they may be a ring, and claim what we would.  When the last contact
 * is revoked, we are alone indeed. */
#include "overlay/node_private.h"

#include <assert.h>

#define SEEK_US (2 * NODE_SECOND)
#define SEEK_MAX_US (30 * NODE_SECOND)
#define SEEK_FAILED_US (500 * NODE_MS)

static bool
has_id(const struct peer *p)
{
	static const struct id zero;

	return !id_eq(&p->id, &zero);
}

/* ---- contacts ----------------------------------------------------------- */

static void
send_join(struct node *n, const struct peer *p, const struct peer *origin,
    unsigned hops, unsigned tries)
{
	struct msg_route m = {
		.service = SERVICE_JOIN,
		.hops = (uint8_t)hops,
		.tries = (uint8_t)tries,
		.nonce = node_nonce(n),
		.request = node_nonce(n),
		.key = origin->id,
		.origin = *origin,
	};
	uint8_t frame[256];
	size_t len;

	if (!msg_route_encode(&m, frame, sizeof(frame), &len))
		assert(!"a request to join fits");
	out_frame(n, p, frame, len);
}

static void
join_through(struct node *n, const struct peer *p)
{
	send_join(n, p, &n->config.self, 1, n->seeks < 200 ? n->seeks : 200);
}

bool
join_ask_place(struct node *n)
{
	unsigned count = routing_table_count(n->table);

	if (count == 0)
		return false;
	count = (unsigned)rng_below(&n->rng, count);
	for (unsigned r = 0; r < routing_table_rows(n->table); r++) {
		for (unsigned d = 0; d < ID_BASE; d++) {
			const struct routing_entry *e =
			    routing_table_cell(n->table, r, d);

			if (!e || count-- != 0)
				continue;
			if (known_is_usable(n, &e->peer.id))
				send_join(n, &e->peer, &n->config.self, 1,
				    JOIN_PLACE_ONLY);
			return true;
		}
	}
	return false;
}

static bool
same_place(const struct contact *c, const struct peer *p)
{
	if (c->has_id && has_id(p))
		return id_eq(&c->peer.id, &p->id);
	return net_addr_eq(&c->peer.addr, &p->addr);
}

void
join_contact(struct node *n, const struct peer *p)
{
	bool there = id_eq(&p->id, &n->config.self.id);

	for (unsigned i = 0; i < n->contact_n && !there; i++)
		there = same_place(&n->contact[i], p);
	if (!there && n->contact_n < NODE_CONTACTS_MAX)
		n->contact[n->contact_n++] =
		    (struct contact){ .peer = *p, .has_id = has_id(p) };
	if (n->stage == STAGE_NEW && n->contact_n) {
		n->stage = STAGE_SEEKING;
		n->orphan_us = n->now_us + node_jitter(n, ORPHAN_US);
		n->seek_us = n->now_us;
	} else if (n->stage == STAGE_JOINED && !there) {
		/* Perhaps another part of our ring: our place in it. */
		if (has_id(p))
			join_through(n, p);
		else
			out_act(n, NODE_ACT_CONNECT, p);
	}
}

static void
seek(struct node *n)
{
	unsigned doubled = n->seeks / (n->contact_n ? n->contact_n : 1);
	const struct contact *c;

	if (n->contact_n == 0)
		return;
	c = &n->contact[n->contact_at++ % n->contact_n];
	if (c->has_id)
		join_through(n, &c->peer);
	else
		out_act(n, NODE_ACT_CONNECT, &c->peer);
	n->seek_us =
	    n->now_us +
	    node_jitter(
		n, min_us(SEEK_US << (doubled < 4 ? doubled : 4), SEEK_MAX_US));
	n->seeks++;
	n->counters.joins++;
}

static bool
is_seeking(const struct node *n)
{
	if (n->contact_n == 0 || n->stage == STAGE_LEFT)
		return false;
	return n->stage == STAGE_SEEKING ||
	       (n->stage == STAGE_JOINED &&
		   (!n->ready || leaf_set_count(n->leaves) == 0));
}

static void
hello(struct node *n, const struct peer *p)
{
	struct msg_hello m = {
		.self = n->config.self,
		.boot = n->config.boot,
	};
	uint8_t frame[256];
	size_t len;

	if (!msg_hello_encode(&m, frame, sizeof(frame), &len))
		assert(!"a hello fits");
	out_frame_direct(n, p, frame, len);
}

void
join_link_up(struct node *n, const struct peer *p)
{
	struct known *k = known_find(n, &p->id);

	if (!has_id(p) || id_eq(&p->id, &n->config.self.id))
		return;
	hello(n, p);
	for (unsigned i = 0; i < n->contact_n; i++) {
		struct contact *c = &n->contact[i];

		if (c->has_id || !same_place(c, p))
			continue;
		c->peer.id = p->id;
		c->has_id = true;
		if (n->stage == STAGE_SEEKING || n->stage == STAGE_JOINED)
			join_through(n, p);
	}
	if (k && k->dead_us && !k->gone)
		known_probe(n, k);
}

void
join_link_failed(struct node *n, const struct peer *p)
{
	struct known *k = known_find(n, &p->id);

	if (is_seeking(n) && n->contact_at) {
		const struct contact *c =
		    &n->contact[(n->contact_at - 1) % n->contact_n];

		if (same_place(c, p)) /* the next one, soon */
			n->seek_us = min_us(n->seek_us,
			    n->now_us + node_jitter(n, SEEK_FAILED_US));
	}
	if (!k || k->dead_us || relay_detour(n, &k->peer.id))
		return; /* or it is known, and gone round */
	known_suspect(n, k);
	/* Through others at once: waiting brings nothing. */
	if (k->tries == 0)
		k->due_us = min_us(k->due_us,
		    n->now_us + node_jitter(n, n->config.probe_wait_us / 4));
}

/* ---- others that join --------------------------------------------------- */

void
join_pass(struct node *n, const struct transit *t, bool home)
{
	const struct peer *origin = &t->origin;
	unsigned row = id_shared_digits(&n->config.self.id, &origin->id);

	if (row == ID_DIGITS)
		return; /* our own, come round */
	if (routing_table_count(n->table) && t->tries != JOIN_PLACE_ONLY)
		table_send(n, origin, row, false, CELLS_ASK_NONE, 0);
	if (!home)
		return;
	leaves_send(n, origin, false, 0);
	/* It asks again: perhaps we and it can not reach each other.  One of
	 * our leaves shall answer; out of hops, it will. */
	if (t->tries >= 2 && t->hops < ROUTE_HOPS_MAX &&
	    leaf_set_count(n->leaves)) {
		const struct peer *p = leaf_set_member(n->leaves,
		    (unsigned)rng_below(&n->rng, leaf_set_count(n->leaves)));

		if (!id_eq(&p->id, &origin->id))
			send_join(
			    n, p, origin, ROUTE_HOPS_MAX, JOIN_PLACE_ONLY);
	}
}

/* ---- stages ------------------------------------------------------------- */

void
join_start(struct node *n)
{
	assert(n->stage == STAGE_NEW);
	n->stage = STAGE_JOINED; /* a ring of one */
	n->joined_us = n->now_us;
	n->was_ready = true;
}

/* Is the answer of one outstanding that is or would be a leaf? */
static bool
is_waiting_for_leaves(const struct node *n)
{
	for (unsigned i = 0; i < n->known_n; i++) {
		const struct known *k = n->known[i];

		if (!k->probing || k->dead_us)
			continue;
		if (k->candidate && leaf_set_wants(n->leaves, &k->peer.id))
			return true;
		if (leaf_set_find(n->leaves, &k->peer.id))
			return true;
	}
	return false;
}

static bool
has_ready_leaf(struct node *n)
{
	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++) {
		const struct known *k =
		    known_find(n, &leaf_set_member(n->leaves, i)->id);

		if (k && k->ready)
			return true;
	}
	return false;
}

static bool
may_be_ready(struct node *n)
{
	if (n->stage != STAGE_JOINED)
		return false;
	if (leaf_set_count(n->leaves) == 0) {
		n->claimless_us = 0;
		return lease_no_ghosts(n, n->now_us);
	}
	if (lease_held(n, SIDE_LEFT, n->now_us) &&
	    lease_held(n, SIDE_RIGHT, n->now_us)) {
		n->claimless_us = 0;
		return n->ready || (!is_waiting_for_leaves(n) &&
				       (n->was_ready || has_ready_leaf(n) ||
					   n->now_us >= n->orphan_us));
	}
	if (!n->ready)
		return false;
	if (lease_held(n, SIDE_LEFT, n->now_us) ||
	    lease_held(n, SIDE_RIGHT, n->now_us)) {
		n->claimless_us = 0;
		return true;
	}
	if (n->claimless_us == 0)
		n->claimless_us = n->now_us;
	return n->now_us - n->claimless_us < n->config.lease_us;
}

static void
set_ready(struct node *n, bool ready)
{
	if (n->ready == ready)
		return;
	n->ready = ready;
	n->was_ready |= ready;
	n->claimless_us = 0;
	n->recheck = true;
	if (ready)
		n->seeks = 0;
	else if (is_seeking(n))
		n->seek_us = n->now_us + node_jitter(n, SEEK_US);
	out_act(n, ready ? NODE_ACT_READY : NODE_ACT_UNREADY, NULL);
}

void
join_check(struct node *n)
{
	if (n->stage == STAGE_SEEKING && n->contact_n == 0) {
		n->stage = STAGE_JOINED; /* all of them revoked: alone */
		n->joined_us = n->now_us;
	}
	if (n->stage == STAGE_JOINED && !n->was_ready && n->contact_n &&
	    leaf_set_count(n->leaves) == 0)
		n->stage = STAGE_SEEKING; /* they died before we were in */
	if (n->stage == STAGE_PROBING && !is_waiting_for_leaves(n)) {
		if (leaf_set_count(n->leaves)) {
			n->stage = STAGE_JOINED;
			n->joined_us = n->now_us;
			n->seek_us = n->now_us + node_jitter(n, SEEK_US);
			lease_timers(n);
		} else {
			n->stage = STAGE_SEEKING;
			n->seek_us = n->now_us + node_jitter(n, SEEK_FAILED_US);
		}
	}
	set_ready(n, may_be_ready(n));
}

void
join_timers(struct node *n)
{
	if (is_seeking(n) && n->seek_us <= n->now_us)
		seek(n);
}

uint64_t
join_deadline(const struct node *n)
{
	uint64_t at = NEVER;

	if (is_seeking(n))
		at = min_us(at, n->seek_us);
	if (n->stage != STAGE_LEFT && !n->was_ready)
		at =
		    min_us(at, n->orphan_us > n->now_us ? n->orphan_us : NEVER);
	if (n->claimless_us)
		at = min_us(at, n->claimless_us + n->config.lease_us);
	return at;
}

/* What the others did meanwhile is unknown: nothing is ours till they say so
 * anew. */
void
join_slept(struct node *n)
{
	lease_void(n);
	set_ready(n, false);
	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++) {
		struct known *k = known_get(n, leaf_set_member(n->leaves, i));

		if (!k)
			continue;
		k->probing = false; /* its time passed while we slept */
		k->candidate = true;
		known_probe(n, k);
	}
}

void
join_leave(struct node *n)
{
	if (n->stage == STAGE_LEFT)
		return;
	set_ready(n, false);
	n->stage = STAGE_LEFT;
	lease_void(n);
	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++)
		leaves_send(n, leaf_set_member(n->leaves, i), false, 0);
}
