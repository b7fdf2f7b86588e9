/* past.h - a user's tree, made again in memory from records of her logs: for
 * views of a past moment, for paths in `post log`, for a lost index, and for
 * the merge of what several devices wrote.
 *
 * Give it records in order and look at what they made.  The order is the
 * same everywhere: by stamp, then by device id (past_merge() keeps it); so is
 * what each record does to the tree before it, and therefore the tree.  It
 * does not matter when or in what parts a device heard of the others.
 *
 * One log says what one device did to its own tree, and every record fits.
 * Among the records of many, each was made by someone who had not seen all
 * that stands before it here.  The rules, of which the first comes first:
 *
 *   nothing that a device added is lost to what another did without knowing
 *     of it
 *   create, link   always happen.  A directory that someone removed meanwhile
 *                  comes back, where and as it was
 *   a taken name   the later keeps it; the earlier gets ".~" and the first
 *                  eight hex digits of its object's device after its name
 *                  (cut to fit), and ".2", ".3"... after that if need be
 *   two mkdirs     of one name are one directory under two numbers, with the
 *                  later's mode and owner
 *   rename         an object whose name is not what the record says, because
 *                  another device renamed it, is renamed from what it has now:
 *                  the later wins.  (Only an object of one name can be
 *                  followed so.)  It replaces only what it says it replaces;
 *                  anything else under the new name is a taken name
 *   unlink         of an entry that is not there any more, or means another
 *                  object, is ignored; so is the removal of a directory that
 *                  is not empty
 *   a cycle        of directories can not arise: the rename that would close
 *                  it is ignored
 *   attributes     the later wins
 *   an unknown directory (its log is damaged) is made, in the root, as
 *                  "lost.~DEVICE.NUMBER", so that what was in it is there; an
 *                  unknown object otherwise: the record is ignored
 *
 * That the flags of one mail, changed in two places, are merged flag by flag
 * is for the layer that knows what a mail's name means.
 *
 * Numbers: an object of `own`, the device for which the past was made, has the
 * number it has in its log, so the inode numbers of a home hold in its past;
 * one of another device has it below 2^56 and the device above.  The root is
 * ULOG_ROOT.
 *
 * Memory: about 300 bytes for a message with a name of 50 bytes and a recipe
 * of 70.  What is deleted is forgotten, if there is one log; among many it is
 * remembered, for it may come back.
 *
 * Pure: no I/O, no clock.  One thread at a time. */
#ifndef POST_STORE_PAST_H
#define POST_STORE_PAST_H

#include "store/tree.h"
#include "store/ulog.h"

struct past;

/* A past with the root and nothing in it.  `logs`: how many will be merged; 1
 * also means that a rename replaces what is there even without saying so.
 * limit: bytes of memory beyond which there is ERR_NOMEM; 0: none. */
enum err past_new(const struct id *own, unsigned logs, size_t limit,
    struct past **out) MUST_CHECK;
void past_free(struct past *p); /* NULL is allowed */

/* Apply the next record; devices it names are indices into table[devices],
 * as in its batch.  A record that has nothing to act on is ignored, counted
 * and OK.  After ERR_NOMEM, or ERR_RANGE (more than 255 devices), the past is
 * of no use and may only be freed. */
enum err past_apply(struct past *p, const struct ulog_record *r,
    const struct id *table, unsigned devices) MUST_CHECK;

/* ---- many logs ---------------------------------------------------------- */

/* One device's records, in its order.  ERR_ABSENT at the end.  What *r and
 * *table point to is borrowed until the next call for this stream. */
struct past_stream {
	enum err (*next)(void *arg, struct ulog_record *r,
	    const struct id **table, unsigned *devices);
	void *arg;
};

/* Apply all records of the streams, in the order of (stamp, device), device
 * being table[0].  Within a log its own order holds whatever its stamps: one
 * that is lower than one before counts as that.  Any error of a stream ends
 * the merge and is returned. */
enum err past_merge(
    struct past *p, const struct past_stream *streams, unsigned k) MUST_CHECK;

/* ---- looking; ERR_ABSENT is an answer ----------------------------------- */

/* What number an object has here; ERR_ABSENT if its device is unknown. */
enum err past_number(const struct past *p, const struct id *device,
    uint64_t number, uint64_t *out) MUST_CHECK;
/* The reverse, for a number that the past gave. */
void past_origin(const struct past *p, uint64_t number, struct id *device,
    uint64_t *its_number);

/* As tree_inode(), tree_find(): owner is 0, data of a directory DATA_DIR, all
 * links are shared, atime is mtime, btime when it was made; a symlink is a
 * DATA_LINK.  The root's parent is itself. */
enum err past_inode(
    const struct past *p, uint64_t number, struct inode *out) MUST_CHECK;
enum err past_lookup(const struct past *p, uint64_t dir, const char *name,
    size_t name_len, struct entry *out) MUST_CHECK;

/* The entries of a directory after a cookie (0: all), in the order in which
 * they came to be; a rename within a directory keeps an entry's place.  The
 * past must not change during a walk.  ERR_NOTDIR. */
struct past_walk {
	const struct past *p;
	const void *dir;
	size_t at;
};
enum err past_walk_init(struct past_walk *w, const struct past *p,
    uint64_t dir, uint64_t after) MUST_CHECK;
enum err past_walk_next(struct past_walk *w, struct entry *out) MUST_CHECK;

/* The extended attributes, encoded by xattr.h; *len 0 if none.  Borrowed until
 * the next change. */
enum err past_xattrs(const struct past *p, uint64_t number,
    const uint8_t **bytes, size_t *len) MUST_CHECK;

/* Where an object is, from the root ("" is the root): "Maildir/new/name", NUL-
 * terminated.  One of its paths, if it has several.  ERR_RANGE: cap is too
 * small. */
enum err past_path(const struct past *p, uint64_t number, char *buf,
    size_t cap) MUST_CHECK;

struct past_stats {
	uint64_t objects; /* that have a name, with the root */
	uint64_t entries;
	uint64_t ignored;   /* records */
	uint64_t displaced; /* names that got a suffix */
	uint64_t revived;   /* directories that came back */
	uint64_t lost;	    /* directories that were not known */
	size_t memory;	    /* bytes */
};
void past_stats(const struct past *p, struct past_stats *out);

#endif
