/* The journal: who writes when, and which file.
 *
 * Roles.  A frame is sealed into the buffer `in`.  Whoever needs it written
 * takes the role of the writer (at most one has it), swaps `in` and `out` and
 * writes `out` with one call, while others fill the new `in`.  Whoever needs
 * it durable takes the role of the syncer (again at most one), writes first
 * and then syncs; those who come meanwhile wait, and the next of them serves
 * all of them.  The mutex guards the fields and is never held during a system
 * call.  The writer alone touches a segment's file position and fill, and
 * the spare segments; a segment goes away only while both roles are held.
 *
 * Sealing happens outside the mutex too: append reserves the place, which
 * settles order, offset and nonce; the writer waits until the buffer it took
 * has no frame in the making.
 *
 * Zeros in advance.  fdatasync is cheap only if the file system has nothing of
 * its own to commit, so blocks must be allocated and written before.  The
 * syncer writes zeros ahead of the end, in steps that double, and the same
 * sync pays for them.  A segment that is used again needs none: its old frames
 * are as good as zeros.  Bulk work (no syncs, or few for many bytes) never
 * fills.
 *
 * Why a crash is harmless.  Bytes that were not synced come back in any mix of
 * old and new sectors.  A segment's salt is new each time it is begun, and
 * its key depends on the salt, so:
 *   - old frames under a new header, or new frames under an old one, do not
 *     open, whatever the epochs and lsns are;
 *   - new header lost, the old one still there: the segment counts as what it
 *     was.  It was released then, so its frames are before from_lsn and not
 *     looked for; the new frames in it were not acknowledged as durable,
 *     since the sync that does that covers the header;
 *   - a header that is half old, half new does not authenticate and the
 *     segment counts as empty: as before, nothing in it was acknowledged;
 *   - frames are lost behind a good header: none of them was acknowledged.
 * Frames after a lost one may be there: replay ends at the first that does not
 * open, and the next start begins a new segment at that lsn.  From then on a
 * segment speaks only for what lies before the start of every later one
 * (by epoch), so the frames after the gap stay dead for ever.  One that a
 * failing disk hid, and shows again, stays dead as well.
 *
 * A sync acknowledges only when all segments with unreleased frames, and the
 * directory, are synced: after a kill -9 that includes those that the former
 * process wrote.
 *
 * Nonces: no segment's key is used twice, and within one use an offset is
 * sealed once: frames that could not be written are kept and written again
 * as they are, never sealed again with other bytes.
 *
 * Assumed of the disk: what was synced does not change, except for a 512-byte
 * sector that is written again, which is old or new.  Neighbours share a
 * sector, so a frame may be rewritten with the same bytes.
 *
 * Full disk.  Frames that can not be written stay in `out`; `stuck` says why.
 * Those who wait for them get the error; further appends try to write them
 * first.  Nothing is broken unless a sync fails: then what is durable can not
 * be known, since Linux forgets that the pages were dirty. */
#include "store/journal_private.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY "journal"
#define NAME_DIGITS 16
#define NAME_BYTES (sizeof(DIRECTORY) + NAME_DIGITS + 1)

#define BUFFER_FIRST (16u << 10)
#define BUFFER_KEEP (1u << 20) /* more is given back after a write */
#define FILL_FIRST (32u << 10)
#define FILL_MAX (1u << 20)
#define FILL_ALIGN 4096u
#define FILL_BATCH_MAX (256u << 10) /* syncs of more are bulk work */
#define SPARES_MAX 2

struct segment {
	struct segment *next; /* newer */
	uint64_t name; /* of its file */
	struct segment_id id;
	struct key key;
	struct disk_file *file; /* NULL: nothing written yet */
	uint64_t end; /* lsn; of those that are not the active one */
	uint64_t size; /* of the file: frames, zeros or stale bytes */
	bool dirty; /* written since its last sync */
	bool fresh; /* its name is not durable */
	bool valid; /* has a header (while opening) */
	uint64_t syncs;
};

struct buffer {
	uint8_t *bytes;
	size_t len, cap;
	uint64_t off; /* in the active segment's file */
	uint64_t end; /* lsn */
	unsigned unsealed; /* frames that have a place but no bytes yet */
};

struct journal {
	struct disk *disk;
	struct key key;

	pthread_mutex_t lock;
	pthread_cond_t sealed, write_done, sync_done;
	bool writing, syncing, switching; /* the roles are taken */
	bool replayed;

	struct buffer buffers[2], *in, *out;
	/* released <= synced <= written <= appended */
	uint64_t released, synced, written, appended;
	uint64_t limit;
	enum err broken, stuck;
	uint64_t failures; /* writes that failed */

	struct segment *oldest, *active; /* not released; one list */
	struct segment *spare;
	unsigned spares;
	bool dir_dirty;
	bool root_dirty;
	uint64_t epoch; /* the largest ever seen */
	uint64_t epoch_disk; /* the largest that has a file */

	uint64_t fill_step;
	uint64_t used[2]; /* bytes in the last segments released */
};

static void
segment_name(uint64_t name, char out[NAME_BYTES])
{
	int n = snprintf(
	    out, NAME_BYTES, DIRECTORY "/%0*" PRIx64, NAME_DIGITS, name);

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

static uint64_t
end_offset(const struct segment *s, uint64_t lsn)
{
	return segment_offset(&s->id, lsn);
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
	key_derive(key, "post journal", 0, &j->key);
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
	e = disk_mkdir(d, DIRECTORY);
	if ((e && e != ERR_EXISTS) ||
	    (e = disk_list(d, DIRECTORY, open_segment, j))) {
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

static enum err
reserve(struct buffer *b, size_t len)
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

/* Everything is written; what is appended next belongs to a new segment.  It
 * gets a file with the first write. */
static enum err
begin_segment(struct journal *j)
{
	struct segment *s = calloc(1, sizeof(*s));
	enum err e = s ? reserve(j->in, BUFFER_FIRST) : ERR_NOMEM;

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

/* A file for the active segment: a spare one (the largest), or a new one.
 * The writer calls it, without the mutex. */
static enum err
give_file(struct journal *j, struct segment *s)
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

/* Cut a file down; whatever happens, the size we know is the larger. */
static enum err
cut_file(struct segment *s, uint64_t size)
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

/* A released segment becomes a spare one, if the next ones will want it, or
 * goes.  The file with the largest epoch stays in any case, so that epochs
 * do not begin again.  Both roles are held. */
static enum err
retire(struct journal *j, struct segment *s)
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
		e = cut_file(s, want + want / 4);
	}
	s->syncs = 0;
	add_spare(j, s); /* also when the disk refused to let it go */
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
	if ((e = begin_segment(j)))
		return e;
	j->replayed = true;
	/* What holds nothing of use is free at once; but what was damaged
	 * waits for the next release, in case someone wants to look. */
	for (at = &j->oldest; *at != j->active;) {
		struct segment *s = *at;

		s->dirty = true;
		if (s->end > pos || s->id.start > pos)
			s->end = pos;
		if (!s->valid || s->end > j->released ||
		    authority_end(s) > j->released) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		(void)!retire(j, s); /* it is tracked in any case */
	}
	return OK;
}

/* ---- writing ------------------------------------------------------------ */

/* Write all that was appended before.  The caller holds the mutex, which is
 * let go meanwhile, and the writer's role. */
static enum err
flush(struct journal *j)
{
	struct segment *s = j->active;
	struct buffer *b;
	enum err e = OK;

	if (!j->out->len) { /* else it is what could not be written */
		b = j->in;
		j->in = j->out;
		j->out = b;
	}
	b = j->out;
	while (b->unsealed)
		pthread_cond_wait(&j->sealed, &j->lock);
	pthread_mutex_unlock(&j->lock);

	memset(b->bytes + b->len, 0, FRAME_END_BYTES);
	if (!s->file)
		e = give_file(j, s);
	if (!e)
		e = disk_write(
		    s->file, b->off, b->bytes, b->len + FRAME_END_BYTES);
	if (!e && s->size < b->off + b->len + FRAME_END_BYTES)
		s->size = b->off + b->len + FRAME_END_BYTES;
	if (!e && b->cap > BUFFER_KEEP) {
		free(b->bytes);
		b->bytes = NULL;
		b->cap = 0;
	}

	pthread_mutex_lock(&j->lock);
	if (s->fresh)
		j->dir_dirty = true;
	s->fresh = false;
	s->dirty = true;
	j->stuck = e;
	if (e) {
		j->failures++;
	} else {
		b->len = 0;
		j->written = b->end;
	}
	return e;
}

static void
take_writing(struct journal *j)
{
	while (j->writing)
		pthread_cond_wait(&j->write_done, &j->lock);
	j->writing = true;
}

static void
give_writing(struct journal *j)
{
	j->writing = false;
	pthread_cond_broadcast(&j->write_done);
}

/* Try to write what could not be written.  The mutex is held. */
static enum err
unstick(struct journal *j)
{
	enum err e;

	take_writing(j);
	e = j->stuck ? flush(j) : OK;
	give_writing(j);
	return e;
}

enum err
journal_append(struct journal *j, const void *bytes, size_t len, uint64_t *lsn)
{
	size_t size = len + FRAME_EXTRA_BYTES;
	const struct segment *s;
	struct buffer *b;
	uint64_t start;
	uint8_t *at;
	enum err e;

	assert(len <= JOURNAL_FRAME_MAX);
	pthread_mutex_lock(&j->lock);
	assert(j->replayed);
	for (;;) { /* each wait may change everything */
		if ((e = j->broken))
			goto out;
		if (j->switching) {
			pthread_cond_wait(&j->write_done, &j->lock);
			continue;
		}
		if (j->stuck) {
			if ((e = unstick(j)))
				goto out;
			continue;
		}
		b = j->in;
		if (b->len + size + FRAME_END_BYTES <= b->cap)
			break;
		if (b->unsealed) { /* its bytes must not move now */
			pthread_cond_wait(&j->sealed, &j->lock);
			continue;
		}
		if ((e = reserve(b, b->len + size + FRAME_END_BYTES)))
			goto out;
	}
	if (j->appended - j->released + size > j->limit) {
		e = ERR_NOSPACE;
		goto out;
	}
	s = j->active;
	start = j->appended;
	if (b->len == 0)
		b->off = end_offset(s, start);
	at = b->bytes + b->len;
	b->len += size;
	b->unsealed++;
	*lsn = b->end = j->appended = start + size;
	pthread_mutex_unlock(&j->lock);

	frame_seal(&s->id, &s->key, start, bytes, len, at);

	pthread_mutex_lock(&j->lock);
	if (--b->unsealed == 0)
		pthread_cond_broadcast(&j->sealed);
out:
	pthread_mutex_unlock(&j->lock);
	return e;
}

/* Until lsn is written.  The mutex is held. */
static enum err
write_up_to(struct journal *j, uint64_t lsn)
{
	uint64_t failures = j->failures;
	enum err e = j->broken;

	assert(lsn <= j->appended);
	while (!e && j->written < lsn) {
		if (!j->writing) {
			j->writing = true;
			e = flush(j);
			give_writing(j);
			continue;
		}
		pthread_cond_wait(&j->write_done, &j->lock);
		if (j->failures != failures && j->stuck)
			e = j->stuck; /* it was our frame too */
	}
	return j->written < lsn ? e : j->broken;
}

enum err
journal_write(struct journal *j, uint64_t lsn)
{
	enum err e;

	pthread_mutex_lock(&j->lock);
	e = write_up_to(j, lsn);
	pthread_mutex_unlock(&j->lock);
	return e;
}

/* ---- making durable ----------------------------------------------------- */

/* Zeros ahead of the end, if the next sync would run out of space that the
 * file has.  `batch`: bytes that this sync makes durable.  A failure is no
 * harm: nothing counts there.  The caller holds the mutex, let go meanwhile,
 * and both roles. */
static void
fill_ahead(struct journal *j, uint64_t batch)
{
	static const uint8_t zeros[FILL_FIRST];
	struct segment *s = j->active;
	uint64_t end, to;

	if (!s->file)
		return;
	s->syncs++;
	end = end_offset(s, j->written) + FRAME_END_BYTES;
	if (batch > FILL_BATCH_MAX || end + batch <= s->size)
		return;
	to = end + batch + j->fill_step;
	to += -to & (FILL_ALIGN - 1);
	if (j->fill_step < FILL_MAX)
		j->fill_step *= 2;
	s->dirty = true;
	pthread_mutex_unlock(&j->lock);
	while (s->size < to) {
		uint64_t n = to - s->size;

		if (n > sizeof(zeros))
			n = sizeof(zeros);
		if (disk_write(s->file, s->size, zeros, (size_t)n))
			break;
		s->size += n;
	}
	pthread_mutex_lock(&j->lock);
}

/* Sync what is dirty up to and including `last`.  The caller holds the mutex,
 * let go meanwhile, and the syncer's role, which keeps the segments. */
static enum err
sync_segments(struct journal *j, struct segment *last)
{
	enum err e = OK;

	for (struct segment *s = j->oldest; !e; s = s->next) {
		bool dirty = s->dirty && s->file;

		s->dirty = false;
		if (dirty) {
			pthread_mutex_unlock(&j->lock);
			e = disk_sync(s->file);
			pthread_mutex_lock(&j->lock);
		}
		if (s == last)
			break;
	}
	if (!e && j->dir_dirty) {
		bool root = j->root_dirty;

		j->dir_dirty = j->root_dirty = false;
		pthread_mutex_unlock(&j->lock);
		e = disk_sync_dir(j->disk, DIRECTORY);
		if (!e && root)
			e = disk_sync_dir(j->disk, ".");
		pthread_mutex_lock(&j->lock);
	}
	return e;
}

/* Lead one group commit.  The caller holds the mutex and the syncer's role. */
static enum err
lead_sync(struct journal *j)
{
	struct segment *last;
	uint64_t target;
	enum err e = OK;

	take_writing(j);
	target = j->appended;
	while (!e && !j->broken && j->written < target)
		e = flush(j);
	if (!e && !j->broken)
		fill_ahead(j, j->written - j->synced);
	target = j->written;
	last = j->active;
	give_writing(j);
	if (e || j->broken)
		return e ? e : j->broken;
	if ((e = sync_segments(j, last))) {
		j->broken = e;
		return e;
	}
	if (j->synced < target)
		j->synced = target;
	return OK;
}

enum err
journal_sync(struct journal *j, uint64_t lsn)
{
	uint64_t failures;
	enum err e;

	pthread_mutex_lock(&j->lock);
	assert(lsn <= j->appended);
	failures = j->failures;
	e = j->broken;
	while (!e && j->synced < lsn) {
		if (!j->syncing) {
			j->syncing = true;
			e = lead_sync(j);
			j->syncing = false;
			pthread_cond_broadcast(&j->sync_done);
			continue;
		}
		pthread_cond_wait(&j->sync_done, &j->lock);
		if (!(e = j->broken) && j->failures != failures && j->stuck &&
		    j->written < lsn)
			e = j->stuck;
	}
	if (j->broken)
		e = j->broken;
	else if (j->synced >= lsn)
		e = OK;
	pthread_mutex_unlock(&j->lock);
	return e;
}

/* ---- checkpoints -------------------------------------------------------- */

/* Both roles; neither is held while waiting for the other. */
static void
take_both(struct journal *j)
{
	while (j->writing || j->syncing)
		pthread_cond_wait(
		    j->writing ? &j->write_done : &j->sync_done, &j->lock);
	j->writing = j->syncing = true;
}

static void
give_both(struct journal *j)
{
	j->syncing = false;
	pthread_cond_broadcast(&j->sync_done);
	give_writing(j);
}

enum err
journal_switch(struct journal *j, uint64_t *lsn)
{
	enum err e;

	pthread_mutex_lock(&j->lock);
	assert(j->replayed);
	take_writing(j);
	j->switching = true; /* appends wait: one write, at most two */
	e = j->broken;
	while (!e && j->written < j->appended)
		e = flush(j);
	if (!e && j->appended > j->active->id.start)
		e = begin_segment(j);
	if (!e)
		*lsn = j->appended;
	j->switching = false;
	give_writing(j);
	pthread_mutex_unlock(&j->lock);
	return e;
}

enum err
journal_release(struct journal *j, uint64_t lsn)
{
	struct segment *gone = NULL, **at;
	enum err e, first = OK;

	pthread_mutex_lock(&j->lock);
	assert(j->replayed && lsn <= j->written);
	take_both(j);
	if (j->broken) {
		first = j->broken;
		goto out;
	}
	for (at = &j->oldest; *at != j->active;) {
		struct segment *s = *at;

		if (s->end > lsn) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		s->next = gone;
		gone = s;
	}
	/* The checkpoint has it, so it is durable, in another place. */
	if (j->released < lsn)
		j->released = lsn;
	if (j->synced < lsn)
		j->synced = lsn;
	pthread_mutex_unlock(&j->lock);
	while (gone) {
		struct segment *s = gone;

		gone = s->next;
		if ((e = retire(j, s)) && !first)
			first = e;
	}
	pthread_mutex_lock(&j->lock);
out:
	give_both(j);
	pthread_mutex_unlock(&j->lock);
	return first;
}

enum err
journal_trim(struct journal *j)
{
	struct segment *s, **at;
	enum err e, first = OK;

	pthread_mutex_lock(&j->lock);
	assert(j->replayed);
	take_both(j);
	first = j->broken;
	pthread_mutex_unlock(&j->lock);
	for (at = &j->spare; !first && (s = *at);) {
		if (s->id.epoch == j->epoch_disk) {
			first = cut_file(s, SEGMENT_HEADER_BYTES);
			at = &s->next;
		} else if (!(e = remove_file(j, s))) {
			*at = s->next;
			j->spares--;
			segment_free(s);
		} else {
			first = e;
		}
	}
	s = j->active;
	if (!first && s->file) {
		first = cut_file(s, end_offset(s, j->written));
		j->fill_step = FILL_FIRST;
	}
	pthread_mutex_lock(&j->lock);
	s->dirty = s->file != NULL;
	give_both(j);
	pthread_mutex_unlock(&j->lock);
	return first;
}

uint64_t
journal_backlog(struct journal *j)
{
	uint64_t n;

	pthread_mutex_lock(&j->lock);
	n = j->appended - j->released;
	pthread_mutex_unlock(&j->lock);
	return n;
}

uint64_t
journal_end(struct journal *j)
{
	uint64_t end;

	pthread_mutex_lock(&j->lock);
	end = j->appended;
	pthread_mutex_unlock(&j->lock);
	return end;
}

void
journal_limit(struct journal *j, uint64_t bytes)
{
	pthread_mutex_lock(&j->lock);
	j->limit = bytes;
	pthread_mutex_unlock(&j->lock);
}
