# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# replacing.bats: tools that replace a file by another one of the same name, and that cut it, or set its mode, owner and times, once they
# have written it. The space of the contract is held all the while, and the value that they write is what counts.

# shellcheck disable=SC2030,SC2031 # each test has its own ATTACHED

load lib.bash

# All of 10G is promised: 4G to `c`, 6G to `d`. A thief tries to get some of it, all the time.
mount_with_thief() {
	mount_quota 10G
	contract c 4G
	contract d 6G
	contract thief
	"$PYTHON" - "$MNT/reservations/thief/size" "$T/tries" "$T/stolen" <<-'END' &
		import errno, os, sys
		fd, tries = os.open(sys.argv[1], os.O_WRONLY), 0
		while True:
		    try:
		        os.pwrite(fd, b"1", 0)
		    except OSError as e:
		        assert e.errno == errno.ENOSPC, e
		        tries += 1
		        if tries % 100 == 0:
		            open(sys.argv[2], "w").write(str(tries))
		        continue
		    open(sys.argv[3], "w").close()
		    break
	END
	ATTACHED+=($!)
	eventually test -s "$T/tries"
}

nothing_was_stolen() {
	kill -0 "${ATTACHED[0]}"
	run ! test -e "$T/stolen"
	size_is 0 thief
}

end_of_thief() {
	local before
	before=$(<"$T/tries")
	# it has tried since
	tried_again() { [ "$(<"$T/tries")" != "$before" ]; }
	eventually tried_again
	nothing_was_stolen
	kill "${ATTACHED[0]}"
	wait "${ATTACHED[0]}" 2>/dev/null || :
	ATTACHED=()
	rmdir "$MNT/reservations/thief"
}

# each_replaces COMMAND...: each, a line of shell, puts the file $SRC in the place of $DST, or over it. First with the value that is
# there, under the eyes of a thief; then with another one.
each_replaces() {
	local command inode value
	export SRC=$T/source DST=$MNT/reservations/c/size
	mount_with_thief
	inode=$(stat -c '%i %h %a' "$DST")
	for value in 4294967296 3221225472; do
		[ "$value" = 4294967296 ] || end_of_thief
		for command; do
			echo "with $value: $command" >&2
			[ "$value" = 4294967296 ] || echo 4294967296 >"$DST"
			echo "$value" >"$SRC"
			touch -d 2020-01-01 "$SRC"
			timeout 20 bash -c "$command"
			equal "$value" "$(cat "$DST")"
			equal "$inode" "$(stat -c '%i %h %a' "$DST")"
			[ "$value" != 4294967296 ] || nothing_was_stolen
		done
	done
	figure_is reserved $((3221225472 + 6442450944))
	remount
	size_is 3221225472 c
}

# shellcheck disable=SC2016 # the commands are run by a shell of their own
@test "coreutils, busybox and perl replace a size" {
	needs busybox perl
	each_replaces \
		'cp "$SRC" "$DST"' \
		'cp -p "$SRC" "$DST"' \
		'cp -a "$SRC" "$DST"' \
		'cp -f "$SRC" "$DST"' \
		'cp --remove-destination "$SRC" "$DST"' \
		'cp -a --remove-destination "$SRC" "$DST"' \
		'cp -a -t "${DST%/*}" "$(mkdir -p "$T/dir" && cp -a "$SRC" "$T/dir/size" && echo "$T/dir/size")"' \
		'install -m 644 "$SRC" "$DST"' \
		'install -p -o root -g root -m 644 "$SRC" "$DST"' \
		'mv "$SRC" "$DST"' \
		'mv -f "$SRC" "$DST"' \
		'dd if="$SRC" of="$DST" status=none' \
		'tee "$DST" <"$SRC" >"$T/tee"' \
		'rm -f "$DST"; cat "$SRC" >"$DST"' \
		'set -o noclobber; rm "$DST"; cat "$SRC" >"$DST"' \
		'unlink "$DST"; cp -n "$SRC" "$DST"' \
		'busybox cp "$SRC" "$DST"' \
		'busybox cp -a "$SRC" "$DST"' \
		'busybox mv "$SRC" "$DST"' \
		'perl -e "open my \$in, q(<), \$ENV{SRC}; my \$v = <\$in>; unlink \$ENV{DST} or die; open my \$out, q(>), \$ENV{DST} or die; print \$out \$v; close \$out or die"' \
		'perl -MFile::Copy -e "copy(\$ENV{SRC}, \$ENV{DST}) or die \$!"' \
		'perl -MFile::Copy -e "move(\$ENV{SRC}, \$ENV{DST}) or die \$!"'
}

# shellcheck disable=SC2016
@test "rsync, scp and sftp replace a size" {
	needs rsync scp sftp
	local sftp_server=/usr/lib/openssh/sftp-server
	[ -x "$sftp_server" ] || skip "there is no sftp-server"
	each_replaces \
		'rsync --inplace "$SRC" "$DST"' \
		'rsync -a --inplace "$SRC" "$DST"' \
		'rsync -a --inplace --no-whole-file --checksum "$SRC" "$DST"' \
		'rsync -rlt --inplace --chmod=F644 "$SRC" "$DST"' \
		'scp -q "$SRC" "$DST"' \
		'scp -qp "$SRC" "$DST"' \
		"echo \"put \$SRC \$DST\" | sftp -q -b - -D $sftp_server" \
		"echo \"put -p \$SRC \$DST\" | sftp -q -b - -D $sftp_server"
	# a file that it did not write whole says so, rather than nothing
	run ! rsync "$T/source" "$MNT/reservations/c/size"
	size_is 3221225472 c
}

# shellcheck disable=SC2016
@test "Python and Node replace a size" {
	needs node
	each_replaces \
		'"$PYTHON" -c "import os, shutil; shutil.copy(os.environ[\"SRC\"], os.environ[\"DST\"])"' \
		'"$PYTHON" -c "import os, shutil; shutil.copy2(os.environ[\"SRC\"], os.environ[\"DST\"])"' \
		'"$PYTHON" -c "import os, shutil; shutil.copyfile(os.environ[\"SRC\"], os.environ[\"DST\"])"' \
		'"$PYTHON" -c "import os, shutil; shutil.move(os.environ[\"SRC\"], os.environ[\"DST\"])"' \
		'"$PYTHON" -c "import os; f = open(os.environ[\"DST\"], \"r+b\", 0); f.write(open(os.environ[\"SRC\"], \"rb\").read()); f.truncate()"' \
		'"$PYTHON" -c "import os, pathlib as p; d = p.Path(os.environ[\"DST\"]); d.unlink(); d.write_bytes(p.Path(os.environ[\"SRC\"]).read_bytes())"' \
		'"$PYTHON" -c "import os; os.unlink(os.environ[\"DST\"]); open(os.environ[\"DST\"], \"x\").write(open(os.environ[\"SRC\"]).read())"' \
		'node -e "fs = require(\"fs\"), e = process.env; fs.copyFileSync(e.SRC, e.DST)"' \
		'node -e "fs = require(\"fs\"), e = process.env; fs.writeFileSync(e.DST, fs.readFileSync(e.SRC))"' \
		'node -e "fs = require(\"fs\"), e = process.env; fs.cpSync(e.SRC, e.DST, {force: true})"' \
		'node -e "fs = require(\"fs\"), e = process.env; fs.cpSync(e.SRC, e.DST, {force: true, preserveTimestamps: true})"' \
		'node -e "fs = require(\"fs/promises\"), e = process.env; fs.copyFile(e.SRC, e.DST)"' \
		'node -e "fs = require(\"fs\"), e = process.env; fs.unlinkSync(e.DST); fs.writeFileSync(e.DST, fs.readFileSync(e.SRC), {flag: \"wx\"})"' \
		'node -e "fs = require(\"fs\"), e = process.env; f = fs.openSync(e.DST, \"r+\"); b = fs.readFileSync(e.SRC); fs.writeSync(f, b); fs.ftruncateSync(f, b.length)"'
}

# shellcheck disable=SC2016
@test "Java replaces a size" {
	needs java javac
	cat >"$T/Replace.java" <<-'END'
		import java.nio.file.*;

		public class Replace {
			public static void main(String[] args) throws Exception {
				Path from = Path.of(System.getenv("SRC")), to = Path.of(System.getenv("DST"));
				switch (args[0]) {
				case "copy" -> Files.copy(from, to, StandardCopyOption.REPLACE_EXISTING);
				case "copy-attributes" -> Files.copy(from, to, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES);
				case "move" -> Files.move(from, to, StandardCopyOption.REPLACE_EXISTING);
				case "write" -> Files.write(to, Files.readAllBytes(from));
				case "new" -> { Files.delete(to); Files.write(to, Files.readAllBytes(from), StandardOpenOption.CREATE_NEW); }
				case "stream" -> { try (var out = new java.io.FileOutputStream(to.toFile())) { out.write(Files.readAllBytes(from)); } }
				}
			}
		}
	END
	javac -d "$T" "$T/Replace.java"
	local java='java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$T" Replace'
	each_replaces "$java copy" "$java copy-attributes" "$java move" "$java write" "$java new" "$java stream"
}

# shellcheck disable=SC2016
@test "Go and Rust replace a size" {
	needs go rustc
	cat >"$T/replace.go" <<-'END'
		package main

		import "os"

		func main() {
			value, err := os.ReadFile(os.Getenv("SRC"))
			if err == nil && os.Args[1] == "new" {
				err = os.Remove(os.Getenv("DST"))
			}
			if err == nil {
				err = os.WriteFile(os.Getenv("DST"), value, 0o600)
			}
			if err != nil {
				panic(err)
			}
		}
	END
	cat >"$T/replace.rs" <<-'END'
		use std::{env, fs};

		fn main() {
		    let (from, to) = (env::var("SRC").unwrap(), env::var("DST").unwrap());
		    match env::args().nth(1).unwrap().as_str() {
		        "copy" => { fs::copy(from, to).unwrap(); }
		        "write" => fs::write(to, fs::read(from).unwrap()).unwrap(),
		        _ => {
		            fs::remove_file(&to).unwrap();
		            let mut new = fs::File::create_new(to).unwrap();
		            std::io::Write::write_all(&mut new, &fs::read(from).unwrap()).unwrap();
		        }
		    }
		}
	END
	(cd "$T" && HOME=$T GOFLAGS=-mod=mod GO111MODULE=off go build -o replace-go replace.go) || skip "go builds nothing here"
	(cd "$T" && rustc --edition 2021 -o replace-rust replace.rs) || skip "rustc builds nothing here"
	each_replaces '"$T/replace-go" write' '"$T/replace-go" new' '"$T/replace-rust" copy' '"$T/replace-rust" write' '"$T/replace-rust" new'
}

# shellcheck disable=SC2016
# extracts COMMAND...: each extracts from its standard input into the directory $R.
extracts() {
	local command
	export R=$MNT/reservations
	mount_with_thief
	tar -C "$R" --exclude=./thief -cf "$T/backup.tar" .
	for command; do
		echo "over what is there: $command" >&2
		timeout 20 bash -c "$command" <"$T/backup.tar"
		nothing_was_stolen
		size_is 4294967296 c
		size_is 6442450944 d
	done
	end_of_thief
	# over other values, which make room for one another
	for command; do
		echo "over what has changed: $command" >&2
		echo 1G >"$R/c/size"
		echo 2G >"$R/d/size"
		timeout 20 bash -c "$command" <"$T/backup.tar"
		figure_is reserved 10737418240
	done
	# into an empty tree
	for command; do
		echo "into an empty tree: $command" >&2
		rm -r "${R:?}"/*
		figure_is reserved 0
		timeout 20 bash -c "$command" <"$T/backup.tar"
		equal "c d" "$(contracts)"
		size_is 4294967296 c
		size_is 6442450944 d
	done
	# with directories removed first, a contract is released, and made anew
	for command in 'tar -C "$R" -x --unlink-first' 'tar -C "$R" -x --recursive-unlink'; do
		timeout 20 bash -c "$command" <"$T/backup.tar"
		size_is 4294967296 c
		size_is 6442450944 d
	done
	# where there is no room it says so, and does not try for ever
	rm -r "${R:?}"/*
	contract other 5G
	for command; do
		echo "where there is no room: $command" >&2
		run timeout 20 bash -c "$command" <"$T/backup.tar"
		[[ $status -ne 0 && $status -ne 124 ]]
		size_is 5368709120 other
		figure_is reserved $((5368709120 + 4294967296))
	done
}

# shellcheck disable=SC2016
@test "GNU tar and busybox's bring a backup back, over the tree and into an empty one" {
	needs busybox
	extracts \
		'tar -C "$R" -x' \
		'tar -C "$R" -xp --same-owner --numeric-owner' \
		'tar -C "$R" -x --overwrite' \
		'tar -C "$R" -xm --no-same-permissions --no-same-owner' \
		'busybox tar -C "$R" -x -f -' \
		'busybox tar -C "$R" -x -o -f -'
}

# shellcheck disable=SC2016
@test "bsdtar brings a backup back, over the tree and into an empty one" {
	needs bsdtar
	extracts 'bsdtar -C "$R" -x -f -' 'bsdtar -C "$R" -x -p -f -' 'bsdtar -C "$R" -x -U -f -'
}

# shellcheck disable=SC2016
@test "whole trees are copied over one another" {
	needs rsync node
	local command
	export FROM=$T/backup R=$MNT/reservations
	mount_with_thief
	mkdir "$FROM"
	cp -a "$R/c" "$R/d" "$FROM"
	for command in \
		'cp -r "$FROM/." "$R"' 'cp -a "$FROM/." "$R"' 'cp -a --remove-destination "$FROM/." "$R"' \
		'rsync -r --inplace "$FROM/" "$R"' 'rsync -a --inplace --ignore-times "$FROM/" "$R"' \
		'"$PYTHON" -c "import os, shutil; shutil.copytree(os.environ[\"FROM\"], os.environ[\"R\"], dirs_exist_ok=True)"' \
		'node -e "fs = require(\"fs\"), e = process.env; fs.cpSync(e.FROM, e.R, {recursive: true})"' \
		'busybox cp -a "$FROM/." "$R"'; do
		echo "$command" >&2
		timeout 20 bash -c "$command"
		nothing_was_stolen
		size_is 4294967296 c
		size_is 6442450944 d
	done
	end_of_thief
}

@test "unlinked and created again, by many at once: space is held, and each write that succeeded counts" {
	mount_with_thief
	py <<-'END'
		import multiprocessing

		def replace(n):
		    for step in range(150):
		        try:
		            os.unlink(size("c"))
		        except FileNotFoundError:
		            pass
		        got = outcome(write_at, size("c"), b"4G", 0, os.O_WRONLY | os.O_CREAT | (os.O_EXCL if n % 2 else 0))
		        if got not in ("ok", "EEXIST"):
		            return got

		with multiprocessing.Pool(6) as pool:
		    equal({None}, set(pool.map(replace, range(6), chunksize=1)))
		eventually(lambda: os.path.exists(size("c")))
		equal(4 * 2**30, number(size("c")))
	END
	end_of_thief
}

@test "a hundred thousand names that are hidden at a time take a bounded amount of memory" {
	mount_quota 10G
	contract c 4G
	py "$DAEMON" <<-'END'
		import sys
		def resident_kib():
		    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{sys.argv[1]}/status").read())[1])

		# of one file, again and again
		path, new = size("c"), os.O_WRONLY | os.O_CREAT
		before = resident_kib()
		for n in range(100000):
		    os.unlink(path)
		    os.close(os.open(path, new))
		assert resident_kib() - before < 8192, resident_kib() - before
		# of contracts that are removed then
		for n in range(3000):
		    os.mkdir(contract("passing"))
		    os.unlink(size("passing"))
		    os.rmdir(contract("passing"))
		assert resident_kib() - before < 16384, resident_kib() - before
		equal((1, 4 * 2**30), (status()["reservations"], status()["reserved"]))
	END
}

@test "a file is cut to what was written through it, to what it reads, and to nothing, by its own descriptor" {
	mount_quota 10G
	contract c 4G
	py <<-'END'
		fd = os.open(size("c"), os.O_RDWR)
		other = os.open(size("c"), os.O_RDWR)

		def lengths(fd):
		    return {n for n in range(40) if outcome(os.ftruncate, fd, n) == "ok"}

		# a new descriptor knows nothing but what the file reads: "4294967296\n"
		equal({0, 11}, lengths(fd))
		os.pwrite(fd, b"5G\n", 0)
		equal({0, 3, 11}, lengths(fd))
		equal({0, 11}, lengths(other))
		os.pwrite(fd, b"7", 0)
		equal({0, 1, 2}, lengths(fd))
		equal({0, 2}, lengths(other))
		# white space behind it belongs to what was written
		os.pwrite(fd, b"\n", 1)
		os.pwrite(fd, b"\n\n", 2)
		equal({0, 2, 4}, lengths(fd))
		# what was refused was not written
		for value in (b"11G", b"lots", b"-1"):
		    assert outcome(os.pwrite, fd, value, 0) in ("ENOSPC", "EINVAL")
		    equal({0, 2, 4}, lengths(fd))
		# by its path there is no descriptor
		equal({0, 2}, {n for n in range(40) if outcome(os.truncate, size("c"), n) == "ok"})
		for n in (-1, 2**63 - 1, 2**40):
		    refused("EINVAL", os.ftruncate, fd, n)
		# nothing of that changed anything
		equal(b"7\n", os.pread(fd, 100, 0))
		equal(7, number(fixed("reserved")))
		equal(2, os.fstat(fd).st_size)
		# of a file that can only be read, and of a descriptor that can only read
		reader = os.open(size("c"), os.O_RDONLY)
		refused("EINVAL", os.ftruncate, reader, 0)
		refused("EACCES", os.truncate, fixed("available"), 0)
		# and of one whose contract is gone
		os.rmdir(contract("c"))
		assert outcome(os.ftruncate, fd, 0) in ("ENODEV", "ESTALE", "ENOENT"), outcome(os.ftruncate, fd, 0)
	END
}

@test "who creates a file may set the mode that he asked for, while he has it open, and it changes nothing" {
	mount_quota 10G
	contract c 4G
	py <<-'END'
		os.unlink(size("c"))
		fd = os.open(size("c"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
		os.fchmod(fd, 0o600)
		os.chmod(size("c"), 0o600)
		os.fchmod(fd, 0o644)
		equal(0o100644, os.fstat(fd).st_mode)
		refused("EPERM", os.fchmod, fd, 0o640)
		refused("EPERM", os.chmod, contract("c"), 0o600)
		os.close(fd)
		eventually(lambda: outcome(os.chmod, size("c"), 0o600) == "EPERM")
		# opened without creating it is not created
		fd = os.open(size("c"), os.O_WRONLY | os.O_CREAT, 0o600)
		refused("EPERM", os.fchmod, fd, 0o600)
	END
}

@test "mkdir with a mode, and what sets mode, owner and times afterwards" {
	mount_quota 10G
	mkdir -m 755 "$MNT/reservations/a"
	install -d -m 755 "$MNT/reservations/b"
	install -d -o root -g root "$MNT/reservations/c"
	busybox mkdir -m 755 "$MNT/reservations/e"
	perl -e 'mkdir "$ENV{MNT}/reservations/f", 0700 or die; chmod 0755, "$ENV{MNT}/reservations/f" or die'
	"$PYTHON" -c "import os; os.makedirs('$MNT/reservations/g', 0o700, exist_ok=True)"
	equal "a b c e f g" "$(contracts)"
	cp -p "$MNT/available" "$T/available"
	cp --preserve=all "$MNT/reservations/a/size" "$T/size"
	chmod --reference="$MNT/reservations/b" "$MNT/reservations/a"
	chown --reference="$MNT/available" "$MNT/reservations/a/size"
	touch -r "$T/size" "$MNT/reservations/a/size"
	touch -c -a "$MNT/reservations/a" "$MNT/status" "$MNT/reservations" "$MNT"
	equal "" "$(cat "$MNT/last_error")"
	run -1 chmod 700 "$MNT/reservations/a"
	run -1 chmod u+s "$MNT/reservations/a/size"
	run -1 chown 1:1 "$MNT/reservations/a"
	grep -q "owner is fixed" "$MNT/last_error"
}
