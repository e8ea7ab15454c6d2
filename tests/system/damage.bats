# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# damage.bats: a record that was changed behind the daemon's back is never skipped: either the mount is refused and the key
# named, or the record is shown and its bytes stay counted.

# shellcheck disable=SC2154 # bats sets stderr and stderr_lines

load lib.bash

# Contracts of 1, 2 and 3 GiB, and an empty one, in a Datastore that nobody serves.
some_contracts() {
	needs sqlite3
	mount_quota 10G
	contract a 1G
	contract b 2G
	contract c 3G
	contract e
	stop_daemon
	DATASTORE=$REPO/.reservefs/datastore.db
	cp "$DATASTORE" "$T/sound.db"
}

# The only Datastore there is becomes the sound one with that change.
damage() {
	rm -f "$DATASTORE"*
	cp "$T/sound.db" "$DATASTORE"
	sqlite3 "$DATASTORE" "$1" >/dev/null
}

# Whether it mounts; $stderr says why not.
mounts() {
	run --separate-stderr timeout 20 "$RESERVEFS" -o repo=quota,capacity=10G "$REPO" "$MNT"
	[ "$status" -eq 0 ]
}

# refuses_naming TEXT: the mount is refused with one line that holds TEXT.
refuses_naming() {
	if mounts; then
		echo "mounted: $(paste -sd ' ' "$MNT/status")" >&2
		return 1
	fi
	if [ "$status" -ne 2 ] || [ "${#stderr_lines[@]}" -ne 1 ] || [[ $stderr != *"$1"* ]]; then
		echo "status $status, not one line naming $1: $stderr" >&2
		return 1
	fi
	run ! mountpoint -q "$MNT"
}

unmount() {
	local pid
	pid=$(daemons_of "$MNT")
	umount "$MNT"
	eventually gone "$pid"
}

@test "a contract's damaged record is shown, counted and named by who reads it" {
	some_contracts
	local change
	for change in "value = 'rubbish'" "value = ''" "value = replace(value, 'size=2147483648', 'size=1')" "value = replace(value, 'size=2', 'size=-2')" \
		"value = value || ' '" "value = substr(value, 1, 20)" "value = substr(value, 1, 20) || char(0) || substr(value, 21)" "value = x'00ff00'" \
		"value = 5" "value = printf('%.2000c', 'x')" "crc = crc + 1" "crc = 'none'"; do
		damage "UPDATE datastore SET $change WHERE key = 'contract/b'"
		if ! mounts; then
			refuses_naming contract/b
			continue
		fi
		equal "$change 6442450944" "$change $(figure reserved)"
		figure_is available 4294967296
		figure_is reservations 4
		equal "$change a b c e" "$change $(contracts)"
		size_is 1073741824 a
		size_is 3221225472 c
		run -1 cat "$MNT/reservations/b/size"
		[[ $(tail -n 1 "$MNT/last_error") == *"contract/b"* ]]
		# nor can its space be had by asking for it
		run ! bash -c "echo 5G >'$MNT/reservations/e/size'"
		figure_is reserved 6442450944
		# the others can be used
		echo 2G >"$MNT/reservations/a/size"
		rmdir "$MNT/reservations/e"
		figure_is reserved 7516192768
		unmount
	done
}

@test "a damaged place in the listing is an error that names it, not a contract less" {
	some_contracts
	local key change
	key=$(sqlite3 "$DATASTORE" "SELECT key FROM datastore WHERE key GLOB 'id/*' AND value = 'b'")
	[ -n "$key" ]
	for change in "value = 'rubbish'" "value = ''" "value = char(27) || '[31m'" "crc = crc + 1"; do
		damage "UPDATE datastore SET $change WHERE key = '$key'"
		if ! mounts; then
			refuses_naming "$key"
			continue
		fi
		equal "$change 6442450944" "$change $(figure reserved)"
		figure_is reservations 4
		run -2 ls "$MNT/reservations"
		[[ $output == *"Input/output error"* ]]
		[[ $(tail -n 1 "$MNT/last_error") == *"$key"* ]]
		# it is still there for who asks for it by its name
		size_is 2147483648 b
		unmount
	done
}

@test "damaged totals refuse the mount and are named" {
	some_contracts
	local change
	for change in "value = 'rubbish'" "value = ''" "value = replace(value, 'reserved=6442450944', 'reserved=1')" "value = substr(value, 1, 20)" "crc = crc + 1"; do
		damage "UPDATE datastore SET $change WHERE key = 'totals'"
		refuses_naming totals
	done
}

@test "totals that are gone are not taken for an empty Datastore" {
	some_contracts
	damage "DELETE FROM datastore WHERE key = 'totals'"
	refuses_naming totals
}

@test "a Datastore file cut short is refused" {
	some_contracts
	local bytes
	for bytes in 1 100 4095 4096 5000 8000; do
		rm "$DATASTORE"*
		cp "$T/sound.db" "$DATASTORE"
		truncate -s $bytes "$DATASTORE"
		refuses_naming "$DATASTORE"
	done
}

@test "what a refused mount looked at stays as it was" {
	some_contracts
	damage "UPDATE datastore SET value = 'rubbish' WHERE key = 'totals'"
	local before
	before=$(sha256sum <"$DATASTORE")
	refuses_naming totals
	equal "$before" "$(sha256sum <"$DATASTORE")"
}

# A user lists a tree with a damaged record, again and again; root's changes fail for another reason.
@test "who fails at the same time is told his own reason" {
	needs prlimit
	some_contracts
	damage "UPDATE datastore SET value = 'a/b' WHERE key GLOB 'id/*' AND value = 'a'"
	start_daemon -o repo=quota,capacity=10G,allow_other
	# from now on nothing can be stored
	prlimit --pid "$DAEMON" --fsize=100:1000000000
	as_nobody "$PYTHON" - "$MNT" >"$T/lister" 2>&1 <<-'END' &
		import os, sys
		mnt, failures, wrong = sys.argv[1], 0, set()
		while not os.path.exists(mnt + "/reservations/stop"):
		    try:
		        os.listdir(mnt + "/reservations")
		    except OSError:
		        failures += 1
		    with open(mnt + "/last_error") as file:
		        line = file.read()
		    if line and "damaged" not in line:
		        wrong.add(line)
		print(failures > 0, wrong)
	END
	ATTACHED+=($!)
	py <<-'END'
		for n in range(300):
		    refused("EIO", put, "b", "1M")
		    path, why = last_error()[2:4]
		    equal("reservations/b/size", path)
		    assert "damaged" not in why and "disk" in why + last_error()[4], why
		    refused("EINVAL", put, "c", "x")
		    assert "not a size" in last_error()[3]
		equal(2 * 2**30, number(size("b")))
	END
	prlimit --pid "$DAEMON" --fsize=1000000000
	mkdir "$MNT/reservations/stop"
	wait "${ATTACHED[0]}"
	ATTACHED=()
	equal "True set()" "$(<"$T/lister")"
	echo 1M >"$MNT/reservations/b/size"
	# what is damaged it has found by itself, too, and said so
	eventually grep -q '^<3>records of .* cannot be read (1)' "$MNT.err"
	umount "$MNT"
	wait "$DAEMON"
	DAEMON=''
}
