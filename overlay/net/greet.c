/* greet.c - from a handshake to a link.
 *
 * Noise lets the side that dials believe that all is well before the other
 * has seen its certificate.  So the first message each way is a greeting, and
 * a link is up, for both, when the one who was dialed has agreed:
 *
 *   dials                     is dialed
 *     HELLO (port it listens)  ->             with the end of the handshake
 *                              <-  WELCOME (port), or REFUSED (why)
 *     ... messages ...        <->
 *     an empty message: BYE, from either, its last one
 *
 *   greeting: u8 kind (1 HELLO and WELCOME, 2 REFUSED), u16 port or why
 *
 * A stream that ends without BYE broke, or was cut.  One that ends instead of
 * a greeting means that the dialer's certificate does not do here.
 *
 * Both sides may dial at once.  Of the two connections that one is kept which
 * the node with the smaller id began:
 *
 *   - the larger one, on the smaller's HELLO, gives its own dial up and says
 *     WELCOME;
 *   - the smaller one, on the larger's HELLO, holds that connection (TIED)
 *     until its own dial is up (then REFUSED) or failed (then WELCOME; at the
 *     latest after NET_TIE_MS, for where a firewall eats packets one way).
 *
 * Nobody sends a message before WELCOME, so the connection that is given up
 * carries none: what was to be sent waits in memory and goes over to the
 * other.  A HELLO from a peer whose link is up means that the peer has lost it
 * without our knowing, as after a crash, and the new one takes its place;
 * unless the old one is so young that this HELLO may have crossed it: then it
 * is refused, and the old one is put to the test. */
#include "overlay/net/net_private.h"

#include <assert.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>

#define GREETING_BYTES 3

enum greeting {
	GREET_YES = 1,
	GREET_NO = 2,
};
enum refusal {
	REFUSE_TWIN = 1, /* there is a link between us */
	REFUSE_FULL = 2,
};

static enum err
greeting_send(struct link *l, enum greeting kind, uint16_t value)
{
	uint8_t bytes[GREETING_BYTES];
	struct wr w;

	wr_init(&w, bytes, sizeof(bytes));
	wr_be(&w, kind, 1);
	wr_be(&w, value, 2);
	return link_send(l, bytes, wr_len(&w));
}

static enum err
greeting_read(const uint8_t *bytes, size_t len, uint64_t *kind, uint16_t *value)
{
	struct rd r;

	rd_init(&r, bytes, len);
	*kind = rd_be(&r, 1);
	*value = (uint16_t)rd_be(&r, 2);
	if (!rd_done(&r) || (*kind != GREET_YES && *kind != GREET_NO))
		return ERR_MALFORMED;
	return OK;
}

/* ---- up and down -------------------------------------------------------- */

void
net_tell(struct net *n)
{
	struct notice *due;

	while ((due = n->notice)) {
		struct link *l = due->link;

		n->notice = due->next;
		if (!n->notice)
			n->notice_end = &n->notice;
		if (l)
			l->noticed = l->told_up = l->owes = false;
		n->handler.down(n->handler.arg, &due->peer, due->why);
		if (!l)
			free(due);
	}
}

/* Is there a place for one more?  If not, an idle link makes one. */
static bool
have_place(struct net *n)
{
	struct link *idle;

	if (n->up < n->limits.links_max)
		return true;
	idle = table_idle(&n->table, n->tick_us, n->limits.evict_us);
	if (!idle)
		return false;
	link_bye(idle);
	return true;
}

/* Both sides have agreed. */
static void
up(struct link *l)
{
	struct net *n = l->net;
	struct parcel *p;
	enum err e = OK;

	bucket_init(
	    &l->in, n->limits.in_rate, n->limits.in_rate / 4 + 1, n->tick_us);
	l->since_us = l->used_us = n->tick_us;
	n->up++;
	n->count.up++;
	link_enter(l, LINK_UP, UINT64_MAX);
	while (l->state == LINK_UP && !e && (p = outbox_take(&l->waiting))) {
		e = link_send(l, p->bytes, p->len);
		free(p);
	}
	if (e)
		link_kill(l, e);
	net_tell(n); /* an older link's down() comes first */
	if (l->state != LINK_UP)
		return; /* its own too, if it was waited for */
	l->told_up = true;
	l->owes = false;
	n->handler.up(n->handler.arg, &l->peer, session_peer(l->session));
}

static void
refuse(struct link *l, enum refusal why)
{
	l->net->count.refused++;
	if (greeting_send(l, GREET_NO, (uint16_t)why))
		link_kill(l, ERR_AGAIN);
	else if (l->state != LINK_DEAD)
		link_leave(l, ERR_AGAIN);
}

/* The dialer is welcome; it is the link of its peer or there is none. */
static void
welcome(struct link *l)
{
	struct net *n = l->net;
	enum err e;

	if (!have_place(n)) {
		refuse(l, REFUSE_FULL);
		return;
	}
	if ((!l->mapped && (e = table_map(&n->table, l))) ||
	    (e = greeting_send(l, GREET_YES, n->bound.port))) {
		link_kill(l, e);
		return;
	}
	if (l->state != LINK_DEAD)
		up(l);
}

/* ---- ties --------------------------------------------------------------- */

/* What l was to do for its peer is the heir's now: the place in the table, the
 * messages that wait, the answer that is owed. */
void
greet_inherit(struct link *heir, struct link *l)
{
	bool mapped = l->mapped;
	enum err e;

	outbox_move(&heir->waiting, &l->waiting);
	heir->owes |= l->owes;
	l->owes = false;
	table_unmap(&l->net->table, l);
	if (mapped && !heir->mapped && (e = table_map(&l->net->table, heir)))
		link_kill(heir, e);
}

/* Give up a dial for another connection with the same node. */
static void
yield(struct link *dial, struct link *heir)
{
	struct link *tied = dial->rival;

	if (tied) {
		dial->rival = tied->rival = NULL;
		if (heir->outbound) {
			heir->rival = tied; /* waits for that one now */
			tied->rival = heir;
		} else if (tied != heir) {
			link_kill(tied, OK);
		}
	}
	greet_inherit(heir, dial);
	link_kill(dial, OK);
}

void
greet_promote(struct link *l)
{
	struct link *dial = l->rival;

	assert(l->state == LINK_TIED);
	l->promoted = false;
	if (dial)
		yield(dial, l);
	if (l->state == LINK_TIED)
		welcome(l);
}

/* HELLO: we were dialed. */
static void
hello(struct link *l, uint16_t port)
{
	struct net *n = l->net;
	struct link *own = table_find(&n->table, &l->peer.id);

	l->peer.addr.port = port;
	switch (tie_judge(
	    &n->self, &l->peer.id, own, n->tick_us, n->limits.handshake_us)) {
	case TIE_NONE:
		welcome(l);
		break;
	case TIE_YIELD:
		yield(own, l);
		if (l->state != LINK_DEAD)
			welcome(l);
		break;
	case TIE_WAIT:
		if (own->rival) { /* has lost that one, without our knowing */
			struct link *old = own->rival;

			own->rival = old->rival = NULL;
			link_kill(old, OK);
		}
		own->rival = l;
		l->rival = own;
		link_enter(l, LINK_TIED, n->limits.tie_us);
		break;
	case TIE_REFUSE:
		socket_suspect(bufferevent_getfd(own->bev));
		refuse(l, REFUSE_TWIN);
		break;
	case TIE_REPLACE:
		link_kill(own, ERR_UNREACHABLE);
		welcome(l);
		break;
	}
}

/* The answer to our HELLO. */
static void
answered(struct link *l, uint64_t kind)
{
	struct link *tied = l->rival;

	if (kind == GREET_NO) {
		link_kill(l, ERR_AGAIN);
		return;
	}
	if (tied) {
		l->rival = tied->rival = NULL;
		refuse(tied, REFUSE_TWIN);
	}
	if (!have_place(l->net))
		link_kill(l, ERR_AGAIN);
	else
		up(l);
}

/* ---- from the session --------------------------------------------------- */

/* We dialed an address and know now who is there. */
static enum err
know_dialed(struct link *l, const struct id *id)
{
	struct net *n = l->net;
	struct link *own;
	enum err e;

	if (l->known) /* by net_connect() */
		return id_eq(&l->peer.id, id) ? OK : ERR_ABSENT;
	own = table_find(&n->table, id);
	if (id_eq(id, &n->self) || (own && own->state == LINK_UP))
		return ERR_EXISTS;
	if (own && !own->outbound) /* theirs, about to be welcome */
		return ERR_EXISTS;
	l->peer.id = *id;
	l->known = true;
	if (own) {
		yield(own, l); /* two dials of ours: this one is further */
		return OK;
	}
	if ((e = table_map(&n->table, l)))
		return e;
	return OK;
}

void
greet_ready(struct link *l)
{
	struct net *n = l->net;
	const struct node_cert *cert = session_peer(l->session);
	struct id id;
	enum err e;

	l->state = LINK_GREETING;
	if (cert)
		node_cert_id(cert, &id);
	if (l->outbound) {
		if (!cert)
			e = ERR_MALFORMED; /* no session does that */
		else
			e = know_dialed(l, &id);
		if (!e && l->state != LINK_DEAD)
			e = greeting_send(l, GREET_YES, n->bound.port);
		if (e)
			link_kill(l, e);
		return;
	}
	if (!cert)
		return; /* a guest */
	if (id_eq(&id, &n->self)) {
		link_leave(l, ERR_EXISTS);
		return;
	}
	l->peer.id = id;
	l->known = true;
	l->peer.addr = l->from;
}

static void
guest_message(struct link *l, const uint8_t *bytes, size_t len)
{
	struct net *n = l->net;

	if (!len || len > NET_GUEST_MESSAGE_MAX) {
		n->count.failed += len != 0;
		link_leave(l, OK);
		return;
	}
	n->handler.guest(n->handler.arg, l->number,
	    session_peer_key(l->session), bytes, len);
}

static void
member_message(struct link *l, const uint8_t *bytes, size_t len)
{
	struct net *n = l->net;

	if (!len) {
		link_kill(l, OK); /* BYE */
		return;
	}
	l->used_us = n->tick_us;
	if (!bucket_take(&l->in, n->tick_us)) {
		l->throttled = true;
		l->resume_us = n->tick_us + NET_RESUME_MS * UINT64_C(1000);
		n->count.throttled++;
		(void)bufferevent_disable(l->bev, EV_READ);
		link_arm(l);
	}
	n->handler.message(n->handler.arg, &l->peer, bytes, len);
}

void
greet_message(struct link *l, const uint8_t *bytes, size_t len)
{
	uint64_t kind;
	uint16_t value;

	if (l->state == LINK_UP) {
		member_message(l, bytes, len);
		return;
	}
	if (l->state == LINK_GUEST) {
		guest_message(l, bytes, len);
		return;
	}
	if (l->state != LINK_GREETING ||
	    greeting_read(bytes, len, &kind, &value) ||
	    (!l->outbound && kind != GREET_YES)) {
		l->net->count.failed += !l->outbound;
		link_kill(l, ERR_MALFORMED);
		return;
	}
	if (l->outbound) {
		answered(l, kind);
	} else if (l->known) {
		hello(l, value);
	} else {
		l->number = ++l->net->guests;
		link_enter(l, LINK_GUEST, l->net->limits.guest_us);
		if (greeting_send(l, GREET_YES, l->net->bound.port))
			link_kill(l, ERR_NOMEM);
	}
}
