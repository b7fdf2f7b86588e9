/* cert_invitation.c - an invitation as text.
 *
 *   -----BEGIN POST INVITATION-----
 *   ring: rice.example
 *   authority: 64 hex digits, the authority's public key
 *   address: alice@rice.example           (left out for a further node)
 *   token: 32 hex digits
 *   until: 2026-11-01T00:00:00Z
 *   contact: 192.0.2.1:7400               (none to INVITE_CONTACTS_MAX)
 *   signature: 64 hex digits, the first half of the authority's signature
 *   signature: 64 hex digits, the second half
 *   -----END POST INVITATION-----
 *
 * In this order, hex in small letters.  Signed are INVITATION_LABEL with its
 * NUL and the lines between "ring" and the last "contact", each with one LF:
 * the reader writes them again from what it read, so that what mail does to
 * ends of lines is no matter.  The signature has two lines because mail folds
 * what is longer than 78. */
#include "overlay/base/cert_private.h"
#include "overlay/base/keys.h"
#include "overlay/base/wire.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BEGIN_LINE "-----BEGIN POST INVITATION-----"
#define END_LINE "-----END POST INVITATION-----"
#define CONTACT_MAX (sizeof(((struct invitation *)NULL)->contact[0]) - 1)
#define UNTIL_LEN (sizeof("2026-11-01T00:00:00Z") - 1)
#define HALF_SIGNATURE (SIGNATURE_BYTES / 2)

_Static_assert(sizeof(((struct invitation *)NULL)->address) == ADDRESS_MAX + 1,
    "an address fits");

/* ---- values ------------------------------------------------------------- */

static void
hex_of(const uint8_t *bytes, size_t n, char *out)
{
	static const char digit[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digit[bytes[i] >> 4];
		out[2 * i + 1] = digit[bytes[i] & 15];
	}
	out[2 * n] = '\0';
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly n bytes; small letters only. */
static bool
bytes_of(const char *hex, uint8_t *out, size_t n)
{
	if (strlen(hex) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static void
text_of_time(int64_t time_s, char out[UNTIL_LEN + 1])
{
	time_t t = (time_t)time_s;
	struct tm tm;
	size_t n;

	assert(time_s >= 0 && time_s <= TIME_S_MAX && gmtime_r(&t, &tm));
	n = strftime(out, UNTIL_LEN + 1, "%Y-%m-%dT%H:%M:%SZ", &tm);
	assert(n == UNTIL_LEN);
}

/* Digits at `at`, or 10000, which no date has. */
static int
number_at(const char *at, unsigned digits)
{
	int v = 0;

	while (digits--) {
		if (*at < '0' || *at > '9')
			return 10000;
		v = 10 * v + (*at++ - '0');
	}
	return v;
}

/* Only what text_of_time() writes: the reading is loose, so it is written
 * again and compared. */
static bool
time_of_text(const char *text, int64_t *out)
{
	char again[UNTIL_LEN + 1];
	struct tm tm = { 0 };
	time_t t;

	if (strlen(text) != UNTIL_LEN)
		return false;
	tm.tm_year = number_at(text, 4) - 1900;
	tm.tm_mon = number_at(text + 5, 2) - 1;
	tm.tm_mday = number_at(text + 8, 2);
	tm.tm_hour = number_at(text + 11, 2);
	tm.tm_min = number_at(text + 14, 2);
	tm.tm_sec = number_at(text + 17, 2);
	t = timegm(&tm);
	if (t < 0 || t > TIME_S_MAX)
		return false;
	text_of_time(t, again);
	if (strcmp(again, text) != 0)
		return false;
	*out = t;
	return true;
}

/* A name or an address, and a port. */
static bool
contact_check(const char *contact)
{
	const char *colon = strrchr(contact, ':');
	unsigned long port = 0;

	if (!colon || colon == contact || strlen(contact) > CONTACT_MAX)
		return false;
	for (const char *c = contact; c < colon; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') &&
		    !(*c >= '0' && *c <= '9') && !strchr("-.:[]", *c))
			return false;
	for (const char *c = colon + 1; *c; c++) {
		if (*c < '0' || *c > '9' || c > colon + 5)
			return false;
		port = 10 * port + (unsigned long)(*c - '0');
	}
	return port > 0 && port <= UINT16_MAX && colon[1] != '0';
}

/* ---- writing ------------------------------------------------------------ */

static void
put_line(struct wr *w, const char *name, const char *value)
{
	wr_bytes(w, name, strlen(name));
	wr_bytes(w, value, strlen(value));
	wr_bytes(w, "\n", 1);
}

static void
put_hex(struct wr *w, const char *name, const uint8_t *bytes, size_t n)
{
	char hex[2 * SIGN_PUBLIC_BYTES + 1];

	assert(2 * n < sizeof(hex));
	hex_of(bytes, n, hex);
	put_line(w, name, hex);
}

/* The lines that are signed. */
static void
put_body(struct wr *w, const struct invitation *inv)
{
	char until[UNTIL_LEN + 1];

	put_line(w, "ring: ", inv->ring.name);
	put_hex(w, "authority: ", inv->ring.authority, SIGN_PUBLIC_BYTES);
	if (inv->address[0])
		put_line(w, "address: ", inv->address);
	put_hex(w, "token: ", inv->token, INVITE_TOKEN_BYTES);
	text_of_time(inv->until_s, until);
	put_line(w, "until: ", until);
	for (unsigned i = 0; i < inv->contacts; i++)
		put_line(w, "contact: ", inv->contact[i]);
}

/* The body behind its label: what is signed. */
struct signed_text {
	uint8_t bytes[sizeof(INVITATION_LABEL) + INVITE_TEXT_MAX];
	size_t len;
};

static void
signed_text(const struct invitation *inv, struct signed_text *out)
{
	struct wr w;

	wr_init(&w, out->bytes, sizeof(out->bytes));
	wr_bytes(&w, INVITATION_LABEL, sizeof(INVITATION_LABEL));
	put_body(&w, inv);
	assert(!w.bad); /* the longest of every line fits many times */
	out->len = wr_len(&w);
}

void
invitation_sign(const struct invitation *inv, const struct sign_key *authority,
    char out[INVITE_TEXT_MAX])
{
	uint8_t signature[SIGNATURE_BYTES];
	struct signed_text text;
	struct wr w;

	assert(same_bytes(
	    inv->ring.authority, authority->public, SIGN_PUBLIC_BYTES));
	assert(domain_check(inv->ring.name));
	assert(!inv->address[0] || address_check(inv->address));
	assert(inv->contacts <= INVITE_CONTACTS_MAX);
	for (unsigned i = 0; i < inv->contacts; i++)
		assert(contact_check(inv->contact[i]));
	signed_text(inv, &text);
	sign_bytes(authority, text.bytes, text.len, signature);
	wr_init(&w, out, INVITE_TEXT_MAX);
	put_line(&w, BEGIN_LINE, "");
	put_body(&w, inv);
	put_hex(&w, "signature: ", signature, HALF_SIGNATURE);
	put_hex(&w, "signature: ", signature + HALF_SIGNATURE, HALF_SIGNATURE);
	put_line(&w, END_LINE, "");
	wr_be(&w, 0, 1); /* NUL */
	assert(!w.bad);
}

/* ---- reading ------------------------------------------------------------ */

struct lines {
	const char *next, *end;
	const char *at; /* the line, without its end; NULL: there is none */
	size_t len;
	unsigned number;
};

static bool
is_blank(const char *at, size_t len)
{
	while (len && (*at == ' ' || *at == '\t')) {
		at++;
		len--;
	}
	return len == 0;
}

/* To the next line that is not blank. */
static void
advance(struct lines *l)
{
	do {
		const char *lf;

		if (l->next == l->end) {
			l->at = NULL;
			l->number = 0;
			return;
		}
		lf = memchr(l->next, '\n', (size_t)(l->end - l->next));
		l->at = l->next;
		l->len = (size_t)((lf ? lf : l->end) - l->at);
		l->next = lf ? lf + 1 : l->end;
		l->number++;
		if (l->len && l->at[l->len - 1] == '\r')
			l->len--;
	} while (is_blank(l->at, l->len));
}

static bool
is_line(const struct lines *l, const char *text)
{
	size_t len = strlen(text);

	return l->at && l->len == len && memcmp(l->at, text, len) == 0;
}

static bool
is_named(const struct lines *l, const char *name)
{
	size_t len = strlen(name);

	return l->at && l->len >= len && memcmp(l->at, name, len) == 0;
}

#define VALUE_MAX 255

/* The value of a line with this name, NUL-terminated. */
static bool
value_of(const struct lines *l, const char *name, char out[VALUE_MAX + 1])
{
	size_t skip = strlen(name), len;

	if (!is_named(l, name) || l->len - skip > VALUE_MAX)
		return false;
	len = l->len - skip;
	memcpy(out, l->at + skip, len);
	out[len] = '\0';
	return strlen(out) == len;
}

static bool
take_text(struct lines *l, const char *name, bool (*check)(const char *),
    char *out, size_t cap)
{
	char value[VALUE_MAX + 1];

	if (!value_of(l, name, value) || strlen(value) >= cap || !check(value))
		return false;
	memcpy(out, value, strlen(value) + 1);
	advance(l);
	return true;
}

static bool
take_hex(struct lines *l, const char *name, uint8_t *out, size_t n)
{
	char value[VALUE_MAX + 1];

	if (!value_of(l, name, value) || !bytes_of(value, out, n))
		return false;
	advance(l);
	return true;
}

static bool
take_until(struct lines *l, int64_t *out, unsigned *number)
{
	char value[VALUE_MAX + 1];

	if (!value_of(l, "until: ", value) || !time_of_text(value, out))
		return false;
	*number = l->number;
	advance(l);
	return true;
}

static bool
take_contacts(struct lines *l, struct invitation *inv)
{
	while (is_named(l, "contact: ")) {
		if (inv->contacts == INVITE_CONTACTS_MAX ||
		    !take_text(l, "contact: ", contact_check,
			inv->contact[inv->contacts], CONTACT_MAX + 1))
			return false;
		inv->contacts++;
	}
	return true;
}

enum err
invitation_open(const char *text, size_t len, int64_t now_s,
    struct invitation *out, unsigned *line)
{
	uint8_t signature[SIGNATURE_BYTES], authority[SIGN_PUBLIC_BYTES];
	struct lines l = { .next = text, .end = text + len };
	char name[RING_NAME_MAX + 1];
	struct signed_text body;
	struct invitation inv;
	unsigned until_line;

	memset(&inv, 0, sizeof(inv));
	do
		advance(&l);
	while (l.at && !is_line(&l, BEGIN_LINE));
	if (l.at)
		advance(&l);
	if (!take_text(&l, "ring: ", domain_check, name, sizeof(name)) ||
	    !take_hex(&l, "authority: ", authority, sizeof(authority)) ||
	    (is_named(&l, "address: ") &&
		!take_text(&l, "address: ", address_check, inv.address,
		    sizeof(inv.address))) ||
	    !take_hex(&l, "token: ", inv.token, sizeof(inv.token)) ||
	    !take_until(&l, &inv.until_s, &until_line) ||
	    !take_contacts(&l, &inv) ||
	    !take_hex(&l, "signature: ", signature, HALF_SIGNATURE) ||
	    !take_hex(&l, "signature: ", signature + HALF_SIGNATURE,
		HALF_SIGNATURE) ||
	    !is_line(&l, END_LINE)) {
		*line = l.number;
		return ERR_MALFORMED;
	}
	ring_init(&inv.ring, authority, name);
	signed_text(&inv, &body);
	*line = 0; /* a signature is of all lines */
	if (sign_verify(authority, body.bytes, body.len, signature))
		return ERR_BADSIG;
	if (now_s >= inv.until_s + CLOCK_SLACK_S) {
		*line = until_line;
		return ERR_DENIED;
	}
	*out = inv;
	return OK;
}
