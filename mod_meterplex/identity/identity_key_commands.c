/* identity_key_commands.c: use cases of API keys, and bootstrap (identity_commands.h). */
#include "identity_store.h"
#include "identity_view.h"

#include "identity_domain.h"

#include <string.h>

#include <apr_strings.h>
#include <sodium.h>

typedef struct key_use {
    mpx_uuid_t id;
    const identity_key_spec_t *spec;
    unsigned set;
    const char *if_match;
    apr_int64_t grace;
    const mpx_page_t *page;
    apr_array_header_t **list;
    identity_key_t *out;
    /* made before the transaction: a second run of it keeps the same secret */
    const char *secret, *hint;
    unsigned char digest[MPX_APIKEY_DIGEST];
} key_use_t;

static void make_secret(mpx_call_t *call, mpx_apikey_env_e env, key_use_t *use)
{
    unsigned char random[32], key[MPX_SUBKEY_SIZE];
    char *text = apr_palloc(call->pool, MPX_APIKEY_TEXT);

    randombytes_buf(random, sizeof random);
    mpx_apikey_format(env, random, text);
    mpx_subkey(call->rootkey, MPX_SUBKEY_APIKEY, key);
    mpx_apikey_digest(key, text, strlen(text), use->digest);
    sodium_memzero(random, sizeof random);
    sodium_memzero(key, sizeof key);
    use->secret = text;
    use->hint = apr_pstrdup(call->pool, text + strlen(text) - 4);
}

static const char *key_text(mpx_call_t *call, const mpx_uuid_t *id)
{
    return mpx_typeid_format(call->pool, "key", id);
}

/* What events and audit rows tell: the resource as the API shows it; never a secret. */
static const char *payload(mpx_call_t *call, const identity_key_t *k)
{
    mpx_jsonw_t *w = mpx_jsonw_make(call->pool);
    identity_key_write(w, call->pool, k);
    return mpx_jsonw_text(w, NULL);
}

static apr_status_t record(mpx_tx_t *tx, const char *event, const char *action, const identity_key_t *k)
{
    mpx_call_t *call = mpx_tx_call(tx);
    const char *id = key_text(call, &k->id), *text = payload(call, k);
    apr_status_t rv = mpx_event_append(tx, event, id, text);
    return rv == APR_SUCCESS ? mpx_audit_append(tx, action, id, text) : rv;
}

/* What the rules say of a new or changed key; the tenant tells whether it is the platform's.
 * @param held  scopes that it has already */
static apr_status_t check_spec(mpx_tx_t *tx, const identity_key_spec_t *spec, const char *held)
{
    mpx_call_t *call = mpx_tx_call(tx);
    apr_array_header_t *errors = spec->errors ? apr_array_copy(call->pool, spec->errors) /* a transaction may run twice */
                                              : apr_array_make(call->pool, 2, sizeof(mpx_field_error_t));
    identity_tenant_t tenant;
    apr_status_t rv = identity_store_tenant_get(tx, &call->tenant, 0, &tenant);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (spec->scopes) {
        identity_scopes_grantable(call->pool, call->principal, tenant.platform, spec->scopes, held, errors);
    }
    if (spec->expires_at && spec->expires_at <= call->now) {
        mpx_field_error_add(errors, "/expires_at", "range", "The time has passed already.");
    }
    return errors->nelts ? mpx_fail_fields(call, errors) : APR_SUCCESS;
}

static apr_status_t create_in(mpx_tx_t *tx, void *baton)
{
    key_use_t *use = baton;
    apr_status_t rv = check_spec(tx, use->spec, "");

    if (rv == APR_SUCCESS) {
        rv = identity_store_key_insert(tx, &use->id, use->spec, use->hint);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_secret_insert(tx, &use->id, use->digest);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_key_get(tx, &use->id, 0, use->out);
    }
    return rv == APR_SUCCESS ? record(tx, "api_key.created", "api_key.create", use->out) : rv;
}

apr_status_t identity_key_create(mpx_call_t *call, const identity_key_spec_t *spec, identity_key_t *key)
{
    key_use_t use = { .id = mpx_call_new_id(call), .spec = spec, .out = key };
    apr_status_t rv;

    if (call->rootkey == NULL) {
        return mpx_fail(call, MPX_P_INTERNAL, "There is no root key to make API keys with.");
    }
    make_secret(call, spec->env, &use);
    rv = mpx_tx_run(call, MPX_TX_WRITE, create_in, &use);
    key->secret = rv == APR_SUCCESS ? use.secret : NULL;
    return rv;
}

static apr_status_t get_in(mpx_tx_t *tx, void *baton)
{
    key_use_t *use = baton;
    return identity_store_key_get(tx, &use->id, 0, use->out);
}

apr_status_t identity_key_get(mpx_call_t *call, const mpx_uuid_t *id, identity_key_t *key)
{
    key_use_t use = { .id = *id, .out = key };
    return mpx_tx_run(call, MPX_TX_READ, get_in, &use);
}

static apr_status_t list_in(mpx_tx_t *tx, void *baton)
{
    key_use_t *use = baton;
    return identity_store_key_list(tx, use->page, use->list);
}

apr_status_t identity_key_list(mpx_call_t *call, const mpx_page_t *page, apr_array_header_t **keys)
{
    key_use_t use = { .page = page, .list = keys };
    return mpx_tx_run(call, MPX_TX_READ, list_in, &use);
}

static apr_status_t lock(mpx_tx_t *tx, key_use_t *use)
{
    apr_status_t rv = identity_store_key_get(tx, &use->id, 1, use->out);
    if (rv == APR_SUCCESS && !mpx_etag_matches(use->if_match, &use->out->id, use->out->version)) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_PRECONDITION_FAILED, "The API key has changed since it was read.");
    }
    return rv;
}

static apr_status_t update_in(mpx_tx_t *tx, void *baton)
{
    key_use_t *use = baton;
    apr_status_t rv = lock(tx, use);

    if (rv == APR_SUCCESS) {
        rv = check_spec(tx, use->spec, use->out->scopes);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_key_update(tx, &use->id, use->spec, use->set);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_key_get(tx, &use->id, 0, use->out);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_notify(tx, 'k', &use->id);
    }
    return rv == APR_SUCCESS ? record(tx, "api_key.updated", "api_key.update", use->out) : rv;
}

apr_status_t identity_key_update(mpx_call_t *call, const mpx_uuid_t *id, const char *if_match,
                                 const identity_key_spec_t *changes, unsigned set, identity_key_t *key)
{
    key_use_t use = { .id = *id, .if_match = if_match, .spec = changes, .set = set, .out = key };
    return mpx_tx_run(call, MPX_TX_WRITE, update_in, &use);
}

/* Who is given a key's secret is given its scopes: they must be the caller's to grant. */
static apr_status_t may_hold(mpx_tx_t *tx, const identity_key_t *key)
{
    mpx_call_t *call = mpx_tx_call(tx);
    apr_array_header_t *scopes = apr_array_make(call->pool, 8, sizeof(const char *));
    apr_array_header_t *errors = apr_array_make(call->pool, 2, sizeof(mpx_field_error_t));
    char *state = NULL, *word, *words = apr_pstrdup(call->pool, key->scopes);
    identity_tenant_t tenant;
    apr_status_t rv = identity_store_tenant_get(tx, &call->tenant, 0, &tenant);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (word = apr_strtok(words, " ", &state); word; word = apr_strtok(NULL, " ", &state)) {
        APR_ARRAY_PUSH(scopes, const char *) = word;
    }
    return identity_scopes_grantable(call->pool, call->principal, tenant.platform, scopes, "", errors)
        ? mpx_fail(call, MPX_P_FORBIDDEN, "The key holds permissions that you do not hold: its secret is not yours to have.")
        : APR_SUCCESS;
}

static apr_status_t rotate_in(mpx_tx_t *tx, void *baton)
{
    key_use_t *use = baton;
    apr_status_t rv = lock(tx, use);

    if (rv == APR_SUCCESS) {
        rv = may_hold(tx, use->out);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_key_rotate(tx, &use->id, use->hint, use->grace);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_secret_insert(tx, &use->id, use->digest);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_key_get(tx, &use->id, 0, use->out);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_notify(tx, 'k', &use->id);
    }
    return rv == APR_SUCCESS ? record(tx, "api_key.rotated", "api_key.rotate", use->out) : rv;
}

apr_status_t identity_key_rotate(mpx_call_t *call, const mpx_uuid_t *id, apr_int64_t grace, identity_key_t *key)
{
    key_use_t use = { .id = *id, .grace = grace, .out = key };
    identity_key_t before;
    apr_status_t rv;

    if (call->rootkey == NULL) {
        return mpx_fail(call, MPX_P_INTERNAL, "There is no root key to make API keys with.");
    }
    rv = identity_key_get(call, id, &before);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    make_secret(call, strcmp(before.env, "test") == 0 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE, &use);
    rv = mpx_tx_run(call, MPX_TX_WRITE, rotate_in, &use);
    key->secret = rv == APR_SUCCESS ? use.secret : NULL;
    return rv;
}

static apr_status_t revoke_in(mpx_tx_t *tx, void *baton)
{
    key_use_t *use = baton;
    apr_status_t rv = lock(tx, use);

    if (rv == APR_SUCCESS) {
        rv = identity_store_key_revoke(tx, &use->id);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_notify(tx, 'k', &use->id);
    }
    return rv == APR_SUCCESS ? record(tx, "api_key.revoked", "api_key.revoke", use->out) : rv;
}

apr_status_t identity_key_revoke(mpx_call_t *call, const mpx_uuid_t *id, const char *if_match)
{
    identity_key_t key;
    key_use_t use = { .id = *id, .if_match = if_match, .out = &key };
    return mpx_tx_run(call, MPX_TX_WRITE, revoke_in, &use);
}

/* --- Bootstrap ---------------------------------------------------------------------------------------------------------------------- */

typedef struct bootstrap {
    key_use_t key;
    identity_tenant_t *tenant;
    mpx_uuid_t tenant_id;
    int new_rootkey;
} bootstrap_t;

static apr_status_t bootstrap_in(mpx_tx_t *tx, void *baton)
{
    bootstrap_t *use = baton;
    int exists;
    apr_status_t rv = identity_store_platform_exists(tx, &exists);

    if (rv == APR_SUCCESS && exists) {
        return mpx_fail(mpx_tx_call(tx), MPX_P_CONFLICT, "There is a platform tenant already.");
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_tenant_insert(tx, &use->tenant_id, "Platform", "platform", NULL, 1);
    }
    if (rv == APR_SUCCESS) {
        rv = identity_store_tenant_get(tx, &use->tenant_id, 0, use->tenant);
    }
    if (rv == APR_SUCCESS) {
        rv = mpx_rootkey_record(tx, use->new_rootkey);
    }
    return rv == APR_SUCCESS ? create_in(tx, &use->key) : rv;
}

static apr_status_t renew_in(mpx_tx_t *tx, void *baton)
{
    bootstrap_t *use = baton;
    apr_status_t rv = mpx_rootkey_record(tx, 1);

    if (rv == APR_SUCCESS) {
        const char *target = mpx_typeid_format(mpx_tx_call(tx)->pool, "ten", &use->tenant_id);
        rv = mpx_audit_append(tx, "root_key.replace", target, NULL);
    }
    return rv == APR_SUCCESS ? create_in(tx, &use->key) : rv;
}

/* @param body  makes the administrator's key of use->tenant_id */
static apr_status_t bootstrap_by(mpx_call_t *call, mpx_tx_body_fn *body, bootstrap_t *use, identity_key_t *key)
{
    identity_key_spec_t spec = { .name = "Platform administrator", .env = MPX_APIKEY_LIVE };
    apr_status_t rv;

    if (call->rootkey == NULL) {
        return mpx_fail(call, MPX_P_INTERNAL, "There is no root key to make API keys with.");
    }
    spec.scopes = apr_array_make(call->pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(spec.scopes, const char *) = IDENTITY_PLATFORM_SCOPE;
    use->key.id = mpx_call_new_id(call);
    use->key.spec = &spec;
    use->key.out = key;
    make_secret(call, spec.env, &use->key);
    call->tenant = use->tenant_id;
    rv = mpx_tx_run(call, MPX_TX_WRITE | MPX_TX_PLATFORM, body, use);
    key->secret = rv == APR_SUCCESS ? use->key.secret : NULL;
    return rv;
}

apr_status_t identity_bootstrap(mpx_call_t *call, int new_rootkey, identity_tenant_t *tenant, identity_key_t *key)
{
    bootstrap_t use = { .tenant = tenant, .tenant_id = mpx_call_new_id(call), .new_rootkey = new_rootkey };
    return bootstrap_by(call, bootstrap_in, &use, key);
}

apr_status_t identity_bootstrap_again(mpx_call_t *call, const mpx_uuid_t *platform, identity_key_t *key)
{
    bootstrap_t use = { .tenant_id = *platform };
    return bootstrap_by(call, renew_in, &use, key);
}
