/* lmdb_tree.c - reads LMDB's pages.
 *
 *   page     u64 number, u16 0, u16 flags, u16 lower, u16 upper, then up to
 *            `lower` a u16 for each node: where it stands.  Nodes fill the
 *            page from `upper` to its end, without gaps, in any order.
 *   node     u32 length of the value (of a branch: the low part of its child's
 *            number), u16 flags (the high part), u16 length of the key, key,
 *            value; to an even length
 *   overflow u64 number, u16 0, u16 flags, u32 pages; a long value, whose node
 *            has F_BIG and the number in its place
 *
 * all in the byte order of the machine.  Keys ascend as bytes (in LMDB's tree
 * of free pages as integers); the first key of a branch means nothing.
 *
 * What a look at the page can not tell is whether it is the right one.  A
 * damaged page number leads to a page of another tree (whose sums do not fit),
 * of another level (the depth of the tree is known), or of another part of
 * this one: hence fits().  A page that was in that very place before, and is
 * free now, would go unnoticed; so would, with 2^-32, a damaged row. */
#include "store/db/lmdb_tree.h"

#include "overlay/base/map.h"
#include "overlay/base/wire.h"

#include <assert.h>
#include <string.h>

/* The version of "Index" in FORMAT.md.  Rows of another one have other sums:
 * to this program they are damaged, and it makes the index anew. */
#define ROW_FORMAT UINT64_C(2)

#define PAGE_HEADER 16u
#define NODE_HEADER 8u

#define P_BRANCH 0x01u
#define P_LEAF 0x02u
#define P_OVERFLOW 0x04u

#define F_BIG 0x01u /* the value stands in overflow pages */
#define F_SUB 0x02u /* the value is a struct lmdb_db */

struct node {
	const uint8_t *key, *val;
	uint32_t val_len; /* as the node says */
	uint16_t key_len, flags;
	uint32_t bytes; /* of the page */
};

/* ---- rows --------------------------------------------------------------- */

uint32_t
row_sum(enum index_table t, struct index_bytes key, const void *val, size_t len)
{
	uint64_t seed = hash64(key.p, key.len, ROW_FORMAT << 8 | (uint64_t)t);

	return (uint32_t)hash64(val, len, seed);
}

enum err
row_check(enum index_table t, struct index_bytes key, struct index_bytes *val)
{
	size_t len = val->len - ROW_SUM_BYTES;
	struct rd r;

	/* The lengths first: they may be damaged as well. */
	if (key.len < 1 || key.len > INDEX_KEY_MAX ||
	    val->len < ROW_SUM_BYTES || len > INDEX_VALUE_MAX)
		return ERR_CORRUPT;
	rd_init(&r, (const uint8_t *)val->p + len, ROW_SUM_BYTES);
	if (rd_be(&r, ROW_SUM_BYTES) != row_sum(t, key, val->p, len))
		return ERR_CORRUPT;
	val->len = len;
	return OK;
}

/* ---- pages and nodes ---------------------------------------------------- */

static inline uint16_t
u16_at(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t
u32_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t
u64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline unsigned
page_nodes(const uint8_t *page)
{
	return (u16_at(page + 12) - PAGE_HEADER) / 2;
}

/* The page's header was checked, and i is below page_nodes(). */
static inline bool
node_at(const struct lmdb_tree *tree, const uint8_t *page, unsigned i,
    bool leaf, struct node *out)
{
	size_t size = tree->map->page_bytes;
	size_t off = u16_at(page + PAGE_HEADER + 2 * i), more;
	const uint8_t *p = page + off;

	if (off < PAGE_HEADER || off + NODE_HEADER > size)
		return false;
	out->val_len = u32_at(p);
	out->flags = u16_at(p + 4);
	out->key_len = u16_at(p + 6);
	out->key = p + NODE_HEADER;
	out->val = out->key + out->key_len;
	more = !leaf ? 0 : out->flags & F_BIG ? 8 : out->val_len;
	if (more > size || off + NODE_HEADER + out->key_len + more > size)
		return false;
	out->bytes = (uint32_t)(NODE_HEADER + out->key_len + more + 1) & ~1u;
	return true;
}

static inline uint64_t
node_child(const struct node *n)
{
	return n->val_len | (uint64_t)n->flags << 32;
}

static inline int
compare(
    const struct lmdb_tree *tree, struct index_bytes a, const struct node *n)
{
	size_t len = a.len < n->key_len ? a.len : n->key_len;
	int order;

	if (tree->kind == LMDB_TREE_FREE && a.len == 8 && n->key_len == 8) {
		uint64_t x = u64_at(a.p), y = u64_at(n->key);

		return (x > y) - (x < y);
	}
	order = memcmp(a.p, n->key, len);
	return order ? order : (a.len > n->key_len) - (a.len < n->key_len);
}

/* The value of a leaf's node, wherever it stands. */
static bool
node_value(
    const struct lmdb_tree *tree, const struct node *n, struct index_bytes *out)
{
	size_t size = tree->map->page_bytes;
	uint64_t pgno;
	uint32_t pages;
	const uint8_t *p;

	*out = (struct index_bytes){ n->val, n->val_len };
	if (!(n->flags & F_BIG))
		return true;
	pgno = u64_at(n->val);
	if (pgno < 2 || pgno >= tree->pages)
		return false;
	p = tree->map->base + pgno * size;
	pages = u32_at(p + 12);
	if (u64_at(p) != pgno || u16_at(p + 10) != P_OVERFLOW ||
	    pages > tree->pages - pgno ||
	    PAGE_HEADER + (uint64_t)n->val_len > pages * (uint64_t)size)
		return false;
	out->p = p + PAGE_HEADER;
	return true;
}

/* A list of pages: u64 count, then so many numbers, descending; there may be
 * room behind them. */
static bool
is_free_list(const struct lmdb_tree *tree, struct index_bytes val)
{
	const uint8_t *p = val.p;
	uint64_t count, last = tree->pages;

	if (val.len < 8 || val.len % 8)
		return false;
	count = u64_at(p);
	if (count > val.len / 8 - 1)
		return false;
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t pgno = u64_at(p + 8 * i);

		if (pgno < 2 || pgno >= last)
			return false;
		last = pgno;
	}
	return true;
}

/* What a leaf's node says, if it is sound. */
static inline enum err
take(const struct lmdb_tree *tree, const struct node *n,
    struct index_bytes *key, struct index_bytes *val)
{
	*key = (struct index_bytes){ n->key, n->key_len };
	if (!node_value(tree, n, val))
		return ERR_CORRUPT;
	switch (tree->kind) {
	case LMDB_TREE_NAMES:
		return n->flags == F_SUB && val->len == sizeof(struct lmdb_db)
			   ? OK
			   : ERR_CORRUPT;
	case LMDB_TREE_FREE:
		return !(n->flags & ~F_BIG) && n->key_len == 8 &&
			       is_free_list(tree, *val)
			   ? OK
			   : ERR_CORRUPT;
	}
	return n->flags & ~F_BIG ? ERR_CORRUPT
				 : row_check(tree->kind, *key, val);
}

/* The first look at a page whose header is sound. */
static bool
page_is_whole(const struct lmdb_tree *tree, const uint8_t *page, bool leaf)
{
	unsigned n = page_nodes(page);
	size_t bytes = u16_at(page + 14);
	struct node last = { 0 }, now;

	for (unsigned i = 0; i < n; i++, last = now) {
		struct index_bytes key, val;

		if (!node_at(tree, page, i, leaf, &now))
			return false;
		bytes += now.bytes;
		/* LMDB's cursors would go after a long value's pages. */
		if (leaf && take(tree, &now, &key, &val))
			return false;
		key = (struct index_bytes){ now.key, now.key_len };
		if (i > !leaf && compare(tree, key, &last) <= 0)
			return false;
	}
	return bytes == tree->map->page_bytes;
}

static const uint8_t *
open_page(const struct lmdb_tree *tree, uint64_t pgno, bool leaf)
{
	const struct lmdb_map *map = tree->map;
	const uint8_t *p;
	unsigned lower, upper;

	if (pgno < 2 || pgno >= tree->pages)
		return NULL;
	p = map->base + pgno * map->page_bytes;
	lower = u16_at(p + 12);
	upper = u16_at(p + 14);
	if (u64_at(p) != pgno || u16_at(p + 10) != (leaf ? P_LEAF : P_BRANCH) ||
	    lower % 2 || lower < PAGE_HEADER + 2 || lower > upper ||
	    upper > map->page_bytes)
		return NULL;
	if (atomic_load_explicit(&map->seen[pgno], memory_order_relaxed) ==
	    tree->kind + 1)
		return p;
	if (!page_is_whole(tree, p, leaf))
		return NULL;
	atomic_store_explicit(&map->seen[pgno], (unsigned char)(tree->kind + 1),
	    memory_order_relaxed);
	return p;
}

/* ---- paths -------------------------------------------------------------- */

static inline bool
is_leaf(const struct lmdb_path *path, unsigned level)
{
	return level + 1 == path->tree.depth;
}

/* The first node of a leaf that is not below `key`; of a branch, the last one
 * that is not above it. */
static bool
search(
    struct lmdb_path *path, unsigned level, struct index_bytes key, bool *exact)
{
	bool leaf = is_leaf(path, level);
	const uint8_t *page = path->page[level];
	unsigned low = !leaf, high = page_nodes(page);
	struct node n;

	*exact = false;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		int order;

		if (!node_at(&path->tree, page, middle, leaf, &n))
			return false;
		order = compare(&path->tree, key, &n);
		if (order == 0)
			*exact = true;
		if (order > 0 || (order == 0 && !leaf))
			low = middle + 1;
		else
			high = middle;
	}
	path->at[level] = leaf ? low : low - 1;
	return true;
}

/* Open the child that level's node names. */
static bool
descend(struct lmdb_path *path, unsigned level)
{
	struct node n;

	if (!node_at(
		&path->tree, path->page[level], path->at[level], false, &n))
		return false;
	path->page[level + 1] =
	    open_page(&path->tree, node_child(&n), is_leaf(path, level + 1));
	return path->page[level + 1];
}

/* The way to where `key` is or would be; no key: to the first. */
static bool
find(const struct lmdb_tree *tree, struct index_bytes key,
    struct lmdb_path *path, bool *exact)
{
	path->tree = *tree;
	*exact = false;
	path->page[0] = open_page(tree, tree->root, tree->depth == 1);
	if (!path->page[0])
		return false;
	for (unsigned level = 0;; level++) {
		path->at[level] = 0;
		if (key.len && !search(path, level, key, exact))
			return false;
		if (is_leaf(path, level))
			return true;
		if (!descend(path, level))
			return false;
	}
}

/* Are the leaf's keys those that its parents promise? */
static bool
fits(const struct lmdb_path *path)
{
	unsigned leaf = path->tree.depth - 1;
	struct node n, bound;
	bool low = false, high = false;

	for (unsigned level = leaf; level-- && !(low && high);) {
		const uint8_t *page = path->page[level];
		unsigned at = path->at[level];

		if (!low && at > 0) {
			low = true;
			if (!node_at(&path->tree, page, at, false, &bound) ||
			    !node_at(
				&path->tree, path->page[leaf], 0, true, &n) ||
			    compare(&path->tree,
				(struct index_bytes){
				    bound.key, bound.key_len },
				&n) > 0)
				return false;
		}
		if (!high && at + 1 < page_nodes(page)) {
			high = true;
			if (!node_at(
				&path->tree, page, at + 1, false, &bound) ||
			    !node_at(&path->tree, path->page[leaf],
				page_nodes(path->page[leaf]) - 1, true, &n) ||
			    compare(&path->tree,
				(struct index_bytes){
				    bound.key, bound.key_len },
				&n) <= 0)
				return false;
		}
	}
	return true;
}

/* The child beside the path at one level, and its edge down to the leaf. */
static bool
vet_beside(const struct lmdb_path *path, unsigned level, bool right)
{
	struct lmdb_path side = *path;

	if (right ? side.at[level] + 1 >= page_nodes(side.page[level])
		  : side.at[level] == 0)
		return true;
	side.at[level] += right ? 1 : -1u;
	for (; !is_leaf(&side, level); level++) {
		if (!descend(&side, level))
			return false;
		side.at[level + 1] =
		    right ? 0 : page_nodes(side.page[level + 1]) - 1;
	}
	return fits(&side);
}

/* A row that is not here may be in the leaf beside, if it would be this one's
 * first or last: that is so when the key between them is damaged. */
static bool
fits_beside(const struct lmdb_path *path)
{
	unsigned leaf = path->tree.depth - 1;
	bool right = path->at[leaf] >= page_nodes(path->page[leaf]);

	if (path->at[leaf] != 0 && !right)
		return true;
	for (unsigned level = leaf; level--;)
		if (right ? path->at[level] + 1 < page_nodes(path->page[level])
			  : path->at[level] > 0)
			return vet_beside(path, level, right);
	return true;
}

/* The row that the path leads to, or the first of the next leaf. */
static enum err
settle(struct lmdb_path *path, struct index_bytes *key, struct index_bytes *val)
{
	unsigned leaf = path->tree.depth - 1, level = leaf;
	struct node n;

	if (path->at[leaf] >= page_nodes(path->page[leaf])) {
		do {
			if (level == 0)
				return ERR_ABSENT;
			level--;
		} while (path->at[level] + 1 >= page_nodes(path->page[level]));
		path->at[level]++;
		for (; level < leaf; level++) {
			if (!descend(path, level))
				return ERR_CORRUPT;
			path->at[level + 1] = 0;
		}
		if (!fits(path))
			return ERR_CORRUPT;
	}
	if (!node_at(&path->tree, path->page[leaf], path->at[leaf], true, &n))
		return ERR_CORRUPT;
	return take(&path->tree, &n, key, val);
}

enum err
lmdb_tree_init(struct lmdb_tree *tree, const struct lmdb_map *map,
    uint64_t pages, const struct lmdb_db *db, unsigned kind)
{
	bool none = db->root == LMDB_NO_PAGE;

	/* pad and flags of its own trees say the page size, and how keys are
	 * ordered. */
	if (db->depth > LMDB_DEPTH_MAX || none != (db->depth == 0) ||
	    none != (db->entries == 0) ||
	    (kind < INDEX_TABLES && (db->pad || db->flags)))
		return ERR_CORRUPT;
	*tree = (struct lmdb_tree){ map, pages, db->root, db->entries,
		db->depth, kind };
	return OK;
}

enum err
lmdb_tree_get(const struct lmdb_tree *tree, struct index_bytes key,
    struct index_bytes *val)
{
	struct lmdb_path path;
	struct index_bytes k;
	bool exact;

	if (tree->depth == 0)
		return ERR_ABSENT;
	if (!find(tree, key, &path, &exact))
		return ERR_CORRUPT;
	if (exact)
		return settle(&path, &k, val);
	return fits(&path) && fits_beside(&path) ? ERR_ABSENT : ERR_CORRUPT;
}

enum err
lmdb_tree_seek(const struct lmdb_tree *tree, struct index_bytes from,
    struct lmdb_path *out, struct index_bytes *key, struct index_bytes *val)
{
	bool exact;

	if (tree->depth == 0)
		return ERR_ABSENT;
	if (!find(tree, from, out, &exact) ||
	    (!exact && (!fits(out) || !fits_beside(out))))
		return ERR_CORRUPT;
	return settle(out, key, val);
}

enum err
lmdb_tree_next(
    struct lmdb_path *path, struct index_bytes *key, struct index_bytes *val)
{
	unsigned leaf = path->tree.depth - 1;
	enum err e;

	if (path->tree.depth == 0)
		return ERR_CORRUPT; /* as the last time */
	if (path->at[leaf] < page_nodes(path->page[leaf]))
		path->at[leaf]++;
	e = settle(path, key, val);
	if (e == ERR_CORRUPT)
		path->tree.depth = 0;
	return e;
}

enum err
lmdb_tree_vet(const struct lmdb_tree *tree, struct index_bytes key, bool beside)
{
	struct lmdb_path path;
	bool exact;

	if (tree->depth == 0)
		return OK;
	if (!find(tree, key, &path, &exact) || !fits(&path))
		return ERR_CORRUPT;
	for (unsigned level = 0; beside && level + 1 < tree->depth; level++)
		if (!vet_beside(&path, level, false) ||
		    !vet_beside(&path, level, true))
			return ERR_CORRUPT;
	return OK;
}

enum err
lmdb_tree_vet_all(const struct lmdb_tree *tree)
{
	struct index_bytes key, val;
	struct lmdb_path path;
	uint64_t entries = 0;
	enum err e;

	e = lmdb_tree_seek(tree, (struct index_bytes){ 0 }, &path, &key, &val);
	for (; !e; e = lmdb_tree_next(&path, &key, &val))
		entries++;
	if (e == ERR_ABSENT)
		e = entries == tree->entries ? OK : ERR_CORRUPT;
	return e;
}
