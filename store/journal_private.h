/* journal_private.h - the bytes of a segment of the journal.
 *
 * For journal.c, its tests and its fuzz target.  Reader and writer of the
 * format are together in journal_segment.c, which describes it. */
#ifndef POST_STORE_JOURNAL_PRIVATE_H
#define POST_STORE_JOURNAL_PRIVATE_H

#include "store/journal.h"

#define SEGMENT_HEADER_BYTES 64u
#define SEGMENT_SALT_BYTES 16
#define FRAME_HEAD_BYTES 4u
#define FRAME_EXTRA_BYTES (FRAME_HEAD_BYTES + TAG_BYTES)
#define FRAME_END_BYTES FRAME_HEAD_BYTES /* zeros after the last frame */
/* Above any epoch that can be reached; a name beyond it is not ours. */
#define SEGMENT_EPOCH_END (UINT64_C(1) << 48)

struct segment_id {
	uint64_t epoch; /* order in which segments were begun */
	uint64_t start; /* lsn of the first frame's first byte */
	uint8_t salt[SEGMENT_SALT_BYTES];
};

/* The key of one use of a segment. */
void segment_key(
    const struct key *journal, const struct segment_id *id, struct key *out);
void segment_header_write(const struct segment_id *id,
    const struct key *segment, uint8_t out[SEGMENT_HEADER_BYTES]);
/* ERR_MALFORMED, ERR_BADSIG: not a header, or not a whole one. */
enum err segment_header_read(const struct key *journal,
    const uint8_t header[SEGMENT_HEADER_BYTES], struct segment_id *id,
    struct key *segment) MUST_CHECK;

/* Seal len bytes as the frame that begins at `lsn`; out has room for
 * len + FRAME_EXTRA_BYTES. */
void frame_seal(const struct segment_id *id, const struct key *segment,
    uint64_t lsn, const void *bytes, size_t len, uint8_t *out);

/* Where in its segment's file a byte of the journal lies. */
static inline uint64_t
segment_offset(const struct segment_id *id, uint64_t lsn)
{
	return SEGMENT_HEADER_BYTES + (lsn - id->start);
}

/* Reads a segment's frames in their order.  f and id are borrowed. */
struct segment_reader {
	struct disk_file *f;
	const struct segment_id *id;
	struct key key;
	uint64_t lsn; /* the end of the last good frame */
	uint8_t *buf; /* holds the file's bytes from `at` on */
	uint64_t at;
	size_t len, cap;
	uint8_t *plain;
	size_t plain_cap;
};

void segment_reader_init(struct segment_reader *r, struct disk_file *f,
    const struct segment_id *id, const struct key *segment);
void segment_reader_fini(struct segment_reader *r);
/* The next frame; *bytes is borrowed until the next call.  ERR_ABSENT: there
 * is none that opens; ERR_IO, ERR_NOMEM. */
enum err segment_reader_next(
    struct segment_reader *r, const uint8_t **bytes, size_t *len) MUST_CHECK;
/* After ERR_ABSENT: 0 if the frames end properly; or the bytes from there to
 * the last one that is not zero. */
enum err segment_reader_torn(
    struct segment_reader *r, uint64_t *bytes) MUST_CHECK;

#endif
