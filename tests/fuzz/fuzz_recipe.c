/* A recipe is any bytes, and its blocks are made of the same bytes: nothing
 * but outcomes may come of it. */
#include "store/content_private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define READ_MAX (256u << 10)

struct input {
	const uint8_t *bytes;
	size_t len;
};

static struct sealer *sealer;

static void
must(bool true_always)
{
	if (!true_always)
		abort();
}

/* The id's first byte says what comes: a block whose text is a tail of the
 * input (so that recipes nest, and name themselves), the input as it is, or
 * nothing.  A block is sealed under the key that the recipe has for it, so
 * every input opens as often as its ids say so. */
static enum err
get(void *arg, const struct id *id, uint8_t **block, size_t *len)
{
	const struct input *in = arg;
	size_t skip = id->b[1] % (in->len + 1), n = in->len - skip;
	const uint8_t *from = in->bytes + skip;
	struct key key;
	struct id made;

	if (id->b[0] & 1)
		return ERR_UNREACHABLE;
	if (n == 0 || n > SEAL_PLAIN_MAX)
		return ERR_ABSENT;
	*block = malloc(n + SEAL_OVERHEAD);
	must(*block != NULL);
	if (id->b[0] & 2) {
		memcpy(*block, from, n);
		*len = n;
		return OK;
	}
	/* the harness' ids are followed by keys of one repeated byte */
	memset(&key, id->b[2], sizeof(key));
	return seal_with_key(sealer, &key, from, n, *block, len, &made);
}

static enum err
look(void *arg, const struct block_ref *ref)
{
	must(ref->plain_len >= 1 && ref->plain_len <= SEAL_PLAIN_MAX);
	return ++*(uint64_t *)arg > 100000 ? ERR_TOO_BIG : OK;
}

static void
try(struct content_reader *r, const struct content *c)
{
	uint64_t size = 0, seen = 0;
	uint8_t *buf = malloc(READ_MAX);
	size_t got;
	enum err e = content_size(c, &size);

	must(buf != NULL);
	must(e == OK || e == ERR_MALFORMED);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t off = i == 0 ? 0 : i == 1 ? size / 2 : size - 1;
		enum err read;

		read = content_read(r, c, off, buf, READ_MAX, &got);
		must(!e || read);
		if (!read)
			must(got <= READ_MAX &&
			     (off >= size || got <= size - off));
	}
	(void)!content_refs(r, c, look, &seen);
	free(buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const struct key secrets[2] = { { { 1 } }, { { 2 } } };
	struct input in = { .bytes = bytes, .len = len };
	struct content_source source = { .arg = &in, .get = get };
	struct content_reader *r;
	struct content c;
	struct wr w;

	if (!sealer)
		must(!crypto_init() && !sealer_new(secrets, &sealer));
	must(!content_reader_new(sealer, &source, len % 2 ? 100000 : 0, &r));
	(void)!content_check(bytes, len);
	c.len = (uint16_t)(len < CONTENT_MAX ? len : CONTENT_MAX);
	if (c.len)
		memcpy(c.bytes, bytes, c.len);
	try(r, &c);
	if (len && len <= SEAL_PLAIN_MAX) {
		/* the whole input as a nested recipe */
		struct block_ref ref = { .plain_len = (uint32_t)len };
		uint64_t size;

		if (!recipe_len(bytes, len, &size)) {
			wr_init(&w, c.bytes, CONTENT_MAX);
			recipe_put_sub(&w, &ref, size);
			c.len = (uint16_t)wr_len(&w);
			try(r, &c);
		}
	}
	content_reader_free(r);
	return 0;
}
