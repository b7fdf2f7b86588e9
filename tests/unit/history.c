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

/* ---- long symlinks and attributes ---------------------------------------- */

#define TARGET_MAX 4095u
static const size_t target_len[] = { 1, CONTENT_MAX, CONTENT_MAX + 1, 1000,
	TARGET_MAX };
#define TARGETS (sizeof(target_len) / sizeof(target_len[0]))

/* Where the link of that length leads. */
static const char *
target(size_t len)
{
	static char text[TARGET_MAX + 1];

	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + (i + len) % 26);
	text[len] = '\0';
	return text;
}

static uint64_t
make(struct test_home *h, uint64_t dir, const char *name, uint32_t mode,
    const char *to)
{
	static const struct store_who who = { 1000, 1000, 0 };
	struct inode in;

	assert_int_equal(store_make(h->store, dir, name, mode, 0, to, &who,
			     false, &in),
	    OK);
	return in.ino;
}

static void
make_links(struct test_home *h, uint64_t dir)
{
	char name[16];

	for (size_t i = 0; i < TARGETS; i++) {
		snprintf(name, sizeof(name), "l%zu", target_len[i]);
		make(h, dir, name, S_IFLNK | 0777, target(target_len[i]));
	}
}

static void
expect_links_then(struct history *past, uint64_t dir)
{
	char name[16], got[TARGET_MAX + 1];
	struct inode in;

	for (size_t i = 0; i < TARGETS; i++) {
		size_t len = target_len[i];

		snprintf(name, sizeof(name), "l%zu", len);
		assert_int_equal(history_lookup(past, dir, name, &in), OK);
		assert_int_equal(in.size, len);
		assert_int_equal(
		    history_read_link(past, in.ino, got, len + 1), OK);
		assert_string_equal(got, target(len));
		assert_int_equal(
		    history_read_link(past, in.ino, got, len), ERR_RANGE);
	}
}

static void
expect_links_now(struct test_home *h, uint64_t dir)
{
	char name[16], got[TARGET_MAX + 1];
	struct inode in;

	for (size_t i = 0; i < TARGETS; i++) {
		size_t len = target_len[i];

		snprintf(name, sizeof(name), "l%zu", len);
		assert_int_equal(store_lookup(h->store, dir, name, &in), OK);
		assert_int_equal(in.size, len);
		assert_int_equal(
		    store_read_link(h->store, in.ino, got, len + 1), OK);
		assert_string_equal(got, target(len));
		assert_int_equal(
		    store_read_link(h->store, in.ino, got, len), ERR_RANGE);
	}
}

/* The index is gone, and made again from packs and journal. */
static void
rebuild(struct test_home *h)
{
	struct scrub_report report;

	test_home_end(h, TEST_KILL);
	index_close(h->index);
	assert_int_equal(index_mem_new(&h->index), OK);
	h->env.index = h->index;
	assert_int_equal(
	    store_rebuild(&h->env, h->keys, ignore_line, NULL, &report), OK);
	assert_int_equal(store_open(&h->env, h->keys, &h->store), OK);
}

static void
a_symlink_of_any_length_led_where_it_says(void **state)
{
	struct test_home *h = *state;
	uint64_t dir = test_dir(h, "Maildir");
	struct history *past;
	struct inode in;
	char name[16], got[16];
	int64_t then;

	make_links(h, dir);
	deliver(h, "m1", 1);
	then = h->now_ns;
	h->now_ns += 1000000;
	for (size_t i = 0; i < TARGETS; i++) {
		snprintf(name, sizeof(name), "l%zu", target_len[i]);
		assert_int_equal(store_unlink(h->store, dir, name), OK);
	}
	/* Twice: the second time from what the packs have. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(
		    store_history(h->store, ALICE, then, &past), OK);
		expect_links_then(past, dir);
		assert_int_equal(
		    history_lookup(past, test_dir(h, "Maildir/new"), "m1", &in),
		    OK);
		assert_int_equal(
		    history_read_link(past, in.ino, got, sizeof(got)),
		    ERR_INVALID);
		assert_int_equal(
		    history_read_link(past, dir, got, sizeof(got)),
		    ERR_INVALID);
		assert_int_equal(history_read_link(past, 1u << 20, got,
				     sizeof(got)),
		    ERR_ABSENT);
		history_free(past);
		rebuild(h);
	}
	assert_int_equal(
	    store_history(h->store, ALICE, h->now_ns, &past), OK);
	assert_int_equal(history_lookup(past, dir, "l257", &in), ERR_ABSENT);
	history_free(past);
}

static void
a_rebuilt_symlink_of_any_length_leads_where_it_says(void **state)
{
	struct test_home *h = *state;

	make_links(h, test_dir(h, "Maildir"));
	assert_int_equal(store_checkpoint(h->store), OK);
	make_links(h, test_dir(h, "Maildir/cur")); /* in the journal only */
	assert_int_equal(store_sync(h->store, 0), OK);
	for (unsigned i = 0; i < 2; i++) {
		rebuild(h);
		expect_links_now(h, test_dir(h, "Maildir"));
		expect_links_now(h, test_dir(h, "Maildir/cur"));
		assert_int_equal(store_checkpoint(h->store), OK);
	}
}

static void
a_snapshot_keeps_long_symlinks_and_times(void **state)
{
	struct test_home *h = *state;
	struct history *past;
	struct inode in, then;
	uint64_t dir;
	char name[16];

	h->env.snapshot_every = 10;
	assert_int_equal(test_home_restart(h, TEST_CLOSE), OK);
	dir = test_dir(h, "Maildir");
	make_links(h, dir);
	h->now_ns += 1000000;
	in.ino = make(h, dir, "noted", S_IFREG | 0600, NULL);
	h->now_ns += 1000000;
	assert_int_equal(
	    store_set_xattr(h->store, in.ino, "user.a", "b", 1, 0), OK);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < 40; k++) {
			snprintf(name, sizeof(name), "d%u.%u", i, k);
			make(h, dir, name, S_IFDIR | 0700, NULL);
		}
		assert_int_equal(store_checkpoint(h->store), OK);
	}
	assert_int_equal(
	    store_history(h->store, ALICE, h->now_ns, &past), OK);
	expect_links_then(past, dir);
	assert_int_equal(store_lookup(h->store, dir, "noted", &in), OK);
	assert_int_equal(history_lookup(past, dir, "noted", &then), OK);
	assert_int_equal(then.btime_ns, in.btime_ns);
	assert_int_equal(then.ctime_ns, in.ctime_ns);
	assert_int_equal(store_lookup(h->store, dir, "l4095", &in), OK);
	assert_int_equal(history_lookup(past, dir, "l4095", &then), OK);
	assert_int_equal(then.ctime_ns, in.ctime_ns);
	history_free(past);
}

static void
expect_attribute(struct test_home *h, uint64_t dir, const char *name,
    const char *value, int64_t ctime_ns)
{
	struct inode in;
	char got[16];
	size_t len;

	assert_int_equal(store_lookup(h->store, dir, name, &in), OK);
	assert_int_equal(store_get_xattr(h->store, in.ino, "user.a", got,
			     sizeof(got), &len),
	    OK);
	assert_int_equal(len, strlen(value));
	assert_memory_equal(got, value, len);
	assert_int_equal(in.ctime_ns, ctime_ns);
}

/* A mail program makes a file in tmp, where the log does not look, and then
 * moves or links it to where it does; or moves a whole directory. */
static void
what_enters_the_log_late_has_its_attributes(void **state)
{
	struct test_home *h = *state;
	uint64_t maildir = test_dir(h, "Maildir"), cur, tmp, sub, ino;
	struct inode moved, linked, below;
	struct history *past;
	int64_t then;

	cur = test_dir(h, "Maildir/cur");
	tmp = test_dir(h, "Maildir/tmp");
	sub = make(h, tmp, "sub", S_IFDIR | 0700, NULL);
	make_links(h, sub);
	make_links(h, tmp);
	ino = make(h, sub, "below", S_IFREG | 0600, NULL);
	assert_int_equal(
	    store_set_xattr(h->store, ino, "user.a", "below", 5, 0), OK);
	ino = make(h, tmp, "moved", S_IFREG | 0600, NULL);
	assert_int_equal(
	    store_set_xattr(h->store, ino, "user.a", "moved", 5, 0), OK);
	assert_int_equal(
	    store_rename(h->store, tmp, "moved", cur, "moved", 0), OK);
	ino = make(h, tmp, "linked", S_IFREG | 0600, NULL);
	assert_int_equal(
	    store_set_xattr(h->store, ino, "user.a", "linked", 6, 0), OK);
	assert_int_equal(store_link(h->store, ino, cur, "linked", false,
			     &linked),
	    OK);
	for (size_t i = 0; i < TARGETS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "l%zu", target_len[i]);
		assert_int_equal(
		    store_rename(h->store, tmp, name, cur, name, 0), OK);
	}
	assert_int_equal(
	    store_rename(h->store, tmp, "sub", maildir, "sub", 0), OK);
	assert_int_equal(store_lookup(h->store, cur, "moved", &moved), OK);
	assert_int_equal(store_lookup(h->store, sub, "below", &below), OK);
	then = h->now_ns;
	h->now_ns += 1000000;
	assert_int_equal(store_history(h->store, ALICE, then, &past), OK);
	expect_links_then(past, cur);
	expect_links_then(past, sub);
	history_free(past);
	for (unsigned i = 0; i < 2; i++) {
		rebuild(h);
		expect_links_now(h, cur);
		expect_links_now(h, sub);
		expect_attribute(h, cur, "moved", "moved", moved.ctime_ns);
		expect_attribute(h, cur, "linked", "linked", linked.ctime_ns);
		expect_attribute(h, sub, "below", "below", below.ctime_ns);
		assert_int_equal(store_checkpoint(h->store), OK);
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
		T(a_symlink_of_any_length_led_where_it_says),
		T(a_rebuilt_symlink_of_any_length_leads_where_it_says),
		T(a_snapshot_keeps_long_symlinks_and_times),
		T(what_enters_the_log_late_has_its_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
