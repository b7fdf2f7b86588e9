/* Row r, digit d: a node that shares r digits with us and goes on with d.
 *
 * With N nodes about log16(N) rows are not empty, so the list of rows grows
 * with the deepest one, a row is there only while there is a node in it, and
 * those that a node skipped stay NULL. */
#include "overlay/routing_table.h"

#include <assert.h>
#include <stdlib.h>

struct row {
	uint16_t used; /* bit d: cell d holds a node */
	struct routing_entry cell[ID_BASE];
};

_Static_assert(ID_BASE <= 16, "a bit of `used` for each cell");
_Static_assert(sizeof(struct routing_entry) == 64, "one line of the cache");

struct routing_table {
	struct id self;
	struct row **row;
	unsigned rows, count;
};

enum err
routing_table_new(const struct id *self, struct routing_table **out)
{
	struct routing_table *t = calloc(1, sizeof(*t));

	if (!t)
		return ERR_NOMEM;
	t->self = *self;
	*out = t;
	return OK;
}

void
routing_table_free(struct routing_table *t)
{
	if (!t)
		return;
	for (unsigned r = 0; r < t->rows; r++)
		free(t->row[r]);
	free(t->row);
	free(t);
}

size_t
routing_table_bytes(const struct routing_table *t)
{
	size_t bytes = sizeof(*t) + t->rows * sizeof(t->row[0]);

	for (unsigned r = 0; r < t->rows; r++)
		bytes += t->row[r] ? sizeof(*t->row[r]) : 0;
	return bytes;
}

/* ---- cells -------------------------------------------------------------- */

static struct routing_entry *
cell_at(const struct routing_table *t, unsigned r, unsigned digit)
{
	if (r >= t->rows || !t->row[r] || !(t->row[r]->used & 1u << digit))
		return NULL;
	return &t->row[r]->cell[digit];
}

/* Where id belongs; false for ourselves, who belong nowhere. */
static bool
place_of(const struct routing_table *t, const struct id *id, unsigned *r,
    unsigned *digit)
{
	*r = id_shared_digits(&t->self, id);
	if (*r == ID_DIGITS)
		return false;
	*digit = id_digit(id, *r);
	return true;
}

static struct row *
row_make(struct routing_table *t, unsigned r)
{
	if (r >= t->rows) {
		struct row **more = realloc(t->row, (r + 1) * sizeof(*more));

		if (!more)
			return NULL;
		t->row = more;
		while (t->rows <= r)
			t->row[t->rows++] = NULL;
	}
	if (!t->row[r])
		t->row[r] = calloc(1, sizeof(*t->row[r]));
	return t->row[r];
}

/* Rows end with one that is there, also after there was no memory for it. */
static void
rows_trim(struct routing_table *t)
{
	while (t->rows && !t->row[t->rows - 1])
		t->rows--;
}

bool
routing_table_offer(
    struct routing_table *t, const struct peer *p, uint32_t rtt_us)
{
	struct routing_entry *e;
	unsigned r, digit;
	struct row *row;

	if (!place_of(t, &p->id, &r, &digit))
		return false;
	e = cell_at(t, r, digit);
	if (e && id_eq(&e->peer.id, &p->id)) {
		if (p->addr.port)
			e->peer.addr = p->addr;
		if (rtt_us != RTT_UNKNOWN)
			e->rtt_us = rtt_us;
		return true;
	}
	if (e && rtt_us >= e->rtt_us)
		return false;
	row = row_make(t, r);
	if (!row) {
		rows_trim(t);
		return false;
	}
	t->count += !e;
	row->used |= (uint16_t)(1u << digit);
	row->cell[digit] =
	    (struct routing_entry){ .peer = *p, .rtt_us = rtt_us };
	return true;
}

bool
routing_table_wants(
    const struct routing_table *t, const struct id *id, uint32_t rtt_us)
{
	const struct routing_entry *e;
	unsigned r, digit;

	if (!place_of(t, id, &r, &digit))
		return false;
	e = cell_at(t, r, digit);
	return !e || (!id_eq(&e->peer.id, id) && rtt_us < e->rtt_us);
}

struct routing_entry *
routing_table_find(struct routing_table *t, const struct id *id)
{
	struct routing_entry *e = routing_table_next(t, id);

	return e && id_eq(&e->peer.id, id) ? e : NULL;
}

bool
routing_table_remove(struct routing_table *t, const struct id *id)
{
	unsigned r, digit;

	if (!routing_table_find(t, id) || !place_of(t, id, &r, &digit))
		return false;
	t->row[r]->used &= (uint16_t) ~(1u << digit);
	t->count--;
	if (t->row[r]->used == 0) {
		free(t->row[r]);
		t->row[r] = NULL;
		rows_trim(t);
	}
	return true;
}

/* ---- routing ------------------------------------------------------------ */

struct routing_entry *
routing_table_next(struct routing_table *t, const struct id *key)
{
	unsigned r, digit;

	return place_of(t, key, &r, &digit) ? cell_at(t, r, digit) : NULL;
}

/* Row r and those below it are the nodes that share r digits with us, and so
 * with a key that does. */
struct routing_entry *
routing_table_nearer(struct routing_table *t, const struct id *key)
{
	const struct id *nearest = &t->self;
	struct routing_entry *best = NULL;

	for (unsigned r = id_shared_digits(&t->self, key); r < t->rows; r++) {
		for (unsigned d = 0; d < ID_BASE; d++) {
			struct routing_entry *e = cell_at(t, r, d);

			if (e && id_nearer(key, &e->peer.id, nearest)) {
				nearest = &e->peer.id;
				best = e;
			}
		}
	}
	return best;
}

/* ---- looking ------------------------------------------------------------ */

unsigned
routing_table_rows(const struct routing_table *t)
{
	return t->rows;
}

struct routing_entry *
routing_table_cell(struct routing_table *t, unsigned row, unsigned digit)
{
	assert(digit < ID_BASE);
	return cell_at(t, row, digit);
}

unsigned
routing_table_count(const struct routing_table *t)
{
	return t->count;
}
