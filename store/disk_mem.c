/* The simulated disk: a tree of nodes in memory, each with two states.
 *
 *   now    what the program sees
 *   kept   what a power cut would leave if nothing unsynced were lucky
 *
 * A file has two images and the list of changes that lead from one to the
 * other; disk_sync() plays the list.  A directory has two tables; the list of
 * changed names is the disk's, in the order they were made, and
 * disk_sync_dir() plays those that touch the directory.  A crash plays each
 * 512-byte sector, each truncation and each name by chance, then makes `kept`
 * the present.  Each file draws its own luck first, from "nothing is kept" to
 * "all is", so that the extremes happen to long files too.
 *
 * Stricter than most file systems, since the contract promises no more: names
 * are lost independently of each other and of the bytes, and a file may keep
 * its new length without its new bytes.  As they do: a rename happens whole
 * or not at all, so a node has one name at most.
 *
 * A sync that fails leaves to chance what became durable, and forgets the
 * rest was ever dirty, as Linux does: a later sync that succeeds does not
 * bring it back.  A write that fails has written some of it.
 *
 * A crash needs memory for nothing: whoever adds a change reserves room for
 * it in both states. */
#include "store/disk_mem_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- calls on names ----------------------------------------------------- */

static enum err
make(struct mem_disk *m, struct node *dir, const char *leaf, bool is_dir,
    struct node **out)
{
	struct renaming *r = NULL;
	struct node *n = NULL;
	enum err e;

	if ((e = mem_strike(m)) || (e = mem_renaming_new(dir, leaf, &r)))
		return e;
	n = mem_node_new(m, is_dir);
	if (!n) {
		mem_renaming_free(m, r);
		return ERR_NOMEM;
	}
	mem_now_set(m, dir, r->label, n);
	mem_renaming_add(m, r, dir, n, NULL, false);
	*out = n;
	return OK;
}

static const struct disk_ops mem_ops;

static enum err
mem_open(struct disk *d, const char *name, enum disk_mode mode,
    struct disk_file **out)
{
	struct mem_file *f = calloc(1, sizeof(*f));
	struct mem_disk *m = mem_lock(d);
	struct node *dir, *n = NULL;
	const char *leaf;
	enum err e;

	if (!f) {
		e = ERR_NOMEM;
		goto fail;
	}
	if ((e = mem_find_parent(m, name, &dir, &leaf)))
		goto fail;
	n = mem_table_find(&dir->names.now, leaf);
	if (n && mode == DISK_EXCL)
		e = ERR_EXISTS;
	else if (n && n->is_dir)
		e = ERR_DENIED;
	else if (!n && mode < DISK_CREATE)
		e = ERR_ABSENT;
	else if (!n)
		e = make(m, dir, leaf, false, &n);
	if (e)
		goto fail;
	f->base.ops = &mem_ops;
	f->base.writable = mode != DISK_READ;
	f->disk = m;
	f->node = n;
	f->life = m->life;
	n->refs++;
	n->opens++;
	m->open++;
	mem_unlock(m);
	*out = &f->base;
	return OK;
fail:
	mem_unlock(m);
	free(f);
	return e;
}

static enum err
mem_mkdir(struct disk *d, const char *name)
{
	struct mem_disk *m = mem_lock(d);
	struct node *dir, *n;
	const char *leaf;
	enum err e;

	e = mem_find_parent(m, name, &dir, &leaf);
	if (!e && mem_table_find(&dir->names.now, leaf))
		e = ERR_EXISTS;
	if (!e)
		e = make(m, dir, leaf, true, &n);
	mem_unlock(m);
	return e;
}

static bool
is_below(const char *name, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(name, dir, n) == 0 && name[n] == '/';
}

static enum err
mem_rename(struct disk *d, const char *from, const char *to)
{
	struct mem_disk *m = mem_lock(d);
	struct renaming *r = NULL;
	struct node *dir, *to_dir, *n, *was;
	const char *leaf, *to_leaf;
	enum err e;

	if ((e = mem_find_parent(m, from, &dir, &leaf)) ||
	    (e = mem_find_parent(m, to, &to_dir, &to_leaf)))
		goto out;
	n = mem_table_find(&dir->names.now, leaf);
	was = mem_table_find(&to_dir->names.now, to_leaf);
	if (!n)
		e = ERR_ABSENT;
	else if (is_below(to, from))
		e = ERR_DENIED;
	else if (was && was != n && (was->is_dir || n->is_dir) &&
		 (!was->is_dir || !n->is_dir || was->names.now.count))
		e = ERR_EXISTS;
	if (e || n == was)
		goto out;
	if ((e = mem_strike(m)) || (e = mem_renaming_new(to_dir, to_leaf, &r)))
		goto out;
	n->refs++;
	mem_now_set(m, to_dir, r->label, n);
	mem_now_remove(m, dir, leaf);
	mem_renaming_add(m, r, to_dir, n, dir, false);
	mem_node_drop(m, n);
out:
	mem_unlock(m);
	return e;
}

static enum err
mem_unlink(struct disk *d, const char *name)
{
	struct mem_disk *m = mem_lock(d);
	struct renaming *r = NULL;
	struct node *dir, *n;
	const char *leaf;
	enum err e;

	if ((e = mem_find_parent(m, name, &dir, &leaf)))
		goto out;
	n = mem_table_find(&dir->names.now, leaf);
	if (!n || n->is_dir) {
		e = n ? ERR_DENIED : ERR_ABSENT;
		goto out;
	}
	if ((e = mem_strike(m)) || (e = mem_renaming_new(dir, leaf, &r)))
		goto out;
	mem_renaming_add(m, r, dir, n, NULL, true);
	mem_now_remove(m, dir, leaf);
out:
	mem_unlock(m);
	return e;
}

static enum err
mem_sync_dir(struct disk *d, const char *name)
{
	struct mem_disk *m = mem_lock(d);
	struct node *dir;
	enum err e;

	if (!(e = mem_find_dir(m, name, &dir)) && !(e = mem_strike(m)))
		mem_play_names_of(m, dir);
	mem_unlock(m);
	return e;
}

static enum err
mem_names(struct disk *d, const char *name, struct disk_names *all)
{
	struct mem_disk *m = mem_lock(d);
	struct node *dir;
	enum err e = mem_find_dir(m, name, &dir);

	for (size_t i = 0; !e && i < dir->names.now.count; i++)
		e = disk_names_add(all, dir->names.now.entry[i].label->text);
	mem_unlock(m);
	return e;
}

static enum err
mem_free(struct disk *d, uint64_t *free_bytes, uint64_t *total)
{
	struct mem_disk *m = mem_lock(d);

	*total = m->limit == UINT64_MAX ? TOTAL_DEFAULT : m->limit;
	*free_bytes = *total > m->used ? *total - m->used : 0;
	mem_unlock(m);
	return OK;
}

/* ---- life and death ----------------------------------------------------- */

static void
mem_close(struct disk *d)
{
	struct mem_disk *m = disk_of(d);

	assert(m->open == 0); /* files are closed before their disk */
	while (m->first) {
		struct renaming *r = m->first;

		m->first = r->next;
		mem_label_drop(r->label);
		free(r);
	}
	/* One by one: what a crash cut off may refer to itself. */
	while (m->all) {
		struct node *n = m->all;
		struct table *both[] = { &n->names.now, &n->names.kept };

		for (unsigned b = 0; b < 2; b++)
			for (size_t i = 0; i < both[b]->count; i++)
				mem_label_drop(both[b]->entry[i].label);
		mem_node_free(m, n);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static const struct disk_ops mem_ops = {
	.close = mem_close,
	.open = mem_open,
	.mkdir = mem_mkdir,
	.rename = mem_rename,
	.unlink = mem_unlink,
	.sync_dir = mem_sync_dir,
	.names = mem_names,
	.free = mem_free,
	.file_close = mem_file_close,
	.read = mem_read,
	.write = mem_write,
	.sync = mem_sync,
	.truncate = mem_truncate,
	.size = mem_size,
};

enum err
disk_mem_new(uint64_t seed, struct disk **out)
{
	struct mem_disk *m = calloc(1, sizeof(*m));

	if (!m)
		return ERR_NOMEM;
	m->base.ops = &mem_ops;
	m->end = &m->first;
	m->limit = UINT64_MAX;
	rng_init(&m->rng, seed);
	m->root = mem_node_new(m, true);
	if (!m->root || pthread_mutex_init(&m->lock, NULL)) {
		free(m->root);
		free(m);
		return ERR_NOMEM;
	}
	m->root->refs = 1;
	*out = &m->base;
	return OK;
}

/* In the order of names, so that one seed gives one outcome. */
static void
restore(struct mem_disk *m, struct node *dir)
{
	const struct table *kept = &dir->names.kept;

	for (size_t i = 0; i < kept->count; i++) {
		struct node *n = kept->entry[i].node;

		mem_table_insert(&dir->names.now, i, kept->entry[i].label, n);
		n->links = 1;
		if (n->is_dir) {
			restore(m, n);
			continue;
		}
		mem_settle_by_chance(m, n);
		mem_image_copy(&n->now, &n->kept);
		m->used += n->now.size;
	}
}

void
disk_mem_crash(struct disk *d)
{
	struct mem_disk *m = mem_lock(d);
	uint64_t luck = rng_below(&m->rng, LUCK_MAX + 1);

	while (m->first) {
		struct renaming *r = m->first;

		if (mem_lucky(m, luck))
			mem_renaming_play(m, r);
		m->first = r->next;
		mem_renaming_free(m, r);
	}
	m->end = &m->first;
	m->life++;
	m->used = 0;
	/* Hold all, so that none goes while its neighbours are visited. */
	for (struct node *n = m->all; n; n = n->next)
		n->refs++;
	for (struct node *n = m->all; n; n = n->next) {
		n->links = n->opens = 0;
		while (n->names.now.count)
			mem_table_remove(
			    m, &n->names.now, n->names.now.count - 1);
	}
	restore(m, m->root);
	for (struct node *n = m->all, *next; n; n = next) {
		next = n->next;
		mem_node_drop(m, n);
	}
	mem_unlock(m);
}

void
disk_mem_kill(struct disk *d)
{
	struct mem_disk *m = mem_lock(d);

	m->life++;
	for (struct node *n = m->all; n; n = n->next)
		if (n->opens) {
			n->opens = 0;
			mem_uncharge(m, n);
		}
	mem_unlock(m);
}

void
disk_mem_fail(struct disk *d, uint64_t nth, enum err e, bool for_ever)
{
	struct mem_disk *m = mem_lock(d);

	assert(e != OK || nth == 0);
	m->fail_in = nth;
	m->fail_with = e;
	m->fail_for_ever = for_ever;
	if (nth)
		m->failed = false;
	mem_unlock(m);
}

bool
disk_mem_failed(const struct disk *d)
{
	struct mem_disk *m = mem_lock(d);
	bool failed = m->failed;

	mem_unlock(m);
	return failed;
}

void
disk_mem_limit(struct disk *d, uint64_t bytes)
{
	struct mem_disk *m = mem_lock(d);

	m->limit = bytes;
	mem_unlock(m);
}

enum err
disk_mem_flip(struct disk *d, const char *name, uint64_t bit)
{
	struct mem_disk *m = mem_lock(d);
	struct node *dir, *n;
	const char *leaf;
	enum err e = mem_find_parent(m, name, &dir, &leaf);

	if (e)
		goto out;
	n = mem_table_find(&dir->names.now, leaf);
	if (!n || n->is_dir) {
		e = ERR_ABSENT;
		goto out;
	}
	if (bit / 8 >= n->now.size) {
		e = ERR_INVALID;
		goto out;
	}
	n->now.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	if (bit / 8 < n->kept.size)
		n->kept.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
out:
	mem_unlock(m);
	return e;
}
