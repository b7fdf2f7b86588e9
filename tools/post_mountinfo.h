/* post_mountinfo.h - what the kernel says is mounted: /proc/self/mountinfo,
 * proc(5).  The parser is pure. */
#ifndef POST_TOOLS_POST_MOUNTINFO_H
#define POST_TOOLS_POST_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct mountinfo {
	char mountpoint[PATH_MAX], type[64], source[PATH_MAX];
};

/* One line, its octal escapes undone; false if it is none. */
bool mountinfo_parse(const char *line, size_t len, struct mountinfo *out);

/* The mount at (exactly) `mountpoint`: the last one, which hides the others.
 * False: there is none. */
bool mountinfo_find(const char *mountpoint, struct mountinfo *out);

/* Call fn for each mount of ours. */
typedef void mountinfo_fn(void *arg, const struct mountinfo *m);
bool mountinfo_each(mountinfo_fn *fn, void *arg);

/* Is it of this program's type? */
bool mountinfo_ours(const struct mountinfo *m);

#endif
