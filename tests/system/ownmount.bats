# shellcheck shell=bats disable=SC2016,SC2030,SC2031
# SPDX-License-Identifier: MIT
# ownmount.bats: a path is not a mount. When it ends, the daemon takes away the mount that it made, wherever that is by then
# and whatever lies on it, and no other one.

load lib.bash

# place KIND: a directory $A whose mount, and all that comes to be in it, is shared with other namespaces or private;
# with a Repo and, in a directory of its own, a mount point.
place() {
	A=$T/a
	mkdir -p "$A"
	mount --bind "$A" "$A"
	mount "--make-$1" "$A"
	REPO=$A/repo MNT=$A/in/mnt
	mkdir -p "$REPO" "$MNT"
}

serve() {
	start_daemon -o repo=quota,capacity=1G
	# What it says is looked at where the mounts of a test cannot hide it.
	ERR=$A/daemon.err
	mv "$MNT.err" "$ERR"
	mv "$MNT.out" "$A/daemon.out"
}

# other DIRECTORY [TEXT]: another file system, with a file in it.
other() {
	mount -t tmpfs other "$1"
	echo "${2:-other}" >"$1/file"
}

# told_to_end: it ends with 0, without a word of trouble.
told_to_end() {
	kill -TERM "$DAEMON"
	eventually gone "$DAEMON"
	ended_cleanly
	equal "" "$(grep -vE '^<[567]>' "$ERR" || :)"
}

ended_cleanly() {
	local status=0
	wait "$DAEMON" || status=$?
	DAEMON=''
	equal 0 "$status"
}

# How many trees are mounted beneath the test's directory, dead or alive.
trees() {
	grep -cE " $T/[^ ]* .* - fuse\.reservefs " /proc/self/mountinfo || :
}

@test "another file system on top of it stays, and what is beneath goes" {
	local kind
	for kind in private shared; do
		place $kind
		serve
		other "$MNT"
		told_to_end
		equal other "$(cat "$MNT/file")"
		equal 0 "$(trees)"
		umount "$MNT"
		equal "" "$(ls -A "$MNT")"
		umount "$A"
	done
}

@test "so do several, in their order, open files and all" {
	local kind
	for kind in private shared; do
		place $kind
		serve
		other "$MNT" one
		other "$MNT" two
		other "$MNT" three
		exec {open}>"$MNT/open"
		told_to_end
		equal three "$(cat "$MNT/file")"
		echo written >&"$open"
		equal written "$(cat "$MNT/open")"
		exec {open}>&-
		equal 0 "$(trees)"
		umount "$MNT"
		equal two "$(cat "$MNT/file")"
		umount "$MNT"
		equal one "$(cat "$MNT/file")"
		umount "$MNT"
		equal "" "$(ls -A "$MNT")"
		equal "datastore.db datastore.db-spare datastore.db-wal lock" "$(cd "$REPO/.reservefs" && echo *)"
		umount "$A"
	done
}

@test "what lies on it in another namespace stays there, too" {
	place shared
	serve
	unshare -m --propagation slave bash -c '
		mount -t tmpfs other "$MNT"
		echo far >"$MNT/file"
		touch "$T/ready"
		until [ -e "$T/look" ]; do read -rt 0.02 <> <(:) || :; done
		cat "$MNT/file" >"$T/seen"
		umount "$MNT"
		cat "$MNT/file" >>"$T/seen"
		umount "$MNT"
		ls -A "$MNT" >>"$T/seen" 2>&1' 3>&- &
	local far=$!
	eventually test -e "$T/ready"
	other "$MNT" near
	told_to_end
	touch "$T/look"
	wait "$far"
	# What is mounted here shows there, beneath what was there before.
	equal "far near" "$(paste -sd ' ' "$T/seen")"
	equal near "$(cat "$MNT/file")"
	equal 0 "$(trees)"
	umount "$MNT"
	umount "$A"
}

@test "a second tree on the same path: each daemon takes away its own" {
	local order
	for order in "first second" "second first"; do
		place private
		serve
		local first=$DAEMON second
		mkdir -p "$A/repo2"
		"$RESERVEFS" -o repo=quota,capacity=2G,nonempty "$A/repo2" "$MNT"
		second=$(head -n 1 "$A/repo2/.reservefs/lock")
		equal 2147483648 "$(cat "$MNT/capacity")"
		equal 2 "$(trees)"
		if [ "$order" = "first second" ]; then
			told_to_end
			equal 2147483648 "$(cat "$MNT/capacity")"
			equal 1 "$(trees)"
			kill -TERM "$second"
			eventually gone "$second"
		else
			kill -TERM "$second"
			eventually gone "$second"
			equal 1073741824 "$(cat "$MNT/capacity")"
			equal 1 "$(trees)"
			DAEMON=$first
			told_to_end
		fi
		equal 0 "$(trees)"
		umount "$A"
	done
}

@test "a directory above it that is mounted over" {
	local kind
	for kind in private shared; do
		place $kind
		serve
		other "$A/in"
		mkdir "$A/in/mnt"
		other "$A/in/mnt" hiding
		told_to_end
		equal hiding "$(cat "$A/in/mnt/file")"
		equal other "$(cat "$A/in/file")"
		equal 0 "$(trees)"
		umount "$A/in/mnt" "$A/in"
		equal "" "$(ls -A "$MNT")"
		umount "$A"
	done
}

@test "a directory above it that has another name now, and another file system where it was" {
	place private
	serve
	mv "$A/in" "$A/elsewhere"
	mkdir -p "$MNT"
	other "$MNT"
	told_to_end
	equal other "$(cat "$MNT/file")"
	equal 0 "$(trees)"
	equal "" "$(ls -A "$A/elsewhere/mnt")"
	umount "$MNT"
	umount "$A"
}

@test "it was moved, and another file system mounted where it was; moved, and covered" {
	place private
	serve
	mkdir "$A/new"
	mount --move "$MNT" "$A/new"
	other "$MNT"
	told_to_end
	equal other "$(cat "$MNT/file")"
	equal 0 "$(trees)"
	equal "" "$(ls -A "$A/new")"
	umount "$MNT"
	serve
	mount --move "$MNT" "$A/new"
	other "$A/new" covering
	told_to_end
	equal covering "$(cat "$A/new/file")"
	equal 0 "$(trees)"
	umount "$A/new"
	equal "" "$(ls -A "$A/new")"
	umount "$A"
}

@test "what others have mounted in it stays with it, and the log says what to do" {
	place private
	serve
	contract c1
	other "$MNT/reservations/c1"
	kill -TERM "$DAEMON"
	eventually gone "$DAEMON"
	ended_cleanly
	grep -F "the tree stays mounted on $MNT, without a daemon, because $MNT/reservations/c1 is mounted in it; unmount that one and then this one" "$ERR"
	equal other "$(cat "$MNT/reservations/c1/file")"
	# The next start does not take it away either.
	run -32 --separate-stderr "$RESERVEFS" -o repo=quota,capacity=1G "$REPO" "$MNT"
	[[ ${stderr-} == *"another file system is mounted in it"* ]]
	equal other "$(cat "$MNT/reservations/c1/file")"
	umount "$MNT/reservations/c1"
	serve
	equal 1 "$(trees)"
	told_to_end
	umount "$A"
}

@test "where the kernel has no way it is left, ends cleanly, and the next start finds it" {
	place private
	serve
	# A shared mount on a private one: nothing can be moved off it, and nobody else is told of it.
	mount --make-shared "$MNT"
	other "$MNT"
	kill -TERM "$DAEMON"
	eventually gone "$DAEMON"
	ended_cleanly
	grep -F "the tree stays mounted on $MNT, without a daemon, beneath another mount (tmpfs)" "$ERR"
	equal other "$(cat "$MNT/file")"
	equal 1 "$(trees)"
	umount "$MNT"
	run ! cat "$MNT/available"
	serve
	equal 1 "$(trees)"
	told_to_end
	equal 0 "$(trees)"
	umount "$A"
}

@test "an aborted connection leaves no mount, and takes no other" {
	place private
	serve
	local connection connections=/sys/fs/fuse/connections
	connection=$(stat -c %d "$MNT")
	if ! [ -e "$connections/$connection" ]; then
		connections=$T/connections
		mkdir "$connections"
		mount -t fusectl fusectl "$connections" || skip "there is no fusectl"
	fi
	echo 1 >"$connections/$connection/abort"
	eventually gone "$DAEMON"
	local status=0
	wait "$DAEMON" || status=$?
	DAEMON=''
	# Nobody has asked for that end.
	equal 2 "$status"
	grep -q 'was aborted, not unmounted' "$ERR"
	equal 0 "$(trees)"
	umount "$A"
}

@test "umount -f is an end that was asked for" {
	place private
	serve
	umount -f "$MNT"
	eventually gone "$DAEMON"
	wait "$DAEMON"
	DAEMON=''
	equal 0 "$(trees)"
	umount "$A"
}

@test "clients never see a dead mount when it ends" {
	place private
	local client
	for _ in {1..20}; do
		serve
		rm -f "$T/looking"
		# Whoever looks sees the tree or the directory beneath it. What was asked and not yet answered comes to nothing.
		"$PYTHON" - "$MNT" "$T/looking" <<-'END' 3>&- &
			import errno, os, sys
			mnt, looking = sys.argv[1:]
			beneath = os.stat(mnt + "/..").st_dev
			open(looking, "w").close()
			while True:
			    try:
			        os.statvfs(mnt)
			        if os.stat(mnt).st_dev == beneath:
			            break
			    except OSError as e:
			        if e.errno != errno.ECONNABORTED:
			            sys.exit(f"seen: {e}")
		END
		client=$!
		eventually test -e "$T/looking"
		told_to_end
		wait "$client"
	done
	umount "$A"
}
