/* identity_purge.c: a tenant that was deleted 30 days ago goes for good: a job of one node.
 *
 * A step is a transaction that locks the tenant's row and deletes at most ten thousand rows of what the rooms have
 * registered (core_purge.c). The step that finds none deletes the tenant's row itself, having asked the catalogue whether
 * any table was overlooked: so an interrupted purge is a deleted tenant with fewer rows, which the next run goes on with.
 * Two nodes at once do no harm: the row that one has locked the other passes over.
 *
 * No event tells of it: its row would be the tenant's, too. The entry of the audit trail stays.
 */
#include "identity_private.h"

#include "apr_strings.h"

#include "identity_sql.h"
#include "identity_store.h"

#define PURGE_INTERVAL apr_time_from_sec(600)
#define STEP_ROWS 10000
#define RUN_MOST apr_time_from_sec(10)
#define TENANTS_MOST 1000 /* of one run */

static mpx_metric_t metric_purged;

typedef struct purge {
    mpx_uuid_t tenant;
    int purged;  /* by this step: its row is deleted */
    int settled; /* there is nothing more to do here */
} purge_t;

static apr_status_t record(mpx_tx_t *tx, const purge_t *purge, const mpx_rows_t *row)
{
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    mpx_jsonw_t *w = mpx_jsonw_make(pool);
    apr_time_t deleted_at = 0;

    mpx_rows_time(row, 0, 1, &deleted_at);
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "slug", mpx_rows_text(row, 0, 0));
    mpx_jsonw_member_string(w, "deleted_at", mpx_time_text(pool, deleted_at));
    mpx_jsonw_end(w);
    return mpx_audit_append(tx, "tenant.purge", mpx_typeid_format(pool, "ten", &purge->tenant), mpx_jsonw_text(w, NULL));
}

/* Nothing of it was found any more: the row itself. */
static apr_status_t finish(mpx_tx_t *tx, purge_t *purge, const mpx_rows_t *row)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t param = mpx_param_uuid(&purge->tenant);
    mpx_rows_t *left = NULL;
    apr_status_t rv = mpx_tx_query(tx, SQL_tenant_leftover, NULL, 0, &left);

    if (rv == APR_SUCCESS && mpx_rows_text(left, 0, 0)) {
        return mpx_fail(call, MPX_P_INTERNAL, "%s has rows of the deleted tenant %s, and no loaded module purges them.",
                        mpx_rows_text(left, 0, 0), mpx_typeid_format(call->pool, "ten", &purge->tenant));
    }
    rv = rv == APR_SUCCESS ? record(tx, purge, row) : rv;
    rv = rv == APR_SUCCESS ? mpx_tx_query(tx, SQL_tenant_purge, &param, 1, NULL) : rv;
    /* Who did not hear of the deletion hears now: the slug may be another's soon. */
    rv = rv == APR_SUCCESS ? identity_store_notify(tx, 't', &purge->tenant) : rv;
    purge->purged = purge->settled = rv == APR_SUCCESS;
    return rv;
}

static apr_status_t step(mpx_tx_t *tx, void *baton)
{
    purge_t *purge = baton;
    mpx_param_t param = mpx_param_uuid(&purge->tenant);
    mpx_rows_t *row = NULL;
    apr_int64_t deleted = 0;
    apr_status_t rv = mpx_tx_query(tx, SQL_tenant_due_lock, &param, 1, &row);

    purge->purged = purge->settled = 0;
    if (rv == APR_SUCCESS && mpx_rows_count(row) == 0) {
        purge->settled = 1; /* another node has it, or had */
        return APR_SUCCESS;
    }
    rv = rv == APR_SUCCESS ? mpx_purge_some(tx, STEP_ROWS, &deleted) : rv;
    return rv == APR_SUCCESS && deleted == 0 ? finish(tx, purge, row) : rv;
}

/* Until it is gone, or it is time to leave. */
static apr_status_t purge_tenant(mpx_job_t *job, purge_t *purge, apr_time_t end)
{
    apr_status_t rv;

    job->call->tenant = purge->tenant;
    do {
        rv = mpx_tx_run(job->call, MPX_TX_WRITE, step, purge);
    } while (rv == APR_SUCCESS && !purge->settled && !mpx_job_stopping() && mpx_monotonic() < end);
    if (rv == APR_SUCCESS && purge->purged) {
        mpx_metric_add(metric_purged, 1);
    }
    return rv;
}

static apr_status_t find_due(mpx_tx_t *tx, void *baton)
{
    mpx_rows_t **due = baton;
    mpx_param_t param = mpx_param_int(mpx_tx_call(tx)->pool, TENANTS_MOST);
    return mpx_tx_query(tx, SQL_tenants_due, &param, 1, due);
}

static apr_status_t purge_due(mpx_job_t *job, void *baton)
{
    apr_time_t end = mpx_monotonic() + RUN_MOST;
    mpx_rows_t *due = NULL;
    apr_status_t rv = mpx_tx_run(job->call, MPX_TX_READ | MPX_TX_PLATFORM, find_due, &due);
    int i, n = rv == APR_SUCCESS ? mpx_rows_count(due) : 0;

    job->call->acting_as_platform = 1; /* in tenants that are not its own: audited as such */
    job->more = n == TENANTS_MOST;
    for (i = 0; i < n && !mpx_job_stopping(); i++) {
        purge_t purge = { 0 };
        apr_status_t one;

        if (mpx_database_down() || mpx_monotonic() >= end) {
            job->more = 1;
            break;
        }
        mpx_rows_uuid(due, i, 0, &purge.tenant);
        one = purge_tenant(job, &purge, end);
        job->more |= !purge.settled;
        rv = one != APR_SUCCESS ? one : rv; /* one that cannot be purged must not hold up the others */
    }
    return rv;
}

void identity_purge_open(void)
{
    metric_purged =
        mpx_metric_counter("meterplex_tenants_purged_total", "Tenants purged, 30 days after they were deleted.", NULL);
    mpx_job_register("tenant-purge", PURGE_INTERVAL, MPX_JOB_CLUSTER, purge_due, NULL);
}

void identity_purge_register(void)
{
    mpx_purge_register(SQL_secrets_purge); /* they refer to the keys */
    mpx_purge_register(SQL_keys_purge);
}
