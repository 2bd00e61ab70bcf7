/* core_health.c: the registry of what /health is composed of. */
#include "core_private.h"

#include "apr_strings.h"

#define PARTS_MAX 32
#define FAR apr_time_from_msec(200) /* beyond it no node can vouch for revocations within a second */

static struct {
    const char *name;
    mpx_health_fn *fn;
} parts[PARTS_MAX];
static int nparts;

static mpx_health_e database_health(apr_pool_t *pool, const char **detail)
{
    if (core_db_seen_down()) {
        *detail = "PostgreSQL does not answer, or takes no connections";
        return MPX_HEALTH_DOWN;
    }
    if (core_db_access() != CORE_DB_WRITES) {
        int reads = core_db_access() == CORE_DB_READS;
        *detail = reads ? "PostgreSQL takes no writes: it is a standby, or set to read only"
                        : "the database role lacks rights, or the schema migrations: meterplexctl doctor says more";
        return reads ? MPX_HEALTH_DEGRADED : MPX_HEALTH_DOWN;
    }
    if (core_db_round_trip() > FAR) {
        *detail = apr_psprintf(pool,
                               "PostgreSQL is far away, %d ms for a round trip: API keys in use wait for a "
                               "look-up each second",
                               (int)apr_time_as_msec(core_db_round_trip()));
        return MPX_HEALTH_DEGRADED;
    }
    return MPX_HEALTH_OK;
}

void core_health_reset(apr_pool_t *pconf)
{
    nparts = 0;
    mpx_health_register("database", database_health);
    mpx_health_register("state", core_held_health);
    mpx_health_register("root_key", core_rootkey_watch_health);
}

void mpx_health_register(const char *part, mpx_health_fn *fn)
{
    ap_assert(nparts < PARTS_MAX);
    parts[nparts].name = part;
    parts[nparts++].fn = fn;
}

void mpx_health_walk(apr_pool_t *pool, mpx_health_visit_fn *visit, void *baton)
{
    int i;
    for (i = 0; i < nparts; i++) {
        const char *detail = NULL;
        mpx_health_e state = parts[i].fn(pool, &detail);
        visit(parts[i].name, state, detail, baton);
    }
}
