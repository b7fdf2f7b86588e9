/* Sessions: two of ours with each other, and one of ours with a stranger. */
#include "tests/unit/session_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)
#define FRAME_MAX (2 + NOISE_MESSAGE_MAX)

static struct sign_key authority;
static struct ring ring;
static struct node ann, bob, nobody; /* nobody has no certificate */

static int
ready(void **state)
{
	(void)state;
	if (crypto_init())
		return -1;
	an_authority(1, &authority, &ring);
	a_node(&ring, &authority, 1, &ann);
	a_node(&ring, &authority, 2, &bob);
	a_dh_key(3, &nobody.key);
	return 0;
}

static struct session *
begin(struct session_config config)
{
	struct session *s = NULL;

	must(session_new(&config, &s));
	return s;
}

/* All that waits, taken; the caller frees. */
static uint8_t *
output(struct session *s, size_t *len)
{
	const uint8_t *out = session_output(s, len);
	uint8_t *copy;

	if (!out)
		*len = 0;
	copy = exact_copy(out, *len);
	session_sent(s, *len);
	return copy;
}

/* What one side got: messages end to end, each behind its length. */
struct got {
	uint8_t *b;
	size_t len, messages;
};

static void
keep(struct got *got, const uint8_t *message, size_t len)
{
	uint8_t *grown = realloc(got->b, got->len + sizeof(len) + len);

	assert_non_null(grown);
	memcpy(grown + got->len, &len, sizeof(len));
	if (len)
		memcpy(grown + got->len + sizeof(len), message, len);
	got->b = grown;
	got->len += sizeof(len) + len;
	got->messages++;
}

/* Feed all of it, from a block of its own size. */
static enum err
feed(struct session *s, const uint8_t *bytes, size_t len, struct got *got)
{
	uint8_t *copy = exact_copy(bytes, len);
	enum err e = OK;

	for (size_t at = 0, used; !e && at < len; at += used) {
		const uint8_t *message;
		size_t n;

		e = session_receive(s, copy + at, len - at, &used);
		assert_true(used <= len - at);
		message = session_message(s, &n);
		if (e) {
			assert_null(message);
			break;
		}
		assert_true(message || at + used == len);
		if (message && got)
			keep(got, message, n);
	}
	free(copy);
	return e;
}

/* Carry everything to and fro until nobody says anything, in pieces as the
 * generator likes (NULL: whole). */
static void
talk(struct session *a, struct session *b, struct got *got_a, struct got *got_b,
    struct rng *pieces)
{
	struct session *s[2] = { a, b };
	struct got *got[2] = { got_a, got_b };

	for (unsigned i = 0, quiet = 0; quiet < 2; i++) {
		size_t len, n;
		uint8_t *out = output(s[i % 2], &len);

		quiet = len ? 0 : quiet + 1;
		for (size_t at = 0; at < len; at += n) {
			n = pieces ? 1 + rng_below(pieces, 3000) : len;
			n = n < len - at ? n : len - at;
			must(feed(s[1 - i % 2], out + at, n, got[1 - i % 2]));
		}
		free(out);
	}
}

struct pair {
	struct session *a, *b; /* ann began, bob answers */
};

static struct pair
strangers(void)
{
	return (struct pair){ begin(a_config(&ring, &ann, true)),
		begin(a_config(&ring, &bob, false)) };
}

static struct pair
acquainted(void)
{
	struct pair p = strangers();

	talk(p.a, p.b, NULL, NULL, NULL);
	assert_true(session_ready(p.a) && session_ready(p.b));
	return p;
}

static void
part(struct pair p)
{
	session_free(p.a);
	session_free(p.b);
}

/* Dead: says so for good, and holds and tells nothing. */
static void
assert_dead(struct session *s)
{
	static const uint8_t bytes[100] = { 0, 32 };
	size_t n;
	enum err e = session_receive(s, bytes, sizeof(bytes), &n);

	assert_true(e == ERR_BADSIG || e == ERR_MALFORMED);
	assert_int_equal(n, 0);
	assert_int_equal(session_send(s, "x", 1), e);
	assert_null(session_output(s, &n));
	assert_null(session_message(s, &n));
	assert_null(session_peer(s));
	assert_null(session_peer_key(s));
	assert_false(session_ready(s));
	assert_false(session_at_rest(s));
	assert_true(session_fault(s) != SESSION_FAULT_NONE);
	assert_true(strlen(session_fault_text(session_fault(s))) > 10);
}

static void
fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	struct rng rng;

	rng_init(&rng, seed);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rng_u64(&rng);
}

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

/* All that ann sends: handshake, then messages of a few lengths. */
#define SCRIPT_LENGTHS 5
static const size_t script_length[SCRIPT_LENGTHS] = { 3, 0,
	SESSION_PIECE_MAX + 7, SESSION_PIECE_MAX, 1 };

static uint8_t *
script(size_t *len, struct got *want)
{
	struct pair p = strangers();
	uint8_t *all = NULL, *message = malloc(SESSION_MESSAGE_MAX);
	size_t total = 0;

	assert_non_null(message);
	for (unsigned i = 0; i < 2 + SCRIPT_LENGTHS; i++) {
		uint8_t *out, *answer;
		size_t n, answer_len;

		if (i >= 2) {
			fill(message, script_length[i - 2], i);
			keep(want, message, script_length[i - 2]);
			must(session_send(p.a, message, script_length[i - 2]));
		}
		out = output(p.a, &n);
		all = realloc(all, total + n);
		assert_non_null(all);
		memcpy(all + total, out, n);
		total += n;
		must(feed(p.b, out, n, NULL));
		answer = output(p.b, &answer_len);
		must(feed(p.a, answer, answer_len, NULL));
		free(answer);
		free(out);
	}
	free(message);
	part(p);
	*len = total;
	return all;
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

/* Bring a stranger with ann's papers and one of ours together. */
static struct session *
befriend(struct stranger *x)
{
	struct session *s = begin(a_config(&ring, &bob, false));
	uint8_t frame[SESSION_HANDSHAKE_MAX], *out;
	size_t n;

	a_stranger(x, true, SESSION_LABEL, &ring, &ann.key);
	n = stranger_writes(x, frame, 0, frame, sizeof(frame));
	must(feed(s, frame, n, NULL));
	out = output(s, &n);
	must(stranger_reads(x, out, n));
	free(out);
	n = stranger_writes(x, ann.bytes, ann.len, frame, sizeof(frame));
	must(feed(s, frame, n, NULL));
	assert_true(session_ready(s));
	return s;
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
		cmocka_unit_test(both_sides_rekey_together),
		cmocka_unit_test(who_does_not_rekey_is_cut_off_at_the_boundary),
		cmocka_unit_test(
		    the_key_changes_after_as_many_messages_as_the_header_says),
		cmocka_unit_test(pieces_that_no_message_has_end_the_session),
		cmocka_unit_test(a_message_without_end_is_cut_off_at_the_limit),
		cmocka_unit_test(
		    lengths_that_can_not_be_end_it_before_anything_is_held),
		cmocka_unit_test(a_length_that_is_only_claimed_costs_nothing),
		cmocka_unit_test(
		    memory_is_given_back_and_what_waits_is_bounded),
		cmocka_unit_test(output_may_be_taken_in_parts),
	};

	return cmocka_run_group_tests(tests, ready, NULL);
}
