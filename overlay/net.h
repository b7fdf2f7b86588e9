/* net.h - links between real nodes over TCP.  Implemented in overlay/net/, the
 * only room that includes libevent: real sockets, real clock, real entropy.
 *
 * One thread owns the loop, and everything here happens on it, except what
 * says otherwise.  A link is a session (session.h) on a bufferevent.  Links
 * are made on demand, kept while they are used, and closed when idle; of two
 * made at once by both sides the one that the node with the smaller id
 * began is kept.  Certificates, then greetings: a link is up when both sides
 * have agreed to it (overlay/net/greet.c has the bytes).
 *
 * A handler is called from the loop only, never from within a call of these, so
 * it may call any of them but net_run() and net_free(); what it is given is
 * borrowed for the call.
 *
 * Budgets, so that a peer that sends garbage, huge lengths, unbounded streams
 * or nothing at all costs bounded memory and time: see enum net_limit. */
#ifndef POST_OVERLAY_NET_H
#define POST_OVERLAY_NET_H

#include "overlay/peer.h"
#include "overlay/session.h"

enum net_limit {
	NET_LINKS_MAX = 512,		/* sessions that are up */
	NET_HANDSHAKES_MAX = 64,	/* in flight, inbound */
	NET_HANDSHAKE_MS = 5000,
	NET_IDLE_MS = 120000,		/* nothing either way: closed */
	NET_QUEUE_MAX = 8 << 20,	/* bytes that wait for a slow peer */
	NET_IN_RATE = 200000,		/* messages in a second, sustained */
};

struct net;

struct net_config {
	const struct ring *ring;	/* borrowed */
	const struct revocations *revoked; /* borrowed; may change between calls */
	const struct dh_key *key;	/* borrowed */
	const uint8_t *cert; /* own, encoded; borrowed; NULL, 0: a guest */
	size_t cert_len;
	struct net_addr listen;		/* port 0: any; ip all zeros: all */
	bool listens;
	bool guests; /* let nodes without certificate ask for one */
};

/* What happens; called on the loop's thread. */
struct net_handler {
	void *arg;
	/* A session is up.  peer.addr: where it really is: the address that the
	 * connection comes from, and the port that it says it listens at (0: at
	 * none), or, if we dialed, the address that was asked for. */
	void (*up)(void *arg, const struct peer *peer,
	    const struct node_cert *cert);
	/* A link broke, or none could be made (id zeros if it never was known;
	 * addr as asked).  Once for each up(), and once for each dial that
	 * comes to nothing.  What was sent last may not have arrived.  why:
	 *   OK               closed in good order, by either side: not used for
	 *                    long, too many, net_drop()
	 *   ERR_UNREACHABLE  nobody answers; the connection broke
	 *   ERR_BADSIG       the other side is not of this ring, or is no node
	 *   ERR_DENIED       a certificate does not do: theirs, or ours
	 *   ERR_ABSENT       another node than the one asked for answers there
	 *   ERR_EXISTS       who answers there is linked already, or ourselves
	 *   ERR_AGAIN        too many links, there or here
	 *   ERR_MALFORMED, ERR_NOMEM */
	void (*down)(void *arg, const struct peer *peer, enum err why);
	void (*message)(void *arg, const struct peer *peer,
	    const uint8_t *bytes, size_t len);
	/* A guest's message; answer with net_guest_answer() before returning. */
	void (*guest)(void *arg, uint64_t guest, const uint8_t *key,
	    const uint8_t *bytes, size_t len);
	/* The deadline that net_wake_at() set passed. */
	void (*timer)(void *arg, uint64_t now_us);
	/* After net_send() said ERR_AGAIN: half of the queue is free again.
	 * NULL is allowed. */
	void (*room)(void *arg, const struct peer *peer);
};

/* Listen, if asked to.  ERR_BUSY: the port is taken; ERR_INVALID: no address of
 * this machine, or a guest that wants to listen; as node_cert_open() does of
 * our own certificate. */
enum err net_new(const struct net_config *config,
    const struct net_handler *handler, struct net **out) MUST_CHECK;
/* Links break, without down(); calls that have not run will not. */
void net_free(struct net *n); /* NULL is allowed */
/* Where it listens in fact. */
const struct net_addr *net_listening(const struct net *n);

/* Serve until net_stop(), which any thread may call, also before.  The calls
 * made before it still run, and what was sent is given to the kernel, if it
 * takes it at once. */
enum err net_run(struct net *n) MUST_CHECK;
void net_stop(struct net *n);
/* Run fn on the loop's thread, soon; any thread may call. */
enum err net_call(struct net *n, void (*fn)(void *arg), void *arg) MUST_CHECK;

uint64_t net_now_us(const struct net *n); /* monotonic */
void net_wake_at(struct net *n, uint64_t at_us); /* UINT64_MAX: never */

/* Make a link if there is none, also with id zeros: whoever is at the address.
 * The answer is up() or down(). */
void net_connect(struct net *n, const struct peer *peer);
/* To a linked peer; a link is made if there is none and an address is known.
 * ERR_AGAIN: its queue is full; ERR_UNREACHABLE: no link, no address;
 * ERR_TOO_BIG: over SESSION_MESSAGE_MAX.  len is not 0. */
enum err net_send(struct net *n, const struct peer *peer, const void *bytes,
    size_t len) MUST_CHECK;
/* Break it off.  down() comes later, with OK. */
void net_drop(struct net *n, const struct id *peer);
/* Take no message from it for a while (well under half a minute, or it breaks):
 * the kernel's buffers fill, then the sender's queue.  Nothing is lost. */
void net_pause(struct net *n, const struct id *peer, bool pause);
void net_guest_answer(
    struct net *n, uint64_t guest, const void *bytes, size_t len);

/* One link as it is now, for 'post peers'; i from 0; false past the last. */
struct net_link {
	struct peer peer;
	bool outbound;
	uint64_t since_us, sent_bytes, got_bytes, queued_bytes;
	uint32_t rtt_us; /* of TCP, or UINT32_MAX */
};
bool net_link_at(const struct net *n, unsigned i, struct net_link *out);

struct net_counters {
	uint64_t accepted, dialed; /* connections */
	uint64_t up;		   /* links made of them */
	uint64_t turned_away;	   /* accepted; too many handshakes */
	uint64_t failed;	   /* accepted; no handshake came of it */
	uint64_t refused;	   /* handshakes that made no link */
	uint64_t blamed;	   /* links ended for what the peer sent */
	uint64_t throttled;	   /* times that one was over NET_IN_RATE */
};
const struct net_counters *net_counters(const struct net *n);

#endif
