/* core_request.c: the request context: ids, who asks, whether it is let through. One for a client's request; subrequests and
 * internal redirects find the same through r->main and r->prev.
 */
#include "core_private.h"

#include <sodium.h>

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_request.h"

#define ADMISSIONS_MAX 8

static mpx_authenticate_fn *authenticator;
static mpx_tenant_check_fn *tenant_check;
static mpx_admit_fn *admissions[ADMISSIONS_MAX];
static int nadmissions;

void core_request_reset(apr_pool_t *pconf)
{
    authenticator = NULL;
    tenant_check = NULL;
    nadmissions = 0;
}

void mpx_authenticator_register(mpx_authenticate_fn *fn)
{
    authenticator = fn;
}

void mpx_tenant_check_register(mpx_tenant_check_fn *fn)
{
    tenant_check = fn;
}

apr_status_t core_tenant_exists(mpx_call_t *call, const mpx_uuid_t *tenant)
{
    return tenant_check ? tenant_check(call, tenant) : mpx_fail(call, MPX_P_NOT_FOUND, "There is no such tenant.");
}

void mpx_admission_register(mpx_admit_fn *fn)
{
    ap_assert(nadmissions < ADMISSIONS_MAX);
    admissions[nadmissions++] = fn;
}

/* --- Ids ----------------------------------------------------------------------------------------------------------------------- */

int core_has_apikey(const char *text)
{
    return strstr(text, "mpx_live_") || strstr(text, "mpx_test_");
}

/* A key that someone has put there by mistake must not get into logs, audit rows and answers. */
static int id_acceptable(const char *id)
{
    apr_size_t n;
    if (core_has_apikey(id)) {
        return 0;
    }
    for (n = 0; apr_isalnum(id[n]) || id[n] == '.' || id[n] == '_' || id[n] == '-'; n++) {
        if (n == 128) {
            return 0;
        }
    }
    return id[n] == '\0' && n >= 8 && n <= 128;
}

static const char *make_id(request_rec *r)
{
    mpx_uuid_t id;
    unsigned char random[8];
    randombytes_buf(random, sizeof random);
    mpx_uuid_v7(&id, r->request_time, random);
    return mpx_typeid_format(r->pool, "req", &id);
}

static int count_field(void *count, const char *name, const char *value)
{
    ++*(int *)count;
    return 1;
}

/* Two fields of one name are no id: apr_table_get() would show the first and the upstream might take the second. */
static const char *single_field(request_rec *r, const char *name)
{
    int n = 0;
    apr_table_do(count_field, &n, r->headers_in, name, NULL);
    return n == 1 ? apr_table_get(r->headers_in, name) : NULL;
}

/* W3C Trace Context: continue a valid trace with a span of ours, else start one and forget its state. */
static void set_trace(request_rec *r, mpx_request_t *request)
{
    const char *given = single_field(r, "traceparent");
    char text[MPX_TRACEPARENT_TEXT];

    if (given == NULL || !mpx_traceparent_parse(given, &request->trace)) {
        randombytes_buf(request->trace.trace_id, sizeof request->trace.trace_id);
        request->trace.flags = 0;
        apr_table_unset(r->headers_in, "tracestate");
    }
    randombytes_buf(request->trace.parent_id, sizeof request->trace.parent_id);
    apr_table_set(r->headers_in, "traceparent", mpx_traceparent_format(&request->trace, text));
}

static mpx_request_t *make_context(request_rec *r)
{
    mpx_request_t *request = apr_pcalloc(r->pool, sizeof *request);
    const char *given = single_field(r, "X-Request-Id");
    int n;

    request->admission = -1;
    request->id = given && id_acceptable(given) ? given : make_id(r);
    request->call.pool = r->pool;
    request->call.source = core_db_source();
    request->call.rootkey = mpx_rootkeys(&n);
    request->call.request_id = request->id;
    request->call.client = r->useragent_ip;
    request->call.now = r->request_time ? r->request_time : apr_time_now();
    apr_table_setn(r->headers_in, "X-Request-Id", request->id);
    apr_table_setn(r->err_headers_out, "X-Request-Id", request->id);
    set_trace(r, request);
    ap_set_module_config(r->request_config, &meterplex_module, request);
    return request;
}

mpx_request_t *mpx_request_get(request_rec *r)
{
    mpx_request_t *request;
    for (;;) {
        request = ap_get_module_config(r->request_config, &meterplex_module);
        if (request) {
            return request;
        }
        if (r->main) {
            r = r->main;
        }
        else if (r->prev) {
            r = r->prev;
        }
        else {
            return make_context(r);
        }
    }
}

/* What a client lists in Connection is taken away before the request goes upstream: not these. */
static const char *const kept[] = { "X-Request-Id", "traceparent", "tracestate" };

static int is_kept(const char *name)
{
    apr_size_t i;
    for (i = 0; i < sizeof kept / sizeof *kept && ap_cstr_casecmp(name, kept[i]) != 0; i++) {
    }
    return i < sizeof kept / sizeof *kept;
}

static void keep_ours(request_rec *r)
{
    const char *list = apr_table_get(r->headers_in, "Connection"), *rest = NULL;
    char *name, *state = NULL;
    int taken = 0;

    if (list == NULL) {
        return;
    }
    for (name = apr_strtok(apr_pstrdup(r->pool, list), ", \t", &state); name; name = apr_strtok(NULL, ", \t", &state)) {
        if (is_kept(name)) {
            taken = 1;
        }
        else {
            rest = rest ? apr_pstrcat(r->pool, rest, ", ", name, NULL) : name;
        }
    }
    if (taken && rest) {
        apr_table_setn(r->headers_in, "Connection", rest);
    }
    else if (taken) {
        apr_table_unset(r->headers_in, "Connection");
    }
}

static int on_post_read_request(request_rec *r)
{
    if (r->main == NULL && r->prev == NULL) {
        make_context(r);
        keep_ours(r);
    }
    return DECLINED;
}

/* <Location> sections have been walked by now. What they say of errors is noted: while httpd walks directories and files
 * they are put aside, and are not there when it fails. */
static int on_translate_name(request_rec *r)
{
    mpx_request_t *request = mpx_request_get(r);

    if (r->main == NULL) {
        request->placed = MPX_PLACED;
        request->told = core_problem_is_told(r);
        request->located = r;
        request->placed = MPX_LOCATED;
    }
    return DECLINED;
}

static int on_post_perdir_config(request_rec *r)
{
    if (r->main == NULL) {
        mpx_request_get(r)->placed = MPX_PLACED;
    }
    return DECLINED;
}

static int on_access_checker(request_rec *r)
{
    mpx_request_get(r)->checking = 1;
    return DECLINED;
}

static int on_fixups(request_rec *r)
{
    mpx_request_get(r)->checking = 0;
    return DECLINED;
}

/* mod_remoteip has spoken by now, and no expression of a section has been asked yet. */
static int on_post_read_request_last(request_rec *r)
{
    if (ap_is_initial_req(r)) {
        mpx_request_get(r)->call.client = r->useragent_ip;
    }
    return DECLINED;
}

/* --- Who asks, and may it ----------------------------------------------------------------------------------------------------------- */

apr_status_t mpx_request_principal(request_rec *r, const mpx_principal_t **principal)
{
    mpx_request_t *request = mpx_request_get(r);

    if (!request->authenticated) {
        request->authenticated = 1;
        request->auth_status = authenticator ? authenticator(r, request, &request->principal) : APR_SUCCESS;
        if (request->auth_status != APR_SUCCESS) {
            request->principal = NULL;
            request->problem = request->call.problem;
        }
        else if (request->principal) {
            request->call.principal = request->principal;
            request->call.tenant = request->principal->tenant;
        }
    }
    *principal = request->principal;
    return request->auth_status;
}

const mpx_principal_t *mpx_request_known(request_rec *r)
{
    mpx_request_t *request = mpx_request_get(r);
    const mpx_principal_t *principal;

    if (request->principal == NULL && !request->asking && r->per_dir_config && !ap_is_HTTP_ERROR(r->status)) {
        const char *type;
        request->asking = 1; /* AuthType may be an expression, too, and ask the same */
        type = ap_auth_type(r);
        request->asking = 0;
        if (type && ap_cstr_casecmp(type, "Meterplex") == 0) {
            (void)mpx_request_principal(r, &principal); /* what is wrong is told when the answer is made */
            request->unknown = request->checking && request->principal == NULL;
        }
    }
    return request->principal;
}

int mpx_request_is_part(const request_rec *r)
{
    if (r->main) {
        return 1;
    }
    for (; r->prev; r = r->prev) {
        if (r->prev->status != HTTP_OK) { /* set by ap_die() before it redirects to the document */
            return 1;
        }
    }
    return 0;
}

int mpx_request_admit(request_rec *r)
{
    mpx_request_t *request = mpx_request_get(r);
    int i;

    if (request->admission < 0 || (request->admission == OK && request->admitted != r->per_dir_config)) {
        request->admission = OK;
        request->admitted = r->per_dir_config;
        for (i = 0; i < nadmissions && request->admission == OK; i++) {
            request->admission = admissions[i](r, request);
        }
    }
    return request->admission;
}

/* --- An upstream's own fields ----------------------------------------------------------------------------------------------------------- */

/* Ours stand in err_headers_out, which httpd lays over headers_out: an upstream's would be sent beside them. */
static apr_status_t ours_alone(ap_filter_t *f, apr_bucket_brigade *bb)
{
    static const char *const names[] = { "X-Request-Id", "RateLimit", "RateLimit-Policy" };
    apr_size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (apr_table_get(f->r->err_headers_out, names[i])) {
            apr_table_unset(f->r->headers_out, names[i]);
        }
    }
    ap_remove_output_filter(f);
    return ap_pass_brigade(f->next, bb);
}

static ap_filter_rec_t *fields_filter;

static void on_insert_filter(request_rec *r)
{
    if (r->proxyreq != PROXYREQ_NONE) {
        ap_add_output_filter_handle(fields_filter, NULL, r, r->connection);
    }
}

void core_request_register(apr_pool_t *pool)
{
    fields_filter = ap_register_output_filter("METERPLEX_REQUEST_ID", ours_alone, NULL, AP_FTYPE_CONTENT_SET);
    ap_hook_post_read_request(on_post_read_request, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_translate_name(on_translate_name, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_access_checker(on_access_checker, NULL, NULL, APR_HOOK_LAST);
    ap_hook_fixups(on_fixups, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_post_perdir_config(on_post_perdir_config, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_post_read_request(on_post_read_request_last, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_insert_filter(on_insert_filter, NULL, NULL, APR_HOOK_LAST);
}
