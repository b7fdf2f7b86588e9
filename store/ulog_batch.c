/* ulog_batch.c - records of a log, put together to become a block.
 *
 *   batch    u8 version (1), u8 flags: bit 0 snapshot, 1 its last part
 *            device[32]
 *            varint first_sequence (1..)
 *            [snapshot] varint part, varint snapshot_of
 *            u8 backs (<= 8), times { id[32],
 *              varint first_sequence of the one before it in this list (of
 *              this batch, for the first) - its first_sequence - 1 }
 *            u8 devices beyond the log's own (<= 63), times id[32], no device
 *            twice
 *            varint records (1..; 0 only in a snapshot), the records
 *
 * At most ULOG_BATCH_MAX bytes.  Stamps increase strictly, except in a
 * snapshot, whose records keep their old ones.
 *
 * Header and records are built in one buffer, the records where they will
 * stay and the header, whose length depends on how many they become, ending
 * where they begin. */
#include "store/ulog.h"

#include "overlay/base/wire.h"

#include <assert.h>
#include <stdlib.h>

#define VERSION 1
#define FLAG_SNAPSHOT 1u
#define FLAG_LAST 2u
#define HEADER_MAX                                                             \
	(2 + ID_BYTES + VARINT_MAX * 3 + 1 +                                   \
	    ULOG_BACK_MAX * (ID_BYTES + VARINT_MAX) + 1 +                      \
	    (ULOG_DEVICES_MAX - 1) * ID_BYTES + VARINT_MAX)
#define FIRST_ALLOC 4096u

_Static_assert(HEADER_MAX + ULOG_RECORD_MAX <= ULOG_BATCH_MAX,
    "any one record fits an empty batch");

struct ulog_batch {
	struct ulog_batch_info info;
	struct ulog_prev prev;
	uint8_t *buf; /* HEADER_MAX bytes of room, then the records */
	size_t len, cap;
};

static bool
table_ok(const struct ulog_batch_info *info)
{
	if (!id_eq(&info->device_table[0], &info->device))
		return false;
	for (unsigned i = 0; i < info->devices; i++)
		for (unsigned j = 0; j < i; j++)
			if (id_eq(&info->device_table[i],
				&info->device_table[j]))
				return false;
	return true;
}

static bool
backs_ok(const struct ulog_batch_info *info)
{
	uint64_t before = info->first_sequence;

	for (unsigned i = 0; i < info->backs; i++) {
		if (info->back[i].first_sequence == 0 ||
		    info->back[i].first_sequence >= before)
			return false;
		before = info->back[i].first_sequence;
	}
	return true;
}

enum err
ulog_batch_new(const struct ulog_batch_info *info, struct ulog_batch **out)
{
	struct ulog_batch *b;

	assert(info->first_sequence > 0 && info->backs <= ULOG_BACK_MAX);
	assert(info->devices > 0 && info->devices <= ULOG_DEVICES_MAX);
	assert(table_ok(info) && backs_ok(info));
	assert(info->snapshot || !info->snapshot_last);
	b = calloc(1, sizeof(*b));
	if (!b)
		return ERR_NOMEM;
	b->cap = FIRST_ALLOC;
	b->buf = malloc(b->cap);
	if (!b->buf) {
		free(b);
		return ERR_NOMEM;
	}
	b->info = *info;
	b->info.records = 0;
	b->len = HEADER_MAX;
	*out = b;
	return OK;
}

static void
assert_addable(const struct ulog_batch *b, const struct ulog_record *r)
{
	unsigned n = b->info.devices;

	assert(r->object.device < n);
	if (r->op != ULOG_CONTENT && r->op != ULOG_SETATTR &&
	    r->op != ULOG_XATTR)
		assert(r->dir.device < n);
	if (r->op == ULOG_RENAME || r->op == ULOG_EXCHANGE)
		assert(r->to_dir.device < n &&
		    (!r->has_over || r->over.device < n));
	assert(b->info.snapshot || b->info.records == 0 ||
	    r->lamport > b->prev.lamport);
}

enum err
ulog_batch_add(struct ulog_batch *b, const struct ulog_record *r)
{
	size_t len, cap;
	uint8_t *buf;
	enum err e;

	assert_addable(b, r);
	assert(b->info.first_sequence <= UINT64_MAX - b->info.records - 1);
	while ((e = ulog_record_encode(r, &b->prev, b->buf + b->len,
		    b->cap - b->len, &len)) == ERR_RANGE) {
		if (b->cap >= ULOG_BATCH_MAX)
			return ERR_RANGE;
		cap = b->cap * 2 < ULOG_BATCH_MAX ? b->cap * 2
						  : ULOG_BATCH_MAX;
		buf = realloc(b->buf, cap);
		if (!buf)
			return ERR_NOMEM;
		b->buf = buf;
		b->cap = cap;
	}
	if (e)
		return e;
	b->len += len;
	b->info.records++;
	return OK;
}

void
ulog_batch_last(struct ulog_batch *b)
{
	assert(b->info.snapshot);
	b->info.snapshot_last = true;
}

enum err
ulog_batch_bytes(struct ulog_batch *b, const uint8_t **bytes, size_t *len)
{
	const struct ulog_batch_info *i = &b->info;
	uint64_t before = i->first_sequence;
	uint8_t header[HEADER_MAX];
	struct wr w;

	if (i->records == 0 && !i->snapshot)
		return ERR_INVALID;
	wr_init(&w, header, sizeof(header));
	wr_be(&w, VERSION, 1);
	wr_be(&w,
	    (i->snapshot ? FLAG_SNAPSHOT : 0) |
		(i->snapshot_last ? FLAG_LAST : 0),
	    1);
	wr_bytes(&w, i->device.b, ID_BYTES);
	wr_varint(&w, i->first_sequence);
	if (i->snapshot) {
		wr_varint(&w, i->snapshot_part);
		wr_varint(&w, i->snapshot_of);
	}
	wr_be(&w, i->backs, 1);
	for (unsigned k = 0; k < i->backs; k++) {
		wr_bytes(&w, i->back[k].id.b, ID_BYTES);
		wr_varint(&w, before - i->back[k].first_sequence - 1);
		before = i->back[k].first_sequence;
	}
	wr_be(&w, i->devices - 1, 1);
	for (unsigned k = 1; k < i->devices; k++)
		wr_bytes(&w, i->device_table[k].b, ID_BYTES);
	wr_varint(&w, i->records);
	assert(!w.bad);

	memcpy(b->buf + HEADER_MAX - wr_len(&w), header, wr_len(&w));
	*bytes = b->buf + HEADER_MAX - wr_len(&w);
	*len = b->len - HEADER_MAX + wr_len(&w);
	return OK;
}

void
ulog_batch_free(struct ulog_batch *b)
{
	if (!b)
		return;
	free(b->buf);
	free(b);
}

enum err
ulog_reader_init(struct ulog_reader *r, const uint8_t *bytes, size_t len)
{
	struct ulog_batch_info *i = &r->info;
	uint64_t before, flags, part, records;
	struct rd rd;

	memset(r, 0, sizeof(*r));
	if (len > ULOG_BATCH_MAX)
		return ERR_MALFORMED;
	rd_init(&rd, bytes, len);
	if (rd_be(&rd, 1) != VERSION)
		return rd.bad || bytes[0] == 0 ? ERR_MALFORMED : ERR_NEWER;
	flags = rd_be(&rd, 1);
	rd_bytes(&rd, i->device.b, ID_BYTES);
	i->first_sequence = rd_varint(&rd);
	i->snapshot = flags & FLAG_SNAPSHOT;
	i->snapshot_last = flags & FLAG_LAST;
	if (flags > (FLAG_SNAPSHOT | FLAG_LAST) || i->first_sequence == 0 ||
	    (i->snapshot_last && !i->snapshot))
		return ERR_MALFORMED;
	if (i->snapshot) {
		part = rd_varint(&rd);
		if (part > UINT32_MAX)
			return ERR_MALFORMED;
		i->snapshot_part = (uint32_t)part;
		i->snapshot_of = rd_varint(&rd);
	}
	i->backs = (unsigned)rd_be(&rd, 1);
	if (i->backs > ULOG_BACK_MAX)
		return ERR_MALFORMED;
	before = i->first_sequence;
	for (unsigned k = 0; k < i->backs; k++) {
		uint64_t gap;

		rd_bytes(&rd, i->back[k].id.b, ID_BYTES);
		gap = rd_varint(&rd);
		if (rd.bad || gap >= before - 1)
			return ERR_MALFORMED; /* it would be 0 or less */
		before -= gap + 1;
		i->back[k].first_sequence = before;
	}
	i->devices = (unsigned)rd_be(&rd, 1) + 1;
	if (rd.bad || i->devices > ULOG_DEVICES_MAX)
		return ERR_MALFORMED;
	i->device_table[0] = i->device;
	for (unsigned k = 1; k < i->devices; k++)
		rd_bytes(&rd, i->device_table[k].b, ID_BYTES);
	records = rd_varint(&rd);
	if (rd.bad || !table_ok(i) || records > rd_left(&rd) ||
	    (records == 0 && (!i->snapshot || rd_left(&rd))) ||
	    i->first_sequence > UINT64_MAX - records)
		return ERR_MALFORMED;
	i->records = r->left = (uint32_t)records;
	r->p = rd.p;
	r->end = rd.end;
	r->sequence = i->first_sequence;
	return OK;
}

enum err
ulog_reader_next(struct ulog_reader *r, struct ulog_record *out)
{
	struct ulog_prev prev = r->prev;
	struct ulog_record got;
	unsigned n = r->info.devices;
	size_t used;
	enum err e;

	if (r->left == 0)
		return r->p == r->end ? ERR_ABSENT : ERR_MALFORMED;
	e = ulog_record_decode(
	    r->p, (size_t)(r->end - r->p), &prev, &got, &used);
	if (e)
		return e;
	if (got.object.device >= n || got.dir.device >= n ||
	    got.to_dir.device >= n || got.over.device >= n)
		return ERR_MALFORMED;
	if (!r->info.snapshot && r->left < r->info.records &&
	    got.lamport <= r->prev.lamport)
		return ERR_MALFORMED;
	r->p += used;
	r->prev = prev;
	r->left--;
	r->sequence++;
	*out = got;
	return OK;
}

void
ulog_batch_key(const struct key *log_key, uint64_t sequence, bool snapshot,
    uint32_t part, struct key *out)
{
	struct key k;

	if (!snapshot) {
		key_derive(log_key, "post log batch", sequence, out);
		return;
	}
	key_derive(log_key, "post log snapshot", sequence, &k);
	key_derive(&k, "post log snapshot part", part, out);
	wipe(&k, sizeof(k));
}
