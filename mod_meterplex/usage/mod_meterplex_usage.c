/* mod_meterplex_usage.c: composition root of usage: events, meters, queries, MeterplexMeter. */
#include "usage_private.h"

#include "http_core.h"

#include "usage_capture.h"

static int usage_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    usage_jobs_open();
    return usage_capture_open(pconf, s);
}

static void usage_register_hooks(apr_pool_t *pool)
{
    mpx_routes_register(usage_event_routes);
    mpx_routes_register(usage_meter_routes);
    usage_purge_register();
    ap_hook_post_config(usage_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    usage_capture_register_hooks(pool);
}

MPX_MODULE_EXPORT
module AP_MODULE_DECLARE_DATA meterplex_usage_module = {
    STANDARD20_MODULE_STUFF,
    usage_capture_create_dir_config,
    usage_capture_merge_dir_config,
    NULL,
    NULL,
    usage_capture_directives,
    usage_register_hooks,
    AP_MODULE_FLAG_ALWAYS_MERGE
};
