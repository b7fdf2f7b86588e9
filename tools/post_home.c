#include "tools/post_home.h"

#include "fs/maildir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEYS_FILE_MAX (1u << 20) /* a thousand users take a third of it */

int
home_path(const struct common *c, char *out, size_t cap)
{
	const char *said = c->home ? c->home : getenv("POST_HOME");
	const char *data = getenv("XDG_DATA_HOME"), *mine = getenv("HOME");
	char path[PATH_MAX];
	bool fits;

	if (said && *said) {
		fits = text_copy(path, sizeof(path), said);
	} else if (geteuid() == 0) {
		fits = text_copy(path, sizeof(path), "/var/lib/post");
	} else if (data && *data == '/') {
		fits = text_format(path, sizeof(path), "%s/post", data);
	} else {
		if (!mine || *mine != '/') {
			struct passwd *pw = getpwuid(geteuid());

			mine = pw ? pw->pw_dir : NULL;
		}
		if (!mine)
			return fail(STATUS_FAILED,
			    "home: this user has no "
			    "home directory: name one with --home DIR");
		fits = text_format(
		    path, sizeof(path), "%s/.local/share/post", mine);
	}
	if (!fits)
		return fail(STATUS_FAILED, "home: path is too long: choose a "
					   "shorter one with --home DIR");
	if (path_resolve(path, out, cap))
		return STATUS_DONE;
	/* Not there, nor what it would lie in: made absolute only. */
	if (path[0] == '/') {
		fits = text_copy(out, cap, path);
	} else {
		char here[PATH_MAX];

		fits = getcwd(here, sizeof(here)) &&
		       text_format(out, cap, "%s/%s", here, path);
	}
	if (!fits)
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    path);
	return STATUS_DONE;
}

int
home_find(struct home *h, const struct common *c)
{
	char path[PATH_MAX];
	struct stat st;
	int status;

	memset(h, 0, sizeof(*h));
	h->lock_fd = -1;
	if ((status = home_path(c, h->dir, sizeof(h->dir))))
		return status;
	if (!text_format(path, sizeof(path), "%s/" HOME_KEYS, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    h->dir);
	if (stat(h->dir, &st))
		return fail(STATUS_FAILED,
		    errno == ENOENT
			? "%s: there is no home here: make one with 'post "
			  "init --user ADDRESS', or name another with --home"
			: "%s: no access to it: check its owner and mode",
		    h->dir);
	if (stat(path, &st) == 0)
		return STATUS_DONE;
	if (errno != ENOENT)
		return fail(STATUS_FAILED, "%s: %s: check its owner and mode",
		    path, strerror(errno));
	if (text_format(path, sizeof(path), "%s/" HOME_FORMAT, h->dir) &&
	    stat(path, &st) == 0)
		return fail(STATUS_FAILED,
		    "%s/" HOME_KEYS ": is missing: put "
		    "it back from your backup; without it nothing here can "
		    "be read",
		    h->dir);
	return fail(STATUS_FAILED,
	    "%s: there is no home here: make one with "
	    "'post init --user ADDRESS', or name another with --home",
	    h->dir);
}

static long
holder_of(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return strtol(text, NULL, 10);
}

/* home_holder() of another process has the lock for a moment only. */
#define LOOK_MS 100

int
home_lock(struct home *h, unsigned wait_ms)
{
	int64_t until =
	    clock_steady_ns() +
	    (int64_t)(wait_ms > LOOK_MS ? wait_ms : LOOK_MS) * 1000000;
	char path[PATH_MAX], text[32];
	const struct timespec nap = { .tv_nsec = 20000000 };
	int fd;

	if (h->lock_fd >= 0)
		return STATUS_DONE;
	if (!text_format(path, sizeof(path), "%s/" HOME_LOCK, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    h->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(STATUS_FAILED,
		    "%s: %s: check the home's owner "
		    "and mode",
		    path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			int number = errno;

			close(fd);
			return fail(STATUS_FAILED,
			    "%s: %s: keep the home on "
			    "a file system that has locks",
			    path, strerror(number));
		}
		if (clock_steady_ns() >= until) {
			long pid = holder_of(fd);

			close(fd);
			return fail(STATUS_AGAIN,
			    "%s: in use by process %ld: "
			    "unmount it with 'post umount', or wait until "
			    "that process ends",
			    h->dir, pid);
		}
		nanosleep(&nap, NULL);
	}
	snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) ||
	    pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text)) {
		int number = errno;

		close(fd);
		return fail(STATUS_FAILED,
		    "%s: %s: make room, or mend the "
		    "disk",
		    path, strerror(number));
	}
	h->lock_fd = fd;
	return STATUS_DONE;
}

long
home_holder(const char *dir)
{
	char path[PATH_MAX];
	long pid = 0;
	int fd;

	if (!text_format(path, sizeof(path), "%s/" HOME_LOCK, dir))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
		pid = holder_of(fd);
	close(fd);
	return pid;
}

static int
read_keys_file(const char *path, uint8_t **bytes, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *all;

	if (fd < 0)
		return fail(STATUS_FAILED, "%s: %s: check its owner and mode",
		    path, strerror(errno));
	all = malloc(KEYS_FILE_MAX);
	if (!all || !fd_read_all(fd, all, KEYS_FILE_MAX, len)) {
		int number = errno;

		free(all);
		close(fd);
		return fail(
		    STATUS_FAILED, "%s: %s: try again", path, strerror(number));
	}
	close(fd);
	*bytes = all;
	return STATUS_DONE;
}

static int
keys_problem(const char *path, enum err e)
{
	switch (e) {
	case ERR_WRONG_KEY:
		return fail(STATUS_FAILED, "keys: wrong passphrase: give the "
					   "one that 'post init' was given");
	case ERR_DENIED:
		return fail(STATUS_FAILED,
		    "keys: a passphrase is needed: "
		    "give --passphrase-fd, --passphrase-command or "
		    "--passphrase-file");
	case ERR_NEWER:
		return fail(STATUS_FAILED,
		    "keys: made by a newer version of "
		    "this program: install that version");
	case ERR_NOMEM:
		return fail(STATUS_AGAIN,
		    "keys: out of memory (opening them "
		    "takes 256 MiB): free some and try again");
	case ERR_MALFORMED:
		return fail(STATUS_FAILED,
		    "%s: damaged: put it back from "
		    "your backup",
		    path);
	default:
		return fail(err_status(e),
		    "%s: %s: put it back from your "
		    "backup",
		    path, err_text(e));
	}
}

int
home_read_keys(struct home *h, const struct common *c, struct secret *secret)
{
	struct secret own = { 0 }, *s = secret ? secret : &own;
	char path[PATH_MAX];
	uint8_t *bytes = NULL;
	size_t len = 0;
	enum err e;
	int status;

	memset(s, 0, sizeof(*s));
	if (!text_format(path, sizeof(path), "%s/" HOME_KEYS, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    h->dir);
	if ((status = read_keys_file(path, &bytes, &len)))
		return status;
	h->keys_sealed = home_keys_sealed(bytes, len);
	if (h->keys_sealed)
		status = passphrase_read(c, false, s);
	if (status == STATUS_DONE) {
		e = home_keys_decode(
		    bytes, len, s->given ? s->text : NULL, &h->keys);
		if (e)
			status = keys_problem(path, e);
	}
	wipe(bytes, len);
	free(bytes);
	if (!secret)
		wipe(&own, sizeof(own));
	return status;
}

/* keys.new, synced, then renamed over keys, then the directory synced. */
int
home_write_keys(struct home *h, const char *passphrase)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	uint8_t *bytes = NULL;
	size_t len = 0;
	int fd = -1, dir_fd = -1, status = STATUS_FAILED;
	enum err e;

	if (!text_format(path, sizeof(path), "%s/" HOME_KEYS, h->dir) ||
	    !text_format(fresh, sizeof(fresh), "%s/" HOME_KEYS ".new", h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    h->dir);
	if ((e = home_keys_encode(h->keys, passphrase, false, &bytes, &len)))
		return fail(err_status(e), "keys: %s: try again", err_text(e));
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	dir_fd = open(h->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && dir_fd >= 0 && fchmod(fd, 0600) == 0 &&
	    fd_write_all(fd, bytes, len) && fsync(fd) == 0 &&
	    rename(fresh, path) == 0 && fsync(dir_fd) == 0)
		status = STATUS_DONE;
	else
		fail(STATUS_FAILED,
		    "%s: %s: make room, or check the home's "
		    "owner and mode",
		    path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (dir_fd >= 0)
		close(dir_fd);
	wipe(bytes, len);
	free(bytes);
	return status;
}

static int
parse_names(const char *path, const char *text, size_t len)
{
	struct local_names_fault fault;
	struct local_names *names;
	int status = STATUS_DONE;
	enum err e;

	if (len > LOCAL_NAMES_FILE_MAX)
		return fail(STATUS_FAILED,
		    "%s: is longer than 64 KiB: shorten its comments", path);
	names = calloc(1, sizeof(*names));
	e = names ? local_names_read(text, len, names, &fault) : ERR_NOMEM;
	if (e == ERR_MALFORMED)
		status = fail(STATUS_FAILED, "%s: line %u: %s: %s", path,
		    fault.line, fault.why, fault.mend);
	else if (e)
		status =
		    fail(err_status(e), "%s: out of memory: free some", path);
	else
		maildir_local_set(names);
	free(names);
	return status;
}

int
home_read_names(struct home *h)
{
	const struct local_names none = { 0 };
	char path[PATH_MAX], *text;
	struct stat st;
	size_t len = 0;
	int fd, status;

	if (!text_format(path, sizeof(path), "%s/" HOME_NAMES, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    h->dir);
	h->names_read = true;
	/* Not to wait for the other end of a fifo. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		maildir_local_set(&none);
		return STATUS_DONE;
	}
	text = malloc(LOCAL_NAMES_FILE_MAX + 1);
	if (fd < 0 || fstat(fd, &st))
		status = fail(STATUS_FAILED,
		    "%s: %s: check its owner and mode", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		status = fail(STATUS_FAILED,
		    "%s: is not a file: put one in its place, or remove it",
		    path);
	else if (!text)
		status =
		    fail(STATUS_AGAIN, "%s: out of memory: free some", path);
	else if (!fd_read_all(fd, text, LOCAL_NAMES_FILE_MAX + 1, &len))
		status = fail(STATUS_FAILED, "%s: %s: check the disk", path,
		    strerror(errno));
	else
		status = parse_names(path, text, len);
	free(text);
	if (fd >= 0)
		close(fd);
	return status;
}

static int64_t
env_now_ns(void *arg)
{
	(void)arg;
	return clock_wall_ns();
}

void
home_env(struct home *h)
{
	assert(h->names_read); /* or what is local is the built-in list's */
	h->env = (struct store_env){
		.now_ns = env_now_ns,
		.disk = h->disk,
		.index = h->index,
		.is_local = maildir_is_local,
		.is_message_dir = maildir_is_message_dir,
	};
}

int
home_open_parts(struct home *h)
{
	char path[PATH_MAX];
	enum err e;

	if ((e = disk_posix_open(h->dir, &h->disk)))
		return fail(err_status(e), "%s: %s: check its owner and mode",
		    h->dir, err_text(e));
	if (!text_format(path, sizeof(path), "%s/" HOME_INDEX, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: choose a "
		    "shorter one with --home DIR",
		    h->dir);
	if ((e = index_lmdb_open(path, &h->index)))
		return fail(err_status(e), "%s: %s: %s", path, err_text(e),
		    e == ERR_NOSPACE ? "make room on the disk"
				     : "run 'post scrub --repair'");
	home_env(h);
	return STATUS_DONE;
}

int
home_open_store(struct home *h)
{
	char why[600] = "";
	enum err e;

	h->env.why = why;
	h->env.why_cap = sizeof(why);
	e = store_open(&h->env, h->keys, &h->store);
	h->env.why = NULL;
	if (e && why[0])
		return fail(STATUS_FAILED, "%s/%s", h->dir, why);
	switch (e) {
	case OK:
		return STATUS_DONE;
	case ERR_NEWER:
		return fail(STATUS_FAILED,
		    "%s: made by a newer version of "
		    "this program: install that version",
		    h->dir);
	case ERR_ABSENT:
		return fail(STATUS_FAILED,
		    "%s: its making was interrupted: "
		    "run the same 'post init' again",
		    h->dir);
	case ERR_CORRUPT:
	case ERR_MALFORMED:
	case ERR_BADSIG:
		return fail(STATUS_FAILED, "%s: %s: run 'post scrub --repair'",
		    h->dir, err_text(e));
	case ERR_NOSPACE:
		return fail(STATUS_FAILED, "%s: %s: make room on the disk",
		    h->dir, err_text(e));
	default:
		return fail(err_status(e), "%s: %s: run 'post doctor'", h->dir,
		    err_text(e));
	}
}

int
home_open(struct home *h, const struct common *c)
{
	int status;

	if ((status = home_lock(h, 0)) == STATUS_DONE &&
	    (status = home_read_names(h)) == STATUS_DONE &&
	    (status = home_read_keys(h, c, NULL)) == STATUS_DONE &&
	    (status = home_open_parts(h)) == STATUS_DONE)
		status = home_open_store(h);
	return status;
}

int
home_close(struct home *h)
{
	int status = STATUS_DONE;
	enum err e;

	if (h->store && (e = store_close(h->store)))
		status = fail(err_status(e),
		    "%s: %s: what was not saved is "
		    "in the journal and comes back at the next start",
		    h->dir, err_text(e));
	index_close(h->index);
	disk_close(h->disk);
	home_keys_free(h->keys);
	if (h->lock_fd >= 0) {
		if (ftruncate(h->lock_fd, 0))
			say("%s/" HOME_LOCK ": %s: nothing needs to be done",
			    h->dir, strerror(errno));
		close(h->lock_fd);
	}
	memset(h, 0, sizeof(*h));
	h->lock_fd = -1;
	return status;
}

struct user_keys *
home_user(struct home *h, const char *address, int *status)
{
	struct user_keys *u;

	*status = STATUS_DONE;
	if (address) {
		u = home_keys_find(h->keys, address);
		if (!u)
			*status = fail(STATUS_FAILED,
			    "%s: no such user in "
			    "%s: see 'post status'",
			    address, h->dir);
		return u;
	}
	if (h->keys->users == 1)
		return &h->keys->user[0];
	*status = fail(STATUS_USAGE,
	    "--user: %s: name one with --user "
	    "ADDRESS",
	    h->keys->users ? "there are several here" : "there is none here");
	return NULL;
}
