/* Certificates and lists of revoked nodes, as bytes from anybody and as bytes
 * that our own authority signed: what is accepted is written again, byte for
 * byte.  The first byte chooses. */
#include "tests/unit/cert_test.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct sign_key authority;
static struct ring ring;

/* The bytes and a true signature of them, on the heap. */
static uint8_t *
with_signature(
    const char *label, size_t label_len, const uint8_t *bytes, size_t len)
{
	uint8_t *text = malloc(label_len + len + SIGNATURE_BYTES);

	if (!text)
		abort();
	memcpy(text, label, label_len);
	if (len)
		memcpy(text + label_len, bytes, len);
	sign_bytes(&authority, text, label_len + len, text + label_len + len);
	memmove(text, text + label_len, len + SIGNATURE_BYTES);
	return text;
}

static void
try_cert(const uint8_t *bytes, size_t len, bool is_signed)
{
	uint8_t again[CERT_MAX];
	struct node_cert c;
	size_t again_len;
	enum err e = node_cert_open(&ring, T0_S, bytes, len, &c);

	assert(e == OK || e == ERR_MALFORMED || e == ERR_DENIED ||
	       (e == ERR_BADSIG && !is_signed));
	if (e)
		return;
	assert(strlen(c.site) <= SITE_MAX && c.from_s < c.until_s);
	node_cert_sign(&c, &authority, again, &again_len);
	assert(again_len == len && memcmp(again, bytes, len) == 0);
}

static void
try_revocations(const uint8_t *bytes, size_t len, bool is_signed)
{
	struct revocations r = { 0 };
	enum err e = revocations_open(&ring, bytes, len, &r);
	size_t again_len;
	uint8_t *again;

	assert(e == OK || e == ERR_MALFORMED || e == ERR_DENIED ||
	       (e == ERR_BADSIG && !is_signed));
	if (e)
		return;
	assert(r.count <= REVOKED_MAX);
	for (size_t i = 0; i < r.count; i++)
		assert(revocations_has(&r, &r.node[i]));
	if (revocations_sign(&ring, &r, &authority, &again, &again_len))
		abort();
	assert(again_len == len && memcmp(again, bytes, len) == 0);
	free(again);
	revocations_fini(&r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool ready;
	uint8_t *text;

	if (!ready) {
		if (crypto_init())
			abort();
		an_authority(1, &authority, &ring);
		ready = true;
	}
	if (len == 0)
		return 0;
	len--;
	switch (*bytes++ % 4) {
	case 0:
		try_cert(bytes, len, false);
		break;
	case 1:
		text =
		    with_signature(CERT_LABEL, sizeof(CERT_LABEL), bytes, len);
		try_cert(text, len + SIGNATURE_BYTES, true);
		free(text);
		break;
	case 2:
		try_revocations(bytes, len, false);
		break;
	default:
		text = with_signature(
		    REVOCATIONS_LABEL, sizeof(REVOCATIONS_LABEL), bytes, len);
		try_revocations(text, len + SIGNATURE_BYTES, true);
		free(text);
	}
	return 0;
}
