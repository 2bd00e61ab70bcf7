/* ctl_key.c: `meterplexctl key ...`: API keys of a tenant, by the same commands as the API's. */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "identity/identity_commands.h"
#include "identity/identity_domain.h"

#define PAGE 200         /* rows of one look-up */
#define WORDS_MAX 64     /* scopes or address blocks of a key */
#define GRACE_MAX 604800 /* seconds */

int ctl_check_name(ctl_t *ctl, const char *name)
{
    const char *detail = NULL;
    apr_size_t len = strlen(name);

    if (!mpx_json_utf8_valid(name, len)) {
        return ctl_usage(ctl, "--name is not UTF-8");
    }
    if (len == 0 || len > 200 || mpx_check_line(name, len, &detail)) {
        return ctl_usage(ctl, "--name takes 1 to 200 bytes%s%s", detail ? ", and " : "", detail ? detail : "");
    }
    return CTL_OK;
}

static int check_words(ctl_t *ctl, const char *option, const apr_array_header_t *words, mpx_field_check_fn *check)
{
    const char *detail;
    int i;

    for (i = 0; words && i < words->nelts; i++) {
        const char *word = APR_ARRAY_IDX(words, i, const char *);
        if (check(word, strlen(word), &detail) || strlen(word) > 128) {
            return ctl_usage(ctl, "--%s \"%s\": %s", option, word, detail);
        }
    }
    return words && words->nelts > WORDS_MAX ? ctl_usage(ctl, "--%s: at most %d", option, WORDS_MAX) : CTL_OK;
}

static void write_words(mpx_jsonw_t *json, const char *name, const char *words)
{
    mpx_jsonw_key(json, name);
    mpx_jsonw_array(json);
    while (*words) {
        apr_size_t len = strcspn(words, " ");
        mpx_jsonw_stringn(json, words, len);
        words += len + (words[len] == ' ');
    }
    mpx_jsonw_end(json);
}

static const char *period_name(apr_uint32_t seconds)
{
    return seconds == 1 ? "second" : seconds == 60 ? "minute"
        : seconds == 3600                          ? "hour"
                                                   : "day";
}

/* The fields that the API shows, as it shows them. */
static void write_key(ctl_t *ctl, mpx_jsonw_t *json, const identity_key_t *k)
{
    apr_pool_t *pool = ctl->pool;

    mpx_jsonw_object(json);
    mpx_jsonw_member_string(json, "id", mpx_typeid_format(pool, "key", &k->id));
    mpx_jsonw_member_string(json, "tenant_id", mpx_typeid_format(pool, "ten", &k->tenant));
    mpx_jsonw_member_string(json, "name", k->name);
    mpx_jsonw_member_string(json, "env", k->env);
    write_words(json, "scopes", k->scopes);
    mpx_jsonw_member_string(json, "hint", k->hint);
    if (k->rate.count) {
        mpx_jsonw_key(json, "rate_limit");
        mpx_jsonw_object(json);
        mpx_jsonw_member_int(json, "rate", (apr_int64_t)k->rate.count);
        mpx_jsonw_member_string(json, "per", period_name(k->rate.period));
        mpx_jsonw_member_int(json, "burst", (apr_int64_t)k->rate.burst);
        mpx_jsonw_end(json);
    }
    write_words(json, "allowed_cidrs", k->allowed_cidrs ? k->allowed_cidrs : "");
    mpx_jsonw_member_string(json, "expires_at", k->expires_at ? mpx_time_text(pool, k->expires_at) : NULL);
    mpx_jsonw_member_string(json, "last_used_at", k->last_used_at ? mpx_time_text(pool, k->last_used_at) : NULL);
    mpx_jsonw_member_string(json, "created_at", mpx_time_text(pool, k->created_at));
    if (k->secret) {
        mpx_jsonw_member_string(json, "secret", k->secret);
    }
    mpx_jsonw_end(json);
}

static void print_secret(ctl_t *ctl, const identity_key_t *k)
{
    if (ctl->json) {
        mpx_jsonw_t *json = mpx_jsonw_make(ctl->pool);
        write_key(ctl, json, k);
        ctl_print_json(json);
    }
    else {
        printf("%s\n", k->secret);
        ctl_note("%s: the secret is shown this once", mpx_typeid_format(ctl->pool, "key", &k->id));
    }
}

typedef struct key_options {
    const char *tenant, *name, *expires, *rate, *env;
    apr_int64_t burst;
    apr_array_header_t *scopes, *cidrs;
} key_options_t;

/* @param spec filled from what was given */
static int read_spec(ctl_t *ctl, const key_options_t *given, identity_key_spec_t *spec)
{
    const char *wrong;
    int rv;

    if (given->tenant == NULL || given->name == NULL) {
        return ctl_usage(ctl, "--%s is needed", given->tenant ? "name" : "tenant");
    }
    spec->name = given->name;
    if ((rv = ctl_check_name(ctl, spec->name)) != CTL_OK
        || (rv = check_words(ctl, "scope", given->scopes, identity_check_scope)) != CTL_OK
        || (rv = check_words(ctl, "cidr", given->cidrs, mpx_check_cidr)) != CTL_OK) {
        return rv;
    }
    spec->scopes = given->scopes ? given->scopes : apr_array_make(ctl->pool, 1, sizeof(const char *));
    spec->allowed_cidrs = given->cidrs;
    if (given->env && strcmp(given->env, "live") != 0 && strcmp(given->env, "test") != 0) {
        return ctl_usage(ctl, "--env takes live or test, not \"%s\"", given->env);
    }
    spec->env = given->env && strcmp(given->env, "test") == 0 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE;
    if (given->rate && (wrong = mpx_rate_parse(ctl->pool, given->rate, &spec->rate)) != NULL) {
        return ctl_usage(ctl, "--rate \"%s\": %s", given->rate, wrong);
    }
    if (given->burst) {
        if (given->rate == NULL || given->burst > (apr_int64_t)MPX_RATE_MAX_COUNT) {
            return ctl_usage(ctl, "--burst takes a number up to 1000000000, together with --rate");
        }
        spec->rate.burst = (apr_uint64_t)given->burst;
        if (!mpx_rate_fits(&spec->rate)) {
            return ctl_usage(ctl, "--burst: so many at this rate would take centuries to come back");
        }
    }
    if (given->expires && !mpx_time_parse(given->expires, strlen(given->expires), &spec->expires_at)) {
        return ctl_usage(ctl, "--expires takes a time such as 2030-01-31T12:00:00Z, not \"%s\"", given->expires);
    }
    return CTL_OK;
}

int ctl_key_create(ctl_t *ctl, int argc, const char *const *argv)
{
    key_options_t o = { .tenant = NULL };
    const ctl_option_t options[] = {
        { "tenant", CTL_TEXT, &o.tenant },
        { "name", CTL_TEXT, &o.name },
        { "scope", CTL_LIST, &o.scopes },
        { "scopes", CTL_LIST, &o.scopes },
        { "cidr", CTL_LIST, &o.cidrs },
        { "expires", CTL_TEXT, &o.expires },
        { "rate", CTL_TEXT, &o.rate },
        { "burst", CTL_INT, &o.burst },
        { "env", CTL_TEXT, &o.env },
        { NULL, CTL_FLAG, NULL },
    };
    identity_key_spec_t spec = { 0 };
    identity_key_t key;
    mpx_uuid_t tenant;
    mpx_call_t call;
    int rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL);

    if (rv != CTL_OK || (rv = read_spec(ctl, &o, &spec)) != CTL_OK || (rv = ctl_rootkey(ctl)) != CTL_OK
        || (rv = ctl_connect_to_work(ctl)) != CTL_OK || (rv = ctl_rootkey_known(ctl)) != CTL_OK
        || (rv = ctl_tenant(ctl, o.tenant, &tenant)) != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, &tenant);
    if (identity_key_create(&call, &spec, &key) != APR_SUCCESS) {
        return ctl_fail_call(ctl, &call);
    }
    print_secret(ctl, &key);
    return CTL_OK;
}

static void print_key(ctl_t *ctl, mpx_jsonw_t *json, const identity_key_t *k)
{
    if (json) {
        write_key(ctl, json, k);
        return;
    }
    printf("%s  %-4s  ...%s  %-20s  %-20s  %s  [%s]\n", mpx_typeid_format(ctl->pool, "key", &k->id), k->env, k->hint,
           k->expires_at ? mpx_time_text(ctl->pool, k->expires_at) : "never expires",
           k->last_used_at ? mpx_time_text(ctl->pool, k->last_used_at) : "never used", k->name, k->scopes);
}

static int list_keys(ctl_t *ctl, const mpx_uuid_t *tenant, mpx_jsonw_t *json)
{
    mpx_page_t page = { .limit = PAGE };
    apr_array_header_t *keys;
    mpx_call_t call;
    char after[MPX_UUID_TEXT];
    int i;

    do {
        ctl_call(ctl, &call, ctl->pool, tenant);
        if (identity_key_list(&call, &page, &keys) != APR_SUCCESS) {
            return ctl_fail_call(ctl, &call);
        }
        for (i = 0; i < keys->nelts && i < PAGE; i++) {
            const identity_key_t *k = &APR_ARRAY_IDX(keys, i, identity_key_t);
            print_key(ctl, json, k);
            page.after = mpx_uuid_format(&k->id, after);
        }
    } while (keys->nelts > PAGE);
    return CTL_OK;
}

int ctl_key_list(ctl_t *ctl, int argc, const char *const *argv)
{
    const char *text = NULL;
    const ctl_option_t options[] = { { "tenant", CTL_TEXT, &text }, { NULL, CTL_FLAG, NULL } };
    mpx_jsonw_t *json = NULL;
    mpx_uuid_t tenant;
    int rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL);

    if (rv != CTL_OK || (text == NULL && (rv = ctl_usage(ctl, "--tenant is needed")) != CTL_OK)
        || (rv = ctl_connect_to_work(ctl)) != CTL_OK || (rv = ctl_tenant(ctl, text, &tenant)) != CTL_OK) {
        return rv;
    }
    if (ctl->json) {
        json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_array(json);
    }
    rv = list_keys(ctl, &tenant, json);
    if (rv == CTL_OK && json) {
        mpx_jsonw_end(json);
        ctl_print_json(json);
    }
    return rv;
}

/* "--tenant T key_..." of revoke and rotate. */
static int named_key(ctl_t *ctl, const char *tenant_text, const apr_array_header_t *rest, mpx_uuid_t *tenant,
                     mpx_uuid_t *key)
{
    const char *text = APR_ARRAY_IDX(rest, 0, const char *);
    int rv;

    if (tenant_text == NULL) {
        return ctl_usage(ctl, "--tenant is needed");
    }
    if (!mpx_typeid_parse(text, "key", key)) {
        return ctl_usage(ctl, "\"%s\" is no id of a key (key_...); see: meterplexctl key list --tenant %s", text,
                         tenant_text);
    }
    rv = ctl_connect_to_work(ctl);
    return rv == CTL_OK ? ctl_tenant(ctl, tenant_text, tenant) : rv;
}

static int fail_key(ctl_t *ctl, const mpx_call_t *call, const char *tenant)
{
    return call->problem.code == MPX_P_NOT_FOUND
        ? ctl_fail("there is no such key, or it was revoked; see: meterplexctl key list --tenant %s", tenant)
        : ctl_fail_call(ctl, call);
}

int ctl_key_revoke(ctl_t *ctl, int argc, const char *const *argv)
{
    const char *text = NULL;
    const ctl_option_t options[] = { { "tenant", CTL_TEXT, &text }, { NULL, CTL_FLAG, NULL } };
    apr_array_header_t *rest;
    mpx_uuid_t tenant, id;
    mpx_call_t call;
    int rv = ctl_options(ctl, options, argc, argv, 1, 1, &rest);

    if (rv != CTL_OK || (rv = named_key(ctl, text, rest, &tenant, &id)) != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, &tenant);
    if (identity_key_revoke(&call, &id, NULL) != APR_SUCCESS) {
        return fail_key(ctl, &call, text);
    }
    if (ctl->json) {
        mpx_jsonw_t *json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_object(json);
        mpx_jsonw_member_string(json, "revoked", APR_ARRAY_IDX(rest, 0, const char *));
        mpx_jsonw_end(json);
        ctl_print_json(json);
    }
    else {
        printf("%s is revoked\n", APR_ARRAY_IDX(rest, 0, const char *));
    }
    return CTL_OK;
}

int ctl_key_rotate(ctl_t *ctl, int argc, const char *const *argv)
{
    const char *text = NULL;
    apr_int64_t grace = 0;
    const ctl_option_t options[] = { { "tenant", CTL_TEXT, &text }, { "grace", CTL_INT, &grace }, { NULL, CTL_FLAG, NULL } };
    apr_array_header_t *rest;
    identity_key_t key;
    mpx_uuid_t tenant, id;
    mpx_call_t call;
    int rv = ctl_options(ctl, options, argc, argv, 1, 1, &rest);

    if (rv == CTL_OK && grace > GRACE_MAX) {
        rv = ctl_usage(ctl, "--grace takes at most %d seconds", GRACE_MAX);
    }
    if (rv != CTL_OK || (rv = ctl_rootkey(ctl)) != CTL_OK || (rv = named_key(ctl, text, rest, &tenant, &id)) != CTL_OK
        || (rv = ctl_rootkey_known(ctl)) != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, &tenant);
    if (identity_key_rotate(&call, &id, grace, &key) != APR_SUCCESS) {
        return fail_key(ctl, &call, text);
    }
    print_secret(ctl, &key);
    return CTL_OK;
}
