/* identity_domain.c: see identity_domain.h. */
#include "identity_domain.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *identity_check_scope(const char *text, apr_size_t len, const char **detail)
{
    const char *code;

    if (len > IDENTITY_SCOPE_MAX) {
        *detail = "a scope has at most 64 characters";
        return "length";
    }
    code = mpx_check_scope(text, len, detail);
    if (code == NULL && memchr(text, '*', len)) {
        *detail = "a scope is taken literally: there are no wildcards";
        return "pattern";
    }
    return code;
}

static int word_in(const char *words, const char *word)
{
    apr_size_t len = strlen(word), n;

    for (; *words; words += n + (words[n] == ' ')) {
        n = strcspn(words, " ");
        if (n == len && memcmp(words, word, n) == 0) {
            return 1;
        }
    }
    return 0;
}

const char *identity_check_tenant_slug(const char *text, apr_size_t len, const char **detail)
{
    mpx_uuid_t id;

    if (mpx_typeid_parse(text, "ten", &id)) {
        *detail = "this reads as the id of a tenant";
        return "reserved";
    }
    return mpx_check_slug(text, len, detail);
}

void identity_scopes_normalize(apr_array_header_t *scopes)
{
    const char **text = (const char **)scopes->elts;
    int i, kept = 0;

    qsort(text, (apr_size_t)scopes->nelts, sizeof *text, by_text);
    for (i = 0; i < scopes->nelts; i++) {
        if (kept == 0 || strcmp(text[kept - 1], text[i]) != 0) {
            text[kept++] = text[i];
        }
    }
    scopes->nelts = kept;
}

int identity_scopes_grantable(apr_pool_t *pool, const mpx_principal_t *granter, int platform_tenant,
                              const apr_array_header_t *scopes, const char *held, apr_array_header_t *errors)
{
    int i, before = errors->nelts;

    for (i = 0; i < scopes->nelts; i++) {
        const char *scope = APR_ARRAY_IDX(scopes, i, const char *), *detail = NULL;
        if (word_in(held, scope)) {
            continue;
        }
        if (strncmp(scope, "platform:", 9) == 0) {
            if (strcmp(scope, IDENTITY_PLATFORM_SCOPE) != 0 || !platform_tenant
                || !(granter->platform_admin || granter->kind == MPX_PRINCIPAL_SYSTEM)) {
                detail = "Scopes of the platform are granted in the platform tenant only, by its administrators.";
            }
        }
        else if (mpx_permission_known(scope) && !mpx_principal_has(granter, scope)) {
            detail = "No one grants a permission that they do not hold.";
        }
        if (detail) {
            mpx_field_error_add(errors, apr_psprintf(pool, "/scopes/%d", i), "not_grantable", detail);
        }
    }
    return errors->nelts - before;
}

static int client_allowed(const char *allowed, const char *client)
{
    char block[64];
    mpx_addr_t address;
    mpx_cidr_t cidr;

    if (*allowed == '\0') {
        return 1;
    }
    if (client == NULL || !mpx_addr_parse_peer(client, &address)) {
        return 0;
    }
    while (*allowed) {
        apr_size_t len = strcspn(allowed, " ");
        if (len < sizeof block) {
            memcpy(block, allowed, len);
            block[len] = '\0';
            if (mpx_cidr_parse(block, &cidr) && mpx_cidr_contains(&cidr, &address)) {
                return 1;
            }
        }
        allowed += len;
        allowed += *allowed == ' ';
    }
    return 0;
}

mpx_problem_code_e identity_judge(const identity_standing_t *standing, apr_time_t now, const char *client)
{
    if (!standing->known) {
        return MPX_P_INVALID_API_KEY;
    }
    if (standing->revoked) {
        return MPX_P_REVOKED_API_KEY;
    }
    if ((standing->key_expires && standing->key_expires <= now)
        || (standing->secret_expires && standing->secret_expires <= now)) {
        return MPX_P_EXPIRED_API_KEY;
    }
    if (standing->suspended) {
        return MPX_P_TENANT_SUSPENDED;
    }
    return client_allowed(standing->allowed_cidrs, client) ? MPX_P_NONE : MPX_P_FORBIDDEN;
}

const char *identity_judgement(mpx_problem_code_e code)
{
    switch (code) {
    case MPX_P_INVALID_API_KEY: return "The API key is not known.";
    case MPX_P_REVOKED_API_KEY: return "The API key has been revoked.";
    case MPX_P_EXPIRED_API_KEY: return "The API key has expired.";
    case MPX_P_TENANT_SUSPENDED: return "The tenant of this API key is suspended.";
    case MPX_P_FORBIDDEN: return "The API key may not be used from this address.";
    default: return "The API key is good.";
    }
}
