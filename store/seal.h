/* seal.h - a chunk of plaintext becomes a block that anyone may hold.
 *
 *   plain  --zstd (+ dictionary)-->  packed  --AEAD-->  block
 *   key = BLAKE2b-256(convergence secret, packed);  id = BLAKE2b-256(block)
 *
 * so the same plaintext under the same secret is the same block, whoever
 * seals it, and whoever holds the id can check the block and learns nothing.
 * (The key is over the packed form, so that two releases of zstd that pack
 * one plaintext differently never use one key for two texts.)
 * Bare convergent encryption lets anybody confirm a guess; hence the secret,
 * in three domains (DESIGN section 4):
 *
 *   SEAL_ORG      leaf parts of 4 KiB and more: coalesce among members
 *   SEAL_USER     headers, small bodies: coalesce in this home
 *   SEAL_PRIVATE  a random key: coalesces with nothing
 *
 * Block: u8 format (1), u8 codec, ciphertext, tag[16]; the two bytes are
 * authenticated.  Codecs: 0 as it is; 1 zstd level 3 with dictionary 1 (plain
 * up to 32 KiB); 2 zstd level 3 without.  A codec is chosen by rules on the
 * plaintext alone, so that sealing is a function.  See FORMAT.md, "Blocks".
 *
 * Threads: a sealer may be used by any number at once (it keeps a pool of
 * compression contexts). */
#ifndef POST_STORE_SEAL_H
#define POST_STORE_SEAL_H

#include "overlay/base/crypto.h"
#include "overlay/base/id.h"

#define SEAL_PLAIN_MAX (512u << 10) /* bytes of plaintext in one block */
#define SEAL_OVERHEAD (2 + TAG_BYTES)
#define SEAL_DICT_MAX (32u << 10) /* plaintext that takes the dictionary */

enum seal_domain { SEAL_ORG, SEAL_USER, SEAL_PRIVATE, SEAL_DOMAINS };

/* What a reader needs to get a block and open it. */
struct block_ref {
	struct id id;
	struct key key;
	uint32_t plain_len;
};

struct sealer;

/* secrets[SEAL_ORG], secrets[SEAL_USER]; copied, wiped at free. */
enum err sealer_new(const struct key secrets[2], struct sealer **out) MUST_CHECK;
void sealer_free(struct sealer *s); /* NULL is allowed */

/* Seal len (1..SEAL_PLAIN_MAX) bytes.  out has room for len + SEAL_OVERHEAD,
 * which is the longest a block gets; *out_len is its length. */
enum err seal_block(struct sealer *s, enum seal_domain domain,
    const void *plain, size_t len, uint8_t *out, size_t *out_len,
    struct block_ref *ref) MUST_CHECK;

/* Seal under a given single-use key (log batches). */
enum err seal_with_key(struct sealer *s, const struct key *key,
    const void *plain, size_t len, uint8_t *out, size_t *out_len,
    struct id *id) MUST_CHECK;

/* Open a block to plain[ref->plain_len].  ERR_BADSIG: key or bytes are wrong.
 * ERR_MALFORMED: authentic but not what ref says.  ERR_NEWER: unknown format
 * or codec. */
enum err seal_open(struct sealer *s, const struct block_ref *ref,
    const void *block, size_t len, void *plain) MUST_CHECK;

/* As seal_open() when only the key is known; *plain is the caller's to free;
 * at most SEAL_PLAIN_MAX bytes. */
enum err seal_open_key(struct sealer *s, const struct key *key,
    const void *block, size_t len, uint8_t **plain,
    size_t *plain_len) MUST_CHECK;

#endif
