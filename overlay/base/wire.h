/* wire.h - the one cursor through which bytes are read and written.
 *
 * A failure sticks, so a decoder reads like the format and is checked once at
 * its end -- except before a value bounds a loop or sizes an allocation.
 * Integers are big-endian; a varint is LEB128 in its shortest form, anything
 * longer is refused, so that one meaning has one encoding.  Nothing here
 * allocates or keeps what it is given. */
#ifndef POST_BASE_WIRE_H
#define POST_BASE_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VARINT_MAX 10 /* bytes of the longest varint */

struct rd {
	const uint8_t *p, *end;
	bool bad;
};

static inline void
rd_init(struct rd *r, const void *bytes, size_t len)
{
	r->p = bytes;
	r->end = r->p + len;
	r->bad = false;
}

static inline size_t
rd_left(const struct rd *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->p);
}

/* Borrow the next n bytes; NULL, and bad, if they are not there. */
static inline const uint8_t *
rd_take(struct rd *r, size_t n)
{
	const uint8_t *at = r->p;

	if (r->bad || (size_t)(r->end - at) < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	return at;
}

/* Big-endian integer of n (1 to 8) bytes; 0 when bad. */
static inline uint64_t
rd_be(struct rd *r, unsigned n)
{
	const uint8_t *at = rd_take(r, n);
	uint64_t v = 0;

	for (unsigned i = 0; at && i < n; i++)
		v = v << 8 | at[i];
	return v;
}

static inline void
rd_bytes(struct rd *r, void *out, size_t n)
{
	const uint8_t *at = rd_take(r, n);

	if (at && n)
		memcpy(out, at, n);
	else if (n)
		memset(out, 0, n);
}

static inline uint64_t
rd_varint(struct rd *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t c = (uint8_t)rd_be(r, 1);

		if (r->bad || (shift == 63 && c > 1))
			break;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (c & 0x80)
			continue;
		if (c == 0 && shift)
			break; /* not the shortest form */
		return v;
	}
	r->bad = true;
	return 0;
}

/* Zigzag varint. */
static inline int64_t
rd_svarint(struct rd *r)
{
	uint64_t v = rd_varint(r);

	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* All read, nothing wrong, nothing left over. */
static inline bool
rd_done(const struct rd *r)
{
	return !r->bad && r->p == r->end;
}

struct wr {
	uint8_t *start, *p, *end;
	bool bad; /* out of room */
};

static inline void
wr_init(struct wr *w, void *buf, size_t cap)
{
	w->start = w->p = buf;
	w->end = w->p + cap;
	w->bad = false;
}

static inline size_t
wr_len(const struct wr *w)
{
	return (size_t)(w->p - w->start);
}

static inline uint8_t *
wr_take(struct wr *w, size_t n)
{
	uint8_t *at = w->p;

	if (w->bad || (size_t)(w->end - at) < n) {
		w->bad = true;
		return NULL;
	}
	w->p += n;
	return at;
}

static inline void
wr_be(struct wr *w, uint64_t v, unsigned n)
{
	uint8_t *at = wr_take(w, n);

	for (unsigned i = 0; at && i < n; i++)
		at[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static inline void
wr_bytes(struct wr *w, const void *bytes, size_t n)
{
	uint8_t *at = wr_take(w, n);

	if (at && n)
		memcpy(at, bytes, n);
}

static inline void
wr_varint(struct wr *w, uint64_t v)
{
	while (v >= 0x80) {
		wr_be(w, (v & 0x7f) | 0x80, 1);
		v >>= 7;
	}
	wr_be(w, v, 1);
}

static inline void
wr_svarint(struct wr *w, int64_t v)
{
	wr_varint(w, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

#endif
