#!/usr/bin/env bash
# How many pass a limit of 100 that does not refill: 2,000 requests at once, and then a flood of MANY, with 1, 2 and 4 children.
. "$(dirname "$0")/lib.bash"
need wrk wrk
MANY=${MANY:-350000} # for each number of children; 10^6 over the three

bench_conf() {
    cat <<'CONF'
LogLevel warn
ServerLimit ${BENCH_CHILDREN}
StartServers ${BENCH_CHILDREN}
ThreadsPerChild 64
MaxRequestWorkers ${BENCH_WORKERS}
MinSpareThreads 1
MaxSpareThreads ${BENCH_WORKERS}
<Location "/demo/limited">
    MeterplexRateLimit key 100/d
</Location>
CONF
}

fresh_key() {
    curl -s -H "Authorization: Bearer $METERPLEX_ADMIN_KEY" -H 'Content-Type: application/json' -d '{"name":"limit","scopes":["demo:read"]}' \
        "$METERPLEX_URL/v1/tenants/$METERPLEX_TENANT_ID/api-keys" | grep -o 'mpx_live_[A-Za-z0-9_]*'
}

# burst KEY: how many of 2,000 requests over 200 connections pass (404: there is no such file, and it was let through)
burst() {
    curl -s --no-progress-meter --parallel --parallel-immediate --parallel-max 200 -H "Authorization: Bearer $1" -o /dev/null -w '%{http_code}\n' \
        "$METERPLEX_URL/demo/limited?n=[1-2000]" | awk '$1 == 404 { n++ } END { print NR, n + 0 }'
}

# flood KEY: requests sent and let through, by the counter of the location: what the client saw of both
flood() {
    local sent=0 passed=0 s p
    while [ "$sent" -lt "$MANY" ]; do
        read -r s p < <(wrk -t1 -c64 -d10s -s "$ROOT/bench/count.lua" -H "Authorization: Bearer $1" "$METERPLEX_URL/demo/limited" \
            | awk '$1 == "answers" { print $2, $3 }')
        sent=$((sent + s)) passed=$((passed + p))
    done
    echo "$sent $passed"
}

export BENCH_CHILDREN=1 BENCH_WORKERS=64
bench_up
printf '| children | at once | passed | flood | passed | over the limit |\n|---|---|---|---|---|---|\n'
for BENCH_CHILDREN in 1 2 4; do
    BENCH_WORKERS=$((64 * BENCH_CHILDREN))
    "$METERPLEX_STOP" >/dev/null; "$METERPLEX_START" >/dev/null
    sleep 1
    read -r sent passed < <(burst "$(fresh_key)")
    read -r flooded through < <(flood "$(fresh_key)")
    printf '| %s | %s | %s | %s | %s | %s |\n' "$BENCH_CHILDREN" "$sent" "$passed" "$flooded" "$through" \
        $(( (passed > 100 ? passed - 100 : 0) + (through > 100 ? through - 100 : 0) ))
done
