# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# tree.bats: histories of five clients on a mounted tree that is too small for what they want.

load ../system/lib.bash

@test "2000 histories on a mounted tree are linearizable" {
	mount_quota 10
	"$LINEARIZE" tree "$MNT" 10 2000
}

@test "500 histories on a mounted tree whose commits wait for a disk are linearizable" {
	loop_fs ext4 64M
	REPO=$T/disk mount_quota 10
	"$LINEARIZE" tree "$MNT" 10 500 2
}
