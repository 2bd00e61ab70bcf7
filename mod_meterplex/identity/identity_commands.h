/* identity_commands.h: use cases of identity. Without httpd: the API and meterplexctl call the same ones. Commands run in a
 * transaction of their own and append events and audit rows in it; queries change nothing. All return APR_SUCCESS, or
 * MPX_FAILED with call->problem set. Results live in call->pool.
 */
#ifndef IDENTITY_COMMANDS_H
#define IDENTITY_COMMANDS_H

#include "../include/meterplex_call.h"
#include "../lib/mpx_apikey.h"

typedef struct identity_tenant {
    mpx_uuid_t id;
    const char *name, *slug, *status; /* status: "active" or "suspended" */
    int platform;
    const char *metadata;             /* JSON object text */
    apr_int64_t version;
    apr_time_t created_at, updated_at;
} identity_tenant_t;

typedef struct identity_key {
    mpx_uuid_t id, tenant;
    const char *name, *env;           /* env: "live" or "test" */
    const char *scopes;               /* space-separated */
    const char *hint;                 /* last 4 characters */
    mpx_rate_t rate;                  /* count 0: none */
    const char *allowed_cidrs;        /* space-separated */
    const char *metadata;             /* JSON object text */
    const char *created_by;
    apr_time_t expires_at, last_used_at; /* 0: never */
    apr_int64_t version;
    apr_time_t created_at, updated_at;
    const char *secret;               /* the key's text, once: after create and rotate; else NULL */
} identity_key_t;

/* --- Tenants ------------------------------------------------------------------------------------------------------------------ */

/* Create. @param metadata JSON object text or NULL. Slug taken: 409. */
apr_status_t identity_tenant_create(mpx_call_t *call, const char *name, const char *slug, const char *metadata,
                                    identity_tenant_t *tenant);
/* The tenant of call->tenant; 404. */
apr_status_t identity_tenant_get(mpx_call_t *call, identity_tenant_t *tenant);
/* By "ten_..." or slug, among all (system and platform administrators); sets call->tenant. */
apr_status_t identity_tenant_find(mpx_call_t *call, const char *id_or_slug, identity_tenant_t *tenant);
/* Those that the principal may see: all for a platform administrator or the system, else its own. Newest first.
 * @param tenants array of identity_tenant_t, page->limit + 1 at most */
apr_status_t identity_tenant_list(mpx_call_t *call, const mpx_page_t *page, apr_array_header_t **tenants);
/* Change what is not NULL. @param if_match as mpx_etag_matches() takes it, or NULL */
apr_status_t identity_tenant_update(mpx_call_t *call, const char *if_match, const char *name, const char *slug,
                                    const char *metadata, const char *status, identity_tenant_t *tenant);
/* Soft: its keys stop at once; again: 404. The platform tenant cannot be deleted. */
apr_status_t identity_tenant_delete(mpx_call_t *call, const char *if_match);

/* --- Keys, in call->tenant ------------------------------------------------------------------------------------------------------ */

typedef struct identity_key_spec {
    const char *name;
    mpx_apikey_env_e env;
    apr_array_header_t *scopes;        /* const char *, in any order */
    mpx_rate_t rate;                   /* count 0: none */
    apr_array_header_t *allowed_cidrs; /* const char *, or NULL */
    const char *metadata;              /* JSON object text, or NULL */
    apr_time_t expires_at;             /* 0: never; must lie ahead */
    apr_array_header_t *errors;        /* mpx_field_error_t: found already, told with what is found here; or NULL */
} identity_key_spec_t;

apr_status_t identity_key_create(mpx_call_t *call, const identity_key_spec_t *spec, identity_key_t *key);
apr_status_t identity_key_get(mpx_call_t *call, const mpx_uuid_t *id, identity_key_t *key);
apr_status_t identity_key_list(mpx_call_t *call, const mpx_page_t *page, apr_array_header_t **keys); /* identity_key_t */

#define IDENTITY_SET_EXPIRES 1u
#define IDENTITY_SET_RATE 2u
/* @param changes  name, scopes, allowed_cidrs, metadata where not NULL; expires_at and rate where set names them */
apr_status_t identity_key_update(mpx_call_t *call, const mpx_uuid_t *id, const char *if_match,
                                 const identity_key_spec_t *changes, unsigned set, identity_key_t *key);
/* A new secret; the old one is good for grace more seconds. The key's scopes must be the caller's to grant: 403. */
apr_status_t identity_key_rotate(mpx_call_t *call, const mpx_uuid_t *id, apr_int64_t grace, identity_key_t *key);
apr_status_t identity_key_revoke(mpx_call_t *call, const mpx_uuid_t *id, const char *if_match);

/* --- Bootstrap ---------------------------------------------------------------------------------------------------------------------- */

/* Make the platform tenant (slug "platform") and its first key, with scope platform:admin. 409 when there is one. The root
 * key is recorded as one of the installation's.
 * @param new_rootkey  also where others are recorded, and this is none of them */
apr_status_t identity_bootstrap(mpx_call_t *call, int new_rootkey, identity_tenant_t *tenant, identity_key_t *key);
/* The platform tenant begins anew under a root key of which nothing is known, because the old one is lost: the root key is
 * recorded, and another key with scope platform:admin made. */
apr_status_t identity_bootstrap_again(mpx_call_t *call, const mpx_uuid_t *platform, identity_key_t *key);

#endif
