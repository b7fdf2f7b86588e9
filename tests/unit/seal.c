#include "store/dictionary.h"
#include "store/seal.h"
#include "tests/lib/mails.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct key secrets[2] = { { { 1, 2, 3 } }, { { 4, 5, 6 } } };

static struct sealer *
new_sealer(void)
{
	struct sealer *s;

	assert_int_equal(sealer_new(secrets, &s), OK);
	return s;
}

static uint8_t *
text(uint64_t seed, size_t len)
{
	uint8_t *bytes = malloc(len);
	struct rng rng;

	assert_non_null(bytes);
	rng_init(&rng, seed);
	random_text(&rng, bytes, len);
	return bytes;
}

static uint8_t *
noise(uint64_t seed, size_t len)
{
	uint8_t *bytes = malloc(len);
	struct rng rng;

	assert_non_null(bytes);
	rng_init(&rng, seed);
	random_noise(&rng, bytes, len);
	return bytes;
}

struct sealed {
	uint8_t *block; /* exactly len bytes */
	size_t len;
	struct block_ref ref;
};

static struct sealed
seal(
    struct sealer *s, enum seal_domain domain, const uint8_t *plain, size_t len)
{
	uint8_t *room = malloc(len + SEAL_OVERHEAD);
	struct sealed b;

	assert_non_null(room);
	assert_int_equal(
	    seal_block(s, domain, plain, len, room, &b.len, &b.ref), OK);
	assert_true(b.len <= len + SEAL_OVERHEAD);
	assert_int_equal(b.ref.plain_len, len);
	b.block = malloc(b.len);
	assert_non_null(b.block);
	memcpy(b.block, room, b.len);
	free(room);
	return b;
}

/* Open both ways; the outcome of both, which must be one. */
static enum err
open_both(struct sealer *s, const struct block_ref *ref, const uint8_t *block,
    size_t len, const uint8_t *want)
{
	uint8_t *plain = malloc(ref->plain_len), *other = NULL;
	size_t n = 0;
	enum err e, k;

	assert_non_null(plain);
	e = seal_open(s, ref, block, len, plain);
	k = seal_open_key(s, &ref->key, block, len, &other, &n);
	assert_int_equal(e, k);
	if (!e) {
		assert_int_equal(n, ref->plain_len);
		assert_memory_equal(plain, other, n);
		if (want)
			assert_memory_equal(plain, want, n);
		free(other);
	}
	free(plain);
	return e;
}

static void
what_was_sealed_opens_again(void **state)
{
	static const size_t lens[] = { 1, 2, 10, 100, 255, 256, 4096,
		SEAL_DICT_MAX - 1, SEAL_DICT_MAX, SEAL_DICT_MAX + 1, 65791,
		65792, 300000, SEAL_PLAIN_MAX };
	struct sealer *s = new_sealer();

	(void)state;
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		for (unsigned kind = 0; kind < 3; kind++) {
			uint8_t *plain = kind == 0   ? text(i, lens[i])
					 : kind == 1 ? noise(i, lens[i])
						     : calloc(1, lens[i]);
			struct sealed b =
			    seal(s, kind % SEAL_DOMAINS, plain, lens[i]);
			struct id id;

			assert_int_equal(
			    open_both(s, &b.ref, b.block, b.len, plain), OK);
			hash_bytes(b.block, b.len, &id);
			assert_true(id_eq(&id, &b.ref.id));
			free(b.block);
			free(plain);
		}
	sealer_free(s);
}

static void
the_codec_follows_from_the_plaintext(void **state)
{
	struct sealer *s = new_sealer();
	uint8_t *t = text(1, SEAL_DICT_MAX + 1), *n = noise(1, 5000);
	struct sealed b;

	(void)state;
	b = seal(s, SEAL_USER, t, SEAL_DICT_MAX);
	assert_int_equal(b.block[1], 1);
	assert_true(b.len < SEAL_DICT_MAX / 2);
	free(b.block);
	b = seal(s, SEAL_USER, t, SEAL_DICT_MAX + 1);
	assert_int_equal(b.block[1], 2);
	free(b.block);
	b = seal(s, SEAL_USER, n, 5000);
	assert_int_equal(b.block[1], 0);
	assert_int_equal(b.len, 5000 + SEAL_OVERHEAD);
	free(b.block);
	b = seal(s, SEAL_USER, t, 1);
	assert_int_equal(b.block[1], 0);
	free(b.block);
	free(t);
	free(n);
	sealer_free(s);
}

static void
equal_plaintexts_are_one_block_within_a_domain_only(void **state)
{
	struct sealer *s = new_sealer(), *t = new_sealer(), *u;
	const struct key others[2] = { { { 9 } }, { { 4, 5, 6 } } };
	uint8_t *plain = text(2, 8000);
	struct sealed a, b;

	(void)state;
	assert_int_equal(sealer_new(others, &u), OK);
	a = seal(s, SEAL_ORG, plain, 8000);
	b = seal(t, SEAL_ORG, plain, 8000);
	assert_true(id_eq(&a.ref.id, &b.ref.id));
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.block, b.block, a.len);
	free(b.block);
	b = seal(t, SEAL_USER, plain, 8000);
	assert_false(id_eq(&a.ref.id, &b.ref.id));
	free(a.block);
	a = seal(u, SEAL_USER, plain, 8000);
	assert_true(id_eq(&a.ref.id, &b.ref.id));
	free(a.block);
	free(b.block);
	a = seal(s, SEAL_PRIVATE, plain, 8000);
	b = seal(s, SEAL_PRIVATE, plain, 8000);
	assert_false(id_eq(&a.ref.id, &b.ref.id));
	free(a.block);
	free(b.block);
	free(plain);
	sealer_free(s);
	sealer_free(t);
	sealer_free(u);
}

static void
a_used_sealer_seals_as_a_new_one(void **state)
{
	struct sealer *used = new_sealer();
	struct rng rng;

	(void)state;
	rng_init(&rng, 77);
	for (unsigned i = 0; i < 150; i++) {
		size_t len = 1 + rng_below(&rng, i % 9 ? 20000 : 400000);
		uint8_t *plain = i % 5 ? text(i, len) : noise(i, len);
		struct sealed a = seal(used, SEAL_USER, plain, len), b;

		if (i % 3 == 0) {
			struct sealer *fresh = new_sealer();

			b = seal(fresh, SEAL_USER, plain, len);
			assert_true(id_eq(&a.ref.id, &b.ref.id));
			free(b.block);
			sealer_free(fresh);
		}
		free(a.block);
		free(plain);
	}
	sealer_free(used);
}

static void
known_plaintexts_have_known_ids(void **state)
{
	/* codec 1, codec 2, codec 0, and codec 1 in the other domain */
	static const struct {
		size_t len;
		bool noise;
		enum seal_domain domain;
		size_t block_len;
		const char *id;
	} golden[] = {
		{ 10000, false, SEAL_USER, 2408,
		    "d5be8104e3a2f97bb7efe5dd79ee23733d3ddd11f34a73eb"
		    "1b6a2e3f718304e4" },
		{ 100000, false, SEAL_USER, 20893,
		    "995de372e7b79eb60e45934145b13f9bedbbf94e72b47231"
		    "5d004500d0d9249a" },
		{ 10000, true, SEAL_ORG, 10018,
		    "f0a585dd24268437dc391ac50896fc50db08645dca4658f4"
		    "0b15b9dca22b27cd" },
		{ 10000, false, SEAL_ORG, 2408,
		    "96627a4fec50f5111eb4122ec430782d9862da78766b0a8b"
		    "bc3fb329417fa790" },
	};
	struct sealer *s = new_sealer();

	(void)state;
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		uint8_t *plain = golden[i].noise ? noise(42, golden[i].len)
						 : text(42, golden[i].len);
		struct sealed b =
		    seal(s, golden[i].domain, plain, golden[i].len);
		char hex[ID_HEX + 1];

		id_to_hex(&b.ref.id, hex);
		if (golden[i].block_len != b.len ||
		    strcmp(hex, golden[i].id) != 0)
			print_error("%zu: %zu %s\n", i, b.len, hex);
		assert_int_equal(b.len, golden[i].block_len);
		assert_string_equal(hex, golden[i].id);
		free(b.block);
		free(plain);
	}
	sealer_free(s);
}

static void
a_block_of_old_opens_for_ever(void **state)
{
	/* the text "Subject: hello, hello, hello, hello\n", in SEAL_USER */
	static const uint8_t block[] = { 0x01, 0x01, 0x18, 0x13, 0x6c, 0x64,
		0x3d, 0x8f, 0x31, 0x55, 0x14, 0x33, 0x02, 0xa0, 0xdf, 0xa2,
		0x9c, 0x87, 0x00, 0xd7, 0xdf, 0x06, 0xbd, 0xae, 0xe2, 0x25,
		0x19, 0x22, 0x62, 0x42, 0x6d, 0xdd, 0x6f, 0x79, 0x09, 0x68,
		0xa2, 0x6f, 0xf9 };
	static const char plain[] = "Subject: hello, hello, hello, hello\n";
	struct sealer *s = new_sealer();
	struct sealed b =
	    seal(s, SEAL_USER, (const uint8_t *)plain, sizeof(plain) - 1);

	(void)state;
	if (b.len != sizeof(block) || memcmp(b.block, block, b.len) != 0)
		for (size_t i = 0; i < b.len; i++)
			print_error("0x%02x,", b.block[i]);
	assert_int_equal(
	    open_both(s, &b.ref, block, sizeof(block), (const uint8_t *)plain),
	    OK);
	assert_int_equal(b.len, sizeof(block));
	assert_memory_equal(b.block, block, b.len);
	free(b.block);
	sealer_free(s);
}

static void
the_dictionary_is_the_one_of_this_format(void **state)
{
	struct id id;
	char hex[ID_HEX + 1];

	(void)state;
	assert_int_equal(dictionary_1_len(), DICTIONARY_MAX);
	hash_bytes(dictionary_1, dictionary_1_len(), &id);
	id_to_hex(&id, hex);
	assert_string_equal(hex,
	    "5d2ccda0467e0b6c0301de2c4787c1cc26a08b83f87c93ef"
	    "a987a70851549c8a");
}

/* ---- what does not open ------------------------------------------------- */

static void
every_prefix_is_refused(void **state)
{
	struct sealer *s = new_sealer();
	uint8_t *plain = text(3, 2000);
	struct sealed b = seal(s, SEAL_USER, plain, 2000);

	(void)state;
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *cut = malloc(n + !n);

		assert_non_null(cut);
		memcpy(cut, b.block, n);
		assert_int_equal(
		    open_both(s, &b.ref, cut, n, NULL), ERR_BADSIG);
		free(cut);
	}
	free(b.block);
	free(plain);
	sealer_free(s);
}

static void
every_flipped_bit_is_refused(void **state)
{
	struct sealer *s = new_sealer();

	(void)state;
	for (unsigned kind = 0; kind < 2; kind++) {
		uint8_t *plain = kind ? noise(4, 500) : text(4, 2000);
		struct sealed b = seal(s, SEAL_ORG, plain, kind ? 500 : 2000);

		for (size_t i = 0; i < 8 * b.len; i++) {
			b.block[i / 8] ^= (uint8_t)(1u << i % 8);
			assert_int_equal(
			    open_both(s, &b.ref, b.block, b.len, NULL),
			    i < 8 ? ERR_NEWER : ERR_BADSIG);
			b.block[i / 8] ^= (uint8_t)(1u << i % 8);
		}
		b.ref.key.b[5] ^= 1;
		assert_int_equal(
		    open_both(s, &b.ref, b.block, b.len, NULL), ERR_BADSIG);
		free(b.block);
		free(plain);
	}
	sealer_free(s);
}

static void
another_length_is_malformed(void **state)
{
	struct sealer *s = new_sealer();
	uint8_t *plain = text(5, 2000), *out = malloc(SEAL_PLAIN_MAX);

	(void)state;
	assert_non_null(out);
	for (unsigned kind = 0; kind < 2; kind++) {
		struct sealed b = seal(s, SEAL_USER, plain, kind ? 2000 : 3);
		uint32_t real = b.ref.plain_len;
		const uint32_t wrong[] = { 0, 1, real - 1, real + 1, 40000,
			SEAL_PLAIN_MAX, SEAL_PLAIN_MAX + 1, UINT32_MAX };

		for (unsigned i = 0; i < sizeof(wrong) / 4; i++) {
			b.ref.plain_len = wrong[i];
			assert_int_equal(
			    seal_open(s, &b.ref, b.block, b.len, out),
			    ERR_MALFORMED);
		}
		free(b.block);
	}
	free(out);
	free(plain);
	sealer_free(s);
}

/* A block around any packed form: authentic, and not what we would make. */
static struct sealed
forge(uint8_t codec, const void *packed, size_t n, uint32_t plain_len)
{
	const uint64_t nonce[2] = { 0, 0 };
	struct sealed b = { .len = n + SEAL_OVERHEAD };

	b.block = malloc(b.len);
	assert_non_null(b.block);
	b.block[0] = 1;
	b.block[1] = codec;
	memset(&b.ref, 7, sizeof(b.ref));
	b.ref.plain_len = plain_len;
	aead_seal(&b.ref.key, nonce, b.block, 2, packed, n, b.block + 2);
	return b;
}

static void
authentic_blocks_that_we_would_not_make_are_malformed(void **state)
{
	struct sealer *s = new_sealer();
	static const uint8_t big[SEAL_PLAIN_MAX + 1];
	const struct {
		uint8_t codec;
		const char *packed;
		size_t n;
		uint32_t plain_len;
		enum err want;
	} all[] = {
		{ 0, "", 0, 1, ERR_MALFORMED },
		{ 1, "", 0, 100, ERR_MALFORMED },
		{ 2, "", 0, 40000, ERR_MALFORMED },
		/* no zstd frame */
		{ 1, "\xff\xff\xff\xff\xff", 5, 100, ERR_MALFORMED },
		/* a frame of one run: 100 times 'x', single segment */
		{ 1, "\x20\x64\x23\x03\x00x", 6, 100, OK },
		{ 2, "\x20\x64\x23\x03\x00x", 6, 100, ERR_MALFORMED },
		{ 1, "\x20\x64\x23\x03\x00xy", 7, 100, ERR_MALFORMED },
		{ 1, "\x20\x64\x23\x03\x00", 5, 100, ERR_MALFORMED },
		/* the header says 100, the block makes 99 */
		{ 1, "\x20\x64\x1b\x03\x00x", 6, 100, ERR_MALFORMED },
		/* the header says that it makes nothing; packed is longer */
		{ 1, "\x20\x00\x03\x00\x00", 5, 1, ERR_MALFORMED },
		/* what did not shrink should have been left as it was */
		{ 1, "\x20\x05\x2b\x00\x00x", 6, 5, ERR_MALFORMED },
		{ 3, "abc", 3, 3, ERR_NEWER },
		{ 255, "abc", 3, 3, ERR_NEWER },
		{ 0, (const char *)big, sizeof(big), 100, ERR_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct sealed b = forge(
		    all[i].codec, all[i].packed, all[i].n, all[i].plain_len);
		enum err e = open_both(s, &b.ref, b.block, b.len, NULL);

		if (e != all[i].want)
			fail_msg("case %zu: %s", i, err_name(e));
		free(b.block);
	}
	sealer_free(s);
}

static void
a_given_key_seals_and_opens(void **state)
{
	struct sealer *s = new_sealer();
	const struct key key = { { 3, 1, 4 } };
	uint8_t *plain = text(6, 900), *block = malloc(900 + SEAL_OVERHEAD);
	struct block_ref ref = { .key = key, .plain_len = 900 };
	struct id id;
	size_t len;

	(void)state;
	assert_non_null(block);
	assert_int_equal(
	    seal_with_key(s, &key, plain, 900, block, &len, &ref.id), OK);
	hash_bytes(block, len, &id);
	assert_true(id_eq(&id, &ref.id));
	assert_int_equal(open_both(s, &ref, block, len, plain), OK);
	free(block);
	free(plain);
	sealer_free(s);
}

/* ---- threads ------------------------------------------------------------ */

struct job {
	struct sealer *s;
	uint64_t seed;
	bool good;
};

static void *
seal_and_open_many(void *arg)
{
	struct job *j = arg;
	uint8_t *plain = malloc(60000), *back = malloc(60000);
	uint8_t *block = malloc(60000 + SEAL_OVERHEAD);
	struct rng rng;

	rng_init(&rng, j->seed);
	j->good = plain && back && block;
	for (unsigned i = 0; i < 60 && j->good; i++) {
		size_t len = 1 + rng_below(&rng, 60000), n;
		struct block_ref ref;

		random_text(&rng, plain, len);
		j->good =
		    !seal_block(j->s, SEAL_ORG, plain, len, block, &n, &ref) &&
		    !seal_open(j->s, &ref, block, n, back) &&
		    memcmp(plain, back, len) == 0;
	}
	free(plain);
	free(back);
	free(block);
	return NULL;
}

static void
many_threads_share_a_sealer(void **state)
{
	struct sealer *s = new_sealer();
	struct job job[4];
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		job[i] = (struct job){ .s = s, .seed = i };
		assert_int_equal(pthread_create(&thread[i], NULL,
				     seal_and_open_many, &job[i]),
		    0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_true(job[i].good);
	}
	sealer_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_sealed_opens_again),
		cmocka_unit_test(the_codec_follows_from_the_plaintext),
		cmocka_unit_test(
		    equal_plaintexts_are_one_block_within_a_domain_only),
		cmocka_unit_test(a_used_sealer_seals_as_a_new_one),
		cmocka_unit_test(known_plaintexts_have_known_ids),
		cmocka_unit_test(a_block_of_old_opens_for_ever),
		cmocka_unit_test(the_dictionary_is_the_one_of_this_format),
		cmocka_unit_test(every_prefix_is_refused),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(another_length_is_malformed),
		cmocka_unit_test(
		    authentic_blocks_that_we_would_not_make_are_malformed),
		cmocka_unit_test(a_given_key_seals_and_opens),
		cmocka_unit_test(many_threads_share_a_sealer),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
