/* The published vector of XX (vectors/noise_xx.txt), byte for byte from both
 * sides, and what a wrong byte does; and the primitives below it: RFC 7748
 * (6.1), BLAKE2b's own vector, HMACs computed with another implementation. */
#include "overlay/noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)
#define FIELD_MAX 512
#define PAYLOADS_MAX 16

struct field {
	uint8_t b[FIELD_MAX];
	size_t len;
};

static void
from_hex(const char *hex, struct field *out)
{
	size_t len = strlen(hex);

	assert_true(len % 2 == 0 && len / 2 <= FIELD_MAX);
	out->len = len / 2;
	for (size_t i = 0; i < out->len; i++) {
		unsigned v;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		out->b[i] = (uint8_t)v;
	}
}

static void
assert_hex(const uint8_t *bytes, const char *hex)
{
	struct field want;

	from_hex(hex, &want);
	assert_memory_equal(bytes, want.b, want.len);
}

/* ---- primitives --------------------------------------------------------- */

static void
agreement_is_rfc_7748(void **state)
{
	struct field alice, bob;
	struct dh_key a, b;
	uint8_t shared[KEY_BYTES];

	(void)state;
	from_hex("77076d0a7318a57d3c16c17251b26645"
		 "df4c2f87ebc0992ab177fba51db92c2a",
	    &alice);
	dh_key_from_secret(alice.b, &a);
	assert_hex(a.public, "8520f0098930a754748b7ddcb43ef75a"
			     "0dbf3a0d26381af4eba4a98eaa9b4e6a");
	from_hex("5dab087e624a8a4b79e17f8b83800ee6"
		 "6f3bb1292618b6fd1c2f8b27ff88e0eb",
	    &bob);
	dh_key_from_secret(bob.b, &b);
	assert_hex(b.public, "de9edb7d7b7dc1b4d35b61c2ece43537"
			     "3f8343c85b78674dadfc7e146f882b4f");
	must(dh_agree(&a, b.public, shared));
	assert_hex(shared, "4a5d9d5ba4ce2de1728e3bf480350f25"
			   "e07e21c947d19e3376f09b3c1e161742");
	must(dh_agree(&b, a.public, shared));
	assert_hex(shared, "4a5d9d5ba4ce2de1728e3bf480350f25"
			   "e07e21c947d19e3376f09b3c1e161742");
}

/* The u coordinates of the points of order 1, 2, 4 and 8, and two of them not
 * reduced (RFC 7748, section 6.1, asks for the check). */
static const char *const small_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};
#define SMALL_ORDERS (sizeof(small_order) / sizeof(small_order[0]))

static void
a_key_of_small_order_is_malformed(void **state)
{
	uint8_t secret[KEY_BYTES] = { 7 }, shared[KEY_BYTES];
	struct dh_key key;

	(void)state;
	dh_key_from_secret(secret, &key);
	for (unsigned i = 0; i < SMALL_ORDERS; i++) {
		struct field point;

		from_hex(small_order[i], &point);
		assert_int_equal(
		    dh_agree(&key, point.b, shared), ERR_MALFORMED);
	}
	must(dh_agree(&key, key.public, shared));
}

static void
the_long_hash_is_blake2b_512_of_both_pieces(void **state)
{
	static const char abc[] =
	    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
	    "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923";
	uint8_t out[HASH64_BYTES];

	(void)state;
	for (size_t cut = 0; cut <= 3; cut++) {
		hash64_bytes("abc", cut, &"abc"[cut], 3 - cut, out);
		assert_hex(out, abc);
	}
	hash64_bytes(NULL, 0, "abc", 3, out);
	assert_hex(out, abc);
}

static void
hmac_is_rfc_2104_over_the_long_hash(void **state)
{
	uint8_t key[200], out[HASH64_BYTES];

	(void)state;
	memset(key, 'k', sizeof(key));
	hmac64_bytes(key, 20, "a", 1, "bc", 2, out);
	assert_hex(out, "4cae406068c40f9bdccc09b8de73fe83"
			"c6aa331a80c7b7dbb75101d4695af99b"
			"09014f33c736c2794741090b5dc3168b"
			"c529337c946e1b57d53087c9b6845052");
	/* A key longer than a block is hashed first. */
	hmac64_bytes(key, 200, "abc", 3, "def", 3, out);
	assert_hex(out, "89ae7a3234d72c652d88f951e5636f14"
			"94785462b2347d5f909f282ea6252a7c"
			"b2f45d5fa62c95543003ed12563bcfff"
			"8296461cabb925a00fff9567bbb18375");
	hmac64_bytes(NULL, 0, NULL, 0, NULL, 0, out);
	assert_hex(out, "198cd2006f66ff83fbbd913f78aca225"
			"1caf4f19fe9475aade8cf2091b99a684"
			"66775177424f58286886cbae8229644c"
			"ec747237d4b721735485e17372fdf59c");
}

/* ---- the published vector ----------------------------------------------- */

static struct vector {
	struct field prologue, init_static, init_ephemeral, resp_static,
	    resp_ephemeral, second_hash, last_hash;
	struct field payload[PAYLOADS_MAX], message[PAYLOADS_MAX];
	unsigned payloads, messages;
} vector;

static int
read_vector(void **state)
{
	FILE *f = fopen("vectors/noise_xx.txt", "r");
	char line[2048], name[32], hex[1100];
	unsigned known = 0;

	(void)state;
	if (!f || crypto_init())
		return -1;
	while (fgets(line, sizeof(line), f)) {
		struct {
			const char *name;
			struct field *to;
		} keys[] = {
			{ "prologue", &vector.prologue },
			{ "init_static", &vector.init_static },
			{ "init_ephemeral", &vector.init_ephemeral },
			{ "resp_static", &vector.resp_static },
			{ "resp_ephemeral", &vector.resp_ephemeral },
			{ "second_hash", &vector.second_hash },
			{ "last_hash", &vector.last_hash },
		};

		if (line[0] == '#')
			continue;
		if (sscanf(line, "%31s %1099s", name, hex) != 2 ||
		    vector.payloads == PAYLOADS_MAX)
			return -1;
		if (strcmp(name, "payload") == 0)
			from_hex(hex, &vector.payload[vector.payloads++]);
		if (strcmp(name, "message") == 0)
			from_hex(hex, &vector.message[vector.messages++]);
		for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (strcmp(name, keys[i].name) == 0) {
				from_hex(hex, keys[i].to);
				known++;
			}
	}
	fclose(f);
	return known == 7 && vector.payloads == vector.messages &&
		       vector.messages > NOISE_HANDSHAKE_MESSAGES
		   ? 0
		   : -1;
}

/* The two sides, as the vector wants them; [0] begins. */
static void
both_sides(struct noise n[2])
{
	struct dh_key key;

	dh_key_from_secret(vector.init_static.b, &key);
	noise_init(&n[0], true, vector.prologue.b, vector.prologue.len, &key,
	    vector.init_ephemeral.b);
	dh_key_from_secret(vector.resp_static.b, &key);
	noise_init(&n[1], false, vector.prologue.b, vector.prologue.len, &key,
	    vector.resp_ephemeral.b);
}

/* Handshake messages before the `until`th pass. */
static void
shake_until(struct noise n[2], unsigned until)
{
	uint8_t message[FIELD_MAX], payload[FIELD_MAX];
	size_t len, got;

	for (unsigned i = 0; i < until; i++) {
		const struct field *p = &vector.payload[i];

		assert_true(noise_writes(&n[i % 2]));
		assert_false(noise_writes(&n[1 - i % 2]));
		must(noise_write(
		    &n[i % 2], p->b, p->len, message, sizeof(message), &len));
		assert_int_equal(len, vector.message[i].len);
		assert_memory_equal(message, vector.message[i].b, len);
		must(noise_read(&n[1 - i % 2], message, len, payload, &got));
		assert_int_equal(got, p->len);
		assert_memory_equal(payload, p->b, got);
	}
}

static void
the_published_vector_passes_byte_for_byte(void **state)
{
	struct noise n[2];
	struct noise_cipher send[2], receive[2];
	uint8_t sealed[FIELD_MAX], opened[FIELD_MAX];

	(void)state;
	assert_int_equal(vector.second_hash.len, HASH64_BYTES);
	assert_int_equal(vector.last_hash.len, HASH64_BYTES);
	both_sides(n);
	shake_until(n, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_memory_equal(
		    n[i].hash, vector.second_hash.b, HASH64_BYTES);
	both_sides(n);
	shake_until(n, NOISE_HANDSHAKE_MESSAGES);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(noise_done(&n[i]));
		assert_false(noise_writes(&n[i]));
		assert_memory_equal(
		    n[i].hash, vector.last_hash.b, HASH64_BYTES);
		assert_memory_equal(
		    noise_remote(&n[i]), n[1 - i].own.public, DH_PUBLIC_BYTES);
		noise_split(&n[i], &send[i], &receive[i]);
	}
	for (unsigned i = NOISE_HANDSHAKE_MESSAGES; i < vector.messages; i++) {
		const struct field *p = &vector.payload[i];
		const struct field *m = &vector.message[i];

		must(noise_seal(&send[i % 2], NULL, 0, p->b, p->len, sealed));
		assert_int_equal(m->len, p->len + TAG_BYTES);
		assert_memory_equal(sealed, m->b, m->len);
		must(noise_open(
		    &receive[1 - i % 2], NULL, 0, m->b, m->len, opened));
		assert_memory_equal(opened, p->b, p->len);
	}
}

static void
nobody_is_known_before_her_key_is_proven(void **state)
{
	struct noise n[2];

	(void)state;
	for (unsigned i = 0; i <= NOISE_HANDSHAKE_MESSAGES; i++) {
		both_sides(n);
		shake_until(n, i);
		assert_int_equal(noise_remote(&n[0]) != NULL, i >= 2);
		assert_int_equal(noise_remote(&n[1]) != NULL, i >= 3);
	}
}

/* Read message `which` of the vector, changed as told, on a fresh handshake. */
static enum err
read_changed(unsigned which, size_t len, size_t bit)
{
	uint8_t *exact = malloc(len ? len : 1), *out = malloc(len ? len : 1);
	size_t got = SIZE_MAX;
	struct noise n[2];
	enum err e;

	assert_non_null(exact);
	assert_non_null(out);
	both_sides(n);
	shake_until(n, which);
	memcpy(exact, vector.message[which].b, len);
	if (bit < 8 * len)
		exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
	e = noise_read(&n[1 - which % 2], exact, len, out, &got);
	if (e) {
		assert_true(got == SIZE_MAX);
		assert_null(noise_remote(&n[1 - which % 2]));
	}
	free(exact);
	free(out);
	return e;
}

static void
every_flipped_bit_and_every_prefix_of_a_sealed_message_fails(void **state)
{
	(void)state;
	for (unsigned i = 1; i < NOISE_HANDSHAKE_MESSAGES; i++) {
		size_t len = vector.message[i].len;

		must(read_changed(i, len, SIZE_MAX));
		for (size_t bit = 0; bit < 8 * len; bit++)
			assert_int_equal(read_changed(i, len, bit), ERR_BADSIG);
		for (size_t n = 0; n < len; n++) {
			enum err e = read_changed(i, n, SIZE_MAX);

			assert_true(e == ERR_BADSIG || e == ERR_MALFORMED);
		}
	}
}

static void
a_changed_first_message_fails_at_the_second(void **state)
{
	size_t first = vector.message[0].len, len, got;

	(void)state;
	for (size_t bit = 0; bit < 8 * first; bit++) {
		uint8_t message[FIELD_MAX], payload[FIELD_MAX];
		struct noise n[2];

		both_sides(n);
		must(noise_write(&n[0], vector.payload[0].b,
		    vector.payload[0].len, message, sizeof(message), &len));
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		must(noise_read(&n[1], message, len, payload, &got));
		must(noise_write(&n[1], "", 0, message, sizeof(message), &len));
		assert_int_equal(
		    noise_read(&n[0], message, len, payload, &got), ERR_BADSIG);
	}
}

static void
another_prologue_fails_at_the_second_message(void **state)
{
	uint8_t message[FIELD_MAX], payload[FIELD_MAX];
	struct noise n[2];
	struct dh_key key;
	size_t len, got;

	(void)state;
	both_sides(n);
	dh_key_from_secret(vector.resp_static.b, &key);
	noise_init(&n[1], false, vector.prologue.b, vector.prologue.len - 1,
	    &key, vector.resp_ephemeral.b);
	shake_until(n, 1);
	must(noise_write(&n[1], "", 0, message, sizeof(message), &len));
	assert_int_equal(
	    noise_read(&n[0], message, len, payload, &got), ERR_BADSIG);
}

static void
an_ephemeral_key_of_small_order_is_malformed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SMALL_ORDERS; i++) {
		uint8_t message[FIELD_MAX], payload[FIELD_MAX];
		struct noise n[2];
		struct field point;
		size_t len, got;

		from_hex(small_order[i], &point);
		/* The initiator's: the answer can not be written. */
		both_sides(n);
		must(noise_read(&n[1], point.b, point.len, payload, &got));
		assert_int_equal(
		    noise_write(&n[1], "", 0, message, sizeof(message), &len),
		    ERR_MALFORMED);
		/* The responder's. */
		both_sides(n);
		shake_until(n, 1);
		memcpy(message, vector.message[1].b, vector.message[1].len);
		memcpy(message, point.b, point.len);
		assert_int_equal(noise_read(&n[0], message,
				     vector.message[1].len, payload, &got),
		    ERR_MALFORMED);
	}
}

static void
a_message_is_written_only_where_it_fits(void **state)
{
	static const size_t held[] = { NOISE_FIRST_BYTES, NOISE_SECOND_BYTES,
		NOISE_THIRD_BYTES };

	(void)state;
	for (unsigned i = 0; i < NOISE_HANDSHAKE_MESSAGES; i++) {
		const struct field *p = &vector.payload[i];
		size_t whole = vector.message[i].len, len;

		assert_int_equal(whole, held[i] + p->len);
		for (size_t cap = 0; cap <= whole; cap++) {
			uint8_t *out = malloc(cap ? cap : 1);
			struct noise n[2];

			assert_non_null(out);
			both_sides(n);
			shake_until(n, i);
			assert_int_equal(noise_write(&n[i % 2], p->b, p->len,
					     out, cap, &len),
			    cap == whole ? OK : ERR_RANGE);
			free(out);
		}
	}
}

/* ---- ciphers ------------------------------------------------------------ */

static void
a_cipher_counts_and_what_is_out_of_order_fails(void **state)
{
	struct noise_cipher send = { { { 9 } }, 0 }, receive = send;
	uint8_t a[1 + TAG_BYTES], b[1 + TAG_BYTES], out[1];

	(void)state;
	must(noise_seal(&send, NULL, 0, "x", 1, a));
	must(noise_seal(&send, NULL, 0, "x", 1, b));
	assert_true(memcmp(a, b, sizeof(a)) != 0);
	assert_int_equal(
	    noise_open(&receive, NULL, 0, b, sizeof(b), out), ERR_BADSIG);
	must(noise_open(&receive, NULL, 0, a, sizeof(a), out));
	assert_int_equal(
	    noise_open(&receive, NULL, 0, a, sizeof(a), out), ERR_BADSIG);
	must(noise_open(&receive, NULL, 0, b, sizeof(b), out));
}

/* Section 11.3: the first 32 bytes of 32 zeros sealed with the last nonce. */
static void
rekeying_changes_the_key_and_not_the_nonce(void **state)
{
	static const uint64_t last[2] = { 0, UINT64_MAX };
	struct noise_cipher send = { { { 9 } }, 41 }, receive = send;
	uint8_t zeros[KEY_BYTES] = { 0 }, want[KEY_BYTES + TAG_BYTES];
	uint8_t sealed[1 + TAG_BYTES], out[1];

	(void)state;
	aead_seal(&send.key, last, NULL, 0, zeros, sizeof(zeros), want);
	noise_rekey(&send);
	assert_memory_equal(send.key.b, want, KEY_BYTES);
	assert_int_equal(send.nonce, 41);
	must(noise_seal(&send, NULL, 0, "x", 1, sealed));
	assert_int_equal(
	    noise_open(&receive, NULL, 0, sealed, sizeof(sealed), out),
	    ERR_BADSIG);
	noise_rekey(&receive);
	must(noise_open(&receive, NULL, 0, sealed, sizeof(sealed), out));
}

static void
used_up_nonces_are_not_used_again(void **state)
{
	struct noise_cipher send = { { { 9 } }, UINT64_MAX - 1 };
	struct noise_cipher receive = send;
	uint8_t sealed[1 + TAG_BYTES], out[1];

	(void)state;
	must(noise_seal(&send, NULL, 0, "x", 1, sealed));
	must(noise_open(&receive, NULL, 0, sealed, sizeof(sealed), out));
	assert_int_equal(noise_seal(&send, NULL, 0, "x", 1, sealed), ERR_RANGE);
	assert_int_equal(
	    noise_open(&receive, NULL, 0, sealed, sizeof(sealed), out),
	    ERR_RANGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agreement_is_rfc_7748),
		cmocka_unit_test(a_key_of_small_order_is_malformed),
		cmocka_unit_test(the_long_hash_is_blake2b_512_of_both_pieces),
		cmocka_unit_test(hmac_is_rfc_2104_over_the_long_hash),
		cmocka_unit_test(the_published_vector_passes_byte_for_byte),
		cmocka_unit_test(nobody_is_known_before_her_key_is_proven),
		cmocka_unit_test(
		    every_flipped_bit_and_every_prefix_of_a_sealed_message_fails),
		cmocka_unit_test(a_changed_first_message_fails_at_the_second),
		cmocka_unit_test(another_prologue_fails_at_the_second_message),
		cmocka_unit_test(an_ephemeral_key_of_small_order_is_malformed),
		cmocka_unit_test(a_message_is_written_only_where_it_fits),
		cmocka_unit_test(
		    a_cipher_counts_and_what_is_out_of_order_fails),
		cmocka_unit_test(rekeying_changes_the_key_and_not_the_nonce),
		cmocka_unit_test(used_up_nonces_are_not_used_again),
	};

	return cmocka_run_group_tests(tests, read_vector, NULL);
}
