/* post sim: the node's code on a made-up network (sim.h), and what came of it.
 * One seed, one run: a breach is printed with the command that repeats it. */
#include "tools/post.h"
#include "tools/post_json.h"
#include "tools/sim_scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define NODES_MOST 1000000u
#define MINUTES_MOST (60u * 24 * 30)

struct wish {
	struct sim_ask ask;
	uint64_t hours;
	const char *faults, *topology, *trace, *loss, *broken;
	char command[512]; /* that repeats the run */
};

static int
list(const struct common *c)
{
	const struct sim_scenario *sc;
	json_t *all = c->json ? json_array() : NULL;

	if (c->json && !all)
		return fail(STATUS_AGAIN, "out of memory: free some");
	for (unsigned n = 0; (sc = sim_scenario_at(n)); n++) {
		if (!c->json)
			printf("  %-12s %s\n", sc->name, sc->summary);
		else if (json_array_append_new(
			     all, json_pack("{s:s, s:s}", "name", sc->name,
				      "summary", sc->summary))) {
			json_decref(all);
			return fail(STATUS_AGAIN, "out of memory: free some");
		}
	}
	return c->json ? json_print(all) : STATUS_DONE;
}

/* Add " --name value" to the command that repeats. */
static void
repeat_with(struct wish *w, const char *name, const char *value)
{
	size_t at = strlen(w->command);

	text_format(
	    w->command + at, sizeof(w->command) - at, " --%s %s", name, value);
}

static void
repeat_number(struct wish *w, const char *name, uint64_t value)
{
	char text[24];

	if (value && text_format(text, sizeof(text), "%" PRIu64, value))
		repeat_with(w, name, text);
}

/* 0 is a wish, too, so it can not stand for none. */
static int
wish_ppm(const char *option, const char *text, bool *given, uint64_t *ppm)
{
	char *end;

	if (!text)
		return STATUS_DONE;
	errno = 0;
	*ppm = strtoull(text, &end, 10);
	if (errno || end == text || *end || *ppm > 1000000)
		return fail(STATUS_USAGE,
		    "%s: '%s': a number of parts in a million", option, text);
	*given = true;
	return STATUS_DONE;
}

static int
wish_check(struct wish *w, const char *scenario)
{
	struct sim_ask *a = &w->ask;
	int status;

	text_format(w->command, sizeof(w->command), "post sim %s", scenario);
	if (w->hours > MINUTES_MOST / 60 || a->minutes > MINUTES_MOST)
		return fail(STATUS_USAGE, "sim: so long a time can not be "
					  "simulated: at most 30 days");
	a->minutes += w->hours * 60;
	if (a->nodes > NODES_MOST)
		return fail(STATUS_USAGE, "--nodes: at most %u", NODES_MOST);
	if (a->leaf_half > LEAF_HALF_MAX)
		return fail(
		    STATUS_USAGE, "--leaf-half: at most %u", LEAF_HALF_MAX);
	if ((status = wish_ppm(
		 "--loss", w->loss, &a->loss_given, &a->loss_ppm)) ||
	    (status = wish_ppm(
		 "--broken", w->broken, &a->broken_given, &a->broken_ppm)))
		return status;
	if (w->faults && strcmp(w->faults, "random") == 0)
		a->random_faults = true;
	else if (w->faults && strcmp(w->faults, "usual") != 0)
		return fail(STATUS_USAGE, "--faults: '%s': 'random' or 'usual'",
		    w->faults);
	if (w->topology && strcmp(w->topology, "transit") == 0)
		a->transit = true;
	else if (w->topology && strcmp(w->topology, "torus") != 0)
		return fail(STATUS_USAGE,
		    "--topology: '%s': 'torus' or 'transit'", w->topology);
	repeat_number(w, "nodes", a->nodes);
	repeat_number(w, "minutes", a->minutes);
	repeat_number(w, "session", a->session_minutes);
	repeat_number(w, "lookups", a->lookups);
	repeat_number(w, "leaf-half", a->leaf_half);
	if (w->loss)
		repeat_with(w, "loss", w->loss);
	if (w->broken)
		repeat_with(w, "broken", w->broken);
	if (a->random_faults)
		repeat_with(w, "faults", "random");
	if (a->transit)
		repeat_with(w, "topology", "transit");
	return STATUS_DONE;
}

static int
print_json(const struct sim_report *r, const char *scenario, uint64_t seed,
    double seconds)
{
	json_t *rows = json_array(), *hurts = json_array();
	bool good = rows && hurts;

	for (unsigned n = 0; good && n < r->rows; n++) {
		const struct sim_row *w = &r->row[n];

		good = json_array_append_new(rows,
			   w->limited
			       ? json_pack("{s:s, s:f, s:f}", "what", w->what,
				     "value", w->value, "most", w->most)
			       : json_pack("{s:s, s:f}", "what", w->what,
				     "value", w->value)) == 0;
	}
	for (unsigned n = 0; good && n < r->told; n++)
		good =
		    json_array_append_new(hurts, json_string(r->hurt[n])) == 0;
	if (!good) {
		json_decref(rows);
		json_decref(hurts);
		return fail(STATUS_AGAIN, "out of memory: free some");
	}
	return json_print(
	    json_pack("{s:s, s:I, s:b, s:o, s:o, s:I, s:f, s:f, s:I, s:s}",
		"scenario", scenario, "seed", (json_int_t)seed, "ok",
		sim_report_well(r), "rows", rows, "breaches", hurts,
		"breaches_count", (json_int_t)r->hurts, "simulated_s",
		(double)r->simulated_us / SIM_SECOND, "real_s", seconds,
		"events", (json_int_t)r->events, "note", r->note));
}

static void
print_text(const struct sim_report *r, uint64_t seed, double seconds)
{
	char count[32], memory[32];
	struct rusage use;

	sim_report_print(r, stdout);
	printf("%s events, %.1f h simulated in %.1f s",
	    text_count(r->events, count), (double)r->simulated_us / SIM_HOUR,
	    seconds);
	if (getrusage(RUSAGE_SELF, &use) == 0)
		printf("; at most %s in memory",
		    text_bytes((uint64_t)use.ru_maxrss * 1024, memory));
	printf("; seed %" PRIu64 ", digest %016" PRIx64 "\n", seed, r->digest);
}

static int
run(const struct common *c, struct wish *w, const struct sim_scenario *sc)
{
	struct sim_report *r = malloc(sizeof(*r));
	int64_t begun = clock_steady_ns();
	double seconds;
	int status = STATUS_DONE;

	if (!r)
		return fail(STATUS_AGAIN, "out of memory: free some");
	if (w->trace && !(w->ask.trace = fopen(w->trace, "we"))) {
		free(r);
		return fail(STATUS_FAILED, "%s: %s: name another file",
		    w->trace, strerror(errno));
	}
	sim_scenario_run(sc, &w->ask, r);
	seconds = (double)(clock_steady_ns() - begun) / 1e9;
	if (w->ask.trace && (ferror(w->ask.trace) | fclose(w->ask.trace)))
		status = fail(STATUS_FAILED,
		    "%s: not all of the trace could be written: make room",
		    w->trace);
	if (!c->json)
		print_text(r, w->ask.seed, seconds);
	else if (status == STATUS_DONE)
		status = print_json(r, sc->name, w->ask.seed, seconds);
	if (!sim_report_well(r)) {
		repeat_number(w, "seed", w->ask.seed);
		status = r->no_memory
			     ? fail(STATUS_AGAIN,
				   "sim: out of memory: ask for fewer nodes")
			     : fail(STATUS_FAILED,
				   "sim: %u breaches with seed %" PRIu64
				   ": to see it again: %s",
				   r->hurts, w->ask.seed, w->command);
	}
	free(r);
	return status;
}

int
cmd_sim(struct common *c, int argc, char **argv)
{
	struct wish w = { .ask = { .seed = 1 } };
	const struct sim_scenario *sc;
	const struct opt opts[] = {
		{ .name = "nodes",
		    .kind = OPT_NUMBER,
		    .into = &w.ask.nodes,
		    .arg = "N",
		    .help = "how many; each scenario has its own default" },
		{ .name = "seed",
		    .kind = OPT_NUMBER,
		    .into = &w.ask.seed,
		    .arg = "S",
		    .help = "of all chance (1)" },
		{ .name = "hours",
		    .kind = OPT_NUMBER,
		    .into = &w.hours,
		    .arg = "N",
		    .help = "simulated time of the main part" },
		{ .name = "minutes",
		    .kind = OPT_NUMBER,
		    .into = &w.ask.minutes,
		    .arg = "N",
		    .help = "added to that" },
		{ .name = "session",
		    .kind = OPT_NUMBER,
		    .into = &w.ask.session_minutes,
		    .arg = "N",
		    .help = "churn: median of a node's life, minutes (60)" },
		{ .name = "lookups",
		    .kind = OPT_NUMBER,
		    .into = &w.ask.lookups,
		    .arg = "N",
		    .help = "in a minute, of all nodes together" },
		{ .name = "loss",
		    .kind = OPT_TEXT,
		    .into = &w.loss,
		    .arg = "N",
		    .help = "lost frames in a million" },
		{ .name = "broken",
		    .kind = OPT_TEXT,
		    .into = &w.broken,
		    .arg = "N",
		    .help =
			"pairs in a million that can not reach each other" },
		{ .name = "leaf-half",
		    .kind = OPT_NUMBER,
		    .into = &w.ask.leaf_half,
		    .arg = "N",
		    .help = "half of the leaf set (12; hops: 8)" },
		{ .name = "topology",
		    .kind = OPT_TEXT,
		    .into = &w.topology,
		    .arg = "T",
		    .help = "torus, or transit: sites of some ten nodes" },
		{ .name = "faults",
		    .kind = OPT_TEXT,
		    .into = &w.faults,
		    .arg = "F",
		    .help = "random: rates drawn from the seed" },
		{ .name = "trace",
		    .kind = OPT_TEXT,
		    .into = &w.trace,
		    .arg = "FILE",
		    .help = "write a line for each event" },
		{ .name = "json",
		    .kind = OPT_FLAG,
		    .into = &c->json,
		    .help = "one JSON object" },
		COMMON_OPTS(c),
	};
	int status = verb_begin("sim", c, opts, &argc, argv, 1, 1);

	if (status >= 0)
		return status;
	if (strcmp(argv[0], "list") == 0)
		return list(c);
	sc = sim_scenario_find(argv[0]);
	if (!sc)
		return fail(STATUS_USAGE,
		    "sim: '%s': no such scenario: see 'post sim list'",
		    argv[0]);
	if ((status = wish_check(&w, sc->name)))
		return status;
	return run(c, &w, sc);
}
