#include "overlay/base/id.h"

void
id_to_hex(const struct id *id, char out[ID_HEX + 1])
{
	static const char digit[] = "0123456789abcdef";

	for (unsigned i = 0; i < ID_BYTES; i++) {
		out[2 * i] = digit[id->b[i] >> 4];
		out[2 * i + 1] = digit[id->b[i] & 15];
	}
	out[ID_HEX] = '\0';
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
id_from_hex(const char *text, struct id *out)
{
	struct id id;

	if (strlen(text) != ID_HEX)
		return false;
	for (unsigned i = 0; i < ID_BYTES; i++) {
		int hi = nibble(text[2 * i]), lo = nibble(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		id.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*out = id;
	return true;
}
