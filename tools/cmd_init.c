/* post init --user ADDRESS: make a home, or add a user to one.
 *
 * The keys are written first and the store is made after them, so that an
 * interrupted init can be run again with the same arguments: nothing that is
 * there is ever made anew. */
#include "tools/post_home.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct init {
	struct common *c;
	const char *address, *owner;
	bool ask, recover, added;
	uint8_t root[ROOT_BYTES];
	uint32_t uid, gid;
	struct secret secret;
	struct home home;
};

static int
find_owner(struct init *in)
{
	const char *colon = in->owner ? strchr(in->owner, ':') : NULL;
	struct passwd *pw;
	struct group *gr;
	char name[256];
	char *end;

	in->uid = geteuid();
	in->gid = getegid();
	if (!in->owner)
		return STATUS_DONE;
	if (!text_format(name, sizeof(name), "%.*s",
		(int)(colon ? colon - in->owner : (long)strlen(in->owner)),
		in->owner))
		return fail(STATUS_USAGE, "--owner: too long: give NAME or "
					  "NAME:GROUP");
	if ((pw = getpwnam(name))) {
		in->uid = pw->pw_uid;
		in->gid = pw->pw_gid;
	} else {
		in->uid = in->gid = (uint32_t)strtoul(name, &end, 10);
		if (end == name || *end)
			return fail(STATUS_FAILED,
			    "--owner: %s: no such "
			    "account: give a name or a number",
			    name);
	}
	if (!colon)
		return STATUS_DONE;
	if ((gr = getgrnam(colon + 1))) {
		in->gid = gr->gr_gid;
		return STATUS_DONE;
	}
	in->gid = (uint32_t)strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end)
		return fail(STATUS_FAILED,
		    "--owner: %s: no such group: give "
		    "a name or a number",
		    colon + 1);
	return STATUS_DONE;
}

static int
read_phrase(struct init *in)
{
	char phrase[512];
	size_t len;
	enum err e;

	if (isatty(STDIN_FILENO))
		fputs("Recovery phrase: ", stderr);
	if (!fgets(phrase, sizeof(phrase), stdin))
		return fail(STATUS_USAGE, "--recover: no phrase on standard "
					  "input: give the nine words there");
	len = strlen(phrase);
	if (len && phrase[len - 1] == '\n')
		phrase[len - 1] = '\0';
	e = phrase_decode(phrase, in->root);
	wipe(phrase, sizeof(phrase));
	if (e)
		return fail(STATUS_FAILED,
		    "--recover: this is no recovery "
		    "phrase, or has a slip in it: check each of the nine "
		    "words");
	return STATUS_DONE;
}

/* mkdir -p, each 0700; true if the last one was not there. */
static bool
make_dirs(const char *path, bool *made)
{
	char part[PATH_MAX];

	*made = false;
	for (const char *p = path + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		if (!text_format(
			part, sizeof(part), "%.*s", (int)(p - path), path))
			return false;
		*made = mkdir(part, 0700) == 0;
		if (!*made && errno != EEXIST)
			return false;
		if (*p == '\0')
			return true;
	}
}

/* Another thing's directory is not made into a home: name what is in the way,
 * "" if nothing is. */
static bool
what_is_in_the_way(const char *dir, char other[256])
{
	static const char *const ours[] = { ".", "..", HOME_FORMAT,
		HOME_KEYS ".new", HOME_LOCK, HOME_CONTROL, HOME_LOG,
		HOME_LOG ".1", "packs", "journal", "local", HOME_INDEX,
		HOME_NAMES, "lost+found" };
	DIR *d = opendir(dir);
	struct dirent *e;

	other[0] = '\0';
	if (!d)
		return false;
	while (!other[0] && (e = readdir(d))) {
		size_t i = 0, n = sizeof(ours) / sizeof(ours[0]);

		while (i < n && strcmp(e->d_name, ours[i]) != 0)
			i++;
		if (i == n)
			snprintf(other, 256, "%s", e->d_name);
	}
	closedir(d);
	return true;
}

static int
make_places(struct init *in)
{
	static const char *const places[] = { "packs", "journal", "local",
		HOME_INDEX };
	char path[PATH_MAX], other[256];
	bool made;

	if (!make_dirs(in->home.dir, &made) ||
	    (!made && !what_is_in_the_way(in->home.dir, other)))
		return fail(STATUS_FAILED,
		    "%s: %s: choose another place with "
		    "--home DIR",
		    in->home.dir, strerror(errno));
	if (!made && other[0])
		return fail(STATUS_FAILED,
		    "%s: is not empty ('%s' is in it): "
		    "choose another place with --home DIR",
		    in->home.dir, other);
	if (chmod(in->home.dir, 0700))
		return fail(STATUS_FAILED,
		    "%s: %s: choose a place of your "
		    "own with --home DIR",
		    in->home.dir, strerror(errno));
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!text_format(
			path, sizeof(path), "%s/%s", in->home.dir, places[i]) ||
		    (mkdir(path, 0700) && errno != EEXIST))
			return fail(STATUS_FAILED,
			    "%s/%s: %s: make room, or "
			    "check who may write there",
			    in->home.dir, places[i], strerror(errno));
	return STATUS_DONE;
}

static bool
home_has(const struct home *h, const char *name)
{
	char path[PATH_MAX];

	return text_format(path, sizeof(path), "%s/%s", h->dir, name) &&
	       access(path, F_OK) == 0;
}

static int
add_to_keys(struct init *in)
{
	enum err e = home_keys_add_user(
	    in->home.keys, in->address, in->recover ? in->root : NULL);

	if (e == ERR_EXISTS)
		return fail(STATUS_FAILED,
		    "--recover: the phrase is that of "
		    "another user in %s: check the phrase",
		    in->home.dir);
	if (e == ERR_RANGE)
		return fail(STATUS_FAILED,
		    "%s: has %d users, which is the "
		    "limit: make another home",
		    in->home.dir, KEYS_USERS_MAX);
	if (e)
		return fail(err_status(e), "keys: %s: try again", err_text(e));
	in->added = true;
	return home_write_keys(
	    &in->home, in->secret.given ? in->secret.text : NULL);
}

static int
make_store(struct init *in)
{
	enum err e = store_create(&in->home.env, in->home.keys);

	return e == OK ? STATUS_DONE
		       : fail(err_status(e),
			     "%s: %s: make room, then run "
			     "the same command again",
			     in->home.dir, err_text(e));
}

static int
new_keys(struct init *in)
{
	const char *at = strrchr(in->address, '@');
	enum err e;
	int status;

	if ((status = home_read_names(&in->home)) ||
	    (status = make_places(in)) || (status = home_lock(&in->home, 0)))
		return status;
	if ((in->ask || passphrase_named(in->c)) &&
	    (status = passphrase_read(in->c, true, &in->secret)))
		return status;
	if ((e = home_keys_new(at + 1, &in->home.keys)))
		return fail(err_status(e), "keys: %s: try again", err_text(e));
	return add_to_keys(in);
}

static int
old_keys(struct init *in)
{
	struct user_keys *u;
	int status;

	if ((status = home_read_names(&in->home)) ||
	    (status = home_lock(&in->home, 0)) ||
	    (status = home_read_keys(&in->home, in->c, &in->secret)))
		return status;
	u = home_keys_find(in->home.keys, in->address);
	if (!u)
		return add_to_keys(in);
	if (in->recover && memcmp(u->root, in->root, ROOT_BYTES) != 0)
		return fail(STATUS_FAILED,
		    "%s: is here with another recovery "
		    "phrase: check the phrase, or use another home with "
		    "--home DIR",
		    in->address);
	return STATUS_DONE;
}

/* The user's directory, which is what is missing if init was interrupted. */
static int
make_tree(struct init *in)
{
	const struct user_keys *u;
	uint64_t ino;
	enum err e;

	u = home_keys_find(in->home.keys, in->address);
	assert(u); /* it is there, or was added */
	e = store_user_root(in->home.store, in->address, &ino);
	if (e == OK)
		return fail(STATUS_FAILED,
		    "%s: exists already in %s: mount "
		    "it, or give another address",
		    in->address, in->home.dir);
	if (e == ERR_ABSENT)
		e = store_add_user(in->home.store, u, in->uid, in->gid, &ino);
	if (e)
		return fail(err_status(e),
		    "%s: %s: make room, then run the "
		    "same command again",
		    in->home.dir, err_text(e));
	return STATUS_DONE;
}

static void
print_result(const struct init *in, const char phrase[PHRASE_MAX])
{
	printf("home   %s%s\nuser   %s\n", in->home.dir,
	    in->secret.given ? " (keys under a passphrase)" : "", in->address);
	if (in->recover) {
		printf("keys   as the recovery phrase says\n");
		return;
	}
	printf("\nrecovery phrase:\n\n    %s\n\n"
	       "Write it on paper, now: it is not shown again.  Whoever has "
	       "it can read this\nuser's mail; without it, a lost home is "
	       "lost mail.  It makes the same keys again\nwith\n\n"
	       "    post init --user %s --recover\n\n"
	       "Next: post mount MOUNTPOINT\n",
	    phrase, in->address);
}

static int
init_home(struct init *in)
{
	char phrase[PHRASE_MAX], dir[PATH_MAX];
	int status, closed;

	if (!address_check(in->address))
		return fail(STATUS_USAGE,
		    "%s: is no address: give one such "
		    "as alice@rice.example",
		    in->address);
	if ((status = find_owner(in)) ||
	    (status = home_path(in->c, in->home.dir, sizeof(in->home.dir))) ||
	    (in->recover && (status = read_phrase(in))))
		return status;
	memcpy(dir, in->home.dir, sizeof(dir));
	status = home_has(&in->home, HOME_KEYS) ? old_keys(in) : new_keys(in);
	if (status == STATUS_DONE)
		status = home_open_parts(&in->home);
	if (status == STATUS_DONE && !home_has(&in->home, HOME_FORMAT))
		status = make_store(in);
	if (status == STATUS_DONE)
		status = home_open_store(&in->home);
	if (status == STATUS_DONE)
		status = make_tree(in);
	if (status == STATUS_DONE)
		phrase_encode(
		    home_keys_find(in->home.keys, in->address)->root, phrase);
	closed = home_close(&in->home);
	memcpy(in->home.dir, dir, sizeof(dir));
	if (status == STATUS_DONE && closed == STATUS_DONE)
		print_result(in, phrase);
	wipe(phrase, sizeof(phrase));
	return status ? status : closed;
}

int
cmd_init(struct common *c, int argc, char **argv)
{
	struct init in = { .c = c, .home = { .lock_fd = -1 } };
	const struct opt opts[] = { { .name = "user",
					.letter = 'u',
					.kind = OPT_TEXT,
					.into = &in.address,
					.arg = "ADDRESS",
					.help =
					    "whose mail it is: local@domain" },
		{ .name = "owner",
		    .kind = OPT_TEXT,
		    .into = &in.owner,
		    .arg = "NAME[:GROUP]",
		    .help = "account that owns her directory (default: you)" },
		{ .name = "passphrase",
		    .kind = OPT_FLAG,
		    .into = &in.ask,
		    .help = "ask for a passphrase to keep the keys under" },
		{ .name = "recover",
		    .kind = OPT_FLAG,
		    .into = &in.recover,
		    .help = "read a recovery phrase on standard input" },
		COMMON_OPTS(c) };
	int status = verb_begin("init", c, opts, &argc, argv, 0, 0);

	if (status >= 0)
		return status;
	if (!in.address)
		return fail(STATUS_USAGE, "init: no address: say whose mail it "
					  "is with --user ADDRESS");
	status = init_home(&in);
	wipe(&in.secret, sizeof(in.secret));
	wipe(in.root, sizeof(in.root));
	return status;
}
