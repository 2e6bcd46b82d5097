# Removes files and directories. Standard input: one path a line.
while IFS= read -r path; do
    { [ -e "$path" ] || [ -L "$path" ]; } || continue
    writing "cannot remove $path" rm -rf "$path"
    sync "${path%/*}" 2>/dev/null || sync
    log "removed $path"
done

# With the last of what a run keeps here goes the lock that its operations took.
[ -e "$base" ] || { rm -f "$volatile/static-pods.lock" && rmdir "$volatile" 2>/dev/null; } || :
