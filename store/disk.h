/* disk.h - the files of a home, behind one seam.
 *
 * Everything in store/ that keeps bytes (journal, packs, page files) does it
 * through a disk, so that the same code runs on the real file system and on a
 * simulated one that loses and tears what was not synced.  The index (LMDB)
 * has a seam of its own, index.h.
 *
 * A file is named by a path relative to the disk's directory; '/' separates;
 * "" is that directory itself, where a directory is asked for.  Offsets and
 * lengths are bytes.  Reads past the end are short; writes are whole or an
 * error (after which the range holds anything).  What was written survives
 * the death of the process at once and a power cut after disk_sync(); a
 * file's existence and name survive a power cut after disk_sync_dir() of its
 * directory.  All calls may come from any thread; calls on one range at a
 * time are the caller's to order.
 *
 * Errors: ERR_NOSPACE, ERR_IO, ERR_NOMEM, ERR_ABSENT, ERR_EXISTS, ERR_DENIED. */
#ifndef POST_STORE_DISK_H
#define POST_STORE_DISK_H

#include "overlay/base/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct disk_file;

/* The directory `path` of the real file system; it must exist. */
enum err disk_posix_open(const char *path, struct disk **out) MUST_CHECK;
void disk_close(struct disk *d); /* NULL is allowed; files closed before */

enum disk_mode {
	DISK_READ = 0, /* must exist, read-only */
	DISK_WRITE = 1, /* must exist */
	DISK_CREATE = 2, /* made, mode 0600, if it is not there */
	DISK_EXCL = 3, /* made, mode 0600; ERR_EXISTS if it is there */
};

enum err disk_open(struct disk *d, const char *name, enum disk_mode mode,
    struct disk_file **out) MUST_CHECK;
void disk_file_close(struct disk_file *f); /* NULL is allowed */
enum err disk_read(struct disk_file *f, uint64_t off, void *buf, size_t len,
    size_t *got) MUST_CHECK;
enum err disk_write(
    struct disk_file *f, uint64_t off, const void *buf, size_t len) MUST_CHECK;
enum err disk_sync(struct disk_file *f) MUST_CHECK;
enum err disk_truncate(struct disk_file *f, uint64_t size) MUST_CHECK;
enum err disk_size(struct disk_file *f, uint64_t *size) MUST_CHECK;

enum err disk_mkdir(struct disk *d, const char *name) MUST_CHECK; /* 0700 */
enum err disk_rename(
    struct disk *d, const char *from, const char *to) MUST_CHECK;
enum err disk_unlink(struct disk *d, const char *name) MUST_CHECK;
enum err disk_sync_dir(struct disk *d, const char *name) MUST_CHECK;

/* Call fn for each entry of directory `name`, sorted; stop at its first
 * error and return that. */
typedef enum err disk_list_fn(void *arg, const char *entry);
enum err disk_list(
    struct disk *d, const char *name, disk_list_fn *fn, void *arg) MUST_CHECK;

/* Bytes the file system has left for us, and in all. */
enum err disk_free(
    struct disk *d, uint64_t *free_bytes, uint64_t *total) MUST_CHECK;

/* ---- the simulated disk ------------------------------------------------- */

/* All in memory, empty.  `seed` decides what a crash keeps. */
enum err disk_mem_new(uint64_t seed, struct disk **out) MUST_CHECK;

/* As a power cut would: of what was not synced each 512-byte sector is kept
 * or lost by chance, and so is each unsynced name.  Open files stay usable
 * only for disk_file_close(). */
void disk_mem_crash(struct disk *d);

/* As kill -9 would: everything written is kept, open files are dead. */
void disk_mem_kill(struct disk *d);

/* Let the call that changes anything and is the nth from now (1 is the next)
 * fail with `e`, and, if `for_ever`, all after it; 0 turns that off. */
void disk_mem_fail(struct disk *d, uint64_t nth, enum err e, bool for_ever);

/* Whether the fault set by disk_mem_fail() has struck. */
bool disk_mem_failed(const struct disk *d);

/* ERR_NOSPACE once the files' bytes in all would exceed this. */
void disk_mem_limit(struct disk *d, uint64_t bytes);

/* Flip one bit, for tests of damage. */
enum err disk_mem_flip(
    struct disk *d, const char *name, uint64_t bit) MUST_CHECK;

#endif
