/* control.h - the texts of .post: what this node says about itself. */
#ifndef POST_FS_CONTROL_H
#define POST_FS_CONTROL_H

#include "fs/status.h"

enum control_file {
	CONTROL_STATUS,
	CONTROL_STATUS_JSON,
	CONTROL_PEERS,
	CONTROL_PEERS_JSON,
	CONTROL_QUEUE,
	CONTROL_QUEUE_JSON,
	CONTROL_METRICS,
	CONTROL_FILES
};

/* NULL beyond the last. */
const char *control_name(unsigned file);
/* CONTROL_FILES if it is none. */
unsigned control_find(const char *name);

/* The text as of now; *text is the caller's to free. */
enum err control_text(struct store *s, const struct status_about *about,
    unsigned file, char **text, size_t *len) MUST_CHECK;

#endif
