# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# last_error.bats: the line that says why the caller's last failed request failed.

load lib.bash

@test "last_error is empty until something fails" {
	mount_quota 5G
	contract c1 1G
	ls -laR "$MNT" >"$T/listing"
	cat "$MNT/status" "$MNT/available" >>"$T/listing"
	rmdir "$MNT/reservations/c1"
	equal "" "$(cat "$MNT/last_error")"
	equal 0 "$(stat -c %s "$MNT/last_error")"
}

@test "a refused reservation is told to the letter" {
	mount_quota 5G
	contract c1
	local before after pid line
	before=$(date -u +%FT%TZ)
	# the shell itself writes, so its pid is the one told
	# shellcheck disable=SC2016 # the inner shell's pid
	run ! bash -c 'echo $$ >"$T/pid"; echo 10G >"$MNT/reservations/c1/size"'
	after=$(date -u +%FT%TZ)
	pid=$(<"$T/pid")
	line=$(cat "$MNT/last_error")
	equal " pid $pid: reservations/c1/size: cannot reserve 10737418240 bytes: 5368709120 are available; write at most 5368709120" "${line:20}"
	[[ ! ${line:0:20} < $before && ! ${line:0:20} > $after ]]
	equal 1 "$(wc -l <"$MNT/last_error")"
	equal "$((${#line} + 1))" "$(stat -c %s "$MNT/last_error")"
}

@test "what last_error advises to write succeeds" {
	mount_quota 5G
	contract other 1G
	contract c1 2G
	py <<-'END'
		refused("ENOSPC", put, "c1", "10G")
		when, pid, path, why, advice = last_error()
		equal(("reservations/c1/size", os.getpid()), (path, pid))
		most = int(re.search(r"at most (\d+)", advice)[1])
		equal(4 * 2**30, most)
		refused("ENOSPC", put, "c1", most + 1)
		put("c1", most)
		equal(0, number(fixed("available")))
	END
}

@test "a success does not clear last_error and the next failure replaces it" {
	mount_quota 5G
	contract c1
	contract c2
	py <<-'END'
		refused("ENOSPC", put, "c1", "10G")
		first = raw(fixed("last_error"))
		put("c1", "1G")
		make("c3", "1G")
		os.rmdir(contract("c3"))
		os.rmdir(contract("c1"))
		equal(first, raw(fixed("last_error")))
		refused("EINVAL", put, "c2", "lots")
		equal("reservations/c2/size", last_error()[2])
	END
}

@test "every kind of refusal leaves one line with its path, the reason and what to do" {
	mount_quota 5G
	contract c1 1
	contract c2 2
	py <<-'END'
		import calendar
		kept = os.open(size("c2"), os.O_RDWR)
		os.rmdir(contract("c2"))
		make("c2", 2)
		kinds = [
		    ("ENOSPC", "reservations/c1/size", put, "c1", "6G"),
		    ("EINVAL", "reservations/c1/size", put, "c1", "six"),
		    ("EINVAL", "reservations/c1/size", put, "c1", """ -6"""),
		    ("EINVAL", "reservations/c1/size", put, "c1", "1" * 4096),
		    ("EINVAL", "reservations/c1/size", put, "c1", b"1\0"),
		    ("EINVAL", "reservations/c1/size", put, "c1", "\n"),
		    ("ERANGE", "reservations/c1/size", put, "c1", "8E"),
		    ("EINVAL", "reservations/c1/size", write_at, size("c1"), b"6", 3),
		    ("EINVAL", "reservations/c1/size", write_at, size("c1"), b"6", 0, os.O_WRONLY | os.O_APPEND),
		    ("EINVAL", "reservations/c1/size", os.truncate, size("c1"), 5),
		    ("EEXIST", None, os.rename, contract("c1"), contract("c2")),
		    ("EINVAL", "reservations/.x", os.mkdir, contract(".x")),
		    ("EINVAL", None, os.rename, contract("c1"), contract(".x")),
		    ("ENAMETOOLONG", None, os.mkdir, contract("x" * 256)),
		    ("EPERM", "other", os.mkdir, fixed("other")),
		    ("EPERM", "reservations/c1/other", os.mkdir, contract("c1") + b"/other"),
		    ("EPERM", "reservations/other", os.symlink, "c1", contract("other")),
		    ("EPERM", "reservations/other", os.mkfifo, contract("other")),
		    ("EPERM", "other", os.open, fixed("other"), os.O_CREAT | os.O_WRONLY),
		    ("EPERM", None, os.link, size("c1"), contract("c1") + b"/other"),
		    ("EPERM", "available", os.unlink, fixed("available")),
		    ("EPERM", "reservations", os.rmdir, RESERVATIONS),
		    ("EPERM", None, os.rename, fixed("available"), fixed("other")),
		    ("EPERM", "reservations/c1/size", os.chmod, size("c1"), 0o777),
		    ("EPERM", "capacity", os.chown, fixed("capacity"), 1, 1),
		    ("EPERM", "reservations/c1", os.chmod, contract("c1"), 0o700),
		    ("EPERM", "reservations/c1", os.chown, contract("c1"), 1, -1),
		    ("EPERM", "reservations/c1/other", os.open, contract("c1") + b"/other", os.O_CREAT | os.O_WRONLY),
		    ("EACCES", "available", os.open, fixed("available"), os.O_WRONLY),
		    ("ENODEV", "reservations/c2/size", os.pwrite, kept, b"5", 0),
		    ("ENODEV", "reservations/c2/size", os.pread, kept, 10, 0),
		]
		wrong = []
		for error, path, call, *args in kinds:
		    refused(error, call, *args)
		    try:
		        when, pid, told, why, advice = last_error()
		        equal(os.getpid(), pid)
		        equal(path or told, told)
		        assert abs(time.time() - calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))) < 60, when
		        assert len(why) > 8 and len(advice) > 4, (why, advice)
		    except AssertionError as e:
		        wrong.append(f"{call.__name__} {error}: {e}")
		assert not wrong, "\n".join(wrong)
	END
}

@test "reading last_error is no failed request, and neither is looking for what is not there in a listing" {
	mount_quota 5G
	contract c1
	py <<-'END'
		refused("ENOSPC", put, "c1", "10G")
		first = raw(fixed("last_error"))
		for _ in range(3):
		    equal(first, raw(fixed("last_error")))
		os.listdir(RESERVATIONS)
		subprocess.run(["ls", "-laR", MNT], check=True, stdout=subprocess.DEVNULL)
		equal(first, raw(fixed("last_error")))
	END
}

@test "hostile names are shown in one printable line" {
	mount_quota 5G
	contract c1
	py <<-'END'
		for name in [b"a\nb", b"\n\n", b"\x1b[31mred", b"\r2026-01-01T00:00:00Z pid 1: forged", b"\xff\xfe", b"\xc2\x85", b"tab\t", b"\x7f", "\u009b31m".encode(), b"x" * 254 + b"\n"]:
		    refused("EINVAL", os.mkdir, contract(name))
		    line = raw(fixed("last_error"))
		    equal(1, line.count(b"\n"), name)
		    last_error()
		    refused("EINVAL", os.rename, contract("c1"), contract(name))
		    equal(1, raw(fixed("last_error")).count(b"\n"))
		    last_error()
		    refused("EPERM", os.mkdir, os.path.join(os.fsencode(MNT), name))
		    equal(1, raw(fixed("last_error")).count(b"\n"))
		    last_error()
		# an odd but valid name stands there as it is
		for name in ["Müller: & Söhne; 7", "契約", " "]:
		    make(name)
		    refused("ENOSPC", put, name, "6G")
		    text = raw(fixed("last_error")).decode()
		    assert f": reservations/{name}/size: cannot reserve" in text, text
		refused("EINVAL", put, "c1", b"5\n\x1b[31m; rm -rf")
		equal(1, raw(fixed("last_error")).count(b"\n"))
		assert raw(fixed("last_error"))[:-1].decode().isprintable()
	END
}

@test "an open last_error continues its snapshot and a new read from the start is fresh" {
	mount_quota 5G
	contract c1
	py <<-'END'
		refused("ENOSPC", put, "c1", "10G")
		first = raw(fixed("last_error"))
		fd = os.open(fixed("last_error"), os.O_RDONLY)
		equal(first[:10], os.pread(fd, 10, 0))
		refused("EINVAL", put, "c1", "many")
		equal(first[10:], os.pread(fd, 4096, 10))
		second = os.pread(fd, 4096, 0)
		assert second != first
		equal(raw(fixed("last_error")), second)
	END
}
