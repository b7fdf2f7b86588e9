/* userlog.c - from changes that wait to batches and heads, and back.
 *
 * A batch is sealed under a key of its own: the log's key, its first sequence
 * number, and 16 bytes of salt that stand before the sealed bytes.  The salt
 * is a keyed hash of the plaintext, so that a checkpoint which failed and is
 * done again with more records never seals two plaintexts under one key. */
#include "store/userlog.h"

#include "overlay/base/wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SALT 16u

struct store_user *
user_of(struct store *s, unsigned number)
{
	return number >= 1 && number <= s->users ? &s->user[number - 1] : NULL;
}

struct ulog_oid
oid_of(struct store *s, unsigned user, uint64_t ino)
{
	struct store_user *u = user_of(s, user);

	return (struct ulog_oid){
		.device = 0,
		.number = u && u->root == ino ? ULOG_ROOT : ino,
	};
}

static void
log_key(struct store *s, const struct store_user *u, struct key *out)
{
	struct rd r;

	rd_init(&r, s->keys->device_id.b, ID_BYTES);
	key_derive(&u->keys->log, "post device log", rd_be(&r, 8), out);
}

static void
batch_key(struct store *s, const struct store_user *u,
    const struct ulog_batch_info *info, const uint8_t *salt, struct key *out)
{
	struct key of_log, of_batch;

	log_key(s, u, &of_log);
	ulog_batch_key(&of_log,
	    info->snapshot ? info->snapshot_of : info->first_sequence,
	    info->snapshot, info->snapshot_part, &of_batch);
	hash_keyed(&of_batch, salt, SALT, out);
	wipe(&of_log, sizeof(of_log));
	wipe(&of_batch, sizeof(of_batch));
}

/* ---- writing ------------------------------------------------------------ */

/* One user's log during a checkpoint. */
struct log_writer {
	struct store *s;
	struct store_user *u;
	struct log_state *next;
	struct ulog_batch *batch;
	struct ulog_batch_info info;
	uint32_t in_batch;
	bool wrote;
};

enum err
userlog_seal(struct store *s, struct store_user *u,
    const struct ulog_batch_info *info, struct ulog_batch *batch,
    struct id *id)
{
	struct key of_log, key, salt;
	const uint8_t *plain;
	uint8_t *block;
	size_t plain_len, len;
	struct id unused;
	bool fresh;
	enum err e;

	if ((e = ulog_batch_bytes(batch, &plain, &plain_len)))
		return e;
	block = malloc(SALT + plain_len + SEAL_OVERHEAD);
	if (!block)
		return ERR_NOMEM;
	log_key(s, u, &of_log);
	hash_keyed(&of_log, plain, plain_len, &salt);
	memcpy(block, salt.b, SALT);
	batch_key(s, u, info, block, &key);
	e = seal_with_key(
	    s->sealer, &key, plain, plain_len, block + SALT, &len, &unused);
	if (!e) {
		hash_bytes(block, SALT + len, id);
		e = blockdb_put(s->blocks, id, block, SALT + len, &fresh);
	}
	wipe(&of_log, sizeof(of_log));
	wipe(&key, sizeof(key));
	free(block);
	return e;
}

static enum err
close_batch(struct log_writer *w)
{
	struct log_state *l = w->next;
	struct id id;
	enum err e;

	if (!w->batch)
		return OK;
	e = userlog_seal(w->s, w->u, &w->info, w->batch, &id);
	ulog_batch_free(w->batch);
	w->batch = NULL;
	if (e)
		return e;
	l->batch_before = l->batch;
	l->batch_before_first = l->batch_first;
	l->batch = id;
	l->batch_first = w->info.first_sequence;
	l->has_batch = true;
	l->batches++;
	l->record_sequence += w->in_batch;
	w->in_batch = 0;
	w->wrote = true;
	return OK;
}

static enum err
open_batch(struct log_writer *w)
{
	struct log_state *l = w->next;
	struct ulog_batch_info *info = &w->info;

	memset(info, 0, sizeof(*info));
	info->device = w->s->keys->device_id;
	info->first_sequence = l->record_sequence + 1;
	if (l->has_batch) {
		info->back[0].id = l->batch;
		info->back[0].first_sequence = l->batch_first;
		info->backs = 1;
	}
	if (l->batches >= 2) {
		info->back[1].id = l->batch_before;
		info->back[1].first_sequence = l->batch_before_first;
		info->backs = 2;
	}
	info->devices = 1;
	info->device_table[0] = info->device;
	return ulog_batch_new(info, &w->batch);
}

static enum err
write_record(struct log_writer *w, const struct ulog_record *r)
{
	enum err e = w->batch ? OK : open_batch(w);

	if (e)
		return e;
	e = ulog_batch_add(w->batch, r);
	if (e == ERR_RANGE) {
		if ((e = close_batch(w)) || (e = open_batch(w)))
			return e;
		e = ulog_batch_add(w->batch, r);
	}
	if (e)
		return e;
	w->in_batch++;
	if (!w->next->first_ns)
		w->next->first_ns = r->time_ns;
	if (r->time_ns > w->next->last_ns)
		w->next->last_ns = r->time_ns;
	return OK;
}

static enum err
write_head(struct log_writer *w)
{
	struct log_state *l = w->next;
	uint8_t buf[ULOG_HEAD_MAX];
	struct ulog_head h;
	size_t len;
	enum err e;

	memset(&h, 0, sizeof(h));
	h.user = w->u->keys->id;
	h.device = w->s->keys->device_id;
	memcpy(h.device_public, w->s->keys->device.public,
	    sizeof(h.device_public));
	h.sequence = ++l->head_sequence;
	h.record_sequence = l->record_sequence;
	h.lamport = l->lamport;
	h.time_ns = store_now(w->s);
	h.has_batch = l->has_batch;
	h.batch = l->batch;
	h.batch_first = l->batch_first;
	h.has_snapshot = l->has_snapshot;
	h.snapshot = l->snapshot;
	h.snapshot_of = l->snapshot_of;
	h.snapshot_parts = l->snapshot_parts;
	if ((e = ulog_head_encode(
		 &h, &w->s->keys->device, buf, sizeof(buf), &len)))
		return e;
	return blockdb_put_head(w->s->blocks, buf, len);
}

/* The content a file was created with is the one it has now: the records
 * between have said nothing of its bytes yet. */
static enum err
add_content(struct store *s, struct sealed_list *sealed, uint64_t ino,
    struct ulog_record *r)
{
	struct sealed *one = sealed_find(sealed, ino);
	struct index_txn *txn = NULL;
	struct inode in;
	enum err e;

	if (one) {
		r->has_content = true;
		r->content = one->content;
		r->size = one->size;
		one->told = true;
		return OK;
	}
	pthread_rwlock_rdlock(&s->lock);
	if (!(e = index_begin_read(s->env.index, &txn)))
		e = tree_inode(s->tree, txn, ino, &in);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	if (e)
		return e == ERR_ABSENT ? OK : e; /* deleted since */
	if (in.data == DATA_RECIPE && in.content.len) {
		r->has_content = true;
		r->content = in.content;
		r->size = in.size;
	}
	return OK;
}

static enum err
write_pending(struct store *s, struct log_writer *writers,
    struct sealed_list *sealed)
{
	struct ulog_record r;
	struct ulog_prev prev;
	struct rd rd;
	size_t used;
	enum err e = OK;

	rd_init(&rd, s->frozen_pending.bytes, s->frozen_pending.len);
	while (!e && rd_left(&rd)) {
		uint64_t number = rd_varint(&rd), len = rd_varint(&rd);
		const uint8_t *bytes = rd_take(&rd, len);
		struct log_writer *w = &writers[number - 1];

		assert(bytes && number >= 1 && number <= s->users);
		memset(&prev, 0, sizeof(prev));
		e = ulog_record_decode(bytes, len, &prev, &r, &used);
		if (!e && r.op == ULOG_CREATE && S_ISREG(r.mode))
			e = add_content(s, sealed, r.object.number, &r);
		if (!e)
			e = write_record(w, &r);
	}
	return e;
}

/* What was sealed and no CREATE has told of. */
static enum err
write_contents(struct store *s, struct log_writer *writers,
    struct sealed_list *sealed)
{
	struct ulog_record r;
	enum err e = OK;

	for (size_t i = 0; !e && i < sealed->count; i++) {
		struct sealed *one = &sealed->one[i];
		struct store_user *u = user_of(s, one->owner);

		if (one->told || !one->shared || !u)
			continue;
		memset(&r, 0, sizeof(r));
		r.op = ULOG_CONTENT;
		r.time_ns = store_now(s);
		r.object = oid_of(s, one->owner, one->ino);
		r.mtime_ns = one->mtime_ns;
		r.ctime_ns = one->ctime_ns;
		r.size = one->size;
		r.content = one->content;
		pthread_rwlock_wrlock(&s->lock);
		r.lamport = ++u->log.lamport;
		pthread_rwlock_unlock(&s->lock);
		e = write_record(&writers[one->owner - 1], &r);
	}
	return e;
}

enum err
userlog_write(
    struct store *s, struct sealed_list *sealed, struct log_state *next)
{
	struct log_writer *writers = calloc(s->users + 1, sizeof(*writers));
	enum err e;

	if (!writers)
		return ERR_NOMEM;
	pthread_rwlock_rdlock(&s->lock);
	for (unsigned i = 0; i < s->users; i++) {
		next[i] = s->user[i].log;
		writers[i].s = s;
		writers[i].u = &s->user[i];
		writers[i].next = &next[i];
	}
	pthread_rwlock_unlock(&s->lock);
	if (!(e = write_pending(s, writers, sealed)))
		e = write_contents(s, writers, sealed);
	for (unsigned i = 0; i < s->users; i++) {
		if (!e)
			e = close_batch(&writers[i]);
		ulog_batch_free(writers[i].batch);
		if (!e && writers[i].wrote && snapshot_is_due(s, &next[i]))
			e = snapshot_write(s, i, &next[i]);
		if (!e && writers[i].wrote)
			e = write_head(&writers[i]);
	}
	free(writers);
	return e;
}

/* ---- reading ------------------------------------------------------------ */

static enum err
open_batch_block(struct store *s, struct store_user *u, const struct id *id,
    uint64_t first_sequence, bool snapshot, uint32_t part, uint8_t **plain,
    size_t *len)
{
	struct ulog_batch_info info;
	struct key key;
	uint8_t *block;
	size_t block_len;
	enum err e = blockdb_get(s->blocks, id, &block, &block_len);

	if (e)
		return e;
	memset(&info, 0, sizeof(info));
	info.first_sequence = info.snapshot_of = first_sequence;
	info.snapshot = snapshot;
	info.snapshot_part = part;
	if (block_len < SALT) {
		e = ERR_CORRUPT;
	} else {
		batch_key(s, u, &info, block, &key);
		e = seal_open_key(s->sealer, &key, block + SALT,
		    block_len - SALT, plain, len);
		wipe(&key, sizeof(key));
	}
	free(block);
	return e;
}

struct batch_at {
	struct id id;
	uint64_t first;
};

/* From the newest batch back to the first that begins after record `after`.  A batch that is lost is stepped
 * over by the pointer past it, told of, and costs only its own records. */
static enum err
collect_batches(struct store *s, unsigned user_index,
    const struct log_state *l, uint64_t after, struct batch_at **out,
    size_t *count)
{
	struct store_user *u = &s->user[user_index];
	struct batch_at *list = NULL, at = { l->batch, l->batch_first };
	struct batch_at beyond = { l->batch_before, l->batch_before_first };
	bool more = l->has_batch, has_beyond = l->batches >= 2;
	size_t n = 0, cap = 0;
	enum err e = OK;

	while (more && at.first > after) {
		struct ulog_reader r;
		uint8_t *plain = NULL;
		size_t len;

		e = open_batch_block(
		    s, u, &at.id, at.first, false, 0, &plain, &len);
		if (!e)
			e = ulog_reader_init(&r, plain, len);
		if (e) {
			free(plain);
			if (e == ERR_NOMEM)
				break;
			set_problem(s,
			    "log of %s: the batch at record %llu is damaged "
			    "or missing: run 'post scrub'",
			    u->keys->address, (unsigned long long)at.first);
			e = OK;
			more = has_beyond;
			at = beyond;
			has_beyond = false;
			continue;
		}
		if (n == cap) {
			struct batch_at *bigger;

			cap = cap ? cap * 2 : 64;
			bigger = realloc(list, cap * sizeof(*list));
			if (!bigger) {
				free(plain);
				e = ERR_NOMEM;
				break;
			}
			list = bigger;
		}
		list[n++] = at;
		more = r.info.backs > 0;
		if (more) {
			at.id = r.info.back[0].id;
			at.first = r.info.back[0].first_sequence;
		}
		has_beyond = r.info.backs > 1;
		if (has_beyond) {
			beyond.id = r.info.back[1].id;
			beyond.first = r.info.back[1].first_sequence;
		}
		free(plain);
	}
	if (e) {
		free(list);
		return e;
	}
	*out = list;
	*count = n;
	return OK;
}

/* Give fn the records of one batch, or of one part of a snapshot. */
static enum err
read_batch(struct store *s, struct store_user *u, const struct batch_at *at,
    bool snapshot, uint32_t part, userlog_fn *fn, void *arg)
{
	struct ulog_reader r;
	struct ulog_record rec;
	uint8_t *plain = NULL;
	uint64_t sequence;
	size_t len;
	enum err e = open_batch_block(
	    s, u, &at->id, at->first, snapshot, part, &plain, &len);

	if (!e)
		e = ulog_reader_init(&r, plain, len);
	while (!e) {
		sequence = r.sequence;
		if (!(e = ulog_reader_next(&r, &rec)))
			e = fn(arg, &r.info, sequence, &rec);
	}
	free(plain);
	return e == ERR_ABSENT ? OK : e;
}

/* The parts of the newest snapshot, found from the last to the first. */
static enum err
read_snapshot(struct store *s, struct store_user *u,
    const struct log_state *l, userlog_fn *fn, void *arg)
{
	struct batch_at *part = calloc(l->snapshot_parts, sizeof(*part));
	enum err e = part ? OK : ERR_NOMEM;
	uint32_t n = l->snapshot_parts;

	if (!e)
		part[n - 1] = (struct batch_at){ l->snapshot, l->snapshot_of };
	for (uint32_t i = n; !e && i-- > 1;) {
		struct ulog_reader r;
		uint8_t *plain = NULL;
		size_t len;

		e = open_batch_block(s, u, &part[i].id, l->snapshot_of, true,
		    i, &plain, &len);
		if (!e && !(e = ulog_reader_init(&r, plain, len)) &&
		    r.info.backs == 0)
			e = ERR_CORRUPT;
		if (!e)
			part[i - 1] = (struct batch_at){ r.info.back[0].id,
				l->snapshot_of };
		free(plain);
	}
	for (uint32_t i = 0; !e && i < n; i++)
		e = read_batch(s, u, &part[i], true, i, fn, arg);
	free(part);
	return e;
}

enum err
userlog_read(struct store *s, unsigned user_index, const struct log_state *l,
    bool from_snapshot, userlog_fn *fn, void *arg)
{
	struct store_user *u = &s->user[user_index];
	struct batch_at *list = NULL;
	size_t count = 0;
	uint64_t after = 0;
	enum err e = OK;

	if (from_snapshot && l->has_snapshot) {
		after = l->snapshot_of;
		e = read_snapshot(s, u, l, fn, arg);
	}
	if (!e)
		e = collect_batches(s, user_index, l, after, &list, &count);
	for (size_t i = count; !e && i-- > 0;)
		e = read_batch(s, u, &list[i], false, 0, fn, arg);
	free(list);
	return e;
}

/* ---- rows ----------------------------------------------------------------
 *
 * "log." number: varint record_sequence, head_sequence, lamport, batches;
 * u8 has_batch; batch id, varint first; the one before likewise; svarint
 * first_ns, last_ns; u8 has_snapshot, id, varint of, parts, records;
 * svarint snapshot_ns. */

static void
log_row_name(unsigned user_index, char name[24])
{
	snprintf(name, 24, "log.%u", user_index + 1);
}

enum err
log_state_put(struct store *s, struct index_txn *txn, unsigned user_index,
    const struct log_state *l)
{
	uint8_t row[512];
	char name[24];
	struct wr w;

	(void)s;
	log_row_name(user_index, name);
	wr_init(&w, row, sizeof(row));
	wr_varint(&w, l->record_sequence);
	wr_varint(&w, l->head_sequence);
	wr_varint(&w, l->lamport);
	wr_varint(&w, l->batches);
	wr_be(&w, l->has_batch, 1);
	wr_bytes(&w, l->batch.b, ID_BYTES);
	wr_varint(&w, l->batch_first);
	wr_bytes(&w, l->batch_before.b, ID_BYTES);
	wr_varint(&w, l->batch_before_first);
	wr_svarint(&w, l->first_ns);
	wr_svarint(&w, l->last_ns);
	wr_be(&w, l->has_snapshot, 1);
	wr_bytes(&w, l->snapshot.b, ID_BYTES);
	wr_varint(&w, l->snapshot_of);
	wr_varint(&w, l->snapshot_parts);
	wr_varint(&w, l->snapshot_records);
	wr_svarint(&w, l->snapshot_ns);
	assert(!w.bad);
	return index_put(
	    txn, INDEX_META, name, strlen(name), row, wr_len(&w));
}

enum err
log_state_get(struct store *s, struct index_txn *txn, unsigned user_index,
    struct log_state *l)
{
	const uint8_t *row;
	char name[24];
	struct rd r;
	size_t len;
	enum err e;

	(void)s;
	log_row_name(user_index, name);
	memset(l, 0, sizeof(*l));
	e = index_get(txn, INDEX_META, name, strlen(name), &row, &len);
	if (e)
		return e == ERR_ABSENT ? OK : e;
	rd_init(&r, row, len);
	l->record_sequence = rd_varint(&r);
	l->head_sequence = rd_varint(&r);
	l->lamport = rd_varint(&r);
	l->batches = rd_varint(&r);
	l->has_batch = rd_be(&r, 1);
	rd_bytes(&r, l->batch.b, ID_BYTES);
	l->batch_first = rd_varint(&r);
	rd_bytes(&r, l->batch_before.b, ID_BYTES);
	l->batch_before_first = rd_varint(&r);
	l->first_ns = rd_svarint(&r);
	l->last_ns = rd_svarint(&r);
	l->has_snapshot = rd_be(&r, 1);
	rd_bytes(&r, l->snapshot.b, ID_BYTES);
	l->snapshot_of = rd_varint(&r);
	l->snapshot_parts = (uint32_t)rd_varint(&r);
	l->snapshot_records = rd_varint(&r);
	l->snapshot_ns = rd_svarint(&r);
	return rd_done(&r) ? OK : ERR_CORRUPT;
}
