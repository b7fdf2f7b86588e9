#include "fs/when.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
moments_have_one_text(void **state)
{
	char text[WHEN_MAX];

	(void)state;
	when_format(0, 0, text);
	assert_string_equal(text, "1970-01-01T00:00:00Z");
	when_format(951782399 * WHEN_SECOND + 999999999, 9, text);
	assert_string_equal(text, "2000-02-28T23:59:59.999999999Z");
	when_format(951782400 * WHEN_SECOND, 3, text);
	assert_string_equal(text, "2000-02-29T00:00:00.000Z");
	when_format(1793491200 * WHEN_SECOND, 0, text);
	assert_string_equal(text, "2026-11-01T00:00:00Z");
	when_format(-5, 0, text);
	assert_string_equal(text, "1970-01-01T00:00:00Z");
	when_format(INT64_MAX, 9, text);
	assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
}

static void
what_is_written_is_read_back(void **state)
{
	char text[WHEN_MAX];
	int64_t ns, length;

	(void)state;
	for (int64_t t = 0; t < 9000000000 * WHEN_SECOND;
	     t += 86399 * 31 * WHEN_SECOND + 123456789) {
		when_format(t, 9, text);
		assert_true(when_parse(text, &ns, &length));
		assert_true(ns == t);
		assert_int_equal(length, 1);
		when_format(t, 0, text);
		assert_true(when_parse(text, &ns, &length));
		assert_true(ns == t - t % WHEN_SECOND);
		assert_true(length == WHEN_SECOND);
	}
}

static void
a_date_alone_is_its_first_second(void **state)
{
	int64_t ns, length;

	(void)state;
	assert_true(when_parse("2026-11-01", &ns, &length));
	assert_true(ns == 1793491200 * WHEN_SECOND);
	assert_true(length == WHEN_SECOND);
}

static void
a_fraction_lasts_as_long_as_its_last_digit_says(void **state)
{
	int64_t ns, length;

	(void)state;
	assert_true(when_parse("1970-01-01T00:00:01.50Z", &ns, &length));
	assert_true(ns == 1500000000);
	assert_true(length == 10000000);
}

static void
everything_else_is_no_moment(void **state)
{
	static const char *const no[] = { "", "2026", "2026-11", "2026-1-1",
		"2026-11-31", "2025-02-29", "2100-02-29", "1969-12-31",
		"2262-01-01", "2026-00-01", "2026-13-01", "2026-01-00",
		"2026-11-01T", "2026-11-01T00:00:00", "2026-11-01T00:00Z",
		"2026-11-01T24:00:00Z", "2026-11-01T00:60:00Z",
		"2026-11-01T00:00:60Z", "2026-11-01t00:00:00z",
		"2026-11-01T00:00:00.Z", "2026-11-01T00:00:00.1234567890Z",
		"2026-11-01T00:00:00+00:00", "2026-11-01T00:00:00Zx",
		"2026-11-01 ", " 2026-11-01", "+026-11-01", "2026/11/01" };
	int64_t ns, length;

	(void)state;
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		if (when_parse(no[i], &ns, &length))
			fail_msg("'%s' was taken for a moment", no[i]);
}

static void
every_prefix_but_the_date_is_no_moment(void **state)
{
	static const char whole[] = "2026-11-01T12:34:56.789Z";
	int64_t ns, length;

	(void)state;
	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		char *cut = calloc(1, n + 1);

		assert_non_null(cut);
		memcpy(cut, whole, n);
		assert_int_equal(when_parse(cut, &ns, &length), n == 10);
		free(cut);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moments_have_one_text),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(a_date_alone_is_its_first_second),
		cmocka_unit_test(
		    a_fraction_lasts_as_long_as_its_last_digit_says),
		cmocka_unit_test(everything_else_is_no_moment),
		cmocka_unit_test(every_prefix_but_the_date_is_no_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
