/* What the two ends of a link say of themselves, and the kinds of all. */
#include "overlay/message.h"

#include <assert.h>

#define HELLO_VERSION 1

enum message_kind
message_kind(const uint8_t *frame, size_t len)
{
	if (len == 0 || frame[0] >= MSG_KIND_END)
		return 0;
	return (enum message_kind)frame[0];
}

const char *
message_name(enum message_kind kind)
{
	static const char *const name[MSG_KIND_END] = {
		[MSG_HELLO] = "HELLO",
		[MSG_PING] = "PING",
		[MSG_PONG] = "PONG",
		[MSG_LEAVES] = "LEAVES",
		[MSG_BEAT] = "BEAT",
		[MSG_CELLS] = "CELLS",
		[MSG_ROUTE] = "ROUTE",
		[MSG_ROUTE_ACK] = "ROUTE_ACK",
		[MSG_RELAY] = "RELAY",
		[MSG_DIRECT] = "DIRECT",
		[MSG_REVOKED] = "REVOKED",
	};

	if ((unsigned)kind >= MSG_KIND_END || !name[kind])
		return "none";
	return name[kind];
}

/* ---- HELLO -------------------------------------------------------------- */

/* HELLO: u8 kind, u8 version (1), peer self, u64 boot, u64 revocations. */
bool
msg_hello_encode(
    const struct msg_hello *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	wr_init(&w, out, cap);
	wr_be(&w, MSG_HELLO, 1);
	wr_be(&w, HELLO_VERSION, 1);
	peer_write(&w, &m->self);
	wr_be(&w, m->boot, 8);
	wr_be(&w, m->revocations, 8);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_hello_decode(const uint8_t *frame, size_t len, struct msg_hello *out)
{
	struct msg_hello m;
	struct rd r;

	rd_init(&r, frame, len);
	if (rd_be(&r, 1) != MSG_HELLO || rd_be(&r, 1) != HELLO_VERSION)
		return ERR_MALFORMED;
	peer_read(&r, &m.self);
	m.boot = rd_be(&r, 8);
	m.revocations = rd_be(&r, 8);
	if (!rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

/* ---- PING, PONG --------------------------------------------------------- */

/* PING, PONG: u8 kind, u64 nonce. */
static bool
nonce_encode(enum message_kind kind, const struct msg_ping *m, uint8_t *out,
    size_t cap, size_t *len)
{
	struct wr w;

	wr_init(&w, out, cap);
	wr_be(&w, kind, 1);
	wr_be(&w, m->nonce, 8);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

static enum err
nonce_decode(enum message_kind kind, const uint8_t *frame, size_t len,
    struct msg_ping *out)
{
	struct msg_ping m;
	struct rd r;

	rd_init(&r, frame, len);
	if (rd_be(&r, 1) != kind)
		return ERR_MALFORMED;
	m.nonce = rd_be(&r, 8);
	if (!rd_done(&r))
		return ERR_MALFORMED;
	*out = m;
	return OK;
}

bool
msg_ping_encode(const struct msg_ping *m, uint8_t *out, size_t cap, size_t *len)
{
	return nonce_encode(MSG_PING, m, out, cap, len);
}

enum err
msg_ping_decode(const uint8_t *frame, size_t len, struct msg_ping *out)
{
	return nonce_decode(MSG_PING, frame, len, out);
}

bool
msg_pong_encode(const struct msg_ping *m, uint8_t *out, size_t cap, size_t *len)
{
	return nonce_encode(MSG_PONG, m, out, cap, len);
}

enum err
msg_pong_decode(const uint8_t *frame, size_t len, struct msg_ping *out)
{
	return nonce_decode(MSG_PONG, frame, len, out);
}

/* ---- REVOKED ------------------------------------------------------------ */

/* REVOKED: u8 kind, then the signed list, not empty.  Who reads it checks the
 * signature (cert.h). */
bool
msg_revoked_encode(
    const struct msg_revoked *m, uint8_t *out, size_t cap, size_t *len)
{
	struct wr w;

	assert(m->list_len > 0);
	wr_init(&w, out, cap);
	wr_be(&w, MSG_REVOKED, 1);
	wr_bytes(&w, m->list, m->list_len);
	if (!w.bad)
		*len = wr_len(&w);
	return !w.bad;
}

enum err
msg_revoked_decode(const uint8_t *frame, size_t len, struct msg_revoked *out)
{
	struct msg_revoked m;
	struct rd r;

	rd_init(&r, frame, len);
	if (rd_be(&r, 1) != MSG_REVOKED)
		return ERR_MALFORMED;
	m.list_len = rd_left(&r);
	m.list = rd_take(&r, m.list_len);
	if (!rd_done(&r) || m.list_len == 0)
		return ERR_MALFORMED;
	*out = m;
	return OK;
}
