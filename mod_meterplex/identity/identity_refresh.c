/* identity_refresh.c: keys in use are asked for again before MeterplexPrincipalTTL is over, many in one statement, by
 * one child of each node. So a request finds its key believed however many keys there are: with 100,000 of them in
 * use, 1,700 requests a second would otherwise wait for a look-up of their own, for no news.
 *
 * The job goes round the cache in a sixth of the TTL, an eighth of a second at a time, and takes what is older than
 * two thirds of the TTL and was used within one. What it misses (a busy database, a drop in between) the next request
 * asks for, as ever.
 */
#include "identity_private.h"

#include <stdlib.h>

#include "apr_strings.h"

#include "identity_sql.h"

#define INTERVAL apr_time_from_msec(125)
#define BATCH 500                       /* keys in one transaction */
#define TTL_LEAST apr_time_from_sec(10) /* below it going round would cost more than it saves */
#define RUN_MOST apr_time_from_sec(2)

static mpx_metric_t metric_refreshed;
static apr_uint64_t next_bucket, buckets_in_all; /* of this child; another begins anew */

typedef struct due {
    unsigned char digest[MPX_CACHE_DIGEST];
    mpx_uuid_t tenant;
} due_t;

typedef struct sweep {
    apr_array_header_t *due;
    apr_time_t now;
    apr_interval_time_t ttl;
} sweep_t;

static void visit(const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t used, const void *value, apr_size_t len,
                  void *baton)
{
    sweep_t *sweep = baton;
    const identity_record_t *record = value;
    due_t *due;

    if (sweep->now - used > sweep->ttl || sweep->now - record->asked_at < sweep->ttl / 3 * 2) {
        return;
    }
    due = apr_array_push(sweep->due);
    memcpy(due->digest, digest, sizeof due->digest);
    due->tenant = record->tenant;
}

static int by_tenant(const void *a, const void *b)
{
    return memcmp(&((const due_t *)a)->tenant, &((const due_t *)b)->tenant, sizeof(mpx_uuid_t));
}

typedef struct batch {
    const due_t *due;
    int n;
    mpx_cache_ticket_t ticket;
    apr_time_t asked_at;
} batch_t;

/* Digests of one tenant: due[first] and the n - 1 after it. */
static apr_status_t refresh_tenant(mpx_tx_t *tx, const batch_t *batch, int first, int n)
{
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    mpx_param_array_t *digests = mpx_param_array_make(pool, MPX_ARRAY_BYTEA, (apr_size_t)n * (MPX_CACHE_DIGEST + 4));
    mpx_param_t param;
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_set_tenant(tx, &batch->due[first].tenant);
    int i;

    for (i = 0; i < n; i++) {
        mpx_param_array_bytes(digests, batch->due[first + i].digest, MPX_CACHE_DIGEST);
    }
    param = mpx_param_array(digests);
    rv = rv == APR_SUCCESS ? mpx_tx_query(tx, SQL_principals_refresh, &param, 1, &rows) : rv;
    for (i = 0; rv == APR_SUCCESS && i < mpx_rows_count(rows); i++) {
        identity_record_t record = { .tenant = batch->due[first].tenant, .asked_at = batch->asked_at };
        identity_packed_t packed;
        apr_size_t len;

        mpx_rows_uuid(rows, i, 11, &record.key);
        mpx_rows_time(rows, i, 12, &record.secret_expires);
        len = identity_record_read(&packed, &record, rows, i);
        if (len
            && identity_record_store(&batch->ticket, batch->due[first + mpx_rows_int(rows, i, 13) - 1].digest, &packed,
                                     len)) {
            mpx_metric_add(metric_refreshed, 1);
        }
    }
    return rv;
}

static apr_status_t refresh_batch(mpx_tx_t *tx, void *baton)
{
    const batch_t *batch = baton;
    apr_status_t rv = APR_SUCCESS;
    int i, n;

    for (i = 0; rv == APR_SUCCESS && i < batch->n; i += n) {
        for (n = 1; i + n < batch->n && mpx_uuid_equal(&batch->due[i].tenant, &batch->due[i + n].tenant); n++) {
        }
        rv = refresh_tenant(tx, batch, i, n);
    }
    return rv;
}

static apr_status_t refresh(mpx_job_t *job, void *baton)
{
    apr_time_t now = apr_time_now();
    sweep_t sweep = { apr_array_make(job->pool, BATCH, sizeof(due_t)), now, identity_principal_ttl() };
    apr_uint64_t share = buckets_in_all / (apr_uint64_t)(sweep.ttl / 6 / INTERVAL + 1) + 1;
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (sweep.ttl < TTL_LEAST || mpx_database_down() || !identity_changes_heard()) {
        return APR_SUCCESS;
    }
    buckets_in_all = mpx_cache_walk(identity_cache(), &next_bucket, share, visit, &sweep);
    qsort(sweep.due->elts, (apr_size_t)sweep.due->nelts, sizeof(due_t), by_tenant);
    for (i = 0; i < sweep.due->nelts && rv == APR_SUCCESS && !mpx_job_stopping() && apr_time_now() - now < RUN_MOST;
         i += BATCH) {
        batch_t batch = { &APR_ARRAY_IDX(sweep.due, i, due_t), sweep.due->nelts - i < BATCH ? sweep.due->nelts - i : BATCH,
                          mpx_cache_ticket(identity_cache()), apr_time_now() };
        rv = mpx_tx_run(job->call, MPX_TX_WRITE, refresh_batch, &batch); /* on the primary, as every look-up */
    }
    return rv;
}

void identity_refresh_open(void)
{
    metric_refreshed = mpx_metric_counter("meterplex_principals_refreshed_total",
                                          "API keys in use that were asked for again before their time was over.", NULL);
    mpx_job_register("principal-refresh", INTERVAL, MPX_JOB_NODE, refresh, NULL);
}
