/* virtual.h - inodes that are not in the store, and how long they live.
 *
 * Identities.  The kernel knows an inode by a number.  A real one's is its
 * number in the store, for ever.  Everything else gets a number above
 * VIRTUAL_FIRST, never given twice while a mount stands:
 *
 *   .post, .at          one each, permanent
 *   .post's files       a number per text: a lookup whose text differs from
 *                       the last one's makes a new inode, which holds that
 *                       text until the kernel forgets it.  So each open reads
 *                       one text to its end, with the right size, although
 *                       open itself is never told to us.
 *   .notify             a number per generation (notify.h)
 *   .at/TIME/...        a number per view and inode in it, the same one for as
 *                       long as the kernel knows it; each holds its view.
 *
 * An inode lives while its lookups are not forgotten.  The kernel sends no
 * request about an inode it has forgotten, so a pointer found by number is
 * good until the request is answered.
 *
 * Threads: every call from any; none is made on the way of a real inode. */
#ifndef POST_FS_VIRTUAL_H
#define POST_FS_VIRTUAL_H

#include "fs/notify.h"
#include "overlay/base/map.h"

#include <stdatomic.h>

#define VIRTUAL_FIRST ((uint64_t)1 << 62)
#define VIRTUAL_TEXTS 16 /* files of .post at most */
#define VIRTUAL_CONTROL (VIRTUAL_FIRST + 1) /* .post */
/* What .post's files show as their number in a listing only. */
#define VIRTUAL_LISTED (VIRTUAL_FIRST + 16)

struct user;
struct past_view;

enum virtual_kind {
	VIRTUAL_CONTROL_DIR,
	VIRTUAL_TEXT,
	VIRTUAL_FEED,
	VIRTUAL_AT_DIR,
	VIRTUAL_PAST,
};

struct virtual
{
	uint64_t ino;
	enum virtual_kind kind;
	uint64_t lookups; /* the table's lock */
	union {
		struct {
			char *bytes;
			size_t len;
			int64_t time_ns;
			unsigned which;
		} text;
		struct {
			struct user *user;
			uint64_t start;
			unsigned generation;
			struct virtual *next; /* of this user's; newest first */
		} feed;
		struct user *user; /* AT_DIR */
		struct {
			struct past_view *view;
			uint64_t number;
		} past;
	};
};

struct virtuals {
	pthread_mutex_t lock;
	_Atomic uint64_t next;
	struct map by_ino, past; /* past: by view and number */
	struct virtual *text[VIRTUAL_TEXTS]; /* the newest, if it lives */
	struct virtual *feeds;
	int64_t started_ns;
};

static inline bool
virtual_is(uint64_t ino)
{
	return ino >= VIRTUAL_FIRST;
}

enum err virtuals_init(struct virtuals *v, int64_t now_ns) MUST_CHECK;
/* Everything the kernel did not forget, too; after all else has stopped. */
void virtuals_fini(struct virtuals *v);

/* A number never given before. */
uint64_t virtuals_number(struct virtuals *v);

/* NULL: no such inode (a number the kernel was never told). */
struct virtual *virtuals_find(struct virtuals *v, uint64_t ino);

/* Each of these counts one lookup, to be undone by virtuals_forget(). */

/* Text `bytes` of len, which it takes (and frees on failure). */
enum err virtuals_text(struct virtuals *v, unsigned which, char *bytes,
    size_t len, int64_t now_ns, struct virtual **out) MUST_CHECK;
/* The current generation of a user's feed. */
enum err virtuals_feed(
    struct virtuals *v, struct user *user, struct virtual **out) MUST_CHECK;
/* An older one that still lives; ERR_ABSENT. */
enum err virtuals_feed_old(struct virtuals *v, struct user *user,
    unsigned generation, struct virtual **out) MUST_CHECK;
enum err virtuals_at(
    struct virtuals *v, struct user *user, struct virtual **out) MUST_CHECK;
/* Holds the view (past_view.h) while it lives, if it is new. */
enum err virtuals_past(struct virtuals *v, struct past_view *view,
    uint64_t number, struct virtual **out) MUST_CHECK;

/* The kernel forgot n lookups.  True if the inode is gone for that. */
bool virtuals_forget(struct virtuals *v, uint64_t ino, uint64_t n);

/* The generations of a user's feed that live, newest first: up to cap are
 * written to `out`, as they are now; their number is returned. */
unsigned virtuals_feeds(
    struct virtuals *v, struct user *user, struct feed_view *out, unsigned cap);

#endif
