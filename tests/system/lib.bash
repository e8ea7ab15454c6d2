# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# lib.bash: what the system tests share. A test owns a directory ($T) with a Repo ($REPO), a mount point ($MNT) and
# a daemon ($DAEMON, a child of the test), waits for conditions with a deadline, and when it ends the daemon must
# end with status 0 and must have had nothing to warn of.
#
# The command is taken from $RESERVEFS, the compiled helpers from $HELPERS; both default to a build directory in
# the source tree.

bats_require_minimum_version 1.5.0

SYSTEM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${RESERVEFS:-}" ]; then
	for RESERVEFS in "$SYSTEM"/../../build*/src/cli/reservefs; do
		[ ! -x "$RESERVEFS" ] || break
	done
fi
RESERVEFS=$(realpath -m -- "$RESERVEFS")
HELPERS=${HELPERS:-$(dirname "$RESERVEFS")/../../tests/system}
# Writes Datastores of any size; the benchmark's.
GENERATE=${GENERATE:-$HELPERS/../bench/bench-generate}
# Debian's own Python rather than one that a version manager puts in front of it.
PYTHON=/usr/bin/python3
[ -x $PYTHON ] || PYTHON=python3
export RESERVEFS HELPERS GENERATE PYTHON PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
# A test that hangs is a failed test, not a hung suite.
export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-120}
# How long a condition may take to come true, in seconds.
DEADLINE=${DEADLINE:-20}
# How a shell shows the limits that tests use.
BYTES_MAX=9223372036854775807
NOBODY=65534
export BYTES_MAX NOBODY

setup() {
	[ "$EUID" -eq 0 ] || skip "mounting needs root"
	# Not in bats' own directory: that is closed to the other users that some tests act as.
	T=$(mktemp -d "${TMPDIR:-/tmp}/reservefs-test.XXXXXX")
	chmod 755 "$T"
	REPO=$T/repo MNT=$T/mnt DAEMON='' FROZEN=''
	ATTACHED=() MOUNT_OPTIONS=()
	mkdir "$REPO" "$MNT"
	export T REPO MNT
	also_setup
}

# A file of tests with something of its own to prepare, or to undo, defines them again.
also_setup() {
	:
}

also_teardown() {
	:
}

teardown() {
	local failed=0 left
	[ -n "${T:-}" ] || return 0
	[ -z "$FROZEN" ] || thaw "$FROZEN"
	also_teardown
	for left in "${ATTACHED[@]}"; do
		kill -KILL "$left" 2>/dev/null || :
	done
	if [ -n "$DAEMON" ]; then
		stop_daemon || failed=1
	fi
	if ((failed)) || [ -z "${BATS_TEST_COMPLETED:-}" ]; then
		tail -n 20 "$T"/*.err 2>/dev/null || :
	fi
	while read -r left; do
		umount "$left" 2>/dev/null || umount -l "$left" || failed=1
	done < <(findmnt -rno TARGET | grep -F "$T/" | tac)
	for left in $(daemons_of "$T/"); do
		kill -KILL "$left" 2>/dev/null || :
	done
	forget_mounts
	rm -rf --one-file-system "$T" || failed=1
	return $failed
}

# What mount(8) was asked to remember, of mounts that nobody unmounted properly, or in a namespace that is gone.
forget_mounts() {
	local left
	while read -r left; do
		umount -i -c --fake "$left" 2>/dev/null || :
	done < <(sed -n 's/.* TARGET=\([^ ]*\) .*/\1/p' /run/mount/utab 2>/dev/null | grep -F "$T/")
}

# --- waiting

# Lets other processes go on before a condition is looked at again.
breathe() {
	[ -n "${NEVER_READABLE:-}" ] || exec {NEVER_READABLE}<> <(:)
	read -rt 0.02 -u "$NEVER_READABLE" || :
}

# eventually COMMAND...: runs it until it succeeds; fails after DEADLINE seconds.
eventually() {
	local end=$((SECONDS + DEADLINE))
	until "$@"; do
		if ((SECONDS > end)); then
			echo "did not come true in $DEADLINE s: $*" >&2
			return 1
		fi
		breathe
	done
}

# A process that has ended counts as gone, whenever its parent may take note of that.
gone() {
	! grep -qs '^State:[^A-Z]*[^ZX] ' "/proc/$1/status"
}

# --- the daemon

daemon_answers_or_ended() {
	[ -e "$MNT/status" ] || gone "$DAEMON"
}

# start_daemon [OPTION...]: in the foreground, as a child of the test, so that its status and stderr can be judged.
# A shell's background processes ignore SIGINT; the daemon is to be started as a user would.
start_daemon() {
	env --default-signal=INT,QUIT "$RESERVEFS" -f "$@" "$REPO" "$MNT" \
		</dev/null >"$MNT.out" 2>"$MNT.err" 3>&- &
	DAEMON=$!
	MOUNT_OPTIONS=("$@")
	eventually daemon_answers_or_ended || return
	[ -e "$MNT/status" ] || {
		echo "the daemon did not mount:" >&2
		cat "$MNT.err" >&2
		DAEMON=''
		return 1
	}
}

# mount_quota CAPACITY [OPTION...]
mount_quota() {
	start_daemon -o "repo=quota,capacity=$1" "${@:2}"
}

# mount_disk [OPTION...]
mount_disk() {
	start_daemon "$@"
}

# Nothing but notices and lower priorities was logged. That there were too many of those is no trouble.
daemon_was_quiet() {
	local noise
	noise=$(grep -vE '^<[567]>|^<4>[0-9]+ earlier lines were not written' "$MNT.err" || :)
	if [ -n "$noise" ] || [ -s "$MNT.out" ]; then
		printf 'the daemon was not quiet: %s\n' "$noise" >&2
		cat "$MNT.out" >&2
		return 1
	fi
}

# daemon_ends STATUS: the daemon comes to an end by itself, with that status, having been quiet.
daemon_ends() {
	local pid=$DAEMON status=0
	if ! eventually gone "$pid"; then
		grep -lsF "$MNT" /proc/[0-9]*/mountinfo | sed 's/^/its tree is still mounted, says /' >&2
		return 1
	fi
	wait "$pid" || status=$?
	DAEMON=''
	[ "$status" -eq "$1" ] || {
		echo "the daemon ended with status $status rather than $1" >&2
		return 1
	}
	daemon_was_quiet
}

stop_daemon() {
	umount "$MNT" || return
	daemon_ends 0
}

# True when a thread of the daemon waits for the disk and cannot be woken.
daemon_hangs() {
	grep -qs '^State:.*D' "/proc/$DAEMON"/task/*/status
}

# crash_daemon: the daemon is killed between two instructions. Its mount point is left over.
crash_daemon() {
	kill -KILL "$DAEMON"
	wait "$DAEMON" 2>/dev/null || :
	DAEMON=''
}

# Starts the daemon again with the same options.
start_again() {
	start_daemon "${MOUNT_OPTIONS[@]}"
}

remount() {
	stop_daemon && start_again
}

# daemons_of TEXT: pids of reservefs processes with TEXT in their command line.
daemons_of() {
	local file words name
	for file in /proc/[0-9]*/cmdline; do
		{ mapfile -d '' -t words <"$file" && read -r name <"${file%cmdline}comm"; } 2>/dev/null || continue
		if [[ ${words[*]} == *"$1"* && $name == reservefs ]]; then
			file=${file#/proc/}
			echo "${file%/cmdline}"
		fi
	done
}

# --- file systems to mount on

# needs COMMAND...: skips the test, by name, where one is missing.
needs() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

# loop_fs TYPE SIZE: a new file system of its own in the file $T/disk.img, mounted on $T/disk.
loop_fs() {
	needs "mkfs.$1" losetup
	truncate -s "$2" "$T/disk.img"
	case $1 in
	ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$T/disk.img" ;;
	*) "mkfs.$1" -q "$T/disk.img" ;;
	esac
	mkdir -p "$T/disk"
	mount -t "$1" -o loop "$T/disk.img" "$T/disk" || skip "this kernel does not mount $1 from a loop device"
}

# own_disk: makes $REPO a file system of its own. Whoever counts all the free space of the one that all tests are on keeps every
# other test from doing so.
own_disk() {
	mount -t tmpfs -o mode=755 own "$REPO"
}

freeze() {
	FROZEN=$1
	fsfreeze -f "$1"
}

thaw() {
	fsfreeze -u "$1"
	FROZEN=''
}

# fill DIRECTORY: stores on its file system until not one more byte fits, not even root's.
fill() {
	local block
	for block in 1M 4k 512 1; do
		dd if=/dev/zero of="$1/filler.$block" bs="$block" conv=fsync status=none 2>/dev/null || :
	done
}

# --- looking and judging

# py [ARGUMENT...] <SCRIPT: Python with what helpers/tree.py offers.
py() {
	PYTHONPATH=$SYSTEM/helpers "$PYTHON" -c "from tree import *
$(cat)" "$@"
}

# equal EXPECTED ACTUAL
equal() {
	[ "$1" = "$2" ] || {
		printf 'expected: %q\n     got: %q\n' "$1" "$2" >&2
		return 1
	}
}

# size_is BYTES CONTRACT
size_is() {
	equal "$1" "$(cat "$MNT/reservations/$2/size")"
}

# figure NAME: its value in `status`.
figure() {
	sed -n "s/^$1 //p" "$MNT/status"
}

# figure_is NAME BYTES
figure_is() {
	equal "$1 $2" "$1 $(figure "$1")"
}

# contract NAME [SIZE]: makes one.
contract() {
	mkdir "$MNT/reservations/$1" || return
	[ -z "${2:-}" ] || echo "$2" >"$MNT/reservations/$1/size"
}

# The names of all contracts, sorted, on one line.
contracts() {
	find "$MNT/reservations" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | paste -sd ' '
}

# as_nobody COMMAND...: as a user who is not root, without any of root's capabilities.
as_nobody() {
	setpriv --reuid $NOBODY --regid $NOBODY --clear-groups "$@"
}

# in_shell SHELL COMMAND
in_shell() {
	case $1 in
	busybox) busybox sh -c "$2" ;;
	*) "$1" -c "$2" ;;
	esac
}

# call OPERATION...: one system call by the helper of that name; prints `ok` or the name of the errno.
call() {
	"$HELPERS/call" "$@"
}
