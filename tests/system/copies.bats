# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# copies.bats: copies of a Repo's state, and ends that were not clean: what does not fit together is found, told, and not made worse.

# shellcheck disable=SC2030,SC2031 # each test has its own REPO

load lib.bash

# metric NAME: its value.
metric() {
	sed -n "s/^reservefs_$1{[^}]*} //p" "$MNT/metrics"
}

is_checked() {
	[ "$(metric check_running)" = 0 ]
}

# resize ROUNDS: as many times each of the 300 contracts gets another size.
resize() {
	py "$1" <<-'END'
		import random
		random.seed(int(sys.argv[1]))
		for _ in range(int(sys.argv[1])):
		    for n in range(300):
		        put(f"c{n}", random.randrange(1, 2**20))
	END
}

# The sum of all sizes, and the figure that claims to be it.
sums() {
	py <<-'END'
		print(sum(number(size(name)) for name in os.listdir(RESERVATIONS)), number(fixed("reserved")))
	END
}

@test "a database and a log that were copied at different moments are not taken for a state" {
	local try found=0 sum reserved
	mount_quota 100G
	for n in {0..299}; do mkdir "$MNT/reservations/c$n"; done
	resize 1
	for try in {1..5}; do
		mkdir -p "$T/copy$try/.reservefs"
		cp "$REPO/.reservefs/datastore.db" "$T/copy$try/.reservefs/"
		resize $((4 * try))
		cp "$REPO/.reservefs/datastore.db-wal" "$T/copy$try/.reservefs/"
	done
	stop_daemon
	for try in {1..5}; do
		REPO=$T/copy$try
		# refused, or looked at: never believed
		if ! mount_quota 100G 2>/dev/null; then
			found=$((found + 1))
			continue
		fi
		eventually is_checked
		read -r sum reserved < <(sums) || sum=damaged
		if [ "$sum" = damaged ] || ((sum != reserved)); then
			found=$((found + 1))
			[ "$(metric check_excess_bytes) $(metric check_misindexed) $(metric check_damaged_records)" != "0 0 0" ]
			grep -q '^<3>.*fsck.reservefs' "$MNT.err"
			if [ "$sum" != damaged ] && ((sum > reserved)); then
				equal $((sum - reserved)) "$(metric check_excess_bytes)"
				run ! bash -c "echo +1 >'$MNT/reservations/c0/size'; echo 50G >'$MNT/reservations/c0/size'"
				grep -q 'fsck.reservefs' "$MNT/last_error"
			fi
		else
			equal 0 "$(metric check_excess_bytes)"
		fi
		umount "$MNT"
		eventually gone "$DAEMON"
		wait "$DAEMON"
		DAEMON=''
		run "$FSCK" -n "$REPO"
		[ "$status" -ne 16 ]
	done
	echo "$found of 5 did not fit together"
	[ "$found" -gt 0 ]
}

@test "after kill -9 all records are looked at, and nothing is said but that they add up" {
	mount_quota 100G
	contract c1 1G
	contract c2 2G
	crash_daemon
	start_again
	eventually is_checked
	eventually grep -q '^<5>all records .* add up' "$MNT.err"
	equal 0 "$(metric check_excess_bytes)"
	figure_is reserved 3221225472
	# and after a clean end they are not
	remount
	run ! grep -q 'records' "$MNT.err"
	echo 3G >"$MNT/reservations/c1/size"
}

@test "a copy of a cleanly ended state is looked at, for the copying may have gone wrong" {
	mount_quota 100G
	contract c1 1G
	stop_daemon
	cp -a "$REPO" "$T/copy"
	REPO=$T/copy mount_quota 100G
	eventually is_checked
	grep -q 'checking all records' "$MNT.err"
	size_is 1073741824 c1
}

@test "the records are checked while many contracts change, and add up" {
	[ -x "$GENERATE" ] || skip "the generator of Datastores is not built"
	mkdir "$REPO/.reservefs"
	"$GENERATE" -n 50000 -b 4096 -p c -q "$T/generated.db"
	cp "$T/generated.db" "$REPO/.reservefs/datastore.db"
	mount_quota 1E
	equal 1 "$(metric check_running)"
	py <<-'END'
		import random
		random.seed(7)
		changes = 0
		while b"check_running{pool=\"repo\"} 1" in raw(fixed("metrics")):
		    for _ in range(50):
		        put(f"c{random.randrange(50000):08}", random.randrange(1, 2**30))
		        changes += 1
		assert changes > 0
	END
	equal "0 0 0" "$(metric check_excess_bytes) $(metric check_excess_contracts) $(metric check_misindexed)"
}
