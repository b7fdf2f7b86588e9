/* Rows of extended attributes; the format is in xattr.h.  A row without
 * attributes is no bytes.  A name holds no NUL, since callers speak of it as a
 * string.  Every call reads the row to its end, so that damage anywhere is
 * seen by whoever comes first. */
#include "store/xattr.h"

#include "overlay/base/wire.h"

#include <assert.h>
#include <stdlib.h>

struct attr {
	const uint8_t *name, *value;
	size_t name_len, value_len;
};

static int
name_cmp(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

/* The next attribute, after `last` (no name: it is the first). */
static enum err
attr_read(struct rd *r, const struct attr *last, struct attr *out)
{
	struct attr a;
	uint64_t len;

	a.name_len = (size_t)rd_be(r, 1);
	a.name = rd_take(r, a.name_len);
	len = rd_varint(r);
	if (len > XATTR_ROW_MAX)
		return ERR_MALFORMED;
	a.value_len = (size_t)len;
	a.value = rd_take(r, a.value_len);
	if (r->bad || a.name_len == 0 || memchr(a.name, '\0', a.name_len))
		return ERR_MALFORMED;
	if (last->name &&
	    name_cmp(last->name, last->name_len, a.name, a.name_len) >= 0)
		return ERR_MALFORMED;
	*out = a;
	return OK;
}

static void
attr_write(struct wr *w, const struct attr *a)
{
	wr_be(w, a->name_len, 1);
	wr_bytes(w, a->name, a->name_len);
	wr_varint(w, a->value_len);
	wr_bytes(w, a->value, a->value_len);
}

static size_t
attr_size(const struct attr *a)
{
	size_t n = 1 + a->name_len + 1 + a->value_len;

	for (size_t v = a->value_len; v >= 0x80; v >>= 7)
		n++;
	return n;
}

static enum err
row_start(const uint8_t *row, size_t row_len, struct rd *r)
{
	static const uint8_t nothing;

	if (row_len > XATTR_ROW_MAX)
		return ERR_MALFORMED;
	rd_init(r, row_len ? row : &nothing, row_len);
	return OK;
}

enum err
xattr_each(const uint8_t *row, size_t row_len, xattr_fn *fn, void *arg)
{
	struct attr a = { 0 };
	struct rd r;
	enum err e = row_start(row, row_len, &r);

	while (!e && rd_left(&r))
		if (!(e = attr_read(&r, &a, &a)))
			e = fn(arg, (const char *)a.name, a.name_len, a.value,
			    a.value_len);
	return e;
}

enum err
xattr_get(const uint8_t *row, size_t row_len, const char *name,
    const uint8_t **value, size_t *value_len)
{
	struct attr a = { 0 }, found = { 0 };
	size_t name_len = strlen(name);
	struct rd r;
	enum err e = row_start(row, row_len, &r);

	while (!e && rd_left(&r)) {
		e = attr_read(&r, &a, &a);
		if (!e && a.name_len == name_len &&
		    memcmp(a.name, name, name_len) == 0)
			found = a;
	}
	if (e)
		return e;
	if (!found.name)
		return ERR_NOATTR;
	*value = found.value;
	*value_len = found.value_len;
	return OK;
}

/* How many bytes the row has without `name`, and whether it has it. */
static enum err
measure(const uint8_t *row, size_t row_len, const struct attr *name,
    size_t *rest, bool *has)
{
	struct attr a = { 0 };
	struct rd r;
	enum err e = row_start(row, row_len, &r);

	*has = false;
	*rest = row_len;
	while (!e && rd_left(&r)) {
		e = attr_read(&r, &a, &a);
		if (!e && name_cmp(a.name, a.name_len, name->name,
			      name->name_len) == 0) {
			*has = true;
			*rest -= attr_size(&a);
		}
	}
	return e;
}

enum err
xattr_set(const uint8_t *row, size_t row_len, const char *name,
    const void *value, size_t value_len, int create, int replace, uint8_t **out,
    size_t *out_len)
{
	struct attr a = { 0 }, set = { (const uint8_t *)name, value,
		strlen(name), value_len };
	bool has, placed = value == NULL;
	uint8_t *bytes;
	struct rd r;
	struct wr w;
	enum err e;
	size_t len;

	if (set.name_len == 0 || set.name_len > UINT8_MAX)
		return ERR_RANGE;
	if ((e = measure(row, row_len, &set, &len, &has)))
		return e;
	if (has ? create && value : replace || !value)
		return has ? ERR_EXISTS : ERR_NOATTR;
	if (value && (value_len > XATTR_ROW_MAX ||
			 len + attr_size(&set) > XATTR_ROW_MAX))
		return ERR_NOSPACE;
	if (value)
		len += attr_size(&set);
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return ERR_NOMEM;
	wr_init(&w, bytes, len);
	e = row_start(row, row_len, &r);
	while (!e && rd_left(&r)) {
		int c;

		if ((e = attr_read(&r, &a, &a)))
			break;
		c = name_cmp(a.name, a.name_len, set.name, set.name_len);
		if (c >= 0 && !placed) {
			attr_write(&w, &set);
			placed = true;
		}
		if (c != 0)
			attr_write(&w, &a);
	}
	if (!placed)
		attr_write(&w, &set);
	assert(!e && !w.bad && wr_len(&w) == len); /* as measured */
	*out = bytes;
	*out_len = len;
	return OK;
}

enum err
xattr_list(
    const uint8_t *row, size_t row_len, char *buf, size_t cap, size_t *len)
{
	struct attr a = { 0 };
	struct rd r;
	size_t need = 0;
	enum err e = row_start(row, row_len, &r);

	while (!e && rd_left(&r))
		if (!(e = attr_read(&r, &a, &a)))
			need += a.name_len + 1;
	if (e)
		return e;
	if (buf && need > cap)
		return ERR_RANGE;
	*len = need;
	if (!buf)
		return OK;
	/* Read once already: it is a row. */
	rd_init(&r, r.end - row_len, row_len);
	a.name = NULL;
	while (rd_left(&r) && attr_read(&r, &a, &a) == OK) {
		memcpy(buf, a.name, a.name_len);
		buf += a.name_len;
		*buf++ = '\0';
	}
	return OK;
}
