/* What a message says makes the same bytes again; and a machine that gets it
 * from a neighbour, and from a stranger, goes on. */
#include "overlay/base/crypto.h"
#include "store/replicas_private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
must(int ok)
{
	if (!ok)
		abort();
}

/* A store that has each id whose first byte is even, and nothing of a head. */
static enum replica_role
role(void *arg, const struct id *id)
{
	(void)arg;
	return id->b[0] % 2 ? REPLICA_ABSENT : REPLICA_KEPT;
}

static bool
next(void *arg, const struct id *owner, const struct id *from, struct id *out)
{
	(void)arg;
	(void)owner;
	if (from->b[0] >= 254)
		return false;
	memset(out, 0, sizeof(*out));
	out->b[0] = (uint8_t)((from->b[0] | 1) + 1);
	return true;
}

static void
digest(void *arg, const struct id *owner, const struct id *from,
    const struct id *to, uint64_t *sum, uint64_t *count)
{
	(void)arg;
	(void)owner;
	*count = (uint64_t)(to->b[0] - from->b[0]) * 100;
	*sum = *count * 3;
}

static unsigned
leases(void *arg, const struct id *id,
    struct replica_lease out[REPLICA_LEASES_MAX])
{
	(void)arg;
	out[0] = (struct replica_lease){ *id, 5 };
	return 1;
}

static bool
expired(void *arg, int64_t now_s, const struct id *from, struct id *out)
{
	(void)now_s;
	return next(arg, NULL, from, out);
}

static size_t
head(void *arg, const struct id *id, uint8_t *out)
{
	(void)arg;
	(void)id;
	(void)out;
	return 0;
}

static bool
next_head(void *arg, const struct id *from, struct id *out)
{
	(void)arg;
	(void)from;
	(void)out;
	return false;
}

/* Answers what a driver has to; its answers may bring more. */
static void
drain(struct replicas *r, struct replicas_event *ev, unsigned depth)
{
	struct replicas_action a;
	uint64_t request[64];
	struct id id[64];
	enum replicas_event_kind kind[64];
	unsigned n = 0;

	while (replicas_take(r, &a)) {
		if (n == 64 || depth == 4)
			continue;
		if (a.kind == REPLICAS_ACT_READ) {
			kind[n] = REPLICAS_EV_READ;
			id[n] = a.ids[0];
		} else if (a.kind == REPLICAS_ACT_STORE ||
			   a.kind == REPLICAS_ACT_HEAD)
			kind[n] = REPLICAS_EV_STORED;
		else
			continue;
		request[n++] = a.request;
	}
	for (unsigned i = 0; i < n; i++) {
		struct replica_block b = {
			.id = id[i], .bytes = (const uint8_t *)"b", .len = 1
		};

		ev->kind = kind[i];
		ev->request = request[i];
		ev->blocks = &b;
		ev->block_count = 1;
		must(replicas_step(r, ev) == OK);
		drain(r, ev, depth + 1);
	}
}

static void
machine(const uint8_t *bytes, size_t len)
{
	struct replicas_config c = { .seed = 1,
		.holdings = { NULL, role, next, digest, leases, expired, head,
		    next_head } };
	struct replica_node node[4] = { 0 };
	struct replicas_event ev = { .now_us = 1, .now_s = 1790000000 };
	struct replicas *r;

	c.self.b[0] = 1;
	for (unsigned i = 0; i < 4; i++)
		node[i].id.b[0] = (uint8_t)(50 * (i + 1));
	must(replicas_new(&c, &r) == OK);
	ev.kind = REPLICAS_EV_NODES;
	ev.nodes = node;
	ev.node_count = 4;
	ev.left_count = 2;
	ev.whole = true;
	must(replicas_step(r, &ev) == OK);
	drain(r, &ev, 0);
	for (unsigned i = 0; i < 3; i++) {
		ev.kind = REPLICAS_EV_MESSAGE;
		ev.peer = node[i % 2].id;
		ev.peer.b[31] = i == 2; /* a stranger */
		ev.bytes = bytes;
		ev.len = len;
		ev.now_us += 1000;
		if (replicas_step(r, &ev))
			must(replicas_counters(r)->malformed +
				 replicas_counters(r)->forged >
			     0);
		drain(r, &ev, 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		ev.kind = REPLICAS_EV_TIMER;
		ev.now_us = replicas_deadline_us(r) > ev.now_us
				? replicas_deadline_us(r)
				: ev.now_us;
		must(ev.now_us != UINT64_MAX);
		must(replicas_step(r, &ev) == OK);
		drain(r, &ev, 0);
	}
	replicas_free(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct past_msg m;
	uint8_t *again;
	size_t again_len;

	must(crypto_init() == OK);
	if (!past_decode(bytes, len, &m)) {
		again = malloc(past_encoded_max(&m));
		must(again != NULL);
		must(past_encode(&m, again, past_encoded_max(&m), &again_len));
		must(again_len == len && memcmp(again, bytes, len) == 0);
		free(again);
	}
	machine(bytes, len);
	return 0;
}
