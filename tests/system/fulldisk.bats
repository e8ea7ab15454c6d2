# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# fulldisk.bats: the disk beneath a Datastore is filled by others to the last byte, goes read-only, is shut down or
# disappears, and the Datastore's file is replaced or cut underneath: each time a clear error, nothing invented, nothing lost.

# shellcheck disable=SC2030,SC2031 # a test's variables are its own

load lib.bash

# on_disk TYPE SIZE: a daemon whose Repo is the root of a file system of that type.
on_disk() {
	loop_fs "$1" "$2"
	REPO=$T/disk
	mount_disk
}

# These daemons have something to complain of.
stop_noisy() {
	umount "$MNT"
	local pid=$DAEMON
	eventually gone "$pid"
	wait "$pid" || :
	DAEMON=''
}

# change_fails ERRNO: every kind of durable change is refused with it, is explained, and changes nothing that is shown.
change_fails() {
	py "$1" <<-'END'
		import sys
		errno = sys.argv[1]
		before = status()
		names = os.listdir(RESERVATIONS)
		sizes = {name: raw(size(name)) for name in names}
		refused(errno, put, "kept", "1M")
		path, why = last_error()[2:4]
		equal("reservations/kept/size", path)
		assert "datastore" in why.lower() or "disk" in why.lower(), why
		refused(errno, put, "kept", "9M")
		refused(errno, os.rmdir, contract("kept"))
		refused(errno, os.rename, contract("kept"), contract("another"))
		for name in before:
		    if name not in ("free", "stored", "available"):
		        equal(before[name], status()[name], name)
		equal(sizes, {name: raw(size(name)) for name in names})
		equal(names, os.listdir(RESERVATIONS))
	END
}

# change_works: every kind of durable change succeeds. `kept` is there with 6 MiB, before and after.
change_works() {
	py <<-'END'
		make("changed", "1M")
		put("changed", "2M")
		put("changed", "1")
		os.rename(contract("changed"), contract("renamed"))
		put("renamed", "3")
		os.rmdir(contract("renamed"))
		put("kept", "5M")
		put("kept", "6M")
	END
}

has_room() {
	sync -f "$T/disk"
	(($(cat "$MNT/available") > 16777216))
}

full_disk() {
	on_disk "$1" "$2"
	contract shrunk 10M
	contract removed 9M
	contract replaced 8M
	contract renamed 7M
	contract kept 6M
	fill "$T/disk"
	run ! sh -c "printf x >'$T/disk/one more byte'"
	py <<-'END'
		left = number(fixed("available"))
		# some file systems count as free what they give nobody
		assert left <= 65536, left
		equal(40 * 2**20, number(fixed("reserved")))
		equal(5, len(os.listdir(RESERVATIONS)))
		for name in os.listdir(RESERVATIONS):
		    assert number(size(name)) > 0
		for name in os.listdir(MNT):
		    if os.path.isfile(fixed(name)):
		        raw(fixed(name))
		os.statvfs(MNT)
		refused("ENOSPC", put, "kept", str(6 * 2**20 + left + 1))
		make("new")
		refused("ENOSPC", put, "new", str(left + 1))
		# 400 changes that are recorded, in room that was set aside before
		for n in range(200):
		    put("shrunk", str(10 * 2**20 - n - 1))
		for n in range(100):
		    make("passing"), os.rmdir(contract("passing"))
		    os.rename(contract("kept"), contract("was kept")), os.rename(contract("was kept"), contract("kept"))
		put("shrunk", "1M")
		os.rmdir(contract("removed"))
		os.unlink(size("replaced"))
		write_at(size("replaced"), b"0", 0, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
		os.rename(contract("renamed"), contract("other"))
		equal(14 * 2**20, number(fixed("reserved")))
	END
	crash_daemon
	start_again
	still_full 1048576
	remount
	still_full 1048575
	rm "$T/disk"/filler.*
	eventually has_room
	change_works
}

# still_full BYTES: `shrunk` has that many, and can be shrunk by one more.
still_full() {
	run ! sh -c "printf x >'$T/disk/one more byte'"
	py "$1" <<-'END'
		import sys
		shrunk = int(sys.argv[1])
		expected = {"shrunk": shrunk, "replaced": 0, "other": 7 * 2**20, "kept": 6 * 2**20}
		found = {name: number(size(name)) for name in os.listdir(RESERVATIONS)}
		found.pop("new", None)
		equal(expected, found)
		equal(13 * 2**20 + shrunk, number(fixed("reserved")))
		assert number(fixed("available")) <= 65536
		refused("ENOSPC", put, "kept", "64M")
		put("shrunk", str(shrunk - 1))
	END
}

@test "full disk, ext4: reads, releases and shrinking work and last" {
	full_disk ext4 64M
}

@test "full disk, xfs: reads, releases and shrinking work and last" {
	full_disk xfs 320M
}

@test "full disk, btrfs: reads, releases and shrinking work and last" {
	full_disk btrfs 160M
}

@test "the Datastore's directory goes out of sight and comes back: errors in between, no restart" {
	on_disk ext4 64M
	contract kept 6M
	local device
	device=$(findmnt -nro SOURCE -M "$T/disk")
	umount -l "$T/disk"
	change_fails EIO
	mount "$device" "$T/disk"
	change_works
	remount
	size_is 6291456 kept
	change_works
}

# shut_down TYPE SIZE: everything that the file system is asked for fails from one moment on.
shut_down() {
	on_disk "$1" "$2"
	contract kept 6M
	contract other 1M
	"$PYTHON" - "$T/disk" <<-'END' || skip "this kernel does not shut $1 down"
		import fcntl, os, struct, sys
		goingdown, without_flushing = 0x8004587D, 2
		fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), goingdown, struct.pack("I", without_flushing))
	END
	# what the tree has in memory is shown, the rest is an error; nothing is taken for gone
	py <<-'END'
		equal(7 * 2**20, number(fixed("reserved")))
		for name in ("kept", "other"):
		    assert outcome(raw, size(name)) in ("ok", "EIO")
		    assert outcome(os.stat, contract(name)) in ("ok", "EIO")
		assert outcome(os.listdir, RESERVATIONS) in ("ok", "EIO")
		for call in ((put, "kept", "1M"), (put, "other", "max"), (os.rmdir, contract("other"))):
		    refused("EIO", *call)
		assert last_error()
		equal(7 * 2**20, number(fixed("reserved")))
	END
	stop_noisy
	umount "$T/disk"
	mount -o loop "$T/disk.img" "$T/disk"
	start_again
	py <<-'END'
		equal({"kept": 6 * 2**20, "other": 2**20}, {name: number(size(name)) for name in os.listdir(RESERVATIONS)})
		equal(7 * 2**20, number(fixed("reserved")))
	END
	change_works
}

@test "an ext4 that is shut down: EIO, and after it is mounted again all that was answered is there" {
	shut_down ext4 64M
}

@test "an xfs that is shut down: EIO, and after it is mounted again all that was answered is there" {
	shut_down xfs 320M
}

@test "an ext4 that goes read-only on an error: reads work, changes are EIO, nothing is lost" {
	on_disk ext4 64M
	contract kept 6M
	remount
	size_is 6291456 kept
	mount -o remount,abort "$T/disk"
	change_fails EIO
	size_is 6291456 kept
	stop_noisy
	umount "$T/disk"
	mount -o loop "$T/disk.img" "$T/disk"
	start_again
	size_is 6291456 kept
	change_works
}

@test "the Datastore's file is replaced underneath: changes are EIO until the right one is back" {
	on_disk ext4 64M
	contract kept 6M
	local store=$REPO/.reservefs/datastore.db
	cp "$store" "$store.copy"
	mv "$store" "$store.right"
	mv "$store.copy" "$store"
	change_fails EIO
	rm "$store"
	change_fails EIO
	mv "$store.right" "$store"
	change_works
	crash_daemon
	start_again
	size_is 6291456 kept
}

@test "the Datastore's WAL is removed or replaced underneath: changes are EIO until the right one is back" {
	on_disk ext4 64M
	contract kept 6M
	local wal=$REPO/.reservefs/datastore.db-wal
	mv "$wal" "$wal.right"
	change_fails EIO
	cp "$wal.right" "$wal"
	change_fails EIO
	mv "$wal.right" "$wal"
	change_works
	crash_daemon
	start_again
	size_is 6291456 kept
}

@test "the Datastore's file is cut underneath: changes are EIO, nothing is invented, and it isn't taken for a new one" {
	on_disk ext4 64M
	contract kept 6M
	local store=$REPO/.reservefs/datastore.db
	# All of it is in the main file, then.
	remount
	size_is 6291456 kept
	cp "$store" "$T/whole"
	truncate -s 4096 "$store"
	change_fails EIO
	truncate -s 0 "$store"
	change_fails EIO
	figure_is reserved 6291456
	crash_daemon
	# What was killed cannot void its WAL any more; that is no reason to make something up.
	run ! "$RESERVEFS" "$REPO" "$MNT"
	[[ $output == *datastore.db* ]]
	[ ! -e "$MNT/status" ]
	[ ! -s "$store" ]
	rm "$store"
	run ! "$RESERVEFS" "$REPO" "$MNT"
	[[ $output == *wal* ]]
	cp "$T/whole" "$store"
	start_again
	size_is 6291456 kept
	change_works
}
