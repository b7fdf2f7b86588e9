/* keys.h - who a user, a device and a node are: key pairs, and the file that
 * keeps them.
 *
 * From 16 bytes of chance, the root, come all of a user's secrets; the
 * recovery phrase is the root in words.  A device and a node have chance of
 * their own, since they are not to be recovered but replaced.
 *
 *   user signing key   key_derive(root, "post user sign", 0)
 *   convergence (user) key_derive(root, "post user convergence", 0)
 *   log key            key_derive(root, "post user log", 0); of a device's
 *                      log: key_derive(that, "post device log", device tag)
 *   organisation       a secret of its own, in the home that founded it
 *
 * File "keys" of a home, mode 0600 (format: keys.c and store/FORMAT.md,
 * "Keys"): plain, or sealed under Argon2id of a passphrase. */
#ifndef POST_BASE_KEYS_H
#define POST_BASE_KEYS_H

#include "overlay/base/crypto.h"

#include <stdbool.h>

#define ROOT_BYTES 16
#define ADDRESS_MAX 254 /* bytes (RFC 5321, 4.5.3.1.3, without <>) */
#define KEYS_USERS_MAX 1000
#define PHRASE_MAX 64 /* bytes of a recovery phrase with its NUL */
#define PASSPHRASE_MAX 1024

struct user_keys {
	char address[ADDRESS_MAX + 1];
	uint8_t root[ROOT_BYTES];
	uint32_t number; /* within this home, from 1 */
	/* derived: */
	struct sign_key sign;
	struct id id; /* hash of the public key */
	struct key convergence, log;
};

struct home_keys {
	uint8_t device_seed[SIGN_SEED_BYTES], node_seed[SIGN_SEED_BYTES];
	struct key home;	 /* journal, page files */
	struct key organisation; /* convergence secret of the organisation */
	char organisation_name[ADDRESS_MAX + 1]; /* domain of its addresses */
	unsigned users;
	struct user_keys *user;
	/* derived: */
	struct sign_key device, node;
	struct id device_id, node_id;
};

/* New chance for everything but users; no user yet.  ERR_INVALID: the name is
 * no domain (domain_check). */
enum err home_keys_new(
    const char *organisation_name, struct home_keys **out) MUST_CHECK;
/* Wipes.  NULL is allowed. */
void home_keys_free(struct home_keys *k);

/* Add a user: a new root, or (root not NULL) a recovered one.  ERR_EXISTS:
 * that address or root is here; ERR_INVALID: no address (address_check);
 * ERR_RANGE: KEYS_USERS_MAX are here.  Pointers into k->user die. */
enum err home_keys_add_user(struct home_keys *k, const char *address,
    const uint8_t *root) MUST_CHECK;
struct user_keys *home_keys_find(struct home_keys *k, const char *address);

/* The file's bytes.  passphrase NULL: not sealed.  *bytes is the caller's to
 * wipe and free.  ERR_INVALID: over PASSPHRASE_MAX. */
enum err home_keys_encode(const struct home_keys *k, const char *passphrase,
    bool cheap, uint8_t **bytes, size_t *len) MUST_CHECK;
/* ERR_WRONG_KEY: wrong passphrase; ERR_DENIED: one is needed and passphrase is
 * NULL; ERR_NEWER; ERR_MALFORMED. */
enum err home_keys_decode(const uint8_t *bytes, size_t len,
    const char *passphrase, struct home_keys **out) MUST_CHECK;
/* Does the file need a passphrase? */
bool home_keys_sealed(const uint8_t *bytes, size_t len);

/* The root as nine words (proquints: 16 bits a word, the last one checks the
 * others), separated by '-' ; and back: blanks, '-' and case do not matter.
 * ERR_MALFORMED: a word that is none, or a wrong check. */
void phrase_encode(const uint8_t root[ROOT_BYTES], char out[PHRASE_MAX]);
enum err phrase_decode(const char *phrase, uint8_t root[ROOT_BYTES]) MUST_CHECK;

/* local@domain, as a directory name may hold it: the local part an RFC 5322
 * dot-atom (so no blanks, quotes, leading '.') without '/', the domain as
 * domain_check(). */
bool address_check(const char *address);
/* Labels of lower-case letters, digits and '-', separated by '.'. */
bool domain_check(const char *domain);

#endif
