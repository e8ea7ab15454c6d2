#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# mounting.bats: what a crash leaves behind, starts and ends in quick succession, what the daemon keeps of its caller, and
# what is wrong with options in a file.

load lib

also_setup() {
	own_disk
}

also_teardown() {
	# The daemons of this file are in the background: they end when their mounts do.
	while read -r left; do
		umount "$left" || umount -l "$left"
	done < <(findmnt -rno TARGET | grep -F "$T/" | tac)
	eventually nobody_serves
}

nobody_serves() {
	[ -z "$(daemons_of "$T/")" ]
}

# refused STATUS TEXT... -- COMMAND...: it exits with that, prints one line with all texts in it, and mounts nothing.
refused() {
	local status=$1 texts=() text
	shift
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	run --separate-stderr "-$status" "$@"
	equal '' "$output"
	equal 1 "$(wc -l <<<"${stderr-}")"
	[[ ${stderr-} == 'reservefs: '*'; '* ]] || { echo "no advice: ${stderr-}" >&2; return 1; }
	for text in "${texts[@]}"; do
		[[ ${stderr-} == *"$text"* ]] || { echo "not '$text' in: ${stderr-}" >&2; return 1; }
	done
	run ! mountpoint -q "$MNT"
}

kill_daemon() {
	kill -KILL "$(head -n 1 "$REPO/.reservefs/lock")"
}

@test "what is wrong in a file is named with its line" {
	printf '# one\n\ncapacity=lots\n' >"$T/config"
	refused 1 "$T/config:3" capacity=lots -- "$RESERVEFS" -o config="$T/config" "$REPO" "$MNT"
	printf 'capacity=1\nbogus\n' >"$T/config"
	refused 1 "$T/config:2" bogus -- "$RESERVEFS" -o config="$T/config" "$REPO" "$MNT"
	printf 'config=%s\n' "$T/other" >"$T/config"
	refused 1 "$T/config:1" -- "$RESERVEFS" -o config="$T/config" "$REPO" "$MNT"
	printf 'capacity=1\0\n' >"$T/config"
	refused 1 "$T/config:1" -- "$RESERVEFS" -o config="$T/config" "$REPO" "$MNT"
	head -c 100000 /dev/zero | tr '\0' x >"$T/config"
	refused 1 "$T/config:1" -- "$RESERVEFS" -o config="$T/config" "$REPO" "$MNT"
	mkfifo "$T/fifo"
	refused 1 "$T/fifo" -- "$RESERVEFS" -o config="$T/fifo" "$REPO" "$MNT"
	refused 1 /dev/zero -- "$RESERVEFS" -o config=/dev/zero "$REPO" "$MNT"
	refused 1 "$T/none" -- "$RESERVEFS" -o config="$T/none" "$REPO" "$MNT"
	equal '' "$(ls -A "$REPO")"
}

@test "what a crash left is mounted again at once, however often" {
	local i
	for i in 1 2 3 4 5 6 7 8; do
		"$RESERVEFS" -o repo=quota,capacity=1000 "$REPO" "$MNT"
		stat "$MNT" "$MNT/reservations" >"$T/stat"
		contract "c$i" "$i"
		kill_daemon
	done
	"$RESERVEFS" -o repo=quota,capacity=1000 "$REPO" "$MNT"
	figure_is reserved 36
	equal 1 "$(findmnt -rno TARGET | grep -cxF "$MNT")"
}

@test "another file system is never taken away, not even a dead one" {
	mount -t tmpfs none "$MNT"
	touch "$MNT/file"
	run -32 --separate-stderr "$RESERVEFS" "$REPO" "$MNT"
	[ -e "$MNT/file" ]
	umount "$MNT"
	mkdir "$T/repo2"
	"$RESERVEFS" -o repo=quota,capacity=1G "$T/repo2" "$MNT"
	run -32 --separate-stderr "$RESERVEFS" "$REPO" "$MNT"
	[[ ${stderr-} == *"another Repo is mounted on $MNT"* ]]
	equal "$T/repo2" "$(findmnt -rno SOURCE --mountpoint "$MNT")"
}

@test "umount and a new start can follow each other without a pause" {
	local i
	for i in 1 2 3 4 5 6 7 8; do
		"$RESERVEFS" "$REPO" "$MNT"
		contract "c$i"
		umount "$MNT"
	done
	"$RESERVEFS" "$REPO" "$MNT"
	figure_is reservations 8
}

@test "the daemon keeps nothing of its caller's: descriptors, directory, terminal, umask" {
	mkdir "$T/start"
	cd "$T/start"
	exec {held}>"$T/held"
	(umask 0 && "$RESERVEFS" "$REPO" "$MNT")
	exec {held}>&-
	local pid
	pid=$(head -n 1 "$REPO/.reservefs/lock")
	run ! grep -qF "$T/held" <(readlink /proc/"$pid"/fd/*)
	equal / "$(readlink "/proc/$pid/cwd")"
	equal '/dev/null /dev/null /dev/null' "$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" | paste -sd ' ')"
	equal "$pid" "$(ps -o sid= -p "$pid" | tr -d ' ')"
	equal 700 "$(stat -c %a "$REPO/.reservefs")"
	[ -z "$(find "$REPO/.reservefs" -type f -perm /077)" ]
}

@test "a second signal does not keep the first from unmounting" {
	local i
	for i in 1 2 3 4 5; do
		start_daemon
		kill -TERM "$DAEMON"
		kill -INT "$DAEMON" || :
		kill -TERM "$DAEMON" || :
		daemon_ends 0
		run ! mountpoint -q "$MNT"
	done
}

@test "a start that nobody waits for any more leaves no mount" {
	local i
	for i in 1 2 3 4 5 6 7 8; do
		"$RESERVEFS" "$REPO" "$MNT" 3>&- &
		kill -KILL $!
		wait $! || :
		eventually settled
	done
}

# It went away, or was ready before the kill.
settled() {
	nobody_serves || umount "$MNT" 2>/dev/null
}
