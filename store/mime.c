#include "store/mime.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* How a mail is cut
 *
 * One pass over the lines, with a stack of the boundaries that are open.  The
 * pass is in one of two places: in a header block, whose Content-Type and
 * Content-Transfer-Encoding decide what its body is, or in a body, which goes
 * on to the next delimiter line of any open multipart.  A delimiter of an
 * outer multipart closes the inner ones that forgot to (RFC 2046, 5.1.2).
 * Nothing is copied: whatever is not a leaf stays between two leaves and is
 * skeleton by that alone, so a mistake about MIME costs some sharing and never
 * a byte.
 *
 * The line end before a delimiter belongs to the delimiter (5.1.1), so that
 * the same attachment is the same leaf wherever it stands in a mail.
 *
 * The rules here decide which blocks a mail becomes, but they are not format:
 * a reader follows the recipe.  Changing them costs coalescing with what is
 * stored already, nothing else. */

#define FIELD_MAX 1024 /* bytes of a field's value that are looked at */
#define BOUNDARY_MAX 200 /* RFC 2046 has 70; some writers know no limit */

struct cut {
	const uint8_t *mail;
	size_t len;
	struct mime_slice *slice;
	size_t count, cap;
	size_t done; /* [0, done) is in slices */

	struct {
		char text[BOUNDARY_MAX];
		size_t len;
	} open[MIME_DEPTH_MAX];
	unsigned depth;
};

struct line {
	size_t start, end, next; /* end: before its CR LF or LF */
};

struct delimiter {
	struct line line;
	unsigned level; /* index in open[] */
	bool close;
};

struct field {
	char text[FIELD_MAX];
	size_t len;
	bool seen;
};

/* ---- lines and delimiters ----------------------------------------------- */

static void
line_at(const struct cut *c, size_t pos, struct line *l)
{
	const uint8_t *nl = memchr(c->mail + pos, '\n', c->len - pos);

	l->start = pos;
	l->end = nl ? (size_t)(nl - c->mail) : c->len;
	l->next = nl ? l->end + 1 : c->len;
	if (nl && l->end > pos && c->mail[l->end - 1] == '\r')
		l->end--;
}

static bool
is_delimiter(const struct cut *c, const struct line *l, struct delimiter *d)
{
	const uint8_t *p = c->mail + l->start;
	size_t n = l->end - l->start;

	if (n < 3 || p[0] != '-' || p[1] != '-')
		return false;
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
		n--;
	for (unsigned i = c->depth; i-- > 0;) {
		size_t b = c->open[i].len;

		if (n < 2 + b || memcmp(p + 2, c->open[i].text, b) != 0)
			continue;
		if (n == 2 + b)
			d->close = false;
		else if (n == 4 + b && p[2 + b] == '-' && p[3 + b] == '-')
			d->close = true;
		else
			continue;
		d->line = *l;
		d->level = i;
		return true;
	}
	return false;
}

/* The first delimiter at or after pos, where a line begins. */
static bool
next_delimiter(const struct cut *c, size_t pos, struct delimiter *d)
{
	struct line l;

	if (c->depth == 0)
		return false;
	for (; pos < c->len; pos = l.next) {
		line_at(c, pos, &l);
		if (is_delimiter(c, &l, d))
			return true;
	}
	return false;
}

/* ---- header fields ------------------------------------------------------ */

static int
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* Does text (of any case) start with word (lower case)? */
static bool
starts(const char *text, size_t len, const char *word)
{
	size_t n = strlen(word);

	if (len < n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (lower((uint8_t)text[i]) != word[i])
			return false;
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* If the line is field `name`, the length of the name with its colon. */
static size_t
field_name(const char *p, size_t len, const char *name)
{
	size_t n = strlen(name);

	if (!starts(p, len, name))
		return 0;
	while (n < len && (p[n] == ' ' || p[n] == '\t'))
		n++;
	return n < len && p[n] == ':' ? n + 1 : 0;
}

static void
field_append(struct field *f, const char *p, size_t len)
{
	if (len > FIELD_MAX - f->len)
		len = FIELD_MAX - f->len;
	memcpy(f->text + f->len, p, len);
	f->len += len;
}

/* Read a header block from pos.  Returns where the body begins; *at_delimiter
 * when a delimiter came first, which is then in *d. */
static size_t
read_headers(const struct cut *c, size_t pos, struct field *type,
    struct field *encoding, struct delimiter *d, bool *at_delimiter)
{
	struct field *in = NULL; /* whose continuation lines we collect */
	struct line l;

	type->len = encoding->len = 0;
	type->seen = encoding->seen = *at_delimiter = false;
	for (; pos < c->len; pos = l.next) {
		const char *p = (const char *)c->mail + pos;
		size_t len, n;

		line_at(c, pos, &l);
		len = l.end - l.start;
		if (len == 0)
			return l.next;
		if (p[0] == '-' && is_delimiter(c, &l, d)) {
			*at_delimiter = true;
			return l.start;
		}
		if (p[0] == ' ' || p[0] == '\t') {
			if (in)
				field_append(in, p, len);
			continue;
		}
		in = NULL;
		if ((p[0] | 32) != 'c')
			continue;
		if ((n = field_name(p, len, "content-type")) && !type->seen)
			in = type;
		else if ((n = field_name(
			      p, len, "content-transfer-encoding")) &&
			 !encoding->seen)
			in = encoding;
		if (in) {
			in->seen = true;
			field_append(in, p + n, len - n);
		}
	}
	return c->len;
}

/* The value of parameter `name` of a Content-Type, unquoted. */
static bool
parameter(const struct field *f, const char *name, char *out, size_t cap,
    size_t *out_len)
{
	const char *p = memchr(f->text, ';', f->len), *end = f->text + f->len;
	size_t want = strlen(name);

	while (p && p < end) {
		size_t n = 0;
		bool hit;

		for (p++; p < end && is_blank(*p); p++)
			;
		hit = starts(p, (size_t)(end - p), name);
		if (hit) {
			p += want;
			while (p < end && is_blank(*p))
				p++;
			hit = p < end && *p == '=';
		}
		while (p < end && *p != '=' && *p != ';')
			p++;
		if (p == end || *p == ';')
			continue;
		for (p++; p < end && is_blank(*p); p++)
			;
		if (p < end && *p == '"') {
			for (p++; p < end && *p != '"'; p++) {
				if (*p == '\\' && p + 1 < end)
					p++;
				if (hit && n == cap)
					return false;
				if (hit)
					out[n++] = *p;
			}
		} else {
			for (; p < end && *p != ';' && !is_blank(*p); p++) {
				if (hit && n == cap)
					return false;
				if (hit)
					out[n++] = *p;
			}
		}
		if (hit) {
			while (n && is_blank(out[n - 1]))
				n--;
			*out_len = n;
			return n > 0;
		}
		p = p < end ? memchr(p, ';', (size_t)(end - p)) : NULL;
	}
	return false;
}

/* The field's value up to a ';', without blanks around, is `word`. */
static bool
value_is(const struct field *f, const char *word)
{
	size_t from = 0, to = f->len, n = strlen(word);
	const char *semi = memchr(f->text, ';', f->len);

	if (semi)
		to = (size_t)(semi - f->text);
	while (from < to && is_blank(f->text[from]))
		from++;
	while (to > from && is_blank(f->text[to - 1]))
		to--;
	return to - from == n && starts(f->text + from, n, word);
}

static bool
is_multipart(const struct field *f)
{
	size_t from = 0;

	while (from < f->len && is_blank(f->text[from]))
		from++;
	return starts(f->text + from, f->len - from, "multipart/");
}

/* ---- base64 ------------------------------------------------------------- */

static const char digits[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define NO 0x40 /* no digit */
/* clang-format off */
static const uint8_t value[256] = {
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,62,NO,NO,NO,63,
	52,53,54,55,56,57,58,59,60,61,NO,NO,NO,NO,NO,NO,
	NO, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,10,11,12,13,14,
	15,16,17,18,19,20,21,22,23,24,25,NO,NO,NO,NO,NO,
	NO,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,
	41,42,43,44,45,46,47,48,49,50,51,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
	NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,NO,
};
/* clang-format on */

#define LINE_MAX_B64 65532u /* the largest multiple of 4 in a uint16_t */

/* Decoded bytes of the four characters at p, which may end in padding; 0 if
 * they are none, or would not be encoded the same way again. */
static unsigned
quad_bytes(const uint8_t *p)
{
	unsigned a = value[p[0]], b = value[p[1]], c = value[p[2]],
		 d = value[p[3]];

	if ((a | b) & NO)
		return 0;
	if (!((c | d) & NO))
		return 3;
	if (p[3] != '=')
		return 0;
	if (p[2] == '=')
		return b & 15 ? 0 : 1;
	return c & NO || c & 3 ? 0 : 2;
}

/* Decoded bytes of a line of n > 0 characters (a multiple of 4), 0 if it is
 * no line of base64. */
static size_t
line_bytes(const uint8_t *p, size_t n)
{
	unsigned quad = quad_bytes(p + n - 4);
	uint8_t all = 0;

	if (!quad)
		return 0;
	for (size_t i = 0; i < n - 4; i++)
		all |= value[p[i]];
	return all & NO ? 0 : n / 4 * 3 - 3 + quad;
}

/* The regular base64 lines that p[0..len) starts with: fills in all of *s but
 * kind and off.  False if there is not even one. */
static bool
base64_lines(const uint8_t *p, size_t len, struct mime_slice *s)
{
	size_t max = len < LINE_MAX_B64 + 2 ? len : LINE_MAX_B64 + 2;
	const uint8_t *nl = memchr(p, '\n', max), *q = p, *end = p + len;
	size_t width = nl ? (size_t)(nl - p) : len;
	bool crlf = nl && width && nl[-1] == '\r';

	width -= crlf;
	if (width == 0 || width % 4 || width > LINE_MAX_B64)
		return false;
	s->line_len = (uint16_t)width;
	s->crlf = crlf;
	s->decoded_len = 0;
	s->last_eol = 0;
	for (bool last = false; !last && q < end;) {
		size_t left = (size_t)(end - q), n = width, got;
		bool eol = true;

		if (left <= width || q[width] != (crlf ? '\r' : '\n') ||
		    (crlf && (left < width + 2 || q[width + 1] != '\n'))) {
			/* not a full line with its end: the last, or none */
			nl = memchr(q, '\n', left < width ? left : width);
			last = true;
			eol = nl != NULL;
			n = eol ? (size_t)(nl - q) : left;
			if (eol && crlf) {
				if (n == 0 || nl[-1] != '\r')
					break;
				n--;
			}
		}
		if (n == 0 || n % 4 || n > width)
			break;
		if (!(got = line_bytes(q, n)))
			break;
		if (got != n / 4 * 3)
			last = true; /* padded */
		s->decoded_len += got;
		s->last_eol = eol;
		q += n + (eol ? 1u + crlf : 0);
	}
	s->len = (size_t)(q - p);
	return s->len > 0;
}

void
mime_decode(const uint8_t *mail, const struct mime_slice *s, uint8_t *out)
{
	const uint8_t *p = mail + s->off;
	size_t left = s->decoded_len, width = s->line_len / 4u * 3;
	size_t eol = 1u + s->crlf;

	while (left) {
		size_t n = left < width ? left : width;

		left -= n;
		for (; n >= 3; n -= 3, p += 4, out += 3) {
			uint32_t v = (uint32_t)value[p[0]] << 18 |
				     (uint32_t)value[p[1]] << 12 |
				     (uint32_t)value[p[2]] << 6 | value[p[3]];

			out[0] = (uint8_t)(v >> 16);
			out[1] = (uint8_t)(v >> 8);
			out[2] = (uint8_t)v;
		}
		if (n) {
			out[0] = (uint8_t)(value[p[0]] << 2 | value[p[1]] >> 4);
			if (n == 2)
				out[1] = (uint8_t)(value[p[1]] << 4 |
						   value[p[2]] >> 2);
			p += 4;
			out += n;
		}
		p += eol;
	}
}

size_t
mime_encoded_len(
    size_t decoded_len, uint16_t line_len, uint8_t crlf, uint8_t last_eol)
{
	size_t chars = (decoded_len + 2) / 3 * 4;
	size_t lines = (chars + line_len - 1) / line_len;

	if (lines == 0)
		return 0;
	return chars + (lines - 1 + last_eol) * (1u + crlf);
}

/* Characters [from, to) of the encoding of bytes[0..len) in one line. */
static uint8_t *
encode_line(
    const uint8_t *bytes, size_t len, size_t from, size_t to, uint8_t *out)
{
	const uint8_t *p = bytes + from / 4 * 3, *end = bytes + len;

	while (from < to) {
		size_t left = (size_t)(end - p);
		uint32_t v = (uint32_t)p[0] << 16;
		uint8_t quad[4];

		if (left > 1)
			v |= (uint32_t)p[1] << 8;
		if (left > 2)
			v |= p[2];
		quad[0] = (uint8_t)digits[v >> 18];
		quad[1] = (uint8_t)digits[v >> 12 & 63];
		quad[2] = left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=';
		quad[3] = left > 2 ? (uint8_t)digits[v & 63] : '=';
		p += left < 3 ? left : 3;
		if (from % 4 == 0 && to - from >= 4) {
			memcpy(out, quad, 4);
			out += 4;
			from += 4;
			continue;
		}
		do
			*out++ = quad[from % 4];
		while (++from < to && from % 4);
	}
	return out;
}

void
mime_encode_range(const uint8_t *decoded, size_t decoded_len, uint16_t line_len,
    uint8_t crlf, uint8_t last_eol, size_t off, size_t len, uint8_t *out)
{
	size_t width = line_len / 4u * 3, eol = 1u + crlf;
	size_t line = off / (line_len + eol), col = off % (line_len + eol);

	assert(line_len && line_len % 4 == 0);
	assert(off + len <=
	       mime_encoded_len(decoded_len, line_len, crlf, last_eol));
	while (len) {
		const uint8_t *p = decoded + line * width;
		size_t left = decoded_len - line * width;
		size_t n = left < width ? left : width;
		size_t chars = (n + 2) / 3 * 4, to;

		if (col < chars) {
			to = chars - col < len ? chars : col + len;
			out = encode_line(p, n, col, to, out);
			len -= to - col;
			col = to;
		}
		while (len && col >= chars && col < chars + eol) {
			*out++ = crlf && col == chars ? '\r' : '\n';
			col++;
			len--;
		}
		line++;
		col = 0;
	}
}

/* ---- slices ------------------------------------------------------------- */

static enum err
add_slice(struct cut *c, const struct mime_slice *s)
{
	if (c->count == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 8;
		struct mime_slice *more =
		    realloc(c->slice, cap * sizeof(*more));

		if (!more)
			return ERR_NOMEM;
		c->slice = more;
		c->cap = cap;
	}
	c->slice[c->count++] = *s;
	c->done = s->off + s->len;
	return OK;
}

/* What is between the last slice and `to` is skeleton. */
static enum err
add_skeleton(struct cut *c, size_t to)
{
	struct mime_slice s = {
		.kind = MIME_SKELETON, .off = c->done, .len = to - c->done
	};

	return s.len ? add_slice(c, &s) : OK;
}

static enum err
add_leaf(struct cut *c, const struct mime_slice *s)
{
	enum err e;

	/* room for the skeletons before it and at the end of the mail; past
	 * the limit everything is skeleton */
	if (s->len < MIME_LEAF_MIN || c->count + 3 > MIME_SLICES_MAX)
		return OK;
	if ((e = add_skeleton(c, s->off)))
		return e;
	return add_slice(c, s);
}

static enum err
add_body(struct cut *c, size_t from, size_t to, bool base64)
{
	struct mime_slice s = { .kind = MIME_BASE64 };
	size_t pos = from;
	enum err e;

	if (base64 && to - from >= MIME_LEAF_MIN) {
		while (
		    pos < to && (c->mail[pos] == '\n' || c->mail[pos] == '\r'))
			pos++;
		s.off = pos;
		if (base64_lines(c->mail + pos, to - pos, &s) &&
		    s.len >= MIME_LEAF_MIN) {
			if ((e = add_leaf(c, &s)))
				return e;
			from = s.off + s.len;
		}
	}
	s = (struct mime_slice){
		.kind = MIME_LEAF, .off = from, .len = to - from
	};
	return add_leaf(c, &s);
}

static enum err
cut_parts(struct cut *c)
{
	struct field type, encoding;
	struct delimiter d;
	bool found;
	size_t pos = 0;
	enum err e;

	while (pos < c->len) {
		bool base64;

		pos = read_headers(c, pos, &type, &encoding, &d, &found);
		if (found)
			goto delimiter;
		base64 = value_is(&encoding, "base64");
		if (!base64 && value_is(&type, "message/rfc822"))
			continue; /* the body is headers again */
		if (is_multipart(&type) && c->depth < MIME_DEPTH_MAX &&
		    parameter(&type, "boundary", c->open[c->depth].text,
			BOUNDARY_MAX, &c->open[c->depth].len)) {
			c->depth++;
			found = next_delimiter(c, pos, &d);
		} else {
			size_t end = c->len;

			found = next_delimiter(c, pos, &d);
			if (found) {
				end = d.line.start;
				if (end > pos && c->mail[end - 1] == '\n')
					end--;
				if (end > pos && c->mail[end] == '\n' &&
				    c->mail[end - 1] == '\r')
					end--;
			}
			if ((e = add_body(c, pos, end, base64)))
				return e;
		}
		if (!found)
			break;
	delimiter:
		/* after a closing one comes an epilogue, which is skeleton */
		while (d.close) {
			c->depth = d.level;
			if (!next_delimiter(c, d.line.next, &d))
				return OK;
		}
		c->depth = d.level + 1;
		pos = d.line.next;
	}
	return OK;
}

enum err
mime_cut(
    const uint8_t *mail, size_t len, struct mime_slice **slices, size_t *count)
{
	struct cut c = { .mail = mail, .len = len };
	enum err e;

	if ((e = cut_parts(&c)) || (e = add_skeleton(&c, len))) {
		free(c.slice);
		return e;
	}
	*slices = c.slice;
	*count = c.count;
	return OK;
}

bool
mime_is_mail(const uint8_t *bytes, size_t len)
{
	size_t n = 0;

	if (len == 0 || memchr(bytes, 0, len < 1024 ? len : 1024))
		return false;
	if (starts((const char *)bytes, len, "from ") && bytes[0] == 'F')
		return true;
	while (n < len && n < 78 && bytes[n] > ' ' && bytes[n] < 127 &&
	       bytes[n] != ':')
		n++;
	if (n == 0)
		return false;
	while (n < len && (bytes[n] == ' ' || bytes[n] == '\t'))
		n++;
	return n < len && bytes[n] == ':';
}
