/* post export: a user's mail as a Maildir++ tree, or one folder as an mbox.
 *
 * A Maildir is filled through its tmp/, so that what is there is whole, and
 * what is there already, under the same name and with the same size, is left
 * alone: an interrupted export goes on where it stopped. */
#include "fs/maildir.h"
#include "overlay/base/map.h"
#include "tools/post_date.h"
#include "tools/post_keywords.h"
#include "tools/post_mbox.h"
#include "tools/post_place.h"
#include "tools/post_progress.h"
#include "tools/post_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const sub_name[] = { "cur", "new" };

struct there { /* a message that DEST has: its name without flags */
	enum folder_sub sub;
	uint64_t size;
	size_t base_len;
	char name[]; /* whole */
};

struct export
{
	struct place *place;
	char below[FOLDER_NAME_MAX + 1]; /* --folder: what is exported */
	const char *dest;
	struct progress progress;
	uint8_t *bytes;
	size_t cap;
	uint64_t exported, exported_bytes, skipped;
	bool stopped, found; /* any folder */
	/* the folder at hand */
	struct folder *folder;
	int sub_fd[2], tmp_fd;
	struct map there;
	/* --mbox */
	bool no_status;
	FILE *mbox;
	struct keywords keywords;
};

static int
problem(const struct export *x, const char *name)
{
	return fail(STATUS_FAILED,
	    "%s/%s: %s: mend that, then run the same "
	    "command again: what is done is not done twice",
	    x->dest, name, strerror(errno));
}

static int
no_memory(void)
{
	return fail(STATUS_AGAIN, "export: out of memory: free some, then run "
				  "the same command again");
}

/* ---- what is there already ---------------------------------------------- */

struct base {
	const char *name;
	size_t len;
};

static bool
there_match(const void *item, const void *key)
{
	const struct there *t = item;
	const struct base *b = key;

	return t->base_len == b->len && memcmp(t->name, b->name, b->len) == 0;
}

static struct base
base_of(const char *name)
{
	struct maildir_name parts;

	maildir_parse(name, &parts);
	return (struct base){ name, parts.base_len };
}

static struct there *
there_find(const struct export *x, const char *name)
{
	struct base b = base_of(name);

	return map_find(&x->there, hash64(b.name, b.len, 0), there_match, &b);
}

static int
there_add(
    struct export *x, enum folder_sub sub, const char *name, uint64_t size)
{
	struct base b = base_of(name);
	size_t len = strlen(name) + 1;
	struct there *t = malloc(sizeof(*t) + len);

	if (!t || map_add(&x->there, hash64(b.name, b.len, 0), t)) {
		free(t);
		return no_memory();
	}
	t->sub = sub;
	t->size = size;
	t->base_len = b.len;
	memcpy(t->name, name, len);
	return STATUS_DONE;
}

static void
there_free(struct export *x)
{
	size_t pos = 0;
	void *t;

	while ((t = map_next(&x->there, &pos)))
		free(t);
	map_fini(&x->there);
	map_init(&x->there);
}

static int
there_read(struct export *x, enum folder_sub sub)
{
	int fd =
	    openat(x->sub_fd[sub], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	int status = STATUS_DONE;
	struct dirent *e;
	struct stat st;

	if (!d) {
		status = problem(x, sub_name[sub]);
		if (fd >= 0)
			close(fd);
		return status;
	}
	while (status == STATUS_DONE && (e = readdir(d)))
		if (e->d_name[0] != '.' &&
		    fstatat(x->sub_fd[sub], e->d_name, &st,
			AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && !there_find(x, e->d_name))
			status =
			    there_add(x, sub, e->d_name, (uint64_t)st.st_size);
	closedir(d);
	return status;
}

/* ---- Maildir ------------------------------------------------------------ */

static int
write_message(struct export *x, enum folder_sub sub, const char *name,
    size_t len, int64_t mtime_ns)
{
	int fd = openat(
	    x->tmp_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && fd_write_all(fd, x->bytes, len) &&
		  fd_set_mtime(fd, mtime_ns);
	int number = errno, status;

	if (fd >= 0 && close(fd) && ok) {
		ok = false;
		number = errno;
	}
	if (ok && renameat(x->tmp_fd, name, x->sub_fd[sub], name) == 0)
		return STATUS_DONE;
	if (!ok)
		errno = number;
	status = problem(x, name);
	unlinkat(x->tmp_fd, name, 0);
	return status;
}

static int
export_message(void *arg, enum folder_sub sub, const char *name)
{
	struct export *x = arg;
	struct there *t = there_find(x, name);
	uint64_t size = 0;
	int64_t mtime_ns;
	size_t len = 0;
	bool here;
	int status;

	if (progress_stopped()) {
		x->stopped = true;
		return STATUS_AGAIN;
	}
	if (t) {
		status =
		    folder_look(x->folder, sub, name, &size, &mtime_ns, &here);
		if (status || !here)
			return status;
	}
	if (t && t->size == size) {
		x->skipped++;
		progress_step(&x->progress, size, 1);
		/* Only its flags, or cur and new, may differ. */
		if ((t->sub == sub && strcmp(t->name, name) == 0) ||
		    renameat(
			x->sub_fd[t->sub], t->name, x->sub_fd[sub], name) == 0)
			return STATUS_DONE;
		return problem(x, name);
	}
	if ((status = folder_read(x->folder, sub, name, &x->bytes, &x->cap,
		 &len, &mtime_ns, &here)) ||
	    !here)
		return status;
	if ((status = write_message(x, sub, name, len, mtime_ns)))
		return status;
	x->exported++;
	x->exported_bytes += len;
	progress_step(&x->progress, len, 1);
	return STATUS_DONE;
}

static int
open_or_make(const char *dir, const char *name, int *out)
{
	char path[PATH_MAX];

	*out = -1;
	if (!text_format(
		path, sizeof(path), "%s%s%s", dir, *name ? "/" : "", name)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (mkdir(path, 0700) && errno != EEXIST)
		return -1;
	*out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *out < 0 ? -1 : 0;
}

/* The folder's dovecot-keywords, whole; the letters in names stay as they
 * are. */
static int
export_keywords(struct export *x, const char *dir)
{
	char text[KEYWORDS_TEXT_MAX], path[PATH_MAX], fresh[PATH_MAX];
	size_t len;
	int fd, status;
	bool ok;

	if ((status = folder_load(
		 x->folder, KEYWORDS_FILE, text, sizeof(text), &len)) ||
	    len == 0)
		return status;
	if (!text_format(path, sizeof(path), "%s/" KEYWORDS_FILE, dir) ||
	    !text_format(fresh, sizeof(fresh), "%s.new", path)) {
		errno = ENAMETOOLONG;
		return problem(x, KEYWORDS_FILE);
	}
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ok = fd >= 0 && fd_write_all(fd, text, len);
	if (fd >= 0)
		ok = close(fd) == 0 && ok;
	return ok && rename(fresh, path) == 0 ? STATUS_DONE
					      : problem(x, KEYWORDS_FILE);
}

static int
export_open_folder(struct export *x, const char *dir)
{
	int fd, status;

	x->sub_fd[0] = x->sub_fd[1] = x->tmp_fd = -1;
	if (open_or_make(dir, "", &fd))
		return problem(x, "");
	close(fd);
	if (open_or_make(dir, "cur", &x->sub_fd[FOLDER_CUR]) ||
	    open_or_make(dir, "new", &x->sub_fd[FOLDER_NEW]) ||
	    open_or_make(dir, "tmp", &x->tmp_fd))
		status = problem(x, "");
	else if ((status = there_read(x, FOLDER_CUR)) == STATUS_DONE &&
		 (status = there_read(x, FOLDER_NEW)) == STATUS_DONE &&
		 (status = export_keywords(x, dir)) == STATUS_DONE &&
		 (status = folder_each(
		      x->folder, FOLDER_CUR, export_message, x)) == STATUS_DONE)
		status = folder_each(x->folder, FOLDER_NEW, export_message, x);
	there_free(x);
	for (int i = 0; i < 2; i++)
		if (x->sub_fd[i] >= 0)
			close(x->sub_fd[i]);
	if (x->tmp_fd >= 0)
		close(x->tmp_fd);
	return status;
}

/* "" for the folder named by --folder itself, ".Sub" for one below it; NULL:
 * it is none of those. */
static const char *
rest_of(const struct export *x, const char *name)
{
	size_t len = strlen(x->below);

	if (strncmp(name, x->below, len) != 0 ||
	    (name[len] != '\0' && name[len] != '.'))
		return NULL;
	return name + len;
}

static int
export_folder(void *arg, const char *name)
{
	struct export *x = arg;
	const char *rest = rest_of(x, name);
	char dir[PATH_MAX];
	int status;

	if (!rest)
		return STATUS_DONE;
	if ((status = folder_open(x->place, name, false, &x->folder)))
		return status;
	if (!x->folder)
		return STATUS_DONE;
	x->found = true;
	if (text_format(
		dir, sizeof(dir), "%s%s%s", x->dest, *rest ? "/" : "", rest)) {
		status = export_open_folder(x, dir);
	} else {
		errno = ENAMETOOLONG;
		status = problem(x, rest);
	}
	folder_close(x->folder);
	x->folder = NULL;
	return status;
}

static int
no_folder(const struct export *x)
{
	return fail(STATUS_FAILED,
	    "--folder: %s: no such folder: see 'ls -A' "
	    "in the mount",
	    x->below + (x->below[0] == '.'));
}

static int
export_maildir(struct export *x)
{
	int fd, status = place_folders(x->place, export_folder, x);

	if (status != STATUS_DONE)
		return status;
	if (!x->found)
		return no_folder(x);
	fd = open(x->dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd))
		status = problem(x, "");
	if (fd >= 0)
		close(fd);
	return status;
}

/* ---- mbox --------------------------------------------------------------- */

/* Status:, X-Status: and X-Keywords: of a message, before its own header. */
static void
write_state(struct export *x, enum folder_sub sub, const char *name)
{
	static const char of_flag[][2] = { { 'R', 'A' }, { 'F', 'F' },
		{ 'D', 'T' }, { 'T', 'D' } };
	char flags[64], letters[32];
	struct maildir_name parts;
	bool any = false;

	maildir_parse(name, &parts);
	source_flags(parts.flags, flags, letters);
	if (sub == FOLDER_NEW && !flags[0])
		return; /* no Status: is what new means */
	fprintf(x->mbox, "Status: %sO\n", strchr(flags, 'S') ? "R" : "");
	for (size_t i = 0; i < sizeof(of_flag) / 2; i++) {
		if (!strchr(flags, of_flag[i][0]))
			continue;
		fprintf(
		    x->mbox, "%s%c", any ? "" : "X-Status: ", of_flag[i][1]);
		any = true;
	}
	if (any)
		putc('\n', x->mbox);
	any = false;
	for (const char *p = letters; *p; p++) {
		const char *word = keywords_name(&x->keywords, *p);

		if (word)
			fprintf(
			    x->mbox, "%s%s", any ? " " : "X-Keywords: ", word);
		any = any || word;
	}
	if (any)
		putc('\n', x->mbox);
}

/* The bytes, with '>' before each line that is '>'s and "From " (mboxrd). */
static void
write_quoted(FILE *out, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while (p < end) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
		const uint8_t *stop = nl ? nl + 1 : end, *q = p;

		while (q < stop && *q == '>')
			q++;
		if (stop - q >= 5 && memcmp(q, "From ", 5) == 0)
			putc('>', out);
		fwrite(p, 1, (size_t)(stop - p), out);
		p = stop;
	}
	if (len && end[-1] != '\n')
		putc('\n', out);
	putc('\n', out);
}

static int
mbox_message(void *arg, enum folder_sub sub, const char *name)
{
	struct export *x = arg;
	int64_t mtime_ns;
	char date[32];
	size_t len = 0;
	bool here;
	int status;

	if (progress_stopped()) {
		x->stopped = true;
		return STATUS_AGAIN;
	}
	if ((status = folder_read(x->folder, sub, name, &x->bytes, &x->cap,
		 &len, &mtime_ns, &here)) ||
	    !here)
		return status;
	date_asctime(mtime_ns / 1000000000, date);
	fprintf(x->mbox, "From MAILER-DAEMON %s\n", date);
	if (!x->no_status)
		write_state(x, sub, name);
	write_quoted(x->mbox, x->bytes, len);
	if (ferror(x->mbox))
		return fail(STATUS_FAILED, "%s: %s: make room", x->dest,
		    strerror(errno));
	x->exported++;
	x->exported_bytes += len;
	progress_step(&x->progress, len, 1);
	return STATUS_DONE;
}

static int
fill_mbox(struct export *x)
{
	char text[KEYWORDS_TEXT_MAX];
	size_t len;
	int status = folder_open(x->place, x->below, false, &x->folder);

	if (status)
		return status;
	if (!x->folder)
		return no_folder(x);
	if ((status = folder_load(x->folder, KEYWORDS_FILE, text, sizeof(text),
		 &len)) == STATUS_DONE) {
		keywords_read(&x->keywords, text, len);
		if ((status = folder_each(x->folder, FOLDER_CUR, mbox_message,
			 x)) == STATUS_DONE)
			status =
			    folder_each(x->folder, FOLDER_NEW, mbox_message, x);
	}
	folder_close(x->folder);
	return status;
}

/* Into FILE.part, which becomes FILE when it is whole. */
static int
export_mbox(struct export *x)
{
	char part[PATH_MAX];
	int fd, status;

	if (access(x->dest, F_OK) == 0)
		return fail(STATUS_FAILED,
		    "%s: is there already: remove it, "
		    "or name another file",
		    x->dest);
	if (!text_format(part, sizeof(part), "%s.part", x->dest))
		return fail(STATUS_FAILED,
		    "%s: path is too long: name "
		    "another file",
		    x->dest);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || !(x->mbox = fdopen(fd, "w"))) {
		status = fail(STATUS_FAILED, "%s: %s: name another file", part,
		    strerror(errno));
		if (fd >= 0)
			close(fd);
		return status;
	}
	status = fill_mbox(x);
	if (status == STATUS_DONE && (fflush(x->mbox) || fsync(fd)))
		status = fail(
		    STATUS_FAILED, "%s: %s: make room", part, strerror(errno));
	if (fclose(x->mbox) && status == STATUS_DONE)
		status = fail(
		    STATUS_FAILED, "%s: %s: make room", part, strerror(errno));
	if (status == STATUS_DONE && rename(part, x->dest))
		status = fail(STATUS_FAILED, "%s: %s: name another file",
		    x->dest, strerror(errno));
	if (status != STATUS_DONE)
		unlink(part);
	return status;
}

/* ---- the whole ---------------------------------------------------------- */

static void
report(const struct export *x)
{
	char a[32], b[32], c[32];

	printf("exported %s messages (%s) of %s to %s",
	    text_count(x->exported, a), text_bytes(x->exported_bytes, b),
	    place_user(x->place), x->dest);
	if (x->skipped)
		printf("; %s were there already", text_count(x->skipped, c));
	putchar('\n');
}

int
cmd_export(struct common *c, int argc, char **argv)
{
	const char *user = NULL, *folder = "", *mbox = NULL;
	struct export x = { .sub_fd = { -1, -1 }, .tmp_fd = -1 };
	const struct opt opts[] = {
		{ .name = "user",
		    .letter = 'u',
		    .kind = OPT_TEXT,
		    .into = &user,
		    .arg = "ADDRESS",
		    .help = "whose mail it is (the only user's)" },
		{ .name = "folder",
		    .letter = 'F',
		    .kind = OPT_TEXT,
		    .into = &folder,
		    .arg = "FOLDER",
		    .help = "only this one, and those below it" },
		{ .name = "mbox",
		    .kind = OPT_TEXT,
		    .into = &mbox,
		    .arg = "FILE",
		    .help = "that folder (or the INBOX) as one mboxrd file" },
		{ .name = "no-status",
		    .kind = OPT_FLAG,
		    .into = &x.no_status,
		    .help = "with --mbox: add no Status: fields" },
		{ .name = "quiet",
		    .letter = 'q',
		    .kind = OPT_FLAG,
		    .into = &c->quiet,
		    .help = "no progress line" },
		COMMON_OPTS(c)
	};
	int status = verb_begin("export", c, opts, &argc, argv, 0, 1), closed;

	if (status >= 0)
		return status;
	if (!mbox == (argc == 0))
		return fail(STATUS_USAGE,
		    "export: give either a directory or "
		    "--mbox FILE: usage: post export [--user U] [--folder F] "
		    "DEST");
	if (!folder_name_from(folder, x.below))
		return fail(STATUS_USAGE,
		    "--folder: '%s' is no folder name: "
		    "give one such as Lists/linux",
		    folder);
	x.dest = mbox ? mbox : argv[0];
	if ((status = place_open(c, user, &x.place)))
		return status;
	progress_signals();
	progress_begin(&x.progress, "export", c->quiet);
	status = mbox ? export_mbox(&x) : export_maildir(&x);
	progress_end(&x.progress);
	if (status == STATUS_DONE || !mbox)
		report(&x);
	if (x.stopped)
		say("export: stopped: run the same command again to go on");
	free(x.bytes);
	closed = place_close(x.place);
	return status ? status : closed;
}
