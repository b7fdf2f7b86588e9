/* Nodes that join, keep their leaf sets, and bring requests home. */
#include "tests/unit/node_test.h"

static void
a_node_alone_is_ready_at_once_and_home_of_every_key(void **state)
{
	struct net_test *t = net_new_test(1, 12, 1);
	uint64_t r;

	(void)state;
	net_start(t, 0);
	net_run(t, 0);
	assert_true(node_ready(t->node[0].node));
	for (unsigned i = 0; i < 100; i++) {
		struct id key;

		net_random_id(&t->rng, &key);
		assert_true(node_is_home(t->node[0].node, &key, t->now_us));
	}
	r = net_route(t, 0);
	assert_int_equal(t->delivered[r], 1);
	net_run(t, 3600 * SEC);
	assert_true(t->events < 1000); /* it rests */
	assert_int_equal(t->node[0].unready, 0);
	net_free_test(t);
}

static void
two_nodes_share_the_ring(void **state)
{
	struct net_test *t = net_new_test(2, 12, 2);
	unsigned homes[2] = { 0, 0 };

	(void)state;
	net_join_in_turn(t);
	assert_true(net_settled(t));
	for (unsigned i = 0; i < 200; i++) {
		struct id key;

		net_random_id(&t->rng, &key);
		for (unsigned x = 0; x < 2; x++)
			homes[x] +=
			    node_is_home(t->node[x].node, &key, t->now_us);
	}
	assert_int_equal(homes[0] + homes[1], 200);
	assert_true(homes[0] > 10 && homes[1] > 10);
	net_run(t, 600 * SEC);
	assert_int_equal(t->node[0].unready + t->node[1].unready, 0);
	net_free_test(t);
}

static void
route_many(struct net_test *t, unsigned count, uint64_t gap_us)
{
	uint64_t first = t->requests;

	for (unsigned i = 0; i < count; i++) {
		unsigned x;

		do
			x = (unsigned)rng_below(&t->rng, t->count);
		while (!t->node[x].up);
		(void)net_route(t, x);
		net_run(t, gap_us);
	}
	net_run(t, 100 * SEC);
	for (uint64_t r = first; r < t->requests; r++) {
		if (t->delivered[r] != 1 || t->lost[r])
			fail_msg("seed %llu: request %llu was delivered %u "
				 "times, lost %u",
			    (unsigned long long)t->seed, (unsigned long long)r,
			    t->delivered[r], t->lost[r]);
		assert_int_equal(t->home[r], net_home(t, &t->key[r]));
	}
}

static void
fifty_nodes_join_one_after_another(void **state)
{
	struct net_test *t = net_new_test(50, 8, 3);

	(void)state;
	net_join_in_turn(t);
	net_must(t, net_settled, 60 * SEC, "leaf sets are right");
	route_many(t, 200, SEC / 20);
	net_free_test(t);
}

static void
fifty_nodes_join_at_once(void **state)
{
	(void)state;
	for (uint64_t seed = 10; seed < 14; seed++) {
		struct net_test *t = net_new_test(50, 8, seed);

		net_join_at_once(t);
		route_many(t, 100, SEC / 20);
		net_free_test(t);
	}
}

static void
all_is_well_with_frames_lost_doubled_and_out_of_order(void **state)
{
	(void)state;
	for (uint64_t seed = 20; seed < 24; seed++) {
		struct net_test *t = net_new_test(40, 8, seed);

		t->loss_ppm = 50000;
		t->dup_ppm = 50000;
		t->latency_max_us = 300000;
		net_join_at_once(t);
		route_many(t, 300, SEC / 10);
		net_run(t, 600 * SEC);
		net_must(t, net_settled, 60 * SEC, "settled still");
		net_free_test(t);
	}
}

/* One that the network loses and one that has to be told by a link. */
static void
a_killed_node_is_replaced_after_its_leases_ended(void **state)
{
	(void)state;
	for (uint64_t seed = 30; seed < 36; seed++) {
		struct net_test *t = net_new_test(30, 6, seed);
		unsigned dead = (unsigned)(seed % 30), lost = 0;
		uint64_t first;

		t->tells_failures = seed % 2;
		t->loss_ppm = seed % 3 ? 20000 : 0;
		net_join_at_once(t);
		net_run(t, 30 * SEC);
		net_kill(t, dead);
		first = t->requests;
		for (unsigned i = 0; i < 100; i++) {
			unsigned x;

			do
				x = (unsigned)rng_below(&t->rng, 30);
			while (x == dead);
			(void)net_route(t, x);
			net_run(t, SEC / 10);
		}
		net_must(t, net_settled, 120 * SEC, "the dead is forgotten");
		net_run(t, 100 * SEC);
		for (uint64_t r = first; r < t->requests; r++)
			lost += t->delivered[r] != 1;
		assert_int_equal(lost, 0);
		for (unsigned i = 0; i < 30; i++) {
			struct id key;

			net_random_id(&t->rng, &key);
			assert_true(node_is_home(
			    t->node[net_home(t, &key)].node, &key, t->now_us));
		}
		net_free_test(t);
	}
}

static void
the_whole_left_half_of_a_leaf_set_dies(void **state)
{
	(void)state;
	for (uint64_t seed = 40; seed < 44; seed++) {
		struct net_test *t = net_new_test(50, 6, seed);

		net_join_at_once(t);
		net_run(t, 120 * SEC);
		for (unsigned down = 0; down < 6; down++) {
			unsigned y = 1;

			while (
			    !t->node[y].up || net_rank(t, 0, y, SIDE_LEFT) != 0)
				y++;
			net_kill(t, y); /* the next one is nearest now */
		}
		net_must(t, net_settled, 240 * SEC, "the hole is closed");
		route_many(t, 50, SEC / 10);
		net_free_test(t);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_node_alone_is_ready_at_once_and_home_of_every_key),
		cmocka_unit_test(two_nodes_share_the_ring),
		cmocka_unit_test(fifty_nodes_join_one_after_another),
		cmocka_unit_test(fifty_nodes_join_at_once),
		cmocka_unit_test(
		    all_is_well_with_frames_lost_doubled_and_out_of_order),
		cmocka_unit_test(
		    a_killed_node_is_replaced_after_its_leases_ended),
		cmocka_unit_test(the_whole_left_half_of_a_leaf_set_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
