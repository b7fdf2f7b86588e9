#!/bin/bash
# lint_layers.sh [--check | --self-test] DIR - the rules that a compiler does
# not know, for the source tree DIR: which room may include what, headers that
# stand alone, functions that are not used, lengths, and the top level.
#
# --check looks at DIR; --self-test breaks each rule once in a copy of DIR and
# fails unless that is noticed.  Without either: both.
#
# Rooms: tools -> fs -> store -> overlay/overlay.h -> overlay/base.  A
# sub-folder is the quarantine of one outside library, and nobody includes
# from it but itself; overlay/base is everybody's.
set -u
export LC_ALL=C

CC=${CC:-cc}
LINES_MAX=800
ROOMS='fs overlay store tests tools'
TOP="$ROOMS CMakeLists.txt CMakePresets.json README.md"
BANNED='strcpy|strcat|stpcpy|sprintf|vsprintf|gets|rand|srand|strtok|atoi|atol'
FLAGS='-std=c17 -Wall -Wextra -Werror -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
	-DFUSE_USE_VERSION=314'

problems=0

problem() # where what
{
	echo "$1: $2"
	problems=$((problems + 1))
}

ONLY= # the self-test looks at what it planted

sources() # find's tests...
{
	find ${ONLY:-$ROOMS} -type f "$@" | sort
}

# ---- includes ---------------------------------------------------------------

# Who may include the header of an outside library.  Only ours are listed: what
# the C library and POSIX have is free.
library_rule() # header
{
	case $1 in
	sodium.h | sodium/*) echo overlay/base/crypto.c ;;
	xxhash.h | xxh3.h) echo overlay/base/map.c ;;
	event2/* | event.h) echo 'overlay/net/*' ;;
	lmdb.h) echo 'store/db/*' ;;
	zstd*.h | zdict.h) echo 'store/* tools/train_dictionary.c' ;;
	fuse*.h | fuse3/*) echo 'fs/fuse/*' ;;
	jansson*.h) echo 'fs/* tools/*' ;;
	cmocka.h) echo 'tests/*' ;;
	*) echo '*' ;;
	esac
}

# What a file may include of ours; "!pattern" takes away again.
room_rule() # file
{
	case $1 in
	overlay/base/*) echo 'overlay/base/*' ;;
	overlay/net/*) echo 'overlay/*' ;;
	overlay/*) echo 'overlay/* !overlay/net/*' ;;
	store/db/*) echo 'store/* overlay/base/*' ;;
	store/*) echo 'store/* overlay/overlay.h overlay/base/* !store/db/*' ;;
	fs/fuse/*) echo 'fs/* store/* overlay/base/* !store/db/*' ;;
	fs/*) echo 'fs/* store/* overlay/base/* !fs/fuse/* !store/db/*' ;;
	tools/*) echo 'tools/* fs/* store/* overlay/* !fs/fuse/* !store/db/*' \
		'!overlay/net/*' ;;
	esac
}

matches() # text patterns
{
	local verdict=1 pattern

	set -f
	for pattern in $2; do
		case $pattern in
		!*) [[ $1 == ${pattern#!} ]] && verdict=1 ;;
		*) [[ $1 == $pattern ]] && verdict=0 ;;
		esac
	done
	set +f
	return $verdict
}

check_includes()
{
	local file line text header form='^[[:space:]]*#[[:space:]]*include'

	while IFS=: read -r file line text; do
		header=${text#*include}
		case $header in
		*'<'*)
			header=${header#*<}
			header=${header%%>*}
			matches "$file" "$(library_rule "$header")" ||
				problem "$file:$line" \
					"<$header> is for $(library_rule \
						"$header") only"
			;;
		*'"'*)
			header=${header#*\"}
			header=${header%%\"*}
			[[ $file == tests/* ]] && continue
			matches "$header" "$(room_rule "$file")" ||
				problem "$file:$line" \
					"\"$header\" is out of this room's reach"
			[[ $header == *.h ]] ||
				problem "$file:$line" "\"$header\" is no header"
			[[ $header == *_private.h &&
				${header%%/*} != "${file%%/*}" &&
				$file != tools/train_dictionary.c ]] &&
				problem "$file:$line" \
					"\"$header\" is its room's own"
			;;
		*)
			problem "$file:$line" "an include that can not be read"
			;;
		esac
	done < <(sources -name '*.[ch]' -exec grep -Hn "$form" {} +)
}

# ---- headers ----------------------------------------------------------------

check_headers()
{
	local header guard libraries
	declare -A seen=()

	libraries=$(pkg-config --cflags fuse3 jansson lmdb 2>/dev/null)
	while read -r header; do
		guard=$(sed -n 's/^#ifndef \([A-Z0-9_]*_H\)$/\1/p' "$header" |
			head -n 1)
		if [[ -z $guard ]] || ! grep -qx "#define $guard" "$header"; then
			problem "$header" "no include guard"
		elif [[ -n ${seen[$guard]-} ]]; then
			problem "$header" "guard $guard is ${seen[$guard]}'s"
		fi
		[[ -n $guard ]] && seen[$guard]=$header
		# Twice, so that a guard that guards nothing is seen.
		printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
			$CC $FLAGS $libraries -I. -fsyntax-only -x c - ||
			problem "$header" "does not compile alone"
	done < <(sources -name '*.h')
}

# ---- words and lengths ------------------------------------------------------

# The compiler takes the comments out; line numbers stay (no -P).
check_words()
{
	local file line

	while read -r file; do
		while read -r line; do
			problem "$file" "is not used here: $line"
		done < <($CC -fpreprocessed -dD -E "$file" 2>/dev/null |
			grep -E "(^|[^A-Za-z0-9_])($BANNED)[[:space:]]*\(")
	done < <(sources -name '*.[ch]')
}

opening_comment() # file
{
	case $1 in
	*.sh | *.py) sed -n '/^#/!q; p' "$1" ;;
	*) sed -n '1{/^\/\*/!q}; p; /\*\//q' "$1" ;;
	esac
}

check_lengths()
{
	local file n

	while read -r file; do
		n=$(wc -l < "$file")
		[[ $n -le $LINES_MAX ]] && continue
		opening_comment "$file" | grep -q 'Long because' ||
			problem "$file" "$n lines, and does not say why"
	done < <(sources -name '*.[ch]' -o -type f -name '*.sh' \
		-o -type f -name '*.py')
}

check_top()
{
	local name

	while read -r name; do
		case " $TOP build " in
		*" $name "*) ;;
		*)
			[[ $name == .* || $name == build-* ]] ||
				problem "$name" "does not belong at the top"
			;;
		esac
	done < <(ls -A)
}

check_all()
{
	check_includes
	check_headers
	check_words
	check_lengths
	check_top
	[[ $(sources -name '*.[ch]' | wc -l) -gt 0 ]] ||
		problem . "no sources here"
	[[ $problems -eq 0 ]]
}

# ---- does it notice? --------------------------------------------------------

# Add `text` to `file` of the copy, see that `check` speaks of the file, and
# take it back.
planted() # check file text [other files to look at]
{
	local file=$2 was= said

	mkdir -p "$(dirname "$file")"
	[[ -e $file ]] && was=$(mktemp) && cp "$file" "$was"
	printf '%b' "$3" >> "$file"
	said=$(ONLY="$file ${4-}" && "$1" 2> /dev/null)
	if ! grep -q "^${file%%/*}" <<< "$said"; then
		echo "$1 did not notice in $file: $(head -c 60 <<< "$3")"
		missed=$((missed + 1))
	fi
	if [[ -n $was ]]; then
		mv "$was" "$file"
	else
		rm "$file"
	fi
	tried=$((tried + 1))
}

# A rule must not cry either where nothing is wrong.
allowed() # check file text
{
	local file=$2 said

	mkdir -p "$(dirname "$file")"
	printf '%b' "$3" > "$file"
	said=$(ONLY=$file && "$1" 2>&1)
	if grep -qF "$file" <<< "$said"; then
		echo "$1 refused in $file: $said"
		missed=$((missed + 1))
	fi
	rm "$file"
	tried=$((tried + 1))
}

self_test()
{
	local copy missed=0 tried=0 lines guard

	copy=$(mktemp -d) || return 1
	trap "rm -rf '$copy'" EXIT
	(tar -cf - --exclude=corpus $ROOMS) | tar -xf - -C "$copy" || return 1
	cd "$copy" || return 1

	planted check_includes overlay/base/zz.c '#include "store/disk.h"\n'
	planted check_includes overlay/base/id.h '#include "fs/mount.h"\n'
	planted check_includes overlay/zz.c '#include "overlay/net/zz.h"\n'
	planted check_includes overlay/zz.c '#include "store/disk.h"\n'
	planted check_includes store/disk.h '#  include "fs/mount.h"\n'
	planted check_includes store/zz.c '#include "overlay/leaf_set.h"\n'
	planted check_includes store/zz.c '#include "store/db/zz.h"\n'
	planted check_includes store/db/zz.c '#include "fs/mount.h"\n'
	planted check_includes fs/zz.c '#include "tools/zz.h"\n'
	planted check_includes fs/zz.c '#include "fs/fuse/zz.h"\n'
	planted check_includes fs/zz.c '#include "overlay/overlay.h"\n'
	planted check_includes fs/zz.c '#include "store/disk_private.h"\n'
	planted check_includes tools/zz.c '#include "tests/zz.h"\n'
	planted check_includes tools/zz.c '#include "zz.h"\n'
	planted check_includes tools/zz.c '#include "store/disk.c"\n'
	planted check_includes tools/zz.c '#include ZZ\n'
	planted check_includes overlay/base/keys.c '#include <sodium.h>\n'
	planted check_includes store/zz.c '#include <sodium/utils.h>\n'
	planted check_includes store/zz.c '#include <xxhash.h>\n'
	planted check_includes store/zz.c '#include <lmdb.h>\n'
	planted check_includes store/zz.c '#include <jansson.h>\n'
	planted check_includes store/zz.c '#include <cmocka.h>\n'
	planted check_includes fs/zz.c '#include <fuse.h>\n'
	planted check_includes fs/zz.c '#include <zstd.h>\n'
	planted check_includes tools/zz.c '#include <fuse3/fuse.h>\n'
	planted check_includes tools/zz.c '#include <zdict.h>\n'
	planted check_includes overlay/zz.c '#include <event2/event.h>\n'
	allowed check_includes store/db/zz.c '#include <lmdb.h>\n'
	allowed check_includes fs/fuse/zz.c '#include <fuse_lowlevel.h>\n'
	allowed check_includes tools/zz.c '#include "overlay/overlay.h"\n'
	allowed check_includes store/zz.c '#include "store/disk_private.h"\n'

	guard='#ifndef ZZ_H\n#define ZZ_H\n'
	planted check_headers store/zz.h 'struct zz;\n'
	planted check_headers store/zz.h "${guard}struct zz { uint8_t b; };\n#endif\n"
	planted check_headers store/zz.h "${guard}#endif\nstruct zz { int b; };\n"
	planted check_headers store/zz.h \
		'#ifndef POST_STORE_DISK_H\n#define POST_STORE_DISK_H\n#endif\n' \
		store/disk.h
	allowed check_headers store/zz.h "${guard}struct zz { int b; };\n#endif\n"

	planted check_words store/zz.c 'void zz(char *p) { strcpy(p, p); }\n'
	planted check_words fs/zz.c 'int zz(void) { return rand (); }\n'
	planted check_words tests/unit/zz.c 'int zz(char *s) { return atoi(s); }\n'
	planted check_words tools/zz.h '#define ZZ(b, s) sprintf(b, s)\n'
	allowed check_words store/zz.c \
		'/* not strcpy() */\nint zz(void) { return my_rand(snprintf(0)); }\n'

	lines=$(printf 'int zz;\\n%.0s' $(seq $LINES_MAX))
	planted check_lengths store/zz.c "$lines/* Long because */\n"
	planted check_lengths tests/mount/zz.sh "#!/bin/bash\n\n$lines"
	allowed check_lengths store/zz.c "/* zz.\n * Long because of that. */\n$lines"

	planted check_top zz.txt 'x\n'
	planted check_top src/zz.c 'int zz;\n'

	echo "self-test: $tried cases, $missed judged wrongly"
	[[ $missed -eq 0 ]]
}

mode=both
case ${1-} in
--check | --self-test)
	mode=$1
	shift
	;;
esac
cd "${1:?usage: lint_layers.sh [--check | --self-test] DIR}" || exit 2
status=0
if [[ $mode != --self-test ]]; then
	check_all || status=1
fi
if [[ $mode != --check ]]; then
	self_test || status=1
fi
exit $status
