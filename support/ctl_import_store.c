/* ctl_import_store.c: a batch of log lines into the database.
 *
 * Ingest remembers for 35 days which events have arrived: enough for a client that tries again. A log file may be imported
 * once more after years, so the events themselves are asked here, too; their time, out of the line, leads to them.
 */
#include "ctl_import.h"

#include <string.h>

#include "ctl_sql.h"

typedef struct store {
    const mpx_event_t *events;
    int n;
    usage_ingest_result_t *result;
} store_t;

/* The places (from 1) of those that are there already, in order. */
static apr_status_t find_known(mpx_tx_t *tx, const store_t *s, mpx_rows_t **rows)
{
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    mpx_param_array_t *times = mpx_param_array_make(pool, MPX_ARRAY_TIMESTAMPTZ, (apr_size_t)s->n * 12);
    mpx_param_array_t *ids = mpx_param_array_make(pool, MPX_ARRAY_TEXT, (apr_size_t)s->n * 36);
    mpx_param_t params[4];
    int i;

    for (i = 0; i < s->n; i++) {
        mpx_param_array_time(times, s->events[i].time);
        mpx_param_array_text(ids, s->events[i].id, strlen(s->events[i].id));
    }
    params[0] = mpx_param_array(times);
    params[1] = mpx_param_array(ids);
    params[2] = mpx_param_text(s->events[0].type);
    params[3] = mpx_param_text(s->events[0].source);
    return mpx_tx_query(tx, SQL_import_known, params, 4, rows);
}

static apr_status_t store_in(mpx_tx_t *tx, void *baton)
{
    const store_t *s = baton;
    mpx_event_t *fresh = apr_palloc(mpx_tx_call(tx)->pool, (apr_size_t)s->n * sizeof *fresh);
    mpx_rows_t *rows;
    int i, n = 0, known = 0;
    apr_status_t rv = find_known(tx, s, &rows);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; i < s->n; i++) {
        if (known < mpx_rows_count(rows) && mpx_rows_int(rows, known, 0) == i + 1) {
            known++;
        }
        else {
            fresh[n++] = s->events[i];
        }
    }
    s->result->accepted = s->result->duplicates = 0;
    rv = n ? usage_ingest_in(tx, fresh, n, NULL, s->result) : APR_SUCCESS;
    s->result->duplicates += known;
    return rv;
}

apr_status_t ctl_import_store(mpx_call_t *call, const mpx_event_t *events, int n, usage_ingest_result_t *result)
{
    store_t s = { events, n, result };
    return mpx_tx_run(call, MPX_TX_WRITE, store_in, &s);
}
