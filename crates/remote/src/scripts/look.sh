# Looks at the node and changes nothing. Standard input: lines "path P", "text P", "component C", "unit U", "tool T", and
# at the end a line with a full stop. The answer is one line a fact; the clock comes first, so that the other side can
# tell from its arrival how the clocks differ.
printf 'clock %s\n' "$(date +%s.%N)"
printf 'hostname %s\n' "$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname)"
space=$base
until [ -d "$space" ]; do space=${space%/*}; done
printf 'free %s\n' "$(df -B1 --output=avail "${space:-/}" | tail -n 1 | tr -d ' ')"

paths='' texts='' components='' units='' tools=''
while IFS=' ' read -r kind rest; do
    case $kind in
        path) paths="$paths$rest
" ;;
        text) texts="$texts$rest
" ;;
        component) components="$components $rest" ;;
        unit) units="$units $rest" ;;
        tool) tools="$tools $rest" ;;
        .) break ;;
        *) die "$BAD_INPUT" "unknown question: $kind" ;;
    esac
done
[ "$kind" = . ] || die "$BAD_INPUT" "the question was cut off on the way"

files=$(
    printf '%s' "$paths" | while IFS= read -r path; do
        if [ -d "$path" ]; then
            for entry in "$path"/* "$path"/.[!.]*; do
                [ ! -f "$entry" ] || printf '%s\n' "$entry"
            done
        elif [ -f "$path" ]; then
            printf '%s\n' "$path"
        fi
    done | awk '!seen[$0]++'
)
# From here on $@ holds the regular files, reached through links or not, each once.
set -f
IFS='
'
# shellcheck disable=SC2086 # One word a line.
set -- $files
unset IFS
set +f

if [ $# -gt 0 ]; then
    # A file may vanish while we look (kubelets replace their own); then it is one that does not exist.
    stat -L -c 'file %a %U:%G %.9Z %n' "$@" 2>/dev/null || :
    sha256sum "$@" | sed 's/^/sum /' || :
    for path in "$@"; do
        [ ! -L "$path" ] || printf 'link %s %s\n%s\n' "$(stat -c %.9Z "$path")" "$path" "$(readlink "$path")"
    done
    # Whole certificates only, and nothing else: not a line of a private key leaves the node, whatever the file holds.
    # Kubeconfigs, be they YAML or JSON, carry certificates as base64 within a line.
    awk '
        FNR == 1 { block = ""; inside = 0 }
        /-----BEGIN / {
            inside = /^[ \t]*-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/
            block = ""
        }
        inside { sub(/^[ \t]+/, ""); sub(/[ \t\r]+$/, ""); block = block "|" $0 }
        inside && /-----END / {
            if (/-----END (X509 |TRUSTED )?CERTIFICATE-----/) printf "pem %s\n%s\n", FILENAME, block
            inside = 0
        }
        /(certificate-authority|client-certificate)-data/ {
            rest = $0
            while (match(rest, /(certificate-authority|client-certificate)-data"? *: *"?[A-Za-z0-9+\/=]+/)) {
                value = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                sub(/^[^:]*: *"?/, "", value)
                printf "data %s\n%s\n", FILENAME, value
            }
        }' "$@"
fi

while IFS= read -r path; do
    [ -f "$path" ] || continue
    printf 'text %s\n%s\n' "$path" "$(base64 -w 0 "$path")"
done <<EOT
$texts
EOT

if [ -n "$components" ]; then
    boot=$(booted)
    for component in $components; do
        processes "$component" | while read -r pid ticks; do
            printf 'process %s %s %s\n' "$component" "$pid" $((boot + ticks))
        done
    done
fi

# A unit that is about to be started again by itself counts: it is what a pause is to stop. So does one that a timer of
# ours will start, since a run that is no more has paused it.
paused=''
if [ -n "$units" ] && command -v systemctl >/dev/null; then
    for timer in $(systemctl list-units --plain --no-legend --all --full 'kubecert-resume-*.timer' 2>/dev/null |
        awk '{ print $1 }'); do
        paused="$paused $(systemctl show -p ExecStart "${timer%.timer}.service" 2>/dev/null || :) "
    done
fi
for unit in $units; do
    case $(systemctl is-active "$unit" 2>/dev/null || :) in
        active | activating | reloading) printf 'active %s\n' "$unit" ;;
        *) case $paused in *" $unit "*) printf 'active %s\n' "$unit" ;; esac ;;
    esac
done

for tool in $tools; do
    command -v "$tool" >/dev/null || printf 'missing %s\n' "$tool"
done
echo end
