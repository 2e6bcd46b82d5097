# Restarts a unit and waits for the process of its component. $1: unit, $2: component, $3: seconds that systemd may take,
# $4: hundredths of a second to wait for the process.
unit=$1 component=$2 seconds=$3 patience=$4
need systemctl timeout
old=$(processes "$component")
last_words() {
    journalctl -u "$unit" -n 3 -o cat --no-pager 2>/dev/null | cut -c 1-300 || :
}

log "restarting $unit"
[ "$component" != etcd ] || cut_watches "$old" "$patience" </dev/null >/dev/null 2>&1 &
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
