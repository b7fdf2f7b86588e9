/* The journal on a disk that does as it is told; what it does when the disk
 * does not is in tests/fault/journal.c. */
#include "overlay/base/rng.h"
#include "store/journal_private.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct key home_key = { "a key for the tests of journals" };

static size_t
frame_len(unsigned n)
{
	struct rng rng;

	rng_init(&rng, n);
	return (size_t)rng_below(&rng, n % 7 == 0 ? 20000 : 300);
}

/* Frame number n, always the same; *out is the caller's to free. */
static size_t
frame_make(unsigned n, uint8_t **out)
{
	size_t len = frame_len(n);
	uint8_t *b = malloc(len ? len : 1);
	struct rng rng;

	assert_non_null(b);
	rng_init(&rng, n + 1000000);
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rng_u64(&rng);
	*out = b;
	return len;
}

static uint64_t
append(struct journal *j, unsigned n)
{
	uint8_t *b;
	size_t len = frame_make(n, &b);
	uint64_t lsn;

	assert_int_equal(journal_append(j, b, len, &lsn), OK);
	free(b);
	return lsn;
}

struct seen {
	unsigned first, count; /* frames expected from here on */
	uint64_t lsn;
	enum err fail;
};

static enum err
see(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	struct seen *s = arg;
	uint8_t *b;
	size_t want = frame_make(s->first + s->count, &b);

	assert_true(lsn > s->lsn);
	assert_int_equal(len, want);
	assert_memory_equal(bytes, b, len);
	free(b);
	s->lsn = lsn;
	s->count++;
	return s->fail;
}

static struct journal *
open_from(struct disk *d, uint64_t from, struct seen *s, uint64_t *torn)
{
	struct journal *j;

	s->count = 0;
	s->lsn = from;
	assert_int_equal(journal_open(d, &home_key, from, &j), OK);
	assert_int_equal(journal_replay(j, see, s, torn), OK);
	return j;
}

static struct disk *
new_disk(void)
{
	struct disk *d;

	assert_int_equal(crypto_init(), OK);
	assert_int_equal(disk_mem_new(1, &d), OK);
	return d;
}

struct space {
	struct disk *d;
	uint64_t bytes;
	unsigned files;
	char last[64];
};

static enum err
add_size(void *arg, const char *entry)
{
	struct space *s = arg;
	struct disk_file *f;
	uint64_t size;

	snprintf(s->last, sizeof(s->last), "journal/%s", entry);
	assert_int_equal(disk_open(s->d, s->last, DISK_READ, &f), OK);
	assert_int_equal(disk_size(f, &size), OK);
	disk_file_close(f);
	s->bytes += size;
	s->files++;
	return OK;
}

static struct space
space_of(struct disk *d)
{
	struct space s = { .d = d };

	assert_int_equal(disk_list(d, "journal", add_size, &s), OK);
	return s;
}

static void
a_new_journal_is_empty(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	assert_int_equal(s.count, 0);
	assert_int_equal(torn, 0);
	assert_int_equal(journal_end(j), 0);
	assert_int_equal(journal_backlog(j), 0);
	assert_int_equal(journal_write(j, 0), OK);
	assert_int_equal(journal_sync(j, 0), OK);
	assert_int_equal(space_of(d).files, 0);
	journal_close(j);
	disk_close(d);
}

static void
synced_frames_survive_a_power_cut_in_order(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, lsn = 0;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	for (unsigned n = 0; n < 200; n++) {
		uint64_t before = lsn;

		lsn = append(j, n);
		assert_true(lsn > before);
		if (n % 5 == 4)
			assert_int_equal(journal_sync(j, lsn), OK);
	}
	assert_int_equal(journal_sync(j, lsn), OK);
	assert_int_equal(journal_end(j), lsn);
	journal_close(j);
	disk_mem_crash(d);
	j = open_from(d, 0, &s, &torn);
	assert_int_equal(s.count, 200);
	assert_int_equal(s.lsn, lsn);
	assert_int_equal(torn, 0);
	assert_int_equal(journal_end(j), lsn);
	assert_int_equal(journal_backlog(j), lsn);
	journal_close(j);
	disk_close(d);
}

static void
written_frames_survive_a_kill_and_appended_ones_do_not(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, lsn;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	append(j, 0);
	lsn = append(j, 1);
	assert_int_equal(journal_write(j, lsn), OK);
	append(j, 2);
	journal_close(j);
	disk_mem_kill(d);
	j = open_from(d, 0, &s, &torn);
	assert_int_equal(s.count, 2);
	assert_int_equal(s.lsn, lsn);
	journal_close(j);
	disk_close(d);
}

static void
a_sync_after_a_kill_covers_what_the_killed_process_wrote(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct seen s = { 0 };
		struct journal *j;
		uint64_t torn, lsn;
		struct disk *d;

		assert_int_equal(disk_mem_new(seed, &d), OK);
		j = open_from(d, 0, &s, &torn);
		lsn = append(j, 0);
		assert_int_equal(journal_write(j, lsn), OK);
		journal_close(j);
		disk_mem_kill(d);
		j = open_from(d, 0, &s, &torn);
		if (seed % 2)
			lsn = append(j, 1);
		assert_int_equal(journal_sync(j, lsn), OK);
		journal_close(j);
		disk_mem_crash(d);
		j = open_from(d, 0, &s, &torn);
		assert_int_equal(s.count, 1 + seed % 2);
		journal_close(j);
		disk_close(d);
	}
}

static void
frames_before_from_lsn_are_not_replayed(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, at[10];
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	for (unsigned n = 0; n < 10; n++)
		at[n] = append(j, n);
	assert_int_equal(journal_write(j, at[9]), OK);
	journal_close(j);
	for (unsigned n = 0; n < 10; n++) {
		s.first = n + 1;
		j = open_from(d, at[n], &s, &torn);
		assert_int_equal(s.count, 9 - n);
		assert_int_equal(torn, 0);
		assert_int_equal(journal_end(j), at[9]);
		assert_int_equal(journal_backlog(j), at[9] - at[n]);
		journal_close(j);
	}
	disk_close(d);
}

static void
replay_goes_on_over_many_segments(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, lsn, end = 0;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	for (unsigned n = 0; n < 30; n++) {
		end = append(j, n);
		if (n % 4)
			continue;
		assert_int_equal(journal_switch(j, &lsn), OK);
		assert_int_equal(lsn, end);
		/* An empty segment is not switched again. */
		assert_int_equal(journal_switch(j, &lsn), OK);
		assert_int_equal(lsn, end);
	}
	assert_int_equal(journal_sync(j, end), OK);
	journal_close(j);
	disk_mem_crash(d);
	for (unsigned round = 0; round < 3; round++) {
		j = open_from(d, 0, &s, &torn);
		assert_int_equal(s.count, 30 + round);
		end = append(j, 30 + round);
		assert_int_equal(journal_write(j, end), OK);
		journal_close(j);
	}
	disk_close(d);
}

static void
the_first_error_of_the_caller_stops_the_replay(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	append(j, 0);
	assert_int_equal(journal_write(j, append(j, 1)), OK);
	journal_close(j);
	s = (struct seen){ .fail = ERR_NOMEM };
	assert_int_equal(journal_open(d, &home_key, 0, &j), OK);
	assert_int_equal(journal_replay(j, see, &s, &torn), ERR_NOMEM);
	assert_int_equal(s.count, 1);
	journal_close(j);
	disk_close(d);
}

static void
another_key_opens_nothing(void **state)
{
	static const struct key other = { "another key, for the same tests" };
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	assert_int_equal(journal_write(j, append(j, 0)), OK);
	journal_close(j);
	s = (struct seen){ 0 };
	assert_int_equal(journal_open(d, &other, 0, &j), OK);
	assert_int_equal(journal_replay(j, see, &s, &torn), OK);
	assert_int_equal(s.count, 0);
	journal_close(j);
	disk_close(d);
}

/* One round: n frames with a sync each, then a checkpoint. */
static uint64_t
round_of(struct journal *j, unsigned *n, unsigned frames)
{
	uint64_t lsn;

	while (frames--)
		assert_int_equal(journal_sync(j, append(j, (*n)++)), OK);
	assert_int_equal(journal_switch(j, &lsn), OK);
	assert_int_equal(journal_sync(j, append(j, (*n)++)), OK);
	assert_int_equal(journal_release(j, lsn), OK);
	return lsn;
}

static void
released_segments_are_used_again_and_stale_frames_never_return(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, from = 0;
	struct journal *j = open_from(d, 0, &s, &torn);
	struct space space = { 0 };
	unsigned n = 0, first = 0;

	(void)state;
	for (unsigned round = 0; round < 12; round++) {
		first = n + 40 + round % 3;
		from = round_of(j, &n, 40 + round % 3);
		space = space_of(d);
		assert_true(space.files <= 3);
	}
	assert_string_equal(space.last, "journal/0000000000000002");
	assert_int_equal(journal_backlog(j), journal_end(j) - from);
	journal_close(j);
	disk_mem_kill(d);
	s.first = first;
	j = open_from(d, from, &s, &torn);
	assert_int_equal(s.count, n - first);
	assert_int_equal(torn, 0); /* what is stale is not torn */
	journal_close(j);
	disk_close(d);
}

static void
an_idle_journal_gives_its_space_back(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, lsn;
	struct journal *j = open_from(d, 0, &s, &torn);
	unsigned n = 0;

	(void)state;
	for (unsigned round = 0; round < 5; round++)
		round_of(j, &n, 60);
	assert_true(space_of(d).bytes > 100000);
	assert_int_equal(journal_trim(j), OK);
	assert_int_equal(space_of(d).files, 1);
	assert_int_equal(
	    space_of(d).bytes, SEGMENT_HEADER_BYTES + journal_backlog(j));
	assert_int_equal(journal_switch(j, &lsn), OK);
	assert_int_equal(journal_release(j, lsn), OK);
	assert_int_equal(journal_trim(j), OK);
	assert_int_equal(space_of(d).files, 1);
	assert_int_equal(space_of(d).bytes, SEGMENT_HEADER_BYTES);
	/* And goes on. */
	s.first = n;
	assert_int_equal(journal_sync(j, append(j, n)), OK);
	assert_int_equal(space_of(d).files, 1);
	journal_close(j);
	disk_mem_crash(d);
	j = open_from(d, lsn, &s, &torn);
	assert_int_equal(s.count, 1);
	journal_close(j);
	disk_close(d);
}

static void
bulk_work_fills_nothing_and_keeps_nothing(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, lsn = 0, end;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	for (unsigned n = 0; n < 100; n++)
		lsn = append(j, n);
	assert_int_equal(journal_write(j, lsn), OK);
	assert_int_equal(
	    space_of(d).bytes, SEGMENT_HEADER_BYTES + lsn + FRAME_END_BYTES);
	assert_int_equal(journal_switch(j, &end), OK);
	assert_int_equal(journal_write(j, append(j, 100)), OK);
	assert_int_equal(journal_release(j, end), OK);
	assert_int_equal(space_of(d).files, 1);
	journal_close(j);
	disk_close(d);
}

static void
the_first_sync_fills_little_and_later_ones_more(void **state)
{
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, size = 0, last = 0;
	struct journal *j = open_from(d, 0, &s, &torn);
	unsigned grown = 0;

	(void)state;
	assert_int_equal(journal_sync(j, append(j, 1)), OK);
	assert_true(space_of(d).bytes <= 64 << 10);
	for (unsigned n = 2; n < 2000; n++) {
		assert_int_equal(journal_sync(j, append(j, n)), OK);
		size = space_of(d).bytes;
		grown += size != last;
		last = size;
	}
	assert_in_range(grown, 2, 20);
	/* Never more in vain than was of use. */
	assert_true(size < 2 * journal_end(j) + (64 << 10));
	journal_close(j);
	disk_close(d);
}

static void
at_its_limit_the_journal_takes_no_more_until_released(void **state)
{
	static const uint8_t bytes[1000];
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn, lsn, end;
	struct journal *j = open_from(d, 0, &s, &torn);
	unsigned n = 0;

	(void)state;
	journal_limit(j, 10 * (1000 + FRAME_EXTRA_BYTES));
	while (!journal_append(j, bytes, sizeof(bytes), &lsn))
		n++;
	assert_int_equal(n, 10);
	end = journal_end(j);
	assert_int_equal(
	    journal_append(j, bytes, sizeof(bytes), &lsn), ERR_NOSPACE);
	assert_int_equal(journal_end(j), end);
	assert_int_equal(journal_sync(j, end), OK);
	assert_int_equal(journal_switch(j, &lsn), OK);
	assert_int_equal(
	    journal_append(j, bytes, sizeof(bytes), &end), ERR_NOSPACE);
	assert_int_equal(journal_release(j, lsn), OK);
	assert_int_equal(journal_append(j, bytes, sizeof(bytes), &lsn), OK);
	journal_close(j);
	disk_close(d);
}

static void
frames_of_any_length_up_to_the_largest_come_back(void **state)
{
	static const size_t lens[] = { 0, 1, 65535, 65536, 300000,
		JOURNAL_FRAME_MAX - 1, JOURNAL_FRAME_MAX };
	uint8_t *big = malloc(JOURNAL_FRAME_MAX);
	struct disk *d = new_disk();
	struct seen s = { 0 };
	struct segment_reader r;
	struct segment_id id;
	struct key journal, key;
	uint64_t torn, lsn = 0;
	struct journal *j = open_from(d, 0, &s, &torn);
	uint8_t header[SEGMENT_HEADER_BYTES];
	struct disk_file *f;
	size_t got;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', JOURNAL_FRAME_MAX);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(*lens); i++)
		assert_int_equal(journal_append(j, big, lens[i], &lsn), OK);
	assert_int_equal(journal_sync(j, lsn), OK);
	journal_close(j);

	assert_int_equal(disk_open(d, space_of(d).last, DISK_READ, &f), OK);
	assert_int_equal(disk_read(f, 0, header, sizeof(header), &got), OK);
	key_derive(&home_key, "post journal", 0, &journal);
	assert_int_equal(segment_header_read(&journal, header, &id, &key), OK);
	segment_reader_init(&r, f, &id, &key);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		const uint8_t *bytes;
		size_t len;

		assert_int_equal(segment_reader_next(&r, &bytes, &len), OK);
		assert_int_equal(len, lens[i]);
		assert_memory_equal(bytes, big, len);
	}
	assert_int_equal(r.lsn, lsn);
	segment_reader_fini(&r);
	disk_file_close(f);
	free(big);
	disk_close(d);
}

/* ---- the format --------------------------------------------------------- */

static const struct segment_id golden_id = {
	.epoch = 0x10000000aULL, .start = 0x123456, .salt = "sixteen of salt"
};
/* Header, the frames "mail" and "", end. */
static const char golden_hex[] =
    "504f53544a524e31000000010000000a00000000001234567369787465656e20"
    "6f662073616c74000000000000000000e659136e77c5c5327d70434e38715e53"
    "0000001437436ec4fe0f3f93021db0081a5a8aba4db7bb9d0000001076c1e8f6"
    "2499266ccb7306721af1ba2800000000";

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
	struct key journal, key;
	size_t n = SEGMENT_HEADER_BYTES;

	key_derive(&home_key, "post journal", 0, &journal);
	segment_key(&journal, &golden_id, &key);
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
	assert_int_equal(journal_open(d, &home_key, golden_id.start, &j), OK);
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

/* ---- threads ------------------------------------------------------------ */

#define THREADS 4
#define PER_THREAD 150

struct worker {
	pthread_t thread;
	struct journal *j;
	unsigned number;
	bool failed;
};

static void *
work(void *arg)
{
	struct worker *w = arg;
	uint8_t bytes[200];
	uint64_t lsn;

	for (unsigned n = 0; n < PER_THREAD && !w->failed; n++) {
		memset(bytes, (int)w->number, sizeof(bytes));
		bytes[0] = (uint8_t)w->number;
		bytes[1] = (uint8_t)n;
		w->failed = journal_append(w->j, bytes, 2 + n, &lsn) ||
			    (n % 3 ? journal_sync(w->j, lsn)
				   : journal_write(w->j, lsn));
	}
	return NULL;
}

static void *
checkpoints(void *arg)
{
	struct worker *w = arg;
	uint64_t lsn;

	for (unsigned n = 0; n < 20 && !w->failed; n++)
		w->failed = journal_switch(w->j, &lsn) ||
			    journal_sync(w->j, lsn) || journal_trim(w->j) ||
			    journal_backlog(w->j) > journal_end(w->j);
	return NULL;
}

static enum err
see_threads(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	unsigned *next = arg;

	(void)lsn;
	assert_true(len >= 2 && bytes[0] < THREADS);
	assert_int_equal(bytes[1], next[bytes[0]]); /* each in its order */
	assert_int_equal(len, 2 + bytes[1]);
	next[bytes[0]]++;
	return OK;
}

static void
threads_share_syncs_and_lose_nothing(void **state)
{
	struct worker w[THREADS + 1] = { 0 };
	unsigned next[THREADS] = { 0 };
	struct disk *d = new_disk();
	struct seen s = { 0 };
	uint64_t torn;
	struct journal *j = open_from(d, 0, &s, &torn);

	(void)state;
	for (unsigned i = 0; i <= THREADS; i++) {
		w[i].j = j;
		w[i].number = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL,
				     i < THREADS ? work : checkpoints, &w[i]),
		    0);
	}
	for (unsigned i = 0; i <= THREADS; i++) {
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
		assert_false(w[i].failed);
	}
	assert_int_equal(journal_sync(j, journal_end(j)), OK);
	journal_close(j);
	disk_mem_crash(d);
	assert_int_equal(journal_open(d, &home_key, 0, &j), OK);
	assert_int_equal(journal_replay(j, see_threads, next, &torn), OK);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(next[i], PER_THREAD);
	journal_close(j);
	disk_close(d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_journal_is_empty),
		cmocka_unit_test(synced_frames_survive_a_power_cut_in_order),
		cmocka_unit_test(
		    written_frames_survive_a_kill_and_appended_ones_do_not),
		cmocka_unit_test(
		    a_sync_after_a_kill_covers_what_the_killed_process_wrote),
		cmocka_unit_test(frames_before_from_lsn_are_not_replayed),
		cmocka_unit_test(replay_goes_on_over_many_segments),
		cmocka_unit_test(
		    the_first_error_of_the_caller_stops_the_replay),
		cmocka_unit_test(another_key_opens_nothing),
		cmocka_unit_test(
		    released_segments_are_used_again_and_stale_frames_never_return),
		cmocka_unit_test(an_idle_journal_gives_its_space_back),
		cmocka_unit_test(bulk_work_fills_nothing_and_keeps_nothing),
		cmocka_unit_test(
		    the_first_sync_fills_little_and_later_ones_more),
		cmocka_unit_test(
		    at_its_limit_the_journal_takes_no_more_until_released),
		cmocka_unit_test(
		    frames_of_any_length_up_to_the_largest_come_back),
		cmocka_unit_test(a_segment_has_the_bytes_it_always_had),
		cmocka_unit_test(
		    every_prefix_of_a_segment_replays_the_frames_that_are_whole),
		cmocka_unit_test(every_flipped_bit_ends_the_replay_before_it),
		cmocka_unit_test(threads_share_syncs_and_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
