/* Invitations: any text, and lines that our own authority signed as they are,
 * between the marking lines.  What is accepted is written again: of the second
 * kind, where no blank line can hide, it is the same text.  The first byte
 * chooses. */
#include "tests/unit/cert_test.h"

#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define SIGNED_MAX 8192
#define HALF (SIGNATURE_BYTES / 2)

static struct sign_key authority;
static struct ring ring;

/* True if it was accepted; its fields are then such as can be signed. */
static bool
try_text(const char *text, size_t len, char again[INVITE_TEXT_MAX])
{
	struct invitation inv;
	unsigned line = UINT32_MAX, lines = 1;
	enum err e = invitation_open(text, len, T0_S, &inv, &line);

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	assert(e == OK || e == ERR_MALFORMED || e == ERR_BADSIG ||
	       e == ERR_DENIED);
	assert(line <= lines);
	if (e || !same_bytes(
		     inv.ring.authority, authority.public, SIGN_PUBLIC_BYTES))
		return false;
	invitation_sign(&inv, &authority, again);
	if (invitation_open(again, strlen(again), T0_S, &inv, &line))
		abort();
	return true;
}

static void
try_signed(const uint8_t *bytes, size_t len)
{
	static uint8_t text[sizeof(INVITATION_LABEL) + SIGNED_MAX];
	static char whole[SIGNED_MAX + 512];
	uint8_t signature[SIGNATURE_BYTES];
	char hex[2][2 * HALF + 1], again[INVITE_TEXT_MAX], *exact;
	int n;

	if (len > SIGNED_MAX || memchr(bytes, '\0', len))
		return;
	memcpy(text, INVITATION_LABEL, sizeof(INVITATION_LABEL));
	memcpy(text + sizeof(INVITATION_LABEL), bytes, len);
	sign_bytes(&authority, text, sizeof(INVITATION_LABEL) + len, signature);
	for (unsigned i = 0; i < SIGNATURE_BYTES; i++)
		snprintf(
		    hex[i / HALF] + 2 * (i % HALF), 3, "%02x", signature[i]);
	n = snprintf(whole, sizeof(whole),
	    "-----BEGIN POST INVITATION-----\n%.*ssignature: %s\n"
	    "signature: %s\n-----END POST INVITATION-----\n",
	    (int)len, (const char *)bytes, hex[0], hex[1]);
	assert(n > 0 && (size_t)n < sizeof(whole));
	exact = exact_copy(whole, (size_t)n);
	if (try_text(exact, (size_t)n, again) && !memchr(bytes, '\r', len) &&
	    strlen(again) == (size_t)n)
		assert(memcmp(again, whole, (size_t)n) == 0);
	free(exact);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool ready;
	char again[INVITE_TEXT_MAX];

	if (!ready) {
		if (crypto_init())
			abort();
		an_authority(1, &authority, &ring);
		ready = true;
	}
	if (len == 0)
		return 0;
	if (bytes[0] % 2 == 0)
		try_text((const char *)bytes + 1, len - 1, again);
	else
		try_signed(bytes + 1, len - 1);
	return 0;
}
