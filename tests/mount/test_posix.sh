#!/bin/bash
# test_posix.sh - who may do what with a file, and what it does to modes, links
# and times: the same checks on the file system of the temporary directory,
# where all must pass, and on the mount.
. "$(dirname "$0")/lib.sh"
need_root 'it changes owners'
begin

# The checks are right if they hold where nobody doubts.
reference()
{
	local kind bad

	kind=$(stat -f -c %T "$T")
	case $kind in
	ext2/ext3 | xfs | btrfs) ;;
	*)
		not_here 'the same checks elsewhere' "$T is on $kind"
		return
		;;
	esac
	mkdir -m 755 "$T/reference"
	bad=$(py posix.py "$T/reference" 2>&1 | tee "$T/out" |
		grep -A 3 '^not ok - ')
	check "$(grep -c '^ok - ' "$T/out") checks hold on $kind" \
		test -z "$bad"
	[[ -z $bad ]] || echo "$bad"
}

reference
chmod 755 "$U"	# others must get as far as the checks' directories
count 'the checks on the mount' py posix.py "$U"
finish
