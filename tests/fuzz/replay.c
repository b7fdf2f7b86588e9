/* replay.c - what the ordinary build links a fuzz target with: every file of
 * the corpus as it is, each of its prefixes' lengths a few times, and a bounded
 * number of seeded mutations, so that ctest sees the target work. */
#include "overlay/base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define FILE_MAX (4u << 20)
#define MUTATIONS 300

static void
run(const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);

	if (!exact)
		abort();
	if (len)
		memcpy(exact, bytes, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static void
run_with_mutations(const uint8_t *bytes, size_t len)
{
	struct rng rng;
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	run(bytes, len);
	rng_init(&rng, len);
	for (unsigned i = 0; i < MUTATIONS && len; i++) {
		unsigned edits = 1 + (unsigned)rng_below(&rng, 4);
		size_t cut = i % 4 == 3 ? rng_below(&rng, len) : len;

		memcpy(copy, bytes, len);
		while (edits--)
			copy[rng_below(&rng, len)] = (uint8_t)rng_u64(&rng);
		run(copy, cut);
	}
	free(copy);
}

int
main(int argc, char **argv)
{
	unsigned files = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);

		for (struct dirent *e; dir && (e = readdir(dir));) {
			char path[4096];
			uint8_t *bytes;
			FILE *f;
			size_t len;

			if (e->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i],
			    e->d_name);
			f = fopen(path, "rb");
			bytes = malloc(FILE_MAX);
			if (!f || !bytes)
				abort();
			len = fread(bytes, 1, FILE_MAX, f);
			fclose(f);
			run_with_mutations(bytes, len);
			free(bytes);
			files++;
		}
		if (dir)
			closedir(dir);
	}
	run(NULL, 0);
	printf("replayed %u corpus files\n", files);
	if (files == 0) {
		fprintf(stderr, "no corpus: the test would prove nothing\n");
		return 1;
	}
	return 0;
}
