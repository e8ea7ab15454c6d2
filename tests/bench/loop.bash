#!/bin/bash
# SPDX-License-Identifier: MIT
# loop.bash SECONDS WHAT TARGET NUMBER: does one thing over and over as a shell script would, and prints how often and for
# how many microseconds. TARGET is a mounted tree, or for `shell` a directory with an SQLite file.
set -eu

seconds=$1 what=$2 target=$3 number=$4
contract=$target/reservations/bash-$number
value=0
turns=0

# The script that people write first: one lock for all, one sqlite3 a change.
resize_with_sqlite3() {
	flock "$target/lock" sqlite3 "$target/shell.db" "
		PRAGMA synchronous=FULL;
		BEGIN IMMEDIATE;
		UPDATE pool SET reserved = reserved + $value - (SELECT size FROM contract WHERE name = 'bash-$number')
			WHERE reserved + $value - (SELECT size FROM contract WHERE name = 'bash-$number') <= capacity;
		UPDATE contract SET size = $value WHERE name = 'bash-$number' AND changes() = 1;
		COMMIT;"
}

once() {
	case $what in
	read) read -r value < "$target/available" ;;
	cat) cat "$target/available" > /dev/null ;;
	stat) stat "$target/available" > /dev/null ;;
	ls) ls -U "$target/reservations" > /dev/null ;;
	df) df "$target" > /dev/null ;;
	echo) echo "$value" > "$contract/size" ;;
	cycle)
		mkdir "$contract-$turns"
		echo "$value" > "$contract-$turns/size"
		rm -r "$contract-$turns"
		;;
	shell) resize_with_sqlite3 ;;
	esac
}

if [[ $what == echo ]]; then
	mkdir -p "$contract"
fi
start=${EPOCHREALTIME/[.,]/}
until=$((start + ${seconds%.*} * 1000000))
now=$start
while ((now < until)); do
	value=$((4096 + turns % 2))
	once
	turns=$((turns + 1))
	now=${EPOCHREALTIME/[.,]/}
done
echo "$turns $((now - start))"
