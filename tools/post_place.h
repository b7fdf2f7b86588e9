/* post_place.h - one user's mail, for import and export: through the mount if
 * the home is mounted, else in the store opened here.  Both look the same
 * from outside.
 *
 * A folder is named as Maildir++ names it: "" is the INBOX (Maildir itself),
 * ".Lists.linux" a folder below it.  Functions that return int return an exit
 * status and have said what is wrong. */
#ifndef POST_TOOLS_POST_PLACE_H
#define POST_TOOLS_POST_PLACE_H

#include "tools/post.h"

#define FOLDER_NAME_MAX 200 /* bytes; room for more beside it in a name */
#define MARK_BYTES 16

struct place;
struct folder;

/* The mail of `address` (NULL: of the only user). */
int place_open(const struct common *c, const char *address, struct place **out);
int place_close(struct place *p); /* NULL is allowed */
const char *place_user(const struct place *p);

/* Everything put so far is safe when this returns. */
int place_settle(struct place *p);

/* How much may be put between two place_settle(): bytes and messages. */
void place_batch(const struct place *p, uint64_t *bytes, size_t *messages);

/* Marks of what was imported; has[i] is set for each.  A mark is added only
 * when its message is safe. */
int place_marks_has(
    struct place *p, const uint8_t (*marks)[MARK_BYTES], size_t n, bool *has);
int place_marks_add(
    struct place *p, const uint8_t (*marks)[MARK_BYTES], size_t n);
/* May marks be added before place_settle(), because both become safe at
 * once? */
bool place_marks_at_once(const struct place *p);

/* Open a folder; `make`: it and cur, new, tmp if they are not there.  Without,
 * *out is NULL, and the answer STATUS_DONE, if it is not there. */
int folder_open(
    struct place *p, const char *name, bool make, struct folder **out);
void folder_close(struct folder *f); /* NULL is allowed */
const char *folder_name(const struct folder *f);

/* Call fn for each folder, INBOX first; it stops at a status that is not
 * STATUS_DONE, and returns it. */
typedef int folder_fn(void *arg, const char *name);
int place_folders(struct place *p, folder_fn *fn, void *arg);

/* Where in a folder a message is. */
enum folder_sub { FOLDER_CUR, FOLDER_NEW };

/* Call fn for each message's name, as place_folders(); the folder may be read
 * meanwhile. */
typedef int message_fn(void *arg, enum folder_sub sub, const char *name);
int folder_each(
    struct folder *f, enum folder_sub sub, message_fn *fn, void *arg);

/* A message's bytes, to *bytes, grown to *cap as needed (the caller frees it
 * at the end).  STATUS_DONE with *here false: it went away meanwhile. */
int folder_read(struct folder *f, enum folder_sub sub, const char *name,
    uint8_t **bytes, size_t *cap, size_t *len, int64_t *mtime_ns, bool *here);
/* Its length and date only. */
int folder_look(struct folder *f, enum folder_sub sub, const char *name,
    uint64_t *len, int64_t *mtime_ns, bool *here);

/* Put a message there, whole or not at all; one of this name is replaced. */
int folder_put(struct folder *f, enum folder_sub sub, const char *name,
    const uint8_t *bytes, size_t len, int64_t mtime_ns);

/* A small file of the folder itself, such as dovecot-keywords: up to cap bytes
 * of it, and to replace it in one step.  Not there: *len is 0. */
int folder_load(
    struct folder *f, const char *name, char *out, size_t cap, size_t *len);
int folder_save(
    struct folder *f, const char *name, const char *text, size_t len);

/* What people say ("Lists/linux", "INBOX", ".Lists.linux") as a folder's name;
 * false if it can be none. */
bool folder_name_from(const char *said, char out[FOLDER_NAME_MAX + 1]);

#endif
