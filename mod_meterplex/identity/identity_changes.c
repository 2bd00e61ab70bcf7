/* identity_changes.c: what keeps the remembered principals true: jobs of one child of each node.
 *
 * Revocation: commands NOTIFY in their transaction; the job listens on a connection of its own and drops what has changed. A
 * look-up that read the row before cannot store it any more (lib/mpx_cache.h). Whenever the connection was made anew,
 * everything remembered is looked up again at its next use. While there is none, records are believed for 0.8 s only
 * (identity_principals.c), so that a revocation is heeded within a second all the same.
 */
#include "identity_private.h"

#include <stdlib.h>

#include "identity_store.h"

#define CHANNEL "meterplex_principals"
#define LISTEN_INTERVAL apr_time_from_msec(100)
#define LISTEN_WAIT apr_time_from_msec(100)
#define LISTEN_LOST apr_time_from_sec(5) /* a connection is made anew by itself; its lasting absence is worth a word */
#define USED_INTERVAL apr_time_from_sec(3)
#define USED_EVERY apr_time_from_sec(30) /* last_used_at of a key in steady use is as old as this */
#define USED_BATCH 1000

/* "k:<uuid>" or "t:<uuid>" */
static void on_change(const char *payload, void *baton)
{
    mpx_uuid_t id;

    if (payload[0] == 'k' && payload[1] == ':' && mpx_uuid_parse(payload + 2, &id)) {
        identity_forget_key(&id);
    }
    else if (payload[0] == 't' && payload[1] == ':' && mpx_uuid_parse(payload + 2, &id)) {
        identity_forget_tenant(&id);
    }
    else {
        mpx_cache_doubt(identity_cache());
    }
}

/* Always a success: a job that fails is backed off, and the listener must be back as soon as the database is. */
static apr_status_t learn_changes(mpx_job_t *job, void *baton)
{
    int reconnected;
    apr_time_t heard;
    apr_status_t rv = mpx_listen_wait(job, CHANNEL, LISTEN_WAIT, on_change, NULL, &reconnected, &heard);

    if (reconnected) {
        mpx_cache_doubt(identity_cache());
    }
    if (rv == APR_SUCCESS) {
        mpx_cache_heard(identity_cache(), heard);
    }
    else if (rv == APR_ENOTIMPL) {
        mpx_cache_heard(identity_cache(), -mpx_monotonic()); /* long ago, for those who believe; and why, for the health */
    }
    return APR_SUCCESS;
}

/* --- Last use ------------------------------------------------------------------------------------------------------------------ */

typedef struct used_key {
    mpx_uuid_t key, tenant;
    mpx_cache_use_t use;
} used_key_t;

static int collect(const mpx_cache_use_t *use, const void *value, apr_size_t len, void *baton)
{
    apr_array_header_t *list = baton;
    const identity_record_t *record = value;
    used_key_t *u = apr_array_push(list);

    u->key = record->key;
    u->tenant = record->tenant;
    u->use = *use;
    return list->nelts < USED_BATCH;
}

/* By tenant, and within it by key: two nodes then lock rows in the same order. */
static int by_tenant(const void *a, const void *b)
{
    const used_key_t *x = a, *y = b;
    int c = memcmp(&x->tenant, &y->tenant, sizeof x->tenant);
    return c ? c : memcmp(&x->key, &y->key, sizeof x->key);
}

/* All of one tenant's in one statement, all tenants in one transaction. */
static apr_status_t write_used(mpx_tx_t *tx, void *baton)
{
    const apr_array_header_t *list = baton;
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    mpx_uuid_t *ids = apr_palloc(pool, sizeof *ids * (apr_size_t)list->nelts);
    apr_time_t *times = apr_palloc(pool, sizeof *times * (apr_size_t)list->nelts);
    int i = 0, n;

    while (i < list->nelts) {
        const used_key_t *first = &APR_ARRAY_IDX(list, i, used_key_t), *u;
        apr_status_t rv = mpx_tx_set_tenant(tx, &first->tenant);

        for (n = 0; i < list->nelts && mpx_uuid_equal(&(u = &APR_ARRAY_IDX(list, i, used_key_t))->tenant, &first->tenant);
             i++) {
            ids[n] = u->key;
            times[n++] = u->use.used;
        }
        rv = rv == APR_SUCCESS ? identity_store_keys_used(tx, ids, times, n) : rv;
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t note_used(mpx_job_t *job, void *baton)
{
    apr_array_header_t *list = apr_array_make(job->pool, 64, sizeof(used_key_t));
    apr_status_t rv;
    int i;

    if (mpx_database_down()) {
        return APR_SUCCESS;
    }
    mpx_cache_used_walk(identity_cache(), apr_time_now(), USED_EVERY, collect, list);
    if (list->nelts == 0) {
        return APR_SUCCESS;
    }
    qsort(list->elts, (apr_size_t)list->nelts, sizeof(used_key_t), by_tenant);
    rv = mpx_tx_run(job->call, MPX_TX_WRITE, write_used, list);
    for (i = 0; rv == APR_SUCCESS && i < list->nelts; i++) {
        mpx_cache_used_settle(identity_cache(), &APR_ARRAY_IDX(list, i, used_key_t).use);
    }
    return rv;
}

/* --- Health -------------------------------------------------------------------------------------------------------------------- */

static mpx_health_e principals_health(apr_pool_t *pool, const char **detail)
{
    apr_time_t heard = mpx_cache_heard_at(identity_cache());

    if (mpx_monotonic() - (heard < 0 ? -heard : heard) < LISTEN_LOST) {
        *detail = heard < 0 ? "a connection pooler carries no LISTEN; API keys are looked up every second" : NULL;
        return MPX_HEALTH_OK;
    }
    *detail = mpx_database_down() ? "API keys that are known are served from memory; revocations are not heard"
                                  : "revocations are not heard; API keys are looked up every second";
    return MPX_HEALTH_DEGRADED;
}

void identity_changes_open(void)
{
    mpx_health_register("principals", principals_health);
    mpx_job_register("principal-changes", LISTEN_INTERVAL, MPX_JOB_NODE, learn_changes, NULL);
    mpx_job_register("key-usage", USED_INTERVAL, MPX_JOB_NODE, note_used, NULL);
}
