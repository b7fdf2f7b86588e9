/* ulog.c - one record of a user's log as bytes.
 *
 * Records are many and small: a mail's CREATE is some 17 bytes beyond its name
 * and its recipe.  So everything that can be guessed from the records before
 * (struct ulog_prev) is left out, and a bit says that it was.  Names are
 * written whole: the sealer's compression sees the batch at once and removes
 * what they share better than any rule here would.
 *
 *   record   u8 head: bits 0-3 op
 *                     bit 4 stamp: it is not the last one + 1
 *                     bit 5 device: the object's is not 0
 *                     bit 6 dir: it is not the last one (ops c l u r x)
 *                     bit 7 zero
 *            [stamp] svarint lamport - (last lamport + 1)
 *            svarint time_ns - last time_ns
 *            [device] varint device
 *            svarint number - last number; create: - (last created + 1)
 *            [dir] oid
 *            and by op:
 *   create   name, u8 look (with content bit), attributes, times,
 *            [char or block device] varint rdev, [content bit] content
 *   content  u8 look (times only), times, content
 *   link     name
 *   unlink   name
 *   rename   name, u8 move, [2] oid to_dir, to_name, [over] over
 *   exchange the same
 *   setattr  u8 look (no content bit), attributes, times
 *   xattr    name, u8 1 (set) or 0 (remove), [set] varint len <= 65536, bytes
 *
 *   oid      varint device (< 64), varint number (< 2^56); number 0 only with
 *            device 0: the root, which is an object of setattr and xattr only
 *   name     u8 length (1..255), bytes
 *   look     bits 0-1 mtime, 2-3 ctime, 4 mode, 5 uid, 6 gid, 7 content
 *   attributes  [4] varint mode, [5] varint uid, [6] varint gid: each only
 *            where it is not the last one
 *   times    mtime 0: is time_ns; 1: svarint seconds - last mtime's seconds
 *            (a whole second); 2: svarint mtime_ns - time_ns
 *            ctime 0: is time_ns; 1: is mtime_ns; 2: svarint ctime - time_ns
 *            the first that fits
 *   content  varint size, varint len (<= 256), recipe
 *   move     bits 0-1 to_dir: 0 is dir, 1 is the last to_dir, 2 follows, the
 *            first that fits; bit 2 over; the rest zero
 *   over     varint device, svarint number - the object's number
 *
 * Differences are modulo 2^64, so every value has exactly one.  "Last" is of
 * the same batch; all is 0 before its first record. */
#include "store/ulog.h"

#include "overlay/base/wire.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#define NS INT64_C(1000000000)
#define SECONDS_MAX (INT64_MAX / NS)
#define MODE_MAX 0177777u

enum {
	HEAD_OP = 0x0f,
	HEAD_STAMP = 0x10,
	HEAD_DEVICE = 0x20,
	HEAD_DIR = 0x40,
	HEAD_ZERO = 0x80
};
enum {
	LOOK_CTIME_SHIFT = 2,
	LOOK_TIMES = 0x0f,
	LOOK_MODE = 0x10,
	LOOK_UID = 0x20,
	LOOK_GID = 0x40,
	LOOK_CONTENT = 0x80
};
enum { MTIME_IS_TIME, MTIME_SECONDS, MTIME_NS };
enum { CTIME_IS_TIME, CTIME_IS_MTIME, CTIME_NS };
enum { MOVE_TO = 0x03, MOVE_OVER = 0x04, MOVE_ZERO = 0xf8 };
enum { TO_IS_DIR, TO_IS_LAST, TO_FOLLOWS };

_Static_assert(ULOG_OP_END - 1 <= HEAD_OP, "an op has four bits");
_Static_assert(ULOG_NAME_MAX <= UINT8_MAX, "a name's length is one byte");
/* Two names, a value, and everything else at its longest. */
_Static_assert(ULOG_RECORD_MAX >= ULOG_XATTR_VALUE_MAX + 256 + 64 &&
	ULOG_RECORD_MAX >= 2 * 256 + CONTENT_MAX + 25 * VARINT_MAX,
    "ULOG_RECORD_MAX is one");

static bool
has_dir(enum ulog_op op)
{
	return op == ULOG_CREATE || op == ULOG_LINK || op == ULOG_UNLINK ||
	    op == ULOG_RENAME || op == ULOG_EXCHANGE;
}

static bool
is_device_node(uint32_t mode)
{
	return S_ISCHR(mode) || S_ISBLK(mode);
}

static bool
may_have_content(uint32_t mode)
{
	return S_ISREG(mode) || S_ISLNK(mode);
}

static bool
type_ok(uint32_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) ||
	    S_ISFIFO(mode) || S_ISSOCK(mode) || is_device_node(mode);
}

static bool
name_ok(const char *name, size_t len)
{
	if (len == 0 || len > ULOG_NAME_MAX || memchr(name, '/', len) ||
	    memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* An attribute's name is not a path's part. */
static bool
attribute_ok(const char *name, size_t len)
{
	return len > 0 && len <= ULOG_NAME_MAX && !memchr(name, '\0', len);
}

static bool
oid_eq(struct ulog_oid a, struct ulog_oid b)
{
	return a.device == b.device && a.number == b.number;
}

static bool
oid_ok(struct ulog_oid o)
{
	return o.device < ULOG_DEVICES_MAX && o.number <= ULOG_NUMBER_MAX &&
	    (o.number != ULOG_ROOT || o.device == 0);
}

/* The root has attributes, and nothing else happens to it. */
static bool
object_ok(enum ulog_op op, struct ulog_oid o)
{
	return oid_ok(o) &&
	    (o.number != ULOG_ROOT || op == ULOG_SETATTR || op == ULOG_XATTR);
}

static int64_t
minus(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b);
}

static int64_t
plus(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* ---- writing ------------------------------------------------------------ */

/* Is this record one that the format can say?  If not, the caller is wrong. */
static void
assert_record(const struct ulog_record *r)
{
	assert(r->op >= ULOG_CREATE && r->op < ULOG_OP_END);
	assert(object_ok(r->op, r->object));
	if (has_dir(r->op))
		assert(oid_ok(r->dir) && name_ok(r->name, r->name_len));
	switch (r->op) {
	case ULOG_CREATE:
		assert(r->mode <= MODE_MAX && type_ok(r->mode));
		assert(!r->has_content || may_have_content(r->mode));
		assert(!r->has_content || r->content.len <= CONTENT_MAX);
		break;
	case ULOG_CONTENT:
		assert(r->content.len <= CONTENT_MAX);
		break;
	case ULOG_RENAME:
	case ULOG_EXCHANGE:
		assert(oid_ok(r->to_dir));
		assert(name_ok(r->to_name, r->to_name_len));
		assert(!r->has_over || object_ok(r->op, r->over));
		break;
	case ULOG_SETATTR:
		assert(r->mode <= MODE_MAX);
		break;
	case ULOG_XATTR:
		assert(attribute_ok(r->name, r->name_len));
		assert(!r->value || r->value_len <= ULOG_XATTR_VALUE_MAX);
		break;
	default:
		break;
	}
}

static void
put_oid(struct wr *w, struct ulog_oid o)
{
	wr_varint(w, o.device);
	wr_varint(w, o.number);
}

static void
put_name(struct wr *w, const char *name, size_t len)
{
	wr_be(w, len, 1);
	wr_bytes(w, name, len);
}

static unsigned
times_look(const struct ulog_record *r)
{
	unsigned m, c;

	m = r->mtime_ns == r->time_ns ? MTIME_IS_TIME
	    : r->mtime_ns % NS == 0   ? MTIME_SECONDS
				      : MTIME_NS;
	c = r->ctime_ns == r->time_ns	? CTIME_IS_TIME
	    : r->ctime_ns == r->mtime_ns ? CTIME_IS_MTIME
					 : CTIME_NS;
	return m | c << LOOK_CTIME_SHIFT;
}

static void
put_times(struct wr *w, struct ulog_prev *prev, const struct ulog_record *r,
    unsigned look)
{
	uint64_t time = (uint64_t)r->time_ns;

	look &= LOOK_TIMES;
	if (look % (1 << LOOK_CTIME_SHIFT) == MTIME_SECONDS)
		wr_svarint(w, r->mtime_ns / NS - prev->mtime_s);
	else if (look % (1 << LOOK_CTIME_SHIFT) == MTIME_NS)
		wr_svarint(w, minus((uint64_t)r->mtime_ns, time));
	if (look >> LOOK_CTIME_SHIFT == CTIME_NS)
		wr_svarint(w, minus((uint64_t)r->ctime_ns, time));
	prev->mtime_s = r->mtime_ns / NS;
}

static unsigned
attributes_look(const struct ulog_prev *prev, const struct ulog_record *r)
{
	return (r->mode != prev->mode ? LOOK_MODE : 0u) |
	    (r->uid != prev->uid ? LOOK_UID : 0u) |
	    (r->gid != prev->gid ? LOOK_GID : 0u);
}

static void
put_attributes(struct wr *w, struct ulog_prev *prev,
    const struct ulog_record *r, unsigned look)
{
	if (look & LOOK_MODE)
		wr_varint(w, r->mode);
	if (look & LOOK_UID)
		wr_varint(w, r->uid);
	if (look & LOOK_GID)
		wr_varint(w, r->gid);
	prev->mode = r->mode;
	prev->uid = r->uid;
	prev->gid = r->gid;
}

static void
put_content(struct wr *w, const struct ulog_record *r)
{
	wr_varint(w, r->size);
	wr_varint(w, r->content.len);
	wr_bytes(w, r->content.bytes, r->content.len);
}

static void
put_move(struct wr *w, struct ulog_prev *prev, const struct ulog_record *r)
{
	unsigned to = oid_eq(r->to_dir, r->dir)	   ? TO_IS_DIR
	    : oid_eq(r->to_dir, prev->to_dir) ? TO_IS_LAST
					      : TO_FOLLOWS;

	wr_be(w, to | (r->has_over ? MOVE_OVER : 0u), 1);
	if (to == TO_FOLLOWS)
		put_oid(w, r->to_dir);
	prev->to_dir = r->to_dir;
	put_name(w, r->to_name, r->to_name_len);
	if (!r->has_over)
		return;
	wr_varint(w, r->over.device);
	wr_svarint(w, minus(r->over.number, r->object.number));
}

enum err
ulog_record_encode(const struct ulog_record *r, struct ulog_prev *prev,
    uint8_t *buf, size_t cap, size_t *len)
{
	struct ulog_prev now = *prev;
	unsigned head, look;
	uint64_t guess;
	struct wr w;

	assert_record(r);
	wr_init(&w, buf, cap);
	head = r->op;
	if (r->lamport != now.lamport + 1)
		head |= HEAD_STAMP;
	if (r->object.device)
		head |= HEAD_DEVICE;
	if (has_dir(r->op) && !oid_eq(r->dir, now.dir))
		head |= HEAD_DIR;
	wr_be(&w, head, 1);
	if (head & HEAD_STAMP)
		wr_svarint(&w, minus(r->lamport, now.lamport + 1));
	wr_svarint(&w, minus((uint64_t)r->time_ns, (uint64_t)now.time_ns));
	if (head & HEAD_DEVICE)
		wr_varint(&w, r->object.device);
	guess = r->op == ULOG_CREATE ? now.created + 1 : now.number;
	wr_svarint(&w, minus(r->object.number, guess));
	if (head & HEAD_DIR)
		put_oid(&w, r->dir);
	now.lamport = r->lamport;
	now.time_ns = r->time_ns;
	now.number = r->object.number;
	if (has_dir(r->op)) {
		now.dir = r->dir;
		put_name(&w, r->name, r->name_len);
	}

	switch (r->op) {
	case ULOG_CREATE:
		look = attributes_look(&now, r) | times_look(r) |
		    (r->has_content ? LOOK_CONTENT : 0u);
		wr_be(&w, look, 1);
		put_attributes(&w, &now, r, look);
		put_times(&w, &now, r, look);
		if (is_device_node(r->mode))
			wr_varint(&w, r->rdev);
		if (r->has_content)
			put_content(&w, r);
		now.created = r->object.number;
		break;
	case ULOG_CONTENT:
		look = times_look(r);
		wr_be(&w, look, 1);
		put_times(&w, &now, r, look);
		put_content(&w, r);
		break;
	case ULOG_RENAME:
	case ULOG_EXCHANGE:
		put_move(&w, &now, r);
		break;
	case ULOG_SETATTR:
		look = attributes_look(&now, r) | times_look(r);
		wr_be(&w, look, 1);
		put_attributes(&w, &now, r, look);
		put_times(&w, &now, r, look);
		break;
	case ULOG_XATTR:
		put_name(&w, r->name, r->name_len);
		wr_be(&w, r->value != NULL, 1);
		if (r->value) {
			wr_varint(&w, r->value_len);
			wr_bytes(&w, r->value, r->value_len);
		}
		break;
	default:
		break;
	}
	if (w.bad)
		return ERR_RANGE;
	*prev = now;
	*len = wr_len(&w);
	return OK;
}

/* ---- reading ------------------------------------------------------------ */

static struct ulog_oid
get_oid(struct rd *rd)
{
	uint64_t device = rd_varint(rd);
	struct ulog_oid o = { 0, rd_varint(rd) };

	o.device = device < ULOG_DEVICES_MAX ? (uint32_t)device
					     : ULOG_DEVICES_MAX;
	if (!oid_ok(o))
		rd->bad = true;
	return o;
}

static const char *
get_name(struct rd *rd, size_t *len)
{
	*len = rd_be(rd, 1);
	return (const char *)rd_take(rd, *len);
}

static void
get_times(struct rd *rd, struct ulog_prev *prev, unsigned look,
    struct ulog_record *r)
{
	unsigned m = look & 3, c = (look & LOOK_TIMES) >> LOOK_CTIME_SHIFT;
	int64_t s;

	r->mtime_ns = r->ctime_ns = r->time_ns;
	if (m == MTIME_SECONDS) {
		s = plus(prev->mtime_s, rd_svarint(rd));
		if (s < -SECONDS_MAX || s > SECONDS_MAX) {
			rd->bad = true;
			return;
		}
		r->mtime_ns = s * NS;
	} else if (m == MTIME_NS) {
		r->mtime_ns = plus(r->time_ns, rd_svarint(rd));
	}
	if (c == CTIME_IS_MTIME)
		r->ctime_ns = r->mtime_ns;
	else if (c == CTIME_NS)
		r->ctime_ns = plus(r->time_ns, rd_svarint(rd));
	prev->mtime_s = r->mtime_ns / NS;
	if (times_look(r) != (look & LOOK_TIMES))
		rd->bad = true; /* a shorter form would have fitted */
}

static void
get_attributes(struct rd *rd, struct ulog_prev *prev, unsigned look,
    struct ulog_record *r)
{
	uint64_t mode = look & LOOK_MODE ? rd_varint(rd) : prev->mode;
	uint64_t uid = look & LOOK_UID ? rd_varint(rd) : prev->uid;
	uint64_t gid = look & LOOK_GID ? rd_varint(rd) : prev->gid;

	if (mode > MODE_MAX || uid > UINT32_MAX || gid > UINT32_MAX) {
		rd->bad = true;
		return;
	}
	r->mode = (uint32_t)mode;
	r->uid = (uint32_t)uid;
	r->gid = (uint32_t)gid;
	if (attributes_look(prev, r) !=
	    (look & (LOOK_MODE | LOOK_UID | LOOK_GID)))
		rd->bad = true; /* said although it is the last one */
	prev->mode = r->mode;
	prev->uid = r->uid;
	prev->gid = r->gid;
}

static void
get_content(struct rd *rd, struct ulog_record *r)
{
	uint64_t len;

	r->size = rd_varint(rd);
	len = rd_varint(rd);
	if (len > CONTENT_MAX) {
		rd->bad = true;
		return;
	}
	r->content.len = (uint16_t)len;
	rd_bytes(rd, r->content.bytes, len);
}

static void
get_move(struct rd *rd, struct ulog_prev *prev, struct ulog_record *r)
{
	unsigned move = (unsigned)rd_be(rd, 1), to = move & MOVE_TO;
	uint64_t device;

	if (to == TO_IS_DIR) {
		r->to_dir = r->dir;
	} else if (to == TO_IS_LAST) {
		r->to_dir = prev->to_dir;
	} else {
		r->to_dir = get_oid(rd);
		if (oid_eq(r->to_dir, prev->to_dir))
			rd->bad = true;
	}
	if (to > TO_FOLLOWS || (move & MOVE_ZERO) ||
	    (to != TO_IS_DIR && oid_eq(r->to_dir, r->dir)))
		rd->bad = true;
	prev->to_dir = r->to_dir;
	r->to_name = get_name(rd, &r->to_name_len);
	r->has_over = move & MOVE_OVER;
	if (r->has_over) {
		device = rd_varint(rd);
		r->over.number = (uint64_t)plus(
		    (int64_t)r->object.number, rd_svarint(rd));
		r->over.device = device < ULOG_DEVICES_MAX
		    ? (uint32_t)device
		    : ULOG_DEVICES_MAX;
	}
	if (rd->bad || !name_ok(r->to_name, r->to_name_len) ||
	    (r->has_over && !object_ok(r->op, r->over)))
		rd->bad = true;
}

static void
get_xattr(struct rd *rd, struct ulog_record *r)
{
	uint64_t set;

	r->name = get_name(rd, &r->name_len);
	set = rd_be(rd, 1);
	if (rd->bad || set > 1 || !attribute_ok(r->name, r->name_len)) {
		rd->bad = true;
		return;
	}
	if (!set)
		return;
	r->value_len = rd_varint(rd);
	if (r->value_len > ULOG_XATTR_VALUE_MAX)
		rd->bad = true;
	else
		r->value = rd_take(rd, r->value_len);
}

enum err
ulog_record_decode(const uint8_t *bytes, size_t len, struct ulog_prev *prev,
    struct ulog_record *out, size_t *used)
{
	struct ulog_prev now = *prev;
	struct ulog_record r;
	unsigned head, look;
	uint64_t device = 0;
	int64_t delta;
	struct rd rd;

	memset(&r, 0, sizeof(r));
	rd_init(&rd, bytes, len);
	head = (unsigned)rd_be(&rd, 1);
	if (rd.bad || (head & HEAD_OP) == 0)
		return ERR_MALFORMED;
	if ((head & HEAD_OP) >= ULOG_OP_END)
		return ERR_NEWER;
	r.op = head & HEAD_OP;
	if ((head & HEAD_ZERO) || ((head & HEAD_DIR) && !has_dir(r.op)))
		return ERR_MALFORMED;
	r.lamport = now.lamport + 1;
	if (head & HEAD_STAMP) {
		delta = rd_svarint(&rd);
		r.lamport += (uint64_t)delta;
		if (delta == 0)
			rd.bad = true;
	}
	r.time_ns = plus(now.time_ns, rd_svarint(&rd));
	if (head & HEAD_DEVICE) {
		device = rd_varint(&rd);
		if (device == 0 || device >= ULOG_DEVICES_MAX)
			return ERR_MALFORMED;
	}
	r.object.device = (uint32_t)device;
	r.object.number =
	    (r.op == ULOG_CREATE ? now.created + 1 : now.number) +
	    (uint64_t)rd_svarint(&rd);
	if (!object_ok(r.op, r.object))
		return ERR_MALFORMED;
	if (has_dir(r.op)) {
		r.dir = head & HEAD_DIR ? get_oid(&rd) : now.dir;
		if ((head & HEAD_DIR) && oid_eq(r.dir, now.dir))
			return ERR_MALFORMED;
		r.name = get_name(&rd, &r.name_len);
		if (rd.bad || !name_ok(r.name, r.name_len))
			return ERR_MALFORMED;
		now.dir = r.dir;
	}
	now.lamport = r.lamport;
	now.time_ns = r.time_ns;
	now.number = r.object.number;

	switch (r.op) {
	case ULOG_CREATE:
		look = (unsigned)rd_be(&rd, 1);
		get_attributes(&rd, &now, look, &r);
		get_times(&rd, &now, look, &r);
		r.has_content = look & LOOK_CONTENT;
		if (!type_ok(r.mode) ||
		    (r.has_content && !may_have_content(r.mode)))
			return ERR_MALFORMED;
		if (is_device_node(r.mode))
			r.rdev = rd_varint(&rd);
		if (r.has_content)
			get_content(&rd, &r);
		now.created = r.object.number;
		break;
	case ULOG_CONTENT:
		look = (unsigned)rd_be(&rd, 1);
		if (look & ~(unsigned)LOOK_TIMES)
			return ERR_MALFORMED;
		get_times(&rd, &now, look, &r);
		get_content(&rd, &r);
		break;
	case ULOG_RENAME:
	case ULOG_EXCHANGE:
		get_move(&rd, &now, &r);
		break;
	case ULOG_SETATTR:
		look = (unsigned)rd_be(&rd, 1);
		if (look & LOOK_CONTENT)
			return ERR_MALFORMED;
		get_attributes(&rd, &now, look, &r);
		get_times(&rd, &now, look, &r);
		break;
	case ULOG_XATTR:
		get_xattr(&rd, &r);
		break;
	default: /* link, unlink: said already */
		break;
	}
	if (rd.bad)
		return ERR_MALFORMED;
	*prev = now;
	*out = r;
	*used = len - rd_left(&rd);
	return OK;
}
