# A private PostgreSQL cluster: durable, loopback only, scram passwords that were made at the first up.

# Commands of the cluster's owner, who is never root.
as_pg() {
    if is_root; then
        (cd / && runuser -u "$PG_USER" -- "$@")
    else
        "$@"
    fi
}

find_pg_bin() {
    local dir
    for dir in /usr/lib/postgresql/15/bin $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) \
        "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ -x "$dir/initdb" ]; then
            PG_BIN=$dir
            return 0
        fi
    done
    die "PostgreSQL's server programs (initdb) were not found; Debian: postgresql-15"
}

# pg_pids DIR: the processes that work in the cluster, which are those whose directory it is. Where the postmaster was
# killed a backend that is busy outlives it, and no new one starts until it has ended.
pg_pids() {
    local proc name
    for proc in /proc/[0-9]*; do
        { read -r name <"$proc/comm"; } 2>/dev/null || continue
        [ "$name" != postgres ] || [ ! "$proc/cwd" -ef "$1" ] || printf '%s\n' "${proc#/proc/}"
    done
}

pg_postmaster() {
    local pid
    pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) && pg_pids "$1" | grep -x "$pid"
}

# end_pg_orphans DIR: they end by themselves as soon as they notice; one that does not is told. The file that is left
# behind then names nobody, or a stranger.
end_pg_orphans() {
    local round pids
    for round in $(seq 150); do
        pids=$(pg_pids "$1")
        [ -n "$pids" ] || { rm -f "$1/postmaster.pid"; return 0; }
        case $round in
        10) kill -QUIT $pids 2>/dev/null || true ;;
        60) kill -KILL $pids 2>/dev/null || true ;;
        esac
        sleep 0.1
    done
    echo "PostgreSQL in $1 did not end: processes" $pids >&2
    return 1
}

pg_is_running() { pg_postmaster "$STATE/pg" >/dev/null; }

make_cluster() {
    local password
    if [ -e "$STATE/pg/PG_VERSION" ]; then
        return 0
    fi
    say "PostgreSQL: making a cluster"
    make_secret postgres.password 24
    make_secret meterplex.password 24
    rm -rf "$STATE/pg.new"
    mkdir -m 700 "$STATE/pg.new"
    password=$(mktemp "$STATE/secrets/pwfile.XXXXXX")
    secret postgres.password >"$password"
    if is_root; then
        chown "$PG_USER" "$STATE/pg.new" "$password"
    fi
    quietly "$STATE/log/build.log" as_pg "$PG_BIN/initdb" -D "$STATE/pg.new" -U postgres --pwfile="$password" \
        -A scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-instructions
    rm -f "$password"
    cat >>"$STATE/pg.new/postgresql.conf" <<'CONF'

# ./dev: loopback and passwords only; the port is given at the start
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
log_line_prefix = '%m [%p] %u@%d '
CONF
    mv "$STATE/pg.new" "$STATE/pg"
}

write_pg_scripts() {
    local run=
    is_root && run="runuser -u $PG_USER --"
    write_file 755 "$STATE/bin/pg-start" <<SCRIPT
#!/bin/bash
# Starts the development PostgreSQL; harmless when it runs.
$(declare -f pg_pids pg_postmaster end_pg_orphans)
cd /
pg_postmaster "$STATE/pg" >/dev/null && exit 0
end_pg_orphans "$STATE/pg" || exit 1
exec $run "$PG_BIN/pg_ctl" -D "$STATE/pg" -w -t 60 -l "$STATE/log/postgresql.log" -o "-p ${PORTS[postgresql]}" start >/dev/null
SCRIPT
    write_file 755 "$STATE/bin/pg-stop" <<SCRIPT
#!/bin/bash
# Stops the development PostgreSQL; harmless when it does not run.
$(declare -f pg_pids pg_postmaster end_pg_orphans)
cd /
if pg_postmaster "$STATE/pg" >/dev/null; then
    said=\$($run "$PG_BIN/pg_ctl" -D "$STATE/pg" -w -t 60 -m fast stop 2>&1) || {
        pg_postmaster "$STATE/pg" >/dev/null && { echo "\$said" >&2; exit 1; }
    }
fi
end_pg_orphans "$STATE/pg"
SCRIPT
}

start_cluster() {
    local running=no
    pg_is_running && running=yes
    choose_port postgresql "$running"
    write_pg_scripts
    touch "$STATE/log/postgresql.log"
    ! is_root || chown "$PG_USER" "$STATE/log/postgresql.log"
    if [ "$running" = no ]; then
        say "PostgreSQL: starting on port ${PORTS[postgresql]}"
        "$STATE/bin/pg-start" 9>&- || { tail -n 20 "$STATE/log/postgresql.log" >&2; die "PostgreSQL did not start"; }
    fi
    DATABASE_URL=postgresql://meterplex:$(secret meterplex.password)@127.0.0.1:${PORTS[postgresql]}/meterplex
    DATABASE_ADMIN_URL=postgresql://postgres:$(secret postgres.password)@127.0.0.1:${PORTS[postgresql]}/meterplex
    # for libpq inside httpd's children, who must own it
    printf '127.0.0.1:%s:*:meterplex:%s\n' "${PORTS[postgresql]}" "$(secret meterplex.password)" \
        | write_file 600 "$STATE/secrets/httpd.pgpass"
    # for psql
    printf '127.0.0.1:%s:*:postgres:%s\n' "${PORTS[postgresql]}" "$(secret postgres.password)" \
        | write_file 600 "$STATE/secrets/psql.pgpass"
    ! is_root || chown "$HTTPD_USER" "$STATE/secrets/httpd.pgpass"
}

# psql as superuser, the password from a file: an argument could be read in the process list.
admin_psql() {
    PGPASSFILE=$STATE/secrets/psql.pgpass "$PG_BIN/psql" -X -h 127.0.0.1 -p "${PORTS[postgresql]}" -U postgres "$@"
}

make_database() {
    local have
    have=$(admin_psql -d postgres -Atc "SELECT 1 FROM pg_database WHERE datname = 'meterplex'" 9>&-)
    [ "$have" = 1 ] || admin_psql -d postgres -qc 'CREATE DATABASE meterplex' 9>&-
    say "migrating"
    METERPLEX_DATABASE_URL=$DATABASE_ADMIN_URL quietly "$STATE/log/build.log" "$STATE/prefix/sbin/meterplexctl" migrate
    # the login role of httpd: a member of what the migrations grant to, and the owner of nothing
    have=$(admin_psql -d postgres -Atc "SELECT 1 FROM pg_roles WHERE rolname = 'meterplex'" 9>&-)
    if [ "$have" != 1 ]; then
        printf "CREATE ROLE meterplex LOGIN IN ROLE meterplex_app PASSWORD '%s';\n" "$(secret meterplex.password)" \
            | admin_psql -d postgres -q 9>&-
    fi
}

dev_psql() {
    need_state
    find_pg_bin
    load_ports
    PGPASSFILE=$STATE/secrets/psql.pgpass exec "$PG_BIN/psql" -h 127.0.0.1 -p "${PORTS[postgresql]}" -U postgres \
        -d meterplex "$@"
}
