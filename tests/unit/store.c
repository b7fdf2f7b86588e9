/* What the store promises of names, bytes and attributes. */
#include "tests/lib/home.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cmocka.h>

static const struct store_who alice = { 1000, 1000, 0 };

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

static struct inode
make(struct test_home *h, uint64_t dir, const char *name, uint32_t mode)
{
	struct inode in;

	assert_int_equal(store_make(h->store, dir, name, mode, 0, NULL, &alice,
			     false, &in),
	    OK);
	return in;
}

static void
write_text(struct test_home *h, uint64_t ino, uint64_t off, const char *text)
{
	assert_int_equal(
	    store_write(h->store, ino, off, text, strlen(text), false), OK);
}

static void
expect_text(struct test_home *h, uint64_t ino, const char *text)
{
	char buf[4096];
	size_t got;

	assert_int_equal(
	    store_read(h->store, ino, 0, buf, sizeof(buf), &got), OK);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(buf, text, got);
}

static void
a_new_user_has_a_maildir(void **state)
{
	struct test_home *h = *state;
	struct inode in;

	assert_int_equal(store_resolve(h->store,
			     "alice@home.example/Maildir/cur", &in),
	    OK);
	assert_true(S_ISDIR(in.mode));
	assert_int_equal(in.uid, 1000);
	assert_int_equal(
	    store_resolve(h->store, "bob@home.example/Maildir/tmp", &in), OK);
	assert_int_equal(
	    store_resolve(h->store, "carol@home.example", &in), ERR_ABSENT);
}

static void
bytes_survive_checkpoint_and_restart(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode in = make(h, root, "note", S_IFREG | 0644);
	static const enum test_end how[] = { TEST_CLOSE, TEST_KILL };

	write_text(h, in.ino, 0, "hello");
	expect_text(h, in.ino, "hello");
	assert_int_equal(store_checkpoint(h->store), OK);
	expect_text(h, in.ino, "hello");
	write_text(h, in.ino, 5, ", world");
	expect_text(h, in.ino, "hello, world");
	assert_int_equal(store_sync(h->store, in.ino), OK);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(test_home_restart(h, how[i]), OK);
		expect_text(h, in.ino, "hello, world");
		assert_int_equal(
		    store_lookup(h->store, root, "note", &in), OK);
		assert_int_equal(in.size, 12);
		assert_int_equal(in.mode, S_IFREG | 0644);
	}
}

/* The kernel does not tell of a close: what is left alone is written out. */
static void
bytes_left_alone_survive_a_kill(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode in = make(h, root, "note", S_IFREG | 0644);
	int64_t next;

	write_text(h, in.ino, 0, "never synced");
	h->now_ns += 300000000;
	assert_int_equal(store_tick(h->store, &next), OK);
	assert_int_equal(test_home_restart(h, TEST_KILL), OK);
	expect_text(h, in.ino, "never synced");
}

static void
local_only_files_survive_too(void **state)
{
	struct test_home *h = *state;
	uint64_t dir = test_dir(h, "Maildir");
	struct inode in = make(h, dir, "dovecot.index.log", S_IFREG | 0600);
	static const enum test_end how[] = { TEST_CLOSE, TEST_KILL,
		TEST_CRASH };

	assert_int_equal(in.shared_links, 0);
	write_text(h, in.ino, 0, "index");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(store_sync(h->store, in.ino), OK);
		assert_int_equal(test_home_restart(h, how[i]), OK);
		expect_text(h, in.ino, "index");
		assert_int_equal(store_checkpoint(h->store), OK);
		expect_text(h, in.ino, "index");
	}
}

/* What stood in tmp/ when a checkpoint came must be sealed once it is moved. */
static void
a_mail_kept_in_tmp_is_sealed_when_delivered(void **state)
{
	struct test_home *h = *state;
	uint64_t tmp = test_dir(h, "Maildir/tmp");
	uint64_t dest = test_dir(h, "Maildir/new");
	struct inode in = make(h, tmp, "m", S_IFREG | 0600);

	write_text(h, in.ino, 0, "Subject: x\n\nbody\n");
	assert_int_equal(store_checkpoint(h->store), OK);
	assert_int_equal(store_inode(h->store, in.ino, &in), OK);
	assert_int_equal(in.data, DATA_KEPT);
	assert_int_equal(
	    store_rename(h->store, tmp, "m", dest, "m", 0), OK);
	assert_int_equal(store_checkpoint(h->store), OK);
	assert_int_equal(store_inode(h->store, in.ino, &in), OK);
	assert_int_equal(in.data, DATA_RECIPE);
	expect_text(h, in.ino, "Subject: x\n\nbody\n");
	assert_int_equal(test_home_restart(h, TEST_CRASH), OK);
	expect_text(h, in.ino, "Subject: x\n\nbody\n");
}

static void
names_follow_posix(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode d = make(h, root, "d", S_IFDIR | 0755), in;
	struct inode f = make(h, root, "f", S_IFREG | 0600);

	assert_int_equal(store_make(h->store, root, "f", S_IFREG | 0600, 0,
			     NULL, &alice, false, &in),
	    ERR_EXISTS);
	assert_int_equal(store_unlink(h->store, root, "d"), ERR_ISDIR);
	assert_int_equal(store_rmdir(h->store, root, "f"), ERR_NOTDIR);
	make(h, d.ino, "x", S_IFREG | 0600);
	assert_int_equal(store_rmdir(h->store, root, "d"), ERR_NOTEMPTY);
	assert_int_equal(
	    store_rename(h->store, root, "d", d.ino, "e", 0), ERR_INVALID);
	assert_int_equal(
	    store_rename(h->store, root, "f", root, "d", 0), ERR_ISDIR);
	assert_int_equal(
	    store_rename(h->store, root, "d", root, "f", 0), ERR_NOTDIR);
	assert_int_equal(store_rename(h->store, root, "f", d.ino, "x",
			     STORE_RENAME_NOREPLACE),
	    ERR_EXISTS);
	assert_int_equal(store_link(h->store, f.ino, d.ino, "l", false, &in),
	    OK);
	assert_int_equal(in.nlink, 2);
	assert_int_equal(
	    store_rename(h->store, root, "f", d.ino, "x", 0), OK);
	assert_int_equal(store_lookup(h->store, d.ino, "x", &in), OK);
	assert_int_equal(in.ino, f.ino);
	assert_int_equal(store_link(h->store, d.ino, root, "dd", false, &in),
	    ERR_PERM);
	assert_int_equal(
	    store_unlink(h->store, STORE_ROOT, "alice@home.example"),
	    ERR_PERM);
}

static void
exchange_swaps_two_names(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode a = make(h, root, "a", S_IFREG | 0600), in;
	struct inode d = make(h, root, "d", S_IFDIR | 0700);
	struct inode b = make(h, d.ino, "b", S_IFREG | 0600);

	assert_int_equal(store_rename(h->store, root, "a", d.ino, "b",
			     STORE_RENAME_EXCHANGE),
	    OK);
	assert_int_equal(store_lookup(h->store, root, "a", &in), OK);
	assert_int_equal(in.ino, b.ino);
	assert_int_equal(store_lookup(h->store, d.ino, "b", &in), OK);
	assert_int_equal(in.ino, a.ino);
	assert_int_equal(test_home_restart(h, TEST_KILL), OK);
	assert_int_equal(store_lookup(h->store, d.ino, "b", &in), OK);
	assert_int_equal(in.ino, a.ino);
}

static void
trees_of_two_users_do_not_mix(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, ""), bob;
	struct inode f = make(h, root, "f", S_IFREG | 0600), in;

	assert_int_equal(
	    store_user_root(h->store, "bob@home.example", &bob), OK);
	assert_int_equal(store_link(h->store, f.ino, bob, "f", false, &in),
	    ERR_CROSS);
	assert_int_equal(
	    store_rename(h->store, root, "f", bob, "f", 0), ERR_CROSS);
}

static void
a_held_file_outlives_its_name(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode in;

	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "dovecot.index" : "plain";

		assert_int_equal(store_make(h->store, root, name,
				     S_IFREG | 0600, 0, NULL, &alice, true,
				     &in),
		    OK);
		write_text(h, in.ino, 0, "still here");
		assert_int_equal(store_checkpoint(h->store), OK);
		assert_int_equal(store_unlink(h->store, root, name), OK);
		assert_int_equal(store_checkpoint(h->store), OK);
		expect_text(h, in.ino, "still here");
		write_text(h, in.ino, 10, "!");
		expect_text(h, in.ino, "still here!");
		assert_int_equal(store_checkpoint(h->store), OK);
		expect_text(h, in.ino, "still here!");
		store_release(h->store, in.ino, 1);
		assert_int_equal(
		    store_inode(h->store, in.ino, &in), ERR_ABSENT);
	}
	assert_int_equal(test_home_restart(h, TEST_KILL), OK);
	assert_int_equal(
	    store_lookup(h->store, root, "plain", &in), ERR_ABSENT);
}

static void
truncation_and_holes_read_as_zeros(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode in = make(h, root, "f", S_IFREG | 0600);
	struct store_set set = { .set = STORE_SET_SIZE };
	char buf[64];
	size_t got;

	write_text(h, in.ino, 0, "0123456789");
	assert_int_equal(store_checkpoint(h->store), OK);
	set.size = 4;
	assert_int_equal(store_set_attr(h->store, in.ino, &set, &in), OK);
	set.size = 8;
	assert_int_equal(store_set_attr(h->store, in.ino, &set, &in), OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
		    store_read(h->store, in.ino, 0, buf, 64, &got), OK);
		assert_int_equal(got, 8);
		assert_memory_equal(buf, "0123\0\0\0\0", 8);
		if (i == 0)
			assert_int_equal(test_home_restart(h, TEST_KILL), OK);
		else
			assert_int_equal(store_checkpoint(h->store), OK);
	}
	assert_int_equal(store_fallocate(h->store, in.ino,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2),
	    OK);
	assert_int_equal(store_sync(h->store, in.ino), OK);
	assert_int_equal(test_home_restart(h, TEST_CRASH), OK);
	assert_int_equal(store_read(h->store, in.ino, 0, buf, 64, &got), OK);
	assert_memory_equal(buf, "\0\0" "23\0\0\0\0", 8);
}

static void
attributes_are_kept(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode in = make(h, root, "f", S_IFREG | 0600);
	struct store_set set = { .set = STORE_SET_MODE | STORE_SET_UID |
		    STORE_SET_MTIME,
		.mode = 0640, .uid = 7, .mtime_ns = 123456789 };
	char buf[64];
	size_t len;

	assert_int_equal(store_set_attr(h->store, in.ino, &set, &in), OK);
	assert_int_equal(
	    store_set_xattr(h->store, in.ino, "user.a", "1", 1, 0), OK);
	assert_int_equal(store_set_xattr(h->store, in.ino, "user.a", "2", 1,
			     XATTR_CREATE),
	    ERR_EXISTS);
	assert_int_equal(store_set_xattr(h->store, in.ino, "user.b", "2", 1,
			     XATTR_REPLACE),
	    ERR_NOATTR);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(store_inode(h->store, in.ino, &in), OK);
		assert_int_equal(in.mode, S_IFREG | 0640);
		assert_int_equal(in.uid, 7);
		assert_int_equal(in.mtime_ns, 123456789);
		assert_int_equal(store_get_xattr(h->store, in.ino, "user.a",
				     buf, sizeof(buf), &len),
		    OK);
		assert_int_equal(len, 1);
		assert_int_equal(buf[0], '1');
		assert_int_equal(store_list_xattr(h->store, in.ino, buf,
				     sizeof(buf), &len),
		    OK);
		assert_int_equal(len, 7);
		assert_int_equal(
		    test_home_restart(h, i ? TEST_CLOSE : TEST_KILL), OK);
	}
	assert_int_equal(
	    store_remove_xattr(h->store, in.ino, "user.a"), OK);
	assert_int_equal(
	    store_remove_xattr(h->store, in.ino, "user.a"), ERR_NOATTR);
}

static void
symlinks_of_any_length_lead_where_they_say(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	char target[4096], got[4097], name[16];
	struct inode in;

	for (size_t len = 1; len < 4096; len = len * 3 + 1) {
		memset(target, 'x', len);
		target[len] = '\0';
		snprintf(name, sizeof(name), "l%zu", len);
		assert_int_equal(store_make(h->store, root, name,
				     S_IFLNK | 0777, 0, target, &alice, false,
				     &in),
		    OK);
		assert_int_equal(store_checkpoint(h->store), OK);
		assert_int_equal(test_home_restart(h, TEST_KILL), OK);
		assert_int_equal(
		    store_read_link(h->store, in.ino, got, sizeof(got)), OK);
		assert_string_equal(got, target);
		assert_int_equal(in.size, len);
	}
}

static void
directory_times_always_move_forward(void **state)
{
	struct test_home *h = *state;
	uint64_t root = test_dir(h, "");
	struct inode before, after;
	char name[16];

	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(store_inode(h->store, root, &before), OK);
		h->now_ns -= 5000; /* a clock that is set back */
		snprintf(name, sizeof(name), "f%u", i);
		make(h, root, name, S_IFREG | 0600);
		assert_int_equal(store_inode(h->store, root, &after), OK);
		assert_true(after.mtime_ns > before.mtime_ns);
	}
}

static void
messages_are_counted(void **state)
{
	struct test_home *h = *state;
	struct store_user_stats st;
	size_t len;
	uint8_t *mail = test_mail(1, 3000, &len);

	for (unsigned i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "m%u", i);
		assert_int_equal(
		    test_deliver(h, "Maildir", name, mail, len, true), OK);
	}
	assert_int_equal(store_unlink(h->store, test_dir(h, "Maildir/new"),
			     "m0"),
	    OK);
	assert_int_equal(
	    store_rename(h->store, test_dir(h, "Maildir/new"), "m1",
		test_dir(h, "Maildir/cur"), "m1:2,S", 0),
	    OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(store_checkpoint(h->store), OK);
		assert_int_equal(store_user_stats(h->store, 0, &st), OK);
		assert_int_equal(st.messages, 4);
		assert_int_equal(st.files, 4);
		assert_int_equal(st.logical_bytes, 4 * len);
		assert_true(st.record_sequence > 8);
		assert_true(st.head_sequence > 0);
		assert_int_equal(
		    test_home_restart(h, i ? TEST_CLOSE : TEST_KILL), OK);
	}
	free(mail);
}

static bool
collect(void *arg, const struct entry *e, const struct inode *in)
{
	char *names = arg;
	size_t len = strlen(names);

	(void)in;
	memcpy(names + len, e->name, e->name_len + 1u);
	return true;
}

/* Renamed while it is listed, an entry is shown once, under either name. */
static void
a_rename_keeps_its_place_in_the_listing(void **state)
{
	struct test_home *h = *state;
	struct inode d = make(h, test_dir(h, ""), "d", S_IFDIR | 0700);
	char names[64] = "";

	make(h, d.ino, "a", S_IFREG | 0600);
	make(h, d.ino, "b", S_IFREG | 0600);
	make(h, d.ino, "c", S_IFREG | 0600);
	assert_int_equal(
	    store_rename(h->store, d.ino, "a", d.ino, "z", 0), OK);
	assert_int_equal(
	    store_list(h->store, d.ino, 0, true, collect, names), OK);
	assert_string_equal(names, "zbc");
	assert_int_equal(store_checkpoint(h->store), OK);
	assert_int_equal(
	    store_rename(h->store, d.ino, "b", d.ino, "y", 0), OK);
	names[0] = '\0';
	assert_int_equal(
	    store_list(h->store, d.ino, 0, true, collect, names), OK);
	assert_string_equal(names, "zyc");
}

static void
the_ledger_remembers(void **state)
{
	struct test_home *h = *state;
	uint8_t mark[16] = { 1, 2, 3 };
	bool has;

	assert_int_equal(store_ledger_has(h->store, mark, &has), OK);
	assert_false(has);
	assert_int_equal(store_ledger_add(h->store, mark), OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(store_ledger_has(h->store, mark, &has), OK);
		assert_true(has);
		assert_int_equal(store_sync(h->store, 0), OK);
		assert_int_equal(
		    test_home_restart(h, i ? TEST_CLOSE : TEST_KILL), OK);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_user_has_a_maildir),
		T(bytes_survive_checkpoint_and_restart),
		T(bytes_left_alone_survive_a_kill),
		T(local_only_files_survive_too),
		T(a_mail_kept_in_tmp_is_sealed_when_delivered),
		T(names_follow_posix),
		T(exchange_swaps_two_names),
		T(trees_of_two_users_do_not_mix),
		T(a_held_file_outlives_its_name),
		T(truncation_and_holes_read_as_zeros),
		T(attributes_are_kept),
		T(symlinks_of_any_length_lead_where_they_say),
		T(directory_times_always_move_forward),
		T(messages_are_counted),
		T(a_rename_keeps_its_place_in_the_listing),
		T(the_ledger_remembers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
