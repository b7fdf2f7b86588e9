/* Links in order, against a plain array. */
#include "overlay/base/rng.h"
#include "store/sorted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#define SIDE 24u /* keys are (0..SIDE, 0..SIDE) */

struct item {
	uint64_t before;
	struct sorted_link link;
	bool in;
};

static struct item grid[SIDE][SIDE];

static void
put_in(struct sorted *s, struct item *i)
{
	sorted_add(s, &i->link);
	i->in = true;
}

/* The first item of the array at a key or after it. */
static struct sorted_link *
plain_from(uint64_t hi, uint64_t lo)
{
	for (; hi < SIDE; hi++, lo = 0)
		for (; lo < SIDE; lo++)
			if (grid[hi][lo].in)
				return &grid[hi][lo].link;
	return NULL;
}

static void
clear_grid(void)
{
	memset(grid, 0, sizeof(grid));
	for (uint64_t hi = 0; hi < SIDE; hi++)
		for (uint64_t lo = 0; lo < SIDE; lo++) {
			grid[hi][lo].link.hi = hi;
			grid[hi][lo].link.lo = lo;
		}
}

static void
links_come_in_the_order_of_their_keys_whatever_is_done(void **state)
{
	static struct item spare;
	struct sorted s = { 0 };
	size_t count = 0;
	struct rng r;

	(void)state;
	clear_grid();
	rng_init(&r, 3);
	for (unsigned n = 0; n < 60000; n++) {
		uint64_t hi = rng_below(&r, SIDE), lo = rng_below(&r, SIDE);
		struct item *i = &grid[hi][lo];

		if (!i->in) {
			put_in(&s, i);
			count++;
		} else if (rng_below(&r, 8) == 0) {
			sorted_replace(&s, &i->link, &spare.link);
			assert_ptr_equal(sorted_find(&s, hi, lo), &spare.link);
			sorted_replace(&s, &spare.link, &i->link);
		} else {
			sorted_remove(&s, &i->link);
			i->in = false;
			count--;
		}
		assert_int_equal(s.count, count);
		hi = rng_below(&r, SIDE);
		lo = rng_below(&r, SIDE);
		assert_ptr_equal(sorted_find(&s, hi, lo),
		    grid[hi][lo].in ? &grid[hi][lo].link : NULL);
		assert_ptr_equal(sorted_from(&s, hi, lo), plain_from(hi, lo));
		assert_ptr_equal(
		    sorted_after(&s, hi, lo), plain_from(hi, lo + 1));
	}
	for (struct sorted_link *l; (l = sorted_drain(&s));) {
		struct item *i = SORTED_ITEM(l, struct item, link);

		assert_ptr_equal(l, plain_from(0, 0));
		assert_true(i->in);
		i->in = false;
	}
	assert_null(plain_from(0, 0));
	assert_int_equal(s.count, 0);
}

static void
nothing_comes_after_the_greatest_key(void **state)
{
	struct sorted_link low = { .hi = 0, .lo = 0 };
	struct sorted_link top = { .hi = UINT64_MAX, .lo = UINT64_MAX };
	struct sorted s = { 0 };

	(void)state;
	assert_null(sorted_from(&s, 0, 0));
	sorted_add(&s, &top);
	sorted_add(&s, &low);
	assert_ptr_equal(sorted_after(&s, 0, 0), &top);
	assert_ptr_equal(sorted_after(&s, 0, UINT64_MAX), &top);
	assert_null(sorted_after(&s, UINT64_MAX, UINT64_MAX));
}

static unsigned
depth(const struct sorted_link *l)
{
	unsigned less, more;

	if (!l)
		return 0;
	less = depth(l->less);
	more = depth(l->more);
	return 1 + (less > more ? less : more);
}

static bool
same_shape(const struct sorted_link *a, const struct sorted_link *b)
{
	if (!a || !b)
		return !a && !b;
	return a->hi == b->hi && a->lo == b->lo &&
	       same_shape(a->less, b->less) && same_shape(a->more, b->more);
}

static void
the_shape_is_shallow_and_does_not_know_who_came_first(void **state)
{
	enum { N = 50000 };
	static struct sorted_link up[N], down[N];
	struct sorted a = { 0 }, b = { 0 };

	(void)state;
	for (unsigned n = 0; n < N; n++) {
		up[n].hi = down[n].hi = 9;
		up[n].lo = down[n].lo = n;
	}
	for (unsigned n = 0; n < N; n++) {
		sorted_add(&a, &up[n]);
		sorted_add(&b, &down[N - 1 - n]);
	}
	assert_true(same_shape(a.root, b.root));
	assert_true(depth(a.root) < 60); /* 2 ln 50,000 is 22 on average */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    links_come_in_the_order_of_their_keys_whatever_is_done),
		cmocka_unit_test(nothing_comes_after_the_greatest_key),
		cmocka_unit_test(
		    the_shape_is_shallow_and_does_not_know_who_came_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
