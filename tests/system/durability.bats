# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# durability.bats: what returned is there after the daemon was killed, and after the power was lost. For the second, the
# Repo is on a loop device, and what was sent to that device is copied: pages that were not synced are not in it.

# shellcheck disable=SC2030,SC2031 # a test's variables are its own

load lib.bash

# Whether all threads of the daemon are stopped, none in the middle of writing.
stands_still() {
	! grep -hs '^State:' "/proc/$DAEMON"/task/*/status | grep -qv '^State:[^A-Za-z]*[Tt] '
}

# lose_power: copies the device as it is at one moment, TAKEN_US. The daemon stands still meanwhile, so that the copy is of one
# moment; for how long is added to STOPPED_US.
lose_power() {
	kill -STOP "$DAEMON" && eventually stands_still || return
	TAKEN_US=${EPOCHREALTIME/./}
	cp --sparse=always "$T/disk.img" "$T/lost.img"
	local status=$?
	kill -CONT "$DAEMON"
	STOPPED_US=$((STOPPED_US + ${EPOCHREALTIME/./} - TAKEN_US))
	return $status
}

# after_power_loss COMMAND...: runs it with $MNT and $REPO where the copy is mounted.
after_power_loss() {
	local status=0
	lose_power || return
	local MNT=$T/lost.mnt REPO=$T/lost DAEMON=''
	mkdir -p "$MNT" "$REPO" && mount -t ext4 -o loop "$T/lost.img" "$REPO" || return
	{ start_again && "$@" && stop_daemon; } || status=1
	umount -l "$MNT" 2>/dev/null || :
	[ -z "$DAEMON" ] || crash_daemon
	umount "$REPO" || status=1
	return $status
}

# on_disk: a daemon whose whole state is on the loop device. A quota, so that the copy's figures are the same. The file
# system stores by itself what was not synced, but not as soon as that.
on_disk() {
	STOPPED_US=0
	loop_fs ext4 64M
	mount -o remount,commit=300 "$T/disk"
	REPO=$T/disk
	mount_quota 10G
}

# Every file system keeps dirty pages for seconds; if this were not so, these tests would show nothing.
loses_what_is_not_synced() {
	[ ! -s "$REPO/not-synced" ]
}

@test "a write that returned survives the loss of power" {
	on_disk
	contract c1
	echo not synced >"$REPO/not-synced"
	echo 3G >"$MNT/reservations/c1/size"
	after_power_loss size_is 3221225472 c1
	after_power_loss loses_what_is_not_synced
	echo 1G >"$MNT/reservations/c1/size"
	after_power_loss size_is 1073741824 c1
	after_power_loss figure_is reserved 1073741824
}

@test "a file that was unlinked, and one that was created and written then, is there after the loss of power" {
	on_disk
	contract c1 3G
	rm "$MNT/reservations/c1/size"
	after_power_loss size_is 3221225472 c1
	after_power_loss figure_is reserved 3221225472
	echo 2G >"$MNT/reservations/c1/size"
	after_power_loss size_is 2147483648 c1
}

@test "an rmdir that released space and returned survives the loss of power" {
	on_disk
	contract c1 3G
	contract c2 1G
	rmdir "$MNT/reservations/c1"
	after_power_loss equal_contracts c2
}

@test "a rename that returned survives the loss of power" {
	on_disk
	contract c1 3G
	mv "$MNT/reservations/c1" "$MNT/reservations/c2"
	after_power_loss equal_contracts c2
	after_power_loss size_is 3221225472 c2
	# also where nothing is promised
	contract e1
	mv "$MNT/reservations/e1" "$MNT/reservations/e2"
	after_power_loss equal_contracts c2 e2
}

equal_contracts() {
	equal "$*" "$(contracts)"
}

@test "an empty contract is durable after fsync of reservations" {
	on_disk
	contract before
	mkdir "$MNT/reservations/c1"
	sync "$MNT/reservations"
	after_power_loss equal_contracts before c1
	rmdir "$MNT/reservations/c1"
	sync "$MNT/reservations"
	after_power_loss equal_contracts before
}

@test "fdatasync of reservations makes an empty contract durable too" {
	on_disk
	mkdir "$MNT/reservations/c1"
	sync -d "$MNT/reservations"
	after_power_loss equal_contracts c1
}

syncs() {
	sed -n 's/^reservefs_[a-z_]*{.*operation="sync".*result="ok".*} //p' "$MNT/metrics" | paste -sd ' '
}

@test "syncfs does not reach the tree, fsync of reservations does" {
	mount_quota 1G
	local before
	before=$(syncs)
	[ -n "$before" ]
	sync -f "$MNT/reservations"
	equal "$before" "$(syncs)"
	sync "$MNT/reservations"
	[ "$before" != "$(syncs)" ]
}

@test "an empty contract is durable with the next durable change" {
	on_disk
	contract c1
	mkdir "$MNT/reservations/c2"
	rmdir "$MNT/reservations/c2"
	mkdir "$MNT/reservations/c3"
	echo 1 >"$MNT/reservations/c1/size"
	after_power_loss equal_contracts c1 c3
}

# durable_within_a_second NAME...: since BEGIN_US the contracts are these; no copy that was taken more than a second of the daemon's
# time later may show others.
durable_within_a_second() {
	local missed_us=$BEGIN_US begin_stopped_us=$STOPPED_US stopped_us
	look() {
		stopped_us=$((STOPPED_US - begin_stopped_us))
		after_power_loss equal_contracts "$@" 2>/dev/null && return
		missed_us=$((TAKEN_US - stopped_us))
		return 1
	}
	eventually look "$@" || return
	echo "last seen missing after $((missed_us - BEGIN_US)) us"
	((missed_us - BEGIN_US < 1000000))
}

@test "creating and removing an empty contract is durable within a second" {
	on_disk
	contract kept 1
	BEGIN_US=${EPOCHREALTIME/./}
	mkdir "$MNT/reservations/c1"
	durable_within_a_second c1 kept
	BEGIN_US=${EPOCHREALTIME/./}
	rmdir "$MNT/reservations/c1"
	durable_within_a_second kept
}

@test "every kind of change that returned is there after kill -9" {
	mount_quota 10G
	contract c1 1G
	contract c2 2G
	contract c3 3G
	contract c4 1M
	local change
	for change in "echo 2G >c1/size" "rm c2/size; echo 1G >c2/size" "rm -r c2" "rmdir c3" "mv c4 c5" "echo 1K >c1/size"; do
		(cd "$MNT/reservations" && sh -c "$change")
		local before
		before=$(cd "$MNT/reservations" && grep -r . . | sort)
		crash_daemon
		start_again
		equal "$before" "$(cd "$MNT/reservations" && grep -r . . | sort)"
	done
	equal "c1 c5" "$(contracts)"
	figure_is reserved $((1024 + 1048576))
	figure_is reservations 2
}

@test "a mount point left over from a killed daemon is cleaned up and mounted again" {
	mount_quota 10G
	contract c1 7
	crash_daemon
	run ! ls "$MNT"
	start_again
	size_is 7 c1
	crash_daemon
	start_again
	size_is 7 c1
	equal 1 "$(findmnt -rno TARGET | grep -cxF "$MNT")"
}

@test "a killed daemon's clients get an error, at once, and not a hang" {
	mount_quota 10G
	contract c1 7
	exec {kept}<>"$MNT/reservations/c1/size"
	crash_daemon
	run ! timeout 5 sh -c "echo 5 >'$MNT/reservations/c1/size'"
	[[ $output == *"Transport endpoint is not connected"* ]]
	run -1 timeout 5 bash -c "cat <&$kept"
	exec {kept}>&-
	start_again
	size_is 7 c1
}

@test "killed at any moment under load, each contract has its last answered size or the one being written" {
	mount_quota 1G
	local round
	for round in {1..6}; do
		py "$DAEMON" "$round" <<-'END'
			import json, random, signal, threading
			daemon, number_of_round = int(sys.argv[1]), int(sys.argv[2])
			random.seed(number_of_round)
			names = [f"r{number_of_round}-{n}" for n in range(6)]
			for name in names:
			    make(name)
			may_be = {name: {0} for name in names}
			answered = 0

			def client(name):
			    global answered
			    for step in range(10**6):
			        value = random.randrange(1, 2 * 10**7)
			        may_be[name].add(value)
			        try:
			            got = outcome(put, name, value)
			        except Exception:
			            return
			        if got == "ok":
			            may_be[name] = {value}
			            answered += 1
			        elif got == "ENOSPC":
			            may_be[name].discard(value)
			        else:
			            return

			clients = [threading.Thread(target=client, args=(name,)) for name in names]
			for c in clients:
			    c.start()
			enough = random.randrange(20, 300)
			eventually(lambda: answered >= enough)
			os.kill(daemon, signal.SIGKILL)
			for c in clients:
			    c.join()
			with open(os.path.join(os.environ["T"], "may_be"), "w") as file:
			    json.dump({name: sorted(values) for name, values in may_be.items()}, file)
		END
		wait "$DAEMON" 2>/dev/null || :
		DAEMON=''
		start_again
		py <<-'END'
			import json
			with open(os.path.join(os.environ["T"], "may_be")) as file:
			    for name, values in json.load(file).items():
			        assert number(size(name)) in values, (name, number(size(name)), values)
			total = sum(number(size(name)) for name in os.listdir(RESERVATIONS))
			s = status()
			equal((total, 2**30 - total), (s["reserved"], s["available"]))
			# room for the next round
			for name in os.listdir(RESERVATIONS):
			    put(name, 1)
		END
	done
}

@test "unmounting keeps everything, empty contracts and times included" {
	mount_quota 10G
	contract c1 7
	contract e1
	contract e2
	rmdir "$MNT/reservations/e2"
	remount
	equal "c1 e1" "$(contracts)"
	size_is 7 c1
}

@test "SIGTERM keeps everything, an empty contract made just before included" {
	mount_quota 10G
	mkdir "$MNT/reservations/e1"
	kill -TERM "$DAEMON"
	daemon_ends 0
	start_again
	equal e1 "$(contracts)"
}

@test "a disk that fails is EIO, changes nothing, and everything is there when it is back" {
	on_disk
	contract c1 1G
	contract c2 2G
	contract c3
	sync "$MNT/reservations"
	py <<-'END'
		import struct
		# FS_IOC_SHUTDOWN, without a last flush: from now on the file system can store nothing
		fd = os.open(os.path.join(os.environ["T"], "disk"), os.O_RDONLY)
		try:
		    fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
		finally:
		    os.close(fd)
		def look():
		    return status(), [number(size(name)) for name in ("c1", "c2", "c3")]
		before = look()
		for name, value in [("c1", "3G"), ("c1", "1"), ("c2", "max"), ("c3", 5)]:
		    refused("EIO", put, name, value)
		    path, why, advice = last_error()[2:]
		    equal(f"reservations/{name}/size", path)
		    equal(before, look())
		refused("EIO", os.rmdir, contract("c2"))
		refused("EIO", os.rename, contract("c1"), contract("c4"))
		equal(before, look())
		equal(before[0]["reserved"] + before[0]["available"], os.statvfs(MNT).f_blocks)
		# what is wrong in itself is still told as such
		refused("EINVAL", put, "c1", "lots")
	END
	crash_daemon
	umount -l "$MNT"
	umount "$T/disk"
	mount -t ext4 -o loop "$T/disk.img" "$T/disk"
	start_again
	equal "c1 c2 c3" "$(contracts)"
	size_is 1073741824 c1
	size_is 2147483648 c2
	figure_is reserved 3221225472
}
