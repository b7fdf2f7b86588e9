/* pack_files.c - a bounded number of packs, open for reading.
 *
 * The one not used for longest makes room.  A slot's descriptor is closed
 * only while nobody reads through it; if all are in use, the pack is opened
 * for this one read. */
#include "store/pack.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
	struct disk_file *file; /* NULL: free */
	uint64_t used_at;
	unsigned readers;
};

struct pack_files {
	struct disk *d;
	pthread_mutex_t lock;
	uint64_t clock;
	uint32_t pack[PACK_FILES_MAX]; /* 0: free; packed for the search */
	struct slot slot[PACK_FILES_MAX];
};

enum err
pack_files_new(struct disk *d, struct pack_files **out)
{
	struct pack_files *f = calloc(1, sizeof(*f));

	if (!f)
		return ERR_NOMEM;
	f->d = d;
	pthread_mutex_init(&f->lock, NULL);
	*out = f;
	return OK;
}

void
pack_files_free(struct pack_files *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < PACK_FILES_MAX; i++)
		disk_file_close(f->slot[i].file);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* The slot of a pack with one more reader, or NULL; the lock is held. */
static struct slot *
find(struct pack_files *f, uint32_t pack)
{
	for (unsigned i = 0; i < PACK_FILES_MAX; i++) {
		if (f->pack[i] != pack)
			continue;
		f->slot[i].used_at = ++f->clock;
		f->slot[i].readers++;
		return &f->slot[i];
	}
	return NULL;
}

/* Keep a file that was just opened: a slot with one reader, or NULL if all
 * are in use.  *closing is what it displaces; the lock is held. */
static struct slot *
keep(struct pack_files *f, uint32_t pack, struct disk_file *file,
    struct disk_file **closing)
{
	unsigned best = PACK_FILES_MAX;

	for (unsigned i = 0; i < PACK_FILES_MAX; i++)
		if (!f->slot[i].readers &&
		    (best == PACK_FILES_MAX ||
			f->slot[i].used_at < f->slot[best].used_at))
			best = i;
	if (best == PACK_FILES_MAX)
		return NULL;
	*closing = f->slot[best].file;
	f->pack[best] = pack;
	f->slot[best] = (struct slot){ file, ++f->clock, 1 };
	return &f->slot[best];
}

static enum err
open_slot(struct pack_files *f, uint32_t pack, struct slot **slot,
    struct disk_file **alone)
{
	struct disk_file *file, *closing = NULL;
	char name[PACK_NAME_CAP];
	enum err e;

	pack_name(pack, name);
	e = disk_open(f->d, name, DISK_READ, &file);
	if (e)
		return e;
	pthread_mutex_lock(&f->lock);
	*slot = find(f, pack); /* another thread may have been faster */
	if (*slot)
		closing = file;
	else if (!(*slot = keep(f, pack, file, &closing)))
		*alone = file;
	pthread_mutex_unlock(&f->lock);
	disk_file_close(closing);
	return OK;
}

enum err
pack_files_read(struct pack_files *f, uint32_t pack, uint64_t off, void *buf,
    size_t len, size_t *got)
{
	struct disk_file *alone = NULL;
	struct slot *slot;
	enum err e;

	pthread_mutex_lock(&f->lock);
	slot = find(f, pack);
	pthread_mutex_unlock(&f->lock);
	if (!slot) {
		e = open_slot(f, pack, &slot, &alone);
		if (e)
			return e;
	}
	e = disk_read(slot ? slot->file : alone, off, buf, len, got);
	disk_file_close(alone);
	if (slot) {
		pthread_mutex_lock(&f->lock);
		slot->readers--;
		pthread_mutex_unlock(&f->lock);
	}
	return e;
}
