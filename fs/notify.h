/* notify.h - the text behind a user's .notify: one line per event.
 *
 * A feed is a ring of the newest bytes, addressed by their position in all
 * that was ever appended.  The file that people read shows it from some start
 * on.  When the file would outgrow what is kept, a new generation begins: the
 * name leads to a new inode that starts at the newest half.  A reader that
 * still has the old file open sees it grow on as if nothing had happened; only
 * bytes that are no longer kept read as newlines there.
 *
 * Lines (LAYOUT.md, ".notify"): time, what and path, then fields "key=value",
 * separated by tabs.  Tab, newline, backslash and other control characters
 * are written \t, \n, \\ and \xHH.
 *
 * Threads: one appends (and calls feed_make_room()), any may read. */
#ifndef POST_FS_NOTIFY_H
#define POST_FS_NOTIFY_H

#include "overlay/base/outcome.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEED_KEEP_MAX (256u << 10) /* bytes of one user's .notify */
#define FEED_KEEP_MIN (16u << 10)
#define FEED_ALL_MAX (16u << 20) /* of all users' together */

/* What one feed keeps when there are so many users; a power of two. */
size_t feed_keep(unsigned users);
/* What may be appended at once. */
#define FEED_APPEND_MAX(keep) ((keep) / 4)

struct feed {
	pthread_mutex_t lock;
	char *ring; /* of `cap` bytes, a power of two; position modulo cap */
	size_t cap, keep;
	/* These are read under the lock: */
	uint64_t end; /* bytes ever appended */
	uint64_t start; /* where the current generation begins */
	uint64_t ino; /* of the current generation */
	unsigned generation;
	int64_t changed_ns;
};

/* A generation as its file sees it; taken once, valid for ever. */
struct feed_view {
	uint64_t start, ino;
	unsigned generation;
};

void feed_init(struct feed *f, size_t keep, uint64_t ino, int64_t now_ns);
void feed_fini(struct feed *f);
void feed_current(struct feed *f, struct feed_view *out);

/* Before an append of len (at most FEED_APPEND_MAX): if the file would outgrow
 * what is kept, begin a new generation with that inode number; true if so. */
bool feed_make_room(struct feed *f, size_t len, uint64_t new_ino);

/* ERR_NOMEM: nothing appended. */
enum err feed_append(
    struct feed *f, const char *text, size_t len, int64_t now_ns) MUST_CHECK;

uint64_t feed_size(struct feed *f, uint64_t start, int64_t *changed_ns);
/* Bytes of the file that begins at `start`; short at its end. */
size_t feed_read(
    struct feed *f, uint64_t start, uint64_t off, char *buf, size_t len);

/* ---- lines -------------------------------------------------------------- */

enum notify_kind {
	NOTIFY_NEW,
	NOTIFY_FLAGS,
	NOTIFY_MOVE,
	NOTIFY_DELETE,
	NOTIFY_MKDIR,
	NOTIFY_RMDIR,
	NOTIFY_KINDS
};

struct notify_line {
	enum notify_kind kind;
	int64_t time_ns;
	const char *path; /* from the user's directory */
	const char *was; /* FLAGS, MOVE: the path before; else NULL */
	const char *from, *subject; /* NEW; else NULL */
};

/* One line at buf, with its newline; its length, or 0 if cap is too small. */
size_t notify_format(char *buf, size_t cap, const struct notify_line *line);
/* "TIME more count=N": events of which no detail was kept. */
size_t notify_format_more(
    char *buf, size_t cap, int64_t time_ns, uint64_t count);

#endif
