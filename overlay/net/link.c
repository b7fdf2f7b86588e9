/* link.c - one connection: a session on a bufferevent, with its budgets.
 *
 * The bufferevent connects, waits, queues what TCP does not take and reports
 * the end.  Two things go past it, because libevent 2.1 reads at most 4096
 * bytes for each turn of the loop and copies all that it writes:
 *
 *   reading  when it has read as much as it can, what else is there is
 *            received straight into one large buffer that all links share
 *   writing  when nothing is queued, sealed bytes go from the session straight
 *            to the socket; only what that does not take is queued
 *
 * Sealed bytes leave at the end of the loop's turn (or when they are many), so
 * that what several calls have sent in a turn is one write.
 *
 * A link ends in one of two ways.  link_kill(): now; what is queued is lost.
 * link_leave(): what is queued is written, then the direction is shut, and the
 * link waits a moment for the other side to close too: a close() with unread
 * bytes would be a reset, which can overtake our last words. */
#include "overlay/net/net_private.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* As much as libevent 2.1 reads at once; fewer bytes, and there is no more. */
#define LIBEVENT_READ 4096

static void on_read(struct bufferevent *bev, void *arg);
static void on_write(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

/* ---- life --------------------------------------------------------------- */

enum err
link_new(struct net *n, int fd, bool outbound, struct link **out)
{
	struct timeval stall = {
		.tv_sec = (time_t)(n->limits.stall_us / 1000000),
		.tv_usec = (suseconds_t)(n->limits.stall_us % 1000000),
	};
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		goto fail;
	l->net = n;
	l->outbound = outbound;
	l->deadline_us = l->resume_us = UINT64_MAX;
	l->since_us = l->used_us = net_now_us(n);
	if (!(l->timer = event_new(n->base, -1, 0, on_timer, l)) ||
	    !(l->bev =
		    bufferevent_socket_new(n->base, fd, BEV_OPT_CLOSE_ON_FREE)))
		goto fail;
	fd = -1;
	if (bufferevent_set_max_single_write(l->bev, NET_TURN_BYTES) ||
	    bufferevent_set_timeouts(l->bev, NULL, &stall))
		goto fail;
	/* on_write() when half of the queue is free. */
	bufferevent_setwatermark(l->bev, EV_WRITE, n->limits.queue_max / 2, 0);
	bufferevent_setcb(l->bev, on_read, on_write, on_event, l);
	table_add(&n->table, l);
	*out = l;
	return OK;
fail:
	if (fd >= 0)
		close(fd);
	if (l && l->bev)
		bufferevent_free(l->bev);
	if (l && l->timer)
		event_free(l->timer);
	free(l);
	return ERR_NOMEM;
}

void
link_free(struct link *l)
{
	bufferevent_free(l->bev);
	event_free(l->timer);
	session_free(l->session);
	outbox_fini(&l->waiting);
	free(l->rest);
	free(l);
}

void
link_dial(struct link *l)
{
	struct sockaddr_storage sa;
	socklen_t len = socket_address(&l->peer.addr, &sa);

	link_enter(l, LINK_DIALING, l->net->limits.handshake_us);
	l->net->count.dialed++;
	if (bufferevent_socket_connect(
		l->bev, (struct sockaddr *)&sa, (int)len))
		link_kill(l, ERR_UNREACHABLE);
}

void
link_shake(struct link *l)
{
	struct net *n = l->net;
	struct session_config config = {
		.initiator = l->outbound,
		.ring = n->config.ring,
		.revoked = n->config.revoked,
		.key = n->config.key,
		.cert = n->config.cert,
		.cert_len = n->config.cert_len,
		.guest = l->outbound && !n->config.cert_len,
		.guests = !l->outbound && n->config.guests && n->handler.guest,
		.now_s = (int64_t)time(NULL),
	};
	enum err e;

	socket_options(bufferevent_getfd(l->bev));
	random_bytes(config.ephemeral, sizeof(config.ephemeral));
	e = session_new(&config, &l->session);
	wipe(config.ephemeral, sizeof(config.ephemeral));
	if (!e && bufferevent_enable(l->bev, EV_READ | EV_WRITE))
		e = ERR_NOMEM;
	if (e) {
		link_kill(l, e);
		return;
	}
	/* A dial has one deadline for TCP and handshake together. */
	if (!l->outbound)
		link_enter(l, LINK_SHAKING, n->limits.handshake_us);
	l->state = LINK_SHAKING;
	link_dirty(l);
}

/* ---- time --------------------------------------------------------------- */

/* Set the timer to the first of what is due. */
void
link_arm(struct link *l)
{
	uint64_t at = l->deadline_us, now = net_now_us(l->net), wait;
	struct timeval tv;

	if (l->resume_us < at)
		at = l->resume_us;
	if (l->state == LINK_UP && l->used_us + l->net->limits.idle_us < at)
		at = l->used_us + l->net->limits.idle_us;
	if (at == UINT64_MAX) {
		event_del(l->timer);
		return;
	}
	wait = at > now ? at - now : 0;
	tv.tv_sec = (time_t)(wait / 1000000);
	tv.tv_usec = (suseconds_t)(wait % 1000000);
	if (event_add(l->timer, &tv))
		link_kill(l, ERR_NOMEM);
}

void
link_enter(struct link *l, enum link_state state, uint64_t for_us)
{
	l->state = state;
	l->deadline_us =
	    for_us == UINT64_MAX ? for_us : net_now_us(l->net) + for_us;
	link_arm(l);
}

static bool
reads(const struct link *l)
{
	return l->state != LINK_DEAD && l->state != LINK_LEAVING && !l->held &&
	       !l->throttled;
}

static void
expired(struct link *l)
{
	switch (l->state) {
	case LINK_TIED:
		greet_promote(l);
		break;
	case LINK_LEAVING:
		link_kill(l, l->why);
		break;
	case LINK_GUEST:
		link_leave(l, OK);
		break;
	default:
		l->net->count.failed += !l->outbound;
		link_kill(l, ERR_UNREACHABLE);
		break;
	}
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	struct net *n = l->net;
	uint64_t now = n->tick_us = net_now_us(n);

	(void)fd;
	(void)what;
	if (now >= l->deadline_us) {
		expired(l);
	} else if (l->state == LINK_UP && !link_queued(l) && !l->held &&
		   now >= l->used_us + n->limits.idle_us) {
		link_bye(l);
	} else if (now >= l->resume_us) {
		l->resume_us = UINT64_MAX;
		l->throttled = false;
		if (reads(l) && bufferevent_enable(l->bev, EV_READ))
			link_kill(l, ERR_NOMEM);
		else if (reads(l))
			on_read(l->bev, l);
	} else if (l->state == LINK_UP &&
		   now >= l->used_us + n->limits.idle_us) {
		l->used_us = now; /* bytes wait: not idle */
	}
	if (l->state != LINK_DEAD)
		link_arm(l);
}

/* ---- out ---------------------------------------------------------------- */

size_t
link_queued(const struct link *l)
{
	size_t sealed = 0;

	if (l->session && l->state != LINK_DEAD)
		(void)session_output(l->session, &sealed);
	return sealed + l->waiting.bytes +
	       evbuffer_get_length(bufferevent_get_output(l->bev));
}

static void
recount(struct link *l)
{
	size_t now = l->state == LINK_DEAD ? 0 : link_queued(l);

	l->net->queued += now - l->counted;
	l->counted = now;
}

void
link_dirty(struct link *l)
{
	if (l->dirty)
		return;
	l->dirty = true;
	l->next_dirty = l->net->dirty;
	l->net->dirty = l;
	net_after(l->net);
}

/* Straight to the socket; how many bytes it took. */
static size_t
send_now(struct link *l, const uint8_t *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t k = send(bufferevent_getfd(l->bev), bytes + done,
		    len - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (k >= 0)
			done += (size_t)k;
		else if (errno != EINTR)
			break; /* full, or broken: the bufferevent will say */
	}
	return done;
}

static void
shut_if_done(struct link *l)
{
	if (l->state != LINK_LEAVING || l->shut || link_queued(l))
		return;
	l->shut = true;
	if (shutdown(bufferevent_getfd(l->bev), SHUT_WR))
		link_kill(l, l->why);
}

void
link_flush(struct link *l)
{
	const uint8_t *bytes;
	size_t len, done;

	if (l->state == LINK_DEAD || l->state == LINK_DIALING)
		return;
	while (
	    l->session && (bytes = session_output(l->session, &len)) && len) {
		done = 0;
		if (!evbuffer_get_length(bufferevent_get_output(l->bev)))
			done = send_now(l, bytes, len);
		if (done < len &&
		    bufferevent_write(l->bev, bytes + done, len - done)) {
			link_kill(l, ERR_NOMEM);
			return;
		}
		session_sent(l->session, len);
		l->sent_bytes += len;
	}
	recount(l);
	shut_if_done(l);
	/* What did not go through the bufferevent, it does not tell of. */
	if (l->wants_room &&
	    !evbuffer_get_length(bufferevent_get_output(l->bev)))
		bufferevent_trigger(l->bev, EV_WRITE,
		    BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

static void
on_write(struct bufferevent *bev, void *arg)
{
	struct link *l = arg;
	struct net *n = l->net;

	(void)bev;
	n->tick_us = net_now_us(n);
	recount(l);
	shut_if_done(l);
	if (l->wants_room && l->state == LINK_UP &&
	    link_queued(l) <= n->limits.queue_max / 2) {
		l->wants_room = false;
		if (n->handler.room)
			n->handler.room(n->handler.arg, &l->peer);
	}
}

enum err
link_send(struct link *l, const void *bytes, size_t len)
{
	enum err e = session_send(l->session, bytes, len);
	size_t sealed = 0;

	if (e) {
		if (e != ERR_NOMEM && e != ERR_TOO_BIG)
			link_kill(l, e); /* no such session seals again */
		return e;
	}
	(void)session_output(l->session, &sealed);
	if (sealed >= NET_FLUSH_BYTES) {
		link_flush(l);
	} else {
		recount(l);
		link_dirty(l);
	}
	return OK;
}

/* ---- in ----------------------------------------------------------------- */

/* What came breaks the rules of the session.  One who dialed us gets an end in
 * good order: it means "not you" to a node that has just shown who it is. */
static void
blame(struct link *l, enum err e)
{
	if (l->state == LINK_UP) {
		l->net->count.blamed++;
		link_kill(l, e);
		return;
	}
	if (l->outbound) {
		link_kill(l, e);
		return;
	}
	l->net->count.failed++;
	link_leave(l, e);
}

/* Give bytes to the session and its messages to whom they are for, until there
 * are none, the link is held back, or it ends.  How many were taken. */
static size_t
take(struct link *l, const uint8_t *bytes, size_t len)
{
	size_t off = 0, used, m_len;
	const uint8_t *m;
	enum err e;

	while (off < len && reads(l)) {
		e = session_receive(l->session, bytes + off, len - off, &used);
		if (e) {
			blame(l, e);
			return len;
		}
		off += used;
		if (l->state == LINK_SHAKING) {
			link_dirty(l); /* our turn, perhaps */
			if (session_ready(l->session))
				greet_ready(l);
		}
		if (!reads(l))
			break;
		if ((m = session_message(l->session, &m_len)))
			greet_message(l, m, m_len);
		else if (!used)
			blame(l, ERR_MALFORMED);
		if (l->state != LINK_UP && reads(l) &&
		    session_bytes(l->session) > NET_STRANGER_BYTES)
			blame(l, ERR_QUOTA);
	}
	return l->held || l->throttled ? off : len;
}

/* Keep what is left of bytes that no buffer has. */
static void
keep_rest(struct link *l, const uint8_t *bytes, size_t len)
{
	assert(!l->rest);
	if (!(l->rest = malloc(len))) {
		link_kill(l, ERR_NOMEM);
		return;
	}
	memcpy(l->rest, bytes, len);
	l->rest_len = len;
}

static void
take_rest(struct link *l)
{
	size_t used;

	if (!l->rest)
		return;
	used = take(l, l->rest, l->rest_len);
	l->rest_len -= used;
	if (l->rest_len) {
		memmove(l->rest, l->rest + used, l->rest_len);
		return;
	}
	free(l->rest);
	l->rest = NULL;
}

/* The other side has ended the stream, or it broke. */
static void
ended(struct link *l, bool in_order)
{
	if (l->state == LINK_LEAVING) {
		link_kill(l, l->why);
		return;
	}
	if (l->state != LINK_UP && !l->outbound)
		l->net->count.failed++;
	link_kill(l, l->outbound && l->state == LINK_GREETING && in_order
			 ? ERR_DENIED
			 : ERR_UNREACHABLE);
}

static void
receive_more(struct link *l)
{
	size_t total = 0, used;
	ssize_t k;

	while (total < NET_TURN_BYTES && reads(l)) {
		k = recv(bufferevent_getfd(l->bev), l->net->scratch,
		    NET_SCRATCH_BYTES, MSG_DONTWAIT);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (k <= 0) {
			ended(l, k == 0);
			return;
		}
		l->got_bytes += (size_t)k;
		used = take(l, l->net->scratch, (size_t)k);
		if (used < (size_t)k) {
			keep_rest(l, l->net->scratch + used, (size_t)k - used);
			return;
		}
		total += used;
		if (k < NET_SCRATCH_BYTES / 2)
			return; /* that was all, most likely */
	}
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct link *l = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t len, used, total = 0;

	l->net->tick_us = net_now_us(l->net);
	take_rest(l);
	while (reads(l) && (len = evbuffer_get_contiguous_space(in))) {
		used = take(l, evbuffer_pullup(in, (ev_ssize_t)len), len);
		l->got_bytes += used;
		total += used;
		(void)evbuffer_drain(in, used);
	}
	if (l->state == LINK_LEAVING)
		(void)evbuffer_drain(in, evbuffer_get_length(in));
	if (reads(l) && total >= LIBEVENT_READ)
		receive_more(l);
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct link *l = arg;

	(void)bev;
	l->net->tick_us = net_now_us(l->net);
	if (l->state == LINK_DEAD)
		return;
	if (what & BEV_EVENT_CONNECTED)
		link_shake(l);
	else
		ended(l, what & BEV_EVENT_EOF);
}

/* ---- the end ------------------------------------------------------------ */

/* From here on it is not the peer's link; down() is due if up() was told or an
 * answer is owed. */
static void
end(struct link *l, enum err why)
{
	struct net *n = l->net;
	struct link *rival = l->rival;

	l->why = why;
	l->used_us = n->tick_us;
	if (l->state == LINK_UP)
		n->up--;
	if (rival) {
		l->rival = rival->rival = NULL;
		if (l->state != LINK_TIED) {
			greet_inherit(rival, l);
			rival->promoted = n->promotions = true;
			net_after(n);
		}
	}
	table_unmap(&n->table, l);
	if (l->told_up || l->owes) {
		l->noticed = true;
		l->notice =
		    (struct notice){ .link = l, .peer = l->peer, .why = why };
		net_note(n, &l->notice);
	}
}

void
link_kill(struct link *l, enum err why)
{
	struct net *n = l->net;

	if (l->state == LINK_DEAD)
		return;
	if (l->state != LINK_LEAVING)
		end(l, why);
	l->state = LINK_DEAD;
	recount(l);
	bufferevent_setcb(l->bev, NULL, NULL, NULL, NULL);
	(void)bufferevent_disable(l->bev, EV_READ | EV_WRITE);
	(void)event_del(l->timer);
	table_remove(&n->table, l);
	l->next = n->dead;
	n->dead = l;
	net_after(n);
}

void
link_leave(struct link *l, enum err why)
{
	assert(l->state != LINK_DEAD && l->state != LINK_LEAVING);
	end(l, why);
	outbox_fini(&l->waiting);
	l->held = l->throttled = false;
	l->resume_us = UINT64_MAX;
	link_enter(l, LINK_LEAVING, l->net->limits.linger_us);
	if (bufferevent_enable(l->bev, EV_READ | EV_WRITE))
		link_kill(l, why);
	else
		link_dirty(l);
}

void
link_bye(struct link *l)
{
	assert(l->state == LINK_UP);
	if (session_send(l->session, "", 0))
		link_kill(l, OK);
	else
		link_leave(l, OK);
}
