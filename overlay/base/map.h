/* map.h - a hash table of pointers, hashed with XXH3 by its users.
 *
 * The table owns no item; an item holds its own key.  Deletion leaves no
 * tombstone (backward shift), so a table that lives for months stays fast.
 * Zero-initialise, or map_init(); map_fini() frees the slots only. */
#ifndef POST_BASE_MAP_H
#define POST_BASE_MAP_H

#include "overlay/base/outcome.h"

#include <stdbool.h>
#include <stdint.h>

struct map {
	struct map_slot *slot;
	size_t cap, count; /* cap is 0 or a power of two */
};

typedef bool map_match(const void *item, const void *key);

void map_init(struct map *m);
void map_fini(struct map *m);

/* XXH3-64 of bytes, and a mix of one or two integers. */
uint64_t hash64(const void *bytes, size_t len, uint64_t seed);
uint64_t hash64_u64(uint64_t a, uint64_t b);

/* The item that matches, or NULL. */
void *map_find(const struct map *m, uint64_t hash, map_match *match,
    const void *key);

/* Add an item known not to be there.  ERR_NOMEM leaves the map as it was. */
enum err map_add(struct map *m, uint64_t hash, void *item) MUST_CHECK;

/* Make room for `more` items, so that so many map_add() can not fail. */
enum err map_reserve(struct map *m, size_t more) MUST_CHECK;

/* Take the matching item out and return it, or NULL. */
void *map_remove(struct map *m, uint64_t hash, map_match *match,
    const void *key);

/* Walk all items in no useful order: start with *pos = 0; NULL at the end.
 * The map must not change meanwhile. */
void *map_next(const struct map *m, size_t *pos);

#endif
