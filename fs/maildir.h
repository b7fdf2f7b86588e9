/* maildir.h - what names mean: Maildir, Maildir++, and the files that mail
 * programs keep for themselves. */
#ifndef POST_FS_MAILDIR_H
#define POST_FS_MAILDIR_H

#include "fs/local_names.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does this name, in a directory of that name, stay on this node: durable
 * here but never in the log?  Everything in tmp/, Dovecot's indexes, caches,
 * uidlists and locks, Mutt's header caches, notmuch's and mu's databases,
 * editors' swap files.  The list is at the top of maildir.c, documented in
 * LAYOUT.md; a home's own comes to it.  Fits struct store_env's is_local. */
bool maildir_is_local(
    void *arg, const char *dir_name, const char *name, bool is_dir);
/* The home's own list, copied, in place of the one before (none at first).
 * Before threads run. */
void maildir_local_set(const struct local_names *l);

/* A message's name, taken apart: UNIQUE[,S=size][,W=size][...][:2,FLAGS]. */
struct maildir_name {
	size_t base_len;     /* bytes before ":2," */
	const char *flags;   /* after it; "" if none; points into the name */
	bool has_info;
	uint64_t size, wsize; /* from S= and W=; 0 if absent */
};
void maildir_parse(const char *name, struct maildir_name *out);

/* Are these two names one message, but for its flags? */
bool maildir_same_message(const char *a, const char *b);

/* cur or new: messages lie in it. */
bool maildir_is_message_dir(const char *dir_name);

#endif
