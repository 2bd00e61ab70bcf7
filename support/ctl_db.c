/* ctl_db.c: the database as meterplexctl uses it: one connection, the operator as principal. */
#include "ctl.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_sql.h"

static ctl_t *logging; /* the source's log function has no baton; there is one connection in the process */

/* Kept for the line that the command prints in the end, rather than printed at once. */
static void keep_message(mpx_db_source_t *self, int severity, const char *kind, const char *message)
{
    logging->db_message = apr_pstrdup(logging->pool, message);
}

const char *ctl_connect_quietly(ctl_t *ctl)
{
    const char *error = NULL;

    if (mpx_db_source_single(ctl->pool, ctl->database, &ctl->source, &error) != APR_SUCCESS) {
        ctl->source = NULL;
        return ctl_one_line(ctl->pool, error);
    }
    logging = ctl;
    ctl->source->log = keep_message;
    return NULL;
}

int ctl_connect(ctl_t *ctl)
{
    const char *error;

    if (ctl->database == NULL || *ctl->database == '\0') {
        return ctl_usage(ctl, "which database? Give --database URL or METERPLEX_DATABASE_URL");
    }
    error = ctl_connect_quietly(ctl);
    return error ? ctl_fail("the database cannot be reached: %s", error) : CTL_OK;
}

typedef struct one_query {
    const char *sql;
    const mpx_param_t *params;
    int n;
    mpx_rows_t **rows;
} one_query_t;

static apr_status_t run_query(mpx_tx_t *tx, void *baton)
{
    const one_query_t *q = baton;
    return mpx_tx_query(tx, q->sql, q->params, q->n, q->rows);
}

apr_status_t ctl_query(mpx_call_t *call, unsigned mode, const char *sql, const mpx_param_t *params, int n, mpx_rows_t **rows)
{
    one_query_t q = { sql, params, n, rows };
    return mpx_tx_run(call, mode, run_query, &q);
}

void ctl_call(ctl_t *ctl, mpx_call_t *call, apr_pool_t *pool, const mpx_uuid_t *tenant)
{
    memset(call, 0, sizeof *call);
    call->pool = pool;
    call->source = ctl->source;
    call->principal = &ctl->operator;
    if (tenant) {
        call->tenant = *tenant;
    }
    call->acting_as_platform = 1;
    call->rootkey = &ctl->rootkey;
    call->request_id = ctl->run_id;
    call->now = apr_time_now();
}

int ctl_connect_as_app(ctl_t *ctl)
{
    mpx_call_t call;
    mpx_rows_t *rows;
    const char *error;
    int rv = ctl_connect(ctl);

    if (rv != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, NULL);
    if (ctl_query(&call, MPX_TX_READ, SQL_session_role, NULL, 0, &rows) != APR_SUCCESS) {
        return ctl_fail_call(ctl, &call);
    }
    if (!mpx_rows_bool(rows, 0, 1)) {
        return ctl_fail("this database has no schema of Meterplex yet: meterplexctl migrate");
    }
    if (mpx_rows_bool(rows, 0, 0) && mpx_db_script(ctl->source, ctl->pool, SQL_become_app, &error) != APR_SUCCESS) {
        return ctl_fail("the role meterplex_app cannot be taken: %s", error);
    }
    return CTL_OK;
}

int ctl_connect_to_work(ctl_t *ctl)
{
    mpx_call_t call;
    apr_array_header_t *applied;
    int rv = ctl_connect_as_app(ctl), version;

    if (rv != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, NULL);
    if (ctl_migrations_applied(&call, &applied) != APR_SUCCESS) {
        return ctl_fail_call(ctl, &call);
    }
    version = applied->nelts ? APR_ARRAY_IDX(applied, applied->nelts - 1, ctl_applied_t).version : 0;
    return version < MPX_SCHEMA_VERSION
        ? ctl_fail("the schema is at %04d, and this needs %04d: meterplexctl migrate", version, MPX_SCHEMA_VERSION)
        : CTL_OK;
}
