/* post_json.h - small helps around jansson. */
#ifndef POST_TOOLS_POST_JSON_H
#define POST_TOOLS_POST_JSON_H

#include <jansson.h>
#include <stddef.h>

/* A string of bytes that may be no UTF-8: what is not becomes U+FFFD.  NULL
 * when out of memory. */
json_t *json_bytes(const char *bytes, size_t len);

/* Print on stdout, indented, with a line end, and drop the reference.  Returns
 * an exit status; NULL (out of memory while it was made) is said. */
int json_print(json_t *j);

#endif
