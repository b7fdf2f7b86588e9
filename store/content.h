/* content.h - what a file holds, as blocks: recipes.
 *
 * A content is a short program (a recipe) that says how to make the file's
 * bytes again.  It stands in the inode's row and in the log record, so it is
 * small; a long one is sealed as a block of its own and the row keeps one
 * SUB.  Ops, one after another:
 *
 *   LIT   varint len, bytes           these bytes
 *   BLK   ref                         the plaintext of a block
 *   B64   ref list, line_len, flags   decoded base64 from one or more blocks,
 *                                     encoded again on the way out
 *   SUB   ref, varint out_len         the output of the recipe in that block
 *   ZERO  varint len                  a hole
 *
 * The format is at the top of content.c and in FORMAT.md, "Recipes".
 * A mail's recipe: one SUB (its meta block: headers, boundaries and small
 * bodies as LIT, large parts as BLK or B64), or one BLK if it has no part of
 * its own.  A large recipe nests, so that a file's size is not bounded by a
 * block's.
 *
 * Reading is random access: a read opens only the blocks its range needs. */
#ifndef POST_STORE_CONTENT_H
#define POST_STORE_CONTENT_H

#include "overlay/base/outcome.h"
#include "store/seal.h"

#include <stdbool.h>

#define CONTENT_MAX 256u      /* bytes of a recipe in a row or record */
#define CONTENT_DEPTH_MAX 8u  /* of SUB within SUB */

/* len 0 is the empty file. */
struct content {
	uint16_t len;
	uint8_t bytes[CONTENT_MAX];
};

/* Where sealed blocks go and come from (blockdb, or the network later). */
struct content_sink {
	void *arg;
	enum err (*put)(
	    void *arg, const struct id *id, const void *block, size_t len);
};
struct content_source {
	void *arg;
	/* *block is the caller's to free.  ERR_UNREACHABLE: not here now. */
	enum err (*get)(
	    void *arg, const struct id *id, uint8_t **block, size_t *len);
};

/* ---- writing ------------------------------------------------------------ */

/* Store `len` bytes that are all in memory.  `mail`: try a MIME cut first;
 * the cut is rejoined and compared before anything is given to the sink, and
 * what does not come back byte-exact is stored as plain chunks. */
enum err content_store(struct sealer *s, const struct content_sink *sink,
    const uint8_t *bytes, size_t len, bool mail, struct content *out) MUST_CHECK;

/* Store a file too large for memory: read it in order through `read` (exactly
 * len bytes at off).  Plain chunks; runs of zeros of 64 KiB and more become
 * holes. */
typedef enum err content_read_fn(
    void *arg, uint64_t off, void *buf, size_t len);
enum err content_store_stream(struct sealer *s,
    const struct content_sink *sink, uint64_t size, content_read_fn *read,
    void *arg, struct content *out) MUST_CHECK;

/* ---- reading ------------------------------------------------------------ */

/* A cache of opened blocks and parsed recipes over a source; any thread. */
struct content_reader;
enum err content_reader_new(struct sealer *s,
    const struct content_source *source, size_t cache_bytes,
    struct content_reader **out) MUST_CHECK;
void content_reader_free(struct content_reader *r); /* NULL is allowed */

/* Read [off, off + len), short at the end.  ERR_MALFORMED: the recipe is not
 * one; ERR_CORRUPT: a block does not open; ERR_UNREACHABLE and the like: the
 * source's. */
enum err content_read(struct content_reader *r, const struct content *c,
    uint64_t off, void *buf, size_t len, size_t *got) MUST_CHECK;

/* The length of the output (from the recipe; no block is opened). */
enum err content_size(const struct content *c, uint64_t *size) MUST_CHECK;

/* Call fn for each block the content needs, nested recipes' too (those are
 * read through r).  For scrub, leases, replication. */
typedef enum err content_ref_fn(void *arg, const struct block_ref *ref);
enum err content_refs(struct content_reader *r, const struct content *c,
    content_ref_fn *fn, void *arg) MUST_CHECK;

/* Check a recipe's syntax (bytes from outside). */
enum err content_check(const uint8_t *bytes, size_t len) MUST_CHECK;

#endif
