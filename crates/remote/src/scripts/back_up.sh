# Copies files to the run's backup directory, once. $1: that directory, below the base. Standard input: one path a line.
backup=$base/$1
writing "cannot make $backup" mkdir -p "$backup"
chmod 700 "$base" "${backup%/*}" "$backup"

temporary=
trap '[ -z "$temporary" ] || rm -rf "$temporary"' EXIT

while IFS= read -r path; do
    copy=$backup$path
    { [ -e "$copy" ] || [ -L "$copy" ]; } && continue
    { [ -f "$backup/.absent" ] && grep -qxF -e "$path" "$backup/.absent"; } && continue
    if [ -e "$path" ] || [ -L "$path" ]; then
        writing "cannot make ${copy%/*}" mkdir -p "${copy%/*}"
        # The copy appears under its name only when it is whole: a half copy would be kept for ever.
        temporary=${copy%/*}/.kubecert-partial.$$
        writing "cannot back up $path" cp -a "$path" "$temporary"
        [ -L "$path" ] || writing "cannot back up $path" sync "$temporary"
        writing "cannot back up $path" mv -T "$temporary" "$copy"
        temporary=
        sync "${copy%/*}" 2>/dev/null || sync
        log "backed up $path to $copy"
    else
        # shellcheck disable=SC2016 # The inner shell expands these.
        writing "cannot record $path" sh -c 'printf "%s\n" "$1" >>"$2" && sync "$2"' sh "$path" "$backup/.absent"
        log "recorded $path as absent"
    fi
done
sync "$backup" 2>/dev/null || sync
