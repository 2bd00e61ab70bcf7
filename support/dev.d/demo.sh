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
    [ -x "$ROOT/support/replay" ] || return 0
    say "demo: sending the same requests to $METERPLEX_URL/demo/"
    "$ROOT/support/replay" "$1" "$METERPLEX_URL/demo" "$METERPLEX_API_KEY" 9>&- >>"$STATE/log/demo.log" 2>&1 \
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

# Once for a state directory: a second up finds the counts as they were.
run_demo() {
    local log
    [ ! -e "$STATE/.demo-done" ] || return 0
    log=$(demo_log)
    make_demo_meters
    if [ -r "$log" ]; then
        import_access_log "$log"
        replay_access_log "$log"
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
    local env=$STATE/dev.env
    [ "$STATE" != "$ROOT/var" ] && [ -z "$STATE_LINK" ] || env=var/dev.env
    cat <<TEXT

Meterplex is up on $METERPLEX_URL. To try:

  . $env
  curl -i -H "Authorization: Bearer \$METERPLEX_API_KEY" \$METERPLEX_URL/demo/hello.json
  curl -H "Authorization: Bearer \$METERPLEX_API_KEY" "\$METERPLEX_URL/v1/meters/demo-requests/usage?from=2015-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
  curl -H "Authorization: Bearer \$METERPLEX_ADMIN_KEY" \$METERPLEX_URL/v1/tenants
  curl \$METERPLEX_URL/health

./dev logs follows what happens; ./dev down stops it.
TEXT
}
