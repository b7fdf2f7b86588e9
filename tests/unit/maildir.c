#include "fs/maildir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool
file_is_local(const char *name)
{
	return maildir_is_local(NULL, "Maildir", name, false);
}

static bool
dir_is_local(const char *name)
{
	return maildir_is_local(NULL, "Maildir", name, true);
}

static void
mail_programs_own_files_stay_here(void **state)
{
	static const char *const local[] = { "dovecot.index",
		"dovecot.index.cache", "dovecot.index.log.2", "dovecot-uidlist",
		"dovecot-uidlist.lock", "dovecot.list.index.log",
		"dovecot-uidvalidity", "dovecot-uidvalidity.5f0a",
		"dovecot.mailbox.log", ".temp.12.host", "maildirsize",
		"subscriptions.lock", ".hcache-gdbm", "x.hcache", ".a.swp",
		"a.swx", ".#draft", "#draft#", "draft~", "4913", ".nfs0000",
		".fuse_hidden01" };

	(void)state;
	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
		if (!file_is_local(local[i]))
			fail_msg("%s is not local", local[i]);
}

static void
what_other_devices_need_is_shared(void **state)
{
	static const char *const shared[] = { "dovecot-keywords",
		"subscriptions", ".dovecot.sieve", "main.sieve", "49130", "#",
		"##x", "a.lock.b", "lock", "swp", "~x", "",
		"1700000000.M1P2.host,S=12:2,S" };

	(void)state;
	for (size_t i = 0; i < sizeof(shared) / sizeof(*shared); i++)
		if (file_is_local(shared[i]))
			fail_msg("%s is local", shared[i]);
}

static void
a_pattern_of_two_ends_needs_both_of_them(void **state)
{
	(void)state;
	assert_true(file_is_local("##"));
	assert_false(file_is_local("#"));
}

static void
folders_that_look_like_such_files_are_shared(void **state)
{
	(void)state;
	assert_false(dir_is_local(".temp.2024"));
	assert_false(dir_is_local(".door.lock"));
	assert_false(dir_is_local(".#1"));
	assert_false(dir_is_local(".Sent"));
	assert_true(dir_is_local(".notmuch"));
	assert_true(dir_is_local("xapian"));
}

static void
everything_in_tmp_is_local_and_tmp_itself_is_not(void **state)
{
	(void)state;
	assert_true(maildir_is_local(NULL, "tmp", "x", false));
	assert_true(maildir_is_local(NULL, "tmp", "x", true));
	assert_true(maildir_is_local(NULL, "tmp", "", false));
	assert_false(maildir_is_local(NULL, "Maildir", "tmp", true));
	assert_false(maildir_is_local(NULL, "tmp2", "x", false));
}

static void
a_name_is_taken_apart(void **state)
{
	static const char name[] = "17.M1P2.h,S=4231,W=4300:2,FS";
	struct maildir_name n;

	(void)state;
	maildir_parse(name, &n);
	assert_int_equal(n.base_len, strlen("17.M1P2.h,S=4231,W=4300"));
	assert_string_equal(n.flags, "FS");
	assert_true(n.has_info);
	assert_int_equal(n.size, 4231);
	assert_int_equal(n.wsize, 4300);
}

static void
a_name_without_info_has_no_flags(void **state)
{
	struct maildir_name n;

	(void)state;
	maildir_parse("17.M1P2.h,S=5", &n);
	assert_int_equal(n.base_len, 13);
	assert_string_equal(n.flags, "");
	assert_false(n.has_info);
	assert_int_equal(n.size, 5);
	maildir_parse("", &n);
	assert_int_equal(n.base_len, 0);
	assert_string_equal(n.flags, "");
}

static void
a_size_that_is_no_number_counts_as_absent(void **state)
{
	static const char *const names[] = { "a,S=", "a,S", "a,S=1x", "a,S=-1",
		"a,S= 1", "aS=1", "a:2,S=1", "a,S=18446744073709551616",
		"a,X=1", "a,," };
	struct maildir_name n;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		maildir_parse(names[i], &n);
		assert_int_equal(n.size, 0);
	}
	maildir_parse("a,S=18446744073709551615", &n);
	assert_true(n.size == UINT64_MAX);
}

static void
flags_and_sizes_do_not_make_another_message(void **state)
{
	(void)state;
	assert_true(maildir_same_message("1.a.h", "1.a.h:2,S"));
	assert_true(maildir_same_message("1.a.h:2,F", "1.a.h,S=9:2,S"));
	assert_false(maildir_same_message("1.a.h", "1.a.hh"));
	assert_false(maildir_same_message("1.a.h:2,", "1.b.h:2,"));
	assert_false(maildir_same_message("", ""));
}

static void
messages_lie_in_cur_and_new(void **state)
{
	(void)state;
	assert_true(maildir_is_message_dir("cur"));
	assert_true(maildir_is_message_dir("new"));
	assert_false(maildir_is_message_dir("tmp"));
	assert_false(maildir_is_message_dir("current"));
	assert_false(maildir_is_message_dir(""));
}

static void
a_home_adds_names_of_its_own_and_takes_them_back(void **state)
{
	static const char text[] = "*.cache\nindex.d/\n";
	struct local_names_fault fault;
	struct local_names list, none = { 0 };

	(void)state;
	assert_int_equal(
	    local_names_read(text, strlen(text), &list, &fault), OK);
	assert_false(file_is_local("notes.cache"));
	maildir_local_set(&list);
	assert_true(file_is_local("notes.cache"));
	assert_false(dir_is_local("notes.cache"));
	assert_true(dir_is_local("index.d"));
	assert_true(file_is_local("dovecot.index"));
	/* A directory's purpose is not a matter of this list. */
	assert_false(maildir_is_local(NULL, "index.d", "", false));
	maildir_local_set(&none);
	assert_false(file_is_local("notes.cache"));
	assert_true(file_is_local("dovecot.index"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mail_programs_own_files_stay_here),
		cmocka_unit_test(what_other_devices_need_is_shared),
		cmocka_unit_test(a_pattern_of_two_ends_needs_both_of_them),
		cmocka_unit_test(folders_that_look_like_such_files_are_shared),
		cmocka_unit_test(
		    everything_in_tmp_is_local_and_tmp_itself_is_not),
		cmocka_unit_test(a_name_is_taken_apart),
		cmocka_unit_test(a_name_without_info_has_no_flags),
		cmocka_unit_test(a_size_that_is_no_number_counts_as_absent),
		cmocka_unit_test(flags_and_sizes_do_not_make_another_message),
		cmocka_unit_test(messages_lie_in_cur_and_new),
		cmocka_unit_test(
		    a_home_adds_names_of_its_own_and_takes_them_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
