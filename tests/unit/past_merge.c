/* Many logs, one tree: devices that change what they see of each other's
 * work, hear of it late and in any order, and must all come to the same tree;
 * and a plain model of the rules, all lists and loops, that must come to it
 * too. */
#include "tests/unit/past_model.h"
#include "tests/unit/past_test.h"

#define DEVICES_MAX 4u
#define RECORDS_MAX 400u /* of one device */
#define NAME_SIZE 12u

/* ---- records that own what they point to -------------------------------- */

struct said {
	struct ulog_record r; /* device indices: of table, below */
	char name[NAME_SIZE], to_name[NAME_SIZE];
	uint8_t value[4];
};

struct device {
	struct id table[DEVICES_MAX + 1]; /* [0] itself, the rest as it likes */
	unsigned devices;
	struct said *log;
	unsigned records;
	unsigned heard[DEVICES_MAX]; /* how much of each log it has */
	uint64_t next_number;
	struct past *view;
};

struct world {
	struct rng g;
	struct device device[DEVICES_MAX];
	unsigned devices;
	int64_t now;
};

struct source {
	const struct device *d;
	unsigned at, end;
};

static enum err
source_next(void *arg, struct ulog_record *r, const struct id **table,
    unsigned *devices)
{
	struct source *s = arg;

	if (s->at == s->end)
		return ERR_ABSENT;
	*r = s->d->log[s->at].r;
	r->name = s->d->log[s->at].name;
	r->to_name = s->d->log[s->at].to_name;
	if (r->value)
		r->value = s->d->log[s->at].value;
	s->at++;
	*table = s->d->table;
	*devices = s->d->devices;
	return OK;
}

/* The past of the first upto[i] records of each log, as `own` makes it, with
 * the streams in an order that depends on `turn`. */
static struct past *
merged(const struct world *w, const struct id *own, const unsigned *upto,
    unsigned turn)
{
	struct past_stream streams[DEVICES_MAX];
	struct source sources[DEVICES_MAX];
	struct past *p;

	for (unsigned i = 0; i < w->devices; i++) {
		unsigned d = (i + turn) % w->devices;

		sources[i] = (struct source){ &w->device[d], 0, upto[d] };
		streams[i] = (struct past_stream){ source_next, &sources[i] };
	}
	assert_int_equal(past_new(own, w->devices, 0, &p), OK);
	assert_int_equal(past_merge(p, streams, w->devices), OK);
	return p;
}

/* ---- what a device may do ----------------------------------------------- */

struct seen {
	struct entry e;
	uint32_t mode;
	bool empty;
};

static void
look_around(const struct past *p, uint64_t dir, struct seen **list,
    unsigned *count)
{
	struct past_walk w;
	struct inode in;
	struct entry e;

	assert_int_equal(past_walk_init(&w, p, dir, 0), OK);
	while (past_walk_next(&w, &e) == OK) {
		struct past_walk below;
		struct entry unused;
		struct seen *one;

		*list = realloc(*list, (*count + 1) * sizeof(**list));
		assert_non_null(*list);
		one = &(*list)[(*count)++];
		assert_int_equal(past_inode(p, e.ino, &in), OK);
		*one = (struct seen){ e, in.mode, true };
		if (!S_ISDIR(in.mode))
			continue;
		assert_int_equal(past_walk_init(&below, p, e.ino, 0), OK);
		one->empty = past_walk_next(&below, &unused) == ERR_ABSENT;
		look_around(p, e.ino, list, count);
	}
}

static struct ulog_oid
oid_in(const struct device *d, uint64_t number)
{
	uint64_t its;
	struct id id;

	if (number == ULOG_ROOT)
		return (struct ulog_oid){ 0, ULOG_ROOT };
	past_origin(d->view, number, &id, &its);
	for (unsigned i = 0; i < d->devices; i++)
		if (id_eq(&d->table[i], &id))
			return (struct ulog_oid){ i, its };
	fail_msg("a device that nobody knows");
	return (struct ulog_oid){ 0, 0 };
}

static bool
is_inside(const struct past *p, uint64_t dir, uint64_t top)
{
	struct inode in;

	for (; dir != ULOG_ROOT; dir = in.parent) {
		if (dir == top)
			return true;
		assert_int_equal(past_inode(p, dir, &in), OK);
	}
	return false;
}

static uint64_t
some_dir(struct world *w, const struct seen *list, unsigned count)
{
	const struct seen *one;

	for (unsigned i = 0; i < 4 && count; i++) {
		one = &list[rng_below(&w->g, count)];
		if (S_ISDIR(one->mode))
			return one->e.ino;
	}
	return ULOG_ROOT;
}

static void
some_name(struct world *w, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "%c", 'a' + (int)rng_below(&w->g, 6));
}

static void
some_facts(struct world *w, struct ulog_record *r)
{
	r->mode = (r->mode & S_IFMT) | (uint32_t)rng_below(&w->g, 01000);
	r->uid = (uint32_t)rng_below(&w->g, 3);
	r->gid = (uint32_t)rng_below(&w->g, 3);
	r->mtime_ns = r->ctime_ns = w->now;
	r->size = rng_below(&w->g, 100);
	r->content.len = (uint16_t)rng_below(&w->g, 5);
	for (unsigned i = 0; i < r->content.len; i++)
		r->content.bytes[i] = (uint8_t)rng_u64(&w->g);
}

/* One thing that a program might ask of a device, if it can be done in its
 * view; false if not. */
static bool
do_something(struct world *w, struct device *d, struct said *said)
{
	struct ulog_record *r = &said->r;
	struct seen *list = NULL, one = { 0 };
	unsigned count = 0, dice = (unsigned)rng_below(&w->g, 100);
	struct entry over;
	bool can = false;
	uint64_t to;

	memset(said, 0, sizeof(*said));
	look_around(d->view, ULOG_ROOT, &list, &count);
	to = some_dir(w, list, count);
	some_name(w, said->to_name);
	if (count)
		one = list[rng_below(&w->g, count)];
	memcpy(said->name, one.e.name, one.e.name_len);
	if (count) {
		r->object = oid_in(d, one.e.ino);
		r->dir = oid_in(d, one.e.dir);
	}
	if (dice < 40 || !count) {
		can = past_lookup(d->view, to, said->to_name,
			  strlen(said->to_name), &over) == ERR_ABSENT;
		r->op = ULOG_CREATE;
		r->object = (struct ulog_oid){ 0, d->next_number };
		r->dir = oid_in(d, to);
		memcpy(said->name, said->to_name, NAME_SIZE);
		r->mode = dice < 28 ? S_IFREG : S_IFDIR;
		some_facts(w, r);
		r->has_content = dice < 20;
		if (!r->has_content)
			r->size = r->content.len = 0;
		d->next_number += can;
	} else if (dice < 46) {
		r->op = ULOG_LINK;
		memcpy(said->name, said->to_name, NAME_SIZE);
		r->dir = oid_in(d, to);
		can = !S_ISDIR(one.mode) &&
		    past_lookup(d->view, to, said->name, strlen(said->name),
			&over) == ERR_ABSENT;
	} else if (dice < 66) {
		r->op = ULOG_UNLINK;
		can = one.empty;
	} else if (dice < 90) {
		struct inode in;

		r->op = dice < 87 ? ULOG_RENAME : ULOG_EXCHANGE;
		if (rng_below(&w->g, 2))
			to = one.e.dir;
		r->to_dir = oid_in(d, to);
		can = !S_ISDIR(one.mode) || !is_inside(d->view, to, one.e.ino);
		if (past_lookup(d->view, to, said->to_name,
			strlen(said->to_name), &over) == OK) {
			assert_int_equal(
			    past_inode(d->view, over.ino, &in), OK);
			r->has_over = true;
			r->over = oid_in(d, over.ino);
			if (over.ino == one.e.ino)
				can = false;
			if (r->op == ULOG_EXCHANGE)
				can = can &&
				    !is_inside(d->view, one.e.dir, over.ino);
			else if (S_ISDIR(in.mode) || S_ISDIR(one.mode))
				can = can && S_ISDIR(in.mode) &&
				    S_ISDIR(one.mode) && in.nlink == 2;
			if (S_ISDIR(in.mode) && r->op == ULOG_RENAME) {
				struct past_walk walk;
				struct entry unused;

				assert_int_equal(past_walk_init(&walk, d->view,
						     over.ino, 0),
				    OK);
				if (past_walk_next(&walk, &unused) == OK)
					can = false;
			}
		} else if (r->op == ULOG_EXCHANGE) {
			can = false;
		}
	} else if (dice < 94) {
		r->op = ULOG_SETATTR;
		some_facts(w, r);
		can = true;
	} else if (dice < 97) {
		r->op = ULOG_CONTENT;
		some_facts(w, r);
		can = S_ISREG(one.mode);
	} else {
		r->op = ULOG_XATTR;
		snprintf(said->name, NAME_SIZE, "user.%c",
		    'a' + (int)rng_below(&w->g, 2));
		r->value = said->value;
		r->value_len = rng_below(&w->g, sizeof(said->value) + 1);
		said->value[0] = (uint8_t)rng_u64(&w->g);
		can = true;
	}
	free(list);
	r->name_len = strlen(said->name);
	r->to_name_len = strlen(said->to_name);
	return can;
}

/* ---- devices that work and now and then hear of each other -------------- */

static uint64_t
stamp_after(const struct world *w, const struct device *d)
{
	uint64_t stamp = 0;

	for (unsigned i = 0; i < w->devices; i++)
		if (d->heard[i] &&
		    w->device[i].log[d->heard[i] - 1].r.lamport > stamp)
			stamp = w->device[i].log[d->heard[i] - 1].r.lamport;
	return stamp + 1;
}

static void
work(struct world *w, unsigned who)
{
	struct device *d = &w->device[who];
	struct said *said = &d->log[d->records];
	struct ulog_record r;

	if (d->records == RECORDS_MAX || !do_something(w, d, said))
		return;
	w->now += 1 + (int64_t)rng_below(&w->g, 1000000);
	said->r.time_ns = w->now;
	said->r.lamport = stamp_after(w, d);
	r = said->r;
	r.name = said->name;
	r.to_name = said->to_name;
	assert_int_equal(past_apply(d->view, &r, d->table, d->devices), OK);
	d->heard[who] = ++d->records;
}

static void
hear(struct world *w, unsigned who)
{
	struct device *d = &w->device[who];
	unsigned from = (unsigned)rng_below(&w->g, w->devices);
	unsigned more = w->device[from].records - d->heard[from];

	if (!more)
		return;
	d->heard[from] += 1 + (unsigned)rng_below(&w->g, more);
	past_free(d->view);
	d->view = merged(w, &d->table[0], d->heard, who);
	check(d->view);
}

static void
world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	rng_init(&w->g, seed);
	w->now = T0;
	w->devices = 2 + (unsigned)rng_below(&w->g, DEVICES_MAX - 1);
	for (unsigned i = 0; i < w->devices; i++) {
		struct device *d = &w->device[i];

		d->devices = w->devices;
		for (unsigned k = 0; k < w->devices; k++)
			d->table[k] = test_device(1 + (i + k) % w->devices);
		d->next_number = 1;
		d->log = calloc(RECORDS_MAX, sizeof(*d->log));
		assert_non_null(d->log);
		assert_int_equal(
		    past_new(&d->table[0], w->devices, 0, &d->view), OK);
	}
}

static void
world_fini(struct world *w)
{
	for (unsigned i = 0; i < w->devices; i++) {
		past_free(w->device[i].view);
		free(w->device[i].log);
	}
}

static void
live(struct world *w, unsigned steps)
{
	unsigned talkative = 1 + (unsigned)rng_below(&w->g, 40);

	for (unsigned i = 0; i < steps; i++) {
		unsigned who = (unsigned)rng_below(&w->g, w->devices);

		if (rng_below(&w->g, talkative) == 0)
			hear(w, who);
		else
			work(w, who);
	}
}

/* ---- the tests ---------------------------------------------------------- */

/* All records in (stamp, device) order, by looking for the least each time. */
static char *
m_told(const struct world *w)
{
	struct model *m = calloc(1, sizeof(*m));
	unsigned at[DEVICES_MAX] = { 0 };
	struct text t = { 0 };

	assert_non_null(m);
	m->objects = 1;
	m->object[0].mode = S_IFDIR | 0700;
	for (;;) {
		const struct device *first = NULL;
		struct ulog_record r;
		unsigned who = 0;

		for (unsigned i = 0; i < w->devices; i++) {
			const struct device *d = &w->device[i];

			if (at[i] == d->records)
				continue;
			if (!first ||
			    d->log[at[i]].r.lamport <
				first->log[at[who]].r.lamport) {
				first = d;
				who = i; /* ids are in the order of i */
			}
		}
		if (!first)
			break;
		r = first->log[at[who]].r;
		r.name = first->log[at[who]].name;
		r.to_name = first->log[at[who]].to_name;
		if (r.value)
			r.value = first->log[at[who]].value;
		at[who]++;
		m_apply(m, &r, first->table);
	}
	say(&t, "%s", "");
	m_tell(m, 0, "", &t);
	free(m);
	return t.s;
}

static void
all_that_is_known(const struct world *w, unsigned upto[DEVICES_MAX])
{
	for (unsigned i = 0; i < w->devices; i++)
		upto[i] = w->device[i].records;
}

static void
every_device_comes_to_the_same_tree(void **state)
{
	unsigned upto[DEVICES_MAX], conflicts = 0;
	struct past_stats stats;
	struct past *p;
	struct world w;
	char *first, *other;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		world_init(&w, seed);
		live(&w, 600);
		all_that_is_known(&w, upto);
		p = merged(&w, &w.device[0].table[0], upto, 0);
		check(p);
		past_stats(p, &stats);
		conflicts += (stats.displaced > 0) + (stats.revived > 0) +
		    (stats.ignored > 0);
		assert_int_equal(stats.lost, 0);
		first = told(p, true);
		past_free(p);
		for (unsigned i = 1; i < w.devices; i++) {
			p = merged(&w, &w.device[i].table[0], upto, i);
			other = told(p, true);
			if (strcmp(first, other) != 0)
				print_message("seed %llu\n",
				    (unsigned long long)seed);
			assert_string_equal(first, other);
			free(other);
			past_free(p);
		}
		free(first);
		world_fini(&w);
	}
	assert_true(conflicts > 150); /* or this has tested nothing */
}

static void
the_tree_is_that_of_a_plain_model_of_the_rules(void **state)
{
	unsigned upto[DEVICES_MAX];
	char *got, *want;
	struct past *p;
	struct world w;

	(void)state;
	for (uint64_t seed = 100; seed < 160; seed++) {
		world_init(&w, seed);
		live(&w, 400);
		all_that_is_known(&w, upto);
		p = merged(&w, &w.device[0].table[0], upto, 0);
		got = told(p, true);
		want = m_told(&w);
		if (strcmp(got, want) != 0)
			print_message("seed %llu\n", (unsigned long long)seed);
		assert_string_equal(got, want);
		free(got);
		free(want);
		past_free(p);
		world_fini(&w);
	}
}

/* One log needs no remembering of the dead, and is told the same. */
static void
one_log_alone_makes_the_view_of_its_device(void **state)
{
	char *view, *alone, *lean;
	struct past *p;
	struct world w;

	(void)state;
	for (uint64_t seed = 200; seed < 230; seed++) {
		struct past_stream s = { source_next, NULL };
		struct source source;
		struct past_stats stats;

		world_init(&w, seed);
		for (unsigned i = 0; i < 300; i++)
			work(&w, 0);
		source = (struct source){ &w.device[0], 0,
			w.device[0].records };
		s.arg = &source;
		for (unsigned logs = 1; logs <= 2; logs++) {
			source.at = 0;
			assert_int_equal(past_new(&w.device[0].table[0], logs,
					     0, &p),
			    OK);
			assert_int_equal(past_merge(p, &s, 1), OK);
			check(p);
			past_stats(p, &stats);
			assert_int_equal(stats.ignored, 0);
			assert_int_equal(stats.displaced, 0);
			assert_int_equal(stats.revived, 0);
			if (logs == 1)
				lean = told(p, true);
			else
				alone = told(p, true);
			past_free(p);
		}
		view = told(w.device[0].view, true);
		assert_string_equal(lean, view);
		assert_string_equal(alone, view);
		free(view);
		free(alone);
		free(lean);
		world_fini(&w);
	}
}

/* Whoever was never told to go is there. */
static bool
was_told_to_go(const struct world *w, const struct id *device, uint64_t number)
{
	for (unsigned i = 0; i < w->devices; i++) {
		const struct device *d = &w->device[i];

		for (unsigned k = 0; k < d->records; k++) {
			const struct ulog_record *r = &d->log[k].r;
			struct ulog_oid o = r->op == ULOG_UNLINK ? r->object
								 : r->over;

			if (r->op != ULOG_UNLINK &&
			    !(r->op == ULOG_RENAME && r->has_over))
				continue;
			if (o.number == number &&
			    id_eq(&d->table[o.device], device))
				return true;
		}
	}
	return false;
}

static void
nothing_that_was_added_is_lost(void **state)
{
	unsigned upto[DEVICES_MAX], kept = 0;
	struct past *p;
	struct world w;

	(void)state;
	for (uint64_t seed = 300; seed < 340; seed++) {
		world_init(&w, seed);
		live(&w, 600);
		all_that_is_known(&w, upto);
		p = merged(&w, &w.device[0].table[0], upto, 0);
		for (unsigned i = 0; i < w.devices; i++) {
			struct device *d = &w.device[i];

			for (unsigned k = 0; k < d->records; k++) {
				struct ulog_record *r = &d->log[k].r;
				struct inode in;
				uint64_t n;

				if (r->op != ULOG_CREATE ||
				    S_ISDIR(r->mode) ||
				    was_told_to_go(&w, &d->table[0],
					r->object.number))
					continue;
				assert_int_equal(past_number(p, &d->table[0],
						     r->object.number, &n),
				    OK);
				assert_int_equal(past_inode(p, n, &in), OK);
				kept++;
			}
		}
		past_free(p);
		world_fini(&w);
	}
	assert_true(kept > 1000);
}

static void
a_stamp_that_falls_counts_as_the_one_before(void **state)
{
	struct past_stream s[2];
	struct source source[2];
	struct device d[2];
	struct past *p;
	char *got;

	(void)state;
	memset(d, 0, sizeof(d));
	for (unsigned i = 0; i < 2; i++) {
		d[i].table[0] = test_device(i + 1);
		d[i].devices = 1;
		d[i].records = 2;
		d[i].log = calloc(2, sizeof(*d[i].log));
		assert_non_null(d[i].log);
		for (unsigned k = 0; k < 2; k++) {
			struct ulog_record *r = &d[i].log[k].r;

			r->op = ULOG_CREATE;
			r->object.number = k + 1;
			r->mode = S_IFREG;
			r->name_len = 1;
			d[i].log[k].name[0] = 'm';
		}
		source[i] = (struct source){ &d[i], 0, 2 };
		s[i] = (struct past_stream){ source_next, &source[i] };
	}
	d[0].log[0].r.lamport = 10;
	d[0].log[1].r.lamport = 3; /* as 10 */
	d[1].log[0].r.lamport = 9;
	d[1].log[1].r.lamport = 10; /* after all of device 1's */
	assert_int_equal(past_new(&d[0].table[0], 2, 0, &p), OK);
	assert_int_equal(past_merge(p, s, 2), OK);
	got = told(p, false);
	assert_string_equal(got, "m.~00000002 2:1\nm.~00000001 1:1\n"
				 "m.~00000001.2 1:2\nm 2:2\n");
	free(got);
	past_free(p);
	free(d[0].log);
	free(d[1].log);
}

static enum err
broken_next(void *arg, struct ulog_record *r, const struct id **table,
    unsigned *devices)
{
	(void)arg;
	(void)r;
	(void)table;
	(void)devices;
	return ERR_MALFORMED;
}

static void
the_error_of_a_stream_ends_the_merge(void **state)
{
	struct past_stream s = { broken_next, NULL };
	struct id own = test_device(1);
	struct past *p;

	(void)state;
	assert_int_equal(past_new(&own, 2, 0, &p), OK);
	assert_int_equal(past_merge(p, NULL, 0), OK);
	assert_int_equal(past_merge(p, &s, 1), ERR_MALFORMED);
	past_free(p);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_device_comes_to_the_same_tree),
		cmocka_unit_test(
		    the_tree_is_that_of_a_plain_model_of_the_rules),
		cmocka_unit_test(one_log_alone_makes_the_view_of_its_device),
		cmocka_unit_test(nothing_that_was_added_is_lost),
		cmocka_unit_test(a_stamp_that_falls_counts_as_the_one_before),
		cmocka_unit_test(the_error_of_a_stream_ends_the_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
