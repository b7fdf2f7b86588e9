/* names.h - what making, removing and renaming have in common (names.c).
 * Private to the files of an open store. */
#ifndef POST_STORE_NAMES_H
#define POST_STORE_NAMES_H

#include "store/store_private.h"

#define LINKS_MAX 65000u
#define DIR_DEPTH_MAX 100000u

uint8_t type_of(uint32_t mode); /* DT_* */
enum err check_name(const char *name) MUST_CHECK;

/* A directory that entries may be changed in. */
enum err get_dir_for_change(struct store *s, struct index_txn *txn,
    uint64_t ino, struct inode *out) MUST_CHECK;
enum err dir_is_empty(
    struct store *s, struct index_txn *txn, uint64_t dir) MUST_CHECK;
bool is_user_root(const struct inode *in);

/* Would `name` in `dir` be local-only?  What is a directory of that name for
 * (enum inode_data, DATA_DIR*)? */
bool entry_is_local(struct store *s, const struct inode *dir,
    const char *name, bool is_dir);
uint8_t dir_purpose(struct store *s, const char *name);
bool counts_as_message(
    const struct inode *dir, const struct inode *in, bool local);
void set_name(struct entry *e, const char *name);

/* Records of the log, into a change.  record_create: what was just made;
 * record_enter: what was here already but not in the log, and may have got
 * attributes meanwhile. */
void record_enter(struct change *c, struct index_txn *txn,
    const struct inode *in, uint64_t dir, const char *name, int64_t now);
void record_create(struct change *c, const struct inode *in, uint64_t dir,
    const char *name, int64_t now);
void record_name(struct change *c, enum ulog_op op, const struct inode *in,
    uint64_t dir, const char *name, int64_t now);
/* over: what the new name stood for (replaced, or swapped), or NULL. */
void record_move(struct change *c, enum ulog_op op, const struct inode *in,
    uint64_t dir, const char *name, uint64_t to, const char *to_name,
    const struct inode *over, int64_t now);

/* Take an entry away from `parent`, which the caller then puts.  *gone: no
 * name is left.  record: tell the log. */
void take_entry(struct change *c, struct inode *parent,
    const struct entry *entry, struct inode *in, int64_t now, bool record,
    bool *gone);
/* Commit a change by which `gone` (may be NULL) loses its last name. */
enum err commit_removal(struct store *s, struct index_txn *txn,
    struct change *c, const struct inode *gone, uint64_t *lsn) MUST_CHECK;

#endif
