/* The table of virtual inodes and the views of the past it holds, over a store
 * that only counts what is asked of it. */
#include "fs/past_view.h"
#include "fs/users.h"
#include "fs/virtual.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct history {
	int64_t time_ns;
};

static unsigned histories;
static enum err history_fail;

enum err
store_history(
    struct store *s, const char *address, int64_t time_ns, struct history **out)
{
	(void)s;
	assert_string_equal(address, "a@b.example");
	if (history_fail)
		return history_fail;
	*out = malloc(sizeof(**out));
	assert_non_null(*out);
	(*out)->time_ns = time_ns;
	histories++;
	return OK;
}

void
history_free(struct history *h)
{
	if (h)
		histories--;
	free(h);
}

#define NOW (1793491200 * WHEN_SECOND) /* 2026-11-01 */

static struct past past;
static struct virtuals virtuals;
static struct user user;

static int
begin(void **state)
{
	(void)state;
	histories = 0;
	history_fail = OK;
	past_init(&past, NULL);
	assert_int_equal(virtuals_init(&virtuals, NOW), OK);
	memset(&user, 0, sizeof(user));
	user.ino = 5;
	user.at_ino = virtuals_number(&virtuals);
	feed_init(&user.feed, FEED_KEEP_MIN, virtuals_number(&virtuals), NOW);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	virtuals_fini(&virtuals);
	feed_fini(&user.feed);
	past_fini(&past);
	assert_int_equal(histories, 0);
	return 0;
}

static struct virtual *
text_node(unsigned which, const char *text)
{
	struct virtual *node;

	assert_int_equal(virtuals_text(&virtuals, which, strdup(text),
			     strlen(text), NOW, &node),
	    OK);
	return node;
}

static void
the_control_directory_is_never_forgotten(void **state)
{
	(void)state;
	assert_non_null(virtuals_find(&virtuals, VIRTUAL_CONTROL));
	assert_false(virtuals_forget(&virtuals, VIRTUAL_CONTROL, 1000));
	assert_non_null(virtuals_find(&virtuals, VIRTUAL_CONTROL));
}

static void
one_text_is_one_inode_and_another_text_another(void **state)
{
	struct virtual *a = text_node(0, "a"), *b = text_node(0, "a"),
		       *c = text_node(0, "b"), *d = text_node(1, "b");

	(void)state;
	assert_ptr_equal(a, b);
	assert_true(a->ino != c->ino && c->ino != d->ino);
	assert_true(virtual_is(a->ino));
	assert_false(virtuals_forget(&virtuals, a->ino, 1));
	assert_ptr_equal(virtuals_find(&virtuals, a->ino), a);
	assert_true(virtuals_forget(&virtuals, a->ino, 1));
}

static void
a_text_is_kept_until_it_is_forgotten(void **state)
{
	struct virtual *a = text_node(0, "old");
	uint64_t ino = a->ino;

	(void)state;
	(void)text_node(0, "new");
	assert_memory_equal(
	    virtuals_find(&virtuals, ino)->text.bytes, "old", 3);
	assert_true(virtuals_forget(&virtuals, ino, 1));
	assert_null(virtuals_find(&virtuals, ino));
	assert_false(virtuals_forget(&virtuals, ino, 1));
	/* Its number is never given again. */
	assert_true(text_node(0, "newer")->ino > ino);
}

static void
each_generation_of_a_feed_has_its_inode(void **state)
{
	struct virtual *first, *again, *second, *old;
	struct feed_view view[4];
	char line[1000];

	(void)state;
	memset(line, '\n', sizeof(line));
	assert_int_equal(virtuals_feed(&virtuals, &user, &first), OK);
	while (!feed_make_room(
	    &user.feed, sizeof(line), virtuals_number(&virtuals)))
		assert_int_equal(
		    feed_append(&user.feed, line, sizeof(line), NOW), OK);
	assert_int_equal(virtuals_feed(&virtuals, &user, &second), OK);
	assert_int_equal(virtuals_feed(&virtuals, &user, &again), OK);
	assert_ptr_equal(second, again);
	assert_true(first->ino != second->ino);
	assert_int_equal(first->feed.start, 0);
	assert_true(second->feed.start > 0);
	assert_int_equal(virtuals_feed_old(&virtuals, &user, 0, &old), OK);
	assert_ptr_equal(old, first);
	assert_int_equal(
	    virtuals_feed_old(&virtuals, &user, 9, &old), ERR_ABSENT);
	assert_int_equal(virtuals_feeds(&virtuals, &user, view, 4), 2);
	assert_int_equal(view[0].ino, second->ino);
	assert_int_equal(view[1].ino, first->ino);
	assert_int_equal(virtuals_feeds(&virtuals, &user, view, 1), 1);
	assert_true(virtuals_forget(&virtuals, first->ino, 2));
	assert_int_equal(virtuals_feeds(&virtuals, &user, view, 4), 1);
}

static struct past_view *
open_view(const char *name, int64_t now)
{
	struct past_view *view;

	assert_int_equal(
	    past_view_open(&past, user.ino, "a@b.example", name, now, &view),
	    OK);
	return view;
}

static struct history *
tree_of(struct past_view *view)
{
	struct history *tree;

	assert_int_equal(past_view_tree(view, NOW, &tree), OK);
	return tree;
}

static void
one_moment_is_one_view_with_an_end_to_its_second(void **state)
{
	struct past_view *a = open_view("2026-10-31T10:00:00Z", NOW),
			 *b = open_view("2026-10-31T10:00:00Z", NOW);

	(void)state;
	assert_ptr_equal(a, b);
	assert_ptr_equal(tree_of(a), tree_of(b));
	assert_int_equal(histories, 1);
	assert_true(tree_of(a)->time_ns ==
		    NOW - 14 * 3600 * WHEN_SECOND + WHEN_SECOND - 1);
	past_view_release(a);
	past_view_release(b);
}

static void
a_view_replays_nothing_until_it_is_looked_into(void **state)
{
	char name[PAST_NAME_MAX];

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "2026-10-30T00:00:%02uZ", i);
		past_view_release(open_view(name, NOW));
	}
	assert_int_equal(histories, 0);
}

static void
a_replay_that_failed_is_tried_again(void **state)
{
	struct past_view *view = open_view("2026-10-30", NOW);
	struct history *tree;

	(void)state;
	history_fail = ERR_UNREACHABLE;
	assert_int_equal(past_view_tree(view, NOW, &tree), ERR_UNREACHABLE);
	history_fail = OK;
	assert_int_equal(past_view_tree(view, NOW, &tree), OK);
	assert_non_null(tree);
	past_view_release(view);
}

static void
a_moment_to_come_or_none_is_not_there(void **state)
{
	struct past_view *view;

	(void)state;
	assert_int_equal(past_view_open(&past, 5, "a@b.example",
			     "2026-11-01T00:00:01Z", NOW, &view),
	    ERR_ABSENT);
	assert_int_equal(
	    past_view_open(&past, 5, "a@b.example", "yesterday", NOW, &view),
	    ERR_ABSENT);
}

static void
a_moment_that_still_lasts_is_never_shared(void **state)
{
	struct past_view *a = open_view("2026-11-01T00:00:00Z", NOW),
			 *b = open_view("2026-11-01T00:00:00Z", NOW);

	(void)state;
	assert_ptr_not_equal(a, b);
	assert_ptr_not_equal(tree_of(a), tree_of(b));
	past_view_release(a);
	past_view_release(b);
	assert_int_equal(histories, 0);
}

static void
few_views_that_no_one_holds_are_kept_and_not_for_long(void **state)
{
	char name[PAST_NAME_MAX];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct past_view *view;

		snprintf(name, sizeof(name), "2026-10-30T00:00:%02uZ", i);
		view = open_view(name, NOW);
		(void)tree_of(view);
		past_view_release(view);
	}
	assert_int_equal(histories, PAST_IDLE_MAX);
	past_trim(&past, NOW + WHEN_SECOND);
	assert_int_equal(histories, PAST_IDLE_MAX);
	past_trim(&past, NOW + 90 * WHEN_SECOND);
	assert_int_equal(histories, 0);
}

static void
an_inode_of_the_past_holds_its_view(void **state)
{
	struct past_view *view = open_view("2026-10-30", NOW);
	struct virtual *root, *file, *again;
	unsigned before;

	(void)state;
	assert_int_equal(virtuals_past(&virtuals, view, 0, &root), OK);
	assert_int_equal(virtuals_past(&virtuals, view, 77, &file), OK);
	assert_int_equal(virtuals_past(&virtuals, view, 77, &again), OK);
	assert_ptr_equal(file, again);
	assert_true(root->ino != file->ino);
	past_view_release(view);
	before = view->holders;
	assert_int_equal(before, 2); /* root, file */
	assert_false(virtuals_forget(&virtuals, file->ino, 1));
	assert_true(virtuals_forget(&virtuals, file->ino, 1));
	assert_int_equal(view->holders, 1);
	assert_true(virtuals_forget(&virtuals, root->ino, 1));
	assert_int_equal(view->holders, 0);
}

static void
views_that_are_held_but_not_used_are_named(void **state)
{
	struct past_idle idle[8];
	struct past_view *view = open_view("2026-10-30", NOW);

	(void)state;
	assert_int_equal(past_idle(&past, NOW + WHEN_SECOND, idle, 8), 0);
	assert_int_equal(past_idle(&past, NOW + 90 * WHEN_SECOND, idle, 8), 1);
	assert_string_equal(idle[0].name, "2026-10-30");
	assert_int_equal(idle[0].user_ino, user.ino);
	past_view_release(view);
	assert_int_equal(past_idle(&past, NOW + 90 * WHEN_SECOND, idle, 8), 0);
}

static void
days_are_listed_from_the_first_midnight_on_but_not_too_many(void **state)
{
	struct past_days days;

	(void)state;
	past_days(NOW + 1, NOW + 5 * WHEN_SECOND, &days);
	assert_true(days.first > days.last); /* no midnight yet */
	past_days(NOW + 1, NOW + 2 * WHEN_DAY, &days);
	assert_true(days.first == NOW / WHEN_DAY + 1);
	assert_true(days.last == NOW / WHEN_DAY + 2);
	past_days(0, NOW, &days);
	assert_int_equal(days.last - days.first + 1, PAST_DAYS_MAX);
	assert_true(days.last == NOW / WHEN_DAY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_control_directory_is_never_forgotten),
		TEST(one_text_is_one_inode_and_another_text_another),
		TEST(a_text_is_kept_until_it_is_forgotten),
		TEST(each_generation_of_a_feed_has_its_inode),
		TEST(one_moment_is_one_view_with_an_end_to_its_second),
		TEST(a_moment_to_come_or_none_is_not_there),
		TEST(a_moment_that_still_lasts_is_never_shared),
		TEST(a_view_replays_nothing_until_it_is_looked_into),
		TEST(a_replay_that_failed_is_tried_again),
		TEST(few_views_that_no_one_holds_are_kept_and_not_for_long),
		TEST(an_inode_of_the_past_holds_its_view),
		TEST(views_that_are_held_but_not_used_are_named),
		TEST(
		    days_are_listed_from_the_first_midnight_on_but_not_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
