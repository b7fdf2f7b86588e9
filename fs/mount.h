/* mount.h - a store, served as a filesystem.
 *
 * mount_open() replaces the stale mount of a dead daemon (ENOTCONN) and is
 * refused (ERR_BUSY) where something else is mounted.  The mount is usable
 * when mount_open() has returned and mount_serve() runs.  nosuid and nodev
 * always; default_permissions always; allow_other as asked. */
#ifndef POST_FS_MOUNT_H
#define POST_FS_MOUNT_H

#include "store/store.h"

struct mount_options {
	const char *mountpoint; /* absolute */
	bool allow_other;
	bool read_only;
	const char *subtree; /* "alice@x/Maildir": what the mount shows as its
			      * root; NULL: everything */
	const char *fuse_options; /* more -o text for libfuse, or NULL */
	const char *source;	  /* shown in mount(8); NULL: "post" */
	const struct home_keys *keys; /* borrowed; for .post/status */
};

struct mount;

/* On failure `why` says in words what is wrong and what to do. */
enum err mount_open(struct store *s, const struct mount_options *o,
    struct mount **out, char *why, size_t why_cap) MUST_CHECK;

/* Serve until unmounted, or mount_stop() from any thread or signal handler. */
enum err mount_serve(struct mount *m) MUST_CHECK;
void mount_stop(struct mount *m);

/* Unmount, if it still is, and free. */
void mount_close(struct mount *m);

/* Unmount the filesystem of a dead or living daemon at a path. */
enum err mount_detach(
    const char *mountpoint, bool lazy, char *why, size_t why_cap) MUST_CHECK;

/* Is a post filesystem mounted there, and does it answer? */
enum mount_state { MOUNT_NONE, MOUNT_ALIVE, MOUNT_STALE, MOUNT_FOREIGN };
enum mount_state mount_probe(const char *mountpoint);

#endif
