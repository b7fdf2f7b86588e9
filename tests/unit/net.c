/* Two nets on loopback: much traffic, slow readers, links made by both at once. */
#include "tests/unit/net_test.h"

static struct test_ring ring;

/* ---- much, both ways ---------------------------------------------------- */

#define LARGE (900u * 1000u)
#define LARGE_EACH 500 /* every so manyth message is a large one */
#define SMALL_MAX 400u

/* What one side sends and expects: a numbered sequence that both can make. */
struct traffic {
	struct peer to;
	uint64_t total, out, in;
	uint8_t side;
	bool bad;
	unsigned again;
	uint8_t *buf, *block;
};

static size_t
traffic_make(const struct traffic *f, uint64_t i, uint8_t side, uint8_t *out)
{
	struct rng r;
	size_t len;

	rng_init(&r, i * 2 + side);
	if (i % LARGE_EACH == LARGE_EACH - 1) {
		memcpy(out, f->block, LARGE);
		memcpy(out, &i, sizeof(i));
		memcpy(out + LARGE - sizeof(i), &i, sizeof(i));
		return LARGE;
	}
	len = 1 + (size_t)rng_below(&r, SMALL_MAX);
	for (size_t at = 0; at < len; at += 8) {
		uint64_t v = rng_u64(&r);

		memcpy(out + at, &v, len - at < 8 ? len - at : 8);
	}
	return len;
}

static void
traffic_pump(struct node_test *t, const struct peer *peer)
{
	struct traffic *f = t->arg;

	(void)peer;
	while (f->out < f->total) {
		size_t len = traffic_make(f, f->out, f->side, f->buf);
		enum err e = net_send(t->net, &f->to, f->buf, len);

		if (e == ERR_AGAIN) {
			f->again++;
			return;
		}
		if (e)
			f->bad = true;
		f->out++;
	}
}

static void
traffic_check(struct node_test *t, const struct peer *peer,
    const uint8_t *bytes, size_t len)
{
	struct traffic *f = t->arg;

	(void)peer;
	if (traffic_make(f, f->in, !f->side, f->buf) != len ||
	    memcmp(f->buf, bytes, len) != 0)
		f->bad = true;
	f->in++;
}

static void
do_pump(struct node_test *t, void *arg)
{
	(void)arg;
	traffic_pump(t, NULL);
}

static void
traffic_init(struct traffic *f, struct node_test *t, const struct node_test *to,
    uint8_t side, uint64_t total)
{
	struct rng r;

	*f =
	    (struct traffic){ .to = nt_peer(to), .total = total, .side = side };
	f->buf = malloc(LARGE + 8);
	f->block = malloc(LARGE);
	assert_non_null(f->buf);
	assert_non_null(f->block);
	rng_init(&r, 5);
	for (size_t i = 0; i < LARGE; i++)
		f->block[i] = (uint8_t)rng_u64(&r);
	t->arg = f;
	t->on_message = traffic_check;
	t->on_room = traffic_pump;
}

static void
much_goes_both_ways_in_order_and_unharmed(void **state)
{
	const uint64_t total = 100000 + 100000 / (LARGE_EACH - 1);
	struct node_test a, b;
	struct traffic fa, fb;
	struct net_link link;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	traffic_init(&fa, &a, &b, 0, total);
	traffic_init(&fb, &b, &a, 1, total);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	nt_do(&a, do_pump, NULL);
	nt_do(&b, do_pump, NULL);
	wait_until(
	    nt_get(&a, messages) >= total && nt_get(&b, messages) >= total);
	assert_true(nt_link_at(&a, 0, &link));
	assert_true(link.outbound);
	assert_true(id_eq(&link.peer.id, &b.who.id));
	assert_true(link.sent_bytes > 200ull * LARGE);
	assert_true(link.got_bytes > 200ull * LARGE);
	assert_int_not_equal(link.rtt_us, UINT32_MAX);
	wait_until(nt_link_at(&a, 0, &link) && !link.queued_bytes);
	nt_stop(&a);
	nt_stop(&b);
	assert_int_equal(fa.in, total);
	assert_int_equal(fb.in, total);
	assert_false(fa.bad || fb.bad);
	assert_true(fa.again > 0); /* the queue was full at times */
	assert_int_equal(a.downs + b.downs, 0);
	nt_end(&a);
	nt_end(&b);
	free(fa.buf);
	free(fa.block);
	free(fb.buf);
	free(fb.block);
}

/* ---- a slow reader ------------------------------------------------------ */

struct pausing {
	struct id id;
	bool pause;
};

static void
do_pause(struct node_test *t, void *arg)
{
	struct pausing *p = arg;

	net_pause(t->net, &p->id, p->pause);
}

static void
pause_on_first(struct node_test *t, const struct peer *peer,
    const uint8_t *bytes, size_t len)
{
	struct traffic *f = t->arg;
	bool first = f->in == 0;

	traffic_check(t, peer, bytes, len);
	if (first)
		net_pause(t->net, &peer->id, true);
}

static void
a_slow_readers_queue_fills_and_drains(void **state)
{
	struct node_test a, b;
	struct traffic fa, fb;
	struct pausing p = { .pause = false };
	struct net_link link;
	uint64_t got;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	traffic_init(&fa, &a, &b, 0, 40000);
	traffic_init(&fb, &b, &a, 1, 0);
	b.on_message = pause_on_first;
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	nt_do(&a, do_pump, NULL);
	wait_until(nt_get(&b, messages) == 1);
	/* It stays at that, while the sender's queue fills to its end. */
	wait_until(
	    nt_link_at(&a, 0, &link) && link.queued_bytes > NET_QUEUE_MAX / 2);
	nap_ms(200);
	assert_true(nt_link_at(&a, 0, &link));
	assert_true(link.queued_bytes > NET_QUEUE_MAX / 2);
	assert_true(link.queued_bytes <= NET_QUEUE_MAX + LARGE);
	assert_int_equal(nt_get(&b, messages), 1);
	assert_int_equal(nt_send(&a, nt_peer(&b), fa.block, LARGE), ERR_AGAIN);
	got = nt_get(&a, rooms);
	p.id = a.who.id;
	nt_do(&b, do_pause, &p);
	wait_until(nt_get(&b, messages) == 40000);
	assert_true(nt_get(&a, rooms) > got);
	nt_stop(&a);
	nt_stop(&b);
	assert_false(fa.bad || fb.bad);
	assert_true(fa.again > 0);
	nt_end(&a);
	nt_end(&b);
	free(fa.buf);
	free(fa.block);
	free(fb.buf);
	free(fb.block);
}

static void
who_sends_more_than_the_rate_is_slowed_and_loses_nothing(void **state)
{
	struct node_test a, b;
	struct traffic fa, fb;
	uint64_t begun;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	b.net->limits.in_rate = 2000; /* and 501 at once */
	traffic_init(&fa, &a, &b, 0, 2500);
	traffic_init(&fb, &b, &a, 1, 0);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	begun = test_now_us();
	nt_do(&a, do_pump, NULL);
	wait_until(nt_get(&b, messages) == 2500);
	assert_true(test_now_us() - begun > 900000); /* (2500 - 501) / 2000 */
	assert_true(nt_counters(&b).throttled > 10);
	nt_stop(&a);
	nt_stop(&b);
	assert_false(fa.bad || fb.bad);
	nt_end(&a);
	nt_end(&b);
	free(fa.buf);
	free(fa.block);
	free(fb.buf);
	free(fb.block);
}

/* ---- two at once -------------------------------------------------------- */

#define ROUNDS 200
#define ROUND_MESSAGES 5

struct round {
	struct peer to;
	unsigned sent, got; /* how many of this round */
	unsigned number;
	bool bad;
};

static void
round_send(void *arg)
{
	struct node_test *t = arg;
	struct round *r = t->arg;

	for (unsigned i = 0; i < ROUND_MESSAGES; i++) {
		unsigned m[2] = { r->number, i };

		if (net_send(t->net, &r->to, m, sizeof(m)))
			r->bad = true;
	}
}

static void
round_message(struct node_test *t, const struct peer *peer,
    const uint8_t *bytes, size_t len)
{
	struct round *r = t->arg;
	unsigned m[2];

	(void)peer;
	if (len != sizeof(m)) {
		r->bad = true;
		return;
	}
	memcpy(m, bytes, sizeof(m));
	if (m[0] != r->number || m[1] != r->got)
		r->bad = true;
	r->got++;
}

static void
links_made_from_both_sides_at_once_become_one_and_lose_nothing(void **state)
{
	struct node_test a, b;
	struct round ra = { 0 }, rb = { 0 };
	struct net_counters ca, cb;
	struct net_link link;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	a.arg = &ra;
	b.arg = &rb;
	a.on_message = b.on_message = round_message;
	ra.to = nt_peer(&b);
	rb.to = nt_peer(&a);
	nt_run(&a);
	nt_run(&b);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct node_test *first = i % 2 ? &a : &b;
		struct node_test *second = i % 2 ? &b : &a;
		uint64_t due = (uint64_t)(i + 1) * ROUND_MESSAGES;

		must(net_call(first->net, round_send, first));
		/* From the same moment to well apart. */
		if (i % 4 > 1)
			usleep((i % 50) * 20);
		must(net_call(second->net, round_send, second));
		wait_until(
		    nt_get(&a, messages) == due && nt_get(&b, messages) == due);
		assert_true(nt_link_at(&a, 0, &link));
		assert_false(nt_link_at(&a, 1, &link));
		assert_true(nt_link_at(&b, 0, &link));
		assert_false(nt_link_at(&b, 1, &link));
		assert_int_equal(nt_get(&a, ups), i + 1);
		assert_int_equal(nt_get(&b, ups), i + 1);
		if (i % 3)
			nt_drop(first, second->who.id);
		else
			nt_drop(second, first->who.id);
		wait_until(
		    nt_get(&a, downs) == i + 1 && nt_get(&b, downs) == i + 1);
		assert_false(ra.bad || rb.bad);
		ra.got = rb.got = 0; /* nobody sends now */
		ra.number = rb.number = i + 1;
	}
	ca = nt_counters(&a);
	cb = nt_counters(&b);
	assert_int_equal(ca.up, ROUNDS);
	/* There were ties, or this has tested nothing. */
	assert_true(ca.dialed + cb.dialed > ROUNDS + 10);
	assert_int_equal(ca.blamed + cb.blamed, 0);
	nt_end(&a);
	nt_end(&b);
}

/* Only the address of the other is known, to both. */
static void
two_strangers_that_dial_each_other_at_once_have_one_link(void **state)
{
	struct node_test a, b;
	struct peer to_a, to_b;
	struct net_link link;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		nt_make(&a, &ring, 2 * i + 1, NULL);
		nt_make(&b, &ring, 2 * i + 2, NULL);
		to_a = (struct peer){ .addr = a.at };
		to_b = (struct peer){ .addr = b.at };
		do_connect(&a, &to_b);
		do_connect(&b, &to_a);
		nt_run(&a);
		nt_run(&b);
		wait_until(nt_get(&a, ups) == 1 && nt_get(&b, ups) == 1);
		must(nt_send(&a, nt_peer(&b), "to b", 4));
		must(nt_send(&b, nt_peer(&a), "to a", 4));
		wait_until(nt_get(&a, messages) && nt_get(&b, messages));
		assert_false(nt_link_at(&a, 1, &link));
		assert_false(nt_link_at(&b, 1, &link));
		assert_int_equal(nt_get(&a, links), 1);
		assert_int_equal(nt_get(&b, links), 1);
		nt_end(&a);
		nt_end(&b);
	}
}

/* ---- one way only ------------------------------------------------------- */

struct burst {
	struct peer to;
	unsigned first, count, taken;
};

static void
do_burst(struct node_test *t, void *arg)
{
	struct burst *b = arg;

	while (b->taken < b->count &&
	       net_send(t->net, &b->to, &b->taken, sizeof(b->taken)) == OK)
		b->taken++;
}

static void
expect_next(struct node_test *t, const struct peer *peer, const uint8_t *bytes,
    size_t len)
{
	unsigned *next = t->arg, got;

	(void)peer;
	memcpy(&got, bytes, sizeof(got));
	if (len != sizeof(got) || got != (*next)++)
		t->broken = true;
}

/* The smaller node's dial goes first, but it goes nowhere: at a wall that
 * swallows packets for good, or one that breaks after a while. */
static void
a_tie_that_waits_for_a_dial_in_vain_is_won_in_the_end(void **state)
{
	(void)state;
	for (unsigned breaks = 0; breaks < 2; breaks++) {
		struct net_addr any = loopback(0), wall;
		struct node_test t[2], *small, *large;
		struct burst b = { .count = 100 };
		struct net_link link;
		unsigned next = 0;
		int door;

		must(socket_listen(&any, &door, &wall)); /* never accepts */
		nt_make(&t[0], &ring, 1, NULL);
		nt_make(&t[1], &ring, 2, NULL);
		small = id_cmp(&t[0].who.id, &t[1].who.id) < 0 ? t : t + 1;
		large = small == t ? t + 1 : t;
		/* The other way out would come too late to be taken for it. */
		small->net->limits.handshake_us = 1000000000;
		large->net->limits.handshake_us = 1000000000;
		small->net->limits.tie_us = breaks ? 1000000000 : 300000;
		large->arg = &next;
		large->on_message = expect_next;
		b.to = (struct peer){ .id = large->who.id, .addr = wall };
		nt_run(small);
		nt_run(large);
		nt_do(small, do_burst, &b);
		assert_int_equal(b.taken, 100);
		nt_connect(large, nt_peer(small));
		wait_until(nt_counters(small).accepted == 1);
		nap_ms(100);
		assert_int_equal(nt_get(large, ups), 0); /* held */
		if (breaks)
			close(door);
		wait_until(nt_get(large, messages) == 100);
		assert_int_equal(nt_get(small, ups), 1);
		assert_int_equal(nt_get(large, ups), 1);
		assert_int_equal(nt_get(small, downs), 0);
		assert_int_equal(nt_get(large, downs), 0);
		assert_true(nt_link_at(small, 0, &link));
		assert_false(link.outbound);
		assert_false(nt_link_at(small, 1, &link));
		nt_end(small);
		nt_end(large);
		if (!breaks)
			close(door);
	}
}

/* A full queue of a link that is not up yet, which never is a bufferevent's. */
static void
who_was_refused_room_before_the_link_was_up_is_told_when_it_is(void **state)
{
	struct node_test a, b;
	struct burst burst = { .count = 100000 };
	unsigned next = 0;

	(void)state;
	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	a.net->limits.queue_max = 4000;
	b.arg = &next;
	b.on_message = expect_next;
	burst.to = nt_peer(&b);
	do_burst(&a, &burst);
	assert_in_range(burst.taken, 10, 1000);
	nt_run(&a);
	nt_run(&b);
	wait_until(nt_get(&a, rooms) == 1);
	wait_until(nt_get(&b, messages) == burst.taken);
	nt_end(&a);
	nt_end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(much_goes_both_ways_in_order_and_unharmed),
		cmocka_unit_test(a_slow_readers_queue_fills_and_drains),
		cmocka_unit_test(
		    who_sends_more_than_the_rate_is_slowed_and_loses_nothing),
		cmocka_unit_test(
		    links_made_from_both_sides_at_once_become_one_and_lose_nothing),
		cmocka_unit_test(
		    two_strangers_that_dial_each_other_at_once_have_one_link),
		cmocka_unit_test(
		    a_tie_that_waits_for_a_dial_in_vain_is_won_in_the_end),
		cmocka_unit_test(
		    who_was_refused_room_before_the_link_was_up_is_told_when_it_is),
	};

	test_ring_init(&ring, "rice.example");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
