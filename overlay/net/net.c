/* net.c - the loop, the listener, and what others call.
 *
 * libevent is used by the loop's thread alone and knows of no threads.  Others
 * reach the loop through a list under a lock and an eventfd that wakes it. */
#include "overlay/net/net_private.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static bool
id_zero(const struct id *id)
{
	static const struct id zeros;

	return id_eq(id, &zeros);
}

uint64_t
net_now_us(const struct net *n)
{
	struct timespec ts;

	(void)n;
	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		assert(!"no monotonic clock");
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static struct timeval
timeval_of(uint64_t us)
{
	return (struct timeval){ .tv_sec = (time_t)(us / 1000000),
		.tv_usec = (suseconds_t)(us % 1000000) };
}

/* ---- after the events of a turn ----------------------------------------- */

/* When a handler, told of one end, brings the next about, that is for the next
 * turn: otherwise others never had theirs. */
void
net_after(struct net *n)
{
	struct timeval soon = { 0 };

	if (!n->in_after)
		event_active(n->after, EV_TIMEOUT, 0);
	else if (event_add(n->after, &soon))
		event_active(n->after, EV_TIMEOUT, 0);
}

void
net_note(struct net *n, struct notice *notice)
{
	notice->next = NULL;
	*n->notice_end = notice;
	n->notice_end = &notice->next;
	net_after(n);
}

static void
flush_dirty(struct net *n)
{
	struct link *l;

	while ((l = n->dirty)) {
		n->dirty = l->next_dirty;
		l->dirty = false;
		link_flush(l);
	}
}

static void
promote(struct net *n)
{
	struct link *l;

	while (n->promotions) {
		n->promotions = false;
		for (l = n->table.first; l && !l->promoted; l = l->next)
			;
		if (l) {
			n->promotions = true;
			greet_promote(l);
		}
	}
}

static void
free_dead(struct net *n)
{
	struct link **at = &n->dead, *l;

	while ((l = *at)) {
		if (l->dirty || l->noticed) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		link_free(l);
	}
}

static void
after_events(evutil_socket_t fd, short what, void *arg)
{
	struct net *n = arg;

	(void)fd;
	(void)what;
	n->in_after = true;
	flush_dirty(n);
	promote(n);
	net_tell(n);
	free_dead(n);
	n->in_after = false;
}

/* ---- the door ----------------------------------------------------------- */

static void
listen_later(struct net *n)
{
	struct timeval tv = timeval_of(NET_RETRY_MS * UINT64_C(1000));

	(void)evconnlistener_disable(n->listener);
	if (event_add(n->listen_again, &tv))
		(void)evconnlistener_enable(n->listener);
}

static void
on_listen_again(evutil_socket_t fd, short what, void *arg)
{
	struct net *n = arg;

	(void)fd;
	(void)what;
	if (evconnlistener_enable(n->listener))
		listen_later(n);
}

/* Too many open files, or the like: it would be tried again at once. */
static void
on_accept_error(struct evconnlistener *listener, void *arg)
{
	(void)listener;
	listen_later(arg);
}

/* With a reset, which the dialer takes for bad luck and not for a refusal. */
static void
turn_away(struct net *n, struct link *l)
{
	n->count.turned_away++;
	socket_reset(bufferevent_getfd(l->bev));
	link_kill(l, ERR_AGAIN);
}

/* Who has been at the door for longest goes, for she makes least progress: of
 * the newcomer's own address, if that has more than its share.  So silence
 * costs nobody anything, and a flood costs those who come from its address a
 * retry.  Many who come at once, as after a power cut, are no flood yet. */
static void
make_way(struct net *n, const struct net_addr *from)
{
	struct link *neighbour, *oldest;
	unsigned near;

	while ((near = table_strangers(&n->table, from, &neighbour)) >=
		   n->limits.address_max &&
	       neighbour->since_us + n->limits.grace_us < n->tick_us)
		turn_away(n, neighbour);
	while (table_strangers(&n->table, NULL, &oldest) >=
	       n->limits.handshakes_max) {
		if (near >= n->limits.address_max)
			oldest = neighbour;
		turn_away(n, oldest);
		near = table_strangers(&n->table, from, &neighbour);
	}
}

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *sa, int len, void *arg)
{
	struct net *n = arg;
	struct net_addr from;
	struct link *l;

	(void)listener;
	(void)len;
	n->tick_us = net_now_us(n);
	n->count.accepted++;
	socket_net_addr(sa, &from);
	make_way(n, &from);
	if (!bucket_take(&n->accepts, n->tick_us))
		listen_later(n); /* this one still comes in */
	if (link_new(n, fd, false, &l)) {
		n->count.turned_away++;
		return;
	}
	l->from = l->peer.addr = from;
	link_shake(l);
}

static enum err
listen_as_asked(struct net *n)
{
	int fd;
	enum err e = socket_listen(&n->config.listen, &fd, &n->bound);

	if (e)
		return e;
	n->listener = evconnlistener_new(n->base, on_accept, n,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!n->listener) {
		close(fd);
		return ERR_NOMEM;
	}
	evconnlistener_set_error_cb(n->listener, on_accept_error);
	return OK;
}

/* ---- other threads ------------------------------------------------------ */

static void
wake(struct net *n)
{
	uint64_t one = 1;

	/* EAGAIN: the count is at its end, so the loop is awake. */
	while (write(n->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct net *n = arg;
	struct call *call, *next;
	uint64_t count;
	bool stop;

	(void)what;
	n->tick_us = net_now_us(n);
	(void)!read(fd, &count, sizeof(count)); /* EAGAIN: no matter */
	pthread_mutex_lock(&n->lock);
	call = n->call;
	n->call = NULL;
	n->call_end = &n->call;
	stop = n->stop;
	pthread_mutex_unlock(&n->lock);
	for (; call; call = next) {
		next = call->next;
		call->fn(call->arg);
		free(call);
	}
	if (stop)
		(void)event_base_loopbreak(n->base);
}

enum err
net_call(struct net *n, void (*fn)(void *arg), void *arg)
{
	struct call *call = malloc(sizeof(*call));

	if (!call)
		return ERR_NOMEM;
	*call = (struct call){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&n->lock);
	*n->call_end = call;
	n->call_end = &call->next;
	pthread_mutex_unlock(&n->lock);
	wake(n);
	return OK;
}

void
net_stop(struct net *n)
{
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_mutex_unlock(&n->lock);
	wake(n);
}

/* libevent writes without MSG_NOSIGNAL.  SIGPIPE comes to the thread that
 * writes, so this one blocks it, and takes what came before it is let in
 * again; nobody else's signals change. */
enum err
net_run(struct net *n)
{
	struct timespec none = { 0 };
	sigset_t pipe, before, pending;
	int got;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	if ((got = pthread_sigmask(SIG_BLOCK, &pipe, &before)))
		return err_from_errno(got);
	got = event_base_loop(n->base, EVLOOP_NO_EXIT_ON_EMPTY);
	flush_dirty(n);
	pthread_mutex_lock(&n->lock);
	n->stop = false;
	pthread_mutex_unlock(&n->lock);
	if (!sigismember(&before, SIGPIPE) && !sigpending(&pending) &&
	    sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe, NULL, &none) < 0 && errno == EINTR)
			;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return got < 0 ? ERR_IO : OK;
}

/* ---- the handler's timer ------------------------------------------------ */

/* The loop's clock is coarse and its timer is set seldom: what is set may be
 * earlier than what is asked, never later. */
static void
alarm_set(struct net *n)
{
	uint64_t now = net_now_us(n);
	struct timeval tv =
	    timeval_of(n->alarm_us > now ? n->alarm_us - now : 0);

	n->armed_us = event_add(n->alarm, &tv) ? UINT64_MAX : n->alarm_us;
}

void
net_wake_at(struct net *n, uint64_t at_us)
{
	n->alarm_us = at_us;
	if (at_us < n->armed_us)
		alarm_set(n);
}

static void
on_alarm(evutil_socket_t fd, short what, void *arg)
{
	struct net *n = arg;
	uint64_t now = n->tick_us = net_now_us(n);

	(void)fd;
	(void)what;
	n->armed_us = UINT64_MAX;
	if (now >= n->alarm_us) {
		n->alarm_us = UINT64_MAX;
		n->handler.timer(n->handler.arg, now);
	}
	if (n->alarm_us != UINT64_MAX && n->armed_us > n->alarm_us)
		alarm_set(n);
}

/* ---- life --------------------------------------------------------------- */

static enum err
know_self(struct net *n)
{
	struct node_cert own;
	enum err e;

	if (!n->config.cert_len)
		return OK;
	if ((e = node_cert_open(n->config.ring, (int64_t)time(NULL),
		 n->config.cert, n->config.cert_len, &own)))
		return e;
	node_cert_id(&own, &n->self);
	return OK;
}

static enum err
make_base(struct net *n)
{
	n->base = event_base_new();
	if (!n->base)
		return ERR_NOMEM;
	n->after = event_new(n->base, -1, 0, after_events, n);
	n->alarm = event_new(n->base, -1, 0, on_alarm, n);
	n->listen_again = event_new(n->base, -1, 0, on_listen_again, n);
	if (!n->after || !n->alarm || !n->listen_again)
		return ERR_NOMEM;
	n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->wake_fd < 0)
		return err_from_errno(errno);
	n->wake =
	    event_new(n->base, n->wake_fd, EV_READ | EV_PERSIST, on_wake, n);
	if (!n->wake || event_add(n->wake, NULL))
		return ERR_NOMEM;
	return OK;
}

enum err
net_new(const struct net_config *config, const struct net_handler *handler,
    struct net **out)
{
	struct net *n = calloc(1, sizeof(*n));
	enum err e;

	if (!n)
		return ERR_NOMEM;
	if (config->listens && !config->cert_len) {
		free(n);
		return ERR_INVALID;
	}
	n->config = *config;
	n->handler = *handler;
	limits_init(&n->limits);
	n->wake_fd = -1;
	n->alarm_us = n->armed_us = UINT64_MAX;
	n->notice_end = &n->notice;
	n->call_end = &n->call;
	n->tick_us = net_now_us(n);
	bucket_init(
	    &n->accepts, n->limits.accepts, 2 * n->limits.accepts, n->tick_us);
	if (pthread_mutex_init(&n->lock, NULL)) {
		free(n);
		return ERR_NOMEM;
	}
	if (!(n->scratch = malloc(NET_SCRATCH_BYTES))) {
		e = ERR_NOMEM;
		goto fail;
	}
	if ((e = know_self(n)) || (e = make_base(n)) ||
	    (config->listens && (e = listen_as_asked(n))))
		goto fail;
	*out = n;
	return OK;
fail:
	net_free(n);
	return e;
}

static void
free_calls(struct net *n)
{
	struct call *call;

	while ((call = n->call)) {
		n->call = call->next;
		free(call);
	}
}

/* Of links, of the dead too, and of notices that nobody will hear. */
static void
free_links(struct net *n)
{
	struct notice *due;
	struct link *l;

	while ((l = n->table.first)) {
		table_remove(&n->table, l);
		l->next = n->dead;
		n->dead = l;
	}
	while ((due = n->notice)) {
		n->notice = due->next;
		if (!due->link)
			free(due);
	}
	while ((l = n->dead)) {
		n->dead = l->next;
		bufferevent_setcb(l->bev, NULL, NULL, NULL, NULL);
		link_free(l);
	}
	map_fini(&n->table.by_id);
}

void
net_free(struct net *n)
{
	if (!n)
		return;
	free_links(n);
	if (n->listener)
		evconnlistener_free(n->listener);
	if (n->wake)
		event_free(n->wake);
	if (n->after)
		event_free(n->after);
	if (n->alarm)
		event_free(n->alarm);
	if (n->listen_again)
		event_free(n->listen_again);
	if (n->base)
		event_base_free(n->base);
	if (n->wake_fd >= 0)
		close(n->wake_fd);
	free_calls(n);
	pthread_mutex_destroy(&n->lock);
	free(n->scratch);
	free(n);
}

/* ---- links -------------------------------------------------------------- */

const struct net_addr *
net_listening(const struct net *n)
{
	return &n->bound;
}

/* Nothing comes of it.  For want of memory for the answer there is none. */
static void
answer_no(struct net *n, const struct peer *peer, enum err why)
{
	struct notice *notice = calloc(1, sizeof(*notice));

	if (!notice)
		return;
	notice->peer = *peer;
	notice->why = why;
	net_note(n, notice);
}

/* A link of the table, at its begin; it answers for its end itself. */
static enum err
dial(struct net *n, const struct peer *peer, struct link **out)
{
	struct link *l;
	enum err e;
	int fd;

	if (table_dials(&n->table) >= n->limits.dials_max)
		return ERR_AGAIN;
	if ((e = socket_new(&peer->addr, &fd)) ||
	    (e = link_new(n, fd, true, &l)))
		return e;
	l->peer = *peer;
	l->known = !id_zero(&peer->id);
	if (l->known && (e = table_map(&n->table, l))) {
		link_kill(l, e);
		return e;
	}
	l->owes = true;
	link_dial(l);
	*out = l;
	return OK;
}

void
net_connect(struct net *n, const struct peer *peer)
{
	bool known = !id_zero(&peer->id);
	struct link *l = known ? table_find(&n->table, &peer->id)
			       : table_dialed(&n->table, &peer->addr);
	enum err e;

	if (l)
		return;
	if (known && id_eq(&peer->id, &n->self))
		answer_no(n, peer, ERR_EXISTS);
	else if (!peer->addr.port)
		answer_no(n, peer, ERR_UNREACHABLE);
	else if ((e = dial(n, peer, &l)))
		answer_no(n, peer, e);
}

/* One message always has room: a share can be less than that. */
static bool
has_room(struct link *l, size_t len)
{
	struct net *n = l->net;
	size_t queued = link_queued(l);

	return !queued ||
	       queued + len <= queue_share(&n->limits, n->queued, n->up);
}

enum err
net_send(struct net *n, const struct peer *peer, const void *bytes, size_t len)
{
	struct link *l = table_find(&n->table, &peer->id);
	size_t before;
	enum err e;

	assert(len); /* an empty message is our own goodbye */
	if (len > SESSION_MESSAGE_MAX)
		return ERR_TOO_BIG;
	if (!l) {
		if (!peer->addr.port || id_zero(&peer->id) ||
		    id_eq(&peer->id, &n->self))
			return ERR_UNREACHABLE;
		if ((e = dial(n, peer, &l)))
			return e;
		if (!l->mapped)
			return OK; /* failed at once: as later, down() tells */
	}
	if (!has_room(l, len)) {
		l->wants_room = true;
		return ERR_AGAIN;
	}
	if (l->state == LINK_UP) {
		l->used_us = n->tick_us;
		return link_send(l, bytes, len);
	}
	before = l->waiting.bytes;
	if ((e = outbox_put(&l->waiting, bytes, len)))
		return e;
	n->queued += l->waiting.bytes - before;
	l->counted += l->waiting.bytes - before;
	return OK;
}

void
net_drop(struct net *n, const struct id *peer)
{
	struct link *l = table_find(&n->table, peer), *tied;

	if (!l)
		return;
	if ((tied = l->rival)) {
		l->rival = tied->rival = NULL;
		link_kill(tied, OK);
	}
	link_flush(l); /* last words, if they can be said at once */
	link_kill(l, OK);
}

void
net_pause(struct net *n, const struct id *peer, bool pause)
{
	struct link *l = table_find(&n->table, peer);

	if (!l || l->state != LINK_UP || l->held == pause)
		return;
	l->held = pause;
	if (pause) {
		(void)bufferevent_disable(l->bev, EV_READ);
	} else if (!l->throttled) {
		l->resume_us = net_now_us(n);
		link_arm(l);
	}
}

void
net_guest_answer(struct net *n, uint64_t guest, const void *bytes, size_t len)
{
	struct link *l;

	for (l = n->table.first; l; l = l->next)
		if (l->state == LINK_GUEST && l->number == guest)
			break;
	if (l && link_send(l, bytes, len))
		link_kill(l, ERR_NOMEM);
}

bool
net_link_at(const struct net *n, unsigned i, struct net_link *out)
{
	const struct link *l;

	for (l = n->table.first; l; l = l->next)
		if (l->state == LINK_UP && !i--)
			break;
	if (!l)
		return false;
	*out = (struct net_link){
		.peer = l->peer,
		.outbound = l->outbound,
		.since_us = l->since_us,
		.sent_bytes = l->sent_bytes,
		.got_bytes = l->got_bytes,
		.queued_bytes = link_queued(l),
		.rtt_us = socket_rtt_us(bufferevent_getfd(l->bev)),
	};
	return true;
}

const struct net_counters *
net_counters(const struct net *n)
{
	return &n->count;
}
