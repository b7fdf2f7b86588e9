#include "fs/control.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CONTROL_FILES] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_STATUS_JSON] = "status.json",
	[CONTROL_PEERS] = "peers",
	[CONTROL_PEERS_JSON] = "peers.json",
	[CONTROL_QUEUE] = "queue",
	[CONTROL_QUEUE_JSON] = "queue.json",
	[CONTROL_METRICS] = "metrics",
};

const char *
control_name(unsigned file)
{
	return file < CONTROL_FILES ? names[file] : NULL;
}

unsigned
control_find(const char *name)
{
	unsigned file = 0;

	while (file < CONTROL_FILES && strcmp(names[file], name) != 0)
		file++;
	return file;
}

/* One metric of one value; `suffix` as OpenMetrics asks for its type. */
static void
metric(FILE *out, const char *name, const char *type, const char *suffix,
    const char *unit, const char *help, uint64_t value)
{
	fprintf(out, "# TYPE post_%s %s\n", name, type);
	if (unit)
		fprintf(out, "# UNIT post_%s %s\n", name, unit);
	fprintf(out, "# HELP post_%s %s\n", name, help);
	fprintf(
	    out, "post_%s%s %llu\n", name, suffix, (unsigned long long)value);
}

static void
gauge(FILE *out, const char *name, const char *unit, const char *help,
    uint64_t value)
{
	metric(out, name, "gauge", "", unit, help, value);
}

static enum err
metrics_text(
    struct store *s, const struct status_about *about, char **text, size_t *len)
{
	struct store_stats st;
	enum err e = store_stats(s, &st);
	FILE *out;
	bool failed;

	if (e)
		return e;
	*text = NULL;
	out = open_memstream(text, len);
	if (!out)
		return ERR_NOMEM;
	fprintf(out,
	    "# TYPE post_build info\n"
	    "post_build_info{version=\"%s\"} 1\n",
	    POST_VERSION);
	gauge(out, "mount_start_time_seconds", "seconds",
	    "When this mount began, since 1970.",
	    (uint64_t)about->since_ns / 1000000000);
	gauge(out, "users", NULL, "Users whose trees are here.",
	    about->keys ? about->keys->users : 0);
	gauge(out, "messages", NULL, "Messages of all users.", st.messages);
	gauge(out, "files", NULL, "Files of all users.", st.files);
	gauge(out, "blocks", NULL, "Sealed blocks.", st.blocks);
	gauge(out, "logical_bytes", "bytes",
	    "Bytes of all files that are in the log.", st.logical_bytes);
	gauge(out, "stored_bytes", "bytes", "Bytes of the packs.",
	    st.stored_bytes);
	gauge(
	    out, "index_bytes", "bytes", "Bytes of the index.", st.index_bytes);
	gauge(out, "journal_bytes", "bytes", "Bytes of the journal.",
	    st.journal_bytes);
	gauge(out, "local_bytes", "bytes", "Bytes of local-only files.",
	    st.local_bytes);
	gauge(out, "limit_bytes", "bytes", "Allowed bytes; 0: the disk's.",
	    st.limit_bytes);
	gauge(out, "free_bytes", "bytes", "Free bytes of the disk.",
	    st.free_bytes);
	gauge(out, "journal_backlog", NULL,
	    "Changes that wait for a checkpoint.", st.journal_backlog);
	metric(out, "checkpoints", "counter", "_total", NULL,
	    "Checkpoints since the start.", st.checkpoints);
	gauge(out, "peers", NULL, "Nodes this one is linked with.", 0);
	fprintf(out, "# EOF\n");
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(*text);
		return ERR_NOMEM;
	}
	return OK;
}

static enum err
fixed(const char *words, char **text)
{
	*text = strdup(words);
	return *text ? OK : ERR_NOMEM;
}

enum err
control_text(struct store *s, const struct status_about *about, unsigned file,
    char **text, size_t *len)
{
	enum err e = OK;

	assert(file < CONTROL_FILES);
	switch ((enum control_file)file) {
	case CONTROL_STATUS:
	case CONTROL_STATUS_JSON:
		e = status_text(s, about, file == CONTROL_STATUS_JSON, text);
		break;
	case CONTROL_PEERS:
		e = fixed("no peers: this node belongs to no ring\n", text);
		break;
	case CONTROL_QUEUE:
		e = fixed(
		    "nothing waits: this node belongs to no ring\n", text);
		break;
	case CONTROL_PEERS_JSON:
	case CONTROL_QUEUE_JSON:
		e = fixed("[]\n", text);
		break;
	case CONTROL_METRICS:
		return metrics_text(s, about, text, len);
	case CONTROL_FILES:
		break;
	}
	if (!e)
		*len = strlen(*text);
	return e;
}
