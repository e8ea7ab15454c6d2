# shellcheck shell=bats disable=SC2016,SC2030,SC2031
# SPDX-License-Identifier: MIT
# onedisk.bats: the same bytes are for sale once: of the Repos on one file system one counts all of its free space, or each has a
# capacity of its own, however the file system is looked at; and one REPO has one daemon, whatever becomes of the files in it.

# shellcheck disable=SC2154 # bats sets stderr

load lib.bash

# two_repos: a file system of its own with the directories $A and $B, and the mount points $M and $N.
two_repos() {
	loop_fs "${1:-ext4}" "${2:-64M}"
	A=$T/disk/a B=$T/disk/b M=$T/m N=$T/n
	mkdir -p "$A" "$B" "$M" "$N"
	export A B M N
}

also_teardown() {
	local left
	for left in $(daemons_of "$T/"); do
		kill -TERM "$left" || :
		eventually gone "$left"
	done
}

# refused TEXT... -- COMMAND...: it exits with 2, having printed one line with all the texts, and mounted nothing.
refused() {
	local texts=() text
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	run -2 --separate-stderr "$@"
	equal "" "$output"
	equal 1 "$(wc -l <<<"$stderr")"
	for text in "${texts[@]}"; do
		[[ $stderr == *"$text"* ]] || {
			echo "not '$text' in: $stderr" >&2
			return 1
		}
	done
	run ! mountpoint -q "$N"
}

pid_of() {
	head -n 1 "$1/.reservefs/lock"
}

# ended DIRECTORY REPO: unmounted, and its daemon is gone.
ended() {
	local pid
	pid=$(pid_of "$2")
	umount "$1"
	eventually gone "$pid"
}

@test "a second one that counts the same space is refused, with the first one's REPO and pid" {
	two_repos
	"$RESERVEFS" "$A" "$M"
	refused "REPO $B" "REPO $A" "pid $(pid_of "$A")" "give each a capacity of its own (-o capacity=SIZE)" -- "$RESERVEFS" "$B" "$N"
	refused "REPO $A" "pid $(pid_of "$A")" -- "$RESERVEFS" -f "$B" "$N"
	equal "" "$(ls -A "$B")"
	# It can neither be in the other's directory nor above it.
	mkdir "$A/inner"
	refused "REPO $A" -- "$RESERVEFS" "$A/inner" "$N"
	refused "REPO $A" -- "$RESERVEFS" "$T/disk" "$N"
	# The first one sells what there is.
	mkdir "$M/reservations/c1"
	cat "$M/available" >"$M/reservations/c1/size"
	ended "$M" "$A"
	"$RESERVEFS" "$B" "$N"
}

@test "each with a capacity of its own: both sell, and neither more than that" {
	two_repos
	"$RESERVEFS" -o capacity=10M "$A" "$M"
	"$RESERVEFS" -o capacity=20M "$B" "$N"
	equal "10485760 20971520" "$(cat "$M/available") $(cat "$N/available")"
	mkdir "$M/reservations/c1" "$N/reservations/c1"
	echo max >"$M/reservations/c1/size"
	echo max >"$N/reservations/c1/size"
	equal "10485760 20971520" "$(cat "$M/reserved") $(cat "$N/reserved")"
}

@test "one with a capacity and one without: refused, whichever comes first" {
	two_repos
	"$RESERVEFS" -o capacity=10M "$A" "$M"
	refused "REPO $A" "give this one a capacity, too" -- "$RESERVEFS" "$B" "$N"
	refused "REPO $A" -- "$RESERVEFS" -o capacity=max "$B" "$N"
	ended "$M" "$A"
	"$RESERVEFS" "$A" "$M"
	refused "REPO $A" "give that one a capacity of its own, too" -- "$RESERVEFS" -o capacity=10M "$B" "$N"
	ended "$M" "$A"
}

@test "Repos that are arithmetic alone are in nobody's way" {
	two_repos
	"$RESERVEFS" "$A" "$M"
	"$RESERVEFS" -o repo=quota,capacity=10M "$B" "$N"
	ended "$M" "$A"
	"$RESERVEFS" "$A" "$M"
	mkdir "$T/disk/c" "$T/o"
	"$RESERVEFS" -o repo=quota,capacity=10M "$T/disk/c" "$T/o"
	equal "10485760 10485760" "$(cat "$N/available") $(cat "$T/o/available")"
}

@test "another file system is another matter" {
	two_repos
	"$RESERVEFS" "$A" "$M"
	mkdir "$T/elsewhere"
	mount -t tmpfs elsewhere "$T/elsewhere"
	"$RESERVEFS" "$T/elsewhere" "$N"
	umount "$N"
}

@test "through bind mounts that share no directory, and from other mount and pid namespaces" {
	two_repos
	mkdir "$T/x" "$T/y"
	mount --bind "$A" "$T/x"
	mount --bind "$B" "$T/y"
	"$RESERVEFS" "$T/x" "$M"
	local pid
	pid=$(pid_of "$A")
	refused "REPO $T/x" "pid $pid" -- "$RESERVEFS" "$T/y" "$N"
	refused "pid $pid" -- "$RESERVEFS" "$B" "$N"
	refused "pid $pid" -- unshare -m "$RESERVEFS" "$T/y" "$N"
	refused "REPO $T/x" "another container" -- unshare -mpf --mount-proc "$RESERVEFS" "$T/y" "$N"
	# The same REPO.
	refused "REPO $A is already served by pid $pid" -- "$RESERVEFS" "$A" "$N"
	refused "REPO $A is already served by another container" -- unshare -mpf --mount-proc "$RESERVEFS" "$A" "$N"
	# And the other way round: the first one is in namespaces of its own.
	umount "$M"
	eventually gone "$pid"
	unshare -mpf --mount-proc --kill-child bash -c '"$RESERVEFS" "$T/x" "$M" && touch "$T/ready" && exec sleep infinity' 3>&- &
	local far=$!
	eventually test -e "$T/ready"
	refused "and both count all of its free space" -- "$RESERVEFS" "$T/y" "$N"
	kill -KILL "$far"
	eventually "$RESERVEFS" "$T/y" "$N" 2>/dev/null
}

@test "two subvolumes of one btrfs, mounted apart" {
	two_repos btrfs 256M
	btrfs subvolume create "$T/disk/one" >/dev/null
	btrfs subvolume create "$T/disk/two" >/dev/null
	mkdir "$T/x" "$T/y"
	local device
	device=$(findmnt -nro SOURCE -M "$T/disk")
	mount -o subvol=one "$device" "$T/x"
	mount -o subvol=two "$device" "$T/y"
	equal "256 256" "$(stat -c %i "$T/x") $(stat -c %i "$T/y")"
	"$RESERVEFS" "$T/x" "$M"
	refused "REPO $T/x" "pid $(pid_of "$T/x")" -- "$RESERVEFS" "$T/y" "$N"
	ended "$M" "$T/x"
	"$RESERVEFS" -o capacity=10M "$T/x" "$M"
	"$RESERVEFS" -o capacity=10M "$T/y" "$N"
}

@test "a REPO has one daemon, whatever is removed in it, with another Datastore or not" {
	two_repos
	local options
	for options in capacity=10M repo=quota,capacity=10M; do
		"$RESERVEFS" -o "$options" "$A" "$M"
		local pid
		pid=$(pid_of "$A")
		rm "$A/.reservefs/lock"
		refused "REPO $A is already served by pid $pid" -- "$RESERVEFS" -o "$options" "$A" "$N"
		refused "REPO $A is already served by pid $pid" -- "$RESERVEFS" -o "$options,datastore=$T/other.db" "$A" "$N"
		rm -r "$A/.reservefs"
		refused "REPO $A is already served by pid $pid" -- "$RESERVEFS" -o "$options" "$A" "$N"
		refused "REPO $A is already served by pid $pid" -- "$RESERVEFS" -o "$options,datastore=$T/other.db" "$A" "$N"
		equal "" "$(ls -A "$A")"
		[ ! -e "$T/other.db" ]
		# By another name of that directory.
		mv "$A" "$T/disk/renamed"
		refused "already served by pid $pid" -- "$RESERVEFS" -o "$options" "$T/disk/renamed" "$N"
		mv "$T/disk/renamed" "$A"
		umount "$M"
		eventually gone "$pid"
		rm -rf "$A/.reservefs"
	done
}

# together REPO MOUNTPOINT REPO MOUNTPOINT: both are started at the same moment; prints how many came up.
together() {
	local one two up=0
	"$RESERVEFS" "$1" "$2" 2>"$T/one.said" 3>&- &
	one=$!
	"$RESERVEFS" "$3" "$4" 2>"$T/two.said" 3>&- &
	two=$!
	if wait "$one"; then up=$((up + 1)); fi
	if wait "$two"; then up=$((up + 1)); fi
	echo "$up"
}

all_ended() {
	umount "$M" 2>/dev/null || :
	umount "$N" 2>/dev/null || :
	eventually nobody_serves
}

nobody_serves() {
	[ -z "$(daemons_of "$T/")" ]
}

@test "started at the same moment: never both, and always one" {
	two_repos
	local round
	for round in {1..20}; do
		equal "$round 1" "$round $(together "$A" "$M" "$B" "$N")"
		all_ended
	done
	# The same REPO, without a lock file to decide it.
	for round in {1..10}; do
		rm -rf "$A/.reservefs"
		equal "$round 1" "$round $(together "$A" "$M" "$A" "$N")"
		all_ended
	done
}

@test "after kill -9, and after umount, the next one starts at once" {
	two_repos
	for _ in 1 2 3 4 5; do
		"$RESERVEFS" "$A" "$M"
		kill -KILL "$(pid_of "$A")"
		"$RESERVEFS" "$B" "$N"
		umount -l "$M"
		umount "$N"
		"$RESERVEFS" "$A" "$M"
		umount "$M"
	done
}

@test "no process that the daemon starts holds its claim" {
	needs fusermount3
	two_repos
	# auto_unmount leaves a fusermount3 that lives as long as the daemon.
	"$RESERVEFS" -o auto_unmount "$A" "$M"
	local pid
	pid=$(pid_of "$A")
	run ! grep -qF "$A" <(for process in $(pgrep -P "$pid"; pgrep -f "fusermount3.*$M"); do readlink "/proc/$process"/fd/*; done)
	kill -KILL "$pid"
	"$RESERVEFS" "$B" "$N"
}

@test "where /proc/locks cannot be read, all the space is not counted on faith" {
	two_repos
	"$RESERVEFS" "$A" "$M"
	refused "cannot see in /proc/locks" "give this one a capacity" -- \
		unshare -m bash -c 'mount -t proc -o subset=pid proc /proc && exec "$RESERVEFS" "$B" "$N"'
}

# second TEXT...: a second daemon of the Repo is refused with all of them in one line, and in time.
second() {
	local text began=$SECONDS
	run -2 --separate-stderr "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$T/second"
	((SECONDS - began < 5))
	equal 1 "$(wc -l <<<"$stderr")"
	for text; do
		[[ $stderr == *"$text"* ]] || { echo "not '$text' in: $stderr" >&2; return 1; }
	done
	[[ $stderr != *"unmount that one first"* ]]
}

@test "what keeps a daemon whose tree is unmounted is told, and what to do" {
	mkdir "$T/second"
	local pid keeper
	"$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
	pid=$(head -n 1 "$REPO/.reservefs/lock")
	# A working directory.
	(cd "$MNT" && exec sleep infinity) 3>&- &
	keeper=$!
	eventually test "$MNT" -ef "/proc/$keeper/cwd"
	umount -l "$MNT"
	second "REPO $REPO is still served by pid $pid" "pid $keeper (sleep) has its working directory or a file in it" "kill $pid"
	kill "$keeper"
	"$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
	# An open file.
	pid=$(head -n 1 "$REPO/.reservefs/lock")
	bash -c 'exec sleep infinity' 3>&- <"$MNT/status" &
	keeper=$!
	eventually test "$MNT/status" -ef "/proc/$keeper/fd/0"
	umount -l "$MNT"
	second "pid $keeper (sleep) has its working directory or a file in it" "kill $pid"
	# What is advised helps.
	kill "$pid"
	eventually gone "$pid"
	kill "$keeper"
	"$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
	# A copy in another mount namespace.
	pid=$(head -n 1 "$REPO/.reservefs/lock")
	unshare -m --propagation private sleep infinity 3>&- &
	keeper=$!
	eventually in_other_namespace "$keeper"
	umount "$MNT"
	second "REPO $REPO is already served by pid $pid" "in the mount namespace of pid $keeper (sleep)" "kill $pid"
	kill "$keeper"
	"$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
}

in_other_namespace() {
	[ ! "/proc/$1/ns/mnt" -ef /proc/self/ns/mnt ] && [ "$(cat "/proc/$1/comm")" = sleep ]
}
