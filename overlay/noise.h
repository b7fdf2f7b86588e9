/* noise.h - Noise_XX_25519_ChaChaPoly_BLAKE2b of the Noise Protocol Framework,
 * revision 34: the handshake and the cipher, without framing, certificates or
 * policy, which are session.c's.
 *
 *   -> e
 *   <- e, ee, s, es
 *   -> s, se
 *
 * Pure state: chance comes in as keys, nothing allocates, nothing is kept that
 * was borrowed.  Both structures hold secrets: wipe() them in the end, after a
 * failure too.  A handshake that failed may only be wiped. */
#ifndef POST_OVERLAY_NOISE_H
#define POST_OVERLAY_NOISE_H

#include "overlay/base/crypto.h"

#define NOISE_MESSAGE_MAX 65535u /* section 3 */
#define NOISE_HANDSHAKE_MESSAGES 3u

/* What a handshake message holds besides its payload. */
#define NOISE_FIRST_BYTES DH_PUBLIC_BYTES
#define NOISE_SECOND_BYTES (2u * DH_PUBLIC_BYTES + 2u * TAG_BYTES)
#define NOISE_THIRD_BYTES (DH_PUBLIC_BYTES + 2u * TAG_BYTES)

/* One direction's key and nonce (CipherState, section 5.1). */
struct noise_cipher {
	struct key key;
	uint64_t nonce;
};

/* Seal len bytes to out[len + TAG_BYTES]; in place is allowed.
 * ERR_RANGE: the nonces are used up. */
enum err noise_seal(struct noise_cipher *c, const void *ad, size_t ad_len,
    const void *bytes, size_t len, uint8_t *out) MUST_CHECK;
/* The reverse; out gets len - TAG_BYTES bytes.  ERR_BADSIG, the nonce then
 * stays; ERR_RANGE. */
enum err noise_open(struct noise_cipher *c, const void *ad, size_t ad_len,
    const void *bytes, size_t len, uint8_t *out) MUST_CHECK;
/* Section 11.3: a new key out of the old, one way; the nonce counts on. */
void noise_rekey(struct noise_cipher *c);

struct noise {
	bool initiator, keyed, has_remote;
	unsigned step; /* the message that is next; 3: done */
	struct dh_key own, ephemeral;
	/* The peer's static and ephemeral keys. */
	uint8_t remote[DH_PUBLIC_BYTES], remote_ephemeral[DH_PUBLIC_BYTES];
	struct noise_cipher cipher;
	uint8_t chain[HASH64_BYTES], hash[HASH64_BYTES];
};

/* Begin.  The ephemeral secret is chance for this handshake alone. */
void noise_init(struct noise *n, bool initiator, const void *prologue,
    size_t prologue_len, const struct dh_key *own,
    const uint8_t ephemeral[KEY_BYTES]);

/* Is the next message ours to write?  False when done. */
bool noise_writes(const struct noise *n);
bool noise_done(const struct noise *n);

/* Write the next message; it is ours; payload is not NULL.  ERR_RANGE: it needs more than cap;
 * ERR_MALFORMED: the peer's key is of small order. */
enum err noise_write(struct noise *n, const void *payload, size_t payload_len,
    uint8_t *out, size_t cap, size_t *len) MUST_CHECK;
/* Read the next message; it is the peer's.  payload has room for what len
 * leaves beside the keys and tags.
 * ERR_MALFORMED: too short, or a key of small order; ERR_BADSIG. */
enum err noise_read(struct noise *n, const uint8_t *bytes, size_t len,
    uint8_t *payload, size_t *payload_len) MUST_CHECK;

/* The peer's static key, proven when the message that carried it was read
 * and, for the responder, nothing more is to come; NULL before. */
const uint8_t *noise_remote(const struct noise *n);

/* Done: the ciphers of what we send and of what we get. */
void noise_split(const struct noise *n, struct noise_cipher *send,
    struct noise_cipher *receive);

#endif
