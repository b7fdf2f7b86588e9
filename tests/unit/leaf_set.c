/* Includes leaf_set.c itself, so that its allocation can be made to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool memory_is_gone;

static void *
leaf_set_calloc(size_t n, size_t size)
{
	return memory_is_gone ? NULL : calloc(n, size);
}

#define calloc(n, size) leaf_set_calloc(n, size)
#include "overlay/leaf_set.c"
#undef calloc

#include "overlay/base/rng.h"

#define must(call) assert_int_equal((call), OK)
#define RINGS 3000
#define OTHERS_MAX 48

/* A ring of few positions, so that neighbours, ties and wrap-around are
 * common: position n of `positions` is n * 2^256 / positions, `positions` a
 * power of two up to 256. */
struct world {
	struct rng rng;
	unsigned positions;
	struct id self;
	struct id other[OTHERS_MAX]; /* whom the set should know */
	unsigned others;
	unsigned half;
	struct leaf_set *ls;
};

static struct peer
peer_of(struct id id)
{
	struct peer p = { .id = id, .addr = { .port = 1 } };

	p.addr.ip[0] = id.b[0];
	return p;
}

static struct id
at(uint8_t position)
{
	struct id id = { { position } };

	return id;
}

static struct id
any_id(struct world *w)
{
	uint64_t step = 256 / w->positions;

	return at((uint8_t)(rng_below(&w->rng, w->positions) * step));
}

static void
world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	rng_init(&w->rng, seed);
	w->positions = 8u << rng_below(&w->rng, 6);
	w->self = any_id(w);
	w->half = 1 + (unsigned)rng_below(&w->rng, seed % 4 ? 4 : 16);
	must(leaf_set_new(&w->self, w->half, &w->ls));
}

/* ---- the oracle --------------------------------------------------------- */

/* Sorts by distance in one direction, from the definition. */
static void
nearest_first(const struct world *w, enum side side, struct id *out)
{
	memcpy(out, w->other, w->others * sizeof(*out));
	for (unsigned i = 1; i < w->others; i++)
		for (unsigned k = i; k > 0; k--) {
			struct id a, b, swap = out[k];

			if (side == SIDE_RIGHT) {
				id_sub(&out[k - 1], &w->self, &a);
				id_sub(&out[k], &w->self, &b);
			} else {
				id_sub(&w->self, &out[k - 1], &a);
				id_sub(&w->self, &out[k], &b);
			}
			if (id_cmp(&a, &b) <= 0)
				break;
			out[k] = out[k - 1];
			out[k - 1] = swap;
		}
}

static bool
is_among(const struct id *id, const struct id *ids, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (id_eq(id, &ids[i]))
			return true;
	return false;
}

/* What fell out of the set is forgotten by the oracle as well: of all it knew
 * it keeps the first `half` of either direction. */
static void
forget_far_ones(struct world *w)
{
	struct id left[OTHERS_MAX], right[OTHERS_MAX];
	unsigned side = w->others < w->half ? w->others : w->half, kept = 0;

	nearest_first(w, SIDE_LEFT, left);
	nearest_first(w, SIDE_RIGHT, right);
	for (unsigned i = 0; i < w->others; i++)
		if (is_among(&w->other[i], left, side) ||
		    is_among(&w->other[i], right, side))
			w->other[kept++] = w->other[i];
	w->others = kept;
}

static void
assert_as_oracle(const struct world *w)
{
	struct id sorted[OTHERS_MAX], seen[OTHERS_MAX];
	unsigned side = w->others < w->half ? w->others : w->half;

	for (enum side s = SIDE_LEFT; s <= SIDE_RIGHT; s++) {
		nearest_first(w, s, sorted);
		assert_int_equal(leaf_set_side(w->ls, s), side);
		for (unsigned n = 0; n < side; n++)
			assert_memory_equal(leaf_set_at(w->ls, s, n)->id.b,
			    sorted[n].b, ID_BYTES);
		assert_null(leaf_set_at(w->ls, s, side));
	}
	assert_int_equal(leaf_set_count(w->ls), w->others);
	for (unsigned n = 0; n < w->others; n++) {
		const struct peer *p = leaf_set_member(w->ls, n);

		assert_true(is_among(&p->id, w->other, w->others));
		assert_false(is_among(&p->id, seen, n));
		seen[n] = p->id;
		assert_ptr_equal(leaf_set_find(w->ls, &p->id), p);
		if (n < side)
			assert_ptr_equal(p, leaf_set_at(w->ls, SIDE_LEFT, n));
	}
	assert_null(leaf_set_member(w->ls, w->others));
}

static void
world_add(struct world *w, struct id id)
{
	struct peer p = peer_of(id);
	bool wanted, added, there;

	wanted = leaf_set_wants(w->ls, &id);
	added = leaf_set_add(w->ls, &p);
	there = id_eq(&id, &w->self) || is_among(&id, w->other, w->others);
	assert_int_equal(wanted, added);
	if (!there) {
		w->other[w->others++] = id;
		forget_far_ones(w);
		assert_int_equal(added, is_among(&id, w->other, w->others));
	} else {
		assert_false(added);
	}
	assert_as_oracle(w);
}

static void
world_remove(struct world *w, struct id id)
{
	bool removed = leaf_set_remove(w->ls, &id);

	assert_int_equal(removed, is_among(&id, w->other, w->others));
	for (unsigned i = 0; i < w->others; i++)
		if (id_eq(&w->other[i], &id))
			w->other[i] = w->other[--w->others];
	assert_null(leaf_set_find(w->ls, &id));
	assert_as_oracle(w);
}

static unsigned
oracle_replicas(
    const struct world *w, const struct id *key, unsigned n, struct id *out)
{
	struct id all[OTHERS_MAX + 1];
	unsigned count = w->others + 1, taken = 0;

	memcpy(all, w->other, w->others * sizeof(all[0]));
	all[w->others] = w->self;
	while (taken < n && count) {
		unsigned best = 0;

		for (unsigned i = 1; i < count; i++)
			if (id_nearer(key, &all[i], &all[best]))
				best = i;
		out[taken++] = all[best];
		all[best] = all[--count];
	}
	return taken;
}

/* Between the furthest members, ourselves in the middle: found by going there
 * step by step. */
static bool
oracle_covers(const struct world *w, const struct id *key)
{
	struct id left[OTHERS_MAX], right[OTHERS_MAX], span, off;

	if (w->others < 2 * w->half)
		return true;
	nearest_first(w, SIDE_LEFT, left);
	nearest_first(w, SIDE_RIGHT, right);
	id_sub(&right[w->half - 1], &w->self, &span);
	id_sub(key, &w->self, &off);
	if (id_cmp(&off, &span) <= 0)
		return true;
	id_sub(&w->self, &left[w->half - 1], &span);
	id_sub(&w->self, key, &off);
	return id_cmp(&off, &span) <= 0;
}

/* ---- against the oracle ------------------------------------------------- */

static void
members_are_those_of_the_oracle_whatever_comes_and_goes(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < RINGS; seed++) {
		struct world w;

		world_init(&w, seed);
		for (unsigned i = 0; i < 30; i++)
			if (rng_below(&w.rng, 4))
				world_add(&w, any_id(&w));
			else
				world_remove(&w, any_id(&w));
		leaf_set_free(w.ls);
	}
}

static void
replicas_and_the_nearest_are_those_of_the_oracle(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < RINGS; seed++) {
		struct peer self, got[OTHERS_MAX];
		struct id want[OTHERS_MAX];
		struct world w;

		world_init(&w, seed);
		self = peer_of(w.self);
		for (uint64_t i = rng_below(&w.rng, 40); i > 0; i--)
			world_add(&w, any_id(&w));
		for (unsigned i = 0; i < 12; i++) {
			/* a finer grid: nodes, between them, and middles */
			struct id key = at((uint8_t)rng_u64(&w.rng));
			unsigned n = (unsigned)rng_below(&w.rng, 40), count;
			const struct peer *nearest;

			count = oracle_replicas(&w, &key, n, want);
			assert_int_equal(
			    leaf_set_replicas(w.ls, &self, &key, n, got),
			    count);
			for (unsigned k = 0; k < count; k++)
				assert_memory_equal(
				    got[k].id.b, want[k].b, ID_BYTES);
			oracle_replicas(&w, &key, 1, want);
			nearest = leaf_set_nearest(w.ls, &key);
			assert_memory_equal(nearest ? nearest->id.b : w.self.b,
			    want[0].b, ID_BYTES);
			assert_int_equal(
			    nearest == NULL, id_eq(&want[0], &w.self));
		}
		leaf_set_free(w.ls);
	}
}

static void
keys_covered_are_those_of_the_oracle(void **state)
{
	unsigned covered = 0, beyond = 0;

	(void)state;
	for (uint64_t seed = 0; seed < RINGS; seed++) {
		struct world w;

		world_init(&w, seed);
		for (unsigned i = 0; i < 20; i++)
			world_add(&w, any_id(&w));
		assert_int_equal(
		    leaf_set_is_whole_ring(w.ls), w.others < 2 * w.half);
		for (unsigned i = 0; i < 16; i++) {
			struct id key = at((uint8_t)rng_u64(&w.rng));
			bool want = oracle_covers(&w, &key);

			assert_int_equal(leaf_set_covers(w.ls, &key), want);
			covered += want;
			beyond += !want;
		}
		leaf_set_free(w.ls);
	}
	assert_true(covered > 1000 && beyond > 1000);
}

/* ---- one by one --------------------------------------------------------- */

static struct leaf_set *
set_of(uint8_t self, unsigned half, const char *positions)
{
	struct leaf_set *ls = NULL;
	struct id id = at(self);

	must(leaf_set_new(&id, half, &ls));
	for (; *positions; positions++) {
		struct peer p = peer_of(at((uint8_t)*positions));

		leaf_set_add(ls, &p);
	}
	return ls;
}

static void
assert_side(const struct leaf_set *ls, enum side side, const char *positions)
{
	assert_int_equal(leaf_set_side(ls, side), strlen(positions));
	for (unsigned n = 0; positions[n]; n++)
		assert_int_equal(
		    leaf_set_at(ls, side, n)->id.b[0], (uint8_t)positions[n]);
}

static bool
add(struct leaf_set *ls, uint8_t position)
{
	struct peer p = peer_of(at(position));

	return leaf_set_add(ls, &p);
}

static void
a_node_alone_is_the_home_of_everything(void **state)
{
	struct leaf_set *ls = set_of(0x40, 12, "");
	struct peer self = peer_of(at(0x40)), got[3];
	struct id key = at(0xc0);

	(void)state;
	assert_int_equal(leaf_set_count(ls), 0);
	assert_null(leaf_set_at(ls, SIDE_LEFT, 0));
	assert_null(leaf_set_member(ls, 0));
	assert_true(leaf_set_is_whole_ring(ls));
	assert_true(leaf_set_covers(ls, &key));
	assert_null(leaf_set_nearest(ls, &key));
	assert_int_equal(leaf_set_replicas(ls, &self, &key, 3, got), 1);
	assert_memory_equal(&got[0], &self, sizeof(self));
	assert_int_equal(leaf_set_replicas(ls, &self, &key, 0, got), 0);
	assert_false(leaf_set_wants(ls, &self.id));
	assert_false(leaf_set_add(ls, &self));
	assert_false(leaf_set_remove(ls, &self.id));
	assert_null(leaf_set_find(ls, &self.id));
	leaf_set_free(ls);
	leaf_set_free(NULL);
}

static void
in_a_small_ring_a_node_stands_on_both_sides_and_counts_once(void **state)
{
	struct leaf_set *ls = set_of('a', 3, "d");

	(void)state;
	assert_side(ls, SIDE_LEFT, "d");
	assert_side(ls, SIDE_RIGHT, "d");
	assert_int_equal(leaf_set_count(ls), 1);
	assert_true(add(ls, 'b'));
	assert_true(add(ls, 'z'));
	assert_true(add(ls, 'm'));
	assert_side(ls, SIDE_LEFT, "zmd");
	assert_side(ls, SIDE_RIGHT, "bdm");
	assert_int_equal(leaf_set_count(ls), 4);
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(leaf_set_member(ls, n)->id.b[0], "zmdb"[n]);
	assert_null(leaf_set_member(ls, 4));
	assert_true(leaf_set_is_whole_ring(ls));
	leaf_set_free(ls);
}

static void
sides_that_meet_part_as_newcomers_push_them_from_both_ends(void **state)
{
	struct leaf_set *ls = set_of('m', 2, "abc");

	(void)state;
	assert_side(ls, SIDE_LEFT, "cb");
	assert_side(ls, SIDE_RIGHT, "ab"); /* b is on both */
	assert_true(add(ls, 'n')); /* off the right side, but on the left */
	assert_side(ls, SIDE_LEFT, "cb");
	assert_side(ls, SIDE_RIGHT, "na");
	assert_int_equal(leaf_set_count(ls), 4);
	assert_false(leaf_set_is_whole_ring(ls));
	leaf_set_free(ls);
}

static void
a_newcomer_displaces_the_furthest_on_its_side_only(void **state)
{
	struct leaf_set *ls = set_of('m', 2, "jkop");
	struct id far = at('p'), far_left = at('j');

	(void)state;
	assert_false(add(ls, 'q')); /* beyond both ends */
	assert_false(add(ls, 'i'));
	assert_false(add(ls, 0));
	assert_true(add(ls, 'n'));
	assert_side(ls, SIDE_LEFT, "kj");
	assert_side(ls, SIDE_RIGHT, "no");
	assert_null(leaf_set_find(ls, &far));
	assert_false(add(ls, 'p'));
	assert_true(add(ls, 'l'));
	assert_side(ls, SIDE_LEFT, "lk");
	assert_side(ls, SIDE_RIGHT, "no");
	assert_null(leaf_set_find(ls, &far_left));
	assert_int_equal(leaf_set_count(ls), 4);
	leaf_set_free(ls);
}

static void
the_ring_wraps_round_at_its_end(void **state)
{
	struct leaf_set *ls = set_of(0xff, 2, "\xfd\xfe\x01\x02");
	struct id zero = at(0), key = at(0x80);

	(void)state;
	assert_side(ls, SIDE_LEFT, "\xfe\xfd");
	assert_side(ls, SIDE_RIGHT, "\x01\x02");
	assert_true(leaf_set_covers(ls, &zero));
	assert_false(leaf_set_covers(ls, &key));
	/* 0 is as far from 0xff as from 1: who comes before it has it */
	assert_null(leaf_set_nearest(ls, &zero));
	leaf_set_free(ls);
	ls = set_of(0, 2, "\xfd\xfe\x01\x02");
	assert_side(ls, SIDE_LEFT, "\xfe\xfd");
	assert_side(ls, SIDE_RIGHT, "\x01\x02");
	leaf_set_free(ls);
}

static void
the_furthest_members_are_the_last_ids_covered(void **state)
{
	struct leaf_set *ls = set_of(0x10, 1, "\x0e\x20");
	struct id key = at(0x20);

	(void)state;
	assert_true(leaf_set_covers(ls, &key));
	key.b[ID_BYTES - 1] = 1;
	assert_false(leaf_set_covers(ls, &key));
	key = at(0x0e);
	assert_true(leaf_set_covers(ls, &key));
	key = at(0x0d);
	memset(key.b + 1, 0xff, ID_BYTES - 1);
	assert_false(leaf_set_covers(ls, &key));
	key = at(0x10);
	assert_true(leaf_set_covers(ls, &key));
	leaf_set_free(ls);
}

static void
after_a_death_the_sides_meet_until_another_is_known(void **state)
{
	struct leaf_set *ls = set_of('m', 2, "jkop");
	struct id dead = at('k');

	(void)state;
	assert_false(leaf_set_is_whole_ring(ls));
	assert_true(leaf_set_remove(ls, &dead));
	assert_false(leaf_set_remove(ls, &dead));
	assert_side(ls, SIDE_LEFT, "jp");
	assert_side(ls, SIDE_RIGHT, "op");
	assert_int_equal(leaf_set_count(ls), 3);
	assert_true(leaf_set_is_whole_ring(ls));
	assert_true(add(ls, 'h'));
	assert_side(ls, SIDE_LEFT, "jh");
	assert_false(leaf_set_is_whole_ring(ls));
	leaf_set_free(ls);
}

static void
a_members_address_is_brought_up_to_date_on_both_sides(void **state)
{
	struct leaf_set *ls = set_of('m', 2, "a");
	struct peer p = peer_of(at('a'));
	enum side s;

	(void)state;
	p.addr.port = 77;
	assert_false(leaf_set_wants(ls, &p.id));
	assert_false(leaf_set_add(ls, &p));
	for (s = SIDE_LEFT; s <= SIDE_RIGHT; s++)
		assert_int_equal(leaf_set_at(ls, s, 0)->addr.port, 77);
	p.addr.port = 0; /* says nothing */
	assert_false(leaf_set_add(ls, &p));
	assert_int_equal(leaf_set_find(ls, &p.id)->addr.port, 77);
	leaf_set_free(ls);
}

static void
a_member_can_be_removed_by_a_pointer_into_the_set(void **state)
{
	struct leaf_set *ls = set_of('m', 12, "abcdef");

	(void)state;
	for (unsigned left = 6; left > 0; left--) {
		const struct peer *p = leaf_set_at(ls, SIDE_RIGHT, 0);

		assert_int_equal(leaf_set_count(ls), left);
		assert_true(leaf_set_remove(ls, &p->id));
	}
	assert_int_equal(leaf_set_count(ls), 0);
	leaf_set_free(ls);
}

static void
without_memory_there_is_no_set(void **state)
{
	struct leaf_set *ls = NULL;
	struct id self = at(1);

	(void)state;
	memory_is_gone = true;
	assert_int_equal(leaf_set_new(&self, 12, &ls), ERR_NOMEM);
	memory_is_gone = false;
	assert_null(ls);
	must(leaf_set_new(&self, LEAF_HALF_MAX, &ls));
	assert_true(
	    leaf_set_bytes(ls) >= 2 * LEAF_HALF_MAX * sizeof(struct peer));
	leaf_set_free(ls);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    members_are_those_of_the_oracle_whatever_comes_and_goes),
		cmocka_unit_test(
		    replicas_and_the_nearest_are_those_of_the_oracle),
		cmocka_unit_test(keys_covered_are_those_of_the_oracle),
		cmocka_unit_test(a_node_alone_is_the_home_of_everything),
		cmocka_unit_test(
		    in_a_small_ring_a_node_stands_on_both_sides_and_counts_once),
		cmocka_unit_test(
		    sides_that_meet_part_as_newcomers_push_them_from_both_ends),
		cmocka_unit_test(
		    a_newcomer_displaces_the_furthest_on_its_side_only),
		cmocka_unit_test(the_ring_wraps_round_at_its_end),
		cmocka_unit_test(the_furthest_members_are_the_last_ids_covered),
		cmocka_unit_test(
		    after_a_death_the_sides_meet_until_another_is_known),
		cmocka_unit_test(
		    a_members_address_is_brought_up_to_date_on_both_sides),
		cmocka_unit_test(
		    a_member_can_be_removed_by_a_pointer_into_the_set),
		cmocka_unit_test(without_memory_there_is_no_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
