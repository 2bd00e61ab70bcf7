# What the benchmarks share: a server of their own, two things measured in turn, medians. Sourced.
#
# Other machines' work takes half of this one's time, and not the same half of every second: long turns compare moments, not
# builds. So two things are measured in many short turns side by side, and each pair gives a ratio of its own; what the gate
# costs of CPU, in what its upstream costs, does not depend on others at all.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BENCH_STATE=${BENCH_STATE:-$ROOT/build/bench-state}
ROUNDS=${ROUNDS:-5}

need() { command -v "$1" >/dev/null || { echo "bench: $1 is missing: apt-get install $2" >&2; exit 2; }; }

# A development server without its demo, and what bench_conf prints added to its configuration.
bench_up() {
    local port
    port=$(( 20000 + RANDOM % 20000 ))
    "$ROOT/dev" up --no-demo --state "$BENCH_STATE" --port "$port" >"$ROOT/build/bench.log" 2>&1 || { tail -20 "$ROOT/build/bench.log" >&2; exit 1; }
    trap bench_down EXIT
    # shellcheck disable=SC1091
    . "$BENCH_STATE/dev.env"
    "$METERPLEX_STOP" >/dev/null 2>&1 || true
    bench_conf >>"$BENCH_STATE/httpd/httpd.conf"
    "$METERPLEX_START" >/dev/null
}

bench_down() { "$ROOT/dev" down --state "$BENCH_STATE" >/dev/null 2>&1 || true; rm -rf "$BENCH_STATE"; }

upstream_port() { sed -n 's/^upstream=//p' "$BENCH_STATE/ports"; }

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }

quartiles() { # median (middle half)
    sort -g | awk '{ v[NR] = $1 } END { q = int((NR + 3) / 4); printf "%.3f (%.3f to %.3f)", v[int((NR + 1) / 2)], v[q], v[NR + 1 - q] }'
}

# CPU ticks that the children of server PID have used.
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

# turn NAME: what `run NAME` prints (figures in one line) into NAME.turns, the ticks of the server and its upstream into NAME.ticks
turn() {
    local gate upstream g u
    gate=$(cat "$HTTPD_PIDFILE"); upstream=$(cat "$BENCH_STATE/upstream/httpd.pid")
    g=$(ticks_of "$gate"); u=$(ticks_of "$upstream")
    run "$1" >>"$BENCH_STATE/$1.turns"
    echo "$(($(ticks_of "$gate") - g)) $(($(ticks_of "$upstream") - u))" >>"$BENCH_STATE/$1.ticks"
}

# pairs N A B: so many turns of each, the second of a pair first in the next
pairs() {
    local i
    rm -f "$BENCH_STATE/$2".t* "$BENCH_STATE/$3".t*
    for ((i = 0; i < $1; i++)); do
        if ((i % 2)); then turn "$3"; turn "$2"; else turn "$2"; turn "$3"; fi
    done
}

# Of figure FIELD in the turns of NAME: mean_of FIELD NAME, median_of FIELD NAME; ratios_of FIELD A B: of B to A, pair by pair
mean_of() { awk -v n="$1" '{ sum += $n } END { print sum / NR }' "$BENCH_STATE/$2.turns"; }
median_of() { cut -d' ' -f"$1" "$BENCH_STATE/$2.turns" | median; }
ratios_of() {
    paste -d' ' <(cut -d' ' -f"$1" "$BENCH_STATE/$2.turns") <(cut -d' ' -f"$1" "$BENCH_STATE/$3.turns") | awk '{ print $2 / $1 }' | quartiles
}
# CPU of the server in the CPU of its upstream
cost_of() { awk '{ g += $1; u += $2 } END { print g / u }' "$BENCH_STATE/$1.ticks"; }
