#!/usr/bin/env bash
# Key, limit and meter on a proxied location over the same location bare: requests a second and p99, one keep-alive load.
. "$(dirname "$0")/lib.bash"
need wrk wrk

bench_conf() {
    cat <<CONF
LogLevel warn
<Location "/bare/">
    ProxyPass "http://127.0.0.1:$(upstream_port)/"
</Location>
<Location "/gate/">
    AuthType Meterplex
    Require meterplex-scope demo:read
    MeterplexRateLimit key 1000000000/s
    MeterplexMeter bench.request
    ProxyPass "http://127.0.0.1:$(upstream_port)/"
</Location>
CONF
}

# run LOCATION CONNECTIONS: "requests-a-second p99-in-ms"
run() {
    wrk -t1 -c"$2" -d"${SECONDS_EACH:-3}s" --latency -H "Authorization: Bearer $METERPLEX_API_KEY" "$METERPLEX_URL/$1/hello.json" \
        | awk '$1 == "99%" { p = $2; if (p ~ /us$/) p /= 1000; else if (p !~ /ms$/) p *= 1000 } $1 == "Requests/sec:" { r = $2 }
               /Non-2xx/ { bad = 1 } END { if (bad) { print "bench: not every answer was a 2xx" >"/dev/stderr"; exit 1 } printf "%s %.3f\n", r, p + 0 }'
}

bench_up
run bare 16 >/dev/null
run gate 16 >/dev/null
printf '| connections | bare req/s | gated req/s | ratio | bare p99 ms | gated p99 ms | ratio |\n|---|---|---|---|---|---|---|\n'
for connections in 16 64; do
    : >"$BENCH_STATE/bare"; : >"$BENCH_STATE/gate"
    for ((i = 0; i < ROUNDS; i++)); do
        run bare $connections >>"$BENCH_STATE/bare"
        run gate $connections >>"$BENCH_STATE/gate"
    done
    a=$(cut -d' ' -f1 "$BENCH_STATE/bare" | median); b=$(cut -d' ' -f1 "$BENCH_STATE/gate" | median)
    p=$(cut -d' ' -f2 "$BENCH_STATE/bare" | median); q=$(cut -d' ' -f2 "$BENCH_STATE/gate" | median)
    printf '| %s | %.0f | %.0f | %s | %s | %s | %s |\n' "$connections" "$a" "$b" "$(ratio "$b" "$a")" "$p" "$q" "$(ratio "$q" "$p")"
done
