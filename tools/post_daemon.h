/* post_daemon.h - the node: an open home, its clock's thread, its socket, and
 * its mount.
 *
 * One thread calls store_tick() when it says; one waits for signals (SIGTERM,
 * SIGINT and SIGHUP end the node cleanly, SIGUSR1 makes a checkpoint);
 * control.h has its own; the mount's are libfuse's.  No thread is begun before the process
 * has become a daemon, since threads do not survive a fork. */
#ifndef POST_TOOLS_POST_DAEMON_H
#define POST_TOOLS_POST_DAEMON_H

#include "tools/post_home.h"
#include "tools/post_mountopt.h"

struct daemon_options {
	const struct common *common;
	const struct mountopt *mount;
	const char *mountpoint; /* resolved */
	bool foreground;
};

/* Fork (unless foreground), open, mount, serve until unmounted or told to
 * stop, close.  In the parent it returns when the mount is usable, or with the
 * exit status of the failure that the child has told. */
int daemon_run(const struct daemon_options *o);

/* ---- the log file, post_logfile.c --------------------------------------- */

#define LOG_MAX (1u << 20) /* bytes; then it becomes log.1 */

/* From now on stderr is HOME/log, with the time before each of our lines. */
int logfile_begin(const char *home_dir);
/* Call now and then: begins a new file when the old one is large. */
void logfile_turn(void);
/* A line for the log (or stderr, in the foreground). */
void logfile_line(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#endif
