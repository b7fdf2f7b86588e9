/* What carries something for somebody.  The rest of such a frame is its
 * payload, which may be empty. */
#include "overlay/message.h"

#include <assert.h>

/* ---- ROUTE -------------------------------------------------------------- */

/* ROUTE: u8 kind, u8 service (< SERVICE_COUNT), u8 hops (<= ROUTE_HOPS_MAX),
 * u8 tries, u64 nonce, u64 request, key[32], peer origin, payload. */
bool
msg_route_encode(
    const struct msg_route *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	assert(m->service < SERVICE_COUNT && m->hops <= ROUTE_HOPS_MAX);
	wr_init(&w, out, cap);
	wr_be(&w, MSG_ROUTE, 1);
	wr_be(&w, m->service, 1);
	wr_be(&w, m->hops, 1);
	wr_be(&w, m->tries, 1);
	wr_be(&w, m->nonce, 8);
	wr_be(&w, m->request, 8);
	wr_bytes(&w, m->key.b, ID_BYTES);
	peer_write(&w, &m->origin);
	wr_bytes(&w, m->payload, m->payload_len);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_route_decode(const uint8_t *frame, size_t len, struct msg_route *out)
{
	struct msg_route m;
	uint64_t kind;
	struct rd r;

	rd_init(&r, frame, len);
	kind = rd_be(&r, 1);
	m.service = (uint8_t)rd_be(&r, 1);
	m.hops = (uint8_t)rd_be(&r, 1);
	m.tries = (uint8_t)rd_be(&r, 1);
	m.nonce = rd_be(&r, 8);
	m.request = rd_be(&r, 8);
	rd_bytes(&r, m.key.b, ID_BYTES);
	peer_read(&r, &m.origin);
	m.payload_len = rd_left(&r);
	m.payload = rd_take(&r, m.payload_len);
	if (kind != MSG_ROUTE || m.service >= SERVICE_COUNT ||
	    m.hops > ROUTE_HOPS_MAX || !rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

/* ROUTE_ACK: u8 kind, u64 nonce. */
bool
msg_route_ack_encode(
    const struct msg_route_ack *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	wr_init(&w, out, cap);
	wr_be(&w, MSG_ROUTE_ACK, 1);
	wr_be(&w, m->nonce, 8);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_route_ack_decode(
    const uint8_t *frame, size_t len, struct msg_route_ack *out)
{
	struct msg_route_ack m;
	struct rd r;

	rd_init(&r, frame, len);
	if (rd_be(&r, 1) != MSG_ROUTE_ACK)
		return ERR_MALFORMED;
	m.nonce = rd_be(&r, 8);
	if (!rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

/* ---- RELAY -------------------------------------------------------------- */

/* One relay is enough round a broken pair, and a frame in a frame in a frame
 * would let a stranger make others work in a circle. */
static bool
can_be_relayed(const uint8_t *frame, size_t len)
{
	enum message_kind kind = message_kind(frame, len);

	return kind != 0 && kind != MSG_RELAY;
}

/* RELAY: u8 kind, from[32], to[32], a frame of a known kind but RELAY. */
bool
msg_relay_encode(
    const struct msg_relay *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	assert(can_be_relayed(m->frame, m->frame_len));
	wr_init(&w, out, cap);
	wr_be(&w, MSG_RELAY, 1);
	wr_bytes(&w, m->from.b, ID_BYTES);
	wr_bytes(&w, m->to.b, ID_BYTES);
	wr_bytes(&w, m->frame, m->frame_len);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_relay_decode(const uint8_t *frame, size_t len, struct msg_relay *out)
{
	struct msg_relay m;
	struct rd r;

	rd_init(&r, frame, len);
	if (rd_be(&r, 1) != MSG_RELAY)
		return ERR_MALFORMED;
	rd_bytes(&r, m.from.b, ID_BYTES);
	rd_bytes(&r, m.to.b, ID_BYTES);
	m.frame_len = rd_left(&r);
	m.frame = rd_take(&r, m.frame_len);
	if (!rd_done(&r) || !can_be_relayed(m.frame, m.frame_len))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

_Static_assert(RELAY_HEAD_MAX == 1 + 2 * ID_BYTES, "kind, from, to");

/* ---- DIRECT ------------------------------------------------------------- */

/* DIRECT: u8 kind, u8 service (< SERVICE_COUNT), u64 request, payload. */
bool
msg_direct_encode(
    const struct msg_direct *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	assert(m->service < SERVICE_COUNT);
	wr_init(&w, out, cap);
	wr_be(&w, MSG_DIRECT, 1);
	wr_be(&w, m->service, 1);
	wr_be(&w, m->request, 8);
	wr_bytes(&w, m->payload, m->payload_len);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_direct_decode(const uint8_t *frame, size_t len, struct msg_direct *out)
{
	struct msg_direct m;
	uint64_t kind;
	struct rd r;

	rd_init(&r, frame, len);
	kind = rd_be(&r, 1);
	m.service = (uint8_t)rd_be(&r, 1);
	m.request = rd_be(&r, 8);
	m.payload_len = rd_left(&r);
	m.payload = rd_take(&r, m.payload_len);
	if (kind != MSG_DIRECT || m.service >= SERVICE_COUNT || !rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}
