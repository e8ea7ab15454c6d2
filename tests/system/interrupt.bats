# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# interrupt.bats: clients that are interrupted, or killed, while their change waits behind a disk that does not answer. The
# disk is a loop device whose file system is frozen: who writes to it hangs until it is thawed.

# shellcheck disable=SC2030,SC2031 # each test has its own ATTACHED

load lib.bash

# The Datastore is on the disk that is frozen, and nothing else is.
mount_on_frozen() {
	needs fsfreeze
	loop_fs ext4 64M
	start_daemon -o "repo=quota,capacity=10G,datastore=$T/disk/datastore.db"
}

# A thread of the daemon waits for the disk.
daemon_hangs() {
	grep -q '^State:.*D' "/proc/$DAEMON"/task/*/status
}

# begin_write CONTRACT VALUE: a write that the writer begins, and hangs in. Its process is $FIRST.
begin_write() {
	freeze "$T/disk"
	(echo "$2" >"$MNT/reservations/$1/size") 2>"$T/first.err" &
	FIRST=$!
	ATTACHED+=("$FIRST")
	eventually daemon_hangs
}

# waits PID: it is in write(2).
waits() {
	[[ $(cat "/proc/$1/syscall") == "1 "* ]]
}

# write_calls COUNT: as many processes as that write to one contract each (w0, w1, ...), tell errno or what was written in
# $T/w0.out, ..., and do not write again when they are interrupted. $WRITERS are their pids.
write_calls() {
	local i
	WRITERS=()
	for ((i = 0; i < $1; i++)); do
		"$PYTHON" -c '
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGINT, lambda *_: None)
signal.siginterrupt(signal.SIGINT, True)
fd = os.open(sys.argv[1], os.O_WRONLY)
written = libc.write(fd, b"7\n", 2)
print(written if written >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
' "$MNT/reservations/w$i/size" >"$T/w$i.out" 2>&1 &
		WRITERS+=($!)
		ATTACHED+=($!)
	done
	for i in "${WRITERS[@]}"; do
		eventually waits "$i"
	done
}

@test "an interrupted write that waits behind a hanging one returns EINTR at once, and changes nothing" {
	mount_on_frozen
	contract first
	local i pid
	for i in {0..9}; do contract "w$i"; done
	sync -f "$MNT/reservations"
	begin_write first 3
	write_calls 10
	for i in {0..8}; do
		kill -INT "${WRITERS[i]}"
	done
	for i in {0..8}; do
		eventually gone "${WRITERS[i]}"
		equal EINTR "$(<"$T/w$i.out")"
	done
	# the disk hangs all the while, and the others wait
	daemon_hangs
	waits "${WRITERS[9]}"
	kill -0 "$FIRST"
	figure_is reserved 0
	thaw "$T/disk"
	wait "$FIRST"
	wait "${WRITERS[9]}"
	equal 2 "$(<"$T/w9.out")"
	ATTACHED=()
	size_is 3 first
	size_is 7 w9
	for i in {0..8}; do size_is 0 "w$i"; done
	figure_is reserved 10
	remount
	figure_is reserved 10
	size_is 0 w0
}

@test "a client that is killed while its write waits is gone at once, and its write is not there" {
	mount_on_frozen
	contract first
	contract w0
	contract w1
	begin_write first 3
	write_calls 2
	kill -KILL "${WRITERS[0]}"
	eventually gone "${WRITERS[0]}"
	daemon_hangs
	thaw "$T/disk"
	wait "$FIRST"
	wait "${WRITERS[1]}"
	ATTACHED=()
	size_is 3 first
	size_is 0 w0
	size_is 7 w1
	figure_is reserved 10
}

@test "a write that the writer has begun cannot be taken back: it is there whole" {
	mount_on_frozen
	contract first
	begin_write first 3
	kill -KILL "$FIRST"
	# nothing else can be asked of it before the disk answers
	figure_is reserved 0
	daemon_hangs
	thaw "$T/disk"
	eventually gone "$FIRST"
	ATTACHED=()
	eventually figure_is reserved 3
	size_is 3 first
	remount
	size_is 3 first
}

@test "interrupted rename, rmdir, unlink and fsync say EINTR, and change nothing" {
	mount_on_frozen
	contract first
	contract old
	contract big 5
	sync -f "$MNT/reservations"
	begin_write first 3
	# for fsync to have something to wait for
	contract late
	local call pid
	for call in 'rename(b"big", b"renamed")' 'rmdir(b"big")' 'unlink(b"big/size")' 'fsync(fd)'; do
		"$PYTHON" -c '
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGINT, lambda *_: None)
signal.siginterrupt(signal.SIGINT, True)
os.chdir(sys.argv[1])
fd = os.open(".", os.O_RDONLY)
open(sys.argv[2], "w").close()
done = eval("libc." + sys.argv[3])
print(done if done >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
' "$MNT/reservations" "$T/ready" "$call" >"$T/call.out" 2>&1 &
		pid=$!
		ATTACHED+=("$pid")
		eventually test -e "$T/ready"
		rm "$T/ready"
		eventually in_call "$pid"
		kill -INT "$pid"
		eventually gone "$pid"
		equal EINTR "$(<"$T/call.out")"
	done
	daemon_hangs
	thaw "$T/disk"
	wait "$FIRST"
	ATTACHED=()
	equal "big first late old" "$(contracts)"
	size_is 5 big
	figure_is reserved 8
}

# in_call PID: it waits in a system call that changes something.
in_call() {
	local call
	read -r call _ <"/proc/$1/syscall"
	case $call in
	74 | 82 | 84 | 87) ;;
	*) return 1 ;;
	esac
}

@test "a thousand interruptions of a thousand writes" {
	mount_on_frozen
	contract first
	"$PYTHON" - "$MNT/reservations" <<-'END'
		import os, sys
		for i in range(1000):
		    os.mkdir(f"{sys.argv[1]}/w{i}")
	END
	sync -f "$MNT/reservations"
	begin_write first 3
	"$PYTHON" - "$MNT/reservations" >"$T/interrupted" <<-'END' &
		import ctypes, errno, os, signal, sys, threading
		libc = ctypes.CDLL(None, use_errno=True)
		signal.signal(signal.SIGUSR1, lambda *_: None)
		signal.siginterrupt(signal.SIGUSR1, True)
		threading.stack_size(256 * 1024)
		answers = []
		def write(i):
		    fd = os.open(f"{sys.argv[1]}/w{i}/size", os.O_WRONLY)
		    written = libc.write(fd, b"7\n", 2)
		    answers.append(written if written >= 0 else errno.errorcode[ctypes.get_errno()])
		threads = [threading.Thread(target=write, args=(i,)) for i in range(1000)]
		for t in threads:
		    t.start()
		waiting = set(threads)
		def is_waiting(t):
		    try:
		        return open(f"/proc/self/task/{t.native_id}/syscall").read().startswith("1 ")
		    except FileNotFoundError:
		        return False
		for t in threads:
		    while not is_waiting(t):
		        pass
		for t in threads:
		    signal.pthread_kill(t.ident, signal.SIGUSR1)
		for t in threads:
		    t.join()
		print(len(answers), set(answers))
	END
	local clients=$!
	ATTACHED+=("$clients")
	wait "$clients"
	equal "1000 {'EINTR'}" "$(<"$T/interrupted")"
	daemon_hangs
	thaw "$T/disk"
	wait "$FIRST"
	ATTACHED=()
	figure_is reserved 3
	figure_is reservations 1001
}
