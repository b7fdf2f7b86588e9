#!/bin/bash
# test_tools.sh - the programs that people use on any directory: rsync, tar, cp,
# grep, find, du, make, git, sqlite3; fio with verification, and stress-ng's
# file system stressors.
. "$(dirname "$0")/lib.sh"
need rsync tar make gcc
begin

W=$U/work
mkdir "$W" "$T/src" "$T/out"

# ---- copying ---------------------------------------------------------------

# A Maildir with all that copying could lose.
make_maildir() # directory
{
	local i m=$1

	mkdir -p "$m"/{cur,new,tmp} "$m/.Sent"/{cur,new,tmp}
	for ((i = 0; i < 120; i++)); do
		message "$i" "copied $i" > "$m/cur/1700000$i.M1P$i.host:2,S"
		head -c $((i * 300)) /dev/urandom >> "$m/cur/1700000$i.M1P$i.host:2,S"
		touch -d "2020-01-01 12:00:$((i % 60)).123456789" \
			"$m/cur/1700000$i.M1P$i.host:2,S"
	done
	ln "$m/cur/17000001.M1P1.host:2,S" "$m/.Sent/cur/linked:2,S"
	printf 'odd' > "$m/cur/$(printf 'sp ace\ttab\nline\377')"
	chmod 640 "$m/cur/17000002.M1P2.host:2,S"
	chmod 2750 "$m/.Sent"
	ln -s ../cur "$m/.Sent/link"
	setfattr -n user.test -v 'kept' "$m/cur/17000003.M1P3.host:2,S"
	[[ $(id -u) -ne 0 ]] || chown 1234:2345 "$m/cur/17000004.M1P4.host:2,S"
	old_directories "$m"
}

# rsync takes directories of one second for the same.
old_directories() # directory
{
	find "$1" -type d -exec touch -d '2019-02-03 04:05:06' {} +
}

# Names, bytes, modes, owners, times, links and attributes of a tree.
describe() # directory
{
	(
		cd "$1" || exit
		find . -printf '%P %y %m %U %G %n %l ' \( -type f \
			-printf '%s %T@\n' -o -type d -printf '%T@\n' \
			-o -printf '\n' \) | sort
		find . -type f -print0 | sort -z | xargs -0 sha256sum
		getfattr -h -R -d -m '^user\.test' . 2> /dev/null
	)
}

alike() # a b
{
	diff <(describe "$1") <(describe "$2")
}

copying()
{
	make_maildir "$T/src/Mail"
	check 'rsync -aHX in' rsync -aHX "$T/src/Mail/" "$W/rsync/"
	check '... makes the same' alike "$T/src/Mail" "$W/rsync"
	check 'rsync again moves nothing' same \
		"$(rsync -aHXi "$T/src/Mail/" "$W/rsync/")" ''
	check 'rsync -c again moves nothing' same \
		"$(rsync -aHXci "$T/src/Mail/" "$W/rsync/")" ''
	check 'rsync -aHX out' rsync -aHX "$W/rsync/" "$T/out/rsync/"
	check '... makes the same' alike "$T/src/Mail" "$T/out/rsync"
	rm "$T/src/Mail/cur/17000005.M1P5.host:2,S"
	echo more >> "$T/src/Mail/cur/17000006.M1P6.host:2,S"
	old_directories "$T/src/Mail"
	check 'rsync --delete --inplace brings up to date' \
		rsync -aHX --delete --inplace "$T/src/Mail/" "$W/rsync/"
	check '... to the same' alike "$T/src/Mail" "$W/rsync"
	check 'tar in' eval 'tar -C "$T/src" --xattrs -cf - Mail |
		tar -C "$W" --xattrs -xpf -'
	check '... makes the same' alike "$T/src/Mail" "$W/Mail"
	check 'tar out' eval 'tar -C "$W" --xattrs -cf "$T/out/t.tar" Mail &&
		mkdir "$T/out/tar" &&
		tar -C "$T/out/tar" --xattrs -xpf "$T/out/t.tar"'
	check '... makes the same' alike "$T/src/Mail" "$T/out/tar/Mail"
	check 'tar -d finds no difference' \
		tar -C "$W" -df "$T/out/t.tar"
	check 'cp -a on the mount' cp -a "$W/Mail" "$W/copy"
	check '... makes the same' alike "$W/Mail" "$W/copy"
	check 'mv of a tree' mv "$W/copy" "$W/moved"
	check '... keeps it' alike "$W/Mail" "$W/moved"
	check 'diff -r finds no difference' \
		diff -r --no-dereference "$W/Mail" "$W/moved"
}

looking()
{
	check 'grep -r finds what is there' same \
		"$(grep -rl 'Subject: copied 77$' "$W/Mail" | wc -l)" 1
	check 'find by name, size and time' same "$(find "$W/Mail" -type f \
		-name '1700000*' -size +20k -newermt 2019-12-31 \
		! -newermt 2020-01-02 | wc -l)" \
		"$(find "$T/src/Mail" -type f -name '1700000*' -size +20k \
		-newermt 2019-12-31 ! -newermt 2020-01-02 | wc -l)"
	check 'du --apparent-size agrees' same \
		"$(du -sb --exclude=. "$W/Mail"/cur | cut -f1 | head -c 3)" \
		"$(du -sb --exclude=. "$T/src/Mail"/cur | cut -f1 |
			head -c 3)"
	check 'du is between half and twice as much' near \
		"$(du -sk "$W/Mail" | cut -f1)" \
		"$(du -sk "$T/src/Mail" | cut -f1)"
	check 'df shows a size' df "$W"
	check 'df -i too' df -i "$W"
	check 'ls -laR' ls -laR "$W"
	check 'sort -o onto itself' eval 'seq 1000 | shuf > "$W/n" &&
		sort -n -o "$W/n" "$W/n" && cmp "$W/n" <(seq 1000)'
	check 'sed -i' eval 'sed -i s/^7$/seven/ "$W/n" &&
		grep -qx seven "$W/n"'
	check 'dd with holes and direct offsets' eval '
		dd if=/dev/urandom of="$T/out/dd" bs=4k count=50 status=none &&
		dd if="$T/out/dd" of="$W/dd" bs=512 conv=sparse,fsync \
			status=none && cmp "$T/out/dd" "$W/dd"'
	check 'flock(1) keeps a second out' eval '
		flock "$W/n" sh -c "! flock -n \"$W/n\" true"'
}

near() # a b
{
	[[ $(($1 * 2)) -ge $2 && $1 -le $(($2 * 2)) ]] || {
		echo "$1 and $2"
		return 1
	}
}

# ---- making ----------------------------------------------------------------

# A program of 400 small files, in directories, each with its header.
write_program()
{
	local i d

	mkdir -p "$W/prog/include"
	{
		printf 'CFLAGS = -O0 -Iinclude\n'
		printf 'OBJS = main.o $(patsubst %%.c,%%.o,$(wildcard d*/*.c))\n'
		printf 'prog: $(OBJS)\n\t$(CC) -o $@ $(OBJS)\n'
		printf '%%.o: %%.c include/all.h\n\t'
		printf '$(CC) $(CFLAGS) -c -o $@ $<\n'
		printf 'clean:\n\trm -f prog $(OBJS)\n'
	} > "$W/prog/Makefile"
	{
		printf '#include <stdio.h>\n#include "all.h"\n'
		printf 'int main(void)\n{\n\tlong n = 0;\n\n'
		for ((i = 0; i < 200; i++)); do
			printf '\tn += f%d();\n' "$i"
		done
		printf '\tprintf("%%ld\\n", n);\n\treturn 0;\n}\n'
	} > "$W/prog/main.c"
	for ((i = 0; i < 200; i++)); do
		d=d$((i % 20))
		mkdir -p "$W/prog/$d"
		printf 'int f%d(void);\n' "$i" > "$W/prog/include/f$i.h"
		printf '#include "f%d.h"\n' "$i" >> "$W/prog/include/all.h"
		printf '#include "all.h"\nint f%d(void) { return %d; }\n' \
			"$i" "$i" > "$W/prog/$d/f$i.c"
	done
}

making()
{
	check '400 small files' write_program
	check 'make -j2' make -C "$W/prog" -j2 -s
	check 'the program runs' same "$("$W/prog/prog")" 19900
	check 'make again has nothing to do' grep -q 'up to date' \
		<(LC_ALL=C make -C "$W/prog")
	sleep 0.02
	sed -i 's/return 7;/return 1007;/' "$W/prog/d7/f7.c"
	check 'make after a change' make -C "$W/prog" -s
	check '... makes what changed' same "$("$W/prog/prog")" 20900
	check 'make clean' make -C "$W/prog" -s clean
	check '... leaves no object' test -z "$(find "$W/prog" -name '*.o')"
	if command -v git > /dev/null; then
		versions
	else
		not_here git 'is not installed'
	fi
	check 'rm -rf' rm -rf "$W/prog"
	check '... leaves nothing' test ! -e "$W/prog"
}

versions()
{
	local g=(git -C "$W/prog" -c user.name=A -c user.email=a@b.example
		-c safe.directory='*' -c gc.auto=0)

	check 'git init' "${g[@]}" init -q
	check 'git add' "${g[@]}" add .
	check 'git commit' "${g[@]}" commit -q -m 'first'
	echo '/* more */' >> "$W/prog/main.c"
	check 'git commit -a' "${g[@]}" commit -q -a -m 'second'
	check 'git status is clean' same \
		"$("${g[@]}" status --porcelain)" ''
	check 'git gc' "${g[@]}" gc -q
	check 'git fsck' "${g[@]}" fsck --full --strict
	check 'git clone' git -c safe.directory='*' clone -q --no-hardlinks \
		"$W/prog" "$W/clone"
	check '... is the same tree' diff -r -x .git "$W/prog" "$W/clone"
	rm -rf "$W/clone"
}

database()
{
	command -v sqlite3 > /dev/null || {
		not_here sqlite3 'is not installed'
		return
	}
	for mode in delete wal; do
		check "sqlite3, journal_mode=$mode" eval 'sqlite3 "$W/$mode.db" "
			pragma journal_mode=$mode;
			create table t(n integer primary key, x text);
			with recursive c(n) as (select 1 union all
				select n + 1 from c where n < 5000)
			insert into t select n, hex(randomblob(100)) from c;
			delete from t where n % 3 = 0; vacuum;"'
		check '... is whole' same "$(sqlite3 "$W/$mode.db" \
			'pragma integrity_check; select count(*) from t')" \
			"$(printf 'ok\n3334')"
	done
}

# ---- fio -------------------------------------------------------------------

fio_one() # name option...
{
	local name=$1

	shift
	check "fio $name" timeout 100 fio --name=v --directory="$W" \
		--size=12m --verify=crc32c --verify_state_save=0 --verify_fatal=1 --do_verify=1 \
		--fallocate=none --randrepeat=0 --output="$T/fio" "$@"
	rm -f "$W"/v.*
}

verified()
{
	command -v fio > /dev/null || {
		not_here fio 'is not installed'
		return
	}
	fio_one 'random writes of 512 bytes' --rw=randwrite --bs=512 \
		--size=1m
	fio_one 'random writes of 4k' --rw=randwrite --bs=4k
	fio_one 'random writes of 1k to 128k, unaligned' --rw=randwrite \
		--bsrange=1k-128k --bs_unaligned=1
	fio_one 'random reads and writes, fsync every 32' --rw=randrw \
		--bs=4k --fsync=32 --size=4m
	fio_one 'sequential writes of 1m' --rw=write --bs=1m
	fio_one 'mmap' --rw=randwrite --bs=4k --ioengine=mmap --size=4m
	fio_one 'vectors' --rw=randwrite --bs=16k --ioengine=vsync \
		--iodepth=8
	fio_one 'four jobs at once' --rw=randwrite --bs=8k --numjobs=4 \
		--size=4m
	fio_one 'files of their own directory, many' --rw=randwrite --bs=4k \
		--nrfiles=64 --size=8m
	if fio --enghelp 2> /dev/null | grep -q libaio; then
		fio_one 'asynchronous' --rw=randwrite --bs=4k \
			--ioengine=libaio --iodepth=16
	fi
}

# ---- stress-ng -------------------------------------------------------------

# Those of its class "filesystem" that do something to the directory given.
# The rest, with the reason, are below.
STRESSORS='access chdir chmod chown copy-file dentry dir dirdeep dirmany dup
	fallocate fcntl fiemap filename flock fpunch fsize fstat getdent hdd
	inode-flags inotify io iomix lease link locka lockf lockofd mknod open
	rename seek symlink sync-file touch truncate unlink utime xattr'
NOT_APPLICABLE='bind-mount|mounts of its own, not files
binderfs|another file system
chattr|ext4 attribute flags
dnotify|signals of the VFS for directories; inotify is tested
eventfd|no files
fanotify|needs a mark on the whole mount, superseded by inotify here
file-ioctl|ioctls of block file systems
handle|open_by_handle_at: needs an exported file system
ioprio|block device priorities
procfs|another file system
verity|needs a file system with fs-verity
vm-splice|no files'

stress()
{
	local known name s batch=() said status

	command -v stress-ng > /dev/null || {
		not_here stress-ng 'is not installed'
		return
	}
	while IFS='|' read -r name s; do
		not_here "stress-ng $name" "$s"
	done <<< "$NOT_APPLICABLE"
	known=$(stress-ng --help)
	mkdir -m 777 "$W/stress"
	for name in $STRESSORS; do
		if [[ $known != *"--$name N "* ]]; then
			not_here "stress-ng $name" 'this version has none'
			continue
		fi
		batch+=("$name")
		[[ ${#batch[@]} -lt 4 ]] || stress_batch
	done
	[[ ${#batch[@]} -eq 0 ]] || stress_batch
	check 'stress-ng left nothing' same "$(ls -A "$W/stress")" ''
}

# Four at a time; if that fails, each alone, to name the one.
stress_batch()
{
	local name arguments=()

	for name in "${batch[@]}"; do
		arguments+=("--$name" 1)
	done
	if run_stress "${arguments[@]}"; then
		for name in "${batch[@]}"; do
			ok "stress-ng $name"
		done
	else
		for name in "${batch[@]}"; do
			check "stress-ng $name" run_stress "--$name" 1
		done
	fi
	batch=()
}

run_stress()
{
	# Small files: it is what they do that counts, not how much.
	timeout -k 5 60 stress-ng --temp-path "$W/stress" --timeout 2s \
		--hdd-bytes 4m --fallocate-bytes 4m --fiemap-bytes 4m \
		--iomix-bytes 4m --seek-size 4m --sync-file-bytes 4m \
		--copy-file-bytes 128m --dirdeep-inodes 2000 \
		--dentries 500 --verify "$@" \
		> "$T/stress" 2>&1 &&
		! grep -E 'fail:|error:|unsuccessful|aborted' "$T/stress" || {
		cat "$T/stress"
		return 1
	}
}

copying
looking
making
database
verified
stress
check 'after all that: unmounted and mounted again' remount_it
check '... the copies are the same' alike "$T/src/Mail" "$W/rsync"
[[ -n $PLAIN ]] || check 'scrub finds all whole' "$POST" --home "$H" scrub
finish
