/* Extended attributes: programs' own, which the store keeps, and ours, made
 * when asked for: what is known of a message (LAYOUT.md, "user.post").
 *
 * security.capability is asked for by the kernel before writes; it takes the
 * ordinary way, which for a file without attributes is one lookup in memory.
 * ACLs are not supported: default_permissions goes by modes alone. */
#include "fs/fuse/ops.h"
#include "fs/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define OURS "user.post."
#define VALUE_BYTES 1024u
#define SNIFF_BYTES 512u /* enough to see a header's first line */

enum ours {
	OURS_ID,
	OURS_STATE,
	OURS_REPLICAS,
	OURS_FROM,
	OURS_VERIFIED,
	OURS_COUNT
};

static const char *const ours_names[OURS_COUNT] = {
	[OURS_ID] = OURS "id",
	[OURS_STATE] = OURS "state",
	[OURS_REPLICAS] = OURS "replicas",
	[OURS_FROM] = OURS "from",
	[OURS_VERIFIED] = OURS "verified",
};

static bool
begins(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* ERR_PERM for what only we say, ERR_UNSUPPORTED for what we do not keep. */
static enum err
check_set(const char *name)
{
	if (begins(name, OURS))
		return ERR_PERM;
	if (begins(name, "user.") || begins(name, "trusted.") ||
	    begins(name, "security."))
		return OK;
	return ERR_UNSUPPORTED;
}

/* ---- ours --------------------------------------------------------------- */

/* A file in the log whose bytes begin as a mail's do. */
static bool
is_message(struct store *s, const struct inode *inode)
{
	char buf[SNIFF_BYTES];
	size_t got;

	return S_ISREG(inode->mode) && inode->shared_links > 0 &&
	       inode->size > 0 &&
	       store_read(s, inode->ino, 0, buf, sizeof(buf), &got) == OK &&
	       header_begins(buf, got);
}

/* Written, but not sealed yet. */
static bool
is_pending(const struct inode *inode)
{
	return inode->size > 0 && inode->content.len == 0;
}

static enum err
take_first(void *arg, const struct block_ref *ref)
{
	*(struct id *)arg = ref->id;
	return ERR_EXISTS; /* one is enough */
}

/* The id of the first block of its content; "-" if it has none: not sealed
 * yet, or so small that it needs none. */
static void
id_value(const struct inode *inode, char value[VALUE_BYTES])
{
	struct id id;

	if (!is_pending(inode) &&
	    content_refs(NULL, &inode->content, take_first, &id) == ERR_EXISTS)
		id_to_hex(&id, value);
	else
		memcpy(value, "-", 2);
}

static enum err
from_value(struct store *s, const struct inode *inode, char value[VALUE_BYTES])
{
	char buf[HEADER_READ_MAX];
	size_t got;
	enum err e = store_read(s, inode->ino, 0, buf, sizeof(buf), &got);

	if (e)
		return e;
	return header_field(buf, got, "From", value, VALUE_BYTES) ? OK
								  : ERR_NOATTR;
}

static enum err
ours_value(
    struct mount *m, uint64_t ino, const char *name, char value[VALUE_BYTES])
{
	struct inode inode;
	unsigned which = 0;
	enum err e;

	while (which < OURS_COUNT && strcmp(ours_names[which], name) != 0)
		which++;
	if (which == OURS_COUNT)
		return ERR_NOATTR;
	if ((e = store_inode(m->store, ino, &inode)))
		return e;
	if (!is_message(m->store, &inode))
		return ERR_NOATTR;
	switch ((enum ours)which) {
	case OURS_ID:
		id_value(&inode, value);
		break;
	case OURS_STATE:
		snprintf(value, VALUE_BYTES, "%s",
		    is_pending(&inode) ? "pending" : "stored");
		break;
	case OURS_REPLICAS:
		snprintf(value, VALUE_BYTES,
		    "1/1"); /* this node is all the ring there is */
		break;
	case OURS_FROM:
		return from_value(m->store, &inode, value);
	case OURS_VERIFIED:
		snprintf(value, VALUE_BYTES,
		    "no"); /* it came from no one we could ask */
		break;
	case OURS_COUNT:
		break;
	}
	return OK;
}

/* ---- requests ----------------------------------------------------------- */

static void
reply_value(fuse_req_t req, const void *value, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = mount_of(req);
	char value[VALUE_BYTES];
	size_t len = 0;
	void *buf = value;
	enum err e;

	if (virtual_is(ino)) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	if (begins(name, OURS)) {
		e = ours_value(m, to_store(m, ino), name, value);
		if (!e)
			len = strlen(value);
	} else if ((e = check_set(name))) {
		;
	} else if (size && !(buf = scratch(size))) {
		e = ERR_NOMEM;
	} else {
		e = store_get_xattr(
		    m->store, to_store(m, ino), name, buf, size, &len);
	}
	if (e)
		reply_err(req, e);
	else
		reply_value(req, buf, len, size);
}

void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
    size_t size, int flags)
{
	struct mount *m = mount_of(req);
	enum err e;

	if (virtual_is(ino)) {
		virtual_refuse(req, ino);
		return;
	}
	e = check_set(name);
	if (!e)
		e = store_set_xattr(
		    m->store, to_store(m, ino), name, value, size, flags);
	reply_err(req, e);
}

void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct mount *m = mount_of(req);
	enum err e;

	if (virtual_is(ino)) {
		virtual_refuse(req, ino);
		return;
	}
	e = check_set(name);
	if (!e)
		e = store_remove_xattr(m->store, to_store(m, ino), name);
	reply_err(req, e);
}

/* Ours are not listed: rsync -X and cp -a would try to copy them, and to remove
 * them from the copy, which they may not. */
void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = mount_of(req);
	size_t len = 0;
	char *buf = NULL;
	enum err e;

	if (virtual_is(ino)) {
		reply_value(req, NULL, 0, size);
		return;
	}
	if (size && !(buf = scratch(size)))
		e = ERR_NOMEM;
	else
		e = store_list_xattr(
		    m->store, to_store(m, ino), buf, size, &len);
	if (e)
		reply_err(req, e);
	else
		reply_value(req, buf, len, size);
}
