/* mod_meterplex_limit.c: composition root of limit: rate limits in shared memory, exact over all children. */
#include "limit_private.h"

#include "http_core.h"
#include "http_request.h"

static int limit_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    limit_want();
    limit_config_reset(pconf);
    return OK;
}

static int limit_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    return ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG ? OK : limit_open(pconf, s);
}

static void limit_register_hooks(apr_pool_t *pool)
{
    static const char *const core[] = { "core.c", NULL }, *const after_dir[] = { "mod_dir.c", NULL };

    ap_hook_pre_config(limit_pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(limit_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_access(limit_check_access, NULL, NULL, APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    /* core sets the handler; mod_rewrite, at FIRST, may end the fixups with a redirect */
    ap_hook_fixups(limit_fixups, core, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(limit_fixups_last, after_dir, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_handler(limit_handler, NULL, core, APR_HOOK_REALLY_FIRST);
    mpx_admission_register(limit_admit);
    APR_REGISTER_OPTIONAL_FN(mpx_limit_key);
}

MPX_MODULE_EXPORT
module AP_MODULE_DECLARE_DATA meterplex_limit_module = {
    STANDARD20_MODULE_STUFF,
    limit_create_dir_config,
    limit_merge_dir_config,
    NULL,
    NULL,
    limit_directives,
    limit_register_hooks,
    AP_MODULE_FLAG_ALWAYS_MERGE
};
