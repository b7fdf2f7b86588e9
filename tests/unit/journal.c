/* The journal on a disk that does as it is told; what it does when the disk
 * does not is in tests/fault/journal.c. */
#include "tests/unit/journal_test.h"

#include <pthread.h>

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
	assert_int_equal(journal_open(d, &journal_key, 0, &j), OK);
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
	struct key key;
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
	assert_int_equal(
	    segment_header_read(&journal_key, header, &id, &key), OK);
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
	assert_int_equal(journal_open(d, &journal_key, 0, &j), OK);
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
		cmocka_unit_test(threads_share_syncs_and_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
