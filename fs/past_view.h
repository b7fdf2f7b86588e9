/* past_view.h - a user's tree as it was: what .at/TIME leads to.
 *
 * A view is opened by the text of its moment and shared by all who use the
 * same text.  "2026-11-01T12:00:00Z" shows everything up to the end of that
 * second; a fraction, up to its last digit.  A moment that is not over when it
 * is asked for has a view of its own each time, since more may still happen
 * in it; one that has not begun is not there.
 *
 * To open a view costs nothing: a listing with attributes opens hundreds.  The
 * log is replayed, into memory, when something below its root is first asked
 * for.  A view lives while it is held; the last few that no one holds are kept
 * for a minute, so that a walk that begins again does not replay again.
 *
 * Threads: every call from any. */
#ifndef POST_FS_PAST_VIEW_H
#define POST_FS_PAST_VIEW_H

#include "fs/when.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define PAST_IDLE_MAX 2 /* views kept that no one holds */
#define PAST_NAME_MAX 40 /* bytes of a moment's text */
#define PAST_DAYS_MAX 400 /* days listed in .at */

struct past;

struct past_view {
	struct past *past;
	struct past_view *next;
	pthread_mutex_t making; /* of the history */
	struct history *history; /* NULL: not asked for yet */
	int64_t until_ns;
	uint64_t user_ino;
	const char *address; /* borrowed */
	char name[PAST_NAME_MAX];
	bool settled; /* its moment was over when it was made */
	unsigned holders; /* past's lock */
	_Atomic int64_t used_ns;
};

struct past {
	struct store *store;
	pthread_mutex_t lock;
	struct past_view *views; /* newest opening first */
};

void past_init(struct past *p, struct store *s);
void past_fini(struct past *p);

/* The view of a user's tree at a moment, held once.  ERR_ABSENT: the text is
 * no moment, or one that is still to come.  The address lives as long as p. */
enum err past_view_open(struct past *p, uint64_t user_ino, const char *address,
    const char *name, int64_t now_ns, struct past_view **out) MUST_CHECK;
/* The tree, made now if need be; it lives as long as the view. */
enum err past_view_tree(
    struct past_view *view, int64_t now_ns, struct history **out) MUST_CHECK;
void past_view_hold(struct past_view *view);
void past_view_release(struct past_view *view);

/* Of the views that are held, some that the kernel should be asked to forget:
 * unused for a while, or more than a few.  Copies names; their number. */
struct past_idle {
	uint64_t user_ino;
	char name[PAST_NAME_MAX];
};
unsigned past_idle(
    struct past *p, int64_t now_ns, struct past_idle *out, unsigned cap);

/* Free what no one holds and no one used for a while. */
void past_trim(struct past *p, int64_t now_ns);

/* What .at lists for a log of that range: its newest second, and the midnights
 * of `first` to `last`. */
struct past_days {
	int64_t first, last; /* days since 1970; first > last: none */
	int64_t newest_ns;
};
void past_days(int64_t first_ns, int64_t last_ns, struct past_days *out);

#endif
