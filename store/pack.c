/* pack.c - writes and reads the format that pack.h describes. */
#include "store/pack.h"

#include "overlay/base/map.h"
#include "overlay/base/wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACK_MAGIC 0x504f53547061636bu /* "POSTpack" */
#define PACK_VERSION 1u

/* No byte of it is in another's place when shifted, and it is no text. */
#define FRAME_MAGIC 0xb10cf4a9u

#define WINDOW_BYTES (2u * FRAME_MAX)

/* An unreadable sector is looked for in steps of this. */
#define SECTOR_BYTES 4096u

static const char mark_key[] = "packs";

void
pack_name(uint32_t pack, char out[PACK_NAME_CAP])
{
	snprintf(out, PACK_NAME_CAP, PACK_DIR "/%08x", pack);
}

void
pack_header_encode(uint32_t pack, uint8_t *out)
{
	struct wr w;

	wr_init(&w, out, PACK_HEADER);
	wr_be(&w, PACK_MAGIC, 8);
	wr_be(&w, (uint64_t)PACK_VERSION << 32 | pack, 8);
	assert(!w.bad && wr_len(&w) == PACK_HEADER);
}

static bool
header_is_of(uint32_t pack, const uint8_t *bytes)
{
	uint64_t magic, rest;
	struct rd r;

	rd_init(&r, bytes, PACK_HEADER);
	magic = rd_be(&r, 8);
	rest = rd_be(&r, 8);
	return magic == PACK_MAGIC &&
	       rest == ((uint64_t)PACK_VERSION << 32 | pack);
}

/* ---- which packs there are ---------------------------------------------- */

struct listing {
	uint32_t *number;
	size_t count, cap;
};

static bool
number_of(const char *entry, uint32_t *out)
{
	uint32_t n = 0;
	size_t i;

	for (i = 0; entry[i]; i++) {
		const char *digits = "0123456789abcdef";
		const char *digit = strchr(digits, entry[i]);

		if (i == 8 || !digit)
			return false;
		n = n << 4 | (uint32_t)(digit - digits);
	}
	*out = n;
	return i == 8 && n;
}

static enum err
list_one(void *arg, const char *entry)
{
	struct listing *l = arg;
	uint32_t n;

	if (!number_of(entry, &n))
		return OK;
	if (l->count == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		uint32_t *more = realloc(l->number, cap * sizeof(*more));

		if (!more)
			return ERR_NOMEM;
		l->number = more;
		l->cap = cap;
	}
	l->number[l->count++] = n; /* sorted, as the names are */
	return OK;
}

enum err
pack_list(struct disk *d, uint32_t **number, size_t *count)
{
	struct listing l = { NULL, 0, 0 };
	enum err e = disk_list(d, PACK_DIR, list_one, &l);

	if (e && e != ERR_ABSENT) {
		free(l.number);
		return e;
	}
	*number = l.number;
	*count = l.count;
	return OK;
}

/* ---- frames ------------------------------------------------------------- */

static uint64_t
sum_of(const uint8_t *frame, enum frame_type type, size_t len)
{
	return hash64(frame + FRAME_HEADER, frame_size(len) - FRAME_HEADER,
	    (uint64_t)type << 24 | len);
}

void
frame_encode(enum frame_type type, const void *bytes, size_t len, uint8_t *out)
{
	size_t size = frame_size(len);
	struct wr w;

	assert(len >= 1 && len <= BLOCK_MAX);
	memcpy(out + FRAME_HEADER, bytes, len);
	memset(out + FRAME_HEADER + len, 0, size - FRAME_HEADER - len);
	wr_init(&w, out, FRAME_HEADER);
	wr_be(&w, FRAME_MAGIC, 4);
	wr_be(&w, type, 1);
	wr_be(&w, len, 3);
	wr_be(&w, sum_of(out, type, len), 8);
	assert(!w.bad && wr_len(&w) == FRAME_HEADER);
}

bool
frame_header_decode(
    const uint8_t bytes[FRAME_HEADER], enum frame_type *type, size_t *len)
{
	struct rd r;
	uint64_t magic, t, n;

	rd_init(&r, bytes, FRAME_HEADER);
	magic = rd_be(&r, 4);
	t = rd_be(&r, 1);
	n = rd_be(&r, 3);
	if (magic != FRAME_MAGIC || t < FRAME_BLOCK || t > FRAME_MARK ||
	    n == 0 || n > BLOCK_MAX)
		return false;
	*type = (enum frame_type)t;
	*len = (size_t)n;
	return true;
}

bool
frame_check(const uint8_t *frame, enum frame_type type, size_t len)
{
	struct rd r;

	rd_init(&r, frame + 8, 8);
	return rd_be(&r, 8) == sum_of(frame, type, len);
}

/* ---- rows --------------------------------------------------------------- */

size_t
place_encode(const struct block_place *at, uint8_t row[PLACE_ROW_MAX])
{
	struct wr w;

	wr_init(&w, row, PLACE_ROW_MAX);
	wr_varint(&w, at->pack);
	wr_varint(&w, at->off / FRAME_ALIGN);
	wr_varint(&w, at->len);
	assert(!w.bad && at->off % FRAME_ALIGN == 0);
	return wr_len(&w);
}

enum err
place_decode(const uint8_t *row, size_t len, struct block_place *out)
{
	uint64_t pack, off, n;
	struct rd r;

	rd_init(&r, row, len);
	pack = rd_varint(&r);
	off = rd_varint(&r);
	n = rd_varint(&r);
	if (!rd_done(&r) || pack == 0 || pack > UINT32_MAX ||
	    off < PACK_HEADER / FRAME_ALIGN ||
	    off > (uint64_t)INT64_MAX / FRAME_ALIGN || n == 0 || n > BLOCK_MAX)
		return ERR_CORRUPT;
	out->pack = (uint32_t)pack;
	out->off = off * FRAME_ALIGN;
	out->len = (uint32_t)n;
	return OK;
}

enum err
mark_put(struct index_txn *txn, const struct pack_mark *m)
{
	uint8_t row[2 * VARINT_MAX];
	struct wr w;

	wr_init(&w, row, sizeof(row));
	wr_varint(&w, m->pack);
	wr_varint(&w, m->end / FRAME_ALIGN);
	assert(!w.bad && m->end % FRAME_ALIGN == 0);
	return index_put(
	    txn, INDEX_META, mark_key, strlen(mark_key), row, wr_len(&w));
}

enum err
mark_get(struct index_txn *txn, struct pack_mark *out)
{
	uint64_t pack, end;
	const uint8_t *row;
	struct rd r;
	size_t len;
	enum err e;

	e = index_get(txn, INDEX_META, mark_key, strlen(mark_key), &row, &len);
	if (e)
		return e;
	rd_init(&r, row, len);
	pack = rd_varint(&r);
	end = rd_varint(&r);
	if (!rd_done(&r) || pack > UINT32_MAX ||
	    end > (uint64_t)INT64_MAX / FRAME_ALIGN)
		return ERR_CORRUPT;
	out->pack = (uint32_t)pack;
	out->end = end * FRAME_ALIGN;
	return OK;
}

/* ---- scanning ----------------------------------------------------------- */

/* Read part of a file in which there may be sectors that can not be read:
 * they are zeros to us, so that what is around them is found. */
static enum err
read_around(
    struct disk_file *f, uint64_t off, uint8_t *buf, size_t len, size_t *got)
{
	enum err e = disk_read(f, off, buf, len, got);
	size_t done, n, part;

	if (e != ERR_IO)
		return e;
	for (done = 0; done < len; done += n) {
		n = SECTOR_BYTES - (size_t)((off + done) % SECTOR_BYTES);
		if (n > len - done)
			n = len - done;
		e = disk_read(f, off + done, buf + done, n, &part);
		if (e && e != ERR_IO)
			return e;
		if (e)
			memset(buf + done, 0, n);
		else if (part < n)
			memset(buf + done + part, 0, n - part);
	}
	*got = len;
	return OK;
}

/* n bytes at off, which are in the file, or NULL and *e. */
static const uint8_t *
look(struct pack_scan *s, uint64_t off, size_t n, enum err *e)
{
	size_t want, got;

	if (off >= s->window_off && off - s->window_off + n <= s->window_len)
		return s->window + (off - s->window_off);
	want = s->size - off < WINDOW_BYTES ? (size_t)(s->size - off)
					    : WINDOW_BYTES;
	s->window_len = 0;
	*e = read_around(s->file, off, s->window, want, &got);
	if (*e)
		return NULL;
	if (got < want) /* who shortens it meanwhile? */
		memset(s->window + got, 0, want - got);
	s->window_off = off;
	s->window_len = want;
	return s->window;
}

/* Is there a whole frame at off? */
static bool
frame_at(struct pack_scan *s, uint64_t off, struct pack_found *out, enum err *e)
{
	const uint8_t *frame;
	enum frame_type type;
	size_t len;

	*e = OK;
	if (s->size - off < FRAME_HEADER)
		return false;
	frame = look(s, off, FRAME_HEADER, e);
	if (!frame || !frame_header_decode(frame, &type, &len) ||
	    frame_size(len) > s->size - off)
		return false;
	frame = look(s, off, frame_size(len), e);
	if (!frame || !frame_check(frame, type, len))
		return false;
	*out = (struct pack_found){ OK, off, type, frame + FRAME_HEADER, len };
	return true;
}

enum err
pack_scan_begin(
    struct disk *d, uint32_t pack, uint64_t from, struct pack_scan *out)
{
	char name[PACK_NAME_CAP];
	const uint8_t *header;
	enum err e;

	assert(from % FRAME_ALIGN == 0);
	memset(out, 0, sizeof(*out));
	pack_name(pack, name);
	out->off = from;
	out->window = malloc(WINDOW_BYTES);
	e = out->window ? OK : ERR_NOMEM;
	if (!e)
		e = disk_open(d, name, DISK_READ, &out->file);
	if (!e)
		e = disk_size(out->file, &out->size);
	if (!e && from == 0 && out->size >= PACK_HEADER) {
		header = look(out, 0, PACK_HEADER, &e);
		out->header_ok = header && header_is_of(pack, header);
		if (out->header_ok)
			out->off = PACK_HEADER;
	}
	if (e)
		pack_scan_end(out);
	return e;
}

enum err
pack_scan_next(struct pack_scan *s, struct pack_found *out)
{
	uint64_t at;
	enum err e;

	if (s->off >= s->size)
		return ERR_ABSENT;
	e = OK;
	at = PACK_HEADER; /* if we stand before a bad one */
	if (s->off >= PACK_HEADER) {
		if (frame_at(s, s->off, out, &e)) {
			s->off += frame_size(out->len);
			return OK;
		}
		at = s->off + FRAME_ALIGN;
	}
	for (; !e && at < s->size; at += FRAME_ALIGN)
		if (frame_at(s, at, out, &e))
			break;
	if (e)
		return e;
	if (at > s->size)
		at = s->size;
	memset(out, 0, sizeof(*out));
	out->e = ERR_CORRUPT;
	out->off = s->off;
	out->len = (size_t)(at - s->off);
	s->off = at;
	return OK;
}

void
pack_scan_end(struct pack_scan *s)
{
	disk_file_close(s->file);
	free(s->window);
	s->file = NULL;
	s->window = NULL;
}
