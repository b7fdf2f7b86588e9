/* A user's mail in a store that this process has open.  Nobody else looks at
 * it meanwhile, so a message is written where it belongs at once; it becomes
 * durable, with its mark, at the next checkpoint. */
#include "tools/post_place_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_BATCH 512 /* names taken at a time, since fn may use the store */

static int
problem(struct folder *f, const char *name, enum err e)
{
	char text[512];

	store_problem(f->place->store, text, sizeof(text));
	return fail(err_status(e), "%s/Maildir/%s%s%s: %s: %s", f->place->user,
	    f->name, f->name[0] ? "/" : "", name, err_text(e),
	    e == ERR_NOSPACE ? "make room, then run the same command again"
	    : text[0]        ? text
			     : "run 'post scrub'");
}

static struct store_who
who(const struct place *p)
{
	return (struct store_who){ .uid = p->uid, .gid = p->gid };
}

/* A directory's ino; 0 if it is not there and not to be made. */
static enum err
dir_ino(
    struct place *p, uint64_t dir, const char *name, bool make, uint64_t *ino)
{
	const struct store_who w = who(p);
	struct inode in;
	enum err e = store_lookup(p->store, dir, name, &in);

	*ino = 0;
	if (e == ERR_ABSENT && !make)
		return OK;
	if (e == ERR_ABSENT)
		e = store_make(p->store, dir, name, S_IFDIR | 0700, 0, NULL, &w,
		    false, &in);
	if (e)
		return e;
	if (!S_ISDIR(in.mode))
		return ERR_NOTDIR;
	*ino = in.ino;
	return OK;
}

static int
store_folder_open(struct folder *f, bool make, bool *there)
{
	struct place *p = f->place;
	uint64_t tmp;
	enum err e = OK;

	f->ino = p->maildir;
	if (f->name[0])
		e = dir_ino(p, p->maildir, f->name, make, &f->ino);
	for (int i = 0; i < 2 && !e && f->ino; i++)
		e = dir_ino(
		    p, f->ino, folder_sub_name[i], make, &f->sub_ino[i]);
	if (!e && f->ino && make)
		e = dir_ino(p, f->ino, "tmp", true, &tmp);
	if (e)
		return problem(f, "", e);
	*there = f->ino && (f->sub_ino[0] || f->sub_ino[1]);
	return STATUS_DONE;
}

static void
store_folder_close(struct folder *f)
{
	(void)f;
}

/* Some names of a directory, and the cookie to go on after. */
struct batch {
	char *name[LIST_BATCH];
	unsigned n;
	uint64_t cookie;
	uint8_t type;
	bool no_memory;
};

static bool
batch_entry(void *arg, const struct entry *e, const struct inode *ino)
{
	struct batch *b = arg;

	(void)ino;
	if (e->type == b->type) {
		if (!(b->name[b->n] = strdup(e->name))) {
			b->no_memory = true;
			return false;
		}
		b->n++;
	}
	b->cookie = e->cookie;
	return b->n < LIST_BATCH;
}

typedef int name_fn(void *arg, const char *name);

static int
each_name(struct folder *f, struct place *p, uint64_t dir, uint8_t type,
    name_fn *fn, void *arg)
{
	struct batch *b = calloc(1, sizeof(*b));
	int status = STATUS_DONE;

	if (!b)
		return fail(STATUS_AGAIN, "out of memory: free some");
	b->type = type;
	do {
		enum err e;

		b->n = 0;
		e = store_list(p->store, dir, b->cookie, false, batch_entry, b);
		if (e || b->no_memory)
			status = f ? problem(f, "", e ? e : ERR_NOMEM)
				   : fail(err_status(e ? e : ERR_NOMEM),
					 "%s/Maildir: %s: run 'post scrub'",
					 p->user, err_text(e ? e : ERR_NOMEM));
		for (unsigned i = 0; i < b->n; i++) {
			if (status == STATUS_DONE)
				status = fn(arg, b->name[i]);
			free(b->name[i]);
		}
	} while (status == STATUS_DONE && b->n == LIST_BATCH);
	free(b);
	return status;
}

struct folders_arg {
	folder_fn *fn;
	void *arg;
};

static int
one_folder(void *arg, const char *name)
{
	const struct folders_arg *a = arg;

	return folder_is_name(name) ? a->fn(a->arg, name) : STATUS_DONE;
}

static int
store_folders(struct place *p, folder_fn *fn, void *arg)
{
	struct folders_arg a = { fn, arg };

	return each_name(NULL, p, p->maildir, DT_DIR, one_folder, &a);
}

struct messages_arg {
	message_fn *fn;
	void *arg;
	enum folder_sub sub;
};

static int
one_message(void *arg, const char *name)
{
	const struct messages_arg *a = arg;

	return name[0] == '.' ? STATUS_DONE : a->fn(a->arg, a->sub, name);
}

static int
store_each(struct folder *f, enum folder_sub sub, message_fn *fn, void *arg)
{
	struct messages_arg a = { fn, arg, sub };

	if (!f->sub_ino[sub])
		return STATUS_DONE;
	return each_name(f, f->place, f->sub_ino[sub], DT_REG, one_message, &a);
}

static enum err
read_file(struct store *s, const struct inode *in, uint8_t *bytes, size_t cap,
    size_t *len)
{
	*len = 0;
	while (*len < in->size && *len < cap) {
		size_t want =
		    in->size - *len < cap - *len ? in->size - *len : cap - *len;
		size_t got;
		enum err e =
		    store_read(s, in->ino, *len, bytes + *len, want, &got);

		if (e)
			return e;
		if (got == 0)
			break;
		*len += got;
	}
	return OK;
}

static int
store_read_message(struct folder *f, enum folder_sub sub, const char *name,
    uint8_t **bytes, size_t *cap, size_t *len, int64_t *mtime_ns, bool *here)
{
	struct inode in;
	enum err e = store_lookup(f->place->store, f->sub_ino[sub], name, &in);
	int status;

	*here = e == OK;
	if (e == ERR_ABSENT)
		return STATUS_DONE;
	if (e)
		return problem(f, name, e);
	*mtime_ns = in.mtime_ns;
	*len = in.size;
	if (!bytes)
		return STATUS_DONE;
	if ((status = place_room(bytes, cap, in.size)))
		return status;
	e = read_file(f->place->store, &in, *bytes, in.size, len);
	return e ? problem(f, name, e) : STATUS_DONE;
}

/* A new file with these bytes, under a name that is free. */
static enum err
make_file(struct place *p, uint64_t dir, const char *name, const void *bytes,
    size_t len, struct inode *out)
{
	const struct store_who w = who(p);
	enum err e = store_make(
	    p->store, dir, name, S_IFREG | 0600, 0, NULL, &w, false, out);

	if (!e && len)
		e = store_write(p->store, out->ino, 0, bytes, len, false);
	return e;
}

static int
store_put(struct folder *f, enum folder_sub sub, const char *name,
    const uint8_t *bytes, size_t len, int64_t mtime_ns)
{
	const struct store_set set = { .set = STORE_SET_MTIME,
		.mtime_ns = mtime_ns };
	struct store *s = f->place->store;
	uint64_t dir = f->sub_ino[sub];
	struct inode in;
	enum err e = make_file(f->place, dir, name, bytes, len, &in);

	if (e == ERR_EXISTS && (e = store_unlink(s, dir, name)) == OK)
		e = make_file(f->place, dir, name, bytes, len, &in);
	if (!e)
		e = store_set_attr(s, in.ino, &set, &in);
	return e ? problem(f, name, e) : STATUS_DONE;
}

static int
store_load(
    struct folder *f, const char *name, char *out, size_t cap, size_t *len)
{
	struct inode in;
	enum err e = store_lookup(f->place->store, f->ino, name, &in);

	*len = 0;
	if (e == OK)
		e = read_file(f->place->store, &in, (uint8_t *)out, cap, len);
	return e && e != ERR_ABSENT ? problem(f, name, e) : STATUS_DONE;
}

static int
store_save(struct folder *f, const char *name, const char *text, size_t len)
{
	struct store *s = f->place->store;
	char fresh[NAME_BYTES_MAX + 1];
	struct inode in;
	enum err e;

	if (!text_format(fresh, sizeof(fresh), "%s.lock", name))
		return problem(f, name, ERR_NAME_TOO_LONG);
	e = store_unlink(s, f->ino, fresh); /* an interrupted one's */
	if (!e || e == ERR_ABSENT)
		e = make_file(f->place, f->ino, fresh, text, len, &in);
	if (!e)
		e = store_rename(s, f->ino, fresh, f->ino, name, 0);
	return e ? problem(f, name, e) : STATUS_DONE;
}

const struct place_ops place_store_ops = {
	.folder_open = store_folder_open,
	.folder_close = store_folder_close,
	.folders = store_folders,
	.each = store_each,
	.read = store_read_message,
	.put = store_put,
	.load = store_load,
	.save = store_save,
};
