/* core_db.h: one connection to PostgreSQL through libpq, and nothing above it. Only core_db*.c and core_tx.c use it.
 * A connection belongs to one thread at a time. No httpd here: meterplexctl links it too.
 */
#ifndef CORE_DB_H
#define CORE_DB_H

#include "../include/meterplex_call.h"

typedef enum core_db_outcome {
    CORE_DB_OK,
    CORE_DB_ERROR, /* the server refused the statement: state, message, ... are set; the connection is good */
    CORE_DB_LOST   /* no answer: connection lost, deadline passed, or the source said that the database is dead */
} core_db_outcome_e;

typedef struct core_db_error {
    char state[6];          /* SQLSTATE, "" when the server said none */
    const char *message;    /* primary message, for the log only */
    const char *constraint; /* name, or "" */
    const char *column;     /* what the violated key is named after, or "" */
} core_db_error_t;

typedef struct core_db_wait {
    apr_interval_time_t timeout; /* for the whole statement */
    mpx_db_source_t *source;     /* its alive() is polled; or NULL */
} core_db_wait_t;

/* Adopt a PGconn (from mod_dbd) or connect. The connection is set to non-blocking mode.
 * @param owner  an opaque pointer kept with it (mod_dbd's handle) */
mpx_db_t *core_db_adopt(apr_pool_t *pool, void *pgconn, void *owner);
mpx_db_t *core_db_connect(apr_pool_t *pool, const char *conninfo, const char **error);
/* A connection string, taken apart. @return NULL and *error when it is none */
typedef struct core_db_params core_db_params_t;
core_db_params_t *core_db_params(apr_pool_t *pool, const char *conninfo, const char **error);
/* Connect, bounded by the wait. @param error one line for the log, set when NULL is returned
 * @param full set to 1 when the server has answered that it takes no more connections: it is there; else to 0 */
mpx_db_t *core_db_connect_params(apr_pool_t *pool, const core_db_params_t *params, const core_db_wait_t *wait,
                                 const char **error, int *full);
/* Is the server process at the other end the one that the connection was made to? A pooler invents the process id that it
 * gives to its clients. @return 1 yes, 0 no (or no answer within the wait) */
int core_db_is_direct(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait);
void core_db_close(mpx_db_t *db); /* only what was connected here */
void *core_db_owner(mpx_db_t *db);

/* Is it open and idle, with nothing unexpected to be read? One system call. */
int core_db_usable(mpx_db_t *db);
/* Make sure that whoever looks at it next sees a broken connection (mod_dbd then makes it anew). */
void core_db_break(mpx_db_t *db);

/* One statement with parameters (extended protocol). @param rows set on CORE_DB_OK when not NULL; freed with pool */
core_db_outcome_e core_db_exec(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait, const char *sql,
                               const mpx_param_t *params, int nparams, mpx_rows_t **rows, core_db_error_t *error);
/* Several statements without parameters (simple protocol). */
core_db_outcome_e core_db_script(mpx_db_t *db, apr_pool_t *pool, const core_db_wait_t *wait, const char *sql,
                                 core_db_error_t *error);

/* Wait for notifications. @return number delivered to fn, or -1 when the connection is lost */
typedef void (core_db_notify_fn)(const char *payload, void *baton);
int core_db_notifications(mpx_db_t *db, apr_interval_time_t timeout, core_db_notify_fn *fn, void *baton);

/* SQLSTATE -> call->problem; the one place (core_db_problem.c). */
void core_db_problem(mpx_call_t *call, const core_db_error_t *error);
int core_db_state_is_lost(const char *state);      /* 57P01..57P03, 08xxx: the session is gone */
int core_db_state_is_retryable(const char *state); /* 40001, 40P01 */

#endif
