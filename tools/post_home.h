/* post_home.h - a node's home: the directory that holds everything of it.
 *
 *   format     what made it (store/)
 *   keys       mode 0600 (overlay/base/keys.h)
 *   lock       held with flock(2) by whoever has the store open; its text is
 *              that process's id
 *   control    the daemon's socket (control.h), while it runs
 *   log        what the daemon has to say, at most LOG_MAX bytes, then log.1
 *   packs, journal, local, index     the store's
 *   local-names  names that stay on this node (fs/local_names.h); need not be
 *
 * One process at a time has the store open: a mounted home is asked through
 * its socket (post_ask.h).  Functions that return int return an exit status
 * and have said what is wrong. */
#ifndef POST_TOOLS_POST_HOME_H
#define POST_TOOLS_POST_HOME_H

#include "store/store.h"
#include "tools/post.h"

#include <limits.h>

#define HOME_FORMAT "format"
#define HOME_KEYS "keys"
#define HOME_LOCK "lock"
#define HOME_CONTROL "control"
#define HOME_LOG "log"
#define HOME_INDEX "index"
#define HOME_NAMES "local-names"

struct home {
	char dir[PATH_MAX]; /* resolved */
	int lock_fd; /* -1: not held */
	struct home_keys *keys;
	bool keys_sealed;
	struct disk *disk;
	struct index *index;
	struct store *store; /* NULL: not open */
	struct store_env env;
	bool names_read; /* home_read_names() was */
};

/* Which directory is meant: --home, POST_HOME, or the default (/var/lib/post
 * for root, else $XDG_DATA_HOME/post or ~/.local/share/post).  It need not
 * exist. */
int home_path(const struct common *c, char *out, size_t cap);

/* A zeroed home becomes one that knows where it is; fails where there is
 * none. */
int home_find(struct home *h, const struct common *c);

/* Take the lock; STATUS_AGAIN if another process still holds it after
 * wait_ms. */
int home_lock(struct home *h, unsigned wait_ms);
/* Who holds the lock of the home in `dir`: its process id, 0 for nobody (or
 * nobody that can be told), -1 if there is no lock file to look at. */
long home_holder(const char *dir);

/* Read and open the keys; `secret`, if not NULL, gets the passphrase used. */
int home_read_keys(
    struct home *h, const struct common *c, struct secret *secret);
/* Write them so that either the old or the new file is there. */
int home_write_keys(struct home *h, const char *passphrase);

/* Read the home's own list of local-only names, if there is one, and go by it
 * from now on: whoever opens the store does that first, and changes nothing
 * before. */
int home_read_names(struct home *h);

/* What the store is given: the real clock, and the disk and index of h. */
void home_env(struct home *h);
/* Disk, index and env; then the store.  The lock and keys come before. */
int home_open_parts(struct home *h);
int home_open_store(struct home *h);
/* Lock, keys, parts and store, of a home that was found; home_close() comes
 * after it even if it fails. */
int home_open(struct home *h, const struct common *c);
/* Close what is open.  A failure of the last checkpoint is said and
 * returned.  A zeroed home is allowed, if its lock_fd is -1. */
int home_close(struct home *h);

/* The user named, or the only one; NULL, and said, if that is nobody. */
struct user_keys *home_user(struct home *h, const char *address, int *status);

#endif
