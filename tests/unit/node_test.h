/* node_test.h - some nodes and a network between them, for the tests of the
 * node: frames are lost, doubled, late and out of order as a seed wills; nodes
 * die, sleep and are cut off.  After every event it is checked that no key has
 * two homes. */
#ifndef POST_TESTS_NODE_TEST_H
#define POST_TESTS_NODE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "overlay/base/map.h"
#include "overlay/base/rng.h"
#include "overlay/node.h"

#define NET_NODES_MAX 64u
#define NET_REQUESTS_MAX 4096u
#define SEC NODE_SECOND

struct net_frame {
	uint64_t at_us, seq;
	unsigned from, to;
	bool failed; /* not a frame: the link to `from` failed */
	size_t len;
	uint8_t *bytes;
};

struct net_node {
	struct node *node;
	struct peer peer;
	bool up;
	uint64_t asleep_until;
	unsigned group; /* partitions */
	uint64_t ready_us, unready, changed;
};

struct net_test {
	struct rng rng;
	uint64_t seed, now_us, seq, digest, events;
	unsigned count, half;
	unsigned patient; /* this one asks six times; 0: none */
	uint32_t loss_ppm, dup_ppm;
	uint64_t latency_min_us, latency_max_us;
	bool tells_failures; /* like TCP: a dead host is noticed */
	bool unsafe; /* cut in parts: do not look for two homes */
	struct net_node node[NET_NODES_MAX];
	bool broken[NET_NODES_MAX][NET_NODES_MAX];
	struct net_frame *heap;
	unsigned heap_n, heap_cap;
	/* requests by number: where they were delivered, and how often */
	unsigned delivered[NET_REQUESTS_MAX], home[NET_REQUESTS_MAX];
	struct id key[NET_REQUESTS_MAX];
	unsigned lost[NET_REQUESTS_MAX], directs;
	uint64_t requests;
	uint64_t claims_seen;
};

/* ---- ids ---------------------------------------------------------------- */

static inline void
net_random_id(struct rng *r, struct id *out)
{
	for (unsigned i = 0; i < ID_BYTES; i += 8) {
		uint64_t v = rng_u64(r);

		memcpy(out->b + i, &v, 8);
	}
}

/* ---- the queue ---------------------------------------------------------- */

static inline bool
net_earlier(const struct net_frame *a, const struct net_frame *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static inline void
net_push(struct net_test *t, struct net_frame f)
{
	unsigned i;

	if (t->heap_n == t->heap_cap) {
		t->heap_cap = t->heap_cap ? 2 * t->heap_cap : 1024;
		t->heap = realloc(t->heap, t->heap_cap * sizeof(*t->heap));
		assert_non_null(t->heap);
	}
	f.seq = t->seq++;
	i = t->heap_n++;
	for (; i && net_earlier(&f, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
		t->heap[i] = t->heap[(i - 1) / 2];
	t->heap[i] = f;
}

static inline struct net_frame
net_pop(struct net_test *t)
{
	struct net_frame top = t->heap[0], last = t->heap[--t->heap_n];
	unsigned i = 0;

	for (;;) {
		unsigned c = 2 * i + 1;

		if (c >= t->heap_n)
			break;
		if (c + 1 < t->heap_n &&
		    net_earlier(&t->heap[c + 1], &t->heap[c]))
			c++;
		if (!net_earlier(&t->heap[c], &last))
			break;
		t->heap[i] = t->heap[c];
		i = c;
	}
	if (t->heap_n)
		t->heap[i] = last;
	return top;
}

/* ---- life --------------------------------------------------------------- */

static inline struct net_test *
net_new_test(unsigned count, unsigned half, uint64_t seed)
{
	struct net_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	assert_true(count <= NET_NODES_MAX);
	rng_init(&t->rng, seed);
	t->seed = seed;
	t->count = count;
	t->half = half;
	t->latency_min_us = 2000;
	t->latency_max_us = 80000;
	t->now_us = SEC;
	for (unsigned i = 0; i < count; i++) {
		struct net_node *x = &t->node[i];

		net_random_id(&t->rng, &x->peer.id);
		x->peer.addr.ip[10] = x->peer.addr.ip[11] = 0xff;
		x->peer.addr.ip[15] = (uint8_t)i;
		x->peer.addr.port = (uint16_t)(7000 + i);
	}
	return t;
}

static inline void
net_free_test(struct net_test *t)
{
	for (unsigned i = 0; i < t->count; i++)
		node_free(t->node[i].node);
	for (unsigned i = 0; i < t->heap_n; i++)
		free(t->heap[i].bytes);
	free(t->heap);
	free(t);
}

static inline unsigned
net_index(const struct net_test *t, const struct peer *p)
{
	static const struct id zero;

	for (unsigned i = 0; i < t->count; i++)
		if (id_eq(&p->id, &zero)
			? net_addr_eq(&t->node[i].peer.addr, &p->addr)
			: id_eq(&t->node[i].peer.id, &p->id))
			return i;
	return t->count;
}

static inline bool
net_reaches(const struct net_test *t, unsigned a, unsigned b)
{
	return t->node[b].up && t->node[a].group == t->node[b].group &&
	       !t->broken[a][b];
}

static inline void
net_digest(struct net_test *t, const void *bytes, size_t len)
{
	t->digest = hash64(bytes, len, t->digest);
}

static inline void
net_send(struct net_test *t, unsigned from, const struct node_action *a)
{
	unsigned to = net_index(t, &a->peer);
	unsigned copies = 1;

	if (to == t->count)
		return; /* to nobody */
	if (!net_reaches(t, from, to)) {
		if (t->tells_failures)
			net_push(
			    t, (struct net_frame){ .at_us = t->now_us + 200000,
				   .from = to,
				   .to = from,
				   .failed = true });
		return;
	}
	if (rng_below(&t->rng, 1000000) < t->loss_ppm)
		copies = 0;
	else if (rng_below(&t->rng, 1000000) < t->dup_ppm)
		copies = 2;
	while (copies--) {
		struct net_frame f = { .from = from, .to = to, .len = a->len };

		f.at_us = t->now_us + t->latency_min_us +
			  rng_below(&t->rng,
			      t->latency_max_us - t->latency_min_us + 1);
		f.bytes = malloc(a->len);
		assert_non_null(f.bytes);
		memcpy(f.bytes, a->bytes, a->len);
		net_push(t, f);
	}
}

/* Nobody else may claim what x claims. */
static inline void
net_check_key(struct net_test *t, const struct id *key)
{
	unsigned homes = 0, first = 0;

	if (t->unsafe)
		return;
	for (unsigned i = 0; i < t->count; i++) {
		if (!t->node[i].up || !t->node[i].node ||
		    t->node[i].asleep_until > t->now_us ||
		    !node_is_home(t->node[i].node, key, t->now_us))
			continue;
		if (homes++)
			fail_msg("seed %llu: at %llu us nodes %u and %u are "
				 "both home of one key",
			    (unsigned long long)t->seed,
			    (unsigned long long)t->now_us, first, i);
		first = i;
	}
	t->claims_seen += homes;
}

static inline void
net_check(struct net_test *t, unsigned x)
{
	struct id key;

	net_random_id(&t->rng, &key);
	net_check_key(t, &key);
	/* ... and one near x, a random bit of whose distance is set. */
	key = t->node[x].peer.id;
	key.b[rng_below(&t->rng, 3)] ^= (uint8_t)rng_u64(&t->rng);
	net_check_key(t, &key);
}

static inline void net_give(
    struct net_test *t, unsigned x, struct node_event *ev);

static inline void
net_drain(struct net_test *t, unsigned x)
{
	struct net_node *self = &t->node[x];
	struct node_action a;

	while (node_take(self->node, &a)) {
		net_digest(t, &x, sizeof(x));
		net_digest(t, &a.kind, sizeof(a.kind));
		net_digest(t, &a.peer.id, ID_BYTES);
		net_digest(t, &a.request, sizeof(a.request));
		if (a.len)
			net_digest(t, a.bytes, a.len);
		switch (a.kind) {
		case NODE_ACT_SEND:
			net_send(t, x, &a);
			break;
		case NODE_ACT_CONNECT:
			/* Up or failed, a little later: see net_run_step(). */
			net_push(
			    t, (struct net_frame){ .at_us = t->now_us + 50000,
				   .from = net_index(t, &a.peer),
				   .to = x,
				   .failed = true });
			break;
		case NODE_ACT_READY:
			self->ready_us = t->now_us;
			break;
		case NODE_ACT_UNREADY:
			self->unready++;
			break;
		case NODE_ACT_LEAVES_CHANGED:
			self->changed++;
			break;
		case NODE_ACT_DELIVER:
			if (!a.routed) {
				t->directs++;
				break;
			}
			assert_true(a.request < NET_REQUESTS_MAX);
			assert_int_equal(a.service, SERVICE_TEST);
			assert_true(id_eq(&a.key, &t->key[a.request]));
			t->delivered[a.request]++;
			t->home[a.request] = x;
			break;
		case NODE_ACT_LOST:
			t->lost[a.request]++;
			break;
		case NODE_ACT_DROP:
			break;
		}
	}
}

static inline void
net_give(struct net_test *t, unsigned x, struct node_event *ev)
{
	ev->now_us = t->now_us;
	(void)!node_step(t->node[x].node, ev);
	t->events++;
	net_drain(t, x);
	net_check(t, x);
}

static inline void
net_start(struct net_test *t, unsigned x)
{
	struct node_config c = {
		.self = t->node[x].peer,
		.leaf_half = t->half,
		.seed = t->seed,
		.boot = t->now_us,
	};

	if (t->patient && x == t->patient)
		c.probe_tries = 6;
	node_free(t->node[x].node);
	assert_int_equal(node_new(&c, &t->node[x].node), OK);
	t->node[x].up = true;
}

static inline void
net_contact(struct net_test *t, unsigned x, unsigned with, bool by_id)
{
	struct node_event ev = { .kind = NODE_EV_CONTACT };

	ev.peer = t->node[with].peer;
	if (!by_id)
		memset(&ev.peer.id, 0, sizeof(ev.peer.id));
	net_give(t, x, &ev);
}

static inline void
net_kill(struct net_test *t, unsigned x)
{
	t->node[x].up = false;
}

/* ---- time --------------------------------------------------------------- */

static inline bool
net_run_step(struct net_test *t, uint64_t until_us)
{
	uint64_t at = t->heap_n ? t->heap[0].at_us : UINT64_MAX;
	unsigned timer = t->count;
	struct node_event ev = { .kind = NODE_EV_TIMER };
	struct net_frame f;

	for (unsigned i = 0; i < t->count; i++) {
		uint64_t due;

		if (!t->node[i].up)
			continue;
		due = node_deadline_us(t->node[i].node);
		if (due < t->node[i].asleep_until)
			due = t->node[i].asleep_until;
		if (due < at) {
			at = due;
			timer = i;
		}
	}
	if (at > until_us) {
		t->now_us = until_us;
		return false;
	}
	if (at > t->now_us)
		t->now_us = at;
	if (timer < t->count) {
		net_give(t, timer, &ev);
		return true;
	}
	f = net_pop(t);
	if (t->node[f.to].up && t->node[f.to].asleep_until <= t->now_us) {
		if (f.failed) {
			bool up =
			    f.from < t->count && net_reaches(t, f.to, f.from);

			ev.kind = up ? NODE_EV_LINK_UP : NODE_EV_LINK_FAILED;
			if (f.from < t->count)
				ev.peer = t->node[f.from].peer;
			net_give(t, f.to, &ev);
		} else if (net_reaches(t, f.from, f.to) ||
			   !t->node[f.from].up) {
			ev.kind = NODE_EV_FRAME;
			ev.peer = t->node[f.from].peer;
			ev.bytes = f.bytes;
			ev.len = f.len;
			net_give(t, f.to, &ev);
		}
	}
	free(f.bytes);
	return true;
}

static inline void
net_run(struct net_test *t, uint64_t us)
{
	uint64_t until = t->now_us + us;

	while (net_run_step(t, until))
		;
}

/* ---- the oracle --------------------------------------------------------- */

static inline bool
net_all_ready(const struct net_test *t)
{
	for (unsigned i = 0; i < t->count; i++)
		if (t->node[i].up && !node_ready(t->node[i].node))
			return false;
	return true;
}

/* Of nodes in x's part: how many are between x and y, on that side? */
static inline unsigned
net_rank(const struct net_test *t, unsigned x, unsigned y, enum side side)
{
	const struct id *self = &t->node[x].peer.id;
	unsigned rank = 0;
	struct id to_y, to_z;

	if (side == SIDE_RIGHT)
		id_sub(&t->node[y].peer.id, self, &to_y);
	else
		id_sub(self, &t->node[y].peer.id, &to_y);
	for (unsigned z = 0; z < t->count; z++) {
		if (z == x || z == y || !t->node[z].up ||
		    t->node[z].group != t->node[x].group)
			continue;
		if (side == SIDE_RIGHT)
			id_sub(&t->node[z].peer.id, self, &to_z);
		else
			id_sub(self, &t->node[z].peer.id, &to_z);
		rank += id_cmp(&to_z, &to_y) < 0;
	}
	return rank;
}

static inline bool
net_leaves_match_of(const struct net_test *t, unsigned x)
{
	const struct leaf_set *ls = node_leaves(t->node[x].node);

	for (unsigned y = 0; y < t->count; y++) {
		bool there = leaf_set_find(ls, &t->node[y].peer.id) != NULL;
		bool is = t->node[y].up && y != x &&
			  t->node[y].group == t->node[x].group &&
			  (net_rank(t, x, y, SIDE_LEFT) < t->half ||
			      net_rank(t, x, y, SIDE_RIGHT) < t->half);

		if (there != is)
			return false;
	}
	return true;
}

static inline bool
net_leaves_match(const struct net_test *t)
{
	for (unsigned x = 0; x < t->count; x++)
		if (t->node[x].up && !net_leaves_match_of(t, x))
			return false;
	return true;
}

static inline bool
net_settled(const struct net_test *t)
{
	return net_all_ready(t) && net_leaves_match(t);
}

static inline void
net_must(struct net_test *t, bool (*is)(const struct net_test *), uint64_t us,
    const char *what)
{
	uint64_t until = t->now_us + us;

	while (!is(t)) {
		if (t->now_us >= until) {
			for (unsigned i = 0; i < t->count; i++)
				if (t->node[i].up)
					print_message("node %u: ready %d, "
						      "leaves %u match %d\n",
					    i, node_ready(t->node[i].node),
					    leaf_set_count(
						node_leaves(t->node[i].node)),
					    net_leaves_match_of(t, i));
			fail_msg("seed %llu: not within %llu s: %s",
			    (unsigned long long)t->seed,
			    (unsigned long long)(us / SEC), what);
		}
		net_run(t, SEC / 4);
	}
}

/* The node nearest a key, of those that are up. */
static inline unsigned
net_home(const struct net_test *t, const struct id *key)
{
	unsigned best = t->count;

	for (unsigned i = 0; i < t->count; i++)
		if (t->node[i].up &&
		    (best == t->count || id_nearer(key, &t->node[i].peer.id,
					     &t->node[best].peer.id)))
			best = i;
	return best;
}

static inline uint64_t
net_route(struct net_test *t, unsigned x)
{
	static const uint8_t text[] = "a letter";
	struct node_event ev = { .kind = NODE_EV_ROUTE };

	assert_true(t->requests < NET_REQUESTS_MAX);
	ev.request = t->requests++;
	net_random_id(&t->rng, &ev.key);
	t->key[ev.request] = ev.key;
	ev.service = SERVICE_TEST;
	ev.bytes = text;
	ev.len = sizeof(text);
	net_give(t, x, &ev);
	return ev.request;
}

/* All of them up, joined by way of the first, each when the last is ready. */
static inline void
net_join_in_turn(struct net_test *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		net_start(t, i);
		if (i)
			net_contact(
			    t, i, (unsigned)rng_below(&t->rng, i), i % 2);
		net_must(t, net_all_ready, 60 * SEC, "joined");
	}
}

static inline void
net_join_at_once(struct net_test *t)
{
	struct node_event ev = { .kind = NODE_EV_TIMER };

	for (unsigned i = 0; i < t->count; i++) {
		net_start(t, i);
		if (i)
			net_contact(t, i, 0, i % 2);
		else
			net_give(t, i, &ev);
	}
	net_must(t, net_settled, 120 * SEC, "all joined");
}

#endif
