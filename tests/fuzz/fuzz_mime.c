/* Whatever a mail is, its slices cover it, and each makes its own bytes. */
#include "store/mime.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
must(bool true_always)
{
	if (!true_always)
		abort();
}

/* Whole, and from the middle of a line. */
static void
must_return(const uint8_t *mail, const struct mime_slice *s)
{
	uint8_t *plain = malloc(s->decoded_len), *text = malloc(s->len);
	size_t from = s->len / 3;

	must(plain && text);
	must(mime_encoded_len(
		 s->decoded_len, s->line_len, s->crlf, s->last_eol) == s->len);
	mime_decode(mail, s, plain);
	mime_encode_range(plain, s->decoded_len, s->line_len, s->crlf,
	    s->last_eol, 0, s->len, text);
	must(memcmp(text, mail + s->off, s->len) == 0);
	mime_encode_range(plain, s->decoded_len, s->line_len, s->crlf,
	    s->last_eol, from, s->len - from, text);
	must(memcmp(text, mail + s->off + from, s->len - from) == 0);
	free(plain);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mime_slice *slice;
	size_t count, pos = 0;

	(void)mime_is_mail(bytes, len);
	if (mime_cut(bytes, len, &slice, &count))
		return 0;
	for (size_t i = 0; i < count; i++) {
		const struct mime_slice *s = &slice[i];

		must(s->off == pos && s->len > 0 && s->len <= len - pos);
		pos += s->len;
		if (s->kind == MIME_BASE64)
			must_return(bytes, s);
	}
	must(pos == len);
	free(slice);
	return 0;
}
