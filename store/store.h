/* store.h - a home, opened: the trees of its users, and every byte in them.
 * This is all that fs/ and tools/ may use of store/ (with its sub-headers for
 * types).
 *
 * What happens to a change:
 *
 *   caller -> tree (memory) + journal        acknowledged; survives kill -9
 *          -> store_sync(): journal durable   survives a power cut
 *          -> checkpoint (background): files sealed into blocks, records
 *             batched into the log, head signed, index committed, journal
 *             released
 *
 * Threads: every call from any thread, unless it says otherwise.  The clock
 * and the checkpoint's timing come from the caller (struct store_env), so
 * that a simulator can run a store; tools/ gives the real ones.
 *
 * Inode numbers are stable for ever and unique in the home.  STORE_ROOT is
 * the directory of the users' directories; it can not be changed through
 * these calls.  Names are bytes without '/' and NUL, 1 to 255 of them; "." and
 * ".." are the caller's. */
#ifndef POST_STORE_STORE_H
#define POST_STORE_STORE_H

#include "overlay/base/keys.h"
#include "store/disk.h"
#include "store/tree.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_ROOT 1u
#define STORE_FORMAT 1u /* of a home as a whole: file "format" */

struct store;

/* What a store takes from outside. */
struct store_env {
	int64_t (*now_ns)(void *arg); /* wall clock, since 1970 */
	void *arg;
	struct disk *disk;   /* borrowed */
	struct index *index; /* borrowed */
	/* Which names stay on this node: true if `name`, about to stand in a
	 * directory, is local-only (fs/ knows mail programs' files).
	 * dir_name is the directory's own name. NULL: none is. */
	bool (*is_local)(void *arg, const char *dir_name, const char *name,
	    bool is_dir);
	/* Do messages lie in a directory of this name (fs/ knows Maildir)?
	 * For counting them.  NULL: nowhere. */
	bool (*is_message_dir)(const char *dir_name);
	size_t memory_max; /* staged pages; 0: default (20 MiB) */
	size_t cache_max;  /* opened blocks; 0: default (4 MiB) */
	uint64_t limit_bytes; /* of packs and journal; 0: the disk's */
	uint64_t snapshot_every; /* records; 0: default (65536) */
	/* Where store_open() says what it refuses, and what mends it: the file,
	 * relative to the home, ": ", words.  NULL: nowhere. */
	char *why;
	size_t why_cap;
};

/* Make a new home on an empty disk and index: format file, first trees. */
enum err store_create(
    const struct store_env *env, const struct home_keys *keys) MUST_CHECK;

/* Open, replaying what a crash left.  keys is borrowed.  ERR_NEWER: a newer
 * format.  ERR_CORRUPT: a file is damaged; env->why names it and the command
 * that mends. */
enum err store_open(const struct store_env *env, struct home_keys *keys,
    struct store **out) MUST_CHECK;
/* Checkpoint, trim and close; the first error of those, but it is closed. */
enum err store_close(struct store *s) MUST_CHECK;
/* As a crash would: memory only, no checkpoint (tests, fault handling). */
void store_abandon(struct store *s);

/* The last problem in words ("index/data.mdb: damaged: run 'post scrub
 * --repair'"), "" if none.  Copied into buf. */
void store_problem(struct store *s, char *buf, size_t cap);

/* A user's directory; made by store_add_user() (also at a later time, when
 * keys got one more), with Maildir/{cur,new,tmp}, owned by uid and gid. */
enum err store_add_user(struct store *s, const struct user_keys *u,
    uint32_t uid, uint32_t gid, uint64_t *ino) MUST_CHECK;
enum err store_user_root(
    struct store *s, const char *address, uint64_t *ino) MUST_CHECK;

/* ---- looking ------------------------------------------------------------ */

enum err store_inode(
    struct store *s, uint64_t ino, struct inode *out) MUST_CHECK;
enum err store_lookup(struct store *s, uint64_t dir, const char *name,
    struct inode *out) MUST_CHECK;
/* Call fn for each entry after `cookie`, with its inode if `inodes`, until it
 * returns false.  fn must not call the store. */
typedef bool store_entry_fn(
    void *arg, const struct entry *e, const struct inode *ino);
enum err store_list(struct store *s, uint64_t dir, uint64_t cookie, bool inodes,
    store_entry_fn *fn, void *arg) MUST_CHECK;
/* The same, with the inodes of those only that nobody holds: who holds one has
 * its attributes already. */
enum err store_list_unheld(struct store *s, uint64_t dir, uint64_t cookie,
    store_entry_fn *fn, void *arg) MUST_CHECK;
/* "alice@x/Maildir/new/name": one path of an inode's entry, for messages. */
enum err store_path(struct store *s, uint64_t dir, const char *name, char *buf,
    size_t cap) MUST_CHECK;
/* Walk a path from STORE_ROOT ("" is the root). */
enum err store_resolve(
    struct store *s, const char *path, struct inode *out) MUST_CHECK;

/* ---- the kernel's references --------------------------------------------
 * An inode without a name lives as long as someone holds it: store_hold() is
 * counted by the reply that shows it (fs/ calls it under no lock: every call
 * that returns an inode with hold=true in its name has counted it already). */
enum err store_hold(struct store *s, uint64_t ino, uint64_t n) MUST_CHECK;
void store_release(struct store *s, uint64_t ino, uint64_t n);
/* store_lookup() and store_list() variants that hold what they return. */
enum err store_lookup_hold(struct store *s, uint64_t dir, const char *name,
    struct inode *out) MUST_CHECK;

/* ---- names -------------------------------------------------------------- */

struct store_who {
	uint32_t uid, gid; /* of what is made */
	uint32_t umask;	   /* already applied by the kernel: 0 */
};

/* mode has the type: S_IFREG, S_IFDIR, S_IFLNK (target), S_IFIFO, S_IFSOCK,
 * S_IFCHR, S_IFBLK (rdev).  A directory's setgid bit is inherited as POSIX
 * says.  *out is held once if `hold`. */
enum err store_make(struct store *s, uint64_t dir, const char *name,
    uint32_t mode, uint64_t rdev, const char *target,
    const struct store_who *who, bool hold, struct inode *out) MUST_CHECK;
/* The target of a symlink, NUL-terminated.  ERR_INVALID: it is none;
 * ERR_RANGE: cap is too small; ERR_CORRUPT: nobody knows the target. */
enum err store_read_link(
    struct store *s, uint64_t ino, char *buf, size_t cap) MUST_CHECK;
enum err store_link(struct store *s, uint64_t ino, uint64_t dir,
    const char *name, bool hold, struct inode *out) MUST_CHECK;
enum err store_unlink(
    struct store *s, uint64_t dir, const char *name) MUST_CHECK;
enum err store_rmdir(
    struct store *s, uint64_t dir, const char *name) MUST_CHECK;
#define STORE_RENAME_NOREPLACE 1u /* as renameat2(2) */
#define STORE_RENAME_EXCHANGE 2u
enum err store_rename(struct store *s, uint64_t dir, const char *name,
    uint64_t to_dir, const char *to_name, unsigned flags) MUST_CHECK;

/* ---- bytes -------------------------------------------------------------- */

enum err store_read(struct store *s, uint64_t ino, uint64_t off, void *buf,
    size_t len, size_t *got) MUST_CHECK;
/* kill_suid: drop set-id bits, as a write by an ordinary user does. */
enum err store_write(struct store *s, uint64_t ino, uint64_t off,
    const void *buf, size_t len, bool kill_suid) MUST_CHECK;
enum err store_fallocate(struct store *s, uint64_t ino, int mode, uint64_t off,
    uint64_t len) MUST_CHECK; /* mode as fallocate(2) */
enum err store_seek(struct store *s, uint64_t ino, uint64_t off, bool hole,
    uint64_t *out) MUST_CHECK;
/* The writer closed it: hand its bytes to the kernel (kill -9 safe). */
enum err store_settle(struct store *s, uint64_t ino) MUST_CHECK;
/* Everything of this inode (bytes, and all changes of the tree so far) is
 * durable on return.  ino 0: the tree only. */
enum err store_sync(struct store *s, uint64_t ino) MUST_CHECK;

/* ---- attributes --------------------------------------------------------- */

#define STORE_SET_MODE 1u
#define STORE_SET_UID 2u
#define STORE_SET_GID 4u
#define STORE_SET_SIZE 8u
#define STORE_SET_ATIME 16u
#define STORE_SET_MTIME 32u
#define STORE_SET_CTIME 64u
#define STORE_KILL_SUID 128u
struct store_set {
	unsigned set;
	uint32_t mode, uid, gid;
	uint64_t size;
	int64_t atime_ns, mtime_ns, ctime_ns;
};
enum err store_set_attr(struct store *s, uint64_t ino,
    const struct store_set *set, struct inode *out) MUST_CHECK;

enum err store_get_xattr(struct store *s, uint64_t ino, const char *name,
    void *buf, size_t cap, size_t *len) MUST_CHECK; /* cap 0: length only */
enum err store_set_xattr(struct store *s, uint64_t ino, const char *name,
    const void *value, size_t len, int flags) MUST_CHECK; /* setxattr(2) */
enum err store_list_xattr(struct store *s, uint64_t ino, char *buf, size_t cap,
    size_t *len) MUST_CHECK;
enum err store_remove_xattr(
    struct store *s, uint64_t ino, const char *name) MUST_CHECK;

/* ---- keeping ------------------------------------------------------------ */

/* Move everything into packs and index now. */
enum err store_checkpoint(struct store *s) MUST_CHECK;

/* The background: call store_tick() often (its answer says when next at the
 * latest, in ns from now); it checkpoints when there is reason: enough
 * backlog, or the oldest change is a second old.  From one thread. */
enum err store_tick(struct store *s, int64_t *next_ns) MUST_CHECK;
/* Wake the thread that ticks; called by the store with no lock held. */
void store_on_busy(struct store *s, void (*fn)(void *arg), void *arg);

/* Bulk import: while on, bytes are not journalled and nothing is durable
 * until store_checkpoint().  For a home that no one mounts. */
void store_bulk(struct store *s, bool on);

/* For a store that will be used for long: have its index read into memory (a
 * usual mailbox's all, the first quarter of a gigabyte of a huge one's). */
void store_warm(struct store *s);

/* Fingerprints of what was imported (16 bytes each). */
enum err store_ledger_has(
    struct store *s, const uint8_t mark[16], bool *has) MUST_CHECK;
enum err store_ledger_add(struct store *s, const uint8_t mark[16]) MUST_CHECK;

/* ---- telling ------------------------------------------------------------ */

struct store_stats {
	uint64_t blocks, stored_bytes; /* packs */
	uint64_t index_bytes, journal_bytes, local_bytes;
	uint64_t logical_bytes; /* bytes of all files that are in the log */
	uint64_t files, messages;
	uint64_t limit_bytes, free_bytes;
	uint64_t checkpoints, journal_backlog;
};
enum err store_stats(struct store *s, struct store_stats *out) MUST_CHECK;

struct store_user_stats {
	char address[ADDRESS_MAX + 1];
	struct id user, device;
	uint64_t messages, files, logical_bytes;
	uint64_t head_sequence, record_sequence;
};
enum err store_user_stats(struct store *s, unsigned user_index,
    struct store_user_stats *out) MUST_CHECK;

/* The log, newest first, as people read it; fn returns false to stop.
 * Records not yet in a batch (since the last checkpoint) come first. */
struct log_line {
	uint64_t sequence;
	int64_t time_ns;
	const char *op; /* "create", "rename" ... */
	const char *path, *to_path; /* as the tree was then; to_path or NULL */
	uint64_t size;
};
typedef bool store_log_fn(void *arg, const struct log_line *line);
enum err store_log(struct store *s, const char *address, uint64_t max,
    store_log_fn *fn, void *arg) MUST_CHECK;

/* ---- history: the tree as it was --------------------------------------- */

struct history;
/* A read-only view of a user's tree at time_ns, built from her log. */
enum err store_history(struct store *s, const char *address, int64_t time_ns,
    struct history **out) MUST_CHECK;
void history_free(struct history *h); /* NULL is allowed */
/* Inode numbers are those of the live tree; the user's root is number 0. */
enum err history_inode(
    struct history *h, uint64_t number, struct inode *out) MUST_CHECK;
enum err history_lookup(struct history *h, uint64_t dir, const char *name,
    struct inode *out) MUST_CHECK;
enum err history_list(struct history *h, uint64_t dir, uint64_t cookie,
    store_entry_fn *fn, void *arg) MUST_CHECK;
enum err history_read(struct history *h, uint64_t number, uint64_t off,
    void *buf, size_t len, size_t *got) MUST_CHECK;
/* As store_read_link(). */
enum err history_read_link(
    struct history *h, uint64_t number, char *buf, size_t cap) MUST_CHECK;
/* When the log's first and newest records were made. */
enum err store_history_range(struct store *s, const char *address,
    int64_t *first_ns, int64_t *last_ns) MUST_CHECK;

/* ---- scrub -------------------------------------------------------------- */

struct scrub_report {
	uint64_t blocks, bytes, files; /* looked at */
	uint64_t damaged_blocks, damaged_files, lost_files, repaired;
};
/* What is found is told line by line. path "" : everything. */
typedef void scrub_fn(void *arg, const char *line);
enum err store_scrub(struct store *s, const char *path, scrub_fn *tell,
    void *arg, struct scrub_report *out) MUST_CHECK;
/* Rebuild a damaged index from the packs alone; the store is not open. */
enum err store_rebuild(const struct store_env *env,
    struct home_keys *keys, scrub_fn *tell, void *arg,
    struct scrub_report *out) MUST_CHECK;

#endif
