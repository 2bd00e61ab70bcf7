/* identity_domain.h: rules of tenants and keys. Pure: no httpd, no SQL, no clock. */
#ifndef IDENTITY_DOMAIN_H
#define IDENTITY_DOMAIN_H

#include "../include/meterplex_call.h"

#define IDENTITY_SCOPES_MAX 64      /* of one key */
#define IDENTITY_SCOPE_MAX 64       /* bytes of one */
#define IDENTITY_CIDRS_MAX 64
#define IDENTITY_METADATA_MAX 16384 /* bytes of JSON */
#define IDENTITY_GRACE_MAX 604800   /* seconds */
#define IDENTITY_PLATFORM_SCOPE "platform:admin"

/* mpx_check_scope, at most IDENTITY_SCOPE_MAX bytes, and no '*': scopes are compared as they are written. */
mpx_field_check_fn identity_check_scope;

/* mpx_check_slug, and none that reads as a tenant's id: where either may stand, the id is meant. */
mpx_field_check_fn identity_check_tenant_slug;

/* Sort scopes and leave each once. @param scopes array of const char *, changed in place */
void identity_scopes_normalize(apr_array_header_t *scopes);

/* May granter give these scopes to a key of a tenant? No one grants what they do not hold: permissions of the API only
 * when held; free scopes of gated locations by anyone who may make keys; platform:admin only by a platform administrator, in
 * the platform tenant.
 * @param held    scopes that the key has already, space-separated: they may stay. Or ""
 * @param errors  a field error "/scopes/<i>" for each that may not be granted @return number of them */
int identity_scopes_grantable(apr_pool_t *pool, const mpx_principal_t *granter, int platform_tenant,
                              const apr_array_header_t *scopes, const char *held, apr_array_header_t *errors);

/* What stands of a key, in the order in which it is judged. */
typedef struct identity_standing {
    int known, revoked, suspended; /* suspended: the tenant is */
    apr_time_t key_expires, secret_expires; /* 0: never */
    const char *allowed_cidrs;     /* space-separated, "" for any */
} identity_standing_t;

/* @param client address text @return MPX_P_NONE when the key is good now */
mpx_problem_code_e identity_judge(const identity_standing_t *standing, apr_time_t now, const char *client);
/* The sentence that goes with it. */
const char *identity_judgement(mpx_problem_code_e code);

#endif
