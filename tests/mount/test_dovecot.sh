#!/bin/bash
# test_dovecot.sh - Dovecot with its default Maildir settings: indexes, locks
# and uidlists in the Maildir on the mount, which belongs to root, for a mail
# user who does not.
. "$(dirname "$0")/lib.sh"
need dovecot doveadm
need_root 'Dovecot changes to the mail user'
begin
need_user "$U"
chown "$TESTER:$TESTER" "$U"
chown -R "$TESTER:$TESTER" "$M"

PORT=$(free_port)
mkdir -m 755 "$T/dovecot" "$T/state"
# Above the line are a test's own places, below it all is as installed.
cat > "$T/dovecot.conf" << END
base_dir = $T/dovecot
state_dir = $T/state
log_path = $T/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
service imap-login {
  chroot =
  inet_listener imap {
    port = $PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
}
service stats {
  unix_listener stats-reader {
    mode = 0600
  }
  unix_listener stats-writer {
    mode = 0666
  }
}
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=$TESTER gid=$TESTER home=$U
}

mail_location = maildir:$M
first_valid_uid = 1
END
if [[ $(doveconf -c "$T/dovecot.conf" -h first_valid_uid 2> /dev/null) != 1 ]]
then
	leave "this version of Dovecot reads another kind of configuration"
fi

# What Dovecot warned of, but for being told to end.
no_complaints()
{
	! grep -E 'Warning|Error|Panic|Fatal' "$T/dovecot.log" |
		grep -v 'master: Warning: Killed with signal 15'
}

answers()
{
	"$PYTHON" -c "import imaplib; imaplib.IMAP4('127.0.0.1', $PORT)"
}

stop_dovecot()
{
	local pid

	pid=$(cat "$T/dovecot/master.pid" 2> /dev/null) || return 0
	kill "$pid"
	wait_for 10 gone "$pid" || kill -9 "$pid"
}

gone() # pid
{
	! kill -0 "$1" 2> /dev/null
}

undo stop_dovecot
check 'Dovecot starts' dovecot -c "$T/dovecot.conf"
check '... and answers' wait_for 10 answers
count 'IMAP and LMTP' py imap.py 127.0.0.1 "$PORT" "$M" "$T/dovecot/lmtp"
check 'doveadm finds nothing to repair' \
	doveadm -c "$T/dovecot.conf" -o log_path=/dev/stderr \
	force-resync -u "$ADDRESS" INBOX
check 'Dovecot ends' stop_dovecot
check 'not one warning or error in its log' no_complaints

check 'unmounted and mounted again' remount_it
before=$(sed -n '1p' "$M/dovecot-uidlist" | tr ' ' '\n' | grep '^V')
check 'Dovecot starts again' dovecot -c "$T/dovecot.conf"
wait_for 10 answers
uids_agree()
{
	"$PYTHON" - "$PORT" "${before#V}" << 'END'
import imaplib
import sys
c = imaplib.IMAP4("127.0.0.1", int(sys.argv[1]))
c.login("alice@home.example", "secret")
n = int(c.select("INBOX")[1][0])
v = c.response("UIDVALIDITY")[1][0].decode()
uids = c.uid("SEARCH", "ALL")[1][0].split()
print(n, v, sys.argv[2], len(uids))
sys.exit(not (n == len(uids) > 60 and v == sys.argv[2]))
END
}
check 'UIDVALIDITY and messages outlive a remount' uids_agree
check 'Dovecot ends again' stop_dovecot
check 'still not one warning or error' no_complaints
finish
