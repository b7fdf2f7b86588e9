/* A batch is refused, or what it says makes the same bytes again. */
#include "store/ulog.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
must(int ok)
{
	if (!ok)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ulog_batch *b;
	struct ulog_record rec;
	struct ulog_reader r;
	const uint8_t *again;
	size_t again_len;
	enum err e;

	if (ulog_reader_init(&r, bytes, len))
		return 0;
	must(ulog_batch_new(&r.info, &b) == OK);
	while ((e = ulog_reader_next(&r, &rec)) == OK)
		if (ulog_batch_add(b, &rec) == ERR_RANGE)
			break; /* the header's reserve: only near the bound */
	if (e == ERR_ABSENT) {
		must(ulog_batch_bytes(b, &again, &again_len) == OK);
		must(again_len == len && memcmp(again, bytes, len) == 0);
	}
	ulog_batch_free(b);
	return 0;
}
