#include "tests/lib/mem_blocks.h"

#include "overlay/base/map.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct stored {
	struct stored *next;
	struct id id;
	size_t len;
	uint8_t bytes[];
};

struct mem_blocks {
	struct map map;
	struct stored *first, **last;
	uint64_t puts, blocks, bytes, fail_at;
	_Atomic uint64_t gets;
	bool failed;
};

static void *
must(void *p)
{
	if (!p) {
		fprintf(stderr, "mem_blocks: out of memory\n");
		abort();
	}
	return p;
}

struct mem_blocks *
mem_blocks_new(void)
{
	struct mem_blocks *m = must(calloc(1, sizeof(*m)));

	m->last = &m->first;
	return m;
}

void
mem_blocks_free(struct mem_blocks *m)
{
	struct stored *next;

	if (!m)
		return;
	for (struct stored *b = m->first; b; b = next) {
		next = b->next;
		free(b);
	}
	map_fini(&m->map);
	free(m);
}

static bool
match(const void *item, const void *key)
{
	return id_eq(&((const struct stored *)item)->id, key);
}

static struct stored *
find(struct mem_blocks *m, const struct id *id)
{
	return map_find(&m->map, hash64(id->b, ID_BYTES, 0), match, id);
}

static enum err
put(void *arg, const struct id *id, const void *block, size_t len)
{
	struct mem_blocks *m = arg;
	struct stored *b;

	m->puts++;
	if (m->fail_at && --m->fail_at == 0) {
		m->failed = true;
		return ERR_IO;
	}
	if (find(m, id))
		return OK;
	b = malloc(sizeof(*b) + len);
	if (!b)
		return ERR_NOMEM;
	b->next = NULL;
	b->id = *id;
	b->len = len;
	memcpy(b->bytes, block, len);
	if (map_add(&m->map, hash64(id->b, ID_BYTES, 0), b)) {
		free(b);
		return ERR_NOMEM;
	}
	*m->last = b;
	m->last = &b->next;
	m->blocks++;
	m->bytes += len;
	return OK;
}

static enum err
get(void *arg, const struct id *id, uint8_t **block, size_t *len)
{
	struct mem_blocks *m = arg;
	struct stored *b = find(m, id);

	atomic_fetch_add(&m->gets, 1);
	if (!b)
		return ERR_ABSENT;
	*block = malloc(b->len);
	if (!*block)
		return ERR_NOMEM;
	memcpy(*block, b->bytes, b->len);
	*len = b->len;
	return OK;
}

struct content_sink
mem_blocks_sink(struct mem_blocks *m)
{
	return (struct content_sink){ .arg = m, .put = put };
}

struct content_source
mem_blocks_source(struct mem_blocks *m)
{
	return (struct content_source){ .arg = m, .get = get };
}

void
mem_blocks_fail(struct mem_blocks *m, uint64_t nth)
{
	m->fail_at = nth;
	m->failed = false;
}

bool
mem_blocks_failed(const struct mem_blocks *m)
{
	return m->failed;
}

struct mem_blocks_count
mem_blocks_count(const struct mem_blocks *m)
{
	return (struct mem_blocks_count){ .puts = m->puts,
		.gets = m->gets,
		.blocks = m->blocks,
		.bytes = m->bytes };
}

uint8_t *
mem_blocks_bytes(struct mem_blocks *m, const struct id *id, size_t *len)
{
	struct stored *b = find(m, id);

	if (!b)
		return NULL;
	*len = b->len;
	return b->bytes;
}

void
mem_blocks_each(struct mem_blocks *m, mem_blocks_fn *fn, void *arg)
{
	for (struct stored *b = m->first; b; b = b->next)
		fn(arg, &b->id, b->bytes, b->len);
}
