#include "fs/when.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back: the
 * year begins in March, so that the leap day comes last. */
static int64_t
days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = y / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 +
	       of_year - 719468;
}

static void
date_of(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
	int64_t z = days + 719468, era = z / 146097, of_era = z - era * 146097;
	int64_t y =
	    (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;

	*day = of_year - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 3 : m - 9;
	*year = y + era * 400 + (*month <= 2);
}

void
when_format(int64_t ns, unsigned digits, char out[WHEN_MAX])
{
	int64_t day, month, year, seconds, fraction;
	char text[64];
	size_t len;

	assert(digits <= 9);
	if (ns < 0)
		ns = 0; /* no clock of ours shows it */
	date_of(ns / WHEN_DAY, &year, &month, &day);
	seconds = ns % WHEN_DAY / WHEN_SECOND;
	fraction = ns % WHEN_SECOND;
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%09d",
	    (int)year, (int)month, (int)day, (int)(seconds / 3600),
	    (int)(seconds / 60 % 60), (int)(seconds % 60), (int)fraction);
	len = digits ? 20 + digits : 19;
	memcpy(out, text, len);
	memcpy(out + len, "Z", 2);
}

/* Exactly n digits at *p, which moves on; -1 if they are not there. */
static int64_t
digits_at(const char **p, unsigned n)
{
	int64_t v = 0;

	for (unsigned i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = v * 10 + (**p - '0');
	}
	return v;
}

static bool
byte_at(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static int64_t
month_days(int64_t year, int64_t month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31,
		30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

bool
when_parse(const char *text, int64_t *ns, int64_t *length_ns)
{
	int64_t year, month, day, hour = 0, minute = 0, second = 0;
	int64_t fraction = 0, unit = WHEN_SECOND;
	const char *p = text;

	if ((year = digits_at(&p, 4)) < 1970 || year > 2261 ||
	    !byte_at(&p, '-') || (month = digits_at(&p, 2)) < 1 || month > 12 ||
	    !byte_at(&p, '-') || (day = digits_at(&p, 2)) < 1 ||
	    day > month_days(year, month))
		return false;
	if (*p) {
		if (!byte_at(&p, 'T') || (hour = digits_at(&p, 2)) < 0 ||
		    hour > 23 || !byte_at(&p, ':') ||
		    (minute = digits_at(&p, 2)) < 0 || minute > 59 ||
		    !byte_at(&p, ':') || (second = digits_at(&p, 2)) < 0 ||
		    second > 59)
			return false;
		if (byte_at(&p, '.')) {
			do {
				int64_t digit = digits_at(&p, 1);

				if (digit < 0 || unit == 1)
					return false;
				unit /= 10;
				fraction += digit * unit;
			} while (*p >= '0' && *p <= '9');
		}
		if (!byte_at(&p, 'Z') || *p)
			return false;
	}
	*ns = days_of(year, month, day) * WHEN_DAY +
	      (hour * 3600 + minute * 60 + second) * WHEN_SECOND + fraction;
	*length_ns = unit;
	return true;
}
