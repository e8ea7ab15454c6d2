# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# scale.bats: what must not grow with the number of contracts. Timed, so it runs alone.

load lib.bash

CONTRACTS=1000000

# One Datastore serves all tests of this file.
setup_file() {
	[ "$EUID" -eq 0 ] || skip "mounting needs root"
	[ -x "$GENERATE" ] || skip "bench-generate is not built"
	"$GENERATE" -n $CONTRACTS -b 4096 -p many -q "$BATS_FILE_TMPDIR/datastore.db"
}

a_million() {
	mkdir "$REPO/.reservefs"
	cp "$BATS_FILE_TMPDIR"/datastore.db* "$REPO/.reservefs/"
}

# Kilobytes that the daemon has in memory.
resident() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB$/\1/p' "/proc/$DAEMON/status"
}

@test "1,000,000 contracts: mounted and answering in under 1 s, in under 64 MiB" {
	a_million
	local begin=${EPOCHREALTIME/./} took_us
	start_daemon -o repo=quota,capacity=8G
	figure_is reservations $CONTRACTS
	size_is 4096 many00999999
	took_us=$((${EPOCHREALTIME/./} - begin))
	echo "answered after $took_us us with $(resident) KiB resident"
	((took_us < 1000000))
	figure_is reserved $((CONTRACTS * 4096))
	(($(resident) < 65536))
}

@test "1,000,000 contracts: a listing shows each once, in constant memory" {
	a_million
	start_daemon -o repo=quota,capacity=8G
	# shellcheck disable=SC2012 # ls -U, as it streams
	equal "$CONTRACTS many00000000 many00999999" \
		"$(ls -U "$MNT/reservations" | sort | uniq | awk 'NR == 1 { first = $0 } END { print NR, first, $0 }')"
	echo "$(resident) KiB resident"
	(($(resident) < 65536))
}

@test "1,000,000 contracts: one is made, filled, renamed and removed like among few" {
	a_million
	start_daemon -o repo=quota,capacity=8G
	py <<-'END'
		begin = time.monotonic()
		for n in range(100):
		    make("new", 1000)
		    os.rename(contract("new"), contract("newer"))
		    os.rmdir(contract("newer"))
		    put(f"many{n * 9973:08}", 5000)
		took = time.monotonic() - begin
		# without growth this takes a few milliseconds each
		assert took < 10, took
		s = status()
		equal((10**6, 4096 * 10**6 + 100 * 904), (s["reservations"], s["reserved"]))
	END
}
