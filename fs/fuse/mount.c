/* The session: mounting, the threads that serve, stopping.
 *
 * The threads are ours, not fuse_session_loop_mt()'s: a fixed number from the
 * start (that one makes and ends threads as load changes, under a lock taken
 * twice a request), and a stop that can not be missed: it is a semaphore for
 * the thread that waits and a cancellation for those that read, where that
 * one's loses a signal that comes just before its wait.
 *
 * Of the threads, half as many as there are processors wait in read(2); the
 * others stand by.  With all of them there, the kernel gives each request to
 * the thread that has waited longest, which is the coldest: on two processors
 * eight readers delivered mail at 0.6 of the rate of one.  But one that waits
 * for a disk would keep the rest waiting: so a request that may do so gives its
 * place to a thread that stands by (may_wait()), at the cost of one wake-up.
 *
 * The end, in order: the announcer is asked to stop while requests are still
 * served, since it may be in the middle of one; then the readers are
 * cancelled; then the connection is closed, which ends whatever still waits
 * on it, and the path unmounted. */
#include "fs/fuse/ops.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WORKER_STACK (512u << 10)
#define SCRATCH_FIRST (128u << 10) /* what the kernel reads ahead at most */
#define WRITE_MAX (1u << 20)
#define ANNOUNCER_WAIT_NS (2 * WHEN_SECOND)
#define BACKGROUND_MAX 64 /* requests nobody waits for, at once */

static _Thread_local struct worker *this_worker;

int64_t
wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * WHEN_SECOND + ts.tv_nsec;
}

void *
scratch(size_t len)
{
	struct worker *w = this_worker;
	size_t cap = len > SCRATCH_FIRST ? len : SCRATCH_FIRST;

	if (len <= w->scratch_cap)
		return w->scratch;
	free(w->scratch);
	w->scratch = malloc(cap);
	w->scratch_cap = w->scratch ? cap : 0;
	return w->scratch;
}

void
may_wait(void)
{
	struct worker *w = this_worker;

	if (w->reads) {
		w->reads = false;
		sem_post(&w->mount->readers);
	}
}

/* ---- the session -------------------------------------------------------- */

/* Which of the kernel's abilities are used, and why not the others: DESIGN,
 * section 7.  AUTO_INVAL_DATA would drop pages at every change of an mtime;
 * every change of bytes comes through this kernel.  HANDLE_KILLPRIV is wanted in
 * its second version only (init_flags.c).  Splicing only pays for bytes that
 * are in a file already. */
static void
op_init(void *arg, struct fuse_conn_info *conn)
{
	unsigned unwanted =
	    FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPLICIT_INVAL_DATA |
	    FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS_AUTO |
	    FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_HANDLE_KILLPRIV |
	    FUSE_CAP_POSIX_ACL | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
	    FUSE_CAP_SPLICE_MOVE;
	unsigned wanted = FUSE_CAP_READDIRPLUS | FUSE_CAP_PARALLEL_DIROPS |
			  FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_ASYNC_READ |
			  FUSE_CAP_ASYNC_DIO;

	(void)arg;
	conn->want &= ~unwanted;
	conn->want |= wanted & conn->capable;
	conn->max_write = WRITE_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_open,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
	.poll = op_poll,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
};

/* ---- mounting ----------------------------------------------------------- */

/* libfuse explains itself on its log only, in pieces: while a mount is made,
 * that is kept for the caller. */
static char log_text[256];

static void __attribute__((format(printf, 2, 0)))
keep_log(enum fuse_log_level level, const char *format, va_list ap)
{
	size_t len = strlen(log_text);

	if (level <= FUSE_LOG_ERR)
		vsnprintf(log_text + len, sizeof(log_text) - len, format, ap);
}

static enum err
add_options(struct fuse_args *args, const struct mount_options *o)
{
	char *opts = NULL;
	char source[1024];
	int bad;

	snprintf(source, sizeof(source), "fsname=%s",
	    o->source ? o->source : "post");
	bad = fuse_opt_add_arg(args, "post") ||
	      fuse_opt_add_opt_escaped(&opts, source) ||
	      fuse_opt_add_opt(
		  &opts, "subtype=post,default_permissions,nosuid,nodev") ||
	      (o->allow_other && fuse_opt_add_opt(&opts, "allow_other")) ||
	      (o->read_only && fuse_opt_add_opt(&opts, "ro")) ||
	      (o->fuse_options && *o->fuse_options &&
		  fuse_opt_add_opt(&opts, o->fuse_options)) ||
	      fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, opts);
	free(opts);
	return bad ? ERR_NOMEM : OK;
}

static enum err
mount_session(
    struct mount *m, const struct mount_options *o, char *why, size_t why_cap)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	enum err e = add_options(&args, o);

	log_text[0] = '\0';
	fuse_set_log_func(keep_log);
	if (!e)
		m->session =
		    fuse_session_new(&args, &operations, sizeof(operations), m);
	if (!e && !m->session)
		e = ERR_INVALID;
	else if (!e && fuse_session_mount(m->session, m->mountpoint))
		e = ERR_IO;
	else if (!e)
		e = init_flags_hook(m);
	fuse_set_log_func(NULL);
	fuse_opt_free_args(&args);
	log_text[strcspn(log_text, "\n")] = '\0';
	if (e == ERR_INVALID)
		snprintf(why, why_cap, "mount options: %s",
		    log_text[0] ? log_text : "not understood");
	else if (e)
		snprintf(why, why_cap, "%s: can not be mounted: %s",
		    m->mountpoint,
		    log_text[0] ? log_text
				: "is the package fuse3 installed, and "
				  "may you use /dev/fuse?");
	if (e && m->session) {
		fuse_session_unmount(m->session); /* if it got so far */
		fuse_session_destroy(m->session);
		m->session = NULL;
	}
	return e;
}

/* Is the place free and fit to be mounted on? */
static enum err
check_place(const char *mountpoint, char *why, size_t why_cap)
{
	enum mount_state state = mount_probe(mountpoint);
	struct stat st;
	enum err e;

	if (state == MOUNT_ALIVE) {
		snprintf(why, why_cap,
		    "%s: already mounted: run 'post umount %s' first",
		    mountpoint, mountpoint);
		return ERR_BUSY;
	}
	if (state == MOUNT_FOREIGN) {
		snprintf(why, why_cap,
		    "%s: already mounted, by something else: unmount that, "
		    "or choose another directory",
		    mountpoint);
		return ERR_BUSY;
	}
	if (state == MOUNT_STALE &&
	    (e = mount_detach(mountpoint, true, why, why_cap)))
		return e;
	if (stat(mountpoint, &st)) {
		e = err_from_errno(errno);
		if (e == ERR_ABSENT)
			snprintf(why, why_cap,
			    "%s: no such directory: run 'mkdir -p %s'",
			    mountpoint, mountpoint);
		else
			snprintf(why, why_cap, "%s: %s", mountpoint,
			    strerror(errno));
		return e;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(why, why_cap, "%s: not a directory", mountpoint);
		return ERR_NOTDIR;
	}
	return OK;
}

static unsigned
readers(void)
{
	long half = sysconf(_SC_NPROCESSORS_ONLN) / 2;

	return half < 1 ? 1 : half > READERS_MAX ? READERS_MAX : (unsigned)half;
}

static enum err
find_root(
    struct mount *m, const struct mount_options *o, char *why, size_t why_cap)
{
	const char *subtree = o->subtree ? o->subtree : "";
	struct inode inode;
	enum err e = store_resolve(m->store, subtree, &inode);

	if (!e && !S_ISDIR(inode.mode))
		e = ERR_NOTDIR;
	if (e) {
		snprintf(
		    why, why_cap, "subtree '%s': %s", subtree, err_text(e));
		return e;
	}
	m->root = inode.ino;
	m->whole = m->root == STORE_ROOT;
	return OK;
}

enum err
mount_open(struct store *s, const struct mount_options *o, struct mount **out,
    char *why, size_t why_cap)
{
	struct mount *m;
	enum err e;

	assert(o->keys && o->mountpoint && why_cap > 0);
	why[0] = '\0';
	if ((e = check_place(o->mountpoint, why, why_cap)))
		return e;
	m = calloc(1, sizeof(*m));
	if (!m)
		return ERR_NOMEM;
	m->store = s;
	m->uid = getuid();
	m->gid = getgid();
	m->about.keys = o->keys;
	m->about.since_ns = wall_ns();
	sem_init(&m->stop, 0, 0);
	sem_init(&m->readers, 0, readers());
	past_init(&m->past, s);
	if ((e = announcer_init(m)) ||
	    (e = virtuals_init(&m->virtuals, m->about.since_ns)))
		goto fail_virtuals;
	if ((e = users_init(&m->users, s, &m->virtuals)))
		goto fail_users;
	folders_init(&m->folders, s, &m->users);
	if ((e = events_init(&m->events)))
		goto fail_events;
	m->mountpoint = strdup(o->mountpoint);
	m->about.mountpoint = m->mountpoint;
	if (!m->mountpoint)
		e = ERR_NOMEM;
	else if (!(e = find_root(m, o, why, why_cap)))
		e = mount_session(m, o, why, why_cap);
	if (e)
		goto fail;
	/* .notify is in the users' directories. */
	m->announcing = m->whole || users_by_ino(&m->users, m->root);
	*out = m;
	return OK;
fail:
	free(m->mountpoint);
	events_fini(&m->events);
fail_events:
	folders_fini(&m->folders);
	users_fini(&m->users);
fail_users:
	virtuals_fini(&m->virtuals);
fail_virtuals:
	past_fini(&m->past);
	announcer_fini(m);
	sem_destroy(&m->stop);
	sem_destroy(&m->readers);
	free(m);
	if (!why[0])
		snprintf(why, why_cap, "%s", err_text(e));
	return e;
}

/* ---- serving ------------------------------------------------------------ */

static void *
serve(void *arg)
{
	struct worker *w = arg;
	struct fuse_session *session = w->mount->session;
	int res;

	this_worker = w;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	while (!fuse_session_exited(session)) {
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		while (!w->reads)
			w->reads = sem_wait(&w->mount->readers) == 0;
		res = fuse_session_receive_buf(session, &w->request);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		if (res == -EINTR || res == -EAGAIN)
			continue;
		if (res <= 0)
			break; /* unmounted, or the connection is broken */
		fuse_session_process_buf(session, &w->request);
	}
	mount_stop(w->mount);
	return NULL;
}

/* Signals have no argument but this. */
static struct mount *volatile serving;

static void
on_signal(int number)
{
	struct mount *m = serving;
	int saved = errno;

	(void)number;
	if (m)
		mount_stop(m);
	errno = saved;
}

static const int stop_signals[] = { SIGTERM, SIGINT, SIGHUP };
#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(*stop_signals))

static void
catch_signals(struct mount *m, struct sigaction before[STOP_SIGNALS])
{
	struct sigaction act;

	memset(&act, 0, sizeof(act));
	act.sa_handler = on_signal;
	act.sa_flags = SA_RESTART;
	sigemptyset(&act.sa_mask);
	serving = m;
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		sigaction(stop_signals[i], &act, &before[i]);
}

static void
uncatch_signals(const struct sigaction before[STOP_SIGNALS])
{
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		sigaction(stop_signals[i], &before[i], NULL);
	serving = NULL;
}

/* Threads begin with all signals blocked, so that no request is interrupted
 * by one.  Their number that run. */
static unsigned
start_threads(struct mount *m, bool *announcer)
{
	sigset_t all, before;
	pthread_attr_t attr;
	unsigned count = 0;

	*announcer = false;
	if (pthread_attr_init(&attr))
		return 0;
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (; count < WORKERS; count++) {
		struct worker *w = &m->worker[count];

		memset(w, 0, sizeof(*w));
		w->mount = m;
		if (pthread_create(&w->thread, &attr, serve, w))
			break;
	}
	*announcer = announcer_start(m) == OK;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return count;
}

enum err
mount_serve(struct mount *m)
{
	struct sigaction before[STOP_SIGNALS];
	unsigned workers;
	bool announcer;

	catch_signals(m, before);
	workers = start_threads(m, &announcer);
	if (workers && announcer)
		while (sem_wait(&m->stop) && errno == EINTR)
			;
	announcer_stop(m);
	(void)announcer_join(m, workers ? ANNOUNCER_WAIT_NS : 0);
	fuse_session_exit(m->session);
	for (unsigned i = 0; i < workers; i++)
		pthread_cancel(m->worker[i].thread);
	for (unsigned i = 0; i < workers; i++) {
		pthread_join(m->worker[i].thread, NULL);
		free(m->worker[i].request.mem);
		free(m->worker[i].scratch);
	}
	fuse_session_unmount(m->session);
	while (!announcer_join(m, ANNOUNCER_WAIT_NS))
		;
	uncatch_signals(before);
	return workers && announcer ? OK : ERR_NOMEM;
}

void
mount_stop(struct mount *m)
{
	sem_post(&m->stop);
}

void
mount_close(struct mount *m)
{
	if (!m)
		return;
	fuse_session_unmount(m->session); /* if it was never served */
	fuse_session_destroy(m->session);
	announcer_fini(m);
	events_fini(&m->events);
	folders_fini(&m->folders);
	virtuals_fini(&m->virtuals);
	users_fini(&m->users);
	past_fini(&m->past);
	sem_destroy(&m->stop);
	sem_destroy(&m->readers);
	free(m->mountpoint);
	free(m);
}
