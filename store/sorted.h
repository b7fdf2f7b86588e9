/* sorted.h - items in the order of a 128-bit key, held by links inside them.
 *
 * The links are part of the items, so that adding, taking out and moving items
 * from one set to another needs no memory and can not fail.  The shape is a
 * treap (Seidel and Aragon, 1996) whose priorities are a mix of the keys: it
 * follows from the keys alone, not from the order in which they came and not
 * from addresses, and its depth is about 2 ln n for keys in any order.
 *
 * Zero-initialise.  The set owns no item. */
#ifndef POST_STORE_SORTED_H
#define POST_STORE_SORTED_H

#include <stddef.h>
#include <stdint.h>

struct sorted_link {
	struct sorted_link *less, *more;
	uint64_t hi, lo; /* the key */
};

struct sorted {
	struct sorted_link *root;
	size_t count;
};

/* The item that a link is the member `member` of; NULL stays NULL. */
#define SORTED_ITEM(link, type, member)                                        \
	((type *)sorted_item((link), offsetof(type, member)))

static inline void *
sorted_item(struct sorted_link *l, size_t offset)
{
	return l ? (char *)l - offset : NULL;
}

/* Add a link whose key (set by the caller) is not in the set. */
void sorted_add(struct sorted *s, struct sorted_link *l);

/* Take out a link that is in the set. */
void sorted_remove(struct sorted *s, struct sorted_link *l);

/* Put `to`, with the key of `from`, in the place of `from`. */
void sorted_replace(
    struct sorted *s, struct sorted_link *from, struct sorted_link *to);

/* The link of this key, or NULL. */
struct sorted_link *sorted_find(
    const struct sorted *s, uint64_t hi, uint64_t lo);

/* The first link at this key or after it, or NULL. */
struct sorted_link *sorted_from(
    const struct sorted *s, uint64_t hi, uint64_t lo);

/* The first link after this key, or NULL. */
struct sorted_link *sorted_after(
    const struct sorted *s, uint64_t hi, uint64_t lo);

/* Take out the least link, or NULL.  Only to empty the set: each call costs
 * O(1) on average, but the links left behind are no treap any more. */
struct sorted_link *sorted_drain(struct sorted *s);

#endif
