/* message.h - what nodes say to one another: readers and writers.
 *
 * PROTOCOL.md has the same in tables, with who sends what when.  A frame is one
 * message of a session, so who sent it is known and it is whole; it begins with
 * its kind.  Big-endian, no padding, nothing after the last field; a count
 * that bounds a loop is checked against its maximum first.
 *
 * Decoders borrow: pointers into the frame die with it. */
#ifndef POST_OVERLAY_MESSAGE_H
#define POST_OVERLAY_MESSAGE_H

#include "overlay/peer.h"

#define FRAME_MAX ((1u << 20) - 64u) /* a session's message */
#define ROUTE_HOPS_MAX 64u
#define LEAVES_MAX (2 * 16u)	/* members told in one message */
#define FAILED_MAX 16u
#define CELLS_MAX 64u		/* routing entries in one message */
#define RELAY_HEAD_MAX (1 + 2 * ID_BYTES)

enum message_kind {
	MSG_HELLO = 1,	/* first on every link, both ways */
	MSG_PING,	/* are you there; answered by PONG */
	MSG_PONG,
	MSG_LEAVES,	/* my leaf set; `ask`: tell me yours */
	MSG_BEAT,	/* to a neighbour: I am here, and the lease */
	MSG_CELLS,	/* routing entries; `ask_row`: tell me that row */
	MSG_ROUTE,	/* towards the home of a key */
	MSG_ROUTE_ACK,	/* the next hop has it */
	MSG_RELAY,	/* a frame for another, by way of you */
	MSG_DIRECT,	/* a payload for this very node */
	MSG_REVOKED,	/* the newest list of revocations */
	MSG_KIND_END
};

/* Whom a payload is for. */
enum service {
	SERVICE_JOIN,	/* Pastry's own */
	SERVICE_PAST,	/* store/: blocks and heads */
	SERVICE_GROUP,	/* Scribe */
	SERVICE_TEST,	/* studies */
	SERVICE_COUNT
};

/* HELLO: u8 kind, u8 version (1), peer self (id as in the certificate, and
 * the address it can be reached at, port 0 if at none), u64 boot (grows with
 * each start), u64 revocations (number of the newest list known). */
struct msg_hello {
	struct peer self;
	uint64_t boot, revocations;
};

/* PING, PONG: u8 kind, u64 nonce. */
struct msg_ping {
	uint64_t nonce;
};

/* LEAVES: u8 kind, u8 flags (1 ask, 2 ready), u64 nonce (of the question; 0:
 * none), u8 left, u8 right (counts, half of LEAVES_MAX each at most), peers:
 * left ones from the nearest, right ones from the nearest; u8 failed, ids of
 * nodes lately found dead. */
struct msg_leaves {
	bool ask, ready;
	uint64_t nonce;
	uint8_t left, right, failed;
	struct peer peer[LEAVES_MAX]; /* left, then right */
	struct id dead[FAILED_MAX];
};

/* BEAT: u8 kind, u8 flags (1 ask, 2 grant, 4 ready), u64 nonce, u32 lease_ms
 * (of the grant: counted by the asker from when it asked; 0 without one), u32
 * digest of the sender's leaf set. */
struct msg_beat {
	bool ask, grant, ready;
	uint64_t nonce;
	uint32_t lease_ms, digest;
};

/* CELLS: u8 kind, u8 ask_row (< ID_DIGITS; 255: nothing asked), u64 nonce, u8
 * count, peers. */
#define CELLS_ASK_NONE 255u
struct msg_cells {
	uint8_t ask_row, count;
	uint64_t nonce;
	struct peer peer[CELLS_MAX];
};

/* ROUTE: u8 kind, u8 service, u8 hops (ROUTE_HOPS_MAX at most: who counts one
 * more looks first), u8 tries (of the origin), u64 nonce (of this hop, for its
 * ack), u64 request (the origin's number), key[32], peer origin, then the
 * payload. */
struct msg_route {
	uint8_t service, hops, tries;
	uint64_t nonce, request;
	struct id key;
	struct peer origin;
	const uint8_t *payload;
	size_t payload_len;
};

/* ROUTE_ACK: u8 kind, u64 nonce. */
struct msg_route_ack {
	uint64_t nonce;
};

/* RELAY: u8 kind, from[32], to[32], then a frame of a known kind, no RELAY. */
struct msg_relay {
	struct id from, to;
	const uint8_t *frame;
	size_t frame_len;
};

/* DIRECT: u8 kind, u8 service, u64 request (0: no answer to one), payload. */
struct msg_direct {
	uint8_t service;
	uint64_t request;
	const uint8_t *payload;
	size_t payload_len;
};

/* REVOKED: u8 kind, then revocations_sign()'s bytes (not empty). */
struct msg_revoked {
	const uint8_t *list;
	size_t list_len;
};

/* The kind of a frame; 0 if it is none that we know. */
enum message_kind message_kind(const uint8_t *frame, size_t len);
const char *message_name(enum message_kind kind); /* for traces; never NULL */

#define MESSAGE_FUNCTIONS(name)                                                \
	/* false: cap is too small.  Counts, rows, hops and services beyond     \
	 * their maximum are the caller's bug. */                              \
	bool msg_##name##_encode(const struct msg_##name *m, uint8_t *out,     \
	    size_t cap, size_t *len) MUST_CHECK;                               \
	/* ERR_MALFORMED leaves *out untouched. */                             \
	enum err msg_##name##_decode(                                          \
	    const uint8_t *frame, size_t len, struct msg_##name *out) MUST_CHECK;
MESSAGE_FUNCTIONS(hello)
MESSAGE_FUNCTIONS(ping) /* as PING; see msg_pong_encode() */
MESSAGE_FUNCTIONS(leaves)
MESSAGE_FUNCTIONS(beat)
MESSAGE_FUNCTIONS(cells)
MESSAGE_FUNCTIONS(route)
MESSAGE_FUNCTIONS(route_ack)
MESSAGE_FUNCTIONS(relay)
MESSAGE_FUNCTIONS(direct)
MESSAGE_FUNCTIONS(revoked)
#undef MESSAGE_FUNCTIONS
bool msg_pong_encode(const struct msg_ping *m, uint8_t *out, size_t cap,
    size_t *len) MUST_CHECK;
enum err msg_pong_decode(
    const uint8_t *frame, size_t len, struct msg_ping *out) MUST_CHECK;

#endif
