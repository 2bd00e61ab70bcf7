/* h_postgres: a private cluster. initdb runs once for a build tree and is kept as an archive; each program unpacks it. */
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "internal.h"

static const char *bin_dir; /* of the server's programs */
static const char *data_dir;
static const char *socket_dir;
static int port;

static const char *pg_user(void)
{
    return h_is_root() ? "postgres" : NULL;
}

static h_output_t run_as_owner(const char *const *argv)
{
    h_spawn_t spawn = { .argv = argv, .user = pg_user() };
    h_output_t output;

    h_spawn(&spawn, &output);
    return output;
}

static const char *program(const char *name)
{
    return h_format("%s/%s", bin_dir, name);
}

static void find_programs(void)
{
    const char *given = getenv("PG_BINDIR");
    const char *argv[] = { "sh", "-c",
                           "for d in \"$(pg_config --bindir 2>/dev/null)\" "
                           "$(ls -d /usr/lib/postgresql/*/bin | sort -rV); do "
                           "test -x \"$d/initdb\" && printf %s \"$d\" && exit 0; done; exit 1",
                           NULL };
    h_output_t found;

    if (given) {
        bin_dir = given;
        return;
    }
    found = h_command(argv, NULL);
    if (found.status) {
        h_fail("PostgreSQL's server programs were not found (Debian: postgresql-15); PG_BINDIR can name their directory");
    }
    bin_dir = found.text;
}

/* Trust: the cluster is private to this run, listens on loopback only and ends with it. Nothing in it outlives a crash, so
 * nothing is synchronised. */
static void make_template(const char *archive)
{
    const char *fresh = h_make_dir("pg-template", pg_user(), 0700);
    const char *initdb[] = { program("initdb"), "-D", fresh,
                             "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                             "--no-sync", "--no-instructions", "--wal-segsize=4", NULL };
    const char *part = h_format("%s.%d", archive, (int)getpid());
    const char *tar[] = { "tar", "-C", fresh, "-cf", part, ".", NULL };
    h_output_t output = run_as_owner(initdb);

    if (output.status) {
        h_fail("initdb: %s%s", output.text, output.error);
    }
    output = h_command(tar, NULL);
    if (output.status || rename(part, archive)) {
        h_fail("cannot keep the template cluster %s: %s", archive, output.error);
    }
}

static void unpack_template(void)
{
    const char *build = getenv("top_builddir");
    const char *archive = h_format("%s/t/pgtemplate.tar", build ? build : MPX_BUILDDIR);
    const char *tar[] = { "tar", "-C", data_dir, "-xpf", archive, NULL };
    int lock = open(h_format("%s.lock", archive), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    h_output_t output;

    if (lock < 0 || flock(lock, LOCK_EX)) {
        h_fail("cannot lock %s: %s", archive, strerror(errno));
    }
    if (access(archive, R_OK)) {
        make_template(archive);
    }
    close(lock);
    output = h_command(tar, NULL);
    if (output.status) {
        h_fail("cannot unpack %s: %s", archive, output.error);
    }
}

pid_t h_pg_pid(void)
{
    char *text = h_read_file(h_format("%s/postmaster.pid", data_dir));
    pid_t pid = text ? (pid_t)atoi(text) : 0;

    free(text);
    return h_pid_alive(pid) ? pid : 0;
}

int h_pg_port(void)
{
    return port;
}

static int accepts(void)
{
    const char *where = h_format("host=%s port=%d user=postgres dbname=postgres connect_timeout=2", socket_dir, port);

    return PQping(where) == PQPING_OK;
}

static int ready_or_gone(pid_t pid)
{
    return accepts() || !h_pid_alive(pid);
}

void h_pg_start(void)
{
    const char *log = h_format("%s/postgresql.log", socket_dir);
    const char *argv[] = { program("postgres"), "-D", data_dir, "-p", h_format("%d", port), "-k", socket_dir, NULL };
    h_spawn_t spawn = { .argv = argv, .user = pg_user(), .log = log, .background = 1 };
    pid_t pid = h_spawn(&spawn, NULL);
    char *text;

    H_WAIT(30, ready_or_gone(pid));
    if (!accepts()) {
        text = h_read_file(log);
        h_fail("PostgreSQL did not start:\n%s", text ? text : "(no log)");
    }
}

void h_pg_stop(int how)
{
    pid_t pid = h_pg_pid();

    if (pid) {
        kill(pid, how);
        H_WAIT(30, !h_pid_alive(pid));
    }
}

void h_pg_setup(void)
{
    static const char settings[] = "listen_addresses = '127.0.0.1'\n"
                                   "fsync = off\nsynchronous_commit = on\nfull_page_writes = off\n"
                                   "max_connections = 60\nshared_buffers = 64MB\nmax_wal_size = 256MB\n"
                                   "autovacuum_naptime = 10s\nlog_line_prefix = '%m [%p] %u '\n";
    h_output_t output;

    find_programs();
    data_dir = h_make_dir("pg", pg_user(), 0700);
    socket_dir = h_make_dir("pg-run", pg_user(), 0755);
    unpack_template();
    h_file(h_format("%s/postgresql.auto.conf", data_dir), settings);
    port = h_free_port();
    h_pg_start();
    output = h_command((const char *[]){ program("createdb"), "-h", socket_dir, "-p", h_format("%d", port), "-U", "postgres",
                                         "meterplex", NULL },
                       NULL);
    if (output.status) {
        h_fail("createdb: %s", output.error);
    }
}

/* --- PgBouncer ------------------------------------------------------------------------------------------------------------ */

static int port_accepts(int number)
{
    const char *probe = h_format("exec 3<>/dev/tcp/127.0.0.1/%d", number);
    return h_command((const char *[]){ "bash", "-c", probe, NULL }, NULL).status == 0;
}

int h_pooler_start(int connections)
{
    const char *dir = h_make_dir("pgbouncer", pg_user(), 0755);
    int pooler_port = h_free_port();
    /* auth_type any: whoever comes becomes httpd's role */
    const char *file =
        h_file("pgbouncer/pgbouncer.ini",
               h_format("[databases]\nmeterplex = host=127.0.0.1 port=%d dbname=meterplex user=meterplex pool_size=%d\n"
                        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"
                        "auth_type = any\npool_mode = transaction\nmax_client_conn = 200\n",
                        port, connections, pooler_port));
    const char *argv[] = { "/usr/sbin/pgbouncer", file, NULL };
    h_spawn_t spawn = { .argv = argv, .user = pg_user(), .log = h_format("%s/pgbouncer.log", dir), .background = 1 };

    h_spawn(&spawn, NULL);
    H_WAIT(10, port_accepts(pooler_port));
    return pooler_port;
}

/* --- SQL ---------------------------------------------------------------------------------------------------------------- */

const char *h_pg_conninfo(const char *role)
{
    return h_format("host=127.0.0.1 port=%d dbname=meterplex user=%s connect_timeout=2", port, role);
}

const char *h_pg_url(const char *role)
{
    return h_format("postgresql://%s@127.0.0.1:%d/meterplex?connect_timeout=2", role, port);
}

static PGconn *connect_as(const char *role)
{
    PGconn *connection = PQconnectdb(h_pg_conninfo(role));

    if (PQstatus(connection) != CONNECTION_OK) {
        h_fail("cannot connect to the private PostgreSQL as %s: %s", role, PQerrorMessage(connection));
    }
    PQexec(connection, "SET client_min_messages = warning");
    return connection;
}

const char *h_sql(const char *format, ...)
{
    va_list arguments;
    char *sql = NULL, *value;
    PGconn *connection;
    PGresult *result;

    va_start(arguments, format);
    if (vasprintf(&sql, format, arguments) < 0) {
        abort();
    }
    va_end(arguments);
    connection = connect_as("postgres");
    result = PQexec(connection, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
        h_fail("SQL: %sin: %s", PQerrorMessage(connection), sql);
    }
    value = h_format("%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(connection);
    free(sql);
    return value;
}

const char *h_sql_state(const char *role, const char *sql)
{
    PGconn *connection = connect_as(role);
    PGresult *result = PQexec(connection, sql);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    char *copy = h_format("%s", state ? state : "00000");

    PQclear(result);
    PQfinish(connection);
    return copy;
}

static void must_run(PGconn *connection, const char *sql)
{
    PGresult *result = PQexec(connection, sql);

    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(connection));
        _exit(1);
    }
    PQclear(result);
}

pid_t h_lock_tables(const char *tables, double seconds)
{
    int held[2];
    char sign;
    pid_t pid;

    if (pipe(held) != 0) {
        h_fail("pipe: %s", strerror(errno));
    }
    pid = fork();
    if (pid == 0) {
        PGconn *connection = connect_as("postgres");

        must_run(connection, "BEGIN");
        must_run(connection, h_format("LOCK TABLE %s", tables));
        if (write(held[1], "", 1) != 1) {
            _exit(1);
        }
        must_run(connection, h_format("SELECT pg_sleep(%g)", seconds));
        must_run(connection, "COMMIT");
        _exit(0);
    }
    close(held[1]);
    if (read(held[0], &sign, 1) != 1) {
        h_fail("%s could not be locked", tables);
    }
    close(held[0]);
    return pid;
}
