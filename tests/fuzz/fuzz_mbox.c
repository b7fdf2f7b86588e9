/* Any bytes as an mbox: what the splitter gives lies in order within them,
 * the pieces they come in make no difference, and headers and dates of it are
 * read without a step outside.  And as a dovecot-keywords file. */
#include "tools/post_date.c"
#include "tools/post_keywords.c"
#include "tools/post_mbox.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
look(const uint8_t *mail, size_t len)
{
	char flags[8];
	bool is_new;
	int64_t seconds;
	size_t n;
	const char *date = mail_header(mail, len, "Date", &n);
	uint8_t *copy = malloc(len + !len);

	if (date && date_header(date, n, &seconds)) /* of a year we know */
		must(seconds > -2300000000 && seconds < 260000000000);
	mail_status(mail, len, flags, &is_new);
	must(!mail_is_internal(mail, len) || len > 0);
	must(copy != NULL);
	if (len)
		memcpy(copy, mail, len);
	must(mbox_unquote(copy, len) <= len);
	free(copy);
}

/* As a dovecot-keywords file: what was read is written, and read again. */
static void
read_keywords(const uint8_t *bytes, size_t len)
{
	struct keywords k, again;
	char text[KEYWORDS_TEXT_MAX];

	keywords_read(&k, (const char *)bytes, len);
	keywords_read(&again, text, keywords_write(&k, text, sizeof(text)));
	for (unsigned i = 0; i < KEYWORDS_MAX; i++)
		must(strcmp(k.name[i], again.name[i]) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mbox whole = { 0 }, parts = { 0 };
	struct mbox_message a, b;
	size_t at = 0;

	read_keywords(bytes, len);
	for (;;) {
		enum mbox_got got =
		    mbox_next(&whole, bytes + at, len - at, true, &a);
		enum mbox_got in_parts = MBOX_MORE;
		size_t have = (len - at) / 3;

		must(got != MBOX_MORE);
		/* Three steps: a window that grows, then all of it. */
		for (int i = 0; i < 2 && in_parts == MBOX_MORE; i++, have *= 2)
			in_parts =
			    mbox_next(&parts, bytes + at, have, false, &b);
		if (in_parts == MBOX_MORE)
			in_parts =
			    mbox_next(&parts, bytes + at, len - at, true, &b);
		must(in_parts == got || got == MBOX_END);
		if (got != MBOX_MESSAGE)
			break;
		must(a.off == b.off && a.len == b.len && a.next == b.next);
		must(a.off <= len - at && a.len <= len - at - a.off);
		must(a.next >= a.off + a.len && a.next <= len - at &&
		     a.next > 0);
		look(bytes + at + a.off, a.len);
		at += a.next;
	}
	return 0;
}
