#include "tools/post_date.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define YEAR_MIN 1900
#define YEAR_MAX 9999

/* Words of letters, numbers, and single other characters; blanks, line ends
 * and comments in parentheses lie between. */
struct words {
	const char *p, *end;
};

struct word {
	const char *text;
	size_t len;
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
next(struct words *w, struct word *out)
{
	unsigned depth = 0;

	while (w->p < w->end) {
		char c = *w->p;

		if (c == '(')
			depth++;
		else if (c == ')' && depth)
			depth--;
		else if (!depth && c != ' ' && c != '\t' && c != '\r' &&
			 c != '\n')
			break;
		w->p++;
	}
	if (w->p == w->end)
		return false;
	out->text = w->p;
	if (is_digit(*w->p))
		while (w->p < w->end && is_digit(*w->p))
			w->p++;
	else if (is_letter(*w->p))
		while (w->p < w->end && is_letter(*w->p))
			w->p++;
	else
		w->p++;
	out->len = (size_t)(w->p - out->text);
	return true;
}

static bool
same_letters(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((a[i] | 0x20) != (b[i] | 0x20))
			return false;
	return true;
}

/* Place of a three-letter word in a list of such, or -1. */
static int
among(const struct word *w, const char *list)
{
	size_t n = strlen(list) / 3;

	for (size_t i = 0; i < n && w->len >= 3; i++)
		if (same_letters(w->text, list + 3 * i, 3) &&
		    is_letter(*w->text))
			return (int)i;
	return -1;
}

static int
month_of(const struct word *w)
{
	return among(w, "janfebmaraprmayjunjulaugsepoctnovdec");
}

static int
weekday_of(const struct word *w)
{
	return among(w, "sunmontuewedthufrisat");
}

/* Digits of at most `most`, to *out. */
static bool
number(const struct word *w, size_t most, int *out)
{
	int n = 0;

	if (w->len == 0 || w->len > most || !is_digit(*w->text))
		return false;
	for (size_t i = 0; i < w->len; i++)
		n = n * 10 + (w->text[i] - '0');
	*out = n;
	return true;
}

static bool
is_char(const struct word *w, char c)
{
	return w->len == 1 && *w->text == c;
}

/* RFC 5322, 4.3: 00-49 are 2000-2049, 50-999 count from 1900. */
static bool
year_of(const struct word *w, int *out)
{
	if (!number(w, 4, out) || w->len < 2)
		return false;
	if (w->len == 2)
		*out += *out < 50 ? 2000 : 1900;
	else if (w->len == 3)
		*out += 1900;
	return *out >= YEAR_MIN && *out <= YEAR_MAX;
}

/* H:MM[:SS], whose first word is in hand; *after is the word behind it. */
static bool
clock_of(struct words *w, const struct word *first, int *seconds,
    struct word *after, bool *more)
{
	int h, m, s = 0;
	struct word x;

	if (!number(first, 2, &h) || !next(w, &x) || !is_char(&x, ':') ||
	    !next(w, &x) || !number(&x, 2, &m))
		return false;
	*more = next(w, after);
	if (*more && is_char(after, ':')) {
		if (!next(w, &x) || !number(&x, 2, &s))
			return false;
		*more = next(w, after);
	}
	if (h > 23 || m > 59 || s > 60)
		return false;
	*seconds = h * 3600 + m * 60 + s;
	return true;
}

/* +hhmm, -hhmm or a name; true if it was a zone, in seconds east. */
static bool
zone_of(struct words *w, const struct word *first, int *east)
{
	static const char names[] = "utc"
				    "gmt"
				    "est"
				    "edt"
				    "cst"
				    "cdt"
				    "mst"
				    "mdt"
				    "pst"
				    "pdt"
				    "cet"
				    "bst";
	static const int hours[] = { 0, 0, -5, -4, -6, -5, -7, -6, -8, -7, 1,
		1 };
	struct words back = *w;
	struct word x;
	int n, at;

	*east = 0;
	if (is_char(first, '+') || is_char(first, '-')) {
		if (next(w, &x) && x.text == first->text + 1 && x.len == 4 &&
		    number(&x, 4, &n) && n % 100 < 60 && n < 2400) {
			*east = (n / 100 * 60 + n % 100) * 60;
			if (*first->text == '-')
				*east = -*east;
			return true;
		}
		*w = back;
		return false;
	}
	if (!is_letter(*first->text))
		return false;
	at = first->len <= 4 ? among(first, names) : -1;
	if (at >= 0 && first->len == 4 && (first->text[3] | 0x20) != 't')
		at = -1; /* CEST is one of those that are not listed */
	if (first->len == 4 && same_letters(first->text, "cest", 4))
		*east = 2 * 3600;
	else if (at >= 0)
		*east = hours[at] * 3600;
	return true; /* an unknown name: "-0000" (RFC 5322, 4.3) */
}

static bool
compose(int year, int month, int day, int clock, int east, int64_t *out)
{
	static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243,
		273, 304, 334 };
	static const int length[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31,
		30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	int64_t y = year - 1, days;

	if (day < 1 || day > length[month] + (month == 1 && leap))
		return false;
	days = y * 365 + y / 4 - y / 100 + y / 400 - 719162 /* to 1970 */ +
	       before[month] + (month > 1 && leap) + day - 1;
	*out = days * 86400 + clock - east;
	return true;
}

bool
date_header(const char *text, size_t len, int64_t *seconds)
{
	struct words w = { text, text + len };
	struct word x;
	int day, month, year, clock, east = 0;
	bool more;

	if (!next(&w, &x))
		return false;
	if (weekday_of(&x) >= 0) {
		if (!next(&w, &x))
			return false;
		if (is_char(&x, ',') && !next(&w, &x))
			return false;
	}
	if (!number(&x, 2, &day) || !next(&w, &x))
		return false;
	if (is_char(&x, '-') && !next(&w, &x)) /* 1-Jan-1970 is seen too */
		return false;
	if ((month = month_of(&x)) < 0 || !next(&w, &x))
		return false;
	if (is_char(&x, '-') && !next(&w, &x))
		return false;
	if (!year_of(&x, &year) || !next(&w, &x) ||
	    !clock_of(&w, &x, &clock, &x, &more))
		return false;
	if (more && !zone_of(&w, &x, &east))
		east = 0;
	return compose(year, month, day, clock, east, seconds);
}

/* "Www Mmm dd hh:mm[:ss] [zone] yyyy [zone]", the first word in hand. */
static bool
asctime_at(struct words w, int64_t *seconds)
{
	struct word x;
	int day, month, year, clock, east = 0, late;
	bool more;

	if (!next(&w, &x) || (month = month_of(&x)) < 0 || !next(&w, &x) ||
	    !number(&x, 2, &day) || !next(&w, &x) ||
	    !clock_of(&w, &x, &clock, &x, &more) || !more)
		return false;
	/* Before the year there may be a zone, or two ("MET DST"). */
	for (int i = 0; i < 2 && !is_digit(*x.text); i++)
		if (!zone_of(&w, &x, &late) || !next(&w, &x))
			return false;
		else if (late)
			east = late;
	if (x.len < 2 || !year_of(&x, &year))
		return false;
	if (next(&w, &x) && zone_of(&w, &x, &late) && late)
		east = late;
	return compose(year, month, day, clock, east, seconds);
}

bool
date_from_line(const char *text, size_t len, int64_t *seconds)
{
	struct words w = { text, text + len };
	struct word x;

	while (next(&w, &x))
		if (x.len == 3 && weekday_of(&x) >= 0 && asctime_at(w, seconds))
			return true;
	return false;
}

void
date_asctime(int64_t seconds, char out[32])
{
	/* Not strftime(): these names are English whatever the locale. */
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static const struct tm epoch = {
		.tm_year = 70, .tm_mday = 1, .tm_wday = 4
	};
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 > YEAR_MAX ||
	    tm.tm_year + 1900 < YEAR_MIN)
		tm = epoch;
	snprintf(out, 32, "%.3s %.3s %2d %02d:%02d:%02d %04d",
	    &days[3 * tm.tm_wday], &months[3 * tm.tm_mon], tm.tm_mday,
	    tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
}
