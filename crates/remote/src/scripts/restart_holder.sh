# Restarts what reads a file at its start, if it was started before the file came to its place. $1: unit or static-pod, $2: its
# name, $3: the file, $4: seconds that systemd may take, $5: hundredths of a second that a container may take to end by itself,
# $6: hundredths of a second to wait for the next one. Prints what became of it: restarted, not-needed or not-running.
kind=$1 name=$2 file=$3 seconds=$4 grace=$5 patience=$6
[ -e "$file" ] || die "$BAD_INPUT" "there is no $file"
since=$(($(placed "$file") - $(booted)))

property() {
    value=$(systemctl show -p "$1" "$name")
    printf '%s' "${value#*=}"
}

restart_unit() {
    need systemctl timeout
    [ "$(property LoadState)" != not-found ] || die "$BAD_INPUT" "there is no unit $name"
    if [ "$(property ActiveState)" = inactive ]; then
        printf 'not-running\n'
        return
    fi
    pid=$(property MainPID)
    if [ "${pid:-0}" -gt 0 ] && examine "$pid" && [ "$ticks" -gt "$since" ]; then
        printf 'not-needed\n'
        return
    fi
    log "restarting $name"
    status=0
    trouble=$(timeout "$seconds" systemctl restart "$name" 2>&1) || status=$?
    if [ "$status" -ne 0 ] || [ "$(property ActiveState)" = failed ]; then
        last=$(journalctl -u "$name" -n 3 -o cat --no-pager 2>/dev/null | cut -c 1-300) || :
        [ "$status" -ne 124 ] || die "$TOO_LATE" "$name did not start within $seconds s; its last words: $last"
        die "$IMPOSSIBLE" "$trouble; its last words: $last"
    fi
    printf 'restarted\n'
}

# Prints the static pods that have left logs here, as "name uid". The kubelet names their directories NAMESPACE_POD_UID, and the
# uid of a static pod is 32 hexadecimal digits, while all others have dashes (`pkg/kubelet/config/common.go`, applyDefaults).
static_pods() {
    for directory in /var/log/pods/*_*_*; do
        pod=${directory##*/}
        uid=${pod##*_}
        case $uid in *[!0-9a-f]*) continue ;; esac
        [ "${#uid}" -eq 32 ] || continue
        pod=${pod%_*}
        printf '%s %s\n' "${pod#*_}" "$uid"
    done
}

# Prints the uids of the pod, one for each form of its manifest that was here. A static pod is called by its own name and the
# node's; the node may be called otherwise than the machine, which the name of its API server tells.
uids() {
    host=$(uname -n | tr '[:upper:]' '[:lower:]')
    static_pods | awk -v name="$name" -v host="$host" '
        { pod[NR] = $1; uid[NR] = $2 }
        index($1, "kube-apiserver-") == 1 { is[name "-" substr($1, length("kube-apiserver-") + 1)] = 1 }
        END { is[name "-" host] = 1; for (i = 1; i <= NR; i++) if (pod[i] in is) print uid[i] }'
}

# Prints the processes that belong to the pod: by their control group, or by the mounts that the kubelet gives to each container
# of it. The place of a mount counts, too, since pods that mount the whole machine see those of others.
members() {
    for uid in $uids; do
        grep -lsF -e "pod$uid" /proc/[0-9]*/cgroup || :
        grep -lsE -e "/pods/$uid/(etc-hosts /etc/hosts|containers/[^ ]* /dev/termination-log) " /proc/[0-9]*/mountinfo || :
    done | cut -d / -f 3 | sort -u
}

# Prints "pid ticks" of the main process of each container, oldest first. What holds the pod together is not among them.
containers() {
    for pid in $(members); do
        { read -r command <"/proc/$pid/comm"; } 2>/dev/null || continue
        case $command in pause | conmon | containerd-shim*) continue ;; esac
        examine "$pid" || continue
        printf '%s %s %s\n' "$pid" "$parent" "$ticks"
    done | sort -k 3,3n | awk '
        { pid[NR] = $1; parent[NR] = $2; ticks[NR] = $3; is[$1] = 1 }
        END { for (i = 1; i <= NR; i++) if (!(parent[i] in is)) print pid[i], ticks[i] }'
}

restart_static_pod() {
    uids=$(uids)
    kubelet=$(processes kubelet)
    if [ -z "$uids" ] && [ -n "$kubelet" ]; then
        die "$BAD_INPUT" "there is no static pod $name; there are: $(static_pods | cut -d ' ' -f 1 | sort -u | tr '\n' ' ')"
    fi
    present=$(containers)
    old=$(printf '%s\n' "$present" | awk -v since="$since" 'NF && $2 <= since')
    if [ -z "$present" ]; then
        printf 'not-running\n'
        return
    fi
    if [ -z "$old" ]; then
        printf 'not-needed\n'
        return
    fi
    [ -n "$kubelet" ] || die "$IMPOSSIBLE" "no kubelet runs, so that nobody would start it again"
    end_all "$old" "$grace"
    limit=$(($(clock) + patience))
    while another=$(containers | grep -vxF -e "$old" || :) && [ -z "$another" ]; do
        [ "$(clock)" -lt "$limit" ] || die "$TOO_LATE" "the kubelet has not started it again within $((patience / 100)) s"
        sleep 0.2
    done
    log "static pod $name runs as process ${another%% *}"
    printf 'restarted\n'
}

case $kind in
    unit) restart_unit ;;
    static-pod) restart_static_pod ;;
    *) die "$BAD_INPUT" "$kind is nothing that is restarted" ;;
esac
