/* staging.h - the bytes of a file that is being written, and of local-only
 * files for good: pages of 4 KiB in memory, over a base, beside a page file.
 *
 *   page in memory  ->  page in the page file  ->  the base  ->  zeros
 *
 * The base is what the file held before (its sealed content), read through a
 * function; a local-only file has none once it was kept.  Page files are in "local/": what does
 * not fit in memory is spilled to <ino hex>.spill, and what must outlive the
 * process (local-only files, written at each checkpoint) is kept in <ino hex>,
 * which nothing but staging_keep() changes.  Their slots are sealed one by
 * one: { nonce[12], ciphertext[4096], tag[16] }, the page's number is
 * authenticated.  Format: FORMAT.md, "Page files".
 *
 * Dirty means: written, and not yet in the journal; a truncation or a punched
 * range is for the caller to journal as such.  Sizes and offsets are bytes.
 * Not thread-safe: the file's owner locks.  Only staging_pool_used() may come
 * from any thread. */
#ifndef POST_STORE_STAGING_H
#define POST_STORE_STAGING_H

#include "overlay/base/crypto.h"
#include "store/disk.h"

#include <stdbool.h>

#define STAGING_PAGE 4096u

/* Shared by all files of a store: the disk, the key, and how much memory
 * pages may take in all.  Thread-safe. */
struct staging_pool;
/* Makes "local/" if it is not there, and sweeps out of it what a dead process
 * left: one pool to a disk. */
enum err staging_pool_new(struct disk *d, const struct key *key,
    size_t memory_max, struct staging_pool **out) MUST_CHECK;
void staging_pool_free(struct staging_pool *p); /* NULL is allowed */
size_t staging_pool_used(const struct staging_pool *p);

/* Read the base: exactly len bytes at off, all below base_size. */
typedef enum err staging_base_fn(
    void *arg, uint64_t off, void *buf, size_t len);

struct staging;

/* A file of base_size bytes in its base (base may be NULL if that is 0). */
enum err staging_new(struct staging_pool *p, uint64_t ino, uint64_t base_size,
    staging_base_fn *base, void *base_arg, struct staging **out) MUST_CHECK;

/* The local-only file `ino` as staging_keep() left it, `size` bytes long, for
 * what the checkpoint knows of it; a keep that was interrupted later may have
 * brought pages in already.  ERR_CORRUPT: there is none. */
enum err staging_open_kept(struct staging_pool *p, uint64_t ino, uint64_t size,
    struct staging **out) MUST_CHECK;

/* Frees memory; what was spilled is removed. */
void staging_free(struct staging *s); /* NULL is allowed */

/* Remove the kept page file of a deleted local-only file. */
enum err staging_discard(struct staging_pool *p, uint64_t ino) MUST_CHECK;

uint64_t staging_size(const struct staging *s);

/* Short at the end of the file.  Holes read as zeros. */
enum err staging_read(struct staging *s, uint64_t off, void *buf, size_t len,
    size_t *got) MUST_CHECK;

/* Extends the file as needed.  Spills this file's pages when the pool is
 * over its limit.  ERR_TOO_BIG past 1 << 44. */
enum err staging_write(struct staging *s, uint64_t off, const void *buf,
    size_t len) MUST_CHECK;
enum err staging_truncate(struct staging *s, uint64_t size) MUST_CHECK;
/* Zero a range without changing the size (fallocate PUNCH_HOLE, ZERO). */
enum err staging_punch(
    struct staging *s, uint64_t off, uint64_t len) MUST_CHECK;

/* The first dirty range at or after *off, at most max bytes (within the
 * size); false when there is none.  staging_clean() marks a range (whole
 * pages it touches) as journalled. */
bool staging_next_dirty(
    const struct staging *s, uint64_t *off, uint64_t *len, uint64_t max);
void staging_clean(struct staging *s, uint64_t off, uint64_t len);
bool staging_is_dirty(const struct staging *s);

/* SEEK_DATA and SEEK_HOLE at page granularity: the first offset >= off in
 * data (or in a hole; the end of the file is one). ERR_ABSENT past the end.
 * A base counts as data. */
enum err staging_seek(
    struct staging *s, uint64_t off, bool hole, uint64_t *out) MUST_CHECK;

/* Bytes that are in memory or in the page file (for st_blocks). */
uint64_t staging_allocated(const struct staging *s);

/* Write every page to the page file and sync it: the file can be opened
 * again with staging_open_kept().  A base is read whole, and is not needed any
 * more: a file that was in the log, and is local-only now.  A power cut or an
 * error in the middle damages no page: each is the old or the new one. */
enum err staging_keep(struct staging *s) MUST_CHECK;

/* Grows with every change of bytes or size: whoever sealed what was there can
 * see whether anything was written since. */
uint64_t staging_version(const struct staging *s);

#endif
