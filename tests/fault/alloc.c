/* A store whose every allocation fails once.
 *
 * Each call of the store is made in a home that holds some mail, again and
 * again, while its 1st, 2nd, 3rd ... allocation fails, until it needs no more.
 * It may fail or succeed; but it has happened or it has not, nothing else is
 * changed, and the home is whole: at once, after a kill, and for new mail. */
#include "tests/lib/alloc.h"
#include "tests/lib/home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MAILS 4u
#define ALLOCATIONS_MAX 5000u /* of one call: beyond it something loops */

struct fixture {
	struct test_home *h;
	uint64_t new, cur, tmp, target; /* target: the inode that is changed */
};

static const struct store_who who = { 1000, 1000, 0 };

static void
mail_name(unsigned i, char out[32])
{
	snprintf(out, 32, "%u.M1P1.host", i);
}

/* Sealed ones, one that is only journalled, and a file that is being
 * delivered. */
static void
fixture_init(struct fixture *f)
{
	static const uint8_t value[] = "blue";
	struct inode in;
	char name[32];

	f->h = test_home_new(7);
	f->new = test_dir(f->h, "Maildir/new");
	f->cur = test_dir(f->h, "Maildir/cur");
	f->tmp = test_dir(f->h, "Maildir/tmp");
	for (unsigned i = 0; i < MAILS; i++) {
		size_t len;
		uint8_t *mail = test_mail(i, 900 + 20000 * i, &len);

		mail_name(i, name);
		assert_int_equal(test_deliver(f->h, "Maildir", name, mail, len,
				     true),
		    OK);
		free(mail);
		if (i + 2 == MAILS)
			assert_int_equal(store_checkpoint(f->h->store), OK);
	}
	assert_int_equal(store_make(f->h->store, f->tmp, "target",
			     S_IFREG | 0600, 0, NULL, &who, true, &in),
	    OK);
	f->target = in.ino;
	assert_int_equal(
	    store_write(f->h->store, in.ino, 0, "some bytes", 10, false), OK);
	assert_int_equal(store_set_xattr(f->h->store, in.ino, "user.colour",
			     value, sizeof(value), 0),
	    OK);
	assert_int_equal(store_make(f->h->store, f->cur, "empty",
			     S_IFDIR | 0700, 0, NULL, &who, false, &in),
	    OK);
	assert_int_equal(store_sync(f->h->store, 0), OK);
}

static void
fixture_fini(struct fixture *f)
{
	test_home_free(f->h);
}

static void
mails_are_whole(struct fixture *f)
{
	for (unsigned i = 0; i < MAILS; i++) {
		size_t want_len, got_len;
		uint8_t *want = test_mail(i, 900 + 20000 * i, &want_len), *got;
		char name[32];

		mail_name(i, name);
		assert_int_equal(
		    test_read(f->h, f->new, name, &got, &got_len), OK);
		assert_int_equal(got_len, want_len);
		assert_memory_equal(got, want, want_len);
		free(want);
		free(got);
	}
}

static bool
is_there(struct fixture *f, uint64_t dir, const char *name)
{
	struct inode in;
	enum err e = store_lookup(f->h->store, dir, name, &in);

	assert_true(e == OK || e == ERR_ABSENT);
	return e == OK;
}

/* ---- the calls ---------------------------------------------------------- */

static enum err
call_make(struct fixture *f)
{
	struct inode in;

	return store_make(f->h->store, f->tmp, "made", S_IFREG | 0600, 0, NULL,
	    &who, true, &in);
}

static enum err
call_mkdir(struct fixture *f)
{
	struct inode in;

	return store_make(f->h->store, f->cur, "made", S_IFDIR | 0700, 0, NULL,
	    &who, false, &in);
}

static enum err
call_symlink(struct fixture *f)
{
	static char far[2000];
	struct inode in;

	memset(far, 'f', sizeof(far) - 1);
	return store_make(f->h->store, f->cur, "made", S_IFLNK | 0777, 0, far,
	    &who, false, &in);
}

static enum err
call_write(struct fixture *f)
{
	static uint8_t much[100000];

	return store_write(
	    f->h->store, f->target, 5, much, sizeof(much), false);
}

static enum err
call_sync(struct fixture *f)
{
	enum err e = store_write(f->h->store, f->target, 0, "other", 5, false);

	return e ? e : store_sync(f->h->store, f->target);
}

static enum err
call_deliver(struct fixture *f)
{
	return store_rename(
	    f->h->store, f->tmp, "target", f->new, "delivered", 0);
}

static enum err
call_link(struct fixture *f)
{
	return store_link(f->h->store, f->target, f->cur, "linked", false,
	    &(struct inode){ 0 });
}

static enum err
call_truncate(struct fixture *f)
{
	struct store_set set = { .set = STORE_SET_SIZE | STORE_SET_MODE,
		.size = 3,
		.mode = 0644 };
	struct inode in;

	return store_set_attr(f->h->store, f->target, &set, &in);
}

static enum err
call_set_xattr(struct fixture *f)
{
	static const uint8_t value[500] = { 1 };

	return store_set_xattr(f->h->store, f->target, "user.long", value,
	    sizeof(value), 0);
}

static enum err
call_remove_xattr(struct fixture *f)
{
	return store_remove_xattr(f->h->store, f->target, "user.colour");
}

static enum err
call_unlink(struct fixture *f)
{
	return store_unlink(f->h->store, f->tmp, "target");
}

static enum err
call_rmdir(struct fixture *f)
{
	return store_rmdir(f->h->store, f->cur, "empty");
}

static enum err
call_checkpoint(struct fixture *f)
{
	return store_checkpoint(f->h->store);
}

static bool
see(void *arg, const struct entry *e, const struct inode *in)
{
	(void)e;
	(void)in;
	++*(unsigned *)arg;
	return true;
}

static enum err
call_list(struct fixture *f)
{
	unsigned n = 0;
	enum err e =
	    store_list(f->h->store, f->new, 0, true, see, &n);

	assert_true(e || n == MAILS);
	return e;
}

static enum err
call_read(struct fixture *f)
{
	uint8_t some[4000];
	struct inode in;
	size_t got = 0;
	char name[32];
	enum err e;

	mail_name(1, name);
	e = store_lookup_hold(f->h->store, f->new, name, &in);
	if (e)
		return e;
	e = store_read(f->h->store, in.ino, 100, some, sizeof(some), &got);
	assert_true(e || got == sizeof(some));
	store_release(f->h->store, in.ino, 1);
	return e;
}

static enum err
call_restart(struct fixture *f)
{
	return test_home_restart(f->h, TEST_KILL);
}

/* What a call leaves: true if these two names are as before it, or as
 * after. */
struct effect {
	const char *name;
	enum err (*call)(struct fixture *f);
	const char *gone, *come; /* "tmp/target"; NULL: no name changes */
};

static const struct effect effects[] = {
	{ "make", call_make, NULL, "tmp/made" },
	{ "mkdir", call_mkdir, NULL, "cur/made" },
	{ "symlink", call_symlink, NULL, "cur/made" },
	{ "write", call_write, NULL, NULL },
	{ "sync", call_sync, NULL, NULL },
	{ "deliver", call_deliver, "tmp/target", "new/delivered" },
	{ "link", call_link, NULL, "cur/linked" },
	{ "set attributes", call_truncate, NULL, NULL },
	{ "set an xattr", call_set_xattr, NULL, NULL },
	{ "remove an xattr", call_remove_xattr, NULL, NULL },
	{ "unlink", call_unlink, "tmp/target", NULL },
	{ "rmdir", call_rmdir, "cur/empty", NULL },
	{ "checkpoint", call_checkpoint, NULL, NULL },
	{ "list", call_list, NULL, NULL },
	{ "read", call_read, NULL, NULL },
	{ "restart", call_restart, NULL, NULL },
};

static bool
path_is_there(struct fixture *f, const char *path)
{
	uint64_t dir = path[0] == 't' ? f->tmp : path[0] == 'n' ? f->new
								: f->cur;

	return is_there(f, dir, path + 4);
}

static void
check_effect(struct fixture *f, const struct effect *x, bool done)
{
	if (x->gone && path_is_there(f, x->gone) == done)
		fail_msg("%s: %s is %s", x->name, x->gone,
		    done ? "there still" : "gone");
	if (x->come && path_is_there(f, x->come) != done)
		fail_msg("%s: %s is %s", x->name, x->come,
		    done ? "not there" : "there");
}

static void
check_home(struct fixture *f, const struct effect *x, enum err e)
{
	size_t len;
	uint8_t *mail = test_mail(99, 5000, &len);
	bool done = !e, synced = false, stopped;
	char problem[512] = "";

	/* A change that was journalled but only half applied stops all others
	 * and says so: the next start applies it whole. */
	if (f->h->store)
		store_problem(f->h->store, problem, sizeof(problem));
	stopped = strstr(problem, "mount again");
	if (stopped)
		assert_int_not_equal(
		    test_deliver(f->h, "Maildir", "no", mail, len, true), OK);
	if (!f->h->store || stopped)
		assert_int_equal(test_home_restart(f->h, TEST_KILL), OK);
	/* What failed may have happened: then all of it. */
	if (e && x->gone)
		done = !path_is_there(f, x->gone);
	else if (e && x->come)
		done = path_is_there(f, x->come);
	check_effect(f, x, done);
	mails_are_whole(f);
	/* (What stays on this node may wait for the next write.) */
	if (!e && !store_sync(f->h->store, 0))
		synced = true;
	assert_int_equal(test_home_restart(f->h, TEST_KILL), OK);
	if (synced)
		check_effect(f, x, true);
	mails_are_whole(f);
	assert_int_equal(
	    test_deliver(f->h, "Maildir", "later", mail, len, true), OK);
	assert_int_equal(store_checkpoint(f->h->store), OK);
	assert_int_equal(test_home_restart(f->h, TEST_CRASH), OK);
	mails_are_whole(f);
	assert_true(is_there(f, f->new, "later"));
	free(mail);
}

static void
a_call_that_runs_out_of_memory_harms_nothing(void **state)
{
	(void)state;
	if (!alloc_can_fail()) {
		printf("skipped: the sanitizer owns the allocator\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(effects) / sizeof(*effects); i++) {
		const struct effect *x = &effects[i];
		uint64_t n = 0, errors = 0;
		bool struck;

		do {
			struct fixture f;
			enum err e;

			fixture_init(&f);
			alloc_fail_at(++n);
			e = x->call(&f);
			struck = alloc_failed();
			alloc_fail_at(0);
			if (e && e != ERR_NOMEM)
				fail_msg("%s, allocation %llu: %s", x->name,
				    (unsigned long long)n, err_name(e));
			assert_true(!e || struck);
			errors += e != OK;
			check_home(&f, x, e);
			fixture_fini(&f);
		} while (struck && n < ALLOCATIONS_MAX);
		assert_false(struck);
		printf("%s: %llu allocations, %llu errors\n", x->name,
		    (unsigned long long)n - 1, (unsigned long long)errors);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_that_runs_out_of_memory_harms_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
