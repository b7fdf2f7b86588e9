#include "tests/lib/alloc.h"

#include <stdatomic.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#ifndef OWN_MALLOC
#define OWN_MALLOC 1
#endif

static _Atomic uint64_t fail_at;
static _Atomic bool failed;

bool
alloc_can_fail(void)
{
	return OWN_MALLOC;
}

void
alloc_fail_at(uint64_t n)
{
	failed = false;
	fail_at = n;
}

bool
alloc_failed(void)
{
	return failed;
}

#if OWN_MALLOC
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n);
void *calloc(size_t n, size_t each);
void *realloc(void *p, size_t n);

static bool
strikes(void)
{
	if (!fail_at || --fail_at)
		return false;
	failed = true;
	return true;
}

void *
malloc(size_t n)
{
	return strikes() ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t each)
{
	return strikes() ? NULL : __libc_calloc(n, each);
}

void *
realloc(void *p, size_t n)
{
	return strikes() ? NULL : __libc_realloc(p, n);
}
#endif
