/* A past whose every allocation fails once: it says so, and nothing of it is
 * lost or freed twice (AddressSanitizer looks on).  The sources are compiled
 * in here, with an allocator that counts. */
#include "tests/unit/past_test.h"

#include "store/xattr.h"

#include <assert.h>

static unsigned long until; /* allocations before one fails; 0: none will */
static bool failed;

static bool
fails_now(void)
{
	if (until == 0 || --until > 0)
		return false;
	failed = true;
	return true;
}

static void *
test_alloc(size_t n)
{
	return fails_now() ? NULL : malloc(n);
}

static void *
test_zeroed(size_t n, size_t size)
{
	return fails_now() ? NULL : calloc(n, size);
}

static void *
test_resized(void *p, size_t n)
{
	return fails_now() ? NULL : realloc(p, n);
}

#define malloc test_alloc
#define calloc test_zeroed
#define realloc test_resized
#include "overlay/base/map.c"
#include "store/past.c"
#include "store/past_apply.c"
#include "store/xattr.c"
#undef malloc
#undef calloc
#undef realloc

#define RECORDS 5000u

/* Some of every kind, with names that are taken, and directories that come
 * back; a function of i alone. */
static void
record(unsigned i, struct ulog_record *r, char name[32], char to_name[32])
{
	memset(r, 0, sizeof(*r));
	r->lamport = i + 1;
	r->time_ns = T0 + i;
	snprintf(name, 32, "a message %u", i % 1777);
	snprintf(to_name, 32, "renamed %u", i % 31);
	r->name = name;
	r->to_name = to_name;
	r->object = (struct ulog_oid){ 1 + i % 3, 1 + i / 2 };
	r->dir = (struct ulog_oid){ 1, 1 + 500 * (i / 500) };
	r->to_dir = (struct ulog_oid){ 2, 700000 + i / 900 };
	r->mode = S_IFREG | 0600;
	switch (i % 16) {
	case 0:
		r->op = ULOG_CREATE;
		r->mode = S_IFDIR | 0700;
		break;
	case 3:
		r->op = ULOG_LINK;
		r->object = (struct ulog_oid){ 1 + (i - 2) % 3,
			1 + (i - 2) / 2 };
		break;
	case 5:
	case 9:
		r->op = ULOG_UNLINK;
		record(i - 1, r, name, to_name);
		r->op = ULOG_UNLINK;
		break;
	case 7:
		record(i - 1, r, name, to_name);
		r->op = ULOG_RENAME;
		break;
	case 11:
		record(i - 1, r, name, to_name);
		r->op = ULOG_XATTR;
		r->value = (const uint8_t *)"value";
		r->value_len = 5;
		break;
	case 13:
		record(i - 1, r, name, to_name);
		r->op = ULOG_CONTENT;
		r->content.len = (uint16_t)(i % CONTENT_MAX);
		break;
	default:
		r->op = ULOG_CREATE;
		r->has_content = i % 2;
		r->content.len = (uint16_t)(i * 7 % CONTENT_MAX);
		r->rdev = i % 5 == 0;
		break;
	}
	r->name_len = strlen(name);
	r->to_name_len = strlen(to_name);
}

struct numbered {
	unsigned at;
	char name[32], to_name[32];
	struct id table[10];
};

static enum err
numbered_next(void *arg, struct ulog_record *r, const struct id **table,
    unsigned *devices)
{
	struct numbered *n = arg;

	if (n->at == RECORDS)
		return ERR_ABSENT;
	record(n->at++, r, n->name, n->to_name);
	*table = n->table;
	*devices = 10;
	return OK;
}

static void
every_allocation_may_fail(void **state)
{
	unsigned long nth;
	struct past_stats stats;

	(void)state;
	for (unsigned logs = 1; logs <= 2; logs++) {
		for (nth = 1;; nth += 1 + nth / 60) {
			struct numbered n = { 0 };
			struct past_stream s = { numbered_next, &n };
			struct past *p = NULL;
			enum err e;

			for (unsigned i = 0; i < 10; i++)
				n.table[i] = test_device(i);
			until = nth;
			failed = false;
			e = past_new(&n.table[1], logs, 0, &p);
			if (!e)
				e = past_merge(p, &s, 1);
			until = 0;
			assert_int_equal(e, failed ? ERR_NOMEM : OK);
			if (!failed) {
				check(p);
				past_stats(p, &stats);
				past_free(p);
				break;
			}
			past_free(p);
		}
		assert_true(nth > 50);
		assert_true(stats.objects > 1000);
		assert_true(stats.lost > 0);
	}
	assert_true(stats.displaced > 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
