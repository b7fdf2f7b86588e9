/* replicas_net.h - a ring in a test: machines of PAST with stores in memory, on
 * a network that loses, doubles, delays and reorders.
 *
 * Time is the net's.  One seed makes one run. */
#ifndef POST_TESTS_UNIT_REPLICAS_NET_H
#define POST_TESTS_UNIT_REPLICAS_NET_H

#include "replicas_disk.h"

/* ---- the queue ---------------------------------------------------------- */

static inline bool
net_before(const struct net_item *a, const struct net_item *b)
{
	return a->due_us != b->due_us ? a->due_us < b->due_us
				      : a->order < b->order;
}

static inline void
net_push(struct net *net, struct net_item item, const void *bytes, size_t len)
{
	size_t i = net->heap_count++;

	item.bytes = malloc(len + !len);
	assert_non_null(item.bytes);
	memcpy(item.bytes, bytes, len);
	item.len = len;
	item.order = net->orders++;
	if (net->heap_count > net->heap_cap) {
		net->heap_cap = net->heap_cap ? 2 * net->heap_cap : 256;
		net->heap =
		    realloc(net->heap, net->heap_cap * sizeof(*net->heap));
		assert_non_null(net->heap);
	}
	for (; i && net_before(&item, &net->heap[(i - 1) / 2]); i = (i - 1) / 2)
		net->heap[i] = net->heap[(i - 1) / 2];
	net->heap[i] = item;
}

static inline struct net_item
net_pop(struct net *net)
{
	struct net_item top = net->heap[0], last = net->heap[--net->heap_count];
	size_t i = 0, c;

	while ((c = 2 * i + 1) < net->heap_count) {
		if (c + 1 < net->heap_count &&
		    net_before(&net->heap[c + 1], &net->heap[c]))
			c++;
		if (!net_before(&net->heap[c], &last))
			break;
		net->heap[i] = net->heap[c];
		i = c;
	}
	net->heap[i] = last;
	return top;
}

static inline struct net_node *
net_by_id(struct net *net, const struct id *id)
{
	for (unsigned i = 0; i < net->nodes; i++)
		if (id_eq(&net->node[i].me.id, id))
			return &net->node[i];
	return NULL;
}

static inline struct net_node *
net_home(struct net *net, const struct id *id, unsigned side)
{
	struct net_node *best = NULL;

	for (unsigned i = 0; i < net->nodes; i++) {
		struct net_node *n = &net->node[i];

		if (n->up && n->side == side &&
		    (!best || past_nearer(id, &n->me.id, &best->me.id)))
			best = n;
	}
	return best;
}

static inline void net_drain(struct net *net, struct net_node *n);

static inline enum err
net_step(struct net_node *n, struct replicas_event *ev)
{
	enum err e;

	ev->now_us = n->net->now_us;
	ev->now_s = NET_EPOCH + (int64_t)(n->net->now_us / SEC);
	e = replicas_step(n->r, ev);
	net_drain(n->net, n);
	return e;
}

static inline void
net_send(struct net *net, struct net_node *from, struct net_node *to,
    const struct replicas_action *a, const uint8_t *bytes, size_t len)
{
	struct net_item item = { .to = to->n,
		.kind = REPLICAS_EV_MESSAGE,
		.from = from->me.id,
		.id = a->id,
		.routed = a->kind == REPLICAS_ACT_ROUTE };
	unsigned copies = 1;

	net->messages++;
	net->bytes_sent += len;
	if (rng_below(&net->rng, 1000000) < net->loss_ppm)
		copies = 0;
	else if (rng_below(&net->rng, 1000000) < net->dup_ppm)
		copies = 2;
	if (!to->up || to->deaf || from->deaf || to->side != from->side)
		copies = 0;
	while (copies--) {
		item.due_us = net->now_us + net->delay_min_us +
			      rng_below(&net->rng,
				  net->delay_max_us - net->delay_min_us + 1);
		net_push(net, item, bytes, len);
	}
}

static inline void
net_store(struct net_node *n, const struct replicas_action *a)
{
	for (size_t i = 0; i < a->block_count; i++) {
		const struct replica_block *b = &a->blocks[i];
		uint8_t bytes[NET_BLOCK_MAX];
		unsigned number = net_number(n->net, &b->id);
		struct net_entry *x;

		assert_int_equal(b->len, net_block(number, bytes));
		assert_memory_equal(bytes, b->bytes, b->len);
		if (net_role(n, &b->id) < REPLICA_KEPT)
			n->stored_bytes += b->len;
		x = net_put(n, &b->id, number, REPLICA_KEPT);
		for (unsigned l = 0; l < b->lease_count; l++)
			net_lease(x, &b->leases[l].owner, b->leases[l].until_s);
	}
}

static inline void
net_act(struct net *net, struct net_node *n, struct replicas_action *a)
{
	struct net_item item = {
		.due_us = net->now_us + MS, .to = n->n, .request = a->request
	};
	static uint8_t lie[REPLICA_MESSAGE_MAX];
	struct net_node *to;
	size_t len = 0;

	net->digest = hash64_u64(net->digest, (uint64_t)a->kind << 32 | n->n);
	net->digest = hash64(a->bytes, a->len, net->digest + net->now_us);
	switch (a->kind) {
	case REPLICAS_ACT_SEND:
	case REPLICAS_ACT_ROUTE:
		to = a->kind == REPLICAS_ACT_SEND
			 ? net_by_id(net, &a->peer)
			 : net_home(net, &a->id, n->side);
		assert_non_null(to);
		if (net->seen)
			net->seen(net, n, a);
		if (n->liar && net->lie(net, n, a, lie, &len))
			net_send(net, n, to, a, lie, len);
		else
			net_send(net, n, to, a, a->bytes, a->len);
		break;
	case REPLICAS_ACT_STORE:
		net_store(n, a);
		item.kind = REPLICAS_EV_STORED;
		net_push(net, item, "", 0);
		break;
	case REPLICAS_ACT_HEAD:
		net_keep_head(n, &a->id, a->bytes, a->len);
		item.kind = REPLICAS_EV_STORED;
		net_push(net, item, "", 0);
		break;
	case REPLICAS_ACT_READ:
		item.kind = REPLICAS_EV_READ;
		net_push(net, item, a->ids, a->id_count * sizeof(struct id));
		break;
	case REPLICAS_ACT_FETCHED:
		if (a->e)
			n->unreachable++;
		else
			n->fetched++;
		if (!a->e) {
			struct id id;

			hash_bytes(a->bytes, a->len, &id);
			assert_true(id_eq(&id, &a->id));
		}
		n->last_fetch_us = net->now_us;
		break;
	case REPLICAS_ACT_LEASE:
		for (size_t i = 0; i < a->id_count; i++) {
			struct net_entry *x = net_find(n, &a->ids[i]);

			assert_non_null(x);
			if (x->role < REPLICA_KEPT)
				x->role = REPLICA_KEPT;
			net_lease(x, &a->peer, a->until_s);
		}
		break;
	case REPLICAS_ACT_DROP:
		for (size_t i = 0; i < a->id_count; i++) {
			struct net_entry *x = net_find(n, &a->ids[i]);

			assert_non_null(x);
			assert_int_equal(x->role, REPLICA_KEPT);
			x->role = REPLICA_TRASH;
		}
		break;
	case REPLICAS_ACT_SAFE:
		n->safe += a->id_count;
		break;
	case REPLICAS_ACT_DONE:
		n->done += a->id_count;
		break;
	case REPLICAS_ACT_HEADS:
		n->heads_told = *a;
		memcpy(n->told, a->bytes, a->len);
		n->tellings++;
		break;
	}
}

static inline void
net_drain(struct net *net, struct net_node *n)
{
	struct replicas_action a;

	while (replicas_take(n->r, &a))
		net_act(net, n, &a);
}

static inline void
net_read(struct net_node *n, const struct net_item *item)
{
	static uint8_t bytes[64][NET_BLOCK_MAX];
	struct replica_block block[64];
	struct replicas_event ev = { .kind = REPLICAS_EV_READ,
		.request = item->request,
		.blocks = block };
	size_t count = item->len / sizeof(struct id);

	/* Fewer than were asked, and sometimes but one: as a driver may. */
	if (count > 64)
		count = 64;
	if (rng_below(&n->net->rng, 8) == 0)
		count = 1;
	for (size_t i = 0; i < count; i++) {
		const struct net_entry *x;

		memset(&block[i], 0, sizeof(block[i]));
		memcpy(&block[i].id, item->bytes + i * sizeof(struct id),
		    sizeof(struct id));
		x = net_find(n, &block[i].id);
		if (!x)
			continue;
		block[i].len = net_block(x->number, bytes[i]);
		block[i].bytes = bytes[i];
	}
	ev.block_count = count;
	(void)net_step(n, &ev);
}

static inline void
net_deliver(struct net *net, struct net_item *item)
{
	struct net_node *n = &net->node[item->to];
	struct replicas_event ev = { .kind = item->kind,
		.peer = item->from,
		.id = item->id,
		.routed = item->routed,
		.request = item->request,
		.bytes = item->bytes,
		.len = item->len };

	if (n->up && item->kind == REPLICAS_EV_READ)
		net_read(n, item);
	else if (n->up)
		(void)net_step(n, &ev); /* what it says of it is counted */
	free(item->bytes);
}

/* ---- running ------------------------------------------------------------ */

static inline void
net_run(struct net *net, uint64_t for_us)
{
	uint64_t end = net->now_us + for_us;

	for (;;) {
		uint64_t due =
		    net->heap_count ? net->heap[0].due_us : UINT64_MAX;
		struct net_node *timer = NULL;

		for (unsigned i = 0; i < net->nodes; i++) {
			uint64_t at;

			if (!net->node[i].up)
				continue;
			at = replicas_deadline_us(net->node[i].r);
			if (at < due) {
				due = at;
				timer = &net->node[i];
			}
		}
		if (due > end)
			break;
		if (due > net->now_us)
			net->now_us = due;
		if (timer) {
			struct replicas_event ev = { .kind =
							 REPLICAS_EV_TIMER };

			assert_int_equal(net_step(timer, &ev), OK);
		} else {
			struct net_item item = net_pop(net);

			net_deliver(net, &item);
		}
	}
	net->now_us = end;
}

static inline void
net_start_node(struct net *net, unsigned i)
{
	struct net_node *n = &net->node[i];
	struct replicas_config c = {
		.self = n->me.id,
		.site = n->me.site,
		.k = net->k,
		.seed = net->now_us * 64 + i,
		.holdings = { n, net_role, net_next, net_digest, net_leases,
		    net_expired, net_head, net_next_head },
		.repair_bytes_s = net->repair_bytes_s,
		.exchange_us = net->exchange_us,
		.answer_us = net->answer_us,
		.lease_s = net->lease_s,
		.memory_max = 2u << 20,
	};

	assert_int_equal(replicas_new(&c, &n->r), OK);
	n->up = true;
}

static inline void
net_add_node(struct net *net)
{
	struct net_node *n = &net->node[net->nodes];
	uint64_t name[2] = { rng_u64(&net->rng), 0 };

	assert_true(net->nodes < NET_NODES_MAX);
	memset(n, 0, sizeof(*n));
	n->net = net;
	n->n = net->nodes;
	hash_bytes(name, sizeof(name), &n->me.id);
	n->me.site = net->sites ? 1 + net->nodes % net->sites : 0;
	n->me.rtt_us = 1000;
	net_start_node(net, net->nodes++);
}

/* Set what differs from these before net_add_node(). */
static inline struct net *
net_new(uint64_t seed)
{
	struct net *net = calloc(1, sizeof(*net));

	assert_non_null(net);
	rng_init(&net->rng, seed);
	net->k = 3;
	net->delay_min_us = 2 * MS;
	net->delay_max_us = 40 * MS;
	net->answer_us = SEC;
	net->exchange_us = 60 * SEC;
	net->lease_s = 28 * 86400;
	net->repair_bytes_s = 64u << 20;
	return net;
}

/* The others that n sees: left ones, then right ones. */
static inline void
net_neighbours(struct net *net, struct net_node *n, struct replicas_event *ev,
    struct replica_node *room)
{
	struct replica_node all[NET_NODES_MAX], swap;
	unsigned count = 0, half, at = 0;

	for (unsigned i = 0; i < net->nodes; i++)
		if (net->node[i].up && net->node[i].side == n->side)
			all[count++] = net->node[i].me;
	for (unsigned i = 1; i < count; i++)
		for (unsigned j = i;
		     j && id_cmp(&all[j].id, &all[j - 1].id) < 0; j--) {
			swap = all[j];
			all[j] = all[j - 1];
			all[j - 1] = swap;
		}
	while (!id_eq(&all[at].id, &n->me.id))
		at++;
	ev->whole = !net->leaf_half || count <= 2 * net->leaf_half + 1;
	half = ev->whole ? (count - 1) / 2 : net->leaf_half;
	ev->node_count = ev->whole ? count - 1 : 2 * half;
	ev->left_count = half;
	for (unsigned i = 0; i < half; i++)
		room[i] = all[(at + count - 1 - i) % count];
	for (unsigned i = 0; i + half < ev->node_count; i++)
		room[half + i] = all[(at + 1 + i) % count];
	ev->nodes = room;
}

static inline void
net_nodes(struct net *net)
{
	struct replica_node room[NET_NODES_MAX];

	for (unsigned i = 0; i < net->nodes; i++) {
		struct replicas_event ev = { .kind = REPLICAS_EV_NODES };

		if (!net->node[i].up)
			continue;
		net_neighbours(net, &net->node[i], &ev, room);
		assert_int_equal(net_step(&net->node[i], &ev), OK);
	}
}

/* It is gone with its disk. */
static inline void
net_kill(struct net *net, unsigned i)
{
	struct net_node *n = &net->node[i];

	n->up = false;
	replicas_free(n->r);
	n->r = NULL;
	free(n->entry);
	n->entry = NULL;
	n->entries = n->cap = 0;
	n->heads = 0;
}

static inline void
net_free(struct net *net)
{
	for (unsigned i = 0; i < net->nodes; i++)
		net_kill(net, i);
	while (net->heap_count) {
		struct net_item item = net_pop(net);

		free(item.bytes);
	}
	free(net->heap);
	free(net->block);
	free(net);
}

static inline enum err
net_own(struct net *net, unsigned i, unsigned first, unsigned count)
{
	struct replicas_event ev = { .kind = REPLICAS_EV_OWN,
		.ids = net->block + first,
		.id_count = count };

	for (unsigned b = first; b < first + count; b++)
		net_put(&net->node[i], &net->block[b], b, REPLICA_OWN);
	return net_step(&net->node[i], &ev);
}

static inline void
net_fetch(struct net *net, unsigned i, unsigned block, uint64_t request)
{
	struct replicas_event ev = { .kind = REPLICAS_EV_FETCH,
		.id = net->block[block],
		.request = request };

	assert_int_equal(net_step(&net->node[i], &ev), OK);
}

/* ---- the oracle --------------------------------------------------------- */

/* Nodes that are up and have the block as replica or own. */
static inline unsigned
net_copies(const struct net *net, unsigned block)
{
	unsigned n = 0;

	for (unsigned i = 0; i < net->nodes; i++)
		n += net->node[i].up && net_role((void *)&net->node[i],
					    &net->block[block]) >= REPLICA_KEPT;
	return n;
}

/* Blocks that not all of their holders have. */
static inline unsigned
net_lacking(struct net *net, unsigned blocks)
{
	unsigned lacking = 0;

	for (unsigned b = 0; b < blocks; b++) {
		struct net_node *home = net_home(net, &net->block[b], 0);
		struct id holder[REPLICA_K_MAX];
		unsigned n = replicas_holders(home->r, &net->block[b], holder);
		bool all = n > 0;

		for (unsigned i = 0; i < n; i++)
			all &= net_role(net_by_id(net, &holder[i]),
				   &net->block[b]) >= REPLICA_KEPT;
		lacking += !all;
	}
	return lacking;
}

static inline int
net_setup(void **state)
{
	(void)state;
	return crypto_init() != OK;
}

#endif
