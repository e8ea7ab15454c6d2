# SPDX-License-Identifier: MIT
# Completion of reservefs(1), fsck.reservefs(8) and umount.reservefs(8) in fish.

# What stands before the option that is being typed: "-o a,b=1,c" gives "a,b=1,".
function __reservefs_before
    string match -r '^(?:.*,)?' -- (commandline -ct)
end

function __reservefs_options
    set -l before (__reservefs_before)
    set -l word (string replace -r '^.*,' '' -- (commandline -ct))
    switch $word
        case 'repo=*'
            printf '%s\n' $before'repo=disk' $before'repo=quota'
        case 'capacity=*'
            printf '%s\n' $before'capacity=max'
        case 'uid=*'
            printf '%suid=%s\n' "$before" (__fish_complete_users | string replace -r '\t.*' '')
        case 'gid=*'
            printf '%sgid=%s\n' "$before" (__fish_complete_groups | string replace -r '\t.*' '')
        case 'datastore=*' 'config=*'
            set -l name (string split -m 1 = -- $word)
            for file in $name[2]*
                printf '%s%s=%s\n' "$before" $name[1] $file
            end
        case '*'
            printf '%s%s\n' \
                "$before" "capacity="\t"the most bytes that may be promised" \
                "$before" "repo="\t"where available space comes from" \
                "$before" "datastore="\t"the file that keeps the state" \
                "$before" "pool="\t"the name of this pool" \
                "$before" "uid="\t"the owner of the tree" \
                "$before" "gid="\t"the group of the tree" \
                "$before" "config="\t"more options, one a line" \
                "$before" "nonempty"\t"mount over a directory that holds something" \
                "$before" "existing"\t"begin no new Repo" \
                "$before" "debug"\t"show every request" \
                "$before" "allow_other"\t"let other users in" \
                "$before" "allow_root"\t"let root in" \
                "$before" "auto_unmount"\t"unmount when the daemon ends" \
                "$before" "ro"\t"read-only"
    end
end

complete -c reservefs -f -a '(__fish_complete_directories)'
complete -c reservefs -s o -x -a '(__reservefs_options)' -d 'Mount options'
complete -c reservefs -s f -d 'Stay in the foreground'
complete -c reservefs -s d -d 'The same, and show every request'
complete -c reservefs -s h -l help -d 'Help'
complete -c reservefs -s V -l version -d 'Version'

complete -c fsck.reservefs -s n -d 'Change nothing'
complete -c fsck.reservefs -s p -d 'Repair what is certain'
complete -c fsck.reservefs -s y -d 'Repair whatever can be'
complete -c fsck.reservefs -s v -d 'Say what is being done'
complete -c fsck.reservefs -s h -d 'Help'
complete -c fsck.reservefs -s V -d 'Version'

for command in umount.reservefs umount.fuse.reservefs
    complete -c $command -f -a '(string replace -rf "^\\S+ (\\S+) fuse\\.reservefs .*" "\$1" < /proc/self/mounts)'
    complete -c $command -s f -d 'Abort what is under way first'
    complete -c $command -s l -d 'Also while it is in use'
    complete -c $command -s r -d 'Make it read-only where it cannot be unmounted'
    complete -c $command -s N -r -d 'In that mount namespace'
    complete -c $command -s v -d 'Say what was done'
    complete -c $command -s h -d 'Help'
    complete -c $command -s V -d 'Version'
end
