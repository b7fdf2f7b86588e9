/* session_talk.h - ann and bob, who have certificates, carried to each other by
 * hand; for the tests of sessions. */
#ifndef POST_TESTS_UNIT_SESSION_TALK_H
#define POST_TESTS_UNIT_SESSION_TALK_H

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

static inline int
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

static inline struct session *
begin(struct session_config config)
{
	struct session *s = NULL;

	must(session_new(&config, &s));
	return s;
}

/* All that waits, taken; the caller frees. */
static inline uint8_t *
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

static inline void
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
static inline enum err
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
static inline void
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

static inline struct pair
strangers(void)
{
	return (struct pair){ begin(a_config(&ring, &ann, true)),
		begin(a_config(&ring, &bob, false)) };
}

static inline struct pair
acquainted(void)
{
	struct pair p = strangers();

	talk(p.a, p.b, NULL, NULL, NULL);
	assert_true(session_ready(p.a) && session_ready(p.b));
	return p;
}

static inline void
part(struct pair p)
{
	session_free(p.a);
	session_free(p.b);
}

/* Dead: says so for good, and holds and tells nothing. */
static inline void
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

static inline void
fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	struct rng rng;

	rng_init(&rng, seed);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rng_u64(&rng);
}

/* All that ann sends: handshake, then messages of a few lengths. */
#define SCRIPT_LENGTHS 5
static const size_t script_length[SCRIPT_LENGTHS] = { 3, 0,
	SESSION_PIECE_MAX + 7, SESSION_PIECE_MAX, 1 };

static inline uint8_t *
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

/* Bring a stranger with ann's papers and one of ours together. */
static inline struct session *
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

#endif
