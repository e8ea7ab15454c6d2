# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Completion of reservefs(1), fsck.reservefs(8) and umount.reservefs(8) in bash.

# What can follow -o, for the option that is being typed: the last of a list with commas.
_reservefs_options() {
	local before=${1%"${1##*,}"} word=${1##*,}
	local name=${word%%=*} value=${word#*=}

	case $word in
	repo=*) compgen -P "${before}repo=" -W 'disk quota' -- "$value" ;;
	capacity=*) compgen -P "${before}capacity=" -W max -- "$value" ;;
	uid=*) compgen -P "${before}uid=" -u -- "$value" ;;
	gid=*) compgen -P "${before}gid=" -g -- "$value" ;;
	datastore=* | config=*) compgen -P "$before$name=" -f -- "$value" ;;
	*)
		compgen -P "$before" -W 'capacity= repo= datastore= pool= uid= gid= config= nonempty existing debug
			allow_other allow_root auto_unmount noatime ro' -- "$word"
		;;
	esac
}

_reservefs() {
	# bash breaks words at "=", so they are taken from the line.
	local line=${COMP_LINE:0:COMP_POINT} words
	read -ra words <<<"$line."
	local word=${words[-1]%.} before=${words[-2]-}

	if [[ $before == -o ]]; then
		mapfile -t COMPREPLY < <(_reservefs_options "$word")
		[[ ${COMPREPLY[0]-} != *[=,] ]] || compopt -o nospace 2>/dev/null
		# Only what follows the last "=" gets replaced then.
		if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
			COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
		fi
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-o -f -d -h -V --help --version' -- "$word")
	else
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
	fi
}

complete -F _reservefs reservefs mount.reservefs mount.fuse.reservefs

_fsck_reservefs() {
	local word=${COMP_WORDS[COMP_CWORD]}

	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-n -p -y -v -h -V' -- "$word")
	else
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}

complete -F _fsck_reservefs fsck.reservefs

_umount_reservefs() {
	local word=${COMP_WORDS[COMP_CWORD]}

	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-f -l -n -r -v -N -t -h -V' -- "$word")
	else
		# What is mounted; a blank in a path is \040 there.
		mapfile -t COMPREPLY < <(compgen -W "$(awk '$3 == "fuse.reservefs" { print $2 }' /proc/self/mounts)" -- "$word")
	fi
}

complete -F _umount_reservefs umount.reservefs umount.fuse.reservefs
