/* session_test.h - nodes that talk to one another in memory, and a stranger
 * who speaks Noise but does with it what she likes. */
#ifndef POST_TESTS_UNIT_SESSION_TEST_H
#define POST_TESTS_UNIT_SESSION_TEST_H

#include "overlay/base/rng.h"
#include "overlay/session_private.h"
#include "tests/unit/cert_test.h"

struct node {
	struct dh_key key;
	struct node_cert cert;
	uint8_t bytes[CERT_MAX]; /* the certificate, encoded */
	size_t len;
};

/* Node `number` of the ring, with certificate. */
static inline void
a_node(const struct ring *ring, const struct sign_key *authority,
    unsigned number, struct node *out)
{
	memset(out, 0, sizeof(*out));
	a_dh_key(number, &out->key);
	a_cert(ring, number, &out->cert);
	node_cert_sign(&out->cert, authority, out->bytes, &out->len);
}

/* What such a node gives to session_new(). */
static inline struct session_config
a_config(const struct ring *ring, const struct node *node, bool initiator)
{
	struct session_config c = {
		.initiator = initiator,
		.ring = ring,
		.key = &node->key,
		.cert = node->bytes,
		.cert_len = node->len,
		.guest = node->len == 0,
		.now_s = T0_S + 1000,
	};

	memset(c.ephemeral, initiator ? 'i' : 'r', sizeof(c.ephemeral));
	return c;
}

/* Noise by hand. */
struct stranger {
	struct noise noise;
	struct noise_cipher send, receive;
};

static inline void
a_stranger(struct stranger *x, bool initiator, const char *label,
    const struct ring *ring, const struct dh_key *key)
{
	uint8_t prologue[64 + ID_BYTES], chance[KEY_BYTES];
	size_t n = strlen(label);

	memcpy(prologue, label, n);
	memcpy(prologue + n, ring->id.b, ID_BYTES);
	memset(chance, 'x', sizeof(chance));
	memset(x, 0, sizeof(*x));
	noise_init(&x->noise, initiator, prologue, n + ID_BYTES, key, chance);
}

/* Her next handshake message as a frame; its length. */
static inline size_t
stranger_writes(struct stranger *x, const uint8_t *payload, size_t n,
    uint8_t *frame, size_t cap)
{
	size_t len;

	if (noise_write(&x->noise, payload, n, frame + 2, cap - 2, &len))
		abort();
	frame[0] = (uint8_t)(len >> 8);
	frame[1] = (uint8_t)len;
	if (noise_done(&x->noise))
		noise_split(&x->noise, &x->send, &x->receive);
	return len + 2;
}

/* A frame of ours, as she reads it. */
static inline enum err
stranger_reads(struct stranger *x, const uint8_t *frame, size_t len)
{
	uint8_t payload[SESSION_HANDSHAKE_MAX];
	size_t n;
	enum err e;

	if (len < 2 || len > sizeof(payload))
		abort();
	e = noise_read(&x->noise, frame + 2, len - 2, payload, &n);
	if (!e && noise_done(&x->noise))
		noise_split(&x->noise, &x->send, &x->receive);
	return e;
}

/* Any plaintext at all as a transport frame; frame has room for n + 18. */
static inline size_t
stranger_seals(
    struct stranger *x, const uint8_t *plain, size_t n, uint8_t *frame)
{
	size_t len = n + TAG_BYTES;

	frame[0] = (uint8_t)(len >> 8);
	frame[1] = (uint8_t)len;
	if (noise_seal(&x->send, NULL, 0, plain, n, frame + 2))
		abort();
	return len + 2;
}

#endif
