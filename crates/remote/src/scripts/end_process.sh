# Ends a component's process and waits for the next. $1: component, $2: hundredths of a second that it may take to end
# by itself, $3: hundredths of a second to wait for the new process.
component=$1 grace=$2 patience=$3
old=$(processes "$component")
[ -n "$old" ] || log "$component does not run; waiting for it"
[ "$component" != etcd ] || cut_watches "$old" "$grace" </dev/null >/dev/null 2>&1 &
end_all "$old" "$grace"
another=$(await_another "$component" "$old" "$patience")
log "$component runs as process ${another% *}"
report_process "$another"
