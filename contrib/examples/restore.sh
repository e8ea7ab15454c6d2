#!/bin/sh
# SPDX-License-Identifier: MIT
# restore.sh BACKUP MOUNTPOINT: gives a mounted tree the contracts of a backup in text form, which was made with
#
#   rsync -a MOUNTPOINT/reservations/ BACKUP/
#
# Contracts that exist get the size they have in the backup; those that the backup doesn't have are left alone. Can be run
# again. Names what could not be restored, and exits with 1 then.
set -eu
if [ $# -ne 2 ] || [ ! -d "$1" ] || [ ! -d "$2/reservations" ]; then
	echo "usage: restore.sh BACKUP MOUNTPOINT" >&2
	exit 1
fi
backup=$1 mnt=$2

# One contract: the backup's value in one write, unless that is what it has.
restore() {
	from=$backup/$1/size to=$mnt/reservations/$1/size
	[ -d "$mnt/reservations/$1" ] || mkdir "$mnt/reservations/$1" 2>/dev/null || return 1
	cmp -s "$from" "$to" || { cat "$from" >"$to"; } 2>/dev/null
}

# Whoever shrinks makes room for those that grow, so what was refused is asked for once more.
refused() {
	for dir in "$backup"/*/; do
		name=$(basename "$dir"; echo .)
		name=${name%?.}
		[ ! -f "$dir/size" ] || restore "$name" || { [ "$1" = first ] || tell "$name"; left=yes; }
	done
}

tell() {
	echo "$1: $(sed 's/^[^ ]* pid [0-9]*: //' "$mnt/last_error")" >&2
}

left=''
refused first
[ -z "$left" ] || { left=''; refused again; }
[ -z "$left" ]
