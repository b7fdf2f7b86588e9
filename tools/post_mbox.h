/* post_mbox.h - an mbox file, split into its messages; and what a message's
 * own header says of its state.
 *
 * A message begins at a "From " line that stands at the start or after an
 * empty line and has a date; where the file's first From_ line has none, no
 * date is asked of the others.  The From_ line is not part of the message,
 * nor is the one empty line before the next From_ line or at the end.  All
 * other bytes are kept as they are.  In mboxo files lines that began with
 * "From " were written as ">From ", which can not be told from such lines that
 * were there before; only mboxrd can be undone (mbox_unquote).  Line ends may
 * be LF or CRLF.
 *
 * Pure: works on a window of the file, which begins at a From_ line. */
#ifndef POST_TOOLS_POST_MBOX_H
#define POST_TOOLS_POST_MBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mbox {
	bool begun; /* the first From_ line was seen */
	bool lax; /* it had no date */
	size_t scan; /* of the window: searched so far */
};

struct mbox_message {
	size_t off, len; /* of its bytes, in the window */
	size_t next; /* where the window begins for the next one */
	bool last; /* nothing but empty lines comes after it */
	bool dated; /* the From_ line has a date: */
	int64_t seconds;
};

enum mbox_got {
	MBOX_MESSAGE, /* *out is filled in; go on at out->next */
	MBOX_MORE, /* call again with more of the file in the window */
	MBOX_END, /* no message is left */
	MBOX_NONE, /* this is no mbox */
};

/* The next message of window[0..len), which holds the file's rest if
 * `at_end`.  *m is zeroed before the first call. */
enum mbox_got mbox_next(struct mbox *m, const uint8_t *window, size_t len,
    bool at_end, struct mbox_message *out);

/* Take one '>' from each line that is '>'s and then "From ", in place; the
 * new length. */
size_t mbox_unquote(uint8_t *bytes, size_t len);

/* Could these first bytes of a file begin an mbox? */
bool mbox_is(const uint8_t *bytes, size_t len);

/* The value of the first header field of this name ("Date"), with its
 * continuation lines, without the blanks around it; NULL if there is none. */
const char *mail_header(
    const uint8_t *mail, size_t len, const char *name, size_t *value_len);

/* What Status: and X-Status: say, as Maildir flags in order ("FRS"; room for
 * 8); *is_new if there is no Status: field, or one without R and O. */
void mail_status(const uint8_t *mail, size_t len, char flags[8], bool *is_new);

/* The message that UW imapd and others keep at the head of a mailbox for
 * themselves; it is nobody's mail. */
bool mail_is_internal(const uint8_t *mail, size_t len);

#endif
