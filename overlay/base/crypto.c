#include "overlay/base/crypto.h"

#include "overlay/base/wire.h"

#include <assert.h>
#include <sodium.h>

_Static_assert(KEY_BYTES == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "");
_Static_assert(TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "");
_Static_assert(NONCE_BYTES == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "");
_Static_assert(SIGN_SECRET_BYTES == crypto_sign_SECRETKEYBYTES, "");
_Static_assert(SIGN_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES, "");
_Static_assert(SIGN_SEED_BYTES == crypto_sign_SEEDBYTES, "");
_Static_assert(SIGNATURE_BYTES == crypto_sign_BYTES, "");
_Static_assert(SALT_BYTES == crypto_pwhash_SALTBYTES, "");
_Static_assert(KEY_BYTES == crypto_scalarmult_SCALARBYTES, "");
_Static_assert(DH_PUBLIC_BYTES == crypto_scalarmult_BYTES, "");
_Static_assert(HASH64_BYTES == crypto_generichash_BYTES_MAX, "");

enum err
crypto_init(void)
{
	return sodium_init() < 0 ? ERR_UNSUPPORTED : OK;
}

void
hash_bytes(const void *bytes, size_t len, struct id *out)
{
	int bad =
	    crypto_generichash(out->b, ID_BYTES, bytes, len, NULL, 0);

	assert(!bad);
}

void
hash_keyed(
    const struct key *key, const void *bytes, size_t len, struct key *out)
{
	int bad = crypto_generichash(
	    out->b, KEY_BYTES, bytes, len, key->b, KEY_BYTES);

	assert(!bad);
}

void
key_derive(
    const struct key *from, const char *label, uint64_t number, struct key *out)
{
	uint8_t text[72];
	struct wr w;
	size_t len = strlen(label);

	assert(len <= 64);
	wr_init(&w, text, sizeof(text));
	wr_bytes(&w, label, len);
	wr_be(&w, number, 8);
	assert(!w.bad);
	hash_keyed(from, text, wr_len(&w), out);
}

static void
nonce_bytes(const uint64_t n[2], uint8_t out[NONCE_BYTES])
{
	struct wr w;

	assert(n[0] <= UINT32_MAX);
	wr_init(&w, out, NONCE_BYTES);
	wr_be(&w, n[0], 4);
	wr_be(&w, n[1], 8);
}

void
aead_seal(const struct key *key, const uint64_t nonce_words[2], const void *ad,
    size_t ad_len, const void *bytes, size_t len, uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES];
	int bad;

	nonce_bytes(nonce_words, nonce);
	bad = crypto_aead_chacha20poly1305_ietf_encrypt(
	    out, NULL, bytes, len, ad, ad_len, NULL, nonce, key->b);
	assert(!bad);
}

enum err
aead_open(const struct key *key, const uint64_t nonce_words[2], const void *ad,
    size_t ad_len, const void *bytes, size_t len, uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES];

	if (len < TAG_BYTES)
		return ERR_BADSIG;
	nonce_bytes(nonce_words, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(
		out, NULL, NULL, bytes, len, ad, ad_len, nonce, key->b))
		return ERR_BADSIG;
	return OK;
}

void
sign_key_from_seed(const uint8_t seed[SIGN_SEED_BYTES], struct sign_key *out)
{
	int bad = crypto_sign_seed_keypair(out->public, out->secret, seed);

	assert(!bad);
}

void
sign_bytes(const struct sign_key *key, const void *bytes, size_t len,
    uint8_t signature[SIGNATURE_BYTES])
{
	int bad =
	    crypto_sign_detached(signature, NULL, bytes, len, key->secret);

	assert(!bad);
}

enum err
sign_verify(const uint8_t public[SIGN_PUBLIC_BYTES], const void *bytes,
    size_t len, const uint8_t signature[SIGNATURE_BYTES])
{
	return crypto_sign_verify_detached(signature, bytes, len, public)
	    ? ERR_BADSIG
	    : OK;
}

void
dh_key_from_secret(const uint8_t secret[KEY_BYTES], struct dh_key *out)
{
	int bad;

	memmove(out->secret, secret, KEY_BYTES);
	bad = crypto_scalarmult_base(out->public, out->secret);
	assert(!bad);
}

enum err
dh_agree(const struct dh_key *own, const uint8_t public[DH_PUBLIC_BYTES],
    uint8_t out[KEY_BYTES])
{
	/* libsodium refuses the points of small order. */
	return crypto_scalarmult(out, own->secret, public) ? ERR_MALFORMED : OK;
}

/* One BLAKE2b-512 of up to three pieces. */
struct piece {
	const void *bytes;
	size_t len;
};

static void
hash64_pieces(const struct piece *piece, unsigned pieces,
    uint8_t out[HASH64_BYTES])
{
	crypto_generichash_state state;
	int bad = crypto_generichash_init(&state, NULL, 0, HASH64_BYTES);

	for (unsigned i = 0; i < pieces; i++)
		if (piece[i].len)
			bad |= crypto_generichash_update(
			    &state, piece[i].bytes, piece[i].len);
	bad |= crypto_generichash_final(&state, out, HASH64_BYTES);
	assert(!bad);
	sodium_memzero(&state, sizeof(state));
}

void
hash64_bytes(const void *a, size_t a_len, const void *b, size_t b_len,
    uint8_t out[HASH64_BYTES])
{
	const struct piece piece[] = { { a, a_len }, { b, b_len } };

	hash64_pieces(piece, 2, out);
}

#define HMAC_BLOCK 128 /* BLAKE2b's */

void
hmac64_bytes(const uint8_t *key, size_t key_len, const void *a, size_t a_len,
    const void *b, size_t b_len, uint8_t out[HASH64_BYTES])
{
	uint8_t pad[HMAC_BLOCK] = { 0 }, inner[HASH64_BYTES];
	const struct piece first[] = { { pad, HMAC_BLOCK }, { a, a_len },
		{ b, b_len } };
	const struct piece second[] = { { pad, HMAC_BLOCK },
		{ inner, HASH64_BYTES } };

	if (key_len > HMAC_BLOCK)
		hash64_bytes(key, key_len, NULL, 0, pad);
	else if (key_len)
		memcpy(pad, key, key_len);
	for (unsigned i = 0; i < HMAC_BLOCK; i++)
		pad[i] ^= 0x36;
	hash64_pieces(first, 3, inner);
	for (unsigned i = 0; i < HMAC_BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash64_pieces(second, 2, out);
	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
}

enum err
passphrase_key(const char *passphrase, size_t len,
    const uint8_t salt[SALT_BYTES], bool cheap, struct key *out)
{
	unsigned long long ops = cheap ? crypto_pwhash_OPSLIMIT_MIN
				       : crypto_pwhash_OPSLIMIT_MODERATE;
	size_t mem = cheap ? crypto_pwhash_MEMLIMIT_MIN
			   : crypto_pwhash_MEMLIMIT_MODERATE;

	return crypto_pwhash(out->b, KEY_BYTES, passphrase, len, salt, ops,
		   mem, crypto_pwhash_ALG_ARGON2ID13)
	    ? ERR_NOMEM
	    : OK;
}

void
random_bytes(void *out, size_t len)
{
	randombytes_buf(out, len);
}

void
wipe(void *bytes, size_t len)
{
	sodium_memzero(bytes, len);
}

bool
same_bytes(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}
