# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# privileges.bats: what the daemon may still do once it serves, that it can do its work with that, and that its files
# are its owner's alone. Who may do what in the tree is in users.bats.

# shellcheck disable=SC2030,SC2031 # a test's variables are its own

load lib.bash

# To mount, a user must be able to open /dev/fuse. Stock systems let everybody; where this one does not, it is let for the
# time of the test.
open_dev_fuse() {
	DEV_FUSE_MODE=$(stat -c %a /dev/fuse)
	[ "$DEV_FUSE_MODE" = 666 ] || echo "# /dev/fuse had mode $DEV_FUSE_MODE and has 666 for this test" >&3
	chmod 666 /dev/fuse
}

also_setup() {
	own_disk
}

also_teardown() {
	[ -z "${DEV_FUSE_MODE:-}" ] || chmod "$DEV_FUSE_MODE" /dev/fuse
}

# field NAME PID: what each thread's status says of it, the different answers on a line each.
field() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$2"/task/*/status | sort -u
}

# CAP_DAC_OVERRIDE and CAP_SYS_ADMIN, as far as this machine lets root have them.
kept_at_most() {
	printf '%016x' $((0x$(field CapPrm $$) & (1 << 1 | 1 << 21)))
}

gave_up_roots_privileges() {
	local set kept
	kept=$(kept_at_most)
	(($(find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l) > 1))
	for set in CapPrm CapEff CapBnd; do
		equal "$set $kept" "$set $(field "$set" "$1")"
	done
	for set in CapInh CapAmb; do
		equal "$set 0000000000000000" "$set $(field "$set" "$1")"
	done
	equal 1 "$(field NoNewPrivs "$1")"
	leaves_no_core "$1"
}

# What can be dumped belongs to whoever runs it; the rest is root's.
leaves_no_core() {
	[[ $(grep '^Max core file size' "/proc/$1/limits") =~ ^'Max core file size'\ +0\ +0\  ]]
	equal 0 "$(stat -c %u "/proc/$1/environ")"
}

@test "every thread of root's daemon has given up what serving does not need" {
	mount_quota 10G
	contract c1 1G
	gave_up_roots_privileges "$DAEMON"
	# also those that are started by a change
	local n writers=()
	for n in {1..20}; do
		echo "$n" >"$MNT/reservations/c1/size" 3>&- &
		writers+=($!)
	done
	wait "${writers[@]}"
	gave_up_roots_privileges "$DAEMON"
}

@test "root's daemon in the background has given it up, too, and the command has not waited with more" {
	"$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT" 3>&-
	local pid
	pid=$(daemons_of "$MNT")
	gave_up_roots_privileges "$pid"
	umount "$MNT"
	eventually gone "$pid"
}

@test "with what is left it unmounts on a signal and ends with 0" {
	local number
	for number in TERM INT HUP; do
		mount_disk
		[ "$number" = TERM ] || size_is 1073741824 c1
		[ "$number" != TERM ] || contract c1 1G
		kill "-$number" "$DAEMON"
		daemon_ends 0
		run ! mountpoint -q "$MNT"
	done
}

@test "with what is left it ends with 0 when it is unmounted" {
	mount_disk
	contract c1 1M
	umount "$MNT"
	daemon_ends 0
}

@test "with what is left it mounts and unmounts through fusermount3, too" {
	needs fusermount3
	mount_quota 5G -o auto_unmount
	contract c1 1G
	gave_up_roots_privileges "$DAEMON"
	kill -TERM "$DAEMON"
	daemon_ends 0
	run ! mountpoint -q "$MNT"
}

@test "with what is left it unmounts a mount point in another user's closed directory" {
	mkdir "$T/own" "$T/own/mnt"
	chown -R "$NOBODY:$NOBODY" "$T/own"
	chmod 700 "$T/own"
	MNT=$T/own/mnt
	mount_quota 5G
	kill -TERM "$DAEMON"
	mv "$MNT.err" "$T/mnt.err" && mv "$MNT.out" "$T/mnt.out"
	MNT=$T/mnt
	daemon_ends 0
	run ! mountpoint -q "$T/own/mnt"
}

# A Datastore that a user made, in directories that only he may enter, is served by root later.
owned_repo() {
	mkdir "$REPO/.reservefs"
	mount_disk
	contract c1 1M
	stop_daemon
	chown -R "$NOBODY:$NOBODY" "$REPO"
	chmod 700 "$REPO"
}

@test "with what is left it opens another user's Datastore again after a failure" {
	loop_fs ext4 64M
	REPO=$T/disk
	owned_repo
	mount_disk
	size_is 1048576 c1
	local device
	device=$(findmnt -nro SOURCE -M "$T/disk")
	umount -l "$T/disk"
	run ! sh -c "echo 2M >'$MNT/reservations/c1/size'"
	mount "$device" "$T/disk"
	echo 3M >"$MNT/reservations/c1/size"
	remount
	size_is 3145728 c1
	equal "$NOBODY:$NOBODY" "$(stat -c %u:%g "$REPO"/.reservefs/datastore.db* | sort -u)"
}

# The files of SQLite have to stay their owner's, or root would have shut him out.
@test "another user's Datastore that root has served stays that user's" {
	owned_repo
	rm -f "$REPO"/.reservefs/datastore.db-shm
	mount_disk
	echo 2M >"$MNT/reservations/c1/size"
	stop_daemon
	equal "$NOBODY:$NOBODY" "$(stat -c %u:%g "$REPO"/.reservefs/datastore.db* | sort -u)"
}

@test "the Datastore and its directory are their owner's alone, whatever the umask" {
	local mask
	for mask in 000 022 077 777; do
		REPO=$T/repo.$mask
		mkdir -m 755 "$REPO"
		(umask $mask && exec "$RESERVEFS" -o allow_other "$REPO" "$MNT" 3>&-)
		contract c1 1M
		equal 700 "$(stat -c %a "$REPO/.reservefs")"
		equal 600 "$(stat -c %a "$REPO"/.reservefs/* | sort -u)"
		[ -e "$REPO/.reservefs/datastore.db-wal" ]
		run ! as_nobody ls "$REPO/.reservefs"
		run ! as_nobody cat "$REPO/.reservefs/datastore.db"
		local pid
		pid=$(daemons_of "$MNT")
		umount "$MNT"
		eventually gone "$pid"
		equal 600 "$(stat -c %a "$REPO"/.reservefs/* | sort -u)"
	done
}

@test "a Datastore in a directory of its owner's choice is closed to others all the same" {
	mkdir -m 755 "$T/state"
	(umask 0 && exec "$RESERVEFS" -o "allow_other,repo=quota,capacity=5G,datastore=$T/state/pool.db" "$REPO" "$MNT" 3>&-)
	contract c1 1M
	equal 600 "$(stat -c %a "$T"/state/* | sort -u)"
	run ! as_nobody cat "$T/state/pool.db"
	local pid
	pid=$(daemons_of "$MNT")
	umount "$MNT"
	eventually gone "$pid"
}

@test "a user's own daemon leaves no core and no other user looks into its memory" {
	needs fusermount3
	[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-id"
	open_dev_fuse
	# the build directory may be closed to other users
	install -m 755 "$RESERVEFS" "$T/reservefs"
	mkdir "$T/own" "$T/own/repo" "$T/own/mnt"
	chown -R "$NOBODY:$NOBODY" "$T/own"
	MNT=$T/own/mnt
	as_nobody "$T/reservefs" -o repo=quota,capacity=5G "$T/own/repo" "$MNT"
	local pid
	pid=$(daemons_of "$MNT")
	leaves_no_core "$pid"
	equal 0000000000000000 "$(field CapPrm "$pid")"
	run ! as_nobody cat "/proc/$pid/environ"
	as_nobody kill -TERM "$pid"
	eventually gone "$pid"
	run ! mountpoint -q "$MNT"
	equal 700 "$(stat -c %a "$T/own/repo/.reservefs")"
	equal 600 "$(stat -c %a "$T/own/repo/.reservefs"/* | sort -u)"
	equal "$NOBODY" "$(stat -c %u "$T/own/repo/.reservefs"/* | sort -u)"
}
