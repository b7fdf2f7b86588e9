#include "overlay/base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAP_MIN 16

struct map_slot {
	uint64_t hash;
	void *item; /* NULL: free */
};

uint64_t
hash64(const void *bytes, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, len, seed);
}

uint64_t
hash64_u64(uint64_t a, uint64_t b)
{
	uint64_t words[2] = { a, b };

	return XXH3_64bits(words, sizeof(words));
}

void
map_init(struct map *m)
{
	memset(m, 0, sizeof(*m));
}

void
map_fini(struct map *m)
{
	free(m->slot);
	map_init(m);
}

static size_t
find_slot(const struct map *m, uint64_t hash, map_match *match, const void *key)
{
	size_t mask = m->cap - 1, i;

	for (i = hash & mask; m->slot[i].item; i = (i + 1) & mask)
		if (m->slot[i].hash == hash && match(m->slot[i].item, key))
			return i;
	return SIZE_MAX;
}

void *
map_find(const struct map *m, uint64_t hash, map_match *match, const void *key)
{
	size_t i;

	if (m->count == 0)
		return NULL;
	i = find_slot(m, hash, match, key);
	return i == SIZE_MAX ? NULL : m->slot[i].item;
}

static void
place(struct map *m, uint64_t hash, void *item)
{
	size_t mask = m->cap - 1, i = hash & mask;

	while (m->slot[i].item)
		i = (i + 1) & mask;
	m->slot[i] = (struct map_slot){ hash, item };
}

enum err
map_reserve(struct map *m, size_t more)
{
	struct map old = *m;
	size_t cap = old.cap ? old.cap : MAP_MIN;

	while ((old.count + more) * 4 > cap * 3)
		cap *= 2;
	if (cap == old.cap)
		return OK;
	m->slot = calloc(cap, sizeof(*m->slot));
	if (!m->slot) {
		m->slot = old.slot;
		return ERR_NOMEM;
	}
	m->cap = cap;
	for (size_t i = 0; i < old.cap; i++)
		if (old.slot[i].item)
			place(m, old.slot[i].hash, old.slot[i].item);
	free(old.slot);
	return OK;
}

enum err
map_add(struct map *m, uint64_t hash, void *item)
{
	enum err e = map_reserve(m, 1);

	assert(item);
	if (e)
		return e;
	place(m, hash, item);
	m->count++;
	return OK;
}

void *
map_remove(struct map *m, uint64_t hash, map_match *match, const void *key)
{
	size_t mask = m->cap - 1, hole, i;
	void *item;

	if (m->count == 0)
		return NULL;
	hole = find_slot(m, hash, match, key);
	if (hole == SIZE_MAX)
		return NULL;
	item = m->slot[hole].item;
	m->slot[hole].item = NULL;
	m->count--;
	/* Pull back whoever was pushed past the hole. */
	for (i = (hole + 1) & mask; m->slot[i].item; i = (i + 1) & mask) {
		size_t wanted = m->slot[i].hash & mask;

		if (((i - wanted) & mask) < ((i - hole) & mask))
			continue;
		m->slot[hole] = m->slot[i];
		m->slot[i].item = NULL;
		hole = i;
	}
	return item;
}

void *
map_next(const struct map *m, size_t *pos)
{
	while (*pos < m->cap) {
		void *item = m->slot[(*pos)++].item;

		if (item)
			return item;
	}
	return NULL;
}
