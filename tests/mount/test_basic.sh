#!/bin/bash
# test_basic.sh - files as every program expects them, what outlives a remount,
# .post, .notify and .at.
. "$(dirname "$0")/lib.sh"
need inotifywait tail
begin

count 'the basic operations' py basic.py work "$U" ${PLAIN:+plain}
count 'watching for mail' py wakes.py "$U"
count 'before the remount' py basic.py before "$U" "$T/state"
check 'unmount and mount again' remount_it
count 'after the remount' py basic.py after "$U" "$T/state"

# ---- what only the mount has -----------------------------------------------

status_is_json() # command that prints it...
{
	"$@" > "$T/json" && "$PYTHON" -c '
import json, sys
s = json.load(open(sys.argv[4]))
assert s["mount"]["path"] == sys.argv[1], s["mount"]
user = [u for u in s["users"] if u["address"] == sys.argv[2]][0]
assert user["messages"] == int(sys.argv[3]), user
for part, keys in {"node": ("id", "version", "listen"),
    "mount": ("path", "since"), "store": ("blocks", "stored_bytes",
    "logical_bytes", "limit_bytes"), "replication": ("wanted",
    "lag_blocks", "under_replicated")}.items():
	for key in keys:
		assert key in s[part], (part, key)
for key in ("device", "head_sequence"):
	assert key in user, key
assert isinstance(s["peers"], int)
' "$MNT" "$ADDRESS" "$(how_many "$M")" "$T/json"
}

read_only()
{
	! echo x 2> /dev/null > "$MNT/.post/status" &&
		! rm -f "$MNT/.post/status" && ! mkdir "$MNT/.post/new" &&
		! touch "$MNT/.post/new"
}

# The path of a past moment where a name is, once it is there.
there_then() # time path
{
	[[ -e $U/.at/$1/$2 ]]
}

past()
{
	local name then long

	message 77 'deleted later' > "$T/mail"
	name=$(deliver "$M" < "$T/mail")
	long=$(printf 'x%.0s' {1..4095})
	ln -s "$long" "$M/cur/long"
	ln -s "$long" "$M/tmp/long2" && mv "$M/tmp/long2" "$M/cur/long2"
	# So that the moment is over and the log has it.
	sleep 2.2
	then=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	sleep 1.2
	mv "$M/new/$name" "$M/cur/$name:2,S"
	rm "$M/cur/$name:2,S" "$M/cur/long" "$M/cur/long2"
	check '.at: a message deleted since is there' \
		wait_for 5 there_then "$then" "Maildir/new/$name"
	check '... byte for byte' cmp "$T/mail" "$U/.at/$then/Maildir/new/$name"
	check '... and listed' grep -qF "$name" <(ls "$U/.at/$then/Maildir/new")
	check '... but not now' test ! -e "$M/new/$name"
	check '.at: a symlink of 4,095 bytes led where it did' \
		test "$(readlink "$U/.at/$then/Maildir/cur/long")" = "$long"
	check '... and so does one that was made in tmp' \
		test "$(readlink "$U/.at/$then/Maildir/cur/long2")" = "$long"
	check_refused '.at: nothing can be written' 'Read-only|denied|not permitted' \
		touch "$U/.at/$then/Maildir/new/more"
	check_refused '.at: nothing can be changed' \
		'Read-only|denied|not permitted' \
		bash -c 'echo x >> "$1"' - "$U/.at/$then/Maildir/new/$name"
	check_refused '.at: nothing can be removed' \
		'Read-only|denied|not permitted' \
		rm -f "$U/.at/$then/Maildir/new/$name"
	check '.at: what it was before anything, is not' \
		test ! -e "$U/.at/2001-01-01T00:00:00Z/Maildir/new/$name"
	check_refused '.at: what is no time is not there' 'No such file' \
		ls "$U/.at/yesterday"
	check '.at is listed' ls "$U/.at"
	check '.at still shows it after a remount' remount_and_see "$then" \
		"$name"
}

remount_and_see() # time name
{
	remount_it && cmp "$T/mail" "$U/.at/$1/Maildir/new/$2"
}

if [[ -n $PLAIN ]]; then
	not_here '.post, .at and user.post.*' 'a plain directory has none'
else
	check '.post/status names the user' grep -qF "$ADDRESS" \
		"$MNT/.post/status"
	check '.post/status.json is JSON with what was promised' \
		status_is_json cat "$MNT/.post/status.json"
	check 'post status --json says the same' \
		status_is_json "$POST" --home "$H" status --json
	check '.post can not be changed' read_only
	message 5 > "$T/mail"
	name=$(deliver "$M" < "$T/mail")
	check 'a message has user.post.id' \
		getfattr --only-values -n user.post.id "$M/new/$name"
	check 'a message has user.post.from' grep -q 'bob@lip6.example' \
		<(getfattr --absolute-names --only-values \
			-n user.post.from "$M/new/$name")
	check 'post log tells of it' grep -qF "$name" \
		<("$POST" --home "$H" log)
	past
	check 'mount options nosuid and nodev hold' grep -qE \
		" $MNT fuse\.post .*nosuid.*nodev|$MNT fuse\.post .*nodev.*nosuid" \
		/proc/self/mounts
	check 'the home is its owner'"'"'s only' same \
		"$(stat -c %a "$H" "$H/keys" | xargs)" '700 600'
	check 'unmounted for good' umount_it
	check 'nothing is left mounted there' test ! -e "$U"
	check 'the daemon is gone' test -z "$(daemon_pid)"
fi
finish
