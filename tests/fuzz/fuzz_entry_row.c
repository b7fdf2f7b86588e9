/* Any bytes: an entry's row, and a row of cookies, or refused. */
#include "store/tree_private.h"
#include "overlay/base/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	uint8_t again[ENTRY_ROW_MAX], *more, *less;
	size_t again_len, more_len, less_len;
	struct entry e;

	if (!entry_decode(7, 9, bytes, len, &e) &&
	    (entry_encode(&e, again, sizeof(again), &again_len) ||
		again_len != len || memcmp(again, bytes, len) != 0))
		abort();

	more = malloc(len + VARINT_MAX);
	less = malloc(len + 2 * VARINT_MAX);
	if (!more || !less)
		abort();
	if (!cookies_add(bytes, len, 1000, more, &more_len)) {
		/* What was added, and only that, can be taken out again. */
		if (cookies_remove(more, more_len, 1000, less, &less_len) ||
		    (more_len != len &&
			(less_len != len || memcmp(less, bytes, len) != 0)))
			abort();
	}
	free(more);
	free(less);
	return 0;
}
