/* past.c - objects and names of a past, in little memory; and looking at
 * them.  The rules are in past_apply.c. */
#include "store/past_private.h"

#include <assert.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK ((size_t)128 << 10)
#define SLOT_BYTES 16u /* of a map, about */
#define SQUEEZE_MIN 16u

_Static_assert(sizeof(struct node) == 72, "a million of them: keep it small");
_Static_assert(
    offsetof(struct link, name) + ULOG_NAME_MAX <= ARENA_SIZE_MAX, "");
_Static_assert(offsetof(struct bytes, b) + CONTENT_MAX <= ARENA_SIZE_MAX, "");

/* ---- memory ------------------------------------------------------------- */

struct chunk {
	struct chunk *next;
	_Alignas(ARENA_STEP) uint8_t bytes[];
};

static bool
may_take(const struct past *p, size_t more)
{
	struct past_stats now;

	if (!p->limit)
		return true;
	past_stats(p, &now);
	return now.memory <= p->limit && more <= p->limit - now.memory;
}

static size_t
rounded(size_t n)
{
	assert(n > 0 && n <= ARENA_SIZE_MAX);
	return (n + ARENA_STEP - 1) / ARENA_STEP * ARENA_STEP;
}

static void
arena_put(struct past *p, void *piece, size_t n)
{
	size_t class = rounded(n) / ARENA_STEP;

	memcpy(piece, &p->free[class], sizeof(void *));
	p->free[class] = piece;
}

static void *
arena_take(struct past *p, size_t n)
{
	size_t size = rounded(n), left;
	void *piece = p->free[size / ARENA_STEP];
	struct chunk *c;

	if (piece) {
		memcpy(&p->free[size / ARENA_STEP], piece, sizeof(void *));
		return piece;
	}
	left = (size_t)(p->arena_end - p->arena);
	if (left < size) {
		if (!may_take(p, CHUNK) || !(c = malloc(CHUNK)))
			return NULL;
		if (left)
			arena_put(p, p->arena, left);
		c->next = p->chunks;
		p->chunks = c;
		p->arena = c->bytes;
		p->arena_end = (uint8_t *)c + CHUNK;
		p->stats.memory += CHUNK;
	}
	piece = p->arena;
	p->arena += size;
	return piece;
}

static size_t
link_size(size_t name_len)
{
	return offsetof(struct link, name) + name_len;
}

static size_t
bytes_size(size_t len)
{
	return offsetof(struct bytes, b) + len;
}

/* ---- objects ------------------------------------------------------------ */

static bool
node_match(const void *item, const void *key)
{
	return ((const struct node *)item)->number == *(const uint64_t *)key;
}

static bool
alias_match(const void *item, const void *key)
{
	return ((const struct alias *)item)->number == *(const uint64_t *)key;
}

static bool
extra_match(const void *item, const void *key)
{
	return ((const struct extra *)item)->number == *(const uint64_t *)key;
}

static uint64_t
number_hash(uint64_t number)
{
	return hash64_u64(number, 0);
}

struct node *
node_find(const struct past *p, uint64_t number)
{
	struct node *n = map_find(
	    &p->nodes, number_hash(number), node_match, &number);
	struct alias *a;

	if (n || p->aliases.count == 0)
		return n;
	a = map_find(&p->aliases, number_hash(number), alias_match, &number);
	return a ? a->node : NULL;
}

enum err
past_node_new(struct past *p, uint64_t number, uint32_t mode, struct node **out)
{
	struct node *n = arena_take(p, sizeof(*n));
	enum err e;

	if (!n)
		return ERR_NOMEM;
	memset(n, 0, sizeof(*n));
	n->number = number;
	n->mode = (uint16_t)mode;
	if (S_ISDIR(mode)) {
		n->dir = arena_take(p, sizeof(*n->dir));
		if (!n->dir)
			return ERR_NOMEM;
		memset(n->dir, 0, sizeof(*n->dir));
	}
	if ((e = map_add(&p->nodes, number_hash(number), n)))
		return e;
	*out = n;
	return OK;
}

static struct extra *
extra_find(const struct past *p, const struct node *n)
{
	if (p->extras.count == 0)
		return NULL;
	return map_find(
	    &p->extras, number_hash(n->number), extra_match, &n->number);
}

enum err
node_extra(struct past *p, struct node *n, struct extra **out)
{
	struct extra *x = extra_find(p, n);
	enum err e;

	if (!x) {
		if (!may_take(p, sizeof(*x)))
			return ERR_NOMEM;
		x = calloc(1, sizeof(*x));
		if (!x)
			return ERR_NOMEM;
		x->number = n->number;
		if ((e = map_add(&p->extras, number_hash(n->number), x))) {
			free(x);
			return e;
		}
		p->stats.memory += sizeof(*x);
	}
	*out = x;
	return OK;
}

enum err
node_add_alias(struct past *p, struct node *n, uint64_t number)
{
	struct alias *a = arena_take(p, sizeof(*a));

	if (!a)
		return ERR_NOMEM;
	a->number = number;
	a->node = n;
	return map_add(&p->aliases, number_hash(number), a);
}

enum err
node_set_content(struct past *p, struct node *n, uint64_t size,
    const struct content *c)
{
	struct bytes *new = NULL;

	assert(!node_is_dir(n));
	if (c->len) {
		new = arena_take(p, bytes_size(c->len));
		if (!new)
			return ERR_NOMEM;
		new->len = c->len;
		memcpy(new->b, c->bytes, c->len);
	}
	if (n->content)
		arena_put(p, n->content, bytes_size(n->content->len));
	n->content = new;
	n->size = size;
	return OK;
}

/* A node is about to go: so do its further numbers.  One log has none, unless
 * it is damaged. */
static void
drop_aliases(struct past *p, const struct node *n)
{
	struct alias *a;
	size_t pos = 0;

	while (p->aliases.count && (a = map_next(&p->aliases, &pos))) {
		if (a->node != n)
			continue;
		map_remove(&p->aliases, number_hash(a->number), alias_match,
		    &a->number);
		arena_put(p, a, sizeof(*a));
		pos = 0; /* the map changed under the walk */
	}
}

/* An object without a name.  Among many logs it may get one again. */
static void
bury(struct past *p, struct node *n)
{
	struct extra *x;

	assert(n->links == 0);
	if (node_is_dir(n)) {
		p->stats.memory -= n->dir->cap * sizeof(*n->dir->place);
		free(n->dir->place);
		memset(n->dir, 0, sizeof(*n->dir));
	}
	if (p->many)
		return;
	drop_aliases(p, n);
	if ((x = map_remove(&p->extras, number_hash(n->number), extra_match,
		 &n->number))) {
		p->stats.memory -= sizeof(*x) + x->xattrs_len;
		free(x->xattrs);
		free(x);
	}
	map_remove(
	    &p->nodes, number_hash(n->number), node_match, &n->number);
	if (node_is_dir(n))
		arena_put(p, n->dir, sizeof(*n->dir));
	else if (n->content)
		arena_put(p, n->content, bytes_size(n->content->len));
	arena_put(p, n, sizeof(*n));
}

bool
node_is_dir(const struct node *n)
{
	return S_ISDIR(n->mode);
}

bool
node_is_empty(const struct node *dir)
{
	return dir->dir->count == dir->dir->gone;
}

/* Also where either is dead: nothing may come back into itself. */
bool
node_is_inside(const struct node *n, const struct node *dir)
{
	while (n != dir && n->names)
		n = n->names->dir;
	return n == dir;
}

/* ---- names -------------------------------------------------------------- */

struct link_key {
	const struct node *dir;
	const char *name;
	size_t len;
};

static bool
link_match(const void *item, const void *key)
{
	const struct link *l = item;
	const struct link_key *k = key;

	return l->dir == k->dir && l->name_len == k->len &&
	    memcmp(l->name, k->name, k->len) == 0;
}

static uint64_t
link_hash(const struct node *dir, const char *name, size_t len)
{
	return hash64(name, len, dir->number);
}

struct link *
link_find(const struct past *p, const struct node *dir, const char *name,
    size_t len)
{
	struct link_key k = { dir, name, len };

	return map_find(&p->links, link_hash(dir, name, len), link_match, &k);
}

static void
unmap(struct past *p, const struct link *l)
{
	struct link_key k = { l->dir, l->name, l->name_len };
	struct link *was = map_remove(&p->links,
	    link_hash(l->dir, l->name, l->name_len), link_match, &k);

	assert(was == l);
}

/* Room for one more place. */
static enum err
dir_room(struct past *p, struct dir *d)
{
	uint32_t cap, n = 0;
	struct place *place;

	if (d->count < d->cap)
		return OK;
	if (d->gone > SQUEEZE_MIN && d->gone > d->count / 2) {
		for (uint32_t i = 0; i < d->count; i++) {
			if (!d->place[i].link)
				continue;
			d->place[n] = d->place[i];
			d->place[n].link->at = n;
			n++;
		}
		d->count = n;
		d->gone = 0;
		return OK;
	}
	if (d->cap > UINT32_MAX / 2)
		return ERR_NOMEM;
	cap = d->cap ? d->cap + d->cap / 2 : 4;
	if (!may_take(p, (cap - d->cap) * sizeof(*place)))
		return ERR_NOMEM;
	place = realloc(d->place, cap * sizeof(*place));
	if (!place)
		return ERR_NOMEM;
	p->stats.memory += (cap - d->cap) * sizeof(*place);
	d->place = place;
	d->cap = cap;
	return OK;
}

static struct link *
link_new(struct past *p, struct node *dir, const char *name, size_t len,
    struct node *child)
{
	struct link *l;

	assert(len > 0 && len <= ULOG_NAME_MAX);
	l = arena_take(p, link_size(len));
	if (!l)
		return NULL;
	l->child = child;
	l->dir = dir;
	l->next = NULL;
	l->at = 0;
	l->name_len = (uint8_t)len;
	memcpy(l->name, name, len);
	return l;
}

/* The child's side of a link. */
static void
child_has(struct link *l)
{
	l->next = l->child->names;
	l->child->names = l;
	l->child->links++;
}

static void
child_has_not(struct link *l)
{
	struct link **at = &l->child->names;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->child->links--;
}

enum err
link_add(struct past *p, struct node *dir, const char *name, size_t len,
    struct node *child)
{
	struct dir *d = dir->dir;
	struct link *l, *last = child->links == 0 ? child->names : NULL;
	enum err e;

	assert(dir == p->root || dir->links > 0);
	if ((e = dir_room(p, d)))
		return e;
	l = link_new(p, dir, name, len, child);
	if (!l)
		return ERR_NOMEM;
	if ((e = map_add(&p->links, link_hash(dir, name, len), l))) {
		arena_put(p, l, link_size(len));
		return e;
	}
	if (last) { /* a dead directory's */
		child->names = NULL;
		arena_put(p, last, link_size(last->name_len));
	}
	if (child->links == 0)
		p->stats.objects++;
	child_has(l);
	l->at = d->count;
	d->place[d->count++] = (struct place){ ++p->cookie, l };
	d->subdirs += node_is_dir(child);
	p->stats.entries++;
	return OK;
}

/* The directory's side of it goes. */
static void
take_out(struct past *p, struct link *l)
{
	struct dir *d = l->dir->dir;

	unmap(p, l);
	d->place[l->at].link = NULL;
	d->gone++;
	d->subdirs -= node_is_dir(l->child);
	p->stats.entries--;
}

void
link_drop(struct past *p, struct link *l)
{
	struct node *child = l->child;

	assert(!node_is_dir(child) || node_is_empty(child));
	take_out(p, l);
	child_has_not(l);
	if (child->links == 0)
		p->stats.objects--;
	if (p->many && node_is_dir(child)) {
		l->next = NULL;
		child->names = l;
	} else {
		arena_put(p, l, link_size(l->name_len));
	}
	if (child->links == 0)
		bury(p, child);
}

enum err
link_move(struct past *p, struct link *l, struct node *dir, const char *name,
    size_t len)
{
	struct dir *d = dir->dir;
	struct link *new;
	enum err e;

	if (dir != l->dir && (e = dir_room(p, d)))
		return e;
	new = link_new(p, dir, name, len, l->child);
	if (!new)
		return ERR_NOMEM;
	if ((e = map_add(&p->links, link_hash(dir, name, len), new))) {
		arena_put(p, new, link_size(len));
		return e;
	}
	if (dir == l->dir) {
		unmap(p, l);
		new->at = l->at;
		d->place[new->at].link = new;
	} else {
		take_out(p, l);
		new->at = d->count;
		d->place[d->count++] = (struct place){ ++p->cookie, new };
		d->subdirs += node_is_dir(new->child);
		p->stats.entries++;
	}
	child_has_not(l);
	child_has(new);
	arena_put(p, l, link_size(l->name_len));
	return OK;
}

void
link_swap(struct past *p, struct link *a, struct link *b)
{
	struct node *x = a->child, *y = b->child;

	(void)p;
	child_has_not(a);
	child_has_not(b);
	a->child = y;
	b->child = x;
	child_has(a);
	child_has(b);
	a->dir->dir->subdirs += node_is_dir(y);
	a->dir->dir->subdirs -= node_is_dir(x);
	b->dir->dir->subdirs += node_is_dir(x);
	b->dir->dir->subdirs -= node_is_dir(y);
}

/* ---- life --------------------------------------------------------------- */

enum err
past_new(const struct id *own, unsigned logs, size_t limit, struct past **out)
{
	struct past *p = calloc(1, sizeof(*p));
	enum err e;

	if (!p)
		return ERR_NOMEM;
	p->device[0] = *own;
	p->devices = 1;
	p->many = logs > 1;
	p->limit = limit;
	p->stats.memory = sizeof(*p);
	if ((e = past_node_new(p, ULOG_ROOT, S_IFDIR | 0700, &p->root))) {
		past_free(p);
		return e;
	}
	p->stats.objects = 1;
	*out = p;
	return OK;
}

void
past_free(struct past *p)
{
	struct chunk *c;
	struct extra *x;
	struct node *n;
	size_t pos = 0;

	if (!p)
		return;
	while ((n = map_next(&p->nodes, &pos)))
		if (node_is_dir(n))
			free(n->dir->place);
	for (pos = 0; (x = map_next(&p->extras, &pos));) {
		free(x->xattrs);
		free(x);
	}
	while ((c = p->chunks)) {
		p->chunks = c->next;
		free(c);
	}
	map_fini(&p->nodes);
	map_fini(&p->links);
	map_fini(&p->aliases);
	map_fini(&p->extras);
	free(p);
}

/* ---- looking ------------------------------------------------------------ */

static const struct node *
alive(const struct past *p, uint64_t number)
{
	const struct node *n = node_find(p, number);

	return n && (n == p->root || n->links) ? n : NULL;
}

enum err
past_number(const struct past *p, const struct id *device, uint64_t number,
    uint64_t *out)
{
	if (number == ULOG_ROOT) {
		*out = ULOG_ROOT;
		return OK;
	}
	for (uint64_t i = 0; i < p->devices; i++)
		if (id_eq(&p->device[i], device)) {
			*out = i << PAST_DEVICE_SHIFT | number;
			return OK;
		}
	return ERR_ABSENT;
}

void
past_origin(const struct past *p, uint64_t number, struct id *device,
    uint64_t *its_number)
{
	uint64_t i = number >> PAST_DEVICE_SHIFT;

	assert(i < p->devices);
	*device = p->device[i];
	*its_number = number & ULOG_NUMBER_MAX;
}

enum err
past_inode(const struct past *p, uint64_t number, struct inode *out)
{
	const struct node *n = alive(p, number);
	const struct extra *x;

	if (!n)
		return ERR_ABSENT;
	memset(out, 0, sizeof(*out));
	out->ino = n->number;
	out->mode = n->mode;
	out->uid = n->uid;
	out->gid = n->gid;
	out->size = n->size;
	out->mtime_ns = out->atime_ns = n->mtime_ns;
	out->ctime_ns = n->ctime_ns;
	out->btime_ns = n->btime_ns;
	if (node_is_dir(n)) {
		out->parent = n->names ? n->names->dir->number : ULOG_ROOT;
		out->nlink = 2 + n->dir->subdirs;
		out->shared_links = n->links;
		out->data = DATA_DIR;
	} else {
		out->nlink = out->shared_links = n->links;
		out->data = S_ISLNK(n->mode) ? DATA_LINK : DATA_RECIPE;
		if (n->content) {
			out->content.len = n->content->len;
			memcpy(out->content.bytes, n->content->b,
			    n->content->len);
		}
	}
	if ((x = extra_find(p, n)))
		out->rdev = x->rdev;
	return OK;
}

static void
entry_of(const struct link *l, struct entry *out)
{
	memset(out, 0, sizeof(*out));
	out->dir = l->dir->number;
	out->cookie = l->dir->dir->place[l->at].cookie;
	out->ino = l->child->number;
	out->type = (uint8_t)IFTODT(l->child->mode);
	out->name_len = l->name_len;
	memcpy(out->name, l->name, l->name_len);
}

enum err
past_lookup(const struct past *p, uint64_t dir, const char *name,
    size_t name_len, struct entry *out)
{
	const struct node *d = alive(p, dir);
	const struct link *l;

	if (!d)
		return ERR_ABSENT;
	if (!node_is_dir(d))
		return ERR_NOTDIR;
	l = link_find(p, d, name, name_len);
	if (!l)
		return ERR_ABSENT;
	entry_of(l, out);
	return OK;
}

enum err
past_walk_init(
    struct past_walk *w, const struct past *p, uint64_t dir, uint64_t after)
{
	const struct node *n = alive(p, dir);
	size_t low = 0, high, mid;

	if (!n)
		return ERR_ABSENT;
	if (!node_is_dir(n))
		return ERR_NOTDIR;
	for (high = n->dir->count; low < high;) {
		mid = low + (high - low) / 2;
		if (n->dir->place[mid].cookie <= after)
			low = mid + 1;
		else
			high = mid;
	}
	w->p = p;
	w->dir = n;
	w->at = low;
	return OK;
}

enum err
past_walk_next(struct past_walk *w, struct entry *out)
{
	const struct dir *d = ((const struct node *)w->dir)->dir;

	while (w->at < d->count) {
		const struct link *l = d->place[w->at++].link;

		if (!l)
			continue;
		entry_of(l, out);
		return OK;
	}
	return ERR_ABSENT;
}

enum err
past_xattrs(const struct past *p, uint64_t number, const uint8_t **bytes,
    size_t *len)
{
	const struct node *n = alive(p, number);
	const struct extra *x;

	if (!n)
		return ERR_ABSENT;
	x = extra_find(p, n);
	*bytes = x ? x->xattrs : NULL;
	*len = x ? x->xattrs_len : 0;
	return OK;
}

enum err
past_path(const struct past *p, uint64_t number, char *buf, size_t cap)
{
	const struct node *n = alive(p, number);
	const struct link *l;
	size_t len = 0;
	char *at;

	if (!n)
		return ERR_ABSENT;
	for (l = n->names; l; l = l->dir->names)
		len += l->name_len + (l->dir != p->root);
	if (cap <= len)
		return ERR_RANGE;
	at = buf + len;
	*at = '\0';
	for (l = n->names; l; l = l->dir->names) {
		at -= l->name_len;
		memcpy(at, l->name, l->name_len);
		if (l->dir != p->root)
			*--at = '/';
	}
	assert(at == buf);
	return OK;
}

void
past_stats(const struct past *p, struct past_stats *out)
{
	*out = p->stats;
	out->memory += (p->nodes.cap + p->links.cap + p->aliases.cap +
			   p->extras.cap) *
	    SLOT_BYTES;
}
