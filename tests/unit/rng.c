#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* From the reference code of splitmix64 (Vigna). */
static void
a_seed_gives_the_published_sequence(void **state)
{
	static const uint64_t zero[] = { 0xe220a8397b1dcdafu,
		0x6e789e6aa1b965f4u, 0x06c45d188009454fu };
	static const uint64_t other[] = { 6457827717110365317u,
		3203168211198807973u, 9817491932198370423u,
		4593380528125082431u, 16408922859458223821u };
	struct rng r;

	(void)state;
	rng_init(&r, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(rng_u64(&r) == zero[i]);
	rng_init(&r, 1234567);
	for (unsigned i = 0; i < 5; i++)
		assert_true(rng_u64(&r) == other[i]);
}

static void
below_n_is_below_n_and_reaches_all_of_it(void **state)
{
	unsigned seen[10] = { 0 };
	struct rng r;

	(void)state;
	rng_init(&r, 42);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t v = rng_below(&r, 10);

		assert_true(v < 10);
		seen[v]++;
	}
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(seen[i], 850, 1150);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(rng_below(&r, 1), 0);
		assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_gives_the_published_sequence),
		cmocka_unit_test(below_n_is_below_n_and_reaches_all_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
