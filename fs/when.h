/* when.h - moments as text: RFC 3339, UTC only ("2026-11-01T00:00:00Z").
 * Moments are nanoseconds since 1970; the years 1970 to 2261 fit. */
#ifndef POST_FS_WHEN_H
#define POST_FS_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEN_MAX 32 /* bytes of any text made here, with its NUL */
#define WHEN_SECOND ((int64_t)1000000000)
#define WHEN_DAY (86400 * WHEN_SECOND)

/* digits: of the fraction of a second, 0 to 9. */
void when_format(int64_t ns, unsigned digits, char out[WHEN_MAX]);

/* "YYYY-MM-DD", or with "THH:MM:SS", a fraction of up to nine digits, and "Z".
 * *length_ns says how long the moment named lasts: a second, or its fraction;
 * a date alone means its first second.  False for anything else, dates that
 * are none, and moments out of range. */
bool when_parse(const char *text, int64_t *ns, int64_t *length_ns);

#endif
