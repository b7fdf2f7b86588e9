/* journal.h - what happened since the last checkpoint, in the order it
 * happened: a write-ahead log with group commit.
 *
 * Every change to the tree and every durable byte of a file that is not yet
 * sealed is a frame here before it is acknowledged.  A checkpoint moves what
 * the frames say into packs and index, then releases them; a start after a
 * crash replays what was not released.
 *
 * Why its own files: SPIKES section 3.  A commit is one write and one
 * fdatasync into space that was filled with zeros (or older frames) in
 * advance, so that ext4 has no metadata to commit: twice the rate of a file
 * per mail.  Released space is overwritten again, never grown without need,
 * and given back when the store is idle, so that a small home stays small.
 *
 * Frames are sealed with ChaCha20-Poly1305 under a key of their segment's own
 * (it has a salt, new at each use); the nonce is (epoch, offset).  A frame
 * that is stale, torn or damaged does not open, and ends the replay: what came
 * after it was never acknowledged as durable.  Format: FORMAT.md, "Journal".
 *
 * lsn: bytes ever appended; strictly increasing, survives restarts.
 *
 * Threads: any.  Frames are ordered as journal_append() returns. */
#ifndef POST_STORE_JOURNAL_H
#define POST_STORE_JOURNAL_H

#include "overlay/base/crypto.h"
#include "store/disk.h"

#define JOURNAL_FRAME_MAX ((2u << 20) + 4096) /* payload bytes */

struct journal;

/* Opens "journal/" of d (borrowed).  `from_lsn`: frames before it are
 * already in the checkpoint (0 for a new home).  Replay with
 * journal_replay() before the first append. */
enum err journal_open(struct disk *d, const struct key *key, uint64_t from_lsn,
    struct journal **out) MUST_CHECK;
void journal_close(struct journal *j); /* NULL is allowed; does not sync */

/* Call fn for each frame from from_lsn on; lsn is its end. Stops at fn's
 * first error. *torn: bytes after the last good frame that were not empty (a
 * crash in mid-write; reported, not an error). */
typedef enum err journal_fn(
    void *arg, uint64_t lsn, const uint8_t *bytes, size_t len);
enum err journal_replay(struct journal *j, journal_fn *fn, void *arg,
    uint64_t *torn) MUST_CHECK;

/* Add a frame; *lsn is its end.  It is in memory only: ordered, cheap, no
 * system call.  ERR_NOSPACE if the room for it could not be had: nothing was
 * added.  While earlier frames could not be written (a full disk), it tries
 * to write those first, and fails as that does: the journal recovers by itself
 * when space returns. */
enum err journal_append(struct journal *j, const void *bytes, size_t len,
    uint64_t *lsn) MUST_CHECK;

/* Return once everything up to lsn is with the kernel: it survives kill -9.
 * Many callers are served by one write.  After an error the frames are kept
 * and tried again by the next call: they may yet become durable. */
enum err journal_write(struct journal *j, uint64_t lsn) MUST_CHECK;

/* Return once everything up to lsn is durable.  Many callers are served by
 * one fdatasync.  After an error the journal is broken: every later call
 * returns that error (what fdatasync lost can not be known), until reopened. */
enum err journal_sync(struct journal *j, uint64_t lsn) MUST_CHECK;

/* Begin a new segment; returns in *lsn the end of the old ones: a checkpoint
 * that covers everything before *lsn may release them. */
enum err journal_switch(struct journal *j, uint64_t *lsn) MUST_CHECK;
enum err journal_release(struct journal *j, uint64_t lsn) MUST_CHECK;

/* Give preallocated and released space back (idle, umount). */
enum err journal_trim(struct journal *j) MUST_CHECK;

/* Bytes not yet released, and the end of all. */
uint64_t journal_backlog(struct journal *j);
uint64_t journal_end(struct journal *j);

/* A journal may hold this much before appends fail with ERR_NOSPACE. */
void journal_limit(struct journal *j, uint64_t bytes);

#endif
