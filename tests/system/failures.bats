# shellcheck shell=bats disable=SC2016,SC2030,SC2031,SC2317
# SPDX-License-Identifier: MIT
# failures.bats: each way in which a mount can fail is told in one line, which says what, where, and what to do; nothing
# hangs, nothing is left behind, and nothing in the Repo has changed.

load lib.bash

LEFT=''
# Empty where the Datastore may have been opened for use before the mount failed, as it is entitled to be.
COMPARE=yes

also_setup() {
	own_disk
}

also_teardown() {
	[ -z "$LEFT" ] || kill -KILL "$LEFT" 2>/dev/null || :
}

# What the Repo holds: names, kinds, modes, owners and contents; neither the lock, which is
# taken before the rest is looked at, nor an empty log, which SQLite makes to look.
photograph() {
	find "$REPO" -mindepth 1 -not -path "$REPO/.reservefs" -not -name lock -not '(' -name '*-wal' -size 0 ')' -printf '%P %y %m %U:%G %s %l\n' | sort
	find "$REPO" -type f -not -name lock -not -size 0 -exec cksum {} + 2>/dev/null | sort
}

# refused STATUS TEXT COMMAND...: it fails with that status and one line that holds TEXT and an advice, in the background
# and in the foreground (-f), in time. Nothing is left mounted, running or changed.
refused() {
	local expected=$1 text=$2 how before after began
	shift 2
	before=$(photograph)
	for how in background foreground; do
		[ $how = background ] || set -- "$@" -f
		began=$SECONDS
		status=0
		timeout -k 1 15 "$@" </dev/null >"$T/out" 2>"$T/said" || status=$?
		cat "$T/said"
		equal "$expected" "$status"
		((SECONDS - began < 10))
		equal 1 "$(wc -l <"$T/said")"
		equal "" "$(cat "$T/out")"
		grep -qE '^reservefs: [^;]+; .+$' "$T/said"
		grep -qF -- "$text" "$T/said"
		after=$(photograph)
		[ -z "$COMPARE" ] || equal "$before" "$after"
		[ -n "${DAEMON:-}" ] || equal "" "$(findmnt -rno TARGET -M "$MNT" || :)"
	done
}

# Writes $T/without PROGRAM COMMAND...: where that program in /usr/bin does not exist; and $T/with_dev FUSE-MODE COMMAND...:
# where /dev has next to nothing, and /dev/fuse only where FUSE-MODE is not `none`.
make_places() {
	cat >"$T/without" <<-'END'
		#!/bin/bash
		exec unshare -m bash -ec '
			mkdir -p "$T/bin" "$T/bin.real"
			mount --bind /usr/bin "$T/bin.real"
			ln -sfn "$T/bin.real/"* "$T/bin/"
			rm "$T/bin/$0"
			mount --bind "$T/bin" /usr/bin
			[ /bin -ef /usr/bin ] || mount --bind "$T/bin" /bin
			exec "$@"' "$@"
	END
	cat >"$T/with_dev" <<-'END'
		#!/bin/bash
		exec unshare -m bash -ec '
			mkdir -p "$T/dev"
			mount -t tmpfs tmpfs "$T/dev"
			mknod -m 666 "$T/dev/null" c 1 3
			mknod -m 666 "$T/dev/urandom" c 1 9
			[ "$0" = none ] || mknod -m "$0" "$T/dev/fuse" c 10 229
			mount --rbind "$T/dev" /dev
			exec "$@"' "$@"
	END
	chmod +x "$T/without" "$T/with_dev"
}

nobody() {
	printf '%s\0' setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups "$@"
}

# Makes $REPO and $MNT a user's.
owned_by_nobody() {
	chown "$NOBODY:$NOBODY" "$REPO" "$MNT"
}

# A Datastore with something in it.
with_datastore() {
	mount_quota 10G
	contract c1 4G
	stop_daemon
	DB=$REPO/.reservefs/datastore.db
}

@test "no FUSE on the system" {
	make_places
	COMPARE=''
	refused 32 "there is no FUSE on this system (/dev/fuse: No such file or directory)" "$T/with_dev" none "$RESERVEFS" "$REPO" "$MNT"
	grep -F 'run modprobe fuse' "$T/said"
}

@test "no permission to use /dev/fuse" {
	make_places
	COMPARE=''
	owned_by_nobody
	local command
	mapfile -d '' command < <(nobody "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT")
	refused 32 "/dev/fuse" "$T/with_dev" 600 setpriv --no-new-privs "${command[@]}"
}

@test "fusermount3 is missing, where a user mounts" {
	make_places
	COMPARE=''
	owned_by_nobody
	local command
	mapfile -d '' command < <(nobody "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT")
	refused 32 "fusermount3 is missing, to mount on $MNT; install the package fuse3" "$T/with_dev" 666 "$T/without" fusermount3 \
		"${command[@]}"
}

@test "a mount point that is another user's" {
	make_places
	COMPARE=''
	needs fusermount3
	chown "$NOBODY:$NOBODY" "$REPO"
	local command
	mapfile -d '' command < <(nobody "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT")
	refused 32 "cannot mount on $MNT" "$T/with_dev" 666 "${command[@]}"
	grep -F 'run as root, or as the owner of that directory' "$T/said"
}

@test "root without the privilege to mount, as in a container" {
	COMPARE=''
	refused 32 "let the container or service have CAP_SYS_ADMIN" setpriv --bounding-set -sys_admin --inh-caps -sys_admin --no-new-privs \
		"$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
}

@test "allow_other, for a user, where /etc/fuse.conf does not allow it" {
	make_places
	COMPARE=''
	needs fusermount3
	[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-id here"
	run ! grep -q '^ *user_allow_other' /etc/fuse.conf
	owned_by_nobody
	local command
	mapfile -d '' command < <(nobody "$RESERVEFS" -o repo=quota,capacity=1G,allow_other "$REPO" "$MNT")
	refused 32 "write user_allow_other into /etc/fuse.conf" "$T/with_dev" 666 "${command[@]}"
}

@test "a mount point that is not empty, is missing, or is no directory" {
	touch "$MNT/file"
	refused 32 "$MNT is not empty" "$RESERVEFS" "$REPO" "$MNT"
	rm "$MNT/file"
	refused 1 "MOUNTPOINT $T/none does not exist; create the directory" "$RESERVEFS" "$REPO" "$T/none"
	touch "$T/file"
	refused 1 "MOUNTPOINT $T/file is not a directory" "$RESERVEFS" "$REPO" "$T/file"
}

@test "a mount point that would hide the Datastore, even with nonempty" {
	refused 1 "MOUNTPOINT $REPO would hide the Datastore" "$RESERVEFS" -o nonempty "$REPO" "$REPO"
	mkdir "$T/store"
	refused 1 "MOUNTPOINT $T would hide the Datastore" "$RESERVEFS" -o nonempty,datastore="$T/store/d.db" "$REPO" "$T"
}

@test "a mount point beneath a file or in a loop of links" {
	touch "$T/file"
	ln -s loop "$T/loop"
	refused 1 "MOUNTPOINT $T/file/mnt is not a directory" "$RESERVEFS" "$REPO" "$T/file/mnt"
	refused 32 "cannot use MOUNTPOINT $T/loop: Too many levels of symbolic links" "$RESERVEFS" "$REPO" "$T/loop"
}

@test "REPO is missing, or no directory" {
	refused 1 "REPO $T/none does not exist; create it, or name another" "$RESERVEFS" "$T/none" "$MNT"
	touch "$T/file"
	refused 1 "REPO $T/file is not a directory; name a directory" "$RESERVEFS" "$T/file" "$MNT"
}

@test "REPO is on a read-only file system" {
	loop_fs ext4 16M
	REPO=$T/disk
	mount -o remount,ro "$T/disk"
	refused 2 "REPO $T/disk is on a read-only file system; remount it read-write" "$RESERVEFS" "$REPO" "$MNT"
	mount -o remount,rw "$T/disk"
	mount_disk
	stop_daemon
	mount -o remount,ro "$T/disk"
	refused 2 "read-only" "$RESERVEFS" "$REPO" "$MNT"
}

@test "REPO belongs to somebody else" {
	needs fusermount3
	chown "$NOBODY:$NOBODY" "$MNT"
	chmod 700 "$REPO"
	local command
	mapfile -d '' command < <(nobody "$RESERVEFS" "$REPO" "$MNT")
	refused 2 "no permission to" "${command[@]}"
	chmod 755 "$REPO"
	refused 2 "no permission to write to $REPO/.reservefs; run as its owner" "${command[@]}"
}

@test "the Datastore is locked by another daemon, whose pid is told" {
	mount_quota 1G
	mkdir "$T/mnt2" "$T/repo2"
	refused 2 "REPO $REPO is already served by pid $DAEMON; unmount that one first" "$RESERVEFS" "$REPO" "$T/mnt2"
	refused 2 "$DAEMON" "$RESERVEFS" -o "datastore=$REPO/.reservefs/datastore.db" "$T/repo2" "$T/mnt2"
}

@test "the Datastore is locked by another program, whose pid is told" {
	with_datastore
	"$PYTHON" - "$DB" "$T/locked" <<-'END' 3>&- &
		import sqlite3, sys, time
		db = sqlite3.connect(sys.argv[1], isolation_level=None)
		db.execute("PRAGMA locking_mode=EXCLUSIVE")
		db.execute("BEGIN EXCLUSIVE")
		open(sys.argv[2], "w").close()
		time.sleep(100)
	END
	LEFT=$!
	eventually test -e "$T/locked"
	refused 2 "$DB" "$RESERVEFS" "$REPO" "$MNT"
	grep -F "$LEFT" "$T/said"
}

@test "the Datastore is a foreign file, an empty one, a directory, or of a newer version" {
	needs sqlite3
	with_datastore
	cp "$DB" "$T/good"
	rm -f "$DB"-*
	echo 'some text, long enough to be no header of SQLite, which has a hundred bytes, or at least not one that it would take' >"$DB"
	refused 2 "$DB" "$RESERVEFS" "$REPO" "$MNT"
	: >"$DB"
	refused 2 "$DB" "$RESERVEFS" "$REPO" "$MNT"
	rm "$DB"
	sqlite3 "$DB" 'CREATE TABLE bookmarks (url TEXT)'
	refused 2 "$DB" "$RESERVEFS" "$REPO" "$MNT"
	cp "$T/good" "$DB"
	sqlite3 "$DB" 'PRAGMA user_version=99; PRAGMA journal_mode=DELETE' >/dev/null
	refused 2 "newer" "$RESERVEFS" "$REPO" "$MNT"
	rm "$DB"
	mkdir "$DB"
	refused 2 "$DB" "$RESERVEFS" "$REPO" "$MNT"
	rmdir "$DB"
	cp "$T/good" "$DB"
	start_daemon -o repo=quota,capacity=10G
	size_is 4294967296 c1
}

@test "the Datastore is damaged: cut, or overwritten in the middle" {
	with_datastore
	cp "$DB" "$T/good"
	rm -f "$DB"-*
	local size
	for size in 1 99 100 512 4096 4200 5000 6000 8191; do
		cp "$T/good" "$DB"
		truncate -s $size "$DB"
		refused 2 "" "$RESERVEFS" "$REPO" "$MNT"
	done
	cp "$T/good" "$DB"
	dd if=/dev/urandom of="$DB" bs=1 seek=100 count=3000 conv=notrunc status=none
	refused 2 "$DB" "$RESERVEFS" "$REPO" "$MNT"
}

@test "a Datastore, config or lock that is a pipe or a device makes nothing wait" {
	mkfifo "$T/pipe"
	refused 2 "$T/pipe" "$RESERVEFS" -o "datastore=$T/pipe" "$REPO" "$MNT"
	refused 2 "/dev/zero" "$RESERVEFS" -o datastore=/dev/zero "$REPO" "$MNT"
	refused 1 "$T/pipe" "$RESERVEFS" -o "config=$T/pipe" "$REPO" "$MNT"
	refused 1 "/dev/zero" "$RESERVEFS" -o config=/dev/zero "$REPO" "$MNT"
	rm "$REPO/.reservefs/lock"
	mkfifo "$REPO/.reservefs/lock"
	refused 2 "$REPO/.reservefs" "$RESERVEFS" "$REPO" "$MNT"
	rm "$REPO/.reservefs/lock"
	mkfifo "$REPO/.reservefs/datastore.db"
	refused 2 "$REPO/.reservefs/datastore.db" "$RESERVEFS" "$REPO" "$MNT"
}

@test "a Datastore in a directory that does not exist" {
	refused 1 "$T/none" "$RESERVEFS" -o "datastore=$T/none/state.db" "$REPO" "$MNT"
}

@test "the disk is full, so that the Datastore cannot be made" {
	loop_fs ext4 16M
	REPO=$T/disk
	fill "$T/disk"
	refused 2 "$T/disk" "$RESERVEFS" "$REPO" "$MNT"
	grep -iE 'space|full' "$T/said"
}

@test "a malformed capacity, option, user or pool" {
	local capacity
	for capacity in much 1.5G -1 '1 G B' 0x10 1Q; do
		refused 1 "capacity=$capacity is not a size, on the command line; write a number like 500G, or max" \
			"$RESERVEFS" -o "capacity=$capacity" "$REPO" "$MNT"
	done
	refused 1 "capacity=9E is above 9223372036854775807 bytes" "$RESERVEFS" -o capacity=9E "$REPO" "$MNT"
	refused 1 "option 'capacity' has no value" "$RESERVEFS" -o capacity= "$REPO" "$MNT"
	refused 1 "repo=quota has no disk to measure" "$RESERVEFS" -o repo=quota "$REPO" "$MNT"
	refused 1 "unknown option 'capacty=1G'" "$RESERVEFS" -o capacty=1G "$REPO" "$MNT"
	refused 1 "uid=no-such-user is no user" "$RESERVEFS" -o uid=no-such-user "$REPO" "$MNT"
	refused 1 "gid=no-such-group is no group" "$RESERVEFS" -o gid=no-such-group "$REPO" "$MNT"
}

@test "a daemon that hangs on the mount point or holds the Repo does not make the next one hang" {
	mount_quota 1G
	kill -STOP "$DAEMON"
	mkdir "$T/mnt2" "$T/repo2"
	refused 2 "REPO $REPO is already served by pid $DAEMON" "$RESERVEFS" "$REPO" "$T/mnt2"
	local status=0
	timeout -k 1 15 "$RESERVEFS" -o repo=quota,capacity=1G "$T/repo2" "$MNT" 2>"$T/said" || status=$?
	kill -CONT "$DAEMON"
	cat "$T/said"
	equal 32 "$status"
	equal 1 "$(wc -l <"$T/said")"
}
