/* content_private.h - recipes as content.c, content_write.c and
 * content_read.c share them, and what their tests look at. */
#ifndef POST_STORE_CONTENT_PRIVATE_H
#define POST_STORE_CONTENT_PRIVATE_H

#include "overlay/base/wire.h"
#include "store/content.h"
#include "store/mime.h"

/* Bytes of the largest file: a file offset is an int64_t to the kernel. */
#define CONTENT_SIZE_MAX ((uint64_t)INT64_MAX)

/* A whole content up to this stands in the row itself: a ref takes 67. */
#define CONTENT_INLINE_MAX 100u

/* Text between parts up to this is a LIT of the recipe; more gets blocks. */
#define CONTENT_LIT_MAX (32u << 10)

/* A recipe block is closed when the next op would make it longer; one op may
 * be longer alone (a B64 of many refs), up to SEAL_PLAIN_MAX. */
#define CONTENT_NODE_MAX (64u << 10)

/* Zeros in a row that become a hole. */
#define CONTENT_HOLE_MIN (64u << 10)

/* Plaintext from which a block of a file that is no mail coalesces among
 * members. */
#define CONTENT_ORG_MIN 4096u

/* Encoded: id, key, varint plain_len (at most 3 bytes). */
#define REF_MAX (ID_BYTES + KEY_BYTES + 3)
#define OP_FIXED_MAX (1 + REF_MAX + VARINT_MAX) /* any op but LIT and B64 */

enum recipe_kind {
	RECIPE_LIT = 1,
	RECIPE_BLK = 2,
	RECIPE_B64 = 3,
	RECIPE_SUB = 4,
	RECIPE_ZERO = 5,
};

#define RECIPE_CRLF 1u /* flags of B64: lines end CR LF */
#define RECIPE_LAST_EOL 2u /* the last line has its line end */

struct recipe_op {
	enum recipe_kind kind;
	uint64_t out_len; /* bytes it makes; at least 1 */

	const uint8_t *lit; /* LIT: out_len bytes, borrowed */
	struct block_ref ref; /* BLK, SUB */

	/* B64 */
	struct rd refs; /* `count` of them, checked */
	uint32_t count;
	uint64_t decoded_len;
	uint16_t line_len;
	uint8_t crlf, last_eol;
};

/* Decode one op; there must be bytes left.  ERR_MALFORMED. */
enum err recipe_next(struct rd *r, struct recipe_op *op) MUST_CHECK;

/* Check all of a recipe; *out_len is the sum of its ops'. */
enum err recipe_len(
    const uint8_t *bytes, size_t len, uint64_t *out_len) MUST_CHECK;

void ref_put(struct wr *w, const struct block_ref *ref);
bool ref_take(struct rd *r, struct block_ref *ref);

/* The encoders of ops; LIT's and B64's only up to where their bytes or refs
 * come. */
void recipe_put_lit(struct wr *w, uint64_t len);
void recipe_put_blk(struct wr *w, const struct block_ref *ref);
void recipe_put_b64(struct wr *w, uint64_t count);
void recipe_put_b64_end(
    struct wr *w, uint16_t line_len, uint8_t crlf, uint8_t last_eol);
void recipe_put_sub(
    struct wr *w, const struct block_ref *ref, uint64_t out_len);
void recipe_put_zero(struct wr *w, uint64_t len);

/* content_store() of a mail, with the cut made elsewhere (by a test that
 * makes it wrong). */
enum err content_store_cut(struct sealer *s, const struct content_sink *sink,
    const uint8_t *bytes, size_t len, const struct mime_slice *slice,
    size_t count, struct content *out) MUST_CHECK;

#endif
