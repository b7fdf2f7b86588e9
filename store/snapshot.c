/* snapshot.c - a tree as records from nothing, so that who replays a log need
 * not begin with its first day.
 *
 * It is made from the log alone: the log is replayed into a past (past.h), and
 * the past is written down, each directory before what is in it.  So what a
 * snapshot says is what the records before it say, whatever the live tree is
 * doing meanwhile.  One is due when the records since the last are four times
 * as many as that one's own: all snapshots together then cost a third of the
 * log's bytes at most, and a replay is at most five times the tree. */
#include "store/past.h"
#include "store/userlog.h"
#include "store/xattr.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SNAPSHOT_EVERY 65536u
#define SNAPSHOT_GROWTH 4u
#define SNAPSHOT_MEMORY_MAX ((size_t)768 << 20)

struct snapshot {
	struct store *s;
	struct store_user *u;
	struct log_state *l;
	struct past *past;
	struct ulog_batch *batch;
	struct ulog_batch_info info;
	uint64_t records;
	struct id last; /* part written before */
	bool has_last;
	uint64_t last_first; /* its first_sequence */
	struct map linked; /* numbers with several names, told of already */
	/* of the attribute being written */
	const struct inode *of;
};

bool
snapshot_is_due(const struct store *s, const struct log_state *l)
{
	uint64_t every = s->env.snapshot_every;
	uint64_t since = l->record_sequence - l->snapshot_of;

	if (!every)
		every = SNAPSHOT_EVERY;
	return since >= every &&
	    since >= SNAPSHOT_GROWTH * l->snapshot_records;
}

static enum err
apply(void *arg, const struct ulog_batch_info *info, uint64_t sequence,
    const struct ulog_record *r)
{
	struct snapshot *sn = arg;

	(void)sequence;
	return past_apply(sn->past, r, info->device_table, info->devices);
}

static enum err
begin_part(struct snapshot *sn, uint32_t part)
{
	struct ulog_batch_info *info = &sn->info;

	memset(info, 0, sizeof(*info));
	info->device = sn->s->keys->device_id;
	info->first_sequence = sn->records + 1;
	info->snapshot = true;
	info->snapshot_part = part;
	info->snapshot_of = sn->l->record_sequence;
	info->devices = 1;
	info->device_table[0] = info->device;
	if (sn->has_last) {
		info->backs = 1;
		info->back[0].id = sn->last;
		info->back[0].first_sequence = sn->last_first;
	}
	return ulog_batch_new(info, &sn->batch);
}

static enum err
end_part(struct snapshot *sn)
{
	enum err e =
	    userlog_seal(sn->s, sn->u, &sn->info, sn->batch, &sn->last);

	ulog_batch_free(sn->batch);
	sn->batch = NULL;
	sn->has_last = true;
	sn->last_first = sn->info.first_sequence;
	return e;
}

static enum err
write_record(struct snapshot *sn, struct ulog_record *r)
{
	enum err e;

	r->lamport = sn->l->lamport;
	e = ulog_batch_add(sn->batch, r);
	if (e == ERR_RANGE) {
		if ((e = end_part(sn)) ||
		    (e = begin_part(sn, sn->info.snapshot_part + 1)))
			return e;
		e = ulog_batch_add(sn->batch, r);
	}
	if (!e)
		sn->records++;
	return e;
}

static void
fill_record(const struct snapshot *sn, struct ulog_record *r, enum ulog_op op,
    const struct inode *in)
{
	(void)sn;
	memset(r, 0, sizeof(*r));
	r->op = op;
	r->time_ns = in->btime_ns;
	r->object.number = in->ino;
	r->mode = in->mode;
	r->uid = in->uid;
	r->gid = in->gid;
	r->mtime_ns = in->mtime_ns;
	r->ctime_ns = in->ctime_ns;
}

static enum err
write_xattr(void *arg, const char *name, size_t name_len,
    const uint8_t *value, size_t value_len)
{
	struct snapshot *sn = arg;
	struct ulog_record r;

	fill_record(sn, &r, ULOG_XATTR, sn->of);
	r.time_ns = sn->of->ctime_ns; /* setting it sets that */
	r.name = name;
	r.name_len = name_len;
	r.value = value;
	r.value_len = value_len;
	return write_record(sn, &r);
}

static enum err
write_xattrs(struct snapshot *sn, const struct inode *in)
{
	const uint8_t *row;
	size_t len;
	enum err e = past_xattrs(sn->past, in->ino, &row, &len);

	sn->of = in;
	return e || len == 0 ? e : xattr_each(row, len, write_xattr, sn);
}

static bool
same_number(const void *item, const void *key)
{
	return *(const uint64_t *)item == *(const uint64_t *)key;
}

/* Was this object of several names told of before?  Remembers it. */
static enum err
seen_before(struct snapshot *sn, uint64_t number, bool *seen)
{
	uint64_t hash = hash64_u64(number, 1), *item;
	enum err e;

	*seen = map_find(&sn->linked, hash, same_number, &number) != NULL;
	if (*seen)
		return OK;
	item = malloc(sizeof(*item));
	if (!item)
		return ERR_NOMEM;
	*item = number;
	if ((e = map_add(&sn->linked, hash, item)))
		free(item);
	return e;
}

static enum err
write_entry(struct snapshot *sn, uint64_t dir, const struct entry *entry,
    const struct inode *in)
{
	struct ulog_record r;
	bool seen = false;
	enum err e = OK;

	if (!S_ISDIR(in->mode) && in->nlink > 1)
		e = seen_before(sn, in->ino, &seen);
	if (e)
		return e;
	fill_record(sn, &r, seen ? ULOG_LINK : ULOG_CREATE, in);
	r.dir.number = dir;
	r.name = entry->name;
	r.name_len = entry->name_len;
	if (!seen) {
		r.rdev = in->rdev;
		r.size = in->size;
		r.content = in->content;
		r.has_content = !S_ISDIR(in->mode) && in->size;
	}
	if ((e = write_record(sn, &r)) || seen)
		return e;
	return write_xattrs(sn, in);
}

/* Directories that are still to be written, as a stack of numbers. */
struct stack {
	uint64_t *number;
	size_t count, cap;
};

static enum err
push(struct stack *st, uint64_t number)
{
	if (st->count == st->cap) {
		size_t cap = st->cap ? st->cap * 2 : 64;
		uint64_t *more = realloc(st->number, cap * sizeof(*more));

		if (!more)
			return ERR_NOMEM;
		st->number = more;
		st->cap = cap;
	}
	st->number[st->count++] = number;
	return OK;
}

static enum err
write_dir(struct snapshot *sn, uint64_t dir, struct stack *st)
{
	struct past_walk walk;
	struct entry entry;
	struct inode in;
	enum err e = past_walk_init(&walk, sn->past, dir, 0);

	while (!e && !(e = past_walk_next(&walk, &entry))) {
		if ((e = past_inode(sn->past, entry.ino, &in)) ||
		    (e = write_entry(sn, dir, &entry, &in)))
			return e;
		if (S_ISDIR(in.mode))
			e = push(st, in.ino);
	}
	return e == ERR_ABSENT ? OK : e;
}

static enum err
write_all(struct snapshot *sn)
{
	struct stack st = { 0 };
	struct ulog_record r;
	struct inode root;
	enum err e = past_inode(sn->past, ULOG_ROOT, &root);

	if (!e)
		e = begin_part(sn, 0);
	if (!e) {
		fill_record(sn, &r, ULOG_SETATTR, &root);
		e = write_record(sn, &r);
	}
	if (!e && !(e = write_xattrs(sn, &root)))
		e = push(&st, ULOG_ROOT);
	while (!e && st.count)
		e = write_dir(sn, st.number[--st.count], &st);
	free(st.number);
	if (e)
		return e;
	ulog_batch_last(sn->batch);
	return end_part(sn);
}

enum err
snapshot_write(struct store *s, unsigned user_index, struct log_state *l)
{
	struct snapshot sn = { .s = s, .u = &s->user[user_index], .l = l };
	uint64_t *number;
	size_t pos = 0;
	enum err e = past_new(
	    &s->keys->device_id, 1, SNAPSHOT_MEMORY_MAX, &sn.past);

	if (!e)
		e = userlog_read(s, user_index, l, true, apply, &sn);
	if (!e)
		e = write_all(&sn);
	ulog_batch_free(sn.batch);
	past_free(sn.past);
	while ((number = map_next(&sn.linked, &pos)))
		free(number);
	map_fini(&sn.linked);
	if (e)
		return e;
	l->has_snapshot = true;
	l->snapshot = sn.last;
	l->snapshot_of = l->record_sequence;
	l->snapshot_parts = sn.info.snapshot_part + 1;
	l->snapshot_records = sn.records;
	l->snapshot_ns = l->last_ns;
	return OK;
}
