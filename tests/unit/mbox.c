/* The mbox splitter, dates, states and keywords of mail on its way in.  The
 * program's files are part of no library, so the test takes them as they
 * are. */
#include "tools/post_date.c"
#include "tools/post_keywords.c"
#include "tools/post_mbox.c"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The window comes byte by byte, in exact-size blocks, as long as the splitter
 * asks for more. */
static enum mbox_got
next_growing(struct mbox *m, const uint8_t *all, size_t len, size_t step,
    struct mbox_message *out)
{
	size_t have = step < len ? step : len;

	for (;;) {
		uint8_t *window = malloc(have + !have);
		enum mbox_got got;

		assert_non_null(window);
		memcpy(window, all, have);
		got = mbox_next(m, window, have, have == len, out);
		free(window);
		if (got != MBOX_MORE)
			return got;
		assert_true(have < len);
		have = have + step < len ? have + step : len;
	}
}

/* Split `text` and compare the messages, joined by '|'. */
static void
assert_split(const char *text, const char *want, size_t step)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t len = strlen(text), at = 0;
	struct mbox m = { 0 };
	struct mbox_message got;
	char all[4096] = "";

	while (next_growing(&m, p, len, step, &got) == MBOX_MESSAGE) {
		assert_true(got.off + got.len <= len);
		assert_true(got.next > 0 && got.next <= len);
		at += (size_t)snprintf(all + at, sizeof(all) - at, "%.*s|",
		    (int)got.len, (const char *)p + got.off);
		if (got.last)
			assert_int_equal(got.next, len);
		p += got.next;
		len -= got.next;
	}
	assert_string_equal(all, want);
}

#define DATE " Thu Jan  1 00:00:00 1970\n"

static void
messages_come_out_whatever_the_pieces_that_come_in(void **state)
{
	static const char text[] = "From a@b" DATE "Subject: one\n\nbody\n\n"
				   "From b@c" DATE "Subject: two\n\nFrom here\n"
				   "on\n\n"
				   "From c@d" DATE "Subject: three\n\nend\n";

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++)
		assert_split(text,
		    "Subject: one\n\nbody\n|Subject: two\n\nFrom here\non\n|"
		    "Subject: three\n\nend\n|",
		    step);
}

static void
crlf_files_split_alike(void **state)
{
	(void)state;
	for (size_t step = 1; step < 99; step++)
		assert_split("From a Thu Jan  1 00:00:00 1970\r\nA: 1\r\n\r\n"
			     "x\r\n\r\nFrom b Thu Jan  1 00:00:00 1970\r\n"
			     "B: 2\r\n\r\ny\r\n\r\n",
		    "A: 1\r\n\r\nx\r\n|B: 2\r\n\r\ny\r\n|", step);
}

static void
only_one_empty_line_at_the_end_is_not_the_messages(void **state)
{
	(void)state;
	assert_split("From a" DATE "A: 1\n\nx\n\n\n\nFrom b" DATE "B: 1\n\n\n",
	    "A: 1\n\nx\n\n\n|B: 1\n\n|", 7);
	assert_split(
	    "From a" DATE "A: 1\n\nno line end", "A: 1\n\nno line end|", 5);
}

static void
a_from_line_needs_an_empty_line_before_it_and_a_date(void **state)
{
	(void)state;
	assert_split("From a" DATE "A: 1\n\nx\nFrom b" DATE "y\n\n"
		     "From what I know, no.\n\nFrom c" DATE "C: 1\n\nz\n",
	    "A: 1\n\nx\nFrom b" DATE "y\n\nFrom what I know, no.\n|"
	    "C: 1\n\nz\n|",
	    11);
}

static void
a_file_whose_first_from_line_has_no_date_needs_none(void **state)
{
	(void)state;
	assert_split("From a\nA: 1\n\nx\n\nFrom b\nB: 1\n\ny\n",
	    "A: 1\n\nx\n|B: 1\n\ny\n|", 3);
}

static void
empty_messages_and_empty_files_are_split_too(void **state)
{
	struct mbox m = { 0 };
	struct mbox_message got;

	(void)state;
	assert_split("From a" DATE "\nFrom b" DATE "\n", "||", 4);
	assert_split("From a" DATE, "|", 4);
	assert_split("From a Thu Jan  1 00:00:00 1970", "|", 4);
	assert_int_equal(
	    mbox_next(&m, (const uint8_t *)"", 0, true, &got), MBOX_END);
	assert_int_equal(
	    mbox_next(&m, (const uint8_t *)"\n\n", 2, true, &got), MBOX_END);
	assert_int_equal(
	    mbox_next(&m, (const uint8_t *)"Fro", 3, true, &got), MBOX_NONE);
	assert_int_equal(
	    mbox_next(&m, (const uint8_t *)"Fro", 3, false, &got), MBOX_MORE);
	assert_int_equal(
	    mbox_next(&m, (const uint8_t *)"Subject: x\n", 11, true, &got),
	    MBOX_NONE);
}

static void
a_from_line_tells_the_date(void **state)
{
	struct mbox m = { 0 };
	struct mbox_message got;
	static const char text[] =
	    "From MAILER-DAEMON Fri Jul  8 12:08:34 2011\nA: b\n\n";

	(void)state;
	assert_int_equal(
	    mbox_next(&m, (const uint8_t *)text, strlen(text), true, &got),
	    MBOX_MESSAGE);
	assert_true(got.dated && got.last);
	assert_int_equal(got.seconds, 1310126914);
}

static void
unquoting_takes_one_sign_and_only_from_from_lines(void **state)
{
	char text[] = ">From a\n>>From b\n> From c\nx >From d\n>Frome\n>From ";
	size_t len;

	(void)state;
	len = mbox_unquote((uint8_t *)text, strlen(text));
	text[len] = '\0';
	assert_string_equal(
	    text, "From a\n>From b\n> From c\nx >From d\n>Frome\nFrom ");
}

struct dated {
	const char *text;
	int64_t seconds; /* -1: no date */
};

static void
header_dates_are_read_as_rfc_5322_says(void **state)
{
	static const struct dated d[] = {
		{ "Fri, 21 Nov 1997 09:55:06 -0600", 880127706 },
		{ "21 Nov 97 09:55:06 GMT", 880106106 },
		{ "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600",
		    880127706 },
		{ "Thu, 1 Jan 1970 00:00:00 +0000 (UTC)", 0 },
		{ "Thu,\r\n 1 Jan 1970 01:00 +0100", 0 },
		{ "1 Jan 2000 00:00:00 EST", 946702800 },
		{ "1-Jan-2000 00:00:00 +0000", 946684800 },
		{ "29 Feb 2000 12:00:00 Z", 951825600 },
		{ "29 Feb 1999 12:00:00 Z", -1 },
		{ "1 Jan 69 00:00:00 GMT", -31536000 },
		{ "32 Jan 2000 00:00:00 GMT", -1 },
		{ "1 Foo 2000 00:00:00 GMT", -1 },
		{ "1 Jan 2000", -1 },
		{ "1 Jan 2000 24:00:00", -1 },
		{ "", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
		int64_t got = -1;
		size_t len = strlen(d[i].text);
		char *exact = malloc(len + !len);

		assert_non_null(exact);
		memcpy(exact, d[i].text, len);
		if (!date_header(exact, len, &got))
			got = -1;
		free(exact);
		if (got != d[i].seconds)
			fail_msg("'%s' became %lld", d[i].text, (long long)got);
	}
}

static void
from_line_dates_come_in_many_forms(void **state)
{
	static const struct dated d[] = {
		{ "From x Thu Jan  1 00:00:00 1970", 0 },
		{ "From - Thu Jan 01 00:00 1970", 0 },
		{ "From a b at c.d  Thu Jan  1 00:00:00 GMT 1970", 0 },
		{ "From a@b Thu Jan  1 01:00:00 +0100 1970", 0 },
		{ "From a@b Thu Jan  1 01:00:00 1970 +0100", 0 },
		{ "From a@b Thu Jan  1 02:00:00 MET DST 1970", 7200 },
		{ "From thu@b Thu Jan  1 00:00:00 1970\r\n", 0 },
		{ "From here on it is Thu Jan said", -1 },
		{ "From a@b", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
		int64_t got = -1;

		if (!date_from_line(d[i].text, strlen(d[i].text), &got))
			got = -1;
		if (got != d[i].seconds)
			fail_msg("'%s' became %lld", d[i].text, (long long)got);
	}
}

static void
a_date_that_is_written_is_read_again(void **state)
{
	char line[64], text[32];

	(void)state;
	for (int64_t t = -2000000000; t < 4000000000; t += 86399 * 977) {
		int64_t got;

		date_asctime(t, text);
		assert_int_equal(strlen(text), 24);
		snprintf(line, sizeof(line), "From x %s", text);
		assert_true(date_from_line(line, strlen(line), &got));
		assert_int_equal(got, t);
	}
}

static void
a_header_is_found_whatever_its_case_and_folding(void **state)
{
	static const char mail[] =
	    "Received: a\n\tDate: no\nDATE:  yes\n  it is "
	    "\nX: y\n\nSubject: body\n";
	size_t len;
	const char *v;

	(void)state;
	v = mail_header((const uint8_t *)mail, strlen(mail), "date", &len);
	assert_non_null(v);
	assert_int_equal(len, strlen("yes\n  it is"));
	assert_memory_equal(v, "yes\n  it is", len);
	assert_null(
	    mail_header((const uint8_t *)mail, strlen(mail), "Subject", &len));
	assert_null(
	    mail_header((const uint8_t *)mail, strlen(mail), "Dat", &len));
	for (size_t n = 0; n < strlen(mail); n++) {
		uint8_t *cut = malloc(n + !n);

		assert_non_null(cut);
		memcpy(cut, mail, n);
		v = mail_header(cut, n, "X", &len);
		assert_true(!v || len <= 1);
		free(cut);
	}
}

static void
assert_status(const char *mail, const char *flags, bool is_new)
{
	char got[8];
	bool got_new;

	mail_status((const uint8_t *)mail, strlen(mail), got, &got_new);
	assert_string_equal(got, flags);
	assert_int_equal(got_new, is_new);
}

static void
status_fields_become_maildir_flags(void **state)
{
	(void)state;
	assert_status("A: b\n\n", "", true);
	assert_status("Status: O\n\n", "", false);
	assert_status("Status: RO\n\n", "S", false);
	assert_status("X-Status: FA\nStatus: RO\n\n", "FRS", false);
	assert_status("X-Status: DTAF\nStatus: R\n\n", "DFRST", false);
	assert_status("X-Status: F\n\n", "F", true);
	assert_status("A: b\n\nStatus: RO\n", "", true);
}

static void
the_internal_message_is_known(void **state)
{
	static const char mail[] = "Subject: DON'T DELETE THIS MESSAGE -- "
				   "FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\n";
	static const char reply[] = "Subject: DON'T DELETE THIS MESSAGE -- "
				    "FOLDER INTERNAL DATA\n\nX-IMAP: what?\n";

	(void)state;
	assert_true(mail_is_internal((const uint8_t *)mail, strlen(mail)));
	assert_false(mail_is_internal((const uint8_t *)reply, strlen(reply)));
}

static void
keywords_come_back_as_they_were_written(void **state)
{
	struct keywords k, again;
	char text[KEYWORDS_TEXT_MAX], name[KEYWORD_BYTES_MAX + 1];

	(void)state;
	keywords_read(&k, "0 a\n2 $Forwarded\n27 no\nx\n3 b c\n", 31);
	assert_string_equal(keywords_name(&k, 'a'), "a");
	assert_null(keywords_name(&k, 'b'));
	assert_string_equal(keywords_name(&k, 'c'), "$Forwarded");
	assert_null(keywords_name(&k, 'd'));
	assert_null(keywords_name(&k, 'A'));
	assert_int_equal(keywords_letter(&k, "$Forwarded", 10), 'c');
	assert_false(k.changed);
	assert_int_equal(keywords_letter(&k, "new", 3), 'b');
	assert_true(k.changed);
	assert_int_equal(keywords_letter(&k, "a b", 3), 0);
	/* Fill it with the longest ones: its text still has room. */
	memset(name, 'x', sizeof(name));
	for (int i = 3; i < KEYWORDS_MAX; i++) {
		name[0] = (char)('a' + i);
		assert_int_equal(
		    keywords_letter(&k, name, KEYWORD_BYTES_MAX), 'a' + i);
	}
	assert_int_equal(keywords_letter(&k, "late", 4), 0);
	keywords_read(&again, text, keywords_write(&k, text, sizeof(text)));
	assert_memory_equal(again.name, k.name, sizeof(k.name));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    messages_come_out_whatever_the_pieces_that_come_in),
		cmocka_unit_test(crlf_files_split_alike),
		cmocka_unit_test(
		    only_one_empty_line_at_the_end_is_not_the_messages),
		cmocka_unit_test(
		    a_from_line_needs_an_empty_line_before_it_and_a_date),
		cmocka_unit_test(
		    a_file_whose_first_from_line_has_no_date_needs_none),
		cmocka_unit_test(empty_messages_and_empty_files_are_split_too),
		cmocka_unit_test(a_from_line_tells_the_date),
		cmocka_unit_test(
		    unquoting_takes_one_sign_and_only_from_from_lines),
		cmocka_unit_test(header_dates_are_read_as_rfc_5322_says),
		cmocka_unit_test(from_line_dates_come_in_many_forms),
		cmocka_unit_test(a_date_that_is_written_is_read_again),
		cmocka_unit_test(
		    a_header_is_found_whatever_its_case_and_folding),
		cmocka_unit_test(status_fields_become_maildir_flags),
		cmocka_unit_test(the_internal_message_is_known),
		cmocka_unit_test(keywords_come_back_as_they_were_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
