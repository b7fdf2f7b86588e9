/* What the key file's reader accepts it writes again, byte for byte; and what
 * the phrase's reader accepts is a phrase.  The first byte chooses: the input
 * is a file; a payload, which gets the header and checksum it needs; or a
 * phrase. */
#include "overlay/base/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
try_file(const uint8_t *bytes, size_t len)
{
	struct home_keys *k = NULL;
	uint8_t *again = NULL;
	size_t again_len;

	/* Without a passphrase: Argon2id would be most of the work. */
	if (home_keys_decode(bytes, len, NULL, &k) == OK) {
		assert(!home_keys_sealed(bytes, len));
		if (home_keys_encode(k, NULL, false, &again, &again_len))
			abort();
		assert(again_len == len && memcmp(again, bytes, len) == 0);
		free(again);
	} else {
		assert(!k);
	}
	home_keys_free(k);
}

static void
try_payload(const uint8_t *bytes, size_t len)
{
	static const uint8_t header[] = { 'P', 'O', 'S', 'T', 'K', 'E', 'Y',
		'S', 1, 0 };
	size_t whole = sizeof(header) + len + ID_BYTES;
	uint8_t *file = malloc(whole);
	struct id sum;

	if (!file)
		abort();
	memcpy(file, header, sizeof(header));
	memcpy(file + sizeof(header), bytes, len);
	hash_bytes(file, whole - ID_BYTES, &sum);
	memcpy(file + whole - ID_BYTES, sum.b, ID_BYTES);
	try_file(file, whole);
	free(file);
}

static void
try_phrase(const uint8_t *bytes, size_t len)
{
	uint8_t root[ROOT_BYTES], back[ROOT_BYTES];
	char *text = malloc(len + 1), again[PHRASE_MAX];

	if (!text)
		abort();
	memcpy(text, bytes, len);
	text[len] = '\0';
	if (phrase_decode(text, root) == OK) {
		phrase_encode(root, again);
		if (phrase_decode(again, back))
			abort();
		assert(memcmp(root, back, ROOT_BYTES) == 0);
	}
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool ready;

	if (!ready && crypto_init())
		abort();
	ready = true;
	if (len == 0)
		return 0;
	switch (bytes[0] % 3) {
	case 0:
		try_file(bytes + 1, len - 1);
		break;
	case 1:
		try_payload(bytes + 1, len - 1);
		break;
	default:
		try_phrase(bytes + 1, len - 1);
	}
	return 0;
}
