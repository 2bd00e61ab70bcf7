/* usage_http_events.c: routes of events: ingest in five forms, and the raw listing. */
#include "usage_private.h"

#include "apr_lib.h"
#include "apr_strings.h"

#include "usage_events.h"
#include "usage_ingest.h"

#define EVENTS_MAX 10000
#define AHEAD apr_time_from_sec(24 * 3600)
#define BEHIND apr_time_from_sec(APR_INT64_C(35) * 24 * 3600)

/* --- Ingest -------------------------------------------------------------------------------------------------------------------------- */

/* The CloudEvents attributes of binary mode: "ce-" fields, first taken out of double quotes where they stand in such, then
 * percent-decoded (CloudEvents HTTP binding 1.0.2 section 3.1.3.2). */
typedef struct attributes {
    apr_pool_t *pool;
    apr_table_t *out;
    int malformed;
} attributes_t;

/* A quoted-string (RFC 9110 section 5.6.4) as what it says; anything else as it is. */
static char *unquoted(apr_pool_t *pool, const char *value)
{
    char *copy = apr_pstrdup(pool, value), *from, *to = copy;

    if (*value != '"') {
        return copy;
    }
    for (from = copy + 1; *from && *from != '"'; from++) {
        from += *from == '\\' && from[1];
        *to++ = *from;
    }
    if (from[0] != '"' || from[1] != '\0') {
        return apr_pstrdup(pool, value);
    }
    *to = '\0';
    return copy;
}

static int take_attribute(void *baton, const char *name, const char *value)
{
    attributes_t *a = baton;
    char *decoded, *key;
    char *from, *to;

    if (ap_cstr_casecmpn(name, "ce-", 3) != 0) {
        return 1;
    }
    decoded = unquoted(a->pool, value);
    for (from = to = decoded; *from; from++) {
        if (*from == '%' && apr_isxdigit(from[1]) && apr_isxdigit(from[2])) {
            char hex[3] = { from[1], from[2], '\0' };
            *to++ = (char)strtol(hex, NULL, 16);
            from += 2;
        }
        else {
            a->malformed |= *from == '%';
            *to++ = *from;
        }
    }
    a->malformed |= memchr(decoded, '\0', (apr_size_t)(to - decoded)) != NULL;
    *to = '\0';
    key = apr_pstrdup(a->pool, name + 3);
    ap_str_tolower(key);
    apr_table_addn(a->out, key, decoded);
    return 1;
}

static apr_status_t read_binary(mpx_http_t *http, const mpx_event_rules_t *rules, apr_array_header_t *events,
                                apr_array_header_t *errors)
{
    attributes_t a = { http->call->pool, apr_table_make(http->call->pool, 8), 0 };
    const mpx_json_t *data = NULL;
    apr_status_t rv;

    apr_table_do(take_attribute, &a, http->r->headers_in, NULL);
    if (a.malformed) {
        return mpx_fail(http->call, MPX_P_BAD_REQUEST, "A ce- field has a malformed percent-escape.");
    }
    if (http->body_len) {
        if (http->media_type == NULL || strcmp(http->media_type, "application/json") != 0) {
            return mpx_fail(http->call, MPX_P_UNSUPPORTED_MEDIA_TYPE, "An event's data must be sent as application/json.");
        }
        rv = mpx_http_json(http, &data);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    mpx_event_read_binary(http->call->pool, a.out, data, rules, events, errors);
    return APR_SUCCESS;
}

static apr_status_t read_ndjson(mpx_http_t *http, const mpx_event_rules_t *rules, apr_array_header_t *events,
                                apr_array_header_t *errors)
{
    mpx_json_error_t syntax = { 0, "" };
    if (mpx_events_read_ndjson(http->call->pool, http->body, http->body_len, rules, events, errors, &syntax) < 0) {
        return mpx_fail(http->call, MPX_P_BAD_JSON, "A line is not acceptable JSON: %s at byte %" APR_SIZE_T_FMT ".",
                        syntax.message, syntax.offset);
    }
    return APR_SUCCESS;
}

/* CloudEvents HTTP binding 1.0.2 section 3: with another media type, its fields make it binary. Any of those that every
 * event has: who forgets one is told so, and does not have the others passed over. */
static int has_ce_fields(const request_rec *r)
{
    static const char *const required[] = { "ce-id", "ce-source", "ce-type", "ce-specversion" };
    int i;

    for (i = 0; i < 4 && apr_table_get(r->headers_in, required[i]) == NULL; i++) {
    }
    return i < 4;
}

/* One of the five forms, told by the media type, and binary mode by ce- fields. */
static apr_status_t read_events(mpx_http_t *http, const mpx_event_rules_t *rules, apr_array_header_t *events,
                                apr_array_header_t *errors)
{
    const char *type = http->media_type ? http->media_type : "";
    int structured = strcmp(type, "application/cloudevents+json") == 0;
    int batch = strcmp(type, "application/cloudevents-batch+json") == 0;
    const mpx_json_t *body;
    apr_status_t rv;

    if (!structured && !batch && has_ce_fields(http->r)) {
        return read_binary(http, rules, events, errors);
    }
    if (strcmp(type, "application/x-ndjson") == 0) {
        return read_ndjson(http, rules, events, errors);
    }
    if (!structured && !batch && strcmp(type, "application/json") != 0) {
        return mpx_fail(http->call, MPX_P_UNSUPPORTED_MEDIA_TYPE,
                        "Events are sent as application/json, application/cloudevents+json, "
                        "application/cloudevents-batch+json, application/x-ndjson, or with ce- fields.");
    }
    rv = mpx_http_json(http, &body);
    if (rv == APR_SUCCESS) {
        mpx_events_read(http->call->pool, body, structured || batch, !structured, !batch, rules, events, errors);
    }
    return rv;
}

static apr_status_t set_rules(mpx_http_t *http, mpx_event_rules_t *rules)
{
    const char *backfill = apr_table_get(http->query, "backfill");

    rules->now = apr_time_now();
    rules->ahead = AHEAD;
    rules->behind = BEHIND;
    rules->max_events = EVENTS_MAX;
    rules->json = *mpx_json_limits();
    if (backfill == NULL || strcmp(backfill, "false") == 0) {
        return APR_SUCCESS;
    }
    if (strcmp(backfill, "true") != 0) {
        return mpx_fail(http->call, MPX_P_BAD_REQUEST, "backfill must be true or false.");
    }
    if (!mpx_principal_has(http->call->principal, "usage:backfill")) {
        return mpx_fail(http->call, MPX_P_INSUFFICIENT_SCOPE, "This needs the scope usage:backfill.");
    }
    rules->behind = -1;
    return APR_SUCCESS;
}

static apr_status_t post_events(mpx_http_t *http)
{
    apr_array_header_t *events = apr_array_make(http->call->pool, 1024, sizeof(mpx_event_t));
    apr_array_header_t *errors = apr_array_make(http->call->pool, 4, sizeof(mpx_field_error_t));
    usage_ingest_result_t result;
    mpx_event_rules_t rules;
    mpx_jsonw_t *w;
    apr_status_t rv = set_rules(http, &rules);

    if (rv == APR_SUCCESS) {
        rv = read_events(http, &rules, events, errors);
    }
    if (rv == APR_SUCCESS && errors->nelts) {
        rv = mpx_fail_fields(http->call, errors);
    }
    if (rv == APR_SUCCESS) {
        rv = usage_ingest(http->call, (const mpx_event_t *)events->elts, events->nelts, NULL, &result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    w = mpx_jsonw_make(http->call->pool);
    mpx_jsonw_object(w);
    mpx_jsonw_member_int(w, "accepted", result.accepted);
    mpx_jsonw_member_int(w, "duplicates", result.duplicates);
    mpx_jsonw_end(w);
    return mpx_reply_json(http, HTTP_OK, w);
}

/* --- Listing ---------------------------------------------------------------------------------------------------------------------------- */

static void write_event(mpx_jsonw_t *w, apr_pool_t *pool, const usage_event_t *e)
{
    char time[MPX_TIME_TEXT];
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "event_id", mpx_typeid_format(pool, "evt", &e->event_id));
    mpx_jsonw_member_string(w, "specversion", "1.0");
    mpx_jsonw_member_string(w, "id", e->id);
    mpx_jsonw_member_string(w, "source", e->source);
    mpx_jsonw_member_string(w, "type", e->type);
    mpx_jsonw_member_string(w, "subject", e->subject);
    mpx_jsonw_member_string(w, "time", mpx_time_format(e->time, time));
    mpx_jsonw_member_int(w, "occurrences", e->occurrences);
    if (e->data) {
        mpx_jsonw_member_raw(w, "data", e->data, strlen(e->data));
    }
    else {
        mpx_jsonw_member_null(w, "data");
    }
    mpx_jsonw_end(w);
}

static void write_row(mpx_jsonw_t *w, apr_pool_t *pool, const void *row)
{
    write_event(w, pool, row);
}

static const char *row_key(apr_pool_t *pool, const void *row)
{
    return usage_event_key(pool, row);
}

static apr_status_t get_events(mpx_http_t *http)
{
    usage_event_filter_t filter = { 0 };
    apr_array_header_t *events = NULL;
    const char *bound_to;
    mpx_page_t page;
    apr_status_t rv = mpx_http_time(http, "from", &filter.from, &filter.has_from);

    if (rv == APR_SUCCESS) {
        rv = mpx_http_time(http, "to", &filter.to, &filter.has_to);
    }
    filter.type = apr_table_get(http->query, "type");
    filter.subject = apr_table_get(http->query, "subject");
    filter.source = apr_table_get(http->query, "source");
    filter.id = apr_table_get(http->query, "id");
    bound_to = apr_psprintf(http->call->pool, "%" APR_INT64_T_FMT "|%" APR_INT64_T_FMT "|%s|%s|%s|%s", filter.from,
                            filter.to, filter.type ? filter.type : "", filter.subject ? filter.subject : "",
                            filter.source ? filter.source : "", filter.id ? filter.id : "");
    if (rv == APR_SUCCESS) {
        rv = mpx_http_page(http, bound_to, &page);
    }
    if (rv == APR_SUCCESS) {
        rv = usage_event_list(http->call, &filter, &page, &events);
    }
    return rv == APR_SUCCESS ? mpx_reply_list(http, &page, events, write_row, row_key) : rv;
}

const mpx_route_t usage_event_routes[] = {
    { "POST", "/v1/usage/events", "usage:write", MPX_ROUTE_ANY_MEDIA | MPX_ROUTE_EVENTS | MPX_ROUTE_CE, post_events,
      "backfill" },
    { "GET", "/v1/usage/events", "usage:read", 0, get_events, "from to type subject source id limit cursor" },
    { NULL, NULL, NULL, 0, NULL, NULL }
};
