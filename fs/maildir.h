/* maildir.h - what names mean: Maildir, Maildir++, and the files that mail
 * programs keep for themselves. */
#ifndef POST_FS_MAILDIR_H
#define POST_FS_MAILDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does this name, in a directory of that name, stay on this node: durable
 * here but never in the log?  Everything in tmp/, Dovecot's indexes, caches,
 * uidlists and locks, Mutt's header caches, notmuch's and mu's databases,
 * editors' swap files.  The list is at the top of maildir.c, documented in
 * LAYOUT.md, and can be extended by maildir_local_add() before threads run.
 * Fits struct store_env's is_local. */
bool maildir_is_local(
    void *arg, const char *dir_name, const char *name, bool is_dir);
/* A further fnmatch(3) pattern; false if there are too many. */
bool maildir_local_add(const char *pattern);

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
