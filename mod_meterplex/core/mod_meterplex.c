/* mod_meterplex.c: core's composition root: the module record and what is hooked where. What core offers to the other
 * rooms stands in include/meterplex.h.
 */
#include "core_private.h"

#include "http_core.h"
#include "mpm_common.h"

static int core_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    core_shm_reset(pconf);
    core_metrics_reset(pconf);
    core_jobs_reset(pconf);
    return OK;
}

static int core_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    int rv = core_config_check(ptemp, s);
    return rv == OK ? core_db_check(ptemp, s) : rv;
}

/* Before the other rooms' post_config: they find keys, state directory and shared memory ready. */
static int core_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    int rv;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    rv = core_config_open(pconf, s);
    rv = rv == OK ? core_rootkey_watch_open(pconf, s) : rv;
    rv = rv == OK ? core_shm_open(pconf, s) : rv;
    rv = rv == OK ? core_metrics_open(pconf, s) : rv;
    if (rv == OK) {
        core_db_metrics_open();
        core_held_watch(pconf, s);
    }
    return rv;
}

/* After the other rooms': their jobs are registered. */
static int core_post_config_last(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    core_idempotency_jobs();
    return core_jobs_start(pconf, s);
}

static void core_register_hooks(apr_pool_t *pool)
{
    static const char *const before_watchdog[] = { "mod_watchdog.c", NULL };

    /* Registries are emptied here: the other rooms fill them from their own register_hooks, which run later because
     * mod_meterplex.so is loaded first. */
    core_health_reset(pool);
    core_purge_reset();
    core_request_reset(pool);
    core_router_reset(pool);

    ap_hook_pre_config(core_pre_config, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_check_config(core_check_config, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_post_config(core_post_config, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_post_config(core_post_config_last, NULL, before_watchdog, APR_HOOK_LAST - 1);
    ap_hook_monitor(core_held_monitor, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(core_jobs_child_init, NULL, before_watchdog, APR_HOOK_FIRST);
    ap_hook_child_init(core_db_child_init, core_db_after, NULL, APR_HOOK_LAST);
    core_request_register(pool);
    core_problem_register(pool);
    core_router_register(pool);
    core_access_log_register(pool);
}

MPX_MODULE_EXPORT
module AP_MODULE_DECLARE_DATA meterplex_module = {
    STANDARD20_MODULE_STUFF,
    core_create_dir_config,
    core_merge_dir_config,
    core_create_server_config,
    core_merge_server_config,
    core_directives,
    core_register_hooks,
    AP_MODULE_FLAG_ALWAYS_MERGE
};
