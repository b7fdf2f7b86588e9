#include "fs/header.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* The line that begins at p, without its line ending; *next is where the next
 * one begins, or end. */
static size_t
line_at(const char *p, const char *end, const char **next)
{
	const char *nl = memchr(p, '\n', (size_t)(end - p));
	size_t len = (size_t)((nl ? nl : end) - p);

	*next = nl ? nl + 1 : end;
	if (len && p[len - 1] == '\r')
		len--;
	return len;
}

static const char *
skip_mbox_line(const char *p, const char *end)
{
	const char *next;

	if ((size_t)(end - p) < 5 || memcmp(p, "From ", 5) != 0)
		return p;
	(void)line_at(p, end, &next);
	return next;
}

/* Printable, no colon, no blank (RFC 5322, 3.6.8), then a colon. */
static size_t
field_name_len(const char *line, size_t len)
{
	size_t n = 0;

	while (n < len && line[n] > ' ' && line[n] < 0x7f && line[n] != ':')
		n++;
	return n < len && line[n] == ':' ? n : 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Add a line's text to out: a blank between lines, none at the ends. */
static size_t
add_text(char *out, size_t at, size_t cap, const char *text, size_t len)
{
	while (len && is_blank(*text)) {
		text++;
		len--;
	}
	while (len && is_blank(text[len - 1]))
		len--;
	if (len && at && at < cap - 1)
		out[at++] = ' ';
	for (size_t i = 0; i < len && at < cap - 1; i++)
		out[at++] = text[i] ? text[i] : '?';
	return at;
}

bool
header_field(
    const char *bytes, size_t len, const char *name, char *out, size_t cap)
{
	const char *end, *p, *next;
	size_t name_len = strlen(name), line, at = 0;

	assert(cap > 0);
	out[0] = '\0';
	if (len == 0)
		return false;
	end = bytes + len;
	for (p = skip_mbox_line(bytes, end); p < end; p = next) {
		size_t n;

		line = line_at(p, end, &next);
		if (line == 0)
			return false; /* the body begins */
		n = field_name_len(p, line);
		if (n != name_len || strncasecmp(p, name, n) != 0)
			continue;
		at = add_text(out, 0, cap, p + n + 1, line - n - 1);
		while (next < end && is_blank(*next)) {
			p = next;
			line = line_at(p, end, &next);
			at = add_text(out, at, cap, p, line);
		}
		out[at] = '\0';
		return true;
	}
	return false;
}

bool
header_begins(const char *bytes, size_t len)
{
	const char *p, *next;
	size_t line;

	if (len == 0)
		return false;
	p = skip_mbox_line(bytes, bytes + len);
	if (p == bytes + len)
		return false;
	line = line_at(p, bytes + len, &next);
	return field_name_len(p, line) > 0;
}

bool
header_complete(const char *bytes, size_t len)
{
	const char *p = bytes, *end = bytes + len, *next;

	while (p && p < end) {
		if (line_at(p, end, &next) == 0)
			return true;
		p = next;
	}
	return false;
}
