/* Node certificates and lists of revoked nodes. */
#include "tests/unit/cert_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)

static int
ready(void **state)
{
	(void)state;
	return crypto_init() ? -1 : 0;
}

static enum err
open_exact(const struct ring *ring, int64_t now_s, const uint8_t *bytes,
    size_t len, struct node_cert *out)
{
	uint8_t *copy = exact_copy(bytes, len);
	struct node_cert before;
	enum err e;

	memset(out, 0xa5, sizeof(*out));
	before = *out;
	e = node_cert_open(ring, now_s, copy, len, out);
	if (e)
		assert_memory_equal(out, &before, sizeof(before));
	free(copy);
	return e;
}

/* Sign bytes that no encoder would make. */
static size_t
sign_raw(const struct sign_key *key, const char *label, size_t label_len,
    uint8_t *bytes, size_t len)
{
	uint8_t *text = malloc(label_len + len);

	assert_non_null(text);
	memcpy(text, label, label_len);
	memcpy(text + label_len, bytes, len);
	sign_bytes(key, text, label_len + len, bytes + len);
	free(text);
	return len + SIGNATURE_BYTES;
}

/* ---- certificates ------------------------------------------------------- */

static void
a_certificate_comes_back_as_it_was(void **state)
{
	static const char longest[] = "a-site-label-of-the-most-bytes-"
				      "that-one-can-have-63-of-them-all";
	static const char *const sites[] = { "", "a", "cellar", longest };
	uint8_t bytes[CERT_MAX];
	struct node_cert c, got;
	struct sign_key key;
	struct ring ring;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	assert_int_equal(strlen(sites[3]), SITE_MAX);
	for (unsigned i = 0; i < 4; i++) {
		a_cert(&ring, i, &c);
		memset(c.site, 0, sizeof(c.site));
		memcpy(c.site, sites[i], strlen(sites[i]));
		c.serial = UINT64_MAX - i;
		c.until_s = i % 2 ? TIME_S_MAX : T0_S + 1;
		node_cert_sign(&c, &key, bytes, &len);
		must(open_exact(&ring, T0_S, bytes, len, &got));
		assert_memory_equal(&got, &c, sizeof(c));
	}
}

/* Made once with this code and kept: the format may not change unseen. */
#define CERT_HEX                                                               \
	"01f21ad3863bcfcd369711c985471533f5997ea9739c1fc3987a92c3282e31ea"     \
	"312b072750a43b680a62d8966fef15b6f4ebaca3738787b01f302914c42e8edc"     \
	"499b2f6de999c45b7b07590649b35b55bbabc3c2c9758c9e966a2c7aea9d2675"     \
	"1d0000000000000002000000006ab13b80000000006c926f000663656c6c6172"     \
	"47bc0d98804e7cd4ca8154819e389f3e8e68ab2cec1ea2c41697f5aa6540749e"     \
	"4a6fb21012f2a2c3eb2021a4c8885ca477f001d7ce0b0b88f7865e5b5c8d8c01"

static void
assert_is_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	char *text = malloc(2 * len + 1);

	assert_non_null(text);
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, hex);
	free(text);
}

static void
the_format_of_a_certificate_is_kept(void **state)
{
	uint8_t bytes[CERT_MAX];
	struct sign_key key;
	struct node_cert c;
	struct ring ring;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	a_cert(&ring, 2, &c);
	node_cert_sign(&c, &key, bytes, &len);
	assert_is_hex(bytes, len, CERT_HEX);
}

static void
a_nodes_id_is_the_hash_of_its_key(void **state)
{
	struct sign_key key;
	struct node_cert c;
	struct ring ring;
	struct id id, want;

	(void)state;
	an_authority(1, &key, &ring);
	a_cert(&ring, 2, &c);
	node_cert_id(&c, &id);
	hash_bytes(c.sign, sizeof(c.sign), &want);
	assert_true(id_eq(&id, &want));
	hash_bytes(key.public, sizeof(key.public), &want);
	assert_true(id_eq(&ring.id, &want));
	assert_string_equal(ring.name, "rice.example");
}

static void
every_prefix_of_a_certificate_is_malformed(void **state)
{
	uint8_t bytes[CERT_MAX + 1] = { 0 };
	struct node_cert c, got;
	struct sign_key key;
	struct ring ring;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	a_cert(&ring, 2, &c);
	node_cert_sign(&c, &key, bytes, &len);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(
		    open_exact(&ring, T0_S, bytes, n, &got), ERR_MALFORMED);
	for (size_t n = len + 1; n <= CERT_MAX + 1; n++)
		assert_int_equal(
		    open_exact(&ring, T0_S, bytes, n, &got), ERR_MALFORMED);
	must(open_exact(&ring, T0_S, bytes, len, &got));
}

static void
every_flipped_bit_of_a_certificate_is_noticed(void **state)
{
	uint8_t bytes[CERT_MAX];
	struct node_cert c, got;
	struct sign_key key;
	struct ring ring;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	a_cert(&ring, 2, &c);
	node_cert_sign(&c, &key, bytes, &len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		bool in_ring = bit / 8 >= 1 && bit / 8 < 1 + ID_BYTES;
		enum err e;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		e = open_exact(&ring, T0_S, bytes, len, &got);
		if (in_ring)
			assert_int_equal(e, ERR_DENIED);
		else
			assert_true(e == ERR_BADSIG || e == ERR_MALFORMED);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	must(open_exact(&ring, T0_S, bytes, len, &got));
}

static void
another_ring_and_another_authority_are_told_apart(void **state)
{
	uint8_t bytes[CERT_MAX];
	struct sign_key key, foreign;
	struct ring ring, other;
	struct node_cert c, got;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	an_authority(2, &foreign, &other);
	a_cert(&other, 2, &c);
	node_cert_sign(&c, &foreign, bytes, &len);
	assert_int_equal(open_exact(&ring, T0_S, bytes, len, &got), ERR_DENIED);
	/* It says that it is of our ring, and another signed it. */
	memcpy(bytes + 1, ring.id.b, ID_BYTES);
	len = sign_raw(&foreign, CERT_LABEL, sizeof(CERT_LABEL), bytes,
	    len - SIGNATURE_BYTES);
	assert_int_equal(open_exact(&ring, T0_S, bytes, len, &got), ERR_BADSIG);
	/* Our own authority, but for something else. */
	len = sign_raw(&key, INVITATION_LABEL, sizeof(INVITATION_LABEL), bytes,
	    len - SIGNATURE_BYTES);
	assert_int_equal(open_exact(&ring, T0_S, bytes, len, &got), ERR_BADSIG);
	len = sign_raw(
	    &key, CERT_LABEL, sizeof(CERT_LABEL), bytes, len - SIGNATURE_BYTES);
	must(open_exact(&ring, T0_S, bytes, len, &got));
}

static void
a_certificate_is_valid_in_its_time_and_an_hour_around(void **state)
{
	uint8_t bytes[CERT_MAX];
	struct node_cert c, got;
	struct sign_key key;
	struct ring ring;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	a_cert(&ring, 2, &c);
	node_cert_sign(&c, &key, bytes, &len);
	assert_int_equal(
	    open_exact(&ring, c.from_s - CLOCK_SLACK_S - 1, bytes, len, &got),
	    ERR_DENIED);
	must(open_exact(&ring, c.from_s - CLOCK_SLACK_S, bytes, len, &got));
	must(
	    open_exact(&ring, c.until_s + CLOCK_SLACK_S - 1, bytes, len, &got));
	assert_int_equal(
	    open_exact(&ring, c.until_s + CLOCK_SLACK_S, bytes, len, &got),
	    ERR_DENIED);
	/* Whatever the clock says, nothing overflows. */
	assert_int_equal(
	    open_exact(&ring, INT64_MIN, bytes, len, &got), ERR_DENIED);
	assert_int_equal(
	    open_exact(&ring, INT64_MAX, bytes, len, &got), ERR_DENIED);
	c.from_s = 0;
	c.until_s = TIME_S_MAX;
	node_cert_sign(&c, &key, bytes, &len);
	must(open_exact(&ring, 0, bytes, len, &got));
	must(open_exact(&ring, TIME_S_MAX, bytes, len, &got));
}

/* What the authority signs is believed but still checked. */
static void
what_has_no_meaning_is_malformed_though_signed(void **state)
{
	enum { FROM = 1 + 3 * 32 + 8, UNTIL = FROM + 8, SITE = UNTIL + 8 };
	static const struct {
		size_t at;
		uint8_t bytes[8];
		size_t len;
	} wrong[] = {
		{ 0, { 0 }, 1 },
		{ 0, { 2 }, 1 },
		{ FROM, { 0x80 }, 8 }, /* before 1970 */
		{ FROM, { 0x7f, 0xff }, 8 }, /* after the end */
		{ UNTIL, { 0 }, 8 }, /* not after it began */
		{ UNTIL, { 0, 0, 0, 0x3b, 0, 0, 0 }, 8 }, /* five-digit year */
		{ SITE, { 5 }, 1 },
		{ SITE, { 7 }, 1 },
		{ SITE, { SITE_MAX + 1 }, 1 },
		{ SITE + 1, { '.' }, 1 },
		{ SITE + 1, { 'C' }, 1 },
		{ SITE + 1, { '-' }, 1 },
		{ SITE + 3, { 0 }, 1 },
		{ SITE + 3, { ' ' }, 1 },
		{ SITE + 3, { '.' }, 1 },
	};
	uint8_t bytes[CERT_MAX];
	struct node_cert c, got;
	struct sign_key key;
	struct ring ring;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	a_cert(&ring, 2, &c);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		node_cert_sign(&c, &key, bytes, &len);
		memcpy(bytes + wrong[i].at, wrong[i].bytes, wrong[i].len);
		len = sign_raw(&key, CERT_LABEL, sizeof(CERT_LABEL), bytes,
		    len - SIGNATURE_BYTES);
		assert_int_equal(
		    open_exact(&ring, T0_S, bytes, len, &got), ERR_MALFORMED);
	}
}

static void
a_site_is_one_label(void **state)
{
	char long_one[SITE_MAX + 2];

	(void)state;
	assert_true(site_check("cellar"));
	assert_true(site_check("b-2"));
	assert_false(site_check(""));
	assert_false(site_check("a.b"));
	assert_false(site_check("Cellar"));
	assert_false(site_check("-a"));
	assert_false(site_check("a b"));
	memset(long_one, 'a', sizeof(long_one));
	long_one[SITE_MAX + 1] = '\0';
	assert_false(site_check(long_one));
	assert_true(site_check(long_one + 1));
}

/* ---- revocations -------------------------------------------------------- */

static void
some_id(unsigned number, struct id *out)
{
	uint8_t bytes[4] = { (uint8_t)number, (uint8_t)(number >> 8) };

	hash_bytes(bytes, sizeof(bytes), out);
}

static void
some_revocations(unsigned count, struct revocations *r)
{
	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i < count; i++) {
		struct id id;

		some_id(i, &id);
		must(revocations_add(r, &id));
	}
}

static enum err
open_list(const struct ring *ring, const uint8_t *bytes, size_t len,
    struct revocations *out)
{
	uint8_t *copy = exact_copy(bytes, len);
	enum err e = revocations_open(ring, copy, len, out);

	free(copy);
	return e;
}

static void
who_was_revoked_is_found_and_nobody_else(void **state)
{
	struct revocations r;
	struct id id;

	(void)state;
	some_revocations(200, &r);
	assert_int_equal(r.count, 200);
	assert_int_equal(r.number, 200);
	for (unsigned i = 0; i < 400; i++) {
		some_id(i, &id);
		assert_int_equal(revocations_has(&r, &id), i < 200);
	}
	for (size_t i = 1; i < r.count; i++)
		assert_true(id_cmp(&r.node[i - 1], &r.node[i]) < 0);
	some_id(7, &id);
	must(revocations_add(&r, &id));
	assert_int_equal(r.count, 200);
	assert_int_equal(r.number, 200);
	revocations_fini(&r);
	assert_false(revocations_has(&r, &id));
	assert_int_equal(r.number, 0);
	revocations_fini(&r);
}

static void
a_list_comes_back_as_it_was(void **state)
{
	static const unsigned counts[] = { 0, 1, 2, 100, REVOKED_MAX };
	struct sign_key key;
	struct ring ring;

	(void)state;
	an_authority(1, &key, &ring);
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct revocations r, got = { 0 };
		uint8_t *bytes;
		size_t len;

		some_revocations(counts[i], &r);
		must(revocations_sign(&ring, &r, &key, &bytes, &len));
		must(open_list(&ring, bytes, len, &got));
		assert_int_equal(got.number, r.number);
		assert_int_equal(got.count, r.count);
		if (r.count)
			assert_memory_equal(
			    got.node, r.node, r.count * ID_BYTES);
		free(bytes);
		revocations_fini(&r);
		revocations_fini(&got);
	}
}

static void
a_full_list_takes_no_more(void **state)
{
	struct revocations r;
	struct id id;

	(void)state;
	some_revocations(REVOKED_MAX, &r);
	some_id(REVOKED_MAX, &id);
	assert_int_equal(revocations_add(&r, &id), ERR_RANGE);
	some_id(1, &id);
	must(revocations_add(&r, &id));
	assert_int_equal(r.count, REVOKED_MAX);
	revocations_fini(&r);
}

#define LIST_HEX                                                               \
	"01f21ad3863bcfcd369711c985471533f5997ea9739c1fc3987a92c3282e31ea"     \
	"310000000000000002000211da6d1f761ddf9bdb4c9d6e5303ebd41f61858d0a"     \
	"5647a1a7bfe089bf921be9e12c22d4f162d9a012c9319233da5d3e923cc5e102"     \
	"9b8f90e47249c9ab256b355b2e24d217cc4ad3d44e8e6a5f68a1bbd789182104"     \
	"f0620d38505099d2586ad5ac080d1d3307ba4622785a3224e3bc125ef1f41b44"     \
	"5be53908ffcef616f7df0e"

static void
the_format_of_a_list_is_kept(void **state)
{
	struct sign_key key;
	struct revocations r;
	struct ring ring;
	uint8_t *bytes;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	some_revocations(2, &r);
	must(revocations_sign(&ring, &r, &key, &bytes, &len));
	assert_is_hex(bytes, len, LIST_HEX);
	free(bytes);
	revocations_fini(&r);
}

static void
every_prefix_and_every_flipped_bit_of_a_list_is_noticed(void **state)
{
	struct revocations r, got = { 0 };
	struct sign_key key;
	struct ring ring;
	uint8_t *bytes;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	some_revocations(3, &r);
	must(revocations_sign(&ring, &r, &key, &bytes, &len));
	for (size_t n = 0; n < len; n++)
		assert_int_equal(
		    open_list(&ring, bytes, n, &got), ERR_MALFORMED);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		bool in_ring = bit / 8 >= 1 && bit / 8 < 1 + ID_BYTES;
		enum err e;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		e = open_list(&ring, bytes, len, &got);
		if (in_ring)
			assert_int_equal(e, ERR_DENIED);
		else
			assert_true(e == ERR_BADSIG || e == ERR_MALFORMED);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_null(got.node);
	must(open_list(&ring, bytes, len, &got));
	revocations_fini(&got);
	revocations_fini(&r);
	free(bytes);
}

static void
a_signed_list_must_rise_and_be_numbered(void **state)
{
	enum { NUMBER = 1 + ID_BYTES, COUNT = NUMBER + 8, NODES = COUNT + 2 };
	struct revocations r, got = { 0 };
	struct sign_key key, foreign;
	struct ring ring, other;
	uint8_t *bytes, *copy;
	size_t len, body;

	(void)state;
	an_authority(1, &key, &ring);
	an_authority(2, &foreign, &other);
	some_revocations(3, &r);
	must(revocations_sign(&ring, &r, &key, &bytes, &len));
	body = len - SIGNATURE_BYTES;
	copy = exact_copy(bytes, len);
	memcpy(copy + NODES + ID_BYTES, copy + NODES, ID_BYTES);
	sign_raw(
	    &key, REVOCATIONS_LABEL, sizeof(REVOCATIONS_LABEL), copy, body);
	assert_int_equal(open_list(&ring, copy, len, &got), ERR_MALFORMED);
	memcpy(copy, bytes, len);
	memcpy(copy + NODES, copy + NODES + 2 * ID_BYTES, ID_BYTES);
	sign_raw(
	    &key, REVOCATIONS_LABEL, sizeof(REVOCATIONS_LABEL), copy, body);
	assert_int_equal(open_list(&ring, copy, len, &got), ERR_MALFORMED);
	memcpy(copy, bytes, len);
	memset(copy + NUMBER, 0, 8);
	sign_raw(
	    &key, REVOCATIONS_LABEL, sizeof(REVOCATIONS_LABEL), copy, body);
	assert_int_equal(open_list(&ring, copy, len, &got), ERR_MALFORMED);
	memcpy(copy, bytes, len);
	sign_raw(
	    &foreign, REVOCATIONS_LABEL, sizeof(REVOCATIONS_LABEL), copy, body);
	assert_int_equal(open_list(&ring, copy, len, &got), ERR_BADSIG);
	sign_raw(&key, CERT_LABEL, sizeof(CERT_LABEL), copy, body);
	assert_int_equal(open_list(&ring, copy, len, &got), ERR_BADSIG);
	assert_int_equal(open_list(&other, bytes, len, &got), ERR_DENIED);
	free(copy);
	free(bytes);
	revocations_fini(&r);
}

/* A count of what is not there is no reason to allocate. */
static void
a_huge_count_with_nothing_behind_it_is_malformed(void **state)
{
	enum { COUNT = 1 + ID_BYTES + 8 };
	struct revocations r, got = { 0 };
	struct sign_key key;
	struct ring ring;
	uint8_t *bytes;
	size_t len;

	(void)state;
	an_authority(1, &key, &ring);
	some_revocations(3, &r);
	must(revocations_sign(&ring, &r, &key, &bytes, &len));
	for (unsigned n = 0; n <= UINT16_MAX; n++) {
		if (n == 3)
			continue;
		bytes[COUNT] = (uint8_t)(n >> 8);
		bytes[COUNT + 1] = (uint8_t)n;
		assert_int_equal(
		    open_list(&ring, bytes, len, &got), ERR_MALFORMED);
	}
	free(bytes);
	revocations_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_certificate_comes_back_as_it_was),
		cmocka_unit_test(the_format_of_a_certificate_is_kept),
		cmocka_unit_test(a_nodes_id_is_the_hash_of_its_key),
		cmocka_unit_test(every_prefix_of_a_certificate_is_malformed),
		cmocka_unit_test(every_flipped_bit_of_a_certificate_is_noticed),
		cmocka_unit_test(
		    another_ring_and_another_authority_are_told_apart),
		cmocka_unit_test(
		    a_certificate_is_valid_in_its_time_and_an_hour_around),
		cmocka_unit_test(
		    what_has_no_meaning_is_malformed_though_signed),
		cmocka_unit_test(a_site_is_one_label),
		cmocka_unit_test(who_was_revoked_is_found_and_nobody_else),
		cmocka_unit_test(a_list_comes_back_as_it_was),
		cmocka_unit_test(a_full_list_takes_no_more),
		cmocka_unit_test(the_format_of_a_list_is_kept),
		cmocka_unit_test(
		    every_prefix_and_every_flipped_bit_of_a_list_is_noticed),
		cmocka_unit_test(a_signed_list_must_rise_and_be_numbered),
		cmocka_unit_test(
		    a_huge_count_with_nothing_behind_it_is_malformed),
	};

	return cmocka_run_group_tests(tests, ready, NULL);
}
