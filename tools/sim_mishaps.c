/* Scenarios in which one thing goes wrong, and is to be right again. */
#include "tools/sim_scenario_private.h"

#include <string.h>

#define LOOKUPS_A_MINUTE 600u

/* ---- partition ---------------------------------------------------------- */

void
scenario_partition(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_run r;

	run_init(&r, ask, out, 200);
	r.config.broken_ppm = 0;
	if (!run_ring(&r))
		return;
	sim_figures_reset(r.sim);
	if (!sim_cut(r.sim, 30, false))
		sim_hurt(r.sim, "so small a ring can not be cut like that");
	row(out,
	    run_wait(&r, sim_leaves_match, 10 * SIM_MINUTE,
		"right leaf sets on both sides of the cut"),
	    0, "cut in 30 and 70 %%: both sides right after, s");
	run_traffic(&r, run_minutes(&r, 10) * SIM_MINUTE, LOOKUPS_A_MINUTE);
	run_drain(&r);
	sim_heal(r.sim);
	row(out,
	    run_wait(&r, sim_leaves_match, 30 * SIM_MINUTE,
		"one ring after the cut is healed"),
	    0, "healed after %u min: one ring after, s",
	    (unsigned)run_minutes(&r, 10));
	run_traffic(&r, 5 * SIM_MINUTE, LOOKUPS_A_MINUTE);
	run_drain(&r);
	rows_lookups(&r, sim_figures(r.sim));
	run_end(&r);
}

/* ---- broken pairs ------------------------------------------------------- */

void
scenario_broken(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_run r;

	run_init(&r, ask, out, 1000);
	if (!run_ring(&r))
		return;
	row(out, (double)r.config.broken_ppm / 10000, 2,
	    "pairs that can not reach each other, per cent");
	row(out, (double)sim_now_us(r.sim) / SIM_SECOND, 0,
	    "%u nodes: joined and right after, s", r.nodes);
	sim_figures_reset(r.sim);
	run_traffic(&r, run_minutes(&r, 30) * SIM_MINUTE, LOOKUPS_A_MINUTE);
	rows_messages(&r, sim_figures(r.sim));
	run_drain(&r);
	rows_lookups(&r, sim_figures(r.sim));
	row(out, (double)sim_claimed_ppm(r.sim, 10000) / 10000, 2,
	    "of all keys have a home, per cent");
	row(out, (double)sim_leaves_wrong(r.sim), 0,
	    "leaf sets not right at the end");
	run_end(&r);
}

/* ---- mass --------------------------------------------------------------- */

static void
vanish(struct sim_run *r, unsigned percent)
{
	unsigned n = sim_alive(r->sim) * percent / 100;

	while (n--)
		sim_end(r->sim, sim_pick_alive(r->sim), SIM_VANISH);
}

static bool
most_keys_have_homes(struct sim *s)
{
	return sim_claimed_ppm(s, 2000) >= 999000;
}

void
scenario_mass(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_run r;
	uint64_t begun;

	run_init(&r, ask, out, 1000);
	if (!run_ring(&r))
		return;
	sim_figures_reset(r.sim);
	vanish(&r, 30);
	begun = sim_now_us(r.sim);
	row(out, (double)sim_claimed_ppm(r.sim, 10000) / 10000, 2,
	    "30 %% vanish: keys that have a home then, per cent");
	row(out,
	    run_wait(&r, most_keys_have_homes, 10 * SIM_MINUTE,
		"homes for all keys after 30 % vanished"),
	    0, "99.9 %% of all keys have one after, s");
	run_wait(&r, sim_leaves_match, 20 * SIM_MINUTE,
	    "right leaf sets after 30 % vanished");
	row(out, (double)(sim_now_us(r.sim) - begun) / SIM_SECOND, 0,
	    "all leaf sets right after, s");
	run_traffic(&r, run_minutes(&r, 10) * SIM_MINUTE, LOOKUPS_A_MINUTE);
	run_drain(&r);
	rows_lookups(&r, sim_figures(r.sim));
	run_end(&r);
}

/* ---- sleep -------------------------------------------------------------- */

void
scenario_sleep(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_run r;
	uint64_t minutes;

	run_init(&r, ask, out, 200);
	minutes = run_minutes(&r, 60);
	if (!run_ring(&r))
		return;
	sim_figures_reset(r.sim);
	for (uint64_t m = 0; m < minutes; m++) {
		for (unsigned n = 0; n < 1 + r.nodes / 200; n++) {
			uint32_t i = sim_pick(r.sim);
			uint64_t us =
			    SIM_SECOND * (5 + sim_chance(r.sim, 15 * 60));

			if (i != SIM_NONE)
				sim_sleep(r.sim, i, us);
		}
		run_traffic(&r, SIM_MINUTE, LOOKUPS_A_MINUTE);
	}
	run_traffic(&r, 15 * SIM_MINUTE, LOOKUPS_A_MINUTE); /* all awake */
	row(out,
	    run_wait(&r, sim_leaves_match, 15 * SIM_MINUTE,
		"right leaf sets when all are awake"),
	    0, "all awake: leaf sets right after, s");
	run_drain(&r);
	row(out, (double)sim_figures(r.sim)->unready, 0,
	    "times that a node was cut off or slept");
	rows_lookups(&r, sim_figures(r.sim));
	run_end(&r);
}

/* ---- join-storm --------------------------------------------------------- */

static bool
all_ready(struct sim *s)
{
	return sim_ready(s) == sim_alive(s);
}

void
scenario_join_storm(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_run r;
	uint64_t begun;
	unsigned nodes;

	run_init(&r, ask, out, 1000);
	nodes = r.nodes;
	if (!run_begin(&r))
		return;
	if (!sim_grow(r.sim, nodes < 10 ? nodes : 10))
		sim_hurt(r.sim, "ten nodes do not join");
	begun = sim_now_us(r.sim);
	sim_figures_reset(r.sim);
	while (sim_alive(r.sim) < nodes && !sim_failed(r.sim)) {
		sim_spawn(r.sim);
		sim_run_for(r.sim, SIM_SECOND / nodes);
	}
	row(out,
	    run_wait(&r, all_ready, 20 * SIM_MINUTE,
		"all ready after a storm of joins"),
	    0, "%u nodes join at once: all ready after, s", nodes);
	run_wait(&r, sim_leaves_match, 20 * SIM_MINUTE,
	    "right leaf sets after a storm of joins");
	row(out, (double)(sim_now_us(r.sim) - begun) / SIM_SECOND, 0,
	    "all leaf sets right after, s");
	row(out, (double)sim_figures(r.sim)->frames / nodes, 1,
	    "messages per node until then");
	sim_figures_reset(r.sim);
	run_traffic(&r, run_minutes(&r, 10) * SIM_MINUTE, LOOKUPS_A_MINUTE);
	run_drain(&r);
	rows_lookups(&r, sim_figures(r.sim));
	run_end(&r);
}

/* ---- liars -------------------------------------------------------------- */

void
scenario_liars(const struct sim_ask *ask, struct sim_report *out)
{
	struct sim_run r;
	unsigned liars;

	run_init(&r, ask, out, 200);
	if (!run_ring(&r))
		return;
	liars = r.nodes / 20 + 1;
	sim_figures_reset(r.sim);
	for (unsigned n = 0; n < liars; n++) {
		uint32_t i = sim_pick(r.sim);

		if (i != SIM_NONE)
			sim_lie(r.sim, i,
			    (enum sim_lie)(1 + n % (SIM_LIE_COUNT - 1)));
	}
	run_traffic(&r, run_minutes(&r, 30) * SIM_MINUTE, LOOKUPS_A_MINUTE);
	row(out, (double)liars, 0, "nodes that lie, of %u", r.nodes);
	row(out, (double)sim_figures(r.sim)->malformed, 0,
	    "frames refused as malformed");
	row(out,
	    run_wait(&r, sim_leaves_match, 15 * SIM_MINUTE,
		"right leaf sets among honest nodes"),
	    0, "honest nodes' leaf sets right after, s");
	rows_messages(&r, sim_figures(r.sim));
	run_drain(&r);
	rows_lookups(&r, sim_figures(r.sim));
	run_end(&r);
}
