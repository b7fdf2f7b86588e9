/* xattr.h - the extended attributes of one inode as one row.
 *
 *   count times { u8 name_len (1..255), name, varint value_len, value },
 *   sorted by name, no name twice, no NUL in a name.  At most XATTR_ROW_MAX
 *   bytes; no attributes are no bytes (row may then be NULL). */
#ifndef POST_STORE_XATTR_H
#define POST_STORE_XATTR_H

#include "overlay/base/outcome.h"

#include <stddef.h>
#include <stdint.h>

#define XATTR_ROW_MAX 65536u

/* The value of `name`, borrowed; ERR_NOATTR if there is none, ERR_MALFORMED
 * if the row is no row. */
enum err xattr_get(const uint8_t *row, size_t row_len, const char *name,
    const uint8_t **value, size_t *value_len) MUST_CHECK;

/* A new row with `name` set, or (value NULL) removed; the caller frees it.
 * create: ERR_EXISTS if it is there; replace: ERR_NOATTR if it is not, as
 * when it is to be removed.  ERR_RANGE: no such name can be; ERR_NOSPACE: the
 * row would be too long. */
enum err xattr_set(const uint8_t *row, size_t row_len, const char *name,
    const void *value, size_t value_len, int create, int replace, uint8_t **out,
    size_t *out_len) MUST_CHECK;

/* NUL-terminated names one after another, as listxattr(2); buf NULL: only
 * *len.  ERR_RANGE: cap is too small. */
enum err xattr_list(const uint8_t *row, size_t row_len, char *buf, size_t cap,
    size_t *len) MUST_CHECK;

/* Call fn for each (its name is not NUL-terminated) until it fails, and
 * return that; for the log and export. */
typedef enum err xattr_fn(void *arg, const char *name, size_t name_len,
    const uint8_t *value, size_t value_len);
enum err xattr_each(
    const uint8_t *row, size_t row_len, xattr_fn *fn, void *arg) MUST_CHECK;

#endif
