/* Opening what strangers sealed: any bytes as a block, and, since those fail
 * at their tag, any bytes as the packed form of an authentic one. */
#include "store/seal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct sealer *sealer;

static void
must(bool true_always)
{
	if (!true_always)
		abort();
}

/* Both ways of opening must agree. */
static void
open_both(
    const struct key *key, const uint8_t *block, size_t len, uint32_t guess)
{
	struct block_ref ref = { .key = *key, .plain_len = guess };
	uint8_t *plain, *other = NULL;
	size_t n = 0;
	enum err e = seal_open_key(sealer, key, block, len, &other, &n);

	if (!e)
		ref.plain_len = (uint32_t)n;
	plain = malloc(ref.plain_len ? ref.plain_len : 1);
	must(plain != NULL);
	must(seal_open(sealer, &ref, block, len, plain) == OK ? !e : e != OK);
	if (!e) {
		must(n >= 1 && n <= SEAL_PLAIN_MAX);
		must(memcmp(plain, other, n) == 0);
		ref.plain_len = (uint32_t)(n > 1 ? n - 1 : n + 1);
		must(seal_open(sealer, &ref, block, len, plain) != OK);
	}
	free(other);
	free(plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const struct key secrets[2] = { { { 1 } }, { { 2 } } };
	const struct key key = { { 7, 7, 7 } };
	const uint64_t nonce[2] = { 0, 0 };
	uint8_t *block;

	if (!sealer)
		must(!crypto_init() && !sealer_new(secrets, &sealer));
	open_both(&key, bytes, len, 100);
	if (len < 3)
		return 0;
	/* codec and a guess of the length from the input, then packed */
	block = malloc(len - 3 + SEAL_OVERHEAD);
	must(block != NULL);
	block[0] = 1;
	block[1] = bytes[0] & 3;
	aead_seal(&key, nonce, block, 2, bytes + 3, len - 3, block + 2);
	open_both(&key, block, len - 3 + SEAL_OVERHEAD,
	    (uint32_t)bytes[1] << 8 | bytes[2]);
	free(block);
	return 0;
}
