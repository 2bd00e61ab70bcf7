/* core_router.c: from a path to a handler: table of routes, who may use them, the answer on the wire.
 *
 * Routes are decided on r->uri, which httpd has decoded once, freed of dot segments and merged slashes: the same string that
 * <Location> and Require have judged. What is authorised is what is routed.
 */
#include "core_private.h"

#include <sodium.h>

#include "apr_strings.h"
#include "http_core.h"

#include "core_path.h"

#define TABLES_MAX 32
#define CORE_ETAG_DIGEST 16 /* bytes: the least that BLAKE2b is made for */

static const mpx_route_t *tables[TABLES_MAX];
static int ntables;

void core_router_reset(apr_pool_t *pconf)
{
    ntables = 0;
}

void mpx_routes_register(const mpx_route_t *routes)
{
    ap_assert(ntables < TABLES_MAX);
    tables[ntables++] = routes;
}

/* --- Finding ------------------------------------------------------------------------------------------------------------------------- */

static void allow_method(apr_array_header_t *allowed, const char *method)
{
    int i;
    for (i = 0; i < allowed->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(allowed, i, const char *), method) == 0) {
            return;
        }
    }
    APR_ARRAY_PUSH(allowed, const char *) = method;
}

/* @param allowed  methods of all routes with this path */
static const mpx_route_t *find_route(request_rec *r, apr_array_header_t *allowed)
{
    const char *method = r->method_number == M_GET ? "GET" : r->method; /* HEAD is a GET here, as in httpd */
    const mpx_route_t *found = NULL, *route;
    int i;

    for (i = 0; i < ntables; i++) {
        for (route = tables[i]; route->method; route++) {
            if (core_path_matches(route->pattern, r->uri, NULL)) {
                /* "/v1/meters/usage" before "/v1/meters/{meter}": a literal is closer */
                if (strcmp(route->method, method) == 0
                    && (found == NULL || strchr(route->pattern, '{') == NULL)) {
                    found = route;
                }
                allow_method(allowed, route->method);
                if (strcmp(route->method, "GET") == 0) {
                    allow_method(allowed, "HEAD");
                }
            }
        }
    }
    if (allowed->nelts) {
        allow_method(allowed, "OPTIONS");
    }
    return found;
}

/* --- Who may ---------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t act_in(mpx_http_t *http, const mpx_uuid_t *tenant)
{
    mpx_call_t *call = http->call;
    apr_status_t rv;

    if (mpx_uuid_equal(tenant, &call->principal->tenant)) {
        return APR_SUCCESS;
    }
    if (!call->principal->platform_admin) {
        return mpx_fail(call, MPX_P_NOT_FOUND, "There is no such tenant.");
    }
    rv = core_tenant_exists(call, tenant);
    if (rv == APR_SUCCESS) {
        call->tenant = *tenant;
        call->acting_as_platform = 1;
    }
    return rv;
}

/* The tenant that the path names, or for platform administrators the field Meterplex-Tenant. */
static apr_status_t resolve_tenant(mpx_http_t *http)
{
    const char *in_path = apr_table_get(http->params, "tenant"), *in_field;
    mpx_uuid_t tenant;

    if (in_path) {
        return mpx_typeid_parse(in_path, "ten", &tenant) ? act_in(http, &tenant)
                                                         : mpx_fail(http->call, MPX_P_NOT_FOUND, "There is no such tenant.");
    }
    in_field = apr_table_get(http->r->headers_in, "Meterplex-Tenant");
    if (in_field == NULL || http->route->flags & MPX_ROUTE_PLATFORM) {
        return APR_SUCCESS;
    }
    return mpx_typeid_parse(in_field, "ten", &tenant)
        ? act_in(http, &tenant)
        : mpx_fail(http->call, MPX_P_BAD_REQUEST, "Meterplex-Tenant is not the id of a tenant.");
}

static apr_status_t authorize(mpx_http_t *http)
{
    const mpx_principal_t *principal;
    const mpx_route_t *route = http->route;
    apr_status_t rv;

    if (route->flags & MPX_ROUTE_PUBLIC) {
        return APR_SUCCESS;
    }
    rv = mpx_request_principal(http->r, &principal);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (principal == NULL) {
        return mpx_fail(http->call, MPX_P_UNAUTHENTICATED, "This needs a credential: Authorization: Bearer, or X-API-Key.");
    }
    if (route->flags & MPX_ROUTE_PLATFORM && !principal->platform_admin) {
        return mpx_fail(http->call, MPX_P_FORBIDDEN, "Only a platform administrator may do this.");
    }
    rv = resolve_tenant(http);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (route->permission && !mpx_principal_has(principal, route->permission)) {
        return mpx_fail(http->call, MPX_P_INSUFFICIENT_SCOPE, "This needs the scope %s.", route->permission);
    }
    if (mpx_request_admit(http->r) != OK) {
        http->call->problem = http->request->problem;
        return MPX_FAILED;
    }
    return APR_SUCCESS;
}

/* A platform administrator looks at what is another tenant's. Commands leave their own row in their own transaction; queries
 * write nothing, so it is left here, before there is anything to see. */
static apr_status_t audit_look(mpx_tx_t *tx, void *baton)
{
    mpx_http_t *http = baton;
    mpx_jsonw_t *w = mpx_jsonw_make(http->call->pool);
    apr_size_t len;

    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "method", http->r->method);
    mpx_jsonw_member_string(w, "path", core_redact(http->call->pool, http->r->uri));
    mpx_jsonw_end(w);
    return mpx_audit_append(tx, "tenant.read", http->route->pattern, mpx_jsonw_text(w, &len));
}

static apr_status_t audit(mpx_http_t *http)
{
    int looks = strcmp(http->route->method, "GET") == 0 || http->route->flags & MPX_ROUTE_READS;
    return looks && http->call->acting_as_platform ? mpx_tx_run(http->call, MPX_TX_WRITE, audit_look, http) : APR_SUCCESS;
}

/* --- Running ------------------------------------------------------------------------------------------------------------------------------ */

static int takes_body(const request_rec *r)
{
    return r->method_number == M_POST || r->method_number == M_PUT || r->method_number == M_PATCH;
}

static apr_status_t run(core_exchange_t *exchange)
{
    mpx_http_t *http = &exchange->http;
    apr_status_t rv;
    const char *wrong;

    core_path_matches(http->route->pattern, http->r->uri, http->params);
    rv = authorize(http);
    if (rv != APR_SUCCESS) {
        http->request->admission = mpx_problem_status(http->call->problem.code);
        return rv;
    }
    if (!(http->route->flags & MPX_ROUTE_PUBLIC)) {
        wrong = core_query_parse(http->call->pool, http->r->args, http->query);
        if (wrong) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "%s", wrong);
        }
        rv = core_query_check(http);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    rv = audit(http);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (takes_body(http->r)) {
        rv = core_body_read(http);
        return rv == APR_SUCCESS ? core_idempotent_run(exchange) : rv;
    }
    return http->route->handler(http);
}

/* "UUID.VERSION" becomes "UUID.VERSION.DIGEST": the same bytes and no others have this tag. */
static void finish_etag(core_exchange_t *exchange)
{
    unsigned char digest[CORE_ETAG_DIGEST];
    char hex[2 * CORE_ETAG_DIGEST + 1];
    apr_size_t len = strlen(exchange->etag);

    crypto_generichash(digest, sizeof digest, (const unsigned char *)exchange->http.reply, exchange->http.reply_len, NULL,
                       0);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    exchange->etag = apr_psprintf(exchange->http.call->pool, "%.*s.%s\"", (int)len - 1, exchange->etag, hex);
}

/* 304 when the client has this representation (RFC 9110 section 13.1.2). */
static int not_modified(core_exchange_t *exchange)
{
    const char *given = apr_table_get(exchange->http.r->headers_in, "If-None-Match");
    return given && exchange->etag && exchange->http.status == HTTP_OK && exchange->http.r->method_number == M_GET
        && core_etag_listed(given, exchange->etag, 1);
}

static int send_answer(core_exchange_t *exchange)
{
    mpx_http_t *http = &exchange->http;
    request_rec *r = http->r;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);

    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    if (exchange->location) {
        apr_table_setn(r->err_headers_out, "Location", exchange->location);
    }
    if (exchange->etag) {
        finish_etag(exchange);
        apr_table_setn(r->err_headers_out, "ETag", exchange->etag);
    }
    if (exchange->replayed) {
        apr_table_setn(r->err_headers_out, "Idempotent-Replayed", "true");
    }
    r->status = not_modified(exchange) ? HTTP_NOT_MODIFIED : http->status;
    if (http->reply && r->status != HTTP_NOT_MODIFIED) {
        ap_set_content_type(r, http->reply_type);
        ap_set_content_length(r, (apr_off_t)http->reply_len);
        APR_BRIGADE_INSERT_TAIL(bb,
                                apr_bucket_pool_create(http->reply, http->reply_len, r->pool, r->connection->bucket_alloc));
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    return ap_pass_brigade(r->output_filters, bb) == APR_SUCCESS ? OK : AP_FILTER_ERROR;
}

static int answer_options(request_rec *r, const apr_array_header_t *allowed)
{
    apr_table_setn(r->err_headers_out, "Allow", apr_array_pstrcat(r->pool, allowed, ','));
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    r->status = HTTP_NO_CONTENT;
    return OK;
}

static core_exchange_t *make_exchange(request_rec *r)
{
    core_exchange_t *exchange = apr_pcalloc(r->pool, sizeof *exchange);
    exchange->http.r = r;
    exchange->http.request = mpx_request_get(r);
    exchange->http.call = &exchange->http.request->call;
    exchange->http.params = apr_table_make(r->pool, 4);
    exchange->http.query = apr_table_make(r->pool, 8);
    return exchange;
}

static apr_status_t dispatch(core_exchange_t *exchange, const mpx_route_t *route, const apr_array_header_t *allowed)
{
    request_rec *r = exchange->http.r;
    apr_status_t rv;

    if (allowed->nelts == 0) {
        return mpx_fail(exchange->http.call, MPX_P_NOT_FOUND, "There is nothing here.");
    }
    if (!mpx_json_utf8_valid(r->uri, strlen(r->uri))) {
        return mpx_fail(exchange->http.call, MPX_P_BAD_REQUEST, "The path is not valid UTF-8.");
    }
    if (route == NULL) {
        /* Answered here and not by an error of httpd, which would write an Allow of its own. */
        apr_table_setn(r->err_headers_out, "Allow", apr_array_pstrcat(r->pool, allowed, ','));
        return mpx_fail(exchange->http.call, MPX_P_METHOD_NOT_ALLOWED, "%s is not a method of this resource.", r->method);
    }
    exchange->http.route = route;
    apr_table_setn(r->notes, "meterplex-route", route->pattern);
    rv = run(exchange);
    if (rv != APR_SUCCESS && exchange->http.call->problem.code == MPX_P_NONE) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r, "%s %s failed without saying why", route->method, route->pattern);
        mpx_fail(exchange->http.call, MPX_P_INTERNAL, "The request could not be carried out.");
    }
    return rv;
}

/* httpd answers TRACE by itself, before any handler: where it is off, with a 405 whose Allow names what r->allowed holds. */
static int on_map_to_storage(request_rec *r)
{
    apr_array_header_t *allowed;
    int i;

    if (r->method_number == M_TRACE) {
        allowed = apr_array_make(r->pool, 6, sizeof(const char *));
        find_route(r, allowed);
        for (i = 0; i < allowed->nelts; i++) {
            ap_allow_methods(r, MERGE_ALLOW, APR_ARRAY_IDX(allowed, i, const char *), NULL);
        }
    }
    return DECLINED;
}

static int on_handler(request_rec *r)
{
    core_exchange_t *exchange;
    const mpx_route_t *route;
    apr_array_header_t *allowed;

    if (strcmp(r->handler, "meterplex-api") != 0) {
        return DECLINED;
    }
    if (r->main) {
        /* what it finds wrong, and who refuses it, would be the whole request's */
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "the API answers requests, not pages that include it: %s", r->uri);
        return HTTP_FORBIDDEN;
    }
    allowed = apr_array_make(r->pool, 6, sizeof(const char *));
    route = find_route(r, allowed);
    if (r->method_number == M_OPTIONS && allowed->nelts) {
        return answer_options(r, allowed);
    }
    exchange = make_exchange(r);
    if (dispatch(exchange, route, allowed) != APR_SUCCESS) {
        core_reply_problem(exchange);
    }
    return send_answer(exchange);
}

/* --- Configuration ------------------------------------------------------------------------------------------------------------------------ */

static int on_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    apr_hash_t *seen = apr_hash_make(ptemp);
    const mpx_route_t *route;
    int i;

    for (i = 0; i < ntables; i++) {
        for (route = tables[i]; route->method; route++) {
            const char *name = apr_pstrcat(ptemp, route->method, " ", route->pattern, NULL);
            if (apr_hash_get(seen, name, APR_HASH_KEY_STRING)) {
                ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s, "two modules answer %s", name);
                return HTTP_INTERNAL_SERVER_ERROR;
            }
            apr_hash_set(seen, name, APR_HASH_KEY_STRING, route);
        }
    }
    return OK;
}

/* httpd -t -D DUMP_ROUTES */
static void on_test_config(apr_pool_t *pconf, server_rec *s)
{
    const mpx_route_t *route;
    int i;
    if (!ap_exists_config_define("DUMP_ROUTES")) {
        return;
    }
    for (i = 0; i < ntables; i++) {
        for (route = tables[i]; route->method; route++) {
            printf("%s %s %s\n", route->method, route->pattern,
                   route->flags & MPX_ROUTE_PUBLIC ? "(public)" : route->flags & MPX_ROUTE_PLATFORM ? "platform:admin"
                       : route->permission                                                          ? route->permission
                                                                                                    : "(any credential)");
        }
    }
}

void core_router_register(apr_pool_t *pool)
{
    ap_hook_check_config(on_check_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_test_config(on_test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_map_to_storage(on_map_to_storage, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(on_handler, NULL, NULL, APR_HOOK_FIRST);
}
