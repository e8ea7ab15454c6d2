# shellcheck shell=bats disable=SC2012,SC2016,SC2030,SC2031,SC2317
# SPDX-License-Identifier: MIT
# habits.bats: the tools that people reach for without a thought, as a new user would. Each works, or refuses and leaves
# everything as it was.

# Compilers take their time.
BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-400}
load lib.bash

EXAMPLES=$(realpath -- "$SYSTEM/../../contrib/examples")
REMOTE=''

also_teardown() {
	[ -z "$REMOTE" ] || fusermount3 -uz "$REMOTE" 2>/dev/null || :
}

# A tree with 10G of which c1 has 4G and c2 nothing.
small_tree() {
	mount_quota 10G
	contract c1 4G
	contract c2
}

# untouched: nothing of that has changed, nothing came, and nobody's work is left over.
untouched() {
	equal "c1 c2" "$(contracts)"
	size_is 4294967296 c1
	size_is 0 c2
	figure_is reserved 4294967296
	equal "c1 c1/size c2 c2/size" "$(cd "$MNT/reservations" && find . -mindepth 1 -printf '%P\n' | sort | paste -sd ' ')"
}

# The same as untouched, with c1 having BYTES.
only_c1_became() {
	size_is "$1" c1
	figure_is reserved "$1"
	equal "c1 c1/size c2 c2/size" "$(cd "$MNT/reservations" && find . -mindepth 1 -printf '%P\n' | sort | paste -sd ' ')"
}

@test "df -h" {
	small_tree
	equal "10G 4.0G 6.0G 40% $MNT" "$(df -h --output=size,used,avail,pcent,target "$MNT" | tail -n 1 | xargs)"
	equal "10737418240 4294967296 6442450944" "$(df -B1 --output=size,used,avail "$MNT/reservations/c1/size" | tail -n 1 | xargs)"
	df -i "$MNT"
	[[ $(df -T "$MNT" | tail -n 1) == *fuse.reservefs* ]]
}

@test "du -h" {
	small_tree
	echo 1536M >"$MNT/reservations/c2/size"
	equal "4.0G" "$(du -h "$MNT/reservations/c1/size" | cut -f 1)"
	equal "4.0G" "$(du -sh "$MNT/reservations/c1" | cut -f 1)"
	equal "1.5G" "$(du -sh "$MNT/reservations/c2" | cut -f 1)"
	equal "5.5G" "$(du -sh "$MNT/reservations" | cut -f 1)"
	equal "5.5G" "$(du -sh "$MNT" | cut -f 1)"
}

@test "ls -l, ls -lR and ls -i" {
	small_tree
	equal "-rw-r--r-- 1 11" "$(ls -l "$MNT/reservations/c1/size" | awk '{ print $1, $2, $5 }')"
	equal "-r--r--r-- 1 12" "$(ls -l "$MNT/capacity" | awk '{ print $1, $2, $5 }')"
	equal "available capacity last_error metrics reservations reserved status" "$(ls "$MNT" | paste -sd ' ')"
	ls -laR "$MNT" >/dev/null
	equal "$(stat -c %i "$MNT/reservations/c1/size")" "$(ls -i "$MNT/reservations/c1/size" | cut -d ' ' -f 1)"
}

@test "stat and test" {
	small_tree
	equal "regular file 644 11 $((4294967296 / 512))" "$(stat -c '%F %a %s %b' "$MNT/reservations/c1/size")"
	equal "directory 755" "$(stat -c '%F %a' "$MNT/reservations/c1")"
	local length
	for file in available capacity reserved status metrics; do
		length=$(stat -c %s "$MNT/$file")
		equal "$length" "$(wc -c <"$MNT/$file")"
	done
	[ -w "$MNT/reservations/c1/size" ]
	[ -r "$MNT/available" ]
	[ ! -s "$MNT/last_error" ]
	[ "$MNT/reservations/c1/size" -nt "$SYSTEM/lib.bash" ]
}

@test "tree" {
	needs tree
	small_tree
	tree -a --noreport "$MNT/reservations" >"$T/tree"
	equal 4 "$(grep -cE '(── )(c1|c2|size)$' "$T/tree")"
	tree -s --du "$MNT" >/dev/null
}

@test "watch" {
	needs watch script
	small_tree
	# It ends when what it shows changes.
	TERM=xterm timeout 20 script -qec "watch -n 0.1 -g cat $MNT/available" /dev/null </dev/null >"$T/watched" 3>&- &
	local watching=$!
	eventually grep -qF 6442450944 "$T/watched"
	echo 1G >"$MNT/reservations/c2/size"
	wait "$watching"
	untouched || :
	figure_is reserved 5368709120
}

@test "find, by name, size, time and kind, and grep -r" {
	small_tree
	equal "c1 c2" "$(find "$MNT/reservations" -mindepth 1 -type d -printf '%f\n' | sort | paste -sd ' ')"
	equal "$MNT/reservations/c1/size" "$(find "$MNT/reservations" -name size -size -12c -size +5c)"
	equal "" "$(find "$MNT" -newermt tomorrow)"
	equal 8 "$(find "$MNT" -type f | wc -l)"
	equal "" "$(find "$MNT" -type f -empty -not -name last_error)"
	equal "$MNT/reservations/c1/size" "$(grep -rl 4294967296 "$MNT/reservations")"
	untouched
}

@test "cp into size" {
	small_tree
	echo 3G >"$T/value"
	cp "$T/value" "$MNT/reservations/c1/size"
	only_c1_became 3221225472
	cp --no-preserve=all "$T/value" "$MNT/reservations/c1/size"
	echo 11G >"$T/value"
	run -1 cp "$T/value" "$MNT/reservations/c1/size"
	[[ $output == *"No space left on device"* ]]
	only_c1_became 3221225472
	# From one contract to another, and out.
	cp "$MNT/reservations/c1/size" "$MNT/reservations/c2/size"
	size_is 3221225472 c2
	cp "$MNT/reservations/c1/size" "$T/value"
	equal 3221225472 "$(cat "$T/value")"
}

@test "cp --remove-destination, cp -a and install do no harm" {
	small_tree
	echo 3G >"$T/value"
	# The value arrives; that times can't be set is told.
	run cp -a "$T/value" "$MNT/reservations/c1/size"
	only_c1_became 3221225472
	run ! cp -r "$MNT/reservations/c1" "$MNT/c1"
	run ! ln "$MNT/reservations/c1/size" "$MNT/reservations/c1/other"
	run ! ln -s size "$MNT/reservations/c1/other"
	only_c1_became 3221225472
}

@test "cp -r of a contract makes one of size 0, says why, and fills it when asked again" {
	small_tree
	# It wants to make size itself, which comes with the contract.
	run -1 cp -r "$MNT/reservations/c1" "$MNT/reservations/c3"
	[[ $output == *"File exists"* ]]
	size_is 0 c3
	cp -r "$MNT/reservations/c1/." "$MNT/reservations/c3"
	size_is 4294967296 c3
	mkdir "$MNT/reservations/c4"
	run -1 cp -r "$MNT/reservations/c1/." "$MNT/reservations/c4"
	[[ $output == *"No space left on device"* ]]
	size_is 0 c4
	figure_is reserved 8589934592
}

@test "tee, and sudo tee" {
	small_tree
	echo 3G | tee "$MNT/reservations/c1/size" >/dev/null
	only_c1_became 3221225472
	run -1 bash -c "echo 11G | tee '$MNT/reservations/c1/size'"
	[[ $output == *"No space left on device"* ]]
	only_c1_became 3221225472
	run -1 bash -c "echo 1G | tee -a '$MNT/reservations/c1/size'"
	only_c1_became 3221225472
	needs sudo
	echo 2G | sudo -n tee "$MNT/reservations/c1/size" >/dev/null
	only_c1_became 2147483648
}

@test "sed reads; sed -i is refused, and nothing has changed" {
	small_tree
	equal "size 4294967296" "$(sed 's/^/size /' "$MNT/reservations/c1/size")"
	run ! sed -i 's/.*/1G/' "$MNT/reservations/c1/size"
	[[ $output == *"Operation not permitted"* ]]
	untouched
	run ! sed -i.bak 's/.*/1G/' "$MNT/reservations/c1/size"
	untouched
}

@test "awk, head, tail, cut, wc, sort, diff, md5sum and less read it" {
	small_tree
	equal 4 "$(awk '{ print $1 / 1024 ^ 3 }' "$MNT/reservations/c1/size")"
	equal 4294967296 "$(head -n 1 "$MNT/reservations/c1/size")"
	equal 4294967296 "$(tail -n 1 "$MNT/reservations/c1/size")"
	equal 4294967296 "$(sort "$MNT/reservations/c1/size" "$MNT/reservations/c2/size" | tail -n 1)"
	equal "$(echo 4294967296 | md5sum)" "$(md5sum <"$MNT/reservations/c1/size")"
	run -1 diff "$MNT/reservations/c1/size" "$MNT/reservations/c2/size"
	equal 6 "$(wc -l <"$MNT/status")"
	! command -v less >/dev/null || equal 4294967296 "$(less "$MNT/reservations/c1/size")"
	untouched
}

@test "rsync of the tree is a backup in text, and restore.sh brings it back" {
	needs rsync
	mount_quota 100G
	py <<-'END'
		for n, name in enumerate(["c1", "two words", "-rf", "Müller", "x" * 255, "a'b\"c", "*"]):
		    make(name, n * 1000)
	END
	rsync -a "$MNT/reservations/" "$T/backup/"
	equal 21000 "$(cat "$T/backup"/*/size | paste -sd + | bc 2>/dev/null || cat "$T/backup"/*/size | awk '{ n += $1 } END { print n }')"
	# A second run has nothing to do.
	equal "" "$(rsync -ai "$MNT/reservations/" "$T/backup/")"
	py <<-'END'
		import shutil
		for name in os.listdir(RESERVATIONS):
		    shutil.rmtree(contract(name))
		equal(0, number(fixed("reserved")))
	END
	run -0 "$EXAMPLES/restore.sh" "$T/backup" "$MNT"
	equal "" "$output"
	figure_is reserved 21000
	figure_is reservations 7
	diff -r "$T/backup" "$MNT/reservations"
	# Again, and over what has changed meanwhile.
	echo 90G >"$MNT/reservations/c1/size"
	contract other 5
	run -0 "$EXAMPLES/restore.sh" "$T/backup" "$MNT"
	figure_is reserved 21005
}

@test "restore.sh makes room first, and names what it could not restore" {
	needs rsync
	mount_quota 10G
	contract a 1G
	contract b 8G
	rsync -a "$MNT/reservations/" "$T/backup/"
	# a, which comes first, must wait for what b lets go.
	echo 1M >"$MNT/reservations/b/size"
	echo 9G >"$MNT/reservations/a/size"
	run -0 "$EXAMPLES/restore.sh" "$T/backup" "$MNT"
	size_is 8589934592 b
	rmdir "$MNT/reservations/b"
	contract other 5G
	run -1 "$EXAMPLES/restore.sh" "$T/backup" "$MNT"
	[[ $output == "b: reservations/b/size: cannot reserve 8589934592 bytes: 4294967296 are available; "* ]]
	size_is 1073741824 a
	run -1 "$EXAMPLES/restore.sh" "$T/none" "$MNT"
	[[ $output == usage* ]]
}

@test "rsync into the tree is refused or does what was asked" {
	needs rsync
	small_tree
	mkdir -p "$T/backup/c1"
	echo 3G >"$T/backup/c1/size"
	# It writes beside and renames, which the tree doesn't have.
	run ! rsync -r "$T/backup/" "$MNT/reservations/"
	untouched
	run rsync -r --inplace "$T/backup/" "$MNT/reservations/"
	only_c1_became 3221225472
}

@test "tar of the tree holds what is in it" {
	small_tree
	mkdir "$T/out"
	tar -C "$MNT" -cf - . | tar -C "$T/out" -xf -
	equal 4294967296 "$(cat "$T/out/reservations/c1/size")"
	equal 6442450944 "$(cat "$T/out/available")"
	cmp "$MNT/status" "$T/out/status"
	cmp "$MNT/capacity" "$T/out/capacity"
	diff -r "$MNT/reservations" "$T/out/reservations"
}

@test "vim: writes the value, or refuses and changes nothing" {
	needs vim
	small_tree
	# Without a terminal, as in a script. It can't keep a backup or swap file beside, and does without.
	run vim -Nes -u NONE -c '%s/.*/3G/' -c 'wq' "$MNT/reservations/c1/size"
	[ "$(cat "$MNT/reservations/c1/size")" = 3221225472 ] || untouched
	run vim -Nes -u NONE -c '%s/.*/2G/' -c 'wq!' "$MNT/reservations/c1/size"
	only_c1_became 2147483648
	run vim -Nes -u NONE -c '%s/.*/11G/' -c 'wq!' -c 'qa!' "$MNT/reservations/c1/size"
	only_c1_became 2147483648
	run vim -Nes -u NONE -c '%s/.*/nonsense/' -c 'wq!' -c 'qa!' "$MNT/reservations/c1/size"
	only_c1_became 2147483648
}

# drive COMMAND... <<< PAIRS: runs it in a terminal; each line of the script is what to wait for, a tab, and the keys to
# send then, with Python's escapes.
drive() {
	TERM=xterm py "$@" <<-END
		import pty, select, signal, termios
		pid, terminal = pty.fork()
		if pid == 0:
		    termios.tcsetwinsize(0, (24, 200))
		    os.execvp(sys.argv[1], sys.argv[1:])
		shown, end = "", time.monotonic() + DEADLINE

		def wait_for(text):
		    global shown
		    while text not in shown:
		        assert time.monotonic() < end, f"{text!r} did not come: {shown!r}"
		        if select.select([terminal], [], [], 0.1)[0]:
		            shown += os.read(terminal, 4096).decode(errors="replace")
		    shown = shown[shown.index(text) + len(text):]

		try:
		    for step in r"""$(cat)""".splitlines():
		        awaited, keys = step.split("\t")
		        wait_for(awaited)
		        os.write(terminal, keys.encode().decode("unicode_escape").encode())
		    while os.waitpid(pid, os.WNOHANG)[0] == 0:
		        assert time.monotonic() < end, "did not end"
		        if select.select([terminal], [], [], 0.05)[0] and outcome(os.read, terminal, 4096) != "ok":
		            time.sleep(0.01)
		    pid = 0
		finally:
		    if pid:
		        os.kill(pid, signal.SIGKILL)
		        os.waitpid(pid, 0)
	END
}

@test "vim in a terminal" {
	needs vim
	small_tree
	drive vim -N -u NONE "$MNT/reservations/c1/size" <<-'END'
		4294967296	:%s/.*/3G/\r:wq!\r
	END
	only_c1_became 3221225472
}

@test "nano in a terminal: writes the value, and shows a refusal" {
	needs nano
	small_tree
	drive nano -I "$MNT/reservations/c1/size" <<-'END'
		4294967296	\x0b3G\x0f
		File Name to Write	\r
		Wrote	\x18
	END
	only_c1_became 3221225472
	drive nano -I "$MNT/reservations/c1/size" <<-'END'
		3221225472	\x0b11G\x0f
		File Name to Write	\r
		No space left on device	\x18
		Save modified buffer	n
	END
	only_c1_became 3221225472
}

@test "Python: pathlib, shutil and plain files" {
	small_tree
	py <<-'END'
		import pathlib, shutil
		tree = pathlib.Path(MNT)
		new = tree / "reservations" / "new"
		new.mkdir()
		assert (new / "size").write_text("2G") == 2
		equal("2147483648\n", (new / "size").read_text())
		equal(["c1", "c2", "new"], sorted(path.name for path in (tree / "reservations").iterdir()))
		refused("ENOSPC", (new / "size").write_text, "11G")
		refused("EINVAL", (new / "size").write_text, "x")
		equal(2147483648, int((new / "size").read_text()))
		renamed = new.rename(tree / "reservations" / "renamed")
		equal((10 * 2**30, 6 * 2**30, 4 * 2**30), tuple(shutil.disk_usage(tree)))
		with open(renamed / "size", "w") as size:
		    print("1G", file=size)
		equal({"c1/size", "c2/size", "renamed/size"}, {str(path.relative_to(tree / "reservations")) for path in tree.glob("reservations/*/size")})
		shutil.rmtree(renamed)
		assert not renamed.exists()
		refused("EEXIST", (tree / "reservations" / "c1").mkdir)
		(tree / "reservations" / "c1").mkdir(exist_ok=True)
	END
	untouched
}

@test "Node: fs and fs/promises" {
	needs node
	small_tree
	node - <<-'END'
		const fs = require("fs"), assert = require("assert"), path = require("path");
		const tree = process.env.MNT, contract = path.join(tree, "reservations", "new"), size = path.join(contract, "size");
		(async () => {
			fs.mkdirSync(contract);
			fs.writeFileSync(size, "2G");
			assert.equal(fs.readFileSync(size, "utf8"), "2147483648\n");
			await fs.promises.writeFile(size, "1G\n");
			assert.equal(await fs.promises.readFile(size, "utf8"), "1073741824\n");
			assert.throws(() => fs.writeFileSync(size, "11G"), {code: "ENOSPC"});
			await assert.rejects(fs.promises.writeFile(size, "11G"), {code: "ENOSPC"});
			assert.throws(() => fs.writeFileSync(size, "x"), {code: "EINVAL"});
			assert.throws(() => fs.appendFileSync(size, "1"), {code: "EINVAL"});
			assert.equal(fs.readFileSync(size, "utf8"), "1073741824\n");
			assert.deepEqual(fs.readdirSync(path.dirname(contract)).sort(), ["c1", "c2", "new"]);
			const space = fs.statfsSync(tree);
			assert.equal(space.bavail * space.bsize, 5 * 2 ** 30);
			fs.renameSync(contract, contract + "2");
			assert.throws(() => fs.mkdirSync(path.join(tree, "reservations", "c1")), {code: "EEXIST"});
			fs.mkdirSync(path.join(tree, "reservations", "c1"), {recursive: true});
			await fs.promises.rm(contract + "2", {recursive: true});
			assert(!fs.existsSync(contract + "2"));
		})().catch((error) => { console.error(error); process.exit(1); });
	END
	untouched
}

@test "Go: os and io/fs" {
	needs go
	small_tree
	cat >"$T/habit.go" <<-'END'
		package main

		import (
			"errors"
			"io/fs"
			"os"
			"path/filepath"
			"syscall"
		)

		func must(ok bool, what string) {
			if !ok {
				panic(what)
			}
		}

		func main() {
			contracts := filepath.Join(os.Getenv("MNT"), "reservations")
			contract := filepath.Join(contracts, "new")
			size := filepath.Join(contract, "size")
			must(os.Mkdir(contract, 0o755) == nil, "mkdir")
			must(os.WriteFile(size, []byte("2G"), 0o644) == nil, "write")
			text, err := os.ReadFile(size)
			must(err == nil && string(text) == "2147483648\n", "read "+string(text))
			must(errors.Is(os.WriteFile(size, []byte("11G"), 0o644), syscall.ENOSPC), "no room")
			must(errors.Is(os.WriteFile(size, []byte("x"), 0o644), syscall.EINVAL), "malformed")
			must(errors.Is(os.Mkdir(contract, 0o755), fs.ErrExist), "exists")
			entries, err := os.ReadDir(contracts)
			must(err == nil && len(entries) == 3, "list")
			must(os.Rename(contract, contract+"2") == nil, "rename")
			count := 0
			must(filepath.WalkDir(contracts, func(string, fs.DirEntry, error) error { count++; return nil }) == nil && count == 7, "walk")
			must(os.RemoveAll(contract+"2") == nil, "remove")
		}
	END
	HOME=$T GOCACHE=$T/go GOFLAGS=-mod=mod GO111MODULE=off GOTOOLCHAIN=local go build -o "$T/habit" "$T/habit.go"
	"$T/habit"
	untouched
}

@test "Rust: std::fs" {
	needs rustc
	small_tree
	cat >"$T/habit.rs" <<-'END'
		use std::{env, fs, io::{ErrorKind, Write}, path::Path};

		fn main() -> std::io::Result<()> {
		    let contracts = Path::new(&env::var("MNT").unwrap()).join("reservations");
		    let contract = contracts.join("new");
		    let size = contract.join("size");
		    fs::create_dir(&contract)?;
		    fs::write(&size, "2G")?;
		    assert_eq!(fs::read_to_string(&size)?, "2147483648\n");
		    assert_eq!(fs::write(&size, "11G").unwrap_err().raw_os_error(), Some(28));
		    assert_eq!(fs::write(&size, "x").unwrap_err().kind(), ErrorKind::InvalidInput);
		    assert_eq!(fs::create_dir(&contract).unwrap_err().kind(), ErrorKind::AlreadyExists);
		    fs::OpenOptions::new().write(true).open(&size)?.write_all(b"1G\n")?;
		    assert_eq!(fs::read_dir(&contracts)?.count(), 3);
		    fs::rename(&contract, contracts.join("renamed"))?;
		    fs::remove_dir_all(contracts.join("renamed"))?;
		    assert!(!contracts.join("renamed").exists());
		    Ok(())
		}
	END
	rustc --edition 2021 -o "$T/habit" "$T/habit.rs"
	"$T/habit"
	untouched
}

@test "Java: nio" {
	needs java javac
	small_tree
	cat >"$T/Habit.java" <<-'END'
		import java.io.*;
		import java.nio.file.*;
		import java.util.*;

		class Habit {
			static void refused(String why, Path size, String value) throws Exception {
				try {
					Files.writeString(size, value);
				} catch (FileSystemException e) {
					if (e.getMessage().contains(why)) return;
					throw e;
				} catch (IOException e) {
					if (e.getMessage().contains(why)) return;
					throw e;
				}
				throw new Exception(value + " was not refused");
			}

			static void check(boolean ok) throws Exception {
				if (!ok) throw new Exception("not so");
			}

			public static void main(String[] args) throws Exception {
				Path tree = Path.of(System.getenv("MNT")), contract = tree.resolve("reservations/new"), size = contract.resolve("size");
				Files.createDirectory(contract);
				Files.writeString(size, "2G");
				check(Files.readString(size).equals("2147483648\n"));
				refused("No space left on device", size, "11G");
				refused("Invalid argument", size, "x");
				check(Files.readAllLines(size).equals(List.of("2147483648")));
				check(Files.getFileStore(tree).getUsableSpace() == 4L << 30);
				check(new File(tree.toString()).getUsableSpace() == 4L << 30);
				try {
					Files.createDirectory(contract);
					check(false);
				} catch (FileAlreadyExistsException e) {
				}
				Path renamed = Files.move(contract, tree.resolve("reservations/renamed"));
				try (var paths = Files.walk(renamed)) {
					for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) Files.delete(path);
				}
				check(!Files.exists(renamed));
			}
		}
	END
	java "$T/Habit.java"
	untouched
}

@test "Perl, Ruby, PHP and awk write a size" {
	small_tree
	if command -v perl >/dev/null; then
		perl -e 'open(my $f, ">", shift) or die; print $f "3G\n"; close($f) or die' "$MNT/reservations/c1/size"
		only_c1_became 3221225472
		run ! perl -e 'open(my $f, ">", shift) or die; print $f "11G\n"; close($f) or die "$!\n"' "$MNT/reservations/c1/size"
		[[ $output == *"No space left on device"* ]]
	fi
	if command -v ruby >/dev/null; then
		ruby -e 'File.write(ARGV[0], "2G")' "$MNT/reservations/c1/size"
		only_c1_became 2147483648
	fi
	if command -v php >/dev/null; then
		php -r 'file_put_contents($argv[1], "1G");' "$MNT/reservations/c1/size"
		only_c1_became 1073741824
	fi
	awk -v file="$MNT/reservations/c1/size" 'BEGIN { print "4G" >file }'
	untouched
}

@test "Ansible: copy and lineinfile with unsafe_writes, and the example playbook" {
	needs ansible-playbook
	small_tree
	cat >"$T/play.yml" <<-'END'
		- hosts: all
		  gather_facts: false
		  tasks:
		    - ansible.builtin.copy:
		        content: "3221225472\n"
		        dest: "{{ mountpoint }}/reservations/c1/size"
		        unsafe_writes: true
		    - ansible.builtin.lineinfile:
		        path: "{{ mountpoint }}/reservations/c2/size"
		        regexp: '.*'
		        line: 2G
		        unsafe_writes: true
		    - ansible.builtin.copy:
		        content: "11G\n"
		        dest: "{{ mountpoint }}/reservations/c1/size"
		        unsafe_writes: true
		      register: refused
		      ignore_errors: true
		    - ansible.builtin.assert:
		        that: refused is failed
	END
	run -0 env HOME="$T" ANSIBLE_LOCAL_TEMP="$T/ansible" ANSIBLE_REMOTE_TEMP="$T/ansible" ansible-playbook -i localhost, -c local \
		-e ansible_python_interpreter="$PYTHON" -e "mountpoint=$MNT" "$T/play.yml"
	size_is 3221225472 c1
	size_is 2147483648 c2
	contract gamma 1G
	run -0 env HOME="$T" ANSIBLE_LOCAL_TEMP="$T/ansible" ANSIBLE_REMOTE_TEMP="$T/ansible" ansible-playbook -i localhost, -c local \
		-e ansible_python_interpreter="$PYTHON" -e "mountpoint=$MNT" -e '{"contracts": {"c1": "4G", "c2": "1G"}}' "$EXAMPLES/ansible.yml"
	[[ $output == *"5.00 GB can still be reserved"* ]]
	equal "c1 c2" "$(contracts)"
	size_is 4294967296 c1
	size_is 1073741824 c2
	# Again, and there is nothing to do.
	run -0 env HOME="$T" ANSIBLE_LOCAL_TEMP="$T/ansible" ANSIBLE_REMOTE_TEMP="$T/ansible" ansible-playbook -i localhost, -c local \
		-e ansible_python_interpreter="$PYTHON" -e "mountpoint=$MNT" -e '{"contracts": {"c1": "4G", "c2": "1G"}}' "$EXAMPLES/ansible.yml"
	[[ $output == *"changed=0"* ]]
}

@test "seen through sshfs: read, reserve, be refused, rename, release" {
	needs sshfs
	local server
	for server in /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server; do
		[ ! -x "$server" ] || break
	done
	[ -x "$server" ] || skip "sftp-server is not installed"
	small_tree
	# sshd and ssh only carry what is said between these two.
	printf '#!/bin/sh\nexec %s\n' "$server" >"$T/ssh"
	chmod +x "$T/ssh"
	mkdir "$T/remote"
	REMOTE=$T/remote
	# Without sshfs_sync sshfs says that something is written before it is.
	sshfs -o sshfs_sync,"ssh_command=$T/ssh" "anyone@anywhere:$MNT" "$REMOTE"
	local far=$REMOTE/reservations
	equal 6442450944 "$(cat "$REMOTE/available")"
	equal "c1 c2" "$(ls "$far" | paste -sd ' ')"
	mkdir "$far/new"
	echo 2G >"$far/new/size"
	size_is 2147483648 new
	run ! bash -c "echo 11G >'$far/new/size'"
	size_is 2147483648 new
	mv "$far/new" "$far/renamed"
	size_is 2147483648 renamed
	rm -r "$far/renamed"
	untouched
	df "$REMOTE" >/dev/null
}

@test "file handles stay good across a remount" {
	mount_quota 10G
	contract c1 4G
	contract c2 1G
	contract gone 1G
	local size gone fixed
	size=$(call handle "$MNT/reservations/c1/size")
	[[ $size == *:* ]] || skip "this kernel gives no handles for FUSE: $size"
	gone=$(call handle "$MNT/reservations/gone/size")
	fixed=$(call handle "$MNT/capacity")
	mv "$MNT/reservations/c1" "$MNT/reservations/renamed"
	rmdir "$MNT/reservations/gone"
	remount
	contract gone 7
	equal 4294967296 "$(call open-handle "$MNT" "$size")"
	equal 10737418240 "$(call open-handle "$MNT" "$fixed")"
	# The name is used again; the handle isn't.
	equal ESTALE "$(call open-handle "$MNT" "$gone")"
	remount
	equal 4294967296 "$(call open-handle "$MNT" "$size")"
}
