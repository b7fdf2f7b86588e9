/* post_place_private.h - what post_place.c shares with its two kinds: a store
 * opened here (post_place_store.c), a mount (post_place_mount.c). */
#ifndef POST_TOOLS_POST_PLACE_PRIVATE_H
#define POST_TOOLS_POST_PLACE_PRIVATE_H

#include "store/store.h"
#include "tools/control.h"
#include "tools/post_place.h"

struct place_ops {
	/* f->name is set; *there false: it is not there and not to be made */
	int (*folder_open)(struct folder *f, bool make, bool *there);
	void (*folder_close)(struct folder *f);
	int (*folders)(struct place *p, folder_fn *fn, void *arg);
	int (*each)(
	    struct folder *f, enum folder_sub sub, message_fn *fn, void *arg);
	/* bytes NULL: only *len and *mtime_ns */
	int (*read)(struct folder *f, enum folder_sub sub, const char *name,
	    uint8_t **bytes, size_t *cap, size_t *len, int64_t *mtime_ns,
	    bool *here);
	int (*put)(struct folder *f, enum folder_sub sub, const char *name,
	    const uint8_t *bytes, size_t len, int64_t mtime_ns);
	int (*load)(struct folder *f, const char *name, char *out, size_t cap,
	    size_t *len);
	int (*save)(
	    struct folder *f, const char *name, const char *text, size_t len);
};

extern const struct place_ops place_store_ops, place_mount_ops;

struct place {
	const struct place_ops *ops;
	struct asker *asker;
	char user[ADDRESS_MAX + 1];
	uint32_t uid, gid; /* who owns what is made */

	/* a store opened here */
	struct store *store;
	uint64_t maildir; /* ino */

	/* a mount */
	char path[PATH_MAX]; /* of Maildir */
};

struct folder {
	struct place *place;
	char name[FOLDER_NAME_MAX + 1];
	uint64_t ino, sub_ino[2]; /* a store; 0: not there */
	int fd, sub_fd[2], tmp_fd; /* a mount; -1: not there */
};

static const char *const folder_sub_name[] = { "cur", "new" };

/* Is it a folder's name below a Maildir? */
bool folder_is_name(const char *name);
/* Room for len bytes. */
int place_room(uint8_t **bytes, size_t *cap, size_t len);

#endif
