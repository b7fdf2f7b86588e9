/* Any bytes: an inode's row, or refused; and a row is the only one of its
 * inode. */
#include "store/tree.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	uint8_t again[INODE_ROW_MAX];
	struct inode ino;
	size_t again_len;

	if (inode_decode(7, bytes, len, &ino))
		return 0;
	if (inode_encode(&ino, again, sizeof(again), &again_len) ||
	    again_len != len || memcmp(again, bytes, len) != 0)
		abort();
	return 0;
}
