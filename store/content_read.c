#include "overlay/base/map.h"
#include "store/content_private.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Reading a content
 *
 * A recipe is walked from its start, passing over what lies before the range:
 * an op is about five nanoseconds to pass, and a recipe block has a thousand,
 * so an index of offsets would save nothing that can be measured.
 *
 * Recipes may come from strangers.  What their author controls is checked
 * where it is used: lengths by recipe_next(), the depth here, and a SUB's
 * out_len against the recipe it names before any output is taken from it.
 * Every op makes at least a byte, so a read touches no more ops than it
 * returns bytes -- but each of those may name a large block for the sake of
 * that one byte.  Hence the allowance: bytes opened or walked, in proportion
 * to the bytes asked for, several times what any recipe of ours needs.
 *
 * The cache holds plaintexts, found by id and accepted only if key and length
 * are the same too: who knows a block's id alone must not get at its text.
 * Blocks are fetched and opened outside the lock; two threads that want the
 * same one both do it, and the second finds that it was not needed. */

#define ALLOWANCE_BASE (16u << 20)
#define ALLOWANCE_PER_BYTE 4u
#define OPENING_COST 4096u /* of any block, in bytes that could be walked */

#define SCRATCH_BYTES (64u << 10) /* a line of base64, decoded, fits */

_Static_assert(SCRATCH_BYTES > UINT16_MAX, "see there");

struct entry {
	struct block_ref ref;
	struct entry *newer, *older; /* while cached */
	unsigned users;
	bool cached;
	/* what the plaintext makes as a recipe; 0: not known */
	_Atomic uint64_t recipe_len;
	uint8_t plain[];
};

struct content_reader {
	struct sealer *sealer;
	struct content_source source;
	size_t cache_bytes;

	pthread_mutex_t lock; /* guards all below, and users and cached */
	struct map map;
	struct entry *newest, *oldest;
	size_t bytes;
};

enum err
content_reader_new(struct sealer *s, const struct content_source *source,
    size_t cache_bytes, struct content_reader **out)
{
	struct content_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	if (pthread_mutex_init(&r->lock, NULL)) {
		free(r);
		return ERR_NOMEM;
	}
	r->sealer = s;
	r->source = *source;
	r->cache_bytes = cache_bytes;
	map_init(&r->map);
	*out = r;
	return OK;
}

void
content_reader_free(struct content_reader *r)
{
	struct entry *older;

	if (!r)
		return;
	for (struct entry *e = r->newest; e; e = older) {
		assert(e->users == 0);
		older = e->older;
		free(e);
	}
	map_fini(&r->map);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* ---- the cache ---------------------------------------------------------- */

static uint64_t
entry_hash(const struct block_ref *ref)
{
	return hash64(ref->id.b, ID_BYTES, 0);
}

static bool
entry_match(const void *item, const void *key)
{
	const struct entry *e = item;
	const struct block_ref *ref = key;

	return id_eq(&e->ref.id, &ref->id) &&
	       same_bytes(e->ref.key.b, ref->key.b, KEY_BYTES) &&
	       e->ref.plain_len == ref->plain_len;
}

static size_t
entry_bytes(const struct entry *e)
{
	return sizeof(*e) + e->ref.plain_len;
}

static void
list_push(struct content_reader *r, struct entry *e)
{
	e->newer = NULL;
	e->older = r->newest;
	if (r->newest)
		r->newest->newer = e;
	else
		r->oldest = e;
	r->newest = e;
}

static void
list_remove(struct content_reader *r, struct entry *e)
{
	if (e->newer)
		e->newer->older = e->older;
	else
		r->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		r->oldest = e->newer;
}

/* Under the lock: the cached entry, as the newest, with one user more. */
static struct entry *
cache_find(struct content_reader *r, const struct block_ref *ref)
{
	struct entry *e = map_find(&r->map, entry_hash(ref), entry_match, ref);

	if (!e)
		return NULL;
	list_remove(r, e);
	list_push(r, e);
	e->users++;
	return e;
}

/* Under the lock: drop the oldest until the rest is within bounds.  What is in
 * use stays alive, uncached, until it is let go. */
static void
cache_trim(struct content_reader *r)
{
	while (r->oldest && r->bytes > r->cache_bytes) {
		struct entry *e = r->oldest;

		list_remove(r, e);
		map_remove(&r->map, entry_hash(&e->ref), entry_match, &e->ref);
		r->bytes -= entry_bytes(e);
		e->cached = false;
		if (e->users == 0)
			free(e);
	}
}

static void
entry_let_go(struct content_reader *r, struct entry *e)
{
	bool last;

	pthread_mutex_lock(&r->lock);
	last = --e->users == 0 && !e->cached;
	pthread_mutex_unlock(&r->lock);
	if (last)
		free(e);
}

static enum err
entry_fetch(
    struct content_reader *r, const struct block_ref *ref, struct entry **out)
{
	struct entry *e = malloc(sizeof(*e) + ref->plain_len);
	uint8_t *block;
	size_t len;
	enum err err;

	if (!e)
		return ERR_NOMEM;
	err = r->source.get(r->source.arg, &ref->id, &block, &len);
	if (!err) {
		err = seal_open(r->sealer, ref, block, len, e->plain);
		free(block);
		if (err == ERR_BADSIG)
			err = ERR_CORRUPT; /* damaged here, or a wrong ref */
	}
	if (err) {
		free(e);
		return err;
	}
	e->ref = *ref;
	e->users = 1;
	e->cached = false;
	atomic_init(&e->recipe_len, 0);
	*out = e;
	return OK;
}

/* The opened block; entry_let_go() when done. */
static enum err
entry_get(
    struct content_reader *r, const struct block_ref *ref, struct entry **out)
{
	struct entry *e, *other;
	enum err err;

	pthread_mutex_lock(&r->lock);
	e = cache_find(r, ref);
	pthread_mutex_unlock(&r->lock);
	if (e) {
		*out = e;
		return OK;
	}
	if ((err = entry_fetch(r, ref, &e)))
		return err;
	pthread_mutex_lock(&r->lock);
	other = cache_find(r, ref);
	/* no memory for the map is a block less in the cache */
	if (!other && entry_bytes(e) <= r->cache_bytes &&
	    !map_add(&r->map, entry_hash(ref), e)) {
		e->cached = true;
		list_push(r, e);
		r->bytes += entry_bytes(e);
		cache_trim(r);
	}
	pthread_mutex_unlock(&r->lock);
	if (other) {
		free(e);
		e = other;
	}
	*out = e;
	return OK;
}

/* ---- reading ------------------------------------------------------------ */

struct reading {
	struct content_reader *r;
	uint64_t allowance;
	uint8_t *scratch;
};

/* May a block be opened that has so many bytes? */
static enum err
allow(struct reading *rg, uint64_t bytes)
{
	bytes += OPENING_COST;
	if (bytes > rg->allowance)
		return ERR_MALFORMED;
	rg->allowance -= bytes;
	return OK;
}

/* Copy [off, off + len) of a block's plaintext. */
static enum err
read_block(struct reading *rg, const struct block_ref *ref, size_t off,
    size_t len, uint8_t *out)
{
	struct entry *e;
	enum err err;

	if ((err = allow(rg, ref->plain_len)) ||
	    (err = entry_get(rg->r, ref, &e)))
		return err;
	memcpy(out, e->plain + off, len);
	entry_let_go(rg->r, e);
	return OK;
}

/* The decoded bytes of a B64 op, read forward; the block in use stays open. */
struct decoded {
	struct rd refs; /* the rest of the op's */
	struct entry *e; /* NULL: none yet */
	uint64_t at, next; /* where its bytes begin and end */
};

/* Have the block open that has the byte at `off`; none before off is wanted
 * again. */
static enum err
decoded_seek(struct reading *rg, struct decoded *d, uint64_t off)
{
	struct block_ref ref;
	enum err e;

	if (d->e && off < d->next)
		return OK;
	if (d->e)
		entry_let_go(rg->r, d->e);
	d->e = NULL;
	do {
		if (!ref_take(&d->refs, &ref))
			return ERR_MALFORMED;
		d->at = d->next;
		d->next += ref.plain_len;
	} while (off >= d->next);
	if ((e = allow(rg, ref.plain_len)))
		return e;
	return entry_get(rg->r, &ref, &d->e);
}

/* [off, off + len) of them, where they are, or gathered in scratch. */
static enum err
decoded_get(struct reading *rg, struct decoded *d, uint64_t off, size_t len,
    const uint8_t **out)
{
	size_t done = 0;
	enum err e;

	if ((e = decoded_seek(rg, d, off)))
		return e;
	if (len <= d->next - off) {
		*out = d->e->plain + (off - d->at);
		return OK;
	}
	if (!rg->scratch && !(rg->scratch = malloc(SCRATCH_BYTES)))
		return ERR_NOMEM;
	while (done < len) {
		size_t n;

		if ((e = decoded_seek(rg, d, off + done)))
			return e;
		n = (size_t)(d->next - (off + done));
		if (n > len - done)
			n = len - done;
		memcpy(
		    rg->scratch + done, d->e->plain + (off + done - d->at), n);
		done += n;
	}
	*out = rg->scratch;
	return OK;
}

/* [off, off + len) of a B64 op's output: as many lines at a time as scratch
 * could hold decoded. */
static enum err
read_base64(struct reading *rg, const struct recipe_op *op, uint64_t off,
    size_t len, uint8_t *out)
{
	size_t line = op->line_len + 1u + op->crlf;
	size_t width = op->line_len / 4u * 3;
	struct decoded d = { .refs = op->refs };
	enum err e = OK;

	while (len && !e) {
		uint64_t from = off / line * width;
		size_t skip = (size_t)(off % line), n, bytes;
		size_t lines = SCRATCH_BYTES / width;
		size_t touched = (skip + len + line - 1) / line;
		const uint8_t *plain;
		uint8_t eol = 1;

		if (lines > touched)
			lines = touched;
		bytes = lines * width;
		n = lines * line;
		if (op->decoded_len - from <= bytes) {
			bytes = (size_t)(op->decoded_len - from);
			eol = op->last_eol;
			n = mime_encoded_len(
			    bytes, op->line_len, op->crlf, eol);
		}
		n -= skip;
		if (n > len)
			n = len;
		if ((e = decoded_get(rg, &d, from, bytes, &plain)))
			break;
		mime_encode_range(
		    plain, bytes, op->line_len, op->crlf, eol, skip, n, out);
		out += n;
		off += n;
		len -= n;
	}
	if (d.e)
		entry_let_go(rg->r, d.e);
	return e;
}

/* Open the block of a SUB and see that it is the recipe that SUB says. */
static enum err
open_recipe(
    struct content_reader *r, const struct recipe_op *op, struct entry **out)
{
	struct entry *e;
	uint64_t len;
	enum err err;

	if ((err = entry_get(r, &op->ref, &e)))
		return err;
	len = atomic_load_explicit(&e->recipe_len, memory_order_relaxed);
	if (len == 0) {
		err = recipe_len(e->plain, e->ref.plain_len, &len);
		if (!err)
			atomic_store_explicit(
			    &e->recipe_len, len, memory_order_relaxed);
	}
	if (!err && len != op->out_len)
		err = ERR_MALFORMED;
	if (err) {
		entry_let_go(r, e);
		return err;
	}
	*out = e;
	return OK;
}

static enum err read_recipe(struct reading *rg, const uint8_t *recipe,
    size_t recipe_bytes, unsigned depth, uint64_t off, size_t len,
    uint8_t *out);

static enum err
read_sub(struct reading *rg, const struct recipe_op *op, unsigned depth,
    uint64_t off, size_t len, uint8_t *out)
{
	struct entry *e;
	enum err err;

	if (depth == CONTENT_DEPTH_MAX)
		return ERR_MALFORMED;
	if ((err = allow(rg, op->ref.plain_len)) ||
	    (err = open_recipe(rg->r, op, &e)))
		return err;
	err = read_recipe(
	    rg, e->plain, e->ref.plain_len, depth + 1, off, len, out);
	entry_let_go(rg->r, e);
	return err;
}

/* [off, off + len) of a recipe's output, all of which is there. */
static enum err
read_recipe(struct reading *rg, const uint8_t *recipe, size_t recipe_bytes,
    unsigned depth, uint64_t off, size_t len, uint8_t *out)
{
	struct rd r;

	rd_init(&r, recipe, recipe_bytes);
	while (len) {
		struct recipe_op op;
		size_t n;
		enum err e;

		if (!rd_left(&r) || recipe_next(&r, &op))
			return ERR_MALFORMED;
		if (op.out_len <= off) {
			off -= op.out_len;
			continue;
		}
		n = op.out_len - off < len ? (size_t)(op.out_len - off) : len;
		e = OK;
		switch (op.kind) {
		case RECIPE_LIT:
			memcpy(out, op.lit + off, n);
			break;
		case RECIPE_BLK:
			e = read_block(rg, &op.ref, (size_t)off, n, out);
			break;
		case RECIPE_B64:
			e = read_base64(rg, &op, off, n, out);
			break;
		case RECIPE_SUB:
			e = read_sub(rg, &op, depth, off, n, out);
			break;
		case RECIPE_ZERO:
			memset(out, 0, n);
			break;
		}
		if (e)
			return e;
		out += n;
		len -= n;
		off = 0;
	}
	return OK;
}

enum err
content_read(struct content_reader *r, const struct content *c, uint64_t off,
    void *buf, size_t len, size_t *got)
{
	struct reading rg = { .r = r };
	uint64_t size;
	enum err e;

	if ((e = content_size(c, &size)))
		return e;
	if (off >= size)
		len = 0;
	else if (len > size - off)
		len = (size_t)(size - off);
	rg.allowance = ALLOWANCE_BASE + ALLOWANCE_PER_BYTE * (uint64_t)len;
	e = read_recipe(&rg, c->bytes, c->len, 0, off, len, buf);
	free(rg.scratch);
	if (!e)
		*got = len;
	return e;
}

/* ---- refs --------------------------------------------------------------- */

/* One recipe block that was walked.  A recipe that names another a thousand
 * times, and so on eight deep, has few blocks and no end: each is walked
 * once. */
struct walked {
	struct walked *next;
	struct block_ref ref;
	uint64_t out_len;
	unsigned depth;
};

struct walk {
	struct content_reader *r;
	struct map seen;
	struct walked *all;
	content_ref_fn *fn;
	void *arg;
};

static bool
walked_match(const void *item, const void *key)
{
	const struct walked *w = item;
	const struct block_ref *ref = key;

	return memcmp(&w->ref, ref, sizeof(*ref)) == 0;
}

_Static_assert(sizeof(struct block_ref) == ID_BYTES + KEY_BYTES + 4,
    "compared as bytes, so it may have no padding");

static enum err walk_recipe(
    struct walk *w, const uint8_t *recipe, size_t len, unsigned depth);

/* A SUB, unless it was walked from a place as high up as this (the depth
 * bound must hold on the deepest way to it). */
static enum err
walk_sub(struct walk *w, const struct recipe_op *op, unsigned depth)
{
	uint64_t hash = entry_hash(&op->ref);
	struct walked *seen = map_find(&w->seen, hash, walked_match, &op->ref);
	struct entry *e;
	enum err err;

	if (depth == CONTENT_DEPTH_MAX)
		return ERR_MALFORMED;
	if (seen && seen->depth >= depth)
		return seen->out_len == op->out_len ? OK : ERR_MALFORMED;
	if (!seen && (err = w->fn(w->arg, &op->ref)))
		return err;
	if ((err = open_recipe(w->r, op, &e)))
		return err;
	if (!seen) {
		seen = malloc(sizeof(*seen));
		if (!seen || map_add(&w->seen, hash, seen)) {
			free(seen);
			err = ERR_NOMEM;
			goto out;
		}
		seen->ref = op->ref;
		seen->out_len = op->out_len;
		seen->next = w->all;
		w->all = seen;
	}
	seen->depth = depth;
	err = walk_recipe(w, e->plain, e->ref.plain_len, depth + 1);
out:
	entry_let_go(w->r, e);
	return err;
}

static enum err
walk_recipe(struct walk *w, const uint8_t *recipe, size_t len, unsigned depth)
{
	struct recipe_op op;
	struct block_ref ref;
	struct rd r;
	enum err e = OK;

	rd_init(&r, recipe, len);
	while (!e && rd_left(&r)) {
		if (recipe_next(&r, &op))
			return ERR_MALFORMED;
		if (op.kind == RECIPE_BLK)
			e = w->fn(w->arg, &op.ref);
		else if (op.kind == RECIPE_SUB)
			e = walk_sub(w, &op, depth);
		else if (op.kind == RECIPE_B64)
			for (uint32_t i = 0; i < op.count && !e; i++)
				e = ref_take(&op.refs, &ref)
					? w->fn(w->arg, &ref)
					: ERR_MALFORMED;
	}
	return e;
}

enum err
content_refs(struct content_reader *r, const struct content *c,
    content_ref_fn *fn, void *arg)
{
	struct walk w = { .r = r, .fn = fn, .arg = arg };
	struct walked *next;
	uint64_t size;
	enum err e;

	if ((e = content_size(c, &size)))
		return e;
	map_init(&w.seen);
	e = walk_recipe(&w, c->bytes, c->len, 0);
	for (struct walked *x = w.all; x; x = next) {
		next = x->next;
		free(x);
	}
	map_fini(&w.seen);
	return e;
}
