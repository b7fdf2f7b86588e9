/* replicas_batch.c - how blocks get to a holder: HAVE, NEED, PUT, STORED.
 *
 * Ids wait in a queue for each peer and class.  A batch takes up to
 * REPLICA_BATCH_IDS of one class:
 *
 *   ASKED    HAVE is out.  NEED tells what is missing; the rest is settled.
 *            What another is about to put is asked again later, in a batch
 *            of its own.
 *   TO_READ  waits until few enough reads are under way and, for repair, until
 *            there are tokens
 *   READING  the driver reads the next few
 *   PUT      they are sent; STORED settles them; then the next few
 *
 * No block stays in memory here while its answer is awaited: what is not
 * answered is read again.  So what is bounded is the reads, and these are
 * bounded by memory_max.
 *
 * A batch that is not answered PAST_TRIES times is given up and its peer is left
 * alone for a while: own blocks go to a stand-in, and to it again later; repair
 * is found again by the next exchange. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

bool
past_queue(struct replicas *r, struct past_peer *p, enum past_class class,
    const struct id *id)
{
	struct past_ids *q = &p->queue[class];

	(void)r;
	if ((class == PAST_REPAIR || class == PAST_LEAVE) &&
	    q->count >= PAST_QUEUE_MAX) {
		p->overflow = true;
		return false;
	}
	return past_ids_push(q, id);
}

static bool
paced(const struct past_batch *b)
{
	return b->class == PAST_REPAIR || b->class == PAST_LEAVE;
}

static struct past_batch *
batch_new(struct replicas *r, struct past_peer *p, enum past_class class,
    const struct id *ids, size_t count)
{
	struct past_batch *b = malloc(sizeof(*b) + count * sizeof(b->ids[0]));

	if (!b)
		return NULL;
	memset(b, 0, sizeof(*b));
	b->peer = p->number;
	b->class = class;
	b->count = count;
	memcpy(b->ids, ids, count * sizeof(b->ids[0]));
	past_ids_sort(b->ids, &b->count);
	*r->batches_end = b;
	r->batches_end = &b->next;
	p->flying++;
	p->paced += paced(b);
	return b;
}

static void
batch_free(struct replicas *r, struct past_batch *b)
{
	struct past_peer *p = past_peer(r, b->peer);
	struct past_batch **at = &r->batches;

	if (b->stage == BATCH_READING)
		r->reads--;
	if (p) {
		p->flying--;
		p->paced -= paced(b);
	}
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	if (!b->next)
		r->batches_end = at;
	free(b);
}

static void
ask(struct replicas *r, struct past_batch *b, const struct past_peer *p)
{
	struct past_msg m = { .kind = PAST_HAVE };
	bool lease = !paced(b);

	b->stage = BATCH_ASKED;
	b->nonce = past_number(r);
	b->due_us = r->now_us + r->c.answer_us;
	past_wake(r, b->due_us);
	m.nonce = b->nonce;
	m.until_s = lease ? r->now_s + (int64_t)r->c.lease_s : 0;
	m.ids = b->ids;
	m.count = b->count;
	past_send(r, &p->node.id, &m);
}

/* The peer has it. */
static void
settled(struct replicas *r, struct past_batch *b, const struct past_peer *p,
    const struct id *id)
{
	if (b->class == PAST_INSERT || b->class == PAST_RENEW)
		past_insert_held(r, id, p);
	else if (b->class == PAST_LEAVE)
		past_leave_held(r, id, p);
}

static void
give_up(struct replicas *r, struct past_batch *b, struct past_peer *p)
{
	past_peer_failed(r, p);
	if (b->class == PAST_INSERT)
		past_insert_late(r, b->ids + b->at, b->count - b->at, p);
	for (size_t i = b->at; b->class == PAST_RENEW && i < b->count; i++)
		past_queue(r, p, PAST_RENEW, &b->ids[i]);
	if (b->class == PAST_REPAIR)
		p->overflow = true;
	batch_free(r, b);
}

/* ---- answers ------------------------------------------------------------ */

static struct past_batch *
find(struct replicas *r, const struct past_peer *p, uint64_t nonce,
    enum past_stage stage)
{
	struct past_batch *b = r->batches;

	while (b &&
	       (b->nonce != nonce || b->stage != stage || b->peer != p->number))
		b = b->next;
	return b;
}

static void
later(struct replicas *r, struct past_batch *of, struct past_peer *p,
    const struct id *ids, size_t count)
{
	struct past_batch *b = batch_new(r, p, of->class, ids, count);

	if (!b) { /* as if it had not been answered */
		if (of->class == PAST_INSERT)
			past_insert_late(r, ids, count, p);
		return;
	}
	b->tries = of->tries + 1;
	b->stage = BATCH_LATER;
	b->due_us = r->now_us + past_jitter(r, r->c.answer_us);
	past_wake(r, b->due_us);
}

void
past_batch_need(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	struct past_batch *b = find(r, p, m->nonce, BATCH_ASKED);
	struct id again[REPLICA_BATCH_IDS];
	size_t needed = 0, agains = 0;

	if (!b || b->count != m->count) {
		r->counters.unasked++;
		return;
	}
	past_peer_answered(p);
	for (size_t i = 0; i < m->count; i++)
		switch ((enum past_have)m->bytes[i]) {
		case HAVE_MISSING:
			b->ids[needed++] = b->ids[i];
			break;
		case HAVE_HELD:
			settled(r, b, p, &b->ids[i]);
			break;
		case HAVE_COMING:
			if (!paced(b))
				again[agains++] = b->ids[i];
			break;
		case HAVE_NOT_MINE:
			if (b->class == PAST_INSERT) {
				past_locate_stale(r, &b->ids[i]);
				again[agains++] = b->ids[i];
			}
			break;
		}
	if (agains && b->tries + 1 < PAST_TRIES)
		later(r, b, p, again, agains);
	else if (agains && b->class == PAST_INSERT)
		past_insert_late(r, again, agains, p);
	b->count = needed;
	b->tries = 0;
	b->stage = BATCH_TO_READ;
	b->due_us = PAST_NEVER;
	if (needed == 0)
		batch_free(r, b);
}

void
past_batch_stored(
    struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	struct past_batch *b = find(r, p, m->nonce, BATCH_PUT);

	if (!b) {
		r->counters.unasked++;
		return;
	}
	past_peer_answered(p);
	if (m->flags != PAST_STORED_OK) { /* it is busy or full */
		if (++b->tries >= 2 * PAST_TRIES) {
			give_up(r, b, p);
			return;
		}
		b->nonce = 0; /* and the time-out reads it again */
		b->due_us = r->now_us + past_jitter(r, r->c.answer_us);
		past_wake(r, b->due_us);
		return;
	}
	for (size_t i = 0; i < b->putting; i++)
		settled(r, b, p, &b->ids[b->at + i]);
	b->at += b->putting;
	b->putting = 0;
	b->tries = 0;
	b->stage = BATCH_TO_READ;
	b->due_us = PAST_NEVER;
	if (b->at == b->count)
		batch_free(r, b);
}

/* ---- reading and putting ------------------------------------------------ */

/* The leases a block takes with it. */
static void
add_leases(struct replicas *r, const struct past_batch *b,
    struct replica_block *block, struct replica_lease *room)
{
	if (paced(b)) {
		block->lease_count =
		    r->c.holdings.leases(r->c.holdings.arg, &block->id, room);
		assert(block->lease_count <= REPLICA_LEASES_MAX);
		if (r->c.holdings.role(r->c.holdings.arg, &block->id) ==
			REPLICA_OWN &&
		    block->lease_count < REPLICA_LEASES_MAX)
			room[block->lease_count++] =
			    (struct replica_lease){ r->c.self,
				    r->now_s + (int64_t)r->c.lease_s };
	} else {
		room[0] = (struct replica_lease){ r->c.self,
			r->now_s + (int64_t)r->c.lease_s };
		block->lease_count = 1;
	}
	block->leases = room;
}

static void
put(struct replicas *r, struct past_batch *b, struct past_peer *p,
    const struct replicas_event *ev)
{
	struct replica_block block[REPLICA_BATCH_IDS];
	struct replica_lease *leases;
	size_t count = 0, used = 0, bytes = 0;

	leases = malloc(ev->block_count * REPLICA_LEASES_MAX * sizeof(*leases));
	/* Without memory it is as if the answer were lost. */
	for (; leases && used < ev->block_count; used++) {
		struct replica_block *k = &block[count];

		*k = ev->blocks[used];
		assert(id_eq(&k->id, &b->ids[b->at + used]));
		if (!k->bytes || k->len == 0 || k->len > REPLICA_BLOCK_MAX) {
			if (!paced(b))
				past_insert_gone(r, &k->id);
			continue;
		}
		add_leases(r, b, k, leases + count * REPLICA_LEASES_MAX);
		if (bytes + past_block_bytes(PAST_PUT, k) + 16 >
		    REPLICA_MESSAGE_MAX)
			break;
		bytes += past_block_bytes(PAST_PUT, k);
		count++;
	}
	b->putting = used;
	if (count) {
		b->nonce = past_number(r);
		past_send_blocks(
		    r, &p->node.id, PAST_PUT, b->nonce, block, count);
		r->counters.put_blocks += count;
		r->counters.put_bytes += bytes;
		if (paced(b)) {
			r->counters.repair_blocks += count;
			r->counters.repair_bytes += bytes;
			r->tokens -= (int64_t)bytes;
		}
	}
	free(leases);
	if (leases && count == 0) { /* nothing of it is here any more */
		b->at += used;
		b->putting = 0;
		b->stage = BATCH_TO_READ;
		b->due_us = PAST_NEVER;
		if (b->at == b->count)
			batch_free(r, b);
		return;
	}
	b->due_us = r->now_us + 2 * r->c.answer_us;
	past_wake(r, b->due_us);
}

bool
past_batch_read(struct replicas *r, const struct replicas_event *ev)
{
	struct past_batch *b = r->batches;
	struct past_peer *p;

	while (b && (b->stage != BATCH_READING || b->nonce != ev->request))
		b = b->next;
	if (!b)
		return false;
	assert(ev->block_count <= b->count - b->at);
	r->reads--;
	b->stage = BATCH_PUT;
	p = past_peer(r, b->peer);
	assert(p); /* batches go with their peer */
	if (ev->block_count == 0) /* the driver can not, now */
		b->due_us = r->now_us + r->c.answer_us;
	else
		put(r, b, p, ev);
	return true;
}

static void
read_more(struct replicas *r, struct past_batch *b)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_READ };

	b->nonce = past_number(r);
	a.request = b->nonce;
	a.ids = b->ids + b->at;
	a.id_count = b->count - b->at;
	if (!past_act(r, &a)) {
		past_wake(r, r->now_us + r->c.answer_us);
		return;
	}
	b->stage = BATCH_READING;
	b->due_us = PAST_NEVER;
	r->reads++;
}

/* When there will be tokens again. */
static uint64_t
tokens_at(const struct replicas *r)
{
	uint64_t lacking = (uint64_t)(1 - r->tokens);

	return r->now_us + lacking * PAST_SECOND / r->c.repair_bytes_s + 1;
}

static void
start(struct replicas *r, struct past_peer *p, enum past_class class)
{
	struct past_ids *q = &p->queue[class];
	size_t n = q->count < REPLICA_BATCH_IDS ? q->count : REPLICA_BATCH_IDS;
	struct past_batch *b = batch_new(r, p, class, q->v + q->head, n);

	if (!b)
		return;
	q->count -= n;
	q->head = q->count ? q->head + n : 0;
	ask(r, b, p);
}

void
past_batch_pump(struct replicas *r)
{
	unsigned reads_max = (unsigned)(r->c.memory_max / PAST_READ_MAX);

	for (unsigned i = 0; i < r->peers; i++) {
		struct past_peer *p = r->peer[i];

		if (r->now_us < p->quiet_until_us)
			continue;
		for (unsigned c = 0; c < PAST_CLASSES; c++) {
			bool slow = c == PAST_REPAIR || c == PAST_LEAVE;

			while (p->queue[c].count &&
			       p->flying < PAST_FLIGHT_MAX &&
			       (!slow || p->paced < PAST_PACED_MAX)) {
				unsigned before = p->flying;

				start(r, p, (enum past_class)c);
				if (p->flying == before)
					return; /* no memory */
			}
		}
		if (p->overflow && !p->paced && !p->queue[PAST_REPAIR].count) {
			p->overflow = false; /* compare again */
			if (p->leaf)
				p->exchange_us =
				    r->now_us + past_jitter(r, r->c.answer_us);
			past_wake(r, p->exchange_us);
		}
	}
	for (struct past_batch *b = r->batches; b; b = b->next) {
		if (b->stage != BATCH_TO_READ)
			continue;
		if (r->reads >= reads_max)
			break;
		if (paced(b) && r->tokens <= 0)
			past_wake(r, tokens_at(r));
		else
			read_more(r, b);
	}
}

void
past_batch_timers(struct replicas *r)
{
	struct past_batch *b, *next;

	for (b = r->batches; b; b = next) {
		struct past_peer *p = past_peer(r, b->peer);

		next = b->next;
		if (b->stage == BATCH_TO_READ || b->stage == BATCH_READING)
			continue;
		if (r->now_us < b->due_us) {
			past_wake(r, b->due_us);
			continue;
		}
		if (b->stage == BATCH_LATER) {
			ask(r, b, p);
		} else if (++b->tries >= PAST_TRIES) {
			give_up(r, b, p);
		} else if (b->stage == BATCH_ASKED) {
			ask(r, b, p);
		} else {
			b->stage = BATCH_TO_READ;
			b->due_us = PAST_NEVER;
			b->putting = 0;
		}
	}
}

void
past_batch_forget(struct replicas *r, uint32_t peer)
{
	struct past_batch *b, *next;

	for (b = r->batches; b; b = next) {
		next = b->next;
		if (b->peer == peer)
			batch_free(r, b);
	}
}

void
past_batch_fini(struct replicas *r)
{
	while (r->batches)
		batch_free(r, r->batches);
}
