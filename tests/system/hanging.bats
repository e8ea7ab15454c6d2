# shellcheck shell=bats
# shellcheck disable=SC2030,SC2031 # each test has its own ATTACHED and WAITING
# SPDX-License-Identifier: MIT
# hanging.bats: third parties that do not answer or do not read: the storage of the Repo, the Datastore's disk, whoever reads the log,
# the service manager. Only what needs their answer waits; the daemon ends when it is told to. The storage is a bindfs whose
# process is stopped.

load lib.bash

# hanging_repo: REPO is on a storage that can be made to hang; $T/state, for a Datastore, is not.
hanging_repo() {
	needs bindfs
	mkdir "$T/real" "$T/state"
	bindfs -f --no-allow-other "$T/real" "$REPO" 2>"$T/bindfs.out" &
	BINDFS=$!
	eventually mountpoint -q "$REPO"
}

also_teardown() {
	[ -z "${BINDFS:-}" ] || kill -CONT "$BINDFS" 2>/dev/null || :
}

all_threads_stopped() {
	! grep -L '^State:.T' /proc/"$1"/task/*/status | grep -q .
}

hang() {
	kill -STOP "$BINDFS"
	eventually all_threads_stopped "$BINDFS"
}

go_on() {
	kill -CONT "$BINDFS"
}

mount_on_hanging() {
	hanging_repo
	start_daemon -o "datastore=$T/state/datastore.db" "$@"
}

# promptly COMMAND...: within two seconds, which on an idle machine are some milliseconds.
promptly() {
	timeout 2 "$@" || {
		echo "status $? of: $*" >&2
		return 1
	}
}

# in_background NAME COMMAND: what it prints and its errors in $T/NAME.out; $WAITING has all pids.
WAITING=()
in_background() {
	bash -c "$2" >"$T/$1.out" 2>&1 &
	WAITING+=($!)
	ATTACHED+=($!)
}

# sleeps_in_fuse PID: it, or a child of it, waits for an answer.
sleeps_in_fuse() {
	local pid
	for pid in "$1" $(pgrep -P "$1"); do
		if grep -qs request_wait_answer "/proc/$pid/stack"; then return 0; fi
	done
	return 1
}

all_wait() {
	local pid
	for pid in "${WAITING[@]}"; do
		sleeps_in_fuse "$pid" || return 1
	done
}

all_gone() {
	local pid
	for pid in "${WAITING[@]}"; do
		gone "$pid" || return 1
	done
}

# all_else_works CONTRACT...: needs those, of 3M, to be there. Leaves none of them.
all_else_works() {
	promptly cat "$MNT/reserved"
	promptly cat "$MNT/capacity"
	promptly stat "$MNT/capacity"
	promptly ls -l "$MNT/reservations" "$MNT/reservations/$1"
	promptly cat "$MNT/reservations/$1/size"
	promptly mkdir "$MNT/reservations/new"
	promptly bash -c "echo 1M >'$MNT/reservations/$1/size'"
	promptly bash -c "echo 1M >'$MNT/reservations/$1/size'"
	promptly rm "$MNT/reservations/$1/size"
	promptly mv "$MNT/reservations/$1" "$MNT/reservations/renamed"
	promptly sync "$MNT/reservations"
	run -1 promptly bash -c "echo x >'$MNT/reservations/renamed/size'"
	promptly grep -q "not a size" "$MNT/last_error"
	run -1 promptly mkdir "$MNT/reservations/.x"
	promptly rmdir "$MNT/reservations/renamed"
	promptly rmdir "$MNT/reservations/new"
	promptly rm -r "$MNT/reservations/$2"
	promptly ls "$MNT/reservations/no such contract" || :
}

@test "a storage that hangs: only what must be asked of it waits, and is answered right when it is back" {
	mount_on_hanging -o capacity=1G
	local name before
	for name in a b c d e f; do contract $name 3M; done
	before=$(cat "$MNT/available")
	hang
	# whoever asks first is the one that finds out
	in_background growth "echo 5M >'$MNT/reservations/c/size'"
	eventually all_wait
	in_background available "cat '$MNT/available'"
	in_background df "df -B1 --output=avail '$MNT' | tail -n 1"
	in_background status "cat '$MNT/status'"
	in_background metrics "cat '$MNT/metrics'"
	in_background stat "stat -c %s '$MNT/available'"
	in_background max "echo max >'$MNT/reservations/d/size'"
	eventually all_wait
	all_else_works a b
	# and once more, now that it is known to be slow
	all_else_works e f
	all_wait
	figure() { sed -n "s/^$1 //p" "$T/status.out"; }
	go_on
	wait "${WAITING[@]}"
	ATTACHED=()
	equal "" "$(<"$T/growth.out")$(<"$T/max.out")"
	equal 5242880 "$(cat "$MNT/reservations/c/size")"
	equal "$(cat "$MNT/capacity")" "$(figure capacity)"
	(($(<"$T/available.out") <= before + 12582912))
	grep -q '^reservefs_available_bytes' "$T/metrics.out"
	equal "c d" "$(contracts)"
	equal "$(cat "$MNT/reserved")" "$(($(cat "$MNT/reservations/c/size") + $(cat "$MNT/reservations/d/size")))"
}

@test "a storage that hangs is found out by a reader as well, and by one who looks at attributes" {
	local first
	mount_on_hanging
	for first in "cat '$MNT/available'" "df '$MNT'" "stat '$MNT/status'" "cat '$MNT/metrics'"; do
		contract a 3M
		contract b 3M
		hang
		WAITING=()
		in_background first "$first"
		eventually all_wait
		all_else_works a b
		go_on
		wait "${WAITING[@]}"
	done
	ATTACHED=()
}

@test "hundreds of growths that wait for a storage keep nobody else waiting, nor much memory, and all are answered" {
	mount_on_hanging
	local i before
	mkdir "$MNT"/reservations/w{0..399}
	contract a 3M
	contract b 3M
	before=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$DAEMON/status")
	hang
	for i in {0..399}; do
		in_background "w$i" "exec 3<>'$MNT/reservations/w$i/size'; echo 1M >&3"
	done
	eventually all_wait
	all_else_works a b
	(($(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$DAEMON/status") - before < 16384))
	# one in ten is killed
	for i in {0..399..10}; do kill -KILL "${WAITING[i]}"; done
	for i in {0..399..10}; do eventually gone "${WAITING[i]}"; done
	go_on
	for i in {0..399}; do wait "${WAITING[i]}" || ((i % 10 == 0)); done
	ATTACHED=()
	equal "" "$(cat "$T"/w*.out)"
	figure_is reserved $((360 * 1048576))
}

@test "who waits for a storage and is killed is gone at once, and nothing changed" {
	mount_on_hanging
	local pid
	contract c 3M
	hang
	in_background growth "echo 5M >'$MNT/reservations/c/size'"
	in_background available "cat '$MNT/available'"
	in_background df "df '$MNT'"
	in_background stat "stat '$MNT/available'"
	eventually all_wait
	for pid in "${WAITING[@]}"; do
		kill -WINCH "$pid"
		pkill -KILL -P "$pid" || :
		kill -KILL "$pid"
	done
	eventually all_gone
	promptly cat "$MNT/reservations/c/size"
	go_on
	ATTACHED=()
	eventually promptly cat "$MNT/available"
	size_is 3145728 c
	echo 4M >"$MNT/reservations/c/size"
	size_is 4194304 c
}

# told_to_end STATUS: within a deadline, and the mount is gone.
told_to_end() {
	kill -TERM "$DAEMON"
	daemon_ends "$1"
	run ! mountpoint -q "$MNT"
}

@test "a daemon whose storage hangs ends when it is told to, with 0, and soon" {
	local begun
	mount_on_hanging
	contract c 3M
	contract d
	hang
	in_background growth "echo 5M >'$MNT/reservations/c/size'"
	eventually all_wait
	in_background available "cat '$MNT/available'"
	in_background behind "echo 6M >'$MNT/reservations/d/size'"
	eventually all_wait
	begun=$SECONDS
	told_to_end 0
	((SECONDS - begun < 5))
	eventually all_gone
	grep -q "Input/output error" "$T/growth.out"
	go_on
	ATTACHED=()
	start_again
	size_is 3145728 c
	# nobody has asked anything yet, and one who reads finds out
	hang
	begun=$SECONDS
	told_to_end 0
	start_again_when_it_goes_on
	hang
	WAITING=()
	in_background available "cat '$MNT/available'"
	eventually all_wait
	told_to_end 0
	((SECONDS - begun < 10))
	go_on
	ATTACHED=()
	eventually start_again
	size_is 3145728 c
}

start_again_when_it_goes_on() {
	go_on
	eventually start_again
}

# The one above has not taken the question. Who waits for one that has cannot be killed, not by his own end either.
@test "a daemon whose storage has taken the question and does not answer ends when it is told to, too" {
	needs sshfs
	[ -x /usr/lib/openssh/sftp-server ] || skip "there is no sftp-server"
	mkdir "$T/real" "$T/state"
	# known by its path, and without a network in between
	cp /usr/lib/openssh/sftp-server "$T/server"
	printf '#!/bin/sh\nexec %s\n' "$T/server" >"$T/ssh"
	chmod +x "$T/ssh"
	sshfs -f -o ssh_command="$T/ssh" "nowhere:$T/real" "$REPO" 3>&- &
	eventually mountpoint -q "$REPO"
	start_daemon -o "datastore=$T/state/datastore.db"
	contract a 3M
	contract b 3M
	contract c 3M
	BINDFS=$(pgrep -f "$T/server")
	hang
	in_background growth "echo 5M >'$MNT/reservations/c/size'"
	in_background available "cat '$MNT/available'"
	eventually all_wait
	all_else_works a b
	kill -KILL "${WAITING[1]}"
	pkill -KILL -P "${WAITING[1]}" || :
	eventually gone "${WAITING[1]}"
	told_to_end 0
	go_on
	eventually gone "${WAITING[0]}"
	ATTACHED=()
	eventually nobody_asks
	eventually start_again
	size_is 3145728 c
	stop_daemon
	umount "$REPO"
}

# What the daemon has left behind to ask and to close has ended.
nobody_asks() {
	! grep -lsx -e reservefs-ask -e reservefs-close /proc/[0-9]*/comm | while read -r comm; do
		! gone "$(basename "$(dirname "$comm")")" || continue
		readlink "${comm%comm}"fd/* 2>/dev/null
	done | grep -qF "$T/"
}

@test "a daemon whose Repo is arithmetic, and whose disk hangs, ends with 0" {
	mount_on_hanging -o repo=quota,capacity=10G
	contract c 3M
	hang
	promptly bash -c "echo 4M >'$MNT/reservations/c/size'"
	promptly df "$MNT"
	told_to_end 0
	go_on
}

# The daemon has something to complain of.
daemon_was_quiet() {
	:
}

# ends_with_two: within the patience for a Datastore, and says why.
ends_with_two() {
	local begun=$SECONDS
	kill -TERM "$DAEMON"
	daemon_ends 2
	((SECONDS - begun < 16))
	run ! mountpoint -q "$MNT"
	grep -q '^reservefs: the disk of the Datastore of .* does not answer' "$MNT.err"
	equal 1 "$(grep -c '^reservefs: ' "$MNT.err")"
}

@test "a daemon whose Datastore's disk hangs answers what it knows, and ends with 2 after a while" {
	hanging_repo
	start_daemon
	contract c 3M
	contract d 3M
	sync "$MNT/reservations"
	hang
	in_background growth "echo 5M >'$MNT/reservations/c/size'"
	in_background shrink "echo 1M >'$MNT/reservations/d/size'"
	in_background look_up "ls '$MNT/reservations'"
	eventually all_wait
	promptly cat "$MNT/reserved"
	promptly cat "$MNT/reservations/c/size" "$MNT/reservations/d/size"
	ends_with_two
	eventually all_gone
	go_on
	ATTACHED=()
	eventually start_again
	size_is 3145728 c
	[[ $(cat "$MNT/reservations/d/size") =~ ^(3145728|1048576)$ ]]
}

@test "an idle daemon whose Datastore's disk hangs ends with 2 after a while" {
	hanging_repo
	start_daemon
	contract c 3M
	sync "$MNT/reservations"
	hang
	ends_with_two
	go_on
	eventually start_again
	size_is 3145728 c
}

@test "a storage that hangs again and again, for moments, at full speed: no figure is wrong and nobody is left waiting" {
	mount_on_hanging -o capacity=1G
	py <<-END
		import random, signal, threading
		bindfs, random.seed = $BINDFS, None
		stop = threading.Event()
		problems = []

		def keep(call):
		    def run(n):
		        rng = random.Random(n)
		        while not stop.is_set():
		            try:
		                call(n, rng)
		            except Exception as e:
		                problems.append(repr(e))
		                stop.set()
		    return run

		def client(n, rng):
		    got = outcome(put, f"c{n}", rng.choice(["1M", "5M", "max", "0", "100M", "7"]))
		    assert got in ("ok", "ENOSPC"), got

		def reader(n, rng):
		    s = status()
		    assert s["reserved"] + s["available"] <= 2**30, s
		    assert s["reserved"] <= 2**30
		    os.statvfs(MNT)

		for n in range(6):
		    make(f"c{n}")
		threads = [threading.Thread(target=keep(client), args=[n]) for n in range(6)]
		threads += [threading.Thread(target=keep(reader), args=[n]) for n in range(2)]
		for t in threads:
		    t.start()
		rng = random.Random(1)
		end = time.monotonic() + 4
		while time.monotonic() < end and not stop.is_set():
		    os.kill(bindfs, signal.SIGSTOP)
		    time.sleep(rng.choice([0.001, 0.01, 0.018, 0.02, 0.022, 0.03, 0.1]))
		    os.kill(bindfs, signal.SIGCONT)
		    time.sleep(rng.choice([0, 0.001, 0.01, 0.02]))
		stop.set()
		for t in threads:
		    t.join(20)
		    assert not t.is_alive()
		assert not problems, problems
		equal(sum(number(size(f"c{n}")) for n in range(6)), number(fixed("reserved")))
	END
}

# A service manager that takes messages, or one that does not: a socket at $T/manager. It prints what it is told, a line each.
service_manager() {
	"$PYTHON" - "$T/manager" "$1" <<-'END' >"$T/told" &
		import socket, sys, time
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		if sys.argv[2] == "deaf":
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
		s.bind(sys.argv[1])
		if sys.argv[2] == "deaf":
		    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		    other.setblocking(False)
		    try:
		        while True:
		            other.sendto(b"x", sys.argv[1])
		    except BlockingIOError:
		        print("full", flush=True)
		    time.sleep(1000)
		while True:
		    print(s.recv(4096).decode().replace("\n", " "), flush=True)
	END
	ATTACHED+=($!)
	eventually test -S "$T/manager"
}

pings() {
	grep -c WATCHDOG=1 "$T/told"
}

more_pings_than() {
	(($(pings) > $1))
}

@test "a service manager hears that the storage hangs, and that the daemon works, which ends when it is told to" {
	hanging_repo
	service_manager awake
	NOTIFY_SOCKET=$T/manager WATCHDOG_USEC=200000 start_daemon -o "datastore=$T/state/datastore.db"
	contract c 3M
	contract d 3M
	eventually more_pings_than 2
	hang
	local before
	all_else_works c d
	eventually grep -q 'does not answer.*WATCHDOG=1' "$T/told"
	before=$(pings)
	eventually more_pings_than $((before + 5))
	promptly cat "$MNT/reserved"
	go_on
	answers_again() { [[ $(tail -n 1 "$T/told") != *"does not answer"* ]]; }
	eventually answers_again
	hang
	told_to_end 0
	go_on
	eventually grep -q STOPPING=1 "$T/told"
}

@test "a service manager that does not read keeps nobody waiting" {
	hanging_repo
	service_manager deaf
	eventually grep -q full "$T/told"
	NOTIFY_SOCKET=$T/manager WATCHDOG_USEC=100000 start_daemon -o "datastore=$T/state/datastore.db"
	contract a 3M
	contract b 3M
	all_else_works a b
	told_to_end 0
}

# refused COUNT: as many requests that are refused, and logged.
refused() {
	py "$1" <<-'END'
		import sys
		for n in range(int(sys.argv[1])):
		    refused("EINVAL", put, "c", f"x{n}")
		    if n % 100 == 0:
		        equal(3 * 2**20, number(size("c")))
	END
}

@test "a pipe on stderr that nobody reads keeps nobody waiting, not with every request shown either" {
	local options unread
	for options in "" -d; do
		mkfifo "$T/pipe$options"
		exec {unread}<>"$T/pipe$options"
		env --default-signal=INT,QUIT "$RESERVEFS" -f $options -o repo=quota,capacity=1G "$REPO" "$MNT" \
			</dev/null >"$MNT.out" 2>"$T/pipe$options" 3>&- &
		DAEMON=$!
		eventually test -e "$MNT/status"
		contract a 3M
		contract b 3M
		contract c 3M
		# more than the pipe and what is kept for it take, and for longer than a second
		refused 2000
		all_else_works a b
		refused 100
		rmdir "$MNT/reservations/c"
		told_to_end 0
		exec {unread}>&-
	done
}

@test "what was lost because nobody read it is counted, and the lines after it are written" {
	local unread
	mkfifo "$T/pipe"
	exec {unread}<>"$T/pipe"
	env --default-signal=INT,QUIT "$RESERVEFS" -f -d -o repo=quota,capacity=1G "$REPO" "$MNT" \
		</dev/null >"$MNT.out" 2>"$T/pipe" 3>&- &
	DAEMON=$!
	eventually test -e "$MNT/status"
	contract c 3M
	refused 3000
	cat "$T/pipe" >"$T/log" 3>&- &
	ATTACHED+=($!)
	exec {unread}>&-
	lost_is_told() {
		echo x >"$MNT/reservations/c/size" || :
		grep -aq 'earlier lines were lost: nobody read them in time' "$T/log"
	} 2>/dev/null
	eventually lost_is_told
	told_to_end 0
}

@test "a syslog that does not read keeps nobody waiting, and the daemon ends with 0 when it is told to" {
	# everything in a mount namespace of its own, with a /dev whose log is a socket with a full queue
	unshare -m --propagation private "$PYTHON" - <<-'END'
		import ctypes, errno, os, signal, socket, subprocess, sys, time

		def run(*command):
		    subprocess.run(command, check=True)

		T, MNT, REPO = (os.environ[name] for name in ("T", "MNT", "REPO"))
		os.mkdir(T + "/dev")
		run("mount", "-t", "tmpfs", "tmpfs", T + "/dev")
		for name, major, minor in ("null", 1, 3), ("zero", 1, 5), ("urandom", 1, 9), ("fuse", 10, 229):
		    run("mknod", "-m", "666", f"{T}/dev/{name}", "c", str(major), str(minor))
		run("mount", "--bind", T + "/dev", "/dev")
		log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		log.bind("/dev/log")
		# the daemon goes into the background: it becomes a child of this process
		ctypes.CDLL(None).prctl(36, 1)
		run(os.environ["RESERVEFS"], "-o", "repo=quota,capacity=1G", REPO, MNT)
		daemon = int(open(REPO + "/.reservefs/lock").read().split()[0])
		os.mkdir(MNT + "/reservations/c")
		size = MNT + "/reservations/c/size"

		def write(text):
		    with open(size, "wb", 0) as file:
		        file.write(text)

		write(b"3M")
		begin = time.monotonic()
		for n in range(600):
		    try:
		        write(b"x")
		        raise SystemExit("not refused")
		    except OSError as e:
		        assert e.errno == errno.EINVAL, e
		    if n % 50 == 0:
		        assert open(size).read() == "3145728\n"
		        os.mkdir(MNT + "/reservations/d")
		        os.rmdir(MNT + "/reservations/d")
		write(b"1M")
		os.rmdir(MNT + "/reservations/c")
		assert time.monotonic() - begin < 15
		begin = time.monotonic()
		os.kill(daemon, signal.SIGTERM)
		pid, status = os.waitpid(daemon, 0)
		assert status == 0, status
		assert time.monotonic() - begin < 5
		assert not os.path.ismount(MNT)
	END
}
