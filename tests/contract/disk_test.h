/* disk_test.h - what both tests of disks say often. */
#ifndef POST_TESTS_DISK_TEST_H
#define POST_TESTS_DISK_TEST_H

#include "store/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)

static inline struct disk_file *
opened(struct disk *d, const char *name, enum disk_mode mode)
{
	struct disk_file *f = NULL;

	must(disk_open(d, name, mode, &f));
	assert_non_null(f);
	return f;
}

static inline void
put(struct disk_file *f, uint64_t off, const char *text)
{
	must(disk_write(f, off, text, strlen(text)));
}

static inline void
expect(struct disk_file *f, const char *bytes, size_t len)
{
	char *buf = malloc(len + 1);
	uint64_t size;
	size_t got;

	assert_non_null(buf);
	must(disk_size(f, &size));
	assert_int_equal(size, len);
	must(disk_read(f, 0, buf, len + 1, &got));
	assert_int_equal(got, len);
	assert_memory_equal(buf, bytes, len);
	free(buf);
}

static inline void
make_file(struct disk *d, const char *name, const char *text)
{
	struct disk_file *f = opened(d, name, DISK_EXCL);

	put(f, 0, text);
	must(disk_sync(f));
	disk_file_close(f);
}

/* "-" if the file is not there. */
static inline void
slurp(struct disk *d, const char *name, char *buf, size_t cap)
{
	struct disk_file *f = NULL;
	enum err e = disk_open(d, name, DISK_READ, &f);
	size_t got = 1;

	if (e == ERR_ABSENT) {
		buf[0] = '-';
	} else {
		must(e);
		must(disk_read(f, 0, buf, cap - 1, &got));
		disk_file_close(f);
	}
	buf[got] = '\0';
}

static inline void
expect_file(struct disk *d, const char *name, const char *text)
{
	char buf[256];

	slurp(d, name, buf, sizeof(buf));
	assert_string_equal(buf, text);
}

#endif
