/* core_db.c: the only file that includes libpq-fe.h. Every wait is a poll with a deadline: a server that is frozen or
 * unreachable costs a bounded time, which libpq's blocking calls cannot promise (tcp_user_timeout does not exist for Unix
 * sockets, and PQcancel connects synchronously).
 */
#include "core_db.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_strings.h>
#include <libpq-fe.h>

#include "core_sql.h"

#define TOO_MANY_CONNECTIONS "53300"
#define POLL_SLICE_MS 50 /* how often alive() is asked while waiting */

struct mpx_db {
    PGconn *conn;
    void *owner;
};

struct mpx_rows {
    PGresult *result;
};

mpx_db_t *core_db_adopt(apr_pool_t *pool, void *pgconn, void *owner)
{
    mpx_db_t *db = apr_pcalloc(pool, sizeof *db);
    db->conn = pgconn;
    db->owner = owner;
    PQsetnonblocking(db->conn, 1);
    return db;
}

static void ignore_notice(void *arg, const PGresult *result)
{
}

mpx_db_t *core_db_connect(apr_pool_t *pool, const char *conninfo, const char **error)
{
    /* a server that is frozen takes connections and says nothing; what the string itself says comes later and wins */
    static const char *const names[] = { "connect_timeout", "dbname", NULL };
    const char *const values[] = { "5", conninfo, NULL };
    PGconn *conn = PQconnectdbParams(names, values, 1);
    if (PQstatus(conn) != CONNECTION_OK) {
        *error = apr_pstrdup(pool, PQerrorMessage(conn));
        PQfinish(conn);
        return NULL;
    }
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    return core_db_adopt(pool, conn, NULL);
}

static const char *one_line(apr_pool_t *pool, const char *text)
{
    char *line = apr_pstrdup(pool, text), *c;
    for (c = line; *c; c++) {
        *c = (char)(*c == '\n' || *c == '\t' ? ' ' : *c);
    }
    for (; c > line && c[-1] == ' '; c--) {
        c[-1] = '\0';
    }
    return line;
}

static int given_up(const core_db_wait_t *wait, apr_time_t deadline)
{
    mpx_db_source_t *source = wait->source;
    return mpx_monotonic() > deadline || (source && source->alive && !source->alive(source));
}

/* Drive PQconnectPoll until the connection stands, or will not. @return 0, and *late set to 1 when nobody answered */
static int connect_finish(PGconn *conn, const core_db_wait_t *wait, int *late)
{
    apr_time_t deadline = mpx_monotonic() + wait->timeout;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
        struct pollfd fd = { PQsocket(conn), state == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0 };
        int ready = fd.fd < 0 ? 0 : poll(&fd, 1, POLL_SLICE_MS);

        if (fd.fd < 0 || (ready < 0 && errno != EINTR)) {
            return 0;
        }
        if (given_up(wait, deadline)) {
            *late = 1;
            return 0;
        }
        if (ready > 0) {
            state = PQconnectPoll(conn);
        }
    }
    return state == PGRES_POLLING_OK;
}

#define PARAMS_MAX 64

struct core_db_params {
    const char *names[PARAMS_MAX], *values[PARAMS_MAX]; /* ended by NULL */
};

core_db_params_t *core_db_params(apr_pool_t *pool, const char *conninfo, const char **error)
{
    core_db_params_t *params = apr_pcalloc(pool, sizeof *params);
    char *wrong = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &wrong), *o;
    int n = 0;

    if (options == NULL) {
        *error = one_line(pool, wrong ? wrong : "out of memory");
        PQfreemem(wrong);
        return NULL;
    }
    for (o = options; o->keyword && n < PARAMS_MAX - 1; o++) {
        if (o->val && *o->val) {
            params->names[n] = apr_pstrdup(pool, o->keyword);
            params->values[n++] = apr_pstrdup(pool, o->val);
        }
    }
    PQconninfoFree(options);
    return params;
}

mpx_db_t *core_db_connect_params(apr_pool_t *pool, const core_db_params_t *params, const core_db_wait_t *wait,
                                 const char **error, int *full)
{
    PGconn *conn = PQconnectStartParams(params->names, params->values, 0);
    int finished = 0, late = 0;

    *full = 0;
    if (conn && PQstatus(conn) != CONNECTION_BAD) {
        PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* with the SQLSTATE: words are in the server's language */
        finished = connect_finish(conn, wait, &late);
    }
    if (!finished) {
        const char *message = conn ? one_line(pool, PQerrorMessage(conn)) : "out of memory";
        *error = late ? apr_psprintf(pool, "no connection within %d ms", (int)apr_time_as_msec(wait->timeout)) : message;
        *full = strstr(message, " " TOO_MANY_CONNECTIONS ":") != NULL;
        PQfinish(conn);
        return NULL;
    }
    PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    return core_db_adopt(pool, conn, NULL);
}

int core_db_is_direct(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait)
{
    core_db_error_t error;
    mpx_rows_t *rows;

    return core_db_exec(db, pool, wait, SQL_backend_pid, NULL, 0, &rows, &error) == CORE_DB_OK
        && strtol(PQgetvalue(rows->result, 0, 0), NULL, 10) == PQbackendPID(db->conn);
}

void core_db_close(mpx_db_t *db)
{
    PQfinish(db->conn);
    db->conn = NULL;
}

void *core_db_owner(mpx_db_t *db)
{
    return db->owner;
}

int core_db_usable(mpx_db_t *db)
{
    struct pollfd fd = { PQsocket(db->conn), POLLIN, 0 };
    if (PQstatus(db->conn) != CONNECTION_OK || PQtransactionStatus(db->conn) != PQTRANS_IDLE) {
        return 0;
    }
    /* Readable while idle: the server has something to say (a parameter, a notice), or has closed it, mostly with a last
     * word before: only the next read finds the end. */
    while (poll(&fd, 1, 0) > 0) {
        if (!PQconsumeInput(db->conn) || PQisBusy(db->conn) || PQstatus(db->conn) != CONNECTION_OK) {
            return 0;
        }
    }
    return 1;
}

void core_db_break(mpx_db_t *db)
{
    int fd = PQsocket(db->conn);
    if (fd >= 0) {
        shutdown(fd, SHUT_RDWR);
        /* Reading the end of file is what makes PQstatus() say CONNECTION_BAD. */
        while (PQstatus(db->conn) == CONNECTION_OK && PQconsumeInput(db->conn)) {
        }
    }
}

static const char *field(apr_pool_t *pool, const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);
    return text ? apr_pstrdup(pool, text) : "";
}

/* What the violated unique key is named after: constraint "tenants_slug" of table "tenants" is about the slug. The server's
 * DETAIL would say it in words, but leaves it out where row level security hides the other row. */
static const char *violated_column(apr_pool_t *pool, const PGresult *result)
{
    const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    apr_size_t len = table ? strlen(table) : 0;

    return constraint && len && strncmp(constraint, table, len) == 0 && constraint[len] == '_'
        ? apr_pstrdup(pool, constraint + len + 1)
        : "";
}

static void read_error(apr_pool_t *pool, const PGresult *result, core_db_error_t *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    apr_cpystrn(error->state, state ? state : "", sizeof error->state);
    error->message = field(pool, result, PG_DIAG_MESSAGE_PRIMARY);
    error->constraint = field(pool, result, PG_DIAG_CONSTRAINT_NAME);
    error->column = violated_column(pool, result);
}

/* One turn of waiting: flush what is unsent, read what has come. @return 0 when the connection is lost */
static int turn(PGconn *conn)
{
    struct pollfd fd = { PQsocket(conn), POLLIN, 0 };
    int unsent = PQflush(conn);
    if (unsent < 0 || fd.fd < 0) {
        return 0;
    }
    if (unsent > 0) {
        fd.events |= POLLOUT;
    }
    if (poll(&fd, 1, POLL_SLICE_MS) < 0 && errno != EINTR) {
        return 0;
    }
    return (fd.revents & (POLLIN | POLLERR | POLLHUP)) ? PQconsumeInput(conn) : 1;
}

static apr_status_t clear_result(void *result)
{
    PQclear(result);
    return APR_SUCCESS;
}

/* Wait for all results of what was sent; the last one's rows are kept, the first error wins. */
static core_db_outcome_e collect(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait, mpx_rows_t **rows,
                                 core_db_error_t *error)
{
    apr_time_t deadline = mpx_monotonic() + wait->timeout;
    core_db_outcome_e outcome = CORE_DB_OK;
    PGresult *result, *last = NULL;

    for (;;) {
        while (PQflush(db->conn) != 0 || PQisBusy(db->conn)) {
            if (!turn(db->conn) || given_up(wait, deadline)) {
                PQclear(last);
                core_db_break(db);
                return CORE_DB_LOST;
            }
        }
        result = PQgetResult(db->conn);
        if (result == NULL) {
            break;
        }
        switch (PQresultStatus(result)) {
        case PGRES_TUPLES_OK:
        case PGRES_COMMAND_OK:
        case PGRES_EMPTY_QUERY:
            PQclear(last);
            last = result;
            break;
        default:
            if (outcome == CORE_DB_OK) {
                outcome = CORE_DB_ERROR;
                read_error(pool, result, error);
            }
            PQclear(result);
        }
    }
    if (PQstatus(db->conn) != CONNECTION_OK || (outcome == CORE_DB_ERROR && core_db_state_is_lost(error->state))) {
        PQclear(last);
        core_db_break(db);
        return CORE_DB_LOST;
    }
    if (last) {
        if (rows && outcome == CORE_DB_OK) {
            *rows = apr_palloc(pool, sizeof **rows);
            (*rows)->result = last;
            apr_pool_cleanup_register(pool, last, clear_result, apr_pool_cleanup_null);
        }
        else {
            PQclear(last);
        }
    }
    return outcome;
}

static void error_reset(core_db_error_t *error)
{
    error->state[0] = '\0';
    error->message = error->constraint = error->column = "";
}

core_db_outcome_e core_db_exec(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait, const char *sql,
                               const mpx_param_t *params, int nparams, mpx_rows_t **rows, core_db_error_t *error)
{
    Oid types[32];
    const char *values[32];
    int lengths[32], formats[32], i;

    error_reset(error);
    if (nparams > 32) {
        error->message = "more than 32 parameters";
        return CORE_DB_ERROR;
    }
    for (i = 0; i < nparams; i++) {
        types[i] = params[i].oid;
        values[i] = params[i].value;
        lengths[i] = (int)params[i].len;
        formats[i] = params[i].oid != 0;
    }
    if (!PQsendQueryParams(db->conn, sql, nparams, types, values, lengths, formats, 0)) {
        core_db_break(db);
        return CORE_DB_LOST;
    }
    return collect(db, pool, wait, rows, error);
}

core_db_outcome_e core_db_script(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait, const char *sql,
                                 core_db_error_t *error)
{
    error_reset(error);
    if (!PQsendQuery(db->conn, sql)) {
        core_db_break(db);
        return CORE_DB_LOST;
    }
    return collect(db, pool, wait, NULL, error);
}

int core_db_notifications(mpx_db_t *db, apr_interval_time_t timeout, core_db_notify_fn *fn, void *baton)
{
    struct pollfd fd = { PQsocket(db->conn), POLLIN, 0 };
    PGnotify *notify;
    int n = 0;

    /* Some may have come with the answer to another statement: those are not to be read from the socket any more. */
    notify = PQnotifies(db->conn);
    if (notify == NULL) {
        if (fd.fd < 0 || (poll(&fd, 1, (int)(timeout / 1000)) < 0 && errno != EINTR) || !PQconsumeInput(db->conn)) {
            return -1;
        }
        notify = PQnotifies(db->conn);
    }
    for (; notify; notify = PQnotifies(db->conn)) {
        fn(notify->extra, baton);
        PQfreemem(notify);
        n++;
    }
    return PQstatus(db->conn) == CONNECTION_OK ? n : -1;
}

/* --- Rows ------------------------------------------------------------------------------------------------------------- */

int mpx_rows_count(const mpx_rows_t *rows)
{
    return PQntuples(rows->result);
}

apr_int64_t mpx_rows_affected(const mpx_rows_t *rows)
{
    return apr_atoi64(PQcmdTuples(rows->result));
}

const char *mpx_rows_text(const mpx_rows_t *rows, int row, int column)
{
    return PQgetisnull(rows->result, row, column) ? NULL : PQgetvalue(rows->result, row, column);
}

apr_int64_t mpx_rows_int(const mpx_rows_t *rows, int row, int column)
{
    return apr_atoi64(PQgetvalue(rows->result, row, column));
}

int mpx_rows_bool(const mpx_rows_t *rows, int row, int column)
{
    return PQgetvalue(rows->result, row, column)[0] == 't';
}

int mpx_rows_uuid(const mpx_rows_t *rows, int row, int column, mpx_uuid_t *out)
{
    const char *text = mpx_rows_text(rows, row, column);
    return text && mpx_uuid_parse(text, out);
}

int mpx_rows_time(const mpx_rows_t *rows, int row, int column, apr_time_t *out)
{
    const char *text = mpx_rows_text(rows, row, column);
    if (text == NULL) {
        return 0;
    }
    *out = apr_atoi64(text);
    return 1;
}

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

int mpx_rows_bytes(const mpx_rows_t *rows, int row, int column, apr_pool_t *pool, const unsigned char **out,
                   apr_size_t *len)
{
    const char *text = mpx_rows_text(rows, row, column);
    unsigned char *bytes;
    apr_size_t i;

    /* bytea_output = hex is the server's default; another setting is refused rather than misread. */
    if (text == NULL || text[0] != '\\' || text[1] != 'x') {
        return 0;
    }
    *len = strlen(text + 2) / 2;
    bytes = apr_palloc(pool, *len + 1);
    for (i = 0; i < *len; i++) {
        bytes[i] = (unsigned char)(hex_digit(text[2 + 2 * i]) << 4 | hex_digit(text[3 + 2 * i]));
    }
    *out = bytes;
    return 1;
}
