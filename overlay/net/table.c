/* table.c - which links there are, who wins of two made at once, and who goes
 * when there are too many.  Looks at links, and changes none but its own
 * fields of them. */
#include "overlay/net/net_private.h"

#include <assert.h>

static uint64_t
id_hash(const struct id *id)
{
	return hash64(id->b, ID_BYTES, 0);
}

static bool
link_is(const void *item, const void *key)
{
	return id_eq(&((const struct link *)item)->peer.id, key);
}

void
table_add(struct link_table *t, struct link *l)
{
	l->prev = t->last;
	l->next = NULL;
	if (t->last)
		t->last->next = l;
	else
		t->first = l;
	t->last = l;
}

void
table_remove(struct link_table *t, struct link *l)
{
	if (l->prev)
		l->prev->next = l->next;
	else
		t->first = l->next;
	if (l->next)
		l->next->prev = l->prev;
	else
		t->last = l->prev;
	l->prev = l->next = NULL;
}

struct link *
table_find(const struct link_table *t, const struct id *id)
{
	return map_find(&t->by_id, id_hash(id), link_is, id);
}

enum err
table_map(struct link_table *t, struct link *l)
{
	enum err e;

	assert(l->known && !l->mapped && !table_find(t, &l->peer.id));
	if ((e = map_add(&t->by_id, id_hash(&l->peer.id), l)))
		return e;
	l->mapped = true;
	return OK;
}

void
table_unmap(struct link_table *t, struct link *l)
{
	if (!l->mapped)
		return;
	if (map_remove(&t->by_id, id_hash(&l->peer.id), link_is, &l->peer.id) !=
	    l)
		assert(!"the link of a peer is not in the table");
	l->mapped = false;
}

/* One that has not shown that it is a member, or has been refused. */
static bool
is_stranger(const struct link *l)
{
	if (l->outbound)
		return false;
	switch (l->state) {
	case LINK_SHAKING:
	case LINK_GREETING:
	case LINK_GUEST:
	case LINK_LEAVING:
		return true;
	case LINK_DIALING:
	case LINK_TIED:
	case LINK_UP:
	case LINK_DEAD:
		break;
	}
	return false;
}

unsigned
table_strangers(const struct link_table *t, const struct net_addr *from,
    struct link **oldest)
{
	unsigned n = 0;

	*oldest = NULL;
	for (struct link *l = t->first; l; l = l->next) {
		if (!is_stranger(l) ||
		    (from && !socket_same_place(&l->from, from)))
			continue;
		if (!n++)
			*oldest = l;
	}
	return n;
}

static bool
is_dial(const struct link *l)
{
	return l->outbound && l->state < LINK_TIED;
}

unsigned
table_dials(const struct link_table *t)
{
	unsigned n = 0;

	for (const struct link *l = t->first; l; l = l->next)
		n += is_dial(l);
	return n;
}

struct link *
table_dialed(const struct link_table *t, const struct net_addr *a)
{
	for (struct link *l = t->first; l; l = l->next)
		if (is_dial(l) && !l->known && net_addr_eq(&l->peer.addr, a))
			return l;
	return NULL;
}

struct link *
table_idle(const struct link_table *t, uint64_t now_us, uint64_t unused_us)
{
	struct link *best = NULL;

	for (struct link *l = t->first; l; l = l->next) {
		if (l->state != LINK_UP || l->used_us + unused_us > now_us ||
		    (best && best->used_us <= l->used_us))
			continue;
		if (l->held || l->throttled || link_queued(l) ||
		    !session_at_rest(l->session))
			continue;
		best = l;
	}
	return best;
}

enum tie
tie_judge(const struct id *self, const struct id *peer, const struct link *own,
    uint64_t now_us, uint64_t handshake_us)
{
	if (!own)
		return TIE_NONE;
	if (own->state == LINK_UP)
		return now_us < own->since_us + handshake_us ? TIE_REFUSE
							     : TIE_REPLACE;
	if (!own->outbound) /* a tie that is won already: the newer counts */
		return TIE_YIELD;
	return id_cmp(self, peer) < 0 ? TIE_WAIT : TIE_YIELD;
}
