# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# systemd.bash: a real systemd for the system tests, as process 1 of namespaces of its own (pid, mount, network, host name,
# cgroup), with a copy of /etc and its own /run. It knows the project's unit and a few empty targets and nothing else.
# Beneath the test's directory all mounts are as on the host.

BOOTED=''

# systemd_ready: skips the test, by name, where systemd cannot be had.
systemd_ready() {
	needs systemctl nsenter unshare
	[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
	CGROUPS=$(findmnt -rno TARGET -t cgroup2 | head -n 1)
	[ -n "$CGROUPS" ] || skip "there is no cgroup2 hierarchy to start systemd in"
}

# the_unit FILE: the project's unit, for the command that is being tested.
the_unit() {
	sed "s|@bindir@/reservefs|$RESERVEFS|" "$CONTRIB/systemd/reservefs@.service.in" >"$1"
}

write_units() {
	local unit
	mkdir -p "$T/units"
	for unit in sysinit basic shutdown local-fs remote-fs multi-user umount; do
		printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$unit" >"$T/units/$unit.target"
	done
	the_unit "$T/units/reservefs@.service"
	mkdir "$T/units/reservefs@.service.d"
	printf '[Service]\nStandardOutput=append:%s\nStandardError=append:%s\n' "$T/service.out" "$T/service.err" \
		>"$T/units/reservefs@.service.d/log.conf"
}

# What runs before systemd, inside the namespaces. /proc is that of the pid namespace already.
write_boot() {
	cat >"$T/boot" <<-END
		set -e
		mount --make-rprivate /
		mkdir "$T/etc"
		cp -a /etc/. "$T/etc"
		mount --bind "$T/etc" /etc
		mount -t tmpfs tmpfs /run
		mkdir -p /run/systemd/system
		# As udev has it; what runs without udev may keep it for root.
		mknod -m 666 /run/fuse c 10 229
		mount --bind /run/fuse /dev/fuse
		umount -l /sys/fs/cgroup
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		hostname reservefs-test
		systemd-sysusers "$CONTRIB/systemd/reservefs.sysusers"
		systemd-tmpfiles --create "$CONTRIB/systemd/reservefs.tmpfiles"
		exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$T/units" \
			SYSTEMD_GENERATOR_PATH=/nowhere /lib/systemd/systemd --system --unit=basic.target \
			--log-target=null --show-status=no
	END
}

# The pid, in our own pid namespace, of that systemd, once there is one.
find_init() {
	local child
	child=$(cat "/proc/$1/task/$1/children") || return
	INIT=${child% }
	[ -n "$INIT" ] && [ "$(cat "/proc/$INIT/comm")" = systemd ]
}

# boot: starts systemd. inside COMMAND... then runs commands where it is process 1.
boot() {
	systemd_ready
	write_units
	write_boot
	CGROUP=$CGROUPS/reservefs-test-$BASHPID
	mkdir "$CGROUP" 2>/dev/null || skip "no cgroup can be made to start systemd in"
	(
		echo "$BASHPID" >"$CGROUP/cgroup.procs" || exit
		exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child --mount-proc bash "$T/boot"
	) </dev/null >"$T/systemd.err" 2>&1 3>&- &
	BOOTED=$!
	eventually booted_or_ended "$BOOTED"
	gone "$BOOTED" && skip "systemd does not start in namespaces here: $(tail -n 1 "$T/systemd.err")"
	eventually answers || skip "systemd does not answer in namespaces here"
}

booted_or_ended() {
	gone "$1" || find_init "$1"
}

answers() {
	inside systemctl is-active -q basic.target 2>/dev/null
}

inside() {
	nsenter -t "$INIT" --pid --mount --uts --ipc --net --cgroup -- "$@"
}

# pool NAME [OPTIONS]: writes its /etc/reservefs/NAME.env, for $T/NAME on $T/mounts/NAME.
pool() {
	mkdir -p "$T/$1"
	# shellcheck disable=SC2016 # the other shell's
	inside sh -c 'cat >"/etc/reservefs/$0.env"' "$1" <<-END
		REPO=$T/$1
		MOUNTPOINT=$T/mounts/$1
		OPTIONS=${2:-repo=quota,capacity=10G}
	END
}

# drop_in TEXT: settings for all instances.
drop_in() {
	printf '%s\n' "$@" >"$T/units/reservefs@.service.d/test.conf"
	inside systemctl daemon-reload
}

# shown POOL PROPERTY
shown() {
	inside systemctl show -P "$2" "reservefs@$1"
}

shut_down() {
	[ -n "$BOOTED" ] || return 0
	kill -KILL "$BOOTED" 2>/dev/null || :
	wait "$BOOTED" 2>/dev/null || :
	eventually remove_cgroups
}

remove_cgroups() {
	find "$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$CGROUP" ]
}
