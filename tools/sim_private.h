/* sim_private.h - what the simulator's files share: sim.c (time and nodes),
 * sim_heap.c, sim_net.c (links and frames), sim_place.c, sim_ring.c (the oracle), sim_lookup.c,
 * sim_trace.c, sim_lie.c. */
#ifndef POST_TOOLS_SIM_PRIVATE_H
#define POST_TOOLS_SIM_PRIVATE_H

#include "overlay/base/map.h"
#include "overlay/base/rng.h"
#include "tools/sim.h"

#define SIM_SIDES 2u
#define LINK_NONE UINT32_MAX
#define LINK_QUEUE_MAX 256u /* frames that wait for one link */
#define LINK_BUCKETS_MIN 1024u
#define SIM_CONTACTS 4u

/* A frame on its way; an event or a link's queue owns one reference. */
struct sim_frame {
	struct sim_frame *next; /* in the queue of a link not up yet */
	uint32_t refs, len;
	uint32_t from, from_epoch;
	uint8_t bytes[];
};

enum sim_item_kind {
	ITEM_TIMER, /* look at to's deadline */
	ITEM_WAKE, /* `to` slept long enough */
	ITEM_FRAME,
	ITEM_UP, /* `to` learns of a link with `from` */
	ITEM_FAILED, /* `to` learns that there is none with `peer` */
	ITEM_CONNECT, /* a link between `from` and `to` is made, or not */
	ITEM_STALL, /* was the frame from `from` to `to` ever answered? */
	ITEM_LATE, /* has the lookup in slot `to` arrived? */
};

/* An event to come.  Epochs tell whether a node is still the one meant. */
struct sim_item {
	uint64_t at_us, order;
	union {
		struct sim_frame *frame; /* FRAME */
		struct peer *peer; /* FAILED: owned; its number may
					   be another's by then */
		uint64_t number; /* LATE, CONNECT, STALL */
	} u;
	uint32_t to, from, to_epoch, from_epoch;
	uint8_t kind;
};

enum link_state { LINK_MAKING, LINK_IS_UP };

/* Between two nodes, the smaller number first (end 0).  A node that died
 * leaves its links as they were: who sends on one will learn. */
struct sim_link {
	uint32_t end[2], epoch[2];
	uint32_t next[2], prev[2]; /* in the list of each end's links */
	uint32_t chain; /* in the hash bucket, or free list */
	uint8_t state;
	uint8_t asked; /* MAKING: bit per end that wants it */
	bool stalled[2]; /* ITEM_STALL of this sender is set */
	uint32_t number; /* tells a link from its successors */
	uint32_t queued;
	uint64_t used_us, begun_us;
	uint64_t last_us[2]; /* latest arrival at an end, to keep order */
	struct sim_frame *first, *last; /* MAKING */
};

struct sim_node {
	struct node *node; /* NULL: dead */
	struct peer self;
	uint32_t epoch; /* grows at each start and end */
	uint32_t boots, generation; /* generation: of the number's identity */
	uint32_t x, y;
	uint32_t links; /* first of its list */
	uint32_t spins; /* timer steps that left a deadline in the past */
	int32_t drift_ppm;
	uint8_t side, lie;
	bool asleep, ready, used, refuses;
	uint64_t offset_us; /* of its clock */
	uint64_t timer_us; /* when its ITEM_TIMER is due; UINT64_MAX */
	uint64_t ready_us, since_us; /* ready since; figures counted since */
	uint64_t wake_us;
	struct peer known[SIM_CONTACTS]; /* when it ended, for restart */
	unsigned known_count;
};

struct sim_lookup {
	struct id key;
	uint64_t begun_us;
	uint32_t from, from_epoch, generation;
	bool open, arrived;
};

struct sim {
	struct sim_config config;
	uint64_t now_us, order, digest, events;
	struct rng net, chance, lies;
	bool failed, merging, lies_told;
	/* the heap */
	struct sim_item *item;
	size_t items, items_cap;
	/* nodes; ring: numbers of those alive, by id */
	struct sim_node *node;
	uint32_t *ring, alive;
	uint32_t *unused, unused_count;
	uint32_t *site, sites; /* x and y of each */
	bool cut[SIM_SIDES][SIM_SIDES]; /* from, to */
	unsigned cut_percent; /* of new nodes, too */
	/* links */
	struct sim_link *link;
	uint32_t links_cap, links_free, links_used, link_number;
	uint32_t *bucket, buckets;
	size_t frame_bytes_held;
	/* lookups */
	struct sim_lookup *lookup;
	uint32_t lookups_cap, lookups_waiting, lookup_next;
	struct sim_figures figures;
	unsigned hurts;
	char hurt[SIM_HURTS_KEPT][160];
};

/* sim_heap.c */
void sim_push(struct sim *s, struct sim_item *it); /* fills in order */
void sim_pop(struct sim *s, struct sim_item *out); /* there is one */

/* sim.c */
/* Give a node an event and do what it asks for. */
void sim_step(struct sim *s, uint32_t i, struct node_event *ev);
uint64_t sim_clock_us(const struct sim *s, const struct sim_node *n);
bool sim_awake(const struct sim_node *n);
void sim_mix(struct sim *s, uint64_t a, uint64_t b);

/* sim_net.c */
void sim_send(struct sim *s, uint32_t from, const struct peer *to,
    const uint8_t *bytes, size_t len);
void sim_connect(struct sim *s, uint32_t from, const struct peer *to);
void sim_drop(struct sim *s, uint32_t from, const struct peer *to);
void sim_frame_unref(struct sim *s, struct sim_frame *f);
void sim_item_connect(struct sim *s, const struct sim_item *it);
void sim_item_stall(struct sim *s, const struct sim_item *it);
/* Its process ends: who has a link learns that soon. */
void sim_links_reset(struct sim *s, uint32_t i);
/* Its number is given to another: who still waits for it waits on. */
void sim_links_forget(struct sim *s, uint32_t i);
size_t sim_net_bytes(const struct sim *s);
bool sim_net_init(struct sim *s);
void sim_net_fini(struct sim *s);

/* sim_place.c */
bool sim_sites_init(struct sim *s);
void sim_place(struct sim *s, struct sim_node *n);
struct net_addr sim_address(const struct sim *s, uint32_t i);
/* Do frames pass, one way, or both? */
bool sim_passes(const struct sim *s, uint32_t from, uint32_t to);
bool sim_reach(const struct sim *s, uint32_t a, uint32_t b);
/* Number of the node that lives there now, or lived there last. */
uint32_t sim_find(const struct sim *s, const struct peer *p);

/* sim_ring.c */
void sim_ring_add(struct sim *s, uint32_t i);
void sim_ring_remove(struct sim *s, uint32_t i);
/* Place in the ring of the first node at or after id, cyclic. */
uint32_t sim_ring_at(const struct sim *s, const struct id *id);

/* sim_lookup.c */
void sim_arrived(struct sim *s, uint32_t i, const struct node_action *a);
void sim_item_late(struct sim *s, const struct sim_item *it);

/* sim_lie.c: a frame in place of the true one; false: leave it.  out has room
 * for LIE_MAX. */
#define LIE_MAX 4096u
bool sim_lie_frame(struct sim *s, const struct sim_node *n,
    const uint8_t *bytes, size_t len, uint8_t *out, size_t *out_len);

/* sim_trace.c */
void sim_trace_item(struct sim *s, const struct sim_item *it);
void sim_trace_action(struct sim *s, uint32_t i, const struct node_action *a);
void sim_trace_say(struct sim *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
