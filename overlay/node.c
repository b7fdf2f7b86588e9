/* The node: its life, its events, its deadline.
 *
 * A step does what the event asks, then looks at what follows from it: are we
 * ready, can held requests go, whom can we forget.  Deadlines are not kept in
 * a queue: a node has some dozens of things to wait for, and looking at them
 * all costs less than keeping them sorted. */
#include "overlay/node_private.h"

#include <assert.h>
#include <stdlib.h>

static uint64_t
or_else(uint64_t given, uint64_t otherwise)
{
	return given ? given : otherwise;
}

static void
config_complete(struct node_config *c)
{
	c->leaf_half = (unsigned)or_else(c->leaf_half, 12);
	c->beat_us = or_else(c->beat_us, 10 * NODE_SECOND);
	c->lease_us = or_else(c->lease_us, 30 * NODE_SECOND);
	c->probe_wait_us = or_else(c->probe_wait_us, NODE_SECOND);
	c->probe_tries = (unsigned)or_else(c->probe_tries, 3);
	c->table_probe_max_us =
	    or_else(c->table_probe_max_us, 120 * NODE_MINUTE);
	c->cells_us = or_else(c->cells_us, 20 * NODE_MINUTE);
	c->heal_us = or_else(c->heal_us, 5 * NODE_MINUTE);
	c->asleep_us = or_else(c->asleep_us, 15 * NODE_SECOND);
}

enum err
node_new(const struct node_config *config, struct node **out)
{
	struct node *n = calloc(1, sizeof(*n));
	enum err e = ERR_NOMEM;

	if (!n)
		return e;
	n->config = *config;
	config_complete(&n->config);
	/* One seed for a whole simulation shall not make all nodes alike. */
	rng_init(&n->rng, config->seed);
	for (unsigned i = 0; i < 8; i++)
		n->rng.state = rng_u64(&n->rng) ^ config->self.id.b[i];
	for (unsigned s = 0; s < 2; s++)
		n->gap[s].ask_due_us = NEVER;
	n->repair_us = NEVER;
	n->orphan_us = NEVER;
	if ((e = leaf_set_new(
		 &config->self.id, n->config.leaf_half, &n->leaves)) ||
	    (e = routing_table_new(&config->self.id, &n->table)))
		goto fail;
	n->digest = leaves_digest(n);
	*out = n;
	return OK;
fail:
	node_free(n);
	return e;
}

void
node_free(struct node *n)
{
	if (!n)
		return;
	for (unsigned i = 0; i < n->known_n; i++)
		free(n->known[i]);
	free(n->known);
	route_free(n);
	request_free(n);
	free(n->delivery);
	free(n->measure);
	free(n->out);
	free(n->out_bytes);
	leaf_set_free(n->leaves);
	routing_table_free(n->table);
	free(n);
}

/* ---- frames ------------------------------------------------------------- */

void
node_heard(struct node *n, const struct origin *o)
{
	struct known *k = known_find(n, &o->peer.id);
	struct routing_entry *e;

	if (k && o->relayed) {
		k->said_us = k->used_us = n->now_us;
	} else if (k) {
		known_heard(n, k);
	} else if (!o->relayed) {
		e = routing_table_find(n->table, &o->peer.id);
		if (e)
			e->heard_us = n->now_us;
	}
}

static enum err
hello_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	static const struct net_addr nowhere;
	struct msg_hello m;
	struct known *k;
	enum err e = msg_hello_decode(frame, len, &m);

	if (e)
		return e;
	if (!id_eq(&m.self.id, &o->peer.id))
		return ERR_MALFORMED; /* not what its certificate says */
	node_heard(n, o);
	k = known_get(n, &o->peer);
	if (!k)
		return OK;
	if (m.self.addr.port) {
		/* It may not know how it is seen from here. */
		if (memcmp(m.self.addr.ip, nowhere.ip, sizeof(nowhere.ip)) == 0)
			memcpy(m.self.addr.ip, o->peer.addr.ip,
			    sizeof(m.self.addr.ip));
		k->peer.addr = m.self.addr;
		if (leaf_set_find(n->leaves, &k->peer.id))
			(void)leaf_set_add(n->leaves, &k->peer);
	}
	/* Started anew, it has forgotten what it granted. */
	if (k->boot && m.boot > k->boot)
		for (unsigned s = 0; s < 2; s++)
			if (n->gap[s].has_neighbour &&
			    id_eq(&n->gap[s].neighbour.id, &k->peer.id)) {
				n->gap[s].held_us = n->gap[s].nonce = 0;
				n->gap[s].ask_due_us = n->now_us;
			}
	if (m.boot > k->boot)
		k->boot = m.boot;
	return OK;
}

static enum err
ping_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_ping m;
	struct known *k;
	uint8_t answer[32];
	size_t used;
	enum err e = msg_ping_decode(frame, len, &m);

	if (e)
		return e;
	node_heard(n, o);
	if (!msg_pong_encode(&m, answer, sizeof(answer), &used))
		assert(!"a pong fits");
	out_reply(n, o, answer, used);
	if (!o->relayed) {
		table_learn(n, &o->peer);
		return OK;
	}
	/* Dead for us and yet it asks, through another: the way is broken,
	 * not the node. */
	k = known_find(n, &o->peer.id);
	if (k && k->dead_us && !k->gone &&
	    n->now_us - k->dead_us >= n->config.probe_wait_us) {
		k->dead_us = 0;
		k->probing = false;
		n->counters.false_deaths += k->was_leaf;
		leaves_consider(n, &k->peer);
	}
	return OK;
}

static enum err
pong_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_ping m;
	struct known *k;
	enum err e = msg_pong_decode(frame, len, &m);

	if (e)
		return e;
	k = known_find(n, &o->peer.id);
	if (k)
		known_answered(n, k, m.nonce, !o->relayed);
	node_heard(n, o);
	return OK;
}

static enum err
direct_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_direct m;
	enum err e = msg_direct_decode(frame, len, &m);

	if (e)
		return e;
	if (m.service == SERVICE_JOIN && m.payload_len)
		return ERR_MALFORMED;
	node_heard(n, o);
	if (m.service == SERVICE_JOIN) {
		request_done(n, m.request);
		route_end(n, m.request);
	} else {
		out_deliver(n, &o->peer, NULL, m.service, 0, m.request,
		    m.payload, m.payload_len);
	}
	return OK;
}

static enum err
revoked_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_revoked m;
	enum err e = msg_revoked_decode(frame, len, &m);

	if (e)
		return e;
	node_heard(n, o); /* the list is the driver's, who can verify it */
	return OK;
}

enum err
node_frame(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	enum message_kind kind = message_kind(frame, len);

	switch (kind) {
	case MSG_HELLO:
		return hello_got(n, o, frame, len);
	case MSG_PING:
		return ping_got(n, o, frame, len);
	case MSG_PONG:
		return pong_got(n, o, frame, len);
	case MSG_LEAVES:
		return leaves_got(n, o, frame, len);
	case MSG_BEAT:
		return lease_beat(n, o, frame, len);
	case MSG_CELLS:
		return table_cells(n, o, frame, len);
	case MSG_ROUTE:
		return route_got(n, o, frame, len);
	case MSG_ROUTE_ACK:
		return route_acked(n, o, frame, len);
	case MSG_RELAY:
		return relay_got(n, &o->peer, frame, len);
	case MSG_DIRECT:
		return direct_got(n, o, frame, len);
	case MSG_REVOKED:
		return revoked_got(n, o, frame, len);
	default:
		return ERR_MALFORMED;
	}
}

/* ---- events ------------------------------------------------------------- */

static enum err
frame_event(struct node *n, const struct node_event *ev)
{
	struct origin o = { .peer = ev->peer };
	struct known *k = known_find(n, &ev->peer.id);
	enum message_kind kind = message_kind(ev->bytes, ev->len);
	enum err e;

	if (n->stage == STAGE_LEFT || id_eq(&ev->peer.id, &n->config.self.id))
		return OK;
	if (k && k->revoked) {
		out_act(n, NODE_ACT_DROP, &ev->peer);
		return OK;
	}
	if (k && k->gone && n->now_us - k->dead_us < GONE_QUIET_US)
		return OK; /* it was under way when its sender left */
	if (k && k->peer.addr.port)
		o.peer.addr = k->peer.addr;
	e = node_frame(n, &o, ev->bytes, ev->len);
	if (!e) {
		n->counters.got[kind]++;
		return OK;
	}
	n->counters.malformed++;
	if (k && ++k->malformed >= MALFORMED_MAX) {
		k->malformed = 0;
		out_act(n, NODE_ACT_DROP, &ev->peer);
	}
	return e;
}

static enum err
direct_event(struct node *n, const struct node_event *ev)
{
	struct msg_direct m = {
		.service = ev->service,
		.request = ev->request,
		.payload = ev->bytes,
		.payload_len = ev->len,
	};
	size_t cap = 64 + ev->len, len;
	uint8_t *frame;

	assert(ev->service > SERVICE_JOIN && ev->service < SERVICE_COUNT);
	if (id_eq(&ev->peer.id, &n->config.self.id)) {
		out_deliver(n, &n->config.self, NULL, ev->service, 0,
		    ev->request, ev->bytes, ev->len);
		return OK;
	}
	if (cap > FRAME_MAX)
		cap = FRAME_MAX;
	frame = malloc(cap);
	if (!frame)
		return ERR_NOMEM;
	if (msg_direct_encode(&m, frame, cap, &len))
		out_frame(n, &ev->peer, frame, len);
	free(frame);
	return OK;
}

static void
revoked_event(struct node *n, const struct peer *p)
{
	struct known *k;
	unsigned revoked = 0;

	for (unsigned i = 0; i < n->contact_n; i++) {
		if (!n->contact[i].has_id ||
		    !id_eq(&n->contact[i].peer.id, &p->id))
			continue;
		n->contact_n--;
		memmove(n->contact + i, n->contact + i + 1,
		    (n->contact_n - i) * sizeof(n->contact[0]));
		break;
	}
	out_act(n, NODE_ACT_DROP, p);
	k = known_get(n, p);
	if (!k) {
		(void)routing_table_remove(n->table, &p->id);
		return;
	}
	if (k->dead_us == 0)
		known_dead(n, k);
	k->revoked = true;
	k->was_leaf = false;
	/* The links refuse it; the newest of them are remembered, so that
	 * nobody's old list makes us ask for it. */
	for (unsigned i = n->known_n; i--;) {
		struct known *old = n->known[i];

		if (old->revoked && ++revoked > REVOKED_MAX)
			old->revoked = false;
	}
}

static void
timers(struct node *n)
{
	if (n->stage == STAGE_LEFT)
		return;
	known_timers(n);
	relay_timers(n);
	lease_timers(n);
	leaves_timers(n);
	join_timers(n);
	table_timers(n);
	route_timers(n);
	request_timers(n);
}

static uint64_t
deadline(const struct node *n)
{
	uint64_t at;

	if (n->stage == STAGE_NEW)
		return 0; /* a ring of one, unless there is a contact */
	if (n->stage == STAGE_LEFT)
		return NEVER;
	at = min_us(known_deadline(n), relay_deadline(n));
	at = min_us(at, lease_deadline(n));
	at = min_us(at, n->repair_us);
	at = min_us(at, join_deadline(n));
	at = min_us(at, table_deadline(n));
	at = min_us(at, route_deadline(n));
	at = min_us(at, request_deadline(n));
	if (leaf_set_count(n->leaves)) /* to notice that we slept */
		at = min_us(at, n->now_us + n->config.asleep_us / 2);
	return at;
}

enum err
node_step(struct node *n, const struct node_event *ev)
{
	enum err e = OK;

	assert(ev->now_us >= n->last_us);
	out_reset(n);
	n->now_us = ev->now_us;
	n->leaves_changed = false;
	if (n->stage == STAGE_NEW && ev->kind != NODE_EV_CONTACT &&
	    ev->kind != NODE_EV_REVOKED)
		join_start(n);
	else if (n->stage == STAGE_JOINED && leaf_set_count(n->leaves) &&
		 n->now_us - n->last_us > n->config.asleep_us)
		join_slept(n);
	n->last_us = n->now_us;
	switch (ev->kind) {
	case NODE_EV_TIMER:
		timers(n);
		break;
	case NODE_EV_CONTACT:
		join_contact(n, &ev->peer);
		break;
	case NODE_EV_FRAME:
		e = frame_event(n, ev);
		break;
	case NODE_EV_LINK_UP:
		join_link_up(n, &ev->peer);
		break;
	case NODE_EV_LINK_FAILED:
		join_link_failed(n, &ev->peer);
		break;
	case NODE_EV_ROUTE:
		e = request_new(n, ev);
		break;
	case NODE_EV_DIRECT:
		e = direct_event(n, ev);
		break;
	case NODE_EV_REVOKED:
		revoked_event(n, &ev->peer);
		break;
	case NODE_EV_LEAVE:
		join_leave(n);
		break;
	}
	if (n->stage != STAGE_LEFT) {
		join_check(n);
		if (n->recheck) {
			n->recheck = false;
			route_check(n);
		}
		known_prune(n);
	}
	n->deadline_us = deadline(n);
	return e;
}

uint64_t
node_deadline_us(const struct node *n)
{
	return n->deadline_us;
}

/* ---- looking ------------------------------------------------------------ */

bool
node_ready(const struct node *n)
{
	return n->ready;
}

const struct peer *
node_self(const struct node *n)
{
	return &n->config.self;
}

const struct leaf_set *
node_leaves(const struct node *n)
{
	return n->leaves;
}

const struct routing_table *
node_table(const struct node *n)
{
	return n->table;
}

const struct node_counters *
node_counters(const struct node *n)
{
	return &n->counters;
}

size_t
node_bytes(const struct node *n)
{
	return sizeof(*n) + leaf_set_bytes(n->leaves) +
	       routing_table_bytes(n->table) +
	       n->known_n * sizeof(*n->known[0]) +
	       n->known_cap * sizeof(n->known[0]) +
	       n->transit_n * sizeof(*n->transit[0]) +
	       n->transit_cap * sizeof(n->transit[0]) + n->transit_bytes +
	       n->request_n * sizeof(*n->request[0]) +
	       n->request_cap * sizeof(n->request[0]) + n->request_bytes +
	       n->delivery_cap * sizeof(n->delivery[0]) +
	       (n->measure ? MEASURE_MAX * sizeof(n->measure[0]) : 0) +
	       n->out_cap * sizeof(n->out[0]) + n->out_bytes_cap;
}
