/* Small rings in which everything goes wrong that can, one for each seed:
 * safety while it does, liveness after it is mended.  A failure prints the
 * command that repeats it.  All pairs of nodes reach each other here; broken
 * pairs are the scenario `broken`.
 *
 * POST_SIM_SEEDS=FIRST-LAST tries others. */
#include "tools/sim_scenario.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEED_FIRST 1u
#define SEED_LAST 300u
#define SEEDS_TWICE 8u

static unsigned
judge(const char *scenario, const struct sim_ask *ask, const char *options)
{
	struct sim_report *r = malloc(sizeof(*r));
	bool well;

	assert_non_null(r);
	sim_scenario_run(sim_scenario_find(scenario), ask, r);
	well = sim_report_well(r);
	if (!well) {
		print_message("post sim %s --seed %" PRIu64 "%s\n", scenario,
		    ask->seed, options);
		sim_report_print(r, stdout);
	}
	free(r);
	return !well;
}

static void
small_rings_survive_whatever_the_seed_brings(void **state)
{
	unsigned long long first = SEED_FIRST, last = SEED_LAST;
	const char *given = getenv("POST_SIM_SEEDS");
	struct sim_ask ask = { .broken_given = true };
	unsigned bad = 0;

	(void)state;
	if (given)
		assert_int_equal(sscanf(given, "%llu-%llu", &first, &last), 2);
	for (ask.seed = first; ask.seed <= last; ask.seed++)
		bad += judge("faults", &ask, " --broken 0");
	assert_int_equal(bad, 0);
}

static uint64_t
digest(uint64_t seed, FILE *trace)
{
	struct sim_ask ask = { .seed = seed, .trace = trace };
	struct sim_report *r = malloc(sizeof(*r));
	uint64_t d;

	assert_non_null(r);
	sim_scenario_run(sim_scenario_find("faults"), &ask, r);
	d = r->digest;
	free(r);
	return d;
}

static void
a_seed_gives_the_same_run_twice_traced_or_not(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS_TWICE; seed++) {
		FILE *trace = tmpfile();
		uint64_t once = digest(seed, NULL);

		assert_non_null(trace);
		assert_true(digest(seed, trace) == once);
		assert_true(ftell(trace) > 0);
		fclose(trace);
		assert_true(digest(seed + 1000, NULL) != once);
	}
}

/* The scenarios that measure, so small that they take no time. */
static void
every_scenario_ends_well_when_it_is_small(void **state)
{
	const struct sim_scenario *sc;
	struct sim_ask ask = {
		.seed = 1, .nodes = 40, .minutes = 5, .broken_given = true
	};
	unsigned bad = 0;

	(void)state;
	for (unsigned n = 0; (sc = sim_scenario_at(n)); n++)
		bad +=
		    judge(sc->name, &ask, " --nodes 40 --minutes 5 --broken 0");
	assert_int_equal(bad, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_gives_the_same_run_twice_traced_or_not),
		cmocka_unit_test(every_scenario_ends_well_when_it_is_small),
		cmocka_unit_test(small_rings_survive_whatever_the_seed_brings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
