/* mem_blocks.h - sealed blocks in memory, for tests: a sink and a source.
 *
 * One thread at a time puts; any number get. */
#ifndef POST_TESTS_MEM_BLOCKS_H
#define POST_TESTS_MEM_BLOCKS_H

#include "store/content.h"

struct mem_blocks;

/* Out of memory ends the test. */
struct mem_blocks *mem_blocks_new(void);
void mem_blocks_free(struct mem_blocks *m);

struct content_sink mem_blocks_sink(struct mem_blocks *m);
/* A block that is not there is ERR_ABSENT. */
struct content_source mem_blocks_source(struct mem_blocks *m);

/* The nth put from now (1 is the next) fails with ERR_IO; 0 turns it off.
 * True if that has happened. */
void mem_blocks_fail(struct mem_blocks *m, uint64_t nth);
bool mem_blocks_failed(const struct mem_blocks *m);

struct mem_blocks_count {
	uint64_t puts; /* calls */
	uint64_t gets;
	uint64_t blocks; /* different ones */
	uint64_t bytes; /* of those */
};
struct mem_blocks_count mem_blocks_count(const struct mem_blocks *m);

/* Is it here?  Its bytes, borrowed, or NULL. */
uint8_t *mem_blocks_bytes(
    struct mem_blocks *m, const struct id *id, size_t *len);

/* Call fn for each block, in the order of their first put. */
typedef void mem_blocks_fn(
    void *arg, const struct id *id, uint8_t *bytes, size_t len);
void mem_blocks_each(struct mem_blocks *m, mem_blocks_fn *fn, void *arg);

#endif
