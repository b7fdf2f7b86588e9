/* Records of a user's log as bytes. */
#include "tests/unit/ulog_test.h"

#define RECORDS_HEX \
	"5112aab4f6b485e1add731d6040109036e6577b9a48302e8070a010302016102" \
	"020206c901e80700030202046c696e6b440202000004676f6e65150202020161" \
	"0601090162031b26020202016305016400020702025080830208080202087573" \
	"65722e7461670103010203"

static void
a_record_comes_back_as_it_was(void **state)
{
	struct ulog_prev to = { 0 }, from = { 0 };
	uint8_t *buf = malloc(ULOG_RECORD_MAX), *cut;
	struct ulog_record r, got;
	struct arena a;
	struct rng g;
	size_t len, used;

	(void)state;
	assert_non_null(buf);
	rng_init(&g, 1);
	for (unsigned i = 0; i < 20000; i++) {
		if (i % 100 == 0) {
			memset(&to, 0, sizeof(to));
			memset(&from, 0, sizeof(from));
		}
		random_record(&g, &to, &a, &r);
		assert_int_equal(
		    ulog_record_encode(&r, &to, buf, ULOG_RECORD_MAX, &len),
		    OK);
		cut = exact(buf, len);
		assert_int_equal(
		    ulog_record_decode(cut, len, &from, &got, &used), OK);
		assert_int_equal(used, len);
		assert_same(&r, &got);
		assert_memory_equal(&to, &from, sizeof(to));
		free(cut);
	}
	free(buf);
}

static void
every_prefix_of_a_record_is_malformed_and_every_room_too_small(void **state)
{
	struct ulog_prev prev = { 0 }, before, after;
	uint8_t *buf = malloc(ULOG_RECORD_MAX), *cut;
	struct ulog_record r, got;
	struct arena a;
	struct rng g;
	size_t len, used, unused;

	(void)state;
	assert_non_null(buf);
	rng_init(&g, 2);
	for (unsigned i = 0; i < 200; i++) {
		random_record(&g, &prev, &a, &r);
		before = after = prev;
		assert_int_equal(
		    ulog_record_encode(&r, &after, buf, ULOG_RECORD_MAX, &len),
		    OK);
		for (size_t n = 0; n < len; n++) {
			cut = exact(buf, n);
			assert_int_equal(
			    ulog_record_decode(cut, n, &prev, &got, &used),
			    ERR_MALFORMED);
			assert_int_equal(
			    ulog_record_encode(&r, &prev, cut, n, &unused),
			    ERR_RANGE);
			assert_memory_equal(&prev, &before, sizeof(prev));
			free(cut);
		}
		prev = after;
	}
	free(buf);
}

/* One encoding per meaning: whatever decodes encodes to the same bytes. */
static void
every_flipped_bit_of_a_record_is_refused_or_means_just_these_bytes(void **state)
{
	struct ulog_prev prev = { 0 }, after, back;
	uint8_t *buf = malloc(ULOG_RECORD_MAX);
	uint8_t *again = malloc(ULOG_RECORD_MAX), *cut;
	unsigned refused = 0, taken = 0;
	struct ulog_record r, got;
	struct arena a;
	struct rng g;
	size_t len, used, n;
	enum err e;

	(void)state;
	assert_non_null(buf);
	assert_non_null(again);
	rng_init(&g, 3);
	for (unsigned i = 0; i < 150; i++) {
		random_record(&g, &prev, &a, &r);
		after = prev;
		assert_int_equal(
		    ulog_record_encode(&r, &after, buf, ULOG_RECORD_MAX, &len),
		    OK);
		cut = exact(buf, len);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			cut[bit / 8] ^= (uint8_t)(1u << bit % 8);
			back = prev;
			e = ulog_record_decode(cut, len, &back, &got, &used);
			if (e) {
				assert_true(
				    e == ERR_MALFORMED || e == ERR_NEWER);
				assert_memory_equal(
				    &back, &prev, sizeof(prev));
				refused++;
			} else {
				back = prev;
				assert_int_equal(ulog_record_encode(&got,
						     &back, again,
						     ULOG_RECORD_MAX, &n),
				    OK);
				assert_int_equal(n, used);
				assert_memory_equal(again, cut, n);
				taken++;
			}
			cut[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		free(cut);
		prev = after;
	}
	assert_true(refused > 1000 && taken > 1000);
	free(buf);
	free(again);
}

static void
a_mail_costs_twenty_bytes_beyond_name_and_recipe(void **state)
{
	struct ulog_prev prev = { 0 };
	uint8_t buf[1024];
	struct ulog_record r;
	size_t len;

	(void)state;
	a_mail(&r, 5000, 12345);
	assert_int_equal(
	    ulog_record_encode(&r, &prev, buf, sizeof(buf), &len), OK);
	a_mail(&r, 5001, 12346);
	assert_int_equal(
	    ulog_record_encode(&r, &prev, buf, sizeof(buf), &len), OK);
	assert_in_range(len - r.name_len - r.content.len, 10, 20);

	/* Imported: its mtime is the message's date, in whole seconds. */
	a_mail(&r, 5002, 12347);
	r.mtime_ns = 1100000000 * NS;
	assert_int_equal(
	    ulog_record_encode(&r, &prev, buf, sizeof(buf), &len), OK);
	assert_in_range(len - r.name_len - r.content.len, 10, 20);
	a_mail(&r, 5003, 12348);
	r.mtime_ns = 1100012345 * NS;
	assert_int_equal(
	    ulog_record_encode(&r, &prev, buf, sizeof(buf), &len), OK);
	assert_in_range(len - r.name_len - r.content.len, 10, 18);

	/* A flag set, moments later. */
	r.op = ULOG_RENAME;
	r.lamport++;
	r.time_ns += 1000;
	r.to_dir = r.dir;
	r.to_name = r.name;
	r.to_name_len = r.name_len;
	assert_int_equal(
	    ulog_record_encode(&r, &prev, buf, sizeof(buf), &len), OK);
	assert_in_range(len - r.name_len - r.to_name_len, 5, 8);
}

static void
records_have_the_bytes_that_the_format_says(void **state)
{
	struct ulog_record r[8];
	struct ulog_prev prev = { 0 };
	uint8_t buf[1024];
	size_t at = 0, len;
	unsigned n = each_op(r);

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(ulog_record_encode(&r[i], &prev, buf + at,
				     sizeof(buf) - at, &len),
		    OK);
		at += len;
	}
	assert_hex(buf, at, RECORDS_HEX);
}

static void
ops_of_a_later_version_are_told_from_nonsense(void **state)
{
	struct ulog_prev prev = { 0 };
	struct ulog_record r;
	uint8_t b[16];
	size_t used;

	(void)state;
	memset(b, 0xff, sizeof(b));
	for (unsigned op = 0; op < 16; op++) {
		b[0] = (uint8_t)op;
		assert_int_equal(
		    ulog_record_decode(b, sizeof(b), &prev, &r, &used),
		    op < ULOG_OP_END ? ERR_MALFORMED : ERR_NEWER);
	}
	b[0] = 0x80 | ULOG_SETATTR;
	assert_int_equal(ulog_record_decode(b, sizeof(b), &prev, &r, &used),
	    ERR_MALFORMED);
}

static void
nothing_happens_to_the_root_but_attributes(void **state)
{
	struct ulog_prev prev = { 0 };
	uint8_t b[64] = { 0 };
	struct ulog_record r;
	size_t used;

	(void)state;
	for (unsigned op = 1; op < ULOG_OP_END; op++) {
		/* time +0, number +0 (create: 1 - 1), a name "a" twice over */
		b[0] = (uint8_t)op;
		b[2] = op == ULOG_CREATE;
		b[3] = op == ULOG_SETATTR ? 0 : 1;
		b[4] = op == ULOG_SETATTR ? 0 : 'a';
		assert_int_equal(
		    ulog_record_decode(b, sizeof(b), &prev, &r, &used),
		    op == ULOG_SETATTR || op == ULOG_XATTR ? OK
							   : ERR_MALFORMED);
	}
}

static void
names_that_no_directory_may_hold_are_malformed(void **state)
{
	static const char *const bad[] = { ".", "..", "a/b", "/", "a\0b", "" };
	static const size_t len[] = { 1, 2, 3, 1, 3, 0 };
	struct ulog_prev prev = { 0 };
	struct ulog_record r;
	uint8_t b[32];
	size_t used;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		/* unlink, time +0, number +1 */
		uint8_t head[] = { ULOG_UNLINK, 0, 2, (uint8_t)len[i] };

		memcpy(b, head, sizeof(head));
		memcpy(b + sizeof(head), bad[i], len[i]);
		assert_int_equal(ulog_record_decode(b, sizeof(head) + len[i],
				     &prev, &r, &used),
		    ERR_MALFORMED);
	}
	memcpy(b, "\x04\x00\x02\x03...", 7);
	assert_int_equal(ulog_record_decode(b, 7, &prev, &r, &used), OK);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was),
		cmocka_unit_test(
		    every_prefix_of_a_record_is_malformed_and_every_room_too_small),
		cmocka_unit_test(
		    every_flipped_bit_of_a_record_is_refused_or_means_just_these_bytes),
		cmocka_unit_test(
		    a_mail_costs_twenty_bytes_beyond_name_and_recipe),
		cmocka_unit_test(records_have_the_bytes_that_the_format_says),
		cmocka_unit_test(ops_of_a_later_version_are_told_from_nonsense),
		cmocka_unit_test(nothing_happens_to_the_root_but_attributes),
		cmocka_unit_test(
		    names_that_no_directory_may_hold_are_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
