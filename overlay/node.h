/* node.h - a Pastry node: who is out there, and how does a message reach the
 * node nearest a key?
 *
 * Rowstron and Druschel, Middleware 2001 (leaf set, routing table, join); Castro
 * et al., DSN 2004 (MSPastry: ready only after the leaf set has answered,
 * per-hop acknowledgements, active probing at a rate that follows churn);
 * Haeberlen et al., TR05-456 (leases on a key range, source routing round
 * broken pairs).  PROTOCOL.md tells every message and state.
 *
 * A state machine without I/O: events in, each with the time; actions out.  It
 * has no clock, no chance but its seed, and knows links only as what the
 * driver tells: a frame may be lost, doubled, late or out of order (in the
 * simulator it is), and a peer may be unreachable for us and not for others.
 * One seed and one list of events give one list of actions, to the byte.
 *
 * Who is the home of a key: the ready node nearest to it that has leases for
 * its range.  A node holds a lease from each of its two neighbours; one that
 * granted a lease claims nothing on the grantee's side of the middle between
 * them until it has ended, also if it believes the grantee dead.  So no two
 * nodes that were neighbours ever both claim a key, and a dead node's range
 * is claimed after at most `lease_us`.  A node alone needs no lease.
 *
 * Units: monotonic microseconds, in fields that end in _us. */
#ifndef POST_OVERLAY_NODE_H
#define POST_OVERLAY_NODE_H

#include "overlay/leaf_set.h"
#include "overlay/message.h"
#include "overlay/routing_table.h"

#define NODE_SECOND UINT64_C(1000000)
#define NODE_CONTACTS_MAX 16u /* cached peers that a join tries */

struct node_config {
	struct peer self;
	unsigned leaf_half; /* 12 */
	uint64_t seed;
	uint64_t boot; /* larger than at any start before */
	/* 0: the default, in brackets */
	uint64_t beat_us;	/* between beats to a neighbour (10 s) */
	uint64_t lease_us;	/* of a granted lease (30 s) */
	uint64_t probe_wait_us;	/* first wait for an answer (1 s), doubling */
	unsigned probe_tries;	/* then it is dead for us (3) */
	uint64_t table_probe_max_us; /* between probes of a table entry (2 h); the
					node chooses less while nodes die */
	uint64_t cells_us;	/* between exchanges of routing rows (20 min) */
	uint64_t heal_us;	/* between tries of dead nodes (5 min) */
	uint64_t asleep_us;	/* a gap between two events that means that we
				   slept: leases are void, we ask again (15 s) */
};

enum node_event_kind {
	NODE_EV_TIMER,	 /* the deadline passed, or just to tell the time */
	NODE_EV_CONTACT, /* join by way of this peer (id may be all zeros:
			    only its address is known); more are tried in turn */
	NODE_EV_FRAME,	 /* a frame from `peer` */
	NODE_EV_LINK_UP, /* there is a session with `peer` now */
	NODE_EV_LINK_FAILED, /* none could be made, or it broke */
	NODE_EV_ROUTE,	 /* the application: bring the payload to key's home */
	NODE_EV_DIRECT,	 /* the application: bring the payload to `peer` */
	NODE_EV_REVOKED, /* `peer` is no member any more: drop it everywhere */
	NODE_EV_LEAVE,	 /* tell the neighbours that we go */
};

struct node_event {
	enum node_event_kind kind;
	uint64_t now_us; /* never decreases */
	struct peer peer;
	const uint8_t *bytes; /* FRAME, ROUTE, DIRECT: borrowed for the call */
	size_t len;
	struct id key;	/* ROUTE */
	uint8_t service;	/* ROUTE, DIRECT */
	uint64_t request;	/* ROUTE, DIRECT: the application's number */
};

enum node_action_kind {
	NODE_ACT_SEND,	  /* a frame to `peer` */
	NODE_ACT_CONNECT, /* try a link to `peer` (its address; id zeros: whoever
			     answers there) */
	NODE_ACT_DROP,	  /* close the link with `peer`: it is no member, or
			     said what can not be */
	NODE_ACT_DELIVER, /* a payload for the application: routed (key set, we
			     are its home) or direct; `peer` sent it first */
	NODE_ACT_LOST,	  /* ROUTE `request` was given up after all tries */
	NODE_ACT_READY,	  /* joined: we claim our range from now on */
	NODE_ACT_UNREADY, /* cut off or slept: nothing is claimed */
	NODE_ACT_LEAVES_CHANGED, /* replicas may have to move */
};

struct node_action {
	enum node_action_kind kind;
	struct peer peer;
	struct id key;
	uint8_t service;
	bool routed; /* DELIVER: by key, not direct */
	uint8_t hops; /* DELIVER, routed */
	uint64_t request;
	const uint8_t *bytes; /* borrowed until the next node_take() or step */
	size_t len;
};

struct node;

enum err node_new(const struct node_config *config, struct node **out) MUST_CHECK;
void node_free(struct node *n); /* NULL is allowed */

/* Absorb one event, then drain node_take() until it is false.
 * ERR_MALFORMED: the sender's fault, counted against it; nothing changed.
 * ERR_NOMEM: the event is dropped, as a lost message would be. */
enum err node_step(struct node *n, const struct node_event *ev) MUST_CHECK;
bool node_take(struct node *n, struct node_action *out);
/* When to give the next NODE_EV_TIMER; UINT64_MAX: never. */
uint64_t node_deadline_us(const struct node *n);

/* ---- looking ------------------------------------------------------------ */

bool node_ready(const struct node *n);
const struct peer *node_self(const struct node *n);
const struct leaf_set *node_leaves(const struct node *n);
const struct routing_table *node_table(const struct node *n);
/* Do we claim this key now: ready, nearest, leases held? */
bool node_is_home(const struct node *n, const struct id *key, uint64_t now_us);
/* Nodes found dead that are not given up yet (for healing), newest first. */
unsigned node_dead(const struct node *n, struct peer *out, unsigned max);

struct node_counters {
	uint64_t sent[MSG_KIND_END], got[MSG_KIND_END];
	uint64_t malformed, routed, delivered, rerouted, lost, joins, relayed,
	    false_deaths;
};
const struct node_counters *node_counters(const struct node *n);
/* Memory it holds, for the simulator's figure. */
size_t node_bytes(const struct node *n);

#endif
