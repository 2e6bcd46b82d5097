# Restarts a unit and waits for the process of its component. $1: unit, $2: component, $3: seconds that systemd may take,
# $4: hundredths of a second to wait for the process.
unit=$1 component=$2 seconds=$3 patience=$4
need systemctl timeout
old=$(processes "$component")
last_words() {
    journalctl -u "$unit" -n 3 -o cat --no-pager 2>/dev/null | cut -c 1-300 || :
}

# An etcd member that is told to end waits up to 7 s for the watches of its API server, which never end, and then cuts
# them off (etcd 3.4 to 3.6, `server/embed/etcd.go`, stopServers). It is spared the wait: they are cut off at once. Where
# the kernel cannot do that, it waits.
cut_watches() {
    command -v ss >/dev/null || return 0
    limit=$(($(clock) + patience))
    while any_alive "$old" && [ "$(clock)" -lt "$limit" ]; do
        ss -K state established 'sport = :2379' >/dev/null 2>&1 || return 0
        sleep 0.1
    done
}

log "restarting $unit"
[ "$component" != etcd ] || cut_watches </dev/null >/dev/null 2>&1 &
status=0
trouble=$(timeout "$seconds" systemctl restart "$unit" 2>&1) || status=$?
if [ "$status" -ne 0 ]; then
    last=$(last_words)
    [ "$status" -ne 124 ] || die "$TOO_LATE" "$unit did not start within $seconds s; its last words: $last"
    die "$IMPOSSIBLE" "$trouble; its last words: $last"
fi
another=$(await_another "$component" "$old" "$patience") || die "$TOO_LATE" "its last words: $(last_words)"
log "$component runs as process ${another% *}"
report_process "$another"
