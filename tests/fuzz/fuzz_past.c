/* Any records, however little sense they make together, make a tree: every
 * entry in it is found from the root, once. */
#include "store/past.h"

#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
must(int ok)
{
	if (!ok)
		abort();
}

static enum err
apply_batch(struct past *p, const uint8_t *bytes, size_t len)
{
	struct ulog_record rec;
	struct ulog_reader r;
	enum err e = ulog_reader_init(&r, bytes, len);

	while (!e && !(e = ulog_reader_next(&r, &rec)))
		must(past_apply(p, &rec, r.info.device_table,
			 r.info.devices) == OK);
	return e;
}

static void
walk_all(const struct past *p)
{
	uint64_t *todo = malloc(sizeof(*todo)), entries = 0, before;
	struct past_stats stats;
	size_t left = 1, room = 1;

	must(todo != NULL);
	past_stats(p, &stats);
	todo[0] = ULOG_ROOT;
	while (left) {
		struct past_walk w;
		struct inode in;
		struct entry e;

		must(past_walk_init(&w, p, todo[--left], 0) == OK);
		for (before = 0; past_walk_next(&w, &e) == OK;) {
			must(e.cookie > before && ++entries <= stats.entries);
			before = e.cookie;
			must(past_inode(p, e.ino, &in) == OK);
			if (!S_ISDIR(in.mode))
				continue;
			must(in.parent == e.dir);
			if (left == room) {
				room *= 2;
				todo = realloc(todo, room * sizeof(*todo));
				must(todo != NULL);
			}
			todo[left++] = e.ino;
		}
	}
	must(entries == stats.entries);
	free(todo);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const struct id own = { { 1 } };

	for (unsigned logs = 1; logs <= 2; logs++) {
		struct past *p;

		must(past_new(&own, logs, 0, &p) == OK);
		if (apply_batch(p, bytes, len) == ERR_ABSENT)
			(void)apply_batch(p, bytes, len); /* once more */
		walk_all(p);
		past_free(p);
	}
	return 0;
}
