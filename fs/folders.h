/* folders.h - what a directory is: whose, where, and whether messages lie in it.
 *
 * Requests name a directory by its inode; events and attributes need its path
 * and name.  Answers are cached, since a mailbox is asked about at every
 * delivery; forgotten all together whenever a directory moves or goes, which
 * is rare.
 *
 * Threads: any. */
#ifndef POST_FS_FOLDERS_H
#define POST_FS_FOLDERS_H

#include "fs/users.h"
#include "overlay/base/map.h"

#define FOLDER_PATH_MAX 1024u /* a longer one has no events */
#define FOLDERS_MAX 2048u /* in the cache */

struct folder {
	struct user *user;
	bool messages; /* its name is cur or new */
	uint16_t len;
	char path[FOLDER_PATH_MAX]; /* from the user's directory; "" is it */
};

struct folders {
	struct store *store;
	struct users *users;
	pthread_mutex_t lock;
	struct map by_ino;
	uint64_t flushes; /* a path read before a flush is not kept after it */
};

void folders_init(struct folders *f, struct store *s, struct users *u);
void folders_fini(struct folders *f);

/* ERR_ABSENT: in no user's tree, or its path is too long. */
enum err folders_find(
    struct folders *f, uint64_t dir, struct folder *out) MUST_CHECK;

/* A directory was renamed or removed. */
void folders_flush(struct folders *f);

#endif
