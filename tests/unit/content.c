/* Storing: what goes in comes out, and as which blocks. */
#include "tests/unit/content_test.h"

static enum err
ref_is_here(void *arg, const struct block_ref *ref)
{
	size_t len;

	assert_non_null(mem_blocks_bytes(arg, &ref->id, &len));
	return OK;
}

/* Store, look at it from all sides, read it in every way. */
static void
must_return(struct fixture *f, const char *name, const uint8_t *bytes,
    size_t len, bool mail, struct content *out)
{
	struct rng rng;
	struct content c;
	uint64_t size;

	assert_int_equal(
	    content_store(f->sealer, &f->sink, bytes, len, mail, &c), OK);
	assert_int_equal(content_check(c.bytes, c.len), OK);
	assert_int_equal(content_size(&c, &size), OK);
	assert_int_equal(size, len);
	assert_int_equal(
	    content_refs(f->reader, &c, ref_is_here, f->blocks), OK);
	must_read(f, name, &c, bytes, len, 0, len + 10);
	must_read(f, name, &c, bytes, len, len, 10);
	must_read(f, name, &c, bytes, len, UINT64_MAX - 3, 10);
	rng_init(&rng, len);
	for (unsigned i = 0; i < 12 && len; i++) {
		uint64_t off = rng_below(&rng, len);

		must_read(f, name, &c, bytes, len, off,
		    rng_below(&rng, i % 3 ? 100 : len));
	}
	if (out)
		*out = c;
}

static void
return_file(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	must_return(arg, path, bytes, len, true, NULL);
	must_return(arg, path, bytes, len, false, NULL);
}

static void
every_sample_returns_byte_for_byte(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, CACHE);
	assert_true(each_mail(SAMPLES, return_file, &f) >= 43);
	fixture_fini(&f);
}

static void
return_mail(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	must_return(arg, path, bytes, len, mime_is_mail(bytes, len), NULL);
}

static void
every_corpus_mail_returns_byte_for_byte(void **state)
{
	struct fixture f;
	size_t files;

	(void)state;
	fixture_init(&f, CACHE);
	files = each_corpus_mail(return_mail, &f);
	fixture_fini(&f);
	if (!files)
		skip();
}

static void
mails_made_by_chance_return(void **state)
{
	struct fixture f;
	struct rng rng;

	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		char name[32];
		uint8_t *mail;
		size_t len;

		if (seed % 50 == 1)
			fixture_init(&f, seed % 100 == 1 ? CACHE : 0);
		rng_init(&rng, seed);
		mail = random_mail(&rng, &len);
		snprintf(name, sizeof(name), "seed %u", (unsigned)seed);
		must_return(&f, name, mail, len, true, NULL);
		free(mail);
		if (seed % 50 == 0)
			fixture_fini(&f);
	}
}

/* ---- shapes ------------------------------------------------------------- */

/* One letter an op. */
static void
shape_of(const uint8_t *recipe, size_t len, char *out, size_t cap)
{
	struct recipe_op op;
	struct rd r;
	size_t n = 0;

	rd_init(&r, recipe, len);
	while (rd_left(&r)) {
		assert_int_equal(recipe_next(&r, &op), OK);
		assert_true(n + 1 < cap);
		out[n++] = " LKBSZ"[op.kind];
	}
	out[n] = 0;
}

static void
must_have_shape(const struct content *c, const char *want)
{
	char got[32];

	shape_of(c->bytes, c->len, got, sizeof(got));
	assert_string_equal(got, want);
}

static const uint8_t *
open_first(struct fixture *f, const struct content *c, size_t *len)
{
	static uint8_t plain[SEAL_PLAIN_MAX];
	struct recipe_op op;
	uint8_t *block;
	size_t n;
	struct rd r;

	rd_init(&r, c->bytes, c->len);
	assert_int_equal(recipe_next(&r, &op), OK);
	block = mem_blocks_bytes(f->blocks, &op.ref.id, &n);
	assert_non_null(block);
	assert_int_equal(seal_open(f->sealer, &op.ref, block, n, plain), OK);
	*len = op.ref.plain_len;
	return plain;
}

static void
shape_sample(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	struct fixture *f = arg;
	struct content c;
	char inner[32] = "";

	assert_int_equal(
	    content_store(f->sealer, &f->sink, bytes, len, true, &c), OK);
	if (strstr(path, "01_picnic.")) {
		must_have_shape(&c, "K"); /* no part of its own */
	} else if (strstr(path, "08_photo.")) {
		const uint8_t *recipe;
		size_t n;

		must_have_shape(&c, "S");
		assert_true(c.len < 80);
		recipe = open_first(f, &c, &n);
		shape_of(recipe, n, inner, sizeof(inner));
		assert_string_equal(inner, "LBL");
	} else if (strstr(path, "20_empty.")) {
		assert_int_equal(c.len, 0);
	} else if (strstr(path, "22_header_no")) {
		must_have_shape(&c, "L");
	}
}

static void
a_recipe_has_the_shape_that_the_header_promises(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, CACHE);
	(void)each_mail(SAMPLES, shape_sample, &f);
	fixture_fini(&f);
}

static void
short_files_stand_in_the_row(void **state)
{
	uint8_t bytes[CONTENT_INLINE_MAX + 1];
	struct fixture f;
	struct content c;

	(void)state;
	fixture_init(&f, CACHE);
	memset(bytes, 'y', sizeof(bytes));
	for (size_t n = 0; n <= CONTENT_INLINE_MAX; n++) {
		must_return(&f, "short", bytes, n, n % 2, &c);
		must_have_shape(&c, n ? "L" : "");
	}
	assert_int_equal(mem_blocks_count(f.blocks).puts, 0);
	must_return(&f, "longer", bytes, sizeof(bytes), false, &c);
	must_have_shape(&c, "K");
	fixture_fini(&f);
}

static void
a_part_of_many_blocks_is_read_at_any_place(void **state)
{
	static const uint16_t widths[] = { 4, 60, 76, 1000, 65532 };
	struct fixture f;
	struct rng rng;

	(void)state;
	rng_init(&rng, 5);
	for (unsigned i = 0; i < 5; i++) {
		size_t len;
		uint8_t *mail =
		    mail_with_part(i, 1200000 + i, widths[i], i % 2, &len);
		struct content c;

		fixture_init(&f, i % 2 ? 0 : CACHE);
		must_return(&f, "part", mail, len, true, &c);
		for (unsigned k = 0; k < 60; k++)
			must_read(&f, "range", &c, mail, len,
			    rng_below(&rng, len), rng_below(&rng, 200000));
		/* decoded: three quarters, and a little */
		assert_true(mem_blocks_count(f.blocks).bytes < 1200000 + 4000);
		fixture_fini(&f);
		free(mail);
	}
}

static void
a_read_opens_only_what_its_range_needs(void **state)
{
	size_t len;
	uint8_t *mail = mail_with_part(9, 2u << 20, 76, 0, &len), buf[100];
	struct fixture f;
	struct content c;
	uint64_t before;
	size_t got;

	(void)state;
	fixture_init(&f, 0);
	assert_int_equal(
	    content_store(f.sealer, &f.sink, mail, len, true, &c), OK);
	before = mem_blocks_count(f.blocks).gets;
	assert_int_equal(
	    content_read(f.reader, &c, len / 2, buf, 100, &got), OK);
	/* the recipe, and the one or two blocks of the range */
	assert_true(mem_blocks_count(f.blocks).gets - before <= 3);
	before = mem_blocks_count(f.blocks).gets;
	assert_int_equal(content_read(f.reader, &c, 0, buf, 20, &got), OK);
	assert_int_equal(mem_blocks_count(f.blocks).gets - before, 1);
	fixture_fini(&f);
	free(mail);
}

static void
a_long_text_between_parts_is_no_literal(void **state)
{
	/* a preamble of 600 KB, longer than a block; then a part */
	size_t head = 60, preamble = 600000, len = head + preamble + 9000;
	uint8_t *mail = malloc(len);
	struct fixture f;
	struct content c;
	struct rng rng;

	(void)state;
	assert_non_null(mail);
	rng_init(&rng, 8);
	random_text(&rng, mail, len);
	memset(mail, '\n', head);
	memcpy(mail, "Content-Type: multipart/mixed; boundary=zz\n\n", 44);
	memcpy(mail + head + preamble, "\n--zz\n\n", 7);
	fixture_init(&f, CACHE);
	must_return(&f, "preamble", mail, len, true, &c);
	fixture_fini(&f);
	free(mail);
}

/* ---- a cut that is wrong ------------------------------------------------ */

static void
wrong_cut(struct fixture *f, const uint8_t *mail, size_t len,
    struct mime_slice *slice, size_t count, const struct content *plain)
{
	struct content c;

	assert_int_equal(
	    content_store_cut(f->sealer, &f->sink, mail, len, slice, count, &c),
	    OK);
	assert_int_equal(c.len, plain->len);
	assert_memory_equal(c.bytes, plain->bytes, c.len);
}

static void
what_does_not_come_back_is_stored_as_it_is(void **state)
{
	size_t len, count;
	uint8_t *mail = mail_with_part(3, 200000, 76, 1, &len);
	struct mime_slice *slice, *b, was;
	struct mem_blocks_count before;
	struct content plain;
	struct fixture f;

	(void)state;
	fixture_init(&f, CACHE);
	must_return(&f, "plain", mail, len, false, &plain);
	before = mem_blocks_count(f.blocks);
	assert_int_equal(mime_cut(mail, len, &slice, &count), OK);
	assert_int_equal(count, 2);
	b = &slice[1];
	assert_int_equal(b->kind, MIME_BASE64);
	was = *b;
	for (unsigned i = 0; i < 12; i++) {
		size_t n = count;

		*b = was;
		switch (i) {
		case 0:
			b->crlf = 0;
			break;
		case 1:
			b->line_len = 72;
			break;
		case 2:
			b->line_len = 0;
			break;
		case 3:
			b->last_eol = 0;
			break;
		case 4:
			b->decoded_len--;
			break;
		case 5:
			b->decoded_len = 0;
			break;
		case 6:
			b->len--;
			break;
		case 7:
			b->len++;
			break;
		case 8:
			b->off++;
			b->len--;
			break;
		case 9:
			n = 1;
			break;
		case 10:
			n = 0;
			break;
		case 11:
			mail[len / 2] = '!';
			break;
		}
		if (i == 11)
			must_return(&f, "damaged", mail, len, false, &plain);
		wrong_cut(&f, mail, len, slice, n, &plain);
	}
	/* and no block of the attempts but the last file's was given away */
	assert_true(mem_blocks_count(f.blocks).blocks <= 2 * before.blocks);
	free(slice);
	fixture_fini(&f);
	free(mail);
}

/* ---- streams ------------------------------------------------------------ */

struct memory {
	const uint8_t *bytes;
	size_t len;
	uint64_t next; /* reads come in order */
};

static enum err
read_memory(void *arg, uint64_t off, void *buf, size_t len)
{
	struct memory *m = arg;

	assert_int_equal(off, m->next);
	assert_true(len <= m->len - off);
	memcpy(buf, m->bytes + off, len);
	m->next += len;
	return OK;
}

static void
a_stream_gives_the_recipe_that_memory_gives(void **state)
{
	struct fixture f;
	struct rng rng;

	(void)state;
	fixture_init(&f, CACHE);
	for (uint64_t seed = 1; seed <= 25; seed++) {
		size_t len, at = 0;
		uint8_t *bytes;
		struct content a, b;
		struct memory m;

		rng_init(&rng, seed);
		len = rng_below(&rng, seed % 5 ? 900000 : 4000000);
		bytes = calloc(1, len + 1);
		assert_non_null(bytes);
		while (at < len) {
			size_t n = 1 + rng_below(&rng, 500000);

			if (n > len - at)
				n = len - at;
			random_noise(&rng, bytes + at, n);
			/* from just too short for a hole to plenty */
			at += n + 65530 + rng_below(&rng, 12) +
			      rng_below(&rng, 2) * 300000;
		}
		m = (struct memory){ .bytes = bytes, .len = len };
		must_return(&f, "memory", bytes, len, false, &a);
		assert_int_equal(content_store_stream(f.sealer, &f.sink, len,
				     read_memory, &m, &b),
		    OK);
		assert_int_equal(m.next, len);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(a.bytes, b.bytes, a.len);
		free(bytes);
	}
	fixture_fini(&f);
}

static void
runs_of_zeros_become_holes(void **state)
{
	size_t hole = CONTENT_HOLE_MIN, len = 3 * hole + 2000;
	uint8_t *bytes = calloc(1, len);
	struct fixture f;
	struct content c;

	(void)state;
	assert_non_null(bytes);
	fixture_init(&f, CACHE);
	must_return(&f, "all zero", bytes, len, false, &c);
	must_have_shape(&c, "Z");
	assert_int_equal(c.len, 4);
	must_return(&f, "one short", bytes, hole - 1, false, &c);
	must_have_shape(&c, "K");
	memset(bytes + hole + 1, 'x', 1000);
	must_return(&f, "in the middle", bytes, len, false, &c);
	must_have_shape(&c, "ZKZ");
	bytes[0] = 'x';
	must_return(&f, "at the start", bytes, len, false, &c);
	must_have_shape(&c, "KZKZ");
	bytes[1] = 'x';
	must_return(&f, "too short now", bytes, len, false, &c);
	must_have_shape(&c, "KZ");
	bytes[len - 1] = 'x';
	must_return(&f, "at the end", bytes, len, false, &c);
	must_have_shape(&c, "KZK");
	fixture_fini(&f);
	free(bytes);
}

/* A file that no disk here could hold: mostly zeros, with `noise_len` bytes of
 * noise at every multiple of `period`. */
struct synthetic {
	uint64_t size, period;
	size_t noise_len;
};

static uint8_t
synthetic_byte(const struct synthetic *s, uint64_t off)
{
	uint64_t z = (off + 1) * UINT64_C(0x9e3779b97f4a7c15);

	if (off % s->period >= s->noise_len)
		return 0;
	return (uint8_t)((z ^ z >> 29) >> 8);
}

static enum err
read_synthetic(void *arg, uint64_t off, void *buf, size_t len)
{
	const struct synthetic *s = arg;
	uint8_t *out = buf;

	memset(out, 0, len);
	for (uint64_t at = off - off % s->period; at < off + len;
	     at += s->period)
		for (size_t i = 0; i < s->noise_len; i++)
			if (at + i >= off && at + i < off + len)
				out[at + i - off] = synthetic_byte(s, at + i);
	return OK;
}

static void
check_synthetic(struct fixture *f, struct synthetic *s, struct content *c)
{
	uint8_t *buf = malloc(70000);
	struct rng rng;
	uint64_t size;

	assert_non_null(buf);
	assert_int_equal(content_store_stream(f->sealer, &f->sink, s->size,
			     read_synthetic, s, c),
	    OK);
	assert_int_equal(content_size(c, &size), OK);
	assert_int_equal(size, s->size);
	rng_init(&rng, s->size);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t off = rng_below(&rng, s->size - 70000);
		size_t got;

		if (i % 2)
			off -= off % s->period; /* where noise begins */
		assert_int_equal(
		    content_read(f->reader, c, off, buf, 70000, &got), OK);
		assert_int_equal(got, 70000);
		for (size_t k = 0; k < got; k += 1 + k % 7)
			assert_int_equal(buf[k], synthetic_byte(s, off + k));
	}
	free(buf);
}

static void
a_file_larger_than_memory_is_stored(void **state)
{
	struct synthetic s = { .size = (UINT64_C(3) << 30) + 12345,
		.period = UINT64_C(200) << 20,
		.noise_len = 300000 };
	struct fixture f;
	struct content c;

	(void)state;
	fixture_init(&f, CACHE);
	check_synthetic(&f, &s, &c);
	fixture_fini(&f);
}

static void
a_recipe_longer_than_a_block_nests(void **state)
{
	/* 3,000 pieces of noise: about 230 KB of recipe */
	struct synthetic s = { .size = 3000 * UINT64_C(66000),
		.period = 66000,
		.noise_len = 400 };
	struct fixture f;
	struct content c;
	uint64_t refs = 0;

	(void)state;
	fixture_init(&f, 100000);
	check_synthetic(&f, &s, &c);
	must_have_shape(&c, "S");
	assert_int_equal(content_refs(f.reader, &c, count_ref, &refs), OK);
	/* the pieces, four recipes, and one above them */
	assert_int_equal(refs, 3000 + 4 + 1);
	fixture_fini(&f);
}

/* ---- golden ------------------------------------------------------------- */

static void
golden_sample(void *arg, const char *path, const uint8_t *bytes, size_t len)
{
	static const char *const golden[][2] = {
		{ "01_picnic.",
		    "3f82a1255d713efcf8b4018cb6d13e6649b77c1555e91b49"
		    "e316cdf59fed2c70" },
		{ "08_photo.",
		    "7e1a403f192862a317b319efbfaa720472c207d86ec771ff"
		    "40d04d9f167217b4" },
		{ "10_newsletter.",
		    "63fb445d93cab497e44599b2c35db699c147b045e1efaf58"
		    "62bd7ce429f61bd9" },
		{ "24_crlf_base64.",
		    "4e6ff4a9e88cd52e6de996d1e3a0b61e9e34f2d6eee9b3e9"
		    "367e2ab1e0c64480" },
		{ "30_text_in",
		    "3dab802b8c5b448a2bc984eb201ed972a806a609c82f4234"
		    "0b3b3cdff2012d5a" },
	};
	struct fixture *f = arg;
	struct content c;
	struct id id;
	char hex[ID_HEX + 1];

	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		if (!strstr(path, golden[i][0]))
			continue;
		assert_int_equal(
		    content_store(f->sealer, &f->sink, bytes, len, true, &c),
		    OK);
		hash_bytes(c.bytes, c.len, &id);
		id_to_hex(&id, hex);
		if (strcmp(hex, golden[i][1]) != 0)
			print_error("%s: %s\n", path, hex);
		assert_string_equal(hex, golden[i][1]);
	}
}

static void
known_mails_have_known_recipes(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, CACHE);
	(void)each_mail(SAMPLES, golden_sample, &f);
	fixture_fini(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_sample_returns_byte_for_byte),
		cmocka_unit_test(mails_made_by_chance_return),
		cmocka_unit_test(
		    a_recipe_has_the_shape_that_the_header_promises),
		cmocka_unit_test(short_files_stand_in_the_row),
		cmocka_unit_test(a_part_of_many_blocks_is_read_at_any_place),
		cmocka_unit_test(a_read_opens_only_what_its_range_needs),
		cmocka_unit_test(a_long_text_between_parts_is_no_literal),
		cmocka_unit_test(what_does_not_come_back_is_stored_as_it_is),
		cmocka_unit_test(a_stream_gives_the_recipe_that_memory_gives),
		cmocka_unit_test(runs_of_zeros_become_holes),
		cmocka_unit_test(a_file_larger_than_memory_is_stored),
		cmocka_unit_test(a_recipe_longer_than_a_block_nests),
		cmocka_unit_test(known_mails_have_known_recipes),
		cmocka_unit_test(every_corpus_mail_returns_byte_for_byte),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
