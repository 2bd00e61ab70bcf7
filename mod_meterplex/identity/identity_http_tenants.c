/* identity_http_tenants.c: routes of tenants. */
#include "identity_private.h"

#include "apr_strings.h"

#include "identity_domain.h"
#include "identity_view.h"

typedef struct tenant_body {
    apr_uint64_t present;
    const char *name, *slug, *status;
    const mpx_json_t *metadata;
} tenant_body_t;

static const char *const statuses[] = { "active", "suspended", NULL };

static const mpx_field_t create_fields[] = {
    { "name", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 200, mpx_check_line, NULL, NULL, offsetof(tenant_body_t, name) },
    { "slug", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 63, identity_check_tenant_slug, NULL, NULL,
      offsetof(tenant_body_t, slug) },
    { "metadata", MPX_FIELD_OBJECT, MPX_FIELD_NULLABLE, 0, IDENTITY_METADATA_MAX, NULL, NULL, NULL,
      offsetof(tenant_body_t, metadata) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static const mpx_field_t patch_fields[] = {
    { "name", MPX_FIELD_STRING, 0, 1, 200, mpx_check_line, NULL, NULL, offsetof(tenant_body_t, name) },
    { "slug", MPX_FIELD_STRING, 0, 1, 63, identity_check_tenant_slug, NULL, NULL,
      offsetof(tenant_body_t, slug) },
    { "status", MPX_FIELD_STRING, 0, 1, 20, NULL, statuses, NULL, offsetof(tenant_body_t, status) },
    { "metadata", MPX_FIELD_OBJECT, 0, 0, IDENTITY_METADATA_MAX, NULL, NULL, NULL, offsetof(tenant_body_t, metadata) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static apr_status_t reply_tenant(mpx_http_t *http, int status, const identity_tenant_t *t)
{
    mpx_jsonw_t *w = mpx_jsonw_make(http->call->pool);
    identity_tenant_write(w, http->call->pool, t);
    mpx_reply_etag(http, &t->id, t->version);
    return mpx_reply_json(http, status, w);
}

static const char *json_text(mpx_http_t *http, const mpx_json_t *json)
{
    return json ? apr_pstrmemdup(http->call->pool, json->text, json->len) : NULL;
}

static apr_status_t post_tenant(mpx_http_t *http)
{
    tenant_body_t body = { 0 };
    identity_tenant_t tenant;
    apr_status_t rv = mpx_http_fields(http, create_fields, &body);

    if (rv == APR_SUCCESS) {
        http->call->acting_as_platform = 1; /* in a tenant that is not its own: audited as such */
        rv = identity_tenant_create(http->call, body.name, body.slug, json_text(http, body.metadata), &tenant);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    mpx_reply_location(http, "/v1/tenants/%s", mpx_typeid_format(http->call->pool, "ten", &tenant.id));
    return reply_tenant(http, HTTP_CREATED, &tenant);
}

static void write_row(mpx_jsonw_t *w, apr_pool_t *pool, const void *row)
{
    identity_tenant_write(w, pool, row);
}

static const char *row_key(apr_pool_t *pool, const void *row)
{
    return mpx_uuid_format(&((const identity_tenant_t *)row)->id, apr_palloc(pool, MPX_UUID_TEXT));
}

static apr_status_t get_tenants(mpx_http_t *http)
{
    apr_array_header_t *tenants = NULL;
    mpx_page_t page;
    apr_status_t rv = mpx_http_page(http, NULL, &page);

    if (rv == APR_SUCCESS) {
        rv = identity_tenant_list(http->call, &page, &tenants);
    }
    return rv == APR_SUCCESS ? mpx_reply_list(http, &page, tenants, write_row, row_key) : rv;
}

static apr_status_t get_tenant(mpx_http_t *http)
{
    identity_tenant_t tenant;
    apr_status_t rv = identity_tenant_get(http->call, &tenant);
    return rv == APR_SUCCESS ? reply_tenant(http, HTTP_OK, &tenant) : rv;
}

static apr_status_t patch_tenant(mpx_http_t *http)
{
    tenant_body_t body = { 0 };
    identity_tenant_t tenant;
    apr_status_t rv = mpx_http_fields(http, patch_fields, &body);

    if (rv == APR_SUCCESS && body.status && !http->call->principal->platform_admin) {
        return mpx_fail_field(http->call, MPX_P_FORBIDDEN, "/status", "platform_only",
                              "Only a platform administrator suspends or activates a tenant.");
    }
    if (rv == APR_SUCCESS) {
        rv = identity_tenant_update(http->call, mpx_http_if_match(http), body.name, body.slug,
                                    json_text(http, body.metadata), body.status, &tenant);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    identity_forget_tenant(&tenant.id);
    return reply_tenant(http, HTTP_OK, &tenant);
}

static apr_status_t delete_tenant(mpx_http_t *http)
{
    apr_status_t rv = identity_tenant_delete(http->call, mpx_http_if_match(http));
    if (rv != APR_SUCCESS) {
        return rv;
    }
    identity_forget_tenant(&http->call->tenant);
    return mpx_reply_empty(http, HTTP_NO_CONTENT);
}

apr_status_t identity_tenant_exists(mpx_call_t *call, const mpx_uuid_t *tenant)
{
    mpx_uuid_t own = call->tenant;
    identity_tenant_t found;
    apr_status_t rv;

    call->tenant = *tenant;
    rv = identity_tenant_get(call, &found);
    call->tenant = own;
    return rv;
}

const mpx_route_t identity_tenant_routes[] = {
    { "POST", "/v1/tenants", NULL, MPX_ROUTE_PLATFORM, post_tenant, NULL },
    { "GET", "/v1/tenants", "tenant:read", 0, get_tenants, "limit cursor" },
    { "GET", "/v1/tenants/{tenant}", "tenant:read", 0, get_tenant, NULL },
    { "PATCH", "/v1/tenants/{tenant}", "tenant:write", 0, patch_tenant, NULL },
    { "DELETE", "/v1/tenants/{tenant}", "tenant:delete", 0, delete_tenant, NULL },
    { NULL, NULL, NULL, 0, NULL, NULL }
};
