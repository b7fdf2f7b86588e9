#include "fs/folders.h"
#include "fs/maildir.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct known {
	uint64_t ino;
	struct user *user;
	bool messages;
	uint16_t len;
	char path[];
};

static bool
match_known(const void *item, const void *key)
{
	const struct known *k = item;

	return k->ino == *(const uint64_t *)key;
}

void
folders_init(struct folders *f, struct store *s, struct users *u)
{
	memset(f, 0, sizeof(*f));
	f->store = s;
	f->users = u;
	pthread_mutex_init(&f->lock, NULL);
}

/* Under the lock. */
static void
forget_all(struct folders *f)
{
	struct known *k;
	size_t pos = 0;

	while ((k = map_next(&f->by_ino, &pos)))
		free(k);
	map_fini(&f->by_ino);
}

void
folders_fini(struct folders *f)
{
	forget_all(f);
	pthread_mutex_destroy(&f->lock);
}

void
folders_flush(struct folders *f)
{
	pthread_mutex_lock(&f->lock);
	forget_all(f);
	f->flushes++;
	pthread_mutex_unlock(&f->lock);
}

/* Ask the store, for a path of any name in the directory. */
static enum err
ask(struct folders *f, uint64_t dir, struct folder *out)
{
	char path[ADDRESS_MAX + 1 + FOLDER_PATH_MAX + 4], *rest, *end, *name;
	size_t len;
	enum err e = store_path(f->store, dir, ".", path, sizeof(path));

	if (e)
		return e == ERR_RANGE || e == ERR_NAME_TOO_LONG ? ERR_ABSENT
								: e;
	end = strrchr(path, '/');
	rest = strchr(path, '/');
	if (!end)
		return ERR_ABSENT; /* the store's root */
	*end = '\0';
	rest = rest == end ? end : rest + 1;
	len = (size_t)(end - rest);
	out->user = users_by_address(f->users, path, strcspn(path, "/"));
	if (!out->user || len >= FOLDER_PATH_MAX)
		return ERR_ABSENT;
	memcpy(out->path, rest, len + 1);
	out->len = (uint16_t)len;
	name = strrchr(out->path, '/');
	out->messages = maildir_is_message_dir(name ? name + 1 : out->path);
	return OK;
}

/* Keep the answer; that there is no memory for it does no harm. */
static void
keep(struct folders *f, uint64_t dir, const struct folder *found,
    uint64_t flushes)
{
	struct known *k;

	k = malloc(offsetof(struct known, path) + found->len + 1u);
	if (!k)
		return;
	k->ino = dir;
	k->user = found->user;
	k->messages = found->messages;
	k->len = found->len;
	memcpy(k->path, found->path, found->len + 1u);
	pthread_mutex_lock(&f->lock);
	if (f->by_ino.count >= FOLDERS_MAX)
		forget_all(f);
	if (f->flushes != flushes ||
	    map_find(&f->by_ino, hash64_u64(dir, 0), match_known, &dir) ||
	    map_add(&f->by_ino, hash64_u64(dir, 0), k))
		free(k);
	pthread_mutex_unlock(&f->lock);
}

enum err
folders_find(struct folders *f, uint64_t dir, struct folder *out)
{
	const struct known *k;
	uint64_t flushes;
	enum err e;

	pthread_mutex_lock(&f->lock);
	k = map_find(&f->by_ino, hash64_u64(dir, 0), match_known, &dir);
	if (k) {
		out->user = k->user;
		out->messages = k->messages;
		out->len = k->len;
		memcpy(out->path, k->path, k->len + 1u);
	}
	flushes = f->flushes;
	pthread_mutex_unlock(&f->lock);
	if (k)
		return OK;
	e = ask(f, dir, out);
	if (!e)
		keep(f, dir, out, flushes);
	return e;
}
