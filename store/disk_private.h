/* disk_private.h - what an implementation of disk.h fills in.  disk.c checks
 * what callers owe (names, modes), so that no implementation has to. */
#ifndef POST_STORE_DISK_PRIVATE_H
#define POST_STORE_DISK_PRIVATE_H

#include "store/disk.h"

#define DISK_ENTRY_MAX 255 /* bytes of one component of a name */
#define DISK_NAME_MAX 1024 /* bytes of a whole name */

/* A list of names that grows; the array and each name are on the heap. */
struct disk_names {
	char **name;
	size_t count, cap;
};

enum err disk_names_add(struct disk_names *n, const char *name) MUST_CHECK;

struct disk_ops {
	void (*close)(struct disk *d);
	enum err (*open)(struct disk *d, const char *name, enum disk_mode mode,
	    struct disk_file **out);
	enum err (*mkdir)(struct disk *d, const char *name);
	enum err (*rename)(struct disk *d, const char *from, const char *to);
	enum err (*unlink)(struct disk *d, const char *name);
	enum err (*sync_dir)(struct disk *d, const char *name);
	/* Adds to *all, in any order, also before it fails. */
	enum err (*names)(
	    struct disk *d, const char *name, struct disk_names *all);
	enum err (*free)(struct disk *d, uint64_t *free_bytes, uint64_t *total);

	void (*file_close)(struct disk_file *f);
	enum err (*read)(struct disk_file *f, uint64_t off, void *buf,
	    size_t len, size_t *got);
	enum err (*write)(
	    struct disk_file *f, uint64_t off, const void *buf, size_t len);
	enum err (*sync)(struct disk_file *f);
	enum err (*truncate)(struct disk_file *f, uint64_t size);
	enum err (*size)(struct disk_file *f, uint64_t *size);
};

/* The first member of every implementation's own struct. */
struct disk {
	const struct disk_ops *ops;
};

struct disk_file {
	const struct disk_ops *ops;
	bool writable;
};

/* Is this the disk's own directory ("" or ".")? */
bool disk_name_is_root(const char *name);

#endif
