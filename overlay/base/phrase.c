/* The recovery phrase: a root as proquints (Wilkerson, arXiv:0901.4016).
 *
 * A word is 16 bits, from the top: consonant (4), vowel (2), consonant (4),
 * vowel (2), consonant (4).  Eight words are the root, each pair of bytes
 * big-endian; the ninth is the first two bytes of
 * key_derive(root, "post phrase check", 0), so that a slip of the pen is
 * noticed but once in 65,536.  Words without meaning, since they can be
 * written down and spelled aloud in any language that has these letters. */
#include "overlay/base/keys.h"

#include <string.h>

#define ROOT_WORDS (ROOT_BYTES / 2)
#define WORDS (ROOT_WORDS + 1)
#define LETTERS 5 /* of a word */

_Static_assert(WORDS *(LETTERS + 1) <= PHRASE_MAX, "its NUL fits");

static const char consonant[] = "bdfghjklmnprstvz", vowel[] = "aiou";

static uint16_t
check_of(const uint8_t root[ROOT_BYTES])
{
	struct key from = { { 0 } }, check;
	uint16_t word;

	memcpy(from.b, root, ROOT_BYTES);
	key_derive(&from, "post phrase check", 0, &check);
	word = (uint16_t)(check.b[0] << 8 | check.b[1]);
	wipe(&from, sizeof(from));
	wipe(&check, sizeof(check));
	return word;
}

void
phrase_encode(const uint8_t root[ROOT_BYTES], char out[PHRASE_MAX])
{
	for (unsigned i = 0; i < WORDS; i++) {
		uint16_t v =
		    i < ROOT_WORDS
			? (uint16_t)(root[2 * i] << 8 | root[2 * i + 1])
			: check_of(root);

		*out++ = consonant[v >> 12];
		*out++ = vowel[v >> 10 & 3];
		*out++ = consonant[v >> 6 & 15];
		*out++ = vowel[v >> 4 & 3];
		*out++ = consonant[v & 15];
		*out++ = i + 1 < WORDS ? '-' : '\0';
	}
}

static bool
is_separator(char c)
{
	return c == '-' || c == ' ' || (c >= '\t' && c <= '\r');
}

/* The letter's number in the set, or -1. */
static int
number_of(char c, const char *set)
{
	const char *at;

	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	at = c ? strchr(set, c) : NULL;
	return at ? (int)(at - set) : -1;
}

enum err
phrase_decode(const char *phrase, uint8_t root[ROOT_BYTES])
{
	uint16_t word[WORDS] = { 0 };
	uint8_t got[ROOT_BYTES];
	unsigned n = 0;
	enum err e = ERR_MALFORMED;

	for (; *phrase; phrase++) {
		bool is_vowel = n % LETTERS % 2 == 1;
		int v;

		if (is_separator(*phrase))
			continue;
		v = number_of(*phrase, is_vowel ? vowel : consonant);
		if (v < 0 || n == WORDS * LETTERS)
			goto out;
		word[n / LETTERS] =
		    (uint16_t)(word[n / LETTERS] << (is_vowel ? 2 : 4) | v);
		n++;
	}
	if (n != WORDS * LETTERS)
		goto out;
	for (unsigned i = 0; i < ROOT_WORDS; i++) {
		got[2 * i] = (uint8_t)(word[i] >> 8);
		got[2 * i + 1] = (uint8_t)word[i];
	}
	if (check_of(got) == word[ROOT_WORDS]) {
		memcpy(root, got, ROOT_BYTES);
		e = OK;
	}
out:
	wipe(word, sizeof(word));
	wipe(got, sizeof(got));
	return e;
}
