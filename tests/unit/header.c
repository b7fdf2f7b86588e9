#include "fs/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char mail[] = "Received: from a\r\n"
			   "\tby b; x\r\n"
			   "FROM:  Alice <alice@rice.example>  \r\n"
			   "Subject: =?utf-8?q?caf=C3=A9?=\r\n"
			   " and\ttea \r\n"
			   "\t\r\n"
			   "  at  four\r\n"
			   "Subject: second\r\n"
			   "\r\n"
			   "To: body@rice.example\r\n";

/* In an exact heap block, so that a read past its end is seen. */
static bool
field(const char *bytes, size_t len, const char *name, char *out, size_t cap)
{
	char *exact = malloc(len ? len : 1);
	bool found;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	found = header_field(exact, len, name, out, cap);
	free(exact);
	return found;
}

static void
a_field_is_unfolded_and_trimmed_but_not_decoded(void **state)
{
	char out[200];

	(void)state;
	assert_true(field(mail, sizeof(mail) - 1, "From", out, sizeof(out)));
	assert_string_equal(out, "Alice <alice@rice.example>");
	assert_true(field(mail, sizeof(mail) - 1, "subject", out, sizeof(out)));
	assert_string_equal(out, "=?utf-8?q?caf=C3=A9?= and\ttea at  four");
}

static void
the_body_has_no_fields(void **state)
{
	char out[200] = "x";

	(void)state;
	assert_false(field(mail, sizeof(mail) - 1, "To", out, sizeof(out)));
	assert_string_equal(out, "");
}

static void
a_name_must_match_wholly(void **state)
{
	static const char text[] = "Subjects: a\nSub: b\nSubject : c\n";
	char out[20];

	(void)state;
	assert_false(
	    field(text, sizeof(text) - 1, "Subject", out, sizeof(out)));
	assert_true(field(text, sizeof(text) - 1, "Sub", out, sizeof(out)));
	assert_string_equal(out, "b");
}

static void
an_mbox_line_is_passed_over(void **state)
{
	static const char text[] = "From alice Thu Jan  1\nFrom: a@b.example\n";
	char out[20];

	(void)state;
	assert_true(field(text, sizeof(text) - 1, "From", out, sizeof(out)));
	assert_string_equal(out, "a@b.example");
	assert_true(header_begins(text, sizeof(text) - 1));
}

static void
a_long_value_is_cut_to_fit(void **state)
{
	char out[8];

	(void)state;
	assert_true(field(mail, sizeof(mail) - 1, "From", out, sizeof(out)));
	assert_string_equal(out, "Alice <");
	assert_true(field(mail, sizeof(mail) - 1, "From", out, 1));
	assert_string_equal(out, "");
}

static void
nul_bytes_do_not_cut_a_value(void **state)
{
	static const char text[] = "From: a\0b\n";
	char out[20];

	(void)state;
	assert_true(field(text, sizeof(text) - 1, "From", out, sizeof(out)));
	assert_string_equal(out, "a?b");
}

static void
every_prefix_gives_a_prefix_of_the_value_or_nothing(void **state)
{
	char whole[200], out[200];

	(void)state;
	assert_true(
	    field(mail, sizeof(mail) - 1, "Subject", whole, sizeof(whole)));
	for (size_t n = 0; n < sizeof(mail) - 1; n++) {
		bool found = field(mail, n, "Subject", out, sizeof(out));

		assert_true(found || out[0] == '\0');
		assert_memory_equal(out, whole, strlen(out));
	}
}

static void
a_header_begins_with_a_fields_name(void **state)
{
	(void)state;
	assert_true(header_begins("A: b", 4));
	assert_true(header_begins("A:", 2));
	assert_false(header_begins("A", 1));
	assert_false(header_begins("", 0));
	assert_false(header_begins(": b", 3));
	assert_false(header_begins("a b: c", 6));
	assert_false(header_begins("\nA: b", 5));
	assert_true(header_begins("{\"a\": 1}", 8)); /* all the same */
	assert_false(header_begins("\x7f"
				   "ELF:",
	    5));
	assert_false(header_begins("From a\n", 7));
}

static void
a_header_is_complete_with_its_empty_line(void **state)
{
	(void)state;
	assert_true(header_complete("A: b\n\nc", 7));
	assert_true(header_complete("A: b\r\n\r\n", 8));
	assert_true(header_complete("\n", 1));
	assert_false(header_complete("A: b\n", 5));
	assert_false(header_complete("A: b\r\n", 6));
	assert_false(header_complete("", 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_field_is_unfolded_and_trimmed_but_not_decoded),
		cmocka_unit_test(the_body_has_no_fields),
		cmocka_unit_test(a_name_must_match_wholly),
		cmocka_unit_test(an_mbox_line_is_passed_over),
		cmocka_unit_test(a_long_value_is_cut_to_fit),
		cmocka_unit_test(nul_bytes_do_not_cut_a_value),
		cmocka_unit_test(
		    every_prefix_gives_a_prefix_of_the_value_or_nothing),
		cmocka_unit_test(a_header_begins_with_a_fields_name),
		cmocka_unit_test(a_header_is_complete_with_its_empty_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
