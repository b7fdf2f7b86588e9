/* content_test.h - what the tests of content.h share: a store of blocks in
 * memory, and mails to put into it. */
#ifndef POST_TESTS_CONTENT_TEST_H
#define POST_TESTS_CONTENT_TEST_H

#include "store/chunk.h"
#include "store/content_private.h"
#include "tests/lib/mails.h"
#include "tests/lib/mem_blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLES "sample"
#define CACHE (8u << 20)

struct fixture {
	struct sealer *sealer;
	struct mem_blocks *blocks;
	struct content_reader *reader;
	struct content_sink sink;
};

static inline void
fixture_init(struct fixture *f, size_t cache)
{
	const struct key secrets[2] = { { { 1, 2, 3 } }, { { 4, 5, 6 } } };
	struct content_source source;

	assert_int_equal(sealer_new(secrets, &f->sealer), OK);
	f->blocks = mem_blocks_new();
	f->sink = mem_blocks_sink(f->blocks);
	source = mem_blocks_source(f->blocks);
	assert_int_equal(
	    content_reader_new(f->sealer, &source, cache, &f->reader), OK);
}

static inline void
fixture_fini(struct fixture *f)
{
	content_reader_free(f->reader);
	mem_blocks_free(f->blocks);
	sealer_free(f->sealer);
}

/* [off, off + len) read through an exact block, and compared. */
static inline void
must_read(struct fixture *f, const char *name, const struct content *c,
    const uint8_t *want, size_t size, uint64_t off, size_t len)
{
	size_t short_len = off >= size        ? 0
			   : len < size - off ? len
					      : size - (size_t)off;
	uint8_t *buf = malloc(len + !len);
	size_t got;
	enum err e;

	assert_non_null(buf);
	e = content_read(f->reader, c, off, buf, len, &got);
	if (e)
		fail_msg("%s: %s", name, err_name(e));
	assert_int_equal(got, short_len);
	if (got && memcmp(buf, want + off, got) != 0)
		fail_msg(
		    "%s: other bytes at %llu", name, (unsigned long long)off);
	free(buf);
}

static inline enum err
count_ref(void *arg, const struct block_ref *ref)
{
	(void)ref;
	++*(uint64_t *)arg;
	return OK;
}

/* A mail with one base64 part of `plain_len` bytes of noise. */
static inline uint8_t *
mail_with_part(
    uint64_t seed, size_t plain_len, uint16_t width, uint8_t crlf, size_t *len)
{
	static const char head[] = "From: a@example.org\nContent-Type: "
				   "application/x\nContent-Transfer-Encoding: "
				   "base64\n\n";
	size_t n = mime_encoded_len(plain_len, width, crlf, 1);
	uint8_t *plain = malloc(plain_len), *mail;
	struct rng rng;

	rng_init(&rng, seed);
	*len = sizeof(head) - 1 + n;
	mail = malloc(*len);
	assert_non_null(plain);
	assert_non_null(mail);
	random_noise(&rng, plain, plain_len);
	memcpy(mail, head, sizeof(head) - 1);
	mime_encode_range(
	    plain, plain_len, width, crlf, 1, 0, n, mail + sizeof(head) - 1);
	free(plain);
	return mail;
}

#endif
