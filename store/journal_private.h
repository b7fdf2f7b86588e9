/* journal_private.h - what the files of the journal and their tests share.
 *
 * journal.c          who writes when
 * journal_files.c    segments come, are replayed, and go
 * journal_segment.c  the format of a segment: reader and writer */
#ifndef POST_STORE_JOURNAL_PRIVATE_H
#define POST_STORE_JOURNAL_PRIVATE_H

#include "store/journal.h"

#include <pthread.h>

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

/* ---- the journal's own -------------------------------------------------- */

#define JOURNAL_DIRECTORY "journal"
#define FILL_FIRST (32u << 10)

struct segment {
	struct segment *next; /* newer */
	uint64_t name; /* of its file */
	struct segment_id id;
	struct key key;
	struct disk_file *file; /* NULL: nothing written yet */
	uint64_t end; /* lsn; of those that are not the active one */
	uint64_t size; /* of the file: frames, zeros or stale bytes */
	bool dirty; /* written since its last sync */
	bool fresh; /* its name is not durable */
	bool inherited; /* its frames are another process's */
	bool valid; /* has a header (while opening) */
	uint64_t syncs;
};

struct buffer {
	uint8_t *bytes;
	size_t len, cap;
	uint64_t off; /* in the active segment's file */
	uint64_t end; /* lsn */
	unsigned unsealed; /* frames that have a place but no bytes yet */
};

struct journal {
	struct disk *disk;
	struct key key;

	pthread_mutex_t lock;
	pthread_cond_t sealed, write_done, sync_done;
	bool writing, syncing, switching; /* the roles are taken */
	bool replayed;

	struct buffer buffers[2], *in, *out;
	/* released <= synced <= written <= appended */
	uint64_t released, synced, written, appended;
	uint64_t limit;
	enum err broken, stuck;
	uint64_t failures; /* writes that failed */

	struct segment *oldest, *active; /* not released; one list */
	struct segment *spare;
	unsigned spares;
	bool dir_dirty;
	bool root_dirty;
	uint64_t epoch; /* the largest ever seen */
	uint64_t epoch_disk; /* the largest that has a file */

	uint64_t fill_step;
	uint64_t used[2]; /* bytes in the last segments released */
};

static inline uint64_t
end_offset(const struct segment *s, uint64_t lsn)
{
	return segment_offset(&s->id, lsn);
}

enum err buffer_reserve(struct buffer *b, size_t len) MUST_CHECK;

/* Everything is written; what is appended next belongs to a new segment.  It
 * gets a file with the first write. */
enum err segment_begin(struct journal *j) MUST_CHECK;

/* A file for the active segment: a spare one (the largest), or a new one.
 * The writer calls it, without the mutex. */
enum err segment_give_file(struct journal *j, struct segment *s) MUST_CHECK;

/* A released segment becomes a spare one, if the next ones will want it, or
 * goes.  The file with the largest epoch stays in any case, so that epochs
 * do not begin again.  Both roles are held. */
enum err segment_retire(struct journal *j, struct segment *s) MUST_CHECK;

/* Write the frames of an inherited segment again as they are. */
enum err segment_rewrite(struct segment *s) MUST_CHECK;

/* All spare ones go, in the same manner. */
enum err segment_drop_spares(struct journal *j) MUST_CHECK;

/* Cut a file down; whatever happens, the size we know is the larger. */
enum err segment_cut_file(struct segment *s, uint64_t size) MUST_CHECK;

#endif
