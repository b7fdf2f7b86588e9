/* mime.h - a mail, cut at its MIME boundaries (RFC 2045, 2046).
 *
 * The result is a list of slices that cover the mail exactly, in order:
 * skeleton text (headers, boundaries, preambles, small bodies) and leaf
 * bodies of MIME_LEAF_MIN bytes and more.  A base64 body whose lines are
 * regular is given decoded too, with what is needed to make the very same
 * text again.  Nothing in a malformed mail is an error: what is not
 * understood is skeleton or an undecoded leaf, so that cutting can not lose a
 * byte.  Pure; no allocation but the list's. */
#ifndef POST_STORE_MIME_H
#define POST_STORE_MIME_H

#include "overlay/base/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIME_LEAF_MIN 4096u /* as transmitted; below, a body is skeleton */
#define MIME_DEPTH_MAX 20u  /* deeper multiparts are leaves */
#define MIME_SLICES_MAX 65536u

enum mime_kind {
	MIME_SKELETON, /* text around the leaves */
	MIME_LEAF,     /* a body as transmitted */
	MIME_BASE64,   /* the base64 lines of a body, which decode exactly */
};

struct mime_slice {
	enum mime_kind kind;
	size_t off, len; /* in the mail */

	/* MIME_BASE64 only */
	size_t decoded_len;
	uint16_t line_len; /* characters of each full line, multiple of 4 */
	uint8_t crlf;	   /* 1: lines end CRLF; 0: LF */
	uint8_t last_eol;  /* 1: the last line has its line end */
};

/* Cut `mail`; *slices (caller frees) covers [0, len).  Adjacent skeletons are
 * merged.  ERR_NOMEM only. */
enum err mime_cut(const uint8_t *mail, size_t len, struct mime_slice **slices,
    size_t *count) MUST_CHECK;

/* Does it look like a mail at all: starts with a header field or an mbox-like
 * "From " line, and has no NUL in its first KiB? */
bool mime_is_mail(const uint8_t *bytes, size_t len);

/* The decoded bytes of a MIME_BASE64 slice, to out[decoded_len]. */
void mime_decode(
    const uint8_t *mail, const struct mime_slice *s, uint8_t *out);

/* How long decoded_len bytes are once encoded with these lines. */
size_t mime_encoded_len(size_t decoded_len, uint16_t line_len, uint8_t crlf,
    uint8_t last_eol);

/* Encode any part of that text: [off, off + len) of the encoded form, to out.
 * `decoded` holds all decoded bytes. */
void mime_encode_range(const uint8_t *decoded, size_t decoded_len,
    uint16_t line_len, uint8_t crlf, uint8_t last_eol, size_t off, size_t len,
    uint8_t *out);

#endif
