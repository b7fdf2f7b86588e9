/* sim_scenario_private.h - what scenarios share. */
#ifndef POST_TOOLS_SIM_SCENARIO_PRIVATE_H
#define POST_TOOLS_SIM_SCENARIO_PRIVATE_H

#include "tools/sim_scenario.h"

struct sim_run {
	const struct sim_ask *ask;
	struct sim_report *report;
	struct sim_config config; /* change it before run_begin() */
	struct sim *sim;
	unsigned nodes;
	uint64_t check_every_us, check_us; /* claims; 10 s, and when next */
};

/* The scenario's own number of nodes, unless another is asked for.  Then
 * run_begin() makes the simulator, with room for a quarter more; false if
 * there is no memory. */
void run_init(struct sim_run *r, const struct sim_ask *ask,
    struct sim_report *report, unsigned nodes);
bool run_begin(struct sim_run *r);
/* Take over what the oracle saw, count and free. */
void run_end(struct sim_run *r);
/* run_begin(), and a ring of r->nodes whose leaf sets are right. */
bool run_ring(struct sim_run *r);

uint64_t run_minutes(const struct sim_run *r, uint64_t own);

/* `holds` within max_us, or a breach that says `what` did not come about.
 * Seconds it took (of a resolution of one), for a row. */
double run_wait(struct sim_run *r, bool (*holds)(struct sim *s),
    uint64_t max_us, const char *what);

/* Let time pass with lookups at random, `per_minute` of all nodes together,
 * and a look at claims every check_every_us. */
void run_traffic(struct sim_run *r, uint64_t us, uint64_t per_minute);
/* Until all lookups arrived or are lost. */
void run_drain(struct sim_run *r);

/* An exponentially distributed time with this mean, in integers. */
uint64_t run_exponential_us(struct sim *s, uint64_t mean_us);

void row(struct sim_report *out, double value, unsigned decimals,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The last row may be at most that. */
void row_most(struct sim_report *out, double most);
void rows_lookups(struct sim_run *r, const struct sim_figures *f);
void rows_messages(struct sim_run *r, const struct sim_figures *f);
void rows_memory(struct sim_run *r);

typedef void sim_scenario_fn(const struct sim_ask *ask, struct sim_report *out);
/* sim_measure.c */
sim_scenario_fn scenario_hops, scenario_stretch, scenario_churn;
/* sim_mishaps.c */
sim_scenario_fn scenario_partition, scenario_broken, scenario_mass,
    scenario_sleep, scenario_join_storm, scenario_liars;
/* sim_faults.c */
sim_scenario_fn scenario_faults;

#endif
