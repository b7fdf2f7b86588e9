/* The list of scenarios, and what they have in common. */
#include "overlay/base/rng.h"
#include "tools/sim_scenario_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define SETTLE_MAX_US (10 * SIM_MINUTE)
#define CHECK_EVERY_US (10 * SIM_SECOND)
#define CHECK_PAIRS 256u /* of neighbours, at each look */

static const struct sim_scenario scenarios[] = {
	{ "hops", "mean hops of lookups in rings of 100 to 100,000 nodes",
	    scenario_hops },
	{ "stretch", "delay of lookups against the direct way",
	    scenario_stretch },
	{ "churn", "nodes come and go for an hour; lookups and their cost",
	    scenario_churn },
	{ "partition", "the network is cut for minutes, then healed",
	    scenario_partition },
	{ "broken", "pairs of nodes that can not reach each other",
	    scenario_broken },
	{ "mass", "30 % of all nodes vanish at once", scenario_mass },
	{ "sleep", "machines sleep for minutes and wake", scenario_sleep },
	{ "join-storm", "a whole ring joins ten nodes within a second",
	    scenario_join_storm },
	{ "liars", "some nodes send garbage and wrong leaf sets",
	    scenario_liars },
	{ "faults", "a small ring and everything that can go wrong, by chance",
	    scenario_faults },
};

const struct sim_scenario *
sim_scenario_at(unsigned n)
{
	return n < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[n]
							    : NULL;
}

const struct sim_scenario *
sim_scenario_find(const char *name)
{
	const struct sim_scenario *sc;

	for (unsigned n = 0; (sc = sim_scenario_at(n)); n++)
		if (strcmp(sc->name, name) == 0)
			break;
	return sc;
}

void
sim_scenario_run(const struct sim_scenario *sc, const struct sim_ask *ask,
    struct sim_report *out)
{
	memset(out, 0, sizeof(*out));
	sc->run(ask, out);
}

bool
sim_report_well(const struct sim_report *r)
{
	return r->hurts == 0 && !r->no_memory;
}

/* ---- a run -------------------------------------------------------------- */

/* Fault rates by chance, each a few times as bad as a bad network's. */
static void
draw_faults(struct sim_config *c)
{
	struct rng r;

	rng_init(&r, c->seed ^ UINT64_C(0x6661756c7473));
	c->loss_ppm = (uint32_t)rng_below(&r, 100000);
	c->dup_ppm = (uint32_t)rng_below(&r, 20000);
	c->reorder_ppm = (uint32_t)rng_below(&r, 50000);
	c->broken_ppm = (uint32_t)rng_below(&r, 50000);
	c->drift_ppm = (uint32_t)rng_below(&r, 200);
	c->jitter_us = (uint32_t)rng_below(&r, 50000);
	c->span_us = (uint32_t)(1000 + rng_below(&r, 200000));
	c->topology = rng_below(&r, 2) ? SIM_TORUS : SIM_TRANSIT;
}

void
run_init(struct sim_run *r, const struct sim_ask *ask,
    struct sim_report *report, unsigned nodes)
{
	memset(r, 0, sizeof(*r));
	r->ask = ask;
	r->report = report;
	r->nodes = ask->nodes ? (unsigned)ask->nodes : nodes;
	sim_config_init(&r->config, ask->seed, r->nodes);
	r->config.code = &sim_node_code;
	r->check_every_us = CHECK_EVERY_US;
}

bool
run_begin(struct sim_run *r)
{
	struct sim_config *c = &r->config;

	c->nodes = r->nodes + r->nodes / 4 + 16;
	if (r->ask->transit)
		c->topology = SIM_TRANSIT;
	if (r->ask->random_faults)
		draw_faults(c);
	if (r->ask->loss_given)
		c->loss_ppm = (uint32_t)r->ask->loss_ppm;
	if (r->ask->broken_given)
		c->broken_ppm = (uint32_t)r->ask->broken_ppm;
	if (r->ask->leaf_half)
		c->node.leaf_half = (unsigned)r->ask->leaf_half;
	c->trace = r->ask->trace;
	r->sim = sim_new(c);
	if (!r->sim)
		r->report->no_memory = true;
	return r->sim != NULL;
}

void
run_end(struct sim_run *r)
{
	struct sim_report *out = r->report;
	const char *text;

	if (!r->sim)
		return;
	for (unsigned n = 0;
	     (text = sim_hurt_text(r->sim, n)) && out->told < SIM_HURTS_KEPT;
	     n++) {
		memcpy(out->hurt[out->told], text, sizeof(out->hurt[0]));
		out->told++;
	}
	out->hurts += sim_hurts(r->sim);
	out->no_memory = out->no_memory || sim_failed(r->sim);
	out->digest ^= sim_digest(r->sim);
	out->simulated_us += sim_now_us(r->sim);
	out->events += sim_events(r->sim);
	sim_free(r->sim);
	r->sim = NULL;
}

double
run_wait(struct sim_run *r, bool (*holds)(struct sim *s), uint64_t max_us,
    const char *what)
{
	uint64_t begun = sim_now_us(r->sim);
	char why[64];

	if (!sim_run_until(r->sim, holds, SIM_SECOND, max_us)) {
		sim_leaves_why(r->sim, why, sizeof(why));
		sim_hurt(r->sim,
		    "%.3f s: %s: not within %" PRIu64
		    " s; %u of %u nodes are wrong: %s",
		    (double)sim_now_us(r->sim) / SIM_SECOND, what,
		    max_us / SIM_SECOND, sim_leaves_wrong(r->sim),
		    sim_alive(r->sim), why);
	}
	return (double)(sim_now_us(r->sim) - begun) / SIM_SECOND;
}

bool
run_ring(struct sim_run *r)
{
	if (!run_begin(r))
		return false;
	sim_grow(r->sim, r->nodes); /* slow ones are waited for next */
	run_wait(r, sim_leaves_match, SETTLE_MAX_US,
	    "right leaf sets after joining");
	return true;
}

uint64_t
run_minutes(const struct sim_run *r, uint64_t own)
{
	return r->ask->minutes ? r->ask->minutes : own;
}

void
run_traffic(struct sim_run *r, uint64_t us, uint64_t per_minute)
{
	uint64_t end = sim_now_us(r->sim) + us, lookup, next;

	if (r->ask->lookups)
		per_minute = r->ask->lookups;
	lookup = UINT64_MAX;
	if (r->check_us < sim_now_us(r->sim))
		r->check_us = sim_now_us(r->sim);
	if (per_minute)
		lookup = sim_now_us(r->sim) +
			 run_exponential_us(r->sim, SIM_MINUTE / per_minute);
	for (;;) {
		next = lookup < r->check_us ? lookup : r->check_us;
		if (next >= end || sim_failed(r->sim))
			break;
		sim_run_to(r->sim, next);
		if (next == lookup) {
			sim_lookup_by_chance(r->sim);
			lookup +=
			    run_exponential_us(r->sim, SIM_MINUTE / per_minute);
		}
		if (next == r->check_us) {
			sim_check_claims(
			    r->sim, 1 + sim_alive(r->sim) / CHECK_PAIRS);
			r->check_us += r->check_every_us;
		}
	}
	sim_run_to(r->sim, end);
}

static bool
no_lookup_waiting(struct sim *s)
{
	return sim_lookups_waiting(s) == 0;
}

void
run_drain(struct sim_run *r)
{
	run_wait(
	    r, no_lookup_waiting, 2 * r->config.lost_us, "end of all lookups");
}

/* Von Neumann's way: only comparisons of uniform numbers. */
uint64_t
run_exponential_us(struct sim *s, uint64_t mean_us)
{
	for (uint64_t whole = 0;; whole++) {
		uint64_t first = sim_chance(s, UINT64_C(1) << 32);
		uint64_t last = first, next;
		unsigned length = 1;

		while ((next = sim_chance(s, UINT64_C(1) << 32)) < last) {
			last = next;
			length++;
		}
		if (length % 2)
			return 1 + whole * mean_us +
			       (uint64_t)((unsigned __int128)mean_us * first >>
					  32);
	}
}

/* ---- rows --------------------------------------------------------------- */

void
row(struct sim_report *out, double value, unsigned decimals, const char *format,
    ...)
{
	struct sim_row *to = &out->row[out->rows];
	va_list args;

	if (out->rows == SIM_ROWS_MAX)
		return;
	va_start(args, format);
	vsnprintf(to->what, sizeof(to->what), format, args);
	va_end(args);
	to->value = value;
	to->decimals = decimals;
	out->rows++;
}

void
row_most(struct sim_report *out, double most)
{
	if (!out->rows)
		return;
	out->row[out->rows - 1].limited = true;
	out->row[out->rows - 1].most = most;
}

static double
per(double a, double b)
{
	return b > 0 ? a / b : 0;
}

void
rows_lookups(struct sim_run *r, const struct sim_figures *f)
{
	struct sim_report *out = r->report;

	row(out, (double)f->lookups, 0, "lookups");
	row(out, (double)f->lost, 0, "not arrived within two minutes");
	row_most(out, 0);
	row(out, (double)f->forsaken, 0, "whose sender died first");
	row(out, per((double)f->wrong * 1e6, (double)f->arrived), 2,
	    "at a wrong node, in a million");
	row_most(out, 1);
	row(out, (double)f->unsafe, 0, "of these, the right one claimed it");
	row_most(out, 0);
	row(out, per((double)f->prompt * 100, (double)f->arrived), 4,
	    "arrived within two seconds, per cent");
	row(out, (double)f->doubled, 0, "arrived twice");
	row(out, per((double)f->hops, (double)f->arrived), 3, "mean hops");
	row(out, per((double)f->delay_us, (double)f->direct_us), 3,
	    "mean delay by mean direct delay");
}

void
rows_messages(struct sim_run *r, const struct sim_figures *f)
{
	double seconds = (double)f->node_us / SIM_SECOND;
	struct sim_report *out = r->report;

	row(out, per(sim_maintenance(f), seconds), 4,
	    "maintenance messages per node and second");
	row_most(out, 0.5);
	for (unsigned k = 1; k < MSG_KIND_END; k++) {
		double n = (double)f->sent[k];

		if (k == MSG_ROUTE)
			n = (double)f->sent_joins;
		if (n > 0)
			row(out, per(n, seconds), 4, "  %s%s",
			    message_name((enum message_kind)k),
			    k == MSG_ROUTE       ? " (no lookups)"
			    : k == MSG_ROUTE_ACK ? " (lookups' too)"
						 : "");
	}
	row(out, per((double)f->sent_lookup, seconds), 4,
	    "messages of lookups per node and second");
	row(out, per((double)f->frame_bytes, seconds), 1,
	    "bytes of all kinds per node and second");
	row(out, per((double)f->links, seconds), 4,
	    "links made per node and second");
}

void
rows_memory(struct sim_run *r)
{
	size_t nodes, kernel;
	unsigned alive = sim_alive(r->sim);

	sim_bytes(r->sim, &nodes, &kernel);
	row(r->report, per((double)nodes / 1024, alive), 1,
	    "%u nodes: memory of one, KiB", alive);
	row(r->report, per((double)(nodes + kernel) / 1024, alive), 1,
	    "  with the simulator's share");
	row_most(r->report, 64);
}

void
sim_report_print(const struct sim_report *r, FILE *out)
{
	for (unsigned n = 0; n < r->rows; n++) {
		const struct sim_row *w = &r->row[n];

		fprintf(
		    out, "%-56s %14.*f", w->what, (int)w->decimals, w->value);
		if (w->limited)
			fprintf(out, "  %s %.*f",
			    w->value <= w->most ? "within" : "OVER",
			    (int)w->decimals, w->most);
		fputc('\n', out);
	}
	if (r->note[0])
		fprintf(out, "%s\n", r->note);
	for (unsigned n = 0; n < r->told; n++)
		fprintf(out, "breach: %s\n", r->hurt[n]);
	if (r->hurts > r->told)
		fprintf(out, "breach: and %u more\n", r->hurts - r->told);
	if (r->no_memory)
		fprintf(out, "out of memory: the run was cut short\n");
}
