/* Listings.  Offsets: "." is 1, ".." 2, then what is virtual, and from
 * FIRST_REAL on a real entry's cookie.  Cookies grow and stay with their
 * entries, so a listing that goes on after an offset misses nothing that
 * stayed; no open directory needs a state of ours. */
#include "fs/fuse/ops.h"

#include <dirent.h>
#include <linux/fuse.h>
#include <string.h>

#define OFF_DOT 1
#define OFF_DOT_DOT 2
#define OFF_VIRTUAL 3 /* and on: the i-th virtual name */
#define FIRST_REAL 16 /* added to cookies */

struct listing {
	fuse_req_t req;
	struct mount *mount;
	char *buf;
	size_t len, cap;
	bool plus, full;
	bool users; /* it lists users: one may be new */
};

/* Add an entry that holds nothing: nodeid 0 tells the kernel to keep no inode
 * for it. */
static bool
add_bare(struct listing *l, const char *name, const struct stat *st, off_t off)
{
	size_t room = l->cap - l->len, need;

	if (l->plus) {
		struct fuse_entry_param entry;

		memset(&entry, 0, sizeof(entry));
		entry.attr = *st;
		need = fuse_add_direntry_plus(
		    l->req, l->buf + l->len, room, name, &entry, off);
	} else {
		need = fuse_add_direntry(
		    l->req, l->buf + l->len, room, name, st, off);
	}
	if (need > room)
		l->full = true;
	else
		l->len += need;
	return !l->full;
}

/* For store_list(): must not call the store. */
static bool
add_real(void *arg, const struct entry *e, const struct inode *inode)
{
	struct listing *l = arg;
	size_t room = l->cap - l->len, need;
	off_t off = (off_t)(e->cookie + FIRST_REAL);
	struct fuse_entry_param entry;
	struct stat st;

	if (l->users && e->type == DT_DIR)
		note_user(l->mount, e->ino, e->name);
	/* What the kernel holds it knows: a mailbox that is read again after
	 * each change costs names only. */
	if (!inode) {
		memset(&st, 0, sizeof(st));
		st.st_ino = from_store(l->mount, e->ino);
		st.st_mode = (mode_t)e->type << 12;
		return add_bare(l, e->name, &st, off);
	}
	entry.ino = from_store(l->mount, e->ino);
	entry.generation = 0;
	entry.attr_timeout = TIMEOUT_REAL;
	entry.entry_timeout = TIMEOUT_REAL;
	stat_of(l->mount, inode, &entry.attr);
	need = fuse_add_direntry_plus(
	    l->req, l->buf + l->len, room, e->name, &entry, off);
	if (need > room)
		l->full = true;
	else
		l->len += need;
	return !l->full;
}

static bool
add_dots(struct listing *l, const struct inode *dir, off_t off)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	st.st_mode = S_IFDIR;
	st.st_ino = from_store(l->mount, dir->ino);
	if (off < OFF_DOT && !add_bare(l, ".", &st, OFF_DOT))
		return false;
	if (dir->ino != l->mount->root)
		st.st_ino = from_store(l->mount, dir->parent);
	return off >= OFF_DOT_DOT || add_bare(l, "..", &st, OFF_DOT_DOT);
}

static bool
add_virtual(struct listing *l, const struct inode *dir, off_t off)
{
	const char *name;
	struct stat st;

	for (unsigned i = 0; virtual_listed(l->mount, dir->ino, i, &name, &st);
	     i++)
		if (off < OFF_VIRTUAL + (off_t)i &&
		    !add_bare(l, name, &st, OFF_VIRTUAL + (off_t)i))
			return false;
	return true;
}

/* ---- what a listing holds ----------------------------------------------- */

/* Hold each inode that the buffer shows; one that can not be held is shown
 * without its inode. */
static void
hold_all(struct listing *l)
{
	for (size_t at = 0; at < l->len;) {
		struct fuse_direntplus *d = (void *)(l->buf + at);
		uint64_t ino = d->entry_out.nodeid;

		if (ino &&
		    store_hold(l->mount->store, to_store(l->mount, ino), 1))
			d->entry_out.nodeid = 0;
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

static void
release_all(struct listing *l)
{
	for (size_t at = 0; at < l->len;) {
		struct fuse_direntplus *d = (void *)(l->buf + at);
		uint64_t ino = d->entry_out.nodeid;

		if (ino)
			store_release(
			    l->mount->store, to_store(l->mount, ino), 1);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

static void
list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct mount *m = mount_of(req);
	struct listing l = {
		.req = req, .mount = m, .cap = size, .plus = plus
	};
	uint64_t dir = to_store(m, ino), cookie;
	struct inode inode;
	enum err e;

	l.users = dir == STORE_ROOT;
	if (virtual_is(ino)) {
		virtual_readdir(req, ino, size, off, plus);
		return;
	}
	if (!(l.buf = scratch(size))) {
		reply_err(req, ERR_NOMEM);
		return;
	}
	if (off < FIRST_REAL) {
		if ((e = store_inode(m->store, dir, &inode))) {
			reply_err(req, e);
			return;
		}
		if (!add_dots(&l, &inode, off) || !add_virtual(&l, &inode, off))
			goto reply;
	}
	cookie = off > FIRST_REAL ? (uint64_t)off - FIRST_REAL : 0;
	e = plus ? store_list_unheld(m->store, dir, cookie, add_real, &l)
		 : store_list(m->store, dir, cookie, false, add_real, &l);
	if (e && l.len == 0) {
		reply_err(req, e);
		return;
	}
reply:
	if (plus)
		hold_all(&l);
	if (fuse_reply_buf(req, l.buf, l.len) && plus)
		release_all(&l);
}

void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, false);
}

void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, true);
}

void
op_fsyncdir(
    fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)data_only;
	(void)fi;
	if (virtual_is(ino)) {
		fuse_reply_err(req, 0);
		return;
	}
	may_wait();
	reply_err(req, store_sync(m->store, 0));
}
