/* Messages, and the small things that every verb needs. */
#include "tools/post.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void
tell(const char *format, va_list args)
{
	char line[4096];
	int n = snprintf(line, sizeof(line), "post: ");
	size_t len;

	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
	len = strlen(line);
	line[len++] = '\n'; /* room was left for it */
	/* One write, so that lines of two processes do not mix. */
	fflush(stdout);
	if (!fd_write_all(STDERR_FILENO, line, len))
		return; /* there is nobody left to tell */
}

int
fail(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell(format, args);
	va_end(args);
	return status;
}

void
say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell(format, args);
	va_end(args);
}

int
fail_why(int status, const char *what, const char *why, const char *todo)
{
	const char *colon = strstr(why, ": ");

	if (!colon)
		return fail(status, "%s: %s: %s", what, why, todo);
	if (strstr(colon + 2, ": "))
		return fail(status, "%s", why);
	return fail(status, "%s: %s", why, todo);
}

int
err_status(enum err e)
{
	switch (e) {
	case OK:
		return STATUS_DONE;
	case ERR_BUSY:
	case ERR_AGAIN:
	case ERR_UNREACHABLE:
		return STATUS_AGAIN;
	default:
		return STATUS_FAILED;
	}
}

const char *
text_count(uint64_t n, char out[32])
{
	char digits[24];
	size_t len, at = 0;

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	len = strlen(digits);
	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}

const char *
text_bytes(uint64_t n, char out[32])
{
	static const char *const unit[] = { "bytes", "kB", "MB", "GB", "TB",
		"PB", "EB" };
	uint64_t tenths = n * 10;
	unsigned u = 0;

	if (n < 1000) {
		snprintf(out, 32, "%u bytes", (unsigned)n);
		return out;
	}
	if (n > UINT64_MAX / 10) {
		tenths = n / 100;
		u = 1;
	}
	while (tenths >= 10000) {
		tenths /= 1000;
		u++;
	}
	/* Between 1,000.0 and what fits in one unit. */
	snprintf(out, 32, "%llu.%llu %s", (unsigned long long)(tenths / 10),
	    (unsigned long long)(tenths % 10), unit[u]);
	return out;
}

const char *
text_time(int64_t ns, char out[32])
{
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;

	if (ns % 1000000000 < 0)
		s--;
	if (!gmtime_r(&s, &tm) ||
	    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, 32, "?");
	return out;
}

static int64_t
clock_ns(clockid_t which)
{
	struct timespec t;

	if (clock_gettime(which, &t))
		return 0; /* cannot fail for these two clocks */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t
clock_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int64_t
clock_steady_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

bool
text_copy(char *out, size_t cap, const char *text)
{
	size_t len = strlen(text);

	if (len >= cap) {
		if (cap)
			out[0] = '\0';
		return false;
	}
	memcpy(out, text, len + 1);
	return true;
}

bool
text_format(char *out, size_t cap, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(out, cap, format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < cap)
		return true;
	if (cap)
		out[0] = '\0';
	return false;
}

bool
path_resolve(const char *path, char *out, size_t cap)
{
	char copy[PATH_MAX], whole[PATH_MAX];
	const char *parent;
	char *slash;
	size_t len;

	if (!text_copy(copy, sizeof(copy), path) || !copy[0])
		return false;
	len = strlen(copy);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	if (strcmp(slash ? slash + 1 : copy, "..") == 0 ||
	    strcmp(slash ? slash + 1 : copy, ".") == 0 ||
	    strcmp(copy, "/") == 0)
		return realpath(copy, whole) && text_copy(out, cap, whole);
	/* The last component is not touched unless it is a symbolic link: a
	 * dead mount answers ENOTCONN to everything but readlink's lookup. */
	if (readlink(copy, whole, sizeof(whole)) > 0)
		return realpath(copy, whole) && text_copy(out, cap, whole);
	parent = slash == copy ? "/" : slash ? copy : ".";
	if (slash)
		*slash = '\0';
	if (!realpath(parent[0] ? parent : "/", whole))
		return false;
	return text_format(out, cap, "%s/%s",
	    strcmp(whole, "/") == 0 ? "" : whole, slash ? slash + 1 : copy);
}

bool
path_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (strcmp(dir, "/") == 0)
		return true;
	return strncmp(path, dir, len) == 0 &&
	       (path[len] == '\0' || path[len] == '/');
}

bool
fd_write_all(int fd, const void *bytes, size_t len)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool
fd_read_all(int fd, void *bytes, size_t len, size_t *got)
{
	char *p = bytes;

	*got = 0;
	while (*got < len) {
		ssize_t n = read(fd, p + *got, len - *got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		*got += (size_t)n;
	}
	return true;
}

bool
fd_set_mtime(int fd, int64_t mtime_ns)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT } };

	t[1].tv_sec = (time_t)(mtime_ns / 1000000000);
	t[1].tv_nsec = (long)(mtime_ns % 1000000000);
	if (t[1].tv_nsec < 0) { /* before 1970 */
		t[1].tv_sec--;
		t[1].tv_nsec += 1000000000;
	}
	return futimens(fd, t) == 0;
}
