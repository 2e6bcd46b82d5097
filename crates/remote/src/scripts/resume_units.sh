# Starts units again. $1: the name of the set, $2...: units.
need systemctl
set_name=$1
shift
for unit in "$@"; do
    [ "$(systemctl show -p LoadState "$unit")" != LoadState=not-found ] || continue
    trouble=$(timeout 30 systemctl start "$unit" 2>&1) || die "$IMPOSSIBLE" "cannot start $unit: $trouble"
    log "started $unit"
done
drop_timers "kubecert-resume-$set_name"
