# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# interrupt.bats: clients that get signals, or are killed, while their change waits behind a disk that does not answer, or takes its
# time. The disk is a loop device whose file system is frozen: who writes to it hangs until it is thawed. A signal changes
# nothing; who is killed is gone at once, and his change is made whole or not at all.

# shellcheck disable=SC2030,SC2031 # each test has its own ATTACHED

load lib.bash

# The Datastore is on the disk that is frozen, and nothing else is.
mount_on_frozen() {
	needs fsfreeze
	loop_fs ext4 64M
	start_daemon -o "repo=quota,capacity=10G,datastore=$T/disk/datastore.db"
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

# in_call PID: it waits in a system call that changes names, or makes them durable.
in_call() {
	local call
	read -r call _ <"/proc/$1/syscall"
	case $call in
	74 | 82 | 83 | 84) ;;
	*) return 1 ;;
	esac
}

# A client that makes one system call, does not make it again when it is interrupted, and tells what it returned. It has handlers
# for SIGUSR1, after which a call is not made again by itself, and for SIGUSR2, after which it is.
# call_once DIRECTORY EXPRESSION: the expression is a call of `libc`; `fd` is the directory.
call_once() {
	exec "$PYTHON" -c '
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
for number, interrupts in (signal.SIGUSR1, True), (signal.SIGUSR2, False):
    signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, interrupts)
os.chdir(sys.argv[1])
fd = os.open(".", os.O_RDONLY)
done = eval("libc." + sys.argv[2])
print(done if done >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
' "$@"
}

# write_calls COUNT: as many clients that write 7 to one contract each (w0, w1, ...). What they tell is in $T/w0.out, ...;
# $WRITERS are their pids.
write_calls() {
	local i
	WRITERS=()
	for ((i = 0; i < $1; i++)); do
		call_once "$MNT/reservations/w$i" 'write(os.open("size", os.O_WRONLY), b"7\n", 2)' >"$T/w$i.out" 2>&1 &
		WRITERS+=($!)
		ATTACHED+=($!)
	done
	for i in "${WRITERS[@]}"; do
		eventually waits "$i"
	done
}

@test "a write that waits is told what came of it, whatever signals come meanwhile" {
	mount_on_frozen
	contract first
	local i number
	for i in {0..5}; do contract "w$i"; done
	sync -f "$MNT/reservations"
	begin_write first 3
	write_calls 6
	for number in USR1 USR2 WINCH CHLD URG; do
		for i in {0..4}; do
			kill "-$number" "${WRITERS[i]}"
		done
	done
	kill -STOP "${WRITERS[1]}" "${WRITERS[2]}"
	kill -CONT "${WRITERS[1]}"
	# what the daemon has done about it shows in what it answers afterwards
	figure_is reserved 0
	for i in {0..5}; do waits "${WRITERS[i]}"; done
	daemon_hangs
	thaw "$T/disk"
	wait "$FIRST"
	kill -CONT "${WRITERS[2]}"
	for i in {0..5}; do
		wait "${WRITERS[i]}"
		equal 2 "$(<"$T/w$i.out")"
		size_is 7 "w$i"
	done
	ATTACHED=()
	equal "" "$(<"$T/first.err")"
	figure_is reserved 45
	remount
	figure_is reserved 45
}

@test "a slow disk, two neighbours, and a shell with background jobs: no write is interrupted" {
	needs strace
	mount_quota 10G
	local i neighbour
	for i in n1 n2 mine; do contract "$i"; done
	strace -qq -f -p "$DAEMON" -e trace=fdatasync -e inject=fdatasync:delay_exit=20000 -o "$T/strace" &
	ATTACHED+=($!)
	is_slow() {
		echo "$((++i))" >"$MNT/reservations/n1/size" && grep -qs DELAYED "$T/strace"
	}
	i=0
	eventually is_slow
	for neighbour in n1 n2; do
		(for ((i = 1; ; i++)); do echo "$i" >"$MNT/reservations/$neighbour/size" || exit; done) &
		ATTACHED+=($!)
	done
	bash -c '
		trap : USR1
		for i in {1..40}; do
			{ /bin/true; } &
			{ kill -USR1 $$; } &
			echo "$i" >"$1" || exit
		done
		wait
	' bash "$MNT/reservations/mine/size" >"$T/loop.out" 2>&1
	equal "" "$(<"$T/loop.out")"
	size_is 40 mine
	# by timers, in threads, and with nothing said about calls that are interrupted
	"$PYTHON" - "$MNT/reservations/mine/size" <<-'END'
		import os, signal, sys
		ticks = 0
		def tick(*_):
		    global ticks
		    ticks += 1
		signal.signal(signal.SIGALRM, tick)
		signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
		import ctypes, errno
		libc = ctypes.CDLL(None, use_errno=True)
		fd = os.open(sys.argv[1], os.O_WRONLY)
		for i in range(40):
		    text = b"%d\n" % i
		    done = libc.pwrite(fd, text, len(text), 0)
		    assert done == len(text), errno.errorcode[ctypes.get_errno()]
		signal.setitimer(signal.ITIMER_REAL, 0)
		assert ticks >= 30, ticks
	END
	kill "${ATTACHED[@]}"
	wait "${ATTACHED[@]}" 2>/dev/null || :
	ATTACHED=()
}

@test "a client that is killed while its write waits is gone at once, and its write is not there" {
	mount_on_frozen
	contract first
	local i
	for i in {0..4}; do contract "w$i"; done
	sync -f "$MNT/reservations"
	begin_write first 3
	write_calls 5
	# also where another signal came before, or where one that is not caught kills
	kill -USR1 "${WRITERS[1]}"
	kill -STOP "${WRITERS[2]}"
	kill -KILL "${WRITERS[0]}" "${WRITERS[1]}" "${WRITERS[2]}"
	kill -TERM "${WRITERS[3]}"
	for i in {0..3}; do eventually gone "${WRITERS[i]}"; done
	daemon_hangs
	waits "${WRITERS[4]}"
	thaw "$T/disk"
	wait "$FIRST"
	wait "${WRITERS[4]}"
	ATTACHED=()
	size_is 3 first
	for i in {0..3}; do size_is 0 "w$i"; done
	size_is 7 w4
	figure_is reserved 10
}

@test "a client that is killed while its write is being stored is gone at once, and its write is there whole" {
	mount_on_frozen
	contract first
	stat -c %s "$MNT/reservations/first/size" >"$T/before"
	begin_write first 12345678
	kill -KILL "$FIRST"
	eventually gone "$FIRST"
	daemon_hangs
	# what the kernel keeps of it is what it is
	figure_is reserved 0
	equal "$(<"$T/before")" "$(stat -c %s "$MNT/reservations/first/size")"
	stat "$MNT/reservations/first" >"$T/dir.before"
	thaw "$T/disk"
	ATTACHED=()
	eventually figure_is reserved 12345678
	size_is 12345678 first
	eventually equal 9 "$(stat -c %s "$MNT/reservations/first/size")"
	[ "$(<"$T/dir.before")" != "$(stat "$MNT/reservations/first")" ]
	remount
	size_is 12345678 first
}

# killed_in EXPRESSION: a client makes that call while nothing else is under way, and is killed once it hangs.
killed_in() {
	freeze "$T/disk"
	call_once "$MNT/reservations" "$1" >"$T/call.out" 2>&1 &
	ATTACHED=($!)
	eventually in_call "${ATTACHED[0]}"
	eventually daemon_hangs
	kill -KILL "${ATTACHED[0]}"
	eventually gone "${ATTACHED[0]}"
	ATTACHED=()
	daemon_hangs
	thaw "$T/disk"
	equal "" "$(<"$T/call.out")"
}

# names_are NAME...: what is listed and what is found agree.
names_are() {
	local name
	[ "$(contracts)" = "$*" ] || return 1
	for name in big renamed; do
		case " $* " in
		*" $name "*) [ -e "$MNT/reservations/$name/size" ] || return 1 ;;
		*) [ ! -e "$MNT/reservations/$name" ] || return 1 ;;
		esac
	done
}

@test "clients that are killed in rename, rmdir and fsync are gone at once, and the kernel shows what came of it" {
	mount_on_frozen
	contract big 5
	sync -f "$MNT/reservations"
	run ! test -e "$MNT/reservations/renamed"
	killed_in 'rename(b"big", b"renamed")'
	eventually names_are renamed
	size_is 5 renamed
	killed_in 'rmdir(b"renamed")'
	eventually names_are
	figure_is reserved 0
	contract late
	killed_in 'fsync(fd)'
	equal late "$(contracts)"
	remount
	equal late "$(contracts)"
}

@test "rename, rmdir and fsync that wait go on waiting after a signal, or change nothing when they are killed" {
	mount_on_frozen
	contract first
	contract old
	contract big 5
	sync -f "$MNT/reservations"
	begin_write first 3
	# for fsync to have something to wait for
	contract late
	local call pid
	for call in 'rename(b"big", b"renamed")' 'rmdir(b"big")' 'fsync(fd)'; do
		call_once "$MNT/reservations" "$call" >"$T/call.out" 2>&1 &
		pid=$!
		ATTACHED+=("$pid")
		eventually in_call "$pid"
		kill -USR1 "$pid"
		figure_is reserved 5
		in_call "$pid"
		kill -KILL "$pid"
		eventually gone "$pid"
		equal "" "$(<"$T/call.out")"
	done
	daemon_hangs
	thaw "$T/disk"
	wait "$FIRST"
	ATTACHED=()
	equal "big first late old" "$(contracts)"
	size_is 5 big
	figure_is reserved 8
}

# A process with a thousand threads, each with a write of its own that waits. Says so in $T/ready.
a_thousand_writes() {
	exec "$PYTHON" - "$MNT/reservations" "$T/ready" <<-'END'
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
		def is_waiting(t):
		    return open(f"/proc/self/task/{t.native_id}/syscall").read().startswith("1 ")
		for t in threads:
		    while not is_waiting(t):
		        pass
		for t in threads:
		    signal.pthread_kill(t.ident, signal.SIGUSR1)
		assert all(is_waiting(t) for t in threads)
		open(sys.argv[2], "w").close()
		for t in threads:
		    t.join()
		print(len(answers), set(answers))
	END
}

mount_with_a_thousand() {
	mount_on_frozen
	contract first
	mkdir "$MNT"/reservations/w{0..999}
	sync -f "$MNT/reservations"
	begin_write first 3
}

@test "a thousand signals to a thousand writes change nothing" {
	mount_with_a_thousand
	a_thousand_writes >"$T/answers" &
	ATTACHED+=($!)
	eventually test -e "$T/ready"
	daemon_hangs
	thaw "$T/disk"
	wait "${ATTACHED[1]}"
	wait "$FIRST"
	ATTACHED=()
	equal "1000 {2}" "$(<"$T/answers")"
	figure_is reserved 7003
}

@test "a process that is killed while a thousand of its threads wait is gone at once, and nothing changed" {
	mount_with_a_thousand
	a_thousand_writes >"$T/answers" &
	local pid=$!
	ATTACHED+=("$pid")
	eventually test -e "$T/ready"
	kill -KILL "$pid"
	threads_are_gone() {
		local tasks=(/proc/"$pid"/task/*)
		((${#tasks[@]} <= 1))
	}
	eventually threads_are_gone
	daemon_hangs
	figure_is reserved 0
	thaw "$T/disk"
	wait "$FIRST"
	ATTACHED=()
	figure_is reserved 3
	figure_is reservations 1001
}

@test "a client in a pid namespace of its own is let go when it is killed" {
	mount_on_frozen
	contract first
	contract w0
	sync -f "$MNT/reservations"
	begin_write first 3
	unshare -p -f --kill-child "$PYTHON" -c 'import os, sys
os.write(os.open(sys.argv[1], os.O_WRONLY), b"7")' "$MNT/reservations/w0/size" &
	local outer=$! inner
	ATTACHED+=("$outer")
	inner_waits() { inner=$(pgrep -P "$outer") && waits "$inner"; }
	eventually inner_waits
	kill -KILL "$inner"
	eventually gone "$inner"
	daemon_hangs
	thaw "$T/disk"
	wait "$FIRST"
	ATTACHED=()
	size_is 0 w0
}
