/* post log: what happened to a user's tree, newest first; with --watch, what
 * happens, oldest first. */
#include "tools/control.h"
#include "tools/post_json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_DEFAULT 50
#define WATCH_S 1
#define WATCH_LINES 10000 /* looked back at most, within one second */

struct lines {
	json_t **line;
	size_t count, cap;
};

static void
lines_free(struct lines *l)
{
	for (size_t i = 0; i < l->count; i++)
		json_decref(l->line[i]);
	free(l->line);
	memset(l, 0, sizeof(*l));
}

static bool
lines_add(struct lines *l, json_t *j)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		json_t **line = realloc(l->line, cap * sizeof(*line));

		if (!line)
			return false;
		l->line = line;
		l->cap = cap;
	}
	l->line[l->count++] = j;
	return true;
}

static const char *
text_of(const json_t *line, const char *name)
{
	const char *s = json_string_value(json_object_get(line, name));

	return s ? s : "";
}

static uint64_t
sequence_of(const json_t *line)
{
	return (uint64_t)json_integer_value(json_object_get(line, "sequence"));
}

/* The lines of one user, newest first, added to l. */
static int
ask_lines(struct asker *a, const char *user, uint64_t max, uint64_t after,
    struct lines *l)
{
	char word[3 * ADDRESS_MAX + 1], *text, *rest, *one;
	int status;

	if (!control_encode(user, word, sizeof(word)))
		return fail(STATUS_USAGE,
		    "%s: is no address: see 'post "
		    "status'",
		    user);
	status = ask_text(a, &text, "log %s %llu %llu", word,
	    (unsigned long long)max, (unsigned long long)after);
	if (status)
		return status;
	rest = text;
	while (status == STATUS_DONE && (one = strsep(&rest, "\n"))) {
		json_t *j;

		if (!*one)
			continue;
		j = json_loads(one, 0, NULL);
		if (!j)
			status = fail(STATUS_FAILED,
			    "log: an answer is no "
			    "JSON: use programs of one version");
		else if (!lines_add(l, j)) {
			json_decref(j);
			status = fail(STATUS_AGAIN, "out of memory: ask for "
						    "fewer lines with --max");
		}
	}
	free(text);
	return status;
}

static void
print_line(const json_t *line)
{
	const char *to = text_of(line, "to");

	printf("%8llu  %s  %-8s %s/%s", (unsigned long long)sequence_of(line),
	    text_of(line, "time"), text_of(line, "op"), text_of(line, "user"),
	    text_of(line, "path"));
	if (*to)
		printf(" -> %s/%s", text_of(line, "user"), to);
	putchar('\n');
}

/* Newest first: by time, which all have in one form; then by sequence. */
static int
newer_first(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int by_time = strcmp(text_of(y, "time"), text_of(x, "time"));
	uint64_t sx = sequence_of(x), sy = sequence_of(y);

	if (by_time && strcmp(text_of(x, "user"), text_of(y, "user")) != 0)
		return by_time;
	return sx < sy ? 1 : sx > sy ? -1 : by_time;
}

static int
show(struct lines *l, uint64_t max, bool json)
{
	json_t *list;
	size_t n;

	if (l->count)
		qsort(l->line, l->count, sizeof(*l->line), newer_first);
	n = l->count < max ? l->count : (size_t)max;
	if (!json) {
		for (size_t i = 0; i < n; i++)
			print_line(l->line[i]);
		return STATUS_DONE;
	}
	list = json_array();
	for (size_t i = 0; list && i < n; i++)
		if (json_array_append(list, l->line[i])) {
			json_decref(list);
			list = NULL;
		}
	return json_print(list);
}

/* Every second, what has come since; one JSON object a line. */
static int
watch_user(
    struct asker *a, const char *user, uint64_t *after, bool first, bool json)
{
	struct lines l = { 0 };
	int status = ask_lines(a, user, first ? 1 : WATCH_LINES, *after, &l);

	for (size_t i = l.count; i-- > 0 && status == STATUS_DONE;) {
		if (sequence_of(l.line[i]) > *after)
			*after = sequence_of(l.line[i]);
		if (first)
			continue;
		if (json) {
			json_dumpf(l.line[i], stdout,
			    JSON_COMPACT | JSON_ENSURE_ASCII);
			putchar('\n');
		} else {
			print_line(l.line[i]);
		}
	}
	lines_free(&l);
	return status;
}

static int
split_users(char *text, char ***out, size_t *count)
{
	size_t n = 0, lines = 0;
	char **user, *one;

	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	user = calloc(lines + 1, sizeof(*user));
	if (!user)
		return fail(STATUS_AGAIN, "out of memory: free some");
	while ((one = strsep(&text, "\n")))
		if (*one)
			user[n++] = one;
	*out = user;
	*count = n;
	return STATUS_DONE;
}

static int
run(struct asker *a, char **user, size_t users, uint64_t max, bool watch,
    bool json)
{
	uint64_t *after = calloc(users + 1, sizeof(*after));
	struct lines l = { 0 };
	int status = STATUS_DONE;

	if (!after)
		return fail(STATUS_AGAIN, "out of memory: free some");
	for (size_t i = 0; i < users && status == STATUS_DONE; i++)
		status = watch ? watch_user(a, user[i], &after[i], true, json)
			       : ask_lines(a, user[i], max, 0, &l);
	if (status == STATUS_DONE && !watch)
		status = show(&l, max, json);
	while (watch && status == STATUS_DONE && sleep(WATCH_S) == 0) {
		for (size_t i = 0; i < users && status == STATUS_DONE; i++)
			status = watch_user(a, user[i], &after[i], false, json);
		if (fflush(stdout))
			break;
	}
	lines_free(&l);
	free(after);
	return status;
}

int
cmd_log(struct common *c, int argc, char **argv)
{
	const char *only = NULL;
	uint64_t max = LINES_DEFAULT;
	bool watch = false;
	const struct opt opts[] = {
		{ .name = "user",
		    .letter = 'u',
		    .kind = OPT_TEXT,
		    .into = &only,
		    .arg = "ADDRESS",
		    .help = "only of this user (default: all here)" },
		{ .name = "max",
		    .letter = 'n',
		    .kind = OPT_NUMBER,
		    .into = &max,
		    .arg = "N",
		    .help = "at most N lines (50)" },
		{ .name = "json",
		    .kind = OPT_FLAG,
		    .into = &c->json,
		    .help = "one JSON list; with --watch an object a line" },
		{ .name = "watch",
		    .letter = 'w',
		    .kind = OPT_FLAG,
		    .into = &watch,
		    .help = "print what happens from now on" },
		COMMON_OPTS(c)
	};
	struct asker *a;
	char *text = NULL, **user = NULL;
	size_t users = 0;
	int status = verb_begin("log", c, opts, &argc, argv, 0, 0), closed;

	if (status >= 0 || (status = asker_open(c, &a)))
		return status;
	status = only ? ((text = strdup(only))
				? STATUS_DONE
				: fail(STATUS_AGAIN, "out of memory: free "
						     "some"))
		      : ask_text(a, &text, "users");
	if (status == STATUS_DONE &&
	    (status = split_users(text, &user, &users)) == STATUS_DONE)
		status = run(a, user, users, max, watch, c->json);
	free(user);
	free(text);
	closed = asker_close(a);
	return status ? status : closed;
}
