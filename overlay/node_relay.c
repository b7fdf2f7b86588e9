/* RELAY: frames for one that we can not reach, by way of one that can.
 *
 * About 2.3 % of the pairs of hosts in the Internet can not talk while each
 * talks with a third (Freedman et al., WORLDS 2005).  Without this they would
 * think each other dead and quarrel over keys.
 *
 * A session proves who sent a RELAY, not who wrote what is in it.  So the
 * relay's word is all there is, and
 *   - it only goes one hop: a relay passes on what the writer itself gave it,
 *     and to a node that it speaks with itself;
 *   - the recipient takes it only from a member of its leaf set;
 *   - nobody is spoken for who speaks for himself: once a frame came from the
 *     writer directly within two beats, only a PING or PONG is taken;
 *   - a PONG, or LEAVES as an answer, counts only with the nonce that we
 *     asked with; everything but such a question and its answer is taken
 *     only after the direct way had failed for us, too, and a relay had
 *     brought an answer (a detour);
 *   - rows of tables, revocations and goodbyes do not travel so. */
#include "overlay/node_private.h"

#include <assert.h>

/* The direct way is tried again so often. */
#define DIRECT_FIRST_US (10 * NODE_SECOND)
#define DIRECT_RETRY_US (2 * NODE_MINUTE)
/* Passed on in a second, and at once: a relay is a favour. */
#define RELAY_GAP_US (10 * NODE_MS)
#define RELAY_BURST_US NODE_SECOND
#define RELAYS 2u
#define SPOKEN_US (10 * NODE_MINUTE)

/* ---- detours ------------------------------------------------------------ */

const struct detour *
relay_detour(const struct node *n, const struct id *to)
{
	for (unsigned i = 0; i < n->detour_n; i++)
		if (id_eq(&n->detour[i].to, to))
			return &n->detour[i];
	return NULL;
}

static void
detour_remove(struct node *n, unsigned at)
{
	n->detour_n--;
	memmove(n->detour + at, n->detour + at + 1,
	    (n->detour_n - at) * sizeof(n->detour[0]));
}

void
relay_end(struct node *n, const struct id *to)
{
	for (unsigned i = 0; i < n->detour_n; i++) {
		if (!id_eq(&n->detour[i].to, to))
			continue;
		detour_remove(n, i);
		break;
	}
}

void
relay_use(struct node *n, const struct id *to, const struct id *via)
{
	if (relay_detour(n, to) || n->detour_n == DETOURS_MAX)
		return;
	n->detour[n->detour_n++] = (struct detour){
		.to = *to,
		.via = *via,
		/* Perhaps only the answers were lost: soon, at first. */
		.retry_us = n->now_us + node_jitter(n, DIRECT_FIRST_US),
	};
}

/* The relay is gone: ask those it led to anew, through others. */
void
relay_lost(struct node *n, const struct id *via)
{
	for (unsigned i = 0; i < n->detour_n;) {
		struct known *k;

		if (!id_eq(&n->detour[i].via, via)) {
			i++;
			continue;
		}
		k = known_find(n, &n->detour[i].to);
		detour_remove(n, i);
		if (k)
			known_probe(n, k);
	}
}

void
relay_timers(struct node *n)
{
	for (unsigned i = 0; i < n->detour_n; i++) {
		struct detour *d = &n->detour[i];
		struct known *k = known_find(n, &d->to);

		if (d->retry_us > n->now_us)
			continue;
		if (k)
			known_probe(n, k); /* both ways, since it is due */
		d->retry_us = n->now_us + node_jitter(n, DIRECT_RETRY_US);
	}
}

uint64_t
relay_deadline(const struct node *n)
{
	uint64_t at = NEVER;

	for (unsigned i = 0; i < n->detour_n; i++)
		at = min_us(at, n->detour[i].retry_us);
	return at;
}

/* Members next to it on the ring are the likeliest to speak with it. */
void
relay_probe(
    struct node *n, const struct known *k, const uint8_t *frame, size_t len)
{
	const struct peer *best[RELAYS] = { NULL, NULL };

	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++) {
		const struct peer *p = leaf_set_member(n->leaves, i);
		unsigned at = RELAYS;

		if (id_eq(&p->id, &k->peer.id) || relay_detour(n, &p->id) ||
		    !known_is_usable(n, &p->id))
			continue;
		while (at && (!best[at - 1] || id_nearer(&k->peer.id, &p->id,
						   &best[at - 1]->id)))
			at--;
		for (unsigned j = RELAYS - 1; j > at; j--)
			best[j] = best[j - 1];
		if (at < RELAYS)
			best[at] = p;
	}
	for (unsigned i = 0; i < RELAYS; i++)
		if (best[i])
			out_frame_via(n, best[i], &k->peer.id, frame, len);
}

/* ---- passing on --------------------------------------------------------- */

static bool
may_travel(enum message_kind kind)
{
	switch (kind) {
	case MSG_PING:
	case MSG_PONG:
	case MSG_LEAVES:
	case MSG_BEAT:
	case MSG_ROUTE:
	case MSG_ROUTE_ACK:
	case MSG_DIRECT:
		return true;
	default:
		return false;
	}
}

static bool
is_spoken_with(struct node *n, const struct known *k)
{
	return k && k->heard_us && !k->dead_us && !k->suspect && !k->revoked &&
	       !relay_detour(n, &k->peer.id) &&
	       (leaf_set_find(n->leaves, &k->peer.id) ||
		   n->now_us - k->heard_us < SPOKEN_US);
}

static void
pass_on(struct node *n, const struct id *to, const uint8_t *frame, size_t len)
{
	const struct known *k = known_find(n, to);
	uint64_t from = n->now_us - min_us(n->now_us, RELAY_BURST_US);

	if (!is_spoken_with(n, k))
		return;
	/* A bucket of time: each frame takes RELAY_GAP_US out of it. */
	if (n->relay_tokens_us < from)
		n->relay_tokens_us = from;
	if (n->relay_tokens_us + RELAY_GAP_US > n->now_us)
		return;
	n->relay_tokens_us += RELAY_GAP_US;
	n->counters.relayed++;
	out_frame_direct(n, &k->peer, frame, len);
}

/* Is what it brought to be taken? */
static bool
is_believed(struct node *n, const struct known *k, enum message_kind kind,
    const uint8_t *frame, size_t len)
{
	const struct detour *d = relay_detour(n, &k->peer.id);
	struct msg_leaves m;

	if (kind == MSG_PING || kind == MSG_PONG)
		return true;
	if (k->heard_us && n->now_us - k->heard_us < 2 * n->config.beat_us)
		return false; /* it speaks for itself */
	if (d)
		return true; /* by whatever relay it chose for its part */
	if (kind != MSG_LEAVES || msg_leaves_decode(frame, len, &m))
		return false;
	return m.ask || (m.nonce && k->probing && m.nonce == k->nonce);
}

enum err
relay_got(
    struct node *n, const struct peer *from, const uint8_t *frame, size_t len)
{
	const struct id *self = &n->config.self.id;
	struct origin o = { .relayed = true, .via = *from };
	const struct origin direct = { .peer = *from };
	struct known *k;
	struct msg_relay m;
	enum message_kind kind;
	enum err e = msg_relay_decode(frame, len, &m);

	if (e)
		return e;
	kind = message_kind(m.frame, m.frame_len);
	if (!may_travel(kind) || id_eq(&m.from, &m.to) || id_eq(&m.from, self))
		return ERR_MALFORMED;
	if (!id_eq(&m.to, self)) {
		if (!id_eq(&m.from, &from->id))
			return ERR_MALFORMED; /* not its own */
		node_heard(n, &direct);
		pass_on(n, &m.to, frame, len);
		return OK;
	}
	if (id_eq(&m.from, &from->id))
		return ERR_MALFORMED; /* it is here itself */
	node_heard(n, &direct);
	if (!leaf_set_find(n->leaves, &from->id))
		return OK;
	o.peer.id = m.from;
	k = known_get(n, &o.peer);
	if (!k || k->revoked || k->gone ||
	    !is_believed(n, k, kind, m.frame, m.frame_len))
		return OK;
	o.peer = k->peer;
	/* The answer that we asked for through others: that is the way now. */
	if (k->probing && kind != MSG_PING) {
		struct msg_ping pong;
		struct msg_leaves leaves;
		uint64_t nonce = 0;

		if (kind == MSG_PONG &&
		    !msg_pong_decode(m.frame, m.frame_len, &pong))
			nonce = pong.nonce;
		else if (kind == MSG_LEAVES &&
			 !msg_leaves_decode(m.frame, m.frame_len, &leaves) &&
			 !leaves.ask)
			nonce = leaves.nonce;
		if (nonce && nonce == k->nonce) {
			if (k->dead_us)
				n->counters.false_deaths += k->heard_us != 0;
			k->dead_us = k->ghost_us = 0;
			relay_use(n, &k->peer.id, &from->id);
		}
	}
	return node_frame(n, &o, m.frame, m.frame_len);
}
