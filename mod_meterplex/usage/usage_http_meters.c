/* usage_http_meters.c: routes of meters and of their usage. */
#include "usage_private.h"

#include "apr_strings.h"

#include "usage_meters.h"

/* --- Bodies ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct meter_body {
    apr_uint64_t present;
    const char *key, *name, *event_type, *aggregation, *value_property, *unit, *scope;
    apr_table_t *group_by;
    const mpx_json_t *filters;
    int archived;
} meter_body_t;

static const char *const scopes[] = { "tenant", "all", NULL };

static const char *check_dimension_name(const char *text, apr_size_t len, const char **detail)
{
    apr_size_t i;
    for (i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'
              || c == '.')) {
            break;
        }
    }
    if (i == len && len >= 1 && len <= 64) {
        return NULL;
    }
    *detail = "A name is 1 to 64 of letters, digits and _ - .";
    return "pattern";
}

static const mpx_field_t create_fields[] = {
    { "key", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 63, mpx_check_slug, NULL, NULL, offsetof(meter_body_t, key) },
    { "name", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 200, mpx_check_line, NULL, NULL, offsetof(meter_body_t, name) },
    { "event_type", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 128, mpx_check_line, NULL, NULL,
      offsetof(meter_body_t, event_type) },
    { "aggregation", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 20, NULL, usage_aggregations, NULL,
      offsetof(meter_body_t, aggregation) },
    { "value_property", MPX_FIELD_STRING, MPX_FIELD_NULLABLE, 1, 256, mpx_check_line, NULL, NULL,
      offsetof(meter_body_t, value_property) },
    { "group_by", MPX_FIELD_STRING_MAP, MPX_FIELD_NULLABLE, 0, USAGE_DIMENSIONS_MAX, check_dimension_name, NULL, NULL,
      offsetof(meter_body_t, group_by) },
    { "filters", MPX_FIELD_OBJECT, MPX_FIELD_NULLABLE, 0, 65536, NULL, NULL, NULL, offsetof(meter_body_t, filters) },
    { "unit", MPX_FIELD_STRING, MPX_FIELD_NULLABLE, 1, 64, mpx_check_line, NULL, NULL, offsetof(meter_body_t, unit) },
    { "scope", MPX_FIELD_STRING, 0, 1, 10, NULL, scopes, NULL, offsetof(meter_body_t, scope) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

enum { PATCH_NAME,
       PATCH_UNIT,
       PATCH_ARCHIVED };
static const mpx_field_t patch_fields[] = {
    { "name", MPX_FIELD_STRING, 0, 1, 200, mpx_check_line, NULL, NULL, offsetof(meter_body_t, name) },
    { "unit", MPX_FIELD_STRING, MPX_FIELD_NULLABLE, 1, 64, mpx_check_line, NULL, NULL, offsetof(meter_body_t, unit) },
    { "archived", MPX_FIELD_BOOL, 0, 0, 0, NULL, NULL, NULL, offsetof(meter_body_t, archived) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static int write_dimension(void *w, const char *name, const char *path)
{
    mpx_jsonw_member_string(w, name, path);
    return 1;
}

static const char *map_text(apr_pool_t *pool, const apr_table_t *map)
{
    mpx_jsonw_t *w = mpx_jsonw_make(pool);
    mpx_jsonw_object(w);
    if (map) {
        apr_table_do(write_dimension, w, map, NULL);
    }
    mpx_jsonw_end(w);
    return mpx_jsonw_text(w, NULL);
}

/* --- Answers ------------------------------------------------------------------------------------------------------------------------------ */

static void write_meter(mpx_jsonw_t *w, apr_pool_t *pool, const usage_meter_t *m, const apr_int64_t *invalid)
{
    char time[MPX_TIME_TEXT];
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "id", mpx_typeid_format(pool, "mtr", &m->id));
    mpx_jsonw_member_string(w, "key", m->key);
    mpx_jsonw_member_string(w, "name", m->name);
    mpx_jsonw_member_string(w, "event_type", m->event_type);
    mpx_jsonw_member_string(w, "aggregation", m->aggregation);
    mpx_jsonw_member_string(w, "value_property", m->value_property);
    mpx_jsonw_member_raw(w, "group_by", m->group_by, strlen(m->group_by));
    mpx_jsonw_member_raw(w, "filters", m->filters, strlen(m->filters));
    mpx_jsonw_member_string(w, "unit", m->unit);
    mpx_jsonw_member_string(w, "scope", m->scope);
    mpx_jsonw_member_bool(w, "archived", m->archived);
    mpx_jsonw_member_string(w, "created_at", mpx_time_format(m->created_at, time));
    mpx_jsonw_member_string(w, "updated_at", mpx_time_format(m->updated_at, time));
    if (invalid) {
        mpx_jsonw_key(w, "status");
        mpx_jsonw_object(w);
        mpx_jsonw_member_string(w, "state", "ready");
        mpx_jsonw_member_int(w, "invalid", *invalid);
        mpx_jsonw_end(w);
    }
    mpx_jsonw_end(w);
}

static apr_status_t reply_meter(mpx_http_t *http, int status, const usage_meter_t *m, const apr_int64_t *invalid)
{
    mpx_jsonw_t *w = mpx_jsonw_make(http->call->pool);
    write_meter(w, http->call->pool, m, invalid);
    mpx_reply_etag(http, &m->id, m->version);
    return mpx_reply_json(http, status, w);
}

/* --- Meters --------------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t post_meter(mpx_http_t *http)
{
    apr_pool_t *pool = http->call->pool;
    apr_array_header_t *errors;
    meter_body_t body = { .scope = "tenant" };
    usage_meter_t meter = { .version = 0 };
    apr_status_t rv = mpx_http_read(http, create_fields, &body, &errors);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    usage_meter_check(pool, body.aggregation, body.value_property, body.group_by, body.filters, errors);
    if (errors->nelts) {
        return mpx_fail_fields(http->call, errors);
    }
    meter.key = body.key;
    meter.name = body.name;
    meter.event_type = body.event_type;
    meter.aggregation = body.aggregation;
    meter.value_property = body.value_property;
    meter.group_by = map_text(pool, body.group_by);
    meter.filters = body.filters ? apr_pstrmemdup(pool, body.filters->text, body.filters->len) : "{}";
    meter.unit = body.unit;
    meter.scope = body.scope;
    rv = usage_meter_create(http->call, &meter);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    mpx_reply_location(http, "/v1/meters/%s", meter.key);
    return reply_meter(http, HTTP_CREATED, &meter, NULL);
}

static void write_row(mpx_jsonw_t *w, apr_pool_t *pool, const void *row)
{
    write_meter(w, pool, row, NULL);
}

static const char *row_key(apr_pool_t *pool, const void *row)
{
    return ((const usage_meter_t *)row)->key;
}

static apr_status_t get_meters(mpx_http_t *http)
{
    apr_array_header_t *meters = NULL;
    mpx_page_t page;
    apr_status_t rv = mpx_http_page(http, NULL, &page);

    if (rv == APR_SUCCESS) {
        rv = usage_meter_list(http->call, &page, &meters);
    }
    return rv == APR_SUCCESS ? mpx_reply_list(http, &page, meters, write_row, row_key) : rv;
}

static const char *key_of(mpx_http_t *http)
{
    return apr_table_get(http->params, "meter");
}

static apr_status_t get_meter(mpx_http_t *http)
{
    usage_meter_t meter;
    apr_int64_t invalid;
    apr_status_t rv = usage_meter_get(http->call, key_of(http), &meter);

    if (rv == APR_SUCCESS) {
        rv = usage_meter_invalid(http->call, &meter, &invalid);
    }
    return rv == APR_SUCCESS ? reply_meter(http, HTTP_OK, &meter, &invalid) : rv;
}

static apr_status_t patch_meter(mpx_http_t *http)
{
    meter_body_t body = { .archived = 0 };
    usage_meter_change_t change = { NULL, 0, NULL, -1 };
    usage_meter_t meter;
    apr_status_t rv = mpx_http_fields(http, patch_fields, &body);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    change.name = body.name;
    change.set_unit = (int)(body.present >> PATCH_UNIT & 1);
    change.unit = body.unit;
    change.archived = body.present >> PATCH_ARCHIVED & 1 ? body.archived : -1;
    rv = usage_meter_update(http->call, key_of(http), mpx_http_if_match(http), &change, &meter);
    return rv == APR_SUCCESS ? reply_meter(http, HTTP_OK, &meter, NULL) : rv;
}

static apr_status_t delete_meter(mpx_http_t *http)
{
    apr_status_t rv = usage_meter_delete(http->call, key_of(http), mpx_http_if_match(http));
    return rv == APR_SUCCESS ? mpx_reply_empty(http, HTTP_NO_CONTENT) : rv;
}

/* --- Usage ----------------------------------------------------------------------------------------------------------------------------------- */

static int is_listed(const apr_array_header_t *names, const char *name)
{
    int i;
    for (i = 0; i < names->nelts && strcmp(APR_ARRAY_IDX(names, i, const char *), name) != 0; i++) {
    }
    return i < names->nelts;
}

static apr_status_t read_group_by(mpx_http_t *http, const mpx_json_t *dimensions, usage_query_t *q)
{
    const char *given = apr_table_get(http->query, "group_by");
    char *list, *name, *state = NULL;

    q->group_by = apr_array_make(http->call->pool, 4, sizeof(const char *));
    list = apr_pstrdup(http->call->pool, given ? given : "");
    for (name = apr_strtok(list, ",", &state); name; name = apr_strtok(NULL, ",", &state)) {
        int subject = strcmp(name, "subject") == 0 && mpx_json_member(dimensions, name) == NULL;
        if (subject ? q->by_subject : is_listed(q->group_by, name)) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "group_by: \"%s\" is named twice.", name);
        }
        if (subject) {
            q->by_subject = 1;
        }
        else if (mpx_json_member(dimensions, name) == NULL) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "group_by: \"%s\" is no dimension of this meter.", name);
        }
        else {
            APR_ARRAY_PUSH(q->group_by, const char *) = name;
        }
    }
    return APR_SUCCESS;
}

/* The values between commas; a backslash takes the next character as it is, so that a value may hold a comma. An empty
 * text is one empty value. */
static apr_array_header_t *split_values(apr_pool_t *pool, const char *text)
{
    apr_array_header_t *values = apr_array_make(pool, 4, sizeof(const char *));
    char *copy = apr_palloc(pool, strlen(text) + 1), *to = copy;

    for (;; text++) {
        if (*text == ',' || *text == '\0') {
            *to++ = '\0';
            APR_ARRAY_PUSH(values, const char *) = copy;
            copy = to;
            if (*text == '\0') {
                return values;
            }
            continue;
        }
        text += *text == '\\' && text[1];
        *to++ = *text;
    }
}

/* filter[name]=v, or several values with commas. */
static apr_status_t read_filters(mpx_http_t *http, const mpx_json_t *dimensions, usage_query_t *q)
{
    const apr_array_header_t *given = apr_table_elts(http->query);
    apr_pool_t *pool = http->call->pool;
    int i;

    q->filter_names = apr_array_make(pool, 4, sizeof(const char *));
    q->filter_values = apr_array_make(pool, 4, sizeof(const char *));
    for (i = 0; i < given->nelts; i++) {
        const apr_table_entry_t *e = &APR_ARRAY_IDX(given, i, apr_table_entry_t);
        char *name;
        if (strncmp(e->key, "filter[", 7) != 0) {
            continue;
        }
        name = apr_pstrmemdup(pool, e->key + 7, strlen(e->key) - 8);
        if (mpx_json_member(dimensions, name) == NULL) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "filter: \"%s\" is no dimension of this meter.", name);
        }
        APR_ARRAY_PUSH(q->filter_names, const char *) = name;
        APR_ARRAY_PUSH(q->filter_values, const char *) = usage_text_literal(pool, split_values(pool, e->val));
    }
    return APR_SUCCESS;
}

static apr_status_t read_query(mpx_http_t *http, const usage_meter_t *meter, usage_query_t *q)
{
    const char *window = apr_table_get(http->query, "window"), *fill = apr_table_get(http->query, "fill");
    const char *zone = apr_table_get(http->query, "timezone");
    const mpx_json_t *dimensions = usage_stored_json(http->call->pool, meter->group_by);
    apr_status_t rv = mpx_http_time(http, "from", &q->from, &q->has_from);

    if (rv == APR_SUCCESS) {
        rv = mpx_http_time(http, "to", &q->to, &q->has_to);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (window) {
        int w = usage_window_of(window);
        if (w < 0) {
            return mpx_fail(http->call, MPX_P_BAD_REQUEST, "window must be minute, hour, day or month.");
        }
        q->window = (usage_window_e)w;
    }
    if (fill && strcmp(fill, "zero") != 0) {
        return mpx_fail(http->call, MPX_P_BAD_REQUEST, "fill must be zero.");
    }
    q->fill_zero = fill != NULL;
    q->timezone = zone ? zone : "UTC";
    q->subject = apr_table_get(http->query, "subject");
    if (dimensions == NULL) {
        return mpx_fail(http->call, MPX_P_INTERNAL, "The meter cannot be read.");
    }
    rv = read_group_by(http, dimensions, q);
    return rv == APR_SUCCESS ? read_filters(http, dimensions, q) : rv;
}

static void write_value(mpx_jsonw_t *w, const usage_query_t *q, const usage_value_t *v)
{
    char time[MPX_TIME_TEXT];
    int i;

    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "window_start", mpx_time_format(v->start, time));
    mpx_jsonw_member_string(w, "window_end", mpx_time_format(v->end, time));
    mpx_jsonw_member_string(w, "value", v->value);
    mpx_jsonw_member_string(w, "subject", v->subject);
    mpx_jsonw_key(w, "group");
    mpx_jsonw_object(w);
    for (i = 0; i < q->group_by->nelts; i++) {
        mpx_jsonw_member_string(w, APR_ARRAY_IDX(q->group_by, i, const char *), v->group[i]);
    }
    mpx_jsonw_end(w);
    mpx_jsonw_end(w);
}

static apr_status_t get_usage(mpx_http_t *http)
{
    static const char *const windows[] = { NULL, "minute", "hour", "day", "month" };
    usage_query_t q = { 0 };
    usage_meter_t meter;
    apr_array_header_t *values;
    char time[MPX_TIME_TEXT];
    mpx_jsonw_t *w;
    apr_status_t rv = usage_meter_get(http->call, key_of(http), &meter);
    int i;

    if (rv == APR_SUCCESS) {
        rv = read_query(http, &meter, &q);
    }
    if (rv == APR_SUCCESS) {
        rv = usage_meter_query(http->call, &meter, &q, &values);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    w = mpx_jsonw_make(http->call->pool);
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "meter", meter.key);
    mpx_jsonw_member_string(w, "from", mpx_time_format(q.from, time));
    mpx_jsonw_member_string(w, "to", mpx_time_format(q.to, time));
    mpx_jsonw_member_string(w, "window", windows[q.window]);
    mpx_jsonw_member_string(w, "timezone", q.timezone);
    mpx_jsonw_key(w, "data");
    mpx_jsonw_array(w);
    for (i = 0; i < values->nelts; i++) {
        apr_size_t len;

        write_value(w, &q, &APR_ARRAY_IDX(values, i, usage_value_t));
        mpx_jsonw_text(w, &len);
        if (len > USAGE_ANSWER_MAX) {
            return usage_answer_too_large(http->call);
        }
    }
    mpx_jsonw_end(w);
    mpx_jsonw_end(w);
    return mpx_reply_json(http, HTTP_OK, w);
}

const mpx_route_t usage_meter_routes[] = { { "POST", "/v1/meters", "meters:write", 0, post_meter, NULL },
                                           { "GET", "/v1/meters", "meters:read", 0, get_meters, "limit cursor" },
                                           { "GET", "/v1/meters/{meter}", "meters:read", 0, get_meter, NULL },
                                           { "PATCH", "/v1/meters/{meter}", "meters:write", 0, patch_meter, NULL },
                                           { "DELETE", "/v1/meters/{meter}", "meters:write", 0, delete_meter, NULL },
                                           { "GET", "/v1/meters/{meter}/usage", "usage:read", 0, get_usage,
                                             "from to window timezone subject group_by filter[ fill" },
                                           { NULL, NULL, NULL, 0, NULL, NULL } };
