/* replicas_accept.c - the other end: what others ask us, and put here.
 *
 * A block is taken only if it is what its id says, and if we said that it is
 * missing here, or may be one of its holders.  What is promised by one is not
 * asked of another meanwhile, so that repair moves each block once.
 *
 * What is not durable yet is bounded by memory_max; beyond it the sender is told
 * to come again. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define EXPECT_MAX 65536u
#define SERVES_MAX 64u /* GETs under way */
#define SERVES_OF_PEER_MAX 8u /* so that one can not take them all */

/* ---- what is on its way ------------------------------------------------- */

static uint64_t
hash_id(const struct id *id)
{
	return hash64(id, ID_BYTES, 0);
}

static bool
is_expect(const void *item, const void *key)
{
	const struct past_expect *x = item;

	return id_eq(&x->id, key);
}

bool
past_expected(
    const struct replicas *r, const struct id *id, const struct id *peer)
{
	const struct past_expect *x =
	    map_find(&r->expect, hash_id(id), is_expect, id);

	return x && r->now_us < x->until_us && !(peer && id_eq(&x->peer, peer));
}

static void
expect_drop_first(struct replicas *r)
{
	struct past_expect *x = r->expect_first;

	map_remove(&r->expect, hash_id(&x->id), is_expect, &x->id);
	r->expect_first = x->next;
	if (!x->next)
		r->expect_last = &r->expect_first;
	free(x);
}

/* Held in the order of their time, which is the order of their coming. */
void
past_expect(struct replicas *r, const struct id *id, const struct id *peer)
{
	struct past_expect *x;

	x = map_find(&r->expect, hash_id(id), is_expect, id);
	if (x) { /* another has given up; or it is asked again */
		x->peer = *peer;
		return;
	}
	if (r->expect.count >= EXPECT_MAX)
		expect_drop_first(r);
	x = calloc(1, sizeof(*x));
	if (!x || map_add(&r->expect, hash_id(id), x)) {
		free(x);
		return; /* at worst it comes twice */
	}
	x->id = *id;
	x->peer = *peer;
	x->until_us = r->now_us + 4 * r->c.answer_us;
	*r->expect_last = x;
	r->expect_last = &x->next;
	past_wake(r, x->until_us);
}

void
past_accept_timers(struct replicas *r)
{
	while (r->expect_first && r->expect_first->until_us <= r->now_us)
		expect_drop_first(r);
	if (r->expect_first)
		past_wake(r, r->expect_first->until_us);
}

/* ---- HAVE --------------------------------------------------------------- */

static enum past_have
have(struct replicas *r, const struct id *peer, const struct id *id, bool lease)
{
	switch (r->c.holdings.role(r->c.holdings.arg, id)) {
	case REPLICA_KEPT:
	case REPLICA_OWN:
		return HAVE_HELD;
	case REPLICA_CACHED:
	case REPLICA_TRASH:
		if (lease && past_in_window(r, id))
			return HAVE_HELD; /* the lease makes it a replica */
		break;
	case REPLICA_ABSENT:
		break;
	}
	if (!past_in_window(r, id))
		return HAVE_NOT_MINE;
	return past_expected(r, id, peer) ? HAVE_COMING : HAVE_MISSING;
}

void
past_accept_have(
    struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	struct replicas_action lease = { .kind = REPLICAS_ACT_LEASE };
	struct past_msg need = { .kind = PAST_NEED, .nonce = m->nonce };
	uint8_t states[REPLICA_BATCH_IDS];
	struct id leased[REPLICA_BATCH_IDS];

	for (size_t i = 0; i < m->count; i++) {
		states[i] = (uint8_t)have(r, peer, &m->ids[i], m->until_s != 0);
		if (states[i] == HAVE_HELD)
			leased[lease.id_count++] = m->ids[i];
		else if (states[i] == HAVE_MISSING)
			past_expect(r, &m->ids[i], peer);
	}
	if (m->until_s && lease.id_count) {
		lease.peer = *peer;
		lease.until_s = past_lease_until(r, m->until_s);
		lease.ids = leased;
		if (!past_act(r, &lease))
			return; /* nothing is promised without it */
	}
	need.count = m->count;
	need.bytes = states;
	need.len = m->count;
	past_send(r, peer, &need);
}

/* ---- PUT ---------------------------------------------------------------- */

struct past_storing *
past_storing_new(
    struct replicas *r, const struct id *peer, uint64_t nonce, size_t bytes)
{
	struct past_storing *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->request = past_number(r);
	s->nonce = nonce;
	s->peer = *peer;
	s->bytes = bytes;
	s->next = r->storing;
	r->storing = s;
	r->storing_bytes += bytes;
	return s;
}

static void
say_stored(
    struct replicas *r, const struct id *peer, uint64_t nonce, uint8_t status)
{
	struct past_msg m = {
		.kind = PAST_STORED, .nonce = nonce, .flags = status
	};

	past_send(r, peer, &m);
}

/* Blocks of a PUT into block[], their leases into leases[].  Each is what its
 * id says, and ours to hold. */
static enum err
take_blocks(struct replicas *r, const struct id *peer, const struct past_msg *m,
    struct replica_block *block, struct replica_lease *leases)
{
	struct past_block got;
	struct rd rd;
	struct id id;

	rd_init(&rd, m->bytes, m->len);
	for (size_t i = 0; i < m->count; i++) {
		past_read_block(m, &rd, &got);
		hash_bytes(got.bytes, got.len, &id);
		if (!id_eq(&id, &got.id)) {
			r->counters.forged++;
			return ERR_BADSIG;
		}
		if (!past_in_window(r, &id) &&
		    !(map_find(&r->expect, hash_id(&id), is_expect, &id) &&
			!past_expected(r, &id, peer))) {
			r->counters.unasked++;
			return ERR_QUOTA;
		}
		block[i] = (struct replica_block){ id, got.bytes, got.len,
			leases, got.lease_count };
		for (unsigned n = 0; n < got.lease_count; n++, leases++) {
			past_lease(&got, n, leases);
			leases->until_s = past_lease_until(r, leases->until_s);
		}
	}
	return OK;
}

static size_t
leases_of(const struct past_msg *m)
{
	struct past_block b;
	size_t n = 0;
	struct rd rd;

	rd_init(&rd, m->bytes, m->len);
	for (size_t i = 0; i < m->count; i++) {
		past_read_block(m, &rd, &b);
		n += b.lease_count;
	}
	return n;
}

enum err
past_accept_put(
    struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	struct replicas_action a = { .kind = REPLICAS_ACT_STORE };
	struct past_storing *s;
	struct replica_block *block;
	struct replica_lease *leases;
	enum err e = ERR_NOMEM;

	if (r->storing_bytes + m->len > r->c.memory_max) {
		r->counters.refused++;
		say_stored(r, peer, m->nonce, PAST_STORED_BUSY);
		return OK;
	}
	block = malloc(m->count * sizeof(*block));
	leases = malloc((leases_of(m) + 1) * sizeof(*leases));
	if (!block || !leases)
		goto done;
	e = take_blocks(r, peer, m, block, leases);
	if (e) {
		e = e == ERR_QUOTA ? OK
				   : e; /* a view that is older than ours */
		goto done;
	}
	s = past_storing_new(r, peer, m->nonce, m->len);
	if (!s) {
		e = ERR_NOMEM;
		goto done;
	}
	a.request = s->request;
	a.peer = *peer;
	a.blocks = block;
	a.block_count = m->count;
	if (!past_act(r, &a)) {
		r->storing = s->next;
		r->storing_bytes -= s->bytes;
		free(s);
		e = ERR_NOMEM;
		goto done;
	}
	r->counters.got_blocks += m->count;
	r->counters.got_bytes += m->len;
done:
	free(block);
	free(leases);
	return e;
}

void
past_accept_stored(struct replicas *r, const struct replicas_event *ev)
{
	struct past_storing **at = &r->storing, *s;

	while (*at && (*at)->request != ev->request)
		at = &(*at)->next;
	s = *at;
	if (!s)
		return;
	*at = s->next;
	r->storing_bytes -= s->bytes;
	if (s->head)
		past_head_stored(r, s, ev->e);
	else
		say_stored(r, &s->peer, s->nonce,
		    ev->e ? PAST_STORED_BUSY : PAST_STORED_OK);
	free(s);
}

/* ---- GET ---------------------------------------------------------------- */

static void
serve_free(struct replicas *r, struct past_serve *s)
{
	struct past_serve **at = &r->serves;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	r->serving--;
	r->serve_reads -= s->reading;
	free(s);
}

/* In the order of asking, as many at once as memory_max allows. */
void
past_accept_pump(struct replicas *r)
{
	unsigned max = (unsigned)(r->c.memory_max / PAST_READ_MAX);
	struct past_serve *s, *next;

	for (s = r->serves; s && r->serve_reads < max; s = next) {
		struct replicas_action a = { .kind = REPLICAS_ACT_READ };

		next = s->next;
		if (s->reading)
			continue;
		s->request = past_number(r);
		a.request = s->request;
		a.ids = s->ids + s->at;
		a.id_count = s->count - s->at;
		if (!past_act(r, &a)) {
			serve_free(r, s);
			continue;
		}
		s->reading = true;
		r->serve_reads++;
	}
}

void
past_accept_get(
    struct replicas *r, const struct id *peer, const struct past_msg *m)
{
	struct past_serve **at = &r->serves, *s;
	unsigned of_peer = 0;

	for (; *at; at = &(*at)->next)
		of_peer += id_eq(&(*at)->peer, peer);
	if (r->serving >= SERVES_MAX || of_peer >= SERVES_OF_PEER_MAX) {
		r->counters.refused++;
		return; /* the reader asks another */
	}
	s = malloc(sizeof(*s) + m->count * sizeof(s->ids[0]));
	if (!s)
		return;
	memset(s, 0, sizeof(*s));
	s->nonce = m->nonce;
	s->peer = *peer;
	s->count = m->count;
	memcpy(s->ids, m->ids, m->count * sizeof(s->ids[0]));
	*at = s;
	r->serving++;
}

bool
past_accept_read(struct replicas *r, const struct replicas_event *ev)
{
	struct replica_block block[REPLICA_BATCH_IDS];
	struct past_serve *s = r->serves;
	size_t n = 0, bytes = 16;

	while (s && !(s->reading && s->request == ev->request))
		s = s->next;
	if (!s)
		return false;
	assert(ev->block_count <= s->count - s->at);
	s->reading = false;
	r->serve_reads--;
	for (; n < ev->block_count; n++) {
		block[n] = ev->blocks[n];
		assert(id_eq(&block[n].id, &s->ids[s->at + n]));
		if (!block[n].bytes || block[n].len > REPLICA_BLOCK_MAX) {
			block[n].bytes = NULL;
			block[n].len = 0;
		}
		if (bytes + past_block_bytes(PAST_BLOCKS, &block[n]) >
		    REPLICA_MESSAGE_MAX)
			break;
		bytes += past_block_bytes(PAST_BLOCKS, &block[n]);
	}
	if (n)
		past_send_blocks(r, &s->peer, PAST_BLOCKS, s->nonce, block, n);
	s->at += n;
	if (n == 0 || s->at == s->count)
		serve_free(r, s);
	return true;
}

void
past_accept_fini(struct replicas *r)
{
	while (r->expect_first)
		expect_drop_first(r);
	map_fini(&r->expect);
	while (r->serves)
		serve_free(r, r->serves);
	while (r->storing) {
		struct past_storing *next = r->storing->next;

		free(r->storing);
		r->storing = next;
	}
}
