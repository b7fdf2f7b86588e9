#include "store/content_private.h"

/* Recipe: ops, one after another, to the end of the bytes.
 *
 *   LIT   u8 1, varint len, len bytes
 *   BLK   u8 2, ref
 *   B64   u8 3, varint count, count times ref, varint line_len / 4, u8 flags
 *   SUB   u8 4, ref, varint out_len
 *   ZERO  u8 5, varint len
 *   ref   id[32], key[32], varint plain_len
 *
 * No length is 0 and no count; plain_len <= SEAL_PLAIN_MAX; line_len <= 65532;
 * flags: 1 lines end CR LF (else LF), 2 the last line has its end; the sum of
 * the ops' outputs is < 2^63.  B64's output is the base64 of its blocks'
 * plaintexts taken as one, in lines of line_len characters, padded.  SUB's
 * output is that of the recipe in its block, which makes out_len bytes.
 *
 * The same file may have several recipes; a reader follows what it finds. */

void
ref_put(struct wr *w, const struct block_ref *ref)
{
	wr_bytes(w, ref->id.b, ID_BYTES);
	wr_bytes(w, ref->key.b, KEY_BYTES);
	wr_varint(w, ref->plain_len);
}

bool
ref_take(struct rd *r, struct block_ref *ref)
{
	uint64_t len;

	rd_bytes(r, ref->id.b, ID_BYTES);
	rd_bytes(r, ref->key.b, KEY_BYTES);
	len = rd_varint(r);
	if (r->bad || len < 1 || len > SEAL_PLAIN_MAX)
		return false;
	ref->plain_len = (uint32_t)len;
	return true;
}

void
recipe_put_lit(struct wr *w, uint64_t len)
{
	wr_be(w, RECIPE_LIT, 1);
	wr_varint(w, len);
}

void
recipe_put_blk(struct wr *w, const struct block_ref *ref)
{
	wr_be(w, RECIPE_BLK, 1);
	ref_put(w, ref);
}

void
recipe_put_b64(struct wr *w, uint64_t count)
{
	wr_be(w, RECIPE_B64, 1);
	wr_varint(w, count);
}

void
recipe_put_b64_end(
    struct wr *w, uint16_t line_len, uint8_t crlf, uint8_t last_eol)
{
	wr_varint(w, line_len / 4u);
	wr_be(
	    w, (crlf ? RECIPE_CRLF : 0) | (last_eol ? RECIPE_LAST_EOL : 0), 1);
}

void
recipe_put_sub(struct wr *w, const struct block_ref *ref, uint64_t out_len)
{
	wr_be(w, RECIPE_SUB, 1);
	ref_put(w, ref);
	wr_varint(w, out_len);
}

void
recipe_put_zero(struct wr *w, uint64_t len)
{
	wr_be(w, RECIPE_ZERO, 1);
	wr_varint(w, len);
}

static enum err
take_b64(struct rd *r, struct recipe_op *op)
{
	uint64_t count = rd_varint(r), quads, flags;
	struct block_ref ref;

	/* every ref takes bytes, so the bytes left bound the loop */
	if (r->bad || count == 0 || count > rd_left(r))
		return ERR_MALFORMED;
	op->count = (uint32_t)count;
	op->decoded_len = 0;
	op->refs = *r;
	for (uint64_t i = 0; i < count; i++) {
		if (!ref_take(r, &ref))
			return ERR_MALFORMED;
		op->decoded_len += ref.plain_len;
	}
	quads = rd_varint(r);
	flags = rd_be(r, 1);
	if (r->bad || quads < 1 || quads > UINT16_MAX / 4 ||
	    flags > (RECIPE_CRLF | RECIPE_LAST_EOL))
		return ERR_MALFORMED;
	op->line_len = (uint16_t)(4 * quads);
	op->crlf = (flags & RECIPE_CRLF) != 0;
	op->last_eol = (flags & RECIPE_LAST_EOL) != 0;
	op->out_len = mime_encoded_len(
	    op->decoded_len, op->line_len, op->crlf, op->last_eol);
	return OK;
}

enum err
recipe_next(struct rd *r, struct recipe_op *op)
{
	uint64_t kind = rd_be(r, 1);

	switch (kind) {
	case RECIPE_LIT:
		op->out_len = rd_varint(r);
		if (r->bad || op->out_len > rd_left(r))
			return ERR_MALFORMED;
		op->lit = rd_take(r, (size_t)op->out_len);
		break;
	case RECIPE_BLK:
		if (!ref_take(r, &op->ref))
			return ERR_MALFORMED;
		op->out_len = op->ref.plain_len;
		break;
	case RECIPE_B64:
		if (take_b64(r, op))
			return ERR_MALFORMED;
		break;
	case RECIPE_SUB:
		if (!ref_take(r, &op->ref))
			return ERR_MALFORMED;
		op->out_len = rd_varint(r);
		break;
	case RECIPE_ZERO:
		op->out_len = rd_varint(r);
		break;
	default:
		return ERR_MALFORMED;
	}
	if (r->bad || op->out_len == 0 || op->out_len > CONTENT_SIZE_MAX)
		return ERR_MALFORMED;
	op->kind = (enum recipe_kind)kind;
	return OK;
}

enum err
recipe_len(const uint8_t *bytes, size_t len, uint64_t *out_len)
{
	struct recipe_op op;
	uint64_t sum = 0;
	struct rd r;

	rd_init(&r, bytes, len);
	while (rd_left(&r)) {
		if (recipe_next(&r, &op) || op.out_len > CONTENT_SIZE_MAX - sum)
			return ERR_MALFORMED;
		sum += op.out_len;
	}
	*out_len = sum;
	return OK;
}

enum err
content_check(const uint8_t *bytes, size_t len)
{
	uint64_t size;

	return recipe_len(bytes, len, &size);
}

enum err
content_size(const struct content *c, uint64_t *size)
{
	if (c->len > CONTENT_MAX)
		return ERR_MALFORMED;
	return recipe_len(c->bytes, c->len, size);
}
