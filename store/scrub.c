/* scrub.c - is every byte still what it was?
 *
 * First every row of the index is read: without it nothing else is found.
 * Then every frame of every pack is read and its checksum compared: damage is found even
 * where no file of today reaches.  Then every file of the log is asked for its
 * blocks, so that what is wrong is told by the name people know. */
#include "store/store_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SCRUB_PATH_MAX 8192

struct scrub {
	struct store *s;
	scrub_fn *tell;
	void *arg;
	struct scrub_report *out;
	bool damaged; /* of the file being looked at */
	bool missing;
};

static void __attribute__((format(printf, 2, 3)))
tell(struct scrub *sc, const char *fmt, ...)
{
	char line[SCRUB_PATH_MAX + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sc->tell(sc->arg, line);
}

static enum err
check_frame(void *arg, const struct frame_place *at, const uint8_t *bytes,
    size_t len)
{
	struct scrub *sc = arg;

	(void)bytes;
	sc->out->bytes += len;
	if (at->e) {
		sc->out->damaged_blocks++;
		tell(sc, "%s: byte %" PRIu64 ": %zu bytes are damaged",
		    at->pack, at->off, len);
		return OK;
	}
	/* Its checksum fits; that it is what its id says is asked below, of
	 * every block that a file needs. */
	sc->out->blocks += at->type == FRAME_BLOCK;
	return OK;
}

static enum err
check_ref(void *arg, const struct block_ref *ref)
{
	struct scrub *sc = arg;
	struct id id;
	uint8_t *block;
	size_t len;
	enum err e = blockdb_get(sc->s->blocks, &ref->id, &block, &len);

	if (e == ERR_ABSENT)
		sc->missing = true;
	else if (e == ERR_CORRUPT)
		sc->damaged = true;
	else if (e)
		return e;
	if (e)
		return OK;
	hash_bytes(block, len, &id);
	free(block);
	if (!id_eq(&id, &ref->id))
		sc->damaged = true;
	return OK;
}

static enum err
check_file(struct scrub *sc, const struct inode *in, const char *path)
{
	enum err e;

	if (!S_ISREG(in->mode) || in->data != DATA_RECIPE)
		return OK;
	sc->out->files++;
	sc->damaged = sc->missing = false;
	e = content_refs(sc->s->reader, &in->content, check_ref, sc);
	if (e == ERR_UNREACHABLE)
		sc->missing = true;
	else if (e == ERR_CORRUPT || e == ERR_MALFORMED || e == ERR_BADSIG)
		sc->damaged = true;
	else if (e)
		return e;
	if (sc->missing) {
		sc->out->lost_files++;
		tell(sc, "%s: a block is missing", path);
	} else if (sc->damaged) {
		sc->out->damaged_files++;
		tell(sc, "%s: a block is damaged", path);
	}
	return OK;
}

/* One directory's entries, copied: the walk must not call the store. */
struct listed {
	struct entry *e;
	size_t count, cap;
	enum err err;
};

static bool
copy_entry(void *arg, const struct entry *e, const struct inode *in)
{
	struct listed *l = arg;

	(void)in;
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct entry *bigger = realloc(l->e, cap * sizeof(*bigger));

		if (!bigger) {
			l->err = ERR_NOMEM;
			return false;
		}
		l->e = bigger;
		l->cap = cap;
	}
	l->e[l->count++] = *e;
	return l->count < 4096;
}

static enum err check_tree(
    struct scrub *sc, const struct inode *in, char *path, size_t len);

static enum err
check_dir(struct scrub *sc, uint64_t dir, char *path, size_t len)
{
	struct listed l = { 0 };
	uint64_t cookie = 0;
	struct inode in;
	enum err e = OK;

	do {
		l.count = 0;
		e = store_list(sc->s, dir, cookie, false, copy_entry, &l);
		if (!e)
			e = l.err;
		for (size_t i = 0; !e && i < l.count; i++) {
			size_t more = l.e[i].name_len;

			cookie = l.e[i].cookie;
			if (len + more + 2 > SCRUB_PATH_MAX)
				continue;
			path[len] = '/';
			memcpy(path + len + (len > 0), l.e[i].name, more + 1);
			e = store_inode(sc->s, l.e[i].ino, &in);
			if (!e)
				e = check_tree(
				    sc, &in, path, len + (len > 0) + more);
			else if (e == ERR_ABSENT)
				e = OK; /* deleted meanwhile */
		}
	} while (!e && l.count);
	free(l.e);
	path[len] = '\0';
	return e;
}

static enum err
check_tree(struct scrub *sc, const struct inode *in, char *path, size_t len)
{
	return S_ISDIR(in->mode) ? check_dir(sc, in->ino, path, len)
				 : check_file(sc, in, path);
}

enum err
store_scrub(struct store *s, const char *path, scrub_fn *fn, void *arg,
    struct scrub_report *out)
{
	struct scrub sc = { .s = s, .tell = fn, .arg = arg, .out = out };
	char *buf = malloc(SCRUB_PATH_MAX);
	struct inode in;
	enum err e;

	memset(out, 0, sizeof(*out));
	if (!buf)
		return ERR_NOMEM;
	if ((e = index_check(s->env.index)) == ERR_CORRUPT)
		set_problem(s,
		    "index/data.mdb: damaged: run 'post umount' and 'post "
		    "scrub --repair'");
	if (!e && !(e = store_checkpoint(s)) && !*path)
		e = blockdb_walk(s->env.disk, check_frame, &sc);
	if (!e && strlen(path) >= SCRUB_PATH_MAX)
		e = ERR_NAME_TOO_LONG;
	if (!e)
		e = store_resolve(s, path, &in);
	if (!e) {
		memcpy(buf, path, strlen(path) + 1);
		e = check_tree(&sc, &in, buf, strlen(path));
	}
	free(buf);
	return e;
}
