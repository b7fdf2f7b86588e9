/* Time and nodes: the heap of events, and what each of them does. */
#include "tools/sim_private.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_OFFSET_MAX (SIM_HOUR * 24 * 365)
#define GROW_WAIT_US SIM_MINUTE
#define GROW_STEP_US (SIM_SECOND / 5)
#define SPINS_MAX 16u /* steps at one time in which more becomes due at once */
#define SPIN_US 1000u /* a deadline that stays in the past: not so fast */

void
sim_config_init(struct sim_config *c, uint64_t seed, unsigned nodes)
{
	memset(c, 0, sizeof(*c));
	c->seed = seed;
	c->nodes = nodes;
	c->base_us = 500;
	c->span_us = 80000; /* a mean of 43 ms one way */
	c->jitter_us = 2000;
	c->broken_ppm = 23000;
	c->drift_ppm = 50;
	c->connect_wait_us = 5 * SIM_SECOND;
	c->stall_us = 20 * SIM_SECOND;
	c->idle_us = 2 * SIM_MINUTE;
	c->grace_us = 30 * SIM_SECOND;
	c->lost_us = 2 * SIM_MINUTE;
	c->node.leaf_half = 12;
}

struct sim *
sim_new(const struct sim_config *config)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(config->nodes > 0 && config->code);
	if (!s)
		return NULL;
	s->config = *config;
	rng_init(&s->net, hash64_u64(config->seed, 1));
	rng_init(&s->chance, hash64_u64(config->seed, 2));
	rng_init(&s->lies, hash64_u64(config->seed, 3));
	s->node = calloc(config->nodes, sizeof(*s->node));
	s->ring = calloc(config->nodes, sizeof(*s->ring));
	s->unused = calloc(config->nodes, sizeof(*s->unused));
	if (!s->node || !s->ring || !s->unused || !sim_net_init(s)) {
		sim_free(s);
		return NULL;
	}
	while (s->unused_count < config->nodes) {
		uint32_t i = config->nodes - 1 - s->unused_count;

		s->node[i].links = LINK_NONE;
		s->unused[s->unused_count++] = i;
	}
	return s;
}

void
sim_free(struct sim *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->items; i++) {
		if (s->item[i].kind == ITEM_FRAME)
			sim_frame_unref(s, s->item[i].u.frame);
		else if (s->item[i].kind == ITEM_FAILED)
			free(s->item[i].u.peer);
	}
	for (unsigned i = 0; s->node && i < s->config.nodes; i++)
		if (s->node[i].node)
			s->config.code->destroy(s->node[i].node);
	sim_net_fini(s);
	free(s->item);
	free(s->node);
	free(s->ring);
	free(s->unused);
	free(s->lookup);
	free(s);
}

bool
sim_failed(const struct sim *s)
{
	return s->failed;
}

uint64_t
sim_now_us(const struct sim *s)
{
	return s->now_us;
}

uint64_t
sim_digest(const struct sim *s)
{
	return s->digest;
}

uint64_t
sim_events(const struct sim *s)
{
	return s->events;
}

void
sim_mix(struct sim *s, uint64_t a, uint64_t b)
{
	s->digest = hash64_u64(s->digest, hash64_u64(a, b));
}

uint64_t
sim_chance(struct sim *s, uint64_t below)
{
	return rng_below(&s->chance, below);
}

void
sim_hurt(struct sim *s, const char *format, ...)
{
	va_list args;

	if (s->hurts < SIM_HURTS_KEPT) {
		va_start(args, format);
		vsnprintf(s->hurt[s->hurts], sizeof(s->hurt[0]), format, args);
		va_end(args);
		sim_trace_say(s, "HURT %s", s->hurt[s->hurts]);
	}
	s->hurts++;
}

unsigned
sim_hurts(const struct sim *s)
{
	return s->hurts;
}

const char *
sim_hurt_text(const struct sim *s, unsigned n)
{
	return n < s->hurts && n < SIM_HURTS_KEPT ? s->hurt[n] : NULL;
}

/* ---- clocks ------------------------------------------------------------- */

static uint64_t
drifted(uint64_t us, int32_t ppm)
{
	return us + (uint64_t)((__int128)us * ppm / 1000000);
}

uint64_t
sim_clock_us(const struct sim *s, const struct sim_node *n)
{
	return n->offset_us + drifted(s->now_us, n->drift_ppm);
}

/* When a node's clock will show that. */
static uint64_t
clock_when(const struct sim *s, const struct sim_node *n, uint64_t local_us)
{
	uint64_t at;

	if (local_us <= sim_clock_us(s, n))
		return s->now_us;
	local_us -= n->offset_us;
	at = (uint64_t)((unsigned __int128)local_us * 1000000 /
			(uint64_t)(1000000 + n->drift_ppm));
	while (drifted(at, n->drift_ppm) < local_us)
		at++;
	return at;
}

/* ---- one node ----------------------------------------------------------- */

bool
sim_awake(const struct sim_node *n)
{
	return n->node && !n->asleep;
}

/* See to it that the node's deadline is met.  An ITEM_TIMER that is already
 * set for earlier will look again, so there is seldom more than one. */
static void
timer_set(struct sim *s, uint32_t i, uint64_t not_before_us)
{
	struct sim_node *n = &s->node[i];
	uint64_t local = s->config.code->deadline_us(n->node), at;
	struct sim_item it = {
		.kind = ITEM_TIMER, .to = i, .to_epoch = n->epoch
	};

	if (local == UINT64_MAX)
		return;
	at = clock_when(s, n, local);
	if (at < not_before_us)
		at = not_before_us;
	if (at >= n->timer_us)
		return;
	n->timer_us = it.at_us = at;
	sim_push(s, &it);
}

static void
act(struct sim *s, uint32_t i, const struct node_action *a)
{
	struct sim_node *n = &s->node[i];

	if (a->kind != NODE_ACT_SEND) {
		sim_mix(s, (uint64_t)a->kind << 32 | i,
		    hash64(&a->key, sizeof(a->key), a->request));
		sim_trace_action(s, i, a);
	}
	switch (a->kind) {
	case NODE_ACT_SEND:
		sim_send(s, i, &a->peer, a->bytes, a->len);
		break;
	case NODE_ACT_CONNECT:
		sim_connect(s, i, &a->peer);
		break;
	case NODE_ACT_DROP:
		sim_drop(s, i, &a->peer);
		break;
	case NODE_ACT_DELIVER:
		sim_arrived(s, i, a);
		break;
	case NODE_ACT_LOST:
		s->figures.told_lost++;
		break;
	case NODE_ACT_READY:
		n->ready = true;
		n->ready_us = s->now_us;
		break;
	case NODE_ACT_UNREADY:
		n->ready = false;
		s->figures.unready++;
		break;
	case NODE_ACT_LEAVES_CHANGED:
		break;
	default:
		sim_hurt(s, "node %u: an action of no kind: %u", i,
		    (unsigned)a->kind);
	}
}

void
sim_step(struct sim *s, uint32_t i, struct node_event *ev)
{
	const struct sim_code *code = s->config.code;
	struct sim_node *n = &s->node[i];
	struct node_action a;
	enum err e;

	ev->now_us = sim_clock_us(s, n);
	e = code->step(n->node, ev);
	if (e == ERR_MALFORMED && ev->kind == NODE_EV_FRAME)
		s->figures.malformed++;
	else if (e == ERR_NOMEM)
		s->failed = true;
	else if (e)
		sim_hurt(s, "node %u: event %u ended with %s", i,
		    (unsigned)ev->kind, err_name(e));
	while (code->take(n->node, &a))
		act(s, i, &a);
	timer_set(s, i, 0);
}

/* The time that a node was alive and awake, for figures per node and second. */
static void
time_counted(struct sim *s, struct sim_node *n)
{
	if (sim_awake(n))
		s->figures.node_us += s->now_us - n->since_us;
	n->since_us = s->now_us;
}

static void
contact(struct sim *s, uint32_t i, const struct peer *p)
{
	struct node_event ev = { .kind = NODE_EV_CONTACT, .peer = *p };

	sim_step(s, i, &ev);
}

/* Somebody to ask, by chance: ready and of the same side if possible, but
 * anybody rather than nobody, or there would be a second ring. */
static uint32_t
contact_for(struct sim *s, uint32_t i)
{
	uint32_t some = SIM_NONE, best = 0;

	for (unsigned tries = 0; tries < 64 && best < 3; tries++) {
		uint32_t j = s->ring[sim_chance(s, s->alive)];
		const struct sim_node *n = &s->node[j];
		uint32_t good = 0;

		if (j == i)
			continue;
		if (n->side == s->node[i].side && sim_awake(n) && !n->lie)
			good = n->ready ? 3 : 2;
		if (some == SIM_NONE || good > best) {
			some = j;
			best = good;
		}
	}
	return some;
}

static bool
start(struct sim *s, uint32_t i)
{
	struct sim_node *n = &s->node[i];
	struct node_config c = s->config.node;
	struct node_event ev = { .kind = NODE_EV_TIMER };
	uint32_t drift = s->config.drift_ppm;

	n->epoch++;
	n->boots++;
	c.self = n->self;
	c.boot = n->boots;
	c.seed = rng_u64(&s->chance);
	if (s->config.code->create(&c, &n->node)) {
		n->node = NULL;
		s->failed = true;
		return false;
	}
	n->offset_us = sim_chance(s, CLOCK_OFFSET_MAX);
	n->drift_ppm =
	    (int32_t)sim_chance(s, 2 * (uint64_t)drift + 1) - (int32_t)drift;
	n->timer_us = UINT64_MAX;
	n->ready = n->asleep = false;
	n->since_us = s->now_us;
	n->side = sim_chance(s, 100) < s->cut_percent;
	sim_ring_add(s, i);
	s->figures.spawned++;
	sim_mix(s, i, n->epoch);
	sim_trace_say(s, "node %u starts, time %u", i, n->boots);
	for (unsigned k = 0; k < n->known_count; k++)
		contact(s, i, &n->known[k]);
	for (unsigned k = 0; k < SIM_CONTACTS; k++) {
		uint32_t j = contact_for(s, i);

		if (j != SIM_NONE)
			contact(s, i, &s->node[j].self);
	}
	sim_step(s, i, &ev);
	return true;
}

uint32_t
sim_spawn(struct sim *s)
{
	struct sim_node *n;
	uint32_t i, generation, epoch;

	if (!s->unused_count)
		return SIM_NONE;
	i = s->unused[--s->unused_count];
	n = &s->node[i];
	sim_links_forget(s, i);
	generation = n->generation + 1;
	epoch = n->epoch;
	memset(n, 0, sizeof(*n));
	n->links = LINK_NONE;
	n->generation = generation;
	n->epoch = epoch;
	n->used = true;
	for (unsigned b = 0; b < ID_BYTES; b++)
		n->self.id.b[b] = (uint8_t)sim_chance(s, 256);
	n->self.addr = sim_address(s, i);
	sim_place(s, n);
	return start(s, i) ? i : SIM_NONE;
}

void
sim_end(struct sim *s, uint32_t i, enum sim_end how)
{
	struct sim_node *n = &s->node[i];
	const struct leaf_set *ls;

	assert(n->node);
	if (how == SIM_LEAVE && !n->asleep) {
		struct node_event ev = { .kind = NODE_EV_LEAVE };

		sim_step(s, i, &ev);
	}
	sim_trace_say(s, "node %u ends: %s", i,
	    how == SIM_VANISH  ? "vanishes"
	    : how == SIM_CRASH ? "crashes"
			       : "leaves");
	ls = s->config.code->leaves(n->node);
	n->known_count = 0;
	for (unsigned k = 0; k < leaf_set_count(ls) && k < SIM_CONTACTS; k++)
		n->known[n->known_count++] = *leaf_set_member(ls, k);
	time_counted(s, n);
	sim_ring_remove(s, i);
	s->config.code->destroy(n->node);
	n->node = NULL;
	n->ready = false;
	n->refuses = how != SIM_VANISH;
	if (n->refuses && !n->asleep)
		sim_links_reset(s, i);
	n->asleep = false;
	n->epoch++;
	s->unused[s->unused_count++] = i;
	s->figures.ended++;
	sim_mix(s, i, (uint64_t)how << 32 | n->epoch);
}

void
sim_restart(struct sim *s, uint32_t i)
{
	uint32_t k = 0;

	assert(!s->node[i].node && s->node[i].used);
	while (s->unused[k] != i)
		k++;
	s->unused[k] = s->unused[--s->unused_count];
	start(s, i);
}

void
sim_sleep(struct sim *s, uint32_t i, uint64_t us)
{
	struct sim_node *n = &s->node[i];
	struct sim_item it = { .kind = ITEM_WAKE,
		.to = i,
		.to_epoch = n->epoch,
		.at_us = s->now_us + us };

	assert(n->node && !n->asleep);
	time_counted(s, n);
	n->asleep = true;
	n->wake_us = it.at_us;
	sim_trace_say(s, "node %u sleeps", i);
	sim_push(s, &it);
}

void
sim_clock_jump(struct sim *s, uint32_t i, uint64_t us)
{
	sim_trace_say(s, "node %u: the clock jumps", i);
	s->node[i].offset_us += us;
	s->node[i].ready_us = s->now_us; /* it has to begin again */
	s->node[i].timer_us = UINT64_MAX;
	timer_set(s, i, 0);
}

void
sim_lie(struct sim *s, uint32_t i, enum sim_lie lie)
{
	s->node[i].lie = (uint8_t)lie;
	s->lies_told = s->lies_told || lie;
}

bool
sim_lies_told(const struct sim *s)
{
	return s->lies_told;
}

/* ---- looking ------------------------------------------------------------ */

unsigned
sim_room(const struct sim *s)
{
	return s->config.nodes;
}

unsigned
sim_alive(const struct sim *s)
{
	return s->alive;
}

unsigned
sim_ready(const struct sim *s)
{
	unsigned n = 0;

	for (uint32_t k = 0; k < s->alive; k++) {
		const struct sim_node *node = &s->node[s->ring[k]];

		n += node->ready && !node->asleep;
	}
	return n;
}

uint32_t
sim_pick(struct sim *s)
{
	uint32_t from;

	if (!s->alive)
		return SIM_NONE;
	from = (uint32_t)sim_chance(s, s->alive);
	for (uint32_t k = 0; k < s->alive; k++) {
		uint32_t i = s->ring[(from + k) % s->alive];

		if (s->node[i].ready && !s->node[i].asleep && !s->node[i].lie)
			return i;
	}
	return SIM_NONE;
}

uint32_t
sim_pick_alive(struct sim *s)
{
	return s->alive ? s->ring[sim_chance(s, s->alive)] : SIM_NONE;
}

bool
sim_is_alive(const struct sim *s, uint32_t i)
{
	return s->node[i].node != NULL;
}

bool
sim_is_asleep(const struct sim *s, uint32_t i)
{
	return s->node[i].asleep;
}

uint32_t
sim_pick_dead(struct sim *s)
{
	uint32_t from;

	if (!s->unused_count)
		return SIM_NONE;
	from = (uint32_t)sim_chance(s, s->unused_count);
	for (uint32_t k = 0; k < s->unused_count; k++) {
		uint32_t i = s->unused[(from + k) % s->unused_count];

		if (s->node[i].used)
			return i;
	}
	return SIM_NONE;
}

const struct node *
sim_node(const struct sim *s, uint32_t i)
{
	return s->node[i].node;
}

const struct sim_figures *
sim_figures(struct sim *s)
{
	for (uint32_t k = 0; k < s->alive; k++)
		time_counted(s, &s->node[s->ring[k]]);
	return &s->figures;
}

void
sim_figures_reset(struct sim *s)
{
	for (uint32_t k = 0; k < s->alive; k++)
		time_counted(s, &s->node[s->ring[k]]);
	memset(&s->figures, 0, sizeof(s->figures));
}

void
sim_bytes(const struct sim *s, size_t *nodes, size_t *kernel)
{
	*nodes = 0;
	for (uint32_t k = 0; k < s->alive; k++)
		*nodes += s->config.code->bytes(s->node[s->ring[k]].node);
	*kernel = sizeof(*s) + s->items_cap * sizeof(*s->item) +
		  s->config.nodes * (sizeof(*s->node) + sizeof(*s->ring) +
					sizeof(*s->unused)) +
		  s->lookups_cap * sizeof(*s->lookup) + sim_net_bytes(s);
}

/* ---- what happens ------------------------------------------------------- */

static void
item_timer(struct sim *s, const struct sim_item *it)
{
	struct sim_node *n = &s->node[it->to];
	struct node_event ev = { .kind = NODE_EV_TIMER };

	if (n->timer_us != it->at_us)
		return; /* one set later was for earlier */
	n->timer_us = UINT64_MAX;
	if (n->asleep)
		return; /* waking looks at the deadline */
	if (s->config.code->deadline_us(n->node) > sim_clock_us(s, n)) {
		timer_set(s, it->to, 0);
		return;
	}
	n->timer_us = 0; /* not set by the step, but below */
	sim_step(s, it->to, &ev);
	n->timer_us = UINT64_MAX;
	if (s->config.code->deadline_us(n->node) > sim_clock_us(s, n))
		n->spins = 0;
	else if (n->spins++ == SPINS_MAX)
		sim_hurt(s, "%.3f s: node %u: its deadline stays in the past",
		    (double)s->now_us / SIM_SECOND, it->to);
	timer_set(s, it->to, n->spins > SPINS_MAX ? s->now_us + SPIN_US : 0);
}

static void
item_wake(struct sim *s, const struct sim_item *it)
{
	struct sim_node *n = &s->node[it->to];
	struct node_event ev = { .kind = NODE_EV_TIMER };

	n->asleep = false;
	n->since_us = n->ready_us = s->now_us;
	n->timer_us = UINT64_MAX;
	sim_step(s, it->to, &ev);
}

static void
item_frame(struct sim *s, const struct sim_item *it)
{
	struct sim_frame *f = it->u.frame;
	const struct sim_node *from = &s->node[f->from];
	struct node_event ev = {
		.kind = NODE_EV_FRAME, .bytes = f->bytes, .len = f->len
	};

	/* Its sender may have died since, and its number be another's. */
	if (from->epoch == f->from_epoch ||
	    (!from->node && from->epoch == f->from_epoch + 1)) {
		ev.peer = from->self;
		sim_step(s, it->to, &ev);
	}
}

static void
item_link(struct sim *s, const struct sim_item *it)
{
	struct node_event ev = { .kind = it->kind == ITEM_UP
					     ? NODE_EV_LINK_UP
					     : NODE_EV_LINK_FAILED };

	if (it->kind == ITEM_FAILED) {
		ev.peer = *it->u.peer;
		s->figures.links_failed++;
	} else if (s->node[it->from].epoch != it->from_epoch) {
		return;
	} else {
		ev.peer = s->node[it->from].self;
	}
	sim_step(s, it->to, &ev);
}

static void
happen(struct sim *s, struct sim_item *it)
{
	const struct sim_node *n =
	    it->kind == ITEM_LATE ? NULL : &s->node[it->to];
	bool here = n && n->node && n->epoch == it->to_epoch;
	bool hears = here && !n->asleep;

	s->events++;
	sim_mix(s, it->at_us,
	    (uint64_t)it->kind << 56 | (uint64_t)it->to << 28 | it->from);
	switch (it->kind) {
	case ITEM_TIMER:
		if (here)
			item_timer(s, it);
		break;
	case ITEM_WAKE:
		if (here && n->asleep && n->wake_us == it->at_us)
			item_wake(s, it);
		break;
	case ITEM_FRAME:
		if (hears) {
			sim_trace_item(s, it);
			sim_mix(s, it->u.frame->len,
			    hash64(it->u.frame->bytes, it->u.frame->len, 0));
			item_frame(s, it);
		}
		sim_frame_unref(s, it->u.frame);
		break;
	case ITEM_UP:
	case ITEM_FAILED:
		if (hears) {
			sim_trace_item(s, it);
			item_link(s, it);
		}
		if (it->kind == ITEM_FAILED)
			free(it->u.peer);
		break;
	case ITEM_CONNECT:
		sim_item_connect(s, it);
		break;
	case ITEM_STALL:
		sim_item_stall(s, it);
		break;
	case ITEM_LATE:
		sim_item_late(s, it);
		break;
	}
}

void
sim_run_to(struct sim *s, uint64_t until_us)
{
	struct sim_item it;

	while (!s->failed && s->items && s->item[0].at_us <= until_us) {
		sim_pop(s, &it);
		assert(it.at_us >= s->now_us);
		s->now_us = it.at_us;
		happen(s, &it);
	}
	if (s->now_us < until_us)
		s->now_us = until_us;
}

void
sim_run_for(struct sim *s, uint64_t us)
{
	sim_run_to(s, s->now_us + us);
}

bool
sim_run_until(struct sim *s, bool (*holds)(struct sim *s), uint64_t every_us,
    uint64_t max_us)
{
	uint64_t end = s->now_us + max_us;

	while (!holds(s)) {
		if (s->failed || s->now_us >= end)
			return false;
		sim_run_for(s, every_us);
	}
	return true;
}

bool
sim_grow(struct sim *s, unsigned count)
{
	while (s->alive < count && !s->failed) {
		unsigned more = 1 + sim_ready(s) / 8;
		uint64_t end = s->now_us + GROW_WAIT_US;

		for (; more && s->alive < count; more--) {
			if (sim_spawn(s) == SIM_NONE)
				return false;
			sim_run_for(s, sim_chance(s, 1000));
		}
		while (sim_ready(s) < s->alive && s->now_us < end)
			sim_run_for(s, GROW_STEP_US);
	}
	return sim_ready(s) == s->alive;
}
