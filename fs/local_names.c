#include "fs/local_names.h"

#include <stdlib.h>
#include <string.h>

/* What no pattern may match: where mail lies, and what it is called there. */
static const char *const mail_dirs[] = { "Maildir", "cur", "new", "tmp",
	".any folder at all", "any folder at all" };
static const char *const mail_files[] = { "1700000000.M1P2.any-host-at-all",
	"1700000000.M1P2.any-host-at-all:2,",
	"1700000000.M1P2.any-host-at-all,S=123,W=125:2,FRS" };

/* Goes back to the last '*' only, which is enough: what an earlier one could
 * take in, the last can. */
static bool
matches(const char *pattern, const char *name)
{
	const char *star = NULL, *from = NULL;

	while (*name) {
		const char *p = pattern;

		if (*p == '*') {
			star = ++pattern;
			from = name;
			continue;
		}
		if (*p == '\\')
			p++;
		if (*p && (*p == *name || (p == pattern && *p == '?'))) {
			pattern = p + 1;
			name++;
		} else if (star) {
			pattern = star;
			name = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool
matches_any(const char *pattern, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (matches(pattern, names[i]))
			return true;
	return false;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
refuse(struct local_names_fault *f, const char *why, const char *mend)
{
	f->why = why;
	f->mend = mend;
	return false;
}

/* One line that is a pattern; fault->line is the caller's. */
static bool
read_pattern(const char *line, size_t len, struct local_pattern *out,
    struct local_names_fault *f)
{
	bool escaped = false;

	memset(out, 0, sizeof(*out));
	if (is_blank(line[0]) || is_blank(line[len - 1]))
		return refuse(f, "begins or ends with a blank",
		    "take it out, or write '?' for one that is in the name");
	if (line[len - 1] == '/') {
		out->dir = true;
		len--;
	}
	if (len > LOCAL_NAME_BYTES)
		return refuse(f, "is longer than any name",
		    "keep it to 255 bytes");
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == '\177')
			return refuse(f, "has a control character",
			    "take it out, or write '?' for one that is in "
			    "the name");
		if (line[i] == '/')
			return refuse(f, "has a '/' before its end",
			    "give a name, not a path");
		if (line[i] == '[' && !escaped)
			return refuse(f, "has a '['",
			    "write a line for each character, or '\\[' for "
			    "one that is in the name");
		escaped = line[i] == '\\' && !escaped;
	}
	if (escaped)
		return refuse(f, "ends with a '\\'",
		    "write '\\\\' for one that is in the name");
	if (len == 0)
		return refuse(f, "is a '/' alone", "put a name before it");
	memcpy(out->text, line, len);
	if (out->dir ? matches_any(out->text, mail_dirs,
			   sizeof(mail_dirs) / sizeof(*mail_dirs))
		     : matches_any(out->text, mail_files,
			   sizeof(mail_files) / sizeof(*mail_files)))
		return refuse(f, "would keep mail itself out of the log",
		    "choose a pattern that matches less");
	return true;
}

static bool
add(struct local_names *l, const struct local_pattern *one,
    struct local_names_fault *f)
{
	if (l->count == LOCAL_NAMES_MAX)
		return refuse(
		    f, "is one pattern too many", "keep them to 64");
	l->pattern[l->count++] = *one;
	return true;
}

enum err
local_names_read(const char *text, size_t len, struct local_names *out,
    struct local_names_fault *fault)
{
	struct local_names *l = calloc(1, sizeof(*l));
	struct local_pattern one;
	enum err e = OK;

	if (!l)
		return ERR_NOMEM;
	fault->line = 0;
	while (!e && len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len, blanks = 0;

		fault->line++;
		while (blanks < n && is_blank(text[blanks]))
			blanks++;
		if (blanks == n || text[blanks] == '#')
			; /* says nothing */
		else if (!read_pattern(text, n, &one, fault))
			e = ERR_MALFORMED;
		else if (!add(l, &one, fault))
			e = ERR_MALFORMED;
		text += n + (end != NULL);
		len -= n + (end != NULL);
	}
	if (!e)
		*out = *l;
	free(l);
	return e;
}

bool
local_names_have(const struct local_names *l, const char *name, bool is_dir)
{
	for (unsigned i = 0; i < l->count; i++)
		if (l->pattern[i].dir == is_dir &&
		    matches(l->pattern[i].text, name))
			return true;
	return false;
}
