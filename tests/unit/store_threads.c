/* Many threads on one store, as a mount has them: deliveries, readers, flag
 * changes, and a background that checkpoints all the time.  What it proves is
 * said by the sanitizer it runs under, and by the bytes at the end. */
#include "tests/lib/home.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DELIVERERS 3
#define EACH 60

struct crowd {
	struct test_home *h;
	uint64_t cur, new;
	atomic_bool stop;
	atomic_uint failures;
};

struct deliverer {
	struct crowd *c;
	unsigned number;
};

static void
note_failure(struct crowd *c, const char *what, enum err e)
{
	fprintf(stderr, "%s: %s\n", what, err_name(e));
	atomic_fetch_add(&c->failures, 1);
}

static void *
deliver_and_flag(void *arg)
{
	struct deliverer *d = arg;
	struct crowd *c = d->c;

	for (unsigned i = 0; i < EACH; i++) {
		char name[32], seen[40];
		size_t len;
		uint8_t *mail =
		    test_mail(d->number * 1000 + i, 100 + i * 300, &len);
		enum err e;

		snprintf(name, sizeof(name), "%u.%u", d->number, i);
		snprintf(seen, sizeof(seen), "%s:2,S", name);
		if ((e = test_deliver(
			 c->h, "Maildir", name, mail, len, i % 3 == 0)))
			note_failure(c, "deliver", e);
		else if ((e = store_rename(c->h->store, c->new, name, c->cur,
			      seen, 0)))
			note_failure(c, "flag", e);
		if (i % 7 == 6 &&
		    (e = store_unlink(c->h->store, c->cur, seen)))
			note_failure(c, "delete", e);
		free(mail);
	}
	return NULL;
}

static bool
count_one(void *arg, const struct entry *e, const struct inode *in)
{
	(void)e;
	(void)in;
	++*(unsigned *)arg;
	return true;
}

static void *
look_around(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->stop)) {
		char name[48], buf[512];
		unsigned n = 0;
		struct inode in;
		size_t got;

		(void)!store_list(
		    c->h->store, c->cur, 0, true, count_one, &n);
		snprintf(name, sizeof(name), "1.%u:2,S", n % EACH);
		if (store_lookup_hold(c->h->store, c->cur, name, &in))
			continue;
		(void)!store_read(
		    c->h->store, in.ino, 10, buf, sizeof(buf), &got);
		store_release(c->h->store, in.ino, 1);
	}
	return NULL;
}

static void *
tick(void *arg)
{
	struct crowd *c = arg;
	enum err e;

	while (!atomic_load(&c->stop))
		if ((e = store_checkpoint(c->h->store)))
			note_failure(c, "checkpoint", e);
	return NULL;
}

static void
a_crowd_loses_nothing(void **state)
{
	struct crowd c = { .h = test_home_new(1) };
	struct deliverer d[DELIVERERS];
	pthread_t worker[DELIVERERS], reader[2], ticker;
	unsigned n = 0;

	(void)state;
	c.cur = test_dir(c.h, "Maildir/cur");
	c.new = test_dir(c.h, "Maildir/new");
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
		    pthread_create(&reader[i], NULL, look_around, &c), 0);
	assert_int_equal(pthread_create(&ticker, NULL, tick, &c), 0);
	for (unsigned i = 0; i < DELIVERERS; i++) {
		d[i] = (struct deliverer){ &c, i };
		assert_int_equal(pthread_create(&worker[i], NULL,
				     deliver_and_flag, &d[i]),
		    0);
	}
	for (unsigned i = 0; i < DELIVERERS; i++)
		pthread_join(worker[i], NULL);
	atomic_store(&c.stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(reader[i], NULL);
	pthread_join(ticker, NULL);
	assert_int_equal(atomic_load(&c.failures), 0);

	assert_int_equal(test_home_restart(c.h, TEST_KILL), OK);
	for (unsigned k = 0; k < DELIVERERS; k++)
		for (unsigned i = 0; i < EACH; i++) {
			char name[40];
			size_t len, want_len;
			uint8_t *got = NULL,
				*want = test_mail(
				    k * 1000 + i, 100 + i * 300, &want_len);
			enum err e;

			snprintf(name, sizeof(name), "%u.%u:2,S", k, i);
			e = test_read(c.h, c.cur, name, &got, &len);
			assert_int_equal(e, i % 7 == 6 ? ERR_ABSENT : OK);
			if (!e) {
				n++;
				assert_int_equal(len, want_len);
				assert_memory_equal(got, want, len);
			}
			free(got);
			free(want);
		}
	assert_int_equal(n, DELIVERERS * (EACH - EACH / 7));
	test_home_free(c.h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crowd_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
