/* The daemon's log: bounded, since nobody looks until something is wrong. */
#include "tools/post_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One process has one stderr, so these are the process's. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
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
	int number = 0;

	pthread_mutex_lock(&log_lock);
	if (!text_format(
		log_path, sizeof(log_path), "%s/" HOME_LOG, home_dir)) {
		number = ENAMETOOLONG;
	} else if (!reopen()) {
		number = errno;
		log_path[0] = '\0';
	}
	pthread_mutex_unlock(&log_lock);
	return number == 0 ? STATUS_DONE
			   : fail(STATUS_FAILED,
				 "%s/" HOME_LOG ": %s: check the home's owner "
				 "and mode, and make room",
				 home_dir, strerror(number));
}

static void
turn(void)
{
	char old[PATH_MAX + 2];

	if (text_format(old, sizeof(old), "%s.1", log_path) &&
	    rename(log_path, old) == 0 && reopen())
		return;
	/* Bounded comes before complete. */
	if (ftruncate(STDERR_FILENO, 0))
		return; /* and there is nowhere to say that */
}

void
logfile_turn(void)
{
	struct stat st;

	pthread_mutex_lock(&log_lock);
	if (log_path[0] && fstat(STDERR_FILENO, &st) == 0 &&
	    st.st_size >= LOG_MAX)
		turn();
	pthread_mutex_unlock(&log_lock);
}

void
logfile_line(const char *format, ...)
{
	char line[2048], when[32];
	va_list args;
	size_t len;
	int n = 0;

	pthread_mutex_lock(&log_lock);
	if (log_path[0])
		n = snprintf(line, sizeof(line), "%s ",
		    text_time(clock_wall_ns(), when));
	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
	va_end(args);
	len = strlen(line);
	line[len++] = '\n'; /* room was left for it */
	if (write(STDERR_FILENO, line, len) < 0)
		len = 0; /* there is nowhere to say that */
	pthread_mutex_unlock(&log_lock);
}
