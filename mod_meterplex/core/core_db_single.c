/* core_db_single.c: a connection source that is one connection (meterplexctl, tests). */
#include "core_db.h"

#include <stdio.h>

#include <apr_strings.h>

typedef struct single_source {
    mpx_db_source_t source; /* first: the public part */
    const char *conninfo;
    apr_pool_t *pool;
    mpx_db_t *db;
} single_source_t;

static apr_status_t single_borrow(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **db)
{
    single_source_t *single = (single_source_t *)self;
    const char *error;

    if (single->db == NULL || !core_db_usable(single->db)) {
        if (single->db) {
            core_db_close(single->db);
        }
        single->db = core_db_connect(single->pool, single->conninfo, &error);
    }
    *db = single->db;
    return *db ? APR_SUCCESS : APR_EGENERAL;
}

static void single_give_back(mpx_db_source_t *self, mpx_db_t *db, int broken)
{
    single_source_t *single = (single_source_t *)self;
    if (broken) {
        core_db_close(db);
        single->db = NULL;
    }
}

static void single_log(mpx_db_source_t *self, int severity, const char *kind, const char *message)
{
    fprintf(stderr, "%s\n", message);
}

static apr_status_t single_close(void *source)
{
    single_source_t *single = source;
    if (single->db) {
        core_db_close(single->db);
    }
    return APR_SUCCESS;
}

apr_status_t mpx_db_source_single(apr_pool_t *pool, const char *conninfo, mpx_db_source_t **source, const char **error)
{
    single_source_t *single = apr_pcalloc(pool, sizeof *single);
    single->pool = pool;
    single->conninfo = apr_pstrdup(pool, conninfo);
    single->db = core_db_connect(pool, conninfo, error);
    if (single->db == NULL) {
        return APR_EGENERAL;
    }
    single->source.borrow = single_borrow;
    single->source.give_back = single_give_back;
    single->source.log = single_log;
    single->source.statement_timeout = apr_time_from_sec(300);
    apr_pool_cleanup_register(pool, single, single_close, apr_pool_cleanup_null);
    *source = &single->source;
    return APR_SUCCESS;
}

apr_status_t mpx_db_script(mpx_db_source_t *source, apr_pool_t *pool, const char *sql, const char **error)
{
    core_db_wait_t wait = { source->statement_timeout, source };
    core_db_error_t failure;
    core_db_outcome_e outcome;
    mpx_db_t *db;
    apr_status_t rv = source->borrow(source, pool, &db);

    if (rv != APR_SUCCESS) {
        *error = "the database cannot be reached";
        return rv;
    }
    outcome = core_db_script(db, pool, &wait, sql, &failure);
    source->give_back(source, db, outcome == CORE_DB_LOST);
    if (outcome == CORE_DB_OK) {
        return APR_SUCCESS;
    }
    if (outcome == CORE_DB_LOST) {
        *error = "the connection to the database was lost";
        return APR_INCOMPLETE;
    }
    *error = apr_psprintf(pool, "%s (SQLSTATE %s)", failure.message, failure.state);
    return APR_EGENERAL;
}
