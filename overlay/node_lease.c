/* BEAT: leases on key ranges, and whose a key is.
 *
 * Between us and each neighbour lies a gap.  To claim the keys on our side of
 * its middle we need the neighbour's lease on that gap, and it gives one to
 * one node at a time: the node that it takes for its neighbour there.  So of
 * the nodes on one side of it only one can claim up to the middle with its
 * lease, however little they know of one another.  When a node joins between
 * two, each of them must first hear from the other that it has given the old
 * lease back - it does as soon as it knows the new node -, or wait until that
 * has ended.  Who gave a lease claims nothing beyond the middle till it ends.
 *
 * A dead member that was not our neighbour has leases that others gave, at
 * latest when it died; it may live all the same and only be cut off from us.
 * For lease_us after it was found dead (its ghost_us) we claim nothing that
 * is nearer to it, and give no lease over its head.
 *
 * The exchange is three messages for both directions: ask, grant and ask,
 * grant, all with one nonce.  The nonce's lowest bit tells on which side of
 * the one that began the gap lies: 0 right, 1 left; in a ring of two there
 * are two gaps between the same two nodes.  A lease counts from when it was
 * asked for, on the asker's clock, so it ends there before it ends here. */
#include "overlay/node_private.h"

#include <assert.h>

#define ASK_QUICK_US (250 * NODE_MS)
/* Clocks run at one speed but for this part of a lease. */
#define DRIFT_PART 64u
#define QUESTION_GAP_US (250 * NODE_MS)
#define WAITER_US (5 * NODE_SECOND)
#define DIGEST_GAP_US (2 * NODE_SECOND)

static bool
is_neighbour(const struct gap *g, const struct id *id)
{
	return g->has_neighbour && id_eq(&g->neighbour.id, id);
}

bool
lease_held(const struct node *n, enum side side, uint64_t now_us)
{
	return n->gap[side].has_neighbour && n->gap[side].held_us > now_us;
}

/* ---- whose is a key? ---------------------------------------------------- */

bool
lease_no_ghosts(const struct node *n, uint64_t now_us)
{
	for (unsigned s = 0; s < 2; s++)
		if (n->gap[s].given_us > now_us)
			return false;
	for (unsigned i = 0; i < n->known_n; i++)
		if (n->known[i]->ghost_us > now_us)
			return false;
	return true;
}

/* Someone who may hold a lease is nearer, though no member. */
static bool
is_claimed_by_a_ghost(
    const struct node *n, const struct id *key, uint64_t now_us)
{
	const struct id *self = &n->config.self.id;

	for (unsigned s = 0; s < 2; s++)
		if (n->gap[s].given_us > now_us &&
		    id_nearer(key, &n->gap[s].given_to, self))
			return true;
	for (unsigned i = 0; i < n->known_n; i++)
		if (n->known[i]->ghost_us > now_us &&
		    id_nearer(key, &n->known[i]->peer.id, self))
			return true;
	return false;
}

bool
node_is_home(const struct node *n, const struct id *key, uint64_t now_us)
{
	enum side side = SIDE_LEFT;

	if (!n->ready || leaf_set_nearest(n->leaves, key) ||
	    is_claimed_by_a_ghost(n, key, now_us))
		return false;
	if (leaf_set_count(n->leaves) == 0)
		return true; /* alone */
	if (n->gap[SIDE_RIGHT].has_neighbour &&
	    node_is_between(
		n, SIDE_RIGHT, key, &n->gap[SIDE_RIGHT].neighbour.id))
		side = SIDE_RIGHT;
	return lease_held(n, side, now_us);
}

/* ---- asking ------------------------------------------------------------- */

static void
beat_send(struct node *n, const struct origin *o, const struct peer *to,
    const struct msg_beat *m)
{
	uint8_t frame[64];
	size_t len;

	if (!msg_beat_encode(m, frame, sizeof(frame), &len))
		assert(!"a beat fits");
	if (o)
		out_reply(n, o, frame, len);
	else
		out_frame(n, to, frame, len);
}

static struct msg_beat
beat_blank(const struct node *n, uint64_t nonce)
{
	return (struct msg_beat){
		.nonce = nonce,
		.ready = n->ready,
		.digest = n->digest,
	};
}

/* Our question is out: when to ask again if nothing comes. */
static void
asked(struct node *n, struct gap *g, uint64_t nonce)
{
	uint64_t wait = n->config.probe_wait_us;
	unsigned doubled = g->asks < 3 ? g->asks : 3;

	if (g->held_us <= n->now_us)
		wait = min_us(wait, ASK_QUICK_US);
	g->nonce = nonce;
	g->asked_us = n->now_us;
	g->ask_due_us = n->now_us + node_jitter(n, wait << doubled);
	g->asks++;
}

static void
ask(struct node *n, enum side side)
{
	struct gap *g = &n->gap[side];
	struct known *k = known_get(n, &g->neighbour);
	struct msg_beat m;

	if (g->nonce && k && k->said_us < g->asked_us &&
	    n->now_us - g->asked_us >= n->config.probe_wait_us / 2) {
		if (g->asks > 1)
			known_suspect(n, k); /* asked, and silent since */
		else
			known_probe(n, k);
	}
	asked(n, g, (node_nonce(n) & ~UINT64_C(1)) | (side == SIDE_LEFT));
	m = beat_blank(n, g->nonce);
	m.ask = true;
	beat_send(n, NULL, &g->neighbour, &m);
}

void
lease_neighbours(struct node *n)
{
	for (unsigned s = 0; s < 2; s++) {
		const struct peer *p = leaf_set_at(n->leaves, s, 0);
		struct gap *g = &n->gap[s];

		if (p && is_neighbour(g, &p->id)) {
			g->neighbour = *p;
			continue;
		}
		g->has_neighbour = p != NULL;
		if (p)
			g->neighbour = *p;
		g->held_us = g->nonce =
		    0; /* given back, by no longer using it */
		g->asks = 0;
		g->ask_due_us = p ? n->now_us : NEVER;
	}
}

void
lease_void(struct node *n)
{
	for (unsigned s = 0; s < 2; s++) {
		struct gap *g = &n->gap[s];

		g->held_us = g->nonce = 0;
		g->asks = 0;
		if (g->has_neighbour)
			g->ask_due_us = n->now_us;
	}
}

void
lease_timers(struct node *n)
{
	/* Before our place is known we would only trouble strangers. */
	if (n->stage != STAGE_JOINED)
		return;
	for (unsigned s = 0; s < 2; s++)
		if (n->gap[s].has_neighbour &&
		    n->gap[s].ask_due_us <= n->now_us)
			ask(n, s);
}

uint64_t
lease_deadline(const struct node *n)
{
	uint64_t at = NEVER;

	for (unsigned s = 0; s < 2; s++) {
		const struct gap *g = &n->gap[s];

		if (g->has_neighbour && n->stage == STAGE_JOINED)
			at = min_us(at, g->ask_due_us);
		if (g->given_us > n->now_us)
			at = min_us(at, g->given_us);
		if (g->held_us > n->now_us)
			at = min_us(at, g->held_us);
	}
	return at;
}

/* ---- granting ----------------------------------------------------------- */

static bool
has_ghost_between(const struct node *n, enum side side, const struct id *q)
{
	for (unsigned i = 0; i < n->known_n; i++)
		if (n->known[i]->ghost_us > n->now_us &&
		    !id_eq(&n->known[i]->peer.id, q) &&
		    node_is_between(n, side, &n->known[i]->peer.id, q))
			return true;
	return false;
}

/* The other one that has our lease on this gap: does it still use it? */
static void
question(struct node *n, struct gap *g)
{
	const struct peer *holder = leaf_set_find(n->leaves, &g->given_to);

	if (!holder || n->now_us - g->question_us < QUESTION_GAP_US)
		return; /* dead: its lease must end */
	g->question = node_nonce(n);
	g->question_us = n->now_us;
	leaves_send(n, holder, true, g->question);
}

static bool
grant(struct node *n, enum side side, const struct id *to, uint64_t nonce)
{
	struct gap *g = &n->gap[side];

	if (!is_neighbour(g, to) || n->stage == STAGE_LEFT ||
	    has_ghost_between(n, side, to))
		return false;
	if (g->given_us > n->now_us && !id_eq(&g->given_to, to)) {
		g->waiter = *to;
		g->waiter_nonce = nonce;
		g->waiter_us = n->now_us;
		question(n, g);
		return false;
	}
	g->given_to = *to;
	g->granted_us = n->now_us;
	g->given_us = n->now_us + n->config.lease_us;
	g->waiter_us = 0;
	return true;
}

/* Given back: whoever waits for it can have it. */
static void
returned(struct node *n, enum side side)
{
	struct gap *g = &n->gap[side];
	struct msg_beat m;

	g->given_us = g->question = 0;
	n->recheck = true;
	if (!g->waiter_us || n->now_us - g->waiter_us > WAITER_US ||
	    !grant(n, side, &g->waiter, g->waiter_nonce))
		return;
	m = beat_blank(n, g->waiter_nonce);
	m.grant = true;
	m.lease_ms = (uint32_t)(n->config.lease_us / NODE_MS);
	beat_send(n, NULL, &g->neighbour, &m);
}

void
lease_answer(struct node *n, const struct id *from, const struct msg_leaves *m)
{
	for (unsigned s = 0; s < 2; s++) {
		struct gap *g = &n->gap[s];
		/* Its side that faces us over this gap. */
		bool theirs_left = s == SIDE_RIGHT;
		unsigned first = theirs_left ? 0 : m->left;
		unsigned count = theirs_left ? m->left : m->right;

		if (g->question == 0 || m->nonce != g->question ||
		    !id_eq(&g->given_to, from) ||
		    g->granted_us >= g->question_us)
			continue;
		g->question = 0;
		if (count && id_eq(&m->peer[first].id, &n->config.self.id))
			continue; /* we are still its neighbour */
		returned(n, s);
	}
}

void
lease_returned(struct node *n, const struct id *from)
{
	for (unsigned s = 0; s < 2; s++)
		if (id_eq(&n->gap[s].given_to, from) &&
		    n->gap[s].given_us > n->now_us)
			returned(n, s);
}

/* ---- hearing ------------------------------------------------------------ */

static void
granted(struct node *n, const struct id *from, const struct msg_beat *m)
{
	for (unsigned s = 0; s < 2; s++) {
		struct gap *g = &n->gap[s];
		uint64_t lease = m->lease_ms * NODE_MS;

		if (g->nonce == 0 || g->nonce != m->nonce ||
		    !is_neighbour(g, from))
			continue;
		lease = min_us(lease, n->config.lease_us);
		g->held_us = g->asked_us + lease - lease / DRIFT_PART;
		g->nonce = 0;
		g->asks = 0;
		/* Whoever is first asks for both: the other's turn is over. */
		g->ask_due_us = n->now_us + n->config.beat_us +
				rng_below(&n->rng, n->config.beat_us / 5 + 1);
		n->recheck = true;
	}
}

/* The side on which the gap lies for us; *back: it is we who began, and are
 * asked back. */
static enum side
side_asked(
    const struct node *n, const struct id *from, uint64_t nonce, bool *back)
{
	*back = true;
	for (unsigned s = 0; s < 2; s++)
		if (n->gap[s].nonce && n->gap[s].nonce == nonce &&
		    is_neighbour(&n->gap[s], from))
			return s;
	*back = false;
	return nonce & 1 ? SIDE_RIGHT : SIDE_LEFT;
}

/* Its leaf set is another than when we last saw it.  It may still be about to
 * change, so it is asked for if that is so a beat later, too. */
static void
look_at_digest(struct node *n, struct known *k, uint32_t digest)
{
	bool differs = digest != k->digest;

	if (differs && k->odd_us == 0)
		k->odd_us = n->now_us;
	else if (!differs)
		k->odd_us = 0;
	if (!leaf_set_find(n->leaves, &k->peer.id))
		return;
	if ((differs && n->now_us - k->odd_us >= n->config.beat_us / 2 &&
		n->now_us - k->asked_us >= DIGEST_GAP_US) ||
	    (k->unsettled && n->now_us - k->asked_us >= DEAD_RETRY_US)) {
		k->asked_us = n->now_us;
		k->odd_us = 0;
		leaves_send(n, &k->peer, true, 0);
	}
}

enum err
lease_beat(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_beat m, answer;
	enum side side;
	bool back;
	struct known *k;
	struct gap *g;
	enum err e = msg_beat_decode(frame, len, &m);

	if (e)
		return e;
	k = known_get(n, &o->peer);
	if (!k)
		return OK;
	node_heard(n, o);
	k->ready = m.ready;
	if (!o->relayed || relay_detour(n, &k->peer.id))
		leaves_admit(n, k);
	side = side_asked(n, &k->peer.id, m.nonce, &back);
	if (m.grant)
		granted(n, &k->peer.id, &m);
	look_at_digest(n, k, m.digest);
	if (!m.ask)
		return OK;
	g = &n->gap[side];
	answer = beat_blank(n, m.nonce);
	answer.grant = grant(n, side, &k->peer.id, m.nonce);
	if (answer.grant)
		answer.lease_ms = (uint32_t)(n->config.lease_us / NODE_MS);
	else if (!is_neighbour(g, &k->peer.id) &&
		 n->now_us - k->asked_us >= NODE_SECOND / 4) {
		k->asked_us = n->now_us; /* see who stands between us */
		leaves_send(n, &k->peer, true, 0);
	}
	/* Ask back in the same message, unless our own question is out. */
	if (!back && is_neighbour(g, &k->peer.id) && n->stage == STAGE_JOINED &&
	    (g->nonce == 0 || n->now_us - g->asked_us > ASK_QUICK_US)) {
		asked(n, g, m.nonce);
		answer.ask = true;
	}
	beat_send(n, o, &k->peer, &answer);
	return OK;
}
