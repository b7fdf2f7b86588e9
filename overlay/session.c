/* session.c - framing, the check of certificates, pieces, rekeying, budgets.
 *
 * What a peer can make us hold: before she is verified one handshake message,
 * whose length is bounded by the step; after that one transport message that
 * arrived in part, and the pieces of one message.  Both buffers grow as bytes
 * arrive, to at most twice what arrived: a length that is only claimed costs
 * nothing.  What is sealed and waits is bounded by SESSION_QUEUE_MAX.
 *
 * What the handshake proves: the second message, that the responder has the
 * static key of her certificate; the third, the same of the initiator.  The
 * first proves nothing, so it may carry nothing.  The responder shows her
 * certificate to whoever asks, which XX can not avoid; the initiator shows hers
 * only to a responder that was verified.
 *
 * The initiator is ready when she has written the third message, and can not
 * know that it will be accepted: if it is not, the link is closed. */
#include "overlay/session_private.h"

#include "overlay/base/cert_private.h"
#include "overlay/base/wire.h"

#include <assert.h>
#include <stdlib.h>

#define FRAME_HEADER 2u
#define FLAG_BYTES 1u
#define TRANSPORT_MIN (FLAG_BYTES + TAG_BYTES)

/* A buffer that has grown beyond this is given back when it is empty: most
 * links are idle most of the time. */
#define BUF_KEEP (16u << 10)
#define BUF_FIRST 128u

_Static_assert(FLAG_BYTES + SESSION_PIECE_MAX + TAG_BYTES == NOISE_MESSAGE_MAX,
    "a full piece is a full Noise message");
_Static_assert(NOISE_SECOND_BYTES + CERT_MAX <= SESSION_HANDSHAKE_MAX, "");
_Static_assert(SESSION_QUEUE_MAX > 2 * SESSION_MESSAGE_MAX, "");

struct buf {
	uint8_t *b;
	size_t len, cap;
};

struct session {
	bool initiator, guests, ready;
	bool complete; /* `message` is whole */
	bool peer_guest;
	enum session_fault fault;
	enum err dead; /* what a dead session answers; OK: it lives */
	const struct ring *ring;
	const struct revocations *revoked;
	int64_t now_s;
	uint8_t cert[CERT_MAX];
	size_t cert_len;
	struct noise noise; /* wiped when ready */
	struct noise_cipher send, receive;
	uint32_t rekey_after;
	struct node_cert peer;
	uint8_t peer_key[DH_PUBLIC_BYTES];
	struct buf frame; /* a frame that arrived in part */
	struct buf message; /* its bytes begin at b + FLAG_BYTES */
	struct buf out;
	size_t out_taken;
};

/* ---- buffers ------------------------------------------------------------ */

/* They hold plaintext at times, hence never realloc(). */
static void
buf_fini(struct buf *b)
{
	if (b->b)
		wipe(b->b, b->cap);
	free(b->b);
	memset(b, 0, sizeof(*b));
}

static void
buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->cap > BUF_KEEP)
		buf_fini(b);
}

/* Room for `need` bytes in all; at most `most` will ever be. */
static enum err
buf_reserve(struct buf *b, size_t need, size_t most)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	uint8_t *grown;

	assert(need <= most);
	if (need <= b->cap)
		return OK;
	while (cap < need)
		cap *= 2;
	if (cap > most)
		cap = most;
	grown = malloc(cap);
	if (!grown)
		return ERR_NOMEM;
	if (b->cap) {
		memcpy(grown, b->b, b->cap);
		wipe(b->b, b->cap);
	}
	free(b->b);
	b->b = grown;
	b->cap = cap;
	return OK;
}

/* ---- life and death ----------------------------------------------------- */

static void
forget(struct session *s)
{
	wipe(&s->noise, sizeof(s->noise));
	wipe(&s->send, sizeof(s->send));
	wipe(&s->receive, sizeof(s->receive));
	buf_fini(&s->frame);
	buf_fini(&s->message);
	buf_fini(&s->out);
	s->out_taken = 0;
	s->ready = s->complete = false;
}

static enum err
die(struct session *s, enum err e, enum session_fault fault)
{
	forget(s);
	s->fault = fault;
	s->dead = e == ERR_MALFORMED ? ERR_MALFORMED : ERR_BADSIG;
	return e;
}

/* The fault follows from the outcome, where nothing more is known. */
static enum err
die_of(struct session *s, enum err e)
{
	return die(s, e,
	    e == ERR_NOMEM    ? SESSION_FAULT_MEMORY
	    : e == ERR_BADSIG ? SESSION_FAULT_TAG
			      : SESSION_FAULT_GARBAGE);
}

void
session_prologue(const struct ring *ring, uint8_t out[SESSION_PROLOGUE_BYTES])
{
	struct wr w;

	wr_init(&w, out, SESSION_PROLOGUE_BYTES);
	wr_bytes(&w, SESSION_LABEL, sizeof(SESSION_LABEL) - 1);
	wr_bytes(&w, ring->id.b, ID_BYTES);
	assert(!w.bad);
}

/* Our next handshake message, into `out`. */
static enum err
write_handshake(struct session *s, const uint8_t *payload, size_t payload_len)
{
	size_t most = FRAME_HEADER + SESSION_HANDSHAKE_MAX, len = 0;
	struct wr w;
	enum err e;

	if ((e = buf_reserve(&s->out, s->out.len + most, 2 * most)))
		return e;
	wr_init(&w, s->out.b + s->out.len, FRAME_HEADER);
	e = noise_write(&s->noise, payload, payload_len,
	    s->out.b + s->out.len + FRAME_HEADER, SESSION_HANDSHAKE_MAX, &len);
	if (e)
		return e;
	wr_be(&w, len, FRAME_HEADER);
	s->out.len += FRAME_HEADER + len;
	return OK;
}

enum err
session_new(const struct session_config *config, struct session **out)
{
	uint8_t prologue[SESSION_PROLOGUE_BYTES];
	struct session *s;
	enum err e;

	assert(config->cert_len <= CERT_MAX);
	assert(config->guest == (config->cert_len == 0));
	assert(config->initiator || !config->guest);
	s = calloc(1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	s->initiator = config->initiator;
	s->guests = config->guests && !config->initiator;
	s->ring = config->ring;
	s->revoked = config->revoked;
	s->now_s = config->now_s;
	s->rekey_after = SESSION_REKEY_MESSAGES;
	if (config->cert_len)
		memcpy(s->cert, config->cert, config->cert_len);
	s->cert_len = config->cert_len;
	session_prologue(s->ring, prologue);
	noise_init(&s->noise, s->initiator, prologue, sizeof(prologue),
	    config->key, config->ephemeral);
	if (s->initiator && (e = write_handshake(s, s->cert, 0))) {
		session_free(s);
		return e;
	}
	*out = s;
	return OK;
}

void
session_free(struct session *s)
{
	if (!s)
		return;
	forget(s);
	wipe(s, sizeof(*s));
	free(s);
}

void
session_rekey_after(struct session *s, uint32_t messages)
{
	assert(messages > 0 && s->send.nonce == 0 && s->receive.nonce == 0);
	s->rekey_after = messages;
}

/* ---- the handshake ------------------------------------------------------ */

/* May the next frame be n bytes long?  Asked before the frame is there. */
static bool
length_can_be(const struct session *s, size_t n)
{
	if (s->ready)
		return n >= TRANSPORT_MIN; /* and at most what two bytes say */
	switch (s->noise.step) {
	case 0: /* carries nothing: nobody is known yet */
		return n == NOISE_FIRST_BYTES;
	case 1:
		return n >= NOISE_SECOND_BYTES &&
		       n <= NOISE_SECOND_BYTES + CERT_MAX;
	default:
		return n >= NOISE_THIRD_BYTES &&
		       n <= NOISE_THIRD_BYTES + CERT_MAX;
	}
}

/* The certificate did not open.  A certificate of another ring and one that is
 * out of date are both denied: which it is, it says itself. */
static enum session_fault
fault_of_cert(
    const struct session *s, enum err e, const uint8_t *bytes, size_t len)
{
	struct node_cert c;

	if (e != ERR_DENIED)
		return SESSION_FAULT_CERT;
	return node_cert_read(bytes, len, &c) == OK &&
		       id_eq(&c.ring, &s->ring->id)
		   ? SESSION_FAULT_TIME
		   : SESSION_FAULT_RING;
}

/* Is the peer whom her certificate names, and may she be here? */
static enum err
check_peer(struct session *s, const uint8_t *bytes, size_t len)
{
	const uint8_t *key = noise_remote(&s->noise);
	struct node_cert c;
	struct id id;
	enum err e;

	memcpy(s->peer_key, key, DH_PUBLIC_BYTES);
	if (len == 0) {
		s->peer_guest = s->guests;
		return s->guests ? OK
				 : die(s, ERR_DENIED, SESSION_FAULT_NO_CERT);
	}
	if ((e = node_cert_open(s->ring, s->now_s, bytes, len, &c)))
		return die(s, e, fault_of_cert(s, e, bytes, len));
	if (!same_bytes(c.dh, key, DH_PUBLIC_BYTES))
		return die(s, ERR_BADSIG, SESSION_FAULT_KEY);
	node_cert_id(&c, &id);
	if (s->revoked && revocations_has(s->revoked, &id))
		return die(s, ERR_DENIED, SESSION_FAULT_REVOKED);
	s->peer = c;
	return OK;
}

static void
become_ready(struct session *s)
{
	noise_split(&s->noise, &s->send, &s->receive);
	wipe(&s->noise, sizeof(s->noise));
	s->ready = true;
}

static enum err
take_handshake(struct session *s, const uint8_t *bytes, size_t n)
{
	uint8_t payload[CERT_MAX];
	size_t len;
	enum err e;

	if ((e = noise_read(&s->noise, bytes, n, payload, &len)))
		return die_of(s, e);
	if (noise_remote(&s->noise) && (e = check_peer(s, payload, len)))
		return e; /* dead already */
	if (noise_writes(&s->noise) &&
	    (e = write_handshake(s, s->cert, s->cert_len)))
		return die_of(s, e);
	if (noise_done(&s->noise))
		become_ready(s);
	return OK;
}

/* ---- messages ----------------------------------------------------------- */

/* A rekey is due after every so many messages; nonces begin with 0. */
static void
count_message(const struct session *s, struct noise_cipher *c)
{
	if (c->nonce % s->rekey_after == 0)
		noise_rekey(c);
}

/* The piece is opened right behind the pieces before it, with its flag on top
 * of the byte before, which is put back. */
static enum err
take_piece(struct session *s, const uint8_t *bytes, size_t n)
{
	size_t piece = n - TRANSPORT_MIN, len = s->message.len;
	uint8_t *at, under, flag;
	enum err e;

	if (piece > SESSION_MESSAGE_MAX - len)
		return die_of(s, ERR_MALFORMED);
	if ((e = buf_reserve(&s->message, FLAG_BYTES + len + piece,
		 FLAG_BYTES + SESSION_MESSAGE_MAX)))
		return die_of(s, e);
	at = s->message.b + len;
	under = len ? *at : 0;
	if ((e = noise_open(&s->receive, NULL, 0, bytes, n, at)))
		return die_of(s, e);
	count_message(s, &s->receive);
	flag = *at;
	*at = under;
	if (flag > 1 || (flag == 1 && piece != SESSION_PIECE_MAX) ||
	    (flag == 0 && piece == 0 && len > 0))
		return die_of(s, ERR_MALFORMED);
	s->message.len += piece;
	s->complete = flag == 0;
	return OK;
}

static enum err
take_frame(struct session *s, const uint8_t *bytes, size_t n)
{
	return s->ready ? take_piece(s, bytes, n) : take_handshake(s, bytes, n);
}

static size_t
frame_length(const uint8_t header[FRAME_HEADER])
{
	return (size_t)header[0] << 8 | header[1];
}

/* Part of a frame, put behind what there is of it. */
static enum err
take_part(struct session *s, const uint8_t *bytes, size_t len, size_t *used)
{
	struct buf *f = &s->frame;
	size_t whole = FRAME_HEADER, n;
	enum err e;

	if (f->len >= FRAME_HEADER)
		whole += frame_length(f->b);
	n = whole - f->len < len ? whole - f->len : len;
	if ((e = buf_reserve(f, f->len + n, FRAME_HEADER + NOISE_MESSAGE_MAX)))
		return die_of(s, e);
	memcpy(f->b + f->len, bytes, n);
	f->len += n;
	*used += n;
	if (f->len < FRAME_HEADER)
		return OK;
	if (!length_can_be(s, frame_length(f->b)))
		return die_of(s, ERR_MALFORMED);
	whole = FRAME_HEADER + frame_length(f->b);
	if (f->len < whole)
		return OK;
	if ((e = take_frame(s, f->b + FRAME_HEADER, whole - FRAME_HEADER)))
		return e;
	buf_clear(f);
	return OK;
}

/* Does a frame begin here, and is all of it here?  Then it is not copied. */
static bool
is_whole(const struct session *s, const uint8_t *at, size_t left)
{
	return s->frame.len == 0 && left >= FRAME_HEADER &&
	       left - FRAME_HEADER >= frame_length(at);
}

enum err
session_receive(
    struct session *s, const uint8_t *bytes, size_t len, size_t *used)
{
	enum err e = s->dead;

	*used = 0;
	if (!e && s->complete) {
		s->complete = false;
		buf_clear(&s->message);
	}
	while (!e && !s->complete && *used < len) {
		const uint8_t *at = bytes + *used;
		size_t n;

		if (!is_whole(s, at, len - *used)) {
			e = take_part(s, at, len - *used, used);
			continue;
		}
		n = frame_length(at);
		e = length_can_be(s, n) ? take_frame(s, at + FRAME_HEADER, n)
					: die_of(s, ERR_MALFORMED);
		*used += FRAME_HEADER + n;
	}
	return e;
}

const uint8_t *
session_message(struct session *s, size_t *len)
{
	if (!s->complete)
		return NULL;
	*len = s->message.len;
	return s->message.b + FLAG_BYTES;
}

/* One piece, sealed where it will be sent from. */
static enum err
put_piece(struct session *s, const uint8_t *piece, size_t n, bool more)
{
	size_t sealed = FLAG_BYTES + n + TAG_BYTES;
	uint8_t *at;
	struct wr w;
	enum err e;

	wr_init(&w, s->out.b + s->out.len, FRAME_HEADER + sealed);
	wr_be(&w, sealed, FRAME_HEADER);
	at = w.p;
	wr_be(&w, more, FLAG_BYTES);
	wr_bytes(&w, piece, n);
	assert(!w.bad);
	if ((e = noise_seal(&s->send, NULL, 0, at, FLAG_BYTES + n, at)))
		return die_of(s, e);
	count_message(s, &s->send);
	s->out.len += FRAME_HEADER + sealed;
	return OK;
}

enum err
session_send(struct session *s, const void *message, size_t len)
{
	size_t pieces = len ? (len - 1) / SESSION_PIECE_MAX + 1 : 1;
	size_t whole = len + pieces * (FRAME_HEADER + TRANSPORT_MIN);
	const uint8_t *at = message;
	enum err e;

	if (s->dead)
		return s->dead;
	if (len > SESSION_MESSAGE_MAX)
		return ERR_TOO_BIG;
	if (!s->ready || s->out.len - s->out_taken + whole > SESSION_QUEUE_MAX)
		return ERR_AGAIN;
	if (s->out_taken && s->out.cap - s->out.len < whole) {
		s->out.len -= s->out_taken;
		memmove(s->out.b, s->out.b + s->out_taken, s->out.len);
		s->out_taken = 0;
	}
	if ((e = buf_reserve(&s->out, s->out.len + whole, SESSION_QUEUE_MAX)))
		return e;
	do {
		size_t n = len < SESSION_PIECE_MAX ? len : SESSION_PIECE_MAX;

		len -= n;
		if ((e = put_piece(s, at, n, len > 0)))
			return e;
		at += n;
	} while (len);
	return OK;
}

const uint8_t *
session_output(struct session *s, size_t *len)
{
	if (s->out.len == s->out_taken)
		return NULL;
	*len = s->out.len - s->out_taken;
	return s->out.b + s->out_taken;
}

void
session_sent(struct session *s, size_t len)
{
	assert(len <= s->out.len - s->out_taken);
	s->out_taken += len;
	if (s->out_taken == s->out.len) {
		buf_clear(&s->out);
		s->out_taken = 0;
	}
}

/* ---- questions ---------------------------------------------------------- */

bool
session_ready(const struct session *s)
{
	return s->ready;
}

bool
session_at_rest(const struct session *s)
{
	return !s->dead && s->frame.len == 0 &&
	       (s->complete || s->message.len == 0);
}

const struct node_cert *
session_peer(const struct session *s)
{
	return s->ready && !s->peer_guest ? &s->peer : NULL;
}

const uint8_t *
session_peer_key(const struct session *s)
{
	return s->ready ? s->peer_key : NULL;
}

size_t
session_bytes(const struct session *s)
{
	return sizeof(*s) + s->frame.cap + s->message.cap + s->out.cap;
}

enum session_fault
session_fault(const struct session *s)
{
	return s->fault;
}

const char *
session_fault_text(enum session_fault fault)
{
	static const char *const text[] = {
#define SESSION_FAULT_TEXT(name, sentence) sentence,
		SESSION_FAULT_LIST(SESSION_FAULT_TEXT)
#undef SESSION_FAULT_TEXT
	};

	assert((size_t)fault < sizeof(text) / sizeof(text[0]));
	return text[fault];
}
