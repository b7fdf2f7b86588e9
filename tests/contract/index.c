/* What index.h promises, asked of LMDB and of memory alike. */
#include "store/index.h"

#include "overlay/base/map.h"
#include "overlay/base/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define T INDEX_INODES

struct fixture {
	struct index *ix;
	char dir[64]; /* empty: memory */
};

static void
set_up_lmdb(struct fixture *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/post-index-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
}

static void
remove_dir(const char *dir)
{
	static const char *const name[] = { "data.mdb", "lock.mdb" };
	char path[128];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, name[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

static int
lmdb_new(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	set_up_lmdb(f);
	*state = f;
	return 0;
}

static int
mem_new(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(index_mem_new(&f->ix), OK);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	index_close(f->ix);
	if (f->dir[0])
		remove_dir(f->dir);
	free(f);
	return 0;
}

static struct index_txn *
begin_read(struct index *ix)
{
	struct index_txn *txn;

	assert_int_equal(index_begin_read(ix, &txn), OK);
	return txn;
}

static struct index_txn *
begin_write(struct index *ix)
{
	struct index_txn *txn;

	assert_int_equal(index_begin_write(ix, &txn), OK);
	return txn;
}

static void
commit(struct index_txn **txn)
{
	assert_int_equal(index_commit(txn), OK);
	assert_null(*txn);
}

static void
put(struct index_txn *txn, const char *key, const char *val)
{
	assert_int_equal(
	    index_put(txn, T, key, strlen(key), val, strlen(val)), OK);
}

static void
assert_holds(struct index_txn *txn, const char *key, const char *val)
{
	const uint8_t *got;
	size_t len;

	assert_int_equal(index_get(txn, T, key, strlen(key), &got, &len), OK);
	assert_int_equal(len, strlen(val));
	assert_memory_equal(got, val, len);
}

static void
assert_lacks(struct index_txn *txn, const char *key)
{
	const uint8_t *got;
	size_t len;

	assert_int_equal(
	    index_get(txn, T, key, strlen(key), &got, &len), ERR_ABSENT);
}

static void
what_was_put_is_got_until_it_is_deleted(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);

	assert_lacks(txn, "a");
	put(txn, "a", "1");
	put(txn, "b", "");
	put(txn, "a", "longer than before");
	assert_holds(txn, "a", "longer than before");
	assert_holds(txn, "b", "");
	commit(&txn);
	txn = begin_write(f->ix);
	assert_holds(txn, "a", "longer than before");
	assert_int_equal(index_del(txn, T, "a", 1), OK);
	assert_int_equal(index_del(txn, T, "a", 1), ERR_ABSENT);
	assert_lacks(txn, "a");
	commit(&txn);
	txn = begin_read(f->ix);
	assert_lacks(txn, "a");
	assert_holds(txn, "b", "");
	index_abort(&txn);
	assert_null(txn);
	index_abort(&txn); /* NULL is allowed */
}

static void
what_was_aborted_never_was(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);

	put(txn, "kept", "1");
	commit(&txn);
	txn = begin_write(f->ix);
	put(txn, "kept", "2");
	put(txn, "new", "3");
	index_abort(&txn);
	txn = begin_write(f->ix);
	assert_holds(txn, "kept", "1");
	assert_lacks(txn, "new");
	assert_int_equal(index_clear(txn), OK);
	index_abort(&txn);
	txn = begin_read(f->ix);
	assert_holds(txn, "kept", "1");
	index_abort(&txn);
}

static void
tables_do_not_mix(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);
	const uint8_t *got;
	uint64_t count;
	size_t len;

	for (unsigned t = 0; t < INDEX_TABLES; t++) {
		uint8_t val = (uint8_t)t;

		assert_int_equal(index_put(txn, t, "key", 3, &val, 1), OK);
	}
	assert_int_equal(index_del(txn, INDEX_NAMES, "key", 3), OK);
	commit(&txn);
	txn = begin_write(f->ix);
	for (unsigned t = 0; t < INDEX_TABLES; t++) {
		enum err e = index_get(txn, t, "key", 3, &got, &len);

		assert_int_equal(e, t == INDEX_NAMES ? ERR_ABSENT : OK);
		assert_int_equal(index_count(txn, t, &count), OK);
		assert_int_equal(count, t != INDEX_NAMES);
		assert_true(e || (len == 1 && got[0] == t));
	}
	assert_int_equal(index_clear(txn), OK);
	for (unsigned t = 0; t < INDEX_TABLES; t++) {
		assert_int_equal(
		    index_get(txn, t, "key", 3, &got, &len), ERR_ABSENT);
		assert_int_equal(index_count(txn, t, &count), OK);
		assert_int_equal(count, 0);
	}
	commit(&txn);
}

static void
a_reader_sees_the_state_at_its_begin(void **state)
{
	struct fixture *f = *state;
	struct index_txn *before, *between, *after, *txn = begin_write(f->ix);

	put(txn, "a", "1");
	put(txn, "b", "1");
	commit(&txn);
	before = begin_read(f->ix);
	txn = begin_write(f->ix);
	put(txn, "a", "2");
	assert_int_equal(index_del(txn, T, "b", 1), OK);
	put(txn, "c", "2");
	between = begin_read(f->ix);
	commit(&txn);
	after = begin_read(f->ix);
	txn = begin_write(f->ix);
	assert_int_equal(index_clear(txn), OK);
	commit(&txn);
	for (unsigned i = 0; i < 2; i++) {
		assert_holds(i ? between : before, "a", "1");
		assert_holds(i ? between : before, "b", "1");
		assert_lacks(i ? between : before, "c");
	}
	assert_holds(after, "a", "2");
	assert_lacks(after, "b");
	assert_holds(after, "c", "2");
	index_abort(&before);
	index_abort(&between);
	index_abort(&after);
}

static void
keys_are_ordered_as_bytes(void **state)
{
	static const char *const key[] = { "\x01", "\x01\x02", "A", "Aa", "a",
		"a\xff", "\x80", "\xff", "\xff\xff" };
	const size_t n = sizeof(key) / sizeof(key[0]);
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);
	struct index_cursor *c;
	const uint8_t *k, *v;
	size_t k_len, v_len;

	for (size_t i = 0; i < n; i++) {
		const char *put_key = key[i * 4 % n]; /* 4, 9: no divisor */

		put(txn, put_key, put_key);
	}
	for (size_t first = 0; first <= n; first++) {
		const char *from = first ? key[first - 1] : "";
		size_t i = first ? first - 1 : 0;

		assert_int_equal(index_seek(txn, T, from, strlen(from), &c, &k,
				     &k_len, &v, &v_len),
		    OK);
		for (;; i++) {
			assert_true(i < n);
			assert_int_equal(k_len, strlen(key[i]));
			assert_memory_equal(k, key[i], k_len);
			assert_int_equal(v_len, k_len);
			assert_memory_equal(v, k, k_len);
			if (index_next(c, &k, &k_len, &v, &v_len))
				break;
		}
		assert_int_equal(i, n - 1);
		assert_int_equal(
		    index_next(c, &k, &k_len, &v, &v_len), ERR_ABSENT);
		index_cursor_close(c);
	}
	assert_int_equal(
	    index_seek(txn, T, "B", 1, &c, &k, &k_len, &v, &v_len), OK);
	assert_true(k_len == 1 && k[0] == 'a');
	index_cursor_close(c);
	assert_int_equal(
	    index_seek(txn, T, "\xff\xff\x01", 3, &c, &k, &k_len, &v, &v_len),
	    ERR_ABSENT);
	assert_int_equal(
	    index_seek(txn, INDEX_LEDGER, "", 0, &c, &k, &k_len, &v, &v_len),
	    ERR_ABSENT);
	index_cursor_close(NULL);
	index_abort(&txn);
}

static void
the_longest_key_and_value_fit_and_longer_values_are_refused(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);
	uint8_t key[INDEX_KEY_MAX], *val = malloc(INDEX_VALUE_MAX + 1);
	const uint8_t *got;
	size_t len;

	assert_non_null(val);
	memset(key, 0xab, sizeof(key));
	memset(val, 0xcd, INDEX_VALUE_MAX + 1);
	assert_int_equal(
	    index_put(txn, T, key, sizeof(key), val, INDEX_VALUE_MAX + 1),
	    ERR_TOO_BIG);
	assert_int_equal(
	    index_put(txn, T, key, sizeof(key), val, INDEX_VALUE_MAX), OK);
	commit(&txn);
	txn = begin_read(f->ix);
	assert_int_equal(index_get(txn, T, key, sizeof(key), &got, &len), OK);
	assert_int_equal(len, INDEX_VALUE_MAX);
	assert_memory_equal(got, val, len);
	index_abort(&txn);
	free(val);
}

/* ---- against a naive shadow --------------------------------------------- */

#define KEYS 300

struct shadow {
	int len[KEYS]; /* of the value; -1: not there */
	uint8_t fill[KEYS];
};

static void
key_of(unsigned i, uint8_t key[4])
{
	/* Not in the order of i, and of two lengths. */
	uint32_t mixed = i * 2654435761u;

	memcpy(key, &mixed, 4);
	key[3] = (uint8_t)i;
}

static size_t
key_len_of(unsigned i)
{
	return 4 - (i % 3 == 0 && i < 256);
}

static void
assert_is(struct index_txn *txn, const struct shadow *s)
{
	struct index_cursor *c = NULL;
	const uint8_t *k, *v;
	size_t k_len, v_len, there = 0, walked = 0;
	uint8_t last[4] = { 0 }, key[4];
	size_t last_len = 0;
	uint64_t count;
	enum err e;

	for (unsigned i = 0; i < KEYS; i++) {
		key_of(i, key);
		e = index_get(txn, T, key, key_len_of(i), &v, &v_len);
		assert_int_equal(e, s->len[i] < 0 ? ERR_ABSENT : OK);
		if (e)
			continue;
		there++;
		assert_int_equal(v_len, s->len[i]);
		for (size_t j = 0; j < v_len; j++)
			assert_int_equal(v[j], s->fill[i]);
	}
	assert_int_equal(index_count(txn, T, &count), OK);
	assert_int_equal(count, there);
	e = index_seek(txn, T, NULL, 0, &c, &k, &k_len, &v, &v_len);
	for (; !e; e = index_next(c, &k, &k_len, &v, &v_len)) {
		int order =
		    memcmp(last, k, last_len < k_len ? last_len : k_len);

		assert_true(order < 0 || (order == 0 && last_len < k_len));
		memcpy(last, k, k_len);
		last_len = k_len;
		walked++;
	}
	assert_int_equal(e, ERR_ABSENT);
	assert_int_equal(walked, there);
	index_cursor_close(c);
}

static void
random_changes_match_a_naive_shadow(void **state)
{
	enum { SNAPSHOTS = 4 };
	struct fixture *f = *state;
	struct shadow now, committed, seen[SNAPSHOTS];
	struct index_txn *reader[SNAPSHOTS] = { NULL };
	const uint64_t seed = 20240607;
	struct rng rng;
	static uint8_t val[6000];

	print_message("seed %llu\n", (unsigned long long)seed);
	rng_init(&rng, seed);
	memset(&now, 0, sizeof(now));
	memset(now.len, 0xff, sizeof(now.len));
	committed = now;
	for (unsigned round = 0; round < 60; round++) {
		struct index_txn *txn = begin_write(f->ix);
		unsigned slot = round % SNAPSHOTS;

		now = committed;
		for (uint64_t n = rng_below(&rng, 200); n; n--) {
			unsigned i = (unsigned)rng_below(&rng, KEYS);
			uint8_t key[4];

			key_of(i, key);
			if (rng_below(&rng, 3) == 0) {
				assert_int_equal(
				    index_del(txn, T, key, key_len_of(i)),
				    now.len[i] < 0 ? ERR_ABSENT : OK);
				now.len[i] = -1;
				continue;
			}
			now.len[i] = (int)rng_below(
			    &rng, rng_below(&rng, 10) ? 100 : sizeof(val));
			now.fill[i] = (uint8_t)rng_u64(&rng);
			memset(val, now.fill[i], (size_t)now.len[i]);
			assert_int_equal(index_put(txn, T, key, key_len_of(i),
					     val, (size_t)now.len[i]),
			    OK);
		}
		assert_is(txn, &now);
		if (rng_below(&rng, 5) == 0) {
			index_abort(&txn);
		} else {
			commit(&txn);
			committed = now;
		}
		if (reader[slot])
			assert_is(reader[slot], &seen[slot]);
		index_abort(&reader[slot]);
		reader[slot] = begin_read(f->ix);
		seen[slot] = committed;
		for (unsigned i = 0; i < SNAPSHOTS; i++)
			if (reader[i])
				assert_is(reader[i], &seen[i]);
	}
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		index_abort(&reader[i]);
	assert_int_equal(index_check(f->ix), OK);
}

static void
a_hundred_thousand_pairs_go_in_and_out(void **state)
{
	enum { N = 100000 };
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix), *old;
	uint64_t count, sum = 0, want = 0;
	struct index_cursor *c;
	const uint8_t *k, *v;
	size_t k_len, v_len;
	enum err e;

	for (uint64_t i = 0; i < N; i++) {
		uint64_t key = hash64_u64(i, 7);

		assert_int_equal(
		    index_put(txn, T, &key, sizeof(key), &i, sizeof(i)), OK);
		want += i;
	}
	commit(&txn);
	old = begin_read(f->ix);
	txn = begin_write(f->ix);
	for (uint64_t i = 0; i < N; i++) {
		uint64_t key = hash64_u64(i, 7);

		assert_int_equal(index_del(txn, T, &key, sizeof(key)), OK);
	}
	commit(&txn);
	e = index_seek(old, T, NULL, 0, &c, &k, &k_len, &v, &v_len);
	assert_int_equal(e, OK);
	for (count = 0; !e; count++) {
		uint64_t i;

		memcpy(&i, v, sizeof(i));
		sum += i;
		e = index_next(c, &k, &k_len, &v, &v_len);
	}
	index_cursor_close(c);
	index_abort(&old);
	assert_int_equal(count, N);
	assert_int_equal(sum, want);
	txn = begin_read(f->ix);
	assert_int_equal(index_count(txn, T, &count), OK);
	assert_int_equal(count, 0);
	index_abort(&txn);
}

/* ---- threads ------------------------------------------------------------ */

enum { WRITERS = 2, INCREMENTS = 20 };

struct shared {
	struct index *ix;
	atomic_uint writers;
	atomic_uint wrong;
};

/* Two counters move together; to lose one is to have had two writers. */
static void *
write_counters(void *arg)
{
	struct shared *s = arg;

	for (unsigned n = 0; n < INCREMENTS; n++) {
		struct index_txn *txn;
		const uint8_t *v;
		uint64_t count = 0;
		size_t len;

		if (index_begin_write(s->ix, &txn)) {
			atomic_fetch_add(&s->wrong, 1);
			break;
		}
		if (!index_get(txn, T, "left", 4, &v, &len))
			memcpy(&count, v, sizeof(count));
		count++;
		if (index_put(txn, T, "left", 4, &count, sizeof(count)) ||
		    index_put(txn, T, "right", 5, &count, sizeof(count)) ||
		    index_commit(&txn))
			atomic_fetch_add(&s->wrong, 1);
		index_abort(&txn);
	}
	atomic_fetch_sub(&s->writers, 1);
	return NULL;
}

static void *
compare_counters(void *arg)
{
	struct shared *s = arg;
	bool last;

	do {
		struct index_txn *txn;
		uint64_t left = 0, right = 0;
		const uint8_t *v;
		size_t len;

		last = atomic_load(&s->writers) == 0;
		if (index_begin_read(s->ix, &txn)) {
			atomic_fetch_add(&s->wrong, 1);
			break;
		}
		if (!index_get(txn, T, "left", 4, &v, &len))
			memcpy(&left, v, sizeof(left));
		if (!index_get(txn, T, "right", 5, &v, &len))
			memcpy(&right, v, sizeof(right));
		if (left != right || (last && left != WRITERS * INCREMENTS))
			atomic_fetch_add(&s->wrong, 1);
		index_abort(&txn);
	} while (!last);
	return NULL;
}

static void
writers_take_turns_and_readers_see_whole_commits(void **state)
{
	struct fixture *f = *state;
	struct shared s = { .ix = f->ix, .writers = WRITERS };
	pthread_t thread[WRITERS + 2];

	for (unsigned i = 0; i < WRITERS + 2; i++)
		assert_int_equal(
		    pthread_create(&thread[i], NULL,
			i < WRITERS ? write_counters : compare_counters, &s),
		    0);
	for (unsigned i = 0; i < WRITERS + 2; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(atomic_load(&s.wrong), 0);
}

static void *
begin_and_abort(void *txn)
{
	index_abort(txn);
	return NULL;
}

static void
a_reader_may_end_on_another_thread(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_read(f->ix);
	pthread_t thread;

	assert_int_equal(
	    pthread_create(&thread, NULL, begin_and_abort, &txn), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_null(txn);
}

static void
two_hundred_readers_at_once_are_possible(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn[200];

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 200; i++)
			txn[i] = begin_read(f->ix);
		for (unsigned i = 0; i < 200; i++)
			index_abort(&txn[i]);
	}
}

/* ---- memory only -------------------------------------------------------- */

static void
the_nth_change_fails_as_told_and_nothing_is_committed(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);
	unsigned n;

	put(txn, "old", "1");
	commit(&txn);
	for (n = 1;; n++) {
		enum err e;

		index_mem_fail(f->ix, n, ERR_NOSPACE);
		txn = begin_write(f->ix);
		if ((e = index_put(txn, T, "new", 3, "2", 1)) ||
		    (e = index_del(txn, T, "old", 3)) ||
		    (e = index_commit(&txn)))
			index_abort(&txn);
		if (!e)
			break;
		assert_int_equal(e, ERR_NOSPACE);
		txn = begin_read(f->ix);
		assert_holds(txn, "old", "1");
		assert_lacks(txn, "new");
		index_abort(&txn);
	}
	assert_int_equal(n, 4); /* put, del, commit */
	index_mem_fail(f->ix, 0, OK);
	txn = begin_read(f->ix);
	assert_lacks(txn, "old");
	assert_holds(txn, "new", "2");
	index_abort(&txn);
}

/* ---- LMDB only ---------------------------------------------------------- */

static void
what_was_committed_is_there_after_a_reopen(void **state)
{
	struct fixture *f = *state;
	struct index_txn *txn = begin_write(f->ix);
	char path[128];
	struct stat st;

	put(txn, "kept", "1");
	commit(&txn);
	txn = begin_write(f->ix);
	put(txn, "lost", "1");
	index_abort(&txn);
	for (unsigned i = 0; i < 3; i++) {
		index_close(f->ix);
		f->ix = NULL;
		assert_int_equal(index_lmdb_open(f->dir, &f->ix), OK);
		txn = begin_read(f->ix);
		assert_holds(txn, "kept", "1");
		assert_lacks(txn, "lost");
		index_abort(&txn);
	}
	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
a_directory_that_is_not_there_is_absent(void **state)
{
	struct index *ix;

	(void)state;
	assert_int_equal(
	    index_lmdb_open("/tmp/post-index-no-such-thing", &ix), ERR_ABSENT);
}

#define BOTH(test)                                                             \
	cmocka_unit_test_setup_teardown(test, mem_new, tear_down),             \
	    cmocka_unit_test_setup_teardown(test, lmdb_new, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(what_was_put_is_got_until_it_is_deleted),
		BOTH(what_was_aborted_never_was),
		BOTH(tables_do_not_mix),
		BOTH(a_reader_sees_the_state_at_its_begin),
		BOTH(keys_are_ordered_as_bytes),
		BOTH(
		    the_longest_key_and_value_fit_and_longer_values_are_refused),
		BOTH(random_changes_match_a_naive_shadow),
		BOTH(a_hundred_thousand_pairs_go_in_and_out),
		BOTH(writers_take_turns_and_readers_see_whole_commits),
		BOTH(a_reader_may_end_on_another_thread),
		BOTH(two_hundred_readers_at_once_are_possible),
		cmocka_unit_test_setup_teardown(
		    the_nth_change_fails_as_told_and_nothing_is_committed,
		    mem_new, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_was_committed_is_there_after_a_reopen, lmdb_new,
		    tear_down),
		cmocka_unit_test(a_directory_that_is_not_there_is_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
