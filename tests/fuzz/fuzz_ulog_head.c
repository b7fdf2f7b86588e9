/* A head is refused; or, once signed by a key of ours, what it says makes the
 * same bytes again. */
#include "store/ulog.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define LABEL "post log head"
#define PUBLIC_AT (1 + ID_BYTES)

static void
must(int ok)
{
	if (!ok)
		abort();
}

/* The same head as if our key had signed it, if it is long enough. */
static void
sign_again(const struct sign_key *key, uint8_t *head, size_t len)
{
	uint8_t text[sizeof(LABEL) + ULOG_HEAD_MAX];
	size_t body = len - SIGNATURE_BYTES;

	memcpy(head + PUBLIC_AT, key->public, SIGN_PUBLIC_BYTES);
	memcpy(text, LABEL, sizeof(LABEL));
	memcpy(text + sizeof(LABEL), head, body);
	sign_bytes(key, text, sizeof(LABEL) + body, head + body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const uint8_t seed[SIGN_SEED_BYTES] = { 42 };
	uint8_t again[ULOG_HEAD_MAX], *head;
	struct sign_key key;
	struct ulog_head h;
	size_t again_len;
	enum err e;

	must(crypto_init() == OK);
	if (ulog_head_decode(bytes, len, &h) == OK)
		must(h.sequence > 0);
	if (len < PUBLIC_AT + SIGN_PUBLIC_BYTES + SIGNATURE_BYTES ||
	    len > ULOG_HEAD_MAX)
		return 0;
	head = malloc(len);
	must(head != NULL);
	memcpy(head, bytes, len);
	sign_key_from_seed(seed, &key);
	sign_again(&key, head, len);
	e = ulog_head_decode(head, len, &h);
	must(e == OK || e == ERR_MALFORMED || e == ERR_NEWER);
	if (e == OK) {
		must(ulog_head_encode(
			 &h, &key, again, sizeof(again), &again_len) == OK);
		must(again_len == len && memcmp(again, head, len) == 0);
	}
	free(head);
	return 0;
}
