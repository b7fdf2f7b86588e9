/* Sessions between two of ours: what is said arrives, keys change, memory is
 * given back. */
#include "tests/unit/session_talk.h"

/* ---- together ----------------------------------------------------------- */

static void
two_nodes_come_to_know_each_other(void **state)
{
	struct pair p = strangers();
	size_t n;

	(void)state;
	assert_false(session_ready(p.a));
	assert_null(session_peer(p.a));
	assert_null(session_peer_key(p.a));
	assert_int_equal(session_send(p.a, "early", 5), ERR_AGAIN);
	assert_int_equal(session_send(p.b, "early", 5), ERR_AGAIN);
	assert_null(session_output(p.b, &n));
	talk(p.a, p.b, NULL, NULL, NULL);
	assert_true(session_ready(p.a) && session_ready(p.b));
	assert_memory_equal(session_peer(p.a), &bob.cert, sizeof(bob.cert));
	assert_memory_equal(session_peer(p.b), &ann.cert, sizeof(ann.cert));
	assert_memory_equal(
	    session_peer_key(p.a), bob.key.public, DH_PUBLIC_BYTES);
	assert_memory_equal(
	    session_peer_key(p.b), ann.key.public, DH_PUBLIC_BYTES);
	assert_true(session_at_rest(p.a) && session_at_rest(p.b));
	assert_int_equal(session_fault(p.a), SESSION_FAULT_NONE);
	part(p);
	session_free(NULL);
}

static const size_t lengths[] = { 0, 1, 2, 100, 16384, SESSION_PIECE_MAX - 1,
	SESSION_PIECE_MAX, SESSION_PIECE_MAX + 1, 2 * SESSION_PIECE_MAX,
	2 * SESSION_PIECE_MAX + 1, SESSION_MESSAGE_MAX };
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

/* Send what `seed` says from a to b, and its echo from b to a. */
static void
messages_go_both_ways(struct rng *pieces)
{
	uint8_t *message = malloc(SESSION_MESSAGE_MAX);
	struct got at_a = { 0 }, at_b = { 0 }, want = { 0 };
	struct pair p = strangers();

	assert_non_null(message);
	talk(p.a, p.b, NULL, NULL, pieces);
	for (unsigned i = 0; i < LENGTHS; i++) {
		fill(message, lengths[i], i);
		keep(&want, message, lengths[i]);
		must(session_send(p.a, message, lengths[i]));
		must(session_send(p.b, message, lengths[i]));
		if (i % 3 == 0)
			talk(p.a, p.b, &at_a, &at_b, pieces);
	}
	talk(p.a, p.b, &at_a, &at_b, pieces);
	assert_int_equal(at_a.messages, LENGTHS);
	assert_int_equal(at_a.len, want.len);
	assert_int_equal(at_b.len, want.len);
	assert_true(memcmp(at_a.b, want.b, want.len) == 0);
	assert_true(memcmp(at_b.b, want.b, want.len) == 0);
	assert_true(session_at_rest(p.a) && session_at_rest(p.b));
	free(at_a.b);
	free(at_b.b);
	free(want.b);
	free(message);
	part(p);
}

static void
messages_of_every_length_arrive_as_they_were(void **state)
{
	(void)state;
	messages_go_both_ways(NULL);
}

static void
messages_in_random_pieces_arrive_as_they_were(void **state)
{
	struct rng rng;

	(void)state;
	for (unsigned seed = 1; seed <= 3; seed++) {
		rng_init(&rng, seed);
		messages_go_both_ways(&rng);
	}
}

static void
byte_by_byte_gives_the_same_and_every_truncation_is_told(void **state)
{
	size_t len, frame_end = 0;
	unsigned frames = 0;
	struct got want = { 0 }, got = { 0 };
	uint8_t *all = script(&len, &want);
	struct session *b = begin(a_config(&ring, &bob, false));

	(void)state;
	for (size_t i = 0; i < len; i++) {
		bool between;

		if (i == frame_end) {
			frame_end += 2 + (size_t)(all[i] << 8 | all[i + 1]);
			frames++;
		}
		must(feed(b, all + i, 1, &got));
		/* The fifth frame is the first of a message that has two. */
		between = i + 1 == frame_end && frames != 5;
		assert_int_equal(session_at_rest(b), between);
	}
	assert_int_equal(frame_end, len);
	assert_int_equal(frames, 2 + SCRIPT_LENGTHS + 1);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.b, want.b, want.len);
	session_free(b);
	/* And the same bytes at once. */
	free(got.b);
	memset(&got, 0, sizeof(got));
	b = begin(a_config(&ring, &bob, false));
	must(feed(b, all, len, &got));
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.b, want.b, want.len);
	session_free(b);
	free(got.b);
	free(want.b);
	free(all);
}

/* Made once and kept: nodes of different age talk to each other. */
static void
the_bytes_on_the_wire_are_kept(void **state)
{
	static const char want[] =
	    "d8ecc109cb3467bafa44dbec8712a6f0ee776ca12dd6ef5458a1b3107b18318c";
	char hex[ID_HEX + 1];
	struct got ignored = { 0 };
	struct id id;
	size_t len;
	uint8_t *all = script(&len, &ignored);

	(void)state;
	hash_bytes(all, len, &id);
	id_to_hex(&id, hex);
	assert_string_equal(hex, want);
	free(ignored.b);
	free(all);
}

static void
a_long_talk_both_ways_at_once_loses_nothing(void **state)
{
	struct pair p = acquainted();
	uint8_t message[5000];
	struct got got_a = { 0 }, got_b = { 0 }, want_a = { 0 }, want_b = { 0 };
	struct rng rng;

	(void)state;
	rng_init(&rng, 77);
	for (unsigned i = 0; i < 2000; i++) {
		size_t n = rng_below(&rng, sizeof(message));
		bool from_a = rng_below(&rng, 2);

		fill(message, n, i);
		keep(from_a ? &want_b : &want_a, message, n);
		must(session_send(from_a ? p.a : p.b, message, n));
		if (rng_below(&rng, 4) == 0)
			talk(p.a, p.b, &got_a, &got_b, &rng);
	}
	talk(p.a, p.b, &got_a, &got_b, &rng);
	assert_int_equal(got_a.len, want_a.len);
	assert_int_equal(got_b.len, want_b.len);
	assert_memory_equal(got_a.b, want_a.b, want_a.len);
	assert_memory_equal(got_b.b, want_b.b, want_b.len);
	free(got_a.b);
	free(got_b.b);
	free(want_a.b);
	free(want_b.b);
	part(p);
}

/* ---- rekeying ----------------------------------------------------------- */

static void
both_sides_rekey_together(void **state)
{
	struct got got_a = { 0 }, got_b = { 0 };
	struct pair p = acquainted();

	(void)state;
	session_rekey_after(p.a, 3);
	session_rekey_after(p.b, 3);
	for (unsigned i = 0; i < 20; i++) {
		must(session_send(p.a, &i, sizeof(i)));
		if (i % 2)
			must(session_send(p.b, &i, sizeof(i)));
		talk(p.a, p.b, &got_a, &got_b, NULL);
	}
	assert_int_equal(got_a.messages, 10);
	assert_int_equal(got_b.messages, 20);
	free(got_a.b);
	free(got_b.b);
	part(p);
}

static void
who_does_not_rekey_is_cut_off_at_the_boundary(void **state)
{
	struct pair p = acquainted();
	uint8_t *bytes;
	size_t len;

	(void)state;
	session_rekey_after(p.a, 3);
	for (unsigned i = 0; i < 4; i++) {
		must(session_send(p.a, "x", 1));
		bytes = output(p.a, &len);
		assert_int_equal(
		    feed(p.b, bytes, len, NULL), i < 3 ? OK : ERR_BADSIG);
		free(bytes);
	}
	part(p);
}

/* With the constant that is in force, both ways, against Noise by hand. */
static void
the_key_changes_after_as_many_messages_as_the_header_says(void **state)
{
	static const uint8_t plain[2] = { 0, 'm' };
	uint8_t frame[2 + sizeof(plain) + TAG_BYTES], opened[sizeof(plain)];
	struct stranger x;
	struct session *s = befriend(&x);

	(void)state;
	for (unsigned i = 0; i < SESSION_REKEY_MESSAGES + 10; i++) {
		size_t n = stranger_seals(&x, plain, sizeof(plain), frame);
		const uint8_t *message, *out;
		size_t used;

		assert_int_equal(session_receive(s, frame, n, &used), OK);
		message = session_message(s, &n);
		assert_true(message && n == 1 && *message == 'm');
		assert_int_equal(session_send(s, "m", 1), OK);
		out = session_output(s, &n);
		assert_true(out && n == sizeof(frame));
		assert_int_equal(
		    noise_open(&x.receive, NULL, 0, out + 2, n - 2, opened),
		    OK);
		session_sent(s, n);
		if (i + 1 == SESSION_REKEY_MESSAGES) {
			noise_rekey(&x.send);
			noise_rekey(&x.receive);
		}
	}
	session_free(s);
}

/* ---- memory -------------------------------------------------------------- */

static void
memory_is_given_back_and_what_waits_is_bounded(void **state)
{
	uint8_t *message = calloc(1, SESSION_MESSAGE_MAX);
	struct pair p = acquainted();
	size_t empty_a = session_bytes(p.a), empty_b = session_bytes(p.b), n;
	enum err e;

	(void)state;
	assert_non_null(message);
	assert_int_equal(
	    session_send(p.a, message, SESSION_MESSAGE_MAX + 1), ERR_TOO_BIG);
	must(session_send(p.a, message, SESSION_MESSAGE_MAX));
	assert_true(session_bytes(p.a) > SESSION_MESSAGE_MAX);
	talk(p.a, p.b, NULL, NULL, NULL);
	must(session_receive(p.b, message, 0, &n)); /* the message was taken */
	assert_true(session_bytes(p.a) <= empty_a + 3 * 16384);
	assert_true(session_bytes(p.b) <= empty_b + 3 * 16384);
	while ((e = session_send(p.a, message, 100000)) == OK)
		assert_true(session_bytes(p.a) <= empty_a + SESSION_QUEUE_MAX);
	assert_int_equal(e, ERR_AGAIN);
	assert_non_null(session_output(p.a, &n));
	assert_true(n > SESSION_QUEUE_MAX - 110000);
	/* When some was taken there is room again, and nothing is amiss. */
	talk(p.a, p.b, NULL, NULL, NULL);
	must(session_send(p.a, message, 100000));
	part(p);
	free(message);
}

/* Taken a little at a time, while more is put behind. */
static void
output_may_be_taken_in_parts(void **state)
{
	struct got got = { 0 }, want = { 0 };
	struct pair p = acquainted();
	uint8_t message[3000];
	struct rng rng;

	(void)state;
	rng_init(&rng, 5);
	for (unsigned i = 0; i < 600; i++) {
		const uint8_t *out;
		size_t n, len;

		n = rng_below(&rng, sizeof(message));
		fill(message, n, i);
		keep(&want, message, n);
		must(session_send(p.a, message, n));
		out = session_output(p.a, &len);
		assert_non_null(out);
		n = rng_below(&rng, 2800);
		n = n < len ? n : len;
		must(feed(p.b, out, n, &got));
		session_sent(p.a, n);
	}
	talk(p.a, p.b, NULL, &got, NULL);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.b, want.b, want.len);
	free(got.b);
	free(want.b);
	part(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_come_to_know_each_other),
		cmocka_unit_test(messages_of_every_length_arrive_as_they_were),
		cmocka_unit_test(messages_in_random_pieces_arrive_as_they_were),
		cmocka_unit_test(
		    byte_by_byte_gives_the_same_and_every_truncation_is_told),
		cmocka_unit_test(the_bytes_on_the_wire_are_kept),
		cmocka_unit_test(a_long_talk_both_ways_at_once_loses_nothing),
		cmocka_unit_test(both_sides_rekey_together),
		cmocka_unit_test(who_does_not_rekey_is_cut_off_at_the_boundary),
		cmocka_unit_test(
		    the_key_changes_after_as_many_messages_as_the_header_says),
		cmocka_unit_test(
		    memory_is_given_back_and_what_waits_is_bounded),
		cmocka_unit_test(output_may_be_taken_in_parts),
	};

	return cmocka_run_group_tests(tests, ready, NULL);
}
