/* post doctor: looks at everything that keeps a mount from working, and names
 * the command that mends it.  Changes nothing. */
#include "fs/mount.h"
#include "tools/control.h"
#include "tools/post_json.h"
#include "tools/post_mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Before this program was written no clock can be right. */
#define CLOCK_MIN 1767225600 /* 2026-01-01 */
#define CLOCK_MAX 4102444800 /* 2100-01-01 */
#define FREE_LOW (256u << 20)
#define FREE_NONE (32u << 20)

enum state { WELL, HINT, WRONG };

struct doctor {
	bool json;
	json_t *findings;
	unsigned wrong;
	bool no_memory;
	char home[PATH_MAX];
};

/* One finding: what was looked at, what was found, what mends it ("" for what
 * is well). */
static void found(struct doctor *d, enum state state, const char *check,
    const char *mend, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void
found(struct doctor *d, enum state state, const char *check, const char *mend,
    const char *format, ...)
{
	static const char *const word[] = { "ok", "hint", "wrong" };
	char says[1024];
	va_list args;
	json_t *j;

	va_start(args, format);
	vsnprintf(says, sizeof(says), format, args);
	va_end(args);
	d->wrong += state == WRONG;
	if (!d->json) {
		printf("%-6s %s: %s\n", word[state], check, says);
		if (*mend)
			printf("       -> %s\n", mend);
		return;
	}
	j = json_pack("{s:s, s:s, s:o, s:o}", "check", check, "state",
	    word[state], "says", json_bytes(says, strlen(says)), "mend",
	    json_bytes(mend, strlen(mend)));
	if (!j || json_array_append_new(d->findings, j))
		d->no_memory = true;
}

/* ---- this machine ------------------------------------------------------- */

static void
check_fuse(struct doctor *d)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		found(d, WELL, "fuse", "", "/dev/fuse can be used");
	else if (errno == ENOENT)
		found(d, WRONG, "fuse", "modprobe fuse",
		    "/dev/fuse is missing: the kernel's FUSE module is not "
		    "loaded, or this is a container without it");
	else
		found(d, WRONG, "fuse", "chmod 666 /dev/fuse", "/dev/fuse: %s",
		    strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* The first of PATH's directories that has the program. */
static bool
find_program(const char *name, char *out, size_t cap)
{
	const char *p = getenv("PATH");

	if (!p || !*p)
		p = "/usr/local/bin:/usr/bin:/bin";
	while (*p) {
		size_t len = strcspn(p, ":");

		if (len &&
		    text_format(out, cap, "%.*s/%s", (int)len, p, name) &&
		    access(out, X_OK) == 0)
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

static void
check_fusermount(struct doctor *d)
{
	char path[PATH_MAX];
	struct stat st;

	if (!find_program("fusermount3", path, sizeof(path)))
		found(d, geteuid() == 0 ? HINT : WRONG, "fusermount3",
		    "apt-get install fuse3",
		    "not found: users other than root can not mount");
	else if (stat(path, &st) == 0 && !(st.st_mode & S_ISUID) &&
		 geteuid() != 0)
		found(d, WRONG, "fusermount3",
		    "apt-get install --reinstall fuse3",
		    "%s is not set-uid root", path);
	else
		found(d, WELL, "fusermount3", "", "%s", path);
}

static void
check_fuse_conf(struct doctor *d)
{
	FILE *f = fopen("/etc/fuse.conf", "re");
	bool allowed = false;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		const char *p = line + strspn(line, " \t");

		allowed =
		    allowed || (strncmp(p, "user_allow_other", 16) == 0 &&
				   strspn(p + 16, " \t\r\n") == strlen(p + 16));
	}
	if (f)
		fclose(f);
	if (geteuid() == 0)
		found(d, WELL, "fuse.conf", "",
		    "root may let other users in (-o allow_other)");
	else if (allowed)
		found(d, WELL, "fuse.conf", "", "user_allow_other is set");
	else
		found(d, HINT, "fuse.conf",
		    "echo user_allow_other | sudo tee -a /etc/fuse.conf",
		    "user_allow_other is not set: only you will see your "
		    "mount, and no mail server");
}

static void
check_clock(struct doctor *d)
{
	int64_t now = clock_wall_ns() / 1000000000;
	char when[32];

	if (now < CLOCK_MIN || now > CLOCK_MAX)
		found(d, WRONG, "clock", "timedatectl set-ntp true",
		    "it says %s: new mail would get wrong dates",
		    text_time(now * 1000000000, when));
	else
		found(d, WELL, "clock", "", "%s",
		    text_time(now * 1000000000, when));
}

/* Stale mounts of anyone's, live ones of this home's. */
static void
check_mount(void *arg, const struct mountinfo *m)
{
	struct doctor *d = arg;
	char mend[PATH_MAX + 32];

	if (!mountinfo_ours(m))
		return;
	if (mount_probe(m->mountpoint) == MOUNT_STALE) {
		if (!text_format(
			mend, sizeof(mend), "post umount %s", m->mountpoint))
			mend[0] = '\0';
		found(d, WRONG, "mount", mend, "%s: its daemon is dead",
		    m->mountpoint);
	} else {
		found(d, WELL, "mount", "", "%s, of %s", m->mountpoint,
		    m->source);
	}
}

/* Where Dovecot looks for mail, as it says itself. */
struct dovecot {
	char location[512];
	bool ours; /* below a mount of ours */
};

static void
check_location(void *arg, const struct mountinfo *m)
{
	struct dovecot *v = arg;

	v->ours = v->ours ||
		  (mountinfo_ours(m) && strstr(v->location, m->mountpoint));
}

static void
check_dovecot(struct doctor *d)
{
	struct dovecot v = { 0 };
	FILE *f = popen("PATH=$PATH:/usr/sbin:/usr/bin; command -v doveconf "
			">/dev/null && doveconf -h mail_location 2>/dev/null",
	    "re");
	bool there;

	if (!f)
		return;
	there = fgets(v.location, sizeof(v.location), f) != NULL;
	if (pclose(f) != 0 || !there)
		return; /* not here, or of another generation */
	v.location[strcspn(v.location, "\n")] = '\0';
	if (mountinfo_each(check_location, &v) && v.ours)
		found(d, WELL, "dovecot", "", "mail_location = %s", v.location);
	else
		found(d, HINT, "dovecot",
		    "mail_location = maildir:MOUNTPOINT/%u/Maildir in "
		    "/etc/dovecot/local.conf; see README.md",
		    "looks for mail elsewhere: mail_location = %s",
		    v.location[0] ? v.location : "(none)");
}

/* ---- the home ----------------------------------------------------------- */

static bool
check_owner(struct doctor *d, const char *name, mode_t bad, const char *mode)
{
	char path[PATH_MAX], mend[PATH_MAX + 32];
	struct stat st;

	if (!text_format(path, sizeof(path), "%s%s%s", d->home,
		*name ? "/" : "", name) ||
	    stat(path, &st))
		return false;
	if (st.st_uid != geteuid() && geteuid() != 0) {
		text_format(mend, sizeof(mend), "sudo chown -R %u %s",
		    (unsigned)geteuid(), d->home);
		found(d, WRONG, "owner", mend, "%s belongs to user %u", path,
		    (unsigned)st.st_uid);
	} else if (st.st_mode & bad) {
		text_format(mend, sizeof(mend), "chmod %s %s", mode, path);
		found(d, WRONG, "mode", mend,
		    "%s has mode %04o: others can get at it", path,
		    (unsigned)(st.st_mode & 07777));
	} else {
		found(d, WELL, "mode", "", "%s is yours alone", path);
	}
	return true;
}

static void
check_disk(struct doctor *d)
{
	struct statvfs v;
	char a[32];
	uint64_t left;

	if (statvfs(d->home, &v)) {
		found(d, WRONG, "disk", "", "%s: %s", d->home, strerror(errno));
		return;
	}
	left = (uint64_t)v.f_bavail * v.f_frsize;
	if (left < FREE_NONE)
		found(d, WRONG, "disk", "make room on that disk",
		    "%s left: mail can not be taken", text_bytes(left, a));
	else if (left < FREE_LOW)
		found(d, HINT, "disk", "make room on that disk", "%s left",
		    text_bytes(left, a));
	else
		found(d, WELL, "disk", "", "%s left", text_bytes(left, a));
}

/* A running daemon must answer; without one, the index must open. */
static void
check_node(struct doctor *d)
{
	struct asker *a = NULL;
	long pid = home_holder(d->home);
	char path[PATH_MAX], mend[PATH_MAX + 64], *text;
	struct index *ix;
	struct stat st;
	enum err e;

	if (pid > 0) {
		if (asker_connect(d->home, &a) == STATUS_DONE && a &&
		    ask_text(a, &text, "hello") == STATUS_DONE) {
			free(text);
			found(
			    d, WELL, "daemon", "", "process %ld answers", pid);
		} else {
			text_format(mend, sizeof(mend),
			    "wait, or: kill %ld; then mount again", pid);
			found(d, WRONG, "daemon", mend,
			    "process %ld holds the home, but does not answer",
			    pid);
		}
		if (asker_close(a))
			d->wrong++;
		return;
	}
	found(d, WELL, "daemon", "", "none runs; the home is free");
	if (!text_format(path, sizeof(path), "%s/" HOME_INDEX, d->home) ||
	    stat(path, &st)) {
		found(d, WRONG, "index", "post scrub --repair", "%s is missing",
		    path);
		return;
	}
	if ((e = index_lmdb_open(path, &ix)) == OK) {
		e = index_check(ix);
		index_close(ix);
	}
	if (e == OK) {
		found(d, WELL, "index", "", "opens, and is whole");
	} else {
		found(d, WRONG, "index", "post scrub --repair", "%s",
		    err_text(e));
	}
}

static void
check_home(struct doctor *d)
{
	char path[PATH_MAX];

	if (!check_owner(d, "", 077, "700")) {
		found(d, HINT, "home", "post init --user ADDRESS",
		    "%s: there is none yet", d->home);
		return;
	}
	if (!check_owner(d, HOME_KEYS, 077, "600"))
		found(d, WRONG, "keys", "put the file back from your backup",
		    "%s/" HOME_KEYS ": %s", d->home, strerror(errno));
	if (!text_format(path, sizeof(path), "%s/" HOME_FORMAT, d->home) ||
	    access(path, F_OK))
		found(d, WRONG, "format", "run the same 'post init' again",
		    "%s/" HOME_FORMAT " is missing: init was interrupted",
		    d->home);
	check_disk(d);
	check_node(d);
}

int
cmd_doctor(struct common *c, int argc, char **argv)
{
	const struct opt opts[] = { { .name = "json",
					.kind = OPT_FLAG,
					.into = &c->json,
					.help = "one JSON object" },
		COMMON_OPTS(c) };
	struct doctor d = { 0 };
	int status = verb_begin("doctor", c, opts, &argc, argv, 0, 0);

	if (status >= 0 || (status = home_path(c, d.home, sizeof(d.home))))
		return status;
	d.json = c->json;
	if (d.json && !(d.findings = json_array()))
		return fail(STATUS_AGAIN, "out of memory: free some");
	check_fuse(&d);
	check_fusermount(&d);
	check_fuse_conf(&d);
	check_clock(&d);
	if (!mountinfo_each(check_mount, &d))
		found(&d, WRONG, "mounts", "mount -t proc proc /proc",
		    "/proc/self/mountinfo can not be read");
	check_dovecot(&d);
	check_home(&d);
	status = d.wrong ? STATUS_FAILED : STATUS_DONE;
	if (d.json) {
		int printed =
		    d.no_memory ? fail(STATUS_AGAIN, "out of memory: free some")
				: json_print(json_pack("{s:b, s:O}", "ok",
				      !d.wrong, "findings", d.findings));

		json_decref(d.findings);
		return printed ? printed : status;
	}
	return status;
}
