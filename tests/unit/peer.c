#include "overlay/peer.h"
#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)

static struct id
random_id(struct rng *rng)
{
	struct id id;

	for (unsigned i = 0; i < ID_BYTES; i++)
		id.b[i] = (uint8_t)rng_u64(rng);
	return id;
}

/* A small number as an id; below zero it wraps round. */
static struct id
id_of(int n)
{
	struct id id;

	memset(id.b, n < 0 ? 0xff : 0, ID_BYTES);
	for (unsigned i = 0; i < 4; i++)
		id.b[ID_BYTES - 1 - i] = (uint8_t)((uint32_t)n >> (8 * i));
	return id;
}

static const struct id opposite = { { 0x80 } };

static void
assert_ids(const struct id *a, const struct id *b)
{
	assert_memory_equal(a->b, b->b, ID_BYTES);
}

/* a + b, a byte at a time. */
static struct id
sum(const struct id *a, const struct id *b)
{
	unsigned carry = 0;
	struct id s;

	for (unsigned i = ID_BYTES; i-- > 0; carry >>= 8) {
		carry += (unsigned)a->b[i] + b->b[i];
		s.b[i] = (uint8_t)carry;
	}
	return s;
}

/* ---- the ring ----------------------------------------------------------- */

static void
what_is_taken_away_can_be_added_again(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	for (unsigned i = 0; i < 2000; i++) {
		struct id a = random_id(&rng), b = random_id(&rng), d, back;

		/* long runs of equal bytes make long borrows */
		if (i % 2)
			memset(a.b + 4, 0, rng_below(&rng, ID_BYTES - 4));
		if (i % 3)
			memcpy(b.b + 8, a.b + 8, rng_below(&rng, ID_BYTES - 8));
		id_sub(&a, &b, &d);
		back = sum(&d, &b);
		assert_ids(&back, &a);
	}
}

static void
subtraction_wraps_below_zero(void **state)
{
	struct id zero = id_of(0), one = id_of(1), got, want = id_of(-1);

	(void)state;
	id_sub(&zero, &one, &got);
	assert_ids(&got, &want);
	id_sub(&zero, &opposite, &got);
	assert_ids(&got, &opposite);
	id_sub(&one, &one, &one); /* into itself */
	assert_ids(&one, &zero);
}

static void
distance_is_the_shorter_way_and_the_same_from_both_ends(void **state)
{
	static const int at[][3] = {
		{ 5, 9, 4 },
		{ -2, 3, 5 },
		{ 7, 7, 0 },
		{ -300, 300, 600 },
	};
	struct rng rng;

	(void)state;
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct id a = id_of(at[i][0]), b = id_of(at[i][1]);
		struct id want = id_of(at[i][2]), got;

		id_distance(&a, &b, &got);
		assert_ids(&got, &want);
		id_distance(&b, &a, &got);
		assert_ids(&got, &want);
	}
	rng_init(&rng, 2);
	for (unsigned i = 0; i < 1000; i++) {
		struct id a = random_id(&rng), b = random_id(&rng), d, e, back;

		id_distance(&a, &b, &d);
		id_distance(&b, &a, &e);
		assert_ids(&d, &e);
		assert_true(id_cmp(&d, &opposite) <= 0);
		back = sum(&a, &d);
		e = sum(&b, &d);
		assert_true(id_eq(&back, &b) || id_eq(&e, &a));
	}
}

static void
opposite_ids_are_as_far_apart_as_can_be(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 3);
	for (unsigned i = 0; i < 100; i++) {
		struct id a = random_id(&rng), b = sum(&a, &opposite), d;
		struct id near_b = id_of(1);

		id_distance(&a, &b, &d);
		assert_ids(&d, &opposite);
		near_b = sum(&b, &near_b);
		assert_true(id_nearer(&a, &near_b, &b));
		assert_false(id_nearer(&a, &b, &near_b));
		assert_false(id_nearer(&a, &b, &b));
	}
}

static void
of_two_equally_near_the_one_before_the_key_is_nearer(void **state)
{
	static const int keys[] = { 0, 1, -1, 5, -5, 1000 };

	(void)state;
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		for (int far = 1; far < 12; far++) {
			struct id key = id_of(keys[i]);
			struct id before = id_of(keys[i] - far);
			struct id after = id_of(keys[i] + far);

			assert_true(id_nearer(&key, &before, &after));
			assert_false(id_nearer(&key, &after, &before));
			assert_false(id_nearer(&key, &before, &before));
			assert_true(id_nearer(&key, &key, &before));
			assert_false(id_nearer(&key, &before, &key));
		}
}

static void
of_two_nodes_exactly_one_is_nearer_and_it_is_by_distance(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 4);
	for (unsigned i = 0; i < 5000; i++) {
		struct id key = random_id(&rng), a = random_id(&rng);
		struct id b = random_id(&rng), from_a, from_b;

		id_distance(&key, &a, &from_a);
		id_distance(&key, &b, &from_b);
		assert_int_equal(
		    id_nearer(&key, &a, &b), id_cmp(&from_a, &from_b) < 0);
		assert_int_not_equal(
		    id_nearer(&key, &a, &b), id_nearer(&key, &b, &a));
	}
}

static void
digits_are_counted_from_the_most_significant(void **state)
{
	struct id a = { { 0x12, 0x34 } }, b = a;

	(void)state;
	assert_int_equal(id_digit(&a, 0), 1);
	assert_int_equal(id_digit(&a, 1), 2);
	assert_int_equal(id_digit(&a, 3), 4);
	assert_int_equal(id_digit(&a, 63), 0);
	assert_int_equal(id_shared_digits(&a, &b), ID_DIGITS);
	for (unsigned bit = 0; bit < 8 * ID_BYTES; bit++) {
		b.b[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
		assert_int_equal(id_shared_digits(&a, &b), bit / 4);
		b.b[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
	}
}

/* ---- bytes -------------------------------------------------------------- */

static bool
read_exact(const uint8_t *bytes, size_t len, struct peer *out)
{
	uint8_t *exact = malloc(len + !len);
	struct rd r;
	bool done;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	rd_init(&r, exact, len);
	peer_read(&r, out);
	done = rd_done(&r);
	free(exact);
	return done;
}

static struct peer
golden_peer(void)
{
	struct peer p = { .id = { { 0xa0, 1 } } };

	must(net_addr_parse("192.0.2.1:7400", &p.addr));
	p.id.b[ID_BYTES - 1] = 0x0f;
	return p;
}

static void
a_peer_is_written_as_ever_and_read_back(void **state)
{
	static const uint8_t golden[PEER_BYTES] = { 0xa0,
		1, [31] = 0x0f, [42] = 0xff, 0xff, 192, 0, 2, 1, 0x1c, 0xe8 };
	struct peer p = golden_peer(), got;
	uint8_t bytes[PEER_BYTES];
	struct wr w;

	(void)state;
	wr_init(&w, bytes, sizeof(bytes));
	peer_write(&w, &p);
	assert_false(w.bad);
	assert_int_equal(wr_len(&w), PEER_BYTES);
	assert_memory_equal(bytes, golden, PEER_BYTES);
	assert_true(read_exact(bytes, PEER_BYTES, &got));
	assert_ids(&got.id, &p.id);
	assert_true(net_addr_eq(&got.addr, &p.addr));
	for (size_t n = 0; n < PEER_BYTES; n++)
		assert_false(read_exact(bytes, n, &got));
	wr_init(&w, bytes, PEER_BYTES - 1);
	peer_write(&w, &p);
	assert_true(w.bad);
}

static void
without_a_port_there_is_no_address_at_all(void **state)
{
	static const struct net_addr nowhere;
	struct peer p = golden_peer(), got;
	uint8_t bytes[PEER_BYTES];
	struct wr w;

	(void)state;
	p.addr.port = 0;
	wr_init(&w, bytes, sizeof(bytes));
	peer_write(&w, &p);
	assert_true(read_exact(bytes, PEER_BYTES, &got));
	assert_true(net_addr_eq(&got.addr, &nowhere));
	for (unsigned i = ID_BYTES; i < PEER_BYTES - 2; i++) {
		bytes[i] = 1;
		assert_false(read_exact(bytes, PEER_BYTES, &got));
		bytes[i] = 0;
	}
}

/* ---- text --------------------------------------------------------------- */

static void
addresses_have_one_text(void **state)
{
	static const char *const text[] = {
		"192.0.2.1:7400",
		"0.0.0.0:0",
		"255.255.255.255:65535",
		"[2001:db8::1]:7400",
		"[::]:1",
		"[::1]:65535",
		"[fe80::1234:5678:9abc:def0]:10",
		"[1111:2222:3333:4444:5555:6666:7777:8888]:12345",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		char got[NET_ADDR_TEXT_MAX];
		struct net_addr a;

		must(net_addr_parse(text[i], &a));
		net_addr_text(&a, got);
		assert_string_equal(got, text[i]);
	}
}

static void
an_ipv4_address_in_ipv6_is_the_same_address(void **state)
{
	struct net_addr a, b;

	(void)state;
	must(net_addr_parse("[::ffff:192.0.2.1]:7400", &a));
	must(net_addr_parse("192.0.2.1:7400", &b));
	assert_true(net_addr_eq(&a, &b));
	must(net_addr_parse("192.0.2.1:7401", &b));
	assert_false(net_addr_eq(&a, &b));
	must(net_addr_parse("192.0.2.2:7400", &b));
	assert_false(net_addr_eq(&a, &b));
	/* compatible, not mapped (RFC 4291, 2.5.5.1): another address */
	must(net_addr_parse("[::192.0.2.1]:7400", &b));
	assert_false(net_addr_eq(&a, &b));
}

static void
every_address_is_read_back_from_its_text(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 5);
	for (unsigned i = 0; i < 5000; i++) {
		char text[NET_ADDR_TEXT_MAX];
		struct net_addr a, got;

		for (unsigned k = 0; k < sizeof(a.ip); k++)
			a.ip[k] = (uint8_t)rng_u64(&rng);
		if (i % 2)
			memset(a.ip + rng_below(&rng, 16), 0, 1);
		if (i % 3 == 0)
			memset(a.ip, 0, 4 + rng_below(&rng, 12));
		if (i % 5 == 0) {
			memset(a.ip, 0, 10);
			memset(a.ip + 10, 0xff, 2);
		}
		a.port = (uint16_t)rng_u64(&rng);
		net_addr_text(&a, text);
		must(net_addr_parse(text, &got));
		assert_true(net_addr_eq(&a, &got));
	}
}

static void
what_is_no_address_is_refused(void **state)
{
	static const char *const garbage[] = { "", ":", "7400", "192.0.2.1",
		"192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:99999",
		"192.0.2.1:100000", "192.0.2.1:4294967297", "192.0.2.1:07",
		"192.0.2.1:00", "192.0.2.1:-1", "192.0.2.1:+1", "192.0.2.1: 1",
		"192.0.2.1:1 ", "192.0.2.1:1x", "192.0.2.1:0x10",
		" 192.0.2.1:1", "192.0.2.1 :1", "192.0.2:1", "192.0.2.1.5:1",
		"192.0.2.256:1", "192.0.2.01:1", "192.0.2.1::1",
		"192.0.2.1:1:1", ":1", "[]:1", "[", "[]", "[:", "[::1]",
		"[::1]1", "[::1]:", "[::1]:65536", "[::1:1", "::1:1",
		"[192.0.2.1]:1", "[::1]]:1", "[[::1]]:1", "[::1%lo]:1",
		"[:::1]:1", "[12345::]:1", "[::g]:1", "[::1 ]:1", "localhost:1",
		"example.org:7400",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999]:1",
		"[00001111:00002222:00003333:00004444:00005555:0]:1",
		"000000000000000000000000000000000000000000000192.0.2.1:1" };

	(void)state;
	for (unsigned i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		char *exact = strdup(garbage[i]);
		struct net_addr a = { .port = 99 }, was = a;

		assert_non_null(exact);
		if (net_addr_parse(exact, &a) != ERR_INVALID)
			fail_msg("taken for an address: %s", exact);
		assert_true(net_addr_eq(&a, &was));
		free(exact);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_taken_away_can_be_added_again),
		cmocka_unit_test(subtraction_wraps_below_zero),
		cmocka_unit_test(
		    distance_is_the_shorter_way_and_the_same_from_both_ends),
		cmocka_unit_test(opposite_ids_are_as_far_apart_as_can_be),
		cmocka_unit_test(
		    of_two_equally_near_the_one_before_the_key_is_nearer),
		cmocka_unit_test(
		    of_two_nodes_exactly_one_is_nearer_and_it_is_by_distance),
		cmocka_unit_test(digits_are_counted_from_the_most_significant),
		cmocka_unit_test(a_peer_is_written_as_ever_and_read_back),
		cmocka_unit_test(without_a_port_there_is_no_address_at_all),
		cmocka_unit_test(addresses_have_one_text),
		cmocka_unit_test(an_ipv4_address_in_ipv6_is_the_same_address),
		cmocka_unit_test(every_address_is_read_back_from_its_text),
		cmocka_unit_test(what_is_no_address_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
