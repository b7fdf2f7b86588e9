/* A row that is accepted is the one row for what it says: set anew, attribute
 * by attribute, it comes out the same. */
#include "store/xattr.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct copy {
	const uint8_t *from;
	size_t from_len;
	uint8_t *row;
	size_t len;
};

static enum err
add(void *arg, const char *name, size_t name_len, const uint8_t *value,
    size_t value_len)
{
	struct copy *c = arg;
	const uint8_t *got;
	uint8_t *grown;
	char text[256];
	size_t len;

	memcpy(text, name, name_len);
	text[name_len] = '\0';
	if (xattr_get(c->from, c->from_len, text, &got, &len))
		abort();
	assert(got == value && len == value_len);
	if (xattr_set(
		c->row, c->len, text, value, value_len, 1, 0, &grown, &len))
		abort();
	free(c->row);
	c->row = grown;
	c->len = len;
	return OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct copy c = { bytes, len, NULL, 0 };
	size_t names;
	enum err e;

	e = xattr_list(bytes, len, NULL, 0, &names);
	assert(e == OK || e == ERR_MALFORMED);
	if (e == OK && names < 4096) {
		assert(xattr_each(bytes, len, add, &c) == OK);
		assert(c.len == len);
		assert(len == 0 || memcmp(c.row, bytes, len) == 0);
	}
	free(c.row);
	return 0;
}
