#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# examples.bats: what contrib/examples shows works, and works on a Repo that is wanted by more than it can hold.

load lib

EXAMPLES=$SYSTEM/../../contrib/examples
EMBED=$(dirname "$RESERVEFS")/../../contrib/examples/embed
CAPACITY=1000000000

# Hundreds of refusals a second are more than the log takes, and it says so.
daemon_was_quiet() {
	local noise
	noise=$(grep -v -e '^<[567]>' -e 'earlier lines were not written' "$MNT.err" || :)
	equal '' "$noise"
}

# 1,000 requests, whose sizes have every form. One in ten is for more than the whole Repo.
write_requests() {
	"$PYTHON" - "$1" <<-'PYTHON'
		import random, sys
		random.seed(7)
		with open(sys.argv[1], "w") as out:
		    for n in range(1000):
		        size = f"{random.randint(2, 9)}G" if n % 10 == 5 else random.choice(
		            [str(random.randint(1, 400_000_000)), f"{random.randint(1, 380)}M", f"{random.randint(1, 390)}MB"])
		        out.write(f"contract-{n} {size} {random.random() / 25:.4f}\n")
	PYTHON
}

# look_while PID: takes snapshots until that process ends; each must add up. Counts them, and those of a time when
# something was reserved, in LOOKS and BUSY.
look_while() {
	local name value capacity reserved available
	LOOKS=0 BUSY=0
	while ! gone "$1"; do
		while read -r name value; do
			printf -v "$name" %s "$value" 2>/dev/null || :
		done <"$MNT/status"
		if ((reserved > CAPACITY || capacity != CAPACITY || available != CAPACITY - reserved)); then
			echo "look $LOOKS: capacity $capacity reserved $reserved available $available" >&2
			return 1
		fi
		LOOKS=$((LOOKS + 1))
		((reserved == 0)) || BUSY=$((BUSY + 1))
	done
}

count() {
	grep -cE "^[^ ]+ $1( |\$)" "$T/sales.out" || :
}

# sells COMMAND...: 1,000 requests through 16 at once.
sells() {
	mount_quota $CAPACITY
	write_requests "$T/requests"
	"$@" "$MNT" 16 <"$T/requests" >"$T/sales.out" 2>"$T/sales.err" 3>&- &
	local sales=$!
	look_while "$sales"
	wait "$sales"
	equal '' "$(cat "$T/sales.err")"
	echo "agreed $(count agreed) refused $(count refused) ended $(count ended) looks $LOOKS busy $BUSY"
	((BUSY >= 10))
	# Each request had one outcome, some had each, and what was agreed has ended.
	equal 1000 $(($(count agreed) + $(count refused)))
	equal "$(count agreed)" "$(count ended)"
	(($(count refused) >= 100 && $(count agreed) >= 100))
	# Nothing is left over.
	equal '' "$(contracts)"
	figure_is reserved 0
	figure_is reservations 0
	figure_is available $CAPACITY
}

@test "sales.sh sells a Repo that is too small, never more than there is" {
	sells "$EXAMPLES/sales.sh"
}

@test "sales.py sells a Repo that is too small, never more than there is" {
	sells "$PYTHON" "$EXAMPLES/sales.py"
}

@test "sales.sh tells what would have been available" {
	mount_quota 1000
	contract other 400
	echo 'c1 601 0' >"$T/requests"
	run -0 "$EXAMPLES/sales.sh" "$MNT" <"$T/requests"
	[[ $output == 'c1 refused reservations/c1/size: '*' 601 '*' 600 '* ]]
	equal other "$(contracts)"
}

@test "sales.sh and sales.py refuse a contract that exists and leave it alone" {
	mount_quota 1000
	contract mine 400
	echo 'mine 1 0' >"$T/requests"
	run -0 "$EXAMPLES/sales.sh" "$MNT" <"$T/requests"
	[[ $output == 'mine refused '* ]]
	run -0 "$PYTHON" "$EXAMPLES/sales.py" "$MNT" <"$T/requests"
	[[ $output == 'mine refused '* ]]
	size_is 400 mine
}

@test "embed reserves, is refused and releases without a mount" {
	[ -x "$EMBED" ] || skip 'embed is not built'
	run -0 "$EMBED" "$T/state.db" 1000 c1 600
	equal 'reserved: c1 holds 600 bytes' "$output"
	run -1 "$EMBED" "$T/state.db" 1000 c2 401
	equal 'refused: 400 bytes are available' "$output"
	run -0 "$EMBED" "$T/state.db" 1000 c2 400
	run -0 "$EMBED" "$T/state.db" 1000 c1
	equal 'released: c1 held 600 bytes' "$output"
	run -0 "$EMBED" "$T/state.db" 1000 c2 1000
	run -1 --separate-stderr "$EMBED" "$T/state.db" 1000 c1
	equal 'embed: that contract cannot be found: No such file or directory' "${stderr-}"
}

@test "embed and the mounted tree share a Datastore, one at a time" {
	[ -x "$EMBED" ] || skip 'embed is not built'
	run -0 "$EMBED" "$T/state.db" 1000 c1 600
	mount_quota 1000 -o "datastore=$T/state.db"
	size_is 600 c1
	run -2 --separate-stderr "$EMBED" "$T/state.db" 1000 c1 500
	[[ ${stderr-} == *"$T/state.db"*"$DAEMON"* ]]
	size_is 600 c1
}

# transcript FILE: the commands of its console blocks, run in order, with what they print, as it prints it.
transcript() {
	"$PYTHON" - "$1" <<-'PYTHON'
		import re, subprocess, sys
		shown = "".join(re.findall(r"```console\n(.*?)```", open(sys.argv[1]).read(), re.S))
		commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
		script = "".join("printf '%s\\n' " + "'$ " + c.replace("'", "'\\''") + "'\n" + c + "\n" for c in commands)
		real = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
		def steady(text):
		    text = re.sub(r"^\S*bash: line \d+: ", "bash: ", text, flags=re.M)
		    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ pid \d+", "TIME pid PID", text)
		    return re.sub(r"changed=\d+\.\d{9}", "changed=TIME", text)
		if not commands or steady(real) != steady(shown):
		    sys.exit(f"It says:\n{steady(shown)}\nIt prints:\n{steady(real)}")
	PYTHON
}

@test "the README's transcript is what happens" {
	needs sqlite3
	mkdir "$T/home"
	cd "$T/home"
	mkdir repo mnt bin
	# The state can be read once the daemon has ended, which is a moment after umount has returned.
	cat >bin/sqlite3 <<-'END'
		#!/bin/sh
		umount mnt
		tail -f /dev/null --pid="$(head -n 1 repo/.reservefs/lock)"
		PATH=${PATH#*:} exec sqlite3 "$@"
	END
	chmod +x bin/sqlite3
	PATH=$PWD/bin:$(dirname "$RESERVEFS"):$PATH transcript "$SYSTEM/../../README.md"
}

@test "the help fits one screen" {
	run -0 "$RESERVEFS" --help
	((${#lines[@]} <= 24))
	[ "$(wc -L <<<"$output")" -le 80 ]
}

@test "the manual has no error and no warning" {
	needs mandoc
	run -0 mandoc -Tlint -Wwarning "$SYSTEM"/../../contrib/man/*.[1-9]
	equal '' "$output"
}
