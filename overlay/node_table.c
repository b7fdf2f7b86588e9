/* The routing table's upkeep: rows exchanged, peers measured, the dead found.
 *
 * A peer enters the table when it has answered a PING, with the round trip
 * time measured; so nothing that is only heard of is in it, and the nearest
 * of those heard of wins its cell.
 *
 * How often an entry is asked whether it lives follows from how often nodes
 * die (Castro et al., section 4): so that a hop leads to a dead node with a
 * probability of at most LOSS_PART, given the deaths seen lately among the
 * nodes we know.  The bound ENTRY_GAP_US on the rate keeps the cost of a large
 * table in a mad ring bounded; acks and rerouting do the rest. */
#include "overlay/node_private.h"

#include <assert.h>
#include <stdlib.h>

#define ENTRY_GAP_US (30 * NODE_SECOND) /* between two probes, at least */
#define ENTRY_PERIOD_MIN_US (60 * NODE_SECOND)
#define LOSS_PART 20u /* 5 % */
#define JOIN_LEARN_US (60 * NODE_SECOND)
/* Of a row exchanged in calm times so many are measured: most of it was
 * before, and was too far. */
#define LEARN_MAX 4u
/* A new table is full of what happened to be at hand; so many rows are
 * exchanged twenty times as often. */
#define FRESH_EXCHANGES 8u
#define ROW_ASK_GAP_US (10 * NODE_SECOND)

/* ---- learning ----------------------------------------------------------- */

static void
measure_add(struct node *n, const struct peer *p)
{
	const struct known *k = known_find(n, &p->id);

	if (n->measure_n == MEASURE_MAX || p->addr.port == 0 ||
	    (k && (k->dead_us || k->revoked || k->gone || k->probing)))
		return;
	if (k && k->rtt_us && k->heard_us) {
		(void)routing_table_offer(n->table, p, k->rtt_us);
		return;
	}
	for (unsigned i = 0; i < n->measure_n; i++)
		if (id_eq(&n->measure[i].id, &p->id))
			return;
	if (!n->measure)
		n->measure = malloc(MEASURE_MAX * sizeof(n->measure[0]));
	if (!n->measure)
		return;
	if (n->measure_n == 0)
		n->measure_us = n->now_us;
	n->measure[n->measure_n++] = *p;
}

/* Leaves fill a row that only they are in with what the leaf set knows
 * anyway: they are not worth a row's memory. */
static bool
is_worth_a_cell(struct node *n, const struct id *id, uint32_t rtt_us)
{
	if (!routing_table_wants(n->table, id, rtt_us))
		return false;
	return !leaf_set_find(n->leaves, id) ||
	       id_shared_digits(&n->config.self.id, id) <
		   routing_table_rows(n->table);
}

void
table_learn(struct node *n, const struct peer *p)
{
	if (n->stage == STAGE_JOINED && is_worth_a_cell(n, &p->id, RTT_UNKNOWN))
		measure_add(n, p);
}

static void
measure(struct node *n)
{
	struct peer p = n->measure[0];
	struct known *k;

	n->measure_n--;
	memmove(
	    n->measure, n->measure + 1, n->measure_n * sizeof(n->measure[0]));
	if (n->measure_n == 0) {
		free(n->measure);
		n->measure = NULL;
	}
	n->measure_us = n->now_us + node_jitter(n, MEASURE_GAP_US);
	k = known_get(n, &p);
	if (!k || k->probing || k->dead_us)
		return;
	k->measuring = true;
	known_probe(n, k);
}

/* ---- rows --------------------------------------------------------------- */

static unsigned
row_add(struct node *n, unsigned row, const struct id *but, unsigned count,
    struct peer *out)
{
	for (unsigned d = 0; d < ID_BASE && count < CELLS_MAX; d++) {
		const struct routing_entry *e =
		    routing_table_cell(n->table, row, d);

		if (e && !id_eq(&e->peer.id, but) &&
		    known_is_usable(n, &e->peer.id))
			out[count++] = e->peer;
	}
	return count;
}

void
table_send(struct node *n, const struct peer *to, unsigned row, bool only,
    unsigned ask_row, uint64_t nonce)
{
	struct msg_cells m = { .ask_row = (uint8_t)ask_row, .nonce = nonce };
	uint8_t frame[4096];
	unsigned count = 0;
	size_t len;

	for (unsigned r = row + 1; r--;) {
		count = row_add(n, r, &to->id, count, m.peer);
		if (only)
			break;
	}
	m.count = (uint8_t)count;
	if (!msg_cells_encode(&m, frame, sizeof(frame), &len))
		assert(!"a row fits");
	out_frame_direct(n, to, frame, len);
}

_Static_assert(
    CELLS_MAX *PEER_BYTES + 64 <= 4096, "a frame of cells fits its buffer");

enum err
table_cells(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_cells m;
	unsigned most = LEARN_MAX, shared;
	enum err e = msg_cells_decode(frame, len, &m);

	if (e)
		return e;
	shared = id_shared_digits(&n->config.self.id, &o->peer.id);
	if (m.ask_row != CELLS_ASK_NONE && m.ask_row >= ID_DIGITS)
		return ERR_MALFORMED;
	node_heard(n, o);
	if (m.ask_row != CELLS_ASK_NONE && m.ask_row <= shared)
		table_send(
		    n, &o->peer, m.ask_row, true, CELLS_ASK_NONE, m.nonce);
	/* While we join, all that is on offer; else empty cells first, then
	 * a few that may be nearer. */
	if (n->stage != STAGE_JOINED ||
	    n->now_us - n->joined_us < JOIN_LEARN_US)
		most = CELLS_MAX;
	for (unsigned pass = 0; pass < 2; pass++) {
		uint32_t rtt_us = pass ? 0 : RTT_UNKNOWN;

		for (unsigned i = 0; i < m.count && most; i++) {
			unsigned was = n->measure_n;

			if (is_worth_a_cell(n, &m.peer[i].id, rtt_us))
				measure_add(n, &m.peer[i]);
			most -= n->measure_n != was;
		}
	}
	return OK;
}

/* The next digit's cell is empty: a node that shares as much with the key may
 * have one (lazy repair). */
void
table_ask_row(struct node *n, const struct id *key, const struct peer *of)
{
	unsigned row = id_shared_digits(&n->config.self.id, key);

	if (row == ID_DIGITS || n->now_us < n->row_asked_us ||
	    id_shared_digits(&n->config.self.id, &of->id) < row)
		return;
	n->row_asked_us = n->now_us + ROW_ASK_GAP_US;
	table_send(n, of, row, true, row, node_nonce(n));
}

/* Any member of a random row: what it has there fits us as well. */
static void
exchange(struct node *n)
{
	unsigned rows = routing_table_rows(n->table), row, count = 0;

	if (rows == 0)
		return;
	row = (unsigned)rng_below(&n->rng, rows);
	for (unsigned d = 0; d < ID_BASE; d++)
		count += routing_table_cell(n->table, row, d) != NULL;
	if (count == 0)
		return;
	count = (unsigned)rng_below(&n->rng, count);
	for (unsigned d = 0; d < ID_BASE; d++) {
		const struct routing_entry *e =
		    routing_table_cell(n->table, row, d);

		if (e && count-- == 0) {
			struct peer to = e->peer;

			if (known_is_usable(n, &to.id))
				table_send(
				    n, &to, row, true, row, node_nonce(n));
			return;
		}
	}
}

/* ---- the dead ----------------------------------------------------------- */

void
table_failed(struct node *n)
{
	if (n->fail_n == FAILS) {
		memmove(n->fail_us, n->fail_us + 1,
		    (FAILS - 1) * sizeof(n->fail_us[0]));
		n->fail_n--;
	}
	n->fail_us[n->fail_n++] = n->now_us;
}

/* An entry dies with rate mu and is asked every T, so it is dead for T/2 of
 * its last period: mu * T / 2 <= 1/LOSS_PART. */
static uint64_t
entry_period(const struct node *n)
{
	uint64_t known =
	    routing_table_count(n->table) + leaf_set_count(n->leaves);
	uint64_t since = n->fail_n == FAILS ? n->fail_us[0] : n->joined_us;
	uint64_t span = n->now_us - since, period;

	if (n->fail_n == 0)
		return n->config.table_probe_max_us;
	/* 1/mu = span * known / deaths */
	period = span / n->fail_n * known * 2 / LOSS_PART;
	if (period < ENTRY_PERIOD_MIN_US)
		period = ENTRY_PERIOD_MIN_US;
	if (period < routing_table_count(n->table) * ENTRY_GAP_US)
		period = routing_table_count(n->table) * ENTRY_GAP_US;
	return min_us(period, n->config.table_probe_max_us);
}

/* The one that has been silent for longest, if for longer than the period;
 * *next: when to look again. */
static struct routing_entry *
most_silent(struct node *n, uint64_t period, uint64_t *next)
{
	struct routing_entry *best = NULL;

	for (unsigned r = 0; r < routing_table_rows(n->table); r++) {
		for (unsigned d = 0; d < ID_BASE; d++) {
			struct routing_entry *e =
			    routing_table_cell(n->table, r, d);

			if (e && (!best || e->heard_us < best->heard_us))
				best = e;
		}
	}
	*next = n->now_us + ENTRY_GAP_US;
	if (best && n->now_us - best->heard_us < period) {
		uint64_t due = best->heard_us + period;

		*next = due > *next ? due : *next;
		best = NULL;
	}
	return best;
}

void
table_timers(struct node *n)
{
	if (n->stage != STAGE_JOINED && n->stage != STAGE_PROBING)
		return;
	if (n->measure_n && n->measure_us <= n->now_us)
		measure(n);
	if (routing_table_count(n->table) == 0)
		return;
	if (n->cells_us <= n->now_us) {
		bool fresh = n->exchanges < FRESH_EXCHANGES;

		if (n->exchanges++)
			exchange(n);
		n->cells_us =
		    n->now_us + node_jitter(n, fresh ? n->config.cells_us / 20
						     : n->config.cells_us);
	}
	if (n->probe_us <= n->now_us) {
		uint64_t next;
		struct routing_entry *e =
		    most_silent(n, entry_period(n), &next);
		struct known *k = e ? known_get(n, &e->peer) : NULL;

		n->probe_us = node_jitter(n, next - n->now_us) + n->now_us;
		if (k && !k->dead_us)
			known_probe(n, k);
	}
}

uint64_t
table_deadline(const struct node *n)
{
	uint64_t at = NEVER;

	if (n->stage != STAGE_JOINED && n->stage != STAGE_PROBING)
		return at;
	if (n->measure_n)
		at = n->measure_us;
	if (routing_table_count(n->table))
		at = min_us(at, min_us(n->cells_us, n->probe_us));
	return at;
}
