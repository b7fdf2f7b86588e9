/* The asker's end: a daemon through its socket, or the store opened here. */
#include "tools/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How long a daemon that starts or stops may take until it either answers or
 * has given the lock back. */
#define TURN_MS 10000

struct asker {
	int fd; /* -1: `home` is open in this process */
	FILE *in;
	struct home home;
};

/* -1 with errno: nobody listens. */
static int
connect_to(const char *home_dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int dir_fd = open(home_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), number;

	if (dir_fd >= 0 && fd >= 0 &&
	    text_format(a.sun_path, sizeof(a.sun_path),
		"/proc/self/fd/%d/" HOME_CONTROL, dir_fd) &&
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
		close(dir_fd);
		return fd;
	}
	number = errno;
	if (dir_fd >= 0)
		close(dir_fd);
	if (fd >= 0)
		close(fd);
	errno = number;
	return -1;
}

static struct asker *
asker_new(int fd)
{
	struct asker *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->home.lock_fd = -1;
	a->fd = fd;
	if (fd >= 0 && !(a->in = fdopen(fd, "r"))) {
		free(a);
		return NULL;
	}
	return a;
}

int
asker_connect(const char *home_dir, struct asker **out)
{
	int fd = connect_to(home_dir);

	*out = NULL;
	if (fd < 0) {
		if (errno == EACCES || errno == EPERM)
			return fail(STATUS_FAILED,
			    "%s/" HOME_CONTROL ": %s: "
			    "ask as the user who mounted it",
			    home_dir, strerror(errno));
		return STATUS_DONE;
	}
	if ((*out = asker_new(fd)))
		return STATUS_DONE;
	close(fd);
	return fail(STATUS_AGAIN, "control: out of memory: free some");
}

int
asker_open(const struct common *c, struct asker **out)
{
	int64_t until = clock_steady_ns() + (int64_t)TURN_MS * 1000000;
	const struct timespec nap = { .tv_nsec = 20000000 };
	struct home home;
	int status;

	*out = NULL;
	if ((status = home_find(&home, c)))
		return status;
	for (;;) {
		if ((status = asker_connect(home.dir, out)) || *out)
			return status;
		if (home_holder(home.dir) <= 0 || clock_steady_ns() >= until)
			break;
		nanosleep(&nap, NULL);
	}
	if ((status = home_open(&home, c)) == STATUS_DONE)
		return asker_of_home(&home, out);
	return home_close(&home) ? STATUS_FAILED : status;
}

int
asker_of_home(struct home *home, struct asker **out)
{
	if ((*out = asker_new(-1))) {
		(*out)->home = *home;
		return STATUS_DONE;
	}
	fail(STATUS_AGAIN, "out of memory: free some");
	return home_close(home) ? STATUS_FAILED : STATUS_AGAIN;
}

int
asker_close(struct asker *a)
{
	int status = STATUS_DONE;

	if (!a)
		return STATUS_DONE;
	if (a->in)
		fclose(a->in);
	else
		status = home_close(&a->home);
	free(a);
	return status;
}

struct home *
asker_home(struct asker *a)
{
	return a->fd < 0 ? &a->home : NULL;
}

static int
hung_up(void)
{
	return fail(STATUS_AGAIN, "control: the daemon left in the middle of "
				  "an answer: try again");
}

/* One answer off the socket. */
static int
read_answer(struct asker *a, answer_out *out, void *arg)
{
	char line[1200], *data = NULL;
	bool wanted = true;
	int status;

	for (;;) {
		size_t len;
		char *end;

		if (!fgets(line, sizeof(line), a->in) ||
		    !(end = strchr(line, '\n'))) {
			status = hung_up();
			break;
		}
		*end = '\0';
		if (strcmp(line, "ok") == 0) {
			status = STATUS_DONE;
			break;
		}
		if (strncmp(line, "fail ", 5) == 0) {
			status = (int)strtol(line + 5, &end, 10);
			if (status != STATUS_USAGE && status != STATUS_AGAIN)
				status = STATUS_FAILED;
			fail(status, "%s", *end == ' ' ? end + 1 : end);
			break;
		}
		len = strncmp(line, "data ", 5) == 0
			  ? (size_t)strtoul(line + 5, NULL, 10)
			  : 0;
		if (len == 0 || len > CONTROL_DATA_MAX) {
			status = fail(STATUS_FAILED,
			    "control: '%s' is no "
			    "answer: use programs of one version",
			    line);
			break;
		}
		if (!data && !(data = malloc(CONTROL_DATA_MAX))) {
			status = fail(STATUS_AGAIN, "out of memory: free some");
			break;
		}
		if (fread(data, 1, len, a->in) != len) {
			status = hung_up();
			break;
		}
		wanted = wanted && (!out || out(arg, data, len));
	}
	free(data);
	return status;
}

static int
ask_line(struct asker *a, answer_out *out, void *arg, char *line)
{
	char why[1024] = "";
	struct answerer here = { .home = &a->home };
	size_t len = strlen(line);
	int status;

	if (a->fd < 0) {
		status = answer(&here, line, out, arg, why, sizeof(why));
		return status == STATUS_DONE ? status : fail(status, "%s", why);
	}
	line[len] = '\n';
	if (!fd_write_all(a->fd, line, len + 1))
		return hung_up();
	return read_answer(a, out, arg);
}

static bool
drop(void *arg, const void *bytes, size_t len)
{
	(void)arg;
	(void)bytes;
	(void)len;
	return true;
}

static int
ask_args(struct asker *a, answer_out *out, void *arg, const char *format,
    va_list args)
{
	char *line = malloc(CONTROL_LINE_MAX + 1);
	int n, status;

	if (!line)
		return fail(STATUS_AGAIN, "out of memory: free some");
	n = vsnprintf(line, CONTROL_LINE_MAX, format, args);
	if (n < 0 || (size_t)n >= CONTROL_LINE_MAX)
		status = fail(STATUS_FAILED, "control: the request is too "
					     "long: give a shorter path");
	else
		status = ask_line(a, out ? out : drop, arg, line);
	free(line);
	return status;
}

int
ask(struct asker *a, answer_out *out, void *arg, const char *format, ...)
{
	va_list args;
	int status;

	va_start(args, format);
	status = ask_args(a, out, arg, format, args);
	va_end(args);
	return status;
}

struct gather {
	char *text;
	size_t len, cap;
	bool full; /* out of memory */
};

static bool
gather(void *arg, const void *bytes, size_t len)
{
	struct gather *g = arg;

	if (g->len + len + 1 > g->cap) {
		size_t cap = (g->len + len + 1) * 2;
		char *text = realloc(g->text, cap);

		if (!text) {
			g->full = true;
			return false;
		}
		g->text = text;
		g->cap = cap;
	}
	memcpy(g->text + g->len, bytes, len);
	g->len += len;
	g->text[g->len] = '\0';
	return true;
}

int
ask_text(struct asker *a, char **text, const char *format, ...)
{
	struct gather g = { 0 };
	va_list args;
	int status;

	*text = NULL;
	if (!gather(&g, "", 0))
		return fail(STATUS_AGAIN, "out of memory: free some");
	va_start(args, format);
	status = ask_args(a, gather, &g, format, args);
	va_end(args);
	if (status == STATUS_DONE && g.full)
		status = fail(STATUS_AGAIN, "out of memory: free some");
	if (status == STATUS_DONE)
		*text = g.text;
	else
		free(g.text);
	return status;
}
