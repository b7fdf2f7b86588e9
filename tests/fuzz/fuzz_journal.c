/* Any bytes as a segment's file: replay takes what opens and stops, and the
 * journal goes on from there.  Run with the key that the corpus was made
 * with, so that mutations get past the header. */
#include "store/journal_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct key journal_key = { "a key for the tests of journals" };

struct seen {
	uint64_t lsn;
	size_t bytes;
};

static enum err
see(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	struct seen *s = arg;
	unsigned sum = 0;

	assert(lsn > s->lsn && len <= JOURNAL_FRAME_MAX);
	for (size_t i = 0; i < len; i++)
		sum += bytes[i]; /* it is all there */
	s->lsn = lsn;
	s->bytes += len + (sum > UINT32_MAX / 2);
	return OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct key segment;
	struct segment_id id;
	struct seen s = { 0 };
	struct disk_file *f;
	struct journal *j;
	uint64_t torn, lsn;
	struct disk *d;

	if (crypto_init() || disk_mem_new(1, &d))
		abort();
	if (disk_mkdir(d, "journal") ||
	    disk_open(d, "journal/0000000000000001", DISK_EXCL, &f) ||
	    disk_write(f, 0, bytes, len))
		abort();
	disk_file_close(f);
	if (len >= SEGMENT_HEADER_BYTES &&
	    !segment_header_read(&journal_key, bytes, &id, &segment))
		s.lsn = id.start;
	if (journal_open(d, &journal_key, s.lsn, &j) ||
	    journal_replay(j, see, &s, &torn))
		abort();
	assert(s.bytes <= len && torn <= len);
	assert(journal_end(j) == s.lsn);
	if (journal_append(j, "x", 1, &lsn) || journal_sync(j, lsn))
		abort();
	journal_close(j);
	disk_close(d);
	return 0;
}
