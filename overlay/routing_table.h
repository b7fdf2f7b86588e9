/* routing_table.h - for each shared prefix, nodes that continue it with each
 * other digit, near ones preferred (Pastry, sections 2.2 and 2.5).
 *
 * Pure state; rows are allocated as they are needed.  A cell keeps the
 * nearest of the nodes offered for it: by round trip time as measured, one
 * that was not measured yields to one that was.  Pointers handed out are
 * borrowed until the next call that changes the table. */
#ifndef POST_OVERLAY_ROUTING_TABLE_H
#define POST_OVERLAY_ROUTING_TABLE_H

#include "overlay/peer.h"

#define RTT_UNKNOWN UINT32_MAX

struct routing_entry {
	struct peer peer;
	uint32_t rtt_us; /* RTT_UNKNOWN: not measured */
	uint64_t heard_us; /* when it last spoke to us; 0: never */
};

struct routing_table;

enum err routing_table_new(
    const struct id *self, struct routing_table **out) MUST_CHECK;
void routing_table_free(struct routing_table *t);

/* Offer a node.  True if it is in the table now.  A member's address (if one is
 * known: port not 0) and rtt (if known) are brought up to date.  No memory for
 * a row is like a node not wanted. */
bool routing_table_offer(
    struct routing_table *t, const struct peer *p, uint32_t rtt_us);
/* Would it be taken in: is its cell empty, or held by another that is further
 * away or, unlike it, not measured? */
bool routing_table_wants(
    const struct routing_table *t, const struct id *id, uint32_t rtt_us);
bool routing_table_remove(struct routing_table *t, const struct id *id);
struct routing_entry *routing_table_find(
    struct routing_table *t, const struct id *id); /* or NULL */

/* The cell for the next digit of key; NULL if it is empty. */
struct routing_entry *routing_table_next(
    struct routing_table *t, const struct id *key);
/* Any node that shares at least as long a prefix with key as we do and is
 * nearer to it than we are (Pastry's rare case); the best of them. */
struct routing_entry *routing_table_nearer(
    struct routing_table *t, const struct id *key);

/* As many as are held: the deepest with a node in it is the last. */
unsigned routing_table_rows(const struct routing_table *t);
/* NULL: empty, our own digit's cell included. */
struct routing_entry *routing_table_cell(
    struct routing_table *t, unsigned row, unsigned digit);
unsigned routing_table_count(const struct routing_table *t);

/* Memory it holds. */
size_t routing_table_bytes(const struct routing_table *t);

#endif
