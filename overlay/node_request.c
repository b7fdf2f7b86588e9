/* ROUTE at its two ends: the origin that tries again, the home that delivers
 * once.
 *
 * The home tells the origin with a receipt: DIRECT of SERVICE_JOIN, with the
 * request's number and no payload.  Until it comes the origin sends the
 * request again, each time a little later, and for longer than a range can be
 * without a home: a neighbour's death is noticed within beat_us and the
 * probes, and its leases end lease_us after that at latest. */
#include "overlay/node_private.h"

#include "overlay/base/map.h"

#include <assert.h>
#include <stdlib.h>

#define REQUEST_BYTES_MAX (32u << 20)
#define DELIVERED_FIRST 16u
#define ROUTE_PAYLOAD_MAX (FRAME_MAX - 256u) /* room for the heads */

/* ---- origin ------------------------------------------------------------- */

static void
request_remove(struct node *n, unsigned at)
{
	n->request_bytes -= n->request[at]->len;
	free(n->request[at]);
	n->request_n--;
	memmove(n->request + at, n->request + at + 1,
	    (n->request_n - at) * sizeof(n->request[0]));
	if (n->request_n == 0) {
		free(n->request);
		n->request = NULL;
		n->request_cap = 0;
	}
}

void
request_free(struct node *n)
{
	while (n->request_n)
		request_remove(n, n->request_n - 1);
}

static void
request_lost(struct node *n, unsigned at)
{
	struct request *r = n->request[at];

	n->counters.lost++;
	out_lost(n, r->service, &r->key, r->request);
	route_end(n, r->request);
	request_remove(n, at);
}

static void
request_try(struct node *n, struct request *r)
{
	uint64_t wait = REQUEST_WAIT_US << (r->tries < 4 ? r->tries : 4);

	r->due_us =
	    n->now_us + node_jitter(n, min_us(wait, REQUEST_WAIT_MAX_US));
	/* No room is like a message lost. */
	(void)route_begin(n, r);
}

enum err
request_new(struct node *n, const struct node_event *ev)
{
	struct request *r;

	assert(ev->service > SERVICE_JOIN && ev->service < SERVICE_COUNT);
	if (n->request_n == REQUESTS_MAX || n->stage == STAGE_LEFT ||
	    ev->len > ROUTE_PAYLOAD_MAX ||
	    n->request_bytes + ev->len > REQUEST_BYTES_MAX) {
		n->counters.lost++;
		out_lost(n, ev->service, &ev->key, ev->request);
		return OK;
	}
	if (n->request_n == n->request_cap) {
		unsigned cap = n->request_cap ? 2 * n->request_cap : 4;
		void *more = realloc(n->request, cap * sizeof(n->request[0]));

		if (!more)
			return ERR_NOMEM;
		n->request = more;
		n->request_cap = cap;
	}
	r = calloc(1, sizeof(*r) + ev->len);
	if (!r)
		return ERR_NOMEM;
	r->service = ev->service;
	r->request = ev->request;
	r->key = ev->key;
	r->len = ev->len;
	if (r->len)
		memcpy(r->payload, ev->bytes, r->len);
	n->request[n->request_n++] = r;
	n->request_bytes += r->len;
	request_try(n, r); /* may be done with at once */
	return OK;
}

void
request_done(struct node *n, uint64_t request)
{
	for (unsigned i = 0; i < n->request_n; i++) {
		if (n->request[i]->request != request)
			continue;
		request_remove(n, i);
		break;
	}
}

void
request_timers(struct node *n)
{
	for (unsigned i = 0; i < n->request_n;) {
		struct request *r = n->request[i];

		if (r->due_us > n->now_us) {
			i++;
		} else if (++r->tries >= REQUEST_TRIES) {
			request_lost(n, i);
		} else {
			request_try(n, r);
			if (i < n->request_n && n->request[i] == r)
				i++;
		}
	}
}

uint64_t
request_deadline(const struct node *n)
{
	uint64_t at = NEVER;

	for (unsigned i = 0; i < n->request_n; i++)
		at = min_us(at, n->request[i]->due_us);
	return at;
}

/* ---- home --------------------------------------------------------------- */

/* Have we delivered this before?  Remembers it if not. */
static bool
is_repeated(struct node *n, const struct transit *t)
{
	uint64_t hash = hash64(&t->origin.id, ID_BYTES, t->request);
	unsigned cap = n->delivery_cap;
	struct delivery *oldest;

	for (unsigned i = 0; i < cap; i++)
		if (n->delivery[i].hash == hash && n->delivery[i].at_us &&
		    n->now_us - n->delivery[i].at_us < DELIVERED_KEEP_US)
			return true;
	/* A ring of slots; it grows while the oldest is still worth keeping. */
	oldest = cap ? &n->delivery[n->delivery_at] : NULL;
	if (!oldest || (cap < DELIVERED_MAX && oldest->at_us &&
			   n->now_us - oldest->at_us < DELIVERED_KEEP_US)) {
		unsigned more = cap ? 2 * cap : DELIVERED_FIRST;
		struct delivery *grown = calloc(more, sizeof(*grown));

		if (grown) {
			for (unsigned i = 0; i < cap; i++)
				grown[i] =
				    n->delivery[(n->delivery_at + i) % cap];
			free(n->delivery);
			n->delivery = grown;
			n->delivery_cap = more;
			n->delivery_at = cap;
		}
	}
	if (n->delivery_cap) {
		n->delivery[n->delivery_at] =
		    (struct delivery){ .hash = hash, .at_us = n->now_us };
		n->delivery_at = (n->delivery_at + 1) % n->delivery_cap;
	}
	return false;
}

void
request_deliver(struct node *n, const struct transit *t)
{
	struct msg_direct receipt = {
		.service = SERVICE_JOIN,
		.request = t->request,
	};
	uint8_t frame[64];
	size_t len;

	if (!is_repeated(n, t)) {
		n->counters.delivered++;
		out_deliver(n, &t->origin, &t->key, t->service, t->hops,
		    t->request, t->payload, t->len);
	}
	if (id_eq(&t->origin.id, &n->config.self.id)) {
		request_done(n, t->request);
		return;
	}
	if (!msg_direct_encode(&receipt, frame, sizeof(frame), &len))
		assert(!"a receipt fits");
	out_frame(n, &t->origin, frame, len);
}
