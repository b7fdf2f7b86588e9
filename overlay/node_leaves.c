/* LEAVES: who are our nearest, and who died.
 *
 * Only a node that speaks itself becomes a member.  One that is merely listed
 * is a candidate and is asked for its leaf set; the answer is what makes it a
 * member, and our question what makes us one of its.
 *
 * A joining node asks all its members, so they need not tell each other of
 * it.  A death is told by the two neighbours of the dead to all their
 * members, who ask the dead themselves before they believe it.  What a lost
 * message keeps from someone, the digest in every BEAT brings out: a
 * neighbour whose leaf set changed since we last saw it is asked for it. */
#include "overlay/node_private.h"

#include <assert.h>

#define ASK_GAP_US NODE_SECOND /* between two questions to one peer */
/* A set that lacks its furthest member can wait until the neighbours have
 * noticed the death as well. */
#define REPAIR_CALM_US (10 * NODE_SECOND)
/* Of those beyond a dead neighbour so many are asked at once whether they live,
 * too; if they do not, those beyond them follow. */
#define NEXT_ASKED 4u
#define REPAIR_US (2 * NODE_SECOND) /* between tries to find our piece */

bool
node_is_between(const struct node *n, enum side side, const struct id *x,
    const struct id *y)
{
	const struct id *self = &n->config.self.id;
	struct id to_x, to_y;

	if (side == SIDE_RIGHT) {
		id_sub(x, self, &to_x);
		id_sub(y, self, &to_y);
	} else {
		id_sub(self, x, &to_x);
		id_sub(self, y, &to_y);
	}
	return id_cmp(&to_x, &to_y) < 0;
}

/* ---- saying ------------------------------------------------------------- */

static void
leaves_fill(struct node *n, bool ask, uint64_t nonce, struct msg_leaves *m)
{
	unsigned count = 0;

	*m = (struct msg_leaves){ .ask = ask, .nonce = nonce };
	m->ready = n->ready;
	m->left = (uint8_t)leaf_set_side(n->leaves, SIDE_LEFT);
	m->right = (uint8_t)leaf_set_side(n->leaves, SIDE_RIGHT);
	for (unsigned i = 0; i < m->left; i++)
		m->peer[count++] = *leaf_set_at(n->leaves, SIDE_LEFT, i);
	for (unsigned i = 0; i < m->right; i++)
		m->peer[count++] = *leaf_set_at(n->leaves, SIDE_RIGHT, i);
	if (n->stage == STAGE_LEFT)
		m->dead[m->failed++] = n->config.self.id;
	for (unsigned i = n->known_n; i-- && m->failed < FAILED_MAX;) {
		const struct known *k = n->known[i];

		if (k->dead_us && k->was_leaf &&
		    n->now_us - k->dead_us < DEAD_TELL_US)
			m->dead[m->failed++] = k->peer.id;
	}
}

size_t
leaves_frame(struct node *n, bool ask, uint64_t nonce, uint8_t *out, size_t cap)
{
	struct msg_leaves m;
	size_t len = 0;

	leaves_fill(n, ask, nonce, &m);
	if (!msg_leaves_encode(&m, out, cap, &len))
		assert(!"a leaf set fits");
	return len;
}

void
leaves_send(struct node *n, const struct peer *to, bool ask, uint64_t nonce)
{
	uint8_t frame[4096];
	size_t len = leaves_frame(n, ask, nonce, frame, sizeof(frame));

	out_frame(n, to, frame, len);
}

static uint32_t
digest_add(uint32_t digest, const struct peer *p)
{
	for (unsigned i = 0; i < 8; i++) /* FNV-1a; ids are hashes already */
		digest = (digest ^ p->id.b[i]) * 16777619u;
	return digest;
}

uint32_t
leaves_digest(const struct node *n)
{
	uint32_t digest = 2166136261u;

	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i < leaf_set_side(n->leaves, side); i++)
			digest =
			    digest_add(digest, leaf_set_at(n->leaves, side, i));
	return digest;
}

static uint32_t
digest_of(const struct msg_leaves *m)
{
	uint32_t digest = 2166136261u;

	for (unsigned i = 0; i < (unsigned)m->left + m->right; i++)
		digest = digest_add(digest, &m->peer[i]);
	return digest;
}

/* ---- members ------------------------------------------------------------ */

static void
changed(struct node *n)
{
	n->digest = leaves_digest(n);
	n->recheck = true;
	lease_neighbours(n);
	if (!n->leaves_changed) {
		n->leaves_changed = true;
		out_act(n, NODE_ACT_LEAVES_CHANGED, NULL);
	}
}

void
leaves_admit(struct node *n, struct known *k)
{
	if (k->revoked || k->gone)
		return;
	if (!leaf_set_wants(n->leaves, &k->peer.id)) {
		(void)leaf_set_add(n->leaves, &k->peer); /* its address */
		return;
	}
	if (leaf_set_add(n->leaves, &k->peer)) {
		k->was_leaf = true;
		changed(n);
	}
}

void
leaves_consider(struct node *n, const struct peer *p)
{
	struct known *k;

	if (!leaf_set_wants(n->leaves, &p->id))
		return;
	k = known_get(n, p);
	if (!k || k->revoked || k->gone || k->candidate)
		return;
	if (k->dead_us) {
		if (k->probing || n->now_us - k->dead_us < DEAD_RETRY_US ||
		    n->now_us - k->listed_us < DEAD_RETRY_US)
			return;
		k->listed_us = n->now_us;
	}
	k->candidate = true;
	if (k->probing) { /* for another purpose: this one comes first */
		k->probing = k->measuring = false;
	}
	known_probe(n, k);
}

/* Dead for us: the neighbours of the dead tell all, and look at once whether
 * those beyond it live. */
void
leaves_remove(struct node *n, struct known *k)
{
	struct peer was = k->peer;
	bool beside[2], told = false, covered = true;

	for (unsigned s = 0; s < 2; s++) {
		const struct peer *p = leaf_set_at(n->leaves, s, 0);

		beside[s] = p && id_eq(&p->id, &was.id);
		told |= beside[s];
	}
	k->was_leaf = true;
	/* What leases it has: the one that we gave last, if we are its
	 * neighbour; else one that another gave, just before at the latest. */
	for (unsigned s = 0; s < 2; s++)
		covered &= !beside[s] || id_eq(&n->gap[s].given_to, &was.id);
	if (!k->gone && !(told && covered))
		k->ghost_us = n->now_us + n->config.lease_us;
	for (unsigned s = 0; s < 2; s++)
		for (unsigned i = 0; i < leaf_set_side(n->leaves, s); i++)
			if (id_eq(&leaf_set_at(n->leaves, s, i)->id, &was.id))
				n->repair_sides |= 1u << s;
	(void)leaf_set_remove(n->leaves, &was.id);
	n->repair_us = min_us(n->repair_us,
	    n->now_us +
		node_jitter(n, leaf_set_count(n->leaves) < n->config.leaf_half
				   ? NODE_SECOND / 4
				   : REPAIR_CALM_US));
	changed(n);
	if (!told || n->stage == STAGE_LEFT)
		return;
	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++) {
		const struct peer *p = leaf_set_member(n->leaves, i);
		struct known *m = known_get(n, p);
		bool near = false;

		for (unsigned s = 0; s < 2; s++)
			for (unsigned j = 0; beside[s] && j < NEXT_ASKED &&
					     j < leaf_set_side(n->leaves, s);
			     j++)
				near |= id_eq(
				    &leaf_set_at(n->leaves, s, j)->id, &p->id);
		if (near && m && !m->probing) {
			m->candidate = true; /* so LEAVES is the question */
			known_probe(n, m);
		} else {
			leaves_send(n, p, false, 0);
		}
	}
}

static void
repair_ask(struct node *n, const struct peer *p)
{
	struct known *k = known_get(n, p);

	if (!k || k->probing)
		return;
	k->asked_us = n->now_us;
	leaves_send(n, &k->peer, true, 0);
}

/* A side is short by its furthest member: that is one that the neighbour there
 * has, whose own side reaches one further.  If most are gone at once the ring
 * is torn where we are, and the furthest that is left may know more; those in
 * the table may know the piece that we belong to. */
static void
repair(struct node *n)
{
	bool torn = leaf_set_count(n->leaves) < n->config.leaf_half;

	if (torn && n->stage == STAGE_JOINED && join_ask_place(n) &&
	    n->repairs < 8) {
		n->repair_sides = 3;
		n->repair_us =
		    n->now_us + node_jitter(n, REPAIR_US << n->repairs / 2);
		n->repairs++;
	} else {
		n->repairs = 0;
	}
	for (unsigned s = 0; s < 2; s++) {
		unsigned count = leaf_set_side(n->leaves, s);

		if (!(n->repair_sides & 1u << s) || count == 0)
			continue;
		repair_ask(n, leaf_set_at(n->leaves, s, 0));
		if (torn && count > 1)
			repair_ask(n, leaf_set_at(n->leaves, s, count - 1));
	}
	n->repair_sides = 0;
}

void
leaves_timers(struct node *n)
{
	if (n->repair_us > n->now_us)
		return;
	n->repair_us = NEVER;
	repair(n);
}

/* ---- hearing ------------------------------------------------------------ */

static bool
lists(const struct msg_leaves *m, const struct id *id)
{
	for (unsigned i = 0; i < (unsigned)m->left + m->right; i++)
		if (id_eq(&m->peer[i].id, id))
			return true;
	return false;
}

/* Members of ours that the sender should have and does not: they may be dead
 * and the news lost.  Those between us and it on the way round are certain to
 * belong to its set, as long as it lies within ours. */
static void
look_at_omitted(
    struct node *n, const struct peer *from, const struct msg_leaves *m)
{
	for (unsigned s = 0; s < 2; s++) {
		bool found = false;

		for (unsigned i = 0; i < leaf_set_side(n->leaves, s); i++)
			found |=
			    id_eq(&leaf_set_at(n->leaves, s, i)->id, &from->id);
		for (unsigned i = 0; found && i < leaf_set_side(n->leaves, s);
		     i++) {
			const struct peer *p = leaf_set_at(n->leaves, s, i);
			struct known *k;

			if (id_eq(&p->id, &from->id))
				break;
			if (lists(m, &p->id))
				continue;
			k = known_get(n, p);
			if (k && n->now_us - k->said_us > n->config.beat_us)
				known_probe(n, k);
		}
	}
}

static void
goodbye(struct node *n, struct known *k)
{
	k->gone = true;
	lease_returned(n, &k->peer.id);
	known_dead(n, k);
	k->ghost_us = 0; /* it claims nothing any more: it says so itself */
}

/* How many members, nodes that are being asked, and others of the list are
 * nearer on that side? */
static unsigned
rank(struct node *n, enum side side, const struct msg_leaves *m, unsigned at)
{
	const struct id *id = &m->peer[at].id;
	unsigned nearer = 0;

	for (unsigned i = 0; i < leaf_set_count(n->leaves); i++)
		nearer += node_is_between(
		    n, side, &leaf_set_member(n->leaves, i)->id, id);
	for (unsigned i = 0; i < n->known_n; i++) {
		const struct known *k = n->known[i];

		nearer += k->probing && k->candidate && !k->dead_us &&
			  leaf_set_wants(n->leaves, &k->peer.id) &&
			  node_is_between(n, side, &k->peer.id, id);
	}
	for (unsigned i = 0; i < (unsigned)m->left + m->right; i++) {
		const struct known *k = known_find(n, &m->peer[i].id);

		nearer += leaf_set_wants(n->leaves, &m->peer[i].id) &&
			  !(k && (k->dead_us || k->gone || k->revoked ||
				     k->probing)) &&
			  node_is_between(n, side, &m->peer[i].id, id);
	}
	return nearer;
}

/* Ask those of the list that would be members.  A set that lost one has room
 * for any node of the ring, until the right one is found: only those are asked
 * that would stay.  True: there is one that we want and do not have. */
static bool
consider_all(struct node *n, const struct msg_leaves *m)
{
	bool wanted[LEAVES_MAX] = { false }, any = false;

	for (unsigned i = 0; i < (unsigned)m->left + m->right; i++)
		wanted[i] =
		    leaf_set_wants(n->leaves, &m->peer[i].id) &&
		    (rank(n, SIDE_LEFT, m, i) < n->config.leaf_half ||
			rank(n, SIDE_RIGHT, m, i) < n->config.leaf_half);
	for (unsigned i = 0; i < (unsigned)m->left + m->right; i++) {
		if (!wanted[i])
			continue;
		any = true;
		leaves_consider(n, &m->peer[i]);
	}
	return any;
}

enum err
leaves_got(
    struct node *n, const struct origin *o, const uint8_t *frame, size_t len)
{
	struct msg_leaves m;
	struct known *k;
	enum err e = msg_leaves_decode(frame, len, &m);

	if (e)
		return e;
	k = known_get(n, &o->peer);
	if (!k)
		return OK; /* too many: as if it were lost */
	known_answered(n, k, m.nonce, !o->relayed);
	node_heard(n, o);
	for (unsigned i = 0; i < m.failed; i++) {
		struct known *d = known_find(n, &m.dead[i]);

		if (id_eq(&m.dead[i], &k->peer.id) && !o->relayed) {
			goodbye(n, k);
			return OK;
		}
		if (d && d != k && leaf_set_find(n->leaves, &d->peer.id))
			known_probe(n, d);
	}
	k->ready = m.ready;
	k->digest = digest_of(&m);
	if (!o->relayed || relay_detour(n, &k->peer.id))
		leaves_admit(n, k);
	else
		leaves_consider(n, &k->peer);
	if (!m.ask && m.nonce)
		lease_answer(n, &k->peer.id, &m);
	k->unsettled = consider_all(n, &m);
	look_at_omitted(n, &k->peer, &m);
	if (n->stage == STAGE_SEEKING)
		n->stage = STAGE_PROBING;
	if (m.ask) {
		uint8_t answer[4096];
		size_t used =
		    leaves_frame(n, false, m.nonce, answer, sizeof(answer));

		k->asked_us = n->now_us;
		out_reply(n, o, answer, used);
	}
	return OK;
}
