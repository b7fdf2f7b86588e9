/* past_model.h - the rules of past.h once more, as plainly as can be: lists,
 * and loops over them.  Slow, and without a thought for memory; it assumes
 * records that devices really made. */
#ifndef POST_TESTS_UNIT_PAST_MODEL_H
#define POST_TESTS_UNIT_PAST_MODEL_H

#include "tests/unit/past_test.h"

#define MODEL_OBJECTS 2000u
#define MODEL_ENTRIES 6000u

struct m_object {
	unsigned device;
	uint64_t number;
	struct { unsigned device; uint64_t number; } alias[8];
	unsigned aliases;
	uint32_t mode, uid, gid;
	int64_t mtime_ns, ctime_ns, btime_ns;
	uint64_t size;
	struct content content;
	uint8_t value[2][4];
	int value_len[2]; /* -1: none */
	int last_dir;	  /* of a dead directory */
	char last_name[256];
};

struct m_entry {
	bool live;
	int dir, child;
	char name[256];
};

struct model {
	struct m_object object[MODEL_OBJECTS]; /* [0] the root */
	int objects;
	struct m_entry entry[MODEL_ENTRIES];
	int entries;
};

static inline void
m_copy(char to[256], const char *from)
{
	memmove(to, from, strlen(from) + 1);
}

static inline int
m_find(struct model *m, struct ulog_oid o, const struct id *table)
{
	unsigned device = table[o.device].b[3];

	if (o.number == ULOG_ROOT)
		return 0;
	for (int i = 1; i < m->objects; i++) {
		struct m_object *x = &m->object[i];

		if (x->device == device && x->number == o.number)
			return i;
		for (unsigned k = 0; k < x->aliases; k++)
			if (x->alias[k].device == device &&
			    x->alias[k].number == o.number)
				return i;
	}
	return -1;
}

static inline int
m_entry(struct model *m, int dir, const char *name)
{
	for (int i = 0; i < m->entries; i++)
		if (m->entry[i].live && m->entry[i].dir == dir &&
		    strcmp(m->entry[i].name, name) == 0)
			return i;
	return -1;
}

static inline int
m_links(struct model *m, int object, int *which)
{
	int n = 0;

	for (int i = 0; i < m->entries; i++)
		if (m->entry[i].live && m->entry[i].child == object) {
			n++;
			*which = i;
		}
	return n;
}

static inline bool
m_is_dir(struct model *m, int object)
{
	return S_ISDIR(m->object[object].mode);
}

static inline bool
m_alive(struct model *m, int object)
{
	int which;

	return object == 0 || m_links(m, object, &which) > 0;
}

static inline bool
m_empty(struct model *m, int dir)
{
	for (int i = 0; i < m->entries; i++)
		if (m->entry[i].live && m->entry[i].dir == dir)
			return false;
	return true;
}

static inline int
m_parent(struct model *m, int dir)
{
	int which = -1;

	if (m_links(m, dir, &which))
		return m->entry[which].dir;
	return m->object[dir].last_dir;
}

static inline bool
m_inside(struct model *m, int dir, int top)
{
	while (dir != top && dir != 0)
		dir = m_parent(m, dir);
	return dir == top;
}

static inline void
m_touch(struct model *m, int dir, int64_t now)
{
	struct m_object *o = &m->object[dir];

	o->mtime_ns = now > o->mtime_ns ? now : o->mtime_ns + 1;
	if (o->ctime_ns < o->mtime_ns)
		o->ctime_ns = o->mtime_ns;
}

static inline void
m_aside(struct model *m, int dir, int child, const char *name, char out[256])
{
	unsigned tag = m->object[child].device;

	snprintf(out, 256, "%s.~%08x", name, tag);
	for (unsigned i = 2; m_entry(m, dir, out) >= 0; i++)
		snprintf(out, 256, "%s.~%08x.%u", name, tag, i);
}

static inline void
m_displace(struct model *m, int entry)
{
	char name[256];

	m_aside(m, m->entry[entry].dir, m->entry[entry].child,
	    m->entry[entry].name, name);
	m_copy(m->entry[entry].name, name);
}

static inline void
m_add(struct model *m, int dir, const char *name, int child)
{
	struct m_entry *e = &m->entry[m->entries++];

	assert_true(m->entries < (int)MODEL_ENTRIES);
	e->live = true;
	e->dir = dir;
	e->child = child;
	m_copy(e->name, name);
}

static inline void
m_drop(struct model *m, int entry)
{
	struct m_entry *e = &m->entry[entry];
	struct m_object *o = &m->object[e->child];

	e->live = false;
	o->last_dir = e->dir;
	m_copy(o->last_name, e->name);
}

static inline void
m_revive(struct model *m, int dir)
{
	struct m_object *o = &m->object[dir];
	char name[256];

	if (m_alive(m, dir))
		return;
	m_revive(m, o->last_dir);
	m_copy(name, o->last_name);
	if (m_entry(m, o->last_dir, name) >= 0)
		m_aside(m, o->last_dir, dir, o->last_name, name);
	m_add(m, o->last_dir, name, dir);
}

static inline void
m_put(struct model *m, int dir, const char *name, int child)
{
	int taken = m_entry(m, dir, name);

	if (taken >= 0)
		m_displace(m, taken);
	m_add(m, dir, name, child);
}

static inline void
m_facts(struct m_object *o, const struct ulog_record *r)
{
	o->mode = (o->mode & S_IFMT) | (r->mode & 07777);
	o->uid = r->uid;
	o->gid = r->gid;
	o->mtime_ns = r->mtime_ns;
	o->ctime_ns = r->ctime_ns;
}

static inline void
m_create(struct model *m, const struct ulog_record *r, const struct id *table)
{
	int dir = m_find(m, r->dir, table), taken;
	struct m_object *o;

	m_revive(m, dir);
	taken = m_entry(m, dir, r->name);
	if (S_ISDIR(r->mode) && taken >= 0 &&
	    m_is_dir(m, m->entry[taken].child)) {
		o = &m->object[m->entry[taken].child];
		assert_true(o->aliases < 8);
		o->alias[o->aliases].device = table[r->object.device].b[3];
		o->alias[o->aliases++].number = r->object.number;
		o->mode = r->mode;
		o->uid = r->uid;
		o->gid = r->gid;
		return;
	}
	o = &m->object[m->objects];
	memset(o, 0, sizeof(*o));
	o->device = table[r->object.device].b[3];
	o->number = r->object.number;
	o->mode = r->mode;
	o->value_len[0] = o->value_len[1] = -1;
	m_facts(o, r);
	o->btime_ns = r->time_ns;
	o->size = r->size;
	o->content = r->content;
	m_touch(m, dir, r->time_ns);
	m_put(m, dir, r->name, m->objects++);
	assert_true(m->objects < (int)MODEL_OBJECTS);
}

static inline void
m_rename(struct model *m, const struct ulog_record *r, const struct id *table)
{
	int object = m_find(m, r->object, table), which = -1, entry, over;
	int dir = m_find(m, r->dir, table), to = m_find(m, r->to_dir, table);
	int known = r->has_over ? m_find(m, r->over, table) : -1, victim;

	entry = m_alive(m, dir) ? m_entry(m, dir, r->name) : -1;
	if (entry < 0 || m->entry[entry].child != object) {
		if (m_links(m, object, &which) != 1)
			return;
		entry = which;
	}
	if (m_is_dir(m, object) && m_inside(m, to, object))
		return;
	m_revive(m, to);
	over = m_entry(m, to, r->to_name);
	victim = over >= 0 ? m->entry[over].child : -1;
	if (victim == object)
		return;
	m_touch(m, m->entry[entry].dir, r->time_ns);
	m_touch(m, to, r->time_ns);
	m->object[object].ctime_ns = r->time_ns;
	if (over >= 0 && victim == known &&
	    m_is_dir(m, victim) == m_is_dir(m, object) &&
	    (!m_is_dir(m, victim) || m_empty(m, victim))) {
		m->object[victim].ctime_ns = r->time_ns;
		m_drop(m, over);
	} else if (over >= 0) {
		m_displace(m, over);
	}
	if (m->entry[entry].dir == to) {
		m_copy(m->entry[entry].name, r->to_name);
	} else {
		m->entry[entry].live = false;
		m_add(m, to, r->to_name, object);
	}
}

static inline void
m_exchange(struct model *m, const struct ulog_record *r, const struct id *table)
{
	int dir = m_find(m, r->dir, table), to = m_find(m, r->to_dir, table);
	int x = m_find(m, r->object, table), y = m_find(m, r->over, table);
	int a = m_alive(m, dir) ? m_entry(m, dir, r->name) : -1;
	int b = m_alive(m, to) ? m_entry(m, to, r->to_name) : -1;

	if (a < 0 || b < 0 || m->entry[a].child != x ||
	    m->entry[b].child != y || x == y ||
	    (m_is_dir(m, x) && m_inside(m, to, x)) ||
	    (m_is_dir(m, y) && m_inside(m, dir, y)))
		return;
	m_touch(m, dir, r->time_ns);
	m_touch(m, to, r->time_ns);
	m->entry[a].child = y;
	m->entry[b].child = x;
	m->object[x].ctime_ns = m->object[y].ctime_ns = r->time_ns;
}

static inline void
m_apply(struct model *m, const struct ulog_record *r, const struct id *table)
{
	int object, dir, entry, which;
	struct m_object *o;

	if (r->op == ULOG_CREATE) {
		m_create(m, r, table);
		return;
	}
	object = m_find(m, r->object, table);
	assert_true(object > 0);
	o = &m->object[object];
	dir = m_find(m, r->dir, table);
	switch (r->op) {
	case ULOG_CONTENT:
		o->mtime_ns = r->mtime_ns;
		o->ctime_ns = r->ctime_ns;
		o->size = r->size;
		o->content = r->content;
		break;
	case ULOG_LINK:
		m_revive(m, dir);
		entry = m_entry(m, dir, r->name);
		if (entry >= 0 && m->entry[entry].child == object)
			break;
		o->ctime_ns = r->time_ns;
		m_touch(m, dir, r->time_ns);
		m_put(m, dir, r->name, object);
		break;
	case ULOG_UNLINK:
		entry = m_alive(m, dir) ? m_entry(m, dir, r->name) : -1;
		if (entry < 0 || m->entry[entry].child != object ||
		    (m_is_dir(m, object) && !m_empty(m, object)))
			break;
		m_touch(m, dir, r->time_ns);
		o->ctime_ns = r->time_ns;
		m_drop(m, entry);
		break;
	case ULOG_RENAME:
		m_rename(m, r, table);
		break;
	case ULOG_EXCHANGE:
		m_exchange(m, r, table);
		break;
	case ULOG_SETATTR:
		m_facts(o, r);
		break;
	default:
		which = r->name[5] - 'a';
		o->value_len[which] = (int)r->value_len;
		memcpy(o->value[which], r->value, r->value_len);
		o->ctime_ns = r->time_ns;
		break;
	}
}

static inline void
m_tell(struct model *m, int dir, const char *path, struct text *t)
{
	for (int i = 0; i < m->entries; i++) {
		struct m_entry *e = &m->entry[i];
		struct m_object *o = &m->object[e->child];
		char below[4096];
		int which, n;

		if (!e->live || e->dir != dir)
			continue;
		n = m_links(m, e->child, &which);
		if (S_ISDIR(o->mode)) {
			n = 2;
			for (int k = 0; k < m->entries; k++)
				n += m->entry[k].live &&
				    m->entry[k].dir == e->child &&
				    m_is_dir(m, m->entry[k].child);
		}
		say(t, "%s%s%s %u:%u %o %u %u n%d s%llu r0 m%lld c%lld b%lld x",
		    path, e->name, S_ISDIR(o->mode) ? "/" : "", o->device,
		    (unsigned)o->number, o->mode, o->uid, o->gid, n,
		    (unsigned long long)o->size, (long long)o->mtime_ns,
		    (long long)o->ctime_ns, (long long)o->btime_ns);
		for (int k = 0; k < 2; k++) {
			if (o->value_len[k] < 0)
				continue;
			say(t, "06757365722e%02x%02x", 'a' + k,
			    (unsigned)o->value_len[k]);
			for (int j = 0; j < o->value_len[k]; j++)
				say(t, "%02x", o->value[k][j]);
		}
		say(t, " ");
		for (unsigned k = 0; k < o->content.len; k++)
			say(t, "%02x", o->content.bytes[k]);
		say(t, "\n");
		if (S_ISDIR(o->mode)) {
			snprintf(below, sizeof(below), "%s%s/", path, e->name);
			m_tell(m, e->child, below, t);
		}
	}
}

#endif
