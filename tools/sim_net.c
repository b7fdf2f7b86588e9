/* The made-up network: links between nodes, and what becomes of a frame.
 *
 * A link is one record for both ends.  It is found by hashing the pair, and
 * each end keeps a list of its own.  Nobody tells a node that its peer is
 * gone: a frame that can not be answered sets off ITEM_STALL, as unanswered
 * bytes in the end break a TCP connection; only a process that ends on a
 * machine that goes on is noticed at once. */
#include "tools/sim_private.h"

#include <stdlib.h>
#include <string.h>

#define REORDER_MIN_US 1000u /* how much later an overtaken frame comes */
#define REORDER_SPAN_US 200000u

bool
sim_net_init(struct sim *s)
{
	s->buckets = LINK_BUCKETS_MIN;
	s->bucket = malloc(s->buckets * sizeof(*s->bucket));
	s->links_free = LINK_NONE;
	if (!s->bucket || !sim_sites_init(s))
		return false;
	for (uint32_t b = 0; b < s->buckets; b++)
		s->bucket[b] = LINK_NONE;
	return true;
}

static uint64_t
delay_now_us(struct sim *s, uint32_t a, uint32_t b)
{
	return sim_delay_us(s, a, b) +
	       rng_below(&s->net, (uint64_t)s->config.jitter_us + 1);
}

/* ---- frames ------------------------------------------------------------- */

static struct sim_frame *
frame_new(struct sim *s, uint32_t from, const uint8_t *bytes, size_t len)
{
	struct sim_frame *f = malloc(sizeof(*f) + len);

	if (!f) {
		s->failed = true;
		return NULL;
	}
	f->next = NULL;
	f->refs = 1;
	f->len = (uint32_t)len;
	f->from = from;
	f->from_epoch = s->node[from].epoch;
	memcpy(f->bytes, bytes, len);
	s->frame_bytes_held += sizeof(*f) + len;
	return f;
}

void
sim_frame_unref(struct sim *s, struct sim_frame *f)
{
	if (--f->refs)
		return;
	s->frame_bytes_held -= sizeof(*f) + f->len;
	free(f);
}

/* ---- the table of links ------------------------------------------------- */

static uint32_t *
bucket_of(const struct sim *s, uint32_t lo, uint32_t hi)
{
	return &s->bucket[hash64_u64(lo, hi) & (s->buckets - 1)];
}

static uint32_t
link_find(const struct sim *s, uint32_t a, uint32_t b)
{
	uint32_t lo = a < b ? a : b, hi = a < b ? b : a;
	uint32_t at = *bucket_of(s, lo, hi);

	while (at != LINK_NONE &&
	       (s->link[at].end[0] != lo || s->link[at].end[1] != hi))
		at = s->link[at].chain;
	return at;
}

static unsigned
end_of(const struct sim_link *l, uint32_t i)
{
	return l->end[1] == i;
}

/* Out of the list of one of its ends. */
static void
unlist(struct sim *s, uint32_t at, unsigned end)
{
	struct sim_link *l = &s->link[at], *other;
	uint32_t i = l->end[end];

	if (l->next[end] != LINK_NONE) {
		other = &s->link[l->next[end]];
		other->prev[end_of(other, i)] = l->prev[end];
	}
	if (l->prev[end] != LINK_NONE) {
		other = &s->link[l->prev[end]];
		other->next[end_of(other, i)] = l->next[end];
	} else {
		s->node[i].links = l->next[end];
	}
}

static void
enlist(struct sim *s, uint32_t at, unsigned end)
{
	struct sim_link *l = &s->link[at], *other;
	uint32_t i = l->end[end];

	l->prev[end] = LINK_NONE;
	l->next[end] = s->node[i].links;
	if (l->next[end] != LINK_NONE) {
		other = &s->link[l->next[end]];
		other->prev[end_of(other, i)] = at;
	}
	s->node[i].links = at;
}

static void
link_remove(struct sim *s, uint32_t at)
{
	struct sim_link *l = &s->link[at];
	uint32_t *in = bucket_of(s, l->end[0], l->end[1]);

	while (l->first) {
		struct sim_frame *f = l->first;

		l->first = f->next;
		sim_frame_unref(s, f);
	}
	while (*in != at)
		in = &s->link[*in].chain;
	*in = l->chain;
	unlist(s, at, 0);
	unlist(s, at, 1);
	l->number = 0; /* no event means it */
	l->end[0] = l->end[1] = SIM_NONE;
	l->chain = s->links_free;
	s->links_free = at;
	s->links_used--;
}

static bool
idle(const struct sim *s, const struct sim_link *l)
{
	return l->state == LINK_IS_UP && s->config.idle_us != UINT64_MAX &&
	       s->now_us - l->used_us > s->config.idle_us;
}

static bool
links_more(struct sim *s)
{
	uint32_t cap = s->links_cap ? s->links_cap * 2 : 1024, buckets = cap;
	struct sim_link *more;
	uint32_t *bucket;

	for (uint32_t at = 0; at < s->links_cap; at++)
		if (s->link[at].number && idle(s, &s->link[at]))
			link_remove(s, at);
	if (s->links_cap && s->links_used < s->links_cap / 4 * 3)
		return true; /* enough were closed */
	more = realloc(s->link, cap * sizeof(*more));
	if (!more)
		return false;
	s->link = more;
	bucket = realloc(s->bucket, buckets * sizeof(*bucket));
	if (!bucket)
		return false;
	s->bucket = bucket;
	s->buckets = buckets;
	for (uint32_t b = 0; b < buckets; b++)
		bucket[b] = LINK_NONE;
	for (uint32_t at = s->links_cap; at < cap; at++) {
		more[at].number = 0;
		more[at].chain = s->links_free;
		s->links_free = at;
	}
	s->links_cap = cap;
	for (uint32_t at = 0; at < cap; at++)
		if (more[at].number) {
			uint32_t *in =
			    bucket_of(s, more[at].end[0], more[at].end[1]);

			more[at].chain = *in;
			*in = at;
		}
	return true;
}

static uint32_t
link_new(struct sim *s, uint32_t a, uint32_t b)
{
	uint32_t at, *in;
	struct sim_link *l;

	if (s->links_free == LINK_NONE && !links_more(s)) {
		s->failed = true;
		return LINK_NONE;
	}
	at = s->links_free;
	l = &s->link[at];
	s->links_free = l->chain;
	s->links_used++;
	memset(l, 0, sizeof(*l));
	l->end[0] = a < b ? a : b;
	l->end[1] = a < b ? b : a;
	for (unsigned e = 0; e < 2; e++)
		l->epoch[e] = s->node[l->end[e]].epoch;
	if (++s->link_number == 0)
		s->link_number = 1;
	l->number = s->link_number;
	l->state = LINK_MAKING;
	l->begun_us = l->used_us = s->now_us;
	in = bucket_of(s, l->end[0], l->end[1]);
	l->chain = *in;
	*in = at;
	enlist(s, at, 0);
	enlist(s, at, 1);
	return at;
}

size_t
sim_net_bytes(const struct sim *s)
{
	return s->links_cap * sizeof(*s->link) +
	       s->buckets * sizeof(*s->bucket) + s->frame_bytes_held;
}

void
sim_net_fini(struct sim *s)
{
	for (uint32_t at = 0; at < s->links_cap; at++)
		if (s->link[at].number)
			link_remove(s, at);
	free(s->link);
	free(s->bucket);
	free(s->site);
}

/* ---- making and breaking ------------------------------------------------ */

/* Tell `to`, as it is now, that there is no link with `peer`. */
static void
tell_failed(struct sim *s, uint32_t to, const struct peer *peer, uint64_t at_us)
{
	struct sim_item it = { .kind = ITEM_FAILED,
		.to = to,
		.from = SIM_NONE,
		.to_epoch = s->node[to].epoch,
		.at_us = at_us };

	it.u.peer = malloc(sizeof(*peer));
	if (!it.u.peer) {
		s->failed = true;
		return;
	}
	*it.u.peer = *peer;
	sim_push(s, &it);
}

/* Is the node at this end still the one that the link was made with? */
static bool
end_valid(const struct sim *s, const struct sim_link *l, unsigned end)
{
	const struct sim_node *n = &s->node[l->end[end]];

	return n->node && n->epoch == l->epoch[end];
}

static void
item_for_link(struct sim *s, const struct sim_link *l, enum sim_item_kind kind,
    uint32_t from, uint64_t at_us)
{
	struct sim_item it = { .kind = (uint8_t)kind,
		.from = from,
		.to = l->end[!end_of(l, from)],
		.at_us = at_us };

	it.u.number = l->number;
	sim_push(s, &it);
}

/* Begin a link, or join in one that is being made. */
static uint32_t
link_begin(struct sim *s, uint32_t from, uint32_t to)
{
	uint64_t rtt = 2 * sim_delay_us(s, from, to);
	uint32_t at = link_new(s, from, to);
	struct sim_link *l;

	if (at == LINK_NONE)
		return at;
	l = &s->link[at];
	l->asked = (uint8_t)(1u << end_of(l, from));
	s->figures.links++;
	item_for_link(s, l, ITEM_CONNECT, from, s->now_us + rtt);
	return at;
}

/* The link of the pair as `from` sees it: one of an earlier life of its own,
 * or idle too long, is none. */
static uint32_t
link_of(struct sim *s, uint32_t from, uint32_t to)
{
	uint32_t at = link_find(s, from, to);
	struct sim_link *l;

	if (at == LINK_NONE)
		return at;
	l = &s->link[at];
	if (!end_valid(s, l, end_of(l, from)) || idle(s, l)) {
		link_remove(s, at);
		return LINK_NONE;
	}
	return at;
}

static void
arrive(struct sim *s, struct sim_frame *f, uint32_t to, uint64_t at_us)
{
	struct sim_item it = { .kind = ITEM_FRAME,
		.from = f->from,
		.to = to,
		.to_epoch = s->node[to].epoch,
		.at_us = at_us };

	f->refs++;
	it.u.frame = f;
	sim_push(s, &it);
}

static bool
chance_ppm(struct sim *s, uint32_t ppm)
{
	return ppm && rng_below(&s->net, 1000000) < ppm;
}

/* Over a link that is up.  The caller keeps its reference. */
static void
transmit(struct sim *s, uint32_t at, struct sim_frame *f)
{
	struct sim_link *l = &s->link[at];
	unsigned mine = end_of(l, f->from), its = !mine;
	uint32_t to = l->end[its];
	const struct sim_node *n = &s->node[to];
	bool open = sim_reach(s, f->from, to);
	uint64_t when;

	l->used_us = s->now_us;
	if (open && !n->asleep && !end_valid(s, l, its) &&
	    (n->node || n->refuses)) {
		/* Somebody is there, and knows nothing of this link. */
		tell_failed(s, f->from, &n->self,
		    s->now_us + 2 * sim_delay_us(s, f->from, to));
		link_remove(s, at);
		return;
	}
	if ((!open || n->asleep || !end_valid(s, l, its)) &&
	    !l->stalled[mine]) {
		l->stalled[mine] = true;
		item_for_link(
		    s, l, ITEM_STALL, f->from, s->now_us + s->config.stall_us);
	}
	if (!sim_passes(s, f->from, to) || n->asleep || !end_valid(s, l, its) ||
	    chance_ppm(s, s->config.loss_ppm))
		return;
	when = s->now_us + delay_now_us(s, f->from, to);
	if (when < l->last_us[its])
		when = l->last_us[its];
	if (chance_ppm(s, s->config.reorder_ppm))
		when += REORDER_MIN_US + rng_below(&s->net, REORDER_SPAN_US);
	else
		l->last_us[its] = when;
	arrive(s, f, to, when);
	if (chance_ppm(s, s->config.dup_ppm))
		arrive(s, f, to, when + rng_below(&s->net, REORDER_SPAN_US));
}

static void
count_frame(struct sim *s, const uint8_t *bytes, size_t len)
{
	enum message_kind kind = message_kind(bytes, len);

	s->figures.frames++;
	s->figures.frame_bytes += len;
	if (kind == MSG_ROUTE && len > 1 && bytes[1] == SERVICE_TEST)
		s->figures.sent_lookup++;
	else if (kind == MSG_ROUTE)
		s->figures.sent_joins++;
	if (kind && kind < MSG_KIND_END)
		s->figures.sent[kind]++;
	else
		s->figures.sent_unknown++;
}

void
sim_send(struct sim *s, uint32_t from, const struct peer *peer,
    const uint8_t *bytes, size_t len)
{
	uint32_t to = sim_find(s, peer), at;
	uint8_t lie[LIE_MAX];
	struct sim_frame *f;
	struct sim_link *l;

	if (to == from) {
		sim_hurt(s, "node %u sends to itself", from);
		return;
	}
	count_frame(s, bytes, len);
	if (s->node[from].lie &&
	    sim_lie_frame(s, &s->node[from], bytes, len, lie, &len))
		bytes = lie;
	if (to == SIM_NONE) {
		tell_failed(
		    s, from, peer, s->now_us + s->config.connect_wait_us);
		return;
	}
	at = link_of(s, from, to);
	if (at == LINK_NONE) {
		if (!peer->addr.port) {
			tell_failed(s, from, peer, s->now_us);
			return;
		}
		at = link_begin(s, from, to);
	}
	if (at == LINK_NONE || !(f = frame_new(s, from, bytes, len)))
		return;
	l = &s->link[at];
	if (l->state == LINK_IS_UP) {
		transmit(s, at, f);
	} else if (l->queued < LINK_QUEUE_MAX) {
		if (l->last)
			l->last->next = f;
		else
			l->first = f;
		l->last = f;
		l->queued++;
		l->asked |= (uint8_t)(1u << end_of(l, from));
		return;
	}
	sim_frame_unref(s, f);
}

void
sim_connect(struct sim *s, uint32_t from, const struct peer *peer)
{
	uint32_t to = sim_find(s, peer), at;
	struct sim_item it = { .kind = ITEM_UP,
		.to = from,
		.from = to,
		.to_epoch = s->node[from].epoch,
		.at_us = s->now_us };

	if (to == from || to == SIM_NONE) {
		tell_failed(
		    s, from, peer, s->now_us + s->config.connect_wait_us);
		return;
	}
	at = link_of(s, from, to);
	if (at == LINK_NONE) {
		link_begin(s, from, to);
	} else if (s->link[at].state == LINK_MAKING) {
		s->link[at].asked |=
		    (uint8_t)(1u << end_of(&s->link[at], from));
	} else {
		it.from_epoch = s->node[to].epoch; /* it is up already */
		sim_push(s, &it);
	}
}

void
sim_drop(struct sim *s, uint32_t from, const struct peer *peer)
{
	uint32_t to = sim_find(s, peer), at;

	if (to == SIM_NONE || to == from ||
	    (at = link_find(s, from, to)) == LINK_NONE)
		return;
	if (sim_awake(&s->node[to]) && sim_passes(s, from, to))
		tell_failed(s, to, &s->node[from].self,
		    s->now_us + sim_delay_us(s, from, to));
	link_remove(s, at);
}

static void
link_up(struct sim *s, uint32_t at)
{
	struct sim_link *l = &s->link[at];
	struct sim_frame *f = l->first;

	l->state = LINK_IS_UP;
	l->used_us = s->now_us;
	for (unsigned e = 0; e < 2; e++) {
		uint32_t to = l->end[e], from = l->end[!e];
		struct sim_item it = { .kind = ITEM_UP,
			.to = to,
			.from = from,
			.to_epoch = l->epoch[e],
			.from_epoch = l->epoch[!e],
			.at_us = s->now_us };

		if (!(l->asked & 1u << e))
			it.at_us += delay_now_us(s, from, to);
		l->last_us[e] = it.at_us;
		sim_push(s, &it);
	}
	l->first = l->last = NULL;
	while (f) {
		struct sim_frame *next = f->next;

		/* The link may have broken under the frame before. */
		if (s->link[at].number && s->link[at].state == LINK_IS_UP)
			transmit(s, at, f);
		sim_frame_unref(s, f);
		f = next;
	}
}

void
sim_item_connect(struct sim *s, const struct sim_item *it)
{
	uint32_t at = link_find(s, it->from, it->to);
	uint64_t end;
	struct sim_link *l;
	bool awake = true, refused;
	unsigned e;

	if (at == LINK_NONE || s->link[at].number != it->u.number)
		return;
	l = &s->link[at];
	/* Who was asked may have started anew; who asks must be the same. */
	for (e = 0; e < 2; e++) {
		const struct sim_node *n = &s->node[l->end[e]];

		if (!(l->asked & 1u << e))
			l->epoch[e] = n->epoch;
		awake = awake && sim_awake(n) && end_valid(s, l, e);
	}
	if (awake && sim_reach(s, it->from, it->to)) {
		link_up(s, at);
		return;
	}
	refused = sim_reach(s, it->from, it->to) && !s->node[it->to].node &&
		  s->node[it->to].refuses;
	end = l->begun_us + s->config.connect_wait_us;
	if (!refused && s->now_us < end) {
		item_for_link(s, l, ITEM_CONNECT, it->from, end);
		return;
	}
	for (e = 0; e < 2; e++)
		if (l->asked & 1u << e && end_valid(s, l, e))
			tell_failed(
			    s, l->end[e], &s->node[l->end[!e]].self, s->now_us);
	link_remove(s, at);
}

void
sim_item_stall(struct sim *s, const struct sim_item *it)
{
	uint32_t at = link_find(s, it->from, it->to);
	struct sim_link *l;
	unsigned mine;

	if (at == LINK_NONE || s->link[at].number != it->u.number)
		return;
	l = &s->link[at];
	mine = end_of(l, it->from);
	l->stalled[mine] = false;
	if (sim_awake(&s->node[it->to]) && end_valid(s, l, !mine) &&
	    sim_reach(s, it->from, it->to))
		return;
	if (end_valid(s, l, mine))
		tell_failed(s, it->from, &s->node[it->to].self, s->now_us);
	link_remove(s, at);
}

void
sim_links_reset(struct sim *s, uint32_t i)
{
	while (s->node[i].links != LINK_NONE) {
		uint32_t at = s->node[i].links;
		struct sim_link *l = &s->link[at];
		unsigned mine = end_of(l, i);
		uint32_t other = l->end[!mine];

		if (end_valid(s, l, !mine) && sim_passes(s, i, other) &&
		    (l->state == LINK_IS_UP || l->asked & 1u << !mine))
			tell_failed(s, other, &s->node[i].self,
			    s->now_us + sim_delay_us(s, i, other));
		link_remove(s, at);
	}
}

void
sim_links_forget(struct sim *s, uint32_t i)
{
	while (s->node[i].links != LINK_NONE) {
		uint32_t at = s->node[i].links;
		struct sim_link *l = &s->link[at];
		unsigned mine = end_of(l, i);
		bool making = l->state == LINK_MAKING;

		if (end_valid(s, l, !mine) &&
		    (making ? l->asked & 1u << !mine : l->stalled[!mine]))
			tell_failed(s, l->end[!mine], &s->node[i].self,
			    s->now_us + (making ? s->config.connect_wait_us
						: s->config.stall_us));
		link_remove(s, at);
	}
}
