#include "fs/users.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t
wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct found {
	struct {
		uint64_t ino;
		char address[ADDRESS_MAX + 1];
	} * user;
	unsigned count, cap;
	bool no_memory;
};

static bool
find_entry(void *arg, const struct entry *e, const struct inode *ino)
{
	struct found *f = arg;

	(void)ino;
	if (e->type != DT_DIR || e->name_len > ADDRESS_MAX ||
	    f->count == KEYS_USERS_MAX)
		return true;
	if (f->count == f->cap) {
		unsigned cap = f->cap ? f->cap * 2 : 8;
		void *user = realloc(f->user, cap * sizeof(*f->user));

		if (!user) {
			f->no_memory = true;
			return false;
		}
		f->user = user;
		f->cap = cap;
	}
	f->user[f->count].ino = e->ino;
	memcpy(f->user[f->count].address, e->name, e->name_len + 1u);
	f->count++;
	return true;
}

/* Under the lock; `expected` users share the memory for feeds. */
static enum err
add(struct users *u, uint64_t ino, const char *address, unsigned expected)
{
	unsigned count = atomic_load(&u->count);
	struct user *user;

	if (count == KEYS_USERS_MAX || strlen(address) > ADDRESS_MAX)
		return ERR_RANGE;
	user = calloc(1, sizeof(*user));
	if (!user)
		return ERR_NOMEM;
	user->ino = ino;
	user->address_len = strlen(address);
	memcpy(user->address, address, user->address_len + 1);
	user->at_ino = virtuals_number(u->virtuals);
	feed_init(&user->feed, feed_keep(expected),
	    virtuals_number(u->virtuals), wall_ns());
	u->user[count] = user;
	atomic_store(&u->count, count + 1); /* readers see a whole user */
	return OK;
}

enum err
users_init(struct users *u, struct store *s, struct virtuals *v)
{
	struct found found = { 0 };
	enum err e;

	memset(u, 0, sizeof(*u));
	u->store = s;
	u->virtuals = v;
	pthread_mutex_init(&u->lock, NULL);
	e = store_list(s, STORE_ROOT, 0, false, find_entry, &found);
	if (!e && found.no_memory)
		e = ERR_NOMEM;
	for (unsigned i = 0; !e && i < found.count; i++)
		e = add(
		    u, found.user[i].ino, found.user[i].address, found.count);
	free(found.user);
	if (e)
		users_fini(u);
	return e;
}

void
users_fini(struct users *u)
{
	unsigned count = atomic_exchange(&u->count, 0);

	for (unsigned i = 0; i < count; i++) {
		feed_fini(&u->user[i]->feed);
		free(u->user[i]);
	}
	pthread_mutex_destroy(&u->lock);
}

struct user *
users_by_ino(struct users *u, uint64_t ino)
{
	unsigned count = atomic_load(&u->count);

	for (unsigned i = 0; i < count; i++)
		if (u->user[i]->ino == ino)
			return u->user[i];
	return NULL;
}

struct user *
users_by_address(struct users *u, const char *name, size_t len)
{
	unsigned count = atomic_load(&u->count);

	for (unsigned i = 0; i < count; i++)
		if (u->user[i]->address_len == len &&
		    memcmp(u->user[i]->address, name, len) == 0)
			return u->user[i];
	return NULL;
}

enum err
users_note(struct users *u, uint64_t ino, const char *address)
{
	enum err e = OK;

	if (users_by_ino(u, ino))
		return OK;
	pthread_mutex_lock(&u->lock);
	if (!users_by_ino(u, ino))
		e = add(u, ino, address, atomic_load(&u->count) + 1);
	pthread_mutex_unlock(&u->lock);
	return e;
}
