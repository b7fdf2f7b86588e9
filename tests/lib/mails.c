#include "tests/lib/mails.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
	uint8_t *bytes;
	size_t len, cap;
	const char *eol;
};

static void *
must(void *p)
{
	if (!p) {
		fprintf(stderr, "mails: out of memory\n");
		abort();
	}
	return p;
}

static uint8_t *
grow(struct text *t, size_t n)
{
	if (t->len + n > t->cap) {
		t->cap = 2 * (t->len + n);
		t->bytes = must(realloc(t->bytes, t->cap));
	}
	t->len += n;
	return t->bytes + t->len - n;
}

static void
say(struct text *t, const char *words)
{
	memcpy(grow(t, strlen(words)), words, strlen(words));
}

static void
line(struct text *t, const char *words)
{
	say(t, words);
	say(t, t->eol);
}

void
random_noise(struct rng *rng, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(rng_u64(rng) >> 56);
}

void
random_text(struct rng *rng, uint8_t *out, size_t len)
{
	static const char *const words[] = { "the ", "harbour ", "of ", "and ",
		"letter ", "morning ", "a ", "patch ", "review ", "> ", "was ",
		"\n", "kernel ", "tea ", "--", "yours, " };

	for (size_t i = 0; i < len;) {
		const char *w = words[rng_below(rng, 16)];

		for (; *w && i < len; i++)
			out[i] = (uint8_t)*w++;
	}
}

static void
base64_part(struct text *t, struct rng *rng)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	static const unsigned widths[] = { 76, 76, 76, 60, 64, 72, 4, 75, 998,
		20000 };
	unsigned width = widths[rng_below(rng, 10)], col = 0;
	size_t quads = rng_below(rng, rng_below(rng, 8) ? 4000 : 80000);
	unsigned pad = (unsigned)rng_below(rng, 3);

	for (size_t i = 0; i < quads; i++) {
		uint64_t r = rng_u64(rng);
		uint8_t q[4];

		for (unsigned k = 0; k < 4; k++)
			q[k] = (uint8_t)digits[r >> (6 * k) & 63];
		if (i + 1 == quads && pad) {
			/* most encoders leave the loose bits zero */
			uint64_t loose = rng_below(rng, 10) ? 0 : 1;

			q[3] = '=';
			if (pad == 2)
				q[2] = '=';
			q[pad == 2 ? 1 : 2] =
			    (uint8_t)digits[16 * (r & 3) + loose];
		}
		for (unsigned k = 0; k < 4; k++) {
			if (col == width) {
				say(t, t->eol);
				col = 0;
			}
			*grow(t, 1) = q[k];
			col++;
		}
	}
	if (rng_below(rng, 4))
		say(t, t->eol);
}

static void
part(struct text *t, struct rng *rng, unsigned depth)
{
	unsigned kind = (unsigned)rng_below(rng, depth > 24 ? 3 : 6);
	char boundary[40], header[100];

	if (kind >= 4) {
		unsigned parts = (unsigned)rng_below(rng, depth ? 3 : 5);

		/* few different ones, so that they also meet in error */
		snprintf(boundary, sizeof(boundary), "--b%u%s",
		    (unsigned)rng_below(rng, 12), kind == 5 ? " x" : "");
		snprintf(header, sizeof(header),
		    "Content-Type: multipart/mixed; boundary=\"%s\"",
		    boundary + 2);
		line(t, header);
		line(t, "");
		for (unsigned i = 0; i < parts; i++) {
			line(t, boundary);
			part(t, rng, depth + 1);
			say(t, t->eol);
		}
		if (rng_below(rng, 10)) {
			say(t, boundary);
			line(t, "--");
		}
	} else if (kind == 3) {
		line(t, "Content-Type: message/rfc822");
		line(t, "");
		line(t, "Subject: one within");
		part(t, rng, depth + 1);
	} else if (kind == 2) {
		line(t, "Content-Type: application/octet-stream");
		line(t, rng_below(rng, 2)
			    ? "Content-Transfer-Encoding: base64"
			    : "content-transfer-encoding :\tBASE64");
		line(t, "");
		base64_part(t, rng);
	} else {
		size_t n = rng_below(rng, rng_below(rng, 6) ? 6000 : 200000);

		line(t, "Content-Type: text/plain");
		line(t, "");
		if (kind)
			random_text(rng, grow(t, n), n);
		else
			random_noise(rng, grow(t, n), n);
	}
}

uint8_t *
random_mail(struct rng *rng, size_t *len)
{
	struct text t = { .eol = rng_below(rng, 3) ? "\n" : "\r\n" };
	uint8_t *exact;

	line(&t, "From: someone@example.org");
	line(&t, "Subject: made by chance");
	part(&t, rng, 0);
	if (rng_below(rng, 4) == 0)
		for (unsigned i = 0; i < 5; i++)
			t.bytes[rng_below(rng, t.len)] = (uint8_t)rng_u64(rng);
	if (rng_below(rng, 6) == 0)
		t.len = rng_below(rng, t.len);
	exact = must(malloc(t.len ? t.len : 1));
	memcpy(exact, t.bytes, t.len);
	free(t.bytes);
	*len = t.len;
	return exact;
}

/* ---- files -------------------------------------------------------------- */

static char **paths;
static size_t path_count, path_cap;

static int
note(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)at;
	if (kind != FTW_F)
		return 0;
	if (path_count == path_cap) {
		path_cap = path_cap ? 2 * path_cap : 64;
		paths = must(realloc(paths, path_cap * sizeof(*paths)));
	}
	paths[path_count++] = must(strdup(path));
	return 0;
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint8_t *
read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes;
	long n;

	if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0)
		goto bad;
	rewind(f);
	bytes = must(malloc(n ? (size_t)n : 1));
	if (fread(bytes, 1, (size_t)n, f) != (size_t)n)
		goto bad;
	fclose(f);
	*len = (size_t)n;
	return bytes;
bad:
	fprintf(stderr, "mails: %s can not be read\n", path);
	abort();
}

size_t
each_mail(const char *dir, mail_fn *fn, void *arg)
{
	size_t count, len;
	uint8_t *bytes;

	path_count = 0;
	if (nftw(dir, note, 16, FTW_PHYS)) {
		fprintf(stderr, "mails: %s can not be read\n", dir);
		abort();
	}
	count = path_count;
	qsort(paths, count, sizeof(*paths), by_path);
	for (size_t i = 0; i < count; i++) {
		bytes = read_file(paths[i], &len);
		fn(arg, paths[i], bytes, len);
		free(bytes);
		free(paths[i]);
	}
	free(paths);
	paths = NULL;
	path_count = path_cap = 0;
	return count;
}

size_t
each_corpus_mail(mail_fn *fn, void *arg)
{
	const char *dir = getenv("POST_CORPUS");

	if (!dir) {
		printf("skipped: POST_CORPUS names no directory of mails\n");
		return 0;
	}
	return each_mail(dir, fn, arg);
}
