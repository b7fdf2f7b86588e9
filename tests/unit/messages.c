#include "tests/unit/message_test.h"
#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- samples ------------------------------------------------------------ */

static struct id
id_of(uint8_t first, uint8_t last)
{
	struct id id = { { first } };

	id.b[ID_BYTES - 1] = last;
	return id;
}

static struct peer
peer_of(uint8_t first, uint8_t last, const char *addr)
{
	struct peer p = { .id = id_of(first, last) };

	if (addr)
		assert_int_equal(net_addr_parse(addr, &p.addr), OK);
	return p;
}

static struct peer
alice(void)
{
	return peer_of(0xa0, 1, "192.0.2.1:7400");
}

static struct peer
bob(void)
{
	return peer_of(0xb0, 2, NULL);
}

static struct peer
carol(void)
{
	return peer_of(0xc0, 3, "[2001:db8::1]:65535");
}

static bool
hello(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_hello m = { alice(), UINT64_C(0x0102030405060708), 9 };

	return msg_hello_encode(&m, out, cap, len);
}

static bool
ping(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_ping m = { UINT64_C(0x1122334455667788) };

	return msg_ping_encode(&m, out, cap, len);
}

static bool
pong(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_ping m = { UINT64_C(0x1122334455667788) };

	return msg_pong_encode(&m, out, cap, len);
}

static bool
leaves(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_leaves m = { true, true, 7, .left = 2, .right = 1,
		.failed = 2, .peer = { alice(), bob(), carol() },
		.dead = { id_of(0xd0, 4), id_of(0xe0, 5) } };

	return msg_leaves_encode(&m, out, cap, len);
}

static bool
leaves_none(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_leaves m = { .nonce = 0 };

	return msg_leaves_encode(&m, out, cap, len);
}

static bool
beat(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_beat m = { true, true, true, 5, 30000, 0xdeadbeef };

	return msg_beat_encode(&m, out, cap, len);
}

/* What the lease would have been is not told. */
static bool
beat_no_lease(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_beat m = { true, false, false, 6, 30000, 1 };

	return msg_beat_encode(&m, out, cap, len);
}

static bool
cells(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_cells m = { 3, 2, 8, { carol(), alice() } };

	return msg_cells_encode(&m, out, cap, len);
}

static bool
cells_none(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_cells m = { .ask_row = CELLS_ASK_NONE };

	return msg_cells_encode(&m, out, cap, len);
}

static bool
route(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_route m = { SERVICE_TEST, 2, 1, 0x21, 0x4243, id_of(0x77, 7),
		alice(), (const uint8_t *)"mail", 4 };

	return msg_route_encode(&m, out, cap, len);
}

static bool
route_empty(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_route m = { .service = SERVICE_JOIN,
		.hops = ROUTE_HOPS_MAX,
		.tries = 255,
		.origin = bob() };

	return msg_route_encode(&m, out, cap, len);
}

static bool
route_ack(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_route_ack m = { 0x21 };

	return msg_route_ack_encode(&m, out, cap, len);
}

static bool
relay(uint8_t *out, size_t cap, size_t *len)
{
	const uint8_t inner[9] = { MSG_PING, [8] = 0x33 };
	struct msg_relay m = { alice().id, carol().id, inner, sizeof(inner) };

	return msg_relay_encode(&m, out, cap, len);
}

static bool
direct(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_direct m = { SERVICE_PAST, 0x55, (const uint8_t *)"block",
		5 };

	return msg_direct_encode(&m, out, cap, len);
}

static bool
direct_empty(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_direct m = { .service = SERVICE_GROUP };

	return msg_direct_encode(&m, out, cap, len);
}

static bool
revoked(uint8_t *out, size_t cap, size_t *len)
{
	struct msg_revoked m = { (const uint8_t *)"\1\2\3", 3 };

	return msg_revoked_encode(&m, out, cap, len);
}

/* clang-format off */
#define Z4 "00000000"
#define Z24 Z4 Z4 Z4 Z4 Z4 Z4
#define Z28 Z24 Z4
#define Z30 Z28 "0000"
#define ALICE_ID "a0" Z30 "01"
#define BOB_ID "b0" Z30 "02"
#define CAROL_ID "c0" Z30 "03"
#define ALICE ALICE_ID Z4 Z4 "0000ffffc0000201" "1ce8"
#define BOB BOB_ID Z4 Z4 Z4 Z4 "0000"
#define CAROL CAROL_ID "20010db8" Z4 Z4 "00000001" "ffff"

/* Version 1 of the protocol, by hand from the formats. */
static const struct sample {
	const char *name;
	bool (*encode)(uint8_t *out, size_t cap, size_t *len);
	size_t head; /* shortest frame, if the rest is a payload; else 0 */
	const char *hex;
} sample[] = {
	{ "HELLO", hello, 0, "01" "01" ALICE "0102030405060708"
	    "0000000000000009" },
	{ "PING", ping, 0, "02" "1122334455667788" },
	{ "PONG", pong, 0, "03" "1122334455667788" },
	{ "LEAVES", leaves, 0, "04" "03" "0000000000000007" "02" "01" ALICE BOB
	    CAROL "02" "d0" Z30 "04" "e0" Z30 "05" },
	{ "LEAVES", leaves_none, 0, "04" "00" Z4 Z4 "00" "00" "00" },
	{ "BEAT", beat, 0, "05" "07" "0000000000000005" "00007530" "deadbeef" },
	{ "BEAT", beat_no_lease, 0, "05" "01" "0000000000000006" Z4
	    "00000001" },
	{ "CELLS", cells, 0, "06" "03" "0000000000000008" "02" CAROL ALICE },
	{ "CELLS", cells_none, 0, "06" "ff" Z4 Z4 "00" },
	{ "ROUTE", route, 102, "07" "03" "02" "01" "0000000000000021"
	    "0000000000004243" "77" Z30 "07" ALICE "6d61696c" },
	{ "ROUTE", route_empty, 102, "07" "00" "40" "ff" Z4 Z4 Z4 Z4 Z28 Z4
	    BOB },
	{ "ROUTE_ACK", route_ack, 0, "08" "0000000000000021" },
	{ "RELAY", relay, RELAY_HEAD_MAX + 1, "09" ALICE_ID CAROL_ID
	    "02" "0000000000000033" },
	{ "DIRECT", direct, 10, "0a" "01" "0000000000000055" "626c6f636b" },
	{ "DIRECT", direct_empty, 10, "0a" "02" Z4 Z4 },
	{ "REVOKED", revoked, 2, "0b" "010203" },
};
/* clang-format on */

#define SAMPLES (sizeof(sample) / sizeof(sample[0]))
#define SAMPLE_MAX 4096

static size_t
encode(const struct sample *s, uint8_t out[SAMPLE_MAX])
{
	size_t len = 0;

	assert_true(s->encode(out, SAMPLE_MAX, &len));
	return len;
}

/* The verdict of all readers on an exact heap block. */
static enum err
read_exact(const uint8_t *frame, size_t len)
{
	uint8_t *exact = malloc(len + !len);
	enum err e;

	assert_non_null(exact);
	memcpy(exact, frame, len);
	e = message_read(exact, len);
	free(exact);
	return e;
}

/* ---- all of them -------------------------------------------------------- */

static void
frames_are_written_as_ever_and_read_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		char hex[2 * SAMPLE_MAX + 1];
		uint8_t frame[SAMPLE_MAX];
		size_t len = encode(&sample[i], frame);

		for (size_t k = 0; k < len; k++)
			snprintf(hex + 2 * k, 3, "%02x", frame[k]);
		assert_string_equal(hex, sample[i].hex);
		assert_string_equal(
		    message_name(message_kind(frame, len)), sample[i].name);
		assert_int_equal(read_exact(frame, len), OK);
	}
}

static void
every_kind_has_a_sample(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t frame[SAMPLE_MAX];

		(void)encode(&sample[i], frame);
		seen |= 1u << frame[0];
	}
	assert_int_equal(seen, (1u << MSG_KIND_END) - (1u << MSG_HELLO));
}

static void
every_prefix_is_malformed_or_has_a_shorter_payload(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t frame[SAMPLE_MAX];
		size_t len = encode(&sample[i], frame);
		size_t least = sample[i].head ? sample[i].head : len;

		for (size_t n = 0; n < len; n++)
			assert_int_equal(read_exact(frame, n),
			    n < least ? ERR_MALFORMED : OK);
	}
}

static void
nothing_follows_a_frame_without_payload(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t frame[SAMPLE_MAX];
		size_t len = encode(&sample[i], frame);

		frame[len] = 0;
		assert_int_equal(read_exact(frame, len + 1),
		    sample[i].head ? OK : ERR_MALFORMED);
	}
}

/* message_read() sees that what is taken is written again to the bit. */
static void
every_flipped_bit_is_malformed_or_another_frame(void **state)
{
	unsigned taken = 0, refused = 0;

	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t frame[SAMPLE_MAX];
		size_t len = encode(&sample[i], frame);

		for (size_t bit = 0; bit < 8 * len; bit++) {
			frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (read_exact(frame, len) == OK)
				taken++;
			else
				refused++;
			frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_true(taken > 1000 && refused > 200);
}

static void
a_frame_needs_its_room_and_writes_no_byte_beyond_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t frame[SAMPLE_MAX];
		size_t len = encode(&sample[i], frame), got = 99;

		for (size_t cap = 0; cap <= len; cap++) {
			uint8_t *exact = malloc(cap + !cap);

			assert_non_null(exact);
			assert_int_equal(
			    sample[i].encode(exact, cap, &got), cap == len);
			assert_int_equal(got, cap == len ? len : 99);
			if (cap == len)
				assert_memory_equal(exact, frame, len);
			free(exact);
		}
	}
}

static void
what_is_no_kind_is_read_by_none(void **state)
{
	uint8_t frame[64] = { 0 };

	(void)state;
	assert_int_equal(message_kind(frame, 0), 0);
	for (unsigned kind = 0; kind < 256; kind++) {
		bool known = kind >= MSG_HELLO && kind < MSG_KIND_END;

		frame[0] = (uint8_t)kind;
		assert_int_equal(
		    message_kind(frame, sizeof(frame)), known ? kind : 0);
		assert_int_equal(message_kind(frame, 1), known ? kind : 0);
		assert_int_equal(
		    strcmp(message_name((enum message_kind)kind), "none") != 0,
		    known);
		if (!known)
			assert_int_equal(
			    read_exact(frame, sizeof(frame)), ERR_MALFORMED);
	}
}

/* ---- one by one --------------------------------------------------------- */

/* Sets a byte of the sample and looks whether it is still read. */
static enum err
with_byte(const char *name, size_t at, uint8_t value)
{
	uint8_t frame[SAMPLE_MAX];

	for (size_t i = 0; i < SAMPLES; i++) {
		if (strcmp(sample[i].name, name) == 0) {
			size_t len = encode(&sample[i], frame);

			assert_true(at < len);
			frame[at] = value;
			return read_exact(frame, len);
		}
	}
	fail_msg("no sample of %s", name);
	return ERR_ABSENT;
}

static void
the_rest_of_a_frame_is_its_payload_in_place(void **state)
{
	uint8_t frame[SAMPLE_MAX];
	struct msg_revoked list;
	struct msg_direct d;
	struct msg_relay inner;
	struct msg_route m;
	size_t len;

	(void)state;
	assert_true(route(frame, sizeof(frame), &len));
	assert_int_equal(msg_route_decode(frame, len, &m), OK);
	assert_ptr_equal(m.payload, frame + 102);
	assert_int_equal(m.payload_len, 4);
	assert_int_equal(m.request, 0x4243);
	assert_true(direct(frame, sizeof(frame), &len));
	assert_int_equal(msg_direct_decode(frame, len, &d), OK);
	assert_ptr_equal(d.payload, frame + 10);
	assert_int_equal(d.payload_len, 5);
	assert_true(direct_empty(frame, sizeof(frame), &len));
	assert_int_equal(msg_direct_decode(frame, len, &d), OK);
	assert_int_equal(d.payload_len, 0);
	assert_true(relay(frame, sizeof(frame), &len));
	assert_int_equal(msg_relay_decode(frame, len, &inner), OK);
	assert_ptr_equal(inner.frame, frame + RELAY_HEAD_MAX);
	assert_int_equal(inner.frame_len, 9);
	assert_true(revoked(frame, sizeof(frame), &len));
	assert_int_equal(msg_revoked_decode(frame, len, &list), OK);
	assert_ptr_equal(list.list, frame + 1);
	assert_int_equal(list.list_len, 3);
}

static void
the_fullest_frames_are_read(void **state)
{
	struct msg_leaves l = { .left = LEAVES_MAX / 2,
		.right = LEAVES_MAX / 2,
		.failed = FAILED_MAX };
	struct msg_cells c = { .ask_row = ID_DIGITS - 1, .count = CELLS_MAX };
	uint8_t frame[SAMPLE_MAX];
	size_t len;

	(void)state;
	for (unsigned i = 0; i < LEAVES_MAX; i++)
		l.peer[i] = peer_of((uint8_t)i, 1, "192.0.2.9:1");
	for (unsigned i = 0; i < FAILED_MAX; i++)
		l.dead[i] = id_of((uint8_t)i, 2);
	for (unsigned i = 0; i < CELLS_MAX; i++)
		c.peer[i] = peer_of((uint8_t)i, 3, "[::1]:1");
	assert_true(msg_leaves_encode(&l, frame, sizeof(frame), &len));
	assert_int_equal(
	    len, 13 + LEAVES_MAX * PEER_BYTES + FAILED_MAX * ID_BYTES);
	assert_int_equal(read_exact(frame, len), OK);
	assert_true(msg_cells_encode(&c, frame, sizeof(frame), &len));
	assert_int_equal(len, 11 + CELLS_MAX * PEER_BYTES);
	assert_int_equal(read_exact(frame, len), OK);
}

/* The bytes for one more are there, so it is the count that is refused. */
static void
one_more_than_the_most_is_malformed(void **state)
{
	uint8_t frame[8192] = { MSG_LEAVES };

	(void)state;
	frame[10] = LEAVES_MAX / 2 + 1; /* left */
	assert_int_equal(
	    read_exact(frame, 13 + frame[10] * PEER_BYTES), ERR_MALFORMED);
	frame[10]--;
	assert_int_equal(read_exact(frame, 13 + frame[10] * PEER_BYTES), OK);
	frame[10] = 0;
	frame[11] = LEAVES_MAX / 2 + 1; /* right */
	assert_int_equal(
	    read_exact(frame, 13 + frame[11] * PEER_BYTES), ERR_MALFORMED);
	frame[11]--;
	assert_int_equal(read_exact(frame, 13 + frame[11] * PEER_BYTES), OK);
	frame[11] = 0;
	frame[12] = FAILED_MAX + 1;
	assert_int_equal(
	    read_exact(frame, 13 + frame[12] * ID_BYTES), ERR_MALFORMED);
	frame[12]--;
	assert_int_equal(read_exact(frame, 13 + frame[12] * ID_BYTES), OK);
	memset(frame, 0, sizeof(frame));
	frame[0] = MSG_CELLS;
	frame[10] = CELLS_MAX + 1;
	assert_int_equal(
	    read_exact(frame, 11 + frame[10] * PEER_BYTES), ERR_MALFORMED);
	frame[10]--;
	assert_int_equal(read_exact(frame, 11 + frame[10] * PEER_BYTES), OK);
	for (unsigned row = 0; row < 256; row++)
		assert_int_equal(with_byte("CELLS", 1, (uint8_t)row),
		    row < ID_DIGITS || row == CELLS_ASK_NONE ? OK
							     : ERR_MALFORMED);
}

static void
services_and_hops_end_where_they_end(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 256; v++) {
		uint8_t b = (uint8_t)v;

		assert_int_equal(with_byte("ROUTE", 1, b),
		    v < SERVICE_COUNT ? OK : ERR_MALFORMED);
		assert_int_equal(with_byte("DIRECT", 1, b),
		    v < SERVICE_COUNT ? OK : ERR_MALFORMED);
		assert_int_equal(with_byte("ROUTE", 2, b),
		    v <= ROUTE_HOPS_MAX ? OK : ERR_MALFORMED);
		assert_int_equal(with_byte("ROUTE", 3, b), OK);
		assert_int_equal(
		    with_byte("HELLO", 1, b), v == 1 ? OK : ERR_MALFORMED);
		assert_int_equal(
		    with_byte("LEAVES", 1, b), v < 4 ? OK : ERR_MALFORMED);
		/* a lease is there: it needs its grant */
		assert_int_equal(with_byte("BEAT", 1, b),
		    v < 8 && v & 2 ? OK : ERR_MALFORMED);
	}
}

static void
flags_are_what_they_are(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 8; v++) {
		uint8_t frame[SAMPLE_MAX];
		struct msg_beat b = { .ask = v & 1,
			.grant = v & 2,
			.ready = v & 4,
			.lease_ms = v & 2 ? 5 : 0 };
		struct msg_leaves l = { .ask = v & 1, .ready = v & 2 }, l_got;
		struct msg_beat b_got;
		size_t len;

		assert_true(msg_beat_encode(&b, frame, sizeof(frame), &len));
		assert_int_equal(frame[1], v);
		assert_int_equal(msg_beat_decode(frame, len, &b_got), OK);
		assert_int_equal(b_got.ask, b.ask);
		assert_int_equal(b_got.grant, b.grant);
		assert_int_equal(b_got.ready, b.ready);
		assert_true(msg_leaves_encode(&l, frame, sizeof(frame), &len));
		assert_int_equal(frame[1], v & 3);
		assert_int_equal(msg_leaves_decode(frame, len, &l_got), OK);
		assert_int_equal(l_got.ask, l.ask);
		assert_int_equal(l_got.ready, l.ready);
	}
}

static void
a_relay_carries_a_frame_and_no_relay(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 256; kind++)
		assert_int_equal(
		    with_byte("RELAY", RELAY_HEAD_MAX, (uint8_t)kind),
		    kind >= MSG_HELLO && kind < MSG_KIND_END &&
			    kind != MSG_RELAY
			? OK
			: ERR_MALFORMED);
}

static void
an_ip_without_a_port_is_malformed_wherever_it_stands(void **state)
{
	static const struct {
		const char *name;
		size_t port; /* where its low byte is, that alone is not 0 */
	} place[] = {
		{ "HELLO", 2 + PEER_BYTES - 1 },
		{ "LEAVES", 12 + PEER_BYTES - 1 },
		{ "CELLS", 11 + 2 * PEER_BYTES - 1 },
		{ "ROUTE", 52 + PEER_BYTES - 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(place) / sizeof(place[0]); i++) {
		uint8_t frame[SAMPLE_MAX];
		size_t s = 0, len;

		while (strcmp(sample[s].name, place[i].name) != 0)
			s++;
		len = encode(&sample[s], frame);
		assert_int_equal(frame[place[i].port], 7400 & 0xff);
		assert_int_equal(frame[place[i].port - 1], 7400 >> 8);
		frame[place[i].port] = frame[place[i].port - 1] = 0;
		assert_int_equal(read_exact(frame, len), ERR_MALFORMED);
		memset(frame + place[i].port - 17, 0, 16);
		assert_int_equal(read_exact(frame, len), OK);
	}
}

static void
random_bytes_after_a_kind_never_do_harm(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t frame[300];
		size_t len = 1 + rng_below(&rng, sizeof(frame));

		for (size_t k = 0; k < len; k++)
			frame[k] = (uint8_t)rng_below(&rng, i % 2 ? 256 : 4);
		frame[0] = (uint8_t)(1 + i % (MSG_KIND_END - 1));
		(void)read_exact(frame, len);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_written_as_ever_and_read_back),
		cmocka_unit_test(every_kind_has_a_sample),
		cmocka_unit_test(
		    every_prefix_is_malformed_or_has_a_shorter_payload),
		cmocka_unit_test(nothing_follows_a_frame_without_payload),
		cmocka_unit_test(
		    every_flipped_bit_is_malformed_or_another_frame),
		cmocka_unit_test(
		    a_frame_needs_its_room_and_writes_no_byte_beyond_it),
		cmocka_unit_test(what_is_no_kind_is_read_by_none),
		cmocka_unit_test(the_rest_of_a_frame_is_its_payload_in_place),
		cmocka_unit_test(the_fullest_frames_are_read),
		cmocka_unit_test(one_more_than_the_most_is_malformed),
		cmocka_unit_test(services_and_hops_end_where_they_end),
		cmocka_unit_test(flags_are_what_they_are),
		cmocka_unit_test(a_relay_carries_a_frame_and_no_relay),
		cmocka_unit_test(
		    an_ip_without_a_port_is_malformed_wherever_it_stands),
		cmocka_unit_test(random_bytes_after_a_kind_never_do_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
