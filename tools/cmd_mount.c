/* post mount [-f] [-o OPTIONS] MOUNTPOINT, and mount(8)'s helper. */
#include "tools/post_daemon.h"

#include "fs/mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
mount_at(
    struct common *c, const char *where, const char *options, bool foreground)
{
	struct mountopt m;
	struct daemon_options o = {
		.common = c, .mount = &m, .foreground = foreground
	};
	char mountpoint[PATH_MAX], why[256];
	struct stat st;

	if (!mountopt_parse(options, &m, why, sizeof(why)))
		return fail(
		    STATUS_USAGE, "%s: see post(1) for the options", why);
	if (m.home[0])
		c->home = m.home;
	if (m.passphrase_file[0])
		c->passphrase_file = m.passphrase_file;
	if (geteuid() == 0 && !m.no_allow_other)
		m.allow_other = true;
	if (!path_resolve(where, mountpoint, sizeof(mountpoint)))
		return fail(STATUS_FAILED,
		    "%s: %s: make it with 'mkdir -p "
		    "%s'",
		    where, strerror(errno), where);
	/* ENOTCONN: a dead daemon's mount, which mount_open() replaces. */
	if (stat(mountpoint, &st)) {
		if (errno == ENOENT)
			return fail(STATUS_FAILED,
			    "%s: no such directory: "
			    "make it with 'mkdir -p %s'",
			    mountpoint, mountpoint);
		if (errno != ENOTCONN)
			return fail(STATUS_FAILED,
			    "%s: %s: check who may "
			    "enter it",
			    mountpoint, strerror(errno));
	} else if (!S_ISDIR(st.st_mode)) {
		return fail(
		    STATUS_FAILED, "%s: is no directory: name one", mountpoint);
	}
	o.mountpoint = mountpoint;
	return daemon_run(&o);
}

int
cmd_mount(struct common *c, int argc, char **argv)
{
	bool foreground = false;
	char *options = NULL;
	const struct opt opts[] = { { .letter = 'f',
					.name = "foreground",
					.kind = OPT_FLAG,
					.into = &foreground,
					.help = "stay, and log to stderr" },
		{ .letter = 'o',
		    .kind = OPT_JOIN,
		    .into = &options,
		    .arg = "OPTIONS",
		    .help = "allow_other, ro, subtree=PATH, home=DIR, "
			    "passphrase-file=FILE, noexec, noatime ..." },
		COMMON_OPTS(c) };
	int status = verb_begin("mount", c, opts, &argc, argv, 1, 1);

	if (status < 0)
		status = mount_at(c, argv[0], options, foreground);
	free(options);
	return status;
}

int
mount_helper(int argc, char **argv)
{
	struct common c = { 0 };
	bool sloppy = false, fake = false, no_mtab = false, verbose = false;
	char *options = NULL, why[256];
	const char *type = NULL;
	const struct opt opts[] = {
		{ .letter = 's', .kind = OPT_FLAG, .into = &sloppy },
		{ .letter = 'f', .kind = OPT_FLAG, .into = &fake },
		{ .letter = 'n', .kind = OPT_FLAG, .into = &no_mtab },
		{ .letter = 'v', .kind = OPT_FLAG, .into = &verbose },
		{ .letter = 't',
		    .kind = OPT_TEXT,
		    .into = &type,
		    .arg = "TYPE" },
		{ .letter = 'o',
		    .kind = OPT_JOIN,
		    .into = &options,
		    .arg = "OPTIONS" },
		{ 0 }
	};
	int status;

	if (!opt_parse(opts, false, &argc, argv, why, sizeof(why)))
		status = fail(STATUS_USAGE,
		    "%s: usage: mount.post SRC MNT "
		    "[-sfnv] [-o OPTIONS]",
		    why);
	else if (argc != 2)
		status = fail(STATUS_USAGE,
		    "mount.post: two arguments are "
		    "needed: usage: mount.post SRC MNT [-sfnv] [-o OPTIONS]");
	else if (fake)
		status = STATUS_DONE;
	else {
		/* "post" stands for the default home, as in fstab. */
		if (strcmp(argv[0], "post") != 0)
			c.home = argv[0];
		if (verbose)
			say("mount: %s at %s: options %s", argv[0], argv[1],
			    options ? options : "none");
		status = mount_at(&c, argv[1], options, false);
	}
	free(options);
	return status;
}
