/* identity_http_keys.c: routes of API keys, /v1/keys/verify and /v1/auth/me. */
#include "identity_private.h"

#include "apr_strings.h"

#include "../include/meterplex_limit.h"
#include "../lib/mpx_net.h"
#include "identity_domain.h"
#include "identity_view.h"

static APR_OPTIONAL_FN_TYPE(mpx_limit_key) *limit_key;

void identity_keys_check_config(void)
{
    limit_key = APR_RETRIEVE_OPTIONAL_FN(mpx_limit_key);
}

/* --- Bodies ------------------------------------------------------------------------------------------------------------------------- */

typedef struct rate_body {
    apr_uint64_t present;
    apr_int64_t rate, burst;
    const char *per;
} rate_body_t;

typedef struct key_body {
    apr_uint64_t present;
    const char *name, *env;
    apr_array_header_t *scopes, *allowed_cidrs;
    apr_time_t expires_at;
    rate_body_t rate;
    const mpx_json_t *metadata;
} key_body_t;

static const char *const periods[] = { "second", "minute", "hour", "day", NULL };
static const char *const environments[] = { "live", "test", NULL };

static const mpx_field_t rate_fields[] = {
    { "rate", MPX_FIELD_INT, MPX_FIELD_REQUIRED, 1, 1000000000, NULL, NULL, NULL, offsetof(rate_body_t, rate) },
    { "per", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 10, NULL, periods, NULL, offsetof(rate_body_t, per) },
    { "burst", MPX_FIELD_INT, MPX_FIELD_NULLABLE, 1, 1000000000, NULL, NULL, NULL, offsetof(rate_body_t, burst) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

/* The order is the same in both tables: bits of present are shared. */
enum { FIELD_NAME,
       FIELD_SCOPES,
       FIELD_EXPIRES,
       FIELD_RATE,
       FIELD_CIDRS,
       FIELD_METADATA };

/* clang-format off */
#define SHARED_FIELDS(needed, clears)                                                                                \
    { "name", MPX_FIELD_STRING, needed, 1, 200, mpx_check_line, NULL, NULL, offsetof(key_body_t, name) },            \
    { "scopes", MPX_FIELD_STRINGS, needed, 0, IDENTITY_SCOPES_MAX, identity_check_scope, NULL, NULL,                 \
      offsetof(key_body_t, scopes) },                                                                                \
    { "expires_at", MPX_FIELD_TIME, MPX_FIELD_NULLABLE, 0, 0, NULL, NULL, NULL, offsetof(key_body_t, expires_at) },  \
    { "rate_limit", MPX_FIELD_OBJECT, MPX_FIELD_NULLABLE, 0, 0, NULL, NULL, rate_fields, offsetof(key_body_t, rate) }, \
    { "allowed_cidrs", MPX_FIELD_STRINGS, MPX_FIELD_NULLABLE, 0, IDENTITY_CIDRS_MAX, mpx_check_cidr, NULL, NULL,     \
      offsetof(key_body_t, allowed_cidrs) },                                                                         \
    { "metadata", MPX_FIELD_OBJECT, clears, 0, IDENTITY_METADATA_MAX, NULL, NULL, NULL,                              \
      offsetof(key_body_t, metadata) }
/* clang-format on */

static const mpx_field_t create_fields[] = {
    SHARED_FIELDS(MPX_FIELD_REQUIRED, MPX_FIELD_NULLABLE),
    { "env", MPX_FIELD_STRING, MPX_FIELD_NULLABLE, 1, 4, NULL, environments, NULL, offsetof(key_body_t, env) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static const mpx_field_t patch_fields[] = {
    SHARED_FIELDS(0, 0), /* to clear it is to send {} */
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static void read_rate(const rate_body_t *body, mpx_rate_t *rate)
{
    static const unsigned seconds[] = { 1, 60, 3600, 86400 };
    int i;

    memset(rate, 0, sizeof *rate);
    for (i = 0; body->per && periods[i]; i++) {
        if (strcmp(periods[i], body->per) == 0) {
            rate->count = (apr_uint64_t)body->rate;
            rate->period = seconds[i];
            rate->burst = (apr_uint64_t)(body->burst ? body->burst : body->rate);
        }
    }
}

/* @param errors  of the body's form; the rest is judged with them */
static void make_spec(mpx_http_t *http, const key_body_t *body, apr_array_header_t *errors, identity_key_spec_t *spec)
{
    memset(spec, 0, sizeof *spec);
    spec->name = body->name;
    spec->env = body->env && strcmp(body->env, "test") == 0 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE;
    spec->scopes = body->scopes;
    spec->allowed_cidrs = body->allowed_cidrs;
    spec->expires_at = body->expires_at;
    spec->metadata = body->metadata ? apr_pstrmemdup(http->call->pool, body->metadata->text, body->metadata->len) : NULL;
    read_rate(&body->rate, &spec->rate);
    if (spec->rate.count && !mpx_rate_fits(&spec->rate)) {
        mpx_field_error_add(errors, "/rate_limit/burst", "range", "so many at this rate would take centuries to come back");
    }
    spec->errors = errors;
}

/* --- Answers -------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t reply_key(mpx_http_t *http, int status, const identity_key_t *k)
{
    mpx_jsonw_t *w = mpx_jsonw_make(http->call->pool);
    identity_key_write(w, http->call->pool, k);
    mpx_reply_etag(http, &k->id, k->version);
    return mpx_reply_json(http, status, w);
}

/* This node forgets the key before the answer is out; under an Idempotency-Key, whose transaction is still open, the
 * notification does it. */
static apr_status_t reply_changed(mpx_http_t *http, const identity_key_t *k)
{
    identity_forget_key(&k->id);
    return reply_key(http, HTTP_OK, k);
}

/* --- Keys --------------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t post_key(mpx_http_t *http)
{
    key_body_t body = { 0 };
    identity_key_spec_t spec;
    identity_key_t key;
    apr_pool_t *pool = http->call->pool;
    apr_array_header_t *errors;
    apr_status_t rv = mpx_http_read(http, create_fields, &body, &errors);

    if (rv == APR_SUCCESS) {
        make_spec(http, &body, errors, &spec);
        rv = identity_key_create(http->call, &spec, &key);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    mpx_reply_location(http, "/v1/tenants/%s/api-keys/%s", mpx_typeid_format(pool, "ten", &key.tenant),
                       mpx_typeid_format(pool, "key", &key.id));
    return reply_key(http, HTTP_CREATED, &key);
}

static void write_row(mpx_jsonw_t *w, apr_pool_t *pool, const void *row)
{
    identity_key_write(w, pool, row);
}

static const char *row_key(apr_pool_t *pool, const void *row)
{
    return mpx_uuid_format(&((const identity_key_t *)row)->id, apr_palloc(pool, MPX_UUID_TEXT));
}

static apr_status_t get_keys(mpx_http_t *http)
{
    apr_array_header_t *keys = NULL;
    mpx_page_t page;
    apr_status_t rv = mpx_http_page(http, NULL, &page);

    if (rv == APR_SUCCESS) {
        rv = identity_key_list(http->call, &page, &keys);
    }
    return rv == APR_SUCCESS ? mpx_reply_list(http, &page, keys, write_row, row_key) : rv;
}

static apr_status_t get_key(mpx_http_t *http)
{
    identity_key_t key;
    mpx_uuid_t id;
    apr_status_t rv = mpx_http_id(http, "key", "key", &id);

    if (rv == APR_SUCCESS) {
        rv = identity_key_get(http->call, &id, &key);
    }
    return rv == APR_SUCCESS ? reply_key(http, HTTP_OK, &key) : rv;
}

static apr_status_t patch_key(mpx_http_t *http)
{
    key_body_t body = { 0 };
    identity_key_spec_t spec;
    identity_key_t key;
    mpx_uuid_t id;
    unsigned set = 0;
    apr_array_header_t *errors;
    apr_status_t rv = mpx_http_id(http, "key", "key", &id);

    if (rv == APR_SUCCESS) {
        rv = mpx_http_read(http, patch_fields, &body, &errors);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    make_spec(http, &body, errors, &spec);
    set |= body.present >> FIELD_EXPIRES & 1 ? IDENTITY_SET_EXPIRES : 0;
    set |= body.present >> FIELD_RATE & 1 ? IDENTITY_SET_RATE : 0;
    if (body.present >> FIELD_CIDRS & 1 && spec.allowed_cidrs == NULL) {
        spec.allowed_cidrs = apr_array_make(http->call->pool, 0, sizeof(const char *)); /* null: from anywhere */
    }
    rv = identity_key_update(http->call, &id, mpx_http_if_match(http), &spec, set, &key);
    return rv == APR_SUCCESS ? reply_changed(http, &key) : rv;
}

static apr_status_t rotate_key(mpx_http_t *http)
{
    typedef struct rotate_body {
        apr_uint64_t present;
        apr_int64_t grace;
    } rotate_body_t;
    static const mpx_field_t fields[] = {
        { "grace_seconds", MPX_FIELD_INT, MPX_FIELD_NULLABLE, 0, IDENTITY_GRACE_MAX, NULL, NULL, NULL,
          offsetof(rotate_body_t, grace) },
        { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
    };
    rotate_body_t body = { 0, 0 };
    identity_key_t key;
    mpx_uuid_t id;
    apr_status_t rv = mpx_http_id(http, "key", "key", &id);

    if (rv == APR_SUCCESS && http->body_len) {
        rv = mpx_http_fields(http, fields, &body);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_key_rotate(http->call, &id, body.grace, &key);
    }
    return rv == APR_SUCCESS ? reply_changed(http, &key) : rv;
}

static apr_status_t delete_key(mpx_http_t *http)
{
    mpx_uuid_t id;
    apr_status_t rv = mpx_http_id(http, "key", "key", &id);

    if (rv == APR_SUCCESS) {
        rv = identity_key_revoke(http->call, &id, mpx_http_if_match(http));
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    identity_forget_key(&id);
    return mpx_reply_empty(http, HTTP_NO_CONTENT);
}

/* --- Verify ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct verify_body {
    apr_uint64_t present;
    const char *key, *client;
    apr_array_header_t *scopes;
    apr_int64_t cost;
} verify_body_t;

static const char *check_client(const char *text, apr_size_t len, const char **detail)
{
    mpx_addr_t address;

    *detail = "an IPv4 or IPv6 address is expected";
    return mpx_addr_parse(text, &address) ? NULL : "format";
}

static const mpx_field_t verify_fields[] = {
    { "key", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 256, NULL, NULL, NULL, offsetof(verify_body_t, key) },
    { "scopes", MPX_FIELD_STRINGS, MPX_FIELD_NULLABLE, 0, IDENTITY_SCOPES_MAX, identity_check_scope, NULL, NULL,
      offsetof(verify_body_t, scopes) },
    { "cost", MPX_FIELD_INT, MPX_FIELD_NULLABLE, 0, 1000000000, NULL, NULL, NULL, offsetof(verify_body_t, cost) },
    { "client", MPX_FIELD_STRING, MPX_FIELD_NULLABLE, 1, 64, check_client, NULL, NULL, offsetof(verify_body_t, client) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static void write_principal(mpx_jsonw_t *w, apr_pool_t *pool, const mpx_principal_t *p)
{
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "type", "api_key");
    mpx_jsonw_member_string(w, "id", mpx_principal_text(pool, p));
    mpx_jsonw_member_string(w, "tenant_id", mpx_typeid_format(pool, "ten", &p->tenant));
    mpx_jsonw_member_string(w, "env", p->env == MPX_APIKEY_TEST ? "test" : "live");
    identity_words_write(w, "scopes", p->scopes);
    mpx_jsonw_member_bool(w, "platform_admin", p->platform_admin);
    mpx_jsonw_end(w);
}

static void write_limit(mpx_jsonw_t *w, const mpx_rate_t *rate, const mpx_gcra_t *g)
{
    apr_uint64_t wait = g->allowed ? 0 : g->retry_after == APR_UINT64_MAX ? mpx_rate_never(rate, g)
                                                                          : g->retry_after;
    mpx_jsonw_key(w, "ratelimit");
    mpx_jsonw_object(w);
    mpx_jsonw_member_int(w, "limit", (apr_int64_t)rate->count);
    mpx_jsonw_member_int(w, "window", rate->period);
    mpx_jsonw_member_int(w, "remaining", (apr_int64_t)g->remaining);
    mpx_jsonw_member_int(w, "reset", (apr_int64_t)((g->reset_after + 999999999) / 1000000000));
    mpx_jsonw_member_int(w, "retry_after", (apr_int64_t)((wait + 999999999) / 1000000000));
    mpx_jsonw_end(w);
}

/* Is the key good, of a tenant that the caller may see, and does it hold the scopes? The problem's code, MPX_P_NONE
 * for yes. */
static mpx_problem_code_e verdict_of(mpx_http_t *http, const verify_body_t *body, const mpx_principal_t **principal)
{
    mpx_call_t *call = http->call;
    mpx_problem_code_e code = MPX_P_NONE;
    mpx_uuid_t tenant;
    int i;

    /* a key bound to addresses is good for none when the client's is not told */
    if (identity_principal_of_key(call, body->key, body->client ? body->client : "", &tenant, principal) != APR_SUCCESS) {
        code = call->problem.code;
        if (code == MPX_P_UNAVAILABLE || code == MPX_P_INTERNAL) {
            return code;
        }
        memset(&call->problem, 0, sizeof call->problem);
    }
    if (!mpx_uuid_equal(&tenant, &call->tenant)
        && !(call->principal->platform_admin && mpx_uuid_equal(&call->tenant, &call->principal->tenant))) {
        *principal = NULL;
        return MPX_P_INVALID_API_KEY; /* of another tenant: neither that it is there nor its state is disclosed */
    }
    for (i = 0; code == MPX_P_NONE && body->scopes && i < body->scopes->nelts; i++) {
        if (!mpx_principal_has(*principal, APR_ARRAY_IDX(body->scopes, i, const char *))) {
            return MPX_P_INSUFFICIENT_SCOPE;
        }
    }
    return code;
}

static apr_status_t post_verify(mpx_http_t *http)
{
    verify_body_t body = { .cost = 1 };
    const mpx_principal_t *principal = NULL;
    mpx_problem_code_e code;
    mpx_gcra_t limit;
    mpx_jsonw_t *w;
    int limited = 0;
    apr_status_t rv = mpx_http_fields(http, verify_fields, &body);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    code = verdict_of(http, &body, &principal);
    if (http->call->problem.code != MPX_P_NONE) {
        return MPX_FAILED; /* not known because the database is away: no verdict */
    }
    if (code == MPX_P_NONE && limit_key) {
        limited = limit_key(http->r, principal, (apr_uint64_t)body.cost, &limit);
        code = limited && !limit.allowed ? MPX_P_RATE_LIMITED : code;
    }
    w = mpx_jsonw_make(http->call->pool);
    mpx_jsonw_object(w);
    mpx_jsonw_member_bool(w, "valid", code == MPX_P_NONE);
    mpx_jsonw_member_string(w, "code", code == MPX_P_NONE ? "ok" : mpx_problem_name(code));
    if (principal) {
        mpx_jsonw_key(w, "principal");
        write_principal(w, http->call->pool, principal);
    }
    if (limited && principal) {
        write_limit(w, &principal->rate, &limit);
    }
    mpx_jsonw_end(w);
    return mpx_reply_json(http, HTTP_OK, w);
}

/* --- Me -------------------------------------------------------------------------------------------------------------------------------------- */

/* What of the API's table the principal holds: for a platform administrator, all of it. */
static void write_permissions(mpx_jsonw_t *w, const mpx_principal_t *p)
{
    const char *name;
    int i;

    mpx_jsonw_key(w, "permissions");
    mpx_jsonw_array(w);
    for (i = 0; (name = mpx_permission_name(i)) != NULL; i++) {
        if (mpx_principal_has(p, name)) {
            mpx_jsonw_string(w, name);
        }
    }
    mpx_jsonw_end(w);
}

static apr_status_t get_me(mpx_http_t *http)
{
    mpx_call_t *call = http->call;
    const mpx_principal_t *p = call->principal;
    identity_tenant_t tenant;
    identity_key_t key;
    mpx_jsonw_t *w;
    apr_status_t rv;

    call->tenant = p->tenant; /* who one is does not change with Meterplex-Tenant */
    rv = identity_tenant_get(call, &tenant);
    if (rv == APR_SUCCESS) {
        rv = identity_key_get(call, &p->id, &key);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    w = mpx_jsonw_make(call->pool);
    mpx_jsonw_object(w);
    mpx_jsonw_key(w, "principal");
    write_principal(w, call->pool, p);
    mpx_jsonw_key(w, "api_key");
    identity_key_write(w, call->pool, &key);
    mpx_jsonw_key(w, "tenant");
    identity_tenant_write(w, call->pool, &tenant);
    write_permissions(w, p);
    mpx_jsonw_end(w);
    return mpx_reply_json(http, HTTP_OK, w);
}

const mpx_route_t identity_key_routes[] = {
    { "POST", "/v1/tenants/{tenant}/api-keys", "api_keys:write", 0, post_key, NULL },
    { "GET", "/v1/tenants/{tenant}/api-keys", "api_keys:read", 0, get_keys, "limit cursor" },
    { "GET", "/v1/tenants/{tenant}/api-keys/{key}", "api_keys:read", 0, get_key, NULL },
    { "PATCH", "/v1/tenants/{tenant}/api-keys/{key}", "api_keys:write", 0, patch_key, NULL },
    { "DELETE", "/v1/tenants/{tenant}/api-keys/{key}", "api_keys:write", 0, delete_key, NULL },
    { "POST", "/v1/tenants/{tenant}/api-keys/{key}/rotate", "api_keys:write", MPX_ROUTE_NO_BODY, rotate_key, NULL },
    { "POST", "/v1/keys/verify", "api_keys:read", MPX_ROUTE_READS, post_verify, NULL },
    { "GET", "/v1/auth/me", NULL, 0, get_me, NULL },
    { NULL, NULL, NULL, 0, NULL, NULL }
};
