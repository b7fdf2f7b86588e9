#include "tools/post_mountinfo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
octal(const char *p, const char *end, char *out)
{
	if (end - p < 4 || p[0] != '\\')
		return false;
	for (int i = 1; i < 4; i++)
		if (p[i] < '0' || p[i] > '7')
			return false;
	*out = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
	return true;
}

/* The next blank-separated field, unescaped; false if there is none or it is
 * too long. */
static bool
field(const char **p, const char *end, char *out, size_t cap)
{
	size_t len = 0;

	while (*p < end && **p == ' ')
		(*p)++;
	if (*p == end)
		return false;
	while (*p < end && **p != ' ') {
		char c;

		if (len + 1 >= cap)
			return false;
		if (octal(*p, end, &c)) {
			*p += 4;
		} else {
			c = **p;
			(*p)++;
		}
		out[len++] = c;
	}
	out[len] = '\0';
	return true;
}

bool
mountinfo_parse(const char *line, size_t len, struct mountinfo *out)
{
	const char *p = line, *end = line + len;
	char skipped[PATH_MAX];

	if (len && end[-1] == '\n')
		end--;
	for (int i = 0; i < 4; i++) /* id, parent, device, root */
		if (!field(&p, end, skipped, sizeof(skipped)))
			return false;
	if (!field(&p, end, out->mountpoint, sizeof(out->mountpoint)))
		return false;
	do { /* options, optional fields */
		if (!field(&p, end, skipped, sizeof(skipped)))
			return false;
	} while (strcmp(skipped, "-") != 0);
	return field(&p, end, out->type, sizeof(out->type)) &&
	       field(&p, end, out->source, sizeof(out->source));
}

bool
mountinfo_each(mountinfo_fn *fn, void *arg)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	struct mountinfo m;

	if (!f)
		return false;
	while ((n = getline(&line, &cap, f)) > 0)
		if (mountinfo_parse(line, (size_t)n, &m))
			fn(arg, &m);
	free(line);
	fclose(f);
	return true;
}

struct find {
	const char *mountpoint;
	struct mountinfo *out;
	bool found;
};

static void
find_one(void *arg, const struct mountinfo *m)
{
	struct find *f = arg;

	if (strcmp(m->mountpoint, f->mountpoint) == 0) {
		*f->out = *m;
		f->found = true;
	}
}

bool
mountinfo_find(const char *mountpoint, struct mountinfo *out)
{
	struct find f = { .mountpoint = mountpoint, .out = out };

	return mountinfo_each(find_one, &f) && f.found;
}

bool
mountinfo_ours(const struct mountinfo *m)
{
	return strcmp(m->type, "fuse.post") == 0 ||
	       (strcmp(m->type, "fuse") == 0 && strcmp(m->source, "post") == 0);
}
