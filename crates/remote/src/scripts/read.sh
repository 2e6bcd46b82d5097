# Prints a file. $1: its path. A first line says whether there is one.
if [ -e "$1" ]; then
    [ -f "$1" ] || die "$BAD_INPUT" "$1 is not a file"
    log "read $1"
    echo present
    cat "$1"
else
    echo absent
fi
