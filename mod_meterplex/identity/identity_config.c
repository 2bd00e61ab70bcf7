/* identity_config.c: MeterplexPrincipalTTL and MeterplexAuth. */
#include "identity_private.h"

#include "apr_strings.h"
#include "http_core.h"

#define TTL_DEFAULT apr_time_from_sec(60)

static apr_interval_time_t ttl = TTL_DEFAULT;

void identity_config_reset(void)
{
    ttl = TTL_DEFAULT;
}

apr_interval_time_t identity_principal_ttl(void)
{
    return ttl;
}

static const char *set_ttl(cmd_parms *cmd, void *config, const char *text)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    if (error) {
        return error;
    }
    if (ap_timeout_parameter_parse(text, &ttl, "s") != APR_SUCCESS || ttl < apr_time_from_sec(1)
        || ttl > apr_time_from_sec(86400)) {
        return apr_psprintf(cmd->pool, "MeterplexPrincipalTTL: \"%s\"; allowed are 1s to 24h", text);
    }
    return NULL;
}

static const char *set_auth(cmd_parms *cmd, void *config, const char *word)
{
    if (ap_cstr_casecmp(word, "api-key") != 0) {
        return apr_psprintf(cmd->pool, "MeterplexAuth: \"%s\"; the credential that this version accepts is api-key", word);
    }
    return NULL;
}

const command_rec identity_directives[] = {
    AP_INIT_TAKE1("MeterplexPrincipalTTL", set_ttl, NULL, RSRC_CONF,
                  "longest time that a cached principal is believed without a look-up (60s)"),
    AP_INIT_ITERATE("MeterplexAuth", set_auth, NULL, ACCESS_CONF, "credentials accepted here: api-key"),
    { NULL }
};
