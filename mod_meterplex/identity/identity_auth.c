/* identity_auth.c: credentials of a request, AuthType Meterplex, and the Require lines. */
#include "identity_private.h"

#include "ap_provider.h"
#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_request.h"
#include "mod_auth.h"

/* --- Credentials ------------------------------------------------------------------------------------------------------------------ */

static int count_field(void *count, const char *name, const char *value)
{
    ++*(int *)count;
    return 1;
}

static int occurrences(request_rec *r, const char *name)
{
    int n = 0;
    apr_table_do(count_field, &n, r->headers_in, name, NULL);
    return n;
}

/* The text of a Bearer credential; NULL when there is none of ours (another scheme is another module's). */
static const char *bearer_text(request_rec *r)
{
    const char *field = apr_table_get(r->headers_in, "Authorization"), *end;

    if (field == NULL || ap_cstr_casecmpn(field, "Bearer", 6) != 0 || !apr_isspace(field[6])) {
        return NULL;
    }
    for (field += 6; apr_isspace(*field); field++) {
    }
    for (end = field + strlen(field); end > field && apr_isspace(end[-1]); end--) {
    }
    return apr_pstrmemdup(r->pool, field, (apr_size_t)(end - field));
}

apr_status_t identity_authenticate(request_rec *r, mpx_request_t *request, const mpx_principal_t **principal)
{
    mpx_call_t *call = &request->call;
    const char *bearer = bearer_text(r), *key = apr_table_get(r->headers_in, "X-API-Key");
    const mpx_principal_t *other = NULL;
    apr_status_t rv;

    *principal = NULL;
    if ((bearer && occurrences(r, "Authorization") > 1) || (key && occurrences(r, "X-API-Key") > 1)) {
        return mpx_fail(call, MPX_P_BAD_REQUEST, "A credential is given more than once.");
    }
    if (bearer == NULL && key == NULL) {
        return APR_SUCCESS;
    }
    if (bearer && strncmp(bearer, "mpx_", 4) != 0) {
        return mpx_fail(call, MPX_P_INVALID_TOKEN, "The Bearer credential is not one that this server issues.");
    }
    rv = identity_principal_of_key(call, bearer ? bearer : key, 1, principal);
    if (rv == APR_SUCCESS && bearer && key && strcmp(bearer, key) != 0) {
        rv = identity_principal_of_key(call, key, 1, &other);
        if (rv != APR_SUCCESS || !mpx_uuid_equal(&other->id, &(*principal)->id)) {
            memset(&call->problem, 0, sizeof call->problem);
            return mpx_fail(call, MPX_P_BAD_REQUEST, "Two credentials are given that do not name the same principal.");
        }
    }
    return rv;
}

int identity_check_authn(request_rec *r)
{
    const char *type = ap_auth_type(r);
    const mpx_principal_t *principal;

    if (type == NULL || ap_cstr_casecmp(type, "Meterplex") != 0) {
        return DECLINED;
    }
    r->ap_auth_type = (char *)"Meterplex";
    if (mpx_request_principal(r, &principal) != APR_SUCCESS) {
        return mpx_problem_status(mpx_request_get(r)->problem.code);
    }
    if (principal == NULL) {
        return mpx_problem_raise(r, MPX_P_UNAUTHENTICATED, "This needs a credential: Authorization: Bearer, or X-API-Key.");
    }
    r->user = (char *)mpx_principal_text(r->pool, principal);
    return OK;
}

/* --- Require ------------------------------------------------------------------------------------------------------------------------ */

static const char *parse_words(cmd_parms *cmd, const char *line, const void **parsed, const char *what,
                               mpx_field_check_fn *check)
{
    apr_array_header_t *words = apr_array_make(cmd->pool, 2, sizeof(const char *));
    const char *word, *detail;

    while (*(word = ap_getword_conf(cmd->pool, &line))) {
        if (check && check(word, strlen(word), &detail)) {
            return apr_psprintf(cmd->pool, "Require %s: \"%s\": %s", what, word, detail);
        }
        APR_ARRAY_PUSH(words, const char *) = word;
    }
    if (words->nelts == 0) {
        return apr_psprintf(cmd->pool, "Require %s takes one or more names, any of which will do", what);
    }
    *parsed = words;
    return NULL;
}

static const char *parse_scopes(cmd_parms *cmd, const char *line, const void **parsed)
{
    return parse_words(cmd, line, parsed, "meterplex-scope", mpx_check_scope);
}

static authz_status check_scope(request_rec *r, const char *line, const void *parsed)
{
    const apr_array_header_t *words = parsed;
    const mpx_principal_t *principal = mpx_request_get(r)->principal;
    int i;

    if (r->user == NULL || principal == NULL) {
        return AUTHZ_DENIED_NO_USER;
    }
    for (i = 0; i < words->nelts; i++) {
        if (mpx_principal_has(principal, APR_ARRAY_IDX(words, i, const char *))) {
            return AUTHZ_GRANTED;
        }
    }
    mpx_problem_raise(r, MPX_P_INSUFFICIENT_SCOPE, "This needs the scope %s.", apr_array_pstrcat(r->pool, words, 0));
    return AUTHZ_DENIED;
}

static const char *parse_tenants(cmd_parms *cmd, const char *line, const void **parsed)
{
    return parse_words(cmd, line, parsed, "meterplex-tenant", NULL);
}

static authz_status check_tenant(request_rec *r, const char *line, const void *parsed)
{
    const apr_array_header_t *words = parsed;
    const mpx_principal_t *principal = mpx_request_get(r)->principal;
    int i;

    if (r->user == NULL || principal == NULL) {
        return AUTHZ_DENIED_NO_USER;
    }
    for (i = 0; i < words->nelts; i++) {
        const char *word = APR_ARRAY_IDX(words, i, const char *);
        mpx_uuid_t id;
        if (mpx_typeid_parse(word, "ten", &id) ? mpx_uuid_equal(&id, &principal->tenant)
                                               : principal->tenant_slug && strcmp(word, principal->tenant_slug) == 0) {
            return AUTHZ_GRANTED;
        }
    }
    mpx_problem_raise(r, MPX_P_FORBIDDEN, "This is not for your tenant.");
    return AUTHZ_DENIED;
}

void identity_require_register(apr_pool_t *pool)
{
    static const authz_provider scope = { check_scope, parse_scopes }, tenant = { check_tenant, parse_tenants };

    ap_register_auth_provider(pool, AUTHZ_PROVIDER_GROUP, "meterplex-scope", AUTHZ_PROVIDER_VERSION, &scope,
                              AP_AUTH_INTERNAL_PER_CONF);
    ap_register_auth_provider(pool, AUTHZ_PROVIDER_GROUP, "meterplex-tenant", AUTHZ_PROVIDER_VERSION, &tenant,
                              AP_AUTH_INTERNAL_PER_CONF);
}
