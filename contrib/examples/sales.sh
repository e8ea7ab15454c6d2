#!/bin/sh
# SPDX-License-Identifier: MIT
# sales.sh MOUNTPOINT [AT_ONCE] <REQUESTS: sells the space of a mounted Repo.
#
# A request is a line "CONTRACT SIZE SECONDS". For each, up to AT_ONCE (8) at the same time: reserve the space or learn
# that there isn't room, run the contract for that long, end it. Prints a line for whatever happens:
#   CONTRACT agreed SIZE
#   CONTRACT refused WHY
#   CONTRACT ended
set -eu

# What one contract needs. The kernel and the file system do the rest: two writers can't both get the last byte.
sell() {
	mnt=$1 contract=$2 size=$3 seconds=$4
	dir=$mnt/reservations/$contract

	if ! mkdir "$dir" 2>/dev/null; then
		echo "$contract refused there is such a contract already, or the name is not allowed"
	elif echo "$size" 2>/dev/null >"$dir/size"; then
		echo "$contract agreed $size"
		sleep "$seconds"
		rmdir "$dir"
		echo "$contract ended"
	else
		# last_error is the last one of this user; the pid says whether it is ours.
		why=$(sed -n "s/^[^ ]* pid $$: //p" "$mnt/last_error")
		rmdir "$dir"
		echo "$contract refused ${why:-there is no room for $size}"
	fi
}

if [ "${1-}" = --sell ]; then
	shift
	sell "$@"
elif [ $# -ge 1 ] && [ $# -le 2 ]; then
	exec xargs -n 3 -P "${2:-8}" "$0" --sell "$1"
else
	echo "usage: sales.sh MOUNTPOINT [AT_ONCE] <REQUESTS" >&2
	exit 1
fi
