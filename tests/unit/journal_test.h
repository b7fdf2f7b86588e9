/* journal_test.h - frames that can be known again, for the journal's tests.
 *
 * Frame number n has the same bytes always. */
#ifndef POST_TESTS_JOURNAL_TEST_H
#define POST_TESTS_JOURNAL_TEST_H

#include "overlay/base/rng.h"
#include "store/journal_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct key journal_key = { "a key for the tests of journals" };

static inline size_t
frame_len(unsigned n)
{
	struct rng rng;

	rng_init(&rng, n);
	return (size_t)rng_below(&rng, n % 7 == 0 ? 20000 : 300);
}

/* Frame number n, always the same; *out is the caller's to free. */
static inline size_t
frame_make(unsigned n, uint8_t **out)
{
	size_t len = frame_len(n);
	uint8_t *b = malloc(len ? len : 1);
	struct rng rng;

	assert_non_null(b);
	rng_init(&rng, n + 1000000);
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rng_u64(&rng);
	*out = b;
	return len;
}

static inline uint64_t
append(struct journal *j, unsigned n)
{
	uint8_t *b;
	size_t len = frame_make(n, &b);
	uint64_t lsn;

	assert_int_equal(journal_append(j, b, len, &lsn), OK);
	free(b);
	return lsn;
}

struct seen {
	unsigned first, count; /* frames expected from here on */
	uint64_t lsn;
	enum err fail;
};

static inline enum err
see(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	struct seen *s = arg;
	uint8_t *b;
	size_t want = frame_make(s->first + s->count, &b);

	assert_true(lsn > s->lsn);
	assert_int_equal(len, want);
	assert_memory_equal(bytes, b, len);
	free(b);
	s->lsn = lsn;
	s->count++;
	return s->fail;
}

static inline struct journal *
open_from(struct disk *d, uint64_t from, struct seen *s, uint64_t *torn)
{
	struct journal *j;

	s->count = 0;
	s->lsn = from;
	assert_int_equal(journal_open(d, &journal_key, from, &j), OK);
	assert_int_equal(journal_replay(j, see, s, torn), OK);
	return j;
}

static inline struct disk *
new_disk(void)
{
	struct disk *d;

	assert_int_equal(crypto_init(), OK);
	assert_int_equal(disk_mem_new(1, &d), OK);
	return d;
}

#endif
