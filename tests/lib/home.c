#include "tests/lib/home.h"

#include "overlay/base/rng.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int64_t
test_now(void *arg)
{
	struct test_home *h = arg;

	return __atomic_add_fetch(&h->now_ns, 1000, __ATOMIC_RELAXED);
}

static bool
test_is_local(
    void *arg, const char *dir_name, const char *name, bool is_dir)
{
	(void)arg;
	(void)is_dir;
	return strcmp(dir_name, "tmp") == 0 || strstr(name, ".lock") ||
	    strncmp(name, "dovecot.index", 13) == 0;
}

static bool
test_is_message_dir(const char *name)
{
	return strcmp(name, "cur") == 0 || strcmp(name, "new") == 0;
}

static void
must(enum err e)
{
	if (e) {
		fprintf(stderr, "fixture: %s\n", err_name(e));
		abort();
	}
}

struct test_home *
test_home_new(uint64_t seed)
{
	static const uint8_t root[2][ROOT_BYTES] = { { 1 }, { 2 } };
	struct test_home *h = calloc(1, sizeof(*h));
	uint64_t ino;

	assert(h);
	must(crypto_init());
	must(disk_mem_new(seed, &h->disk));
	must(index_mem_new(&h->index));
	must(home_keys_new("home.example", &h->keys));
	must(home_keys_add_user(h->keys, "alice@home.example", root[0]));
	must(home_keys_add_user(h->keys, "bob@home.example", root[1]));
	h->now_ns = 1700000000 * INT64_C(1000000000);
	h->env = (struct store_env){
		.now_ns = test_now,
		.arg = h,
		.disk = h->disk,
		.index = h->index,
		.is_local = test_is_local,
		.is_message_dir = test_is_message_dir,
	};
	must(store_create(&h->env, h->keys));
	must(store_open(&h->env, h->keys, &h->store));
	for (unsigned i = 0; i < 2; i++)
		must(store_add_user(
		    h->store, &h->keys->user[i], 1000 + i, 1000, &ino));
	return h;
}

void
test_home_end(struct test_home *h, enum test_end how)
{
	if (h->store) {
		if (how == TEST_CLOSE)
			(void)!store_close(h->store);
		else
			store_abandon(h->store);
	}
	h->store = NULL;
	if (how == TEST_KILL)
		disk_mem_kill(h->disk);
	else if (how == TEST_CRASH)
		disk_mem_crash(h->disk);
}

enum err
test_home_restart(struct test_home *h, enum test_end how)
{
	test_home_end(h, how);
	return store_open(&h->env, h->keys, &h->store);
}

void
test_home_free(struct test_home *h)
{
	if (h->store)
		(void)!store_close(h->store);
	index_close(h->index);
	disk_close(h->disk);
	home_keys_free(h->keys);
	free(h);
}

uint64_t
test_dir(struct test_home *h, const char *path)
{
	char whole[512];
	struct inode in;

	snprintf(whole, sizeof(whole), "alice@home.example/%s", path);
	must(store_resolve(h->store, whole, &in));
	assert(S_ISDIR(in.mode));
	return in.ino;
}

enum err
test_deliver(struct test_home *h, const char *maildir, const char *name,
    const void *bytes, size_t len, bool sync)
{
	static const struct store_who who = { 1000, 1000, 0 };
	char path[256];
	uint64_t tmp, dest;
	struct inode in;
	enum err e;

	snprintf(path, sizeof(path), "%s/tmp", maildir);
	tmp = test_dir(h, path);
	snprintf(path, sizeof(path), "%s/new", maildir);
	dest = test_dir(h, path);
	if ((e = store_make(h->store, tmp, name, S_IFREG | 0600, 0, NULL, &who,
		 false, &in)) ||
	    (e = store_write(h->store, in.ino, 0, bytes, len, false)) ||
	    (sync && (e = store_sync(h->store, in.ino))))
		return e;
	return store_rename(h->store, tmp, name, dest, name, 0);
}

enum err
test_read(struct test_home *h, uint64_t dir, const char *name,
    uint8_t **bytes, size_t *len)
{
	struct inode in;
	enum err e = store_lookup(h->store, dir, name, &in);

	if (e)
		return e;
	*bytes = malloc(in.size + 1);
	assert(*bytes);
	e = store_read(h->store, in.ino, 0, *bytes, in.size + 1, len);
	if (!e && *len != in.size)
		e = ERR_CORRUPT;
	if (e) {
		free(*bytes);
		*bytes = NULL;
	}
	return e;
}

uint8_t *
test_mail(uint64_t number, size_t size, size_t *len)
{
	static const char *const word[] = { "letter", "from", "the", "shore",
		"with", "some", "news", "and", "a", "question", "about" };
	struct rng rng;
	char *mail = malloc(size + 512);
	size_t n;

	assert(mail);
	rng_init(&rng, number);
	n = (size_t)snprintf(mail, 512,
	    "From: Alice <alice@home.example>\nTo: bob@home.example\n"
	    "Subject: letter %llu\nMessage-ID: <%016llx@home.example>\n\n",
	    (unsigned long long)number, (unsigned long long)rng_u64(&rng));
	while (n < size) {
		const char *w = word[rng_below(&rng, 11)];

		memcpy(mail + n, w, strlen(w));
		n += strlen(w);
		mail[n++] = rng_below(&rng, 9) ? ' ' : '\n';
	}
	*len = n;
	return (uint8_t *)mail;
}
