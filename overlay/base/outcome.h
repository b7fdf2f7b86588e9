/* outcome.h - how a call can end, in every room of the program.
 *
 * Three kinds of wrong (and where each goes):
 *   our own bug        assert(), which stays on in release builds
 *   a stranger's bytes ERR_MALFORMED, ERR_BADSIG: counted, never asserted on
 *   the world          every other code below
 *
 * "Not there" (ERR_ABSENT) is an answer, not a failure.  Foreign codes (errno,
 * LMDB's, libfuse's) are translated where they enter and go no further;
 * err_errno() is the one way back, used only where we speak to the kernel. */
#ifndef POST_BASE_OUTCOME_H
#define POST_BASE_OUTCOME_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/* X(name, errno it maps to, sentence for people) */
#define ERR_LIST(X)                                                            \
	X(OK, 0, "done")                                                       \
	X(ERR_NOMEM, ENOMEM, "out of memory")                                  \
	X(ERR_MALFORMED, EBADMSG, "malformed data")                            \
	X(ERR_BADSIG, EBADMSG, "signature or authentication tag is wrong")     \
	X(ERR_CORRUPT, EIO, "stored data is damaged")                          \
	X(ERR_IO, EIO, "input/output error")                                   \
	X(ERR_NOSPACE, ENOSPC, "no space left on the disk")                    \
	X(ERR_QUOTA, EDQUOT, "refused: over the allowance")                    \
	X(ERR_ABSENT, ENOENT, "not there")                                     \
	X(ERR_EXISTS, EEXIST, "exists already")                                \
	X(ERR_NOTDIR, ENOTDIR, "not a directory")                              \
	X(ERR_ISDIR, EISDIR, "is a directory")                                 \
	X(ERR_NOTEMPTY, ENOTEMPTY, "directory is not empty")                   \
	X(ERR_NAME_TOO_LONG, ENAMETOOLONG, "name is too long")                 \
	X(ERR_MANY_LINKS, EMLINK, "too many links")                            \
	X(ERR_CROSS, EXDEV, "crosses from one user's tree to another")         \
	X(ERR_INVALID, EINVAL, "invalid argument")                             \
	X(ERR_DENIED, EACCES, "access denied")                                 \
	X(ERR_PERM, EPERM, "not permitted")                                    \
	X(ERR_READONLY, EROFS, "read-only")                                    \
	X(ERR_NOATTR, ENODATA, "no such attribute")                            \
	X(ERR_RANGE, ERANGE, "buffer or number out of range")                  \
	X(ERR_TOO_BIG, EFBIG, "too big")                                       \
	X(ERR_BUSY, EBUSY, "in use")                                           \
	X(ERR_AGAIN, EAGAIN, "try again later")                                \
	X(ERR_UNREACHABLE, ESTALE, "the data is not reachable now")            \
	X(ERR_UNSUPPORTED, EOPNOTSUPP, "not supported")                        \
	X(ERR_NEWER, EPROTO, "made by a newer version of this program")        \
	X(ERR_WRONG_KEY, EKEYREJECTED, "wrong passphrase or key")

enum err {
#define ERR_ENUM(name, number, text) name,
	ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
	ERR_COUNT
};

/* A short English phrase, never NULL. */
const char *err_text(enum err e);

/* The code's own name ("ERR_NOSPACE"), for traces and tests. */
const char *err_name(enum err e);

/* Positive errno for the kernel; 0 for OK. */
int err_errno(enum err e);

/* Translate an errno at the edge.  0 is OK; what has no twin is ERR_IO. */
enum err err_from_errno(int number);

#endif
