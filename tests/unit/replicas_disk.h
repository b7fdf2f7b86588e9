/* replicas_disk.h - what the nodes of a ring in a test hold, in memory: blocks by
 * number, their leases, heads.  Block n has the same bytes everywhere. */
#ifndef POST_TESTS_UNIT_REPLICAS_DISK_H
#define POST_TESTS_UNIT_REPLICAS_DISK_H

#include "overlay/base/crypto.h"
#include "store/replicas_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS UINT64_C(1000)
#define SEC UINT64_C(1000000)
#define NET_NODES_MAX 48u
#define NET_BLOCK_MAX 1200u
#define NET_LEASES 4u
#define NET_EPOCH INT64_C(1790000000)

struct net_entry {
	struct id id;
	unsigned number; /* of the block */
	enum replica_role role;
	unsigned leases;
	struct replica_lease lease[NET_LEASES];
};

struct net_head {
	struct id id;
	uint8_t bytes[ULOG_HEAD_MAX];
	size_t len;
};

struct net;
struct net_node {
	struct net *net;
	unsigned n;
	struct replica_node me;
	struct replicas *r;
	bool up, liar, deaf;
	unsigned side; /* of a partition */
	struct net_entry *entry; /* by id */
	size_t entries, cap;
	struct net_head head[16];
	unsigned heads;
	uint64_t fetched, unreachable,
	    last_fetch_us; /* what readers were told */
	uint64_t safe, done, stored_bytes;
	struct replicas_action heads_told; /* the last HEADS; bytes below */
	uint8_t told[ULOG_HEAD_MAX];
	unsigned tellings;
};

struct net_item {
	uint64_t due_us, order;
	unsigned to;
	enum replicas_event_kind kind;
	struct id from, id;
	bool routed;
	uint64_t request;
	size_t len;
	uint8_t *bytes; /* MESSAGE; READ: ids */
};

struct net {
	struct rng rng;
	uint64_t now_us, orders, digest;
	unsigned nodes, loss_ppm, dup_ppm, leaf_half; /* 0: the ring is whole */
	uint64_t delay_min_us, delay_max_us, answer_us, exchange_us, lease_s;
	uint64_t repair_bytes_s;
	unsigned k, sites;
	struct net_node node[NET_NODES_MAX];
	struct id *block; /* by number */
	unsigned blocks;
	struct net_item *heap;
	size_t heap_count, heap_cap;
	uint64_t bytes_sent, messages;
	/* A liar's word instead of the message; false: as it is. */
	bool (*lie)(struct net *net, struct net_node *from,
	    struct replicas_action *a, uint8_t *out, size_t *len);
	/* Looks at every message sent. */
	void (*seen)(struct net *net, const struct net_node *from,
	    const struct replicas_action *a);
};

/* ---- blocks ------------------------------------------------------------- */

static inline size_t
net_block(unsigned number, uint8_t out[NET_BLOCK_MAX])
{
	struct rng g;
	size_t len;

	rng_init(&g, number);
	len = 100 + rng_below(&g, NET_BLOCK_MAX - 100);
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t word = rng_u64(&g);

		memcpy(out + i, &word, 8);
	}
	memset(out + (len & ~(size_t)7), 7, len & 7);
	return len;
}

static inline void
net_add_blocks(struct net *net, unsigned count)
{
	uint8_t bytes[NET_BLOCK_MAX];

	net->block =
	    realloc(net->block, (net->blocks + count) * sizeof(*net->block));
	assert_non_null(net->block);
	for (unsigned i = 0; i < count; i++) {
		size_t len = net_block(net->blocks, bytes);

		hash_bytes(bytes, len, &net->block[net->blocks++]);
	}
}

static inline unsigned
net_number(const struct net *net, const struct id *id)
{
	for (unsigned i = 0; i < net->blocks; i++)
		if (id_eq(&net->block[i], id))
			return i;
	fail_msg("a block that nobody made");
	return 0;
}

/* ---- what a node holds -------------------------------------------------- */

static inline size_t
net_lower(const struct net_node *n, const struct id *id)
{
	size_t low = 0, high = n->entries;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (id_cmp(&n->entry[middle].id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static inline struct net_entry *
net_find(const struct net_node *n, const struct id *id)
{
	size_t i = net_lower(n, id);

	return i < n->entries && id_eq(&n->entry[i].id, id) ? &n->entry[i]
							    : NULL;
}

static inline struct net_entry *
net_put(struct net_node *n, const struct id *id, unsigned number,
    enum replica_role role)
{
	size_t i = net_lower(n, id);

	if (i < n->entries && id_eq(&n->entry[i].id, id)) {
		if (n->entry[i].role < role)
			n->entry[i].role = role;
		return &n->entry[i];
	}
	if (n->entries == n->cap) {
		n->cap = n->cap ? 2 * n->cap : 256;
		n->entry = realloc(n->entry, n->cap * sizeof(*n->entry));
		assert_non_null(n->entry);
	}
	memmove(&n->entry[i + 1], &n->entry[i],
	    (n->entries - i) * sizeof(*n->entry));
	n->entries++;
	memset(&n->entry[i], 0, sizeof(*n->entry));
	n->entry[i].id = *id;
	n->entry[i].number = number;
	n->entry[i].role = role;
	return &n->entry[i];
}

static inline void
net_lease(struct net_entry *x, const struct id *owner, int64_t until_s)
{
	for (unsigned i = 0; i < x->leases; i++)
		if (id_eq(&x->lease[i].owner, owner)) {
			if (x->lease[i].until_s < until_s)
				x->lease[i].until_s = until_s;
			return;
		}
	assert_true(x->leases < NET_LEASES);
	x->lease[x->leases++] = (struct replica_lease){ *owner, until_s };
}

static inline bool
net_counts(
    const struct net_node *n, const struct net_entry *x, const struct id *owner)
{
	if (x->role < REPLICA_KEPT)
		return false;
	if (!owner)
		return true;
	if (id_eq(owner, &n->me.id))
		return x->role == REPLICA_OWN;
	for (unsigned i = 0; i < x->leases; i++)
		if (id_eq(&x->lease[i].owner, owner))
			return true;
	return false;
}

static inline enum replica_role
net_role(void *arg, const struct id *id)
{
	const struct net_entry *x = net_find(arg, id);

	return x ? x->role : REPLICA_ABSENT;
}

static inline bool
net_next(
    void *arg, const struct id *owner, const struct id *from, struct id *out)
{
	struct net_node *n = arg;

	for (size_t i = net_lower(n, from); i < n->entries; i++)
		if (net_counts(n, &n->entry[i], owner)) {
			*out = n->entry[i].id;
			return true;
		}
	return false;
}

static inline void
net_digest(void *arg, const struct id *owner, const struct id *from,
    const struct id *to, uint64_t *sum, uint64_t *count)
{
	struct net_node *n = arg;

	*sum = *count = 0;
	for (size_t i = net_lower(n, from);
	     i < n->entries && id_cmp(&n->entry[i].id, to) <= 0; i++)
		if (net_counts(n, &n->entry[i], owner)) {
			*sum += hash64(&n->entry[i].id, ID_BYTES, 0);
			++*count;
		}
}

static inline unsigned
net_leases(void *arg, const struct id *id,
    struct replica_lease out[REPLICA_LEASES_MAX])
{
	const struct net_entry *x = net_find(arg, id);

	if (!x)
		return 0;
	memcpy(out, x->lease, x->leases * sizeof(*out));
	return x->leases;
}

static inline bool
net_expired(void *arg, int64_t now_s, const struct id *from, struct id *out)
{
	struct net_node *n = arg;

	for (size_t i = net_lower(n, from); i < n->entries; i++) {
		const struct net_entry *x = &n->entry[i];
		bool good = x->role != REPLICA_KEPT;

		for (unsigned l = 0; l < x->leases; l++)
			good |= x->lease[l].until_s > now_s;
		if (!good) {
			*out = x->id;
			return true;
		}
	}
	return false;
}

static inline struct net_head *
net_head_of(struct net_node *n, const struct id *id)
{
	for (unsigned i = 0; i < n->heads; i++)
		if (id_eq(&n->head[i].id, id))
			return &n->head[i];
	return NULL;
}

static inline size_t
net_head(void *arg, const struct id *id, uint8_t *out)
{
	const struct net_head *h = net_head_of(arg, id);

	if (!h)
		return 0;
	memcpy(out, h->bytes, h->len);
	return h->len;
}

static inline bool
net_next_head(void *arg, const struct id *from, struct id *out)
{
	struct net_node *n = arg;
	bool found = false;

	for (unsigned i = 0; i < n->heads; i++)
		if (id_cmp(&n->head[i].id, from) >= 0 &&
		    (!found || id_cmp(&n->head[i].id, out) < 0)) {
			*out = n->head[i].id;
			found = true;
		}
	return found;
}

static inline void
net_keep_head(
    struct net_node *n, const struct id *id, const uint8_t *bytes, size_t len)
{
	struct net_head *h = net_head_of(n, id);

	if (!h) {
		assert_true(n->heads < 16);
		h = &n->head[n->heads++];
		h->id = *id;
	}
	memcpy(h->bytes, bytes, len);
	h->len = len;
}

#endif
