/* ulog.h - a user's log: what one device of a user did, in order, for ever.
 *
 * After Ivy (OSDI 2002): each device writes one log and nobody else writes to
 * it; a user's tree is the merge of her devices' logs.
 *
 *   record   one change, with a Lamport stamp and the device's wall clock
 *   batch    records, back-pointers, sealed under the log's key: a block
 *   head     the signed tip: sequence, newest batches, recent records;
 *            strictly increasing sequence
 *   snapshot batches whose records make the whole tree at one moment from
 *            nothing, so that replay is bounded
 *
 * Formats stand at the top of ulog.c (records), ulog_batch.c and ulog_head.c,
 * and in FORMAT.md, "User log".  One encoding per meaning: what decodes
 * encodes to the same bytes again, everything else is ERR_MALFORMED.  Pure:
 * bytes in, bytes out; no I/O, no clock.
 *
 * Objects are named by (device, number): the device that made them and a
 * number it gave (its inode number).  In a batch a device is an index into
 * the batch's table of device ids; 0 is the log's own device.  The user's
 * root directory is { 0, ULOG_ROOT } in every log, and no other object has
 * that number. */
#ifndef POST_STORE_ULOG_H
#define POST_STORE_ULOG_H

#include "overlay/base/crypto.h"
#include "overlay/base/id.h"
#include "store/content.h"

#include <stdbool.h>

#define ULOG_ROOT 0u
#define ULOG_NUMBER_MAX ((UINT64_C(1) << 56) - 1) /* of an object */
#define ULOG_NAME_MAX 255u
#define ULOG_XATTR_VALUE_MAX 65536u
#define ULOG_BATCH_MAX (256u << 10) /* plaintext bytes of a batch */
#define ULOG_BACK_MAX 8u	    /* back-pointers of a batch */
#define ULOG_DEVICES_MAX 64u
#define ULOG_RECORD_MAX (ULOG_XATTR_VALUE_MAX + 1024u)

struct ulog_oid {
	uint32_t device; /* index into the batch's table */
	uint64_t number;
};

enum ulog_op {
	ULOG_CREATE = 1, /* object, with its first name; may carry content */
	ULOG_CONTENT,	 /* object has new bytes */
	ULOG_LINK,	 /* a further name */
	ULOG_UNLINK,	 /* a name goes */
	ULOG_RENAME,	 /* a name becomes another, maybe elsewhere, maybe over one */
	ULOG_EXCHANGE,	 /* two names swap objects */
	ULOG_SETATTR,	 /* mode, owner, times */
	ULOG_XATTR,	 /* set, or remove when value is NULL */
	ULOG_OP_END
};

/* Which fields an op uses: c create, C content, l link, u unlink, r rename,
 * x exchange, s setattr, X xattr.  The rest is neither written nor looked at,
 * and reads back as 0.
 *
 * A rename says what it knew to be under its new name (`over`), and an
 * exchange what its second object was: what another device put there
 * meanwhile must not be lost by it (past.h). */
struct ulog_record {
	enum ulog_op op;
	uint64_t lamport; /* orders concurrent records, with the device id */
	int64_t time_ns;  /* wall clock of the device; for people and .at */
	struct ulog_oid object;	     /* c C l u r x(first) s X */
	struct ulog_oid dir;	     /* c l u r x: directory of `name` */
	const char *name;	     /* c l u r x; X: attribute's name */
	size_t name_len;
	struct ulog_oid to_dir;	     /* r x */
	const char *to_name;	     /* r x */
	size_t to_name_len;
	bool has_over;		     /* r x */
	struct ulog_oid over;	     /* r x (if has_over) */
	uint32_t mode, uid, gid;     /* c s; mode with the type */
	uint64_t rdev;		     /* c of a device node */
	int64_t mtime_ns, ctime_ns;  /* c C s */
	bool has_content;	     /* c of a file or symlink */
	uint64_t size;		     /* c (if has_content), C */
	struct content content;	     /* c (if has_content), C; c of a symlink:
				      * the bytes of its target, if they fit
				      * (else its attribute "post.link") */
	const uint8_t *value;	     /* X: NULL removes */
	size_t value_len;
};

/* What the records before said: a record is coded as its difference from it.
 * Zeroed before the first of a batch; changed by success only. */
struct ulog_prev {
	uint64_t lamport, number; /* of the record before */
	uint64_t created;	  /* number of the last object created */
	int64_t time_ns, mtime_s;
	struct ulog_oid dir, to_dir;
	uint32_t mode, uid, gid;
};

/* One record into buf.  ERR_RANGE: cap is too small; ULOG_RECORD_MAX never
 * is.  Asserts that the record is one: names without '/' and NUL, not "." or
 * "..", 1 to ULOG_NAME_MAX bytes; numbers, devices and lengths in range. */
enum err ulog_record_encode(const struct ulog_record *r, struct ulog_prev *prev,
    uint8_t *buf, size_t cap, size_t *len) MUST_CHECK;
/* Pointers in *out are borrowed from the bytes. *used: bytes consumed.
 * ERR_NEWER: an op of a later version.  A recipe is bounded but not looked
 * into; that is content_check()'s. */
enum err ulog_record_decode(const uint8_t *bytes, size_t len,
    struct ulog_prev *prev, struct ulog_record *out, size_t *used) MUST_CHECK;

/* ---- batches ------------------------------------------------------------ */

struct ulog_batch_info {
	struct id device;	 /* whose log */
	/* Of its first record; 1 is the log's first.  The parts of a snapshot
	 * count their own records, from 1. */
	uint64_t first_sequence;
	uint32_t records; /* told by a reader; not asked of a writer */
	bool snapshot;		 /* records make a tree from nothing */
	uint32_t snapshot_part;	 /* 0, 1, ... of one snapshot */
	bool snapshot_last;
	uint64_t snapshot_of;	 /* sequence the snapshot stands for */
	/* back[0] is the batch before, back[i] the one 2^i before this, as far
	 * as there are; first_sequence of each with it, so strictly falling.
	 * In a snapshot: the parts before. */
	unsigned backs;
	struct {
		struct id id;
		uint64_t first_sequence;
	} back[ULOG_BACK_MAX];
	unsigned devices; /* table; [0] is `device` */
	struct id device_table[ULOG_DEVICES_MAX];
};

struct ulog_batch; /* being built */
/* Asserts that info is one (ranges, devices >= 1 and all distinct). */
enum err ulog_batch_new(
    const struct ulog_batch_info *info, struct ulog_batch **out) MUST_CHECK;
/* ERR_RANGE: full; seal it and begin another.  Any one record fits an empty
 * batch.  Asserts what ulog_record_encode() does, that devices are in the
 * table, and, but for snapshots, that stamps increase strictly. */
enum err ulog_batch_add(
    struct ulog_batch *b, const struct ulog_record *r) MUST_CHECK;
/* This part of a snapshot is its last. */
void ulog_batch_last(struct ulog_batch *b);
/* The plaintext, borrowed until the next call; adding may go on after it.
 * ERR_INVALID: no record is in it, and it is no snapshot. */
enum err ulog_batch_bytes(
    struct ulog_batch *b, const uint8_t **bytes, size_t *len) MUST_CHECK;
void ulog_batch_free(struct ulog_batch *b); /* NULL is allowed */

struct ulog_reader {
	struct ulog_batch_info info;
	const uint8_t *p, *end;
	uint32_t left;
	uint64_t sequence; /* of the record that comes next */
	struct ulog_prev prev;
};
/* The bytes are borrowed for the reader's life.  ERR_NEWER: a later version. */
enum err ulog_reader_init(
    struct ulog_reader *r, const uint8_t *bytes, size_t len) MUST_CHECK;
/* ERR_ABSENT at the end (and only if nothing is left over).  Pointers in *out
 * are borrowed from the bytes. */
enum err ulog_reader_next(
    struct ulog_reader *r, struct ulog_record *out) MUST_CHECK;

/* The key that seals the batch beginning at a sequence number; for a part of
 * a snapshot (snapshot, part), `sequence` is what the snapshot stands for.  A
 * key is for one plaintext: whoever seals other bytes under the same numbers
 * again (say after a crash) must do so in a way that bears it. */
void ulog_batch_key(const struct key *log_key, uint64_t sequence,
    bool snapshot, uint32_t part, struct key *out);

/* The key that seals the recent records inside the head of that sequence. */
void ulog_recent_key(
    const struct key *log_key, uint64_t head_sequence, struct key *out);

/* ---- heads -------------------------------------------------------------- */

#define ULOG_HEAD_MAX 8192u

struct ulog_head {
	struct id user, device;	 /* ids of their public keys */
	uint8_t device_public[SIGN_PUBLIC_BYTES];
	uint64_t sequence;	 /* of the head itself, from 1; increasing */
	uint64_t record_sequence; /* of the newest record it covers */
	uint64_t lamport;
	int64_t time_ns;
	bool has_batch;		 /* newest batch */
	struct id batch;
	uint64_t batch_first;	 /* its first_sequence */
	bool has_snapshot;	 /* newest snapshot: its last part */
	struct id snapshot;
	uint64_t snapshot_of;
	uint32_t snapshot_parts; /* from 1 */
	const uint8_t *recent;	 /* sealed recent records, not in a batch yet */
	size_t recent_len;
};

/* The device and its public key are device_key's, whatever h says of them.
 * ERR_RANGE: over cap or ULOG_HEAD_MAX: recent is too long.  Asserts
 * batch_first and snapshot_of in range of record_sequence. */
enum err ulog_head_encode(const struct ulog_head *h,
    const struct sign_key *device_key, uint8_t *buf, size_t cap,
    size_t *len) MUST_CHECK;
/* Verifies the signature (ERR_BADSIG) under the public key it names; `device`
 * is that key's id.  That the device belongs to the user is the certificate's
 * to say.  `recent` is borrowed.  ERR_NEWER: a later version. */
enum err ulog_head_decode(
    const uint8_t *bytes, size_t len, struct ulog_head *out) MUST_CHECK;

#endif
