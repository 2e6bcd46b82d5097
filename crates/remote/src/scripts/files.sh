# Writing files, each atomically, and all of them together or none: everything is made ready beside its place first, and
# `commit` only renames. A full disk or a connection that breaks on the way leaves no key without its certificate. For
# write.sh and static_pod.sh. Each function sets `state` to `unchanged` if there was nothing to do.

digest() {
    sum=$(sha256sum <"$1") || return 1
    printf '%s\n' "${sum%% *}"
}

# Where the temporary file for $1 is made: beside it, but for static pods above the manifest directory, since a kubelet
# takes whatever appears there for a pod. The rename is atomic only within one file system.
staging_directory() {
    case ${1%/*} in
        */manifests)
            stage=${1%/*}
            stage=${stage%/*}
            [ "$(stat -c %d "$stage")" = "$(stat -c %d "${1%/*}")" ] ||
                die "$IMPOSSIBLE" "$stage and ${1%/*} are different file systems, so that no rename between them is atomic"
            ;;
        *) stage=${1%/*} ;;
    esac
    printf '%s\n' "$stage"
}

make_directory() {
    [ -d "$1" ] && return
    case $1 in
        "$base"/*) writing "cannot make $1" mkdir -p "$1" ;;
        *) (umask 022 && writing "cannot make $1" mkdir -p "$1") || exit $? ;;
    esac
}

new_temporary() {
    stage=$(staging_directory "$1") || exit $?
    temporary=$(mktemp "$stage/.kubecert.XXXXXXXXXX" 2>&1) || {
        trouble=$temporary
        temporary=
        case $trouble in
            *"No space left"*) die "$NO_SPACE" "cannot make a file in $stage: $trouble" ;;
            *) die "$IMPOSSIBLE" "cannot make a file in $stage: $trouble" ;;
        esac
    }
}

temporary=
# What is ready and not in its place yet: for each file a line with its temporary file, or - for one that is to go, a line
# with its path, a line for the log.
pending=
newline='
'

# Calls $1 with temporary file, path and log line of each file that is ready.
each_pending() {
    made='' aim=''
    usual_ifs=$IFS
    IFS=$newline
    set -f
    for field in $pending; do
        IFS=$usual_ifs
        if [ -z "$made" ]; then
            made=$field
        elif [ -z "$aim" ]; then
            aim=$field
        else
            "$1" "$made" "$aim" "$field"
            made='' aim=''
        fi
    done
    IFS=$usual_ifs
    set +f
}

drop_one() {
    [ "$1" = - ] || rm -f "$1"
}
drop_temporary() {
    [ -z "$temporary" ] || rm -f "$temporary"
    temporary=
    each_pending drop_one
    pending=
}
trap drop_temporary EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# The temporary file is ready to be renamed onto $1; $2 is for the log.
ready() {
    pending=$pending$temporary$newline$1$newline$2$newline
    temporary=
}

place_one() {
    if [ "$1" = - ]; then
        writing "cannot remove $2" rm -f "$2"
    else
        writing "cannot rename onto $2" mv -fT "$1" "$2"
    fi
}
sync_one() {
    sync "${2%/*}" 2>/dev/null || sync
    [ "$1" = - ] || [ "${1%/*}" = "${2%/*}" ] || sync "${1%/*}" 2>/dev/null || sync
    log "$3"
}

# Puts everything that is ready in its place, and makes that durable.
commit() {
    each_pending place_one
    each_pending sync_one
    pending=
}

# A regular file: $1 path, $2 mode or -, $3 owner or -, $4 length, $5 digest; the content is next on standard input.
write_bytes() {
    path=$1 mode=$2 owner=$3 length=$4 wanted=$5
    if [ "$mode" = - ] || [ "$owner" = - ]; then
        [ -f "$path" ] || die "$BAD_INPUT" "$path does not exist and no mode and owner are given for it"
        mode=$(stat -L -c %a "$path") owner=$(stat -L -c %U:%G "$path")
    fi
    if [ -f "$path" ] && [ ! -L "$path" ] && [ "$(stat -c '%a %U:%G' "$path")" = "$mode $owner" ] &&
        [ "$(digest "$path")" = "$wanted" ]; then
        head -c "$length" >/dev/null
        state=unchanged
        return
    fi
    [ ! -d "$path" ] || die "$BAD_INPUT" "$path is a directory"
    make_directory "${path%/*}"
    new_temporary "$path"
    writing "cannot set the owner of $path" chown "$owner" "$temporary"
    writing "cannot set the mode of $path" chmod "$mode" "$temporary"
    # shellcheck disable=SC2016 # The inner shell expands these.
    writing "cannot write $path" sh -c 'head -c "$1" >"$2" && sync "$2"' sh "$length" "$temporary"
    [ "$(stat -c %s "$temporary")" = "$length" ] || die "$BAD_INPUT" "the content of $path was cut off on the way"
    [ "$(digest "$temporary")" = "$wanted" ] || die "$BAD_INPUT" "the content of $path was changed on the way"
    ready "$path" "wrote $path ($mode $owner, $length bytes)"
}

# A symbolic link: $1 path, $2 target.
write_link() {
    path=$1 target=$2
    if [ -L "$path" ] && [ "$(readlink "$path")" = "$target" ]; then
        state=unchanged
        return
    fi
    [ -L "$path" ] || [ ! -d "$path" ] || die "$BAD_INPUT" "$path is a directory"
    make_directory "${path%/*}"
    new_temporary "$path"
    writing "cannot link $path" ln -sfT "$target" "$temporary"
    ready "$path" "linked $path to $target"
}

# What the backup in $2 holds for $1. A file recorded as absent is removed.
write_original() {
    path=$1 copy=$2$1
    if [ -e "$copy" ] || [ -L "$copy" ]; then
        if [ -L "$copy" ]; then
            write_link "$path" "$(readlink "$copy")"
            return
        fi
        [ -f "$copy" ] || die "$BAD_INPUT" "the backup of $path is not a file"
        if [ -f "$path" ] && [ ! -L "$path" ] && cmp -s "$copy" "$path" &&
            [ "$(stat -c '%a %u:%g' "$path")" = "$(stat -c '%a %u:%g' "$copy")" ]; then
            state=unchanged
            return
        fi
        make_directory "${path%/*}"
        new_temporary "$path"
        # shellcheck disable=SC2016 # The inner shell expands these.
        writing "cannot restore $path" sh -c 'cp --preserve=all "$1" "$2" && sync "$2"' sh "$copy" "$temporary"
        ready "$path" "restored $path from $2"
    elif [ -f "$2/.absent" ] && grep -qxF -e "$path" "$2/.absent"; then
        if [ ! -e "$path" ] && [ ! -L "$path" ]; then
            state=unchanged
            return
        fi
        pending=$pending-$newline$path$newline"removed $path, which did not exist before the run"$newline
    else
        die "$BAD_INPUT" "there is no backup of $path in $2"
    fi
}
