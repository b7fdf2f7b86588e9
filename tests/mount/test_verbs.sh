#!/usr/bin/env bash
# The program's verbs, as people and scripts call them: exit statuses, messages,
# homes, import and export (mounted and not), interruptions, repair.
. "$(dirname "$0")/lib.sh"
[[ -z $PLAIN ]] || leave "the verbs need the program"
begin dir

post() { timeout 120 "$POST" --home "$H" "$@"; }

# The exit status must be $1, and what is said must have the form of all
# messages.
ends_with() # status command...
{
	local want=$1 got
	shift
	"$@" > "$T/out" 2> "$T/err"
	got=$?
	cat "$T/out" "$T/err"
	same "$got" "$want" || return 1
	[[ $want -eq 0 ]] || grep -qE '^post: .+: .+: .+' "$T/err"
}

# A verb whose answer, not a message, says what is wrong.
finds_wrong() # command...
{
	"$@" > "$T/out" 2> "$T/err"
	same "$?:$(cat "$T/err")" '1:'
}

# ---- init ------------------------------------------------------------------

check 'a verb that is none is a usage error' ends_with 2 post frob
check 'an option that is none is one' ends_with 2 post status --frob
check 'init without an address is one' ends_with 2 post init
check 'an address that is none is one' ends_with 2 post init --user 'a b'
check 'without a home, status fails and says what to do' ends_with 1 post status
check '... naming init' grep -q 'post init --user' "$T/err"
check 'a directory with other things in it is not made a home' ends_with 1 \
	"$POST" --home "$T" init --user alice@home.example
check 'init makes a home' ends_with 0 post init --user "$ADDRESS"
phrase=$(sed -n 's/^    \([a-z-]*\)$/\1/p' "$T/out")
check '... and prints nine words' same "$(tr -cd - <<< "$phrase" | wc -c)" 8
check 'the home is mode 700' same "$(stat -c %a "$H")" 700
check 'the keys are mode 600' same "$(stat -c %a "$H/keys")" 600
check 'the same user again fails' ends_with 1 post init --user "$ADDRESS"
check 'another one is added' ends_with 0 post --home "$H" init \
	--user bob@home.example --owner 12345:54321
check 'two users: import asks whose' ends_with 2 post import "$T/out"
check 'the phrase makes the same keys again' ends_with 0 \
	bash -c 'echo "$1" | "$2" --home "$3" init --recover --user "$4"' - \
	"${phrase^^}" "$POST" "$T/again" "$ADDRESS"
id_of() { "$POST" --home "$1" status --json | "$PYTHON" -c '
import json, sys
print(json.load(sys.stdin)["users"][0]["id"])'; }
check '... whose id is the same' same "$(id_of "$T/again")" "$(id_of "$H")"
check 'a wrong phrase is refused' ends_with 1 \
	bash -c 'echo "$1" | "$2" --home "$3" init --recover --user "$4"' - \
	"${phrase/a/u}" "$POST" "$T/wrong" "$ADDRESS"
check 'options may stand before the verb and after its arguments' ends_with 0 \
	"$POST" --home "$H" status --json
check '--version' grep -q '^post [0-9]' <("$POST" --version)
for verb in init mount umount status log import export scrub doctor; do
	check "$verb --help tells its options" \
		grep -q -- '--home DIR' <("$POST" "$verb" --help)
	check "help names $verb" grep -q "^  $verb " <("$POST" help)
done

# ---- passphrases -----------------------------------------------------------

echo 'open sesame' > "$T/phrase"
sealed() { timeout 60 "$POST" --home "$T/sealed" "$@"; }
check 'a home with a passphrase is made' ends_with 0 \
	sealed init --user "$ADDRESS" --passphrase-fd 3 3< "$T/phrase"
check 'it opens with it, from a command' ends_with 0 \
	sealed status --passphrase-command "cat '$T/phrase'"
check '... from a credential of systemd' ends_with 0 \
	env CREDENTIALS_DIRECTORY="$T/cred" bash -c \
	'mkdir "$1" && cp "$2" "$1/post-passphrase" && "$3" --home "$4" status' \
	- "$T/cred" "$T/phrase" "$POST" "$T/sealed"
check 'not without' ends_with 1 setsid -w "$POST" --home "$T/sealed" status
check 'nor with a wrong one' ends_with 1 \
	sealed status --passphrase-command 'echo open barley'
check '... which is said' grep -q '^post: keys: wrong passphrase: ' "$T/err"

# ---- mount, umount ---------------------------------------------------------

check 'a mountpoint that is missing is named, with mkdir' ends_with 1 \
	post mount "$MNT/nope"
check '... ' grep -q mkdir "$T/err"
check 'an option that is none is refused' ends_with 2 post mount -o frob "$MNT"
check 'the home can not lie in its mount' ends_with 1 post mount "$T"
check 'mount returns when the mount is usable' ends_with 0 post mount "$MNT"
check '... at once' test -d "$M/new"
check 'the source of the mount is the home' \
	grep -q "^$H $MNT fuse.post " /proc/self/mounts
mkdir "$T/mnt2"
check 'a second daemon is refused for now' ends_with 75 post mount "$T/mnt2"
check '... naming the first' grep -q "process $(cat "$H/lock")" "$T/err"
check 'the socket is mode 600' same "$(stat -c %a "$H/control")" 600
check 'status asks the daemon' grep -q "^mount  *$MNT " <(post status)
sleep 60 < /dev/null > /dev/null 2>&1 3< "$M" &
busy=$!
started $busy
wait_for 5 test -e "/proc/$busy/fd/3"
check 'a busy mount is not taken away' ends_with 75 post umount "$MNT"
check '... and its user is named' grep -q "($busy)" "$T/err"
kill $busy
wait $busy 2> /dev/null
check 'umount' ends_with 0 post umount "$MNT"
check '... and the home is free' ends_with 0 post status
check 'what is not mounted can not be unmounted' ends_with 1 post umount "$MNT"
check 'scripts that mount(8) runs are understood' bash -c '
	ln -s "$1" "$2/mount.post" &&
	timeout 60 "$2/mount.post" "$3" "$4" -n -o rw,noatime,_netdev,nofail' - \
	"$POST" "$T" "$H" "$MNT"
check '... and their options pass' grep -q "$MNT fuse.post .*noatime" \
	/proc/self/mounts
kill_daemon
check 'a dead daemon'\''s mount is found by doctor' finds_wrong post doctor
check '... which names the command that mends it' \
	grep -q "post umount $MNT" "$T/out"
check 'it is replaced by the next one' ends_with 0 post mount "$MNT"
check '... which works' test -d "$M/cur"
kill_daemon
check 'umount takes a dead daemon'\''s mount away' ends_with 0 post umount "$MNT"
check '-o ro mounts read-only' ends_with 0 post mount -o ro "$MNT"
check_refused '... so that nothing can be written' 'Read-only' touch "$M/x"
check 'umount' ends_with 0 post umount "$MNT"

# ---- the home's own local-only names ---------------------------------------

names=$H/local-names
in_log() { post log --user "$ADDRESS" | grep -q "$1"; }
not_in_log() { ! in_log "$1"; }
printf '# ours\n\n*.idx\nplaces.d/\n' > "$names"
check 'a home with a list of local-only names is mounted' ends_with 0 \
	post mount "$MNT"
: > "$M/a.idx"
mkdir "$M/places.d" "$M/b.idx"
: > "$M/places.d/inner"
check '... and they are not in the log' not_in_log 'a\.idx\|places\.d\|inner'
check '... what the list does not name is' in_log 'b\.idx'
check 'umount' ends_with 0 post umount "$MNT"
printf '*.jdx\n/etc/passwd\n' > "$names"
for verb in "mount $MNT" 'import /dev/null' 'export /nowhere' status log scrub \
	'scrub --repair' 'scrub --repair --rebuild' \
	'init --user carol@home.example'; do
	before=$(cd "$H" && find . -type f ! -name lock -exec cksum {} + | sort)
	check "a bad line is refused by $verb" ends_with 1 post $verb
	check '... which names it' grep -q \
		"^post: $names: line 2: has a '/' before its end: give a name" \
		"$T/err"
	check '... and nothing is changed' same "$before" \
		"$(cd "$H" && find . -type f ! -name lock -exec cksum {} + | sort)"
done
printf '*.jdx\n' > "$names"
check 'with another list' ends_with 0 post mount "$MNT"
check 'what was local is there and stays so' not_in_log 'a\.idx\|places\.d'
mv "$M/a.idx" "$M/c.idx"
check '... until it is renamed' in_log 'create .*c\.idx'
: > "$M/d.jdx"
rm "$M/c.idx" "$M/d.jdx"
rm -r "$M/places.d" "$M/b.idx"
check 'what is removed was in the log, or was not' in_log 'unlink .*c\.idx'
check '... ' not_in_log 'd\.jdx\|places\.d'
check 'umount' ends_with 0 post umount "$MNT"
rm "$names"
mkdir "$names"
check 'a list that is a directory is refused' ends_with 1 post status
rmdir "$names"
check '-o subtree shows a part' ends_with 0 \
	post mount -o "subtree=$ADDRESS/Maildir" "$MNT"
check '... as the root' test -d "$MNT/cur"

# ---- import and export -----------------------------------------------------

maildir=$T/from
mkdir -p "$maildir"/{cur,new,tmp} "$maildir"/.Lists.linux/{cur,new,tmp} \
	"$maildir"/Nested/{cur,new,tmp}
printf '0 $Forwarded\n3 work\n' > "$maildir/dovecot-keywords"
message 1 > "$maildir/cur/1.a.b,S=9:2,SFad"
message 1 > "$maildir/cur/2.a.b:2,"
printf 'no header, no end' > "$maildir/new/3.a.b"
printf 'Subject: \344\0\r\n\r\n.\r\n' > "$maildir/.Lists.linux/cur/4.a.b:2,R"
message 5 > "$maildir/Nested/new/5.a.b"
touch -d '2001-02-03 04:05:06.789 UTC' "$maildir"/cur/1*
touch -d '1999-01-01 UTC' "$maildir"/.Lists.linux/cur/*
{
	echo 'From a@b Thu Jan  1 00:00:01 1998'
	printf 'Status: RO\nX-Status: F\nX-Keywords: work  play\n'
	message 6
	printf '\n>From the start\n\n'
	echo 'From c@d Thu Jan  1 00:00:02 1998'
	message 7
	echo
} > "$T/mbox"
message 8 > "$T/8.eml"

# The messages of a Maildir++ tree by folder, flags, date and bytes.
inventory() # maildir
{
	(cd "$1" && find . -type f \( -path '*/cur/*' -o -path '*/new/*' \) \
		-printf '%P\t%T@\n' | while IFS=$'\t' read -r f when; do
		flags=new
		[[ $f == *:2,* ]] && flags=${f##*:2,}
		echo "$(dirname "$(dirname "$f")") $flags $when" \
			"$(md5sum < "$f")"
	done | LC_ALL=C sort)
}

both() # how: the checks of import and export, mounted or not
{
	local how=$1 to=$T/export-$1

	check "$how: import takes all" ends_with 0 post import \
		--user "$ADDRESS" "$maildir" "$T/mbox" "$T/8.eml"
	check "$how: ... and says so" grep -q '^imported 8 messages ' "$T/out"
	check "$how: a second time, nothing" ends_with 0 post import \
		"$maildir" "$T/mbox" "$T/8.eml" --user "$ADDRESS"
	check "$how: ... and says so" \
		grep -q '^imported 0 messages .*; 8 were there' "$T/out"
	message 9 > "$maildir/new/9.a.b"
	check "$how: only what is new" ends_with 0 post import "$maildir" \
		--user "$ADDRESS"
	check "$how: ... is taken" \
		grep -q '^imported 1 messages .*; 5 were there' "$T/out"
	rm "$maildir/new/9.a.b"
	check "$how: export" ends_with 0 post export --user "$ADDRESS" "$to"
	check "$how: ... says how many" grep -q '^exported 9 messages' "$T/out"
	check "$how: a second time, nothing" ends_with 0 post export \
		--user "$ADDRESS" "$to"
	check "$how: ... and says so" \
		grep -q '^exported 0 messages .*; 9 were there' "$T/out"
	check "$how: ,S= is the size" sizes_hold "$to"
	check "$how: folders are there" test -d "$to/.Lists.linux/cur" -a \
		-d "$to/.Nested/new"
	check "$how: flags, dates and bytes are kept" came_through "$to"
	check "$how: a From_ line's date is the message's" same \
		"$(stat -c %Y "$to"/cur/*:2,FSbc)" 883612801
	check "$how: keywords are merged" same "$(cat "$to/dovecot-keywords")" \
		$'0 $Forwarded\n1 work\n2 play'
	check "$how: export as an mbox" ends_with 0 post export \
		--user "$ADDRESS" --mbox "$to.mbox"
	check "$how: ... of the INBOX" same "$(grep -c '^From ' "$to.mbox")" 7
	check "$how: ... quoted" grep -q '^>>From the start' "$to.mbox"
	check "$how: ... which comes back" ends_with 0 post import \
		--mboxrd --folder Back --user "$ADDRESS" "$to.mbox"
	check "$how: ... with its flags" flags_of_back "$how" "$to"
}

sizes_hold()
{
	find "$1" -name '*,S=*' -printf '%f %s\n' | while read -r name size; do
		[[ $name =~ ,S=$size(:|$) ]] || { echo "$name $size"; exit 1; }
	done
}

# The Maildir's own, once more each: d was work there and is b here.
came_through()
{
	inventory "$maildir" | sed -E 's/^Nested /.Nested /; s/ SFad / FSab /' |
		LC_ALL=C sort > "$T/want"
	inventory "$1" > "$T/got"
	cat "$T/got"
	same "$(LC_ALL=C comm -23 "$T/want" "$T/got")" '' &&
		same "$(wc -l < "$T/got")" 9
}

flags_of_back()
{
	post export --quiet --user "$ADDRESS" --folder Back "$2-back" &&
		same "$(find "$2-back" -type f -name '*:2,*' |
			sed 's/.*:2,//' | sort | tr '\n' ' ')" \
		"$(find "$2/cur" -type f -name '*:2,*' |
			sed 's/.*:2,//' | sort | tr '\n' ' ')"
}

check_refused 'import into a subtree that hides the folder says so' \
	'no such user|shows only' post import --user bob@home.example "$T/8.eml"
check 'umount' ends_with 0 post umount "$MNT"
both direct
mv "$H" "$H.direct"
check 'another home' ends_with 0 post init --user "$ADDRESS"
check 'mounted' ends_with 0 post mount "$MNT"
both mounted
check 'what root imports belongs to whose directory it is' \
	same "$(find "$M" ! -user "$(id -un)")" ''
check_refused 'what is no mail is not imported' 'neither an mbox nor a mail' \
	post import "$POST"
check_refused 'what is missing is named' 'nope' post import "$T/nope"
check_refused 'a folder that is none is refused' 'no folder name' \
	post import --folder a//b "$T/8.eml"
check_refused 'an mbox is not written over' 'is there already' \
	post export --mbox "$T/mbox"

# ---- interruptions ---------------------------------------------------------

many=$T/many
mkdir -p "$many"/{cur,new,tmp}
(cd "$many/new" && "$PYTHON" -c '
for i in range(2500):
    open(f"{i}.x.y", "w").write(f"Subject: {i}\n\n" + f"line {i}\n" * 200)')
interrupted() # folder: a SIGINT in the middle, then again
{
	local pid delay stopped=

	# Until one of them comes in time; each goes on where the last one was.
	for delay in 0.1 0.05 0.03 0.02 0.01; do
		"$POST" --home "$H" import --folder "$1" "$many" \
			> "$T/out" 2> "$T/err" &
		pid=$!
		sleep $delay
		kill -INT $pid 2> /dev/null
		wait $pid
		[[ $? -ne 75 ]] || stopped=1
		cat "$T/out" "$T/err"
		[[ -z $stopped ]] || break
	done
	[[ $stopped ]] && grep -q 'run the same command again' "$T/err" ||
		return 1
	post import --folder "$1" "$many" || return 1
	post export --quiet --folder "$1" "$T/int-$1" &&
		same "$(cd "$T/int-$1/new" && md5sum -- * | cut -c1-32 | sort)" \
			"$(cd "$many/new" && md5sum -- * | cut -c1-32 | sort)"
}
check 'an interrupted import goes on, mounted' interrupted mounted
killed()
{
	local pid
	"$POST" --home "$H" import --folder killed "$many" > /dev/null 2>&1 &
	pid=$!
	sleep 0.3
	kill_daemon
	wait $pid
	post mount "$MNT" && post import --folder killed "$many" &&
		same "$(cd "$M/.killed/new" && md5sum -- * | cut -c1-32 | sort)" \
			"$(cd "$many/new" && md5sum -- * | cut -c1-32 | sort)"
}
check 'an import whose daemon was killed goes on' killed
check 'umount' ends_with 0 post umount "$MNT"
check 'an interrupted import goes on, not mounted' interrupted direct
killed_direct()
{
	local pid
	"$POST" --home "$H" import --folder again "$many" > /dev/null 2>&1 &
	pid=$!
	sleep 0.05
	kill -9 $pid
	wait $pid 2> /dev/null
	post import --folder again "$many" &&
		post export --quiet --folder again "$T/again-out" &&
		same "$(cd "$T/again-out/new" && md5sum -- * | cut -c1-32 |
			sort)" \
			"$(cd "$many/new" && md5sum -- * | cut -c1-32 | sort)"
}
check 'an import that was killed goes on' killed_direct

# ---- log, scrub, doctor ----------------------------------------------------

json() # expression on d, of the JSON on stdin
{
	"$PYTHON" -c 'import json, sys
d = json.load(sys.stdin)
assert eval("(" + sys.argv[1] + ")"), d' "$1"
}
log_json() { post log --json --max 3 | json 'len(d) == 3 and
	d[0]["sequence"] > d[2]["sequence"] and d[0]["user"] == "'$ADDRESS'"'; }
check 'log --json is a list, newest first' log_json
scrub_json() { post scrub --json | json 'd["damaged_blocks"] == 0 and
	d["files"] > 2500 and d["rebuilt"] is False'; }
check 'scrub finds all whole' scrub_json
check 'scrub of a path' ends_with 0 post scrub --path "$ADDRESS/Maildir/.Back"
check 'scrub of a path that is none' ends_with 1 post scrub --path nope
head -c 300000 /dev/zero |
	dd of="$H/index/data.mdb" conv=notrunc status=none
check 'a damaged index is noticed' ends_with 1 post status
check '... and the command that mends it is named' \
	grep -q "run 'post scrub --repair'" "$T/err"
check 'doctor sees it too' grep -q 'post scrub --repair' <(post doctor)
check 'scrub --repair mends it' ends_with 0 post scrub --repair
check 'everything is there again' same \
	"$(rm -rf "$T/after"; post export --quiet --folder again "$T/after" \
		> /dev/null; inventory "$T/after" | md5sum)" \
	"$(inventory "$T/again-out" | md5sum)"
check 'import still takes nothing twice' ends_with 0 \
	post import --folder again "$many"
check '... ' grep -q '^imported 0 ' "$T/out"
doctor_json() { post doctor --json | json 'd["ok"] in (True, False) and
	all(f["check"] and f["state"] in ("ok", "hint", "wrong")
	for f in d["findings"])'; }
check 'doctor --json' doctor_json
chmod 644 "$H/keys"
check 'doctor sees keys that others can read' finds_wrong post doctor
check '... and how to mend it' grep -q "chmod 600 $H/keys" "$T/out"
finish
