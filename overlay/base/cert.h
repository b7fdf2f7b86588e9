/* cert.h - who may be in a ring: the ring's authority, node certificates,
 * invitations, revocations (Castro et al., OSDI 2002: certified node ids;
 * DESIGN, section 5).
 *
 * An organisation is a ring; its authority is an Ed25519 key, and the ring's
 * id is the hash of that key's public half.  A node's id is the hash of its own
 * public key, so nobody chooses where on the ring she is; the certificate
 * admits it and binds the X25519 key of its sessions.
 *
 * Times are seconds since 1970, UTC.  Everything that decodes takes a
 * stranger's bytes: ERR_MALFORMED, ERR_BADSIG, never an assertion.  What has a
 * signature signs all bytes before it, behind a label of its own kind, so that
 * no signature can be taken for another's. */
#ifndef POST_BASE_CERT_H
#define POST_BASE_CERT_H

#include "overlay/base/crypto.h"

#define SITE_MAX 63		/* bytes of a site label: a domain label's */
#define RING_NAME_MAX 253	/* a domain's */
#define CERT_MAX 512		/* bytes, encoded */
#define INVITE_CONTACTS_MAX 8
#define INVITE_TOKEN_BYTES 16
#define INVITE_TEXT_MAX 4096	/* an invitation file, with its NUL */
#define CLOCK_SLACK_S 3600	/* a clock that is an hour off still joins */

struct ring {
	struct id id;
	uint8_t authority[SIGN_PUBLIC_BYTES];
	char name[RING_NAME_MAX + 1]; /* "rice.example" */
};
/* The ring of an authority's key. */
void ring_init(struct ring *r, const uint8_t authority[SIGN_PUBLIC_BYTES],
    const char *name);

struct node_cert {
	struct id ring;
	uint8_t sign[SIGN_PUBLIC_BYTES];
	uint8_t dh[DH_PUBLIC_BYTES];
	char site[SITE_MAX + 1]; /* "" : not told */
	uint64_t serial;	 /* of this authority, never twice */
	int64_t from_s, until_s; /* valid from <= now < until */
};
void node_cert_id(const struct node_cert *c, struct id *out);
/* One label of a domain (keys.h, domain_check()); "" is none. */
bool site_check(const char *site);

/* Sign and encode; *len at most CERT_MAX.  The ring is the authority's, the
 * site checked, and 0 <= from < until. */
void node_cert_sign(const struct node_cert *c, const struct sign_key *authority,
    uint8_t out[CERT_MAX], size_t *len);
/* Decode and verify against the ring.  ERR_MALFORMED; ERR_BADSIG: not of this
 * authority; ERR_DENIED: of another ring, or out of date by more than
 * CLOCK_SLACK_S.  The revocation list is the caller's to ask. */
enum err node_cert_open(const struct ring *ring, int64_t now_s,
    const uint8_t *bytes, size_t len, struct node_cert *out) MUST_CHECK;

/* ---- revocations -------------------------------------------------------- */

/* All that are revoked, in one signed list with a number that grows: the
 * newest list replaces all older ones.  Spread between neighbours. */
#define REVOKED_MAX 4096
struct revocations {
	uint64_t number; /* 0: the empty list that everybody begins with */
	size_t count;
	struct id *node; /* sorted, distinct */
};
void revocations_fini(struct revocations *r);
bool revocations_has(const struct revocations *r, const struct id *node);
/* Add it and count `number` up.  ERR_RANGE: REVOKED_MAX; adding one twice is
 * OK and changes nothing. */
enum err revocations_add(
    struct revocations *r, const struct id *node) MUST_CHECK;
/* *bytes is the caller's to free. */
enum err revocations_sign(const struct ring *ring, const struct revocations *r,
    const struct sign_key *authority, uint8_t **bytes, size_t *len) MUST_CHECK;
/* Decode, verify; *out is then the caller's to revocations_fini().
 * ERR_MALFORMED; ERR_BADSIG; ERR_DENIED: of another ring; ERR_NOMEM.  Whether
 * it is newer than the list at hand is the caller's to see. */
enum err revocations_open(const struct ring *ring, const uint8_t *bytes,
    size_t len, struct revocations *out) MUST_CHECK;

/* ---- invitations -------------------------------------------------------- */

/* What 'post org invite' prints and 'post init --invite' reads: text with one
 * "name: value" a line between two marking lines, signed by the authority.
 * The token admits once: the node that issues certificates remembers it. */
struct invitation {
	struct ring ring;
	char address[254 + 1]; /* of the user to be; "": a further node */
	uint8_t token[INVITE_TOKEN_BYTES];
	int64_t until_s;
	unsigned contacts;
	char contact[INVITE_CONTACTS_MAX][64]; /* "192.0.2.1:7400" */
};
void invitation_sign(const struct invitation *inv,
    const struct sign_key *authority, char out[INVITE_TEXT_MAX]);
/* Blank lines and CR before LF do not matter, nor what stands before and after
 * the marking lines (it may come by mail).  ERR_MALFORMED; ERR_BADSIG;
 * ERR_DENIED: expired by more than CLOCK_SLACK_S.  *line: where the fault is,
 * from 1; 0: in no one line (a wrong signature, an end that is missing). */
enum err invitation_open(const char *text, size_t len, int64_t now_s,
    struct invitation *out, unsigned *line) MUST_CHECK;

#endif
