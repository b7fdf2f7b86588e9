/* Peers as we know them: heard, asked, suspected, dead.
 *
 * One question at a time is out to a peer: PING, or LEAVES with `ask` to one
 * that may become a leaf.  Each try has a nonce of its own, so that an answer
 * measures the try that it answers (Karn).  A leaf that does not answer is
 * asked through others as well from the second try on; what they bring makes
 * a detour (node_relay.c).  After `probe_tries` it is dead.
 *
 * Dead leaves are remembered.  Nothing but their own voice brings them back:
 * others may list them in good faith long after. */
#include "overlay/node_private.h"

#include <assert.h>
#include <stdlib.h>

#define PRUNE_US (30 * NODE_SECOND)
#define IDLE_US (60 * NODE_SECOND) /* then a peer of no office is forgotten */
#define SPOKE_US (2 * NODE_SECOND) /* heard just now */
#define HEAL_OLD_US (30 * NODE_MINUTE)

struct known *
known_find(struct node *n, const struct id *id)
{
	for (unsigned i = 0; i < n->known_n; i++)
		if (id_eq(&n->known[i]->peer.id, id))
			return n->known[i];
	return NULL;
}

static bool
is_leaf(const struct node *n, const struct known *k)
{
	return leaf_set_find(n->leaves, &k->peer.id) != NULL;
}

/* ---- forgetting --------------------------------------------------------- */

/* How many leaves died after it. */
static unsigned
dead_rank(const struct node *n, const struct known *k)
{
	unsigned newer = 0;

	for (unsigned i = 0; i < n->known_n; i++)
		newer +=
		    n->known[i]->was_leaf && n->known[i]->dead_us > k->dead_us;
	return newer;
}

static bool
is_in_office(const struct node *n, const struct known *k)
{
	if (k->probing || k->ghost_us > n->now_us || k->revoked)
		return true;
	for (unsigned s = 0; s < 2; s++)
		if (n->gap[s].given_us > n->now_us &&
		    id_eq(&n->gap[s].given_to, &k->peer.id))
			return true;
	if (k->dead_us && k->was_leaf && !k->gone)
		return n->now_us - k->dead_us < DEAD_KEEP_US &&
		       dead_rank(n, k) < DEAD_MAX;
	return is_leaf(n, k) || relay_detour(n, &k->peer.id);
}

/* Whoever has no office and was of no use for longest makes room; never one
 * that this step has to do with. */
static bool
forget_one(struct node *n)
{
	unsigned at = n->known_n;

	for (unsigned i = 0; i < n->known_n; i++) {
		const struct known *k = n->known[i];

		if (k->used_us < n->now_us && !is_in_office(n, k) &&
		    (at == n->known_n || k->used_us < n->known[at]->used_us))
			at = i;
	}
	if (at == n->known_n)
		return false;
	free(n->known[at]);
	n->known_n--;
	memmove(n->known + at, n->known + at + 1,
	    (n->known_n - at) * sizeof(n->known[0]));
	return true;
}

struct known *
known_get(struct node *n, const struct peer *p)
{
	struct known *k = known_find(n, &p->id);
	const struct routing_entry *e;

	if (k) {
		/* What was only hearsay yields to newer hearsay. */
		if (p->addr.port &&
		    (k->peer.addr.port == 0 || k->heard_us == 0))
			k->peer.addr = p->addr;
		return k;
	}
	if (id_eq(&p->id, &n->config.self.id) ||
	    (n->known_n == KNOWN_MAX && !forget_one(n)))
		return NULL;
	if (n->known_n == n->known_cap) {
		unsigned cap = n->known_cap ? 2 * n->known_cap : 8;
		void *more = realloc(n->known, cap * sizeof(n->known[0]));

		if (!more)
			return NULL;
		n->known = more;
		n->known_cap = cap;
	}
	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->peer = *p;
	k->used_us = n->now_us;
	e = routing_table_find(n->table, &p->id);
	if (e && e->rtt_us != RTT_UNKNOWN) {
		k->rtt_us = e->rtt_us;
		k->dev_us = e->rtt_us / 2;
	}
	if (e)
		k->heard_us = e->heard_us;
	n->known[n->known_n++] = k;
	return k;
}

/* ---- round trip times --------------------------------------------------- */

void
known_rtt(struct node *n, struct known *k, uint64_t sample_us)
{
	uint32_t s = sample_us < 1 ? 1 : (uint32_t)min_us(sample_us, 60000000);
	uint32_t off;

	if (k->rtt_us == 0) {
		k->rtt_us = s;
		k->dev_us = s / 2;
	} else { /* RFC 6298, 2.3 */
		off = s > k->rtt_us ? s - k->rtt_us : k->rtt_us - s;
		k->dev_us += (uint32_t)(((int64_t)off - k->dev_us) / 4);
		k->rtt_us += (uint32_t)(((int64_t)s - k->rtt_us) / 8);
		k->rtt_us += k->rtt_us == 0;
	}
	if (routing_table_find(n->table, &k->peer.id))
		(void)routing_table_offer(n->table, &k->peer, k->rtt_us);
}

uint64_t
known_ack_wait(struct node *n, const struct id *id)
{
	const struct known *k = known_find(n, id);
	uint64_t wait;

	if (!k || k->rtt_us == 0)
		return n->config.probe_wait_us;
	wait = k->rtt_us + 4ull * k->dev_us;
	if (wait < ACK_WAIT_MIN_US)
		wait = ACK_WAIT_MIN_US;
	return min_us(wait, ACK_WAIT_MAX_US);
}

bool
known_is_usable(struct node *n, const struct id *id)
{
	const struct known *k = known_find(n, id);

	return !k ||
	       (!k->suspect && k->dead_us == 0 && !k->revoked && !k->gone);
}

/* ---- asking ------------------------------------------------------------- */

/* A leaf, or one that would be one: what others can reach for us counts. */
static bool
is_worth_a_detour(const struct node *n, const struct known *k)
{
	return is_leaf(n, k) ||
	       (k->candidate && leaf_set_wants(n->leaves, &k->peer.id));
}

static void
probe_send(struct node *n, struct known *k)
{
	const struct detour *d = relay_detour(n, &k->peer.id);
	uint8_t frame[4096];
	size_t len = 0;

	k->nonce = node_nonce(n);
	k->sent_us = n->now_us;
	k->due_us =
	    n->now_us + node_jitter(n, n->config.probe_wait_us << k->tries);
	k->used_us = n->now_us;
	if (k->candidate) {
		len = leaves_frame(n, true, k->nonce, frame, sizeof(frame));
	} else {
		struct msg_ping m = { .nonce = k->nonce };

		if (!msg_ping_encode(&m, frame, sizeof(frame), &len))
			assert(!"a ping fits");
	}
	if (!d || k->tries + 1u >= n->config.probe_tries ||
	    d->retry_us <= n->now_us)
		out_frame_direct(n, &k->peer, frame, len);
	if (d) {
		struct known *via = known_find(n, &d->via);

		if (via)
			out_frame_via(n, &via->peer, &k->peer.id, frame, len);
	}
	if (k->tries && is_worth_a_detour(n, k))
		relay_probe(n, k, frame, len);
}

void
known_probe(struct node *n, struct known *k)
{
	if (k->probing || k->revoked)
		return;
	k->probing = true;
	/* Dead for us, and listed by others: perhaps they can reach it. */
	k->tries = k->dead_us && k->candidate;
	probe_send(n, k);
}

void
known_suspect(struct node *n, struct known *k)
{
	if (k->dead_us || k->revoked)
		return;
	if (!k->suspect) {
		k->suspect = true;
		route_avoid(n, &k->peer.id);
	}
	if (k->probing && k->measuring)
		k->measuring = false; /* now it is about life */
	known_probe(n, k);
}

static void
probe_end(struct known *k)
{
	k->probing = k->candidate = k->measuring = false;
	k->nonce = 0;
}

void
known_answered(struct node *n, struct known *k, uint64_t nonce, bool measured)
{
	if (!k->probing)
		return;
	if (nonce && nonce == k->nonce && measured)
		known_rtt(n, k, n->now_us - k->sent_us);
	if (k->candidate || k->measuring) {
		if (nonce == 0 || nonce != k->nonce)
			return; /* these want their answer */
		if (k->measuring && k->rtt_us)
			(void)routing_table_offer(
			    n->table, &k->peer, k->rtt_us);
	}
	probe_end(k);
	k->suspect = false;
	n->recheck = true;
}

void
known_heard(struct node *n, struct known *k)
{
	struct routing_entry *e = routing_table_find(n->table, &k->peer.id);

	k->heard_us = k->said_us = k->used_us = n->now_us;
	if (e)
		e->heard_us = n->now_us;
	if (k->suspect) {
		k->suspect = false;
		n->recheck = true;
	}
	relay_end(n, &k->peer.id);
	known_answered(n, k, 0, false);
	if (k->dead_us == 0)
		return;
	k->dead_us = k->ghost_us = 0;
	probe_end(k);
	if (k->was_leaf && !k->gone) {
		n->counters.false_deaths++;
		/* Where one was cut off, more were: ask them all soon. */
		n->heal_us = min_us(
		    n->heal_us, n->now_us + rng_below(&n->rng, NODE_SECOND));
	}
	k->gone = false;
	leaves_consider(n, &k->peer);
}

/* ---- dying -------------------------------------------------------------- */

void
known_dead(struct node *n, struct known *k)
{
	bool leaf = is_leaf(n, k);

	probe_end(k);
	k->suspect = false;
	k->dead_us = n->now_us;
	if (leaf || routing_table_find(n->table, &k->peer.id))
		table_failed(n);
	(void)routing_table_remove(n->table, &k->peer.id);
	relay_end(n, &k->peer.id);
	relay_lost(n, &k->peer.id);
	if (leaf)
		leaves_remove(n, k);
	route_avoid(n, &k->peer.id);
	n->recheck = true;
}

static void
probe_failed(struct node *n, struct known *k)
{
	if (k->dead_us) { /* a try to heal */
		probe_end(k);
		k->used_us = n->now_us;
		return;
	}
	if (k->measuring) {
		probe_end(k);
		return;
	}
	if (++k->tries < n->config.probe_tries) {
		probe_send(n, k);
		return;
	}
	if (k->said_us > n->now_us - min_us(n->now_us, SPOKE_US)) {
		/* Only the answers get lost: it lives. */
		probe_end(k);
		leaves_consider(n, &k->peer);
		return;
	}
	if (k->candidate)
		k->was_leaf = true; /* said to be near: try again later */
	known_dead(n, k);
}

/* All that are newly dead, and a quarter of the rest.  And now and then, is
 * our place where we think?  A part may have closed its ring without us. */
static void
heal(struct node *n)
{
	for (unsigned i = 0; i < n->known_n; i++) {
		struct known *k = n->known[i];

		if (k->dead_us == 0 || !k->was_leaf || k->revoked || k->gone)
			continue;
		if (n->now_us - k->dead_us > HEAL_OLD_US &&
		    rng_below(&n->rng, 4))
			continue;
		known_probe(n, k);
	}
	if (n->stage == STAGE_JOINED &&
	    (leaf_set_is_whole_ring(n->leaves) || rng_below(&n->rng, 4) == 0))
		(void)join_ask_place(n);
}

void
known_timers(struct node *n)
{
	for (unsigned i = 0; i < n->known_n; i++) {
		struct known *k = n->known[i];

		if (k->probing && k->due_us <= n->now_us)
			probe_failed(n, k);
	}
	if (n->heal_us <= n->now_us) {
		n->heal_us = n->now_us + node_jitter(n, n->config.heal_us);
		heal(n);
	}
}

uint64_t
known_deadline(const struct node *n)
{
	uint64_t at = NEVER;
	bool dead = false;

	for (unsigned i = 0; i < n->known_n; i++) {
		const struct known *k = n->known[i];

		if (k->probing)
			at = min_us(at, k->due_us);
		if (k->ghost_us > n->now_us)
			at = min_us(at, k->ghost_us);
		dead |= k->dead_us && k->was_leaf;
	}
	if (dead || routing_table_count(n->table))
		at = min_us(at, n->heal_us);
	if (n->known_n)
		at = min_us(at, n->prune_us);
	return at;
}

void
known_prune(struct node *n)
{
	unsigned kept = 0;

	if (n->now_us < n->prune_us)
		return;
	n->prune_us = n->now_us + PRUNE_US;
	/* All are judged before one is freed: the dead are ranked. */
	for (unsigned i = 0; i < n->known_n; i++)
		n->known[i]->kept = is_in_office(n, n->known[i]) ||
				    n->now_us - n->known[i]->used_us < IDLE_US;
	for (unsigned i = 0; i < n->known_n; i++) {
		struct known *k = n->known[i];

		if (k->kept)
			n->known[kept++] = k;
		else
			free(k);
	}
	n->known_n = kept;
	if (n->known_cap > 16 && kept < n->known_cap / 2) {
		unsigned cap = kept < 8 ? 8 : kept + kept / 4;
		void *less = realloc(n->known, cap * sizeof(n->known[0]));

		if (less) {
			n->known = less;
			n->known_cap = cap;
		}
	}
}

/* ---- looking ------------------------------------------------------------ */

unsigned
node_dead(const struct node *n, struct peer *out, unsigned max)
{
	unsigned count = 0;
	uint64_t before = NEVER;

	while (count < max) {
		const struct known *best = NULL;

		for (unsigned i = 0; i < n->known_n; i++) {
			const struct known *k = n->known[i];

			if (k->dead_us && k->was_leaf && !k->revoked &&
			    k->dead_us < before &&
			    (!best || k->dead_us > best->dead_us))
				best = k;
		}
		if (!best)
			break;
		before = best->dead_us;
		for (unsigned i = 0; i < n->known_n && count < max; i++) {
			const struct known *k = n->known[i];

			if (k->dead_us == before && k->was_leaf && !k->revoked)
				out[count++] = k->peer;
		}
	}
	return count;
}
