/* blockdb.h - sealed blocks, many to a file.
 *
 * Blocks are appended to packs ("packs/00000001" ...), bulk-written and
 * synced once per checkpoint; INDEX_BLOCKS says where each is, and can be
 * rebuilt by reading the packs.  Signed log heads are frames of the packs too,
 * so that nothing but the packs is needed to find everything again.  Formats:
 * FORMAT.md, "Packs".
 *
 * A block is in one of three states: put (readable here, lost at a crash),
 * flushed (on disk, found again only by a rebuild), committed (indexed).
 * A checkpoint does blockdb_flush(), then blockdb_index() inside the index
 * transaction that commits everything else, then blockdb_committed() or, when
 * the commit failed, blockdb_uncommitted().
 *
 * Threads: blockdb_get() and blockdb_has() from any; the rest from one at a
 * time (the checkpoint). */
#ifndef POST_STORE_BLOCKDB_H
#define POST_STORE_BLOCKDB_H

#include "overlay/base/id.h"
#include "overlay/base/outcome.h"
#include "store/disk.h"
#include "store/index.h"

#include <stdbool.h>

#define BLOCK_MAX (1u << 20) /* bytes of the largest sealed block */

/* What a frame of a pack holds. */
enum frame_type {
	FRAME_BLOCK = 1, /* a sealed block; its id is its BLAKE2b-256 */
	FRAME_HEAD = 2,	 /* a signed log head (ulog.h) */
	FRAME_MARK = 3,	 /* u64: the journal's lsn that all before it covers */
};

struct blockdb;

/* Opens the packs below "packs/" of d.  pack_max: a new pack is begun when
 * the current one would exceed it (64 MiB in use).  What a crash left behind
 * the last whole frame of the last pack is cut off; nothing that the index
 * knows is.  d and ix are borrowed. */
enum err blockdb_open(struct disk *d, struct index *ix, uint64_t pack_max,
    struct blockdb **out) MUST_CHECK;
void blockdb_close(struct blockdb *db); /* NULL is allowed */

/* Is it here? */
enum err blockdb_has(
    struct blockdb *db, const struct id *id, bool *here) MUST_CHECK;

/* Read a block to *bytes, which the caller frees.  The frame's checksum is
 * verified, the id is not (opening the seal authenticates; scrub hashes).
 * ERR_ABSENT: not here.  ERR_CORRUPT: damaged; blockdb_where() tells which
 * file. */
enum err blockdb_get(struct blockdb *db, const struct id *id, uint8_t **bytes,
    size_t *len) MUST_CHECK;

/* Length of the sealed block without reading it. */
enum err blockdb_len(
    struct blockdb *db, const struct id *id, size_t *len) MUST_CHECK;

/* Name of the file that holds a block, and its offset, for messages. */
enum err blockdb_where(struct blockdb *db, const struct id *id, char *name,
    size_t cap, uint64_t *off) MUST_CHECK;

/* Append a block of 1 to BLOCK_MAX bytes, unless it is here already (*fresh
 * says).  ERR_INVALID, ERR_TOO_BIG: not of that length.  After any error the
 * database is as before and may be asked again. */
enum err blockdb_put(struct blockdb *db, const struct id *id,
    const void *bytes, size_t len, bool *fresh) MUST_CHECK;

/* Append a signed head (no index entry: the store keeps the newest). */
enum err blockdb_put_head(
    struct blockdb *db, const void *bytes, size_t len) MUST_CHECK;

/* Append, as a checkpoint's last frame, the lsn of the journal from which a
 * rebuild has to go on. */
enum err blockdb_put_mark(struct blockdb *db, uint64_t lsn) MUST_CHECK;

/* After an error all blocks are still to be read; the next flush does what is
 * needed, also when it was a sync that failed. */
enum err blockdb_flush(struct blockdb *db) MUST_CHECK;
enum err blockdb_index(struct blockdb *db, struct index_txn *txn) MUST_CHECK;
void blockdb_committed(struct blockdb *db);
void blockdb_uncommitted(struct blockdb *db);

struct blockdb_stats {
	uint64_t blocks;       /* indexed and pending */
	uint64_t stored_bytes; /* bytes of all packs */
};
void blockdb_stats(struct blockdb *db, struct blockdb_stats *out);

/* Walk every frame of every pack in the order of writing.  `fn` gets the
 * frame's place and payload (borrowed); damage is reported through `fn` with
 * e = ERR_CORRUPT, bytes NULL, no type and len the bytes passed over, and the
 * walk goes on at the next frame that can be told (frames are aligned and
 * start with a magic number).  Stops at fn's first error.  Beside an open
 * database: while nothing is being put or flushed. */
struct frame_place {
	const char *pack; /* file name */
	uint64_t off;	  /* of the frame */
	enum frame_type type;
	enum err e;
};
typedef enum err blockdb_walk_fn(void *arg, const struct frame_place *at,
    const uint8_t *bytes, size_t len);
enum err blockdb_walk(
    struct disk *d, blockdb_walk_fn *fn, void *arg) MUST_CHECK;

/* Rebuild INDEX_BLOCKS, and the row "packs" of INDEX_META, in txn from the
 * packs (the rest of the index is the store's, and so is to clear it before);
 * `damaged` counts bytes passed over.  A blockdb that is open does not notice.
 */
enum err blockdb_rebuild(
    struct disk *d, struct index_txn *txn, uint64_t *damaged) MUST_CHECK;

#endif
