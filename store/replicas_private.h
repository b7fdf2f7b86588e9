/* replicas_private.h - the parts of PAST's state machine, for its own files and
 * tests.
 *
 *   replicas.c           events in, actions out, peers, time
 *   replicas_message.c   readers, writers, formats
 *   replicas_place.c     who holds an id
 *   replicas_batch.c     HAVE, NEED, PUT, STORED: how blocks get to a holder
 *   replicas_accept.c    the other end of it, and of GET
 *   replicas_insert.c    own blocks until they are safe
 *   replicas_fetch.c     GET, BLOCKS: a reader's block
 *   replicas_exchange.c  anti-entropy, and what may go
 *   replicas_lease.c     renewal
 *   replicas_head.c      heads
 *   replicas_locate.c    holders beyond the leaf set */
#ifndef POST_STORE_REPLICAS_PRIVATE_H
#define POST_STORE_REPLICAS_PRIVATE_H

#include "overlay/base/map.h"
#include "overlay/base/rng.h"
#include "overlay/base/wire.h"
#include "store/replicas.h"
#include "store/ulog.h"

/* ---- messages (replicas_message.c) -------------------------------------- */

enum past_kind {
	PAST_HAVE = 1,
	PAST_NEED,
	PAST_PUT,
	PAST_STORED,
	PAST_GET,
	PAST_BLOCKS,
	PAST_DIGEST,
	PAST_LIST,
	PAST_WANT,
	PAST_LEASE,
	PAST_LEASED,
	PAST_HEAD_PUT,
	PAST_HEAD_GET,
	PAST_HEAD,
	PAST_HEADS,
	PAST_LOCATE,
	PAST_HOLDERS,
	PAST_KIND_END
};

#define PAST_RANGES_MAX 128u /* of one message */
#define PAST_HEADS_MAX 512u

/* An answer's word on one id of HAVE. */
enum past_have {
	HAVE_MISSING,  /* put it */
	HAVE_HELD,     /* here, and leased if a lease was asked */
	HAVE_COMING,   /* another is about to put it: ask again later */
	HAVE_NOT_MINE, /* as far as we know others hold it */
};

struct past_range {
	struct id from, to; /* from <= to */
	uint64_t sum, count;
};

struct past_head_row {
	struct id id;
	uint64_t sequence;
};

/* What a message says: which fields, its format tells.  Pointers are borrowed
 * from the bytes. */
struct past_msg {
	enum past_kind kind;
	uint64_t nonce;
	uint8_t flags;
	int64_t until_s;
	struct id id, from, to;
	const struct id *ids; /* ascending */
	size_t count;	      /* of ids, states, or rows */
	const uint8_t *bytes; /* states, rows or a head */
	size_t len;
};

#define PAST_FLAG_ANY 1u    /* DIGEST, LIST: not only what its home compares */
#define PAST_STORED_OK 0u
#define PAST_STORED_BUSY 1u
#define PAST_HEAD_IS 0u	    /* HEAD: the newest here (no bytes: none) */
#define PAST_HEAD_STORED 1u /* yours is kept */
#define PAST_HEAD_NEWER 2u  /* yours was refused: this is newer */
#define PAST_HEAD_FAILED 3u

/* ERR_MALFORMED leaves *out untouched. */
enum err past_decode(
    const uint8_t *bytes, size_t len, struct past_msg *out) MUST_CHECK;
/* False: cap is too small. */
bool past_encode(const struct past_msg *m, uint8_t *out, size_t cap,
    size_t *len) MUST_CHECK;
size_t past_encoded_max(const struct past_msg *m);

/* Rows of a decoded message. */
void past_row_range(const struct past_msg *m, size_t n, struct past_range *out);
void past_row_head(
    const struct past_msg *m, size_t n, struct past_head_row *out);
void past_row_node(
    const struct past_msg *m, size_t n, struct replica_node *out);
void past_write_range(struct wr *w, const struct past_range *g);
void past_write_head(struct wr *w, const struct past_head_row *h);
void past_write_node(struct wr *w, const struct replica_node *n);
#define PAST_RANGE_BYTES (2 * ID_BYTES + 16)
#define PAST_HEAD_ROW_BYTES (ID_BYTES + 8)
#define PAST_NODE_BYTES (ID_BYTES + 8 + REPLICA_WHERE_BYTES)

/* A block of PUT or BLOCKS; the lease rows of PUT are read with past_lease(). */
struct past_block {
	struct id id;
	const uint8_t *leases;
	unsigned lease_count;
	const uint8_t *bytes; /* NULL: not there (BLOCKS only) */
	size_t len;
};
/* Of a decoded message; start with rd_init(r, m->bytes, m->len). */
void past_read_block(const struct past_msg *m, struct rd *r,
    struct past_block *out);
void past_lease(const struct past_block *b, unsigned n,
    struct replica_lease *out);
void past_write_block(struct wr *w, enum past_kind kind,
    const struct replica_block *b);
size_t past_block_bytes(enum past_kind kind, const struct replica_block *b);

/* ---- placement (replicas_place.c) --------------------------------------- */

/* Nodes that are looked at for an id.  All holders of an id know all of its
 * window, wherever they stand in it, if it is no longer than half a leaf set
 * (12). */
#define PAST_WINDOW(k) (3 * (k) <= 12 ? 3 * (k) : (k) > 12 ? (k) : 12)

struct past_segment { /* ids with the same holders: to the next one's `from` */
	struct id from;
	uint8_t count, window;
	bool known; /* the nodes we know decide it */
	/* Indices of nodes: `count` holders, nearest first, then the rest of
	 * the window, nearest first. */
	uint8_t node[3 * REPLICA_K_MAX];
};

struct past_place {
	unsigned k, count, left, right; /* ends of the arc we know */
	bool whole;
	struct replica_node node[REPLICA_NODES_MAX]; /* in the ring's order */
	struct past_segment *segment;
	size_t segments;
};

/* Holders for every id out of these nodes.  ERR_NOMEM, ERR_INVALID (too many,
 * or two of one id) leave *p as it was. */
enum err past_place_set(struct past_place *p, const struct replica_node *self,
    unsigned k, const struct replica_node *nodes, size_t count,
    size_t left_count, bool whole) MUST_CHECK;
void past_place_fini(struct past_place *p);
const struct past_segment *past_place_find(
    const struct past_place *p, const struct id *id);
/* Its last id. */
void past_segment_end(const struct past_place *p,
    const struct past_segment *s, struct id *out);

bool past_nearer(
    const struct id *key, const struct id *a, const struct id *b);
void past_middle(const struct id *from, const struct id *to, struct id *out);
bool past_id_next(struct id *id); /* plus one; false: it was the last */
void past_id_prev(struct id *id);

/* ---- the machine (replicas.c) ------------------------------------------- */

#define PAST_SECOND UINT64_C(1000000)
#define PAST_NEVER UINT64_MAX
#define PAST_PEERS_MAX 256u
#define PAST_TRIES 3u
#define PAST_FLIGHT_MAX 4u  /* batches to one peer at once */
#define PAST_PACED_MAX 2u   /* of them, repair */
#define PAST_QUEUE_MAX 16384u /* ids that wait for one peer, of repair */
#define PAST_READ_MAX REPLICA_MESSAGE_MAX /* bytes that one read may bring */

/* Ids in a queue; zero-initialise. */
struct past_ids {
	struct id *v;
	size_t head, count, cap;
};
bool past_ids_push(struct past_ids *q, const struct id *id); /* false: memory */
void past_ids_fini(struct past_ids *q);
/* Ascending, each once. */
void past_ids_sort(struct id *ids, size_t *count);

/* Why a batch goes to a holder. */
enum past_class {
	PAST_INSERT, /* own blocks that wait; with our lease */
	PAST_RENEW,	/* own blocks whose lease a range did not renew */
	PAST_REPAIR, /* what a holder lacks; paced; with all leases */
	PAST_LEAVE,	/* what is not ours to hold: only a question, and repair if
			 it is missing there */
	PAST_CLASSES
};

struct past_peer {
	struct replica_node node;
	uint32_t number; /* never used twice */
	bool leaf;	 /* of the leaf set */
	bool overflow;	 /* ids were left out of a queue */
	unsigned flying, paced; /* batches under way; those of them paced */
	unsigned fails;
	unsigned gets;		/* questions for blocks, unanswered */
	uint64_t quiet_until_us; /* it did not answer: nothing new till then */
	uint64_t exchange_us;	 /* when to compare with it */
	unsigned exchanges;	 /* made */
	unsigned deferred;	 /* since then: it was busy */
	struct past_ids queue[PAST_CLASSES];
	struct past_ids fetches; /* ids to ask it for */
};

enum past_stage {
	BATCH_ASKED,   /* HAVE is out, or will be again at due_us */
	BATCH_LATER,   /* to be asked at due_us */
	BATCH_TO_READ, /* for tokens and memory */
	BATCH_READING,
	BATCH_PUT, /* PUT is out */
};

struct past_batch {
	struct past_batch *next;
	uint64_t nonce, due_us;
	uint32_t peer;
	enum past_class class;
	enum past_stage stage;
	unsigned tries;
	size_t count, at, putting; /* ids; done; in the PUT that is out */
	struct id ids[];
};

enum past_state { WAIT_TODO, WAIT_HELD };

struct past_waiting { /* an own block that is not everywhere yet */
	struct past_waiting *next, *prev;
	struct id id;
	uint8_t count, holders; /* those past `holders` stand in */
	bool safe, placed, renewal;
	bool self;		/* we are a holder as well */
	uint32_t peer[REPLICA_K_MAX];
	uint8_t state[REPLICA_K_MAX];
};

struct past_storing { /* an ACT_STORE or ACT_HEAD that is not durable yet */
	struct past_storing *next;
	uint64_t request, nonce;
	struct id peer, id;
	bool head;
	size_t bytes;
};

struct past_serve { /* a GET of another */
	struct past_serve *next;
	uint64_t request, nonce;
	struct id peer;
	bool reading;
	size_t count, at;
	struct id ids[];
};

struct past_expect { /* somebody is about to put it here */
	struct past_expect *next;
	struct id id, peer;
	uint64_t until_us;
};

struct past_action {
	struct past_action *next;
	struct replicas_action a;
	max_align_t data[]; /* what a's pointers lead to */
};

enum past_fetch_state { FETCH_TODO, FETCH_QUEUED, FETCH_ASKED, FETCH_FAILED };
#define PAST_FETCH_PEERS 12u

struct past_reader {
	struct past_reader *next;
	uint64_t request;
};

struct past_fetch { /* a block that readers wait for */
	struct past_fetch *next, *prev;
	struct id id;
	struct past_reader *readers;
	uint64_t end_us, hedge_us; /* given up; the next holder asked too */
	bool placed;
	unsigned count;
	uint32_t peer[PAST_FETCH_PEERS]; /* in the order of asking */
	uint8_t state[PAST_FETCH_PEERS];
};
struct past_head_op;
struct past_renewal;

struct past_located { /* holders of a range beyond the leaf set */
	struct id from, to;
	uint64_t until_us;
	unsigned count;
	uint32_t peer[REPLICA_K_MAX];
};
#define PAST_LOCATED_MAX 64u
struct past_locating {
	struct id id;
	uint64_t nonce, due_us;
	unsigned tries;
};
#define PAST_LOCATING_MAX 32u

#define PAST_LEAVING_MAX 256u
struct past_leaving { /* a replica that is not ours to hold */
	struct id id;
	unsigned holders, confirmed;
	uint32_t peer[REPLICA_K_MAX];
};

struct replicas {
	struct replicas_config c;
	struct replica_node self;
	struct rng rng;
	uint64_t now_us, next_us; /* next_us: no timer is before it */
	int64_t now_s;
	uint64_t numbers; /* the last nonce or request */
	uint32_t peer_numbers;
	struct replicas_counters counters;

	struct past_place place;
	bool joined; /* NODES came: before, nobody knows who holds what */
	struct past_peer *peer[PAST_PEERS_MAX];
	unsigned peers;

	struct past_action *first, **last, *given;

	struct past_batch *batches, **batches_end;
	unsigned reads;	   /* batches being read */
	int64_t tokens;	   /* bytes of repair that may go now */
	uint64_t tokens_us;

	struct map waiting; /* by id */
	struct past_waiting *wait_first, *wait_last;
	struct past_ids safe, done; /* to be told at the end of the step */
	bool unplaced;	/* holders were told that somebody may wait for */
	bool stale;	/* and others than were thought before */

	struct past_storing *storing;
	size_t storing_bytes;
	struct past_serve *serves;
	unsigned serving, serve_reads;
	struct map expect; /* by id; */
	struct past_expect *expect_first, **expect_last; /* and by time */

	struct map fetches; /* by id */
	struct past_fetch *fetch_first, *fetch_last;
	struct past_head_op *head_ops;
	struct past_renewal *renewals;
	uint64_t renew_us, sweep_us;
	struct past_leaving *leaving; /* PAST_LEAVING_MAX, or NULL: none */
	unsigned leavings;
	struct id leave_from, expire_from;

	struct past_located located[PAST_LOCATED_MAX];
	unsigned locateds;
	struct past_locating locating[PAST_LOCATING_MAX];
	unsigned locatings;
};

/* A timer: be called at or after t. */
void past_wake(struct replicas *r, uint64_t t_us);
uint64_t past_number(struct replicas *r);
uint64_t past_jitter(struct replicas *r, uint64_t span_us);

/* Peers: by number (NULL: gone), by id, and a new one if there is room. */
struct past_peer *past_peer(const struct replicas *r, uint32_t number);
struct past_peer *past_peer_of(const struct replicas *r, const struct id *id);
struct past_peer *past_peer_add(
    struct replicas *r, const struct replica_node *node);
void past_peer_failed(struct replicas *r, struct past_peer *p);
void past_peer_answered(struct past_peer *p);

/* Actions.  Each is dropped, as a lost message would be, without memory; false
 * then. */
bool past_send(
    struct replicas *r, const struct id *to, const struct past_msg *m);
bool past_act(struct replicas *r, const struct replicas_action *a);
/* PUT or BLOCKS of these blocks, as one message. */
bool past_send_blocks(struct replicas *r, const struct id *to,
    enum past_kind kind, uint64_t nonce, const struct replica_block *blocks,
    size_t count);

/* The holders of an id, nearest first, at most REPLICA_K_MAX, without
 * ourselves (*self: we are one).  False: not known; has been asked for.
 * `next` appends up to that many more nodes that may stand in, or have it. */
bool past_holders(struct replicas *r, const struct id *id, unsigned next,
    uint32_t out[3 * REPLICA_K_MAX], unsigned *count, unsigned *holders,
    bool *self);
/* Is a node (NULL: ourselves) a holder, in our part of the ring? */
bool past_is_holder(
    const struct replicas *r, const struct id *id, const struct id *node);
bool past_is_home(
    const struct replicas *r, const struct id *id, const struct id *node);
/* Might we be one: in the window? */
bool past_in_window(const struct replicas *r, const struct id *id);

/* ---- batches (replicas_batch.c) ----------------------------------------- */

bool past_queue(struct replicas *r, struct past_peer *p, enum past_class class,
    const struct id *id);
void past_batch_pump(struct replicas *r);
void past_batch_timers(struct replicas *r);
void past_batch_need(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
void past_batch_stored(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
bool past_batch_read(struct replicas *r, const struct replicas_event *ev);
void past_batch_forget(struct replicas *r, uint32_t peer);
void past_batch_fini(struct replicas *r);

/* ---- the other end (replicas_accept.c) ---------------------------------- */

void past_accept_have(
    struct replicas *r, const struct id *peer, const struct past_msg *m);
enum err past_accept_put(
    struct replicas *r, const struct id *peer, const struct past_msg *m);
void past_accept_get(
    struct replicas *r, const struct id *peer, const struct past_msg *m);
void past_accept_stored(struct replicas *r, const struct replicas_event *ev);
bool past_accept_read(struct replicas *r, const struct replicas_event *ev);
struct past_storing *past_storing_new(struct replicas *r,
    const struct id *peer, uint64_t nonce, size_t bytes);
/* Is it promised by anyone; by somebody else than `peer`? */
bool past_expected(
    const struct replicas *r, const struct id *id, const struct id *peer);
void past_expect(
    struct replicas *r, const struct id *id, const struct id *peer);
void past_accept_pump(struct replicas *r);
void past_accept_timers(struct replicas *r);
void past_accept_fini(struct replicas *r);

/* ---- own blocks (replicas_insert.c) ------------------------------------- */

enum err past_insert_own(
    struct replicas *r, const struct id *ids, size_t count, bool renewal);
void past_insert_held(
    struct replicas *r, const struct id *id, const struct past_peer *p);
/* p did not answer for these: another stands in, and they go to it later. */
void past_insert_late(struct replicas *r, const struct id *ids, size_t count,
    struct past_peer *p);
void past_insert_gone(struct replicas *r, const struct id *id);
void past_insert_place(struct replicas *r, bool all);
void past_insert_tell(struct replicas *r);
void past_insert_fini(struct replicas *r);

/* ---- readers (replicas_fetch.c) ----------------------------------------- */

enum err past_fetch_want(
    struct replicas *r, const struct id *id, uint64_t request);
enum err past_fetch_blocks(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
void past_fetch_place(struct replicas *r);
void past_fetch_pump(struct replicas *r);
void past_fetch_timers(struct replicas *r);
void past_fetch_fini(struct replicas *r);

/* ---- anti-entropy (replicas_exchange.c) --------------------------------- */

void past_exchange_soon(struct replicas *r);
void past_exchange_timers(struct replicas *r);
void past_exchange_digest(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
void past_exchange_list(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
void past_exchange_want(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
/* A holder said that it has an id which is not ours to hold. */
void past_leave_held(
    struct replicas *r, const struct id *id, const struct past_peer *p);
void past_drop(struct replicas *r, const struct id *ids, size_t count);
/* Digest of a range and its sum, and to halve it; false: it is one id. */
void past_range_digest(
    struct replicas *r, const struct id *owner, struct past_range *g);
bool past_range_halve(const struct past_range *g, struct past_range out[2]);

/* ---- leases (replicas_lease.c) ------------------------------------------ */

int64_t past_lease_until(const struct replicas *r, int64_t asked_s);
void past_lease_asked(
    struct replicas *r, const struct id *peer, const struct past_msg *m);
void past_lease_answered(
    struct replicas *r, struct past_peer *p, const struct past_msg *m);
void past_lease_timers(struct replicas *r);
void past_lease_forget(struct replicas *r, uint32_t peer);
void past_lease_fini(struct replicas *r);

/* ---- heads (replicas_head.c) -------------------------------------------- */

enum err past_head_write(struct replicas *r, const struct replicas_event *ev);
enum err past_head_want(struct replicas *r, const struct replicas_event *ev);
enum err past_head_message(
    struct replicas *r, const struct id *peer, const struct past_msg *m);
void past_head_stored(
    struct replicas *r, const struct past_storing *s, enum err e);
void past_head_exchange(struct replicas *r, struct past_peer *p);
void past_head_place(struct replicas *r, bool all);
void past_head_timers(struct replicas *r);
void past_head_fini(struct replicas *r);

/* ---- beyond the leaf set (replicas_locate.c) ---------------------------- */

const struct past_located *past_located(
    const struct replicas *r, const struct id *id);
void past_locate(struct replicas *r, const struct id *id);
void past_locate_asked(struct replicas *r, const struct id *peer,
    const struct past_msg *m);
void past_locate_answered(struct replicas *r, const struct past_msg *m);
void past_locate_timers(struct replicas *r);
/* Ask again about this one: who we took for a holder is none. */
void past_locate_stale(struct replicas *r, const struct id *id);

#endif
