#include "tools/post_mbox.h"

#include "tools/post_date.h"

#include <string.h>
#include <strings.h>

static const char from_[] = "From ";
#define FROM_LEN (sizeof(from_) - 1)

static bool
starts_from(const uint8_t *p, size_t len)
{
	return len >= FROM_LEN && memcmp(p, from_, FROM_LEN) == 0;
}

/* Empty lines at the head of a window. */
static size_t
skip_empty(const uint8_t *w, size_t len)
{
	size_t at = 0;

	for (;;) {
		if (at < len && w[at] == '\n')
			at++;
		else if (at + 1 < len && w[at] == '\r' && w[at + 1] == '\n')
			at += 2;
		else
			return at;
	}
}

/* The first From_ line at or after *at that separates: *at is then the line
 * end before it, *sep where the message before it ends.  False: none yet, and
 * *at is where to go on when there is more. */
static bool
find_separator(const struct mbox *m, const uint8_t *w, size_t len, bool at_end,
    size_t start, size_t *at, size_t *sep)
{
	while (*at < len) {
		const uint8_t *p =
		    memmem(w + *at, len - *at, "\nFrom ", FROM_LEN + 1);
		const uint8_t *end;
		int64_t seconds;
		size_t nl;

		if (!p) {
			/* Its first bytes may stand at the window's end. */
			size_t back =
			    len - *at < FROM_LEN ? len - *at : FROM_LEN;
			*at = len - back;
			return false;
		}
		nl = (size_t)(p - w);
		*at = nl;
		end = memchr(p + 1, '\n', len - nl - 1);
		if (!end && !at_end)
			return false; /* not all of that line is here */
		if (!end)
			end = w + len;
		if (nl > start && w[nl - 1] == '\r' && nl - 1 >= start &&
		    w[nl - 2] == '\n')
			*sep = nl - 1;
		else if (w[nl - 1] == '\n')
			*sep = nl;
		else {
			*at = nl + 1;
			continue; /* the line before is not empty */
		}
		if (m->lax || date_from_line((const char *)p + 1,
				  (size_t)(end - p) - 1, &seconds))
			return true;
		*at = nl + 1;
	}
	return false;
}

/* Where a message that is the file's last ends: without one empty line. */
static size_t
trim_last(const uint8_t *w, size_t start, size_t end)
{
	if (end - start >= 2 && w[end - 1] == '\n' && w[end - 2] == '\n')
		return end - 1;
	if (end - start >= 3 && w[end - 1] == '\n' && w[end - 2] == '\r' &&
	    w[end - 3] == '\n')
		return end - 2;
	if (end - start == 1 && w[start] == '\n')
		return start; /* an empty message and its empty line */
	if (end - start == 2 && w[start] == '\r' && w[start + 1] == '\n')
		return start;
	return end;
}

enum mbox_got
mbox_next(struct mbox *m, const uint8_t *window, size_t len, bool at_end,
    struct mbox_message *out)
{
	size_t head = skip_empty(window, len), start, sep;
	const uint8_t *line_end;

	if (len - head < FROM_LEN && !at_end)
		return MBOX_MORE;
	if (head == len)
		return MBOX_END;
	if (!starts_from(window + head, len - head))
		return MBOX_NONE;
	line_end = memchr(window + head, '\n', len - head);
	if (!line_end && !at_end)
		return MBOX_MORE;
	start = line_end ? (size_t)(line_end - window) + 1 : len;
	out->dated = date_from_line(
	    (const char *)window + head, start - head, &out->seconds);
	if (!m->begun) {
		m->begun = true;
		m->lax = !out->dated;
	}
	/* From the From_ line's own line end on: an empty message. */
	if (m->scan < start)
		m->scan = start;
	out->off = start;
	if (find_separator(m, window, len, at_end, start, &m->scan, &sep)) {
		out->len = sep - start;
		out->next = m->scan + 1;
		out->last = false;
		m->scan = 0;
		return MBOX_MESSAGE;
	}
	if (!at_end)
		return MBOX_MORE;
	out->len = trim_last(window, start, len) - start;
	out->next = len;
	out->last = true;
	m->scan = 0;
	return MBOX_MESSAGE;
}

size_t
mbox_unquote(uint8_t *bytes, size_t len)
{
	size_t to = 0, at = 0;

	while (at < len) {
		const uint8_t *nl = memchr(bytes + at, '\n', len - at);
		size_t end = nl ? (size_t)(nl - bytes) + 1 : len;
		size_t quote = at;

		while (quote < end && bytes[quote] == '>')
			quote++;
		if (quote > at && starts_from(bytes + quote, end - quote))
			at++;
		memmove(bytes + to, bytes + at, end - at);
		to += end - at;
		at = end;
	}
	return to;
}

bool
mbox_is(const uint8_t *bytes, size_t len)
{
	size_t head = skip_empty(bytes, len);

	return starts_from(bytes + head, len - head);
}

const char *
mail_header(
    const uint8_t *mail, size_t len, const char *name, size_t *value_len)
{
	size_t name_len = strlen(name), at = 0;

	while (at < len && mail[at] != '\n' &&
	       !(mail[at] == '\r' && at + 1 < len && mail[at + 1] == '\n')) {
		const uint8_t *nl = memchr(mail + at, '\n', len - at);
		size_t end = nl ? (size_t)(nl - mail) + 1 : len;
		size_t from = at + name_len;

		/* Lines that begin with a blank continue this field. */
		while (end < len && (mail[end] == ' ' || mail[end] == '\t')) {
			nl = memchr(mail + end, '\n', len - end);
			end = nl ? (size_t)(nl - mail) + 1 : len;
		}
		if (from < end && mail[from] == ':' &&
		    strncasecmp((const char *)mail + at, name, name_len) == 0) {
			from++;
			while (from < end && strchr(" \t\r\n", mail[from]) &&
			       mail[from])
				from++;
			while (end > from && mail[end - 1] &&
			       strchr(" \t\r\n", mail[end - 1]))
				end--;
			*value_len = end - from;
			return (const char *)mail + from;
		}
		at = end;
	}
	return NULL;
}

void
mail_status(const uint8_t *mail, size_t len, char flags[8], bool *is_new)
{
	/* mbox letter, Maildir letter; in Maildir's order */
	static const char of_status[][2] = { { 'T', 'D' }, { 'F', 'F' },
		{ 'A', 'R' }, { 'R', 'S' }, { 'D', 'T' } };
	size_t status_len = 0, x_len = 0, n = 0;
	const char *status = mail_header(mail, len, "Status", &status_len);
	const char *x = mail_header(mail, len, "X-Status", &x_len);

	*is_new = !status || (!memchr(status, 'R', status_len) &&
				 !memchr(status, 'O', status_len));
	for (size_t i = 0; i < sizeof(of_status) / 2; i++) {
		char in = of_status[i][0];
		/* Only R is Status:'s; its O is no flag. */
		const char *where = in == 'R' ? status : x;
		size_t where_len = in == 'R' ? status_len : x_len;

		if (where && memchr(where, in, where_len))
			flags[n++] = of_status[i][1];
	}
	flags[n] = '\0';
}

bool
mail_is_internal(const uint8_t *mail, size_t len)
{
	static const char subject[] = "DON'T DELETE THIS MESSAGE -- FOLDER "
				      "INTERNAL DATA";
	size_t n;
	const char *s = mail_header(mail, len, "Subject", &n);

	return s && n == sizeof(subject) - 1 && memcmp(s, subject, n) == 0 &&
	       mail_header(mail, len, "X-IMAP", &n);
}
