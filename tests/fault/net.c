/* Peers that are broken, strange or hostile: each costs bounded memory and
 * time, is dropped, and nobody else notices. */
#include "tests/unit/net_test.h"

#include "overlay/session_private.h"

#include <errno.h>
#include <poll.h>

static struct test_ring ring, other_ring;

/* Until the other side has closed; what it said before does not matter. */
static void
read_to_the_end(int fd)
{
	uint8_t buf[4096];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		assert_int_equal(poll(&p, 1, WAIT_S * 1000), 1);
		if (recv(fd, buf, sizeof(buf), 0) <= 0)
			return;
	}
}

/* A good link that goes on working is the measure of every test here. */
static void
still_works(struct node_test *a, struct node_test *b)
{
	uint64_t before = nt_get(b, messages);

	must(nt_send(a, nt_peer(b), "are you well", 12));
	wait_until(nt_get(b, messages) == before + 1);
}

/* ---- a peer made by hand ------------------------------------------------ */

struct hand {
	int fd;
	struct session *s;
};

static void
hand_config(struct session_config *c, const struct test_ring *r,
    const struct test_identity *who)
{
	*c = (struct session_config){ .initiator = true,
		.ring = &r->ring,
		.key = &who->dh,
		.cert = who->cert,
		.cert_len = who->cert_len,
		.now_s = (int64_t)time(NULL) };
	random_bytes(c->ephemeral, sizeof(c->ephemeral));
}

static void
hand_flush(struct hand *h)
{
	const uint8_t *at;
	size_t len;

	while ((at = session_output(h->s, &len))) {
		ssize_t k = send(h->fd, at, len, MSG_NOSIGNAL);

		if (k < 0)
			return; /* they have closed: that will be seen */
		session_sent(h->s, (size_t)k);
	}
}

/* Dial by hand up to the end of the handshake. */
static void
hand_shake(struct hand *h, const struct node_test *to,
    const struct test_ring *r, const struct test_identity *who)
{
	struct session_config c;
	uint8_t buf[4096];
	size_t used;

	hand_config(&c, r, who);
	must(session_new(&c, &h->s));
	h->fd = bare_connect(&to->at);
	hand_flush(h);
	while (!session_ready(h->s)) {
		ssize_t k = recv(h->fd, buf, sizeof(buf), 0);

		assert_true(k > 0);
		must(session_receive(h->s, buf, (size_t)k, &used));
		assert_int_equal(used, k);
	}
	hand_flush(h);
}

static void
hand_say(struct hand *h, const void *bytes, size_t len)
{
	must(session_send(h->s, bytes, len));
	hand_flush(h);
}

/* The next message, at most 64 bytes of it; its length, or -1 at the end. */
static ssize_t
hand_hear(struct hand *h, uint8_t out[64])
{
	uint8_t byte;
	const uint8_t *m;
	size_t used, len;

	while (recv(h->fd, &byte, 1, 0) == 1) {
		must(session_receive(h->s, &byte, 1, &used));
		if (!(m = session_message(h->s, &len)))
			continue;
		memcpy(out, m, len < 64 ? len : 64);
		return (ssize_t)len;
	}
	return -1;
}

static void
hand_end(struct hand *h)
{
	close(h->fd);
	session_free(h->s);
}

static void
hand_greet(struct hand *h)
{
	uint8_t got[64];

	hand_say(h, "\1\0\0", 3);
	assert_int_equal(hand_hear(h, got), 3);
	assert_int_equal(got[0], 1);
}

/* ---- who may not -------------------------------------------------------- */

static void
a_node_of_another_ring_gets_nothing(void **state)
{
	struct node_test a, b;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &other_ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_connect(&a, nt_peer(&b));
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), ERR_BADSIG);
	nt_connect(&b, (struct peer){ .addr = a.at });
	wait_until(nt_get(&b, downs) == 1);
	assert_int_equal(nt_get(&b, why), ERR_BADSIG);
	wait_until(nt_counters(&a).failed == 1);
	assert_int_equal(a.ups + b.ups, 0);
	nt_end(&a);
	nt_end(&b);
}

static void
a_revoked_node_gets_nothing_and_is_told_as_much(void **state)
{
	struct node_test a, b, c;
	struct revocations revoked = { 0 };

	(void)state;
	nt_make(&b, &ring, 2, NULL);
	must(revocations_add(&revoked, &b.who.id));
	nt_make(&a, &ring, 1, &revoked);
	nt_make(&c, &ring, 3, &revoked);
	nt_run(&a);
	nt_run(&b);
	nt_run(&c);
	nt_link(&a, &c);
	nt_connect(&b, nt_peer(&a)); /* it dials: the other refuses */
	wait_until(nt_get(&b, downs) == 1);
	assert_int_equal(nt_get(&b, why), ERR_DENIED);
	nt_connect(&a, nt_peer(&b)); /* it is dialed: we find out */
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), ERR_DENIED);
	assert_int_equal(nt_get(&b, ups), 0);
	assert_int_equal(nt_get(&a, ups), 1);
	still_works(&a, &c);
	nt_end(&a);
	nt_end(&b);
	nt_end(&c);
	revocations_fini(&revoked);
}

static void
a_certificate_that_ran_out_is_denied_on_both_sides(void **state)
{
	struct node_test a, b;
	struct net_handler handler = nt_handler(&b);
	struct net_config config = { .ring = &ring.ring };
	struct hand h;
	uint8_t got[64];
	struct test_identity old;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_run(&a);
	test_identity_init(&old, &ring, 2, 3000); /* until over an hour ago */
	config.key = &old.dh;
	config.cert = old.cert;
	config.cert_len = old.cert_len;
	b.net = NULL;
	assert_int_equal(net_new(&config, &handler, &b.net), ERR_DENIED);
	assert_null(b.net);
	hand_shake(&h, &a, &ring, &old); /* one who does not look */
	hand_say(&h, "\1\0\0", 3);
	assert_int_equal(hand_hear(&h, got), -1);
	hand_end(&h);
	wait_until(nt_counters(&a).failed == 1);
	assert_int_equal(nt_get(&a, ups), 0);
	nt_end(&a);
}

/* ---- who says what can not be ------------------------------------------- */

static void
garbage_is_answered_with_a_closed_connection(void **state)
{
	struct node_test a, b;
	struct rng r;
	uint8_t junk[5000];

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	rng_init(&r, 3);
	for (unsigned i = 0; i < 50; i++) {
		int fd = bare_connect(&b.at);

		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)rng_u64(&r);
		(void)!send(fd, junk, 1 + i * 100, MSG_NOSIGNAL);
		if (i == 0) /* one byte: a handshake might still come */
			(void)!send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
		read_to_the_end(fd);
		close(fd);
	}
	assert_true(nt_counters(&b).failed >= 50);
	still_works(&a, &b);
	assert_int_equal(nt_get(&b, downs), 0); /* of strangers none is told */
	nt_end(&a);
	nt_end(&b);
}

/* A good handshake, cut anywhere or with a bit flipped anywhere. */
static void
half_a_handshake_and_a_damaged_one_come_to_nothing(void **state)
{
	struct node_test a;
	struct test_identity who;
	struct session_config c;
	const uint8_t *at;
	size_t len, first;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	a.net->limits.address_max = a.net->limits.handshakes_max = 1000;
	a.net->limits.accepts = 100000;
	nt_run(&a);
	test_identity_init(&who, &ring, 2, VALID_S);
	hand_config(&c, &ring, &who);
	{
		struct session *s;

		must(session_new(&c, &s));
		assert_non_null(session_output(s, &first));
		session_free(s);
	}
	for (size_t n = 0; n < first; n++) {
		struct hand h;

		hand_config(&c, &ring, &who);
		must(session_new(&c, &h.s));
		h.fd = bare_connect(&a.at);
		at = session_output(h.s, &len);
		assert_int_equal(send(h.fd, at, n, MSG_NOSIGNAL), (ssize_t)n);
		assert_int_equal(shutdown(h.fd, SHUT_WR), 0);
		read_to_the_end(h.fd);
		hand_end(&h);
	}
	for (unsigned bit = 0; bit < 200; bit++) {
		struct hand h;
		uint8_t buf[4096];
		size_t used, n;

		hand_config(&c, &ring, &who);
		must(session_new(&c, &h.s));
		h.fd = bare_connect(&a.at);
		hand_flush(&h);
		while (!session_ready(h.s)) {
			ssize_t k = recv(h.fd, buf, sizeof(buf), 0);

			assert_true(k > 0);
			must(session_receive(h.s, buf, (size_t)k, &used));
		}
		at = session_output(h.s, &n);
		assert_true(n < sizeof(buf));
		memcpy(buf, at, n);
		buf[2 + bit * (n - 2) / 200] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(send(h.fd, buf, n, MSG_NOSIGNAL), (ssize_t)n);
		read_to_the_end(h.fd);
		hand_end(&h);
	}
	wait_until(nt_counters(&a).failed == first + 200);
	assert_int_equal(nt_get(&a, ups), 0);
	nt_end(&a);
}

static void
greetings_that_are_none_end_the_connection(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = { { "", 0 }, { "\1", 1 }, { "\1\0", 2 }, { "\1\0\0\0", 4 },
		{ "\0\0\0", 3 }, { "\2\0\1", 3 }, { "\3\0\0", 3 } };
	struct node_test a;
	struct test_identity who;
	struct hand h;
	uint8_t got[64];

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_run(&a);
	test_identity_init(&who, &ring, 2, VALID_S);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		hand_shake(&h, &a, &ring, &who);
		hand_say(&h, bad[i].bytes, bad[i].len);
		assert_int_equal(hand_hear(&h, got), -1);
		hand_end(&h);
	}
	assert_int_equal(nt_get(&a, ups), 0);
	hand_shake(&h, &a, &ring, &who);
	hand_greet(&h);
	hand_say(&h, "hello", 5);
	wait_until(nt_get(&a, messages) == 1);
	hand_say(&h, "", 0); /* BYE */
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), OK);
	hand_end(&h);
	nt_end(&a);
}

/* A node that impersonates us to us: a reflection, or a copied home. */
static void
our_own_identity_from_elsewhere_gets_no_link(void **state)
{
	struct node_test a;
	struct hand h;
	uint8_t got[64];

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_run(&a);
	hand_shake(&h, &a, &ring, &a.who);
	hand_say(&h, "\1\0\0", 3);
	assert_int_equal(hand_hear(&h, got), -1);
	hand_end(&h);
	assert_int_equal(nt_get(&a, ups), 0);
	nt_end(&a);
}

static void
a_member_that_breaks_the_session_is_blamed(void **state)
{
	struct node_test a, b;
	struct test_identity who;
	struct hand h;
	uint8_t junk[100] = { 0, 98, 7 };

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 3, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_link(&b, &a);
	test_identity_init(&who, &ring, 2, VALID_S);
	hand_shake(&h, &a, &ring, &who);
	hand_greet(&h);
	wait_until(nt_get(&a, ups) == 2);
	assert_true(send(h.fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
	read_to_the_end(h.fd);
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), ERR_BADSIG);
	assert_int_equal(nt_counters(&a).blamed, 1);
	hand_end(&h);
	still_works(&b, &a);
	nt_end(&a);
	nt_end(&b);
}

static void
a_stream_that_is_cut_is_no_goodbye(void **state)
{
	struct node_test a;
	struct test_identity who;
	struct hand h;
	const uint8_t *at;
	size_t len;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_run(&a);
	test_identity_init(&who, &ring, 2, VALID_S);
	for (unsigned i = 0; i < 2; i++) {
		hand_shake(&h, &a, &ring, &who);
		hand_greet(&h);
		if (i) { /* amid a message */
			must(session_send(h.s, "half of this", 12));
			at = session_output(h.s, &len);
			assert_true(send(h.fd, at, len / 2, 0) > 0);
		}
		assert_int_equal(shutdown(h.fd, SHUT_WR), 0);
		wait_until(nt_get(&a, downs) == i + 1);
		assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
		hand_end(&h);
	}
	assert_int_equal(nt_get(&a, messages), 0);
	nt_end(&a);
}

/* ---- who says nothing --------------------------------------------------- */

static void
silence_ends_at_the_deadline_at_any_stage(void **state)
{
	struct node_test a, b;
	struct test_identity who;
	struct hand h;
	uint64_t begun;
	int fd;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 3, NULL);
	a.net->limits.handshake_us = 400000;
	nt_run(&a);
	nt_run(&b);
	nt_link(&b, &a);
	begun = test_now_us();
	fd = bare_connect(&a.at); /* nothing at all */
	read_to_the_end(fd);
	close(fd);
	assert_in_range(test_now_us() - begun, 390000, WAIT_S * 1000000ull);
	test_identity_init(&who, &ring, 2, VALID_S);
	hand_shake(&h, &a, &ring, &who); /* all but a greeting */
	read_to_the_end(h.fd);
	hand_end(&h);
	wait_until(nt_counters(&a).failed == 2);
	still_works(&b, &a);
	nt_end(&a);
	nt_end(&b);
}

static void
a_dial_to_one_who_is_silent_ends_at_the_deadline(void **state)
{
	struct node_test a;
	struct peer p = { { { 5 } }, loopback(0) };
	struct net_addr bound;
	uint64_t begun = test_now_us();
	int door;

	(void)state;
	must(socket_listen(&p.addr, &door, &bound));
	p.addr = bound;
	nt_make(&a, &ring, 1, NULL);
	a.net->limits.handshake_us = 400000;
	nt_run(&a);
	assert_int_equal(nt_send(&a, p, "lost", 4), OK);
	wait_until(nt_get(&a, downs) == 1);
	assert_true(test_now_us() - begun >= 400000);
	assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
	close(door);
	nt_end(&a);
}

/* A member that is up and takes nothing, for good. */
static void
a_peer_that_never_reads_is_given_up(void **state)
{
	struct node_test a;
	struct test_identity who;
	struct hand h;
	static uint8_t much[1 << 20];
	struct peer p = { { { 0 } }, { { 0 }, 0 } };
	enum err e = OK;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	a.net->limits.stall_us = 500000;
	nt_run(&a);
	test_identity_init(&who, &ring, 2, VALID_S);
	hand_shake(&h, &a, &ring, &who);
	hand_greet(&h);
	p.id = who.id;
	wait_until(nt_get(&a, ups) == 1);
	for (unsigned i = 0; i < 100 && !e; i++)
		e = nt_send(&a, p, much, sizeof(much));
	assert_int_equal(e, ERR_AGAIN);
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
	hand_end(&h);
	nt_end(&a);
}

/* ---- crowds ------------------------------------------------------------- */

#define CROWD 100

static void
good_links_are_made_while_a_hundred_talk_garbage(void **state)
{
	struct node_test a, b[5];
	int fd[CROWD];
	uint8_t junk[700];
	struct rng r;

	(void)state;
	rng_init(&r, 4);
	nt_make(&a, &ring, 1, NULL);
	nt_run(&a);
	for (unsigned i = 0; i < 5; i++) {
		nt_make(&b[i], &ring, 10 + i, NULL);
		nt_run(&b[i]);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		fd[i] = bare_connect(&a.at);
		if (i % 20 == 19) {
			nt_link(&b[i / 20], &a);
			still_works(&b[i / 20], &a);
		}
		if (i % 3 == 0)
			continue; /* this one is silent */
		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)rng_u64(&r);
		(void)!send(
		    fd[i], junk, i % 3 == 1 ? 2 : sizeof(junk), MSG_NOSIGNAL);
	}
	for (unsigned i = 0; i < 5; i++) {
		still_works(&b[i], &a);
		still_works(&a, &b[i]);
	}
	/* Two of three wait for more that never comes: too many to wait. */
	assert_in_range(nt_counters(&a).turned_away, 2 * CROWD / 3 - 64, CROWD);
	for (unsigned i = 0; i < CROWD; i++) {
		read_to_the_end(fd[i]);
		close(fd[i]);
	}
	assert_int_equal(nt_get(&a, downs), 0);
	for (unsigned i = 0; i < 5; i++)
		nt_end(&b[i]);
	nt_end(&a);
}

static void
few_at_one_address_may_take_their_time_and_many_may_be_quick(void **state)
{
	struct node_test a, b[24];
	int fd[20], late, far;
	struct net_addr from = loopback(0);
	struct sockaddr_storage sa;
	struct pollfd p;
	socklen_t len;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	for (unsigned i = 0; i < 24; i++) { /* all at once, before it looks */
		nt_make(&b[i], &ring, 10 + i, NULL);
		do_connect(&b[i], &(struct peer){ .addr = a.at });
		nt_run(&b[i]);
	}
	nap_ms(50);
	nt_run(&a);
	for (unsigned i = 0; i < 24; i++)
		wait_until(nt_get(&b[i], ups) == 1);
	assert_int_equal(nt_counters(&a).turned_away, 0);
	from.ip[15] = 9;
	far = socket(AF_INET, SOCK_STREAM, 0);
	len = socket_address(&from, &sa);
	assert_int_equal(bind(far, (struct sockaddr *)&sa, len), 0);
	len = socket_address(&a.at, &sa);
	assert_int_equal(connect(far, (struct sockaddr *)&sa, len), 0);
	for (unsigned i = 0; i < 20; i++)
		fd[i] = bare_connect(&a.at);
	wait_until(nt_counters(&a).accepted == 24 + 21);
	assert_int_equal(nt_counters(&a).turned_away, 0);
	nap_ms(NET_GRACE_MS + 50);
	late = bare_connect(&a.at);
	wait_until(
	    nt_counters(&a).turned_away == 20 + 1 - NET_ADDRESS_HANDSHAKES_MAX);
	for (unsigned i = 0; i < 20 + 1 - NET_ADDRESS_HANDSHAKES_MAX; i++) {
		uint8_t byte;

		p = (struct pollfd){ .fd = fd[i], .events = POLLIN };
		assert_int_equal(poll(&p, 1, WAIT_S * 1000), 1);
		assert_int_equal(recv(fd[i], &byte, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
	}
	p = (struct pollfd){ .fd = far, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0); /* not its fault: it stays */
	for (unsigned i = 0; i < 20; i++)
		close(fd[i]);
	close(late);
	close(far);
	for (unsigned i = 0; i < 24; i++)
		nt_end(&b[i]);
	nt_end(&a);
}

/* From many places, so that only the sum is bounded. */
static void
a_crowd_from_everywhere_does_not_keep_members_out(void **state)
{
	struct node_test a, b;
	int fd[CROWD];
	struct sockaddr_storage sa;
	struct net_counters n;
	socklen_t len;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	for (unsigned i = 0; i < CROWD; i++) {
		struct net_addr from = loopback(0);

		from.ip[15] = (uint8_t)(2 + i); /* 127.0.0.0/8 is all ours */
		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_true(fd[i] >= 0);
		len = socket_address(&from, &sa);
		assert_int_equal(bind(fd[i], (struct sockaddr *)&sa, len), 0);
		len = socket_address(&a.at, &sa);
		assert_int_equal(
		    connect(fd[i], (struct sockaddr *)&sa, len), 0);
	}
	nt_link(&b, &a);
	still_works(&b, &a);
	n = nt_counters(&a);
	assert_in_range(n.turned_away, CROWD - NET_HANDSHAKES_MAX, CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		close(fd[i]);
	nt_end(&a);
	nt_end(&b);
}

/* More connections than one second is meant for: the rest wait, none is lost. */
static void
connections_beyond_the_rate_wait_their_turn(void **state)
{
	struct node_test a;
	struct test_identity who;
	struct hand h;
	uint64_t begun;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	bucket_init(&a.net->accepts, 20, 4, test_now_us());
	nt_run(&a);
	test_identity_init(&who, &ring, 2, VALID_S);
	begun = test_now_us();
	for (unsigned i = 0; i < 12; i++) {
		hand_shake(&h, &a, &ring, &who);
		hand_end(&h);
	}
	assert_true(test_now_us() - begun > 300000);
	wait_until(nt_counters(&a).accepted == 12);
	nt_end(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_of_another_ring_gets_nothing),
		cmocka_unit_test(
		    a_revoked_node_gets_nothing_and_is_told_as_much),
		cmocka_unit_test(
		    a_certificate_that_ran_out_is_denied_on_both_sides),
		cmocka_unit_test(garbage_is_answered_with_a_closed_connection),
		cmocka_unit_test(
		    half_a_handshake_and_a_damaged_one_come_to_nothing),
		cmocka_unit_test(greetings_that_are_none_end_the_connection),
		cmocka_unit_test(our_own_identity_from_elsewhere_gets_no_link),
		cmocka_unit_test(a_member_that_breaks_the_session_is_blamed),
		cmocka_unit_test(a_stream_that_is_cut_is_no_goodbye),
		cmocka_unit_test(silence_ends_at_the_deadline_at_any_stage),
		cmocka_unit_test(
		    a_dial_to_one_who_is_silent_ends_at_the_deadline),
		cmocka_unit_test(a_peer_that_never_reads_is_given_up),
		cmocka_unit_test(
		    good_links_are_made_while_a_hundred_talk_garbage),
		cmocka_unit_test(
		    few_at_one_address_may_take_their_time_and_many_may_be_quick),
		cmocka_unit_test(
		    a_crowd_from_everywhere_does_not_keep_members_out),
		cmocka_unit_test(connections_beyond_the_rate_wait_their_turn),
	};

	test_ring_init(&ring, "rice.example");
	test_ring_init(&other_ring, "other.example");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
