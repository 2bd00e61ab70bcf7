/* mod_meterplex_observe.c: composition root of observe: health, metrics, the API's description. */
#include "observe_private.h"

#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"

static const mpx_route_t observe_routes[] = {
    { "GET", "/health", NULL, MPX_ROUTE_PUBLIC, observe_get_health, NULL },
    { "GET", "/health/live", NULL, MPX_ROUTE_PUBLIC, observe_get_live, NULL },
    { "GET", "/health/ready", NULL, MPX_ROUTE_PUBLIC, observe_get_ready, NULL },
    { "GET", "/metrics", NULL, MPX_ROUTE_PUBLIC, observe_get_metrics, NULL },
    { "GET", "/v1/openapi.json", NULL, MPX_ROUTE_PUBLIC, observe_get_openapi, NULL },
    { NULL, NULL, NULL, 0, NULL, NULL }
};

static int observe_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    int rv;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    rv = observe_requests_open(pconf, s);
    return rv == OK ? observe_openapi_open(pconf, s) : rv;
}

static void observe_register_hooks(apr_pool_t *pool)
{
    observe_openapi_reset();
    mpx_routes_register(observe_routes);
    ap_hook_post_config(observe_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_log_transaction(observe_log_transaction, NULL, NULL, APR_HOOK_MIDDLE);
}

MPX_MODULE_EXPORT
module AP_MODULE_DECLARE_DATA meterplex_observe_module = {
    STANDARD20_MODULE_STUFF,
    NULL,
    NULL,
    NULL,
    NULL,
    observe_directives,
    observe_register_hooks,
    AP_MODULE_FLAG_ALWAYS_MERGE
};
