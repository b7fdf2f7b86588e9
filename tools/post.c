/* post.c - the program: finds the verb and runs it. */
#include "tools/post.h"

#include "overlay/base/crypto.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct verb verbs[] = {
	{ "init", cmd_init, "--user ADDRESS [--recover]",
	    "make a home: keys and store; or add a user to one" },
	{ "mount", cmd_mount, "[-f] [-o OPTIONS] MOUNTPOINT",
	    "run the node and mount; returns when the mount is usable" },
	{ "umount", cmd_umount, "MOUNTPOINT",
	    "flush, unmount, stop the node; returns when all is durable" },
	{ "status", cmd_status, "[--json] [--watch]",
	    "what is here, and how much" },
	{ "log", cmd_log, "[--user U] [--max N] [--json] [--watch]",
	    "what happened to the mail, newest first" },
	{ "import", cmd_import, "[--user U] [--folder F] SOURCE...",
	    "take in mbox files, Maildirs, .eml files" },
	{ "export", cmd_export, "[--user U] [--folder F] DEST",
	    "write the mail out as a Maildir, or with --mbox as one file" },
	{ "scrub", cmd_scrub, "[--path P] [--repair] [--json]",
	    "check every stored byte, and mend the index" },
	{ "doctor", cmd_doctor, "[--json]",
	    "what is wrong with this machine's set-up, and what mends it" },
	{ "sim", cmd_sim, "list | SCENARIO [--nodes N] [--seed S]",
	    "the node's code on a made-up network" },
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *
find_verb(const char *name)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static void
print_help(FILE *out)
{
	fputs("usage: post VERB [OPTIONS] [ARGUMENTS]\n\n", out);
	for (size_t i = 0; i < VERBS; i++)
		fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
	fputs("\n'post VERB --help' tells a verb's options; the manual is "
	      "post(1).\n",
	    out);
}

int
verb_begin(const char *name, struct common *c, const struct opt *opts,
    int *argc, char **argv, int min, int max)
{
	const struct verb *v = find_verb(name);
	char why[256];

	if (!opt_parse(opts, false, argc, argv, why, sizeof(why)))
		return fail(
		    STATUS_USAGE, "%s: see 'post %s --help'", why, name);
	if (c->version) {
		puts("post " POST_VERSION);
		return STATUS_DONE;
	}
	if (c->help) {
		printf("usage: post %s %s\n  %s\n\n", name,
		    v ? v->synopsis : "", v ? v->summary : "");
		opt_help(opts, stdout);
		return STATUS_DONE;
	}
	if (*argc < min)
		return fail(STATUS_USAGE,
		    "%s: an argument is missing: usage: "
		    "post %s %s",
		    name, name, v ? v->synopsis : "");
	if (max >= 0 && *argc > max)
		return fail(STATUS_USAGE,
		    "%s: '%s' is one argument too many: "
		    "usage: post %s %s",
		    name, argv[max], name, v ? v->synopsis : "");
	return -1;
}

static int
run_verb(struct common *c, int argc, char **argv)
{
	const struct verb *v = find_verb(argv[0]);
	int status;

	if (strcmp(argv[0], "help") == 0) {
		char *help[] = { argv[0], (char[]){ "--help" }, NULL };

		if (argc < 2) {
			print_help(stdout);
			return STATUS_DONE;
		}
		v = find_verb(argv[1]);
		if (v)
			return v->run(c, 1, help + 1);
		argv++;
	}
	if (!v)
		return fail(
		    STATUS_USAGE, "%s: no such verb: see 'post help'", argv[0]);
	status = v->run(c, argc - 1, argv + 1);
	if (fflush(stdout) || ferror(stdout))
		return fail(STATUS_FAILED, "stdout: not all could be written: "
					   "check where it goes");
	return status;
}

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argc ? argv[0] : "", '/');
	const char *self = slash ? slash + 1 : argc ? argv[0] : "post";
	struct common c = { 0 };
	const struct opt opts[] = { COMMON_OPTS(&c) };
	char why[256];
	enum err e;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	if ((e = crypto_init()))
		return fail(STATUS_FAILED,
		    "crypto: %s: check the libsodium "
		    "library",
		    err_text(e));
	if (strcmp(self, "mount.post") == 0 ||
	    strcmp(self, "mount.fuse.post") == 0)
		return mount_helper(argc - 1, argv + 1);
	argc--;
	argv++;
	if (!opt_parse(opts, true, &argc, argv, why, sizeof(why)))
		return fail(STATUS_USAGE, "%s: see 'post help'", why);
	if (c.version) {
		puts("post " POST_VERSION);
		return STATUS_DONE;
	}
	if (c.help) {
		print_help(stdout);
		return STATUS_DONE;
	}
	if (argc == 0) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	return run_verb(&c, argc, argv);
}
