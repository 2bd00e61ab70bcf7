# The demo: a few files to sell, and traffic.

make_demo_files() {
    [ -e "$STATE/demo/index.html" ] || write_file 644 "$STATE/demo/index.html" <<'HTML'
<!doctype html>
<title>Demo</title>
<p>This page needs a key with the scope demo:read, and each request for it is counted.</p>
HTML
    [ -e "$STATE/demo/hello.json" ] || printf '{"hello":"world"}\n' | write_file 644 "$STATE/demo/hello.json"
}

# The real access log stands beside the checkout where the project is developed; nobody else has it.
demo_log() { printf '%s\n' "$ROOT/../shared/data/access-logs/combined.log"; }

import_access_log() {
    say "demo: importing 10,000 requests of a real access log as usage of the demo's tenant"
    "$METERPLEXCTL" import --format combined --tenant "$METERPLEX_TENANT_ID" "$1" 9>&- >>"$STATE/log/demo.log" 2>&1 \
        || { tail -n 20 "$STATE/log/demo.log" >&2; die "the import failed"; }
}

# Each line of the log once more, as a request under /demo/.
replay_access_log() {
    say "demo: sending the same requests to $METERPLEX_URL/demo/"
    "$ROOT/build/replay" "$1" "$METERPLEX_URL/demo" "$METERPLEX_API_KEY" 9>&- >>"$STATE/log/demo.log" 2>&1 \
        || { tail -n 20 "$STATE/log/demo.log" >&2; die "the replay failed"; }
}

small_traffic() {
    local path
    say "demo: sending 40 requests to $METERPLEX_URL/demo/ and /demo-proxy/"
    for path in demo/ demo/hello.json demo-proxy/hello.json demo/nothing-here; do
        curl -s -o /dev/null --max-time 10 -H @<(auth_header "$METERPLEX_API_KEY") "$METERPLEX_URL/$path?n=[1-10]" 9>&- \
            || die "a request of the demo had no answer: ./dev logs error"
    done
}

# value_of METER [QUERY]: the meter's total over all time.
value_of() {
    curl -s --max-time 30 -H @<(auth_header "$METERPLEX_API_KEY") \
        "$METERPLEX_URL/v1/meters/$1/usage?from=2015-01-01T00:00:00Z&to=2100-01-01T00:00:00Z${2:+&$2}" 9>&- \
        | sed -n 's/.*"value":"\([^"]*\)".*/\1/p'
}

# same WHAT COUNTED READ: one line of the comparison.
same() {
    printf '      %-34s %14s %14s\n' "$1" "$2" "$3"
    [ "$2" = "$3" ] || die "the demo's counts do not agree with the log: $1"
}

# The requests of /demo/ that are in the database, when all that were counted are: what an interrupted demo, or anybody, has
# sent before is not this replay's.
settled_requests() {
    local i
    for i in {1..40}; do
        ! curl -s --max-time 10 "$METERPLEX_URL/metrics" 9>&- | grep -q '^meterplex_usage_pending 0$' || break
        sleep 0.25
    done
    value_of demo-requests
}

# What was metered against an independent reading of the file by awk. $2: the requests of /demo/ before the replay.
compare_with_log() {
    local log=$1 before=$2 lines bytes clients get ok
    read -r lines bytes clients get ok < <(awk '{ n++; b += ($10 == "-" ? 0 : $10); if (!($1 in c)) { c[$1]; u++ }
        if ($6 == "\"GET") g++; if ($9 == 200) o++ } END { printf "%.0f %.0f %.0f %.0f %.0f\n", n, b, u, g, o }' "$log")
    say "demo: what was metered, against awk's reading of the log"
    printf '      %-34s %14s %14s\n' "" metered awk
    same "imported requests" "$(value_of requests)" "$lines"
    same "sum of bytes" "$(value_of bytes)" "$bytes"
    same "client addresses" "$(value_of clients)" "$clients"
    same "requests with GET" "$(value_of requests 'filter%5Bmethod%5D=GET')" "$get"
    same "requests answered 200" "$(value_of requests 'filter%5Bstatus%5D=200')" "$ok"
    same "replayed, counted by MeterplexMeter" "$(($(settled_requests) - before))" "$lines"
}

# Once for a state directory: a second up finds the counts as they were.
run_demo() {
    local log before
    [ ! -e "$STATE/.demo-done" ] || return 0
    log=$(demo_log)
    make_demo_meters
    if [ -r "$log" ]; then
        import_access_log "$log"
        before=$(settled_requests)
        replay_access_log "$log"
        compare_with_log "$log" "$before"
    else
        small_traffic
    fi
    touch "$STATE/.demo-done"
}

# make_meter KEY JSON: one that is there already is as good.
make_meter() {
    local status
    status=$(curl -s -o "$STATE/log/meter.json" -w '%{http_code}' --max-time 30 -X POST -H 'Content-Type: application/json' \
        -H @<(auth_header "$METERPLEX_API_KEY") -d "$2" "$METERPLEX_URL/v1/meters" 9>&-) || true
    case $status in
    201 | 409) ;;
    *) die "the demo's meter $1 was not made ($status): $(cat "$STATE/log/meter.json" 2>/dev/null)" ;;
    esac
}

make_demo_meters() {
    say "demo: making meters"
    make_meter demo-requests '{"key":"demo-requests","name":"Requests to the demo","event_type":"demo.request","aggregation":"count"}'
    make_meter requests '{"key":"requests","name":"Requests","event_type":"http.request","aggregation":"count","group_by":{"status":"$.status","method":"$.method"}}'
    make_meter bytes '{"key":"bytes","name":"Bytes sent","event_type":"http.request","aggregation":"sum","value_property":"$.bytes"}'
    make_meter clients '{"key":"clients","name":"Client addresses","event_type":"http.request","aggregation":"unique_count","value_property":"$.client"}'
}

# What to try next: lines that work when they are pasted one after another.
print_next() {
    local env=$STATE/dev.env usage='usage/events?type=demo.request'
    [ ! -e "$STATE/.demo-done" ] || usage='meters/demo-requests/usage'
    local option=" --state $STATE"
    [ "$STATE" != "$ROOT/var" ] && [ -z "$STATE_LINK" ] || { env=var/dev.env; option=; }
    cat <<TEXT

Meterplex is up on $METERPLEX_URL. To try:

  . $env
  curl -i -H "Authorization: Bearer \$METERPLEX_API_KEY" \$METERPLEX_URL/demo/hello.json
  curl -H "Authorization: Bearer \$METERPLEX_API_KEY" "\$METERPLEX_URL/v1/$usage"
  curl -H "Authorization: Bearer \$METERPLEX_ADMIN_KEY" \$METERPLEX_URL/v1/tenants
  curl \$METERPLEX_URL/health

./dev logs$option follows what happens; ./dev down$option stops it.
TEXT
}
