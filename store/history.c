/* history.c - what was: the log as people read it, and the tree at a moment.
 *
 * Both are the log replayed (past.h).  A view holds its past in memory and
 * reads bytes through the store's reader: what a mail held last week is in the
 * same blocks as what it holds today. */
#include "store/past.h"
#include "store/store_private.h"
#include "store/userlog.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VIEW_MEMORY_MAX ((size_t)768 << 20)

struct history {
	struct store *s;
	struct past *past;
	int64_t until_ns;
};

/* The log state of a user, with everything that waits put into it. */
static enum err
state_of(struct store *s, const char *address, unsigned *index,
    struct log_state *l)
{
	enum err e = store_checkpoint(s);

	if (e)
		return e;
	e = ERR_ABSENT;
	pthread_rwlock_rdlock(&s->lock);
	for (unsigned i = 0; e && i < s->users; i++) {
		if (strcmp(s->user[i].keys->address, address) != 0)
			continue;
		*index = i;
		*l = s->user[i].log;
		e = OK;
	}
	pthread_rwlock_unlock(&s->lock);
	return e;
}

/* ---- views -------------------------------------------------------------- */

static enum err
apply_until(void *arg, const struct ulog_batch_info *info, uint64_t sequence,
    const struct ulog_record *r)
{
	struct history *h = arg;

	(void)sequence;
	if (!info->snapshot && r->time_ns > h->until_ns)
		return ERR_AGAIN; /* past the moment: enough */
	return past_apply(h->past, r, info->device_table, info->devices);
}

enum err
store_history(struct store *s, const char *address, int64_t time_ns,
    struct history **out)
{
	struct log_state l;
	struct history *h;
	unsigned index;
	enum err e;

	if ((e = state_of(s, address, &index, &l)))
		return e;
	h = calloc(1, sizeof(*h));
	if (!h)
		return ERR_NOMEM;
	h->s = s;
	h->until_ns = time_ns;
	e = past_new(&s->keys->device_id, 1, VIEW_MEMORY_MAX, &h->past);
	if (!e)
		e = userlog_read(s, index, &l, time_ns >= l.snapshot_ns,
		    apply_until, h);
	if (e && e != ERR_AGAIN) {
		history_free(h);
		return e;
	}
	*out = h;
	return OK;
}

void
history_free(struct history *h)
{
	if (!h)
		return;
	past_free(h->past);
	free(h);
}

enum err
history_inode(struct history *h, uint64_t number, struct inode *out)
{
	return past_inode(h->past, number, out);
}

enum err
history_lookup(
    struct history *h, uint64_t dir, const char *name, struct inode *out)
{
	struct entry entry;
	enum err e = past_lookup(h->past, dir, name, strlen(name), &entry);

	return e ? e : past_inode(h->past, entry.ino, out);
}

enum err
history_list(struct history *h, uint64_t dir, uint64_t cookie,
    store_entry_fn *fn, void *arg)
{
	struct past_walk walk;
	struct entry entry;
	struct inode in;
	enum err e;

	if ((e = past_walk_init(&walk, h->past, dir, cookie)))
		return e;
	while (!(e = past_walk_next(&walk, &entry))) {
		if ((e = past_inode(h->past, entry.ino, &in)))
			return e;
		if (!fn(arg, &entry, &in))
			return OK;
	}
	return e == ERR_ABSENT ? OK : e;
}

enum err
history_read(struct history *h, uint64_t number, uint64_t off, void *buf,
    size_t len, size_t *got)
{
	struct inode in;
	enum err e = past_inode(h->past, number, &in);

	if (e)
		return e;
	if (!S_ISREG(in.mode))
		return S_ISDIR(in.mode) ? ERR_ISDIR : ERR_INVALID;
	return content_read(h->s->reader, &in.content, off, buf, len, got);
}

enum err
history_read_link(struct history *h, uint64_t number, char *buf, size_t cap)
{
	const uint8_t *row;
	struct inode in;
	size_t row_len;
	enum err e = past_inode(h->past, number, &in);

	if (e)
		return e;
	if ((e = past_xattrs(h->past, number, &row, &row_len)))
		return e;
	return link_target(&in, row, row_len, buf, cap);
}

enum err
store_history_range(
    struct store *s, const char *address, int64_t *first_ns, int64_t *last_ns)
{
	enum err e = ERR_ABSENT;

	pthread_rwlock_rdlock(&s->lock);
	for (unsigned i = 0; e && i < s->users; i++) {
		if (strcmp(s->user[i].keys->address, address) != 0)
			continue;
		*first_ns = s->user[i].log.first_ns;
		*last_ns = s->user[i].log.last_ns;
		e = OK;
	}
	pthread_rwlock_unlock(&s->lock);
	return e;
}

/* ---- the log as lines --------------------------------------------------- */

struct line {
	uint64_t sequence, size;
	int64_t time_ns;
	enum ulog_op op;
	char *path, *to_path;
};

/* The newest `max` lines, as a ring. */
struct lines {
	struct past *past;
	struct line *line;
	uint64_t max, count;
};

static const char *const op_name[ULOG_OP_END] = {
	[ULOG_CREATE] = "create",
	[ULOG_CONTENT] = "content",
	[ULOG_LINK] = "link",
	[ULOG_UNLINK] = "unlink",
	[ULOG_RENAME] = "rename",
	[ULOG_EXCHANGE] = "exchange",
	[ULOG_SETATTR] = "setattr",
	[ULOG_XATTR] = "xattr",
};

/* "dir's path/name", or the object's own path when name is NULL. */
static char *
path_in(struct past *past, uint64_t number, const char *name, size_t name_len)
{
	char buf[8192];
	size_t len;

	if (past_path(past, number, buf, sizeof(buf) - ULOG_NAME_MAX - 2))
		memcpy(buf, "?", 2);
	len = strlen(buf);
	if (name) {
		if (len)
			buf[len++] = '/';
		memcpy(buf + len, name, name_len);
		buf[len + name_len] = '\0';
	}
	return strdup(buf);
}

static enum err
add_line(void *arg, const struct ulog_batch_info *info, uint64_t sequence,
    const struct ulog_record *r)
{
	struct lines *ls = arg;
	struct line *l = &ls->line[ls->count % ls->max];
	bool named = r->op != ULOG_CONTENT && r->op != ULOG_SETATTR &&
	    r->op != ULOG_XATTR;

	free(l->path);
	free(l->to_path);
	memset(l, 0, sizeof(*l));
	l->sequence = sequence;
	l->time_ns = r->time_ns;
	l->op = r->op;
	l->size = r->size;
	l->path = named
	    ? path_in(ls->past, r->dir.number, r->name, r->name_len)
	    : path_in(ls->past, r->object.number, NULL, 0);
	if (r->op == ULOG_RENAME || r->op == ULOG_EXCHANGE)
		l->to_path = path_in(ls->past, r->to_dir.number, r->to_name,
		    r->to_name_len);
	ls->count++;
	if (!l->path)
		return ERR_NOMEM;
	return past_apply(ls->past, r, info->device_table, info->devices);
}

static void
tell_lines(const struct lines *ls, store_log_fn *fn, void *arg)
{
	uint64_t n = ls->count < ls->max ? ls->count : ls->max;

	for (uint64_t i = 0; i < n; i++) {
		const struct line *l =
		    &ls->line[(ls->count - 1 - i) % ls->max];
		struct log_line line = {
			.sequence = l->sequence,
			.time_ns = l->time_ns,
			.op = op_name[l->op],
			.path = l->path,
			.to_path = l->to_path,
			.size = l->size,
		};

		if (!fn(arg, &line))
			return;
	}
}

enum err
store_log(struct store *s, const char *address, uint64_t max,
    store_log_fn *fn, void *arg)
{
	struct lines ls = { 0 };
	struct log_state l;
	unsigned index;
	enum err e;

	if (max == 0)
		return OK;
	if ((e = state_of(s, address, &index, &l)))
		return e;
	ls.max = max < l.record_sequence ? max : l.record_sequence;
	if (ls.max == 0)
		return OK;
	ls.line = calloc((size_t)ls.max, sizeof(*ls.line));
	if (!ls.line)
		return ERR_NOMEM;
	e = past_new(
	    &s->keys->device_id, 1, VIEW_MEMORY_MAX, &ls.past);
	if (!e)
		e = userlog_read(s, index, &l, false, add_line, &ls);
	if (!e)
		tell_lines(&ls, fn, arg);
	for (uint64_t i = 0; i < ls.max; i++) {
		free(ls.line[i].path);
		free(ls.line[i].to_path);
	}
	free(ls.line);
	past_free(ls.past);
	return e;
}
