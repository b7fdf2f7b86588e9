#include "store/xattr.h"

#include "overlay/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)

struct row {
	uint8_t *bytes;
	size_t len;
};

static enum err
set(struct row *r, const char *name, const char *value, int create, int replace)
{
	struct row new = { NULL, 0 };
	enum err e = xattr_set(r->bytes, r->len, name, value,
	    value ? strlen(value) : 0, create, replace, &new.bytes, &new.len);

	assert_int_equal(e == OK, new.bytes != NULL);
	if (e == OK) {
		free(r->bytes);
		*r = new;
	}
	return e;
}

static void
expect(const struct row *r, const char *name, const char *value)
{
	const uint8_t *got = NULL;
	size_t len = 0;

	if (!value) {
		assert_int_equal(
		    xattr_get(r->bytes, r->len, name, &got, &len), ERR_NOATTR);
		return;
	}
	must(xattr_get(r->bytes, r->len, name, &got, &len));
	assert_int_equal(len, strlen(value));
	assert_memory_equal(got, value, len);
}

static enum err
ignore(void *arg, const char *name, size_t name_len, const uint8_t *value,
    size_t value_len)
{
	unsigned *sum = arg;

	for (size_t i = 0; i < name_len; i++)
		*sum += (unsigned char)name[i];
	for (size_t i = 0; i < value_len; i++)
		*sum += value[i];
	return OK;
}

/* All calls agree on whether it is a row. */
static enum err
check(const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1), *out = NULL;
	const uint8_t *value;
	size_t value_len, list_len, out_len;
	unsigned sum = 0;
	enum err e;

	assert_non_null(exact);
	if (len)
		memcpy(exact, bytes, len);
	e = xattr_each(exact, len, ignore, &sum);
	assert_true(e == OK || e == ERR_MALFORMED);
	assert_int_equal(xattr_list(exact, len, NULL, 0, &list_len), e);
	assert_int_equal(xattr_get(exact, len, "none", &value, &value_len),
	    e ? e : ERR_NOATTR);
	assert_int_equal(
	    xattr_set(exact, len, "none", NULL, 0, 0, 0, &out, &out_len),
	    e ? e : ERR_NOATTR);
	assert_null(out);
	free(exact);
	return e;
}

static const uint8_t golden[] = "\x06user.a\x03one\x07user.ab\x00"
				"\x06user.b\x03two";
#define GOLDEN_LEN (sizeof(golden) - 1)

static void
the_golden_row_is_read_and_written(void **state)
{
	static const char names[] = "user.a\0user.ab\0user.b";
	struct row r = { NULL, 0 };
	char list[sizeof(names)];
	size_t len;

	(void)state;
	must(set(&r, "user.b", "two", 0, 0));
	must(set(&r, "user.a", "one", 0, 0));
	must(set(&r, "user.ab", "", 0, 0));
	assert_int_equal(r.len, GOLDEN_LEN);
	assert_memory_equal(r.bytes, golden, r.len);
	expect(&r, "user.a", "one");
	expect(&r, "user.ab", "");
	expect(&r, "user.b", "two");
	expect(&r, "user.", NULL);
	expect(&r, "", NULL);
	must(xattr_list(r.bytes, r.len, NULL, 0, &len));
	assert_int_equal(len, sizeof(names));
	assert_int_equal(
	    xattr_list(r.bytes, r.len, list, len - 1, &len), ERR_RANGE);
	must(xattr_list(r.bytes, r.len, list, sizeof(list), &len));
	assert_int_equal(len, sizeof(names));
	assert_memory_equal(list, names, sizeof(names));
	free(r.bytes);
}

static void
no_bytes_are_no_attributes(void **state)
{
	struct row r = { NULL, 0 };
	char list[1];
	size_t len = 1;

	(void)state;
	expect(&r, "user.a", NULL);
	must(xattr_list(NULL, 0, NULL, 0, &len));
	assert_int_equal(len, 0);
	must(xattr_list(NULL, 0, list, 0, &len));
	must(xattr_each(NULL, 0, ignore, NULL));
	must(set(&r, "user.a", "x", 0, 0));
	must(set(&r, "user.a", NULL, 0, 0));
	assert_int_equal(r.len, 0);
	assert_int_equal(set(&r, "user.a", NULL, 0, 0), ERR_NOATTR);
	free(r.bytes);
}

static void
create_and_replace_mean_what_setxattr_says(void **state)
{
	struct row r = { NULL, 0 };

	(void)state;
	assert_int_equal(set(&r, "user.a", "1", 0, 1), ERR_NOATTR);
	must(set(&r, "user.a", "1", 1, 0));
	assert_int_equal(set(&r, "user.a", "2", 1, 0), ERR_EXISTS);
	expect(&r, "user.a", "1");
	must(set(&r, "user.a", "3", 0, 1));
	expect(&r, "user.a", "3");
	must(set(&r, "user.a", "longer than before", 0, 0));
	expect(&r, "user.a", "longer than before");
	free(r.bytes);
}

static void
names_and_rows_have_limits(void **state)
{
	struct row r = { NULL, 0 }, out = { NULL, 0 };
	char name[258], *value = malloc(XATTR_ROW_MAX + 1);
	size_t room = XATTR_ROW_MAX - 1 - 255 - 3;

	(void)state;
	assert_non_null(value);
	memset(value, 'v', XATTR_ROW_MAX + 1);
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_int_equal(set(&r, name, "x", 0, 0), ERR_RANGE);
	assert_int_equal(set(&r, "", "x", 0, 0), ERR_RANGE);
	name[255] = '\0';
	must(xattr_set(NULL, 0, name, value, room, 0, 0, &out.bytes, &out.len));
	assert_int_equal(out.len, XATTR_ROW_MAX);
	must(check(out.bytes, out.len));
	assert_int_equal(set(&out, "b", "", 0, 0), ERR_NOSPACE);
	must(set(&out, name, "small", 0, 1));
	must(set(&out, "b", "", 0, 0));
	assert_int_equal(
	    xattr_set(NULL, 0, name, value, room + 1, 0, 0, &r.bytes, &r.len),
	    ERR_NOSPACE);
	assert_int_equal(
	    xattr_set(NULL, 0, name, value, SIZE_MAX, 0, 0, &r.bytes, &r.len),
	    ERR_NOSPACE);
	assert_null(r.bytes);
	free(out.bytes);
	/* What would be a row but for its length: values of 65,531 and of
	 * 65,532 bytes after a header of five. */
	r.bytes = malloc(XATTR_ROW_MAX + 1);
	assert_non_null(r.bytes);
	memset(r.bytes, 'v', XATTR_ROW_MAX + 1);
	memcpy(r.bytes, "\x01n\xfb\xff\x03", 5);
	must(check(r.bytes, XATTR_ROW_MAX));
	r.bytes[2] = 0xfc;
	assert_int_equal(check(r.bytes, XATTR_ROW_MAX + 1), ERR_MALFORMED);
	free(r.bytes);
	free(value);
}

static void
every_prefix_is_malformed_or_a_shorter_row(void **state)
{
	(void)state;
	for (size_t n = 0; n <= GOLDEN_LEN; n++) {
		bool whole = n == 0 || n == 11 || n == 20 || n == GOLDEN_LEN;

		assert_int_equal(check(golden, n), whole ? OK : ERR_MALFORMED);
	}
}

/* A flipped bit of a value or of a name may leave a row, but never one that
 * says the same. */
static void
every_flipped_bit_changes_the_row_or_breaks_it(void **state)
{
	uint8_t bytes[GOLDEN_LEN];

	(void)state;
	memcpy(bytes, golden, GOLDEN_LEN);
	for (size_t bit = 0; bit < 8 * GOLDEN_LEN; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (check(bytes, GOLDEN_LEN) == OK) {
			struct row r = { bytes, GOLDEN_LEN };
			const uint8_t *a = NULL, *b = NULL, *ab = NULL;
			size_t n[3] = { 0 };
			bool same =
			    !xattr_get(bytes, r.len, "user.a", &a, &n[0]) &&
			    !xattr_get(bytes, r.len, "user.b", &b, &n[1]) &&
			    !xattr_get(bytes, r.len, "user.ab", &ab, &n[2]) &&
			    n[0] == 3 && !memcmp(a, "one", 3) && n[1] == 3 &&
			    !memcmp(b, "two", 3) && n[2] == 0;

			assert_false(same);
		}
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	must(check(bytes, GOLDEN_LEN));
}

static void
one_meaning_has_one_row(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} wrong[] = {
		{ "\x00\x00", 2 }, /* no name */
		{ "\x01\x00\x00", 3 }, /* NUL in a name */
		{ "\x01"
		  "b\x00\x01"
		  "a\x00",
		    6 }, /* not sorted */
		{ "\x01"
		  "a\x00\x01"
		  "a\x00",
		    6 }, /* twice */
		{ "\x02"
		  "ab\x00\x01"
		  "a\x00",
		    7 }, /* longer first */
		{ "\x01"
		  "a\x80\x00",
		    4 }, /* long varint */
		{ "\x01"
		  "a\x81\x80\x80\x80\x80\x80\x80\x80\x80\x01v",
		    13 }, /* huge */
		{ "\x01"
		  "a\x01",
		    3 }, /* no value */
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(
		    check((const uint8_t *)wrong[i].bytes, wrong[i].len),
		    ERR_MALFORMED);
}

/* Against an array of a few names. */
static void
random_changes_leave_what_an_array_would_hold(void **state)
{
	enum { NAMES = 12 };
	char shadow[NAMES][40], name[16];
	bool has[NAMES] = { false };
	struct row r = { NULL, 0 };
	struct rng rng;

	(void)state;
	rng_init(&rng, 3);
	for (unsigned i = 0; i < 4000; i++) {
		unsigned n = (unsigned)rng_below(&rng, NAMES);
		unsigned how = (unsigned)rng_below(&rng, 4);
		char value[40];

		snprintf(name, sizeof(name), "user.%0*u", 1 + (int)(n % 3), n);
		memset(value, 'a' + (int)(i % 26), sizeof(value));
		value[rng_below(&rng, sizeof(value))] = '\0';
		value[sizeof(value) - 1] = '\0';
		if (how == 0) {
			assert_int_equal(set(&r, name, NULL, 0, 0),
			    has[n] ? OK : ERR_NOATTR);
			has[n] = false;
		} else {
			bool fails =
			    (how == 1 && has[n]) || (how == 2 && !has[n]);

			assert_int_equal(
			    set(&r, name, value, how == 1, how == 2) != OK,
			    fails);
			if (!fails)
				memcpy(shadow[n], value, sizeof(value));
			has[n] = has[n] || !fails;
		}
		must(check(r.bytes, r.len));
		for (n = 0; n < NAMES; n++) {
			snprintf(name, sizeof(name), "user.%0*u",
			    1 + (int)(n % 3), n);
			expect(&r, name, has[n] ? shadow[n] : NULL);
		}
	}
	free(r.bytes);
}

static enum err
stop(void *arg, const char *name, size_t name_len, const uint8_t *value,
    size_t value_len)
{
	unsigned *calls = arg;

	(void)value;
	(void)value_len;
	++*calls;
	return name_len == 7 && memcmp(name, "user.ab", 7) == 0 ? ERR_AGAIN
								: OK;
}

static void
each_stops_at_the_first_error(void **state)
{
	unsigned calls = 0;

	(void)state;
	assert_int_equal(
	    xattr_each(golden, GOLDEN_LEN, stop, &calls), ERR_AGAIN);
	assert_int_equal(calls, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_golden_row_is_read_and_written),
		cmocka_unit_test(no_bytes_are_no_attributes),
		cmocka_unit_test(create_and_replace_mean_what_setxattr_says),
		cmocka_unit_test(names_and_rows_have_limits),
		cmocka_unit_test(every_prefix_is_malformed_or_a_shorter_row),
		cmocka_unit_test(
		    every_flipped_bit_changes_the_row_or_breaks_it),
		cmocka_unit_test(one_meaning_has_one_row),
		cmocka_unit_test(random_changes_leave_what_an_array_would_hold),
		cmocka_unit_test(each_stops_at_the_first_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
