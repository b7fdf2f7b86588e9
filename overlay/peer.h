/* peer.h - another node as we know it: who it is and where it answers.
 *
 * An id is what counts; an address is a hint that may be old.  Both come from
 * strangers: an id is believed only from a session (session.h), an address only
 * as far as a session with that id begins there. */
#ifndef POST_OVERLAY_PEER_H
#define POST_OVERLAY_PEER_H

#include "overlay/base/id.h"
#include "overlay/base/outcome.h"
#include "overlay/base/wire.h"

#define NET_ADDR_TEXT_MAX 64 /* "[address]:port" and its NUL */
#define PEER_BYTES (ID_BYTES + 16 + 2) /* encoded */

/* IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2); port 0: none known, the
 * node is reached through others only. */
struct net_addr {
	uint8_t ip[16];
	uint16_t port;
};

struct peer {
	struct id id;
	struct net_addr addr;
};

/* PEER: id[32], ip[16], u16 port; without a port the ip is zeros. */
void peer_write(struct wr *w, const struct peer *p);
void peer_read(struct rd *r, struct peer *out);

bool net_addr_eq(const struct net_addr *a, const struct net_addr *b);
/* "192.0.2.1:7400", "[2001:db8::1]:7400" */
void net_addr_text(const struct net_addr *a, char out[NET_ADDR_TEXT_MAX]);
/* The reverse; no names, no default port.  ERR_INVALID. */
enum err net_addr_parse(const char *text, struct net_addr *out) MUST_CHECK;

/* The ring is the ids modulo 2^256.  a - b and the shorter way between them,
 * as ids. */
void id_sub(const struct id *a, const struct id *b, struct id *out);
void id_distance(const struct id *a, const struct id *b, struct id *out);

/* Is a nearer to key than b?  Of two at the same distance it is the one that
 * lies clockwise before the key (its id the smaller way round), so that every
 * key has one home. */
bool id_nearer(
    const struct id *key, const struct id *a, const struct id *b);

/* Digits of 4 bits (Pastry's b = 4), the most significant first. */
#define ID_DIGITS 64u
#define ID_BASE 16u
static inline unsigned
id_digit(const struct id *id, unsigned n)
{
	return n % 2 ? id->b[n / 2] & 15u : id->b[n / 2] >> 4;
}
/* Digits that both begin with; ID_DIGITS if they are equal. */
unsigned id_shared_digits(const struct id *a, const struct id *b);

#endif
