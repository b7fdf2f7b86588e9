#include "tools/post_opt.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool
is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

static const struct opt *
find_name(const struct opt *opts, const char *name, size_t len)
{
	for (const struct opt *o = opts; o->into; o++)
		if (o->name && strlen(o->name) == len &&
		    memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

static const struct opt *
find_letter(const struct opt *opts, char letter)
{
	for (const struct opt *o = opts; o->into; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static bool
join(char **into, const char *value)
{
	size_t had = *into ? strlen(*into) : 0, more = strlen(value);
	char *all = realloc(*into, had + more + 2);

	if (!all)
		return false;
	if (had)
		all[had++] = ',';
	memcpy(all + had, value, more + 1);
	*into = all;
	return true;
}

static bool
store_value(const struct opt *o, const char *spelt, const char *value,
    char *why, size_t why_cap)
{
	unsigned long long n;
	char *end;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)o->into = true;
		return true;
	case OPT_TEXT:
		*(const char **)o->into = value;
		return true;
	case OPT_JOIN:
		if (join(o->into, value))
			return true;
		snprintf(why, why_cap, "%s: out of memory", spelt);
		return false;
	case OPT_NUMBER:
		errno = 0;
		n = strtoull(value, &end, 10);
		if (errno || end == value || *end || value[0] < '0' ||
		    value[0] > '9') {
			snprintf(why, why_cap, "%s: '%s' is no number", spelt,
			    value);
			return false;
		}
		*(uint64_t *)o->into = n;
		return true;
	}
	return false;
}

/* --name, --name=VALUE, or --name and the next word. */
static bool
take_long(const struct opt *opts, int argc, char **argv, int *i, char *why,
    size_t why_cap)
{
	const char *word = argv[*i], *name = word + 2;
	const char *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const struct opt *o = find_name(opts, name, len);
	const char *value = eq ? eq + 1 : NULL;
	char spelt[64];

	snprintf(spelt, sizeof(spelt), "%.*s", (int)(len + 2), word);
	if (!o) {
		snprintf(why, why_cap, "%s: no such option", spelt);
		return false;
	}
	if (o->kind == OPT_FLAG && value) {
		snprintf(why, why_cap, "%s: takes no value", spelt);
		return false;
	}
	if (o->kind != OPT_FLAG && !value) {
		if (*i + 1 >= argc) {
			snprintf(
			    why, why_cap, "%s: %s is missing", spelt, o->arg);
			return false;
		}
		value = argv[++*i];
	}
	return store_value(o, spelt, value, why, why_cap);
}

/* -x, -xyz, -xVALUE, or -x and the next word. */
static bool
take_letters(const struct opt *opts, int argc, char **argv, int *i, char *why,
    size_t why_cap)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct opt *o = find_letter(opts, *p);
		char spelt[] = { '-', *p, '\0' };
		const char *value = NULL;

		if (!o) {
			snprintf(why, why_cap, "%s: no such option", spelt);
			return false;
		}
		if (o->kind != OPT_FLAG) {
			if (p[1]) {
				value = p + 1;
			} else if (*i + 1 < argc) {
				value = argv[++*i];
			} else {
				snprintf(why, why_cap, "%s: %s is missing",
				    spelt, o->arg);
				return false;
			}
		}
		if (!store_value(o, spelt, value, why, why_cap))
			return false;
		if (value)
			break;
	}
	return true;
}

bool
opt_parse(const struct opt *opts, bool stop, int *argc, char **argv, char *why,
    size_t why_cap)
{
	int left = 0, i;

	for (i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (!is_option(argv[i])) {
			if (stop)
				break;
			argv[left++] = argv[i];
			continue;
		}
		if (argv[i][1] == '-'
			? !take_long(opts, *argc, argv, &i, why, why_cap)
			: !take_letters(opts, *argc, argv, &i, why, why_cap))
			return false;
	}
	for (; i < *argc; i++)
		argv[left++] = argv[i];
	*argc = left;
	return true;
}

void
opt_help(const struct opt *opts, FILE *out)
{
	for (const struct opt *o = opts; o->into; o++) {
		char spelt[80];
		int n = 0;

		if (!o->help)
			continue;
		if (o->letter && o->name)
			n = snprintf(spelt, sizeof(spelt), "-%c, --%s",
			    o->letter, o->name);
		else if (o->letter)
			n = snprintf(spelt, sizeof(spelt), "-%c", o->letter);
		else
			n = snprintf(spelt, sizeof(spelt), "--%s", o->name);
		if (o->arg && n > 0 && (size_t)n < sizeof(spelt))
			snprintf(spelt + n, sizeof(spelt) - (size_t)n, " %s",
			    o->arg);
		fprintf(out, "  %-26s %s\n", spelt, o->help);
	}
}
