/* Nets whose every allocation fails once, libevent's too. */
#include "tests/lib/alloc.h"
#include "tests/unit/net_test.h"

#include <stdatomic.h>

static struct test_ring ring;

#define ALLOCATIONS_MAX 2000u /* of one try: beyond it something loops */

static void
a_net_that_has_no_memory_is_not_made(void **state)
{
	struct node_test a;
	struct net_handler handler = nt_handler(&a);
	struct net_config config = {
		.ring = &ring.ring, .listens = true, .listen = loopback(0)
	};
	bool failed = true;
	unsigned n;

	(void)state;
	if (!alloc_can_fail()) {
		print_message("allocations can not fail in this build\n");
		skip();
	}
	test_identity_init(&a.who, &ring, 1, VALID_S);
	config.key = &a.who.dh;
	config.cert = a.who.cert;
	config.cert_len = a.who.cert_len;
	for (n = 1; failed && n < ALLOCATIONS_MAX; n++) {
		enum err e;

		a.net = NULL;
		alloc_fail_at(n);
		e = net_new(&config, &handler, &a.net);
		failed = alloc_failed();
		alloc_fail_at(0);
		if (e) {
			assert_true(failed);
			assert_int_equal(e, ERR_NOMEM);
			assert_null(a.net);
		}
		if (!e)
			net_free(a.net);
	}
	assert_in_range(n, 10, ALLOCATIONS_MAX - 1);
}

struct
try {
	struct node_test *t;
	struct peer to;
	enum err e;
	atomic_bool done;
};

static void
try_send(void *arg)
{
	struct try *r = arg;

	r->e = net_send(r->t->net, &r->to, "hello", 5);
	r->done = true;
}

/* Dial and say one thing: it arrives, or somebody is told that it does not. */
static void
try_once(struct node_test *a, struct node_test *b)
{
	struct try r = { .t = a, .to = nt_peer(b) };
	uint64_t before = nt_get(b, messages);
	unsigned downs = nt_get(a, downs);

	while (net_call(a->net, try_send, &r))
		assert_true(alloc_failed());
	wait_until(r.done);
	if (r.e) {
		assert_int_equal(r.e, ERR_NOMEM);
		return;
	}
	wait_until(nt_get(b, messages) > before || nt_get(a, downs) > downs);
}

static void
whatever_allocation_fails_a_link_is_made_or_is_said_not_to_be(void **state)
{
	bool failed = true;
	unsigned n;

	(void)state;
	if (!alloc_can_fail()) {
		print_message("allocations can not fail in this build\n");
		skip();
	}
	for (n = 1; failed && n < ALLOCATIONS_MAX; n++) {
		struct node_test a, b;
		struct net_link link;

		nt_make(&a, &ring, 1, NULL);
		nt_make(&b, &ring, 2, NULL);
		nt_run(&a);
		nt_run(&b);
		alloc_fail_at(n);
		try_once(&a, &b);
		failed = alloc_failed();
		alloc_fail_at(0);
		/* It can be done again at once; what was sent into a link that
		 * was about to break is lost, as ever. */
		for (unsigned i = 0; i < 1000 && !(nt_get(&a, messages) &&
						     nt_get(&b, messages));
		     i++) {
			(void)!nt_send(&b, nt_peer(&a), "again", 5);
			(void)!nt_send(&a, nt_peer(&b), "again", 5);
			nap_ms(5);
		}
		assert_true(nt_get(&a, messages) && nt_get(&b, messages));
		assert_false(nt_link_at(&a, 1, &link));
		nt_end(&a);
		nt_end(&b);
	}
	assert_in_range(n, 20, ALLOCATIONS_MAX - 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_net_that_has_no_memory_is_not_made),
		cmocka_unit_test(
		    whatever_allocation_fails_a_link_is_made_or_is_said_not_to_be),
	};

	test_ring_init(&ring, "rice.example");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
