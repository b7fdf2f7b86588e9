# mua.sh - Mutt and NeoMutt, driven in tmux as a person would; the two differ in
# little, so test_mutt.sh and test_neomutt.sh are this with the program's name.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PROGRAM=$1
need "$PROGRAM" tmux
begin

in_tmux()
{
	tmux -S "$T/tmux$sessions" "$@"
}

screen()
{
	in_tmux capture-pane -p
}

on_screen() # fixed text
{
	screen | grep -qF -- "$1"
}

# The screen shows it within 10 s; if not, what it shows is said.
shows() # name text
{
	if wait_for 10 on_screen "$2"; then
		ok "$1"
	else
		not_ok "$1" "$(echo "no '$2' on:"; screen)"
	fi
}

keys() # key...
{
	in_tmux send-keys "$@"
	sleep 0.2
}

# One file in that place whose name has that pattern.
one() # directory pattern
{
	[[ $(find "$1" -maxdepth 1 -type f -name "$2" | wc -l) -eq 1 ]]
}

flagged() # message
{
	find "$M/new" "$M/cur" -name "$1:2,*F*" | grep .
}

gone() # message
{
	[[ -z $(find "$M/new" "$M/cur" -name "$1*") ]]
}

sessions=0	# each in a server of its own: one ends when it likes

open_mailbox()
{
	sessions=$((sessions + 1))
	undo tmux -S "$T/tmux$sessions" kill-server
	in_tmux -f /dev/null new-session -d -x 100 -y 30 \
		"env TERM=screen HOME='$T' '$PROGRAM' -F '$T/muttrc' -f '$M' \
		2> '$T/mua.err'; echo ended with \$?; sleep 60"
}

cat > "$T/muttrc" << END
set mbox_type=Maildir
set folder="$M"
set spoolfile="$M"
set record=""
set postponed="$T/postponed"
set mail_check=1
set timeout=1
set sleep_time=0
set confirmcreate=no
set confirmappend=no
set move=no
set delete=yes
set quit=yes
set wait_key=no
set mark_old=no
set sort=date-received
set pager="builtin"
set pager_index_lines=0
set header_cache=""
set realname="Alice"
set from="$ADDRESS"
set hidden_host=yes
set index_format="%4C %Z %-20.20L %s"
END
mkdir -p "$M/.Saved"/{cur,new,tmp}

for i in 1 2 3 4; do
	message "$i" "subject number $i" > "$T/mail$i"
	name[i]=$(deliver "$M" < "$T/mail$i")
done

saved() # text
{
	[[ $(how_many "$M/.Saved") -eq 1 ]] &&
		grep -rqF -- "$1" "$M/.Saved/cur" "$M/.Saved/new"
}

open_mailbox
shows 'the mailbox opens' 'subject number 1'
shows '... with the last of four messages' 'subject number 4'
keys 1 Enter
keys Enter
shows 'a message is read' 'Body 1'
keys i
shows 'back at the index' 'subject number 4'
keys '$'
check 'what was read is in cur, seen' \
	wait_for 10 one "$M/cur" "${name[1]}:2,S"
keys 2 Enter
keys F
shows 'F flags a message' '!'
keys '$'
# What is not yet read stays in new.
check '... and its file' wait_for 10 flagged "${name[2]}"

keys 3 Enter
keys s
shows 's asks where to' 'Save to mailbox'
keys C-a
keys C-k
keys -l "=.Saved"
keys Enter
check 's saves to another folder' wait_for 10 saved 'subject number 3'
check '... whole' saved 'Body 3'
keys '$'
check '... and not in the first one any more' \
	wait_for 10 gone "${name[3]}"

keys 1 Enter
keys d
keys '$'
check 'd and $ remove a message' wait_for 10 gone "${name[1]}"
shows 'the others stay' 'subject number 4'

message 9 'fresh from elsewhere' > "$T/mail9"
name[9]=$(deliver "$M" < "$T/mail9")
began=$SECONDS
until on_screen 'fresh from elsewhere' || [[ $SECONDS -ge $((began + 20)) ]]
do
	keys C-l	# NeoMutt looks for mail when a key is pressed
done
check 'what another process delivers appears' \
	on_screen 'fresh from elsewhere'
keys C-l '*'
keys Enter
shows '... and is read' 'Body 9'
keys i
check 'the file that nobody touched is as delivered' \
	cmp "$T/mail4" "$(find "$M/new" "$M/cur" -name "${name[4]}*")"
check '... the flagged one too' cmp "$T/mail2" "$(flagged "${name[2]}")"
keys x
check 'it ends' wait_for 10 on_screen 'ended with 0'
check 'and had nothing to complain of' test ! -s "$T/mua.err"

# Again, with a header cache in the mailbox, as some like it.
sed -i "s|^set header_cache=.*|set header_cache=\"$U/cache\"|" "$T/muttrc"
mkdir "$U/cache"
open_mailbox
shows 'with a header cache on the mount it opens' 'subject number 4'
keys x
check '... and ends' wait_for 10 on_screen 'ended with 0'
if [[ $PROGRAM == mutt ]]; then
	check '... and the cache is there' test -n "$(ls -A "$U/cache")"
else
	not_here 'the cache is there' "Debian's $PROGRAM makes none, on ext4 too"
fi
open_mailbox
shows '... and is used the next time' 'fresh from elsewhere'
keys x
check '... without a word' wait_for 10 on_screen 'ended with 0'
finish
