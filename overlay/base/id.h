/* id.h - 256-bit identifiers: of blocks, nodes, users, devices, keys' homes.
 *
 * An id is a BLAKE2b-256 hash and is compared as a big-endian number, which
 * is the order of the ring (Pastry, section 2.1). */
#ifndef POST_BASE_ID_H
#define POST_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ID_BYTES 32
#define ID_HEX (2 * ID_BYTES)

struct id {
	uint8_t b[ID_BYTES];
};

_Static_assert(sizeof(struct id) == ID_BYTES, "an id has no padding");

static inline int
id_cmp(const struct id *a, const struct id *b)
{
	return memcmp(a->b, b->b, ID_BYTES);
}

static inline bool
id_eq(const struct id *a, const struct id *b)
{
	return id_cmp(a, b) == 0;
}

/* Lower-case hex, NUL-terminated. */
void id_to_hex(const struct id *id, char out[ID_HEX + 1]);

/* Exactly ID_HEX hex digits of either case, then the end of `text`; false,
 * and *out untouched, for anything else. */
bool id_from_hex(const char *text, struct id *out);

#endif
