/* post_source.h - mail on its way in: files and directories of other
 * programs, read as a sequence of messages.
 *
 *   a file        an mbox if it begins with "From ", else one message
 *   a directory   with cur or new in it: a Maildir; directories in it that
 *                 are Maildirs too are folders, whether named as Maildir++
 *                 does (.Lists.linux) or nested (Lists/linux)
 *                 otherwise: what is in it, down to the bottom: Maildirs and
 *                 mbox files of more than one message become folders named
 *                 after them; .eml files, and others that look like a mail
 *                 (MH folders), are single messages
 *
 * Never changes or locks what it reads. */
#ifndef POST_TOOLS_POST_SOURCE_H
#define POST_TOOLS_POST_SOURCE_H

#include "tools/post.h"
#include "tools/post_keywords.h"

#include <limits.h>

struct source_message {
	const char *folder; /* below the import's own: "", or ".Lists.linux" */
	const char *origin; /* file, for messages */
	uint8_t *bytes; /* borrowed; may be changed in place */
	size_t len;
	int64_t mtime_ns;
	bool is_new; /* nobody has looked at it: no flags */
	char flags[64]; /* Maildir's, capital letters, sorted, each once */
	unsigned keywords;
	const char *keyword[KEYWORDS_MAX]; /* borrowed, not NUL-terminated */
	size_t keyword_len[KEYWORDS_MAX];
};

/* Takes a message; a status that is not STATUS_DONE ends the reading. */
typedef int source_fn(void *arg, struct source_message *m);

struct source {
	source_fn *fn;
	void *arg;
	bool mboxrd; /* undo mboxrd's quoting */
	uint64_t passed_over; /* files that are no mail, internal messages */
	/* working storage */
	uint8_t *buffer;
	size_t cap;
};

/* Read everything at `path`. */
int source_read(struct source *s, const char *path);
void source_fini(struct source *s);

/* About how many bytes that is, for a progress line. */
uint64_t source_bytes(const char *path);

/* Maildir flags of a name's ":2," part: capitals to flags, small letters to
 * letters, both sorted, each once. */
void source_flags(const char *info, char flags[64], char letters[32]);

#endif
