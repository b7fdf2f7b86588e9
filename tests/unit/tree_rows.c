/* The rows of the tree: bytes of the format. */
#include "overlay/base/crypto.h"
#include "overlay/base/rng.h"
#include "overlay/base/wire.h"
#include "store/tree_private.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#define MAIL_NS INT64_C(1719848471123456789)
#define DIR_NS (INT64_C(1719845398) * 1000000000)

static const struct inode a_mail = {
	.ino = 0x1234,
	.size = 5000,
	.mtime_ns = MAIL_NS,
	.ctime_ns = MAIL_NS + 4000000,
	.atime_ns = MAIL_NS,
	.btime_ns = MAIL_NS - 1000000,
	.mode = S_IFREG | 0600,
	.uid = 1000,
	.gid = 1000,
	.nlink = 1,
	.shared_links = 1,
	.owner = 1,
	.data = DATA_RECIPE,
	.content = { .len = 3, .bytes = { 0xaa, 0xbb, 0xcc } },
};

static const struct inode a_directory = {
	.ino = 0x1234,
	.parent = 1,
	.mtime_ns = DIR_NS,
	.ctime_ns = DIR_NS + 1,
	.atime_ns = DIR_NS,
	.btime_ns = DIR_NS,
	.mode = S_IFDIR | 01600,
	.uid = 1000,
	.gid = 8,
	.nlink = 5,
	.owner = 2,
};

static const struct inode the_longest = {
	.ino = 0x1234,
	.parent = UINT64_MAX,
	.size = UINT64_MAX,
	.rdev = UINT64_MAX,
	.mtime_ns = -1,
	.ctime_ns = INT64_MIN,
	.atime_ns = INT64_MIN + 1,
	.btime_ns = INT64_MAX,
	.mode = UINT32_MAX,
	.uid = UINT32_MAX,
	.gid = UINT32_MAX - 1,
	.nlink = UINT32_MAX,
	.shared_links = UINT32_MAX,
	.owner = UINT16_MAX,
	.data = DATA_LINK,
	.content = { .len = CONTENT_MAX, .bytes = "where it leads" },
};

static void
assert_same_inode(const struct inode *a, const struct inode *b)
{
	assert_int_equal(a->ino, b->ino);
	assert_int_equal(a->parent, b->parent);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->rdev, b->rdev);
	assert_int_equal(a->mtime_ns, b->mtime_ns);
	assert_int_equal(a->ctime_ns, b->ctime_ns);
	assert_int_equal(a->atime_ns, b->atime_ns);
	assert_int_equal(a->btime_ns, b->btime_ns);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->nlink, b->nlink);
	assert_int_equal(a->shared_links, b->shared_links);
	assert_int_equal(a->owner, b->owner);
	assert_int_equal(a->data, b->data);
	assert_int_equal(a->content.len, b->content.len);
	assert_memory_equal(a->content.bytes, b->content.bytes, a->content.len);
}

/* A heap block of exactly this size, so that reading past it shows. */
static uint8_t *
exact_copy(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len + !len);

	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

static enum err
decode_exact(const uint8_t *bytes, size_t len, struct inode *out)
{
	uint8_t *copy = exact_copy(bytes, len);
	enum err e = inode_decode(0x1234, copy, len, out);

	free(copy);
	return e;
}

static size_t
encode(const struct inode *i, uint8_t row[INODE_ROW_MAX])
{
	size_t len = 0;

	assert_int_equal(inode_encode(i, row, INODE_ROW_MAX, &len), OK);
	return len;
}

/* An inode that was decoded has only the row it was decoded from. */
static void
assert_only_row(const struct inode *i, const uint8_t *row, size_t len)
{
	uint8_t again[INODE_ROW_MAX];

	assert_int_equal(encode(i, again), len);
	assert_memory_equal(again, row, len);
}

static void
assert_golden(const struct inode *i, const uint8_t *golden, size_t golden_len)
{
	struct inode got;

	assert_only_row(i, golden, golden_len);
	assert_int_equal(decode_exact(golden, golden_len, &got), OK);
	assert_same_inode(i, &got);
}

static void
a_mails_row_is_these_bytes(void **state)
{
	/* clang-format off */
	static const uint8_t golden[] = {
		0x10, 0x05,			/* form; CTIME, BTIME */
		0x88, 0x30,			/* mode */
		0xe8, 0x07,			/* uid */
		0x01,				/* owner */
		0x88, 0x27,			/* size */
		0x17, 0xde, 0x21, 0x12, 0x84, 0xcf, 0xf3, 0x15, /* mtime */
		0x80, 0xa4, 0xe8, 0x03,		/* ctime */
		0xff, 0x88, 0x7a,		/* btime */
		0xaa, 0xbb, 0xcc,		/* content */
	};
	/* clang-format on */

	(void)state;
	assert_golden(&a_mail, golden, sizeof(golden));
}

static void
a_directorys_row_is_these_bytes(void **state)
{
	/* clang-format off */
	static const uint8_t golden[] = {
		0x14, 0x59,			/* WHOLE; CTIME, LINKS, PARENT, GID */
		0x84, 0x70,			/* mode */
		0xe8, 0x07, 0x08,		/* uid, gid */
		0x02,				/* owner */
		0x00,				/* size */
		0xac, 0x88, 0x96, 0xe8, 0x0c,	/* mtime, seconds */
		0x02,				/* ctime */
		0x05, 0x00,			/* nlink, shared */
		0x01,				/* parent */
	};
	/* clang-format on */

	(void)state;
	assert_golden(&a_directory, golden, sizeof(golden));
}

static uint64_t
odd_number(struct rng *r)
{
	switch (rng_below(r, 4)) {
	case 0:
		return rng_below(r, 3);
	case 1:
		return UINT64_MAX - rng_below(r, 3);
	default:
		return rng_u64(r) >> rng_below(r, 64);
	}
}

static int64_t
odd_time(struct rng *r, int64_t usual)
{
	return rng_below(r, 2) ? usual : (int64_t)odd_number(r);
}

static void
every_inode_comes_back_from_its_row(void **state)
{
	struct inode i = the_longest, got;
	uint8_t row[INODE_ROW_MAX];
	struct rng r;

	(void)state;
	rng_init(&r, 1);
	for (unsigned n = 0; n < 20000; n++) {
		size_t len = encode(&i, row);

		assert_int_equal(decode_exact(row, len, &got), OK);
		assert_same_inode(&i, &got);

		i.parent = odd_number(&r);
		i.size = odd_number(&r);
		i.rdev = odd_number(&r);
		i.mtime_ns = (int64_t)odd_number(&r);
		if (rng_below(&r, 2))
			i.mtime_ns -= i.mtime_ns % 1000000000;
		i.ctime_ns = odd_time(&r, i.mtime_ns);
		i.atime_ns = odd_time(&r, i.mtime_ns);
		i.btime_ns = odd_time(&r, i.mtime_ns);
		i.mode = (uint32_t)odd_number(&r);
		i.uid = (uint32_t)odd_number(&r);
		i.gid = rng_below(&r, 2) ? i.uid : (uint32_t)odd_number(&r);
		i.nlink = (uint32_t)odd_number(&r);
		i.shared_links = (uint32_t)odd_number(&r);
		i.owner = (uint16_t)odd_number(&r);
		i.data = (uint8_t)rng_below(&r, 3);
		i.content.len = (uint16_t)rng_below(&r, CONTENT_MAX + 1);
	}
}

static void
a_buffer_too_short_is_noticed(void **state)
{
	uint8_t row[INODE_ROW_MAX];
	size_t len = encode(&the_longest, row), again;

	(void)state;
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = exact_copy(row, n);

		assert_int_equal(
		    inode_encode(&the_longest, cut, n, &again), ERR_RANGE);
		free(cut);
	}
}

/* The content is what is left, so a cut in it makes another, shorter row. */
static void
every_prefix_is_malformed_or_another_row(void **state)
{
	const struct inode *i[] = { &a_mail, &a_directory, &the_longest };
	uint8_t row[INODE_ROW_MAX];
	struct inode got;

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		size_t len = encode(i[k], row);

		for (size_t n = 0; n < len; n++) {
			enum err e = decode_exact(row, n, &got);

			if (n < len - i[k]->content.len) {
				assert_int_equal(e, ERR_MALFORMED);
			} else {
				assert_int_equal(e, OK);
				assert_only_row(&got, row, n);
			}
		}
	}
}

static void
every_flipped_bit_is_refused_or_another_inode(void **state)
{
	const struct inode *i[] = { &a_mail, &a_directory, &the_longest };
	unsigned refused = 0, taken = 0;
	uint8_t row[INODE_ROW_MAX];
	struct inode got;

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		size_t len = encode(i[k], row);

		for (size_t bit = 0; bit < 8 * len; bit++) {
			enum err e;

			row[bit / 8] ^= (uint8_t)(1u << bit % 8);
			e = decode_exact(row, len, &got);
			if (e) {
				assert_true(
				    e == ERR_MALFORMED || e == ERR_NEWER);
				refused++;
			} else {
				assert_only_row(&got, row, len);
				taken++;
			}
			row[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_true(refused > 20 && taken > 20);
}

static void
what_is_there_without_need_is_refused(void **state)
{
	/* clang-format off */
	static const struct {
		uint8_t bytes[16];
		size_t len;
	} bad[] = {
		/* a time, gid, links, parent, rdev as if they were absent */
		{ { 0x14, 0x01, 0, 0, 0, 0, 0, 0 }, 8 },
		{ { 0x14, 0x02, 0, 0, 0, 0, 0, 0 }, 8 },
		{ { 0x14, 0x04, 0, 0, 0, 0, 0, 0 }, 8 },
		{ { 0x14, 0x40, 0, 5, 5, 0, 0, 0 }, 8 },
		{ { 0x14, 0x08, 0, 0, 0, 0, 0, 1, 1 }, 9 },
		{ { 0x14, 0x10, 0, 0, 0, 0, 0, 0 }, 8 },
		{ { 0x14, 0x20, 0, 0, 0, 0, 0, 0 }, 8 },
		/* whole seconds as nanoseconds */
		{ { 0x10, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 14 },
		/* more seconds than nanoseconds can say */
		{ { 0x14, 0x00, 0, 0, 0, 0,
		    0x80, 0x80, 0x80, 0x80, 0x80, 0x01 }, 12 },
		/* data 3, the bits that are zero, version 0 */
		{ { 0x17, 0x00, 0, 0, 0, 0, 0 }, 7 },
		{ { 0x1c, 0x00, 0, 0, 0, 0, 0 }, 7 },
		{ { 0x14, 0x80, 0, 0, 0, 0, 0 }, 7 },
		{ { 0x04, 0x00, 0, 0, 0, 0, 0 }, 7 },
		/* owner 65536, uid 2^32 */
		{ { 0x14, 0x00, 0, 0, 0x80, 0x80, 0x04, 0, 0 }, 9 },
		{ { 0x14, 0x00, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0, 0 },
		    11 },
	};
	/* clang-format on */
	static const uint8_t good[] = { 0x14, 0x00, 0, 0, 0, 0, 0 };
	static const uint8_t newer[] = { 0x24, 0x00, 0, 0, 0, 0, 0 };
	uint8_t full[7 + CONTENT_MAX + 1] = { 0x14 };
	struct inode got;

	(void)state;
	assert_int_equal(decode_exact(good, sizeof(good), &got), OK);
	assert_int_equal(decode_exact(newer, sizeof(newer), &got), ERR_NEWER);
	for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++)
		assert_int_equal(decode_exact(bad[n].bytes, bad[n].len, &got),
		    ERR_MALFORMED);
	assert_int_equal(decode_exact(full, sizeof(full) - 1, &got), OK);
	assert_int_equal(decode_exact(full, sizeof(full), &got), ERR_MALFORMED);
}

/* ---- entries ------------------------------------------------------------- */

static const struct entry an_entry = {
	.dir = 5,
	.cookie = 77,
	.ino = 300,
	.type = DT_REG,
	.local = true,
	.name_len = 4,
	.name = "a:2,",
};

static enum err
entry_exact(const uint8_t *bytes, size_t len, struct entry *out)
{
	uint8_t *copy = exact_copy(bytes, len);
	enum err e = entry_decode(5, 77, copy, len, out);

	free(copy);
	return e;
}

static void
an_entrys_row_is_these_bytes(void **state)
{
	static const uint8_t golden[] = { 0xac, 0x02, 0x18, 'a', ':', '2',
		',' };
	static const uint8_t golden_key[] = { 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0,
		0, 0, 0, 0, 77 };
	uint8_t row[ENTRY_ROW_MAX], key[ENTRY_KEY_BYTES];
	struct entry got;
	size_t len;

	(void)state;
	key_two(an_entry.dir, an_entry.cookie, key);
	assert_memory_equal(key, golden_key, sizeof(key));
	assert_int_equal(entry_encode(&an_entry, row, sizeof(row), &len), OK);
	assert_int_equal(len, sizeof(golden));
	assert_memory_equal(row, golden, len);
	assert_int_equal(entry_exact(golden, sizeof(golden), &got), OK);
	assert_int_equal(got.dir, 5);
	assert_int_equal(got.cookie, 77);
	assert_int_equal(got.ino, 300);
	assert_int_equal(got.type, DT_REG);
	assert_true(got.local);
	assert_int_equal(got.name_len, 4);
	assert_string_equal(got.name, "a:2,");
}

static void
a_name_has_its_hash_for_ever(void **state)
{
	(void)state;
	assert_int_equal(crypto_init(), OK);
	assert_true(tree_name_hash("new", 3) == UINT64_C(0x9bae9d5e4321c22f));
}

static void
every_damaged_entry_is_refused_or_another(void **state)
{
	uint8_t row[ENTRY_ROW_MAX + 1], again[ENTRY_ROW_MAX];
	size_t len, again_len;
	struct entry got;

	(void)state;
	assert_int_equal(entry_encode(&an_entry, row, sizeof(row), &len), OK);
	for (size_t n = 0; n <= 3; n++)
		assert_int_equal(entry_exact(row, n, &got), ERR_MALFORMED);
	for (size_t n = 4; n <= len; n++) {
		assert_int_equal(entry_exact(row, n, &got), OK);
		assert_int_equal(got.name_len, n - 3);
	}
	for (size_t bit = 0; bit < 8 * len; bit++) {
		row[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (!entry_exact(row, len, &got)) {
			assert_int_equal(entry_encode(&got, again,
					     sizeof(again), &again_len),
			    OK);
			assert_int_equal(again_len, len);
			assert_memory_equal(again, row, len);
		}
		row[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	row[4] = '/';
	assert_int_equal(entry_exact(row, len, &got), ERR_MALFORMED);
	row[4] = '\0';
	assert_int_equal(entry_exact(row, len, &got), ERR_MALFORMED);
	memset(row, 'x', sizeof(row));
	row[0] = 1;
	row[1] = DT_DIR;
	assert_int_equal(entry_exact(row, 2 + NAME_BYTES_MAX, &got), OK);
	assert_int_equal(
	    entry_exact(row, 3 + NAME_BYTES_MAX, &got), ERR_MALFORMED);
}

/* ---- cookies ------------------------------------------------------------- */

static void
cookies_stay_in_order_and_once(void **state)
{
	static const uint64_t in[] = { 300, 5, 70000, 6, 5 };
	static const uint64_t out[] = { 300, 9, 6, 70000, 5 };
	static const size_t left[] = { 5, 5, 4, 1, 0 };
	static const uint8_t golden[] = { 5, 6, 0xac, 0x02, 0xf0, 0xa2, 0x04 };
	uint8_t row[2][64] = { { 0 } };
	size_t len = 0;
	unsigned at = 0;

	(void)state;
	for (unsigned n = 0; n < 5; n++, at ^= 1)
		assert_int_equal(
		    cookies_add(row[at], len, in[n], row[at ^ 1], &len), OK);
	assert_int_equal(len, sizeof(golden));
	assert_memory_equal(row[at], golden, len);
	for (unsigned n = 0; n < 5; n++, at ^= 1) {
		assert_int_equal(
		    cookies_remove(row[at], len, out[n], row[at ^ 1], &len),
		    OK);
		assert_int_equal(len, left[n]);
	}
}

static void
cookies_out_of_order_or_cut_are_malformed(void **state)
{
	static const uint8_t bad[][2] = { { 5, 5 }, { 6, 5 }, { 5, 0x86 } };
	uint8_t buf[2 + VARINT_MAX];
	size_t len;

	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(
		    cookies_add(bad[n], 2, 9, buf, &len), ERR_MALFORMED);
		assert_int_equal(
		    cookies_remove(bad[n], 2, 9, buf, &len), ERR_MALFORMED);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mails_row_is_these_bytes),
		cmocka_unit_test(a_directorys_row_is_these_bytes),
		cmocka_unit_test(every_inode_comes_back_from_its_row),
		cmocka_unit_test(a_buffer_too_short_is_noticed),
		cmocka_unit_test(every_prefix_is_malformed_or_another_row),
		cmocka_unit_test(every_flipped_bit_is_refused_or_another_inode),
		cmocka_unit_test(what_is_there_without_need_is_refused),
		cmocka_unit_test(an_entrys_row_is_these_bytes),
		cmocka_unit_test(a_name_has_its_hash_for_ever),
		cmocka_unit_test(every_damaged_entry_is_refused_or_another),
		cmocka_unit_test(cookies_stay_in_order_and_once),
		cmocka_unit_test(cookies_out_of_order_or_cut_are_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
