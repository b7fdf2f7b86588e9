/* Heads of a user's log as bytes. */
#include "tests/unit/ulog_test.h"

#define HEAD_HEX \
	"0100000000000000000000000000000000000000000000000000000000000000" \
	"05e1ef2fe6f211f7399a8a6a55fdc811ee92ec7f01ee125942da87ef65955349" \
	"9f4dd2099f8d0618d75b842b4ecd150300000000000000000000000000000000" \
	"00000000000000000000000000000006b0090000000000000000000000000000" \
	"000000000000000000000000000000000007e80703067365616c6564ddf30dcd" \
	"3879f5d1a641919800f9cd18688e96413016f5a9598fc3b7374425fa6160e252" \
	"d0c1f40ce1bcd0b1fecd0a3e78c77d4e6235d80c5c0a679feab9fe0d"

static void
a_head(struct ulog_head *h, struct sign_key *key)
{
	static const uint8_t recent[] = "sealed";
	uint8_t seed[SIGN_SEED_BYTES] = { 42 };

	sign_key_from_seed(seed, key);
	memset(h, 0, sizeof(*h));
	fill_id(&h->user, 5);
	hash_bytes(key->public, SIGN_PUBLIC_BYTES, &h->device);
	memcpy(h->device_public, key->public, SIGN_PUBLIC_BYTES);
	h->sequence = 77;
	h->record_sequence = 1234;
	h->lamport = 99999;
	h->time_ns = T0;
	h->has_batch = true;
	fill_id(&h->batch, 6);
	h->batch_first = 1200;
	h->has_snapshot = true;
	fill_id(&h->snapshot, 7);
	h->snapshot_of = 1000;
	h->snapshot_parts = 3;
	h->recent = recent;
	h->recent_len = sizeof(recent) - 1;
}

static void
a_head_comes_back_as_it_was(void **state)
{
	uint8_t buf[ULOG_HEAD_MAX], *copy;
	struct ulog_head h, got;
	struct sign_key key;
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		a_head(&h, &key);
		if (i & 1) {
			h.has_batch = false;
			memset(&h.batch, 0, sizeof(h.batch));
			h.batch_first = 0;
		}
		if (i & 2) {
			h.has_snapshot = false;
			memset(&h.snapshot, 0, sizeof(h.snapshot));
			h.snapshot_of = h.snapshot_parts = 0;
		}
		if (i & 4)
			h.recent_len = 0;
		assert_int_equal(
		    ulog_head_encode(&h, &key, buf, sizeof(buf), &len), OK);
		copy = exact(buf, len);
		assert_int_equal(ulog_head_decode(copy, len, &got), OK);
		assert_memory_equal(got.recent, h.recent, h.recent_len);
		got.recent = h.recent;
		assert_memory_equal(&got, &h, sizeof(h));
		for (size_t n = 0; n < len; n++) {
			uint8_t *room = malloc(n ? n : 1);
			size_t unused;

			assert_non_null(room);
			assert_int_equal(
			    ulog_head_encode(&h, &key, room, n, &unused),
			    ERR_RANGE);
			free(room);
		}
		free(copy);
	}
}

static void
a_head_is_never_longer_than_its_bound(void **state)
{
	static uint8_t big[2 * ULOG_HEAD_MAX], buf[2 * ULOG_HEAD_MAX];
	struct ulog_head h, got;
	struct sign_key key;
	size_t len;

	(void)state;
	a_head(&h, &key);
	h.recent = big;
	h.recent_len = ULOG_HEAD_MAX - 300;
	assert_int_equal(
	    ulog_head_encode(&h, &key, buf, sizeof(buf), &len), OK);
	h.recent_len += ULOG_HEAD_MAX - len;
	assert_int_equal(
	    ulog_head_encode(&h, &key, buf, sizeof(buf), &len), OK);
	assert_int_equal(len, ULOG_HEAD_MAX);
	assert_int_equal(ulog_head_decode(buf, len, &got), OK);
	assert_int_equal(ulog_head_decode(buf, len + 1, &got), ERR_MALFORMED);
	h.recent_len++;
	assert_int_equal(ulog_head_encode(&h, &key, buf, sizeof(buf), &len),
	    ERR_RANGE);
}

static void
every_prefix_and_every_flipped_bit_of_a_head_is_refused(void **state)
{
	uint8_t buf[ULOG_HEAD_MAX], *cut;
	struct ulog_head h, got;
	struct sign_key key;
	size_t len;
	enum err e;

	(void)state;
	a_head(&h, &key);
	assert_int_equal(
	    ulog_head_encode(&h, &key, buf, sizeof(buf), &len), OK);
	for (size_t n = 0; n < len; n++) {
		cut = exact(buf, n);
		assert_int_equal(ulog_head_decode(cut, n, &got), ERR_MALFORMED);
		free(cut);
	}
	cut = exact(buf, len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		cut[bit / 8] ^= (uint8_t)(1u << bit % 8);
		e = ulog_head_decode(cut, len, &got);
		assert_true(e == ERR_BADSIG || e == ERR_MALFORMED ||
		    (e == ERR_NEWER && bit < 8));
		cut[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(cut);
}

static void
a_head_signed_by_another_device_is_refused(void **state)
{
	uint8_t buf[ULOG_HEAD_MAX], seed[SIGN_SEED_BYTES] = { 43 };
	struct ulog_head h, got;
	struct sign_key key, other;
	size_t len;

	(void)state;
	a_head(&h, &key);
	sign_key_from_seed(seed, &other);
	assert_int_equal(
	    ulog_head_encode(&h, &other, buf, sizeof(buf), &len), OK);
	assert_int_equal(ulog_head_decode(buf, len, &got), OK);
	assert_memory_not_equal(&got.device, &h.device, ID_BYTES);
	memcpy(buf + 1 + ID_BYTES, key.public, SIGN_PUBLIC_BYTES);
	assert_int_equal(ulog_head_decode(buf, len, &got), ERR_BADSIG);
}

static void
a_head_has_the_bytes_that_the_format_says(void **state)
{
	uint8_t buf[ULOG_HEAD_MAX];
	struct ulog_head h;
	struct sign_key key;
	size_t len;

	(void)state;
	a_head(&h, &key);
	assert_int_equal(
	    ulog_head_encode(&h, &key, buf, sizeof(buf), &len), OK);
	assert_hex(buf, len, HEAD_HEX);
}

static int
setup(void **state)
{
	(void)state;
	return crypto_init() != OK;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_comes_back_as_it_was),
		cmocka_unit_test(a_head_is_never_longer_than_its_bound),
		cmocka_unit_test(
		    every_prefix_and_every_flipped_bit_of_a_head_is_refused),
		cmocka_unit_test(a_head_signed_by_another_device_is_refused),
		cmocka_unit_test(a_head_has_the_bytes_that_the_format_says),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
