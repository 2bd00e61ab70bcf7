# httpd with the modules, the small upstream behind /demo-proxy/, up and down.

find_httpd() {
    local apxs
    apxs=$(command -v apxs || command -v apxs2) || die "apxs was not found; Debian: apache2-dev"
    HTTPD_BIN=$("$apxs" -q SBINDIR)/$("$apxs" -q PROGNAME)
    HTTPD_MODULES=$("$apxs" -q LIBEXECDIR)
    [ -x "$HTTPD_BIN" ] || die "$HTTPD_BIN was not found; Debian: apache2-bin"
}

# load_lines NAME...: LoadModule for what is not built into this httpd.
load_lines() {
    local built_in name
    built_in=$("$HTTPD_BIN" -l)
    for name in "$@"; do
        case $built_in in
        *"mod_$name.c"*) ;;
        *) printf 'LoadModule %s_module %s/mod_%s.so\n' "$name" "$HTTPD_MODULES" "$name" ;;
        esac
    done
}

meterplex_load_lines() {
    local room
    for room in "" _identity _limit _usage _observe; do
        [ ! -e "$STATE/prefix/modules/mod_meterplex$room.so" ] \
            || printf 'LoadModule meterplex%s_module %s/prefix/modules/mod_meterplex%s.so\n' "$room" "$STATE" "$room"
    done
}

user_lines() {
    ! is_root || printf 'User %s\nGroup %s\n' "$HTTPD_USER" "$HTTPD_USER"
}

write_configuration() {
    {
        load_lines mpm_event unixd log_config reqtimeout authn_core authz_core dbd watchdog proxy proxy_http alias mime dir headers setenvif
        meterplex_load_lines
        user_lines
    } | write_file 644 "$STATE/httpd/load.conf"
    {
        load_lines mpm_event unixd log_config authz_core mime dir
        user_lines
    } | write_file 644 "$STATE/upstream/load.conf"
    sed -e "s|@STATE@|$STATE|g" -e "s|@PORT@|${PORTS[httpd]}|g" -e "s|@UPSTREAM_PORT@|${PORTS[upstream]}|g" \
        -e "s|@PG_PORT@|${PORTS[postgresql]}|g" -e "s|@HTDOCS@|$STATE/prefix/share/meterplex/htdocs|g" \
        "$ROOT/conf/dev.conf.in" | write_file 644 "$STATE/httpd/httpd.conf"
    sed -e "s|@STATE@|$STATE|g" -e "s|@UPSTREAM_PORT@|${PORTS[upstream]}|g" \
        "$ROOT/conf/dev-upstream.conf.in" | write_file 644 "$STATE/upstream/httpd.conf"
}

# httpd_pids DIR: the processes of the httpd whose ServerRoot it is. The children of a parent that was killed are among
# them: they go on serving, and hold the port and the state directory.
httpd_pids() {
    local proc words
    for proc in /proc/[0-9]*; do
        { mapfile -d '' -t words <"$proc/cmdline"; } 2>/dev/null || continue
        [ "${words[*]:1:4}" != "-d $1 -f $1/httpd.conf" ] || printf '%s\n' "${proc#/proc/}"
    done
}

httpd_parent() {
    local pid
    pid=$(cat "$1/httpd.pid" 2>/dev/null) && httpd_pids "$1" | grep -x "$pid"
}

# not_gone PID...: those that have not ended. A process that ends loses its command line before it lets go of its port.
not_gone() {
    local pid stat
    for pid in "$@"; do
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        case ${stat##*) } in
        [ZX]*) ;;
        *) printf '%s\n' "$pid" ;;
        esac
    done
}

# end_httpd DIR: the parent ends its children. Without a parent each is told by itself, and killed after a second, since
# the children of most MPMs listen to their parent alone.
end_httpd() {
    local pids seen= parent told=no alone=0 _
    for _ in $(seq 300); do
        pids=$(httpd_pids "$1")
        seen=$(not_gone $pids $seen | sort -u)
        [ -n "$seen" ] || return 0
        if [ -z "$pids" ]; then
            : # they are ending
        elif parent=$(httpd_parent "$1"); then
            [ $told = yes ] || kill -TERM "$parent" 2>/dev/null || true
            told=yes
        else
            alone=$((alone + 1))
            [ $alone != 1 ] || kill -TERM $pids 2>/dev/null || true
            [ $alone -lt 10 ] || kill -KILL $pids 2>/dev/null || true
        fi
        sleep 0.1
    done
    echo "httpd in $1 did not end within 30 s: processes" $seen >&2
    return 1
}

# server_scripts NAME DIR PORT: start returns when the server answers, stop when all its processes are gone.
server_scripts() {
    local name=$1 dir=$2 port=$3
    write_file 755 "$STATE/bin/$name-start" <<SCRIPT
#!/bin/bash
# Starts $name; harmless when it runs.
$(declare -f httpd_pids httpd_parent not_gone end_httpd)
httpd_parent "$dir" >/dev/null && exit 0
end_httpd "$dir" || exit 1
rm -f "$dir/httpd.pid"
"$HTTPD_BIN" -d "$dir" -f "$dir/httpd.conf" -k start || exit 1
for _ in \$(seq 300); do
    if [ -e "$dir/httpd.pid" ] && (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; then
        exit 0
    fi
    sleep 0.1
done
echo "$name does not answer on port $port after 30 s; $STATE/log/$name-error.log says more" >&2
exit 1
SCRIPT
    write_file 755 "$STATE/bin/$name-stop" <<SCRIPT
#!/bin/bash
# Stops $name; harmless when it does not run.
$(declare -f httpd_pids httpd_parent not_gone end_httpd)
end_httpd "$dir"
SCRIPT
}

server_is_running() { httpd_parent "$STATE/$1" >/dev/null; }

generations() { grep -c 'resuming normal operations' "$STATE/log/$1-error.log" 2>/dev/null || true; }
has_new_generation() { [ "$(generations "$1")" != "$2" ]; }

# start_or_reload NAME: a running one takes the new configuration and modules by a graceful restart; old is gone when it says
# that a new generation is there.
start_or_reload() {
    local dir=$STATE/$1 before
    quietly "$STATE/log/build.log" "$HTTPD_BIN" -d "$dir" -f "$dir/httpd.conf" -t
    if server_is_running "$1"; then
        before=$(generations "$1")
        quietly "$STATE/log/build.log" "$HTTPD_BIN" -d "$dir" -f "$dir/httpd.conf" -k graceful
        wait_for 30 has_new_generation "$1" "$before" || die "$1 did not restart within 30 s; its log: $STATE/log/$1-error.log"
    else
        quietly "$STATE/log/build.log" "$STATE/bin/$1-start"
    fi
}

write_ctl() {
    write_file 755 "$STATE/bin/meterplexctl" <<SCRIPT
#!/bin/sh
# meterplexctl for this development server; migrate works as the cluster's superuser, the rest as httpd does.
. "$STATE/dev.env"
METERPLEX_DATABASE_URL=\$DATABASE_URL
for word; do # the command: options may stand before it
    case \$word in
    migrate) METERPLEX_DATABASE_URL=\$DATABASE_ADMIN_URL; break ;;
    keygen | bootstrap | tenant | key | doctor | status | import) break ;;
    esac
done
METERPLEX_DATABASE_URL="\$METERPLEX_DATABASE_URL?connect_timeout=2&tcp_user_timeout=3000"
METERPLEX_KEY_FILE="$STATE/secrets/root.key"
METERPLEX_STATE_DIR="$STATE/httpd/state"
METERPLEX_HTTPD_CONF="$STATE/httpd/httpd.conf"
export METERPLEX_DATABASE_URL METERPLEX_KEY_FILE METERPLEX_STATE_DIR METERPLEX_HTTPD_CONF
exec "$STATE/prefix/sbin/meterplexctl" "\$@"
SCRIPT
}

# First the part that needs no tenant, then all of it.
write_env() {
    local name
    {
        echo '# written by ./dev up; shell syntax'
        for name in METERPLEX_URL METERPLEX_ADMIN_KEY METERPLEX_TENANT_ID METERPLEX_API_KEY METERPLEXCTL METERPLEX_START \
            METERPLEX_STOP HTTPD_PIDFILE PGDATA PG_START DATABASE_URL DATABASE_ADMIN_URL; do
            printf '%s=%q\n' "$name" "${!name:-}"
        done
    } | write_file 600 "$STATE/dev.env"
}

collect_env() {
    METERPLEX_URL=http://127.0.0.1:${PORTS[httpd]}
    METERPLEX_ADMIN_KEY=$(cat "$STATE/secrets/admin.key" 2>/dev/null || true)
    METERPLEX_TENANT_ID=$(cat "$STATE/secrets/tenant.id" 2>/dev/null || true)
    METERPLEX_API_KEY=$(cat "$STATE/secrets/tenant.key" 2>/dev/null || true)
    METERPLEXCTL=$STATE/bin/meterplexctl
    METERPLEX_START=$STATE/bin/httpd-start
    METERPLEX_STOP=$STATE/bin/httpd-stop
    HTTPD_PIDFILE=$STATE/httpd/httpd.pid
    PGDATA=$STATE/pg
    PG_START=$STATE/bin/pg-start
    export METERPLEX_URL
}

# The word in standard input that begins with $1.
word_with() { grep -oE "$1[0-9A-Za-z_]+" | head -n 1; }

make_keys() {
    [ -s "$STATE/secrets/root.key" ] || quietly "$STATE/log/build.log" "$STATE/prefix/sbin/meterplexctl" keygen "$STATE/secrets/root.key"
    [ -s "$STATE/secrets/admin.key" ] && return 0
    say "making the platform administrator"
    # it says on standard error that the key is shown, which here it is not
    "$METERPLEXCTL" bootstrap 2>"$STATE/log/bootstrap.log" 9>&- | word_with mpx_live_ \
        | write_file 600 "$STATE/secrets/admin.key" || true
    [ -s "$STATE/secrets/admin.key" ] && return 0
    cat "$STATE/log/bootstrap.log" >&2
    die "meterplexctl bootstrap gave no key"
}

# The demo's tenant and its key, through the API as anybody would make them.
make_tenant() {
    local answer
    if [ ! -s "$STATE/secrets/tenant.id" ]; then
        answer=$(api POST /v1/tenants '{"name":"Demo","slug":"demo"}') || die "the demo's tenant was not made: $answer"
        word_with ten_ <<<"$answer" | write_file 600 "$STATE/secrets/tenant.id"
    fi
    METERPLEX_TENANT_ID=$(secret tenant.id)
    if [ ! -s "$STATE/secrets/tenant.key" ]; then
        answer=$(api POST "/v1/tenants/$METERPLEX_TENANT_ID/api-keys" \
            '{"name":"demo","scopes":["usage:read","usage:write","meters:read","meters:write","demo:read"]}') \
            || die "the demo's key was not made: $answer"
        word_with mpx_live_ <<<"$answer" | write_file 600 "$STATE/secrets/tenant.key"
    fi
    collect_env
    write_env
}

# api METHOD PATH [JSON]: as the administrator; the key goes by a file descriptor, not by the process list.
api() {
    local body=()
    [ $# -lt 3 ] || body=(-H 'Content-Type: application/json' -d "$3")
    curl -sS --fail-with-body --max-time 30 -X "$1" ${body[@]+"${body[@]}"} -H @<(auth_header "$METERPLEX_ADMIN_KEY") \
        "$METERPLEX_URL$2" 9>&-
}
auth_header() { printf 'Authorization: Bearer %s\n' "$1"; }

server_is_ready() { curl -sf --max-time 2 -o /dev/null "$METERPLEX_URL/health/ready" 9>&-; }

dev_up() {
    # shellcheck disable=SC2086
    need_packages $PACKAGES_UP
    find_pg_bin
    find_httpd
    make_state
    load_ports
    local running=no part
    for part in httpd upstream; do
        # children whose parent was killed hold their port
        server_is_running $part || end_httpd "$STATE/$part"
    done
    server_is_running httpd && running=yes
    if [ -n "$opt_port" ] && [ "$opt_port" != "${PORTS[httpd]:-}" ]; then
        running=no
    fi
    choose_port httpd "$running" "$opt_port"
    running=no
    server_is_running upstream && running=yes
    choose_port upstream "$running"
    build_and_install
    make_cluster
    start_cluster
    make_database
    collect_env
    write_env
    write_ctl
    make_keys
    collect_env
    write_env
    make_demo_files
    write_configuration
    server_scripts httpd "$STATE/httpd" "${PORTS[httpd]}"
    server_scripts upstream "$STATE/upstream" "${PORTS[upstream]}"
    say "httpd: starting on $METERPLEX_URL"
    start_or_reload upstream
    start_or_reload httpd
    wait_for 30 server_is_ready || die "$METERPLEX_URL/health/ready does not say so after 30 s: ./dev logs error"
    make_tenant
    [ "$opt_demo" = no ] || run_demo
    print_next
}

dev_down() {
    local part bad=0
    find_state
    is_marked && [ -d "$STATE/bin" ] || { say "nothing is up"; return 0; }
    must_be_ours
    for part in httpd upstream pg; do
        [ ! -x "$STATE/bin/$part-stop" ] || "$STATE/bin/$part-stop" || bad=1
    done
    [ $bad = 0 ] || die "not everything has ended in $STATE"
    say "stopped; the data stay in $STATE"
}

# What autoreconf makes, as .gitignore lists it; a tarball came with these files.
remove_generated() {
    [ -e "$ROOT/.git" ] || return 0
    (cd "$ROOT" && rm -rf Makefile.in aclocal.m4 autom4te.cache build-aux config.h.in config.h.in~ configure \
        configure~ m4/l*.m4)
}

dev_clean() {
    find_state
    [ ! -e "$STATE" ] || is_marked \
        || die "$STATE has no .meterplex-state, so ./dev did not make it and does not remove it"
    must_be_ours
    dev_down
    say "removing $STATE and build*/"
    # the mark goes last: what could not be removed must not be taken for somebody else's
    [ ! -e "$STATE" ] || find "$STATE" -mindepth 1 -maxdepth 1 ! -name .meterplex-state -exec rm -rf {} +
    rm -rf "$STATE"
    if [ -n "$STATE_LINK" ]; then
        rm -f "$STATE_LINK"
        rmdir /var/lib/meterplex-dev 2>/dev/null || true
    fi
    rm -rf "$ROOT/build" "$ROOT/build-check" "$ROOT/build-sanitize" "$ROOT/build-dist" "$ROOT/build-clang"
    remove_generated
}

dev_logs() {
    case $#:${1:-} in
    0: | 1:error | 1:access | 1:postgresql | 1:upstream) ;;
    *) refuse "logs: one of error, access, postgresql, upstream, and not '$*'" ;;
    esac
    need_state
    case ${1:-} in
    error) exec tail -n 50 -F "$STATE/log/httpd-error.log" ;;
    access) exec tail -n 50 -F "$STATE/log/httpd-access.log" ;;
    postgresql) exec tail -n 50 -F "$STATE/log/postgresql.log" ;;
    upstream) exec tail -n 50 -F "$STATE/log/upstream-error.log" ;;
    "") exec tail -n 20 -F "$STATE/log/httpd-error.log" "$STATE/log/httpd-access.log" "$STATE/log/postgresql.log" ;;
    esac
}

bench_names() {
    local name
    for name in "$ROOT"/bench/*.sh; do
        printf ' %s' "$(basename "$name" .sh)"
    done
}

dev_bench() {
    local name names=("$@")
    for name in "$@"; do
        [ -x "$ROOT/bench/$name.sh" ] || refuse "there is no benchmark '$name':$(bench_names)"
    done
    # shellcheck disable=SC2086
    need_packages $PACKAGES_BENCH
    if [ ${#names[@]} = 0 ]; then
        # shellcheck disable=SC2207
        names=($(bench_names))
    fi
    for name in "${names[@]}"; do
        say "bench $name"
        "$ROOT/bench/$name.sh"
    done
}
