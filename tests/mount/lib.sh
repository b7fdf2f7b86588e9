# lib.sh - what the scripts here share: a home and a mount that clean up after
# themselves, checks that count, and waiting that ends.
#
#	. "$(dirname "$0")/lib.sh"
#	begin				# sets T H MNT U M, mounts
#	check 'a message is there' test -e "$M/new/1"
#	finish				# "N passed, N failed", exits
#
# T    a directory of this run, removed at the end
# H    the home; MNT the mountpoint; U a user's directory below it; M her
#      Maildir
# POST the program under test; SOURCE the source tree (ctest sets both)
#
# POST_TEST_PLAIN=DIR: no mount; the same tree is made in DIR, on whatever file
# system that is.  What fails there too is the fault of the test.
# POST_TEST_KEEP=1: T and the mount are left as they are.
#
# An ordinary user, posttest, is made by need_user and removed at the end.

export LC_ALL=C.UTF-8
unset POST_HOME POST_PASSPHRASE_COMMAND CREDENTIALS_DIRECTORY MAIL
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SOURCE=${SOURCE:-$(cd "$HERE/../.." && pwd)}
POST=${POST:-$SOURCE/build/post}
PLAIN=${POST_TEST_PLAIN-}
ADDRESS=alice@home.example
TESTER=posttest
# Not one from a user's own directory, which others could not run.
PYTHON=/usr/bin/python3
[[ -x $PYTHON ]] || PYTHON=$(command -v python3)
export PATH=$PATH:/usr/sbin:/sbin:/usr/games

passed=0 failed=0 skipped=0
STARTED=()	# processes to end, newest last
UNDO=()		# commands to run at the end, newest first
T='' H='' MNT='' U='' M='' MADE_USER=''

# ---- what must be there ----------------------------------------------------

leave() # why
{
	echo "skipped: $1"
	exit 77
}

need() # command...
{
	local c

	for c; do
		command -v "$c" > /dev/null || leave "'$c' is not installed"
	done
}

need_root()
{
	[[ $(id -u) -eq 0 ]] || leave "needs root ($1)"
}

# The ordinary user, whose home directory is $1 (need not exist).
need_user()
{
	need_root "mail for another uid"
	need useradd userdel usermod setpriv
	if id "$TESTER" > /dev/null 2>&1; then
		usermod -d "$1" "$TESTER" > /dev/null 2>&1 ||
			leave "user $TESTER can not be changed"
	else
		useradd -M -d "$1" -s /bin/sh "$TESTER" ||
			leave "user $TESTER can not be made"
	fi
	MADE_USER=1
}

# Run as the ordinary user.
as_user()
{
	(cd / && exec setpriv --reuid "$TESTER" --regid "$TESTER" \
		--clear-groups env HOME="$U" USER="$TESTER" LOGNAME="$TESTER" \
		"$@")
}

# ---- beginning and end -----------------------------------------------------

# "begin" mounts; "begin home" stops before; "begin dir" makes T only.
begin()
{
	need mktemp "$PYTHON" timeout
	if [[ -z $PLAIN ]]; then
		[[ -x $POST ]] || leave "there is no program at $POST"
		[[ -c /dev/fuse ]] || leave "this machine has no /dev/fuse"
	fi
	# Short, since sockets have their names in it.
	T=$(mktemp -d "${TMPDIR:-/tmp}/post.XXXXXX") || exit 1
	chmod 755 "$T"
	trap cleanup EXIT
	trap 'exit 1' HUP INT TERM
	H=$T/home MNT=$T/mnt
	[[ -z $PLAIN ]] || MNT=$(mktemp -d "$PLAIN/post.XXXXXX") || exit 1
	chmod 755 "$MNT" 2> /dev/null || mkdir -m 755 "$MNT" || exit 1
	U=$MNT/$ADDRESS M=$U/Maildir
	[[ ${1-} == dir ]] && return
	watchdog
	if [[ -n $PLAIN ]]; then
		mkdir -p "$M"/{cur,new,tmp} || exit 1
		return
	fi
	"$POST" --home "$H" init --user "$ADDRESS" > "$T/init" 2>&1 || {
		cat "$T/init"
		echo "not ok - post init"
		exit 1
	}
	[[ ${1-} == home ]] && return
	mount_it || {
		echo "not ok - post mount"
		exit 1
	}
}

# A mount that hangs would hang every check: after ten minutes the daemon is
# killed, which makes all that wait in it fail.
watchdog()
{
	local me=$$

	(
		trap 'kill $! 2> /dev/null; exit' TERM
		sleep "${POST_TEST_LIMIT:-600}" > /dev/null 2>&1 &
		wait $!
		echo "not ok - nothing moved for ${POST_TEST_LIMIT:-600} s"
		kill_daemon
		kill -TERM "$me"
	) &
	STARTED+=($!)
}

mount_it() # option...
{
	[[ -n $PLAIN ]] || timeout 60 "$POST" --home "$H" mount "$@" "$MNT"
}

umount_it()
{
	[[ -n $PLAIN ]] || timeout 150 "$POST" --home "$H" umount "$MNT"
}

remount_it()
{
	umount_it && mount_it
}

# Of the daemon that holds $H; nothing if none does.
daemon_pid()
{
	local pid

	pid=$(cat "$H/lock" 2> /dev/null) && [[ $pid -gt 1 ]] &&
		grep -qzxF -- "$H" "/proc/$pid/cmdline" 2> /dev/null &&
		echo "$pid"
}

kill_daemon()
{
	local pid

	pid=$(daemon_pid) || return 1
	kill -9 "$pid" || return 1
	while kill -0 "$pid" 2> /dev/null; do
		sleep 0.01
	done
	return 0
}

# A daemon of ours that should end when told to; waited for by finish.
started() # pid
{
	STARTED+=("$1")
}

# Run a command at the end, before the mount is taken away.
undo() # command...
{
	UNDO=("$(printf '%q ' "$@")" ${UNDO[@]+"${UNDO[@]}"})
}

cleanup()
{
	local status=$? pid c where

	trap - EXIT
	trap '' HUP INT TERM
	for c in ${UNDO[@]+"${UNDO[@]}"}; do
		eval "$c" > /dev/null 2>&1
	done
	for pid in ${STARTED[@]+"${STARTED[@]}"}; do
		kill "$pid" 2> /dev/null && wait "$pid" 2> /dev/null
	done
	if [[ $status -ne 0 && $status -ne 77 && -s $H/log ]]; then
		echo "--- the daemon's log, its end:"
		tail -n 20 "$H/log"
	fi
	[[ -z ${POST_TEST_KEEP-} ]] || {
		echo "kept: $T $MNT"
		exit "$status"
	}
	while read -r _ where _; do
		[[ $where == "$T"/* ]] || continue
		timeout 60 "$POST" --home "$H" umount "$where" \
			> /dev/null 2>&1 || umount -l "$where" 2> /dev/null ||
			fusermount3 -uz "$where"
	done < <(tac /proc/self/mounts)
	kill_daemon
	[[ -z $MADE_USER ]] || userdel "$TESTER" 2> /dev/null
	[[ -z $PLAIN ]] || rm -rf --one-file-system "$MNT"
	rm -rf --one-file-system "$T"
	exit "$status"
}

finish()
{
	echo "$passed passed, $failed failed, $skipped skipped"
	[[ $failed -eq 0 && $passed -gt 0 ]]
	exit
}

# ---- checks ----------------------------------------------------------------

ok()
{
	passed=$((passed + 1))
	echo "ok - $1"
}

not_ok() # name [text]
{
	failed=$((failed + 1))
	echo "not ok - $1"
	[[ -z ${2-} ]] || head -n 20 <<< "$2" | sed 's/^/    /'
}

# Run a command (also a function); its success is the check.  What it says is
# shown if it fails.
check() # name command...
{
	local name=$1 status

	shift
	"$@" > "$T/said" 2>&1 < /dev/null
	status=$?
	if [[ $status -eq 0 ]]; then
		ok "$name"
	else
		not_ok "$name" "$(cat "$T/said"; echo "(exit status $status)")"
	fi
	return $status
}

# The command must fail; with a pattern (grep -E) for what it says.
check_refused() # name pattern command...
{
	local name=$1 pattern=$2 said

	shift 2
	if said=$("$@" 2>&1 < /dev/null); then
		not_ok "$name" "it succeeded: $said"
	elif ! grep -qE -- "$pattern" <<< "$said"; then
		not_ok "$name" "no '$pattern' in: $said"
	else
		ok "$name"
	fi
}

same() # got wanted
{
	[[ $1 == "$2" ]] || {
		printf 'got:    %s\nwanted: %s\n' "$1" "$2"
		return 1
	}
}

not_here() # name why
{
	skipped=$((skipped + 1))
	echo "skip - $1: $2"
}

# A program that prints such lines itself (check.py); they are counted.
count() # name command...
{
	local name=$1 status oks bad

	shift
	"$@" < /dev/null 2>&1 | tee "$T/counted"
	status=${PIPESTATUS[0]}
	oks=$(grep -c '^ok - ' "$T/counted")
	bad=$(grep -c '^not ok - ' "$T/counted")
	skipped=$((skipped + $(grep -c '^skip - ' "$T/counted")))
	passed=$((passed + oks)) failed=$((failed + bad))
	if [[ $status -ne 0 && $bad -eq 0 ]]; then
		not_ok "$name ended with status $status"
	elif [[ $oks -eq 0 && $bad -eq 0 ]]; then
		not_ok "$name checked nothing"
	fi
	return "$status"
}

py() # file argument...
{
	local file=$1

	shift
	"$PYTHON" -B "$HERE/$file" "$@"
}

# ---- waiting ---------------------------------------------------------------

# Until the command succeeds, at most so many seconds.
wait_for() # seconds command...
{
	local until=$((SECONDS + $1 + 1))

	shift
	until "$@" > /dev/null 2>&1; do
		[[ $SECONDS -lt $until ]] || return 1
		sleep 0.05
	done
}

# Nobody listens there yet.
free_port()
{
	"$PYTHON" -c 'import socket; s = socket.socket()
s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ---- mail ------------------------------------------------------------------

# One message on stdout.
message() # number [subject]
{
	printf 'From: Bob <bob@lip6.example>\nTo: <%s>\n' "$ADDRESS"
	printf 'Subject: %s\n' "${2:-message $1}"
	printf 'Date: Sun, 1 Nov 2026 12:%02d:%02d +0000\n' \
		$(($1 / 60 % 60)) $(($1 % 60))
	printf 'Message-ID: <%s.%s@lip6.example>\n\nBody %s\n' "$1" "$$" "$1"
}

# Deliver stdin as a mail program does, to a Maildir; prints the name.
deliver() # maildir
{
	py deliver.py "$1"
}

deliver_as_user() # maildir
{
	as_user "$PYTHON" -B "$HERE/deliver.py" "$1"
}

# The messages of a folder, without their directory.
messages() # maildir
{
	find "$1/new" "$1/cur" -type f -printf '%f\n'
}

how_many() # maildir
{
	messages "$1" | wc -l
}
