/* post scrub: every block read and checked; --repair makes a damaged index
 * anew from the packs. */
#include "tools/control.h"
#include "tools/post_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_NEW HOME_INDEX ".new"

struct result {
	bool json;
	json_t *found, *report;
	bool no_memory;
};

static void
take_found(struct result *r, const char *text)
{
	json_t *j;

	if (!r->json) {
		puts(text);
		return;
	}
	j = json_bytes(text, strlen(text));
	if (!j || json_array_append_new(r->found, j))
		r->no_memory = true;
}

static void
rebuild_tells(void *arg, const char *line)
{
	take_found(arg, line);
}

/* ---- looking ------------------------------------------------------------ */

static int
look(struct asker *a, const char *path, struct result *r)
{
	char word[3 * PATH_MAX], *text, *rest, *one;
	int status;

	if (!control_encode(path, word, sizeof(word)))
		return fail(STATUS_FAILED,
		    "%s: is too long: name a directory "
		    "above it",
		    path);
	if ((status = ask_text(a, &text, "scrub %s", word)))
		return status;
	rest = text;
	while ((one = strsep(&rest, "\n"))) {
		if (strncmp(one, "found ", 6) == 0) {
			take_found(r, one + 6);
		} else if (strncmp(one, "report ", 7) == 0) {
			json_decref(r->report);
			r->report = json_loads(one + 7, 0, NULL);
		}
	}
	free(text);
	if (!r->report || r->no_memory)
		return fail(STATUS_AGAIN,
		    "scrub: the report is missing: free "
		    "memory, and use programs of one version");
	return STATUS_DONE;
}

static uint64_t
figure(const struct result *r, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(r->report, name));
}

/* Prints, and says whether all is well. */
static int
conclude(struct result *r, bool repaired)
{
	uint64_t bad = figure(r, "damaged_blocks") +
		       figure(r, "damaged_files") + figure(r, "lost_files");
	char a[32], b[32], d[32];
	int status = STATUS_DONE;

	if (r->json) {
		if (json_object_set(r->report, "found", r->found) ||
		    json_object_set_new(
			r->report, "rebuilt", json_boolean(repaired)))
			return fail(STATUS_AGAIN, "out of memory: free some");
		status = json_print(json_incref(r->report));
	} else {
		printf("%s blocks, %s, %s files: %s\n",
		    text_count(figure(r, "blocks"), a),
		    text_bytes(figure(r, "bytes"), b),
		    text_count(figure(r, "files"), d),
		    bad ? "damage found" : "all whole");
		if (bad)
			printf("damaged blocks %s, damaged files %s, lost "
			       "files %s\n",
			    text_count(figure(r, "damaged_blocks"), a),
			    text_count(figure(r, "damaged_files"), b),
			    text_count(figure(r, "lost_files"), d));
	}
	if (status == STATUS_DONE && bad)
		return fail(STATUS_FAILED,
		    "scrub: damage was found: restore "
		    "the files named from a backup, and check the disk");
	return status;
}

/* ---- repairing ---------------------------------------------------------- */

/* An index that an interrupted repair left: files only. */
static bool
empty_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool ok = true;

	if (!d)
		return false;
	while (ok && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			ok = unlinkat(dirfd(d), e->d_name, 0) == 0;
	closedir(d);
	return ok;
}

/* The new index takes the old one's place in one step; the old one is kept
 * beside it. */
static int
swap_index(const char *home_dir, const char *fresh, const char *index)
{
	char kept[PATH_MAX], when[32];
	int dir_fd;
	bool synced;

	if (!text_format(kept, sizeof(kept), "%s.damaged-%s", index,
		text_time(clock_wall_ns(), when)))
		return fail(STATUS_FAILED,
		    "%s: path is too long: move the "
		    "home",
		    index);
	if (renameat2(AT_FDCWD, fresh, AT_FDCWD, index, RENAME_EXCHANGE) &&
	    (errno != ENOENT || rename(fresh, index)))
		return fail(STATUS_FAILED,
		    "%s: %s: check who may write "
		    "there",
		    index, strerror(errno));
	if (rename(fresh, kept) && errno != ENOENT)
		say("%s: %s: remove it by hand", fresh, strerror(errno));
	else if (access(kept, F_OK) == 0)
		say("scrub: the damaged index is kept: remove %s when all is "
		    "well",
		    kept);
	dir_fd = open(home_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	synced = dir_fd >= 0 && fsync(dir_fd) == 0;
	if (dir_fd >= 0)
		close(dir_fd);
	return synced ? STATUS_DONE
		      : fail(STATUS_FAILED, "%s: %s: check the disk", home_dir,
			    strerror(errno));
}

static int
rebuild(struct home *h, struct result *r)
{
	char fresh[PATH_MAX], index[PATH_MAX];
	struct scrub_report report = { 0 };
	enum err e;

	if (!text_format(fresh, sizeof(fresh), "%s/" INDEX_NEW, h->dir) ||
	    !text_format(index, sizeof(index), "%s/" HOME_INDEX, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: move the "
		    "home",
		    h->dir);
	if ((mkdir(fresh, 0700) && errno != EEXIST) || !empty_dir(fresh))
		return fail(STATUS_FAILED,
		    "%s: %s: make room, or check who "
		    "may write there",
		    fresh, strerror(errno));
	index_close(h->index);
	disk_close(h->disk);
	h->index = NULL;
	h->disk = NULL;
	if ((e = disk_posix_open(h->dir, &h->disk)) ||
	    (e = index_lmdb_open(fresh, &h->index)))
		return fail(err_status(e),
		    "%s: %s: make room, or check who "
		    "may write there",
		    fresh, err_text(e));
	home_env(h);
	e = store_rebuild(&h->env, h->keys, rebuild_tells, r, &report);
	index_close(h->index);
	h->index = NULL;
	if (e)
		return fail(err_status(e),
		    "%s: the index could not be "
		    "rebuilt: %s: the old one is as it was",
		    h->dir, err_text(e));
	return swap_index(h->dir, fresh, index);
}

/* Open the store of a locked home; if it does not open for damage, or if
 * `force`, rebuild the index first. */
static int
open_or_rebuild(struct home *h, bool force, struct result *r, bool *rebuilt)
{
	char index[PATH_MAX], why[600] = "";
	enum err e;
	int status;

	if (!text_format(index, sizeof(index), "%s/" HOME_INDEX, h->dir))
		return fail(STATUS_FAILED,
		    "%s: path is too long: move the "
		    "home",
		    h->dir);
	if ((e = disk_posix_open(h->dir, &h->disk)) == OK &&
	    (e = index_lmdb_open(index, &h->index)) == OK) {
		home_env(h);
		h->env.why = why;
		h->env.why_cap = sizeof(why);
		e = store_open(&h->env, h->keys, &h->store);
		h->env.why = NULL;
		/* The one file that no index is made from. */
		if (e && strncmp(why, HOME_FORMAT ":", 7) == 0)
			return fail(err_status(e), "%s/%s", h->dir, why);
		if (e == OK) {
			enum err damage = index_check(h->index);

			if (!damage && !force)
				return STATUS_DONE;
			e = store_close(h->store);
			h->store = NULL;
			if (damage)
				e = damage;
		}
	}
	if (e == ERR_NEWER || e == ERR_NOSPACE || e == ERR_NOMEM ||
	    e == ERR_DENIED)
		return fail(err_status(e),
		    "%s: %s: a rebuilt index would not "
		    "mend that",
		    h->dir, err_text(e));
	say("scrub: %s: building a new index from the packs",
	    e ? err_text(e) : "as asked");
	*rebuilt = true;
	if ((status = rebuild(h, r)))
		return status;
	disk_close(h->disk);
	h->disk = NULL;
	status = home_open_parts(h);
	return status ? status : home_open_store(h);
}

static int
repair(struct common *c, bool force, struct result *r, bool *rebuilt,
    struct asker **out)
{
	struct home h;
	int status;

	if ((status = home_find(&h, c)) == STATUS_DONE &&
	    (status = home_lock(&h, 0)) == STATUS_DONE &&
	    (status = home_read_names(&h)) == STATUS_DONE &&
	    (status = home_read_keys(&h, c, NULL)) == STATUS_DONE &&
	    (status = open_or_rebuild(&h, force, r, rebuilt)) == STATUS_DONE)
		return asker_of_home(&h, out);
	return home_close(&h) ? STATUS_FAILED : status;
}

int
cmd_scrub(struct common *c, int argc, char **argv)
{
	const char *path = "";
	bool mend = false, force = false, rebuilt = false;
	const struct opt opts[] = {
		{ .name = "path",
		    .letter = 'p',
		    .kind = OPT_TEXT,
		    .into = &path,
		    .arg = "P",
		    .help = "only below this, as in alice@x/Maildir" },
		{ .name = "repair",
		    .kind = OPT_FLAG,
		    .into = &mend,
		    .help = "rebuild a damaged index (not while mounted)" },
		{ .name = "rebuild",
		    .kind = OPT_FLAG,
		    .into = &force,
		    .help = "with --repair: rebuild it even if it opens" },
		{ .name = "json",
		    .kind = OPT_FLAG,
		    .into = &c->json,
		    .help = "one JSON object" },
		COMMON_OPTS(c)
	};
	struct result r = { 0 };
	struct asker *a = NULL;
	int status = verb_begin("scrub", c, opts, &argc, argv, 0, 0), closed;

	if (status >= 0)
		return status;
	if (force && !mend)
		return fail(STATUS_USAGE, "--rebuild: goes with --repair: give "
					  "both");
	r.json = c->json;
	if (!(r.found = json_array()))
		return fail(STATUS_AGAIN, "out of memory: free some");
	while (*path == '/')
		path++;
	status = mend ? repair(c, force, &r, &rebuilt, &a) : asker_open(c, &a);
	if (status == STATUS_DONE &&
	    (status = look(a, path, &r)) == STATUS_DONE)
		status = conclude(&r, rebuilt);
	json_decref(r.found);
	json_decref(r.report);
	closed = asker_close(a);
	return status ? status : closed;
}
