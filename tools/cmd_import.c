/* post import: mail of other programs, taken in once and for all.
 *
 * Every message has a mark, made of user, folder, bytes and how many of the
 * same bytes came before it in that folder of that source.  A mark is added to
 * the home's ledger no earlier than its message is safe, so an import that was
 * interrupted, or is run again, goes on where it stopped.  Through a mount the
 * two can not become safe at one instant, and a rebuilt index has no ledger; so
 * a message's name holds its mark too, and a folder's names are looked at
 * before its first message is put. */
#include "overlay/base/map.h"
#include "overlay/base/wire.h"
#include "tools/post_place.h"
#include "tools/post_progress.h"
#include "tools/post_source.h"

#include <stdlib.h>
#include <string.h>

#define SEEN_CHUNK 4096
#define NAME_TAG ".R" /* before the mark in a name: "random" (Maildir) */

struct seen { /* how often bytes came by, in one folder of one source */
	uint8_t key[MARK_BYTES];
	uint32_t times;
};

struct seen_chunk {
	struct seen_chunk *next;
	size_t used;
	struct seen item[SEEN_CHUNK];
};

struct target { /* a folder that something went into */
	struct target *next;
	struct folder *folder;
	struct keywords keywords;
	struct map here; /* marks in its names; struct seen */
};

struct import {
	struct place *place;
	char below[FOLDER_NAME_MAX + 1]; /* --folder */
	struct progress progress;
	struct target *targets;
	struct map seen;
	struct seen_chunk *chunks, *here_chunks;
	uint8_t (*marks)[MARK_BYTES]; /* waiting until messages are safe */
	size_t marks_n, marks_cap;
	uint64_t batch_bytes, unsafe_bytes;
	size_t batch_messages, unsafe_messages;
	uint64_t imported, imported_bytes, there, keywords_lost;
	bool stopped;
};

/* ---- sets of marks ------------------------------------------------------ */

static bool
seen_match(const void *item, const void *key)
{
	return memcmp(((const struct seen *)item)->key, key, MARK_BYTES) == 0;
}

static uint64_t
seen_hash(const uint8_t key[MARK_BYTES])
{
	return hash64(key, MARK_BYTES, 0);
}

/* The entry of a key, made if need be; NULL: out of memory. */
static struct seen *
seen_get(struct map *m, struct seen_chunk **chunks, const uint8_t *key)
{
	uint64_t hash = seen_hash(key);
	struct seen *item = map_find(m, hash, seen_match, key);
	struct seen_chunk *c = *chunks;

	if (item)
		return item;
	if (!c || c->used == SEEN_CHUNK) {
		if (!(c = malloc(sizeof(*c))))
			return NULL;
		c->used = 0;
		c->next = *chunks;
		*chunks = c;
	}
	item = &c->item[c->used];
	memcpy(item->key, key, MARK_BYTES);
	item->times = 0;
	if (map_add(m, hash, item))
		return NULL;
	c->used++;
	return item;
}

static void
chunks_free(struct seen_chunk **chunks)
{
	while (*chunks) {
		struct seen_chunk *next = (*chunks)->next;

		free(*chunks);
		*chunks = next;
	}
}

static int
no_memory(void)
{
	return fail(STATUS_AGAIN,
	    "import: out of memory: free some, then run "
	    "the same command again: what is done is not done twice");
}

/* The first bytes of a hash over user, folder, the message's own hash and how
 * many came before: a mark, or (times 0) a key of im->seen. */
static void
make_mark(const struct import *im, const char *folder, const struct id *id,
    uint64_t times, uint8_t mark[MARK_BYTES])
{
	uint8_t buf[ADDRESS_MAX + FOLDER_NAME_MAX + ID_BYTES + 16];
	struct id hash;
	struct wr w;

	wr_init(&w, buf, sizeof(buf));
	wr_bytes(&w, place_user(im->place), strlen(place_user(im->place)) + 1);
	wr_bytes(&w, folder, strlen(folder) + 1);
	wr_bytes(&w, id->b, ID_BYTES);
	wr_be(&w, times, 8);
	hash_bytes(buf, wr_len(&w), &hash);
	memcpy(mark, hash.b, MARK_BYTES);
}

/* ---- targets ------------------------------------------------------------ */

static bool
mark_of_name(const char *name, uint8_t mark[MARK_BYTES])
{
	const char *p = strstr(name, NAME_TAG);
	char whole[ID_HEX + 1];
	struct id id;

	if (!p || strlen(p) < sizeof(NAME_TAG) - 1 + 2 * MARK_BYTES)
		return false;
	p += sizeof(NAME_TAG) - 1;
	snprintf(whole, sizeof(whole), "%.32s%.32s", p, p);
	if (!id_from_hex(whole, &id))
		return false;
	memcpy(mark, id.b, MARK_BYTES);
	return true;
}

struct here_arg {
	struct import *im;
	struct target *t;
};

static int
note_name(void *arg, enum folder_sub sub, const char *name)
{
	const struct here_arg *a = arg;
	uint8_t mark[MARK_BYTES];

	(void)sub;
	if (mark_of_name(name, mark) &&
	    !seen_get(&a->t->here, &a->im->here_chunks, mark))
		return no_memory();
	return STATUS_DONE;
}

static int
target_open(struct import *im, const char *name, struct target **out)
{
	struct target *t = im->targets;
	char text[KEYWORDS_TEXT_MAX];
	struct here_arg a;
	size_t len;
	int status;

	while (t && strcmp(folder_name(t->folder), name) != 0)
		t = t->next;
	*out = t;
	if (t)
		return STATUS_DONE;
	if (!(t = calloc(1, sizeof(*t))))
		return no_memory();
	if ((status = folder_open(im->place, name, true, &t->folder))) {
		free(t);
		return status;
	}
	t->next = im->targets;
	im->targets = t; /* freed with the others from here on */
	if ((status = folder_load(
		 t->folder, KEYWORDS_FILE, text, sizeof(text), &len)))
		return status;
	keywords_read(&t->keywords, text, len);
	a = (struct here_arg){ im, t };
	if ((status = folder_each(t->folder, FOLDER_CUR, note_name, &a)) ||
	    (status = folder_each(t->folder, FOLDER_NEW, note_name, &a)))
		return status;
	*out = t;
	return STATUS_DONE;
}

/* The message's keywords as letters of this folder, which must mean them
 * before a name uses them. */
static int
letters_for(struct import *im, struct target *t, const struct source_message *m,
    char letters[KEYWORDS_MAX + 1])
{
	char text[KEYWORDS_TEXT_MAX];
	bool used[KEYWORDS_MAX] = { false };
	size_t n = 0;

	for (unsigned i = 0; i < m->keywords; i++) {
		char c = keywords_letter(
		    &t->keywords, m->keyword[i], m->keyword_len[i]);

		if (c)
			used[c - 'a'] = true;
		else
			im->keywords_lost++;
	}
	for (unsigned i = 0; i < KEYWORDS_MAX; i++)
		if (used[i])
			letters[n++] = (char)('a' + i);
	letters[n] = '\0';
	if (!t->keywords.changed)
		return STATUS_DONE;
	t->keywords.changed = false;
	return folder_save(t->folder, KEYWORDS_FILE, text,
	    keywords_write(&t->keywords, text, sizeof(text)));
}

/* ---- messages ----------------------------------------------------------- */

static int
add_mark(struct import *im, const uint8_t mark[MARK_BYTES])
{
	if (im->marks_n == im->marks_cap) {
		size_t cap = im->marks_cap ? 2 * im->marks_cap : 1024;
		uint8_t(*marks)[MARK_BYTES] =
		    realloc(im->marks, cap * sizeof(*marks));

		if (!marks)
			return no_memory();
		im->marks = marks;
		im->marks_cap = cap;
	}
	memcpy(im->marks[im->marks_n++], mark, MARK_BYTES);
	return STATUS_DONE;
}

/* Make safe what was put, and remember that it was. */
static int
settle(struct import *im)
{
	bool at_once = place_marks_at_once(im->place);
	int status = STATUS_DONE;

	if (at_once)
		status = place_marks_add(im->place,
		    (const uint8_t(*)[MARK_BYTES])im->marks, im->marks_n);
	if (status == STATUS_DONE && (im->unsafe_messages || im->marks_n))
		status = place_settle(im->place);
	if (status == STATUS_DONE && !at_once)
		status = place_marks_add(im->place,
		    (const uint8_t(*)[MARK_BYTES])im->marks, im->marks_n);
	if (status == STATUS_DONE) {
		im->marks_n = 0;
		im->unsafe_bytes = 0;
		im->unsafe_messages = 0;
	}
	return status;
}

static int
put(struct import *im, struct target *t, const struct source_message *m,
    const uint8_t mark[MARK_BYTES])
{
	char name[256], letters[KEYWORDS_MAX + 1], hex[2 * MARK_BYTES + 1];
	int64_t seconds = m->mtime_ns > 0 ? m->mtime_ns / 1000000000 : 0;
	int status = letters_for(im, t, m, letters);
	size_t len;

	if (status)
		return status;
	for (size_t i = 0; i < MARK_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", mark[i]);
	snprintf(name, sizeof(name), "%lld" NAME_TAG "%s.import,S=%zu",
	    (long long)seconds, hex, m->len);
	len = strlen(name);
	/* A name in new/ has no flags. */
	if (!m->is_new)
		snprintf(name + len, sizeof(name) - len, ":2,%s%s", m->flags,
		    letters);
	if ((status = folder_put(t->folder, m->is_new ? FOLDER_NEW : FOLDER_CUR,
		 name, m->bytes, m->len, m->mtime_ns)))
		return status;
	im->imported++;
	im->imported_bytes += m->len;
	im->unsafe_bytes += m->len;
	im->unsafe_messages++;
	return add_mark(im, mark);
}

static int
import_message(void *arg, struct source_message *m)
{
	struct import *im = arg;
	char folder[FOLDER_NAME_MAX + 1];
	uint8_t key[MARK_BYTES], mark[MARK_BYTES];
	struct target *t;
	struct seen *seen;
	struct id id;
	bool has = false;
	int status;

	if (progress_stopped()) {
		im->stopped = true;
		return STATUS_AGAIN;
	}
	progress_step(&im->progress, m->len, 1);
	if (!text_format(folder, sizeof(folder), "%s%s", im->below, m->folder))
		return fail(STATUS_FAILED,
		    "%s: folder name %s%s is too long: "
		    "import into a shorter one with --folder",
		    m->origin, im->below, m->folder);
	hash_bytes(m->bytes, m->len, &id);
	make_mark(im, folder, &id, 0, key);
	if (!(seen = seen_get(&im->seen, &im->chunks, key)))
		return no_memory();
	make_mark(im, folder, &id, ++seen->times, mark);
	if ((status = place_marks_has(
		 im->place, (const uint8_t(*)[MARK_BYTES]) & mark, 1, &has)) ||
	    (!has && (status = target_open(im, folder, &t))))
		return status;
	if (has) {
		im->there++;
		return STATUS_DONE;
	}
	if (map_find(&t->here, seen_hash(mark), seen_match, mark)) {
		/* Put, but not marked: an import was cut off there. */
		im->there++;
		status = add_mark(im, mark);
	} else {
		status = put(im, t, m, mark);
	}
	if (status == STATUS_DONE &&
	    (im->unsafe_bytes >= im->batch_bytes ||
		im->unsafe_messages >= im->batch_messages))
		status = settle(im);
	return status;
}

/* ---- the whole ---------------------------------------------------------- */

static void
import_fini(struct import *im)
{
	while (im->targets) {
		struct target *next = im->targets->next;

		folder_close(im->targets->folder);
		map_fini(&im->targets->here);
		free(im->targets);
		im->targets = next;
	}
	map_fini(&im->seen);
	chunks_free(&im->chunks);
	chunks_free(&im->here_chunks);
	free(im->marks);
}

static int
import_all(struct import *im, struct source *s, int n, char **path)
{
	int status = STATUS_DONE, settled;

	for (int i = 0; i < n && im->progress.shown; i++)
		im->progress.total_bytes += source_bytes(path[i]);
	for (int i = 0; i < n && status == STATUS_DONE; i++) {
		status = source_read(s, path[i]);
		/* Equal messages of another source are the same ones. */
		map_fini(&im->seen);
		map_init(&im->seen);
		chunks_free(&im->chunks);
	}
	settled = settle(im);
	progress_end(&im->progress);
	return status ? status : settled;
}

static void
report(const struct import *im, const struct source *s)
{
	double seconds =
	    (double)(clock_steady_ns() - im->progress.begun_ns) / 1e9;
	char a[32], b[32], c[32], d[32], e[32];

	printf("imported %s messages (%s) into %s", text_count(im->imported, a),
	    text_bytes(im->imported_bytes, b), place_user(im->place));
	if (seconds > 1)
		printf(" at %s/s",
		    text_bytes(
			(uint64_t)((double)im->imported_bytes / seconds), c));
	if (im->there)
		printf("; %s were there already", text_count(im->there, d));
	if (s->passed_over)
		printf("; %s passed over as no mail",
		    text_count(s->passed_over, e));
	putchar('\n');
	if (im->keywords_lost)
		say("import: %s keywords were dropped: a Maildir folder has "
		    "room for %d: use fewer, or more folders",
		    text_count(im->keywords_lost, a), KEYWORDS_MAX);
}

int
cmd_import(struct common *c, int argc, char **argv)
{
	const char *user = NULL, *folder = "";
	struct import im = { 0 };
	struct source s = { .fn = import_message, .arg = &im };
	const struct opt opts[] = {
		{ .name = "user",
		    .letter = 'u',
		    .kind = OPT_TEXT,
		    .into = &user,
		    .arg = "ADDRESS",
		    .help = "whose mail it becomes (the only user's)" },
		{ .name = "folder",
		    .letter = 'F',
		    .kind = OPT_TEXT,
		    .into = &folder,
		    .arg = "FOLDER",
		    .help = "where it goes: Lists/linux; else the INBOX" },
		{ .name = "mboxrd",
		    .kind = OPT_FLAG,
		    .into = &s.mboxrd,
		    .help = "mbox files are mboxrd: >From becomes From" },
		{ .name = "quiet",
		    .letter = 'q',
		    .kind = OPT_FLAG,
		    .into = &c->quiet,
		    .help = "no progress line" },
		COMMON_OPTS(c)
	};
	int status = verb_begin("import", c, opts, &argc, argv, 1, -1), closed;

	if (status >= 0)
		return status;
	if (!folder_name_from(folder, im.below))
		return fail(STATUS_USAGE,
		    "--folder: '%s' is no folder name: "
		    "give one such as Lists/linux",
		    folder);
	if ((status = place_open(c, user, &im.place)))
		return status;
	place_batch(im.place, &im.batch_bytes, &im.batch_messages);
	progress_signals();
	progress_begin(&im.progress, "import", c->quiet);
	status = import_all(&im, &s, argc, argv);
	report(&im, &s);
	if (im.stopped)
		say("import: stopped: all up to here is safe: run the same "
		    "command again to go on");
	source_fini(&s);
	import_fini(&im);
	closed = place_close(im.place);
	return status ? status : closed;
}
