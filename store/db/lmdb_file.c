/* lmdb_file.c - lmdb_file.h, and how a damaged file is put aside. */
#include "store/db/lmdb_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file is kept this much longer than its last used page. */
#define AHEAD_BYTES ((off_t)4 << 20)

/* What lmdb_file_probe() asks for. */
#define PROBE_BYTES ((off_t)64 << 10)

/* The kernel reads no more than its readahead window for one advice. */
#define WARM_STEP ((off_t)128 << 10)

#define PATH_BYTES 4096

#define META_FLAG 0x08u
#define META_MAGIC 0xbeefc0deu
#define META_VERSION 1u

bool
lmdb_meta_is_sane(const struct lmdb_meta *m, uint64_t pgno, uint64_t file_bytes)
{
	uint64_t psize = m->db[0].pad;

	if (m->pgno != pgno || !(m->flags & META_FLAG) ||
	    m->magic != META_MAGIC || m->version != META_VERSION ||
	    psize < 512 || psize > 65536 || (psize & (psize - 1)) ||
	    m->last_pgno < 1 || m->last_pgno >= LMDB_MAP_BYTES / psize)
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (m->db[i].root != LMDB_NO_PAGE &&
		    (m->db[i].root < 2 || m->db[i].root > m->last_pgno))
			return false;
	return (m->last_pgno + 1) * psize <= file_bytes;
}

static enum err
read_meta(int fd, off_t at, struct lmdb_meta *out)
{
	ssize_t got = pread(fd, out, sizeof(*out), at);

	if (got < 0)
		return err_from_errno(errno);
	return (size_t)got == sizeof(*out) ? OK : ERR_CORRUPT;
}

static enum err
join(char out[PATH_BYTES], const char *path, const char *name)
{
	int len = snprintf(out, PATH_BYTES, "%s/%s", path, name);

	return len < PATH_BYTES ? OK : ERR_NAME_TOO_LONG;
}

enum err
lmdb_file_check(const char *path)
{
	struct lmdb_meta m[2];
	char name[PATH_BYTES];
	struct stat st;
	enum err e;
	int fd;

	e = join(name, path, "data.mdb");
	if (e)
		return e;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	e = fstat(fd, &st) ? err_from_errno(errno) : OK;
	if (!e)
		e = read_meta(fd, 0, &m[0]);
	if (!e && !lmdb_meta_is_sane(&m[0], 0, UINT64_MAX))
		e = ERR_CORRUPT;
	if (!e)
		e = read_meta(fd, (off_t)m[0].db[0].pad, &m[1]);
	/* The older one may speak of pages that were never written. */
	if (!e && (!lmdb_meta_is_sane(&m[1], 1, UINT64_MAX) ||
		      m[0].db[0].pad != m[1].db[0].pad ||
		      !lmdb_meta_is_sane(&m[m[0].txnid < m[1].txnid],
			  m[0].txnid < m[1].txnid, (uint64_t)st.st_size)))
		e = ERR_CORRUPT;
	close(fd);
	return e;
}

void
lmdb_file_keep_ahead(int fd, uint64_t used_bytes)
{
	off_t used = (off_t)used_bytes;
	struct stat st;

	if (fstat(fd, &st) || st.st_size >= used + AHEAD_BYTES / 2 ||
	    ftruncate(fd, used + AHEAD_BYTES))
		return;
	if (st.st_size < used)
		(void)fdatasync(fd);
}

int
lmdb_file_probe(int fd)
{
	struct stat st;

	return fstat(fd, &st) || fallocate(fd, 0, st.st_size, PROBE_BYTES)
		   ? errno
		   : 0;
}

void
lmdb_file_warm(int fd, uint64_t max)
{
	struct stat st;
	off_t end;

	if (fstat(fd, &st))
		return;
	end = max < (uint64_t)st.st_size ? (off_t)max : st.st_size;
	for (off_t at = 0; at < end; at += WARM_STEP)
		if (posix_fadvise(fd, at, WARM_STEP, POSIX_FADV_WILLNEED))
			return;
}

enum err
lmdb_file_sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = OK;

	if (fd < 0)
		return err_from_errno(errno);
	if (fsync(fd))
		e = err_from_errno(errno);
	close(fd);
	return e;
}

enum err
index_lmdb_set_aside(const char *path)
{
	char data[PATH_BYTES], damaged[PATH_BYTES], lock[PATH_BYTES];
	enum err e;

	if ((e = join(data, path, "data.mdb")) ||
	    (e = join(damaged, path, "data.mdb.damaged")) ||
	    (e = join(lock, path, "lock.mdb")))
		return e;
	if (rename(data, damaged))
		return err_from_errno(errno);
	if (unlink(lock) && errno != ENOENT)
		return err_from_errno(errno);
	return lmdb_file_sync_dir(path);
}
