#!/bin/bash
# test_delivery.sh - programs that put mail into a Maildir on the mount, as the
# mail user whose it is: Postfix's local(8), procmail, maildrop, mblaze; and
# those that look for it there: mblaze, notmuch.
. "$(dirname "$0")/lib.sh"
need_root 'mail is delivered to another uid'
begin
need_user "$U"
chown "$TESTER:$TESTER" "$U"
chown -R "$TESTER:$TESTER" "$M"
# Theirs, and nobody else's to write: procmail and maildrop look.
mkdir -m 755 "$T/out"
chown "$TESTER:$TESTER" "$T/out"

# Sample mails, each with what a careless program would spoil.
samples()
{
	mkdir "$T/mails"
	message 1 'plain' > "$T/mails/plain"
	{
		message 2 'From in the body'
		printf 'From me, not a separator\n>From quoted\n.\n..\n'
	} > "$T/mails/from"
	{
		message 3 'long lines'
		printf 'x%.0s' $(seq 990)
		printf '\n\n\ntrailing blanks  \n\n'
	} > "$T/mails/long"
	{
		message 4 '=?utf-8?q?Caf=C3=A9?='
		printf 'Caf\303\251 \344\270\255 \377 8-bit\n'
	} > "$T/mails/eight"
	{
		message 5 'large'
		head -c 400000 /dev/urandom | base64
	} > "$T/mails/large"
}

# The newest file of a folder ends with the body of that mail, to the byte.
arrived() # maildir mail
{
	local file

	[[ $(how_many "$1") -eq 1 ]] || return 1
	file=$(find "$1/new" "$1/cur" -type f)
	[[ $(stat -c %U "$file") == "$TESTER" ]] || {
		echo "owner is $(stat -c %U "$file")"
		return 1
	}
	# Header fields are added by some; the body is not theirs to touch.
	cmp <(sed '1,/^$/d' "$2") <(sed '1,/^$/d' "$file") &&
		grep -qxF "$(grep -m 1 ^Subject "$2")" "$file"
}

# Take away what arrived.
empty() # maildir
{
	find "$1/new" "$1/cur" -type f -delete
}

# Send each sample with a function; all must arrive.
each_sample() # name maildir function
{
	local mail

	for mail in "$T"/mails/*; do
		empty "$2"
		check "$1 delivers '${mail##*/}'" "$3" "$mail"
		wait_for 10 arrived "$2" "$mail"
		check "$1: '${mail##*/}' arrives whole" arrived "$2" "$mail"
	done
	check "$1 leaves nothing in tmp" test -z "$(ls -A "$2/tmp")"
}

# ---- Postfix ---------------------------------------------------------------

postfix_setup()
{
	local etc=$T/postfix

	PORT=$(free_port)
	mkdir -m 755 "$etc" "$T/spool" "$T/data"
	chown postfix "$T/data"
	cp /etc/postfix/postfix-files "$etc/" 2> /dev/null ||
		cp /usr/share/postfix/postfix-files "$etc/" 2> /dev/null
	cp -r /etc/postfix/postfix-files.d "$etc/" 2> /dev/null
	cat > "$etc/master.cf" << END
127.0.0.1:$PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
END
	cat > "$etc/main.cf" << END
compatibility_level = 3.6
queue_directory = $T/spool
data_directory = $T/data
command_directory = /usr/sbin
daemon_directory = $(postconf -h daemon_directory)
mail_owner = postfix
setgid_group = postdrop
myhostname = home.example
mydestination = home.example, localhost
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps = hash:$etc/aliases
alias_database = hash:$etc/aliases
home_mailbox = Maildir/
maillog_file = $T/out/maillog
maillog_file_prefixes = $T, /var, /dev/stdout
message_size_limit = 51200000
queue_run_delay = 2s
minimal_backoff_time = 1s
default_database_type = hash
END
	printf 'alice: %s\nspool: %s/\n' "$TESTER" "$M/.Alias" > "$etc/aliases"
	postalias -c "$etc" "hash:$etc/aliases"
}

postfix_stop()
{
	postfix -c "$T/postfix" stop
	wait_for 15 not_running || postfix -c "$T/postfix" abort
}

not_running()
{
	! postfix -c "$T/postfix" status
}

smtp_answers()
{
	"$PYTHON" -c "import smtplib; smtplib.SMTP('127.0.0.1', $PORT, timeout=5).noop()"
}

smtp_send() # mail [to]
{
	"$PYTHON" - "$PORT" "$1" "${2:-$ADDRESS}" << 'END'
import smtplib
import sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=30) as s:
    s.sendmail("bob@lip6.example", [sys.argv[3]],
               open(sys.argv[2], "rb").read().replace(b"\n", b"\r\n"))
END
}

to_spool() # mail
{
	smtp_send "$1" "$TESTER@localhost"
}

postfix_test()
{
	postfix_setup || return
	undo postfix_stop
	check 'Postfix starts' postfix -c "$T/postfix" start
	wait_for 15 smtp_answers
	each_sample 'Postfix, home_mailbox' "$M" smtp_send

	mkdir -m 755 "$U/spool"
	chown "$TESTER:$TESTER" "$U/spool"
	postconf -c "$T/postfix" -e "home_mailbox =" \
		"mail_spool_directory = $U/spool/"
	check 'Postfix takes mail_spool_directory' \
		postfix -c "$T/postfix" reload
	wait_for 15 smtp_answers
	check 'Postfix, mail_spool_directory: delivers' \
		to_spool "$T/mails/plain"
	wait_for 10 arrived "$U/spool/$TESTER" "$T/mails/plain"
	check '... whole, to a Maildir that it makes itself' \
		arrived "$U/spool/$TESTER" "$T/mails/plain"

	postconf -c "$T/postfix" -e 'mail_spool_directory =' \
		'mailbox_command = /usr/bin/procmail -a "$EXTENSION"'
	printf 'MAILDIR=%s\nDEFAULT=%s/\n' "$U" "$M" > "$U/.procmailrc"
	chown "$TESTER:$TESTER" "$U/.procmailrc"
	postfix -c "$T/postfix" reload
	wait_for 15 smtp_answers
	empty "$M"
	check 'Postfix hands to procmail' smtp_send "$T/mails/from"
	wait_for 10 arrived "$M" "$T/mails/from"
	check '... which delivers as ~/.procmailrc says' \
		arrived "$M" "$T/mails/from"
	rm "$U/.procmailrc"
	check 'Postfix delivered all, deferred and bounced nothing' \
		all_sent
	postfix_stop
}

all_sent()
{
	! grep -E 'status=(deferred|bounced)|fatal|panic|error:' \
		"$T/out/maillog" &&
		[[ $(grep -c 'status=sent' "$T/out/maillog") -ge 7 ]]
}

# ---- procmail, maildrop, mblaze --------------------------------------------

procmail_one() # mail
{
	as_user procmail -m "$T/out/procmailrc" < "$1"
}

maildrop_one() # mail
{
	as_user maildrop "$U/.mailfilter" < "$1"
}

mdeliver_one() # mail
{
	as_user mdeliver "$M" < "$1"
}

procmail_test()
{
	cat > "$T/out/procmailrc" << END
MAILDIR=$U
DEFAULT=$M/
LOGFILE=$T/out/procmail.log

:0
* ^Subject:.*sort me
Maildir/.Sorted/

:0 :
* ^Subject:.*old style
$U/mbox
END
	chown "$TESTER:$TESTER" "$T/out/procmailrc"
	each_sample procmail "$M" procmail_one
	message 6 'sort me' > "$T/sort"
	check 'procmail sorts' procmail_one "$T/sort"
	check '... to a folder that it makes' arrived "$M/.Sorted" "$T/sort"
	rm -r "$M/.Sorted"
	message 7 'old style' > "$T/old"
	for i in 1 2 3; do
		check "procmail appends to an mbox, $i" procmail_one "$T/old"
	done
	check '... with lock files, three messages' same \
		"$(grep -c '^Subject: old style' "$U/mbox")" 3
	check 'procmail logged no trouble' no_trouble
}

no_trouble()
{
	! grep -iE 'error|unable|couldn|denied|failed' "$T/out/procmail.log"
}

maildrop_test()
{
	printf 'to "%s"\n' "$M" > "$U/.mailfilter"
	chown "$TESTER:$TESTER" "$U/.mailfilter"
	chmod 600 "$U/.mailfilter"
	each_sample maildrop "$M" maildrop_one
	rm "$U/.mailfilter"
}

# With a sequence file of its own.
blaze() # command...
{
	as_user env MBLAZE="$T/out" MAILSEQ="$T/out/seq" "$@"
}

make_sequence()
{
	blaze mlist "$M" > "$T/listed" && blaze mseq -S < "$T/listed" &&
		[[ $(blaze mseq : | wc -l) -eq 5 ]]
}

scan_shows() # text
{
	blaze mscan : > "$T/scan" && grep -F "$1" "$T/scan"
}

shows_body()
{
	blaze mlist "$M" | while read -r f; do
		blaze mshow "$f"
	done | grep -qxF 'From me, not a separator'
}

all_flagged() # letter
{
	[[ $(find "$M/cur" -name "*:2,*$1*" | wc -l) -eq 5 ]]
}

# The five files are, byte for byte, the five that were delivered.
all_whole()
{
	cmp <(cd "$T/mails" && sha256sum ./* | cut -d' ' -f1 | sort) \
		<(cd "$M" && find new cur -type f -exec sha256sum {} + |
			cut -d' ' -f1 | sort)
}

fill_maildir()
{
	local mail

	empty "$M"
	for mail in "$T"/mails/*; do
		mdeliver_one "$mail" > /dev/null || return 1
	done
}

mblaze_test()
{
	each_sample mdeliver "$M" mdeliver_one
	check 'mdeliver delivers five' fill_maildir
	check '... byte for byte' all_whole
	check 'minc takes them from new to cur' as_user minc -q "$M"
	check '... all' same "$(ls "$M/new" | wc -l) $(ls "$M/cur" | wc -l)" \
		'0 5'
	check 'mlist and mseq make a sequence of five' make_sequence
	check 'mscan shows a subject' scan_shows 'From in the body'
	check '... decoded' scan_shows 'Café'
	check 'mshow shows a body' shows_body
	check 'mflag -S marks all as read' \
		eval 'blaze mlist "$M" | blaze mflag -S'
	check '... in their names' all_flagged S
	check 'all are still whole' all_whole
}

# ---- notmuch ---------------------------------------------------------------

nm()
{
	as_user env NOTMUCH_CONFIG="$T/out/notmuch" notmuch "$@"
}

finds() # count query
{
	same "$(nm count "$2")" "$1"
}

file_flags() # query
{
	local file

	file=$(nm search --output=files "$1") && echo "${file##*:2,}"
}

notmuch_test()
{
	cat > "$T/out/notmuch" << END
[database]
path=$M
[user]
name=Alice
primary_email=$ADDRESS
[new]
tags=unread;inbox;
ignore=
[maildir]
synchronize_flags=true
END
	check 'five mails for notmuch' fill_maildir
	check 'notmuch new indexes, its database on the mount' nm new
	check '... finds all' finds 5 '*'
	check '... by subject' finds 1 'subject:plain'
	check '... by body' finds 1 'body:separator'
	check '... by sender' finds 5 'from:bob@lip6.example'
	check 'notmuch show gives the bytes' same \
		"$(nm show --format=raw subject:plain | sha256sum)" \
		"$(sha256sum < "$T/mails/plain")"
	check 'notmuch tag: unread goes' nm tag -unread +flagged -- \
		subject:plain
	check '... and the file has flags F and S' \
		same "$(file_flags subject:plain)" FS
	mv "$M/cur/"*:2,FS "$M/cur/moved.by.hand:2,FRS"
	check 'a flag set in the file...' nm new
	check '... is a tag' finds 1 'tag:replied and tag:flagged'
	message 8 'arrived later' > "$T/later"
	mdeliver_one "$T/later" > /dev/null
	check 'notmuch new sees what came' nm new
	check '... and only that' finds 6 '*'
	rm "$M/cur/moved.by.hand:2,FRS"
	check 'notmuch new sees what went' nm new
	check '... and only that' finds 5 '*'
	check 'notmuch compact' nm compact
	check '... keeps all' finds 5 '*'
	check 'notmuch dump' grep -q '^' <(nm dump)
	rm -r "$M/.notmuch"
}

in_parallel()
{
	local i pids=()

	empty "$M"
	for i in 1 2 3 4; do
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			mdeliver_one "$T/mails/from" > /dev/null ||
				echo "failed" >> "$T/out/parallel"
		done &
		pids+=($!)
	done
	wait "${pids[@]}"
	[[ ! -e $T/out/parallel && $(how_many "$M") -eq 40 ]]
}

samples
# A program that is not installed is said so, not passed over.
has()
{
	command -v "$2" > /dev/null || {
		not_here "$1" "'$2' is not installed"
		return 1
	}
}
has Postfix postfix && postfix_test
has procmail procmail && procmail_test
has maildrop maildrop && maildrop_test
has mblaze mdeliver && mblaze_test && {
	check 'four deliver ten mails each at once' in_parallel
}
has notmuch notmuch && notmuch_test
finish
