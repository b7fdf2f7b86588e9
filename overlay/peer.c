#include "overlay/peer.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>

#define WORDS (ID_BYTES / 8)

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

/* ---- bytes -------------------------------------------------------------- */

/* Port 0 says that no address is known: then the ip is zeros, or one peer
 * could be written in many ways. */
void
peer_write(struct wr *w, const struct peer *p)
{
	static const uint8_t nowhere[sizeof(p->addr.ip)];

	wr_bytes(w, p->id.b, ID_BYTES);
	wr_bytes(w, p->addr.port ? p->addr.ip : nowhere, sizeof(p->addr.ip));
	wr_be(w, p->addr.port, 2);
}

void
peer_read(struct rd *r, struct peer *out)
{
	uint8_t any = 0;

	rd_bytes(r, out->id.b, ID_BYTES);
	rd_bytes(r, out->addr.ip, sizeof(out->addr.ip));
	out->addr.port = (uint16_t)rd_be(r, 2);
	for (unsigned i = 0; i < sizeof(out->addr.ip); i++)
		any |= out->addr.ip[i];
	if (any && out->addr.port == 0)
		r->bad = true;
}

/* ---- addresses ---------------------------------------------------------- */

bool
net_addr_eq(const struct net_addr *a, const struct net_addr *b)
{
	return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool
is_v4(const struct net_addr *a)
{
	return memcmp(a->ip, v4_prefix, sizeof(v4_prefix)) == 0;
}

void
net_addr_text(const struct net_addr *a, char out[NET_ADDR_TEXT_MAX])
{
	char ip[INET6_ADDRSTRLEN] = "";

	if (is_v4(a)) {
		inet_ntop(AF_INET, a->ip + sizeof(v4_prefix), ip, sizeof(ip));
		snprintf(out, NET_ADDR_TEXT_MAX, "%s:%u", ip, a->port);
	} else {
		inet_ntop(AF_INET6, a->ip, ip, sizeof(ip));
		snprintf(out, NET_ADDR_TEXT_MAX, "[%s]:%u", ip, a->port);
	}
}

/* One to five digits, no zero before others, nothing after. */
static bool
port_parse(const char *text, uint16_t *out)
{
	uint32_t v = 0;
	unsigned n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 5; n++)
		v = 10 * v + (uint32_t)(text[n] - '0');
	if (n == 0 || text[n] != '\0' || v > UINT16_MAX ||
	    (text[0] == '0' && n > 1))
		return false;
	*out = (uint16_t)v;
	return true;
}

enum err
net_addr_parse(const char *text, struct net_addr *out)
{
	bool v6 = text[0] == '[';
	const char *ip_end = strchr(text, v6 ? ']' : ':');
	char ip[INET6_ADDRSTRLEN];
	struct net_addr a;
	size_t len;

	if (!ip_end)
		return ERR_INVALID;
	text += v6;
	len = (size_t)(ip_end - text);
	ip_end += v6;
	if (len >= sizeof(ip) || *ip_end != ':' ||
	    !port_parse(ip_end + 1, &a.port))
		return ERR_INVALID;
	memcpy(ip, text, len);
	ip[len] = '\0';
	memcpy(a.ip, v4_prefix, sizeof(v4_prefix));
	if (inet_pton(v6 ? AF_INET6 : AF_INET, ip,
		v6 ? a.ip : a.ip + sizeof(v4_prefix)) != 1)
		return ERR_INVALID;
	*out = a;
	return OK;
}

/* ---- the ring ----------------------------------------------------------- */

/* Most significant word first; a simulated ring compares many ids. */
struct number {
	uint64_t w[WORDS];
};

static struct number
number_of(const struct id *id)
{
	struct number n;

	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t v;

		memcpy(&v, id->b + 8 * i, 8);
		n.w[i] = be64toh(v);
	}
	return n;
}

static void
number_to_id(const struct number *n, struct id *out)
{
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t v = htobe64(n->w[i]);

		memcpy(out->b + 8 * i, &v, 8);
	}
}

static struct number
number_sub(const struct number *a, const struct number *b)
{
	struct number d;
	bool borrow = false;

	for (unsigned i = WORDS; i-- > 0;) {
		d.w[i] = a->w[i] - b->w[i] - borrow;
		borrow = a->w[i] < b->w[i] || (a->w[i] == b->w[i] && borrow);
	}
	return d;
}

static int
number_cmp(const struct number *a, const struct number *b)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (a->w[i] != b->w[i])
			return a->w[i] < b->w[i] ? -1 : 1;
	return 0;
}

/* The shorter way between them; *from_a: it is clockwise from a to b.  Of two
 * that are opposite both ways are, and *from_a is true. */
static struct number
number_distance(const struct number *a, const struct number *b, bool *from_a)
{
	struct number ab = number_sub(b, a), ba = number_sub(a, b);

	*from_a = number_cmp(&ab, &ba) <= 0;
	return *from_a ? ab : ba;
}

void
id_sub(const struct id *a, const struct id *b, struct id *out)
{
	struct number x = number_of(a), y = number_of(b), d;

	d = number_sub(&x, &y);
	number_to_id(&d, out);
}

void
id_distance(const struct id *a, const struct id *b, struct id *out)
{
	struct number x = number_of(a), y = number_of(b), d;
	bool from_a;

	d = number_distance(&x, &y, &from_a);
	number_to_id(&d, out);
}

bool
id_nearer(const struct id *key, const struct id *a, const struct id *b)
{
	struct number k = number_of(key), x = number_of(a), y = number_of(b);
	bool a_before, b_before; /* clockwise the key comes next */
	struct number from_a = number_distance(&x, &k, &a_before);
	struct number from_b = number_distance(&y, &k, &b_before);
	int cmp = number_cmp(&from_a, &from_b);

	return cmp < 0 || (cmp == 0 && a_before && !b_before);
}

unsigned
id_shared_digits(const struct id *a, const struct id *b)
{
	for (unsigned i = 0; i < ID_BYTES; i++) {
		uint8_t differ = a->b[i] ^ b->b[i];

		if (differ)
			return 2 * i + (differ < 16);
	}
	return ID_DIGITS;
}
