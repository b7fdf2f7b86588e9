/* sim.h - the node code itself on a network that is made up.
 *
 * Everything that happens is an event in one heap, ordered by time and then by
 * the order of making; time is what the heap says, chance is one seed.  So a
 * seed replays a run to the byte, and a run of an hour takes as long as its
 * events take to compute.
 *
 * The network does to a node what TCP links do: a frame to a node without a
 * link makes one first (LINK_UP after a round trip), a link to a node that is
 * gone or cut off can not be made (LINK_FAILED after a wait), an old one breaks
 * some time after frames are no longer answered, an idle one is closed without
 * a word.  And it does worse: frames are lost, doubled, overtaken.
 *
 * The oracle sees all nodes.  What it judges while things break is safety: a
 * delivery at the wrong node, one key claimed twice.  A breach is written down
 * (sim_hurt()) and the run goes on.  Liveness is for the caller to judge, with
 * sim_run_until() and what the oracle can tell.
 *
 * Not seen by the oracle: what lying nodes claim (sim_lie()), and, from the
 * moment a cut is healed until all leaf sets are right for the first time, who
 * claims what; two rings that do not know of each other can not agree.
 *
 * Units: microseconds of simulated time; parts per million.
 * Nodes are numbers, from 0; the number of a dead node is used again. */
#ifndef POST_TOOLS_SIM_H
#define POST_TOOLS_SIM_H

#include "overlay/node.h"

#include <stdio.h>

#define SIM_SECOND NODE_SECOND
#define SIM_MINUTE (60 * SIM_SECOND)
#define SIM_HOUR (60 * SIM_MINUTE)
#define SIM_NONE UINT32_MAX /* no node */
#define SIM_HURTS_KEPT 16u /* breaches told in words; all are counted */

struct sim;

/* The code under test: overlay/node.h, or what a test of the simulator puts in
 * its place (a node that misbehaves must be caught). */
struct sim_code {
	enum err (*create)(const struct node_config *config, struct node **out);
	void (*destroy)(struct node *n);
	enum err (*step)(struct node *n, const struct node_event *ev);
	bool (*take)(struct node *n, struct node_action *out);
	uint64_t (*deadline_us)(const struct node *n);
	bool (*ready)(const struct node *n);
	bool (*is_home)(
	    const struct node *n, const struct id *key, uint64_t now_us);
	const struct leaf_set *(*leaves)(const struct node *n);
	const struct node_counters *(*counters)(const struct node *n);
	size_t (*bytes)(const struct node *n);
};
extern const struct sim_code sim_node_code;

/* Where nodes are: delay grows with the distance of two points. */
enum sim_topology {
	SIM_TORUS, /* points evenly on a square whose edges meet */
	SIM_TRANSIT, /* sites on it, each of some ten nodes close together */
};

struct sim_config {
	uint64_t seed;
	unsigned nodes; /* at most so many at once */
	const struct sim_code *code;
	enum sim_topology topology;
	/* One way: base + distance * span + chance * jitter; two points that
	 * are as far apart as can be have distance 1. */
	uint32_t base_us, span_us, jitter_us;
	uint32_t loss_ppm, dup_ppm, reorder_ppm;
	uint32_t broken_ppm; /* of all pairs can not reach each other */
	uint32_t drift_ppm; /* clocks run so much fast or slow at most */
	uint64_t connect_wait_us; /* until a link is given up */
	uint64_t stall_us; /* a frame unanswered so long breaks its link */
	uint64_t idle_us; /* unused so long, a link is closed; UINT64_MAX */
	uint64_t grace_us; /* ready so long, a node must be known to others */
	uint64_t lost_us; /* a lookup not arrived by then is lost */
	struct node_config node; /* self, seed and boot are filled in */
	FILE *trace; /* borrowed; NULL: none; changes nothing else */
};

/* The figures of real links; 2.3 % broken pairs and nothing lost.  Which code
 * runs is the caller's to say. */
void sim_config_init(struct sim_config *c, uint64_t seed, unsigned nodes);

/* NULL: out of memory.  What the simulator itself can not allocate later on
 * ends the run: sim_failed(). */
struct sim *sim_new(const struct sim_config *config);
void sim_free(struct sim *s); /* NULL is allowed */
bool sim_failed(const struct sim *s);

/* ---- time --------------------------------------------------------------- */

uint64_t sim_now_us(const struct sim *s);
/* Everything up to and at that time happens. */
void sim_run_to(struct sim *s, uint64_t until_us);
void sim_run_for(struct sim *s, uint64_t us);
/* Until `holds`, asked every `every_us`; false if it does not within max_us. */
bool sim_run_until(struct sim *s, bool (*holds)(struct sim *s),
    uint64_t every_us, uint64_t max_us);
/* Chance for scenarios: another stream than the network's. */
uint64_t sim_chance(struct sim *s, uint64_t below);

/* ---- nodes -------------------------------------------------------------- */

enum sim_end {
	SIM_VANISH, /* the machine is off: no answer */
	SIM_CRASH, /* the process is gone: links break, connects refused */
	SIM_LEAVE, /* it says goodbye (NODE_EV_LEAVE), then as CRASH */
};

/* Start a node with a fresh id; contacts are ready nodes by chance.  SIM_NONE:
 * there is no room. */
uint32_t sim_spawn(struct sim *s);
void sim_end(struct sim *s, uint32_t i, enum sim_end how);
/* A dead node starts again: same id and address, contacts as it knew them. */
void sim_restart(struct sim *s, uint32_t i);
/* Nothing reaches it and nothing happens in it; its clock goes on. */
void sim_sleep(struct sim *s, uint32_t i, uint64_t us);
void sim_clock_jump(struct sim *s, uint32_t i, uint64_t us);

/* What a node that lies does with half of its frames. */
enum sim_lie {
	SIM_HONEST,
	SIM_LIE_GARBAGE, /* other bytes, of another length */
	SIM_LIE_FLIP, /* a bit is wrong */
	SIM_LIE_LEAVES, /* neighbours that do not exist */
	SIM_LIE_DEAD, /* calls its neighbours dead */
	SIM_LIE_COUNT
};
void sim_lie(struct sim *s, uint32_t i, enum sim_lie lie);
bool sim_lies_told(const struct sim *s); /* did any ever? */

/* Start nodes until `count` are alive, an eighth of the ring at a time, each
 * time waiting until all are ready, but not for more than a minute.  Whether
 * all are ready in the end. */
bool sim_grow(struct sim *s, unsigned count);

unsigned sim_alive(const struct sim *s); /* asleep ones included */
unsigned sim_ready(const struct sim *s); /* awake and ready */
/* One that is awake and ready, and not lying, by chance; SIM_NONE. */
uint32_t sim_pick(struct sim *s);
/* Any that lives, by chance. */
uint32_t sim_pick_alive(struct sim *s);
unsigned sim_room(const struct sim *s); /* numbers are below that */
bool sim_is_alive(const struct sim *s, uint32_t i);
bool sim_is_asleep(const struct sim *s, uint32_t i);
/* One that is dead and was alive, by chance; SIM_NONE. */
uint32_t sim_pick_dead(struct sim *s);
const struct node *sim_node(const struct sim *s, uint32_t i);

/* ---- the network -------------------------------------------------------- */

/* Put each node on one of two sides, `percent` of them on the second; no frame
 * passes, or none from the second to the first (`one_way`).  False, and not
 * cut: it can not be done without that the ring falls apart, which it does if
 * somebody loses all that are next to it on one side of its leaf set. */
bool sim_cut(struct sim *s, unsigned percent, bool one_way);
void sim_heal(struct sim *s);
bool sim_is_cut(const struct sim *s);
void sim_set_faults(
    struct sim *s, uint32_t loss_ppm, uint32_t dup_ppm, uint32_t reorder_ppm);
void sim_set_broken(struct sim *s, uint32_t broken_ppm);
/* One way, without jitter. */
uint64_t sim_delay_us(const struct sim *s, uint32_t a, uint32_t b);

/* ---- lookups ------------------------------------------------------------ */

/* Send a message from a node towards a key; the oracle judges where it arrives,
 * and when.  Trying again is the node's own affair. */
void sim_lookup(struct sim *s, uint32_t from, const struct id *key);
void sim_lookup_by_chance(struct sim *s);
unsigned sim_lookups_waiting(const struct sim *s); /* not arrived, not lost */

/* ---- the oracle --------------------------------------------------------- */

/* The node nearest to key that is awake, ready, honest, on `side_of`'s side
 * and known to others (grace_us); SIM_NONE. */
uint32_t sim_home(struct sim *s, const struct id *key, uint32_t side_of);
/* Nodes whose leaf set is not what it should be, or that are not ready. */
unsigned sim_leaves_wrong(struct sim *s);
/* One of them, in words. */
void sim_leaves_why(struct sim *s, char *out, size_t cap);
bool sim_leaves_match(struct sim *s); /* none; ends the merging */
/* Does any key have two homes?  Looks round one pair of neighbours in
 * `one_in`; breaches are written down. */
void sim_check_claims(struct sim *s, unsigned one_in);
/* Of keys by chance, parts per million that a node claims. */
uint32_t sim_claimed_ppm(struct sim *s, unsigned keys);

/* A breach of safety, or what else can not be. */
void sim_hurt(struct sim *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
unsigned sim_hurts(const struct sim *s);
const char *sim_hurt_text(const struct sim *s, unsigned n); /* NULL: no more */

/* ---- figures ------------------------------------------------------------ */

/* Sooner than any node asks again from end to end. */
#define SIM_PROMPT_US (2 * SIM_SECOND)
enum { SIM_RATIO_STEPS = 512 }; /* of a 32nd */

struct sim_figures {
	uint64_t frames, frame_bytes;
	uint64_t sent[MSG_KIND_END]; /* frames by kind, lookups not counted */
	uint64_t sent_lookup; /* ROUTE frames that carry a lookup, */
	uint64_t sent_joins; /* and those that carry something else */
	uint64_t sent_unknown; /* of no kind that message.h has */
	uint64_t links, links_failed;
	uint64_t malformed; /* refused by node_step() */
	uint64_t lookups, arrived;
	uint64_t prompt; /* within SIM_PROMPT_US */
	uint64_t lost; /* not arrived in time, sender alive */
	uint64_t forsaken; /* the sender died first */
	uint64_t told_lost; /* NODE_ACT_LOST */
	/* Arrived where a nearer node was ready (and known, see grace_us);
	 * of these, the nearer one claimed the key.  Arrived again. */
	uint64_t wrong, unsafe, doubled;
	uint64_t hops, hops_max, hop_count[ROUTE_HOPS_MAX + 1];
	/* Of lookups that arrived at another node. */
	uint64_t timed, delay_us, direct_us, ratio[SIM_RATIO_STEPS];
	uint64_t claims_checked, claims_double;
	uint64_t node_us; /* alive and awake, of all nodes together */
	uint64_t spawned, ended, unready;
};
const struct sim_figures *sim_figures(struct sim *s);
void sim_figures_reset(struct sim *s); /* hurts stay */
/* Median of delay by direct delay. */
double sim_ratio_median(const struct sim_figures *f);
/* Maintenance: all frames that lookups did not cause.  An acknowledgement is
 * shared out as the routed frames are. */
double sim_maintenance(const struct sim_figures *f);

/* All that happened so far, in one number; and how many events that were. */
uint64_t sim_digest(const struct sim *s);
uint64_t sim_events(const struct sim *s);
/* Memory now: of nodes, and of the simulator. */
void sim_bytes(const struct sim *s, size_t *nodes, size_t *kernel);

#endif
