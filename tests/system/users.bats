# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# users.bats: who may do what, and who sees which last_error. Acts as a second real user, nobody.

load lib.bash

# To mount, a user must be able to open /dev/fuse. Stock systems let everybody; where this one does not, it is let for the
# time of the test.
open_dev_fuse() {
	DEV_FUSE_MODE=$(stat -c %a /dev/fuse)
	[ "$DEV_FUSE_MODE" = 666 ] || echo "# /dev/fuse had mode $DEV_FUSE_MODE and has 666 for this test" >&3
	chmod 666 /dev/fuse
}

also_teardown() {
	[ -z "${DEV_FUSE_MODE:-}" ] || chmod "$DEV_FUSE_MODE" /dev/fuse
}

@test "without allow_other a second user sees nothing" {
	mount_quota 10G
	contract c1 7
	run ! as_nobody cat "$MNT/available"
	[[ $output == *"Permission denied"* ]]
	run ! as_nobody ls "$MNT"
}

@test "with allow_other a second user can read everything and change nothing" {
	mount_quota 10G -o allow_other
	contract c1 7
	equal 10737418233 "$(as_nobody cat "$MNT/available")"
	equal 7 "$(as_nobody cat "$MNT/reservations/c1/size")"
	equal c1 "$(as_nobody ls "$MNT/reservations")"
	as_nobody df "$MNT" >"$T/df.out"
	as_nobody "$PYTHON" - "$MNT" <<-'END'
		import errno, os, sys
		mnt = sys.argv[1]
		c1, size = f"{mnt}/reservations/c1", f"{mnt}/reservations/c1/size"
		for call, *args in [
		    (os.open, size, os.O_WRONLY), (os.open, size, os.O_RDWR), (os.open, size, os.O_WRONLY | os.O_TRUNC), (os.truncate, size, 0),
		    (os.unlink, size), (os.rmdir, c1), (os.mkdir, f"{mnt}/reservations/c2"), (os.rename, c1, f"{mnt}/reservations/c2"),
		    (os.open, f"{mnt}/available", os.O_WRONLY), (os.mkdir, f"{mnt}/new"), (os.unlink, f"{mnt}/available"),
		    (os.chmod, size, 0o777), (os.chown, size, os.getuid(), -1), (os.utime, size, (0, 0)),
		]:
		    try:
		        call(*args)
		        sys.exit(f"{call.__name__}{args} succeeded")
		    except OSError as e:
		        assert e.errno in (errno.EACCES, errno.EPERM), (call, args, e)
	END
	size_is 7 c1
	equal c1 "$(contracts)"
}

@test "default_permissions is always on" {
	mount_quota 10G -o allow_other
	[[ $(findmnt -rno OPTIONS "$MNT") == *default_permissions* ]]
	[[ $(findmnt -rno FSTYPE "$MNT") == fuse.reservefs ]]
}

@test "the owner given by uid= may change the tree, and root may too" {
	mount_quota 10G -o "allow_other,uid=$NOBODY,gid=$NOBODY"
	as_nobody mkdir "$MNT/reservations/c1"
	as_nobody sh -c "echo 3G >'$MNT/reservations/c1/size'"
	size_is 3221225472 c1
	equal "$NOBODY" "$(stat -c %u "$MNT/reservations/c1/size")"
	echo 4G >"$MNT/reservations/c1/size"
	size_is 4294967296 c1
	as_nobody rm -r "$MNT/reservations/c1"
	figure_is reservations 0
}

@test "last_error shows each user id its own failure only" {
	mount_quota 5G -o "allow_other,uid=$NOBODY"
	contract c1
	run ! as_nobody sh -c "echo 6G >'$MNT/reservations/c1/size'"
	equal "" "$(cat "$MNT/last_error")"
	equal 0 "$(stat -c %s "$MNT/last_error")"
	[[ $(as_nobody cat "$MNT/last_error") == *": reservations/c1/size: cannot reserve 6442450944 bytes: 5368709120 are available; write at most 5368709120" ]]
	run ! sh -c "echo 7G >'$MNT/reservations/c1/size'"
	[[ $(cat "$MNT/last_error") == *"cannot reserve 7516192768 bytes"* ]]
	[[ $(as_nobody cat "$MNT/last_error") == *"cannot reserve 6442450944 bytes"* ]]
	equal "" "$(setpriv --reuid 1 --regid 1 --clear-groups cat "$MNT/last_error")"
	equal 0 "$(setpriv --reuid 1 --regid 1 --clear-groups stat -c %s "$MNT/last_error")"
	# the length is each reader's own, whoever looked before
	equal "$(as_nobody cat "$MNT/last_error" | wc -c)" "$(as_nobody stat -c %s "$MNT/last_error")"
	equal "$(wc -c <"$MNT/last_error")" "$(stat -c %s "$MNT/last_error")"
}

@test "a user who is not root mounts, uses and unmounts a tree of his own" {
	needs fusermount3
	[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-id"
	open_dev_fuse
	# the build directory may be closed to other users
	install -m 755 "$RESERVEFS" "$T/reservefs"
	mkdir "$T/own" "$T/own/repo" "$T/own/mnt"
	chown -R "$NOBODY:$NOBODY" "$T/own"
	local tree=$T/own/mnt
	run -0 --separate-stderr as_nobody "$T/reservefs" -o repo=quota,capacity=5G "$T/own/repo" "$tree"
	# shellcheck disable=SC2154 # bats sets it
	equal "|" "$output|$stderr"
	equal 5368709120 "$(as_nobody cat "$tree/available")"
	as_nobody mkdir "$tree/reservations/c1"
	as_nobody sh -c "echo 2G >'$tree/reservations/c1/size'"
	run ! as_nobody sh -c "echo 6G >'$tree/reservations/c1/size'"
	[[ $(as_nobody cat "$tree/last_error") == *"write at most 5368709120" ]]
	equal "$NOBODY:$NOBODY" "$(as_nobody stat -c %u:%g "$tree/reservations/c1/size")"
	local pid
	pid=$(daemons_of "$tree")
	equal "$NOBODY" "$(ps -o uid= -p "$pid" | tr -d ' ')"
	as_nobody fusermount3 -u "$tree"
	eventually gone "$pid"
	as_nobody "$T/reservefs" -o repo=quota,capacity=5G "$T/own/repo" "$tree"
	equal 2147483648 "$(as_nobody cat "$tree/reservations/c1/size")"
	pid=$(daemons_of "$tree")
	# also when it was killed
	kill -KILL "$pid"
	eventually gone "$pid"
	as_nobody "$T/reservefs" -o repo=quota,capacity=5G "$T/own/repo" "$tree"
	equal 2147483648 "$(as_nobody cat "$tree/reservations/c1/size")"
	pid=$(daemons_of "$tree")
	as_nobody fusermount3 -u "$tree"
	eventually gone "$pid"
}
