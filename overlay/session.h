/* session.h - the secure link between two nodes, as a state machine without
 * I/O: bytes in, bytes and messages out.
 *
 * Noise_XX_25519_ChaChaPoly_BLAKE2b (The Noise Protocol Framework, revision
 * 34), with
 *
 *   prologue  "POST session 1" and the ring's id: another version or another
 *             ring can not be talked into a session (no downgrade)
 *   payloads  the 2nd and 3rd handshake message carry the certificate of the
 *             node that sends it; its X25519 key must be the handshake's static
 *             key, and its id must be none that is revoked
 *   rekey     REKEY() of section 11.3 after every SESSION_REKEY_MESSAGES
 *             transport messages of a direction, by both sides
 *
 * On the wire each Noise message is preceded by its length, u16 big-endian.  A
 * transport message's plaintext is one byte, 1 if the message goes on in the
 * next, else 0, and a piece of the message.  A message is at most
 * SESSION_MESSAGE_MAX bytes; a piece that is not the last is full, and the last
 * is empty only if the message is, so that a message has one encoding.
 *
 * A truncated stream is noticed by the caller: session_at_rest() tells whether
 * the bytes end between messages.  Replay and reordering fail the tag, since
 * nonces count.  After any failure the session is dead, its keys are wiped, and
 * it answers ERR_BADSIG or ERR_MALFORMED to everything; session_fault() tells
 * for good what it was.
 *
 * Before the peer's certificate was verified nothing of it is given out and
 * nothing but handshake messages of bounded length is buffered. */
#ifndef POST_OVERLAY_SESSION_H
#define POST_OVERLAY_SESSION_H

#include "overlay/base/cert.h"

#include <stdbool.h>

#define SESSION_MESSAGE_MAX (1u << 20)
#define SESSION_PIECE_MAX (65535u - TAG_BYTES - 1u)
#define SESSION_HANDSHAKE_MAX 2048u /* bytes of one handshake message */
#define SESSION_REKEY_MESSAGES (1u << 16)
#define SESSION_QUEUE_MAX (16u << 20) /* bytes sealed and not yet taken */

struct session;

struct session_config {
	bool initiator;
	const struct ring *ring;	/* borrowed for the session's life */
	const struct revocations *revoked; /* likewise; NULL: none */
	const struct dh_key *key;	/* copied, wiped at the end */
	const uint8_t *cert;		/* own, encoded; copied */
	size_t cert_len;
	/* 0 bytes of certificate, `guest` set: a node that has none yet and
	 * may only ask for one.  A responder with `guests` set takes such. */
	bool guest, guests;
	uint8_t ephemeral[KEY_BYTES];	/* chance; used for this session only */
	int64_t now_s;
};

enum err session_new(
    const struct session_config *config, struct session **out) MUST_CHECK;
void session_free(struct session *s); /* wipes; NULL is allowed */

/* Bytes from the wire, any number at a time; *used of them were taken (all,
 * unless a message is complete: then take it and call again with the rest).
 * ERR_MALFORMED, ERR_BADSIG, ERR_DENIED (certificate), ERR_NOMEM: close. */
enum err session_receive(struct session *s, const uint8_t *bytes, size_t len,
    size_t *used) MUST_CHECK;
/* The message that session_receive() completed; NULL: none.  Borrowed until
 * the next call. */
const uint8_t *session_message(struct session *s, size_t *len);

/* Seal a message for the peer.  ERR_AGAIN: the handshake is not done, or more
 * than SESSION_QUEUE_MAX would wait; ERR_TOO_BIG; ERR_NOMEM: the session goes
 * on without it. */
enum err session_send(
    struct session *s, const void *message, size_t len) MUST_CHECK;
/* Bytes for the wire, borrowed until the next call; NULL: none.
 * session_sent() says how many were taken. */
const uint8_t *session_output(struct session *s, size_t *len);
void session_sent(struct session *s, size_t len);

/* Both sides are who they say: the session is up. */
bool session_ready(const struct session *s);
/* The bytes so far end between two messages. */
bool session_at_rest(const struct session *s);
/* The peer's certificate, once ready; NULL for a guest (whose key is then
 * session_peer_key()). */
const struct node_cert *session_peer(const struct session *s);
const uint8_t *session_peer_key(const struct session *s); /* DH_PUBLIC_BYTES */
/* Memory held now, for the link's budget. */
size_t session_bytes(const struct session *s);

/* What the peer is refused for, finer than an outcome, for people who have to
 * set it right.  X(name, sentence) */
#define SESSION_FAULT_LIST(X)                                                  \
	X(NONE, "nothing is wrong")                                            \
	X(GARBAGE, "it does not speak this protocol")                          \
	X(TAG,                                                                 \
	    "another ring, another version, or changed bytes on the way")      \
	X(NO_CERT, "it has no certificate")                                    \
	X(CERT, "its certificate is not of this ring's authority")             \
	X(RING, "its certificate is of another ring")                          \
	X(TIME, "its certificate is out of date, or a clock is wrong")         \
	X(REVOKED, "it was revoked")                                           \
	X(KEY, "its certificate is another node's")                            \
	X(MEMORY, "out of memory")

enum session_fault {
#define SESSION_FAULT_ENUM(name, text) SESSION_FAULT_##name,
	SESSION_FAULT_LIST(SESSION_FAULT_ENUM)
#undef SESSION_FAULT_ENUM
};
enum session_fault session_fault(const struct session *s);
const char *session_fault_text(enum session_fault fault);

#endif
