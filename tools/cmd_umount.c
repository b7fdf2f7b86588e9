/* post umount MOUNTPOINT: when it returns, all is durable and the home is
 * free. */
#include "fs/mount.h"
#include "tools/control.h"
#include "tools/post_mountinfo.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* A daemon that has a full journal to seal takes some seconds. */
#define STOP_MAX_NS (120 * (int64_t)1000000000)
#define USERS_SHOWN 5

/* Does /proc/PID/WHAT lead below the mountpoint?  readlink(2) does not touch
 * the filesystem itself. */
static bool
leads_there(const char *pid, const char *what, const char *mountpoint)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	if (!text_format(path, sizeof(path), "/proc/%s/%s", pid, what) ||
	    (n = readlink(path, target, sizeof(target) - 1)) <= 0)
		return false;
	target[n] = '\0';
	return path_within(target, mountpoint);
}

static bool
uses(const char *pid, const char *mountpoint)
{
	char path[PATH_MAX], what[300];
	struct dirent *e;
	bool found = false;
	DIR *d;

	if (leads_there(pid, "cwd", mountpoint) ||
	    leads_there(pid, "root", mountpoint))
		return true;
	if (!text_format(path, sizeof(path), "/proc/%s/fd", pid) ||
	    !(d = opendir(path)))
		return false;
	while (!found && (e = readdir(d)))
		if (text_format(what, sizeof(what), "fd/%s", e->d_name))
			found = leads_there(pid, what, mountpoint);
	closedir(d);
	return found;
}

/* "mutt (1234), bash (77)" of who keeps the mount busy, as far as we may
 * see. */
static void
who_uses(const char *mountpoint, char *out, size_t cap)
{
	DIR *d = opendir("/proc");
	unsigned shown = 0;
	struct dirent *e;
	size_t len = 0;

	out[0] = '\0';
	while (d && shown < USERS_SHOWN && (e = readdir(d))) {
		char path[300], name[64] = "?";
		FILE *f;

		if (!isdigit((unsigned char)e->d_name[0]) ||
		    !uses(e->d_name, mountpoint))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		if ((f = fopen(path, "re"))) {
			if (fgets(name, sizeof(name), f))
				name[strcspn(name, "\n")] = '\0';
			fclose(f);
		}
		snprintf(out + len, cap - len, "%s%s (%s)", shown ? ", " : "",
		    name, e->d_name);
		len = strlen(out);
		shown++;
	}
	if (d)
		closedir(d);
}

/* The lock comes free when the daemon has closed its store. */
static int
wait_until_free(const char *home_dir)
{
	int64_t until = clock_steady_ns() + STOP_MAX_NS;
	const struct timespec nap = { .tv_nsec = 10000000 };
	long pid;

	while ((pid = home_holder(home_dir)) > 0) {
		if (clock_steady_ns() >= until)
			return fail(STATUS_AGAIN,
			    "%s: the daemon (process "
			    "%ld) is still writing: wait, and see %s/" HOME_LOG,
			    home_dir, pid, home_dir);
		nanosleep(&nap, NULL);
	}
	return STATUS_DONE;
}

static int
clean_stale(const char *mountpoint)
{
	char why[512] = "";
	enum err e = mount_detach(mountpoint, true, why, sizeof(why));

	if (e)
		return fail_why(
		    err_status(e), mountpoint, why, "run 'post doctor'");
	say("%s: its daemon was dead: the mount is taken away; what was "
	    "acknowledged comes back at the next mount",
	    mountpoint);
	return STATUS_DONE;
}

static int
unmount_alive(const char *mountpoint, const char *home_dir)
{
	char why[512] = "", who[512];
	struct asker *a = NULL;
	enum err e;
	int status = STATUS_DONE;

	/* What can be flushed before is not waited for with the mount gone. */
	if (home_dir && (status = asker_connect(home_dir, &a)))
		return status;
	if (a && (status = ask(a, NULL, NULL, "checkpoint"))) {
		if (asker_close(a))
			return STATUS_FAILED;
		return status;
	}
	if (asker_close(a))
		return STATUS_FAILED;
	e = mount_detach(mountpoint, false, why, sizeof(why));
	if (e == ERR_BUSY) {
		who_uses(mountpoint, who, sizeof(who));
		return fail(STATUS_AGAIN,
		    "%s: in use%s%s: end that, then try "
		    "again",
		    mountpoint, who[0] ? " by " : "", who);
	}
	if (e)
		return fail_why(
		    err_status(e), mountpoint, why, "run 'post doctor'");
	return home_dir ? wait_until_free(home_dir) : STATUS_DONE;
}

int
cmd_umount(struct common *c, int argc, char **argv)
{
	const struct opt opts[] = { COMMON_OPTS(c) };
	char mountpoint[PATH_MAX];
	struct mountinfo m;
	bool known;
	int status = verb_begin("umount", c, opts, &argc, argv, 1, 1);

	if (status >= 0)
		return status;
	if (!path_resolve(argv[0], mountpoint, sizeof(mountpoint)))
		return fail(STATUS_FAILED, "%s: %s: check the name", argv[0],
		    strerror(errno));
	known = mountinfo_find(mountpoint, &m);
	switch (mount_probe(mountpoint)) {
	case MOUNT_NONE:
		return fail(STATUS_FAILED,
		    "%s: nothing is mounted there: see "
		    "'findmnt -t fuse.post'",
		    mountpoint);
	case MOUNT_FOREIGN:
		return fail(STATUS_FAILED,
		    "%s: what is mounted there is not "
		    "ours: use umount(8)",
		    mountpoint);
	case MOUNT_STALE:
		return clean_stale(mountpoint);
	case MOUNT_ALIVE:
		break;
	}
	return unmount_alive(
	    mountpoint, known && m.source[0] == '/' ? m.source : NULL);
}
