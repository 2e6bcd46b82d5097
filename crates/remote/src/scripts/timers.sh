# Timers on the node itself, which put things right when kubecert is no more.

# Prints the timers whose name begins with $1.
timers() {
    systemctl list-units --plain --no-legend --all --full "$1-*.timer" 2>/dev/null | awk '{ print $1 }'
}

# Lets systemd run "$@" after $2 seconds, in a timer named after $1 that takes the place of all earlier ones of that name.
# The new one is there before the old ones go, so that there is no moment without.
set_timer() {
    name=$1 seconds=$2
    shift 2
    need systemctl systemd-run
    former=$(timers "$name")
    # What fails is tried again: the xtables lock may be taken, or systemd busy.
    trouble=$(systemd-run --quiet --on-active="$seconds" --timer-property=AccuracySec=100ms \
        --property=Restart=on-failure --property=RestartSec=5 --unit="$name-$(date +%s%N)" "$@" 2>&1) || die "$IMPOSSIBLE" "cannot set the safety timer: $trouble"
    # shellcheck disable=SC2086 # One word a timer.
    [ -z "$former" ] || systemctl stop $former 2>/dev/null || :
    log "set timer $name to $seconds s"
}

drop_timers() {
    command -v systemctl >/dev/null || return 0
    former=$(timers "$1")
    # shellcheck disable=SC2086 # One word a timer.
    [ -z "$former" ] || systemctl stop $former 2>/dev/null || :
}
