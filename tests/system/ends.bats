# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# ends.bats: how a daemon comes to its end, or never to its beginning: mount options of every kind, signals of every kind at any moment, a
# limit on the size of files. A status of 0 means that the tree could be used, or that all that was answered is stored.

# shellcheck disable=SC2030,SC2031 # each test has its own DAEMON

load lib.bash

# Those of some of these tests are in the background: they end when their mounts do.
also_teardown() {
	local left
	[ -z "$DAEMON" ] || return 0
	while read -r left; do
		umount "$left" || umount -l "$left"
	done < <(findmnt -rno TARGET | grep -F "$T/" | tac)
	eventually nobody_serves
}

nobody_serves() {
	[ -z "$(daemons_of "$T/")" ]
}

tree_works() {
	mkdir "$MNT/reservations/c" && echo 1M >"$MNT/reservations/c/size" && size_is 1048576 c && ls -l "$MNT/reservations" >"$T/ls" &&
		cat "$MNT/metrics" >"$T/metrics" && df "$MNT" >"$T/df" && rmdir "$MNT/reservations/c" && figure_is reserved 0
}

# mounts_or_says_why OPTION: 0, and a tree that works; or 1 or 32, one line, and no mount.
mounts_or_says_why() {
	local status=0
	timeout 20 "$RESERVEFS" -o "repo=quota,capacity=1G,$1" "$REPO" "$MNT" </dev/null >"$T/out" 2>"$T/err" 3>&- || status=$?
	echo "$1: $status $(<"$T/err")" >&2
	equal "" "$(<"$T/out")"
	case $status in
	0)
		equal "" "$(<"$T/err")"
		mountpoint -q "$MNT"
		if [ "$1" = ro ]; then run ! tree_works; else tree_works; fi
		umount "$MNT"
		eventually nobody_serves
		;;
	1 | 32)
		equal 1 "$(wc -l <"$T/err")"
		[[ $(<"$T/err") == 'reservefs: '*'; '* ]]
		run ! mountpoint -q "$MNT"
		eventually nobody_serves
		;;
	*) return 1 ;;
	esac
}

@test "a mount option either works or is refused: no status 0 without a mount" {
	local option
	for option in max_read={0,1,4095,4096,65536,131072,1048576,4294967295,-1,x,} max_write={0,4096,131072} max_background={0,1,65536} \
		congestion_threshold={0,1} max_readahead={0,4096} big_writes {no_,}splice_{read,write,move} {a,}sync_read clone_fd blkdev fd={0,7,x} \
		auto_unmount allow_other allow_root ro rw nosuid nodev noexec suid dev exec noatime dirsync sync writeback_cache \
		default_permissions kernel_cache rootmode=40000 user_id=0 group_id=0 context=x blksize=512 nonempty large_read \
		max_threads=1 max_idle_threads=0 entry_timeout=1 x-anything=1 _netdev; do
		mounts_or_says_why "$option"
	done
}

@test "max_read holds, and longer files are read in pieces" {
	start_daemon -o repo=quota,capacity=1G,"max_read=4096,pool=a-pool-whose-name-is-somewhat-longer"
	py <<-'END'
		# a name of the pool makes `metrics` longer than that
		whole = raw(fixed("metrics"))
		assert len(whole) > 4096 and whole.endswith(b"\n"), len(whole)
		equal(len(whole), len(raw(fixed("metrics"))))
	END
}

# The numbers of all signals that are to have no effect.
harmless_signals() {
	local number name
	for number in {1..64}; do
		name=$(kill -l "$number" 2>/dev/null) || continue
		case $name in
		HUP | INT | TERM | KILL | STOP | CONT | ABRT | SEGV | BUS | FPE | ILL | SYS | TRAP | '') ;;
		*) echo "$number" ;;
		esac
	done
}

@test "other signals than those that end it do nothing, and nothing is lost at the end" {
	mount_quota 10G
	local number count=0
	# RTMIN to RTMAX are among them
	for number in $(harmless_signals); do
		kill "-$number" "$DAEMON"
		contract "c$((++count))" "$count"
	done
	((count > 40))
	figure_is reservations "$count"
	# and again, all of them, just before the end, with a contract that is not stored yet
	mkdir "$MNT/reservations/last"
	for number in $(harmless_signals); do kill "-$number" "$DAEMON"; done
	stop_daemon
	start_again
	figure_is reservations $((count + 1))
	figure_is reserved $((count * (count + 1) / 2))
}

@test "a flood of signals keeps nobody from being served, nor the daemon from its end" {
	mount_quota 10G
	contract c
	py "$DAEMON" <<-'END'
		import signal, sys, threading
		daemon, stop = int(sys.argv[1]), threading.Event()
		numbers = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
		    signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP)]

		def flood():
		    while not stop.is_set():
		        for number in numbers:
		            os.kill(daemon, number)

		threads = [threading.Thread(target=flood) for _ in range(2)]
		for t in threads:
		    t.start()
		for n in range(300):
		    put("c", n)
		    equal(n, number(size("c")))
		stop.set()
		for t in threads:
		    t.join()
	END
	stop_daemon
}

@test "told to end twice, and in different ways, it ends once, with 0" {
	local signals
	for signals in "TERM TERM" "TERM INT HUP TERM" "HUP HUP HUP" "QUIT TERM USR1 TERM PIPE"; do
		start_daemon -o repo=quota,capacity=10G
		mkdir "$MNT/reservations/${signals// /-}"
		# shellcheck disable=SC2086 # words
		for signal in $signals; do
			kill "-$signal" "$DAEMON" 2>/dev/null || :
		done
		daemon_ends 0
		run ! mountpoint -q "$MNT"
	done
	start_daemon -o repo=quota,capacity=10G
	figure_is reservations 4
}

# It has something to say when it does not come that far.
daemon_was_quiet() {
	:
}

@test "told to end at any moment of its start, it leaves no mount, and starts the next time" {
	local i status never_readable
	exec {never_readable}<> <(:)
	for i in 0.0{00..39..1}; do
		env --default-signal=INT,QUIT "$RESERVEFS" -f -o repo=quota,capacity=10G "$REPO" "$MNT" \
			</dev/null >"$MNT.out" 2>"$MNT.err" 3>&- &
		DAEMON=$!
		read -rt "$i" -u "$never_readable" || :
		kill -TERM "$DAEMON"
		eventually gone "$DAEMON"
		status=0
		wait "$DAEMON" || status=$?
		DAEMON=''
		# told before it could be used; so early that nothing had been done yet; or in time
		[[ $status = [02] || $status = 143 ]]
		run ! mountpoint -q "$MNT"
	done
	start_daemon -o repo=quota,capacity=10G
	tree_works
}

@test "a limit on the size of files is a refusal that says so, and ends nothing" {
	local limit status
	for limit in 1 10 100 1000; do
		status=0
		(
			ulimit -f "$limit"
			timeout 20 "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
		) >"$T/out" 2>"$T/err" </dev/null 3>&- || status=$?
		equal "2: 1" "$status: $(wc -l <"$T/err")"
		grep -q 'ulimit -f' "$T/err"
		run ! mountpoint -q "$MNT"
		rm -rf "$REPO/.reservefs"
	done
	# the log is a file, too
	mount_quota 1G
	contract c 1M
	prlimit --pid "$DAEMON" --fsize=100:1000000000
	run -1 bash -c "echo x >'$MNT/reservations/c/size'"
	run -1 bash -c "echo x >'$MNT/reservations/c/size'"
	size_is 1048576 c
	kill -0 "$DAEMON"
	prlimit --pid "$DAEMON" --fsize=1000000000
	echo 2M >"$MNT/reservations/c/size"
	rmdir "$MNT/reservations/c"
	stop_daemon
}
