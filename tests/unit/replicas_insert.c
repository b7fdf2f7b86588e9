/* Own blocks find their holders: a majority, then all of them, on a network
 * that loses, doubles and reorders. */
#include "replicas_net.h"

static struct net *
ring(uint64_t seed, unsigned nodes)
{
	struct net *net = net_new(seed);

	while (net->nodes < nodes)
		net_add_node(net);
	net_nodes(net);
	return net;
}

static void
two_thousand_blocks_reach_all_of_their_holders(void **state)
{
	struct net *net = ring(1, 8);
	const struct replicas_counters *c = replicas_counters(net->node[3].r);

	(void)state;
	net->loss_ppm = 20000;
	net->dup_ppm = 20000;
	net_add_blocks(net, 2000);
	assert_int_equal(net_own(net, 3, 0, 2000), OK);
	assert_int_equal(c->waiting, 2000);
	net_run(net, 60 * SEC);
	assert_int_equal(c->waiting, 0);
	assert_int_equal(net->node[3].safe, 2000);
	assert_int_equal(net->node[3].done, 2000);
	assert_int_equal(net_lacking(net, 2000), 0);
	net_free(net);
}

static void
what_is_there_already_is_only_leased(void **state)
{
	struct net *net = ring(2, 6);
	uint64_t put;

	(void)state;
	net_add_blocks(net, 500);
	assert_int_equal(net_own(net, 0, 0, 500), OK);
	net_run(net, 20 * SEC);
	assert_int_equal(net->node[0].done, 500);
	put = replicas_counters(net->node[1].r)->put_blocks;
	assert_int_equal(net_own(net, 1, 0, 500), OK);
	net_run(net, 20 * SEC);
	assert_int_equal(net->node[1].done, 500);
	assert_int_equal(replicas_counters(net->node[1].r)->put_blocks, put);
	for (unsigned b = 0; b < 500; b++)
		for (unsigned i = 2; i < 6; i++) {
			const struct net_entry *x =
			    net_find(&net->node[i], &net->block[b]);

			if (x)
				assert_int_equal(x->leases, 2);
		}
	net_free(net);
}

static void
alone_nothing_is_safe_until_another_comes(void **state)
{
	struct net *net = ring(3, 1);

	(void)state;
	net_add_blocks(net, 100);
	assert_int_equal(net_own(net, 0, 0, 100), OK);
	net_run(net, 300 * SEC);
	assert_int_equal(net->node[0].safe, 0);
	net_add_node(net);
	net_nodes(net);
	net_run(net, 20 * SEC);
	assert_int_equal(net->node[0].done, 100);
	assert_int_equal(net_lacking(net, 100), 0);
	net_free(net);
}

static void
a_holder_that_is_deaf_has_a_stand_in_and_gets_it_when_it_hears(void **state)
{
	struct net *net = ring(4, 8);

	(void)state;
	net->node[2].deaf = net->node[5].deaf = true;
	net_add_blocks(net, 300);
	assert_int_equal(net_own(net, 0, 0, 300), OK);
	net_run(net, 30 * SEC);
	assert_int_equal(net->node[0].safe, 300);
	assert_true(net->node[0].done < 300);
	net->node[2].deaf = net->node[5].deaf = false;
	net_run(net, 90 * SEC);
	assert_int_equal(net->node[0].done, 300);
	assert_int_equal(net_lacking(net, 300), 0);
	net_free(net);
}

static void
lag_survives_a_restart(void **state)
{
	struct net *net = ring(5, 5);

	(void)state;
	net_add_blocks(net, 400);
	assert_int_equal(net_own(net, 0, 0, 400), OK);
	net_run(net, 50 * MS); /* not long enough */
	assert_true(net->node[0].done < 400);
	replicas_free(net->node[0].r);
	net_start_node(net, 0);
	net->node[0].done = 0;
	assert_int_equal(net_own(net, 0, 0, 400), OK);
	net_nodes(net);
	net_run(net, 30 * SEC);
	assert_int_equal(net->node[0].done, 400);
	assert_int_equal(net_lacking(net, 400), 0);
	net_free(net);
}

static void
too_many_at_once_are_refused_and_nothing_is_changed(void **state)
{
	struct net *net = ring(6, 1);
	struct id *ids = calloc(REPLICA_WAITING_MAX, sizeof(*ids));
	struct replicas_event ev = { .kind = REPLICAS_EV_OWN, .ids = ids };

	(void)state;
	assert_non_null(ids);
	for (unsigned i = 0; i < REPLICA_WAITING_MAX; i++)
		memcpy(ids[i].b, &i, sizeof(i));
	ev.id_count = REPLICA_WAITING_MAX;
	assert_int_equal(net_step(&net->node[0], &ev), OK);
	ev.id_count = 1;
	memset(ids[0].b, 255, ID_BYTES);
	assert_int_equal(net_step(&net->node[0], &ev), ERR_AGAIN);
	assert_int_equal(
	    replicas_counters(net->node[0].r)->waiting, REPLICA_WAITING_MAX);
	free(ids);
	net_free(net);
}

static uint64_t
digest_of(uint64_t seed)
{
	struct net *net = ring(seed, 6);
	uint64_t digest;

	net->loss_ppm = 50000;
	net_add_blocks(net, 200);
	assert_int_equal(net_own(net, 0, 0, 200), OK);
	net_run(net, 30 * SEC);
	net_kill(net, 1);
	net_nodes(net);
	net_run(net, 30 * SEC);
	digest = net->digest;
	net_free(net);
	return digest;
}

static void
one_seed_is_one_run(void **state)
{
	(void)state;
	assert_int_equal(digest_of(7), digest_of(7));
	assert_true(digest_of(7) != digest_of(8));
}

/* Far from its leaf set an owner asks the home for the holders. */
static void
in_a_ring_larger_than_the_leaf_set_holders_are_asked_for(void **state)
{
	struct net *net = net_new(9);

	(void)state;
	net->leaf_half = 8;
	while (net->nodes < 40)
		net_add_node(net);
	net_nodes(net);
	net->loss_ppm = 10000;
	net_add_blocks(net, 300);
	assert_int_equal(net_own(net, 0, 0, 300), OK);
	net_run(net, 120 * SEC);
	assert_int_equal(net->node[0].done, 300);
	assert_int_equal(net_lacking(net, 300), 0);
	for (unsigned b = 0; b < 300; b++)
		net_fetch(net, 20, b, b);
	net_run(net, 20 * SEC);
	assert_int_equal(net->node[20].fetched, 300);
	net_free(net);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    two_thousand_blocks_reach_all_of_their_holders),
		cmocka_unit_test(what_is_there_already_is_only_leased),
		cmocka_unit_test(alone_nothing_is_safe_until_another_comes),
		cmocka_unit_test(
		    a_holder_that_is_deaf_has_a_stand_in_and_gets_it_when_it_hears),
		cmocka_unit_test(lag_survives_a_restart),
		cmocka_unit_test(
		    too_many_at_once_are_refused_and_nothing_is_changed),
		cmocka_unit_test(one_seed_is_one_run),
		cmocka_unit_test(
		    in_a_ring_larger_than_the_leaf_set_holders_are_asked_for),
	};

	return cmocka_run_group_tests(tests, net_setup, NULL);
}
