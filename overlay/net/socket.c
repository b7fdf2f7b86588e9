/* socket.c - addresses as the kernel has them, and the options of a link. */
#include "overlay/net/net_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define LISTEN_BACKLOG 256

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool
is_v4(const struct net_addr *a)
{
	return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

static bool
is_all(const struct net_addr *a)
{
	static const uint8_t zeros[16];

	return memcmp(a->ip, zeros, sizeof(zeros)) == 0;
}

socklen_t
socket_address(const struct net_addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	memset(out, 0, sizeof(*out));
	if (is_v4(a)) {
		in4.sin_port = htons(a->port);
		memcpy(&in4.sin_addr, a->ip + sizeof(mapped), 4);
		memcpy(out, &in4, sizeof(in4));
		return sizeof(in4);
	}
	in6.sin6_port = htons(a->port);
	memcpy(&in6.sin6_addr, a->ip, 16);
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

void
socket_net_addr(const struct sockaddr *sa, struct net_addr *out)
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET) {
		memcpy(&in4, sa, sizeof(in4));
		memcpy(out->ip, mapped, sizeof(mapped));
		memcpy(out->ip + sizeof(mapped), &in4.sin_addr, 4);
		out->port = ntohs(in4.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		memcpy(out->ip, &in6.sin6_addr, 16);
		out->port = ntohs(in6.sin6_port);
	}
}

bool
socket_same_place(const struct net_addr *a, const struct net_addr *b)
{
	return memcmp(a->ip, b->ip, is_v4(a) ? 16 : 8) == 0;
}

/* What could be wrong with an address that a person gave. */
static enum err
listen_error(int number)
{
	switch (number) {
	case EADDRINUSE:
		return ERR_BUSY;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return ERR_INVALID;
	default:
		return err_from_errno(number);
	}
}

static enum err
listen_at(const struct net_addr *a, int *out)
{
	struct sockaddr_storage sa;
	socklen_t len = socket_address(a, &sa);
	int on = 1, off = 0, fd;
	enum err e;

	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    IPPROTO_TCP);
	if (fd < 0)
		return listen_error(errno);
	/* A port that a process of ours had until now is free. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    (sa.ss_family == AF_INET6 && is_all(a) &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off))) ||
	    bind(fd, (struct sockaddr *)&sa, len) ||
	    listen(fd, LISTEN_BACKLOG)) {
		e = listen_error(errno);
		close(fd);
		return e;
	}
	*out = fd;
	return OK;
}

enum err
socket_listen(const struct net_addr *a, int *out, struct net_addr *bound)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct net_addr v4 = { .port = a->port };
	int fd;
	enum err e = listen_at(a, &fd);

	if (e == ERR_INVALID && is_all(a)) { /* a kernel without IPv6 */
		memcpy(v4.ip, mapped, sizeof(mapped));
		e = listen_at(&v4, &fd);
	}
	if (e)
		return e;
	if (getsockname(fd, (struct sockaddr *)&sa, &len)) {
		e = err_from_errno(errno);
		close(fd);
		return e;
	}
	socket_net_addr((struct sockaddr *)&sa, bound);
	memcpy(bound->ip, a->ip, sizeof(bound->ip));
	*out = fd;
	return OK;
}

enum err
socket_new(const struct net_addr *a, int *out)
{
	int fd = socket(is_v4(a) ? AF_INET : AF_INET6,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

	if (fd < 0)
		return errno == EAFNOSUPPORT ? ERR_UNREACHABLE
					     : err_from_errno(errno);
	*out = fd;
	return OK;
}

/* An option that a kernel does not know costs speed or patience, no more. */
static void
set(int fd, int level, int name, int value)
{
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

void
socket_options(int fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* we gather writes ourselves */
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, NET_STALL_MS);
}

void
socket_suspect(int fd)
{
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
}

void
socket_reset(int fd)
{
	struct linger now = { .l_onoff = 1 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

uint32_t
socket_rtt_us(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ||
	    !info.tcpi_rtt)
		return UINT32_MAX;
	return info.tcpi_rtt;
}
