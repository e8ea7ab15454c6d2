# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# hostile.bats: clients that open thousands of files, are killed or stopped in the middle of a request, or send what no
# program would: memory stays bounded, the others are served, and the figures add up.

load lib.bash

# figures_add_up: each size parses, their sum is what is reserved, and with what is available it makes the capacity.
figures_add_up() {
	py <<-'END'
		names = os.listdir(os.fsencode(RESERVATIONS))
		# what was unlinked last is back soon
		eventually(lambda: all(os.listdir(contract(name)) for name in names))
		held = sum(number(size(name)) for name in names)
		now = status()
		equal(held, now["reserved"])
		equal(len(names), now["reservations"])
		equal(now["capacity"], now["available"] + now["reserved"])
	END
}

resident_kib() {
	sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON/status"
}

@test "5,000 open files, again and again: memory is bounded and others are served" {
	mount_quota 1T
	local before after
	contract c1 1M
	before=$(resident_kib)
	py <<-'END'
		import resource
		most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
		resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
		for n in range(50):
		    make(f"open{n}", n + 1)
		for turn in range(4):
		    # contracts and fixed files by turns, each with the snapshot that it has read
		    names = [size(f"open{n % 50}") if n % 2 else os.fsencode(fixed(("status", "metrics")[n // 2 % 2])) for n in range(5000)]
		    files = [os.open(name, os.O_RDONLY) for name in names]
		    for n, fd in enumerate(files):
		        text = os.pread(fd, 65536, 0)
		        assert not n % 2 or text == b"%d\n" % (n % 50 + 1), text
		    # somebody else, meanwhile
		    subprocess.run(["sh", "-c", f"echo {turn + 2}M >{MNT}/reservations/c1/size && cat {MNT}/available"],
		                   check=True, stdout=subprocess.DEVNULL, timeout=10)
		    for fd in files:
		        os.close(fd)
	END
	after=$(resident_kib)
	echo "# the daemon had $before KiB before 5,000 open files, and $after KiB after them" >&3
	((after - before < 65536))
	size_is 5242880 c1
	figures_add_up
	# a client that is killed with them open leaves none behind
	(
		ulimit -n "$(ulimit -Hn)"
		exec "$PYTHON" -c '
import os, signal, sys
files = [os.open(sys.argv[1] + "/metrics", os.O_RDONLY) for n in range(5000)]
for fd in files:
    os.pread(fd, 65536, 0)
os.kill(os.getpid(), signal.SIGKILL)' "$MNT" 3>&-
	) || :
	((($(resident_kib) - before) < 131072))
	figures_add_up
}

hangs_in_write() {
	local pid
	for pid; do
		[[ $(cat "/proc/$pid/stat") == *") "[SD]" "* && $(cat "/proc/$pid/wchan" 2>/dev/null) != 0 ]] || return
		grep -q '^1 ' "/proc/$pid/syscall" || return
	done
}

@test "clients that are killed or stopped in the middle of a write: others are served, each write is whole" {
	[ -r /proc/self/syscall ] || skip "this kernel does not show in which call a process is"
	loop_fs ext4 64M
	# shellcheck disable=SC2034 # lib.bash uses it
	REPO=$T/disk
	mount_disk -o capacity=48M
	local n killed=() stopped=() untouched=()
	for n in {1..30}; do
		contract "c$n" 1000
	done
	contract free 1000
	freeze "$T/disk"
	for n in {1..30}; do
		"$PYTHON" -c 'import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY), b"2000")' \
			"$MNT/reservations/c$n/size" 3>&- &
		case $((n % 3)) in
		0) killed+=($!) ;;
		1) stopped+=($!) ;;
		2) untouched+=($!) ;;
		esac
		ATTACHED+=($!)
	done
	eventually hangs_in_write "${killed[@]}" "${stopped[@]}" "${untouched[@]}"
	kill -STOP "${stopped[@]}"
	kill -KILL "${killed[@]}"
	# everybody else: what needs no disk is answered, and nothing is shown that is not durable
	for n in {1..30}; do
		equal 1000 "$(timeout 10 cat "$MNT/reservations/c$n/size")"
	done
	equal 31000 "$(timeout 10 cat "$MNT/reserved")"
	timeout 10 df "$MNT" >"$T/df.out"
	# (on a file of its own: the kernel lets one write at a time into a file)
	timeout 10 "$PYTHON" -c 'import errno, os, sys
try:
    os.write(os.open(sys.argv[1], os.O_WRONLY), b"nonsense")
    sys.exit("accepted")
except OSError as e:
    assert e.errno == errno.EINVAL, e' "$MNT/reservations/free/size"
	for n in "${killed[@]}"; do
		eventually gone "$n"
	done
	thaw "$T/disk"
	for n in "${untouched[@]}"; do
		wait "$n"
	done
	kill -CONT "${stopped[@]}"
	for n in "${stopped[@]}"; do
		wait "$n"
	done
	ATTACHED=()
	echo 3000 >"$MNT/reservations/c1/size"
	py <<-'END'
		sizes = {n: number(size(f"c{n}")) for n in range(1, 31)}
		equal(3000, sizes.pop(1))
		for n, found in sizes.items():
		    # who was killed has got no answer: it may be either
		    assert found == 2000 or (n % 3 == 0 and found == 1000), (n, found)
		equal(sum(sizes.values()) + 3000 + 1000, number(fixed("reserved")))
	END
	crash_daemon
	start_again
	py <<-'END'
		found = [number(size(f"c{n}")) for n in range(1, 31)]
		assert set(found) <= {1000, 2000, 3000}, found
		equal(sum(found) + 1000, number(fixed("reserved")))
	END
}

# More than one program's worth of nonsense, the same each time. A failing run is repeated with its number.
fuzz() {
	py "$1" <<-'END'
		import random
		import sys
		chance = random.Random(int(sys.argv[1]))
		allowed = {"ok", "EINVAL", "ENAMETOOLONG", "ENOENT", "EEXIST", "ENOSPC", "ERANGE", "EPERM", "EACCES", "ENODEV",
		           "ENOTDIR", "EISDIR", "ENOTEMPTY", "ESTALE", "EBUSY", "EOPNOTSUPP", "ENOTSUP", "EXDEV", "ELOOP"}

		def name():
		    kind = chance.randrange(8)
		    if kind < 4:
		        return b"n%d" % chance.randrange(8)
		    if kind == 4:
		        return chance.choice([b".", b"..", b".x", b"size", b"available", b"x" * 255, b"x" * 256, "é€".encode() * 51, b"-rf", b"a b"])
		    return bytes(chance.choice([chance.randrange(1, 256), chance.randrange(32, 127)]) for n in range(chance.randrange(1, 40))).replace(b"/", b"_")

		def value():
		    kind = chance.randrange(6)
		    if kind < 2:
		        return b"%d%s\n" % (chance.randrange(2**chance.randrange(1, 66)), chance.choice([b"", b"K", b"MiB", b"gb", b"e", b"x", b" P "]))
		    if kind == 2:
		        return chance.choice([b"max", b"", b"\0", b"-1", b"+1", b"0x10", b"1e3", b"1.5G", b" " * 4095, b"0" * 4095, b"1" * 4096, b"9" * 30])
		    if kind == 3:
		        return b"%d" % chance.randrange(2**20)
		    return bytes(chance.randrange(256) for n in range(chance.randrange(64)))

		def somewhere():
		    return chance.choice([contract(name()), size(name()), size(name()) + b"/" + name(), os.fsencode(fixed(chance.choice(
		        ["available", "status", "last_error", "metrics", "reservations", "new", "."])))])

		def some_write():
		    flags = chance.choice([os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT])
		    fd = os.open(somewhere() if chance.random() < 0.2 else size(name()), flags, 0o600)
		    try:
		        os.pwrite(fd, value(), chance.choice([0, 0, 0, 0, 1, 4096, 2**40, 2**63 - 1]))
		    finally:
		        os.close(fd)

		def some_read():
		    fd = os.open(somewhere(), os.O_RDONLY)
		    try:
		        os.pread(fd, chance.randrange(1, 70000), chance.choice([0, 1, 2**33]))
		    finally:
		        os.close(fd)

		calls = [
		    (30, some_write), (10, some_read), (20, lambda: os.mkdir(contract(name()))), (5, lambda: os.rmdir(contract(name()))),
		    (3, lambda: os.unlink(size(name()))), (5, lambda: os.rename(contract(name()), contract(name()))),
		    (2, lambda: os.rename(somewhere(), somewhere())), (1, lambda: os.unlink(somewhere())), (1, lambda: os.rmdir(size(name()))),
		    (1, lambda: os.mkdir(somewhere())), (1, lambda: os.symlink(name(), somewhere())), (1, lambda: os.link(somewhere(), somewhere())),
		    (2, lambda: os.truncate(somewhere(), chance.choice([0, 0, 1, 2**40]))), (1, lambda: os.chmod(somewhere(), chance.randrange(0o10000))),
		    (1, lambda: os.utime(somewhere())), (1, lambda: os.mkfifo(somewhere())), (1, lambda: os.listxattr(somewhere())),
		    (1, lambda: os.setxattr(somewhere(), "user.x", value())), (2, lambda: os.listdir(somewhere())), (1, lambda: os.stat(somewhere())),
		]
		counts = {}
		for step in range(4000):
		    call = chance.choices([c for _, c in calls], [w for w, _ in calls])[0]
		    got = outcome(call)
		    counts[got] = counts.get(got, 0) + 1
		    assert got in allowed, (step, got)
		    assert got != "EXDEV", step
		    if step % 100 == 0:
		        now = status()
		        equal(now["capacity"], now["available"] + now["reserved"], step)
		# it did reach something
		for what in ("ok", "EINVAL", "EEXIST", "ENOENT", "ENOSPC", "ERANGE", "EPERM"):
		    assert counts.get(what, 0) > 0, counts
		for found in os.listdir(os.fsencode(RESERVATIONS)):
		    found.decode()
		    assert 0 < len(found) <= 255 and not found.startswith(b"."), found
		    assert all(c >= 32 and c != 127 for c in found), found
	END
}

@test "names and values from a fuzzer, four at once: documented errors only, and the figures add up" {
	mount_quota 1G
	local seed pids=()
	for seed in 1 2 3 4; do
		fuzz "$seed" 3>&- >"$T/fuzz.$seed" 2>&1 &
		pids+=($!)
	done
	for seed in 1 2 3 4; do
		wait "${pids[seed - 1]}" || {
			cat "$T/fuzz.$seed"
			return 1
		}
	done
	figures_add_up
	# what there is now is what there is after a crash, too
	local before
	before=$(py <<<'print({n: number(size(n)) for n in sorted(os.listdir(os.fsencode(RESERVATIONS)))})')
	remount
	equal "$before" "$(py <<<'print({n: number(size(n)) for n in sorted(os.listdir(os.fsencode(RESERVATIONS)))})')"
	figures_add_up
	find "$MNT/reservations" -mindepth 1 -maxdepth 1 -exec rm -r -- {} +
	figure_is reservations 0
	figure_is available 1073741824
}
