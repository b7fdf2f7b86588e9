/* How links begin and end on loopback: deaths, drops, idleness, a full house,
 * dials that fail, guests; and the loop itself. */
#include "tests/unit/net_test.h"

#include <errno.h>
#include <signal.h>

static struct test_ring ring;

/* ---- ends --------------------------------------------------------------- */

static void
when_one_end_dies_the_other_is_told_once(void **state)
{
	struct node_test a, b;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	nt_end(&b);
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
	assert_int_equal(nt_get(&a, unmatched), 0);
	nt_connect(&a, nt_peer(&b)); /* nobody is there now */
	wait_until(nt_get(&a, downs) == 2);
	assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
	assert_int_equal(nt_get(&a, unmatched), 1);
	assert_true(id_eq(&a.last_down.id, &b.who.id));
	nt_end(&a);
}

static void
a_dropped_link_is_down_on_both_sides(void **state)
{
	struct node_test a, b;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	nt_drop(&b, a.who.id);
	wait_until(nt_get(&a, downs) == 1 && nt_get(&b, downs) == 1);
	assert_int_equal(nt_get(&b, why), OK);
	nt_drop(&b, a.who.id); /* there is none: nothing happens */
	nt_link(&b, &a);
	assert_int_equal(nt_get(&a, downs), 1);
	nt_end(&a);
	nt_end(&b);
}

static void
drop_the_sender(struct node_test *t, const struct peer *peer,
    const uint8_t *bytes, size_t len)
{
	struct peer gone = { .id = peer->id };

	(void)bytes;
	(void)len;
	net_drop(t->net, &peer->id);
	if (net_send(t->net, &gone, "x", 1) != ERR_UNREACHABLE)
		t->broken = true;
}

static void
reconnect(struct node_test *t, const struct peer *peer)
{
	const struct peer *to = t->arg;

	(void)peer;
	net_connect(t->net, to);
}

static void
do_send_two(struct node_test *t, void *arg)
{
	const struct peer *to = arg;

	if (net_send(t->net, to, "one", 3) || net_send(t->net, to, "two", 3))
		t->broken = true;
}

/* Handlers that call back as wildly as they may. */
static void
a_handler_may_drop_within_a_message_and_dial_within_down(void **state)
{
	struct node_test a, b;
	struct peer to_b;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	to_b = nt_peer(&b);
	a.arg = &to_b;
	a.on_down = reconnect;
	b.on_message = drop_the_sender;
	nt_run(&a);
	nt_run(&b);
	nt_connect(&a, to_b);
	for (unsigned i = 1; i <= 20; i++) {
		wait_until(nt_get(&a, ups) == i && nt_get(&a, links) == 1);
		nt_do(&a, do_send_two, &to_b);
		wait_until(nt_get(&b, downs) == i);
	}
	nt_stop(&a);
	nt_stop(&b);
	assert_int_equal(b.messages, 20); /* nothing from one who was dropped */
	nt_end(&a);
	nt_end(&b);
}

static void
an_unused_link_is_closed_in_good_order(void **state)
{
	struct node_test a, b;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	a.net->limits.idle_us = 300000;
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	for (unsigned i = 0; i < 8; i++) { /* used: it stays */
		nap_ms(100);
		must(
		    nt_send(i % 2 ? &a : &b, nt_peer(i % 2 ? &b : &a), "x", 1));
	}
	assert_int_equal(nt_get(&a, downs), 0);
	wait_until(nt_get(&a, downs) == 1 && nt_get(&b, downs) == 1);
	assert_int_equal(nt_get(&a, why), OK);
	assert_int_equal(nt_get(&b, why), OK);
	must(nt_send(&b, nt_peer(&a), "again", 5)); /* made on demand */
	wait_until(nt_get(&a, ups) == 2 && nt_get(&a, messages) == 5);
	assert_memory_equal(a.last, "again", 5);
	nt_end(&a);
	nt_end(&b);
}

static void
when_full_the_longest_unused_link_goes_or_the_newcomer(void **state)
{
	struct node_test hub, t[5];

	(void)state;
	nt_make(&hub, &ring, 100, NULL);
	hub.net->limits.links_max = 3;
	hub.net->limits.evict_us = 300000;
	nt_run(&hub);
	for (unsigned i = 0; i < 5; i++) {
		nt_make(&t[i], &ring, i, NULL);
		nt_run(&t[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		nt_link(&t[i], &hub);
	nt_connect(&t[3], nt_peer(&hub)); /* all are in use */
	wait_until(nt_get(&t[3], downs) == 1);
	assert_int_equal(nt_get(&t[3], why), ERR_AGAIN);
	assert_int_equal(nt_get(&t[3], unmatched), 1);
	nap_ms(400);
	must(nt_send(&t[0], nt_peer(&hub), "x", 1));
	must(nt_send(&hub, nt_peer(&t[2]), "x", 1));
	wait_until(nt_get(&hub, messages) == 1);
	nt_link(&t[4], &hub);
	wait_until(nt_get(&t[1], downs) == 1);
	assert_int_equal(nt_get(&t[1], why), OK);
	assert_int_equal(nt_get(&t[0], downs) + nt_get(&t[2], downs), 0);
	assert_int_equal(nt_get(&hub, links), 3);
	for (unsigned i = 0; i < 5; i++)
		nt_end(&t[i]);
	nt_end(&hub);
}

static void
a_node_that_comes_back_replaces_its_lost_link(void **state)
{
	struct node_test a, b, again;
	struct net_config config;
	struct net_handler handler;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	a.net->limits.handshake_us = 300000; /* and so a tie's window */
	nt_run(&a);
	nt_run(&b);
	nt_link(&b, &a);
	/* The same identity from elsewhere, while b's link seems well. */
	memset(&again, 0, sizeof(again));
	pthread_mutex_init(&again.lock, NULL);
	again.who = b.who;
	handler = nt_handler(&again);
	config = (struct net_config){ .ring = &ring.ring,
		.key = &again.who.dh,
		.cert = again.who.cert,
		.cert_len = again.who.cert_len };
	must(net_new(&config, &handler, &again.net));
	nt_run(&again);
	nt_connect(&again, nt_peer(&a)); /* might be a tie */
	wait_until(nt_get(&again, downs) == 1);
	assert_int_equal(nt_get(&again, why), ERR_AGAIN);
	nap_ms(400);
	nt_connect(&again, nt_peer(&a));
	wait_until(nt_get(&again, ups) == 1);
	wait_until(nt_get(&b, downs) == 1 && nt_get(&a, ups) == 2);
	assert_int_equal(nt_get(&a, downs), 1);
	assert_int_equal(nt_get(&a, last_up).addr.port, 0); /* listens not */
	must(nt_send(&a, nt_peer(&again), "to you", 6));
	wait_until(nt_get(&again, messages) == 1);
	nt_end(&a);
	nt_end(&b);
	nt_end(&again);
}

/* ---- dialing ------------------------------------------------------------ */

static void
a_dial_that_fails_is_told_with_what_was_asked(void **state)
{
	struct node_test a, b;
	struct peer p = { .addr = loopback(1) };

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_connect(&a, p); /* nobody known, nobody there */
	wait_until(nt_get(&a, downs) == 1);
	assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
	assert_memory_equal(&a.last_down, &p, sizeof(p.id));
	assert_int_equal(a.last_down.addr.port, 1);
	p.id.b[0] = 7;
	assert_int_equal(nt_send(&a, p, "x", 1), OK); /* known, not there */
	wait_until(nt_get(&a, downs) == 2);
	assert_int_equal(a.last_down.id.b[0], 7);
	p.addr.port = 0;
	assert_int_equal(nt_send(&a, p, "x", 1), ERR_UNREACHABLE);
	nt_connect(&a, p); /* no address */
	wait_until(nt_get(&a, downs) == 3);
	assert_int_equal(nt_get(&a, why), ERR_UNREACHABLE);
	p.addr = b.at;
	nt_connect(&a, p); /* another lives there */
	wait_until(nt_get(&a, downs) == 4);
	assert_int_equal(nt_get(&a, why), ERR_ABSENT);
	p = nt_peer(&a);
	nt_connect(&a, p); /* ourselves, known */
	wait_until(nt_get(&a, downs) == 5);
	assert_int_equal(nt_get(&a, why), ERR_EXISTS);
	memset(&p.id, 0, sizeof(p.id));
	nt_connect(&a, p); /* ourselves, not known */
	wait_until(nt_get(&a, downs) == 6);
	assert_int_equal(nt_get(&a, why), ERR_EXISTS);
	nt_link(&a, &b);
	p.addr = b.at;
	nt_connect(&a, p); /* who is linked already */
	wait_until(nt_get(&a, downs) == 7);
	assert_int_equal(nt_get(&a, why), ERR_EXISTS);
	assert_int_equal(nt_get(&a, unmatched), 7);
	nt_connect(&a, nt_peer(&b)); /* there is one: no answer */
	must(nt_send(&a, nt_peer(&b), "still", 5));
	wait_until(nt_get(&b, messages) == 1);
	assert_int_equal(nt_get(&a, downs), 7);
	nt_end(&a);
	nt_end(&b);
}

static void
too_many_dials_at_once_are_refused(void **state)
{
	struct node_test a;
	struct peer p = { .addr = loopback(9) };

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	a.net->limits.dials_max = 2;
	p.addr.ip[12] = 192; /* 192.0.2.x: for documentation, never answers */
	p.addr.ip[13] = 0;
	p.addr.ip[14] = 2;
	a.net->limits.handshake_us = 200000;
	nt_run(&a);
	for (uint8_t i = 1; i <= 4; i++) {
		p.id.b[0] = p.addr.ip[15] = i;
		nt_connect(&a, p);
	}
	wait_until(nt_get(&a, downs) == 4);
	nt_end(&a);
}

/* The address where it listens, not the port it happens to dial from. */
static void
who_is_dialed_learns_where_the_dialer_listens(void **state)
{
	struct node_test a, b;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	assert_true(net_addr_eq(&b.last_up.addr, &a.at));
	assert_true(net_addr_eq(&a.last_up.addr, &b.at));
	nt_end(&a);
	nt_end(&b);
}

static void
links_go_over_ipv6_too(void **state)
{
	static const char *const to[][2] = { { "[::1]:1", "[::1]:1" },
		{ "[::1]:1", "127.0.0.1:1" } };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };

	(void)state;
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		print_message("no IPv6 on this machine: %s\n", strerror(errno));
		if (fd >= 0)
			close(fd);
		skip();
	}
	close(fd);
	for (unsigned i = 0; i < 4; i++) {
		struct node_test a, b;
		struct net_config config = { .ring = &ring.ring,
			.listens = true };
		struct net_handler handler = nt_handler(&b);
		struct peer p;

		nt_make(&a, &ring, 1, NULL);
		memset(&b, 0, sizeof(b));
		pthread_mutex_init(&b.lock, NULL);
		test_identity_init(&b.who, &ring, 2, VALID_S);
		config.key = &b.who.dh;
		config.cert = b.who.cert;
		config.cert_len = b.who.cert_len;
		must(net_addr_parse("[::]:1", &config.listen));
		must(net_addr_parse(to[i / 2][i % 2], &p.addr));
		if (i / 2 == 0)
			must(net_addr_parse("[::1]:1", &config.listen));
		config.listen.port = 0;
		must(net_new(&config, &handler, &b.net));
		b.at = p.addr;
		b.at.port = net_listening(b.net)->port;
		nt_run(&a);
		nt_run(&b);
		nt_link(&a, &b);
		assert_true(net_addr_eq(&a.last_up.addr, &b.at));
		must(nt_send(&a, nt_peer(&b), "six", 3));
		wait_until(nt_get(&b, messages) == 1);
		nt_end(&a);
		nt_end(&b);
	}
}

static void
a_port_that_is_taken_is_said_to_be(void **state)
{
	struct node_test a, b;
	struct net_handler handler = nt_handler(&b);
	struct net_config config = { .ring = &ring.ring, .listens = true };

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	test_identity_init(&b.who, &ring, 2, VALID_S);
	config.key = &b.who.dh;
	config.cert = b.who.cert;
	config.cert_len = b.who.cert_len;
	config.listen = a.at;
	b.net = NULL;
	assert_int_equal(net_new(&config, &handler, &b.net), ERR_BUSY);
	must(net_addr_parse("192.0.2.1:7400", &config.listen));
	assert_int_equal(net_new(&config, &handler, &b.net), ERR_INVALID);
	config.cert_len = 0; /* a guest does not listen */
	config.listen = loopback(0);
	assert_int_equal(net_new(&config, &handler, &b.net), ERR_INVALID);
	assert_null(b.net);
	nt_end(&a); /* now it is free, at once */
	config.cert_len = b.who.cert_len;
	config.listen = a.at;
	must(net_new(&config, &handler, &b.net));
	assert_true(net_addr_eq(net_listening(b.net), &a.at));
	net_free(b.net);
}

/* ---- guests ------------------------------------------------------------- */

static void
answer_guest(
    struct node_test *t, uint64_t guest, const uint8_t *bytes, size_t len)
{
	uint8_t answer[64] = "for ";

	if (len <= sizeof(answer) - 4)
		memcpy(answer + 4, bytes, len);
	net_guest_answer(t->net, guest, answer, 4 + len);
	net_guest_answer(t->net, guest + 1, "nobody", 6);
}

static void
make_guest(struct node_test *g, unsigned number)
{
	struct net_handler handler = nt_handler(g);
	struct net_config config = { .ring = &ring.ring, .key = &g->who.dh };

	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	test_identity_init(&g->who, &ring, number, VALID_S);
	must(net_new(&config, &handler, &g->net));
	nt_run(g);
}

static void
make_host(struct node_test *h)
{
	struct net_handler handler = nt_handler(h);
	struct net_config config = { .ring = &ring.ring,
		.key = &h->who.dh,
		.cert = h->who.cert,
		.listen = loopback(0),
		.listens = true,
		.guests = true };

	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	test_identity_init(&h->who, &ring, 50, VALID_S);
	config.cert_len = h->who.cert_len;
	must(net_new(&config, &handler, &h->net));
	h->at = *net_listening(h->net);
	h->on_guest = answer_guest;
}

static void
a_guest_asks_and_is_answered_where_guests_are_let_in(void **state)
{
	struct node_test host, shut, guest;
	struct peer to = { { { 0 } }, { { 0 }, 0 } };

	(void)state;
	make_host(&host);
	host.net->limits.guest_us = 300000;
	nt_run(&host);
	nt_make(&shut, &ring, 51, NULL);
	nt_run(&shut);
	make_guest(&guest, 60);
	to.addr = host.at;
	nt_connect(&guest, to);
	wait_until(nt_get(&guest, ups) == 1);
	assert_true(id_eq(&guest.last_up.id, &host.who.id));
	must(nt_send(&guest, nt_peer(&host), "me", 2));
	wait_until(nt_get(&guest, messages) == 1);
	assert_memory_equal(guest.last, "for me", 6);
	assert_int_equal(nt_get(&host, guests), 1);
	assert_int_equal(nt_get(&host, ups), 0); /* no link of the ring */
	wait_until(nt_get(&guest, downs) == 1); /* its stay is short */
	to.addr = shut.at;
	nt_connect(&guest, to);
	wait_until(nt_get(&guest, downs) == 2);
	assert_int_equal(nt_get(&guest, why), ERR_DENIED);
	assert_int_equal(nt_get(&guest, ups), 1);
	assert_int_equal(nt_get(&shut, guests), 0);
	nt_end(&guest);
	nt_end(&host);
	nt_end(&shut);
}

static void
a_guest_that_says_too_much_is_shown_out(void **state)
{
	struct node_test host, guest;
	static uint8_t much[1 << 19];

	(void)state;
	make_host(&host);
	nt_run(&host);
	make_guest(&guest, 60);
	nt_connect(&guest, nt_peer(&host));
	wait_until(nt_get(&guest, ups) == 1);
	must(nt_send(&guest, nt_peer(&host), much, sizeof(much)));
	wait_until(nt_get(&guest, downs) == 1);
	assert_int_equal(nt_get(&host, guests), 0);
	nt_connect(&guest, nt_peer(&host));
	wait_until(nt_get(&guest, ups) == 2);
	must(nt_send(&guest, nt_peer(&host), much, NET_GUEST_MESSAGE_MAX + 1));
	wait_until(nt_get(&guest, downs) == 2);
	assert_int_equal(nt_get(&host, guests), 0);
	nt_end(&guest);
	nt_end(&host);
}

/* ---- the loop ----------------------------------------------------------- */

struct ticking {
	uint64_t asked, early;
	unsigned left;
};

static void
tick(struct node_test *t, uint64_t now_us)
{
	struct ticking *k = t->arg;

	if (now_us < k->asked)
		k->early++;
	if (k->left) {
		k->left--;
		k->asked = now_us + 5000;
		net_wake_at(t->net, k->asked + 1000000);
		net_wake_at(t->net, k->asked);
	}
}

static void
do_tick(struct node_test *t, void *arg)
{
	(void)arg;
	tick(t, net_now_us(t->net));
}

static void
the_timer_is_never_early_and_can_be_put_off(void **state)
{
	struct node_test a;
	struct ticking k = { .left = 20 };

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	a.arg = &k;
	a.on_timer = tick;
	net_wake_at(a.net, 1); /* long past: at once, though before the loop */
	net_wake_at(a.net, UINT64_MAX); /* or never */
	nt_run(&a);
	nap_ms(50);
	assert_int_equal(nt_get(&a, timers), 0);
	nt_do(&a, do_tick, NULL);
	wait_until(nt_get(&a, timers) == 20);
	nap_ms(50);
	nt_stop(&a);
	assert_int_equal(a.timers, 20);
	assert_int_equal(k.early, 0);
	nt_end(&a);
}

#define CALLERS 4
#define CALLS 2000

struct caller {
	struct node_test *t;
	unsigned *count;
};

static void
count_up(void *arg)
{
	++*(unsigned *)arg; /* all on one thread: no lock */
}

static void *
call_often(void *arg)
{
	struct caller *c = arg;

	for (unsigned i = 0; i < CALLS; i++)
		if (net_call(c->t->net, count_up, c->count))
			return NULL;
	return c;
}

static void
calls_from_many_threads_all_run_on_the_loops(void **state)
{
	struct node_test a;
	unsigned count = 0;
	struct caller c = { &a, &count };
	pthread_t thread[CALLERS];
	void *end;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_run(&a);
	for (unsigned i = 0; i < CALLERS; i++)
		assert_int_equal(
		    pthread_create(&thread[i], NULL, call_often, &c), 0);
	for (unsigned i = 0; i < CALLERS; i++) {
		assert_int_equal(pthread_join(thread[i], &end), 0);
		assert_non_null(end);
	}
	nt_stop(&a); /* runs what was called before */
	assert_int_equal(count, CALLERS * CALLS);
	net_stop(a.net); /* before it runs: it does not serve at all */
	must(net_call(a.net, count_up, &count));
	must(net_run(a.net));
	assert_int_equal(count, CALLERS * CALLS + 1);
	must(net_call(a.net, count_up, &count)); /* never runs, is freed */
	nt_end(&a);
	assert_int_equal(count, CALLERS * CALLS + 1);
}

static void
a_broken_pipe_kills_nobody(void **state)
{
	struct node_test a, b;
	struct sigaction was;
	static uint8_t much[1 << 20];

	(void)state;
	assert_int_equal(sigaction(SIGPIPE, NULL, &was), 0);
	assert_ptr_equal(was.sa_handler, SIG_DFL); /* else nothing is tested */
	for (unsigned i = 0; i < 5; i++) {
		nt_make(&a, &ring, 1, NULL);
		nt_make(&b, &ring, 2, NULL);
		nt_run(&a);
		nt_run(&b);
		nt_link(&a, &b);
		for (unsigned k = 0; k < 8; k++)
			(void)!nt_send(&a, nt_peer(&b), much, sizeof(much) / 2);
		nt_end(&b);
		for (unsigned k = 0; k < 8; k++)
			(void)!nt_send(&a, (struct peer){ .id = b.who.id },
			    much, sizeof(much) / 2);
		wait_until(nt_get(&a, downs) == 1);
		nt_end(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(when_one_end_dies_the_other_is_told_once),
		cmocka_unit_test(a_dropped_link_is_down_on_both_sides),
		cmocka_unit_test(
		    a_handler_may_drop_within_a_message_and_dial_within_down),
		cmocka_unit_test(an_unused_link_is_closed_in_good_order),
		cmocka_unit_test(
		    when_full_the_longest_unused_link_goes_or_the_newcomer),
		cmocka_unit_test(a_node_that_comes_back_replaces_its_lost_link),
		cmocka_unit_test(a_dial_that_fails_is_told_with_what_was_asked),
		cmocka_unit_test(too_many_dials_at_once_are_refused),
		cmocka_unit_test(who_is_dialed_learns_where_the_dialer_listens),
		cmocka_unit_test(links_go_over_ipv6_too),
		cmocka_unit_test(a_port_that_is_taken_is_said_to_be),
		cmocka_unit_test(
		    a_guest_asks_and_is_answered_where_guests_are_let_in),
		cmocka_unit_test(a_guest_that_says_too_much_is_shown_out),
		cmocka_unit_test(the_timer_is_never_early_and_can_be_put_off),
		cmocka_unit_test(calls_from_many_threads_all_run_on_the_loops),
		cmocka_unit_test(a_broken_pipe_kills_nobody),
	};

	test_ring_init(&ring, "rice.example");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
