/* identity_principals.c: who a key is, remembered in shared memory.
 *
 * A key's digest is looked up in a table of records that all children share; only a miss asks PostgreSQL, once for all
 * requests of the node that wait for it. Keys that are not known are remembered for a few seconds in a table of their own, so
 * that spraying random keys cannot push out a customer's. Revocation: commands NOTIFY in their transaction; one child of the
 * node listens, raises the epoch and drops the record. A look-up stores what it found only if the epoch has not moved since
 * before it asked, and drops it again if it moved while it was storing: nothing read before a revocation survives it.
 * While the database is away what is remembered goes on being believed (expiry is still honoured).
 */
#include "identity_private.h"

#include <sodium.h>

#include "apr_strings.h"

#include "../lib/mpx_cache.h"
#include "identity_domain.h"
#include "identity_sql.h"

#define SMALL_RECORD 256
#define LARGE_RECORD 8064
#define UNKNOWN_RECORD 64
#define UNKNOWN_TTL apr_time_from_sec(5)
#define CLAIMS 4096
#define CLAIM_TTL apr_time_from_sec(1)
#define LISTEN_WAIT apr_time_from_msec(100)
#define LISTEN_LOST apr_time_from_sec(5)
#define CHANNEL "meterplex_principals"
#define KEYS_MAX 8

/* Head of the slice "principals"; three caches follow. */
typedef struct principals {
    apr_uint64_t epoch;     /* moves with every notification */
    apr_int64_t trusted;    /* records stored before this are looked up again at next use */
    apr_uint64_t claims[CLAIMS]; /* who is looking up what: time until which it holds (ms), 40 bits; digest, 24 bits */
} principals_t;

/* A record: this, then scopes, slug and cidrs, each NUL-terminated. */
typedef struct record {
    mpx_uuid_t key, tenant;
    apr_time_t key_expires, secret_expires;
    apr_uint64_t rate_count, rate_burst;
    apr_uint32_t rate_period;
    unsigned char env, known, revoked, suspended, platform;
} record_t;

static principals_t *shared;
static mpx_cache_t *small, *large, *unknown;
static unsigned char (*digest_keys)[MPX_SUBKEY_SIZE]; /* one for each root key; in memory that no core dump holds */
static int ndigest_keys;
static volatile int listening_failed;
static apr_time_t last_heard; /* of this child's listening thread */
static mpx_metric_t metric_hit, metric_miss, metric_stale, metric_unknown, metric_fill, metric_capacity;

void identity_principals_want(void)
{
    mpx_shm_want("principals", 60, 1);
}

/* --- Records -------------------------------------------------------------------------------------------------------------------------- */

static apr_size_t pack(char *out, apr_size_t size, const record_t *record, const char *scopes, const char *slug,
                       const char *cidrs)
{
    const char *texts[3] = { scopes, slug, cidrs };
    apr_size_t at = sizeof *record;
    int i;

    memcpy(out, record, sizeof *record);
    for (i = 0; i < 3; i++) {
        apr_size_t len = strlen(texts[i]) + 1;
        if (at + len > size) {
            return 0;
        }
        memcpy(out + at, texts[i], len);
        at += len;
    }
    return at;
}

/* Judge a record and make the principal of it. */
static apr_status_t judge(mpx_call_t *call, const char *packed, int judge_client, const mpx_principal_t **out)
{
    mpx_principal_t *p;
    identity_standing_t standing;
    const char *scopes = packed + sizeof(record_t), *slug = scopes + strlen(scopes) + 1, *cidrs = slug + strlen(slug) + 1;
    record_t record;
    mpx_problem_code_e verdict;

    memcpy(&record, packed, sizeof record);
    standing.known = record.known;
    standing.revoked = record.revoked;
    standing.suspended = record.suspended;
    standing.key_expires = record.key_expires;
    standing.secret_expires = record.secret_expires;
    standing.allowed_cidrs = judge_client ? cidrs : "";
    verdict = identity_judge(&standing, call->now, call->client);
    if (verdict != MPX_P_NONE) {
        return mpx_fail(call, verdict, "%s", identity_judgement(verdict));
    }
    p = apr_pcalloc(call->pool, sizeof *p);
    p->kind = MPX_PRINCIPAL_API_KEY;
    p->id = record.key;
    p->tenant = record.tenant;
    p->tenant_slug = apr_pstrdup(call->pool, slug);
    p->scopes = apr_pstrdup(call->pool, scopes);
    p->rate.count = record.rate_count;
    p->rate.period = record.rate_period;
    p->rate.burst = record.rate_burst;
    p->env = record.env;
    p->platform_admin = 0;
    p->platform_admin = record.platform && mpx_principal_has(p, IDENTITY_PLATFORM_SCOPE);
    *out = p;
    return APR_SUCCESS;
}

/* --- The database ---------------------------------------------------------------------------------------------------------------------- */

typedef struct lookup {
    const unsigned char *digest;
    char packed[LARGE_RECORD];
    apr_size_t len; /* 0: not known */
    record_t record;
} lookup_t;

static apr_status_t find_principal(mpx_tx_t *tx, lookup_t *l)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t param = mpx_param_uuid(&l->record.key);
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_set_tenant(tx, &l->record.tenant);

    if (rv == APR_SUCCESS) {
        rv = mpx_tx_query(tx, SQL_principal_find, &param, 1, &rows);
    }
    if (rv != APR_SUCCESS || mpx_rows_count(rows) == 0) {
        return rv; /* the tenant is deleted: its keys are not known any more */
    }
    l->record.known = 1;
    l->record.env = strcmp(mpx_rows_text(rows, 0, 1), "test") == 0;
    l->record.rate_count = (apr_uint64_t)mpx_rows_int(rows, 0, 2);
    l->record.rate_period = (apr_uint32_t)mpx_rows_int(rows, 0, 3);
    l->record.rate_burst = (apr_uint64_t)mpx_rows_int(rows, 0, 4);
    mpx_rows_time(rows, 0, 6, &l->record.key_expires);
    l->record.revoked = (unsigned char)mpx_rows_bool(rows, 0, 7);
    l->record.suspended = (unsigned char)mpx_rows_bool(rows, 0, 9);
    l->record.platform = (unsigned char)mpx_rows_bool(rows, 0, 10);
    l->len = pack(l->packed, sizeof l->packed, &l->record, mpx_rows_text(rows, 0, 0), mpx_rows_text(rows, 0, 8),
                  mpx_rows_text(rows, 0, 5));
    return l->len ? APR_SUCCESS : mpx_fail(call, MPX_P_INTERNAL, "The API key carries more than can be remembered.");
}

static apr_status_t lookup_in(mpx_tx_t *tx, void *baton)
{
    lookup_t *l = baton;
    mpx_param_t param = mpx_param_bytes(l->digest, MPX_APIKEY_DIGEST);
    char hex[2 * MPX_APIKEY_DIGEST + 1];
    mpx_rows_t *rows;
    apr_status_t rv;

    l->len = 0;
    memset(&l->record, 0, sizeof l->record);
    rv = mpx_tx_set(tx, "digest", sodium_bin2hex(hex, sizeof hex, l->digest, MPX_APIKEY_DIGEST));
    if (rv == APR_SUCCESS) {
        rv = mpx_tx_query(tx, SQL_secret_find, &param, 1, &rows);
    }
    if (rv != APR_SUCCESS || mpx_rows_count(rows) == 0) {
        return rv;
    }
    mpx_rows_uuid(rows, 0, 0, &l->record.tenant);
    mpx_rows_uuid(rows, 0, 1, &l->record.key);
    mpx_rows_time(rows, 0, 2, &l->record.secret_expires);
    return find_principal(tx, l);
}

/* --- One look-up for all who wait ---------------------------------------------------------------------------------------------------------- */

static apr_uint64_t now_ms(void)
{
    return (apr_uint64_t)apr_time_as_msec(apr_time_now());
}

static apr_uint64_t *claim_of(const unsigned char *digest, apr_uint64_t *print)
{
    apr_uint64_t number;
    memcpy(&number, digest + 8, sizeof number);
    *print = number >> 40;
    return &shared->claims[number % CLAIMS];
}

/* @return the claim's word when this request is to do the look-up; 0 when another is at it */
static apr_uint64_t claim_take(const unsigned char *digest)
{
    apr_uint64_t print, *word = claim_of(digest, &print), old = __atomic_load_n(word, __ATOMIC_ACQUIRE), now = now_ms();
    apr_uint64_t mine = (now + (apr_uint64_t)apr_time_as_msec(CLAIM_TTL)) << 24 | print;

    if (old >> 24 > now && (old & 0xffffff) == print) {
        return 0;
    }
    /* Another key's claim on the word is replaced: that key may then be looked up twice, which is merely work. */
    return __atomic_compare_exchange_n(word, &old, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? mine : 0;
}

static void claim_release(const unsigned char *digest, apr_uint64_t mine)
{
    apr_uint64_t print, *word = claim_of(digest, &print);
    __atomic_compare_exchange_n(word, &mine, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* --- Memory ----------------------------------------------------------------------------------------------------------------------------------- */

static apr_size_t recall(const unsigned char *digest, apr_time_t now, char *packed, apr_time_t *stored)
{
    apr_size_t len = mpx_cache_get(small, digest, now, packed, stored);
    return len ? len : mpx_cache_get(large, digest, now, packed, stored);
}

static int unknown_lately(const unsigned char *digest, apr_time_t now)
{
    char record[UNKNOWN_RECORD];
    apr_time_t stored;
    return mpx_cache_get(unknown, digest, now, record, &stored) && now - stored < UNKNOWN_TTL
        && stored >= __atomic_load_n(&shared->trusted, __ATOMIC_ACQUIRE);
}

static int fresh(apr_time_t stored, apr_time_t now)
{
    return (now - stored < identity_principal_ttl() && stored >= __atomic_load_n(&shared->trusted, __ATOMIC_ACQUIRE))
        || mpx_database_down();
}

static void remember(const lookup_t *l, apr_time_t now, apr_uint64_t epoch)
{
    mpx_cache_t *cache = l->len == 0 ? unknown : l->len <= mpx_cache_record_max(small) ? small : large;
    const void *record = l->len ? l->packed : "-";
    apr_size_t len = l->len ? l->len : 1;

    if (__atomic_load_n(&shared->epoch, __ATOMIC_ACQUIRE) != epoch) {
        return;
    }
    mpx_cache_put(cache, l->digest, &l->record.key, &l->record.tenant, now, record, len);
    if (__atomic_load_n(&shared->epoch, __ATOMIC_ACQUIRE) != epoch && l->len) {
        mpx_cache_drop(cache, &l->record.key, now);
    }
}

/* Ask the database for a digest that is not, or no longer, remembered.
 * @param packed  what was remembered, len bytes (0: nothing); replaced */
static apr_status_t ask(mpx_call_t *call, const unsigned char *digest, char *packed, apr_size_t *len)
{
    apr_time_t deadline = apr_time_now() + CLAIM_TTL, stored;
    lookup_t *l = apr_palloc(call->pool, sizeof *l);
    mpx_tx_t *outer = call->outer;
    apr_uint64_t mine, epoch;
    apr_status_t rv;

    while ((mine = claim_take(digest)) == 0 && apr_time_now() < deadline) {
        apr_sleep(apr_time_from_msec(1));
        if ((*len = recall(digest, apr_time_now(), packed, &stored)) != 0 && fresh(stored, apr_time_now())) {
            return APR_SUCCESS;
        }
        if (unknown_lately(digest, apr_time_now())) {
            *len = 0;
            return APR_SUCCESS;
        }
    }
    mpx_metric_add(metric_miss, 1);
    epoch = __atomic_load_n(&shared->epoch, __ATOMIC_ACQUIRE);
    l->digest = digest;
    call->outer = NULL;
    rv = mpx_tx_run(call, MPX_TX_READ, lookup_in, l);
    call->outer = outer;
    if (rv == APR_SUCCESS) {
        remember(l, apr_time_now(), epoch);
        memcpy(packed, l->packed, l->len);
        *len = l->len;
    }
    if (mine) {
        claim_release(digest, mine);
    }
    return rv;
}

static apr_status_t resolve(mpx_call_t *call, const unsigned char *digest, char *packed, apr_size_t *len)
{
    apr_time_t now = apr_time_now(), stored = 0;
    apr_size_t remembered = recall(digest, now, packed, &stored);
    apr_status_t rv;

    *len = remembered;
    if (remembered && fresh(stored, now)) {
        mpx_metric_add(metric_hit, 1);
        return APR_SUCCESS;
    }
    if (!remembered && unknown_lately(digest, now)) {
        mpx_metric_add(metric_unknown, 1);
        return APR_SUCCESS;
    }
    rv = ask(call, digest, packed, len);
    if (rv != APR_SUCCESS && remembered && call->problem.code == MPX_P_UNAVAILABLE) {
        /* The database went away just now: who is known goes on being served. */
        mpx_metric_add(metric_stale, 1);
        memset(&call->problem, 0, sizeof call->problem);
        *len = recall(digest, now, packed, &stored);
        return *len ? APR_SUCCESS : mpx_fail(call, MPX_P_UNAVAILABLE, "The database is not available; try again.");
    }
    return rv;
}

apr_status_t identity_principal_of_key(mpx_call_t *call, const char *text, int judge_client, const mpx_principal_t **out)
{
    unsigned char digest[MPX_APIKEY_DIGEST];
    char packed[LARGE_RECORD + 128];
    mpx_apikey_env_e env;
    apr_size_t len = 0, text_len = strlen(text);
    apr_status_t rv;
    int i;

    if (!mpx_apikey_check(text, text_len, &env)) {
        return mpx_fail(call, MPX_P_INVALID_API_KEY, "This is not an API key: its form or its checksum is wrong.");
    }
    for (i = 0; i < ndigest_keys && len == 0; i++) {
        mpx_apikey_digest(digest_keys[i], text, text_len, digest);
        rv = resolve(call, digest, packed, &len);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    if (len == 0) {
        return mpx_fail(call, MPX_P_INVALID_API_KEY, "%s", identity_judgement(MPX_P_INVALID_API_KEY));
    }
    return judge(call, packed, judge_client, out);
}

/* --- Jobs ---------------------------------------------------------------------------------------------------------------------------------------- */

/* "k:<uuid>" or "t:<uuid>". The epoch moves first: a look-up under way will not store what it has read. */
static void on_change(const char *payload, void *baton)
{
    mpx_uuid_t id;

    __atomic_add_fetch(&shared->epoch, 1, __ATOMIC_ACQ_REL);
    if (payload[0] && payload[1] == ':' && mpx_uuid_parse(payload + 2, &id)) {
        mpx_cache_drop(small, &id, apr_time_now());
        mpx_cache_drop(large, &id, apr_time_now());
    }
}

static apr_status_t learn_changes(mpx_job_t *job, void *baton)
{
    int reconnected;
    apr_status_t rv = mpx_listen_wait(job, CHANNEL, LISTEN_WAIT, on_change, NULL, &reconnected);

    if (reconnected) {
        /* What was revoked meanwhile is not known: everything is looked up again at its next use. */
        __atomic_add_fetch(&shared->epoch, 1, __ATOMIC_ACQ_REL);
        __atomic_store_n(&shared->trusted, apr_time_now(), __ATOMIC_RELEASE);
    }
    if (rv == APR_SUCCESS || last_heard == 0) {
        last_heard = apr_time_now();
    }
    /* A connection is made anew by itself; only its lasting absence is worth a word. */
    listening_failed = apr_time_now() - last_heard > LISTEN_LOST;
    return mpx_database_down() || !listening_failed ? APR_SUCCESS : rv;
}

typedef struct used_key {
    mpx_uuid_t key, tenant;
    apr_time_t at;
} used_key_t;

static void collect_used(const mpx_uuid_t *owner, const mpx_uuid_t *group, apr_time_t used, void *baton)
{
    apr_array_header_t *list = baton;
    used_key_t *u = apr_array_push(list);
    u->key = *owner;
    u->tenant = *group;
    u->at = used;
}

static int by_tenant(const void *a, const void *b)
{
    const used_key_t *x = a, *y = b;
    int c = memcmp(&x->tenant, &y->tenant, sizeof x->tenant);
    return c ? c : memcmp(&x->key, &y->key, sizeof x->key);
}

/* All of one tenant's in one statement, all tenants in one transaction. */
static apr_status_t write_used(mpx_tx_t *tx, void *baton)
{
    const apr_array_header_t *list = baton;
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    int i = 0;

    while (i < list->nelts) {
        const used_key_t *first = &APR_ARRAY_IDX(list, i, used_key_t), *u = first;
        mpx_param_array_t *ids = mpx_param_array_make(pool, MPX_ARRAY_UUID, 1024);
        mpx_param_array_t *times = mpx_param_array_make(pool, MPX_ARRAY_TIMESTAMPTZ, 1024);
        mpx_param_t params[2];
        apr_status_t rv = mpx_tx_set_tenant(tx, &first->tenant);

        for (; i < list->nelts && mpx_uuid_equal(&(u = &APR_ARRAY_IDX(list, i, used_key_t))->tenant, &first->tenant); i++) {
            mpx_param_array_uuid(ids, &u->key);
            mpx_param_array_time(times, u->at);
        }
        params[0] = mpx_param_array(ids);
        params[1] = mpx_param_array(times);
        if (rv == APR_SUCCESS) {
            rv = mpx_tx_query(tx, SQL_keys_used, params, 2, NULL);
        }
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t note_used(mpx_job_t *job, void *baton)
{
    apr_array_header_t *list = apr_array_make(job->pool, 64, sizeof(used_key_t));

    if (mpx_database_down()) {
        return APR_SUCCESS;
    }
    mpx_cache_used(small, collect_used, list);
    mpx_cache_used(large, collect_used, list);
    if (list->nelts == 0) {
        return APR_SUCCESS;
    }
    qsort(list->elts, (apr_size_t)list->nelts, sizeof(used_key_t), by_tenant);
    return mpx_tx_run(job->call, MPX_TX_WRITE, write_used, list);
}

/* --- Start ------------------------------------------------------------------------------------------------------------------------------------------ */

static apr_status_t forget_digest_keys(void *data)
{
    sodium_free(digest_keys);
    digest_keys = NULL;
    return APR_SUCCESS;
}

static void derive_digest_keys(apr_pool_t *pconf)
{
    const mpx_rootkey_t *roots = mpx_rootkeys(&ndigest_keys);
    int i;
    digest_keys = sodium_malloc(KEYS_MAX * MPX_SUBKEY_SIZE);
    for (i = 0; i < ndigest_keys; i++) {
        mpx_subkey(&roots[i], MPX_SUBKEY_APIKEY, digest_keys[i]);
    }
    apr_pool_cleanup_register(pconf, NULL, forget_digest_keys, apr_pool_cleanup_null);
}

static int open_tables(server_rec *s)
{
    apr_size_t size, large_size, unknown_size;
    int is_fresh;
    char *memory = mpx_shm_slice("principals", &size, &is_fresh), *at;
    unsigned char secret[MPX_CACHE_SECRET];

    if (memory == NULL || size < 4 * sizeof *shared + 1024 * 1024) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "MeterplexSharedMemory is too small for principals");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    shared = (principals_t *)memory;
    at = memory + (sizeof *shared + 63) / 64 * 64;
    size -= (apr_size_t)(at - memory);
    large_size = size / 10 / 64 * 64;
    unknown_size = size / 20 / 64 * 64;
    size -= large_size + unknown_size;
    if (is_fresh) {
        randombytes_buf(secret, sizeof secret);
        large = mpx_cache_format(at, large_size, LARGE_RECORD, secret);
        unknown = mpx_cache_format(at + large_size, unknown_size, UNKNOWN_RECORD, secret);
        small = mpx_cache_format(at + large_size + unknown_size, size / 64 * 64, SMALL_RECORD, secret);
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, s, "principals: room for %" APR_UINT64_T_FMT " and %" APR_UINT64_T_FMT
                     " with long lists", mpx_cache_capacity(small), mpx_cache_capacity(large));
        return OK;
    }
    large = mpx_cache_attach(at);
    unknown = mpx_cache_attach(at + large_size);
    small = mpx_cache_attach(at + large_size + unknown_size);
    return OK;
}

static void refresh_gauges(void)
{
    mpx_metric_set(metric_fill, (apr_int64_t)(mpx_cache_count(small) + mpx_cache_count(large)));
    mpx_metric_set(metric_capacity, (apr_int64_t)(mpx_cache_capacity(small) + mpx_cache_capacity(large)));
}

static mpx_health_e principals_health(apr_pool_t *pool, const char **detail)
{
    if (listening_failed && !mpx_database_down()) {
        *detail = "revocations are not being learned; cached keys are believed for MeterplexPrincipalTTL";
        return MPX_HEALTH_DEGRADED;
    }
    return MPX_HEALTH_OK;
}

int identity_principals_open(apr_pool_t *pconf, server_rec *s)
{
    static const char lookups[] = "meterplex_principal_lookups_total", help[] = "Look-ups of API keys by where they ended.";
    int rv = open_tables(s);

    if (rv != OK) {
        return rv;
    }
    derive_digest_keys(pconf);
    metric_hit = mpx_metric_counter(lookups, help, "result=\"memory\"");
    metric_miss = mpx_metric_counter(lookups, help, "result=\"database\"");
    metric_stale = mpx_metric_counter(lookups, help, "result=\"memory_database_away\"");
    metric_unknown = mpx_metric_counter(lookups, help, "result=\"memory_unknown\"");
    metric_fill = mpx_metric_gauge("meterplex_principals", "API keys remembered in shared memory.", NULL);
    metric_capacity = mpx_metric_gauge("meterplex_principals_capacity", "API keys that shared memory has room for.", NULL);
    mpx_metric_refresh_register(refresh_gauges);
    mpx_health_register("principals", principals_health);
    mpx_job_register("principal-changes", apr_time_from_msec(100), MPX_JOB_NODE, learn_changes, NULL);
    mpx_job_register("key-usage", apr_time_from_sec(5), MPX_JOB_NODE, note_used, NULL);
    return OK;
}
