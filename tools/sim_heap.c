/* The heap of events, by time and then by the order of making. */
#include "tools/sim_private.h"

#include <stdlib.h>

/* Four children to a place: half the depth, and they share cache lines. */
#define WAYS 4u

static bool
sooner(const struct sim_item *a, const struct sim_item *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void
sim_push(struct sim *s, struct sim_item *it)
{
	size_t at = s->items;

	it->order = s->order++;
	if (s->items == s->items_cap) {
		size_t cap = s->items_cap ? s->items_cap * 2 : 1024;
		struct sim_item *more =
		    realloc(s->item, cap * sizeof(*s->item));

		if (!more) {
			s->failed = true;
			if (it->kind == ITEM_FRAME)
				sim_frame_unref(s, it->u.frame);
			else if (it->kind == ITEM_FAILED)
				free(it->u.peer);
			return;
		}
		s->item = more;
		s->items_cap = cap;
	}
	s->items++;
	while (at && sooner(it, &s->item[(at - 1) / WAYS])) {
		s->item[at] = s->item[(at - 1) / WAYS];
		at = (at - 1) / WAYS;
	}
	s->item[at] = *it;
}

void
sim_pop(struct sim *s, struct sim_item *out)
{
	const struct sim_item *last;
	size_t at = 0;

	*out = s->item[0];
	last = &s->item[--s->items];
	for (;;) {
		size_t first = at * WAYS + 1, best = first;

		if (first >= s->items)
			break;
		for (size_t c = first + 1; c < first + WAYS && c < s->items;
		     c++)
			if (sooner(&s->item[c], &s->item[best]))
				best = c;
		if (!sooner(&s->item[best], last))
			break;
		s->item[at] = s->item[best];
		at = best;
	}
	s->item[at] = *last;
}
