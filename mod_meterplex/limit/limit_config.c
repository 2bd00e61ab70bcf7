/* limit_config.c: MeterplexRateLimit by RATE [burst=N] [name=S] [cost=EXPR], and "none". */
#include "limit_private.h"

#include <sodium.h>

#include "apr_hash.h"
#include "apr_lib.h"
#include "apr_strings.h"

void *limit_create_dir_config(apr_pool_t *pool, char *path)
{
    return apr_pcalloc(pool, sizeof(limit_dir_t));
}

/* Two limits of one answer have two names in the RateLimit fields (draft-ietf-httpapi-ratelimit-headers): who comes later
 * is numbered. What is counted together is a matter of the zone, and stays as it is. */
static limit_policy_t *told_apart(apr_pool_t *pool, const apr_array_header_t *policies, int before, limit_policy_t *policy)
{
    const char *name = policy->name;
    limit_policy_t *copy;
    int i, n = 1;

    for (i = 0; i < before; i++) {
        const limit_policy_t *other = APR_ARRAY_IDX(policies, i, limit_policy_t *);
        if (strcmp(other->name, name) == 0 && memcmp(other->zone, policy->zone, sizeof policy->zone) != 0) {
            name = apr_psprintf(pool, "%s-%d", policy->base, ++n);
            i = -1; /* that may be taken, too */
        }
    }
    if (name == policy->name) {
        return policy;
    }
    copy = apr_pmemdup(pool, policy, sizeof *policy);
    copy->name = name;
    return copy;
}

static apr_array_header_t *join(apr_pool_t *pool, const apr_array_header_t *inherited, const apr_array_header_t *own)
{
    apr_array_header_t *all = apr_array_append(pool, inherited, own);
    int i;

    for (i = inherited->nelts; i < all->nelts; i++) {
        APR_ARRAY_IDX(all, i, limit_policy_t *) = told_apart(pool, all, i, APR_ARRAY_IDX(all, i, limit_policy_t *));
    }
    return all;
}

void *limit_merge_dir_config(apr_pool_t *pool, void *base, void *add)
{
    const limit_dir_t *b = base, *a = add;
    limit_dir_t *dir = apr_pmemdup(pool, a, sizeof *a);

    if (a->none) {
        return dir;
    }
    if (b->policies) {
        dir->policies = a->policies ? join(pool, b->policies, a->policies) : b->policies;
    }
    dir->none = b->none; /* sections are merged with one another first, and with the server's lines then */
    return dir;
}

static int name_taken(const limit_dir_t *dir, const char *name)
{
    int i;
    for (i = 0; dir->policies && i < dir->policies->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(dir->policies, i, limit_policy_t *)->name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* @param word  "expr=" or "cost=", and an expression that gives a string */
static const char *parse_expr(cmd_parms *cmd, const char *word, ap_expr_info_t **out)
{
    const char *text = strchr(word, '=') + 1;
    const char *error = *text == '\0' ? "an expression is missing" : *out ? "the option is given twice"
                                                                          : NULL;

    if (error == NULL) {
        *out = ap_expr_parse_cmd(cmd, text, AP_EXPR_FLAG_STRING_RESULT, &error, NULL);
    }
    return error ? apr_psprintf(cmd->pool, "MeterplexRateLimit %s: %s", word, error) : NULL;
}

static const char *parse_by(cmd_parms *cmd, const char *word, limit_policy_t *policy)
{
    static const char *const names[] = { "ip", "key", "user", "tenant" };
    int i;

    for (i = 0; i < 4; i++) {
        if (ap_cstr_casecmp(word, names[i]) == 0) {
            policy->by = (limit_by_e)i;
            policy->name = names[i];
            return NULL;
        }
    }
    if (strncmp(word, "expr=", 5) == 0) {
        policy->by = LIMIT_BY_EXPR;
        policy->name = "expr";
        return parse_expr(cmd, word, &policy->subject);
    }
    return apr_psprintf(cmd->pool, "MeterplexRateLimit: \"%s\"; allowed are ip, key, user, tenant, expr=EXPR and none",
                        word);
}

/* A policy's name becomes a Structured Fields string (RFC 9651) and a metric's label: printable ASCII without quotes. */
static const char *parse_name(cmd_parms *cmd, const char *value, limit_policy_t *policy)
{
    const char *c;
    for (c = value; *c; c++) {
        if (!apr_isalnum(*c) && !strchr("._-/", *c)) {
            break;
        }
    }
    if (*c || c == value || c - value > 64) {
        return apr_psprintf(cmd->pool, "MeterplexRateLimit name=%s: 1 to 64 of letters, digits and . _ - /", value);
    }
    policy->name = value;
    return NULL;
}

static const char *parse_burst(cmd_parms *cmd, const char *value, limit_policy_t *policy)
{
    char *end;
    apr_int64_t n = apr_strtoi64(value, &end, 10);
    if (!apr_isdigit(*value) || *end || n < 1 || n > (apr_int64_t)MPX_RATE_MAX_COUNT) {
        return apr_psprintf(cmd->pool, "MeterplexRateLimit burst=%s: a whole number from 1 to 1000000000", value);
    }
    policy->rate.burst = (apr_uint64_t)n;
    return NULL;
}

/* What of a directive's options has been there. */
typedef struct options {
    int burst, name;
} options_t;

static const char *parse_option(cmd_parms *cmd, const char *word, limit_policy_t *policy, options_t *seen)
{
    if (strncmp(word, "burst=", 6) == 0) {
        return seen->burst++ ? "MeterplexRateLimit: burst= is given twice" : parse_burst(cmd, word + 6, policy);
    }
    if (strncmp(word, "name=", 5) == 0) {
        return seen->name++ ? "MeterplexRateLimit: name= is given twice" : parse_name(cmd, word + 5, policy);
    }
    if (strncmp(word, "cost=", 5) == 0) {
        return parse_expr(cmd, word, &policy->cost);
    }
    return apr_psprintf(cmd->pool, "MeterplexRateLimit: \"%s\"; allowed are burst=N, name=NAME and cost=EXPR", word);
}

static apr_hash_t *unnamed; /* of this reading of the configuration: what stands in which sections -> how often so far */

void limit_config_reset(apr_pool_t *pconf)
{
    unnamed = apr_hash_make(pconf);
}

/* The sections around a directive, as they are written. */
static const char *sections_of(cmd_parms *cmd)
{
    const ap_directive_t *d;
    const char *chain = "";

    for (d = cmd->directive ? cmd->directive->parent : NULL; d; d = d->parent) {
        chain = apr_pstrcat(cmd->pool, d->directive, " ", d->args, "\n", chain, NULL);
    }
    return chain;
}

/* A named policy is one limit wherever the name stands with the same rate; an unnamed one is its section's own. Two sections
 * may be written alike (<If>, <Files>, virtual hosts of one address): the second of them is told by being the second. So a
 * limit outlives a reload, wherever in the file its lines have moved. */
static void set_zone(cmd_parms *cmd, limit_policy_t *policy, int named)
{
    const char *rate = apr_psprintf(cmd->pool, "%d %" APR_UINT64_T_FMT "/%u+%" APR_UINT64_T_FMT, policy->by,
                                    policy->rate.count, policy->rate.period, policy->rate.burst);
    const char *zone = apr_pstrcat(cmd->pool, named ? "name " : "section ", named ? policy->name : sections_of(cmd), " ",
                                   rate, NULL);

    if (!named) {
        int *times = apr_hash_get(unnamed, zone, APR_HASH_KEY_STRING);
        if (times == NULL) {
            times = apr_pcalloc(apr_hash_pool_get(unnamed), sizeof *times);
            apr_hash_set(unnamed, apr_pstrdup(apr_hash_pool_get(unnamed), zone), APR_HASH_KEY_STRING, times);
        }
        zone = apr_psprintf(cmd->pool, "%s #%d", zone, ++*times);
    }
    crypto_generichash(policy->zone, sizeof policy->zone, (const unsigned char *)zone, strlen(zone), NULL, 0);
}

static void default_name(cmd_parms *cmd, const limit_dir_t *dir, limit_policy_t *policy)
{
    const char *base = policy->name;
    int n;
    for (n = 2; name_taken(dir, policy->name); n++) {
        policy->name = apr_psprintf(cmd->pool, "%s-%d", base, n);
    }
}

static const char *set_rate_limit(cmd_parms *cmd, void *config, int argc, char *const argv[])
{
    limit_dir_t *dir = config;
    limit_policy_t *policy;
    const char *error;
    options_t seen = { 0, 0 };
    int i;

    if (argc == 1 && ap_cstr_casecmp(argv[0], "none") == 0) {
        dir->none = 1;
        return NULL;
    }
    if (argc < 2) {
        return "MeterplexRateLimit takes: ip|key|user|tenant|expr=EXPR RATE [burst=N] [name=NAME] [cost=EXPR], or none";
    }
    policy = apr_pcalloc(cmd->pool, sizeof *policy);
    error = parse_by(cmd, argv[0], policy);
    if (error == NULL) {
        error = mpx_rate_parse(cmd->pool, argv[1], &policy->rate);
        error = error ? apr_psprintf(cmd->pool, "MeterplexRateLimit %s: %s", argv[1], error) : NULL;
    }
    for (i = 2; i < argc && error == NULL; i++) {
        error = parse_option(cmd, argv[i], policy, &seen);
    }
    if (error == NULL && !mpx_rate_fits(&policy->rate)) {
        error = apr_psprintf(cmd->pool,
                             "MeterplexRateLimit %s: a burst of %" APR_UINT64_T_FMT " would take centuries to come back",
                             argv[1], policy->rate.burst);
    }
    if (error) {
        return error;
    }
    if (!seen.name) {
        default_name(cmd, dir, policy);
    }
    else if (name_taken(dir, policy->name)) {
        return apr_psprintf(cmd->pool, "MeterplexRateLimit name=%s: the name is used twice in this section", policy->name);
    }
    policy->base = policy->name;
    set_zone(cmd, policy, seen.name);
    if (dir->policies == NULL) {
        dir->policies = apr_array_make(cmd->pool, 2, sizeof(limit_policy_t *));
    }
    APR_ARRAY_PUSH(dir->policies, limit_policy_t *) = policy;
    return NULL;
}

const command_rec limit_directives[] = {
    AP_INIT_TAKE_ARGV("MeterplexRateLimit", set_rate_limit, NULL, RSRC_CONF | ACCESS_CONF,
                      "ip|key|user|tenant|expr=EXPR RATE [burst=N] [name=NAME] [cost=EXPR]; several add up; none: inherited "
                      "ones are off here"),
    { NULL }
};
