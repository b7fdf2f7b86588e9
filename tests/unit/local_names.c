/* A home's own list of local-only names: what a line means, and which are
 * refused. */
#include "fs/local_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char sample[] =
    "# what this home keeps to itself\n"
    "\n"
    "index.*\n"
    " \t # and directories\n"
    "cache.d/\n"
    "a?c\\*\n"
    "\t\n"
    "with a blank";

/* In a block of its own size, so that a read too far is seen. */
static enum err
read_exactly(const char *text, size_t len, struct local_names *out,
    struct local_names_fault *fault)
{
	char *copy = malloc(len + !len);
	enum err e;

	assert_non_null(copy);
	memcpy(copy, text, len);
	e = local_names_read(copy, len, out, fault);
	free(copy);
	return e;
}

static void
expect_refused(const char *text, size_t len, unsigned line, const char *why)
{
	struct local_names list, before;
	struct local_names_fault fault;

	memset(&list, 0x5a, sizeof(list));
	before = list;
	assert_int_equal(
	    read_exactly(text, len, &list, &fault), ERR_MALFORMED);
	assert_int_equal(fault.line, line);
	assert_non_null(strstr(fault.why, why));
	assert_true(strlen(fault.mend) > 0);
	assert_memory_equal(&list, &before, sizeof(list));
}

static bool
one_has(const char *pattern, const char *name, bool is_dir)
{
	struct local_names list;
	struct local_names_fault fault;

	assert_int_equal(
	    read_exactly(pattern, strlen(pattern), &list, &fault), OK);
	assert_int_equal(list.count, 1);
	return local_names_have(&list, name, is_dir);
}

static void
a_list_is_read(void **state)
{
	struct local_names list;
	struct local_names_fault fault;

	(void)state;
	assert_int_equal(
	    read_exactly(sample, strlen(sample), &list, &fault), OK);
	assert_int_equal(list.count, 4);
	assert_true(local_names_have(&list, "index.1", false));
	assert_true(local_names_have(&list, "cache.d", true));
	assert_false(local_names_have(&list, "cache.d", false));
	assert_true(local_names_have(&list, "abc*", false));
	assert_true(local_names_have(&list, "with a blank", false));
	assert_false(local_names_have(&list, "with a blan", false));
	assert_false(local_names_have(&list, "", false));
}

static void
nothing_is_a_list_of_nothing(void **state)
{
	static const char *const text[] = { "", "\n", "#", "# *\n\n  \n\t#x" };
	struct local_names list;
	struct local_names_fault fault;

	(void)state;
	for (size_t i = 0; i < sizeof(text) / sizeof(*text); i++) {
		list.count = 1;
		assert_int_equal(read_exactly(text[i], strlen(text[i]), &list,
				     &fault),
		    OK);
		assert_int_equal(list.count, 0);
	}
}

/* Each prefix ends in a whole line, or in a beginning of one that is a pattern
 * of its own or is refused by its number: nothing before it changes. */
static void
every_prefix_is_its_lines_or_is_refused_at_the_last(void **state)
{
	(void)state;
	for (size_t n = 0; n <= strlen(sample); n++) {
		struct local_names list;
		struct local_names_fault fault;
		unsigned line = n > 0;
		enum err e = read_exactly(sample, n, &list, &fault);

		for (size_t i = 0; i + 1 < n; i++)
			line += sample[i] == '\n';
		assert_int_equal(fault.line, line);
		if (e) {
			/* "a?c\", "\t" before its '#' is blank, "with " */
			assert_int_equal(e, ERR_MALFORMED);
			assert_true(sample[n - 1] == '\\' ||
			    sample[n - 1] == ' ' || sample[n - 1] == '/');
			continue;
		}
		assert_true(list.count <= 4);
		if (line > 3)
			assert_true(
			    local_names_have(&list, "index.1", false));
		if (line > 5)
			assert_true(local_names_have(&list, "cache.d", true));
	}
}

static void
stars_question_marks_and_backslashes(void **state)
{
	(void)state;
	assert_true(one_has("a*b*c", "abc", false));
	assert_true(one_has("a*b*c", "a.b.bb.c.c", false));
	assert_false(one_has("a*b*c", "a.b.c.d", false));
	assert_true(one_has("*.x", ".x", false));
	assert_true(one_has("x**", "x", false));
	assert_true(one_has("?.x", "\xc3.x", false));
	assert_false(one_has("?.x", "\xc3\xa4.x", false)); /* two bytes */
	assert_true(one_has("\\#*#", "#draft#", false));
	assert_true(one_has("\\?\\*\\\\", "?*\\", false));
	assert_false(one_has("\\?x", "yx", false));
	assert_false(one_has("\\*x", "yx", false));
	assert_true(one_has("*\\*", "x*", false));
	assert_false(one_has("*\\*", "xy", false));
	assert_true(one_has(".\\[Gmail\\]/", ".[Gmail]", true));
	assert_false(one_has("A", "a", false));
}

static void
many_stars_do_not_take_for_ever(void **state)
{
	char pattern[LOCAL_NAME_BYTES + 1], name[LOCAL_NAME_BYTES + 1];

	(void)state;
	for (size_t i = 0; i < LOCAL_NAME_BYTES; i++)
		pattern[i] = i % 2 ? '*' : 'a';
	pattern[LOCAL_NAME_BYTES - 1] = 'b';
	pattern[LOCAL_NAME_BYTES] = '\0';
	memset(name, 'a', LOCAL_NAME_BYTES);
	name[LOCAL_NAME_BYTES] = '\0';
	assert_false(one_has(pattern, name, false));
	name[LOCAL_NAME_BYTES - 1] = 'b';
	assert_true(one_has(pattern, name, false));
}

static void
a_bad_line_is_refused_by_its_number(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
		const char *why;
	} bad[] = {
		{ "ok\n\n a\n", 3, "blank" },
		{ "a \n", 1, "blank" },
		{ "ok\na\t", 2, "blank" },
		{ "a\r\n", 1, "control" },
		{ "a\tb\n", 1, "control" },
		{ "a\177\n", 1, "control" },
		{ "a/b\n", 1, "'/'" },
		{ "a//\n", 1, "'/'" },
		{ "/\n", 1, "'/'" },
		{ "# x\n/etc/passwd", 2, "'/'" },
		{ "[ab].x\n", 1, "'['" },
		{ "\\\\[x\n", 1, "'['" },
		{ "x\\\n", 1, "'\\'" },
		{ "x\\/\n", 1, "'\\'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused(bad[i].text, strlen(bad[i].text), bad[i].line,
		    bad[i].why);
}

static void
what_would_keep_mail_out_of_the_log_is_refused(void **state)
{
	static const char *const bad[] = { "*", "?*", "1*", "*:2,*", "*,S=*",
		"*.*", "*/", ".*/", "cur/", "new/", "tmp/", "Maildir/", "c?r/",
		"*dir/" };
	static const char *const good[] = { "*.x", "cur", ".*", "*~",
		".Sent/", "*.d/", "17.x", "*.host" };
	struct local_names list;
	struct local_names_fault fault;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused(bad[i], strlen(bad[i]), 1, "mail itself");
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(local_names_read(good[i], strlen(good[i]),
				     &list, &fault),
		    OK);
}

static void
a_nul_is_refused_wherever_it_is(void **state)
{
	char text[sizeof(sample)];
	size_t len = strlen(sample);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		struct local_names list;
		struct local_names_fault fault;
		unsigned line = 1;
		size_t begin = i;
		enum err e;

		memcpy(text, sample, len);
		for (size_t k = 0; k < i; k++)
			line += sample[k] == '\n';
		while (begin && sample[begin - 1] != '\n')
			begin--;
		text[i] = '\0';
		e = read_exactly(text, len, &list, &fault);
		if (memchr(sample + begin, '#', i - begin)) {
			assert_int_equal(e, OK); /* in a comment */
			continue;
		}
		assert_int_equal(e, ERR_MALFORMED);
		assert_int_equal(fault.line, line);
	}
	expect_refused("a\0b", 3, 1, "control");
	expect_refused("\0", 1, 1, "control");
}

static void
a_pattern_is_as_long_as_a_name_and_no_longer(void **state)
{
	char text[70000];
	struct local_names list;
	struct local_names_fault fault;

	(void)state;
	memset(text, 'a', sizeof(text));
	for (size_t n = 1; n < 300; n++) {
		if (n > LOCAL_NAME_BYTES) {
			expect_refused(text, n, 1, "longer");
			continue;
		}
		assert_int_equal(
		    read_exactly(text, n, &list, &fault), OK);
		assert_int_equal(strlen(list.pattern[0].text), n);
	}
	text[LOCAL_NAME_BYTES] = '/';
	assert_int_equal(
	    read_exactly(text, LOCAL_NAME_BYTES + 1, &list, &fault), OK);
	assert_true(list.pattern[0].dir);
	memset(text, 'a', sizeof(text));
	expect_refused(text, sizeof(text), 1, "longer");
	text[0] = '#';
	assert_int_equal(
	    read_exactly(text, sizeof(text), &list, &fault), OK);
}

static void
there_is_an_end_to_patterns(void **state)
{
	char text[16 * (LOCAL_NAMES_MAX + 1)];
	struct local_names list;
	struct local_names_fault fault;
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < LOCAL_NAMES_MAX; i++)
		len += (size_t)snprintf(
		    text + len, sizeof(text) - len, "name%u\n", i);
	assert_int_equal(read_exactly(text, len, &list, &fault), OK);
	assert_int_equal(list.count, LOCAL_NAMES_MAX);
	assert_true(local_names_have(&list, "name63", false));
	memcpy(text + len, "#\n\nx", 4);
	expect_refused(text, len + 4, LOCAL_NAMES_MAX + 3, "too many");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_is_read),
		cmocka_unit_test(nothing_is_a_list_of_nothing),
		cmocka_unit_test(
		    every_prefix_is_its_lines_or_is_refused_at_the_last),
		cmocka_unit_test(stars_question_marks_and_backslashes),
		cmocka_unit_test(many_stars_do_not_take_for_ever),
		cmocka_unit_test(a_bad_line_is_refused_by_its_number),
		cmocka_unit_test(
		    what_would_keep_mail_out_of_the_log_is_refused),
		cmocka_unit_test(a_nul_is_refused_wherever_it_is),
		cmocka_unit_test(a_pattern_is_as_long_as_a_name_and_no_longer),
		cmocka_unit_test(there_is_an_end_to_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
