/* users.h - the users whose trees a mount shows, and the feed of each.
 *
 * Users are found by listing the store's root; one that is added later is
 * found when its directory is first looked up.  A user is never removed while
 * the mount stands, so a pointer to one is good for that long.
 *
 * Threads: any; users_note() takes a lock, finding takes none. */
#ifndef POST_FS_USERS_H
#define POST_FS_USERS_H

#include "fs/notify.h"
#include "fs/virtual.h"
#include "store/store.h"

#include <stdatomic.h>

struct user {
	uint64_t ino; /* of her directory */
	char address[ADDRESS_MAX + 1];
	size_t address_len;
	uint64_t at_ino; /* of her .at */
	struct feed feed;
	_Atomic bool watched; /* someone else ever looked at .notify */
	uint64_t missed; /* events without detail; events.h's lock */
	/* The announcer's own: */
	struct user *next_of_batch;
	uint32_t first, last; /* her events in the batch, by index + 1 */
};

struct users {
	struct store *store;
	struct virtuals *virtuals; /* gives inode numbers */
	pthread_mutex_t lock;
	struct user *user[KEYS_USERS_MAX];
	_Atomic unsigned count;
};

enum err users_init(
    struct users *u, struct store *s, struct virtuals *v) MUST_CHECK;
void users_fini(struct users *u);

struct user *users_by_ino(struct users *u, uint64_t ino);
/* A name of that length, not NUL-terminated. */
struct user *users_by_address(struct users *u, const char *name, size_t len);

/* A directory in the store's root was seen: a user, perhaps a new one.
 * ERR_NOMEM, ERR_RANGE (too many): she has no .notify and no .at. */
enum err users_note(
    struct users *u, uint64_t ino, const char *address) MUST_CHECK;

#endif
