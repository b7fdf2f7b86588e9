#include "store/mime.h"
#include "tests/lib/mails.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLES "sample"

/* ---- rejoining ---------------------------------------------------------- */

/* The slices must cover the mail, and each must make its own bytes. */
static void
must_rejoin(const char *name, const uint8_t *mail, size_t len)
{
	struct mime_slice *slice;
	size_t count, pos = 0;

	assert_int_equal(mime_cut(mail, len, &slice, &count), OK);
	assert_true(count <= MIME_SLICES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct mime_slice *s = &slice[i];
		uint8_t *plain, *text;

		if (s->off != pos || s->len == 0 || s->len > len - pos)
			fail_msg("%s: slice %zu is not next", name, i);
		pos += s->len;
		if (s->kind == MIME_SKELETON) {
			assert_false(i && slice[i - 1].kind == MIME_SKELETON);
			continue;
		}
		assert_true(s->len >= MIME_LEAF_MIN);
		if (s->kind == MIME_LEAF)
			continue;
		assert_true(s->line_len && s->line_len % 4 == 0);
		assert_int_equal(mime_encoded_len(s->decoded_len, s->line_len,
				     s->crlf, s->last_eol),
		    s->len);
		plain = malloc(s->decoded_len);
		text = malloc(s->len);
		assert_non_null(plain);
		assert_non_null(text);
		mime_decode(mail, s, plain);
		mime_encode_range(plain, s->decoded_len, s->line_len, s->crlf,
		    s->last_eol, 0, s->len, text);
		if (memcmp(text, mail + s->off, s->len) != 0)
			fail_msg("%s: slice %zu came back other", name, i);
		free(plain);
		free(text);
	}
	if (pos != len)
		fail_msg("%s: %zu bytes of %zu covered", name, pos, len);
	free(slice);
}

static void
rejoin_file(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	(void)arg;
	must_rejoin(path, bytes, len);
}

static void
every_sample_comes_back(void **state)
{
	(void)state;
	assert_true(each_mail(SAMPLES, rejoin_file, NULL) >= 43);
}

static void
every_corpus_mail_comes_back(void **state)
{
	(void)state;
	if (!each_corpus_mail(rejoin_file, NULL))
		skip();
}

static void
mails_made_by_chance_come_back(void **state)
{
	struct rng rng;

	(void)state;
	for (uint64_t seed = 1; seed <= 600; seed++) {
		char name[32];
		uint8_t *mail;
		size_t len;

		rng_init(&rng, seed);
		mail = random_mail(&rng, &len);
		snprintf(name, sizeof(name), "seed %u", (unsigned)seed);
		must_rejoin(name, mail, len);
		free(mail);
	}
}

static void
rejoin_prefixes(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	size_t step = len / 60 + 1;

	(void)arg;
	for (size_t n = 0; n < len; n += step) {
		uint8_t *cut = malloc(n + !n);

		assert_non_null(cut);
		memcpy(cut, bytes, n);
		must_rejoin(path, cut, n);
		free(cut);
	}
}

static void
every_prefix_of_a_sample_comes_back(void **state)
{
	(void)state;
	(void)each_mail(SAMPLES, rejoin_prefixes, NULL);
}

/* ---- what is cut -------------------------------------------------------- */

/* One letter a slice: s skeleton, L leaf, B base64. */
static void
shape_of(const uint8_t *mail, size_t len, char *out, size_t cap)
{
	struct mime_slice *slice;
	size_t count;

	assert_int_equal(mime_cut(mail, len, &slice, &count), OK);
	assert_true(count < cap);
	for (size_t i = 0; i < count; i++)
		out[i] = "sLB"[slice[i].kind];
	out[count] = 0;
	free(slice);
}

struct shape {
	const char *file, *shape;
	unsigned seen;
};

static void
compare_shape(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	char got[64];

	for (struct shape *s = arg; s->file; s++)
		if (strstr(path, s->file)) {
			shape_of(bytes, len, got, sizeof(got));
			if (strcmp(got, s->shape) != 0)
				fail_msg("%s: %s, not %s", path, got, s->shape);
			s->seen++;
		}
}

static void
each_kind_of_mail_is_cut_where_it_should_be(void **state)
{
	struct shape all[] = {
		{ "01_picnic", "s", 0 },
		{ "08_photo", "sBs", 0 },
		{ "10_newsletter", "sL", 0 },
		{ "20_empty", "", 0 },
		{ "21_header_only", "s", 0 },
		{ "24_crlf_base64", "sBs", 0 },
		{ "25_no_final", "sB", 0 },
		{ "26_odd_line", "sLs", 0 },
		{ "27_line_length_60", "sBs", 0 },
		{ "28_one_long_line", "sBs", 0 },
		{ "29_broken", "sBLs", 0 },
		{ "30_text_in", "sBLs", 0 },
		{ "31_loose_bits", "sBs", 0 },
		{ "32_text_after", "sBs", 0 },
		{ "33_mixed", "sBLs", 0 },
		{ "34_nul", "sL", 0 },
		{ "35_eight", "sL", 0 },
		{ "36_bare_cr", "s", 0 },
		{ "37_two_hundred", "sLs", 0 },
		{ "38_no_closing", "sL", 0 },
		{ "39_boundary_never", "s", 0 },
		{ "40_boundary_missing", "sL", 0 },
		{ "41_boundary_prefix", "sLs", 0 },
		{ "42_outer", "sLs", 0 },
		{ "43_boundary_in", "s", 0 },
		{ "44_folded", "sBs", 0 },
		{ "45_forwarded", "sBs", 0 },
		{ "48_blank", "sBs", 0 },
		{ "50_many", "sLsLs", 0 },
		{ "51_crlf", "sBs", 0 },
		{ NULL, NULL, 0 },
	};

	(void)state;
	(void)each_mail(SAMPLES, compare_shape, all);
	for (struct shape *s = all; s->file; s++)
		assert_int_equal(s->seen, 1);
}

struct photo {
	uint8_t *bytes;
	size_t len;
	unsigned seen;
};

static void
compare_photo(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	struct photo *p = arg;
	struct mime_slice *slice;
	size_t count;

	if (!strstr(path, "08_") && !strstr(path, "09_") &&
	    !strstr(path, "45_"))
		return;
	assert_int_equal(mime_cut(bytes, len, &slice, &count), OK);
	for (size_t i = 0; i < count; i++) {
		uint8_t *plain;

		if (slice[i].kind != MIME_BASE64)
			continue;
		plain = malloc(slice[i].decoded_len);
		assert_non_null(plain);
		mime_decode(bytes, &slice[i], plain);
		if (p->seen++ == 0) {
			p->bytes = plain;
			p->len = slice[i].decoded_len;
			continue;
		}
		assert_int_equal(slice[i].decoded_len, p->len);
		assert_memory_equal(plain, p->bytes, p->len);
		free(plain);
	}
	free(slice);
}

static void
an_attachment_is_the_same_leaf_in_every_mail(void **state)
{
	struct photo p = { 0 };

	(void)state;
	(void)each_mail(SAMPLES, compare_photo, &p);
	assert_int_equal(p.seen, 3);
	free(p.bytes);
}

static void
more_parts_than_the_limit_are_skeleton(void **state)
{
	static const char head[] =
	    "Content-Type: multipart/mixed; boundary=b\n\n";
	size_t part = 5 + 1 + MIME_LEAF_MIN + 1;
	size_t parts = MIME_SLICES_MAX / 2 + 10;
	size_t len = sizeof(head) - 1 + parts * part, count;
	uint8_t *mail = malloc(len), *at = mail;
	struct mime_slice *slice;

	(void)state;
	assert_non_null(mail);
	memcpy(at, head, sizeof(head) - 1);
	at += sizeof(head) - 1;
	for (size_t i = 0; i < parts; i++, at += part) {
		memset(at, 'x', part);
		memcpy(at, "--b\n\n", 5);
		at[part - 1] = '\n';
	}
	assert_int_equal(mime_cut(mail, len, &slice, &count), OK);
	assert_true(count > MIME_SLICES_MAX - 4 && count <= MIME_SLICES_MAX);
	assert_int_equal(slice[count - 1].off + slice[count - 1].len, len);
	free(slice);
	free(mail);
}

/* ---- base64 ------------------------------------------------------------- */

static void
any_range_can_be_encoded_alone(void **state)
{
	static const uint16_t widths[] = { 4, 8, 60, 76, 1000, 65532 };
	struct rng rng;

	(void)state;
	rng_init(&rng, 11);
	for (unsigned round = 0; round < 400; round++) {
		uint16_t width = widths[rng_below(&rng, 6)];
		uint8_t crlf = rng_below(&rng, 2) != 0;
		uint8_t last = rng_below(&rng, 2) != 0;
		size_t n = 1 + rng_below(&rng, 2000), len, off, part;
		uint8_t *plain = malloc(n), *all, *some;

		assert_non_null(plain);
		random_noise(&rng, plain, n);
		len = mime_encoded_len(n, width, crlf, last);
		all = malloc(len);
		assert_non_null(all);
		mime_encode_range(plain, n, width, crlf, last, 0, len, all);
		for (unsigned i = 0; i < 20; i++) {
			off = rng_below(&rng, len);
			part = 1 + rng_below(&rng, len - off);
			some = malloc(part);
			assert_non_null(some);
			mime_encode_range(
			    plain, n, width, crlf, last, off, part, some);
			assert_memory_equal(some, all + off, part);
			free(some);
		}
		free(all);
		free(plain);
	}
}

static void
encoding_is_that_of_rfc_4648(void **state)
{
	static const char *const vector[][2] = { { "f", "Zg==" },
		{ "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" } };
	uint8_t out[16];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		size_t n = strlen(vector[i][0]), m = strlen(vector[i][1]);

		assert_int_equal(mime_encoded_len(n, 76, 0, 0), m);
		mime_encode_range(
		    (const uint8_t *)vector[i][0], n, 76, 0, 0, 0, m, out);
		assert_memory_equal(out, vector[i][1], m);
	}
	/* in lines of four, each with its end */
	assert_int_equal(mime_encoded_len(6, 4, 1, 1), 12);
	mime_encode_range((const uint8_t *)"foobar", 6, 4, 1, 1, 0, 12, out);
	assert_memory_equal(out, "Zm9v\r\nYmFy\r\n", 12);
	assert_int_equal(mime_encoded_len(0, 76, 0, 1), 0);
}

/* ---- is it a mail ------------------------------------------------------- */

static bool
looks(const char *text, size_t len)
{
	uint8_t *exact = malloc(len + !len);
	bool is;

	assert_non_null(exact);
	memcpy(exact, text, len);
	is = mime_is_mail(exact, len);
	free(exact);
	return is;
}

static void
a_mail_is_told_from_other_files(void **state)
{
	static const char nul[] = "Subject: x\n\0y";

	(void)state;
	assert_true(looks("Subject: x\n\ny\n", 14));
	assert_true(looks("Subject : x\n", 12));
	assert_true(looks("From a@example.org Mon\nTo: b\n", 29));
	assert_true(looks("X:", 2));
	assert_false(looks("", 0));
	assert_false(looks("X", 1));
	assert_false(looks("\nSubject: x\n", 12));
	assert_false(looks(": x\n", 4));
	assert_false(looks("two words: x\n", 13));
	assert_false(looks("\x89PNG: x", 8));
	assert_false(looks(nul, sizeof(nul)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_sample_comes_back),
		cmocka_unit_test(every_prefix_of_a_sample_comes_back),
		cmocka_unit_test(mails_made_by_chance_come_back),
		cmocka_unit_test(each_kind_of_mail_is_cut_where_it_should_be),
		cmocka_unit_test(an_attachment_is_the_same_leaf_in_every_mail),
		cmocka_unit_test(more_parts_than_the_limit_are_skeleton),
		cmocka_unit_test(any_range_can_be_encoded_alone),
		cmocka_unit_test(encoding_is_that_of_rfc_4648),
		cmocka_unit_test(a_mail_is_told_from_other_files),
		cmocka_unit_test(every_corpus_mail_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
