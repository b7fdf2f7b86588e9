/* Sessions.  The first byte chooses what the rest is:
 *
 *   0, 1  bytes from a stranger, to one who answers or one who calls
 *   2     the same, after the handshake
 *   3, 4  a certificate that a stranger with a right static key presents, to
 *         one who answers or one who calls
 *   5     pieces that a peer seals who was let in, against a model of what a
 *         message is
 *   6     two of ours: what to say, how much to carry, which bit to flip;
 *         what arrives is a beginning of what was said, all of it if no bit
 *         was flipped */
#include "tests/unit/session_test.h"

#include "overlay/base/wire.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct sign_key authority;
static struct ring ring;
static struct node ann, bob;

static struct session *
begin(const struct node *node, bool initiator)
{
	struct session_config config = a_config(&ring, node, initiator);
	struct session *s;

	config.guests = !initiator;
	if (session_new(&config, &s))
		abort();
	return s;
}

static void
check_bounds(const struct session *s, size_t fed)
{
	assert(session_bytes(s) <= 8192 + 2 * fed + 3 * 16384);
}

/* Messages in it are looked at and dropped. */
static void
feed(struct session *s, const uint8_t *bytes, size_t len)
{
	enum err e = OK;

	for (size_t at = 0, used, n; !e && at < len; at += used) {
		e = session_receive(s, bytes + at, len - at, &used);
		assert(used <= len - at);
		if (session_message(s, &n))
			assert(!e && n <= SESSION_MESSAGE_MAX);
		if (e)
			assert(!session_ready(s) && !session_output(s, &n));
		check_bounds(s, len);
	}
}

static void
carry(struct session *from, struct session *to)
{
	size_t n;
	const uint8_t *out = session_output(from, &n);

	if (out) {
		feed(to, out, n);
		session_sent(from, n);
	}
}

static void
acquaint(struct session *a, struct session *b)
{
	carry(a, b);
	carry(b, a);
	carry(a, b);
	assert(session_ready(a) && session_ready(b));
}

static void
try_bytes(bool initiator, const uint8_t *bytes, size_t len)
{
	struct session *s = begin(initiator ? &ann : &bob, initiator);

	feed(s, bytes, len);
	session_free(s);
}

static void
try_bytes_after_handshake(const uint8_t *bytes, size_t len)
{
	struct session *a = begin(&ann, true), *b = begin(&bob, false);

	acquaint(a, b);
	feed(b, bytes, len);
	session_free(a);
	session_free(b);
}

/* The stranger with ann's key as far as the message that presents her; she
 * calls, or `s` does. */
static void
present(struct session *s, struct stranger *x, bool she_calls,
    const uint8_t *cert, size_t len)
{
	uint8_t frame[SESSION_HANDSHAKE_MAX + 2];
	const uint8_t *out;
	size_t n;

	a_stranger(x, she_calls, SESSION_LABEL, &ring, &ann.key);
	if (she_calls) {
		n = stranger_writes(x, cert, 0, frame, sizeof(frame));
		feed(s, frame, n);
	}
	out = session_output(s, &n);
	if (!out || stranger_reads(x, out, n))
		abort();
	session_sent(s, n);
	n = stranger_writes(x, cert, len, frame, sizeof(frame));
	feed(s, frame, n);
}

static void
try_certificate(bool she_calls, const uint8_t *bytes, size_t len)
{
	struct session *s = begin(&bob, !she_calls);
	struct stranger x;
	bool right = len == ann.len && memcmp(bytes, ann.bytes, len) == 0;

	if (len <= SESSION_HANDSHAKE_MAX - NOISE_SECOND_BYTES) {
		present(s, &x, she_calls, bytes, len);
		assert(session_ready(s) == (right || (she_calls && !len)));
		assert(!session_peer(s) == !right);
	}
	session_free(s);
}

static void
try_pieces(const uint8_t *bytes, size_t len)
{
	static uint8_t plain[1 + SESSION_PIECE_MAX];
	static uint8_t frame[2 + NOISE_MESSAGE_MAX];
	static uint8_t model[SESSION_MESSAGE_MAX];
	struct session *s = begin(&bob, false);
	struct stranger x;
	size_t have = 0;
	struct rd r;
	bool alive = true;

	present(s, &x, true, ann.bytes, ann.len);
	rd_init(&r, bytes, len);
	while (alive && rd_left(&r)) {
		uint8_t op = (uint8_t)rd_be(&r, 1);
		size_t piece = op & 4 ? SESSION_PIECE_MAX - (op >> 7)
				      : (size_t)rd_be(&r, 1);
		size_t n, used, whole, cut;
		const uint8_t *message;
		bool good;

		plain[0] = op & 3;
		memset(plain + 1, op, piece);
		whole = stranger_seals(&x, plain, 1 + piece, frame);
		good = plain[0] <= 1 && have + piece <= SESSION_MESSAGE_MAX &&
		       (plain[0] ? piece == SESSION_PIECE_MAX
				 : piece > 0 || have == 0);
		cut = (size_t)rd_be(&r, 1) * 257;
		cut = cut < whole ? cut : whole - 1;
		if (session_receive(s, frame, cut, &used))
			abort();
		assert(used == cut && !session_at_rest(s) == (cut || have));
		alive =
		    session_receive(s, frame + cut, whole - cut, &used) == OK;
		assert(alive == good);
		if (!alive)
			break;
		assert(used == whole - cut);
		memcpy(model + have, plain + 1, piece);
		have += piece;
		message = session_message(s, &n);
		assert(!message == (plain[0] == 1));
		assert(session_at_rest(s) == !plain[0]);
		if (message) {
			assert(n == have && memcmp(message, model, n) == 0);
			have = 0;
		}
	}
	assert(session_bytes(s) <= 8192 + 2 * SESSION_MESSAGE_MAX);
	session_free(s);
}

/* ---- two of ours -------------------------------------------------------- */

#define SAID_MAX 64

struct side {
	struct session *s;
	size_t said[SAID_MAX]; /* lengths; the bytes are all its number */
	unsigned count, arrived; /* arrived: at the other side */
	bool changed; /* a bit was flipped on the way from here */
};

/* Is it `len` times this byte? */
static bool
is_all(const uint8_t *bytes, size_t len, uint8_t byte)
{
	return len == 0 ||
	       (bytes[0] == byte && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void
say(struct side *from, size_t n)
{
	static uint8_t message[SESSION_MESSAGE_MAX];
	enum err e;

	if (from->count == SAID_MAX)
		return;
	memset(message, (int)from->count, n);
	e = session_send(from->s, message, n);
	if (e == OK)
		from->said[from->count++] = n;
	else
		assert(e != ERR_NOMEM && e != ERR_TOO_BIG);
}

static void
bring(struct side *from, struct side *to, size_t most, unsigned flip)
{
	size_t n, used, at = 0;
	const uint8_t *out = session_output(from->s, &n);
	uint8_t *copy;

	if (!out)
		return;
	n = n < most ? n : most;
	copy = exact_copy(out, n);
	session_sent(from->s, n);
	if (flip && n) {
		copy[flip % n] ^= (uint8_t)(1u << flip % 8);
		from->changed = true;
	}
	while (at < n && !session_receive(to->s, copy + at, n - at, &used)) {
		size_t len;
		const uint8_t *message = session_message(to->s, &len);

		at += used;
		if (!message)
			continue;
		assert(from->arrived < from->count);
		assert(len == from->said[from->arrived]);
		assert(is_all(message, len, (uint8_t)from->arrived));
		from->arrived++;
	}
	assert(at == n || from->changed || to->changed);
	free(copy);
}

static void
try_two(const uint8_t *bytes, size_t len)
{
	struct side side[2] = { { .s = begin(&ann, true) },
		{ .s = begin(&bob, false) } };
	struct rd r;

	session_rekey_after(side[0].s, 3);
	session_rekey_after(side[1].s, 3);
	rd_init(&r, bytes, len);
	while (rd_left(&r)) {
		uint8_t op = (uint8_t)rd_be(&r, 1);
		struct side *from = &side[op & 1], *to = &side[!(op & 1)];
		uint64_t n = rd_be(&r, 1);

		switch (op >> 1 & 3) {
		case 0:
			say(from, n * (op & 8 ? 301 : 1));
			break;
		case 1:
		case 2:
			bring(from, to, n * (op & 8 ? 301 : 1), 0);
			break;
		default:
			bring(from, to, n * 16, 1 + (unsigned)rd_be(&r, 2));
		}
	}
	for (unsigned i = 0; i < 6; i++)
		bring(&side[i % 2], &side[!(i % 2)], SIZE_MAX, 0);
	for (unsigned i = 0; i < 2; i++)
		assert(side[0].changed || side[1].changed ||
		       side[i].arrived == side[i].count);
	session_free(side[0].s);
	session_free(side[1].s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool ready;

	if (!ready) {
		if (crypto_init())
			abort();
		an_authority(1, &authority, &ring);
		a_node(&ring, &authority, 1, &ann);
		a_node(&ring, &authority, 2, &bob);
		ready = true;
	}
	if (len == 0)
		return 0;
	len--;
	switch (*bytes++ % 7) {
	case 0:
		try_bytes(false, bytes, len);
		break;
	case 1:
		try_bytes(true, bytes, len);
		break;
	case 2:
		try_bytes_after_handshake(bytes, len);
		break;
	case 3:
		try_certificate(true, bytes, len);
		break;
	case 4:
		try_certificate(false, bytes, len);
		break;
	case 5:
		try_pieces(bytes, len);
		break;
	default:
		try_two(bytes, len);
	}
	return 0;
}
