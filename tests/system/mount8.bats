# shellcheck shell=bats disable=SC2016,SC2030,SC2031,SC2317
# SPDX-License-Identifier: MIT
# mount8.bats: mount(8), umount(8) and fstab(5), the real ones. They look for a file system's helpers in /sbin alone, so each
# test has a mount namespace where they stand there, as they do after an installation, and an fstab of its own.

load lib.bash

HOLDER=''

setup_file() {
	[ "$EUID" -eq 0 ] || skip "mounting needs root"
}

also_setup() {
	own_disk
}

also_teardown() {
	[ -z "$HOLDER" ] || kill "$HOLDER" || :
}

# namespace: makes it. inside COMMAND... runs commands in it.
namespace() {
	mkdir "$T/sbin" "$T/sbin.real" "$T/dev"
	: >"$T/fstab"
	cat >"$T/enter" <<-'END'
		set -eu
		mount --make-rprivate /
		mount --bind /usr/sbin "$T/sbin.real"
		ln -s "$T/sbin.real/"* "$T/sbin/"
		ln -sf "$RESERVEFS" "$T/sbin/mount.reservefs"
		ln -sf "$RESERVEFS" "$T/sbin/mount.fuse.reservefs"
		ln -sf "$RESERVEFS" "$T/sbin/umount.reservefs"
		ln -sf "$RESERVEFS" "$T/sbin/umount.fuse.reservefs"
		mount --bind "$T/sbin" /usr/sbin
		[ /sbin -ef /usr/sbin ] || mount --bind "$T/sbin" /sbin
		mount --bind "$T/fstab" /etc/fstab
		mknod -m 666 "$T/dev/fuse" c 10 229
		mount --bind "$T/dev/fuse" /dev/fuse
		echo "$$" >"$T/holder"
		exec sleep infinity
	END
	[ -e /etc/fstab ] || skip "there is no /etc/fstab to put another one over"
	unshare -m bash "$T/enter" </dev/null >/dev/null 2>"$T/namespace.err" 3>&- &
	HOLDER=$!
	eventually test -s "$T/holder"
}

inside() {
	nsenter -t "$HOLDER" -m --wd="$T" -- env --default-signal=INT,QUIT "$@" 3>&-
}

inside_as_nobody() {
	inside setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups "$@"
}

# How often something is mounted on DIRECTORY.
mounts_on() {
	inside awk -v on="$1" '$5 == on' /proc/self/mountinfo | wc -l
}

# What mountinfo shows as source of what is mounted on DIRECTORY.
source_on() {
	inside awk -v on="$1" '$5 == on { sub(/.* - /, ""); print $2 }' /proc/self/mountinfo
}

# The pids of the daemons in the namespace.
daemons() {
	local process
	for process in /proc/[0-9]*; do
		[ "$process/exe" -ef "$RESERVEFS" ] && [ "$process/ns/mnt" -ef "/proc/$HOLDER/ns/mnt" ] && echo "${process#/proc/}"
	done 2>/dev/null
	:
}

served_no_more() {
	[ -z "$(daemons)" ]
}

# unmounted DIRECTORY: umount(8), after which the daemon ends.
unmounted() {
	inside umount "$1"
	eventually served_no_more
}

@test "mount -t reservefs and -t fuse.reservefs" {
	namespace
	local type
	for type in reservefs fuse.reservefs; do
		run -0 inside mount -t "$type" "$REPO" "$MNT"
		equal "" "$output"
		inside cat "$MNT/available"
		equal fuse.reservefs "$(inside findmnt -rno FSTYPE -M "$MNT")"
		equal "$REPO" "$(source_on "$MNT")"
		unmounted "$MNT"
	done
}

@test "mount -t reservefs -o capacity=..., with options of ours, of FUSE and of mount" {
	namespace
	inside mount -t reservefs -o repo=quota,capacity=10G,pool=p1,allow_other,ro,noatime "$REPO" "$MNT"
	equal 10737418240 "$(inside cat "$MNT/capacity")"
	inside grep -qF 'pool="p1"' "$MNT/metrics"
	run ! inside mkdir "$MNT/reservations/c1"
	[[ $output == *"Read-only file system"* ]]
	inside_as_nobody cat "$MNT/available"
	unmounted "$MNT"
}

@test "fstab: mount -a mounts both types, and not again what is mounted" {
	namespace
	mkdir "$T/repo2" "$T/mnt2"
	cat >"$T/fstab" <<-END
		$REPO $MNT reservefs repo=quota,capacity=10G 0 0
		$T/repo2 $T/mnt2 fuse.reservefs repo=quota,capacity=20G 0 0
	END
	
	for _ in 1 2 3; do
		run -0 inside mount -a
		equal "" "$output"
		equal "1 1" "$(mounts_on "$MNT") $(mounts_on "$T/mnt2")"
	done
	equal "10737418240 21474836480" "$(inside cat "$MNT/capacity") $(inside cat "$T/mnt2/capacity")"
	inside umount "$T/mnt2"
	inside mount -a
	equal "1 1" "$(mounts_on "$MNT") $(mounts_on "$T/mnt2")"
	inside umount -a -t fuse.reservefs
	eventually served_no_more
}

@test "fstab: mount -a -T FILE, mount MOUNTPOINT and umount MOUNTPOINT" {
	namespace
	echo "$REPO $MNT reservefs repo=quota,capacity=10G,noauto 0 0" >"$T/fstab"
	echo "$REPO $MNT reservefs repo=quota,capacity=20G 0 0" >"$T/other"
	inside mount -a
	equal 0 "$(mounts_on "$MNT")"
	inside mount "$MNT"
	equal 10737418240 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
	inside mount -a -T "$T/other"
	equal 21474836480 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
}

@test "fstab: the source shows in mountinfo as given, so that mount -a knows it again" {
	namespace
	local given shown
	ln -s repo "$T/link"
	mkdir "$T/with space,comma"
	for given in "$REPO" "$REPO/" "$T/link" "$T/with\\040space,comma"; do
		echo "$given $MNT reservefs repo=quota,capacity=1G 0 0" >"$T/fstab"
		inside mount -a
		shown=$(source_on "$MNT")
		inside mount -a
		equal 1 "$(mounts_on "$MNT")"
		# mount(8) itself resolves what it reads.
		[ "$shown" -ef "$given" ] || equal "$given" "$shown"
		unmounted "$MNT"
	done
	# Without mount(8) between: exactly.
	for given in "$REPO/" "$T/link" "./repo" "repo"; do
		inside /sbin/mount.reservefs "$given" "$MNT" -o repo=quota,capacity=1G
		equal "$given" "$(source_on "$MNT")"
		unmounted "$MNT"
	done
}

@test "fstab: the words that are for fstab alone are not taken for options" {
	namespace
	local words=defaults,relatime,nofail,_netdev,noauto,auto,user,nouser,users,owner,group,x-systemd.automount,x-systemd.requires=/srv,x-gvfs-show,comment=systemd.x,X-mount.mkdir
	echo "$REPO $MNT reservefs $words,repo=quota,capacity=10G 0 0" >"$T/fstab"
	inside mount "$MNT"
	equal 10737418240 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
	inside /sbin/mount.reservefs "$REPO" "$MNT" -o "$words,repo=quota,capacity=10G"
	equal 10737418240 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
}

@test "fstab: nofail lets mount -a go on where REPO is missing; without it the line and the status say so" {
	namespace
	echo "$T/none $MNT reservefs nofail 0 0" >"$T/fstab"
	run inside mount -a
	[[ $output == *"REPO $T/none does not exist"* ]]
	echo "$T/none $MNT reservefs defaults 0 0" >"$T/fstab"
	run inside mount -a
	[ "$status" -ne 0 ]
	[[ $output == *"REPO $T/none does not exist"* ]]
	equal 0 "$(mounts_on "$MNT")"
}

@test "an unknown option is an error that names it, with mount -s it is left out" {
	namespace
	run -1 inside mount -t reservefs -o repo=quota,capacity=1G,nonsense=5 "$REPO" "$MNT"
	[[ $output == *"unknown option 'nonsense=5'"* ]]
	equal 0 "$(mounts_on "$MNT")"
	inside mount -s -t reservefs -o repo=quota,nonsense=5,capacity=1G "$REPO" "$MNT"
	equal 1073741824 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
	# A known one with a value that is wrong stays an error.
	run -1 inside mount -s -t reservefs -o capacity=much "$REPO" "$MNT"
	[[ $output == *"capacity=much is not a size"* ]]
}

@test "fake: mount -f checks, mounts nothing, makes nothing, and ends with 0" {
	namespace
	run -0 inside mount -f -t reservefs "$REPO" "$MNT"
	equal "" "$output"
	equal 0 "$(mounts_on "$MNT")"
	equal "" "$(ls -A "$REPO")"
	equal "" "$(daemons)"
	run ! inside mount -f -t reservefs "$T/none" "$MNT"
	[[ $output == *"$T/none does not exist"* ]]
	run ! inside mount -f -t reservefs -o nonsense "$REPO" "$MNT"
	run ! inside mount -f -t reservefs "$REPO" "$T/none"
}

@test "mount -v and -n, and the helper's arguments in any order" {
	namespace
	inside mount -v -t reservefs "$REPO" "$MNT"
	unmounted "$MNT"
	inside mount -n -t reservefs "$REPO" "$MNT"
	unmounted "$MNT"
	local options=repo=quota,capacity=1G arguments
	for arguments in "$REPO $MNT -o $options" "$REPO $MNT -sn -v -o $options" "-o $options $REPO $MNT" "-v $REPO -o repo=quota $MNT -n -o capacity=1G" \
		"$REPO $MNT -s -n -v -t fuse.reservefs -o rw,$options" "-n -- $REPO $MNT"; do
		# shellcheck disable=SC2086
		inside /sbin/mount.reservefs $arguments
		inside cat "$MNT/capacity"
		unmounted "$MNT"
	done
}

@test "it needs no environment at all" {
	namespace
	inside env -i /sbin/mount.reservefs "$REPO" "$MNT" -o repo=quota,capacity=1G
	equal 1073741824 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
	inside env -i "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
	equal 1073741824 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
}

@test "config=FILE holds the same options; what stands in fstab comes first" {
	namespace
	cat >"$T/pool.conf" <<-END
		# a pool
		repo=quota
		  capacity = 10G
	END
	run ! inside mount -t reservefs -o "config=$T/pool.conf" "$REPO" "$MNT"
	[[ $output == *"$T/pool.conf:3"* ]]
	cat >"$T/pool.conf" <<-END
		# a pool

		repo=quota
		  capacity=10G
		pool=from a file, with a comma
		noexec
	END
	echo "$REPO $MNT reservefs config=$T/pool.conf 0 0" >"$T/fstab"
	inside mount -a
	equal 10737418240 "$(inside cat "$MNT/capacity")"
	inside grep -qF 'pool="from a file, with a comma"' "$MNT/metrics"
	inside awk -v on="$MNT" '$5 == on { print $6 }' /proc/self/mountinfo | grep -F noexec
	unmounted "$MNT"
	inside mount -t reservefs -o "capacity=20G,config=$T/pool.conf" "$REPO" "$MNT"
	equal 21474836480 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
	echo nonsense >>"$T/pool.conf"
	run ! inside mount -a
	[[ $output == *"unknown option 'nonsense', $T/pool.conf:7"* ]]
	run ! inside mount -t reservefs -o "config=$T/none" "$REPO" "$MNT"
	[[ $output == *"cannot read the config file $T/none: No such file or directory"* ]]
}

@test "relative paths: REPO, MOUNTPOINT, the Datastore and the config" {
	namespace
	echo repo=quota >"$T/pool.conf"
	inside mount -t reservefs -o datastore=state.db,config=pool.conf,capacity=1G repo mnt
	[ -s "$T/state.db" ]
	equal 1073741824 "$(inside cat "$MNT/capacity")"
	unmounted "$MNT"
}

@test "what a crashed daemon left is mounted again by mount -a" {
	namespace
	echo "$REPO $MNT reservefs repo=quota,capacity=10G 0 0" >"$T/fstab"
	inside mount -a
	inside mkdir "$MNT/reservations/c1"
	inside sh -c 'echo 4G >"$0/reservations/c1/size"' "$MNT"
	kill -KILL "$(daemons)"
	eventually served_no_more
	run ! inside cat "$MNT/available"
	# To mount(8) it is still mounted; by name it is mounted again.
	inside mount "$MNT" || inside mount -t reservefs -o repo=quota,capacity=10G "$REPO" "$MNT"
	equal 4294967296 "$(inside cat "$MNT/reserved")"
	equal 1 "$(mounts_on "$MNT")"
	unmounted "$MNT"
}

@test "a mount point that is taken, and a Repo that is served, are refused with the status of a failed mount" {
	namespace
	mkdir "$T/mnt2" "$T/repo2"
	inside mount -t reservefs "$REPO" "$MNT"
	run ! inside mount -t reservefs "$REPO" "$T/mnt2"
	[[ $output == *"is already served by pid "* ]]
	run -32 inside mount -t reservefs -o repo=quota,capacity=1G "$T/repo2" "$MNT"
	equal 1 "$(mounts_on "$MNT")"
	unmounted "$MNT"
}

@test "the daemon is called reservefs, whatever started it" {
	namespace
	inside mount -t reservefs "$REPO" "$MNT"
	equal reservefs "$(cat "/proc/$(daemons)/comm")"
	unmounted "$MNT"
}

@test "remount is refused by name, and the mount stays" {
	namespace
	inside mount -t reservefs "$REPO" "$MNT"
	run ! inside mount -o remount,ro "$MNT"
	[[ $output == *remount* ]]
	inside mkdir "$MNT/reservations/c1"
	unmounted "$MNT"
}

@test "a user mounts what fstab allows with user, and unmounts it again" {
	needs fusermount3
	namespace
	[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-id here"
	chown "$NOBODY:$NOBODY" "$REPO" "$MNT"
	# The build directory may be closed to other users.
	ln "$RESERVEFS" "$T/command" 2>/dev/null || install -m 755 "$RESERVEFS" "$T/command"
	echo "$REPO $MNT reservefs repo=quota,capacity=10G,noauto,user 0 0" >"$T/fstab"
	inside_as_nobody mount "$MNT"
	inside_as_nobody mkdir "$MNT/reservations/c1"
	equal "$NOBODY" "$(inside_as_nobody stat -c %u "$MNT/reservations/c1")"
	inside awk -v on="$MNT" '$5 == on { print $6 }' /proc/self/mountinfo | grep -F nosuid | grep -F nodev
	inside_as_nobody umount "$MNT"
	equal "" "$(daemons)"
	# And what is his own, without fstab; with -l, and by the name of the helper.
	local how
	for how in "umount $MNT" "umount -l mnt" "/sbin/umount.reservefs $MNT"; do
		inside_as_nobody "$T/command" -o repo=quota,capacity=10G "$REPO" "$MNT"
		# shellcheck disable=SC2086
		inside_as_nobody $how
		equal "$how:" "$how:$(daemons)"
	done
	equal 0 "$(mounts_on "$MNT")"
}

@test "umount -l and umount -f end the daemon too" {
	namespace
	local how
	for how in -l -f; do
		inside mount -t reservefs "$REPO" "$MNT"
		inside umount "$how" "$MNT"
		eventually served_no_more
		equal 0 "$(mounts_on "$MNT")"
	done
}

@test "umount returns when the daemon has ended, so that its disk can be unmounted next" {
	needs mkfs.ext4
	namespace
	truncate -s 32M "$T/disk.img"
	mkfs.ext4 -qF "$T/disk.img"
	mkdir "$T/disk"
	run -0 inside bash -euc '
		for i in {1..50}; do
			mount -o loop "$T/disk.img" "$T/disk"
			mount -t reservefs "$T/disk" "$MNT"
			[ -d "$MNT/reservations/c1" ] || mkdir "$MNT/reservations/c1"
			echo "$i" >"$MNT/reservations/c1/size"
			umount "$MNT"
			umount "$T/disk"
		done'
	equal "" "$output"
}

@test "it does so however it is told which mount, and leaves nothing behind" {
	# Not the root of a file system, which umount would take its path for.
	REPO=$T/directory
	mkdir "$REPO"
	namespace
	local how options=repo=quota,capacity=1G
	for how in "$MNT" mnt "-v $MNT" "-f $MNT" "-l $MNT" "-r $MNT" "-R $MNT" "-n $MNT" "-a -t fuse.reservefs" "-c $MNT"; do
		inside mount -t reservefs -o $options "$REPO" "$MNT"
		inside mkdir "$MNT/reservations/c1"
		# shellcheck disable=SC2086
		inside umount $how
		equal "$how:" "$how:$(daemons)"
		equal "0 0" "$(mounts_on "$MNT") $(grep -cF "$MNT" /run/mount/utab || :)"
		inside mount -t reservefs -o $options "$REPO" "$MNT"
		inside rmdir "$MNT/reservations/c1"
		inside umount "$MNT"
	done
	# By the source, which umount takes for one where it is not the path of a directory.
	inside /sbin/mount.reservefs -o $options directory mnt
	inside umount directory
	equal "0:" "$(mounts_on "$MNT"):$(daemons)"
	# Called by name, where the command mounted it.
	for how in "$MNT" "-- $MNT" "$MNT -n -v -t fuse.reservefs" "-lf $MNT" "-t reservefs mnt"; do
		inside "$RESERVEFS" -o $options "$REPO" "$MNT"
		# shellcheck disable=SC2086
		inside /sbin/umount.reservefs $how
		equal "$how:" "$how:$(daemons)"
	done
	# From another namespace.
	inside "$RESERVEFS" -o $options "$REPO" "$MNT"
	for how in "$HOLDER" "/proc/$HOLDER/ns/mnt"; do
		[ "$(mounts_on "$MNT")" -eq 1 ] || inside "$RESERVEFS" -o $options "$REPO" "$MNT"
		run -0 bash -c 'exec -a umount.reservefs "$RESERVEFS" "$MNT" -N "$1"' - "$how"
		equal ":0" "$(daemons):$(mounts_on "$MNT")"
	done
}

@test "what else umount is told about a tree: busy, not mounted, another type, wrong arguments" {
	namespace
	inside mount -t reservefs "$REPO" "$MNT"
	inside bash -c 'cd "$MNT" && echo $$ >"$T/user" && exec sleep infinity' 3>&- &
	eventually test -s "$T/user"
	run -32 inside umount "$MNT"
	[[ $output == *"umount.reservefs: $MNT is busy; "* ]]
	equal 1 "$(mounts_on "$MNT")"
	# Read-only instead.
	inside umount -r "$MNT"
	run ! inside mkdir "$MNT/reservations/c1"
	[[ $output == *"Read-only file system"* ]]
	# Lazily: who still uses it is not waited for, and its daemon goes on for that one.
	local began=$SECONDS
	inside umount -l "$MNT"
	((SECONDS - began < 5))
	[ -n "$(daemons)" ]
	kill "$(cat "$T/user")"
	eventually served_no_more
	run -32 inside umount "$MNT"
	run -32 inside /sbin/umount.reservefs "$MNT"
	[[ $output == "umount.reservefs: nothing is mounted on $MNT; "* ]]
	run -32 inside /sbin/umount.reservefs /proc
	[[ $output == *"the type proc is mounted on /proc; use umount(8)"* ]]
	local wrong
	for wrong in "" "-x $MNT" "$MNT more" "-t ext4 $MNT" "-N" "-t"; do
		# shellcheck disable=SC2086
		run -1 inside /sbin/umount.reservefs $wrong
		[[ $output == "umount.reservefs: "*"; "* ]]
	done
	run -0 inside /sbin/umount.reservefs --help
	equal "" "$(awk 'length > 80' <<<"$output")"
	run -0 inside /sbin/umount.reservefs -V
	[[ $output == "umount.reservefs "* ]]
}

@test "a mount that is there twice is not waited for: bound elsewhere, or in another namespace" {
	namespace
	inside mount -t reservefs "$REPO" "$MNT"
	mkdir "$T/again"
	inside mount --bind "$MNT" "$T/again"
	local began=$SECONDS
	inside umount "$T/again"
	((SECONDS - began < 5))
	inside cat "$MNT/available"
	inside mount --bind "$MNT" "$T/again"
	inside umount "$MNT"
	inside cat "$T/again/available"
	inside umount "$T/again"
	equal "" "$(daemons)"
	# A container that has a copy.
	inside mount -t reservefs "$REPO" "$MNT"
	inside unshare -m bash -c 'echo $$ >"$T/there"; exec sleep infinity' 3>&- &
	eventually test -s "$T/there"
	local pid
	pid=$(daemons)
	run -0 inside umount -v "$MNT"
	[[ $output == *"the daemon of $MNT goes on, because pid "*"in another mount namespace"* ]]
	[ -n "$pid" ]
	kill "$(cat "$T/there")"
	eventually served_no_more
}

@test "a dead tree is unmounted like any other" {
	namespace
	local how
	for how in "$MNT" mnt "-l $MNT"; do
		inside mount -t reservefs "$REPO" "$MNT"
		kill -KILL "$(daemons)"
		eventually served_no_more
		# shellcheck disable=SC2086
		inside umount $how
		equal "0 0" "$(mounts_on "$MNT") $(grep -cF "$MNT" /run/mount/utab || :)"
	done
}

@test "a daemon that hangs does not hang umount for ever" {
	loop_fs ext4 32M
	REPO=$T/disk
	namespace
	inside mount -t reservefs "$REPO" "$MNT"
	local pid
	pid=$(daemons)
	# It cannot store what it has to store at its end.
	freeze "$T/disk"
	inside mkdir "$MNT/reservations/c1"
	run -2 inside timeout 60 umount "$MNT"
	[[ $output == *"umount.reservefs: $MNT is unmounted, but its daemon, pid $pid, has not ended within 30 seconds; "*"kill -KILL $pid"* ]]
	equal 0 "$(mounts_on "$MNT")"
	run ! inside umount "$T/disk"
	thaw "$T/disk"
	eventually served_no_more
}

@test "where no pidfd is to be had the daemon's end is waited for all the same" {
	namespace
	local error
	for error in EPERM ENOSYS; do
		inside mount -t reservefs "$REPO" "$MNT"
		inside "$HELPERS/refuse" $error pidfd_open,statx,close_range,clone3 umount "$MNT"
		equal "" "$(daemons)"
	done
}

# for_nobody: the command where other users may run it, and a Repo of nobody's.
for_nobody() {
	needs mount.fuse3
	mkdir "$T/bin"
	install -m 755 "$RESERVEFS" "$T/bin/reservefs"
	RESERVEFS=$T/bin/reservefs
	NAME=$(id -un "$NOBODY")
	chown "$NOBODY:$NOBODY" "$REPO"
	namespace
}

# Each thread of the daemon is nobody's, with nothing that it may do beyond that.
has_no_privileges() {
	local pid
	pid=$(daemons)
	equal "$NOBODY" "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$pid"/task/*/status | sort -u)"
	equal 0000000000000000 "$(sed -n 's/^Cap[A-Z][a-z]*:\t//p' "/proc/$pid"/task/*/status | sort -u)"
}

used_by_nobody() {
	inside_as_nobody mkdir "$MNT/reservations/c1"
	inside_as_nobody sh -c 'echo 4G >"$0/reservations/c1/size"' "$MNT"
	equal 4294967296 "$(inside_as_nobody cat "$MNT/reserved")"
	inside_as_nobody rm -r "$MNT/reservations/c1"
}

@test "mount.fuse3 -o drop_privileges: it serves the descriptor that it is given, with no privileges at all" {
	for_nobody
	local options=drop_privileges,setuid=$NAME,repo=quota,capacity=10G
	run -0 inside env "PATH=$T/bin:$PATH" mount.fuse3 "reservefs#$REPO" "$MNT" -o "$options"
	equal "" "$output"
	has_no_privileges
	used_by_nobody
	# It knows where it is mounted, where the kernel shows it.
	local pid
	pid=$(daemons)
	if grep -q fuse_connection "/proc/$pid"/fdinfo/*; then
		equal "$pid $MNT" "$(paste -sd ' ' "$REPO/.reservefs/lock")"
	fi
	run -2 inside "$RESERVEFS" -o repo=quota,capacity=10G "$REPO" "$T"
	[[ $output == *"already served by pid $pid"* ]]
	inside umount mnt
	equal "0:" "$(mounts_on "$MNT"):$(daemons)"
	# It cannot unmount when it is told to end; it ends all the same, and the next one finds what it left.
	inside env "PATH=$T/bin:$PATH" mount.fuse3 "reservefs#$REPO" "$MNT" -o "$options"
	pid=$(daemons)
	kill -TERM "$pid"
	eventually served_no_more
	equal 1 "$(mounts_on "$MNT")"
	inside mount -t fuse.reservefs -o "$options" "$REPO" "$MNT"
	equal 1 "$(mounts_on "$MNT")"
	used_by_nobody
	inside umount "$MNT"
	equal "0:" "$(mounts_on "$MNT"):$(daemons)"
}

@test "mount -t reservefs -o drop_privileges leaves it to mount.fuse3, and leaves nothing where that fails" {
	for_nobody
	local type options=drop_privileges,setuid=$NAME,repo=quota,capacity=10G
	for type in reservefs fuse.reservefs; do
		run -0 inside mount -t $type -o "$options,nofail,noatime" "$REPO" "$MNT"
		equal "" "$output"
		equal "fuse.reservefs $REPO" "$(inside findmnt -rno FSTYPE,SOURCE -M "$MNT")"
		has_no_privileges
		used_by_nobody
		inside umount "$MNT"
		equal "0:" "$(mounts_on "$MNT"):$(daemons)"
	done
	echo "$REPO $MNT reservefs $options 0 0" >"$T/fstab"
	inside mount -a
	inside mount -a
	equal 1 "$(mounts_on "$MNT")"
	# A crash leaves a mount that root, too, is not let into.
	kill -KILL "$(daemons)"
	eventually served_no_more
	inside mount -t reservefs -o "$options" "$REPO" "$MNT"
	used_by_nobody
	inside umount "$MNT"
	equal "" "$(daemons)"
	run -1 inside mount -t reservefs -o "$options,capacity=much" "$REPO" "$MNT"
	[[ $output == "reservefs: capacity=much is not a size"* ]]
	equal 1 "$(wc -l <<<"$output")"
	equal "0 0" "$(mounts_on "$MNT") $(grep -cF "$MNT" /run/mount/utab || :)"
	chown 0:0 "$REPO"
	chmod 700 "$REPO"
	run -2 inside mount -t reservefs -o "$options" "$REPO" "$MNT"
	[[ $output == "reservefs: no permission to use REPO $REPO; "* ]]
	equal 0 "$(mounts_on "$MNT")"
}

@test "a tree on a descriptor has its permissions checked, whatever it was mounted with" {
	for_nobody
	inside env "PATH=$T/bin:$PATH" mount.fuse3 "reservefs#$REPO" "$MNT" -o "drop_privileges,setuid=$NAME,allow_other,repo=quota,capacity=10G"
	inside_as_nobody mkdir "$MNT/reservations/c1"
	inside_as_nobody sh -c 'echo 4G >"$0/reservations/c1/size"' "$MNT"
	local command
	for command in 'mkdir "$MNT/reservations/c2"' 'echo 5G >"$MNT/reservations/c1/size"' 'rmdir "$MNT/reservations/c1"' 'rm -r "$MNT/reservations/c1"' \
		'mv "$MNT/reservations/c1" "$MNT/reservations/c2"'; do
		run ! inside setpriv --reuid 1 --regid 1 --clear-groups sh -c "$command"
		[[ $output == *"ermission denied"* || $output == *"not permitted"* ]]
	done
	equal 4294967296 "$(inside setpriv --reuid 1 --regid 1 --clear-groups cat "$MNT/reservations/c1/size")"
	# Root may.
	inside sh -c 'echo 5G >"$MNT/reservations/c1/size"'
	equal 5368709120 "$(inside cat "$MNT/reserved")"
	inside umount mnt
	equal "" "$(daemons)"
}

@test "a descriptor that is none, and a REPO that the mount itself hides, are refused" {
	for_nobody
	local what
	for what in '' '7</dev/null' '7</dev/zero'; do
		run -1 inside bash -c "exec \"\$RESERVEFS\" -o repo=quota,capacity=1G \"\$REPO\" /dev/fd/7 $what"
		[[ $output == *"MOUNTPOINT /dev/fd/7 is not an open /dev/fuse; "* ]]
	done
	run -1 inside "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" /dev/fd/99999999999999999999
	run ! inside timeout 20 env "PATH=$T/bin:$PATH" mount.fuse3 "reservefs#$REPO" "$REPO" -o "drop_privileges,setuid=$NAME,repo=quota,capacity=1G"
	[[ $output == *"REPO $REPO, or the directory of its Datastore, does not answer: it is hidden by the mount itself"* ]]
	inside umount -i "$REPO"
	equal "" "$(daemons)"
	# Not for who is not mount(8)'s helper, nor in a file.
	run -1 inside "$RESERVEFS" -o drop_privileges,repo=quota,capacity=1G "$REPO" "$MNT"
	[[ $output == *"unknown option 'drop_privileges'"* ]]
	echo drop_privileges >"$T/pool.conf"
	run -1 inside mount -t reservefs -o "config=$T/pool.conf" "$REPO" "$MNT"
	[[ $output == *"unknown option 'drop_privileges', $T/pool.conf:1"* ]]
}
