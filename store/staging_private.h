/* staging_private.h - what staging.c (pages), staging_file.c (page files) and
 * their tests share. */
#ifndef POST_STORE_STAGING_PRIVATE_H
#define POST_STORE_STAGING_PRIVATE_H

#include "store/staging.h"

#include <stdatomic.h>

#define SLOT_BYTES (NONCE_BYTES + STAGING_PAGE + TAG_BYTES)
#define STAGING_SIZE_MAX (UINT64_C(1) << 44)
#define LEAF_PAGES 16u

struct staging_pool {
	struct disk *disk;
	struct key key;
	size_t max;
	atomic_size_t used;
};

/* Sixteen neighbouring pages; a bit for each.  A page's bytes are where the
 * first of these bits says, and below if there is none: */
struct leaf {
	uint64_t index; /* of its first page, divided by LEAF_PAGES */
	uint8_t *bytes; /* pages lo <= i < hi; NULL if lo == hi */
	uint8_t lo, hi;
	uint16_t memory;
	uint16_t spilled; /* in the spill file */
	uint16_t zero; /* zeros, whatever is below */
	/* And: */
	uint16_t same; /* in memory, and below is the same */
	uint16_t dirty; /* not in the journal */
};

/* What is below: the base, or the kept page file, or nothing; only its first
 * below_size bytes count, the rest was cut off at some time. */
struct staging {
	struct staging_pool *pool;
	uint64_t ino, size, version, below_size;
	staging_base_fn *base;
	void *base_arg;
	struct key key;
	struct disk_file *kept, *spill;
	uint64_t kept_slots; /* pages that the kept file may have */
	struct leaf *leaf; /* sorted */
	size_t leaves, cap;
	uint64_t current; /* leaf that was written last: stays in memory */
	uint64_t hand; /* leaf at which spilling goes on */
};

static inline uint64_t
pages_of(uint64_t size)
{
	return (size + STAGING_PAGE - 1) / STAGING_PAGE;
}

static inline uint8_t *
leaf_page(const struct leaf *l, unsigned i)
{
	return l->bytes + (size_t)(i - l->lo) * STAGING_PAGE;
}

/* The leaf that has the page: NULL if there is none; or made.  Both die at
 * the next leaf_get(). */
struct leaf *leaf_find(const struct staging *s, uint64_t page);
enum err leaf_get(
    struct staging *s, uint64_t page, struct leaf **out) MUST_CHECK;

/* One page as a slot and back.  slot_open: ERR_ABSENT for a hole (all zero);
 * ERR_CORRUPT. */
void slot_seal(const struct key *file, uint64_t page,
    const uint8_t nonce[NONCE_BYTES], const uint8_t bytes[STAGING_PAGE],
    uint8_t out[SLOT_BYTES]);
enum err slot_open(const struct key *file, uint64_t page,
    const uint8_t slot[SLOT_BYTES], uint8_t out[STAGING_PAGE]) MUST_CHECK;

/* Read `pages` (at most LEAF_PAGES) slots from `first` on.  A hole is zeros,
 * or, if it must not be there, ERR_CORRUPT. */
enum err slots_read(const struct staging *s, struct disk_file *f,
    uint64_t first, unsigned pages, bool holes, uint8_t *out) MUST_CHECK;

/* Have all of the leaf's pages outside memory, and free that. */
enum err leaf_spill(struct staging *s, struct leaf *l) MUST_CHECK;
void leaf_drop_memory(struct staging *s, struct leaf *l);

/* Whole pages, wherever they are. */
enum err staging_read_page(
    struct staging *s, uint64_t page, uint8_t out[STAGING_PAGE]) MUST_CHECK;
/* Have a page in memory. */
enum err staging_load_page(struct staging *s, uint64_t page) MUST_CHECK;
/* Have every page beside the base, and be without one.  What is dirty, the
 * bytes and the version are as they were. */
enum err staging_leave_base(struct staging *s) MUST_CHECK;

enum err staging_file_open_kept(struct staging *s) MUST_CHECK;
void staging_file_close(struct staging *s);

#endif
