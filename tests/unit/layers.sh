#!/bin/sh
# SPDX-License-Identifier: MIT
# layers.sh NAME=LIBRARY...: shows that SQLite is called by datastore alone, and libfuse by fs and cli alone. The
# linker can't tell: reservations is linked with datastore, which brings SQLite with it.
set -eu

echo "1..$#"
number=0
failed=0
for argument; do
	number=$((number + 1))
	name=${argument%%=*}
	library=${argument#*=}
	case $name in
	datastore) forbidden='fuse_' ;;
	fs | cli) forbidden='sqlite3_' ;;
	*) forbidden='fuse_|sqlite3_' ;;
	esac
	symbols=$(nm -u "$library")
	calls=$(printf '%s\n' "$symbols" | grep -E " U ($forbidden)" || true)
	if [ -n "$calls" ]; then
		printf '%s\n' "$calls" | sed 's/^ */# /'
		echo "not ok $number - $name calls what it may not"
		failed=1
	elif printf '%s\n' "$symbols" | grep -q ' U '; then
		echo "ok $number - $name calls only what it may"
	else
		echo "not ok $number - $name: no symbols found"
		failed=1
	fi
done
exit "$failed"
