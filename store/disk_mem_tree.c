/* Nodes, tables, and names that are not synced: see disk_mem.c. */
#include "store/disk_mem_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ------------------------------------------------------------- */

void
mem_label_drop(struct label *l)
{
	if (--l->refs == 0)
		free(l);
}

/* Where `text` is, or would be. */
static size_t
table_seek(const struct table *t, const char *text, bool *found)
{
	size_t low = 0, high = t->count;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(t->entry[mid].label->text, text);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct node *
mem_table_find(const struct table *t, const char *text)
{
	bool found;
	size_t i = table_seek(t, text, &found);

	return found ? t->entry[i].node : NULL;
}

static enum err
table_reserve(struct table *t, size_t count)
{
	size_t cap = t->cap ? t->cap : 8;
	struct entry *grown;

	if (count <= t->cap)
		return OK;
	while (cap < count)
		cap *= 2;
	grown = realloc(t->entry, cap * sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	t->entry = grown;
	t->cap = cap;
	return OK;
}

/* ---- nodes -------------------------------------------------------------- */

struct node *
mem_node_new(struct mem_disk *m, bool is_dir)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->is_dir = is_dir;
	n->end = &n->first;
	n->next = m->all;
	if (m->all)
		m->all->prev = n;
	m->all = n;
	return n;
}

void
mem_forget_changes(struct node *n)
{
	for (struct change *c = n->first, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	n->first = NULL;
	n->end = &n->first;
}

/* The node alone; nothing refers to it. */
void
mem_node_free(struct mem_disk *m, struct node *n)
{
	if (n->prev)
		n->prev->next = n->next;
	else
		m->all = n->next;
	if (n->next)
		n->next->prev = n->prev;
	mem_forget_changes(n);
	free(n->now.bytes);
	free(n->kept.bytes);
	free(n->names.now.entry);
	free(n->names.kept.entry);
	free(n);
}

void
mem_node_drop(struct mem_disk *m, struct node *n)
{
	struct table *both[] = { &n->names.now, &n->names.kept };

	if (--n->refs > 0)
		return;
	for (unsigned b = 0; b < 2; b++)
		for (size_t i = 0; i < both[b]->count; i++) {
			struct node *child = both[b]->entry[i].node;

			mem_label_drop(both[b]->entry[i].label);
			if (child->kept_in == n)
				child->kept_in = NULL;
			mem_node_drop(m, child);
		}
	mem_node_free(m, n);
}

/* Take the entry out, with what it refers to. */
void
mem_table_remove(struct mem_disk *m, struct table *t, size_t i)
{
	struct entry was = t->entry[i];

	memmove(t->entry + i, t->entry + i + 1,
	    (--t->count - i) * sizeof(*t->entry));
	mem_label_drop(was.label);
	mem_node_drop(m, was.node);
}

void
mem_table_insert(struct table *t, size_t i, struct label *l, struct node *n)
{
	assert(t->count < t->cap); /* reserved */
	memmove(t->entry + i + 1, t->entry + i,
	    (t->count++ - i) * sizeof(*t->entry));
	t->entry[i] = (struct entry){ l, n };
	l->refs++;
	n->refs++;
}

/* A file that nobody can reach any more takes no room. */
void
mem_uncharge(struct mem_disk *m, struct node *n)
{
	if (n->links == 0 && n->opens == 0)
		m->used -= n->now.size;
}

void
mem_now_remove(struct mem_disk *m, struct node *dir, const char *text)
{
	bool found;
	size_t i = table_seek(&dir->names.now, text, &found);
	struct node *n;

	if (!found)
		return;
	n = dir->names.now.entry[i].node;
	n->links--;
	mem_uncharge(m, n);
	mem_table_remove(m, &dir->names.now, i);
}

/* Replaces what has that name. */
void
mem_now_set(
    struct mem_disk *m, struct node *dir, struct label *l, struct node *n)
{
	bool found;
	size_t i;

	mem_now_remove(m, dir, l->text);
	i = table_seek(&dir->names.now, l->text, &found);
	mem_table_insert(&dir->names.now, i, l, n);
	n->links++;
}

static void
kept_remove(struct mem_disk *m, struct node *dir, size_t i)
{
	dir->names.kept.entry[i].node->kept_in = NULL;
	mem_table_remove(m, &dir->names.kept, i);
}

/* ---- names that are not synced ------------------------------------------ */

void
mem_renaming_free(struct mem_disk *m, struct renaming *r)
{
	if (!r)
		return;
	if (r->dir) {
		if (!r->is_removal)
			r->dir->names.adds--;
		mem_node_drop(m, r->dir);
		mem_node_drop(m, r->node);
		if (r->from)
			mem_node_drop(m, r->from);
	}
	mem_label_drop(r->label);
	free(r);
}

/* A record of the name and, in both tables of dir, room for it.  Not yet in
 * the list; mem_renaming_free() undoes it. */
enum err
mem_renaming_new(struct node *dir, const char *text, struct renaming **out)
{
	size_t room = dir->names.kept.count + dir->names.adds + 1;
	struct renaming *r = calloc(1, sizeof(*r));
	enum err e;

	if (!r)
		return ERR_NOMEM;
	r->label = malloc(sizeof(*r->label) + strlen(text) + 1);
	if (!r->label) {
		free(r);
		return ERR_NOMEM;
	}
	r->label->refs = 1;
	memcpy(r->label->text, text, strlen(text) + 1);
	if ((e = table_reserve(&dir->names.now, room)) ||
	    (e = table_reserve(&dir->names.kept, room))) {
		mem_renaming_free(NULL, r);
		return e;
	}
	*out = r;
	return OK;
}

void
mem_renaming_add(struct mem_disk *m, struct renaming *r, struct node *dir,
    struct node *node, struct node *from, bool is_removal)
{
	r->dir = dir;
	r->node = node;
	r->from = from;
	r->is_removal = is_removal;
	dir->refs++;
	node->refs++;
	if (from)
		from->refs++;
	if (!is_removal)
		dir->names.adds++;
	*m->end = r;
	m->end = &r->next;
}

/* Make it so in the kept tables. */
void
mem_renaming_play(struct mem_disk *m, const struct renaming *r)
{
	struct table *t = &r->dir->names.kept;
	struct node *was = r->node->kept_in;
	bool found;
	size_t i;

	if (r->is_removal) {
		i = table_seek(t, r->label->text, &found);
		if (found && t->entry[i].node == r->node)
			kept_remove(m, r->dir, i);
		return;
	}
	for (i = 0; was && was->names.kept.entry[i].node != r->node;)
		i++;
	if (was)
		kept_remove(m, was, i);
	i = table_seek(t, r->label->text, &found);
	if (found)
		kept_remove(m, r->dir, i);
	mem_table_insert(t, i, r->label, r->node);
	r->node->kept_in = r->dir;
}

/* Forget what came before `last` and spoke of the same node: it is settled. */
static void
renaming_supersede(struct mem_disk *m, const struct renaming *last)
{
	struct renaming **at = &m->first;

	while (*at != last) {
		struct renaming *r = *at;

		if (r->node != last->node) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		mem_renaming_free(m, r);
	}
}

void
mem_play_names_of(struct mem_disk *m, const struct node *dir)
{
	struct renaming **at = &m->first, *r;

	while ((r = *at)) {
		if (r->dir != dir && r->from != dir) {
			at = &r->next;
			continue;
		}
		mem_renaming_play(m, r);
		renaming_supersede(m, r);
		for (at = &m->first; *at != r;)
			at = &(*at)->next;
		*at = r->next;
		mem_renaming_free(m, r);
	}
	m->end = at;
}

/* ---- finding ------------------------------------------------------------ */

/* The directory of name's last component, and that component. */
enum err
mem_find_parent(
    struct mem_disk *m, const char *name, struct node **dir, const char **leaf)
{
	struct node *at = m->root;
	size_t n;

	while (name[n = strcspn(name, "/")] != '\0') {
		char part[DISK_ENTRY_MAX + 1];

		memcpy(part, name, n);
		part[n] = '\0';
		at = mem_table_find(&at->names.now, part);
		if (!at || !at->is_dir)
			return ERR_ABSENT;
		name += n + 1;
	}
	*dir = at;
	*leaf = name;
	return OK;
}

enum err
mem_find_dir(struct mem_disk *m, const char *name, struct node **out)
{
	struct node *dir = m->root;
	const char *leaf;
	enum err e;

	if (!disk_name_is_root(name)) {
		if ((e = mem_find_parent(m, name, &dir, &leaf)))
			return e;
		dir = mem_table_find(&dir->names.now, leaf);
		if (!dir || !dir->is_dir)
			return ERR_ABSENT;
	}
	*out = dir;
	return OK;
}
