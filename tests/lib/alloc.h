/* alloc.h - let an allocation fail: malloc, calloc and realloc of the whole
 * test program are taken over, and pass through unless told otherwise.
 *
 * Under a sanitizer the allocator is its own and can not be taken over: then
 * alloc_can_fail() is false, and a test says that it is skipped. */
#ifndef POST_TESTS_ALLOC_H
#define POST_TESTS_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

bool alloc_can_fail(void);
/* The nth from now, counted from 1, of any thread; 0: none. */
void alloc_fail_at(uint64_t n);
/* Has it, since alloc_fail_at()? */
bool alloc_failed(void);

#endif
