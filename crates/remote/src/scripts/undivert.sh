# Takes every trace of a diversion away. Also run by the safety timer.
remove_rules() {
    command -v "$1" >/dev/null || return 0
    drop_chain "$1" nat PREROUTING KUBECERT-DIVERT
    drop_chain "$1" nat OUTPUT KUBECERT-DIVERT
    drop_chain "$1" nat POSTROUTING KUBECERT-MASQUERADE
    drop_chain "$1" filter FORWARD KUBECERT-FORWARD
}

# Removes all jumps from $3 to $4 in table $2, then $4 itself once nothing else jumps to it.
drop_chain() {
    "$1" -w 10 -t "$2" -n -L "$4" >/dev/null 2>&1 || return 0
    left=20
    while [ "$left" -gt 0 ] && "$1" -w 10 -t "$2" -D "$3" -m comment --comment kubecert -j "$4" 2>/dev/null; do
        log "removed the jump from $3 to $4 ($1)"
        left=$((left - 1))
    done
    "$1" -w 10 -t "$2" -F "$4"
    "$1" -w 10 -t "$2" -X "$4" 2>/dev/null || [ "$3" = PREROUTING ] || die "$IMPOSSIBLE" "cannot remove chain $4 ($1)"
}

remove_rules iptables
remove_rules ip6tables
drop_timers kubecert-divert
rm -f "$volatile/undivert"
