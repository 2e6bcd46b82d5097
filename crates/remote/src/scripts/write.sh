# Writes files in order. $1: the run's backup directory, below the base. Standard input: for each file a line with its
# kind and properties, a line with its path, then what belongs to the kind; at the end a line with a full stop, without
# which the stream was cut off.
backup=$base/$1

# What was done, two lines a file: its state and its path.
written=

report() {
    if [ -f "$path" ]; then
        printf '%s %s %s\n' "$1" "$(digest "$path")" "$path"
    else
        printf '%s - %s\n' "$1" "$path"
    fi
}

while :; do
    IFS=' ' read -r kind mode owner length wanted || die "$BAD_INPUT" "the list of files was cut off on the way"
    [ "$kind" != . ] || break
    IFS= read -r path || die "$BAD_INPUT" "the list of files was cut off on the way"
    state=written
    case $kind in
        file) write_bytes "$path" "$mode" "$owner" "$length" "$wanted" ;;
        link)
            IFS= read -r target || die "$BAD_INPUT" "the list of files was cut off on the way"
            write_link "$path" "$target"
            ;;
        original) write_original "$path" "$backup" ;;
        *) die "$BAD_INPUT" "unknown kind of file: $kind" ;;
    esac
    written=$written$state$newline$path$newline
done
commit
state=
IFS=$newline
set -f
for field in $written; do
    if [ -z "$state" ]; then
        state=$field
    else
        path=$field
        report "$state"
        state=
    fi
done
