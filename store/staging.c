/* Pages in memory, and where each page's bytes are (the order is told beside
 * struct leaf).
 *
 * Leaves of sixteen pages in a sorted array: a mail of 10 KB is one leaf and
 * one run of three pages, a sparse file costs what it has.  Beyond the end of
 * the file a page holds zeros, so that growing needs no work.
 *
 * A write first gets all the memory it needs and loads what it covers in part
 * only; from there on it can not fail. */
#include "store/staging_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAGE STAGING_PAGE
#define LEAF_BYTES (LEAF_PAGES * (uint64_t)PAGE)

enum source { MEMORY, SPILLED, ZERO, BELOW };

/* ---- the pool ----------------------------------------------------------- */

size_t
staging_pool_used(const struct staging_pool *p)
{
	return atomic_load(&p->used);
}

static void
pool_take(struct staging *s, size_t bytes)
{
	atomic_fetch_add(&s->pool->used, bytes);
}

static void
pool_give(struct staging *s, size_t bytes)
{
	size_t was = atomic_fetch_sub(&s->pool->used, bytes);

	assert(was >= bytes);
}

/* ---- leaves ------------------------------------------------------------- */

/* Where the leaf is, or would be. */
static size_t
leaf_seek(const struct staging *s, uint64_t index)
{
	size_t low = 0, high = s->leaves;

	if (high && s->leaf[high - 1].index < index)
		return high; /* appending */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->leaf[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct leaf *
leaf_find(const struct staging *s, uint64_t page)
{
	size_t at = leaf_seek(s, page / LEAF_PAGES);

	return at < s->leaves && s->leaf[at].index == page / LEAF_PAGES
		   ? &s->leaf[at]
		   : NULL;
}

enum err
leaf_get(struct staging *s, uint64_t page, struct leaf **out)
{
	uint64_t index = page / LEAF_PAGES;
	size_t at = leaf_seek(s, index);

	if (at == s->leaves || s->leaf[at].index != index) {
		if (s->leaves == s->cap) {
			size_t cap = s->cap ? s->cap * 2 : 2;
			struct leaf *grown =
			    realloc(s->leaf, cap * sizeof(*grown));

			if (!grown)
				return ERR_NOMEM;
			s->leaf = grown;
			s->cap = cap;
		}
		memmove(s->leaf + at + 1, s->leaf + at,
		    (s->leaves++ - at) * sizeof(*s->leaf));
		s->leaf[at] = (struct leaf){ .index = index };
	}
	*out = &s->leaf[at];
	return OK;
}

void
leaf_drop_memory(struct staging *s, struct leaf *l)
{
	pool_give(s, (size_t)(l->hi - l->lo) * PAGE);
	free(l->bytes);
	l->bytes = NULL;
	l->lo = l->hi = 0;
	l->memory = l->same = 0;
}

static void
leaf_remove(struct staging *s, struct leaf *l)
{
	leaf_drop_memory(s, l);
	memmove(
	    l, l + 1, (size_t)(s->leaf + --s->leaves - l) * sizeof(*s->leaf));
}

/* Room for pages first <= i < end.  A run grows by doubling at its end, since
 * most files are written from front to back. */
static enum err
leaf_reserve(struct staging *s, struct leaf *l, unsigned first, unsigned end)
{
	unsigned lo = l->lo, hi = l->hi;
	uint8_t *grown;

	if (lo == hi) {
		lo = first;
		hi = end;
	}
	if (first < lo)
		lo = first;
	if (end > hi) {
		hi = lo + 2 * (hi - lo);
		hi = hi < end ? end : hi > LEAF_PAGES ? LEAF_PAGES : hi;
	}
	if (l->bytes && lo == l->lo && hi == l->hi)
		return OK;
	grown = realloc(l->bytes, (size_t)(hi - lo) * PAGE);
	if (!grown)
		return ERR_NOMEM;
	if (l->bytes && lo < l->lo)
		memmove(grown + (size_t)(l->lo - lo) * PAGE, grown,
		    (size_t)(l->hi - l->lo) * PAGE);
	pool_take(s, (size_t)(hi - lo - (l->hi - l->lo)) * PAGE);
	l->bytes = grown;
	l->lo = (uint8_t)lo;
	l->hi = (uint8_t)hi;
	return OK;
}

/* Pages first <= i < end of a leaf. */
static uint16_t
bits(unsigned first, unsigned end)
{
	return (uint16_t)((1u << end) - (1u << first));
}

/* Calls for each leaf that pages first <= p < end touch: the range in it. */
static void
leaf_range(
    uint64_t leaf, uint64_t first, uint64_t end, unsigned *lo, unsigned *hi)
{
	uint64_t start = leaf * LEAF_PAGES;

	*lo = first > start ? (unsigned)(first - start) : 0;
	*hi = end - start < LEAF_PAGES ? (unsigned)(end - start) : LEAF_PAGES;
}

static enum source
source_of(const struct staging *s, uint64_t page)
{
	const struct leaf *l = leaf_find(s, page);
	uint16_t bit = (uint16_t)(1u << page % LEAF_PAGES);

	if (l && l->memory & bit)
		return MEMORY;
	if (l && l->spilled & bit)
		return SPILLED;
	if ((l && l->zero & bit) || page >= pages_of(s->below_size))
		return ZERO;
	return BELOW;
}

/* ---- life --------------------------------------------------------------- */

static enum err
new_staging(
    struct staging_pool *p, uint64_t ino, uint64_t size, struct staging **out)
{
	struct staging *s = calloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->pool = p;
	s->ino = ino;
	s->size = s->below_size = size;
	s->current = UINT64_MAX;
	key_derive(&p->key, "post page file", ino, &s->key);
	*out = s;
	return OK;
}

enum err
staging_new(struct staging_pool *p, uint64_t ino, uint64_t base_size,
    staging_base_fn *base, void *base_arg, struct staging **out)
{
	struct staging *s;
	enum err e;

	assert(base || base_size == 0);
	if (base_size > STAGING_SIZE_MAX)
		return ERR_TOO_BIG;
	if ((e = new_staging(p, ino, base_size, &s)))
		return e;
	s->base = base_size ? base : NULL;
	s->base_arg = base_arg;
	*out = s;
	return OK;
}

enum err
staging_open_kept(
    struct staging_pool *p, uint64_t ino, uint64_t size, struct staging **out)
{
	struct staging *s;
	enum err e;

	if (size > STAGING_SIZE_MAX)
		return ERR_CORRUPT;
	if ((e = new_staging(p, ino, size, &s)))
		return e;
	if ((e = staging_file_open_kept(s))) {
		staging_free(s);
		return e;
	}
	*out = s;
	return OK;
}

void
staging_free(struct staging *s)
{
	if (!s)
		return;
	while (s->leaves)
		leaf_remove(s, &s->leaf[s->leaves - 1]);
	free(s->leaf);
	staging_file_close(s);
	wipe(&s->key, sizeof(s->key));
	free(s);
}

uint64_t
staging_size(const struct staging *s)
{
	return s->size;
}

uint64_t
staging_version(const struct staging *s)
{
	return s->version;
}

/* ---- reading ------------------------------------------------------------ */

/* Bytes of what is below; what was cut off is zeros. */
static enum err
read_below(struct staging *s, uint64_t off, uint8_t *buf, size_t len)
{
	size_t have = 0;
	enum err e;

	if (off < s->below_size)
		have = len < s->below_size - off
			   ? len
			   : (size_t)(s->below_size - off);
	memset(buf + have, 0, len - have);
	if (!have)
		return OK;
	if (s->base)
		return s->base(s->base_arg, off, buf, have);
	/* Slots open as a whole: whole pages directly, parts by way of one. */
	while (have) {
		uint64_t page = off / PAGE;
		size_t in = (size_t)(off % PAGE), n = PAGE - in;
		uint8_t part[PAGE];
		unsigned pages;

		if (in == 0 && have >= PAGE) {
			pages = have / PAGE < LEAF_PAGES
				    ? (unsigned)(have / PAGE)
				    : LEAF_PAGES;
			n = (size_t)pages * PAGE;
			e = slots_read(s, s->kept, page, pages, true, buf);
			if (e)
				return e;
		} else {
			if (n > have)
				n = have;
			if ((e = slots_read(s, s->kept, page, 1, true, part)))
				return e;
			memcpy(buf, part + in, n);
		}
		off += n;
		buf += n;
		have -= n;
	}
	return OK;
}

/* Bytes that have one source; within one leaf unless they are below. */
static enum err
read_run(
    struct staging *s, enum source from, uint64_t off, uint8_t *buf, size_t len)
{
	uint64_t page = off / PAGE;
	size_t in = (size_t)(off % PAGE);
	uint8_t *whole;
	unsigned pages;
	enum err e;

	switch (from) {
	case MEMORY:
		memcpy(buf,
		    leaf_page(
			leaf_find(s, page), (unsigned)(page % LEAF_PAGES)) +
			in,
		    len);
		return OK;
	case ZERO:
		memset(buf, 0, len);
		return OK;
	case BELOW:
		return read_below(s, off, buf, len);
	case SPILLED:
		break;
	}
	pages = (unsigned)pages_of(in + len);
	if (in == 0 && len % PAGE == 0)
		return slots_read(s, s->spill, page, pages, false, buf);
	whole = malloc((size_t)pages * PAGE);
	if (!whole)
		return ERR_NOMEM;
	e = slots_read(s, s->spill, page, pages, false, whole);
	if (!e)
		memcpy(buf, whole + in, len);
	free(whole);
	return e;
}

enum err
staging_read(
    struct staging *s, uint64_t off, void *buf, size_t len, size_t *got)
{
	uint8_t *out = buf;
	enum err e;

	*got = 0;
	if (off >= s->size)
		return OK;
	if (len > s->size - off)
		len = (size_t)(s->size - off);
	while (*got < len) {
		uint64_t at = off + *got, page = at / PAGE, next = page + 1;
		enum source from = source_of(s, page);
		size_t n;

		while (next * PAGE < off + len && source_of(s, next) == from &&
		       (from == BELOW || next % LEAF_PAGES))
			next++;
		n = next * PAGE < off + len ? (size_t)(next * PAGE - at)
					    : (size_t)(off + len - at);
		if ((e = read_run(s, from, at, out + *got, n))) {
			*got = 0;
			return e;
		}
		*got += n;
	}
	return OK;
}

enum err
staging_read_page(struct staging *s, uint64_t page, uint8_t out[PAGE])
{
	return read_run(s, source_of(s, page), page * PAGE, out, PAGE);
}

enum err
staging_load_page(struct staging *s, uint64_t page)
{
	unsigned i = (unsigned)(page % LEAF_PAGES);
	enum source from = source_of(s, page);
	struct leaf *l;
	enum err e;

	if (from == MEMORY)
		return OK;
	if ((e = leaf_get(s, page, &l)) || (e = leaf_reserve(s, l, i, i + 1)) ||
	    (e = read_run(s, from, page * PAGE, leaf_page(l, i), PAGE)))
		return e;
	l->memory |= (uint16_t)(1u << i);
	if (from == BELOW)
		l->same |= (uint16_t)(1u << i);
	else if (from == ZERO)
		l->zero |= (uint16_t)(1u << i);
	return OK;
}

/* ---- changing ----------------------------------------------------------- */

/* While the pool is over its limit, let go of this file's pages, but for the
 * leaf that was written last. */
static enum err
make_room(struct staging *s)
{
	size_t goal = s->pool->max - s->pool->max / 8, at;
	enum err e;

	if (staging_pool_used(s->pool) <= s->pool->max)
		return OK;
	at = leaf_seek(s, s->hand);
	for (size_t n = s->leaves; n && staging_pool_used(s->pool) > goal;
	     n--, at++) {
		struct leaf *l = &s->leaf[at = at < s->leaves ? at : 0];

		s->hand = l->index + 1;
		if (l->bytes && l->index != s->current &&
		    (e = leaf_spill(s, l)))
			return e;
	}
	return OK;
}

enum err
staging_leave_base(struct staging *s)
{
	uint64_t pages = pages_of(s->below_size);
	enum err e;

	if (!s->base)
		return OK;
	for (uint64_t page = 0; page < pages; page++) {
		if (source_of(s, page) == BELOW &&
		    ((e = make_room(s)) || (e = staging_load_page(s, page))))
			return e;
		/* Soon there is nothing below that is the same. */
		leaf_find(s, page)->same &=
		    (uint16_t) ~(1u << page % LEAF_PAGES);
	}
	s->base = NULL;
	s->below_size = 0;
	return OK;
}

/* Have memory for the pages that off..end touches, loaded if they will be
 * covered in part only. */
static enum err
prepare(struct staging *s, uint64_t off, uint64_t end)
{
	uint64_t first = off / PAGE, last = pages_of(end);
	bool head = off % PAGE, tail = end % PAGE && end < s->size;
	enum err e;

	for (uint64_t i = first / LEAF_PAGES; i <= (last - 1) / LEAF_PAGES;
	     i++) {
		unsigned lo, hi;
		struct leaf *l;

		leaf_range(i, first, last, &lo, &hi);
		if ((e = leaf_get(s, i * LEAF_PAGES, &l)) ||
		    (e = leaf_reserve(s, l, lo, hi)))
			return e;
	}
	if (head && (e = staging_load_page(s, first)))
		return e;
	return tail ? staging_load_page(s, last - 1) : OK;
}

/* Fill `off..end` of one page that is prepared: from `from`, or zeros. */
static void
put(struct staging *s, uint64_t off, uint64_t end, const uint8_t *from)
{
	uint64_t page = off / PAGE;
	unsigned i = (unsigned)(page % LEAF_PAGES);
	struct leaf *l = leaf_find(s, page);
	uint16_t bit = (uint16_t)(1u << i);
	size_t in = (size_t)(off % PAGE), len = (size_t)(end - off);
	uint8_t *at = leaf_page(l, i);

	if (!(l->memory & bit)) {
		/* Not loaded, since nothing of it is needed. */
		memset(at, 0, in);
		memset(at + in + len, 0, PAGE - in - len);
	}
	if (from)
		memcpy(at + in, from, len);
	else
		memset(at + in, 0, len);
	l->memory |= bit;
	l->spilled &= (uint16_t)~bit;
	l->zero &= (uint16_t)~bit;
	l->same &= (uint16_t)~bit;
}

enum err
staging_write(struct staging *s, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	uint64_t end;
	enum err e;

	if (off > STAGING_SIZE_MAX || len > STAGING_SIZE_MAX - off)
		return ERR_TOO_BIG;
	if (len == 0)
		return OK;
	end = off + len;
	if ((e = make_room(s)) || (e = prepare(s, off, end)))
		return e;
	while (off < end) {
		uint64_t page = off / PAGE, next = (page + 1) * PAGE;

		if (next > end)
			next = end;
		put(s, off, next, from);
		leaf_find(s, page)->dirty |=
		    (uint16_t)(1u << page % LEAF_PAGES);
		from += next - off;
		off = next;
	}
	s->current = (end - 1) / LEAF_BYTES;
	if (s->size < end)
		s->size = end;
	s->version++;
	return OK;
}

/* Forget pages first <= i < end of a leaf, their memory as well if it was the
 * last. */
static void
leaf_forget(struct staging *s, struct leaf *l, uint16_t which)
{
	l->memory &= (uint16_t)~which;
	l->spilled &= (uint16_t)~which;
	l->same &= (uint16_t)~which;
	if (!l->memory)
		leaf_drop_memory(s, l);
}

enum err
staging_truncate(struct staging *s, uint64_t size)
{
	uint64_t pages = pages_of(size);
	enum err e;

	if (size > STAGING_SIZE_MAX)
		return ERR_TOO_BIG;
	if (size < s->size && size % PAGE) {
		/* The last page keeps its front.  Below, the cut does it. */
		enum source from = source_of(s, pages - 1);

		if (from == SPILLED && (e = staging_load_page(s, pages - 1)))
			return e;
		if (from == SPILLED || from == MEMORY)
			put(s, size, pages * PAGE, NULL);
	}
	while (s->leaves && size < s->size) {
		struct leaf *l = &s->leaf[s->leaves - 1];
		unsigned keep = 0;

		if (l->index * LEAF_PAGES < pages)
			keep = pages - l->index * LEAF_PAGES < LEAF_PAGES
				   ? (unsigned)(pages - l->index * LEAF_PAGES)
				   : LEAF_PAGES;
		if (keep) {
			leaf_forget(s, l, bits(keep, LEAF_PAGES));
			l->zero &= bits(0, keep);
			l->dirty &= bits(0, keep);
			break;
		}
		leaf_remove(s, l);
	}
	if (s->below_size > size)
		s->below_size = size;
	s->size = size;
	s->version++;
	return OK;
}

enum err
staging_punch(struct staging *s, uint64_t off, uint64_t len)
{
	uint64_t end, first, last;
	struct leaf *l;
	enum err e;

	if (off >= s->size || len == 0)
		return OK;
	end = len < s->size - off ? off + len : s->size;
	first = pages_of(off); /* whole pages: first <= p < last */
	last = end == s->size ? pages_of(end) : end / PAGE;
	if ((e = make_room(s)))
		return e;
	if (first > last) { /* within one page */
		if ((e = prepare(s, off, end)))
			return e;
		put(s, off, end, NULL);
		s->version++;
		return OK;
	}
	if (off % PAGE && (e = staging_load_page(s, first - 1)))
		return e;
	if (end > last * PAGE && (e = staging_load_page(s, last)))
		return e;
	for (uint64_t i = first / LEAF_PAGES; i * LEAF_PAGES < last; i++)
		if (i * LEAF_PAGES < pages_of(s->below_size) &&
		    (e = leaf_get(s, i * LEAF_PAGES, &l)))
			return e;
	if (off % PAGE)
		put(s, off, first * PAGE, NULL);
	if (end > last * PAGE)
		put(s, last * PAGE, end, NULL);
	for (size_t at = leaf_seek(s, first / LEAF_PAGES);
	     at < s->leaves && s->leaf[at].index * LEAF_PAGES < last; at++) {
		unsigned lo, hi;

		l = &s->leaf[at];
		leaf_range(l->index, first, last, &lo, &hi);
		leaf_forget(s, l, bits(lo, hi));
		l->zero |= bits(lo, hi);
	}
	s->version++;
	return OK;
}

/* ---- what the journal does not have ------------------------------------- */

/* The first dirty page at or after `page`. */
static bool
dirty_page(const struct staging *s, uint64_t *page)
{
	for (size_t at = leaf_seek(s, *page / LEAF_PAGES); at < s->leaves;
	     at++) {
		const struct leaf *l = &s->leaf[at];
		uint64_t start = l->index * LEAF_PAGES;
		unsigned lo = *page > start ? (unsigned)(*page - start) : 0;

		for (unsigned i = lo; i < LEAF_PAGES; i++)
			if (l->dirty & 1u << i) {
				*page = start + i;
				return true;
			}
	}
	return false;
}

bool
staging_next_dirty(
    const struct staging *s, uint64_t *off, uint64_t *len, uint64_t max)
{
	uint64_t page = *off / PAGE, start, end, next;

	if (!dirty_page(s, &page) || page * PAGE >= s->size || max == 0)
		return false;
	start = page * PAGE > *off ? page * PAGE : *off;
	if (start >= s->size)
		return false;
	do
		next = ++page;
	while (
	    page * PAGE - start < max && dirty_page(s, &page) && page == next);
	end = next * PAGE < s->size ? next * PAGE : s->size;
	if (end - start > max) {
		/* Whole pages, so that each can be marked clean. */
		end = start + max;
		if (end - end % PAGE > start)
			end -= end % PAGE;
	}
	*off = start;
	*len = end - start;
	return true;
}

void
staging_clean(struct staging *s, uint64_t off, uint64_t len)
{
	uint64_t first = off / PAGE, last = pages_of(off + len);

	if (len == 0)
		return;
	for (size_t at = leaf_seek(s, first / LEAF_PAGES);
	     at < s->leaves && s->leaf[at].index * LEAF_PAGES < last; at++) {
		unsigned lo, hi;

		leaf_range(s->leaf[at].index, first, last, &lo, &hi);
		s->leaf[at].dirty &= (uint16_t)~bits(lo, hi);
	}
}

bool
staging_is_dirty(const struct staging *s)
{
	uint64_t page = 0;

	return dirty_page(s, &page);
}

/* ---- holes -------------------------------------------------------------- */

static bool
is_hole(const struct staging *s, uint64_t page)
{
	return source_of(s, page) == ZERO;
}

enum err
staging_seek(struct staging *s, uint64_t off, bool hole, uint64_t *out)
{
	uint64_t pages = pages_of(s->size), page = off / PAGE;

	if (off >= s->size)
		return ERR_ABSENT;
	while (page < pages && is_hole(s, page) != hole) {
		size_t at = leaf_seek(s, page / LEAF_PAGES);

		/* Where there is no leaf, all is alike. */
		if (at < s->leaves && s->leaf[at].index == page / LEAF_PAGES)
			page++;
		else if (page < pages_of(s->below_size))
			page = pages_of(s->below_size) <
				       (page / LEAF_PAGES + 1) * LEAF_PAGES
				   ? pages_of(s->below_size)
				   : (page / LEAF_PAGES + 1) * LEAF_PAGES;
		else
			page = at < s->leaves ? s->leaf[at].index * LEAF_PAGES
					      : pages;
	}
	if (page >= pages) {
		if (!hole)
			return ERR_ABSENT;
		*out = s->size;
		return OK;
	}
	*out = page * PAGE > off ? page * PAGE : off;
	return OK;
}

uint64_t
staging_allocated(const struct staging *s)
{
	uint64_t below = s->kept ? pages_of(s->below_size) : 0, n = below;

	for (size_t at = 0; at < s->leaves; at++) {
		const struct leaf *l = &s->leaf[at];

		for (unsigned i = 0; i < LEAF_PAGES; i++) {
			bool has = (l->memory | l->spilled) & 1u << i;

			if (l->index * LEAF_PAGES + i >= below)
				n += has;
			else if (!has && l->zero & 1u << i)
				n--;
		}
	}
	return n * PAGE;
}
