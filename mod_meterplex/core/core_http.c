/* core_http.c: what handlers read of a request and say in an answer. */
#include "core_private.h"

#include "apr_lib.h"
#include "apr_strings.h"

#include "core_path.h"

#define PAGE_DEFAULT 50
#define PAGE_MAX 200

apr_status_t mpx_http_json(mpx_http_t *http, const mpx_json_t **body)
{
    mpx_json_error_t error = { 0, "" };
    mpx_json_t *root;

    if (http->body == NULL || http->body_len == 0) {
        return mpx_fail(http->call, MPX_P_BAD_JSON, "The request has no body; JSON is expected.");
    }
    if (mpx_json_parse(http->call->pool, http->body, http->body_len, mpx_json_limits(), &root, &error) != APR_SUCCESS) {
        return mpx_fail(http->call, MPX_P_BAD_JSON, "The body is not acceptable JSON: %s at byte %" APR_SIZE_T_FMT ".",
                        error.message, error.offset);
    }
    *body = root;
    return APR_SUCCESS;
}

apr_status_t mpx_http_read(mpx_http_t *http, const mpx_field_t *fields, void *target, apr_array_header_t **errors)
{
    const mpx_json_t *body = NULL;
    apr_status_t rv = mpx_http_json(http, &body);

    if (rv == APR_SUCCESS) {
        *errors = apr_array_make(http->call->pool, 4, sizeof(mpx_field_error_t));
        mpx_schema_read(http->call->pool, body, "", fields, target, *errors);
    }
    return rv;
}

apr_status_t mpx_http_fields(mpx_http_t *http, const mpx_field_t *fields, void *target)
{
    apr_array_header_t *errors;
    apr_status_t rv = mpx_http_read(http, fields, target, &errors);

    return rv == APR_SUCCESS && errors->nelts ? mpx_fail_fields(http->call, errors) : rv;
}

/* @param names  as in mpx_route_t */
static int name_allowed(const char *name, const char *names)
{
    apr_size_t given = strlen(name), len;

    for (; names && *names; names += len + strspn(names + len, " ")) {
        len = strcspn(names, " ");
        if (len == given && memcmp(names, name, len) == 0) {
            return 1;
        }
        if (names[len - 1] == '[' && given > len && strncmp(name, names, len) == 0 && name[given - 1] == ']') {
            return 1;
        }
    }
    return 0;
}

apr_status_t core_query_check(mpx_http_t *http)
{
    const apr_array_header_t *given = apr_table_elts(http->query);
    int i;
    for (i = 0; i < given->nelts; i++) {
        const char *name = APR_ARRAY_IDX(given, i, apr_table_entry_t).key;
        if (!name_allowed(name, http->route->query)) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "The query parameter \"%s\" is not known here.", name);
        }
    }
    return APR_SUCCESS;
}

apr_status_t mpx_http_page(mpx_http_t *http, const char *filters, mpx_page_t *page)
{
    const char *limit = apr_table_get(http->query, "limit"), *cursor = apr_table_get(http->query, "cursor");
    char tenant[MPX_UUID_TEXT];
    int i, nkeys;

    page->limit = PAGE_DEFAULT;
    page->after = NULL;
    page->scope = apr_pstrcat(http->call->pool, http->route->pattern, " ", mpx_uuid_format(&http->call->tenant, tenant), " ",
                              filters, NULL);
    if (limit) {
        apr_size_t digits = strspn(limit, "0123456789");
        page->limit = digits && digits <= 4 && limit[digits] == '\0' ? (int)strtol(limit, NULL, 10) : 0;
        if (page->limit < 1 || page->limit > PAGE_MAX) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "limit must be a whole number from 1 to %d.", PAGE_MAX);
        }
    }
    if (cursor) {
        const mpx_rootkey_t *keys = mpx_rootkeys(&nkeys); /* made under a key that is being rotated out: good, too */
        for (i = 0; i < nkeys && page->after == NULL; i++) {
            page->after = mpx_cursor_open(http->call->pool, &keys[i], page->scope, cursor);
        }
        if (page->after == NULL) {
            return mpx_fail(http->call, MPX_P_BAD_CURSOR, "The cursor was not made by this list with these filters.");
        }
    }
    return APR_SUCCESS;
}

apr_status_t mpx_http_time(mpx_http_t *http, const char *name, apr_time_t *out, int *given)
{
    const char *text = apr_table_get(http->query, name);
    *given = text != NULL;
    if (text && !mpx_time_parse(text, strlen(text), out)) {
        return mpx_fail(http->call, MPX_P_BAD_REQUEST,
                        "%s must be an RFC 3339 time, for instance 2026-01-31T12:00:00Z (write \"+\" as %%2B).", name);
    }
    return APR_SUCCESS;
}

apr_status_t mpx_http_id(mpx_http_t *http, const char *param, const char *prefix, mpx_uuid_t *out)
{
    const char *text = apr_table_get(http->params, param);
    return text && mpx_typeid_parse(text, prefix, out) ? APR_SUCCESS
                                                       : mpx_fail(http->call, MPX_P_NOT_FOUND, "There is nothing here.");
}

/* --- Answers ----------------------------------------------------------------------------------------------------------------------- */

apr_status_t mpx_reply_text(mpx_http_t *http, int status, const char *type, const char *text, apr_size_t len)
{
    http->status = status;
    http->reply_type = type;
    http->reply = text;
    http->reply_len = len;
    return APR_SUCCESS;
}

apr_status_t mpx_reply_json(mpx_http_t *http, int status, mpx_jsonw_t *json)
{
    apr_size_t len;
    const char *text = mpx_jsonw_line(json, &len);
    return mpx_reply_text(http, status, "application/json", text, len);
}

apr_status_t mpx_reply_empty(mpx_http_t *http, int status)
{
    return mpx_reply_text(http, status, NULL, NULL, 0);
}

apr_status_t mpx_reply_list(mpx_http_t *http, const mpx_page_t *page, const apr_array_header_t *rows,
                            mpx_row_write_fn *write, mpx_row_key_fn *key)
{
    apr_pool_t *pool = http->call->pool;
    mpx_jsonw_t *w = mpx_jsonw_make(pool);
    const char *next = NULL;
    const void *last = NULL;
    apr_size_t len = 0;
    int i;

    mpx_jsonw_object(w);
    mpx_jsonw_key(w, "data");
    mpx_jsonw_array(w);
    for (i = 0; i < rows->nelts && i < page->limit && len <= MPX_PAGE_MAX; i++) {
        last = rows->elts + (apr_size_t)i * (apr_size_t)rows->elt_size;
        write(w, pool, last);
        mpx_jsonw_text(w, &len);
    }
    mpx_jsonw_end(w);
    if (rows->nelts > i && last && http->call->rootkey) {
        next = mpx_cursor_make(pool, http->call->rootkey, page->scope, key(pool, last));
    }
    mpx_jsonw_member_string(w, "next_cursor", next);
    mpx_jsonw_end(w);
    return mpx_reply_json(http, HTTP_OK, w);
}

void mpx_reply_location(mpx_http_t *http, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ((core_exchange_t *)http)->location = apr_pvsprintf(http->call->pool, format, arguments);
    va_end(arguments);
}

void mpx_reply_etag(mpx_http_t *http, const mpx_uuid_t *id, apr_int64_t version)
{
    char text[CORE_ETAG_TEXT];
    ((core_exchange_t *)http)->etag = apr_pstrdup(http->call->pool, core_etag_text(id, version, text));
}

const char *mpx_http_if_match(mpx_http_t *http)
{
    return apr_table_get(http->r->headers_in, "If-Match");
}

void core_reply_problem(core_exchange_t *exchange)
{
    mpx_http_t *http = &exchange->http;
    mpx_problem_t *problem = &http->call->problem;
    int status = mpx_problem_status(problem->code);
    apr_size_t len;
    const char *text;

    http->request->problem = *problem;
    exchange->location = exchange->etag = NULL;
    core_problem_fields(http->r, problem, status);
    text = core_problem_text(http->r, http->request, problem, status, &len);
    mpx_reply_text(http, status, "application/problem+json", text, len);
}
