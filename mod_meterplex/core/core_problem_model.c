/* core_problem_model.c: problems as values, and what a principal may do. No httpd. */
#include "../include/meterplex_call.h"

#include <stdarg.h>
#include <string.h>

#include <apr_strings.h>

static const struct {
    int status;
    const char *name, *title;
} problems[MPX_P_COUNT] = {
    [MPX_P_NONE] = { 500, "internal", "Internal error" },
    [MPX_P_BAD_JSON] = { 400, "bad_json", "Bad JSON" },
    [MPX_P_BAD_REQUEST] = { 400, "bad_request", "Bad request" },
    [MPX_P_BAD_CURSOR] = { 400, "bad_cursor", "Bad cursor" },
    [MPX_P_UNAUTHENTICATED] = { 401, "unauthenticated", "Authentication required" },
    [MPX_P_INVALID_API_KEY] = { 401, "invalid_api_key", "Invalid API key" },
    [MPX_P_EXPIRED_API_KEY] = { 401, "expired_api_key", "Expired API key" },
    [MPX_P_REVOKED_API_KEY] = { 401, "revoked_api_key", "Revoked API key" },
    [MPX_P_INVALID_TOKEN] = { 401, "invalid_token", "Invalid token" },
    [MPX_P_EXPIRED_TOKEN] = { 401, "expired_token", "Expired token" },
    [MPX_P_MFA_REQUIRED] = { 401, "mfa_required", "Second factor required" },
    [MPX_P_FORBIDDEN] = { 403, "forbidden", "Forbidden" },
    [MPX_P_INSUFFICIENT_SCOPE] = { 403, "insufficient_scope", "Insufficient scope" },
    [MPX_P_TENANT_SUSPENDED] = { 403, "tenant_suspended", "Tenant suspended" },
    [MPX_P_CSRF_FAILED] = { 403, "csrf_failed", "CSRF check failed" },
    [MPX_P_NOT_FOUND] = { 404, "not_found", "Not found" },
    [MPX_P_METHOD_NOT_ALLOWED] = { 405, "method_not_allowed", "Method not allowed" },
    [MPX_P_NOT_IMPLEMENTED] = { 501, "not_implemented", "Not implemented" },
    [MPX_P_REQUEST_TIMEOUT] = { 408, "request_timeout", "Request timeout" },
    [MPX_P_CONFLICT] = { 409, "conflict", "Conflict" },
    [MPX_P_IDEMPOTENCY_IN_PROGRESS] = { 409, "idempotency_in_progress", "Request in progress" },
    [MPX_P_PRECONDITION_FAILED] = { 412, "precondition_failed", "Precondition failed" },
    [MPX_P_PAYLOAD_TOO_LARGE] = { 413, "payload_too_large", "Payload too large" },
    [MPX_P_UNSUPPORTED_MEDIA_TYPE] = { 415, "unsupported_media_type", "Unsupported media type" },
    [MPX_P_VALIDATION_FAILED] = { 422, "validation_failed", "Validation failed" },
    [MPX_P_IDEMPOTENCY_MISMATCH] = { 422, "idempotency_mismatch", "Idempotency key used for another request" },
    [MPX_P_INVALID_TRANSITION] = { 422, "invalid_transition", "Invalid transition" },
    [MPX_P_QUOTA_EXCEEDED] = { 429, "quota_exceeded", "Quota exceeded" },
    [MPX_P_RATE_LIMITED] = { 429, "rate_limited", "Rate limited" },
    [MPX_P_INTERNAL] = { 500, "internal", "Internal error" },
    [MPX_P_UPSTREAM_ERROR] = { 502, "upstream_error", "Upstream error" },
    [MPX_P_UNAVAILABLE] = { 503, "unavailable", "Temporarily unavailable" },
    [MPX_P_CIRCUIT_OPEN] = { 503, "circuit_open", "Circuit open" },
    [MPX_P_UPSTREAM_TIMEOUT] = { 504, "upstream_timeout", "Upstream timeout" },
};

int mpx_problem_status(mpx_problem_code_e code)
{
    return problems[code].status;
}

const char *mpx_problem_name(mpx_problem_code_e code)
{
    return problems[code].name;
}

const char *mpx_problem_title(mpx_problem_code_e code)
{
    return problems[code].title;
}

apr_status_t mpx_fail(mpx_call_t *call, mpx_problem_code_e code, const char *format, ...)
{
    va_list arguments;
    if (call->problem.code != MPX_P_NONE) {
        return MPX_FAILED;
    }
    call->problem.code = code;
    va_start(arguments, format);
    call->problem.detail = apr_pvsprintf(call->pool, format, arguments);
    va_end(arguments);
    return MPX_FAILED;
}

apr_status_t mpx_fail_fields(mpx_call_t *call, apr_array_header_t *errors)
{
    if (call->problem.code == MPX_P_NONE) {
        mpx_fail(call, MPX_P_VALIDATION_FAILED,
                 errors->nelts == 1                         ? "%d field is not valid."
                     : errors->nelts < MPX_FIELD_ERRORS_MAX ? "%d fields are not valid."
                                                            : "%d fields or more are not valid.",
                 errors->nelts);
        call->problem.errors = errors;
    }
    return MPX_FAILED;
}

apr_status_t mpx_fail_field(mpx_call_t *call, mpx_problem_code_e code, const char *pointer, const char *field_code,
                            const char *detail)
{
    if (call->problem.code == MPX_P_NONE) {
        mpx_fail(call, code, "%s", detail);
        call->problem.errors = apr_array_make(call->pool, 1, sizeof(mpx_field_error_t));
        mpx_field_error_add(call->problem.errors, pointer, field_code, detail);
    }
    return MPX_FAILED;
}

/* The permissions of the API (its table of roles), which a platform administrator holds by itself. */
static const char *const permissions[] = {
    "tenant:read", "tenant:write", "tenant:delete", "members:read", "members:write", "api_keys:read", "api_keys:write",
    "meters:read", "meters:write", "usage:read", "usage:write", "usage:backfill", "billing:read", "billing:write",
    "webhooks:read", "webhooks:write", "audit:read", "privacy:write", NULL
};

const char *mpx_permission_name(int index)
{
    return permissions[index];
}

int mpx_permission_known(const char *scope)
{
    int i;
    for (i = 0; permissions[i]; i++) {
        if (strcmp(permissions[i], scope) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Is scope one of the space-separated list's words? */
static int in_list(const char *list, const char *scope)
{
    apr_size_t len = strlen(scope);
    const char *at;
    for (at = strstr(list, scope); at; at = strstr(at + 1, scope)) {
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
            return 1;
        }
    }
    return 0;
}

int mpx_principal_has(const mpx_principal_t *principal, const char *scope)
{
    return principal->kind == MPX_PRINCIPAL_SYSTEM || in_list(principal->scopes, scope)
        || (principal->platform_admin && mpx_permission_known(scope));
}

const char *mpx_principal_text(apr_pool_t *pool, const mpx_principal_t *principal)
{
    return principal->kind == MPX_PRINCIPAL_SYSTEM ? "system" : mpx_typeid_format(pool, "key", &principal->id);
}
