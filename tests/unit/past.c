/* The rules of past.h, one by one. */
#include "tests/unit/past_test.h"

/* ---- one log ------------------------------------------------------------ */

static void
a_log_makes_the_tree_that_its_device_had(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 1);
	make_dir(&s, 101, 0, "Maildir");
	make_dir(&s, 102, 101, "cur");
	make_dir(&s, 103, 101, "new");
	mail(&s, 104, 103, "one");
	mail(&s, 105, 103, "two");
	rename_it(&s, 104, 103, "one", 102, "one:2,S", 0);
	link_to(&s, 105, 102, "copy");
	unlink_it(&s, 105, 103, "two");
	mail(&s, 106, 103, "three");
	rename_it(&s, 106, 103, "three", 103, "four", 0);
	script_is(&s, "Maildir/ 1:1\n"
		      "Maildir/cur/ 1:2\n"
		      "Maildir/cur/one:2,S 1:4\n"
		      "Maildir/cur/copy 1:5\n"
		      "Maildir/new/ 1:3\n"
		      "Maildir/new/four 1:6\n");
	assert_int_equal(script_ignored(&s), 0);
	past_free(s.p);
}

static void
numbers_of_the_own_device_are_those_of_its_log(void **state)
{
	struct inode in;
	struct script s;
	struct id id;
	uint64_t n;

	(void)state;
	script_init(&s, 2);
	mail(&s, 142, 0, "mine");
	mail(&s, 242, 0, "other");
	assert_int_equal(script_number(&s, 142), 42);
	n = script_number(&s, 242);
	assert_true(n > ULOG_NUMBER_MAX);
	assert_int_equal(past_inode(s.p, n, &in), OK);
	assert_int_equal(in.ino, n);
	past_origin(s.p, n, &id, &n);
	assert_true(id_eq(&id, &s.table[2]));
	assert_int_equal(n, 42);
	assert_int_equal(
	    past_number(s.p, &s.table[3], 42, &n), ERR_ABSENT);
	assert_int_equal(past_number(s.p, &s.table[3], ULOG_ROOT, &n), OK);
	assert_int_equal(n, ULOG_ROOT);
	past_free(s.p);
}

static void
an_inode_says_what_its_records_said(void **state)
{
	struct ulog_record r;
	struct inode in;
	struct script s;

	(void)state;
	script_init(&s, 1);
	memset(&r, 0, sizeof(r));
	r.op = ULOG_CREATE;
	r.object = oid(107);
	r.name = "m";
	r.name_len = 1;
	r.mode = S_IFREG | 0640;
	r.uid = 1000;
	r.gid = 8;
	r.mtime_ns = 5;
	r.ctime_ns = 6;
	r.has_content = true;
	r.size = 1234;
	r.content.len = 3;
	memcpy(r.content.bytes, "abc", 3);
	script_apply(&s, &r);
	assert_int_equal(past_inode(s.p, 7, &in), OK);
	assert_int_equal(in.mode, S_IFREG | 0640);
	assert_int_equal(in.uid, 1000);
	assert_int_equal(in.gid, 8);
	assert_int_equal(in.mtime_ns, 5);
	assert_int_equal(in.ctime_ns, 6);
	assert_int_equal(in.btime_ns, T0 + 1000);
	assert_int_equal(in.size, 1234);
	assert_int_equal(in.nlink, 1);
	assert_int_equal(in.data, DATA_RECIPE);
	assert_int_equal(in.content.len, 3);
	assert_memory_equal(in.content.bytes, "abc", 3);

	r.op = ULOG_CONTENT;
	r.size = 0;
	r.content.len = 0;
	r.mtime_ns = 9;
	script_apply(&s, &r);
	r.op = ULOG_SETATTR;
	r.mode = S_IFDIR | 04755; /* the type stays */
	r.uid = 1;
	r.gid = 2;
	r.mtime_ns = 10;
	r.ctime_ns = 11;
	script_apply(&s, &r);
	assert_int_equal(past_inode(s.p, 7, &in), OK);
	assert_int_equal(in.mode, S_IFREG | 04755);
	assert_int_equal(in.uid, 1);
	assert_int_equal(in.gid, 2);
	assert_int_equal(in.size, 0);
	assert_int_equal(in.content.len, 0);
	assert_int_equal(in.mtime_ns, 10);
	assert_int_equal(in.ctime_ns, 11);
	r.object = oid(0);
	r.mode = S_IFDIR | 0750;
	script_apply(&s, &r);
	assert_int_equal(past_inode(s.p, ULOG_ROOT, &in), OK);
	assert_int_equal(in.mode, S_IFDIR | 0750);
	assert_int_equal(in.nlink, 2);
	assert_int_equal(past_inode(s.p, 8, &in), ERR_ABSENT);
	past_free(s.p);
}

static void
symlinks_and_device_nodes_come_back(void **state)
{
	struct ulog_record r;
	struct inode in;
	struct script s;

	(void)state;
	script_init(&s, 1);
	memset(&r, 0, sizeof(r));
	r.op = ULOG_CREATE;
	r.object = oid(101);
	r.name = "l";
	r.name_len = 1;
	r.mode = S_IFLNK | 0777;
	r.has_content = true;
	r.size = r.content.len = 6;
	memcpy(r.content.bytes, "target", 6);
	script_apply(&s, &r);
	assert_int_equal(past_inode(s.p, 1, &in), OK);
	assert_int_equal(in.data, DATA_LINK);
	assert_int_equal(in.content.len, 6);
	assert_memory_equal(in.content.bytes, "target", 6);

	memset(&r, 0, sizeof(r));
	r.op = ULOG_CREATE;
	r.object = oid(102);
	r.name = "null";
	r.name_len = 4;
	r.mode = S_IFCHR | 0666;
	r.rdev = 0x103;
	script_apply(&s, &r);
	assert_int_equal(past_inode(s.p, 2, &in), OK);
	assert_int_equal(in.rdev, 0x103);
	past_free(s.p);
}

static void
attributes_of_a_file_go_with_it(void **state)
{
	struct past_stats before, after;
	struct ulog_record r;
	const uint8_t *row;
	struct script s;
	size_t len;

	(void)state;
	script_init(&s, 1);
	mail(&s, 101, 0, "m");
	past_stats(s.p, &before);
	memset(&r, 0, sizeof(r));
	r.op = ULOG_XATTR;
	r.object = oid(101);
	r.name = "user.b";
	r.name_len = 6;
	r.value = (const uint8_t *)"xyz";
	r.value_len = 3;
	script_apply(&s, &r);
	r.name = "user.a";
	r.value_len = 1;
	script_apply(&s, &r);
	assert_int_equal(past_xattrs(s.p, 1, &row, &len), OK);
	assert_int_equal(len, 20);
	assert_memory_equal(row, "\6user.a\1x\6user.b\3xyz", 20);
	r.name = "user.b";
	r.value = NULL;
	script_apply(&s, &r);
	script_apply(&s, &r);
	assert_int_equal(script_ignored(&s), 1);
	assert_int_equal(past_xattrs(s.p, 1, &row, &len), OK);
	assert_int_equal(len, 9);
	unlink_it(&s, 101, 0, "m");
	assert_int_equal(past_xattrs(s.p, 1, &row, &len), ERR_ABSENT);
	past_stats(s.p, &after);
	assert_true(after.memory - before.memory < 1024);
	mail(&s, 101, 0, "m");
	assert_int_equal(past_xattrs(s.p, 1, &row, &len), OK);
	assert_int_equal(len, 0);
	past_free(s.p);
}

static void
a_listing_goes_on_where_it_stopped_whatever_happens(void **state)
{
	struct past_walk w;
	struct script s;
	struct entry e;
	uint64_t after;
	char name[16];

	(void)state;
	script_init(&s, 1);
	for (unsigned i = 1; i < 90; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		mail(&s, 100 + i, 0, name);
	}
	assert_int_equal(past_walk_init(&w, s.p, ULOG_ROOT, 0), OK);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(past_walk_next(&w, &e), OK);
	assert_string_equal(e.name, "m10");
	after = e.cookie;
	/* One listed is renamed, the next ones go, a new one comes. */
	rename_it(&s, 110, 0, "m10", 0, "m10:2,S", 0);
	for (unsigned i = 11; i < 80; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		unlink_it(&s, 100 + i, 0, name);
	}
	mail(&s, 190, 0, "m90");
	mail(&s, 191, 0, "m91");
	assert_int_equal(past_walk_init(&w, s.p, ULOG_ROOT, after), OK);
	for (unsigned i = 80; i < 92; i++) {
		assert_int_equal(past_walk_next(&w, &e), OK);
		snprintf(name, sizeof(name), "m%u", i);
		assert_string_equal(e.name, name);
	}
	assert_int_equal(past_walk_next(&w, &e), ERR_ABSENT);
	assert_int_equal(past_walk_next(&w, &e), ERR_ABSENT);
	assert_int_equal(past_walk_init(&w, s.p, 101, 0), ERR_ABSENT);
	assert_int_equal(past_walk_init(&w, s.p, 1, 0), ERR_NOTDIR);
	assert_int_equal(past_lookup(s.p, 1, "x", 1, &e), ERR_NOTDIR);
	assert_int_equal(past_lookup(s.p, 0, "x", 1, &e), ERR_ABSENT);
	past_free(s.p);
}

static void
a_path_leads_to_its_object(void **state)
{
	struct script s;
	char buf[32];

	(void)state;
	script_init(&s, 1);
	make_dir(&s, 101, 0, "Maildir");
	make_dir(&s, 102, 101, "new");
	mail(&s, 103, 102, "mail");
	assert_int_equal(past_path(s.p, 3, buf, sizeof(buf)), OK);
	assert_string_equal(buf, "Maildir/new/mail");
	for (size_t cap = 0; cap <= 16; cap++)
		assert_int_equal(past_path(s.p, 3, buf, cap), ERR_RANGE);
	assert_int_equal(past_path(s.p, 3, buf, 17), OK);
	assert_int_equal(past_path(s.p, ULOG_ROOT, buf, 1), OK);
	assert_string_equal(buf, "");
	rename_it(&s, 102, 101, "new", 0, "moved", 0);
	assert_int_equal(past_path(s.p, 3, buf, sizeof(buf)), OK);
	assert_string_equal(buf, "moved/mail");
	unlink_it(&s, 103, 102, "mail");
	assert_int_equal(past_path(s.p, 3, buf, sizeof(buf)), ERR_ABSENT);
	past_free(s.p);
}

static void
in_one_log_a_rename_replaces_without_saying_so(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 1);
	mail(&s, 101, 0, "a");
	mail(&s, 102, 0, "b");
	rename_it(&s, 101, 0, "a", 0, "b", 0);
	script_is(&s, "b 1:1\n");
	make_dir(&s, 103, 0, "c");
	make_dir(&s, 104, 0, "d");
	rename_it(&s, 103, 0, "c", 0, "d", 104);
	script_is(&s, "b 1:1\nd/ 1:3\n");
	past_free(s.p);
}

static void
a_damaged_log_leaves_no_number_without_its_directory(void **state)
{
	struct inode in;
	struct script s;

	(void)state;
	script_init(&s, 1);
	make_dir(&s, 101, 0, "a");
	make_dir(&s, 102, 0, "a");
	make_dir(&s, 103, 0, "a");
	unlink_it(&s, 102, 0, "a");
	script_is(&s, "");
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(past_inode(s.p, i, &in), ERR_ABSENT);
	mail(&s, 104, 103, "m");
	script_is(&s, "lost.~00000001.3/ 1:3\nlost.~00000001.3/m 1:4\n");
	past_free(s.p);
}

static void
two_names_may_swap_what_they_mean(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 1);
	make_dir(&s, 101, 0, "dir");
	mail(&s, 102, 101, "in");
	mail(&s, 103, 0, "file");
	move(&s, ULOG_EXCHANGE, 103, 0, "file", 101, "in", 102);
	script_is(&s, "dir/ 1:1\ndir/in 1:3\nfile 1:2\n");
	move(&s, ULOG_EXCHANGE, 101, 0, "dir", 0, "file", 0);
	script_is(&s, "dir 1:2\nfile/ 1:1\nfile/in 1:3\n");
	assert_int_equal(script_ignored(&s), 0);
	/* Into itself; and what is not there. */
	move(&s, ULOG_EXCHANGE, 101, 0, "file", 101, "in", 103);
	move(&s, ULOG_EXCHANGE, 103, 101, "in", 0, "file", 101);
	move(&s, ULOG_EXCHANGE, 101, 0, "file", 0, "none", 0);
	move(&s, ULOG_EXCHANGE, 101, 0, "file", 0, "dir", 103);
	assert_int_equal(script_ignored(&s), 4);
	script_is(&s, "dir 1:2\nfile/ 1:1\nfile/in 1:3\n");
	past_free(s.p);
}

static void
what_came_and_went_leaves_no_memory_behind(void **state)
{
	struct past_stats before, after;
	struct script s;
	char name[64];

	(void)state;
	script_init(&s, 1);
	make_dir(&s, 101, 0, "new");
	for (unsigned i = 0; i < 20000; i++) {
		struct ulog_record r;

		memset(&r, 0, sizeof(r));
		if (i == 2000)
			past_stats(s.p, &before);
		snprintf(name, sizeof(name), "message number %u", i);
		r.op = ULOG_CREATE;
		r.object.device = 1;
		r.object.number = 1000 + i;
		r.dir = oid(101);
		r.name = name;
		r.name_len = strlen(name);
		r.mode = S_IFREG | 0600;
		r.has_content = true;
		r.content.len = (uint16_t)(i % CONTENT_MAX);
		assert_int_equal(past_apply(s.p, &r, s.table, 10), OK);
		r.op = ULOG_UNLINK;
		assert_int_equal(past_apply(s.p, &r, s.table, 10), OK);
	}
	past_stats(s.p, &after);
	assert_int_equal(before.memory, after.memory);
	assert_int_equal(after.objects, 2);
	past_free(s.p);
}

static void
a_message_costs_less_than_400_bytes(void **state)
{
	const unsigned messages = 200000;
	struct past_stats stats;
	struct ulog_record r;
	struct script s;
	char name[64];

	(void)state;
	script_init(&s, 1);
	make_dir(&s, 101, 0, "cur");
	memset(&r, 0, sizeof(r));
	r.op = ULOG_CREATE;
	r.object.device = 1;
	r.dir = oid(101);
	r.name = name;
	r.mode = S_IFREG | 0600;
	r.has_content = true;
	r.content.len = 70;
	for (unsigned i = 0; i < messages; i++) {
		r.object.number = 1000 + i;
		snprintf(name, sizeof(name),
		    "17900%05u.M%06uP4711.mail.rice.example,S=1024:2,S", i, i);
		r.name_len = strlen(name);
		assert_int_equal(past_apply(s.p, &r, s.table, 10), OK);
	}
	past_stats(s.p, &stats);
	assert_int_equal(stats.objects, messages + 2);
	assert_true(stats.memory < (size_t)messages * 400);
	past_free(s.p);
}

static void
a_limit_on_memory_is_kept(void **state)
{
	const size_t limit = (size_t)2 << 20;
	struct id own = test_device(1);
	struct past_stats stats;
	struct ulog_record r;
	struct past *p;
	char name[64];
	enum err e;

	(void)state;
	assert_int_equal(past_new(&own, 1, limit, &p), OK);
	memset(&r, 0, sizeof(r));
	r.op = ULOG_CREATE;
	r.name = name;
	r.mode = S_IFREG | 0600;
	do {
		r.object.number++;
		snprintf(name, sizeof(name), "%llu",
		    (unsigned long long)r.object.number);
		r.name_len = strlen(name);
	} while ((e = past_apply(p, &r, &own, 1)) == OK);
	assert_int_equal(e, ERR_NOMEM);
	past_stats(p, &stats);
	assert_true(stats.objects > 5000);
	/* A table doubles before it is asked. */
	assert_true(stats.memory <= limit + limit / 2);
	past_free(p);
}

/* ---- many logs ---------------------------------------------------------- */

static void
the_later_of_two_keeps_the_name_and_both_are_there(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 3);
	mail(&s, 101, 0, "m");
	mail(&s, 201, 0, "m");
	mail(&s, 102, 0, "m");
	mail(&s, 103, 0, "m");
	mail(&s, 202, 0, "m");
	script_is(&s, "m.~00000001 1:1\n"
		      "m.~00000002 2:1\n"
		      "m.~00000001.2 1:2\n"
		      "m.~00000001.3 1:3\n"
		      "m 2:2\n");
	past_free(s.p);
}

static void
a_suffix_fits_the_longest_name(void **state)
{
	char name[ULOG_NAME_MAX + 1];
	struct script s;
	struct entry e;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[ULOG_NAME_MAX] = '\0';
	script_init(&s, 2);
	mail(&s, 101, 0, name);
	mail(&s, 201, 0, name);
	mail(&s, 102, 0, name);
	assert_int_equal(past_lookup(s.p, 0, name, ULOG_NAME_MAX, &e), OK);
	assert_int_equal(e.ino, 2);
	memcpy(name + ULOG_NAME_MAX - 10, ".~00000001", 10);
	assert_int_equal(past_lookup(s.p, 0, name, ULOG_NAME_MAX, &e), OK);
	assert_int_equal(e.ino, 1);
	past_free(s.p);
}

static void
a_directory_that_two_made_is_one(void **state)
{
	struct inode in;
	struct script s;

	(void)state;
	script_init(&s, 2);
	make_dir(&s, 101, 0, "Work");
	mail(&s, 102, 101, "mine");
	name_record(&s, ULOG_CREATE, 201, 0, "Work", S_IFDIR | 0755);
	mail(&s, 202, 201, "yours");
	script_is(&s, "Work/ 1:1\nWork/mine 1:2\nWork/yours 2:2\n");
	assert_int_equal(past_inode(s.p, script_number(&s, 201), &in), OK);
	assert_int_equal(in.ino, 1);
	assert_int_equal(in.mode, S_IFDIR | 0755);
	/* Under either number it is moved, and is not empty. */
	rename_it(&s, 201, 0, "Work", 0, "Play", 0);
	unlink_it(&s, 201, 0, "Play");
	script_is(&s, "Play/ 1:1\nPlay/mine 1:2\nPlay/yours 2:2\n");
	unlink_it(&s, 102, 101, "mine");
	unlink_it(&s, 202, 201, "yours");
	unlink_it(&s, 201, 0, "Play");
	script_is(&s, "");
	/* Gone, it comes back under either. */
	mail(&s, 203, 201, "late");
	script_is(&s, "Play/ 1:1\nPlay/late 2:3\n");
	past_free(s.p);
}

static void
a_directory_comes_back_for_what_is_put_into_it(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	make_dir(&s, 101, 0, "a");
	make_dir(&s, 102, 101, "b");
	make_dir(&s, 103, 102, "c");
	unlink_it(&s, 103, 102, "c");
	unlink_it(&s, 102, 101, "b");
	unlink_it(&s, 101, 0, "a");
	script_is(&s, "");
	mail(&s, 201, 103, "m");
	script_is(&s, "a/ 1:1\na/b/ 1:2\na/b/c/ 1:3\na/b/c/m 2:1\n");
	past_free(s.p);
}

static void
what_comes_back_does_not_take_a_name_from_another(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	make_dir(&s, 101, 0, "a");
	unlink_it(&s, 101, 0, "a");
	mail(&s, 102, 0, "a");
	mail(&s, 103, 0, "x");
	rename_it(&s, 203, 0, "x", 101, "x", 0); /* no such object */
	rename_it(&s, 103, 0, "x", 101, "x", 0);
	script_is(&s, "a 1:2\na.~00000001/ 1:1\na.~00000001/x 1:3\n");
	/* The one that is renamed stands where the directory was. */
	unlink_it(&s, 103, 101, "x");
	unlink_it(&s, 101, 0, "a.~00000001");
	rename_it(&s, 102, 0, "a", 0, "a.~00000001", 0);
	rename_it(&s, 102, 0, "a.~00000001", 101, "a", 0);
	script_is(&s,
	    "a.~00000001.~00000001/ 1:1\na.~00000001.~00000001/a 1:2\n");
	past_free(s.p);
}

static void
a_directory_with_something_in_it_is_not_removed(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	make_dir(&s, 101, 0, "a");
	mail(&s, 201, 101, "m");
	unlink_it(&s, 101, 0, "a");
	script_is(&s, "a/ 1:1\na/m 2:1\n");
	assert_int_equal(script_ignored(&s), 1);
	/* Nor replaced. */
	make_dir(&s, 102, 0, "b");
	rename_it(&s, 102, 0, "b", 0, "a", 101);
	script_is(
	    &s, "a.~00000001/ 1:1\na.~00000001/m 2:1\na/ 1:2\n");
	past_free(s.p);
}

static void
of_two_renames_the_later_wins(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	mail(&s, 101, 0, "m:2,");
	rename_it(&s, 101, 0, "m:2,", 0, "m:2,S", 0);
	rename_it(&s, 101, 0, "m:2,", 0, "m:2,F", 0);
	script_is(&s, "m:2,F 1:1\n");
	/* With two names nobody can tell which. */
	link_to(&s, 101, 0, "copy");
	rename_it(&s, 101, 0, "m:2,S", 0, "m:2,T", 0);
	script_is(&s, "m:2,F 1:1\ncopy 1:1\n");
	assert_int_equal(script_ignored(&s), 1);
	past_free(s.p);
}

static void
a_rename_replaces_only_what_it_knew(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	mail(&s, 101, 0, "a");
	mail(&s, 102, 0, "b");
	rename_it(&s, 101, 0, "a", 0, "b", 102);
	script_is(&s, "b 1:1\n");
	mail(&s, 103, 0, "c");
	mail(&s, 201, 0, "d"); /* unknown to the next one */
	rename_it(&s, 103, 0, "c", 0, "d", 0);
	script_is(&s, "b 1:1\nd 1:3\nd.~00000002 2:1\n");
	/* What it knew is elsewhere meanwhile: it stays there. */
	mail(&s, 104, 0, "e");
	mail(&s, 105, 0, "f");
	rename_it(&s, 104, 0, "e", 0, "e2", 0);
	rename_it(&s, 105, 0, "f", 0, "e", 104);
	script_is(&s, "b 1:1\nd 1:3\nd.~00000002 2:1\ne2 1:4\ne 1:5\n");
	past_free(s.p);
}

static void
an_unlink_takes_only_the_entry_that_it_means(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	mail(&s, 101, 0, "m:2,");
	rename_it(&s, 101, 0, "m:2,", 0, "m:2,S", 0);
	unlink_it(&s, 101, 0, "m:2,"); /* did not know of the rename */
	script_is(&s, "m:2,S 1:1\n");
	unlink_it(&s, 102, 0, "m:2,S");
	unlink_it(&s, 101, 105, "m:2,S");
	script_is(&s, "m:2,S 1:1\n");
	assert_int_equal(script_ignored(&s), 3);
	unlink_it(&s, 101, 0, "m:2,S");
	rename_it(&s, 101, 0, "m:2,S", 0, "m:2,F", 0);
	script_is(&s, "");
	/* But a name that was added meanwhile is there. */
	link_to(&s, 101, 0, "again");
	script_is(&s, "again 1:1\n");
	past_free(s.p);
}

static void
directories_never_hold_themselves(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	make_dir(&s, 101, 0, "a");
	make_dir(&s, 201, 0, "b");
	rename_it(&s, 101, 0, "a", 201, "a", 0);
	rename_it(&s, 201, 0, "b", 101, "b", 0); /* before it knew */
	rename_it(&s, 101, 201, "a", 101, "a", 0);
	script_is(&s, "b/ 2:1\nb/a/ 1:1\n");
	assert_int_equal(script_ignored(&s), 2);
	/* Nor through one that is dead. */
	make_dir(&s, 102, 101, "c");
	unlink_it(&s, 102, 101, "c");
	rename_it(&s, 201, 0, "b", 102, "b", 0);
	script_is(&s, "b/ 2:1\nb/a/ 1:1\n");
	assert_int_equal(script_ignored(&s), 3);
	past_free(s.p);
}

static void
what_was_in_a_lost_directory_is_kept_and_finds_its_place(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	mail(&s, 201, 117, "m");
	script_is(&s, "lost.~00000001.17/ 1:17\nlost.~00000001.17/m 2:1\n");
	make_dir(&s, 117, 0, "Work");
	script_is(&s, "Work/ 1:17\nWork/m 2:1\n");
	/* Records of unknown objects have nothing to act on. */
	unlink_it(&s, 118, 0, "x");
	link_to(&s, 118, 0, "x");
	rename_it(&s, 118, 0, "x", 0, "y", 0);
	name_record(&s, ULOG_SETATTR, 118, 0, "", 0);
	name_record(&s, ULOG_CONTENT, 118, 0, "", 0);
	assert_int_equal(script_ignored(&s), 5);
	mail(&s, 202, 201, "in a file");
	rename_it(&s, 201, 117, "m", 201, "itself", 0);
	assert_int_equal(script_ignored(&s), 7);
	script_is(&s, "Work/ 1:17\nWork/m 2:1\n");
	past_free(s.p);
}

static void
an_object_may_be_created_again(void **state)
{
	struct script s;

	(void)state;
	script_init(&s, 2);
	mail(&s, 101, 0, "m");
	unlink_it(&s, 101, 0, "m");
	mail(&s, 101, 0, "n"); /* it left the log and entered it again */
	script_is(&s, "n 1:1\n");
	mail(&s, 101, 0, "o");
	mail(&s, 101, 0, "o");
	script_is(&s, "n 1:1\no 1:1\n");
	make_dir(&s, 102, 0, "d");
	make_dir(&s, 102, 0, "e");
	assert_int_equal(script_ignored(&s), 1);
	unlink_it(&s, 102, 0, "d");
	make_dir(&s, 102, 0, "e");
	mail(&s, 102, 0, "no directory");
	script_is(&s, "n 1:1\no 1:1\ne/ 1:2\n");
	past_free(s.p);
}

static void
there_may_be_255_devices(void **state)
{
	struct id own = test_device(1), other;
	struct ulog_record r;
	struct past *p;
	uint64_t n;

	(void)state;
	assert_int_equal(past_new(&own, 300, 0, &p), OK);
	memset(&r, 0, sizeof(r));
	r.op = ULOG_CREATE;
	r.object.number = 1;
	r.name = "m";
	r.name_len = 1;
	r.mode = S_IFREG;
	for (unsigned i = 0; i < 254; i++) {
		memset(&other, 0, sizeof(other));
		other.b[0] = (uint8_t)i;
		other.b[1] = 1;
		assert_int_equal(past_apply(p, &r, &other, 1), OK);
		assert_int_equal(past_number(p, &other, 1, &n), OK);
	}
	check(p);
	other.b[0] = 255;
	assert_int_equal(past_apply(p, &r, &other, 1), ERR_RANGE);
	past_free(p);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_log_makes_the_tree_that_its_device_had),
		cmocka_unit_test(
		    numbers_of_the_own_device_are_those_of_its_log),
		cmocka_unit_test(an_inode_says_what_its_records_said),
		cmocka_unit_test(symlinks_and_device_nodes_come_back),
		cmocka_unit_test(attributes_of_a_file_go_with_it),
		cmocka_unit_test(
		    a_listing_goes_on_where_it_stopped_whatever_happens),
		cmocka_unit_test(a_path_leads_to_its_object),
		cmocka_unit_test(
		    in_one_log_a_rename_replaces_without_saying_so),
		cmocka_unit_test(
		    a_damaged_log_leaves_no_number_without_its_directory),
		cmocka_unit_test(two_names_may_swap_what_they_mean),
		cmocka_unit_test(what_came_and_went_leaves_no_memory_behind),
		cmocka_unit_test(a_message_costs_less_than_400_bytes),
		cmocka_unit_test(a_limit_on_memory_is_kept),
		cmocka_unit_test(
		    the_later_of_two_keeps_the_name_and_both_are_there),
		cmocka_unit_test(a_suffix_fits_the_longest_name),
		cmocka_unit_test(a_directory_that_two_made_is_one),
		cmocka_unit_test(
		    a_directory_comes_back_for_what_is_put_into_it),
		cmocka_unit_test(
		    what_comes_back_does_not_take_a_name_from_another),
		cmocka_unit_test(
		    a_directory_with_something_in_it_is_not_removed),
		cmocka_unit_test(of_two_renames_the_later_wins),
		cmocka_unit_test(a_rename_replaces_only_what_it_knew),
		cmocka_unit_test(an_unlink_takes_only_the_entry_that_it_means),
		cmocka_unit_test(directories_never_hold_themselves),
		cmocka_unit_test(
		    what_was_in_a_lost_directory_is_kept_and_finds_its_place),
		cmocka_unit_test(an_object_may_be_created_again),
		cmocka_unit_test(there_may_be_255_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
