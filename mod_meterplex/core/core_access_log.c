/* core_access_log.c: one JSON object for each request, for mod_log_config:
 *
 *     CustomLog logs/access.json "%{json}^MX"
 *
 * No credential is ever in it: header fields that carry them are not logged, and key texts and secret parameters in targets
 * are replaced.
 */
#include "core_private.h"

#include "apr_strings.h"
#include "mod_log_config.h"

#include "core_path.h"

static void member(mpx_jsonw_t *w, const char *name, const char *value)
{
    if (value) {
        mpx_jsonw_member_string(w, name, value);
    }
}

static void write_identity(request_rec *r, mpx_jsonw_t *w, const mpx_request_t *request)
{
    if (request->principal) {
        member(w, "principal", mpx_principal_text(r->pool, request->principal));
    }
    if (!mpx_uuid_is_nil(&request->call.tenant)) {
        member(w, "tenant", mpx_typeid_format(r->pool, "ten", &request->call.tenant));
    }
}

static const char *log_json(request_rec *r, char *argument)
{
    mpx_request_t *request = mpx_request_get(r);
    mpx_jsonw_t *w = mpx_jsonw_make(r->pool);
    request_rec *last = r;
    char trace[MPX_TRACEPARENT_TEXT], time[MPX_TIME_TEXT];

    while (last->next) {
        last = last->next;
    }
    mpx_traceparent_format(&request->trace, trace);
    mpx_jsonw_object(w);
    member(w, "time", mpx_time_format(r->request_time, time));
    member(w, "request_id", request->id);
    member(w, "trace_id", apr_pstrmemdup(r->pool, trace + 3, 32));
    member(w, "client", r->useragent_ip);
    member(w, "host", core_redact(r->pool, r->hostname));
    member(w, "method", core_redact(r->pool, r->method));
    member(w, "path", core_redact(r->pool, r->unparsed_uri));
    member(w, "protocol", r->protocol);
    member(w, "route", apr_table_get(last->notes, "meterplex-route"));
    mpx_jsonw_member_int(w, "status", last->status);
    mpx_jsonw_member_int(w, "bytes", last->bytes_sent);
    mpx_jsonw_member_int(w, "duration_us", apr_time_now() - r->request_time);
    write_identity(r, w, request);
    if (request->problem.code != MPX_P_NONE) {
        member(w, "problem", mpx_problem_name(request->problem.code));
    }
    member(w, "user_agent", core_redact(r->pool, apr_table_get(r->headers_in, "User-Agent")));
    member(w, "referer", core_redact(r->pool, apr_table_get(r->headers_in, "Referer")));
    mpx_jsonw_end(w);
    return mpx_jsonw_text(w, NULL);
}

static int on_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    APR_OPTIONAL_FN_TYPE(ap_register_log_handler) *add = APR_RETRIEVE_OPTIONAL_FN(ap_register_log_handler);
    if (add) {
        add(pconf, "^MX", log_json, 1);
    }
    return OK;
}

void core_access_log_register(apr_pool_t *pool)
{
    ap_hook_pre_config(on_pre_config, NULL, NULL, APR_HOOK_LAST);
}
