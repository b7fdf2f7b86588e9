#include "tools/post_json.h"

#include "tools/post.h"

#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 character at p (RFC 3629), 0 if there is none. */
static size_t
utf8_len(const unsigned char *p, size_t left)
{
	unsigned char c = p[0];
	size_t n = c < 0x80                ? 1
		   : c >= 0xc2 && c < 0xe0 ? 2
		   : c >= 0xe0 && c < 0xf0 ? 3
		   : c >= 0xf0 && c < 0xf5 ? 4
					   : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0; /* too long a form, a surrogate, too large */
	return n;
}

json_t *
json_bytes(const char *bytes, size_t len)
{
	const unsigned char *p = (const unsigned char *)bytes;
	char *clean = malloc(len * 3 + 1);
	size_t at = 0;
	json_t *j;

	if (!clean)
		return NULL;
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);

		if (n && p[i]) {
			memcpy(clean + at, p + i, n);
			at += n;
			i += n;
		} else {
			memcpy(clean + at, "\xef\xbf\xbd", 3);
			at += 3;
			i++;
		}
	}
	j = json_stringn(clean, at);
	free(clean);
	return j;
}

int
json_print(json_t *j)
{
	int bad =
	    !j || json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);

	json_decref(j);
	if (bad)
		return fail(STATUS_FAILED,
		    "json: not all could be written: "
		    "check where stdout goes, and free memory");
	putchar('\n');
	return STATUS_DONE;
}
