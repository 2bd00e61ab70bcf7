/* identity_auth.c: credentials of a request, AuthType Meterplex, and the Require lines. */
#include "identity_private.h"

#include "ap_provider.h"
#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "mod_auth.h"

#include "identity_domain.h"

/* --- Credentials ------------------------------------------------------------------------------------------------------------------ */

static mpx_metric_t results[MPX_P_COUNT];

void identity_auth_open(apr_pool_t *pconf)
{
    static const mpx_problem_code_e told[] = {
        MPX_P_NONE, MPX_P_BAD_REQUEST, MPX_P_INVALID_API_KEY, MPX_P_EXPIRED_API_KEY, MPX_P_REVOKED_API_KEY,
        MPX_P_INVALID_TOKEN, MPX_P_FORBIDDEN, MPX_P_TENANT_SUSPENDED, MPX_P_UNAVAILABLE
    };
    apr_size_t i;

    for (i = 0; i < MPX_P_COUNT; i++) {
        results[i] = -1;
    }
    for (i = 0; i < sizeof told / sizeof *told; i++) {
        results[told[i]] = mpx_metric_counter(
            "meterplex_authentications_total", "Requests with a credential, by outcome.",
            apr_psprintf(pconf, "result=\"%s\"", told[i] == MPX_P_NONE ? "ok" : mpx_problem_name(told[i])));
    }
}

/* httpd merges fields of one name with a comma, which no credential of ours contains. */
static int given_twice(const char *text)
{
    return text && strchr(text, ',') != NULL;
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

/* Two credentials are as good as one when they name the same principal (a rotated key's old and new secret). */
static apr_status_t resolve_both(mpx_call_t *call, const char *bearer, const char *key, const mpx_principal_t **principal)
{
    const mpx_principal_t *other;
    mpx_uuid_t tenant;
    apr_status_t rv = identity_principal_of_key(call, bearer, call->client, &tenant, principal);

    if (rv == APR_SUCCESS) {
        rv = identity_principal_of_key(call, key, call->client, &tenant, &other);
    }
    if ((rv != APR_SUCCESS && call->problem.code != MPX_P_UNAVAILABLE)
        || (rv == APR_SUCCESS && !mpx_uuid_equal(&other->id, &(*principal)->id))) {
        memset(&call->problem, 0, sizeof call->problem);
        return mpx_fail(call, MPX_P_BAD_REQUEST, "Two credentials are given that do not name the same principal.");
    }
    return rv;
}

static apr_status_t authenticate(mpx_call_t *call, const char *bearer, const char *key, const mpx_principal_t **principal)
{
    mpx_uuid_t tenant;

    if (given_twice(bearer) || given_twice(key)) {
        return mpx_fail(call, MPX_P_BAD_REQUEST, "A credential is given more than once.");
    }
    if (bearer && strncmp(bearer, "mpx_", 4) != 0) {
        return mpx_fail(call, MPX_P_INVALID_TOKEN, "The Bearer credential is not one that this server issues.");
    }
    return bearer && key && strcmp(bearer, key) != 0
        ? resolve_both(call, bearer, key, principal)
        : identity_principal_of_key(call, bearer ? bearer : key, call->client, &tenant, principal);
}

apr_status_t identity_authenticate(request_rec *r, mpx_request_t *request, const mpx_principal_t **principal)
{
    const char *bearer = bearer_text(r), *key = apr_table_get(r->headers_in, "X-API-Key");
    apr_status_t rv;

    *principal = NULL;
    key = key && *key ? key : NULL; /* some proxies send every field that they know, empty */
    if (bearer == NULL && key == NULL) {
        return APR_SUCCESS;
    }
    rv = authenticate(&request->call, bearer, key, principal);
    mpx_metric_add(results[rv == APR_SUCCESS ? MPX_P_NONE : request->call.problem.code], 1);
    return rv;
}

/* --- AuthType Meterplex ------------------------------------------------------------------------------------------------------------ */

static int is_ours(request_rec *r)
{
    const char *type = ap_auth_type(r);
    return type && ap_cstr_casecmp(type, "Meterplex") == 0;
}

int identity_check_authn(request_rec *r)
{
    const mpx_principal_t *principal;
    int status;

    if (!is_ours(r)) {
        return DECLINED;
    }
    r->ap_auth_type = (char *)"Meterplex";
    if (mpx_request_principal(r, &principal) != APR_SUCCESS) {
        status = mpx_problem_status(mpx_request_get(r)->problem.code);
    }
    else if (principal == NULL) {
        status = mpx_problem_raise(r, MPX_P_UNAUTHENTICATED,
                                   "This needs a credential: Authorization: Bearer, or X-API-Key.");
    }
    else {
        r->user = (char *)mpx_principal_text(r->pool, principal);
        return OK;
    }
    if (status == HTTP_UNAUTHORIZED) {
        ap_note_auth_failure(r);
    }
    return status;
}

/* The challenge (RFC 6750 section 3), also where an ErrorDocument takes the place of the problem document. */
int identity_note_failure(request_rec *r, const char *type)
{
    int named = mpx_request_get(r)->problem.code != MPX_P_UNAUTHENTICATED;

    if (ap_cstr_casecmp(type, "Meterplex") != 0) {
        return DECLINED;
    }
    apr_table_setn(r->err_headers_out, "WWW-Authenticate",
                   named ? "Bearer realm=\"meterplex\", error=\"invalid_token\"" : "Bearer realm=\"meterplex\"");
    return OK;
}

static int is_denial(const mpx_request_t *request)
{
    return request->principal
        && (request->problem.code == MPX_P_INSUFFICIENT_SCOPE || request->problem.code == MPX_P_FORBIDDEN);
}

/* A caller who is known but not allowed: httpd answers 401 unless AuthzSendForbiddenOnFailure is On. That would send a
 * client for a better credential that there is not, so the answer is made what it means. */
void identity_forbid(request_rec *r)
{
    if (mpx_request_get(r)->allowed == r) {
        return; /* the upstream's own word, by ProxyErrorOverride */
    }
    if (r->status == HTTP_UNAUTHORIZED && r->user && r->ap_auth_type && strcmp(r->ap_auth_type, "Meterplex") == 0) {
        if (!is_denial(mpx_request_get(r))) {
            mpx_problem_raise(r, MPX_P_FORBIDDEN, "This is not allowed.");
        }
        r->status = HTTP_FORBIDDEN;
        apr_table_unset(r->err_headers_out, "WWW-Authenticate");
    }
}

/* One of several Require lines said no and another yes: what the first noted is no problem. */
int identity_fixups(request_rec *r)
{
    mpx_request_t *request = mpx_request_get(r);
    if (is_denial(request)) {
        memset(&request->problem, 0, sizeof request->problem);
    }
    if (r->main == NULL) {
        request->allowed = r;
    }
    return DECLINED;
}

/* --- Require ------------------------------------------------------------------------------------------------------------------------ */

/* A parsed line. */
typedef struct require_words {
    apr_array_header_t *words; /* const char * */
    int negated;               /* what it finds missing is as it should be, and no problem to tell */
} require_words_t;

/* "Require not", or somewhere inside of a section that none may pass. */
static int is_negated(const cmd_parms *cmd)
{
    const ap_directive_t *d = cmd->directive;
    int negated = d && ap_cstr_casecmpn(d->args, "not ", 4) == 0;

    for (d = d ? d->parent : NULL; d && !negated; d = d->parent) {
        negated = ap_cstr_casecmp(d->directive, "<RequireNone") == 0;
    }
    return negated;
}

static const char *parse_words(cmd_parms *cmd, const char *line, const void **parsed, const char *what,
                               mpx_field_check_fn *check)
{
    require_words_t *require = apr_palloc(cmd->pool, sizeof *require);
    const char *word, *detail;

    require->words = apr_array_make(cmd->pool, 2, sizeof(const char *));
    require->negated = is_negated(cmd);
    while (*(word = ap_getword_conf(cmd->pool, &line))) {
        if (check && check(word, strlen(word), &detail)) {
            return apr_psprintf(cmd->pool, "Require %s: \"%s\": %s", what, word, detail);
        }
        APR_ARRAY_PUSH(require->words, const char *) = word;
    }
    if (require->words->nelts == 0) {
        return apr_psprintf(cmd->pool, "Require %s takes one or more names, any of which will do", what);
    }
    *parsed = require;
    return NULL;
}

static const char *parse_scopes(cmd_parms *cmd, const char *line, const void **parsed)
{
    return parse_words(cmd, line, parsed, "meterplex-scope", identity_check_scope);
}

/* httpd asks twice: before authentication, when a plain answer ends the matter, and after it. A refusal is certain before
 * already, once the credential has been looked at, and is then a 403 by httpd's own rules; leave is given only after
 * authentication, which sets r->user. @return NULL when there is nobody to judge (yet) */
static const mpx_principal_t *judged(request_rec *r)
{
    const mpx_principal_t *principal = NULL;

    if (!is_ours(r) || mpx_request_principal(r, &principal) != APR_SUCCESS) {
        return NULL;
    }
    return principal;
}

/* A match of a negated line is certain before, too: as "no user" it would count for nothing beside a line that needs
 * none. */
static authz_status granted(const request_rec *r, const require_words_t *require)
{
    return r->user || require->negated ? AUTHZ_GRANTED : AUTHZ_DENIED_NO_USER;
}

static authz_status check_scope(request_rec *r, const char *line, const void *parsed)
{
    const require_words_t *require = parsed;
    const apr_array_header_t *words = require->words;
    const mpx_principal_t *principal = judged(r);
    int i;

    if (principal == NULL) {
        return AUTHZ_DENIED_NO_USER;
    }
    for (i = 0; i < words->nelts; i++) {
        if (mpx_principal_has(principal, APR_ARRAY_IDX(words, i, const char *))) {
            return granted(r, require);
        }
    }
    if (!require->negated) {
        mpx_problem_raise(r, MPX_P_INSUFFICIENT_SCOPE,
                          words->nelts == 1 ? "This needs the scope %s." : "This needs one of the scopes %s.",
                          apr_array_pstrcat(r->pool, words, ' '));
    }
    return AUTHZ_DENIED;
}

static const char *parse_tenants(cmd_parms *cmd, const char *line, const void **parsed)
{
    return parse_words(cmd, line, parsed, "meterplex-tenant", NULL);
}

static authz_status check_tenant(request_rec *r, const char *line, const void *parsed)
{
    const require_words_t *require = parsed;
    const apr_array_header_t *words = require->words;
    const mpx_principal_t *principal = judged(r);
    int i;

    if (principal == NULL) {
        return AUTHZ_DENIED_NO_USER;
    }
    for (i = 0; i < words->nelts; i++) {
        const char *word = APR_ARRAY_IDX(words, i, const char *);
        mpx_uuid_t id;
        if (mpx_typeid_parse(word, "ten", &id) ? mpx_uuid_equal(&id, &principal->tenant)
                                               : principal->tenant_slug && strcmp(word, principal->tenant_slug) == 0) {
            return granted(r, require);
        }
    }
    if (!require->negated) {
        mpx_problem_raise(r, MPX_P_FORBIDDEN, "This is not for your tenant.");
    }
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
