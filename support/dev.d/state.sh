# The state directory: where it is, what it remembers, who may read what.
#
#   bin/      small scripts: start and stop of httpd and PostgreSQL, meterplexctl ready to run
#   prefix/   what make install made; httpd runs from there
#   pg/       the cluster            secrets/  passwords, root key, API keys
#   httpd/    ServerRoot             upstream/ of the small server behind /demo-proxy/
#   demo/     its files              log/      of all of them
#   ports     remembered             dev.env   for scripts

# The users that children of httpd and PostgreSQL run as, when root starts them.
PG_USER=postgres
HTTPD_USER=www-data

reachable_for() { runuser -u "$1" -- test -x "$2" 2>/dev/null; }

checkout_is_reachable() {
    ! is_root || { reachable_for "$HTTPD_USER" "$ROOT" && reachable_for "$PG_USER" "$ROOT"; }
}

# Sets STATE. With --make it makes the directory, outside of a checkout that the servers' users cannot enter.
find_state() {
    local elsewhere
    if [ -n "$opt_state" ]; then
        [ "${1:-}" != --make ] || mkdir -p "$opt_state"
        STATE=$(cd "$opt_state" 2>/dev/null && pwd -P) || STATE=$opt_state
        STATE_LINK=
        if [ "${1:-}" = --make ] && is_root && ! { reachable_for "$HTTPD_USER" "$STATE" && reachable_for "$PG_USER" "$STATE"; }
        then
            die "--state $opt_state: users $HTTPD_USER and $PG_USER cannot enter it; a directory above it is closed to them"
        fi
        return 0
    fi
    STATE=$ROOT/var
    STATE_LINK=
    elsewhere=/var/lib/meterplex-dev/$(printf %s "$ROOT" | sha256sum | cut -c1-12)
    if [ -L "$ROOT/var" ]; then
        STATE=$(readlink "$ROOT/var")
        STATE_LINK=$ROOT/var
        [ "${1:-}" != --make ] || mkdir -p "$STATE"
    elif [ "${1:-}" = --make ] && [ ! -e "$ROOT/var" ] && ! checkout_is_reachable; then
        mkdir -p "$elsewhere"
        ln -s "$elsewhere" "$ROOT/var"
        STATE=$elsewhere
        STATE_LINK=$ROOT/var
        note "$ROOT is closed to users $HTTPD_USER and $PG_USER: var is a link to $elsewhere, htdocs is copied there"
    elif [ "${1:-}" = --make ]; then
        mkdir -p "$STATE"
    fi
}

need_state() {
    find_state
    [ -e "$STATE/dev.env" ] || die "nothing is up here yet ($STATE/dev.env is not there): ./dev up"
}

make_state() {
    find_state --make
    chmod 755 "$STATE"
    mkdir -p "$STATE"/{bin,log,httpd/state,upstream,demo}
    mkdir -p -m 711 "$STATE/secrets"
    if is_root; then
        chown "$HTTPD_USER" "$STATE/httpd/state"
    fi
    exec 9>"$STATE/.lock"
    flock -n 9 || die "another ./dev is at work in $STATE"
}

# --- ports

remember_port() {
    PORTS[$1]=$2
    for name in "${!PORTS[@]}"; do
        printf '%s=%s\n' "$name" "${PORTS[$name]}"
    done | sort | write_file 644 "$STATE/ports"
}

load_ports() {
    local name value
    declare -gA PORTS=()
    [ -e "$STATE/ports" ] || return 0
    while IFS='=' read -r name value; do
        PORTS[$name]=$value
    done <"$STATE/ports"
}

# choose_port NAME RUNNING [WISH]: the remembered one, unless WISH says another; what is not running must find it free.
choose_port() {
    local name=$1 running=$2 wish=${3:-}
    local port=${wish:-${PORTS[$name]:-}}
    if [ "$name" = httpd ]; then
        port=${port:-8080}
    fi
    if [ "$running" != yes ] && [ -n "$port" ] && port_is_taken "$port"; then
        [ "$name" != httpd ] || die "port $port is taken by another program: ./dev up --port N"
        port=
    fi
    remember_port "$name" "${port:-$(free_port)}"
}

# --- secrets

# secret NAME BYTES: a random text that is made once.
make_secret() {
    [ -s "$STATE/secrets/$1" ] || random_hex "$2" | write_file 600 "$STATE/secrets/$1"
}
secret() { cat "$STATE/secrets/$1"; }
