/* home.h - a whole home in memory, for tests: a simulated disk, the memory
 * index, cheap keys, and a clock that the test moves. */
#ifndef POST_TESTS_HOME_H
#define POST_TESTS_HOME_H

#include "store/index.h"
#include "store/store.h"

struct test_home {
	struct disk *disk;
	struct index *index;
	struct home_keys *keys;
	struct store_env env;
	struct store *store; /* open, or NULL */
	int64_t now_ns;	     /* goes on by 1 us at each look */
};

/* A home of alice@home.example (and bob@home.example), opened. */
struct test_home *test_home_new(uint64_t seed);
void test_home_free(struct test_home *h);

enum test_end {
	TEST_CLOSE, /* in order */
	TEST_KILL,  /* as kill -9 */
	TEST_CRASH, /* as a power cut */
};
/* End the store that way and open it again; OK or store_open()'s error. */
enum err test_home_restart(struct test_home *h, enum test_end how);
/* The first half of it. */
void test_home_end(struct test_home *h, enum test_end how);

/* Directory below alice's root, "" for the root itself. */
uint64_t test_dir(struct test_home *h, const char *path);
/* Make, write, (sync,) rename: a delivery from tmp to new of that Maildir. */
enum err test_deliver(struct test_home *h, const char *maildir,
    const char *name, const void *bytes, size_t len, bool sync);
/* Read a file whole; the caller frees. */
enum err test_read(struct test_home *h, uint64_t dir, const char *name,
    uint8_t **bytes, size_t *len);
/* A mail of about `size` bytes, the same for the same number. */
uint8_t *test_mail(uint64_t number, size_t size, size_t *len);

#endif
