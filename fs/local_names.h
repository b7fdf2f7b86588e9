/* local_names.h - a home's own list of names that stay on this node, in
 * addition to the built-in one (maildir.h): the file "local-names".
 *
 *   file       lines, each ended by a newline (the last need not be)
 *   line       nothing but blanks; or '#' and a comment, after any blanks; or
 *              one pattern
 *   pattern    bytes, of which '*' stands for any number of any, '?' for any
 *              one, and '\' for the one after it.  A '/' at its end: for
 *              directories; without: for everything else, since a Maildir++
 *              folder's name looks like a hidden file's
 *
 * Refused, for it is more likely a mistake than meant: what matches what mail
 * is kept in (its directories, and messages), blanks at either end, control
 * characters, and '[' (there are no sets of characters).  Case counts, and
 * so do no locale's ideas of a character. */
#ifndef POST_FS_LOCAL_NAMES_H
#define POST_FS_LOCAL_NAMES_H

#include "overlay/base/outcome.h"

#include <stdbool.h>
#include <stddef.h>

#define LOCAL_NAMES_MAX 64u	    /* patterns: each name made is held to all */
#define LOCAL_NAME_BYTES 255u	    /* of a pattern: no name is longer */
#define LOCAL_NAMES_FILE_MAX 65536u /* bytes, comments and all */

struct local_names {
	unsigned count;
	struct local_pattern {
		char text[LOCAL_NAME_BYTES + 1]; /* without the '/' */
		bool dir;
	} pattern[LOCAL_NAMES_MAX];
};

/* What is wrong with a list, for its author. */
struct local_names_fault {
	unsigned line; /* from 1 */
	const char *why, *mend;
};

/* Read a list whole.  ERR_MALFORMED: *fault says which line and why, and *out
 * is as it was. */
enum err local_names_read(const char *text, size_t len,
    struct local_names *out, struct local_names_fault *fault) MUST_CHECK;

bool local_names_have(
    const struct local_names *l, const char *name, bool is_dir);

#endif
