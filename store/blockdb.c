/* blockdb.c - appends to packs, and finds what was appended.
 *
 * The newest pack grows by its tail, a buffer of whole frames that is written
 * when it is long enough or flushed.  A block that no committed index knows is
 * an item: in the map of pending blocks and in the order of writing.  Readers
 * ask the map first and the index second, in this order: an item leaves the
 * map only after a commit, so whoever does not find it there begins a read
 * transaction that sees its row.
 *
 * The lock guards what readers share with the writer: the map, the items'
 * places, and how far the tail reaches.  The writer alone changes them, so it
 * reads them without the lock, and it fills the buffer behind tail_len, where
 * no reader looks, before it takes the lock to say so.
 *
 * Nothing is overwritten.  A write that fails is tried again at the same
 * place, which nobody refers to yet.  A sync that fails is worse: the kernel
 * may have dropped what it could not write and call the next sync a success.
 * So the pack is left as it is, and what it should have made durable is
 * doubtful: the next flush reads it back and appends it to a new pack.
 *
 * Opening: behind the mark of the committed index (pack.h) lies only what a
 * crash kept from being committed.  Whole frames stay, as garbage that no
 * index knows (a rebuild would find them, which does no harm); the first that
 * is not whole is cut off with all that follows.  Without a mark the index is
 * new or was lost, and only what follows the last whole frame is cut off.  We
 * append behind what is left, unless the file ends before the mark or is gone:
 * then the index refers to places behind its end, and a new pack, of a number
 * never used, is begun. */
#include "overlay/base/wire.h"
#include "store/pack.h"

#include "overlay/base/crypto.h"
#include "overlay/base/map.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The tail is written once it has this much; it has room for one frame more. */
#define TAIL_WRITE (1u << 20)
#define TAIL_CAP (TAIL_WRITE + FRAME_MAX)

enum item_state {
	ITEM_PUT, /* in the tail or written */
	ITEM_DURABLE, /* synced, and its pack's name */
	ITEM_DOUBTFUL, /* a sync failed: to be written again */
};

struct item {
	struct id id; /* of a block */
	struct block_place place;
	enum frame_type type;
	enum item_state state;
};

struct blockdb {
	struct disk *d;
	struct index *ix;
	struct pack_files *files;
	uint64_t pack_max;

	pthread_rwlock_t lock;
	struct map pending; /* items of blocks */
	uint32_t pack; /* of the tail; 0: none yet */
	uint64_t written; /* its bytes in the file; the tail follows */
	size_t tail_len;
	uint64_t old_bytes; /* of all other packs */
	uint64_t committed; /* blocks in the index */

	/* The writer's own. */
	uint8_t *tail;
	struct item **order; /* all items, heads too */
	size_t count, cap, flushed, indexed, doubtful;
	struct disk_file *file; /* of pack; NULL: begin a new one */
	uint32_t last_pack; /* highest number ever used */
	uint64_t synced; /* bytes of pack */
	bool name_unsynced;
	struct pack_mark durable, marked, committing;
};

/* ---- finding ------------------------------------------------------------ */

static uint64_t
id_hash(const struct id *id)
{
	return hash64(id->b, ID_BYTES, 0);
}

static bool
item_matches(const void *item, const void *id)
{
	return id_eq(&((const struct item *)item)->id, id);
}

static enum err
find_committed(struct blockdb *db, const struct id *id, struct block_place *at)
{
	struct index_txn *txn;
	const uint8_t *row;
	size_t len;
	enum err e;

	e = index_begin_read(db->ix, &txn);
	if (e)
		return e;
	e = index_get(txn, INDEX_BLOCKS, id->b, ID_BYTES, &row, &len);
	if (!e)
		e = place_decode(row, len, at);
	index_abort(&txn);
	return e;
}

static enum err
find(struct blockdb *db, const struct id *id, struct block_place *at)
{
	struct item *item;

	pthread_rwlock_rdlock(&db->lock);
	item = map_find(&db->pending, id_hash(id), item_matches, id);
	if (item)
		*at = item->place;
	pthread_rwlock_unlock(&db->lock);
	return item ? OK : find_committed(db, id, at);
}

enum err
blockdb_has(struct blockdb *db, const struct id *id, bool *here)
{
	struct block_place at;
	enum err e = find(db, id, &at);

	if (e && e != ERR_ABSENT)
		return e;
	*here = !e;
	return OK;
}

enum err
blockdb_len(struct blockdb *db, const struct id *id, size_t *len)
{
	struct block_place at;
	enum err e = find(db, id, &at);

	if (!e)
		*len = at.len;
	return e;
}

enum err
blockdb_where(struct blockdb *db, const struct id *id, char *name, size_t cap,
    uint64_t *off)
{
	char full[PACK_NAME_CAP];
	struct block_place at;
	enum err e = find(db, id, &at);

	if (e)
		return e;
	pack_name(at.pack, full);
	if (strlen(full) >= cap)
		return ERR_RANGE;
	memcpy(name, full, strlen(full) + 1);
	*off = at.off;
	return OK;
}

/* ---- reading ------------------------------------------------------------ */

static enum err
read_frame(struct blockdb *db, const struct block_place *at,
    enum frame_type type, uint8_t **bytes)
{
	size_t size = frame_size(at->len), got, len;
	uint8_t *frame = malloc(size);
	enum frame_type t;
	enum err e;

	if (!frame)
		return ERR_NOMEM;
	e = pack_files_read(db->files, at->pack, at->off, frame, size, &got);
	if (e == ERR_ABSENT ||
	    (!e && (got < size || !frame_header_decode(frame, &t, &len) ||
		       t != type || len != at->len ||
		       !frame_check(frame, t, len))))
		e = ERR_CORRUPT;
	if (e) {
		free(frame);
		return e;
	}
	memmove(frame, frame + FRAME_HEADER, at->len);
	*bytes = frame;
	return OK;
}

enum err
blockdb_get(
    struct blockdb *db, const struct id *id, uint8_t **bytes, size_t *len)
{
	struct block_place at;
	struct item *item;
	uint8_t *copy = NULL;
	bool in_tail;
	enum err e;

	pthread_rwlock_rdlock(&db->lock);
	item = map_find(&db->pending, id_hash(id), item_matches, id);
	if (item)
		at = item->place;
	in_tail = item && at.pack == db->pack && at.off >= db->written;
	if (in_tail) {
		copy = malloc(at.len);
		if (copy)
			memcpy(copy,
			    db->tail + (at.off - db->written) + FRAME_HEADER,
			    at.len);
	}
	pthread_rwlock_unlock(&db->lock);
	if (in_tail) {
		e = copy ? OK : ERR_NOMEM;
	} else {
		e = item ? OK : find_committed(db, id, &at);
		if (!e)
			e = read_frame(db, &at, FRAME_BLOCK, &copy);
	}
	if (e)
		return e;
	*bytes = copy;
	*len = at.len;
	return OK;
}

/* ---- appending ---------------------------------------------------------- */

static enum err
write_tail(struct blockdb *db)
{
	enum err e;

	if (db->tail_len == 0)
		return OK;
	e = disk_write(db->file, db->written, db->tail, db->tail_len);
	if (e) {
		/* Give back the room of what was written of it.  If even that
		 * fails, the next try writes over it, or the next open cuts
		 * it off. */
		enum err ignored = disk_truncate(db->file, db->written);

		(void)ignored;
		return e;
	}
	pthread_rwlock_wrlock(&db->lock);
	db->written += db->tail_len;
	db->tail_len = 0;
	pthread_rwlock_unlock(&db->lock);
	return OK;
}

static void
leave_pack(struct blockdb *db)
{
	assert(db->tail_len == 0);
	disk_file_close(db->file);
	db->file = NULL;
}

/* A sync failed: see the top of this file. */
static void
doubt_pack(struct blockdb *db)
{
	for (size_t i = db->flushed; i < db->count; i++) {
		struct item *item = db->order[i];

		if (item->place.pack == db->pack && item->state == ITEM_PUT) {
			item->state = ITEM_DOUBTFUL;
			db->doubtful++;
		}
	}
	leave_pack(db);
}

static enum err
sync_pack(struct blockdb *db)
{
	enum err e;

	if (!db->file)
		return OK;
	e = write_tail(db);
	if (e)
		return e;
	if (db->written > db->synced) {
		e = disk_sync(db->file);
		if (e) {
			doubt_pack(db);
			return e;
		}
		db->synced = db->written;
	}
	if (db->name_unsynced) {
		e = disk_sync_dir(db->d, PACK_DIR);
		if (e)
			return e;
		db->name_unsynced = false;
	}
	for (size_t i = db->flushed; i < db->count; i++)
		if (db->order[i]->place.pack == db->pack)
			db->order[i]->state = ITEM_DURABLE;
	while (db->flushed < db->count &&
	       db->order[db->flushed]->state == ITEM_DURABLE)
		db->flushed++;
	db->durable = (struct pack_mark){ db->pack, db->synced };
	return OK;
}

static enum err
begin_pack(struct blockdb *db)
{
	char name[PACK_NAME_CAP];
	enum err e;

	assert(!db->file && db->tail_len == 0);
	if (db->last_pack == UINT32_MAX)
		return ERR_NOSPACE;
	pack_name(db->last_pack + 1, name);
	e = disk_open(db->d, name, DISK_CREATE, &db->file);
	if (e)
		return e;
	pack_header_encode(++db->last_pack, db->tail);
	pthread_rwlock_wrlock(&db->lock);
	db->old_bytes += db->written;
	db->pack = db->last_pack;
	db->written = 0;
	db->tail_len = PACK_HEADER;
	pthread_rwlock_unlock(&db->lock);
	db->synced = 0;
	db->name_unsynced = true;
	return OK;
}

/* Put a frame behind the tail, where only show_frame() makes it seen. */
static enum err
stage_frame(struct blockdb *db, enum frame_type type, const void *bytes,
    size_t len, struct block_place *at)
{
	size_t size = frame_size(len);
	uint64_t end = db->written + db->tail_len;
	enum err e = OK;

	if (db->file && end > PACK_HEADER && end + size > db->pack_max) {
		e = sync_pack(db);
		if (e)
			return e;
		leave_pack(db);
	}
	if (!db->file)
		e = begin_pack(db);
	else if (db->tail_len >= TAIL_WRITE)
		e = write_tail(db);
	if (e)
		return e;
	assert(db->tail_len + size <= TAIL_CAP);
	frame_encode(type, bytes, len, db->tail + db->tail_len);
	at->pack = db->pack;
	at->len = (uint32_t)len;
	at->off = db->written + db->tail_len;
	return OK;
}

static enum err
make_room(struct blockdb *db)
{
	enum err e;

	if (db->count == db->cap) {
		size_t cap = db->cap ? 2 * db->cap : 256;
		struct item **more =
		    realloc(db->order, cap * sizeof(struct item *));

		if (!more)
			return ERR_NOMEM;
		db->order = more;
		db->cap = cap;
	}
	pthread_rwlock_wrlock(&db->lock);
	e = map_reserve(&db->pending, 1);
	pthread_rwlock_unlock(&db->lock);
	return e;
}

static enum err
append(struct blockdb *db, enum frame_type type, const struct id *id,
    const void *bytes, size_t len)
{
	struct item *item;
	enum err e;

	if (len == 0)
		return ERR_INVALID;
	if (len > BLOCK_MAX)
		return ERR_TOO_BIG;
	e = make_room(db);
	if (e)
		return e;
	item = calloc(1, sizeof(*item));
	if (!item)
		return ERR_NOMEM;
	item->type = type;
	item->state = ITEM_PUT;
	if (id)
		item->id = *id;
	e = stage_frame(db, type, bytes, len, &item->place);
	if (e) {
		free(item);
		return e;
	}
	db->order[db->count++] = item;
	pthread_rwlock_wrlock(&db->lock);
	db->tail_len += frame_size(len);
	if (id) {
		e = map_add(&db->pending, id_hash(id), item);
		assert(!e); /* reserved */
	}
	pthread_rwlock_unlock(&db->lock);
	return OK;
}

enum err
blockdb_put(struct blockdb *db, const struct id *id, const void *bytes,
    size_t len, bool *fresh)
{
	bool here;
	enum err e = blockdb_has(db, id, &here);

	if (!e && !here)
		e = append(db, FRAME_BLOCK, id, bytes, len);
	if (!e)
		*fresh = !here;
	return e;
}

enum err
blockdb_put_head(struct blockdb *db, const void *bytes, size_t len)
{
	return append(db, FRAME_HEAD, NULL, bytes, len);
}

enum err
blockdb_put_mark(struct blockdb *db, uint64_t lsn)
{
	uint8_t bytes[8];
	struct wr w;

	wr_init(&w, bytes, sizeof(bytes));
	wr_be(&w, lsn, 8);
	return append(db, FRAME_MARK, NULL, bytes, sizeof(bytes));
}

/* ---- checkpoints -------------------------------------------------------- */

/* Append again what a failed sync left in doubt.  The old frames stay where
 * they are: a reader may be on his way to them. */
static enum err
rescue(struct blockdb *db)
{
	for (size_t i = db->flushed; db->doubtful && i < db->count; i++) {
		struct item *item = db->order[i];
		struct block_place at;
		uint8_t *bytes;
		enum err e;

		if (item->state != ITEM_DOUBTFUL)
			continue;
		e = read_frame(db, &item->place, item->type, &bytes);
		if (e)
			return e;
		e = stage_frame(db, item->type, bytes, item->place.len, &at);
		free(bytes);
		if (e)
			return e;
		pthread_rwlock_wrlock(&db->lock);
		db->tail_len += frame_size(at.len);
		item->place = at;
		pthread_rwlock_unlock(&db->lock);
		item->state = ITEM_PUT;
		db->doubtful--;
	}
	return OK;
}

enum err
blockdb_flush(struct blockdb *db)
{
	enum err e;

	if (db->flushed == db->count)
		return OK;
	e = rescue(db);
	if (!e)
		e = sync_pack(db);
	assert(e || db->flushed == db->count);
	return e;
}

enum err
blockdb_index(struct blockdb *db, struct index_txn *txn)
{
	uint8_t row[PLACE_ROW_MAX];
	enum err e;

	assert(db->indexed == 0);
	for (size_t i = 0; i < db->flushed; i++) {
		struct item *item = db->order[i];

		if (item->type != FRAME_BLOCK)
			continue;
		e = index_put(txn, INDEX_BLOCKS, item->id.b, ID_BYTES, row,
		    place_encode(&item->place, row));
		if (e)
			return e;
	}
	if (db->durable.pack != db->marked.pack ||
	    db->durable.end != db->marked.end) {
		e = mark_put(txn, &db->durable);
		if (e)
			return e;
	}
	db->indexed = db->flushed;
	db->committing = db->durable;
	return OK;
}

void
blockdb_committed(struct blockdb *db)
{
	size_t n = db->indexed;

	pthread_rwlock_wrlock(&db->lock);
	for (size_t i = 0; i < n; i++) {
		struct item *item = db->order[i];

		if (item->type == FRAME_BLOCK) {
			map_remove(&db->pending, id_hash(&item->id),
			    item_matches, &item->id);
			db->committed++;
		}
		free(item);
	}
	pthread_rwlock_unlock(&db->lock);
	if (n)
		memmove(db->order, db->order + n,
		    (db->count - n) * sizeof(struct item *));
	db->count -= n;
	db->flushed -= n;
	db->indexed = 0;
	db->marked = db->committing;
}

void
blockdb_uncommitted(struct blockdb *db)
{
	db->indexed = 0;
	db->committing = db->marked;
}

void
blockdb_stats(struct blockdb *db, struct blockdb_stats *out)
{
	pthread_rwlock_rdlock(&db->lock);
	out->blocks = db->committed + db->pending.count;
	out->stored_bytes = db->old_bytes + db->written + db->tail_len;
	pthread_rwlock_unlock(&db->lock);
}

/* ---- opening ------------------------------------------------------------ */

static enum err
make_dir(struct disk *d)
{
	enum err e = disk_mkdir(d, PACK_DIR);

	if (e == ERR_EXISTS)
		return OK;
	return e ? e : disk_sync_dir(d, "");
}

static enum err
load_index(struct blockdb *db, bool *marked)
{
	struct index_txn *txn;
	enum err e = index_begin_read(db->ix, &txn);

	if (e)
		return e;
	e = mark_get(txn, &db->marked);
	*marked = !e;
	if (e == ERR_ABSENT)
		e = OK;
	if (!e)
		e = index_count(txn, INDEX_BLOCKS, &db->committed);
	index_abort(&txn);
	db->durable = db->committing = db->marked;
	return e;
}

/* How much of a pack to keep, and whether it can be appended to. */
static enum err
judge_tail(struct blockdb *db, uint32_t pack, bool marked, uint64_t *keep,
    uint64_t *size, bool *append)
{
	uint64_t from = marked && pack == db->marked.pack ? db->marked.end : 0;
	struct pack_found found;
	struct pack_scan scan;
	enum err e = pack_scan_begin(db->d, pack, from, &scan);

	if (e)
		return e;
	*size = scan.size;
	*append = from >= PACK_HEADER ? scan.size >= from : scan.header_ok;
	*keep = from ? from : scan.header_ok ? PACK_HEADER : 0;
	while (!(e = pack_scan_next(&scan, &found))) {
		if (!found.e)
			*keep = found.off + frame_size(found.len);
		else if (marked)
			break; /* what follows was never committed either */
	}
	pack_scan_end(&scan);
	return e == ERR_ABSENT ? OK : e;
}

static enum err
open_last(struct blockdb *db, uint32_t pack, bool marked)
{
	uint64_t keep, size;
	char name[PACK_NAME_CAP];
	bool append;
	enum err e;

	e = judge_tail(db, pack, marked, &keep, &size, &append);
	if (e)
		return e;
	pack_name(pack, name);
	if (size == 0 || (marked && pack > db->marked.pack && keep == 0)) {
		/* A crash in the making of it; nothing was committed. */
		db->old_bytes -= size;
		return disk_unlink(db->d, name);
	}
	if (!append)
		return OK;
	e = disk_open(db->d, name, DISK_WRITE, &db->file);
	if (!e && keep < size)
		e = disk_truncate(db->file, keep);
	db->pack = pack;
	db->written = keep;
	db->old_bytes -= size;
	/* What is behind the mark may be in the cache only; nobody needs it,
	 * and the first sync takes it along. */
	db->synced = keep;
	db->name_unsynced = true;
	return e;
}

static enum err
open_packs(struct blockdb *db, bool marked)
{
	uint32_t *number;
	size_t count;
	enum err e;

	db->last_pack = db->marked.pack;
	e = pack_list(db->d, &number, &count);
	if (e)
		return e;
	for (size_t i = 0; i < count && !e; i++) {
		char name[PACK_NAME_CAP];
		struct disk_file *file;
		uint64_t size;

		pack_name(number[i], name);
		e = disk_open(db->d, name, DISK_READ, &file);
		if (e)
			break;
		e = disk_size(file, &size);
		disk_file_close(file);
		if (!e)
			db->old_bytes += size;
	}
	if (!e && count && number[count - 1] >= db->last_pack) {
		db->last_pack = number[count - 1];
		e = open_last(db, db->last_pack, marked);
	}
	free(number);
	return e;
}

enum err
blockdb_open(
    struct disk *d, struct index *ix, uint64_t pack_max, struct blockdb **out)
{
	struct blockdb *db = calloc(1, sizeof(*db));
	bool marked;
	enum err e;

	if (!db)
		return ERR_NOMEM;
	db->d = d;
	db->ix = ix;
	db->pack_max = pack_max;
	pthread_rwlock_init(&db->lock, NULL);
	db->tail = malloc(TAIL_CAP);
	e = db->tail ? OK : ERR_NOMEM;
	if (!e)
		e = pack_files_new(d, &db->files);
	if (!e)
		e = make_dir(d);
	if (!e)
		e = load_index(db, &marked);
	if (!e)
		e = open_packs(db, marked);
	if (e) {
		blockdb_close(db);
		return e;
	}
	*out = db;
	return OK;
}

void
blockdb_close(struct blockdb *db)
{
	if (!db)
		return;
	disk_file_close(db->file);
	pack_files_free(db->files);
	for (size_t i = 0; i < db->count; i++)
		free(db->order[i]);
	free(db->order);
	map_fini(&db->pending);
	pthread_rwlock_destroy(&db->lock);
	free(db->tail);
	free(db);
}
