/* Requests on what is not in the store: .post, .notify, .at (virtual.h). */
#include "fs/control.h"
#include "fs/fuse/ops.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CONTROL_DIR_NAME ".post"
#define FEED_NAME ".notify"
#define AT_NAME ".at"

/* Offsets of an .at listing: "." and "..", its newest second, then days. */
#define OFF_DOT 1
#define OFF_DOT_DOT 2
#define OFF_NEWEST 3
#define OFF_DAYS 16 /* added to the day's number since 1970 */
#define OFF_PAST 16 /* added to a past entry's cookie */

/* ---- what they look like ------------------------------------------------ */

static void
set_times(struct stat *st, int64_t ns)
{
	st->st_mtim.tv_sec = ns / WHEN_SECOND;
	st->st_mtim.tv_nsec = ns % WHEN_SECOND;
	st->st_ctim = st->st_atim = st->st_mtim;
}

static void
base_stat(const struct mount *m, uint64_t ino, mode_t mode, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = mode;
	st->st_nlink = S_ISDIR(mode) ? 2 : 1;
	st->st_uid = m->uid;
	st->st_gid = m->gid;
	st->st_blksize = 4096;
	set_times(st, m->virtuals.started_ns);
}

/* Who owns a user's virtual files, and how much of her directory's privacy
 * they share. */
static void
owned_stat(struct mount *m, const struct user *user, uint64_t ino, mode_t mode,
    struct stat *st)
{
	struct inode dir;

	base_stat(m, ino, mode, st);
	if (store_inode(m->store, user->ino, &dir) == OK) {
		st->st_uid = dir.uid;
		st->st_gid = dir.gid;
	}
}

static void
at_stat(struct mount *m, const struct user *user, struct stat *st)
{
	int64_t first_ns, last_ns;

	owned_stat(m, user, user->at_ino, S_IFDIR | 0555, st);
	/* A listing that changed has another time: the kernel caches it. */
	if (store_history_range(m->store, user->address, &first_ns, &last_ns) ==
	    OK)
		set_times(st, last_ns);
}

static void
past_stat(const struct mount *m, uint64_t ino, const struct inode *inode,
    struct stat *st)
{
	stat_of(m, inode, st);
	st->st_ino = ino;
	if (!S_ISLNK(st->st_mode))
		st->st_mode &= ~(mode_t)0222;
	if (S_ISDIR(st->st_mode) && st->st_nlink < 2)
		st->st_nlink = 2;
}

/* A view's root needs no replay: it looks like the user's directory. */
static enum err
past_node_stat(struct mount *m, const struct virtual *node, struct stat *st)
{
	struct past_view *view = node->past.view;
	struct history *tree;
	struct inode inode;
	enum err e;

	if (node->past.number == 0) {
		if ((e = store_inode(m->store, view->user_ino, &inode)))
			return e;
		inode.mtime_ns = inode.ctime_ns = view->until_ns;
		past_stat(m, node->ino, &inode, st);
		return OK;
	}
	if ((e = past_view_tree(view, wall_ns(), &tree)) ||
	    (e = history_inode(tree, node->past.number, &inode)))
		return e;
	past_stat(m, node->ino, &inode, st);
	return OK;
}

static enum err
stat_node(struct mount *m, const struct virtual *node, struct stat *st)
{
	int64_t changed_ns;

	switch (node->kind) {
	case VIRTUAL_CONTROL_DIR:
		base_stat(m, node->ino, S_IFDIR | 0555, st);
		return OK;
	case VIRTUAL_TEXT:
		base_stat(m, node->ino, S_IFREG | 0444, st);
		st->st_size = (off_t)node->text.len;
		set_times(st, node->text.time_ns);
		break;
	case VIRTUAL_FEED:
		/* Writable to its owner, for the announcer who may be that;
		 * everyone's write but the announcer's is refused. */
		owned_stat(m, node->feed.user, node->ino, S_IFREG | 0644, st);
		st->st_size = (off_t)feed_size(
		    &node->feed.user->feed, node->feed.start, &changed_ns);
		set_times(st, changed_ns);
		break;
	case VIRTUAL_AT_DIR:
		at_stat(m, node->user, st);
		return OK;
	case VIRTUAL_PAST:
		return past_node_stat(m, node, st);
	}
	st->st_blocks = (st->st_size + 511) / 512;
	return OK;
}

/* How long the kernel need not ask: never changing things for good, a feed's
 * attributes too (its size changes by writes through the kernel); names that
 * may lead elsewhere next time not at all, so that the kernel also forgets
 * them as soon as they are closed. */
static void
timeouts_of(const struct virtual *node, double *entry, double *attr)
{
	bool root = node->kind == VIRTUAL_PAST && node->past.number == 0;

	*entry = *attr = 0;
	if (node->kind == VIRTUAL_PAST || node->kind == VIRTUAL_FEED)
		*attr = TIMEOUT_REAL;
	if ((node->kind == VIRTUAL_PAST && !root) ||
	    node->kind == VIRTUAL_CONTROL_DIR)
		*entry = TIMEOUT_REAL;
}

static void
forget_one(struct mount *m, uint64_t ino)
{
	if (virtuals_forget(&m->virtuals, ino, 1))
		poll_forget(m, ino);
}

/* Answer with a node that was counted once. */
static void
reply_node(fuse_req_t req, const struct virtual *node)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param entry;
	uint64_t ino = node->ino;
	enum err e;

	memset(&entry, 0, sizeof(entry));
	e = stat_node(m, node, &entry.attr);
	if (e) {
		forget_one(m, ino);
		reply_err(req, e);
		return;
	}
	entry.ino = ino;
	timeouts_of(node, &entry.entry_timeout, &entry.attr_timeout);
	if (fuse_reply_entry(req, &entry))
		forget_one(m, ino);
}

/* No such name now; there may be one the next time. */
static void
reply_absent_now(fuse_req_t req)
{
	fuse_reply_err(req, ENOENT);
}

/* ---- names among the store's -------------------------------------------- */

/* A name that only the announcer knows: an older generation of .notify. */
static bool
secret_lookup(fuse_req_t req, struct mount *m, uint64_t dir, const char *name)
{
	size_t len = strlen(m->announcer.secret);
	struct virtual *node;
	struct user *user;
	enum err e;

	if (len == 0 || strncmp(name, m->announcer.secret, len) != 0 ||
	    !announcer_is(m, req) || !(user = users_by_ino(&m->users, dir)))
		return false;
	e = virtuals_feed_old(
	    &m->virtuals, user, (unsigned)strtoul(name + len, NULL, 10), &node);
	if (e)
		reply_absent_now(req);
	else
		reply_node(req, node);
	return true;
}

bool
virtual_name_lookup(fuse_req_t req, uint64_t dir, const char *name)
{
	struct mount *m = mount_of(req);
	struct virtual *node;
	struct user *user;
	enum err e;

	if (!virtual_name(m, dir, name))
		return secret_lookup(req, m, dir, name);
	if (dir == STORE_ROOT) {
		reply_node(req, virtuals_find(&m->virtuals, VIRTUAL_CONTROL));
		return true;
	}
	user = users_by_ino(&m->users, dir);
	if (strcmp(name, AT_NAME) == 0) {
		e = virtuals_at(&m->virtuals, user, &node);
	} else {
		/* Before its size is read: see announce.c. */
		if (!announcer_is(m, req))
			atomic_store(&user->watched, true);
		e = virtuals_feed(&m->virtuals, user, &node);
	}
	if (e)
		reply_err(req, e);
	else
		reply_node(req, node);
	return true;
}

bool
virtual_name(struct mount *m, uint64_t dir, const char *name)
{
	if (dir == STORE_ROOT)
		return m->whole && strcmp(name, CONTROL_DIR_NAME) == 0;
	if (strcmp(name, FEED_NAME) != 0 && strcmp(name, AT_NAME) != 0)
		return false;
	return users_by_ino(&m->users, dir) != NULL;
}

bool
virtual_listed(struct mount *m, uint64_t dir, unsigned i, const char **name,
    struct stat *st)
{
	struct feed_view current;
	struct user *user;

	memset(st, 0, sizeof(*st));
	if (dir == STORE_ROOT) {
		*name = CONTROL_DIR_NAME;
		st->st_ino = VIRTUAL_CONTROL;
		st->st_mode = S_IFDIR;
		return m->whole && i == 0;
	}
	/* .at is not listed: who walks the whole tree (find, du, rsync) does
	 * not want all of its past, too. */
	user = users_by_ino(&m->users, dir);
	if (!user || i > 0)
		return false;
	/* Who lists may watch: from now on, tell the kernel. */
	atomic_store(&user->watched, true);
	feed_current(&user->feed, &current);
	*name = FEED_NAME;
	st->st_ino = current.ino;
	st->st_mode = S_IFREG;
	return true;
}

/* ---- looking ------------------------------------------------------------ */

static void
lookup_control(fuse_req_t req, const char *name)
{
	struct mount *m = mount_of(req);
	unsigned file = control_find(name);
	struct virtual *node;
	char *text;
	size_t len;
	enum err e;

	if (file == CONTROL_FILES) {
		reply_absent(req);
		return;
	}
	e = control_text(m->store, &m->about, file, &text, &len);
	if (!e)
		e = virtuals_text(
		    &m->virtuals, file, text, len, wall_ns(), &node);
	if (e)
		reply_err(req, e);
	else
		reply_node(req, node);
}

static void
lookup_moment(fuse_req_t req, const struct user *user, const char *name)
{
	struct mount *m = mount_of(req);
	struct past_view *view;
	struct virtual *node;
	enum err e;

	e = past_view_open(
	    &m->past, user->ino, user->address, name, wall_ns(), &view);
	if (e == ERR_ABSENT) {
		reply_absent_now(req);
		return;
	}
	if (!e) {
		e = virtuals_past(&m->virtuals, view, 0, &node);
		past_view_release(view); /* the node holds it */
	}
	if (e)
		reply_err(req, e);
	else
		reply_node(req, node);
}

static void
lookup_past(fuse_req_t req, const struct virtual *dir, const char *name)
{
	struct past_view *view = dir->past.view;
	struct mount *m = mount_of(req);
	struct history *tree;
	struct virtual *node;
	struct inode inode;
	enum err e;

	may_wait(); /* a log may be read */
	e = past_view_tree(view, wall_ns(), &tree);
	if (e) {
		reply_err(req, e);
		return;
	}
	e = history_lookup(tree, dir->past.number, name, &inode);
	if (e == ERR_ABSENT) {
		reply_absent(req);
		return;
	}
	if (!e)
		e = virtuals_past(&m->virtuals, view, inode.ino, &node);
	if (e)
		reply_err(req, e);
	else
		reply_node(req, node);
}

void
virtual_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct virtual *dir = virtuals_find(&mount_of(req)->virtuals, parent);

	if (!dir) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	switch (dir->kind) {
	case VIRTUAL_CONTROL_DIR:
		lookup_control(req, name);
		break;
	case VIRTUAL_AT_DIR:
		lookup_moment(req, dir->user, name);
		break;
	case VIRTUAL_PAST:
		lookup_past(req, dir, name);
		break;
	case VIRTUAL_TEXT:
	case VIRTUAL_FEED:
		fuse_reply_err(req, ENOTDIR);
		break;
	}
}

void
virtual_getattr(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct virtual *node = virtuals_find(&m->virtuals, ino);
	double entry, attr;
	struct stat st;
	enum err e = node ? stat_node(m, node, &st) : ERR_UNREACHABLE;

	if (e) {
		reply_err(req, e);
		return;
	}
	timeouts_of(node, &entry, &attr);
	fuse_reply_attr(req, &st, attr);
}

/* ---- bytes -------------------------------------------------------------- */

void
virtual_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off)
{
	struct mount *m = mount_of(req);
	struct virtual *node = virtuals_find(&m->virtuals, ino);
	struct history *tree;
	size_t got = 0;
	char *buf;
	enum err e;

	if (!node) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (node->kind == VIRTUAL_TEXT) {
		if ((uint64_t)off < node->text.len)
			got = node->text.len - (size_t)off;
		fuse_reply_buf(req, got ? node->text.bytes + off : NULL,
		    got < len ? got : len);
		return;
	}
	may_wait();
	if (!(buf = scratch(len))) {
		reply_err(req, ERR_NOMEM);
		return;
	}
	if (node->kind == VIRTUAL_FEED) {
		got = feed_read(&node->feed.user->feed, node->feed.start,
		    (uint64_t)off, buf, len);
		fuse_reply_buf(req, buf, got);
	} else if (node->kind == VIRTUAL_PAST) {
		e = past_view_tree(node->past.view, wall_ns(), &tree);
		if (!e)
			e = history_read(tree, node->past.number, (uint64_t)off,
			    buf, len, &got);
		if (e)
			reply_err(req, e);
		else
			fuse_reply_buf(req, buf, got);
	} else {
		fuse_reply_err(req, EISDIR);
	}
}

/* The announcer's lines.  What is already there comes again for the older
 * generations, whose files are the same text. */
void
virtual_write(
    fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t len, off_t off)
{
	struct mount *m = mount_of(req);
	struct virtual *node = virtuals_find(&m->virtuals, ino);
	struct feed *feed;
	int64_t changed_ns;
	uint64_t size;
	enum err e = OK;

	if (!node || node->kind != VIRTUAL_FEED || !announcer_is(m, req)) {
		virtual_refuse(req, ino);
		return;
	}
	feed = &node->feed.user->feed;
	size = feed_size(feed, node->feed.start, &changed_ns);
	if ((uint64_t)off == size && len <= FEED_APPEND_MAX(feed->keep))
		e = feed_append(feed, bytes, len, wall_ns());
	else if ((uint64_t)off + len > size)
		e = ERR_INVALID;
	if (e)
		reply_err(req, e);
	else
		fuse_reply_write(req, len);
}

void
virtual_seek(fuse_req_t req, fuse_ino_t ino, off_t off, bool hole)
{
	struct mount *m = mount_of(req);
	struct virtual *node = virtuals_find(&m->virtuals, ino);
	struct stat st;
	enum err e = node ? stat_node(m, node, &st) : ERR_UNREACHABLE;

	if (e)
		reply_err(req, e);
	else if (off < 0 || off >= st.st_size)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, hole ? st.st_size : off);
}

void
virtual_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct virtual *node = virtuals_find(&m->virtuals, ino);
	char target[PATH_MAX];
	struct history *tree;
	enum err e = ERR_INVALID;

	if (node && node->kind == VIRTUAL_PAST)
		e = past_view_tree(node->past.view, wall_ns(), &tree);
	if (!e)
		e = history_read_link(
		    tree, node->past.number, target, sizeof(target));
	if (e)
		reply_err(req, e);
	else
		fuse_reply_readlink(req, target);
}

void
virtual_refuse(fuse_req_t req, fuse_ino_t ino)
{
	struct virtual *node = virtuals_find(&mount_of(req)->virtuals, ino);

	fuse_reply_err(req,
	    node && (node->kind == VIRTUAL_PAST || node->kind == VIRTUAL_AT_DIR)
		? EROFS
		: EPERM);
}

/* ---- listings ----------------------------------------------------------- */

struct listing {
	fuse_req_t req;
	struct mount *mount;
	struct past_view *view;
	char *buf;
	size_t len, cap;
	bool plus, full;
	enum err e;
};

/* `node`, if not NULL, is counted once: taken back if it does not fit. */
static bool
add(struct listing *l, const char *name, const struct stat *st, off_t off,
    const struct virtual *node)
{
	size_t room = l->cap - l->len, need;

	if (l->plus) {
		struct fuse_entry_param entry;

		memset(&entry, 0, sizeof(entry));
		entry.attr = *st;
		if (node) {
			entry.ino = node->ino;
			timeouts_of(
			    node, &entry.entry_timeout, &entry.attr_timeout);
		}
		need = fuse_add_direntry_plus(
		    l->req, l->buf + l->len, room, name, &entry, off);
	} else {
		need = fuse_add_direntry(
		    l->req, l->buf + l->len, room, name, st, off);
	}
	if (need > room) {
		l->full = true;
		if (node)
			forget_one(l->mount, node->ino);
	} else {
		l->len += need;
	}
	return !l->full;
}

static bool
add_name(
    struct listing *l, const char *name, uint64_t ino, mode_t mode, off_t off)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	st.st_ino = ino;
	st.st_mode = mode;
	return add(l, name, &st, off, NULL);
}

static void
list_control(struct listing *l, off_t off)
{
	const char *name;

	for (unsigned i = 0; (name = control_name(i)); i++)
		if (off < OFF_NEWEST + (off_t)i &&
		    !add_name(l, name, VIRTUAL_LISTED + i, S_IFREG,
			OFF_NEWEST + (off_t)i))
			return;
}

static void
list_moments(struct listing *l, const struct user *user, off_t off)
{
	int64_t first_ns, last_ns, day;
	struct past_days days;
	char name[WHEN_MAX];

	if (store_history_range(
		l->mount->store, user->address, &first_ns, &last_ns))
		return; /* nothing logged yet: nothing to list */
	past_days(first_ns, last_ns, &days);
	when_format(days.newest_ns, 0, name);
	if (off < OFF_NEWEST &&
	    !add_name(l, name, user->at_ino, S_IFDIR, OFF_NEWEST))
		return;
	day = off >= OFF_DAYS ? off - OFF_DAYS + 1 : days.first;
	for (; day <= days.last; day++) {
		when_format(day * WHEN_DAY, 0, name);
		if (!add_name(l, name, user->at_ino, S_IFDIR, day + OFF_DAYS))
			return;
	}
}

/* For history_list(): must not call the store. */
static bool
add_past(void *arg, const struct entry *e, const struct inode *inode)
{
	struct listing *l = arg;
	off_t off = (off_t)(e->cookie + OFF_PAST);
	struct virtual *node;
	struct stat st;

	if (!l->plus)
		return add_name(l, e->name, VIRTUAL_FIRST | e->ino,
		    (mode_t)e->type << 12, off);
	l->e = virtuals_past(&l->mount->virtuals, l->view, e->ino, &node);
	if (l->e)
		return false;
	past_stat(l->mount, node->ino, inode, &st);
	return add(l, e->name, &st, off, node);
}

static void
list_past(struct listing *l, const struct virtual *dir, off_t off)
{
	uint64_t cookie = off > OFF_PAST ? (uint64_t)off - OFF_PAST : 0;
	struct history *tree;

	may_wait(); /* a log may be read */
	l->view = dir->past.view;
	if (!(l->e = past_view_tree(l->view, wall_ns(), &tree)))
		l->e =
		    history_list(tree, dir->past.number, cookie, add_past, l);
}

void
virtual_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct mount *m = mount_of(req);
	struct virtual *dir = virtuals_find(&m->virtuals, ino);
	struct listing l = {
		.req = req, .mount = m, .cap = size, .plus = plus
	};

	if (!dir || !(l.buf = scratch(size))) {
		fuse_reply_err(req, dir ? ENOMEM : ESTALE);
		return;
	}
	if (off < OFF_DOT)
		add_name(&l, ".", ino, S_IFDIR, OFF_DOT);
	if (off < OFF_DOT_DOT && !l.full)
		add_name(&l, "..", ino, S_IFDIR, OFF_DOT_DOT);
	if (l.full) {
		/* no room even for these: the caller's buffer is too small */
	} else if (dir->kind == VIRTUAL_CONTROL_DIR) {
		list_control(&l, off);
	} else if (dir->kind == VIRTUAL_AT_DIR) {
		list_moments(&l, dir->user, off);
	} else if (dir->kind == VIRTUAL_PAST) {
		list_past(&l, dir, off);
	} else {
		l.e = ERR_NOTDIR;
	}
	if (l.e && l.len == 0)
		reply_err(req, l.e);
	else
		fuse_reply_buf(req, l.buf, l.len);
}
