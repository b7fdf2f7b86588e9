#include "store/sorted.h"

#include <assert.h>
#include <stdbool.h>

/* The priority: the finaliser of splitmix64 over both words of the key. */
static uint64_t
rank_of(const struct sorted_link *l)
{
	uint64_t z = l->hi * 0x9e3779b97f4a7c15u + l->lo;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool
before(const struct sorted_link *l, uint64_t hi, uint64_t lo)
{
	return l->hi < hi || (l->hi == hi && l->lo < lo);
}

static bool
same(const struct sorted_link *l, uint64_t hi, uint64_t lo)
{
	return l->hi == hi && l->lo == lo;
}

/* Where the link of a key that is in the set hangs. */
static struct sorted_link **
place_of(struct sorted *s, const struct sorted_link *l)
{
	struct sorted_link **at = &s->root;

	while (*at != l) {
		assert(*at && !same(*at, l->hi, l->lo));
		at = before(*at, l->hi, l->lo) ? &(*at)->more : &(*at)->less;
	}
	return at;
}

void
sorted_add(struct sorted *s, struct sorted_link *l)
{
	struct sorted_link **at = &s->root, **less, **more, *rest;
	uint64_t rank = rank_of(l);

	while (*at && rank_of(*at) >= rank) {
		assert(!same(*at, l->hi, l->lo));
		at = before(*at, l->hi, l->lo) ? &(*at)->more : &(*at)->less;
	}
	/* What hung here is cut in two along the key. */
	rest = *at;
	*at = l;
	less = &l->less;
	more = &l->more;
	while (rest) {
		assert(!same(rest, l->hi, l->lo));
		if (before(rest, l->hi, l->lo)) {
			*less = rest;
			less = &rest->more;
			rest = rest->more;
		} else {
			*more = rest;
			more = &rest->less;
			rest = rest->less;
		}
	}
	*less = *more = NULL;
	s->count++;
}

void
sorted_remove(struct sorted *s, struct sorted_link *l)
{
	struct sorted_link **at = place_of(s, l);
	struct sorted_link *less = l->less, *more = l->more;

	while (less && more) {
		if (rank_of(less) >= rank_of(more)) {
			*at = less;
			at = &less->more;
			less = less->more;
		} else {
			*at = more;
			at = &more->less;
			more = more->less;
		}
	}
	*at = less ? less : more;
	l->less = l->more = NULL;
	s->count--;
}

void
sorted_replace(
    struct sorted *s, struct sorted_link *from, struct sorted_link *to)
{
	struct sorted_link **at = place_of(s, from);

	*to = *from;
	*at = to;
	from->less = from->more = NULL;
}

struct sorted_link *
sorted_find(const struct sorted *s, uint64_t hi, uint64_t lo)
{
	struct sorted_link *l = s->root;

	while (l && !same(l, hi, lo))
		l = before(l, hi, lo) ? l->more : l->less;
	return l;
}

struct sorted_link *
sorted_from(const struct sorted *s, uint64_t hi, uint64_t lo)
{
	struct sorted_link *l = s->root, *best = NULL;

	while (l) {
		if (before(l, hi, lo)) {
			l = l->more;
		} else {
			best = l;
			l = l->less;
		}
	}
	return best;
}

struct sorted_link *
sorted_after(const struct sorted *s, uint64_t hi, uint64_t lo)
{
	if (lo < UINT64_MAX)
		return sorted_from(s, hi, lo + 1);
	return hi < UINT64_MAX ? sorted_from(s, hi + 1, 0) : NULL;
}

struct sorted_link *
sorted_drain(struct sorted *s)
{
	struct sorted_link *l = s->root;

	if (!l)
		return NULL;
	while (l->less) {
		struct sorted_link *up = l->less;

		l->less = up->more;
		up->more = l;
		l = up;
	}
	s->root = l->more;
	s->count--;
	l->less = l->more = NULL;
	return l;
}
