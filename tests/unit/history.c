/* The log as it is read back: lines, views of the past, and an index made
 * again from packs and journal. */
#include "tests/lib/home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ALICE "alice@home.example"

static int
setup(void **state)
{
	*state = test_home_new(1);
	return 0;
}

static int
teardown(void **state)
{
	test_home_free(*state);
	return 0;
}

static void
deliver(struct test_home *h, const char *name, uint64_t number)
{
	size_t len;
	uint8_t *mail = test_mail(number, 5000, &len);

	assert_int_equal(
	    test_deliver(h, "Maildir", name, mail, len, true), OK);
	free(mail);
}

static void
expect_mail(struct test_home *h, const char *dir, const char *name,
    uint64_t number)
{
	size_t len, want_len;
	uint8_t *got, *want = test_mail(number, 5000, &want_len);

	assert_int_equal(
	    test_read(h, test_dir(h, dir), name, &got, &len), OK);
	assert_int_equal(len, want_len);
	assert_memory_equal(got, want, len);
	free(got);
	free(want);
}

struct seen {
	char text[4096];
	unsigned lines;
};

static bool
see(void *arg, const struct log_line *l)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s %s%s%s\n", l->op,
	    l->path, l->to_path ? " -> " : "", l->to_path ? l->to_path : "");
	s->lines++;
	return true;
}

static void
the_log_tells_what_happened_newest_first(void **state)
{
	struct test_home *h = *state;
	struct seen s = { "", 0 };

	deliver(h, "m1", 1);
	assert_int_equal(
	    store_rename(h->store, test_dir(h, "Maildir/new"), "m1",
		test_dir(h, "Maildir/cur"), "m1:2,S", 0),
	    OK);
	assert_int_equal(store_checkpoint(h->store), OK);
	assert_int_equal(store_unlink(h->store, test_dir(h, "Maildir/cur"),
			     "m1:2,S"),
	    OK);
	assert_int_equal(store_log(h->store, ALICE, 3, see, &s), OK);
	assert_string_equal(s.text,
	    "unlink Maildir/cur/m1:2,S\n"
	    "rename Maildir/new/m1 -> Maildir/cur/m1:2,S\n"
	    "create Maildir/new/m1\n");
	memset(&s, 0, sizeof(s));
	assert_int_equal(store_log(h->store, ALICE, 100, see, &s), OK);
	assert_int_equal(s.lines, 7); /* Maildir and its three, too */
	assert_int_equal(
	    store_log(h->store, "nobody@home.example", 1, see, &s),
	    ERR_ABSENT);
}

static void
a_view_shows_the_tree_as_it_was(void **state)
{
	struct test_home *h = *state;
	struct history *past;
	struct inode in, dir;
	char buf[6000];
	size_t got, want_len;
	uint8_t *want = test_mail(1, 5000, &want_len);
	int64_t then;

	deliver(h, "m1", 1);
	assert_int_equal(store_checkpoint(h->store), OK);
	then = h->now_ns;
	h->now_ns += 1000000;
	assert_int_equal(
	    store_unlink(h->store, test_dir(h, "Maildir/new"), "m1"), OK);
	deliver(h, "m2", 2);
	assert_int_equal(store_history(h->store, ALICE, then, &past), OK);
	assert_int_equal(history_lookup(past, 0, "Maildir", &dir), OK);
	assert_int_equal(history_lookup(past, dir.ino, "new", &dir), OK);
	assert_int_equal(history_lookup(past, dir.ino, "m2", &in), ERR_ABSENT);
	assert_int_equal(history_lookup(past, dir.ino, "m1", &in), OK);
	assert_int_equal(
	    history_read(past, in.ino, 0, buf, sizeof(buf), &got), OK);
	assert_int_equal(got, want_len);
	assert_memory_equal(buf, want, got);
	history_free(past);
	free(want);
}

/* A log of many snapshots, each replayed from the one before, tells the same
 * tree as the log from its first day. */
static void
snapshots_say_what_the_log_says(void **state)
{
	struct test_home *h = *state;
	struct history *past;
	struct inode in, dir;
	char name[16], seen[20], buf[6000];
	int64_t at[12];
	uint64_t cur, new;

	h->env.snapshot_every = 10;
	assert_int_equal(test_home_restart(h, TEST_CLOSE), OK);
	cur = test_dir(h, "Maildir/cur");
	new = test_dir(h, "Maildir/new");
	assert_int_equal(store_set_xattr(h->store, cur, "user.a", "b", 1, 0),
	    OK);
	for (unsigned i = 0; i < 120; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		snprintf(seen, sizeof(seen), "m%u:2,S", i);
		deliver(h, name, i);
		if (i % 2)
			assert_int_equal(store_rename(h->store, new, name,
					     cur, seen, 0),
			    OK);
		if (i == 4) {
			assert_int_equal(
			    store_lookup(h->store, new, name, &in), OK);
			assert_int_equal(store_link(h->store, in.ino, cur,
					     "other", false, &in),
			    OK);
		}
		if (i % 10 == 9) {
			assert_int_equal(store_checkpoint(h->store), OK);
			at[i / 10] = h->now_ns;
			h->now_ns += 1000000;
		}
	}
	for (unsigned k = 0; k < 12; k++) {
		assert_int_equal(
		    store_history(h->store, ALICE, at[k], &past), OK);
		assert_int_equal(
		    history_lookup(past, 0, "Maildir", &dir), OK);
		for (unsigned i = 0; i < 120; i++) {
			size_t got;
			struct inode where;

			snprintf(name, sizeof(name), "m%u%s", i,
			    i % 2 ? ":2,S" : "");
			assert_int_equal(history_lookup(past, dir.ino,
					     i % 2 ? "cur" : "new", &where),
			    OK);
			assert_int_equal(
			    history_lookup(past, where.ino, name, &in),
			    i < (k + 1) * 10 ? OK : ERR_ABSENT);
			if (i >= (k + 1) * 10)
				continue;
			assert_int_equal(in.nlink, i == 4 ? 2 : 1);
			assert_int_equal(history_read(past, in.ino, 0, buf,
					     sizeof(buf), &got),
			    OK);
			assert_int_equal(got, in.size);
			assert_true(got >= 5000);
		}
		history_free(past);
	}
	assert_int_equal(test_home_restart(h, TEST_KILL), OK);
	assert_int_equal(
	    store_history(h->store, ALICE, h->now_ns, &past), OK);
	history_free(past);
}

static void
ignore_line(void *arg, const char *line)
{
	(void)arg;
	print_message("%s\n", line);
}

static bool
count_entry(void *arg, const struct entry *e, const struct inode *in)
{
	(void)e;
	(void)in;
	++*(unsigned *)arg;
	return true;
}

static void
a_lost_index_is_made_again(void **state)
{
	struct test_home *h = *state;
	struct scrub_report report;
	struct store_user_stats before, after;
	struct inode in, again;
	unsigned entries = 0;

	deliver(h, "m1", 1);
	deliver(h, "m2", 2);
	assert_int_equal(store_set_xattr(h->store, test_dir(h, "Maildir"),
			     "user.note", "x", 1, 0),
	    OK);
	assert_int_equal(store_checkpoint(h->store), OK);
	assert_int_equal(
	    store_rename(h->store, test_dir(h, "Maildir/new"), "m1",
		test_dir(h, "Maildir/cur"), "m1:2,S", 0),
	    OK);
	deliver(h, "m3", 3); /* in the journal only */
	assert_int_equal(store_lookup(h->store, test_dir(h, "Maildir/cur"),
			     "m1:2,S", &in),
	    OK);
	assert_int_equal(store_user_stats(h->store, 0, &before), OK);
	assert_int_equal(store_sync(h->store, 0), OK);
	test_home_end(h, TEST_CRASH);

	/* The index is gone altogether. */
	index_close(h->index);
	assert_int_equal(index_mem_new(&h->index), OK);
	h->env.index = h->index;
	assert_int_equal(store_open(&h->env, h->keys, &h->store), ERR_CORRUPT);
	h->store = NULL;
	for (unsigned i = 0; i < 2; i++) { /* and once more: it is harmless */
		assert_int_equal(store_rebuild(&h->env, h->keys, ignore_line,
				     NULL, &report),
		    OK);
		assert_int_equal(
		    store_open(&h->env, h->keys, &h->store), OK);
		expect_mail(h, "Maildir/cur", "m1:2,S", 1);
		expect_mail(h, "Maildir/new", "m2", 2);
		expect_mail(h, "Maildir/new", "m3", 3);
		entries = 0;
		assert_int_equal(store_list(h->store,
				     test_dir(h, "Maildir/new"), 0, true,
				     count_entry, &entries),
		    OK);
		assert_int_equal(entries, 2);
		assert_int_equal(store_lookup(h->store,
				     test_dir(h, "Maildir/cur"), "m1:2,S",
				     &again),
		    OK);
		assert_int_equal(again.ino, in.ino);
		assert_int_equal(again.mode, in.mode);
		assert_int_equal(again.mtime_ns, in.mtime_ns);
		assert_int_equal(
		    store_user_stats(h->store, 0, &after), OK);
		assert_int_equal(after.messages, before.messages);
		assert_int_equal(after.files, before.files);
		assert_int_equal(after.logical_bytes, before.logical_bytes);
		test_home_end(h, TEST_KILL);
	}
	assert_int_equal(store_open(&h->env, h->keys, &h->store), OK);
	deliver(h, "m4", 4);
	assert_int_equal(test_home_restart(h, TEST_KILL), OK);
	expect_mail(h, "Maildir/new", "m4", 4);
	assert_int_equal(
	    store_scrub(h->store, "", ignore_line, NULL, &report), OK);
	assert_int_equal(report.damaged_blocks + report.damaged_files +
		report.lost_files,
	    0);
	assert_int_equal(report.files, 4);
}

static void
catch_line(void *arg, const char *line)
{
	char *text = arg;

	snprintf(text + strlen(text), 2000 - strlen(text), "%s\n", line);
}

static void
scrub_names_the_file_whose_block_is_damaged(void **state)
{
	struct test_home *h = *state;
	struct scrub_report report;
	char text[2000] = "";
	uint8_t *got;
	size_t len;
	enum err e;

	deliver(h, "m1", 1);
	assert_int_equal(store_checkpoint(h->store), OK);
	test_home_end(h, TEST_CLOSE);
	/* The mail's block is the first of the pack. */
	assert_int_equal(
	    disk_mem_flip(h->disk, "packs/00000001", 8 * 200), OK);
	assert_int_equal(store_open(&h->env, h->keys, &h->store), OK);
	e = test_read(h, test_dir(h, "Maildir/new"), "m1", &got, &len);
	if (e == OK)
		free(got);
	assert_int_equal(
	    store_scrub(h->store, "", catch_line, text, &report), OK);
	assert_true(report.damaged_blocks > 0);
	if (e) {
		char problem[512];

		assert_int_equal(report.damaged_files, 1);
		assert_non_null(
		    strstr(text, ALICE "/Maildir/new/m1"));
		store_problem(h->store, problem, sizeof(problem));
		assert_non_null(strstr(problem, "packs/00000001"));
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_log_tells_what_happened_newest_first),
		T(a_view_shows_the_tree_as_it_was),
		T(snapshots_say_what_the_log_says),
		T(a_lost_index_is_made_again),
		T(scrub_names_the_file_whose_block_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
