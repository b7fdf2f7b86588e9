/* crypto.h - every cryptographic primitive the program uses; the only
 * includer of sodium.h.
 *
 *   hashing     BLAKE2b-256, keyed where a domain or secret is meant
 *   sealing     ChaCha20-Poly1305 (RFC 8439), 16-byte tag
 *   signing     Ed25519 (RFC 8032)
 *   agreement   X25519 (RFC 7748)
 *   passphrase  Argon2id
 *
 * crypto_init() must have returned OK once before anything else is called.
 * Every function may be called from any thread. */
#ifndef POST_BASE_CRYPTO_H
#define POST_BASE_CRYPTO_H

#include "overlay/base/id.h"
#include "overlay/base/outcome.h"

#include <stdbool.h>
#include <stdint.h>

#define KEY_BYTES 32	  /* of every symmetric key and secret */
#define TAG_BYTES 16	  /* what sealing adds */
#define NONCE_BYTES 12	  /* RFC 8439 */
#define SIGN_PUBLIC_BYTES 32
#define SIGN_SECRET_BYTES 64 /* libsodium's form: seed, then public key */
#define SIGN_SEED_BYTES 32
#define SIGNATURE_BYTES 64
#define SALT_BYTES 16

struct key {
	uint8_t b[KEY_BYTES];
};

enum err crypto_init(void) MUST_CHECK;

/* BLAKE2b-256 of len bytes. */
void hash_bytes(const void *bytes, size_t len, struct id *out);

/* BLAKE2b-256 keyed by `key` over len bytes; for keys and fingerprints. */
void hash_keyed(
    const struct key *key, const void *bytes, size_t len, struct key *out);

/* A key for one purpose out of another: BLAKE2b keyed by `from` over the
 * label's bytes, then `number` big-endian.  Labels are part of the format. */
void key_derive(
    const struct key *from, const char *label, uint64_t number, struct key *out);

/* Encrypt len bytes to out[len + TAG_BYTES] (in place is allowed).  A pair of
 * key and nonce is used once only: either the key is single-use (convergent)
 * and the nonce 0, or the caller counts.  The nonce is its first 4 bytes (at
 * most UINT32_MAX) and its last 8, as numbers.  `ad` is authenticated only. */
void aead_seal(const struct key *key, const uint64_t nonce[2],
    const void *ad, size_t ad_len, const void *bytes, size_t len, uint8_t *out);

/* The reverse: len includes the tag, out gets len - TAG_BYTES bytes.
 * ERR_BADSIG: out holds nothing of use. */
enum err aead_open(const struct key *key, const uint64_t nonce[2],
    const void *ad, size_t ad_len, const void *bytes, size_t len,
    uint8_t *out) MUST_CHECK;

struct sign_key {
	uint8_t secret[SIGN_SECRET_BYTES];
	uint8_t public[SIGN_PUBLIC_BYTES];
};

void sign_key_from_seed(
    const uint8_t seed[SIGN_SEED_BYTES], struct sign_key *out);
void sign_bytes(const struct sign_key *key, const void *bytes, size_t len,
    uint8_t signature[SIGNATURE_BYTES]);
enum err sign_verify(const uint8_t public[SIGN_PUBLIC_BYTES],
    const void *bytes, size_t len,
    const uint8_t signature[SIGNATURE_BYTES]) MUST_CHECK;

#define DH_PUBLIC_BYTES 32

struct dh_key {
	uint8_t secret[KEY_BYTES];
	uint8_t public[DH_PUBLIC_BYTES];
};

/* Any 32 bytes of chance are a secret. */
void dh_key_from_secret(const uint8_t secret[KEY_BYTES], struct dh_key *out);
/* ERR_MALFORMED: the public key is one of the few that give all zeros. */
enum err dh_agree(const struct dh_key *own,
    const uint8_t public[DH_PUBLIC_BYTES], uint8_t out[KEY_BYTES]) MUST_CHECK;

#define HASH64_BYTES 64 /* BLAKE2b-512, as Noise wants it */

/* BLAKE2b-512 of a and then b; and HMAC of that hash (RFC 2104), over a, b. */
void hash64_bytes(const void *a, size_t a_len, const void *b, size_t b_len,
    uint8_t out[HASH64_BYTES]);
void hmac64_bytes(const uint8_t *key, size_t key_len, const void *a,
    size_t a_len, const void *b, size_t b_len, uint8_t out[HASH64_BYTES]);

/* Argon2id, libsodium's MODERATE limits (about 0.7 s and 256 MiB), or, with
 * `cheap`, its MIN limits, for tests.  ERR_NOMEM when memory is not to be
 * had. */
enum err passphrase_key(const char *passphrase, size_t len,
    const uint8_t salt[SALT_BYTES], bool cheap, struct key *out) MUST_CHECK;

/* Real chance from the kernel: for keys, salts and seeds only.  Whatever
 * decides takes its chance from a seeded generator (rng.h). */
void random_bytes(void *out, size_t len);

/* Overwrite so that the compiler may not leave it out. */
void wipe(void *bytes, size_t len);

/* Constant time. */
bool same_bytes(const void *a, const void *b, size_t len);

#endif
