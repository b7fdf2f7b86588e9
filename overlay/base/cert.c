/* cert.c - rings and node certificates.
 *
 *   certificate  u8 version (1), ring[32], sign[32], dh[32], u64 serial,
 *                u64 from_s, u64 until_s (from_s < until_s <= TIME_S_MAX),
 *                u8 n (<= SITE_MAX), site[n] (site_check(), or n = 0),
 *                signature[64] of the authority over CERT_LABEL with its NUL
 *                and all before it
 *
 * Big-endian, nothing after.  The node's own id is the hash of `sign` and
 * therefore is not said.  Which ring comes before the signature: a certificate
 * of another ring is not a forgery, and says so. */
#include "overlay/base/cert_private.h"
#include "overlay/base/keys.h"
#include "overlay/base/wire.h"

#include <assert.h>

#define VERSION 1

_Static_assert(1 + ID_BYTES + SIGN_PUBLIC_BYTES + DH_PUBLIC_BYTES + 3 * 8 + 1 +
		       SITE_MAX + SIGNATURE_BYTES <=
		   CERT_MAX,
    "every certificate fits");

void
ring_init(struct ring *r, const uint8_t authority[SIGN_PUBLIC_BYTES],
    const char *name)
{
	size_t len = strlen(name);

	assert(len <= RING_NAME_MAX);
	memset(r, 0, sizeof(*r));
	memcpy(r->authority, authority, SIGN_PUBLIC_BYTES);
	hash_bytes(authority, SIGN_PUBLIC_BYTES, &r->id);
	memcpy(r->name, name, len);
}

bool
site_check(const char *site)
{
	return strlen(site) <= SITE_MAX && !strchr(site, '.') &&
	       domain_check(site);
}

void
node_cert_id(const struct node_cert *c, struct id *out)
{
	hash_bytes(c->sign, SIGN_PUBLIC_BYTES, out);
}

static bool
times_can_be(int64_t from_s, int64_t until_s)
{
	return 0 <= from_s && from_s < until_s && until_s <= TIME_S_MAX;
}

/* All but the signature. */
static void
write_cert(struct wr *w, const struct node_cert *c)
{
	size_t site = strlen(c->site);

	wr_be(w, VERSION, 1);
	wr_bytes(w, c->ring.b, ID_BYTES);
	wr_bytes(w, c->sign, SIGN_PUBLIC_BYTES);
	wr_bytes(w, c->dh, DH_PUBLIC_BYTES);
	wr_be(w, c->serial, 8);
	wr_be(w, (uint64_t)c->from_s, 8);
	wr_be(w, (uint64_t)c->until_s, 8);
	wr_be(w, site, 1);
	wr_bytes(w, c->site, site);
}

void
node_cert_sign(const struct node_cert *c, const struct sign_key *authority,
    uint8_t out[CERT_MAX], size_t *len)
{
	uint8_t text[sizeof(CERT_LABEL) + CERT_MAX];
	struct id ring;
	struct wr w;

	hash_bytes(authority->public, SIGN_PUBLIC_BYTES, &ring);
	assert(id_eq(&ring, &c->ring));
	assert(c->site[0] == '\0' || site_check(c->site));
	assert(times_can_be(c->from_s, c->until_s));
	wr_init(&w, text, sizeof(text));
	wr_bytes(&w, CERT_LABEL, sizeof(CERT_LABEL));
	write_cert(&w, c);
	assert(!w.bad);
	*len = wr_len(&w) - sizeof(CERT_LABEL);
	memcpy(out, text + sizeof(CERT_LABEL), *len);
	sign_bytes(authority, text, wr_len(&w), out + *len);
	*len += SIGNATURE_BYTES;
}

static enum err
verify(const struct ring *ring, const uint8_t *bytes, size_t len,
    const uint8_t *signature)
{
	uint8_t text[sizeof(CERT_LABEL) + CERT_MAX];

	assert(len <= CERT_MAX);
	memcpy(text, CERT_LABEL, sizeof(CERT_LABEL));
	memcpy(text + sizeof(CERT_LABEL), bytes, len);
	return sign_verify(
	    ring->authority, text, sizeof(CERT_LABEL) + len, signature);
}

enum err
node_cert_read(const uint8_t *bytes, size_t len, struct node_cert *out)
{
	struct node_cert c;
	size_t site;
	struct rd r;

	memset(&c, 0, sizeof(c));
	if (len > CERT_MAX)
		return ERR_MALFORMED;
	rd_init(&r, bytes, len);
	if (rd_be(&r, 1) != VERSION)
		return ERR_MALFORMED;
	rd_bytes(&r, c.ring.b, ID_BYTES);
	rd_bytes(&r, c.sign, SIGN_PUBLIC_BYTES);
	rd_bytes(&r, c.dh, DH_PUBLIC_BYTES);
	c.serial = rd_be(&r, 8);
	c.from_s = (int64_t)rd_be(&r, 8);
	c.until_s = (int64_t)rd_be(&r, 8);
	site = (size_t)rd_be(&r, 1);
	if (site > SITE_MAX)
		return ERR_MALFORMED;
	rd_bytes(&r, c.site, site);
	rd_take(&r, SIGNATURE_BYTES);
	if (!rd_done(&r) || !times_can_be(c.from_s, c.until_s) ||
	    strlen(c.site) != site || (site && !site_check(c.site)))
		return ERR_MALFORMED;
	*out = c;
	return OK;
}

enum err
node_cert_open(const struct ring *ring, int64_t now_s, const uint8_t *bytes,
    size_t len, struct node_cert *out)
{
	struct node_cert c;
	size_t body;
	enum err e;

	if ((e = node_cert_read(bytes, len, &c)))
		return e;
	if (!id_eq(&c.ring, &ring->id))
		return ERR_DENIED;
	body = len - SIGNATURE_BYTES;
	if ((e = verify(ring, bytes, body, bytes + body)))
		return e;
	if (now_s < c.from_s - CLOCK_SLACK_S ||
	    now_s >= c.until_s + CLOCK_SLACK_S)
		return ERR_DENIED;
	*out = c;
	return OK;
}
