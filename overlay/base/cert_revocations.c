/* cert_revocations.c - the list of nodes that are no longer let in.
 *
 *   revocations  u8 version (1), ring[32], u64 number, u16 count
 *                (<= REVOKED_MAX; 0 if number is 0), node[32] count times,
 *                strictly rising, signature[64] of the authority over
 *                REVOCATIONS_LABEL with its NUL and all before it
 *
 * Big-endian, nothing after. */
#include "overlay/base/cert_private.h"
#include "overlay/base/wire.h"

#include <assert.h>
#include <stdlib.h>

#define VERSION 1
#define HEADER_BYTES (1 + ID_BYTES + 8 + 2)

_Static_assert(REVOKED_MAX <= UINT16_MAX, "their count is two bytes");

void
revocations_fini(struct revocations *r)
{
	free(r->node);
	memset(r, 0, sizeof(*r));
}

/* Where the node is, or would be. */
static size_t
seek(const struct revocations *r, const struct id *node, bool *found)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = id_cmp(&r->node[mid], node);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*found = false;
	return low;
}

bool
revocations_has(const struct revocations *r, const struct id *node)
{
	bool found;

	seek(r, node, &found);
	return found;
}

enum err
revocations_add(struct revocations *r, const struct id *node)
{
	struct id *grown;
	bool found;
	size_t at = seek(r, node, &found);

	if (found)
		return OK;
	if (r->count >= REVOKED_MAX || r->number == UINT64_MAX)
		return ERR_RANGE;
	grown = realloc(r->node, (r->count + 1) * sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	memmove(grown + at + 1, grown + at, (r->count - at) * sizeof(*grown));
	grown[at] = *node;
	r->node = grown;
	r->count++;
	r->number++;
	return OK;
}

enum err
revocations_sign(const struct ring *ring, const struct revocations *r,
    const struct sign_key *authority, uint8_t **bytes, size_t *len)
{
	size_t label = sizeof(REVOCATIONS_LABEL);
	size_t whole = HEADER_BYTES + r->count * ID_BYTES + SIGNATURE_BYTES;
	uint8_t *text, *signature;
	struct wr w;

	assert(
	    same_bytes(ring->authority, authority->public, SIGN_PUBLIC_BYTES));
	assert(r->count <= REVOKED_MAX && (r->number || r->count == 0));
	text = malloc(label + whole);
	if (!text)
		return ERR_NOMEM;
	wr_init(&w, text, label + whole);
	wr_bytes(&w, REVOCATIONS_LABEL, label);
	wr_be(&w, VERSION, 1);
	wr_bytes(&w, ring->id.b, ID_BYTES);
	wr_be(&w, r->number, 8);
	wr_be(&w, r->count, 2);
	for (size_t i = 0; i < r->count; i++)
		wr_bytes(&w, r->node[i].b, ID_BYTES);
	signature = wr_take(&w, SIGNATURE_BYTES);
	assert(signature && w.p == w.end);
	sign_bytes(authority, text, (size_t)(signature - text), signature);
	memmove(text, text + label, whole); /* the label is not sent */
	*bytes = text;
	*len = whole;
	return OK;
}

static enum err
verify(const struct ring *ring, const uint8_t *bytes, size_t len,
    const uint8_t *signature)
{
	size_t label = sizeof(REVOCATIONS_LABEL);
	uint8_t *text = malloc(label + len);
	enum err e;

	if (!text)
		return ERR_NOMEM;
	memcpy(text, REVOCATIONS_LABEL, label);
	memcpy(text + label, bytes, len);
	e = sign_verify(ring->authority, text, label + len, signature);
	free(text);
	return e;
}

enum err
revocations_open(const struct ring *ring, const uint8_t *bytes, size_t len,
    struct revocations *out)
{
	const uint8_t *nodes, *signature;
	struct revocations list = { 0 };
	struct id of;
	struct rd r;
	enum err e;

	rd_init(&r, bytes, len);
	if (rd_be(&r, 1) != VERSION)
		return ERR_MALFORMED;
	rd_bytes(&r, of.b, ID_BYTES);
	list.number = rd_be(&r, 8);
	list.count = (size_t)rd_be(&r, 2);
	if (list.count > REVOKED_MAX || (list.number == 0 && list.count))
		return ERR_MALFORMED;
	nodes = rd_take(&r, list.count * ID_BYTES);
	signature = rd_take(&r, SIGNATURE_BYTES);
	if (!rd_done(&r))
		return ERR_MALFORMED;
	for (size_t i = 1; i < list.count; i++)
		if (memcmp(nodes + (i - 1) * ID_BYTES, nodes + i * ID_BYTES,
			ID_BYTES) >= 0)
			return ERR_MALFORMED;
	if (!id_eq(&of, &ring->id))
		return ERR_DENIED;
	if ((e = verify(ring, bytes, len - SIGNATURE_BYTES, signature)))
		return e;
	if (list.count) {
		list.node = malloc(list.count * sizeof(*list.node));
		if (!list.node)
			return ERR_NOMEM;
		memcpy(list.node, nodes, list.count * sizeof(*list.node));
	}
	*out = list;
	return OK;
}
