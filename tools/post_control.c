/* The daemon's end of the control socket: one thread accepts, one more for
 * each client. */
#include "tools/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
	struct control *control;
	int fd; /* -1: the place is free */
};

struct control {
	const struct answerer *a;
	int dir_fd, listen_fd, stop_fd;
	pthread_t thread;
	pthread_mutex_t lock; /* client[], busy, stopping */
	pthread_cond_t idle; /* busy became 0 */
	struct client client[CONTROL_CLIENTS_MAX];
	unsigned busy;
	bool stopping;
};

static bool
data_out(void *arg, const void *bytes, size_t len)
{
	const struct client *c = arg;
	const char *p = bytes;
	char head[32];

	while (len) {
		size_t n = len < CONTROL_DATA_MAX ? len : CONTROL_DATA_MAX;
		int head_len = snprintf(head, sizeof(head), "data %zu\n", n);

		if (!fd_write_all(c->fd, head, (size_t)head_len) ||
		    !fd_write_all(c->fd, p, n))
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static bool
answer_line(struct client *c, char *line)
{
	char why[1024] = "", last[1100];
	int status = answer(c->control->a, line, data_out, c, why, sizeof(why));

	for (char *p = why; *p; p++)
		if (*p == '\n')
			*p = ' ';
	if (status == STATUS_DONE)
		snprintf(last, sizeof(last), "ok\n");
	else
		snprintf(last, sizeof(last), "fail %d %s\n", status, why);
	return fd_write_all(c->fd, last, strlen(last));
}

/* Lines until the client leaves, or sends one that is too long. */
static void
serve_client(struct client *c)
{
	char *line = malloc(CONTROL_LINE_MAX + 1);
	size_t len = 0;

	while (line) {
		char *end = memchr(line, '\n', len);
		ssize_t n;

		if (end) {
			size_t used = (size_t)(end - line) + 1;

			*end = '\0';
			if (!answer_line(c, line))
				break;
			len -= used;
			memmove(line, line + used, len);
			continue;
		}
		if (len == CONTROL_LINE_MAX)
			break;
		n = read(c->fd, line + len, CONTROL_LINE_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	free(line);
}

static void *
client_thread(void *arg)
{
	struct client *c = arg;
	struct control *control = c->control;

	serve_client(c);
	pthread_mutex_lock(&control->lock);
	close(c->fd);
	c->fd = -1;
	if (--control->busy == 0)
		pthread_cond_broadcast(&control->idle);
	pthread_mutex_unlock(&control->lock);
	return NULL;
}

static bool
may_ask(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	       (who.uid == geteuid() || who.uid == 0);
}

static void
welcome(struct control *c, int fd)
{
	struct client *place = NULL;
	pthread_attr_t attr;
	pthread_t thread;

	if (!may_ask(fd) || pthread_attr_init(&attr)) {
		close(fd);
		return;
	}
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX && !c->stopping; i++)
		if (c->client[i].fd < 0) {
			place = &c->client[i];
			break;
		}
	if (place) {
		place->fd = fd;
		c->busy++;
		if (pthread_create(&thread, &attr, client_thread, place)) {
			place->fd = -1;
			c->busy--;
			place = NULL;
		}
	}
	pthread_mutex_unlock(&c->lock);
	pthread_attr_destroy(&attr);
	if (!place) {
		static const char busy[] = "fail 75 control: too many askers "
					   "at once: try again\n";

		if (!fd_write_all(fd, busy, sizeof(busy) - 1))
			say("control: a client left: nothing needs to be done");
		close(fd);
	}
}

static void *
accept_thread(void *arg)
{
	struct control *c = arg;
	struct pollfd fds[] = { { .fd = c->listen_fd, .events = POLLIN },
		{ .fd = c->stop_fd, .events = POLLIN } };

	for (;;) {
		int fd;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			return NULL;
		fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			welcome(c, fd);
		} else if (errno == EMFILE || errno == ENFILE) {
			const struct timespec nap = { .tv_nsec = 100000000 };

			nanosleep(&nap, NULL);
		}
	}
}

/* A socket's path has room for 107 bytes, a home's has more: go through the
 * directory's descriptor. */
static bool
control_address(int dir_fd, struct sockaddr_un *a)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	return text_format(a->sun_path, sizeof(a->sun_path),
	    "/proc/self/fd/%d/" HOME_CONTROL, dir_fd);
}

static void
control_free(struct control *c)
{
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->idle);
	free(c);
}

int
control_start(const struct answerer *a, struct control **out)
{
	struct control *c = calloc(1, sizeof(*c));
	struct sockaddr_un address;
	mode_t mask;
	int bound;

	if (!c)
		return fail(STATUS_AGAIN, "control: out of memory: free some");
	c->a = a;
	c->listen_fd = c->stop_fd = -1;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		c->client[i] = (struct client){ .control = c, .fd = -1 };
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->idle, NULL);
	c->dir_fd = open(a->home->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->dir_fd < 0 || c->stop_fd < 0 || c->listen_fd < 0 ||
	    !control_address(c->dir_fd, &address))
		goto failed;
	/* The lock is ours, so a socket that is there is a dead daemon's. */
	if (unlinkat(c->dir_fd, HOME_CONTROL, 0) && errno != ENOENT)
		goto failed;
	mask = umask(0177);
	bound =
	    bind(c->listen_fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (bound || listen(c->listen_fd, CONTROL_CLIENTS_MAX))
		goto failed;
	if ((errno = pthread_create(&c->thread, NULL, accept_thread, c)))
		goto failed;
	*out = c;
	return STATUS_DONE;
failed:
	fail(STATUS_FAILED,
	    "%s/" HOME_CONTROL ": %s: check the home's owner "
	    "and mode",
	    a->home->dir, strerror(errno));
	control_free(c);
	return STATUS_FAILED;
}

void
control_stop(struct control *c)
{
	const uint64_t one = 1;

	if (!c)
		return;
	if (!fd_write_all(c->stop_fd, &one, sizeof(one)))
		abort(); /* an eventfd takes a 1 */
	pthread_join(c->thread, NULL);
	unlinkat(c->dir_fd, HOME_CONTROL, 0);
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	/* Their next read ends; what is being answered is answered. */
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->client[i].fd >= 0)
			shutdown(c->client[i].fd, SHUT_RD);
	while (c->busy)
		pthread_cond_wait(&c->idle, &c->lock);
	pthread_mutex_unlock(&c->lock);
	control_free(c);
}
