/* core_idempotency.c: Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the first final answer of a POST is given
 * again for 24 h.
 *
 * The key's row is written in the command's own transaction, which runs inside one opened here; an advisory lock of that
 * transaction says that it is running. A crash undoes both: there is no state that could say "in progress" for ever.
 */
#include "core_private.h"

#include <sodium.h>

#include "apr_strings.h"

#include "core_sql.h"
#include "core_tx.h"

#define EXPIRY_INTERVAL apr_time_from_sec(600)

typedef struct keyed_run {
    core_exchange_t *exchange;
    const char *key;
    unsigned char fingerprint[32];
    mpx_uuid_t tenant; /* the principal's own, where its keys are kept whichever tenant it acts in */
} keyed_run_t;

/* A field of CloudEvents' binary mode, where the event stands in the header. The order of fields means nothing, so each
 * one's digest is added by XOR; no name comes twice, httpd has merged them. */
static int add_ce_field(void *baton, const char *name, const char *value)
{
    unsigned char *sum = baton, digest[32];
    crypto_generichash_state state;
    char lower[64];
    int i;

    if (ap_cstr_casecmpn(name, "ce-", 3) != 0) {
        return 1;
    }
    apr_cpystrn(lower, name, sizeof lower);
    ap_str_tolower(lower);
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    crypto_generichash_update(&state, (const unsigned char *)lower, strlen(lower) + 1);
    crypto_generichash_update(&state, (const unsigned char *)value, strlen(value));
    crypto_generichash_final(&state, digest, sizeof digest);
    for (i = 0; i < 32; i++) {
        sum[i] ^= digest[i];
    }
    return 1;
}

/* What makes two requests the same: tenant acted in, method, target, media type, an event in the header, body. */
static void take_fingerprint(mpx_http_t *http, unsigned char out[32])
{
    char tenant[MPX_UUID_TEXT];
    const char *parts[5] = { mpx_uuid_format(&http->call->tenant, tenant), http->r->method, http->r->unparsed_uri,
                             http->media_type ? http->media_type : "", http->body };
    unsigned char fields[32] = { 0 };
    crypto_generichash_state state;
    int i;

    if (http->route->flags & MPX_ROUTE_CE) {
        apr_table_do(add_ce_field, fields, http->r->headers_in, NULL);
    }
    crypto_generichash_init(&state, NULL, 0, 32);
    crypto_generichash_update(&state, fields, sizeof fields);
    for (i = 0; i < 5; i++) {
        apr_uint64_t len = i == 4 ? http->body_len : strlen(parts[i]);
        crypto_generichash_update(&state, (const unsigned char *)&len, sizeof len);
        crypto_generichash_update(&state, (const unsigned char *)parts[i], len);
    }
    crypto_generichash_final(&state, out, 32);
}

static apr_int64_t lock_number(const keyed_run_t *run)
{
    const mpx_principal_t *principal = run->exchange->http.call->principal;
    crypto_generichash_state state;
    unsigned char digest[16];
    apr_int64_t number;

    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    crypto_generichash_update(&state, run->tenant.b, 16);
    crypto_generichash_update(&state, principal->id.b, 16);
    crypto_generichash_update(&state, (const unsigned char *)run->key, strlen(run->key));
    crypto_generichash_final(&state, digest, sizeof digest);
    memcpy(&number, digest, sizeof number);
    return number;
}

/* Associated data of the sealed answer: it opens only in its own row. */
static const char *seal_name(keyed_run_t *run)
{
    char tenant[MPX_UUID_TEXT], principal[MPX_UUID_TEXT];
    return apr_pstrcat(run->exchange->http.call->pool, "core.idempotency_keys/", mpx_uuid_format(&run->tenant, tenant), "/",
                       mpx_uuid_format(&run->exchange->http.call->principal->id, principal), "/", run->key, NULL);
}

/* An answer as text: content type, location, entity tag, each on a line, then the body. */
static const char *pack(core_exchange_t *x, apr_size_t *len)
{
    const char *head = apr_pstrcat(x->http.call->pool, x->http.reply_type ? x->http.reply_type : "", "\n",
                                   x->location ? x->location : "", "\n", x->etag ? x->etag : "", "\n", NULL);
    apr_size_t head_len = strlen(head);
    char *out = apr_palloc(x->http.call->pool, head_len + x->http.reply_len);

    memcpy(out, head, head_len); /* NOLINT(bugprone-not-null-terminated-result): a counted text */
    if (x->http.reply_len) {
        memcpy(out + head_len, x->http.reply, x->http.reply_len);
    }
    *len = head_len + x->http.reply_len;
    return out;
}

static const char *next_line(char **at)
{
    char *start = *at, *end = strchr(start, '\n');
    *end = '\0';
    *at = end + 1;
    return *start ? start : NULL;
}

static void unpack(core_exchange_t *x, int status, char *text, apr_size_t len)
{
    char *at = text;
    x->http.reply_type = next_line(&at);
    x->location = next_line(&at);
    x->etag = next_line(&at);
    x->http.status = status;
    x->http.reply_len = len - (apr_size_t)(at - text);
    x->http.reply = x->http.reply_type ? at : NULL;
    x->replayed = 1;
}

/* Under whichever root key it was sealed. */
static int unseal(keyed_run_t *run, const unsigned char *sealed, apr_size_t len, char **text, apr_size_t *text_len)
{
    int i, n, opened = 0;
    const mpx_rootkey_t *keys = mpx_rootkeys(&n);

    for (i = 0; i < n && !opened; i++) {
        opened = mpx_unseal(run->exchange->http.call->pool, &keys[i], seal_name(run), sealed, len, text, text_len);
    }
    return opened;
}

static apr_status_t replay(keyed_run_t *run, mpx_rows_t *rows)
{
    mpx_call_t *call = run->exchange->http.call;
    const unsigned char *fingerprint, *sealed;
    apr_size_t len, sealed_len, text_len;
    char *text;

    if (!mpx_rows_bytes(rows, 0, 0, call->pool, &fingerprint, &len) || len != sizeof run->fingerprint
        || sodium_memcmp(fingerprint, run->fingerprint, len) != 0) {
        return mpx_fail(call, MPX_P_IDEMPOTENCY_MISMATCH, "This Idempotency-Key was used with another request.");
    }
    if (!mpx_rows_bytes(rows, 0, 2, call->pool, &sealed, &sealed_len)
        || !unseal(run, sealed, sealed_len, &text, &text_len)) {
        return mpx_fail(call, MPX_P_CONFLICT, "The answer to this Idempotency-Key can no longer be read.");
    }
    unpack(run->exchange, (int)mpx_rows_int(rows, 0, 1), text, text_len);
    return APR_SUCCESS;
}

/* Not who may what, and when: that may be another at the next try, and where the router says it, it is not kept either. */
static int worth_keeping(int status)
{
    return status < 500 && status != HTTP_UNAUTHORIZED && status != HTTP_FORBIDDEN && status != HTTP_TOO_MANY_REQUESTS;
}

static apr_status_t keep(mpx_tx_t *tx, keyed_run_t *run)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[5];
    apr_size_t len, sealed_len;
    const char *text = pack(run->exchange, &len);
    unsigned char *sealed = mpx_seal(call->pool, call->rootkey, seal_name(run), text, len, &sealed_len);
    apr_status_t rv = mpx_tx_set_tenant(tx, &run->tenant);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    params[0] = mpx_param_uuid(&call->principal->id);
    params[1] = mpx_param_text(run->key);
    params[2] = mpx_param_bytes(run->fingerprint, sizeof run->fingerprint);
    params[3] = mpx_param_int(call->pool, run->exchange->http.status);
    params[4] = mpx_param_bytes(sealed, sealed_len);
    return mpx_tx_query(tx, SQL_idempotency_keep, params, 5, NULL);
}

static apr_status_t run_once(mpx_tx_t *tx, keyed_run_t *run)
{
    mpx_http_t *http = &run->exchange->http;
    apr_status_t rv = http->route->handler(http);

    if (rv != APR_SUCCESS) {
        if (http->call->problem.code == MPX_P_NONE || !worth_keeping(mpx_problem_status(http->call->problem.code))) {
            return rv; /* nothing of it happened, nothing is remembered */
        }
        core_reply_problem(run->exchange);
        memset(&http->call->problem, 0, sizeof http->call->problem);
    }
    return keep(tx, run);
}

static apr_status_t keyed_body(mpx_tx_t *tx, void *baton)
{
    keyed_run_t *run = baton;
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t params[2];
    mpx_rows_t *rows;
    apr_status_t rv;

    params[0] = mpx_param_int(call->pool, lock_number(run));
    rv = mpx_tx_set_tenant(tx, &run->tenant);
    if (rv == APR_SUCCESS) {
        rv = mpx_tx_query(tx, SQL_idempotency_lock, params, 1, &rows);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!mpx_rows_bool(rows, 0, 0)) {
        mpx_fail(call, MPX_P_IDEMPOTENCY_IN_PROGRESS, "A request with this Idempotency-Key is being carried out.");
        call->problem.retry_after = 1;
        return MPX_FAILED;
    }
    params[0] = mpx_param_uuid(&call->principal->id);
    params[1] = mpx_param_text(run->key);
    rv = mpx_tx_query(tx, SQL_idempotency_forget, params, 2, NULL);
    if (rv == APR_SUCCESS) {
        rv = mpx_tx_query(tx, SQL_idempotency_find, params, 2, &rows);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return mpx_rows_count(rows) ? replay(run, rows) : run_once(tx, run);
}

static int key_acceptable(const char *key)
{
    apr_size_t n;
    for (n = 0; key[n] > 0x20 && key[n] < 0x7f; n++) {
    }
    return key[n] == '\0' && n >= 1 && n <= 255;
}

apr_status_t core_idempotent_run(core_exchange_t *exchange)
{
    mpx_http_t *http = &exchange->http;
    const char *key = apr_table_get(http->r->headers_in, "Idempotency-Key");
    keyed_run_t run = { exchange, key, { 0 }, { { 0 } } };

    if (key == NULL || http->r->method_number != M_POST || http->call->principal == NULL || http->call->rootkey == NULL) {
        return http->route->handler(http);
    }
    if (core_has_apikey(key)) {
        return mpx_fail(http->call, MPX_P_BAD_REQUEST,
                        "Idempotency-Key has an API key in it: a value of your own is expected, such as a UUID.");
    }
    if (!key_acceptable(key)) {
        return mpx_fail(http->call, MPX_P_BAD_REQUEST, "Idempotency-Key must be 1 to 255 visible ASCII characters.");
    }
    run.tenant = http->call->principal->tenant;
    take_fingerprint(http, run.fingerprint);
    return core_tx_outer_run(http->call, keyed_body, &run);
}

/* --- Expiry ---------------------------------------------------------------------------------------------------------------------------- */

static apr_status_t expire(mpx_job_t *job, void *baton)
{
    return mpx_job_sweep(job, SQL_idempotency_expire);
}

void core_idempotency_jobs(void)
{
    mpx_job_register("idempotency-expiry", EXPIRY_INTERVAL, MPX_JOB_CLUSTER, expire, NULL);
}
