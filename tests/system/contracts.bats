# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# contracts.bats: making, removing and renaming contracts, and what may stand in a name.

load lib.bash

# The contracts that the tests of recursive removal begin with: 0 and more bytes.
some_contracts() {
	mount_quota 10G
	contract keep 1G
	contract a 1G
	contract b
	contract "c d" 2G
}

only_keep_is_left() {
	equal keep "$(ls -A "$MNT/reservations")"
	figure_is reserved 1073741824
	figure_is reservations 1
	equal "" "$(tail -n 1 "$MNT/last_error")"
}

@test "mkdir records a contract with size 0" {
	mount_quota 10G
	mkdir "$MNT/reservations/c1"
	size_is 0 c1
	figure_is reserved 0
	figure_is reservations 1
	mkdir -p "$MNT/reservations/c1"
	mkdir -p "$MNT/reservations/c2"
	mkdir "$MNT/reservations/c3"
	figure_is reservations 3
	remount
	equal "c1 c2 c3" "$(contracts)"
}

@test "mkdir of a contract that exists is EEXIST and changes nothing" {
	mount_quota 10G
	contract c1 7
	run -1 mkdir "$MNT/reservations/c1"
	[[ $output == *"File exists"* ]]
	py <<-'END'
		refused("EEXIST", os.mkdir, contract("c1"))
		refused("EEXIST", os.mkdir, size("c1"))
		equal((7, 1), (number(size("c1")), status()["reservations"]))
	END
}

@test "many make the same contract at once: one succeeds" {
	mount_quota 10G
	py <<-'END'
		import multiprocessing
		def attempt(n):
		    return outcome(os.mkdir, contract(f"c{n // 8}"))
		with multiprocessing.Pool(8) as pool:
		    got = pool.map(attempt, range(320), chunksize=1)
		equal((40, 280), (got.count("ok"), got.count("EEXIST")))
		equal(40, status()["reservations"])
	END
}

@test "rmdir releases what the contract holds and forgets it" {
	mount_quota 10G
	contract c1 4G
	contract c2 6G
	rmdir "$MNT/reservations/c1"
	run ! test -e "$MNT/reservations/c1"
	run ! test -e "$MNT/reservations/c1/size"
	figure_is available 4294967296
	figure_is reservations 1
	py <<-'END'
		refused("ENOENT", os.rmdir, contract("c1"))
		refused("ENOENT", os.open, size("c1"), os.O_WRONLY)
	END
	contract c1
	size_is 0 c1
}

@test "unlinking size hides its name for a second, and changes nothing else" {
	mount_quota 10G
	contract c1 4G
	py <<-'END'
		before = os.stat(size("c1")), os.stat(contract("c1")), status()
		for _ in range(2):
		    os.unlink(size("c1"))
		    gone = time.monotonic()
		    equal([], os.listdir(contract("c1")))
		    for call in os.stat, os.unlink, raw:
		        refused("ENOENT", call, size("c1"))
		    refused("ENOENT", os.open, size("c1"), os.O_WRONLY)
		    equal(before[1:], (os.stat(contract("c1")), status()))
		    equal(["c1"], os.listdir(RESERVATIONS))
		    eventually(lambda: os.path.exists(size("c1")))
		    assert 0.5 < time.monotonic() - gone < 3, time.monotonic() - gone
		    equal([b"size"], os.listdir(contract("c1")))
		    equal(4 * 2**30, number(size("c1")))
		    same = lambda st: (st.st_ino, st.st_nlink, st.st_mode, st.st_size, st.st_blocks, st.st_mtime_ns, st.st_ctime_ns)
		    equal(same(before[0]), same(os.stat(size("c1"))))
	END
	echo 3G >"$MNT/reservations/c1/size"
	size_is 3221225472 c1
	unlink "$MNT/reservations/c1/size"
	rmdir "$MNT/reservations/c1"
	figure_is reservations 0
	figure_is reserved 0
}

@test "a file that was unlinked can be created, with O_EXCL too, and nothing else can" {
	mount_quota 10G
	contract c1 4G
	py <<-'END'
		before = os.stat(size("c1"))
		new = os.O_WRONLY | os.O_CREAT
		refused("EEXIST", os.open, size("c1"), new | os.O_EXCL)
		for flags in (new | os.O_EXCL, new | os.O_EXCL | os.O_TRUNC, new, new | os.O_TRUNC, os.O_RDWR | os.O_CREAT, os.O_CREAT | os.O_RDONLY):
		    os.unlink(size("c1"))
		    # the mode is not theirs to choose
		    fd = os.open(size("c1"), flags, 0o600)
		    now = os.stat(size("c1"))
		    equal((before.st_ino, 1, before.st_mode), (now.st_ino, now.st_nlink, now.st_mode))
		    equal(now, os.fstat(fd))
		    equal([b"size"], os.listdir(contract("c1")))
		    equal(4 * 2**30, number(size("c1")))
		    refused("EEXIST", os.open, size("c1"), new | os.O_EXCL)
		    os.close(fd)
		os.unlink(size("c1"))
		refused("EINVAL", os.open, size("c1"), new | os.O_APPEND)
		for name in (b"siz", b"size.tmp", b".size.1", b"available", b"SIZE"):
		    for flags in (new, new | os.O_EXCL, new | os.O_TRUNC):
		        refused("EPERM", os.open, contract("c1") + b"/" + name, flags)
		refused("EPERM", os.open, contract("size"), new)
		refused("EPERM", os.mkdir, size("c1"))
		refused("EPERM", os.symlink, "x", size("c1"))
		refused("EPERM", os.mknod, size("c1"), 0o100644)
		refused("EPERM", os.link, size("c1"), size("c1") + b"2") if os.path.exists(size("c1")) else None
		equal(4 * 2**30, number(fixed("reserved")))
		# written through what was created: that is what counts
		fd = os.open(size("c1"), new | os.O_EXCL)
		refused("ENOSPC", os.write, fd, b"11G")
		equal(4 * 2**30, number(fixed("reserved")))
		equal(2, os.write(fd, b"5G"))
		equal(5 * 2**30, number(size("c1")))
		# reading through what was opened for writing alone, and the other way round, is EBADF as anywhere
		refused("EBADF", os.read, fd, 1)
	END
}

@test "unlinking the size of an empty contract succeeds" {
	mount_quota 10G
	contract c1
	rm "$MNT/reservations/c1/size"
	rm -f "$MNT/reservations/c1/size"
	echo 0 >"$MNT/reservations/c1/size"
	size_is 0 c1
	figure_is reservations 1
}

@test "recursive removal by rm -r" {
	some_contracts
	rm -r "$MNT/reservations/a" "$MNT/reservations/b" "$MNT/reservations/c d"
	only_keep_is_left
}

@test "recursive removal by rm -rf" {
	some_contracts
	run -0 rm -rf "$MNT"/reservations/[a-d]*
	equal "" "$output"
	only_keep_is_left
}

@test "recursive removal by find -delete" {
	some_contracts
	run -0 find "$MNT/reservations" -mindepth 1 -not -path '*/keep*' -delete
	equal "" "$output"
	only_keep_is_left
}

@test "recursive removal by find -exec and xargs" {
	some_contracts
	find "$MNT/reservations" -mindepth 1 -maxdepth 1 -type d -not -name keep -print0 | xargs -0 -n 1 -P 4 rmdir
	only_keep_is_left
}

@test "recursive removal by busybox" {
	needs busybox
	some_contracts
	run -0 busybox rm -rf "$MNT/reservations/a" "$MNT/reservations/b" "$MNT/reservations/c d"
	equal "" "$output"
	only_keep_is_left
}

@test "recursive removal by Python" {
	some_contracts
	py <<-'END'
		import pathlib, shutil
		shutil.rmtree(os.path.join(RESERVATIONS, "a"))
		shutil.rmtree(pathlib.Path(RESERVATIONS, "b"))
		path = pathlib.Path(RESERVATIONS, "c d")
		(path / "size").unlink()
		path.rmdir()
	END
	only_keep_is_left
}

@test "recursive removal by Node" {
	needs node
	some_contracts
	node -e 'const fs = require("fs"); for (const n of ["a", "b", "c d"]) fs.rmSync(process.env.MNT + "/reservations/" + n, {recursive: true})'
	only_keep_is_left
}

@test "recursive removal by Perl" {
	needs perl
	some_contracts
	# shellcheck disable=SC2016 # Perl's variables
	run -0 perl -MFile::Path=remove_tree -e 'for (@ARGV) { remove_tree($_, {error => \my $e}); die map { %$_ } @$e if @$e }' \
		"$MNT/reservations/a" "$MNT/reservations/b" "$MNT/reservations/c d"
	equal "" "$output"
	only_keep_is_left
}

@test "rm -rf of reservations removes all contracts, and reservations itself stays" {
	some_contracts
	run -1 rm -rf "$MNT/reservations"
	[[ $output == *"Operation not permitted"* ]]
	equal "" "$(ls -A "$MNT/reservations")"
	figure_is reserved 0
}

@test "an open file whose contract is gone is ENODEV" {
	mount_quota 10G
	contract c1 7
	contract c2 8
	py <<-'END'
		kept = os.open(size("c1"), os.O_RDWR)
		equal(b"7\n", os.pread(kept, 100, 0))
		os.rmdir(contract("c1"))
		for _ in range(2):
		    refused("ENODEV", os.pread, kept, 100, 0)
		    refused("ENODEV", os.pwrite, kept, b"5", 0)
		    refused("ENODEV", os.pwrite, kept, b"max", 0)
		# also when the name is used again, for reading and for writing
		make("c1", 9)
		refused("ENODEV", os.pread, kept, 100, 0)
		refused("ENODEV", os.pwrite, kept, b"5", 0)
		equal(9, number(size("c1")))
		os.rename(contract("c2"), contract("c3"))
		os.rmdir(contract("c1"))
		os.rename(contract("c3"), contract("c1"))
		refused("ENODEV", os.pread, kept, 100, 0)
		refused("ENODEV", os.pwrite, kept, b"5", 0)
		equal(8, number(size("c1")))
		equal(8, number(fixed("reserved")))
	END
}

@test "an open file follows its contract through a rename and through unlink of size" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		kept = os.open(size("c1"), os.O_RDWR)
		os.rename(contract("c1"), contract("c2"))
		equal(b"7\n", os.pread(kept, 100, 0))
		os.pwrite(kept, b"12", 0)
		equal(12, number(size("c2")))
		inode = os.fstat(kept).st_ino
		os.unlink(size("c2"))
		equal(b"12\n", os.pread(kept, 100, 0))
		os.pwrite(kept, b"13", 0)
		equal(b"13\n", os.pread(kept, 100, 0))
		equal(13, number(fixed("reserved")))
		# created again, it is the same file
		new = os.open(size("c2"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
		equal((inode, 1), (os.fstat(new).st_ino, os.fstat(new).st_nlink))
		equal(1, os.fstat(kept).st_nlink)
		os.pwrite(new, b"14", 0)
		equal(b"14\n", os.pread(kept, 100, 0))
		os.pwrite(kept, b"15", 0)
		equal(15, number(size("c2")))
	END
}

@test "a shell standing in a removed contract gets errors, not another contract" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		os.chdir(contract("c1"))
		os.rmdir(contract("c1"))
		make("c1", 9)
		assert outcome(raw, "size") in ("ENOENT", "ENODEV", "ESTALE"), outcome(raw, "size")
		assert outcome(os.unlink, "size") in ("ENOENT", "ENODEV", "ESTALE")
		equal(9, number(size("c1")))
	END
}

@test "mv renames a contract with its size, inode numbers and times" {
	mount_quota 10G
	contract a 3G
	contract b
	py <<-'END'
		def look(name):
		    return [(st.st_ino, st.st_mtime_ns, st.st_ctime_ns) for st in (os.stat(contract(name)), os.stat(size(name)))], number(size(name))

		before = look("a")
		subprocess.run(["mv", contract("a"), contract("renamed")], check=True)
		equal(before, look("renamed"))
		assert not os.path.exists(contract("a"))
		empty = look("b")
		os.rename(contract("b"), contract("a"))
		equal(empty, look("a"))
		equal(["a", "renamed"], sorted(os.listdir(RESERVATIONS)))
		equal(2, status()["reservations"])
		# onto itself is a success that changes nothing
		os.rename(contract("a"), contract("a"))
		equal(empty, look("a"))
	END
	equal ok "$(call renameat2 NOREPLACE "$MNT/reservations/a" "$MNT/reservations/c")"
	remount
	equal "c renamed" "$(contracts)"
	size_is 3221225472 renamed
}

@test "renaming onto a contract that exists is EEXIST and changes nothing" {
	mount_quota 10G
	contract a 3G
	contract b 1G
	contract empty
	py <<-'END'
		for old, new in [("a", "b"), ("b", "a"), ("a", "empty"), ("empty", "a")]:
		    refused("EEXIST", os.rename, contract(old), contract(new))
		refused("ENOENT", os.rename, contract("none"), contract("a"))
		refused("ENOENT", os.rename, contract("none"), contract("other"))
		equal([3 * 2**30, 2**30, 0], [number(size(name)) for name in ("a", "b", "empty")])
		equal(3, status()["reservations"])
	END
	run -1 mv -T "$MNT/reservations/a" "$MNT/reservations/b"
	run -1 mv "$MNT/reservations/a" "$MNT/reservations/b"
	run -1 mv -f "$MNT/reservations/a" "$MNT/reservations/empty"
	run -1 busybox mv "$MNT/reservations/a" "$MNT/reservations/b"
	equal EEXIST "$(call renameat2 0 "$MNT/reservations/a" "$MNT/reservations/b")"
	equal EEXIST "$(call renameat2 NOREPLACE "$MNT/reservations/a" "$MNT/reservations/b")"
	size_is 3221225472 a
	size_is 1073741824 b
	equal "a b empty" "$(contracts)"
}

@test "RENAME_EXCHANGE is EINVAL and changes nothing" {
	mount_quota 10G
	contract a 3G
	contract b 1G
	equal EINVAL "$(call renameat2 EXCHANGE "$MNT/reservations/a" "$MNT/reservations/b")"
	equal EINVAL "$(call renameat2 EXCHANGE "$MNT/reservations/a/size" "$MNT/reservations/b/size")"
	equal EINVAL "$(call renameat2 EXCHANGE "$MNT/available" "$MNT/capacity")"
	size_is 3221225472 a
	size_is 1073741824 b
}

@test "every rename that is not one of a contract is EPERM and never EXDEV" {
	mount_quota 10G
	contract a 3G
	contract b 1G
	py <<-'END'
		mnt, reservations = os.fsencode(MNT), os.fsencode(RESERVATIONS)
		inside = lambda *names: os.path.join(mnt, *names)
		for old, new in [
		    (contract("a"), inside(b"a")),
		    (contract("a"), contract("b") + b"/a"),
		    (size("a"), contract("a") + b"/other"),
		    (size("a"), contract("b") + b"/other"),
		    (size("a"), size("b")),
		    (size("a"), inside(b"size")),
		    (size("a"), contract("size")),
		    (inside(b"available"), inside(b"other")),
		    (inside(b"available"), inside(b"capacity")),
		    (inside(b"available"), contract("a") + b"/available"),
		    (inside(b"available"), contract("available")),
		    (inside(b"status"), size("a")),
		    (inside(b"last_error"), inside(b"last_error.1")),
		    (reservations, inside(b"other")),
		]:
		    refused("EPERM", os.rename, old, new)
		equal([3 * 2**30, 2**30], [number(size("a")), number(size("b"))])
		equal(["a", "b"], sorted(os.listdir(RESERVATIONS)))
	END
	run -1 mv "$MNT/reservations/a" "$MNT/a"
	[[ $output == *"Operation not permitted"* ]]
	equal EPERM "$(call renameat2 NOREPLACE "$MNT/available" "$MNT/other")"
}

@test "renames at full speed while others look never show two names or none" {
	mount_quota 10G
	contract a 3G
	py <<-'END'
		import threading
		stop = threading.Event()

		def keep_renaming():
		    while not stop.is_set():
		        os.rename(contract("a"), contract("b"))
		        os.rename(contract("b"), contract("a"))

		mover = threading.Thread(target=keep_renaming)
		mover.start()
		try:
		    for _ in range(300):
		        names = os.listdir(RESERVATIONS)
		        assert names in (["a"], ["b"]), names
		        s = status()
		        equal((3 * 2**30, 1), (s["reserved"], s["reservations"]))
		finally:
		    stop.set()
		    mover.join()
	END
}

@test "a name is up to 255 bytes of UTF-8 without control characters" {
	mount_quota 10G
	py <<-'END'
		names = ["a", "0", "-", "-rf", "a.b", "a.", "size", "available", "reservations", "Müller & Söhne", "契約-7", "🗄️", "e\u0301", "\u200b", "\u202ereversed",
		         "two  spaces", " leading", "trailing ", "back\\slash", "quo'te", 'dou"ble', "$HOME", "`x`", "*", "?", "[a]", "#", "%s%n", "a=b;c", "\u00a0", "\u00ad", "\ufeff", "\ufffd", "\uffff", "\U0010ffff",
		         "~", "x" * 255, "é" * 127 + "x", "🗄" * 63 + "xyz", "contract", "id", "totals"]
		assert len(names) == len(set(names))
		for number_of, name in enumerate(names, 1):
		    make(name, number_of)
		equal(sorted(names), sorted(os.listdir(RESERVATIONS)))
		for number_of, name in enumerate(names, 1):
		    equal(number_of, number(size(name)), name)
		equal(sum(range(len(names) + 1)), number(fixed("reserved")))
	END
	remount
	py <<-'END'
		names = os.listdir(RESERVATIONS)
		assert len(names) > 40
		total = number(fixed("reserved"))
		for n, name in enumerate(names):
		    if n % 2:
		        os.rename(contract(name), contract(f"renamed {n}"))
		        os.rename(contract(f"renamed {n}"), contract(name))
		    total -= number(size(name))
		    os.rmdir(contract(name))
		    equal(total, number(fixed("reserved")))
		equal(0, status()["reservations"])
	END
}

@test "a name with control characters, invalid UTF-8 or a leading dot is EINVAL" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		controls = [chr(c) for c in list(range(1, 0x20)) + list(range(0x7F, 0xA0))]
		equal(31 + 33, len(controls))
		bad = [c.encode() for c in controls] + [b"a" + c.encode() + b"b" for c in controls]
		# bytes that begin no character, cut characters, overlong forms, surrogates, above U+10FFFF
		bad += [b"\xff", b"\xfe", b"\x80", b"a\xc3", b"\xc3(", b"\xe2\x82", b"\xf0\x9f\x97", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
		        b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x85", b"Latin-1 \xe4"]
		bad += [b".a", b"...", b".hidden", b"..a", b".\xc3\xa4", b".size"]
		for name in bad:
		    refused("EINVAL", os.mkdir, contract(name))
		    refused("EINVAL", os.rename, contract("c1"), contract(name))
		equal([b"c1"], os.listdir(os.fsencode(RESERVATIONS)))
		equal(7, number(size("c1")))
		equal(1, status()["reservations"])
	END
}

@test "a name over 255 bytes is ENAMETOOLONG" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		for name in ["x" * 256, "é" * 128, "x" * 300, "x" * 1000, "x" * 2000]:
		    refused("ENAMETOOLONG", os.mkdir, contract(name))
		    refused("ENAMETOOLONG", os.rename, contract("c1"), contract(name))
		equal(["c1"], os.listdir(RESERVATIONS))
		equal(255, os.statvfs(MNT).f_namemax)
	END
	equal 255 "$(getconf NAME_MAX "$MNT/reservations")"
}

@test "names differ by case and by normal form" {
	mount_quota 10G
	py <<-'END'
		for n, name in enumerate(["abc", "ABC", "\u00e9", "e\u0301"], 1):
		    make(name, n)
		equal([1, 2, 3, 4], [number(size(name)) for name in ["abc", "ABC", "\u00e9", "e\u0301"]])
	END
}
