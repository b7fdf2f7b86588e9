/* store.c - a home: made, opened, told about, closed. */
#include "store/store_private.h"

#include "overlay/base/wire.h"
#include "store/userlog.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FORMAT_FILE "format"
#define META_STATE "state"

/* ---- rows of INDEX_META --------------------------------------------------
 *
 * "state": varint lsn, next_ino, next_cookie
 * "user." number: varint messages, files, logical_bytes */

enum err
state_put(struct index_txn *txn, const struct store_state *st)
{
	uint8_t row[3 * VARINT_MAX];
	struct wr w;

	wr_init(&w, row, sizeof(row));
	wr_varint(&w, st->lsn);
	wr_varint(&w, st->next_ino);
	wr_varint(&w, st->next_cookie);
	return index_put(txn, INDEX_META, META_STATE, strlen(META_STATE), row,
	    wr_len(&w));
}

enum err
state_get(struct index_txn *txn, struct store_state *st)
{
	const uint8_t *row;
	struct rd r;
	size_t len;
	enum err e = index_get(
	    txn, INDEX_META, META_STATE, strlen(META_STATE), &row, &len);

	if (e)
		return e;
	rd_init(&r, row, len);
	st->lsn = rd_varint(&r);
	st->next_ino = rd_varint(&r);
	st->next_cookie = rd_varint(&r);
	return rd_done(&r) ? OK : ERR_CORRUPT;
}

enum err
user_row_put(
    struct index_txn *txn, unsigned user_index, const struct store_user *u)
{
	uint8_t row[3 * VARINT_MAX];
	char name[24];
	struct wr w;

	snprintf(name, sizeof(name), "user.%u", user_index + 1);
	wr_init(&w, row, sizeof(row));
	wr_varint(&w, u->messages);
	wr_varint(&w, u->files);
	wr_varint(&w, u->logical_bytes);
	return index_put(
	    txn, INDEX_META, name, strlen(name), row, wr_len(&w));
}

enum err
user_row_get(struct index_txn *txn, unsigned user_index, struct store_user *u)
{
	const uint8_t *row;
	char name[24];
	struct rd r;
	size_t len;
	enum err e;

	snprintf(name, sizeof(name), "user.%u", user_index + 1);
	e = index_get(txn, INDEX_META, name, strlen(name), &row, &len);
	if (e)
		return e == ERR_ABSENT ? OK : e;
	rd_init(&r, row, len);
	u->messages = rd_varint(&r);
	u->files = rd_varint(&r);
	u->logical_bytes = rd_varint(&r);
	return rd_done(&r) ? OK : ERR_CORRUPT;
}

/* ---- making ------------------------------------------------------------- */

static enum err
write_format(struct disk *d)
{
	struct disk_file *f = NULL;
	char text[64];
	enum err e;

	snprintf(text, sizeof(text), "post home format %u\n", STORE_FORMAT);
	if ((e = disk_open(d, FORMAT_FILE, DISK_EXCL, &f)))
		return e;
	if (!(e = disk_write(f, 0, text, strlen(text))))
		e = disk_sync(f);
	disk_file_close(f);
	return e ? e : disk_sync_dir(d, "");
}

static enum err
say_why(const struct store_env *env, const char *text)
{
	if (env->why)
		snprintf(env->why, env->why_cap, "%s", text);
	return ERR_CORRUPT;
}

static enum err
read_format(const struct store_env *env)
{
	struct disk *d = env->disk;
	struct disk_file *f = NULL;
	char text[64];
	unsigned version;
	size_t got;
	enum err e = disk_open(d, FORMAT_FILE, DISK_READ, &f);

	if (e)
		return e;
	e = disk_read(f, 0, text, sizeof(text) - 1, &got);
	disk_file_close(f);
	if (e)
		return e;
	text[got] = '\0';
	if (sscanf(text, "post home format %u", &version) != 1)
		return say_why(env,
		    FORMAT_FILE ": does not say that this is a home: put it "
				"back from a backup, or write 'post home "
				"format 1' into it");
	return version > STORE_FORMAT ? ERR_NEWER
	    : version == STORE_FORMAT ? OK
				      : ERR_UNSUPPORTED;
}

/* The directory of the users' directories, straight into the index. */
enum err
make_root(struct index *index, int64_t now)
{
	struct store_state st = { .next_ino = STORE_ROOT + 1, .next_cookie = 1 };
	struct index_txn *txn = NULL;
	struct tree *tree = NULL;
	struct inode root;
	enum err e;

	memset(&root, 0, sizeof(root));
	root.ino = root.parent = STORE_ROOT;
	root.mode = S_IFDIR | 0755;
	root.nlink = 2;
	root.size = 4096;
	root.shared_links = 1;
	root.mtime_ns = root.ctime_ns = root.atime_ns = root.btime_ns = now;
	if ((e = tree_new(&tree)) || (e = tree_put_inode(tree, &root)) ||
	    (e = tree_freeze(tree)) || (e = index_begin_write(index, &txn)))
		goto done;
	if (!(e = tree_write_frozen(tree, txn)) && !(e = state_put(txn, &st)))
		e = index_commit(&txn);
	index_abort(&txn);
done:
	tree_free(tree);
	return e;
}

enum err
store_create(const struct store_env *env, const struct home_keys *keys)
{
	static const char *const dirs[] = { "packs", "journal", "local" };
	enum err e = OK;

	(void)keys;
	for (size_t i = 0; !e && i < sizeof(dirs) / sizeof(*dirs); i++) {
		e = disk_mkdir(env->disk, dirs[i]);
		if (e == ERR_EXISTS)
			e = OK;
	}
	if (!e)
		e = make_root(env->index, env->now_ns(env->arg));
	/* Last: a home without it is not one yet. */
	return e ? e : write_format(env->disk);
}

/* ---- opening ------------------------------------------------------------ */

static enum err
get_block(void *arg, const struct id *id, uint8_t **block, size_t *len)
{
	struct store *s = arg;
	char name[64];
	uint64_t off;
	enum err e = blockdb_get(s->blocks, id, block, len);

	if (e == ERR_ABSENT)
		return ERR_UNREACHABLE;
	if (e == ERR_CORRUPT &&
	    !blockdb_where(s->blocks, id, name, sizeof(name), &off))
		set_problem(s,
		    "%s: damaged at byte %" PRIu64 ": run 'post scrub'", name,
		    off);
	return e;
}

static enum err
load_user(struct store *s, struct index_txn *txn, unsigned i)
{
	struct store_user *u = &s->user[i];
	struct entry entry;
	enum err e;

	memset(u, 0, sizeof(*u));
	u->keys = &s->keys->user[i];
	assert(u->keys->number == i + 1);
	if ((e = user_row_get(txn, i, u)) ||
	    (e = log_state_get(s, txn, i, &u->log)))
		return e;
	e = tree_find(s->tree, txn, STORE_ROOT, u->keys->address,
	    strlen(u->keys->address), &entry);
	if (!e)
		u->root = entry.ino;
	return e == ERR_ABSENT ? OK : e;
}

/* Read the users' rows; the array follows keys->users. */
static enum err
load_users(struct store *s)
{
	struct index_txn *txn = NULL;
	struct store_user *more;
	enum err e;

	more = realloc(s->user, (s->keys->users + 1) * sizeof(*more));
	if (!more)
		return ERR_NOMEM;
	s->user = more;
	if ((e = index_begin_read(s->env.index, &txn)))
		return e;
	while (!e && s->users < s->keys->users)
		if (!(e = load_user(s, txn, s->users)))
			s->users++;
	index_abort(&txn);
	return e;
}

static enum err
replay_frame(void *arg, uint64_t lsn, const uint8_t *bytes, size_t len)
{
	(void)lsn;
	return redo_apply(arg, bytes, len, true);
}

/* A page file whose inode is gone, or no longer uses it. */
static enum err
drop_stray(void *arg, const char *name)
{
	struct store *s = arg;
	struct index_txn *txn = NULL;
	struct inode in;
	uint64_t ino;
	char *end;
	enum err e;

	ino = strtoull(name, &end, 16);
	if (*end || !*name)
		return OK; /* not ours to judge */
	if ((e = index_begin_read(s->env.index, &txn)))
		return e;
	e = live_inode(s, txn, ino, &in);
	index_abort(&txn);
	if (e == ERR_ABSENT || (!e && in.data != DATA_KEPT)) {
		if (!file_is_staged(s, ino))
			(void)!staging_discard(s->pool, ino);
		return OK;
	}
	return e;
}

static enum err
open_parts(struct store *s)
{
	struct key journal_key, pages_key;
	struct key secrets[2];
	struct store_state st = { 0 };
	struct content_source source = { s, get_block };
	struct index_txn *txn = NULL;
	uint64_t torn = 0;
	enum err e;

	key_derive(&s->keys->home, "post journal", 0, &journal_key);
	key_derive(&s->keys->home, "post page files", 0, &pages_key);
	secrets[SEAL_ORG] = s->keys->organisation;
	/* All users of a home seal under its first user's secret: the node
	 * holds every one of their keys anyway, and the same mail in three
	 * mailboxes is one copy. */
	if (s->keys->users)
		secrets[SEAL_USER] = s->keys->user[0].convergence;
	else
		secrets[SEAL_USER] = s->keys->home;

	if ((e = index_begin_read(s->env.index, &txn)))
		goto wipe;
	e = state_get(txn, &st);
	index_abort(&txn);
	if (e == ERR_ABSENT || e == ERR_CORRUPT)
		e = say_why(&s->env,
		    "index/data.mdb: empty, missing or damaged: run 'post "
		    "scrub --repair'");
	if (e)
		goto wipe;
	s->next_ino = st.next_ino;
	s->next_cookie = st.next_cookie;
	if ((e = sealer_new(secrets, &s->sealer)) ||
	    (e = blockdb_open(
		 s->env.disk, s->env.index, PACK_MAX, &s->blocks)) ||
	    (e = content_reader_new(s->sealer, &source,
		 s->env.cache_max ? s->env.cache_max : CACHE_DEFAULT,
		 &s->reader)) ||
	    (e = staging_pool_new(s->env.disk, &pages_key,
		 s->env.memory_max ? s->env.memory_max : MEMORY_DEFAULT,
		 &s->pool)) ||
	    (e = tree_new(&s->tree)) || (e = load_users(s)) ||
	    (e = journal_open(
		 s->env.disk, &journal_key, st.lsn, &s->journal)) ||
	    (e = journal_replay(s->journal, replay_frame, s, &torn)))
		goto wipe;
	/* A user who was added after the last checkpoint has a root now. */
	if ((e = index_begin_read(s->env.index, &txn)))
		goto wipe;
	for (unsigned i = 0; !e && i < s->users; i++) {
		struct entry entry;

		e = tree_find(s->tree, txn, STORE_ROOT,
		    s->user[i].keys->address,
		    strlen(s->user[i].keys->address), &entry);
		if (!e)
			s->user[i].root = entry.ino;
		else if (e == ERR_ABSENT)
			e = OK;
	}
	index_abort(&txn);
	if (!e)
		e = disk_list(s->env.disk, "local", drop_stray, s);
wipe:
	wipe(&journal_key, sizeof(journal_key));
	wipe(&pages_key, sizeof(pages_key));
	wipe(secrets, sizeof(secrets));
	return e;
}

static void
locks_init(struct store *s)
{
	pthread_rwlockattr_t attr;

	/* A writer must not starve under a stream of readers. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
	    &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->files_lock, NULL);
	pthread_mutex_init(&s->holds_lock, NULL);
	pthread_mutex_init(&s->checkpointing, NULL);
	pthread_mutex_init(&s->wait_lock, NULL);
	pthread_mutex_init(&s->problem_lock, NULL);
	pthread_cond_init(&s->memory_freed, NULL);
}

enum err
store_open(
    const struct store_env *env, struct home_keys *keys, struct store **out)
{
	struct store *s;
	enum err e;

	if (env->why && env->why_cap)
		env->why[0] = '\0';
	if ((e = read_format(env)))
		return e;
	s = calloc(1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	s->env = *env;
	s->keys = keys;
	locks_init(s);
	if ((e = open_parts(s))) {
		if (e == ERR_CORRUPT && env->why && !env->why[0])
			say_why(env, s->problem[0]
				? s->problem
			    : index_check(env->index) == ERR_CORRUPT
				? "index/data.mdb: damaged: run 'post scrub "
				  "--repair'"
				: "index or packs: damaged: run 'post scrub "
				  "--repair'");
		store_abandon(s);
		return e;
	}
	if (tree_active_count(s->tree))
		note_change(s);
	*out = s;
	return OK;
}

void
store_abandon(struct store *s)
{
	struct hold *h;
	struct file *f;
	size_t pos;

	for (pos = 0; (f = map_next(&s->files, &pos));) {
		staging_free(f->staging);
		pthread_mutex_destroy(&f->lock);
		free(f);
	}
	map_fini(&s->files);
	for (pos = 0; (h = map_next(&s->holds, &pos));)
		free(h);
	map_fini(&s->holds);
	journal_close(s->journal);
	content_reader_free(s->reader);
	blockdb_close(s->blocks);
	staging_pool_free(s->pool);
	tree_free(s->tree);
	sealer_free(s->sealer);
	pending_clear(&s->pending);
	pending_clear(&s->frozen_pending);
	pending_clear(&s->ledger);
	pending_clear(&s->frozen_ledger);
	free(s->user);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->files_lock);
	pthread_mutex_destroy(&s->holds_lock);
	pthread_mutex_destroy(&s->checkpointing);
	pthread_mutex_destroy(&s->wait_lock);
	pthread_mutex_destroy(&s->problem_lock);
	pthread_cond_destroy(&s->memory_freed);
	free(s);
}

enum err
store_close(struct store *s)
{
	enum err e = store_checkpoint(s), e2;

	/* Without one, the journal is what the next start needs. */
	if (e)
		e2 = journal_sync(s->journal, journal_end(s->journal));
	else
		e2 = journal_trim(s->journal);
	store_abandon(s);
	return e ? e : e2;
}

/* ---- users -------------------------------------------------------------- */

static enum err
make_user_dir(struct store *s, struct store_user *u, uint32_t uid,
    uint32_t gid)
{
	struct index_txn *txn = NULL;
	struct inode root, in;
	struct entry entry;
	struct change c;
	uint64_t lsn;
	enum err e;

	change_init(&c, s);
	if ((e = index_begin_read(s->env.index, &txn)))
		return e;
	e = live_inode(s, txn, STORE_ROOT, &root);
	index_abort(&txn);
	if (e)
		return e;
	memset(&in, 0, sizeof(in));
	in.ino = s->next_ino;
	in.parent = STORE_ROOT;
	in.mode = S_IFDIR | 0700;
	in.uid = uid;
	in.gid = gid;
	in.nlink = 2;
	in.shared_links = 1;
	in.size = 4096;
	in.owner = (uint16_t)u->keys->number;
	in.mtime_ns = in.ctime_ns = in.atime_ns = in.btime_ns = store_now(s);
	memset(&entry, 0, sizeof(entry));
	entry.dir = STORE_ROOT;
	entry.cookie = s->next_cookie;
	entry.ino = in.ino;
	entry.type = S_IFDIR >> 12;
	entry.name_len = (uint8_t)strlen(u->keys->address);
	memcpy(entry.name, u->keys->address, entry.name_len);
	root.nlink++;
	touch_dir(&root, in.mtime_ns);
	change_inode(&c, &in);
	change_inode(&c, &root);
	change_entry(&c, &entry, NULL);
	if (!(e = change_commit(&c, &lsn)))
		u->root = in.ino;
	change_fini(&c);
	return e;
}

enum err
store_add_user(struct store *s, const struct user_keys *keys, uint32_t uid,
    uint32_t gid, uint64_t *ino)
{
	static const char *const sub[] = { "cur", "new", "tmp" };
	struct store_who who = { uid, gid, 0 };
	struct inode maildir, in;
	struct store_user *u;
	enum err e;

	pthread_rwlock_wrlock(&s->lock);
	e = load_users(s);
	u = user_of(s, keys->number);
	if (!e && !u)
		e = ERR_INVALID;
	if (!e && u->root)
		e = ERR_EXISTS;
	if (!e)
		e = make_user_dir(s, u, uid, gid);
	if (!e)
		*ino = u->root;
	pthread_rwlock_unlock(&s->lock);
	if (e || (e = store_make(s, *ino, "Maildir", S_IFDIR | 0700, 0, NULL,
		      &who, false, &maildir)))
		return e;
	for (unsigned i = 0; !e && i < 3; i++)
		e = store_make(s, maildir.ino, sub[i], S_IFDIR | 0700, 0, NULL,
		    &who, false, &in);
	return e ? e : store_sync(s, 0);
}

static struct store_user *
find_user(struct store *s, const char *address)
{
	for (unsigned i = 0; i < s->users; i++)
		if (strcmp(s->user[i].keys->address, address) == 0)
			return &s->user[i];
	return NULL;
}

enum err
store_user_root(struct store *s, const char *address, uint64_t *ino)
{
	struct store_user *u;

	pthread_rwlock_rdlock(&s->lock);
	u = find_user(s, address);
	*ino = u ? u->root : 0;
	pthread_rwlock_unlock(&s->lock);
	return *ino ? OK : ERR_ABSENT;
}

/* ---- small things ------------------------------------------------------- */

void
store_on_busy(struct store *s, void (*fn)(void *arg), void *arg)
{
	s->on_busy_arg = arg;
	s->on_busy = fn;
}

void
store_bulk(struct store *s, bool on)
{
	atomic_store(&s->bulk, on);
}

void
store_warm(struct store *s)
{
	index_warm(s->env.index, WARM_BYTES);
}

enum err
store_ledger_has(struct store *s, const uint8_t mark[16], bool *has)
{
	const struct pending *waiting[2] = { &s->ledger, &s->frozen_ledger };
	struct index_txn *txn = NULL;
	const uint8_t *val;
	size_t len;
	enum err e;

	*has = false;
	pthread_rwlock_rdlock(&s->lock);
	for (unsigned k = 0; k < 2; k++)
		for (size_t i = 0; i < waiting[k]->len; i += 16)
			if (memcmp(waiting[k]->bytes + i, mark, 16) == 0)
				*has = true;
	e = index_begin_read(s->env.index, &txn);
	if (!e && !*has) {
		e = index_get(txn, INDEX_LEDGER, mark, 16, &val, &len);
		*has = !e;
	}
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	return e == ERR_ABSENT ? OK : e;
}

enum err
store_ledger_add(struct store *s, const uint8_t mark[16])
{
	struct change c;
	uint64_t lsn = 0;
	enum err e;

	change_init(&c, s);
	change_ledger(&c, mark);
	pthread_rwlock_wrlock(&s->lock);
	e = change_commit(&c, &lsn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	return e;
}

/* ---- telling ------------------------------------------------------------ */

struct size_sum {
	struct disk *disk;
	const char *dir;
	uint64_t bytes;
};

static enum err
add_size(void *arg, const char *name)
{
	struct size_sum *sum = arg;
	struct disk_file *f = NULL;
	uint64_t size = 0;
	char path[300];
	enum err e;

	snprintf(path, sizeof(path), "%s/%s", sum->dir, name);
	if ((e = disk_open(sum->disk, path, DISK_READ, &f)))
		return e == ERR_ABSENT ? OK : e;
	e = disk_size(f, &size);
	disk_file_close(f);
	sum->bytes += size;
	return e;
}

static uint64_t
bytes_in(struct store *s, const char *dir)
{
	struct size_sum sum = { s->env.disk, dir, 0 };

	if (disk_list(s->env.disk, dir, add_size, &sum))
		return 0; /* a home on a disk without such a directory */
	return sum.bytes;
}

enum err
store_stats(struct store *s, struct store_stats *out)
{
	struct blockdb_stats b;
	uint64_t total;
	enum err e;

	memset(out, 0, sizeof(*out));
	blockdb_stats(s->blocks, &b);
	out->blocks = b.blocks;
	out->stored_bytes = b.stored_bytes;
	out->index_bytes = bytes_in(s, "index");
	out->journal_bytes = bytes_in(s, "journal");
	out->local_bytes = bytes_in(s, "local");
	pthread_rwlock_rdlock(&s->lock);
	for (unsigned i = 0; i < s->users; i++) {
		out->messages += s->user[i].messages;
		out->files += s->user[i].files;
		out->logical_bytes += s->user[i].logical_bytes;
	}
	pthread_rwlock_unlock(&s->lock);
	e = disk_free(s->env.disk, &out->free_bytes, &total);
	out->limit_bytes = s->env.limit_bytes
	    ? s->env.limit_bytes
	    : out->stored_bytes + out->index_bytes + out->free_bytes;
	out->checkpoints = atomic_load(&s->checkpoints);
	out->journal_backlog = journal_backlog(s->journal);
	return e;
}

enum err
store_user_stats(
    struct store *s, unsigned user_index, struct store_user_stats *out)
{
	struct store_user *u;
	enum err e = ERR_ABSENT;

	memset(out, 0, sizeof(*out));
	pthread_rwlock_rdlock(&s->lock);
	if ((u = user_of(s, user_index + 1))) {
		snprintf(out->address, sizeof(out->address), "%s",
		    u->keys->address);
		out->user = u->keys->id;
		out->device = s->keys->device_id;
		out->messages = u->messages;
		out->files = u->files;
		out->logical_bytes = u->logical_bytes;
		out->head_sequence = u->log.head_sequence;
		out->record_sequence = u->log.record_sequence;
		e = OK;
	}
	pthread_rwlock_unlock(&s->lock);
	return e;
}
