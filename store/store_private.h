/* store_private.h - what the files of an open store share.
 *
 * Locks, in the order they may be taken:
 *
 *   checkpointing  one checkpoint at a time
 *   lock           shared: look, read, write bytes; exclusive: change names
 *                  and attributes, freeze, thaw
 *   files_lock     the table of files that have a struct file
 *   file->lock     one file's staging and live inode
 *   holds_lock     counts of the kernel's references
 *
 * No lock but `checkpointing` is held during disk I/O other than reads of
 * staged bytes; a change is acknowledged after `lock` was given back.
 *
 * A change is encoded as a frame (redo.c), appended to the journal and then
 * applied by the very code that replays it after a crash: what a restart
 * makes of the journal can not differ from what was shown before it. */
#ifndef POST_STORE_STORE_PRIVATE_H
#define POST_STORE_STORE_PRIVATE_H

#include "overlay/base/map.h"
#include "store/blockdb.h"
#include "store/content.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/staging.h"
#include "store/store.h"
#include "store/ulog.h"

#include <pthread.h>
#include <stdatomic.h>

#define MEMORY_DEFAULT (20u << 20)
#define CACHE_DEFAULT (4u << 20)
#define PACK_MAX (64u << 20)
#define WARM_BYTES (256u << 20)

/* A checkpoint is due when this much waits in the journal, or when the oldest
 * change is this old; while changes keep coming it is put off a little, since
 * sealing takes the processor from those who make them. */
#define BACKLOG_DUE (12u << 20)
#define AGE_DUE_NS 1000000000
#define AGE_BUSY_NS 4000000000
#define QUIET_NS 100000000 /* no change for so long: not busy */
/* Bytes that were left alone for so long are journalled, synced or not. */
#define SETTLE_NS 150000000
#define RETRY_NS 2000000000 /* after one that failed */
#define IDLE_TRIM_NS 3000000000


/* Unsynced bytes beyond this are sealed by a checkpoint, not journalled. */
#define SETTLE_MAX (8u << 20)
/* Files up to this are sealed from one buffer (and may be cut as mail). */
#define SEAL_BUFFER_MAX (32u << 20)

/* One user's log on this device. */
struct log_state {
	uint64_t record_sequence; /* of its newest batched record */
	uint64_t head_sequence;
	uint64_t lamport;
	uint64_t batches;
	bool has_batch;
	struct id batch, batch_before; /* newest, and the one before */
	uint64_t batch_first, batch_before_first;
	bool has_snapshot;
	struct id snapshot; /* last part */
	uint64_t snapshot_of;
	uint32_t snapshot_parts;
	uint64_t snapshot_records;
	int64_t snapshot_ns; /* time of its newest record */
	int64_t first_ns, last_ns; /* of its records; 0: none */
};

struct store_user {
	struct user_keys *keys; /* borrowed */
	uint64_t root;		/* ino of the user's directory; 0: none yet */
	uint64_t messages, files, logical_bytes; /* of what is in the log */
	struct log_state log;
};

/* A record that waits for the next batch: ulog_record_encode() with a zeroed
 * prev, behind its user's index. */
struct pending {
	uint8_t *bytes;
	size_t len, cap;
	size_t count;
};

/* A file in use: written to, or nameless but held. */
struct file {
	uint64_t ino;
	unsigned refs; /* under files_lock */
	pthread_mutex_t lock;
	struct staging *staging; /* NULL: bytes are where `inode` says */
	struct inode inode;	 /* the live one; newer than the tree's */
	struct content base;	 /* what staging lies over */
	bool inode_dirty;	 /* the tree has an older one */
	bool row_unsaved;	 /* the journal has an older one */
	int64_t written_ns;	 /* last change of its bytes */
	bool orphan;		 /* no name, not in the tree */
	bool kept;		 /* a page file exists */
	struct store *store;
};

struct hold {
	uint64_t ino, n;
};

struct store {
	struct store_env env;
	struct home_keys *keys;
	struct sealer *sealer;
	struct blockdb *blocks;
	struct journal *journal;
	struct staging_pool *pool;
	struct content_reader *reader;

	pthread_rwlock_t lock;
	struct tree *tree;
	struct store_user *user; /* [keys->users] */
	unsigned users;
	uint64_t next_ino, next_cookie;
	struct pending pending, frozen_pending;
	struct pending ledger, frozen_ledger; /* 16-byte marks */
	enum err broken; /* memory and journal differ: changes are refused */

	pthread_mutex_t files_lock;
	struct map files; /* ino -> struct file */

	pthread_mutex_t holds_lock;
	struct map holds; /* ino -> struct hold */

	pthread_mutex_t checkpointing;
	pthread_mutex_t wait_lock; /* with memory_freed */
	pthread_cond_t memory_freed;
	atomic_int_least64_t first_change_ns; /* 0: nothing waits */
	atomic_int_least64_t last_change_ns;
	atomic_bool told_much; /* on_busy() was told that much waits */
	atomic_bool trimmed;
	atomic_uint_least64_t checkpoints;
	int64_t retry_ns;
	atomic_bool bulk;
	void (*on_busy)(void *arg);
	void *on_busy_arg;

	pthread_mutex_t problem_lock;
	char problem[512];
};

/* ---- redo.c: changes as frames ------------------------------------------ */

/* One atomic change being put together.  Failure sticks; change_commit()
 * reports it. */
struct change {
	struct store *s;
	uint8_t *bytes;
	size_t len, cap;
	enum err e;
	bool shared; /* has a log record */
	uint8_t small[1024];
};
void change_init(struct change *c, struct store *s);
void change_fini(struct change *c);
void change_inode(struct change *c, const struct inode *ino);
/* The same by one who holds the file's lock and knows it is staged. */
void change_inode_staged(struct change *c, const struct inode *ino);
void change_drop_inode(struct change *c, uint64_t ino);
/* old_name NULL: an addition; else the entry at its cookie gets a new face */
void change_entry(
    struct change *c, const struct entry *e, const char *old_name);
void change_drop_entry(struct change *c, const struct entry *e);
void change_xattrs(
    struct change *c, uint64_t ino, const uint8_t *bytes, size_t len);
void change_count(struct change *c, unsigned user, int64_t messages);
void change_record(
    struct change *c, unsigned user, struct ulog_record *r);
void change_ledger(struct change *c, const uint8_t mark[16]);
void change_data(struct change *c, uint64_t ino, uint64_t off,
    const void *bytes, size_t len);
void change_truncate(struct change *c, uint64_t ino, uint64_t size);
void change_punch(struct change *c, uint64_t ino, uint64_t off, uint64_t len);

/* Journal it and apply it; lock is held exclusively.  *lsn is for
 * change_acknowledge() after the lock was given back. */
enum err change_commit(struct change *c, uint64_t *lsn) MUST_CHECK;
/* Journal it only: bytes whose effect is there already. */
enum err change_append(struct change *c, uint64_t *lsn) MUST_CHECK;
enum err change_acknowledge(struct store *s, uint64_t lsn) MUST_CHECK;

/* Apply a frame; replay: also the bytes of files. */
enum err redo_apply(
    struct store *s, const uint8_t *bytes, size_t len, bool replay) MUST_CHECK;

/* For a rebuild, which has no rows to apply a frame to: give fn each record
 * (and the item as a pending one), or, fn NULL, apply the bytes of files. */
typedef enum err redo_record_fn(void *arg, unsigned user,
    const uint8_t *record, size_t len, const uint8_t *item, size_t item_len);
enum err redo_salvage(struct store *s, const uint8_t *bytes, size_t len,
    redo_record_fn *fn, void *arg) MUST_CHECK;

/* tree_put_inode() with the owner's counters kept; lock held exclusively. */
enum err put_counted(struct store *s, const struct inode *in) MUST_CHECK;

enum err pending_add(
    struct pending *p, const void *bytes, size_t len) MUST_CHECK;
void pending_clear(struct pending *p);
/* `first` then `*then`, into *then; first is left empty. */
enum err pending_join(struct pending *first, struct pending *then) MUST_CHECK;

/* ---- files.c ------------------------------------------------------------ */

/* The live inode; lock is held (either way). */
enum err live_inode(struct store *s, struct index_txn *txn, uint64_t ino,
    struct inode *out) MUST_CHECK;
/* The file object of an inode, made if need be; lock is held. */
enum err file_get(struct store *s, struct index_txn *txn, uint64_t ino,
    struct file **out) MUST_CHECK;
struct file *file_find(struct store *s, uint64_t ino); /* or NULL */
bool file_is_staged(struct store *s, uint64_t ino);
void file_put(struct store *s, struct file *f);
/* Make sure f->staging is there; f->lock is held. */
enum err file_stage(struct file *f) MUST_CHECK;
/* Read through f->staging or content; f->lock is held. */
enum err file_read(struct file *f, uint64_t off, void *buf, size_t len,
    size_t *got) MUST_CHECK;
/* Journal what is dirty (at most SETTLE_MAX; *whole tells); lock held shared
 * or exclusively. */
enum err file_settle(
    struct store *s, struct file *f, uint64_t *lsn, bool *whole) MUST_CHECK;
/* The last name went, and the change is committed: keep the file for its
 * holders, or let it go.  `f` is what file_get() gave before the commit (NULL
 * if nobody holds it), and is put.  lock is held exclusively. */
void file_forget(struct store *s, struct file *f, const struct inode *ino);
/* Journal what was written and then left alone: the kernel does not tell when a
 * file is closed. */
enum err settle_quiet_files(struct store *s) MUST_CHECK;
uint64_t held(struct store *s, uint64_t ino);
void note_change(struct store *s);
/* Is a checkpoint due for what waits, however young it is? */
bool much_waits(struct store *s);
void wait_for_memory(struct store *s);
int64_t store_now(struct store *s);

/* Directory times always move forward. */
void touch_dir(struct inode *dir, int64_t now);

/* ---- attrs.c ------------------------------------------------------------ */

/* Keep a symlink's target that is too long for its row. */
void change_long_link(struct change *c, const struct inode *in,
    const char *target, bool local);

/* The target of a symlink, from its inode and its row of attributes (looked at
 * only if the target is a long one).  As store_read_link(). */
enum err link_target(const struct inode *in, const uint8_t *row,
    size_t row_len, char *buf, size_t cap) MUST_CHECK;
/* Records of all the attributes that an inode has. */
void record_xattrs(struct change *c, struct index_txn *txn,
    const struct inode *in, int64_t now);

/* ---- userlog.c ---------------------------------------------------------- */

struct store_user *user_of(struct store *s, unsigned number); /* from 1 */
struct ulog_oid oid_of(struct store *s, unsigned user, uint64_t ino);
enum err log_state_put(struct store *s, struct index_txn *txn,
    unsigned user_index, const struct log_state *l) MUST_CHECK;
enum err log_state_get(struct store *s, struct index_txn *txn,
    unsigned user_index, struct log_state *l) MUST_CHECK;
/* Give fn every record of a user's log, oldest first, with the device table
 * and sequence; from the newest snapshot on if `from_snapshot`. */
typedef enum err userlog_fn(void *arg, const struct ulog_batch_info *info,
    uint64_t sequence, const struct ulog_record *r);
enum err userlog_read(struct store *s, unsigned user_index,
    const struct log_state *l, bool from_snapshot, userlog_fn *fn,
    void *arg) MUST_CHECK;

/* ---- commit.c ----------------------------------------------------------- */

/* Remember a problem for people. */
void set_problem(struct store *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- rows of INDEX_META (store.c) --------------------------------------- */

struct store_state {
	uint64_t lsn, next_ino, next_cookie;
};
/* An empty tree: STORE_ROOT alone. */
enum err make_root(struct index *index, int64_t now) MUST_CHECK;
enum err state_put(
    struct index_txn *txn, const struct store_state *st) MUST_CHECK;
enum err state_get(struct index_txn *txn, struct store_state *st) MUST_CHECK;
enum err user_row_put(struct index_txn *txn, unsigned user_index,
    const struct store_user *u) MUST_CHECK;
enum err user_row_get(struct index_txn *txn, unsigned user_index,
    struct store_user *u) MUST_CHECK;

#endif
