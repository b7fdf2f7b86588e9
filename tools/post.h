/* post.h - what all verbs of the program share: options that every verb has,
 * how messages look, what the exit status says.
 *
 * A verb is one function in a file of its own, cmd_VERB.c.  It returns the
 * exit status and has told the user on stderr why, if that is not 0; so do
 * the helpers here that return `int`.  Everything a verb prints as its answer
 * goes to stdout. */
#ifndef POST_TOOLS_POST_H
#define POST_TOOLS_POST_H

#include "overlay/base/keys.h"
#include "overlay/base/outcome.h"
#include "tools/post_opt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses; scripts rely on them. */
#define STATUS_DONE 0
#define STATUS_FAILED 1
#define STATUS_USAGE 2
#define STATUS_AGAIN 75 /* EX_TEMPFAIL: try again later */

/* What --home and its companions said; zeroed means nothing. */
struct common {
	const char *home;
	const char *passphrase_fd, *passphrase_command, *passphrase_file;
	bool json, quiet, help, version;
};

/* The options of every verb, for the end of its table. */
#define COMMON_OPTS(c)                                                         \
	{ .name = "home",                                                      \
		.kind = OPT_TEXT,                                              \
		.into = &(c)->home,                                            \
		.arg = "DIR",                                                  \
		.help = "the node's home; else POST_HOME, else the default" }, \
	    { .name = "passphrase-fd",                                         \
		    .kind = OPT_TEXT,                                          \
		    .into = &(c)->passphrase_fd,                               \
		    .arg = "N",                                                \
		    .help = "read the keys' passphrase from descriptor N" },   \
	    { .name = "passphrase-command",                                    \
		    .kind = OPT_TEXT,                                          \
		    .into = &(c)->passphrase_command,                          \
		    .arg = "CMD",                                              \
		    .help = "read it from the output of a shell command" },    \
	    { .name = "passphrase-file",                                       \
		    .kind = OPT_TEXT,                                          \
		    .into = &(c)->passphrase_file,                             \
		    .arg = "FILE",                                             \
		    .help = "read it from a file" },                           \
	    { .name = "help",                                                  \
		    .letter = 'h',                                             \
		    .kind = OPT_FLAG,                                          \
		    .into = &(c)->help,                                        \
		    .help = "print this and stop" },                           \
	    { .name = "version",                                               \
		    .kind = OPT_FLAG,                                          \
		    .into = &(c)->version,                                     \
		    .help = "print the version and stop" },                    \
	{                                                                      \
		0                                                              \
	}

/* ---- messages ----------------------------------------------------------- */

/* Print "post: WHAT: WHY: WHAT TO DO" and a line end on stderr (the format
 * begins with WHAT), and return `status`. */
int fail(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same without an end in view: a warning. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* For a text from elsewhere that may be all of it, WHAT and WHY, or WHY. */
int fail_why(int status, const char *what, const char *why, const char *todo);
/* STATUS_AGAIN for what passes by itself, else STATUS_FAILED. */
int err_status(enum err e);

/* ---- verbs -------------------------------------------------------------- */

typedef int verb_fn(struct common *c, int argc, char **argv);
struct verb {
	const char *name;
	verb_fn *run;
	const char *synopsis; /* its arguments */
	const char *summary; /* one line of `post help` */
};

/* The first thing a verb does: take the options out of argv, serve --help and
 * --version, check that between min and max arguments are left (max < 0: any
 * number).  Returns -1 to go on, or the exit status. */
int verb_begin(const char *name, struct common *c, const struct opt *opts,
    int *argc, char **argv, int min, int max);

verb_fn cmd_init, cmd_mount, cmd_umount, cmd_status, cmd_log, cmd_import,
    cmd_export, cmd_scrub, cmd_doctor, cmd_sim;
/* As mount(8) calls its helpers: SRC MNT [-sfnv] [-o OPTIONS]. */
int mount_helper(int argc, char **argv);

/* ---- passphrase --------------------------------------------------------- */

struct secret {
	bool given;
	char text[PASSPHRASE_MAX + 1];
};

/* Did the user name a place where the passphrase is to be found? */
bool passphrase_named(const struct common *c);
/* From --passphrase-fd, --passphrase-command (or POST_PASSPHRASE_COMMAND),
 * --passphrase-file, systemd's credential "post-passphrase"; else, on a
 * terminal, by asking (twice if `confirm`).  One line end at its end does not
 * count.  The caller wipes *out. */
int passphrase_read(const struct common *c, bool confirm, struct secret *out);

/* ---- small things ------------------------------------------------------- */

/* "1,234,567" and "12.3 MB"; out has room for 32 bytes. */
const char *text_count(uint64_t n, char out[32]);
const char *text_bytes(uint64_t n, char out[32]);
/* "2026-11-01T12:34:56Z" of nanoseconds since 1970. */
const char *text_time(int64_t ns, char out[32]);

/* Wall clock and monotonic clock, in ns. */
int64_t clock_wall_ns(void);
int64_t clock_steady_ns(void);

/* Copy with room checked: false, and *out empty, if it does not fit. */
bool text_copy(char *out, size_t cap, const char *text);
bool text_format(char *out, size_t cap, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A path without symbolic links, of which the last component need neither
 * exist nor answer (the mountpoint of a dead daemon does not). */
bool path_resolve(const char *path, char *out, size_t cap);
/* Is `path` the directory `dir` or below it?  Both resolved. */
bool path_within(const char *path, const char *dir);

/* All of it, whatever read(2) and write(2) do in between; false with errno
 * set.  *got may be short only at the end of the file. */
bool fd_write_all(int fd, const void *bytes, size_t len);
bool fd_read_all(int fd, void *bytes, size_t len, size_t *got);
/* When its bytes were changed last; false with errno set. */
bool fd_set_mtime(int fd, int64_t mtime_ns);

#endif
