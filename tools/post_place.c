#include "tools/post_place_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Messages that a kill -9 may let an import through a mount do again, if their
 * flags were changed in between. */
#define MOUNT_BATCH 500

bool
folder_is_name(const char *name)
{
	size_t len = strlen(name);

	return len > 1 && len <= FOLDER_NAME_MAX && name[0] == '.' &&
	       strcmp(name, "..") != 0;
}

bool
folder_name_from(const char *said, char out[FOLDER_NAME_MAX + 1])
{
	size_t at = 0;

	out[0] = '\0';
	while (*said == '.' || *said == '/')
		said++;
	if (!*said || strcmp(said, "INBOX") == 0)
		return true;
	out[at++] = '.';
	for (; *said; said++) {
		char c = *said == '/' ? '.' : *said;

		if ((unsigned char)c < ' ' || c == 0x7f ||
		    at == FOLDER_NAME_MAX || (c == '.' && out[at - 1] == '.'))
			return false;
		out[at++] = c;
	}
	if (out[at - 1] == '.')
		at--; /* "Lists/" */
	out[at] = '\0';
	return true;
}

int
place_room(uint8_t **bytes, size_t *cap, size_t len)
{
	size_t more = *cap ? *cap : 65536;
	uint8_t *p;

	if (len <= *cap && *bytes)
		return STATUS_DONE;
	while (more < len)
		more *= 2;
	p = realloc(*bytes, more);
	if (!p)
		return fail(STATUS_AGAIN, "out of memory: free some, and run "
					  "the same command again");
	*bytes = p;
	*cap = more;
	return STATUS_DONE;
}

/* The user named, or the only one, out of the daemon's or home's list. */
static int
choose_user(struct place *p, const char *address)
{
	char *text, *rest, *one;
	unsigned users = 0;
	int status = ask_text(p->asker, &text, "users");

	if (status)
		return status;
	rest = text;
	while ((one = strsep(&rest, "\n"))) {
		if (!*one || (address && strcmp(one, address) != 0))
			continue;
		users++;
		if (!text_copy(p->user, sizeof(p->user), one))
			users = 0;
	}
	free(text);
	if (users == 1)
		return STATUS_DONE;
	if (address)
		return fail(STATUS_FAILED,
		    "%s: no such user here: see 'post "
		    "status'",
		    address);
	return fail(STATUS_USAGE,
	    "--user: there are %s users here: name one "
	    "with --user ADDRESS",
	    users ? "several" : "no");
}

static int
open_store(struct place *p)
{
	struct inode in;
	uint64_t root;
	enum err e;

	p->ops = &place_store_ops;
	p->store = asker_home(p->asker)->store;
	if ((e = store_user_root(p->store, p->user, &root)) ||
	    (e = store_lookup(p->store, root, "Maildir", &in)))
		return fail(err_status(e),
		    "%s/Maildir: %s: make it in the "
		    "mount with 'mkdir'",
		    p->user, err_text(e));
	p->uid = in.uid;
	p->gid = in.gid;
	p->maildir = in.ino;
	store_bulk(p->store, true);
	return STATUS_DONE;
}

static int
open_mount(struct place *p)
{
	char *text, *rest, *mountpoint, *subtree, whole[PATH_MAX];
	struct stat st;
	bool fits;
	int status = ask_text(p->asker, &text, "hello");

	if (status)
		return status;
	p->ops = &place_mount_ops;
	rest = text;
	strsep(&rest, "\n");
	mountpoint = strsep(&rest, "\n");
	subtree = strsep(&rest, "\n");
	if (!mountpoint || !*mountpoint || !subtree) {
		free(text);
		return fail(STATUS_AGAIN,
		    "control: the daemon has no mount: "
		    "stop it, then run the same command again");
	}
	fits = text_format(whole, sizeof(whole), "%s/Maildir", p->user);
	if (*subtree && !path_within(whole, subtree)) {
		status = fail(STATUS_FAILED,
		    "%s: shows only %s: unmount it, "
		    "then run the same command again",
		    mountpoint, subtree);
		free(text);
		return status;
	}
	fits =
	    fits && text_format(p->path, sizeof(p->path), "%s%s%s", mountpoint,
			*subtree ? "" : "/", whole + strlen(subtree));
	free(text);
	if (!fits)
		return fail(STATUS_FAILED,
		    "%s: path is too long: mount at a "
		    "shorter one",
		    p->user);
	if (stat(p->path, &st))
		return fail(STATUS_FAILED, "%s: %s: make it with 'mkdir'",
		    p->path, strerror(errno));
	p->uid = st.st_uid;
	p->gid = st.st_gid;
	return STATUS_DONE;
}

int
place_open(const struct common *c, const char *address, struct place **out)
{
	struct place *p = calloc(1, sizeof(*p));
	int status, closed;

	if (!p)
		return fail(STATUS_AGAIN, "out of memory: free some");
	if ((status = asker_open(c, &p->asker)) == STATUS_DONE &&
	    (status = choose_user(p, address)) == STATUS_DONE)
		status = asker_home(p->asker) ? open_store(p) : open_mount(p);
	if (status == STATUS_DONE) {
		*out = p;
		return STATUS_DONE;
	}
	closed = place_close(p);
	return closed ? closed : status;
}

int
place_close(struct place *p)
{
	int status = STATUS_DONE;

	if (!p)
		return STATUS_DONE;
	if (p->store) {
		status = place_settle(p);
		store_bulk(p->store, false);
	}
	if (asker_close(p->asker) && status == STATUS_DONE)
		status = STATUS_FAILED;
	free(p);
	return status;
}

const char *
place_user(const struct place *p)
{
	return p->user;
}

int
place_settle(struct place *p)
{
	return ask(p->asker, NULL, NULL, "checkpoint");
}

void
place_batch(const struct place *p, uint64_t *bytes, size_t *messages)
{
	*bytes = p->store ? 32u << 20 : 8u << 20;
	*messages = p->store ? SIZE_MAX : MOUNT_BATCH;
}

bool
place_marks_at_once(const struct place *p)
{
	return p->store != NULL;
}

struct bits {
	bool *has;
	size_t at, n;
};

static bool
take_bits(void *arg, const void *bytes, size_t len)
{
	struct bits *b = arg;

	for (size_t i = 0; i < len && b->at < b->n; i++)
		b->has[b->at++] = ((const char *)bytes)[i] == '1';
	return true;
}

/* "has" or "add" and as many marks as a line has room for. */
static int
ask_marks(struct place *p, const char *what, const uint8_t (*marks)[MARK_BYTES],
    size_t n, bool *has)
{
	const size_t each = 2 * MARK_BYTES + 1;
	const size_t most = (CONTROL_LINE_MAX - 16) / each;
	char *line = malloc(CONTROL_LINE_MAX);
	int status = STATUS_DONE;

	if (!line)
		return fail(STATUS_AGAIN, "out of memory: free some, and run "
					  "the same command again");
	while (n && status == STATUS_DONE) {
		size_t now = n < most ? n : most, at = 0;
		struct bits bits = { .has = has, .n = now };

		for (size_t i = 0; i < now; i++) {
			line[at++] = ' ';
			for (size_t j = 0; j < MARK_BYTES; j++, at += 2)
				snprintf(line + at, 3, "%02x", marks[i][j]);
		}
		line[at] = '\0';
		status = ask(p->asker, has ? take_bits : NULL, &bits, "%s%s",
		    what, line);
		if (status == STATUS_DONE && has && bits.at != now)
			status = fail(STATUS_FAILED,
			    "control: marks are "
			    "missing in an answer: use programs of one "
			    "version");
		marks += now;
		n -= now;
		if (has)
			has += now;
	}
	free(line);
	return status;
}

int
place_marks_has(
    struct place *p, const uint8_t (*marks)[MARK_BYTES], size_t n, bool *has)
{
	enum err e = OK;

	if (!p->store)
		return ask_marks(p, "has", marks, n, has);
	for (size_t i = 0; i < n && !e; i++)
		e = store_ledger_has(p->store, marks[i], &has[i]);
	return e ? fail(err_status(e), "ledger: %s: run 'post doctor'",
		       err_text(e))
		 : STATUS_DONE;
}

int
place_marks_add(struct place *p, const uint8_t (*marks)[MARK_BYTES], size_t n)
{
	enum err e = OK;

	if (!p->store)
		return n ? ask_marks(p, "add", marks, n, NULL) : STATUS_DONE;
	for (size_t i = 0; i < n && !e; i++)
		e = store_ledger_add(p->store, marks[i]);
	return e ? fail(err_status(e), "ledger: %s: run 'post doctor'",
		       err_text(e))
		 : STATUS_DONE;
}

int
folder_open(struct place *p, const char *name, bool make, struct folder **out)
{
	struct folder *f = calloc(1, sizeof(*f));
	bool there = false;
	int status;

	*out = NULL;
	if (!f)
		return fail(STATUS_AGAIN, "out of memory: free some");
	f->place = p;
	f->fd = f->sub_fd[0] = f->sub_fd[1] = f->tmp_fd = -1;
	if (!text_copy(f->name, sizeof(f->name), name))
		status = fail(STATUS_FAILED,
		    "%s: folder name is too long: "
		    "give a shorter one with --folder",
		    name);
	else
		status = p->ops->folder_open(f, make, &there);
	if (status == STATUS_DONE && there)
		*out = f;
	else
		folder_close(f);
	return status;
}

void
folder_close(struct folder *f)
{
	if (!f)
		return;
	f->place->ops->folder_close(f);
	free(f);
}

const char *
folder_name(const struct folder *f)
{
	return f->name;
}

int
place_folders(struct place *p, folder_fn *fn, void *arg)
{
	int status = fn(arg, "");

	return status ? status : p->ops->folders(p, fn, arg);
}

int
folder_each(struct folder *f, enum folder_sub sub, message_fn *fn, void *arg)
{
	return f->place->ops->each(f, sub, fn, arg);
}

int
folder_read(struct folder *f, enum folder_sub sub, const char *name,
    uint8_t **bytes, size_t *cap, size_t *len, int64_t *mtime_ns, bool *here)
{
	return f->place->ops->read(
	    f, sub, name, bytes, cap, len, mtime_ns, here);
}

int
folder_look(struct folder *f, enum folder_sub sub, const char *name,
    uint64_t *len, int64_t *mtime_ns, bool *here)
{
	size_t n = 0;
	int status =
	    f->place->ops->read(f, sub, name, NULL, NULL, &n, mtime_ns, here);

	*len = n;
	return status;
}

int
folder_put(struct folder *f, enum folder_sub sub, const char *name,
    const uint8_t *bytes, size_t len, int64_t mtime_ns)
{
	return f->place->ops->put(f, sub, name, bytes, len, mtime_ns);
}

int
folder_load(
    struct folder *f, const char *name, char *out, size_t cap, size_t *len)
{
	return f->place->ops->load(f, name, out, cap, len);
}

int
folder_save(struct folder *f, const char *name, const char *text, size_t len)
{
	return f->place->ops->save(f, name, text, len);
}
