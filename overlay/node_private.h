/* node_private.h - what the files of the node share: its state, and what one
 * of them offers the others.
 *
 *   node.c        life, events, deadline, looking
 *   node_out.c    actions and frames on their way out
 *   node_known.c  peers as we know them: heard, probed, suspected, dead
 *   node_join.c   contacts, JOIN, ready or not, leaving
 *   node_leaves.c LEAVES: members, candidates, announcements, repair
 *   node_lease.c  BEAT: leases on key ranges, whose a key is
 *   node_route.c  ROUTE at a hop: next hop, acks, rerouting, holding
 *   node_request.c ROUTE at its ends: tries of the origin, delivery once
 *   node_table.c  CELLS, measuring, probing at a rate that follows churn
 *   node_relay.c  RELAY: detours round broken pairs
 *
 * Pointers to struct known stay good for a step, if what they point to was
 * used in it or has an office (known_get() may make room); lists are walked in
 * the order in which things were added. */
#ifndef POST_OVERLAY_NODE_PRIVATE_H
#define POST_OVERLAY_NODE_PRIVATE_H

#include "overlay/base/rng.h"
#include "overlay/node.h"

#define NODE_MS UINT64_C(1000)
#define NODE_MINUTE (60 * NODE_SECOND)
#define NEVER UINT64_MAX

/* Peers in mind at once: two leaf sets' worth of candidates, the dead, the
 * hops of traffic.  Beyond it, who was of no use for longest is forgotten. */
#define KNOWN_MAX 160u
/* Of the dead, FreePastry's figures: enough to find the other side of a cut,
 * few enough to be asked again and again. */
#define DEAD_MAX 20u
#define DEAD_KEEP_US (90 * NODE_MINUTE)
/* For so long a death is told in LEAVES: a few beats, so that a lost message
 * does not matter. */
#define DEAD_TELL_US (60 * NODE_SECOND)
/* A dead node that others list is asked again so often at most. */
#define DEAD_RETRY_US (30 * NODE_SECOND)
/* Frames from one that said goodbye, still under way. */
#define GONE_QUIET_US (5 * NODE_SECOND)
#define REVOKED_MAX 64u
/* When no leaf has been ready for so long, nobody will be first: we may. */
#define ORPHAN_US (60 * NODE_SECOND)
/* A peer may send so many frames that are none before its link is closed: a
 * newer version's new kind is no crime. */
#define MALFORMED_MAX 8u

/* Requests passing through or held here: the bytes bound memory, the number
 * the time a step takes. */
#define TRANSITS_MAX 256u
#define TRANSIT_BYTES_MAX (8u << 20)
#define TRANSIT_TRIED_MAX 4u
#define TRANSIT_RESEND_MAX 2u /* to the last hop, that has no substitute */
/* Own requests that wait for their receipt. */
#define REQUESTS_MAX 1024u
#define REQUEST_TRIES 7u
#define REQUEST_WAIT_US (3 * NODE_SECOND)
#define REQUEST_WAIT_MAX_US (16 * NODE_SECOND)
/* Remembered deliveries, for longer than an origin tries. */
#define DELIVERED_MAX 4096u
#define DELIVERED_KEEP_US (3 * NODE_MINUTE)

#define MEASURE_MAX 64u /* peers that wait to be measured */
#define MEASURE_GAP_US (100 * NODE_MS)
#define FAILS 16u /* deaths from which churn is estimated */
#define DETOURS_MAX 8u
#define ACK_WAIT_MIN_US (50 * NODE_MS)
#define ACK_WAIT_MAX_US (3 * NODE_SECOND)

enum stage {
	STAGE_NEW, /* no event yet */
	STAGE_SEEKING, /* asking contacts for our place */
	STAGE_PROBING, /* asking every member of the leaf set */
	STAGE_JOINED, /* they answered; ready when the leases are there */
	STAGE_LEFT,
};

struct known {
	struct peer peer;
	bool probing; /* a question is out: nonce, sent_us, due_us, tries */
	bool candidate; /* ... to become a leaf */
	bool measuring; /* ... for the routing table only */
	bool suspect; /* silent; not routed through */
	bool ready; /* as it last said */
	bool was_leaf; /* worth trying again when dead */
	bool gone; /* said goodbye */
	bool unsettled; /* it listed one that we want and could not get */
	bool revoked;
	bool kept; /* for known_prune() */
	uint8_t tries, malformed;
	uint32_t rtt_us, dev_us; /* 0: not measured */
	uint32_t digest; /* of its leaf set, as last seen */
	uint64_t nonce, sent_us, due_us;
	uint64_t heard_us; /* it spoke to us itself; 0: never */
	uint64_t said_us; /* ... or through a relay that we use */
	uint64_t used_us; /* when we last had to do with it */
	uint64_t dead_us; /* found dead then; 0: alive */
	uint64_t listed_us; /* dead, and asked since others list it */
	uint64_t ghost_us; /* dead, but may hold leases until then */
	uint64_t odd_us; /* its digest differs since; 0: it does not */
	uint64_t asked_us; /* LEAVES asked of or volunteered to it */
	uint64_t boot;
};

/* One of our two gaps: between us and the neighbour on that side. */
struct gap {
	struct peer neighbour;
	bool has_neighbour;
	uint64_t held_us; /* its lease to us ends; 0: none */
	uint64_t nonce, asked_us; /* our question; nonce 0: none */
	uint64_t ask_due_us;
	unsigned asks; /* in vain, one after another */
	/* The lease we gave. */
	struct id given_to;
	uint64_t given_us, granted_us; /* it ends; when it was last given */
	/* Who asked and has to wait until another gives its lease back. */
	struct id waiter;
	uint64_t waiter_nonce, waiter_us;
	uint64_t question, question_us; /* to the other: do you still? */
};

struct contact {
	struct peer peer;
	bool has_id;
};

/* A request at this hop. */
struct transit {
	uint64_t nonce, sent_us, due_us, end_us, request;
	struct id key, to; /* to: the hop that shall ack */
	struct peer origin, from;
	bool held; /* waits here: nobody to give it to, no lease to take it */
	uint8_t service, hops, tries, tried_n, resent;
	struct id tried[TRANSIT_TRIED_MAX];
	size_t len;
	uint8_t payload[];
};

struct request {
	uint64_t request, due_us;
	struct id key;
	uint8_t service, tries;
	size_t len;
	uint8_t payload[];
};

struct delivery {
	uint64_t hash, at_us;
};

struct detour {
	struct id to, via;
	uint64_t retry_us; /* the direct way */
};

struct out_action {
	struct node_action action;
	size_t at; /* its bytes, in node.out_bytes */
};

/* Where a frame came from, and so where an answer goes. */
struct origin {
	struct peer peer; /* who says it */
	bool relayed;
	struct peer via; /* relayed: by whom */
};

struct node {
	struct node_config config;
	struct rng rng;
	uint64_t now_us, last_us, deadline_us;
	enum stage stage;
	bool ready, was_ready;
	uint64_t claimless_us; /* ready without a lease since; 0: not so */
	uint64_t orphan_us; /* ready then, also if no leaf is */

	struct leaf_set *leaves;
	struct routing_table *table;
	uint32_t digest;
	bool leaves_changed, recheck;
	struct gap gap[2];
	uint64_t repair_us;
	unsigned repairs; /* one after another */
	unsigned repair_sides; /* bits */

	struct known **known;
	unsigned known_n, known_cap;
	uint64_t prune_us, heal_us;

	struct contact contact[NODE_CONTACTS_MAX];
	unsigned contact_n, contact_at, seeks;
	uint64_t seek_us;

	struct transit **transit;
	unsigned transit_n, transit_cap;
	size_t transit_bytes;
	struct request **request;
	unsigned request_n, request_cap;
	size_t request_bytes;
	struct delivery *delivery;
	unsigned delivery_at, delivery_cap;

	struct peer *measure;
	unsigned measure_n;
	uint64_t measure_us, probe_us, cells_us, row_asked_us;
	uint64_t joined_us;
	unsigned exchanges;
	uint64_t fail_us[FAILS];
	unsigned fail_n;

	struct detour detour[DETOURS_MAX];
	unsigned detour_n;
	uint64_t relay_tokens_us; /* see node_relay.c */

	struct out_action *out;
	unsigned out_n, out_at, out_cap;
	uint8_t *out_bytes;
	size_t out_len, out_bytes_cap;

	struct node_counters counters;
};

static inline uint64_t
min_us(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* us, or up to an eighth more. */
static inline uint64_t
node_jitter(struct node *n, uint64_t us)
{
	return us + rng_below(&n->rng, us / 8 + 1);
}

static inline uint64_t
node_nonce(struct node *n)
{
	uint64_t nonce = rng_u64(&n->rng);

	return nonce ? nonce : 2; /* 0 means none */
}

static inline enum side
other_side(enum side side)
{
	return side == SIDE_LEFT ? SIDE_RIGHT : SIDE_LEFT;
}

/* Is x met before y on the way from ourselves to that side? */
bool node_is_between(const struct node *n, enum side side, const struct id *x,
    const struct id *y);

/* ---- node_out.c --------------------------------------------------------- */

/* Queue an action without bytes.  What finds no memory is dropped, as a
 * message may be lost. */
void out_act(struct node *n, enum node_action_kind kind, const struct peer *p);
void out_lost(
    struct node *n, uint8_t service, const struct id *key, uint64_t request);
void out_deliver(struct node *n, const struct peer *from, const struct id *key,
    uint8_t service, uint8_t hops, uint64_t request, const uint8_t *bytes,
    size_t len); /* key NULL: direct */
/* A frame to a peer: on the detour if there is one. */
void out_frame(
    struct node *n, const struct peer *to, const uint8_t *frame, size_t len);
void out_frame_direct(
    struct node *n, const struct peer *to, const uint8_t *frame, size_t len);
void out_frame_via(struct node *n, const struct peer *via, const struct id *to,
    const uint8_t *frame, size_t len);
/* Back to where it came from, by the way it came. */
void out_reply(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);
void out_reset(struct node *n);

/* ---- node_known.c ------------------------------------------------------- */

struct known *known_find(struct node *n, const struct id *id);
/* Find or begin to know; NULL: too many, no memory, or ourselves. */
struct known *known_get(struct node *n, const struct peer *p);
/* It spoke itself (not through a relay). */
void known_heard(struct node *n, struct known *k);
void known_rtt(struct node *n, struct known *k, uint64_t sample_us);
/* An answer came: the question's nonce, or 0 if any frame will do. */
void known_answered(
    struct node *n, struct known *k, uint64_t nonce, bool measured);
/* Ask whether it is there, unless that is being asked. */
void known_probe(struct node *n, struct known *k);
/* Something was not answered: probe, and route round it meanwhile. */
void known_suspect(struct node *n, struct known *k);
void known_timers(struct node *n);
uint64_t known_deadline(const struct node *n);
void known_dead(struct node *n, struct known *k);
void known_prune(struct node *n);
uint64_t known_ack_wait(struct node *n, const struct id *id);
bool known_is_usable(struct node *n, const struct id *id); /* not suspect */

/* ---- node_join.c -------------------------------------------------------- */

void join_contact(struct node *n, const struct peer *p);
void join_link_up(struct node *n, const struct peer *p);
void join_link_failed(struct node *n, const struct peer *p);
void join_start(struct node *n);
/* JOIN reached us: tell its origin what we know; `home`: and our leaf set. */
#define JOIN_PLACE_ONLY 255u /* tries: no rows are wanted */
void join_pass(struct node *n, const struct transit *t, bool home);
/* At the end of a step: has the stage changed, are we ready? */
void join_check(struct node *n);
void join_timers(struct node *n);
uint64_t join_deadline(const struct node *n);
void join_slept(struct node *n);
void join_leave(struct node *n);
/* Where would we be, asked of the others: by way of some entry of the table.
 * False: there is none. */
bool join_ask_place(struct node *n);

/* ---- node_leaves.c ------------------------------------------------------ */

void leaves_send(
    struct node *n, const struct peer *to, bool ask, uint64_t nonce);
size_t leaves_frame(
    struct node *n, bool ask, uint64_t nonce, uint8_t *out, size_t cap);
enum err leaves_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);
/* It speaks as a node of the ring: a member if it belongs there. */
void leaves_admit(struct node *n, struct known *k);
void leaves_consider(struct node *n, const struct peer *p);
void leaves_remove(struct node *n, struct known *k);
void leaves_timers(struct node *n);
uint32_t leaves_digest(const struct node *n);

/* ---- node_lease.c ------------------------------------------------------- */

enum err lease_beat(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);
/* The leaf set changed: who are the neighbours now? */
void lease_neighbours(struct node *n);
/* An answer to a question of ours: has the asked given its lease back? */
void lease_answer(
    struct node *n, const struct id *from, const struct msg_leaves *m);
void lease_returned(struct node *n, const struct id *from);
void lease_void(struct node *n);
void lease_timers(struct node *n);
uint64_t lease_deadline(const struct node *n);
bool lease_held(const struct node *n, enum side side, uint64_t now_us);
/* May nobody that we know to be dead still claim anything? */
bool lease_no_ghosts(const struct node *n, uint64_t now_us);

/* ---- node_route.c ------------------------------------------------------- */

enum err route_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);
enum err route_acked(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);
/* Begin here.  False: no room. */
bool route_begin(struct node *n, const struct request *r);
void route_end(struct node *n, uint64_t request); /* own, wherever it is held */
void route_avoid(struct node *n, const struct id *id); /* it does not answer */
void route_check(struct node *n); /* held ones, after something changed */
void route_timers(struct node *n);
uint64_t route_deadline(const struct node *n);
void route_free(struct node *n);

/* ---- node_request.c ----------------------------------------------------- */

enum err request_new(struct node *n, const struct node_event *ev);
void request_done(struct node *n, uint64_t request);
void request_timers(struct node *n);
uint64_t request_deadline(const struct node *n);
void request_free(struct node *n);
/* We are the home: give it to the application, once, and its origin a
 * receipt. */
void request_deliver(struct node *n, const struct transit *t);

/* ---- node_table.c ------------------------------------------------------- */

enum err table_cells(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);
/* Rows 0 to `row`, the deepest first, as far as one message goes. */
void table_send(struct node *n, const struct peer *to, unsigned row, bool only,
    unsigned ask_row, uint64_t nonce);
/* A peer heard of in passing: worth measuring? */
void table_learn(struct node *n, const struct peer *p);
void table_ask_row(struct node *n, const struct id *key, const struct peer *of);
void table_failed(struct node *n); /* somebody died */
void table_timers(struct node *n);
uint64_t table_deadline(const struct node *n);

/* ---- node_relay.c ------------------------------------------------------- */

enum err relay_got(
    struct node *n, const struct peer *from, const uint8_t *frame, size_t len);
const struct detour *relay_detour(const struct node *n, const struct id *to);
void relay_use(struct node *n, const struct id *to, const struct id *via);
void relay_end(
    struct node *n, const struct id *to); /* heard directly, or dead */
void relay_lost(struct node *n, const struct id *via);
/* A question to one that does not answer, through two that may reach it. */
void relay_probe(
    struct node *n, const struct known *k, const uint8_t *frame, size_t len);
void relay_timers(struct node *n);
uint64_t relay_deadline(const struct node *n);

/* ---- node.c ------------------------------------------------------------- */

/* A frame that is well formed came: its sender lives. */
void node_heard(struct node *n, const struct origin *o);
/* A frame, direct or out of a RELAY. */
enum err node_frame(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len);

#endif
