# shellcheck shell=bats disable=SC2016,SC2317
# SPDX-License-Identifier: MIT
# systemd.bats: the unit and what it relies on. Where systemd can be started in namespaces, on a real systemd; the
# protocol between it and the daemon also without one.

load lib.bash
load systemd.bash

CONTRIB=$(realpath -- "$SYSTEM/../../contrib")

also_teardown() {
	shut_down
}

@test "systemd-analyze verify finds nothing to complain about" {
	needs systemd-analyze
	the_unit "$T/reservefs@test.service"
	run -0 systemd-analyze verify --man=no "$T/reservefs@test.service"
	# What it says of the machine's own units is not ours.
	run ! grep reservefs <<<"$output"
}

@test "systemd-analyze security sees little exposure" {
	needs systemd-analyze
	the_unit "$T/reservefs@test.service"
	run systemd-analyze security --offline=yes --threshold=60 --no-pager "$T/reservefs@test.service"
	echo "$output" | tail -n 3
	[ "$status" -eq 0 ]
	# No setting may take the mount away from the host.
	run ! grep -E '^(Private(Tmp|Devices|Mounts)|Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc)|ReadWritePaths|ReadOnlyPaths|InaccessiblePaths|BindPaths|BindReadOnlyPaths|TemporaryFileSystem|RootDirectory|DynamicUser|RuntimeDirectory|MountFlags)=' \
		"$CONTRIB/systemd/reservefs@.service.in"
}

@test "sysusers and tmpfiles make the user and the directories in an empty root" {
	needs systemd-sysusers systemd-tmpfiles
	mkdir -p "$T/root/etc"
	systemd-sysusers --root="$T/root" "$CONTRIB/systemd/reservefs.sysusers"
	grep '^reservefs:' "$T/root/etc/passwd"
	grep '^reservefs:' "$T/root/etc/group"
	systemd-tmpfiles --root="$T/root" --create "$CONTRIB/systemd/reservefs.tmpfiles"
	equal "755 755" "$(stat -c %a "$T/root/etc/reservefs" "$T/root/run/reservefs" | paste -sd ' ')"
	# Neither cleaning nor removing reaches into what may be mounted there.
	mkdir -p "$T/root/run/reservefs/pool/reservations/c1"
	touch -d '10 years ago' "$T/root/run/reservefs/pool/reservations/c1" "$T/root/run/reservefs/pool"
	systemd-tmpfiles --root="$T/root" --clean --remove "$CONTRIB/systemd/reservefs.tmpfiles"
	[ -d "$T/root/run/reservefs/pool/reservations/c1" ]
}

@test "READY comes when the tree answers, pings at half the interval, STOPPING at the end" {
	py <<-'END'
		import signal, socket
		listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		path = os.path.join(os.path.dirname(MNT), "notify")
		listener.bind(path)
		listener.settimeout(DEADLINE)

		def next_message():
		    return dict(line.split("=", 1) for line in listener.recv(4096).decode().splitlines())

		daemon = subprocess.Popen(
		    ["sh", "-c", 'WATCHDOG_PID=$$ exec "$RESERVEFS" -f -o repo=quota,capacity=10G "$REPO" "$MNT"'],
		    env={**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}, stderr=subprocess.DEVNULL)
		try:
		    first = next_message()
		    equal("1", first["READY"])
		    equal(str(daemon.pid), first["MAINPID"])
		    equal(10 * 2**30, status()["available"])
		    make("c1", "4G")
		    pings = []
		    while len(pings) < 6:
		        message = next_message()
		        if "WATCHDOG" in message:
		            pings.append(time.monotonic())
		    between = sorted(b - a for a, b in zip(pings, pings[1:]))
		    assert 0.1 < between[len(between) // 2] < 0.4, between
		    equal(f"1 contracts hold {4 * 2**30} bytes, {6 * 2**30} bytes are available", message["STATUS"])
		    daemon.send_signal(signal.SIGTERM)
		    while "STOPPING" not in message:
		        message = next_message()
		    equal(0, daemon.wait(DEADLINE))
		finally:
		    daemon.kill()
		    daemon.wait()
	END
}

@test "an abstract notify socket works, and one that nobody listens on does no harm" {
	py <<-'END'
		import signal, socket
		listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		name = f"reservefs-test-{os.getpid()}"
		listener.bind("\0" + name)
		listener.settimeout(DEADLINE)
		for where in ["@" + name, "/nowhere/notify", "", "relative", "/" + "x" * 200]:
		    daemon = subprocess.Popen([os.environ["RESERVEFS"], "-f", "-o", "repo=quota,capacity=1G", REPO, MNT],
		                              env={**os.environ, "NOTIFY_SOCKET": where}, stderr=subprocess.DEVNULL)
		    try:
		        eventually(lambda: os.path.exists(fixed("status")))
		        if where.startswith("@"):
		            assert b"READY=1" in listener.recv(4096)
		        daemon.send_signal(signal.SIGTERM)
		        equal(0, daemon.wait(DEADLINE), where)
		    finally:
		        daemon.kill()
		        daemon.wait()
	END
}

@test "without a service manager, or for another process, there is no watchdog thread" {
	local usec pid
	threads() { find "/proc/$DAEMON/task" -mindepth 1 -maxdepth 1 | wc -l; }
	mount_quota 1G
	local usual
	usual=$(threads)
	stop_daemon
	for usec in '' 0 x 1x -1 99999999999999999999; do
		WATCHDOG_USEC=$usec NOTIFY_SOCKET=$T/none mount_quota 1G
		equal "$usual" "$(threads)"
		stop_daemon
	done
	WATCHDOG_PID=1 WATCHDOG_USEC=1000000 NOTIFY_SOCKET=$T/none mount_quota 1G
	equal "$usual" "$(threads)"
	stop_daemon
	WATCHDOG_USEC=1000000 NOTIFY_SOCKET=$T/none mount_quota 1G
	eventually test "$(threads)" -eq $((usual + 1))
	# It leaves every signal to the thread that serves.
	py "$DAEMON" <<-'END'
		import signal
		blocked = [int(line.split()[1], 16) for task in os.listdir(f"/proc/{sys.argv[1]}/task")
		           for line in open(f"/proc/{sys.argv[1]}/task/{task}/status") if line.startswith("SigBlk:")]
		ends = 1 << (signal.SIGTERM - 1)
		equal(1, sum(not mask & ends for mask in blocked))
	END
}

@test "under systemd: started when the tree answers, seen from the host, stopped cleanly" {
	boot
	pool p1
	inside systemctl start reservefs@p1
	equal active "$(shown p1 ActiveState)"
	equal "10737418240" "$(inside cat "$T/mounts/p1/available")"
	inside findmnt -rn -t fuse.reservefs -M "$T/mounts/p1"
	equal "$T/p1" "$(inside findmnt -rno SOURCE -M "$T/mounts/p1")"
	inside setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups cat "$T/mounts/p1/status"
	# It serves as its own user, with no more than it needs.
	local pid
	pid=$(shown p1 MainPID)
	equal reservefs "$(inside ps -o user= -p "$pid")"
	equal "CapEff: 0000000000200000" "$(inside grep CapEff "/proc/$pid/status" | tr '\t' ' ')"
	[[ $(shown p1 StatusText) == "0 contracts hold 0 bytes, 10737418240 bytes are available" ]]
	inside mkdir "$T/mounts/p1/reservations/c1"
	inside sh -c 'echo 4G >"$0/reservations/c1/size"' "$T/mounts/p1"
	inside grep 'reservefs_reserved_bytes{pool="p1"} 4294967296' "$T/mounts/p1/metrics"
	# umount(8) is told who waits for the daemon's end.
	inside grep -F "TARGET=$T/mounts/p1 ROOT=/ OPTS=helper=reservefs" /run/mount/utab
	inside systemctl stop reservefs@p1
	equal inactive "$(shown p1 ActiveState)"
	equal success "$(shown p1 Result)"
	run ! inside grep -F "$T/mounts/p1" /run/mount/utab
	run ! inside findmnt -M "$T/mounts/p1"
	# Again, with what it kept.
	inside systemctl start reservefs@p1
	equal "4294967296" "$(inside cat "$T/mounts/p1/reserved")"
	inside systemctl stop reservefs@p1
}

@test "under systemd: a daemon that crashes is started again on the same mount point" {
	boot
	pool p1
	inside systemctl start reservefs@p1
	inside mkdir "$T/mounts/p1/reservations/c1"
	inside sh -c 'echo 4G >"$0/reservations/c1/size"' "$T/mounts/p1"
	local before
	before=$(shown p1 MainPID)
	inside kill -KILL "$before"
	again() { [ "$(shown p1 NRestarts) $(shown p1 ActiveState)" = "1 active" ]; }
	eventually again
	[ "$before" != "$(shown p1 MainPID)" ]
	equal "4294967296" "$(inside cat "$T/mounts/p1/reserved")"
	# One mount, not one on top of another.
	equal 1 "$(inside grep -cF " $T/mounts/p1 " /proc/self/mountinfo)"
	inside systemctl stop reservefs@p1
	run ! inside findmnt -M "$T/mounts/p1"
}

@test "under systemd: a daemon that hangs is found out by the watchdog" {
	boot
	# A process that was stopped does not even take the signal; systemd kills it when that got no answer.
	drop_in '[Service]' 'WatchdogSec=1' 'TimeoutAbortSec=1'
	pool p1
	inside systemctl start reservefs@p1
	inside kill -STOP "$(shown p1 MainPID)"
	again() { [ "$(shown p1 NRestarts) $(shown p1 ActiveState)" = "1 active" ]; }
	eventually again
	equal "10737418240" "$(inside cat "$T/mounts/p1/available")"
	inside systemctl stop reservefs@p1
}

@test "under systemd: after the daemon's last crash no dead mount is left, and a mount of another type stays" {
	boot
	drop_in '[Service]' 'Restart=no'
	pool p1
	inside systemctl start reservefs@p1
	inside kill -KILL "$(shown p1 MainPID)"
	failed() { [ "$(shown p1 ActiveState)" = failed ]; }
	eventually failed
	run ! inside findmnt -M "$T/mounts/p1"
	inside ls "$T/mounts/p1"
	inside mount -t tmpfs tmpfs "$T/mounts/p1"
	inside touch "$T/mounts/p1/file"
	run ! inside systemctl start reservefs@p1
	inside test -e "$T/mounts/p1/file"
	equal tmpfs "$(inside findmnt -rno FSTYPE -M "$T/mounts/p1")"
}

@test "under systemd: another tree on the same mount point outlives the service, stopped or crashed" {
	boot
	drop_in '[Service]' 'Restart=no'
	pool p1
	mkdir "$T/other"
	local how
	for how in "systemctl stop reservefs@p1" "systemctl kill -s KILL --kill-whom=main reservefs@p1"; do
		inside systemctl start reservefs@p1
		inside "$RESERVEFS" -o repo=quota,capacity=20G,nonempty "$T/other" "$T/mounts/p1"
		# shellcheck disable=SC2086
		inside $how
		ended() { [[ $(shown p1 ActiveState) == @(inactive|failed) ]]; }
		eventually ended
		equal 21474836480 "$(inside cat "$T/mounts/p1/capacity")"
		inside umount "$T/mounts/p1"
	done
}

@test "under systemd: wrong options fail at once and are not tried again, a missing pool is named" {
	boot
	pool p1 capacity=much
	run ! inside systemctl start reservefs@p1
	equal "failed 0" "$(shown p1 ActiveState) $(shown p1 NRestarts)"
	equal 1 "$(shown p1 ExecMainStatus)"
	grep -F "reservefs: capacity=much is not a size, on the command line; write a number like 500G, or max" "$T/service.err"
	# Where the disk is missing no Repo is begun, nor prepared.
	pool p2 existing,repo=quota,capacity=1G
	run ! inside systemctl start reservefs@p2
	equal 2 "$(shown p2 ExecMainStatus)"
	equal "" "$(ls -A "$T/p2")"
	inside systemctl stop reservefs@p2
	run ! inside systemctl start reservefs@nothing
	[[ $output == *"Assertion failed"* ]]
}

@test "under systemd: fusermount3 works from inside the hardened unit" {
	needs fusermount3
	boot
	# auto_unmount makes libfuse mount through it.
	inside sh -c 'echo user_allow_other >>/etc/fuse.conf'
	drop_in '[Service]' 'ExecStartPre=+chown reservefs ${MOUNTPOINT}' 'ExecStop=fusermount3 -u ${MOUNTPOINT}'
	pool p1 repo=quota,capacity=10G,auto_unmount
	inside systemctl start reservefs@p1
	equal "10737418240" "$(inside cat "$T/mounts/p1/available")"
	inside systemctl stop reservefs@p1
	equal "success 0" "$(shown p1 Result) $(shown p1 ExecMainStatus)"
	run ! inside findmnt -M "$T/mounts/p1"
	equal "" "$(grep -v '^<5>' "$T/service.err")"
}
