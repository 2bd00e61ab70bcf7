/* mod_meterplex_identity.c: composition root of identity: tenants, API keys, AuthType Meterplex. */
#include "identity_private.h"

#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"

static int identity_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    identity_principals_want();
    return OK;
}

static int identity_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    identity_keys_check_config();
    return identity_config_check(ptemp, s);
}

static int identity_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    identity_auth_open(pconf);
    identity_purge_open();
    return identity_principals_open(pconf, s);
}

static void identity_register_hooks(apr_pool_t *pool)
{
    identity_config_reset();
    mpx_routes_register(identity_tenant_routes);
    mpx_routes_register(identity_key_routes);
    mpx_authenticator_register(identity_authenticate);
    mpx_tenant_check_register(identity_tenant_exists);
    identity_purge_register();
    ap_hook_pre_config(identity_pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(identity_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(identity_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_authn(identity_check_authn, NULL, NULL, APR_HOOK_MIDDLE, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_note_auth_failure(identity_note_failure, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_error_filter(identity_forbid, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_fixups(identity_fixups, NULL, NULL, APR_HOOK_REALLY_FIRST);
    identity_require_register(pool);
}

MPX_MODULE_EXPORT
module AP_MODULE_DECLARE_DATA meterplex_identity_module = {
    STANDARD20_MODULE_STUFF,
    NULL,
    NULL,
    NULL,
    NULL,
    identity_directives,
    identity_register_hooks,
    AP_MODULE_FLAG_ALWAYS_MERGE
};
