# shellcheck shell=bats
# SPDX-License-Identifier: MIT
# refusals.bats: what cannot be done in the tree, root included, and the errno that says so.

load lib.bash

@test "nothing but contracts can be created" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		import socket, stat
		parents = [os.fsencode(MNT), contract("c1")]
		for parent in parents:
		    new = os.path.join(parent, b"new")
		    refused("EPERM", os.open, new, os.O_WRONLY | os.O_CREAT, 0o666)
		    refused("EPERM", os.open, new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TRUNC, 0o666)
		    refused("EPERM", os.mkdir, new)
		# a contract is a directory: files of all kinds are refused in reservations too
		for parent in parents + [os.fsencode(RESERVATIONS)]:
		    new = os.path.join(parent, b"new")
		    refused("EPERM", os.open, new, os.O_WRONLY | os.O_CREAT, 0o666)
		    refused("EPERM", os.mknod, new, stat.S_IFREG | 0o666)
		    refused("EPERM", os.mknod, new, stat.S_IFCHR | 0o666, os.makedev(1, 3))
		    refused("EPERM", os.mknod, new, stat.S_IFBLK | 0o666, os.makedev(7, 0))
		    refused("EPERM", os.mkfifo, new)
		    refused("EPERM", os.symlink, "size", new)
		    refused("EPERM", os.link, size("c1"), new)
		    refused("EPERM", os.link, fixed("available"), new)
		    with socket.socket(socket.AF_UNIX) as s:
		        os.chdir(parent)
		        refused("EPERM", s.bind, "new")
		        os.chdir("/")
		    assert not os.path.lexists(new)
		equal(["c1"], os.listdir(RESERVATIONS))
		equal(["size"], os.listdir(os.path.join(RESERVATIONS, "c1")))
		equal(1, status()["reservations"])
	END
}

@test "what tools say where nothing can be created" {
	mount_quota 10G
	contract c1 7
	local path=$MNT/reservations/c1 command
	for command in "mkdir $MNT/new" "mkdir $path/new" "touch $MNT/new" "touch $path/new" "touch $MNT/reservations/new" "mkfifo $path/new" \
		"mknod $MNT/new c 1 3" "ln -s x $path/new" "ln $path/size $path/new" "cp /etc/hostname $MNT/new" "cp /etc/hostname $path/new"; do
		# shellcheck disable=SC2086 # a command line
		run -1 $command
		[[ $output == *"Operation not permitted"* ]]
	done
	equal size "$(ls -A "$path")"
}

@test "the fixed entries cannot be removed" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		for name in ["available", "capacity", "reserved", "status", "last_error"]:
		    refused("EPERM", os.unlink, fixed(name))
		refused("EPERM", os.rmdir, RESERVATIONS)
		os.rmdir(contract("c1"))
		refused("EPERM", os.rmdir, RESERVATIONS)
		for name in ["available", "capacity", "reserved", "status", "last_error", "reservations"]:
		    os.stat(fixed(name))
	END
	run -1 rm "$MNT/available"
	[[ $output == *"Operation not permitted"* ]]
	run -1 rmdir "$MNT/reservations"
	[[ $output == *"Operation not permitted"* ]]
}

@test "files that are read cannot be opened for writing, by root neither" {
	mount_quota 10G
	py <<-'END'
		for name in ["available", "capacity", "reserved", "status", "last_error"]:
		    before = raw(fixed(name))
		    for flags in [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_TRUNC]:
		        refused("EACCES", os.open, fixed(name), flags)
		    for length in [0, 5]:
		        assert outcome(os.truncate, fixed(name), length) in ("EACCES", "EPERM"), outcome(os.truncate, fixed(name), length)
		    assert outcome(os.open, fixed(name), os.O_RDONLY | os.O_TRUNC) in ("ok", "EACCES", "EPERM")
		    if name != "last_error":
		        equal(before, raw(fixed(name)))
	END
	run ! bash -c "echo 5 >'$MNT/available'"
	[[ $output == *"Permission denied"* ]]
	run -1 tee "$MNT/capacity" <<<20G
	[[ $output == *"Permission denied"* ]]
	run -1 cp /etc/hostname "$MNT/status"
}

@test "modes and owners cannot be set to what they are not, and times not at all" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		paths = [MNT, RESERVATIONS, fixed("available"), fixed("status"), fixed("last_error"), contract("c1"), size("c1")]
		def look():
		    return [(st.st_mode, st.st_uid, st.st_gid) for st in map(os.stat, paths)], os.stat(size("c1")).st_mtime_ns

		before = look()
		for path in paths:
		    refused("EPERM", os.chmod, path, 0o777)
		    refused("EPERM", os.chmod, path, 0o600)
		    refused("EPERM", os.chown, path, 1234, 4321)
		    refused("EPERM", os.chown, path, 1234, -1)
		    refused("EPERM", os.chown, path, 0, 4321)
		    # what is there already can be set; times are set by no one
		    mode = os.stat(path).st_mode
		    os.chmod(path, mode & 0o7777)
		    os.chown(path, 0, 0)
		    os.chown(path, -1, 0)
		    os.chown(path, -1, -1)
		    os.utime(path)
		    os.utime(path, (0, 0))
		    os.utime(path, ns=(10**18, 10**18))
		for bits in (0o4644, 0o2644, 0o1644, 0o645, 0):
		    refused("EPERM", os.chmod, size("c1"), bits)
		fd = os.open(size("c1"), os.O_WRONLY)
		refused("EPERM", os.fchmod, fd, 0o777)
		refused("EPERM", os.fchown, fd, 1234, 4321)
		os.fchmod(fd, 0o644)
		os.fchown(fd, 0, 0)
		os.utime(fd)
		equal(before, look())
	END
	local command
	for command in "chmod 777 $MNT/reservations/c1/size" "chmod -R go-rwx $MNT/reservations/c1" "chown 1234 $MNT/reservations/c1" \
		"chgrp 1234 $MNT/available"; do
		# shellcheck disable=SC2086 # a command line
		run -1 $command
		[[ $output == *"Operation not permitted"* ]]
	done
	for command in "chmod 644 $MNT/reservations/c1/size" "chmod -R u=rwX,go=rX $MNT/reservations" "chown root:root $MNT/reservations/c1" \
		"touch $MNT/reservations/c1/size" "touch -d 2020-01-01 $MNT/reservations/c1" "touch -m -t 202001010000 $MNT/available"; do
		# shellcheck disable=SC2086 # a command line
		run -0 $command
		equal "" "$output"
	done
	py <<-'END'
		# nothing of that moved a time
		assert abs(os.stat(contract("c1")).st_mtime - time.time()) < 100
	END
}

@test "no tool hears that a function is not implemented" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		def never_enosys(what, call, *args, **named):
		    got = outcome(call, *args, **named)
		    assert got != "ENOSYS", what

		for path in [MNT, RESERVATIONS, fixed("available"), contract("c1"), size("c1")]:
		    never_enosys("getxattr", os.getxattr, path, "user.x")
		    never_enosys("setxattr", os.setxattr, path, "user.x", b"1")
		    never_enosys("listxattr", os.listxattr, path)
		    never_enosys("removexattr", os.removexattr, path, "user.x")
		    never_enosys("readlink", os.readlink, path)
		    never_enosys("access", os.access, path, os.W_OK)
		    never_enosys("statvfs", os.statvfs, path)
		    fd = os.open(path, os.O_RDONLY)
		    for call in [os.fsync, os.fdatasync]:
		        equal("ok", outcome(call, fd), path)
		    never_enosys("lseek", os.lseek, fd, 0, os.SEEK_END)
		    never_enosys("fadvise", os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
		    os.close(fd)
		fd = os.open(size("c1"), os.O_RDWR)
		never_enosys("fallocate", os.posix_fallocate, fd, 0, 100)
		other = os.open(fixed("available"), os.O_RDONLY)
		never_enosys("flock", fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
		never_enosys("lockf", fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
		never_enosys("ioctl", fcntl.ioctl, fd, 0x40049409, other)
		equal(7, number(size("c1")))
	END
}

@test "fallocate and punching holes never change a size" {
	mount_quota 10G
	contract c1 7
	local size=$MNT/reservations/c1/size
	run ! fallocate -l 100 "$size"
	run ! fallocate -p -o 0 -l 100 "$size"
	size_is 7 c1
	equal 2 "$(stat -c %s "$size")"
}

@test "memory maps of the tree's files give their text or an error, and write nothing" {
	mount_quota 10G
	contract c1 12345
	py <<-'END'
		import mmap
		fd = os.open(size("c1"), os.O_RDWR)
		try:
		    with mmap.mmap(fd, 6, mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
		        equal(b"12345\n", view[:])
		except OSError as e:
		    assert e.errno in (errno.ENODEV, errno.EACCES), e
		try:
		    with mmap.mmap(fd, 6, mmap.MAP_SHARED) as view:
		        view[0:5] = b"99999"
		        view.flush()
		except OSError as e:
		    assert e.errno in (errno.ENODEV, errno.EACCES, errno.EINVAL, errno.EPERM, errno.EIO), e
		equal(12345, number(size("c1")))
	END
}

@test "a name that is not there is ENOENT everywhere" {
	mount_quota 10G
	contract c1 7
	py <<-'END'
		for path in [fixed("none"), contract("none"), size("none"), contract("c1") + b"/none", contract(".hidden"), contract(b"a\nb"), contract(b"\xff")]:
		    refused("ENOENT", os.stat, path)
		    refused("ENOENT", os.open, path, os.O_RDONLY)
		    refused("ENOENT", os.unlink, path)
		    refused("ENOENT", os.rmdir, path)
		refused("ENOTDIR", os.stat, size("c1") + b"/x")
		refused("ENOTDIR", os.rmdir, size("c1"))
		refused("EISDIR", os.unlink, contract("c1"))
		equal(7, number(size("c1")))
	END
}
