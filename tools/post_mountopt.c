#include "tools/post_mountopt.h"

#include <stdio.h>
#include <string.h>

/* libfuse makes mount flags of these. */
static const char *const passed[] = { "noexec", "exec", "noatime", "nodiratime",
	"norelatime", "nostrictatime", "sync", "async", "dirsync" };

/* Always so, of no meaning here, or for mount(8) and systemd. */
static const char *const let_pass[] = { "default_permissions", "rw", "defaults",
	"nosuid", "suid", "nodev", "dev", "atime", "diratime", "relatime",
	"strictatime", "lazytime", "nolazytime", "auto", "noauto", "user",
	"nouser", "users", "owner", "group", "nofail", "_netdev", "silent",
	"loud", "mand", "nomand", "iversion", "noiversion" };
static const char *const let_pass_value[] = { "user=", "uid=", "gid=", "umask=",
	"fsname=", "subtype=", "comment=", "x-", "X-" };

static bool
among(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

static bool
begins_among(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strncmp(word, list[i], strlen(list[i])) == 0)
			return true;
	return false;
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* The next option, unescaped, to word[cap]; false if it does not fit. */
static bool
next_word(const char **text, char *word, size_t cap)
{
	const char *p = *text;
	size_t len = 0;

	for (; *p && *p != ','; p++) {
		if (p[0] == '\\' && (p[1] == ',' || p[1] == '\\'))
			p++;
		if (len + 1 >= cap)
			return false;
		word[len++] = *p;
	}
	word[len] = '\0';
	*text = *p ? p + 1 : p;
	return true;
}

static bool
value_of(const char *word, const char *name, const char **value)
{
	size_t len = strlen(name);

	if (strncmp(word, name, len) != 0 || word[len] != '=')
		return false;
	*value = word + len + 1;
	return true;
}

static bool
take_path(const char *name, const char *value, char out[PATH_MAX], char *why,
    size_t why_cap)
{
	if (!*value) {
		snprintf(why, why_cap, "-o %s: a path is missing", name);
		return false;
	}
	memcpy(out, value, strlen(value) + 1); /* word is no longer than out */
	return true;
}

static void
trim_slashes(char *path)
{
	size_t len = strlen(path), skip = strspn(path, "/");

	memmove(path, path + skip, len - skip + 1);
	len -= skip;
	while (len && path[len - 1] == '/')
		path[--len] = '\0';
}

static bool
take_word(struct mountopt *o, const char *word, char *why, size_t why_cap)
{
	const char *value;

	if (strcmp(word, "allow_other") == 0) {
		o->allow_other = true;
		o->no_allow_other = false;
	} else if (strcmp(word, "noallow_other") == 0) {
		o->allow_other = false;
		o->no_allow_other = true;
	} else if (strcmp(word, "ro") == 0) {
		o->read_only = true;
	} else if (strcmp(word, "rw") == 0) {
		o->read_only = false;
	} else if (value_of(word, "home", &value)) {
		return take_path("home", value, o->home, why, why_cap);
	} else if (value_of(word, "passphrase-file", &value)) {
		return take_path(
		    "passphrase-file", value, o->passphrase_file, why, why_cap);
	} else if (value_of(word, "subtree", &value)) {
		if (!take_path("subtree", value, o->subtree, why, why_cap))
			return false;
		trim_slashes(o->subtree);
	} else if (among(word, passed, COUNT(passed))) {
		size_t had = strlen(o->passed);

		if (had + strlen(word) + 2 > sizeof(o->passed)) {
			snprintf(why, why_cap, "-o %s: said too often", word);
			return false;
		}
		if (had)
			o->passed[had++] = ',';
		memcpy(o->passed + had, word, strlen(word) + 1);
	} else if (!among(word, let_pass, COUNT(let_pass)) &&
		   !begins_among(word, let_pass_value, COUNT(let_pass_value))) {
		snprintf(why, why_cap, "-o %s: no such option", word);
		return false;
	}
	return true;
}

bool
mountopt_parse(
    const char *text, struct mountopt *out, char *why, size_t why_cap)
{
	char word[PATH_MAX];

	memset(out, 0, sizeof(*out));
	while (text && *text) {
		if (!next_word(&text, word, sizeof(word))) {
			snprintf(why, why_cap, "-o %.32s...: too long", text);
			return false;
		}
		if (*word && !take_word(out, word, why, why_cap))
			return false;
	}
	return true;
}
