/* userlog.h - what a checkpoint has sealed, and the logs that tell of it.
 * Private to the files of an open store. */
#ifndef POST_STORE_USERLOG_H
#define POST_STORE_USERLOG_H

#include "store/store_private.h"

/* One file that a checkpoint sealed, or kept on this node. */
struct sealed {
	uint64_t ino;
	struct file *file; /* referenced */
	uint64_t version;  /* of its staging when it was read */
	unsigned owner;
	bool shared;	   /* sealed into blocks; else kept in its page file */
	bool was_kept;	   /* its page file may go after the commit */
	bool told;	   /* a record has its content */
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
	struct content content;
};
struct sealed_list {
	struct sealed *one; /* sorted by ino once complete */
	size_t count, cap;
};
struct sealed *sealed_find(struct sealed_list *l, uint64_t ino);

/* Turn frozen_pending and what was sealed into batches and heads (put, not
 * flushed); next[i] is what user i's log will be once committed. */
enum err userlog_write(struct store *s, struct sealed_list *sealed,
    struct log_state *next) MUST_CHECK;

/* Seal a batch that is complete and put it. */
enum err userlog_seal(struct store *s, struct store_user *u,
    const struct ulog_batch_info *info, struct ulog_batch *batch,
    struct id *id) MUST_CHECK;

/* ---- snapshot.c --------------------------------------------------------- */

/* Is the log since the last snapshot so long that a replay wants another? */
bool snapshot_is_due(const struct store *s, const struct log_state *l);
/* Write one of the log as `l` says it is; *l then knows of it. */
enum err snapshot_write(
    struct store *s, unsigned user_index, struct log_state *l) MUST_CHECK;

#endif
