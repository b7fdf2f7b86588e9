/* What the user says: options, -o's text, folder names; and the words that
 * programs of ours say to each other. */
#include "tools/post_mountinfo.c"
#include "tools/post_mountopt.c"
#include "tools/post_opt.c"
#include "tools/post_words.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct said {
	bool flag, verbose;
	const char *text;
	char *joined;
	uint64_t number;
};

#define OPTIONS(s)                                                             \
	{                                                                      \
		{ .name = "flag",                                              \
			.letter = 'f',                                         \
			.kind = OPT_FLAG,                                      \
			.into = &(s)->flag },                                  \
		    { .letter = 'v',                                           \
			    .kind = OPT_FLAG,                                  \
			    .into = &(s)->verbose },                           \
		    { .name = "text",                                          \
			    .letter = 't',                                     \
			    .kind = OPT_TEXT,                                  \
			    .into = &(s)->text,                                \
			    .arg = "TEXT" },                                   \
		    { .letter = 'o',                                           \
			    .kind = OPT_JOIN,                                  \
			    .into = &(s)->joined,                              \
			    .arg = "LIST" },                                   \
		    { .name = "max",                                           \
			    .kind = OPT_NUMBER,                                \
			    .into = &(s)->number,                              \
			    .arg = "N" },                                      \
		{                                                              \
			0                                                      \
		}                                                              \
	}

static bool
parse(struct said *s, bool stop, int *argc, char **argv, char why[256])
{
	const struct opt opts[] = OPTIONS(s);

	memset(s, 0, sizeof(*s));
	return opt_parse(opts, stop, argc, argv, why, 256);
}

/* argv of words that may be written to. */
static int
words(char *text, char **argv)
{
	int n = 0;

	for (char *p; (p = strsep(&text, " "));)
		argv[n++] = p;
	return n;
}

static void
options_may_stand_before_and_after_the_arguments(void **state)
{
	char text[] = "a -f b --text=x c -t y -oA -o B --max 12 -- -d --e";
	char *argv[32], why[256];
	int argc = words(text, argv);
	struct said s;

	(void)state;
	assert_true(parse(&s, false, &argc, argv, why));
	assert_int_equal(argc, 5);
	assert_string_equal(argv[0], "a");
	assert_string_equal(argv[1], "b");
	assert_string_equal(argv[2], "c");
	assert_string_equal(argv[3], "-d");
	assert_string_equal(argv[4], "--e");
	assert_true(s.flag);
	assert_string_equal(s.text, "y");
	assert_string_equal(s.joined, "A,B");
	assert_int_equal(s.number, 12);
	free(s.joined);
}

static void
letters_may_share_a_dash(void **state)
{
	char text[] = "-fvtx -";
	char *argv[8], why[256];
	int argc = words(text, argv);
	struct said s;

	(void)state;
	assert_true(parse(&s, false, &argc, argv, why));
	assert_true(s.flag && s.verbose);
	assert_string_equal(s.text, "x");
	assert_int_equal(argc, 1); /* "-" alone is an argument */
}

static void
parsing_stops_at_the_verb_if_asked_to(void **state)
{
	char text[] = "-f status --text x";
	char *argv[8], why[256];
	int argc = words(text, argv);
	struct said s;

	(void)state;
	assert_true(parse(&s, true, &argc, argv, why));
	assert_int_equal(argc, 3);
	assert_string_equal(argv[0], "status");
	assert_string_equal(argv[1], "--text");
	assert_null(s.text);
}

static void
wrong_options_are_named(void **state)
{
	static const char *const wrong[][2] = {
		{ "--frob", "--frob: no such option" },
		{ "-x", "-x: no such option" },
		{ "-fx", "-x: no such option" },
		{ "--text", "--text: TEXT is missing" },
		{ "-t", "-t: TEXT is missing" },
		{ "--flag=1", "--flag: takes no value" },
		{ "--max=x", "--max: 'x' is no number" },
		{ "--max=-1", "--max: '-1' is no number" },
		{ "--max=99999999999999999999",
		    "--max: '99999999999999999999' is no number" },
		{ "--fla", "--fla: no such option" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char text[64], *argv[8], why[256] = "";
		struct said s;
		int argc;

		snprintf(text, sizeof(text), "%s", wrong[i][0]);
		argc = words(text, argv);
		assert_false(parse(&s, false, &argc, argv, why));
		assert_string_equal(why, wrong[i][1]);
	}
}

static void
mount_options_of_fstab_are_understood(void **state)
{
	struct mountopt m;
	char why[256];

	(void)state;
	assert_true(mountopt_parse("rw,allow_other,_netdev,nofail,x-systemd."
				   "automount,uid=1000,noatime,noexec,home=/a"
				   "\\,b,subtree=/alice@x/Maildir/",
	    &m, why, sizeof(why)));
	assert_true(m.allow_other);
	assert_false(m.read_only);
	assert_string_equal(m.home, "/a,b");
	assert_string_equal(m.subtree, "alice@x/Maildir");
	assert_string_equal(m.passed, "noatime,noexec");
	assert_true(mountopt_parse(NULL, &m, why, sizeof(why)));
	assert_true(mountopt_parse(",,ro,", &m, why, sizeof(why)));
	assert_true(m.read_only);
	assert_true(mountopt_parse("ro,rw", &m, why, sizeof(why)));
	assert_false(m.read_only);
}

static void
unknown_mount_options_are_refused_by_name(void **state)
{
	struct mountopt m;
	char why[256], *many;

	(void)state;
	assert_false(mountopt_parse("ro,frob=1", &m, why, sizeof(why)));
	assert_string_equal(why, "-o frob=1: no such option");
	assert_false(mountopt_parse("home=", &m, why, sizeof(why)));
	assert_string_equal(why, "-o home: a path is missing");
	many = calloc(1, 2 * PATH_MAX);
	assert_non_null(many);
	memset(many, 'a', 2 * PATH_MAX - 1);
	assert_false(mountopt_parse(many, &m, why, sizeof(why)));
	for (size_t i = 0; i + 8 < 2 * PATH_MAX; i += 8)
		memcpy(many + i, "noatime,", 8);
	many[512] = '\0';
	assert_false(mountopt_parse(many, &m, why, sizeof(why)));
	free(many);
}

static void
words_of_a_request_survive_encoding(void **state)
{
	static const char *const hard[] = { "plain", "two words", "100%",
		"new\nline", "\x01\x7f", "umlaut \xc3\xa4", "%20" };

	(void)state;
	for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++) {
		char line[128], word[64], *rest = line;

		assert_true(control_encode(hard[i], word, sizeof(word)));
		snprintf(line, sizeof(line), "verb  %s last", word);
		assert_null(strchr(word, '\n'));
		assert_string_equal(control_next(&rest), "verb");
		assert_string_equal(control_next(&rest), hard[i]);
		assert_string_equal(control_next(&rest), "last");
		assert_null(control_next(&rest));
	}
}

static void
malformed_words_end_a_request(void **state)
{
	static const char *const bad[] = { "%", "%2", "%zz", "a%0", "%00",
		"%2A" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[32], *rest = line;

		snprintf(line, sizeof(line), "%s x", bad[i]);
		assert_null(control_next(&rest));
		assert_null(control_next(&rest));
	}
	for (size_t cap = 0; cap < 6; cap++) {
		char out[6];

		assert_false(control_encode("a b c", out, cap));
	}
}

static void
mountinfo_lines_are_read_with_their_escapes(void **state)
{
	static const char line[] =
	    "36 35 98:0 /mnt1 /my\\040post rw,noatime master:1 - fuse.post "
	    "/home/a\\134b rw,errors=continue\n";
	struct mountinfo m;

	(void)state;
	assert_true(mountinfo_parse(line, strlen(line), &m));
	assert_string_equal(m.mountpoint, "/my post");
	assert_string_equal(m.type, "fuse.post");
	assert_string_equal(m.source, "/home/a\\b");
	assert_true(mountinfo_ours(&m));
	for (size_t n = 0; n < strlen(line); n++) {
		char *cut = malloc(n + !n);

		assert_non_null(cut);
		memcpy(cut, line, n);
		if (mountinfo_parse(cut, n, &m))
			assert_true(n > strcspn(line, "-"));
		free(cut);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    options_may_stand_before_and_after_the_arguments),
		cmocka_unit_test(letters_may_share_a_dash),
		cmocka_unit_test(parsing_stops_at_the_verb_if_asked_to),
		cmocka_unit_test(wrong_options_are_named),
		cmocka_unit_test(mount_options_of_fstab_are_understood),
		cmocka_unit_test(unknown_mount_options_are_refused_by_name),
		cmocka_unit_test(words_of_a_request_survive_encoding),
		cmocka_unit_test(malformed_words_end_a_request),
		cmocka_unit_test(mountinfo_lines_are_read_with_their_escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
