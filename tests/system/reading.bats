# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# reading.bats: what every file and every figure of stat(2) and statfs(2) says, and when.

load lib.bash

@test "the tree has its fixed entries" {
	mount_quota 10G
	# metrics is the one entry whose content is not tested here
	equal "available capacity last_error reservations reserved status" \
		"$(find "$MNT" -mindepth 1 -maxdepth 1 ! -name metrics -printf '%f\n' | sort | tr '\n' ' ' | sed 's/ $//')"
	equal "" "$(ls -A "$MNT/reservations")"
	contract c1 1G
	equal c1 "$(ls -A "$MNT/reservations")"
	equal size "$(ls -A "$MNT/reservations/c1")"
}

@test "files that are read have no write permission and size has its owner's alone" {
	mount_quota 10G
	contract c1
	py <<-'END'
		for name in ["available", "capacity", "reserved", "status", "last_error"]:
		    st = os.lstat(fixed(name))
		    equal(0o100444, st.st_mode, name)
		    equal(1, st.st_nlink, name)
		equal(0o100644, os.lstat(size("c1")).st_mode)
		for directory in [MNT, RESERVATIONS, contract("c1")]:
		    equal(0o40755, os.lstat(directory).st_mode, directory)
	END
}

@test "the tree belongs to who mounts, or to uid= and gid=" {
	mount_quota 10G
	contract c1 1G
	local path
	for path in . available status reservations reservations/c1 reservations/c1/size; do
		equal 0:0 "$(stat -c %u:%g "$MNT/$path")"
	done
	stop_daemon
	mount_quota 10G -o uid=1234,gid=4321
	for path in . available status reservations reservations/c1 reservations/c1/size; do
		equal 1234:4321 "$(stat -c %u:%g "$MNT/$path")"
	done
}

@test "a number file holds plain decimal bytes and a newline" {
	mount_quota 20G
	contract c1 10G
	contract c2
	py <<-'END'
		equal(b"21474836480\n", raw(fixed("capacity")))
		equal(b"10737418240\n", raw(fixed("reserved")))
		equal(b"10737418240\n", raw(fixed("available")))
		equal(b"10737418240\n", raw(size("c1")))
		equal(b"0\n", raw(size("c2")))
	END
}

@test "no locale changes how a number is written" {
	LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 mount_quota 20G
	LC_ALL=de_DE.UTF-8 contract c1 10G
	size_is 10737418240 c1
	equal 21474836480 "$(LC_ALL=de_DE.UTF-8 cat "$MNT/capacity")"
}

@test "status is flat-keyed, one value a line, in its documented order" {
	mount_quota 10G
	contract c1 3G
	contract c2 1
	py <<-'END'
		lines = raw(fixed("status")).decode()
		assert lines.endswith("\n")
		lines = lines[:-1].split("\n")
		equal(["capacity 10737418240", "reserved 3221225473", "stored 0", "free 7516192767",
		       "available 7516192767", "reservations 2"], lines[:6])
		for line in lines[6:]:
		    assert re.fullmatch(r"[a-z_]+ [^\s].*", line), line
		for name in ["capacity", "reserved", "available"]:
		    equal(status()[name], number(fixed(name)), name)
	END
}

@test "all lines of status come from one instant" {
	mount_quota 1G
	contract c1
	contract c2
	py <<-'END'
		import multiprocessing

		def keep_changing(name, stop):
		    while not stop.is_set():
		        for value in ["123456789", "0", "1", "987654"]:
		            if outcome(put, name, value) not in ("ok", "ENOSPC"):
		                sys.exit(1)

		stop = multiprocessing.Event()
		writers = [multiprocessing.Process(target=keep_changing, args=(name, stop), daemon=True) for name in ["c1", "c2"]]
		for writer in writers:
		    writer.start()
		seen = set()
		for look in range(3000):
		    s = status()
		    equal(2**30, s["capacity"])
		    equal(s["capacity"], s["reserved"] + s["available"])
		    equal(s["free"], s["available"])
		    seen.add(s["reserved"])
		    fs = os.statvfs(MNT)
		    equal(2**30, fs.f_blocks * fs.f_frsize)
		stop.set()
		for writer in writers:
		    writer.join()
		    equal(0, writer.exitcode)
		assert len(seen) > 3, f"the writers did not run: {seen}"
	END
}

@test "a read at offset 0 is fresh and later offsets of that open file continue its snapshot" {
	mount_quota 20G
	contract c1 10G
	py <<-'END'
		for path, before, after in [
		    (size("c1"), b"10737418240\n", b"7\n"),
		    (fixed("reserved"), b"10737418240\n", b"7\n"),
		    (fixed("available"), b"10737418240\n", b"21474836473\n"),
		    (fixed("status"), None, None),
		]:
		    put("c1", "10G")
		    before = before or raw(path)
		    fd, other = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
		    equal(before[:4], os.pread(fd, 4, 0), path)
		    put("c1", "7")
		    after = after or raw(path)
		    assert before != after
		    equal(before[4:], os.pread(fd, 4096, 4), path)
		    equal(before[1:], os.pread(fd, 4096, 1), path)
		    equal(b"", os.pread(fd, 4096, len(before)), path)
		    equal(after, os.pread(other, 4096, 0), path)
		    equal(after, os.pread(fd, 4096, 0), path)
		    equal(after[1:], os.pread(fd, 4096, 1), path)
		    equal(b"", os.pread(fd, 4096, len(after) + 100), path)
		    os.close(fd)
		    os.close(other)
	END
}

@test "a kept file descriptor sees every change at its next read from the start" {
	mount_quota 20G
	contract c1
	py <<-'END'
		kept = {path: os.open(path, os.O_RDONLY) for path in [size("c1"), fixed("reserved"), fixed("available"), fixed("status")]}
		for value in [5, 10**9, 7, 0, 123456789012345, 2**30, 99]:
		    if outcome(put, "c1", value) == "ok":
		        expected = value
		    equal(b"%d\n" % expected, os.pread(kept[size("c1")], 100, 0))
		    equal(b"%d\n" % expected, os.pread(kept[fixed("reserved")], 100, 0))
		    equal(b"%d\n" % (20 * 2**30 - expected), os.pread(kept[fixed("available")], 100, 0))
		    assert b"\nreserved %d\n" % expected in os.pread(kept[fixed("status")], 4096, 0)
	END
}

@test "a value read byte by byte while it changes is never torn" {
	mount_quota 20G
	contract c1 7
	py <<-'END'
		import threading
		stop = threading.Event()

		def keep_changing():
		    while not stop.is_set():
		        put("c1", "10737418240")
		        put("c1", "7")

		writer = threading.Thread(target=keep_changing)
		writer.start()
		try:
		    seen = set()
		    end = time.monotonic() + DEADLINE
		    rounds = 0
		    while rounds < 500 or len(seen) < 2:
		        assert time.monotonic() < end, (rounds, seen)
		        rounds += 1
		        fd = os.open(size("c1"), os.O_RDONLY)
		        text = b""
		        while byte := os.read(fd, 1):
		            text += byte
		        os.close(fd)
		        assert text in (b"10737418240\n", b"7\n"), text
		        seen.add(text)
		finally:
		    stop.set()
		    writer.join()
	END
}

@test "st_size is the true length of every file at every moment" {
	mount_quota 20G
	contract c1
	py <<-'END'
		# By stat alone: a read would have the kernel ask for the attributes anew.
		capacity = 20 * 2**30
		files = [fixed("available"), fixed("reserved"), fixed("status"), size("c1"), fixed("capacity"), fixed("last_error")]
		kept = [os.open(path, os.O_RDONLY) for path in files]
		failure = 0
		for value in [0, 9, 10, capacity, 12345, 10**10, 1, capacity + 1, 100, 99] * 10:
		    if outcome(put, "c1", value) == "ok":
		        held = value
		    else:
		        failure = os.stat(fixed("last_error")).st_size
		        assert failure > 0
		    texts = [f"{capacity - held}\n", f"{held}\n",
		             f"capacity {capacity}\nreserved {held}\nstored 0\nfree {capacity - held}\navailable {capacity - held}\nreservations 1\n",
		             f"{held}\n", f"{capacity}\n"]
		    lengths = [len(text) for text in texts] + [failure]
		    equal(lengths, [os.stat(path).st_size for path in files], value)
		    equal(lengths, [os.fstat(fd).st_size for fd in kept], value)
		equal(texts, [raw(path).decode() for path in files[:-1]])
		equal(failure, len(raw(fixed("last_error"))))
		# also after reads
		for path, fd in zip(files, kept):
		    equal(len(raw(path)), os.stat(path).st_size, path)
		    equal(len(os.pread(fd, 4096, 0)), os.fstat(fd).st_size, path)
	END
}

@test "df is exact to the byte and its inodes count the contracts" {
	mount_quota 10737418241
	py <<-'END'
		def df(*fields):
		    out = subprocess.run(["df", "-B1", "--output=" + ",".join(fields), MNT], check=True, capture_output=True)
		    assert not out.stderr, out.stderr
		    return [int(word) for word in out.stdout.split()[-len(fields):]]

		equal([10737418241, 0, 10737418241], df("size", "used", "avail"))
		equal(0, df("iused")[0])
		for n, value in enumerate([1, 512, 4095, 3 * 2**30 + 1], 1):
		    make(f"c{n}", value)
		    s = status()
		    equal([s["reserved"] + s["available"], s["reserved"], s["available"]], df("size", "used", "avail"), value)
		    equal(n, df("iused")[0])
		equal(1 + 512 + 4095 + 3 * 2**30 + 1, df("used")[0])
		os.rmdir(contract("c4"))
		equal([10737418241, 4608, 10737418241 - 4608], df("size", "used", "avail"))
		equal(3, df("iused")[0])
	END
}

@test "df stays exact for the largest capacity" {
	mount_quota "$BYTES_MAX"
	contract c1 9223372036854775806
	equal "$BYTES_MAX 9223372036854775806 1" "$(df -B1 --output=size,used,avail "$MNT" | tail -n 1 | tr -s ' ' | sed 's/^ //')"
}

@test "plain df and df -h and df -i of the tree say nothing on stderr" {
	mount_quota 10G
	contract c1 5G
	run -0 --separate-stderr df "$MNT"
	[[ ${lines[1]} =~ ^[^\ ]+\ +10485760\ +5242880\ +5242880\ +50%\ "$MNT"$ ]]
	# shellcheck disable=SC2154 # bats sets it
	equal "" "$stderr"
	run -0 --separate-stderr df -h "$MNT"
	[[ ${lines[1]} =~ \ 10G\ +5.0G\ +5.0G\ +50% ]]
	equal "" "$stderr"
	run -0 --separate-stderr df -i "$MNT"
	equal "" "$stderr"
}

@test "du shows the reserved bytes" {
	mount_quota 1T
	contract c1 10G
	contract c2 512
	contract c3
	equal 10737418240 "$(du -B1 "$MNT/reservations/c1/size" | cut -f1)"
	equal 10737418240 "$(du -B1 -s "$MNT/reservations/c1" | cut -f1)"
	equal 0 "$(du -B1 -s "$MNT/reservations/c3" | cut -f1)"
	equal 10737418752 "$(du -B1 -s "$MNT/reservations" | cut -f1)"
	echo 20G >"$MNT/reservations/c1/size"
	equal 21474836480 "$(du -B1 "$MNT/reservations/c1/size" | cut -f1)"
	py <<-'END'
		# st_blocks counts 512 bytes each, so other sizes show as a neighbour
		for value in [1, 1000, 10**9 + 1]:
		    put("c3", value)
		    assert abs(os.stat(size("c3")).st_blocks * 512 - value) < 512
	END
}

@test "times of size and its directory are the moment of the last change" {
	mount_quota 20G
	contract c1
	contract c2
	py <<-'END'
		def times(path):
		    st = os.stat(path)
		    return st.st_mtime_ns, st.st_ctime_ns

		def changed_by(change):
		    """The one time of the contract after `change`, which must lie around it."""
		    begin = time.time_ns()
		    change()
		    end = time.time_ns()
		    mtime, ctime = times(size("c1"))
		    equal(mtime, ctime)
		    equal((mtime, ctime), times(contract("c1")))
		    # the kernel's coarse clock may lag by a tick
		    assert begin - 20_000_000 <= mtime <= end, (begin, mtime, end)
		    return mtime

		first = changed_by(lambda: put("c1", "1G"))
		second = changed_by(lambda: put("c1", "2G"))
		assert first < second
		# what changes nothing changes no time
		put("c1", "2G")
		os.truncate(size("c1"), 0)
		refused("EINVAL", put, "c1", "x")
		refused("ENOSPC", put, "c1", "21G")
		put("c2", "1G")
		equal((second, second), times(size("c1")))
		equal((second, second), times(contract("c1")))
		# nor do those that it is given, or that it goes out of sight for a while
		os.utime(size("c1"), (1, 1))
		os.utime(contract("c1"), (1, 1))
		equal((second, second), times(size("c1")))
		os.unlink(size("c1"))
		equal((second, second), times(contract("c1")))
		os.close(os.open(size("c1"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC))
		equal((second, second), times(size("c1")))
		changed_by(lambda: put("c1", "3G"))
	END
}

@test "times and inode numbers survive a remount" {
	mount_quota 20G
	contract c1 1G
	contract c2
	contract c3 7
	rmdir "$MNT/reservations/c3"
	contract c4 12345
	local before after
	before=$(cd "$MNT" && find . ! -name '*.prom' ! -path . -printf '%p %i\n' | sort; cd "$MNT/reservations" && stat -c '%n %y %z %i' c?/ c?/size)
	remount
	after=$(cd "$MNT" && find . ! -name '*.prom' ! -path . -printf '%p %i\n' | sort; cd "$MNT/reservations" && stat -c '%n %y %z %i' c?/ c?/size)
	equal "$before" "$after"
	crash_daemon
	start_again
	after=$(cd "$MNT" && find . ! -name '*.prom' ! -path . -printf '%p %i\n' | sort; cd "$MNT/reservations" && stat -c '%n %y %z %i' c?/ c?/size)
	equal "$before" "$after"
}

@test "all inode numbers differ and a listing names the same ones as stat" {
	mount_quota 20G
	local name
	for name in a b c d; do contract $name; done
	py <<-'END'
		seen = {}
		for directory, _, _ in os.walk(MNT):
		    for entry in os.scandir(directory):
		        equal(entry.inode(), os.lstat(entry.path).st_ino, entry.path)
		        assert entry.inode() not in seen, (entry.path, seen[entry.inode()])
		        seen[entry.inode()] = entry.path
		assert os.stat(MNT).st_ino not in seen
		assert len(seen) >= 6 + 2 * 4
	END
}

@test "an inode number is never used again" {
	mount_quota 20G
	local seen
	seen=$(py <<-'END'
		seen = set()
		for n in range(50):
		    make("same", 1000 if n % 2 else None)
		    now = inodes("same")
		    equal(2, len(now))
		    assert not now & seen, (now, seen)
		    seen |= now
		    os.rmdir(contract("same"))
		print(*seen)
	END
	)
	remount
	py "$seen" <<-'END'
		make("same")
		seen = {int(n) for n in sys.argv[1].split()}
		equal(100, len(seen))
		assert not inodes("same") & seen
	END
}

@test "an inode number that was shown is not used again after the daemon was killed" {
	mount_quota 20G
	local round shown='' now
	for round in {1..8}; do
		# an empty contract need not be durable yet, but its number has been seen
		mkdir "$MNT/reservations/round$round"
		now=$(stat -c %i "$MNT/reservations/round$round" "$MNT/reservations/round$round/size")
		crash_daemon
		run ! grep -qxF "$now" <<<"$shown"
		shown+=$now$'\n'
		start_again
	done
}

@test "a contract's inode number stays while its size changes" {
	mount_quota 20G
	contract c1
	local before
	before=$(stat -c %i "$MNT/reservations/c1" "$MNT/reservations/c1/size")
	echo 1G >"$MNT/reservations/c1/size"
	echo 0 >"$MNT/reservations/c1/size"
	equal "$before" "$(stat -c %i "$MNT/reservations/c1" "$MNT/reservations/c1/size")"
}

@test "a file handle opens the same contract until it is removed, over remounts too" {
	mount_quota 20G
	contract c1 1G
	contract c2 2G
	local handle
	handle=$(call handle "$MNT/reservations/c1/size")
	[[ $handle == *:* ]]
	equal 1073741824 "$(call open-handle "$MNT" "$handle")"
	remount
	equal 1073741824 "$(call open-handle "$MNT" "$handle")"
	mv "$MNT/reservations/c1" "$MNT/reservations/renamed"
	echo 5 >"$MNT/reservations/renamed/size"
	equal 5 "$(call open-handle "$MNT" "$handle")"
	rmdir "$MNT/reservations/renamed"
	contract c1 9
	equal ESTALE "$(call open-handle "$MNT" "$handle")"
	remount
	equal ESTALE "$(call open-handle "$MNT" "$handle")"
}

@test "listing and reading the whole tree by usual tools is quiet" {
	mount_quota 20G
	contract c1 1G
	contract "Straße 7" 2G
	local tool
	for tool in "ls -laR" "find . -ls" "stat -t available status reservations/c1/size" "tar -cf $T/out.tar ." "wc -c available" "tail -n 1 status" \
		"head -c 3 capacity" "grep -r . reservations" "cp -r reservations $T/copy" "diff -r reservations $T/copy" "busybox ls -lR" "rsync -a ./ $T/rsync"; do
		command -v "${tool%% *}" >/dev/null || continue
		# shellcheck disable=SC2086 # a command line
		(cd "$MNT" && $tool) >/dev/null 2>"$T/tool.err" || {
			echo "$tool failed" >&2
			return 1
		}
		equal "$tool: " "$tool: $(<"$T/tool.err")"
	done
	equal 1073741824 "$(cat "$T/copy/c1/size")"
	equal 2147483648 "$(cat "$T/rsync/reservations/Straße 7/size")"
}
