/* A reader's block, and heads: from whom, how long, and how much is told. */
#include "replicas_net.h"

static struct net *
ring(uint64_t seed, unsigned nodes, unsigned blocks)
{
	struct net *net = net_new(seed);

	while (net->nodes < nodes)
		net_add_node(net);
	net_nodes(net);
	net_add_blocks(net, blocks);
	assert_int_equal(net_own(net, 0, 0, blocks), OK);
	net_run(net, 30 * SEC);
	assert_int_equal(net_lacking(net, blocks), 0);
	return net;
}

/* A node that holds nothing reads. */
static struct net_node *
a_reader(struct net *net)
{
	struct net_node *n = &net->node[net->nodes - 1];

	n->entries = 0;
	return n;
}

/* ---- blocks ------------------------------------------------------------- */

static void
a_thousand_blocks_are_read_through_loss_in_few_messages(void **state)
{
	struct net *net = ring(1, 8, 1000);
	struct net_node *n = a_reader(net);
	uint64_t messages;

	(void)state;
	net->loss_ppm = 10000;
	messages = net->messages;
	for (unsigned b = 0; b < 1000; b++)
		net_fetch(net, n->n, b, b);
	net_run(net, 5 * SEC);
	assert_int_equal(n->fetched, 1000);
	assert_int_equal(n->unreachable, 0);
	assert_true(net->messages - messages < 600);
	net_free(net);
}

static uint64_t asked[NET_NODES_MAX];

static void
count_gets(struct net *net, const struct net_node *from,
    const struct replicas_action *a)
{
	(void)from;
	if (a->bytes[0] == PAST_GET)
		asked[net_by_id(net, &a->peer)->n]++;
}

static void
readers_of_one_block_share_a_fetch(void **state)
{
	struct net *net = ring(2, 6, 10);
	struct net_node *n = a_reader(net);
	unsigned gets = 0;

	(void)state;
	memset(asked, 0, sizeof(asked));
	net->seen = count_gets;
	for (unsigned i = 0; i < 20; i++)
		net_fetch(net, n->n, 3, i);
	net_run(net, SEC);
	for (unsigned i = 0; i < 6; i++)
		gets += (unsigned)asked[i];
	assert_int_equal(gets, 1);
	assert_int_equal(n->fetched, 20);
	net_free(net);
}

static void
the_fastest_holder_is_asked_first_and_the_next_when_it_is_silent(void **state)
{
	struct net *net = ring(3, 6, 30);
	struct net_node *n = a_reader(net);
	struct id h[REPLICA_K_MAX];
	unsigned fast = 0, block = 0;
	uint64_t from;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		net->node[i].me.rtt_us = i == 1 ? 100 : 90000;
	net_nodes(net);
	net_run(net, SEC);
	for (unsigned b = 0; b < 30; b++) {
		unsigned holders = replicas_holders(n->r, &net->block[b], h);

		for (unsigned i = 0; i < holders; i++)
			if (id_eq(&h[i], &net->node[1].me.id)) {
				block = b;
				fast++;
			}
	}
	assert_true(fast > 0);
	n->entries = 0;
	memset(asked, 0, sizeof(asked));
	net->seen = count_gets;
	net_fetch(net, n->n, block, 1);
	net_run(net, 200 * MS);
	assert_int_equal(n->fetched, 1);
	assert_int_equal(asked[1], 1);

	net->node[1].deaf = true;
	from = net->now_us;
	net_fetch(net, n->n, block, 2);
	net_run(net, 2 * SEC);
	assert_int_equal(n->fetched, 2);
	assert_int_equal(asked[1], 2);
	assert_true(n->last_fetch_us - from >= net->answer_us / 4);
	assert_true(n->last_fetch_us - from < net->answer_us / 2);
	net_free(net);
}

static void
a_read_that_nobody_can_serve_ends_in_time(void **state)
{
	struct net *net = ring(4, 6, 50);
	struct net_node *n = a_reader(net);
	uint64_t from;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		net->node[i].deaf = true;
	from = net->now_us;
	for (unsigned b = 0; b < 50; b++)
		net_fetch(net, n->n, b, b);
	net_run(net, 10 * SEC);
	assert_int_equal(n->unreachable, 50);
	assert_true(n->last_fetch_us - from <= 2 * net->answer_us);

	/* Nobody has it: that is known as soon as all have said so. */
	for (unsigned i = 0; i < 5; i++) {
		net->node[i].deaf = false;
		net->node[i].entries = 0;
	}
	from = net->now_us;
	net_fetch(net, n->n, 7, 100);
	net_run(net, 10 * SEC);
	assert_int_equal(n->unreachable, 51);
	assert_true(n->last_fetch_us - from < net->answer_us);
	net_free(net);
}

static void
before_there_is_a_ring_a_read_ends_and_a_ring_that_comes_serves_it(void **state)
{
	struct net *net = ring(5, 4, 5);

	(void)state;
	net_add_node(net);
	net_fetch(net, 4, 0, 1);
	net_run(net, 3 * SEC);
	assert_int_equal(net->node[4].unreachable, 1);
	net_fetch(net, 4, 0, 2);
	net_run(net, SEC);
	net_nodes(net);
	net_run(net, 500 * MS);
	assert_int_equal(net->node[4].fetched, 1);
	net_free(net);
}

/* ---- heads -------------------------------------------------------------- */

struct writer {
	struct sign_key key;
	struct id device;
	uint8_t head[ULOG_HEAD_MAX];
	size_t len;
};

static void
writer_init(struct writer *w, uint8_t n)
{
	uint8_t seed[SIGN_SEED_BYTES] = { n, 1 };

	sign_key_from_seed(seed, &w->key);
	hash_bytes(w->key.public, SIGN_PUBLIC_BYTES, &w->device);
}

static void
sign(struct writer *w, uint64_t sequence, int64_t time_ns)
{
	struct ulog_head h = { .sequence = sequence,
		.time_ns = time_ns,
		.recent = (const uint8_t *)"x",
		.recent_len = 1 };

	assert_int_equal(
	    ulog_head_encode(&h, &w->key, w->head, sizeof(w->head), &w->len),
	    OK);
}

/* Node i writes it, as a device does that keeps it durably first. */
static enum err
publish(struct net *net, unsigned i, const struct writer *w)
{
	struct replicas_event ev = { .kind = REPLICAS_EV_HEAD,
		.id = w->device,
		.request = 5,
		.bytes = w->head,
		.len = w->len };

	net_keep_head(&net->node[i], &w->device, w->head, w->len);
	net->node[i].safe = net->node[i].done = 0;
	return net_step(&net->node[i], &ev);
}

static void
want(struct net *net, unsigned i, const struct id *device)
{
	struct replicas_event ev = {
		.kind = REPLICAS_EV_WANT_HEAD, .id = *device, .request = 6
	};

	net->node[i].tellings = 0;
	assert_int_equal(net_step(&net->node[i], &ev), OK);
}

static uint64_t
sequence_told(const struct net_node *n)
{
	struct ulog_head h;

	assert_int_equal(n->tellings, 1);
	if (n->heads_told.len == 0)
		return 0;
	assert_int_equal(ulog_head_decode(n->told, n->heads_told.len, &h), OK);
	return h.sequence;
}

static void
a_head_is_safe_on_a_majority_and_the_newest_of_all_is_read(void **state)
{
	struct net *net = ring(6, 6, 1);
	struct id h[REPLICA_K_MAX];
	struct writer w;

	(void)state;
	writer_init(&w, 1);
	for (uint64_t s = 1; s <= 3; s++) {
		sign(&w, s, 10);
		assert_int_equal(publish(net, 0, &w), OK);
		net_run(net, 10 * SEC);
		assert_int_equal(net->node[0].safe, 1);
		assert_int_equal(net->node[0].done, 1);
	}
	/* One holder misses the next; it is safe, and read all the same. */
	assert_int_equal(replicas_holders(net->node[0].r, &w.device, h), 3);
	net_by_id(net, &h[0])->deaf = true;
	if (h[0].b[0] == net->node[0].me.id.b[0]) {
		net_by_id(net, &h[0])->deaf = false;
		net_by_id(net, &h[1])->deaf = true;
	}
	sign(&w, 4, 11);
	assert_int_equal(publish(net, 0, &w), OK);
	net_run(net, 10 * SEC);
	assert_int_equal(net->node[0].safe, 1);
	assert_int_equal(net->node[0].done, 0);
	for (unsigned i = 0; i < 6; i++)
		net->node[i].deaf = false;
	want(net, 5, &w.device);
	net_run(net, 10 * SEC);
	assert_int_equal(sequence_told(&net->node[5]), 4);
	assert_int_equal(net->node[5].heads_told.held, 3);
	assert_int_equal(net->node[5].heads_told.wanted, 3);
	net_run(net, 60 * SEC); /* and who missed it has it at last */
	assert_int_equal(net->node[0].done, 1);
	for (unsigned i = 0; i < 3; i++) {
		const struct net_head *kept =
		    net_head_of(net_by_id(net, &h[i]), &w.device);

		assert_non_null(kept);
		assert_int_equal(kept->len, w.len);
		assert_memory_equal(kept->bytes, w.head, w.len);
	}
	net_free(net);
}

static void
a_quorum_that_was_not_reached_is_told_as_such(void **state)
{
	struct net *net = ring(7, 6, 1);
	struct net_node *reader = NULL;
	struct id h[REPLICA_K_MAX];
	struct writer w;

	(void)state;
	writer_init(&w, 2);
	sign(&w, 9, 10);
	assert_int_equal(publish(net, 0, &w), OK);
	net_run(net, 10 * SEC);
	assert_int_equal(replicas_holders(net->node[0].r, &w.device, h), 3);
	for (unsigned i = 0; i < 6; i++)
		if (!past_is_holder(net->node[i].r, &w.device, NULL))
			reader = &net->node[i];
	assert_non_null(reader);
	net_by_id(net, &h[1])->deaf = net_by_id(net, &h[2])->deaf = true;
	want(net, reader->n, &w.device);
	net_run(net, 20 * SEC);
	assert_int_equal(sequence_told(reader), 9);
	assert_int_equal(reader->heads_told.held, 1);
	assert_int_equal(reader->heads_told.wanted, 3);
	net_free(net);
}

static void
a_home_from_a_backup_is_told_that_its_log_went_on(void **state)
{
	struct net *net = ring(8, 5, 1);
	struct writer w;

	(void)state;
	writer_init(&w, 3);
	sign(&w, 7, 10);
	assert_int_equal(publish(net, 0, &w), OK);
	net_run(net, 10 * SEC);
	sign(&w, 5, 12); /* older; and one that forks */
	for (unsigned i = 0; i < 2; i++) {
		net->node[1].tellings = 0;
		assert_int_equal(publish(net, 1, &w), OK);
		net->node[1].heads = 0;
		net_run(net, 500 * MS);
		assert_true(net->node[1].tellings > 0);
		assert_int_equal(net->node[1].heads_told.e, ERR_EXISTS);
		net->node[1].tellings = 1;
		assert_int_equal(sequence_told(&net->node[1]), 7);
		sign(&w, 7, 13);
	}
	net_free(net);
}

static void
heads_follow_their_holders(void **state)
{
	struct net *net = ring(9, 5, 1);
	struct writer w[6];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		writer_init(&w[i], (uint8_t)(10 + i));
		sign(&w[i], 3, 10);
		assert_int_equal(publish(net, 0, &w[i]), OK);
	}
	net_run(net, 10 * SEC);
	for (unsigned round = 0; round < 4; round++) {
		net_kill(net, round);
		net_add_node(net);
		net_nodes(net);
		net_run(net, 60 * SEC);
		for (unsigned i = 0; i < 6; i++) {
			struct id h[REPLICA_K_MAX];
			struct net_node *any = &net->node[net->nodes - 1];
			unsigned n = replicas_holders(any->r, &w[i].device, h);

			for (unsigned j = 0; j < n; j++)
				assert_non_null(net_head_of(
				    net_by_id(net, &h[j]), &w[i].device));
		}
	}
	net_free(net);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_thousand_blocks_are_read_through_loss_in_few_messages),
		cmocka_unit_test(readers_of_one_block_share_a_fetch),
		cmocka_unit_test(
		    the_fastest_holder_is_asked_first_and_the_next_when_it_is_silent),
		cmocka_unit_test(a_read_that_nobody_can_serve_ends_in_time),
		cmocka_unit_test(
		    before_there_is_a_ring_a_read_ends_and_a_ring_that_comes_serves_it),
		cmocka_unit_test(
		    a_head_is_safe_on_a_majority_and_the_newest_of_all_is_read),
		cmocka_unit_test(a_quorum_that_was_not_reached_is_told_as_such),
		cmocka_unit_test(
		    a_home_from_a_backup_is_told_that_its_log_went_on),
		cmocka_unit_test(heads_follow_their_holders),
	};

	return cmocka_run_group_tests(tests, net_setup, NULL);
}
