/* identity_private.h: what the httpd files of identity ask of each other. */
#ifndef IDENTITY_PRIVATE_H
#define IDENTITY_PRIVATE_H

#include "../include/meterplex.h"

#include "http_log.h"

#include "../lib/mpx_cache.h"
#include "identity_commands.h"

APLOG_USE_MODULE(meterplex_identity);

/* --- Configuration (identity_config.c) ------------------------------------------------------------------------------------------ */
extern const command_rec identity_directives[];
void identity_config_reset(void);
/* check_config: nothing answers before keys are asked for. @return OK, or an HTTP error */
int identity_config_check(apr_pool_t *ptemp, server_rec *s);
apr_interval_time_t identity_principal_ttl(void);

/* --- Principals in shared memory (identity_principals.c) ------------------------------------------------------------------------ */

/* What is remembered of a key: this, then scopes, slug and cidrs, each NUL-terminated. */
typedef struct identity_record {
    mpx_uuid_t key, tenant;
    apr_time_t asked_at;                    /* when the database was asked */
    apr_time_t key_expires, secret_expires; /* 0: never */
    apr_uint64_t rate_count, rate_burst;
    apr_uint32_t rate_period;
    unsigned char env, revoked, suspended, platform;
} identity_record_t;

/* A record with its texts, as it lies in the cache. */
typedef union identity_packed {
    identity_record_t record;
    char bytes[MPX_CACHE_VALUE_MAX];
    apr_uint64_t align;
} identity_packed_t;

/* @return bytes, 0 when the texts are too long */
apr_size_t identity_record_pack(identity_packed_t *out, const identity_record_t *record, const char *scopes,
                                const char *slug, const char *cidrs);
/* The columns of principal_find, into a record whose ids, secret_expires and asked_at are set. @return as pack */
apr_size_t identity_record_read(identity_packed_t *out, identity_record_t *record, mpx_rows_t *rows, int row);
/* Remember what was read after the ticket was taken. @return as mpx_cache_store() */
int identity_record_store(const mpx_cache_ticket_t *ticket, const unsigned char *digest, const identity_packed_t *packed,
                          apr_size_t len);

void identity_principals_want(void);                            /* pre_config */
int identity_principals_open(apr_pool_t *pconf, server_rec *s); /* post_config: cache, subkeys, metrics, jobs */
mpx_cache_t *identity_cache(void);
int identity_changes_heard(void);                               /* do revocations arrive? */
/* Drop what is remembered, of this node; other nodes learn by notification. */
void identity_forget_key(const mpx_uuid_t *key);
void identity_forget_tenant(const mpx_uuid_t *tenant);

/* The principal of a key's text, from memory or else from the database.
 * @param call  used for the look-up; on MPX_FAILED the problem is there
 * @param client  the address that allowed_cidrs are held against; "" is in none of them
 * @param tenant  whose key it is, set whenever the key is known, good or not; else nil */
apr_status_t identity_principal_of_key(mpx_call_t *call, const char *text, const char *client, mpx_uuid_t *tenant,
                                       const mpx_principal_t **out);

/* --- What keeps them true (identity_changes.c) ------------------------------------------------------------------------------------- */
void identity_changes_open(void);                               /* post_config: jobs, health */

/* --- Asking again before it is due (identity_refresh.c) ------------------------------------------------------------------------------ */
void identity_refresh_open(void);                               /* post_config: job, metric */

/* --- Purging tenants (identity_purge.c) ----------------------------------------------------------------------------------------------- */
void identity_purge_register(void);                             /* register_hooks: what leaves with a tenant */
void identity_purge_open(void);                                 /* post_config: job, metric */

/* --- Credentials (identity_auth.c) ------------------------------------------------------------------------------------------------- */
apr_status_t identity_authenticate(request_rec *r, mpx_request_t *request, const mpx_principal_t **principal);
void identity_auth_open(apr_pool_t *pconf);                   /* post_config: metrics */
int identity_check_authn(request_rec *r);
int identity_note_failure(request_rec *r, const char *type);
void identity_forbid(request_rec *r);                         /* insert_error_filter */
int identity_fixups(request_rec *r);
void identity_require_register(apr_pool_t *pool);             /* Require meterplex-scope, meterplex-tenant */

/* --- Routes -------------------------------------------------------------------------------------------------------------------------- */
extern const mpx_route_t identity_tenant_routes[];
extern const mpx_route_t identity_key_routes[];
void identity_keys_check_config(void);                        /* retrieves the limit room's optional function */
apr_status_t identity_tenant_exists(mpx_call_t *call, const mpx_uuid_t *tenant);

#endif
