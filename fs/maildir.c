/* What stays on this node, and what a message's name says.
 *
 * The list of local-only names follows; LAYOUT.md prints it for people.  Each
 * is the cache, index or lock of one mail program on one machine: its content
 * names inode numbers, times or processes that mean nothing elsewhere, and a
 * program that misses it makes it anew.  Not in the list, because another
 * device needs them: dovecot-keywords (what the letters a to z in a message's
 * name mean), subscriptions, sieve scripts.
 *
 * Names of folders are the trap: in Maildir++ a folder's directory begins with
 * a dot, so ".temp.", "*.lock" and the like hold for files only, and of the
 * directories only what no folder is likely to be called. */
#include "fs/maildir.h"

#include <string.h>

/* A name matches if it begins with `begin` and ends with `end` (both do not
 * overlap), or, with `whole`, if it is `begin`. */
struct pattern {
	const char *begin, *end;
	bool whole;
};

#define PREFIX(text)                                                           \
	{                                                                      \
		(text), "", false                                              \
	}
#define SUFFIX(text)                                                           \
	{                                                                      \
		"", (text), false                                              \
	}
#define WHOLE(text)                                                            \
	{                                                                      \
		(text), "", true                                               \
	}
#define AROUND(a, b)                                                           \
	{                                                                      \
		(a), (b), false                                                \
	}

static const struct pattern local_files[] = {
	/* Dovecot */
	PREFIX("dovecot.index"),
	PREFIX("dovecot-uidlist"),
	PREFIX("dovecot.list.index"),
	PREFIX("dovecot-uidvalidity"),
	PREFIX("dovecot.mailbox.log"),
	PREFIX(".temp."),
	WHOLE("maildirsize"),
	/* dotlocks, of all programs */
	SUFFIX(".lock"),
	/* Mutt and NeoMutt */
	PREFIX(".hcache"),
	SUFFIX(".hcache"),
	PREFIX(".header_cache"),
	WHOLE("header_cache"),
	/* editors */
	SUFFIX(".swp"),
	SUFFIX(".swo"),
	SUFFIX(".swx"),
	PREFIX(".#"),
	AROUND("#", "#"),
	SUFFIX("~"),
	WHOLE("4913"),
	/* names that network and user-space filesystems hide behind */
	PREFIX(".nfs"),
	PREFIX(".fuse_hidden"),
};

static const struct pattern local_dirs[] = {
	WHOLE(".notmuch"),
	WHOLE(".mu"),
	WHOLE("xapian"),
	WHOLE(".xapian"),
	WHOLE("xapian-indexes"), /* Dovecot's full-text search */
	WHOLE("header_cache"),
	WHOLE(".header_cache"),
	WHOLE(".hcache"),
};

static struct local_names added; /* the home's own */

static bool
matches(const struct pattern *p, const char *name, size_t len)
{
	size_t begin = strlen(p->begin), end = strlen(p->end);

	if (len < begin + end || memcmp(name, p->begin, begin) != 0)
		return false;
	if (p->whole)
		return len == begin;
	return memcmp(name + len - end, p->end, end) == 0;
}

static bool
in_list(const struct pattern *list, size_t count, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < count; i++)
		if (matches(&list[i], name, len))
			return true;
	return false;
}

bool
maildir_is_local(void *arg, const char *dir_name, const char *name, bool is_dir)
{
	(void)arg;
	if (strcmp(dir_name, "tmp") == 0)
		return true;
	if (local_names_have(&added, name, is_dir))
		return true;
	if (is_dir)
		return in_list(
		    local_dirs, sizeof(local_dirs) / sizeof(*local_dirs), name);
	return in_list(
	    local_files, sizeof(local_files) / sizeof(*local_files), name);
}

void
maildir_local_set(const struct local_names *l)
{
	added = *l;
}

/* The field's number if it is "K=" and digits to its end, else 0. */
static uint64_t
field_number(const char *field, size_t len, char key)
{
	uint64_t v = 0;

	if (len < 3 || field[0] != key || field[1] != '=')
		return 0;
	for (size_t i = 2; i < len; i++) {
		unsigned digit = (unsigned)(field[i] - '0');

		if (digit > 9 || v > (UINT64_MAX - digit) / 10)
			return 0;
		v = v * 10 + digit;
	}
	return v;
}

void
maildir_parse(const char *name, struct maildir_name *out)
{
	const char *info = strstr(name, ":2,"), *end, *field;

	memset(out, 0, sizeof(*out));
	end = info ? info : name + strlen(name);
	out->base_len = (size_t)(end - name);
	out->has_info = info != NULL;
	out->flags = info ? info + 3 : end;
	for (field = memchr(name, ',', out->base_len); field;) {
		const char *next;
		size_t len;

		field++;
		next = memchr(field, ',', (size_t)(end - field));
		len = (size_t)((next ? next : end) - field);
		if (len && field[0] == 'S')
			out->size = field_number(field, len, 'S');
		else if (len && field[0] == 'W')
			out->wsize = field_number(field, len, 'W');
		field = next;
	}
}

/* The part that is unique by itself: some programs add ",S=" later. */
static size_t
unique_len(const char *name)
{
	return strcspn(name, ",:");
}

bool
maildir_same_message(const char *a, const char *b)
{
	size_t len = unique_len(a);

	return len > 0 && len == unique_len(b) && memcmp(a, b, len) == 0;
}

bool
maildir_is_message_dir(const char *dir_name)
{
	return strcmp(dir_name, "cur") == 0 || strcmp(dir_name, "new") == 0;
}
