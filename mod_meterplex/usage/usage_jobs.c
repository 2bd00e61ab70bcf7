/* usage_jobs.c: background work of usage, beside the flusher of counters (usage_counters.c). */
#include "usage_private.h"

#include "usage_sql.h"

#define KEY_EXPIRY_INTERVAL apr_time_from_sec(600)

/* Keys of events that arrived so long ago that they would not make a duplicate of anything any more. */
static apr_status_t expire_keys(mpx_job_t *job, void *baton)
{
    return mpx_job_sweep(job, SQL_event_key_expire);
}

void usage_jobs_open(void)
{
    mpx_job_register("event-key-expiry", KEY_EXPIRY_INTERVAL, MPX_JOB_CLUSTER, expire_keys, NULL);
}

void usage_purge_register(void)
{
    mpx_purge_register(SQL_events_purge);
    mpx_purge_register(SQL_event_keys_purge);
    mpx_purge_register(SQL_meters_purge);
}
