/* post status [--json] [--watch] */
#include "tools/control.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WATCH_S 1

int
cmd_status(struct common *c, int argc, char **argv)
{
	bool watch = false;
	const struct opt opts[] = { { .name = "json",
					.kind = OPT_FLAG,
					.into = &c->json,
					.help = "one JSON object" },
		{ .name = "watch",
		    .letter = 'w',
		    .kind = OPT_FLAG,
		    .into = &watch,
		    .help = "again every second" },
		COMMON_OPTS(c) };
	struct asker *a;
	char *text;
	int status = verb_begin("status", c, opts, &argc, argv, 0, 0), closed;

	if (status >= 0 || (status = asker_open(c, &a)))
		return status;
	do {
		status =
		    ask_text(a, &text, "status %s", c->json ? "json" : "text");
		if (status)
			break;
		if (watch && !c->json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout); /* clear */
		fputs(text, stdout);
		free(text);
	} while (watch && fflush(stdout) == 0 && sleep(WATCH_S) == 0);
	closed = asker_close(a);
	return status ? status : closed;
}
