#include "tools/post_daemon.h"

#include "fs/mount.h"
#include "tools/control.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MAX_NS 1000000000 /* between two looks, whatever the store says */

struct node {
	const struct daemon_options *o;
	struct home home;
	struct answerer answerer;
	struct control *control;
	struct mount *mount;
	int ready_fd; /* where the parent waits, or -1 */
	int busy_fd; /* eventfd: the store has work */
	int signal_fd; /* signals that end the node */
	int stop_fd; /* eventfd: both threads are to end */
	pthread_t ticker, watcher;
	bool ticking, watching;
	atomic_bool stopping;
};

static void
poke(int event_fd)
{
	const uint64_t one = 1;

	/* EAGAIN: it is set already. */
	if (write(event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		logfile_line("node: eventfd: %s", strerror(errno));
}

static void
unpoke(int event_fd)
{
	uint64_t n;

	if (read(event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		logfile_line("node: eventfd: %s", strerror(errno));
}

static void
on_busy(void *arg)
{
	poke(((struct node *)arg)->busy_fd);
}

/* ---- threads ------------------------------------------------------------ */

/* Say a failure once, not at every tick while it lasts. */
static void
tell_tick(struct node *n, enum err e, enum err before)
{
	char problem[512];

	if (e == before)
		return;
	if (e == OK) {
		logfile_line("store: well again");
		return;
	}
	store_problem(n->home.store, problem, sizeof(problem));
	logfile_line("store: %s: %s", err_text(e),
	    problem[0] ? problem : "tried again every second");
}

static void *
tick_thread(void *arg)
{
	struct node *n = arg;
	enum err before = OK;

	store_warm(n->home.store);
	while (!atomic_load(&n->stopping)) {
		struct pollfd fds[] = { { .fd = n->busy_fd, .events = POLLIN },
			{ .fd = n->stop_fd, .events = POLLIN } };
		int64_t next_ns = TICK_MAX_NS;
		struct timespec wait;
		enum err e = store_tick(n->home.store, &next_ns);

		tell_tick(n, e, before);
		before = e;
		if (e || next_ns > TICK_MAX_NS || next_ns < 0)
			next_ns = TICK_MAX_NS;
		wait.tv_sec = next_ns / 1000000000;
		wait.tv_nsec = next_ns % 1000000000;
		if (ppoll(fds, 2, &wait, NULL) > 0 && fds[0].revents)
			unpoke(n->busy_fd);
		logfile_turn();
	}
	return NULL;
}

/* systemd's readiness protocol, sd_notify(3): one datagram. */
static void
notify_manager(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(a.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(a.sun_path, path, len);
	if (a.sun_path[0] == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		logfile_line("systemd: %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Leave the terminal and tell whoever waits that the mount can be used. */
static void
become_ready(struct node *n)
{
	const char done = STATUS_DONE;

	if (n->ready_fd >= 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		setsid();
		if (chdir("/")) /* and keep no other filesystem busy */
			logfile_line("node: /: %s", strerror(errno));
		if (null >= 0) {
			dup2(null, STDIN_FILENO);
			dup2(null, STDOUT_FILENO);
			close(null);
		}
		if (logfile_begin(n->home.dir) && null >= 0)
			dup2(STDOUT_FILENO, STDERR_FILENO);
		if (!fd_write_all(n->ready_fd, &done, 1))
			logfile_line("node: who started it has left");
		close(n->ready_fd);
		n->ready_fd = -1;
	}
	notify_manager("READY=1\n");
	logfile_line(
	    "node: %s is mounted at %s", n->home.dir, n->o->mountpoint);
}

/* Waits until the mount answers, then for signals. */
static void *
watch_thread(void *arg)
{
	struct node *n = arg;
	struct pollfd fds[] = { { .fd = n->signal_fd, .events = POLLIN },
		{ .fd = n->stop_fd, .events = POLLIN } };
	struct signalfd_siginfo got;
	bool told = false;

	if (mount_probe(n->o->mountpoint) == MOUNT_ALIVE)
		become_ready(n);
	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			return NULL;
		if (read(n->signal_fd, &got, sizeof(got)) !=
		    (ssize_t)sizeof(got))
			continue;
		if (got.ssi_signo == SIGUSR1) {
			enum err e = store_checkpoint(n->home.store);

			logfile_line("node: checkpoint: %s", err_text(e));
			continue;
		}
		if (!told)
			logfile_line(
			    "node: signal %u: stopping", got.ssi_signo);
		told = true;
		mount_stop(n->mount);
	}
}

/* ---- begin and end ------------------------------------------------------ */

/* Half of the node's memory would otherwise be arenas and holes. */
static void
be_frugal(void)
{
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_TRIM_THRESHOLD, 256 << 10);
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

static int
start_threads(struct node *n)
{
	sigset_t set;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	/* Threads inherit the mask: the signals come to signal_fd only. */
	if ((number = pthread_sigmask(SIG_BLOCK, &set, NULL)))
		return fail(STATUS_FAILED, "node: signals: %s: try again",
		    strerror(number));
	n->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	n->busy_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	n->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->signal_fd < 0 || n->busy_fd < 0 || n->stop_fd < 0)
		return fail(STATUS_AGAIN,
		    "node: %s: raise the limit of open "
		    "files",
		    strerror(errno));
	store_on_busy(n->home.store, on_busy, n);
	if ((number = pthread_create(&n->ticker, NULL, tick_thread, n)))
		return fail(STATUS_AGAIN,
		    "node: thread: %s: raise the limit "
		    "of processes",
		    strerror(number));
	n->ticking = true;
	return STATUS_DONE;
}

static int
start_watcher(struct node *n)
{
	int number = pthread_create(&n->watcher, NULL, watch_thread, n);

	if (number)
		return fail(STATUS_AGAIN,
		    "node: thread: %s: raise the limit "
		    "of processes",
		    strerror(number));
	n->watching = true;
	return STATUS_DONE;
}

static void
stop_threads(struct node *n)
{
	atomic_store(&n->stopping, true);
	if (n->stop_fd >= 0)
		poke(n->stop_fd);
	if (n->watching)
		pthread_join(n->watcher, NULL);
	if (n->ticking)
		pthread_join(n->ticker, NULL);
}

static int
open_mount(struct node *n)
{
	const struct mountopt *m = n->o->mount;
	const struct mount_options mo = {
		.mountpoint = n->o->mountpoint,
		.allow_other = m->allow_other,
		.read_only = m->read_only,
		.subtree = m->subtree[0] ? m->subtree : NULL,
		.fuse_options = m->passed[0] ? m->passed : NULL,
		.source = n->home.dir,
		.keys = n->home.keys,
	};
	char why[512] = "";
	enum err e =
	    mount_open(n->home.store, &mo, &n->mount, why, sizeof(why));

	if (!e)
		return STATUS_DONE;
	return fail_why(
	    err_status(e), n->o->mountpoint, why, "run 'post doctor'");
}

/* A mountpoint that holds the home would ask itself for its own files. */
static int
check_places(struct node *n)
{
	if (path_within(n->home.dir, n->o->mountpoint))
		return fail(STATUS_FAILED,
		    "%s: the home %s lies in it: mount "
		    "elsewhere",
		    n->o->mountpoint, n->home.dir);
	return STATUS_DONE;
}

static int
serve(struct node *n)
{
	int status;
	enum err e;

	n->answerer = (struct answerer){
		.home = &n->home,
		.mountpoint = n->o->mountpoint,
		.subtree =
		    n->o->mount->subtree[0] ? n->o->mount->subtree : NULL,
		.since_ns = clock_wall_ns(),
	};
	if ((status = start_threads(n)) || (status = open_mount(n)))
		return status;
	if ((status = control_start(&n->answerer, &n->control)) ||
	    (status = start_watcher(n)))
		return status;
	e = mount_serve(n->mount);
	if (e) {
		logfile_line("mount: %s", err_text(e));
		status = err_status(e);
	}
	notify_manager("STOPPING=1\n");
	return status;
}

static int
node_main(struct node *n)
{
	int status, closed;

	be_frugal();
	umask(077);
	if ((status = home_find(&n->home, n->o->common)) == STATUS_DONE &&
	    (status = check_places(n)) == STATUS_DONE &&
	    (status = home_open(&n->home, n->o->common)) == STATUS_DONE)
		status = serve(n);
	if (n->mount)
		mount_close(n->mount);
	control_stop(n->control);
	stop_threads(n);
	closed = home_close(&n->home);
	if (n->busy_fd >= 0)
		close(n->busy_fd);
	if (n->signal_fd >= 0)
		close(n->signal_fd);
	if (n->stop_fd >= 0)
		close(n->stop_fd);
	if (n->mount)
		logfile_line("node: stopped");
	return status ? status : closed;
}

/* The parent: what the child says, or how it died. */
static int
wait_until_ready(int fd, pid_t child)
{
	char status;
	size_t got = 0;
	int ended;

	if (fd_read_all(fd, &status, 1, &got) && got == 1)
		return status;
	if (waitpid(child, &ended, 0) == child && WIFEXITED(ended) &&
	    WEXITSTATUS(ended) != STATUS_DONE)
		return WEXITSTATUS(ended); /* and has said why */
	return fail(STATUS_FAILED, "mount: the daemon died before the mount "
				   "was usable: run it with -f to see why");
}

int
daemon_run(const struct daemon_options *o)
{
	struct node n = { .o = o,
		.ready_fd = -1,
		.busy_fd = -1,
		.signal_fd = -1,
		.stop_fd = -1,
		.home = { .lock_fd = -1 } };
	int fds[2];
	pid_t child;

	if (o->foreground)
		return node_main(&n);
	if (pipe2(fds, O_CLOEXEC))
		return fail(STATUS_AGAIN,
		    "mount: %s: raise the limit of open "
		    "files",
		    strerror(errno));
	fflush(NULL);
	child = fork();
	if (child < 0) {
		close(fds[0]);
		close(fds[1]);
		return fail(STATUS_AGAIN,
		    "mount: %s: raise the limit of "
		    "processes",
		    strerror(errno));
	}
	if (child == 0) {
		close(fds[0]);
		n.ready_fd = fds[1];
		/* Not exit(): what the parent had buffered is the parent's. */
		_exit(node_main(&n));
	}
	close(fds[1]);
	return wait_until_ready(fds[0], child);
}
