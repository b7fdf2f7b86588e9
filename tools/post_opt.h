/* post_opt.h - options of the command line: one table says how an option is
 * spelt, where its value goes, and what help prints about it.
 *
 * Options may stand before, between and after the arguments; "--" ends them.
 * Spellings: --name, --name VALUE, --name=VALUE, -x, -x VALUE, -xVALUE, and
 * flags together (-fv).  Pure: nothing is printed, nothing is static. */
#ifndef POST_TOOLS_POST_OPT_H
#define POST_TOOLS_POST_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum opt_kind {
	OPT_FLAG, /* bool *into becomes true */
	OPT_TEXT, /* const char **into: borrowed from argv; the last counts */
	OPT_JOIN, /* char **into: all values joined with ','; caller frees */
	OPT_NUMBER, /* uint64_t *into: decimal digits */
};

struct opt {
	const char *name; /* without "--"; NULL if it has only a letter */
	char letter; /* 0 if it has only a name */
	enum opt_kind kind;
	void *into;
	const char *arg; /* what help calls the value; NULL for a flag */
	const char *help; /* NULL: not shown */
};

/* Take the options out of argv[0..*argc), whose rest moves to the front; with
 * `stop`, only up to the first argument.  The table ends with a zeroed entry.
 * False: `why` says "--frobnicate: no such option". */
bool opt_parse(const struct opt *opts, bool stop, int *argc, char **argv,
    char *why, size_t why_cap);

/* Two columns, as --help shows them. */
void opt_help(const struct opt *opts, FILE *out);

#endif
