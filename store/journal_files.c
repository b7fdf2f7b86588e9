/* The journal's segments: opening, replay, which file a new one gets, and what
 * becomes of released ones.  What all this must withstand is told in
 * journal.c. */
#include "store/journal_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_DIGITS 16
#define NAME_BYTES (sizeof(JOURNAL_DIRECTORY) + NAME_DIGITS + 1)
#define BUFFER_FIRST (16u << 10)
#define SPARES_MAX 2
#define COPY_BYTES (64u << 10)

static void
segment_name(uint64_t name, char out[NAME_BYTES])
{
	int n = snprintf(out, NAME_BYTES, JOURNAL_DIRECTORY "/%0*" PRIx64,
	    NAME_DIGITS, name);

	assert(n == NAME_BYTES - 1);
}

static void
segment_free(struct segment *s)
{
	if (!s)
		return;
	disk_file_close(s->file);
	wipe(&s->key, sizeof(s->key));
	free(s);
}

/* ---- opening ------------------------------------------------------------ */

static bool
parse_name(const char *entry, uint64_t *out)
{
	uint64_t v = 0;

	if (strlen(entry) != NAME_DIGITS)
		return false;
	for (; *entry; entry++) {
		if (*entry >= '0' && *entry <= '9')
			v = v << 4 | (uint64_t)(*entry - '0');
		else if (*entry >= 'a' && *entry <= 'f')
			v = v << 4 | (uint64_t)(*entry - 'a' + 10);
		else
			return false;
	}
	*out = v;
	return v < SEGMENT_EPOCH_END;
}

/* Later ones behind earlier ones; those without a header first. */
static void
insert(struct journal *j, struct segment *s)
{
	struct segment **at = &j->oldest;

	while (*at && (*at)->id.epoch <= s->id.epoch)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
}

static enum err
open_segment(void *arg, const char *entry)
{
	struct journal *j = arg;
	uint8_t header[SEGMENT_HEADER_BYTES];
	char path[NAME_BYTES];
	struct segment *s;
	uint64_t name;
	size_t got;
	enum err e;

	if (!parse_name(entry, &name))
		return OK; /* not ours */
	s = calloc(1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	s->name = name;
	segment_name(name, path);
	if ((e = disk_open(j->disk, path, DISK_WRITE, &s->file)) ||
	    (e = disk_size(s->file, &s->size)) ||
	    (e = disk_read(s->file, 0, header, sizeof(header), &got))) {
		segment_free(s);
		return e;
	}
	s->valid = got == sizeof(header) &&
		   !segment_header_read(&j->key, header, &s->id, &s->key);
	if (s->valid && j->epoch_disk < s->id.epoch)
		j->epoch_disk = s->id.epoch;
	if (j->epoch < s->id.epoch)
		j->epoch = s->id.epoch;
	if (j->epoch < name)
		j->epoch = name;
	insert(j, s);
	return OK;
}

enum err
journal_open(struct disk *d, const struct key *key, uint64_t from_lsn,
    struct journal **out)
{
	struct journal *j = calloc(1, sizeof(*j));
	enum err e;

	if (!j)
		return ERR_NOMEM;
	j->disk = d;
	j->key = *key;
	if (pthread_mutex_init(&j->lock, NULL) ||
	    pthread_cond_init(&j->sealed, NULL) ||
	    pthread_cond_init(&j->write_done, NULL) ||
	    pthread_cond_init(&j->sync_done, NULL)) {
		/* Linux's never fail; nothing to undo but the memory. */
		free(j);
		return ERR_NOMEM;
	}
	j->in = &j->buffers[0];
	j->out = &j->buffers[1];
	j->released = j->synced = j->written = j->appended = from_lsn;
	j->limit = UINT64_MAX;
	/* Names may have been left unsynced by who was here before. */
	j->dir_dirty = j->root_dirty = true;
	e = disk_mkdir(d, JOURNAL_DIRECTORY);
	if ((e && e != ERR_EXISTS) ||
	    (e = disk_list(d, JOURNAL_DIRECTORY, open_segment, j))) {
		journal_close(j);
		return e;
	}
	*out = j;
	return OK;
}

void
journal_close(struct journal *j)
{
	struct segment *lists[2], *next;

	if (!j)
		return;
	assert(!j->writing && !j->syncing);
	lists[0] = j->oldest;
	lists[1] = j->spare;
	for (unsigned i = 0; i < 2; i++)
		for (struct segment *s = lists[i]; s; s = next) {
			next = s->next;
			segment_free(s);
		}
	free(j->buffers[0].bytes);
	free(j->buffers[1].bytes);
	pthread_cond_destroy(&j->sealed);
	pthread_cond_destroy(&j->write_done);
	pthread_cond_destroy(&j->sync_done);
	pthread_mutex_destroy(&j->lock);
	wipe(&j->key, sizeof(j->key));
	free(j);
}

/* ---- segments come and go ----------------------------------------------- */

enum err
buffer_reserve(struct buffer *b, size_t len)
{
	size_t cap = b->cap ? b->cap : BUFFER_FIRST;
	uint8_t *grown;

	if (len <= b->cap)
		return OK;
	while (cap < len)
		cap *= 2;
	grown = realloc(b->bytes, cap);
	if (!grown)
		return ERR_NOMEM;
	b->bytes = grown;
	b->cap = cap;
	return OK;
}

enum err
segment_begin(struct journal *j)
{
	struct segment *s = calloc(1, sizeof(*s));
	enum err e = s ? buffer_reserve(j->in, BUFFER_FIRST) : ERR_NOMEM;

	if (e) {
		free(s);
		return e;
	}
	assert(j->epoch < SEGMENT_EPOCH_END - 1);
	assert(!j->in->len && !j->out->len && !j->in->unsealed);
	s->valid = true;
	s->id.epoch = ++j->epoch;
	s->id.start = j->appended;
	random_bytes(s->id.salt, sizeof(s->id.salt));
	segment_key(&j->key, &s->id, &s->key);
	segment_header_write(&s->id, &s->key, j->in->bytes);
	j->in->len = SEGMENT_HEADER_BYTES;
	j->in->off = 0;
	j->in->end = j->appended;
	if (j->active) {
		j->active->end = j->appended;
		j->active->next = s;
	} else {
		struct segment **at = &j->oldest;

		while (*at)
			at = &(*at)->next;
		*at = s;
	}
	j->active = s;
	j->fill_step = FILL_FIRST;
	return OK;
}

enum err
segment_give_file(struct journal *j, struct segment *s)
{
	struct segment **best = NULL, *spare;
	char path[NAME_BYTES];
	enum err e;

	for (struct segment **at = &j->spare; *at; at = &(*at)->next)
		if (!best || (*at)->size > (*best)->size)
			best = at;
	if (best) {
		spare = *best;
		*best = spare->next;
		j->spares--;
		s->file = spare->file;
		s->name = spare->name;
		s->size = spare->size;
		spare->file = NULL;
		segment_free(spare);
	} else {
		s->name = s->id.epoch;
		segment_name(s->name, path);
		/* Not DISK_EXCL: we may have failed half-way before. */
		e = disk_open(j->disk, path, DISK_CREATE, &s->file);
		if (e)
			return e;
		s->size = 0;
		s->fresh = true;
	}
	j->epoch_disk = s->id.epoch;
	return OK;
}

static enum err
remove_file(struct journal *j, struct segment *s)
{
	char path[NAME_BYTES];

	segment_name(s->name, path);
	return disk_unlink(j->disk, path);
}

enum err
segment_cut_file(struct segment *s, uint64_t size)
{
	enum err e;

	if (s->size <= size)
		return OK;
	e = disk_truncate(s->file, size);
	if (!e)
		s->size = size;
	return e;
}

static void
add_spare(struct journal *j, struct segment *s)
{
	s->next = j->spare;
	j->spare = s;
	j->spares++;
}

enum err
segment_retire(struct journal *j, struct segment *s)
{
	uint64_t used = s->end > s->id.start ? end_offset(s, s->end) : 0;
	uint64_t want, spare = 0;
	enum err e = OK;

	if (!s->file) {
		segment_free(s);
		return OK;
	}
	j->used[1] = j->used[0];
	j->used[0] = used;
	want = j->used[0] > j->used[1] ? j->used[0] : j->used[1];
	for (struct segment *k = j->spare; k; k = k->next)
		spare += k->size;
	if (!s->syncs || j->spares == SPARES_MAX || spare >= want)
		want = 0;
	else
		want -= spare;
	if (want == 0 && s->id.epoch != j->epoch_disk) {
		if (!(e = remove_file(j, s))) {
			segment_free(s);
			return OK;
		}
	} else {
		if (want < SEGMENT_HEADER_BYTES)
			want = SEGMENT_HEADER_BYTES;
		e = segment_cut_file(s, want + want / 4);
	}
	s->syncs = 0;
	add_spare(j, s); /* also when the disk refused to let it go */
	return e;
}

enum err
segment_drop_spares(struct journal *j)
{
	struct segment *s, **at = &j->spare;
	enum err e = OK;

	while (!e && (s = *at)) {
		if (s->id.epoch == j->epoch_disk) {
			e = segment_cut_file(s, SEGMENT_HEADER_BYTES);
			at = &s->next;
		} else if (!(e = remove_file(j, s))) {
			*at = s->next;
			j->spares--;
			segment_free(s);
		}
	}
	return e;
}

enum err
segment_rewrite(struct segment *s)
{
	uint64_t end = s->end > s->id.start ? end_offset(s, s->end) : 0;
	uint8_t *buf = malloc(COPY_BYTES);
	enum err e = buf ? OK : ERR_NOMEM;
	size_t got;

	if (end > s->size)
		end = s->size;
	for (uint64_t off = 0; !e && off < end; off += got) {
		size_t n =
		    end - off < COPY_BYTES ? (size_t)(end - off) : COPY_BYTES;

		e = disk_read(s->file, off, buf, n, &got);
		if (!e && got == 0)
			break; /* shorter by now: then it was not needed */
		if (!e)
			e = disk_write(s->file, off, buf, got);
	}
	free(buf);
	return e;
}

/* ---- replay ------------------------------------------------------------- */

/* The lsn from which later segments speak in its place. */
static uint64_t
authority_end(const struct segment *s)
{
	uint64_t end = UINT64_MAX;

	for (const struct segment *k = s->next; k; k = k->next)
		if (k->valid && k->id.start < end)
			end = k->id.start;
	return end;
}

/* Replay one segment from *pos, which moves to its end if all before was
 * there.  *torn is set if it is the one in which replay ended. */
static enum err
replay_segment(struct journal *j, struct segment *s, uint64_t *pos,
    journal_fn *fn, void *arg, uint64_t *torn)
{
	uint64_t limit = authority_end(s);
	struct segment_reader r;
	const uint8_t *bytes;
	enum err e = OK;
	size_t len;

	s->end = s->id.start;
	if (!s->valid || s->id.start >= limit || limit <= j->released)
		return OK; /* empty, dead, or already in the checkpoint */
	segment_reader_init(&r, s->file, &s->id, &s->key);
	while (r.lsn < limit) {
		uint64_t start = r.lsn;

		e = segment_reader_next(&r, &bytes, &len);
		if (e || r.lsn > limit)
			break;
		s->end = r.lsn;
		if (start != *pos)
			continue; /* before from_lsn, or after a gap */
		if ((e = fn(arg, r.lsn, bytes, len)))
			break;
		*pos = r.lsn;
	}
	if (s->id.start > *pos) /* what we have to leave out */
		*torn += s->end - s->id.start;
	else if (e == ERR_ABSENT && s->end == *pos)
		e = segment_reader_torn(&r, torn);
	if (e == ERR_ABSENT)
		e = OK;
	segment_reader_fini(&r);
	return e;
}

enum err
journal_replay(struct journal *j, journal_fn *fn, void *arg, uint64_t *torn)
{
	uint64_t pos = j->released;
	struct segment **at;
	enum err e;

	assert(!j->replayed);
	*torn = 0;
	for (struct segment *s = j->oldest; s; s = s->next)
		if ((e = replay_segment(j, s, &pos, fn, arg, torn)))
			return e;
	j->written = j->appended = pos;
	if ((e = segment_begin(j)))
		return e;
	j->replayed = true;
	/* What holds nothing of use is free at once; but what was damaged
	 * waits for the next release, in case someone wants to look. */
	for (at = &j->oldest; *at != j->active;) {
		struct segment *s = *at;

		s->dirty = s->inherited = true;
		if (s->end > pos || s->id.start > pos)
			s->end = pos;
		if (!s->valid || s->end > j->released ||
		    authority_end(s) > j->released) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		(void)!segment_retire(j, s); /* it is tracked in any case */
	}
	return OK;
}
