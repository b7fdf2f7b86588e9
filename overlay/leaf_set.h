/* leaf_set.h - the nodes nearest to us on the ring, half of them on each side
 * (Pastry, section 2.2; MSPastry, section 3).
 *
 * Pure state: no I/O, no clock, no allocation after leaf_set_new().
 * A ring smaller than the set is in it whole; then a node may stand on both
 * sides, and is counted once.  Ownership: peers are copied in; pointers handed
 * out are borrowed and die at the next call that takes a non-const set. */
#ifndef POST_OVERLAY_LEAF_SET_H
#define POST_OVERLAY_LEAF_SET_H

#include "overlay/peer.h"

#define LEAF_HALF_MAX 16u

enum side { SIDE_LEFT, SIDE_RIGHT }; /* counter-clockwise, clockwise */

struct leaf_set;

/* `half` a side, 1..LEAF_HALF_MAX.  ERR_NOMEM. */
enum err leaf_set_new(
    const struct id *self, unsigned half, struct leaf_set **out) MUST_CHECK;
void leaf_set_free(struct leaf_set *ls); /* NULL is allowed */

/* Put it in if it belongs there (never ourselves); a member's address is
 * brought up to date, if one is known (port not 0).  True if membership
 * changed. */
bool leaf_set_add(struct leaf_set *ls, const struct peer *p);
/* Would it get in?  (A member does not: it is there.) */
bool leaf_set_wants(const struct leaf_set *ls, const struct id *id);
/* True if it was a member. */
bool leaf_set_remove(struct leaf_set *ls, const struct id *id);
const struct peer *leaf_set_find(
    const struct leaf_set *ls, const struct id *id); /* or NULL */

/* Members on a side, the nearest first; n from 0; NULL past the last. */
const struct peer *leaf_set_at(
    const struct leaf_set *ls, enum side side, unsigned n);
unsigned leaf_set_side(const struct leaf_set *ls, enum side side); /* how many */
unsigned leaf_set_count(const struct leaf_set *ls); /* distinct members */
/* The n-th distinct member: left ones from the nearest, then right ones. */
const struct peer *leaf_set_member(const struct leaf_set *ls, unsigned n);

/* The whole ring is in the set: a side is not full, or both ends meet. */
bool leaf_set_is_whole_ring(const struct leaf_set *ls);
/* Does key lie between the furthest members (or is the ring whole)? */
bool leaf_set_covers(const struct leaf_set *ls, const struct id *key);
/* The nearest to key among members and ourselves (NULL: ourselves). */
const struct peer *leaf_set_nearest(
    const struct leaf_set *ls, const struct id *key);
/* The n nodes nearest to key among members and ourselves, nearest first, for
 * replicas; ourselves as `self`.  The number of them. */
unsigned leaf_set_replicas(const struct leaf_set *ls, const struct peer *self,
    const struct id *key, unsigned n, struct peer *out);

/* Memory it holds. */
size_t leaf_set_bytes(const struct leaf_set *ls);

#endif
