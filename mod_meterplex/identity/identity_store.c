/* identity_store.c: see identity_store.h. */
#include "identity_store.h"

#include "identity_domain.h"
#include "identity_sql.h"

#include <string.h>

#include <apr_strings.h>

static const char *copy(mpx_call_t *call, const mpx_rows_t *rows, int row, int column)
{
    const char *text = mpx_rows_text(rows, row, column);
    return text ? apr_pstrdup(call->pool, text) : "";
}

/* --- Tenants -------------------------------------------------------------------------------------------------------------------- */

static void read_tenant(mpx_call_t *call, const mpx_rows_t *rows, int row, identity_tenant_t *t)
{
    memset(t, 0, sizeof *t);
    mpx_rows_uuid(rows, row, 0, &t->id);
    t->name = copy(call, rows, row, 1);
    t->slug = copy(call, rows, row, 2);
    t->status = copy(call, rows, row, 3);
    t->platform = mpx_rows_bool(rows, row, 4);
    t->metadata = copy(call, rows, row, 5);
    t->version = mpx_rows_int(rows, row, 6);
    mpx_rows_time(rows, row, 7, &t->created_at);
    mpx_rows_time(rows, row, 8, &t->updated_at);
}

apr_status_t identity_store_tenant_insert(mpx_tx_t *tx, const mpx_uuid_t *id, const char *name, const char *slug,
                                          const char *metadata, int platform)
{
    mpx_param_t params[5];
    params[0] = mpx_param_uuid(id);
    params[1] = mpx_param_text(name);
    params[2] = mpx_param_text(slug);
    params[3] = mpx_param_text(metadata);
    params[4] = mpx_param_bool(platform);
    return mpx_tx_query(tx, SQL_tenant_insert, params, 5, NULL);
}

static apr_status_t one_tenant(mpx_tx_t *tx, const char *sql, mpx_param_t param, identity_tenant_t *out)
{
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, sql, &param, 1, &rows);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (mpx_rows_count(rows) == 0) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_NOT_FOUND, "There is no such tenant.");
    }
    read_tenant(mpx_tx_call(tx), rows, 0, out);
    return APR_SUCCESS;
}

apr_status_t identity_store_tenant_get(mpx_tx_t *tx, const mpx_uuid_t *id, int lock, identity_tenant_t *out)
{
    return one_tenant(tx, lock ? SQL_tenant_get_for_update : SQL_tenant_get, mpx_param_uuid(id), out);
}

apr_status_t identity_store_tenant_by_slug(mpx_tx_t *tx, const char *slug, identity_tenant_t *out)
{
    return one_tenant(tx, SQL_tenant_by_slug, mpx_param_text(slug), out);
}

/* Parameters of a page that is ordered by id. A cursor that we made holds an id. */
static void page_params(mpx_call_t *call, const mpx_page_t *page, mpx_uuid_t *after, mpx_param_t params[2])
{
    params[0] = mpx_param_uuid(page->after && mpx_uuid_parse(page->after, after) ? after : NULL);
    params[1] = mpx_param_int(call->pool, page->limit + 1);
}

apr_status_t identity_store_tenant_list(mpx_tx_t *tx, const mpx_page_t *page, apr_array_header_t **out)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[2];
    mpx_uuid_t after;
    mpx_rows_t *rows;
    apr_status_t rv;
    int i;

    page_params(call, page, &after, params);
    rv = mpx_tx_query(tx, SQL_tenant_list, params, 2, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *out = apr_array_make(call->pool, mpx_rows_count(rows), sizeof(identity_tenant_t));
    for (i = 0; i < mpx_rows_count(rows); i++) {
        read_tenant(call, rows, i, apr_array_push(*out));
    }
    return APR_SUCCESS;
}

apr_status_t identity_store_tenant_update(mpx_tx_t *tx, const mpx_uuid_t *id, const char *name, const char *slug,
                                          const char *metadata, const char *status)
{
    mpx_param_t params[5];
    params[0] = mpx_param_uuid(id);
    params[1] = mpx_param_text(name);
    params[2] = mpx_param_text(slug);
    params[3] = mpx_param_text(metadata);
    params[4] = mpx_param_text(status);
    return mpx_tx_query(tx, SQL_tenant_update, params, 5, NULL);
}

apr_status_t identity_store_slug_holder(mpx_tx_t *tx, const char *slug, apr_time_t *until)
{
    mpx_param_t param = mpx_param_text(slug);
    mpx_rows_t *rows = NULL;
    apr_status_t rv = mpx_tx_query(tx, SQL_slug_holder, &param, 1, &rows);

    *until = 0;
    if (rv == APR_SUCCESS && mpx_rows_count(rows) > 0) {
        mpx_rows_time(rows, 0, 0, until);
    }
    return rv;
}

apr_status_t identity_store_tenant_delete(mpx_tx_t *tx, const mpx_uuid_t *id)
{
    mpx_param_t param = mpx_param_uuid(id);
    return mpx_tx_query(tx, SQL_tenant_delete, &param, 1, NULL);
}

apr_status_t identity_store_platform_exists(mpx_tx_t *tx, int *exists)
{
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, SQL_platform_tenant, NULL, 0, &rows);
    *exists = rv == APR_SUCCESS && mpx_rows_count(rows) > 0;
    return rv;
}

/* --- Keys -------------------------------------------------------------------------------------------------------------------------- */

static void read_key(mpx_call_t *call, const mpx_rows_t *rows, int row, identity_key_t *k)
{
    memset(k, 0, sizeof *k);
    mpx_rows_uuid(rows, row, 0, &k->id);
    k->tenant = call->tenant;
    k->name = copy(call, rows, row, 1);
    k->env = copy(call, rows, row, 2);
    k->scopes = copy(call, rows, row, 3);
    k->hint = copy(call, rows, row, 4);
    k->rate.count = (apr_uint64_t)mpx_rows_int(rows, row, 5);
    k->rate.period = (apr_uint32_t)mpx_rows_int(rows, row, 6);
    k->rate.burst = (apr_uint64_t)mpx_rows_int(rows, row, 7);
    k->allowed_cidrs = copy(call, rows, row, 8);
    k->metadata = copy(call, rows, row, 9);
    k->created_by = copy(call, rows, row, 10);
    mpx_rows_time(rows, row, 11, &k->expires_at);
    mpx_rows_time(rows, row, 12, &k->last_used_at);
    k->version = mpx_rows_int(rows, row, 13);
    mpx_rows_time(rows, row, 14, &k->created_at);
    mpx_rows_time(rows, row, 15, &k->updated_at);
}

static mpx_param_t texts(mpx_call_t *call, const apr_array_header_t *array)
{
    return mpx_param_text_array(call->pool, array ? (const char *const *)array->elts : NULL, array ? array->nelts : 0);
}

/* Scopes are kept sorted, each once. */
static mpx_param_t scopes_param(mpx_call_t *call, const apr_array_header_t *scopes)
{
    apr_array_header_t *normal = apr_array_copy(call->pool, scopes);
    identity_scopes_normalize(normal);
    return texts(call, normal);
}

static void rate_params(mpx_call_t *call, const mpx_rate_t *rate, mpx_param_t params[3])
{
    params[0] = params[1] = params[2] = mpx_param_text(NULL);
    if (rate->count) {
        params[0] = mpx_param_int(call->pool, (apr_int64_t)rate->count);
        params[1] = mpx_param_int(call->pool, rate->period);
        params[2] = mpx_param_int(call->pool, (apr_int64_t)rate->burst);
    }
}

apr_status_t identity_store_key_insert(mpx_tx_t *tx, const mpx_uuid_t *id, const identity_key_spec_t *spec, const char *hint)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[12];

    params[0] = mpx_param_uuid(id);
    params[1] = mpx_param_text(spec->name);
    params[2] = mpx_param_text(spec->env == MPX_APIKEY_LIVE ? "live" : "test");
    params[3] = scopes_param(call, spec->scopes);
    params[4] = mpx_param_text(hint);
    rate_params(call, &spec->rate, params + 5);
    params[8] = texts(call, spec->allowed_cidrs);
    params[9] = mpx_param_text(spec->metadata);
    params[10] = mpx_param_text(call->principal ? mpx_principal_text(call->pool, call->principal) : "system");
    params[11] = spec->expires_at ? mpx_param_time(call->pool, spec->expires_at) : mpx_param_text(NULL);
    return mpx_tx_query(tx, SQL_key_insert, params, 12, NULL);
}

apr_status_t identity_store_secret_insert(mpx_tx_t *tx, const mpx_uuid_t *key, const unsigned char digest[32])
{
    mpx_param_t params[2];
    params[0] = mpx_param_uuid(key);
    params[1] = mpx_param_bytes(digest, 32);
    return mpx_tx_query(tx, SQL_secret_insert, params, 2, NULL);
}

apr_status_t identity_store_key_get(mpx_tx_t *tx, const mpx_uuid_t *id, int lock, identity_key_t *out)
{
    mpx_param_t param = mpx_param_uuid(id);
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, lock ? SQL_key_get_for_update : SQL_key_get, &param, 1, &rows);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (mpx_rows_count(rows) == 0) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_NOT_FOUND, "There is no such API key.");
    }
    read_key(mpx_tx_call(tx), rows, 0, out);
    return APR_SUCCESS;
}

apr_status_t identity_store_key_list(mpx_tx_t *tx, const mpx_page_t *page, apr_array_header_t **out)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[2];
    mpx_uuid_t after;
    mpx_rows_t *rows;
    apr_status_t rv;
    int i;

    page_params(call, page, &after, params);
    rv = mpx_tx_query(tx, SQL_key_list, params, 2, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *out = apr_array_make(call->pool, mpx_rows_count(rows), sizeof(identity_key_t));
    for (i = 0; i < mpx_rows_count(rows); i++) {
        read_key(call, rows, i, apr_array_push(*out));
    }
    return APR_SUCCESS;
}

apr_status_t identity_store_key_update(mpx_tx_t *tx, const mpx_uuid_t *id, const identity_key_spec_t *changes, unsigned set)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[11];

    params[0] = mpx_param_uuid(id);
    params[1] = mpx_param_text(changes->name);
    params[2] = changes->scopes ? scopes_param(call, changes->scopes) : mpx_param_text(NULL);
    params[3] = mpx_param_bool((set & IDENTITY_SET_EXPIRES) != 0);
    params[4] = changes->expires_at ? mpx_param_time(call->pool, changes->expires_at) : mpx_param_text(NULL);
    params[5] = mpx_param_bool((set & IDENTITY_SET_RATE) != 0);
    rate_params(call, &changes->rate, params + 6);
    params[9] = changes->allowed_cidrs ? texts(call, changes->allowed_cidrs) : mpx_param_text(NULL);
    params[10] = mpx_param_text(changes->metadata);
    return mpx_tx_query(tx, SQL_key_update, params, 11, NULL);
}

apr_status_t identity_store_key_rotate(mpx_tx_t *tx, const mpx_uuid_t *id, const char *hint, apr_int64_t grace)
{
    mpx_param_t params[2];
    apr_status_t rv;

    params[0] = mpx_param_uuid(id);
    params[1] = mpx_param_text(hint);
    rv = mpx_tx_query(tx, SQL_key_rotate, params, 2, NULL);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    params[1] = mpx_param_int(mpx_tx_call(tx)->pool, grace);
    return mpx_tx_query(tx, SQL_secrets_expire, params, 2, NULL);
}

apr_status_t identity_store_key_revoke(mpx_tx_t *tx, const mpx_uuid_t *id)
{
    mpx_param_t param = mpx_param_uuid(id);
    return mpx_tx_query(tx, SQL_key_revoke, &param, 1, NULL);
}

apr_status_t identity_store_notify(mpx_tx_t *tx, char kind, const mpx_uuid_t *id)
{
    char text[MPX_UUID_TEXT];
    mpx_param_t param = mpx_param_text(apr_psprintf(mpx_tx_call(tx)->pool, "%c:%s", kind, mpx_uuid_format(id, text)));
    return mpx_tx_query(tx, SQL_notify, &param, 1, NULL);
}

apr_status_t identity_store_keys_used(mpx_tx_t *tx, const mpx_uuid_t *ids, const apr_time_t *times, int n)
{
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    mpx_param_array_t *keys = mpx_param_array_make(pool, MPX_ARRAY_UUID, (apr_size_t)n * 20);
    mpx_param_array_t *uses = mpx_param_array_make(pool, MPX_ARRAY_TIMESTAMPTZ, (apr_size_t)n * 12);
    mpx_param_t params[2];
    int i;

    for (i = 0; i < n; i++) {
        mpx_param_array_uuid(keys, &ids[i]);
        mpx_param_array_time(uses, times[i]);
    }
    params[0] = mpx_param_array(keys);
    params[1] = mpx_param_array(uses);
    return mpx_tx_query(tx, SQL_keys_used, params, 2, NULL);
}
