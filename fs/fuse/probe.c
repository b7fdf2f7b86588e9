/* What is mounted at a path, and how it is taken away again. */
#include "fs/mount.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TYPE "fuse.post"
#define BUSY_TRIES 20 /* of BUSY_PAUSE each: our own announcer is quick */
#define BUSY_PAUSE_NS 50000000

extern char **environ;

/* The path as /proc/self/mountinfo says it.  A dead mount can not be looked
 * into, so what stands above it must do. */
static bool
canonical(const char *path, char out[PATH_MAX])
{
	char copy[PATH_MAX], parent[PATH_MAX], *name;
	size_t len = strlen(path);
	int n;

	if (realpath(path, out))
		return true;
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, path, len + 1);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	name = strrchr(copy, '/');
	if (!name || !name[1])
		return false;
	*name++ = '\0';
	if (!realpath(*copy ? copy : "/", parent))
		return false;
	n = snprintf(out, PATH_MAX, "%s/%s",
	    strcmp(parent, "/") == 0 ? "" : parent, name);
	return n > 0 && n < PATH_MAX;
}

/* Undo mountinfo's \ooo in place. */
static void
unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' &&
		    text[2] >= '0' && text[2] <= '7' && text[3] >= '0' &&
		    text[3] <= '7') {
			*to++ = (char)((text[1] - '0') * 64 +
				       (text[2] - '0') * 8 + (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* The n-th blank-separated word of a line, from 0; or NULL. */
static char *
word(char *line, unsigned n)
{
	while (n-- && line) {
		line = strchr(line, ' ');
		if (line)
			line++;
	}
	return line;
}

/* The type of the filesystem that is mounted on top at exactly that path:
 * "36 35 98:0 /root /path options [optional...] - type source options". */
static bool
mounted_type(const char *path, char *type, size_t cap)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *at, *end;
	size_t line_cap = 0;
	bool found = false;

	if (!f)
		return false;
	while (getline(&line, &line_cap, f) > 0) {
		char *kind = strstr(line, " - ");

		if (!kind || !(at = word(line, 4)) || at > kind)
			continue;
		kind += 3;
		kind[strcspn(kind, " \n")] = '\0';
		end = at + strcspn(at, " ");
		*end = '\0';
		unescape(at);
		if (strcmp(at, path) != 0)
			continue;
		/* The last one covers those before it. */
		snprintf(type, cap, "%s", kind);
		found = true;
	}
	free(line);
	fclose(f);
	return found;
}

enum mount_state
mount_probe(const char *mountpoint)
{
	char path[PATH_MAX], type[64];
	struct statfs st;

	if (!canonical(mountpoint, path) ||
	    !mounted_type(path, type, sizeof(type)) ||
	    strcmp(type, "autofs") == 0) /* systemd's, waiting for us */
		return MOUNT_NONE;
	if (strcmp(type, TYPE) != 0)
		return MOUNT_FOREIGN;
	/* Not stat(2): the kernel answers that for a dead daemon as long as it
	 * has the root's attributes. */
	if (statfs(path, &st) == 0 ||
	    (errno != ENOTCONN && errno != ECONNABORTED))
		return MOUNT_ALIVE; /* or it refuses us, alive */
	return MOUNT_STALE;
}

/* fusermount3 -u [-z] PATH, quietly; what it says would only confuse. */
static int
run_fusermount(const char *path, bool lazy)
{
	char *argv[] = { (char *)"fusermount3", (char *)"-u",
		(char *)(lazy ? "-z" : "-q"), (char *)"--", (char *)path,
		NULL };
	posix_spawn_file_actions_t actions;
	int status = -1, error;
	pid_t pid;

	if (posix_spawn_file_actions_init(&actions))
		return ENOMEM;
	error = posix_spawn_file_actions_addopen(
	    &actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (!error)
		error = posix_spawnp(
		    &pid, "fusermount3", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error)
		return error;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EBUSY;
}

static int
detach_once(const char *path, bool lazy)
{
	if (geteuid() != 0)
		return run_fusermount(path, lazy);
	if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	return errno;
}

enum err
mount_detach(const char *mountpoint, bool lazy, char *why, size_t why_cap)
{
	struct timespec pause = { 0, BUSY_PAUSE_NS };
	enum mount_state state = mount_probe(mountpoint);
	char path[PATH_MAX];
	int error = EBUSY;

	assert(why_cap > 0);
	why[0] = '\0';
	if (state == MOUNT_NONE || !canonical(mountpoint, path)) {
		snprintf(
		    why, why_cap, "%s: nothing is mounted there", mountpoint);
		return ERR_ABSENT;
	}
	if (state == MOUNT_FOREIGN) {
		snprintf(why, why_cap, "%s: what is mounted there is not ours",
		    mountpoint);
		return ERR_DENIED;
	}
	if (state == MOUNT_STALE)
		lazy = true;
	for (unsigned i = 0; i < BUSY_TRIES && error == EBUSY; i++) {
		if (i)
			nanosleep(&pause, NULL);
		error = detach_once(path, lazy);
	}
	if (error == 0)
		return OK;
	if (error == EBUSY)
		snprintf(why, why_cap,
		    "%s: in use: close what is open there (fuser -vm %s)",
		    mountpoint, mountpoint);
	else if (error == ENOENT && geteuid() != 0)
		snprintf(why, why_cap,
		    "%s: no fusermount3: install the package fuse3",
		    mountpoint);
	else
		snprintf(why, why_cap, "%s: %s", mountpoint, strerror(error));
	return error == EPERM ? ERR_PERM : err_from_errno(error);
}
