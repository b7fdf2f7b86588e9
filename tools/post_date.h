/* post_date.h - dates as mail writes them.  Pure; seconds since 1970, UTC. */
#ifndef POST_TOOLS_POST_DATE_H
#define POST_TOOLS_POST_DATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A Date: header's value (RFC 5322, 3.3, with the obsolete zones and two-digit
 * years of 4.3); comments, line ends and what follows are passed over. */
bool date_header(const char *text, size_t len, int64_t *seconds);

/* The date in an mbox's From_ line ("From SENDER Thu Jan  1 00:00:00 1970"),
 * wherever it begins; a zone may stand before or after the year.  Without
 * one the time is UTC (RFC 4155). */
bool date_from_line(const char *text, size_t len, int64_t *seconds);

/* The From_ line's form of a date, 24 characters and a NUL. */
void date_asctime(int64_t seconds, char out[32]);

#endif
