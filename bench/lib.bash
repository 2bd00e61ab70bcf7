# What the benchmarks share: a server of their own, two things measured in turn, medians. Sourced.
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
