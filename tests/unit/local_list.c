/* Which names stay on a node is a setting.  What was made under one list is
 * met under another, and goes in and out of the log: the log, the views of the
 * past and an index made from nothing but the log must all say what the tree
 * says, but for what is local there. */
#include "tests/lib/home.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ALICE "alice@home.example"
#define TREE_MAX 64u

/* ---- a list that changes ------------------------------------------------ */

static const char *suffix = ".x"; /* of names that stay, of either kind */

static bool
ends_in_suffix(
    void *arg, const char *dir_name, const char *name, bool is_dir)
{
	size_t len = strlen(name), end = strlen(suffix);

	(void)arg;
	(void)is_dir;
	return strcmp(dir_name, "tmp") == 0 ||
	    (len >= end && strcmp(name + len - end, suffix) == 0);
}

static int
setup(void **state)
{
	struct test_home *h = test_home_new(1);

	suffix = ".x";
	h->env.is_local = ends_in_suffix;
	h->env.snapshot_every = 1; /* each checkpoint that may writes one */
	assert_int_equal(test_home_restart(h, TEST_CLOSE), OK);
	*state = h;
	return 0;
}

static int
teardown(void **state)
{
	test_home_free(*state);
	return 0;
}

/* Another list, as a daemon that starts again would read it. */
static void
change_list(struct test_home *h, const char *to)
{
	assert_int_equal(test_home_restart(h, TEST_CLOSE), OK);
	test_home_end(h, TEST_CLOSE);
	suffix = to;
	assert_int_equal(store_open(&h->env, h->keys, &h->store), OK);
}

/* ---- what the tree says, and what the log says -------------------------- */

static bool
same_content(const void *a, size_t a_len, const void *b, size_t b_len)
{
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

struct names {
	struct entry at[TREE_MAX];
	unsigned count;
	bool shared_only;
};

static bool
note_name(void *arg, const struct entry *e, const struct inode *in)
{
	struct names *l = arg;

	(void)in;
	if (l->shared_only && e->local)
		return true;
	assert_true(l->count < TREE_MAX);
	l->at[l->count++] = *e;
	return true;
}

static void
expect_same_file(struct test_home *h, struct history *past,
    const struct inode *now, const struct inode *then)
{
	char a[5000], b[5000];
	size_t a_len, b_len;

	assert_int_equal(
	    store_read(h->store, now->ino, 0, a, sizeof(a), &a_len), OK);
	assert_int_equal(
	    history_read(past, then->ino, 0, b, sizeof(b), &b_len), OK);
	assert_true(same_content(a, a_len, b, b_len));
}

/* The shared part of `dir`, and directory `number` of the past.  Returns how
 * many names are in it and below. */
static unsigned
expect_same_dir(
    struct test_home *h, struct history *past, uint64_t dir, uint64_t number)
{
	struct names *now = calloc(2, sizeof(*now)), *then;
	unsigned count;

	assert_non_null(now);
	then = now + 1;
	now->shared_only = true;
	assert_int_equal(
	    store_list(h->store, dir, 0, false, note_name, now), OK);
	assert_int_equal(history_list(past, number, 0, note_name, then), OK);
	count = now->count;
	for (unsigned i = 0; i < now->count; i++) {
		struct inode a, b;

		assert_int_equal(
		    store_inode(h->store, now->at[i].ino, &a), OK);
		assert_int_equal(
		    history_lookup(past, number, now->at[i].name, &b), OK);
		assert_int_equal(a.ino, b.ino);
		assert_int_equal(a.mode, b.mode);
		if (S_ISDIR(a.mode)) {
			assert_int_equal(a.shared_links, 1);
			count += expect_same_dir(h, past, a.ino, b.ino);
			continue;
		}
		assert_int_equal(a.shared_links, b.nlink);
		expect_same_file(h, past, &a, &b);
	}
	assert_int_equal(now->count, then->count);
	free(now);
	return count;
}

static unsigned
expect_log_agrees(struct test_home *h)
{
	struct history *past;
	unsigned count;

	assert_int_equal(store_checkpoint(h->store), OK);
	assert_int_equal(
	    store_history(h->store, ALICE, h->now_ns, &past), OK);
	count = expect_same_dir(h, past, test_dir(h, ""), 0);
	history_free(past);
	return count;
}

static void
ignore_line(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

static void
rebuild(struct test_home *h)
{
	struct scrub_report report;

	index_close(h->index);
	assert_int_equal(index_mem_new(&h->index), OK);
	h->env.index = h->index;
	assert_int_equal(
	    store_rebuild(&h->env, h->keys, ignore_line, NULL, &report), OK);
	assert_int_equal(store_open(&h->env, h->keys, &h->store), OK);
}

static void
expect_same_counters(
    const struct store_user_stats *a, const struct store_user_stats *b)
{
	assert_int_equal(a->messages, b->messages);
	assert_int_equal(a->files, b->files);
	assert_int_equal(a->logical_bytes, b->logical_bytes);
}

/* An index made anew from packs and journal, before any checkpoint, has as
 * many files and messages as the tree.  Bytes are not compared here: those of
 * a file that was local at the last checkpoint are in its page file until the
 * next (rebuild.c). */
static void
expect_journal_agrees(struct test_home *h)
{
	struct store_user_stats before, after;
	struct scrub_report report;

	assert_int_equal(store_sync(h->store, 0), OK);
	assert_int_equal(store_user_stats(h->store, 0, &before), OK);
	test_home_end(h, TEST_KILL);
	rebuild(h);
	assert_int_equal(store_user_stats(h->store, 0, &after), OK);
	assert_int_equal(before.messages, after.messages);
	assert_int_equal(before.files, after.files);
	expect_log_agrees(h);
	assert_int_equal(
	    store_scrub(h->store, "", ignore_line, NULL, &report), OK);
	assert_int_equal(report.damaged_blocks + report.damaged_files +
		report.lost_files,
	    0);
}

/* Log, views, an index replayed from the journal and one made anew agree with
 * the tree, and count the same. */
static void
expect_all_agree(struct test_home *h)
{
	struct store_user_stats before, after;
	unsigned count;

	assert_int_equal(store_sync(h->store, 0), OK);
	assert_int_equal(store_user_stats(h->store, 0, &before), OK);
	assert_int_equal(test_home_restart(h, TEST_KILL), OK);
	assert_int_equal(store_user_stats(h->store, 0, &after), OK);
	expect_same_counters(&before, &after);
	count = expect_log_agrees(h);
	test_home_end(h, TEST_CLOSE);
	rebuild(h);
	assert_int_equal(store_user_stats(h->store, 0, &after), OK);
	expect_same_counters(&before, &after);
	assert_int_equal(expect_log_agrees(h), count);
}

/* ---- names and their making --------------------------------------------- */

static const struct store_who who = { 1000, 1000, 0 };

static struct inode
make(struct test_home *h, const char *dir, const char *name, uint32_t mode)
{
	struct inode in;

	assert_int_equal(store_make(h->store, test_dir(h, dir), name, mode, 0,
			     NULL, &who, false, &in),
	    OK);
	return in;
}

static void
make_dir(struct test_home *h, const char *dir, const char *name)
{
	make(h, dir, name, S_IFDIR | 0700);
}

/* A file that says what it was made as. */
static struct inode
make_file(struct test_home *h, const char *dir, const char *name)
{
	struct inode in = make(h, dir, name, S_IFREG | 0600);

	assert_int_equal(
	    store_write(h->store, in.ino, 0, name, strlen(name), false), OK);
	return in;
}

static void
expect_file(struct test_home *h, const char *dir, const char *name,
    const char *text)
{
	uint8_t *bytes;
	size_t len;

	assert_int_equal(
	    test_read(h, test_dir(h, dir), name, &bytes, &len), OK);
	assert_true(same_content(bytes, len, text, strlen(text)));
	free(bytes);
}

static void
move(struct test_home *h, const char *dir, const char *name, const char *to,
    const char *to_name)
{
	assert_int_equal(store_rename(h->store, test_dir(h, dir), name,
			     test_dir(h, to), to_name, 0),
	    OK);
}

static void
add_name(struct test_home *h, uint64_t ino, const char *dir, const char *name)
{
	struct inode in;

	assert_int_equal(store_link(h->store, ino, test_dir(h, dir), name,
			     false, &in),
	    OK);
}

static void
drop(struct test_home *h, const char *dir, const char *name)
{
	assert_int_equal(
	    store_unlink(h->store, test_dir(h, dir), name), OK);
}

static bool
is_there(struct test_home *h, const char *dir, const char *name)
{
	struct inode in;
	enum err e = store_lookup(h->store, test_dir(h, dir), name, &in);

	assert_true(e == OK || e == ERR_ABSENT);
	return e == OK;
}

static bool
find_name(void *arg, const struct entry *e, const struct inode *in)
{
	struct entry *want = arg;

	(void)in;
	if (strcmp(e->name, want->name) != 0)
		return true;
	*want = *e;
	return false;
}

static bool
is_local(struct test_home *h, const char *dir, const char *name)
{
	struct entry e;

	memset(&e, 0, sizeof(e));
	memcpy(e.name, name, strlen(name));
	assert_int_equal(store_list(h->store, test_dir(h, dir), 0, false,
			     find_name, &e),
	    OK);
	assert_int_not_equal(e.cookie, 0);
	return e.local;
}

/* ---- the tests ---------------------------------------------------------- */

static void
what_is_there_stays_as_it_was_made(void **state)
{
	struct test_home *h = *state;

	make_file(h, "Maildir", "a.x");
	make_dir(h, "", "d.x");
	make_file(h, "d.x", "in");
	make_file(h, "Maildir/cur", "b.y");
	make_dir(h, "", "d.y");
	make_file(h, "d.y", "in");
	change_list(h, ".y");
	assert_true(is_local(h, "Maildir", "a.x"));
	assert_true(is_local(h, "", "d.x"));
	assert_false(is_local(h, "Maildir/cur", "b.y"));
	assert_false(is_local(h, "", "d.y"));
	/* What is new below them is of their kind. */
	make_file(h, "d.x", "more");
	make_file(h, "d.y", "more");
	assert_true(is_local(h, "d.x", "more"));
	assert_false(is_local(h, "d.y", "more"));
	/* And what is new elsewhere goes by the new list. */
	make_file(h, "Maildir", "c.x");
	make_file(h, "Maildir", "c.y");
	assert_false(is_local(h, "Maildir", "c.x"));
	assert_true(is_local(h, "Maildir", "c.y"));
	expect_file(h, "d.x", "in", "in");
	expect_all_agree(h);
	expect_file(h, "Maildir/cur", "b.y", "b.y");
	expect_file(h, "d.y", "in", "in");
	assert_false(is_there(h, "Maildir", "a.x")); /* was never in the log */
}

static void
what_is_there_can_be_removed(void **state)
{
	struct test_home *h = *state;
	struct store_user_stats s;

	make_file(h, "Maildir/cur", "a.x");
	make_file(h, "Maildir/cur", "b.y");
	make_dir(h, "", "d.x");
	make_dir(h, "", "d.y");
	change_list(h, ".y");
	drop(h, "Maildir/cur", "a.x");
	drop(h, "Maildir/cur", "b.y");
	assert_int_equal(store_rmdir(h->store, test_dir(h, ""), "d.x"), OK);
	assert_int_equal(store_rmdir(h->store, test_dir(h, ""), "d.y"), OK);
	assert_int_equal(store_user_stats(h->store, 0, &s), OK);
	assert_int_equal(s.messages, 0);
	assert_int_equal(s.files, 0);
	assert_int_equal(s.logical_bytes, 0);
	expect_all_agree(h);
}

static void
a_rename_goes_by_the_list_of_its_day(void **state)
{
	struct test_home *h = *state;

	make_file(h, "Maildir/cur", "a.x");
	make_file(h, "Maildir/cur", "b.y");
	make_dir(h, "", "d.x");
	make_dir(h, "d.x", "deep");
	make_file(h, "d.x/deep", "in");
	make_dir(h, "", "d.y");
	make_dir(h, "d.y", "deep");
	make_file(h, "d.y/deep", "in");
	change_list(h, ".y");
	move(h, "Maildir/cur", "a.x", "Maildir/cur", "a2.x");
	assert_false(is_local(h, "Maildir/cur", "a2.x"));
	move(h, "Maildir/cur", "b.y", "Maildir/cur", "b2.y");
	assert_true(is_local(h, "Maildir/cur", "b2.y"));
	move(h, "", "d.x", "", "d2.x");
	assert_false(is_local(h, "d2.x/deep", "in"));
	move(h, "", "d.y", "", "d2.y");
	assert_true(is_local(h, "d2.y/deep", "in"));
	expect_file(h, "Maildir/cur", "b2.y", "b.y");
	expect_file(h, "d2.y/deep", "in", "in");
	expect_all_agree(h);
	expect_file(h, "Maildir/cur", "a2.x", "a.x");
	expect_file(h, "d2.x/deep", "in", "in");
}

/* A program that saves with a rename: the old file was in the log, the new
 * one does not come into it, and the old one must not stay there. */
static void
a_file_replaced_leaves_the_log(void **state)
{
	struct test_home *h = *state;

	make_file(h, "Maildir", "keep.y");
	make_file(h, "Maildir", "keep.x");
	change_list(h, ".y");
	make_file(h, "Maildir", "fresh");
	move(h, "Maildir", "fresh", "Maildir", "keep.y");
	assert_true(is_local(h, "Maildir", "keep.y"));
	expect_file(h, "Maildir", "keep.y", "fresh");
	make_file(h, "Maildir", "fresh");
	move(h, "Maildir", "fresh", "Maildir", "keep.x");
	assert_false(is_local(h, "Maildir", "keep.x"));
	expect_file(h, "Maildir", "keep.x", "fresh");
	expect_all_agree(h);
	expect_file(h, "Maildir", "keep.x", "fresh");
	assert_false(is_there(h, "Maildir", "keep.y"));
}

static void
a_directory_replaced_leaves_the_log(void **state)
{
	struct test_home *h = *state;

	make_dir(h, "", "d.y");
	change_list(h, ".y");
	make_dir(h, "", "fresh");
	make_file(h, "fresh", "in");
	move(h, "", "fresh", "", "d.y");
	assert_true(is_local(h, "d.y", "in"));
	expect_all_agree(h);
	assert_false(is_there(h, "", "d.y"));
}

/* Names of both lists swapped: done rightly or refused, never half. */
static void
an_exchange_across_the_lists_is_refused_or_right(void **state)
{
	static const char *const name[] = { "a.x", "b.y", "c", "e" };
	struct test_home *h = *state;

	for (unsigned i = 0; i < 3; i++)
		make_file(h, "Maildir", name[i]);
	make_dir(h, "Maildir", "e");
	change_list(h, ".y");
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 4; k++) {
			enum err e = store_rename(h->store,
			    test_dir(h, "Maildir"), name[i],
			    test_dir(h, "Maildir"), name[k],
			    STORE_RENAME_EXCHANGE);

			assert_true(e == OK || e == ERR_INVALID);
			expect_log_agrees(h);
		}
	expect_all_agree(h);
}

static uint64_t
messages(struct test_home *h)
{
	struct store_user_stats s;

	assert_int_equal(store_user_stats(h->store, 0, &s), OK);
	return s.messages;
}

/* The list is not all that makes a message of a file. */
static void
messages_are_counted_where_they_lie(void **state)
{
	struct test_home *h = *state;

	make_file(h, "Maildir/cur", "one");
	make_file(h, "Maildir/cur", "two");
	make_dir(h, "Maildir", "dir");
	assert_int_equal(store_rename(h->store, test_dir(h, "Maildir/cur"),
			     "one", test_dir(h, "Maildir"), "dir",
			     STORE_RENAME_EXCHANGE),
	    OK);
	assert_int_equal(messages(h), 1);
	move(h, "Maildir", "cur", "Maildir", "old");
	assert_int_equal(messages(h), 0);
	expect_all_agree(h);
	move(h, "Maildir", "old", "Maildir", "cur");
	assert_int_equal(messages(h), 1);
	move(h, "Maildir", "cur", "Maildir", "old.x");
	assert_int_equal(messages(h), 0);
	expect_all_agree(h);
}

/* Two names of one file below a directory that changes sides. */
static void
two_names_of_one_file_change_sides_together(void **state)
{
	struct test_home *h = *state;
	struct store_user_stats s;
	struct inode in;

	make_dir(h, "", "d.x");
	in = make_file(h, "d.x", "one");
	add_name(h, in.ino, "d.x", "two");
	add_name(h, in.ino, "", "outside");
	change_list(h, ".y");
	move(h, "", "d.x", "", "d");
	assert_int_equal(store_inode(h->store, in.ino, &in), OK);
	assert_int_equal(in.nlink, 3);
	assert_int_equal(in.shared_links, 3);
	expect_log_agrees(h);
	move(h, "", "d", "", "d.y");
	assert_int_equal(store_inode(h->store, in.ino, &in), OK);
	assert_int_equal(in.nlink, 3);
	assert_int_equal(in.shared_links, 1);
	expect_log_agrees(h);
	drop(h, "", "outside");
	assert_int_equal(store_inode(h->store, in.ino, &in), OK);
	assert_int_equal(in.shared_links, 0);
	assert_int_equal(store_user_stats(h->store, 0, &s), OK);
	assert_int_equal(s.files, 0);
	expect_log_agrees(h);
	move(h, "", "d.y", "", "d");
	drop(h, "d", "one");
	expect_file(h, "d", "two", "one");
	expect_all_agree(h);
	expect_file(h, "d", "two", "one");
	drop(h, "d", "two");
	expect_all_agree(h);
}

static void
make_with_attribute(
    struct test_home *h, const char *dir, const char *name, struct inode *in)
{
	*in = make_file(h, dir, name);
	assert_int_equal(store_set_xattr(h->store, in->ino, "user.a", name,
			     strlen(name), 0),
	    OK);
}

static void
expect_attribute(struct test_home *h, const char *dir, const char *name,
    const char *value)
{
	char got[16];
	struct inode in;
	size_t len;

	assert_int_equal(
	    store_lookup(h->store, test_dir(h, dir), name, &in), OK);
	assert_int_equal(store_get_xattr(h->store, in.ino, "user.a", got,
			     sizeof(got), &len),
	    OK);
	assert_true(same_content(got, len, value, strlen(value)));
}

/* What the log was not told while it was none of its business. */
static void
attributes_come_into_the_log_with_their_file(void **state)
{
	struct test_home *h = *state;
	struct inode in;

	make_dir(h, "", "d.x");
	make_with_attribute(h, "d.x", "f", &in);
	make_with_attribute(h, "", "g.x", &in);
	make_with_attribute(h, "", "h.x", &in);
	change_list(h, ".y");
	move(h, "", "d.x", "", "d");
	move(h, "", "g.x", "", "g");
	add_name(h, in.ino, "", "h");
	expect_all_agree(h);
	expect_attribute(h, "d", "f", "f");
	expect_attribute(h, "", "g", "g.x");
	expect_attribute(h, "", "h", "h.x");
}

/* It is sealed, leaves the log, a snapshot of the log is made that knows
 * nothing of it, and it comes back: with its bytes. */
static void
a_file_that_comes_back_has_its_bytes_in_the_log(void **state)
{
	struct test_home *h = *state;
	char text[4000];
	struct inode in = make(h, "Maildir", "long", S_IFREG | 0600);

	memset(text, 'b', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(store_write(h->store, in.ino, 0, text,
			     strlen(text), false),
	    OK);
	make_file(h, "Maildir", "short");
	assert_int_equal(store_checkpoint(h->store), OK);
	move(h, "Maildir", "long", "Maildir", "long.x");
	move(h, "Maildir", "short", "Maildir", "short.x");
	for (unsigned i = 0; i < 40; i++) {
		make_file(h, "Maildir", "other");
		drop(h, "Maildir", "other");
		assert_int_equal(store_checkpoint(h->store), OK);
	}
	change_list(h, ".y");
	expect_file(h, "Maildir", "long.x", text);
	move(h, "Maildir", "long.x", "Maildir", "long");
	move(h, "Maildir", "short.x", "Maildir", "short");
	expect_file(h, "Maildir", "long", text);
	expect_journal_agrees(h);
	expect_file(h, "Maildir", "long", text);
	expect_file(h, "Maildir", "short", "short");
	expect_all_agree(h);
	expect_file(h, "Maildir", "long", text);
	expect_file(h, "Maildir", "short", "short");
}

/* The same, but written to while it was away. */
static void
what_is_written_while_away_comes_back_too(void **state)
{
	struct test_home *h = *state;
	struct inode in = make_file(h, "Maildir", "file");

	assert_int_equal(store_checkpoint(h->store), OK);
	move(h, "Maildir", "file", "Maildir", "file.x");
	assert_int_equal(
	    store_write(h->store, in.ino, 4, " and more", 9, false), OK);
	change_list(h, ".y");
	assert_int_equal(
	    store_write(h->store, in.ino, 13, " yet", 4, false), OK);
	move(h, "Maildir", "file.x", "Maildir", "file");
	expect_all_agree(h);
	expect_file(h, "Maildir", "file", "file and more yet");
}

/* A rebuild under another list than the log was written under. */
static void
an_index_is_made_again_under_another_list(void **state)
{
	struct test_home *h = *state;

	make_file(h, "Maildir/cur", "b.y");
	make_dir(h, "", "d.y");
	make_file(h, "d.y", "in");
	test_home_end(h, TEST_CLOSE);
	suffix = ".y";
	rebuild(h);
	assert_false(is_local(h, "Maildir/cur", "b.y"));
	assert_false(is_local(h, "d.y", "in"));
	expect_file(h, "Maildir/cur", "b.y", "b.y");
	expect_file(h, "d.y", "in", "in");
	drop(h, "Maildir/cur", "b.y");
	move(h, "d.y", "in", "Maildir", "in");
	expect_all_agree(h);
}

/* ---- at random ---------------------------------------------------------- */

static uint32_t
any(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 16) % below;
}

static void
any_change(struct test_home *h, uint32_t *seed)
{
	static const char *const dir[] = { "Maildir/cur", "Maildir/tmp", "",
		"Maildir" };
	static const char *const name[] = { "a", "a.x", "a.y", "b", "new",
		"b.y" };
	uint64_t at = test_dir(h, dir[any(seed, 4)]);
	uint64_t to = test_dir(h, dir[any(seed, 4)]);
	const char *n = name[any(seed, 6)], *m = name[any(seed, 6)];
	struct inode in;
	enum err e = OK;

	/* Half of it below a directory that is there or not. */
	if (any(seed, 2) && !store_lookup(h->store, at, n, &in) &&
	    S_ISDIR(in.mode))
		at = in.ino;
	if (any(seed, 2) && !store_lookup(h->store, to, m, &in) &&
	    S_ISDIR(in.mode))
		to = in.ino;
	switch (any(seed, 10)) {
	case 0:
	case 1:
		e = store_make(h->store, at, n, S_IFREG | 0600, 0, NULL, &who,
		    false, &in);
		if (!e)
			e = store_write(
			    h->store, in.ino, 0, n, strlen(n), false);
		break;
	case 2:
		e = store_make(h->store, at, n, S_IFDIR | 0700, 0, NULL, &who,
		    false, &in);
		break;
	case 3:
		if (!store_lookup(h->store, at, n, &in))
			e = store_link(h->store, in.ino, to, m, false, &in);
		break;
	case 4:
		e = store_unlink(h->store, at, n);
		break;
	case 5:
		e = store_rmdir(h->store, at, n);
		break;
	case 6:
		e = store_rename(
		    h->store, at, n, to, m, STORE_RENAME_EXCHANGE);
		break;
	case 7:
		if (!store_lookup(h->store, at, n, &in) && S_ISREG(in.mode))
			e = store_write(
			    h->store, in.ino, in.size, "more", 4, false);
		break;
	default:
		e = store_rename(h->store, at, n, to, m, 0);
		break;
	}
	assert_true(e == OK || e == ERR_ABSENT || e == ERR_EXISTS ||
	    e == ERR_NOTEMPTY || e == ERR_NOTDIR || e == ERR_ISDIR ||
	    e == ERR_INVALID || e == ERR_PERM);
}

static void
any_changes_under_any_lists_agree(void **state)
{
	static const char *const list[] = { ".x", ".y", ".none" };
	struct test_home *h;

	for (uint32_t run = 1; run <= 40; run++) {
		uint32_t seed = run * 7919;

		teardown(state);
		setup(state);
		h = *state;
		print_message("seed %u\n", (unsigned)seed);
		for (unsigned i = 0; i < 60; i++) {
			any_change(h, &seed);
			if (any(&seed, 8) == 0)
				change_list(h, list[any(&seed, 3)]);
			if (any(&seed, 8) == 0)
				expect_log_agrees(h);
		}
		if (run % 2)
			expect_journal_agrees(h);
		expect_all_agree(h);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_there_stays_as_it_was_made),
		TEST(what_is_there_can_be_removed),
		TEST(a_rename_goes_by_the_list_of_its_day),
		TEST(a_file_replaced_leaves_the_log),
		TEST(a_directory_replaced_leaves_the_log),
		TEST(an_exchange_across_the_lists_is_refused_or_right),
		TEST(messages_are_counted_where_they_lie),
		TEST(two_names_of_one_file_change_sides_together),
		TEST(attributes_come_into_the_log_with_their_file),
		TEST(a_file_that_comes_back_has_its_bytes_in_the_log),
		TEST(what_is_written_while_away_comes_back_too),
		TEST(an_index_is_made_again_under_another_list),
		TEST(any_changes_under_any_lists_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
