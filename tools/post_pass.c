/* The passphrase of the keys file: where it may come from. */
#include "tools/post.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char *
command_of(const struct common *c)
{
	return c->passphrase_command ? c->passphrase_command
				     : getenv("POST_PASSPHRASE_COMMAND");
}

static bool
credential_path(char *out, size_t cap)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	return dir && *dir &&
	       text_format(out, cap, "%s/post-passphrase", dir) &&
	       access(out, R_OK) == 0;
}

bool
passphrase_named(const struct common *c)
{
	char path[PATH_MAX];

	return c->passphrase_fd || command_of(c) || c->passphrase_file ||
	       credential_path(path, sizeof(path));
}

/* Everything up to the end of fd, less one line end. */
static int
read_secret(int fd, const char *what, struct secret *out)
{
	char extra;
	size_t len, more = 0;

	if (!fd_read_all(fd, out->text, PASSPHRASE_MAX, &len) ||
	    (len == PASSPHRASE_MAX && !fd_read_all(fd, &extra, 1, &more)))
		return fail(STATUS_FAILED,
		    "passphrase: %s: %s: check where "
		    "it is to come from",
		    what, strerror(errno));
	if (more && extra != '\n')
		return fail(STATUS_FAILED,
		    "passphrase: %s: longer than %d "
		    "bytes: give a shorter one",
		    what, PASSPHRASE_MAX);
	out->text[len] = '\0';
	if (len && out->text[len - 1] == '\n')
		out->text[--len] = '\0';
	if (strlen(out->text) != len)
		return fail(STATUS_FAILED,
		    "passphrase: %s: has a NUL byte: "
		    "give text",
		    what);
	if (len == 0)
		return fail(STATUS_FAILED,
		    "passphrase: %s: empty: check "
		    "where it is to come from",
		    what);
	out->given = true;
	return STATUS_DONE;
}

static int
from_fd(const char *number, struct secret *out)
{
	char *end;
	long fd = strtol(number, &end, 10);

	if (end == number || *end || fd < 0 || fd > INT_MAX)
		return fail(STATUS_USAGE,
		    "--passphrase-fd: '%s' is no "
		    "descriptor: give a number, as in 3< file",
		    number);
	return read_secret((int)fd, "--passphrase-fd", out);
}

static int
from_command(const char *command, struct secret *out)
{
	FILE *f = popen(command, "re");
	int status, ended;

	if (!f)
		return fail(STATUS_FAILED, "passphrase: %s: %s: try again",
		    command, strerror(errno));
	status = read_secret(fileno(f), command, out);
	ended = pclose(f);
	if (status == STATUS_DONE && ended != 0)
		return fail(STATUS_FAILED,
		    "passphrase: %s: ended with "
		    "status %d: mend the command",
		    command, WIFEXITED(ended) ? WEXITSTATUS(ended) : ended);
	return status;
}

static int
from_file(const char *path, struct secret *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), status;

	if (fd < 0)
		return fail(STATUS_FAILED,
		    "passphrase: %s: %s: check the "
		    "name and who may read it",
		    path, strerror(errno));
	status = read_secret(fd, path, out);
	close(fd);
	return status;
}

static int
no_terminal(void)
{
	return fail(STATUS_FAILED,
	    "passphrase: terminal: %s: use --passphrase-command",
	    strerror(errno));
}

/* One line from the terminal, without showing it. */
static int
ask_once(int tty, const char *prompt, struct secret *out)
{
	struct termios was, quiet;
	size_t len = 0;
	ssize_t n = 0;
	char c = 0;

	/* Quiet first: what is typed at the sight of the prompt counts. */
	if (tcgetattr(tty, &was))
		return no_terminal();
	quiet = was;
	/* No signals: they would end us with the terminal left quiet. */
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	if (tcsetattr(tty, TCSAFLUSH, &quiet) ||
	    !fd_write_all(tty, prompt, strlen(prompt)))
		return no_terminal();
	while ((n = read(tty, &c, 1)) == 1 && c != '\n' &&
	       c != (char)was.c_cc[VINTR])
		if (len++ < PASSPHRASE_MAX)
			out->text[len - 1] = c;
	out->text[len < PASSPHRASE_MAX ? len : PASSPHRASE_MAX] = '\0';
	if (tcsetattr(tty, TCSADRAIN, &was) || !fd_write_all(tty, "\n", 1))
		say("terminal: %s: run 'stty echo'", strerror(errno));
	if (n == 1 && c != '\n')
		return fail(STATUS_AGAIN, "passphrase: interrupted: try again");
	if (n < 0 || len == 0)
		return fail(STATUS_FAILED, "passphrase: nothing was typed: "
					   "try again");
	if (len > PASSPHRASE_MAX)
		return fail(STATUS_FAILED,
		    "passphrase: longer than %d bytes: "
		    "type a shorter one",
		    PASSPHRASE_MAX);
	out->given = true;
	return STATUS_DONE;
}

static int
from_terminal(bool confirm, struct secret *out)
{
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	struct secret again = { 0 };
	int status;

	if (tty < 0)
		return fail(STATUS_FAILED,
		    "keys: a passphrase is needed, "
		    "and there is no terminal to ask on: give "
		    "--passphrase-fd, --passphrase-command or "
		    "--passphrase-file");
	status = ask_once(tty, "Passphrase: ", out);
	if (status == STATUS_DONE && confirm &&
	    (status = ask_once(tty, "Again: ", &again)) == STATUS_DONE &&
	    strcmp(out->text, again.text) != 0)
		status = fail(STATUS_FAILED, "passphrase: the two differ: try "
					     "again");
	wipe(&again, sizeof(again));
	close(tty);
	return status;
}

int
passphrase_read(const struct common *c, bool confirm, struct secret *out)
{
	char path[PATH_MAX];
	int status;

	memset(out, 0, sizeof(*out));
	if (c->passphrase_fd)
		status = from_fd(c->passphrase_fd, out);
	else if (command_of(c))
		status = from_command(command_of(c), out);
	else if (c->passphrase_file)
		status = from_file(c->passphrase_file, out);
	else if (credential_path(path, sizeof(path)))
		status = from_file(path, out);
	else
		status = from_terminal(confirm, out);
	if (status != STATUS_DONE)
		wipe(out, sizeof(*out));
	return status;
}
