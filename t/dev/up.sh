#!/usr/bin/env bash
# ./dev as a newcomer has it: up, what it says to try, up again, the README's first session, stop and start, down. TAP.
#
#     t/dev/up.sh        in a state directory and on ports of its own; everything it starts it stops
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
DIR=$(mktemp -d /tmp/mpx-up-XXXXXX)
chmod 755 "$DIR"
STATE=$DIR/state
n=0 failed=0

cleanup() {
    "$ROOT/dev" down --state "$STATE" >/dev/null 2>&1
    rm -rf "$DIR"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# check NAME COMMAND...: passes when the command does; what it printed is shown when it does not
check() {
    local name=$1
    shift
    n=$((n + 1))
    if "$@" >"$DIR/out" 2>&1 </dev/null; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' "$DIR/out" | tail -n 30
        failed=$((failed + 1))
    fi
}

free_port() { echo $((20000 + RANDOM % 10000)); }
dev() { "$ROOT/dev" "$@"; }
contains() { grep -qF -- "$2" <<<"$1" || { printf 'not there: %s\nin: %s\n' "$2" "$1"; return 1; }; }
status() { curl -s -o /dev/null --max-time 10 -w '%{http_code}' "$@"; }
is() { [ "$1" = "$2" ] || { printf '%s and not %s\n' "$1" "$2"; return 1; }; }
env_of() { # in a shell of its own, with the variables of dev.env
    bash -c ". '$STATE/dev.env'; $1"
}

answers_within() { # SECONDS live|ready
    local deadline=$((SECONDS + $1)) url
    url=$(env_of 'echo $METERPLEX_URL')/health/$2
    until [ "$(status "$url")" = 200 ]; do
        [ $SECONDS -lt $deadline ] || { echo "not within $1 s: $url: $(curl -s --max-time 5 "$url")"; return 1; }
        sleep 0.2
    done
}

first_up() { dev up --state "$STATE" --port "$(free_port)" | tee "$DIR/up.txt"; return "${PIPESTATUS[0]}"; }

every_variable() {
    local name
    for name in METERPLEX_URL METERPLEX_ADMIN_KEY METERPLEX_TENANT_ID METERPLEX_API_KEY METERPLEXCTL METERPLEX_START \
        METERPLEX_STOP HTTPD_PIDFILE PGDATA PG_START DATABASE_URL DATABASE_ADMIN_URL; do
        # shellcheck disable=SC2016
        env_of 'test -n "${'"$name"':-}"' || { echo "$name is not set"; return 1; }
    done
}

api_key_scopes() {
    local me
    me=$(env_of 'curl -s -H "Authorization: Bearer $METERPLEX_API_KEY" $METERPLEX_URL/v1/auth/me')
    contains "$me" '"scopes":["demo:read","meters:read","meters:write","usage:read","usage:write"]'
}

variables_work() {
    env_of '"$METERPLEXCTL" status >/dev/null' || { echo METERPLEXCTL; return 1; }
    is "$(env_of 'psql -X -At "$DATABASE_URL" -c "SELECT current_user"')" meterplex || return 1
    is "$(env_of 'psql -X -At "$DATABASE_ADMIN_URL" -c "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"')" t || return 1
    env_of 'kill -0 $(cat "$HTTPD_PIDFILE") && test -e "$PGDATA/PG_VERSION"'
}

# Each line that up has printed under "To try", as it stands, from the directory that it was started in.
what_it_says_works() {
    sed -n '/To try:/,/^\.\/dev logs/p' "$DIR/up.txt" | grep -E '^  (\.|curl) ' >"$DIR/try.sh"
    [ "$(wc -l <"$DIR/try.sh")" -ge 4 ] || { cat "$DIR/up.txt"; return 1; }
    sed -i 's/^  curl /curl -f /' "$DIR/try.sh"
    (cd "$ROOT" && bash -e "$DIR/try.sh")
}

gates() {
    is "$(env_of 'curl -s -o /dev/null -w "%{http_code}" $METERPLEX_URL/demo/hello.json')" 401 || return 1
    is "$(env_of 'curl -s -o /dev/null -w "%{http_code}" $METERPLEX_URL/demo-proxy/hello.json')" 401 || return 1
    is "$(env_of 'curl -s -H "Authorization: Bearer $METERPLEX_API_KEY" $METERPLEX_URL/demo/hello.json')" '{"hello":"world"}' || return 1
    is "$(env_of 'curl -s -H "Authorization: Bearer $METERPLEX_API_KEY" $METERPLEX_URL/demo-proxy/hello.json')" '{"hello":"world"}'
}

demo_count() {
    env_of 'curl -s -H "Authorization: Bearer $METERPLEX_API_KEY" $METERPLEX_URL/v1/meters/demo-requests/usage' \
        | sed -n 's/.*"value":"\([^"]*\)".*/\1/p'
}

up_again() {
    local before after
    before=$(md5sum <"$STATE/dev.env") || return 1
    sleep 2
    count=$(demo_count)
    dev up --state "$STATE" || return 1
    after=$(md5sum <"$STATE/dev.env") || return 1
    is "$after" "$before" || return 1
    is "$(demo_count)" "$count"
}

# The README's first session, pasted; its files go where the state is.
readme_session() {
    awk '/^## /{ s = ($0 == "## A first session") } s && /^```$/ { c = 0 } s && c { print } s && /^```sh/ { c = 1 }' "$ROOT/README.md" \
        | sed "s#var/#$STATE/#g" >"$DIR/session.sh"
    [ "$(grep -c curl "$DIR/session.sh")" -ge 9 ] || { echo "the session was not found"; return 1; }
    bash "$DIR/session.sh" >"$DIR/session.txt" 2>&1
    cat "$DIR/session.txt"
    contains "$(cat "$DIR/session.txt")" 'HTTP/1.1 401' && contains "$(cat "$DIR/session.txt")" 'HTTP/1.1 200' \
        && contains "$(cat "$DIR/session.txt")" 429 && contains "$(cat "$DIR/session.txt")" '"accepted":2,"duplicates":0' \
        && contains "$(cat "$DIR/session.txt")" '"accepted":0,"duplicates":2' && contains "$(cat "$DIR/session.txt")" '"value":"12.5"' \
        && contains "$(cat "$DIR/session.txt")" '"value":"7.25"'
}

httpd_alone() {
    env_of '"$METERPLEX_STOP"' || return 1
    is "$(env_of 'curl -s -o /dev/null -w "%{http_code}" $METERPLEX_URL/health/live')" 000 || return 1
    env_of '"$METERPLEX_START"' || return 1
    answers_within 10 live
}

postgresql_alone() {
    env_of 'kill -QUIT $(head -n 1 "$PGDATA/postmaster.pid"); while [ -e "$PGDATA/postmaster.pid" ]; do sleep 0.1; done; "$PG_START"' || return 1
    answers_within 10 ready
}

taken_port() {
    local out port
    port=$(env_of 'echo ${METERPLEX_URL##*:}')
    if out=$(dev up --no-demo --state "$DIR/other" --port "$port" 2>&1); then
        dev down --state "$DIR/other" >/dev/null 2>&1
        echo "it says nothing"
        return 1
    fi
    dev down --state "$DIR/other" >/dev/null 2>&1
    contains "$out" "$port"
}

refuses() { # WORD OPTION...: exit status not 0 and the word in what is said
    local word=$1 out
    shift
    if out=$(dev "$@" 2>&1); then
        echo "accepted: $*"
        return 1
    fi
    contains "$out" "$word"
}

all_down() {
    local pid
    pid=$(env_of 'cat "$HTTPD_PIDFILE"')
    dev down --state "$STATE" || return 1
    ! kill -0 "$pid" 2>/dev/null || { echo "httpd is still there"; return 1; }
    ! pgrep -f "$STATE" >/dev/null || { pgrep -af "$STATE"; return 1; }
}

check "up, with a demo whose counts agree" first_up
check "dev.env has every variable" every_variable
check "the demo's key has its scopes" api_key_scopes
check "what dev.env names works" variables_work
check "/demo/ and /demo-proxy/ want a key" gates
check "the lines that up prints work" what_it_says_works
check "a second up changes nothing" up_again
check "the README's first session" readme_session
check "httpd alone stops and starts" httpd_alone
check "PostgreSQL alone starts again" postgresql_alone
check "a taken port is named" taken_port
check "a port that is none is refused" refuses "99999" up --port 99999
check "a state directory with a space is refused" refuses "without spaces" up --state "$DIR/a state"
check "an unknown command is refused" refuses "upp" upp
check "down ends everything" all_down
check "down twice is harmless" dev down --state "$STATE"
echo "1..$n"
[ $failed = 0 ]
