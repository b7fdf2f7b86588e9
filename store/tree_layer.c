/* tree_layer.c - the changes of a tree that one checkpoint will write. */
#include "overlay/base/map.h"
#include "store/tree_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
layer_init(struct layer *l, tree_alloc_fn *alloc)
{
	memset(l, 0, sizeof(*l));
	l->alloc = alloc;
}

void
layer_free_rows(struct sorted *rows)
{
	struct sorted_link *link;

	while ((link = sorted_drain(rows)))
		free(SORTED_ITEM(link, struct layer_row, link));
}

void
layer_fini(struct layer *l)
{
	struct sorted_link *link;

	layer_free_rows(&l->inodes);
	layer_free_rows(&l->xattrs);
	while ((link = sorted_drain(&l->entries)))
		free(SORTED_ITEM(link, struct layer_entry, by_cookie));
	layer_init(l, l->alloc);
}

size_t
layer_count(const struct layer *l)
{
	return l->inodes.count + l->xattrs.count + l->entries.count;
}

/* ---- rows ---------------------------------------------------------------- */

struct layer_row *
layer_row(const struct sorted *rows, uint64_t ino)
{
	return SORTED_ITEM(sorted_find(rows, ino, 0), struct layer_row, link);
}

enum err
layer_put_row(struct layer *l, struct sorted *rows, uint64_t ino,
    const uint8_t *bytes, size_t len)
{
	struct layer_row *row = layer_row(rows, ino), *old = row;

	assert(len <= UINT32_MAX);
	if (!row || row->room < len) {
		row = l->alloc(sizeof(*row) + len);
		if (!row)
			return ERR_NOMEM;
		row->link.hi = ino;
		row->link.lo = 0;
		row->room = (uint32_t)len;
		if (old)
			sorted_replace(rows, &old->link, &row->link);
		else
			sorted_add(rows, &row->link);
	}
	row->len = (uint32_t)len;
	if (len)
		memcpy(row->bytes, bytes, len);
	if (old != row)
		free(old);
	return OK;
}

/* ---- entries ------------------------------------------------------------- */

/* The same few names stand in every Maildir, so the directory is mixed in. */
static uint64_t
name_key(uint64_t dir, uint64_t hash)
{
	return hash64_u64(dir, hash);
}

struct layer_entry *
layer_entry(const struct layer *l, uint64_t dir, uint64_t cookie)
{
	return SORTED_ITEM(sorted_find(&l->entries, dir, cookie),
	    struct layer_entry, by_cookie);
}

struct layer_entry *
layer_entry_after(const struct layer *l, uint64_t dir, uint64_t cookie)
{
	struct sorted_link *link = sorted_after(&l->entries, dir, cookie);

	if (!link || link->hi != dir)
		return NULL;
	return SORTED_ITEM(link, struct layer_entry, by_cookie);
}

struct layer_entry *
layer_entry_named(const struct layer *l, uint64_t dir, uint64_t hash,
    const char *name, size_t name_len)
{
	uint64_t key;
	struct sorted_link *link;

	if (l->names.count == 0)
		return NULL;
	key = name_key(dir, hash);
	for (link = sorted_from(&l->names, key, 0); link && link->hi == key;
	     link = sorted_after(&l->names, key, link->lo)) {
		struct layer_entry *le =
		    SORTED_ITEM(link, struct layer_entry, by_name);

		if (le->by_cookie.hi == dir && le->name_len == name_len &&
		    memcmp(le->name, name, name_len) == 0)
			return le;
	}
	return NULL;
}

void
layer_entry_get(const struct layer_entry *le, struct entry *out)
{
	out->dir = le->by_cookie.hi;
	out->cookie = le->by_cookie.lo;
	out->ino = le->ino;
	out->type = le->type;
	out->local = le->local;
	out->name_len = le->name_len;
	memcpy(out->name, le->name, le->name_len);
	out->name[le->name_len] = '\0';
}

static struct layer_entry *
entry_new(struct layer *l, uint64_t dir, uint64_t cookie, size_t name_len)
{
	struct layer_entry *le = l->alloc(sizeof(*le) + name_len);

	if (!le)
		return NULL;
	memset(le, 0, sizeof(*le));
	le->by_cookie.hi = dir;
	le->by_cookie.lo = cookie;
	le->name_len = (uint8_t)name_len;
	return le;
}

static void
hide_name(struct layer *l, struct layer_entry *le)
{
	if (le->there)
		sorted_remove(&l->names, &le->by_name);
	le->there = false;
}

enum err
layer_put_entry(struct layer *l, const struct entry *e, uint64_t hash)
{
	struct layer_entry *old = layer_entry(l, e->dir, e->cookie), *le;

	le = entry_new(l, e->dir, e->cookie, e->name_len);
	if (!le)
		return ERR_NOMEM;
	le->ino = e->ino;
	le->hash = hash;
	le->type = e->type;
	le->local = e->local;
	le->there = true;
	memcpy(le->name, e->name, e->name_len);
	if (old) {
		hide_name(l, old);
		sorted_replace(&l->entries, &old->by_cookie, &le->by_cookie);
		free(old);
	} else {
		sorted_add(&l->entries, &le->by_cookie);
	}
	le->by_name.hi = name_key(e->dir, hash);
	le->by_name.lo = e->cookie;
	sorted_add(&l->names, &le->by_name);
	return OK;
}

enum err
layer_drop_entry(struct layer *l, uint64_t dir, uint64_t cookie)
{
	struct layer_entry *le = layer_entry(l, dir, cookie);

	if (!le) {
		le = entry_new(l, dir, cookie, 0);
		if (!le)
			return ERR_NOMEM;
		sorted_add(&l->entries, &le->by_cookie);
		return OK;
	}
	hide_name(l, le);
	return OK;
}

/* ---- merging ------------------------------------------------------------- */

static void
merge_rows(struct sorted *over, struct sorted *under)
{
	struct sorted_link *link;

	while ((link = sorted_drain(under))) {
		struct layer_row *row =
		    SORTED_ITEM(link, struct layer_row, link);

		if (layer_row(over, link->hi))
			free(row);
		else
			sorted_add(over, link);
	}
}

static void
merge_entry(struct layer *over, struct layer_entry *le)
{
	if (layer_entry(over, le->by_cookie.hi, le->by_cookie.lo)) {
		free(le);
		return;
	}
	sorted_add(&over->entries, &le->by_cookie);
	if (le->there)
		sorted_add(&over->names, &le->by_name);
}

void
layer_merge(struct layer *over, struct layer *under)
{
	struct sorted_link *link;

	merge_rows(&over->inodes, &under->inodes);
	merge_rows(&over->xattrs, &under->xattrs);
	while ((link = sorted_drain(&under->entries)))
		merge_entry(
		    over, SORTED_ITEM(link, struct layer_entry, by_cookie));
	layer_init(under, under->alloc);
}
