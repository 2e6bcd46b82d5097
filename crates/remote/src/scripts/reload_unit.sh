# Says which process a unit is, and which listening sockets there are on its port, by the kernel's numbers: a socket that is
# handed on to a new process keeps its number, and whoever waits to be accepted stays in its queue. Then reloads the unit, if
# that is wanted. $1: unit, $2: port, $3: seconds that systemd may take, $4: reload or look.
unit=$1 port=$2 seconds=$3 act=$4
need systemctl timeout awk
hex=$(printf '%04X' "$port")

main_process() {
    pid=$(systemctl show -p MainPID "$unit")
    printf '%s' "${pid#MainPID=}"
}

# State 0A is LISTEN. The fields are those of proc(5): local address with its port, state, and the socket's number.
listening() {
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ ! -r "$table" ] || cat "$table"
    done | awk -v port=":$hex\$" '$4 == "0A" && $2 ~ port { printf " %s", $10 }'
}

pid=$(main_process)
case $pid in
    '' | 0) die "$IMPOSSIBLE" "$unit does not run" ;;
esac
sockets=$(listening)
[ -n "$sockets" ] || die "$IMPOSSIBLE" "nothing listens on port $port"
printf '%s%s\n' "$pid" "$sockets"
[ "$act" = reload ] || exit 0
log "reloading $unit"
status=0
trouble=$(timeout "$seconds" systemctl reload "$unit" 2>&1) || status=$?
if [ "$status" -ne 0 ]; then
    last=$(journalctl -u "$unit" -n 3 -o cat --no-pager 2>/dev/null | cut -c 1-300) || :
    [ "$status" -ne 124 ] || die "$TOO_LATE" "$unit was not reloaded within $seconds s; its last words: $last"
    die "$IMPOSSIBLE" "$trouble; its last words: $last"
fi
log "reloaded $unit"
