/* control.h - how the other verbs speak with a running daemon.
 *
 * HOME/control is a Unix stream socket, mode 0600.  The daemon answers only
 * its own user and root (SO_PEERCRED).  A client sends one line, reads the
 * answer, and may then send the next.
 *
 *   request  WORD [ARGUMENT]... LF       at most CONTROL_LINE_MAX bytes;
 *                                        arguments are percent-encoded where
 *                                        they hold blanks, '%' or controls
 *   answer   any number of
 *              data LENGTH LF BYTES      LENGTH decimal, 1 to 65536
 *            then one of
 *              ok LF
 *              fail STATUS TEXT LF       STATUS: 1, 2 or 75, as an exit
 *                                        status; TEXT: "what: why: do"
 *
 * Requests, and the data they give:
 *
 *   hello                      PID LF MOUNTPOINT LF SUBTREE LF; empty if none
 *   users                      one address a line
 *   status text|json           what `post status` prints
 *   log ADDRESS MAX AFTER      JSON objects, one a line, newest first, only
 *                              those with a sequence above AFTER
 *   checkpoint                 nothing; all changes are in the packs then
 *   scrub PATH                 "found TEXT" lines, then "report JSON"
 *   has MARK...                '0' or '1' for each mark of 32 hex digits
 *   add MARK...                nothing; the marks are in the ledger
 *
 * The same requests are answered in the process itself when no daemon runs:
 * answer() is both. */
#ifndef POST_TOOLS_CONTROL_H
#define POST_TOOLS_CONTROL_H

#include "tools/post_home.h"

#include <pthread.h>

#define CONTROL_LINE_MAX 65536u
#define CONTROL_DATA_MAX 65536u
#define CONTROL_CLIENTS_MAX 16u

/* ---- answering ---------------------------------------------------------- */

/* Whom a request is asked of. */
struct answerer {
	struct home *home; /* its store is open */
	const char *mountpoint; /* NULL: not mounted */
	const char *subtree; /* NULL: everything */
	int64_t since_ns; /* mounted since */
};

/* Takes a piece of the answer; false: the asker is gone. */
typedef bool answer_out(void *arg, const void *bytes, size_t len);

/* Answer one request (without its line end; it is taken apart in place).
 * Returns an exit status; if that is not STATUS_DONE, `why` says why. */
int answer(const struct answerer *a, char *request, answer_out *out, void *arg,
    char *why, size_t why_cap);

/* ---- the daemon's end --------------------------------------------------- */

struct control;

/* Bind the socket and answer on threads of its own.  `a` is borrowed, and
 * what it points to must stay until control_stop(). */
int control_start(const struct answerer *a, struct control **out);
/* Take no more requests, wait for those under way, remove the socket.  NULL is
 * allowed. */
void control_stop(struct control *c);

/* ---- the asker's end ---------------------------------------------------- */

/* A daemon at the other end of the socket, or a store opened here. */
struct asker;

/* Reach the home's daemon; if there is none, open the store in this process
 * (lock, keys, passphrase). */
int asker_open(const struct common *c, struct asker **out);
/* Only if a daemon runs: *out is NULL, and the answer STATUS_DONE, if not. */
int asker_connect(const char *home_dir, struct asker **out);
/* Of a home whose store is open here, which the asker takes over (and closes
 * when this fails). */
int asker_of_home(struct home *home, struct asker **out);
int asker_close(struct asker *a); /* NULL is allowed */
/* The home that is open in this process; NULL: a daemon answers. */
struct home *asker_home(struct asker *a);

/* Ask; each piece of the answer goes to `out` (NULL: it must be empty).  A
 * refusal is said, and its status returned. */
int ask(struct asker *a, answer_out *out, void *arg, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The whole answer as one NUL-terminated text, the caller's to free. */
int ask_text(struct asker *a, char **text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Percent-encode an argument; false if it does not fit. */
bool control_encode(const char *text, char *out, size_t cap);
/* The next argument of a request, decoded in place; NULL at the end or if it
 * is malformed.  *rest moves on. */
char *control_next(char **rest);

#endif
