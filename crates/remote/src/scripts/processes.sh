# Finding processes by the name of the component, and comparing their age with that of files.
#
# Times are in hundredths of a second, the unit in which the kernel keeps the start of a process: `ticks` since boot,
# which together with the process id is an identity, and since the epoch.

# Sets `running`, `parent` and `ticks` for process $1; false if there is none. A zombie runs no more.
examine() {
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The name may hold blanks and brackets; what follows the last bracket is fixed.
    # shellcheck disable=SC2086 # Fields are to be split.
    set -- ${line##*) }
    parent=$2 ticks=${20}
    case $1 in Z | X) return 1 ;; esac
}

# Prints "pid ticks" of each process named $1 that shares the node's own network, oldest first.
#
# Components of the control plane use the host's network; a workload's own etcd or nested API server does not. A child
# that its parent has forked but that has not begun its own program yet still bears the parent's name: it is left out,
# for it is as young as it is meaningless.
processes() {
    # The kernel keeps 15 characters of a name.
    short=$(printf '%.15s' "$1")
    home=$(readlink /proc/1/ns/net)
    for directory in /proc/[0-9]*; do
        { read -r name <"$directory/comm"; } 2>/dev/null || continue
        [ "$name" = "$short" ] || continue
        examine "${directory#/proc/}" || continue
        [ "$(readlink "$directory/ns/net" || :)" = "$home" ] || continue
        printf '%s %s %s\n' "${directory#/proc/}" "$parent" "$ticks"
    done | sort -k 3,3n | awk '
        { pid[NR] = $1; parent[NR] = $2; ticks[NR] = $3; is[$1] = 1 }
        END { for (i = 1; i <= NR; i++) if (!(parent[i] in is)) print pid[i], ticks[i] }'
}

# Prints when the node was started. First the clock, then the uptime: if we are interrupted between the two, processes
# seem older than they are, never younger.
booted() {
    now=$(date +%s%N)
    read -r uptime _ </proc/uptime
    printf '%s\n' $((now / 10000000 - ${uptime%.*}${uptime#*.}))
}

# Prints when the file or link $1 came to its place, by the inode: a rename changes that time, while the time of the
# content may be older than the rename, or taken over from a backup.
placed() {
    at=$(stat -c %.2Z "$1")
    at=${at%.*}${at#*.}
    if [ -L "$1" ] && through=$(stat -L -c %.2Z "$1" 2>/dev/null); then
        through=${through%.*}${through#*.}
        [ "$through" -le "$at" ] || at=$through
    fi
    printf '%s\n' "$at"
}

# Whether any of the processes $1, lines as `processes` prints them, still runs.
any_alive() {
    while read -r pid was; do
        [ -n "$pid" ] && examine "$pid" && [ "$ticks" = "$was" ] && return
    done <<EOT
$1
EOT
    return 1
}

# Sends signal $2 to those of the processes $1 that still run.
signal() {
    while read -r pid was; do
        if [ -n "$pid" ] && examine "$pid" && [ "$ticks" = "$was" ] && kill -s "$2" "$pid" 2>/dev/null; then
            log "sent SIG$2 to process $pid"
        fi
    done <<EOT
$1
EOT
}

# Ends processes: $1: as `processes` prints them, $2: hundredths of a second that they may take to end by themselves. The first
# process of a container hears no SIGTERM that it has made no provision for.
end_all() {
    signal "$1" TERM
    limit=$(($(clock) + $2))
    while any_alive "$1"; do
        if [ "$(clock)" -ge "$limit" ]; then
            signal "$1" KILL
            break
        fi
        sleep 0.05
    done
}

# Prints those processes named $1 that are not among $2.
others() {
    processes "$1" | grep -vxF -e "${2:-none}" || :
}

# Seconds of uptime, as hundredths: what limits are measured with, since nobody sets it.
clock() {
    read -r uptime _ </proc/uptime
    printf '%s\n' "${uptime%.*}${uptime#*.}"
}

# Waits until a process named $1 runs that is not among $2, at most $3 hundredths of a second; prints it.
await_another() {
    limit=$(($(clock) + $3))
    while another=$(others "$1" "$2") && [ -z "$another" ]; do
        [ "$(clock)" -lt "$limit" ] || die "$TOO_LATE" "no new process $1 appeared within $(($3 / 100)) s"
        sleep 0.05
    done
    printf '%s\n' "$another" | tail -n 1
}

# Prints the line that the other side reads: "process pid start", the start since the epoch.
report_process() {
    printf 'process %s %s\n' "${1% *}" $(($(booted) + ${1#* }))
}

# An etcd member that is told to end waits up to 7 s for the watches of its API server, which never end, and then cuts
# them off (etcd 3.4 to 3.6, `server/embed/etcd.go`, stopServers). It is spared the wait: they are cut off at once, for as
# long as the processes $1 run, at most $2 hundredths of a second. Where the kernel cannot do that, it waits.
cut_watches() {
    command -v ss >/dev/null || return 0
    limit=$(($(clock) + $2))
    while any_alive "$1" && [ "$(clock)" -lt "$limit" ]; do
        ss -K state established 'sport = :2379' >/dev/null 2>&1 || return 0
        sleep 0.1
    done
}
