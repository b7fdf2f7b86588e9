#include "overlay/base/wire.h"

#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* An exact heap block, so that a read past its end is seen. */
static uint8_t *
exact(const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

static void
integers_are_big_endian(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t buf[8];
	uint64_t want = 0;
	struct rd r;
	struct wr w;

	(void)state;
	for (unsigned n = 1; n <= 8; n++) {
		want = want << 8 | n;
		rd_init(&r, bytes, n);
		assert_true(rd_be(&r, n) == want);
		assert_true(rd_done(&r));
		wr_init(&w, buf, n);
		wr_be(&w, want, n);
		assert_false(w.bad);
		assert_int_equal(wr_len(&w), n);
		assert_memory_equal(buf, bytes, n);
	}
	/* Only the low bytes are written. */
	wr_init(&w, buf, 2);
	wr_be(&w, 0x112233, 2);
	assert_memory_equal(buf, "\x22\x33", 2);
}

static void
a_failure_sticks(void **state)
{
	uint8_t *bytes = exact("abc", 3), buf[4] = { 9, 9, 9, 9 };
	struct rd r;
	struct wr w;

	(void)state;
	rd_init(&r, bytes, 3);
	assert_int_equal(rd_be(&r, 2), 0x6162);
	assert_int_equal(rd_left(&r), 1);
	assert_int_equal(rd_be(&r, 2), 0);
	assert_true(r.bad);
	assert_int_equal(rd_left(&r), 0);
	assert_int_equal(rd_be(&r, 1), 0); /* though it is there */
	assert_null(rd_take(&r, 0));
	rd_bytes(&r, buf, 2);
	assert_memory_equal(buf, "\0\0\x09\x09", 4);
	assert_true(rd_varint(&r) == 0 && rd_svarint(&r) == 0);
	assert_false(rd_done(&r));

	memset(bytes, 'x', 3);
	wr_init(&w, bytes, 3);
	wr_be(&w, 1, 2);
	wr_be(&w, 2, 2);
	assert_true(w.bad);
	wr_be(&w, 3, 1);
	wr_bytes(&w, "y", 1);
	assert_null(wr_take(&w, 0));
	assert_int_equal(wr_len(&w), 2);
	assert_memory_equal(bytes, "\0\1x", 3);
	free(bytes);
}

static void
bytes_left_over_are_not_done(void **state)
{
	struct rd r;

	(void)state;
	rd_init(&r, "ab", 2);
	assert_memory_equal(rd_take(&r, 1), "a", 1);
	assert_false(rd_done(&r));
	assert_memory_equal(rd_take(&r, 1), "b", 1);
	assert_true(rd_done(&r));
	assert_non_null(rd_take(&r, 0));
	assert_true(rd_done(&r));
	assert_null(rd_take(&r, SIZE_MAX));
	assert_false(rd_done(&r));
}

static const struct {
	uint64_t value;
	unsigned len;
	const char *bytes;
} golden[] = {
	{ 0, 1, "\x00" },
	{ 1, 1, "\x01" },
	{ 0x7f, 1, "\x7f" },
	{ 0x80, 2, "\x80\x01" },
	{ 300, 2, "\xac\x02" },
	{ 0x3fff, 2, "\xff\x7f" },
	{ 0x4000, 3, "\x80\x80\x01" },
	{ UINT32_MAX, 5, "\xff\xff\xff\xff\x0f" },
	{ (uint64_t)1 << 63, 10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" },
	{ UINT64_MAX, 10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" },
};

static void
varints_are_as_published_and_every_prefix_is_bad(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(golden) / sizeof(*golden); i++) {
		uint8_t buf[VARINT_MAX];
		struct rd r;
		struct wr w;

		wr_init(&w, buf, sizeof(buf));
		wr_varint(&w, golden[i].value);
		assert_int_equal(wr_len(&w), golden[i].len);
		assert_memory_equal(buf, golden[i].bytes, golden[i].len);
		for (unsigned n = 0; n <= golden[i].len; n++) {
			uint8_t *cut = exact(buf, n);
			bool whole = n == golden[i].len;

			rd_init(&r, cut, n);
			assert_true(
			    rd_varint(&r) == (whole ? golden[i].value : 0));
			assert_int_equal(rd_done(&r), whole);
			wr_init(&w, cut, n);
			wr_varint(&w, golden[i].value);
			assert_int_equal(w.bad, !whole);
			free(cut);
		}
	}
}

static void
a_number_has_one_varint_only(void **state)
{
	static const struct {
		const char *bytes;
		unsigned len;
	} wrong[] = {
		{ "\x80\x00", 2 },
		{ "\x81\x00", 2 },
		{ "\xff\x80\x00", 3 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 10 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11 },
	};
	struct rd r;

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		rd_init(&r, wrong[i].bytes, wrong[i].len);
		assert_true(rd_varint(&r) == 0);
		assert_true(r.bad);
	}
}

static void
signed_varints_go_to_and_fro(void **state)
{
	static const struct {
		int64_t value;
		uint64_t zigzag;
	} pair[] = { { 0, 0 }, { -1, 1 }, { 1, 2 }, { -2, 3 }, { 63, 126 },
		{ -64, 127 }, { INT64_MAX, UINT64_MAX - 1 },
		{ INT64_MIN, UINT64_MAX } };
	uint8_t buf[VARINT_MAX];
	struct rd r;
	struct wr w;

	(void)state;
	for (unsigned i = 0; i < sizeof(pair) / sizeof(*pair); i++) {
		wr_init(&w, buf, sizeof(buf));
		wr_svarint(&w, pair[i].value);
		assert_false(w.bad);
		rd_init(&r, buf, wr_len(&w));
		assert_true(rd_varint(&r) == pair[i].zigzag);
		rd_init(&r, buf, wr_len(&w));
		assert_true(rd_svarint(&r) == pair[i].value);
		assert_true(rd_done(&r));
	}
}

/* A flipped bit gives another number or none. */
static void
random_varints_survive_and_flipped_ones_do_not(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t v = rng_u64(&rng) >> rng_below(&rng, 64), got;
		uint8_t buf[VARINT_MAX];
		struct rd r;
		struct wr w;
		size_t len;

		wr_init(&w, buf, sizeof(buf));
		wr_varint(&w, v);
		len = wr_len(&w);
		rd_init(&r, buf, len);
		assert_true(rd_varint(&r) == v && rd_done(&r));
		for (size_t bit = 0; bit < 8 * len; bit++) {
			buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
			rd_init(&r, buf, len);
			got = rd_varint(&r);
			assert_false(rd_done(&r) && got == v);
			buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void
nothing_can_be_read_and_written(void **state)
{
	uint8_t *none = exact("", 0);
	struct rd r;
	struct wr w;

	(void)state;
	rd_init(&r, none, 0);
	rd_bytes(&r, NULL, 0);
	assert_true(rd_done(&r));
	wr_init(&w, none, 0);
	wr_bytes(&w, NULL, 0);
	assert_false(w.bad);
	wr_be(&w, 0, 1);
	assert_true(w.bad);
	free(none);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_big_endian),
		cmocka_unit_test(a_failure_sticks),
		cmocka_unit_test(bytes_left_over_are_not_done),
		cmocka_unit_test(
		    varints_are_as_published_and_every_prefix_is_bad),
		cmocka_unit_test(a_number_has_one_varint_only),
		cmocka_unit_test(signed_varints_go_to_and_fro),
		cmocka_unit_test(
		    random_varints_survive_and_flipped_ones_do_not),
		cmocka_unit_test(nothing_can_be_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
