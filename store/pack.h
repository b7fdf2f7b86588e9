/* pack.h - the bytes of a pack file; for blockdb*.c and their tests.
 *
 *   file   u64 "POSTpack", u32 version (1), u32 number; then frames
 *   frame  u32 magic, u8 type, u24 len, u64 sum, payload[len], zeros to the
 *          next multiple of 8
 *
 * Big-endian.  sum is XXH3-64 of payload and padding, seeded with the word
 * (type, len), so that every bit of a frame is covered by something.  Frames
 * begin at multiples of 8; the id of a block is not kept: it is the payload's
 * hash.  An empty file is a pack whose making a crash interrupted. */
#ifndef POST_STORE_PACK_H
#define POST_STORE_PACK_H

#include "store/blockdb.h"

#define PACK_DIR "packs"
#define PACK_NAME_CAP 16 /* "packs/00000001" and its NUL */
#define PACK_HEADER 16u
#define FRAME_HEADER 16u
#define FRAME_ALIGN 8u
#define FRAME_MAX (FRAME_HEADER + BLOCK_MAX)

_Static_assert(BLOCK_MAX % FRAME_ALIGN == 0, "FRAME_MAX has no padding");
_Static_assert(BLOCK_MAX < 1u << 24, "the length of a frame is a u24");

void pack_name(uint32_t pack, char out[PACK_NAME_CAP]);
/* out[PACK_HEADER] */
void pack_header_encode(uint32_t pack, uint8_t *out);

/* Numbers of all packs, ascending; *number is the caller's to free.  Files of
 * other names are none of ours; no directory is no packs. */
enum err pack_list(
    struct disk *d, uint32_t **number, size_t *count) MUST_CHECK;

/* Bytes of a frame with a payload of len. */
static inline size_t
frame_size(size_t len)
{
	return FRAME_HEADER +
	    ((len + FRAME_ALIGN - 1) & ~(size_t)(FRAME_ALIGN - 1));
}

/* out[frame_size(len)]; len is 1 to BLOCK_MAX. */
void frame_encode(
    enum frame_type type, const void *bytes, size_t len, uint8_t *out);

/* What the first FRAME_HEADER bytes promise, unverified: false if they can
 * not begin a frame. */
bool frame_header_decode(
    const uint8_t bytes[FRAME_HEADER], enum frame_type *type, size_t *len);

/* Does a whole frame, of which the header was decoded, match its sum? */
bool frame_check(const uint8_t *frame, enum frame_type type, size_t len);

/* Where a block is, and its row in INDEX_BLOCKS: varint pack, varint off / 8,
 * varint len, all of them in range. */
struct block_place {
	uint32_t pack, len;
	uint64_t off; /* of the frame */
};

#define PLACE_ROW_MAX 30

size_t place_encode(const struct block_place *at, uint8_t row[PLACE_ROW_MAX]);
enum err place_decode(
    const uint8_t *row, size_t len, struct block_place *out) MUST_CHECK;

/* How far the packs reach that the committed index knows: the row "packs" of
 * INDEX_META, varint pack, varint end / 8.  What lies behind was never
 * committed.  A rebuild sets it to the end of the last whole frame. */
struct pack_mark {
	uint32_t pack; /* 0: no pack yet */
	uint64_t end;
};

enum err mark_put(struct index_txn *txn, const struct pack_mark *m) MUST_CHECK;
/* ERR_ABSENT: a new index, or one that was lost. */
enum err mark_get(struct index_txn *txn, struct pack_mark *out) MUST_CHECK;

/* ---- reading a pack from one end to the other --------------------------- */

struct pack_scan {
	struct disk_file *file;
	uint64_t size, off;
	bool header_ok; /* told when scanned from 0 */
	uint8_t *window;
	uint64_t window_off;
	size_t window_len;
};

struct pack_found {
	enum err e; /* OK, or ERR_CORRUPT: damage, bytes NULL, len passed over */
	uint64_t off;
	enum frame_type type;
	const uint8_t *bytes; /* payload; until the next call */
	size_t len;
};

/* Begin at `from`: 0, which checks the file's header, or a frame. */
enum err pack_scan_begin(struct disk *d, uint32_t pack, uint64_t from,
    struct pack_scan *out) MUST_CHECK;
/* ERR_ABSENT at the end. */
enum err pack_scan_next(
    struct pack_scan *s, struct pack_found *out) MUST_CHECK;
void pack_scan_end(struct pack_scan *s);

/* ---- pack files that are open for reading ------------------------------- */

#define PACK_FILES_MAX 256 /* of the 1024 descriptors that are usual */

struct pack_files;

enum err pack_files_new(struct disk *d, struct pack_files **out) MUST_CHECK;
void pack_files_free(struct pack_files *f); /* NULL is allowed */

/* disk_read() of pack `pack`, from any thread. */
enum err pack_files_read(struct pack_files *f, uint32_t pack, uint64_t off,
    void *buf, size_t len, size_t *got) MUST_CHECK;

#endif
