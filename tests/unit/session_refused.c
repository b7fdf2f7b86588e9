/* Who is let in, and what is done about everybody else: strangers, changed
 * bytes, and peers that were let in and misbehave. */
#include "tests/unit/session_talk.h"

/* ---- who is let in ------------------------------------------------------ */

/* A stranger with this label, key and payload meets one of ours, who answers
 * (or, `ours_begins`, calls her). */
static enum err
meet(bool ours_begins, struct session_config config, const char *label,
    const struct ring *her_ring, const struct dh_key *key,
    const uint8_t *payload, size_t payload_len, enum session_fault *fault)
{
	struct session *s = begin(config);
	uint8_t frame[SESSION_HANDSHAKE_MAX], *out;
	struct stranger x;
	size_t n, len;
	enum err e;

	a_stranger(&x, !ours_begins, label, her_ring, key);
	if (ours_begins) {
		out = output(s, &len);
		must(stranger_reads(&x, out, len));
		free(out);
	} else {
		n = stranger_writes(&x, payload, 0, frame, sizeof(frame));
		must(feed(s, frame, n, NULL));
		out = output(s, &len);
		e = stranger_reads(&x, out, len);
		free(out);
		if (e) { /* it is she who refuses */
			session_free(s);
			return e;
		}
	}
	n = stranger_writes(&x, payload, payload_len, frame, sizeof(frame));
	e = feed(s, frame, n, NULL);
	*fault = session_fault(s);
	if (e) {
		assert_dead(s);
	} else {
		assert_true(session_ready(s));
		assert_int_equal(*fault, SESSION_FAULT_NONE);
	}
	session_free(s);
	return e;
}

static void
assert_met(unsigned line, enum err want, enum session_fault want_fault,
    struct session_config config, const char *label,
    const struct ring *her_ring, const struct node *her)
{
	for (unsigned ours_begins = 0; ours_begins < 2; ours_begins++) {
		enum session_fault fault = SESSION_FAULT_NONE;
		enum err e;

		config.initiator = ours_begins;
		e = meet(ours_begins, config, label, her_ring, &her->key,
		    her->bytes, her->len, &fault);
		if (e != want || fault != want_fault)
			print_error("line %u, %u: %s, fault %d\n", line,
			    ours_begins, err_name(e), (int)fault);
		assert_int_equal(e, want);
		assert_int_equal(fault, want_fault);
	}
}

#define meets(want, fault, config, label, her_ring, her)                       \
	assert_met(__LINE__, want, SESSION_FAULT_##fault, config, label,       \
	    her_ring, her)

static void
each_kind_of_stranger_is_refused_for_her_own_reason(void **state)
{
	struct session_config config = a_config(&ring, &bob, false), later;
	struct revocations revoked = { 0 };
	struct node her, other_cert;
	struct sign_key foreign;
	struct ring other;
	struct id id;

	(void)state;
	an_authority(2, &foreign, &other);
	meets(OK, NONE, config, SESSION_LABEL, &ring, &ann);

	/* Her certificate is of a ring that she does not speak for here. */
	a_node(&other, &foreign, 1, &her);
	meets(ERR_DENIED, RING, config, SESSION_LABEL, &ring, &her);

	/* Of our ring, it says, but signed by another. */
	a_node(&ring, &authority, 1, &her);
	memcpy(her.bytes + her.len - SIGNATURE_BYTES, her.bytes, 32);
	meets(ERR_BADSIG, CERT, config, SESSION_LABEL, &ring, &her);
	a_node(&other, &foreign, 1, &her);
	memcpy(her.bytes + 1, ring.id.b, ID_BYTES);
	meets(ERR_BADSIG, CERT, config, SESSION_LABEL, &ring, &her);

	/* No certificate at all, half of one, and bytes after it. */
	meets(ERR_DENIED, NO_CERT, config, SESSION_LABEL, &ring, &nobody);
	her = ann;
	her.len--;
	meets(ERR_MALFORMED, CERT, config, SESSION_LABEL, &ring, &her);
	her.len += 2;
	meets(ERR_MALFORMED, CERT, config, SESSION_LABEL, &ring, &her);

	/* Another node's certificate. */
	other_cert = ann;
	other_cert.key = nobody.key;
	meets(ERR_BADSIG, KEY, config, SESSION_LABEL, &ring, &other_cert);

	/* Clocks. */
	later = config;
	later.now_s = ann.cert.until_s + CLOCK_SLACK_S - 1;
	meets(OK, NONE, later, SESSION_LABEL, &ring, &ann);
	later.now_s++;
	meets(ERR_DENIED, TIME, later, SESSION_LABEL, &ring, &ann);
	later.now_s = ann.cert.from_s - CLOCK_SLACK_S;
	meets(OK, NONE, later, SESSION_LABEL, &ring, &ann);
	later.now_s--;
	meets(ERR_DENIED, TIME, later, SESSION_LABEL, &ring, &ann);

	/* Revoked. */
	node_cert_id(&bob.cert, &id);
	must(revocations_add(&revoked, &id));
	config.revoked = &revoked;
	meets(OK, NONE, config, SESSION_LABEL, &ring, &ann);
	node_cert_id(&ann.cert, &id);
	must(revocations_add(&revoked, &id));
	meets(ERR_DENIED, REVOKED, config, SESSION_LABEL, &ring, &ann);
	revocations_fini(&revoked);
}

/* The prologue: who answers can not tell, who calls does. */
static void
another_version_or_ring_can_not_be_talked_into_a_session(void **state)
{
	static const char *const labels[] = { "POST session 0",
		"POST session 2", "POST session 10", "POST session", "" };
	struct session_config calls = a_config(&ring, &bob, true),
			      answers = a_config(&ring, &bob, false);
	enum session_fault fault = SESSION_FAULT_NONE;
	struct sign_key foreign;
	struct ring other;

	(void)state;
	an_authority(2, &foreign, &other);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(meet(true, calls, labels[i], &ring, &ann.key,
				     ann.bytes, ann.len, &fault),
		    ERR_BADSIG);
		assert_int_equal(fault, SESSION_FAULT_TAG);
		assert_int_equal(meet(false, answers, labels[i], &ring,
				     &ann.key, ann.bytes, ann.len, &fault),
		    ERR_BADSIG);
	}
	assert_int_equal(meet(true, calls, SESSION_LABEL, &other, &ann.key,
			     ann.bytes, ann.len, &fault),
	    ERR_BADSIG);
	assert_int_equal(fault, SESSION_FAULT_TAG);
	assert_int_equal(meet(false, answers, SESSION_LABEL, &other, &ann.key,
			     ann.bytes, ann.len, &fault),
	    ERR_BADSIG);
}

/* ---- guests ------------------------------------------------------------- */

static void
a_guest_is_let_in_where_guests_are(void **state)
{
	struct session_config answers = a_config(&ring, &bob, false);
	struct got at_guest = { 0 }, at_bob = { 0 };
	struct pair p;

	(void)state;
	answers.guests = true;
	p.a = begin(a_config(&ring, &nobody, true));
	p.b = begin(answers);
	talk(p.a, p.b, NULL, NULL, NULL);
	assert_true(session_ready(p.a) && session_ready(p.b));
	assert_memory_equal(session_peer(p.a), &bob.cert, sizeof(bob.cert));
	assert_null(session_peer(p.b));
	assert_memory_equal(
	    session_peer_key(p.b), nobody.key.public, DH_PUBLIC_BYTES);
	must(session_send(p.a, "let me in", 9));
	must(session_send(p.b, "here is your certificate", 24));
	talk(p.a, p.b, &at_guest, &at_bob, NULL);
	assert_int_equal(at_guest.messages, 1);
	assert_int_equal(at_bob.messages, 1);
	free(at_guest.b);
	free(at_bob.b);
	part(p);
	/* Who has a certificate is a node there, too. */
	p.a = begin(a_config(&ring, &ann, true));
	p.b = begin(answers);
	talk(p.a, p.b, NULL, NULL, NULL);
	assert_memory_equal(session_peer(p.b), &ann.cert, sizeof(ann.cert));
	part(p);
}

static void
a_guest_with_a_bad_certificate_is_no_guest(void **state)
{
	struct session_config answers = a_config(&ring, &bob, false);
	enum session_fault fault;

	(void)state;
	answers.guests = true;
	assert_int_equal(meet(false, answers, SESSION_LABEL, &ring, &ann.key,
			     ann.bytes, ann.len - 1, &fault),
	    ERR_MALFORMED);
	assert_int_equal(meet(false, answers, SESSION_LABEL, &ring, &nobody.key,
			     ann.bytes, ann.len, &fault),
	    ERR_BADSIG);
	assert_int_equal(fault, SESSION_FAULT_KEY);
}

/* Nobody answers without a certificate, not even to a guest. */
static void
who_answers_is_never_a_guest(void **state)
{
	struct session_config guest = a_config(&ring, &nobody, true);
	struct session_config calls = a_config(&ring, &ann, true);
	enum session_fault fault;

	(void)state;
	guest.guests = calls.guests = true;
	assert_int_equal(meet(true, guest, SESSION_LABEL, &ring, &bob.key,
			     bob.bytes, 0, &fault),
	    ERR_DENIED);
	assert_int_equal(meet(true, calls, SESSION_LABEL, &ring, &bob.key,
			     bob.bytes, 0, &fault),
	    ERR_DENIED);
	assert_int_equal(fault, SESSION_FAULT_NO_CERT);
	assert_int_equal(meet(true, guest, SESSION_LABEL, &ring, &bob.key,
			     bob.bytes, bob.len, &fault),
	    OK);
}

/* ---- changed bytes ------------------------------------------------------ */

/* Until `which` handshake messages went by; the next one, as bytes. */
static struct pair
shake_until(unsigned which, uint8_t **next, size_t *len)
{
	struct pair p = strangers();
	struct session *s[2] = { p.a, p.b };

	for (unsigned i = 0;; i++) {
		*next = output(s[i % 2], len);
		if (i == which)
			return p;
		must(feed(s[1 - i % 2], *next, *len, NULL));
		free(*next);
	}
}

static void
every_flipped_bit_of_the_handshake_ends_it(void **state)
{
	(void)state;
	for (unsigned which = 0; which < 3; which++) {
		for (size_t bit = 0, len = 1; bit < 8 * len; bit++) {
			uint8_t *next, *answer;
			struct pair p = shake_until(which, &next, &len);
			struct session *to = which % 2 ? p.a : p.b;
			size_t n;
			enum err e;

			next[bit / 8] ^= (uint8_t)(1u << bit % 8);
			e = feed(to, next, len, NULL);
			if (which == 0 && bit >= 16) {
				/* Told when the answer comes. */
				must(e);
				answer = output(to, &n);
				to = p.a;
				e = feed(to, answer, n, NULL);
				free(answer);
			} else if (e == OK) {
				/* Longer, it says: then there is no end. */
				uint8_t more[CERT_MAX] = { 0 };

				assert_true(bit < 16);
				assert_false(session_at_rest(to));
				e = feed(to, more, sizeof(more), NULL);
			}
			assert_true(e == ERR_BADSIG || e == ERR_MALFORMED);
			assert_dead(to);
			assert_false(session_ready(p.a) && session_ready(p.b));
			free(next);
			part(p);
		}
	}
}

static void
every_flipped_bit_of_a_message_ends_the_session(void **state)
{
	static const char text[] = "a message";
	size_t len = 1;

	(void)state;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		struct pair p = acquainted();
		struct got got = { 0 };
		uint8_t *bytes;
		enum err e;

		must(session_send(p.a, text, sizeof(text)));
		bytes = output(p.a, &len);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		e = feed(p.b, bytes, len, &got);
		if (e == OK) { /* longer, it says */
			uint8_t *more = calloc(1, FRAME_MAX);

			assert_non_null(more);
			assert_true(bit < 16);
			assert_false(session_at_rest(p.b));
			e = feed(p.b, more, FRAME_MAX, &got);
			free(more);
		}
		assert_true(e == ERR_BADSIG || e == ERR_MALFORMED);
		assert_dead(p.b);
		assert_int_equal(got.messages, 0);
		free(bytes);
		part(p);
	}
}

/* The second piece of a message is as little believed as the first. */
static void
a_flipped_bit_in_a_later_piece_gives_nothing_out(void **state)
{
	size_t n = 2 * SESSION_PIECE_MAX + 100;
	uint8_t *message = calloc(1, n);

	(void)state;
	assert_non_null(message);
	for (unsigned i = 0; i < 40; i++) {
		struct pair p = acquainted();
		struct got got = { 0 };
		uint8_t *bytes;
		size_t len, at;

		must(session_send(p.a, message, n));
		bytes = output(p.a, &len);
		at = FRAME_MAX + 2 + i * ((len - FRAME_MAX - 2) / 40);
		bytes[at] ^= (uint8_t)(1u << i % 8);
		assert_true(feed(p.b, bytes, len, &got) != OK);
		assert_int_equal(got.messages, 0);
		assert_dead(p.b);
		free(bytes);
		part(p);
	}
	free(message);
}

static void
replayed_reordered_dropped_and_reflected_messages_end_it(void **state)
{
	enum { MESSAGES = 4 };
	static const int orders[][MESSAGES + 1] = {
		{ 0, 0, -1 }, /* again */
		{ 0, 1, 2, 1, -1 }, /* an old one again */
		{ 1, -1 }, /* the first is lost */
		{ 0, 2, -1 }, /* one is lost */
		{ 0, 2, 1, -1 }, /* two change places */
		{ 0, 1, 3, 2, -1 },
	};

	(void)state;
	for (unsigned o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
		struct pair p = acquainted();
		uint8_t *bytes[MESSAGES];
		size_t len[MESSAGES];
		enum err e = OK;

		for (unsigned i = 0; i < MESSAGES; i++) {
			must(session_send(p.a, "same", 4));
			bytes[i] = output(p.a, &len[i]);
		}
		for (unsigned i = 0; !e && orders[o][i] >= 0; i++) {
			e = feed(
			    p.b, bytes[orders[o][i]], len[orders[o][i]], NULL);
		}
		assert_int_equal(e, ERR_BADSIG);
		assert_dead(p.b);
		/* What she said, sent back to her. */
		assert_int_equal(feed(p.a, bytes[0], len[0], NULL), ERR_BADSIG);
		assert_dead(p.a);
		for (unsigned i = 0; i < MESSAGES; i++)
			free(bytes[i]);
		part(p);
	}
}

/* A recorded session, played to the same node with new chance. */
static void
a_recorded_session_can_not_be_played_again(void **state)
{
	struct got want = { 0 }, got = { 0 };
	struct session_config again = a_config(&ring, &bob, false);
	struct session *s;
	size_t len;
	uint8_t *all = script(&len, &want);

	(void)state;
	memset(again.ephemeral, 'R', sizeof(again.ephemeral));
	s = begin(again);
	assert_int_equal(feed(s, all, len, &got), ERR_BADSIG);
	assert_int_equal(got.messages, 0);
	assert_dead(s);
	session_free(s);
	free(all);
	free(want.b);
}

/* ---- a peer that was let in and misbehaves ------------------------------ */

static void
pieces_that_no_message_has_end_the_session(void **state)
{
	static const struct {
		size_t piece[3]; /* SIZE_MAX: no more */
		uint8_t flag[3];
	} wrong[] = {
		{ { 0, SIZE_MAX }, { 2 } },
		{ { 10, SIZE_MAX }, { 0xff } },
		{ { 0, SIZE_MAX }, { 1 } }, /* goes on and is not full */
		{ { SESSION_PIECE_MAX - 1, SIZE_MAX }, { 1 } },
		{ { SESSION_PIECE_MAX, 0, SIZE_MAX }, { 1, 0 } },
		{ { SESSION_PIECE_MAX, 0, SIZE_MAX }, { 1, 1 } },
		{ { 3, 10, SIZE_MAX }, { 0, 1 } },
	};
	uint8_t *plain = calloc(1, 1 + SESSION_PIECE_MAX);
	uint8_t *frame = malloc(FRAME_MAX);

	(void)state;
	assert_non_null(plain);
	assert_non_null(frame);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct stranger x;
		struct session *s = befriend(&x);
		enum err e = OK;

		for (unsigned k = 0; k < 3 && wrong[i].piece[k] != SIZE_MAX;
		     k++) {
			size_t n;

			assert_int_equal(e, OK);
			plain[0] = wrong[i].flag[k];
			n = stranger_seals(
			    &x, plain, 1 + wrong[i].piece[k], frame);
			e = feed(s, frame, n, NULL);
		}
		assert_int_equal(e, ERR_MALFORMED);
		assert_int_equal(session_fault(s), SESSION_FAULT_GARBAGE);
		assert_dead(s);
		session_free(s);
	}
	free(plain);
	free(frame);
}

static void
a_message_without_end_is_cut_off_at_the_limit(void **state)
{
	uint8_t *plain = calloc(1, 1 + SESSION_PIECE_MAX);
	uint8_t *frame = malloc(FRAME_MAX);
	struct stranger x;
	struct session *s = befriend(&x);
	size_t fed = 0, most = 0, empty = session_bytes(s);
	enum err e;

	(void)state;
	assert_non_null(plain);
	assert_non_null(frame);
	plain[0] = 1;
	do {
		size_t n =
		    stranger_seals(&x, plain, 1 + SESSION_PIECE_MAX, frame);

		e = feed(s, frame, n, NULL);
		fed += SESSION_PIECE_MAX;
		if (session_bytes(s) > most)
			most = session_bytes(s);
		assert_true(session_bytes(s) <= empty + 2 * (fed + FRAME_MAX));
		assert_true(fed < 2 * SESSION_MESSAGE_MAX);
	} while (e == OK);
	assert_int_equal(e, ERR_MALFORMED);
	assert_true(fed > SESSION_MESSAGE_MAX);
	assert_true(most <= empty + SESSION_MESSAGE_MAX + 2 * FRAME_MAX);
	assert_dead(s);
	session_free(s);
	free(plain);
	free(frame);
}

static void
lengths_that_can_not_be_end_it_before_anything_is_held(void **state)
{
	/* role and step: what may come is 32, 96.., 64.. bytes long */
	static const struct {
		unsigned which;
		size_t least, most;
	} step[] = {
		{ 0, NOISE_FIRST_BYTES, NOISE_FIRST_BYTES },
		{ 1, NOISE_SECOND_BYTES, NOISE_SECOND_BYTES + CERT_MAX },
		{ 2, NOISE_THIRD_BYTES, NOISE_THIRD_BYTES + CERT_MAX },
		{ 3, 1 + TAG_BYTES, NOISE_MESSAGE_MAX },
	};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		for (size_t n = 0; n <= NOISE_MESSAGE_MAX;
		     n += n < 1000 ? 1 : 4321) {
			uint8_t header[2] = { (uint8_t)(n >> 8), (uint8_t)n };
			uint8_t *next = NULL;
			struct session *to;
			struct pair p;
			size_t len, before;
			enum err e;

			if (step[i].which < 3) {
				p = shake_until(step[i].which, &next, &len);
				free(next);
			} else {
				p = acquainted();
			}
			to = step[i].which % 2 ? p.a : p.b;
			before = session_bytes(to);
			e = feed(to, header, 2, NULL);
			if (n < step[i].least || n > step[i].most) {
				assert_int_equal(e, ERR_MALFORMED);
				assert_dead(to);
			} else {
				must(e);
				assert_true(session_bytes(to) <= before + 128);
			}
			part(p);
		}
	}
}

static void
a_length_that_is_only_claimed_costs_nothing(void **state)
{
	uint8_t *frame = calloc(1, FRAME_MAX);
	struct pair p = acquainted();
	size_t empty = session_bytes(p.b);

	(void)state;
	assert_non_null(frame);
	frame[0] = frame[1] = 0xff;
	for (size_t i = 0; i < FRAME_MAX - 1; i++) {
		must(feed(p.b, frame + i, 1, NULL));
		assert_true(session_bytes(p.b) <= empty + 128 + 2 * (i + 1));
	}
	assert_int_equal(feed(p.b, frame, 1, NULL), ERR_BADSIG);
	assert_true(session_bytes(p.b) <= empty);
	free(frame);
	part(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    each_kind_of_stranger_is_refused_for_her_own_reason),
		cmocka_unit_test(
		    another_version_or_ring_can_not_be_talked_into_a_session),
		cmocka_unit_test(a_guest_is_let_in_where_guests_are),
		cmocka_unit_test(a_guest_with_a_bad_certificate_is_no_guest),
		cmocka_unit_test(who_answers_is_never_a_guest),
		cmocka_unit_test(every_flipped_bit_of_the_handshake_ends_it),
		cmocka_unit_test(
		    every_flipped_bit_of_a_message_ends_the_session),
		cmocka_unit_test(
		    a_flipped_bit_in_a_later_piece_gives_nothing_out),
		cmocka_unit_test(
		    replayed_reordered_dropped_and_reflected_messages_end_it),
		cmocka_unit_test(a_recorded_session_can_not_be_played_again),
		cmocka_unit_test(pieces_that_no_message_has_end_the_session),
		cmocka_unit_test(a_message_without_end_is_cut_off_at_the_limit),
		cmocka_unit_test(
		    lengths_that_can_not_be_end_it_before_anything_is_held),
		cmocka_unit_test(a_length_that_is_only_claimed_costs_nothing),
	};

	return cmocka_run_group_tests(tests, ready, NULL);
}
