#include "overlay/base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char golden[] = "00017f80ff0000000000000000000000"
			     "0000000000000000000000000000abcd";

static struct id
golden_id(void)
{
	struct id id = { { 0, 1, 0x7f, 0x80, 0xff } };

	id.b[30] = 0xab;
	id.b[31] = 0xcd;
	return id;
}

static void
hex_is_lower_case_and_whole(void **state)
{
	struct id id = golden_id(), back;
	char text[ID_HEX + 1], upper[ID_HEX + 1];

	(void)state;
	id_to_hex(&id, text);
	assert_string_equal(text, golden);
	assert_true(id_from_hex(text, &back));
	assert_true(id_eq(&id, &back));
	for (unsigned i = 0; i <= ID_HEX; i++)
		upper[i] = (char)(text[i] >= 'a' ? text[i] - 32 : text[i]);
	memset(&back, 0, sizeof(back));
	assert_true(id_from_hex(upper, &back));
	assert_true(id_eq(&id, &back));
}

static void
every_prefix_and_every_strange_digit_is_refused(void **state)
{
	static const char strange[] = "/:@G`g -x\x80";
	struct id id = golden_id(), got = golden_id();
	char text[ID_HEX + 2];

	(void)state;
	for (unsigned n = 0; n < ID_HEX; n++) {
		memcpy(text, golden, n);
		text[n] = '\0';
		assert_false(id_from_hex(text, &got));
	}
	memcpy(text, golden, ID_HEX);
	text[ID_HEX] = '0';
	text[ID_HEX + 1] = '\0';
	assert_false(id_from_hex(text, &got));
	text[ID_HEX] = '\0';
	for (unsigned at = 0; at < ID_HEX; at++)
		for (unsigned i = 0; i < sizeof(strange) - 1; i++) {
			text[at] = strange[i];
			assert_false(id_from_hex(text, &got));
			text[at] = golden[at];
		}
	assert_true(id_eq(&id, &got)); /* untouched */
	assert_true(id_from_hex(text, &got));
}

static void
ids_are_ordered_as_big_endian_numbers(void **state)
{
	struct id a = { { 0 } }, b = { { 0 } };

	(void)state;
	assert_true(id_eq(&a, &b));
	assert_int_equal(id_cmp(&a, &b), 0);
	b.b[31] = 1;
	assert_true(id_cmp(&a, &b) < 0);
	a.b[30] = 1;
	assert_true(id_cmp(&a, &b) > 0);
	b.b[0] = 0x80; /* no sign */
	assert_true(id_cmp(&a, &b) < 0);
	assert_false(id_eq(&a, &b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex_is_lower_case_and_whole),
		cmocka_unit_test(
		    every_prefix_and_every_strange_digit_is_refused),
		cmocka_unit_test(ids_are_ordered_as_big_endian_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
