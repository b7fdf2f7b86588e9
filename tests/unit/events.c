/* The queue between requests and the announcer. */
#include "fs/events.h"
#include "fs/when.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct events queue;
static struct user user;
static struct folder cur = {
	.user = &user, .len = 11, .messages = true, .path = "Maildir/cur"
};
static struct folder top = { .user = &user, .len = 0, .path = "" };

static int
begin(void **state)
{
	(void)state;
	memset(&user, 0, sizeof(user));
	assert_int_equal(events_init(&queue), OK);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	events_fini(&queue);
	return 0;
}

static void
what_is_put_is_taken_in_order(void **state)
{
	struct event_batch batch = { 0 };
	struct event event;
	size_t pos = 0;

	(void)state;
	events_put(&queue, NOTIFY_NEW, true, 10, 99, &cur, "1.a", NULL, NULL);
	events_put(
	    &queue, NOTIFY_MOVE, false, 20, 0, &top, ".New", &cur, "1.a:2,S");
	assert_true(events_wait(&queue, 0));
	events_take(&queue, &batch);
	assert_int_equal(batch.count, 2);
	assert_true(events_next(&batch, &pos, &event));
	assert_int_equal(event.kind, NOTIFY_NEW);
	assert_true(event.made);
	assert_int_equal(event.ino, 99);
	assert_int_equal(event.time_ns, 10);
	assert_ptr_equal(event.user, &user);
	assert_string_equal(event.path, "Maildir/cur/1.a");
	assert_null(event.was);
	assert_true(events_next(&batch, &pos, &event));
	assert_int_equal(event.kind, NOTIFY_MOVE);
	assert_string_equal(event.path, ".New");
	assert_string_equal(event.was, "Maildir/cur/1.a:2,S");
	assert_false(events_next(&batch, &pos, &event));
	event_batch_free(&batch);
}

static void
an_event_put_again_comes_again_unchanged(void **state)
{
	struct event_batch batch = { 0 };
	struct event event;
	size_t pos = 0;

	(void)state;
	events_put(&queue, NOTIFY_MOVE, false, 7, 3, &cur, "b", &cur, "a");
	events_take(&queue, &batch);
	assert_true(events_next(&batch, &pos, &event));
	events_again(&queue, &event);
	batch.count = 0;
	events_take(&queue, &batch);
	pos = 0;
	assert_true(events_next(&batch, &pos, &event));
	assert_int_equal(event.time_ns, 7);
	assert_int_equal(event.ino, 3);
	assert_string_equal(event.path, "Maildir/cur/b");
	assert_string_equal(event.was, "Maildir/cur/a");
	event_batch_free(&batch);
}

static void
a_flood_is_counted_where_it_is_not_kept(void **state)
{
	struct event_batch batch = { 0 };
	struct event event;
	unsigned kept = 0;
	size_t pos = 0;

	(void)state;
	for (unsigned i = 0; i < EVENTS_MAX + 5; i++)
		events_put(
		    &queue, NOTIFY_DELETE, false, i, 0, &cur, "x", NULL, NULL);
	events_take(&queue, &batch);
	while (events_next(&batch, &pos, &event))
		assert_int_equal(event.time_ns, kept++);
	assert_int_equal(kept, EVENTS_MAX);
	assert_true(batch.missed);
	assert_int_equal(events_missed(&queue, &user), 5);
	assert_int_equal(events_missed(&queue, &user), 0);
	event_batch_free(&batch);
}

static void
long_names_fill_a_batch_sooner(void **state)
{
	struct event_batch batch = { 0 };
	char name[256];

	(void)state;
	memset(name, 'n', 255);
	name[255] = '\0';
	for (unsigned i = 0; i < EVENTS_MAX; i++)
		events_put(
		    &queue, NOTIFY_FLAGS, false, i, 0, &cur, name, &cur, name);
	events_take(&queue, &batch);
	assert_true(batch.len <= EVENTS_BYTES);
	assert_true(batch.count < EVENTS_MAX);
	assert_int_equal(
	    batch.count + events_missed(&queue, &user), EVENTS_MAX);
	event_batch_free(&batch);
}

static void
waiting_ends_with_time_or_with_the_stop(void **state)
{
	(void)state;
	assert_false(events_wait(&queue, 1000000));
	assert_false(events_stopped(&queue));
	events_stop(&queue);
	assert_false(events_wait(&queue, 60 * WHEN_SECOND));
	events_pause(&queue, 60 * WHEN_SECOND);
	assert_true(events_stopped(&queue));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_put_is_taken_in_order),
		TEST(an_event_put_again_comes_again_unchanged),
		TEST(a_flood_is_counted_where_it_is_not_kept),
		TEST(long_names_fill_a_batch_sooner),
		TEST(waiting_ends_with_time_or_with_the_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
