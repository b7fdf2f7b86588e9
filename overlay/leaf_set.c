/* The two sides are one array.
 *
 * Members stand in it as one meets them clockwise from ourselves, `count` of
 * them, at most 2 * half.  The right side is its first `half` from the front,
 * the left side its last `half` from the back.  So a node that stands on both
 * sides is there once; a side is not full, or both meet, exactly if there is
 * room left; and the members are the same whatever the order in which they
 * were heard of.  After a member of a full set is removed the sides meet for
 * as long as no other is known: from here that looks like a ring that is
 * smaller by one. */
#include "overlay/leaf_set.h"

#include <assert.h>
#include <stdlib.h>

struct leaf_set {
	struct id self;
	uint8_t half, count;
	struct peer peer[]; /* 2 * half */
};

_Static_assert(2 * LEAF_HALF_MAX <= UINT8_MAX, "count is a byte");

enum err
leaf_set_new(const struct id *self, unsigned half, struct leaf_set **out)
{
	struct leaf_set *ls;

	assert(half >= 1 && half <= LEAF_HALF_MAX);
	ls = calloc(1, sizeof(*ls) + 2 * half * sizeof(ls->peer[0]));
	if (!ls)
		return ERR_NOMEM;
	ls->self = *self;
	ls->half = (uint8_t)half;
	*out = ls;
	return OK;
}

void
leaf_set_free(struct leaf_set *ls)
{
	free(ls);
}

size_t
leaf_set_bytes(const struct leaf_set *ls)
{
	return sizeof(*ls) + 2u * ls->half * sizeof(ls->peer[0]);
}

/* Clockwise from ourselves, is a met before b?  Ids above ours come first,
 * then, past the end of the numbers, those below. */
static bool
is_before(const struct leaf_set *ls, const struct id *a, const struct id *b)
{
	bool a_wraps = id_cmp(a, &ls->self) < 0;
	bool b_wraps = id_cmp(b, &ls->self) < 0;

	return a_wraps != b_wraps ? b_wraps : id_cmp(a, b) < 0;
}

/* How many members are met before id. */
static unsigned
place_of(const struct leaf_set *ls, const struct id *id)
{
	unsigned low = 0, high = ls->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (is_before(ls, &ls->peer[middle].id, id))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
is_member_at(const struct leaf_set *ls, unsigned at, const struct id *id)
{
	return at < ls->count && id_eq(&ls->peer[at].id, id);
}

/* Is there room at this place?  In a full set the middle is beyond both
 * ends. */
static bool
is_open(const struct leaf_set *ls, unsigned at)
{
	return ls->count < 2 * ls->half || at != ls->half;
}

static void
take_out(struct leaf_set *ls, unsigned at)
{
	ls->count--;
	memmove(ls->peer + at, ls->peer + at + 1,
	    (ls->count - at) * sizeof(ls->peer[0]));
}

bool
leaf_set_add(struct leaf_set *ls, const struct peer *p)
{
	unsigned at = place_of(ls, &p->id);

	if (is_member_at(ls, at, &p->id)) {
		if (p->addr.port)
			ls->peer[at].addr = p->addr;
		return false;
	}
	if (id_eq(&p->id, &ls->self) || !is_open(ls, at))
		return false;
	if (ls->count == 2 * ls->half && at < ls->half) {
		take_out(ls, ls->half - 1u); /* the right side's furthest */
	} else if (ls->count == 2 * ls->half) {
		take_out(ls, ls->half); /* the left side's */
		at--;
	}
	memmove(ls->peer + at + 1, ls->peer + at,
	    (ls->count - at) * sizeof(ls->peer[0]));
	ls->peer[at] = *p;
	ls->count++;
	return true;
}

bool
leaf_set_wants(const struct leaf_set *ls, const struct id *id)
{
	unsigned at = place_of(ls, id);

	return !id_eq(id, &ls->self) && !is_member_at(ls, at, id) &&
	       is_open(ls, at);
}

bool
leaf_set_remove(struct leaf_set *ls, const struct id *id)
{
	unsigned at = place_of(ls, id);

	if (!is_member_at(ls, at, id))
		return false;
	take_out(ls, at);
	return true;
}

const struct peer *
leaf_set_find(const struct leaf_set *ls, const struct id *id)
{
	unsigned at = place_of(ls, id);

	return is_member_at(ls, at, id) ? &ls->peer[at] : NULL;
}

/* ---- sides -------------------------------------------------------------- */

unsigned
leaf_set_side(const struct leaf_set *ls, enum side side)
{
	(void)side; /* they grow and shrink together */
	return ls->count < ls->half ? ls->count : ls->half;
}

const struct peer *
leaf_set_at(const struct leaf_set *ls, enum side side, unsigned n)
{
	if (n >= leaf_set_side(ls, side))
		return NULL;
	return &ls->peer[side == SIDE_LEFT ? ls->count - 1 - n : n];
}

unsigned
leaf_set_count(const struct leaf_set *ls)
{
	return ls->count;
}

const struct peer *
leaf_set_member(const struct leaf_set *ls, unsigned n)
{
	unsigned left = leaf_set_side(ls, SIDE_LEFT);

	if (n >= ls->count)
		return NULL;
	return &ls->peer[n < left ? ls->count - 1 - n : n - left];
}

/* ---- keys --------------------------------------------------------------- */

bool
leaf_set_is_whole_ring(const struct leaf_set *ls)
{
	return ls->count < 2 * ls->half;
}

bool
leaf_set_covers(const struct leaf_set *ls, const struct id *key)
{
	unsigned at = place_of(ls, key);

	return is_open(ls, at) || is_member_at(ls, at, key);
}

/* Stop 0 is ourselves, stop n the n-th member clockwise, and then again. */
static const struct id *
id_at_stop(const struct leaf_set *ls, unsigned stop)
{
	return stop ? &ls->peer[stop - 1].id : &ls->self;
}

static const struct peer *
peer_at_stop(const struct leaf_set *ls, unsigned stop)
{
	return stop ? &ls->peer[stop - 1] : NULL;
}

/* The nearest to a key stands next to it, on one side or the other. */
const struct peer *
leaf_set_nearest(const struct leaf_set *ls, const struct id *key)
{
	unsigned before = place_of(ls, key);
	unsigned after = before == ls->count ? 0 : before + 1;

	if (id_nearer(key, id_at_stop(ls, after), id_at_stop(ls, before)))
		return peer_at_stop(ls, after);
	return peer_at_stop(ls, before);
}

/* Of those not yet taken, which stand together from `after` round to
 * `before`, one at an end is nearest: from either end the distance grows as
 * far as the point opposite the key. */
unsigned
leaf_set_replicas(const struct leaf_set *ls, const struct peer *self,
    const struct id *key, unsigned n, struct peer *out)
{
	unsigned before = place_of(ls, key);
	unsigned after = before == ls->count ? 0 : before + 1;

	assert(id_eq(&self->id, &ls->self));
	if (n > ls->count + 1u)
		n = ls->count + 1u;
	for (unsigned i = 0; i < n; i++) {
		unsigned stop = before;

		if (id_nearer(
			key, id_at_stop(ls, after), id_at_stop(ls, before))) {
			stop = after;
			after = after == ls->count ? 0 : after + 1;
		} else {
			before = before == 0 ? ls->count : before - 1u;
		}
		out[i] = stop ? *peer_at_stop(ls, stop) : *self;
	}
	return n;
}
