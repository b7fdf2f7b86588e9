/* cert_test.h - an authority, its ring and nodes of it, for tests and fuzz
 * targets: all from small numbers, so that one number is one key. */
#ifndef POST_TESTS_UNIT_CERT_TEST_H
#define POST_TESTS_UNIT_CERT_TEST_H

#include "overlay/base/cert_private.h"

#include <stdlib.h>

#define T0_S INT64_C(1790000000) /* 2026-09-21 */
#define YEAR_S (365 * 86400)

static inline void
an_authority(unsigned number, struct sign_key *key, struct ring *ring)
{
	uint8_t seed[SIGN_SEED_BYTES] = { 'a', (uint8_t)number };

	sign_key_from_seed(seed, key);
	ring_init(ring, key->public, "rice.example");
}

static inline void
a_dh_key(unsigned number, struct dh_key *key)
{
	uint8_t secret[KEY_BYTES] = { 'd', (uint8_t)number };

	dh_key_from_secret(secret, key);
}

/* Node `number` of the ring, valid for a year from T0_S. */
static inline void
a_cert(const struct ring *ring, unsigned number, struct node_cert *c)
{
	uint8_t seed[SIGN_SEED_BYTES] = { 'n', (uint8_t)number };
	struct sign_key sign;
	struct dh_key dh;

	memset(c, 0, sizeof(*c));
	sign_key_from_seed(seed, &sign);
	a_dh_key(number, &dh);
	c->ring = ring->id;
	memcpy(c->sign, sign.public, sizeof(c->sign));
	memcpy(c->dh, dh.public, sizeof(c->dh));
	memcpy(c->site, "cellar", sizeof("cellar"));
	c->serial = number;
	c->from_s = T0_S;
	c->until_s = T0_S + YEAR_S;
}

/* A copy in a heap block of exactly its size, so that AddressSanitizer sees a
 * read one byte too far. */
static inline void *
exact_copy(const void *bytes, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

#endif
