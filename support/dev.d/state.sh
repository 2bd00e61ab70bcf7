# The state directory: where it is, what it remembers, who may read what.
#
#   bin/      small scripts: start and stop of httpd and PostgreSQL, meterplexctl ready to run
#   prefix/   what make install made; httpd runs from there
#   pg/       the cluster            secrets/  passwords, root key, API keys
#   httpd/    ServerRoot             upstream/ of the small server behind /demo-proxy/
#   demo/     its files              log/      of all of them
#   ports     remembered             dev.env   for scripts
#   .meterplex-state   the mark: without it nothing is changed or removed here

# The users that children of httpd and PostgreSQL run as, when root starts them.
PG_USER=postgres
HTTPD_USER=www-data

reachable_for() { runuser -u "$1" -- test -x "$2" 2>/dev/null; }

checkout_is_reachable() {
    ! is_root || { reachable_for "$HTTPD_USER" "$ROOT" && reachable_for "$PG_USER" "$ROOT"; }
}

# Sets STATE, and STATE_LINK where var is a link. Makes nothing.
find_state() {
    STATE_LINK=
    if [ -n "$opt_state" ]; then
        STATE=$(readlink -m -- "$opt_state")
    elif [ -L "$ROOT/var" ]; then
        STATE=$(readlink -m -- "$ROOT/var")
        STATE_LINK=$ROOT/var
    else
        STATE=$ROOT/var
    fi
}

# must_be_usable PATH WHAT REMEDY: other characters have a meaning for make, configure or httpd's configuration, or end
# words there. Bytes beyond ASCII are letters to all of them.
must_be_usable() {
    local LC_ALL=C bad=${1//[A-Za-z0-9\/._+,@~$'\x80'-$'\xff'-]/} shown=
    while [ -n "$bad" ]; do # each once
        shown+=${bad:0:1}
        bad=${bad//"${bad:0:1}"/}
    done
    [ -z "$shown" ] || refuse "$2 ${1//[[:cntrl:]]/?} has '${shown//[[:cntrl:]]/?}' in its path, where only letters," \
        "digits and / . _ - + , @ ~ work: $3"
}

is_marked() { [ -f "$STATE/.meterplex-state" ]; }
is_empty() { [ -z "$(ls -A -- "$1")" ]; }

# Servers of one user are not another's to start or end, root's included: files would change hands and the first be locked out.
must_be_ours() {
    local owner
    [ -e "$STATE/.meterplex-state" ] || return 0
    owner=$(stat -c %U -- "$STATE/.meterplex-state")
    [ "$owner" = "$(id -un)" ] || die "$STATE belongs to user $owner: run ./dev as $owner, or --state DIR takes another"
}

# Whether the servers' users can enter $1 once it is made: what is there already on its way must be open to them.
can_be_entered() {
    local above
    above=$(dirname -- "$1")
    while [ ! -e "$above" ]; do
        above=$(dirname -- "$above")
    done
    ! is_root || { reachable_for "$HTTPD_USER" "$above" && reachable_for "$PG_USER" "$above"; }
}

need_state() {
    find_state
    [ -e "$STATE/dev.env" ] || die "nothing is up here yet ($STATE/dev.env is not there): ./dev up"
}

# The directory is made, marked and opened only when all that could refuse it has been asked.
make_state() {
    local elsewhere link=no
    find_state
    if [ -z "$opt_state" ] && [ -z "$STATE_LINK" ] && [ ! -e "$STATE" ] && ! checkout_is_reachable; then
        elsewhere=/var/lib/meterplex-dev/$(printf %s "$ROOT" | sha256sum | cut -c1-12)
        note "$ROOT is closed to users $HTTPD_USER and $PG_USER: var is a link to $elsewhere, htdocs is copied there"
        STATE=$elsewhere
        STATE_LINK=$ROOT/var
        link=yes
    fi
    if [ -e "$STATE" ]; then
        [ -d "$STATE" ] || die "$STATE is no directory: ./dev up --state DIR takes another"
        is_marked || is_empty "$STATE" \
            || die "$STATE is not empty and has no .meterplex-state: ./dev did not make it; --state DIR takes another"
    fi
    must_be_ours
    can_be_entered "$STATE" \
        || die "$STATE: users $HTTPD_USER and $PG_USER cannot enter it; a directory above it is closed to them"
    (umask 022 && mkdir -p -- "$STATE") || die "$STATE cannot be made"
    is_marked || echo 'Made by ./dev up, removed by ./dev clean.' >"$STATE/.meterplex-state" \
        || die "$STATE cannot be written"
    [ $link = no ] || ln -s "$STATE" "$STATE_LINK"
    chmod 755 "$STATE"
    (umask 022 && mkdir -p "$STATE"/{bin,log,httpd/state,upstream,demo})
    mkdir -p -m 711 "$STATE/secrets"
    # of the user who starts httpd alone: its children have no right to it. An earlier ./dev gave it to theirs
    chown "$(id -u)" "$STATE/httpd/state"
    chmod 700 "$STATE/httpd/state"
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
