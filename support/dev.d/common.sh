# Words to the user, and running things quietly with their output kept.

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf 'dev: %s\n' "$*" >&2; }
die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

# refuse MESSAGE: the command line is wrong, in one line that says what is allowed.
refuse() {
    printf 'dev: %s\n' "$*" >&2
    exit 2
}

is_root() { [ "$(id -u)" = 0 ]; }

# quietly LOG COMMAND...: the output goes to LOG; its end is shown when the command fails.
quietly() {
    local log=$1 begin
    shift
    printf '\n$ %s\n' "$*" >>"$log"
    begin=$(stat -c %s "$log")
    if ! "$@" >>"$log" 2>&1 </dev/null 9>&-; then
        tail -c "+$((begin + 1))" "$log" | tail -n 40 >&2
        die "failed: $* (all of it in $log)"
    fi
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

random_hex() { od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the range that the kernel hands out by itself, so that it is still free after a reboot.
free_port() {
    local port
    for _ in $(seq 200); do
        port=$((20000 + RANDOM % 12000))
        if ! port_is_taken "$port"; then
            printf '%s\n' "$port"
            return 0
        fi
    done
    die "no free port found between 20000 and 32000"
}

# write_file MODE PATH: standard input, complete or not at all.
write_file() {
    local mode=$1 path=$2
    (umask 077 && cat >"$path.new")
    chmod "$mode" "$path.new"
    mv -f "$path.new" "$path"
}

jobs_at_once() { nproc 2>/dev/null || echo 2; }
