/* lmdb_file.h - an LMDB environment's file before LMDB has it and after: what
 * its first pages say, how long it is, whether it can grow. */
#ifndef POST_STORE_DB_LMDB_FILE_H
#define POST_STORE_DB_LMDB_FILE_H

#include "store/db/lmdb_tree.h"

#include <stdbool.h>

/* Address space, not bytes: never grown, and more than an index needs. */
#define LMDB_MAP_BYTES ((size_t)64 << 30)

/* The first two pages of a file of LMDB 0.9 (data version 1), in the byte
 * order and word size of this machine: the one that has the higher txnid is
 * in force, the other has the commit before it. */
struct lmdb_meta {
	uint64_t pgno;
	uint16_t pad, flags, lower, upper;
	uint32_t magic, version;
	uint64_t address, map_size;
	struct lmdb_db db[2]; /* free pages (pad: page size), names */
	uint64_t last_pgno, txnid;
};

_Static_assert(sizeof(size_t) == 8, "LMDB's page numbers are size_t");
_Static_assert(sizeof(struct lmdb_meta) == 152, "as LMDB has it");

/* Can it be page `pgno` of a file of so many bytes? */
bool lmdb_meta_is_sane(
    const struct lmdb_meta *m, uint64_t pgno, uint64_t file_bytes);

/* Can LMDB be given the file in directory `path`?  ERR_ABSENT: there is none
 * yet. */
enum err lmdb_file_check(const char *path) MUST_CHECK;

/* LMDB does not write pages that a transaction took and gave back, so a sound
 * file may end before its last page, just as a truncated one does.  Keep it
 * longer than it need be, and the two can be told apart.  Failing costs no
 * more than a false alarm after a crash in between. */
void lmdb_file_keep_ahead(int fd, uint64_t used_bytes);

/* LMDB makes EIO of a write that ended early, which is how a disk first says
 * that it is full.  Ask for a little more room to learn which it was: 0, or
 * an errno. */
int lmdb_file_probe(int fd);

/* Ask the kernel for its first `max` bytes, without waiting for them. */
void lmdb_file_warm(int fd, uint64_t max);

enum err lmdb_file_sync_dir(const char *path) MUST_CHECK;

#endif
