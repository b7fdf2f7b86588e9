/* The bytes of files: see disk_mem.c. */
#include "store/disk_mem_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The fault, if its time has come. */
enum err
mem_strike(struct mem_disk *m)
{
	if (m->fail_in == 0 || --m->fail_in > 0)
		return OK;
	m->failed = true;
	if (m->fail_for_ever)
		m->fail_in = 1;
	return m->fail_with;
}

/* ---- images ------------------------------------------------------------- */

static enum err
image_reserve(struct image *i, uint64_t size)
{
	size_t cap = i->cap ? i->cap : SECTOR;
	uint8_t *grown;

	if (size <= i->cap)
		return OK;
	while (cap < size)
		cap *= 2;
	grown = realloc(i->bytes, cap);
	if (!grown)
		return ERR_NOMEM;
	i->bytes = grown;
	i->cap = cap;
	return OK;
}

/* These two need room reserved before. */
static void
image_resize(struct image *i, size_t size)
{
	assert(size <= i->cap);
	if (size > i->size)
		memset(i->bytes + i->size, 0, size - i->size);
	i->size = size;
}

static void
image_put(struct image *i, uint64_t off, const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return;
	if (off + len > i->size)
		image_resize(i, (size_t)(off + len));
	memcpy(i->bytes + off, bytes, len);
}

void
mem_image_copy(struct image *to, const struct image *from)
{
	assert(from->size <= to->cap);
	if (from->size)
		memcpy(to->bytes, from->bytes, from->size);
	to->size = from->size;
}

/* ---- calls on files ----------------------------------------------------- */

/* Lock its disk; ERR_IO (not locked) if it did not outlive a crash. */
static enum err
enter(struct disk_file *file, struct mem_file **out)
{
	struct mem_file *f = (struct mem_file *)file;

	mem_lock(&f->disk->base);
	if (f->life != f->disk->life) {
		mem_unlock(f->disk);
		return ERR_IO;
	}
	*out = f;
	return OK;
}

void
mem_file_close(struct disk_file *file)
{
	struct mem_file *f = (struct mem_file *)file;
	struct mem_disk *m = mem_lock(&f->disk->base);

	if (f->life == m->life) {
		f->node->opens--;
		mem_uncharge(m, f->node);
	}
	m->open--;
	mem_node_drop(m, f->node);
	mem_unlock(m);
	free(f);
}

enum err
mem_read(
    struct disk_file *file, uint64_t off, void *buf, size_t len, size_t *got)
{
	struct mem_file *f;
	enum err e = enter(file, &f);
	const struct image *i;

	if (e)
		return e;
	i = &f->node->now;
	if (off < i->size) {
		*got = len < i->size - off ? len : (size_t)(i->size - off);
		memcpy(buf, i->bytes + off, *got);
	}
	mem_unlock(f->disk);
	return OK;
}

/* Room in both images for a file of `size` bytes, and on the disk. */
static enum err
reserve(struct mem_disk *m, struct node *n, uint64_t size)
{
	enum err e;

	if (size > n->now.size && (size > FILE_SIZE_MAX || m->used > m->limit ||
				      size - n->now.size > m->limit - m->used))
		return ERR_NOSPACE;
	if ((e = image_reserve(&n->now, size)))
		return e;
	return image_reserve(&n->kept, size);
}

static enum err
put(struct mem_disk *m, struct node *n, uint64_t off, const void *buf,
    size_t len)
{
	size_t size = n->now.size;
	struct change *c;
	enum err e;

	if (len == 0)
		return OK;
	if ((e = reserve(m, n, off + len)))
		return e;
	c = malloc(sizeof(*c) + len);
	if (!c)
		return ERR_NOMEM;
	*c = (struct change){ .off = off, .len = len };
	memcpy(c->bytes, buf, len);
	*n->end = c;
	n->end = &c->next;
	image_put(&n->now, off, buf, len);
	m->used += n->now.size - size;
	return OK;
}

enum err
mem_write(struct disk_file *file, uint64_t off, const void *buf, size_t len)
{
	struct mem_file *f;
	enum err e = enter(file, &f), ignored;

	if (e)
		return e;
	if (!(e = mem_strike(f->disk)))
		e = put(f->disk, f->node, off, buf, len);
	if (e) {
		/* Some of it, if that much fits. */
		ignored = put(f->disk, f->node, off, buf,
		    (size_t)rng_below(&f->disk->rng, (uint64_t)len + 1));
		(void)ignored;
	}
	mem_unlock(f->disk);
	return e;
}

static void
change_play(struct image *i, const struct change *c)
{
	if (c->is_truncate)
		image_resize(i, (size_t)c->off);
	else
		image_put(i, c->off, c->bytes, c->len);
}

/* What a power cut, or a sync that failed, makes durable. */
void
mem_settle_by_chance(struct mem_disk *m, struct node *n)
{
	uint64_t luck = rng_below(&m->rng, LUCK_MAX + 1);

	for (const struct change *c = n->first; c; c = c->next) {
		uint64_t end = c->off + c->len, next;

		if (c->is_truncate) {
			if (mem_lucky(m, luck))
				change_play(&n->kept, c);
			continue;
		}
		for (uint64_t at = c->off; at < end; at = next) {
			next = (at / SECTOR + 1) * SECTOR;
			if (next > end)
				next = end;
			if (mem_lucky(m, luck))
				image_put(&n->kept, at,
				    c->bytes + (at - c->off),
				    (size_t)(next - at));
		}
		if (end > n->kept.size && mem_lucky(m, luck))
			image_resize(&n->kept, (size_t)end);
	}
	mem_forget_changes(n);
}

enum err
mem_sync(struct disk_file *file)
{
	struct mem_file *f;
	enum err e = enter(file, &f);

	if (e)
		return e;
	if ((e = mem_strike(f->disk))) {
		mem_settle_by_chance(f->disk, f->node);
	} else {
		for (struct change *c = f->node->first; c; c = c->next)
			change_play(&f->node->kept, c);
		mem_forget_changes(f->node);
	}
	mem_unlock(f->disk);
	return e;
}

enum err
mem_truncate(struct disk_file *file, uint64_t size)
{
	struct mem_file *f;
	struct change *c = NULL;
	enum err e = enter(file, &f);

	if (e)
		return e;
	if ((e = mem_strike(f->disk)) || (e = reserve(f->disk, f->node, size)))
		goto out;
	c = malloc(sizeof(*c));
	if (!c) {
		e = ERR_NOMEM;
		goto out;
	}
	*c = (struct change){ .off = size, .is_truncate = true };
	*f->node->end = c;
	f->node->end = &c->next;
	f->disk->used += size - f->node->now.size; /* may wrap down */
	image_resize(&f->node->now, (size_t)size);
out:
	mem_unlock(f->disk);
	return e;
}

enum err
mem_size(struct disk_file *file, uint64_t *size)
{
	struct mem_file *f;
	enum err e = enter(file, &f);

	if (e)
		return e;
	*size = f->node->now.size;
	mem_unlock(f->disk);
	return OK;
}
