/* replicas_fetch.c - a block for a reader: GET, BLOCKS.
 *
 * Holders are asked one after the other, those that answered lately before
 * those that did not, then the fastest; next come the rest of the window, since
 * a holder that is new may lack what one before it has.  Who does not answer in
 * a quarter of answer_us is not waited for: the next is asked as well.  After
 * two times answer_us, or when all have said no, the reader is told
 * ERR_UNREACHABLE, so that no read hangs.
 *
 * Readers of one id share a fetch.  Ids that wait while questions to a peer
 * are out go together in the next one. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define GET_IDS 64u /* in one question */
#define GOING_MAX 256u /* ids that one peer is asked for at once */

static uint64_t
hash_id(const struct id *id)
{
	return hash64(id, ID_BYTES, 0);
}

static bool
is_fetch(const void *item, const void *key)
{
	const struct past_fetch *f = item;

	return id_eq(&f->id, key);
}

static struct past_fetch *
find(const struct replicas *r, const struct id *id)
{
	return map_find(&r->fetches, hash_id(id), is_fetch, id);
}

/* One question fewer to each that was asked in vain or hedged. */
static void
fetch_free(struct replicas *r, struct past_fetch *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct past_peer *p = past_peer(r, f->peer[i]);

		if (p && f->state[i] == FETCH_ASKED)
			p->gets--;
	}
	map_remove(&r->fetches, hash_id(&f->id), is_fetch, &f->id);
	*(f->prev ? &f->prev->next : &r->fetch_first) = f->next;
	*(f->next ? &f->next->prev : &r->fetch_last) = f->prev;
	while (f->readers) {
		struct past_reader *next = f->readers->next;

		free(f->readers);
		f->readers = next;
	}
	free(f);
}

static void
finish(struct replicas *r, struct past_fetch *f, enum err e,
    const uint8_t *bytes, size_t len)
{
	struct replicas_action a = {
		.kind = REPLICAS_ACT_FETCHED, .id = f->id, .e = e
	};

	while (f->readers) {
		struct past_reader *next = f->readers->next;

		a.request = f->readers->request;
		a.bytes = bytes;
		a.len = len;
		if (!past_act(r, &a)) { /* again in a while */
			f->end_us = r->now_us + r->c.answer_us;
			past_wake(r, f->end_us);
			return;
		}
		if (e)
			r->counters.fetch_failed++;
		else
			r->counters.fetched++;
		free(f->readers);
		f->readers = next;
	}
	fetch_free(r, f);
}

/* ---- whom to ask -------------------------------------------------------- */

static bool
asked_before(const struct past_peer *a, const struct past_peer *b)
{
	if ((a->fails > 0) != (b->fails > 0))
		return a->fails == 0;
	return a->node.rtt_us < b->node.rtt_us;
}

static void
sort_by_speed(const struct replicas *r, uint32_t *peer, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		for (unsigned j = i; j > 0; j--) {
			uint32_t swap = peer[j];

			if (!asked_before(past_peer(r, peer[j]),
				past_peer(r, peer[j - 1])))
				break;
			peer[j] = peer[j - 1];
			peer[j - 1] = swap;
		}
}

/* Ask the next one.  False: there is none. */
static bool
ask_next(struct replicas *r, struct past_fetch *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct past_peer *p = past_peer(r, f->peer[i]);

		if (f->state[i] != FETCH_TODO)
			continue;
		f->state[i] = FETCH_FAILED;
		if (!p || !past_ids_push(&p->fetches, &f->id))
			continue;
		f->state[i] = FETCH_QUEUED;
		f->hedge_us = r->now_us + r->c.answer_us / 4;
		past_wake(r, f->hedge_us);
		return true;
	}
	f->hedge_us = PAST_NEVER;
	return false;
}

static bool
hopeless(const struct past_fetch *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->state[i] != FETCH_FAILED)
			return false;
	return f->placed;
}

static void
place(struct replicas *r, struct past_fetch *f)
{
	uint32_t near[3 * REPLICA_K_MAX];
	unsigned count, holders;
	bool self;

	if (!past_holders(
		r, &f->id, PAST_FETCH_PEERS, near, &count, &holders, &self))
		return; /* until end_us */
	f->placed = true;
	sort_by_speed(r, near, holders);
	for (unsigned i = 0; i < count; i++) {
		unsigned j = 0;

		while (j < f->count && f->peer[j] != near[i])
			j++;
		if (j < f->count || j == PAST_FETCH_PEERS)
			continue;
		f->peer[f->count] = near[i];
		f->state[f->count++] = FETCH_TODO;
	}
	if (f->hedge_us == PAST_NEVER)
		ask_next(r, f);
}

enum err
past_fetch_want(struct replicas *r, const struct id *id, uint64_t request)
{
	struct past_fetch *f = find(r, id);
	struct past_reader *reader;

	if (!f && r->fetches.count >= REPLICA_FETCHES_MAX)
		return ERR_AGAIN;
	reader = calloc(1, sizeof(*reader));
	if (!reader)
		return ERR_NOMEM;
	reader->request = request;
	if (f) {
		reader->next = f->readers;
		f->readers = reader;
		return OK;
	}
	f = calloc(1, sizeof(*f));
	if (!f || map_add(&r->fetches, hash_id(id), f)) {
		free(f);
		free(reader);
		return ERR_NOMEM;
	}
	f->id = *id;
	f->readers = reader;
	f->end_us = r->now_us + 2 * r->c.answer_us;
	f->hedge_us = PAST_NEVER;
	f->prev = r->fetch_last;
	*(r->fetch_last ? &r->fetch_last->next : &r->fetch_first) = f;
	r->fetch_last = f;
	past_wake(r, f->end_us);
	place(r, f);
	if (hopeless(f))
		finish(r, f, ERR_UNREACHABLE, NULL, 0);
	return OK;
}

void
past_fetch_place(struct replicas *r)
{
	struct past_fetch *f, *next;

	for (f = r->fetch_first; f; f = next) {
		next = f->next;
		place(r, f);
		if (hopeless(f) && !ask_next(r, f))
			finish(r, f, ERR_UNREACHABLE, NULL, 0);
	}
}

/* ---- questions and answers ---------------------------------------------- */

static unsigned
index_of(const struct past_fetch *f, const struct past_peer *p)
{
	unsigned i = 0;

	while (i < f->count && f->peer[i] != p->number)
		i++;
	return i;
}

static void
ask(struct replicas *r, struct past_peer *p)
{
	struct past_msg m = { .kind = PAST_GET };
	struct id ids[GET_IDS];
	struct past_ids *q = &p->fetches;

	while (q->count && m.count < GET_IDS) {
		const struct id *id = &q->v[q->head];
		struct past_fetch *f = find(r, id);
		unsigned i = f ? index_of(f, p) : 0;

		if (f && i < f->count && f->state[i] == FETCH_QUEUED) {
			f->state[i] = FETCH_ASKED;
			p->gets++;
			ids[m.count++] = *id;
		}
		q->head++;
		q->count--;
	}
	if (q->count == 0)
		q->head = 0;
	if (m.count == 0)
		return;
	past_ids_sort(ids, &m.count);
	m.nonce = past_number(r);
	m.ids = ids;
	past_send(r, &p->node.id, &m);
}

/* At once while few answers are awaited; else when enough has gathered. */
void
past_fetch_pump(struct replicas *r)
{
	for (unsigned i = 0; i < r->peers; i++) {
		struct past_peer *p = r->peer[i];

		while (p->fetches.count && p->gets < GOING_MAX &&
		       4 * p->fetches.count >= p->gets)
			ask(r, p);
	}
}

static void
failed_at(
    struct replicas *r, struct past_fetch *f, unsigned i, struct past_peer *p)
{
	if (f->state[i] == FETCH_ASKED)
		p->gets--;
	f->state[i] = FETCH_FAILED;
	if (!ask_next(r, f) && hopeless(f))
		finish(r, f, ERR_UNREACHABLE, NULL, 0);
}

enum err
past_fetch_blocks(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	struct past_block b;
	enum err e = OK;
	struct rd rd;
	struct id id;

	past_peer_answered(p);
	rd_init(&rd, m->bytes, m->len);
	for (size_t n = 0; n < m->count; n++) {
		struct past_fetch *f;
		unsigned i;

		past_read_block(m, &rd, &b);
		f = find(r, &b.id);
		i = f ? index_of(f, p) : 0;
		/* A block that was asked of several comes more than once. */
		if (!f || i == f->count || f->state[i] == FETCH_TODO ||
		    f->state[i] == FETCH_QUEUED) {
			r->counters.unasked++;
			continue;
		}
		if (b.bytes) {
			hash_bytes(b.bytes, b.len, &id);
			if (id_eq(&id, &b.id)) {
				finish(r, f, OK, b.bytes, b.len);
				continue;
			}
			r->counters.forged++;
			e = ERR_BADSIG;
		}
		if (f->state[i] == FETCH_ASKED)
			failed_at(r, f, i, p);
	}
	return e;
}

static void
nobody_answered(struct replicas *r, struct past_fetch *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct past_peer *p = past_peer(r, f->peer[i]);

		if (p && f->state[i] == FETCH_ASKED && p->fails == 0)
			p->fails = 1; /* ask others first */
	}
	past_locate_stale(r, &f->id);
	finish(r, f, ERR_UNREACHABLE, NULL, 0);
}

void
past_fetch_timers(struct replicas *r)
{
	struct past_fetch *f, *next;

	for (f = r->fetch_first; f; f = next) {
		next = f->next;
		if (r->now_us >= f->end_us) {
			nobody_answered(r, f);
			continue;
		}
		if (r->now_us >= f->hedge_us) {
			for (unsigned i = 0; i < f->count; i++) {
				struct past_peer *p = past_peer(r, f->peer[i]);

				if (p && f->state[i] == FETCH_ASKED)
					p->fails += p->fails == 0;
			}
			ask_next(r, f);
		}
		past_wake(r, f->hedge_us < f->end_us ? f->hedge_us : f->end_us);
	}
}

void
past_fetch_fini(struct replicas *r)
{
	while (r->fetch_first)
		fetch_free(r, r->fetch_first);
	map_fini(&r->fetches);
}
