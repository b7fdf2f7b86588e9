/* header.h - one field of a message's header, as it stands there.
 *
 * For people who watch: nothing is decoded (RFC 2047 words stay as they are),
 * nothing allocated.  Bytes come from anyone; whatever they are, the answer
 * is some text or "not there". */
#ifndef POST_FS_HEADER_H
#define POST_FS_HEADER_H

#include <stdbool.h>
#include <stddef.h>

/* How much of a message is read to find its From and Subject. */
#define HEADER_READ_MAX 16384u

/* The first field of that name (case does not matter): unfolded, each fold one
 * blank, without blanks at its ends, cut to cap - 1 bytes, NUL-terminated; NUL
 * bytes in it become '?'.  An mbox "From " line at the start is passed over.
 * False, and "" in out, if there is no such field in these bytes. */
bool header_field(
    const char *bytes, size_t len, const char *name, char *out, size_t cap);

/* Do the bytes begin as a mail's header does, with a field's name and a colon?
 */
bool header_begins(const char *bytes, size_t len);

/* Is the header's end (an empty line) within these bytes? */
bool header_complete(const char *bytes, size_t len);

#endif
