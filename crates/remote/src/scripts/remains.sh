# Tells the backup directory of the latest run that has one: its name begins with the time of the run.
for backup in "$base"/*/backup; do
    [ -d "$backup" ] || continue
    printf '%s\n' "$backup"
done | sort | tail -n 1
