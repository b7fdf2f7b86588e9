/* Any bytes as a home's list of local-only names: a list within its limits, or
 * the number of a line that is there and words; and no name of a mail or of
 * what it lies in is ever in it. */
#include "fs/local_names.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct local_names *l = calloc(1, sizeof(*l));
	struct local_names_fault fault = { 0 };
	size_t lines = 1;
	enum err e;

	if (!l)
		abort();
	e = local_names_read((const char *)bytes, len, l, &fault);
	for (size_t i = 0; i < len; i++)
		lines += bytes[i] == '\n';
	assert(fault.line <= lines);
	if (e) {
		assert(e == ERR_MALFORMED && fault.line && l->count == 0);
		assert(fault.why[0] && fault.mend[0]);
	}
	assert(l->count <= LOCAL_NAMES_MAX && l->count <= lines);
	for (unsigned i = 0; i < l->count; i++)
		assert(memchr(l->pattern[i].text, '\0', LOCAL_NAME_BYTES + 1));
	assert(!local_names_have(l, "Maildir", true));
	assert(!local_names_have(l, "cur", true));
	assert(!local_names_have(l, "new", true));
	free(l);
	return 0;
}
