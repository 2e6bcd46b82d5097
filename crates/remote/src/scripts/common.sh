# What every operation begins with. POSIX sh; dash and bash both run it.
#
# The command line holds the operation's name and its parameters. The text of the script, lists and contents come on
# standard input, so that nothing secret is ever seen in a process list or in sudo's log.
set -eu
umask 077
LC_ALL=C
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH

act=${0##*/}
act=${act#kubecert-}
log_file=${KUBECERT_LOG:-/var/log/azure/rotate-certs.log}
base=${KUBECERT_BASE:-/etc/kubernetes/kubecert}
volatile=${KUBECERT_RUN:-/run/kubecert}

# Exit codes that the other side tells apart; see exec.rs.
BAD_INPUT=64 NO_SPACE=65 NO_TOOL=66 TOO_LATE=67 IMPOSSIBLE=68

die() {
    code=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$code"
}

# Appends one line to the node's log. A log that cannot be written must not stop a rotation half-way.
log() {
    {
        [ -d "${log_file%/*}" ] || (umask 022 && mkdir -p "${log_file%/*}")
        printf '%s kubecert %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$act" "$*" >>"$log_file"
    } 2>/dev/null || :
}

need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$NO_TOOL" "$tool is not installed"
    done
}

# Runs a command that writes to the disk; $1 says what is being written.
writing() {
    subject=$1
    shift
    if ! trouble=$("$@" 2>&1); then
        case $trouble in
            *"No space left"* | *"Disk quota exceeded"*) die "$NO_SPACE" "$subject: $trouble" ;;
            *) die "$IMPOSSIBLE" "$subject: $trouble" ;;
        esac
    fi
}
