/* Includes map.c itself, so that its one allocation can be made to fail. */
#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool no_memory;

static void *
test_map_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : calloc(n, size);
}

#define calloc(n, size) test_map_calloc(n, size)
#include "overlay/base/map.c"
#undef calloc

#define must(call) assert_int_equal((call), OK)

struct item {
	unsigned key;
	bool in;
};

static bool
match(const void *item, const void *key)
{
	return ((const struct item *)item)->key == *(const unsigned *)key;
}

/* Few hashes, so that runs are long and wrap around the table's end. */
static uint64_t
poor_hash(unsigned key)
{
	return key % 7 == 0 ? UINT64_MAX - key % 3 : hash64_u64(key % 50, 0);
}

static uint64_t
good_hash(unsigned key)
{
	return hash64(&key, sizeof(key), 0);
}

static void
agree(const struct map *m, const struct item *items, unsigned n,
    uint64_t (*hash)(unsigned))
{
	size_t in = 0, seen = 0, pos = 0;
	struct item *item;

	for (unsigned key = 0; key < n; key++) {
		item = map_find(m, hash(key), match, &key);
		if (items[key].in)
			assert_ptr_equal(item, &items[key]);
		else
			assert_null(item);
		in += items[key].in;
	}
	assert_int_equal(m->count, in);
	while ((item = map_next(m, &pos))) {
		assert_true(item->in);
		seen++;
	}
	assert_int_equal(seen, in); /* each once, since all were found */
	assert_null(map_next(m, &pos));
}

static void
random_changes(uint64_t (*hash)(unsigned), unsigned n, unsigned rounds)
{
	struct item *items = calloc(n, sizeof(*items));
	struct map m = { 0 };
	struct rng rng;

	assert_non_null(items);
	rng_init(&rng, n);
	for (unsigned key = 0; key < n; key++)
		items[key].key = key;
	for (unsigned i = 0; i < rounds; i++) {
		unsigned key = (unsigned)rng_below(&rng, n);
		struct item *item = &items[key];

		/* Fill and drain in turn. */
		if (rng_below(&rng, 100) < (i / 500 % 2 ? 30 : 70)) {
			if (!item->in)
				must(map_add(&m, hash(key), item));
			item->in = true;
		} else {
			assert_ptr_equal(map_remove(&m, hash(key), match, &key),
			    item->in ? item : NULL);
			item->in = false;
		}
		if (i % 97 == 0)
			agree(&m, items, n, hash);
	}
	agree(&m, items, n, hash);
	map_fini(&m);
	assert_int_equal(m.count, 0);
	free(items);
}

static void
random_changes_leave_what_a_list_would_hold(void **state)
{
	(void)state;
	random_changes(good_hash, 1000, 20000);
	random_changes(good_hash, 12, 5000);
}

static void
colliding_hashes_are_only_slow(void **state)
{
	(void)state;
	random_changes(poor_hash, 300, 20000);
	random_changes(poor_hash, 12, 5000);
}

static void
an_empty_map_answers(void **state)
{
	unsigned key = 1;
	size_t pos = 0;
	struct map m;

	(void)state;
	map_init(&m);
	assert_null(map_find(&m, 1, match, &key));
	assert_null(map_remove(&m, 1, match, &key));
	assert_null(map_next(&m, &pos));
	map_fini(&m);
	map_fini(&m);
}

static void
without_memory_the_map_is_as_it_was(void **state)
{
	struct item items[100] = { { 0, false } };
	unsigned failed = 0;
	struct map m = { 0 };

	(void)state;
	for (unsigned key = 0; key < 100; key++) {
		struct map was = m;
		enum err e;

		items[key].key = key;
		no_memory = true;
		e = map_add(&m, good_hash(key), &items[key]);
		no_memory = false;
		if (e) {
			assert_int_equal(e, ERR_NOMEM);
			assert_memory_equal(&m, &was, sizeof(m));
			agree(&m, items, key + 1, good_hash);
			must(map_add(&m, good_hash(key), &items[key]));
			failed++;
		}
		items[key].in = true;
		agree(&m, items, key + 1, good_hash);
	}
	assert_true(failed >= 3); /* it grew that often */
	map_fini(&m);
}

static void
what_was_reserved_can_not_fail(void **state)
{
	struct item items[200];
	struct map m = { 0 };

	(void)state;
	must(map_add(&m, good_hash(199), &(struct item){ 199, true }));
	must(map_reserve(&m, 199));
	no_memory = true;
	assert_int_equal(map_reserve(&m, 1000), ERR_NOMEM);
	for (unsigned key = 0; key < 199; key++) {
		items[key] = (struct item){ key, true };
		must(map_add(&m, good_hash(key), &items[key]));
	}
	no_memory = false;
	assert_int_equal(m.count, 200);
	map_fini(&m);
}

/* The values of xxHash's own tests; the integers' is XXH3 of 16 bytes. */
static void
hashes_are_xxh3(void **state)
{
	uint64_t two[2] = { 1, 2 };

	(void)state;
	assert_true(hash64("", 0, 0) == 0x2d06800538d394c2u);
	assert_true(hash64_u64(1, 2) == hash64(two, sizeof(two), 0));
	assert_true(hash64_u64(1, 2) != hash64_u64(2, 1));
	assert_true(hash64("a", 1, 0) != hash64("a", 1, 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_changes_leave_what_a_list_would_hold),
		cmocka_unit_test(colliding_hashes_are_only_slow),
		cmocka_unit_test(an_empty_map_answers),
		cmocka_unit_test(without_memory_the_map_is_as_it_was),
		cmocka_unit_test(what_was_reserved_can_not_fail),
		cmocka_unit_test(hashes_are_xxh3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
