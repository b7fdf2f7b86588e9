#include "tools/post_keywords.h"

#include <stdio.h>
#include <string.h>

static bool
is_keyword(const char *name, size_t len)
{
	if (len == 0 || len > KEYWORD_BYTES_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
			return false;
	return true;
}

void
keywords_read(struct keywords *k, const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	memset(k, 0, sizeof(*k));
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl ? nl : end;
		unsigned n = 0;
		const char *d = p;

		while (d < stop && *d >= '0' && *d <= '9' && n < KEYWORDS_MAX)
			n = n * 10 + (unsigned)(*d++ - '0');
		if (d > p && d < stop && *d == ' ' && n < KEYWORDS_MAX &&
		    is_keyword(d + 1, (size_t)(stop - d) - 1)) {
			memcpy(k->name[n], d + 1, (size_t)(stop - d) - 1);
			k->name[n][stop - d - 1] = '\0';
		}
		p = nl ? nl + 1 : end;
	}
}

size_t
keywords_write(const struct keywords *k, char *out, size_t cap)
{
	size_t len = 0;

	for (unsigned i = 0; i < KEYWORDS_MAX; i++) {
		size_t left = cap - len;
		int n;

		if (!k->name[i][0])
			continue;
		n = snprintf(out + len, left, "%u %s\n", i, k->name[i]);
		if (n < 0 || (size_t)n >= left)
			break;
		len += (size_t)n;
	}
	return len;
}

char
keywords_letter(struct keywords *k, const char *name, size_t len)
{
	unsigned place = KEYWORDS_MAX;

	if (!is_keyword(name, len))
		return 0;
	for (unsigned i = 0; i < KEYWORDS_MAX; i++) {
		if (strlen(k->name[i]) == len &&
		    memcmp(k->name[i], name, len) == 0)
			return (char)('a' + i);
		if (!k->name[i][0] && place == KEYWORDS_MAX)
			place = i;
	}
	if (place == KEYWORDS_MAX)
		return 0;
	memcpy(k->name[place], name, len);
	k->name[place][len] = '\0';
	k->changed = true;
	return (char)('a' + place);
}

const char *
keywords_name(const struct keywords *k, char letter)
{
	if (letter < 'a' || letter > 'z' || !k->name[letter - 'a'][0])
		return NULL;
	return k->name[letter - 'a'];
}
