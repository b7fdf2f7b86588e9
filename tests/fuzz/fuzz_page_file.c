/* Any bytes as a kept page file, and as its redo file: opening, reading and
 * keeping again end with an answer.  The first two bytes say where the redo
 * file begins. */
#include "store/staging_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define INO 0x1234u

static const struct key pool_key = { "a key for the tests of staging.." };

static void
put_file(struct disk *d, const char *name, const uint8_t *bytes, size_t len)
{
	struct disk_file *f;

	if (disk_open(d, name, DISK_EXCL, &f) || disk_write(f, 0, bytes, len))
		abort();
	disk_file_close(f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static uint8_t got[8 * STAGING_PAGE];
	struct staging_pool *pool;
	struct staging *s;
	struct disk *d;
	size_t split, n;
	enum err e;

	if (len < 2)
		return 0;
	split = (size_t)bytes[0] << 8 | bytes[1];
	bytes += 2;
	len -= 2;
	if (split > len)
		split = len;
	if (crypto_init() || disk_mem_new(1, &d) || disk_mkdir(d, "local"))
		abort();
	put_file(d, "local/0000000000001234", bytes, split);
	if (split < len)
		put_file(d, "local/0000000000001234.redo", bytes + split,
		    len - split);
	if (staging_pool_new(d, &pool_key, 1 << 20, &pool) ||
	    staging_open_kept(pool, INO, sizeof(got) - 100, &s))
		abort();
	e = staging_read(s, 0, got, sizeof(got), &n);
	assert((e == OK && n == sizeof(got) - 100) ||
	       (e == ERR_CORRUPT && n == 0));
	if (staging_write(s, 0, got, sizeof(got)) || staging_keep(s) ||
	    staging_read(s, 0, got, sizeof(got), &n))
		abort();
	assert(n == sizeof(got));
	staging_free(s);
	staging_pool_free(pool);
	disk_close(d);
	return 0;
}
