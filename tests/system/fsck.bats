# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# fsck.bats: each kind of damage, planted past everybody's back: it is said, repaired where that can be done without
# inventing or losing a reservation, and left alone where not. Afterwards the tree is mounted and its figures add up.

load lib.bash

FSCK=${FSCK:-$(dirname "$RESERVEFS")/../fsck/fsck.reservefs}

# make_repo: contracts a (1000 bytes), b (20), c (3) and empty (0) in a Repo that is not mounted. Their ids are 8 to 11.
make_repo() {
	needs sqlite3
	mount_quota 10G
	contract a 1000
	contract b 20
	contract c 3
	contract empty
	stop_daemon
	DB=$REPO/.reservefs/datastore.db
}

sql() {
	sqlite3 "$DB" "$1"
}

# check STATUS [ARGUMENT...]: fsck ends with that status; what it says is in $output, and free of control characters.
check() {
	local status=0
	output=$("$FSCK" "${@:2}" "$REPO" 2>&1) || status=$?
	equal "$1" "$status" || {
		echo "$output" >&2
		return 1
	}
	[[ $output != *[[:cntrl:]]* ]] || [ -z "$(tr -d '\n' <<<"$output" | tr -cd '[:cntrl:]')" ]
}

# says TEXT...: each is a line of what fsck said.
says() {
	local line
	for line; do
		grep -qxF -- "$line" <<<"$output" || {
			printf 'not said: %s\nbut:\n%s\n' "$line" "$output" >&2
			return 1
		}
	done
}

# sum_of_all_files: the state of the directory of the Datastore.
sum_of_all_files() {
	(cd "$REPO/.reservefs" && find . -type f -printf '%p %s %T@\n' | sort && cat datastore.db* | sha256sum)
}

# found_not_touched STATUS LINE...: without -y and -p the damage is said, and nothing is changed.
found_not_touched() {
	local before
	before=$(sum_of_all_files)
	check "$1"
	says "${@:2}"
	equal "$before" "$(sum_of_all_files)"
	check "$1" -n
	says "${@:2}"
	equal "$before" "$(sum_of_all_files)"
}

# copies: how many copies of the Datastore have been kept.
copies() {
	find "$REPO/.reservefs" -name 'datastore.db.*.bak' | wc -l
}

# whole: fsck has nothing to say any more; mounted, each contract has the size that is given as NAME=SIZE, there are no
# others, and the sums are right.
whole() {
	local pair reserved=0 names=()
	check 0
	start_again
	for pair; do
		size_is "${pair#*=}" "${pair%%=*}"
		reserved=$((reserved + ${pair#*=}))
		names+=("${pair%%=*}")
	done
	figure_is reserved "$reserved"
	figure_is reservations "${#names[@]}"
	equal "$(printf '%s\n' "${names[@]}" | sort | paste -sd ' ')" "$(contracts)"
	equal "$((10737418240 - reserved))" "$(cat "$MNT/available")"
	echo 5 >"$MNT/reservations/${names[0]}/size"
	mkdir "$MNT/reservations/new"
	echo 6 >"$MNT/reservations/new/size"
	stop_daemon
	check 0
}

@test "a sound Datastore is clean, by directory and by file" {
	make_repo
	check 0
	equal "$DB: clean: 4 contracts, 1023 bytes reserved" "$output"
	check 0 -y
	check 0 -p
	check 0 -v
	says "$DB: checking the file" "$DB: checking the records"
	equal "$DB: clean: 4 contracts, 1023 bytes reserved" "$("$FSCK" "$DB")"
	equal 0 "$(copies)"
	whole a=1000 b=20 c=3 empty=0
}

@test "a Datastore that was never mounted, and one that a crash left, are clean" {
	mount_quota 10G
	stop_daemon
	check 0
	start_again
	contract a 1000
	crash_daemon
	check 0
	says "$REPO/.reservefs/datastore.db: clean: 1 contracts, 1000 bytes reserved"
	# the log that the crash has left was neither lost nor carried over by looking
	found=$(sum_of_all_files)
	check 0 -n
	equal "$found" "$(sum_of_all_files)"
	umount -l "$MNT"
	start_again
	size_is 1000 a
	stop_daemon
}

@test "a mounted Repo is refused, with the process that serves it" {
	mount_quota 10G
	contract a 1000
	check 8
	equal "fsck.reservefs: $REPO is served by process $DAEMON; unmount it first" "$output"
	check 8 -y
	run -8 "$FSCK" "$REPO/.reservefs/datastore.db"
	equal "fsck.reservefs: $REPO/.reservefs/datastore.db is in use by process $DAEMON; unmount it first" "$output"
	run -8 "$FSCK" -y "$REPO/.reservefs/datastore.db"
	[[ $output == *"in use by process $DAEMON"* ]]
	size_is 1000 a
	equal 0 "$(copies)"
}

@test "while it is checked or repaired a mount is refused" {
	make_repo
	# a check that is stopped in the middle: SIGSTOP as soon as it has the file open
	needs strace
	strace -qq -o "$T/trace" -e trace=fcntl -e inject=fcntl:signal=SIGSTOP:when=2 "$FSCK" "$REPO" >"$T/fsck.out" &
	ATTACHED+=($!)
	local tracer=$! checker
	eventually pgrep -P "$tracer" >/dev/null
	checker=$(pgrep -P "$tracer")
	eventually grep -q '^State:.*[tT]' "/proc/$checker/status"
	run "$RESERVEFS" -o repo=quota,capacity=10G "$REPO" "$MNT"
	[ "$status" -eq 2 ]
	[[ $output == *"in use by process $checker"* ]]
	kill -CONT "$checker"
	wait "$tracer"
	ATTACHED=()
	[[ $(<"$T/fsck.out") == *": clean: "* ]]
}

@test "what does not exist, or is none, is an operational error" {
	mkdir "$T/none"
	run -8 "$FSCK" "$T/nowhere"
	[[ $output == *"No such file or directory"* ]]
	run -8 "$FSCK" "$T/none"
	[[ $output == *"has no .reservefs/datastore.db"* ]]
	run -8 "$FSCK" /dev/null
	[[ $output == *"neither a directory nor a file"* ]]
	echo 'not a database, but long enough to be taken for one ........................................................' >"$T/none/text"
	run -4 "$FSCK" "$T/none/text"
	[[ $output == *"cannot be read as an SQLite database"* ]]
	run -4 "$FSCK" -y "$T/none/text"
	[[ $output == *"cannot be read as an SQLite database"* ]]
}

@test "wrong usage is told from everything else, and fsck's own options are taken" {
	make_repo
	run -16 "$FSCK"
	run -16 "$FSCK" "$REPO" "$REPO"
	run -16 "$FSCK" --wrong "$REPO"
	run -16 "$FSCK" -x "$REPO"
	run -0 "$FSCK" -h
	[ "${#lines[@]}" -le 24 ]
	run -0 "$FSCK" -V
	[[ $output == "fsck.reservefs "* ]]
	check 0 -a
	check 0 -f -r -C0 -t reservefs
	check 0 -C -T 2>/dev/null || check 16 -C -T
}

@test "fsck(8) finds it" {
	needs fsck
	make_repo
	sql "DELETE FROM datastore WHERE key = 'id/0000000000000008'"
	mkdir "$T/sbin"
	ln -s "$FSCK" "$T/sbin/fsck.reservefs"
	run -4 env PATH="$T/sbin:$PATH" fsck -T -t reservefs "$REPO" -- -n
	says 'id/0000000000000008: missing: it should lead to the contract that has this id'
	run -1 env PATH="$T/sbin:$PATH" fsck -T -a -t reservefs "$REPO"
	whole a=1000 b=20 c=3 empty=0
}

@test "missing rows of the index are made again from the contracts" {
	make_repo
	sql "DELETE FROM datastore WHERE key IN ('id/0000000000000008', 'id/000000000000000b')"
	found_not_touched 4 'id/0000000000000008: missing: it should lead to the contract that has this id' \
		'id/000000000000000b: missing: it should lead to the contract that has this id' "$DB: 2 found, 0 repaired, 2 left"
	check 1 -p
	says 'id/0000000000000008: repaired: leads to its contract again' "$DB: 2 found, 2 repaired, 0 left"
	equal 1 "$(copies)"
	whole a=1000 b=20 c=3 empty=0
}

@test "the whole index is made again" {
	make_repo
	sql "DELETE FROM datastore WHERE key GLOB 'id/*'"
	check 1 -y
	says "$DB: 4 found, 4 repaired, 0 left"
	whole a=1000 b=20 c=3 empty=0
}

@test "damaged rows of the index are made again" {
	make_repo
	sql "UPDATE datastore SET value = 'b' WHERE key = 'id/0000000000000008'"
	sql "UPDATE datastore SET crc = 1 WHERE key = 'id/0000000000000009'"
	sql "UPDATE datastore SET value = x'00ff' WHERE key = 'id/000000000000000a'"
	found_not_touched 4 'id/0000000000000008: damaged: the record does not match its checksum' \
		'id/0000000000000009: damaged: the record does not match its checksum' \
		'id/000000000000000a: damaged: the record does not match its checksum'
	check 1 -p
	whole a=1000 b=20 c=3 empty=0
}

# replant KEY VALUE: a record whose checksum is right, whatever it says.
replant() {
	"$PYTHON" - "$DB" "$1" "$2" <<-'END'
		import sqlite3, sys, zlib
		path, key, value = sys.argv[1:]
		db = sqlite3.connect(path)
		crc = zlib.crc32(key.encode() + b"\0" + value.encode())
		db.execute("REPLACE INTO datastore VALUES (?, ?, ?)", (key, value, crc))
		db.commit()
	END
}

@test "rows of the index that lead elsewhere, or nowhere, are put right or removed" {
	make_repo
	replant id/0000000000000008 b
	replant id/0000000000000040 c
	replant id/0000000000000041 nothing
	replant id/zz a
	replant id/0000000000000042 .hidden
	found_not_touched 4 'id/0000000000000008: leads to a contract that has another id' \
		'id/0000000000000040: leads to a contract that has another id' \
		'id/0000000000000041: leads to a contract that has no record' \
		'id/zz: no contract can have this id' \
		'id/0000000000000042: damaged: it leads to no possible name'
	check 1 -p
	says 'id/0000000000000008: repaired: leads to its contract again' \
		'id/0000000000000040: repaired: removed: no contract has this id' \
		'id/0000000000000041: repaired: removed: the totals know of no such contract' \
		'id/zz: repaired: removed' \
		'id/0000000000000042: repaired: removed: no contract has this id'
	whole a=1000 b=20 c=3 empty=0
}

@test "totals that do not add up are worked out anew" {
	make_repo
	replant totals 'reserved=1024 contracts=5 next_id=12 changed=1.000000000 commits=9'
	found_not_touched 4 'totals: reserved=1024, but the sizes of all contracts are 1023' 'totals: contracts=5, but there are 4'
	check 1 -p
	says 'totals: repaired: worked out anew from the contracts'
	whole a=1000 b=20 c=3 empty=0
}

@test "totals that are damaged or missing are worked out anew, and no id is given away twice" {
	make_repo
	start_again
	contract brief
	local id
	id=$(stat -c %i "$MNT/reservations/brief")
	rmdir "$MNT/reservations/brief"
	stop_daemon
	local damage
	for damage in "UPDATE datastore SET value = 'x' WHERE key = 'totals'" "DELETE FROM datastore WHERE key = 'totals'"; do
		sql "$damage"
		run -2 "$RESERVEFS" -o repo=quota,capacity=10G "$REPO" "$MNT"
		[[ $output == *"run fsck.reservefs"* ]]
		check 4
		check 1 -p
		says 'totals: repaired: worked out anew from the contracts'
		check 0
	done
	start_again
	contract late
	[ "$(stat -c %i "$MNT/reservations/late")" -gt "$id" ]
	rmdir "$MNT/reservations/late"
	stop_daemon
	whole a=1000 b=20 c=3 empty=0
}

@test "a next id below one in use is raised" {
	make_repo
	replant totals 'reserved=1023 contracts=4 next_id=9 changed=1.000000000 commits=9'
	found_not_touched 4 'totals: next_id=9, but the id 11 is in use'
	check 1 -p
	start_again
	contract late
	equal 24 "$(stat -c %i "$MNT/reservations/late")"
	stop_daemon
	check 0
}

@test "one damaged contract gets the size that the others leave of the totals" {
	make_repo
	sql "UPDATE datastore SET value = replace(value, 'size=20', 'size=99') WHERE key = 'contract/b'"
	found_not_touched 4 'contract/b: damaged: the record does not match its checksum'
	check 4 -p
	says "$DB: 1 found, 0 repaired, 1 left"
	equal 0 "$(copies)"
	check 1 -y
	says 'contract/b: repaired: size=20, which is what the other contracts leave of the totals'
	equal 9 "$(sql "SELECT substr(value, 4, 1) FROM datastore WHERE key = 'contract/b'")"
	whole a=1000 b=20 c=3 empty=0
}

@test "one contract that cannot be understood, though its checksum is right, is repaired the same way" {
	make_repo
	replant contract/a 'id=8 size=a lot'
	found_not_touched 4 'contract/a: damaged: the record cannot be understood'
	check 1 -y
	whole a=1000 b=20 c=3 empty=0
}

@test "one lost contract that the index and the totals know of is made again" {
	make_repo
	sql "DELETE FROM datastore WHERE key = 'contract/a'"
	found_not_touched 4 'id/0000000000000008: leads to a contract that has no record'
	check 4 -p
	check 1 -y
	says 'contract/a: repaired: size=1000, which is what the other contracts leave of the totals'
	whole a=1000 b=20 c=3 empty=0
}

@test "two damaged contracts are left alone, and so are their bytes" {
	make_repo
	sql "UPDATE datastore SET crc = 0 WHERE key IN ('contract/a', 'contract/b')"
	sql "DELETE FROM datastore WHERE key = 'id/000000000000000a'"
	found_not_touched 4 'contract/a: damaged: the record does not match its checksum' \
		'contract/b: damaged: the record does not match its checksum' \
		'id/000000000000000a: missing: it should lead to the contract that has this id'
	check 5 -y
	says "$DB: 3 found, 1 repaired, 2 left"
	start_again
	figure_is reserved 1023
	figure_is reservations 4
	size_is 3 c
	stop_daemon
	check 4 -y
	equal 1 "$(copies)"
}

@test "a damaged contract is left alone where the totals cannot tell its size" {
	make_repo
	sql "UPDATE datastore SET crc = 0 WHERE key IN ('contract/a', 'totals')"
	check 4 -y
	says "$DB: 2 found, 0 repaired, 2 left" 'totals: damaged: the record cannot be understood'
	equal 0 "$(copies)"
}

@test "a damaged contract of which the index does not know the id is left alone" {
	make_repo
	sql "UPDATE datastore SET crc = 0 WHERE key IN ('contract/a', 'id/0000000000000008')"
	check 4 -y
	equal 0 "$(copies)"
}

@test "of two contracts with one id the one that the index does not know gets another" {
	make_repo
	replant contract/d 'id=8 size=5 changed=1.000000000'
	found_not_touched 4 'contract/d: has the id 8, which another contract has too' \
		'totals: reserved=1023, but the sizes of all contracts are 1028'
	check 5 -p
	check 1 -y
	[[ $output == *'contract/d: repaired: has the id '* ]]
	whole a=1000 b=20 c=3 d=5 empty=0
}

@test "names that no contract can have are said, and kept" {
	make_repo
	replant "contract/..$(printf '\033[31m')" 'id=50 size=5 changed=1.000000000'
	check 4
	says 'contract/..\x1b[31m: no contract can have this name'
	check 5 -y
	check 4
	equal 5 "$(sql "SELECT count(*) FROM datastore WHERE key GLOB 'contract/*'")"
}

@test "rows that are none of a Datastore's are said, and kept" {
	make_repo
	replant other/thing 1
	sql "INSERT INTO datastore VALUES (x'0102', 'x', 1), (17, 'y', 1)"
	check 4 -y
	says 'other/thing: is no record of a Datastore' '(a row): its key cannot be read' "$DB: 3 found, 0 repaired, 3 left"
	equal 13 "$(sql "SELECT count(*) FROM datastore")"
}

@test "sizes that cannot be counted are said, and kept" {
	make_repo
	replant contract/a "id=8 size=$BYTES_MAX changed=1.000000000"
	replant contract/b "id=9 size=$BYTES_MAX changed=1.000000000"
	check 4 -y
	says 'totals: the sizes of all contracts are more than can be counted'
	equal 0 "$(copies)"
}

@test "a file of another program, of another version, or with strange tables is not repaired" {
	make_repo
	local damage
	for damage in 'PRAGMA application_id = 1' 'PRAGMA user_version = 7' 'CREATE TABLE stranger (x)' \
		'CREATE TRIGGER trap AFTER INSERT ON datastore BEGIN SELECT 1; END'; do
		cp "$DB" "$T/good"
		sql "$damage; DELETE FROM datastore WHERE key = 'totals'; PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
		check 4
		check_refused
		cp "$T/good" "$DB"
		rm -f "$DB-wal"
	done
	check 0
}

# -y leaves the file alone: 4, or 8 where the program does not know the version.
check_refused() {
	local status=0
	"$FSCK" -y "$REPO" >"$T/refused" 2>&1 || status=$?
	[ "$status" -eq 4 ] || [ "$status" -eq 8 ] || [ "$status" -eq 12 ]
	equal 0 "$(sql "SELECT count(*) FROM datastore WHERE key = 'totals'")"
	equal 0 "$(copies)"
}

@test "a file with broken pages is not repaired" {
	make_repo
	"$PYTHON" - "$DB" <<-'END'
		import sys
		with open(sys.argv[1], "r+b") as f:
		    f.seek(4096)
		    f.write(b"\xff" * 200)
	END
	rm -f "$DB-wal"
	check 4
	[ "${#output}" -gt 20 ]
	local status=0
	"$FSCK" -y "$REPO" >"$T/out" 2>&1 || status=$?
	[ $((status & 4)) -eq 4 ]
	equal 0 "$(copies)"
}

@test "the copy is what was there before, readable by its owner alone" {
	make_repo
	sql "DELETE FROM datastore WHERE key GLOB 'id/*'"
	sql "SELECT * FROM datastore ORDER BY key" >"$T/before"
	umask 000
	check 1 -y
	local copy
	copy=$(echo "$REPO"/.reservefs/datastore.db.*.bak)
	says "$DB: as it was before, it is kept in $copy"
	[[ ${copy##*/} =~ ^datastore\.db\.[0-9]{8}T[0-9]{6}Z\.bak$ ]]
	equal 600 "$(stat -c %a "$copy")"
	equal ok "$(sqlite3 "$copy" 'PRAGMA integrity_check')"
	sqlite3 "$copy" "SELECT * FROM datastore ORDER BY key" >"$T/copied"
	diff "$T/before" "$T/copied"
	# it can be put in place of the repaired one
	run -4 "$FSCK" "$copy"
}

@test "what cannot be copied is not repaired" {
	make_repo
	sql "DELETE FROM datastore WHERE key GLOB 'id/*'"
	# what takes the place of the WAL that sqlite3 has removed must be stored in the directory as well, and before
	rm "$DB-spare"
	needs strace
	local status=0
	strace -f -qq -o /dev/null -e inject=fsync,fdatasync:error=EIO:when=1+ -P "$REPO/.reservefs" "$FSCK" -y "$REPO" \
		>"$T/out" 2>&1 || status=$?
	[ $((status & 8)) -eq 8 ]
	grep -q 'cannot keep a copy of' "$T/out"
	equal 0 "$(copies)"
	equal 0 "$(sql "SELECT count(*) FROM datastore WHERE key GLOB 'id/*'")"
}

@test "a Datastore in a place that cannot be written to is checked" {
	make_repo
	loop_fs ext4 16M
	cp -r "$REPO" "$T/disk/repo"
	rm "$T/disk/repo/.reservefs/datastore.db-wal"
	mount -o remount,ro "$T/disk"
	run -0 "$FSCK" "$T/disk/repo"
	[[ $output == *": clean: 4 contracts, 1023 bytes reserved" ]]
	run -8 "$FSCK" -y "$T/disk/repo"
}

@test "ten times as many contracts take no more memory" {
	needs sqlite3
	[ -x "${GENERATE:=$HELPERS/../bench/bench-generate}" ] || skip "the generator of Datastores is not built"
	DB=$REPO/.reservefs/datastore.db
	local count peaks=()
	for count in 20000 200000; do
		rm -rf "$REPO/.reservefs"
		mkdir -m 700 "$REPO/.reservefs"
		"$GENERATE" -q -n "$count" "$DB"
		sql "DELETE FROM datastore WHERE key GLOB 'id/*'; PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
		"$PYTHON" - "$FSCK" "$REPO" "$T/peak" <<-'END'
			import resource, subprocess, sys
			fsck, repo, peak = sys.argv[1:]
			out = subprocess.run([fsck, "-y", repo], stdout=subprocess.PIPE)
			assert out.returncode == 1, out
			open(peak, "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
		END
		peaks+=("$(<"$T/peak")")
		run -0 "$FSCK" "$REPO"
		[[ $output == *": clean: $count contracts"* ]]
	done
	echo "# ${peaks[0]} and ${peaks[1]} KiB" >&3
	[ "${peaks[1]}" -lt $((peaks[0] + 120000)) ]
}
