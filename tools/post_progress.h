/* post_progress.h - one line on a terminal that tells how far we are.
 *
 * Shown on stderr, only if that is a terminal and unless told to be quiet, at
 * most five times a second; what is not a terminal gets nothing. */
#ifndef POST_TOOLS_POST_PROGRESS_H
#define POST_TOOLS_POST_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* "import" */
	bool shown; /* is there a terminal? */
	bool drawn;
	uint64_t total_bytes; /* 0: not known */
	uint64_t bytes, messages;
	int64_t begun_ns, drawn_ns;
};

void progress_begin(struct progress *p, const char *what, bool quiet);
/* Draws, if it is time. */
void progress_step(struct progress *p, uint64_t bytes, uint64_t messages);
/* Takes the line away. */
void progress_end(struct progress *p);

/* SIGINT and SIGTERM end the work in an orderly way: from progress_signals()
 * on they only set what progress_stopped() tells; a second one kills. */
void progress_signals(void);
bool progress_stopped(void);

#endif
