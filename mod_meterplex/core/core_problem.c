/* core_problem.c: every error on our paths as application/problem+json (RFC 9457), httpd's own too. A filter
 * put in by insert_error_filter replaces the page that httpd made. An ErrorDocument is an internal redirect and never comes
 * here: the administrator's wins.
 */
#include "core_private.h"

#include <stdlib.h>

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "mod_core.h"

static ap_filter_rec_t *problem_filter, *precondition_filter;

/* --- Raising ------------------------------------------------------------------------------------------------------------------------ */

int mpx_problem_raise(request_rec *r, mpx_problem_code_e code, const char *format, ...)
{
    mpx_request_t *request = mpx_request_get(r);
    va_list arguments;

    memset(&request->problem, 0, sizeof request->problem);
    request->problem.code = code;
    va_start(arguments, format);
    /* r may be a subrequest, whose pool goes before the problem is told */
    request->problem.detail = apr_pvsprintf(request->call.pool, format, arguments);
    va_end(arguments);
    return mpx_problem_status(code);
}

int mpx_problem_raise_call(request_rec *r, const mpx_call_t *call)
{
    mpx_request_t *request = mpx_request_get(r);
    request->problem = call->problem;
    if (call->problem.retry_after > 0) { /* whoever writes the answer's body */
        apr_table_setn(r->err_headers_out, "Retry-After", apr_itoa(r->pool, call->problem.retry_after));
    }
    return mpx_problem_status(call->problem.code);
}

/* --- Which code a status of httpd's own stands for -------------------------------------------------------------------------------- */

/* MPX_P_NONE: none of the contract's; such a problem is called what the status is called. */
static const struct {
    int status;
    mpx_problem_code_e code;
    const char *detail;
} of_httpd[] = {
    { 400, MPX_P_BAD_REQUEST, "The request cannot be understood." },
    { 401, MPX_P_UNAUTHENTICATED, "This needs a credential." },
    { 403, MPX_P_FORBIDDEN, "This is not allowed." },
    { 404, MPX_P_NOT_FOUND, "There is nothing here." },
    { 405, MPX_P_METHOD_NOT_ALLOWED, "The method is not allowed here." },
    { 408, MPX_P_REQUEST_TIMEOUT, "The request did not arrive in time." },
    { 409, MPX_P_CONFLICT, "The request does not go with the state of what it is for." },
    { 410, MPX_P_NONE, "What was here has gone for good." },
    { 411, MPX_P_NONE, "The request does not say how long its body is." },
    { 412, MPX_P_PRECONDITION_FAILED, "A precondition of the request does not hold." },
    { 413, MPX_P_PAYLOAD_TOO_LARGE, "The request's body is too large." },
    { 414, MPX_P_NONE, "The request's target is too long." },
    { 415, MPX_P_UNSUPPORTED_MEDIA_TYPE, "The media type is not accepted here." },
    { 416, MPX_P_NONE, "Nothing of what is here lies in the range that is asked for." },
    { 429, MPX_P_RATE_LIMITED, "Too many requests." },
    { 431, MPX_P_NONE, "The request's header fields are too large." },
    { 500, MPX_P_INTERNAL, "The request could not be carried out." },
    { 501, MPX_P_NOT_IMPLEMENTED, "The method, or the transfer coding, is not known here." },
    { 502, MPX_P_UPSTREAM_ERROR, "The service behind this address gave no usable answer." },
    { 503, MPX_P_UNAVAILABLE, "The service is temporarily not available." },
    { 504, MPX_P_UPSTREAM_TIMEOUT, "The service behind this address did not answer in time." },
};

static void problem_of_status(int status, mpx_problem_t *problem)
{
    apr_size_t i;
    memset(problem, 0, sizeof *problem);
    problem->detail = status < 500 ? "The request is refused." : "The request could not be carried out.";
    for (i = 0; i < sizeof of_httpd / sizeof *of_httpd; i++) {
        if (of_httpd[i].status == status) {
            problem->code = of_httpd[i].code;
            problem->detail = of_httpd[i].detail;
        }
    }
}

/* --- The document ---------------------------------------------------------------------------------------------------------------------- */

static const char *type_of(apr_pool_t *pool, const char *name)
{
    char *type = apr_pstrcat(pool, "/problems/", name, NULL), *c;
    for (c = type; *c; c++) {
        *c = (char)(*c == '_' ? '-' : *c);
    }
    return type;
}

/* Of a problem without a code: what the status is called, as RFC 9457 section 4.2.1 has it for "about:blank".
 * @return "Gone" for 410 @param code "gone" */
static const char *words_of_status(apr_pool_t *pool, int status, const char **code)
{
    const char *line = ap_get_status_line(status), *title = strchr(line, ' ');
    char *name, *to;

    if (title == NULL || strtol(line, NULL, 10) != status) {
        title = " Error"; /* a status that httpd does not know */
    }
    title = status == 414 ? "URI Too Long" /* RFC 9110; httpd's are older */
        : status == 416   ? "Range Not Satisfiable"
                          : title + 1;
    name = to = apr_pstrdup(pool, title);
    for (line = title; *line; line++) {
        if (apr_isalnum(*line)) {
            *to++ = (char)apr_tolower(*line);
        }
        else if (to > name && to[-1] != '_' && *line != '\'') {
            *to++ = '_';
        }
    }
    *to = '\0';
    *code = name;
    return title;
}

static void write_name(mpx_jsonw_t *w, apr_pool_t *pool, const mpx_problem_t *problem, int status)
{
    const char *code = mpx_problem_name(problem->code), *title = mpx_problem_title(problem->code), *type;

    if (problem->code == MPX_P_NONE) {
        type = "about:blank";
        title = words_of_status(pool, status, &code);
    }
    else {
        type = type_of(pool, code);
    }
    mpx_jsonw_member_string(w, "type", type);
    mpx_jsonw_member_string(w, "title", title);
    mpx_jsonw_member_int(w, "status", status);
    mpx_jsonw_member_string(w, "code", code);
}

static void write_errors(mpx_jsonw_t *w, const apr_array_header_t *errors)
{
    int i;
    mpx_jsonw_key(w, "errors");
    mpx_jsonw_array(w);
    for (i = 0; i < errors->nelts; i++) {
        const mpx_field_error_t *e = &APR_ARRAY_IDX(errors, i, mpx_field_error_t);
        mpx_jsonw_object(w);
        mpx_jsonw_member_string(w, "pointer", e->pointer);
        mpx_jsonw_member_string(w, "code", e->code);
        mpx_jsonw_member_string(w, "detail", e->detail);
        mpx_jsonw_end(w);
    }
    mpx_jsonw_end(w);
}

const char *core_problem_text(request_rec *r, const mpx_request_t *request, const mpx_problem_t *problem, int status,
                              apr_size_t *len)
{
    mpx_jsonw_t *w = mpx_jsonw_make(r->pool);
    const request_rec *first = r;
    const char *text;

    while (first->prev) {
        first = first->prev;
    }
    mpx_jsonw_object(w);
    write_name(w, r->pool, problem, status);
    mpx_jsonw_member_string(w, "detail", problem->detail);
    if (first->uri) {
        mpx_jsonw_member_string(w, "instance", first->uri);
    }
    mpx_jsonw_member_string(w, "request_id", request->id);
    if (problem->errors) {
        write_errors(w, problem->errors);
    }
    if (problem->violated_policies) {
        mpx_jsonw_member_raw(w, "violated-policies", problem->violated_policies, strlen(problem->violated_policies));
    }
    mpx_jsonw_end(w);
    text = mpx_jsonw_line(w, NULL);
    *len = strlen(text);
    return text;
}

/* RFC 6750 section 3: an error is named only when a credential was given. */
static const char *challenge(const mpx_problem_t *problem)
{
    return problem->code == MPX_P_UNAUTHENTICATED ? "Bearer realm=\"meterplex\""
                                                  : "Bearer realm=\"meterplex\", error=\"invalid_token\"";
}

void core_problem_fields(request_rec *r, const mpx_problem_t *problem, int status)
{
    apr_table_t *out = r->err_headers_out;
    if (problem->retry_after > 0 || status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(out, "Retry-After", apr_itoa(r->pool, problem->retry_after > 0 ? problem->retry_after : 1));
    }
    /* another module's, or a backend's, stays: it is in headers_out where httpd has begun on its own page already */
    if (status == HTTP_UNAUTHORIZED && !apr_table_get(out, "WWW-Authenticate")
        && !apr_table_get(r->headers_out, "WWW-Authenticate")) {
        apr_table_setn(out, "WWW-Authenticate", challenge(problem));
    }
    apr_table_setn(out, "Cache-Control", "no-store");
}

static apr_status_t write_problem(ap_filter_t *f, apr_bucket_brigade *bb)
{
    request_rec *r = f->r;
    mpx_request_t *request = mpx_request_get(r);
    mpx_problem_t problem = request->problem;
    apr_bucket_brigade *ours;
    const char *text;
    apr_size_t len;

    apr_brigade_cleanup(bb);
    if (f->ctx) {
        return APR_SUCCESS; /* the rest of the page that ours replaces */
    }
    f->ctx = f;
    if (r->status == HTTP_UNAUTHORIZED && problem.code && mpx_problem_status(problem.code) == HTTP_FORBIDDEN) {
        /* A Require line has refused someone who is known. mod_authz_core says 401 unless AuthzSendForbiddenOnFailure is On;
         * RFC 9110 section 15.5.4 says 403. */
        r->status = HTTP_FORBIDDEN;
        r->status_line = NULL;
        apr_table_unset(r->err_headers_out, "WWW-Authenticate");
        apr_table_unset(r->headers_out, "WWW-Authenticate");
    }
    if (r->status == HTTP_FORBIDDEN && request->unknown && request->allowed != r) {
        /* Authorization has said no because an expression found nobody, or nobody could be found: httpd has asked for no
         * authentication then, and the answer is what that would have said. */
        problem = request->call.problem;
        if (request->auth_status == APR_SUCCESS) {
            memset(&problem, 0, sizeof problem);
            problem.code = MPX_P_UNAUTHENTICATED;
            problem.detail = "This needs a credential: Authorization: Bearer, or X-API-Key.";
        }
        request->problem = problem;
        r->status = mpx_problem_status(problem.code);
        r->status_line = NULL;
    }
    if (r->status == HTTP_BAD_GATEWAY && apr_table_get(r->notes, "proxy_timedout")) {
        r->status = HTTP_GATEWAY_TIME_OUT; /* mod_proxy_http tells the two apart in this note only */
        r->status_line = NULL;
    }
    if (problem.code == MPX_P_NONE || mpx_problem_status(problem.code) != r->status) {
        problem_of_status(r->status, &problem);
    }
    core_problem_fields(r, &problem, r->status);
    apr_table_setn(r->err_headers_out, "X-Request-Id", request->id);
    text = core_problem_text(r, request, &problem, r->status, &len);
    /* httpd has laid err_headers_out over headers_out already: what was set since goes into both. */
    apr_table_overlap(r->headers_out, r->err_headers_out, APR_OVERLAP_TABLES_SET);
    apr_table_clear(r->err_headers_out);
    apr_table_unset(r->headers_out, "Content-Encoding");
    apr_table_unset(r->headers_out, "ETag");
    apr_table_unset(r->headers_out, "Last-Modified");
    ap_set_content_type(r, "application/problem+json");
    ap_set_content_length(r, (apr_off_t)len);
    ours = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    if (!r->header_only) {
        APR_BRIGADE_INSERT_TAIL(ours, apr_bucket_pool_create(text, len, r->pool, r->connection->bucket_alloc));
    }
    APR_BRIGADE_INSERT_TAIL(ours, apr_bucket_eos_create(r->connection->bucket_alloc));
    return ap_pass_brigade(f->next, ours);
}

int core_problem_is_told(request_rec *r)
{
    const core_dir_t *dir = r->per_dir_config ? ap_get_module_config(r->per_dir_config, &meterplex_module) : NULL;
    const char *auth;

    if (mpx_request_get(r)->placed == MPX_LOCATED && mpx_request_get(r)->located == r) {
        return mpx_request_get(r)->told; /* where an error document fails, the first request answers, which had its place */
    }
    if (dir && dir->problem >= 0) {
        return dir->problem;
    }
    if (mpx_request_get(r)->placed == MPX_NOWHERE) {
        return 1; /* malformed, or not arrived in time: which section it was meant for nobody knows */
    }
    if (mpx_request_get(r)->problem.code != MPX_P_NONE || (r->handler && strcmp(r->handler, "meterplex-api") == 0)) {
        return 1;
    }
    auth = r->per_dir_config ? ap_auth_type(r) : NULL;
    return auth && ap_cstr_casecmp(auth, "Meterplex") == 0;
}

/* ErrorDocument with a text; one with an address is a redirect, and its status the page's. */
static int has_text_of_its_own(request_rec *r)
{
    const char *custom = ap_response_code_string(r, ap_index_of_response(r->status));

    return custom && *custom != '/' && !ap_is_url(custom);
}

static void on_insert_error_filter(request_rec *r)
{
    if (r->status >= 400 && core_problem_is_told(r) && !has_text_of_its_own(r)) {
        ap_add_output_filter_handle(problem_filter, NULL, r, r->connection);
    }
}

/* For a file that does not meet If-Match, httpd's handler sets the status and sends nothing: no error is raised, so that no
 * error filter is asked for. */
static apr_status_t write_precondition(ap_filter_t *f, apr_bucket_brigade *bb)
{
    int is_empty = 1;
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = APR_BUCKET_NEXT(b)) {
        is_empty = is_empty && APR_BUCKET_IS_METADATA(b);
    }
    /* what another handler says, or a backend that SetHandler names, is its own */
    if (f->r->status == HTTP_PRECONDITION_FAILED && f->r->proxyreq == PROXYREQ_NONE && is_empty
        && !has_text_of_its_own(f->r)) {
        return write_problem(f, bb);
    }
    ap_remove_output_filter(f);
    return ap_pass_brigade(f->next, bb);
}

static void on_insert_filter(request_rec *r)
{
    const char *handler = r->handler ? r->handler : "";

    if (r->main == NULL && r->proxyreq == PROXYREQ_NONE && strcmp(handler, "meterplex-api") != 0
        && (apr_table_get(r->headers_in, "If-Match") || apr_table_get(r->headers_in, "If-Unmodified-Since"))
        && core_problem_is_told(r)) {
        ap_add_output_filter_handle(precondition_filter, NULL, r, r->connection);
    }
}

void core_problem_register(apr_pool_t *pool)
{
    precondition_filter =
        ap_register_output_filter("METERPLEX_PRECONDITION", write_precondition, NULL, AP_FTYPE_CONTENT_SET);
    ap_hook_insert_filter(on_insert_filter, NULL, NULL, APR_HOOK_LAST);
    problem_filter = ap_register_output_filter("METERPLEX_PROBLEM", write_problem, NULL, AP_FTYPE_CONTENT_SET);
    ap_hook_insert_error_filter(on_insert_error_filter, NULL, NULL, APR_HOOK_LAST);
}
