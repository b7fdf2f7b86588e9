#!/bin/bash
# test_odd.sh - malformed mail and mail at the limits: 100 MB, 10,000 levels;
# each byte as it came, at once, after a remount, exported and imported.
. "$(dirname "$0")/lib.sh"
begin

# The most memory the daemon ever had, in MiB.
peak()
{
	local pid

	pid=$(daemon_pid) && awk '/^VmHWM/ { print int($2 / 1024) }' \
		"/proc/$pid/status"
}

count 'delivering' py odd.py make "$M" "$T/state"
count 'at once' py odd.py verify "$M" "$T/state"
if [[ -n $PLAIN ]]; then
	not_here 'export and import' 'a plain directory has no program'
	finish
fi
echo "the daemon's most memory: $(peak) MiB"
check 'it stays below 256 MiB' test "$(peak)" -lt 256
check 'unmounted and mounted again' remount_it
count 'after a remount' py odd.py verify "$M" "$T/state"
check 'scrub finds all whole' "$POST" --home "$H" scrub
# What has no header field is no mail, and has none.
most_have_id()
{
	find "$M/new" -type f -size +0 -exec \
		getfattr --absolute-names -n user.post.id {} + \
		> "$T/ids" 2> /dev/null
	[[ $(grep -c '^user.post.id=' "$T/ids") -ge 220 ]]
}

check 'the odd mails have attributes all the same' most_have_id
check 'grep -r reads all' grep -rqF 'at the bottom' "$M/new"
check 'exported' timeout 100 "$POST" --home "$H" export -q "$T/out"
count 'the export' py odd.py verify "$T/out" "$T/state"
check 'unmounted' umount_it
H=$T/other
check 'another home' "$POST" --home "$H" init --user "$ADDRESS"
check 'imported there' timeout 100 "$POST" --home "$H" import -q "$T/out"
check '... is mounted' mount_it

# An import gives names of its own; what is empty is no mail.
same_bytes()
{
	diff <(sums "$T/out") <(sums "$M")
}

sums() # maildir
{
	find "$1/new" "$1/cur" -type f -size +0 -exec sha256sum {} + |
		cut -d' ' -f1 | sort
}
check '... with every byte' same_bytes
finish
