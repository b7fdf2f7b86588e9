/* What every disk has in common: checking what callers owe, and lists. */
#include "store/disk_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool
disk_name_is_root(const char *name)
{
	return name[0] == '\0' || strcmp(name, ".") == 0;
}

/* Names are made by the program itself, so a bad one is a bug: nothing a
 * stranger sends may ever reach outside the disk's directory. */
static bool
name_is_ours(const char *name)
{
	if (strlen(name) > DISK_NAME_MAX)
		return false;
	for (;;) {
		size_t n = strcspn(name, "/");

		if (n == 0 || n > DISK_ENTRY_MAX || (n == 1 && *name == '.') ||
		    (n == 2 && name[0] == '.' && name[1] == '.'))
			return false;
		if (name[n] == '\0')
			return true;
		name += n + 1;
	}
}

void
disk_close(struct disk *d)
{
	if (d)
		d->ops->close(d);
}

enum err
disk_open(struct disk *d, const char *name, enum disk_mode mode,
    struct disk_file **out)
{
	assert(name_is_ours(name));
	return d->ops->open(d, name, mode, out);
}

void
disk_file_close(struct disk_file *f)
{
	if (f)
		f->ops->file_close(f);
}

enum err
disk_read(struct disk_file *f, uint64_t off, void *buf, size_t len, size_t *got)
{
	*got = 0;
	if (len == 0)
		return OK;
	return f->ops->read(f, off, buf, len, got);
}

enum err
disk_write(struct disk_file *f, uint64_t off, const void *buf, size_t len)
{
	assert(f->writable);
	if (len == 0)
		return OK;
	if (off > INT64_MAX || len > (uint64_t)INT64_MAX - off)
		return ERR_NOSPACE;
	return f->ops->write(f, off, buf, len);
}

enum err
disk_sync(struct disk_file *f)
{
	return f->ops->sync(f);
}

enum err
disk_truncate(struct disk_file *f, uint64_t size)
{
	assert(f->writable);
	if (size > INT64_MAX)
		return ERR_NOSPACE;
	return f->ops->truncate(f, size);
}

enum err
disk_size(struct disk_file *f, uint64_t *size)
{
	return f->ops->size(f, size);
}

enum err
disk_mkdir(struct disk *d, const char *name)
{
	assert(name_is_ours(name));
	return d->ops->mkdir(d, name);
}

enum err
disk_rename(struct disk *d, const char *from, const char *to)
{
	assert(name_is_ours(from) && name_is_ours(to));
	return d->ops->rename(d, from, to);
}

enum err
disk_unlink(struct disk *d, const char *name)
{
	assert(name_is_ours(name));
	return d->ops->unlink(d, name);
}

enum err
disk_sync_dir(struct disk *d, const char *name)
{
	assert(disk_name_is_root(name) || name_is_ours(name));
	return d->ops->sync_dir(d, name);
}

static int
by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names are gathered before the first call, so that fn may use the disk,
 * even remove what it is shown. */
enum err
disk_list(struct disk *d, const char *name, disk_list_fn *fn, void *arg)
{
	struct disk_names all = { 0 };
	enum err e;

	assert(disk_name_is_root(name) || name_is_ours(name));
	e = d->ops->names(d, name, &all);
	if (all.count)
		qsort(all.name, all.count, sizeof(*all.name), by_bytes);
	for (size_t i = 0; !e && i < all.count; i++)
		e = fn(arg, all.name[i]);
	for (size_t i = 0; i < all.count; i++)
		free(all.name[i]);
	free(all.name);
	return e;
}

enum err
disk_names_add(struct disk_names *n, const char *name)
{
	if (n->count == n->cap) {
		size_t cap = n->cap ? 2 * n->cap : 16;
		char **grown = realloc(n->name, cap * sizeof(*grown));

		if (!grown)
			return ERR_NOMEM;
		n->name = grown;
		n->cap = cap;
	}
	n->name[n->count] = strdup(name);
	if (!n->name[n->count])
		return ERR_NOMEM;
	n->count++;
	return OK;
}

enum err
disk_free(struct disk *d, uint64_t *free_bytes, uint64_t *total)
{
	return d->ops->free(d, free_bytes, total);
}
