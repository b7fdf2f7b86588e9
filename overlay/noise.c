/* noise.c - the symmetric state (section 5.2) and the three messages of XX.
 *
 * HKDF is HMAC over BLAKE2b-512 (section 4.3); a cipher's key is the first 32
 * bytes of an output.  A nonce is four zeros and then 64 bits little-endian
 * (section 12.3), where aead_seal() takes big-endian words: hence the swap.
 *
 * What is authenticated when: the first message is not (anybody can send it);
 * the second proves the responder's static key; the third the initiator's. */
#include "overlay/noise.h"

#include "overlay/base/wire.h"

#include <assert.h>

static const char protocol[] = "Noise_XX_25519_ChaChaPoly_BLAKE2b";
_Static_assert(sizeof(protocol) - 1 <= HASH64_BYTES, "else it is hashed");

/* ---- one direction ------------------------------------------------------ */

static void
nonce_words(uint64_t nonce, uint64_t out[2])
{
	out[0] = 0;
	out[1] = __builtin_bswap64(nonce);
}

/* The last nonce is for rekeying. */
#define NONCE_LAST UINT64_MAX

enum err
noise_seal(struct noise_cipher *c, const void *ad, size_t ad_len,
    const void *bytes, size_t len, uint8_t *out)
{
	uint64_t nonce[2];

	if (c->nonce == NONCE_LAST)
		return ERR_RANGE;
	nonce_words(c->nonce++, nonce);
	aead_seal(&c->key, nonce, ad, ad_len, bytes, len, out);
	return OK;
}

enum err
noise_open(struct noise_cipher *c, const void *ad, size_t ad_len,
    const void *bytes, size_t len, uint8_t *out)
{
	uint64_t nonce[2];
	enum err e;

	if (c->nonce == NONCE_LAST)
		return ERR_RANGE;
	nonce_words(c->nonce, nonce);
	if ((e = aead_open(&c->key, nonce, ad, ad_len, bytes, len, out)))
		return e;
	c->nonce++;
	return OK;
}

void
noise_rekey(struct noise_cipher *c)
{
	uint8_t zeros[KEY_BYTES] = { 0 }, sealed[KEY_BYTES + TAG_BYTES];
	uint64_t nonce[2];

	nonce_words(NONCE_LAST, nonce);
	aead_seal(&c->key, nonce, NULL, 0, zeros, sizeof(zeros), sealed);
	memcpy(c->key.b, sealed, KEY_BYTES);
	wipe(sealed, sizeof(sealed));
}

/* ---- chaining key and hash ---------------------------------------------- */

/* HKDF with two outputs. */
static void
two_keys(const uint8_t chain[HASH64_BYTES], const uint8_t *input, size_t len,
    uint8_t first[HASH64_BYTES], uint8_t second[HASH64_BYTES])
{
	static const uint8_t one = 1, two = 2;
	uint8_t secret[HASH64_BYTES];

	hmac64_bytes(chain, HASH64_BYTES, input, len, NULL, 0, secret);
	hmac64_bytes(secret, HASH64_BYTES, &one, 1, NULL, 0, first);
	hmac64_bytes(
	    secret, HASH64_BYTES, first, HASH64_BYTES, &two, 1, second);
	wipe(secret, sizeof(secret));
}

static void
mix_hash(struct noise *n, const void *bytes, size_t len)
{
	hash64_bytes(n->hash, HASH64_BYTES, bytes, len, n->hash);
}

/* MixKey of an agreement. */
static enum err
mix_agreement(struct noise *n, const struct dh_key *own, const uint8_t *public)
{
	uint8_t shared[KEY_BYTES], second[HASH64_BYTES];
	enum err e = dh_agree(own, public, shared);

	if (!e) {
		two_keys(n->chain, shared, KEY_BYTES, n->chain, second);
		memcpy(n->cipher.key.b, second, KEY_BYTES);
		n->cipher.nonce = 0;
		n->keyed = true;
	}
	wipe(shared, sizeof(shared));
	wipe(second, sizeof(second));
	return e;
}

/* EncryptAndHash: what goes out is what is hashed. */
static enum err
put(struct noise *n, struct wr *w, const void *bytes, size_t len)
{
	uint8_t *at = wr_take(w, len + (n->keyed ? TAG_BYTES : 0));
	enum err e;

	if (!at)
		return ERR_RANGE;
	if (!n->keyed)
		memmove(at, bytes, len);
	else if ((e = noise_seal(
		      &n->cipher, n->hash, HASH64_BYTES, bytes, len, at)))
		return e;
	mix_hash(n, at, (size_t)(w->p - at));
	return OK;
}

/* DecryptAndHash of the next `len` bytes, tag included. */
static enum err
take(struct noise *n, struct rd *r, size_t len, uint8_t *out)
{
	const uint8_t *at = rd_take(r, len);
	enum err e;

	if (!at || (n->keyed && len < TAG_BYTES))
		return ERR_MALFORMED;
	if (!n->keyed)
		memmove(out, at, len);
	else if ((e = noise_open(
		      &n->cipher, n->hash, HASH64_BYTES, at, len, out)))
		return e;
	mix_hash(n, at, len);
	return OK;
}

/* ---- the handshake ------------------------------------------------------ */

void
noise_init(struct noise *n, bool initiator, const void *prologue,
    size_t prologue_len, const struct dh_key *own,
    const uint8_t ephemeral[KEY_BYTES])
{
	memset(n, 0, sizeof(*n));
	n->initiator = initiator;
	n->own = *own;
	dh_key_from_secret(ephemeral, &n->ephemeral);
	memcpy(n->hash, protocol, sizeof(protocol) - 1);
	memcpy(n->chain, n->hash, HASH64_BYTES);
	mix_hash(n, prologue, prologue_len);
}

bool
noise_done(const struct noise *n)
{
	return n->step == NOISE_HANDSHAKE_MESSAGES;
}

bool
noise_writes(const struct noise *n)
{
	return !noise_done(n) && (n->step % 2 == 0) == n->initiator;
}

/* es and se are the same token twice: the static key of the message's writer
 * meets the ephemeral key of its reader. */
enum err
noise_write(struct noise *n, const void *payload, size_t payload_len,
    uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;
	enum err e;

	assert(noise_writes(n));
	wr_init(&w, out, cap < NOISE_MESSAGE_MAX ? cap : NOISE_MESSAGE_MAX);
	if (n->step < 2) {
		wr_bytes(&w, n->ephemeral.public, DH_PUBLIC_BYTES);
		if (w.bad)
			return ERR_RANGE;
		mix_hash(n, n->ephemeral.public, DH_PUBLIC_BYTES);
	}
	if (n->step == 1 &&
	    (e = mix_agreement(n, &n->ephemeral, n->remote_ephemeral)))
		return e;
	if (n->step > 0 &&
	    ((e = put(n, &w, n->own.public, DH_PUBLIC_BYTES)) ||
		(e = mix_agreement(n, &n->own, n->remote_ephemeral))))
		return e;
	if ((e = put(n, &w, payload, payload_len)))
		return e;
	n->step++;
	*len = wr_len(&w);
	return OK;
}

enum err
noise_read(struct noise *n, const uint8_t *bytes, size_t len, uint8_t *payload,
    size_t *payload_len)
{
	struct rd r;
	size_t left;
	enum err e;

	assert(!noise_done(n) && !noise_writes(n));
	rd_init(&r, bytes, len);
	if (n->step < 2) {
		rd_bytes(&r, n->remote_ephemeral, DH_PUBLIC_BYTES);
		if (r.bad)
			return ERR_MALFORMED;
		mix_hash(n, n->remote_ephemeral, DH_PUBLIC_BYTES);
	}
	if (n->step == 1 &&
	    (e = mix_agreement(n, &n->ephemeral, n->remote_ephemeral)))
		return e;
	if (n->step > 0 &&
	    ((e = take(n, &r, DH_PUBLIC_BYTES + TAG_BYTES, n->remote)) ||
		(e = mix_agreement(n, &n->ephemeral, n->remote))))
		return e;
	left = rd_left(&r);
	if ((e = take(n, &r, left, payload)))
		return e;
	n->has_remote = n->step > 0;
	n->step++;
	*payload_len = left - (n->keyed ? TAG_BYTES : 0);
	return OK;
}

const uint8_t *
noise_remote(const struct noise *n)
{
	return n->has_remote ? n->remote : NULL;
}

void
noise_split(const struct noise *n, struct noise_cipher *send,
    struct noise_cipher *receive)
{
	uint8_t first[HASH64_BYTES], second[HASH64_BYTES];

	assert(noise_done(n));
	two_keys(n->chain, NULL, 0, first, second);
	/* The first is the initiator's to send with. */
	memcpy(send->key.b, n->initiator ? first : second, KEY_BYTES);
	memcpy(receive->key.b, n->initiator ? second : first, KEY_BYTES);
	send->nonce = receive->nonce = 0;
	wipe(first, sizeof(first));
	wipe(second, sizeof(second));
}
