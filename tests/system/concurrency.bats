# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# concurrency.bats: many clients at once, listings while contracts go, and readers while the disk hangs.
#
# RESERVEFS_CHURN=1000000 bats concurrency.bats runs the churn that many times; 20,000 without it.

# shellcheck disable=SC2030,SC2031 # a test's variables are its own

load lib.bash

CHURN=${RESERVEFS_CHURN:-20000}
((CHURN <= 20000)) || export BATS_TEST_TIMEOUT=$((CHURN / 100))

ten_thousand_contracts() {
	mount_quota 1T
	py <<-'END'
		for n in range(10000):
		    make(f"contract-{n:05}", 7 if n % 100 == 0 else None)
		equal((10000, 700), (status()["reservations"], number(fixed("reserved"))))
	END
}

none_is_left() {
	equal "" "$(ls -A "$MNT/reservations")"
	figure_is reservations 0
	figure_is reserved 0
}

@test "a listing shows each of 10,000 contracts once" {
	ten_thousand_contracts
	py <<-'END'
		expected = [f"contract-{n:05}" for n in range(10000)]
		equal(expected, sorted(os.listdir(RESERVATIONS)))
		# also for those who stop and go on
		with os.scandir(RESERVATIONS) as entries:
		    names = []
		    for n, entry in enumerate(entries):
		        names.append(entry.name)
		        if n == 3000:
		            equal(10000, len(os.listdir(RESERVATIONS)))
		equal(expected, sorted(names))
	END
}

@test "rm -r of all of 10,000 contracts misses none" {
	ten_thousand_contracts
	(cd "$MNT" && rm -r reservations/*)
	none_is_left
}

@test "find -delete of 10,000 contracts misses none" {
	ten_thousand_contracts
	find "$MNT/reservations" -mindepth 1 -delete
	none_is_left
}

@test "rm -r of reservations itself and Python's rmtree miss none of 10,000 contracts" {
	ten_thousand_contracts
	run -1 rm -r "$MNT/reservations"
	none_is_left
	ten_more() { py <<<'for n in range(1000): make(f"again-{n}")'; }
	ten_more
	py <<-'END'
		import shutil
		failures = []
		shutil.rmtree(RESERVATIONS, onerror=lambda call, path, info: failures.append(path))
		equal([RESERVATIONS], failures)
	END
	none_is_left
}

@test "contracts removed and created while a listing goes on: those that stay are listed once" {
	ten_thousand_contracts
	py <<-'END'
		stay = {f"contract-{n:05}" for n in range(0, 10000, 2)}
		listed = []
		with os.scandir(RESERVATIONS) as entries:
		    for entry in entries:
		        listed.append(entry.name)
		        n = len(listed)
		        if n % 2 == 1 and n < 5000:
		            # one behind, one before the reader
		            for victim in (n, 9999 - n + 1):
		                if victim % 2:
		                    outcome(os.rmdir, contract(f"contract-{victim:05}"))
		            make(f"new-{n}")
		equal(len(listed), len(set(listed)))
		assert stay <= set(listed), sorted(stay - set(listed))[:5]
	END
}

@test "a directory read again from the start shows what there is now" {
	mount_quota 10G
	contract a
	py <<-'END'
		import ctypes
		libc = ctypes.CDLL(None, use_errno=True)
		libc.fdopendir.restype = libc.readdir.restype = ctypes.c_void_p
		libc.readdir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
		directory = libc.fdopendir(os.open(RESERVATIONS, os.O_RDONLY | os.O_DIRECTORY))

		def names():
		    found = []
		    while entry := libc.readdir(directory):
		        found.append(ctypes.string_at(entry + 19))
		    return sorted(found)

		equal([b".", b"..", b"a"], names())
		make("b")
		os.rmdir(contract("a"))
		libc.rewinddir(directory)
		equal([b".", b"..", b"b"], names())
	END
}

@test "reads, listings and df answer while a commit hangs, and it succeeds when the disk comes back" {
	loop_fs ext4 128M
	REPO=$T/disk mount_disk
	contract c1 1M
	contract seen 2M
	contract unseen 3M
	REPO=$T/disk remount
	size_is 2097152 seen
	local available writer second
	available=$(cat "$MNT/available")
	freeze "$T/disk"
	bash -c "echo 5M >'$MNT/reservations/c1/size'" 3>&- &
	writer=$!
	ATTACHED+=("$writer")
	eventually daemon_hangs
	bash -c "echo 6M >'$MNT/reservations/seen/size'" 3>&- &
	second=$!
	ATTACHED+=("$second")
	local command
	for command in "cat $MNT/available" "cat $MNT/status" "cat $MNT/capacity" "cat $MNT/reserved" "cat $MNT/last_error" "ls $MNT" "ls -l $MNT/reservations" \
		"df $MNT" "df -i $MNT" "stat $MNT/reservations/c1" "stat $MNT/reservations/c1/size" "cat $MNT/reservations/c1/size" \
		"cat $MNT/reservations/seen/size" "cat $MNT/reservations/unseen/size" "find $MNT/reservations" "du -s $MNT/reservations"; do
		# shellcheck disable=SC2086 # a command line
		timeout 5 $command >"$T/answer" || {
			echo "did not answer: $command" >&2
			return 1
		}
	done
	# nothing of it is seen before it is durable
	size_is 1048576 c1
	size_is 2097152 seen
	equal "$available" "$(cat "$MNT/available")"
	kill -0 "$writer" "$second"
	daemon_hangs
	thaw "$T/disk"
	wait "$writer"
	wait "$second"
	size_is 5242880 c1
	size_is 6291456 seen
}

@test "a malformed or too large value is refused at once while a commit hangs" {
	loop_fs ext4 128M
	REPO=$T/disk mount_disk
	contract c1 1M
	contract c2 1M
	freeze "$T/disk"
	bash -c "echo 5M >'$MNT/reservations/c1/size'" 3>&- &
	ATTACHED+=("$!")
	eventually daemon_hangs
	run -1 timeout 5 bash -c "echo lots >'$MNT/reservations/c2/size'"
	[[ $output == *"Invalid argument"* ]]
	run -1 timeout 5 chmod 777 "$MNT/reservations/c2"
	thaw "$T/disk"
	wait "${ATTACHED[0]}"
}

@test "a writer that is killed while the disk hangs leaves the tree whole" {
	loop_fs ext4 128M
	REPO=$T/disk mount_disk
	contract c1 1M
	contract c2 1M
	freeze "$T/disk"
	bash -c "echo 5M >'$MNT/reservations/c1/size'" 3>&- &
	ATTACHED+=("$!")
	eventually daemon_hangs
	bash -c "echo 6M >'$MNT/reservations/c2/size'" 3>&- &
	ATTACHED+=("$!")
	kill -KILL "${ATTACHED[@]}"
	thaw "$T/disk"
	eventually gone "${ATTACHED[0]}"
	eventually gone "${ATTACHED[1]}"
	echo 7M >"$MNT/reservations/c2/size"
	size_is 7340032 c2
	py <<-'END'
		assert number(size("c1")) in (2**20, 5 * 2**20)
		equal(number(size("c1")) + 7 * 2**20, number(fixed("reserved")))
	END
}

@test "many race for the last byte: exactly as many win as there is room for" {
	# room for 10 and a bit
	mount_quota 10498105
	py <<<'for n in range(64): make(f"c{n}")'
	for _ in {1..15}; do
		equal "ENOSPC 54,ok 10" "$("$HELPERS/race" 1M "$MNT"/reservations/*/size | paste -sd ,)"
		equal 12345 "$(cat "$MNT/available")"
		equal 10485760 "$(cat "$MNT/reserved")"
		equal 10485760 "$(cat "$MNT"/reservations/*/size | paste -sd + | bc)"
		py <<<'for n in range(64): put(f"c{n}", 0)'
	done
}

@test "many race for the one byte that is left: one wins" {
	mount_quota 1
	py <<<'for n in range(32): make(f"c{n}")'
	for _ in {1..15}; do
		equal "ENOSPC 31,ok 1" "$("$HELPERS/race" 1 "$MNT"/reservations/*/size | paste -sd ,)"
		equal 0 "$(cat "$MNT/available")"
		py <<<'for n in range(32): put(f"c{n}", 0)'
	done
}

@test "many take max at once: together they get exactly all of it" {
	mount_quota 10G
	py <<<'for n in range(32): make(f"c{n}", n)'
	for _ in {1..10}; do
		equal "ok 32" "$("$HELPERS/race" max "$MNT"/reservations/*/size)"
		equal 0 "$(cat "$MNT/available")"
		equal 10737418240 "$(cat "$MNT"/reservations/*/size | paste -sd + | bc)"
		py <<<'for n in range(32): put(f"c{n}", 0)'
	done
}

@test "writers of one contract at once: the last value is one of theirs and the figures add up" {
	mount_quota 10G
	contract c1
	py <<-'END'
		import threading
		def client(n):
		    for step in range(100):
		        put("c1", 1000 * n + step)
		clients = [threading.Thread(target=client, args=(n,)) for n in range(1, 9)]
		for c in clients:
		    c.start()
		for c in clients:
		    c.join()
		assert number(size("c1")) in [1000 * n + 99 for n in range(1, 9)]
		equal(number(size("c1")), number(fixed("reserved")))
	END
}

@test "16 processes make, fill and remove contracts: figures add up at every look" {
	mount_quota 8G
	py "$CHURN" <<-'END'
		cycles = int(sys.argv[1])
		churn = subprocess.Popen([os.path.join(os.environ["HELPERS"], "churn"), RESERVATIONS, "16", str(cycles), "1G"], stdout=subprocess.PIPE, text=True)
		looks, seen = 0, set()
		while churn.poll() is None:
		    s = status()
		    assert s["reserved"] <= s["capacity"], s
		    equal(s["capacity"], s["available"] + s["reserved"])
		    equal(0, s["reserved"] % 2**30)
		    assert s["reserved"] <= s["reservations"] * 2**30 and s["reservations"] <= 16, s
		    looks += 1
		    seen.add((s["reserved"], s["reservations"]))
		equal(0, churn.returncode)
		reserved, _, refused_writes, _ = churn.stdout.read().split()
		equal(cycles, int(reserved) + int(refused_writes))
		assert int(reserved) > 0
		assert looks > 100 and len(seen) > 10, (looks, seen)
		equal({"capacity": 8 * 2**30, "reserved": 0, "stored": 0, "free": 8 * 2**30, "available": 8 * 2**30, "reservations": 0}, status())
		equal([], os.listdir(RESERVATIONS))
	END
}

@test "processes that contend for the same names meet documented errors only" {
	mount_quota 5G
	py <<-'END'
		import multiprocessing, random
		allowed = {"mkdir": {"ok", "EEXIST"}, "put": {"ok", "ENOSPC", "ENOENT", "ENODEV"}, "rmdir": {"ok", "ENOENT"},
		           "unlink": {"ok", "ENOENT"}, "rename": {"ok", "ENOENT", "EEXIST"}, "read": {"ok", "ENOENT", "ENODEV"}}

		def client(seed):
		    random.seed(seed)
		    for step in range(400):
		        name, other = random.choice("abcd"), random.choice("abcd")
		        what, call, *args = random.choice([("mkdir", os.mkdir, contract(name)), ("put", put, name, random.randrange(2 * 2**30)),
		                                           ("put", put, name, "max"), ("rmdir", os.rmdir, contract(name)), ("unlink", os.unlink, size(name)),
		                                           ("rename", os.rename, contract(name), contract(other)), ("read", raw, size(name))])
		        got = outcome(call, *args)
		        if got not in allowed[what]:
		            return f"{what}: {got}"
		        s = status()
		        if s["available"] + s["reserved"] != 5 * 2**30:
		            return str(s)

		with multiprocessing.Pool(8) as pool:
		    equal({None}, set(pool.map(client, range(8), chunksize=1)))
		names = os.listdir(RESERVATIONS)
		# what was unlinked last is back soon
		eventually(lambda: all(os.listdir(contract(name)) for name in names))
		equal(sum(number(size(name)) for name in names), number(fixed("reserved")))
		equal(len(names), status()["reservations"])
	END
}

@test "a thousand open files of removed contracts are ENODEV each and cost nothing" {
	mount_quota 10G
	py <<-'END'
		kept = []
		for n in range(1000):
		    make("same", n)
		    kept.append(os.open(size("same"), os.O_RDWR))
		    os.rmdir(contract("same"))
		make("same", 7)
		for fd in kept:
		    refused("ENODEV", os.pread, fd, 10, 0)
		    refused("ENODEV", os.pwrite, fd, b"9", 0)
		equal(7, number(fixed("reserved")))
	END
}

# What the daemon has done so far: switches to its threads, and ticks of the clock that it took.
activity() {
	awk '/ctxt_switches/ { n += $2 } END { print n }' "/proc/$DAEMON"/task/*/status
	awk '{ print $14 + $15 }' "/proc/$DAEMON/stat"
}

# For one second nothing is done. It takes that second to see it.
at_rest() {
	local before
	before=$(activity)
	read -rt 1 -u "$NEVER_READABLE" || :
	equal "$before" "$(activity)"
}

@test "a daemon that was busy is at rest once nobody asks it anything" {
	mount_quota 20G
	breathe
	py <<-'END'
		for n in range(300):
		    make(f"c{n}", n)
		for n in range(3000):
		    status()
	END
	eventually at_rest
	# The same where daemon and clients have one processor.
	local cpus
	cpus=$(taskset -cp $BASHPID)
	cpus=${cpus##*: }
	taskset -acp "${cpus%%[-,]*}" "$DAEMON" >/dev/null
	taskset -cp "${cpus%%[-,]*}" $BASHPID >/dev/null
	py <<-'END'
		for n in range(300):
		    put(f"c{n}", 300 - n)
		for n in range(3000):
		    status()
		equal(300 * 301 // 2, status()["reserved"])
	END
	eventually at_rest
}
