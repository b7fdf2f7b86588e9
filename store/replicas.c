/* replicas.c - PAST's state machine: events in, actions out, peers and time.
 *
 * Every file of it keeps its own list of what is under way and its timers; this
 * one gives out events to them.  A step ends with a pump that forms batches
 * from what the event put into queues, so that ids which come together travel
 * together.
 *
 * Timers: `next_us` is never later than the earliest of them.  It is lowered as
 * timers are set, and found anew when it has passed by asking everyone, so
 * that no step has to search.
 *
 * Out of memory an action is lost as a message may be; what must not be lost
 * (that a block is safe) is told again by the state it rests on. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define TOKENS_MIN (1 << 20) /* a second's repair, but at least this at once */

/* ---- small parts -------------------------------------------------------- */

bool
past_ids_push(struct past_ids *q, const struct id *id)
{
	struct id *v;
	size_t cap;

	if (q->head && q->head + q->count == q->cap) {
		memmove(q->v, q->v + q->head, q->count * sizeof(*q->v));
		q->head = 0;
	}
	if (q->count == q->cap) {
		cap = q->cap ? 2 * q->cap : 64;
		v = realloc(q->v, cap * sizeof(*v));
		if (!v)
			return false;
		q->v = v;
		q->cap = cap;
	}
	q->v[q->head + q->count++] = *id;
	return true;
}

void
past_ids_fini(struct past_ids *q)
{
	free(q->v);
	memset(q, 0, sizeof(*q));
}

static int
by_id(const void *a, const void *b)
{
	return id_cmp(a, b);
}

void
past_ids_sort(struct id *ids, size_t *count)
{
	size_t n = 0;

	if (*count)
		qsort(ids, *count, sizeof(*ids), by_id);
	for (size_t i = 0; i < *count; i++)
		if (n == 0 || !id_eq(&ids[n - 1], &ids[i]))
			ids[n++] = ids[i];
	*count = n;
}

void
past_wake(struct replicas *r, uint64_t t_us)
{
	if (t_us < r->next_us)
		r->next_us = t_us;
}

/* Not to be guessed by who did not see the question. */
uint64_t
past_number(struct replicas *r)
{
	do
		r->numbers = rng_u64(&r->rng);
	while (r->numbers == 0);
	return r->numbers;
}

uint64_t
past_jitter(struct replicas *r, uint64_t span_us)
{
	return span_us / 2 + rng_below(&r->rng, span_us / 2 + 1);
}

/* ---- peers -------------------------------------------------------------- */

struct past_peer *
past_peer(const struct replicas *r, uint32_t number)
{
	for (unsigned i = 0; i < r->peers; i++)
		if (r->peer[i]->number == number)
			return r->peer[i];
	return NULL;
}

struct past_peer *
past_peer_of(const struct replicas *r, const struct id *id)
{
	for (unsigned i = 0; i < r->peers; i++)
		if (id_eq(&r->peer[i]->node.id, id))
			return r->peer[i];
	return NULL;
}

static void
peer_free(struct past_peer *p)
{
	for (unsigned i = 0; i < PAST_CLASSES; i++)
		past_ids_fini(&p->queue[i]);
	past_ids_fini(&p->fetches);
	free(p);
}

static void
peer_drop(struct replicas *r, unsigned n)
{
	struct past_peer *p = r->peer[n];

	past_batch_forget(r, p->number);
	past_lease_forget(r, p->number);
	peer_free(p);
	memmove(&r->peer[n], &r->peer[n + 1],
	    (r->peers - n - 1) * sizeof(r->peer[0]));
	r->peers--;
}

static bool
peer_in_use(const struct replicas *r, const struct past_peer *p)
{
	if (p->leaf || p->flying || p->gets)
		return true;
	for (unsigned i = 0; i < r->locateds; i++)
		for (unsigned j = 0; j < r->located[i].count; j++)
			if (r->located[i].peer[j] == p->number)
				return true;
	return false;
}

struct past_peer *
past_peer_add(struct replicas *r, const struct replica_node *node)
{
	struct past_peer *p = past_peer_of(r, &node->id);

	if (p) {
		p->node = *node;
		return p;
	}
	for (unsigned i = r->peers; i-- > 0 && r->peers == PAST_PEERS_MAX;)
		if (!peer_in_use(r, r->peer[i]))
			peer_drop(r, i);
	if (r->peers == PAST_PEERS_MAX)
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->node = *node;
	p->number = ++r->peer_numbers;
	p->exchange_us = PAST_NEVER;
	r->peer[r->peers++] = p;
	return p;
}

/* Longer and longer, but never so long that a peer which is back is missed by
 * what waits for it. */
void
past_peer_failed(struct replicas *r, struct past_peer *p)
{
	unsigned shift = p->fails < 4 ? p->fails : 4;

	p->fails++;
	p->quiet_until_us = r->now_us + past_jitter(r, r->c.answer_us << shift);
	past_wake(r, p->quiet_until_us);
}

void
past_peer_answered(struct past_peer *p)
{
	p->fails = 0;
	p->quiet_until_us = 0;
}

/* ---- actions ------------------------------------------------------------ */

static struct past_action *
action_new(const struct replicas_action *a, size_t data)
{
	struct past_action *n = malloc(sizeof(*n) + data);

	if (n) {
		n->next = NULL;
		n->a = *a;
	}
	return n;
}

static void
action_push(struct replicas *r, struct past_action *n)
{
	*r->last = n;
	r->last = &n->next;
}

/* Copies ids, bytes, and blocks with their bytes and leases. */
bool
past_act(struct replicas *r, const struct replicas_action *a)
{
	size_t size = a->id_count * sizeof(struct id) + a->len;
	struct past_action *n;
	struct replica_block *b;
	uint8_t *at;

	for (size_t i = 0; i < a->block_count; i++)
		size += sizeof(*b) + a->blocks[i].len +
			a->blocks[i].lease_count * sizeof(struct replica_lease);
	n = action_new(a, size);
	if (!n)
		return false;
	at = (uint8_t *)n->data; /* blocks, leases, ids, bytes: by alignment */
	b = (struct replica_block *)n->data;
	if (a->block_count) {
		n->a.blocks = b;
		memcpy(b, a->blocks, a->block_count * sizeof(*b));
		at += a->block_count * sizeof(*b);
	}
	for (size_t i = 0; i < a->block_count; i++) {
		size_t len = b[i].lease_count * sizeof(struct replica_lease);

		if (len)
			memcpy(at, b[i].leases, len);
		b[i].leases =
		    len ? (const struct replica_lease *)(void *)at : NULL;
		at += len;
	}
	if (a->id_count) {
		n->a.ids = memcpy(at, a->ids, a->id_count * sizeof(struct id));
		at += a->id_count * sizeof(struct id);
	}
	for (size_t i = 0; i < a->block_count; i++) {
		if (b[i].len)
			b[i].bytes = memcpy(at, b[i].bytes, b[i].len);
		at += b[i].len;
	}
	if (a->len)
		n->a.bytes = memcpy(at, a->bytes, a->len);
	action_push(r, n);
	return true;
}

static struct past_action *
send_new(struct replicas *r, const struct id *to, size_t len)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_SEND, .peer = *to };
	const struct past_peer *p = past_peer_of(r, to);
	struct past_action *n;

	if (p)
		memcpy(a.where, p->node.where, sizeof(a.where));
	n = action_new(&a, len);
	if (n)
		n->a.bytes = (uint8_t *)n->data;
	return n;
}

bool
past_send(struct replicas *r, const struct id *to, const struct past_msg *m)
{
	size_t cap = past_encoded_max(m);
	struct past_action *n = send_new(r, to, cap);
	bool fits;

	if (!n)
		return false;
	fits = past_encode(m, (uint8_t *)n->data, cap, &n->a.len);
	assert(fits);
	if (m->kind == PAST_LOCATE) {
		n->a.kind = REPLICAS_ACT_ROUTE;
		n->a.id = m->id;
	}
	action_push(r, n);
	return true;
}

bool
past_send_blocks(struct replicas *r, const struct id *to, enum past_kind kind,
    uint64_t nonce, const struct replica_block *blocks, size_t count)
{
	struct past_msg m = { .kind = kind, .nonce = nonce, .count = count };
	struct past_action *n;
	size_t cap = 16;
	uint8_t head[16];
	struct wr w;
	bool fits;

	for (size_t i = 0; i < count; i++)
		cap += past_block_bytes(kind, &blocks[i]);
	n = send_new(r, to, cap);
	if (!n)
		return false;
	fits = past_encode(&m, head, sizeof(head), &n->a.len);
	assert(fits);
	wr_init(&w, n->data, cap);
	wr_bytes(&w, head, n->a.len);
	for (size_t i = 0; i < count; i++)
		past_write_block(&w, kind, &blocks[i]);
	assert(!w.bad && wr_len(&w) <= REPLICA_MESSAGE_MAX);
	n->a.len = wr_len(&w);
	action_push(r, n);
	return true;
}

bool
replicas_take(struct replicas *r, struct replicas_action *out)
{
	free(r->given);
	r->given = r->first;
	if (!r->given)
		return false;
	r->first = r->given->next;
	if (!r->first)
		r->last = &r->first;
	*out = r->given->a;
	return true;
}

/* ---- holders ------------------------------------------------------------ */

bool
past_holders(struct replicas *r, const struct id *id, unsigned next,
    uint32_t out[3 * REPLICA_K_MAX], unsigned *count, unsigned *holders,
    bool *self)
{
	const struct past_segment *s = past_place_find(&r->place, id);
	const struct past_located *far;

	*count = *holders = 0;
	*self = false;
	if (!r->joined)
		return false;
	if (!s->known) {
		far = past_located(r, id);
		if (!far) {
			past_locate(r, id);
			return false;
		}
		memcpy(out, far->peer, far->count * sizeof(out[0]));
		*count = *holders = far->count;
		return true;
	}
	for (unsigned i = 0; i < s->window && i < s->count + next; i++) {
		const struct id *node = &r->place.node[s->node[i]].id;
		const struct past_peer *p;

		if (i < s->count && id_eq(node, &r->c.self))
			*self = true;
		p = past_peer_of(r, node);
		if (!p)
			continue;
		out[(*count)++] = p->number;
		if (i < s->count)
			*holders = *count;
	}
	return true;
}

bool
past_is_holder(
    const struct replicas *r, const struct id *id, const struct id *node)
{
	const struct past_segment *s = past_place_find(&r->place, id);

	if (!node)
		node = &r->c.self;
	for (unsigned i = 0; s->known && i < s->count; i++)
		if (id_eq(&r->place.node[s->node[i]].id, node))
			return true;
	return false;
}

bool
past_is_home(
    const struct replicas *r, const struct id *id, const struct id *node)
{
	const struct past_segment *s = past_place_find(&r->place, id);

	return s->known &&
	       id_eq(&r->place.node[s->node[0]].id, node ? node : &r->c.self);
}

bool
past_in_window(const struct replicas *r, const struct id *id)
{
	const struct past_segment *s = past_place_find(&r->place, id);

	for (unsigned i = 0; s->known && i < s->window; i++)
		if (id_eq(&r->place.node[s->node[i]].id, &r->c.self))
			return true;
	return false;
}

unsigned
replicas_holders(
    const struct replicas *r, const struct id *id, struct id out[REPLICA_K_MAX])
{
	const struct past_segment *s = past_place_find(&r->place, id);
	const struct past_located *far;
	unsigned n = 0;

	if (s->known) {
		for (; n < s->count; n++)
			out[n] = r->place.node[s->node[n]].id;
		return n;
	}
	far = past_located(r, id);
	for (unsigned i = 0; far && i < far->count; i++) {
		const struct past_peer *p = past_peer(r, far->peer[i]);

		if (p)
			out[n++] = p->node.id;
	}
	return n;
}

/* ---- events ------------------------------------------------------------- */

static enum err
nodes_changed(struct replicas *r, const struct replicas_event *ev)
{
	enum err e = past_place_set(&r->place, &r->self, r->c.k, ev->nodes,
	    ev->node_count, ev->left_count, ev->whole);

	if (e)
		return e;
	for (unsigned i = 0; i < r->peers; i++)
		r->peer[i]->leaf = false;
	for (size_t i = 0; i < ev->node_count; i++) {
		struct past_peer *p = past_peer_add(r, &ev->nodes[i]);

		if (p)
			p->leaf = true;
	}
	for (unsigned i = r->peers; i-- > 0;) {
		bool far = false;

		for (unsigned j = 0; j < r->locateds; j++)
			for (unsigned n = 0; n < r->located[j].count; n++)
				far |=
				    r->located[j].peer[n] == r->peer[i]->number;
		if (!r->peer[i]->leaf && !far)
			peer_drop(r, i);
	}
	r->joined = true;
	r->leavings = 0; /* who has to confirm may be another */
	past_insert_place(r, true);
	past_head_place(r, true);
	past_fetch_place(r);
	past_exchange_soon(r);
	return OK;
}

static enum err
message(struct replicas *r, const struct replicas_event *ev)
{
	struct past_peer *p = past_peer_of(r, &ev->peer);
	struct past_msg m;
	enum err e = past_decode(ev->bytes, ev->len, &m);

	if (e) {
		r->counters.malformed++;
		return e;
	}
	switch (m.kind) { /* what anyone may ask */
	case PAST_HAVE:
		past_accept_have(r, &ev->peer, &m);
		return OK;
	case PAST_PUT:
		return past_accept_put(r, &ev->peer, &m);
	case PAST_GET:
		past_accept_get(r, &ev->peer, &m);
		return OK;
	case PAST_LEASE:
		past_lease_asked(r, &ev->peer, &m);
		return OK;
	case PAST_LOCATE:
		past_locate_asked(r, &ev->peer, &m);
		return OK;
	case PAST_HOLDERS:
		past_locate_answered(r, &m);
		return OK;
	case PAST_HEAD_PUT:
	case PAST_HEAD_GET:
	case PAST_HEAD:
	case PAST_HEADS:
		return past_head_message(r, &ev->peer, &m);
	default:
		break;
	}
	if (!p) { /* the rest is among those who know one another */
		r->counters.unasked++;
		return OK;
	}
	switch (m.kind) {
	case PAST_NEED:
		past_batch_need(r, p, &m);
		break;
	case PAST_STORED:
		past_batch_stored(r, p, &m);
		break;
	case PAST_BLOCKS:
		return past_fetch_blocks(r, p, &m);
	case PAST_DIGEST:
		past_exchange_digest(r, p, &m);
		break;
	case PAST_LIST:
		past_exchange_list(r, p, &m);
		break;
	case PAST_WANT:
		past_exchange_want(r, p, &m);
		break;
	case PAST_LEASED:
		past_lease_answered(r, p, &m);
		break;
	default:
		break;
	}
	return OK;
}

static void
timers(struct replicas *r)
{
	if (r->now_us < r->next_us)
		return;
	r->next_us = PAST_NEVER;
	past_accept_timers(r);
	past_locate_timers(r);
	past_batch_timers(r);
	past_fetch_timers(r);
	past_head_timers(r);
	past_exchange_timers(r);
	past_lease_timers(r);
	for (unsigned i = 0; i < r->peers; i++)
		if (r->peer[i]->quiet_until_us > r->now_us)
			past_wake(r, r->peer[i]->quiet_until_us);
}

static void
refill(struct replicas *r)
{
	uint64_t most =
	    r->c.repair_bytes_s > TOKENS_MIN ? r->c.repair_bytes_s : TOKENS_MIN;
	uint64_t passed = r->now_us - r->tokens_us, more;

	if (passed > 100 * PAST_SECOND)
		passed = 100 * PAST_SECOND;
	more = passed * r->c.repair_bytes_s / PAST_SECOND;
	if (more == 0)
		return; /* let the rest of a byte gather */
	r->tokens_us = r->now_us;
	r->tokens += (int64_t)more;
	if (r->tokens > (int64_t)most)
		r->tokens = (int64_t)most;
}

enum err
replicas_step(struct replicas *r, const struct replicas_event *ev)
{
	enum err e = OK;

	assert(ev->now_us >= r->now_us);
	r->now_us = ev->now_us;
	r->now_s = ev->now_s;
	refill(r);
	switch (ev->kind) {
	case REPLICAS_EV_TIMER:
		break;
	case REPLICAS_EV_NODES:
		e = nodes_changed(r, ev);
		break;
	case REPLICAS_EV_MESSAGE:
		e = message(r, ev);
		break;
	case REPLICAS_EV_OWN:
		e = past_insert_own(r, ev->ids, ev->id_count, false);
		break;
	case REPLICAS_EV_FETCH:
		e = past_fetch_want(r, &ev->id, ev->request);
		break;
	case REPLICAS_EV_STORED:
		past_accept_stored(r, ev);
		break;
	case REPLICAS_EV_READ:
		if (!past_batch_read(r, ev))
			past_accept_read(r, ev);
		break;
	case REPLICAS_EV_HEAD:
		e = past_head_write(r, ev);
		break;
	case REPLICAS_EV_WANT_HEAD:
		e = past_head_want(r, ev);
		break;
	}
	timers(r);
	if (r->unplaced) { /* an answer about holders may have come */
		past_insert_place(r, r->stale);
		past_head_place(r, r->stale);
		past_fetch_place(r);
		r->unplaced = r->stale = false;
	}
	past_fetch_pump(r);
	past_batch_pump(r);
	past_accept_pump(r);
	past_insert_tell(r);
	r->counters.waiting = r->waiting.count;
	return e;
}

uint64_t
replicas_deadline_us(const struct replicas *r)
{
	return r->next_us;
}

const struct replicas_counters *
replicas_counters(const struct replicas *r)
{
	return &r->counters;
}

/* ---- life --------------------------------------------------------------- */

static void
defaults(struct replicas_config *c)
{
	if (!c->k)
		c->k = 3;
	if (!c->repair_bytes_s)
		c->repair_bytes_s = 4u << 20;
	if (!c->exchange_us)
		c->exchange_us = 600 * PAST_SECOND;
	if (!c->answer_us)
		c->answer_us = 5 * PAST_SECOND;
	if (!c->lease_s)
		c->lease_s = UINT64_C(28) * 86400;
	if (!c->trash_s)
		c->trash_s = UINT64_C(7) * 86400;
	if (c->memory_max < 2 * PAST_READ_MAX)
		c->memory_max = c->memory_max ? 2 * PAST_READ_MAX : 8u << 20;
	assert(c->k <= REPLICA_K_MAX && c->answer_us >= 8);
}

enum err
replicas_new(const struct replicas_config *config, struct replicas **out)
{
	struct replicas *r = calloc(1, sizeof(*r));
	enum err e;

	if (!r)
		return ERR_NOMEM;
	r->c = *config;
	defaults(&r->c);
	r->self = (struct replica_node){ .id = r->c.self, .site = r->c.site };
	memcpy(r->self.where, r->c.where, sizeof(r->self.where));
	rng_init(&r->rng, r->c.seed);
	r->last = &r->first;
	r->batches_end = &r->batches;
	r->expect_last = &r->expect_first;
	r->tokens = TOKENS_MIN;
	r->renew_us = r->sweep_us = PAST_NEVER;
	r->next_us = 0; /* the first event sets the timers */
	e = past_place_set(&r->place, &r->self, r->c.k, NULL, 0, 0, true);
	if (e) {
		free(r);
		return e;
	}
	*out = r;
	return OK;
}

void
replicas_free(struct replicas *r)
{
	if (!r)
		return;
	past_insert_fini(r);
	past_fetch_fini(r);
	past_head_fini(r);
	past_lease_fini(r);
	past_batch_fini(r);
	past_accept_fini(r);
	while (r->peers)
		peer_free(r->peer[--r->peers]);
	past_place_fini(&r->place);
	free(r->leaving);
	free(r->given);
	while (r->first) {
		struct past_action *next = r->first->next;

		free(r->first);
		r->first = next;
	}
	free(r);
}
