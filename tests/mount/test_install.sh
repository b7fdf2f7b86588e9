#!/bin/bash
# What "cmake --install" puts where, as a package would have it: each file, the
# units, the manual's page, and the helpers of mount(8), which mount.
. "$(dirname "$0")/lib.sh"
need cmake
[[ -z $PLAIN ]] || leave 'a plain directory is nothing to install'
BUILD=$(dirname "$POST")
[[ -e $BUILD/cmake_install.cmake ]] || leave "$POST is in no build directory"
begin dir
watchdog

# ---- a package -------------------------------------------------------------

D=$T/package
FILES="644 usr/lib/systemd/system/post@.service
644 usr/lib/systemd/user/post.service
644 usr/share/bash-completion/completions/post
644 usr/share/man/man1/post.1
755 usr/bin/post
777 usr/sbin/mount.fuse.post
777 usr/sbin/mount.post"

all_is_there()
{
	same "$(cd "$D" && find . ! -type d -printf '%m %P\n' | sort)" "$FILES"
}

check 'it installs below a DESTDIR' \
	env DESTDIR="$D" cmake --install "$BUILD" --prefix /usr
check '... all that a package has, and nothing else' all_is_there
check '... and what was installed is told' same "$(
	sort "$BUILD/install_manifest.txt")" "$(
	sed 's,^... ,/,' <<< "$FILES" | sort)"
check '... again, over itself' \
	env DESTDIR="$D" cmake --install "$BUILD" --prefix /usr
check '... with the same outcome' all_is_there
check 'nothing but the program knows where it was built' \
	test -z "$(grep -rlIF -e "$SOURCE" -e "$D" "$D")"
version=$(sed -n 's/^project(post VERSION \([0-9.]*\) .*/\1/p' \
	"$SOURCE/CMakeLists.txt")
check 'the program says its version' \
	same "$("$D/usr/bin/post" --version)" "post $version"
check 'the manual is this one' \
	cmp "$D/usr/share/man/man1/post.1" "$SOURCE/tools/post.1"

page_is_clean()
{
	local said

	said=$("$@" "$D/usr/share/man/man1/post.1" 2>&1 > "$T/page") &&
		same "$said" '' && grep -q 'scrub' "$T/page"
}

if command -v groff > /dev/null; then
	check 'groff has no warnings about it' \
		page_is_clean groff -mandoc -Tutf8 -ww
else
	not_here 'warnings of groff about the manual' "'groff' is not installed"
fi
if ! command -v man > /dev/null; then
	not_here 'warnings of man about the manual' "'man' is not installed"
elif ! man --warnings --version > /dev/null 2>&1; then
	not_here 'warnings of man about the manual' 'it has no --warnings'
else
	check 'man -l has no warnings about it' \
		page_is_clean env MANWIDTH=80 man --warnings -l
fi

completes() # words... wanted
{
	bash -c '. "$1" && complete -p post && COMP_WORDS=("${@:3}") &&
		COMP_CWORD=$(($# - 3)) && _post && printf "%s\n" "${COMPREPLY[@]}" |
		grep -qx -- "$2"' - "$D/usr/share/bash-completion/completions/post" "$@"
}

check 'bash completes verbs' completes import post im
check '... and their options' completes --repair post scrub --rep

# ---- the helpers of mount(8) -----------------------------------------------

for name in mount.post mount.fuse.post; do
	helper=$D/usr/sbin/$name
	check "$name is a link that may move" \
		same "$(readlink "$helper")" ../bin/post
	check_refused '... and is a helper of mount(8)' \
		'usage: mount.post SRC MNT' "$helper" one
	check '... which can pretend' "$helper" "$T/none" "$MNT" -f
	"$POST" --home "$H" init --user "$ADDRESS" > /dev/null 2>&1
	check '... and mounts' timeout 60 "$helper" "$H" "$MNT" -n -o rw,noatime
	check '... what is in the home' test -d "$M/new"
	check '... with the options' grep -qE "^$H $MNT fuse.post .*noatime" \
		/proc/self/mounts
	check '... until it is unmounted' umount_it
done

# ---- units -----------------------------------------------------------------

starts() # prefix
{
	same "$(sed -n 's/^ExecStart=//p' "$2/lib/systemd/system/post@.service" \
		"$2/lib/systemd/user/post.service")" \
		"$1/bin/post mount -f %f
$1/bin/post mount -f %h/post"
}

check 'the units start the program of /usr' starts /usr "$D/usr"
check 'it installs to another prefix' cmake --install "$BUILD" --prefix "$T/opt"
check '... and the units start what is there' starts "$T/opt" "$T/opt"
check '... which is there' "$T/opt/bin/post" --version
cd "$T" || exit 1
check 'a prefix may be relative' cmake --install "$BUILD" --prefix beside
check '... and the units are right all the same' starts "$T/beside" "$T/beside"

# What systemd has to say; the manual's page is looked for, too.
unit_is_right() # argument... unit
{
	local said

	mkdir -p -m 700 "$T/run"
	said=$(env XDG_RUNTIME_DIR="$T/run" MANPATH="$T/opt/share/man" \
		timeout 60 systemd-analyze "$@" 2>&1) && same "$said" ''
}

if ! command -v systemd-analyze > /dev/null; then
	not_here 'systemd-analyze verify' "'systemd-analyze' is not installed"
elif [[ ! -e /lib/systemd/system/sysinit.target ]]; then
	not_here 'systemd-analyze verify' "systemd's own units are not here"
else
	man=yes
	command -v man > /dev/null || man=no
	check 'systemd takes the unit of a machine' unit_is_right --man=$man \
		verify "$T/opt/lib/systemd/system/post@.service"
	check 'systemd takes the unit of a user' unit_is_right --man=$man \
		--user verify "$T/opt/lib/systemd/user/post.service"
	sed -i 's/^Restart=.*/Restart=perhaps/' \
		"$T/opt/lib/systemd/user/post.service"
	check_refused '... and would have said what is wrong' 'perhaps' \
		unit_is_right --man=$man --user verify \
		"$T/opt/lib/systemd/user/post.service"
fi
finish
