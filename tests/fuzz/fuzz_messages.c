/* A frame is refused by all readers, or read by that of its kind and written
 * again to the byte. */
#include "tests/unit/message_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len && message_name(message_kind(bytes, len)) == NULL)
		abort();
	(void)message_read(bytes, len);
	return 0;
}
