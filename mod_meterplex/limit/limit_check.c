/* limit_check.c: the decisions of a request and the fields that tell of them.
 *
 * Order: policies by ip in check_access, before any credential is read; the others together once the principal is known. A
 * request that one limit refuses is charged to none: all are looked at first, then charged; should one refuse at that point
 * after all (a race with another request), the charges before it are taken back.
 */
#include "limit_private.h"

#include <limits.h>
#include <time.h>

#include <sodium.h>

#include "apr_strings.h"
#include "http_protocol.h"
#include "http_request.h"

#define KEY_MAX 112 /* zone and subject; a longer subject stands as its BLAKE2b */
#define NS_PER_S APR_UINT64_C(1000000000)

/* Zone of the limits that stand in the keys' own rows. */
static const unsigned char own_zone[16] = "api-key's own";

static mpx_cells_t *ip_cells, *key_cells; /* apart: who sprays addresses cannot push out a customer's cell */
static mpx_metric_t metric_allowed, metric_refused, metric_full, metric_unresolved;
static mpx_metric_t metric_ip_used, metric_key_used, metric_ip_capacity, metric_key_capacity;

/* One policy at work on one request. */
typedef struct charge {
    const mpx_rate_t *rate;
    const char *name;
    mpx_cells_t *cells;
    unsigned char key[KEY_MAX];
    apr_size_t key_len;
    apr_uint64_t cost;
    mpx_gcra_t result;
    int written; /* a cell has been charged: with the table full there is none */
} charge_t;

/* What has happened to a request over the phases and internal redirects; request->limit. Each policy is charged once. */
typedef struct progress {
    const char *policy, *limit;  /* text of the fields as it grows */
    apr_array_header_t *charged; /* limit_policy_t * */
    int own_charged;             /* the key's own limit */
    apr_array_header_t *written; /* charge_t, of a request that may become HTTP/2's first; else NULL */
} progress_t;

void limit_want(void)
{
    mpx_shm_want("limit.ip", 20, 2);
    mpx_shm_want("limit.keys", 40, 2);
}

static void refresh_gauges(void)
{
    struct timespec t;
    apr_uint64_t now;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now = (apr_uint64_t)t.tv_sec * NS_PER_S + (apr_uint64_t)t.tv_nsec;
    mpx_metric_set(metric_ip_used, ip_cells ? (apr_int64_t)mpx_cells_used(ip_cells, now) : 0);
    mpx_metric_set(metric_key_used, key_cells ? (apr_int64_t)mpx_cells_used(key_cells, now) : 0);
    mpx_metric_set(metric_ip_capacity, ip_cells ? (apr_int64_t)mpx_cells_capacity(ip_cells) : 0);
    mpx_metric_set(metric_key_capacity, key_cells ? (apr_int64_t)mpx_cells_capacity(key_cells) : 0);
}

static mpx_cells_t *open_table(server_rec *s, const char *name)
{
    apr_size_t size;
    int fresh;
    void *memory = mpx_shm_slice(name, &size, &fresh);
    mpx_cells_t *cells;

    if (memory && fresh) {
        unsigned char secret[MPX_CELLS_SECRET];
        randombytes_buf(secret, sizeof secret);
        cells = mpx_cells_format(memory, size, secret);
        if (cells) {
            ap_log_error(APLOG_MARK, APLOG_INFO, 0, s, "%s: room for %" APR_UINT64_T_FMT " limits", name,
                         mpx_cells_capacity(cells));
        }
        return cells;
    }
    return memory ? mpx_cells_attach(memory) : NULL;
}

int limit_open(apr_pool_t *pconf, server_rec *s)
{
    static const char capacity[] = "meterplex_limit_capacity";
    static const char capacity_help[] = "Limits that shared memory has room for.";
    static const char decisions[] = "meterplex_limit_decisions_total";
    static const char decisions_help[] = "Requests that rate limits have decided on.";

    ip_cells = open_table(s, "limit.ip");
    key_cells = open_table(s, "limit.keys");
    if (ip_cells == NULL || key_cells == NULL) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "MeterplexSharedMemory is too small for rate limits");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    metric_allowed = mpx_metric_counter(decisions, decisions_help, "result=\"allowed\"");
    metric_refused = mpx_metric_counter(decisions, decisions_help, "result=\"refused\"");
    metric_full = mpx_metric_counter("meterplex_limit_table_full_total",
                                     "Requests let through uncounted because the table of limits was full.", NULL);
    metric_unresolved = mpx_metric_counter("meterplex_limit_unresolved_total",
                                           "Policies passed over because the request has no such key, user or value.", NULL);
    metric_ip_used = mpx_metric_gauge("meterplex_limit_cells", "Limits in use.", "table=\"ip\"");
    metric_key_used = mpx_metric_gauge("meterplex_limit_cells", "Limits in use.", "table=\"keys\"");
    metric_ip_capacity = mpx_metric_gauge(capacity, capacity_help, "table=\"ip\"");
    metric_key_capacity = mpx_metric_gauge(capacity, capacity_help, "table=\"keys\"");
    mpx_metric_refresh_register(refresh_gauges);
    return OK;
}

static apr_uint64_t monotonic_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (apr_uint64_t)t.tv_sec * NS_PER_S + (apr_uint64_t)t.tv_nsec;
}

/* --- From a policy to a charge ----------------------------------------------------------------------------------------------- */

static void set_key(charge_t *charge, const unsigned char zone[16], const void *subject, apr_size_t len)
{
    memcpy(charge->key, zone, 16);
    if (len <= KEY_MAX - 16) {
        memcpy(charge->key + 16, subject, len);
        charge->key_len = 16 + len;
        return;
    }
    crypto_generichash(charge->key + 16, 32, subject, len, NULL, 0);
    charge->key_len = 16 + 32;
}

/* Of the limit in the key's own row. Its rate is part of the key, as a policy's is of its zone: what is left of a use counts
 * in units of the rate that it was under, and would keep a key that was given more locked out for the old one's period. */
static void set_own_key(charge_t *charge, const mpx_principal_t *principal)
{
    apr_uint64_t subject[5] = { 0, 0, principal->rate.count, principal->rate.period, principal->rate.burst };

    memcpy(subject, principal->id.b, sizeof principal->id.b);
    set_key(charge, own_zone, subject, sizeof subject);
}

/* @return 0 when the request has nothing that this policy could count by */
static int resolve(request_rec *r, mpx_request_t *request, const limit_policy_t *policy, charge_t *charge)
{
    const mpx_principal_t *principal = request->principal;
    const char *text, *error = NULL;
    mpx_addr_t address;

    switch (policy->by) {
    case LIMIT_BY_IP:
        if (!mpx_addr_parse_peer(r->useragent_ip, &address)) {
            return 0;
        }
        mpx_addr_client(&address);
        set_key(charge, policy->zone, address.b, sizeof address.b);
        return 1;
    case LIMIT_BY_KEY:
        if (principal == NULL || principal->kind != MPX_PRINCIPAL_API_KEY) {
            return 0;
        }
        set_key(charge, policy->zone, principal->id.b, sizeof principal->id.b);
        return 1;
    case LIMIT_BY_TENANT:
        if (principal == NULL) {
            return 0;
        }
        set_key(charge, policy->zone, principal->tenant.b, sizeof principal->tenant.b);
        return 1;
    case LIMIT_BY_EXPR:
        text = ap_expr_str_exec(r, policy->subject, &error);
        if (error || text == NULL || *text == '\0') {
            return 0;
        }
        set_key(charge, policy->zone, text, strlen(text));
        return 1;
    case LIMIT_BY_USER:
    default:
        return 0; /* no principal of today's kinds is a user */
    }
}

/* Digits, and a point with digits behind it or none. */
static int is_number(const char *text)
{
    apr_size_t whole = strspn(text, "0123456789"), fraction = 0;
    if (text[whole] == '.') {
        fraction = 1 + strspn(text + whole + 1, "0123456789");
    }
    return whole > 0 && fraction != 1 && text[whole + fraction] == '\0';
}

/* Units of this request: a whole number, 0 for "free"; a fraction is rounded up, what is no number costs 1. */
static apr_uint64_t cost_of(request_rec *r, const limit_policy_t *policy)
{
    const char *error = NULL, *text;
    char *end;
    apr_int64_t n;

    if (policy->cost == NULL) {
        return 1;
    }
    text = ap_expr_str_exec(r, policy->cost, &error);
    if (error || text == NULL || !is_number(text)) {
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "rate limit %s: cost \"%s\" is no number, 1 is taken", policy->name,
                      text ? text : "");
        return 1;
    }
    n = apr_strtoi64(text, &end, 10);
    if (n <= (apr_int64_t)MPX_RATE_MAX_COUNT && *end == '.' && strspn(end + 1, "0") < strlen(end + 1)) {
        n++;
    }
    return n > (apr_int64_t)MPX_RATE_MAX_COUNT ? MPX_RATE_MAX_COUNT + 1 : (apr_uint64_t)n;
}

/* --- Fields and refusal -------------------------------------------------------------------------------------------------------- */

static apr_uint64_t seconds_up(apr_uint64_t ns)
{
    return ns / NS_PER_S + (ns % NS_PER_S != 0);
}

static const char *joined(apr_pool_t *pool, const char *list, const char *item)
{
    return list ? apr_pstrcat(pool, list, ", ", item, NULL) : item;
}

static progress_t *progress_of(mpx_request_t *request)
{
    progress_t *progress = request->limit;

    if (progress == NULL) {
        request->limit = progress = apr_pcalloc(request->call.pool, sizeof *progress);
        progress->charged = apr_array_make(request->call.pool, 4, sizeof(limit_policy_t *));
    }
    return progress;
}

/* @return whether it is to be charged: it is from here on */
static int first_time(progress_t *progress, const limit_policy_t *policy)
{
    int i;

    for (i = 0; i < progress->charged->nelts; i++) {
        const limit_policy_t *charged = APR_ARRAY_IDX(progress->charged, i, const limit_policy_t *);
        /* the same, or of the same name elsewhere: one limit. Expressions of one name may say different things. */
        if (charged == policy
            || (policy->by != LIMIT_BY_EXPR && memcmp(charged->zone, policy->zone, sizeof policy->zone) == 0)) {
            return 0;
        }
    }
    APR_ARRAY_PUSH(progress->charged, const limit_policy_t *) = policy;
    return 1;
}

/* draft-ietf-httpapi-ratelimit-headers-11: q and w as the administrator wrote them; a burst that differs from q is said in a
 * parameter of ours. t is when more can pass: the rest of the refusal, else the whole burst's return. */
static void add_fields(request_rec *r, mpx_request_t *request, const charge_t *charge)
{
    apr_pool_t *pool = request->call.pool;
    progress_t *fields = progress_of(request);
    const mpx_gcra_t *g = &charge->result;
    apr_uint64_t t = g->allowed ? g->reset_after : g->retry_after;

    if (t == APR_UINT64_MAX) { /* the cost exceeds the burst: waiting does not help; the whole burst's return is said */
        t = g->reset_after;
    }
    fields->policy = joined(pool, fields->policy,
                            apr_psprintf(pool, "\"%s\";q=%" APR_UINT64_T_FMT ";w=%u", charge->name, charge->rate->count,
                                         charge->rate->period));
    if (charge->rate->burst != charge->rate->count) {
        fields->policy = apr_psprintf(pool, "%s;meterplex-burst=%" APR_UINT64_T_FMT, fields->policy, charge->rate->burst);
    }
    fields->limit = joined(pool, fields->limit,
                           apr_psprintf(pool, "\"%s\";r=%" APR_UINT64_T_FMT ";t=%" APR_UINT64_T_FMT, charge->name,
                                        g->remaining, seconds_up(t)));
    apr_table_setn(r->err_headers_out, "RateLimit-Policy", fields->policy);
    apr_table_setn(r->err_headers_out, "RateLimit", fields->limit);
}

static const char *period_name(unsigned seconds)
{
    return seconds == 1 ? "second" : seconds == 60 ? "minute"
        : seconds == 3600                          ? "hour"
                                                   : "day";
}

static int refuse(request_rec *r, mpx_request_t *request, const charge_t *charge, const char *violated)
{
    apr_uint64_t wait = charge->result.retry_after;
    int status;

    mpx_metric_add(metric_refused, 1);
    if (wait == APR_UINT64_MAX) {
        status =
            mpx_problem_raise(r, MPX_P_RATE_LIMITED,
                              "This request costs %" APR_UINT64_T_FMT " units, more than limit \"%s\" ever allows at once.",
                              charge->cost, charge->name);
        wait = mpx_rate_never(charge->rate, &charge->result);
    }
    else {
        status = mpx_problem_raise(r, MPX_P_RATE_LIMITED,
                                   "Limit \"%s\" of %" APR_UINT64_T_FMT " per %s is used up; try again in %" APR_UINT64_T_FMT
                                   " s.",
                                   charge->name, charge->rate->count, period_name(charge->rate->period),
                                   seconds_up(wait));
    }
    wait = seconds_up(wait) ? seconds_up(wait) : 1;
    request->problem.retry_after = wait > INT_MAX ? INT_MAX : (int)wait; /* a burst of years can owe more */
    apr_table_setn(r->err_headers_out, "Retry-After", apr_itoa(request->call.pool, request->problem.retry_after));
    request->admission = status; /* by ip, too, which nobody asks admission for */
    request->problem.violated_policies = apr_psprintf(request->call.pool, "[%s]", violated);
    return status;
}

/* --- The decision ---------------------------------------------------------------------------------------------------------------- */

/* What a charge of this cost would lead to; 0: how things stand. */
static void look(charge_t *charge, apr_uint64_t now, apr_uint64_t cost)
{
    mpx_cells_look(charge->cells, charge->key, charge->key_len, charge->rate, now, cost, &charge->result);
}

static int take(charge_t *charge, apr_uint64_t now)
{
    mpx_gcra_t result = { 0 };
    int room = mpx_cells_charge(charge->cells, charge->key, charge->key_len, charge->rate, now, charge->cost, &result);

    if (!room) {
        mpx_metric_add(metric_full, 1);
    }
    charge->result = result;
    charge->written = room && result.allowed;
    return result.allowed;
}

static void refund(const charge_t *charge)
{
    if (charge->written) { /* else another's charge would be taken back */
        mpx_cells_refund(charge->cells, charge->key, charge->key_len, charge->rate, charge->cost);
    }
}

/* Charge all or none. @return whether all allow it; the results say what each does */
static int take_all(charge_t *charges, int n, apr_uint64_t now)
{
    int i, refused = 0;

    for (i = 0; n > 1 && i < n; i++) {
        look(&charges[i], now, charges[i].cost);
        refused += !charges[i].result.allowed;
    }
    for (i = 0; !refused && i < n; i++) {
        if (!take(&charges[i], now)) {
            refused = 1;
            while (--i >= 0) {
                refund(&charges[i]);
            }
            break;
        }
    }
    for (i = 0; refused && i < n; i++) {
        if (charges[i].result.allowed) {
            look(&charges[i], now, 0); /* not charged: its fields say what is really left */
        }
    }
    return !refused;
}

static void note_written(mpx_request_t *request, const charge_t *charges, int n)
{
    progress_t *progress = progress_of(request);
    int i;

    if (progress->written == NULL) {
        progress->written = apr_array_make(request->call.pool, 2, sizeof(charge_t));
    }
    for (i = 0; i < n; i++) {
        APR_ARRAY_PUSH(progress->written, charge_t) = charges[i];
    }
}

/* Decide, set the fields, refuse or go on. */
static int apply(request_rec *r, mpx_request_t *request, charge_t *charges, int n)
{
    const charge_t *longest = NULL;
    const char *violated = NULL;
    int all = take_all(charges, n, monotonic_now()), i;

    for (i = 0; i < n; i++) {
        const charge_t *c = &charges[i];
        add_fields(r, request, c);
        if (!all && !c->result.allowed) {
            violated =
                apr_pstrcat(request->call.pool, violated ? violated : "", violated ? "," : "", "\"", c->name, "\"", NULL);
            if (longest == NULL || c->result.retry_after > longest->result.retry_after) {
                longest = c;
            }
        }
    }
    if (longest) {
        return refuse(r, request, longest, violated);
    }
    mpx_metric_add(metric_allowed, 1);
    if (apr_table_get(r->headers_in, "Upgrade")) {
        note_written(request, charges, n);
    }
    return OK;
}

static limit_dir_t *dir_of(request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &meterplex_limit_module);
}

/* Charges of the section's policies, those by ip or the others, and of the key's own limit. */
static int gather(request_rec *r, mpx_request_t *request, int by_ip, charge_t **out)
{
    const limit_dir_t *dir = dir_of(r);
    const mpx_principal_t *principal = request->principal;
    int own = !by_ip && principal && principal->rate.count > 0, max = own + (dir->policies ? dir->policies->nelts : 0),
        n = 0, i;
    progress_t *progress;
    charge_t *charges;

    if (max == 0) {
        return 0;
    }
    progress = progress_of(request);
    own = own && !progress->own_charged;
    charges = apr_palloc(request->call.pool, sizeof *charges * (apr_size_t)max);
    if (own) {
        progress->own_charged = 1;
        charges[n].rate = &principal->rate;
        charges[n].name = "api-key"; /* no policy's default name */
        charges[n].cells = key_cells;
        charges[n].cost = 1;
        set_own_key(&charges[n++], principal);
    }
    for (i = 0; dir->policies && i < dir->policies->nelts; i++) {
        const limit_policy_t *policy = APR_ARRAY_IDX(dir->policies, i, limit_policy_t *);
        if ((policy->by == LIMIT_BY_IP) != by_ip || !first_time(progress, policy)) {
            continue;
        }
        if (!resolve(r, request, policy, &charges[n])) {
            mpx_metric_add(metric_unresolved, 1);
            continue;
        }
        charges[n].rate = &policy->rate;
        charges[n].name = policy->name;
        charges[n].cells = policy->by == LIMIT_BY_IP ? ip_cells : key_cells;
        charges[n++].cost = cost_of(r, policy);
    }
    *out = charges;
    return n;
}

/* --- Hooks ------------------------------------------------------------------------------------------------------------------------- */

int limit_check_access(request_rec *r)
{
    mpx_request_t *request;
    charge_t *charges;
    int n;

    if (mpx_request_is_part(r) || dir_of(r)->policies == NULL) {
        return DECLINED;
    }
    request = mpx_request_get(r);
    n = gather(r, request, 1, &charges);
    if (n == 0) {
        return DECLINED;
    }
    n = apply(r, request, charges, n);
    return n == OK ? DECLINED : n;
}

int limit_admit(request_rec *r, mpx_request_t *request)
{
    charge_t *charges;
    int n = gather(r, request, 0, &charges);
    return n == 0 ? OK : apply(r, request, charges, n);
}

int limit_fixups(request_rec *r)
{
    mpx_request_t *request;
    int rv;

    if (mpx_request_is_part(r) || (r->handler && strcmp(r->handler, "meterplex-api") == 0)) {
        return DECLINED; /* the router asks for admission itself, when it knows who is asking */
    }
    request = mpx_request_get(r);
    if (dir_of(r)->policies == NULL && request->principal == NULL) {
        return DECLINED;
    }
    rv = mpx_request_admit(r);
    return rv == OK ? DECLINED : rv;
}

/* mod_dir exchanges what the request is for its index or its fallback, without a redirect. The sections of that page were
 * asked for access and authorization as a subrequest's, which is charged nothing: their limits are charged here. */
int limit_fixups_last(request_rec *r)
{
    int rv;

    if (mpx_request_is_part(r) || mpx_request_get(r)->admitted == r->per_dir_config) {
        return DECLINED;
    }
    rv = limit_check_access(r);
    return rv == DECLINED ? limit_fixups(r) : rv;
}

/* Would core's handler, which comes next, switch to another protocol (RFC 9110 section 7.8)? It asks in the same words. */
static int is_to_switch(request_rec *r)
{
    conn_rec *c = r->connection;
    const char *upgrade = apr_table_get(r->headers_in, "Upgrade"), *protocol;
    apr_array_header_t *offers = NULL;

    if (c->master || upgrade == NULL || !ap_find_token(r->pool, apr_table_get(r->headers_in, "Connection"), "upgrade")
        || ap_parse_token_list_strict(r->pool, upgrade, &offers, 0) || offers == NULL || offers->nelts == 0) {
        return 0;
    }
    protocol = ap_select_protocol(c, r, NULL, offers);
    return protocol && strcmp(protocol, ap_get_protocol(c)) != 0;
}

/* With h2c the request comes again, as the first stream of HTTP/2, and is charged there. */
int limit_handler(request_rec *r)
{
    const progress_t *progress = mpx_request_get(r)->limit;
    int i;

    if (progress && progress->written && !mpx_request_is_part(r) && is_to_switch(r)) {
        for (i = 0; i < progress->written->nelts; i++) {
            refund(&APR_ARRAY_IDX(progress->written, i, charge_t));
        }
    }
    return DECLINED;
}

int mpx_limit_key(request_rec *r, const mpx_principal_t *principal, apr_uint64_t cost, mpx_gcra_t *out)
{
    charge_t charge;
    if (principal->rate.count == 0) {
        return 0;
    }
    charge.rate = &principal->rate;
    charge.cells = key_cells;
    charge.cost = cost;
    set_own_key(&charge, principal);
    take(&charge, monotonic_now());
    *out = charge.result;
    return 1;
}
