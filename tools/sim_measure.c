/* Scenarios that measure: hops, stretch, churn. */
#include "tools/sim_scenario_private.h"

#include <stdio.h>
#include <string.h>

#define HOPS_LOOKUPS 4000u
#define LOOKUP_EVERY_US 1000u
#define WARM_MINUTES 10u

/* ---- hops --------------------------------------------------------------- */

static const struct {
	unsigned nodes;
	double most;
} hops_rings[] = { { 100, 1.68 }, { 1000, 2.42 }, { 10000, 3.17 },
	{ 100000, 3.91 } };

#define HOPS_RINGS (sizeof(hops_rings) / sizeof(hops_rings[0]))

static void
lookups_at_once(struct sim_run *r, unsigned count)
{
	for (unsigned n = 0; n < count && !sim_failed(r->sim); n++) {
		sim_lookup_by_chance(r->sim);
		sim_run_for(r->sim, LOOKUP_EVERY_US);
	}
	run_drain(r);
}

static void
hops_in(const struct sim_ask *ask, struct sim_report *out, unsigned nodes,
    double most)
{
	const struct sim_figures *f;
	struct sim_run r;

	run_init(&r, ask, out, nodes);
	r.nodes = nodes;
	r.config.node.leaf_half = 8;
	r.config.broken_ppm = 0;
	r.config.idle_us = UINT64_MAX; /* links are not what is measured */
	if (!run_ring(&r))
		return;
	row(out, (double)sim_now_us(r.sim) / SIM_SECOND, 0,
	    "%u nodes: joined and right after, s", nodes);
	sim_run_for(r.sim, run_minutes(&r, 1) * SIM_MINUTE);
	sim_figures_reset(r.sim);
	lookups_at_once(&r, HOPS_LOOKUPS);
	f = sim_figures(r.sim);
	row(out, f->arrived ? (double)f->hops / (double)f->arrived : 0, 3,
	    "%u nodes: mean hops", nodes);
	if (most > 0)
		row_most(out, most);
	row(out, (double)f->hops_max, 0, "%u nodes: most hops", nodes);
	row(out, (double)f->wrong, 0, "%u nodes: at a wrong node", nodes);
	rows_memory(&r);
	run_end(&r);
}

void
scenario_hops(const struct sim_ask *ask, struct sim_report *out)
{
	double most = 0;

	for (unsigned k = 0; k < HOPS_RINGS; k++) {
		if (!ask->nodes)
			hops_in(
			    ask, out, hops_rings[k].nodes, hops_rings[k].most);
		else if (hops_rings[k].nodes == ask->nodes)
			most = hops_rings[k].most;
	}
	if (ask->nodes)
		hops_in(ask, out, (unsigned)ask->nodes, most);
	snprintf(out->note, sizeof(out->note),
	    "Every node joined by its own messages; leaf set 16 unless given; "
	    "%u lookups a ring.",
	    HOPS_LOOKUPS);
}

/* ---- stretch ------------------------------------------------------------ */

void
scenario_stretch(const struct sim_ask *ask, struct sim_report *out)
{
	const struct sim_figures *f;
	struct sim_run r;

	run_init(&r, ask, out, 10000);
	r.config.broken_ppm = 0;
	r.config.idle_us = UINT64_MAX; /* the way, not the handshakes */
	if (!run_ring(&r))
		return;
	for (unsigned part = 0; part < 4; part++) {
		if (part)
			sim_run_for(
			    r.sim, run_minutes(&r, 60) * SIM_MINUTE / 3);
		sim_figures_reset(r.sim);
		lookups_at_once(&r, HOPS_LOOKUPS);
		f = sim_figures(r.sim);
		row(out,
		    f->direct_us ? (double)f->delay_us / (double)f->direct_us
				 : 0,
		    3, "mean delay by mean direct delay, after %.0f min",
		    (double)sim_now_us(r.sim) / SIM_MINUTE);
		row_most(out, 2);
		row(out, sim_ratio_median(f), 3, "  median of their ratio");
	}
	row(out, f->timed ? (double)f->direct_us / (double)f->timed / 1000 : 0,
	    1, "mean direct delay, ms");
	rows_lookups(&r, f);
	rows_memory(&r);
	run_end(&r);
}

/* ---- churn -------------------------------------------------------------- */

/* Nodes vanish, and new ones come, as often, each a Poisson process.  How
 * many lookups there are, r->ask says. */
static void
churn_for(struct sim_run *r, uint64_t us, uint64_t mean_us)
{
	uint64_t end = sim_now_us(r->sim) + us;
	uint64_t gap = mean_us / r->nodes, death, birth, next;

	death = sim_now_us(r->sim) + run_exponential_us(r->sim, gap);
	birth = sim_now_us(r->sim) + run_exponential_us(r->sim, gap);
	for (;;) {
		next = death < birth ? death : birth;
		if (next >= end || sim_failed(r->sim))
			break;
		run_traffic(r, next - sim_now_us(r->sim), 0);
		if (next == death) {
			uint32_t i = sim_pick_alive(r->sim);

			if (i != SIM_NONE && sim_alive(r->sim) > 2)
				sim_end(r->sim, i, SIM_VANISH);
			death += run_exponential_us(r->sim, gap);
		}
		if (next == birth) {
			sim_spawn(r->sim);
			birth += run_exponential_us(r->sim, gap);
		}
	}
	run_traffic(r, end - sim_now_us(r->sim), 0);
}

void
scenario_churn(const struct sim_ask *ask, struct sim_report *out)
{
	uint64_t median, mean_us, minutes;
	struct sim_ask mine = *ask;
	uint64_t claimed = 0;
	struct sim_run r;

	run_init(&r, &mine, out, 1000);
	median = ask->session_minutes ? ask->session_minutes : 60;
	/* An exponential's mean is its median by ln 2. */
	mean_us = median * SIM_MINUTE / 1000 * 1443;
	if (!mine.lookups)
		mine.lookups = (uint64_t)r.nodes * 60 / 100; /* 0.01 a s */
	r.config.loss_ppm = 50000;
	minutes = run_minutes(&r, 60);
	if (!run_ring(&r))
		return;
	churn_for(&r, WARM_MINUTES * SIM_MINUTE, mean_us);
	sim_figures_reset(r.sim);
	for (uint64_t m = 0; m < minutes && !sim_failed(r.sim); m++) {
		churn_for(&r, SIM_MINUTE, mean_us);
		claimed += sim_claimed_ppm(r.sim, 1000);
	}
	row(out, (double)r.nodes, 0, "nodes");
	row(out, (double)median, 0, "median session, minutes");
	row(out, (double)sim_figures(r.sim)->ended, 0, "died in %u minutes",
	    (unsigned)minutes);
	rows_messages(&r, sim_figures(r.sim));
	run_drain(&r);
	rows_lookups(&r, sim_figures(r.sim));
	row(out, (double)claimed / (double)minutes / 10000, 3,
	    "of all keys had a home, per cent");
	row(out, (double)sim_figures(r.sim)->claims_checked, 0,
	    "keys asked for two homes");
	row(out, (double)sim_figures(r.sim)->claims_double, 0,
	    "  that had two");
	row_most(out, 0);
	row(out, (double)sim_leaves_wrong(r.sim), 0,
	    "leaf sets not right at the end");
	rows_memory(&r);
	run_end(&r);
}
