#!/usr/bin/env bash
# The gate with 10 keys and with 100,000, taken at random, in turn: what a look-up in a full table costs over one in an empty.
. "$(dirname "$0")/lib.bash"
need wrk wrk
MANY=${MANY:-100000}

bench_conf() {
    cat <<CONF
LogLevel warn
MeterplexSharedMemory 256M
MeterplexCounters 512M
<Location "/gate/">
    AuthType Meterplex
    Require meterplex-scope demo:read
    MeterplexRateLimit key 1000000000/s
    MeterplexMeter bench.request
    ProxyPass "http://127.0.0.1:$(upstream_port)/"
</Location>
CONF
}

# run KEYS SECONDS [ORDER]: requests a second
run() {
    KEYS=$1 ORDER=${3:-random} wrk -t1 -c16 -d"$2s" --timeout 10s -s "$ROOT/bench/keys.lua" "$METERPLEX_URL/gate/hello.json" \
        | awk '$1 == "Requests/sec:" { r = $2 } /Non-2xx|Socket errors/ { bad = $0 } END { if (bad) { print bad >"/dev/stderr"; exit 1 } print r }'
}

bench_up
export METERPLEX_ADMIN_KEY OUT=$BENCH_STATE/many MANY
psql -X -q "$DATABASE_ADMIN_URL" -c "ALTER ROLE meterplex SET synchronous_commit = off" # for the minting only
"$METERPLEX_STOP" >/dev/null; "$METERPLEX_START" >/dev/null; : >"$BENCH_STATE/many"
wrk -t1 -c32 -d600s -s "$ROOT/bench/mint.lua" "$METERPLEX_URL/v1/tenants/$METERPLEX_TENANT_ID/api-keys" >/dev/null &
minting=$! # wrk itself knows no end but its time
while kill -0 $minting 2>/dev/null && [ "$(wc -l <"$OUT")" -lt "$MANY" ]; do sleep 1; done
kill $minting 2>/dev/null || true
wait $minting 2>/dev/null || true
[ "$(wc -l <"$OUT")" = "$MANY" ] || { echo "bench: $(wc -l <"$OUT") of $MANY keys were made" >&2; exit 1; }
shuf -n 10 --random-source=<(yes) "$BENCH_STATE/many" >"$BENCH_STATE/ten"
run "$BENCH_STATE/many" "${WARM_SECONDS:-60}" each >/dev/null
# CPU ticks that the children of a server have used, and the upstream's: what a request costs there is the same with any key, so
# the gate's ticks for each of the upstream's tell what it costs here, whoever else has the machine's attention.
ticks_of() {
    local pid line sum=0
    for pid in $(pgrep -P "$1"); do
        line=$(cat "/proc/$pid/stat") || continue
        # shellcheck disable=SC2086 # into fields
        set -- ${line##*) }
        sum=$((sum + ${12} + ${13}))
    done
    echo $sum
}
gate=$(cat "$HTTPD_PIDFILE")
upstream=$(cat "$BENCH_STATE/upstream/httpd.pid")

# turn NAME: requests a second; the ticks of both servers are added to NAME.ticks
turn() {
    local g u r
    g=$(ticks_of "$gate"); u=$(ticks_of "$upstream")
    r=$(run "$BENCH_STATE/$1" "${SECONDS_EACH:-1}")
    echo "$(($(ticks_of "$gate") - g)) $(($(ticks_of "$upstream") - u))" >>"$BENCH_STATE/$1.ticks"
    echo "$r"
}

# Short turns side by side, the second of a pair first in the next: what else the machine does takes from both.
for ((i = 0; i < 16 * ROUNDS; i++)); do
    if ((i % 2)); then b=$(turn many); a=$(turn ten); else a=$(turn ten); b=$(turn many); fi
    printf '%s %s %s\n' "$a" "$b" "$(ratio "$b" "$a")" >>"$BENCH_STATE/pairs"
done
both() { awk -v n="$1" '{ sum += $n } END { print sum / NR }' "$BENCH_STATE/pairs"; }
cost() { awk '{ g += $1; u += $2 } END { print g / u }' "$BENCH_STATE/$1.ticks"; }
quartiles=$(awk '{ print $3 }' "$BENCH_STATE/pairs" | sort -g \
    | awk '{ v[NR] = $1 } END { q = int((NR + 3) / 4); print v[int((NR + 1) / 2)] " (" v[q] " to " v[NR + 1 - q] ")" }')
printf '| keys | requests/s, mean of %d turns | ratio | pairs: median (middle half) | gate CPU, in the upstream'"'"'s | ratio |\n' \
    $((16 * ROUNDS))
printf '|---|---|---|---|---|---|\n| 10 | %.0f | | | %.3f | |\n' "$(both 1)" "$(cost ten)"
printf '| %s | %.0f | %s | %s | %.3f | %s |\n' "$MANY" "$(both 2)" "$(ratio "$(both 2)" "$(both 1)")" "$quartiles" "$(cost many)" \
    "$(ratio "$(cost ten)" "$(cost many)")"
