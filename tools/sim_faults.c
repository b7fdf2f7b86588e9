/* A small ring, and everything that can go wrong, in an order drawn from the
 * seed.  While it does, only safety is judged; then all is mended, except that
 * pairs may stay broken, and the ring must become whole and find every key. */
#include "overlay/base/rng.h"
#include "tools/sim_scenario_private.h"

#include <string.h>

#define NODES_MIN 8u
#define NODES_FEW 24u
#define NODES_MAX 60u
#define LOOKUPS_A_MINUTE 60u
#define LAST_LOOKUPS 40u
#define MEND_MAX_US (15 * SIM_MINUTE)
#define LIARS_ONE_IN 8u /* of runs */
#define ALIVE_MIN 4u

enum mishap {
	MISHAP_VANISH,
	MISHAP_CRASH,
	MISHAP_LEAVE,
	MISHAP_BIRTH,
	MISHAP_RESTART,
	MISHAP_SLEEP,
	MISHAP_JUMP,
	MISHAP_CUT,
	MISHAP_CUT_ONE_WAY,
	MISHAP_HEAL,
	MISHAP_LOSS,
	MISHAP_COUNT
};

static void
one_dies(struct sim_run *r, enum sim_end how)
{
	uint32_t i = sim_pick_alive(r->sim);

	if (i != SIM_NONE && sim_alive(r->sim) > ALIVE_MIN)
		sim_end(r->sim, i, how);
}

/* A short sleep is not noticed by others, a long one is. */
static void
one_sleeps(struct sim_run *r)
{
	uint32_t i = sim_pick_alive(r->sim);
	uint64_t us = SIM_SECOND << sim_chance(r->sim, 8);

	if (i != SIM_NONE && !sim_is_asleep(r->sim, i))
		sim_sleep(r->sim, i, us + sim_chance(r->sim, us));
}

/* A monotonic clock never jumps but when the machine did not run; so by less
 * than what the node takes for sleep there is nothing to try. */
static void
one_jumps(struct sim_run *r)
{
	uint32_t i = sim_pick_alive(r->sim);

	if (i != SIM_NONE && !sim_is_asleep(r->sim, i))
		sim_clock_jump(
		    r->sim, i, SIM_MINUTE + sim_chance(r->sim, SIM_HOUR));
}

static void
happens(struct sim_run *r, enum mishap what)
{
	uint32_t i;

	switch (what) {
	case MISHAP_VANISH:
		one_dies(r, SIM_VANISH);
		break;
	case MISHAP_CRASH:
		one_dies(r, SIM_CRASH);
		break;
	case MISHAP_LEAVE:
		one_dies(r, SIM_LEAVE);
		break;
	case MISHAP_BIRTH:
		sim_spawn(r->sim);
		break;
	case MISHAP_RESTART:
		i = sim_pick_dead(r->sim);
		if (i != SIM_NONE)
			sim_restart(r->sim, i);
		break;
	case MISHAP_SLEEP:
		one_sleeps(r);
		break;
	case MISHAP_JUMP:
		one_jumps(r);
		break;
	case MISHAP_CUT:
	case MISHAP_CUT_ONE_WAY:
		if (!sim_is_cut(r->sim))
			sim_cut(r->sim, 10 + (unsigned)sim_chance(r->sim, 41),
			    what == MISHAP_CUT_ONE_WAY);
		break;
	case MISHAP_HEAL:
		if (sim_is_cut(r->sim))
			sim_heal(r->sim);
		break;
	case MISHAP_LOSS:
		sim_set_faults(r->sim, (uint32_t)sim_chance(r->sim, 300000),
		    (uint32_t)sim_chance(r->sim, 50000),
		    (uint32_t)sim_chance(r->sim, 50000));
		break;
	default:
		break;
	}
}

static bool
none_asleep(struct sim *s)
{
	for (uint32_t i = 0; i < sim_room(s); i++)
		if (sim_is_alive(s, i) && sim_is_asleep(s, i))
			return false;
	return true;
}

static bool
every_key_has_a_home(struct sim *s)
{
	return sim_claimed_ppm(s, 200) == 1000000;
}

static void
mended(struct sim_run *r)
{
	const struct sim_figures *f;
	bool liars = sim_lies_told(r->sim);

	sim_set_faults(r->sim, 0, 0, 0);
	if (sim_is_cut(r->sim))
		sim_heal(r->sim);
	run_wait(r, none_asleep, 10 * SIM_MINUTE, "waking");
	row(r->report,
	    run_wait(r, sim_leaves_match, MEND_MAX_US,
		"right leaf sets when all is mended"),
	    0, "mended: leaf sets right after, s");
	/* A liar's range belongs to nobody that is asked. */
	if (!liars)
		row(r->report,
		    run_wait(r, every_key_has_a_home, 2 * SIM_MINUTE,
			"a home for every key when all is mended"),
		    0, "every key has a home after another, s");
	sim_check_claims(r->sim, 1);
	run_drain(r);
	sim_figures_reset(r->sim);
	for (unsigned n = 0; n < LAST_LOOKUPS; n++) {
		sim_lookup_by_chance(r->sim);
		sim_run_for(r->sim, SIM_SECOND / 4);
	}
	run_drain(r);
	f = sim_figures(r->sim);
	if (f->lost && !liars)
		sim_hurt(r->sim, "%u of %u lookups lost when all was mended",
		    (unsigned)f->lost, LAST_LOOKUPS);
	if (f->wrong && !liars)
		sim_hurt(r->sim, "%u of %u lookups wrong when all was mended",
		    (unsigned)f->wrong, LAST_LOOKUPS);
}

static void
draw_ring(struct sim_run *r, struct rng *rng)
{
	static const unsigned half[] = { 4, 6, 8, 12 };
	unsigned most = rng_below(rng, 8) ? NODES_FEW : NODES_MAX;

	if (!r->ask->nodes)
		r->nodes =
		    NODES_MIN + (unsigned)rng_below(rng, most - NODES_MIN + 1);
	r->config.node.leaf_half = half[rng_below(rng, 4)];
	/* So that mending takes minutes of simulated time, not an hour. */
	r->config.node.heal_us = SIM_MINUTE / 2;
	r->config.node.table_probe_max_us = 10 * SIM_MINUTE;
	r->check_every_us = 2 * SIM_SECOND;
}

void
scenario_faults(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_ask mine = *ask;
	struct sim_run r;
	struct rng rng;
	unsigned mishaps;

	mine.random_faults = true;
	rng_init(&rng, ask->seed);
	run_init(&r, &mine, out, NODES_FEW);
	draw_ring(&r, &rng);
	if (!run_begin(&r))
		return;
	sim_grow(r.sim, r.nodes); /* not all need be ready */
	if (rng_below(&rng, LIARS_ONE_IN) == 0)
		sim_lie(r.sim, sim_pick_alive(r.sim),
		    (enum sim_lie)(1 + rng_below(&rng, SIM_LIE_COUNT - 1)));
	mishaps = 4 + (unsigned)rng_below(&rng, 8);
	row(out, r.nodes, 0, "nodes");
	row(out, mishaps, 0, "mishaps");
	while (mishaps-- && !sim_failed(r.sim)) {
		happens(&r, (enum mishap)sim_chance(r.sim, MISHAP_COUNT));
		run_traffic(&r, SIM_SECOND + sim_chance(r.sim, SIM_MINUTE),
		    LOOKUPS_A_MINUTE);
	}
	rows_lookups(&r, sim_figures(r.sim));
	mended(&r);
	run_end(&r);
}
