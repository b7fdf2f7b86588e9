/* Batches of a user's log as bytes. */
#include "tests/unit/ulog_test.h"

#define BATCH_HEX \
	"0100010000000000000000000000000000000000000000000000000000000000" \
	"00d1ac0202000000000000000000000000000000000000000000000000000000" \
	"00000000b0000000000000000000000000000000000000000000000000000000" \
	"0000000000b1a902030000000000000000000000000000000000000000000000" \
	"0000000000000000010000000000000000000000000000000000000000000000" \
	"0000000000000000020000000000000000000000000000000000000000000000" \
	"000000000000000003011418b0b4f6b485e1add731de0404676f6e65"
#define SNAPSHOT_HEX \
	"0103010000000000000000000000000000000000000000000000000000000000" \
	"00d1ac0202e807000000"
#define BATCH_KEY_HEX \
	"b4b9832a6cf5a52e099436e1ba974f2f209e6c1c44f3e28691cf7fb34d8cb7b8"
#define SNAPSHOT_KEY_HEX \
	"9e6c5b14d1c52ffea4c4bb50d41d3212fc503b8da4bb2a59a908c015b8032835"
#define RECENT_KEY_HEX \
	"c3993b9374effb4b2bce43f2792b5a88601e42d7f380f0a85ee1b3304fccf377"

static void
batch_info(struct ulog_batch_info *info, struct rng *g)
{
	uint64_t first;

	memset(info, 0, sizeof(*info));
	fill_id(&info->device, 1000);
	info->first_sequence = first = 1 + rng_below(g, 1000000);
	info->snapshot = rng_below(g, 2);
	if (info->snapshot) {
		info->snapshot_part = (uint32_t)rng_u64(g);
		info->snapshot_of = rng_u64(g);
		info->snapshot_last = rng_below(g, 2);
	}
	for (unsigned i = 0; i < ULOG_BACK_MAX && first > 1; i++) {
		if (rng_below(g, 5) == 0)
			break;
		first = 1 + rng_below(g, first - 1);
		fill_id(&info->back[i].id, (unsigned)rng_below(g, 5000));
		info->back[i].first_sequence = first;
		info->backs = i + 1;
	}
	info->devices = DEVICES + (unsigned)rng_below(g, 60);
	for (unsigned i = 0; i < info->devices; i++)
		fill_id(&info->device_table[i], 1000 + i);
}

/* Read a whole batch and write it again; ERR_* if it is none. */
static enum err
again(const uint8_t *bytes, size_t len, struct ulog_batch **out)
{
	struct ulog_reader r;
	struct ulog_record rec;
	struct ulog_batch *b;
	enum err e;

	if ((e = ulog_reader_init(&r, bytes, len)))
		return e;
	assert_int_equal(ulog_batch_new(&r.info, &b), OK);
	while ((e = ulog_reader_next(&r, &rec)) == OK)
		assert_int_equal(ulog_batch_add(b, &rec), OK);
	if (e != ERR_ABSENT) {
		ulog_batch_free(b);
		return e;
	}
	*out = b;
	return OK;
}

static void
random_batch(struct rng *g, unsigned records, struct ulog_batch **out)
{
	struct ulog_batch_info info;
	struct ulog_prev prev = { 0 };
	struct ulog_record r;
	uint8_t *buf = malloc(ULOG_RECORD_MAX);
	struct arena a;
	size_t len;

	assert_non_null(buf);
	batch_info(&info, g);
	assert_int_equal(ulog_batch_new(&info, out), OK);
	for (unsigned i = 0; i < records; i++) {
		random_record(g, &prev, &a, &r);
		assert_int_equal(
		    ulog_record_encode(&r, &prev, buf, ULOG_RECORD_MAX, &len),
		    OK);
		assert_int_equal(ulog_batch_add(*out, &r), OK);
	}
	free(buf);
}

static void
a_batch_comes_back_as_it_was(void **state)
{
	struct ulog_batch_info info;
	struct ulog_record r[8], got;
	struct ulog_batch *b;
	struct ulog_reader rd;
	const uint8_t *bytes;
	uint8_t *copy;
	struct rng g;
	size_t len;

	(void)state;
	rng_init(&g, 4);
	for (unsigned round = 0; round < 100; round++) {
		unsigned n = each_op(r);

		batch_info(&info, &g);
		assert_int_equal(ulog_batch_new(&info, &b), OK);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(ulog_batch_add(b, &r[i]), OK);
		assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
		copy = exact(bytes, len);
		ulog_batch_free(b);

		assert_int_equal(ulog_reader_init(&rd, copy, len), OK);
		info.records = n;
		assert_memory_equal(&rd.info, &info, sizeof(info));
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(
			    rd.sequence, info.first_sequence + i);
			assert_int_equal(ulog_reader_next(&rd, &got), OK);
			assert_same(&got, &r[i]);
		}
		assert_int_equal(ulog_reader_next(&rd, &got), ERR_ABSENT);
		assert_int_equal(ulog_reader_next(&rd, &got), ERR_ABSENT);
		free(copy);
	}
}

static void
a_batch_may_be_read_while_it_grows(void **state)
{
	struct ulog_batch *b, *copy;
	const uint8_t *one, *two;
	struct ulog_record r;
	size_t len1, len2;
	struct rng g;

	(void)state;
	rng_init(&g, 5);
	random_batch(&g, 50, &b);
	for (unsigned i = 0; i < 300; i++) {
		a_mail(&r, UINT64_MAX - 1000 + i, i + 1);
		assert_int_equal(ulog_batch_add(b, &r), OK);
		assert_int_equal(ulog_batch_bytes(b, &one, &len1), OK);
		assert_int_equal(again(one, len1, &copy), OK);
		assert_int_equal(ulog_batch_bytes(copy, &two, &len2), OK);
		assert_int_equal(len1, len2);
		assert_memory_equal(one, two, len1);
		ulog_batch_free(copy);
	}
	ulog_batch_free(b);
}

static void
a_full_batch_says_so_and_stays_whole(void **state)
{
	struct ulog_batch_info info = { .first_sequence = 1, .devices = 1 };
	struct ulog_batch *b, *copy;
	const uint8_t *bytes;
	struct ulog_record r;
	uint64_t n = 0;
	size_t len;
	enum err e;

	(void)state;
	assert_int_equal(ulog_batch_new(&info, &b), OK);
	do {
		n++;
		a_mail(&r, n, n);
	} while ((e = ulog_batch_add(b, &r)) == OK);
	assert_int_equal(e, ERR_RANGE);
	assert_int_equal(ulog_batch_add(b, &r), ERR_RANGE);
	assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
	assert_in_range(len, ULOG_BATCH_MAX - 4096, ULOG_BATCH_MAX);
	assert_int_equal(again(bytes, len, &copy), OK);
	ulog_batch_free(copy);
	ulog_batch_free(b);
}

static void
the_largest_record_fits_an_empty_batch(void **state)
{
	struct ulog_batch_info info = { .first_sequence = 1 };
	struct ulog_record r = { .op = ULOG_XATTR, .lamport = 1 };
	uint8_t *value = calloc(1, ULOG_XATTR_VALUE_MAX);
	struct ulog_batch *b;

	(void)state;
	assert_non_null(value);
	info.devices = ULOG_DEVICES_MAX;
	for (unsigned i = 0; i < info.devices; i++)
		fill_id(&info.device_table[i], i);
	set_name(&r, "user.large");
	r.value = value;
	r.value_len = ULOG_XATTR_VALUE_MAX;
	assert_int_equal(ulog_batch_new(&info, &b), OK);
	assert_int_equal(ulog_batch_add(b, &r), OK);
	ulog_batch_free(b);
	free(value);
}

static void
every_prefix_of_a_batch_is_malformed(void **state)
{
	struct ulog_batch *b, *copy = NULL;
	const uint8_t *bytes;
	struct rng g;
	size_t len;

	(void)state;
	rng_init(&g, 6);
	random_batch(&g, 12, &b);
	assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = exact(bytes, n);

		assert_int_equal(again(cut, n, &copy), ERR_MALFORMED);
		free(cut);
	}
	ulog_batch_free(b);
}

static void
every_flipped_bit_of_a_batch_is_refused_or_means_just_these_bytes(void **state)
{
	struct ulog_batch *b, *copy;
	const uint8_t *bytes, *back;
	unsigned refused = 0, taken = 0;
	struct rng g;
	size_t len, back_len;
	enum err e;

	(void)state;
	for (unsigned seed = 7; seed < 10; seed++) {
		rng_init(&g, seed);
		random_batch(&g, 12, &b);
		assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			uint8_t *cut = exact(bytes, len);

			cut[bit / 8] ^= (uint8_t)(1u << bit % 8);
			e = again(cut, len, &copy);
			if (e) {
				assert_true(
				    e == ERR_MALFORMED || e == ERR_NEWER);
				refused++;
			} else {
				assert_int_equal(ulog_batch_bytes(copy, &back,
						     &back_len),
				    OK);
				assert_int_equal(len, back_len);
				assert_memory_equal(cut, back, len);
				ulog_batch_free(copy);
				taken++;
			}
			free(cut);
		}
		ulog_batch_free(b);
	}
	assert_true(refused > 1000 && taken > 1000);
}

static void
a_batch_has_the_bytes_that_the_format_says(void **state)
{
	struct ulog_batch_info info = { .first_sequence = 300 };
	struct ulog_batch *b;
	const uint8_t *bytes;
	struct ulog_record r[8];
	size_t len;

	(void)state;
	fill_id(&info.device, 0x1d1);
	info.device_table[0] = info.device;
	for (unsigned i = 1; i < 4; i++)
		fill_id(&info.device_table[i], i);
	info.devices = 4;
	info.backs = 2;
	fill_id(&info.back[0].id, 0xb0);
	info.back[0].first_sequence = 299;
	fill_id(&info.back[1].id, 0xb1);
	info.back[1].first_sequence = 1;
	each_op(r);
	assert_int_equal(ulog_batch_new(&info, &b), OK);
	assert_int_equal(ulog_batch_bytes(b, &bytes, &len), ERR_INVALID);
	assert_int_equal(ulog_batch_add(b, &r[3]), OK);
	assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
	assert_hex(bytes, len, BATCH_HEX);
	ulog_batch_free(b);

	info.snapshot = info.snapshot_last = true;
	info.snapshot_part = 2;
	info.snapshot_of = 1000;
	info.backs = 0;
	info.devices = 1;
	assert_int_equal(ulog_batch_new(&info, &b), OK);
	assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
	assert_hex(bytes, len, SNAPSHOT_HEX);
	ulog_batch_free(b);
}

static void
batches_of_a_later_version_are_told_from_nonsense(void **state)
{
	uint8_t b[100] = { 2 };
	struct ulog_reader r;

	(void)state;
	assert_int_equal(ulog_reader_init(&r, b, sizeof(b)), ERR_NEWER);
	b[0] = 0;
	assert_int_equal(ulog_reader_init(&r, b, sizeof(b)), ERR_MALFORMED);
}

static void
stamps_of_a_log_increase_but_those_of_a_snapshot_need_not(void **state)
{
	struct ulog_batch_info info = { .first_sequence = 1, .devices = 1,
		.snapshot = true };
	struct ulog_record r;
	struct ulog_reader rd;
	struct ulog_batch *b;
	const uint8_t *bytes;
	uint8_t *copy;
	size_t len, at = 2 + ID_BYTES + 1;

	(void)state;
	assert_int_equal(ulog_batch_new(&info, &b), OK);
	for (unsigned i = 0; i < 3; i++) {
		a_mail(&r, 10 - i, i + 1);
		assert_int_equal(ulog_batch_add(b, &r), OK);
	}
	assert_int_equal(ulog_batch_bytes(b, &bytes, &len), OK);
	assert_int_equal(ulog_reader_init(&rd, bytes, len), OK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ulog_reader_next(&rd, &r), OK);
	assert_int_equal(ulog_reader_next(&rd, &r), ERR_ABSENT);

	/* The same records in a batch that claims to be of the log. */
	copy = exact(bytes, len);
	copy[1] = 0;
	memmove(copy + at, copy + at + 2, len - at - 2);
	assert_int_equal(ulog_reader_init(&rd, copy, len - 2), OK);
	assert_int_equal(ulog_reader_next(&rd, &r), OK);
	assert_int_equal(ulog_reader_next(&rd, &r), ERR_MALFORMED);
	free(copy);
	ulog_batch_free(b);
}

static void
every_batch_and_every_head_has_a_key_of_its_own(void **state)
{
	struct key log = { { 1, 2, 3 } }, k[6];

	(void)state;
	ulog_batch_key(&log, 1, false, 0, &k[0]);
	ulog_batch_key(&log, 2, false, 0, &k[1]);
	ulog_batch_key(&log, 1, true, 0, &k[2]);
	ulog_batch_key(&log, 1, true, 1, &k[3]);
	ulog_batch_key(&log, 2, true, 0, &k[4]);
	ulog_recent_key(&log, 1, &k[5]);
	for (unsigned i = 0; i < 6; i++)
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(&k[i], &k[j], KEY_BYTES);
	assert_hex(k[0].b, KEY_BYTES, BATCH_KEY_HEX);
	assert_hex(k[3].b, KEY_BYTES, SNAPSHOT_KEY_HEX);
	assert_hex(k[5].b, KEY_BYTES, RECENT_KEY_HEX);
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
		cmocka_unit_test(a_batch_comes_back_as_it_was),
		cmocka_unit_test(a_batch_may_be_read_while_it_grows),
		cmocka_unit_test(a_full_batch_says_so_and_stays_whole),
		cmocka_unit_test(the_largest_record_fits_an_empty_batch),
		cmocka_unit_test(every_prefix_of_a_batch_is_malformed),
		cmocka_unit_test(
		    every_flipped_bit_of_a_batch_is_refused_or_means_just_these_bytes),
		cmocka_unit_test(a_batch_has_the_bytes_that_the_format_says),
		cmocka_unit_test(
		    batches_of_a_later_version_are_told_from_nonsense),
		cmocka_unit_test(
		    stamps_of_a_log_increase_but_those_of_a_snapshot_need_not),
		cmocka_unit_test(
		    every_batch_and_every_head_has_a_key_of_its_own),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
