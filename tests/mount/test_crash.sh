#!/bin/bash
# test_crash.sh - kill -9 under delivery, a second daemon, a full disk, damage.
#
# POST_LOOPS: how often the daemon is killed (30; 1000 for the long run).
. "$(dirname "$0")/lib.sh"
[[ -z $PLAIN ]] || leave 'a plain directory has no daemon to kill'
LOOPS=${POST_LOOPS:-30}
[[ $LOOPS -le 100 ]] || POST_TEST_LIMIT=$((LOOPS * 6))
WORKERS=2
begin

now_ms()
{
	date +%s%3N
}

# ---- kill -9 ---------------------------------------------------------------

kill_loop()
{
	local i w pids slowest=0 took begun dead=0 bad=0

	mkdir "$T/logs"
	for ((i = 1; i <= LOOPS; i++)); do
		pids=()
		for ((w = 0; w < WORKERS; w++)); do
			py crash.py run "$M" "$T/logs/$i.$w" $((i * 10 + w)) &
			pids+=($!)
		done
		sleep "0.$((RANDOM % 45 + 5))"
		kill_daemon && dead=$((dead + 1))
		wait "${pids[@]}"
		begun=$(now_ms)
		mount_it > "$T/said" 2>&1 && stat "$M/new" > /dev/null 2>&1 || {
			not_ok "mounted after kill number $i" "$(cat "$T/said")"
			bad=1
			break
		}
		took=$(($(now_ms) - begun))
		[[ $took -le $slowest ]] || slowest=$took
		py crash.py verify "$M" "$T/logs/$i".* > "$T/said" 2>&1 || {
			not_ok "after kill number $i" "$(cat "$T/said")"
			bad=1
			break
		}
	done
	check "killed $dead times under delivery, nothing acknowledged is lost" \
		test "$bad" -eq 0 -a "$dead" -eq "$LOOPS"
	check "the slowest mount after a kill took $slowest ms, below 2,000" \
		test "$slowest" -lt 2000
	count 'all kills together' py crash.py verify "$M" "$T"/logs/*
	check 'unmounted and mounted again in order' remount_it
	count 'and after that' py crash.py verify "$M" "$T"/logs/*
	check 'scrub finds all whole' "$POST" --home "$H" scrub
}

# Dead, and nobody mounts again: the user takes the mount away.
stale_mount()
{
	kill_daemon
	check_refused 'a dead mount says so' 'not connected|aborted' ls "$M"
	check 'post umount takes away a dead mount' "$POST" umount "$MNT"
	check '... and the directory below is there' ls "$MNT"
	check 'mounted again' mount_it
	kill_daemon
	umount -l "$MNT" 2> /dev/null || fusermount3 -uz "$MNT"
	check 'mounted again after umount -l' mount_it
	kill -TERM "$(daemon_pid)"
	check 'told to end, the daemon ends and unmounts' \
		wait_for 20 test ! -e "$U"
	check '... and the home is free' wait_for 20 mount_it
}

second_daemon()
{
	mkdir -p "$T/second"
	check_refused 'a second daemon on one home is refused' \
		"$H: in use by process [0-9]+: .*post umount" \
		timeout 20 "$POST" --home "$H" mount "$T/second"
	"$POST" --home "$H" mount "$T/second" > /dev/null 2>&1
	check '... with status 75' same $? 75
	check '... and the first lives on' ls "$M"
	"$POST" --home "$T/other" init --user bob@home.example > /dev/null
	check_refused 'a second mount on one mountpoint is refused' 'mounted' \
		timeout 20 "$POST" --home "$T/other" mount "$MNT"
}

# ---- a full disk -----------------------------------------------------------

full_disk()
{
	local home=$H

	if [[ $(id -u) -ne 0 ]]; then
		not_here 'a full disk' 'only root mounts a tmpfs'
		return
	fi
	umount_it
	mkdir "$T/small"
	mount -t tmpfs -o size=48m tmpfs "$T/small" || {
		not_here 'a full disk' 'a tmpfs can not be mounted'
		return
	}
	H=$T/small/home
	check 'a home on a small disk' "$POST" --home "$H" init \
		--user "$ADDRESS"
	check '... is mounted' mount_it
	count 'filling the disk' py fill.py fill "$M" "$T/list"
	count 'what was there before' py fill.py verify "$M" "$T/list"
	count 'one more' py fill.py refused "$M"
	check 'the daemon still answers' ls "$M/new"
	check 'status still answers' timeout 20 "$POST" --home "$H" status
	kill_daemon
	check 'killed on a full disk, it mounts again' mount_it
	count 'what was there before the kill' py fill.py verify "$M" "$T/list"
	check 'space returns' mount -o remount,size=160m "$T/small"
	message 1 > "$T/mail"
	check 'and mail is taken again' wait_for 10 deliver_to "$M"
	count 'what was there, after that' py fill.py verify "$M" "$T/list"
	check 'mounted again' remount_it
	count 'what was there, after a remount' \
		py fill.py verify "$M" "$T/list"
	check 'scrub finds all whole' "$POST" --home "$H" scrub
	check 'unmounted' umount_it
	umount "$T/small"
	H=$home
	mount_it
}

deliver_to() # maildir
{
	deliver "$1" < "$T/mail"
}

# ---- damage ----------------------------------------------------------------

flip() # file offset
{
	"$PYTHON" -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1)
f.seek(-1, 1); f.write(bytes([b[0] ^ 0x10]))' "$1" "$2"
}

# Read all of LIST: prints "good unreadable wrong" counts.
judge() # list
{
	"$PYTHON" - "$M" "$1" << 'END'
import hashlib
import sys
good = bad = wrong = 0
for line in open(sys.argv[2]):
    name, digest = line.split()
    try:
        data = open(f"{sys.argv[1]}/new/{name}", "rb").read()
    except OSError:
        bad += 1
        continue
    if hashlib.sha256(data).hexdigest() == digest:
        good += 1
    else:
        wrong += 1
print(good, bad, wrong)
END
}

fresh_home() # with 40 messages in $T/few
{
	umount_it > /dev/null 2>&1
	H=$T/home$1
	"$POST" --home "$H" init --user "$ADDRESS" > /dev/null && mount_it ||
		return 1
	"$PYTHON" - "$HERE" "$M" "$T/few" << 'END'
import hashlib
import os
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from deliver import deliver
with open(sys.argv[3], "w") as out:
    for i in range(40):
        data = b"Subject: few %d\n\n" % i + os.urandom(30000)
        print(deliver(sys.argv[2], data), hashlib.sha256(data).hexdigest(),
              file=out)
END
	umount_it
}

damaged_pack()
{
	local pack size good bad wrong

	check 'a home to damage' fresh_home .pack
	pack=$(ls -S "$H"/packs/* | head -n 1)
	size=$(stat -c %s "$pack")
	cp -a "$pack" "$T/pack"
	flip "$pack" $((size / 2))
	check 'with a flipped bit in a pack it mounts' mount_it
	read -r good bad wrong < <(judge "$T/few")
	check "$good messages are readable, $bad not, $wrong wrong" \
		test "$good" -ge 37 -a "$bad" -ge 1 -a "$wrong" -eq 0
	check_refused 'scrub names the damaged pack' \
		"packs/$(basename "$pack")" "$POST" --home "$H" scrub
	check '... and exits 1' same \
		"$("$POST" --home "$H" scrub > /dev/null 2>&1; echo $?)" 1
	check_refused '... and a message that is hurt' 'Maildir/new/' \
		"$POST" --home "$H" scrub
	umount_it
	cp -a "$T/pack" "$pack"
	check 'the pack is put back from a backup' mount_it
	read -r good bad wrong < <(judge "$T/few")
	check '... and all is well' same "$good $bad $wrong" '40 0 0'
	check '... says scrub too' "$POST" --home "$H" scrub
	umount_it
	truncate -s $((size * 2 / 3)) "$pack"
	check_damage 'a pack that was cut short' "packs/$(basename "$pack")"
	cp -a "$T/pack" "$pack"
}

# Either the mount is refused with a message that names the file, or it mounts
# and scrub names it; nothing wrong is ever read.
check_damage() # what file
{
	local good bad wrong

	if mount_it > /dev/null 2>&1; then
		read -r good bad wrong < <(judge "$T/few")
		check "$1: $good readable, $bad not, $wrong wrong" \
			test "$wrong" -eq 0 -a "$bad" -ge 1
		check_refused "$1: scrub names it" "$2" \
			"$POST" --home "$H" scrub
		umount_it
	else
		check_refused "$1: the mount is refused, and names it" "$2" \
			mount_it
	fi
}

damaged_index()
{
	local how good bad wrong index

	for how in cut zeroed missing; do
		check "a home whose index will be $how" fresh_home ".$how"
		index=$H/index/data.mdb
		case $how in
		cut) truncate -s 6000 "$index" ;;
		zeroed) dd if=/dev/zero of="$index" bs=4096 count=8 \
			conv=notrunc status=none ;;
		missing) rm "$index" ;;
		esac
		check_refused "an index $how: refused, naming file and command" \
			'index.*post scrub --repair' mount_it
		check "an index $how: scrub --repair" \
			"$POST" --home "$H" scrub --repair
		check "an index $how: it mounts" mount_it
		read -r good bad wrong < <(judge "$T/few")
		check "an index $how: every message is there" \
			same "$good $bad $wrong" '40 0 0'
		check "an index $how: mail is taken" deliver_to "$M"
		check "an index $how: scrub is content" \
			"$POST" --home "$H" scrub
		umount_it
	done
}

# A bit of the index is wrong wherever this text stands in it: in a row, and in
# pages that are free.
flip_row() # text
{
	local at

	for at in $(grep -aboF "$1" "$H/index/data.mdb" | cut -d: -f1); do
		flip "$H/index/data.mdb" "$at"
	done
}

xattr() # set|get
{
	"$PYTHON" -c 'import os, sys
if sys.argv[1] == "set":
    os.setxattr(sys.argv[2], "user.colour", b"vermilion")
else:
    assert os.getxattr(sys.argv[2], "user.colour") == b"vermilion"' \
		"$1" "$M/new/$2"
}

damaged_row()
{
	local name good bad wrong

	check 'a home whose index will have wrong bits' fresh_home .row
	name=$(tail -n 1 "$T/few" | cut -d' ' -f1)
	mount_it && xattr set "$name"
	check 'a message has an attribute' xattr get "$name"
	umount_it
	flip_row vermilion
	check 'a wrong bit in a row that no start needs: it mounts' mount_it
	check_refused '... the row is not read' 'Input/output error' \
		xattr get "$name"
	check_refused '... scrub names file and command' \
		'index/data.mdb.*post scrub --repair' "$POST" --home "$H" scrub
	umount_it
	check_refused '... doctor sees it' 'post scrub --repair' \
		"$POST" --home "$H" doctor
	check '... scrub --repair mends it' "$POST" --home "$H" scrub --repair
	check '... it mounts' mount_it
	check '... and the attribute is there' xattr get "$name"
	umount_it
	flip_row "$name"
	check_damage 'a wrong bit in the row of a name' \
		'index/data.mdb.*post scrub --repair'
	check '... scrub --repair mends it' "$POST" --home "$H" scrub --repair
	check '... it mounts again' mount_it
	read -r good bad wrong < <(judge "$T/few")
	check '... every message is there' same "$good $bad $wrong" '40 0 0'
	check '... scrub is content' "$POST" --home "$H" scrub
	umount_it
}

damaged_keys()
{
	local size at

	check 'a home whose keys will be damaged' fresh_home .keys
	cp -a "$H/keys" "$T/keys"
	size=$(stat -c %s "$H/keys")
	for at in 0 $((size / 2)) $((size - 1)); do
		flip "$H/keys" "$at"
		check_refused "keys with byte $at flipped: refused by name" \
			"$H/keys" mount_it
		cp -a "$T/keys" "$H/keys"
	done
	truncate -s $((size / 2)) "$H/keys"
	check_refused 'keys cut short: refused by name' "$H/keys" mount_it
	rm "$H/keys"
	check_refused 'keys missing: refused by name' "$H/keys.*missing" mount_it
	cp -a "$T/keys" "$H/keys"
	cp -a "$H/format" "$T/format"
	sed 's/[0-9]*$/999/' "$T/format" > "$H/format"
	check_refused 'a home of a newer version is refused' 'newer' mount_it
	check_refused '... by every verb' 'newer' "$POST" --home "$H" status
	check '... and nothing is written to it' same "$(cat "$H/format")" \
		"$(sed 's/[0-9]*$/999/' "$T/format")"
	echo 'something else' > "$H/format"
	check_refused 'a format that is none is refused by name' "format" \
		mount_it
	cp -a "$T/format" "$H/format"
	check 'put back, it mounts' mount_it
	read -r good bad wrong < <(judge "$T/few")
	check '... with all its mail' same "$good $bad $wrong" '40 0 0'
	umount_it
}

passphrase()
{
	umount_it > /dev/null 2>&1
	H=$T/home.sealed
	echo 'correct horse' > "$T/right"
	echo 'battery staple' > "$T/wrong"
	check 'a home under a passphrase' "$POST" --home "$H" init \
		--user "$ADDRESS" --passphrase --passphrase-file "$T/right"
	check_refused 'a wrong passphrase is refused' 'passphrase' \
		mount_it --passphrase-file "$T/wrong"
	check_refused 'none is refused' 'passphrase' mount_it
	check 'the right one is taken' mount_it --passphrase-file "$T/right"
	check '... and mail too' deliver_to "$M"
	check 'nothing of it is in the home as it was' \
		nothing_plain "$H"
	umount_it
}

nothing_plain() # home
{
	umount_it && mount_it --passphrase-file "$T/right" &&
		! grep -rqaF -e 'lip6.example' -e 'message 1' "$1/packs" \
			"$1/journal" "$1/local" "$1/index"
}

message 1 > "$T/mail"
kill_loop
stale_mount
second_daemon
full_disk
damaged_pack
damaged_index
damaged_row
damaged_keys
passphrase
finish
