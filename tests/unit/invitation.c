/* Invitations: text that comes by mail, by chat or on paper. */
#include "tests/unit/cert_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)

static struct sign_key authority;
static struct ring ring;

static int
ready(void **state)
{
	(void)state;
	if (crypto_init())
		return -1;
	an_authority(1, &authority, &ring);
	return 0;
}

static void
set(char *to, size_t cap, const char *text)
{
	assert_true(strlen(text) < cap);
	memset(to, 0, cap);
	memcpy(to, text, strlen(text));
}

static void
an_invitation(struct invitation *inv)
{
	memset(inv, 0, sizeof(*inv));
	inv->ring = ring;
	set(inv->address, sizeof(inv->address), "alice@rice.example");
	memset(inv->token, 0x5a, sizeof(inv->token));
	inv->until_s = T0_S + 86400;
	inv->contacts = 1;
	set(inv->contact[0], sizeof(inv->contact[0]), "192.0.2.1:7400");
}

static enum err
open_len(const char *text, size_t len, int64_t now_s, struct invitation *out,
    unsigned *line)
{
	char *copy = exact_copy(text, len);
	struct invitation before;
	enum err e;

	memset(out, 0xa5, sizeof(*out));
	before = *out;
	*line = UINT32_MAX;
	e = invitation_open(copy, len, now_s, out, line);
	if (e)
		assert_memory_equal(out, &before, sizeof(before));
	assert_true(*line != UINT32_MAX);
	free(copy);
	return e;
}

static enum err
open_text(const char *text)
{
	struct invitation got;
	unsigned line;

	return open_len(text, strlen(text), T0_S, &got, &line);
}

/* The text with its first `from` replaced by `to`. */
static char *
replaced(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	size_t cap = strlen(text) + strlen(to) + 1;
	char *out = malloc(cap);

	assert_non_null(out);
	assert_non_null(at);
	snprintf(out, cap, "%.*s%s%s", (int)(at - text), text, to,
	    at + strlen(from));
	return out;
}

/* Every occurrence of one byte. */
static char *
with_each(const char *text, char from, const char *to)
{
	size_t cap = strlen(text) * (strlen(to) + 1) + 1, n = 0;
	char *out = malloc(cap);

	assert_non_null(out);
	for (; *text; text++) {
		if (*text == from) {
			memcpy(out + n, to, strlen(to));
			n += strlen(to);
		} else {
			out[n++] = *text;
		}
	}
	out[n] = '\0';
	return out;
}

static void
an_invitation_comes_back_as_it_was(void **state)
{
	char text[INVITE_TEXT_MAX];
	struct invitation inv, got;
	unsigned line;

	(void)state;
	for (unsigned i = 0; i <= INVITE_CONTACTS_MAX; i++) {
		an_invitation(&inv);
		inv.contacts = i;
		for (unsigned c = 0; c < INVITE_CONTACTS_MAX; c++)
			set(inv.contact[c], sizeof(inv.contact[c]),
			    c >= i  ? ""
			    : c % 2 ? "[2001:db8::1]:65535"
				    : "node-1.rice.example:1");
		if (i % 2)
			set(inv.address, sizeof(inv.address), "");
		inv.until_s = i == 0 ? TIME_S_MAX : T0_S + i;
		invitation_sign(&inv, &authority, text);
		must(open_len(text, strlen(text), T0_S, &got, &line));
		assert_memory_equal(&got, &inv, sizeof(inv));
		assert_int_equal(line, 0);
	}
}

static void
the_longest_invitation_fits(void **state)
{
	char text[INVITE_TEXT_MAX], name[RING_NAME_MAX + 1];
	struct invitation inv, got;
	unsigned line;

	(void)state;
	memset(name, 'a', RING_NAME_MAX);
	name[RING_NAME_MAX] = '\0';
	for (size_t i = 63; i < RING_NAME_MAX; i += 64)
		name[i] = '.';
	an_invitation(&inv);
	ring_init(&inv.ring, authority.public, name);
	/* 64 for the local part and '@': the domain is cut at a label. */
	memset(inv.address, 'b', 60);
	inv.address[60] = '@';
	memcpy(inv.address + 61, name, 191);
	inv.contacts = INVITE_CONTACTS_MAX;
	for (unsigned c = 0; c < INVITE_CONTACTS_MAX; c++)
		set(inv.contact[c], sizeof(inv.contact[c]),
		    "a-host-name-of-which-one-would-not-think-it-so-long.exam:"
		    "65535");
	invitation_sign(&inv, &authority, text);
	must(open_len(text, strlen(text), T0_S, &got, &line));
	assert_memory_equal(&got, &inv, sizeof(inv));
}

/* Made once and kept: an invitation may lie in a mailbox for months. */
static const char kept[] =
    "-----BEGIN POST INVITATION-----\n"
    "ring: rice.example\n"
    "authority: "
    "6472a0fec14893c230a70b680d3f6943492c4596bcfe207ed85624aed9257c2c\n"
    "address: alice@rice.example\n"
    "token: 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n"
    "until: 2026-09-22T14:13:20Z\n"
    "contact: 192.0.2.1:7400\n"
    "signature: "
    "c1dc896fbcd1f917b67fd55a9df9d7f952bc26b152ea2af5157e1bd7ca6b10d7\n"
    "signature: "
    "67a9be1bda81ddf955460ca6d518dbd4248d49761b915faa41cdfd7e4badb706\n"
    "-----END POST INVITATION-----\n";

static void
the_text_of_an_invitation_is_kept(void **state)
{
	char text[INVITE_TEXT_MAX];
	struct invitation inv;

	(void)state;
	an_invitation(&inv);
	invitation_sign(&inv, &authority, text);
	assert_string_equal(text, kept);
	must(open_text(kept));
}

static void
what_mail_does_to_it_does_not_matter(void **state)
{
	char *crlf = with_each(kept, '\n', "\r\n");
	char *blank = with_each(kept, '\n', "\n\n \t\n\r\n");
	size_t cap = 3 * sizeof(kept);
	char *around = malloc(cap);

	(void)state;
	assert_non_null(around);
	must(open_text(crlf));
	must(open_text(blank));
	snprintf(around, cap, "Dear Alice,\n\nring: other.example\n%s\n-- \n%s",
	    kept, "-----END POST INVITATION-----\nring: x\n");
	must(open_text(around));
	free(crlf);
	free(blank);
	free(around);
}

static void
every_prefix_is_malformed(void **state)
{
	size_t whole = sizeof(kept) - 2; /* without the last LF */
	struct invitation got;
	unsigned line;

	(void)state;
	for (size_t n = 0; n < whole; n++)
		assert_int_equal(
		    open_len(kept, n, T0_S, &got, &line), ERR_MALFORMED);
	must(open_len(kept, whole, T0_S, &got, &line));
	must(open_len(kept, whole + 1, T0_S, &got, &line));
}

static void
every_flipped_bit_is_noticed(void **state)
{
	char text[sizeof(kept)];
	struct invitation got;
	unsigned line;

	(void)state;
	memcpy(text, kept, sizeof(kept));
	for (size_t bit = 0; bit < 8 * (sizeof(kept) - 1); bit++) {
		enum err e;

		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		e = open_len(text, sizeof(kept) - 1, T0_S, &got, &line);
		assert_true(e == ERR_MALFORMED || e == ERR_BADSIG);
		text[bit / 8] = kept[bit / 8];
	}
	must(open_text(text));
}

static void
a_fault_is_told_with_its_line(void **state)
{
	static const struct {
		const char *from, *to;
		enum err want;
		unsigned line;
	} faults[] = {
		{ "-----BEGIN", "----BEGIN", ERR_MALFORMED, 0 },
		{ "ring: ", "rung: ", ERR_MALFORMED, 2 },
		{ "rice.example", "Rice.example", ERR_MALFORMED, 2 },
		{ "rice.example", "", ERR_MALFORMED, 2 },
		{ "rice.example", "mice.example", ERR_BADSIG, 0 },
		{ "authority: ", "authority:  ", ERR_MALFORMED, 3 },
		{ "authority: ", "authority: 0", ERR_MALFORMED, 3 },
		{ "address: alice@", "address: alice", ERR_MALFORMED, 4 },
		{ "address: alice@", "address: bob@", ERR_BADSIG, 0 },
		{ "address: alice@rice.example\n", "", ERR_BADSIG, 0 },
		{ "address: alice@rice.example\n", "\n\naddress: \n",
		    ERR_MALFORMED, 6 },
		{ "token: 5a", "token: 5A", ERR_MALFORMED, 5 },
		{ "token: 5a", "token: 5b", ERR_BADSIG, 0 },
		{ "token: 5a", "token: ", ERR_MALFORMED, 5 },
		{ "token: ", "token: 5a", ERR_MALFORMED, 5 },
		{ "until: 2026-", "until: 2027-", ERR_BADSIG, 0 },
		{ "until: 2026-09", "until: 2026-13", ERR_MALFORMED, 6 },
		{ "until: 2026-09-2", "until: 2026-09-4", ERR_MALFORMED, 6 },
		{ "until: 2026", "until: 1969", ERR_MALFORMED, 6 },
		{ "until: 2026-", "until: 2026/", ERR_MALFORMED, 6 },
		{ "until: 2026", "until: +026", ERR_MALFORMED, 6 },
		{ "Z\ncontact", "z\ncontact", ERR_MALFORMED, 6 },
		{ "Z\ncontact", "Z \ncontact", ERR_MALFORMED, 6 },
		{ "until: 2026", "until:  2026", ERR_MALFORMED, 6 },
		{ "contact: 192", "contact: 193", ERR_BADSIG, 0 },
		{ ":7400", "", ERR_MALFORMED, 7 },
		{ ":7400", ":", ERR_MALFORMED, 7 },
		{ ":7400", ":0", ERR_MALFORMED, 7 },
		{ ":7400", ":07400", ERR_MALFORMED, 7 },
		{ ":7400", ":65536", ERR_MALFORMED, 7 },
		{ ":7400", ":007400", ERR_MALFORMED, 7 },
		{ ":7400", ":7400 ", ERR_MALFORMED, 7 },
		{ "192.0.2.1:", ":", ERR_MALFORMED, 7 },
		{ "192.0.2.1:", "192.0.2/1:", ERR_MALFORMED, 7 },
		{ "192.0.2.1:",
		    "192.0.2.1.a-host-name-that-is-so-long-that-no-"
		    "contact-can-be:",
		    ERR_MALFORMED, 7 },
		{ "contact: 192.0.2.1:7400\n",
		    "contact: a:1\ncontact: a:1\ncontact: a:1\ncontact: a:1\n"
		    "contact: a:1\ncontact: a:1\ncontact: a:1\ncontact: a:1\n"
		    "contact: a:1\n",
		    ERR_MALFORMED, 15 },
		{ "contact: 192.0.2.1:7400\n", "", ERR_BADSIG, 0 },
		{ "signature: ", "signed: ", ERR_MALFORMED, 8 },
		{ "-----END", "signature: \n-----END", ERR_MALFORMED, 10 },
		{ "-----END", "----END", ERR_MALFORMED, 10 },
		{ "-----END POST INVITATION-----\n", "", ERR_MALFORMED, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		char *text = replaced(kept, faults[i].from, faults[i].to);
		struct invitation got;
		unsigned line;
		enum err e = open_len(text, strlen(text), T0_S, &got, &line);

		if (e != faults[i].want || line != faults[i].line)
			print_error("'%s' to '%s': %s in line %u\n",
			    faults[i].from, faults[i].to, err_name(e), line);
		assert_int_equal(e, faults[i].want);
		assert_int_equal(line, faults[i].line);
		free(text);
	}
}

static void
a_nul_in_a_value_is_malformed(void **state)
{
	char text[sizeof(kept)];
	struct invitation got;
	unsigned line;

	(void)state;
	for (size_t i = 0; i < sizeof(kept) - 1; i++) {
		memcpy(text, kept, sizeof(kept));
		text[i] = '\0';
		assert_int_equal(
		    open_len(text, sizeof(kept) - 1, T0_S, &got, &line),
		    ERR_MALFORMED);
	}
}

static void
an_expired_invitation_says_so_and_where(void **state)
{
	int64_t until = T0_S + 86400;
	struct invitation got;
	size_t len = sizeof(kept) - 1;
	unsigned line;

	(void)state;
	must(open_len(kept, len, INT64_MIN, &got, &line));
	must(open_len(kept, len, until + CLOCK_SLACK_S - 1, &got, &line));
	assert_int_equal(
	    open_len(kept, len, until + CLOCK_SLACK_S, &got, &line),
	    ERR_DENIED);
	assert_int_equal(line, 6);
	assert_int_equal(
	    open_len(kept, len, INT64_MAX, &got, &line), ERR_DENIED);
}

static void
another_authority_can_not_sign_for_this_one(void **state)
{
	char text[INVITE_TEXT_MAX], *mixed;
	struct sign_key foreign;
	struct invitation inv;
	struct ring other;
	char ours[2 * SIGN_PUBLIC_BYTES + 1], theirs[sizeof(ours)];

	(void)state;
	an_authority(2, &foreign, &other);
	an_invitation(&inv);
	inv.ring = other;
	invitation_sign(&inv, &foreign, text);
	must(open_text(text));
	for (unsigned i = 0; i < SIGN_PUBLIC_BYTES; i++) {
		snprintf(ours + 2 * i, 3, "%02x", authority.public[i]);
		snprintf(theirs + 2 * i, 3, "%02x", foreign.public[i]);
	}
	mixed = replaced(text, theirs, ours);
	assert_int_equal(open_text(mixed), ERR_BADSIG);
	free(mixed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_invitation_comes_back_as_it_was),
		cmocka_unit_test(the_longest_invitation_fits),
		cmocka_unit_test(the_text_of_an_invitation_is_kept),
		cmocka_unit_test(what_mail_does_to_it_does_not_matter),
		cmocka_unit_test(every_prefix_is_malformed),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(a_fault_is_told_with_its_line),
		cmocka_unit_test(a_nul_in_a_value_is_malformed),
		cmocka_unit_test(an_expired_invitation_says_so_and_where),
		cmocka_unit_test(another_authority_can_not_sign_for_this_one),
	};

	return cmocka_run_group_tests(tests, ready, NULL);
}
