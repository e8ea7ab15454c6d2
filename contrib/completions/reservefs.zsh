#compdef reservefs mount.reservefs mount.fuse.reservefs fsck.reservefs umount.reservefs umount.fuse.reservefs
# SPDX-License-Identifier: MIT
# Completion of reservefs(1), fsck.reservefs(8) and umount.reservefs(8) in zsh.

_reservefs_options() {
	_values -s , 'mount option' \
		'capacity[the most bytes that may be promised]:size or max:(max)' \
		'repo[where available space comes from]:kind:(disk quota)' \
		'datastore[the file that keeps the state]:file:_files' \
		'pool[the name of this pool in metrics and messages]:name:' \
		'uid[the owner of the tree]:user:_users' \
		'gid[the group of the tree]:group:_groups' \
		'config[more options, one a line]:file:_files' \
		'nonempty[mount over a directory that holds something]' \
		'existing[begin no new Repo]' \
		'debug[show every request]' \
		'allow_other[let other users in]' \
		'allow_root[let root in]' \
		'auto_unmount[unmount when the daemon ends]' \
		'noatime[times of access are not kept anyway]' \
		'ro[read-only]'
}

if [[ $service == fsck.reservefs ]]; then
	_arguments -s \
		'(-p -y)-n[change nothing]' \
		'(-n -y)-p[repair what is certain]' \
		'(-n -p)-y[repair whatever can be]' \
		'-v[say what is being done]' \
		'(- *)-h[help]' \
		'(- *)-V[version]' \
		'1:repo or file:_files'
	return
fi

if [[ $service == umount.* ]]; then
	_arguments -s \
		'-f[abort what is under way first]' \
		'-l[also while it is in use]' \
		'-r[make it read-only where it cannot be unmounted]' \
		'-N[in that mount namespace]:file or pid:_files' \
		'-v[say what was done]' \
		'(- *)-h[help]' \
		'(- *)-V[version]' \
		'1:mountpoint:_directories'
	return
fi

_arguments -s \
	'*-o[mount options]:options:_reservefs_options' \
	'-f[stay in the foreground]' \
	'-d[the same, and show every request]' \
	'(- *)'{-h,--help}'[help]' \
	'(- *)'{-V,--version}'[version]' \
	'1:repo:_directories' \
	'2:mountpoint:_directories'
