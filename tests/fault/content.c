/* What becomes of a content when memory, the sink or the source fails. */
#include "tests/lib/alloc.h"
#include "tests/lib/mails.h"
#include "tests/lib/mem_blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct key secrets[2] = { { { 1 } }, { { 2 } } };

/* Everything in one go; what it made is let go again. */
static enum err
store_and_read(
    const uint8_t *mail, size_t len, struct mem_blocks *blocks, uint8_t *buf)
{
	struct content_sink sink = mem_blocks_sink(blocks);
	struct content_source source = mem_blocks_source(blocks);
	struct content_reader *reader = NULL;
	struct sealer *sealer = NULL;
	struct content c = { .len = 77 };
	size_t got;
	enum err e;

	if ((e = sealer_new(secrets, &sealer)))
		goto out;
	e = content_store(sealer, &sink, mail, len, true, &c);
	if (e) {
		assert_int_equal(c.len, 77); /* untouched */
		goto out;
	}
	if ((e = content_reader_new(sealer, &source, 1u << 20, &reader)) ||
	    (e = content_read(reader, &c, 0, buf, len, &got)))
		goto out;
	assert_int_equal(got, len);
	assert_memory_equal(buf, mail, len);
out:
	content_reader_free(reader);
	sealer_free(sealer);
	return e;
}

static uint8_t *
big_mail(size_t *len)
{
	static const char head[] =
	    "From: a@example.org\n"
	    "Content-Type: multipart/mixed; boundary=b\n\n"
	    "--b\nContent-Transfer-Encoding: base64\n\n";
	static const char middle[] = "--b\n\n";
	size_t lines = 6000, text = 300000;
	uint8_t *mail, *at;
	struct rng rng;

	*len = sizeof(head) - 1 + lines * 77 + sizeof(middle) - 1 + text;
	at = mail = malloc(*len);
	assert_non_null(mail);
	rng_init(&rng, 4);
	memcpy(at, head, sizeof(head) - 1);
	at += sizeof(head) - 1;
	for (size_t i = 0; i < lines; i++, at += 77) {
		for (unsigned k = 0; k < 76; k++)
			at[k] = (uint8_t)('a' + rng_below(&rng, 26));
		at[76] = '\n';
	}
	memcpy(at, middle, sizeof(middle) - 1);
	random_text(&rng, at + sizeof(middle) - 1, text);
	return mail;
}

static void
the_nth_allocation_that_fails_is_reported(void **state)
{
	size_t len;
	uint8_t *mail, *buf;
	uint64_t n = 0;
	bool struck;

	(void)state;
	if (!alloc_can_fail()) {
		printf("skipped: the sanitizer owns the allocator\n");
		skip();
	}
	mail = big_mail(&len);
	buf = malloc(len);
	assert_non_null(buf);
	do {
		struct mem_blocks *blocks = mem_blocks_new();
		enum err e;

		alloc_fail_at(++n);
		e = store_and_read(mail, len, blocks, buf);
		struck = alloc_failed();
		alloc_fail_at(0);
		/* (a cache without room for an entry reads all the same) */
		if (e) {
			assert_int_equal(e, ERR_NOMEM);
			assert_true(struck);
		}
		mem_blocks_free(blocks);
	} while (struck);
	assert_true(n > 20);
	free(buf);
	free(mail);
}

/* ---- a sink that fails -------------------------------------------------- */

static void
the_nth_block_that_can_not_be_put_is_reported(void **state)
{
	size_t len;
	uint8_t *mail = big_mail(&len), *buf = malloc(len);
	uint64_t n = 0;
	bool failed;

	(void)state;
	assert_non_null(buf);
	do {
		struct mem_blocks *blocks = mem_blocks_new();
		enum err e;

		mem_blocks_fail(blocks, ++n);
		e = store_and_read(mail, len, blocks, buf);
		failed = mem_blocks_failed(blocks);
		assert_int_equal(e, failed ? ERR_IO : OK);
		mem_blocks_free(blocks);
	} while (failed);
	assert_true(n > 6);
	free(buf);
	free(mail);
}

/* ---- a file that can not be read ---------------------------------------- */

struct failing {
	uint64_t until;
};

static enum err
read_failing(void *arg, uint64_t off, void *buf, size_t len)
{
	const struct failing *f = arg;

	if (off + len > f->until)
		return ERR_UNREACHABLE;
	memset(buf, (int)(off >> 18) + 1, len);
	return OK;
}

static void
a_stream_that_breaks_off_is_reported(void **state)
{
	struct failing file = { 0 };
	struct mem_blocks *blocks = mem_blocks_new();
	struct content_sink sink = mem_blocks_sink(blocks);
	struct sealer *sealer;
	struct content c = { .len = 77 };

	(void)state;
	assert_int_equal(sealer_new(secrets, &sealer), OK);
	for (uint64_t size = 50; size < 6000000; size *= 3)
		for (unsigned part = 0; part < 4; part++) {
			file.until = size * part / 4;
			assert_int_equal(content_store_stream(sealer, &sink,
					     size, read_failing, &file, &c),
			    ERR_UNREACHABLE);
			assert_int_equal(c.len, 77);
		}
	sealer_free(sealer);
	mem_blocks_free(blocks);
}

/* ---- a source that fails ------------------------------------------------ */

struct moody {
	struct content_source real;
	uint64_t fail_at;
	bool struck;
};

static enum err
get_moody(void *arg, const struct id *id, uint8_t **block, size_t *len)
{
	struct moody *m = arg;

	if (m->fail_at && --m->fail_at == 0) {
		m->struck = true;
		return ERR_UNREACHABLE;
	}
	return m->real.get(m->real.arg, id, block, len);
}

static void
the_nth_block_that_is_away_is_reported(void **state)
{
	size_t len, got;
	uint8_t *mail = big_mail(&len), *buf = malloc(len);
	struct mem_blocks *blocks = mem_blocks_new();
	struct content_sink sink = mem_blocks_sink(blocks);
	struct moody moody = { .real = mem_blocks_source(blocks) };
	struct content_source source = { .arg = &moody, .get = get_moody };
	struct content_reader *reader;
	struct sealer *sealer;
	struct content c;
	uint64_t n = 0;
	bool away;

	(void)state;
	assert_non_null(buf);
	assert_int_equal(sealer_new(secrets, &sealer), OK);
	assert_int_equal(content_store(sealer, &sink, mail, len, true, &c), OK);
	do {
		enum err e;

		moody.fail_at = ++n;
		moody.struck = false;
		assert_int_equal(
		    content_reader_new(sealer, &source, 1u << 20, &reader), OK);
		e = content_read(reader, &c, 0, buf, len, &got);
		away = moody.struck;
		assert_int_equal(e, away ? ERR_UNREACHABLE : OK);
		moody.fail_at = 0; /* it was only a mood */
		assert_int_equal(
		    content_read(reader, &c, 0, buf, len, &got), OK);
		assert_int_equal(got, len);
		assert_memory_equal(buf, mail, len);
		content_reader_free(reader);
	} while (away);
	assert_true(n > 6);
	sealer_free(sealer);
	mem_blocks_free(blocks);
	free(buf);
	free(mail);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_nth_allocation_that_fails_is_reported),
		cmocka_unit_test(the_nth_block_that_can_not_be_put_is_reported),
		cmocka_unit_test(a_stream_that_breaks_off_is_reported),
		cmocka_unit_test(the_nth_block_that_is_away_is_reported),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
