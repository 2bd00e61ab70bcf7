/* usage_meter_queries.c: what a meter says of a range of time (usage_meters.h). From the raw events, so that a query sees
 * everything that was acknowledged before it. Windows are bucketed by bounds that PostgreSQL's time zone data gives: the
 * first instant of each local date or hour.
 */
#include "usage_meters.h"

#include "usage_sql.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

typedef struct query_use {
    const usage_meter_t *meter;
    usage_query_t *query;
    apr_array_header_t **values;
    apr_array_header_t *bounds; /* apr_time_t; NULL without windows */
} query_use_t;

static const char *const aggregates[] = { SQL_aggregate_count, SQL_aggregate_sum, SQL_aggregate_min, SQL_aggregate_max,
                                          SQL_aggregate_avg, SQL_aggregate_unique_count, SQL_aggregate_latest };

static apr_status_t check_timezone(mpx_tx_t *tx, const char *name)
{
    mpx_param_t param = mpx_param_text(name);
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, SQL_timezone_known, &param, 1, &rows);

    if (rv == APR_SUCCESS && mpx_rows_count(rows) == 0) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_BAD_REQUEST, "timezone must be an IANA name, for instance Europe/Berlin.");
    }
    return rv;
}

/* Where nothing was said: from the first event to just past the last, whatever the clocks of senders say: what was
 * acknowledged is in the answer. Where empty windows are shown, to now. */
static apr_status_t settle_range(mpx_tx_t *tx, query_use_t *use)
{
    mpx_call_t *call = mpx_tx_call(tx);
    usage_query_t *q = use->query;
    mpx_param_t param = mpx_param_text(use->meter->event_type);
    mpx_rows_t *rows;
    apr_time_t first, last;
    apr_status_t rv;

    if (!q->has_from || !q->has_to) {
        apr_time_t now = apr_time_now();
        int any;

        rv = mpx_tx_query(tx, SQL_times, &param, 1, &rows);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        any = mpx_rows_time(rows, 0, 0, &first) && mpx_rows_time(rows, 0, 1, &last);
        if (!q->has_to) {
            q->to = any && (last >= now || (q->window != USAGE_WINDOW_NONE && !q->fill_zero)) ? last + 1 : now;
        }
        if (q->has_from && !q->has_to && q->to < q->from && q->from <= now) {
            q->to = now; /* nothing has come since */
        }
        if (!q->has_from) {
            q->from = any && first < q->to ? first : q->to;
        }
    }
    if (q->from > q->to) {
        return mpx_fail(call, MPX_P_BAD_REQUEST, "from lies after to.");
    }
    if (q->window != USAGE_WINDOW_NONE && (q->to - q->from) / usage_window_length(q->window) > USAGE_WINDOWS_MAX) {
        return mpx_fail(call, MPX_P_VALIDATION_FAILED,
                        "The range has more than %d windows; give from and to for a shorter one, or ask for longer windows.",
                        USAGE_WINDOWS_MAX);
    }
    return APR_SUCCESS;
}

/* Bounds from the last at or before `from` to the first at or after `to`. */
static apr_status_t make_bounds(mpx_tx_t *tx, query_use_t *use)
{
    static const char *const statements[] = { NULL, SQL_bounds_minute, SQL_bounds_hour, SQL_bounds_day, SQL_bounds_month };
    mpx_call_t *call = mpx_tx_call(tx);
    const usage_query_t *q = use->query;
    mpx_param_t params[3];
    mpx_rows_t *rows;
    apr_status_t rv;
    int i, n;

    params[0] = mpx_param_time(call->pool, q->from);
    params[1] = mpx_param_time(call->pool, q->to);
    params[2] = mpx_param_text(q->timezone);
    rv = mpx_tx_query(tx, statements[q->window], params, 3, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    n = mpx_rows_count(rows);
    use->bounds = apr_array_make(call->pool, n, sizeof(apr_time_t));
    for (i = 0; i < n; i++) {
        apr_time_t bound = mpx_rows_int(rows, i, 0);
        if (i + 1 < n && mpx_rows_int(rows, i + 1, 0) <= q->from) {
            continue;
        }
        APR_ARRAY_PUSH(use->bounds, apr_time_t) = bound;
        if (bound >= q->to) {
            break;
        }
    }
    /* the array is an index for what PostgreSQL answers: it must span the range */
    n = use->bounds->nelts;
    if (n < 2 || APR_ARRAY_IDX(use->bounds, 0, apr_time_t) > q->from
        || APR_ARRAY_IDX(use->bounds, n - 1, apr_time_t) < q->to) {
        return mpx_fail(call, MPX_P_INTERNAL, "The windows of this range cannot be told in this time zone.");
    }
    return APR_SUCCESS;
}

static mpx_param_t bounds_param(mpx_call_t *call, const apr_array_header_t *bounds)
{
    mpx_param_array_t *array;
    int i;

    if (bounds == NULL) {
        return mpx_param_text(NULL);
    }
    array = mpx_param_array_make(call->pool, MPX_ARRAY_TIMESTAMPTZ, (apr_size_t)bounds->nelts * 12);
    for (i = 0; i < bounds->nelts; i++) {
        mpx_param_array_time(array, APR_ARRAY_IDX(bounds, i, apr_time_t));
    }
    return mpx_param_array(array);
}

static mpx_param_t texts_param(mpx_call_t *call, const apr_array_header_t *texts)
{
    return mpx_param_text_array(call->pool, (const char *const *)texts->elts, texts->nelts);
}

void usage_meter_filters(mpx_call_t *call, const usage_meter_t *meter, const mpx_json_t *group_by, apr_array_header_t *paths,
                         apr_array_header_t *allowed)
{
    const mpx_json_t *filters = usage_stored_json(call->pool, meter->filters), *filter, *value;

    for (filter = filters ? filters->first : NULL; filter; filter = filter->next) {
        apr_array_header_t *texts = apr_array_make(call->pool, (int)filter->count, sizeof(const char *));
        for (value = filter->first; value; value = value->next) {
            APR_ARRAY_PUSH(texts, const char *) = value->text;
        }
        APR_ARRAY_PUSH(paths, const char *) = usage_dimension_literal(call->pool, group_by, filter->name);
        APR_ARRAY_PUSH(allowed, const char *) = usage_text_literal(call->pool, texts);
    }
}

/* The meter's own filters and the query's. */
static void gather_filters(mpx_call_t *call, query_use_t *use, const mpx_json_t *group_by, apr_array_header_t *paths,
                           apr_array_header_t *allowed)
{
    const usage_query_t *q = use->query;
    int i;

    usage_meter_filters(call, use->meter, group_by, paths, allowed);
    for (i = 0; i < q->filter_names->nelts; i++) {
        APR_ARRAY_PUSH(paths, const char *) =
            usage_dimension_literal(call->pool, group_by, APR_ARRAY_IDX(q->filter_names, i, const char *));
        APR_ARRAY_PUSH(allowed, const char *) = APR_ARRAY_IDX(q->filter_values, i, const char *);
    }
}

static apr_status_t too_many(mpx_call_t *call)
{
    return mpx_fail(call, MPX_P_VALIDATION_FAILED,
                    "The answer has more than %d values; ask for a shorter range, longer windows, fewer groups, or one "
                    "subject.",
                    USAGE_VALUES_MAX);
}

apr_status_t usage_answer_too_large(mpx_call_t *call)
{
    return mpx_fail(call, MPX_P_VALIDATION_FAILED,
                    "The answer would be larger than %d MiB; ask for a shorter range, longer windows, fewer groups, or one "
                    "subject.",
                    USAGE_ANSWER_MAX >> 20);
}

/* --- Rows to values ------------------------------------------------------------------------------------------------------------------ */

/* Decimal text without trailing zeros after the point. */
static const char *canonical(mpx_call_t *call, const char *text)
{
    apr_size_t len;
    if (text == NULL || strchr(text, '.') == NULL) {
        return text ? apr_pstrdup(call->pool, text) : NULL;
    }
    for (len = strlen(text); text[len - 1] == '0'; len--) {
    }
    len -= text[len - 1] == '.';
    return apr_pstrmemdup(call->pool, text, len);
}

/* Elements of an array literal as PostgreSQL writes it: {a,"b c",NULL}. They are taken apart in one copy of it. */
static const char **read_group(mpx_call_t *call, const char *literal, int n)
{
    const char **group = apr_pcalloc(call->pool, sizeof *group * (apr_size_t)(n + 1));
    char *at = apr_pstrdup(call->pool, literal) + 1;
    int i;

    for (i = 0; i < n && *at && *at != '}'; i++) {
        int quoted = *at == '"';
        char *out = at + quoted, *to = out;
        at = out;
        while (*at && (quoted ? *at != '"' : *at != ',' && *at != '}')) {
            at += *at == '\\';
            *to++ = *at++;
        }
        at += quoted && *at;
        at += *at == ',';
        *to = '\0'; /* the end of an unquoted last one is that of the copy as well */
        group[i] = !quoted && strcmp(out, "NULL") == 0 ? NULL : out;
    }
    return group;
}

static void bounds_of(const query_use_t *use, int window, usage_value_t *v)
{
    if (use->bounds) {
        v->start = APR_ARRAY_IDX(use->bounds, window - 1, apr_time_t);
        v->end = APR_ARRAY_IDX(use->bounds, window, apr_time_t);
    }
    else {
        v->start = use->query->from;
        v->end = use->query->to;
    }
}

/* What tells one series (subject and group) from another, as bytes: each text with its length, so that none runs into the
 * next, and "-" for one that is not there. */
static const char *series_key(mpx_call_t *call, const usage_value_t *v, int n, apr_ssize_t *len)
{
    apr_size_t size = 1;
    char *key, *at;
    int i;

    for (i = -1; i < n; i++) {
        const char *text = i < 0 ? v->subject : v->group[i];
        size += text ? strlen(text) + 24 : 1;
    }
    key = at = apr_palloc(call->pool, size);
    for (i = -1; i < n; i++) {
        const char *text = i < 0 ? v->subject : v->group[i];
        at += text ? apr_snprintf(at, size - (apr_size_t)(at - key), "%" APR_SIZE_T_FMT ":%s", strlen(text), text)
                   : apr_snprintf(at, size - (apr_size_t)(at - key), "-");
    }
    *len = at - key;
    return key;
}

/* Number the series in the order of their first rows. @param of  for each row, the number of its series */
static apr_array_header_t *number_series(mpx_call_t *call, const apr_array_header_t *rows, int n, int *of)
{
    apr_array_header_t *series = apr_array_make(call->pool, 8, sizeof(usage_value_t));
    apr_hash_t *known = apr_hash_make(call->pool);
    int i;

    for (i = 0; i < rows->nelts; i++) {
        const usage_value_t *row = &APR_ARRAY_IDX(rows, i, usage_value_t);
        apr_ssize_t len;
        const char *key = series_key(call, row, n, &len);
        const int *first = apr_hash_get(known, key, len); /* the row it was first seen in */

        if (first == NULL) {
            of[i] = series->nelts;
            *(usage_value_t *)apr_array_push(series) = *row;
            apr_hash_set(known, key, len, &of[i]);
        }
        else {
            of[i] = *first;
        }
    }
    return series;
}

/* Every series has a value in every window; what is missing gets the aggregation's zero. */
static apr_status_t fill(mpx_call_t *call, query_use_t *use, const apr_array_header_t *rows)
{
    int n = use->query->group_by->nelts, windows = use->bounds->nelts - 1, w, i, k, at = 0;
    const char *zero = usage_zero((usage_aggregation_e)usage_aggregation_of(use->meter->aggregation));
    int *of = apr_palloc(call->pool, sizeof *of * (apr_size_t)(rows->nelts + 1));
    apr_array_header_t *series = number_series(call, rows, n, of), *out;

    if (series->nelts == 0 && n == 0) {
        usage_value_t *only = apr_array_push(series);
        memset(only, 0, sizeof *only);
        only->group = apr_pcalloc(call->pool, sizeof *only->group);
        only->subject = use->query->subject;
    }
    if ((apr_int64_t)series->nelts * windows > USAGE_VALUES_MAX) {
        return too_many(call);
    }
    out = apr_array_make(call->pool, series->nelts * windows + 1, sizeof(usage_value_t));
    for (w = 1; w <= windows; w++) {
        usage_value_t *in_window = (usage_value_t *)out->elts + out->nelts;

        for (k = 0; k < series->nelts; k++) {
            usage_value_t *v = apr_array_push(out);
            *v = APR_ARRAY_IDX(series, k, usage_value_t);
            bounds_of(use, w, v);
            v->value = zero;
        }
        for (i = at; i < rows->nelts && APR_ARRAY_IDX(rows, i, usage_value_t).start == in_window->start; i++) {
            in_window[of[i]].value = APR_ARRAY_IDX(rows, i, usage_value_t).value;
        }
        at = i;
    }
    *use->values = out;
    return APR_SUCCESS;
}

static apr_status_t read_values(mpx_call_t *call, query_use_t *use, const mpx_rows_t *rows)
{
    int n = use->query->group_by->nelts, i;
    apr_array_header_t *values;
    int last = mpx_rows_count(rows) - 1;

    if (last >= USAGE_VALUES_MAX) {
        return too_many(call);
    }
    if (last >= 0 && mpx_rows_int(rows, last, 4) > USAGE_ANSWER_MAX) {
        return usage_answer_too_large(call);
    }
    *use->values = values = apr_array_make(call->pool, mpx_rows_count(rows), sizeof(usage_value_t));
    for (i = 0; i < mpx_rows_count(rows); i++) {
        const char *value = mpx_rows_text(rows, i, 3), *subject = mpx_rows_text(rows, i, 1);
        usage_value_t *v;
        if (value == NULL) {
            continue; /* events without a usable value are no value */
        }
        v = apr_array_push(values);
        bounds_of(use, (int)mpx_rows_int(rows, i, 0), v);
        v->value = canonical(call, value);
        v->subject = subject ? apr_pstrdup(call->pool, subject) : use->query->subject;
        v->group = read_group(call, mpx_rows_text(rows, i, 2), n);
    }
    if (use->bounds && use->query->fill_zero) {
        return fill(call, use, values);
    }
    if (use->bounds == NULL && values->nelts == 0 && n == 0 && !use->query->by_subject) {
        usage_value_t *v = apr_array_push(values); /* one total, also of nothing */
        bounds_of(use, 0, v);
        v->value = usage_zero((usage_aggregation_e)usage_aggregation_of(use->meter->aggregation));
        v->subject = use->query->subject;
        v->group = apr_pcalloc(call->pool, sizeof *v->group);
    }
    return APR_SUCCESS;
}

/* --- The query -------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t aggregate(mpx_tx_t *tx, query_use_t *use)
{
    mpx_call_t *call = mpx_tx_call(tx);
    const usage_query_t *q = use->query;
    const usage_meter_t *m = use->meter;
    apr_array_header_t *groups = apr_array_make(call->pool, 4, sizeof(const char *));
    apr_array_header_t *paths = apr_array_make(call->pool, 4, sizeof(const char *));
    apr_array_header_t *allowed = apr_array_make(call->pool, 4, sizeof(const char *));
    const mpx_json_t *group_by = usage_stored_json(call->pool, m->group_by);
    mpx_param_t params[12];
    mpx_rows_t *rows;
    apr_status_t rv;
    int i;

    for (i = 0; i < q->group_by->nelts; i++) {
        APR_ARRAY_PUSH(groups, const char *) =
            usage_dimension_literal(call->pool, group_by, APR_ARRAY_IDX(q->group_by, i, const char *));
    }
    gather_filters(call, use, group_by, paths, allowed);
    params[0] = mpx_param_text(m->event_type);
    params[1] = mpx_param_time(call->pool, q->from);
    params[2] = mpx_param_time(call->pool, q->to);
    params[3] = mpx_param_text(q->subject);
    params[4] = bounds_param(call, use->bounds);
    params[5] = mpx_param_bool(q->by_subject);
    params[6] = texts_param(call, groups);
    params[7] = texts_param(call, paths);
    params[8] = texts_param(call, allowed);
    params[9] = mpx_param_text(m->value_property ? usage_path_literal(call->pool, m->value_property) : "{}");
    params[10] = mpx_param_int(call->pool, USAGE_VALUES_MAX + 1);
    params[11] = mpx_param_int(call->pool, USAGE_ANSWER_MAX);
    rv = mpx_tx_query(
        tx, apr_pstrcat(call->pool, SQL_usage_head, aggregates[usage_aggregation_of(m->aggregation)], SQL_usage_tail, NULL),
        params, 12, &rows);
    return rv == APR_SUCCESS ? read_values(call, use, rows) : rv;
}

static apr_status_t query_in(mpx_tx_t *tx, void *baton)
{
    query_use_t *use = baton;
    apr_status_t rv = check_timezone(tx, use->query->timezone);

    if (rv == APR_SUCCESS) {
        rv = settle_range(tx, use);
    }
    if (rv == APR_SUCCESS && use->query->window != USAGE_WINDOW_NONE) {
        if (use->query->from >= use->query->to) {
            *use->values = apr_array_make(mpx_tx_call(tx)->pool, 0, sizeof(usage_value_t));
            return APR_SUCCESS; /* an empty range has no windows */
        }
        rv = make_bounds(tx, use);
    }
    return rv == APR_SUCCESS ? aggregate(tx, use) : rv;
}

apr_status_t usage_meter_query(mpx_call_t *call, const usage_meter_t *meter, usage_query_t *query,
                               apr_array_header_t **values)
{
    query_use_t use = { meter, query, values, NULL };
    return mpx_tx_run(call, MPX_TX_READ, query_in, &use);
}
