#include "store/seal.h"

#include "store/dictionary.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

/* Block (format 1): u8 format = 1, u8 codec, ciphertext, tag[16].
 *
 * What is encrypted is the packed form: the plaintext (codec 0), or one zstd
 * frame without magic number, checksum and dictionary id but with the content
 * size (codecs 1 and 2), which is shorter than the plaintext.  A plaintext of
 * up to SEAL_DICT_MAX bytes is packed with codec 1, a longer one with codec 2,
 * and either kind with codec 0 where that does not shrink it.
 *
 * The key is BLAKE2b-256, keyed by the domain's secret, over format, codec
 * and packed form.  Not over the plaintext, though that would name the same
 * thing: two releases of zstd may pack one plaintext in two ways, and then
 * one key would encrypt two texts under one nonce.  This way they are two
 * blocks that do not coalesce, and nothing worse.  It is also less to hash.
 *
 * Nonce 0 (each key encrypts one text); the first two bytes are the
 * associated data; id = BLAKE2b-256 of it all. */
#define FORMAT 1
#define HEADER 2

enum codec { CODEC_PLAIN, CODEC_DICTIONARY, CODEC_ZSTD };

_Static_assert(SEAL_OVERHEAD == HEADER + TAG_BYTES, "");

/* zstd's level 3 for inputs of these sizes, written out, since what a level
 * means changes from release to release.  Format. */
static const ZSTD_compressionParameters params_dictionary = {
	.windowLog = 19,
	.chainLog = 16,
	.hashLog = 17,
	.searchLog = 1,
	.minMatch = 5,
	.targetLength = 0,
	.strategy = ZSTD_dfast,
};
static const ZSTD_compressionParameters params_zstd = {
	.windowLog = 19,
	.chainLog = 16,
	.hashLog = 17,
	.searchLog = 1,
	.minMatch = 5,
	.targetLength = 0,
	.strategy = ZSTD_dfast,
};

/* What one call needs; the parts are made when first needed. */
struct context {
	struct context *next;
	ZSTD_CCtx *dictionary, *zstd;
	ZSTD_DCtx *open_dictionary, *open_zstd;
	uint8_t *scratch;
	size_t cap;
};

struct sealer {
	struct key secret[2];
	void *cdict_room; /* which cdict is in */
	const ZSTD_CDict *cdict;
	ZSTD_DDict *ddict;
	pthread_mutex_t lock; /* guards idle */
	struct context *idle;
};

/* ---- contexts ----------------------------------------------------------- */

static void
context_free(struct context *x)
{
	if (!x)
		return;
	ZSTD_freeCCtx(x->dictionary);
	ZSTD_freeCCtx(x->zstd);
	ZSTD_freeDCtx(x->open_dictionary);
	ZSTD_freeDCtx(x->open_zstd);
	free(x->scratch);
	free(x);
}

static struct context *
context_take(struct sealer *s)
{
	struct context *x;

	pthread_mutex_lock(&s->lock);
	x = s->idle;
	if (x)
		s->idle = x->next;
	pthread_mutex_unlock(&s->lock);
	return x ? x : calloc(1, sizeof(*x));
}

static void
context_give(struct sealer *s, struct context *x)
{
	pthread_mutex_lock(&s->lock);
	x->next = s->idle;
	s->idle = x;
	pthread_mutex_unlock(&s->lock);
}

static enum err
scratch_reserve(struct context *x, size_t len)
{
	uint8_t *more;

	if (len <= x->cap)
		return OK;
	more = malloc(len);
	if (!more)
		return ERR_NOMEM;
	free(x->scratch);
	x->scratch = more;
	x->cap = len;
	return OK;
}

static bool
set_params(ZSTD_CCtx *c, const ZSTD_compressionParameters *p)
{
	const struct {
		ZSTD_cParameter name;
		int value;
	} all[] = {
		{ ZSTD_c_format, ZSTD_f_zstd1_magicless },
		{ ZSTD_c_contentSizeFlag, 1 },
		{ ZSTD_c_checksumFlag, 0 },
		{ ZSTD_c_dictIDFlag, 0 },
		{ ZSTD_c_windowLog, (int)p->windowLog },
		{ ZSTD_c_chainLog, (int)p->chainLog },
		{ ZSTD_c_hashLog, (int)p->hashLog },
		{ ZSTD_c_searchLog, (int)p->searchLog },
		{ ZSTD_c_minMatch, (int)p->minMatch },
		{ ZSTD_c_targetLength, (int)p->targetLength },
		{ ZSTD_c_strategy, (int)p->strategy },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (ZSTD_isError(
			ZSTD_CCtx_setParameter(c, all[i].name, all[i].value)))
			return false;
	return true;
}

static enum err
packer(struct sealer *s, struct context *x, enum codec codec, ZSTD_CCtx **out)
{
	ZSTD_CCtx **slot =
	    codec == CODEC_DICTIONARY ? &x->dictionary : &x->zstd;
	ZSTD_CCtx *c = *slot;

	if (!c) {
		c = ZSTD_createCCtx();
		if (!c ||
		    !set_params(c, codec == CODEC_DICTIONARY
				       ? &params_dictionary
				       : &params_zstd) ||
		    (codec == CODEC_DICTIONARY &&
			(ZSTD_isError(ZSTD_CCtx_setParameter(c,
			     ZSTD_c_forceAttachDict, ZSTD_dictForceAttach)) ||
			    ZSTD_isError(ZSTD_CCtx_refCDict(c, s->cdict))))) {
			ZSTD_freeCCtx(c);
			return ERR_NOMEM;
		}
		*slot = c;
	}
	*out = c;
	return OK;
}

static enum err
unpacker(struct sealer *s, struct context *x, enum codec codec, ZSTD_DCtx **out)
{
	ZSTD_DCtx **slot =
	    codec == CODEC_DICTIONARY ? &x->open_dictionary : &x->open_zstd;
	ZSTD_DCtx *d = *slot;

	if (!d) {
		d = ZSTD_createDCtx();
		if (!d ||
		    ZSTD_isError(ZSTD_DCtx_setParameter(
			d, ZSTD_d_format, ZSTD_f_zstd1_magicless)) ||
		    (codec == CODEC_DICTIONARY &&
			ZSTD_isError(ZSTD_DCtx_refDDict(d, s->ddict)))) {
			ZSTD_freeDCtx(d);
			return ERR_NOMEM;
		}
		*slot = d;
	}
	*out = d;
	return OK;
}

/* ---- the sealer --------------------------------------------------------- */

enum err
sealer_new(const struct key secrets[2], struct sealer **out)
{
	struct sealer *s = calloc(1, sizeof(*s));
	const size_t len = dictionary_1_len();
	size_t room;

	if (!s)
		return ERR_NOMEM;
	if (pthread_mutex_init(&s->lock, NULL)) {
		free(s);
		return ERR_NOMEM;
	}
	s->secret[SEAL_ORG] = secrets[SEAL_ORG];
	s->secret[SEAL_USER] = secrets[SEAL_USER];
	/* In room of ours, since zstd 1.5.4 dies when it can not get its own. */
	room = ZSTD_estimateCDictSize_advanced(
	    len, params_dictionary, ZSTD_dlm_byRef);
	s->cdict_room = malloc(room);
	if (s->cdict_room)
		s->cdict =
		    ZSTD_initStaticCDict(s->cdict_room, room, dictionary_1, len,
			ZSTD_dlm_byRef, ZSTD_dct_fullDict, params_dictionary);
	s->ddict = ZSTD_createDDict_byReference(dictionary_1, len);
	if (!s->cdict || !s->ddict) {
		sealer_free(s);
		return ERR_NOMEM;
	}
	*out = s;
	return OK;
}

void
sealer_free(struct sealer *s)
{
	struct context *next;

	if (!s)
		return;
	for (struct context *x = s->idle; x; x = next) {
		next = x->next;
		context_free(x);
	}
	free(s->cdict_room);
	ZSTD_freeDDict(s->ddict);
	pthread_mutex_destroy(&s->lock);
	wipe(s->secret, sizeof(s->secret));
	free(s);
}

/* ---- sealing ------------------------------------------------------------ */

/* Header and packed form to out; *packed is the length of both. */
static enum err
pack(struct sealer *s, const void *plain, size_t len, uint8_t *out,
    size_t *packed)
{
	enum codec codec = len <= SEAL_DICT_MAX ? CODEC_DICTIONARY : CODEC_ZSTD;
	struct context *x = context_take(s);
	ZSTD_CCtx *c;
	size_t n;
	enum err e;

	if (!x)
		return ERR_NOMEM;
	if ((e = packer(s, x, codec, &c)))
		goto out;
	/* room for less than the plaintext: what does not shrink fails */
	n = ZSTD_compress2(c, out + HEADER, len - 1, plain, len);
	if (ZSTD_isError(n)) {
		if (ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall) {
			/* what a failure leaves in there we do not know */
			context_free(x);
			return ERR_NOMEM;
		}
		codec = CODEC_PLAIN;
		n = len;
		memcpy(out + HEADER, plain, len);
	}
	out[0] = FORMAT;
	out[1] = (uint8_t)codec;
	*packed = HEADER + n;
out:
	context_give(s, x);
	return e;
}

static void
encrypt(const struct key *key, uint8_t *out, size_t packed, size_t *out_len,
    struct id *id)
{
	const uint64_t nonce[2] = { 0, 0 };

	aead_seal(key, nonce, out, HEADER, out + HEADER, packed - HEADER,
	    out + HEADER);
	*out_len = packed + TAG_BYTES;
	hash_bytes(out, *out_len, id);
}

enum err
seal_block(struct sealer *s, enum seal_domain domain, const void *plain,
    size_t len, uint8_t *out, size_t *out_len, struct block_ref *ref)
{
	size_t packed;
	enum err e;

	assert(len >= 1 && len <= SEAL_PLAIN_MAX && domain < SEAL_DOMAINS);
	if ((e = pack(s, plain, len, out, &packed)))
		return e;
	if (domain == SEAL_PRIVATE)
		random_bytes(ref->key.b, KEY_BYTES);
	else
		hash_keyed(&s->secret[domain], out, packed, &ref->key);
	ref->plain_len = (uint32_t)len;
	encrypt(&ref->key, out, packed, out_len, &ref->id);
	return OK;
}

enum err
seal_with_key(struct sealer *s, const struct key *key, const void *plain,
    size_t len, uint8_t *out, size_t *out_len, struct id *id)
{
	size_t packed;
	enum err e;

	assert(len >= 1 && len <= SEAL_PLAIN_MAX);
	if ((e = pack(s, plain, len, out, &packed)))
		return e;
	encrypt(key, out, packed, out_len, id);
	return OK;
}

/* ---- opening ------------------------------------------------------------ */

/* Authenticate and decrypt to out, which has room for len - SEAL_OVERHEAD. */
static enum err
decrypt(const struct key *key, const uint8_t *block, size_t len, uint8_t *out)
{
	const uint64_t nonce[2] = { 0, 0 };
	enum err e;

	if (len < SEAL_OVERHEAD)
		return ERR_BADSIG;
	if (block[0] != FORMAT)
		return ERR_NEWER;
	e = aead_open(
	    key, nonce, block, HEADER, block + HEADER, len - HEADER, out);
	if (!e && block[1] > CODEC_ZSTD)
		return ERR_NEWER; /* and truly so: it is authentic */
	return e;
}

/* Is a packed form of n bytes under this codec what we would have made of
 * len bytes, as far as lengths tell? */
static bool
lengths_fit(enum codec codec, size_t n, uint64_t len)
{
	if (len < 1 || len > SEAL_PLAIN_MAX)
		return false;
	if (codec == CODEC_PLAIN)
		return n == len;
	return n < len && (codec == CODEC_DICTIONARY) == (len <= SEAL_DICT_MAX);
}

static enum err
unpack(struct sealer *s, struct context *x, enum codec codec,
    const uint8_t *packed, size_t n, uint8_t *plain, size_t len)
{
	ZSTD_frameHeader frame;
	ZSTD_DCtx *d;
	enum err e;

	if (codec == CODEC_PLAIN) {
		memcpy(plain, packed, len);
		return OK;
	}
	if ((e = unpacker(s, x, codec, &d)))
		return e;
	/* a frame that says its size, and makes so much */
	if (ZSTD_getFrameHeader_advanced(
		&frame, packed, n, ZSTD_f_zstd1_magicless) ||
	    frame.frameContentSize != len || frame.checksumFlag ||
	    frame.dictID ||
	    ZSTD_decompressDCtx(d, plain, len, packed, n) != len)
		return ERR_MALFORMED;
	return OK;
}

enum err
seal_open(struct sealer *s, const struct block_ref *ref, const void *block,
    size_t len, void *plain)
{
	const uint8_t *b = block;
	size_t n = len - SEAL_OVERHEAD;
	struct context *x;
	enum err e;

	if (ref->plain_len < 1 || ref->plain_len > SEAL_PLAIN_MAX)
		return ERR_MALFORMED;
	if (len < SEAL_OVERHEAD)
		return ERR_BADSIG;
	if (n > SEAL_PLAIN_MAX)
		return ERR_MALFORMED; /* no block is so long */
	if (b[1] == CODEC_PLAIN && n == ref->plain_len)
		return decrypt(&ref->key, b, len, plain);
	x = context_take(s);
	if (!x)
		return ERR_NOMEM;
	if (!(e = scratch_reserve(x, n + !n)) &&
	    !(e = decrypt(&ref->key, b, len, x->scratch)))
		e = lengths_fit(b[1], n, ref->plain_len)
			? unpack(
			      s, x, b[1], x->scratch, n, plain, ref->plain_len)
			: ERR_MALFORMED;
	context_give(s, x);
	return e;
}

enum err
seal_open_key(struct sealer *s, const struct key *key, const void *block,
    size_t len, uint8_t **plain, size_t *plain_len)
{
	const uint8_t *b = block;
	size_t n = len - SEAL_OVERHEAD;
	ZSTD_frameHeader frame;
	struct context *x;
	uint64_t want;
	uint8_t *out = NULL;
	enum err e;

	if (len < SEAL_OVERHEAD)
		return ERR_BADSIG;
	if (n > SEAL_PLAIN_MAX)
		return ERR_MALFORMED;
	x = context_take(s);
	if (!x)
		return ERR_NOMEM;
	if ((e = scratch_reserve(x, n + !n)) ||
	    (e = decrypt(key, b, len, x->scratch)))
		goto out;
	e = ERR_MALFORMED;
	want = n;
	if (b[1] != CODEC_PLAIN) {
		if (ZSTD_getFrameHeader_advanced(
			&frame, x->scratch, n, ZSTD_f_zstd1_magicless))
			goto out;
		want = frame.frameContentSize; /* unknown: very large */
	}
	if (!lengths_fit(b[1], n, want))
		goto out;
	out = malloc(want);
	e = out ? unpack(s, x, b[1], x->scratch, n, out, want) : ERR_NOMEM;
out:
	context_give(s, x);
	if (e) {
		free(out);
		return e;
	}
	*plain = out;
	*plain_len = want;
	return OK;
}
