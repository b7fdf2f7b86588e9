/* The bytes of a segment. */
#include "tests/unit/journal_test.h"

static const struct segment_id golden_id = {
	.epoch = 0x10000000aULL, .start = 0x123456, .salt = "sixteen of salt"
};
/* Header, the frames "mail" and "", end. */
static const char golden_hex[] =
    "504f53544a524e31000000010000000a00000000001234567369787465656e20"
    "6f662073616c74000000000000000000065e57f9735895e74127e9beb9d2b593"
    "00000014e2969961c6b88d3ad68f5d72de52e3c3d3c6999700000010703ce30a"
    "a27456db6e44b5a6bd994d9800000000";

static size_t
unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;

	for (; *hex; hex += 2) {
		unsigned v;

		assert_int_equal(sscanf(hex, "%2x", &v), 1);
		out[n++] = (uint8_t)v;
	}
	return n;
}

static size_t
golden_make(uint8_t out[200])
{
	struct key key;
	size_t n = SEGMENT_HEADER_BYTES;

	segment_key(&journal_key, &golden_id, &key);
	segment_header_write(&golden_id, &key, out);
	frame_seal(&golden_id, &key, golden_id.start, "mail", 4, out + n);
	n += 4 + FRAME_EXTRA_BYTES;
	frame_seal(&golden_id, &key, golden_id.start + 4 + FRAME_EXTRA_BYTES,
	    "", 0, out + n);
	n += FRAME_EXTRA_BYTES;
	memset(out + n, 0, FRAME_END_BYTES);
	return n + FRAME_END_BYTES;
}

static void
a_segment_has_the_bytes_it_always_had(void **state)
{
	uint8_t want[200], got[200];
	size_t len;

	(void)state;
	assert_int_equal(crypto_init(), OK);
	len = golden_make(got);
	if (getenv("PRINT_GOLDEN")) {
		for (size_t i = 0; i < len; i++)
			printf("%02x", got[i]);
		printf("\n");
	}
	assert_int_equal(unhex(golden_hex, want), len);
	assert_memory_equal(want, got, len);
}

struct count {
	unsigned frames;
};

static enum err
count_frames(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	struct count *c = arg;

	(void)lsn;
	if (c->frames == 0) {
		assert_int_equal(len, 4);
		assert_memory_equal(bytes, "mail", 4);
	} else {
		assert_int_equal(len, 0);
	}
	c->frames++;
	return OK;
}

static unsigned
replay_bytes(const uint8_t *bytes, size_t len, uint64_t *torn)
{
	struct count c = { 0 };
	struct disk *d = new_disk();
	struct disk_file *f;
	struct journal *j;

	assert_int_equal(disk_mkdir(d, "journal"), OK);
	assert_int_equal(
	    disk_open(d, "journal/000000000000000a", DISK_EXCL, &f), OK);
	assert_int_equal(disk_write(f, 0, bytes, len), OK);
	disk_file_close(f);
	assert_int_equal(
	    journal_open(d, &journal_key, golden_id.start, &j), OK);
	assert_int_equal(journal_replay(j, count_frames, &c, torn), OK);
	/* And it can be written. */
	assert_int_equal(journal_sync(j, append(j, 0)), OK);
	journal_close(j);
	disk_close(d);
	return c.frames;
}

static void
every_prefix_of_a_segment_replays_the_frames_that_are_whole(void **state)
{
	uint8_t bytes[200];
	size_t len, first, second;
	uint64_t torn;

	(void)state;
	assert_int_equal(crypto_init(), OK);
	len = golden_make(bytes);
	first = SEGMENT_HEADER_BYTES + 4 + FRAME_EXTRA_BYTES;
	second = first + FRAME_EXTRA_BYTES;
	for (size_t n = 0; n <= len; n++) {
		unsigned frames = replay_bytes(bytes, n, &torn);

		assert_int_equal(frames, (n >= first) + (n >= second));
		/* A length begins with three zeros, which are no bytes. */
		if ((n >= first && n <= first + 3) || n >= second)
			assert_int_equal(torn, 0);
		else if (n > SEGMENT_HEADER_BYTES + 3)
			assert_true(torn > 0);
	}
}

static void
every_flipped_bit_ends_the_replay_before_it(void **state)
{
	uint8_t bytes[200];
	size_t len, first, second;
	uint64_t torn;

	(void)state;
	assert_int_equal(crypto_init(), OK);
	len = golden_make(bytes);
	first = SEGMENT_HEADER_BYTES + 4 + FRAME_EXTRA_BYTES;
	second = first + FRAME_EXTRA_BYTES;
	for (size_t bit = 0; bit < second * 8; bit++) {
		unsigned frames;

		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		frames = replay_bytes(bytes, len, &torn);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(frames, bit / 8 >= first);
		/* Sixteen, the second frame's length, is one bit from 0: the
		 * end. */
		if (bit / 8 >= SEGMENT_HEADER_BYTES &&
		    bit != (first + 3) * 8 + 4)
			assert_true(torn > 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_segment_has_the_bytes_it_always_had),
		cmocka_unit_test(
		    every_prefix_of_a_segment_replays_the_frames_that_are_whole),
		cmocka_unit_test(every_flipped_bit_ends_the_replay_before_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
