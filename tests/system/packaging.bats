# shellcheck shell=bats disable=SC2013,SC2016,SC2030,SC2031,SC2317
# SPDX-License-Identifier: MIT
# packaging.bats: what is handed out: the manual, the completions, licences and versions, an installation, the library, the
# source archive, equal bits from equal sources, and the Debian packages, installed into an empty root and used.

# Compilers take their time.
BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-400}
load lib.bash

TOP=$(realpath -- "$SYSTEM/../..")
HOLDER=''

also_teardown() {
	[ -z "$HOLDER" ] || kill "$HOLDER" || :
}

# Every file of the project, as git knows it, or where there is no git, all but builds.
files() {
	if git -C "$TOP" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git -C "$TOP" ls-files --cached --others --exclude-standard
	else
		(cd "$TOP" && find . -path './build*' -prune -o -type f -printf '%P\n')
	fi | while read -r file; do
		[ ! -f "$TOP/$file" ] || echo "$file"
	done
}

# tree_in DIRECTORY: a copy of the sources.
tree_in() {
	mkdir -p "$1"
	files | tar -C "$TOP" -T - -cf - | tar -C "$1" -xf -
}

# built NAME [OTHER]: builds a copy of the sources, or of OTHER's, in a directory of that name, once a file of tests, and
# installs it into $BATS_FILE_TMPDIR/NAME/root.
built() {
	needs meson ninja
	local here=$BATS_FILE_TMPDIR/$1
	[ ! -e "$here/done" ] || return 0
	rm -rf "$here"
	if [ $# -eq 1 ]; then
		tree_in "$here/source"
	else
		mkdir "$here"
		cp -a "$BATS_FILE_TMPDIR/$2/source" "$here/source"
	fi
	{
		meson setup --prefix=/usr -Dtests=disabled "$here/build" "$here/source"
		ninja -C "$here/build"
		DESTDIR=$here/root meson install -C "$here/build" --no-rebuild
	} >"$here.log" 2>&1 || {
		tail -n 30 "$here.log"
		return 1
	}
	touch "$here/done"
}

version() {
	sed -n "s/^  version: '\(.*\)',/\1/p" "$TOP/meson.build"
}

# --- the manual

@test "mandoc finds nothing wrong with the manual" {
	needs mandoc
	local page
	for page in "$TOP"/contrib/man/*.[1-8]; do
		# Pages that aren't installed here are no fault of these.
		run mandoc -Tlint -Wstyle "$page"
		equal "" "$(grep -v -e 'referenced manual not found' -e 'outdated mandoc.db' <<<"$output" || :)"
	done
}

@test "the manual has every option that --help has, and every errno that can be met" {
	local option name
	"$RESERVEFS" --help >"$T/help"
	equal "" "$(awk 'length > 80' "$T/help")"
	[ "$(wc -l <"$T/help")" -le 24 ]
	for option in $(grep -oE '^ +-o [a-z]+=' "$T/help" | grep -oE '[a-z]+='); do
		grep -qE "^\.It Cm ([a-z]+ Ns = Ns Ar [a-z]+ , Cm )?${option%=}( |$)" "$TOP/contrib/man/reservefs.1"
	done
	for name in $(grep -oE '^ +-[a-zA-Z]' "$T/help" | tr -d ' -'); do
		grep -qE "^\.It Fl $name" "$TOP/contrib/man/reservefs.1"
	done
	for name in ENOSPC EINVAL ERANGE EEXIST ENAMETOOLONG EPERM EACCES ENODEV EIO ENOMEM; do
		grep -q "^\.It Bq Er $name$" "$TOP/contrib/man/reservefs.5"
	done
}

# --- completions

# completed LINE: what bash offers at its end.
completed() {
	bash -c '
		source "$1"
		COMP_LINE=$2 COMP_POINT=${#2}
		_reservefs
		printf "%s\n" "${COMPREPLY[@]}"' - "$TOP/contrib/completions/reservefs.bash" "$1" | sort | paste -sd ' '
}

@test "bash completes options, their values, and directories" {
	mkdir "$T/repository"
	equal "-V" "$(completed 'reservefs -V')"
	equal "repo=" "$(completed 'reservefs -o re')"
	# After "=", which breaks words, only what follows is replaced.
	equal "disk quota" "$(completed 'reservefs -o repo=')"
	equal "quota" "$(completed 'reservefs -o allow_other,repo=q')"
	equal "allow_other,capacity=" "$(completed 'reservefs -o allow_other,cap')"
	equal "root" "$(completed 'reservefs -o uid=roo')"
	equal "$T/repo $T/repository" "$(completed "reservefs -f $T/repo")"
}

@test "all completions know all options of --help" {
	local option shell
	for option in $("$RESERVEFS" --help | grep -oE -e '-o [a-z]+=' | grep -oE '[a-z]+='); do
		for shell in bash zsh fish; do
			grep -qwF "${option%=}" "$TOP/contrib/completions/reservefs.$shell"
		done
	done
}

@test "zsh takes its completions" {
	needs zsh
	run -0 zsh -n "$TOP/contrib/completions/reservefs.zsh"
	mkdir "$T/functions"
	cp "$TOP/contrib/completions/reservefs.zsh" "$T/functions/_reservefs"
	run -0 zsh -fc 'fpath=("$1" $fpath); autoload -Uz compinit; compinit -D; print $_comps[reservefs] $_comps[mount.reservefs] $_comps[umount.reservefs]' - "$T/functions"
	equal "_reservefs _reservefs _reservefs" "$output"
}

@test "fish completes options, their values, and directories" {
	needs fish
	mkdir "$T/repository"
	offered() {
		HOME=$T fish --no-config -c "source '$TOP/contrib/completions/reservefs.fish'; complete -C '$1'" | cut -f 1 | sort | paste -sd ' '
	}
	equal "repo=" "$(offered 'reservefs -o re')"
	equal "allow_other,repo=quota" "$(offered 'reservefs -o allow_other,repo=q')"
	equal "$T/repo/ $T/repository/" "$(offered "reservefs $T/repo")"
}

# --- licences and versions

@test "every file says under which licence it is, or .reuse/dep5 does" {
	files >"$T/files"
	[ "$(wc -l <"$T/files")" -gt 100 ]
	run -0 "$PYTHON" - "$TOP" "$T/files" <<-'END'
		import fnmatch, os, re, sys
		top, names = sys.argv[1], open(sys.argv[2]).read().splitlines()
		dep5 = open(os.path.join(top, ".reuse/dep5")).read()
		patterns = [p for line in re.findall(r"^Files: (.*(?:\n .*)*)", dep5, re.M) for p in line.split()]
		def licensed(name):
		    with open(os.path.join(top, name), "rb") as file:
		        head = file.read(2000)
		    return re.search(rb"SPDX-License-Identifier: MIT\b", head) or any(fnmatch.fnmatch(name, p) for p in patterns)
		for name in names:
		    if not name.startswith(".reuse/") and not licensed(name):
		        print("no licence:", name)
		for p in patterns:
		    if not fnmatch.filter(names, p):
		        print("matches nothing:", p)
	END
	equal "" "$output"
}

@test "the version is one everywhere, semantic, and in the CHANGELOG" {
	local version
	version=$(version)
	[[ $version =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]]
	equal "reservefs $version" "$("$RESERVEFS" -V | cut -d ' ' -f 1,2)"
	equal "$version" "$(sed -n 's/^## \([0-9.]*\).*/\1/p' "$TOP/contrib/CHANGELOG.md" | head -n 1)"
	equal "$version" "$(sed -n '1s/^reservefs (\(.*\)-[^-]*).*/\1/p' "$TOP/contrib/debian/changelog")"
	mount_quota 1G
	grep -qF "reservefs_build_info{pool=\"repo\",version=\"$version\"} 1" "$MNT/metrics"
}

# --- an installation

@test "meson install puts everything in its place, below DESTDIR and the prefix alone" {
	built one
	local root=$BATS_FILE_TMPDIR/one/root file
	for file in usr/bin/reservefs usr/sbin/mount.reservefs usr/sbin/mount.fuse.reservefs usr/sbin/fsck.reservefs \
		usr/sbin/umount.reservefs usr/sbin/umount.fuse.reservefs usr/share/man/man8/umount.reservefs.8 \
		usr/share/man/man8/umount.fuse.reservefs.8 \
		usr/share/man/man1/reservefs.1 usr/share/man/man5/reservefs.5 usr/share/man/man8/mount.reservefs.8 \
		usr/share/man/man8/mount.fuse.reservefs.8 usr/share/man/man8/fsck.reservefs.8 \
		usr/lib/systemd/system/reservefs@.service usr/lib/sysusers.d/reservefs.conf usr/lib/tmpfiles.d/reservefs.conf \
		usr/share/bash-completion/completions/reservefs usr/share/zsh/vendor-completions/_reservefs \
		usr/share/fish/vendor_completions.d/reservefs.fish usr/include/reservefs/reservations.h \
		usr/share/doc/reservefs/README.md usr/share/doc/reservefs/examples/restore.sh; do
		[ -e "$root/$file" ] || [ -L "$root/$file" ] || { echo "missing: $file"; false; }
	done
	equal "usr" "$(ls -A "$root")"
	equal "" "$(find "$root" -perm /0022 -not -type l)"
	equal /usr/bin/reservefs "$(readlink "$root/usr/sbin/mount.reservefs")"
	equal 644 "$(stat -c %a "$root/usr/share/man/man1/reservefs.1")"
	grep -qF 'ExecStart=/usr/bin/reservefs -f' "$root/usr/lib/systemd/system/reservefs@.service"
	"$root/usr/bin/reservefs" --version
	# Nothing in it knows where it was built.
	run ! grep -rlF "$BATS_FILE_TMPDIR" "$root"
}

@test "options of the build leave out the library, the unit and the completions" {
	built one
	local root=$T/root here=$BATS_FILE_TMPDIR/one
	cp -a "$here/build" "$T/build"
	meson setup --reconfigure -Dlibrary=false -Dsystemd=false -Dcompletions=false "$T/build" "$here/source" >"$T/log" 2>&1
	DESTDIR=$root meson install -C "$T/build" >>"$T/log" 2>&1
	[ -x "$root/usr/bin/reservefs" ]
	equal "bin sbin share" "$(find "$root/usr" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | paste -sd ' ')"
	equal "doc man" "$(find "$root/usr/share" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | paste -sd ' ')"
}

@test "the library shows what the public headers declare and nothing else" {
	needs nm readelf
	built one
	local library root=$BATS_FILE_TMPDIR/one/root name
	library=$(find "$root/usr/lib" -name 'libreservefs-reservations.so.*.*')
	equal 'libreservefs-reservations.so.0' "$(readelf -d "$library" | sed -n 's/.*soname: \[\(.*\)\]/\1/p')"
	nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$T/shown"
	[ "$(wc -l <"$T/shown")" -gt 30 ]
	# What the compiler sees declared, and who uses one of them can link.
	printf '#include <reservefs/%s.h>\n' datastore repo reservations types >"$T/all.c"
	gcc -I "$root/usr/include" -aux-info "$T/declared" -fsyntax-only "$T/all.c"
	grep -F "$root" "$T/declared" | grep -oE '\brfs_[a-z0-9_]+ \(' | tr -d ' (' | sort -u >"$T/functions"
	equal "" "$(comm -13 "$T/shown" "$T/functions")"
	equal "rfs_commit_bounds_seconds" "$(comm -23 "$T/shown" "$T/functions")"
	# A library neither ends the program nor mounts.
	equal "" "$(nm -D --undefined-only "$library" | grep -oE ' (_?exit|abort|fuse_.*)$' || :)"
}

@test "a C program uses the installed library through pkg-config" {
	needs pkg-config gcc
	built one
	local root=$BATS_FILE_TMPDIR/one/root flags
	export PKG_CONFIG_SYSROOT_DIR=$root
	PKG_CONFIG_PATH=$(dirname "$(find "$root" -name reservefs-reservations.pc)")
	export PKG_CONFIG_PATH
	equal "$(version)" "$(pkg-config --modversion reservefs-reservations)"
	read -ra flags <<<"$(pkg-config --cflags --libs reservefs-reservations)"
	gcc -Wall -Werror -o "$T/embed" "$root/usr/share/doc/reservefs/examples/embed.c" "${flags[@]}"
	readelf -d "$T/embed" | grep -F 'libreservefs-reservations.so.0'
	LD_LIBRARY_PATH=$(dirname "$(find "$root" -name 'libreservefs-reservations.so')") "$T/embed" "$T/embed.db" 10737418240 c1 4294967296 >"$T/out" 2>&1 || {
		cat "$T/out"
		false
	}
}

@test "equal sources give equal bits, wherever they are built" {
	built one
	built "two, in a place with another name" one
	local other="$BATS_FILE_TMPDIR/two, in a place with another name" file
	diff -r --no-dereference "$BATS_FILE_TMPDIR/one/root" "$other/root"
	for file in "$BATS_FILE_TMPDIR"/one/build/src/*/*.a; do
		[ -e "$other/build/${file#"$BATS_FILE_TMPDIR/one/build/"}" ]
	done
}

@test "meson dist makes an archive that builds" {
	needs meson git xz
	git -C "$TOP" rev-parse --is-inside-work-tree >/dev/null 2>&1 || skip "this is no git checkout"
	local archive
	git clone -q "$TOP" "$T/clone"
	meson setup -Dtests=disabled "$T/build" "$T/clone" >"$T/log" 2>&1
	meson dist -C "$T/build" --no-tests >>"$T/log" 2>&1 || { tail "$T/log"; false; }
	archive=$T/build/meson-dist/reservefs-$(version).tar.xz
	tar -C "$T" -xf "$archive"
	[ ! -e "$T/reservefs-$(version)/.git" ]
	[ -x "$T/reservefs-$(version)/contrib/test" ]
	meson setup -Dtests=disabled "$T/build2" "$T/reservefs-$(version)" >"$T/log" 2>&1
	ninja -C "$T/build2" src/cli/reservefs >>"$T/log" 2>&1 || { tail "$T/log"; false; }
	"$T/build2/src/cli/reservefs" --version
}

# --- Debian packages

# packaged: builds them once a file of tests, in $BATS_FILE_TMPDIR/packages.
packaged() {
	needs dpkg-buildpackage dh dpkg
	[ ! -e "$BATS_FILE_TMPDIR/packages/done" ] || return 0
	"$TOP/contrib/build-deb" "$BATS_FILE_TMPDIR/packages" >"$T/log" 2>&1 || {
		tail -n 30 "$T/log"
		return 1
	}
	touch "$BATS_FILE_TMPDIR/packages/done"
}

@test "the Debian packages build in one command" {
	packaged
	equal "libreservefs-reservations-dev libreservefs-reservations0 reservefs" \
		"$(cd "$BATS_FILE_TMPDIR/packages" && for file in *.deb; do dpkg-deb -f "$file" Package; done | sort | paste -sd ' ')"
}

@test "lintian has nothing to warn of" {
	needs lintian
	packaged
	run lintian --allow-root --fail-on warning "$BATS_FILE_TMPDIR"/packages/*.changes
	echo "$output"
	equal 0 "$status"
}

# into_root DPKG-ARGUMENT...: dpkg on the empty root $ROOT, which has no shell and nothing that a package could depend on.
into_root() {
	dpkg --root="$ROOT" --force-not-root --force-depends --force-script-chrootless --log="$T/dpkg.log" "$@"
}

# Makes a mount namespace where mount(8) finds the helper that was installed into $ROOT.
namespace() {
	mkdir "$T/sbin" "$T/sbin.real"
	cat >"$T/enter" <<-'END'
		set -eu
		mount --make-rprivate /
		mount --bind /usr/sbin "$T/sbin.real"
		ln -s "$T/sbin.real/"* "$T/sbin/"
		ln -sf "$ROOT/usr/sbin/mount.reservefs" "$T/sbin/mount.reservefs"
		ln -sf "$ROOT/usr/sbin/umount.reservefs" "$T/sbin/umount.reservefs"
		mount --bind "$T/sbin" /usr/sbin
		[ /sbin -ef /usr/sbin ] || mount --bind "$T/sbin" /sbin
		echo "$$" >"$T/holder"
		exec sleep infinity
	END
	ROOT=$ROOT unshare -m bash "$T/enter" </dev/null >/dev/null 2>"$T/namespace.err" 3>&- &
	HOLDER=$!
	eventually test -s "$T/holder"
}

inside() {
	nsenter -t "$HOLDER" -m -- "$@" 3>&-
}

no_daemon_in_root() {
	local process
	for process in /proc/[0-9]*; do
		[ ! "$process/exe" -ef "$ROOT/usr/bin/reservefs" ] || return 1
	done
}

@test "from the package to a mount at boot, a metrics scrape, and away again, in an empty root" {
	needs systemd-sysusers systemd-tmpfiles
	packaged
	ROOT=$T/root
	mkdir -p "$ROOT/var/lib/dpkg/updates" "$ROOT/var/lib/dpkg/info" "$ROOT/etc"
	touch "$ROOT/var/lib/dpkg/status" "$ROOT/var/lib/dpkg/available"
	into_root -i "$BATS_FILE_TMPDIR"/packages/reservefs_*.deb >"$T/log" 2>&1 || { cat "$T/log"; false; }
	[ -x "$ROOT/usr/bin/reservefs" ]
	grep '^reservefs:' "$ROOT/etc/passwd"
	[ -d "$ROOT/etc/reservefs" ]
	into_root -V reservefs

	namespace
	echo "$REPO $MNT reservefs repo=quota,capacity=10G,allow_other 0 0" >"$T/fstab"
	inside mount -a -T "$T/fstab"
	inside mount -a -T "$T/fstab"
	run ! no_daemon_in_root
	inside mkdir "$MNT/reservations/c1"
	inside sh -c 'echo 4G >"$1/reservations/c1/size"' - "$MNT"
	inside cat "$MNT/metrics" >"$T/metrics"
	grep -xF 'reservefs_reserved_bytes{pool="repo"} 4294967296' "$T/metrics"
	! command -v promtool >/dev/null || promtool check metrics <"$T/metrics"
	inside umount "$MNT"
	no_daemon_in_root

	into_root -P reservefs >"$T/log" 2>&1 || { cat "$T/log"; false; }
	equal "" "$(find "$ROOT" -name '*reservefs*')"
	# What was reserved is the operator's, not the package's.
	[ -s "$REPO/.reservefs/datastore.db" ]
}

@test "the library's packages in an empty root: link, run, away" {
	needs gcc
	packaged
	ROOT=$T/root
	mkdir -p "$ROOT/var/lib/dpkg/updates" "$ROOT/var/lib/dpkg/info"
	touch "$ROOT/var/lib/dpkg/status" "$ROOT/var/lib/dpkg/available"
	into_root -i "$BATS_FILE_TMPDIR"/packages/lib*.deb >"$T/log" 2>&1 || { cat "$T/log"; false; }
	local directory
	directory=$(dirname "$(find "$ROOT/usr/lib" -name libreservefs-reservations.so)")
	gcc -I "$ROOT/usr/include" -o "$T/embed" "$TOP/contrib/examples/embed.c" -L "$directory" -lreservefs-reservations
	LD_LIBRARY_PATH=$directory "$T/embed" "$T/embed.db" 10737418240 c1 4294967296
	into_root -P libreservefs-reservations-dev libreservefs-reservations0 >"$T/log" 2>&1
	equal "" "$(find "$ROOT" -name '*reservefs*')"
}
