/* The words of a control request (control.h), taken apart and made. */
#include "tools/control.h"

#include <string.h>

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1; /* one spelling only */
}

bool
control_encode(const char *text, char *out, size_t cap)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool plain = *p > ' ' && *p != '%' && *p != 0x7f;

		if (at + 4 > cap) {
			if (cap)
				out[0] = '\0';
			return false;
		}
		if (plain) {
			out[at++] = (char)*p;
			continue;
		}
		out[at++] = '%';
		out[at++] = digits[*p >> 4];
		out[at++] = digits[*p & 15];
	}
	if (at >= cap)
		return false;
	out[at] = '\0';
	return true;
}

char *
control_next(char **rest)
{
	char *from = *rest, *word, *to;

	while (*from == ' ')
		from++;
	if (!*from) {
		*rest = from;
		return NULL;
	}
	word = to = from;
	while (*from && *from != ' ') {
		int high, low;

		if (*from != '%') {
			*to++ = *from++;
			continue;
		}
		high = from[1] ? hex_value(from[1]) : -1;
		low = high >= 0 && from[2] ? hex_value(from[2]) : -1;
		if (low < 0 || (high == 0 && low == 0)) {
			*rest = from + strlen(from);
			return NULL;
		}
		*to++ = (char)(high << 4 | low);
		from += 3;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	return word;
}
