/* A store against a shadow of what it acknowledged, through kills, power cuts,
 * full disks and failing writes.  Each run prints its seed when it fails. */
#include "overlay/base/rng.h"
#include "tests/lib/home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MESSAGES_MAX 200
#define FOLDERS 2

static const char *const folder_path[FOLDERS] = { "Maildir",
	"Maildir/.Archive" };

/* What the store has acknowledged of one message. */
struct shadow_message {
	uint64_t number;
	size_t size;
	char name[64];
	unsigned folder;
	bool in_cur;
	bool exists;
	bool durable; /* as it is now, even after a power cut */
	bool touched; /* changed since the last sync */
	bool unsure;  /* a call on it failed: it may have happened or not */
	unsigned attempt;
};

struct world {
	struct test_home *h;
	struct rng rng;
	struct shadow_message message[MESSAGES_MAX];
	unsigned count, attempts;
	uint64_t seed;
};

static void
fail_seed(struct world *w, const char *what, enum err e)
{
	fail_msg("seed %llu: %s: %s", (unsigned long long)w->seed, what,
	    err_name(e));
}

static uint64_t
place(struct world *w, const struct shadow_message *m)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder_path[m->folder],
	    m->in_cur ? "cur" : "new");
	return test_dir(w->h, path);
}

static void
add_folder(struct world *w)
{
	static const struct store_who who = { 1000, 1000, 0 };
	static const char *const sub[] = { "cur", "new", "tmp" };
	struct inode in, unused;

	assert_int_equal(store_make(w->h->store, test_dir(w->h, "Maildir"),
			     ".Archive", S_IFDIR | 0700, 0, NULL, &who, false,
			     &in),
	    OK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(store_make(w->h->store, in.ino, sub[i],
				     S_IFDIR | 0700, 0, NULL, &who, false,
				     &unused),
		    OK);
	assert_int_equal(store_sync(w->h->store, 0), OK);
}

static void
everything_is_durable(struct world *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		w->message[i].durable = true;
		w->message[i].touched = false;
	}
}

static enum err
deliver(struct world *w)
{
	struct shadow_message *m = &w->message[w->count];
	uint8_t *mail;
	size_t len;
	enum err e;

	if (w->count == MESSAGES_MAX)
		return OK;
	memset(m, 0, sizeof(*m));
	m->number = w->seed * 1000 + w->count;
	m->size = 200 + rng_below(&w->rng, 30000);
	m->attempt = w->attempts++;
	snprintf(m->name, sizeof(m->name), "%u.M1P1.host", m->attempt);
	mail = test_mail(m->number, m->size, &len);
	e = test_deliver(w->h, folder_path[0], m->name, mail, len,
	    rng_below(&w->rng, 2));
	free(mail);
	m->exists = !e;
	m->unsure = e;
	m->touched = true;
	w->count++;
	return e;
}

static enum err
change(struct world *w)
{
	struct shadow_message *m, after;
	unsigned kind = (unsigned)rng_below(&w->rng, 3);
	enum err e;

	if (w->count == 0)
		return OK;
	m = &w->message[rng_below(&w->rng, w->count)];
	if (!m->exists || m->unsure)
		return OK;
	after = *m;
	if (kind == 0) { /* seen */
		after.in_cur = true;
		snprintf(after.name, sizeof(after.name), "%u.M1P1.host:2,%s",
		    m->attempt, rng_below(&w->rng, 2) ? "S" : "FS");
	} else if (kind == 1) {
		after.folder = (m->folder + 1) % FOLDERS;
	}
	if (kind == 2)
		e = store_unlink(w->h->store, place(w, m), m->name);
	else
		e = store_rename(w->h->store, place(w, m), m->name,
		    place(w, &after), after.name, 0);
	m->unsure = e;
	if (e)
		return e;
	after.exists = kind != 2;
	after.touched = true;
	*m = after;
	return OK;
}

static enum err
step(struct world *w)
{
	int64_t next;
	enum err e;

	switch (rng_below(&w->rng, 10)) {
	case 0:
		if ((e = store_checkpoint(w->h->store)) == OK)
			everything_is_durable(w);
		return e;
	case 1:
		if ((e = store_sync(w->h->store, 0)) == OK)
			everything_is_durable(w);
		return e;
	case 2:
		w->h->now_ns += INT64_C(700000000);
		return store_tick(w->h->store, &next);
	case 3:
	case 4:
	case 5:
		return change(w);
	default:
		return deliver(w);
	}
}

/* Read a message where it must, or may, be; false: it is not there. */
static bool
is_there(struct world *w, const struct shadow_message *m)
{
	uint8_t *got = NULL, *want;
	size_t got_len, want_len;
	enum err e = test_read(w->h, place(w, m), m->name, &got, &got_len);

	if (e == ERR_ABSENT)
		return false;
	if (e)
		fail_seed(w, m->name, e);
	want = test_mail(m->number, m->size, &want_len);
	if (got_len != want_len || memcmp(got, want, want_len) != 0)
		fail_seed(w, "a message came back with other bytes",
		    ERR_CORRUPT);
	free(got);
	free(want);
	return true;
}

static unsigned
count_dir(struct world *w, const char *path);

static bool
count_one(void *arg, const struct entry *e, const struct inode *in)
{
	(void)e;
	(void)in;
	++*(unsigned *)arg;
	return true;
}

static unsigned
count_dir(struct world *w, const char *path)
{
	unsigned n = 0;

	assert_int_equal(store_list(w->h->store, test_dir(w->h, path), 0, true,
			     count_one, &n),
	    OK);
	return n;
}

/* Follow the store where the shadow can not know: calls that failed, and after
 * a power cut what was changed since the last sync. */
static void
adopt(struct world *w, bool after_crash)
{
	for (unsigned i = 0; i < w->count; i++) {
		struct shadow_message *m = &w->message[i];

		if (!m->unsure && !(after_crash && m->touched))
			continue;
		m->unsure = m->exists = false;
		for (unsigned f = 0; f < FOLDERS && !m->exists; f++)
			for (unsigned c = 0; c < 4 && !m->exists; c++) {
				static const char *const flags[] = { "",
					":2,S", ":2,FS", "" };

				m->folder = f;
				m->in_cur = c != 0;
				snprintf(m->name, sizeof(m->name),
				    "%u.M1P1.host%s", m->attempt, flags[c]);
				m->exists = is_there(w, m);
			}
	}
}

/* After a kill everything is as it was acknowledged. */
static void
check_exactly(struct world *w)
{
	unsigned exist = 0, found;

	adopt(w, false);
	for (unsigned i = 0; i < w->count; i++) {
		struct shadow_message *m = &w->message[i];

		if (m->exists && !is_there(w, m))
			fail_seed(w, "an acknowledged message is gone",
			    ERR_ABSENT);
		exist += m->exists;
	}
	found = count_dir(w, "Maildir/new") + count_dir(w, "Maildir/cur") +
	    count_dir(w, "Maildir/.Archive/new") +
	    count_dir(w, "Maildir/.Archive/cur");
	if (found != exist)
		fail_msg("seed %llu: %u messages, %u entries",
		    (unsigned long long)w->seed, exist, found);
}

/* After a power cut what was durable and not changed since is there. */
static void
check_durable(struct world *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		struct shadow_message *m = &w->message[i];

		if (m->exists && m->durable && !m->touched && !m->unsure &&
		    !is_there(w, m))
			fail_seed(w, "a durable message is gone", ERR_ABSENT);
	}
}

static void
run(uint64_t seed, enum test_end how, unsigned rounds)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->seed = seed;
	rng_init(&w->rng, seed);
	w->h = test_home_new(seed);
	add_folder(w);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned steps = (unsigned)rng_below(&w->rng, 40);
		enum err e;

		for (unsigned i = 0; i < steps; i++)
			if ((e = step(w)))
				fail_seed(w, "step", e);
		if ((e = test_home_restart(w->h, how)))
			fail_seed(w, "start", e);
		if (how == TEST_CRASH) {
			check_durable(w);
			adopt(w, true);
		}
		check_exactly(w);
		assert_int_equal(store_sync(w->h->store, 0), OK);
		everything_is_durable(w);
	}
	test_home_free(w->h);
	free(w);
}

static void
a_kill_loses_nothing_acknowledged(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++)
		run(seed, TEST_KILL, 6);
}

static void
a_power_cut_loses_nothing_durable(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++)
		run(seed, TEST_CRASH, 6);
}

static void
an_orderly_end_loses_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		run(seed, TEST_CLOSE, 4);
}

/* Let the nth change of the disk fail, go on, restart, and look. */
static void
each_failing_write_costs_nothing_acknowledged(void **state)
{
	(void)state;
	for (unsigned nth = 1; nth <= 150; nth++) {
		struct world *w = calloc(1, sizeof(*w));
		bool struck;

		assert_non_null(w);
		w->seed = nth;
		rng_init(&w->rng, nth % 7);
		w->h = test_home_new(nth);
		add_folder(w);
		disk_mem_fail(w->h->disk, nth,
		    nth % 2 ? ERR_NOSPACE : ERR_IO, false);
		for (unsigned i = 0; i < 60; i++)
			(void)!step(w); /* refused ones are not in the shadow */
		struck = disk_mem_failed(w->h->disk);
		disk_mem_fail(w->h->disk, 0, OK, false);
		assert_int_equal(test_home_restart(w->h, TEST_KILL), OK);
		if (struck)
			check_durable(w);
		else
			check_exactly(w);
		test_home_free(w->h);
		free(w);
	}
}

/* A full disk refuses, keeps what it has, and goes on when there is room. */
static void
a_full_disk_loses_nothing_and_recovers(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	unsigned refused = 0;

	(void)state;
	assert_non_null(w);
	w->seed = 1;
	rng_init(&w->rng, 1);
	w->h = test_home_new(1);
	add_folder(w);
	disk_mem_limit(w->h->disk, 150000);
	for (unsigned i = 0; i < 150; i++) {
		enum err e = step(w);

		if (e && e != ERR_NOSPACE)
			fail_seed(w, "a full disk", e);
		refused += e == ERR_NOSPACE;
	}
	assert_true(refused > 0);
	check_exactly(w);
	disk_mem_limit(w->h->disk, UINT64_MAX);
	assert_int_equal(store_checkpoint(w->h->store), OK);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(step(w), OK);
	check_exactly(w);
	assert_int_equal(test_home_restart(w->h, TEST_KILL), OK);
	check_exactly(w);
	test_home_free(w->h);
	free(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_orderly_end_loses_nothing),
		cmocka_unit_test(a_kill_loses_nothing_acknowledged),
		cmocka_unit_test(a_power_cut_loses_nothing_durable),
		cmocka_unit_test(each_failing_write_costs_nothing_acknowledged),
		cmocka_unit_test(a_full_disk_loses_nothing_and_recovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
