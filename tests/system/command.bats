# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# command.bats: the command's options, exit statuses and life cycle.

# shellcheck disable=SC2154 # bats sets stderr and stderr_lines
# shellcheck disable=SC2030,SC2031 # a test's variables are its own

load lib.bash

# fails_with STATUS TEXT ARGUMENT...: the command ends with STATUS (or one of several, `1|2`), and one line on stderr that
# holds TEXT; nothing is mounted.
fails_with() {
	local expected=$1 text=$2
	shift 2
	run --separate-stderr timeout 20 "$RESERVEFS" "$@"
	[[ $status =~ ^($expected)$ ]] || {
		echo "$*: status $status rather than $expected: $stderr" >&2
		return 1
	}
	if [ "${#stderr_lines[@]}" -ne 1 ] || [ -n "$output" ] || [[ $stderr != *"$text"* ]]; then
		printf '%s: not one line with "%s": %s\n' "$*" "$text" "$stderr" >&2
		return 1
	fi
	run ! mountpoint -q "$MNT"
	# nobody is left behind to serve it
	equal "" "$(daemons_of "$MNT")"
}

@test "it returns when the tree can be used, and says nothing" {
	run -0 --separate-stderr "$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT"
	equal "|" "$output|$stderr"
	equal 5368709120 "$(cat "$MNT/available")"
	local pid
	pid=$(daemons_of "$MNT")
	[ -n "$pid" ]
	# it let go of the terminal, the directory and the session that it was started from
	equal / "$(readlink "/proc/$pid/cwd")"
	run ! test /dev/tty -ef "/proc/$pid/fd/0"
	equal "/dev/null /dev/null /dev/null" "$(readlink "/proc/$pid"/fd/{0,1,2} | paste -sd ' ')"
	run ! test "$(ps -o sid= -p "$pid")" -eq "$(ps -o sid= -p $$)"
	umount "$MNT"
	eventually gone "$pid"
}

@test "the tree can be used each time at the very moment when it returns" {
	local round pid
	for round in {1..10}; do
		"$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT"
		mkdir "$MNT/reservations/c$round"
		equal "$round" "$(figure reservations)"
		umount "$MNT"
	done
	for pid in $(daemons_of "$MNT"); do
		eventually gone "$pid"
	done
}

@test "-f stays in the foreground, and SIGTERM, SIGINT and umount end it with 0" {
	local end
	for end in "kill -TERM %" "kill -INT %" "umount $MNT" "fusermount3 -u $MNT"; do
		mount_quota 5G
		contract "${end//[^a-zA-Z]/}" 1
		${end//%/$DAEMON}
		daemon_ends 0
		run ! mountpoint -q "$MNT"
	done
	mount_quota 5G
	figure_is reservations 4
}

@test "a background daemon is ended by SIGTERM and by SIGINT" {
	local signal pid
	for signal in TERM INT; do
		"$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT"
		pid=$(daemons_of "$MNT")
		kill -s "$signal" "$pid"
		eventually gone "$pid"
		run ! mountpoint -q "$MNT"
	done
}

@test "-h and --help print the usage, -V and --version the version, and exit with 0" {
	local option
	for option in -h --help; do
		run -0 --separate-stderr "$RESERVEFS" $option
		[[ ${lines[0]} == *"reservefs [-o OPTION[,OPTION"*"REPO MOUNTPOINT"* ]]
		for word in capacity= repo= datastore= pool= uid= gid= -f -d -h -V; do
			[[ $output == *"$word"* ]]
		done
		equal "" "$stderr"
	done
	for option in -V --version; do
		run -0 --separate-stderr "$RESERVEFS" $option
		[[ ${lines[0]} =~ ^reservefs\ [0-9]+\.[0-9]+\.[0-9]+ ]]
		equal "" "$stderr"
	done
}

@test "wrong usage exits with 1 and one line" {
	fails_with 1 ""
	fails_with 1 "MOUNTPOINT" "$REPO"
	fails_with 1 "third" "$REPO" "$MNT" third
	fails_with 1 "-Z" -Z "$REPO" "$MNT"
	fails_with 1 "--no-such" --no-such "$REPO" "$MNT"
	fails_with 1 "no_such_option" -o no_such_option "$REPO" "$MNT"
	fails_with 1 "no_such=5" -o capacity=5G,no_such=5 "$REPO" "$MNT"
	fails_with 1 "repo" -o repo=tape "$REPO" "$MNT"
	fails_with 1 "repo" -o repo= "$REPO" "$MNT"
	fails_with 1 "capacity" -o repo=quota "$REPO" "$MNT"
	fails_with 1 "capacity" -o repo=quota,capacity=max "$REPO" "$MNT"
	fails_with 1 "-o" "$REPO" "$MNT" -o
	fails_with 1 "uid" -o uid=no_such_user_here "$REPO" "$MNT"
	fails_with 1 "uid" -o uid=-5 "$REPO" "$MNT"
	fails_with 1 "gid" -o gid=12x "$REPO" "$MNT"
	fails_with 1 "" "" "$MNT"
	fails_with 1 "" "$REPO" ""
}

@test "a malformed capacity exits with 1 and a line that names it" {
	local capacity
	for capacity in "" -1 +1 1.5G 0x10 "1 G" 5X 5GiBB lots 1e9 5G5 8E 9223372036854775808 99999999999999999999; do
		fails_with 1 capacity -o "repo=quota,capacity=$capacity" "$REPO" "$MNT"
		[[ $stderr == *"$capacity"* ]]
		fails_with 1 capacity -o "capacity=$capacity" "$REPO" "$MNT"
	done
}

@test "hostile arguments are shown in one line" {
	fails_with 1 "" $'bad\nrepo' "$MNT"
	fails_with 1 "" -o $'bad\noption' "$REPO" "$MNT"
	fails_with 1 "" -o $'capacity=1\n2' "$REPO" "$MNT"
	fails_with 1 "" -o "$(printf 'x%.0s' {1..5000})" "$REPO" "$MNT"
	fails_with "1|2|32" "" "$REPO" "$T/$(printf 'x%.0s' {1..3000})"
	fails_with 1 "" -o $'\xff\x1b[31m' "$REPO" "$MNT"
	run ! grep -q $'\x1b' <<<"$stderr"
}

@test "a REPO or MOUNTPOINT that is not there, or no directory, is one line that names it" {
	touch "$T/file"
	fails_with "1|2|32" "$T/none" "$T/none" "$MNT"
	fails_with "1|2|32" "$T/file" "$T/file" "$MNT"
	fails_with "1|2|32" "$T/none" "$REPO" "$T/none"
	fails_with "1|2|32" "$T/file" "$REPO" "$T/file"
	fails_with "1|2|32" "$T/none" -o datastore="$T/none/state.db",repo=quota,capacity=1G "$REPO" "$MNT"
	# the same in the foreground
	fails_with "1|2|32" "$T/none" -f "$T/none" "$MNT"
}

@test "a mount failure exits with 32" {
	touch "$MNT/something"
	fails_with 32 "$MNT" "$REPO" "$MNT"
	[ -e "$MNT/something" ]
}

@test "one Repo has one daemon: a second is refused with the first one's pid" {
	mount_quota 5G
	contract c1 7
	mkdir "$T/mnt2"
	run --separate-stderr timeout 20 "$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$T/mnt2"
	[ "$status" -eq 2 ] || [ "$status" -eq 32 ]
	equal 1 "${#stderr_lines[@]}"
	[[ $stderr =~ (^|[^0-9])$DAEMON([^0-9]|$) ]]
	run --separate-stderr timeout 20 "$RESERVEFS" -f -o repo=quota,capacity=5G "$REPO" "$MNT"
	[ "$status" -eq 2 ] || [ "$status" -eq 32 ]
	[[ $stderr =~ (^|[^0-9])$DAEMON([^0-9]|$) ]]
	# by another path
	ln -s "$REPO" "$T/link"
	run --separate-stderr timeout 20 "$RESERVEFS" -o repo=quota,capacity=5G "$T/link" "$T/mnt2"
	[ "$status" -ne 0 ]
	[[ $stderr =~ (^|[^0-9])$DAEMON([^0-9]|$) ]]
	run ! mountpoint -q "$T/mnt2"
	# the first one goes on
	size_is 7 c1
	echo 8 >"$MNT/reservations/c1/size"
	size_is 8 c1
}

@test "the same Datastore under two Repos is refused too" {
	mkdir "$T/repo2" "$T/mnt2"
	mount_quota 5G -o datastore="$T/state.db"
	contract c1 7
	run --separate-stderr timeout 20 "$RESERVEFS" -o repo=quota,capacity=5G,datastore="$T/state.db" "$T/repo2" "$T/mnt2"
	[ "$status" -eq 2 ]
	equal 1 "${#stderr_lines[@]}"
	[[ $stderr == *"$T/state.db"* ]]
	run ! mountpoint -q "$T/mnt2"
	size_is 7 c1
}

@test "many started at once for one Repo: one serves it" {
	local n started=()
	for n in {1..8}; do
		mkdir "$T/mnt$n"
		"$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$T/mnt$n" 2>"$T/start$n.err" 3>&- &
		started+=($!)
	done
	local succeeded=0
	for n in {1..8}; do
		if wait "${started[n - 1]}"; then
			succeeded=$((succeeded + 1))
			cp "$T/mnt$n/available" "$T/available"
		fi
	done
	equal 1 "$succeeded"
	equal 5368709120 "$(<"$T/available")"
}

@test "two Repos are served side by side" {
	mount_quota 5G
	contract c1 7
	mkdir "$T/repo2" "$T/mnt2"
	"$RESERVEFS" -o repo=quota,capacity=3G "$T/repo2" "$T/mnt2"
	mkdir "$T/mnt2/reservations/c1"
	echo 9 >"$T/mnt2/reservations/c1/size"
	size_is 7 c1
	equal 9 "$(cat "$T/mnt2/reservations/c1/size")"
	umount "$T/mnt2"
}

@test "relative paths work, also for the Datastore" {
	cd "$T"
	"$RESERVEFS" -o repo=quota,capacity=5G,datastore=state.db repo mnt
	mkdir mnt/reservations/c1
	echo 7 >mnt/reservations/c1/size
	local pid
	pid=$(daemons_of "repo mnt")
	[ -s "$T/state.db" ]
	umount mnt
	eventually gone "$pid"
	(cd / && "$RESERVEFS" -o "repo=quota,capacity=5G,datastore=$T/state.db" "$REPO" "$MNT")
	size_is 7 c1
}

@test "the Datastore is REPO/.reservefs/datastore.db or what datastore= says" {
	mount_quota 5G
	[ -s "$REPO/.reservefs/datastore.db" ]
	contract c1 7
	stop_daemon
	mount_quota 5G -o datastore="$T/state.db"
	equal "" "$(contracts)"
	stop_daemon
	mount_quota 5G
	equal c1 "$(contracts)"
}

@test "existing: no new Repo is begun, whatever of the old one is missing" {
	local datastore=$T/state.db
	fails_with 2 "look whether its disk is mounted" -o existing,repo=quota,capacity=5G "$REPO" "$MNT"
	[[ $stderr == *"REPO $REPO has no .reservefs, and option 'existing' forbids to begin a new one"* ]]
	equal "" "$(ls -A "$REPO")"
	fails_with 2 "has no .reservefs" -f -o existing,repo=quota,capacity=5G "$REPO" "$MNT"
	fails_with 2 "has no .reservefs" -o "existing,repo=quota,capacity=5G,datastore=$datastore" "$REPO" "$MNT"
	mkdir "$REPO/.reservefs"
	fails_with 2 "has no Datastore" -o existing,repo=quota,capacity=5G "$REPO" "$MNT"
	equal ".reservefs" "$(cd "$REPO" && find . -mindepth 1 -printf '%P\n')"
	fails_with 2 "has no $datastore" -o "existing,repo=quota,capacity=5G,datastore=$datastore" "$REPO" "$MNT"
	[ ! -e "$datastore" ]
	fails_with 1 "existing=yes" -o existing=yes,repo=quota,capacity=5G "$REPO" "$MNT"
	# In a file, too.
	printf 'existing\nrepo=quota\ncapacity=5G\n' >"$T/config"
	fails_with 2 "has no Datastore" -o "config=$T/config" "$REPO" "$MNT"
	# What is there is served.
	mount_quota 5G
	contract c1 7
	stop_daemon
	mount_quota 5G -o existing
	size_is 7 c1
	stop_daemon
	mount_quota 5G -o "datastore=$datastore"
	contract c2 8
	stop_daemon
	mount_quota 5G -o "existing,datastore=$datastore"
	size_is 8 c2
	stop_daemon
	rm "$datastore"*
	fails_with 2 "has no $datastore" -o "existing,repo=quota,capacity=5G,datastore=$datastore" "$REPO" "$MNT"
}

@test "existing: a pool whose disk is not mounted yet does not start anew on the directory beneath" {
	loop_fs ext4 32M
	REPO=$T/disk
	start_daemon
	contract c1 1M
	stop_daemon
	umount "$T/disk"
	fails_with 2 "look whether its disk is mounted" -o existing "$REPO" "$MNT"
	equal "" "$(ls -A "$T/disk")"
	mount -t ext4 -o loop "$T/disk.img" "$T/disk"
	start_daemon -o existing
	size_is 1048576 c1
}

@test "options can be given apart or together, and in any place" {
	start_daemon -o repo=quota -o capacity=1G -o pool=gold
	figure_is capacity 1073741824
	stop_daemon
	"$RESERVEFS" "$REPO" -o capacity=2G,repo=quota "$MNT"
	figure_is capacity 2147483648
	umount "$MNT"
	for pid in $(daemons_of "$MNT"); do
		eventually gone "$pid"
	done
	"$RESERVEFS" "$REPO" "$MNT" -o capacity=3G,repo=quota
	figure_is capacity 3221225472
}

@test "FUSE's own mount options pass: ro" {
	mount_quota 5G
	contract c1 7
	stop_daemon
	mount_quota 5G -o ro
	size_is 7 c1
	run ! bash -c "echo 5 >'$MNT/reservations/c1/size'"
	[[ $output == *"Read-only file system"* ]]
}

@test "it starts where its standard streams are closed" {
	"$RESERVEFS" -o repo=quota,capacity=5G "$REPO" "$MNT" <&- >&- 2>&-
	contract c1 7
	size_is 7 c1
}

@test "a Datastore that is not one is refused, named and left as it is" {
	needs sqlite3
	local file=$T/state.db kind before
	for kind in garbage foreign empty newer; do
		rm -f "$file"*
		case $kind in
		garbage) head -c 20000 /dev/urandom >"$file" ;;
		foreign) sqlite3 "$file" 'PRAGMA application_id=77; CREATE TABLE datastore(key, value); INSERT INTO datastore VALUES(1, 2)' ;;
		empty) : >"$file" ;;
		newer)
			mount_quota 5G -o datastore="$file"
			contract c1 7
			stop_daemon
			sqlite3 "$file" 'PRAGMA user_version=1000' >/dev/null
			;;
		esac
		before=$(sha256sum <"$file")
		fails_with 2 "$file" -o "repo=quota,capacity=5G,datastore=$file" "$REPO" "$MNT"
		equal "$kind $before" "$kind $(sha256sum <"$file")"
	done
}

@test "a directory in the Datastore's place is refused" {
	mkdir "$T/state.db"
	fails_with 2 "$T/state.db" -o "repo=quota,capacity=5G,datastore=$T/state.db" "$REPO" "$MNT"
}

@test "what is stored can be read by a person with the sqlite3 shell" {
	needs sqlite3
	mount_quota 5G
	contract "Straße 7" 12345
	stop_daemon
	run -0 sqlite3 "file:$REPO/.reservefs/datastore.db?immutable=1" "SELECT value FROM datastore WHERE key = 'contract/Straße 7'"
	[[ $output == *"size=12345 "* ]]
}
