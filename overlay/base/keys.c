/* The key file.  Big-endian, no padding, nothing after:
 *
 *   magic[8] "POSTKEYS", u8 version (1), u8 sealed (0 or 1), then
 *     plain:   payload, checksum[32] = BLAKE2b-256 of all before it
 *     sealed:  salt[16], u8 cheap (0 or 1), AEAD(payload), tag[16]
 *
 *   payload:
 *     device seed[32], node seed[32], home key[32], organisation key[32],
 *     u8 len, organisation's name[len],
 *     u16 users (<= KEYS_USERS_MAX), then for each, by number:
 *       u32 number (from 1, strictly increasing),
 *       u8 len, address[len], root[16]
 *
 * Sealed under Argon2id of the passphrase and the salt, nonce 0 (each file
 * has a salt of its own, so each key seals once); the bytes before the
 * ciphertext are authenticated with it.  `cheap` says which limits Argon2id
 * had; it is there for tests.  The checksum of a plain file is against
 * damage, not against an enemy: who can write the file owns the home anyway.
 *
 * A root is 16 bytes and key_derive() takes 32: the root comes first, zeros
 * fill the rest. */
#include "overlay/base/keys.h"

#include "overlay/base/wire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "POSTKEYS"
#define MAGIC_BYTES 8
#define VERSION 1
#define PLAIN_HEADER (MAGIC_BYTES + 2)
#define SEALED_HEADER (PLAIN_HEADER + SALT_BYTES + 1)

_Static_assert(sizeof(MAGIC) == MAGIC_BYTES + 1, "");
_Static_assert(ADDRESS_MAX <= UINT8_MAX, "its length is one byte");
_Static_assert(KEYS_USERS_MAX <= UINT16_MAX, "their count is two bytes");

static const uint64_t no_nonce[2] = { 0, 0 };

/* ---- what follows from the chance --------------------------------------- */

static void
derive_user(struct user_keys *u)
{
	struct key root = { { 0 } }, seed;

	_Static_assert(ROOT_BYTES <= KEY_BYTES, "zeros fill the rest");
	memcpy(root.b, u->root, ROOT_BYTES);
	key_derive(&root, "post user sign", 0, &seed);
	sign_key_from_seed(seed.b, &u->sign);
	key_derive(&root, "post user convergence", 0, &u->convergence);
	key_derive(&root, "post user log", 0, &u->log);
	hash_bytes(u->sign.public, SIGN_PUBLIC_BYTES, &u->id);
	wipe(&root, sizeof(root));
	wipe(&seed, sizeof(seed));
}

static void
derive_home(struct home_keys *k)
{
	sign_key_from_seed(k->device_seed, &k->device);
	sign_key_from_seed(k->node_seed, &k->node);
	hash_bytes(k->device.public, SIGN_PUBLIC_BYTES, &k->device_id);
	hash_bytes(k->node.public, SIGN_PUBLIC_BYTES, &k->node_id);
}

/* ---- in memory ---------------------------------------------------------- */

enum err
home_keys_new(const char *organisation_name, struct home_keys **out)
{
	struct home_keys *k;

	if (!domain_check(organisation_name))
		return ERR_INVALID;
	k = calloc(1, sizeof(*k));
	if (!k)
		return ERR_NOMEM;
	memcpy(
	    k->organisation_name, organisation_name, strlen(organisation_name));
	random_bytes(k->device_seed, sizeof(k->device_seed));
	random_bytes(k->node_seed, sizeof(k->node_seed));
	random_bytes(k->home.b, sizeof(k->home.b));
	random_bytes(k->organisation.b, sizeof(k->organisation.b));
	derive_home(k);
	*out = k;
	return OK;
}

static void
free_users(struct user_keys *user, unsigned users)
{
	if (user)
		wipe(user, users * sizeof(*user));
	free(user);
}

void
home_keys_free(struct home_keys *k)
{
	if (!k)
		return;
	free_users(k->user, k->users);
	wipe(k, sizeof(*k));
	free(k);
}

struct user_keys *
home_keys_find(struct home_keys *k, const char *address)
{
	for (unsigned i = 0; i < k->users; i++)
		if (strcmp(k->user[i].address, address) == 0)
			return &k->user[i];
	return NULL;
}

/* Is a user with this address or this root here? */
static bool
is_here(const struct home_keys *k, const char *address, const uint8_t *root)
{
	for (unsigned i = 0; i < k->users; i++)
		if (strcmp(k->user[i].address, address) == 0 ||
		    same_bytes(k->user[i].root, root, ROOT_BYTES))
			return true;
	return false;
}

static enum err
add_user(struct home_keys *k, const char *address, const uint8_t *root,
    uint32_t number)
{
	struct user_keys *grown, *u;

	if (is_here(k, address, root))
		return ERR_EXISTS;
	/* Not realloc(), which would leave secrets behind. */
	grown = calloc(k->users + 1, sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	if (k->users)
		memcpy(grown, k->user, k->users * sizeof(*grown));
	u = &grown[k->users];
	memcpy(u->address, address, strlen(address));
	memcpy(u->root, root, ROOT_BYTES);
	u->number = number;
	derive_user(u);
	free_users(k->user, k->users);
	k->user = grown;
	k->users++;
	return OK;
}

enum err
home_keys_add_user(
    struct home_keys *k, const char *address, const uint8_t *root)
{
	uint8_t fresh[ROOT_BYTES];
	uint32_t last = k->users ? k->user[k->users - 1].number : 0;
	enum err e;

	if (!address_check(address))
		return ERR_INVALID;
	if (home_keys_find(k, address))
		return ERR_EXISTS;
	if (k->users >= KEYS_USERS_MAX || last == UINT32_MAX)
		return ERR_RANGE;
	if (!root)
		random_bytes(fresh, sizeof(fresh));
	e = add_user(k, address, root ? root : fresh, last + 1);
	wipe(fresh, sizeof(fresh));
	return e;
}

/* ---- the file ----------------------------------------------------------- */

static void
write_name(struct wr *w, const char *name)
{
	size_t len = strlen(name);

	assert(len <= ADDRESS_MAX);
	wr_be(w, len, 1);
	wr_bytes(w, name, len);
}

static void
write_payload(struct wr *w, const struct home_keys *k)
{
	wr_bytes(w, k->device_seed, sizeof(k->device_seed));
	wr_bytes(w, k->node_seed, sizeof(k->node_seed));
	wr_bytes(w, k->home.b, sizeof(k->home.b));
	wr_bytes(w, k->organisation.b, sizeof(k->organisation.b));
	write_name(w, k->organisation_name);
	wr_be(w, k->users, 2);
	for (unsigned i = 0; i < k->users; i++) {
		wr_be(w, k->user[i].number, 4);
		write_name(w, k->user[i].address);
		wr_bytes(w, k->user[i].root, ROOT_BYTES);
	}
}

enum err
home_keys_encode(const struct home_keys *k, const char *passphrase, bool cheap,
    uint8_t **bytes, size_t *len)
{
	size_t cap = SEALED_HEADER + 2 * SIGN_SEED_BYTES + 2 * KEY_BYTES + 1 +
		     ADDRESS_MAX + 2 +
		     k->users * (5 + ADDRESS_MAX + ROOT_BYTES) + ID_BYTES;
	uint8_t salt[SALT_BYTES], *buf, *payload;
	struct key key;
	struct id sum;
	struct wr w;
	enum err e = OK;
	size_t n;

	assert(k->users <= KEYS_USERS_MAX);
	if (passphrase && strlen(passphrase) > PASSPHRASE_MAX)
		return ERR_INVALID;
	buf = malloc(cap);
	if (!buf)
		return ERR_NOMEM;
	wr_init(&w, buf, cap);
	wr_bytes(&w, MAGIC, MAGIC_BYTES);
	wr_be(&w, VERSION, 1);
	wr_be(&w, passphrase != NULL, 1);
	if (!passphrase) {
		write_payload(&w, k);
		hash_bytes(buf, wr_len(&w), &sum);
		wr_bytes(&w, sum.b, ID_BYTES);
	} else {
		random_bytes(salt, sizeof(salt));
		e = passphrase_key(
		    passphrase, strlen(passphrase), salt, cheap, &key);
		if (e)
			goto out;
		wr_bytes(&w, salt, sizeof(salt));
		wr_be(&w, cheap, 1);
		payload = w.p;
		write_payload(&w, k);
		n = (size_t)(w.p - payload);
		if (wr_take(&w, TAG_BYTES))
			aead_seal(&key, no_nonce, buf, SEALED_HEADER, payload,
			    n, payload);
	}
	assert(!w.bad); /* cap is the most it can be */
	*bytes = buf;
	*len = wr_len(&w);
	buf = NULL;
out:
	wipe(&key, sizeof(key));
	if (buf)
		wipe(buf, cap);
	free(buf);
	return e;
}

/* A name that the check accepts, NUL-terminated. */
static bool
read_name(struct rd *r, bool (*check)(const char *), char out[ADDRESS_MAX + 1])
{
	size_t len = (size_t)rd_be(r, 1);
	const uint8_t *at = rd_take(r, len);

	if (!at || len > ADDRESS_MAX || memchr(at, '\0', len))
		return false;
	memcpy(out, at, len);
	out[len] = '\0';
	return check(out);
}

static enum err
read_payload(const uint8_t *bytes, size_t len, struct home_keys *k)
{
	char address[ADDRESS_MAX + 1];
	uint32_t last = 0;
	uint64_t users;
	struct rd r;

	rd_init(&r, bytes, len);
	rd_bytes(&r, k->device_seed, sizeof(k->device_seed));
	rd_bytes(&r, k->node_seed, sizeof(k->node_seed));
	rd_bytes(&r, k->home.b, sizeof(k->home.b));
	rd_bytes(&r, k->organisation.b, sizeof(k->organisation.b));
	if (!read_name(&r, domain_check, k->organisation_name))
		return ERR_MALFORMED;
	users = rd_be(&r, 2);
	if (r.bad || users > KEYS_USERS_MAX)
		return ERR_MALFORMED;
	while (users--) {
		uint32_t number = (uint32_t)rd_be(&r, 4);
		const uint8_t *root;
		enum err e;

		if (!read_name(&r, address_check, address) || number <= last)
			return ERR_MALFORMED;
		root = rd_take(&r, ROOT_BYTES);
		if (!root)
			return ERR_MALFORMED;
		e = add_user(k, address, root, number);
		if (e)
			return e == ERR_EXISTS ? ERR_MALFORMED : e;
		last = number;
	}
	return rd_done(&r) ? OK : ERR_MALFORMED;
}

/* The header up to where plain and sealed files part. */
static enum err
read_header(struct rd *r, bool *sealed)
{
	const uint8_t *magic = rd_take(r, MAGIC_BYTES);
	uint64_t version = rd_be(r, 1), flag = rd_be(r, 1);

	if (!magic || memcmp(magic, MAGIC, MAGIC_BYTES) != 0)
		return ERR_MALFORMED;
	if (version > VERSION)
		return ERR_NEWER; /* whatever follows */
	if (r->bad || version != VERSION || flag > 1)
		return ERR_MALFORMED;
	*sealed = flag == 1;
	return OK;
}

bool
home_keys_sealed(const uint8_t *bytes, size_t len)
{
	bool sealed = false;
	struct rd r;

	rd_init(&r, bytes, len);
	return read_header(&r, &sealed) == OK && sealed;
}

/* *payload is on the heap, for the caller to wipe and free. */
static enum err
open_sealed(struct rd *r, const uint8_t *bytes, const char *passphrase,
    uint8_t **payload, size_t *len)
{
	const uint8_t *salt = rd_take(r, SALT_BYTES);
	uint64_t cheap = rd_be(r, 1);
	size_t sealed = rd_left(r);
	struct key key;
	uint8_t *buf;
	enum err e;

	if (r->bad || cheap > 1 || sealed < TAG_BYTES)
		return ERR_MALFORMED;
	if (!passphrase)
		return ERR_DENIED;
	if (strlen(passphrase) > PASSPHRASE_MAX)
		return ERR_WRONG_KEY;
	buf = malloc(sealed);
	if (!buf)
		return ERR_NOMEM;
	e = passphrase_key(
	    passphrase, strlen(passphrase), salt, cheap == 1, &key);
	if (!e &&
	    aead_open(&key, no_nonce, bytes, SEALED_HEADER, r->p, sealed, buf))
		e = ERR_WRONG_KEY;
	wipe(&key, sizeof(key));
	if (e) {
		wipe(buf, sealed);
		free(buf);
		return e;
	}
	*payload = buf;
	*len = sealed - TAG_BYTES;
	return OK;
}

enum err
home_keys_decode(const uint8_t *bytes, size_t len, const char *passphrase,
    struct home_keys **out)
{
	struct home_keys *k = NULL;
	uint8_t *opened = NULL;
	const uint8_t *payload;
	bool sealed = false;
	size_t n = 0;
	struct id sum;
	struct rd r;
	enum err e;

	rd_init(&r, bytes, len);
	if ((e = read_header(&r, &sealed)))
		return e;
	if (sealed) {
		if ((e = open_sealed(&r, bytes, passphrase, &opened, &n)))
			return e;
		payload = opened;
	} else {
		if (rd_left(&r) < ID_BYTES)
			return ERR_MALFORMED;
		n = rd_left(&r) - ID_BYTES;
		payload = rd_take(&r, n);
		hash_bytes(bytes, len - ID_BYTES, &sum);
		if (memcmp(sum.b, r.p, ID_BYTES) != 0)
			return ERR_MALFORMED;
	}
	k = calloc(1, sizeof(*k));
	e = k ? read_payload(payload, n, k) : ERR_NOMEM;
	if (opened)
		wipe(opened, n);
	free(opened);
	if (e) {
		home_keys_free(k);
		return e;
	}
	derive_home(k);
	*out = k;
	return OK;
}
