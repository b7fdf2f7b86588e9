/* disk_mem_private.h - the simulated disk's parts: disk_mem.c (the calls on
 * names, crash and kill, and the essay), disk_mem_tree.c (nodes, tables, names
 * that are not synced), disk_mem_file.c (bytes). */
#ifndef POST_STORE_DISK_MEM_PRIVATE_H
#define POST_STORE_DISK_MEM_PRIVATE_H

#include "overlay/base/rng.h"
#include "store/disk_private.h"

#include <pthread.h>

#define SECTOR 512u
#define FILE_SIZE_MAX (UINT64_C(1) << 32) /* it is memory */
#define TOTAL_DEFAULT (UINT64_C(1) << 40) /* what disk_free() tells */
#define LUCK_MAX 4u

struct image {
	uint8_t *bytes;
	size_t size, cap;
};

struct change { /* of a file's bytes */
	struct change *next;
	uint64_t off; /* or the new size */
	size_t len;
	bool is_truncate;
	uint8_t bytes[];
};

struct label { /* an entry's name, shared by both tables and the list */
	unsigned refs;
	char text[];
};

struct entry {
	struct label *label;
	struct node *node;
};

struct table { /* sorted by name */
	struct entry *entry;
	size_t count, cap;
};

struct names { /* of a directory */
	struct table now, kept;
	size_t adds; /* unsynced names to come into kept */
};

struct node {
	struct node *prev, *next; /* all of a disk's */
	unsigned refs; /* entries, renamings, open files */
	unsigned links, opens; /* in `now`; by files that live */
	bool is_dir;
	/* file: */
	struct image now, kept;
	struct change *first, **end;
	/* directory: */
	struct names names;
	struct node *kept_in; /* the directory whose kept table has us */
};

struct renaming { /* a change of a name, not yet synced */
	struct renaming *next;
	struct node *dir, *node;
	struct node *from; /* the directory it came from, or NULL */
	struct label *label;
	bool is_removal;
};

struct mem_disk {
	struct disk base;
	pthread_mutex_t lock;
	struct rng rng;
	struct node *root, *all;
	struct renaming *first, **end;
	uint64_t life; /* files opened in another one are dead */
	uint64_t open; /* files, dead ones too */
	uint64_t used, limit;
	uint64_t fail_in; /* changes; 0: no fault is set */
	enum err fail_with;
	bool fail_for_ever, failed;
};

struct mem_file {
	struct disk_file base;
	struct mem_disk *disk;
	struct node *node;
	uint64_t life;
};

static inline struct mem_disk *
disk_of(const struct disk *d)
{
	return (struct mem_disk *)d;
}

static inline struct mem_disk *
mem_lock(const struct disk *d)
{
	struct mem_disk *m = disk_of(d);

	pthread_mutex_lock(&m->lock);
	return m;
}

static inline void
mem_unlock(struct mem_disk *m)
{
	pthread_mutex_unlock(&m->lock);
}

static inline bool
mem_lucky(struct mem_disk *m, uint64_t luck)
{
	return rng_below(&m->rng, LUCK_MAX) < luck;
}

/* Everything below wants the lock held. */

/* ---- disk_mem_tree.c ---------------------------------------------------- */

/* Born with no reference; whoever makes the first one owns it. */
struct node *mem_node_new(struct mem_disk *m, bool is_dir);
void mem_node_drop(struct mem_disk *m, struct node *n); /* one reference */
void mem_node_free(struct mem_disk *m, struct node *n); /* it alone */
void mem_forget_changes(struct node *n);
/* Call when a link or an opening went: a file that nobody can reach any more
 * takes no room. */
void mem_uncharge(struct mem_disk *m, struct node *n);
void mem_label_drop(struct label *l);

/* NULL: no such name. */
struct node *mem_table_find(const struct table *t, const char *text);
/* Takes the references of entry i away. */
void mem_table_remove(struct mem_disk *m, struct table *t, size_t i);
/* Makes new references; room must have been reserved. */
void mem_table_insert(
    struct table *t, size_t i, struct label *l, struct node *n);

/* What the program sees: remove a name (if it is there), or set it,
 * replacing what had it. */
void mem_now_remove(struct mem_disk *m, struct node *dir, const char *text);
void mem_now_set(
    struct mem_disk *m, struct node *dir, struct label *l, struct node *n);

/* A record for the name `text` and, in both tables of dir, room for it.  Not
 * yet in the list: mem_renaming_add() can not fail, mem_renaming_free()
 * undoes. */
enum err mem_renaming_new(
    struct node *dir, const char *text, struct renaming **out) MUST_CHECK;
void mem_renaming_add(struct mem_disk *m, struct renaming *r, struct node *dir,
    struct node *node, struct node *from, bool is_removal);
void mem_renaming_free(struct mem_disk *m, struct renaming *r);
/* Make it so in the kept tables. */
void mem_renaming_play(struct mem_disk *m, const struct renaming *r);
/* Play and forget all that touch dir. */
void mem_play_names_of(struct mem_disk *m, const struct node *dir);

/* The directory of name's last component, and that component. */
enum err mem_find_parent(struct mem_disk *m, const char *name,
    struct node **dir, const char **leaf) MUST_CHECK;
enum err mem_find_dir(
    struct mem_disk *m, const char *name, struct node **out) MUST_CHECK;

/* ---- disk_mem_file.c ---------------------------------------------------- */

/* The fault that was set, if its time has come. */
enum err mem_strike(struct mem_disk *m) MUST_CHECK;
/* Room must be there, as it is from `kept` to `now` and back. */
void mem_image_copy(struct image *to, const struct image *from);
/* What a power cut, or a sync that failed, makes durable of a file. */
void mem_settle_by_chance(struct mem_disk *m, struct node *n);

/* The calls of disk_ops; these take the lock themselves. */
void mem_file_close(struct disk_file *file);
enum err mem_read(struct disk_file *file, uint64_t off, void *buf, size_t len,
    size_t *got) MUST_CHECK;
enum err mem_write(struct disk_file *file, uint64_t off, const void *buf,
    size_t len) MUST_CHECK;
enum err mem_sync(struct disk_file *file) MUST_CHECK;
enum err mem_truncate(struct disk_file *file, uint64_t size) MUST_CHECK;
enum err mem_size(struct disk_file *file, uint64_t *size) MUST_CHECK;

#endif
