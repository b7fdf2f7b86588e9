/* The simulator itself, with a node so simple that one can say what must
 * happen: it tries everybody it hears of, tells everybody whom it has a link
 * with, and claims what it is nearest to among these.  That is right as long as nothing is cut,
 * and wrong afterwards; the oracle must see both. */
#include "tools/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KNOWN_MAX 40u
#define TELL_US (5 * SIM_SECOND)
#define ACTIONS_MAX 256u

/* ---- the simple node ---------------------------------------------------- */

struct node {
	struct peer self;
	struct leaf_set *leaves;
	struct peer known[KNOWN_MAX];
	unsigned count;
	bool linked[KNOWN_MAX], ready, asked;
	uint64_t next_us, now_us;
	struct node_action act[ACTIONS_MAX];
	unsigned acts, taken;
	uint8_t frame[4096], keep[8];
	size_t frame_len;
	struct node_counters counters;
};

static bool claims_everything; /* a node that is worse still */

static struct node_action *
simple_act(struct node *n, enum node_action_kind kind, const struct peer *p)
{
	struct node_action *a = &n->act[n->acts++];

	assert_true(n->acts <= ACTIONS_MAX);
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	if (p)
		a->peer = *p;
	return a;
}

static enum err
simple_create(const struct node_config *c, struct node **out)
{
	struct node *n = calloc(1, sizeof(*n));

	assert_non_null(n);
	n->self = c->self;
	n->next_us = 0;
	assert_int_equal(
	    leaf_set_new(&n->self.id, c->leaf_half, &n->leaves), OK);
	*out = n;
	return OK;
}

static void
simple_destroy(struct node *n)
{
	leaf_set_free(n->leaves);
	free(n);
}

static void
simple_ready(struct node *n)
{
	if (!n->ready)
		simple_act(n, NODE_ACT_READY, NULL);
	n->ready = true;
}

static unsigned
simple_find(const struct node *n, const struct id *id)
{
	unsigned k = 0;

	while (k < n->count && !id_eq(&n->known[k].id, id))
		k++;
	return k;
}

static void
simple_learn(struct node *n, const struct peer *p)
{
	if (id_eq(&p->id, &n->self.id) || simple_find(n, &p->id) < n->count ||
	    n->count == KNOWN_MAX)
		return;
	n->linked[n->count] = false;
	n->known[n->count++] = *p;
	simple_act(n, NODE_ACT_CONNECT, p);
}

static void
simple_forget(struct node *n, const struct id *id)
{
	unsigned k = simple_find(n, id);

	if (k == n->count)
		return;
	n->count--;
	n->known[k] = n->known[n->count];
	n->linked[k] = n->linked[n->count];
	leaf_set_remove(n->leaves, id);
}

/* In a LEAVES frame. */
static void
simple_tell(struct node *n)
{
	struct wr w;

	wr_init(&w, n->frame, sizeof(n->frame));
	wr_be(&w, MSG_LEAVES, 1);
	for (unsigned k = 0; k < n->count; k++)
		if (n->linked[k])
			peer_write(&w, &n->known[k]);
	assert_false(w.bad);
	n->frame_len = wr_len(&w);
	for (unsigned k = 0; k < n->count; k++) {
		struct node_action *a;

		if (!n->linked[k])
			continue;
		a = simple_act(n, NODE_ACT_SEND, &n->known[k]);
		a->bytes = n->frame;
		a->len = n->frame_len;
	}
}

static void
simple_route(struct node *n, const struct id *key, const uint8_t *bytes,
    size_t len, bool arrived)
{
	const struct peer *to = leaf_set_nearest(n->leaves, key);
	struct node_action *a;
	struct rd r;

	memcpy(n->keep, bytes, len);
	if (to && !arrived) {
		struct wr w;

		wr_init(&w, n->frame, sizeof(n->frame));
		wr_be(&w, MSG_ROUTE, 1);
		wr_be(&w, SERVICE_TEST, 1);
		wr_bytes(&w, key->b, ID_BYTES);
		wr_bytes(&w, bytes, len);
		a = simple_act(n, NODE_ACT_SEND, to);
		a->bytes = n->frame;
		a->len = wr_len(&w);
		return;
	}
	a = simple_act(n, NODE_ACT_DELIVER, &n->self);
	a->key = *key;
	a->routed = true;
	a->hops = arrived;
	a->service = SERVICE_TEST;
	a->bytes = n->keep;
	a->len = len;
	rd_init(&r, n->keep, len);
	a->request = rd_be(&r, 8);
}

static enum err
simple_frame(struct node *n, const struct node_event *ev)
{
	struct rd r;
	struct peer p;
	struct id key;
	uint64_t kind;

	rd_init(&r, ev->bytes, ev->len);
	kind = rd_be(&r, 1);
	simple_learn(n, &ev->peer);
	if (kind == MSG_ROUTE) {
		rd_be(&r, 1);
		rd_bytes(&r, key.b, ID_BYTES);
		if (r.bad || rd_left(&r) != sizeof(n->keep))
			return ERR_MALFORMED;
		simple_route(n, &key, r.p, rd_left(&r), true);
		return OK;
	}
	if (kind != MSG_LEAVES || rd_left(&r) % PEER_BYTES)
		return ERR_MALFORMED;
	while (rd_left(&r)) {
		peer_read(&r, &p);
		simple_learn(n, &p);
	}
	return OK;
}

static enum err
simple_step(struct node *n, const struct node_event *ev)
{
	assert_true(ev->now_us >= n->now_us);
	assert_int_equal(n->acts, n->taken); /* all was taken */
	n->acts = n->taken = 0;
	n->now_us = ev->now_us;
	switch (ev->kind) {
	case NODE_EV_TIMER:
		if (!n->asked)
			simple_ready(n);
		if (ev->now_us < n->next_us)
			return OK;
		n->next_us = ev->now_us + TELL_US;
		simple_tell(n);
		return OK;
	case NODE_EV_CONTACT:
		n->asked = true;
		simple_learn(n, &ev->peer);
		return OK;
	case NODE_EV_LINK_UP:
		simple_learn(n, &ev->peer);
		n->linked[simple_find(n, &ev->peer.id)] = true;
		leaf_set_add(n->leaves, &ev->peer);
		simple_ready(n);
		return OK;
	case NODE_EV_LINK_FAILED:
		simple_forget(n, &ev->peer.id);
		return OK;
	case NODE_EV_FRAME:
		return simple_frame(n, ev);
	case NODE_EV_ROUTE:
		simple_route(n, &ev->key, ev->bytes, ev->len, false);
		return OK;
	default:
		return OK;
	}
}

static bool
simple_take(struct node *n, struct node_action *out)
{
	if (n->taken == n->acts)
		return false;
	*out = n->act[n->taken++];
	return true;
}

static uint64_t
simple_deadline(const struct node *n)
{
	return n->next_us;
}

static bool
simple_is_ready(const struct node *n)
{
	return n->ready;
}

static bool
simple_is_home(const struct node *n, const struct id *key, uint64_t now_us)
{
	(void)now_us;
	return n->ready &&
	       (claims_everything || !leaf_set_nearest(n->leaves, key));
}

static const struct leaf_set *
simple_leaves(const struct node *n)
{
	return n->leaves;
}

static const struct node_counters *
simple_counters(const struct node *n)
{
	return &n->counters;
}

static size_t
simple_bytes(const struct node *n)
{
	return sizeof(*n);
}

static const struct sim_code simple = {
	.create = simple_create,
	.destroy = simple_destroy,
	.step = simple_step,
	.take = simple_take,
	.deadline_us = simple_deadline,
	.ready = simple_is_ready,
	.is_home = simple_is_home,
	.leaves = simple_leaves,
	.counters = simple_counters,
	.bytes = simple_bytes,
};

static struct sim *
simple_sim(uint64_t seed, unsigned nodes, FILE *trace)
{
	struct sim_config c;
	struct sim *s;

	claims_everything = false;
	sim_config_init(&c, seed, nodes);
	c.code = &simple;
	c.broken_ppm = 0;
	c.trace = trace;
	s = sim_new(&c);
	assert_non_null(s);
	return s;
}

/* ---- what must happen --------------------------------------------------- */

static void
nodes_find_one_another_and_lookups_arrive(void **state)
{
	struct sim *s = simple_sim(1, 16, NULL);
	const struct sim_figures *f;
	size_t nodes, kernel;

	(void)state;
	assert_true(sim_grow(s, 16));
	assert_true(sim_run_until(s, sim_leaves_match, SIM_SECOND, SIM_MINUTE));
	sim_run_for(s, SIM_MINUTE);
	for (unsigned k = 0; k < 100; k++)
		sim_lookup_by_chance(s);
	sim_run_for(s, SIM_MINUTE);
	sim_check_claims(s, 1);
	f = sim_figures(s);
	assert_int_equal(f->lookups, 100);
	assert_int_equal(f->arrived, 100);
	assert_int_equal(f->wrong, 0);
	assert_int_equal(f->lost, 0);
	assert_int_equal(f->links_failed, 0);
	assert_int_equal(sim_lookups_waiting(s), 0);
	assert_int_equal(sim_claimed_ppm(s, 100), 1000000);
	assert_int_equal(sim_hurts(s), 0);
	/* Over a link that is up a frame takes what light takes, and jitter. */
	assert_true(f->delay_us >= f->direct_us);
	assert_true(f->delay_us <= f->direct_us + f->timed * 2000);
	/* Half a millisecond, and 80 times the mean distance, 0.54. */
	assert_in_range(f->direct_us / f->timed, 30000, 57000);
	sim_bytes(s, &nodes, &kernel);
	assert_int_equal(nodes, 16 * sizeof(struct node));
	assert_true(kernel > 0);
	sim_free(s);
}

static uint64_t
an_eventful_run(uint64_t seed, FILE *trace)
{
	struct sim *s = simple_sim(seed, 12, trace);
	uint64_t digest;

	sim_set_faults(s, 50000, 0, 0);
	sim_set_broken(s, 50000);
	sim_grow(s, 12);
	for (unsigned k = 0; k < 10; k++) {
		sim_lookup_by_chance(s);
		sim_run_for(s, 3 * SIM_SECOND);
	}
	sim_cut(s, 30, true);
	sim_end(s, sim_pick_alive(s), SIM_VANISH);
	sim_run_for(s, SIM_MINUTE);
	sim_heal(s);
	sim_spawn(s);
	sim_run_for(s, SIM_MINUTE);
	digest = sim_digest(s);
	assert_false(sim_failed(s));
	sim_free(s);
	return digest;
}

static void
a_seed_replays_a_run_and_the_trace_changes_nothing(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *trace = open_memstream(&text, &len);
	uint64_t digest = an_eventful_run(7, NULL);

	(void)state;
	assert_non_null(trace);
	assert_true(an_eventful_run(7, NULL) == digest);
	assert_true(an_eventful_run(7, trace) == digest);
	assert_true(an_eventful_run(8, NULL) != digest);
	fclose(trace);
	assert_non_null(strstr(text, "LEAVES"));
	assert_non_null(strstr(text, "cut: 30 %, one way"));
	assert_non_null(strstr(text, "has no link with"));
	free(text);
}

static void
two_halves_that_are_cut_see_failed_links_and_not_each_other(void **state)
{
	struct sim *s = simple_sim(3, 12, NULL);

	(void)state;
	assert_true(sim_grow(s, 12));
	assert_true(sim_run_until(s, sim_leaves_match, SIM_SECOND, SIM_MINUTE));
	sim_cut(s, 50, false);
	assert_false(sim_leaves_match(s));
	/* Twenty seconds until the links break, five for each new try. */
	assert_true(sim_run_until(s, sim_leaves_match, SIM_SECOND, SIM_MINUTE));
	assert_true(sim_figures(s)->links_failed > 0);
	sim_check_claims(s, 1);
	assert_int_equal(sim_hurts(s), 0); /* each side has one home */
	sim_free(s);
}

static void
two_homes_of_one_key_are_noticed(void **state)
{
	struct sim *s = simple_sim(4, 8, NULL);

	(void)state;
	assert_true(sim_grow(s, 8));
	assert_true(sim_run_until(s, sim_leaves_match, SIM_SECOND, SIM_MINUTE));
	sim_check_claims(s, 1);
	assert_int_equal(sim_hurts(s), 0);
	claims_everything = true;
	sim_check_claims(s, 1);
	assert_true(sim_hurts(s) > 0);
	assert_non_null(strstr(sim_hurt_text(s, 0), "both claim"));
	sim_free(s);
}

/* This node believes a failed link; where pairs are broken it comes to believe
 * that nodes are dead which are not. */
static void
a_delivery_at_the_wrong_node_is_noticed(void **state)
{
	struct sim *s = simple_sim(5, 12, NULL);

	(void)state;
	assert_true(sim_grow(s, 12));
	sim_run_for(s, SIM_MINUTE);
	sim_set_broken(s, 500000);
	sim_run_for(s, SIM_MINUTE);
	for (unsigned k = 0; k < 100; k++)
		sim_lookup_by_chance(s);
	sim_run_for(s, SIM_MINUTE);
	assert_true(sim_figures(s)->wrong > 0);
	assert_true(sim_figures(s)->unsafe > 0);
	assert_true(sim_hurts(s) > 0);
	sim_free(s);
}

static void
lookups_that_never_arrive_are_counted_lost(void **state)
{
	struct sim *s = simple_sim(6, 8, NULL);
	const struct sim_figures *f;

	(void)state;
	assert_true(sim_grow(s, 8));
	sim_run_for(s, SIM_MINUTE);
	sim_set_faults(s, 1000000, 0, 0);
	for (unsigned k = 0; k < 50; k++)
		sim_lookup_by_chance(s);
	sim_run_for(s, 3 * SIM_MINUTE);
	f = sim_figures(s);
	assert_int_equal(f->arrived + f->lost, 50);
	assert_true(f->lost > 25);
	sim_free(s);
}

static void
one_that_sleeps_misses_frames_and_one_that_restarts_is_itself(void **state)
{
	struct sim *s = simple_sim(9, 8, NULL);
	struct id id;
	uint32_t i;

	(void)state;
	assert_true(sim_grow(s, 8));
	sim_run_for(s, SIM_MINUTE);
	i = sim_pick(s);
	id = leaf_set_member(simple_leaves(sim_node(s, i)), 0)->id;
	sim_sleep(s, i, 2 * SIM_MINUTE);
	assert_int_equal(sim_ready(s), 7);
	sim_run_for(s, SIM_MINUTE);
	assert_true(sim_leaves_match(s)); /* the others' links broke */
	sim_run_for(s, 2 * SIM_MINUTE);
	assert_int_equal(sim_ready(s), 8);
	assert_true(sim_leaves_match(s));

	sim_end(s, i, SIM_CRASH);
	assert_false(sim_is_alive(s, i));
	sim_run_for(s, SIM_SECOND);
	assert_true(sim_leaves_match(s)); /* a crash is seen at once */
	sim_restart(s, i);
	sim_run_for(s, SIM_MINUTE);
	assert_true(sim_leaves_match(s));
	assert_true(simple_find(sim_node(s, i), &id) < sim_node(s, i)->count);
	sim_free(s);
}

static void
loss_and_doubling_are_as_often_as_asked_for(void **state)
{
	struct sim_config c;
	struct sim *s;
	const struct sim_figures *f;
	uint64_t got;

	(void)state;
	claims_everything = false;
	sim_config_init(&c, 11, 16);
	c.code = &simple;
	c.broken_ppm = 0;
	c.loss_ppm = 200000;
	s = sim_new(&c);
	assert_non_null(s);
	sim_grow(s, 16);
	sim_run_for(s, SIM_MINUTE);
	sim_figures_reset(s);
	for (unsigned k = 0; k < 2000; k++)
		sim_lookup_by_chance(s);
	sim_run_for(s, 3 * SIM_MINUTE);
	f = sim_figures(s);
	/* Those for another node, of which a fifth is lost: within 4 sigma. */
	got = f->timed * 1000 / (f->timed + f->lost);
	assert_in_range(got, 760, 840);
	assert_int_equal(f->doubled, 0);
	sim_free(s);

	c.loss_ppm = 0;
	c.dup_ppm = 200000;
	s = sim_new(&c);
	assert_non_null(s);
	sim_grow(s, 16);
	sim_run_for(s, SIM_MINUTE);
	sim_figures_reset(s);
	for (unsigned k = 0; k < 2000; k++)
		sim_lookup_by_chance(s);
	sim_run_for(s, 3 * SIM_MINUTE);
	f = sim_figures(s);
	assert_int_equal(f->lost, 0);
	got = f->doubled * 1000 / f->timed;
	assert_in_range(got, 160, 240);
	sim_free(s);
}

static void
a_node_that_lies_is_left_out_and_its_frames_are_refused(void **state)
{
	struct sim *s = simple_sim(12, 8, NULL);

	(void)state;
	assert_true(sim_grow(s, 8));
	sim_run_for(s, SIM_MINUTE);
	assert_int_equal(sim_figures(s)->malformed, 0);
	sim_lie(s, sim_pick(s), SIM_LIE_GARBAGE);
	sim_run_for(s, SIM_MINUTE);
	assert_true(sim_figures(s)->malformed > 0);
	assert_true(sim_leaves_match(s));
	sim_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_find_one_another_and_lookups_arrive),
		cmocka_unit_test(
		    a_seed_replays_a_run_and_the_trace_changes_nothing),
		cmocka_unit_test(
		    two_halves_that_are_cut_see_failed_links_and_not_each_other),
		cmocka_unit_test(two_homes_of_one_key_are_noticed),
		cmocka_unit_test(a_delivery_at_the_wrong_node_is_noticed),
		cmocka_unit_test(lookups_that_never_arrive_are_counted_lost),
		cmocka_unit_test(
		    one_that_sleeps_misses_frames_and_one_that_restarts_is_itself),
		cmocka_unit_test(loss_and_doubling_are_as_often_as_asked_for),
		cmocka_unit_test(
		    a_node_that_lies_is_left_out_and_its_frames_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
