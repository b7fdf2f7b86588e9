#include "store/chunk.h"
#include "store/content_private.h"

#include <assert.h>
#include <stdlib.h>

/* Writing a content
 *
 * Three parts work together.  A *feed* offers a run of bytes a window at a
 * time: bytes in memory as they are, base64 lines decoded, a file through its
 * reader.  The chunker takes chunks off a feed and seals them.  The *recipe*
 * collects ops in level 0; a level that is full becomes a block, and a SUB in
 * the level above; what is left at the end goes up the same way until it fits
 * the row.  So memory is bounded whatever the file's size.
 *
 * Children are given to the sink before what refers to them: wherever a crash
 * cuts the sequence, no recipe points at nothing. */

/* A window must hold a chunk and the hole that may begin right after it. */
#define WINDOW (CHUNK_MAX + CONTENT_HOLE_MIN)
#define FEED_CAP (WINDOW + (512u << 10)) /* refilled when WINDOW is left */
#define VERIFY_CAP (64u << 10)

/* ---- feeds -------------------------------------------------------------- */

struct feed {
	const uint8_t *at; /* `have` bytes, then `left` more to fetch */
	size_t have;
	uint64_t left;
	uint8_t *buf; /* at points in here, unless all is in memory */
	size_t cap;

	/* base64: the rest of the slice, decoded as wanted */
	const uint8_t *mail;
	struct mime_slice slice;

	/* a file */
	content_read_fn *read;
	void *arg;
	uint64_t off;
};

static void
feed_memory(struct feed *f, const uint8_t *bytes, size_t len)
{
	*f = (struct feed){ .at = bytes, .have = len };
}

static enum err
feed_base64(struct feed *f, const uint8_t *mail, const struct mime_slice *s)
{
	*f = (struct feed){ .left = s->decoded_len, .mail = mail, .slice = *s };
	f->cap = s->decoded_len < FEED_CAP ? s->decoded_len : FEED_CAP;
	f->at = f->buf = malloc(f->cap);
	return f->buf ? OK : ERR_NOMEM;
}

static enum err
feed_file(struct feed *f, content_read_fn *read, void *arg, uint64_t size)
{
	*f = (struct feed){ .left = size, .read = read, .arg = arg };
	f->cap = size < FEED_CAP ? (size_t)size : FEED_CAP;
	f->at = f->buf = malloc(f->cap);
	return f->buf ? OK : ERR_NOMEM;
}

static void
feed_fini(struct feed *f)
{
	free(f->buf);
}

/* Decode all that is left to out, or as many whole lines as `room` holds. */
static size_t
decode_lines(struct feed *f, uint8_t *out, size_t room)
{
	struct mime_slice part = f->slice, *rest = &f->slice;
	size_t width = rest->line_len / 4u * 3;
	size_t lines = room / width;

	if (part.decoded_len > room) {
		part.decoded_len = lines * width;
		rest->decoded_len -= part.decoded_len;
		rest->off += lines * (rest->line_len + 1u + rest->crlf);
	}
	mime_decode(f->mail, &part, out);
	return part.decoded_len;
}

/* Have at least `want` bytes (no more than cap) at f->at, or all there are. */
static enum err
feed_want(struct feed *f, size_t want)
{
	size_t room, n;
	enum err e;

	if (f->have >= want || f->left == 0)
		return OK;
	if (f->have)
		memmove(f->buf, f->at, f->have);
	f->at = f->buf;
	room = f->cap - f->have;
	if (f->read) {
		n = f->left < room ? (size_t)f->left : room;
		if ((e = f->read(f->arg, f->off, f->buf + f->have, n)))
			return e;
		f->off += n;
	} else {
		n = decode_lines(f, f->buf + f->have, room);
	}
	f->have += n;
	f->left -= n;
	return OK;
}

_Static_assert(FEED_CAP - WINDOW > UINT16_MAX,
    "a window that is short leaves room for a line of base64");

static void
feed_skip(struct feed *f, size_t n)
{
	f->at += n;
	f->have -= n;
}

/* ---- the recipe --------------------------------------------------------- */

struct level {
	uint8_t *buf;
	size_t len, cap;
	uint64_t out_len;
};

struct writer {
	struct sealer *sealer;
	const struct content_sink *sink;
	uint8_t *block; /* the sealed block under way */
	size_t block_cap;
	struct level level[CONTENT_DEPTH_MAX];
};

static void
writer_fini(struct writer *w)
{
	for (unsigned i = 0; i < CONTENT_DEPTH_MAX; i++)
		free(w->level[i].buf);
	free(w->block);
}

/* Seal and hand over. */
static enum err
write_block(struct writer *w, enum seal_domain domain, const uint8_t *plain,
    size_t len, struct block_ref *ref)
{
	size_t need = len + SEAL_OVERHEAD, n;
	enum err e;

	if (need > w->block_cap) {
		uint8_t *more = malloc(need);

		if (!more)
			return ERR_NOMEM;
		free(w->block);
		w->block = more;
		w->block_cap = need;
	}
	e = seal_block(w->sealer, domain, plain, len, w->block, &n, ref);
	if (e)
		return e;
	return w->sink->put(w->sink->arg, &ref->id, w->block, n);
}

/* Make room for n more bytes in a level. */
static enum err
level_reserve(struct level *l, size_t n)
{
	size_t cap = l->cap ? l->cap : 256;
	uint8_t *more;

	if (l->len + n <= l->cap)
		return OK;
	while (cap < l->len + n)
		cap *= 2;
	more = realloc(l->buf, cap);
	if (!more)
		return ERR_NOMEM;
	l->buf = more;
	l->cap = cap;
	return OK;
}

static enum err recipe_begin(
    struct writer *w, unsigned i, size_t n, struct wr *op);
static void recipe_end(
    struct writer *w, unsigned i, const struct wr *op, uint64_t out_len);

/* Level i becomes a block, and a SUB in the level above. */
static enum err
level_flush(struct writer *w, unsigned i)
{
	struct level *l = &w->level[i];
	struct block_ref ref;
	struct wr op;
	enum err e;

	if (i + 1 == CONTENT_DEPTH_MAX)
		return ERR_TOO_BIG;
	if ((e = write_block(w, SEAL_USER, l->buf, l->len, &ref)) ||
	    (e = recipe_begin(w, i + 1, OP_FIXED_MAX, &op)))
		return e;
	recipe_put_sub(&op, &ref, l->out_len);
	recipe_end(w, i + 1, &op, l->out_len);
	l->len = 0;
	l->out_len = 0;
	return OK;
}

/* Begin an op of at most n bytes (n <= SEAL_PLAIN_MAX) in level i. */
static enum err
recipe_begin(struct writer *w, unsigned i, size_t n, struct wr *op)
{
	struct level *l = &w->level[i];
	enum err e;

	if (l->len && l->len + n > CONTENT_NODE_MAX && (e = level_flush(w, i)))
		return e;
	if ((e = level_reserve(l, n)))
		return e;
	wr_init(op, l->buf + l->len, n);
	return OK;
}

static void
recipe_end(struct writer *w, unsigned i, const struct wr *op, uint64_t out_len)
{
	assert(!op->bad);
	w->level[i].len += wr_len(op);
	w->level[i].out_len += out_len;
}

static enum err
recipe_finish(struct writer *w, struct content *out)
{
	for (unsigned i = 0;; i++) {
		struct level *l = &w->level[i];
		bool top = i + 1 == CONTENT_DEPTH_MAX || !w->level[i + 1].len;
		enum err e;

		if (top && l->len <= CONTENT_MAX) {
			out->len = (uint16_t)l->len;
			memcpy(out->bytes, l->buf, l->len);
			return OK;
		}
		if ((e = level_flush(w, i)))
			return e;
	}
}

static enum err
add_literal(struct writer *w, const uint8_t *bytes, size_t len)
{
	struct wr op;
	enum err e;

	if ((e = recipe_begin(w, 0, 1 + VARINT_MAX + len, &op)))
		return e;
	recipe_put_lit(&op, len);
	wr_bytes(&op, bytes, len);
	recipe_end(w, 0, &op, len);
	return OK;
}

static enum err
add_zeros(struct writer *w, uint64_t len)
{
	struct wr op;
	enum err e;

	if ((e = recipe_begin(w, 0, 1 + VARINT_MAX, &op)))
		return e;
	recipe_put_zero(&op, len);
	recipe_end(w, 0, &op, len);
	return OK;
}

static enum err
add_block(
    struct writer *w, enum seal_domain domain, const uint8_t *plain, size_t len)
{
	struct block_ref ref;
	struct wr op;
	enum err e;

	if ((e = write_block(w, domain, plain, len, &ref)) ||
	    (e = recipe_begin(w, 0, 1 + REF_MAX, &op)))
		return e;
	recipe_put_blk(&op, &ref);
	recipe_end(w, 0, &op, len);
	return OK;
}

/* ---- chunks ------------------------------------------------------------- */

/* Zeros that bytes[0..len) starts with. */
static size_t
zeros_at(const uint8_t *bytes, size_t len)
{
	size_t n = 0;
	uint64_t word;

	for (; len - n >= 8; n += 8) {
		memcpy(&word, bytes + n, 8);
		if (word)
			break;
	}
	while (n < len && bytes[n] == 0)
		n++;
	return n;
}

/* Where the first run of CONTENT_HOLE_MIN zeros begins; len if there is none.
 * Such a run covers one of the places half a hole apart, which are all that
 * is looked at. */
static size_t
find_hole(const uint8_t *bytes, size_t len)
{
	const size_t half = CONTENT_HOLE_MIN / 2;

	for (size_t at = 0; at + half <= len; at += half) {
		size_t from = at;

		if (bytes[at] || zeros_at(bytes + at, half) < half)
			continue;
		while (from && bytes[from - 1] == 0)
			from--;
		if (zeros_at(bytes + from, len - from) >= CONTENT_HOLE_MIN)
			return from;
	}
	return len;
}

/* The next chunk's length, of a run of which `have` bytes are seen; `all`: the
 * run ends there; `whole`: nothing of the run was taken off yet. */
static size_t
next_chunk(const uint8_t *at, size_t have, bool all, bool whole)
{
	if (whole && all && have <= CHUNK_WHOLE_MAX)
		return have;
	return chunk_cut(at, have);
}

/* A file that is no mail: chunks and holes. */
static enum err
write_plain(struct writer *w, struct feed *f)
{
	bool whole = true; /* at the start of the data after a hole */
	uint64_t hole = 0;
	enum err e;

	for (;;) {
		size_t n, see;

		if ((e = feed_want(f, WINDOW)))
			return e;
		if (f->have && (hole || whole)) {
			n = zeros_at(f->at, f->have);
			if (hole || n >= CONTENT_HOLE_MIN) {
				hole += n;
				feed_skip(f, n);
				if (n && f->have < WINDOW && f->left)
					continue; /* see a whole window */
			}
		}
		if (hole && (e = add_zeros(w, hole)))
			return e;
		if (f->have == 0)
			return OK;
		whole |= hole > 0;
		hole = 0;
		see = f->have < WINDOW ? f->have : WINDOW;
		n = find_hole(f->at, see);
		if (n == 0) {
			whole = true;
			continue;
		}
		/* a window of WINDOW bytes has the end of no short run */
		n = next_chunk(f->at, n, n < WINDOW, whole);
		if ((e = add_block(w,
			 n >= CONTENT_ORG_MIN ? SEAL_ORG : SEAL_USER, f->at,
			 n)))
			return e;
		feed_skip(f, n);
		whole = false;
	}
}

/* A part, or a long text between parts, in one domain. */
static enum err
write_run(
    struct writer *w, enum seal_domain domain, const uint8_t *bytes, size_t len)
{
	bool whole = true;
	enum err e;

	while (len) {
		size_t n = next_chunk(bytes, len, true, whole);

		if ((e = add_block(w, domain, bytes, n)))
			return e;
		bytes += n;
		len -= n;
		whole = false;
	}
	return OK;
}

/* ---- mails -------------------------------------------------------------- */

/* Are the refs of this part sure to fit one op, and the op a block?  A part
 * of more than 100 MB is kept as it was transmitted. */
static bool
decoding_fits(const struct mime_slice *s)
{
	return s->decoded_len / CHUNK_MIN < (SEAL_PLAIN_MAX - 64) / REF_MAX;
}

static enum err
write_base64(struct writer *w, const uint8_t *mail, const struct mime_slice *s)
{
	struct block_ref *refs = NULL;
	size_t count = 0, cap = 0, n;
	struct feed f;
	struct wr op;
	enum err e;

	if ((e = feed_base64(&f, mail, s)))
		return e;
	while (!(e = feed_want(&f, WINDOW)) && f.have) {
		if (count == cap) {
			struct block_ref *more;

			cap = cap ? 2 * cap : 4;
			more = realloc(refs, cap * sizeof(*refs));
			if (!more) {
				e = ERR_NOMEM;
				goto out;
			}
			refs = more;
		}
		n = next_chunk(f.at, f.have, !f.left, count == 0);
		if ((e = write_block(w, SEAL_ORG, f.at, n, &refs[count])))
			goto out;
		count++;
		feed_skip(&f, n);
	}
	if (e || (e = recipe_begin(w, 0, 64 + count * REF_MAX, &op)))
		goto out;
	recipe_put_b64(&op, count);
	for (size_t i = 0; i < count; i++)
		ref_put(&op, &refs[i]);
	recipe_put_b64_end(&op, s->line_len, s->crlf, s->last_eol);
	recipe_end(w, 0, &op, s->len);
out:
	free(refs);
	feed_fini(&f);
	return e;
}

/* Does decoding these lines and encoding them again give them back? */
static enum err
base64_returns(const uint8_t *mail, const struct mime_slice *s, bool *same)
{
	size_t line = s->line_len + 1u + s->crlf, width = s->line_len / 4u * 3;
	size_t lines = 1 + VERIFY_CAP / line;
	const uint8_t *original = mail + s->off;
	size_t left = s->len;
	uint8_t *bytes, *text;
	struct feed f;
	enum err e;

	*same = false;
	if (s->line_len == 0 || s->line_len % 4 || s->decoded_len == 0 ||
	    mime_encoded_len(
		s->decoded_len, s->line_len, s->crlf, s->last_eol) != s->len)
		return OK;
	f = (struct feed){ .left = s->decoded_len, .mail = mail, .slice = *s };
	bytes = malloc(lines * width);
	text = malloc(lines * line);
	if (!bytes || !text) {
		e = ERR_NOMEM;
		goto out;
	}
	e = OK;
	*same = true;
	while (*same && f.left) {
		size_t n = decode_lines(&f, bytes, lines * width), len;

		f.left -= n;
		len = mime_encoded_len(
		    n, s->line_len, s->crlf, f.left ? 1 : s->last_eol);
		mime_encode_range(bytes, n, s->line_len, s->crlf,
		    f.left ? 1 : s->last_eol, 0, len, text);
		*same = len <= left && memcmp(text, original, len) == 0;
		if (!*same)
			break;
		original += len;
		left -= len;
	}
	*same = *same && left == 0;
out:
	free(bytes);
	free(text);
	return e;
}

/* Do the slices cover the mail exactly, and does each make its own bytes? */
static enum err
cut_returns(const uint8_t *mail, size_t len, const struct mime_slice *slice,
    size_t count, bool *same)
{
	size_t pos = 0;
	enum err e;

	*same = false;
	for (size_t i = 0; i < count; i++) {
		const struct mime_slice *s = &slice[i];

		if (s->off != pos || s->len == 0 || s->len > len - pos)
			return OK;
		if (s->kind == MIME_BASE64 && decoding_fits(s)) {
			if ((e = base64_returns(mail, s, same)) || !*same)
				return e;
			*same = false;
		}
		pos += s->len;
	}
	*same = pos == len;
	return OK;
}

static enum err
write_slices(struct writer *w, const uint8_t *mail,
    const struct mime_slice *slice, size_t count)
{
	enum err e = OK;

	for (size_t i = 0; i < count && !e; i++) {
		const struct mime_slice *s = &slice[i];
		const uint8_t *at = mail + s->off;

		if (s->kind == MIME_BASE64 && decoding_fits(s))
			e = write_base64(w, mail, s);
		else if (s->kind != MIME_SKELETON)
			e = write_run(w, SEAL_ORG, at, s->len);
		else if (s->len > CONTENT_LIT_MAX || count == 1)
			e = write_run(w, SEAL_USER, at, s->len);
		else
			e = add_literal(w, at, s->len);
	}
	return e;
}

/* ---- the calls ---------------------------------------------------------- */

static enum err
store_plain(struct sealer *s, const struct content_sink *sink, struct feed *f,
    struct content *out)
{
	struct writer w = { .sealer = s, .sink = sink };
	enum err e;

	if (!(e = write_plain(&w, f)))
		e = recipe_finish(&w, out);
	writer_fini(&w);
	return e;
}

/* A file so short that its bytes stand in the row. */
static void
store_inline(const uint8_t *bytes, size_t len, struct content *out)
{
	struct wr op;

	out->len = 0;
	if (len == 0)
		return;
	wr_init(&op, out->bytes, CONTENT_MAX);
	recipe_put_lit(&op, len);
	wr_bytes(&op, bytes, len);
	assert(!op.bad);
	out->len = (uint16_t)wr_len(&op);
}

enum err
content_store_cut(struct sealer *s, const struct content_sink *sink,
    const uint8_t *bytes, size_t len, const struct mime_slice *slice,
    size_t count, struct content *out)
{
	struct writer w = { .sealer = s, .sink = sink };
	struct feed f;
	bool same;
	enum err e;

	if ((e = cut_returns(bytes, len, slice, count, &same)))
		return e;
	if (!same) {
		feed_memory(&f, bytes, len);
		return store_plain(s, sink, &f, out);
	}
	if (!(e = write_slices(&w, bytes, slice, count)))
		e = recipe_finish(&w, out);
	writer_fini(&w);
	return e;
}

enum err
content_store(struct sealer *s, const struct content_sink *sink,
    const uint8_t *bytes, size_t len, bool mail, struct content *out)
{
	struct mime_slice *slice;
	struct feed f;
	size_t count;
	enum err e;

	if (len <= CONTENT_INLINE_MAX) {
		store_inline(bytes, len, out);
		return OK;
	}
	if (!mail) {
		feed_memory(&f, bytes, len);
		return store_plain(s, sink, &f, out);
	}
	if ((e = mime_cut(bytes, len, &slice, &count)))
		return e;
	e = content_store_cut(s, sink, bytes, len, slice, count, out);
	free(slice);
	return e;
}

enum err
content_store_stream(struct sealer *s, const struct content_sink *sink,
    uint64_t size, content_read_fn *read, void *arg, struct content *out)
{
	uint8_t few[CONTENT_INLINE_MAX];
	struct feed f;
	enum err e;

	if (size > CONTENT_SIZE_MAX)
		return ERR_TOO_BIG;
	if (size <= CONTENT_INLINE_MAX) {
		if (size && (e = read(arg, 0, few, (size_t)size)))
			return e;
		store_inline(few, (size_t)size, out);
		return OK;
	}
	if ((e = feed_file(&f, read, arg, size)))
		return e;
	e = store_plain(s, sink, &f, out);
	feed_fini(&f);
	return e;
}
