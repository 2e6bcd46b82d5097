# Diverts new connections to this node's API server to a neighbour. $1: iptables or ip6tables, $2: this node's address,
# $3: the neighbour's, $4: the port, $5: seconds after which a timer takes the rules away, $6: the neighbour's address as
# DNAT wants it. Standard input: the script that takes the rules away.
#
# Only the first packet of a connection goes through the nat table, so connections in flight are left alone; and nothing
# here matches 127.0.0.1, where probes find this node's own API server.
tables=$1 from=$2 to=$3 port=$4 seconds=$5 target=$6
need "$tables" "$tables-restore" "$tables-save"

writing "cannot make $volatile" mkdir -p "$volatile"
# shellcheck disable=SC2016 # The inner shell expands these.
writing "cannot write $volatile/undivert" sh -c 'cat >"$1.new" && mv -fT "$1.new" "$1"' sh "$volatile/undivert"
# First the timer, then the rules: between the two nothing may be able to leave a diversion in place for ever.
set_timer kubecert-divert "$seconds" /bin/sh "$volatile/undivert"

# Where else connections for this port arrive: ports that are redirected to it (AKS engine's masters take 4443 from the
# internal load balancer), and the cluster's own service address, which kube-proxy would translate back to this node.
nat=$("$tables-save" -t nat 2>/dev/null || :)
doors="$from $port
$(printf '%s\n' "$nat" | awk -v port="$port" -v from="$from" '
    $1 == "-A" && $2 == "PREROUTING" {
        door = ""; to = ""
        for (i = 3; i < NF; i++) { if ($i == "--dport") door = $(i + 1); if ($i == "--to-ports") to = $(i + 1) }
        if (to == port && door ~ /^[0-9]+$/ && door != port) print from, door
    }
    $1 == "-A" && $2 == "KUBE-SERVICES" && /default\/kubernetes:https/ && / -j KUBE-SVC-/ {
        address = ""; door = ""
        for (i = 3; i < NF; i++) { if ($i == "-d") address = $(i + 1); if ($i == "--dport") door = $(i + 1) }
        sub(/\/.*/, "", address)
        if (address != "" && door ~ /^[0-9]+$/) print address, door
    }' | sort -u)"

rules() {
    mark='-m comment --comment kubecert'
    echo '*nat'
    echo ':KUBECERT-DIVERT - [0:0]'
    echo ':KUBECERT-MASQUERADE - [0:0]'
    printf '%s\n' "$doors" | while read -r address door; do
        [ -n "$address" ] || continue
        echo "-A KUBECERT-DIVERT -d $address -p tcp -m tcp --dport $door $mark -j DNAT --to-destination $target:$port"
        # Answers must come back through this node, which alone knows of the translation.
        echo "-A KUBECERT-MASQUERADE -d $to -p tcp -m tcp --dport $port -m conntrack --ctstate DNAT" \
            "--ctorigdst $address $mark -j MASQUERADE"
    done
    echo COMMIT
    echo '*filter'
    echo ':KUBECERT-FORWARD - [0:0]'
    # Where Docker has set the policy of FORWARD to DROP, diverted connections need leave to pass.
    printf '%s\n' "$doors" | while read -r address door; do
        [ -n "$address" ] || continue
        echo "-A KUBECERT-FORWARD -p tcp -m conntrack --ctstate DNAT --ctorigdst $address $mark -j ACCEPT"
    done
    echo COMMIT
}

# One transaction: rules that are there already are replaced without a moment in which there are none.
# Old versions of the tool do not know how to wait for the lock.
rules | "$tables-restore" -w 10 --noflush 2>/dev/null ||
    trouble=$(rules | "$tables-restore" --noflush 2>&1) || die "$IMPOSSIBLE" "$tables-restore: $trouble"

jump() {
    "$tables" -w 10 -t "$1" -C "$2" -m comment --comment kubecert -j "$3" 2>/dev/null && return
    trouble=$("$tables" -w 10 -t "$1" -I "$2" 1 -m comment --comment kubecert -j "$3" 2>&1) ||
        die "$IMPOSSIBLE" "$tables: $trouble"
}
# The way must be free before anything is sent along it.
jump filter FORWARD KUBECERT-FORWARD
jump nat POSTROUTING KUBECERT-MASQUERADE
jump nat PREROUTING KUBECERT-DIVERT
jump nat OUTPUT KUBECERT-DIVERT
log "diverting new connections for $from:$port to $to:$port"
