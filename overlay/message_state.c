/* What nodes tell of whom they know: leaf sets, leases, routing rows. */
#include "overlay/message.h"

#include <assert.h>

#define SIDE_MAX (LEAVES_MAX / 2)
#define FLAG_ASK 1u
#define LEAVES_READY 2u
#define BEAT_GRANT 2u
#define BEAT_READY 4u

static void
peers_write(struct wr *w, const struct peer *peer, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		peer_write(w, &peer[i]);
}

static void
peers_read(struct rd *r, struct peer *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		peer_read(r, &out[i]);
}

/* ---- LEAVES ------------------------------------------------------------- */

/* LEAVES: u8 kind, u8 flags (1 ask, 2 ready), u64 nonce, u8 left, u8 right
 * (<= SIDE_MAX), peers: left, then right; u8 failed (<= FAILED_MAX), ids. */
bool
msg_leaves_encode(
    const struct msg_leaves *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	assert(m->left <= SIDE_MAX && m->right <= SIDE_MAX);
	assert(m->failed <= FAILED_MAX);
	wr_init(&w, out, cap);
	wr_be(&w, MSG_LEAVES, 1);
	wr_be(&w, (m->ask ? FLAG_ASK : 0) | (m->ready ? LEAVES_READY : 0), 1);
	wr_be(&w, m->nonce, 8);
	wr_be(&w, m->left, 1);
	wr_be(&w, m->right, 1);
	peers_write(&w, m->peer, m->left + m->right);
	wr_be(&w, m->failed, 1);
	for (unsigned i = 0; i < m->failed; i++)
		wr_bytes(&w, m->dead[i].b, ID_BYTES);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_leaves_decode(const uint8_t *frame, size_t len, struct msg_leaves *out)
{
	struct msg_leaves m;
	uint64_t kind, flags;
	struct rd r;

	rd_init(&r, frame, len);
	kind = rd_be(&r, 1);
	flags = rd_be(&r, 1);
	m.ask = flags & FLAG_ASK;
	m.ready = flags & LEAVES_READY;
	m.nonce = rd_be(&r, 8);
	m.left = (uint8_t)rd_be(&r, 1);
	m.right = (uint8_t)rd_be(&r, 1);
	if (kind != MSG_LEAVES ||
	    flags & ~(uint64_t)(FLAG_ASK | LEAVES_READY) || m.left > SIDE_MAX ||
	    m.right > SIDE_MAX)
		return ERR_MALFORMED;
	peers_read(&r, m.peer, m.left + m.right);
	m.failed = (uint8_t)rd_be(&r, 1);
	if (m.failed > FAILED_MAX)
		return ERR_MALFORMED;
	for (unsigned i = 0; i < m.failed; i++)
		rd_bytes(&r, m.dead[i].b, ID_BYTES);
	if (!rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

/* ---- BEAT --------------------------------------------------------------- */

/* BEAT: u8 kind, u8 flags (1 ask, 2 grant, 4 ready), u64 nonce, u32 lease_ms
 * (0 without a grant), u32 digest. */
bool
msg_beat_encode(const struct msg_beat *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	wr_init(&w, out, cap);
	wr_be(&w, MSG_BEAT, 1);
	wr_be(&w,
	    (m->ask ? FLAG_ASK : 0) | (m->grant ? BEAT_GRANT : 0) |
		(m->ready ? BEAT_READY : 0),
	    1);
	wr_be(&w, m->nonce, 8);
	wr_be(&w, m->grant ? m->lease_ms : 0, 4);
	wr_be(&w, m->digest, 4);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_beat_decode(const uint8_t *frame, size_t len, struct msg_beat *out)
{
	uint64_t kind, flags;
	struct msg_beat m;
	struct rd r;

	rd_init(&r, frame, len);
	kind = rd_be(&r, 1);
	flags = rd_be(&r, 1);
	m.ask = flags & FLAG_ASK;
	m.grant = flags & BEAT_GRANT;
	m.ready = flags & BEAT_READY;
	m.nonce = rd_be(&r, 8);
	m.lease_ms = (uint32_t)rd_be(&r, 4);
	m.digest = (uint32_t)rd_be(&r, 4);
	if (kind != MSG_BEAT ||
	    flags & ~(uint64_t)(FLAG_ASK | BEAT_GRANT | BEAT_READY) ||
	    (m.lease_ms && !m.grant) || !rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

/* ---- CELLS -------------------------------------------------------------- */

static bool
is_row(unsigned row)
{
	return row < ID_DIGITS || row == CELLS_ASK_NONE;
}

/* CELLS: u8 kind, u8 ask_row (a row, or 255), u64 nonce, u8 count
 * (<= CELLS_MAX), peers. */
bool
msg_cells_encode(
    const struct msg_cells *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	assert(is_row(m->ask_row) && m->count <= CELLS_MAX);
	wr_init(&w, out, cap);
	wr_be(&w, MSG_CELLS, 1);
	wr_be(&w, m->ask_row, 1);
	wr_be(&w, m->nonce, 8);
	wr_be(&w, m->count, 1);
	peers_write(&w, m->peer, m->count);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_cells_decode(const uint8_t *frame, size_t len, struct msg_cells *out)
{
	struct msg_cells m;
	uint64_t kind;
	struct rd r;

	rd_init(&r, frame, len);
	kind = rd_be(&r, 1);
	m.ask_row = (uint8_t)rd_be(&r, 1);
	m.nonce = rd_be(&r, 8);
	m.count = (uint8_t)rd_be(&r, 1);
	if (kind != MSG_CELLS || !is_row(m.ask_row) || m.count > CELLS_MAX)
		return ERR_MALFORMED;
	peers_read(&r, m.peer, m.count);
	if (!rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}
