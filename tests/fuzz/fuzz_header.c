/* Any bytes as a message's header: the answer is some text that ends, shorter
 * than the bytes, and never anything read or written beside them. */
#include "fs/header.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
try_field(const char *bytes, size_t len, const char *name, size_t cap)
{
	char *out = malloc(cap);
	bool found;

	if (!out)
		abort();
	found = header_field(bytes, len, name, out, cap);
	assert(memchr(out, '\0', cap));
	assert(strlen(out) <= len);
	assert(found || out[0] == '\0');
	assert(!strchr(out, '\n'));
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const char *text = (const char *)bytes;

	try_field(text, len, "From", 512);
	try_field(text, len, "Subject", 16);
	try_field(text, len, "X", 1);
	(void)header_begins(text, len);
	(void)header_complete(text, len);
	return 0;
}
