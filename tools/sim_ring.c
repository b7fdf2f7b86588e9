/* The oracle: the true ring, and what nodes believe about it. */
#include "tools/sim_private.h"

#include <assert.h>
#include <string.h>

/* Nodes on each side of a key that are asked whether they claim it; one that
 * is further away believes more than this many live nodes dead. */
#define CLAIM_REACH 8u
#define CLAIM_KEYS 5u

uint32_t
sim_ring_at(const struct sim *s, const struct id *id)
{
	uint32_t low = 0, high = s->alive;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (id_cmp(&s->node[s->ring[mid]].self.id, id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->alive ? low : 0;
}

void
sim_ring_add(struct sim *s, uint32_t i)
{
	const struct id *id = &s->node[i].self.id;
	uint32_t at = sim_ring_at(s, id);

	/* 0 may also mean: after the last. */
	if (at == 0 && s->alive && id_cmp(&s->node[s->ring[0]].self.id, id) < 0)
		at = s->alive;
	memmove(
	    &s->ring[at + 1], &s->ring[at], (s->alive - at) * sizeof(*s->ring));
	s->ring[at] = i;
	s->alive++;
}

void
sim_ring_remove(struct sim *s, uint32_t i)
{
	uint32_t at = sim_ring_at(s, &s->node[i].self.id);

	assert(s->ring[at] == i);
	s->alive--;
	memmove(
	    &s->ring[at], &s->ring[at + 1], (s->alive - at) * sizeof(*s->ring));
}

/* k steps from a place, clockwise. */
static uint32_t
ring_step(const struct sim *s, uint32_t at, int64_t k)
{
	int64_t n = s->alive, to = ((int64_t)at + k) % n;

	return s->ring[to < 0 ? to + n : to];
}

static bool
known(const struct sim *s, uint32_t i, uint32_t side_of)
{
	const struct sim_node *n = &s->node[i];

	return sim_awake(n) && n->ready && !n->lie &&
	       n->side == s->node[side_of].side &&
	       n->ready_us + s->config.grace_us <= s->now_us;
}

uint32_t
sim_home(struct sim *s, const struct id *key, uint32_t side_of)
{
	uint32_t at, left = SIM_NONE, right = SIM_NONE;

	if (!s->alive)
		return SIM_NONE;
	at = sim_ring_at(s, key);
	for (uint32_t k = 0; k < s->alive && right == SIM_NONE; k++) {
		uint32_t i = ring_step(s, at, k);

		right = known(s, i, side_of) ? i : right;
	}
	for (uint32_t k = 1; k <= s->alive && left == SIM_NONE; k++) {
		uint32_t i = ring_step(s, at, -(int64_t)k);

		left = known(s, i, side_of) ? i : left;
	}
	if (left == SIM_NONE || right == SIM_NONE)
		return right;
	return id_nearer(key, &s->node[left].self.id, &s->node[right].self.id)
		   ? left
		   : right;
}

/* ---- leaf sets ---------------------------------------------------------- */

static bool
lying_peer(const struct sim *s, const struct peer *p)
{
	/* By its id: it may have lied about its address, too. */
	const struct peer who = { .id = p->id };
	uint32_t i = sim_find(s, &who);

	return i != SIM_NONE && s->node[i].lie;
}

/* A side of a leaf set, nearest first, must be the next nodes of the ring that
 * are awake, ready and honest; liars may be in it or not.  If it is not so:
 * which node should be at the place where another is, or none; SIM_NONE if
 * there are too many. */
static bool
side_right(const struct sim *s, uint32_t at, enum side side, uint32_t *lacks)
{
	uint32_t self = s->ring[at], half = s->config.node.leaf_half;
	const struct sim_node *n = &s->node[self];
	const struct leaf_set *ls = s->config.code->leaves(n->node);
	int64_t way = side == SIDE_LEFT ? -1 : 1;
	unsigned place = 0, should = 0;

	for (uint32_t k = 1; k < s->alive && should < half; k++) {
		uint32_t i = ring_step(s, at, way * (int64_t)k);
		const struct sim_node *other = &s->node[i];
		const struct peer *p;

		if (!sim_awake(other) || !other->ready || other->lie ||
		    other->side != n->side)
			continue;
		should++;
		while ((p = leaf_set_at(ls, side, place)) && lying_peer(s, p))
			place++;
		*lacks = i;
		if (!p)
			return place >= half; /* liars have the room */
		if (!id_eq(&p->id, &other->self.id))
			return false;
		place++;
	}
	*lacks = SIM_NONE;
	for (const struct peer *p; (p = leaf_set_at(ls, side, place)); place++)
		if (!lying_peer(s, p))
			return false;
	return true;
}

static bool
node_right(const struct sim *s, uint32_t at, enum side *side, uint32_t *lacks)
{
	*side = SIDE_LEFT;
	if (!side_right(s, at, *side, lacks))
		return false;
	*side = SIDE_RIGHT;
	return side_right(s, at, *side, lacks);
}

/* The ready are not right, or not ready; the rest is not asked. */
static bool
node_wrong(const struct sim *s, uint32_t at, enum side *side, uint32_t *lacks)
{
	const struct sim_node *n = &s->node[s->ring[at]];

	return sim_awake(n) && !n->lie &&
	       (!n->ready || !node_right(s, at, side, lacks));
}

unsigned
sim_leaves_wrong(struct sim *s)
{
	unsigned wrong = 0;
	enum side side;
	uint32_t lacks;

	for (uint32_t at = 0; at < s->alive; at++)
		wrong += node_wrong(s, at, &side, &lacks);
	return wrong;
}

void
sim_leaves_why(struct sim *s, char *out, size_t cap)
{
	enum side side;
	uint32_t lacks;

	for (uint32_t at = 0; at < s->alive; at++) {
		uint32_t i = s->ring[at];

		if (!node_wrong(s, at, &side, &lacks))
			continue;
		if (!s->node[i].ready)
			snprintf(out, cap, "n%u is not ready", i);
		else if (lacks == SIM_NONE)
			snprintf(out, cap, "n%u has too many %s", i,
			    side == SIDE_LEFT ? "left" : "right");
		else
			snprintf(out, cap, "n%u lacks n%u on its %s%s", i,
			    lacks, side == SIDE_LEFT ? "left" : "right",
			    sim_reach(s, i, lacks) ? "" : " (a broken pair)");
		return;
	}
	snprintf(out, cap, "all is right");
}

bool
sim_leaves_match(struct sim *s)
{
	bool match = sim_leaves_wrong(s) == 0;

	if (match && !sim_is_cut(s))
		s->merging = false;
	return match;
}

/* ---- claims ------------------------------------------------------------- */

static bool
claims(const struct sim *s, uint32_t i, const struct id *key)
{
	const struct sim_node *n = &s->node[i];

	return sim_awake(n) && !n->lie &&
	       s->config.code->is_home(n->node, key, sim_clock_us(s, n));
}

/* Who of those near `at` claims the key; at most one on each side of a cut. */
static void
claims_check(struct sim *s, uint32_t at, const struct id *key)
{
	uint32_t reach = CLAIM_REACH, home[SIM_SIDES] = { SIM_NONE, SIM_NONE };

	if (2 * reach + 1 > s->alive)
		reach = (s->alive - 1) / 2;
	s->figures.claims_checked++;
	for (int64_t k = -(int64_t)reach; k <= (int64_t)reach + 1; k++) {
		uint32_t i = ring_step(s, at, k);
		unsigned side = s->node[i].side;

		if (i == home[side] || !claims(s, i, key))
			continue;
		if (home[side] != SIM_NONE) {
			s->figures.claims_double++;
			sim_hurt(s,
			    "%.3f s: nodes %u and %u both claim "
			    "%02x%02x%02x%02x...",
			    (double)s->now_us / SIM_SECOND, home[side], i,
			    key->b[0], key->b[1], key->b[2], key->b[3]);
		}
		home[side] = i;
	}
}

/* Half way from a to b, clockwise. */
static void
middle(const struct id *a, const struct id *b, struct id *out)
{
	struct id way;
	unsigned carry = 0;

	id_sub(b, a, &way);
	for (unsigned k = 0; k < ID_BYTES; k++) {
		unsigned v = carry << 8 | way.b[k];

		way.b[k] = (uint8_t)(v >> 1);
		carry = v & 1;
	}
	carry = 0;
	for (unsigned k = ID_BYTES; k-- > 0;) {
		unsigned v = (unsigned)a->b[k] + way.b[k] + carry;

		out->b[k] = (uint8_t)v;
		carry = v >> 8;
	}
}

void
sim_check_claims(struct sim *s, unsigned one_in)
{
	if (s->merging || s->alive < 2)
		return;
	for (uint32_t at = 0; at < s->alive; at++) {
		uint32_t next = ring_step(s, at, 1);
		const struct id *a = &s->node[s->ring[at]].self.id;
		const struct id *b = &s->node[next].self.id;
		struct id key[CLAIM_KEYS] = { *a };

		if (one_in > 1 && sim_chance(s, one_in))
			continue;
		middle(a, b, &key[1]);
		key[2] = key[1];
		key[2].b[ID_BYTES - 1] ^= 1;
		middle(a, &key[1], &key[3]);
		middle(&key[1], b, &key[4]);
		for (unsigned k = 0; k < CLAIM_KEYS; k++)
			claims_check(s, at, &key[k]);
	}
}

uint32_t
sim_claimed_ppm(struct sim *s, unsigned keys)
{
	unsigned claimed = 0;

	for (unsigned n = 0; n < keys && s->alive; n++) {
		struct id key;
		uint32_t at, reach = CLAIM_REACH;
		bool one = false;

		for (unsigned k = 0; k < ID_BYTES; k++)
			key.b[k] = (uint8_t)sim_chance(s, 256);
		at = sim_ring_at(s, &key);
		if (reach > s->alive)
			reach = s->alive;
		for (int64_t k = -(int64_t)reach; k <= reach && !one; k++)
			one = claims(s, ring_step(s, at, k), &key);
		claimed += one;
	}
	return keys ? (uint32_t)((uint64_t)claimed * 1000000 / keys) : 0;
}
