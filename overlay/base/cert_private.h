/* cert_private.h - what the kinds of signed statements share: the labels their
 * signatures begin with, and the times that can be told.  For cert*.c, and for
 * tests that sign what no honest authority would. */
#ifndef POST_BASE_CERT_PRIVATE_H
#define POST_BASE_CERT_PRIVATE_H

#include "overlay/base/cert.h"

/* Signed with their NUL, so that none is the beginning of another. */
#define CERT_LABEL "post node certificate"
#define REVOCATIONS_LABEL "post revocations"
#define INVITATION_LABEL "post invitation"

/* 9999-12-31T23:59:59Z: four digits tell the year, and no sum overflows. */
#define TIME_S_MAX INT64_C(253402300799)

/* What a certificate says, believed by nobody: to tell why one was refused.
 * ERR_MALFORMED. */
enum err node_cert_read(
    const uint8_t *bytes, size_t len, struct node_cert *out) MUST_CHECK;

#endif
