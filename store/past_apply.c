/* past_apply.c - what each record does to the tree before it: the rules of
 * past.h.
 *
 * Each is a function of the tree and the record alone.  That makes the merge
 * one: whoever has the same records applies them in the same order, and the
 * first on which two trees differ can not exist.
 *
 * A dead directory (one that was removed) keeps its last name and so its
 * parent, dead or alive, up to the root.  No chain of parents, dead ones
 * included, ever closes: a directory is only moved where node_is_inside() says
 * it may, and that looks at the dead too. */
#include "store/past_private.h"
#include "store/xattr.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX_MAX 32u
#define PERMISSIONS 07777u

static enum err
ignore(struct past *p)
{
	p->stats.ignored++;
	return OK;
}

static bool
is_alive(const struct past *p, const struct node *n)
{
	return n && (n == p->root || n->links > 0);
}

/* A directory's times move forward with every change. */
static void
touch(struct node *dir, int64_t now)
{
	if (now <= dir->mtime_ns)
		now = dir->mtime_ns + (dir->mtime_ns < INT64_MAX);
	dir->mtime_ns = now;
	if (dir->ctime_ns < now)
		dir->ctime_ns = now;
}

static void
set_attributes(struct node *n, const struct ulog_record *r)
{
	n->mode = (uint16_t)((n->mode & S_IFMT) | (r->mode & PERMISSIONS));
	n->uid = r->uid;
	n->gid = r->gid;
	n->mtime_ns = r->mtime_ns;
	n->ctime_ns = r->ctime_ns;
}

/* What number the object has here; its device is noted if it is new. */
static enum err
number_of(struct past *p, struct ulog_oid o, const struct id *table,
    unsigned devices, uint64_t *out)
{
	assert(o.device < devices);
	if (past_number(p, &table[o.device], o.number, out) == OK)
		return OK;
	if (p->devices == PAST_DEVICES_MAX)
		return ERR_RANGE;
	p->device[p->devices++] = table[o.device];
	return past_number(p, &table[o.device], o.number, out);
}

/* ---- taken names -------------------------------------------------------- */

static unsigned
device_tag(const struct past *p, uint64_t number)
{
	const uint8_t *b = p->device[number >> PAST_DEVICE_SHIFT].b;

	return (unsigned)b[0] << 24 | (unsigned)b[1] << 16 |
	    (unsigned)b[2] << 8 | b[3];
}

/* The name that `child` gets in dir when it can not have `name`: free, and
 * made from nothing but what every device knows.  Returns its length. */
static size_t
name_aside(const struct past *p, const struct node *dir,
    const struct node *child, const char *name, size_t len,
    char out[ULOG_NAME_MAX])
{
	char suffix[SUFFIX_MAX];
	size_t keep, tail;

	for (unsigned i = 1;; i++) {
		unsigned tag = device_tag(p, child->number);
		int n = i == 1
		    ? snprintf(suffix, sizeof(suffix), ".~%08x", tag)
		    : snprintf(suffix, sizeof(suffix), ".~%08x.%u", tag, i);

		assert(n > 0 && (size_t)n < sizeof(suffix));
		tail = (size_t)n;
		keep = len + tail <= ULOG_NAME_MAX ? len
						   : ULOG_NAME_MAX - tail;
		memcpy(out, name, keep);
		memcpy(out + keep, suffix, tail);
		if (!link_find(p, dir, out, keep + tail))
			return keep + tail;
	}
}

/* Its name is wanted for another. */
static enum err
displace(struct past *p, struct link *l)
{
	char name[ULOG_NAME_MAX];
	size_t len = name_aside(
	    p, l->dir, l->child, l->name, l->name_len, name);

	p->stats.displaced++;
	return link_move(p, l, l->dir, name, len);
}

/* A further name for child, which keeps it if it is taken. */
static enum err
add_name(struct past *p, struct node *dir, const char *name, size_t len,
    struct node *child)
{
	struct link *l = link_find(p, dir, name, len);
	enum err e;

	if (l && (e = displace(p, l)))
		return e;
	return link_add(p, dir, name, len, child);
}

/* The same for one that comes back: who has the name keeps it. */
static enum err
add_name_aside(struct past *p, struct node *dir, const char *name, size_t len,
    struct node *child)
{
	char aside[ULOG_NAME_MAX];

	if (link_find(p, dir, name, len)) {
		len = name_aside(p, dir, child, name, len, aside);
		name = aside;
		p->stats.displaced++;
	}
	return link_add(p, dir, name, len, child);
}

/* ---- directories that are not there ------------------------------------- */

/* Bring a dead directory back, and what dead ones it was in: from the top,
 * which may be far up, so without recursion. */
static enum err
revive(struct past *p, struct node *n)
{
	struct node *top, *dir;
	char name[ULOG_NAME_MAX];
	size_t len;
	enum err e;

	while (!is_alive(p, n)) {
		for (top = n; !is_alive(p, dir = top->names->dir);)
			top = dir;
		len = top->names->name_len;
		memcpy(name, top->names->name, len);
		if ((e = add_name_aside(p, dir, name, len, top)))
			return e;
		p->stats.revived++;
	}
	return OK;
}

static enum err
make_lost(struct past *p, uint64_t number, int64_t now, struct node **out)
{
	char name[64];
	struct node *n;
	enum err e;

	int len = snprintf(name, sizeof(name), "lost.~%08x.%llu",
	    device_tag(p, number),
	    (unsigned long long)(number & ULOG_NUMBER_MAX));

	assert(len > 0 && (size_t)len < sizeof(name));
	if ((e = past_node_new(p, number, S_IFDIR | 0700, &n)))
		return e;
	n->mtime_ns = n->ctime_ns = n->btime_ns = now;
	n->uid = p->root->uid;
	n->gid = p->root->gid;
	n->lost = true;
	if ((e = add_name_aside(p, p->root, name, (size_t)len, n)))
		return e;
	p->stats.lost++;
	*out = n;
	return OK;
}

/* The directory into which something is put: there it is, then.  NULL: that
 * number is a file's. */
static enum err
need_dir(struct past *p, uint64_t number, int64_t now, struct node **out)
{
	struct node *n = node_find(p, number);

	*out = n;
	if (!n)
		return make_lost(p, number, now, out);
	if (!node_is_dir(n)) {
		*out = NULL;
		return OK;
	}
	return revive(p, n);
}

/* ---- the operations ----------------------------------------------------- */

/* The objects of a record, as numbers here. */
struct named {
	uint64_t object, dir, to_dir, over;
};

static enum err
set_created(struct past *p, struct node *n, const struct ulog_record *r)
{
	struct extra *x;
	enum err e;

	set_attributes(n, r);
	n->btime_ns = r->time_ns;
	n->lost = false;
	if (r->has_content && !node_is_dir(n) &&
	    (e = node_set_content(p, n, r->size, &r->content)))
		return e;
	if (r->rdev) {
		if ((e = node_extra(p, n, &x)))
			return e;
		x->rdev = r->rdev;
	}
	return OK;
}

/* A directory that was made up now has a name and a place of its own. */
static enum err
find_lost(struct past *p, struct node *n, struct node *dir,
    const struct ulog_record *r)
{
	struct link *l;
	enum err e;

	if ((e = set_created(p, n, r)))
		return e;
	if (node_is_inside(dir, n))
		return OK; /* stays where it is */
	l = link_find(p, dir, r->name, r->name_len);
	if (l == n->names)
		return OK;
	if (l && (e = displace(p, l)))
		return e;
	return link_move(p, n->names, dir, r->name, r->name_len);
}

/* An object that the tree knows is created: it was removed, or (by another
 * who had it under a number of his) it is there. */
static enum err
create_again(struct past *p, struct node *n, struct node *dir,
    const struct ulog_record *r)
{
	struct link *l = link_find(p, dir, r->name, r->name_len);
	enum err e;

	if ((n->mode & S_IFMT) != (r->mode & S_IFMT))
		return ignore(p);
	if (n->lost && n->links) {
		e = find_lost(p, n, dir, r);
		touch(dir, r->time_ns);
		return e;
	}
	if (node_is_dir(n) && is_alive(p, n))
		return ignore(p);
	if ((e = set_created(p, n, r)))
		return e;
	if (l && l->child == n)
		return OK;
	touch(dir, r->time_ns);
	return add_name(p, dir, r->name, r->name_len, n);
}

static enum err
apply_create(
    struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct node *dir, *n;
	struct link *l;
	enum err e;

	if ((e = need_dir(p, o->dir, r->time_ns, &dir)))
		return e;
	if (!dir)
		return ignore(p);
	n = node_find(p, o->object);
	if (n)
		return create_again(p, n, dir, r);
	l = link_find(p, dir, r->name, r->name_len);
	if (l && S_ISDIR(r->mode) && node_is_dir(l->child)) {
		/* Two made it: one directory. */
		n = l->child;
		n->mode = (uint16_t)(S_IFDIR | (r->mode & PERMISSIONS));
		n->uid = r->uid;
		n->gid = r->gid;
		return node_add_alias(p, n, o->object);
	}
	if ((e = past_node_new(p, o->object, r->mode, &n)) ||
	    (e = set_created(p, n, r)))
		return e;
	touch(dir, r->time_ns);
	return add_name(p, dir, r->name, r->name_len, n);
}

static enum err
apply_content(
    struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct node *n = node_find(p, o->object);

	if (!n || !(S_ISREG(n->mode) || S_ISLNK(n->mode)))
		return ignore(p);
	n->mtime_ns = r->mtime_ns;
	n->ctime_ns = r->ctime_ns;
	return node_set_content(p, n, r->size, &r->content);
}

static enum err
apply_link(struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct node *n = node_find(p, o->object), *dir;
	struct link *l;
	enum err e;

	if (!n || node_is_dir(n))
		return ignore(p);
	if ((e = need_dir(p, o->dir, r->time_ns, &dir)))
		return e;
	if (!dir)
		return ignore(p);
	l = link_find(p, dir, r->name, r->name_len);
	if (l && l->child == n)
		return ignore(p);
	n->ctime_ns = r->time_ns;
	touch(dir, r->time_ns);
	return add_name(p, dir, r->name, r->name_len, n);
}

/* The entry that the record says, if it means the object that it says. */
static struct link *
entry_find(const struct past *p, uint64_t dir, const char *name, size_t len,
    uint64_t object)
{
	struct node *d = node_find(p, dir);
	struct link *l;

	if (!is_alive(p, d) || !node_is_dir(d))
		return NULL;
	l = link_find(p, d, name, len);
	return l && l->child == node_find(p, object) ? l : NULL;
}

static enum err
apply_unlink(
    struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct link *l =
	    entry_find(p, o->dir, r->name, r->name_len, o->object);

	if (!l || (node_is_dir(l->child) && !node_is_empty(l->child)))
		return ignore(p);
	touch(l->dir, r->time_ns);
	l->child->ctime_ns = r->time_ns;
	link_drop(p, l);
	return OK;
}

/* What stands under a rename's new name goes only if the one who renamed knew
 * it, and if POSIX lets it go. */
static bool
is_replaced(const struct past *p, const struct link *l,
    const struct link *over, const struct ulog_record *r, uint64_t known)
{
	struct node *victim = over->child;

	if (r->has_over ? victim != node_find(p, known) : p->many)
		return false;
	if (node_is_dir(victim) != node_is_dir(l->child))
		return false;
	return !node_is_dir(victim) || node_is_empty(victim);
}

static enum err
apply_rename(
    struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct node *n = node_find(p, o->object);
	struct node *to = node_find(p, o->to_dir);
	struct link *l, *over;
	enum err e;

	l = entry_find(p, o->dir, r->name, r->name_len, o->object);
	if (!l && n && n->links == 1)
		l = n->names; /* renamed by another, meanwhile */
	if (!l || (to && node_is_inside(to, n)))
		return ignore(p);
	if ((e = need_dir(p, o->to_dir, r->time_ns, &to)))
		return e;
	if (!to)
		return ignore(p);
	over = link_find(p, to, r->to_name, r->to_name_len);
	if (over && over->child == n)
		return OK; /* there already, or two names of one file */
	touch(l->dir, r->time_ns);
	touch(to, r->time_ns);
	n->ctime_ns = r->time_ns;
	if (over && is_replaced(p, l, over, r, o->over)) {
		over->child->ctime_ns = r->time_ns;
		link_drop(p, over);
	} else if (over && (e = displace(p, over))) {
		return e;
	}
	return link_move(p, l, to, r->to_name, r->to_name_len);
}

static enum err
apply_exchange(
    struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct link *a, *b = NULL;
	struct node *to = node_find(p, o->to_dir);

	a = entry_find(p, o->dir, r->name, r->name_len, o->object);
	if (r->has_over)
		b = entry_find(
		    p, o->to_dir, r->to_name, r->to_name_len, o->over);
	else if (is_alive(p, to) && node_is_dir(to))
		b = link_find(p, to, r->to_name, r->to_name_len);
	if (!a || !b || a->child == b->child ||
	    node_is_inside(b->dir, a->child) ||
	    node_is_inside(a->dir, b->child))
		return ignore(p);
	touch(a->dir, r->time_ns);
	touch(b->dir, r->time_ns);
	a->child->ctime_ns = b->child->ctime_ns = r->time_ns;
	link_swap(p, a, b);
	return OK;
}

static enum err
apply_setattr(
    struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct node *n = node_find(p, o->object);

	if (!n)
		return ignore(p);
	set_attributes(n, r);
	return OK;
}

static enum err
apply_xattr(struct past *p, const struct ulog_record *r, const struct named *o)
{
	struct node *n = node_find(p, o->object);
	char name[ULOG_NAME_MAX + 1];
	struct extra *x;
	uint8_t *row;
	size_t len;
	enum err e;

	if (!n)
		return ignore(p);
	if ((e = node_extra(p, n, &x)))
		return e;
	memcpy(name, r->name, r->name_len);
	name[r->name_len] = '\0';
	e = xattr_set(x->xattrs, x->xattrs_len, name, r->value, r->value_len,
	    0, 0, &row, &len);
	if (e == ERR_NOMEM)
		return e;
	if (e)
		return ignore(p); /* too many, or none of that name */
	free(x->xattrs);
	p->stats.memory += len - x->xattrs_len;
	x->xattrs = row;
	x->xattrs_len = len;
	n->ctime_ns = r->time_ns;
	return OK;
}

enum err
past_apply(struct past *p, const struct ulog_record *r, const struct id *table,
    unsigned devices)
{
	struct past_stats now;
	struct named o;
	enum err e;

	if (p->limit) {
		past_stats(p, &now); /* the tables grow unasked */
		if (now.memory > p->limit)
			return ERR_NOMEM;
	}
	/* What an op does not use is { 0, 0 }. */
	if ((e = number_of(p, r->object, table, devices, &o.object)) ||
	    (e = number_of(p, r->dir, table, devices, &o.dir)) ||
	    (e = number_of(p, r->to_dir, table, devices, &o.to_dir)) ||
	    (e = number_of(p, r->over, table, devices, &o.over)))
		return e;
	switch (r->op) {
	case ULOG_CREATE:
		return apply_create(p, r, &o);
	case ULOG_CONTENT:
		return apply_content(p, r, &o);
	case ULOG_LINK:
		return apply_link(p, r, &o);
	case ULOG_UNLINK:
		return apply_unlink(p, r, &o);
	case ULOG_RENAME:
		return apply_rename(p, r, &o);
	case ULOG_EXCHANGE:
		return apply_exchange(p, r, &o);
	case ULOG_SETATTR:
		return apply_setattr(p, r, &o);
	case ULOG_XATTR:
		return apply_xattr(p, r, &o);
	case ULOG_OP_END:
		break;
	}
	assert(!"a record that no decoder gave");
	return ERR_MALFORMED;
}

/* ---- many logs ---------------------------------------------------------- */

struct head {
	struct ulog_record r;
	const struct id *table;
	unsigned devices;
	uint64_t stamp; /* never falls within a log */
	bool done;
};

static enum err
advance(const struct past_stream *s, struct head *h)
{
	enum err e = s->next(s->arg, &h->r, &h->table, &h->devices);

	if (e == ERR_ABSENT) {
		h->done = true;
		return OK;
	}
	if (!e && h->r.lamport > h->stamp)
		h->stamp = h->r.lamport;
	return e;
}

static bool
is_before(const struct head *a, const struct head *b)
{
	if (a->stamp != b->stamp)
		return a->stamp < b->stamp;
	return id_cmp(&a->table[0], &b->table[0]) < 0;
}

enum err
past_merge(struct past *p, const struct past_stream *streams, unsigned k)
{
	struct head *heads = calloc(k ? k : 1, sizeof(*heads));
	unsigned first;
	enum err e = OK;

	if (!heads)
		return ERR_NOMEM;
	for (unsigned i = 0; i < k && !e; i++)
		e = advance(&streams[i], &heads[i]);
	while (!e) {
		first = k;
		for (unsigned i = 0; i < k; i++)
			if (!heads[i].done &&
			    (first == k || is_before(&heads[i], &heads[first])))
				first = i;
		if (first == k)
			break;
		e = past_apply(p, &heads[first].r, heads[first].table,
		    heads[first].devices);
		if (!e)
			e = advance(&streams[first], &heads[first]);
	}
	free(heads);
	return e;
}
