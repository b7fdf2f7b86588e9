#include "fs/notify.h"
#include "fs/when.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_FIRST 4096u

size_t
feed_keep(unsigned users)
{
	size_t keep = FEED_KEEP_MAX;

	while (keep > FEED_KEEP_MIN && keep * users > FEED_ALL_MAX)
		keep /= 2;
	return keep;
}

void
feed_init(struct feed *f, size_t keep, uint64_t ino, int64_t now_ns)
{
	assert(keep >= FEED_KEEP_MIN && (keep & (keep - 1)) == 0);
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
	f->keep = keep;
	f->ino = ino;
	f->changed_ns = now_ns;
}

void
feed_fini(struct feed *f)
{
	pthread_mutex_destroy(&f->lock);
	free(f->ring);
	f->ring = NULL;
}

void
feed_current(struct feed *f, struct feed_view *out)
{
	pthread_mutex_lock(&f->lock);
	*out = (struct feed_view){ f->start, f->ino, f->generation };
	pthread_mutex_unlock(&f->lock);
}

/* First position whose byte is kept. */
static uint64_t
oldest(const struct feed *f)
{
	return f->end > f->cap ? f->end - f->cap : 0;
}

/* Copy kept bytes [at, at + len) out of the ring. */
static void
copy_out(const struct feed *f, uint64_t at, char *buf, size_t len)
{
	while (len) {
		size_t slot = (size_t)(at & (f->cap - 1)), n = f->cap - slot;

		if (n > len)
			n = len;
		memcpy(buf, f->ring + slot, n);
		at += n;
		buf += n;
		len -= n;
	}
}

static void
copy_in(struct feed *f, uint64_t at, const char *text, size_t len)
{
	while (len) {
		size_t slot = (size_t)(at & (f->cap - 1)), n = f->cap - slot;

		if (n > len)
			n = len;
		memcpy(f->ring + slot, text, n);
		at += n;
		text += n;
		len -= n;
	}
}

/* A ring that keeps all it has and len more, or as much as is to be kept. */
static enum err
grow(struct feed *f, size_t len)
{
	struct feed bigger = *f;
	uint64_t from = oldest(f);
	size_t have = (size_t)(f->end - from);

	while (bigger.cap < have + len && bigger.cap < f->keep)
		bigger.cap = bigger.cap ? bigger.cap * 2 : RING_FIRST;
	if (bigger.cap == f->cap)
		return OK;
	bigger.ring = malloc(bigger.cap);
	if (!bigger.ring)
		return ERR_NOMEM;
	for (uint64_t at = from; at < f->end;) {
		size_t slot = (size_t)(at & (f->cap - 1)), n = f->cap - slot;

		if (n > f->end - at)
			n = (size_t)(f->end - at);
		copy_in(&bigger, at, f->ring + slot, n);
		at += n;
	}
	free(f->ring);
	f->ring = bigger.ring;
	f->cap = bigger.cap;
	return OK;
}

bool
feed_make_room(struct feed *f, size_t len, uint64_t new_ino)
{
	uint64_t at;

	assert(len <= FEED_APPEND_MAX(f->keep));
	pthread_mutex_lock(&f->lock);
	if (f->end + len - f->start <= f->keep) {
		pthread_mutex_unlock(&f->lock);
		return false;
	}
	/* The newest half, from the beginning of a line. */
	at = f->end - f->keep / 2;
	while (at < f->end && f->ring[(at - 1) & (f->cap - 1)] != '\n')
		at++;
	f->start = at;
	f->ino = new_ino;
	f->generation++;
	pthread_mutex_unlock(&f->lock);
	return true;
}

enum err
feed_append(struct feed *f, const char *text, size_t len, int64_t now_ns)
{
	enum err e;

	assert(len <= FEED_APPEND_MAX(f->keep));
	pthread_mutex_lock(&f->lock);
	e = grow(f, len);
	if (!e) {
		copy_in(f, f->end, text, len);
		f->end += len;
		f->changed_ns = now_ns;
	}
	pthread_mutex_unlock(&f->lock);
	return e;
}

uint64_t
feed_size(struct feed *f, uint64_t start, int64_t *changed_ns)
{
	uint64_t size;

	pthread_mutex_lock(&f->lock);
	size = f->end - start;
	*changed_ns = f->changed_ns;
	pthread_mutex_unlock(&f->lock);
	return size;
}

size_t
feed_read(struct feed *f, uint64_t start, uint64_t off, char *buf, size_t len)
{
	uint64_t at, kept;
	size_t gone = 0;

	pthread_mutex_lock(&f->lock);
	if (off >= f->end - start) {
		len = 0;
	} else if (len > f->end - start - off) {
		len = (size_t)(f->end - start - off);
	}
	at = start + off;
	kept = oldest(f);
	if (len && at < kept) {
		gone = kept - at < len ? (size_t)(kept - at) : len;
		memset(buf, '\n', gone);
	}
	copy_out(f, at + gone, buf + gone, len - gone);
	pthread_mutex_unlock(&f->lock);
	return len;
}

/* ---- lines -------------------------------------------------------------- */

static const char *const kind_names[NOTIFY_KINDS] = {
	[NOTIFY_NEW] = "new",
	[NOTIFY_FLAGS] = "flags",
	[NOTIFY_MOVE] = "move",
	[NOTIFY_DELETE] = "delete",
	[NOTIFY_MKDIR] = "mkdir",
	[NOTIFY_RMDIR] = "rmdir",
};

struct text {
	char *p, *end;
	bool full;
};

static void
put(struct text *t, const char *bytes, size_t len)
{
	if (t->full || (size_t)(t->end - t->p) < len) {
		t->full = true;
		return;
	}
	memcpy(t->p, bytes, len);
	t->p += len;
}

static void
put_text(struct text *t, const char *text)
{
	put(t, text, strlen(text));
}

static void
put_escaped(struct text *t, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		char hex[5];

		if (c == '\t') {
			put(t, "\\t", 2);
		} else if (c == '\n') {
			put(t, "\\n", 2);
		} else if (c == '\\') {
			put(t, "\\\\", 2);
		} else if (c < 0x20 || c == 0x7f) {
			snprintf(hex, sizeof(hex), "\\x%02x", c);
			put(t, hex, 4);
		} else {
			put(t, text, 1);
		}
	}
}

static void
put_field(struct text *t, const char *key, const char *value)
{
	if (!value)
		return;
	put(t, "\t", 1);
	put_text(t, key);
	put(t, "=", 1);
	put_escaped(t, value);
}

size_t
notify_format(char *buf, size_t cap, const struct notify_line *line)
{
	struct text t = { buf, buf + cap, false };
	char time[WHEN_MAX];

	assert(line->kind < NOTIFY_KINDS);
	when_format(line->time_ns, 3, time);
	put_text(&t, time);
	put(&t, "\t", 1);
	put_text(&t, kind_names[line->kind]);
	put(&t, "\t", 1);
	put_escaped(&t, line->path);
	put_field(&t, "was", line->was);
	put_field(&t, "from", line->from);
	put_field(&t, "subject", line->subject);
	put(&t, "\n", 1);
	return t.full ? 0 : (size_t)(t.p - buf);
}

size_t
notify_format_more(char *buf, size_t cap, int64_t time_ns, uint64_t count)
{
	char time[WHEN_MAX];
	int len;

	when_format(time_ns, 3, time);
	len = snprintf(buf, cap, "%s\tmore\t\tcount=%llu\n", time,
	    (unsigned long long)count);
	return len > 0 && (size_t)len < cap ? (size_t)len : 0;
}
