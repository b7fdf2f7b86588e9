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
#include "overlay/base/rng.h"
#include "store/disk_private.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define FILE_SIZE_MAX (UINT64_C(1) << 32) /* it is memory */
#define TOTAL_DEFAULT (UINT64_C(1) << 40) /* what disk_free() tells */
#define LUCK_MAX 4u

struct image {
	uint8_t *bytes;
	size_t size, cap;
};

struct change { /* of a file's bytes */
	struct change *next;
	uint64_t off; /* or the new size */
	size_t len;
	bool is_truncate;
	uint8_t bytes[];
};

struct label { /* an entry's name, shared by both tables and the list */
	unsigned refs;
	char text[];
};

struct entry {
	struct label *label;
	struct node *node;
};

struct table { /* sorted by name */
	struct entry *entry;
	size_t count, cap;
};

struct names { /* of a directory */
	struct table now, kept;
	size_t adds; /* unsynced names to come into kept */
};

struct node {
	struct node *prev, *next; /* all of a disk's */
	unsigned refs;		  /* entries, renamings, open files */
	unsigned links, opens;	  /* in `now`; by files that live */
	bool is_dir;
	/* file: */
	struct image now, kept;
	struct change *first, **end;
	/* directory: */
	struct names names;
	struct node *kept_in; /* the directory whose kept table has us */
};

struct renaming { /* a change of a name, not yet synced */
	struct renaming *next;
	struct node *dir, *node;
	struct node *from; /* the directory it came from, or NULL */
	struct label *label;
	bool is_removal;
};

struct mem_disk {
	struct disk base;
	pthread_mutex_t lock;
	struct rng rng;
	struct node *root, *all;
	struct renaming *first, **end;
	uint64_t life; /* files opened in another one are dead */
	uint64_t open; /* files, dead ones too */
	uint64_t used, limit;
	uint64_t fail_in; /* changes; 0: no fault is set */
	enum err fail_with;
	bool fail_for_ever, failed;
};

struct mem_file {
	struct disk_file base;
	struct mem_disk *disk;
	struct node *node;
	uint64_t life;
};

static struct mem_disk *
disk_of(const struct disk *d)
{
	return (struct mem_disk *)d;
}

static struct mem_disk *
lock(const struct disk *d)
{
	struct mem_disk *m = disk_of(d);

	pthread_mutex_lock(&m->lock);
	return m;
}

static void
unlock(struct mem_disk *m)
{
	pthread_mutex_unlock(&m->lock);
}

/* The fault, if its time has come. */
static enum err
strike(struct mem_disk *m)
{
	if (m->fail_in == 0 || --m->fail_in > 0)
		return OK;
	m->failed = true;
	if (m->fail_for_ever)
		m->fail_in = 1;
	return m->fail_with;
}

static bool
lucky(struct mem_disk *m, uint64_t luck)
{
	return rng_below(&m->rng, LUCK_MAX) < luck;
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

static void
image_copy(struct image *to, const struct image *from)
{
	assert(from->size <= to->cap);
	if (from->size)
		memcpy(to->bytes, from->bytes, from->size);
	to->size = from->size;
}

/* ---- tables ------------------------------------------------------------- */

static void
label_drop(struct label *l)
{
	if (--l->refs == 0)
		free(l);
}

/* Where `text` is, or would be. */
static size_t
table_seek(const struct table *t, const char *text, bool *found)
{
	size_t low = 0, high = t->count;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(t->entry[mid].label->text, text);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct node *
table_find(const struct table *t, const char *text)
{
	bool found;
	size_t i = table_seek(t, text, &found);

	return found ? t->entry[i].node : NULL;
}

static enum err
table_reserve(struct table *t, size_t count)
{
	size_t cap = t->cap ? t->cap : 8;
	struct entry *grown;

	if (count <= t->cap)
		return OK;
	while (cap < count)
		cap *= 2;
	grown = realloc(t->entry, cap * sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	t->entry = grown;
	t->cap = cap;
	return OK;
}

/* ---- nodes -------------------------------------------------------------- */

static struct node *
node_new(struct mem_disk *m, bool is_dir)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->is_dir = is_dir;
	n->end = &n->first;
	n->next = m->all;
	if (m->all)
		m->all->prev = n;
	m->all = n;
	return n;
}

static void
forget_changes(struct node *n)
{
	for (struct change *c = n->first, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	n->first = NULL;
	n->end = &n->first;
}

/* The node alone; nothing refers to it. */
static void
node_free(struct mem_disk *m, struct node *n)
{
	if (n->prev)
		n->prev->next = n->next;
	else
		m->all = n->next;
	if (n->next)
		n->next->prev = n->prev;
	forget_changes(n);
	free(n->now.bytes);
	free(n->kept.bytes);
	free(n->names.now.entry);
	free(n->names.kept.entry);
	free(n);
}

static void
node_drop(struct mem_disk *m, struct node *n)
{
	struct table *both[] = { &n->names.now, &n->names.kept };

	if (--n->refs > 0)
		return;
	for (unsigned b = 0; b < 2; b++)
		for (size_t i = 0; i < both[b]->count; i++) {
			struct node *child = both[b]->entry[i].node;

			label_drop(both[b]->entry[i].label);
			if (child->kept_in == n)
				child->kept_in = NULL;
			node_drop(m, child);
		}
	node_free(m, n);
}

/* Take the entry out, with what it refers to. */
static void
table_remove(struct mem_disk *m, struct table *t, size_t i)
{
	struct entry was = t->entry[i];

	memmove(t->entry + i, t->entry + i + 1,
	    (--t->count - i) * sizeof(*t->entry));
	label_drop(was.label);
	node_drop(m, was.node);
}

static void
table_insert(struct table *t, size_t i, struct label *l, struct node *n)
{
	assert(t->count < t->cap); /* reserved */
	memmove(t->entry + i + 1, t->entry + i,
	    (t->count++ - i) * sizeof(*t->entry));
	t->entry[i] = (struct entry){ l, n };
	l->refs++;
	n->refs++;
}

/* A file that nobody can reach any more takes no room. */
static void
uncharge(struct mem_disk *m, struct node *n)
{
	if (n->links == 0 && n->opens == 0)
		m->used -= n->now.size;
}

static void
now_remove(struct mem_disk *m, struct node *dir, const char *text)
{
	bool found;
	size_t i = table_seek(&dir->names.now, text, &found);
	struct node *n;

	if (!found)
		return;
	n = dir->names.now.entry[i].node;
	n->links--;
	uncharge(m, n);
	table_remove(m, &dir->names.now, i);
}

/* Replaces what has that name. */
static void
now_set(struct mem_disk *m, struct node *dir, struct label *l, struct node *n)
{
	bool found;
	size_t i;

	now_remove(m, dir, l->text);
	i = table_seek(&dir->names.now, l->text, &found);
	table_insert(&dir->names.now, i, l, n);
	n->links++;
}

static void
kept_remove(struct mem_disk *m, struct node *dir, size_t i)
{
	dir->names.kept.entry[i].node->kept_in = NULL;
	table_remove(m, &dir->names.kept, i);
}

/* ---- names that are not synced ------------------------------------------ */

static void
renaming_free(struct mem_disk *m, struct renaming *r)
{
	if (!r)
		return;
	if (r->dir) {
		if (!r->is_removal)
			r->dir->names.adds--;
		node_drop(m, r->dir);
		node_drop(m, r->node);
		if (r->from)
			node_drop(m, r->from);
	}
	label_drop(r->label);
	free(r);
}

/* A record of the name and, in both tables of dir, room for it.  Not yet in
 * the list; renaming_free() undoes it. */
static enum err
renaming_new(struct node *dir, const char *text, struct renaming **out)
{
	size_t room = dir->names.kept.count + dir->names.adds + 1;
	struct renaming *r = calloc(1, sizeof(*r));
	enum err e;

	if (!r)
		return ERR_NOMEM;
	r->label = malloc(sizeof(*r->label) + strlen(text) + 1);
	if (!r->label) {
		free(r);
		return ERR_NOMEM;
	}
	r->label->refs = 1;
	memcpy(r->label->text, text, strlen(text) + 1);
	if ((e = table_reserve(&dir->names.now, room)) ||
	    (e = table_reserve(&dir->names.kept, room))) {
		renaming_free(NULL, r);
		return e;
	}
	*out = r;
	return OK;
}

static void
renaming_add(struct mem_disk *m, struct renaming *r, struct node *dir,
    struct node *node, struct node *from, bool is_removal)
{
	r->dir = dir;
	r->node = node;
	r->from = from;
	r->is_removal = is_removal;
	dir->refs++;
	node->refs++;
	if (from)
		from->refs++;
	if (!is_removal)
		dir->names.adds++;
	*m->end = r;
	m->end = &r->next;
}

/* Make it so in the kept tables. */
static void
renaming_play(struct mem_disk *m, const struct renaming *r)
{
	struct table *t = &r->dir->names.kept;
	struct node *was = r->node->kept_in;
	bool found;
	size_t i;

	if (r->is_removal) {
		i = table_seek(t, r->label->text, &found);
		if (found && t->entry[i].node == r->node)
			kept_remove(m, r->dir, i);
		return;
	}
	for (i = 0; was && was->names.kept.entry[i].node != r->node;)
		i++;
	if (was)
		kept_remove(m, was, i);
	i = table_seek(t, r->label->text, &found);
	if (found)
		kept_remove(m, r->dir, i);
	table_insert(t, i, r->label, r->node);
	r->node->kept_in = r->dir;
}

/* Forget what came before `last` and spoke of the same node: it is settled. */
static void
renaming_supersede(struct mem_disk *m, const struct renaming *last)
{
	struct renaming **at = &m->first;

	while (*at != last) {
		struct renaming *r = *at;

		if (r->node != last->node) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		renaming_free(m, r);
	}
}

static void
play_names_of(struct mem_disk *m, const struct node *dir)
{
	struct renaming **at = &m->first, *r;

	while ((r = *at)) {
		if (r->dir != dir && r->from != dir) {
			at = &r->next;
			continue;
		}
		renaming_play(m, r);
		renaming_supersede(m, r);
		for (at = &m->first; *at != r;)
			at = &(*at)->next;
		*at = r->next;
		renaming_free(m, r);
	}
	m->end = at;
}

/* ---- finding ------------------------------------------------------------ */

/* The directory of name's last component, and that component. */
static enum err
find_parent(
    struct mem_disk *m, const char *name, struct node **dir, const char **leaf)
{
	struct node *at = m->root;
	size_t n;

	while (name[n = strcspn(name, "/")] != '\0') {
		char part[DISK_ENTRY_MAX + 1];

		memcpy(part, name, n);
		part[n] = '\0';
		at = table_find(&at->names.now, part);
		if (!at || !at->is_dir)
			return ERR_ABSENT;
		name += n + 1;
	}
	*dir = at;
	*leaf = name;
	return OK;
}

static enum err
find_dir(struct mem_disk *m, const char *name, struct node **out)
{
	struct node *dir = m->root;
	const char *leaf;
	enum err e;

	if (!disk_name_is_root(name)) {
		if ((e = find_parent(m, name, &dir, &leaf)))
			return e;
		dir = table_find(&dir->names.now, leaf);
		if (!dir || !dir->is_dir)
			return ERR_ABSENT;
	}
	*out = dir;
	return OK;
}

/* ---- calls on names ----------------------------------------------------- */

static enum err
make(struct mem_disk *m, struct node *dir, const char *leaf, bool is_dir,
    struct node **out)
{
	struct renaming *r = NULL;
	struct node *n = NULL;
	enum err e;

	if ((e = strike(m)) || (e = renaming_new(dir, leaf, &r)))
		return e;
	n = node_new(m, is_dir);
	if (!n) {
		renaming_free(m, r);
		return ERR_NOMEM;
	}
	now_set(m, dir, r->label, n);
	renaming_add(m, r, dir, n, NULL, false);
	*out = n;
	return OK;
}

static const struct disk_ops mem_ops;

static enum err
mem_open(struct disk *d, const char *name, enum disk_mode mode,
    struct disk_file **out)
{
	struct mem_file *f = calloc(1, sizeof(*f));
	struct mem_disk *m = lock(d);
	struct node *dir, *n = NULL;
	const char *leaf;
	enum err e;

	if (!f) {
		e = ERR_NOMEM;
		goto fail;
	}
	if ((e = find_parent(m, name, &dir, &leaf)))
		goto fail;
	n = table_find(&dir->names.now, leaf);
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
	unlock(m);
	*out = &f->base;
	return OK;
fail:
	unlock(m);
	free(f);
	return e;
}

static enum err
mem_mkdir(struct disk *d, const char *name)
{
	struct mem_disk *m = lock(d);
	struct node *dir, *n;
	const char *leaf;
	enum err e;

	e = find_parent(m, name, &dir, &leaf);
	if (!e && table_find(&dir->names.now, leaf))
		e = ERR_EXISTS;
	if (!e)
		e = make(m, dir, leaf, true, &n);
	unlock(m);
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
	struct mem_disk *m = lock(d);
	struct renaming *r = NULL;
	struct node *dir, *to_dir, *n, *was;
	const char *leaf, *to_leaf;
	enum err e;

	if ((e = find_parent(m, from, &dir, &leaf)) ||
	    (e = find_parent(m, to, &to_dir, &to_leaf)))
		goto out;
	n = table_find(&dir->names.now, leaf);
	was = table_find(&to_dir->names.now, to_leaf);
	if (!n)
		e = ERR_ABSENT;
	else if (is_below(to, from))
		e = ERR_DENIED;
	else if (was && was != n && (was->is_dir || n->is_dir) &&
	    (!was->is_dir || !n->is_dir || was->names.now.count))
		e = ERR_EXISTS;
	if (e || n == was)
		goto out;
	if ((e = strike(m)) || (e = renaming_new(to_dir, to_leaf, &r)))
		goto out;
	n->refs++;
	now_set(m, to_dir, r->label, n);
	now_remove(m, dir, leaf);
	renaming_add(m, r, to_dir, n, dir, false);
	node_drop(m, n);
out:
	unlock(m);
	return e;
}

static enum err
mem_unlink(struct disk *d, const char *name)
{
	struct mem_disk *m = lock(d);
	struct renaming *r = NULL;
	struct node *dir, *n;
	const char *leaf;
	enum err e;

	if ((e = find_parent(m, name, &dir, &leaf)))
		goto out;
	n = table_find(&dir->names.now, leaf);
	if (!n || n->is_dir) {
		e = n ? ERR_DENIED : ERR_ABSENT;
		goto out;
	}
	if ((e = strike(m)) || (e = renaming_new(dir, leaf, &r)))
		goto out;
	renaming_add(m, r, dir, n, NULL, true);
	now_remove(m, dir, leaf);
out:
	unlock(m);
	return e;
}

static enum err
mem_sync_dir(struct disk *d, const char *name)
{
	struct mem_disk *m = lock(d);
	struct node *dir;
	enum err e;

	if (!(e = find_dir(m, name, &dir)) && !(e = strike(m)))
		play_names_of(m, dir);
	unlock(m);
	return e;
}

static enum err
mem_names(struct disk *d, const char *name, struct disk_names *all)
{
	struct mem_disk *m = lock(d);
	struct node *dir;
	enum err e = find_dir(m, name, &dir);

	for (size_t i = 0; !e && i < dir->names.now.count; i++)
		e = disk_names_add(all, dir->names.now.entry[i].label->text);
	unlock(m);
	return e;
}

static enum err
mem_free(struct disk *d, uint64_t *free_bytes, uint64_t *total)
{
	struct mem_disk *m = lock(d);

	*total = m->limit == UINT64_MAX ? TOTAL_DEFAULT : m->limit;
	*free_bytes = *total > m->used ? *total - m->used : 0;
	unlock(m);
	return OK;
}

/* ---- calls on files ----------------------------------------------------- */

/* Lock its disk; ERR_IO (not locked) if it did not outlive a crash. */
static enum err
enter(struct disk_file *file, struct mem_file **out)
{
	struct mem_file *f = (struct mem_file *)file;

	lock(&f->disk->base);
	if (f->life != f->disk->life) {
		unlock(f->disk);
		return ERR_IO;
	}
	*out = f;
	return OK;
}

static void
mem_file_close(struct disk_file *file)
{
	struct mem_file *f = (struct mem_file *)file;
	struct mem_disk *m = lock(&f->disk->base);

	if (f->life == m->life) {
		f->node->opens--;
		uncharge(m, f->node);
	}
	m->open--;
	node_drop(m, f->node);
	unlock(m);
	free(f);
}

static enum err
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
	unlock(f->disk);
	return OK;
}

/* Room in both images for a file of `size` bytes, and on the disk. */
static enum err
reserve(struct mem_disk *m, struct node *n, uint64_t size)
{
	enum err e;

	if (size > n->now.size &&
	    (size > FILE_SIZE_MAX || m->used > m->limit ||
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

static enum err
mem_write(struct disk_file *file, uint64_t off, const void *buf, size_t len)
{
	struct mem_file *f;
	enum err e = enter(file, &f), ignored;

	if (e)
		return e;
	if (!(e = strike(f->disk)))
		e = put(f->disk, f->node, off, buf, len);
	if (e) {
		/* Some of it, if that much fits. */
		ignored = put(f->disk, f->node, off, buf,
		    (size_t)rng_below(&f->disk->rng, (uint64_t)len + 1));
		(void)ignored;
	}
	unlock(f->disk);
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
static void
settle_by_chance(struct mem_disk *m, struct node *n)
{
	uint64_t luck = rng_below(&m->rng, LUCK_MAX + 1);

	for (const struct change *c = n->first; c; c = c->next) {
		uint64_t end = c->off + c->len, next;

		if (c->is_truncate) {
			if (lucky(m, luck))
				change_play(&n->kept, c);
			continue;
		}
		for (uint64_t at = c->off; at < end; at = next) {
			next = (at / SECTOR + 1) * SECTOR;
			if (next > end)
				next = end;
			if (lucky(m, luck))
				image_put(&n->kept, at,
				    c->bytes + (at - c->off),
				    (size_t)(next - at));
		}
		if (end > n->kept.size && lucky(m, luck))
			image_resize(&n->kept, (size_t)end);
	}
	forget_changes(n);
}

static enum err
mem_sync(struct disk_file *file)
{
	struct mem_file *f;
	enum err e = enter(file, &f);

	if (e)
		return e;
	if ((e = strike(f->disk))) {
		settle_by_chance(f->disk, f->node);
	} else {
		for (struct change *c = f->node->first; c; c = c->next)
			change_play(&f->node->kept, c);
		forget_changes(f->node);
	}
	unlock(f->disk);
	return e;
}

static enum err
mem_truncate(struct disk_file *file, uint64_t size)
{
	struct mem_file *f;
	struct change *c = NULL;
	enum err e = enter(file, &f);

	if (e)
		return e;
	if ((e = strike(f->disk)) || (e = reserve(f->disk, f->node, size)))
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
	unlock(f->disk);
	return e;
}

static enum err
mem_size(struct disk_file *file, uint64_t *size)
{
	struct mem_file *f;
	enum err e = enter(file, &f);

	if (e)
		return e;
	*size = f->node->now.size;
	unlock(f->disk);
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
		label_drop(r->label);
		free(r);
	}
	/* One by one: what a crash cut off may refer to itself. */
	while (m->all) {
		struct node *n = m->all;
		struct table *both[] = { &n->names.now, &n->names.kept };

		for (unsigned b = 0; b < 2; b++)
			for (size_t i = 0; i < both[b]->count; i++)
				label_drop(both[b]->entry[i].label);
		node_free(m, n);
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
	m->root = node_new(m, true);
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

		table_insert(&dir->names.now, i, kept->entry[i].label, n);
		n->links = 1;
		if (n->is_dir) {
			restore(m, n);
			continue;
		}
		settle_by_chance(m, n);
		image_copy(&n->now, &n->kept);
		m->used += n->now.size;
	}
}

void
disk_mem_crash(struct disk *d)
{
	struct mem_disk *m = lock(d);
	uint64_t luck = rng_below(&m->rng, LUCK_MAX + 1);

	while (m->first) {
		struct renaming *r = m->first;

		if (lucky(m, luck))
			renaming_play(m, r);
		m->first = r->next;
		renaming_free(m, r);
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
			table_remove(
			    m, &n->names.now, n->names.now.count - 1);
	}
	restore(m, m->root);
	for (struct node *n = m->all, *next; n; n = next) {
		next = n->next;
		node_drop(m, n);
	}
	unlock(m);
}

void
disk_mem_kill(struct disk *d)
{
	struct mem_disk *m = lock(d);

	m->life++;
	for (struct node *n = m->all; n; n = n->next)
		if (n->opens) {
			n->opens = 0;
			uncharge(m, n);
		}
	unlock(m);
}

void
disk_mem_fail(struct disk *d, uint64_t nth, enum err e, bool for_ever)
{
	struct mem_disk *m = lock(d);

	assert(e != OK || nth == 0);
	m->fail_in = nth;
	m->fail_with = e;
	m->fail_for_ever = for_ever;
	if (nth)
		m->failed = false;
	unlock(m);
}

bool
disk_mem_failed(const struct disk *d)
{
	struct mem_disk *m = lock(d);
	bool failed = m->failed;

	unlock(m);
	return failed;
}

void
disk_mem_limit(struct disk *d, uint64_t bytes)
{
	struct mem_disk *m = lock(d);

	m->limit = bytes;
	unlock(m);
}

enum err
disk_mem_flip(struct disk *d, const char *name, uint64_t bit)
{
	struct mem_disk *m = lock(d);
	struct node *dir, *n;
	const char *leaf;
	enum err e = find_parent(m, name, &dir, &leaf);

	if (e)
		goto out;
	n = table_find(&dir->names.now, leaf);
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
	unlock(m);
	return e;
}
