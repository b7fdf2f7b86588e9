/* replicas_message.c - what PAST says: reader, writer, format.
 *
 * One message is the payload of one routed or direct message of the overlay
 * (SERVICE_PAST), so who sent it is known.  Integers are big-endian; lists of
 * ids are strictly ascending; a range has from <= to; nothing after the last
 * field; at most REPLICA_MESSAGE_MAX bytes.
 *
 *   HAVE      u8 1, u64 nonce, i64 until_s, u16 count (1..512), ids
 *             Do you have these?  until_s not 0: lease them to me until then.
 *   NEED      u8 2, u64 nonce, u16 count (1..512), states: u8 each, an
 *             enum past_have, in HAVE's order
 *   PUT       u8 3, u64 nonce, u16 count (1..512), each { id[32], u8 leases
 *             (0..32), each { owner[32], i64 until_s }, u24 length (1..),
 *             bytes }
 *   STORED    u8 4, u64 nonce, u8 status (0 durable, 1 not now)
 *   GET       u8 5, u64 nonce, u16 count (1..512), ids
 *   BLOCKS    u8 6, u64 nonce, u16 count (1..512), each { id[32], u24 length
 *             (0: not here), bytes }.  Any number of them answers a GET.
 *   DIGEST    u8 7, u8 flags (1 any), u16 count (1..128), each { from[32],
 *             to[32], u64 sum, u64 count }
 *   LIST      u8 8, u8 flags (1 any), from[32], to[32], u16 count (0..512), ids
 *             within the range
 *   WANT      u8 9, u16 count (1..512), ids
 *   LEASE     u8 10, u64 nonce, i64 until_s, u16 count (1..128), as DIGEST's
 *   LEASED    u8 11, u64 nonce, u16 count (1..128), u8 each: 1 renewed, 0 it
 *             differs
 *   HEAD_PUT  u8 12, u64 nonce, id[32], u16 length (1..8192), head
 *   HEAD_GET  u8 13, u64 nonce, id[32]
 *   HEAD      u8 14, u64 nonce, u8 status, id[32], u16 length, head.  Status 0:
 *             the newest here (length 0: none); 1: yours is kept (0); 2: yours
 *             is refused, this is ours (1..); 3: not now (0)
 *   HEADS     u8 15, u16 count (1..512), each { id[32], u64 sequence }, by id
 *   LOCATE    u8 16, u64 nonce, id[32]: routed to the id's home
 *   HOLDERS   u8 17, u64 nonce, from[32], to[32], u16 count (1..16), each
 *             { id[32], u64 site, where[18] }, nearest first
 */
#include "store/replicas_private.h"

#include <assert.h>

#define LEASE_BYTES (ID_BYTES + 8u)

enum { /* which fields a message has, in this order */
	F_NONCE = 1,
	F_FLAGS = 2,
	F_UNTIL = 4,
	F_ID = 8,
	F_RANGE = 16,
	F_IDS = 32,
	F_ROWS = 64, /* of row_bytes */
	F_BLOCKS = 128,
	F_HEAD = 256,
};

static const struct shape {
	unsigned fields, min, max, flags_max, row_bytes;
} shapes[PAST_KIND_END] = {
	[PAST_HAVE] = { F_NONCE | F_UNTIL | F_IDS, 1, REPLICA_BATCH_IDS, 0, 0 },
	[PAST_NEED] = { F_NONCE | F_ROWS, 1, REPLICA_BATCH_IDS, 0, 1 },
	[PAST_PUT] = { F_NONCE | F_BLOCKS, 1, REPLICA_BATCH_IDS, 0, 0 },
	[PAST_STORED] = { F_NONCE | F_FLAGS, 0, 0, PAST_STORED_BUSY, 0 },
	[PAST_GET] = { F_NONCE | F_IDS, 1, REPLICA_BATCH_IDS, 0, 0 },
	[PAST_BLOCKS] = { F_NONCE | F_BLOCKS, 1, REPLICA_BATCH_IDS, 0, 0 },
	[PAST_DIGEST] = { F_FLAGS | F_ROWS, 1, PAST_RANGES_MAX, PAST_FLAG_ANY,
	    PAST_RANGE_BYTES },
	[PAST_LIST] = { F_FLAGS | F_RANGE | F_IDS, 0, REPLICA_BATCH_IDS,
	    PAST_FLAG_ANY, 0 },
	[PAST_WANT] = { F_IDS, 1, REPLICA_BATCH_IDS, 0, 0 },
	[PAST_LEASE] = { F_NONCE | F_UNTIL | F_ROWS, 1, PAST_RANGES_MAX, 0,
	    PAST_RANGE_BYTES },
	[PAST_LEASED] = { F_NONCE | F_ROWS, 1, PAST_RANGES_MAX, 0, 1 },
	[PAST_HEAD_PUT] = { F_NONCE | F_ID | F_HEAD, 0, 0, 0, 0 },
	[PAST_HEAD_GET] = { F_NONCE | F_ID, 0, 0, 0, 0 },
	[PAST_HEAD] = { F_NONCE | F_FLAGS | F_ID | F_HEAD, 0, 0,
	    PAST_HEAD_FAILED, 0 },
	[PAST_HEADS] = { F_ROWS, 1, PAST_HEADS_MAX, 0, PAST_HEAD_ROW_BYTES },
	[PAST_LOCATE] = { F_NONCE | F_ID, 0, 0, 0, 0 },
	[PAST_HOLDERS] = { F_NONCE | F_RANGE | F_ROWS, 1, REPLICA_K_MAX, 0,
	    PAST_NODE_BYTES },
};

static void
read_block(enum past_kind kind, struct rd *r, struct past_block *out)
{
	memset(out, 0, sizeof(*out));
	rd_bytes(r, out->id.b, ID_BYTES);
	if (kind == PAST_PUT) {
		out->lease_count = (unsigned)rd_be(r, 1);
		if (out->lease_count > REPLICA_LEASES_MAX)
			r->bad = true;
		out->leases =
		    rd_take(r, (size_t)out->lease_count * LEASE_BYTES);
	}
	out->len = rd_be(r, 3);
	if (out->len > REPLICA_BLOCK_MAX || (kind == PAST_PUT && !out->len))
		r->bad = true;
	out->bytes = rd_take(r, out->len);
	if (out->len == 0)
		out->bytes = NULL;
}

/* Rows whose values are not all allowed. */
static bool
rows_are_good(const struct past_msg *m)
{
	struct past_range g;
	struct past_head_row h, before;

	for (size_t i = 0; i < m->count; i++)
		switch (m->kind) {
		case PAST_NEED:
			if (m->bytes[i] > HAVE_NOT_MINE)
				return false;
			break;
		case PAST_LEASED:
			if (m->bytes[i] > 1)
				return false;
			break;
		case PAST_DIGEST:
		case PAST_LEASE:
			past_row_range(m, i, &g);
			if (id_cmp(&g.from, &g.to) > 0)
				return false;
			break;
		case PAST_HEADS:
			past_row_head(m, i, &h);
			if (i && id_cmp(&before.id, &h.id) >= 0)
				return false;
			before = h;
			break;
		default:
			break;
		}
	return true;
}

static bool
ids_are_good(const struct past_msg *m)
{
	for (size_t i = 1; i < m->count; i++)
		if (id_cmp(&m->ids[i - 1], &m->ids[i]) >= 0)
			return false;
	return m->kind != PAST_LIST || m->count == 0 ||
	       (id_cmp(&m->from, &m->ids[0]) <= 0 &&
		   id_cmp(&m->ids[m->count - 1], &m->to) <= 0);
}

static bool
head_is_good(const struct past_msg *m)
{
	bool some = m->len > 0;

	if (m->len > ULOG_HEAD_MAX)
		return false;
	if (m->kind == PAST_HEAD_PUT)
		return some;
	return m->flags == PAST_HEAD_IS ||
	       some == (m->flags == PAST_HEAD_NEWER);
}

enum err
past_decode(const uint8_t *bytes, size_t len, struct past_msg *out)
{
	const struct shape *shape;
	struct past_msg m;
	struct past_block b;
	struct rd r;

	memset(&m, 0, sizeof(m));
	rd_init(&r, bytes, len);
	m.kind = (enum past_kind)rd_be(&r, 1);
	if (m.kind < PAST_HAVE || m.kind >= PAST_KIND_END ||
	    len > REPLICA_MESSAGE_MAX)
		return ERR_MALFORMED;
	shape = &shapes[m.kind];
	if (shape->fields & F_NONCE)
		m.nonce = rd_be(&r, 8);
	if (shape->fields & F_FLAGS)
		m.flags = (uint8_t)rd_be(&r, 1);
	if (shape->fields & F_UNTIL)
		m.until_s = (int64_t)rd_be(&r, 8);
	if (shape->fields & F_ID)
		rd_bytes(&r, m.id.b, ID_BYTES);
	if (shape->fields & F_RANGE) {
		rd_bytes(&r, m.from.b, ID_BYTES);
		rd_bytes(&r, m.to.b, ID_BYTES);
	}
	if (shape->fields & (F_IDS | F_ROWS | F_BLOCKS))
		m.count = rd_be(&r, 2);
	if (r.bad || m.count < shape->min || m.count > shape->max ||
	    m.flags > shape->flags_max || id_cmp(&m.from, &m.to) > 0)
		return ERR_MALFORMED; /* before count bounds a loop */
	if (shape->fields & F_IDS) {
		/* An id is bytes and has no alignment. */
		m.ids = (const struct id *)rd_take(&r, m.count * ID_BYTES);
		if (!m.ids || !ids_are_good(&m))
			return ERR_MALFORMED;
	}
	if (shape->fields & F_ROWS) {
		m.len = m.count * shape->row_bytes;
		m.bytes = rd_take(&r, m.len);
		if (!m.bytes || !rows_are_good(&m))
			return ERR_MALFORMED;
	}
	if (shape->fields & F_HEAD) {
		m.len = rd_be(&r, 2);
		m.bytes = rd_take(&r, m.len);
		if (!head_is_good(&m))
			return ERR_MALFORMED;
	}
	if (shape->fields & F_BLOCKS) {
		m.bytes = r.p;
		m.len = rd_left(&r);
		for (size_t i = 0; i < m.count && !r.bad; i++)
			read_block(m.kind, &r, &b);
	}
	if (!rd_done(&r)) /* short, or trailing bytes */
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

size_t
past_encoded_max(const struct past_msg *m)
{
	return 128 + m->count * (m->ids ? ID_BYTES : 0) + m->len;
}

bool
past_encode(const struct past_msg *m, uint8_t *out, size_t cap, size_t *len)
{
	const struct shape *shape = &shapes[m->kind];
	struct wr w;

	assert(m->kind >= PAST_HAVE && m->kind < PAST_KIND_END);
	assert(m->count >= shape->min && m->count <= shape->max);
	wr_init(&w, out, cap);
	wr_be(&w, m->kind, 1);
	if (shape->fields & F_NONCE)
		wr_be(&w, m->nonce, 8);
	if (shape->fields & F_FLAGS)
		wr_be(&w, m->flags, 1);
	if (shape->fields & F_UNTIL)
		wr_be(&w, (uint64_t)m->until_s, 8);
	if (shape->fields & F_ID)
		wr_bytes(&w, m->id.b, ID_BYTES);
	if (shape->fields & F_RANGE) {
		wr_bytes(&w, m->from.b, ID_BYTES);
		wr_bytes(&w, m->to.b, ID_BYTES);
	}
	if (shape->fields & (F_IDS | F_ROWS | F_BLOCKS))
		wr_be(&w, m->count, 2);
	if (m->ids)
		wr_bytes(&w, m->ids, m->count * ID_BYTES);
	if (shape->fields & F_HEAD)
		wr_be(&w, m->len, 2);
	if (m->len)
		wr_bytes(&w, m->bytes, m->len);
	if (w.bad)
		return false;
	*len = wr_len(&w);
	return true;
}

/* ---- rows --------------------------------------------------------------- */

static void
row(const struct past_msg *m, size_t n, size_t bytes, struct rd *r)
{
	assert(n < m->count && m->bytes);
	rd_init(r, m->bytes + n * bytes, bytes);
}

void
past_row_range(const struct past_msg *m, size_t n, struct past_range *out)
{
	struct rd r;

	row(m, n, PAST_RANGE_BYTES, &r);
	rd_bytes(&r, out->from.b, ID_BYTES);
	rd_bytes(&r, out->to.b, ID_BYTES);
	out->sum = rd_be(&r, 8);
	out->count = rd_be(&r, 8);
}

void
past_write_range(struct wr *w, const struct past_range *g)
{
	wr_bytes(w, g->from.b, ID_BYTES);
	wr_bytes(w, g->to.b, ID_BYTES);
	wr_be(w, g->sum, 8);
	wr_be(w, g->count, 8);
}

void
past_row_head(const struct past_msg *m, size_t n, struct past_head_row *out)
{
	struct rd r;

	row(m, n, PAST_HEAD_ROW_BYTES, &r);
	rd_bytes(&r, out->id.b, ID_BYTES);
	out->sequence = rd_be(&r, 8);
}

void
past_write_head(struct wr *w, const struct past_head_row *h)
{
	wr_bytes(w, h->id.b, ID_BYTES);
	wr_be(w, h->sequence, 8);
}

void
past_row_node(const struct past_msg *m, size_t n, struct replica_node *out)
{
	struct rd r;

	row(m, n, PAST_NODE_BYTES, &r);
	memset(out, 0, sizeof(*out));
	rd_bytes(&r, out->id.b, ID_BYTES);
	out->site = rd_be(&r, 8);
	rd_bytes(&r, out->where, REPLICA_WHERE_BYTES);
	out->rtt_us = UINT32_MAX;
}

void
past_write_node(struct wr *w, const struct replica_node *n)
{
	wr_bytes(w, n->id.b, ID_BYTES);
	wr_be(w, n->site, 8);
	wr_bytes(w, n->where, REPLICA_WHERE_BYTES);
}

/* ---- blocks ------------------------------------------------------------- */

void
past_read_block(const struct past_msg *m, struct rd *r, struct past_block *out)
{
	read_block(m->kind, r, out);
	assert(!r->bad); /* past_decode() has seen it */
}

void
past_lease(const struct past_block *b, unsigned n, struct replica_lease *out)
{
	struct rd r;

	assert(n < b->lease_count);
	rd_init(&r, b->leases + (size_t)n * LEASE_BYTES, LEASE_BYTES);
	rd_bytes(&r, out->owner.b, ID_BYTES);
	out->until_s = (int64_t)rd_be(&r, 8);
}

void
past_write_block(
    struct wr *w, enum past_kind kind, const struct replica_block *b)
{
	assert(b->len <= REPLICA_BLOCK_MAX);
	assert(b->lease_count <= REPLICA_LEASES_MAX);
	wr_bytes(w, b->id.b, ID_BYTES);
	if (kind == PAST_PUT) {
		wr_be(w, b->lease_count, 1);
		for (unsigned i = 0; i < b->lease_count; i++) {
			wr_bytes(w, b->leases[i].owner.b, ID_BYTES);
			wr_be(w, (uint64_t)b->leases[i].until_s, 8);
		}
	}
	wr_be(w, b->len, 3);
	wr_bytes(w, b->bytes, b->len);
}

size_t
past_block_bytes(enum past_kind kind, const struct replica_block *b)
{
	return ID_BYTES + 3 + b->len +
	       (kind == PAST_PUT ? 1 + b->lease_count * LEASE_BYTES : 0);
}
