/* post_keywords.h - the file dovecot-keywords: what the letters a to z in the
 * names of one Maildir's messages mean.
 *
 *   lines of  NUMBER ' ' KEYWORD LF      number 0 is letter a
 *
 * Pure. */
#ifndef POST_TOOLS_POST_KEYWORDS_H
#define POST_TOOLS_POST_KEYWORDS_H

#include <stdbool.h>
#include <stddef.h>

#define KEYWORDS_FILE "dovecot-keywords"
#define KEYWORDS_MAX 26
#define KEYWORD_BYTES_MAX 128

struct keywords {
	char name[KEYWORDS_MAX][KEYWORD_BYTES_MAX + 1]; /* "": free */
	bool changed; /* since keywords_read() */
};

/* Lines that are none are passed over.  A keyword that is too long, or that
 * has a blank or a control in it, is none. */
void keywords_read(struct keywords *k, const char *text, size_t len);
/* The file's text, to out[cap]; its length.  KEYWORDS_TEXT_MAX is room
 * enough. */
#define KEYWORDS_TEXT_MAX (KEYWORDS_MAX * (KEYWORD_BYTES_MAX + 5))
size_t keywords_write(const struct keywords *k, char *out, size_t cap);

/* The letter of a keyword, which is added if there is none; 0 if all 26 are
 * taken or it is no keyword. */
char keywords_letter(struct keywords *k, const char *name, size_t len);
/* The keyword of a letter; NULL if it has none. */
const char *keywords_name(const struct keywords *k, char letter);

#endif
