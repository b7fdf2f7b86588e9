/* past_private.h - what the files of a past share: past.c keeps objects,
 * names and memory; past_apply.c has the rules. */
#ifndef POST_STORE_PAST_PRIVATE_H
#define POST_STORE_PAST_PRIVATE_H

#include "overlay/base/map.h"
#include "store/past.h"

#define PAST_DEVICES_MAX 255u
#define PAST_DEVICE_SHIFT 56 /* of a number */

_Static_assert(ULOG_NUMBER_MAX >> PAST_DEVICE_SHIFT == 0,
    "a number leaves room for its device");

/* A name in a directory.  A dead directory keeps its last one: where it would
 * come back. */
struct link {
	struct node *child, *dir;
	struct link *next; /* name of the same child */
	uint32_t at;	   /* its place in dir */
	uint8_t name_len;
	char name[];
};

struct place {
	uint64_t cookie;
	struct link *link; /* NULL: it went */
};

/* Places are in the order of their cookies, so a walk finds its place by
 * halves; those that went are squeezed out now and then. */
struct dir {
	struct place *place;
	uint32_t count, cap, gone;
	uint32_t subdirs;
};

struct bytes {
	uint16_t len;
	uint8_t b[];
};

struct node {
	uint64_t number, size;
	int64_t mtime_ns, ctime_ns, btime_ns;
	struct link *names; /* newest first */
	union {
		struct dir *dir;       /* S_ISDIR(mode) */
		struct bytes *content; /* else; NULL: none */
	};
	uint32_t uid, gid;
	uint32_t links; /* names, of a directory too; 0: dead */
	uint16_t mode;
	bool lost; /* made because someone named it */
};

/* A further number of a directory. */
struct alias {
	uint64_t number;
	struct node *node;
};

/* What few objects have. */
struct extra {
	uint64_t number, rdev;
	uint8_t *xattrs;
	size_t xattrs_len;
};

#define ARENA_STEP 8u
#define ARENA_SIZE_MAX 296u /* of one piece */
#define ARENA_CLASSES (ARENA_SIZE_MAX / ARENA_STEP + 1)

struct past {
	struct id device[PAST_DEVICES_MAX]; /* [0] is `own` */
	unsigned devices;
	bool many; /* logs */
	struct node *root;
	struct map nodes, links, aliases, extras;
	uint64_t cookie;
	struct past_stats stats;

	/* Pieces of one size are reused for that size; all is freed at once. */
	struct chunk *chunks;
	uint8_t *arena, *arena_end;
	void *free[ARENA_CLASSES];
	size_t limit;
};

/* ---- objects ------------------------------------------------------------ */

/* Dead or alive, by either number; NULL if there never was one. */
struct node *node_find(const struct past *p, uint64_t number);
/* A dead one, without a name; its directory, if it is one, is empty. */
enum err past_node_new(struct past *p, uint64_t number, uint32_t mode,
    struct node **out) MUST_CHECK;
enum err node_set_content(struct past *p, struct node *n, uint64_t size,
    const struct content *c) MUST_CHECK;
enum err node_add_alias(
    struct past *p, struct node *n, uint64_t number) MUST_CHECK;
enum err node_extra(
    struct past *p, struct node *n, struct extra **out) MUST_CHECK;
bool node_is_dir(const struct node *n);
bool node_is_empty(const struct node *dir);
bool node_is_inside(const struct node *n, const struct node *dir);

/* ---- names -------------------------------------------------------------- */

struct link *link_find(const struct past *p, const struct node *dir,
    const char *name, size_t len);
/* A further name, free in dir.  A dead node is alive then. */
enum err link_add(struct past *p, struct node *dir, const char *name,
    size_t len, struct node *child) MUST_CHECK;
/* Away with it, and with the child if it was the last. */
void link_drop(struct past *p, struct link *l);
/* To a free name in a directory, maybe the same one. */
enum err link_move(struct past *p, struct link *l, struct node *dir,
    const char *name, size_t len) MUST_CHECK;
void link_swap(struct past *p, struct link *a, struct link *b);

#endif
