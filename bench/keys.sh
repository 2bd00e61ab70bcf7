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

# run_for KEYS SECONDS [ORDER]: requests a second
run_for() {
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
run_for "$BENCH_STATE/many" "${WARM_SECONDS:-60}" each >/dev/null
run() { run_for "$BENCH_STATE/$1" "${SECONDS_EACH:-1}"; }
N=$((16 * ROUNDS))
pairs $N ten many
printf '| keys | requests/s, mean of %d turns | ratio | pairs: median (middle half) | gate CPU, in the upstream'"'"'s | ratio |\n' $N
printf '|---|---|---|---|---|---|\n| 10 | %.0f | | | %.3f | |\n' "$(mean_of 1 ten)" "$(cost_of ten)"
printf '| %s | %.0f | %s | %s | %.3f | %s |\n' "$MANY" "$(mean_of 1 many)" "$(ratio "$(mean_of 1 many)" "$(mean_of 1 ten)")" \
    "$(ratios_of 1 ten many)" "$(cost_of many)" "$(ratio "$(cost_of ten)" "$(cost_of many)")"
