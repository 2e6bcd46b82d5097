# Replaces a static pod's manifest. $1: run's backup directory below the base, $2: component, $3: hundredths of a second
# that requests in flight are given, $4: hundredths of a second to wait for the new process. Standard input: one file as
# write.sh takes it (without the full stop).
#
# A kubelet that sees a static pod's manifest change waits for the old pod to be torn down and looks again only after 10
# to 15 seconds (Kubernetes 1.22 and later, `pkg/kubelet/pod_workers.go`, allowPodStart and backOffPeriod), however soon
# the old process has ended. So the kubelet is stopped meanwhile, which its pods do not notice: the one that starts
# afterwards knows of no old pod and starts the new one at once.
backup=$base/$1 component=$2 grace=$3 patience=$4

IFS=' ' read -r kind mode owner length wanted || die "$BAD_INPUT" "the manifest was cut off on the way"
IFS= read -r path || die "$BAD_INPUT" "the manifest was cut off on the way"

# One at a time on a node: each stops and starts the same kubelet.
if command -v flock >/dev/null; then
    mkdir -p "$volatile"
    exec 9>"$volatile/static-pods.lock"
    flock -w 120 9 || die "$TOO_LATE" "another static pod of this node is being replaced"
fi

stopped=
start_kubelet() {
    [ -n "$stopped" ] || return 0
    stopped=
    trouble=$(timeout 60 systemctl start kubelet.service 2>&1) || die "$IMPOSSIBLE" "cannot start kubelet: $trouble"
    drop_timers kubecert-kubelet
}
stop_kubelet() {
    if ! command -v systemctl >/dev/null || ! systemctl is-active -q kubelet.service 2>/dev/null; then
        return 0
    fi
    # If this script and its connection are cut off, a timer starts the kubelet again.
    set_timer kubecert-kubelet 60 systemctl start kubelet.service
    stopped=yes
    trouble=$(timeout 30 systemctl stop kubelet.service 2>&1) || die "$IMPOSSIBLE" "cannot stop kubelet: $trouble"
}
trap 'drop_temporary; start_kubelet' EXIT

place() {
    state=written
    case $kind in
        file) write_bytes "$path" "$mode" "$owner" "$length" "$wanted" ;;
        original) write_original "$path" "$backup" ;;
        *) die "$BAD_INPUT" "a manifest cannot be a $kind" ;;
    esac
    commit
    [ -e "$path" ] || die "$BAD_INPUT" "there was no manifest $path before the run"
}

# Old is what is older than the manifest, which may have been put in place by an attempt that was cut off.
old_ones() {
    since=$(($(placed "$path") - $(booted)))
    processes "$component" | awk -v since="$since" '$2 <= since'
}

stop_kubelet
place
old=$(old_ones)
if [ "$state" = unchanged ] && [ -z "$old" ]; then
    start_kubelet
    report_process "$(await_another "$component" '' "$patience")"
    exit 0
fi

# Nobody sends it new connections any more: it may say goodbye, and what it has not finished in time is cut off.
end_all "$old" "$grace"
start_kubelet
another=$(await_another "$component" "$old" "$patience")
log "$component runs as process ${another% *}"
report_process "$another"
