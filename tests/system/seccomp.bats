# shellcheck shell=bats disable=SC2030,SC2031
# SPDX-License-Identifier: MIT
# seccomp.bats: a profile that has not heard of a system call refuses it, with EPERM or ENOSYS. Where there is an older call for the
# same, everything works all the same.

load lib.bash

# works_without ERRNO CALLS: from an empty Repo, in the background and in the foreground, ended by umount and by a signal.
works_without() {
	local how pid
	for how in background foreground; do
		rm -rf "$REPO/.reservefs"
		if [ $how = background ]; then
			run -0 "$HELPERS/refuse" "$1" "$2" "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT" 3>&-
			equal "" "$output"
			pid=$(head -n 1 "$REPO/.reservefs/lock")
		else
			"$HELPERS/refuse" "$1" "$2" "$RESERVEFS" -f -o repo=quota,capacity=1G "$REPO" "$MNT" </dev/null >"$MNT.out" 2>"$MNT.err" 3>&- &
			DAEMON=$!
			eventually daemon_answers_or_ended
		fi
		contract c1 1M
		size_is 1048576 c1
		contract c2
		mv "$MNT/reservations/c2" "$MNT/reservations/c3"
		rm -r "$MNT/reservations/c1" "$MNT/reservations/c3"
		figure_is reserved 0
		if [ $how = background ]; then
			umount "$MNT"
			eventually gone "$pid"
		else
			kill -TERM "$DAEMON"
			daemon_ends 0
			run ! mountpoint -q "$MNT"
		fi
	done
}

@test "one refused call at a time, with EPERM" {
	local call
	for call in clone3 close_range memfd_create; do
		works_without EPERM $call
	done
}

@test "one refused call at a time, with ENOSYS" {
	local call
	for call in clone3 close_range fallocate memfd_create renameat2 statx; do
		works_without ENOSYS $call
	done
}

@test "all of them together" {
	works_without ENOSYS clone3,close_range,fallocate,memfd_create,move_mount,name_to_handle_at,open_tree,openat2,pidfd_open,renameat2,statx
	works_without EPERM clone3,close_range,memfd_create,move_mount,name_to_handle_at,open_tree,openat2,pidfd_open
}

@test "where no thread can be started at all, that is what is said" {
	needs strace
	# What strace injects no filter can change.
	run strace -f -o /dev/null -e trace=clone3 -e inject=clone3:error=EPERM "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
	equal 2 "$status"
	equal "reservefs: no thread can be started, because a seccomp profile refuses clone3 with EPERM; let it allow clone3, or refuse it with ENOSYS" "$output"
	run ! mountpoint -q "$MNT"
}
