/* Staging on a disk that fails, fills up and forgets.
 *
 * What must hold: a call that fails has changed nothing; a file that was kept
 * reads as it was when staging_keep() returned OK; whatever happens to a keep
 * afterwards, each page is the old or the new one, never damaged. */
#include "overlay/base/rng.h"
#include "store/staging_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGE STAGING_PAGE
#define INO 0xabcdefu
#define MAX (40u * PAGE)

static const struct key pool_key = { "a key for the tests of staging.." };

struct image {
	uint64_t size;
	uint8_t bytes[MAX];
};

struct world {
	struct disk *d;
	struct staging_pool *pool;
	struct staging *s;
	struct rng rng;
	struct image now, kept; /* what it holds; what was kept at last */
};

static void
pool_open(struct world *w, size_t memory)
{
	assert_int_equal(
	    staging_pool_new(w->d, &pool_key, memory, &w->pool), OK);
}

static struct world *
world_new(uint64_t seed, size_t memory)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(crypto_init(), OK);
	rng_init(&w->rng, seed);
	assert_int_equal(disk_mem_new(seed, &w->d), OK);
	pool_open(w, memory);
	assert_int_equal(staging_new(w->pool, INO, 0, NULL, NULL, &w->s), OK);
	return w;
}

static void
world_free(struct world *w)
{
	staging_free(w->s);
	staging_pool_free(w->pool);
	disk_close(w->d);
	free(w);
}

/* A change of random kind and place, made to `now` if it succeeds. */
static enum err
change(struct world *w)
{
	uint64_t off = rng_below(&w->rng, MAX - 3 * PAGE), end;
	uint64_t len = rng_below(&w->rng, 3 * PAGE);
	uint8_t buf[3 * PAGE] = { 0 };
	enum err e;

	switch (rng_below(&w->rng, 8)) {
	default:
		for (uint64_t i = 0; i < len; i++)
			buf[i] = (uint8_t)rng_u64(&w->rng);
		e = staging_write(w->s, off, buf, len);
		if (e || len == 0)
			return e;
		memcpy(w->now.bytes + off, buf, len);
		if (w->now.size < off + len)
			w->now.size = off + len;
		return OK;
	case 0:
		if ((e = staging_truncate(w->s, off)))
			return e;
		if (off < w->now.size)
			memset(w->now.bytes + off, 0, w->now.size - off);
		w->now.size = off;
		return OK;
	case 1:
		if ((e = staging_punch(w->s, off, len)))
			return e;
		end = off + len < w->now.size ? off + len : w->now.size;
		if (off < end)
			memset(w->now.bytes + off, 0, end - off);
		return OK;
	}
}

static void
check_now(struct world *w)
{
	uint8_t *got = malloc(MAX);
	size_t n;

	assert_non_null(got);
	assert_int_equal(staging_size(w->s), w->now.size);
	assert_int_equal(staging_read(w->s, 0, got, MAX, &n), OK);
	assert_int_equal(n, w->now.size);
	assert_memory_equal(got, w->now.bytes, n);
	free(got);
}

static enum err
keep(struct world *w)
{
	enum err e = staging_keep(w->s);

	if (!e)
		w->kept = w->now;
	return e;
}

static void
a_call_that_fails_has_changed_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct world *w =
		    world_new(seed, seed % 3 ? 2 * PAGE : 12 * PAGE);
		bool struck = true;

		if (seed % 10 == 0)
			print_message("seed %u\n", (unsigned)seed);
		for (unsigned i = 0; i < 60 || struck; i++) {
			uint64_t version = staging_version(w->s);
			enum err e, fault = seed % 2 ? ERR_IO : ERR_NOSPACE;

			disk_mem_fail(w->d, 1 + rng_below(&w->rng, 9), fault,
			    rng_below(&w->rng, 2));
			e = rng_below(&w->rng, 5) ? change(w) : keep(w);
			struck = disk_mem_failed(w->d);
			disk_mem_fail(w->d, 0, OK, false);
			if (e) {
				assert_int_equal(e, fault);
				assert_true(struck);
				assert_int_equal(
				    staging_version(w->s), version);
			}
			check_now(w);
		}
		/* And with room again, all goes well. */
		assert_int_equal(keep(w), OK);
		staging_free(w->s);
		assert_int_equal(
		    staging_open_kept(w->pool, INO, w->now.size, &w->s), OK);
		check_now(w);
		world_free(w);
	}
}

/* After a power cut: `kept`, page for page, or what was on its way. */
static void
check_after_crash(struct world *w, bool exactly)
{
	uint8_t *got = malloc(MAX);
	uint64_t end;
	size_t n;

	assert_non_null(got);
	assert_int_equal(staging_read(w->s, 0, got, MAX, &n), OK);
	assert_int_equal(n, w->kept.size);
	for (uint64_t at = 0; at < n; at = end) {
		end = at + PAGE < n ? at + PAGE : n;
		if (exactly ||
		    memcmp(got + at, w->now.bytes + at, end - at) != 0)
			assert_memory_equal(
			    got + at, w->kept.bytes + at, end - at);
	}
	w->now.size = w->kept.size = n;
	memset(&w->now.bytes, 0, MAX);
	memcpy(&w->now.bytes, got, n);
	w->kept = w->now;
	free(got);
	assert_int_equal(staging_keep(w->s), OK);
	check_now(w);
}

static void
crash(struct world *w, bool power_cut)
{
	disk_mem_fail(w->d, 0, OK, false);
	staging_free(w->s);
	staging_pool_free(w->pool);
	if (power_cut)
		disk_mem_crash(w->d);
	else
		disk_mem_kill(w->d);
	pool_open(w, 2 * PAGE);
	assert_int_equal(
	    staging_open_kept(w->pool, INO, w->kept.size, &w->s), OK);
}

/* A keep is cut short at its nth operation; true while there is one. */
static bool
cut_keep_short(uint64_t seed, uint64_t nth, bool power_cut)
{
	struct world *w = world_new(seed, 6 * PAGE);
	bool struck = false;

	for (unsigned life = 0; life < 3; life++) {
		bool kept;

		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(change(w), OK);
		if (life == 0) {
			assert_int_equal(keep(w), OK);
			continue;
		}
		disk_mem_fail(w->d, nth, ERR_IO, true);
		kept = keep(w) == OK;
		struck |= disk_mem_failed(w->d);
		/* Spilled or cut off: none of that may reach what is kept. */
		disk_mem_fail(w->d, 0, OK, false);
		for (unsigned i = 0; kept && i < 4; i++)
			assert_int_equal(change(w), OK);
		crash(w, power_cut);
		check_after_crash(w, kept);
	}
	world_free(w);
	return struck;
}

static void
a_power_cut_in_a_keep_leaves_each_page_old_or_new(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 200; seed++) {
		uint64_t nth = 1;

		if (seed % 10 == 0)
			print_message("seed %u\n", (unsigned)seed);
		while (cut_keep_short(seed, nth, seed % 4 > 0))
			nth++;
		assert_true(nth > 6);
	}
}

/* As before, but the process lives on and keeps again, before the crash. */
static void
a_keep_that_failed_can_be_done_again(void **state)
{
	(void)state;
	for (uint64_t seed = 300; seed < 500; seed++) {
		struct world *w = world_new(seed, 6 * PAGE);

		for (unsigned life = 0; life < 6; life++) {
			for (uint64_t i = rng_below(&w->rng, 8); i; i--)
				assert_int_equal(change(w), OK);
			disk_mem_fail(
			    w->d, 1 + rng_below(&w->rng, 12), ERR_IO, false);
			(void)!keep(w);
			disk_mem_fail(w->d, 0, OK, false);
			for (uint64_t i = rng_below(&w->rng, 3); i; i--)
				assert_int_equal(change(w), OK);
			assert_int_equal(keep(w), OK);
			if (rng_below(&w->rng, 2)) {
				crash(w, true);
				check_after_crash(w, true);
			}
		}
		world_free(w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_that_fails_has_changed_nothing),
		cmocka_unit_test(
		    a_power_cut_in_a_keep_leaves_each_page_old_or_new),
		cmocka_unit_test(a_keep_that_failed_can_be_done_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
