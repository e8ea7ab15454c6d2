# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# figures.bats: what can be reserved, from the Repo `quota` and from real file systems.

load lib.bash

@test "quota: available is capacity less reserved, free is available, nothing is stored" {
	mount_quota 10G
	py <<-'END'
		def check(reserved, contracts):
		    equal({"capacity": 10 * 2**30, "reserved": reserved, "stored": 0, "free": 10 * 2**30 - reserved,
		           "available": 10 * 2**30 - reserved, "reservations": contracts}, status())

		check(0, 0)
		make("c1", "1G")
		check(2**30, 1)
		make("c2", "9G")
		check(10 * 2**30, 2)
		refused("ENOSPC", put, "c1", 2**30 + 1)
		check(10 * 2**30, 2)
		put("c2", 5)
		check(2**30 + 5, 2)
		os.rmdir(contract("c1"))
		check(5, 1)
	END
}

@test "quota: capacity follows the grammar of sizes" {
	local capacity
	for capacity in 1048576=1048576 1M=1048576 1mib=1048576 1MB=1000000 7EiB=8070450532247928832 $BYTES_MAX=$BYTES_MAX 0=0; do
		mount_quota "${capacity%=*}"
		figure_is capacity "${capacity#*=}"
		figure_is available "${capacity#*=}"
		stop_daemon
	done
}

@test "reserved is the sum of all sizes" {
	mount_quota 100G
	py <<-'END'
		import random
		random.seed(1)
		sizes = {}
		for step in range(300):
		    name = f"c{random.randrange(20)}"
		    match random.randrange(5):
		        case 0 | 1 | 2 if name in sizes:
		            value = random.randrange(8 * 2**30)
		            if outcome(put, name, value) == "ok":
		                sizes[name] = value
		        case 3 if name in sizes:
		            os.rmdir(contract(name))
		            del sizes[name]
		        case _ if name not in sizes:
		            make(name)
		            sizes[name] = 0
		    equal(sum(sizes.values()), number(fixed("reserved")))
		    equal(len(sizes), status()["reservations"])
		equal(sizes, {name: number(size(name)) for name in os.listdir(RESERVATIONS)})
		equal(sum(sizes.values()), number(fixed("reserved")))
	END
}

@test "a capacity below what is reserved mounts, offers nothing, refuses growth and lets go" {
	mount_quota 10G
	contract c1 6G
	contract c2 3G
	stop_daemon
	mount_quota 5G
	py <<-'END'
		equal({"capacity": 5 * 2**30, "reserved": 9 * 2**30, "stored": 0, "free": 0, "available": 0, "reservations": 2}, status())
		fs = os.statvfs(MNT)
		equal((9 * 2**30, 0), (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize))
		refused("ENOSPC", put, "c1", 6 * 2**30 + 1)
		put("c1", "6G")
		put("c1", "max")
		equal(6 * 2**30, number(size("c1")))
		make("new")
		refused("ENOSPC", put, "new", 1)
		put("new", raw(fixed("available")))
		# shrinking succeeds even where it leaves more than the capacity
		put("c1", "5G")
		equal(0, number(fixed("available")))
		refused("ENOSPC", put, "c1", 5 * 2**30 + 1)
		put("c1", "1G")
		equal(2**30, number(fixed("available")))
		put("c1", "2G")
		equal(0, number(fixed("available")))
	END
}

@test "all that is available can be reserved to the last byte by cat" {
	mount_quota 12345678901
	contract c1 5G
	contract new
	cat "$MNT/available" >"$MNT/reservations/new/size"
	size_is $((12345678901 - 5368709120)) new
	equal 0 "$(cat "$MNT/available")"
	contract new2
	cat "$MNT/available" >"$MNT/reservations/new2/size"
	size_is 0 new2
	run ! bash -c "echo 1 >'$MNT/reservations/new2/size'"
}

@test "max is all that is left, with the contract's own size" {
	mount_quota 10G
	contract c1 4G
	contract c2 1G
	echo max >"$MNT/reservations/c1/size"
	size_is $((9 * 1073741824)) c1
	figure_is available 0
	echo max >"$MNT/reservations/c2/size"
	size_is 1073741824 c2
	echo ' max ' >"$MNT/reservations/c1/size"
	size_is $((9 * 1073741824)) c1
	rmdir "$MNT/reservations/c1"
	contract c3
	echo max >"$MNT/reservations/c3/size"
	size_is $((9 * 1073741824)) c3
}

@test "disk: a Repo that is the root of an ext4 follows the formula" {
	loop_fs ext4 256M
	REPO=$T/disk mount_disk
	REPO=$T/disk py <<-'END'
		check_disk_figures(REPO, 0)
		make("c1", "50M")
		check_disk_figures(REPO, 50 * 2**20)
		make("c2", "max")
		equal(0, number(fixed("available")))
		check_disk_figures(REPO, 50 * 2**20 + number(size("c2")))
		os.rmdir(contract("c1"))
		check_disk_figures(REPO, number(size("c2")))
	END
}

@test "disk: with the Datastore elsewhere the formula holds to the byte" {
	loop_fs ext4 256M
	mkdir "$T/elsewhere"
	REPO=$T/disk mount_disk -o datastore="$T/elsewhere/state.db"
	[ -s "$T/elsewhere/state.db" ]
	run ! test -e "$T/disk/.reservefs/datastore.db"
	REPO=$T/disk py <<-'END'
		check_disk_figures(REPO, 0)
		make("c1", "50M")
		check_disk_figures(REPO, 50 * 2**20)
	END
}

# sells_nothing_twice DIRECTORY SIZE: whoever fills the file system of the Repo DIRECTORY, with whatever, what is promised
# is never more than what can be stored there.
sells_nothing_twice() {
	REPO=$1 mount_disk
	REPO=$1 py "$2" <<-'END'
		promised = int(sys.argv[1])
		make("c1", promised)
		check_disk_figures(REPO, promised)
		before = status()
		foreign = min(before["available"] * 9 // 10, promised)
		with open(os.path.join(REPO, "foreign"), "wb") as other:
		    for _ in range(foreign // 2**20):
		        other.write(bytes(2**20))
		    other.flush()
		    os.fsync(other.fileno())
		check_disk_figures(REPO, promised)
		after = status()
		equal(0, after["stored"])
		assert after["available"] <= before["available"] - foreign // 2**20 * 2**20, (before, after)
		make("c2", raw(fixed("available")))
		fs = os.statvfs(REPO)
		assert number(fixed("reserved")) <= fs.f_bavail * fs.f_frsize, (number(fixed("reserved")), fs)
		refused("ENOSPC", put, "c2", number(size("c2")) + 2**20)
	END
}

@test "disk: in a Repo that is the root of an ext4 space that others fill is not sold again" {
	loop_fs ext4 256M
	sells_nothing_twice "$T/disk" $((120 << 20))
}

@test "disk: in a Repo that is a subdirectory space that others fill is not sold again" {
	loop_fs ext4 256M
	mkdir "$T/disk/sub"
	sells_nothing_twice "$T/disk/sub" $((120 << 20))
}

@test "disk: what a fresh xfs has used for itself is not sold" {
	loop_fs xfs 400M
	sells_nothing_twice "$T/disk" $((150 << 20))
}

@test "disk: what a fresh btrfs has used for itself is not sold" {
	loop_fs btrfs 400M
	sells_nothing_twice "$T/disk" $((120 << 20))
}

@test "disk: through a mount that shows a part of a file system as if it were its own, no byte is sold twice" {
	needs bindfs
	loop_fs ext4 256M
	mkdir "$T/disk/part" "$T/part"
	bindfs "$T/disk/part" "$T/part"
	sells_nothing_twice "$T/part" $((120 << 20))
	stop_daemon
	umount "$T/part"
}

@test "disk: lowering size tells that so much was filled" {
	loop_fs ext4 256M
	REPO=$T/disk mount_disk
	REPO=$T/disk py <<-'END'
		make("c1", "100M")
		before = check_disk_figures(REPO, 100 * 2**20)["available"]
		with open(os.path.join(REPO, "data"), "wb") as data:
		    data.write(bytes(60 * 2**20))
		    data.flush()
		    os.fsync(data.fileno())
		after = check_disk_figures(REPO, 100 * 2**20)["available"]
		assert after <= before - 60 * 2**20, "the safe side: filled space counts twice"
		put("c1", "40M")
		equal(after + 60 * 2**20, check_disk_figures(REPO, 40 * 2**20)["available"])
	END
}

@test "disk: a capacity below the file system's bounds what is available" {
	loop_fs ext4 256M
	REPO=$T/disk mount_disk -o capacity=64M
	REPO=$T/disk py <<-'END'
		equal(64 * 2**20, check_disk_figures(REPO, 0, 64 * 2**20)["available"])
		make("c1", "60M")
		equal(4 * 2**20, check_disk_figures(REPO, 60 * 2**20, 64 * 2**20)["available"])
		refused("ENOSPC", put, "c1", 64 * 2**20 + 1)
		put("c1", "64M")
		equal(0, number(fixed("available")))
	END
	stop_daemon
	REPO=$T/disk mount_disk -o capacity=1E
	REPO=$T/disk py <<-'END'
		s = check_disk_figures(REPO, 64 * 2**20, 2**60)
		assert s["available"] < 256 * 2**20
	END
}

@test "disk: capacity=max and repo=disk are the defaults" {
	loop_fs ext4 256M
	REPO=$T/disk mount_disk -o capacity=max,repo=disk
	REPO=$T/disk py <<-'END'
		check_disk_figures(REPO, 0)
	END
}

@test "disk: df shows the same figures as status" {
	loop_fs ext4 256M
	REPO=$T/disk mount_disk
	contract c1 50M
	py <<-'END'
		def compare():
		    before, fs, after = status(), os.statvfs(MNT), status()
		    if before != after:
		        return False
		    equal((before["reserved"] + before["available"], before["available"], before["reserved"]),
		          (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize, (fs.f_blocks - fs.f_bfree) * fs.f_frsize))
		    return True

		eventually(compare)
	END
}

@test "disk: other file systems follow the formula too: xfs" {
	loop_fs xfs 320M
	REPO=$T/disk mount_disk
	REPO=$T/disk py <<-'END'
		check_disk_figures(REPO, 0)
		make("c1", "50M")
		check_disk_figures(REPO, 50 * 2**20)
		make("new", raw(fixed("available")))
		equal(0, number(fixed("available")))
	END
}

@test "disk: other file systems follow the formula too: btrfs" {
	loop_fs btrfs 256M
	REPO=$T/disk mount_disk
	REPO=$T/disk py <<-'END'
		check_disk_figures(REPO, 0)
		make("c1", "50M")
		check_disk_figures(REPO, 50 * 2**20)
	END
}

@test "disk: all that is available can be reserved by cat" {
	loop_fs ext4 128M
	REPO=$T/disk mount_disk
	contract c1 7M
	contract new
	cat "$MNT/available" >"$MNT/reservations/new/size"
	equal 0 "$(cat "$MNT/available")"
	[ "$(cat "$MNT/reservations/new/size")" -gt 10000000 ]
	run ! bash -c "echo 8M >'$MNT/reservations/c1/size'"
	size_is 7340032 c1
}

@test "disk: to record a reservation does not move available" {
	loop_fs ext4 256M
	REPO=$T/disk mount_disk
	py <<-'END'
		before = status()
		for n in range(200):
		    make(f"a-name-that-takes-some-room-in-the-datastore-{n:0200}", "1")
		after = status()
		equal(before["free"], after["free"])
		equal(before["available"] - 200, after["available"])
		for n in range(200):
		    os.rmdir(contract(f"a-name-that-takes-some-room-in-the-datastore-{n:0200}"))
		equal(before, status())
	END
}

@test "disk: on a full disk reads, mkdir, shrinking and every kind of release work and last" {
	loop_fs ext4 64M
	REPO=$T/disk mount_disk
	contract shrunk 10M
	contract removed 9M
	contract replaced 8M
	contract renamed 7M
	contract kept 6M
	fill "$T/disk"
	run ! sh -c "printf x >'$T/disk/one more byte'"
	py <<-'END'
		equal(0, number(fixed("available")))
		equal(40 * 2**20, number(fixed("reserved")))
		refused("ENOSPC", put, "kept", "50M")
		make("new")
		refused("ENOSPC", put, "new", "1")
		put("kept", "6M")
		put("shrunk", "1M")
		os.rmdir(contract("removed"))
		os.unlink(size("replaced"))
		write_at(size("replaced"), b"0", 0, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
		os.rename(contract("renamed"), contract("other"))
		equal(14 * 2**20, number(fixed("reserved")))
	END
	crash_daemon
	REPO=$T/disk start_again
	py <<-'END'
		expected = {"shrunk": 2**20, "replaced": 0, "other": 7 * 2**20, "kept": 6 * 2**20}
		found = {name: number(size(name)) for name in os.listdir(RESERVATIONS)}
		found.pop("new", None)
		equal(expected, found)
		equal(14 * 2**20, number(fixed("reserved")))
	END
	rm "$T/disk"/filler.*
	echo 7M >"$MNT/reservations/kept/size"
}

@test "disk: a full disk takes thousands of releases" {
	loop_fs ext4 64M
	REPO=$T/disk mount_disk
	py <<-'END'
		for n in range(1500):
		    make(f"c{n}", 1)
	END
	fill "$T/disk"
	py <<-'END'
		for n in range(1500):
		    os.rmdir(contract(f"c{n}"))
		equal((0, 0), (status()["reserved"], status()["reservations"]))
	END
}

@test "pool names the pool and changes no figure" {
	mount_quota 10G -o pool=silver
	figure_is capacity 10737418240
}
