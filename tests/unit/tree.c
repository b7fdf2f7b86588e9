/* The tree against a plain model: everything that happened, in arrays.
 *
 * Long because one model serves every test.  Each runs on the index in memory and on LMDB.  A run is a seed; a
 * failure prints it. */
#include "overlay/base/crypto.h"
#include "overlay/base/rng.h"
#include "overlay/base/wire.h"
#include "store/tree_private.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define DIRS 4u
#define NAMES 60u
#define INODES 300u
#define MODEL_ENTRIES 20000u

/* ---- the model ----------------------------------------------------------- */

struct model {
	struct entry *entry; /* in cookie order; ino 0: gone */
	size_t entries;
	size_t live[DIRS * NAMES]; /* 1 + index of an entry that is there */
	size_t lives;
	struct inode inode[INODES]; /* nlink 0: not there */
	bool dropped[INODES]; /* and never comes again */
	uint8_t xattr[INODES][40];
	size_t xattr_len[INODES];
};

/* What a test runs on. */
struct world {
	struct model m;
	struct rng rng;
	struct index *ix;
	struct tree *t;
	char path[64]; /* of LMDB; "" in memory */
	bool written; /* the frozen layer is in the index already */
};

/* Which of the next allocations of the tree fails; 0: none. */
static unsigned fail_alloc;

static void *
failing_malloc(size_t n)
{
	if (fail_alloc && --fail_alloc == 0)
		return NULL;
	return malloc(n);
}

static uint64_t
bad_hash(const char *name, size_t len)
{
	(void)len;
	return (uint8_t)name[0] % 3;
}

static void
hook_tree(struct world *w, tree_hash_fn *hash)
{
	w->t->hash = hash;
	w->t->alloc = w->t->active.alloc = w->t->frozen.alloc = failing_malloc;
}

static void
world_init(struct world *w, bool lmdb, uint64_t seed, tree_hash_fn *hash)
{
	memset(w, 0, sizeof(*w));
	rng_init(&w->rng, seed);
	w->m.entry = calloc(MODEL_ENTRIES, sizeof(*w->m.entry));
	assert_non_null(w->m.entry);
	if (lmdb) {
		const char *tmp = getenv("TMPDIR");

		snprintf(w->path, sizeof(w->path), "%s/tree_XXXXXX",
		    tmp && strlen(tmp) < 40 ? tmp : "/tmp");
		assert_non_null(mkdtemp(w->path));
		assert_int_equal(index_lmdb_open(w->path, &w->ix), OK);
	} else {
		assert_int_equal(index_mem_new(&w->ix), OK);
	}
	assert_int_equal(tree_new(&w->t), OK);
	hook_tree(w, hash);
}

static void
world_fini(struct world *w)
{
	char file[128];

	tree_free(w->t);
	index_close(w->ix);
	free(w->m.entry);
	if (!w->path[0])
		return;
	snprintf(file, sizeof(file), "%s/data.mdb", w->path);
	unlink(file);
	snprintf(file, sizeof(file), "%s/lock.mdb", w->path);
	unlink(file);
	assert_int_equal(rmdir(w->path), 0);
}

static void
name_number(uint64_t n, struct entry *e)
{
	/* Of one byte, of ordinary length, and of the greatest. */
	int len =
	    n % 20 == 0
		? snprintf(e->name, sizeof(e->name), "%c", (int)('A' + n / 20))
		: snprintf(e->name, sizeof(e->name), "%c%lu.host:2,S%0*d",
		      (int)('a' + n % 7), (unsigned long)n,
		      n % 20 == 1 ? (int)(NAME_BYTES_MAX - 12) : 9, 0);

	if (len > (int)NAME_BYTES_MAX)
		len = NAME_BYTES_MAX;
	e->name[len] = '\0';
	e->name_len = (uint8_t)len;
}

static struct entry *
model_find(struct model *m, uint64_t dir, const struct entry *named)
{
	for (size_t i = 0; i < m->lives; i++) {
		struct entry *e = &m->entry[m->live[i]];

		if (e->dir == dir && e->name_len == named->name_len &&
		    memcmp(e->name, named->name, e->name_len) == 0)
			return e;
	}
	return NULL;
}

/* A name that is free in the directory; false if we happened on a taken one. */
static bool
free_name(struct world *w, struct entry *e)
{
	name_number(rng_below(&w->rng, NAMES), e);
	return !model_find(&w->m, e->dir, e);
}

static struct entry *
any_entry(struct world *w)
{
	if (w->m.lives == 0)
		return NULL;
	return &w->m.entry[w->m.live[rng_below(&w->rng, w->m.lives)]];
}

static void
model_drop(struct model *m, struct entry *e)
{
	for (size_t i = 0; i < m->lives; i++)
		if (&m->entry[m->live[i]] == e)
			m->live[i] = m->live[--m->lives];
	e->ino = 0;
}

/* ---- comparing ----------------------------------------------------------- */

static void
assert_same_entry(const struct entry *a, const struct entry *b)
{
	assert_int_equal(a->dir, b->dir);
	assert_int_equal(a->cookie, b->cookie);
	assert_int_equal(a->ino, b->ino);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->local, b->local);
	assert_int_equal(a->name_len, b->name_len);
	assert_string_equal(a->name, b->name);
}

static void
check_names(struct world *w, struct index_txn *txn)
{
	struct entry want, got;

	for (uint64_t dir = 1; dir <= DIRS; dir++)
		for (uint64_t n = 0; n < NAMES; n++) {
			struct entry *e;
			enum err err;

			name_number(n, &want);
			e = model_find(&w->m, dir, &want);
			err = tree_find(
			    w->t, txn, dir, want.name, want.name_len, &got);
			assert_int_equal(err, e ? OK : ERR_ABSENT);
			if (e)
				assert_same_entry(&got, e);
		}
}

static void
check_walk(struct world *w, struct index_txn *txn, uint64_t dir, uint64_t after)
{
	struct tree_walk walk;
	struct entry got;

	tree_walk_init(&walk, w->t, txn, dir, after);
	for (size_t i = 0; i < w->m.entries; i++) {
		const struct entry *e = &w->m.entry[i];

		if (e->ino == 0 || e->dir != dir || e->cookie <= after)
			continue;
		assert_int_equal(tree_walk_next(&walk, &got), OK);
		assert_same_entry(&got, e);
	}
	assert_int_equal(tree_walk_next(&walk, &got), ERR_ABSENT);
	assert_int_equal(tree_walk_next(&walk, &got), ERR_ABSENT);
	tree_walk_fini(&walk);
}

static void
check_inodes(struct world *w, struct index_txn *txn)
{
	uint8_t a[INODE_ROW_MAX], b[INODE_ROW_MAX], *xattr;
	size_t a_len, b_len, len;
	struct inode got;

	for (uint64_t n = 0; n < INODES; n++) {
		const struct inode *want = &w->m.inode[n];
		enum err e = tree_inode(w->t, txn, n + 1, &got);

		assert_int_equal(e, want->nlink ? OK : ERR_ABSENT);
		if (!e) {
			assert_int_equal(
			    inode_encode(want, a, sizeof(a), &a_len), OK);
			assert_int_equal(
			    inode_encode(&got, b, sizeof(b), &b_len), OK);
			assert_int_equal(got.ino, n + 1);
			assert_int_equal(a_len, b_len);
			assert_memory_equal(a, b, a_len);
		}
		assert_int_equal(
		    tree_xattrs(w->t, txn, n + 1, &xattr, &len), OK);
		assert_int_equal(len, w->m.xattr_len[n]);
		if (len)
			assert_memory_equal(xattr, w->m.xattr[n], len);
		else
			assert_null(xattr);
		free(xattr);
	}
}

static void
check_all(struct world *w)
{
	struct index_txn *txn = NULL;
	unsigned was = fail_alloc;

	fail_alloc = 0;
	assert_int_equal(index_begin_read(w->ix, &txn), OK);
	check_names(w, txn);
	check_inodes(w, txn);
	for (uint64_t dir = 1; dir <= DIRS; dir++) {
		check_walk(w, txn, dir, 0);
		check_walk(w, txn, dir, rng_below(&w->rng, w->m.entries + 2));
	}
	index_abort(&txn);
	fail_alloc = was;
}

/* ---- changing both ------------------------------------------------------- */

/* Most changes just happen; now and then memory runs out, and then nothing
 * may have happened. */
static bool
came_through(struct world *w, enum err e)
{
	bool starved = false;

	if (e == ERR_NOMEM) {
		check_all(w);
		starved = true;
	} else {
		assert_int_equal(e, OK);
	}
	fail_alloc = rng_below(&w->rng, 40) == 0;
	return !starved;
}

static void
new_face(struct world *w, struct entry *e)
{
	e->ino = 1 + rng_u64(&w->rng) % 1000000;
	e->type = rng_below(&w->rng, 2) ? DT_REG : DT_DIR;
	e->local = rng_below(&w->rng, 4) == 0;
}

static void
add_entry(struct world *w)
{
	struct model *m = &w->m;
	struct entry e = { .dir = 1 + rng_below(&w->rng, DIRS),
		.cookie = m->entries + 1 };

	assert_true(m->entries < MODEL_ENTRIES);
	new_face(w, &e);
	if (!free_name(w, &e) ||
	    !came_through(w, tree_put_entry(w->t, &e, NULL, 0)))
		return;
	m->live[m->lives++] = m->entries;
	m->entry[m->entries++] = e;
}

static void
rename_entry(struct world *w)
{
	struct entry *old = any_entry(w), e;

	if (!old)
		return;
	e = *old;
	if (rng_below(&w->rng, 5) == 0)
		new_face(w, &e); /* the same name for another child */
	else if (!free_name(w, &e))
		return;
	if (came_through(w, tree_put_entry(w->t, &e, old->name, old->name_len)))
		*old = e;
}

static void
drop_entry(struct world *w)
{
	struct entry *e = any_entry(w);

	if (e && came_through(w, tree_drop_entry(w->t, e)))
		model_drop(&w->m, e);
}

/* What was done before, as a replay may do: it changes nothing. */
static void
do_it_again(struct world *w)
{
	struct entry *e;

	if (w->m.entries == 0)
		return;
	e = &w->m.entry[rng_below(&w->rng, w->m.entries)];
	if (e->ino)
		(void)came_through(w, tree_put_entry(w->t, e, NULL, 0));
	else
		(void)came_through(w, tree_drop_entry(w->t, e));
}

static void
change_inode(struct world *w)
{
	uint64_t n = rng_below(&w->rng, INODES);
	struct inode i = {
		.ino = n + 1,
		.nlink = 1 + (uint32_t)rng_below(&w->rng, 3),
		.mode = S_IFREG | 0600,
		.size = rng_u64(&w->rng) >> rng_below(&w->rng, 64),
		.mtime_ns = (int64_t)rng_u64(&w->rng),
		.content.len = (uint16_t)rng_below(&w->rng, CONTENT_MAX + 1),
	};

	for (unsigned k = 0; k < i.content.len; k++)
		i.content.bytes[k] = (uint8_t)rng_u64(&w->rng);
	if (w->m.dropped[n])
		return;
	if (rng_below(&w->rng, 6)) {
		if (came_through(w, tree_put_inode(w->t, &i)))
			w->m.inode[n] = i;
	} else if (came_through(w, tree_drop_inode(w->t, n + 1))) {
		w->m.inode[n].nlink = 0;
		w->m.dropped[n] = true;
		w->m.xattr_len[n] = 0;
	}
}

static void
change_xattrs(struct world *w)
{
	uint64_t n = rng_below(&w->rng, INODES);
	uint8_t bytes[40];
	size_t len = rng_below(&w->rng, 2) * (1 + rng_below(&w->rng, 40));

	for (unsigned k = 0; k < len; k++)
		bytes[k] = (uint8_t)rng_u64(&w->rng);
	if (w->m.dropped[n] ||
	    !came_through(w, tree_put_xattrs(w->t, n + 1, bytes, len)))
		return;
	memcpy(w->m.xattr[n], bytes, len);
	w->m.xattr_len[n] = len;
}

/* One step of a checkpoint: freeze, then write or fail or thaw, then drop or
 * (as after a commit of which nobody knows) thaw; changes between them. */
static void
step_checkpoint(struct world *w)
{
	struct index_txn *txn = NULL;
	unsigned chance = (unsigned)rng_below(&w->rng, 8);
	enum err e;

	if (!tree_is_frozen(w->t)) {
		assert_int_equal(tree_freeze(w->t), OK);
		assert_int_equal(tree_active_count(w->t), 0);
		w->written = false;
	} else if (chance == 0) {
		tree_thaw(w->t);
	} else if (w->written) {
		tree_drop_frozen(w->t);
	} else {
		assert_int_equal(index_begin_write(w->ix, &txn), OK);
		e = tree_write_frozen(w->t, txn);
		if (e)
			assert_int_equal(e, ERR_NOMEM);
		fail_alloc = 0;
		if (!e && chance > 1) {
			assert_int_equal(index_commit(&txn), OK);
			w->written = true;
		}
		index_abort(&txn);
	}
}

static void
change_something(struct world *w)
{
	switch (rng_below(&w->rng, 13)) {
	case 0:
	case 1:
	case 2:
	case 3:
		add_entry(w);
		break;
	case 4:
	case 5:
		rename_entry(w);
		break;
	case 6:
	case 7:
	case 8:
		drop_entry(w);
		break;
	case 9:
	case 10:
		change_inode(w);
		break;
	case 11:
		change_xattrs(w);
		break;
	default:
		do_it_again(w);
	}
}

static void
write_everything(struct world *w)
{
	struct index_txn *txn = NULL;

	fail_alloc = 0;
	if (tree_is_frozen(w->t))
		tree_thaw(w->t);
	assert_int_equal(tree_freeze(w->t), OK);
	assert_int_equal(index_begin_write(w->ix, &txn), OK);
	assert_int_equal(tree_write_frozen(w->t, txn), OK);
	assert_int_equal(index_commit(&txn), OK);
	tree_drop_frozen(w->t);
}

static uint64_t
rows(struct world *w, enum index_table table)
{
	struct index_txn *txn = NULL;
	uint64_t n = 0;

	assert_int_equal(index_begin_read(w->ix, &txn), OK);
	assert_int_equal(index_count(txn, table, &n), OK);
	index_abort(&txn);
	return n;
}

/* Nothing but what the model has is left in the index. */
static void
assert_no_litter(struct world *w)
{
	uint64_t inodes = 0, xattrs = 0;

	for (unsigned n = 0; n < INODES; n++) {
		inodes += w->m.inode[n].nlink > 0;
		xattrs += w->m.xattr_len[n] > 0;
	}
	assert_int_equal(rows(w, INDEX_ENTRIES), w->m.lives);
	assert_int_equal(rows(w, INDEX_INODES), inodes);
	assert_int_equal(rows(w, INDEX_XATTRS), xattrs);
	if (w->t->hash == tree_name_hash)
		assert_int_equal(rows(w, INDEX_NAMES), w->m.lives);
	else
		assert_true(rows(w, INDEX_NAMES) <= DIRS * 3);
	while (w->m.lives) {
		struct entry *e = &w->m.entry[w->m.live[0]];

		assert_int_equal(tree_drop_entry(w->t, e), OK);
		model_drop(&w->m, e);
	}
	write_everything(w);
	assert_int_equal(rows(w, INDEX_ENTRIES), 0);
	assert_int_equal(rows(w, INDEX_NAMES), 0);
}

static void
run(bool lmdb, uint64_t seed, tree_hash_fn *hash, unsigned steps)
{
	struct world w;

	print_message("seed %lu\n", (unsigned long)seed);
	world_init(&w, lmdb, seed, hash);
	for (unsigned n = 0; n < steps; n++) {
		change_something(&w);
		if (rng_below(&w.rng, 15) == 0)
			step_checkpoint(&w);
		if (rng_below(&w.rng, 40) == 0)
			check_all(&w);
	}
	write_everything(&w);
	/* A tree of an index alone knows the same. */
	tree_free(w.t);
	assert_int_equal(tree_new(&w.t), OK);
	hook_tree(&w, hash);
	check_all(&w);
	assert_no_litter(&w);
	world_fini(&w);
}

static void
it_is_as_the_model_says_in_memory(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		run(false, seed, tree_name_hash, 10000);
}

static void
it_is_as_the_model_says_on_lmdb(void **state)
{
	(void)state;
	for (uint64_t seed = 11; seed <= 12; seed++)
		run(true, seed, tree_name_hash, 5000);
}

static void
names_of_one_hash_are_told_apart(void **state)
{
	(void)state;
	for (uint64_t seed = 21; seed <= 23; seed++)
		run(false, seed, bad_hash, 10000);
	run(true, 24, bad_hash, 3000);
}

/* ---- listing while things change ----------------------------------------- */

static void
list_while_changing(struct world *w)
{
	static bool stayed[MODEL_ENTRIES];
	static unsigned seen[MODEL_ENTRIES];
	uint64_t dir = 1 + rng_below(&w->rng, DIRS), after = 0;
	struct index_txn *txn = NULL;
	enum err e = OK;

	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < MODEL_ENTRIES; i++)
		stayed[i] = i < w->m.entries && w->m.entry[i].ino &&
			    w->m.entry[i].dir == dir;
	while (!e) {
		struct tree_walk walk;
		struct entry got;

		assert_int_equal(index_begin_read(w->ix, &txn), OK);
		tree_walk_init(&walk, w->t, txn, dir, after);
		for (unsigned n = 0; n < 5; n++) {
			if ((e = tree_walk_next(&walk, &got)))
				break;
			assert_true(got.cookie > after);
			after = got.cookie;
			assert_same_entry(&got, &w->m.entry[after - 1]);
			seen[after - 1]++;
		}
		tree_walk_fini(&walk);
		index_abort(&txn);
		for (unsigned n = 0; n < 6; n++)
			change_something(w);
		step_checkpoint(w);
		for (size_t i = 0; i < w->m.entries; i++)
			stayed[i] = stayed[i] && w->m.entry[i].ino;
	}
	assert_int_equal(e, ERR_ABSENT);
	for (size_t i = 0; i < w->m.entries; i++) {
		if (stayed[i])
			assert_int_equal(seen[i], 1);
		else
			assert_true(seen[i] <= 1);
	}
}

static void
a_listing_misses_nothing_that_stays_and_shows_nothing_twice(void **state)
{
	struct world w;

	(void)state;
	for (unsigned lmdb = 0; lmdb < 2; lmdb++) {
		world_init(&w, lmdb, 31 + lmdb, tree_name_hash);
		for (unsigned n = 0; n < 400; n++)
			add_entry(&w);
		for (unsigned n = 0; n < (lmdb ? 20 : 100); n++)
			list_while_changing(&w);
		check_all(&w);
		world_fini(&w);
	}
}

/* ---- failures ------------------------------------------------------------ */

static void
a_write_that_fails_anywhere_leaves_everything_as_it_was(void **state)
{
	struct index_txn *txn;
	struct world w;
	enum err e;

	(void)state;
	world_init(&w, false, 41, bad_hash);
	for (unsigned n = 0; n < 400; n++)
		change_something(&w);
	write_everything(&w);
	for (unsigned n = 0; n < 200; n++)
		change_something(&w);
	fail_alloc = 0;
	for (uint64_t nth = 1;; nth++) {
		assert_int_equal(tree_freeze(w.t), OK);
		assert_int_equal(index_begin_write(w.ix, &txn), OK);
		index_mem_fail(w.ix, nth, ERR_NOSPACE);
		e = tree_write_frozen(w.t, txn);
		if (!e)
			e = index_commit(&txn);
		index_abort(&txn);
		index_mem_fail(w.ix, 0, OK);
		if (!e)
			break;
		assert_int_equal(e, ERR_NOSPACE);
		tree_thaw(w.t);
		if (nth % 16 == 1)
			check_all(&w);
		assert_true(nth < 10000);
	}
	tree_drop_frozen(w.t);
	check_all(&w);
	assert_no_litter(&w);
	world_fini(&w);
}

static void
damaged_rows_are_said_to_be_corrupt(void **state)
{
	struct entry e = { .dir = 1,
		.cookie = 5,
		.ino = 9,
		.type = DT_REG,
		.name = "x",
		.name_len = 1 };
	struct inode i = { .ino = 9, .nlink = 1 };
	uint8_t ino_key[INO_KEY_BYTES], key[ENTRY_KEY_BYTES];
	struct index_txn *txn = NULL;
	struct tree_walk walk;
	struct entry got;
	struct world w;

	(void)state;
	world_init(&w, false, 51, tree_name_hash);
	assert_int_equal(tree_put_inode(w.t, &i), OK);
	assert_int_equal(tree_put_entry(w.t, &e, NULL, 0), OK);
	write_everything(&w);

	assert_int_equal(index_begin_write(w.ix, &txn), OK);
	key_one(9, ino_key);
	assert_int_equal(
	    index_put(txn, INDEX_INODES, ino_key, 8, "\x10", 1), OK);
	key_two(1, 5, key);
	assert_int_equal(index_put(txn, INDEX_ENTRIES, key, 16, "\x09", 1), OK);
	assert_int_equal(index_commit(&txn), OK);
	assert_int_equal(index_begin_read(w.ix, &txn), OK);
	assert_int_equal(tree_inode(w.t, txn, 9, &i), ERR_CORRUPT);
	assert_int_equal(tree_find(w.t, txn, 1, "x", 1, &got), ERR_CORRUPT);
	tree_walk_init(&walk, w.t, txn, 1, 0);
	assert_int_equal(tree_walk_next(&walk, &got), ERR_CORRUPT);
	tree_walk_fini(&walk);
	index_abort(&txn);

	/* A name whose entry is not there. */
	assert_int_equal(index_begin_write(w.ix, &txn), OK);
	assert_int_equal(index_del(txn, INDEX_ENTRIES, key, 16), OK);
	assert_int_equal(index_commit(&txn), OK);
	assert_int_equal(index_begin_read(w.ix, &txn), OK);
	assert_int_equal(tree_find(w.t, txn, 1, "x", 1, &got), ERR_CORRUPT);
	index_abort(&txn);
	world_fini(&w);
}

/* ---- what a checkpoint does ---------------------------------------------- */

static enum err
note_inode(void *arg, const struct inode *ino)
{
	uint64_t *sum = arg;

	*sum = *sum * 10 + ino->ino;
	return ino->ino == 9 ? ERR_IO : OK;
}

static void
sealed_content_is_written_and_seen_once_it_is_dropped(void **state)
{
	struct content sealed = { .len = 2, .bytes = { 0xca, 0xfe } };
	struct index_txn *txn = NULL;
	struct inode i = { .nlink = 1, .data = DATA_KEPT, .size = 5 };
	uint64_t order = 0;
	struct world w;

	(void)state;
	world_init(&w, false, 61, tree_name_hash);
	for (i.ino = 4; i.ino > 1; i.ino--)
		assert_int_equal(tree_put_inode(w.t, &i), OK);
	assert_int_equal(tree_drop_inode(w.t, 3), OK);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(tree_freeze(w.t), OK);
		order = 0;
		assert_int_equal(
		    tree_frozen_inodes(w.t, note_inode, &order), OK);
		assert_int_equal(order, 24); /* 3 is gone */
		assert_int_equal(
		    tree_frozen_content(w.t, 2, DATA_RECIPE, 77, &sealed), OK);
		assert_int_equal(
		    tree_frozen_content(w.t, 3, DATA_RECIPE, 77, &sealed),
		    ERR_ABSENT);
		assert_int_equal(
		    tree_frozen_content(w.t, 5, DATA_RECIPE, 77, &sealed),
		    ERR_ABSENT);
		assert_int_equal(index_begin_read(w.ix, &txn), OK);
		assert_int_equal(tree_inode(w.t, txn, 2, &i), OK);
		assert_int_equal(i.size, 5); /* readers see what was frozen */
		index_abort(&txn);
		if (round == 0) { /* and once more, but 2 only */
			assert_int_equal(tree_frozen_content(
					     w.t, 4, DATA_RECIPE, 99, &sealed),
			    OK);
			tree_thaw(w.t);
		}
	}
	assert_int_equal(index_begin_write(w.ix, &txn), OK);
	assert_int_equal(tree_write_frozen(w.t, txn), OK);
	assert_int_equal(index_commit(&txn), OK);
	tree_drop_frozen(w.t);
	assert_int_equal(index_begin_read(w.ix, &txn), OK);
	assert_int_equal(tree_inode(w.t, txn, 2, &i), OK);
	assert_int_equal(i.size, 77);
	assert_int_equal(i.data, DATA_RECIPE);
	assert_int_equal(i.content.len, 2);
	assert_memory_equal(i.content.bytes, sealed.bytes, 2);
	assert_int_equal(tree_inode(w.t, txn, 4, &i), OK);
	assert_int_equal(i.size, 5);
	index_abort(&txn);

	/* What was sealed once is not written again. */
	i.ino = 2;
	i.size = 6;
	assert_int_equal(tree_put_inode(w.t, &i), OK);
	write_everything(&w);
	assert_int_equal(index_begin_read(w.ix, &txn), OK);
	assert_int_equal(tree_inode(w.t, txn, 2, &i), OK);
	assert_int_equal(i.size, 6);
	index_abort(&txn);

	i.ino = 9;
	assert_int_equal(tree_put_inode(w.t, &i), OK);
	i.ino = 10;
	assert_int_equal(tree_put_inode(w.t, &i), OK);
	assert_int_equal(tree_freeze(w.t), OK);
	order = 0;
	assert_int_equal(tree_frozen_inodes(w.t, note_inode, &order), ERR_IO);
	assert_int_equal(order, 9);
	world_fini(&w);
}

static int
begin(void **state)
{
	(void)state;
	fail_alloc = 0;
	return crypto_init() == OK ? 0 : -1;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_as_the_model_says_in_memory),
		cmocka_unit_test(it_is_as_the_model_says_on_lmdb),
		cmocka_unit_test(names_of_one_hash_are_told_apart),
		cmocka_unit_test(
		    a_listing_misses_nothing_that_stays_and_shows_nothing_twice),
		cmocka_unit_test(
		    a_write_that_fails_anywhere_leaves_everything_as_it_was),
		cmocka_unit_test(damaged_rows_are_said_to_be_corrupt),
		cmocka_unit_test(
		    sealed_content_is_written_and_seen_once_it_is_dropped),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
