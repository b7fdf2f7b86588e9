/* Includes keys.c itself, so that its allocations can be made to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned fail_at; /* the nth allocation from now; 0: none */

static bool
has_memory(void)
{
	return fail_at == 0 || --fail_at > 0;
}

static void *
keys_malloc(size_t size)
{
	return has_memory() ? malloc(size) : NULL;
}

static void *
keys_calloc(size_t n, size_t size)
{
	return has_memory() ? calloc(n, size) : NULL;
}

#define malloc(size) keys_malloc(size)
#define calloc(n, size) keys_calloc(n, size)
#include "overlay/base/keys.c"
#undef malloc
#undef calloc

#define must(call) assert_int_equal((call), OK)

#define PAYLOAD PLAIN_HEADER /* where it begins in a plain file */
#define SUM 32 /* the checksum at its end */

/* Made by version 1; must be read for ever. */
static const char golden_plain[] =
    "504f53544b4559530100"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
    "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
    "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
    "0b6578616d706c652e6f72670002"
    "0000000111616c696365406578616d706c652e6f7267"
    "808182838485868788898a8b8c8d8e8f"
    "000000020f626f62406578616d706c652e6f7267"
    "909192939495969798999a9b9c9d9e9f"
    "08239cbe3d63c52a8d994e9d41aed1065422056dd01fae640d28fc5c10e34ec3";
static const char golden_sealed[] = /* "correct horse", cheap */
    "504f53544b45595301014ed26d5df42df77d3a98f2894b72510d01"
    "14942c1e26fe432e37f63b67283e95dd5a1d5fa0f562c1858fd79a387fbc06f3"
    "57db753cb438aba710da741539a461988c4473c359ab340660fbb63940973f49"
    "5df92e60e85577e2d33e638f0ffcca3652ba0cc988e4f4ddb141f5e151c2b496"
    "862ccb6e462d13d133653598c2e84926f182816ce522c69290bdb885f132c01a"
    "3cd3bfba350d5d23766fcd7d9a86f991d8e8a473c5f32f3b0eb97c755328ffcd"
    "2d963b39dea5a1b6ed4c1a0b59f9e603f0ee3ff5af1a3718e7eb618539aba951"
    "8a3bc11116f5f6e6a11166aa653650f268e3712fecade5cd2598f4a88c6da0a2"
    "817d6f9da2fbc25c";

static void
fill(uint8_t *out, size_t len, unsigned from)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(from + i);
}

static struct home_keys *
golden_keys(void)
{
	struct home_keys *k = NULL;
	uint8_t root[ROOT_BYTES];

	must(home_keys_new("example.org", &k));
	fill(k->device_seed, 32, 0);
	fill(k->node_seed, 32, 32);
	fill(k->home.b, 32, 64);
	fill(k->organisation.b, 32, 96);
	fill(root, ROOT_BYTES, 128);
	must(home_keys_add_user(k, "alice@example.org", root));
	fill(root, ROOT_BYTES, 144);
	must(home_keys_add_user(k, "bob@example.org", root));
	return k;
}

/* An exact heap block, for the caller to free. */
static uint8_t *
from_hex(const char *hex, size_t *len)
{
	uint8_t *bytes = malloc(strlen(hex) / 2);

	assert_non_null(bytes);
	*len = strlen(hex) / 2;
	for (size_t i = 0; i < *len; i++) {
		unsigned v;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		bytes[i] = (uint8_t)v;
	}
	return bytes;
}

static void
assert_id(const void *id, const char *hex)
{
	char text[ID_HEX + 1];

	id_to_hex(id, text);
	assert_string_equal(text, hex);
}

static void
assert_golden(const struct home_keys *k)
{
	struct home_keys *want = golden_keys();

	assert_memory_equal(k->device_seed, want->device_seed, 32);
	assert_memory_equal(k->node_seed, want->node_seed, 32);
	assert_memory_equal(k->home.b, want->home.b, 32);
	assert_memory_equal(k->organisation.b, want->organisation.b, 32);
	assert_string_equal(k->organisation_name, "example.org");
	assert_int_equal(k->users, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_memory_equal(
		    &k->user[i], &want->user[i], sizeof(*k->user));
	home_keys_free(want);
}

static enum err
decode(const uint8_t *bytes, size_t len, const char *passphrase)
{
	uint8_t *exact = malloc(len ? len : 1);
	struct home_keys *k = NULL;
	enum err e;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	e = home_keys_decode(exact, len, passphrase, &k);
	assert_int_equal(e == OK, k != NULL);
	home_keys_free(k);
	free(exact);
	return e;
}

/* ---- keys --------------------------------------------------------------- */

static void
new_keys_have_chance_and_no_users(void **state)
{
	struct home_keys *a = NULL, *b = NULL;
	static const uint8_t zeros[32];

	(void)state;
	must(home_keys_new("example.org", &a));
	must(home_keys_new("example.org", &b));
	assert_int_equal(a->users, 0);
	assert_memory_not_equal(a->device_seed, zeros, 32);
	assert_memory_not_equal(a->device_seed, b->device_seed, 32);
	assert_memory_not_equal(a->device_seed, a->node_seed, 32);
	assert_memory_not_equal(a->home.b, b->home.b, 32);
	assert_memory_not_equal(a->home.b, zeros, 32);
	assert_memory_not_equal(a->organisation.b, b->organisation.b, 32);
	assert_memory_not_equal(a->organisation.b, zeros, 32);
	assert_false(id_eq(&a->device_id, &a->node_id));
	home_keys_free(b);
	b = NULL;
	assert_int_equal(home_keys_new("Example.org", &b), ERR_INVALID);
	assert_int_equal(home_keys_new("", &b), ERR_INVALID);
	assert_null(b);
	home_keys_free(a);
	home_keys_free(NULL);
}

static void
users_are_numbered_and_found(void **state)
{
	struct home_keys *k = NULL;
	struct user_keys *u;
	uint8_t root[ROOT_BYTES];

	(void)state;
	must(home_keys_new("example.org", &k));
	must(home_keys_add_user(k, "a@example.org", NULL));
	must(home_keys_add_user(k, "b@example.org", NULL));
	u = home_keys_find(k, "b@example.org");
	assert_ptr_equal(u, &k->user[1]);
	assert_int_equal(u->number, 2);
	assert_int_equal(home_keys_find(k, "a@example.org")->number, 1);
	assert_null(home_keys_find(k, "c@example.org"));
	assert_memory_not_equal(k->user[0].root, u->root, ROOT_BYTES);
	assert_false(id_eq(&k->user[0].id, &u->id));

	memcpy(root, u->root, ROOT_BYTES);
	assert_int_equal(
	    home_keys_add_user(k, "b@example.org", NULL), ERR_EXISTS);
	assert_int_equal(
	    home_keys_add_user(k, "c@example.org", root), ERR_EXISTS);
	assert_int_equal(home_keys_add_user(k, "c", NULL), ERR_INVALID);
	assert_int_equal(k->users, 2);
	home_keys_free(k);
}

static void
there_is_room_for_so_many_users(void **state)
{
	struct home_keys *k = NULL, *back = NULL;
	char address[32];
	uint8_t *bytes = NULL;
	size_t len;

	(void)state;
	must(home_keys_new("example.org", &k));
	for (unsigned i = 0; i < KEYS_USERS_MAX; i++) {
		snprintf(address, sizeof(address), "u%u@example.org", i);
		must(home_keys_add_user(k, address, NULL));
	}
	assert_int_equal(
	    home_keys_add_user(k, "more@example.org", NULL), ERR_RANGE);
	must(home_keys_encode(k, NULL, false, &bytes, &len));
	must(home_keys_decode(bytes, len, NULL, &back));
	assert_int_equal(back->users, KEYS_USERS_MAX);
	assert_memory_equal(back->user, k->user, k->users * sizeof(*k->user));
	free(bytes);
	home_keys_free(back);
	home_keys_free(k);
}

/* Computed apart, with other implementations of BLAKE2b and Ed25519. */
static void
a_root_gives_the_same_keys_for_ever(void **state)
{
	struct home_keys *k = golden_keys();

	(void)state;
	assert_id(&k->user[0].id, "cd533cd144968e23f307ca7a049826d5"
				  "3f41abc349f5d31ea99d0aec2464f318");
	assert_id(&k->user[0].convergence, "4b4eaca147fc432a517f0fcd06ce0403"
					   "a4abf42b2bedcfeacd36f93a48ca69a8");
	assert_id(&k->user[0].log, "5e7c746b79835d67e70ae2b9f9b844f0"
				   "5368f4f53feafa63d66f63129a165c48");
	home_keys_free(k);
}

/* ---- the file ----------------------------------------------------------- */

static void
the_golden_files_are_read_and_written(void **state)
{
	struct home_keys *k = golden_keys(), *back = NULL;
	uint8_t *want, *got = NULL;
	size_t len, got_len;

	(void)state;
	want = from_hex(golden_plain, &len);
	must(home_keys_encode(k, NULL, false, &got, &got_len));
	assert_int_equal(got_len, len);
	assert_memory_equal(got, want, len);
	free(got);
	assert_false(home_keys_sealed(want, len));
	must(home_keys_decode(want, len, NULL, &back));
	assert_golden(back);
	home_keys_free(back);
	/* A passphrase that is not needed does no harm. */
	must(decode(want, len, "unneeded"));
	free(want);

	want = from_hex(golden_sealed, &len);
	assert_true(home_keys_sealed(want, len));
	must(home_keys_decode(want, len, "correct horse", &back));
	assert_golden(back);
	home_keys_free(back);
	free(want);
	home_keys_free(k);
}

static void
a_home_without_users_comes_back(void **state)
{
	struct home_keys *k = NULL, *back = NULL;
	uint8_t *bytes = NULL;
	size_t len;

	(void)state;
	must(home_keys_new("localhost", &k));
	must(home_keys_encode(k, NULL, false, &bytes, &len));
	must(home_keys_decode(bytes, len, NULL, &back));
	assert_int_equal(back->users, 0);
	assert_true(id_eq(&back->device_id, &k->device_id));
	assert_true(id_eq(&back->node_id, &k->node_id));
	assert_memory_equal(&back->node, &k->node, sizeof(k->node));
	free(bytes);
	home_keys_free(back);
	home_keys_free(k);
}

static void
every_passphrase_but_the_right_one_is_wrong(void **state)
{
	static const char *const wrong[] = { "", "correct", "correct horse ",
		"Correct horse" };
	struct home_keys *k = golden_keys();
	uint8_t *bytes = NULL, *again = NULL;
	char *longest = calloc(1, PASSPHRASE_MAX + 2);
	size_t len, again_len;

	(void)state;
	assert_non_null(longest);
	must(home_keys_encode(k, "correct horse", true, &bytes, &len));
	must(home_keys_encode(k, "correct horse", true, &again, &again_len));
	assert_int_equal(len, again_len);
	/* The salt is new, so all that it seals is. */
	assert_memory_not_equal(bytes + 10, again + 10, 16);
	assert_memory_not_equal(bytes + 27, again + 27, 64);
	must(decode(bytes, len, "correct horse"));
	assert_int_equal(decode(bytes, len, NULL), ERR_DENIED);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(decode(bytes, len, wrong[i]), ERR_WRONG_KEY);
	memset(longest, 'x', PASSPHRASE_MAX + 1);
	assert_int_equal(decode(bytes, len, longest), ERR_WRONG_KEY);
	free(bytes);
	free(again);
	bytes = NULL;
	assert_int_equal(
	    home_keys_encode(k, longest, true, &bytes, &len), ERR_INVALID);
	assert_null(bytes);
	longest[PASSPHRASE_MAX] = '\0';
	must(home_keys_encode(k, longest, true, &bytes, &len));
	must(decode(bytes, len, longest));
	free(bytes);
	free(longest);
	home_keys_free(k);
}

static void
the_costly_limits_open_what_they_sealed(void **state)
{
	struct home_keys *k = golden_keys();
	uint8_t *bytes = NULL;
	size_t len;

	(void)state;
	must(home_keys_encode(k, "p", false, &bytes, &len));
	must(decode(bytes, len, "p"));
	bytes[26] = 1; /* cheap now, so another key */
	assert_int_equal(decode(bytes, len, "p"), ERR_WRONG_KEY);
	free(bytes);
	home_keys_free(k);
}

static void
every_prefix_is_malformed(void **state)
{
	uint8_t *bytes;
	size_t len;

	(void)state;
	bytes = from_hex(golden_plain, &len);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(decode(bytes, n, NULL), ERR_MALFORMED);
	free(bytes);
	bytes = from_hex(golden_sealed, &len);
	for (size_t n = 0; n < len; n++) {
		bool whole = n >= 10 + 16 + 1 + 16; /* header and a tag */

		assert_int_equal(
		    decode(bytes, n, NULL), whole ? ERR_DENIED : ERR_MALFORMED);
		if (n % 16 == 0)
			assert_int_equal(decode(bytes, n, "correct horse"),
			    whole ? ERR_WRONG_KEY : ERR_MALFORMED);
	}
	free(bytes);
}

static void
every_flipped_bit_is_noticed(void **state)
{
	uint8_t *bytes;
	size_t len;

	(void)state;
	bytes = from_hex(golden_plain, &len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		enum err want = ERR_MALFORMED;

		if (bit / 8 == 8 && bit % 8 > 0)
			want = ERR_NEWER; /* the version */
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(decode(bytes, len, NULL), want);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	must(decode(bytes, len, NULL));
	free(bytes);

	bytes = from_hex(golden_sealed, &len);
	for (size_t byte = 0; byte < len; byte++) {
		enum err want = ERR_WRONG_KEY;
		unsigned bit = (unsigned)byte % 8;

		if (byte == 8 && bit > 0)
			want = ERR_NEWER;
		else if (byte < 10 || (byte == 26 && bit > 0))
			want = ERR_MALFORMED;
		bytes[byte] ^= (uint8_t)(1u << bit);
		assert_int_equal(decode(bytes, len, "correct horse"), want);
		bytes[byte] ^= (uint8_t)(1u << bit);
	}
	must(decode(bytes, len, "correct horse"));
	free(bytes);
}

static void
resum(uint8_t *bytes, size_t len)
{
	struct id sum;

	hash_bytes(bytes, len - SUM, &sum);
	memcpy(bytes + len - SUM, sum.b, SUM);
}

/* What a checksum can not see, since it is right. */
static void
a_wrong_payload_is_malformed_under_a_right_checksum(void **state)
{
	enum {
		NAME = PAYLOAD + 4 * 32,
		COUNT = NAME + 12,
		ALICE = COUNT + 2,
		BOB = ALICE + 4 + 18 + 16
	};
	static const struct {
		size_t at;
		uint8_t byte;
	} wrong[] = {
		{ NAME, 0 }, /* no name */
		{ NAME, 255 }, /* over the end and the limit */
		{ NAME + 1, 'E' }, /* no domain */
		{ NAME + 1, 0 }, /* NUL */
		{ COUNT + 1, 1 }, /* a user left over */
		{ COUNT + 1, 3 }, /* a user missing */
		{ COUNT, 255 }, /* over the limit */
		{ ALICE + 3, 0 }, /* number 0 */
		{ ALICE + 3, 2 }, /* the same number twice */
		{ ALICE, 1 }, /* numbers not rising */
		{ ALICE + 4, 16 }, /* address cut */
		{ ALICE + 4 + 6, '/' }, /* no '@' */
		{ BOB + 4 + 1, 0 }, /* NUL */
	};
	uint8_t *bytes, *other;
	size_t len;

	(void)state;
	bytes = from_hex(golden_plain, &len);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		uint8_t was = bytes[wrong[i].at];

		assert_int_not_equal(was, wrong[i].byte);
		bytes[wrong[i].at] = wrong[i].byte;
		resum(bytes, len);
		assert_int_equal(decode(bytes, len, NULL), ERR_MALFORMED);
		bytes[wrong[i].at] = was;
	}
	/* The same root twice. */
	memcpy(bytes + len - SUM - 16, bytes + BOB - 16, 16);
	resum(bytes, len);
	assert_int_equal(decode(bytes, len, NULL), ERR_MALFORMED);
	/* Every prefix of the payload, and one byte after it. */
	fill(bytes + len - SUM - 16, 16, 144);
	for (size_t n = PAYLOAD + SUM; n < len; n++) {
		other = malloc(n);
		assert_non_null(other);
		memcpy(other, bytes, n);
		resum(other, n);
		assert_int_equal(decode(other, n, NULL), ERR_MALFORMED);
		free(other);
	}
	other = calloc(1, len + 1);
	assert_non_null(other);
	memcpy(other, bytes, len - SUM);
	resum(other, len + 1);
	assert_int_equal(decode(other, len + 1, NULL), ERR_MALFORMED);
	free(other);
	resum(bytes, len);
	must(decode(bytes, len, NULL));
	free(bytes);
}

static void
a_newer_file_is_told_from_a_damaged_one(void **state)
{
	static const uint8_t newer[] = "POSTKEYS\x02\x07whatever";
	static const uint8_t zero[] = "POSTKEYS\x00\x00";

	(void)state;
	assert_int_equal(decode(newer, sizeof(newer), NULL), ERR_NEWER);
	assert_int_equal(decode(newer, 9, NULL), ERR_NEWER);
	assert_false(home_keys_sealed(newer, sizeof(newer)));
	assert_int_equal(decode(zero, sizeof(zero), NULL), ERR_MALFORMED);
	assert_int_equal(
	    decode((const uint8_t *)"POSTKEYX\x01", 9, NULL), ERR_MALFORMED);
}

/* Fail the 1st, 2nd, 3rd ... until none is left; what is there stays. */
static void
without_memory_nothing_changes(void **state)
{
	struct home_keys *k = NULL, *back = NULL;
	uint8_t *bytes = NULL;
	unsigned n = 1;
	size_t len = 0;

	(void)state;
	fail_at = 1;
	assert_int_equal(home_keys_new("example.org", &k), ERR_NOMEM);
	assert_null(k);
	k = golden_keys();
	fail_at = 1;
	assert_int_equal(
	    home_keys_add_user(k, "new@example.org", NULL), ERR_NOMEM);
	assert_golden(k);
	for (unsigned sealed = 0; sealed < 2; sealed++) {
		const char *passphrase = sealed ? "p" : NULL;

		fail_at = 1;
		assert_int_equal(
		    home_keys_encode(k, passphrase, true, &bytes, &len),
		    ERR_NOMEM);
		assert_null(bytes);
		must(home_keys_encode(k, passphrase, true, &bytes, &len));
		for (n = 1;; n++) {
			enum err e;

			fail_at = n;
			e = home_keys_decode(bytes, len, passphrase, &back);
			if (e == OK)
				break;
			assert_int_equal(e, ERR_NOMEM);
			assert_null(back);
		}
		fail_at = 0;
		/* Keys, two users; and the payload that was opened. */
		assert_int_equal(n, 4 + sealed);
		assert_golden(back);
		home_keys_free(back);
		back = NULL;
		free(bytes);
		bytes = NULL;
	}
	home_keys_free(k);
}

/* ---- the phrase --------------------------------------------------------- */

static void
the_golden_phrase_is_read_and_written(void **state)
{
	static const char want[] =
	    "nafid-napig-nifij-nipil-nofin-nopir-nufit-nupiz-palan";
	uint8_t root[ROOT_BYTES], got[ROOT_BYTES];
	char phrase[PHRASE_MAX];

	(void)state;
	fill(root, ROOT_BYTES, 144);
	phrase_encode(root, phrase);
	assert_string_equal(phrase, want);
	must(phrase_decode(want, got));
	assert_memory_equal(got, root, ROOT_BYTES);
	/* 127.0.0.1 and 63.84.220.193, from the proposal. */
	memcpy(root, "\x7f\x00\x00\x01\x3f\x54\xdc\xc1", 8);
	phrase_encode(root, phrase);
	phrase[23] = '\0';
	assert_string_equal(phrase, "lusab-babad-gutih-tugad");
}

static void
blanks_dashes_and_case_do_not_matter(void **state)
{
	static const char *const same[] = {
		"nafidnapignifijnipilnofinnopirnufitnupizpalan",
		" NAFID napig\tnifij\nNIPIL nofin  nopir nufit nupiz palan\r\n",
		"na-fid-nap-ig-nif-ijn-ipil---nofin-nopir-nufit-nupiz-palan-",
	};
	uint8_t want[ROOT_BYTES], got[ROOT_BYTES];

	(void)state;
	fill(want, ROOT_BYTES, 144);
	for (unsigned i = 0; i < sizeof(same) / sizeof(*same); i++) {
		memset(got, 0, sizeof(got));
		must(phrase_decode(same[i], got));
		assert_memory_equal(got, want, ROOT_BYTES);
	}
}

static void
every_root_comes_back_from_its_phrase(void **state)
{
	uint8_t root[ROOT_BYTES], got[ROOT_BYTES];
	char phrase[PHRASE_MAX];

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		random_bytes(root, sizeof(root));
		phrase_encode(root, phrase);
		assert_int_equal(strlen(phrase), 53);
		must(phrase_decode(phrase, got));
		assert_memory_equal(got, root, ROOT_BYTES);
	}
}

static void
a_slip_of_the_pen_is_noticed(void **state)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0";
	uint8_t root[ROOT_BYTES], got[ROOT_BYTES] = { 1 };
	char phrase[PHRASE_MAX], wrong[PHRASE_MAX + 8];
	unsigned passed = 0, tried = 0;

	(void)state;
	fill(root, ROOT_BYTES, 7);
	phrase_encode(root, phrase);
	for (size_t n = 0; n < strlen(phrase); n++) {
		memcpy(wrong, phrase, n);
		wrong[n] = '\0';
		assert_int_equal(phrase_decode(wrong, got), ERR_MALFORMED);
	}
	for (size_t at = 0; phrase[at]; at++)
		for (const char *c = letters; *c; c++) {
			if (phrase[at] == '-' || phrase[at] == *c)
				continue;
			memcpy(wrong, phrase, sizeof(phrase));
			wrong[at] = *c;
			tried++;
			passed += phrase_decode(wrong, got) == OK;
		}
	/* Only the check word catches what is spelled right. */
	assert_int_equal(tried, 45 * 26);
	assert_int_equal(passed, 0);
	snprintf(wrong, sizeof(wrong), "%sa", phrase);
	assert_int_equal(phrase_decode(wrong, got), ERR_MALFORMED);
	assert_int_equal(got[0], 1); /* untouched by all that */
	assert_int_equal(phrase_decode("", got), ERR_MALFORMED);
	/* Two words exchanged. */
	memcpy(wrong, phrase, sizeof(phrase));
	memcpy(wrong, phrase + 6, 5);
	memcpy(wrong + 6, phrase, 5);
	assert_int_equal(phrase_decode(wrong, got), ERR_MALFORMED);
}

/* ---- addresses ---------------------------------------------------------- */

static void
an_address_can_be_a_directory_and_an_argument(void **state)
{
	static const char *const good[] = { "alice@example.org", "a@b",
		"Alice.B+tag@a-b.example", "o'neil@x1.example", "_@1",
		"a.b.c@localhost", "{a}=~!#$%&*?^`|-@x" };
	static const char *const bad[] = { "", "@", "a@", "@b", "a", "a@b@c",
		".a@b", "a.@b", "a..b@c", "a/b@c", "../x@c", "a b@c", "a\t@c",
		"\"a\"@b", "a<@b", "a,b@c", "a@B", "a@b c", "a@b/c", "a@.b",
		"a@b.", "a@b..c", "a@-b", "a@b-", "a@b_c", "a@[1.2.3.4]",
		"a\x7f@b", "\xc3\xa4@b", "a@\xc3\xa4", "a\n@b", "a\\@b" };
	char text[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(address_check(good[i]));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(address_check(bad[i]));
	/* At their limits: local part 64, label 63, all 254. */
	for (size_t more = 0; more < 2; more++) {
		memset(text, 'a', sizeof(text));
		text[64 + more] = '@';
		text[66 + more] = '\0';
		assert_int_equal(address_check(text), !more);

		memset(text, 'a', sizeof(text));
		text[1] = '@';
		text[2 + 63 + more] = '\0';
		assert_int_equal(address_check(text), !more);

		memset(text, 'a', sizeof(text));
		text[1] = '@';
		text[60] = text[120] = text[180] = '.';
		text[195] = '.';
		text[254 + more] = '\0';
		assert_int_equal(address_check(text), !more);
	}
	assert_true(domain_check("example.org"));
	assert_false(domain_check("a@b"));
}

static int
setup(void **state)
{
	(void)state;
	return crypto_init() ? -1 : 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_keys_have_chance_and_no_users),
		cmocka_unit_test(users_are_numbered_and_found),
		cmocka_unit_test(there_is_room_for_so_many_users),
		cmocka_unit_test(a_root_gives_the_same_keys_for_ever),
		cmocka_unit_test(the_golden_files_are_read_and_written),
		cmocka_unit_test(a_home_without_users_comes_back),
		cmocka_unit_test(every_passphrase_but_the_right_one_is_wrong),
		cmocka_unit_test(the_costly_limits_open_what_they_sealed),
		cmocka_unit_test(every_prefix_is_malformed),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(
		    a_wrong_payload_is_malformed_under_a_right_checksum),
		cmocka_unit_test(a_newer_file_is_told_from_a_damaged_one),
		cmocka_unit_test(without_memory_nothing_changes),
		cmocka_unit_test(the_golden_phrase_is_read_and_written),
		cmocka_unit_test(blanks_dashes_and_case_do_not_matter),
		cmocka_unit_test(every_root_comes_back_from_its_phrase),
		cmocka_unit_test(a_slip_of_the_pen_is_noticed),
		cmocka_unit_test(an_address_can_be_a_directory_and_an_argument),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
