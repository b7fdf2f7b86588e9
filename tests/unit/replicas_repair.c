/* Nodes die, come, and are cut off: no block is lost, each moves once, and what
 * is not wanted goes, but not before its time. */
#include "replicas_net.h"

static struct net *
ring(uint64_t seed, unsigned nodes, unsigned blocks)
{
	struct net *net = net_new(seed);

	while (net->nodes < nodes)
		net_add_node(net);
	net_nodes(net);
	net_add_blocks(net, blocks);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(
		    net_own(net, i, i * blocks / 4, blocks / 4), OK);
	net_run(net, 30 * SEC);
	assert_int_equal(net_lacking(net, blocks), 0);
	return net;
}

static uint64_t
repaired(const struct net *net)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < net->nodes; i++)
		if (net->node[i].up)
			sum += replicas_counters(net->node[i].r)->repair_bytes;
	return sum;
}

/* Those who own them forget them: only replicas are left to count. */
static void
disown(struct net *net)
{
	for (unsigned i = 0; i < net->nodes; i++)
		for (size_t e = 0; e < net->node[i].entries; e++)
			if (net->node[i].entry[e].role == REPLICA_OWN) {
				struct net_entry *x = &net->node[i].entry[e];

				x->role = REPLICA_KEPT;
				net_lease(x, &net->node[i].me.id,
				    NET_EPOCH + (INT64_C(1) << 40));
			}
}

/* Forgets blocks beyond the first `keep` so that a slot can be used again. */
static void
replace(struct net *net, unsigned i)
{
	struct net_node *n = &net->node[i];
	uint64_t name[2] = { rng_u64(&net->rng), 1 };

	hash_bytes(name, sizeof(name), &n->me.id);
	net_start_node(net, i);
}

static void
no_block_is_lost_when_two_of_three_die_at_once_a_thousand_times(void **state)
{
	struct net *net = ring(1, 7, 24);
	unsigned rounds = 1000, lost = 0;

	(void)state;
	disown(net);
	net->exchange_us = 20 * SEC;
	for (unsigned round = 0; round < rounds; round++) {
		unsigned a = (unsigned)rng_below(&net->rng, 7);
		unsigned b = (a + 1 + (unsigned)rng_below(&net->rng, 6)) % 7;

		/* Half of the time both hold the same block. */
		if (round % 2) {
			struct id h[REPLICA_K_MAX];
			const struct id *block =
			    &net->block[rng_below(&net->rng, net->blocks)];

			assert_int_equal(
			    replicas_holders(net->node[a].r, block, h), 3);
			a = net_by_id(net, &h[round / 2 % 3])->n;
			b = net_by_id(net, &h[(round / 2 + 1) % 3])->n;
		}
		net->loss_ppm = 20000 * (round % 3 == 0);
		net_kill(net, a);
		net_kill(net, b);
		net_nodes(net);
		net_run(net, 6 * SEC);
		replace(net, a);
		replace(net, b);
		net_nodes(net);
		for (unsigned tries = 0; tries < 30 && net_lacking(net, 24);
		     tries++)
			net_run(net, 4 * SEC);
		for (unsigned n = 0; n < net->blocks; n++)
			lost += net_copies(net, n) == 0;
		if (lost || net_lacking(net, 24))
			fail_msg("round %u: %u lost, %u lacking", round, lost,
			    net_lacking(net, 24));
	}
	net_free(net);
}

/* Bytes that move against bytes that have to. */
static void
a_new_node_takes_its_share_and_little_more_moves(void **state)
{
	struct net *net = ring(2, 8, 1200);
	uint64_t before, moved, must = 0;

	(void)state;
	disown(net);
	before = repaired(net);
	net->loss_ppm = 5000;
	net_add_node(net);
	net_nodes(net);
	net_run(net, 60 * SEC);
	assert_int_equal(net_lacking(net, 1200), 0);
	moved = repaired(net) - before;
	must = net->node[8].stored_bytes;
	assert_true(must > 0);
	print_message("moved %llu bytes, of which %llu had to: %.3f\n",
	    (unsigned long long)moved, (unsigned long long)must,
	    (double)moved / (double)must);
	assert_true(moved * 10 <= must * 12);
	net_free(net);
}

static void
what_a_dead_node_held_moves_once(void **state)
{
	struct net *net = ring(3, 9, 1200);
	uint64_t before, must = 0;

	(void)state;
	disown(net);
	for (unsigned b = 0; b < net->blocks; b++) {
		uint8_t bytes[NET_BLOCK_MAX];
		struct id h[REPLICA_K_MAX];

		(void)replicas_holders(net->node[0].r, &net->block[b], h);
		for (unsigned i = 0; i < 3; i++)
			if (net_by_id(net, &h[i])->n == 5)
				must += net_block(b, bytes);
	}
	net_kill(net, 5);
	before = repaired(net);
	net_nodes(net);
	net_run(net, 60 * SEC);
	assert_int_equal(net_lacking(net, 1200), 0);
	print_message("moved %llu bytes for %llu that were lost: %.3f\n",
	    (unsigned long long)(repaired(net) - before),
	    (unsigned long long)must,
	    (double)(repaired(net) - before) / (double)must);
	assert_true((repaired(net) - before) * 10 <= must * 12);
	net_free(net);
}

static void
repair_is_no_faster_than_its_bucket(void **state)
{
	struct net *net = net_new(4);
	uint64_t before;

	(void)state;
	net->repair_bytes_s = 64 << 10;
	while (net->nodes < 3)
		net_add_node(net);
	net_nodes(net);
	net_add_blocks(net, 5000);
	assert_int_equal(net_own(net, 0, 0, 5000), OK);
	net_run(net, 30 * SEC);
	assert_int_equal(net_lacking(net, 5000), 0);
	net_add_node(net);
	net_nodes(net);
	before = repaired(net);
	net_run(net, 10 * SEC);
	/* What may go at once, what came in ten seconds, a message each. */
	assert_true(repaired(net) - before > 300 << 10);
	assert_true(repaired(net) - before <
		    3 * (1 << 20) + 3 * (10 << 16) + (3 << 17));
	net_free(net);
}

static void
halves_that_were_cut_off_are_equal_after_they_heal(void **state)
{
	struct net *net = ring(5, 8, 200);

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		net->node[i].side = i % 2;
	net_run(net, 5 * SEC); /* until it is noticed */
	net_nodes(net);
	net_add_blocks(net, 200);
	assert_int_equal(net_own(net, 0, 200, 100), OK);
	assert_int_equal(net_own(net, 1, 300, 100), OK);
	net_run(net, 60 * SEC);
	assert_int_equal(net->node[0].done, 50 + 100);
	assert_int_equal(net->node[1].done, 50 + 100);
	for (unsigned i = 0; i < 8; i++)
		net->node[i].side = 0;
	net_nodes(net);
	net_run(net, 120 * SEC);
	assert_int_equal(net_lacking(net, 400), 0);
	net_free(net);
}

static void
what_is_out_of_range_goes_only_when_all_holders_have_it(void **state)
{
	struct net *net = ring(6, 5, 200);
	unsigned over = 0;

	(void)state;
	disown(net);
	net_run(net, 120 * SEC);
	for (unsigned i = 0; i < 4; i++)
		net_add_node(net);
	net_nodes(net);
	net->node[6].deaf = true; /* a holder that can not have it yet */
	for (unsigned n = 0; n < 30; n++) {
		net_run(net, 10 * SEC);
		for (unsigned b = 0; b < 200; b++)
			assert_true(net_copies(net, b) >= 3);
	}
	net->node[6].deaf = false;
	net_run(net, 1200 * SEC);
	assert_int_equal(net_lacking(net, 200), 0);
	for (unsigned b = 0; b < 200; b++)
		over += net_copies(net, b) > 3;
	assert_int_equal(over, 0);
	net_free(net);
}

static void
with_two_sites_and_with_three_a_site_may_burn(void **state)
{
	(void)state;
	for (unsigned sites = 2; sites <= 3; sites++) {
		struct net *net = net_new(7 + sites);

		net->sites = sites;
		while (net->nodes < 9)
			net_add_node(net);
		net_nodes(net);
		net_add_blocks(net, 300);
		assert_int_equal(net_own(net, 0, 0, 300), OK);
		net_run(net, 30 * SEC);
		assert_int_equal(net_lacking(net, 300), 0);
		for (unsigned i = 0; i < 9; i++) /* the owner burns as well */
			if (net->node[i].me.site == net->node[0].me.site)
				net_kill(net, i);
		for (unsigned b = 0; b < 300; b++)
			assert_true(net_copies(net, b) > 0);
		net_nodes(net);
		net_run(net, 60 * SEC);
		assert_int_equal(net_lacking(net, 300), 0);
		net_free(net);
	}
}

/* ---- leases ------------------------------------------------------------- */

static struct net *
short_leases(uint64_t seed, unsigned blocks)
{
	struct net *net = net_new(seed);

	net->lease_s = 2000;
	while (net->nodes < 5)
		net_add_node(net);
	net_nodes(net);
	net_add_blocks(net, blocks);
	assert_int_equal(net_own(net, 0, 0, blocks), OK);
	net_run(net, 30 * SEC);
	assert_int_equal(net_lacking(net, blocks), 0);
	return net;
}

static uint64_t haves;

static void
count_haves(struct net *net, const struct net_node *from,
    const struct replicas_action *a)
{
	(void)net;
	(void)from;
	haves += a->bytes[0] == PAST_HAVE;
}

static void
an_owner_renews_by_digests_and_nothing_expires(void **state)
{
	struct net *net = short_leases(8, 700);

	(void)state;
	haves = 0;
	net->seen = count_haves;
	net_run(net, 10000 * SEC);
	assert_int_equal(haves, 0);
	for (unsigned i = 1; i < 5; i++)
		for (size_t e = 0; e < net->node[i].entries; e++)
			assert_int_equal(
			    net->node[i].entry[e].role, REPLICA_KEPT);
	assert_int_equal(net_lacking(net, 700), 0);
	net_free(net);
}

static void
what_an_owner_forgot_goes_to_the_trash_and_a_late_lease_brings_it_back(
    void **state)
{
	struct net *net = short_leases(9, 400);
	unsigned trash = 0, kept = 0;

	(void)state;
	for (unsigned b = 0; b < 100; b++)
		net_find(&net->node[0], &net->block[b])->role = REPLICA_CACHED;
	net_run(net, 5000 * SEC);
	for (unsigned b = 0; b < 400; b++)
		for (unsigned i = 1; i < 5; i++) {
			enum replica_role role =
			    net_role(&net->node[i], &net->block[b]);

			assert_true(role != REPLICA_KEPT || b >= 100);
			assert_true(role != REPLICA_TRASH || b < 100);
			trash += role == REPLICA_TRASH;
			kept += role == REPLICA_KEPT;
		}
	assert_true(trash >= 150 && kept >= 600);
	net->node[0].done = 0;
	haves = replicas_counters(net->node[0].r)->put_blocks;
	assert_int_equal(net_own(net, 0, 0, 100), OK);
	net_run(net, 60 * SEC);
	assert_int_equal(net->node[0].done, 100);
	assert_int_equal(replicas_counters(net->node[0].r)->put_blocks, haves);
	assert_int_equal(net_lacking(net, 400), 0);
	net_free(net);
}

static void
a_renewal_finds_what_its_holders_lost(void **state)
{
	struct net *net = short_leases(10, 300);

	(void)state;
	for (unsigned i = 1; i < 5; i++)
		net->node[i].entries = 0; /* all but the owner's */
	net_run(net, 3000 * SEC);
	assert_int_equal(net_lacking(net, 300), 0);
	net_free(net);
}

static void
leases_travel_with_a_block_that_is_repaired(void **state)
{
	struct net *net = short_leases(11, 300);

	(void)state;
	net_add_node(net);
	net_nodes(net);
	net_run(net, 100 * SEC);
	assert_true(net->node[5].entries > 20);
	for (size_t e = 0; e < net->node[5].entries; e++) {
		const struct net_entry *x = &net->node[5].entry[e];

		assert_int_equal(x->leases, 1);
		assert_true(id_eq(&x->lease[0].owner, &net->node[0].me.id));
	}
	net_free(net);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_new_node_takes_its_share_and_little_more_moves),
		cmocka_unit_test(what_a_dead_node_held_moves_once),
		cmocka_unit_test(repair_is_no_faster_than_its_bucket),
		cmocka_unit_test(
		    halves_that_were_cut_off_are_equal_after_they_heal),
		cmocka_unit_test(
		    what_is_out_of_range_goes_only_when_all_holders_have_it),
		cmocka_unit_test(with_two_sites_and_with_three_a_site_may_burn),
		cmocka_unit_test(
		    an_owner_renews_by_digests_and_nothing_expires),
		cmocka_unit_test(
		    what_an_owner_forgot_goes_to_the_trash_and_a_late_lease_brings_it_back),
		cmocka_unit_test(a_renewal_finds_what_its_holders_lost),
		cmocka_unit_test(leases_travel_with_a_block_that_is_repaired),
		cmocka_unit_test(
		    no_block_is_lost_when_two_of_three_die_at_once_a_thousand_times),
	};

	return cmocka_run_group_tests(tests, net_setup, NULL);
}
