#!/usr/bin/env bash
# Real mail in and out: imported, read back through a mount and compared byte
# for byte, exported and compared again; never twice, and on after an
# interruption.  $POST_CORPUS is a directory of mails; without it the sample
# mails of tests/sample are taken.  Prints what the mail costs on disk.
. "$(dirname "$0")/lib.sh"
[[ -z $PLAIN ]] || leave "import needs the program"
begin home

post() { timeout 300 "$POST" --home "$H" "$@"; }

corpus=${POST_CORPUS:-$SOURCE/tests/sample}
[[ -n ${POST_CORPUS-} ]] ||
	echo "POST_CORPUS is not set: the sample mails are taken"

# Each mail once, by a name of its own, so that a Maildir can be made of them;
# an mbox of several is one file here.  What is no mail is left out by asking
# the program that decides it: the import of a Maildir takes every file.
source_maildir=$T/source
mkdir -p "$source_maildir"/{cur,new,tmp}
n=0
while IFS= read -r -d '' file; do
	n=$((n + 1))
	cp "$file" "$source_maildir/cur/$((1600000000 + n)).M${n}P1.test:2,S"
done < <(find "$corpus" -type f -size +0 -print0 | sort -z)
echo "$n mails, $(cat "$source_maildir"/cur/* | wc -c) bytes"

sums() { # directory...
	find "$@" -type f \( -path '*/cur/*' -o -path '*/new/*' \) -print0 |
		xargs -0 -r sha256sum | cut -d' ' -f1 | sort
}

messages() { post status --json | "$PYTHON" -c '
import json, sys
print(sum(u["messages"] for u in json.load(sys.stdin)["users"]))'; }

cost() { # mailboxes
	local bytes disk

	bytes=$(cat "$source_maildir"/cur/* | wc -c)
	disk=$(du -s --block-size=1 "$H" | cut -f1)
	echo "on disk, everything counted, $1 mailboxes:" \
		"$(awk "BEGIN { printf \"%.3f\", $disk / ($bytes * $1) }")" \
		"bytes a byte of mail"
}

sums "$source_maildir" > "$T/wanted"
check 'a Maildir of all is imported' post import -q "$source_maildir"
check '... every message of it' same "$(messages)" "$n"
cost 1
check 'a second import adds nothing' post import -q "$source_maildir"
check '... not one' same "$(messages)" "$n"
check 'it mounts' mount_it
sums "$M" > "$T/got"
check 'read through the mount every byte is right' cmp "$T/wanted" "$T/got"
check 'flags were kept' same \
	"$(find "$M/cur" -name '*:2,S' | wc -l)" "$n"
check 'an export beside the mount' post export -q "$T/out"
sums "$T/out" > "$T/got"
check '... has every byte' cmp "$T/wanted" "$T/got"
check 'an export goes on where it was' post export -q "$T/out"
check '... and writes none twice' same \
	"$(sums "$T/out" | wc -l)" "$n"
check 'import beside the mount adds nothing either' \
	post import -q "$source_maildir"
check '... not one' same "$(messages)" "$n"
check 'it unmounts' umount_it
check 'scrub is content' post scrub
check 'an export without a mount' post export -q "$T/out2"
sums "$T/out2" > "$T/got"
check '... has every byte' cmp "$T/wanted" "$T/got"

for user in bob carol; do
	check "$user is added" post init --user "$user@home.example"
	check '... with the same mails' \
		post import -q --user "$user@home.example" "$source_maildir"
done
check 'three mailboxes have three times as many' same "$(messages)" $((3 * n))
cost 3

# Interrupted: asked to stop, then killed, again and again until it is done.
H=$T/again
post init --user "$ADDRESS" > /dev/null
interruptions=0
for signal in INT KILL INT KILL KILL INT KILL; do
	"$POST" --home "$H" import -q "$source_maildir" > "$T/said" 2>&1 &
	pid=$!
	sleep 0.$((RANDOM % 4 + 1))
	kill -"$signal" "$pid" 2> /dev/null && interruptions=$((interruptions + 1))
	wait "$pid"
done 2> /dev/null
echo "$interruptions interruptions"
check 'after interruptions it goes on' post import -q "$source_maildir"
check '... to the end, and nothing twice' same "$(messages)" "$n"
check 'it mounts' mount_it
sums "$M" > "$T/got"
check '... with every byte' cmp "$T/wanted" "$T/got"
check 'it unmounts' umount_it

# The same mails as one mbox come back as they were.
H=$T/mbox
post init --user "$ADDRESS" > /dev/null
check 'the sample as files of their own' post import -q "$SOURCE/tests/sample"
first=$(messages)
check 'as an mbox' post export -q --no-status --mbox "$T/mbox.txt"
check 'into another home' "$POST" --home "$T/mbox2" init --user "$ADDRESS"
check '... from that mbox' "$POST" --home "$T/mbox2" import -q --mboxrd "$T/mbox.txt"
H=$T/mbox2
check '... as many messages' same "$(messages)" "$first"
finish
