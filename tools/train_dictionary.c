/* train_dictionary.c - make the dictionary of block codec 1 from real mail.
 *
 *   train_dictionary OUT DIR...
 *
 * The samples are what a mail is sealed as: the text around its parts, and
 * each part that is short enough for the dictionary, decoded.  Files are
 * taken in the order of their paths, so the same mails give the same bytes.
 *
 * The result is format (store/dictionary.h): run this for a new version of
 * it, never over the file of an old one. */
#include "store/content_private.h"
#include "store/dictionary.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>

/* Longer ones never meet the dictionary. */
#define SAMPLE_MAX SEAL_DICT_MAX

static struct {
	char **path;
	size_t paths, paths_cap;
	uint8_t *bytes; /* samples, one after another */
	size_t len, cap;
	size_t *size; /* of each sample */
	size_t count, count_cap;
} set;

static _Noreturn void
fail(const char *what, const char *why)
{
	fprintf(stderr, "train_dictionary: %s: %s\n", what, why);
	exit(1);
}

static void *
grown(void *p, size_t *cap, size_t need, size_t each)
{
	if (need > *cap) {
		*cap = need > 2 * *cap ? need : 2 * *cap;
		p = realloc(p, *cap * each);
		if (!p)
			fail("samples", "out of memory");
	}
	return p;
}

static int
note_file(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)at;
	if (kind != FTW_F)
		return 0;
	set.path =
	    grown(set.path, &set.paths_cap, set.paths + 1, sizeof(*set.path));
	set.path[set.paths] = strdup(path);
	if (!set.path[set.paths++])
		fail(path, "out of memory");
	return 0;
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint8_t *
room(size_t len)
{
	set.bytes = grown(set.bytes, &set.cap, set.len + len, 1);
	return set.bytes + set.len;
}

static void
add_sample(size_t len)
{
	set.size =
	    grown(set.size, &set.count_cap, set.count + 1, sizeof(*set.size));
	set.size[set.count++] = len;
	set.len += len;
}

static void
add_mail(const uint8_t *mail, size_t len)
{
	struct mime_slice *slice;
	size_t count, text = 0;

	if (mime_cut(mail, len, &slice, &count))
		fail("mail", "out of memory");
	for (size_t i = 0; i < count; i++) {
		const struct mime_slice *s = &slice[i];

		if (s->kind == MIME_BASE64 && s->decoded_len <= SAMPLE_MAX) {
			mime_decode(mail, s, room(s->decoded_len));
			add_sample(s->decoded_len);
		} else if (s->kind == MIME_LEAF && s->len <= SAMPLE_MAX) {
			memcpy(room(s->len), mail + s->off, s->len);
			add_sample(s->len);
		}
	}
	for (size_t i = 0; i < count; i++) {
		const struct mime_slice *s = &slice[i];

		if (s->kind != MIME_SKELETON || s->len > SAMPLE_MAX - text)
			continue;
		memcpy(room(text + s->len) + text, mail + s->off, s->len);
		text += s->len;
	}
	if (text)
		add_sample(text);
	free(slice);
}

static void
add_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes;
	long len;

	if (!f || fseek(f, 0, SEEK_END) || (len = ftell(f)) < 0)
		fail(path, "can not be read");
	rewind(f);
	bytes = malloc((size_t)len + 1);
	if (!bytes || fread(bytes, 1, (size_t)len, f) != (size_t)len)
		fail(path, "can not be read");
	fclose(f);
	if (mime_is_mail(bytes, (size_t)len))
		add_mail(bytes, (size_t)len);
	free(bytes);
}

int
main(int argc, char **argv)
{
	ZDICT_fastCover_params_t params = { .d = 8,
		.steps = 8,
		.nbThreads = 1,
		.splitPoint = 1.0,
		.zParams = { .compressionLevel = 3 } };
	uint8_t *dictionary = malloc(DICTIONARY_MAX);
	size_t len;
	FILE *out;

	if (argc < 3) {
		fprintf(stderr, "usage: train_dictionary OUT DIR...\n");
		return 2;
	}
	if (!dictionary)
		fail("dictionary", "out of memory");
	for (int i = 2; i < argc; i++)
		if (nftw(argv[i], note_file, 16, FTW_PHYS))
			fail(argv[i], "can not be read");
	if (set.paths)
		qsort(set.path, set.paths, sizeof(*set.path), by_path);
	for (size_t i = 0; i < set.paths; i++)
		add_file(set.path[i]);
	len = ZDICT_optimizeTrainFromBuffer_fastCover(dictionary,
	    DICTIONARY_MAX, set.bytes, set.size, (unsigned)set.count, &params);
	if (ZDICT_isError(len))
		fail("training", ZDICT_getErrorName(len));
	out = fopen(argv[1], "wb");
	if (!out || fwrite(dictionary, 1, len, out) != len || fclose(out))
		fail(argv[1], "can not be written");
	printf("%zu files, %zu samples of %zu bytes: %zu bytes (k %u, d %u)\n",
	    set.paths, set.count, set.len, len, params.k, params.d);
	return 0;
}
