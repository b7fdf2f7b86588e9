/* Where nodes are, who they are to others, and who reaches whom. */
#include "tools/sim_private.h"

#include <stdlib.h>

#define ADDR_PORT 7400
#define FAR 46341u /* of along(), both ways: from the middle to a corner */
#define REGIONS 8u
#define NODES_PER_SITE 10u
#define SITES_MAX 512u
#define CUT_TRIES 1000u

/* ---- places ------------------------------------------------------------- */

/* Of numbers below 2^32. */
static uint32_t
isqrt(uint64_t v)
{
	uint64_t r = 0;

	for (uint64_t bit = UINT64_C(1) << 15; bit; bit >>= 1)
		if ((r + bit) * (r + bit) <= v)
			r += bit;
	return (uint32_t)r;
}

/* The square's side is 2^32, so that subtraction wraps round the torus. */
static uint32_t
along(uint32_t a, uint32_t b)
{
	uint32_t d = a - b;

	return (d > UINT32_C(1) << 31 ? 0 - d : d) >> 16;
}

uint64_t
sim_delay_us(const struct sim *s, uint32_t a, uint32_t b)
{
	uint64_t dx = along(s->node[a].x, s->node[b].x);
	uint64_t dy = along(s->node[a].y, s->node[b].y);

	return s->config.base_us +
	       (uint64_t)s->config.span_us * isqrt(dx * dx + dy * dy) / FAR;
}

/* A point within 2^32 >> narrow of another. */
static uint32_t
near(struct sim *s, uint32_t to, unsigned narrow)
{
	uint32_t u = (uint32_t)rng_u64(&s->chance) >> narrow;

	return to + u - (UINT32_C(1) << (31 - narrow));
}

void
sim_place(struct sim *s, struct sim_node *n)
{
	uint32_t at;

	if (s->config.topology == SIM_TORUS) {
		n->x = (uint32_t)rng_u64(&s->chance);
		n->y = (uint32_t)rng_u64(&s->chance);
		return;
	}
	at = (uint32_t)sim_chance(s, s->sites);
	n->x = near(s, s->site[2 * at], 10);
	n->y = near(s, s->site[2 * at + 1], 10);
}

bool
sim_sites_init(struct sim *s)
{
	uint32_t region[2 * REGIONS], sites;

	sites = s->config.nodes / NODES_PER_SITE + 1;
	s->sites = sites > SITES_MAX ? SITES_MAX : sites;
	s->site = calloc(s->sites, 2 * sizeof(*s->site));
	if (!s->site)
		return false;
	for (unsigned k = 0; k < 2 * REGIONS; k++)
		region[k] = (uint32_t)rng_u64(&s->chance);
	for (uint32_t k = 0; k < s->sites; k++) {
		uint32_t in = (uint32_t)sim_chance(s, REGIONS);

		s->site[2 * k] = near(s, region[2 * in], 3);
		s->site[2 * k + 1] = near(s, region[2 * in + 1], 3);
	}
	return true;
}

/* fd00::/8, the number and which of its owners. */
struct net_addr
sim_address(const struct sim *s, uint32_t i)
{
	struct net_addr a = { .port = ADDR_PORT };
	uint32_t generation = s->node[i].generation;

	a.ip[0] = 0xfd;
	for (unsigned b = 0; b < 4; b++) {
		a.ip[8 + b] = (uint8_t)(generation >> (24 - 8 * b));
		a.ip[12 + b] = (uint8_t)(i >> (24 - 8 * b));
	}
	return a;
}

uint32_t
sim_find(const struct sim *s, const struct peer *p)
{
	static const struct id nobody;
	uint32_t i = 0;
	struct net_addr a;

	if (p->addr.port) {
		for (unsigned b = 12; b < 16; b++)
			i = i << 8 | p->addr.ip[b];
		if (i >= s->config.nodes || !s->node[i].used)
			return SIM_NONE;
		a = sim_address(s, i);
		if (net_addr_eq(&a, &p->addr) &&
		    (id_eq(&p->id, &nobody) ||
			id_eq(&p->id, &s->node[i].self.id)))
			return i;
		return SIM_NONE;
	}
	if (!s->alive)
		return SIM_NONE;
	i = s->ring[sim_ring_at(s, &p->id)];
	return id_eq(&p->id, &s->node[i].self.id) ? i : SIM_NONE;
}

/* ---- who reaches whom --------------------------------------------------- */

static bool
pair_broken(const struct sim *s, uint32_t a, uint32_t b)
{
	uint64_t lo = a < b ? a : b, hi = a < b ? b : a;

	return s->config.broken_ppm &&
	       hash64_u64(s->config.seed ^ s->node[lo].generation,
		   (lo << 32 | hi) + ((uint64_t)s->node[hi].generation << 56)) %
		       1000000 <
		   s->config.broken_ppm;
}

bool
sim_passes(const struct sim *s, uint32_t from, uint32_t to)
{
	return !s->cut[s->node[from].side][s->node[to].side] &&
	       !pair_broken(s, from, to);
}

bool
sim_reach(const struct sim *s, uint32_t a, uint32_t b)
{
	return sim_passes(s, a, b) && sim_passes(s, b, a);
}

/* Is anybody without a neighbour of its side among the next leaf_half?  Such a
 * ring falls apart (Pastry, section 2.3), and nothing can be asked of it. */
static bool
cut_too_deep(const struct sim *s)
{
	unsigned run = 0, half = s->config.node.leaf_half;

	if (s->alive <= 2 * half)
		return false; /* all know all */
	for (uint32_t k = 0; k < s->alive + half; k++) {
		uint32_t i = s->ring[k % s->alive];
		uint32_t last = s->ring[(k + s->alive - 1) % s->alive];

		run = s->node[i].side == s->node[last].side ? run + 1 : 1;
		if (run >= half)
			return true;
	}
	return false;
}

bool
sim_cut(struct sim *s, unsigned percent, bool one_way)
{
	unsigned tries = 0;

	do {
		for (uint32_t i = 0; i < s->config.nodes; i++)
			s->node[i].side = sim_chance(s, 100) < percent;
	} while (cut_too_deep(s) && ++tries < CUT_TRIES);
	if (tries == CUT_TRIES) {
		for (uint32_t i = 0; i < s->config.nodes; i++)
			s->node[i].side = 0;
		return false;
	}
	sim_trace_say(s, "cut: %u %%%s", percent, one_way ? ", one way" : "");
	s->cut_percent = percent;
	s->cut[0][1] = !one_way;
	s->cut[1][0] = true;
	return true;
}

void
sim_heal(struct sim *s)
{
	sim_trace_say(s, "healed");
	for (uint32_t i = 0; i < s->config.nodes; i++)
		s->node[i].side = 0;
	s->cut_percent = 0;
	s->cut[0][1] = s->cut[1][0] = false;
	s->merging = true;
}

bool
sim_is_cut(const struct sim *s)
{
	return s->cut[0][1] || s->cut[1][0];
}

void
sim_set_faults(
    struct sim *s, uint32_t loss_ppm, uint32_t dup_ppm, uint32_t reorder_ppm)
{
	s->config.loss_ppm = loss_ppm;
	s->config.dup_ppm = dup_ppm;
	s->config.reorder_ppm = reorder_ppm;
}

void
sim_set_broken(struct sim *s, uint32_t broken_ppm)
{
	s->config.broken_ppm = broken_ppm;
}
