#include "tools/post_source.h"

#include "fs/maildir.h"
#include "store/mime.h"
#include "tools/post_date.h"
#include "tools/post_mbox.h"
#include "tools/post_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_MIN (1u << 20)
#define MAIL_MAX (1u << 30) /* bytes of one message */
#define HEAD_BYTES 4096 /* looked at to tell what a file is */
#define DEPTH_MAX 32

static int
problem(const char *path)
{
	return fail(STATUS_FAILED,
	    "%s: %s: mend that, then run the same "
	    "command again: what is done is not done twice",
	    path, strerror(errno));
}

static int
room(struct source *s, size_t len, const char *path)
{
	uint8_t *p;

	if (len <= s->cap)
		return STATUS_DONE;
	if (len > MAIL_MAX)
		return fail(STATUS_FAILED,
		    "%s: has a message of more than a "
		    "gigabyte: take it out",
		    path);
	p = realloc(s->buffer, len);
	if (!p)
		return fail(STATUS_AGAIN,
		    "%s: out of memory: free some, then "
		    "run the same command again",
		    path);
	s->buffer = p;
	s->cap = len;
	return STATUS_DONE;
}

void
source_fini(struct source *s)
{
	free(s->buffer);
	s->buffer = NULL;
	s->cap = 0;
}

/* Put a letter in its place, unless it is there. */
static void
add_letter(char *letters, size_t cap, char c)
{
	size_t n = strlen(letters), at = 0;

	while (at < n && letters[at] < c)
		at++;
	if (letters[at] == c || n + 1 >= cap)
		return;
	memmove(letters + at + 1, letters + at, n - at + 1);
	letters[at] = c;
}

void
source_flags(const char *info, char flags[64], char letters[32])
{
	flags[0] = letters[0] = '\0';
	for (; *info && *info != ','; info++)
		if (*info >= 'A' && *info <= 'Z')
			add_letter(flags, 64, *info);
		else if (*info >= 'a' && *info <= 'z')
			add_letter(letters, 32, *info);
}

/* ---- mbox, .eml --------------------------------------------------------- */

static void
keywords_of_header(struct source_message *m)
{
	size_t len;
	const char *p = mail_header(m->bytes, m->len, "X-Keywords", &len);
	const char *end = p ? p + len : p;

	while (p < end && m->keywords < KEYWORDS_MAX) {
		const char *from;

		while (p < end && strchr(" \t\r\n", *p) && *p)
			p++;
		from = p;
		while (p < end && !(strchr(" \t\r\n", *p) && *p))
			p++;
		if (p > from) {
			m->keyword[m->keywords] = from;
			m->keyword_len[m->keywords++] = (size_t)(p - from);
		}
	}
}

/* State from the message's own header, date from it unless one is known. */
static int
give_loose(struct source *s, struct source_message *m, bool dated,
    int64_t seconds, int64_t file_ns)
{
	size_t len;
	const char *date;

	if (m->len == 0 || mail_is_internal(m->bytes, m->len)) {
		s->passed_over++;
		return STATUS_DONE;
	}
	mail_status(m->bytes, m->len, m->flags, &m->is_new);
	keywords_of_header(m);
	if (m->flags[0] || m->keywords)
		m->is_new = false;
	if (!dated && (date = mail_header(m->bytes, m->len, "Date", &len)))
		dated = date_header(date, len, &seconds);
	m->mtime_ns = dated ? seconds * 1000000000 : file_ns;
	return s->fn(s->arg, m);
}

/* A folder below `parent`, named after a file or directory. */
static bool
sub_folder(const char *parent, const char *name, char out[FOLDER_NAME_MAX + 1])
{
	size_t len = strlen(name), at;

	if (len > 5 && strcmp(name + len - 5, ".mbox") == 0)
		len -= 5;
	if (!text_format(
		out, FOLDER_NAME_MAX + 1, "%s.%.*s", parent, (int)len, name))
		return false;
	at = strlen(parent) + 1;
	for (char *p = out + at; *p; p++)
		if (*p == '.' || (unsigned char)*p < ' ' || *p == 0x7f)
			*p = '_'; /* a dot would make a folder below */
	return true;
}

/* `own`: the folder of an mbox of more than one message; NULL: m's. */
static int
read_mbox(struct source *s, int fd, const char *path, const char *folder,
    const char *own, int64_t file_ns)
{
	struct mbox mb = { 0 };
	struct mbox_message at;
	size_t from = 0, have = 0;
	bool end = false, first = true;
	int status = room(s, WINDOW_MIN, path);

	if (status)
		return status;
	for (;;) {
		struct source_message m = { .origin = path };
		enum mbox_got got =
		    mbox_next(&mb, s->buffer + from, have - from, end, &at);
		size_t n;

		if (got == MBOX_END)
			return STATUS_DONE;
		if (got == MBOX_NONE)
			return fail(STATUS_FAILED,
			    "%s: is no mbox: mend it, "
			    "or leave it out",
			    path);
		if (got == MBOX_MESSAGE) {
			if (first && own && !at.last)
				folder = own;
			first = false;
			m.folder = folder;
			m.bytes = s->buffer + from + at.off;
			m.len =
			    s->mboxrd ? mbox_unquote(m.bytes, at.len) : at.len;
			status =
			    give_loose(s, &m, at.dated, at.seconds, file_ns);
			if (status)
				return status;
			from += at.next;
			continue;
		}
		/* More: what is done goes out of the window first. */
		have -= from;
		memmove(s->buffer, s->buffer + from, have);
		from = 0;
		if (have == s->cap && (status = room(s, 2 * s->cap, path)))
			return status;
		if (!fd_read_all(fd, s->buffer + have, s->cap - have, &n))
			return problem(path);
		have += n;
		end = have < s->cap;
	}
}

static int
read_eml(struct source *s, int fd, const char *path, const char *folder,
    const struct stat *st, int64_t file_ns)
{
	struct source_message m = { .origin = path, .folder = folder };
	int status = room(s, (size_t)st->st_size + 1, path);

	if (status)
		return status;
	if (!fd_read_all(fd, s->buffer, (size_t)st->st_size, &m.len))
		return problem(path);
	m.bytes = s->buffer;
	return give_loose(s, &m, false, 0, file_ns);
}

static int64_t
mtime_of(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static bool
ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

/* `must`: the user named this very file, so that it has to be mail. */
static int
read_file(struct source *s, const char *path, const char *folder,
    const char *own, bool must)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	uint8_t head[HEAD_BYTES];
	struct stat st;
	size_t n = 0;
	int status = STATUS_DONE;

	if (fd < 0)
		return problem(path);
	if (fstat(fd, &st) || !fd_read_all(fd, head, sizeof(head), &n) ||
	    (n && lseek(fd, 0, SEEK_SET) < 0))
		status = problem(path);
	else if (n == 0)
		s->passed_over += !must; /* an empty mbox is one */
	else if (mbox_is(head, n))
		status = read_mbox(s, fd, path, folder, own, mtime_of(&st));
	else if (ends_with(path, ".eml") || mime_is_mail(head, n))
		status = read_eml(s, fd, path, folder, &st, mtime_of(&st));
	else if (must)
		status = fail(STATUS_FAILED,
		    "%s: is neither an mbox nor a "
		    "mail: name another file",
		    path);
	else
		s->passed_over++;
	close(fd);
	return status;
}

/* ---- directories -------------------------------------------------------- */

/* All names of a directory, sorted: Maildir names sort by date, and the same
 * source is read in the same order each time. */
struct names {
	char *text; /* names one after another, each with its NUL */
	size_t len, cap;
	char **name;
	size_t count;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
names_free(struct names *l)
{
	free(l->text);
	free(l->name);
	memset(l, 0, sizeof(*l));
}

static bool
names_add(struct names *l, const char *name)
{
	size_t len = strlen(name) + 1;

	if (l->len + len > l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 65536;
		char *text = realloc(l->text, cap);

		if (!text)
			return false;
		l->text = text;
		l->cap = cap;
	}
	memcpy(l->text + l->len, name, len);
	l->len += len;
	l->count++;
	return true;
}

/* Not there: no names, STATUS_DONE. */
static int
names_read(struct names *l, const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool fits = true;
	char *p;

	memset(l, 0, sizeof(*l));
	if (!d)
		return errno == ENOENT ? STATUS_DONE : problem(path);
	while (fits && (errno = 0, e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			fits = names_add(l, e->d_name);
	if (fits && errno) {
		int status = problem(path);

		closedir(d);
		names_free(l);
		return status;
	}
	closedir(d);
	if (fits && (l->name = calloc(l->count + 1, sizeof(*l->name)))) {
		p = l->text;
		for (size_t i = 0; i < l->count; i++, p += strlen(p) + 1)
			l->name[i] = p;
		if (l->count)
			qsort(l->name, l->count, sizeof(*l->name), by_name);
		return STATUS_DONE;
	}
	names_free(l);
	return fail(STATUS_AGAIN,
	    "%s: out of memory: free some, then run the "
	    "same command again",
	    path);
}

static bool
is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool
is_maildir(const char *path)
{
	char sub[PATH_MAX];

	return (text_format(sub, sizeof(sub), "%s/cur", path) && is_dir(sub)) ||
	       (text_format(sub, sizeof(sub), "%s/new", path) && is_dir(sub));
}

static void
keywords_of_letters(
    struct source_message *m, const struct keywords *k, const char *letters)
{
	/* What Dovecot calls a letter without a line in its file. */
	static const char unknown[KEYWORDS_MAX][12] = { "unknown-0",
		"unknown-1", "unknown-2", "unknown-3", "unknown-4", "unknown-5",
		"unknown-6", "unknown-7", "unknown-8", "unknown-9",
		"unknown-10", "unknown-11", "unknown-12", "unknown-13",
		"unknown-14", "unknown-15", "unknown-16", "unknown-17",
		"unknown-18", "unknown-19", "unknown-20", "unknown-21",
		"unknown-22", "unknown-23", "unknown-24", "unknown-25" };

	for (; *letters; letters++) {
		const char *name = keywords_name(k, *letters);

		if (!name)
			name = unknown[*letters - 'a'];
		m->keyword[m->keywords] = name;
		m->keyword_len[m->keywords++] = strlen(name);
	}
}

static int
read_maildir_message(struct source *s, int dir_fd, const char *path,
    const char *name, const char *folder, const struct keywords *k, bool is_new)
{
	struct source_message m = {
		.folder = folder, .origin = path, .is_new = is_new
	};
	struct maildir_name parts;
	struct stat st;
	char letters[32];
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int status = STATUS_DONE;

	if (fd < 0) /* moved or deleted since it was listed */
		return errno == ENOENT ? STATUS_DONE : problem(path);
	if (fstat(fd, &st)) {
		status = problem(path);
	} else if (!S_ISREG(st.st_mode)) {
		s->passed_over++;
	} else if ((status = room(s, (size_t)st.st_size + 1, path)) ==
		   STATUS_DONE) {
		if (!fd_read_all(fd, s->buffer, (size_t)st.st_size, &m.len))
			status = problem(path);
	}
	close(fd);
	if (status || !S_ISREG(st.st_mode))
		return status;
	m.bytes = s->buffer;
	m.mtime_ns = mtime_of(&st);
	maildir_parse(name, &parts);
	source_flags(parts.flags, m.flags, letters);
	keywords_of_letters(&m, k, letters);
	if (m.flags[0] || m.keywords)
		m.is_new = false;
	return s->fn(s->arg, &m);
}

static int
read_maildir_sub(struct source *s, const char *path, const char *sub,
    const char *folder, const struct keywords *k)
{
	struct names l;
	char dir[PATH_MAX];
	int fd, status;

	if (!text_format(dir, sizeof(dir), "%s/%s", path, sub)) {
		errno = ENAMETOOLONG;
		return problem(path);
	}
	if ((status = names_read(&l, dir)))
		return status;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && l.count)
		status = problem(dir);
	for (size_t i = 0; i < l.count && status == STATUS_DONE; i++)
		if (l.name[i][0] != '.')
			status = read_maildir_message(s, fd, dir, l.name[i],
			    folder, k, strcmp(sub, "new") == 0);
	if (fd >= 0)
		close(fd);
	names_free(&l);
	return status;
}

static int
read_keywords(const char *path, struct keywords *k)
{
	char file[PATH_MAX], text[KEYWORDS_TEXT_MAX];
	size_t len = 0;
	int fd;

	keywords_read(k, "", 0);
	if (!text_format(file, sizeof(file), "%s/" KEYWORDS_FILE, path))
		return STATUS_DONE;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? STATUS_DONE : problem(file);
	if (!fd_read_all(fd, text, sizeof(text), &len)) {
		close(fd);
		return problem(file);
	}
	close(fd);
	keywords_read(k, text, len);
	return STATUS_DONE;
}

static int read_dir(
    struct source *s, const char *path, const char *folder, unsigned depth);

/* The folders in a Maildir: ".A.B" names one at any depth; other names nest. */
static int
read_sub_folders(
    struct source *s, const char *path, const char *folder, unsigned depth)
{
	char sub[PATH_MAX], name[FOLDER_NAME_MAX + 1];
	struct names l;
	int status = names_read(&l, path);

	for (size_t i = 0; i < l.count && status == STATUS_DONE; i++) {
		const char *n = l.name[i];
		bool fits;

		if (strcmp(n, "cur") == 0 || strcmp(n, "new") == 0 ||
		    strcmp(n, "tmp") == 0 ||
		    !text_format(sub, sizeof(sub), "%s/%s", path, n) ||
		    !is_maildir(sub))
			continue;
		fits = n[0] == '.'
			   ? text_format(name, sizeof(name), "%s%s", folder, n)
			   : sub_folder(folder, n, name);
		if (!fits)
			status = fail(STATUS_FAILED,
			    "%s: folder name is too "
			    "long: rename it",
			    sub);
		else
			status = read_dir(s, sub, name, depth + 1);
	}
	names_free(&l);
	return status;
}

static int
read_maildir(
    struct source *s, const char *path, const char *folder, unsigned depth)
{
	struct keywords k;
	int status;

	if ((status = read_keywords(path, &k)) ||
	    (status = read_maildir_sub(s, path, "cur", folder, &k)) ||
	    (status = read_maildir_sub(s, path, "new", folder, &k)))
		return status;
	return read_sub_folders(s, path, folder, depth);
}

static int
read_plain_dir(
    struct source *s, const char *path, const char *folder, unsigned depth)
{
	char sub[PATH_MAX], own[FOLDER_NAME_MAX + 1];
	struct names l;
	struct stat st;
	int status = names_read(&l, path);

	for (size_t i = 0; i < l.count && status == STATUS_DONE; i++) {
		if (l.name[i][0] == '.' ||
		    !text_format(sub, sizeof(sub), "%s/%s", path, l.name[i]))
			continue;
		if (stat(sub, &st))
			status = errno == ENOENT ? STATUS_DONE : problem(sub);
		else if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
			s->passed_over++;
		else if (!sub_folder(folder, l.name[i], own))
			status = fail(STATUS_FAILED,
			    "%s: name is too long "
			    "for a folder: rename it",
			    sub);
		else if (S_ISREG(st.st_mode))
			status = read_file(s, sub, folder, own, false);
		else
			status = read_dir(
			    s, sub, is_maildir(sub) ? own : folder, depth + 1);
	}
	names_free(&l);
	return status;
}

static int
read_dir(struct source *s, const char *path, const char *folder, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return fail(STATUS_FAILED,
		    "%s: directories are nested too "
		    "deep, or in a circle: name those below one by one",
		    path);
	return is_maildir(path) ? read_maildir(s, path, folder, depth)
				: read_plain_dir(s, path, folder, depth);
}

int
source_read(struct source *s, const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return fail(STATUS_FAILED, "%s: %s: check the name", path,
		    strerror(errno));
	if (S_ISDIR(st.st_mode))
		return read_dir(s, path, "", 0);
	return read_file(s, path, "", NULL, true);
}

static uint64_t
bytes_below(const char *path, unsigned depth)
{
	char sub[PATH_MAX];
	struct dirent *e;
	struct stat st;
	uint64_t sum = 0;
	DIR *d;

	if (stat(path, &st))
		return 0;
	if (!S_ISDIR(st.st_mode))
		return S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	if (depth > DEPTH_MAX || !(d = opendir(path)))
		return 0;
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0 &&
		    strcmp(e->d_name, "tmp") != 0 &&
		    text_format(sub, sizeof(sub), "%s/%s", path, e->d_name))
			sum += bytes_below(sub, depth + 1);
	closedir(d);
	return sum;
}

uint64_t
source_bytes(const char *path)
{
	return bytes_below(path, 0);
}
