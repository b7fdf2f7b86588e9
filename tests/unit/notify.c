#include "fs/notify.h"

#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEEP FEED_KEEP_MIN

static uint64_t
size_of(struct feed *f, uint64_t start)
{
	int64_t changed_ns;

	return feed_size(f, start, &changed_ns);
}

static void
users_share_the_memory_for_feeds(void **state)
{
	(void)state;
	assert_int_equal(feed_keep(1), FEED_KEEP_MAX);
	for (unsigned users = 1; users <= 1000; users++) {
		size_t keep = feed_keep(users);

		assert_true((keep & (keep - 1)) == 0);
		assert_true(keep >= FEED_KEEP_MIN && keep <= FEED_KEEP_MAX);
		assert_true(
		    keep * users <= FEED_ALL_MAX || keep == FEED_KEEP_MIN);
	}
}

static void
a_new_feed_is_empty(void **state)
{
	struct feed f;
	char buf[10];

	(void)state;
	feed_init(&f, KEEP, 7, 123);
	assert_int_equal(size_of(&f, 0), 0);
	assert_int_equal(feed_read(&f, 0, 0, buf, sizeof(buf)), 0);
	assert_int_equal(feed_read(&f, 0, 99, buf, sizeof(buf)), 0);
	feed_fini(&f);
}

static void
what_is_appended_is_read(void **state)
{
	int64_t changed_ns;
	struct feed f;
	char buf[10];

	(void)state;
	feed_init(&f, KEEP, 7, 123);
	assert_int_equal(feed_append(&f, "one\n", 4, 200), OK);
	assert_int_equal(feed_append(&f, "two\n", 4, 300), OK);
	assert_int_equal(feed_size(&f, 0, &changed_ns), 8);
	assert_int_equal(changed_ns, 300);
	assert_int_equal(feed_read(&f, 0, 0, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "one\ntwo\n", 8);
	assert_int_equal(feed_read(&f, 0, 3, buf, 2), 2);
	assert_memory_equal(buf, "\nt", 2);
	feed_fini(&f);
}

/* Append one line of n bytes, all of them c but the last. */
static void
append_line(struct feed *f, char c, size_t n, uint64_t *next_ino)
{
	char line[KEEP];

	memset(line, c, n);
	line[n - 1] = '\n';
	if (feed_make_room(f, n, *next_ino))
		(*next_ino)++;
	assert_int_equal(feed_append(f, line, n, 1), OK);
}

static void
a_full_file_gives_way_to_a_new_generation_of_whole_lines(void **state)
{
	struct feed_view first, second;
	uint64_t ino = 100;
	struct feed f;
	char buf[KEEP];
	size_t got;

	(void)state;
	feed_init(&f, KEEP, 7, 1);
	feed_current(&f, &first);
	while (ino == 100)
		append_line(&f, 'a', 100, &ino);
	feed_current(&f, &second);
	assert_int_equal(first.generation, 0);
	assert_int_equal(first.ino, 7);
	assert_int_equal(second.generation, 1);
	assert_int_equal(second.ino, 100);
	assert_int_equal(second.start % 100, 0);
	assert_in_range(
	    size_of(&f, second.start), KEEP / 2 - 100, KEEP / 2 + 100);
	got = feed_read(&f, second.start, 0, buf, sizeof(buf));
	assert_int_equal(got, size_of(&f, second.start));
	assert_int_equal(buf[0], 'a');
	assert_int_equal(buf[got - 1], '\n');
	feed_fini(&f);
}

static void
an_old_generation_grows_on_and_forgets_as_newlines(void **state)
{
	uint64_t ino = 100, size;
	struct feed f;
	char *buf;

	(void)state;
	feed_init(&f, KEEP, 7, 1);
	for (unsigned i = 0; i < 1000; i++)
		append_line(&f, (char)('a' + i % 26), 100, &ino);
	size = size_of(&f, 0);
	assert_int_equal(size, 100000);
	buf = malloc(size);
	assert_non_null(buf);
	assert_int_equal(feed_read(&f, 0, 0, buf, size), size);
	for (uint64_t i = 0; i < size - KEEP; i++)
		assert_int_equal(buf[i], '\n');
	for (uint64_t i = size - KEEP; i < size; i++)
		assert_int_equal(
		    buf[i], i % 100 == 99 ? '\n' : (char)('a' + i / 100 % 26));
	/* The end, alone. */
	assert_int_equal(feed_read(&f, 0, size - 2, buf, 100), 2);
	assert_int_equal(buf[1], '\n');
	free(buf);
	feed_fini(&f);
}

static void
a_feed_without_line_ends_still_gives_way(void **state)
{
	struct feed_view view;
	char *text = malloc(FEED_APPEND_MAX(KEEP));
	struct feed f;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', FEED_APPEND_MAX(KEEP));
	feed_init(&f, KEEP, 7, 1);
	for (unsigned i = 0; i < 20; i++) {
		feed_make_room(&f, FEED_APPEND_MAX(KEEP), 8 + i);
		assert_int_equal(
		    feed_append(&f, text, FEED_APPEND_MAX(KEEP), 1), OK);
		feed_current(&f, &view);
		assert_true(size_of(&f, view.start) <= KEEP);
	}
	feed_fini(&f);
	free(text);
}

/* The same against a copy of all that was ever appended. */
static void
random_appends_and_reads_agree_with_a_plain_copy(void **state)
{
	enum { ALL = 1 << 20 };
	char *all = malloc(ALL + KEEP), *buf = malloc(KEEP);
	uint64_t ino = 10;
	struct feed f;
	struct rng rng;
	size_t len = 0;

	(void)state;
	assert_non_null(all);
	assert_non_null(buf);
	rng_init(&rng, 42);
	feed_init(&f, KEEP, 7, 1);
	while (len < ALL) {
		size_t n = 1 + rng_below(&rng, FEED_APPEND_MAX(KEEP));
		struct feed_view view;
		uint64_t off, size;

		for (size_t i = 0; i < n; i++)
			all[len + i] = (char)(rng_below(&rng, 40)
						  ? 'a' + rng_below(&rng, 26)
						  : '\n');
		if (feed_make_room(&f, n, ino))
			ino++;
		assert_int_equal(feed_append(&f, all + len, n, 1), OK);
		len += n;
		feed_current(&f, &view);
		size = size_of(&f, view.start);
		assert_true(view.start + size == len && size <= KEEP);
		off = rng_below(&rng, size);
		n = rng_below(&rng, KEEP);
		if (n > size - off)
			assert_int_equal(
			    feed_read(&f, view.start, off, buf, n), size - off);
		else
			assert_int_equal(
			    feed_read(&f, view.start, off, buf, n), n);
		assert_memory_equal(buf, all + view.start + off,
		    n > size - off ? size - off : n);
	}
	feed_fini(&f);
	free(all);
	free(buf);
}

static void
a_new_message_is_one_line(void **state)
{
	struct notify_line line = { .kind = NOTIFY_NEW,
		.time_ns = 1793536496789000000,
		.path = "Maildir/new/1.a.h",
		.from = "Bob <bob@lip6.example>",
		.subject = "" };
	char buf[200];
	size_t len = notify_format(buf, sizeof(buf), &line);

	(void)state;
	buf[len] = '\0';
	assert_string_equal(buf,
	    "2026-11-01T12:34:56.789Z\tnew\tMaildir/new/1.a.h\t"
	    "from=Bob <bob@lip6.example>\tsubject=\n");
}

static void
a_move_tells_where_from(void **state)
{
	struct notify_line line = { .kind = NOTIFY_MOVE,
		.time_ns = 0,
		.path = ".Old/cur/1",
		.was = "Maildir/cur/1" };
	char buf[200];
	size_t len = notify_format(buf, sizeof(buf), &line);

	(void)state;
	buf[len] = '\0';
	assert_string_equal(buf, "1970-01-01T00:00:00.000Z\tmove\t.Old/cur/1\t"
				 "was=Maildir/cur/1\n");
}

static void
strangers_text_can_not_break_a_line(void **state)
{
	struct notify_line line = { .kind = NOTIFY_NEW,
		.time_ns = 0,
		.path = "a\nb",
		.from = "a\tb\\c\x1b[31m\x7f",
		.subject = "\xc3\xa9\r" };
	char buf[200];
	size_t len = notify_format(buf, sizeof(buf), &line);

	(void)state;
	buf[len] = '\0';
	assert_string_equal(buf,
	    "1970-01-01T00:00:00.000Z\tnew\ta\\nb\t"
	    "from=a\\tb\\\\c\\x1b[31m\\x7f\tsubject=\xc3\xa9\\x0d\n");
}

static void
a_line_that_does_not_fit_is_no_line(void **state)
{
	struct notify_line line = {
		.kind = NOTIFY_DELETE, .time_ns = 0, .path = "cur/1\n"
	};
	char whole[200];
	size_t len = notify_format(whole, sizeof(whole), &line);

	(void)state;
	assert_true(len > 0);
	for (size_t cap = 0; cap <= len; cap++) {
		char *exact = malloc(cap ? cap : 1);

		assert_non_null(exact);
		assert_int_equal(
		    notify_format(exact, cap, &line), cap < len ? 0 : len);
		if (cap == len)
			assert_memory_equal(exact, whole, len);
		free(exact);
	}
}

static void
what_was_missed_is_counted(void **state)
{
	char buf[100];
	size_t len = notify_format_more(buf, sizeof(buf), 0, 12345);

	(void)state;
	assert_int_equal(len, strlen(buf));
	assert_string_equal(
	    buf, "1970-01-01T00:00:00.000Z\tmore\t\tcount=12345\n");
	assert_int_equal(notify_format_more(buf, 10, 0, 1), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_share_the_memory_for_feeds),
		cmocka_unit_test(a_new_feed_is_empty),
		cmocka_unit_test(what_is_appended_is_read),
		cmocka_unit_test(
		    a_full_file_gives_way_to_a_new_generation_of_whole_lines),
		cmocka_unit_test(
		    an_old_generation_grows_on_and_forgets_as_newlines),
		cmocka_unit_test(a_feed_without_line_ends_still_gives_way),
		cmocka_unit_test(
		    random_appends_and_reads_agree_with_a_plain_copy),
		cmocka_unit_test(a_new_message_is_one_line),
		cmocka_unit_test(a_move_tells_where_from),
		cmocka_unit_test(strangers_text_can_not_break_a_line),
		cmocka_unit_test(a_line_that_does_not_fit_is_no_line),
		cmocka_unit_test(what_was_missed_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
