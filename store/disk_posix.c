/* disk.h on a real file system: names below one directory descriptor, so that
 * the directory may be renamed or be out of reach by path meanwhile. */
#include "store/disk_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct posix_disk {
	struct disk base;
	int dir; /* descriptor */
};

struct posix_file {
	struct disk_file base;
	int fd;
};

/* Here errno ends.  A path that leads through a file leads nowhere. */
static enum err
err_of(int number)
{
	switch (number) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_NOSPACE;
	case ENOENT:
	case ENOTDIR:
		return ERR_ABSENT;
	case EEXIST:
	case ENOTEMPTY:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
	case EROFS:
	case EISDIR:
	case EBUSY:
	case ETXTBSY:
		return ERR_DENIED;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return ERR_NOMEM;
	default:
		return ERR_IO;
	}
}

static struct posix_disk *
disk_of(struct disk *d)
{
	return (struct posix_disk *)d;
}

static int
fd_of(struct disk_file *f)
{
	return ((struct posix_file *)f)->fd;
}

static int
open_below(struct disk *d, const char *name, int flags)
{
	int fd;

	do
		fd = openat(disk_of(d)->dir, name, flags | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int
open_dir(struct disk *d, const char *name)
{
	return open_below(
	    d, disk_name_is_root(name) ? "." : name, O_RDONLY | O_DIRECTORY);
}

static void
posix_close(struct disk *d)
{
	close(disk_of(d)->dir);
	free(d);
}

static const struct disk_ops posix_ops;

static enum err
posix_open(struct disk *d, const char *name, enum disk_mode mode,
    struct disk_file **out)
{
	/* O_NONBLOCK: nobody waits for the other end of a stray FIFO. */
	static const int flags[] = {
		[DISK_READ] = O_RDONLY | O_NONBLOCK,
		[DISK_WRITE] = O_RDWR | O_NONBLOCK,
		[DISK_CREATE] = O_RDWR | O_NONBLOCK | O_CREAT,
		[DISK_EXCL] = O_RDWR | O_NONBLOCK | O_CREAT | O_EXCL,
	};
	struct posix_file *f = calloc(1, sizeof(*f));
	struct stat st;
	enum err e;

	if (!f)
		return ERR_NOMEM;
	f->base.ops = &posix_ops;
	f->base.writable = mode != DISK_READ;
	f->fd = open_below(d, name, flags[mode]);
	if (f->fd < 0 || fstat(f->fd, &st) < 0) {
		e = err_of(errno);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		e = ERR_DENIED;
		goto fail;
	}
	*out = &f->base;
	return OK;
fail:
	if (f->fd >= 0)
		close(f->fd);
	free(f);
	return e;
}

/* close(2) is not asked: what must be durable was synced, and Linux frees the
 * descriptor whatever it answers. */
static void
posix_file_close(struct disk_file *f)
{
	close(fd_of(f));
	free(f);
}

static enum err
posix_read(
    struct disk_file *f, uint64_t off, void *buf, size_t len, size_t *got)
{
	uint8_t *at = buf;

	if (off > INT64_MAX)
		return OK; /* past any end */
	if (len > (uint64_t)INT64_MAX - off)
		len = (size_t)((uint64_t)INT64_MAX - off);
	while (*got < len) {
		ssize_t n =
		    pread(fd_of(f), at + *got, len - *got, (off_t)(off + *got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_of(errno);
		if (n == 0)
			break;
		*got += (size_t)n;
	}
	return OK;
}

static enum err
posix_write(struct disk_file *f, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *at = buf;

	while (len) {
		ssize_t n = pwrite(fd_of(f), at, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_of(errno);
		if (n == 0)
			return ERR_IO; /* no progress and no reason given */
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return OK;
}

static enum err
posix_sync(struct disk_file *f)
{
	int bad;

	do
		bad = fdatasync(fd_of(f));
	while (bad && errno == EINTR);
	return bad ? err_of(errno) : OK;
}

static enum err
posix_truncate(struct disk_file *f, uint64_t size)
{
	int bad;

	do
		bad = ftruncate(fd_of(f), (off_t)size);
	while (bad && errno == EINTR);
	return bad ? err_of(errno) : OK;
}

static enum err
posix_size(struct disk_file *f, uint64_t *size)
{
	struct stat st;

	if (fstat(fd_of(f), &st) < 0)
		return err_of(errno);
	*size = (uint64_t)st.st_size;
	return OK;
}

static enum err
posix_mkdir(struct disk *d, const char *name)
{
	return mkdirat(disk_of(d)->dir, name, 0700) ? err_of(errno) : OK;
}

static enum err
posix_rename(struct disk *d, const char *from, const char *to)
{
	int dir = disk_of(d)->dir;
	struct stat st;

	if (renameat(dir, from, dir, to) == 0)
		return OK;
	if (errno == EISDIR)
		return ERR_EXISTS;
	/* Either a path leads through a file, or a directory was to replace
	 * a file. */
	if (errno == ENOTDIR && !fstatat(dir, from, &st, AT_SYMLINK_NOFOLLOW) &&
	    !fstatat(dir, to, &st, AT_SYMLINK_NOFOLLOW))
		return ERR_EXISTS;
	return errno == EINVAL ? ERR_DENIED : err_of(errno);
}

static enum err
posix_unlink(struct disk *d, const char *name)
{
	return unlinkat(disk_of(d)->dir, name, 0) ? err_of(errno) : OK;
}

static enum err
posix_sync_dir(struct disk *d, const char *name)
{
	int fd = open_dir(d, name), bad;
	enum err e;

	if (fd < 0)
		return err_of(errno);
	do
		bad = fsync(fd);
	while (bad && errno == EINTR);
	e = bad ? err_of(errno) : OK;
	close(fd);
	return e;
}

static enum err
posix_names(struct disk *d, const char *name, struct disk_names *all)
{
	int fd = open_dir(d, name);
	enum err e = OK;
	DIR *dir;

	if (fd < 0)
		return err_of(errno);
	dir = fdopendir(fd); /* takes fd */
	if (!dir) {
		e = err_of(errno);
		close(fd);
		return e;
	}
	while (!e) {
		struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			e = errno ? err_of(errno) : OK;
			break;
		}
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			e = disk_names_add(all, entry->d_name);
	}
	closedir(dir);
	return e;
}

static enum err
posix_free(struct disk *d, uint64_t *free_bytes, uint64_t *total)
{
	struct statvfs st;
	int bad;

	do
		bad = fstatvfs(disk_of(d)->dir, &st);
	while (bad && errno == EINTR);
	if (bad)
		return err_of(errno);
	*free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	*total = (uint64_t)st.f_blocks * st.f_frsize;
	return OK;
}

static const struct disk_ops posix_ops = {
	.close = posix_close,
	.open = posix_open,
	.mkdir = posix_mkdir,
	.rename = posix_rename,
	.unlink = posix_unlink,
	.sync_dir = posix_sync_dir,
	.names = posix_names,
	.free = posix_free,
	.file_close = posix_file_close,
	.read = posix_read,
	.write = posix_write,
	.sync = posix_sync,
	.truncate = posix_truncate,
	.size = posix_size,
};

enum err
disk_posix_open(const char *path, struct disk **out)
{
	struct posix_disk *d = calloc(1, sizeof(*d));
	enum err e;

	if (!d)
		return ERR_NOMEM;
	d->base.ops = &posix_ops;
	do
		d->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (d->dir < 0 && errno == EINTR);
	if (d->dir < 0) {
		e = err_of(errno);
		free(d);
		return e;
	}
	*out = &d->base;
	return OK;
}
