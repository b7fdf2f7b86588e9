/* The journal on a disk that fails, fills up, forgets and lies, against a list
 * of what was appended and acknowledged.
 *
 * What must hold after each restart: the frames that replay are the ones that
 * were appended, from from_lsn on, without a gap; none is missing that was
 * acknowledged.  Every run tells its seed when it breaks this. */
#include "tests/unit/journal_test.h"

struct frame {
	unsigned n;
	uint64_t end;
};

struct model {
	struct disk *d;
	struct journal *j;
	struct rng rng;
	unsigned next; /* number of the next frame */
	struct frame *frame;
	size_t count, cap;
	uint64_t from, written, synced; /* acknowledged */
	enum err broken; /* a sync failed */
	size_t seen; /* while replaying */
	bool damaged; /* nothing but order can be asked for */
};

static void
model_init(struct model *m, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	assert_int_equal(crypto_init(), OK);
	rng_init(&m->rng, seed);
	assert_int_equal(disk_mem_new(seed, &m->d), OK);
}

static void
model_fini(struct model *m)
{
	journal_close(m->j);
	disk_close(m->d);
	free(m->frame);
}

static uint64_t
model_end(const struct model *m)
{
	return m->count ? m->frame[m->count - 1].end : m->from;
}

static enum err
see_model(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	struct model *m = arg;
	uint8_t *want;

	assert_true(m->seen < m->count);
	assert_int_equal(lsn, m->frame[m->seen].end);
	assert_int_equal(len, frame_make(m->frame[m->seen].n, &want));
	assert_memory_equal(bytes, want, len);
	free(want);
	m->seen++;
	return OK;
}

/* Open and compare; what was lost is forgotten. */
static void
restart(struct model *m, bool power_cut)
{
	uint64_t torn;

	m->seen = 0;
	m->broken = OK;
	assert_int_equal(journal_open(m->d, &journal_key, m->from, &m->j), OK);
	assert_int_equal(journal_replay(m->j, see_model, m, &torn), OK);
	m->count = m->seen;
	if (!m->damaged) {
		assert_true(model_end(m) >= m->synced);
		assert_true(power_cut || model_end(m) >= m->written);
	}
	assert_int_equal(journal_end(m->j), model_end(m));
	m->written = model_end(m);
	if (power_cut)
		m->synced = m->written;
	else if (m->synced > m->written)
		m->synced = m->written;
	m->damaged = false;
}

static void
stop(struct model *m, bool power_cut)
{
	journal_close(m->j);
	m->j = NULL;
	disk_mem_fail(m->d, 0, OK, false);
	if (power_cut)
		disk_mem_crash(m->d);
	else
		disk_mem_kill(m->d);
}

static enum err
model_append(struct model *m)
{
	unsigned n = m->next;
	uint64_t lsn;
	uint8_t *b;
	size_t len = frame_make(n, &b);
	enum err e = journal_append(m->j, b, len, &lsn);

	free(b);
	if (e)
		return e;
	if (m->count == m->cap) {
		m->cap = m->cap ? m->cap * 2 : 64;
		m->frame = realloc(m->frame, m->cap * sizeof(*m->frame));
		assert_non_null(m->frame);
	}
	assert_true(lsn > model_end(m));
	m->frame[m->count++] = (struct frame){ n, lsn };
	m->next++;
	return OK;
}

/* What a checkpoint does.  That it is durable itself is granted. */
static enum err
model_checkpoint(struct model *m)
{
	size_t gone = 0;
	uint64_t lsn;
	enum err e = journal_switch(m->j, &lsn);

	if (e)
		return e;
	assert_int_equal(lsn, model_end(m));
	/* Some go on before it is released. */
	for (uint64_t n = rng_below(&m->rng, 3); n; n--) {
		e = model_append(m);
		if (!e && !(e = journal_sync(m->j, model_end(m))))
			m->synced = m->written = model_end(m);
		if (e)
			return e;
	}
	m->from = lsn;
	while (gone < m->count && m->frame[gone].end <= lsn)
		gone++;
	m->count -= gone;
	if (gone)
		memmove(
		    m->frame, m->frame + gone, m->count * sizeof(*m->frame));
	if (m->written < lsn)
		m->written = lsn;
	if (m->synced < lsn)
		m->synced = lsn;
	return journal_release(m->j, lsn);
}

static enum err
step(struct model *m)
{
	uint64_t lsn = model_end(m);
	enum err e;

	switch (rng_below(&m->rng, 14)) {
	default:
		return model_append(m);
	case 0:
	case 1:
		e = journal_write(m->j, lsn);
		if (!e)
			m->written = lsn;
		return e;
	case 2:
	case 3:
	case 4:
	case 5:
		e = journal_sync(m->j, lsn);
		if (!e)
			m->written = m->synced = lsn;
		else if (e == ERR_IO)
			m->broken = journal_write(m->j, 0);
		return e;
	case 6:
		return model_checkpoint(m);
	case 7:
		return rng_below(&m->rng, 3) ? OK : journal_trim(m->j);
	}
}

/* ---- crashes ------------------------------------------------------------ */

static void
crash_after(uint64_t seed, uint64_t nth, bool power_cut)
{
	struct model m;

	model_init(&m, seed);
	restart(&m, power_cut);
	for (unsigned life = 0; life < 4; life++) {
		disk_mem_fail(m.d, nth, ERR_IO, true);
		for (unsigned i = 0; i < 80 && !step(&m); i++)
			;
		stop(&m, power_cut);
		restart(&m, power_cut);
	}
	model_fini(&m);
}

static void
a_power_cut_after_any_disk_operation_loses_nothing_acknowledged(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 12; seed++) {
		print_message("seed %u\n", (unsigned)seed);
		for (uint64_t nth = 1; nth < 60; nth++)
			crash_after(seed, nth, true);
	}
}

static void
a_kill_after_any_disk_operation_loses_nothing_written(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 106; seed++) {
		print_message("seed %u\n", (unsigned)seed);
		for (uint64_t nth = 1; nth < 60; nth++)
			crash_after(seed, nth, false);
	}
}

/* Kills and power cuts by turns, at any time. */
static void
long_lives_of_crashes_lose_nothing_acknowledged(void **state)
{
	(void)state;
	for (uint64_t seed = 1000; seed < 1300; seed++) {
		struct model m;

		if (seed % 100 == 0)
			print_message("seed %u\n", (unsigned)seed);
		model_init(&m, seed);
		restart(&m, true);
		for (unsigned life = 0; life < 12; life++) {
			bool power_cut = rng_below(&m.rng, 2);

			if (rng_below(&m.rng, 2))
				disk_mem_fail(m.d, 1 + rng_below(&m.rng, 50),
				    ERR_IO, true);
			for (uint64_t n = rng_below(&m.rng, 60); n; n--)
				if (step(&m))
					break;
			stop(&m, power_cut);
			restart(&m, power_cut);
		}
		model_fini(&m);
	}
}

/* ---- single faults ------------------------------------------------------ */

/* One call of the disk fails; the journal goes on, or says that it can not. */
static bool
go_on_after(uint64_t seed, uint64_t nth, enum err fault)
{
	unsigned errors = 0;
	struct model m;
	bool struck;
	enum err e;

	model_init(&m, seed);
	restart(&m, true);
	disk_mem_fail(m.d, nth, fault, false);
	for (unsigned i = 0; i < 80; i++) {
		e = step(&m);
		errors += e != OK;
		if (e)
			assert_int_equal(e, fault);
	}
	struck = disk_mem_failed(m.d);
	assert_true(struck || !errors);
	disk_mem_fail(m.d, 0, OK, false);
	e = journal_write(m.j, journal_end(m.j));
	if (e) {
		uint64_t lsn;

		/* Broken for good, whatever is asked. */
		assert_int_equal(e, fault);
		assert_int_equal(journal_append(m.j, "x", 1, &lsn), fault);
		assert_int_equal(journal_sync(m.j, 0), fault);
		assert_int_equal(journal_switch(m.j, &lsn), fault);
		assert_int_equal(journal_release(m.j, m.from), fault);
		assert_int_equal(journal_trim(m.j), fault);
	} else {
		m.written = model_end(&m);
		assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
		m.synced = model_end(&m);
	}
	stop(&m, true);
	restart(&m, true);
	model_fini(&m);
	return struck;
}

static void
a_fault_of_any_single_disk_operation_is_told_and_survived(void **state)
{
	(void)state;
	for (uint64_t seed = 2000; seed < 2010; seed++) {
		uint64_t nth = 1;

		print_message("seed %u\n", (unsigned)seed);
		while (go_on_after(seed, nth, seed % 2 ? ERR_IO : ERR_NOSPACE))
			nth++;
		assert_true(nth > 20);
	}
}

static void
a_sync_that_failed_breaks_the_journal_until_reopened(void **state)
{
	struct model m;
	uint64_t lsn;

	(void)state;
	model_init(&m, 1);
	restart(&m, true);
	assert_int_equal(model_append(&m), OK);
	assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
	m.written = m.synced = model_end(&m);
	assert_int_equal(model_append(&m), OK);
	assert_int_equal(journal_write(m.j, model_end(&m)), OK);
	disk_mem_fail(m.d, 1, ERR_IO, false); /* no fill: the sync itself */
	assert_int_equal(journal_sync(m.j, model_end(&m)), ERR_IO);
	assert_true(disk_mem_failed(m.d));
	assert_int_equal(journal_sync(m.j, model_end(&m)), ERR_IO);
	assert_int_equal(journal_append(m.j, "x", 1, &lsn), ERR_IO);
	stop(&m, true);
	restart(&m, true);
	assert_int_equal(model_append(&m), OK);
	assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
	model_fini(&m);
}

/* The kernel shows what a failed sync has lost, and would not write it for a
 * sync alone. */
static void
frames_that_a_failed_sync_lost_become_durable_after_a_restart(void **state)
{
	(void)state;
	for (uint64_t seed = 2500; seed < 2550; seed++) {
		struct model m;

		model_init(&m, seed);
		restart(&m, true);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(model_append(&m), OK);
		assert_int_equal(journal_write(m.j, model_end(&m)), OK);
		m.written = model_end(&m);
		disk_mem_fail(m.d, 1, ERR_IO, true);
		assert_int_equal(journal_sync(m.j, m.written), ERR_IO);
		stop(&m, false);
		restart(&m, false);
		assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
		m.synced = model_end(&m);
		stop(&m, true);
		restart(&m, true);
		assert_int_equal(m.count, 20);
		model_fini(&m);
	}
}

/* ---- a full disk -------------------------------------------------------- */

static enum err
add_size(void *arg, const char *entry)
{
	struct model *m = arg;
	struct disk_file *f;
	char name[64];
	uint64_t size;

	snprintf(name, sizeof(name), "journal/%s", entry);
	assert_int_equal(disk_open(m->d, name, DISK_READ, &f), OK);
	assert_int_equal(disk_size(f, &size), OK);
	disk_file_close(f);
	m->seen += size;
	return OK;
}

static size_t
space_used(struct model *m)
{
	m->seen = 0;
	assert_int_equal(disk_list(m->d, "journal", add_size, m), OK);
	return m->seen;
}

static void
a_full_disk_refuses_and_room_brings_it_back(void **state)
{
	(void)state;
	for (uint64_t seed = 3000; seed < 3100; seed++) {
		bool refused = false;
		struct model m;
		enum err e;

		model_init(&m, seed);
		restart(&m, true);
		for (unsigned i = 0; i < 30; i++)
			assert_int_equal(step(&m), OK);
		disk_mem_limit(m.d, space_used(&m) + rng_below(&m.rng, 3000));
		for (unsigned i = 0; i < 300 && !refused; i++) {
			e = step(&m);
			assert_true(e == OK || e == ERR_NOSPACE);
			refused = e == ERR_NOSPACE && m.written < model_end(&m);
		}
		if (refused) {
			/* Nothing more is taken, nothing is acknowledged. */
			assert_int_equal(model_append(&m), ERR_NOSPACE);
			assert_int_equal(
			    journal_sync(m.j, model_end(&m)), ERR_NOSPACE);
			assert_int_equal(journal_sync(m.j, m.synced), OK);
		}
		if (seed % 3) {
			disk_mem_limit(m.d, UINT64_MAX);
			assert_int_equal(model_append(&m), OK);
			assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
			m.written = m.synced = model_end(&m);
		}
		stop(&m, true);
		disk_mem_limit(m.d, UINT64_MAX);
		restart(&m, true);
		model_fini(&m);
	}
}

/* ---- damage ------------------------------------------------------------- */

struct pick {
	struct model *m;
	unsigned want;
	char name[64];
};

static enum err
pick_file(void *arg, const char *entry)
{
	struct pick *p = arg;

	if (!p->name[0] || p->want-- > 0)
		snprintf(p->name, sizeof(p->name), "journal/%s", entry);
	return OK;
}

static void
flipped_bits_leave_a_prefix(void **state)
{
	(void)state;
	for (uint64_t seed = 4000; seed < 4300; seed++) {
		struct model m;

		model_init(&m, seed);
		restart(&m, true);
		for (unsigned life = 0; life < 4; life++) {
			struct pick p = { .m = &m };
			struct disk_file *f;
			uint64_t size;

			for (unsigned i = 0; i < 40; i++)
				assert_int_equal(step(&m), OK);
			stop(&m, false);
			p.want = (unsigned)rng_below(&m.rng, 4);
			assert_int_equal(
			    disk_list(m.d, "journal", pick_file, &p), OK);
			if (p.name[0]) {
				assert_int_equal(
				    disk_open(m.d, p.name, DISK_READ, &f), OK);
				assert_int_equal(disk_size(f, &size), OK);
				disk_file_close(f);
				assert_int_equal(
				    disk_mem_flip(m.d, p.name,
					rng_below(&m.rng, size * 8)),
				    OK);
				m.damaged = true;
			}
			restart(&m, false);
		}
		model_fini(&m);
	}
}

/* A read error hides a segment's end; what was begun after it holds, also
 * when the old end shows up again. */
static void
frames_behind_a_gap_stay_dead_when_the_gap_heals(void **state)
{
	struct model m;
	uint64_t middle;

	(void)state;
	model_init(&m, 1);
	restart(&m, true);
	assert_int_equal(model_append(&m), OK);
	middle = model_end(&m);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(model_append(&m), OK);
	assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
	m.written = m.synced = model_end(&m);
	stop(&m, false);
	assert_int_equal(disk_mem_flip(m.d, "journal/0000000000000001",
			     (SEGMENT_HEADER_BYTES + middle + 3) * 8),
	    OK);
	m.damaged = true;
	restart(&m, false);
	assert_int_equal(m.count, 1);
	assert_int_equal(model_append(&m), OK);
	assert_int_equal(journal_sync(m.j, model_end(&m)), OK);
	m.written = m.synced = model_end(&m);
	stop(&m, false);
	assert_int_equal(disk_mem_flip(m.d, "journal/0000000000000001",
			     (SEGMENT_HEADER_BYTES + middle + 3) * 8),
	    OK);
	restart(&m, false);
	assert_int_equal(m.count, 2);
	model_fini(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_power_cut_after_any_disk_operation_loses_nothing_acknowledged),
		cmocka_unit_test(
		    a_kill_after_any_disk_operation_loses_nothing_written),
		cmocka_unit_test(
		    long_lives_of_crashes_lose_nothing_acknowledged),
		cmocka_unit_test(
		    a_fault_of_any_single_disk_operation_is_told_and_survived),
		cmocka_unit_test(
		    a_sync_that_failed_breaks_the_journal_until_reopened),
		cmocka_unit_test(
		    frames_that_a_failed_sync_lost_become_durable_after_a_restart),
		cmocka_unit_test(a_full_disk_refuses_and_room_brings_it_back),
		cmocka_unit_test(flipped_bits_leave_a_prefix),
		cmocka_unit_test(
		    frames_behind_a_gap_stay_dead_when_the_gap_heals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
