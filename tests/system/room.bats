# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# room.bats: what was set aside for the state is still there when it is needed, whatever was done to its files meanwhile: they
# were read, copied, shared, dug, moved or compressed, and others have filled the disk. And a daemon that is not allowed some
# calls, or files of more than some length, works or says what can help.

# shellcheck disable=SC2030,SC2031 # a test's variables are its own

load lib.bash

# on_disk TYPE SIZE: a Repo that is the root of a file system of that type, with contracts to release, and no daemon.
on_disk() {
	loop_fs "$1" "$2"
	REPO=$T/disk
	STATE=$REPO/.reservefs
	mount_disk
	local n
	for n in 1 2 3 4 5 6; do
		contract "c$n" 5M
	done
	contract shrunk 10M
	stop_daemon
}

# log_says TEXT: a line of the daemon's log has it.
log_says() {
	grep -qF -- "$1" "$MNT.err" || {
		printf 'the log does not say: %s\n' "$1" >&2
		cat "$MNT.err" >&2
		return 1
	}
}

# fill_again: what a file that was replaced has let go of since is taken as well.
fill_again() {
	local block
	for block in 1M 4k 512 1; do
		dd if=/dev/zero of="$T/disk/filler.again" bs="$block" oflag=append conv=notrunc,fsync status=none 2>/dev/null || :
	done
}

# released_on_full_disk [LINE]: the disk is filled, the Repo mounted, which is logged, and what is to be let go is let go, and stays so.
released_on_full_disk() {
	fill "$T/disk"
	start_again
	[ -z "${1:-}" ] || log_says "$1"
	release_all
	crash_daemon
	start_again
	figure_is reserved 1048573
	remount
	figure_is reserved 1048573
	equal 'shrunk' "$(contracts)"
}

# release_all: on a full disk. More changes than the WAL has room for.
release_all() {
	fill_again
	run ! sh -c "printf x >'$T/disk/one more byte'"
	py <<-'END'
		for n in (1, 2, 3):
		    os.rmdir(contract(f"c{n}"))
		for n in range(1200):
		    put("shrunk", str(10 * 2**20 - n))
		for n in (4, 5, 6):
		    os.rename(contract(f"c{n}"), contract(f"renamed{n}"))
		    os.rmdir(contract(f"renamed{n}"))
		put("shrunk", str(2**20 - 3))
		equal(2**20 - 3, number(fixed("reserved")))
	END
}

# read_by_hand: as whoever does not know the manual does.
read_by_hand() {
	needs sqlite3
	sqlite3 "$STATE/datastore.db" "SELECT key, value FROM datastore" >"$T/read"
	grep -q shrunk "$T/read"
	[ ! -e "$STATE/datastore.db-wal" ]
}

dig() {
	local file
	for file in "$STATE"/datastore.db*; do
		fallocate -d "$file"
	done
}

@test "ext4: sqlite3 by hand took the WAL away, the disk is full: it mounts, and releases" {
	on_disk ext4 64M
	read_by_hand
	released_on_full_disk 'datastore.db: its -wal file was missing; the spare has taken its place'
}

@test "xfs: sqlite3 by hand took the WAL away, the disk is full: it mounts, and releases" {
	on_disk xfs 320M
	read_by_hand
	released_on_full_disk 'datastore.db: its -wal file was missing; the spare has taken its place'
}

@test "btrfs: sqlite3 by hand took the WAL away, the disk is full: it mounts, and releases" {
	on_disk btrfs 160M
	read_by_hand
	released_on_full_disk 'datastore.db: its -wal file was missing; the spare has taken its place'
}

@test "holes were dug in the files, the disk is full: it mounts, and releases" {
	on_disk ext4 64M
	dig
	released_on_full_disk
}

@test "xfs: the state was copied by reflink and moved back, the disk is full: it mounts, and releases" {
	on_disk xfs 320M
	cp -a "$STATE" "$T/disk/copy"
	rm -r "$STATE"
	mv "$T/disk/copy" "$STATE"
	released_on_full_disk
}

@test "xfs: a backup by reflink stays on the disk, which is full: it mounts, and releases" {
	on_disk xfs 320M
	cp -a "$STATE" "$T/disk/backup"
	fill "$T/disk"
	start_again
	log_says 'of its -wal file were shared with a copy or a snapshot; the spare has taken its place'
	log_says 'of it were shared with a copy or a snapshot, and have been set aside anew'
	release_all
	stop_daemon
}

@test "xfs: a copy by reflink that is mounted while there is room is set right, and says so" {
	on_disk xfs 320M
	mv "$STATE" "$T/disk/original"
	cp -a "$T/disk/original" "$STATE"
	start_again
	log_says '<5>'
	log_says 'of its -wal file were shared with a copy or a snapshot, and have been set aside anew'
	log_says 'of it were shared with a copy or a snapshot, and have been set aside anew'
	fill "$T/disk"
	release_all
	remount
	figure_is reserved 1048573
}

@test "xfs: a copy by reflink on a full disk says what is the matter, and loses nothing" {
	on_disk xfs 320M
	mv "$STATE" "$T/disk/original"
	cp -a "$T/disk/original" "$STATE"
	fill "$T/disk"
	run ! "$RESERVEFS" -f "$REPO" "$MNT"
	[[ $output == *'<4>'*'datastore.db: '*' bytes of its -wal file are shared with a copy or a snapshot, and could not be set aside anew: No space left on device; until they are,'* ]]
	[[ ${lines[-1]} == 'reservefs: '*datastore.db*'free some space'* ]]
	rm "$T/disk"/filler.*
	sync -f "$T/disk"
	start_again
	log_says 'set aside anew'
	fill "$T/disk"
	release_all
}

@test "btrfs: a snapshot while it is mounted: its blocks are its own again soon after, and the log says so" {
	needs btrfs
	on_disk btrfs 256M
	start_again
	btrfs -q subvolume snapshot "$T/disk" "$T/disk/snapshot"
	DEADLINE=90 eventually grep -q 'of its -wal file were shared with a copy or a snapshot, and have been set aside anew' "$MNT.err"
	DEADLINE=90 eventually grep -q 'of it were shared with a copy or a snapshot, and have been set aside anew' "$MNT.err"
	fill "$T/disk"
	release_all
	remount
	figure_is reserved 1048573
}

@test "btrfs: files that were copied without their flag, and compressed, are written anew when it is mounted" {
	on_disk btrfs 256M
	mount -o remount,compress-force=zstd "$T/disk"
	mv "$STATE" "$T/disk/original"
	cp -a --reflink=never "$T/disk/original" "$STATE"
	run -0 lsattr "$STATE/datastore.db"
	[[ ${output%% *} != *C* ]]
	start_again
	log_says '<5>'
	log_says 'datastore.db: was not overwritten in place by its file system; it has been written anew so that it is'
	run -0 lsattr "$STATE/datastore.db"
	[[ ${output%% *} == *C* ]]
	stop_daemon
	released_on_full_disk
}

@test "fsck.reservefs checks and repairs with the spare beside, and leaves it alone" {
	local fsck=${FSCK:-$(dirname "$RESERVEFS")/../fsck/fsck.reservefs}
	needs sqlite3
	on_disk ext4 64M
	local before
	before=$(stat -c '%i %b %Y' "$STATE/datastore.db-spare")
	run -0 "$fsck" "$REPO"
	[[ $output == *': clean: 7 contracts, '* ]]
	equal "$before" "$(stat -c '%i %b %Y' "$STATE/datastore.db-spare")"
	sqlite3 "$STATE/datastore.db" "DELETE FROM datastore WHERE key = 'totals'"
	run -1 "$fsck" -y "$REPO"
	run -0 "$fsck" "$REPO"
	[ -e "$STATE/datastore.db-spare" ]
	released_on_full_disk
}

# --- reading

# state_of DIRECTORY: everything about the files in it that reading could change.
state_of() {
	(cd "$1" && find . -printf '%p %i %y %s %b %m %n %T@\n' | sort && sha256sum datastore.db*)
}

# The manual's command, as it stands in reservefs(5).
read_as_in_the_manual() {
	sqlite3 "file:$REPO/.reservefs/datastore.db?immutable=1" \
		"SELECT key, value FROM datastore WHERE key LIKE 'contract/%'"
}

@test "the manual's way to read the state changes nothing: mounted, unmounted, after a crash" {
	needs sqlite3
	mount_quota 5G
	contract "Straße 7" 12345
	local before
	before=$(state_of "$REPO/.reservefs")
	read_as_in_the_manual
	equal "$before" "$(state_of "$REPO/.reservefs")"
	size_is 12345 "Straße 7"
	stop_daemon
	before=$(state_of "$REPO/.reservefs")
	run -0 read_as_in_the_manual
	[[ $output == 'contract/Straße 7|'*'size=12345 '* ]]
	equal "$before" "$(state_of "$REPO/.reservefs")"
	start_again
	contract b 2
	crash_daemon
	before=$(state_of "$REPO/.reservefs")
	read_as_in_the_manual
	equal "$before" "$(state_of "$REPO/.reservefs")"
	run ! sqlite3 "file:$REPO/.reservefs/datastore.db?immutable=1" "DELETE FROM datastore"
	equal "$before" "$(state_of "$REPO/.reservefs")"
	start_again
	size_is 2 b
}

@test "both manual pages and the README read the state in that way" {
	local file
	for file in README.md contrib/man/reservefs.5 contrib/man/reservefs.1 contrib/man/fsck.reservefs.8; do
		run ! grep -nE "sqlite3 '?\"?[^ ]*datastore\.db( |\"|'|$)" "$SYSTEM/../../$file"
	done
	grep -qF "sqlite3 'file:repo/.reservefs/datastore.db?immutable=1'" "$SYSTEM/../../README.md"
	grep -qF "sqlite3 'file:REPO/.reservefs/datastore.db?immutable=1'" "$SYSTEM/../../contrib/man/reservefs.5"
}

# --- what a process is not allowed

# without CALL ERRNO: a whole life of a daemon that is refused it.
without() {
	needs strace
	strace -f -qq -o "$T/trace" -e "trace=$1" -e "inject=$1:error=$2" "$RESERVEFS" -f -o 'repo=quota,capacity=5G' "$REPO" "$MNT" \
		</dev/null >"$MNT.out" 2>"$MNT.err" 3>&- &
	DAEMON=$!
	eventually daemon_answers_or_ended
	contract kept 3G
	run ! sh -c "echo 3G >'$MNT/reservations/other/size'"
	contract released 1G
	mv "$MNT/reservations/released" "$MNT/reservations/renamed"
	ls -lR "$MNT" >/dev/null
	rmdir "$MNT/reservations/renamed"
	figure_is reserved 3221225472
	stop_daemon
	grep -q INJECTED "$T/trace"
	mount_quota 5G
	size_is 3221225472 kept
	stop_daemon
	rm -r "$REPO/.reservefs"
}

@test "a container that refuses statx, renameat2, fallocate, preadv2 or ioctl: the older calls do" {
	local call error
	for call in statx renameat2 fallocate preadv2 ioctl; do
		for error in EPERM ENOSYS; do
			without $call $error
		done
	done
}

# limited KIBIBYTES COMMAND...: whose files may not be larger.
limited() {
	(
		trap '' XFSZ
		ulimit -f "$1"
		exec "${@:2}"
	)
}

@test "a limit on the size of files is told as what it is, when it is mounted" {
	run -2 limited 512 "$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT"
	[[ $output == *datastore.db*'no file of this process may be larger than 524288 bytes: raise that limit (ulimit -f, LimitFSIZE=)' ]]
	[[ $output != *'check the disk'* && $output != *'free some'* ]]
	run -0 limited 4096 "$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT"
	contract c1 1G
	rmdir "$MNT/reservations/c1"
	figure_is reserved 0
	local pid
	pid=$(head -n 1 "$REPO/.reservefs/lock")
	umount "$MNT"
	eventually gone "$pid"
}

@test "a limit on the size of files that is lowered while mounted is told in last_error, and raised again" {
	needs prlimit
	mount_quota 5G
	contract c1 1G
	prlimit --pid "$DAEMON" --fsize=4096:unlimited
	py <<-'END'
		refused("EIO", put, "c1", "2G")
		why = last_error()[3]
		assert "ulimit -f" in why and "LimitFSIZE=" in why, why
		assert "check the disk" not in why and "free some" not in why, why
	END
	prlimit --pid "$DAEMON" --fsize=unlimited:unlimited
	echo 2G >"$MNT/reservations/c1/size"
	size_is 2147483648 c1
}
