/* sim_scenario.h - runs of the simulator that answer a question, and the tables
 * they print.
 *
 * A scenario makes its own simulator from what is asked for, lets things
 * happen, and fills a report: rows of figures, some with what they may be at
 * most; breaches that the oracle saw; what did not come about in time.  The
 * last two, not the rows, make a run a failure. */
#ifndef POST_TOOLS_SIM_SCENARIO_H
#define POST_TOOLS_SIM_SCENARIO_H

#include "tools/sim.h"

#define SIM_ROWS_MAX 96u

/* 0 (or false): as the scenario has it. */
struct sim_ask {
	uint64_t seed, nodes, minutes, session_minutes, leaf_half;
	uint64_t lookups; /* in a minute, of all nodes together */
	bool loss_given, broken_given;
	uint64_t loss_ppm, broken_ppm;
	bool random_faults; /* fault rates drawn from the seed */
	bool transit; /* topology */
	FILE *trace;
};

struct sim_row {
	char what[56];
	double value;
	unsigned decimals;
	bool limited;
	double most;
};

struct sim_report {
	struct sim_row row[SIM_ROWS_MAX];
	unsigned rows;
	char note[512]; /* what the figures mean, if it needs saying */
	unsigned hurts, told; /* breaches; how many of them are in words */
	char hurt[SIM_HURTS_KEPT][160];
	uint64_t digest, events, simulated_us;
	bool no_memory;
};

struct sim_scenario {
	const char *name, *summary;
	void (*run)(const struct sim_ask *ask, struct sim_report *out);
};

/* NULL past the last. */
const struct sim_scenario *sim_scenario_at(unsigned n);
const struct sim_scenario *sim_scenario_find(const char *name);

/* *out is filled anew. */
void sim_scenario_run(const struct sim_scenario *sc, const struct sim_ask *ask,
    struct sim_report *out);

/* Nothing was breached and nothing failed to come about. */
bool sim_report_well(const struct sim_report *r);
void sim_report_print(const struct sim_report *r, FILE *out);

#endif
