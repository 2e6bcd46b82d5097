# Lists the clients with certificates that an API server's audit log shows. Standard input: the log's path. Only whole
# lines of the present file count, the last 256 MiB of it. One line a client, separated by tabs: fingerprint, user, agent,
# source, first and last request.
IFS= read -r log
[ -r "$log" ] || exit 0
tail -c 268435456 "$log" | awk '
    function field(name,   rest) {
        if (!match($0, "\"" name "\":\"[^\"]*\"")) return ""
        rest = substr($0, RSTART, RLENGTH)
        sub(/^[^:]*:"/, "", rest)
        sub(/"$/, "", rest)
        gsub(/\t/, " ", rest)
        return rest
    }
    match($0, /X509SHA256=[0-9a-fA-F]+/) {
        id = substr($0, RSTART + 11, RLENGTH - 11)
        source = ""
        if (match($0, /"sourceIPs":\["[^"]*"/)) {
            source = substr($0, RSTART, RLENGTH)
            sub(/^.*\["/, "", source)
            sub(/"$/, "", source)
        }
        time = field("requestReceivedTimestamp")
        key = id
        if (!(key in first)) { first[key] = time; order[++count] = key }
        last[key] = time
        user[key] = field("username")
        agent[key] = field("userAgent")
        from[key] = source
    }
    END {
        for (i = 1; i <= count; i++) {
            key = order[i]
            printf "%s\t%s\t%s\t%s\t%s\t%s\n", key, user[key], agent[key], from[key], first[key], last[key]
        }
    }'
