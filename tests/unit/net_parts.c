/* The parts of a net that need no socket: buckets, messages that wait, shares,
 * the table of links and the judge of ties. */
#include "tests/unit/net_test.h"

#define SECOND UINT64_C(1000000)

static void
a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
	struct bucket b;
	uint64_t now = 17 * SECOND;
	unsigned got = 0;

	(void)state;
	bucket_init(&b, 100, 30, now);
	while (bucket_take(&b, now))
		got++;
	assert_int_equal(got, 30);
	assert_false(bucket_take(&b, now + 9999)); /* one each 10 ms */
	assert_true(bucket_take(&b, now + 10000));
	assert_false(bucket_take(&b, now + 10000));
	got = 0;
	for (uint64_t at = now + 10000; at < now + 10 * SECOND; at += 7)
		got += bucket_take(&b, at);
	assert_in_range(got, 998, 1000);
}

static void
a_bucket_that_slept_for_years_holds_its_burst(void **state)
{
	struct bucket b;
	unsigned got = 0;

	(void)state;
	bucket_init(&b, 200000, 50000, 1);
	assert_true(bucket_take(&b, 1));
	while (bucket_take(&b, UINT64_MAX))
		got++;
	assert_int_equal(got, 50000);
	assert_false(
	    bucket_take(&b, 5)); /* time that goes back gives nothing */
}

static void
messages_wait_in_order_and_move_in_order(void **state)
{
	struct outbox a = { 0 }, b = { 0 };
	struct parcel *p;
	unsigned n = 0;

	(void)state;
	for (uint8_t i = 0; i < 5; i++)
		must(outbox_put(&a, &i, 1));
	for (uint8_t i = 5; i < 9; i++)
		must(outbox_put(&b, &i, 1));
	outbox_move(&a, &b);
	assert_int_equal(b.bytes, 0);
	assert_null(outbox_take(&b));
	outbox_move(&a, &b); /* of nothing */
	assert_int_equal(a.bytes, 9 * (sizeof(*p) + 1));
	while ((p = outbox_take(&a))) {
		assert_int_equal(p->len, 1);
		assert_int_equal(p->bytes[0], n++);
		free(p);
	}
	assert_int_equal(n, 9);
	assert_int_equal(a.bytes, 0);
	must(outbox_put(&b, "x", 1));
	outbox_move(&a, &b); /* to nothing */
	outbox_fini(&a);
	assert_null(a.first);
	assert_null(a.last);
}

static void
when_much_is_queued_everybody_has_a_share(void **state)
{
	struct limits l;

	(void)state;
	limits_init(&l);
	assert_int_equal(queue_share(&l, 0, 1), NET_QUEUE_MAX);
	assert_int_equal(
	    queue_share(&l, NET_QUEUED_MAX - 1, 500), NET_QUEUE_MAX);
	assert_int_equal(
	    queue_share(&l, NET_QUEUED_MAX, 64), NET_QUEUED_MAX / 64);
	assert_int_equal(queue_share(&l, NET_QUEUED_MAX, 0), NET_QUEUE_MAX);
	assert_int_equal(queue_share(&l, NET_QUEUED_MAX, 2), NET_QUEUE_MAX);
}

static struct link *
make_link(struct link *l, uint8_t first, enum link_state state, bool outbound)
{
	memset(l, 0, sizeof(*l));
	l->peer.id.b[0] = first;
	l->known = true;
	l->state = state;
	l->outbound = outbound;
	l->from = l->peer.addr = loopback(1000 + first);
	return l;
}

static void
the_table_finds_each_peers_link_and_no_other(void **state)
{
	struct link_table t = { 0 };
	static struct link l[200];
	struct id id = { { 0 } };

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		table_add(&t, make_link(&l[i], (uint8_t)i, LINK_DIALING, true));
		must(table_map(&t, &l[i]));
	}
	for (unsigned i = 0; i < 200; i += 2) {
		table_unmap(&t, &l[i]);
		table_unmap(&t, &l[i]); /* twice is once */
		table_remove(&t, &l[i]);
	}
	for (unsigned i = 0; i < 256; i++) {
		id.b[0] = (uint8_t)i;
		assert_ptr_equal(
		    table_find(&t, &id), i < 200 && i % 2 ? &l[i] : NULL);
	}
	assert_int_equal(table_dials(&t), 100);
	for (unsigned i = 1; i < 200; i += 2)
		table_remove(&t, &l[i]);
	assert_null(t.first);
	assert_null(t.last);
	map_fini(&t.by_id);
}

static void
strangers_are_counted_by_place_and_the_first_is_known(void **state)
{
	static const uint8_t v6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 };
	struct link_table t = { 0 };
	struct link l[8], *oldest;
	struct net_addr home = loopback(9), other = loopback(9), six = { 0 };

	(void)state;
	other.ip[15] = 2;
	memcpy(six.ip, v6, sizeof(v6));
	table_add(&t, make_link(&l[0], 0, LINK_UP, false));
	table_add(&t, make_link(&l[1], 1, LINK_SHAKING, true));
	table_add(&t, make_link(&l[2], 2, LINK_TIED, false));
	assert_int_equal(table_strangers(&t, NULL, &oldest), 0);
	assert_null(oldest);
	table_add(&t, make_link(&l[3], 3, LINK_SHAKING, false));
	table_add(&t, make_link(&l[4], 4, LINK_GREETING, false));
	table_add(&t, make_link(&l[5], 5, LINK_GUEST, false));
	table_add(&t, make_link(&l[6], 6, LINK_LEAVING, false));
	l[4].from = other;
	l[5].from = six;
	assert_int_equal(table_strangers(&t, NULL, &oldest), 4);
	assert_ptr_equal(oldest, &l[3]);
	assert_int_equal(table_strangers(&t, &home, &oldest), 2);
	assert_int_equal(table_strangers(&t, &other, &oldest), 1);
	assert_ptr_equal(oldest, &l[4]);
	six.ip[15] = 77; /* the same network */
	assert_int_equal(table_strangers(&t, &six, &oldest), 1);
	six.ip[7] = 1;
	assert_int_equal(table_strangers(&t, &six, &oldest), 0);
}

static void
only_a_dial_to_a_nobody_is_found_by_its_address(void **state)
{
	struct link_table t = { 0 };
	struct link l[3];
	struct net_addr a = loopback(1001);

	(void)state;
	table_add(&t, make_link(&l[0], 1, LINK_DIALING, true));
	assert_null(table_dialed(&t, &a));
	l[0].known = false;
	assert_ptr_equal(table_dialed(&t, &a), &l[0]);
	l[0].outbound = false;
	assert_null(table_dialed(&t, &a));
}

static void
of_two_links_made_at_once_the_smaller_nodes_stays(void **state)
{
	struct id small = { { 1 } }, large = { { 2 } };
	struct link own;

	(void)state;
	assert_int_equal(tie_judge(&small, &large, NULL, 9, 5), TIE_NONE);
	for (enum link_state s = LINK_DIALING; s <= LINK_GREETING; s++) {
		make_link(&own, 2, s, true);
		assert_int_equal(
		    tie_judge(&small, &large, &own, 9, 5), TIE_WAIT);
		assert_int_equal(
		    tie_judge(&large, &small, &own, 9, 5), TIE_YIELD);
	}
	make_link(&own, 2, LINK_TIED, false); /* has outlived our dial */
	assert_int_equal(tie_judge(&small, &large, &own, 9, 5), TIE_YIELD);
	make_link(&own, 2, LINK_UP, true);
	own.since_us = 100;
	assert_int_equal(tie_judge(&small, &large, &own, 104, 5), TIE_REFUSE);
	assert_int_equal(tie_judge(&large, &small, &own, 104, 5), TIE_REFUSE);
	assert_int_equal(tie_judge(&small, &large, &own, 105, 5), TIE_REPLACE);
	assert_int_equal(tie_judge(&large, &small, &own, 105, 5), TIE_REPLACE);
}

static void
addresses_go_to_sockets_and_come_back(void **state)
{
	static const char *const text[] = { "127.0.0.1:7400", "[::1]:1",
		"[2001:db8::7]:65535", "192.0.2.255:2" };
	struct sockaddr_storage sa;
	struct net_addr a, b;

	(void)state;
	for (size_t i = 0; i < sizeof(text) / sizeof(*text); i++) {
		must(net_addr_parse(text[i], &a));
		assert_int_equal(socket_address(&a, &sa),
		    text[i][0] == '[' ? sizeof(struct sockaddr_in6)
				      : sizeof(struct sockaddr_in));
		socket_net_addr((struct sockaddr *)&sa, &b);
		assert_true(net_addr_eq(&a, &b));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_gives_its_burst_and_then_its_rate),
		cmocka_unit_test(a_bucket_that_slept_for_years_holds_its_burst),
		cmocka_unit_test(messages_wait_in_order_and_move_in_order),
		cmocka_unit_test(when_much_is_queued_everybody_has_a_share),
		cmocka_unit_test(the_table_finds_each_peers_link_and_no_other),
		cmocka_unit_test(
		    strangers_are_counted_by_place_and_the_first_is_known),
		cmocka_unit_test(
		    only_a_dial_to_a_nobody_is_found_by_its_address),
		cmocka_unit_test(
		    of_two_links_made_at_once_the_smaller_nodes_stays),
		cmocka_unit_test(addresses_go_to_sockets_and_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
