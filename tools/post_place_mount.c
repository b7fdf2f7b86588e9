/* A user's mail through the mount of a running daemon: what any mail program
 * would do, tmp/ first, so that watchers see whole messages appear. */
#include "tools/post_place_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 100 /* of 50 ms: Dovecot holds its dotlocks far shorter */

static int
problem(struct folder *f, const char *name)
{
	int number = errno;
	enum err e = err_from_errno(number);

	return fail(err_status(e), "%s%s%s/%s: %s: %s", f->place->path,
	    f->name[0] ? "/" : "", f->name, name, strerror(number),
	    number == ENOSPC ? "make room, then run the same command again"
			     : "see 'post status' and the home's log");
}

/* We may be root, in a user's tree. */
static bool
give_away(struct place *p, int fd)
{
	return geteuid() != 0 || p->uid == 0 || fchown(fd, p->uid, p->gid) == 0;
}

/* -1: with errno ENOENT, if it is not there and not to be made. */
static int
open_dir(struct place *p, int at, const char *name, bool make)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	if (mkdirat(at, name, 0700) && errno != EEXIST)
		return -1;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && !give_away(p, fd)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int
mount_folder_open(struct folder *f, bool make, bool *there)
{
	struct place *p = f->place;
	int base = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*there = false;
	if (base < 0)
		return problem(f, "");
	if (f->name[0]) {
		f->fd = open_dir(p, base, f->name, make);
		close(base);
	} else {
		f->fd = base;
	}
	if (f->fd < 0)
		return errno == ENOENT ? STATUS_DONE : problem(f, "");
	for (int i = 0; i < 2; i++) {
		f->sub_fd[i] = open_dir(p, f->fd, folder_sub_name[i], make);
		if (f->sub_fd[i] < 0 && (make || errno != ENOENT))
			return problem(f, folder_sub_name[i]);
	}
	if (make && (f->tmp_fd = open_dir(p, f->fd, "tmp", true)) < 0)
		return problem(f, "tmp");
	*there = f->sub_fd[0] >= 0 || f->sub_fd[1] >= 0;
	return STATUS_DONE;
}

static void
mount_folder_close(struct folder *f)
{
	const int fds[] = { f->fd, f->sub_fd[0], f->sub_fd[1], f->tmp_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static DIR *
dir_of(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own >= 0 ? fdopendir(own) : NULL;

	if (own >= 0 && !d)
		close(own);
	return d;
}

static int
mount_folders(struct place *p, folder_fn *fn, void *arg)
{
	DIR *d = opendir(p->path);
	struct dirent *e;
	int status = STATUS_DONE;

	if (!d)
		return fail(STATUS_FAILED, "%s: %s: see the home's log",
		    p->path, strerror(errno));
	while (status == STATUS_DONE && (e = readdir(d)))
		if (folder_is_name(e->d_name) && e->d_type == DT_DIR)
			status = fn(arg, e->d_name);
	closedir(d);
	return status;
}

static int
mount_each(struct folder *f, enum folder_sub sub, message_fn *fn, void *arg)
{
	DIR *d;
	struct dirent *e;
	int status = STATUS_DONE;

	if (f->sub_fd[sub] < 0)
		return STATUS_DONE;
	if (!(d = dir_of(f->sub_fd[sub])))
		return problem(f, folder_sub_name[sub]);
	while (status == STATUS_DONE && (errno = 0, e = readdir(d)))
		if (e->d_name[0] != '.' && e->d_type == DT_REG)
			status = fn(arg, sub, e->d_name);
	if (status == STATUS_DONE && errno)
		status = problem(f, folder_sub_name[sub]);
	closedir(d);
	return status;
}

static int
mount_read(struct folder *f, enum folder_sub sub, const char *name,
    uint8_t **bytes, size_t *cap, size_t *len, int64_t *mtime_ns, bool *here)
{
	struct stat st;
	int fd = -1, status = STATUS_DONE;
	bool ok;

	if (!bytes) {
		ok = fstatat(f->sub_fd[sub], name, &st, AT_SYMLINK_NOFOLLOW) ==
		     0;
	} else {
		fd = openat(
		    f->sub_fd[sub], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		ok = fd >= 0 && fstat(fd, &st) == 0;
	}
	*here = ok;
	if (!ok) {
		/* Another program moved or deleted it: that is its right. */
		status = errno == ENOENT ? STATUS_DONE : problem(f, name);
	} else {
		*mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 +
			    st.st_mtim.tv_nsec;
		*len = (size_t)st.st_size;
		if (bytes && (status = place_room(bytes, cap, *len)) == 0 &&
		    !fd_read_all(fd, *bytes, *len, len))
			status = problem(f, name);
	}
	if (fd >= 0)
		close(fd);
	return status;
}

static int
mount_put(struct folder *f, enum folder_sub sub, const char *name,
    const uint8_t *bytes, size_t len, int64_t mtime_ns)
{
	int fd = openat(
	    f->tmp_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && give_away(f->place, fd) &&
		  fd_write_all(fd, bytes, len) && fd_set_mtime(fd, mtime_ns);
	int number = errno;

	if (fd >= 0 && close(fd) && ok) {
		ok = false;
		number = errno;
	}
	if (ok && renameat(f->tmp_fd, name, f->sub_fd[sub], name) == 0)
		return STATUS_DONE;
	if (!ok)
		errno = number;
	number = problem(f, name);
	unlinkat(f->tmp_fd, name, 0);
	return number;
}

static int
mount_load(
    struct folder *f, const char *name, char *out, size_t cap, size_t *len)
{
	int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC);
	int status = STATUS_DONE;

	*len = 0;
	if (fd < 0)
		return errno == ENOENT ? STATUS_DONE : problem(f, name);
	if (!fd_read_all(fd, out, cap, len))
		status = problem(f, name);
	close(fd);
	return status;
}

/* Dovecot's protocol for its small files: NAME.lock made exclusively, then
 * renamed. */
static int
mount_save(struct folder *f, const char *name, const char *text, size_t len)
{
	const struct timespec nap = { .tv_nsec = 50000000 };
	char fresh[256];
	int fd = -1, status;
	bool ok;

	if (!text_format(fresh, sizeof(fresh), "%s.lock", name)) {
		errno = ENAMETOOLONG;
		return problem(f, name);
	}
	for (int i = 0; i < LOCK_TRIES && fd < 0; i++) {
		fd = openat(f->fd, fresh,
		    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			break;
		if (fd < 0)
			nanosleep(&nap, NULL);
	}
	if (fd < 0)
		return problem(f, fresh);
	ok = give_away(f->place, fd) && fd_write_all(fd, text, len);
	ok = close(fd) == 0 && ok;
	if (ok && renameat(f->fd, fresh, f->fd, name) == 0)
		return STATUS_DONE;
	status = problem(f, name);
	unlinkat(f->fd, fresh, 0);
	return status;
}

const struct place_ops place_mount_ops = {
	.folder_open = mount_folder_open,
	.folder_close = mount_folder_close,
	.folders = mount_folders,
	.each = mount_each,
	.read = mount_read,
	.put = mount_put,
	.load = mount_load,
	.save = mount_save,
};
