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

/* Does a directive stand anywhere in the configuration, with that first argument (NULL: with any)? */
static int stands(apr_pool_t *pool, const ap_directive_t *d, const char *name, const char *argument)
{
    for (; d; d = d->next) {
        const char *args = d->args;
        if (ap_cstr_casecmp(d->directive, name) == 0
            && (argument == NULL || ap_cstr_casecmp(ap_getword_conf(pool, &args), argument) == 0)) {
            return 1;
        }
        if (d->first_child && stands(pool, d->first_child, name, argument)) {
            return 1;
        }
    }
    return 0;
}

int identity_config_check(apr_pool_t *ptemp, server_rec *s)
{
    const ap_directive_t *tree = ap_conftree;

    if ((stands(ptemp, tree, "AuthType", "Meterplex") || stands(ptemp, tree, "SetHandler", "meterplex-api"))
        && stands(ptemp, tree, "CacheEnable", NULL)
        && (stands(ptemp, tree, "CacheQuickHandler", "on") || !stands(ptemp, tree, "CacheQuickHandler", "off"))) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "mod_cache's quick handler answers before any key is asked for, so whoever comes second has for "
                     "nothing what the first has paid: where Meterplex and CacheEnable meet, set \"CacheQuickHandler "
                     "off\"");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

const command_rec identity_directives[] = {
    AP_INIT_TAKE1("MeterplexPrincipalTTL", set_ttl, NULL, RSRC_CONF,
                  "longest time that a cached principal is believed without a look-up (60s)"),
    AP_INIT_ITERATE("MeterplexAuth", set_auth, NULL, ACCESS_CONF, "credentials accepted here: api-key"),
    { NULL }
};
