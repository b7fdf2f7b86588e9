#include "overlay/base/outcome.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
every_outcome_has_a_name_and_a_sentence(void **state)
{
	(void)state;
	for (unsigned e = 0; e < ERR_COUNT; e++) {
		const char *name = err_name((enum err)e);
		const char *text = err_text((enum err)e);

		assert_true(e == OK || strncmp(name, "ERR_", 4) == 0);
		assert_true(strlen(text) > 3);
		assert_true(text[strlen(text) - 1] != '.');
		for (unsigned other = 0; other < e; other++) {
			assert_string_not_equal(
			    name, err_name((enum err)other));
			assert_string_not_equal(
			    text, err_text((enum err)other));
		}
	}
	assert_string_equal(err_name(OK), "OK");
	assert_string_equal(err_name(ERR_NOSPACE), "ERR_NOSPACE");
	assert_string_equal(err_text(ERR_ABSENT), "not there");
}

static void
only_ok_is_no_errno(void **state)
{
	(void)state;
	assert_int_equal(err_errno(OK), 0);
	for (unsigned e = 1; e < ERR_COUNT; e++)
		assert_true(err_errno((enum err)e) > 0);
	assert_int_equal(err_errno(ERR_NOSPACE), ENOSPC);
	assert_int_equal(err_errno(ERR_ABSENT), ENOENT);
	assert_int_equal(err_errno(ERR_CORRUPT), EIO);
	assert_int_equal(err_errno(ERR_NOATTR), ENODATA);
}

static void
an_errno_comes_back_as_it_was(void **state)
{
	(void)state;
	for (unsigned e = 0; e < ERR_COUNT; e++) {
		int number = err_errno((enum err)e);

		assert_int_equal(err_errno(err_from_errno(number)), number);
	}
	assert_int_equal(err_from_errno(0), OK);
	assert_int_equal(err_from_errno(EIO), ERR_IO);
	assert_int_equal(err_from_errno(EBADMSG), ERR_MALFORMED);
	assert_int_equal(err_from_errno(EDQUOT), ERR_QUOTA);
}

static void
an_unknown_errno_is_an_io_error(void **state)
{
	(void)state;
	assert_int_equal(err_from_errno(ENOTTY), ERR_IO);
	assert_int_equal(err_from_errno(-1), ERR_IO);
	assert_int_equal(err_from_errno(123456), ERR_IO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_outcome_has_a_name_and_a_sentence),
		cmocka_unit_test(only_ok_is_no_errno),
		cmocka_unit_test(an_errno_comes_back_as_it_was),
		cmocka_unit_test(an_unknown_errno_is_an_io_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
