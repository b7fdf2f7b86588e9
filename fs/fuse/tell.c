/* What requests did, as events.  An event is about a message (a file in cur or
 * new that is not hidden and not a program's own) or about a folder. */
#include "fs/fuse/ops.h"
#include "fs/maildir.h"

#include <string.h>
#include <sys/stat.h>

static bool
is_message_name(const char *name)
{
	return name[0] != '.' && !maildir_is_local(NULL, "cur", name, false);
}

static bool
is_folder_name(const char *name)
{
	return strcmp(name, "cur") != 0 && strcmp(name, "new") != 0 &&
	       strcmp(name, "tmp") != 0 &&
	       !maildir_is_local(NULL, "", name, true);
}

static void
tell(struct mount *m, enum notify_kind kind, bool made, uint64_t ino,
    const struct folder *dir, const char *name, const struct folder *was_dir,
    const char *was_name)
{
	events_put(&m->events, kind, made, wall_ns(), ino, dir, name, was_dir,
	    was_name);
}

void
event_made(struct mount *m, uint64_t dir, const char *name, bool empty,
    const struct inode *inode)
{
	struct folder folder;

	if (m->announcing && S_ISREG(inode->mode) &&
	    folders_find(&m->folders, dir, &folder) == OK && folder.messages &&
	    is_message_name(name))
		tell(m, NOTIFY_NEW, empty, inode->ino, &folder, name, NULL,
		    NULL);
}

void
event_mkdir(struct mount *m, uint64_t dir, const char *name)
{
	struct folder folder;

	if (m->announcing && is_folder_name(name) &&
	    folders_find(&m->folders, dir, &folder) == OK)
		tell(m, NOTIFY_MKDIR, false, 0, &folder, name, NULL, NULL);
}

void
event_unlink(struct mount *m, uint64_t dir, const char *name)
{
	struct folder folder;

	if (m->announcing && folders_find(&m->folders, dir, &folder) == OK &&
	    folder.messages && is_message_name(name))
		tell(m, NOTIFY_DELETE, false, 0, &folder, name, NULL, NULL);
}

void
event_rmdir(struct mount *m, uint64_t dir, const char *name)
{
	struct folder folder;

	if (!m->announcing)
		return;
	if (is_folder_name(name) &&
	    folders_find(&m->folders, dir, &folder) == OK)
		tell(m, NOTIFY_RMDIR, false, 0, &folder, name, NULL, NULL);
	folders_flush(&m->folders);
}

/* Are these cur and new (or twice one of them) of one folder? */
static bool
same_folder(const struct folder *a, const struct folder *b)
{
	size_t len = a->len >= 3 ? a->len - 3u : 0; /* "cur", "new" */

	return a->user == b->user && a->len == b->len &&
	       memcmp(a->path, b->path, len) == 0;
}

void
event_rename(struct mount *m, const struct folder *was_dir,
    const char *was_name, const struct folder *dir, const char *name,
    const struct inode *inode)
{
	bool was, is;

	if (S_ISDIR(inode->mode)) {
		if (is_folder_name(was_name) && is_folder_name(name))
			tell(m, NOTIFY_MOVE, false, 0, dir, name, was_dir,
			    was_name);
		folders_flush(&m->folders);
		return;
	}
	if (!S_ISREG(inode->mode))
		return;
	was = was_dir->messages && is_message_name(was_name);
	is = dir->messages && is_message_name(name);
	if (is && !was)
		tell(m, NOTIFY_NEW, false, inode->ino, dir, name, NULL, NULL);
	else if (was && !is)
		tell(m, NOTIFY_DELETE, false, 0, was_dir, was_name, NULL, NULL);
	else if (was && is)
		tell(m,
		    same_folder(was_dir, dir) &&
			    maildir_same_message(was_name, name)
			? NOTIFY_FLAGS
			: NOTIFY_MOVE,
		    false, inode->ino, dir, name, was_dir, was_name);
}
