/* identity_tenant_commands.c: use cases of tenants (identity_commands.h). */
#include "identity_store.h"
#include "identity_view.h"

#include <string.h>

#include <apr_strings.h>

typedef struct tenant_use {
    mpx_uuid_t id;
    const char *name, *slug, *metadata, *status, *if_match, *wanted;
    const mpx_page_t *page;
    apr_array_header_t **list;
    identity_tenant_t *out;
} tenant_use_t;

static const char *tenant_text(mpx_call_t *call, const mpx_uuid_t *id)
{
    return mpx_typeid_format(call->pool, "ten", id);
}

/* What events and audit rows tell: the resource as the API shows it; never a secret. */
static const char *payload(mpx_call_t *call, const identity_tenant_t *t)
{
    mpx_jsonw_t *w = mpx_jsonw_make(call->pool);
    identity_tenant_write(w, call->pool, t);
    return mpx_jsonw_text(w, NULL);
}

/* The event and the audit row of a change, in the tenant that changed. */
static apr_status_t record(mpx_tx_t *tx, const char *event, const char *action, const identity_tenant_t *t)
{
    mpx_call_t *call = mpx_tx_call(tx);
    const char *id = tenant_text(call, &t->id), *text = payload(call, t);
    apr_status_t rv = mpx_tx_set_tenant(tx, &t->id);

    if (rv == APR_SUCCESS) {
        rv = mpx_event_append(tx, event, id, text);
    }
    return rv == APR_SUCCESS ? mpx_audit_append(tx, action, id, text) : rv;
}

static int sees_all(const mpx_call_t *call)
{
    return call->principal && (call->principal->platform_admin || call->principal->kind == MPX_PRINCIPAL_SYSTEM);
}

/* Nobody finds a deleted tenant that still holds a slug: who may know of it is told, and until when. */
static apr_status_t check_slug(mpx_tx_t *tx, const char *slug)
{
    mpx_call_t *call = mpx_tx_call(tx);
    apr_time_t until = 0;
    apr_status_t rv = slug && sees_all(call) ? identity_store_slug_holder(tx, slug, &until) : APR_SUCCESS;

    if (rv != APR_SUCCESS || until == 0) {
        return rv;
    }
    until = apr_time_from_sec(apr_time_sec(until) + 1);
    return mpx_fail_field(call, MPX_P_CONFLICT, "/slug", "taken",
                          until > call->now ? apr_pstrcat(call->pool, "A deleted tenant holds it until ",
                                                          mpx_time_text(call->pool, until), ".", NULL)
                                            : "A deleted tenant holds it, which is about to be purged.");
}

static apr_status_t create_in(mpx_tx_t *tx, void *baton)
{
    tenant_use_t *use = baton;
    apr_status_t rv = check_slug(tx, use->slug);

    if (rv == APR_SUCCESS) {
        rv = identity_store_tenant_insert(tx, &use->id, use->name, use->slug, use->metadata, 0);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_tenant_get(tx, &use->id, 0, use->out);
    }
    return rv == APR_SUCCESS ? record(tx, "tenant.created", "tenant.create", use->out) : rv;
}

apr_status_t identity_tenant_create(mpx_call_t *call, const char *name, const char *slug, const char *metadata,
                                    identity_tenant_t *tenant)
{
    tenant_use_t use = { .id = mpx_call_new_id(call), .name = name, .slug = slug, .metadata = metadata, .out = tenant };
    return mpx_tx_run(call, MPX_TX_WRITE | MPX_TX_PLATFORM, create_in, &use);
}

static apr_status_t get_in(mpx_tx_t *tx, void *baton)
{
    tenant_use_t *use = baton;
    return identity_store_tenant_get(tx, &mpx_tx_call(tx)->tenant, 0, use->out);
}

apr_status_t identity_tenant_get(mpx_call_t *call, identity_tenant_t *tenant)
{
    tenant_use_t use = { .out = tenant };
    return mpx_tx_run(call, MPX_TX_READ, get_in, &use);
}

static apr_status_t find_in(mpx_tx_t *tx, void *baton)
{
    tenant_use_t *use = baton;
    mpx_uuid_t id;
    return mpx_typeid_parse(use->wanted, "ten", &id) ? identity_store_tenant_get(tx, &id, 0, use->out)
                                                     : identity_store_tenant_by_slug(tx, use->wanted, use->out);
}

apr_status_t identity_tenant_find(mpx_call_t *call, const char *id_or_slug, identity_tenant_t *tenant)
{
    tenant_use_t use = { .wanted = id_or_slug, .out = tenant };
    apr_status_t rv = mpx_tx_run(call, MPX_TX_READ | MPX_TX_PLATFORM, find_in, &use);
    if (rv == APR_SUCCESS) {
        call->tenant = tenant->id;
    }
    return rv;
}

static apr_status_t list_in(mpx_tx_t *tx, void *baton)
{
    tenant_use_t *use = baton;
    return identity_store_tenant_list(tx, use->page, use->list);
}

apr_status_t identity_tenant_list(mpx_call_t *call, const mpx_page_t *page, apr_array_header_t **tenants)
{
    tenant_use_t use = { .page = page, .list = tenants };
    /* Row level security leaves a tenant's own principal its own row. */
    return mpx_tx_run(call, MPX_TX_READ | (sees_all(call) ? MPX_TX_PLATFORM : 0), list_in, &use);
}

static apr_status_t lock(mpx_tx_t *tx, tenant_use_t *use)
{
    mpx_call_t *call = mpx_tx_call(tx);
    apr_status_t rv = identity_store_tenant_get(tx, &call->tenant, 1, use->out);

    if (rv == APR_SUCCESS && !mpx_etag_matches(use->if_match, &use->out->id, use->out->version)) {
        return mpx_fail(call, MPX_P_PRECONDITION_FAILED, "The tenant has changed since it was read.");
    }
    return rv;
}

static apr_status_t update_in(mpx_tx_t *tx, void *baton)
{
    tenant_use_t *use = baton;
    mpx_call_t *call = mpx_tx_call(tx);
    apr_status_t rv = lock(tx, use);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (use->out->platform && use->status && strcmp(use->status, "active") != 0) {
        return mpx_fail_field(call, MPX_P_VALIDATION_FAILED, "/status", "platform_tenant",
                              "The platform tenant cannot be suspended.");
    }
    rv = check_slug(tx, use->slug);
    if (rv == APR_SUCCESS) {
        rv = identity_store_tenant_update(tx, &call->tenant, use->name, use->slug, use->metadata, use->status);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_tenant_get(tx, &call->tenant, 0, use->out);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_notify(tx, 't', &call->tenant);
    }
    return rv == APR_SUCCESS ? record(tx, "tenant.updated", "tenant.update", use->out) : rv;
}

apr_status_t identity_tenant_update(mpx_call_t *call, const char *if_match, const char *name, const char *slug,
                                    const char *metadata, const char *status, identity_tenant_t *tenant)
{
    tenant_use_t use = {
        .if_match = if_match, .name = name, .slug = slug, .metadata = metadata, .status = status, .out = tenant
    };
    /* The platform's sight is for the slug: whose is it? */
    return mpx_tx_run(call, MPX_TX_WRITE | (sees_all(call) ? MPX_TX_PLATFORM : 0), update_in, &use);
}

static apr_status_t delete_in(mpx_tx_t *tx, void *baton)
{
    tenant_use_t *use = baton;
    mpx_call_t *call = mpx_tx_call(tx);
    apr_status_t rv = lock(tx, use);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (use->out->platform) {
        return mpx_fail(call, MPX_P_CONFLICT, "The platform tenant cannot be deleted.");
    }
    rv = identity_store_tenant_delete(tx, &call->tenant);
    if (rv == APR_SUCCESS) {
        rv = identity_store_notify(tx, 't', &call->tenant);
    }
    return rv == APR_SUCCESS ? record(tx, "tenant.deleted", "tenant.delete", use->out) : rv;
}

apr_status_t identity_tenant_delete(mpx_call_t *call, const char *if_match)
{
    identity_tenant_t tenant;
    tenant_use_t use = { .if_match = if_match, .out = &tenant };
    return mpx_tx_run(call, MPX_TX_WRITE, delete_in, &use);
}
