/* status.h - `post status` and /post/.post/status: one text, two places. */
#ifndef POST_FS_STATUS_H
#define POST_FS_STATUS_H

#include "store/store.h"

struct status_about {
	const char *mountpoint; /* NULL: not mounted */
	int64_t since_ns;	/* mounted since */
	const struct home_keys *keys;
};

/* The JSON object of DESIGN section 8, or its form for people, newline at the
 * end.  *text is the caller's to free. */
enum err status_text(struct store *s, const struct status_about *about,
    bool json, char **text) MUST_CHECK;

#endif
