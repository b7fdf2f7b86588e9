/* post_mountopt.h - the text behind -o, as fstab and mount(8) write it.
 *
 * Options of ours are taken, those that libfuse passes to the kernel are
 * handed on, those that speak to mount(8) or systemd are let pass, anything
 * else is refused by name.  Pure. */
#ifndef POST_TOOLS_POST_MOUNTOPT_H
#define POST_TOOLS_POST_MOUNTOPT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct mountopt {
	bool allow_other, no_allow_other; /* the last one said counts */
	bool read_only;
	char home[PATH_MAX]; /* "" if not given */
	char subtree[PATH_MAX]; /* "" if not given; no '/' at its ends */
	char passphrase_file[PATH_MAX]; /* "" if not given */
	char passed[256]; /* for libfuse, comma-separated, or "" */
};

/* `text` may be NULL or hold empty options.  A comma within a value is
 * written "\,".  False: `why` says which option is wrong. */
bool mountopt_parse(
    const char *text, struct mountopt *out, char *why, size_t why_cap);

#endif
