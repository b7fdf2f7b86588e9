/* Who holds an id, against the plain rule worked out anew for each id. */
#include "store/replicas_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define RING_MAX 80u

static void
random_id(struct rng *g, struct id *out)
{
	for (unsigned i = 0; i < ID_BYTES; i += 8) {
		uint64_t word = rng_u64(g);

		memcpy(out->b + i, &word, 8);
	}
}

/* Ids that crowd: ties and neighbours that differ by one are frequent. */
static void
any_id(struct rng *g, struct id *out)
{
	random_id(g, out);
	if (rng_below(g, 2))
		return;
	memset(out, rng_below(g, 2) ? 0 : 0xff, ID_BYTES);
	out->b[rng_below(g, 2) ? 31 : 0] = (uint8_t)rng_below(g, 256);
}

/* Sorted by nearness, then the rule of sites as it is told. */
static unsigned
plain(const struct replica_node *ring, unsigned count, unsigned k,
    const struct id *key, struct id *out)
{
	struct replica_node near[RING_MAX], swap;
	bool taken[RING_MAX] = { false };
	unsigned window = 3 * k, n = 0, at = 0;

	if (window > 12)
		window = k > 12 ? k : 12;
	if (window > count)
		window = count;
	memcpy(near, ring, count * sizeof(*ring));
	for (unsigned i = 1; i < count; i++)
		for (unsigned j = i;
		     j && past_nearer(key, &near[j].id, &near[j - 1].id); j--) {
			swap = near[j];
			near[j] = near[j - 1];
			near[j - 1] = swap;
		}
	for (unsigned i = 0; i < window && n < k; i++) {
		bool seen = false;

		for (unsigned j = 0; j < i; j++)
			seen |= taken[j] && near[i].site &&
				near[j].site == near[i].site;
		taken[i] = !seen;
		n += !seen;
	}
	for (unsigned i = 0; i < window && n < k; i++) {
		n += !taken[i];
		taken[i] = true;
	}
	for (unsigned i = 0; i < window; i++)
		if (taken[i])
			out[at++] = near[i].id;
	assert_int_equal(at, n);
	return n;
}

static int
by_id(const void *a, const void *b)
{
	const struct replica_node *x = a, *y = b;

	return id_cmp(&x->id, &y->id);
}

static unsigned
make_ring(
    struct rng *g, struct replica_node *ring, unsigned count, unsigned sites)
{
	unsigned n = 0;

	memset(ring, 0, count * sizeof(*ring));
	for (unsigned i = 0; i < count; i++) {
		any_id(g, &ring[i].id);
		ring[i].site = sites ? rng_below(g, sites + 1) : 0;
	}
	qsort(ring, count, sizeof(*ring), by_id);
	for (unsigned i = 0; i < count; i++)
		if (n == 0 || !id_eq(&ring[n - 1].id, &ring[i].id))
			ring[n++] = ring[i];
	return n;
}

static void
assert_holders(const struct past_place *p, const struct id *key,
    const struct id *want, unsigned n)
{
	const struct past_segment *s = past_place_find(p, key);

	assert_int_equal(s->count, n);
	for (unsigned i = 0; i < n; i++)
		assert_true(id_eq(&p->node[s->node[i]].id, &want[i]));
}

/* A key beside the middle of two nodes, where an order changes. */
static void
sharp_key(
    struct rng *g, const struct replica_node *ring, unsigned n, struct id *key)
{
	unsigned off = (unsigned)rng_below(g, 4);

	past_middle(&ring[rng_below(g, n)].id, &ring[rng_below(g, n)].id, key);
	while (off--)
		past_id_next(key);
	past_id_prev(key);
}

static void
holders_of_a_whole_ring_are_those_of_the_plain_rule(void **state)
{
	struct replica_node ring[RING_MAX], others[RING_MAX];
	struct past_place p = { 0 };
	struct id key, want[REPLICA_K_MAX];
	struct rng g;

	(void)state;
	rng_init(&g, 1);
	for (unsigned round = 0; round < 40; round++) {
		unsigned n = make_ring(&g, ring,
		    1 + (unsigned)rng_below(&g, REPLICA_NODES_MAX),
		    (unsigned)rng_below(&g, 5));
		unsigned k = 1 + (unsigned)rng_below(&g, round % 4 ? 4 : 16);
		unsigned me = (unsigned)rng_below(&g, n), m = 0;

		for (unsigned i = 0; i < n; i++)
			if (i != me)
				others[m++] = ring[i];
		assert_int_equal(
		    past_place_set(&p, &ring[me], k, others, m, m / 2, true),
		    OK);
		for (unsigned i = 0; i < 200; i++) {
			unsigned count;

			any_id(&g, &key);
			if (i % 2)
				sharp_key(&g, ring, n, &key);
			count = plain(ring, n, k, &key, want);
			assert_true(past_place_find(&p, &key)->known);
			assert_holders(&p, &key, want, count);
		}
	}
	past_place_fini(&p);
}

/* What a node claims to know of a ring larger than its leaf set is so; and it
 * knows all ids whose holders it is one of. */
static void
what_a_leaf_set_decides_is_what_the_whole_ring_decides(void **state)
{
	struct replica_node ring[RING_MAX], leaf[RING_MAX];
	struct past_place p = { 0 };
	struct id key, want[REPLICA_K_MAX];
	unsigned known = 0;
	struct rng g;

	(void)state;
	rng_init(&g, 2);
	for (unsigned round = 0; round < 30; round++) {
		unsigned n =
		    make_ring(&g, ring, 60, (unsigned)rng_below(&g, 5));
		unsigned me = (unsigned)rng_below(&g, n), half = 12;
		unsigned k = round % 2 ? 3 : 1 + (unsigned)rng_below(&g, 12);

		for (unsigned i = 0; i < half; i++) {
			leaf[i] = ring[(me + n - 1 - i) % n];
			leaf[half + i] = ring[(me + 1 + i) % n];
		}
		assert_true(n > 2 * half);
		assert_int_equal(past_place_set(&p, &ring[me], k, leaf,
				     2 * half, half, false),
		    OK);
		for (unsigned i = 0; i < 200; i++) {
			const struct past_segment *s;
			bool mine = false;
			unsigned count;

			any_id(&g, &key);
			if (i % 2)
				sharp_key(&g, leaf, 2 * half, &key);
			count = plain(ring, n, k, &key, want);
			s = past_place_find(&p, &key);
			for (unsigned j = 0; j < count; j++)
				mine |= id_eq(&want[j], &ring[me].id);
			assert_true(s->known || !mine);
			known += s->known;
			if (s->known)
				assert_holders(&p, &key, want, count);
		}
	}
	assert_true(known > 300);
	past_place_fini(&p);
}

static void
segments_follow_one_another_without_a_gap(void **state)
{
	struct replica_node ring[RING_MAX];
	struct past_place p = { 0 };
	struct id end, next = { { 0 } };
	struct rng g;
	unsigned n;

	(void)state;
	rng_init(&g, 3);
	n = make_ring(&g, ring, 20, 3);
	assert_int_equal(
	    past_place_set(&p, &ring[0], 3, ring + 1, n - 1, 9, true), OK);
	for (size_t i = 0; i < p.segments; i++) {
		assert_true(id_eq(&p.segment[i].from, &next));
		past_segment_end(&p, &p.segment[i], &end);
		assert_true(id_cmp(&next, &end) <= 0);
		next = end;
		assert_int_equal(past_id_next(&next), i + 1 < p.segments);
	}
	past_place_fini(&p);
}

static void
with_two_sites_no_block_is_on_one_only_and_with_three_on_all(void **state)
{
	struct replica_node ring[RING_MAX];
	struct past_place p = { 0 };
	struct id key;
	struct rng g;
	unsigned n;

	(void)state;
	rng_init(&g, 4);
	for (unsigned sites = 2; sites <= 3; sites++) {
		n = make_ring(&g, ring, 9, 0);
		for (unsigned i = 0; i < n; i++)
			ring[i].site = 1 + i % sites;
		assert_int_equal(
		    past_place_set(&p, &ring[0], 3, ring + 1, n - 1, 4, true),
		    OK);
		for (unsigned i = 0; i < 500; i++) {
			const struct past_segment *s;
			unsigned seen = 0;

			random_id(&g, &key);
			s = past_place_find(&p, &key);
			for (unsigned j = 0; j < s->count; j++)
				seen |= 1u << p.node[s->node[j]].site;
			assert_int_equal(seen, sites == 2 ? 6 : 14);
		}
	}
	past_place_fini(&p);
}

static void
too_many_nodes_or_one_twice_are_refused(void **state)
{
	struct replica_node ring[RING_MAX] = { 0 };
	struct past_place p = { 0 };

	(void)state;
	for (unsigned i = 0; i < RING_MAX; i++)
		ring[i].id.b[0] = (uint8_t)(i + 1);
	assert_int_equal(past_place_set(&p, &ring[0], 3, ring + 1,
			     REPLICA_NODES_MAX, 0, true),
	    ERR_INVALID);
	assert_int_equal(
	    past_place_set(&p, &ring[0], 3, ring, 3, 1, true), ERR_INVALID);
	assert_int_equal(p.segments, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    holders_of_a_whole_ring_are_those_of_the_plain_rule),
		cmocka_unit_test(
		    what_a_leaf_set_decides_is_what_the_whole_ring_decides),
		cmocka_unit_test(segments_follow_one_another_without_a_gap),
		cmocka_unit_test(
		    with_two_sites_no_block_is_on_one_only_and_with_three_on_all),
		cmocka_unit_test(too_many_nodes_or_one_twice_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
