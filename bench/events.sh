#!/usr/bin/env bash
# Events over HTTP in batches of 1,000, acknowledged after the commit, against COPY of the same rows into the same table.
. "$(dirname "$0")/lib.bash"
BATCHES=${BATCHES:-50}

bench_conf() { printf 'LogLevel warn\n'; }

make_batches() { # ROUND
    local b
    for ((b = 0; b < BATCHES; b++)); do
        awk -v r="$1" -v b="$b" -v NOW="$(date -u +%Y-%m-%dT%H:%M:%SZ)" 'BEGIN { printf "["; for (i = 0; i < 1000; i++) printf "%s{\"id\":\"%d-%d-%d\",\"source\":\"bench\",\"type\":\"llm.tokens\",\"subject\":\"customer-%d\",\"time\":\"%s\",\"data\":{\"tokens\":%d.25,\"model\":\"model-%d\",\"region\":\"eu\"}}", i ? "," : "", r, b, i, i % 50, NOW, i, i % 7; printf "]" }' \
            >"$BENCH_STATE/batch-$b.json"
    done
}

post_all() { # one connection for each of two senders, kept alive
    local half
    for half in 0 1; do
        for ((b = half; b < BATCHES; b += 2)); do
            [ "$b" -lt 2 ] || printf 'next\n'
            printf 'url = "%s/v1/usage/events"\nheader = "Authorization: Bearer %s"\nheader = "Content-Type: application/json"\ndata-binary = "@%s"\noutput = "/dev/null"\nfail\nsilent\n' \
                "$METERPLEX_URL" "$METERPLEX_API_KEY" "$BENCH_STATE/batch-$b.json"
        done >"$BENCH_STATE/curl-$half"
    done
    curl -K "$BENCH_STATE/curl-0" & curl -K "$BENCH_STATE/curl-1" & wait
}

now() { date +%s.%N; }
sql() { psql -X -q -At -v ON_ERROR_STOP=1 "$DATABASE_ADMIN_URL" "$@"; }

bench_up
: >"$BENCH_STATE/http"; : >"$BENCH_STATE/copy"
for ((round = 0; round < ROUNDS; round++)); do
    make_batches "$round"
    before=$(sql -c "SELECT count(*) FROM usage.events")
    t0=$(now); post_all; t1=$(now)
    after=$(sql -c "SELECT count(*) FROM usage.events")
    [ $((after - before)) -eq $((BATCHES * 1000)) ] || { echo "bench: $((after - before)) of $((BATCHES * 1000)) rows arrived" >&2; exit 1; }
    awk -v n=$((BATCHES * 1000)) -v a="$t0" -v b="$t1" 'BEGIN { print n / (b - a) }' >>"$BENCH_STATE/http"
    # the same rows, once more into the same table, under other ids
    sql -c "COPY (SELECT tenant_id, time, gen_random_uuid(), external_id, source, type, subject, occurrences, repeats, data FROM usage.events WHERE source = 'bench' AND external_id LIKE '$round-%') TO STDOUT" >"$BENCH_STATE/rows"
    t0=$(now); sql -c "COPY usage.events FROM STDIN" <"$BENCH_STATE/rows"; t1=$(now)
    awk -v n=$((BATCHES * 1000)) -v a="$t0" -v b="$t1" 'BEGIN { print n / (b - a) }' >>"$BENCH_STATE/copy"
done
a=$(median <"$BENCH_STATE/copy"); b=$(median <"$BENCH_STATE/http")
printf '| COPY rows/s | HTTP, batches of 1,000, rows/s | ratio |\n|---|---|---|\n| %.0f | %.0f | %s |\n' "$a" "$b" "$(ratio "$b" "$a")"
