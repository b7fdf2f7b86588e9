/* tree_rows.c - the tree's rows in the index (FORMAT.md, "Tree rows").
 *
 * INODES   key: u64 ino
 *
 *   u8 form    bits 7-4: version, 1; bit 3: 0; bit 2: WHOLE; bits 1-0: data
 *   u8 flags   which of the optional fields below are there
 *   varint mode      (mode >> 16) << 16 | (mode & 07777) << 4 | type,
 *                    type being mode >> 12 & 15: two bytes, not three
 *   varint uid
 *   varint gid       if GID; else it is uid
 *   varint owner
 *   varint size
 *   mtime            WHOLE: svarint seconds; else u64 nanoseconds (a date out
 *                    of a header or archive has no fraction)
 *   svarint ctime    if CTIME: nanoseconds after mtime; else it is mtime
 *   svarint atime    if ATIME: the same
 *   svarint btime    if BTIME: the same
 *   varint nlink     if LINKS; else 1
 *   varint shared    if LINKS; else 1
 *   varint parent    if PARENT; else 0
 *   varint rdev      if RDEV; else 0
 *   content          what is left
 *
 * A field that could be absent and is not is refused, so that an inode has one
 * row.  Differences of times wrap round as 64-bit numbers do.
 *
 * ENTRIES  key: u64 dir, u64 cookie
 *
 *   varint ino
 *   u8         bits 7-5: 0; bit 4: local; bits 3-0: type (DT_*)
 *   name       what is left: 1 to 255 bytes, no '/' and no NUL
 *
 * NAMES    key: u64 dir, u64 hash of the name
 *
 *   varint cookie, one or more in increasing order: those entries of the
 *   directory whose names have this hash
 *
 * XATTRS   key: u64 ino; the row is xattr.h's */
#include "overlay/base/crypto.h"
#include "overlay/base/wire.h"
#include "store/tree_private.h"

#include <assert.h>

#define ROW_VERSION 1u
#define FORM_WHOLE 0x04u
#define FORM_ZERO 0x08u
#define FORM_DATA 0x03u

#define HAS_CTIME 0x01u
#define HAS_ATIME 0x02u
#define HAS_BTIME 0x04u
#define HAS_LINKS 0x08u
#define HAS_PARENT 0x10u
#define HAS_RDEV 0x20u
#define HAS_GID 0x40u
#define FLAGS_ZERO 0x80u

#define SECOND_NS INT64_C(1000000000)

#define ENTRY_LOCAL 0x10u
#define ENTRY_TYPE 0x0fu
#define ENTRY_ZERO 0xe0u

/* form, flags; mode, uid, gid; owner; mtime; size, three times, parent, rdev;
 * nlink and shared */
_Static_assert(INODE_ROW_MAX >= CONTENT_MAX + 2 + 3 * 5 + 3 + VARINT_MAX +
				    6 * VARINT_MAX + 2 * 5,
    "the longest row fits");
_Static_assert(DATA_LINK <= FORM_DATA, "data fits its bits");
_Static_assert(NAME_BYTES_MAX == UINT8_MAX, "a name's length is a byte");

void
key_one(uint64_t a, uint8_t key[INO_KEY_BYTES])
{
	struct wr w;

	wr_init(&w, key, INO_KEY_BYTES);
	wr_be(&w, a, 8);
}

void
key_two(uint64_t a, uint64_t b, uint8_t key[ENTRY_KEY_BYTES])
{
	key_one(a, key);
	key_one(b, key + 8);
}

/* BLAKE2b, cut to 64 bits.  XXH3 is faster, but anyone can make names by the
 * thousand that XXH3 gives one hash, and whoever did would make every lookup
 * in that directory slow for all users of the node. */
uint64_t
tree_name_hash(const char *name, size_t len)
{
	struct id id;
	struct rd r;

	hash_bytes(name, len, &id);
	rd_init(&r, id.b, sizeof(id.b));
	return rd_be(&r, 8);
}

static uint32_t
fold_mode(uint32_t mode)
{
	return (mode & 0xffff0000u) | (mode & 0xfffu) << 4 | (mode >> 12 & 15);
}

static uint32_t
unfold_mode(uint32_t v)
{
	return (v & 0xffff0000u) | (v & 15) << 12 | (v >> 4 & 0xfffu);
}

/* b after a, wrapping. */
static int64_t
time_diff(int64_t b, int64_t a)
{
	return (int64_t)((uint64_t)b - (uint64_t)a);
}

static int64_t
time_sum(int64_t a, int64_t diff)
{
	return (int64_t)((uint64_t)a + (uint64_t)diff);
}

enum err
inode_encode(const struct inode *i, uint8_t *buf, size_t cap, size_t *len)
{
	bool whole = i->mtime_ns % SECOND_NS == 0;
	unsigned flags = 0;
	struct wr w;

	assert(i->data <= DATA_LINK);
	assert(i->content.len <= CONTENT_MAX);
	flags |= i->ctime_ns != i->mtime_ns ? HAS_CTIME : 0;
	flags |= i->atime_ns != i->mtime_ns ? HAS_ATIME : 0;
	flags |= i->btime_ns != i->mtime_ns ? HAS_BTIME : 0;
	flags |= i->nlink != 1 || i->shared_links != 1 ? HAS_LINKS : 0;
	flags |= i->parent ? HAS_PARENT : 0;
	flags |= i->rdev ? HAS_RDEV : 0;
	flags |= i->gid != i->uid ? HAS_GID : 0;

	wr_init(&w, buf, cap);
	wr_be(&w, ROW_VERSION << 4 | (whole ? FORM_WHOLE : 0) | i->data, 1);
	wr_be(&w, flags, 1);
	wr_varint(&w, fold_mode(i->mode));
	wr_varint(&w, i->uid);
	if (flags & HAS_GID)
		wr_varint(&w, i->gid);
	wr_varint(&w, i->owner);
	wr_varint(&w, i->size);
	if (whole)
		wr_svarint(&w, i->mtime_ns / SECOND_NS);
	else
		wr_be(&w, (uint64_t)i->mtime_ns, 8);
	if (flags & HAS_CTIME)
		wr_svarint(&w, time_diff(i->ctime_ns, i->mtime_ns));
	if (flags & HAS_ATIME)
		wr_svarint(&w, time_diff(i->atime_ns, i->mtime_ns));
	if (flags & HAS_BTIME)
		wr_svarint(&w, time_diff(i->btime_ns, i->mtime_ns));
	if (flags & HAS_LINKS) {
		wr_varint(&w, i->nlink);
		wr_varint(&w, i->shared_links);
	}
	if (flags & HAS_PARENT)
		wr_varint(&w, i->parent);
	if (flags & HAS_RDEV)
		wr_varint(&w, i->rdev);
	wr_bytes(&w, i->content.bytes, i->content.len);
	if (w.bad)
		return ERR_RANGE;
	*len = wr_len(&w);
	return OK;
}

/* A varint of at most `max`. */
static uint64_t
rd_upto(struct rd *r, uint64_t max)
{
	uint64_t v = rd_varint(r);

	if (v > max)
		r->bad = true;
	return v;
}

/* An optional number, which is not there when it is `usual`. */
static uint64_t
rd_unusual(struct rd *r, bool there, uint64_t max, uint64_t usual)
{
	uint64_t v;

	if (!there)
		return usual;
	v = rd_upto(r, max);
	if (v == usual)
		r->bad = true;
	return v;
}

static int64_t
rd_mtime(struct rd *r, bool whole)
{
	int64_t v;

	if (whole) {
		v = rd_svarint(r);
		if (v > INT64_MAX / SECOND_NS || v < INT64_MIN / SECOND_NS) {
			r->bad = true;
			return 0;
		}
		return v * SECOND_NS;
	}
	v = (int64_t)rd_be(r, 8);
	if (v % SECOND_NS == 0)
		r->bad = true;
	return v;
}

static int64_t
rd_time(struct rd *r, bool there, int64_t mtime_ns)
{
	int64_t diff = there ? rd_svarint(r) : 0;

	if (there && diff == 0)
		r->bad = true;
	return time_sum(mtime_ns, diff);
}

enum err
inode_decode(uint64_t ino, const uint8_t *buf, size_t len, struct inode *out)
{
	struct inode i = { .ino = ino };
	unsigned form, flags;
	struct rd r;

	rd_init(&r, buf, len);
	form = (unsigned)rd_be(&r, 1);
	if (!r.bad && form >> 4 > ROW_VERSION)
		return ERR_NEWER;
	flags = (unsigned)rd_be(&r, 1);
	if (r.bad || form >> 4 != ROW_VERSION || (form & FORM_ZERO) ||
	    (form & FORM_DATA) > DATA_LINK || (flags & FLAGS_ZERO))
		return ERR_MALFORMED;
	i.data = form & FORM_DATA;
	i.mode = unfold_mode((uint32_t)rd_upto(&r, UINT32_MAX));
	i.uid = (uint32_t)rd_upto(&r, UINT32_MAX);
	i.gid = (uint32_t)rd_unusual(&r, flags & HAS_GID, UINT32_MAX, i.uid);
	i.owner = (uint16_t)rd_upto(&r, UINT16_MAX);
	i.size = rd_varint(&r);
	i.mtime_ns = rd_mtime(&r, form & FORM_WHOLE);
	i.ctime_ns = rd_time(&r, flags & HAS_CTIME, i.mtime_ns);
	i.atime_ns = rd_time(&r, flags & HAS_ATIME, i.mtime_ns);
	i.btime_ns = rd_time(&r, flags & HAS_BTIME, i.mtime_ns);
	i.nlink = i.shared_links = 1;
	if (flags & HAS_LINKS) {
		i.nlink = (uint32_t)rd_upto(&r, UINT32_MAX);
		i.shared_links = (uint32_t)rd_upto(&r, UINT32_MAX);
		if (i.nlink == 1 && i.shared_links == 1)
			return ERR_MALFORMED;
	}
	i.parent = rd_unusual(&r, flags & HAS_PARENT, UINT64_MAX, 0);
	i.rdev = rd_unusual(&r, flags & HAS_RDEV, UINT64_MAX, 0);
	if (r.bad || rd_left(&r) > CONTENT_MAX)
		return ERR_MALFORMED;
	i.content.len = (uint16_t)rd_left(&r);
	rd_bytes(&r, i.content.bytes, i.content.len);
	*out = i;
	return OK;
}

enum err
entry_encode(const struct entry *e, uint8_t *buf, size_t cap, size_t *len)
{
	struct wr w;

	assert(e->name_len > 0 && e->type <= ENTRY_TYPE);
	wr_init(&w, buf, cap);
	wr_varint(&w, e->ino);
	wr_be(&w, e->type | (e->local ? ENTRY_LOCAL : 0), 1);
	wr_bytes(&w, e->name, e->name_len);
	if (w.bad)
		return ERR_RANGE;
	*len = wr_len(&w);
	return OK;
}

enum err
entry_decode(uint64_t dir, uint64_t cookie, const uint8_t *buf, size_t len,
    struct entry *out)
{
	uint64_t ino;
	unsigned kind;
	const uint8_t *name;
	size_t name_len;
	struct rd r;

	rd_init(&r, buf, len);
	ino = rd_varint(&r);
	kind = (unsigned)rd_be(&r, 1);
	name_len = rd_left(&r);
	name = rd_take(&r, name_len);
	if (r.bad || (kind & ENTRY_ZERO) || name_len == 0 ||
	    name_len > NAME_BYTES_MAX || memchr(name, '/', name_len) ||
	    memchr(name, '\0', name_len))
		return ERR_MALFORMED;
	out->dir = dir;
	out->cookie = cookie;
	out->ino = ino;
	out->type = kind & ENTRY_TYPE;
	out->local = kind & ENTRY_LOCAL;
	out->name_len = (uint8_t)name_len;
	memcpy(out->name, name, name_len);
	out->name[name_len] = '\0';
	return OK;
}

/* Copy a row of cookies without `cookie`, putting it in its place if `add`. */
static enum err
cookies_edit(const uint8_t *row, size_t len, uint64_t cookie, bool add,
    uint8_t *buf, size_t *out_len)
{
	uint64_t last = 0;
	bool first = true;
	struct rd r;
	struct wr w;

	rd_init(&r, row, len);
	wr_init(&w, buf, len + VARINT_MAX);
	while (rd_left(&r)) {
		uint64_t at = rd_varint(&r);

		if (r.bad || (!first && at <= last))
			return ERR_MALFORMED;
		first = false;
		last = at;
		if (at == cookie)
			continue;
		if (add && at > cookie) {
			wr_varint(&w, cookie);
			add = false;
		}
		wr_varint(&w, at);
	}
	if (add)
		wr_varint(&w, cookie);
	assert(!w.bad);
	*out_len = wr_len(&w);
	return OK;
}

enum err
cookies_add(const uint8_t *row, size_t len, uint64_t cookie, uint8_t *buf,
    size_t *out_len)
{
	return cookies_edit(row, len, cookie, true, buf, out_len);
}

enum err
cookies_remove(const uint8_t *row, size_t len, uint64_t cookie, uint8_t *buf,
    size_t *out_len)
{
	return cookies_edit(row, len, cookie, false, buf, out_len);
}
