/* replicas_place.c - who holds an id.
 *
 * The holders change along the ring only where the order of two nodes by
 * distance changes, which is half-way between them; and only nodes that are
 * few places apart are ever both among the nearest.  So the ring is cut once,
 * when the nodes change, into segments of constant holders: a look-up is a
 * binary search, and whatever goes by ranges (digests, leases) has them.
 *
 * Sites: of the window (PAST_WINDOW() nearest), first those whose site no nearer holder
 * has, then, if these are too few, the nearest of the others.  A window, so
 * that the choice rests on nodes that everyone near the id knows. */
#include "store/replicas_private.h"

#include <assert.h>
#include <stdlib.h>

#define CUTS_MAX (REPLICA_NODES_MAX * REPLICA_NODES_MAX + 3)

/* ---- the ring ----------------------------------------------------------- */

/* a - b modulo 2^256. */
static void
subtract(const struct id *a, const struct id *b, struct id *out)
{
	unsigned borrow = 0;

	for (unsigned i = ID_BYTES; i-- > 0;) {
		unsigned d = 256u + a->b[i] - b->b[i] - borrow;

		out->b[i] = (uint8_t)d;
		borrow = d < 256u;
	}
}

bool
past_id_next(struct id *id)
{
	for (unsigned i = ID_BYTES; i-- > 0;)
		if (++id->b[i])
			return true;
	return false;
}

void
past_id_prev(struct id *id)
{
	for (unsigned i = ID_BYTES; i-- > 0;)
		if (id->b[i]--)
			return;
}

/* from + (to - from) / 2, the ring's way round. */
void
past_middle(const struct id *from, const struct id *to, struct id *out)
{
	struct id half;
	unsigned carry = 0;

	subtract(to, from, &half);
	for (unsigned i = 0; i < ID_BYTES; i++) {
		unsigned bit = half.b[i] & 1u;

		half.b[i] = (uint8_t)(carry << 7 | half.b[i] >> 1);
		carry = bit;
	}
	carry = 0;
	for (unsigned i = ID_BYTES; i-- > 0;) {
		unsigned sum = from->b[i] + half.b[i] + carry;

		out->b[i] = (uint8_t)sum;
		carry = sum >> 8;
	}
}

/* The shorter way between two ids.  *before: a lies before key. */
static void
distance(const struct id *key, const struct id *a, struct id *out, bool *before)
{
	struct id other;

	subtract(key, a, out);
	subtract(a, key, &other);
	*before = id_cmp(out, &other) <= 0;
	if (!*before)
		*out = other;
}

/* As Pastry's: of two at one distance the one that lies before the key. */
bool
past_nearer(const struct id *key, const struct id *a, const struct id *b)
{
	bool a_before, b_before;
	struct id da, db;
	int order;

	distance(key, a, &da, &a_before);
	distance(key, b, &db, &b_before);
	order = id_cmp(&da, &db);
	return order ? order < 0 : a_before && !b_before;
}

/* ---- choosing ----------------------------------------------------------- */

static unsigned
window_max(const struct past_place *p)
{
	unsigned max = PAST_WINDOW(p->k);

	return max < p->count ? max : p->count;
}

/* The window of a key, nearest first.  False: nodes that we do not know may be
 * in it. */
static bool
window(const struct past_place *p, const struct id *key, uint8_t *out)
{
	unsigned max = window_max(p), above = 0, taken, up, down;
	bool known = true;

	if (!p->whole && PAST_WINDOW(p->k) > p->count)
		known = false;
	while (above < p->count && id_cmp(&p->node[above].id, key) < 0)
		above++;
	up = above % p->count;
	down = (above + p->count - 1) % p->count;
	/* Outside the arc that we know, or at its very beginning? */
	if (!p->whole && up == p->left)
		known = false;
	for (taken = 0; taken < max; taken++) {
		const struct id *u = &p->node[up].id, *d = &p->node[down].id;
		bool last = taken + 1 == max;

		if (up == down || past_nearer(key, u, d)) {
			out[taken] = (uint8_t)up;
			known = known && (p->whole || up != p->right || last);
			up = (up + 1) % p->count;
		} else {
			out[taken] = (uint8_t)down;
			known = known && (p->whole || down != p->left || last);
			down = (down + p->count - 1) % p->count;
		}
	}
	return known;
}

static bool
site_taken(
    const struct past_place *p, const struct past_segment *s, uint64_t site)
{
	for (unsigned i = 0; site && i < s->count; i++)
		if (p->node[s->node[i]].site == site)
			return true;
	return false;
}

static void
choose(const struct past_place *p, const struct id *key, struct past_segment *s)
{
	uint8_t near[3 * REPLICA_K_MAX], role[3 * REPLICA_K_MAX] = { 0 };
	unsigned max = window_max(p), n = 0;

	memset(s, 0, sizeof(*s));
	s->from = *key;
	s->known = window(p, key, near);
	s->window = (uint8_t)max;
	for (unsigned i = 0; i < max && s->count < p->k; i++)
		if (!site_taken(p, s, p->node[near[i]].site)) {
			role[i] = 1;
			s->node[s->count++] = near[i];
		}
	for (unsigned i = 0; i < max && s->count < p->k; i++)
		if (!role[i]) {
			role[i] = 1;
			s->count++;
		}
	for (int holder = 1; holder >= 0; holder--)
		for (unsigned i = 0; i < max; i++)
			if (role[i] == holder)
				s->node[n++] = near[i];
	assert(n == max);
}

static int
by_id(const void *a, const void *b)
{
	return id_cmp(a, b);
}

static bool
same_holders(const struct past_segment *a, const struct past_segment *b)
{
	return a->known == b->known && a->count == b->count &&
	       memcmp(a->node, b->node, a->window) == 0;
}

static enum err
cut(struct past_place *p)
{
	unsigned apart =
	    PAST_WINDOW(p->k) < p->count ? PAST_WINDOW(p->k) : p->count - 1;
	struct past_segment *segment, *fit;
	struct id *at;
	size_t cuts = 0;

	at = malloc(CUTS_MAX * sizeof(*at));
	segment = malloc(CUTS_MAX * sizeof(*segment));
	if (!at || !segment)
		goto nomem;
	memset(&at[cuts++], 0, sizeof(*at)); /* no segment wraps */
	at[cuts] = p->node[p->left].id;
	past_id_next(&at[cuts++]);
	at[cuts] = p->node[p->right].id;
	past_id_next(&at[cuts++]);
	for (unsigned i = 0; i < p->count; i++)
		for (unsigned j = 1; j <= apart; j++) {
			past_middle(&p->node[i].id,
			    &p->node[(i + j) % p->count].id, &at[cuts]);
			past_id_next(&at[cuts++]);
		}
	assert(cuts <= CUTS_MAX);
	qsort(at, cuts, sizeof(*at), by_id);
	p->segments = 0;
	for (size_t i = 0; i < cuts; i++) {
		struct past_segment *s = &segment[p->segments];

		if (i && id_eq(&at[i], &at[i - 1]))
			continue;
		choose(p, &at[i], s);
		if (p->segments == 0 || !same_holders(s - 1, s))
			p->segments++;
	}
	fit = realloc(segment, p->segments * sizeof(*segment));
	p->segment = fit ? fit : segment;
	free(at);
	return OK;
nomem:
	free(at);
	free(segment);
	return ERR_NOMEM;
}

static int
by_node(const void *a, const void *b)
{
	const struct replica_node *x = a, *y = b;

	return id_cmp(&x->id, &y->id);
}

static unsigned
index_of(const struct past_place *p, const struct id *id)
{
	unsigned i = 0;

	while (!id_eq(&p->node[i].id, id))
		i++;
	assert(i < p->count);
	return i;
}

enum err
past_place_set(struct past_place *p, const struct replica_node *self,
    unsigned k, const struct replica_node *nodes, size_t count,
    size_t left_count, bool whole)
{
	struct past_place next = { .k = k, .whole = whole };
	enum err e;

	assert(k > 0 && k <= REPLICA_K_MAX && left_count <= count);
	if (count >= REPLICA_NODES_MAX)
		return ERR_INVALID;
	next.count = (unsigned)count + 1;
	next.node[0] = *self;
	if (count)
		memcpy(&next.node[1], nodes, count * sizeof(*nodes));
	qsort(next.node, next.count, sizeof(*next.node), by_node);
	for (unsigned i = 1; i < next.count; i++)
		if (id_eq(&next.node[i - 1].id, &next.node[i].id))
			return ERR_INVALID;
	next.left =
	    index_of(&next, left_count ? &nodes[left_count - 1].id : &self->id);
	next.right = index_of(
	    &next, count > left_count ? &nodes[count - 1].id : &self->id);
	e = cut(&next);
	if (e)
		return e;
	past_place_fini(p);
	*p = next;
	return OK;
}

void
past_place_fini(struct past_place *p)
{
	free(p->segment);
	memset(p, 0, sizeof(*p));
}

const struct past_segment *
past_place_find(const struct past_place *p, const struct id *id)
{
	size_t low = 0, high = p->segments;

	assert(p->segments);
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (id_cmp(&p->segment[middle].from, id) <= 0)
			low = middle;
		else
			high = middle;
	}
	return &p->segment[low];
}

void
past_segment_end(
    const struct past_place *p, const struct past_segment *s, struct id *out)
{
	if (s + 1 < p->segment + p->segments) {
		*out = s[1].from;
		past_id_prev(out);
	} else
		memset(out, 0xff, sizeof(*out));
}
