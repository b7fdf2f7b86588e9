/* Staging against a plain buffer that does the same; what happens when the
 * disk fails is in tests/fault/staging.c. */
#include "overlay/base/rng.h"
#include "store/staging_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGE STAGING_PAGE
#define INO 0x1234u
#define SHADOW_MAX (70u * PAGE) /* more than four leaves */
#define SHADOW_PAGES (SHADOW_MAX / PAGE)

static const struct key pool_key = { "a key for the tests of staging.." };

struct shadow {
	struct disk *d;
	struct staging_pool *pool;
	struct staging *s;
	struct rng rng;
	uint64_t seed, size;
	uint8_t *bytes, *base;
	uint64_t base_size;
	bool dirty[SHADOW_PAGES];
	bool may_be_dirty[SHADOW_PAGES];
};

static enum err
read_base(void *arg, uint64_t off, void *buf, size_t len)
{
	struct shadow *w = arg;

	assert_true(len > 0 && off + len <= w->base_size);
	memcpy(buf, w->base + off, len);
	return OK;
}

static void
noise(struct rng *r, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)rng_u64(r);
}

static void
shadow_init(struct shadow *w, uint64_t seed, size_t memory, uint64_t base_size)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(crypto_init(), OK);
	w->seed = seed;
	rng_init(&w->rng, seed);
	w->bytes = calloc(1, SHADOW_MAX);
	w->base = calloc(1, SHADOW_MAX);
	assert_true(w->bytes && w->base);
	noise(&w->rng, w->base, base_size);
	memcpy(w->bytes, w->base, base_size);
	w->size = w->base_size = base_size;
	assert_int_equal(disk_mem_new(seed, &w->d), OK);
	assert_int_equal(
	    staging_pool_new(w->d, &pool_key, memory, &w->pool), OK);
	assert_int_equal(staging_new(w->pool, INO, base_size,
			     base_size ? read_base : NULL, w, &w->s),
	    OK);
}

static enum err
count_entry(void *arg, const char *entry)
{
	(void)entry;
	++*(unsigned *)arg;
	return OK;
}

static unsigned
files_in_local(struct disk *d)
{
	unsigned n = 0;

	assert_int_equal(disk_list(d, "local", count_entry, &n), OK);
	return n;
}

static void
shadow_fini(struct shadow *w)
{
	staging_free(w->s);
	assert_int_equal(staging_pool_used(w->pool), 0);
	staging_pool_free(w->pool);
	disk_close(w->d);
	free(w->bytes);
	free(w->base);
}

static void
check_read(struct shadow *w, uint64_t off, size_t len)
{
	uint8_t *got = malloc(len ? len : 1);
	size_t n, want = 0;

	assert_non_null(got);
	if (off < w->size)
		want = len < w->size - off ? len : (size_t)(w->size - off);
	assert_int_equal(staging_read(w->s, off, got, len, &n), OK);
	assert_int_equal(n, want);
	assert_memory_equal(got, w->bytes + (want ? off : 0), want);
	free(got);
}

/* Data must be told as data; what is told as a hole must be zeros. */
static void
check_seek(struct shadow *w)
{
	uint64_t at = 0, next;
	bool hole = false;

	while (staging_seek(w->s, at, !hole, &next) == OK) {
		assert_true(next <= w->size && (next > at || !at || !hole));
		if (hole)
			for (uint64_t i = at; i < next; i++)
				assert_int_equal(w->bytes[i], 0);
		at = next;
		hole = !hole;
	}
	if (hole)
		for (; at < w->size; at++)
			assert_int_equal(w->bytes[at], 0);
}

static void
check_dirty(struct shadow *w)
{
	bool told[SHADOW_PAGES] = { false };
	uint64_t off = 0, len, max = 1 + rng_below(&w->rng, 5 * PAGE);

	while (staging_next_dirty(w->s, &off, &len, max)) {
		assert_true(len > 0 && len <= max && off + len <= w->size);
		for (uint64_t p = off / PAGE; p < pages_of(off + len); p++)
			told[p] = true;
		off += len;
	}
	for (unsigned p = 0; p < SHADOW_PAGES; p++) {
		if (w->dirty[p])
			assert_true(told[p]);
		if (told[p])
			assert_true(w->may_be_dirty[p]);
	}
}

static void
mark(bool *flags, uint64_t off, uint64_t end, bool value)
{
	for (uint64_t p = off / PAGE; p < pages_of(end); p++)
		flags[p] = value;
}

static void
reopen(struct shadow *w)
{
	assert_int_equal(staging_keep(w->s), OK);
	staging_free(w->s);
	assert_int_equal(files_in_local(w->d), 1);
	assert_int_equal(staging_open_kept(w->pool, INO, w->size, &w->s), OK);
	memset(w->dirty, 0, sizeof(w->dirty));
	memset(w->may_be_dirty, 0, sizeof(w->may_be_dirty));
}

static uint64_t
some_offset(struct shadow *w, uint64_t below)
{
	uint64_t off = rng_below(&w->rng, below);

	return rng_below(&w->rng, 3) ? off : off - off % PAGE;
}

static void
step(struct shadow *w)
{
	uint64_t version = staging_version(w->s), off, len, end;
	uint8_t buf[9 * PAGE];

	switch (rng_below(&w->rng, 12)) {
	default:
		off = some_offset(w, SHADOW_MAX - sizeof(buf));
		if (rng_below(&w->rng, 2))
			off =
			    w->size < SHADOW_MAX - sizeof(buf) ? w->size : off;
		len = some_offset(w, rng_below(&w->rng, 2) ? 200 : sizeof(buf));
		noise(&w->rng, buf, len);
		assert_int_equal(staging_write(w->s, off, buf, len), OK);
		if (len == 0)
			break;
		assert_true(staging_version(w->s) > version);
		memcpy(w->bytes + off, buf, len);
		mark(w->dirty, off, off + len, true);
		mark(w->may_be_dirty, off, off + len, true);
		if (w->size < off + len)
			w->size = off + len;
		break;
	case 0:
		off = some_offset(w, SHADOW_MAX);
		assert_int_equal(staging_truncate(w->s, off), OK);
		assert_true(staging_version(w->s) > version);
		if (off < w->size) {
			memset(w->bytes + off, 0, w->size - off);
			for (uint64_t p = pages_of(off); p < SHADOW_PAGES; p++)
				w->dirty[p] = w->may_be_dirty[p] = false;
		}
		w->size = off;
		break;
	case 1:
		off = some_offset(w, SHADOW_MAX);
		len = some_offset(w, rng_below(&w->rng, 2) ? SHADOW_MAX : PAGE);
		assert_int_equal(staging_punch(w->s, off, len), OK);
		end = off + len < w->size ? off + len : w->size;
		if (off < end)
			memset(w->bytes + off, 0, end - off);
		break;
	case 2:
		off = some_offset(w, SHADOW_MAX);
		len = rng_below(&w->rng, SHADOW_MAX);
		staging_clean(w->s, off, len);
		if (len)
			mark(w->dirty, off,
			    off + len < SHADOW_MAX ? off + len : SHADOW_MAX,
			    false);
		memcpy(w->may_be_dirty, w->dirty, sizeof(w->dirty));
		break;
	case 3:
	case 4:
		check_read(w, some_offset(w, SHADOW_MAX),
		    rng_below(&w->rng, SHADOW_MAX));
		break;
	case 5:
		/* Half of those with a base leave it, at any moment. */
		if (w->base_size && w->seed / 16 % 2)
			break;
		if (rng_below(&w->rng, 3) == 0)
			reopen(w);
		else
			assert_int_equal(staging_keep(w->s), OK);
		break;
	}
	assert_int_equal(staging_size(w->s), w->size);
}

static void
run(uint64_t seed, size_t memory, uint64_t base_size)
{
	struct shadow w;

	print_message("seed %u, memory %u, base %u\n", (unsigned)seed,
	    (unsigned)memory, (unsigned)base_size);
	shadow_init(&w, seed, memory, base_size);
	for (unsigned i = 0; i < 300; i++) {
		step(&w);
		if (i % 10 == 9) {
			check_read(&w, 0, SHADOW_MAX);
			check_seek(&w);
			check_dirty(&w);
			assert_true(staging_allocated(w.s) <= SHADOW_MAX);
		}
	}
	shadow_fini(&w);
}

static void
random_operations_match_a_plain_buffer(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 120; seed++) {
		static const size_t memory[] = { 0, 3 * PAGE, 20 * PAGE,
			1 << 20 };
		static const uint64_t base[] = { 0, 0, 5000, 37 * PAGE };

		run(seed, memory[seed % 4], base[seed / 4 % 4]);
	}
}

static void
a_small_mail_costs_what_it_holds(void **state)
{
	static uint8_t mail[10000];
	struct shadow w;

	(void)state;
	shadow_init(&w, 1, 1 << 20, 0);
	assert_int_equal(staging_write(w.s, 0, mail, 10000), OK);
	assert_int_equal(staging_pool_used(w.pool), 3 * PAGE);
	assert_int_equal(staging_allocated(w.s), 3 * PAGE);
	assert_int_equal(files_in_local(w.d), 0);
	shadow_fini(&w);
}

static void
a_sparse_file_costs_what_it_has(void **state)
{
	uint64_t end = STAGING_SIZE_MAX, off = 0, len, out;
	struct shadow w;
	uint8_t got[2];
	size_t n;

	(void)state;
	shadow_init(&w, 1, 1 << 20, 0);
	assert_int_equal(staging_write(w.s, end - 1, "x", 1), OK);
	assert_int_equal(staging_write(w.s, end - 1, "xy", 2), ERR_TOO_BIG);
	assert_int_equal(staging_write(w.s, end, "x", 1), ERR_TOO_BIG);
	assert_int_equal(staging_truncate(w.s, end + 1), ERR_TOO_BIG);
	assert_int_equal(staging_size(w.s), end);
	assert_int_equal(staging_pool_used(w.pool), PAGE);
	assert_int_equal(staging_read(w.s, end - 2, got, 2, &n), OK);
	assert_int_equal(n, 2);
	assert_memory_equal(got, "\0x", 2);
	assert_int_equal(staging_seek(w.s, 0, false, &out), OK);
	assert_int_equal(out, end - PAGE);
	assert_int_equal(staging_seek(w.s, 0, true, &out), OK);
	assert_int_equal(out, 0);
	assert_int_equal(staging_seek(w.s, end - 1, true, &out), OK);
	assert_int_equal(out, end);
	assert_int_equal(staging_seek(w.s, end, true, &out), ERR_ABSENT);
	assert_true(staging_next_dirty(w.s, &off, &len, UINT64_MAX));
	assert_int_equal(off, end - PAGE);
	assert_int_equal(len, PAGE);
	assert_int_equal(staging_punch(w.s, 0, end), OK);
	assert_int_equal(staging_pool_used(w.pool), 0);
	shadow_fini(&w);
}

static void
over_the_limit_pages_go_to_the_page_file(void **state)
{
	static uint8_t chunk[LEAF_PAGES * PAGE];
	struct shadow w;
	uint64_t total = 0;

	(void)state;
	shadow_init(&w, 1, 200 << 10, 0);
	memset(chunk, 'x', sizeof(chunk));
	for (unsigned i = 0; i < 60; i++, total += sizeof(chunk)) {
		assert_int_equal(
		    staging_write(w.s, total, chunk, sizeof(chunk)), OK);
		assert_true(
		    staging_pool_used(w.pool) <= (200 << 10) + sizeof(chunk));
	}
	assert_int_equal(files_in_local(w.d), 1);
	assert_int_equal(staging_allocated(w.s), total);
	for (uint64_t off = 0; off < total; off += sizeof(chunk)) {
		static uint8_t got[sizeof(chunk)];
		size_t n;

		assert_int_equal(
		    staging_read(w.s, off, got, sizeof(got), &n), OK);
		assert_int_equal(n, sizeof(got));
		assert_memory_equal(got, chunk, n);
	}
	staging_free(w.s);
	w.s = NULL;
	assert_int_equal(files_in_local(w.d), 0);
	shadow_fini(&w);
}

static void
a_kept_file_opens_again_and_is_gone_when_discarded(void **state)
{
	struct shadow w;

	(void)state;
	shadow_init(&w, 1, 1 << 20, 0);
	assert_int_equal(staging_write(w.s, 5000, "mail", 4), OK);
	memcpy(w.bytes + 5000, "mail", 4);
	w.size = 5004;
	assert_int_equal(staging_keep(w.s), OK);
	staging_free(w.s);
	disk_mem_crash(w.d);
	assert_int_equal(staging_open_kept(w.pool, INO, w.size, &w.s), OK);
	check_read(&w, 0, SHADOW_MAX);
	assert_false(staging_is_dirty(w.s));
	staging_free(w.s);
	w.s = NULL;
	assert_int_equal(staging_discard(w.pool, INO), OK);
	assert_int_equal(staging_discard(w.pool, INO), OK);
	assert_int_equal(files_in_local(w.d), 0);
	assert_int_equal(
	    staging_open_kept(w.pool, INO, w.size, &w.s), ERR_CORRUPT);
	shadow_fini(&w);
}

static void
a_kept_file_can_be_longer_than_what_the_checkpoint_knew(void **state)
{
	struct shadow w;
	uint8_t ten[10000];

	(void)state;
	shadow_init(&w, 1, 1 << 20, 0);
	memset(ten, 'x', sizeof(ten));
	assert_int_equal(staging_write(w.s, 0, ten, sizeof(ten)), OK);
	assert_int_equal(staging_keep(w.s), OK);
	staging_free(w.s);
	/* The size that counts is the one given; the rest is not there, also
	 * not when the file grows over it. */
	memset(w.bytes, 'x', 100);
	w.size = 100;
	assert_int_equal(staging_open_kept(w.pool, INO, 100, &w.s), OK);
	for (unsigned i = 0; i < 3; i++) {
		check_read(&w, 0, SHADOW_MAX);
		w.size += 7000;
		assert_int_equal(staging_truncate(w.s, w.size), OK);
		check_read(&w, 0, SHADOW_MAX);
		reopen(&w);
	}
	check_read(&w, 0, SHADOW_MAX);
	shadow_fini(&w);
}

static void
what_a_dead_process_spilled_is_swept(void **state)
{
	static uint8_t chunk[40 * PAGE];
	struct staging_pool *pool;
	struct shadow w;

	(void)state;
	shadow_init(&w, 1, 0, 0);
	assert_int_equal(staging_write(w.s, 0, chunk, sizeof(chunk)), OK);
	assert_int_equal(staging_write(w.s, 0, chunk, sizeof(chunk)), OK);
	assert_int_equal(files_in_local(w.d), 1);
	assert_int_equal(staging_pool_new(w.d, &pool_key, 0, &pool), OK);
	assert_int_equal(files_in_local(w.d), 0);
	staging_pool_free(pool);
	shadow_fini(&w);
}

/* ---- the format --------------------------------------------------------- */

static void
slot_of_golden(uint8_t slot[SLOT_BYTES], uint8_t page[PAGE])
{
	static const uint8_t nonce[NONCE_BYTES] = "twelve bytes";
	struct key file;

	for (unsigned i = 0; i < PAGE; i++)
		page[i] = (uint8_t)(i * 7 + i / 256);
	key_derive(&pool_key, "post page file", INO, &file);
	slot_seal(&file, 3, nonce, page, slot);
}

static void
a_slot_has_the_bytes_it_always_had(void **state)
{
	/* BLAKE2b-256 of the slot. */
	static const uint8_t want_hash[] = {
		0xd1,
		0x74,
		0x5d,
		0xc9,
		0xb8,
		0x8b,
		0xf2,
		0xb1,
		0x9d,
		0x3a,
		0x64,
		0x0c,
		0xb1,
		0xf7,
		0xcf,
		0x0d,
		0x0b,
		0x70,
		0x51,
		0x53,
		0x7e,
		0xfa,
		0x23,
		0xd3,
		0xb6,
		0xb2,
		0x27,
		0xbf,
		0x59,
		0xc8,
		0x66,
		0x9b,
	};
	uint8_t slot[SLOT_BYTES], page[PAGE], got[PAGE];
	struct key file;
	struct id hash;

	(void)state;
	assert_int_equal(crypto_init(), OK);
	slot_of_golden(slot, page);
	assert_memory_equal(slot, "twelve bytes", NONCE_BYTES);
	hash_bytes(slot, sizeof(slot), &hash);
	if (getenv("PRINT_GOLDEN")) {
		for (size_t i = 0; i < sizeof(hash.b); i++)
			printf("\\x%02x", hash.b[i]);
		printf("\n");
	}
	assert_memory_equal(hash.b, want_hash, sizeof(hash.b));
	key_derive(&pool_key, "post page file", INO, &file);
	assert_int_equal(slot_open(&file, 3, slot, got), OK);
	assert_memory_equal(got, page, PAGE);
	/* In another place or file it is none. */
	assert_int_equal(slot_open(&file, 4, slot, got), ERR_CORRUPT);
	key_derive(&pool_key, "post page file", INO + 1, &file);
	assert_int_equal(slot_open(&file, 3, slot, got), ERR_CORRUPT);
}

static void
every_flipped_bit_of_a_slot_is_noticed(void **state)
{
	uint8_t slot[SLOT_BYTES], page[PAGE], got[PAGE];
	struct key file;

	(void)state;
	assert_int_equal(crypto_init(), OK);
	slot_of_golden(slot, page);
	key_derive(&pool_key, "post page file", INO, &file);
	/* All of the nonce and the tag, and some of each byte between. */
	for (size_t bit = 0; bit < SLOT_BYTES * 8;
	     bit +=
	     bit / 8 < NONCE_BYTES || bit / 8 >= NONCE_BYTES + PAGE ? 1 : 7) {
		slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(slot_open(&file, 3, slot, got), ERR_CORRUPT);
		slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	memset(slot, 0, sizeof(slot));
	assert_int_equal(slot_open(&file, 3, slot, got), ERR_ABSENT);
}

static void
a_damaged_slot_is_told_and_its_neighbours_are_read(void **state)
{
	char name[] = "local/0000000000001234";
	struct shadow w;
	uint8_t got[PAGE];
	size_t n;

	(void)state;
	shadow_init(&w, 1, 1 << 20, 0);
	for (unsigned p = 0; p < 3; p++) {
		memset(w.bytes + p * PAGE, 'a' + (int)p, PAGE);
		assert_int_equal(
		    staging_write(w.s, p * PAGE, w.bytes + p * PAGE, PAGE), OK);
	}
	w.size = 3 * PAGE;
	reopen(&w);
	assert_int_equal(disk_mem_flip(w.d, name, (SLOT_BYTES + 100) * 8), OK);
	check_read(&w, 0, PAGE);
	check_read(&w, 2 * PAGE, PAGE);
	assert_int_equal(staging_read(w.s, PAGE + 5, got, 10, &n), ERR_CORRUPT);
	assert_int_equal(n, 0);
	assert_int_equal(staging_write(w.s, PAGE + 5, "x", 1), ERR_CORRUPT);
	assert_int_equal(staging_version(w.s), 0);
	/* Written as a whole, it is well again. */
	assert_int_equal(staging_write(w.s, PAGE, w.bytes + PAGE, PAGE), OK);
	reopen(&w);
	check_read(&w, 0, 3 * PAGE);
	shadow_fini(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_match_a_plain_buffer),
		cmocka_unit_test(a_small_mail_costs_what_it_holds),
		cmocka_unit_test(a_sparse_file_costs_what_it_has),
		cmocka_unit_test(over_the_limit_pages_go_to_the_page_file),
		cmocka_unit_test(
		    a_kept_file_opens_again_and_is_gone_when_discarded),
		cmocka_unit_test(
		    a_kept_file_can_be_longer_than_what_the_checkpoint_knew),
		cmocka_unit_test(what_a_dead_process_spilled_is_swept),
		cmocka_unit_test(a_slot_has_the_bytes_it_always_had),
		cmocka_unit_test(every_flipped_bit_of_a_slot_is_noticed),
		cmocka_unit_test(
		    a_damaged_slot_is_told_and_its_neighbours_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
