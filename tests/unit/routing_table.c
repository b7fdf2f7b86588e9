/* Includes routing_table.c itself, so that its allocations can be made to
 * fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned fail_at; /* the nth allocation from now; 0: none */

static bool
has_memory(void)
{
	return fail_at == 0 || --fail_at > 0;
}

static void *
table_calloc(size_t n, size_t size)
{
	return has_memory() ? calloc(n, size) : NULL;
}

static void *
table_realloc(void *p, size_t size)
{
	return has_memory() ? realloc(p, size) : NULL;
}

#define calloc(n, size) table_calloc(n, size)
#define realloc(p, size) table_realloc(p, size)
#include "overlay/routing_table.c"
#undef calloc
#undef realloc

#include "overlay/base/rng.h"

#define must(call) assert_int_equal((call), OK)

static struct id
random_id(struct rng *rng)
{
	struct id id;

	for (unsigned i = 0; i < ID_BYTES; i++)
		id.b[i] = (uint8_t)rng_u64(rng);
	return id;
}

/* Hex digits from the front, zeros after them. */
static struct id
id_of(const char *digits)
{
	char text[ID_HEX + 1];
	struct id id;

	memset(text, '0', ID_HEX);
	text[ID_HEX] = '\0';
	memcpy(text, digits, strlen(digits));
	assert_true(id_from_hex(text, &id));
	return id;
}

static struct peer
peer_of(const char *digits)
{
	struct peer p = { .id = id_of(digits), .addr = { .port = 7400 } };

	return p;
}

static struct routing_table *
table_of(const char *self)
{
	struct routing_table *t = NULL;
	struct id id = id_of(self);

	must(routing_table_new(&id, &t));
	return t;
}

static bool
offer(struct routing_table *t, const char *digits, uint32_t rtt_us)
{
	struct peer p = peer_of(digits);

	return routing_table_offer(t, &p, rtt_us);
}

static bool
wants(struct routing_table *t, const char *digits, uint32_t rtt_us)
{
	struct id id = id_of(digits);

	return routing_table_wants(t, &id, rtt_us);
}

static bool
drop(struct routing_table *t, const char *digits)
{
	struct id id = id_of(digits);

	return routing_table_remove(t, &id);
}

static void
assert_cell(
    struct routing_table *t, unsigned row, unsigned digit, const char *digits)
{
	struct routing_entry *e = routing_table_cell(t, row, digit);
	struct id id = id_of(digits);

	assert_non_null(e);
	assert_memory_equal(e->peer.id.b, id.b, ID_BYTES);
	assert_ptr_equal(routing_table_find(t, &id), e);
}

/* What holds of every table; the number of nodes. */
static unsigned
assert_sound(struct routing_table *t)
{
	unsigned rows = routing_table_rows(t), count = 0, last = 0;

	for (unsigned r = 0; r < rows; r++)
		for (unsigned d = 0; d < ID_BASE; d++) {
			struct routing_entry *e = routing_table_cell(t, r, d);

			if (!e)
				continue;
			assert_int_equal(
			    id_shared_digits(&e->peer.id, &t->self), r);
			assert_int_equal(id_digit(&e->peer.id, r), d);
			count++;
			last = r + 1;
		}
	assert_int_equal(rows, last);
	assert_int_equal(routing_table_count(t), count);
	return count;
}

/* ---- cells -------------------------------------------------------------- */

static void
a_node_stands_in_the_row_of_its_shared_digits(void **state)
{
	struct routing_table *t = table_of("5555");

	(void)state;
	assert_int_equal(routing_table_rows(t), 0);
	assert_true(offer(t, "7", RTT_UNKNOWN));
	assert_true(offer(t, "0", RTT_UNKNOWN));
	assert_true(offer(t, "51", RTT_UNKNOWN));
	assert_true(offer(t, "5554f", RTT_UNKNOWN));
	assert_true(offer(t, "55550001", RTT_UNKNOWN));
	assert_cell(t, 0, 7, "7");
	assert_cell(t, 0, 0, "0");
	assert_cell(t, 1, 1, "51");
	assert_cell(t, 3, 4, "5554f");
	assert_cell(t, 7, 1, "55550001");
	assert_int_equal(routing_table_rows(t), 8);
	assert_int_equal(assert_sound(t), 5);
	assert_null(routing_table_cell(t, 0, 5)); /* our own digit */
	assert_null(routing_table_cell(t, 2, 0)); /* a row that was skipped */
	assert_null(routing_table_cell(t, 8, 0)); /* and beyond the last */
	assert_null(routing_table_cell(t, ID_DIGITS, 0));
	routing_table_free(t);
	routing_table_free(NULL);
}

static void
we_ourselves_are_in_no_cell(void **state)
{
	struct routing_table *t = table_of("5555");
	struct id self = id_of("5555");

	(void)state;
	assert_false(wants(t, "5555", 1));
	assert_false(offer(t, "5555", 1));
	assert_false(drop(t, "5555"));
	assert_null(routing_table_find(t, &self));
	assert_null(routing_table_next(t, &self));
	assert_int_equal(assert_sound(t), 0);
	routing_table_free(t);
}

static void
the_last_digit_has_its_row_too(void **state)
{
	struct routing_table *t = table_of("5");
	struct peer p = peer_of("5");

	(void)state;
	p.id.b[ID_BYTES - 1] = 0x0f;
	assert_true(routing_table_offer(t, &p, 1));
	assert_int_equal(routing_table_rows(t), ID_DIGITS);
	assert_non_null(routing_table_cell(t, ID_DIGITS - 1, 15));
	assert_int_equal(assert_sound(t), 1);
	assert_true(routing_table_remove(t, &p.id));
	assert_int_equal(routing_table_rows(t), 0);
	routing_table_free(t);
}

static void
a_cell_keeps_the_nearest_that_was_measured(void **state)
{
	struct routing_table *t = table_of("5");

	(void)state;
	assert_true(offer(t, "71", RTT_UNKNOWN));
	assert_false(
	    wants(t, "72", RTT_UNKNOWN)); /* no better than the first */
	assert_false(offer(t, "72", RTT_UNKNOWN));
	assert_cell(t, 0, 7, "71");
	assert_true(wants(t, "72", 90000));
	assert_true(offer(t, "72", 90000)); /* measured, the first is not */
	assert_cell(t, 0, 7, "72");
	assert_false(wants(t, "73", 90000)); /* as near: who is there stays */
	assert_false(offer(t, "73", 90000));
	assert_false(offer(t, "71", RTT_UNKNOWN));
	assert_true(wants(t, "73", 89999));
	assert_true(offer(t, "73", 89999));
	assert_cell(t, 0, 7, "73");
	assert_false(offer(t, "72", 90000));
	assert_int_equal(assert_sound(t), 1);
	routing_table_free(t);
}

static void
a_newcomer_in_a_cell_inherits_nothing(void **state)
{
	struct routing_table *t = table_of("5");
	struct routing_entry *e;

	(void)state;
	assert_true(offer(t, "71", 900));
	routing_table_cell(t, 0, 7)->heard_us = 123;
	assert_true(offer(t, "71", 800));
	assert_int_equal(routing_table_cell(t, 0, 7)->heard_us, 123);
	assert_true(offer(t, "72", 700));
	e = routing_table_cell(t, 0, 7);
	assert_int_equal(e->heard_us, 0);
	assert_int_equal(e->rtt_us, 700);
	assert_int_equal(e->peer.addr.port, 7400);
	routing_table_free(t);
}

static void
a_members_address_and_rtt_are_brought_up_to_date(void **state)
{
	struct routing_table *t = table_of("5");
	struct peer p = peer_of("71");
	struct routing_entry *e;

	(void)state;
	assert_true(routing_table_offer(t, &p, RTT_UNKNOWN));
	assert_false(routing_table_wants(t, &p.id, 1)); /* it is there */
	p.addr.port = 7401;
	assert_true(routing_table_offer(t, &p, 500));
	e = routing_table_find(t, &p.id);
	assert_int_equal(e->rtt_us, 500);
	assert_int_equal(e->peer.addr.port, 7401);
	p.addr.port = 0; /* says nothing */
	assert_true(routing_table_offer(t, &p, RTT_UNKNOWN));
	assert_int_equal(e->rtt_us, 500);
	assert_int_equal(e->peer.addr.port, 7401);
	assert_true(routing_table_offer(t, &p, 900)); /* slower now */
	assert_int_equal(e->rtt_us, 900);
	assert_true(offer(t, "72", 899));
	routing_table_free(t);
}

static void
rows_that_nobody_stands_in_are_given_back(void **state)
{
	struct routing_table *t = table_of("5555");
	size_t empty = routing_table_bytes(t), one;

	(void)state;
	assert_true(offer(t, "7", 1));
	one = routing_table_bytes(t);
	assert_true(one > empty && one < empty + 17 * 64 + 64);
	assert_true(offer(t, "8", 1));
	assert_int_equal(routing_table_bytes(t), one);
	assert_true(offer(t, "5557", 1));
	assert_true(routing_table_bytes(t) > one);
	assert_false(drop(t, "5556"));
	assert_false(drop(t, "55571")); /* the same cell, another node */
	assert_true(drop(t, "5557"));
	assert_false(drop(t, "5557"));
	assert_int_equal(routing_table_rows(t), 1);
	assert_true(drop(t, "7"));
	assert_int_equal(routing_table_count(t), 1);
	assert_null(routing_table_cell(t, 0, 7));
	assert_cell(t, 0, 8, "8");
	assert_true(offer(t, "7", 1));
	assert_int_equal(assert_sound(t), 2);
	routing_table_free(t);
}

/* ---- routing ------------------------------------------------------------ */

static void
the_next_hop_has_one_digit_more_of_the_key(void **state)
{
	struct routing_table *t = table_of("5555");
	struct id key = id_of("7abc"), near_key = id_of("55a");

	(void)state;
	assert_null(routing_table_next(t, &key));
	assert_true(offer(t, "71", 1));
	assert_memory_equal(
	    routing_table_next(t, &key)->peer.id.b, id_of("71").b, ID_BYTES);
	assert_null(routing_table_find(t, &key));
	assert_null(routing_table_next(t, &near_key));
	assert_true(offer(t, "55af", 1));
	assert_memory_equal(routing_table_next(t, &near_key)->peer.id.b,
	    id_of("55af").b, ID_BYTES);
	routing_table_free(t);
}

static void
in_the_rare_case_the_nearest_with_as_long_a_prefix_is_taken(void **state)
{
	struct routing_table *t = table_of("5555");
	struct id key = id_of("5580"), edge = id_of("4fff");
	struct routing_entry *e;

	(void)state;
	assert_null(routing_table_nearer(t, &key));
	assert_true(offer(t, "6", 1)); /* nearer to 5fff, but shares nothing */
	assert_true(offer(t, "5551", 1)); /* shares, but is further than we */
	assert_null(routing_table_nearer(t, &key));
	assert_true(offer(t, "5560", 1));
	assert_true(offer(t, "5570", 1));
	assert_true(offer(t, "55f0", 1));
	e = routing_table_nearer(t, &key);
	assert_non_null(e);
	assert_memory_equal(e->peer.id.b, id_of("5570").b, ID_BYTES);
	/* nothing is shared with this key, so all may be taken */
	e = routing_table_nearer(t, &edge);
	assert_non_null(e);
	assert_memory_equal(e->peer.id.b, id_of("5551").b, ID_BYTES);
	assert_null(routing_table_nearer(t, &t->self));
	routing_table_free(t);
}

/* ---- against an oracle -------------------------------------------------- */

#define CROWD 120

/* All that were offered, each cell's best by the rule, from the whole list. */
static const struct peer *
oracle_cell(const struct peer *crowd, const uint32_t *rtt_us,
    const struct id *self, const struct id *key)
{
	unsigned row = id_shared_digits(self, key), best = CROWD;

	for (unsigned i = 0; i < CROWD; i++)
		if (id_shared_digits(&crowd[i].id, key) > row &&
		    (best == CROWD || rtt_us[i] < rtt_us[best]))
			best = i;
	return best == CROWD ? NULL : &crowd[best];
}

static void
a_table_that_heard_of_all_holds_the_nearest_for_each_cell(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct routing_table *t = NULL;
		struct peer crowd[CROWD];
		uint32_t rtt_us[CROWD];
		struct rng rng;
		struct id self;

		rng_init(&rng, seed);
		self = random_id(&rng);
		must(routing_table_new(&self, &t));
		for (unsigned i = 0; i < CROWD; i++) {
			unsigned keep = (unsigned)rng_below(&rng, 4);
			bool wanted;

			crowd[i] = (struct peer){ .id = random_id(&rng) };
			memcpy(crowd[i].id.b, self.b, keep);
			rtt_us[i] = rng_below(&rng, 5)
					? (uint32_t)rng_below(&rng, 40)
					: RTT_UNKNOWN;
			wanted =
			    routing_table_wants(t, &crowd[i].id, rtt_us[i]);
			assert_int_equal(wanted,
			    routing_table_offer(t, &crowd[i], rtt_us[i]));
		}
		assert_sound(t);
		for (unsigned i = 0; i < CROWD; i++) {
			const struct peer *want =
			    oracle_cell(crowd, rtt_us, &self, &crowd[i].id);
			struct routing_entry *got =
			    routing_table_next(t, &crowd[i].id);

			assert_non_null(got);
			assert_memory_equal(
			    got->peer.id.b, want->id.b, ID_BYTES);
		}
		for (unsigned i = 0; i < CROWD; i++) {
			bool there =
			    routing_table_find(t, &crowd[i].id) != NULL;
			unsigned before = routing_table_count(t);

			assert_int_equal(
			    routing_table_remove(t, &crowd[i].id), there);
			assert_int_equal(assert_sound(t), before - there);
		}
		assert_int_equal(routing_table_count(t), 0);
		assert_int_equal(routing_table_rows(t), 0);
		routing_table_free(t);
	}
}

static void
nearer_is_that_of_the_oracle(void **state)
{
	unsigned found = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct routing_table *t = NULL;
		struct rng rng;
		struct id self;

		rng_init(&rng, seed);
		self = random_id(&rng);
		must(routing_table_new(&self, &t));
		for (unsigned i = 0; i < CROWD; i++) {
			struct peer p = { .id = random_id(&rng) };

			memcpy(p.id.b, self.b, rng_below(&rng, 3));
			(void)routing_table_offer(t, &p, 1);
		}
		for (unsigned i = 0; i < 50; i++) {
			struct id key = random_id(&rng), best = self;
			struct routing_entry *got;
			unsigned prefix;

			memcpy(key.b, self.b, rng_below(&rng, 3));
			prefix = id_shared_digits(&self, &key);
			for (unsigned c = 0; c < ID_DIGITS * ID_BASE; c++) {
				struct routing_entry *e = routing_table_cell(
				    t, c / ID_BASE, c % ID_BASE);

				if (e && id_nearer(&key, &e->peer.id, &best) &&
				    id_shared_digits(&e->peer.id, &key) >=
					prefix)
					best = e->peer.id;
			}
			got = routing_table_nearer(t, &key);
			assert_int_equal(got == NULL, id_eq(&best, &self));
			if (got)
				assert_memory_equal(
				    got->peer.id.b, best.b, ID_BYTES);
			found += got != NULL;
		}
		routing_table_free(t);
	}
	assert_true(found > 1000);
}

/* ---- memory ------------------------------------------------------------- */

static void
without_memory_for_a_row_a_node_is_not_wanted(void **state)
{
	struct routing_table *t = NULL;
	struct id self = id_of("5555");

	(void)state;
	fail_at = 1;
	assert_int_equal(routing_table_new(&self, &t), ERR_NOMEM);
	assert_null(t);
	must(routing_table_new(&self, &t));
	assert_true(offer(t, "7", 9));
	for (unsigned n = 1; n <= 2; n++) { /* the list of rows, the row */
		fail_at = n;
		assert_false(offer(t, "5557", 1));
		assert_int_equal(fail_at, 0);
		assert_int_equal(routing_table_rows(t), 1);
		assert_int_equal(assert_sound(t), 1);
	}
	fail_at = 1;
	assert_true(offer(t, "71", 1)); /* needs none */
	assert_true(offer(t, "8", 1));
	assert_int_equal(fail_at, 1);
	fail_at = 0;
	assert_true(offer(t, "5557", 1));
	assert_int_equal(assert_sound(t), 3);
	routing_table_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_stands_in_the_row_of_its_shared_digits),
		cmocka_unit_test(we_ourselves_are_in_no_cell),
		cmocka_unit_test(the_last_digit_has_its_row_too),
		cmocka_unit_test(a_cell_keeps_the_nearest_that_was_measured),
		cmocka_unit_test(a_newcomer_in_a_cell_inherits_nothing),
		cmocka_unit_test(
		    a_members_address_and_rtt_are_brought_up_to_date),
		cmocka_unit_test(rows_that_nobody_stands_in_are_given_back),
		cmocka_unit_test(the_next_hop_has_one_digit_more_of_the_key),
		cmocka_unit_test(
		    in_the_rare_case_the_nearest_with_as_long_a_prefix_is_taken),
		cmocka_unit_test(
		    a_table_that_heard_of_all_holds_the_nearest_for_each_cell),
		cmocka_unit_test(nearer_is_that_of_the_oracle),
		cmocka_unit_test(without_memory_for_a_row_a_node_is_not_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
