/* identity_private.h: what the httpd files of identity ask of each other. */
#ifndef IDENTITY_PRIVATE_H
#define IDENTITY_PRIVATE_H

#include "../include/meterplex.h"

#include "http_log.h"

#include "identity_commands.h"

APLOG_USE_MODULE(meterplex_identity);

/* --- Configuration (identity_config.c) ------------------------------------------------------------------------------------------ */
extern const command_rec identity_directives[];
void identity_config_reset(void);
apr_interval_time_t identity_principal_ttl(void);

/* --- Principals in shared memory (identity_principals.c) ------------------------------------------------------------------------ */
void identity_principals_want(void);                          /* pre_config */
int identity_principals_open(apr_pool_t *pconf, server_rec *s); /* post_config: tables, subkeys, metrics, jobs */

/* The principal of a key's text, from memory or else from the database.
 * @param request  its call is used for the look-up; on MPX_FAILED the problem is there
 * @param judge_client  whether allowed_cidrs apply (not for /v1/keys/verify) */
apr_status_t identity_principal_of_key(mpx_call_t *call, const char *text, int judge_client, const mpx_principal_t **out);

/* --- Credentials (identity_auth.c) ------------------------------------------------------------------------------------------------- */
apr_status_t identity_authenticate(request_rec *r, mpx_request_t *request, const mpx_principal_t **principal);
int identity_check_authn(request_rec *r);
void identity_require_register(apr_pool_t *pool);             /* Require meterplex-scope, meterplex-tenant */

/* --- Routes -------------------------------------------------------------------------------------------------------------------------- */
extern const mpx_route_t identity_tenant_routes[];
extern const mpx_route_t identity_key_routes[];
void identity_keys_check_config(void);                        /* retrieves the limit room's optional function */
apr_status_t identity_tenant_exists(mpx_call_t *call, const mpx_uuid_t *tenant);

#endif
