/* Lookups: messages to keys, as an application would send them, and whether
 * they arrive where they should. */
#include "tools/sim_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOOKUPS_MIN 256u
#define REQUEST(slot, generation) ((uint64_t)(generation) << 32 | (slot))

static uint32_t
slot_free(struct sim *s)
{
	uint32_t cap = s->lookups_cap ? s->lookups_cap * 2 : LOOKUPS_MIN;
	struct sim_lookup *more;

	for (uint32_t k = 0; k < s->lookups_cap; k++) {
		uint32_t at = (s->lookup_next + k) % s->lookups_cap;

		if (!s->lookup[at].open) {
			s->lookup_next = at + 1;
			return at;
		}
	}
	more = realloc(s->lookup, cap * sizeof(*more));
	if (!more)
		return SIM_NONE;
	memset(
	    more + s->lookups_cap, 0, (cap - s->lookups_cap) * sizeof(*more));
	s->lookup = more;
	s->lookup_next = s->lookups_cap + 1;
	s->lookups_cap = cap;
	return s->lookup_next - 1;
}

void
sim_lookup(struct sim *s, uint32_t from, const struct id *key)
{
	uint32_t slot = slot_free(s);
	uint8_t payload[sizeof(uint64_t)];
	struct node_event ev = { .kind = NODE_EV_ROUTE,
		.key = *key,
		.service = SERVICE_TEST,
		.bytes = payload,
		.len = sizeof(payload) };
	struct sim_item it = { .kind = ITEM_LATE,
		.to = slot,
		.at_us = s->now_us + s->config.lost_us };
	struct sim_lookup *l;
	struct wr w;

	assert(sim_awake(&s->node[from]));
	if (slot == SIM_NONE) {
		s->failed = true;
		return;
	}
	l = &s->lookup[slot];
	l->generation++;
	l->key = *key;
	l->from = from;
	l->from_epoch = s->node[from].epoch;
	l->begun_us = s->now_us;
	l->open = true;
	l->arrived = false;
	s->lookups_waiting++;
	s->figures.lookups++;
	ev.request = it.u.number = REQUEST(slot, l->generation);
	sim_push(s, &it);
	wr_init(&w, payload, sizeof(payload));
	wr_be(&w, ev.request, sizeof(payload));
	sim_step(s, from, &ev); /* may arrive at once */
}

void
sim_lookup_by_chance(struct sim *s)
{
	uint32_t from = sim_pick(s);
	struct id key;

	if (from == SIM_NONE)
		return;
	for (unsigned b = 0; b < ID_BYTES; b++)
		key.b[b] = (uint8_t)sim_chance(s, 256);
	sim_lookup(s, from, &key);
}

unsigned
sim_lookups_waiting(const struct sim *s)
{
	return s->lookups_waiting;
}

/* One that arrived stays open until now, so that a second arrival is seen. */
void
sim_item_late(struct sim *s, const struct sim_item *it)
{
	struct sim_lookup *l = &s->lookup[it->to];
	const struct sim_node *n = &s->node[l->from];

	if (!l->open || REQUEST(it->to, l->generation) != it->u.number)
		return;
	l->open = false;
	if (l->arrived)
		return;
	s->lookups_waiting--;
	if (!n->node || n->epoch != l->from_epoch) {
		s->figures.forsaken++;
		return;
	}
	s->figures.lost++;
	sim_trace_say(
	    s, "lookup %llx is lost", (unsigned long long)it->u.number);
}

static void
judge_place(struct sim *s, uint32_t i, const struct id *key)
{
	uint32_t home = sim_home(s, key, i);
	const struct sim_node *n = &s->node[i], *h;

	if (s->merging || n->lie || home == SIM_NONE || home == i)
		return;
	h = &s->node[home];
	if (!id_nearer(key, &h->self.id, &n->self.id))
		return;
	s->figures.wrong++;
	sim_trace_say(s, "wrong: node %u is nearer", home);
	if (!s->config.code->is_home(h->node, key, sim_clock_us(s, h)))
		return;
	s->figures.unsafe++;
	sim_hurt(s,
	    "%.3f s: node %u took a message whose home is node %u, which "
	    "claims it",
	    (double)s->now_us / SIM_SECOND, i, home);
}

static void
count_arrival(
    struct sim *s, uint32_t i, const struct sim_lookup *l, unsigned hops)
{
	struct sim_figures *f = &s->figures;
	uint64_t delay = s->now_us - l->begun_us, direct, step;

	f->arrived++;
	f->hops += hops;
	f->hop_count[hops > ROUTE_HOPS_MAX ? ROUTE_HOPS_MAX : hops]++;
	if (hops > f->hops_max)
		f->hops_max = hops;
	f->prompt += delay <= SIM_PROMPT_US;
	if (i == l->from)
		return;
	direct = sim_delay_us(s, l->from, i);
	f->timed++;
	f->delay_us += delay;
	f->direct_us += direct;
	step = direct ? delay * 32 / direct : 32;
	f->ratio[step < SIM_RATIO_STEPS ? step : SIM_RATIO_STEPS - 1]++;
}

void
sim_arrived(struct sim *s, uint32_t i, const struct node_action *a)
{
	struct sim_lookup *l;
	struct rd r;
	uint64_t request;
	uint32_t slot;

	if (!a->routed || a->service != SERVICE_TEST)
		return;
	rd_init(&r, a->bytes, a->len);
	request = rd_be(&r, 8);
	slot = (uint32_t)request;
	if (!rd_done(&r) || slot >= s->lookups_cap || request != a->request) {
		if (!s->lies_told)
			sim_hurt(s, "node %u: a message arrived changed", i);
		return;
	}
	l = &s->lookup[slot];
	if (!l->open || REQUEST(slot, l->generation) != request)
		return; /* again, long after */
	if (!id_eq(&l->key, &a->key)) {
		if (!s->lies_told)
			sim_hurt(s, "node %u: a key arrived changed", i);
		return;
	}
	judge_place(s, i, &a->key);
	if (l->arrived) {
		s->figures.doubled++;
		return;
	}
	l->arrived = true;
	s->lookups_waiting--;
	count_arrival(s, i, l, a->hops);
}

double
sim_ratio_median(const struct sim_figures *f)
{
	uint64_t seen = 0;

	for (unsigned k = 0; k < SIM_RATIO_STEPS; k++) {
		seen += f->ratio[k];
		if (seen * 2 >= f->timed && f->timed)
			return (k + 0.5) / 32;
	}
	return 0;
}

double
sim_maintenance(const struct sim_figures *f)
{
	double acks = (double)f->sent[MSG_ROUTE_ACK], all = 0;
	double routed = (double)f->sent_lookup + (double)f->sent_joins;

	for (unsigned k = 0; k < MSG_KIND_END; k++)
		if (k != MSG_ROUTE && k != MSG_ROUTE_ACK)
			all += (double)f->sent[k];
	return all + (double)f->sent_unknown + (double)f->sent_joins +
	       (routed > 0 ? acks * (double)f->sent_joins / routed : 0);
}
