/* Published vectors: RFC 8439 (2.8.2), RFC 8032 (7.1), BLAKE2b's own.  Keyed
 * hashes and Argon2id, for which nothing is published with our parameters,
 * were computed with other implementations. */
#include "overlay/base/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)
#define MESSAGE_MAX 256

static size_t
from_hex(const char *hex, uint8_t *out)
{
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++) {
		unsigned v;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	return len;
}

static void
assert_hex(const uint8_t *bytes, const char *hex)
{
	uint8_t want[MESSAGE_MAX];
	size_t len = from_hex(hex, want);

	assert_memory_equal(bytes, want, len);
}

static struct key
counting_key(unsigned from)
{
	struct key key;

	for (unsigned i = 0; i < KEY_BYTES; i++)
		key.b[i] = (uint8_t)(from + i);
	return key;
}

static void
hashes_are_blake2b(void **state)
{
	struct key key = counting_key(0), out;
	struct id id;

	(void)state;
	hash_bytes("", 0, &id);
	assert_hex(id.b, "0e5751c026e543b2e8ab2eb06099daa1"
			 "d1e5df47778f7787faab45cdf12fe3a8");
	hash_bytes("abc", 3, &id);
	assert_hex(id.b, "bddd813c634239723171ef3fee98579b"
			 "94964e3bb1cb3e427262c8c068d52319");
	hash_keyed(&key, "abc", 3, &out);
	assert_hex(out.b, "d63a32d3e44738d7907f964316c241ad"
			  "aba0abfeabc32349677578a15a203f7f");
	key_derive(&key, "label", 258, &out);
	assert_hex(out.b, "2d779029b537561e123a59897ba57ed9"
			  "c8cfa7ba49ca29a65b9a5e462bc70aec");
}

static void
label_and_number_make_different_keys(void **state)
{
	struct key key = counting_key(0), a, b;

	(void)state;
	key_derive(&key, "label", 0, &a);
	key_derive(&key, "label", 1, &b);
	assert_false(same_bytes(a.b, b.b, KEY_BYTES));
	key_derive(&key, "Label", 0, &b);
	assert_false(same_bytes(a.b, b.b, KEY_BYTES));
	key = counting_key(1);
	key_derive(&key, "label", 0, &b);
	assert_false(same_bytes(a.b, b.b, KEY_BYTES));
}

static const char sunscreen[] =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one "
    "tip for the future, sunscreen would be it.";
#define SUNSCREEN_LEN (sizeof(sunscreen) - 1)
static const char sunscreen_sealed[] =
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
    "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
    "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
    "3ff4def08e4b7a9de576d26586cec64b6116"
    "1ae10b594f09e26a7e902ecbd0600691";
static const uint64_t sunscreen_nonce[2] = { 0x07000000, 0x4041424344454647u };
static const uint8_t sunscreen_ad[12] = { 0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1,
	0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7 };

static void
sealing_is_rfc_8439(void **state)
{
	struct key key = counting_key(0x80);
	uint8_t sealed[MESSAGE_MAX], opened[MESSAGE_MAX];

	(void)state;
	aead_seal(&key, sunscreen_nonce, sunscreen_ad, 12, sunscreen,
	    SUNSCREEN_LEN, sealed);
	assert_hex(sealed, sunscreen_sealed);
	must(aead_open(&key, sunscreen_nonce, sunscreen_ad, 12, sealed,
	    SUNSCREEN_LEN + TAG_BYTES, opened));
	assert_memory_equal(opened, sunscreen, SUNSCREEN_LEN);
	/* In place, both ways. */
	memcpy(opened, sunscreen, SUNSCREEN_LEN);
	aead_seal(&key, sunscreen_nonce, sunscreen_ad, 12, opened,
	    SUNSCREEN_LEN, opened);
	assert_memory_equal(opened, sealed, SUNSCREEN_LEN + TAG_BYTES);
	must(aead_open(&key, sunscreen_nonce, sunscreen_ad, 12, opened,
	    SUNSCREEN_LEN + TAG_BYTES, opened));
	assert_memory_equal(opened, sunscreen, SUNSCREEN_LEN);
}

static enum err
open_sunscreen(const uint8_t *sealed, size_t len, const struct key *key,
    const uint64_t nonce[2], size_t ad_len)
{
	uint8_t *exact = malloc(len ? len : 1), *out = malloc(len ? len : 1);
	enum err e;

	assert_non_null(exact);
	assert_non_null(out);
	memcpy(exact, sealed, len);
	e = aead_open(key, nonce, sunscreen_ad, ad_len, exact, len, out);
	free(exact);
	free(out);
	return e;
}

static void
whatever_is_changed_does_not_open(void **state)
{
	struct key key = counting_key(0x80), other = counting_key(0x81);
	static const uint64_t nonce1[2] = { 0x07000001, 0x4041424344454647u };
	static const uint64_t nonce2[2] = { 0x07000000, 0x4041424344454648u };
	uint8_t sealed[MESSAGE_MAX];
	size_t len = from_hex(sunscreen_sealed, sealed);

	(void)state;
	must(open_sunscreen(sealed, len, &key, sunscreen_nonce, 12));
	for (size_t n = 0; n < len; n++)
		assert_int_equal(
		    open_sunscreen(sealed, n, &key, sunscreen_nonce, 12),
		    ERR_BADSIG);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(
		    open_sunscreen(sealed, len, &key, sunscreen_nonce, 12),
		    ERR_BADSIG);
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(
	    open_sunscreen(sealed, len, &key, sunscreen_nonce, 11), ERR_BADSIG);
	assert_int_equal(
	    open_sunscreen(sealed, len, &other, sunscreen_nonce, 12),
	    ERR_BADSIG);
	assert_int_equal(
	    open_sunscreen(sealed, len, &key, nonce1, 12), ERR_BADSIG);
	assert_int_equal(
	    open_sunscreen(sealed, len, &key, nonce2, 12), ERR_BADSIG);
}

static void
nothing_can_be_sealed(void **state)
{
	static const uint64_t nonce[2] = { UINT32_MAX, UINT64_MAX };
	struct key key = counting_key(0);
	uint8_t sealed[TAG_BYTES], none[1];

	(void)state;
	aead_seal(&key, nonce, NULL, 0, NULL, 0, sealed);
	must(aead_open(&key, nonce, NULL, 0, sealed, TAG_BYTES, none));
	sealed[0] ^= 1;
	assert_int_equal(
	    aead_open(&key, nonce, NULL, 0, sealed, TAG_BYTES, none),
	    ERR_BADSIG);
}

static const struct {
	const char *seed, *public, *message, *signature;
} signatures[] = {
	{ "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
	    "",
	    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
	    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100"
	    "b" },
	{ "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
	    "72",
	    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
	    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c0"
	    "0" },
	{ "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
	    "af82",
	    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
	    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40"
	    "a" },
};

static void
signing_is_rfc_8032(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint8_t seed[SIGN_SEED_BYTES], message[MESSAGE_MAX];
		uint8_t signature[SIGNATURE_BYTES];
		struct sign_key key;
		size_t len = from_hex(signatures[i].message, message);

		from_hex(signatures[i].seed, seed);
		sign_key_from_seed(seed, &key);
		assert_hex(key.public, signatures[i].public);
		assert_hex(key.secret, signatures[i].seed);
		assert_hex(key.secret + 32, signatures[i].public);
		sign_bytes(&key, message, len, signature);
		assert_hex(signature, signatures[i].signature);
		must(sign_verify(key.public, message, len, signature));
	}
}

static void
every_flipped_bit_spoils_a_signature(void **state)
{
	uint8_t public[SIGN_PUBLIC_BYTES], message[MESSAGE_MAX];
	uint8_t signature[SIGNATURE_BYTES];
	size_t len = from_hex(signatures[2].message, message);

	(void)state;
	from_hex(signatures[2].public, public);
	from_hex(signatures[2].signature, signature);
	must(sign_verify(public, message, len, signature));
	for (unsigned bit = 0; bit < 8 * SIGNATURE_BYTES; bit++) {
		signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(
		    sign_verify(public, message, len, signature), ERR_BADSIG);
		signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (unsigned bit = 0; bit < 8 * SIGN_PUBLIC_BYTES; bit++) {
		public[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(
		    sign_verify(public, message, len, signature), ERR_BADSIG);
		public[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	message[0] ^= 1;
	assert_int_equal(
	    sign_verify(public, message, len, signature), ERR_BADSIG);
	message[0] ^= 1;
	assert_int_equal(
	    sign_verify(public, message, len - 1, signature), ERR_BADSIG);
}

static void
passphrases_go_through_argon2id(void **state)
{
	uint8_t salt[SALT_BYTES];
	struct key key, other;

	(void)state;
	for (unsigned i = 0; i < SALT_BYTES; i++)
		salt[i] = (uint8_t)i;
	must(passphrase_key("correct horse", 13, salt, true, &key));
	assert_hex(key.b, "3bfa796a86260b73457e1290b51695931"
			  "a17e266f601d0fb45563e282fb6865b");
	must(passphrase_key("correct horse", 13, salt, false, &other));
	assert_hex(other.b, "eebe26b451a68d4c43a23f45a8df1386"
			    "550eeacb028ed6209232f2875f938676");
	must(passphrase_key("correct horse", 12, salt, true, &other));
	assert_false(same_bytes(key.b, other.b, KEY_BYTES));
	salt[0] ^= 1;
	must(passphrase_key("correct horse", 13, salt, true, &other));
	assert_false(same_bytes(key.b, other.b, KEY_BYTES));
}

static void
chance_is_not_the_same_twice(void **state)
{
	uint8_t a[32] = { 0 }, b[32] = { 0 }, zeros[32] = { 0 };

	(void)state;
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	assert_memory_not_equal(a, b, 32);
	assert_memory_not_equal(a, zeros, 32);
	random_bytes(b, 0);
}

static void
wiping_leaves_zeros_and_comparing_sees_every_byte(void **state)
{
	uint8_t a[40], b[40];

	(void)state;
	memset(a, 7, sizeof(a));
	memset(b, 7, sizeof(b));
	assert_true(same_bytes(a, b, 40));
	for (unsigned i = 0; i < 40; i++) {
		b[i] = 8;
		assert_false(same_bytes(a, b, 40));
		assert_true(same_bytes(a, b, i));
		b[i] = 7;
	}
	wipe(a + 1, 38);
	assert_int_equal(a[0], 7);
	assert_int_equal(a[39], 7);
	for (unsigned i = 1; i < 39; i++)
		assert_int_equal(a[i], 0);
}

static int
setup(void **state)
{
	(void)state;
	/* Twice does no harm. */
	return crypto_init() || crypto_init() ? -1 : 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_blake2b),
		cmocka_unit_test(label_and_number_make_different_keys),
		cmocka_unit_test(sealing_is_rfc_8439),
		cmocka_unit_test(whatever_is_changed_does_not_open),
		cmocka_unit_test(nothing_can_be_sealed),
		cmocka_unit_test(signing_is_rfc_8032),
		cmocka_unit_test(every_flipped_bit_spoils_a_signature),
		cmocka_unit_test(passphrases_go_through_argon2id),
		cmocka_unit_test(chance_is_not_the_same_twice),
		cmocka_unit_test(
		    wiping_leaves_zeros_and_comparing_sees_every_byte),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
