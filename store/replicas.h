/* replicas.h - PAST: every block and head on the k nodes nearest its id
 * (Druschel and Rowstron, SOSP 2001; what ePOST's operators had to add to it:
 * DESIGN, sections 4 and 5).
 *
 * A state machine without I/O: events in, actions out, as overlay/node.h; the
 * driver carries messages between this and the overlay (SERVICE_PAST), and
 * blocks between this and the block database.  It has no clock and no chance
 * but its seed.
 *
 * Who holds an id: the k nearest it, passing over a node whose site has one
 * already while there are others among the nearest 3k, or 12 if that is less
 * (`struct replica_node` tells sites); so two nodes that know these name the
 * same holders.
 * Where the leaf set does not reach so far, the holders are asked for by
 * routing to the id's home, and remembered for a while for the range of ids
 * that the answer is good for.
 *
 * Three roles of a block here:
 *   own       a log of this home refers to it; kept as long as that
 *   replica   kept for the ring, under leases of its owners
 *   cached    fetched for a reader; goes first when room is wanted
 *
 * Insert: own blocks wait in the index (INDEX_REPLICATE) until they are safe,
 * so that lag survives a restart.  For each holder they go in batches: HAVE?
 * (ids; the answer says which are missing, and the others are leased by it),
 * then PUT (blocks), then STORED once they are durable there.  A block is
 * *safe* when a majority of its holders has it, *done* when all have.  While a
 * holder does not answer, the next nearest stands in for it.  A node that is
 * alone waits: nothing is safe then.
 *
 * Anti-entropy: neighbours compare what both should hold by digests of ranges
 * of ids, halving what differs, and move only that.  The home of an id is the
 * one that offers it to a new holder, so that repair moves each block once; all
 * of it is paced by a token bucket, and jittered.
 *
 * Leases: the owner of a block is the node whose logs refer to it.  It renews
 * four times in `lease_s`, telling each holder the digests of what it wants
 * kept there; only ranges that differ are told id by id, and what turns out to
 * be missing is put again.  Leases travel with a block that is repaired.
 *
 * Heads: the id of a head is its device's.  Every replica verifies signature
 * and sequence before it takes one; who offers an old one is told the newer.
 *
 * Never deleted on suspicion: a replica out of our range goes only after every
 * one of its holders said that it has it; one whose leases have all ended
 * goes to the trash for `trash_s` first, from which a late lease brings it
 * back.
 *
 * Bytes from the network: a block whose hash is not its id, a head with a bad
 * signature or an older sequence, an answer to no question, a count or length
 * beyond its limit are counted against the sender and change nothing. */
#ifndef POST_STORE_REPLICAS_H
#define POST_STORE_REPLICAS_H

#include "overlay/base/id.h"
#include "overlay/base/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICA_K_MAX 16u
#define REPLICA_NODES_MAX 33u /* a leaf set of 16 a side, and ourselves */
#define REPLICA_BATCH_IDS 512u
#define REPLICA_BATCH_BYTES (512u << 10)
#define REPLICA_MESSAGE_MAX ((1u << 20) - 256u) /* a direct one's payload */
#define REPLICA_BLOCK_MAX (REPLICA_BATCH_BYTES + 4096u) /* sealed */
#define REPLICA_LEASES_MAX 32u	   /* of a block, that travel */
#define REPLICA_WAITING_MAX 65536u /* own blocks that wait in memory */
#define REPLICA_FETCHES_MAX 4096u
#define REPLICA_WHERE_BYTES 18u

/* ---- what the machine knows of the ring and of the disk ----------------- */

struct replica_node {
	struct id id;
	uint64_t site; /* hash of its label; 0: not told, a site of its own */
	uint32_t rtt_us; /* for reading from the fastest first; UINT32_MAX */
	uint8_t where[REPLICA_WHERE_BYTES]; /* the driver's: an address */
};

struct replica_lease {
	struct id owner;
	int64_t until_s;
};

enum replica_role {
	REPLICA_ABSENT,
	REPLICA_CACHED,
	REPLICA_TRASH,
	REPLICA_KEPT, /* a replica */
	REPLICA_OWN,  /* and maybe a replica as well */
};

/* What is here, answered from the index at once.  `owner` NULL: everything
 * KEPT or OWN; ourselves: OWN; another: KEPT or OWN that it has a lease on. */
struct holdings {
	void *arg;
	enum replica_role (*role)(void *arg, const struct id *id);
	/* The first id >= *from; false: none. */
	bool (*next)(void *arg, const struct id *owner, const struct id *from,
	    struct id *out);
	/* Sum of hash64(id, ID_BYTES, 0) and number of ids in [from, to];
	 * from <= to. */
	void (*digest)(void *arg, const struct id *owner, const struct id *from,
	    const struct id *to, uint64_t *sum, uint64_t *count);
	/* The leases of a block, the longest first; their number. */
	unsigned (*leases)(void *arg, const struct id *id,
	    struct replica_lease out[REPLICA_LEASES_MAX]);
	/* The first KEPT id >= *from none of whose leases is good at now_s. */
	bool (*expired)(void *arg, int64_t now_s, const struct id *from,
	    struct id *out);
	/* The head kept for an id, into out[ULOG_HEAD_MAX]; 0: none. */
	size_t (*head)(void *arg, const struct id *id, uint8_t *out);
	/* The first id >= *from that a head is kept for. */
	bool (*next_head)(void *arg, const struct id *from, struct id *out);
};

struct replicas_config {
	struct id self;
	uint64_t site;
	uint8_t where[REPLICA_WHERE_BYTES]; /* told to those who ask */
	unsigned k; /* 3; the same for all of the ring; beyond 12 only where
		       the ring is whole in the leaf set */
	uint64_t seed;
	struct holdings holdings;
	/* 0: the default, in brackets */
	uint64_t repair_bytes_s; /* paced repair (4 MiB) */
	uint64_t exchange_us;	 /* between digests with a neighbour (10 min) */
	uint64_t answer_us;	 /* wait for an answer (5 s); then the next holder */
	uint64_t lease_s, trash_s; /* 28 days, 7 days */
	size_t memory_max;	 /* of batches on their way (8 MiB) */
};

/* ---- events and actions ------------------------------------------------- */

enum replicas_event_kind {
	REPLICAS_EV_TIMER,
	REPLICAS_EV_NODES,   /* the leaf set changed: nodes[], ourselves not:
				left_count of the left, nearest first, then those
				of the right; `whole`: all of the ring */
	REPLICAS_EV_MESSAGE, /* from `peer`; routed: by `id`, we are its home */
	REPLICAS_EV_OWN,     /* ids that a checkpoint made durable: insert.
				ERR_AGAIN: REPLICA_WAITING_MAX wait already */
	REPLICAS_EV_FETCH,   /* a reader wants `id`; `request` names the reader.
				ERR_AGAIN: REPLICA_FETCHES_MAX are under way */
	REPLICAS_EV_STORED,  /* ACT_STORE or ACT_HEAD `request` is durable, or e
				says why not */
	REPLICAS_EV_READ,    /* blocks that ACT_READ `request` wanted */
	REPLICAS_EV_HEAD,    /* own head `id` is new and durable here: write it to
				its holders; then ACT_SAFE, ACT_DONE */
	REPLICAS_EV_WANT_HEAD, /* ask all holders of head `id` */
};

struct replica_block {
	struct id id;
	const uint8_t *bytes; /* NULL: not there */
	size_t len;
	const struct replica_lease *leases; /* ACT_STORE: to keep it under */
	unsigned lease_count;
};

struct replicas_event {
	enum replicas_event_kind kind;
	uint64_t now_us;  /* monotonic */
	int64_t now_s;	  /* since 1970, for leases */
	struct id peer, id;
	bool routed;
	uint64_t request;
	enum err e;
	const struct replica_node *nodes; /* borrowed, as all below */
	size_t node_count, left_count;
	bool whole;
	const uint8_t *bytes; /* MESSAGE, HEAD */
	size_t len;
	const struct id *ids; /* OWN */
	size_t id_count;
	const struct replica_block *blocks; /* READ */
	size_t block_count;
};

/* What a later action tells others rests on the earlier ones. */
enum replicas_action_kind {
	REPLICAS_ACT_SEND,    /* bytes to `peer` (at `where`, if not all zeros) */
	REPLICAS_ACT_ROUTE,   /* bytes to the home of `id` */
	REPLICAS_ACT_STORE,   /* blocks, durably; then EV_STORED `request`.  What
				 is in the trash or cached is a replica again */
	REPLICAS_ACT_READ,    /* ids; then EV_READ `request` with the blocks of the
				 first few, in this order: one at least, no more
				 than fit REPLICA_BATCH_BYTES (a first one always
				 fits) */
	REPLICAS_ACT_FETCHED, /* block `id` for reader `request`: bytes, or e */
	REPLICAS_ACT_LEASE,   /* ids: owner `peer` wants them until until_s; only
				 ever extended; back from the trash */
	REPLICAS_ACT_DROP,    /* ids: to the trash, to stay until until_s */
	REPLICAS_ACT_SAFE,    /* ids: held by a majority now */
	REPLICAS_ACT_DONE,    /* ids: held by all */
	REPLICAS_ACT_HEAD,    /* a head for `id` to keep, durably: verified, newer;
				 then EV_STORED `request` */
	REPLICAS_ACT_HEADS,   /* WANT_HEAD `request`: the newest (len 0: none), of
				 the `held` of `wanted` holders that answered; an
				 own log may go on from it if 2 held > wanted.
				 With e = ERR_EXISTS: EV_HEAD `request` met this
				 one, which is newer or a fork */
};

struct replicas_action {
	enum replicas_action_kind kind;
	struct id peer, id;
	uint64_t request;
	int64_t until_s;
	enum err e;
	unsigned held, wanted;
	uint8_t where[REPLICA_WHERE_BYTES];
	const uint8_t *bytes; /* borrowed until the next take or step, as all */
	size_t len;
	const struct id *ids;
	size_t id_count;
	const struct replica_block *blocks;
	size_t block_count;
};

struct replicas;

enum err replicas_new(
    const struct replicas_config *config, struct replicas **out) MUST_CHECK;
void replicas_free(struct replicas *r); /* NULL is allowed */
/* As node_step() and node_take(): absorb one event, then drain.
 * ERR_MALFORMED, ERR_BADSIG: the sender's fault, counted.  ERR_NOMEM: dropped as
 * a lost message would be.  The driver answers every ACT_READ, STORE and HEAD
 * once. */
enum err replicas_step(
    struct replicas *r, const struct replicas_event *ev) MUST_CHECK;
bool replicas_take(struct replicas *r, struct replicas_action *out);
uint64_t replicas_deadline_us(const struct replicas *r);

/* The holders of an id as known now, nearest first; their number (0: not in
 * our part of the ring). */
unsigned replicas_holders(
    const struct replicas *r, const struct id *id, struct id out[REPLICA_K_MAX]);

struct replicas_counters {
	uint64_t waiting, safe;	 /* own blocks that wait; that became safe */
	uint64_t put_blocks, put_bytes, got_blocks, got_bytes;
	uint64_t repair_blocks, repair_bytes;
	uint64_t fetched, fetch_failed;
	uint64_t malformed; /* messages that are none */
	uint64_t forged;    /* wrong hash or signature, old sequence */
	uint64_t unasked;   /* answers to no question, or too late */
	uint64_t refused;   /* beyond what we keep for others at once */
};
const struct replicas_counters *replicas_counters(const struct replicas *r);

#endif
