/* The daemon's log: bounded, since nobody looks until something is wrong. */
#include "tools/post_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One process has one stderr, so this is the process's. */
static char log_path[PATH_MAX]; /* "": stderr is not ours */

static bool
reopen(void)
{
	int fd =
	    open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	bool ok;

	if (fd < 0)
		return false;
	ok = dup2(fd, STDERR_FILENO) >= 0;
	close(fd);
	return ok;
}

int
logfile_begin(const char *home_dir)
{
	if (!text_format(
		log_path, sizeof(log_path), "%s/" HOME_LOG, home_dir) ||
	    !reopen()) {
		log_path[0] = '\0';
		return fail(STATUS_FAILED,
		    "%s/" HOME_LOG ": %s: check the "
		    "home's owner and mode, and make room",
		    home_dir, strerror(errno));
	}
	return STATUS_DONE;
}

void
logfile_turn(void)
{
	char old[PATH_MAX + 2];
	struct stat st;

	if (!log_path[0] || fstat(STDERR_FILENO, &st) || st.st_size < LOG_MAX)
		return;
	if (!text_format(old, sizeof(old), "%s.1", log_path) ||
	    rename(log_path, old) || !reopen())
		/* Bounded comes before complete. */
		if (ftruncate(STDERR_FILENO, 0))
			return;
}

void
logfile_line(const char *format, ...)
{
	char line[2048], when[32];
	va_list args;
	size_t len;
	int n = 0;

	if (log_path[0])
		n = snprintf(line, sizeof(line), "%s ",
		    text_time(clock_wall_ns(), when));
	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
	va_end(args);
	len = strlen(line);
	line[len++] = '\n'; /* room was left for it */
	if (!fd_write_all(STDERR_FILENO, line, len))
		return; /* nowhere to say it */
}
