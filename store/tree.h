/* tree.h - directories and inodes: the materialised view of the logs.
 *
 * Rows live in the index (LMDB).  Changes since the last checkpoint lie over
 * them in memory, in two layers: the active one, which takes changes, and the
 * frozen one, which a checkpoint is writing to the index.  A read asks active,
 * frozen, index, in this order.  So a change costs no disk access, a start
 * needs no replay of the log, and a million messages need no memory.
 *
 * An entry has a cookie: a number unique in the whole tree, given in
 * increasing order, by which a directory is listed.  A listing that continues
 * after a cookie misses nothing that stayed and shows nothing twice, whatever
 * is added or removed meanwhile, without a snapshot per open directory; a
 * rename within a directory keeps the entry's cookie, so a mail whose flags
 * change during a listing is listed exactly once (Dovecot's old trouble with
 * readdir and rename).
 *
 * Locking is the caller's: reads under at least a shared lock; changes, freeze,
 * drop and thaw under an exclusive one.  What a checkpoint does with the frozen
 * layer meanwhile takes none: that layer does not change.  Every read takes a
 * read transaction of the index, begun under the same lock.
 *
 * Pure bookkeeping: link counts, times, permissions are the caller's. */
#ifndef POST_STORE_TREE_H
#define POST_STORE_TREE_H

#include "store/content.h"
#include "store/index.h"

#include <stdbool.h>
#include <stdint.h>

#define NAME_BYTES_MAX 255u

/* Where a file's bytes are. */
enum inode_data {
	DATA_RECIPE = 0, /* sealed: `content` (empty file: len 0) */
	DATA_KEPT = 1,	 /* local-only: the page file of this ino */
	DATA_LINK = 2,	 /* a symlink: `content.bytes` is the target */

	/* what a directory is for */
	DATA_DIR = 0,
	DATA_DIR_SCRATCH = 1,  /* everything below it is local-only (tmp) */
	DATA_DIR_MESSAGES = 2, /* messages lie in it (cur, new) */
};

struct inode {
	uint64_t ino;
	uint64_t parent; /* of a directory: where ".." leads; else 0 */
	uint64_t size;
	uint64_t rdev;
	int64_t mtime_ns, ctime_ns, atime_ns, btime_ns; /* since 1970 */
	uint32_t mode;					/* with the type */
	uint32_t uid, gid;
	uint32_t nlink;
	uint32_t shared_links; /* entries that are in the log (not local-only) */
	uint16_t owner;	       /* user number (store.h); 0 for none */
	uint8_t data;	       /* enum inode_data */
	struct content content;
};

struct entry {
	uint64_t dir, cookie, ino;
	uint8_t type;  /* DT_REG, DT_DIR ... */
	bool local;    /* local-only: not in the log */
	uint8_t name_len;
	char name[NAME_BYTES_MAX + 1]; /* NUL-terminated for convenience */
};

struct tree;

enum err tree_new(struct tree **out) MUST_CHECK;
void tree_free(struct tree *t); /* NULL is allowed */

/* ---- reads; ERR_ABSENT is an answer ------------------------------------- */

enum err tree_inode(struct tree *t, struct index_txn *txn, uint64_t ino,
    struct inode *out) MUST_CHECK;
enum err tree_find(struct tree *t, struct index_txn *txn, uint64_t dir,
    const char *name, size_t name_len, struct entry *out) MUST_CHECK;

/* Walk a directory in cookie order: begin after a cookie (0: from the start),
 * then take entries until ERR_ABSENT.  The walk lives under one lock and one
 * transaction. */
struct tree_walk {
	struct tree *t;
	struct index_txn *txn;
	uint64_t dir, after;
	struct index_cursor *cursor;
	struct entry below; /* next row of the index */
	bool below_valid, below_done;
};
void tree_walk_init(struct tree_walk *w, struct tree *t, struct index_txn *txn,
    uint64_t dir, uint64_t after);
enum err tree_walk_next(struct tree_walk *w, struct entry *out) MUST_CHECK;
void tree_walk_fini(struct tree_walk *w);

/* Extended attributes of an inode, encoded by xattr.h; *len 0 if none.
 * *bytes is the caller's to free. */
enum err tree_xattrs(struct tree *t, struct index_txn *txn, uint64_t ino,
    uint8_t **bytes, size_t *len) MUST_CHECK;

/* ---- changes, into the active layer ------------------------------------- */
/* All copy what they are given.  ERR_NOMEM changes nothing.  A change made
 * twice is made once. */

enum err tree_put_inode(struct tree *t, const struct inode *ino) MUST_CHECK;
/* Its extended attributes go with it; its number is never given again. */
enum err tree_drop_inode(struct tree *t, uint64_t ino) MUST_CHECK;
enum err tree_put_xattrs(struct tree *t, uint64_t ino, const uint8_t *bytes,
    size_t len) MUST_CHECK; /* len 0 removes */

/* Add e (its cookie fresh, its name free in e->dir), or, for an entry whose
 * (dir, cookie) exists, give it a new name and child: old_name then names what
 * it was called (NULL for an addition). */
enum err tree_put_entry(struct tree *t, const struct entry *e,
    const char *old_name, size_t old_len) MUST_CHECK;
enum err tree_drop_entry(struct tree *t, const struct entry *e) MUST_CHECK;

/* ---- checkpoint --------------------------------------------------------- */

/* Active becomes frozen; asserts there is no frozen layer. */
enum err tree_freeze(struct tree *t) MUST_CHECK;
bool tree_is_frozen(const struct tree *t);
size_t tree_active_count(const struct tree *t); /* changes waiting */

/* Walk the inodes of the frozen layer, to seal what is staged; and give a
 * frozen inode its sealed content (only content, size and data change), as
 * tree_write_frozen() shall write it: reads go on to see what was frozen, and
 * tree_thaw() forgets it.  By the one thread that writes, without a lock. */
typedef enum err tree_inode_fn(void *arg, const struct inode *ino);
enum err tree_frozen_inodes(
    struct tree *t, tree_inode_fn *fn, void *arg) MUST_CHECK;
enum err tree_frozen_content(struct tree *t, uint64_t ino, uint8_t data,
    uint64_t size, const struct content *content) MUST_CHECK;

enum err tree_write_frozen(struct tree *t, struct index_txn *txn) MUST_CHECK;

/* After the commit: drop the frozen layer.  After a failure (also of a commit
 * of which nobody knows whether it reached the disk): put it back under the
 * active one, whose changes win.  thaw needs no memory: see tree_private.h. */
void tree_drop_frozen(struct tree *t);
void tree_thaw(struct tree *t);

/* ---- rows, for scrub and tests ------------------------------------------ */

#define INODE_ROW_MAX (CONTENT_MAX + 128u)
enum err inode_encode(const struct inode *ino, uint8_t *buf, size_t cap,
    size_t *len) MUST_CHECK;
/* The key (8 bytes, big-endian ino) is not part of the row. */
enum err inode_decode(uint64_t ino, const uint8_t *buf, size_t len,
    struct inode *out) MUST_CHECK;

#endif
