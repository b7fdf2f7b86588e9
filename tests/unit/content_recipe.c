/* Recipes as bytes that anybody may have written, and many readers at once. */
#include "tests/unit/content_test.h"

#include <pthread.h>

static struct block_ref
put_plain(struct fixture *f, const void *plain, size_t len)
{
	uint8_t *block = malloc(len + SEAL_OVERHEAD);
	struct block_ref ref;
	size_t n;

	assert_non_null(block);
	assert_int_equal(
	    seal_block(f->sealer, SEAL_USER, plain, len, block, &n, &ref), OK);
	assert_int_equal(f->sink.put(f->sink.arg, &ref.id, block, n), OK);
	free(block);
	return ref;
}

static struct content
sub_content(const struct block_ref *ref, uint64_t out_len)
{
	struct content c;
	struct wr w;

	wr_init(&w, c.bytes, CONTENT_MAX);
	recipe_put_sub(&w, ref, out_len);
	c.len = (uint16_t)wr_len(&w);
	return c;
}

static enum err
read_all(struct fixture *f, const struct content *c, size_t max)
{
	uint8_t *buf = malloc(max);
	size_t got;
	enum err e;

	assert_non_null(buf);
	e = content_read(f->reader, c, 0, buf, max, &got);
	free(buf);
	return e;
}

static void
recipes_nest_eight_deep_and_no_deeper(void **state)
{
	struct fixture f;
	struct content c = { .len = 7, .bytes = "\1\5hello" };
	uint64_t refs;

	(void)state;
	fixture_init(&f, CACHE);
	for (unsigned depth = 1; depth <= CONTENT_DEPTH_MAX + 1; depth++) {
		struct block_ref ref = put_plain(&f, c.bytes, c.len);
		bool good = depth <= CONTENT_DEPTH_MAX;

		c = sub_content(&ref, 5);
		assert_int_equal(
		    read_all(&f, &c, 5), good ? OK : ERR_MALFORMED);
		refs = 0;
		assert_int_equal(content_refs(f.reader, &c, count_ref, &refs),
		    good ? OK : ERR_MALFORMED);
		if (good)
			assert_int_equal(refs, depth);
	}
	fixture_fini(&f);
}

static void
a_nested_length_that_lies_is_malformed(void **state)
{
	struct fixture f;
	uint64_t refs = 0;

	(void)state;
	fixture_init(&f, CACHE);
	for (uint64_t len = 1; len < 9; len++) {
		struct block_ref ref = put_plain(&f, "\1\5hello", 7);
		struct content c = sub_content(&ref, len);
		enum err want = len == 5 ? OK : ERR_MALFORMED;

		assert_int_equal(read_all(&f, &c, 9), want);
		assert_int_equal(
		    content_refs(f.reader, &c, count_ref, &refs), want);
	}
	fixture_fini(&f);
}

static void
a_recipe_that_multiplies_costs_no_more_than_its_blocks(void **state)
{
	enum { TIMES = 150 };
	size_t room = TIMES * OP_FIXED_MAX;
	uint8_t *recipe = malloc(room);
	struct block_ref ref;
	struct content c;
	struct fixture f;
	uint64_t len = 5, size, refs = 0;
	struct wr w;

	(void)state;
	assert_non_null(recipe);
	fixture_init(&f, CACHE);
	ref = put_plain(&f, "\1\5hello", 7);
	for (unsigned depth = 0; depth + 1 < CONTENT_DEPTH_MAX; depth++) {
		wr_init(&w, recipe, room);
		for (unsigned i = 0; i < TIMES; i++)
			recipe_put_sub(&w, &ref, len);
		assert_false(w.bad);
		len *= TIMES;
		ref = put_plain(&f, recipe, wr_len(&w));
	}
	c = sub_content(&ref, len);
	assert_int_equal(content_size(&c, &size), OK);
	assert_int_equal(size, len); /* eight petabytes and a half */
	assert_int_equal(content_refs(f.reader, &c, count_ref, &refs), OK);
	assert_int_equal(refs, CONTENT_DEPTH_MAX);
	assert_int_equal(read_all(&f, &c, 4096), OK);
	/* to walk a recipe of 11 KB for each 750 bytes has its bound */
	assert_int_equal(read_all(&f, &c, 8u << 20), ERR_MALFORMED);
	fixture_fini(&f);
	free(recipe);
}

static void
a_block_for_each_byte_is_refused_in_the_end(void **state)
{
	enum { TIMES = 7000 };
	size_t room = TIMES * (1 + REF_MAX);
	uint8_t *recipe = malloc(room);
	struct block_ref ref;
	struct content c;
	struct fixture f;
	struct wr w;

	(void)state;
	assert_non_null(recipe);
	fixture_init(&f, CACHE);
	ref = put_plain(&f, "x", 1);
	wr_init(&w, recipe, room);
	for (unsigned i = 0; i < TIMES; i++)
		recipe_put_blk(&w, &ref);
	assert_false(w.bad);
	ref = put_plain(&f, recipe, wr_len(&w));
	c = sub_content(&ref, TIMES);
	assert_int_equal(read_all(&f, &c, 1000), OK);
	assert_int_equal(read_all(&f, &c, TIMES), ERR_MALFORMED);
	fixture_fini(&f);
	free(recipe);
}

static void
a_known_id_is_not_enough_for_the_cache(void **state)
{
	struct fixture f;
	struct block_ref ref;
	struct content c;
	struct wr w;
	uint8_t plain[500];

	(void)state;
	fixture_init(&f, CACHE);
	memset(plain, 's', sizeof(plain));
	ref = put_plain(&f, plain, sizeof(plain));
	for (unsigned i = 0; i < 3; i++) {
		struct block_ref r = ref;

		if (i == 1)
			r.key.b[31] ^= 1;
		if (i == 2)
			r.plain_len--;
		wr_init(&w, c.bytes, CONTENT_MAX);
		recipe_put_blk(&w, &r);
		c.len = (uint16_t)wr_len(&w);
		assert_int_equal(read_all(&f, &c, 600), i == 0 ? OK
							: i == 1
							    ? ERR_CORRUPT
							    : ERR_MALFORMED);
	}
	fixture_fini(&f);
}

static void
a_block_that_is_away_or_damaged_is_told(void **state)
{
	struct fixture f;
	struct content c;
	uint8_t plain[500], *block;
	struct block_ref ref;
	struct wr w;
	size_t len;

	(void)state;
	fixture_init(&f, 0);
	memset(plain, 's', sizeof(plain));
	ref = put_plain(&f, plain, sizeof(plain));
	wr_init(&w, c.bytes, CONTENT_MAX);
	recipe_put_blk(&w, &ref);
	c.len = (uint16_t)wr_len(&w);
	block = mem_blocks_bytes(f.blocks, &ref.id, &len);
	assert_non_null(block);
	block[len - 1] ^= 1;
	assert_int_equal(read_all(&f, &c, 600), ERR_CORRUPT);
	c.bytes[1] ^= 1;
	assert_int_equal(read_all(&f, &c, 600), ERR_ABSENT);
	fixture_fini(&f);
}

/* A recipe with every op, as bytes; `at` is where each op begins. */
static size_t
full_recipe(struct fixture *f, uint8_t *out, size_t cap, size_t at[7])
{
	struct block_ref ref = put_plain(f, "0123456789", 10);
	struct block_ref sub = put_plain(f, "\1\5hello", 7);
	struct wr w;

	wr_init(&w, out, cap);
	at[0] = wr_len(&w);
	recipe_put_lit(&w, 3);
	wr_bytes(&w, "abc", 3);
	at[1] = wr_len(&w);
	recipe_put_blk(&w, &ref);
	at[2] = wr_len(&w);
	recipe_put_b64(&w, 2);
	ref_put(&w, &ref);
	ref_put(&w, &sub);
	recipe_put_b64_end(&w, 8, 1, 1);
	at[3] = wr_len(&w);
	recipe_put_sub(&w, &sub, 5);
	at[4] = wr_len(&w);
	recipe_put_zero(&w, 300);
	at[5] = wr_len(&w);
	assert_false(w.bad);
	return at[5];
}

static void
a_recipe_of_every_op_reads_as_the_format_says(void **state)
{
	static const char want[] =
	    "abc0123456789MDEyMzQ1\r\nNjc4OQEF\r\naGVsbG8=\r\nhello";
	size_t n = sizeof(want) - 1, got, at[7];
	uint8_t recipe[512], expect[512] = { 0 }, buf[512];
	struct block_ref ref;
	struct fixture f;
	struct content c;

	(void)state;
	memcpy(expect, want, n);
	fixture_init(&f, CACHE);
	ref = put_plain(&f, recipe, full_recipe(&f, recipe, 512, at));
	c = sub_content(&ref, n + 300);
	for (size_t off = 0; off <= n + 300; off++)
		for (size_t len = 1; len < 60; len += 7) {
			size_t expected =
			    n + 300 - off < len ? n + 300 - off : len;

			assert_int_equal(
			    content_read(f.reader, &c, off, buf, len, &got),
			    OK);
			assert_int_equal(got, expected);
			assert_memory_equal(buf, expect + off, got);
		}
	fixture_fini(&f);
}

static void
every_prefix_of_a_recipe_is_malformed_or_ends_at_an_op(void **state)
{
	uint8_t recipe[512];
	size_t at[7], len;
	struct fixture f;

	(void)state;
	fixture_init(&f, CACHE);
	len = full_recipe(&f, recipe, sizeof(recipe), at);
	assert_int_equal(content_check(recipe, len), OK);
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = malloc(n + !n);
		bool whole = false;

		assert_non_null(cut);
		memcpy(cut, recipe, n);
		for (unsigned i = 0; i < 6; i++)
			whole |= at[i] == n;
		assert_int_equal(
		    content_check(cut, n), whole ? OK : ERR_MALFORMED);
		free(cut);
	}
	fixture_fini(&f);
}

static void
every_flipped_bit_of_a_recipe_is_noticed_or_harmless(void **state)
{
	uint8_t recipe[512], *buf = malloc(1u << 20);
	size_t at[7], len, got;
	struct fixture f;
	unsigned refused = 0;

	(void)state;
	assert_non_null(buf);
	fixture_init(&f, CACHE);
	len = full_recipe(&f, recipe, sizeof(recipe), at);
	for (size_t i = 0; i < 8 * len; i++) {
		struct block_ref ref;
		struct content c;
		uint64_t size;

		recipe[i / 8] ^= (uint8_t)(1u << i % 8);
		if (content_check(recipe, len)) {
			refused++;
		} else {
			assert_int_equal(recipe_len(recipe, len, &size), OK);
			ref = put_plain(&f, recipe, len);
			c = sub_content(&ref, size);
			if (content_read(f.reader, &c, 0, buf, 1u << 20, &got))
				refused++;
		}
		recipe[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	/* all bits but those of literals, line lengths and holes */
	assert_true(refused > 8 * (4 * (ID_BYTES + KEY_BYTES)));
	fixture_fini(&f);
	free(buf);
}

static void
sizes_that_overflow_are_malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\0", 1 }, /* no such op */
		{ "\6\1", 2 },
		{ "\1\0", 2 }, /* nothing literally */
		{ "\1\2x", 3 }, /* short */
		{ "\5\0", 2 }, /* no hole */
		{ "\5\x80\0", 3 }, /* not the shortest form */
		{ "\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11 },
		{ "\5\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", 11 }, /* 2^63 */
		{ "\5\xff\xff\xff\xff\xff\xff\xff\xff\x7f\5\1", 12 },
		{ "\3\0\1\0", 4 }, /* base64 of nothing */
		{ "\3\xff\xff\xff\xff\xf\1\0", 8 },
	};
	struct content c;
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
		    content_check((const uint8_t *)bad[i].bytes, bad[i].len),
		    ERR_MALFORMED);
		memcpy(c.bytes, bad[i].bytes, bad[i].len);
		c.len = (uint16_t)bad[i].len;
		assert_int_equal(content_size(&c, &size), ERR_MALFORMED);
	}
	c.len = CONTENT_MAX + 1;
	assert_int_equal(content_size(&c, &size), ERR_MALFORMED);
	c.len = 10;
	memcpy(c.bytes, "\5\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10);
	assert_int_equal(content_size(&c, &size), OK);
	assert_int_equal(size, INT64_MAX);
}

/* ---- threads ------------------------------------------------------------ */

struct job {
	struct fixture *f;
	const struct content *c;
	const uint8_t *mail;
	size_t len;
	uint64_t seed;
	enum err e;
	bool good;
};

static void *
read_many(void *arg)
{
	struct job *j = arg;
	uint8_t *buf = malloc(300000);
	struct rng rng;

	rng_init(&rng, j->seed);
	j->good = buf != NULL;
	for (unsigned i = 0; i < 120 && j->good; i++) {
		uint64_t off = rng_below(&rng, j->len);
		size_t n = rng_below(&rng, 300000), got;

		j->e = content_read(j->f->reader, j->c, off, buf, n, &got);
		j->good = !j->e && memcmp(buf, j->mail + off, got) == 0;
	}
	free(buf);
	return NULL;
}

static void
many_threads_read_through_a_small_cache(void **state)
{
	size_t len;
	uint8_t *mail = mail_with_part(21, 1500000, 76, 1, &len);
	struct fixture f;
	struct content c;
	pthread_t thread[4];
	struct job job[4];

	(void)state;
	fixture_init(&f, 300000);
	assert_int_equal(
	    content_store(f.sealer, &f.sink, mail, len, true, &c), OK);
	for (unsigned i = 0; i < 4; i++) {
		job[i] = (struct job){
			.f = &f, .c = &c, .mail = mail, .len = len, .seed = i
		};
		assert_int_equal(
		    pthread_create(&thread[i], NULL, read_many, &job[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(job[i].e, OK);
		assert_true(job[i].good);
	}
	fixture_fini(&f);
	free(mail);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recipes_nest_eight_deep_and_no_deeper),
		cmocka_unit_test(a_nested_length_that_lies_is_malformed),
		cmocka_unit_test(
		    a_recipe_that_multiplies_costs_no_more_than_its_blocks),
		cmocka_unit_test(a_block_for_each_byte_is_refused_in_the_end),
		cmocka_unit_test(a_known_id_is_not_enough_for_the_cache),
		cmocka_unit_test(a_block_that_is_away_or_damaged_is_told),
		cmocka_unit_test(a_recipe_of_every_op_reads_as_the_format_says),
		cmocka_unit_test(
		    every_prefix_of_a_recipe_is_malformed_or_ends_at_an_op),
		cmocka_unit_test(
		    every_flipped_bit_of_a_recipe_is_noticed_or_harmless),
		cmocka_unit_test(sizes_that_overflow_are_malformed),
		cmocka_unit_test(many_threads_read_through_a_small_cache),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
