/* What a link costs: bytes and messages over one link on loopback, against a
 * plain TCP copy of the same bytes in the same run.  The figures are printed;
 * what is tested is that all arrives, and at more than a hundredth of plain TCP's
 * speed: less, no noise of a machine explains.
 *
 *	unit_net_speed [megabytes [messages]] */
#include "tests/unit/net_test.h"

#include <netinet/tcp.h>
#include <sys/resource.h>

#define PIECE (64u << 10)
#define SMALL 200u

static struct test_ring ring;
static size_t megabytes = 256, messages = 300000;

struct speed {
	struct peer to;
	size_t len, total, out, in;
	uint64_t begun_us, ended_us;
	uint8_t *buf;
};

static void
speed_pump(struct node_test *t, const struct peer *peer)
{
	struct speed *s = t->arg;

	(void)peer;
	while (
	    s->out < s->total && net_send(t->net, &s->to, s->buf, s->len) == OK)
		s->out++;
}

static void
speed_count(struct node_test *t, const struct peer *peer, const uint8_t *bytes,
    size_t len)
{
	struct speed *s = t->arg;

	(void)peer;
	if (len != s->len || bytes[0] != s->buf[0])
		t->broken = true;
	if (++s->in == s->total)
		s->ended_us = test_now_us();
}

static void
do_pump(struct node_test *t, void *arg)
{
	(void)arg;
	speed_pump(t, NULL);
}

/* What something took: by the clock, and of all processors together, which
 * is the better figure when the machine does other things too. */
struct cost {
	double s, cpu_s;
};

static double
cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* What total messages of len bytes take. */
static struct cost
link_cost(size_t len, size_t total)
{
	struct node_test a, b;
	struct speed out = { .len = len, .total = total }, in = out;
	struct cost c;

	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	b.net->limits.in_rate = 100000000; /* what can be, not what may */
	a.arg = &out;
	b.arg = &in;
	a.on_room = speed_pump;
	b.on_message = speed_count;
	out.to = nt_peer(&b);
	out.buf = in.buf = malloc(len);
	assert_non_null(out.buf);
	memset(out.buf, 'x', len);
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	c.cpu_s = cpu_seconds();
	out.begun_us = test_now_us();
	nt_do(&a, do_pump, NULL);
	wait_until(nt_get(&b, messages) == total);
	c.cpu_s = cpu_seconds() - c.cpu_s;
	nt_stop(&b);
	nt_end(&a);
	nt_end(&b);
	c.s = (double)(in.ended_us - out.begun_us) / 1e6;
	free(out.buf);
	return c;
}

static void
pong(struct node_test *t, const struct peer *peer, const uint8_t *bytes,
    size_t len)
{
	struct speed *s = t->arg;

	if (++s->in == s->total)
		s->ended_us = test_now_us();
	else if (net_send(t->net, peer, bytes, len))
		t->broken = true;
}

static double
round_trip_us(size_t rounds)
{
	struct node_test a, b;
	struct speed sa = { .total = rounds }, sb = { .total = SIZE_MAX };

	nt_make(&a, &ring, 1, NULL);
	nt_make(&b, &ring, 2, NULL);
	a.arg = &sa;
	b.arg = &sb;
	a.on_message = b.on_message = pong;
	nt_run(&a);
	nt_run(&b);
	nt_link(&a, &b);
	sa.begun_us = test_now_us();
	must(nt_send(&a, nt_peer(&b), "ping", 4));
	wait_until(nt_get(&a, messages) == rounds);
	nt_stop(&a);
	nt_end(&a);
	nt_end(&b);
	return (double)(sa.ended_us - sa.begun_us) / (double)rounds;
}

/* ---- plain TCP ---------------------------------------------------------- */

struct plain {
	int fd;
	size_t len, total;
	bool echo, broken;
};

static bool
move_all(int fd, uint8_t *buf, size_t len, bool out)
{
	for (size_t at = 0; at < len;) {
		ssize_t k = out ? send(fd, buf + at, len - at, MSG_NOSIGNAL)
				: recv(fd, buf + at, len - at, 0);

		if (k <= 0)
			return false;
		at += (size_t)k;
	}
	return true;
}

static void *
plain_sink(void *arg)
{
	struct plain *p = arg;
	uint8_t *buf = malloc(PIECE);
	size_t left = p->len * p->total;

	while (buf && left) {
		size_t n = p->echo ? p->len : left < PIECE ? left : PIECE;

		if (!move_all(p->fd, buf, n, false) ||
		    (p->echo && !move_all(p->fd, buf, n, true)))
			break;
		left -= n;
	}
	p->broken = left != 0;
	if (!p->echo && !move_all(p->fd, buf, 1, true))
		p->broken = true;
	free(buf);
	return NULL;
}

static struct cost
plain_cost(size_t len, size_t total, bool echo)
{
	struct net_addr at = loopback(0), bound;
	struct plain p = { .len = len, .total = total, .echo = echo };
	uint8_t *buf = calloc(1, len);
	struct cost c;
	pthread_t thread;
	int door, fd, on = 1;

	assert_non_null(buf);
	must(socket_listen(&at, &door, &bound));
	fd = bare_connect(&bound);
	nap_ms(10);
	p.fd = accept(door, NULL, NULL);
	assert_true(p.fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	assert_int_equal(pthread_create(&thread, NULL, plain_sink, &p), 0);
	c.cpu_s = cpu_seconds();
	c.s = (double)test_now_us() / 1e6;
	for (size_t i = 0; i < total; i++) {
		assert_true(move_all(fd, buf, len, true));
		if (echo)
			assert_true(move_all(fd, buf, len, false));
	}
	if (!echo)
		assert_true(move_all(fd, buf, 1, false));
	c.s = (double)test_now_us() / 1e6 - c.s;
	c.cpu_s = cpu_seconds() - c.cpu_s;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(p.broken);
	close(fd);
	close(p.fd);
	close(door);
	free(buf);
	return c;
}

static void
compare(
    const char *what, const char *unit, size_t len, size_t total, double units)
{
	struct cost p = plain_cost(len, total, false);
	struct cost l = link_cost(len, total);

	print_message("%s: link %.0f %s (%.0f per CPU second), plain TCP"
		      " %.0f (%.0f): %.2f of it, by CPU %.2f\n",
	    what, units / l.s, unit, units / l.cpu_s, units / p.s,
	    units / p.cpu_s, p.s / l.s, p.cpu_s / l.cpu_s);
	assert_true(p.s / l.s > 0.01);
}

static void
a_link_keeps_up_with_plain_tcp(void **state)
{
	size_t pieces = megabytes << 20 >> 16, rounds = 5000;
	double p, l;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		compare("64 KiB messages", "MB/s", PIECE, pieces,
		    (double)megabytes * 1.048576);
	for (unsigned i = 0; i < 2; i++)
		compare("200-byte messages, plain a write each", "/s", SMALL,
		    messages, (double)messages);
	p = plain_cost(4, rounds, true).s / (double)rounds * 1e6;
	l = round_trip_us(rounds);
	print_message("round trip: link %.1f us, plain TCP %.1f us\n", l, p);
	assert_true(l < 100 * p);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_link_keeps_up_with_plain_tcp),
	};

	if (argc > 1)
		megabytes = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		messages = strtoul(argv[2], NULL, 10);
	test_ring_init(&ring, "rice.example");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
