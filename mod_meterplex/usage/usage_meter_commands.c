/* usage_meter_commands.c: meters made, changed, shown (usage_meters.h). */
#include "usage_meters.h"

#include "usage_sql.h"

#include <string.h>

#include <apr_strings.h>

typedef struct meter_use {
    const char *key, *if_match;
    const usage_meter_change_t *change;
    const mpx_page_t *page;
    apr_array_header_t **list;
    usage_meter_t *meter;
    apr_int64_t *invalid;
} meter_use_t;

static const char *text_or_null(mpx_call_t *call, const mpx_rows_t *rows, int row, int column)
{
    const char *text = mpx_rows_text(rows, row, column);
    return text ? apr_pstrdup(call->pool, text) : NULL;
}

static void read_meter(mpx_call_t *call, const mpx_rows_t *rows, int row, usage_meter_t *m)
{
    memset(m, 0, sizeof *m);
    mpx_rows_uuid(rows, row, 0, &m->tenant);
    mpx_rows_uuid(rows, row, 1, &m->id);
    m->key = text_or_null(call, rows, row, 2);
    m->name = text_or_null(call, rows, row, 3);
    m->event_type = text_or_null(call, rows, row, 4);
    m->aggregation = text_or_null(call, rows, row, 5);
    m->value_property = text_or_null(call, rows, row, 6);
    m->group_by = text_or_null(call, rows, row, 7);
    m->filters = text_or_null(call, rows, row, 8);
    m->unit = text_or_null(call, rows, row, 9);
    m->scope = text_or_null(call, rows, row, 10);
    m->archived = mpx_rows_bool(rows, row, 11);
    m->version = mpx_rows_int(rows, row, 12);
    mpx_rows_time(rows, row, 13, &m->created_at);
    mpx_rows_time(rows, row, 14, &m->updated_at);
}

static apr_status_t find(mpx_tx_t *tx, const char *sql, const char *key, usage_meter_t *out)
{
    mpx_param_t param = mpx_param_text(key);
    mpx_rows_t *rows = NULL;
    apr_status_t rv = mpx_tx_query(tx, sql, &param, 1, &rows);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (mpx_rows_count(rows) == 0) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_NOT_FOUND, "There is no such meter.");
    }
    read_meter(mpx_tx_call(tx), rows, 0, out);
    return APR_SUCCESS;
}

static apr_status_t record(mpx_tx_t *tx, const char *event, const char *action, const usage_meter_t *m)
{
    mpx_call_t *call = mpx_tx_call(tx);
    const char *id = mpx_typeid_format(call->pool, "mtr", &m->id), *text;
    mpx_jsonw_t *w = mpx_jsonw_make(call->pool);
    apr_status_t rv;

    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "id", id);
    mpx_jsonw_member_string(w, "key", m->key);
    mpx_jsonw_member_string(w, "event_type", m->event_type);
    mpx_jsonw_member_string(w, "aggregation", m->aggregation);
    mpx_jsonw_end(w);
    text = mpx_jsonw_text(w, NULL);
    rv = mpx_event_append(tx, event, id, text);
    return rv == APR_SUCCESS ? mpx_audit_append(tx, action, id, text) : rv;
}

/* --- Create ------------------------------------------------------------------------------------------------------------------------ */

static apr_status_t check_shadow(mpx_tx_t *tx, const usage_meter_t *m)
{
    mpx_param_t params[2];
    mpx_rows_t *rows = NULL;
    apr_status_t rv;

    params[0] = mpx_param_text(m->key);
    params[1] = mpx_param_bool(strcmp(m->scope, "all") == 0);
    rv = mpx_tx_query(tx, SQL_meter_lock, params, 1, NULL);
    if (rv == APR_SUCCESS) {
        rv = mpx_tx_query(tx, SQL_meter_taken, params, 2, &rows);
    }
    if (rv == APR_SUCCESS && mpx_rows_int(rows, 0, 0) > 0) {
        return mpx_fail_field(mpx_tx_call(tx), MPX_P_CONFLICT, "/key", "taken",
                              strcmp(m->scope, "all") == 0 ? "A tenant has a meter of this key."
                                                           : "The platform has a meter of this key.");
    }
    return rv;
}

static apr_status_t create_in(mpx_tx_t *tx, void *baton)
{
    meter_use_t *use = baton;
    usage_meter_t *m = use->meter;
    mpx_param_t params[10];
    apr_status_t rv = check_shadow(tx, m);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    params[0] = mpx_param_uuid(&m->id);
    params[1] = mpx_param_text(m->key);
    params[2] = mpx_param_text(m->name);
    params[3] = mpx_param_text(m->event_type);
    params[4] = mpx_param_text(m->aggregation);
    params[5] = mpx_param_text(m->value_property);
    params[6] = mpx_param_text(m->group_by);
    params[7] = mpx_param_text(m->filters);
    params[8] = mpx_param_text(m->unit);
    params[9] = mpx_param_text(m->scope);
    rv = mpx_tx_query(tx, SQL_meter_insert, params, 10, NULL);
    if (rv == APR_SUCCESS) {
        rv = find(tx, SQL_meter_get, use->key, m);
    }
    return rv == APR_SUCCESS ? record(tx, "meter.created", "meter.create", m) : rv;
}

apr_status_t usage_meter_create(mpx_call_t *call, usage_meter_t *meter)
{
    meter_use_t use = { .key = meter->key, .meter = meter };
    usage_meter_t wanted = *meter;

    if (strcmp(meter->scope, "all") == 0) {
        if (!call->principal->platform_admin && call->principal->kind != MPX_PRINCIPAL_SYSTEM) {
            return mpx_fail_field(call, MPX_P_FORBIDDEN, "/scope", "platform_only",
                                  "Only a platform administrator makes a meter for all tenants.");
        }
        call->tenant = call->principal->tenant;
    }
    wanted.id = mpx_call_new_id(call);
    *meter = wanted;
    /* The platform flag lets the look for shadowing see the keys of all tenants. */
    return mpx_tx_run(call, MPX_TX_WRITE | MPX_TX_PLATFORM, create_in, &use);
}

/* --- Show ---------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t get_in(mpx_tx_t *tx, void *baton)
{
    meter_use_t *use = baton;
    return find(tx, SQL_meter_get, use->key, use->meter);
}

apr_status_t usage_meter_get(mpx_call_t *call, const char *key, usage_meter_t *meter)
{
    meter_use_t use = { .key = key, .meter = meter };
    return mpx_tx_run(call, MPX_TX_READ, get_in, &use);
}

static apr_status_t list_in(mpx_tx_t *tx, void *baton)
{
    meter_use_t *use = baton;
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[2];
    mpx_rows_t *rows = NULL;
    apr_status_t rv;
    int i;

    params[0] = mpx_param_text(use->page->after);
    params[1] = mpx_param_int(call->pool, use->page->limit + 1);
    rv = mpx_tx_query(tx, SQL_meter_list, params, 2, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *use->list = apr_array_make(call->pool, mpx_rows_count(rows), sizeof(usage_meter_t));
    for (i = 0; i < mpx_rows_count(rows); i++) {
        read_meter(call, rows, i, apr_array_push(*use->list));
    }
    return APR_SUCCESS;
}

apr_status_t usage_meter_list(mpx_call_t *call, const mpx_page_t *page, apr_array_header_t **meters)
{
    meter_use_t use = { .page = page, .list = meters };
    return mpx_tx_run(call, MPX_TX_READ, list_in, &use);
}

static apr_status_t invalid_in(mpx_tx_t *tx, void *baton)
{
    meter_use_t *use = baton;
    const usage_meter_t *m = use->meter;
    mpx_call_t *call = mpx_tx_call(tx);
    apr_array_header_t *paths = apr_array_make(call->pool, 4, sizeof(const char *));
    apr_array_header_t *allowed = apr_array_make(call->pool, 4, sizeof(const char *));
    mpx_param_t params[4];
    mpx_rows_t *rows = NULL;
    apr_status_t rv;

    usage_meter_filters(call, m, usage_stored_json(call->pool, m->group_by), paths, allowed);
    params[0] = mpx_param_text(m->event_type);
    params[1] = mpx_param_text(usage_path_literal(call->pool, m->value_property));
    params[2] = mpx_param_text_array(call->pool, (const char *const *)paths->elts, paths->nelts);
    params[3] = mpx_param_text_array(call->pool, (const char *const *)allowed->elts, allowed->nelts);
    rv = mpx_tx_query(tx, strcmp(m->aggregation, "unique_count") == 0 ? SQL_meter_invalid_values : SQL_meter_invalid_numbers,
                      params, 4, &rows);
    if (rv == APR_SUCCESS) {
        *use->invalid = mpx_rows_int(rows, 0, 0);
    }
    return rv;
}

apr_status_t usage_meter_invalid(mpx_call_t *call, const usage_meter_t *meter, apr_int64_t *invalid)
{
    usage_meter_t copy = *meter;
    meter_use_t use = { .meter = &copy, .invalid = invalid };

    *invalid = 0;
    return meter->value_property ? mpx_tx_run(call, MPX_TX_READ, invalid_in, &use) : APR_SUCCESS;
}

/* --- Change -------------------------------------------------------------------------------------------------------------------------- */

/* Lock the meter for a change. One of the platform's, seen by a tenant, is not the tenant's to change. */
static apr_status_t lock(mpx_tx_t *tx, meter_use_t *use)
{
    mpx_call_t *call = mpx_tx_call(tx);
    apr_status_t rv = find(tx, SQL_meter_get, use->key, use->meter);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!mpx_uuid_equal(&use->meter->tenant, &call->tenant)) {
        if (!call->principal->platform_admin) {
            return mpx_fail(call, MPX_P_FORBIDDEN, "This meter is the platform's; a platform administrator changes it.");
        }
        call->tenant = use->meter->tenant;
        rv = mpx_tx_set_tenant(tx, &call->tenant);
    }
    if (rv == APR_SUCCESS) {
        rv = find(tx, SQL_meter_get_for_update, use->key, use->meter);
    }
    if (rv == APR_SUCCESS && !mpx_etag_matches(use->if_match, &use->meter->id, use->meter->version)) {
        return mpx_fail(call, MPX_P_PRECONDITION_FAILED, "The meter has changed since it was read.");
    }
    return rv;
}

static apr_status_t update_in(mpx_tx_t *tx, void *baton)
{
    meter_use_t *use = baton;
    mpx_param_t params[5];
    apr_status_t rv = lock(tx, use);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    params[0] = mpx_param_uuid(&use->meter->id);
    params[1] = mpx_param_text(use->change->name);
    params[2] = mpx_param_bool(use->change->set_unit);
    params[3] = mpx_param_text(use->change->unit);
    params[4] = mpx_param_text(use->change->archived < 0 ? NULL : use->change->archived ? "true"
                                                                                        : "false");
    rv = mpx_tx_query(tx, SQL_meter_update, params, 5, NULL);
    if (rv == APR_SUCCESS) {
        rv = find(tx, SQL_meter_get, use->key, use->meter);
    }
    return rv == APR_SUCCESS ? record(tx, "meter.updated", "meter.update", use->meter) : rv;
}

apr_status_t usage_meter_update(mpx_call_t *call, const char *key, const char *if_match, const usage_meter_change_t *change,
                                usage_meter_t *meter)
{
    meter_use_t use = { .key = key, .if_match = if_match, .change = change, .meter = meter };
    return mpx_tx_run(call, MPX_TX_WRITE, update_in, &use);
}

static apr_status_t delete_in(mpx_tx_t *tx, void *baton)
{
    meter_use_t *use = baton;
    mpx_param_t param;
    apr_status_t rv = lock(tx, use);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    param = mpx_param_uuid(&use->meter->id);
    rv = mpx_tx_query(tx, SQL_meter_delete, &param, 1, NULL);
    return rv == APR_SUCCESS ? record(tx, "meter.deleted", "meter.delete", use->meter) : rv;
}

apr_status_t usage_meter_delete(mpx_call_t *call, const char *key, const char *if_match)
{
    usage_meter_t meter;
    meter_use_t use = { .key = key, .if_match = if_match, .meter = &meter };
    return mpx_tx_run(call, MPX_TX_WRITE, delete_in, &use);
}
