#include "tools/post_progress.h"

#include "tools/post.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAW_NS 200000000

/* A signal handler has nowhere else to put it. */
static volatile sig_atomic_t stopped;

static void
on_signal(int number)
{
	(void)number;
	stopped = 1;
}

void
progress_signals(void)
{
	/* SA_RESETHAND: whoever is in a hurry says it twice. */
	struct sigaction sa = { .sa_handler = on_signal,
		.sa_flags = SA_RESTART | (int)SA_RESETHAND };

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGINT, &sa, NULL) || sigaction(SIGTERM, &sa, NULL))
		say("signals can not be caught: an interruption is safe, but "
		    "does a little work twice");
}

bool
progress_stopped(void)
{
	return stopped != 0;
}

void
progress_begin(struct progress *p, const char *what, bool quiet)
{
	const char *term = getenv("TERM");

	memset(p, 0, sizeof(*p));
	p->what = what;
	p->shown = !quiet && isatty(STDERR_FILENO) &&
		   !(term && strcmp(term, "dumb") == 0);
	p->begun_ns = p->drawn_ns = clock_steady_ns();
}

static void
draw(struct progress *p, int64_t now)
{
	double seconds = (double)(now - p->begun_ns) / 1e9;
	double rate = seconds > 0 ? (double)p->bytes / seconds : 0;
	char count[32], bytes[32], speed[32], left[32] = "";

	if (p->total_bytes > p->bytes && rate > 0) {
		uint64_t s =
		    (uint64_t)((double)(p->total_bytes - p->bytes) / rate);

		if (s < 100 * 3600)
			snprintf(left, sizeof(left), ", %u:%02u:%02u left",
			    (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
			    (unsigned)(s % 60));
	}
	fprintf(stderr, "\r%s: %s messages, %s, %s/s%s\033[K", p->what,
	    text_count(p->messages, count), text_bytes(p->bytes, bytes),
	    text_bytes((uint64_t)rate, speed), left);
	fflush(stderr);
	p->drawn = true;
	p->drawn_ns = now;
}

void
progress_step(struct progress *p, uint64_t bytes, uint64_t messages)
{
	int64_t now;

	p->bytes += bytes;
	p->messages += messages;
	if (!p->shown)
		return;
	now = clock_steady_ns();
	if (now - p->drawn_ns >= DRAW_NS)
		draw(p, now);
}

void
progress_end(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
