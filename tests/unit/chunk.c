#include "store/chunk.h"
#include "tests/lib/mails.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BIG (4u << 20)

static uint8_t *
noise(uint64_t seed, size_t len)
{
	uint8_t *bytes = malloc(len);
	struct rng rng;

	assert_non_null(bytes);
	rng_init(&rng, seed);
	random_noise(&rng, bytes, len);
	return bytes;
}

static void
the_cuts_of_known_bytes_never_change(void **state)
{
	static const size_t golden[] = { 88373, 79087, 18875, 97688, 69078,
		47802, 81312, 82833, 79043, 83668, 68225, 91300, 65542, 81945,
		13805 };
	uint8_t *bytes = noise(1, 1u << 20), *at = bytes;
	size_t left = 1u << 20;

	(void)state;
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		size_t n = chunk_cut(at, left);

		assert_int_equal(n, golden[i]);
		at += n;
		left -= n;
	}
	assert_int_equal(left, 0);
	free(bytes);
}

static void
what_is_short_stays_whole(void **state)
{
	uint8_t *bytes = noise(2, CHUNK_MIN);

	(void)state;
	for (size_t n = 1; n <= CHUNK_MIN; n += 997)
		assert_int_equal(chunk_cut(bytes, n), n);
	assert_int_equal(chunk_cut(bytes, CHUNK_MIN), CHUNK_MIN);
	free(bytes);
}

static void
every_length_is_within_the_limits(void **state)
{
	uint8_t *bytes = noise(3, BIG), *at = bytes;
	size_t left = BIG, count = 0;

	(void)state;
	for (; left; count++) {
		size_t n = chunk_cut(at, left);

		assert_true(n <= CHUNK_MAX && n <= left);
		assert_true(n >= CHUNK_MIN || n == left);
		at += n;
		left -= n;
	}
	/* the average is about what its name says */
	assert_in_range(count, BIG / CHUNK_AVG / 2, BIG / CHUNK_AVG * 2);
	free(bytes);
}

static void
zeros_are_cut_at_the_maximum(void **state)
{
	uint8_t *bytes = calloc(1, BIG);

	(void)state;
	assert_non_null(bytes);
	assert_int_equal(chunk_cut(bytes, BIG), CHUNK_MAX);
	assert_int_equal(chunk_cut(bytes, CHUNK_MAX - 1), CHUNK_MAX - 1);
	free(bytes);
}

static void
bytes_after_the_maximum_do_not_matter(void **state)
{
	uint8_t *bytes = noise(4, BIG);

	(void)state;
	for (size_t off = 0; off + 2 * CHUNK_MAX < BIG; off += 50021)
		assert_int_equal(chunk_cut(bytes + off, CHUNK_MAX),
		    chunk_cut(bytes + off, BIG - off));
	free(bytes);
}

static void
an_inserted_byte_moves_few_boundaries(void **state)
{
	uint8_t *bytes = noise(5, BIG), *longer = malloc(BIG + 1);
	size_t a = 0, b = 0, same = 0, count = 0;

	(void)state;
	assert_non_null(longer);
	memcpy(longer, bytes, 100000);
	longer[100000] = 'x';
	memcpy(longer + 100001, bytes + 100000, BIG - 100000);
	while (a < BIG) {
		a += chunk_cut(bytes + a, BIG - a);
		while (b < a + 1 && b < BIG + 1)
			b += chunk_cut(longer + b, BIG + 1 - b);
		same += b == a + 1;
		count++;
	}
	assert_true(same + 6 >= count);
	free(bytes);
	free(longer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cuts_of_known_bytes_never_change),
		cmocka_unit_test(what_is_short_stays_whole),
		cmocka_unit_test(every_length_is_within_the_limits),
		cmocka_unit_test(zeros_are_cut_at_the_maximum),
		cmocka_unit_test(bytes_after_the_maximum_do_not_matter),
		cmocka_unit_test(an_inserted_byte_moves_few_boundaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
