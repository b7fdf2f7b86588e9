/* The requests of control.h, answered from an open store. */
#include "tools/control.h"

#include "fs/status.h"
#include "tools/post_json.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK_BYTES 16

struct asked {
	const struct answerer *a;
	answer_out *out;
	void *arg;
	char *why;
	size_t why_cap;
};

static int refuse(struct asked *q, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int
refuse(struct asked *q, int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(q->why, q->why_cap, format, args);
	va_end(args);
	return status;
}

/* What went wrong in the store, in its own words if it has some. */
static int
refuse_err(struct asked *q, const char *what, enum err e)
{
	char problem[512];

	store_problem(q->a->home->store, problem, sizeof(problem));
	return refuse(q, err_status(e), "%s: %s: %s", what, err_text(e),
	    problem[0] ? problem : "run 'post doctor'");
}

static int
gone(struct asked *q)
{
	return refuse(q, STATUS_FAILED, "answer: the asker is gone: ask again");
}

static int
answer_hello(struct asked *q)
{
	char text[2 * PATH_MAX + 32];

	if (!text_format(text, sizeof(text), "%ld\n%s\n%s\n", (long)getpid(),
		q->a->mountpoint ? q->a->mountpoint : "",
		q->a->subtree ? q->a->subtree : ""))
		return refuse(q, STATUS_FAILED,
		    "hello: paths are too long: "
		    "mount at a shorter one");
	return q->out(q->arg, text, strlen(text)) ? STATUS_DONE : gone(q);
}

static int
answer_users(struct asked *q)
{
	const struct home_keys *k = q->a->home->keys;

	for (unsigned i = 0; i < k->users; i++)
		if (!q->out(q->arg, k->user[i].address,
			strlen(k->user[i].address)) ||
		    !q->out(q->arg, "\n", 1))
			return gone(q);
	return STATUS_DONE;
}

static int
answer_status(struct asked *q, const char *form)
{
	const struct status_about about = {
		.mountpoint = q->a->mountpoint,
		.since_ns = q->a->since_ns,
		.keys = q->a->home->keys,
	};
	char *text;
	enum err e;
	bool sent;

	e = status_text(
	    q->a->home->store, &about, strcmp(form, "json") == 0, &text);
	if (e)
		return refuse_err(q, "status", e);
	sent = q->out(q->arg, text, strlen(text));
	free(text);
	return sent ? STATUS_DONE : gone(q);
}

struct log_walk {
	struct asked *q;
	const char *address;
	uint64_t after;
	enum { LOG_GOES_ON, LOG_NO_MEMORY, LOG_GONE } state;
};

static bool
log_line_out(void *arg, const struct log_line *line)
{
	struct log_walk *w = arg;
	char when[32], *text;
	json_t *j;
	bool bad, sent;

	if (line->sequence <= w->after)
		return false;
	j = json_pack("{s:I, s:s, s:o, s:o, s:s, s:I}", "sequence",
	    (json_int_t)line->sequence, "time", text_time(line->time_ns, when),
	    "user", json_bytes(w->address, strlen(w->address)), "path",
	    json_bytes(line->path, strlen(line->path)), "op", line->op, "size",
	    (json_int_t)line->size);
	bad = !j || (line->to_path &&
			json_object_set_new(j, "to",
			    json_bytes(line->to_path, strlen(line->to_path))));
	text = bad ? NULL : json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(j);
	if (!text) {
		w->state = LOG_NO_MEMORY;
		return false;
	}
	sent = w->q->out(w->q->arg, text, strlen(text)) &&
	       w->q->out(w->q->arg, "\n", 1);
	free(text);
	if (!sent)
		w->state = LOG_GONE;
	return sent;
}

static int
answer_log(
    struct asked *q, const char *address, const char *max, const char *after)
{
	struct log_walk w = { .q = q, .address = address };
	enum err e;

	w.after = strtoull(after, NULL, 10);
	e = store_log(q->a->home->store, address, strtoull(max, NULL, 10),
	    log_line_out, &w);
	if (e == ERR_ABSENT)
		return refuse(q, STATUS_FAILED,
		    "%s: no such user: see 'post "
		    "status'",
		    address);
	if (e)
		return refuse_err(q, "log", e);
	if (w.state == LOG_NO_MEMORY)
		return refuse(q, STATUS_AGAIN,
		    "log: out of memory: ask for "
		    "fewer lines with --max");
	return w.state == LOG_GONE ? gone(q) : STATUS_DONE;
}

static void
scrub_found(void *arg, const char *line)
{
	struct asked *q = arg;

	/* An asker that left is noticed at the report. */
	if (q->out(q->arg, "found ", 6) && q->out(q->arg, line, strlen(line)))
		q->out(q->arg, "\n", 1);
}

static int
answer_scrub(struct asked *q, const char *path)
{
	struct scrub_report r = { 0 };
	char text[512];
	enum err e;

	e = store_scrub(q->a->home->store, path, scrub_found, q, &r);
	if (e == ERR_ABSENT)
		return refuse(q, STATUS_FAILED,
		    "%s: no such file or "
		    "directory: paths begin with a user's address",
		    path);
	if (e)
		return refuse_err(q, "scrub", e);
	snprintf(text, sizeof(text),
	    "report {\"blocks\":%llu,\"bytes\":%llu,\"files\":%llu,"
	    "\"damaged_blocks\":%llu,\"damaged_files\":%llu,"
	    "\"lost_files\":%llu,\"repaired\":%llu}\n",
	    (unsigned long long)r.blocks, (unsigned long long)r.bytes,
	    (unsigned long long)r.files, (unsigned long long)r.damaged_blocks,
	    (unsigned long long)r.damaged_files,
	    (unsigned long long)r.lost_files, (unsigned long long)r.repaired);
	return q->out(q->arg, text, strlen(text)) ? STATUS_DONE : gone(q);
}

static bool
mark_from_hex(const char *hex, uint8_t mark[MARK_BYTES])
{
	char whole[ID_HEX + 1];
	struct id id;

	if (strlen(hex) != 2 * MARK_BYTES)
		return false;
	snprintf(whole, sizeof(whole), "%s%s", hex, hex);
	if (!id_from_hex(whole, &id))
		return false;
	memcpy(mark, id.b, MARK_BYTES);
	return true;
}

static int
answer_marks(struct asked *q, char *rest, bool add)
{
	struct store *s = q->a->home->store;
	uint8_t mark[MARK_BYTES];
	char *word;
	enum err e;

	while ((word = control_next(&rest))) {
		bool has = false;

		if (!mark_from_hex(word, mark))
			return refuse(q, STATUS_USAGE,
			    "%s: no mark: give 32 "
			    "hex digits",
			    word);
		e = add ? store_ledger_add(s, mark)
			: store_ledger_has(s, mark, &has);
		if (e)
			return refuse_err(q, "ledger", e);
		if (!add && !q->out(q->arg, has ? "1" : "0", 1))
			return gone(q);
	}
	return STATUS_DONE;
}

int
answer(const struct answerer *a, char *request, answer_out *out, void *arg,
    char *why, size_t why_cap)
{
	struct asked q = {
		.a = a, .out = out, .arg = arg, .why = why, .why_cap = why_cap
	};
	char *rest = request, *word = control_next(&rest);
	char *one, *two, *three;
	enum err e;

	if (!word)
		word = request;
	if (strcmp(word, "hello") == 0)
		return answer_hello(&q);
	if (strcmp(word, "users") == 0)
		return answer_users(&q);
	if (strcmp(word, "checkpoint") == 0)
		return (e = store_checkpoint(a->home->store))
			   ? refuse_err(&q, "checkpoint", e)
			   : STATUS_DONE;
	if (strcmp(word, "has") == 0)
		return answer_marks(&q, rest, false);
	if (strcmp(word, "add") == 0)
		return answer_marks(&q, rest, true);
	one = control_next(&rest);
	if (strcmp(word, "status") == 0 && one)
		return answer_status(&q, one);
	if (strcmp(word, "scrub") == 0)
		return answer_scrub(&q, one ? one : "");
	two = one ? control_next(&rest) : NULL;
	three = two ? control_next(&rest) : NULL;
	if (strcmp(word, "log") == 0 && three)
		return answer_log(&q, one, two, three);
	return refuse(&q, STATUS_USAGE,
	    "%s: no such request: use programs of "
	    "one version",
	    word);
}
