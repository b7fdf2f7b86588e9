#!/usr/bin/env bash
# As an ordinary user, who mounts through fusermount3; and as root through
# mount(8) and the lines of an fstab.
. "$(dirname "$0")/lib.sh"
[[ -z $PLAIN ]] || leave "mounting needs the program"
need mount umount fusermount3
begin dir
need_user "$T/user"

[[ $(stat -c %A /dev/fuse) == *rw?rw?rw? || $(stat -c %a /dev/fuse) == 666 ]] || {
	# Elsewhere udev makes it so; a bare machine may not have.
	before=$(stat -c %a /dev/fuse)
	chmod 666 /dev/fuse || leave "/dev/fuse is not for ordinary users"
	undo chmod "$before" /dev/fuse
}
U=$T/user
mkdir "$U" && chown "$TESTER": "$U"
tree=$U/mail/$ADDRESS
cp "$POST" "$T/post" && chmod 755 "$T/post"

check 'a home of her own' as_user "$T/post" init --user "$ADDRESS"
check '... at the usual place' test -s "$U/.local/share/post/keys"
check '... is for her alone' same "$(stat -c %a:%U "$U/.local/share/post")" \
	"700:$TESTER"
as_user mkdir "$U/mail" "$U/second"
check 'she mounts' as_user timeout 60 "$T/post" mount "$U/mail"
check 'her tree is hers' same "$(as_user stat -c %U "$tree/Maildir")" "$TESTER"
check 'she delivers' as_user sh -c "
	cd '$tree/Maildir' && printf 'Subject: x\n\ny\n' > tmp/1 &&
	mv tmp/1 new/1 && cat new/1"
check_refused 'root, who did not mount it, is kept out' 'denied|not permitted' \
	ls "$tree"
check 'status tells of it' as_user "$T/post" status
check '... with one message' same "$(as_user "$T/post" status --json |
	"$PYTHON" -c 'import json, sys
print(json.load(sys.stdin)["users"][0]["messages"])')" 1
check 'a second daemon is refused' same "$(as_user "$T/post" mount "$U/second" \
	> /dev/null 2>&1; echo $?)" 75
check 'she unmounts' as_user timeout 60 "$T/post" umount "$U/mail"
check '... and nothing is left' same "$(ls -A "$U/mail")" ''
check 'she mounts again' as_user timeout 60 "$T/post" mount "$U/mail"
check 'her mail is there' as_user grep -q Subject "$tree/Maildir/new/1"
pkill -9 -u "$TESTER" -x post
check 'after a kill she mounts over what is left' \
	as_user timeout 60 "$T/post" mount "$U/mail"
check '... and her mail is there' as_user grep -q Subject "$tree/Maildir/new/1"
check 'fusermount3 -u ends it' as_user fusermount3 -u "$U/mail"
check '... and its daemon' wait_for 20 as_user "$T/post" scrub

# mount(8) looks for a helper of the type's name in /sbin.
H=$T/home
"$POST" --home "$H" init --user "$ADDRESS" > /dev/null
mkdir -p "$MNT"
if [[ -e /sbin/mount.fuse.post || -e /sbin/mount.post ]]; then
	not_here 'mount -t post' '/sbin/mount.post is there already'
	finish
fi
for type in fuse.post post; do
	ln -s "$T/post" "/sbin/mount.$type" || {
		not_here "mount -t $type" '/sbin can not be written'
		continue
	}
	undo rm -f "/sbin/mount.$type"
	check "mount -t $type" timeout 60 mount -t "$type" "$H" "$MNT"
	check '... shows the tree' test -d "$MNT/$ADDRESS/Maildir/new"
	check '... as fuse.post, nosuid, nodev' grep -qE \
		"$MNT fuse.post rw,nosuid,nodev" /proc/self/mounts
	check '... and umount(8) ends it' timeout 60 umount "$MNT"
	check '... all of it' wait_for 20 "$POST" --home "$H" scrub
	check 'with the options of an fstab' timeout 60 mount -t "$type" -o \
		"rw,allow_other,_netdev,nofail,noatime,x-systemd.automount" \
		"$H" "$MNT"
	check '... others see it' as_user ls "$MNT"
	check '... and it ends' timeout 60 umount "$MNT"
	wait_for 20 "$POST" --home "$H" scrub
	check_refused 'an option that is none is refused' 'frobnicate' \
		timeout 60 mount -t "$type" -o frobnicate "$H" "$MNT"
	check 'read-only' timeout 60 mount -t "$type" -o ro "$H" "$MNT"
	check_refused '... means that' 'Read-only' touch "$MNT/$ADDRESS/x"
	check '... and it ends' timeout 60 umount "$MNT"
	wait_for 20 "$POST" --home "$H" scrub
	rm -f "/sbin/mount.$type"
done
finish
