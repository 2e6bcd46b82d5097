# Stops units. $1: a name for the set, $2: seconds after which they are started again whatever happens, $3...: units.
need systemctl
set_name=$1 seconds=$2
shift 2
# First the timer, then the stop: between the two nothing may be able to leave a unit stopped for ever.
set_timer "kubecert-resume-$set_name" "$seconds" systemctl start "$@"
for unit in "$@"; do
    [ "$(systemctl show -p LoadState "$unit")" != LoadState=not-found ] || continue
    trouble=$(timeout 30 systemctl stop "$unit" 2>&1) || die "$IMPOSSIBLE" "cannot stop $unit: $trouble"
    log "stopped $unit"
done
