/* ulog_head.c - the signed tip of a log.
 *
 *   head     u8 version (1)
 *            user[32]
 *            device_public[32]: the device's id is its hash, so it is not said
 *            varint sequence (1..), varint record_sequence, varint lamport
 *            i64 time_ns, big-endian
 *            u8 flags: bit 0 batch, 1 snapshot
 *            [batch] id[32], varint batch_first (1..record_sequence)
 *            [snapshot] id[32], varint snapshot_of (<= record_sequence),
 *              varint parts (1..)
 *            varint length, recent
 *            signature[64] under device_public, over the label "post log
 *            head" with its NUL and everything before the signature
 *
 * At most ULOG_HEAD_MAX bytes, nothing after.  The label keeps a signature
 * from meaning anything elsewhere. */
#include "store/ulog.h"

#include "overlay/base/wire.h"

#include <assert.h>

#define VERSION 1
#define FLAG_BATCH 1u
#define FLAG_SNAPSHOT 2u

static const char label[] = "post log head";

struct signed_text {
	uint8_t bytes[sizeof(label) + ULOG_HEAD_MAX];
	size_t len;
};

static void
signed_text(const uint8_t *bytes, size_t len, struct signed_text *out)
{
	assert(len <= ULOG_HEAD_MAX);
	memcpy(out->bytes, label, sizeof(label));
	memcpy(out->bytes + sizeof(label), bytes, len);
	out->len = sizeof(label) + len;
}

enum err
ulog_head_encode(const struct ulog_head *h, const struct sign_key *device_key,
    uint8_t *buf, size_t cap, size_t *len)
{
	struct signed_text text;
	uint8_t *signature;
	struct wr w;

	assert(h->sequence > 0);
	assert(!h->has_batch ||
	    (h->batch_first > 0 && h->batch_first <= h->record_sequence));
	assert(!h->has_snapshot ||
	    (h->snapshot_parts > 0 && h->snapshot_of <= h->record_sequence));
	wr_init(&w, buf, cap < ULOG_HEAD_MAX ? cap : ULOG_HEAD_MAX);
	wr_be(&w, VERSION, 1);
	wr_bytes(&w, h->user.b, ID_BYTES);
	wr_bytes(&w, device_key->public, SIGN_PUBLIC_BYTES);
	wr_varint(&w, h->sequence);
	wr_varint(&w, h->record_sequence);
	wr_varint(&w, h->lamport);
	wr_be(&w, (uint64_t)h->time_ns, 8);
	wr_be(&w,
	    (h->has_batch ? FLAG_BATCH : 0) |
		(h->has_snapshot ? FLAG_SNAPSHOT : 0),
	    1);
	if (h->has_batch) {
		wr_bytes(&w, h->batch.b, ID_BYTES);
		wr_varint(&w, h->batch_first);
	}
	if (h->has_snapshot) {
		wr_bytes(&w, h->snapshot.b, ID_BYTES);
		wr_varint(&w, h->snapshot_of);
		wr_varint(&w, h->snapshot_parts);
	}
	wr_varint(&w, h->recent_len);
	wr_bytes(&w, h->recent, h->recent_len);
	signature = wr_take(&w, SIGNATURE_BYTES);
	if (!signature)
		return ERR_RANGE;
	signed_text(buf, (size_t)(signature - buf), &text);
	sign_bytes(device_key, text.bytes, text.len, signature);
	*len = wr_len(&w);
	return OK;
}

enum err
ulog_head_decode(const uint8_t *bytes, size_t len, struct ulog_head *out)
{
	const uint8_t *signature;
	struct signed_text text;
	struct ulog_head h;
	uint64_t flags, parts;
	struct rd rd;

	memset(&h, 0, sizeof(h));
	if (len > ULOG_HEAD_MAX)
		return ERR_MALFORMED;
	rd_init(&rd, bytes, len);
	if (rd_be(&rd, 1) != VERSION)
		return rd.bad || bytes[0] == 0 ? ERR_MALFORMED : ERR_NEWER;
	rd_bytes(&rd, h.user.b, ID_BYTES);
	rd_bytes(&rd, h.device_public, SIGN_PUBLIC_BYTES);
	h.sequence = rd_varint(&rd);
	h.record_sequence = rd_varint(&rd);
	h.lamport = rd_varint(&rd);
	h.time_ns = (int64_t)rd_be(&rd, 8);
	flags = rd_be(&rd, 1);
	if (h.sequence == 0 || flags > (FLAG_BATCH | FLAG_SNAPSHOT))
		return ERR_MALFORMED;
	h.has_batch = flags & FLAG_BATCH;
	h.has_snapshot = flags & FLAG_SNAPSHOT;
	if (h.has_batch) {
		rd_bytes(&rd, h.batch.b, ID_BYTES);
		h.batch_first = rd_varint(&rd);
		if (h.batch_first == 0 || h.batch_first > h.record_sequence)
			return ERR_MALFORMED;
	}
	if (h.has_snapshot) {
		rd_bytes(&rd, h.snapshot.b, ID_BYTES);
		h.snapshot_of = rd_varint(&rd);
		parts = rd_varint(&rd);
		if (h.snapshot_of > h.record_sequence || parts == 0 ||
		    parts > UINT32_MAX)
			return ERR_MALFORMED;
		h.snapshot_parts = (uint32_t)parts;
	}
	h.recent_len = rd_varint(&rd);
	h.recent = rd_take(&rd, h.recent_len);
	signature = rd_take(&rd, SIGNATURE_BYTES);
	if (!rd_done(&rd))
		return ERR_MALFORMED;
	signed_text(bytes, len - SIGNATURE_BYTES, &text);
	if (sign_verify(h.device_public, text.bytes, text.len, signature))
		return ERR_BADSIG;
	hash_bytes(h.device_public, SIGN_PUBLIC_BYTES, &h.device);
	*out = h;
	return OK;
}

void
ulog_recent_key(
    const struct key *log_key, uint64_t head_sequence, struct key *out)
{
	key_derive(log_key, "post log recent", head_sequence, out);
}
