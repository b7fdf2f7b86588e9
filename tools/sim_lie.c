/* What a node that lies sends.  It has a certificate, so its links are good;
 * what comes over them is not. */
#include "tools/sim_private.h"

#include <string.h>

#define GARBAGE_MAX 600u

static void
garbage(struct sim *s, uint8_t *out, size_t *len)
{
	*len = rng_below(&s->lies, GARBAGE_MAX);
	for (size_t k = 0; k < *len; k++)
		out[k] = (uint8_t)rng_u64(&s->lies);
	/* Half of them look like messages at first. */
	if (*len && rng_u64(&s->lies) & 1)
		out[0] = (uint8_t)(1 + rng_below(&s->lies, MSG_KIND_END - 1));
}

/* Neighbours of its own making, close by on both sides. */
static void
invent(struct sim *s, const struct sim_node *n, struct msg_leaves *m)
{
	for (unsigned k = 0; k < (unsigned)m->left + m->right; k++) {
		if (rng_u64(&s->lies) & 1)
			continue;
		m->peer[k].id = n->self.id;
		for (unsigned b = 4; b < ID_BYTES; b++)
			m->peer[k].id.b[b] = (uint8_t)rng_u64(&s->lies);
		m->peer[k].addr.ip[15] ^= (uint8_t)rng_u64(&s->lies);
	}
}

static void
bury(struct msg_leaves *m)
{
	m->failed = 0;
	for (unsigned k = 0;
	     k < (unsigned)m->left + m->right && m->failed < FAILED_MAX; k++)
		m->dead[m->failed++] = m->peer[k].id;
}

bool
sim_lie_frame(struct sim *s, const struct sim_node *n, const uint8_t *bytes,
    size_t len, uint8_t *out, size_t *out_len)
{
	struct msg_leaves m;

	if (rng_u64(&s->lies) & 1 || len > LIE_MAX || len == 0)
		return false;
	switch ((enum sim_lie)n->lie) {
	case SIM_LIE_GARBAGE:
		garbage(s, out, out_len);
		return true;
	case SIM_LIE_FLIP:
		memcpy(out, bytes, len);
		out[rng_below(&s->lies, len)] ^=
		    (uint8_t)(1u << rng_below(&s->lies, 8));
		*out_len = len;
		return true;
	case SIM_LIE_LEAVES:
	case SIM_LIE_DEAD:
		if (message_kind(bytes, len) != MSG_LEAVES ||
		    msg_leaves_decode(bytes, len, &m))
			return false;
		if (n->lie == SIM_LIE_LEAVES)
			invent(s, n, &m);
		else
			bury(&m);
		return msg_leaves_encode(&m, out, LIE_MAX, out_len);
	default:
		return false;
	}
}
