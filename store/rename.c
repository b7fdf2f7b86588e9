/* rename.c - a name becomes another: within a directory, to another one, over
 * an existing one, or the two swap.
 *
 * What is hard here is not the move but the two kinds of place.  A file that
 * moves from a local-only place to a shared one (a delivery: tmp to new) is
 * created in the log at that moment; one that moves the other way is unlinked
 * from it; and a directory takes everything below it along. */
#include "overlay/base/map.h"
#include "store/names.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIDES_DEPTH_MAX 1000u

/* A directory's contents on their way in or out of the log. */
struct sides {
	struct store *s;
	struct index_txn *txn;
	struct change *c;
	struct map linked; /* struct inode, of several names: as changed here */
	int64_t now;
};

static bool
same_ino(const void *item, const void *key)
{
	return ((const struct inode *)item)->ino == *(const uint64_t *)key;
}

/* The inode as it will be: the tree does not know yet what was done to it
 * under another name. */
static enum err
sides_inode(struct sides *x, uint64_t ino, struct inode *out)
{
	const struct inode *known =
	    map_find(&x->linked, hash64_u64(ino, 1), same_ino, &ino);

	if (!known)
		return live_inode(x->s, x->txn, ino, out);
	*out = *known;
	return OK;
}

static enum err
sides_remember(struct sides *x, const struct inode *in)
{
	uint64_t hash = hash64_u64(in->ino, 1);
	struct inode *known;
	enum err e;

	if (S_ISDIR(in->mode) || in->nlink < 2)
		return OK;
	known = map_find(&x->linked, hash, same_ino, &in->ino);
	if (known) {
		*known = *in;
		return OK;
	}
	known = malloc(sizeof(*known));
	if (!known)
		return ERR_NOMEM;
	*known = *in;
	if ((e = map_add(&x->linked, hash, known)))
		free(known);
	return e;
}

static void
sides_fini(struct sides *x)
{
	struct inode *known;
	size_t pos = 0;

	while ((known = map_next(&x->linked, &pos)))
		free(known);
	map_fini(&x->linked);
}

/* Everything below a directory changes sides between local and shared: it is
 * created in the log, or unlinked from it, depth first. */
static enum err
change_below(
    struct sides *x, const struct inode *dir, bool to_local, unsigned depth)
{
	struct tree_walk walk;
	struct entry entry;
	struct inode in;
	enum err e;

	if (depth > SIDES_DEPTH_MAX)
		return ERR_TOO_BIG;
	tree_walk_init(&walk, x->s->tree, x->txn, dir->ino, 0);
	while (!(e = tree_walk_next(&walk, &entry))) {
		bool local = to_local || entry_is_local(x->s, dir, entry.name,
				 entry.type == DT_DIR);

		if ((e = sides_inode(x, entry.ino, &in)))
			break;
		if (local == entry.local) {
			if (S_ISDIR(in.mode) && !local &&
			    (e = change_below(x, &in, to_local, depth + 1)))
				break;
			continue;
		}
		if (local && S_ISDIR(in.mode) &&
		    (e = change_below(x, &in, true, depth + 1)))
			break;
		if (local) {
			in.shared_links--;
			record_name(x->c, ULOG_UNLINK, &in, dir->ino,
			    entry.name, x->now);
		} else if (in.shared_links++ == 0) {
			record_enter(x->c, x->txn, &in, dir->ino, entry.name,
			    x->now);
		} else {
			record_name(x->c, ULOG_LINK, &in, dir->ino,
			    entry.name, x->now);
		}
		if (S_ISREG(in.mode) && dir->data == DATA_DIR_MESSAGES)
			change_count(x->c, in.owner, local ? -1 : 1);
		entry.local = local;
		change_inode(x->c, &in);
		change_entry(x->c, &entry, entry.name);
		if ((e = sides_remember(x, &in)))
			break;
		if (!local && S_ISDIR(in.mode) &&
		    (e = change_below(x, &in, false, depth + 1)))
			break;
	}
	tree_walk_fini(&walk);
	return e == ERR_ABSENT ? OK : e;
}

static enum err
change_sides(struct store *s, struct index_txn *txn, struct change *c,
    const struct inode *dir, bool to_local, int64_t now)
{
	struct sides x = { .s = s, .txn = txn, .c = c, .now = now };
	enum err e = change_below(&x, dir, to_local, 0);

	sides_fini(&x);
	return e;
}

/* Is `dir` inside `top`, or `top` itself? */
static enum err
is_below(struct store *s, struct index_txn *txn, uint64_t dir, uint64_t top,
    bool *below)
{
	struct inode in;
	enum err e;

	*below = false;
	for (unsigned i = 0; dir != STORE_ROOT && i < DIR_DEPTH_MAX; i++) {
		if (dir == top) {
			*below = true;
			return OK;
		}
		if ((e = live_inode(s, txn, dir, &in)))
			return e;
		dir = in.parent;
	}
	return OK;
}

struct rename_op {
	struct inode from_dir, to_dir; /* the same when one_dir */
	struct inode *to;	       /* &to_dir, or &from_dir */
	struct inode in, victim;
	struct entry entry, over;
	bool has_victim, victim_gone, one_dir;
	bool local; /* what the entry becomes */
	int64_t now;
};

/* A directory that was for messages gets a name that is not, or the other way
 * round: what that is to the count. */
static enum err
recount(struct store *s, struct index_txn *txn, const struct inode *was,
    const struct inode *is, int64_t *messages)
{
	struct tree_walk walk;
	struct entry entry;
	struct inode in;
	enum err e;

	if (was->data == is->data)
		return OK;
	tree_walk_init(&walk, s->tree, txn, is->ino, 0);
	while (!(e = tree_walk_next(&walk, &entry))) {
		if ((e = live_inode(s, txn, entry.ino, &in)))
			break;
		*messages += counts_as_message(is, &in, entry.local);
		*messages -= counts_as_message(was, &in, entry.local);
	}
	tree_walk_fini(&walk);
	return e == ERR_ABSENT ? OK : e;
}

/* Move `entry` to (to, name): inodes, records, counters.  The caller puts the
 * directories. */
static enum err
move_entry(struct store *s, struct index_txn *txn, struct change *c,
    struct rename_op *op, const char *to_name)
{
	struct entry old = op->entry, *e = &op->entry;
	struct inode *in = &op->in, *to = op->to, was = op->in;
	bool is_dir = S_ISDIR(in->mode), local = op->local;
	bool was_scratch, scratch;
	int64_t message = -(int64_t)counts_as_message(
	    &op->from_dir, in, old.local);
	enum err err;

	set_name(e, to_name);
	e->dir = to->ino;
	e->local = local;
	/* Within a directory an entry keeps its cookie: see tree.h. */
	if (!op->one_dir)
		e->cookie = s->next_cookie;
	was_scratch = is_dir && in->data == DATA_DIR_SCRATCH;
	if (is_dir) {
		in->parent = to->ino;
		in->data = dir_purpose(s, to_name);
		if (!op->one_dir) {
			op->from_dir.nlink--;
			to->nlink++;
		}
	}
	scratch = is_dir && in->data == DATA_DIR_SCRATCH;
	in->ctime_ns = op->now;
	touch_dir(&op->from_dir, op->now);
	if (!op->one_dir)
		touch_dir(to, op->now);

	/* A directory's contents leave the log before it does, and enter it
	 * after it has. */
	if (is_dir && !old.local && !was_scratch) {
		err = local || scratch
		    ? change_sides(s, txn, c, &was, true, op->now)
		    : recount(s, txn, &was, in, &message);
		if (err)
			return err;
	}
	if (!old.local && !local) {
		record_move(c, ULOG_RENAME, in, old.dir, old.name, to->ino,
		    to_name,
		    op->has_victim && !op->over.local ? &op->victim : NULL,
		    op->now);
	} else if (!old.local) {
		in->shared_links--;
		record_name(
		    c, ULOG_UNLINK, in, old.dir, old.name, op->now);
	} else if (!local && in->shared_links++ == 0) {
		record_enter(c, txn, in, to->ino, to_name, op->now);
	} else if (!local) {
		record_name(c, ULOG_LINK, in, to->ino, to_name, op->now);
	}
	if (is_dir && !local && !scratch && (old.local || was_scratch) &&
	    (err = change_sides(s, txn, c, in, false, op->now)))
		return err;
	message += counts_as_message(to, in, local);
	change_count(c, in->owner, message);
	change_inode(c, in);
	if (op->one_dir) {
		change_entry(c, e, old.name);
	} else {
		change_drop_entry(c, &old);
		change_entry(c, e, NULL);
	}
	return OK;
}

static enum err
check_victim(struct store *s, struct index_txn *txn, struct rename_op *op)
{
	if (S_ISDIR(op->in.mode) && !S_ISDIR(op->victim.mode))
		return ERR_NOTDIR;
	if (!S_ISDIR(op->in.mode) && S_ISDIR(op->victim.mode))
		return ERR_ISDIR;
	if (is_user_root(&op->victim))
		return ERR_PERM;
	return S_ISDIR(op->victim.mode)
	    ? dir_is_empty(s, txn, op->victim.ino)
	    : OK;
}

/* Swap what two names mean.  Only between entries that are both local or both
 * shared, and whose directories keep their purpose: anything else would be
 * two renames at once, which no program asks for. */
static enum err
exchange(struct store *s, struct change *c, struct rename_op *op)
{
	struct entry a = op->entry, b = op->over;
	struct inode *x = &op->in, *y = &op->victim;
	int64_t message = 0; /* a file and a directory may swap */

	if (a.local != b.local || (S_ISDIR(x->mode) &&
	    x->data != dir_purpose(s, b.name)) || (S_ISDIR(y->mode) &&
	    y->data != dir_purpose(s, a.name)))
		return ERR_INVALID;
	if (!op->one_dir) {
		int dx = S_ISDIR(x->mode), dy = S_ISDIR(y->mode);

		op->from_dir.nlink = op->from_dir.nlink + (uint32_t)(dy - dx);
		op->to->nlink = op->to->nlink + (uint32_t)(dx - dy);
		if (dx)
			x->parent = op->to->ino;
		if (dy)
			y->parent = op->from_dir.ino;
	}
	a.ino = y->ino;
	a.type = type_of(y->mode);
	b.ino = x->ino;
	b.type = type_of(x->mode);
	message -= counts_as_message(&op->from_dir, x, a.local) +
	    counts_as_message(op->to, y, b.local);
	message += counts_as_message(&op->from_dir, y, a.local) +
	    counts_as_message(op->to, x, b.local);
	change_count(c, x->owner, message);
	x->ctime_ns = y->ctime_ns = op->now;
	touch_dir(&op->from_dir, op->now);
	if (!op->one_dir)
		touch_dir(op->to, op->now);
	change_inode(c, x);
	change_inode(c, y);
	change_entry(c, &a, a.name);
	change_entry(c, &b, b.name);
	if (!a.local)
		record_move(c, ULOG_EXCHANGE, x, a.dir, a.name, b.dir, b.name,
		    y, op->now);
	return OK;
}

static enum err
rename_locked(struct store *s, struct index_txn *txn, struct change *c,
    struct rename_op *op, uint64_t dir, const char *name, uint64_t to_dir,
    const char *to_name, unsigned flags, uint64_t *lsn)
{
	bool below;
	enum err e;

	op->one_dir = dir == to_dir;
	op->to = op->one_dir ? &op->from_dir : &op->to_dir;
	if ((e = get_dir_for_change(s, txn, dir, &op->from_dir)) ||
	    (!op->one_dir &&
		(e = get_dir_for_change(s, txn, to_dir, &op->to_dir))) ||
	    (e = tree_find(
		 s->tree, txn, dir, name, strlen(name), &op->entry)) ||
	    (e = live_inode(s, txn, op->entry.ino, &op->in)))
		return e;
	if (is_user_root(&op->in))
		return ERR_PERM;
	if (op->in.owner != op->to->owner)
		return ERR_CROSS;
	if (S_ISDIR(op->in.mode) &&
	    ((e = is_below(s, txn, to_dir, op->in.ino, &below)) || below))
		return e ? e : ERR_INVALID;
	e = tree_find(
	    s->tree, txn, to_dir, to_name, strlen(to_name), &op->over);
	if (e && e != ERR_ABSENT)
		return e;
	op->has_victim = !e;
	if (op->has_victim && (flags & STORE_RENAME_NOREPLACE))
		return ERR_EXISTS;
	if (!op->has_victim && (flags & STORE_RENAME_EXCHANGE))
		return ERR_ABSENT;
	if (op->has_victim &&
	    (e = live_inode(s, txn, op->over.ino, &op->victim)))
		return e;
	if (op->has_victim && op->victim.ino == op->in.ino)
		return OK; /* two names of one file: POSIX says do nothing */
	if (!op->one_dir && S_ISDIR(op->in.mode) && !op->has_victim &&
	    op->to->nlink >= LINKS_MAX)
		return ERR_MANY_LINKS;
	op->now = store_now(s);
	op->local = entry_is_local(s, op->to, to_name, S_ISDIR(op->in.mode));
	if (flags & STORE_RENAME_EXCHANGE) {
		if (S_ISDIR(op->victim.mode) &&
		    ((e = is_below(s, txn, dir, op->victim.ino, &below)) ||
			below))
			return e ? e : ERR_INVALID;
		if ((e = exchange(s, c, op)))
			return e;
	} else {
		if (op->has_victim) {
			bool both = !op->over.local && !op->entry.local &&
			    !op->local;

			if ((e = check_victim(s, txn, op)))
				return e;
			/* A shared rename's record says that it replaces.
			 * What stands there may be shared though what takes
			 * its place is not: the list was another then. */
			take_entry(c, op->to, &op->over, &op->victim,
			    op->now, !both, &op->victim_gone);
			change_drop_entry(c, &op->over);
		}
		if ((e = move_entry(s, txn, c, op, to_name)))
			return e;
	}
	change_inode(c, &op->from_dir);
	if (!op->one_dir)
		change_inode(c, &op->to_dir);
	return commit_removal(
	    s, txn, c, op->victim_gone ? &op->victim : NULL, lsn);
}

enum err
store_rename(struct store *s, uint64_t dir, const char *name, uint64_t to_dir,
    const char *to_name, unsigned flags)
{
	struct index_txn *txn = NULL;
	struct rename_op op;
	struct inode in;
	struct change c;
	uint64_t lsn = 0;
	enum err e;

	if (flags & ~(STORE_RENAME_NOREPLACE | STORE_RENAME_EXCHANGE))
		return ERR_INVALID;
	if ((e = check_name(name)) || (e = check_name(to_name)))
		return e;
	/* What a file held before its rename is journalled before it: a mail
	 * never stands in new/ without its bytes, synced or not. */
	if ((e = store_lookup(s, dir, name, &in)) ||
	    (e = store_settle(s, in.ino)))
		return e;
	memset(&op, 0, sizeof(op));
	change_init(&c, s);
	pthread_rwlock_wrlock(&s->lock);
	if (!(e = index_begin_read(s->env.index, &txn)))
		e = rename_locked(s, txn, &c, &op, dir, name, to_dir, to_name,
		    flags, &lsn);
	index_abort(&txn);
	pthread_rwlock_unlock(&s->lock);
	change_fini(&c);
	return e ? e : change_acknowledge(s, lsn);
}
