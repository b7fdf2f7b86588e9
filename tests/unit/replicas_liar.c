/* One node of the ring lies: what it says costs nothing but its own copy, is
 * counted, and reaches no reader. */
#include "replicas_net.h"

static unsigned lies;

static struct net *
ring(uint64_t seed, unsigned nodes, unsigned blocks)
{
	struct net *net = net_new(seed);

	while (net->nodes < nodes)
		net_add_node(net);
	net_nodes(net);
	net_add_blocks(net, blocks);
	lies = 0;
	return net;
}

static uint64_t
total(const struct net *net, bool forged)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < net->nodes; i++) {
		const struct replicas_counters *c =
		    replicas_counters(net->node[i].r);

		sum += forged ? c->forged : c->malformed;
	}
	return sum;
}

/* NEED: yes, all of it is here. */
static bool
has_all(struct net *net, struct net_node *from, struct replicas_action *a,
    uint8_t *out, size_t *len)
{
	(void)net;
	(void)from;
	if (a->bytes[0] != PAST_NEED)
		return false;
	memcpy(out, a->bytes, a->len);
	memset(out + 11, HAVE_HELD, a->len - 11);
	*len = a->len;
	lies++;
	return true;
}

static void
who_says_yes_to_all_costs_one_copy_and_no_block(void **state)
{
	struct net *net = ring(1, 6, 400);

	(void)state;
	net->node[2].liar = true;
	net->lie = has_all;
	assert_int_equal(net_own(net, 0, 0, 400), OK);
	net_run(net, 60 * SEC);
	assert_true(lies > 0);
	assert_int_equal(net->node[0].safe, 400);
	net_kill(net, 0); /* the owner with its copy */
	for (unsigned b = 0; b < 400; b++)
		assert_true(net_copies(net, b) >= 1);
	net->node[2].liar = false; /* it has changed its mind */
	net_nodes(net);
	net_run(net, 300 * SEC);
	assert_int_equal(net_lacking(net, 400), 0);
	net_free(net);
}

/* Blocks, and PUTs: a byte of the last block is another. */
static bool
wrong_blocks(struct net *net, struct net_node *from, struct replicas_action *a,
    uint8_t *out, size_t *len)
{
	(void)net;
	(void)from;
	if (a->bytes[0] != PAST_BLOCKS && a->bytes[0] != PAST_PUT)
		return false;
	memcpy(out, a->bytes, a->len);
	out[a->len - 1] ^= 1;
	*len = a->len;
	lies++;
	return true;
}

static void
wrong_blocks_reach_no_reader_and_no_store(void **state)
{
	struct net *net = ring(2, 6, 300);
	struct net_node *reader;

	(void)state;
	assert_int_equal(net_own(net, 0, 0, 300), OK);
	net_run(net, 30 * SEC);
	net->lie = wrong_blocks;
	net->node[3].liar = true;
	net->node[3].me.rtt_us = 1; /* and tempting */
	net_nodes(net);
	net_add_node(net); /* asks for its share, of the liar too */
	net_nodes(net);
	reader = &net->node[5];
	reader->entries = 0;
	for (unsigned b = 0; b < 300; b++)
		net_fetch(net, 5, b, b);
	net_run(net, 300 * SEC);
	assert_true(lies > 0);
	assert_int_equal(reader->fetched, 300); /* net_act() checks each */
	assert_true(total(net, true) > 0);
	net->node[3].liar = false;
	net_run(net, 300 * SEC);
	assert_int_equal(net_lacking(net, 300), 0);
	net_free(net);
}

/* Whatever it would say: noise of its length. */
static bool
garbage(struct net *net, struct net_node *from, struct replicas_action *a,
    uint8_t *out, size_t *len)
{
	(void)from;
	for (size_t i = 0; i < a->len; i++)
		out[i] = (uint8_t)rng_u64(&net->rng);
	out[0] = a->bytes[0];
	*len = a->len;
	lies++;
	return true;
}

static void
garbage_is_counted_and_the_rest_goes_on(void **state)
{
	struct net *net = ring(3, 6, 300);

	(void)state;
	net->lie = garbage;
	net->node[4].liar = true;
	assert_int_equal(net_own(net, 0, 0, 300), OK);
	net_run(net, 60 * SEC);
	assert_int_equal(net->node[0].safe, 300);
	net->node[1].entries = 0;
	for (unsigned b = 0; b < 300; b++)
		net_fetch(net, 1, b, b);
	net_run(net, 20 * SEC);
	assert_int_equal(net->node[1].fetched, 300);
	assert_true(lies > 0);
	assert_true(total(net, false) > 0);
	net_free(net);
}

/* A digest that differs, always, whatever is compared. */
static bool
other_digests(struct net *net, struct net_node *from, struct replicas_action *a,
    uint8_t *out, size_t *len)
{
	(void)from;
	if (a->bytes[0] != PAST_DIGEST)
		return false;
	memcpy(out, a->bytes, a->len);
	for (size_t row = 4; row < a->len; row += PAST_RANGE_BYTES)
		out[row + PAST_RANGE_BYTES - 9] ^= (uint8_t)rng_u64(&net->rng);
	*len = a->len;
	lies++;
	return true;
}

static void
digests_that_lie_move_no_block_that_is_there(void **state)
{
	struct net *net = ring(4, 6, 300);
	uint64_t moved = 0, messages;

	(void)state;
	assert_int_equal(net_own(net, 0, 0, 300), OK);
	net_run(net, 30 * SEC);
	net->lie = other_digests;
	net->node[4].liar = true;
	messages = net->messages;
	net_run(net, 1800 * SEC);
	assert_true(lies > 0);
	for (unsigned i = 0; i < 6; i++)
		moved += replicas_counters(net->node[i].r)->repair_blocks;
	assert_int_equal(moved, 0);
	assert_true(net->messages - messages < 30000);
	net_free(net);
}

/* ---- by hand ------------------------------------------------------------ */

static enum err
hear(struct net_node *n, const struct id *from, const struct past_msg *m)
{
	struct replicas_event ev = { .kind = REPLICAS_EV_MESSAGE,
		.peer = *from };
	size_t cap = past_encoded_max(m);
	uint8_t *bytes = malloc(cap);
	enum err e;

	assert_non_null(bytes);
	assert_true(past_encode(m, bytes, cap, &ev.len));
	ev.bytes = bytes;
	e = net_step(n, &ev);
	free(bytes);
	return e;
}

static uint8_t answer[REPLICA_MESSAGE_MAX];
static size_t answer_len;

static void
last_answer(struct net *net, const struct net_node *from,
    const struct replicas_action *a)
{
	(void)net;
	(void)from;
	memcpy(answer, a->bytes, a->len);
	answer_len = a->len;
}

static size_t
sign(uint8_t device, uint64_t sequence, struct id *id, uint8_t *out)
{
	uint8_t seed[SIGN_SEED_BYTES] = { device };
	struct ulog_head h = { .sequence = sequence };
	struct sign_key key;
	size_t len;

	sign_key_from_seed(seed, &key);
	hash_bytes(key.public, SIGN_PUBLIC_BYTES, id);
	assert_int_equal(
	    ulog_head_encode(&h, &key, out, ULOG_HEAD_MAX, &len), OK);
	return len;
}

static void
old_and_forged_heads_are_refused_counted_and_answered_with_the_newer(
    void **state)
{
	struct net *net = ring(5, 3, 1);
	struct net_node *n = &net->node[1];
	const struct id *liar = &net->node[2].me.id;
	const struct replicas_counters *c = replicas_counters(n->r);
	uint8_t head[ULOG_HEAD_MAX], newer[ULOG_HEAD_MAX];
	struct past_msg m = { .kind = PAST_HEAD_PUT, .nonce = 3 }, got;
	size_t newer_len;
	struct id other;

	(void)state;
	net->seen = last_answer;
	m.bytes = newer;
	m.len = newer_len = sign(1, 8, &m.id, newer);
	assert_int_equal(hear(n, liar, &m), OK);
	net_run(net, 100 * MS);
	assert_int_equal(past_decode(answer, answer_len, &got), OK);
	assert_int_equal(got.flags, PAST_HEAD_STORED);
	assert_int_equal(n->heads, 1);

	for (unsigned lie = 0; lie < 3; lie++) {
		m.bytes = head;
		m.len = sign(1, 7, &m.id, head); /* older */
		if (lie == 1)
			m.len = sign(1, 9, &m.id, head), head[m.len - 1] ^= 1;
		if (lie == 2) /* of another device */
			m.len = sign(2, 9, &other, head);
		assert_int_equal(hear(n, liar, &m), lie ? ERR_BADSIG : OK);
		assert_int_equal(c->forged, lie + 1);
		assert_int_equal(past_decode(answer, answer_len, &got), OK);
		assert_int_equal(got.kind, PAST_HEAD);
		assert_int_equal(got.flags, PAST_HEAD_NEWER);
		assert_int_equal(got.len, newer_len);
		assert_memory_equal(got.bytes, newer, newer_len);
		assert_int_equal(n->head[0].len, newer_len);
		assert_memory_equal(n->head[0].bytes, newer, newer_len);
	}
	net_free(net);
}

static void
blocks_that_nobody_asked_for_and_answers_to_no_question_change_nothing(
    void **state)
{
	struct net *net = ring(6, 30, 40);
	struct net_node *n = &net->node[1];
	const struct id *liar = &net->node[2].me.id;
	const struct replicas_counters *c = replicas_counters(n->r);
	uint8_t bytes[NET_BLOCK_MAX], room[2 * NET_BLOCK_MAX];
	static const enum past_kind answers[] = { PAST_NEED, PAST_STORED,
		PAST_LEASED, PAST_BLOCKS };
	uint64_t unasked;
	unsigned block = 0;
	struct wr w;

	(void)state;
	net_run(net, 10 * SEC);
	while (past_in_window(n->r, &net->block[block]))
		block++;
	for (unsigned i = 0; i < 2; i++) {
		struct past_msg m = { .kind = i ? PAST_BLOCKS : PAST_PUT,
			.nonce = 1,
			.count = 1,
			.bytes = room };
		struct replica_block b = { .id = net->block[block],
			.bytes = bytes };

		b.len = net_block(block, bytes);
		wr_init(&w, room, sizeof(room));
		past_write_block(&w, m.kind, &b);
		m.len = wr_len(&w);
		unasked = c->unasked;
		assert_int_equal(hear(n, liar, &m), OK);
		assert_int_equal(c->unasked, unasked + 1);
		assert_int_equal(n->entries, 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct past_msg m = { .kind = answers[i],
			.nonce = 77,
			.bytes = (const uint8_t *)"",
			.count = i != 1,
			.len = i != 1 };

		unasked = c->unasked;
		assert_int_equal(hear(n, liar, &m), OK);
		assert_int_equal(c->unasked, unasked + 1);
	}
	net_free(net);
}

static void
a_lease_is_never_longer_than_the_ring_s(void **state)
{
	struct net *net = ring(7, 4, 1);
	struct past_msg m = { .kind = PAST_HAVE, .nonce = 1, .count = 1 };
	const struct net_entry *x;

	(void)state;
	net_put(&net->node[1], &net->block[0], 0, REPLICA_KEPT);
	m.ids = net->block;
	m.until_s = INT64_MAX;
	assert_int_equal(hear(&net->node[1], &net->node[2].me.id, &m), OK);
	x = net_find(&net->node[1], &net->block[0]);
	assert_int_equal(x->leases, 1);
	assert_true(
	    x->lease[0].until_s <= NET_EPOCH + (int64_t)net->lease_s + 86400);
	net_free(net);
}

/* PUT after PUT, none of which becomes durable: a bounded number is kept. */
static void
what_is_not_durable_yet_is_bounded_and_the_sender_told_to_wait(void **state)
{
	struct net *net = ring(8, 3, 1);
	struct net_node *n = &net->node[1];
	size_t len = 400000, size = 11 + ID_BYTES + 1 + 3 + len;
	struct replica_block b = { .len = len };
	uint8_t *message = calloc(1, size), *bytes = calloc(1, len);
	struct past_msg m = { .kind = PAST_PUT, .nonce = 1, .count = 1 };
	unsigned stored = 0, busy = 0;

	(void)state;
	assert_true(message && bytes);
	for (unsigned i = 0; i < 20; i++) {
		struct replicas_event ev = { .kind = REPLICAS_EV_MESSAGE,
			.peer = net->node[2].me.id,
			.now_us = net->now_us,
			.now_s = NET_EPOCH,
			.bytes = message };
		struct replicas_action a;
		struct past_msg got;
		struct wr w;

		memcpy(bytes, &i, sizeof(i));
		hash_bytes(bytes, len, &b.id);
		b.bytes = bytes;
		assert_true(past_encode(&m, message, size, &ev.len));
		wr_init(&w, message + ev.len, size - ev.len);
		past_write_block(&w, PAST_PUT, &b);
		assert_false(w.bad);
		ev.len += wr_len(&w);
		assert_int_equal(replicas_step(n->r, &ev), OK);
		while (replicas_take(n->r, &a)) {
			stored += a.kind == REPLICAS_ACT_STORE;
			busy += a.kind == REPLICAS_ACT_SEND &&
				past_decode(a.bytes, a.len, &got) == OK &&
				got.kind == PAST_STORED &&
				got.flags == PAST_STORED_BUSY;
		}
	}
	assert_int_equal(stored, (2u << 20) / len);
	assert_int_equal(stored + busy, 20);
	assert_int_equal(replicas_counters(n->r)->refused, busy);
	free(message);
	free(bytes);
	net_free(net);
}

static void
questions_without_end_are_answered_up_to_a_bound(void **state)
{
	struct net *net = ring(9, 3, 100);
	struct past_msg m = { .kind = PAST_GET, .count = 1 };
	struct net_node *n = &net->node[1];

	(void)state;
	m.ids = net->block;
	for (unsigned i = 0; i < 1000; i++) {
		m.nonce = i;
		assert_int_equal(hear(n, &net->node[2].me.id, &m), OK);
	}
	assert_true(n->r->serving <= 8);
	assert_int_equal(replicas_counters(n->r)->refused, 992);
	net_run(net, SEC);
	assert_int_equal(n->r->serving, 0);
	net_free(net);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    who_says_yes_to_all_costs_one_copy_and_no_block),
		cmocka_unit_test(wrong_blocks_reach_no_reader_and_no_store),
		cmocka_unit_test(garbage_is_counted_and_the_rest_goes_on),
		cmocka_unit_test(digests_that_lie_move_no_block_that_is_there),
		cmocka_unit_test(
		    old_and_forged_heads_are_refused_counted_and_answered_with_the_newer),
		cmocka_unit_test(
		    blocks_that_nobody_asked_for_and_answers_to_no_question_change_nothing),
		cmocka_unit_test(a_lease_is_never_longer_than_the_ring_s),
		cmocka_unit_test(
		    what_is_not_durable_yet_is_bounded_and_the_sender_told_to_wait),
		cmocka_unit_test(
		    questions_without_end_are_answered_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, net_setup, NULL);
}
