/* usage_domain.c: see usage_domain.h. */
#include "usage_domain.h"

#include <string.h>

#include <apr_strings.h>

#include "../lib/mpx_event.h"

const char *const usage_aggregations[] = { "count", "sum", "min", "max", "avg", "unique_count", "latest", NULL };

static int index_of(const char *const *names, const char *name)
{
    int i;
    for (i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

int usage_aggregation_of(const char *name)
{
    return index_of(usage_aggregations, name);
}

const char *usage_zero(usage_aggregation_e aggregation)
{
    return aggregation == USAGE_COUNT || aggregation == USAGE_SUM || aggregation == USAGE_UNIQUE_COUNT ? "0" : NULL;
}

int usage_window_of(const char *name)
{
    static const char *const names[] = { "", "minute", "hour", "day", "month", NULL };
    int i = index_of(names, name);
    return i > 0 ? i : -1;
}

apr_interval_time_t usage_window_length(usage_window_e window)
{
    switch (window) {
    case USAGE_MINUTE: return apr_time_from_sec(60);
    case USAGE_HOUR: return apr_time_from_sec(3600);
    case USAGE_DAY: return apr_time_from_sec(24 * 3600);
    case USAGE_MONTH: return apr_time_from_sec(28 * 86400);
    default: return APR_INT64_MAX;
    }
}

const char *usage_text_literal(apr_pool_t *pool, const apr_array_header_t *texts)
{
    apr_size_t size = 3;
    char *out, *at;
    const char *c;
    int i;

    for (i = 0; i < texts->nelts; i++) {
        size += 2 * strlen(APR_ARRAY_IDX(texts, i, const char *)) + 3;
    }
    at = out = apr_palloc(pool, size);
    *at++ = '{';
    for (i = 0; i < texts->nelts; i++) {
        if (i) {
            *at++ = ',';
        }
        *at++ = '"';
        for (c = APR_ARRAY_IDX(texts, i, const char *); *c; c++) {
            if (*c == '"' || *c == '\\') {
                *at++ = '\\';
            }
            *at++ = *c;
        }
        *at++ = '"';
    }
    *at++ = '}';
    *at = '\0';
    return out;
}

const char *usage_path_literal(apr_pool_t *pool, const char *path)
{
    apr_array_header_t *steps = mpx_jsonpath_parse(pool, path);
    return steps ? usage_text_literal(pool, steps) : NULL;
}

const mpx_json_t *usage_stored_json(apr_pool_t *pool, const char *text)
{
    mpx_json_limits_t limits = MPX_JSON_LIMITS_DEFAULT;
    mpx_json_error_t error;
    mpx_json_t *value = NULL;

    mpx_json_parse(pool, text, strlen(text), &limits, &value, &error);
    return value;
}

const char *usage_dimension_literal(apr_pool_t *pool, const mpx_json_t *group_by, const char *name)
{
    const mpx_json_t *path = group_by ? mpx_json_member(group_by, name) : NULL;
    apr_array_header_t *step;

    if (path) {
        return usage_path_literal(pool, path->text);
    }
    if (name[0] == '$') {
        return usage_path_literal(pool, name);
    }
    step = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(step, const char *) = name;
    return usage_text_literal(pool, step);
}

/* --- Meters ---------------------------------------------------------------------------------------------------------------------- */

typedef struct check {
    apr_pool_t *pool;
    apr_array_header_t *errors;
    const apr_table_t *group_by;
} check_t;

static const char *pointer(check_t *check, const char *field, const char *name)
{
    return apr_pstrcat(check->pool, "/", field, "/", mpx_json_pointer_token(check->pool, name), NULL);
}

static int check_dimension(void *baton, const char *name, const char *path)
{
    check_t *check = baton;
    if (strlen(path) > USAGE_PATH_MAX) {
        mpx_field_error_add(check->errors, pointer(check, "group_by", name), "length", "A path has at most 256 bytes.");
    }
    else if (usage_path_literal(check->pool, path) == NULL || strcmp(path, "$") == 0) {
        mpx_field_error_add(check->errors, pointer(check, "group_by", name), "pattern",
                            "A path of names and indexes is expected, for instance $.model.");
    }
    if (strcmp(name, "subject") == 0) { /* group_by=subject would mean two things */
        mpx_field_error_add(check->errors, pointer(check, "group_by", name), "reserved",
                            "The event's subject has this name; choose another.");
    }
    return 1;
}

static void check_filter(check_t *check, const mpx_json_t *filter)
{
    const mpx_json_t *value;
    const char *at = pointer(check, "filters", filter->name);

    if (strlen(filter->name) > USAGE_PATH_MAX) {
        mpx_field_error_add(check->errors, "/filters", "length", "A name or path has at most 256 bytes.");
        return;
    }
    if (filter->type != MPX_JSON_ARRAY || filter->count == 0 || filter->count > USAGE_FILTER_VALUES_MAX) {
        mpx_field_error_add(check->errors, at, "type", "A list of 1 to 100 strings is expected.");
        return;
    }
    if (filter->name[0] == '$' && usage_path_literal(check->pool, filter->name) == NULL) {
        mpx_field_error_add(check->errors, at, "pattern", "A path of names and indexes is expected, for instance $.model.");
    }
    for (value = filter->first; value; value = value->next) {
        if (value->type != MPX_JSON_STRING || value->len > 1024) {
            mpx_field_error_add(check->errors, at, "type", "Each value is a string of at most 1,024 bytes.");
            return;
        }
    }
}

/* A value that was refused is not said to be missing, too. */
static int has_error(const apr_array_header_t *errors, const char *pointer)
{
    int i;
    for (i = 0; i < errors->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(errors, i, mpx_field_error_t).pointer, pointer) == 0) {
            return 1;
        }
    }
    return 0;
}

int usage_meter_check(apr_pool_t *pool, const char *aggregation, const char *value_property, const apr_table_t *group_by,
                      const mpx_json_t *filters, apr_array_header_t *errors)
{
    check_t check = { pool, errors, group_by };
    int before = errors->nelts, counts = aggregation && strcmp(aggregation, "count") == 0;
    const mpx_json_t *filter, *value;
    apr_size_t bytes = 0;

    if (counts && value_property) {
        mpx_field_error_add(errors, "/value_property", "not_allowed", "The aggregation count takes no value.");
    }
    if (aggregation && !counts && value_property == NULL && !has_error(errors, "/value_property")) {
        mpx_field_error_add(errors, "/value_property", "required", "This aggregation needs the value to take.");
    }
    if (value_property && (usage_path_literal(pool, value_property) == NULL || strcmp(value_property, "$") == 0)) {
        mpx_field_error_add(errors, "/value_property", "pattern",
                            "A path of names and indexes is expected, for instance $.tokens.");
    }
    if (group_by) {
        apr_table_do(check_dimension, &check, group_by, NULL);
    }
    if (filters && filters->count > USAGE_DIMENSIONS_MAX) {
        mpx_field_error_add(errors, "/filters", "length", "At most 16 filters.");
        return errors->nelts - before;
    }
    for (filter = filters ? filters->first : NULL; filter; filter = filter->next) {
        check_filter(&check, filter);
        for (value = filter->first; value; value = value->next) {
            bytes += value->len;
        }
    }
    if (bytes > USAGE_FILTERS_MAX && !has_error(errors, "/filters")) {
        mpx_field_error_add(errors, "/filters", "length", "All their values have at most 65,536 bytes together.");
    }
    return errors->nelts - before;
}
