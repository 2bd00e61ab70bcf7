/* identity_principals.c: who a key is, remembered in shared memory (lib/mpx_cache.h).
 *
 * A key's digest is looked up in a table that all children share; only a miss asks PostgreSQL, once for all requests of the
 * node that wait for it. A record is believed for MeterplexPrincipalTTL; for 0.8 s only while revocations cannot be
 * heard (identity_changes.c); and until its next use after they could not.
 *
 * What when a record is due and no answer comes?
 * - The database is away, or came back within the last five seconds: what is remembered goes on being believed, its expiry
 *   still honoured.
 * - It is there and does not say (a table locked by a migration), and revocations are heard: the record would be gone if it
 *   had been revoked. It goes on being believed; a request waits 0.2 s, and the next second's do not wait at all.
 * - The same, and revocations are not or were not heard: nobody knows. The request is told to come again (503).
 */
#include "identity_private.h"

#include <sodium.h>

#include "apr_strings.h"

#include "identity_domain.h"
#include "identity_sql.h"

#define UNKNOWN_TTL apr_time_from_sec(5)
#define HEARING apr_time_from_msec(800) /* the listener vouches several times a second */
#define DEAF_TTL apr_time_from_msec(800)
#define PATIENCE_KNOWN 200             /* ms to wait for another's answer and for locks where there is an old record */
#define PATIENCE_UNKNOWN 700           /* and where there is none */
#define PATIENCE_LEFT 50               /* for locks, after all of that went by waiting for another */
#define VAIN apr_time_from_sec(1)      /* after a look-up in vain, the next ones are spared for so long */
#define INSISTING apr_time_from_sec(1) /* how long a look-up is repeated whose connections break under it */
#define KEYS_MAX 8

static mpx_cache_t *cache;
static unsigned char (*digest_keys)[MPX_SUBKEY_SIZE]; /* one for each root key; in memory that no core dump holds */
static int ndigest_keys;
static apr_time_t vain_until, away_until; /* of this child; monotonic */
static mpx_metric_t metric_hit, metric_miss, metric_stale, metric_unknown, metric_fill, metric_capacity, metric_evicted;

void identity_principals_want(void)
{
    mpx_shm_want("principals", 60, 4);
}

mpx_cache_t *identity_cache(void)
{
    return cache;
}

int identity_changes_heard(void)
{
    return mpx_monotonic() - mpx_cache_heard_at(cache) < HEARING;
}

/* Of a UUIDv7 the second half is random. */
static apr_uint64_t label_of(const mpx_uuid_t *id)
{
    apr_uint64_t label;
    memcpy(&label, id->b + 8, sizeof label);
    return label;
}

void identity_forget_key(const mpx_uuid_t *key)
{
    mpx_cache_drop(cache, 0, label_of(key));
}

void identity_forget_tenant(const mpx_uuid_t *tenant)
{
    mpx_cache_drop(cache, 1, label_of(tenant));
}

/* --- Records -------------------------------------------------------------------------------------------------------------------------- */

apr_size_t identity_record_pack(identity_packed_t *out, const identity_record_t *record, const char *scopes,
                                const char *slug, const char *cidrs)
{
    const char *texts[3] = { scopes, slug, cidrs };
    apr_size_t at = sizeof *record;
    int i;

    out->record = *record;
    for (i = 0; i < 3; i++) {
        apr_size_t len = strlen(texts[i]) + 1;
        if (at + len > sizeof out->bytes) {
            return 0;
        }
        memcpy(out->bytes + at, texts[i], len);
        at += len;
    }
    return at;
}

apr_size_t identity_record_read(identity_packed_t *out, identity_record_t *record, mpx_rows_t *rows, int row)
{
    record->env = strcmp(mpx_rows_text(rows, row, 1), "test") == 0;
    record->rate_count = (apr_uint64_t)mpx_rows_int(rows, row, 2);
    record->rate_period = (apr_uint32_t)mpx_rows_int(rows, row, 3);
    record->rate_burst = (apr_uint64_t)mpx_rows_int(rows, row, 4);
    mpx_rows_time(rows, row, 6, &record->key_expires);
    record->revoked = (unsigned char)mpx_rows_bool(rows, row, 7);
    record->suspended = (unsigned char)mpx_rows_bool(rows, row, 9);
    record->platform = (unsigned char)mpx_rows_bool(rows, row, 10);
    return identity_record_pack(out, record, mpx_rows_text(rows, row, 0), mpx_rows_text(rows, row, 8),
                                mpx_rows_text(rows, row, 5));
}

/* An expired record goes first when room is needed. */
static apr_time_t worth_until(const identity_record_t *record)
{
    apr_time_t until = APR_INT64_MAX;
    if (record->key_expires) {
        until = record->key_expires;
    }
    return record->secret_expires && record->secret_expires < until ? record->secret_expires : until;
}

int identity_record_store(const mpx_cache_ticket_t *ticket, const unsigned char *digest, const identity_packed_t *packed,
                          apr_size_t len)
{
    apr_uint64_t labels[MPX_CACHE_LABELS] = { label_of(&packed->record.key), label_of(&packed->record.tenant) };

    return mpx_cache_store(cache, ticket, digest, labels, packed, len, worth_until(&packed->record), apr_time_now());
}

/* Judge a record and make the principal of it. */
static apr_status_t judge(mpx_call_t *call, const identity_packed_t *packed, const char *client, const mpx_principal_t **out)
{
    const identity_record_t *record = &packed->record;
    const char *scopes = packed->bytes + sizeof *record, *slug = scopes + strlen(scopes) + 1,
               *cidrs = slug + strlen(slug) + 1;
    identity_standing_t standing;
    mpx_problem_code_e verdict;
    mpx_principal_t *p;

    standing.known = 1;
    standing.revoked = record->revoked;
    standing.suspended = record->suspended;
    standing.key_expires = record->key_expires;
    standing.secret_expires = record->secret_expires;
    standing.allowed_cidrs = cidrs;
    verdict = identity_judge(&standing, call->now, client);
    if (verdict != MPX_P_NONE) {
        return mpx_fail(call, verdict, "%s", identity_judgement(verdict));
    }
    p = apr_pcalloc(call->pool, sizeof *p);
    p->kind = MPX_PRINCIPAL_API_KEY;
    p->id = record->key;
    p->tenant = record->tenant;
    p->tenant_slug = apr_pstrdup(call->pool, slug);
    p->scopes = apr_pstrdup(call->pool, scopes);
    p->rate.count = record->rate_count;
    p->rate.period = record->rate_period;
    p->rate.burst = record->rate_burst;
    p->env = record->env;
    p->platform_admin = record->platform && mpx_principal_has(p, IDENTITY_PLATFORM_SCOPE);
    *out = p;
    return APR_SUCCESS;
}

/* --- The database ---------------------------------------------------------------------------------------------------------------------- */

typedef struct lookup {
    const unsigned char *digest;
    identity_packed_t packed;
    apr_size_t len; /* 0: not known */
    identity_record_t record;
} lookup_t;

static apr_status_t find_principal(mpx_tx_t *tx, lookup_t *l)
{
    mpx_call_t *call = mpx_tx_call(tx);
    mpx_param_t param = mpx_param_uuid(&l->record.key);
    mpx_rows_t *rows = NULL;
    apr_status_t rv = mpx_tx_set_tenant(tx, &l->record.tenant);

    if (rv == APR_SUCCESS) {
        rv = mpx_tx_query(tx, SQL_principal_find, &param, 1, &rows);
    }
    if (rv != APR_SUCCESS || mpx_rows_count(rows) == 0) {
        return rv; /* the tenant is deleted: its keys are not known any more */
    }
    l->len = identity_record_read(&l->packed, &l->record, rows, 0);
    return l->len ? APR_SUCCESS : mpx_fail(call, MPX_P_INTERNAL, "The API key carries more than can be remembered.");
}

static apr_status_t lookup_in(mpx_tx_t *tx, void *baton)
{
    lookup_t *l = baton;
    mpx_param_t param = mpx_param_bytes(l->digest, MPX_APIKEY_DIGEST);
    char hex[2 * MPX_APIKEY_DIGEST + 1];
    mpx_rows_t *rows = NULL;
    apr_status_t rv;

    l->len = 0;
    memset(&l->record, 0, sizeof l->record);
    l->record.asked_at = apr_time_now();
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

/* --- Memory ----------------------------------------------------------------------------------------------------------------------------------- */

typedef enum recalled { NOT_REMEMBERED,
                        DOUBTED,    /* a revocation may have been missed */
                        REMEMBERED, /* due to be looked up; a revocation would have been heard */
                        BELIEVED,
                        KNOWN_TO_BE_UNKNOWN } recalled_e;

static recalled_e weigh(const identity_record_t *record, int doubtful, apr_time_t now)
{
    apr_interval_time_t age = now - record->asked_at;
    int heard = identity_changes_heard();

    if (mpx_database_down()) {
        return BELIEVED;
    }
    if (doubtful || (!heard && age >= DEAF_TTL)) {
        return DOUBTED;
    }
    return age >= identity_principal_ttl() || age < -apr_time_from_sec(1) ? REMEMBERED : BELIEVED;
}

static recalled_e recall(const unsigned char *digest, identity_packed_t *packed, apr_size_t *len)
{
    apr_time_t now = apr_time_now();
    int doubtful;

    switch (mpx_cache_find(cache, digest, now, packed, len, &doubtful)) {
    case MPX_CACHE_ABSENT: return KNOWN_TO_BE_UNKNOWN;
    case MPX_CACHE_HIT: return weigh(&packed->record, doubtful, now);
    default: return NOT_REMEMBERED;
    }
}

static void remember(const lookup_t *l, const mpx_cache_ticket_t *ticket)
{
    apr_time_t now = apr_time_now();

    if (l->len == 0) {
        mpx_cache_store_absent(cache, l->digest, now + UNKNOWN_TTL, now);
        return;
    }
    identity_record_store(ticket, l->digest, &l->packed, l->len);
}

/* Wait while another request asks for the same digest.
 * @param deadline monotonic
 * @return 1 when its answer is here, 0 when the caller is to ask; *claimed then says whether others wait for the caller */
static int wait_for_another(const unsigned char *digest, apr_time_t deadline, identity_packed_t *packed, apr_size_t *len,
                            int *claimed)
{
    while (!(*claimed = mpx_cache_claim(cache, digest, apr_time_now()))) {
        recalled_e recalled;
        apr_sleep(apr_time_from_msec(1));
        recalled = recall(digest, packed, len);
        if (recalled == BELIEVED) {
            return 1;
        }
        if (recalled == KNOWN_TO_BE_UNKNOWN) {
            *len = 0;
            return 1;
        }
        if (mpx_monotonic() >= deadline || mpx_database_down()) {
            break;
        }
    }
    return 0;
}

/* Ask the database for a digest that is not, or no longer, believed. */
static apr_status_t ask(mpx_call_t *call, const unsigned char *digest, int patience, identity_packed_t *packed,
                        apr_size_t *len)
{
    lookup_t *l;
    mpx_cache_ticket_t ticket;
    apr_time_t deadline = mpx_monotonic() + apr_time_from_msec(patience);
    int claimed, left;
    apr_status_t rv;

    if (wait_for_another(digest, deadline, packed, len, &claimed)) {
        return APR_SUCCESS;
    }
    mpx_metric_add(metric_miss, 1);
    l = apr_palloc(call->pool, sizeof *l);
    l->digest = digest;
    ticket = mpx_cache_ticket(cache);
    /* on the primary: a replica may not know of a revocation yet */
    left = (int)apr_time_as_msec(deadline - mpx_monotonic());
    call->patience = left > PATIENCE_LEFT ? left : PATIENCE_LEFT;
    call->unreachable = call->unreachable && call->gave_up;
    rv = mpx_tx_run(call, MPX_TX_WRITE, lookup_in, l);
    call->patience = 0;
    if (rv == APR_SUCCESS) {
        remember(l, &ticket);
        memcpy(packed, &l->packed, l->len);
        *len = l->len;
    }
    if (claimed) {
        mpx_cache_release(cache, digest);
    }
    return rv;
}

/* The database has been asked a moment ago, and did not say. A table that somebody holds locked must not hold up everybody
 * whose record is due, one after the other. */
static int asked_in_vain(recalled_e recalled)
{
    const apr_time_t *until = recalled == REMEMBERED ? &vain_until : &away_until;

    return (recalled == REMEMBERED || recalled == DOUBTED) && mpx_monotonic() < __atomic_load_n(until, __ATOMIC_RELAXED);
}

typedef enum verdict { REFUSE,
                       MAKE_DO, /* with the old record */
                       ASK_AGAIN } verdict_e;

/* No answer came, but a problem that says try again.
 * @param recalled  REMEMBERED or DOUBTED
 * @param begun     monotonic: when the first look-up began
 * @param asked     and the last */
static verdict_e what_now(const mpx_call_t *call, recalled_e recalled, apr_time_t begun, apr_time_t asked)
{
    if (recalled == REMEMBERED || mpx_database_unsettled()) {
        return MAKE_DO;
    }
    if (!call->unreachable) {
        return REFUSE;
    }
    /* A connection that breaks, or hangs, says nothing of the database yet, and a revocation may be behind it. */
    if (!mpx_database_answers(asked)) {
        return MAKE_DO;
    }
    return mpx_monotonic() - begun < INSISTING && !call->gave_up ? ASK_AGAIN : REFUSE;
}

/* The next ones are spared what has been in vain. */
static void note_vain(void)
{
    apr_time_t until = mpx_monotonic() + VAIN;

    __atomic_store_n(&vain_until, until, __ATOMIC_RELAXED);
    if (mpx_database_down()) {
        __atomic_store_n(&away_until, until, __ATOMIC_RELAXED);
    }
}

/* Ask the database about a key that there is a record of.
 * @param packed  in: the record; out: what is to be believed
 * @param len     set to 0 when the digest stands for no key any more */
static apr_status_t ask_anew(mpx_call_t *call, const unsigned char *digest, recalled_e recalled, identity_packed_t *packed,
                             apr_size_t *len)
{
    const identity_packed_t *old = apr_pmemdup(call->pool, packed, *len);
    apr_size_t old_len = *len;
    apr_time_t begun = mpx_monotonic(), asked = begun;

    for (;; asked = mpx_monotonic()) {
        verdict_e verdict;
        apr_status_t rv;

        *len = 0;
        rv = ask(call, digest, PATIENCE_KNOWN, packed, len);
        if (rv == APR_SUCCESS || call->problem.code != MPX_P_UNAVAILABLE) {
            return rv;
        }
        verdict = what_now(call, recalled, begun, asked);
        if (verdict == REFUSE) {
            return rv;
        }
        memset(&call->problem, 0, sizeof call->problem);
        if (verdict == MAKE_DO) {
            mpx_metric_add(metric_stale, 1);
            note_vain();
            memcpy(packed, old, old_len);
            *len = old_len;
            return APR_SUCCESS;
        }
        apr_sleep(apr_time_from_msec(10));
    }
}

/* @param len set to 0 when the digest stands for no key */
static apr_status_t resolve(mpx_call_t *call, const unsigned char *digest, identity_packed_t *packed, apr_size_t *len)
{
    recalled_e recalled = recall(digest, packed, len);

    if (recalled == KNOWN_TO_BE_UNKNOWN) {
        mpx_metric_add(metric_unknown, 1);
        *len = 0;
        return APR_SUCCESS;
    }
    if (recalled == BELIEVED || asked_in_vain(recalled)) {
        mpx_metric_add(recalled != BELIEVED || mpx_database_down() ? metric_stale : metric_hit, 1);
        return APR_SUCCESS;
    }
    if (recalled != NOT_REMEMBERED) {
        return ask_anew(call, digest, recalled, packed, len);
    }
    *len = 0;
    return ask(call, digest, PATIENCE_UNKNOWN, packed, len);
}

/* A key was digested under one of the root keys, mostly the newest. What is remembered under any of them goes before asking:
 * while the database is away, a key of the older root is known still. */
static apr_status_t resolve_any(mpx_call_t *call, const char *text, apr_size_t text_len, identity_packed_t *packed,
                                apr_size_t *len)
{
    unsigned char digests[KEYS_MAX][MPX_APIKEY_DIGEST];
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < ndigest_keys; i++) {
        mpx_apikey_digest(digest_keys[i], text, text_len, digests[i]);
        if (recall(digests[i], packed, len) == BELIEVED) {
            mpx_metric_add(mpx_database_down() ? metric_stale : metric_hit, 1);
            return APR_SUCCESS;
        }
    }
    *len = 0;
    for (i = 0; i < ndigest_keys && *len == 0; i++) {
        apr_status_t one = resolve(call, digests[i], packed, len);
        rv = rv == APR_SUCCESS ? one : rv;
    }
    if (*len > 0) {
        memset(&call->problem, 0, sizeof call->problem); /* of a root key that this one is not of */
        return APR_SUCCESS;
    }
    return rv;
}

apr_status_t identity_principal_of_key(mpx_call_t *call, const char *text, const char *client, mpx_uuid_t *tenant,
                                       const mpx_principal_t **out)
{
    apr_size_t len = 0, text_len = strlen(text);
    mpx_apikey_env_e env;
    identity_packed_t packed;
    apr_status_t rv;

    memset(tenant, 0, sizeof *tenant);
    if (!mpx_apikey_check(text, text_len, &env)) {
        return mpx_fail(call, MPX_P_INVALID_API_KEY, "This is not an API key: its form or its checksum is wrong.");
    }
    rv = resolve_any(call, text, text_len, &packed, &len);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (len == 0) {
        return mpx_fail(call, MPX_P_INVALID_API_KEY, "%s", identity_judgement(MPX_P_INVALID_API_KEY));
    }
    *tenant = packed.record.tenant;
    return judge(call, &packed, client, out);
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

    if (ndigest_keys > KEYS_MAX) {
        ndigest_keys = KEYS_MAX;
    }
    digest_keys = sodium_malloc(KEYS_MAX * MPX_SUBKEY_SIZE);
    ap_assert(digest_keys != NULL);
    for (i = 0; i < ndigest_keys; i++) {
        mpx_subkey(&roots[i], MPX_SUBKEY_APIKEY, digest_keys[i]);
    }
    apr_pool_cleanup_register(pconf, NULL, forget_digest_keys, apr_pool_cleanup_null);
}

static int open_cache(server_rec *s)
{
    mpx_cache_stats_t stats;
    apr_size_t size;
    int is_fresh;
    void *memory = mpx_shm_slice("principals", &size, &is_fresh);

    cache = memory && !is_fresh ? mpx_cache_attach(memory, size) : NULL;
    if (cache) {
        return OK;
    }
    cache = memory ? mpx_cache_format(memory, size) : NULL;
    if (cache == NULL) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "MeterplexSharedMemory is too small to hold principals");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    mpx_cache_heard(cache, mpx_monotonic()); /* there is nothing yet that could be untrue */
    mpx_cache_stats(cache, &stats);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, s, "principals: room for %" APR_UINT64_T_FMT " API keys", stats.capacity);
    return OK;
}

static void refresh_gauges(void)
{
    mpx_cache_stats_t stats;
    mpx_cache_stats(cache, &stats);
    mpx_metric_set(metric_fill, (apr_int64_t)stats.entries);
    mpx_metric_set(metric_capacity, (apr_int64_t)stats.capacity);
    mpx_metric_set(metric_evicted, (apr_int64_t)stats.evicted);
}

int identity_principals_open(apr_pool_t *pconf, server_rec *s)
{
    static const char lookups[] = "meterplex_principal_lookups_total", help[] = "Look-ups of API keys by where they ended.";
    int rv = open_cache(s);

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
    metric_evicted = mpx_metric_gauge("meterplex_principals_evicted",
                                      "API keys that gave way to others since the segment was made.", NULL);
    mpx_metric_refresh_register(refresh_gauges);
    identity_changes_open();
    identity_refresh_open();
    return OK;
}
