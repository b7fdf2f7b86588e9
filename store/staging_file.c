/* Page files (FORMAT.md, "Page files").  All are in "local/"; <ino> is 16 hex
 * digits:
 *
 *   <ino>        kept: the file as the last staging_keep() left it
 *   <ino>.spill  pages that had no room in memory; of this process only
 *   <ino>.redo   what a keep that was interrupted wanted to change
 *
 * Page p is the slot at p * 4124 { nonce[12], ciphertext[4096], tag[16] }
 * under key_derive(pages, "post page file", ino); u64 p is authenticated.  A
 * slot of zeros is a hole.
 *
 * Keeping must not harm what was kept before: a power cut in the middle of a
 * slot would leave neither the old page nor the new one.  So slots that are
 * overwritten are written to the redo file first:
 *
 *   magic[8] "POSTPGR1", u64 slots of the kept file, u64 count, nonce[12],
 *   tag[16]; then count times { u64 page, slot }, pages ascending
 *
 * which is synced and named, in this order, before the kept file is touched,
 * and removed when that is synced.  Whoever opens the kept file makes it so
 * first.  Redoing is harmless when all was done already.  A removed redo file
 * that a power cut brings back is the latest one, since a kept file is not
 * changed before a new redo file has taken the name durably, even if that one
 * asks for nothing but a length.  Slots behind the kept file's end need none
 * of this: until a checkpoint knows of them, the file's size says that they
 * are not there. */
#include "overlay/base/wire.h"
#include "store/staging_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY "local"
#define PAGE STAGING_PAGE
#define NAME_MAX_BYTES 64
#define REDO_AD_BYTES 24u
#define REDO_HEADER_BYTES (REDO_AD_BYTES + NONCE_BYTES + TAG_BYTES)
#define REDO_ENTRY_BYTES (8u + SLOT_BYTES)

static const uint8_t redo_magic[8] = "POSTPGR1";

static void
file_name(uint64_t ino, const char *suffix, char out[NAME_MAX_BYTES])
{
	int n = snprintf(
	    out, NAME_MAX_BYTES, DIRECTORY "/%016" PRIx64 "%s", ino, suffix);

	assert(n > 0 && n < NAME_MAX_BYTES);
}

static enum err
absent_is_ok(enum err e)
{
	return e == ERR_ABSENT ? OK : e;
}

static enum err
unlink_file(struct disk *d, uint64_t ino, const char *suffix)
{
	char name[NAME_MAX_BYTES];

	file_name(ino, suffix, name);
	return absent_is_ok(disk_unlink(d, name));
}

/* ---- slots -------------------------------------------------------------- */

static void
nonce_words(const uint8_t nonce[NONCE_BYTES], uint64_t out[2])
{
	struct rd r;

	rd_init(&r, nonce, NONCE_BYTES);
	out[0] = rd_be(&r, 4);
	out[1] = rd_be(&r, 8);
}

static void
page_ad(uint64_t page, uint8_t out[8])
{
	struct wr w;

	wr_init(&w, out, 8);
	wr_be(&w, page, 8);
}

void
slot_seal(const struct key *file, uint64_t page,
    const uint8_t nonce[NONCE_BYTES], const uint8_t bytes[PAGE],
    uint8_t out[SLOT_BYTES])
{
	uint64_t words[2];
	uint8_t ad[8];

	nonce_words(nonce, words);
	page_ad(page, ad);
	memcpy(out, nonce, NONCE_BYTES);
	aead_seal(file, words, ad, sizeof(ad), bytes, PAGE, out + NONCE_BYTES);
}

static bool
all_zero(const uint8_t *b, size_t len)
{
	return b[0] == 0 && memcmp(b, b + 1, len - 1) == 0;
}

enum err
slot_open(const struct key *file, uint64_t page, const uint8_t slot[SLOT_BYTES],
    uint8_t out[PAGE])
{
	uint64_t words[2];
	uint8_t ad[8];

	if (all_zero(slot, SLOT_BYTES))
		return ERR_ABSENT;
	nonce_words(slot, words);
	page_ad(page, ad);
	return aead_open(file, words, ad, sizeof(ad), slot + NONCE_BYTES,
		   SLOT_BYTES - NONCE_BYTES, out)
		   ? ERR_CORRUPT
		   : OK;
}

enum err
slots_read(const struct staging *s, struct disk_file *f, uint64_t first,
    unsigned pages, bool holes, uint8_t *out)
{
	size_t len = (size_t)pages * SLOT_BYTES, got;
	uint8_t *slots;
	enum err e;

	assert(f && pages <= LEAF_PAGES);
	slots = malloc(len);
	if (!slots)
		return ERR_NOMEM;
	e = disk_read(f, first * SLOT_BYTES, slots, len, &got);
	if (!e)
		memset(slots + got, 0, len - got);
	for (unsigned i = 0; !e && i < pages; i++) {
		uint8_t *page = out + (size_t)i * PAGE;

		e = slot_open(
		    &s->key, first + i, slots + (size_t)i * SLOT_BYTES, page);
		if (e == ERR_ABSENT && holes) {
			memset(page, 0, PAGE);
			e = OK;
		} else if (e == ERR_ABSENT) {
			e = ERR_CORRUPT;
		}
	}
	free(slots);
	return e;
}

static void
seal_new(const struct staging *s, uint64_t page, const uint8_t bytes[PAGE],
    uint8_t out[SLOT_BYTES])
{
	uint8_t nonce[NONCE_BYTES];

	random_bytes(nonce, sizeof(nonce));
	slot_seal(&s->key, page, nonce, bytes, out);
}

/* ---- spilling ----------------------------------------------------------- */

static enum err
open_spill(struct staging *s)
{
	char name[NAME_MAX_BYTES];

	if (s->spill)
		return OK;
	file_name(s->ino, ".spill", name);
	return disk_open(s->pool->disk, name, DISK_CREATE, &s->spill);
}

enum err
leaf_spill(struct staging *s, struct leaf *l)
{
	uint16_t must =
	    l->memory & (uint16_t) ~(l->spilled | l->zero | l->same);
	uint8_t *slots = NULL;
	enum err e = OK;

	if (must && !(e = open_spill(s))) {
		slots = malloc((size_t)LEAF_PAGES * SLOT_BYTES);
		if (!slots)
			e = ERR_NOMEM;
	}
	for (unsigned i = 0, end; !e && i < LEAF_PAGES; i = end + 1) {
		uint64_t page = l->index * LEAF_PAGES + i;

		for (end = i; end < LEAF_PAGES && must & 1u << end; end++)
			seal_new(s, l->index * LEAF_PAGES + end,
			    leaf_page(l, end),
			    slots + (size_t)(end - i) * SLOT_BYTES);
		if (end > i)
			e = disk_write(s->spill, page * SLOT_BYTES, slots,
			    (size_t)(end - i) * SLOT_BYTES);
	}
	free(slots);
	if (e)
		return e;
	l->spilled |= must;
	leaf_drop_memory(s, l);
	return OK;
}

static void
drop_spill(struct staging *s)
{
	if (!s->spill)
		return;
	disk_file_close(s->spill);
	s->spill = NULL;
	/* If it stays, the next start removes it. */
	(void)!unlink_file(s->pool->disk, s->ino, ".spill");
}

void
staging_file_close(struct staging *s)
{
	drop_spill(s);
	disk_file_close(s->kept);
	s->kept = NULL;
}

/* ---- redo --------------------------------------------------------------- */

static void
redo_header(const struct staging *s, uint64_t slots, uint64_t count,
    uint8_t out[REDO_HEADER_BYTES])
{
	uint64_t words[2];
	struct wr w;

	wr_init(&w, out, REDO_HEADER_BYTES);
	wr_bytes(&w, redo_magic, sizeof(redo_magic));
	wr_be(&w, slots, 8);
	wr_be(&w, count, 8);
	random_bytes(wr_take(&w, NONCE_BYTES), NONCE_BYTES);
	nonce_words(out + REDO_AD_BYTES, words);
	aead_seal(
	    &s->key, words, out, REDO_AD_BYTES, "", 0, wr_take(&w, TAG_BYTES));
	assert(!w.bad && w.p == w.end);
}

/* ERR_CORRUPT: not one that was finished. */
static enum err
redo_header_read(const struct staging *s, struct disk_file *f, uint64_t *slots,
    uint64_t *count)
{
	uint8_t header[REDO_HEADER_BYTES], magic[sizeof(redo_magic)], none[1];
	uint64_t words[2];
	struct rd r;
	size_t got;
	enum err e = disk_read(f, 0, header, sizeof(header), &got);

	if (e)
		return e;
	rd_init(&r, header, got);
	rd_bytes(&r, magic, sizeof(magic));
	*slots = rd_be(&r, 8);
	*count = rd_be(&r, 8);
	rd_take(&r, NONCE_BYTES + TAG_BYTES);
	if (!rd_done(&r) || memcmp(magic, redo_magic, sizeof(magic)))
		return ERR_CORRUPT;
	nonce_words(header + REDO_AD_BYTES, words);
	return aead_open(&s->key, words, header, REDO_AD_BYTES,
		   header + REDO_AD_BYTES + NONCE_BYTES, TAG_BYTES, none)
		   ? ERR_CORRUPT
		   : OK;
}

/* Check all entries, or, if `to`, play them. */
static enum err
redo_entries(const struct staging *s, struct disk_file *f, uint64_t slots,
    uint64_t count, struct disk_file *to)
{
	uint8_t entry[REDO_ENTRY_BYTES], plain[PAGE];
	uint64_t page, next = 0;
	struct rd r;
	size_t got;
	enum err e = OK;

	for (uint64_t i = 0; !e && i < count; i++) {
		e = disk_read(f, REDO_HEADER_BYTES + i * REDO_ENTRY_BYTES,
		    entry, sizeof(entry), &got);
		if (e)
			break;
		rd_init(&r, entry, got);
		page = rd_be(&r, 8);
		rd_take(&r, SLOT_BYTES);
		if (!rd_done(&r) || page < next || page >= slots ||
		    slot_open(&s->key, page, entry + 8, plain))
			e = ERR_CORRUPT;
		else if (to)
			e = disk_write(
			    to, page * SLOT_BYTES, entry + 8, SLOT_BYTES);
		next = page + 1;
	}
	wipe(plain, sizeof(plain));
	return e;
}

/* Do again what a keep was interrupted in. */
static enum err
redo(struct staging *s)
{
	char name[NAME_MAX_BYTES];
	uint64_t slots, count;
	struct disk_file *f;
	enum err e;

	file_name(s->ino, ".redo", name);
	if ((e = disk_open(s->pool->disk, name, DISK_READ, &f)))
		return absent_is_ok(e);
	if (!(e = redo_header_read(s, f, &slots, &count)) &&
	    !(e = redo_entries(s, f, slots, count, NULL)) &&
	    !(e = redo_entries(s, f, slots, count, s->kept)) &&
	    !(e = disk_truncate(s->kept, slots * SLOT_BYTES)))
		e = disk_sync(s->kept);
	disk_file_close(f);
	if (e == ERR_CORRUPT)
		e = OK; /* its slots tell which of them are damaged */
	return e ? e : unlink_file(s->pool->disk, s->ino, ".redo");
}

enum err
staging_file_open_kept(struct staging *s)
{
	char name[NAME_MAX_BYTES];
	uint64_t size;
	enum err e;

	file_name(s->ino, "", name);
	e = disk_open(s->pool->disk, name, DISK_WRITE, &s->kept);
	if (e)
		return e == ERR_ABSENT ? ERR_CORRUPT : e;
	if ((e = redo(s)) || (e = disk_size(s->kept, &size)))
		return e;
	s->kept_slots = (size + SLOT_BYTES - 1) / SLOT_BYTES;
	return OK;
}

/* ---- keeping ------------------------------------------------------------ */

/* Does the kept file lack the page's bytes? */
static bool
must_keep(const struct staging *s, const struct leaf *l, unsigned i)
{
	uint16_t bit = (uint16_t)(1u << i);

	if (l->memory & bit)
		return !(l->same & bit);
	if (l->spilled & bit)
		return true;
	/* Behind the end a hole does for zeros. */
	return l->zero & bit && l->index * LEAF_PAGES + i < s->kept_slots;
}

/* Write the pages below `end` that the kept file lacks: to the redo file, or
 * to their places.  *count: how many. */
static enum err
write_pages(struct staging *s, uint64_t end, struct disk_file *f, bool to_redo,
    uint64_t *count)
{
	size_t each = to_redo ? REDO_ENTRY_BYTES : SLOT_BYTES;
	uint8_t *run = malloc(LEAF_PAGES * each), *page = malloc(PAGE);
	enum err e = run && page ? OK : ERR_NOMEM;

	*count = 0;
	for (size_t at = 0; !e && at < s->leaves; at++) {
		const struct leaf *l = &s->leaf[at];
		uint64_t first = l->index * LEAF_PAGES, start = 0;
		unsigned n = 0;

		for (unsigned i = 0; !e && i <= LEAF_PAGES; i++) {
			bool one = i < LEAF_PAGES && first + i < end &&
				   must_keep(s, l, i);
			uint8_t *to = run + n * each;
			uint64_t off;

			if (n && (!one || n == LEAF_PAGES)) {
				off = to_redo
					  ? REDO_HEADER_BYTES +
						(*count - n) * (uint64_t)each
					  : start * SLOT_BYTES;
				e = disk_write(f, off, run, n * each);
				n = 0;
				to = run;
			}
			if (e || !one)
				continue;
			if (n == 0)
				start = first + i;
			if ((e = staging_read_page(s, first + i, page)))
				break;
			if (to_redo) {
				page_ad(first + i, to);
				to += 8;
			}
			seal_new(s, first + i, page, to);
			n++;
			++*count;
		}
	}
	free(run);
	if (page)
		wipe(page, PAGE);
	free(page);
	return e;
}

/* Have a redo file, durably, for what will be overwritten. */
static enum err
write_redo(struct staging *s, uint64_t slots)
{
	uint64_t end = slots < s->kept_slots ? slots : s->kept_slots;
	char made[NAME_MAX_BYTES], name[NAME_MAX_BYTES];
	struct disk *d = s->pool->disk;
	uint8_t header[REDO_HEADER_BYTES];
	struct disk_file *f;
	uint64_t count;
	enum err e;

	file_name(s->ino, ".new", made);
	file_name(s->ino, ".redo", name);
	if ((e = disk_open(d, made, DISK_CREATE, &f)))
		return e;
	if (!(e = disk_truncate(f, 0)) &&
	    !(e = write_pages(s, end, f, true, &count))) {
		redo_header(s, slots, count, header);
		if (!(e = disk_write(f, 0, header, sizeof(header))))
			e = disk_sync(f);
	}
	disk_file_close(f);
	if (!e && !(e = disk_rename(d, made, name)))
		return disk_sync_dir(d, DIRECTORY);
	(void)!disk_unlink(d, made);
	return e;
}

static bool
is_kept(const struct staging *s)
{
	if (!s->kept || s->kept_slots != pages_of(s->size) ||
	    s->below_size != s->size)
		return false;
	for (size_t at = 0; at < s->leaves; at++)
		for (unsigned i = 0; i < LEAF_PAGES; i++)
			if (must_keep(s, &s->leaf[at], i))
				return false;
	return true;
}

/* What was cut off is still in the kept file: where the file has grown again
 * over it, zeros must be written. */
static enum err
cover_cut(struct staging *s)
{
	uint64_t slots = pages_of(s->size), cut = pages_of(s->below_size);
	struct leaf *l;
	enum err e;

	if (s->below_size % PAGE && s->size > s->below_size) {
		uint16_t bit = (uint16_t)(1u << (cut - 1) % LEAF_PAGES);

		if ((e = staging_load_page(s, cut - 1)))
			return e;
		leaf_find(s, cut - 1)->same &= (uint16_t)~bit;
	}
	for (uint64_t p = cut; p < slots && p < s->kept_slots; p++) {
		uint16_t bit = (uint16_t)(1u << p % LEAF_PAGES);

		if ((e = leaf_get(s, p, &l)))
			return e;
		if (!((l->memory | l->spilled) & bit))
			l->zero |= bit;
	}
	return OK;
}

/* All is in the kept file now. */
static void
settle(struct staging *s, uint64_t slots)
{
	for (size_t at = 0; at < s->leaves; at++) {
		struct leaf *l = &s->leaf[at];

		l->spilled = l->zero = 0;
		l->same = l->memory;
	}
	drop_spill(s);
	s->kept_slots = slots;
	s->below_size = s->size;
}

enum err
staging_keep(struct staging *s)
{
	struct disk *d = s->pool->disk;
	bool was_kept = s->kept != NULL;
	uint64_t slots = pages_of(s->size), count;
	char name[NAME_MAX_BYTES];
	enum err e;

	if ((e = staging_leave_base(s)))
		return e;
	if (is_kept(s))
		return OK;
	file_name(s->ino, "", name);
	if (was_kept) {
		if ((e = cover_cut(s)) || (e = write_redo(s, slots)))
			return e;
	} else {
		if ((e = disk_open(d, name, DISK_CREATE, &s->kept)))
			return e;
		if ((e = disk_truncate(s->kept, 0)))
			goto fail;
	}
	if ((e = write_pages(s, slots, s->kept, false, &count)) ||
	    (e = disk_truncate(s->kept, slots * SLOT_BYTES)) ||
	    (e = disk_sync(s->kept)) ||
	    (!was_kept && (e = disk_sync_dir(d, DIRECTORY))))
		goto fail;
	settle(s, slots);
	/* If it stays, it asks for what is there. */
	(void)!unlink_file(d, s->ino, ".redo");
	return OK;
fail:
	/* What was written behind the end is there now. */
	if (was_kept && s->kept_slots < slots)
		s->kept_slots = slots;
	if (!was_kept) {
		disk_file_close(s->kept);
		s->kept = NULL;
		(void)!disk_unlink(d, name);
	}
	return e;
}

/* ---- the directory ------------------------------------------------------ */

enum err
staging_discard(struct staging_pool *p, uint64_t ino)
{
	enum err e = unlink_file(p->disk, ino, ".redo");

	return e ? e : unlink_file(p->disk, ino, "");
}

/* What the former process left: spilled pages, redo files that were not
 * finished or have lost their kept file. */
static enum err
sweep(void *arg, const char *entry)
{
	struct staging_pool *p = arg;
	const char *suffix = strchr(entry, '.');
	char name[NAME_MAX_BYTES];
	struct disk_file *f;
	enum err e = ERR_ABSENT;

	if (!suffix || suffix - entry != 16 || strlen(suffix) > 8)
		return OK; /* kept, or not ours */
	if (strcmp(suffix, ".redo") == 0) {
		snprintf(name, sizeof(name), DIRECTORY "/%.16s", entry);
		if (!(e = disk_open(p->disk, name, DISK_READ, &f)))
			disk_file_close(f);
		if (e != ERR_ABSENT)
			return e;
	} else if (strcmp(suffix, ".spill") && strcmp(suffix, ".new")) {
		return OK;
	}
	snprintf(name, sizeof(name), DIRECTORY "/%.24s", entry);
	return absent_is_ok(disk_unlink(p->disk, name));
}

enum err
staging_pool_new(struct disk *d, const struct key *key, size_t memory_max,
    struct staging_pool **out)
{
	struct staging_pool *p = calloc(1, sizeof(*p));
	enum err e;

	if (!p)
		return ERR_NOMEM;
	p->disk = d;
	p->key = *key;
	p->max = memory_max;
	atomic_init(&p->used, 0);
	e = disk_mkdir(d, DIRECTORY);
	if ((e && e != ERR_EXISTS) || (e = disk_sync_dir(d, ".")) ||
	    (e = disk_list(d, DIRECTORY, sweep, p))) {
		staging_pool_free(p);
		return e;
	}
	*out = p;
	return OK;
}

void
staging_pool_free(struct staging_pool *p)
{
	if (!p)
		return;
	assert(atomic_load(&p->used) == 0); /* files before their pool */
	wipe(&p->key, sizeof(p->key));
	free(p);
}
