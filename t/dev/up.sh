#!/usr/bin/env bash
# ./dev as a newcomer has it: up, what it says to try, up again, the README's first session, stop and start, down. TAP.
#
#     t/dev/up.sh        in a state directory and on ports of its own; everything it starts it stops
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
. "$ROOT/support/dev.d/common.sh" # wait_for, free_port
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

dev() { "$ROOT/dev" "$@"; }
contains() { grep -qF -- "$2" <<<"$1" || { printf 'not there: %s\nin: %s\n' "$2" "$1"; return 1; }; }
status() { curl -s -o /dev/null --max-time 10 -w '%{http_code}' "$@"; }
is() { [ "$1" = "$2" ] || { printf '%s and not %s\n' "$1" "$2"; return 1; }; }
env_of() { # in a shell of its own, with the variables of dev.env
    bash -c ". '$STATE/dev.env'; $1"
}

answers_200() { [ "$(status "$1")" = 200 ]; }

answers_within() { # SECONDS live|ready
    local url
    url=$(env_of 'echo $METERPLEX_URL')/health/$2
    wait_for "$1" answers_200 "$url" || { echo "not within $1 s: $url: $(curl -s --max-time 5 "$url")"; return 1; }
}

first_up() { dev up --state "$STATE" --port "$(free_port)" 2>&1 | tee "$DIR/up.txt"; return "${PIPESTATUS[0]}"; }

says_no_key() { ! grep -nE 'shown this once|mpx_live_' "$DIR/up.txt"; }

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
    is "$(dev psql --state "$STATE" -X -At -c 'SELECT current_user')" postgres || return 1
    is "$(dev --state="$STATE" psql -X -At -c 'SELECT current_user')" postgres || return 1
    is "$(env_of 'psql -X -At "$DATABASE_ADMIN_URL" -c "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"')" t || return 1
    env_of 'kill -0 $(cat "$HTTPD_PIDFILE") && test -e "$PGDATA/PG_VERSION"'
}

# Each line that up has printed under "To try", as it stands, from the directory that it was started in.
what_it_says_works() {
    sed -n '/To try:/,/^\.\/dev logs/p' "$DIR/up.txt" | grep -E '^  (\.|curl) ' >"$DIR/try.sh"
    [ "$(wc -l <"$DIR/try.sh")" -ge 4 ] || { cat "$DIR/up.txt"; return 1; }
    sed -i 's/^  curl /curl -f /' "$DIR/try.sh"
    (cd "$ROOT" && bash -e "$DIR/try.sh") || return 1
    grep -qxF "./dev logs --state $STATE follows what happens; ./dev down --state $STATE stops it." "$DIR/up.txt"
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

# All that was counted is in the database.
nothing_pending() {
    curl -s --max-time 5 "$(env_of 'echo $METERPLEX_URL')/metrics" | grep -qx 'meterplex_usage_pending 0'
}

up_again() {
    local before after
    before=$(md5sum <"$STATE/dev.env") || return 1
    wait_for 10 nothing_pending || { echo 'counts are pending after 10 s'; return 1; }
    count=$(demo_count)
    dev up --state "$STATE" || return 1
    after=$(md5sum <"$STATE/dev.env") || return 1
    is "$after" "$before" || return 1
    is "$(demo_count)" "$count"
}

# Where the parent of httpd writes nobody else may put anything; an earlier up had given it to the children's user.
state_is_closed() { is "$(stat -c '%u %a' "$STATE/httpd/state")" "$(id -u) 700"; }
up_closes_the_state() {
    state_is_closed && chmod 755 "$STATE/httpd/state" || return 1
    [ "$(id -u)" != 0 ] || chown www-data "$STATE/httpd/state" || return 1
    dev up --no-demo --state "$STATE" && state_is_closed || return 1
    env_of '"$METERPLEXCTL" doctor'
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

# The parents are killed; their children go on serving and hold the port.
kill_parents() {
    kill -9 "$(cat "$STATE/httpd/httpd.pid")" "$(cat "$STATE/upstream/httpd.pid")" \
        "$(head -n 1 "$STATE/pg/postmaster.pid")"
}

up_after_a_kill() {
    kill_parents || return 1
    dev up --no-demo --state "$STATE" || return 1
    answers_within 10 ready
}

down_after_a_kill() {
    kill_parents || return 1
    all_down
}

# conf/ as it is installed, but for paths and the port: in an httpd that has a site with pages where the API has its
# paths.
shipped_configuration() {
    local dir=$DIR/shipped apxs site api path httpd result
    apxs=$(command -v apxs || command -v apxs2) || return 1
    httpd=$("$apxs" -q SBINDIR)/$("$apxs" -q PROGNAME)
    site=$(free_port) api=$(free_port)
    mkdir -p "$dir/site/v1" "$dir/site/health" && mkdir -m 700 "$dir/state" || return 1
    for path in / /v1/ /health/; do echo "the site's own $path" >"$dir/site${path}index.html"; done
    sed -e "s#/etc/meterplex/root.key#$STATE/secrets/root.key#; s#/etc/meterplex/pgpass#$STATE/secrets/httpd.pgpass#" \
        -e "s#/var/lib/meterplex#$dir/state#; s#host=127.0.0.1#& port=$(sed -n 's/^postgresql=//p' "$STATE/ports")#" \
        "$STATE/prefix/etc/meterplex/meterplex.conf" >"$dir/meterplex.conf"
    sed "s#:8081#:$api#; s#/usr/share#$STATE/prefix/share#" \
        "$STATE/prefix/etc/meterplex/extra/meterplex-api.conf" >"$dir/meterplex-api.conf"
    cat >"$dir/httpd.conf" <<CONF
ServerRoot $dir
ServerName 127.0.0.1
Listen 127.0.0.1:$site
PidFile $dir/httpd.pid
DefaultRuntimeDir $dir
ErrorLog $dir/error.log
Include $STATE/httpd/load.conf
<IfModule !authz_host_module>
    LoadModule authz_host_module $("$apxs" -q LIBEXECDIR)/mod_authz_host.so
</IfModule>
TypesConfig /dev/null
DocumentRoot $dir/site
DirectoryIndex index.html
<Directory />
    Require all denied
</Directory>
<Directory $dir/site>
    Require all granted
</Directory>
Include $dir/meterplex.conf
Include $dir/meterplex-api.conf
CONF
    "$httpd" -d "$dir" -f "$dir/httpd.conf" -k start || { cat "$dir/error.log"; return 1; }
    shipped_answers "$site" "$api"
    result=$?
    kill "$(cat "$dir/httpd.pid")"
    while pgrep -f "$dir/httpd.conf" >/dev/null; do sleep 0.1; done
    [ $result = 0 ] || cat "$dir/error.log"
    return $result
}

shipped_answers() { # SITE API: their ports
    local path
    wait_for 10 answers_200 "http://127.0.0.1:$2/health/ready" || { echo "the API is not ready within 10 s"; return 1; }
    for path in / /v1/ /health/; do
        is "$(curl -s "http://127.0.0.1:$1$path")" "the site's own $path" || return 1
    done
    is "$(status "http://127.0.0.1:$1/metrics")" 404 || return 1
    is "$(status "http://127.0.0.1:$2/health")" 200 || return 1
    is "$(status "http://127.0.0.1:$2/metrics")" 200 || return 1
    is "$(status "http://127.0.0.1:$2/v1/openapi.json")" 200 || return 1
    contains "$(curl -s "http://127.0.0.1:$2/v1/auth/me")" '"unauthenticated"' || return 1
    contains "$(curl -si "http://127.0.0.1:$2/nowhere")" application/problem+json
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

misused() { misused_by "$ROOT/dev" "$@"; }
misused_by() { # DEV WORD ARGUMENT...: exit status 2 and one line with the word
    local program=$1 word=$2 out status=0
    shift 2
    out=$("$program" "$@" 2>&1) || status=$?
    is "$status" 2 && is "$(wc -l <<<"$out")" 1 && contains "$out" "$word"
}

misuse() {
    misused nodemo up --nodemo && misused "options only" clean x && misused value up --port \
        && misused directory up --state= && misused "option of up" down --no-demo && misused error logs nothing \
        && misused fuzz check nothing && misused gate bench nothing
}

# Paths that make, configure or httpd would read as something else: named with their characters before anything is made,
# the checkout's own and that which var leads to, too.
unusual_paths() {
    local odd=("a b" 'a#b' 'a;b' 'a(b' 'a)b' 'a<b' 'a>b' 'a$b' 'a|b' 'a&b' 'a\b' "a'b" 'a"b' 'a`b' 'a:b' 'a%b' 'a*b' 'a=b') name
    for name in "${odd[@]}"; do
        misused "the state directory $DIR/$name has '${name:1:1}' in its path, where only" up --no-demo --state "$DIR/$name" \
            && [ ! -e "$DIR/$name" ] || { dev down --state "$DIR/$name" >/dev/null 2>&1; return 1; }
    done
    misused "/a#;b has '#;' in its path" up --no-demo --state "$DIR/a#;b" || return 1
    misused "a?b has '?' in its path" up --no-demo --state "$DIR/a"$'\n'b || return 1
    mkdir -p "$DIR/a checkout" "$DIR/checkout" && cp -r "$ROOT/dev" "$ROOT/support" "$DIR/a checkout" \
        && cp -r "$ROOT/dev" "$ROOT/support" "$DIR/checkout" && ln -s "$DIR/a state" "$DIR/checkout/var" || return 1
    for name in up "check unit" lint "bench gate"; do
        # shellcheck disable=SC2086
        misused_by "$DIR/a checkout/dev" "the checkout $DIR/a checkout has ' ' in its path" $name || return 1
    done
    is "$(ls -A "$DIR/a checkout" | tr '\n' ' ')" "dev support " || return 1
    misused_by "$DIR/checkout/dev" "the state directory $DIR/a state has ' ' in its path" up --no-demo && [ ! -e "$DIR/a state" ]
}

# A directory with somebody's file, and one below what is closed to the servers' users: refused, and left as they are.
others_directory() {
    local before
    mkdir -p "$DIR/others" "$DIR/closed" && echo mine >"$DIR/others/file" || return 1
    chmod 750 "$DIR/others" && chmod 700 "$DIR/closed" || return 1
    before=$(stat -c '%a %Z' "$DIR/others")
    refuses .meterplex-state up --no-demo --state "$DIR/others" || return 1
    refuses .meterplex-state clean --state "$DIR/others" || return 1
    is "$(stat -c '%a %Z' "$DIR/others")" "$before" && is "$(ls -A "$DIR/others")" file || return 1
    [ "$(id -u)" = 0 ] || return 0
    refuses "cannot enter" up --no-demo --state "$DIR/closed/below/state" || return 1
    is "$(ls -A "$DIR/closed")" ""
}

# check.sh with a stand-in for a build: three cases are told of, then a program runs, and a
# watcher that ends some seconds after it.
interrupted_check() {
    local dir=$DIR/fake out status=0
    mkdir -p "$dir/t" && cp "$(command -v sleep)" "$dir/t/program" || return 1
    printf 'check:\n\t@echo "PASS: t/a 1 - one"; echo "PASS: t/a 2 - two"; echo "FAIL: t/a 3 - three"; \\\n%s\n' \
        $'\tsetsid t/program 4 & touch begun; t/program 100' >"$dir/Makefile"
    out=$(bash -c '
        set -euo pipefail
        ROOT=$1 opt_sanitize=no
        for part in common check; do . "$ROOT/support/dev.d/$part.sh"; done
        make_configure() { :; }
        configure_in() { :; }
        trap on_interrupt INT TERM
        (until [ -e "$2/begun" ]; do sleep 0.1; done; sleep 0.5; kill -TERM $$) &
        check_in fake "$2" ""' check "$ROOT" "$dir" 2>&1) || status=$?
    is "$status" 130 && is "$(tail -n 1 <<<"$out")" "2 passed, 1 failed (interrupted)" || { echo "$out"; return 1; }
    ! pgrep -f '^t/program' >/dev/null || { echo "it did not wait for what it had started"; return 1; }
}

all_down() {
    local pid
    pid=$(env_of 'cat "$HTTPD_PIDFILE"')
    dev down --state "$STATE" || return 1
    ! grep -qs . "/proc/$pid/cmdline" || { echo "httpd is still there"; return 1; }
    ! pgrep -f "$STATE" >/dev/null || { pgrep -af "$STATE"; return 1; }
}

check "up, with a demo whose counts agree" first_up
check "up speaks of no key that it does not show" says_no_key
check "dev.env has every variable" every_variable
check "the demo's key has its scopes" api_key_scopes
check "what dev.env names works" variables_work
check "/demo/ and /demo-proxy/ want a key" gates
check "the lines that up prints work" what_it_says_works
check "a second up changes nothing" up_again
check "nobody but who starts httpd can change its state directory" up_closes_the_state
check "the README's first session" readme_session
check "httpd alone stops and starts" httpd_alone
check "PostgreSQL alone starts again" postgresql_alone
check "up after kill -9 of the parents" up_after_a_kill
check "the configuration as it is installed leaves a site alone" shipped_configuration
check "a taken port is named" taken_port
check "a port that is none is refused" refuses "99999" up --port 99999
check "paths with unusual characters are refused" unusual_paths
check "an unknown command is refused" misused "upp" upp
check "unknown options and words too many are refused" misuse
check "a directory of somebody else is refused and left alone" others_directory
check "an interrupted check counts, and waits for what it started" interrupted_check
check "down ends what kill -9 of the parents left" down_after_a_kill
dev up --no-demo --state "$STATE" >/dev/null 2>&1
check "down ends everything" all_down
check "down twice is harmless" dev down --state "$STATE"
echo "1..$n"
[ $failed = 0 ]
