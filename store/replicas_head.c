/* replicas_head.c - the signed tips of logs: HEAD_PUT, HEAD_GET, HEAD, HEADS.
 *
 * Who holds a head takes a new one only if its signature is good, it is of the
 * device whose id it is kept under, and its sequence is larger.  Another of
 * the same sequence is a fork and is not taken either; who offers it, or an
 * older one, is answered with what is here.
 *
 * A write is told safe when a majority of the holders keeps it.  A read asks all
 * and takes the newest; who told an older one, or none, is sent that. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define OPS_MAX 1024u

enum answer { ANSWER_NONE, ANSWER_HAS, ANSWER_LACKS };

struct past_head_op {
	struct past_head_op *next;
	bool write, placed, safe;
	bool self; /* we are a holder */
	uint64_t request, due_us;
	unsigned tries, count;
	struct id id;
	uint64_t sequence; /* of bytes; 0: none yet */
	uint8_t bytes[ULOG_HEAD_MAX];
	size_t len;
	uint32_t peer[REPLICA_K_MAX];
	uint64_t nonce[REPLICA_K_MAX];
	uint64_t told[REPLICA_K_MAX]; /* the sequence a holder has */
	uint8_t state[REPLICA_K_MAX];
};

/* ERR_BADSIG: forged, or not of this id. */
static enum err
check(const struct id *id, const uint8_t *bytes, size_t len, uint64_t *sequence)
{
	struct ulog_head h;
	enum err e = ulog_head_decode(bytes, len, &h);

	if (e)
		return e;
	if (!id_eq(&h.device, id))
		return ERR_BADSIG;
	*sequence = h.sequence;
	return OK;
}

/* What is kept here; 0: none. */
static size_t
kept(struct replicas *r, const struct id *id, uint8_t *out, uint64_t *sequence)
{
	size_t len = r->c.holdings.head(r->c.holdings.arg, id, out);

	*sequence = 0;
	if (len && check(id, out, len, sequence))
		return 0; /* damaged: as if there were none */
	return len;
}

static void
say(struct replicas *r, const struct id *peer, uint64_t nonce,
    const struct id *id, uint8_t status, const uint8_t *bytes, size_t len)
{
	struct past_msg m = { .kind = PAST_HEAD,
		.nonce = nonce,
		.flags = status,
		.id = *id,
		.bytes = bytes,
		.len = len };

	past_send(r, peer, &m);
}

static bool
put(struct replicas *r, const struct id *peer, uint64_t nonce,
    const struct id *id, const uint8_t *bytes, size_t len)
{
	struct past_msg m = { .kind = PAST_HEAD_PUT,
		.nonce = nonce,
		.id = *id,
		.bytes = bytes,
		.len = len };

	return past_send(r, peer, &m);
}

/* ---- a holder ----------------------------------------------------------- */

/* Keep it; then `peer` is answered, if nonce is not 0. */
static enum err
keep(struct replicas *r, const struct id *peer, uint64_t nonce,
    const struct id *id, const uint8_t *bytes, size_t len)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_HEAD, .id = *id };
	struct past_storing *s = past_storing_new(r, peer, nonce, len);

	if (!s)
		return ERR_NOMEM;
	s->head = true;
	s->id = *id;
	a.peer = *peer;
	a.request = s->request;
	a.bytes = bytes;
	a.len = len;
	if (past_act(r, &a))
		return OK;
	r->storing = s->next;
	r->storing_bytes -= s->bytes;
	free(s);
	return ERR_NOMEM;
}

void
past_head_stored(struct replicas *r, const struct past_storing *s, enum err e)
{
	if (s->nonce)
		say(r, &s->peer, s->nonce, &s->id,
		    e ? PAST_HEAD_FAILED : PAST_HEAD_STORED, NULL, 0);
}

/* One for the same id that is not durable yet: its answer decides first. */
static bool
being_kept(const struct replicas *r, const struct id *id)
{
	for (const struct past_storing *s = r->storing; s; s = s->next)
		if (s->head && id_eq(&s->id, id))
			return true;
	return false;
}

static enum err
got_put(struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	uint8_t here[ULOG_HEAD_MAX];
	uint64_t sequence, mine;
	size_t len;
	enum err e;

	e = check(&m->id, m->bytes, m->len, &sequence);
	if (e) {
		r->counters.forged++;
		len = kept(r, &m->id, here, &mine);
		if (len)
			say(r, peer, m->nonce, &m->id, PAST_HEAD_NEWER, here,
			    len);
		return e;
	}
	if (!past_in_window(r, &m->id) ||
	    r->storing_bytes + m->len > r->c.memory_max ||
	    being_kept(r, &m->id)) {
		say(r, peer, m->nonce, &m->id, PAST_HEAD_FAILED, NULL, 0);
		return OK;
	}
	len = kept(r, &m->id, here, &mine);
	if (len && len == m->len && memcmp(here, m->bytes, len) == 0) {
		say(r, peer, m->nonce, &m->id, PAST_HEAD_STORED, NULL, 0);
		return OK;
	}
	if (len && mine >= sequence) {
		r->counters.forged++;
		say(r, peer, m->nonce, &m->id, PAST_HEAD_NEWER, here, len);
		return OK;
	}
	return keep(r, peer, m->nonce, &m->id, m->bytes, m->len);
}

/* ---- writing and reading ------------------------------------------------ */

static void
op_free(struct replicas *r, struct past_head_op *op)
{
	struct past_head_op **at = &r->head_ops;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	free(op);
}

static void
ask(struct replicas *r, struct past_head_op *op, unsigned n)
{
	const struct past_peer *p = past_peer(r, op->peer[n]);
	struct past_msg m = { .kind = PAST_HEAD_GET, .id = op->id };

	if (!p)
		return;
	op->nonce[n] = m.nonce = past_number(r);
	if (op->write)
		put(r, &p->node.id, m.nonce, &op->id, op->bytes, op->len);
	else
		past_send(r, &p->node.id, &m);
}

static void
tell(
    struct replicas *r, struct past_head_op *op, enum replicas_action_kind kind)
{
	struct replicas_action a = { .kind = kind, .id = op->id };

	a.request = op->request;
	a.ids = &op->id;
	a.id_count = 1;
	past_act(r, &a);
}

static void
count(const struct past_head_op *op, unsigned *held, unsigned *wanted)
{
	*held = *wanted = op->self;
	for (unsigned i = 0; i < op->count; i++) {
		*held += op->write ? op->state[i] == ANSWER_HAS
				   : op->state[i] != ANSWER_NONE;
		*wanted += 1;
	}
}

static void
finish_read(struct replicas *r, struct past_head_op *op)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_HEADS };

	a.id = op->id;
	a.request = op->request;
	a.bytes = op->bytes;
	a.len = op->len;
	count(op, &a.held, &a.wanted);
	past_act(r, &a);
	for (unsigned i = 0; op->len && i < op->count; i++) {
		const struct past_peer *p = past_peer(r, op->peer[i]);

		if (p && op->state[i] != ANSWER_NONE &&
		    op->told[i] < op->sequence)
			put(r, &p->node.id, past_number(r), &op->id, op->bytes,
			    op->len);
	}
	op_free(r, op);
}

/* True: it is over, and op is gone. */
static bool
settle(struct replicas *r, struct past_head_op *op)
{
	unsigned held, wanted;

	count(op, &held, &wanted);
	if (!op->write) {
		/* Of a ring that we are not in nothing is known. */
		if (!op->placed || held < wanted)
			return false;
		finish_read(r, op);
		return true;
	}
	if (!op->placed || op->count == 0)
		return false;
	if (!op->safe && 2 * held > wanted) {
		op->safe = true;
		tell(r, op, REPLICAS_ACT_SAFE);
	}
	if (held < wanted)
		return false;
	tell(r, op, REPLICAS_ACT_DONE);
	op_free(r, op);
	return true;
}

static bool
place(struct replicas *r, struct past_head_op *op)
{
	uint32_t now[3 * REPLICA_K_MAX];
	struct past_head_op *before;
	unsigned n, holders;

	before = malloc(sizeof(*before));
	if (!before)
		return false; /* with the list that it has */
	*before = *op;
	op->placed = past_holders(r, &op->id, 0, now, &n, &holders, &op->self);
	op->count = op->placed ? holders : 0;
	for (unsigned i = 0; i < op->count; i++) {
		unsigned j = 0;

		while (j < before->count && before->peer[j] != now[i])
			j++;
		op->peer[i] = now[i];
		op->state[i] = ANSWER_NONE;
		op->told[i] = 0;
		if (j == before->count) {
			ask(r, op, i);
			continue;
		}
		op->state[i] = before->state[j];
		op->nonce[i] = before->nonce[j];
		op->told[i] = before->told[j];
	}
	free(before);
	return settle(r, op);
}

static enum err
op_new(struct replicas *r, const struct replicas_event *ev, bool write,
    struct past_head_op **out)
{
	struct past_head_op *op;
	unsigned n = 0;

	for (op = r->head_ops; op; op = op->next)
		n++;
	if (n >= OPS_MAX)
		return ERR_AGAIN;
	op = calloc(1, sizeof(*op));
	if (!op)
		return ERR_NOMEM;
	op->write = write;
	op->id = ev->id;
	op->request = ev->request;
	op->due_us = r->now_us + r->c.answer_us;
	past_wake(r, op->due_us);
	op->next = r->head_ops;
	r->head_ops = op;
	*out = op;
	return OK;
}

enum err
past_head_write(struct replicas *r, const struct replicas_event *ev)
{
	struct past_head_op *op, *next;
	uint64_t sequence;
	enum err e;

	e = check(&ev->id, ev->bytes, ev->len, &sequence);
	if (e)
		return e;
	e = op_new(r, ev, true, &op);
	if (e)
		return e;
	op->sequence = sequence;
	op->len = ev->len;
	memcpy(op->bytes, ev->bytes, ev->len);
	/* Who waits for the one before is served by this: it has all of it. */
	for (struct past_head_op *o = op->next; o; o = next) {
		next = o->next;
		if (o->write && id_eq(&o->id, &op->id) &&
		    o->sequence < sequence)
			op_free(r, o);
	}
	place(r, op);
	return OK;
}

enum err
past_head_want(struct replicas *r, const struct replicas_event *ev)
{
	struct past_head_op *op;
	enum err e = op_new(r, ev, false, &op);

	if (e)
		return e;
	op->len = kept(r, &ev->id, op->bytes, &op->sequence);
	place(r, op);
	return OK;
}

/* ---- answers ------------------------------------------------------------ */

static void
wrote(struct replicas *r, struct past_head_op *op, unsigned i,
    const struct past_msg *m, uint64_t sequence)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_HEADS };

	if (m->flags == PAST_HEAD_STORED) {
		op->state[i] = ANSWER_HAS;
		settle(r, op);
		return;
	}
	if (m->flags != PAST_HEAD_NEWER || sequence < op->sequence)
		return; /* not now: the time-out asks again */
	a.id = op->id;
	a.request = op->request;
	a.e = ERR_EXISTS;
	a.bytes = m->bytes;
	a.len = m->len;
	a.held = 1;
	a.wanted = op->count + op->self;
	past_act(r, &a);
	op->state[i] = ANSWER_LACKS;
}

static void
was_read(struct replicas *r, struct past_head_op *op, unsigned i,
    const struct past_msg *m, uint64_t sequence)
{
	if (m->flags != PAST_HEAD_IS)
		return;
	op->state[i] = m->len ? ANSWER_HAS : ANSWER_LACKS;
	op->told[i] = sequence;
	if (m->len && sequence > op->sequence) {
		op->sequence = sequence;
		op->len = m->len;
		memcpy(op->bytes, m->bytes, m->len);
	}
	settle(r, op);
}

/* What came from another and is newer than ours, be it asked or not. */
static enum err
take_newer(struct replicas *r, const struct past_peer *p,
    const struct past_msg *m, uint64_t sequence)
{
	uint8_t here[ULOG_HEAD_MAX];
	uint64_t mine;

	kept(r, &m->id, here, &mine);
	if (!past_is_holder(r, &m->id, NULL) || mine >= sequence ||
	    being_kept(r, &m->id))
		return OK;
	return keep(r, &p->node.id, 0, &m->id, m->bytes, m->len);
}

static enum err
got_answer(struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	uint64_t sequence = 0;
	enum err e;

	if (m->len) {
		e = check(&m->id, m->bytes, m->len, &sequence);
		if (e) {
			r->counters.forged++;
			return e;
		}
		e = take_newer(r, p, m, sequence);
		if (e)
			return e;
	}
	for (struct past_head_op *op = r->head_ops; op; op = op->next)
		for (unsigned i = 0; i < op->count; i++) {
			if (op->peer[i] != p->number ||
			    op->nonce[i] != m->nonce || !id_eq(&op->id, &m->id))
				continue;
			past_peer_answered(p);
			if (op->write)
				wrote(r, op, i, m, sequence);
			else
				was_read(r, op, i, m, sequence);
			return OK;
		}
	return OK; /* of the exchange, which keeps no questions; or late */
}

/* ---- exchange ----------------------------------------------------------- */

static void
say_heads(
    struct replicas *r, struct past_peer *p, const uint8_t *rows, size_t n)
{
	struct past_msg m = { .kind = PAST_HEADS, .bytes = rows, .count = n };

	m.len = n * PAST_HEAD_ROW_BYTES;
	if (n)
		past_send(r, &p->node.id, &m);
}

/* Tell a neighbour which heads it should have and how new ours are. */
void
past_head_exchange(struct replicas *r, struct past_peer *p)
{
	uint8_t rows[PAST_HEADS_MAX * PAST_HEAD_ROW_BYTES];
	uint8_t head[ULOG_HEAD_MAX];
	struct id from = { { 0 } };
	struct past_head_row row;
	size_t n = 0;
	struct wr w;

	wr_init(&w, rows, sizeof(rows));
	while (r->c.holdings.next_head(r->c.holdings.arg, &from, &row.id)) {
		from = row.id;
		if (past_is_holder(r, &row.id, &p->node.id) &&
		    kept(r, &row.id, head, &row.sequence)) {
			past_write_head(&w, &row);
			n++;
		}
		if (n == PAST_HEADS_MAX) {
			say_heads(r, p, rows, n);
			wr_init(&w, rows, sizeof(rows));
			n = 0;
		}
		if (!past_id_next(&from))
			break;
	}
	say_heads(r, p, rows, n);
}

static void
got_heads(struct replicas *r, struct past_peer *p, const struct past_msg *m)
{
	uint8_t head[ULOG_HEAD_MAX];
	struct past_head_row row;
	uint64_t mine;

	for (size_t i = 0; i < m->count; i++) {
		struct past_msg get = { .kind = PAST_HEAD_GET };
		size_t len;

		past_row_head(m, i, &row);
		if (!past_is_holder(r, &row.id, NULL))
			continue;
		len = kept(r, &row.id, head, &mine);
		get.id = row.id;
		get.nonce = past_number(r);
		if (mine < row.sequence)
			past_send(r, &p->node.id, &get);
		else if (mine > row.sequence &&
			 past_is_holder(r, &row.id, &p->node.id))
			put(r, &p->node.id, get.nonce, &row.id, head, len);
	}
}

enum err
past_head_message(
    struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	struct past_peer *p = past_peer_of(r, peer);
	uint8_t head[ULOG_HEAD_MAX];
	uint64_t sequence;
	size_t len;

	switch (m->kind) {
	case PAST_HEAD_PUT:
		return got_put(r, peer, m);
	case PAST_HEAD_GET:
		len = kept(r, &m->id, head, &sequence);
		say(r, peer, m->nonce, &m->id, PAST_HEAD_IS, head, len);
		return OK;
	case PAST_HEAD:
		if (p)
			return got_answer(r, p, m);
		break;
	default:
		if (p) {
			got_heads(r, p, m);
			return OK;
		}
	}
	r->counters.unasked++;
	return OK;
}

/* ---- time --------------------------------------------------------------- */

void
past_head_place(struct replicas *r, bool all)
{
	struct past_head_op *op, *next;

	for (op = r->head_ops; op; op = next) {
		next = op->next;
		if (all || !op->placed)
			place(r, op);
	}
}

void
past_head_timers(struct replicas *r)
{
	struct past_head_op *op, *next;

	for (op = r->head_ops; op; op = next) {
		next = op->next;
		if (r->now_us < op->due_us) {
			past_wake(r, op->due_us);
			continue;
		}
		op->due_us = r->now_us + past_jitter(r, 2 * r->c.answer_us);
		past_wake(r, op->due_us);
		if (!op->write && ++op->tries >= PAST_TRIES) {
			finish_read(r, op);
			continue;
		}
		for (unsigned i = 0; i < op->count; i++)
			if (op->state[i] == ANSWER_NONE)
				ask(r, op, i);
	}
}

void
past_head_fini(struct replicas *r)
{
	while (r->head_ops)
		op_free(r, r->head_ops);
}
