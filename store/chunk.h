/* chunk.h - where a large part is cut: content-defined chunking with a gear
 * hash and normalised masks (FastCDC, USENIX ATC 2016), integers only.
 *
 * Boundaries decide ids, so everything here is format: the gear table (from
 * splitmix64, seed in chunk.c), the masks and the limits never change under
 * one format version. */
#ifndef POST_STORE_CHUNK_H
#define POST_STORE_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#define CHUNK_MIN (16u << 10)
#define CHUNK_AVG (64u << 10)
#define CHUNK_MAX (256u << 10)

/* Bytes up to this stay whole; chunking short parts gains nothing on mail. */
#define CHUNK_WHOLE_MAX (128u << 10)

/* Length of the first chunk of bytes: CHUNK_MIN..CHUNK_MAX, or len when that
 * is less than CHUNK_MIN or no boundary is found before its end.  A caller
 * that streams must offer CHUNK_MAX bytes unless fewer are left. */
size_t chunk_cut(const uint8_t *bytes, size_t len);

#endif
