/* mails.h - mails for tests: seeded ones, and those of a directory. */
#ifndef POST_TESTS_MAILS_H
#define POST_TESTS_MAILS_H

#include "overlay/base/rng.h"

#include <stdbool.h>
#include <stddef.h>

/* A mail as a careless world might send it: nested multiparts, base64 of any
 * line length, either line end, and, now and then, damage.  Caller frees; the
 * block is exactly *len bytes. */
uint8_t *random_mail(struct rng *rng, size_t *len);

/* Bytes that look like text, or like noise. */
void random_text(struct rng *rng, uint8_t *out, size_t len);
void random_noise(struct rng *rng, uint8_t *out, size_t len);

/* Call fn with each file below `dir`, in the order of their paths.  The number
 * of files; a file that can not be read ends the test. */
typedef void mail_fn(
    void *arg, const char *path, const uint8_t *bytes, size_t len);
size_t each_mail(const char *dir, mail_fn *fn, void *arg);

/* The same for the corpus that environment variable POST_CORPUS names; says
 * so when there is none, and returns 0. */
size_t each_corpus_mail(mail_fn *fn, void *arg);

#endif
