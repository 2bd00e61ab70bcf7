/* core_tx.c: transactions over a connection source: row level security's tenant, retries, savepoints.
 *
 * A transaction begins with one simple-protocol message (BEGIN and the SET LOCALs), so that its price is two round trips
 * beside the statements. SET LOCAL works behind PgBouncer in transaction mode; nothing here needs a session.
 */
#include "core_tx.h"

#include <string.h>

#include <apr_strings.h>

#define SERIALIZATION_TRIES 3
#define LOCK_TIMEOUT_MS 5000
#define PATIENCE_STATEMENT_MS 500 /* beyond what is waited for a lock */
#define LOG_ERR 3                 /* APLOG_ERR */
#define LOG_WARNING 4             /* APLOG_WARNING */

struct mpx_tx {
    mpx_call_t *call;
    mpx_db_t *db;
    mpx_tx_t *parent; /* the outer transaction when this is a savepoint */
    int lost;         /* the connection went away under it */
    int failed;       /* the last statement failed: only going back or rolling back helps */
    core_db_error_t error;
    mpx_problem_t marked; /* the problem noted when the mark was set */
};

static core_db_wait_t wait_of(mpx_call_t *call)
{
    core_db_wait_t wait;
    /* The server ends a statement by itself (statement_timeout); this is the net under a server that does not answer. */
    wait.timeout = (call->patience ? apr_time_from_msec(call->patience + PATIENCE_STATEMENT_MS)
                                   : call->source->statement_timeout)
        + apr_time_from_msec(500);
    wait.source = call->source;
    return wait;
}

static void log_error(mpx_call_t *call, const core_db_error_t *error, const char *sql)
{
    if (call->source->log && strncmp(error->state, "23", 2) != 0) {
        const char *state = error->state[0] ? error->state : "(none)";
        call->source->log(call->source, core_db_state_is_retryable(error->state) ? LOG_WARNING : LOG_ERR, state,
                          apr_psprintf(call->pool, "database: SQLSTATE %s %s%s%s, in: %.160s", state, error->message,
                                       call->request_id ? ", request " : "", call->request_id ? call->request_id : "",
                                       sql));
    }
}

/* No connection, or none any more. That the database is away has been said when it went. */
static void log_unserved(mpx_call_t *call, const char *kind, const char *what)
{
    if (call->source->log && call->source->alive && call->source->alive(call->source)) {
        call->source->log(call->source, LOG_WARNING, kind,
                          apr_psprintf(call->pool, "database: %s%s%s", what, call->request_id ? ", request " : "",
                                       call->request_id ? call->request_id : ""));
    }
}

static apr_status_t lost(mpx_call_t *call)
{
    call->unreachable = 1;
    mpx_fail(call, MPX_P_UNAVAILABLE, "The database is not available; try again.");
    call->problem.retry_after = 1;
    return MPX_FAILED;
}

/* Turn an outcome into the transaction's state and the caller's status. */
static apr_status_t settle(mpx_tx_t *tx, core_db_outcome_e outcome, const char *sql)
{
    mpx_tx_t *t;
    if (outcome == CORE_DB_OK) {
        return APR_SUCCESS;
    }
    if (outcome == CORE_DB_LOST) {
        for (t = tx; t; t = t->parent) {
            t->lost = 1;
        }
        log_unserved(tx->call, "(lost)", "a connection was lost, or did not answer in time");
        return lost(tx->call);
    }
    tx->failed = 1;
    log_error(tx->call, &tx->error, sql);
    core_db_problem(tx->call, &tx->error);
    return MPX_FAILED;
}

static apr_status_t script(mpx_tx_t *tx, const char *sql)
{
    core_db_wait_t wait = wait_of(tx->call);
    if (tx->lost) {
        return lost(tx->call);
    }
    return settle(tx, core_db_script(tx->db, tx->call->pool, &wait, sql, &tx->error), sql);
}

mpx_call_t *mpx_tx_call(mpx_tx_t *tx)
{
    return tx->call;
}

const char *mpx_tx_state(const mpx_tx_t *tx)
{
    return tx->error.state;
}

const char *mpx_tx_constraint(const mpx_tx_t *tx)
{
    return tx->error.constraint ? tx->error.constraint : "";
}

apr_status_t mpx_tx_query(mpx_tx_t *tx, const char *sql, const mpx_param_t *params, int nparams, mpx_rows_t **rows)
{
    core_db_wait_t wait = wait_of(tx->call);
    if (tx->lost) {
        return lost(tx->call);
    }
    return settle(tx, core_db_exec(tx->db, tx->call->pool, &wait, sql, params, nparams, rows, &tx->error), sql);
}

apr_status_t mpx_tx_set(mpx_tx_t *tx, const char *name, const char *value)
{
    mpx_param_t params[2];
    params[0] = mpx_param_text(apr_pstrcat(tx->call->pool, "meterplex.", name, NULL));
    params[1] = mpx_param_text(value);
    return mpx_tx_query(tx, "SELECT set_config($1, $2, true)", params, 2, NULL);
}

apr_status_t mpx_tx_set_tenant(mpx_tx_t *tx, const mpx_uuid_t *tenant)
{
    char text[MPX_UUID_TEXT];
    return mpx_tx_set(tx, "tenant_id", mpx_uuid_is_nil(tenant) ? "" : mpx_uuid_format(tenant, text));
}

apr_status_t mpx_tx_mark(mpx_tx_t *tx)
{
    tx->marked = tx->call->problem;
    return script(tx, "SAVEPOINT mark");
}

apr_status_t mpx_tx_back(mpx_tx_t *tx)
{
    apr_status_t rv = script(tx, "ROLLBACK TO SAVEPOINT mark; RELEASE SAVEPOINT mark");
    if (rv == APR_SUCCESS) {
        tx->failed = 0;
        tx->error.state[0] = '\0';
        tx->call->problem = tx->marked;
    }
    return rv;
}

static const char *begin_text(mpx_call_t *call, unsigned mode)
{
    char tenant[MPX_UUID_TEXT] = "";
    if (!mpx_uuid_is_nil(&call->tenant)) {
        mpx_uuid_format(&call->tenant, tenant);
    }
    return apr_psprintf(call->pool,
                        "BEGIN%s; SET LOCAL meterplex.tenant_id = '%s'; SET LOCAL meterplex.platform = '%s'; "
                        "SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d",
                        mode & MPX_TX_READ ? " READ ONLY" : "", tenant, mode & MPX_TX_PLATFORM ? "on" : "off",
                        call->patience ? call->patience + PATIENCE_STATEMENT_MS
                                       : (int)apr_time_as_msec(call->source->statement_timeout),
                        call->patience ? call->patience : LOCK_TIMEOUT_MS);
}

/* A transaction inside an Idempotency-Key's: a savepoint, with this run's tenant and mode until it ends. */
static apr_status_t run_nested(mpx_call_t *call, unsigned mode, mpx_tx_body_fn *body, void *baton)
{
    mpx_tx_t tx = { call, call->outer->db, call->outer, call->outer->lost, 0, { "", "", "", "" }, { 0 } };
    apr_status_t rv = script(&tx, "SAVEPOINT inner_run");

    if (rv == APR_SUCCESS) {
        rv = mpx_tx_set_tenant(&tx, &call->tenant);
    }
    if (rv == APR_SUCCESS && mode & MPX_TX_PLATFORM) {
        rv = mpx_tx_set(&tx, "platform", "on");
    }
    if (rv == APR_SUCCESS) {
        call->outer = NULL; /* body must not nest: one level is what a request has */
        rv = body(&tx, baton);
        call->outer = tx.parent;
    }
    if (tx.lost) {
        return rv == APR_SUCCESS ? lost(call) : rv;
    }
    if (rv != APR_SUCCESS) {
        mpx_problem_t problem = call->problem;
        memcpy(tx.parent->error.state, tx.error.state, sizeof tx.error.state);
        if (script(&tx, "ROLLBACK TO SAVEPOINT inner_run") != APR_SUCCESS) {
            return MPX_FAILED;
        }
        call->problem = problem;
        return rv;
    }
    return script(&tx,
                  mode & MPX_TX_PLATFORM ? "SET LOCAL meterplex.platform = 'off'; RELEASE SAVEPOINT inner_run"
                                         : "RELEASE SAVEPOINT inner_run");
}

static apr_status_t borrow(mpx_call_t *call, mpx_db_t **db)
{
    /* A request that asks twice (who is it, then what it wants) waits once: its answer is out within a second. */
    apr_status_t rv = call->gave_up ? APR_TIMEUP : call->source->borrow(call->source, call->pool, db);
    if (rv == APR_SUCCESS) {
        return APR_SUCCESS;
    }
    if (!call->gave_up) {
        log_unserved(call, "(busy)", "every connection is in use; DBDMax says how many there may be in each process");
    }
    call->gave_up = 1;
    if (!APR_STATUS_IS_TIMEUP(rv)) {
        call->unreachable = 1; /* and not merely busy */
    }
    mpx_fail(call, MPX_P_UNAVAILABLE, "%s",
             APR_STATUS_IS_TIMEUP(rv) ? "Every database connection is in use; try again."
                                      : "The database is not available; try again.");
    call->problem.retry_after = 1;
    return MPX_FAILED;
}

/* One attempt from BEGIN to COMMIT. *again is set when it may be run once more. */
static apr_status_t attempt(mpx_call_t *call, unsigned mode, mpx_tx_body_fn *body, void *baton, int outer,
                            int *lost_before_commit, int *serialization)
{
    mpx_tx_t tx = { call, NULL, NULL, 0, 0, { "", "", "", "" }, { 0 } };
    apr_status_t rv = borrow(call, &tx.db);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = script(&tx, begin_text(call, mode));
    if (rv == APR_SUCCESS) {
        if (outer) {
            call->outer = &tx;
        }
        rv = body(&tx, baton);
        call->outer = NULL;
        if (rv == APR_SUCCESS && tx.failed) {
            rv = MPX_FAILED; /* a failed statement was overlooked: COMMIT would silently roll back */
            mpx_fail(call, MPX_P_INTERNAL, "The request could not be carried out.");
        }
    }
    *lost_before_commit = tx.lost;
    if (!tx.lost) {
        mpx_problem_t problem = call->problem;
        *serialization = rv != APR_SUCCESS && core_db_state_is_retryable(tx.error.state);
        if (rv == APR_SUCCESS) {
            /* When the answer to COMMIT is lost, whether it happened is unknown: never run again from here. */
            rv = script(&tx, "COMMIT");
            *serialization = rv != APR_SUCCESS && core_db_state_is_retryable(tx.error.state);
        }
        else if (script(&tx, "ROLLBACK") == APR_SUCCESS) {
            call->problem = problem;
        }
    }
    call->source->give_back(call->source, tx.db, tx.lost);
    return rv;
}

static apr_status_t run(mpx_call_t *call, unsigned mode, mpx_tx_body_fn *body, void *baton, int outer)
{
    mpx_problem_t before = call->problem;
    apr_time_t begun = mpx_monotonic();
    int tries = 0, lost_once = 0;

    for (;;) {
        int lost_before_commit = 0, serialization = 0;
        apr_status_t rv = attempt(call, mode, body, baton, outer, &lost_before_commit, &serialization);
        if (rv == APR_SUCCESS) {
            return rv;
        }
        if (serialization && ++tries < SERIALIZATION_TRIES) {
            unsigned char jitter;
            mpx_uuid_t id = mpx_call_new_id(call);
            jitter = id.b[15];
            apr_sleep(apr_time_from_msec(tries * 5) + jitter * 40); /* spreads the contenders */
        }
        else if (lost_before_commit && !lost_once
                 && (call->patience == 0 || mpx_monotonic() - begun < apr_time_from_msec(call->patience))) {
            lost_once = 1; /* a connection that was closed meanwhile; who is in a hurry does not wait for silence twice */
        }
        else {
            return rv;
        }
        call->problem = before;
    }
}

apr_status_t mpx_tx_run(mpx_call_t *call, unsigned mode, mpx_tx_body_fn *body, void *baton)
{
    return call->outer ? run_nested(call, mode, body, baton) : run(call, mode, body, baton, 0);
}

apr_status_t core_tx_outer_run(mpx_call_t *call, mpx_tx_body_fn *body, void *baton)
{
    return run(call, MPX_TX_WRITE, body, baton, 1);
}
