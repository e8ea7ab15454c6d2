# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# size.bats: what can be written to a size, how, and what each tool's way of writing comes to.

load lib.bash

@test "every well-formed value is taken, whatever its unit and white space" {
	mount_quota "$BYTES_MAX"
	contract c1
	py <<-'END'
		values = {
		    "0": 0, "1": 1, "42\n": 42, "42\n\n": 42, " 42": 42, "\t42 \r\n": 42, "\v\f42\v\f": 42, "010": 10, "0000": 0,
		    "0000000000000000000000000000012": 12, "9223372036854775807": BYTES_MAX, "9223372036854775807\n": BYTES_MAX,
		    "0K": 0, "0E": 0, "00EiB": 0, "7E": 7 * 2**60, "9EB": 9 * 10**18, "9007199254740991K": 9007199254740991 * 1024,
		}
		for power, unit in enumerate("KMGTPE", 1):
		    for letter in (unit, unit.lower()):
		        values[f"3{letter}"] = 3 * 1024**power
		        for i in "iI":
		            for b in "bB":
		                values[f"3{letter}{i}{b}"] = 3 * 1024**power
		        for b in "bB":
		            values[f"3{letter}{b}"] = 3 * 1000**power
		        values[f"  3{letter}\n"] = 3 * 1024**power
		for text, expected in values.items():
		    put("c1", 5)
		    put("c1", text)
		    equal(expected, number(size("c1")), text)
		assert len(values) > 90
	END
}

@test "a value of 4095 bytes is taken and one of 4096 is EINVAL" {
	mount_quota 10G
	contract c1
	py <<-'END'
		put("c1", " " * 4094 + "7")
		equal(7, number(size("c1")))
		put("c1", "0" * 4094 + "8")
		equal(8, number(size("c1")))
		put("c1", "9" + "\n" * 4094)
		equal(9, number(size("c1")))
		for value in [" " * 4095 + "1", "0" * 4095 + "1", "1" + " " * 4095, "1" * 5000, " " * 5000, "1" + " " * 200000]:
		    refused("EINVAL", put, "c1", value)
		equal(9, number(size("c1")))
	END
}

@test "every malformed value is EINVAL and changes nothing" {
	mount_quota "$BYTES_MAX"
	contract c1 777
	py <<-'END'
		malformed = [
		    "\n", " ", "\t \n", "-1", "+1", "-0", "+0", "1.5", "1.5G", "1,5", "1.", ".5", "0x10", "0X1F", "1e3", "1 G", "1 2", "1\n2", "10 \n K",
		    "G", "KiB", "B", "1B", "1b", "1i", "1Ki", "1iB", "1KK", "1KiBB", "1KBi", "1Kb1", "1Z", "1Y", "1k1", "1bytes", "10X", "abc", "max1", "1max", "ma",
		    "maxx", "max max", "ma x", "m ax", "-max", "inf", "nan", "null", "1;2", "1%", "50%", "$1", "''", "'1'", "\"1\"", "1'", "1_000", "1,000", "1'000",
		    "\0", "1\0", "\x001", "1\x002", "\x00\x00", "1G\x00", "1\x00\n", "１", "٣", "1\u00a0", "\u20031", "1\u212a", b"\xff", b"1\xff", b"\xef\xbb\xbf1", "1\x7f", "1\x01", "1\x1b",
		    "99999999999999999999999x", "-99999999999999999999999", "9223372036854775808 K",
		]
		before = os.stat(size("c1"))
		for value in malformed:
		    refused("EINVAL", put, "c1", value)
		    equal(777, number(size("c1")), value)
		equal(777, number(fixed("reserved")))
		equal(before.st_mtime_ns, os.stat(size("c1")).st_mtime_ns)
		assert len(malformed) > 70
	END
}

@test "a value over 2 to the 63 less 1 is ERANGE and changes nothing" {
	mount_quota "$BYTES_MAX"
	contract c1 777
	py <<-'END'
		for value in ["9223372036854775808", "8E", "8EiB", "8192P", "16E", "9007199254740992K", "10EB", "9223372036854775808\n",
		              "18446744073709551615", "18446744073709551616", "18446744073709551617", "36893488147419103233", "16EiB", "17E",
		              "18014398509481985K", "99999999999999999999999999", "9" * 4095, " " * 2000 + "9" * 2000 + "\n", "9223372036854775807E"]:
		    refused("ERANGE", put, "c1", value)
		    equal(777, number(size("c1")), value)
	END
}

@test "more than is available is ENOSPC and changes nothing, to the byte" {
	mount_quota 1000
	contract c1 300
	contract c2 300
	py <<-'END'
		for value in [701, 1000, 1001, "1G", BYTES_MAX]:
		    refused("ENOSPC", put, "c1", value)
		    equal([300, 300, 600, 400], [number(size("c1")), number(size("c2")), number(fixed("reserved")), number(fixed("available"))])
		put("c1", 700)
		equal(0, number(fixed("available")))
		refused("ENOSPC", put, "c2", 301)
		# only the difference is checked
		put("c2", 300)
		put("c2", 299)
		put("c1", 701)
		equal(0, number(fixed("available")))
	END
}

@test "the value is absolute, and the same again changes nothing" {
	mount_quota 10G
	contract c1
	py <<-'END'
		for value, reserved in [("3G", 3 * 2**30), ("3G", 3 * 2**30), ("1G", 2**30), ("10G", 10 * 2**30), ("10G", 10 * 2**30), ("0", 0), ("0", 0)]:
		    put("c1", value)
		    equal(reserved, number(size("c1")))
		    equal(reserved, number(fixed("reserved")))
		put("c1", "3G")
		before = os.stat(size("c1"))
		put("c1", "3072M")
		after = os.stat(size("c1"))
		equal(before.st_mtime_ns, after.st_mtime_ns)
	END
}

@test "echo and printf of bash, dash and busybox" {
	mount_quota 10G
	contract c1
	local size=$MNT/reservations/c1/size shell n=10
	for shell in bash dash busybox; do
		needs $shell
		in_shell $shell "echo $n >'$size'"
		size_is $n c1
		in_shell $shell "echo ' ${n}K ' >'$size'"
		size_is $((n * 1024)) c1
		in_shell $shell "printf $((n + 1)) >'$size'"
		size_is $((n + 1)) c1
		in_shell $shell "printf '$((n + 2))\\n' >'$size'"
		size_is $((n + 2)) c1
		in_shell $shell "printf '$((n + 3))\\n\\n' >'$size'"
		size_is $((n + 3)) c1
		in_shell $shell "printf '%s\\n' $((n + 4)) '' '' >'$size'"
		size_is $((n + 4)) c1
		in_shell $shell "printf '$((n + 5)) \\n\\t\\n' >'$size'"
		size_is $((n + 5)) c1
		n=$((n + 10))
	done
}

@test "shells tell the user why a value was refused" {
	mount_quota 10G
	contract c1 1G
	local size=$MNT/reservations/c1/size shell case value message
	for shell in bash dash busybox; do
		needs $shell
		for case in "11G:No space left on device" "x:Invalid argument" "8E:Numerical result out of range" ":Invalid argument"; do
			value=${case%%:*} message=${case#*:}
			case $shell:$message in
			# dash and busybox leave the reason out; the status must tell
			dash:* | busybox*) message= ;;
			esac
			run in_shell $shell "echo $value >'$size'"
			[ "$status" -ne 0 ]
			[[ $output == *"$message"* ]]
			run -1 in_shell $shell "printf '%s\\n' '$value' >'$size'"
			size_is 1073741824 c1
		done
	done
	# none is hidden by the close that follows
	run -0 bash -c "echo 11G >'$size' || echo 2G >'$size'"
	size_is 2147483648 c1
}

@test "a later write of white space elsewhere is ignored, anything else there is EINVAL" {
	mount_quota 10G
	contract c1
	py <<-'END'
		fd = os.open(size("c1"), os.O_WRONLY)
		equal(2, os.write(fd, b"42"))
		equal(1, os.write(fd, b"\n"))
		equal(4, os.write(fd, b" \t\r\n"))
		equal(1, os.pwrite(fd, b"\n", 1000))
		equal(2, os.pwrite(fd, b"\n\n", 1))
		equal(42, number(size("c1")))
		for value, offset in [(b"5", 2), (b"5", 1), (b"0", 7), (b"\n5", 2), (b"5\n", 100), (b"K", 2), (b" \0", 3), (b"x", 2**40), (b"42", 1)]:
		    refused("EINVAL", os.pwrite, fd, value, offset)
		    equal(42, number(size("c1")), value, offset)
		# a new value at offset 0 is a new request
		equal(3, os.pwrite(fd, b"43\n", 0))
		equal(43, number(size("c1")))
		equal(2, os.pwrite(fd, b"1G", 0))
		equal(1, os.pwrite(fd, b"\n", 2))
		refused("ENOSPC", os.pwrite, fd, b"11G", 0)
		refused("EINVAL", os.pwrite, fd, b"\n", 0)
		equal(2**30, number(size("c1")))
		os.close(fd)
		equal(2**30, number(size("c1")))
	END
}

@test "a refused value stays refused when white space follows and the file is closed" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		fd = os.open(size("c1"), os.O_WRONLY | os.O_TRUNC)
		refused("ENOSPC", os.write, fd, b"11G")
		outcome(os.pwrite, fd, b"\n", 3)
		os.close(fd)
		equal(7, number(size("c1")))
		equal(7, number(fixed("reserved")))
	END
}

@test "nothing is decided at close: a descriptor that wrote nothing changes nothing" {
	mount_quota 10G
	contract c1 7
	local size=$MNT/reservations/c1/size
	: >"$size"
	: <>"$size"
	printf '' >"$size"
	cat /dev/null >"$size"
	size_is 7 c1
	equal 7 "$(cat "$MNT/reserved")"
}

@test "appending is EINVAL" {
	mount_quota 10G
	contract c1 7
	local size=$MNT/reservations/c1/size shell
	for shell in bash dash busybox; do
		needs $shell
		run ! in_shell $shell "echo 8 >>'$size'"
		size_is 7 c1
	done
	run bash -c "echo 8 >>'$size'"
	[[ $output == *"Invalid argument"* ]]
	run -1 tee -a "$size" <<<8
	run ! dd if=/dev/zero of="$size" oflag=append conv=notrunc count=1 status=none
	size_is 7 c1
	py <<-'END'
		for flags in [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT]:
		    for value in [b"8", b"8\n"]:
		        refused("EINVAL", write_at, size("c1"), value, flags=flags | os.O_APPEND)
		# also where the flag is set later
		fd = os.open(size("c1"), os.O_WRONLY)
		fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
		refused("EINVAL", os.write, fd, b"8")
		equal(7, number(size("c1")))
	END
}

@test "truncation to 0, or to the length of the value, changes nothing, and to any other length is EINVAL" {
	mount_quota 10G
	contract c1 7
	local size=$MNT/reservations/c1/size
	truncate -s 0 "$size"
	run -1 truncate -s 5 "$size"
	[[ $output == *"Invalid argument"* ]]
	size_is 7 c1
	py <<-'END'
		path = size("c1")
		before = os.stat(path)
		os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
		os.close(os.open(path, os.O_RDWR | os.O_TRUNC | os.O_CREAT, 0o666))
		os.truncate(path, 0)
		fd = os.open(path, os.O_RDWR)
		os.ftruncate(fd, 0)
		for length in [1, 3, 5, 4096, 2**40, BYTES_MAX]:
		    refused("EINVAL", os.truncate, path, length)
		    refused("EINVAL", os.ftruncate, fd, length)
		os.truncate(path, 2)
		os.ftruncate(fd, 2)
		equal(b"7\n", os.pread(fd, 100, 0))
		after = os.stat(path)
		equal((before.st_mtime_ns, before.st_ctime_ns, 2), (after.st_mtime_ns, after.st_ctime_ns, after.st_size))
		equal(7, number(fixed("reserved")))
	END
}

@test "no space is let go between the truncation and the write of a shell" {
	mount_quota 10G
	contract c1 10G
	contract c2
	py <<-'END'
		fd = os.open(size("c1"), os.O_WRONLY | os.O_TRUNC)
		refused("ENOSPC", put, "c2", 1)
		equal(0, number(fixed("available")))
		os.write(fd, b"9G")
		put("c2", "1G")
	END
}

@test "O_EXCL on a size that exists is EEXIST" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		refused("EEXIST", os.open, size("c1"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
	END
	run ! bash -c "set -o noclobber; echo 8 >'$MNT/reservations/c1/size'"
	size_is 7 c1
}

@test "the buffers of one writev are one value; beyond one request only white space can follow" {
	mount_quota 10G
	contract c1
	py <<-'END'
		def written(*buffers, at=None):
		    fd = os.open(size("c1"), os.O_WRONLY)
		    try:
		        return os.writev(fd, buffers) if at is None else os.pwritev(fd, buffers, at)
		    finally:
		        os.close(fd)
		equal(3, written(b"1", b"0", b"M"))
		equal(10 << 20, number(size("c1")))
		equal(4, written(b"2", b"0", b"M", b"\n", at=0))
		equal(20 << 20, number(size("c1")))
		equal(1003, written(b"3", b"0", b"M", *[b" "] * 1000))
		equal(30 << 20, number(size("c1")))
		# What does not go into one request is more than one write: the first is taken, and a later one refused.
		zeros = [b"0"] * 400
		assert written(*zeros, b"7") < 401
		equal(0, number(size("c1")))
		refused("EINVAL", os.pwrite, os.open(size("c1"), os.O_WRONLY), b"5", 1)
	END
}

@test "dd writes a size, and not elsewhere than at its begin" {
	mount_quota 10G
	contract c1
	local size=$MNT/reservations/c1/size
	echo 11 | dd of="$size" status=none
	size_is 11 c1
	echo 12K | dd of="$size" conv=notrunc status=none
	size_is 12288 c1
	printf '13      ' | dd of="$size" bs=2 status=none
	size_is 13 c1
	echo 14 | dd of="$size" conv=fsync status=none
	size_is 14 c1
	run -1 dd of="$size" seek=1 bs=1 conv=notrunc status=none <<<15
	run -1 dd of="$size" seek=1 bs=1 status=none <<<15
	[[ $output == *"Invalid argument"* ]]
	size_is 14 c1
}

@test "tee, cp, install into place and sendfile write a size" {
	mount_quota 10G
	contract c1
	contract c2 12345
	local size=$MNT/reservations/c1/size
	echo 21M | tee "$size" >/dev/null
	size_is 22020096 c1
	echo 22M >"$T/value"
	cp "$T/value" "$size"
	size_is 23068672 c1
	cp --reflink=never --sparse=never "$MNT/reservations/c2/size" "$size"
	size_is 12345 c1
	cat "$T/value" - <<<"" >"$size"
	size_is 23068672 c1
	busybox cp "$MNT/reservations/c2/size" "$size"
	size_is 12345 c1
	py <<-'END'
		import shutil
		shutil.copyfile(os.path.join(os.environ["T"], "value"), size("c1"))
		equal(22 * 2**20, number(size("c1")))
		with open(size("c1"), "w") as file:
		    file.write("31")
		equal(31, number(size("c1")))
		with open(size("c1"), "r+") as file:
		    file.write("32\n")
		equal(32, number(size("c1")))
		with open(size("c1"), "w") as file:
		    print("33", file=file)
		equal(33, number(size("c1")))
		fd = os.open(size("c1"), os.O_RDWR | os.O_SYNC)
		os.writev(fd, [b"3", b"4", b"\n"])
		os.fsync(fd)
		os.fdatasync(fd)
		equal(b"34\n", os.pread(fd, 10, 0))
	END
}

@test "cp of what is too much says so and changes nothing" {
	mount_quota 10G
	contract c1 7
	echo 11G >"$T/value"
	run -1 cp "$T/value" "$MNT/reservations/c1/size"
	[[ $output == *"No space left on device"* ]]
	run -1 tee "$MNT/reservations/c1/size" <<<11G
	[[ $output == *"No space left on device"* ]]
	run -1 dd of="$MNT/reservations/c1/size" status=none <<<11G
	[[ $output == *"No space left on device"* ]]
	size_is 7 c1
}

@test "node, perl and awk write a size and learn why not" {
	mount_quota 10G
	contract c1 7
	export SIZE=$MNT/reservations/c1/size
	needs node perl awk
	node -e 'const fs = require("fs"); fs.writeFileSync(process.env.SIZE, "41\n")'
	size_is 41 c1
	# shellcheck disable=SC2016 # a JavaScript
	equal ENOSPC "$(node -e 'const fs = require("fs"); try { fs.writeFileSync(process.env.SIZE, "11G") } catch (e) { console.log(e.code) }')"
	perl -e 'open my $f, ">", $ENV{SIZE} or die; print $f "42\n"; close $f or die $!'
	size_is 42 c1
	# shellcheck disable=SC2016 # a Perl variable
	run ! perl -e 'open my $f, ">", $ENV{SIZE} or die; print $f "11G\n"; close $f or die "refused: $!\n"'
	equal "refused: No space left on device" "$output"
	awk 'BEGIN { print "43" > ENVIRON["SIZE"] }'
	size_is 43 c1
}

@test "an editor's way to replace a file is refused and leaves the size alone" {
	mount_quota 10G
	contract c1 7
	run ! sed -i s/7/8/ "$MNT/reservations/c1/size"
	equal size "$(ls -A "$MNT/reservations/c1")"
	size_is 7 c1
	echo 8 >"$T/new"
	run ! mv "$T/new" "$MNT/reservations/c1/other"
	run ! ln "$MNT/reservations/c1/size" "$MNT/reservations/c1/size~"
	equal size "$(ls -A "$MNT/reservations/c1")"
	size_is 7 c1
}
