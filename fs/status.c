#include "fs/status.h"
#include "fs/when.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a home without a ring says of its replicas: the one here is all that is
 * wanted, so nothing lags. */
#define REPLICAS_WANTED 1

/* All that both forms tell. */
struct facts {
	char node[ID_HEX + 1], since[WHEN_MAX];
	struct store_stats store;
	struct store_user_stats *user;
	unsigned users;
};

static enum err
gather(struct store *s, const struct status_about *about, struct facts *f)
{
	enum err e = store_stats(s, &f->store);

	if (e)
		return e;
	f->users = about->keys->users;
	f->user = calloc(f->users ? f->users : 1, sizeof(*f->user));
	if (!f->user)
		return ERR_NOMEM;
	id_to_hex(&about->keys->node_id, f->node);
	when_format(about->since_ns, 0, f->since);
	for (unsigned i = 0; !e && i < f->users; i++)
		e = store_user_stats(s, i, &f->user[i]);
	if (e) {
		free(f->user);
		f->user = NULL;
	}
	return e;
}

static json_t *
number(uint64_t v)
{
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

static json_t *
user_json(const struct store_user_stats *u)
{
	char device[ID_HEX + 1], user[ID_HEX + 1];

	id_to_hex(&u->device, device);
	id_to_hex(&u->user, user);
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "address",
	    u->address, "id", user, "device", device, "messages",
	    number(u->messages), "files", number(u->files), "logical_bytes",
	    number(u->logical_bytes), "head_sequence", number(u->head_sequence),
	    "record_sequence", number(u->record_sequence));
}

static char *
as_json(const struct facts *f, const struct status_about *about)
{
	const struct store_stats *st = &f->store;
	json_t *users = json_array(), *mount, *root;
	char *text;

	for (unsigned i = 0; users && i < f->users; i++)
		if (json_array_append_new(users, user_json(&f->user[i]))) {
			json_decref(users);
			users = NULL;
		}
	mount = about->mountpoint ? json_pack("{s:s, s:s}", "path",
					about->mountpoint, "since", f->since)
				  : json_null();
	/* "o" takes its argument over, and makes the whole fail if it is
	 * NULL. */
	root = json_pack("{s:{s:s, s:s, s:n}, s:o, s:o,"
			 " s:{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o},"
			 " s:{s:i, s:i, s:i}, s:i}",
	    "node", "id", f->node, "version", POST_VERSION, "listen", /**/
	    "mount", mount, "users", users, /**/
	    "store", "blocks", number(st->blocks), "stored_bytes",
	    number(st->stored_bytes), "logical_bytes",
	    number(st->logical_bytes), "limit_bytes", number(st->limit_bytes),
	    "free_bytes", number(st->free_bytes), "index_bytes",
	    number(st->index_bytes), "journal_bytes", number(st->journal_bytes),
	    "files", number(st->files), "messages", number(st->messages), /**/
	    "replication", "wanted", REPLICAS_WANTED, "lag_blocks", 0,
	    "under_replicated", 0, "peers", 0);
	text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	return text;
}

/* A number of bytes as people say it. */
static const char *
bytes_text(uint64_t bytes, char out[24])
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB",
		"PiB", "EiB" };
	unsigned u = 0;
	uint64_t whole = bytes, rest = 0;

	while (whole >= 1024 && u < 6) {
		rest = whole % 1024;
		whole /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(out, 24, "%llu B", (unsigned long long)whole);
	else
		snprintf(out, 24, "%llu.%llu %s", (unsigned long long)whole,
		    (unsigned long long)(rest * 10 / 1024), unit[u]);
	return out;
}

static void
print_users(FILE *out, const struct facts *f)
{
	char bytes[24];

	for (unsigned i = 0; i < f->users; i++) {
		const struct store_user_stats *u = &f->user[i];

		fprintf(out,
		    "user         %s: %llu messages, %llu files, %s, "
		    "log at %llu (head %llu)\n",
		    u->address, (unsigned long long)u->messages,
		    (unsigned long long)u->files,
		    bytes_text(u->logical_bytes, bytes),
		    (unsigned long long)u->record_sequence,
		    (unsigned long long)u->head_sequence);
	}
}

static char *
as_text(const struct facts *f, const struct status_about *about)
{
	const struct store_stats *st = &f->store;
	char a[24], b[24], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool failed;

	if (!out)
		return NULL;
	fprintf(out, "node         %s, version %s\n", f->node, POST_VERSION);
	if (about->mountpoint)
		fprintf(out, "mount        %s since %s\n", about->mountpoint,
		    f->since);
	else
		fprintf(out, "mount        none\n");
	print_users(out, f);
	fprintf(out, "store        %llu blocks in %s hold %s of files\n",
	    (unsigned long long)st->blocks, bytes_text(st->stored_bytes, a),
	    bytes_text(st->logical_bytes, b));
	fprintf(out, "disk         index %s, ", bytes_text(st->index_bytes, a));
	fprintf(out, "journal %s, local-only %s, ",
	    bytes_text(st->journal_bytes, a), bytes_text(st->local_bytes, b));
	fprintf(out, "free %s", bytes_text(st->free_bytes, a));
	if (st->limit_bytes)
		fprintf(out, ", limit %s", bytes_text(st->limit_bytes, a));
	fprintf(out, "\nwaiting      %llu changes for a checkpoint\n",
	    (unsigned long long)st->journal_backlog);
	fprintf(out, "replication  this node alone: %d of %d\n",
	    REPLICAS_WANTED, REPLICAS_WANTED);
	fprintf(out, "peers        0\n");
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}

/* jansson's text has no newline at its end. */
static char *
with_newline(char *text)
{
	size_t len = text ? strlen(text) : 0;
	char *longer = text ? realloc(text, len + 2) : NULL;

	if (!longer) {
		free(text);
		return NULL;
	}
	memcpy(longer + len, "\n", 2);
	return longer;
}

enum err
status_text(
    struct store *s, const struct status_about *about, bool json, char **text)
{
	struct facts f = { 0 };
	enum err e = gather(s, about, &f);

	if (e)
		return e;
	*text = json ? with_newline(as_json(&f, about)) : as_text(&f, about);
	free(f.user);
	return *text ? OK : ERR_NOMEM;
}
