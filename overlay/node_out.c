/* Actions and frames on their way out.
 *
 * Bytes of all actions of a step stand in one block, which is given back when
 * the actions have been taken: a node at rest keeps none. */
#include "overlay/node_private.h"

#include <assert.h>
#include <stdlib.h>

#define OUT_KEEP 8u /* actions for which room is kept */

/* NULL: no memory. */
static struct node_action *
action_add(struct node *n, enum node_action_kind kind, size_t len)
{
	struct out_action *a;

	if (n->out_n == n->out_cap) {
		unsigned cap = n->out_cap ? 2 * n->out_cap : OUT_KEEP;
		void *more = realloc(n->out, cap * sizeof(n->out[0]));

		if (!more)
			return NULL;
		n->out = more;
		n->out_cap = cap;
	}
	if (n->out_bytes_cap - n->out_len < len) {
		size_t cap = 2 * n->out_bytes_cap;
		void *more;

		if (cap < n->out_len + len)
			cap = n->out_len + len;
		more = realloc(n->out_bytes, cap);
		if (!more)
			return NULL;
		n->out_bytes = more;
		n->out_bytes_cap = cap;
	}
	a = &n->out[n->out_n++];
	*a = (struct out_action){ .at = n->out_len };
	a->action.kind = kind;
	a->action.len = len;
	n->out_len += len;
	return &a->action;
}

void
out_reset(struct node *n)
{
	if (n->out_at < n->out_n)
		return; /* not drained: they stay */
	n->out_at = n->out_n = 0;
	n->out_len = n->out_bytes_cap = 0;
	free(n->out_bytes);
	n->out_bytes = NULL;
	if (n->out_cap > OUT_KEEP) {
		free(n->out);
		n->out = NULL;
		n->out_cap = 0;
	}
}

bool
node_take(struct node *n, struct node_action *out)
{
	if (n->out_at == n->out_n)
		return false;
	*out = n->out[n->out_at].action;
	if (out->len)
		out->bytes = n->out_bytes + n->out[n->out_at].at;
	n->out_at++;
	return true;
}

void
out_act(struct node *n, enum node_action_kind kind, const struct peer *p)
{
	struct node_action *a = action_add(n, kind, 0);

	if (a && p)
		a->peer = *p;
}

void
out_lost(
    struct node *n, uint8_t service, const struct id *key, uint64_t request)
{
	struct node_action *a = action_add(n, NODE_ACT_LOST, 0);

	if (!a)
		return;
	a->key = *key;
	a->service = service;
	a->request = request;
}

void
out_deliver(struct node *n, const struct peer *from, const struct id *key,
    uint8_t service, uint8_t hops, uint64_t request, const uint8_t *bytes,
    size_t len)
{
	struct node_action *a = action_add(n, NODE_ACT_DELIVER, len);

	if (!a)
		return;
	a->peer = *from;
	a->service = service;
	a->hops = hops;
	a->request = request;
	if (key) {
		a->key = *key;
		a->routed = true;
	}
	if (len)
		memcpy(n->out_bytes + n->out[n->out_n - 1].at, bytes, len);
}

static void
send_bytes(
    struct node *n, const struct peer *to, const uint8_t *frame, size_t len)
{
	struct node_action *a;

	assert(len && len <= FRAME_MAX && frame[0] < MSG_KIND_END);
	a = action_add(n, NODE_ACT_SEND, len);
	if (!a)
		return;
	a->peer = *to;
	memcpy(n->out_bytes + n->out[n->out_n - 1].at, frame, len);
	n->counters.sent[frame[0]]++;
}

void
out_frame_direct(
    struct node *n, const struct peer *to, const uint8_t *frame, size_t len)
{
	struct known *k = known_find(n, &to->id);

	send_bytes(n, k ? &k->peer : to, frame, len);
	if (k)
		k->used_us = n->now_us;
}

void
out_frame_via(struct node *n, const struct peer *via, const struct id *to,
    const uint8_t *frame, size_t len)
{
	struct msg_relay m = {
		.from = n->config.self.id,
		.to = *to,
		.frame = frame,
		.frame_len = len,
	};
	size_t cap = RELAY_HEAD_MAX + len, used;
	uint8_t *buf;

	if (cap > FRAME_MAX)
		return; /* too long for the way round */
	buf = malloc(cap);
	if (!buf)
		return;
	if (msg_relay_encode(&m, buf, cap, &used))
		out_frame_direct(n, via, buf, used);
	free(buf);
}

void
out_frame(
    struct node *n, const struct peer *to, const uint8_t *frame, size_t len)
{
	const struct detour *d = relay_detour(n, &to->id);
	struct known *via = d ? known_find(n, &d->via) : NULL;

	if (via)
		out_frame_via(n, &via->peer, &to->id, frame, len);
	else
		out_frame_direct(n, to, frame, len);
}

void
out_reply(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	if (o->relayed)
		out_frame_via(n, &o->via, &o->peer.id, frame, len);
	else
		out_frame_direct(n, &o->peer, frame, len);
}
