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
 * process wrote.  Their frames are written again first: if a sync of that
 * process failed, the kernel has forgotten that they are dirty, shows them to
 * us all the same, and would not write them for a sync alone.
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
#include <stdlib.h>
#include <string.h>

#define BUFFER_KEEP (1u << 20) /* more is given back after a write */
#define FILL_MAX (1u << 20)
#define FILL_ALIGN 4096u
#define FILL_BATCH_MAX (256u << 10) /* syncs of more are bulk work */

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
		e = segment_give_file(j, s);
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
		if ((e = buffer_reserve(b, b->len + size + FRAME_END_BYTES)))
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

/* The other process's frames again; those of a segment that is replayed, not
 * of the active one.  As sync_segments(). */
static enum err
rewrite_inherited(struct journal *j)
{
	enum err e = OK;

	for (struct segment *s = j->oldest; !e && s; s = s->next) {
		if (!s->inherited)
			continue;
		pthread_mutex_unlock(&j->lock);
		e = segment_rewrite(s);
		pthread_mutex_lock(&j->lock);
		s->inherited = e != OK;
	}
	return e;
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
		e = disk_sync_dir(j->disk, JOURNAL_DIRECTORY);
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
	if (e || (e = j->broken) || (e = rewrite_inherited(j)))
		return e;
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
		e = segment_begin(j);
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
		if ((e = segment_retire(j, s)) && !first)
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
	struct segment *s;
	enum err first;

	pthread_mutex_lock(&j->lock);
	assert(j->replayed);
	take_both(j);
	first = j->broken;
	pthread_mutex_unlock(&j->lock);
	if (!first)
		first = segment_drop_spares(j);
	s = j->active;
	if (!first && s->file) {
		first = segment_cut_file(s, end_offset(s, j->written));
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
