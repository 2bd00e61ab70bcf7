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

# run LOCATION: "requests-a-second p99-in-ms", over $connections
run() {
    wrk -t1 -c"$connections" -d"${SECONDS_EACH:-1}s" --latency -H "Authorization: Bearer $METERPLEX_API_KEY" \
        "$METERPLEX_URL/$1/hello.json" \
        | awk '$1 == "99%" { p = $2; if (p ~ /us$/) p /= 1000; else if (p !~ /ms$/) p *= 1000 } $1 == "Requests/sec:" { r = $2 }
               /Non-2xx/ { bad = 1 } END { if (bad) { print "bench: not every answer was a 2xx" >"/dev/stderr"; exit 1 } printf "%s %.3f\n", r, p + 0 }'
}

bench_up
N=$((8 * ROUNDS))
printf '| connections | pairs | bare req/s | gated req/s | ratio | pairs: median (middle half) | bare p99 ms | gated p99 ms | ratio '
printf '| CPU in the upstream'"'"'s, bare | gated | ratio |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n'
for connections in 16 64; do
    pairs 2 bare gate # to warm up
    pairs $N bare gate
    printf '| %s | %d | %.0f | %.0f | %s | %s | %s | %s | %s | %.3f | %.3f | %s |\n' "$connections" $N \
        "$(mean_of 1 bare)" "$(mean_of 1 gate)" "$(ratio "$(mean_of 1 gate)" "$(mean_of 1 bare)")" "$(ratios_of 1 bare gate)" \
        "$(median_of 2 bare)" "$(median_of 2 gate)" "$(ratio "$(median_of 2 gate)" "$(median_of 2 bare)")" \
        "$(cost_of bare)" "$(cost_of gate)" "$(ratio "$(cost_of gate)" "$(cost_of bare)")"
done
