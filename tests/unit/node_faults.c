/* Nodes when things break: cuts, broken pairs, sleep, goodbyes, strangers'
 * bytes; and that one seed gives one run. */
#include "tests/unit/node_test.h"

#include "overlay/node_private.h"

static bool
net_ready_and_right(const struct net_test *t)
{
	return net_settled(t);
}

static void
a_cut_is_lived_through_and_heals_by_itself(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 5; seed++) {
		struct net_test *t = net_new_test(30, 6, seed);

		t->tells_failures = seed % 2;
		t->loss_ppm = 10000;
		net_join_at_once(t);
		net_run(t, 30 * SEC);
		t->unsafe = true; /* two rings that can not agree */
		for (unsigned i = 0; i < 30; i++)
			t->node[i].group = rng_below(&t->rng, 100) < 40;
		net_must(
		    t, net_ready_and_right, 300 * SEC, "each part is a ring");
		net_run(t, 120 * SEC);
		for (unsigned i = 0; i < 30; i++)
			t->node[i].group = 0;
		net_must(t, net_ready_and_right, 420 * SEC,
		    "the parts are one ring");
		t->unsafe = false;
		net_run(t, 60 * SEC);
		net_free_test(t);
	}
}

/* Neighbours on the ring that can not reach each other, nor any other way. */
static void
a_broken_pair_stays_in_each_others_leaf_set(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 7; seed++) {
		struct net_test *t = net_new_test(20, 4, seed);
		unsigned x = 3, y = 0;
		uint64_t relayed = 0;

		t->tells_failures = seed % 2;
		for (unsigned i = 0; i < t->count; i++)
			t->node[i].up = true; /* only to be ranked */
		while (y == x || net_rank(t, x, y, SIDE_RIGHT) != 0)
			y++;
		if (y == 0) { /* it is the others' contact */
			x = 5;
			while (y == x || net_rank(t, x, y, SIDE_RIGHT) != 0)
				y++;
		}
		for (unsigned i = 0; i < t->count; i++)
			t->node[i].up = false;
		if (seed % 3)
			net_join_at_once(t);
		t->broken[x][y] = t->broken[y][x] = true;
		if (seed % 3 == 0)
			net_join_at_once(t);
		net_run(t, 120 * SEC);
		net_must(t, net_settled, 60 * SEC, "still members");
		for (unsigned i = 0; i < 200; i++) {
			struct id key;

			net_random_id(&t->rng, &key);
			assert_true(node_is_home(
			    t->node[net_home(t, &key)].node, &key, t->now_us));
		}
		for (unsigned i = 0; i < t->count; i++)
			relayed += node_counters(t->node[i].node)->relayed;
		assert_true(relayed > 0);
		/* ... and directly again when the pair is whole. */
		t->broken[x][y] = t->broken[y][x] = false;
		net_run(t, 180 * SEC);
		assert_int_equal(t->node[x].node->detour_n, 0);
		assert_int_equal(t->node[y].node->detour_n, 0);
		assert_true(net_settled(t));
		net_free_test(t);
	}
}

static void
one_that_slept_claims_nothing_until_it_has_asked(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 5; seed++) {
		struct net_test *t = net_new_test(20, 4, seed);
		struct net_node *x = &t->node[5];
		uint64_t unready;
		struct node_event ev = { .kind = NODE_EV_TIMER };

		net_join_at_once(t);
		net_run(t, 30 * SEC);
		unready = x->unready;
		x->asleep_until = t->now_us + (seed % 2 ? 20 : 600) * SEC;
		while (net_run_step(t, x->asleep_until - 1))
			;
		t->now_us = x->asleep_until;
		net_give(t, 5, &ev);
		assert_int_equal(x->unready, unready + 1);
		assert_false(node_ready(x->node));
		assert_false(node_is_home(x->node, &x->peer.id, t->now_us));
		net_must(t, net_settled, 360 * SEC, "it is back");
		net_free_test(t);
	}
}

/* It does not find out that it is alone, so that only the ends of the leases
 * keep it and its neighbours from claiming the same keys. */
static void
who_is_cut_off_stops_claiming_before_others_begin(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 9; seed++) {
		struct net_test *t = net_new_test(12, 3, seed);
		struct id own;
		bool taken = false;

		t->patient = 4;
		net_join_at_once(t);
		net_run(t, (30 + seed) * SEC);
		own = t->node[4].peer.id;
		own.b[31] ^= 1;
		t->node[4].group = 1;
		assert_true(node_is_home(t->node[4].node, &own, t->now_us));
		for (unsigned i = 0; i < 40 * 8; i++) {
			net_run(t, SEC / 8);
			net_check_key(t, &own); /* nobody, or one */
			for (unsigned x = 0; x < t->count; x++)
				taken |= x != 4 && node_is_home(t->node[x].node,
						       &own, t->now_us);
		}
		assert_true(taken);
		assert_false(node_is_home(t->node[4].node, &own, t->now_us));
		net_free_test(t);
	}
}

static void
who_says_goodbye_is_replaced_at_once(void **state)
{
	struct net_test *t = net_new_test(20, 4, 1);
	struct node_event ev = { .kind = NODE_EV_LEAVE };
	struct id key = t->node[3].peer.id;
	uint64_t left_us;

	(void)state;
	net_join_at_once(t);
	net_run(t, 30 * SEC);
	net_give(t, 3, &ev);
	assert_false(node_ready(t->node[3].node));
	assert_int_equal(node_deadline_us(t->node[3].node), UINT64_MAX);
	net_kill(t, 3);
	left_us = t->now_us;
	while (
	    !node_is_home(t->node[net_home(t, &key)].node, &key, t->now_us)) {
		net_run(t, SEC / 20);
		assert_true(t->now_us - left_us < 3 * SEC);
	}
	net_must(t, net_settled, 10 * SEC, "all know");
	net_free_test(t);
}

static void
who_is_revoked_is_dropped_and_stays_out(void **state)
{
	struct net_test *t = net_new_test(12, 4, 1);
	struct node_event ev = { .kind = NODE_EV_REVOKED };

	(void)state;
	net_join_at_once(t);
	net_run(t, 30 * SEC);
	ev.peer = t->node[3].peer;
	for (unsigned i = 0; i < 12; i++)
		if (i != 3)
			net_give(t, i, &ev);
	t->unsafe = true; /* it may go on as if nothing were */
	for (unsigned step = 0; step < 100; step++) {
		net_run(t, SEC);
		for (unsigned i = 0; i < 12; i++)
			if (i != 3)
				assert_null(leaf_set_find(
				    node_leaves(t->node[i].node), &ev.peer.id));
	}
	net_kill(t, 3);
	t->unsafe = false;
	assert_true(net_settled(t));
	net_free_test(t);
}

/* A contact that is down, one that was never anybody, then one that is. */
static void
contacts_that_do_not_answer_are_passed_over(void **state)
{
	(void)state;
	for (unsigned told = 0; told < 2; told++) {
		struct net_test *t = net_new_test(8, 4, 5);
		struct node_event ev = { .kind = NODE_EV_CONTACT };

		t->tells_failures = told;
		for (unsigned i = 0; i < 6; i++) {
			net_start(t, i);
			if (i)
				net_contact(t, i, 0, true);
			net_must(t, net_all_ready, 60 * SEC, "joined");
		}
		net_start(t, 7);
		net_contact(t, 7, 6, false); /* not up */
		net_random_id(&t->rng, &ev.peer.id);
		ev.peer.addr.port = 9;
		net_give(t, 7, &ev);
		net_contact(t, 7, 2, false);
		net_must(t, net_all_ready, 30 * SEC, "joined by the third");
		net_free_test(t);
	}
}

/* All machines of an office come up at once, and know one another. */
static void
a_ring_that_was_switched_off_comes_back_from_its_caches(void **state)
{
	struct net_test *t = net_new_test(12, 4, 9);

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		net_start(t, i);
		for (unsigned c = 1; c < 4; c++)
			net_contact(t, i, (i + c) % 12, true);
	}
	net_must(t, net_settled, 180 * SEC, "the ring is back");
	net_free_test(t);
}

static void
with_no_contact_in_reach_it_claims_nothing_and_joins_when_one_is(void **state)
{
	struct net_test *t = net_new_test(2, 4, 9);
	struct node_event ev = { .kind = NODE_EV_TIMER };

	(void)state;
	net_start(t, 0);
	net_contact(t, 0, 1, true);
	net_run(t, 900 * SEC);
	assert_false(node_ready(t->node[0].node));
	net_start(t, 1);
	net_give(t, 1, &ev);
	net_must(t, net_settled, 60 * SEC, "two");
	net_free_test(t);
}

static void
when_the_only_contact_is_revoked_it_is_a_ring_of_one(void **state)
{
	struct net_test *t = net_new_test(2, 4, 9);
	struct node_event ev = { .kind = NODE_EV_REVOKED };

	(void)state;
	net_start(t, 0);
	net_contact(t, 0, 1, true);
	net_run(t, 10 * SEC);
	ev.peer = t->node[1].peer;
	net_give(t, 0, &ev);
	assert_true(node_ready(t->node[0].node));
	net_free_test(t);
}

/* ---- strangers' bytes --------------------------------------------------- */

static uint64_t
state_of(const struct node *n)
{
	uint64_t h = leaves_digest(n);

	h = hash64(&n->gap, sizeof(n->gap), h);
	h = hash64(&n->stage, sizeof(n->stage), h);
	h = hash64_u64(h, n->known_n);
	h = hash64_u64(h, n->transit_n + n->detour_n + n->measure_n);
	h = hash64_u64(h, routing_table_count(n->table));
	h = hash64_u64(h, n->ready);
	for (unsigned i = 0; i < n->known_n; i++) {
		struct known k = *n->known[i];

		k.malformed = 0;
		h = hash64(&k, sizeof(k), h);
	}
	return h;
}

static void
garbage_of_every_kind_from_a_member_changes_nothing(void **state)
{
	struct net_test *t = net_new_test(4, 4, 3);
	struct node *n = t->node[0].node;
	struct node_action a;
	unsigned refused = 0, drops = 0;

	(void)state;
	net_join_at_once(t);
	net_run(t, 10 * SEC);
	n = t->node[0].node;
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = rng_below(&t->rng, i % 4 ? 80 : 3000);
		uint8_t *bytes = malloc(len + !len);
		uint64_t before = state_of(n);
		struct node_event ev = {
			.kind = NODE_EV_FRAME,
			.now_us = t->now_us,
			.peer = t->node[1].peer,
			.bytes = bytes,
			.len = len,
		};

		assert_non_null(bytes);
		for (size_t j = 0; j < len; j++)
			bytes[j] = (uint8_t)rng_u64(&t->rng);
		if (len && i % 5)
			bytes[0] = (uint8_t)(i % (MSG_KIND_END + 2));
		/* These are well formed whatever they hold. */
		if (len == 9 && (bytes[0] == MSG_PING || bytes[0] == MSG_PONG ||
				    bytes[0] == MSG_ROUTE_ACK))
			bytes[0] = MSG_HELLO;
		if (node_step(n, &ev) == ERR_MALFORMED) {
			refused++;
			assert_int_equal(state_of(n), before);
			while (node_take(n, &a)) {
				assert_int_equal(a.kind, NODE_ACT_DROP);
				drops++;
			}
		} else {
			while (node_take(n, &a))
				;
		}
		free(bytes);
	}
	assert_true(refused > 15000);
	assert_int_equal(node_counters(n)->malformed, refused);
	assert_true(drops > 100);
	net_free_test(t);
}

/* Every bit of every frame of a join is flipped once: nobody asserts, and the
 * ring is well afterwards. */
static void
frames_with_a_wrong_bit_harm_nobody(void **state)
{
	struct net_test *t = net_new_test(10, 4, 4);

	(void)state;
	net_join_at_once(t);
	t->unsafe = true; /* a grant may be bent; members do not do that */
	for (unsigned round = 0; round < 3000; round++) {
		net_run(t, SEC / 20);
		for (unsigned i = 0; i < t->heap_n; i++) {
			struct net_frame *f = &t->heap[i];

			if (!f->failed && rng_below(&t->rng, 4) == 0)
				f->bytes[rng_below(&t->rng, f->len)] ^=
				    (uint8_t)(1u << rng_below(&t->rng, 8));
		}
	}
	net_must(t, net_settled, 120 * SEC, "well again");
	t->unsafe = false;
	net_run(t, 60 * SEC);
	net_free_test(t);
}

/* ---- churn, and again the same ------------------------------------------ */

static uint64_t
churn(uint64_t seed, unsigned minutes)
{
	struct net_test *t = net_new_test(40, 6, seed);
	unsigned up = 30;
	uint64_t digest;

	t->tells_failures = seed % 2;
	t->loss_ppm = 50000;
	t->dup_ppm = 10000;
	for (unsigned i = 0; i < 30; i++) {
		struct node_event ev = { .kind = NODE_EV_TIMER };

		net_start(t, i);
		if (i)
			net_contact(t, i, 0, i % 2);
		else
			net_give(t, i, &ev);
	}
	net_must(t, net_settled, 120 * SEC, "joined");
	for (unsigned m = 0; m < 6 * minutes; m++) {
		unsigned x = (unsigned)rng_below(&t->rng, t->count), c;

		if (t->node[x].up && up > 20) {
			net_kill(t, x);
			up--;
		} else if (!t->node[x].up) {
			/* Time for what it was granted to end. */
			do
				c = (unsigned)rng_below(&t->rng, t->count);
			while (!t->node[c].up || c == x ||
			       !node_ready(t->node[c].node));
			net_start(t, x);
			net_contact(t, x, c, true);
			up++;
		}
		net_run(t, 10 * SEC);
	}
	net_must(t, net_settled, 240 * SEC, "settled after churn");
	digest = t->digest;
	net_free_test(t);
	return digest;
}

static void
nodes_come_and_go_and_no_key_has_two_homes(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 7; seed++)
		(void)churn(seed, 10);
}

static void
the_same_seed_gives_the_same_actions(void **state)
{
	uint64_t first = churn(3, 2);

	(void)state;
	assert_int_equal(churn(3, 2), first);
	assert_int_not_equal(churn(4, 2), first);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_is_lived_through_and_heals_by_itself),
		cmocka_unit_test(a_broken_pair_stays_in_each_others_leaf_set),
		cmocka_unit_test(
		    one_that_slept_claims_nothing_until_it_has_asked),
		cmocka_unit_test(
		    who_is_cut_off_stops_claiming_before_others_begin),
		cmocka_unit_test(who_says_goodbye_is_replaced_at_once),
		cmocka_unit_test(who_is_revoked_is_dropped_and_stays_out),
		cmocka_unit_test(contacts_that_do_not_answer_are_passed_over),
		cmocka_unit_test(
		    a_ring_that_was_switched_off_comes_back_from_its_caches),
		cmocka_unit_test(
		    with_no_contact_in_reach_it_claims_nothing_and_joins_when_one_is),
		cmocka_unit_test(
		    when_the_only_contact_is_revoked_it_is_a_ring_of_one),
		cmocka_unit_test(
		    garbage_of_every_kind_from_a_member_changes_nothing),
		cmocka_unit_test(frames_with_a_wrong_bit_harm_nobody),
		cmocka_unit_test(nodes_come_and_go_and_no_key_has_two_homes),
		cmocka_unit_test(the_same_seed_gives_the_same_actions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
