/* The format of a segment (FORMAT.md, "Journal").
 *
 *   header  magic[8] "POSTJRN1", u64 epoch, u64 start, salt[16], zero[8],
 *           tag[16]
 *   frame   u32 length (of what follows), ciphertext[length - 16], tag[16]
 *   ...
 *   end     u32 0, or the end of the file
 *
 * Big-endian, no padding.  A frame's place in the file follows from its lsn:
 * 64 + lsn - start.  Keys:
 *
 *   journal  what journal_open() is given
 *   segment  BLAKE2b keyed by `journal` over the first 40 bytes of the header
 *
 * Nonces under a segment's key: (low 32 bits of epoch, offset in the file);
 * the header is at offset 0 and seals nothing, it authenticates its bytes
 * before the tag.  A frame authenticates u64 lsn (of its first byte) and its
 * length field. */
#include "overlay/base/wire.h"
#include "store/journal_private.h"

#include <assert.h>
#include <stdlib.h>

#define HEADER_ID_BYTES 40u /* what the segment's key depends on */
#define HEADER_AD_BYTES (SEGMENT_HEADER_BYTES - TAG_BYTES)
#define READ_BYTES (64u << 10)

_Static_assert(HEADER_ID_BYTES + 8 + TAG_BYTES == SEGMENT_HEADER_BYTES,
    "magic, epoch, start, salt; zeros; tag");

static const uint8_t magic[8] = "POSTJRN1";

static void
header_encode(const struct segment_id *id, uint8_t out[HEADER_AD_BYTES])
{
	struct wr w;

	wr_init(&w, out, HEADER_AD_BYTES);
	wr_bytes(&w, magic, sizeof(magic));
	wr_be(&w, id->epoch, 8);
	wr_be(&w, id->start, 8);
	wr_bytes(&w, id->salt, sizeof(id->salt));
	wr_be(&w, 0, 8);
	assert(!w.bad && w.p == w.end);
}

static void
nonce_words(const struct segment_id *id, uint64_t off, uint64_t out[2])
{
	out[0] = id->epoch & UINT32_MAX;
	out[1] = off;
}

void
segment_key(
    const struct key *journal, const struct segment_id *id, struct key *out)
{
	uint8_t header[HEADER_AD_BYTES];

	header_encode(id, header);
	hash_keyed(journal, header, HEADER_ID_BYTES, out);
}

void
segment_header_write(const struct segment_id *id, const struct key *segment,
    uint8_t out[SEGMENT_HEADER_BYTES])
{
	uint64_t nonce[2];

	header_encode(id, out);
	nonce_words(id, 0, nonce);
	aead_seal(
	    segment, nonce, out, HEADER_AD_BYTES, "", 0, out + HEADER_AD_BYTES);
}

enum err
segment_header_read(const struct key *journal,
    const uint8_t header[SEGMENT_HEADER_BYTES], struct segment_id *out,
    struct key *key_out)
{
	uint8_t m[sizeof(magic)], none[1];
	struct segment_id id;
	struct key key;
	uint64_t nonce[2], zero;
	struct rd r;

	rd_init(&r, header, HEADER_AD_BYTES);
	rd_bytes(&r, m, sizeof(m));
	id.epoch = rd_be(&r, 8);
	id.start = rd_be(&r, 8);
	rd_bytes(&r, id.salt, sizeof(id.salt));
	zero = rd_be(&r, 8);
	if (!rd_done(&r) || memcmp(m, magic, sizeof(m)) || zero ||
	    id.epoch >= SEGMENT_EPOCH_END)
		return ERR_MALFORMED;
	segment_key(journal, &id, &key);
	nonce_words(&id, 0, nonce);
	if (aead_open(&key, nonce, header, HEADER_AD_BYTES,
		header + HEADER_AD_BYTES, TAG_BYTES, none)) {
		wipe(&key, sizeof(key));
		return ERR_BADSIG;
	}
	*out = id;
	*key_out = key;
	wipe(&key, sizeof(key));
	return OK;
}

static void
frame_ad(uint64_t lsn, uint32_t length, uint8_t out[12])
{
	struct wr w;

	wr_init(&w, out, 12);
	wr_be(&w, lsn, 8);
	wr_be(&w, length, 4);
}

void
frame_seal(const struct segment_id *id, const struct key *segment, uint64_t lsn,
    const void *bytes, size_t len, uint8_t *out)
{
	uint32_t length = (uint32_t)(len + TAG_BYTES);
	uint64_t nonce[2];
	uint8_t ad[12];
	struct wr w;

	assert(len <= JOURNAL_FRAME_MAX);
	nonce_words(id, segment_offset(id, lsn), nonce);
	frame_ad(lsn, length, ad);
	wr_init(&w, out, FRAME_HEAD_BYTES);
	wr_be(&w, length, FRAME_HEAD_BYTES);
	aead_seal(
	    segment, nonce, ad, sizeof(ad), bytes, len, out + FRAME_HEAD_BYTES);
}

/* ---- reading ------------------------------------------------------------ */

void
segment_reader_init(struct segment_reader *r, struct disk_file *f,
    const struct segment_id *id, const struct key *segment)
{
	*r = (struct segment_reader){
		.f = f, .id = id, .key = *segment, .lsn = id->start
	};
}

void
segment_reader_fini(struct segment_reader *r)
{
	free(r->buf);
	free(r->plain);
	wipe(&r->key, sizeof(r->key));
}

static enum err
grow(uint8_t **buf, size_t *cap, size_t want)
{
	uint8_t *grown;

	if (want <= *cap)
		return OK;
	grown = realloc(*buf, want);
	if (!grown)
		return ERR_NOMEM;
	*buf = grown;
	*cap = want;
	return OK;
}

/* Have n bytes of the file from `off` on in the buffer; ERR_ABSENT if the
 * file ends before. */
static enum err
have(struct segment_reader *r, uint64_t off, size_t n, const uint8_t **at)
{
	size_t want = n > READ_BYTES ? n : READ_BYTES;
	enum err e;

	if (off < r->at || off - r->at > r->len ||
	    r->len - (size_t)(off - r->at) < n) {
		r->len = 0; /* if the read fails */
		if ((e = grow(&r->buf, &r->cap, want)) ||
		    (e = disk_read(r->f, off, r->buf, r->cap, &r->len)))
			return e;
		r->at = off;
		if (r->len < n)
			return ERR_ABSENT;
	}
	*at = r->buf + (off - r->at);
	return OK;
}

enum err
segment_reader_next(
    struct segment_reader *r, const uint8_t **bytes, size_t *len)
{
	uint64_t off = segment_offset(r->id, r->lsn), nonce[2];
	const uint8_t *at;
	uint32_t length;
	uint8_t ad[12];
	struct rd head;
	enum err e;

	if ((e = have(r, off, FRAME_HEAD_BYTES, &at)))
		return e;
	rd_init(&head, at, FRAME_HEAD_BYTES);
	length = (uint32_t)rd_be(&head, FRAME_HEAD_BYTES);
	if (length < TAG_BYTES || length > JOURNAL_FRAME_MAX + TAG_BYTES)
		return ERR_ABSENT;
	if ((e = have(r, off, FRAME_HEAD_BYTES + length, &at)) ||
	    (e = grow(&r->plain, &r->plain_cap, length)))
		return e;
	nonce_words(r->id, off, nonce);
	frame_ad(r->lsn, length, ad);
	if (aead_open(&r->key, nonce, ad, sizeof(ad), at + FRAME_HEAD_BYTES,
		length, r->plain))
		return ERR_ABSENT;
	r->lsn += FRAME_HEAD_BYTES + length;
	*bytes = r->plain;
	*len = length - TAG_BYTES;
	return OK;
}

enum err
segment_reader_torn(struct segment_reader *r, uint64_t *bytes)
{
	uint64_t start = segment_offset(r->id, r->lsn), off = start;
	static const uint8_t end[FRAME_END_BYTES];
	const uint8_t *at;
	enum err e;

	*bytes = 0;
	e = have(r, off, FRAME_END_BYTES, &at);
	if (e && e != ERR_ABSENT)
		return e;
	if (!e && memcmp(at, end, sizeof(end)) == 0)
		return OK;
	for (;;) {
		e = have(r, off, 1, &at);
		if (e)
			return e == ERR_ABSENT ? OK : e;
		for (; off < r->at + r->len; off++, at++)
			if (*at)
				*bytes = off + 1 - start;
	}
}
