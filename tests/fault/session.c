/* Sessions and lists of revoked nodes when memory is not to be had: the first
 * allocation fails, then the second, the third, until none is left.  And: what
 * a session gives back holds no secret.
 *
 * Both sources are compiled into this program, behind an allocator that fails
 * when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned allocations, fail_at; /* 0: never */
static unsigned given_back;

static bool
fails(void)
{
	return ++allocations == fail_at;
}

static void *
failing_malloc(size_t n)
{
	return fails() ? NULL : malloc(n);
}

static void *
failing_realloc(void *p, size_t n)
{
	return fails() ? NULL : realloc(p, n);
}

#define malloc failing_malloc
#define realloc failing_realloc
#include "overlay/base/cert_revocations.c"
#undef malloc
#undef realloc

/* Blocks carry their size in front, to be looked at when they come back. */
union block {
	size_t size;
	max_align_t align;
};

static void *
watched_malloc(size_t n)
{
	union block *b = fails() ? NULL : malloc(sizeof(*b) + n);

	if (!b)
		return NULL;
	b->size = n;
	memset(b + 1, 0xa5, n);
	return b + 1;
}

static void *
watched_calloc(size_t count, size_t size)
{
	void *p = watched_malloc(count * size);

	if (p)
		memset(p, 0, count * size);
	return p;
}

static void
watched_free(void *p)
{
	const uint8_t *bytes = p;
	union block *b;

	if (!p)
		return;
	b = (union block *)p - 1;
	for (size_t i = 0; i < b->size; i++)
		assert_int_equal(bytes[i], 0);
	given_back++;
	free(b);
}

#define malloc watched_malloc
#define calloc watched_calloc
#define free watched_free
#include "overlay/session.c"
#undef malloc
#undef calloc
#undef free

#include "tests/unit/session_talk.h"

static bool
is_zero(const void *bytes, size_t n)
{
	const uint8_t *b = bytes;

	while (n && *b == 0) {
		b++;
		n--;
	}
	return n == 0;
}

/* Carry what waits in pieces; ERR_NOMEM: the receiver died of it. */
static enum err
try_carry(struct session *from, struct session *to, size_t piece)
{
	size_t len, used;
	const uint8_t *out = session_output(from, &len);
	enum err e = OK;

	for (size_t at = 0; out && !e && at < len; at += used) {
		size_t n = piece < len - at ? piece : len - at;

		e = session_receive(to, out + at, n, &used);
	}
	if (out)
		session_sent(from, len);
	return e;
}

/* A handshake and a few messages.  True if nothing failed. */
static bool
talk_with_failures(void)
{
	static uint8_t message[3 * SESSION_PIECE_MAX];
	struct session_config config[2] = { a_config(&ring, &ann, true),
		a_config(&ring, &bob, false) };
	struct session *s[2] = { NULL, NULL };
	enum err e = OK;
	size_t n;

	for (unsigned i = 0; i < 2 && !e; i++) {
		e = session_new(&config[i], &s[i]);
		assert_true(!e == !!s[i]);
	}
	for (unsigned i = 0; i < 12 && !e; i++) {
		struct session *from = s[i % 2], *to = s[1 - i % 2];

		if (i >= 4) {
			e = session_send(from, message, i * 16000);
			if (e) {
				/* Nothing happened, and nothing is wrong. */
				assert_null(session_output(from, &n));
				assert_int_equal(e, ERR_NOMEM);
				must(session_send(from, message, i * 16000));
				must(try_carry(from, to, 5000));
				assert_non_null(session_message(to, &n));
				assert_int_equal(n, i * 16000);
				break;
			}
		}
		e = try_carry(from, to, 5000);
		if (e) {
			assert_int_equal(e, ERR_NOMEM);
			assert_int_equal(
			    session_fault(to), SESSION_FAULT_MEMORY);
			assert_dead(to);
		}
	}
	assert_true(e == OK || e == ERR_NOMEM);
	session_free(s[0]);
	session_free(s[1]);
	return !e;
}

static void
each_allocation_of_a_session_may_fail(void **state)
{
	unsigned tries = 0;

	(void)state;
	do {
		allocations = 0;
		fail_at = ++tries;
		assert_true(tries < 1000);
	} while (!talk_with_failures());
	fail_at = 0;
	assert_true(tries > 10);
}

static void
keys_are_wiped_as_soon_as_they_are_not_needed(void **state)
{
	uint8_t bad[100] = { 0, 98 };
	struct pair p = acquainted();

	(void)state;
	/* The handshake's, when it is done. */
	assert_true(is_zero(&p.a->noise, sizeof(p.a->noise)));
	assert_true(is_zero(&p.b->noise, sizeof(p.b->noise)));
	assert_false(is_zero(&p.a->send.key, sizeof(p.a->send.key)));
	/* The session's, when it dies, and what it had of a message. */
	assert_int_equal(feed(p.b, bad, sizeof(bad), NULL), ERR_BADSIG);
	assert_true(is_zero(&p.b->send, sizeof(p.b->send)));
	assert_true(is_zero(&p.b->receive, sizeof(p.b->receive)));
	part(p);
	/* One that died in the handshake. */
	p = strangers();
	assert_false(is_zero(&p.b->noise, sizeof(p.b->noise)));
	assert_int_equal(feed(p.b, bad, sizeof(bad), NULL), ERR_MALFORMED);
	assert_true(is_zero(&p.b->noise, sizeof(p.b->noise)));
	part(p);
}

/* watched_free() looks at every block. */
static void
what_is_given_back_is_blank(void **state)
{
	static uint8_t message[SESSION_MESSAGE_MAX];
	struct pair p = acquainted();
	unsigned before = given_back;

	(void)state;
	memset(message, 'm', sizeof(message));
	must(session_send(p.a, message, sizeof(message)));
	must(session_send(p.b, message, 1000));
	talk(p.a, p.b, NULL, NULL, NULL);
	must(session_send(p.a, message, 1000)); /* and is never sent */
	part(p);
	assert_true(given_back > before + 8);
}

static void
each_allocation_of_a_list_may_fail(void **state)
{
	struct revocations r = { 0 }, got = { 0 };
	struct id id = { { 1 } };
	uint8_t *bytes = NULL;
	size_t len;

	(void)state;
	must(revocations_add(&r, &id));
	id.b[0] = 2;
	allocations = 0;
	fail_at = 1;
	assert_int_equal(revocations_add(&r, &id), ERR_NOMEM);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.number, 1);
	assert_false(revocations_has(&r, &id));
	must(revocations_add(&r, &id));
	allocations = 0;
	assert_int_equal(
	    revocations_sign(&ring, &r, &authority, &bytes, &len), ERR_NOMEM);
	assert_null(bytes);
	must(revocations_sign(&ring, &r, &authority, &bytes, &len));
	for (fail_at = 1; fail_at <= 2; fail_at++) {
		allocations = 0;
		assert_int_equal(
		    revocations_open(&ring, bytes, len, &got), ERR_NOMEM);
		assert_null(got.node);
	}
	allocations = 0;
	must(revocations_open(&ring, bytes, len, &got));
	assert_int_equal(allocations, 2);
	fail_at = 0;
	assert_true(revocations_has(&got, &id));
	revocations_fini(&r);
	revocations_fini(&got);
	free(bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_of_a_session_may_fail),
		cmocka_unit_test(keys_are_wiped_as_soon_as_they_are_not_needed),
		cmocka_unit_test(what_is_given_back_is_blank),
		cmocka_unit_test(each_allocation_of_a_list_may_fail),
	};

	return cmocka_run_group_tests(tests, ready, NULL);
}
