/* budget.c - token buckets, messages that wait, and shares of a queue. */
#include "overlay/net/net_private.h"

#include <assert.h>
#include <stdlib.h>

#define MILLION UINT64_C(1000000)

void
limits_init(struct limits *l)
{
	*l = (struct limits){
		.links_max = NET_LINKS_MAX,
		.handshakes_max = NET_HANDSHAKES_MAX,
		.address_max = NET_ADDRESS_HANDSHAKES_MAX,
		.dials_max = NET_DIALS_MAX,
		.handshake_us = NET_HANDSHAKE_MS * UINT64_C(1000),
		.tie_us = NET_TIE_MS * UINT64_C(1000),
		.idle_us = NET_IDLE_MS * UINT64_C(1000),
		.stall_us = NET_STALL_MS * UINT64_C(1000),
		.linger_us = NET_LINGER_MS * UINT64_C(1000),
		.guest_us = NET_GUEST_MS * UINT64_C(1000),
		.evict_us = NET_EVICT_MS * UINT64_C(1000),
		.grace_us = NET_GRACE_MS * UINT64_C(1000),
		.queue_max = NET_QUEUE_MAX,
		.queued_max = NET_QUEUED_MAX,
		.in_rate = NET_IN_RATE,
		.accepts = NET_ACCEPTS,
	};
}

void
bucket_init(struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now_us)
{
	assert(rate && burst && burst <= UINT32_MAX);
	b->rate = rate;
	b->burst = burst;
	b->at_us = now_us;
	b->level = burst * MILLION;
}

bool
bucket_take(struct bucket *b, uint64_t now_us)
{
	uint64_t full = b->burst * MILLION;

	if (now_us > b->at_us) {
		uint64_t gone = now_us - b->at_us;

		/* Before it is multiplied: a machine may sleep for years. */
		if (gone > full / b->rate || b->level + gone * b->rate > full)
			b->level = full;
		else
			b->level += gone * b->rate;
		b->at_us = now_us;
	}
	if (b->level < MILLION)
		return false;
	b->level -= MILLION;
	return true;
}

enum err
outbox_put(struct outbox *o, const void *bytes, size_t len)
{
	struct parcel *p = malloc(sizeof(*p) + len);

	if (!p)
		return ERR_NOMEM;
	p->next = NULL;
	p->len = len;
	memcpy(p->bytes, bytes, len);
	if (o->last)
		o->last->next = p;
	else
		o->first = p;
	o->last = p;
	o->bytes += sizeof(*p) + len;
	return OK;
}

struct parcel *
outbox_take(struct outbox *o)
{
	struct parcel *p = o->first;

	if (!p)
		return NULL;
	o->first = p->next;
	if (!o->first)
		o->last = NULL;
	o->bytes -= sizeof(*p) + p->len;
	return p;
}

void
outbox_move(struct outbox *to, struct outbox *from)
{
	if (!from->first)
		return;
	if (to->last)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	to->bytes += from->bytes;
	*from = (struct outbox){ 0 };
}

void
outbox_fini(struct outbox *o)
{
	struct parcel *p;

	while ((p = outbox_take(o)))
		free(p);
}

size_t
queue_share(const struct limits *l, size_t queued, unsigned links)
{
	size_t share;

	if (queued < l->queued_max)
		return l->queue_max;
	share = l->queued_max / (links ? links : 1);
	return share < l->queue_max ? share : l->queue_max;
}
