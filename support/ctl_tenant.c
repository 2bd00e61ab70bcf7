/* ctl_tenant.c: `meterplexctl tenant ...` and `bootstrap`: tenants, by the same commands as the API's. */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "identity/identity_commands.h"
#include "identity/identity_domain.h"

#define PAGE 200 /* rows of one look-up */

int ctl_tenant(ctl_t *ctl, const char *text, mpx_uuid_t *tenant)
{
    mpx_call_t call;
    identity_tenant_t found;

    ctl_call(ctl, &call, ctl->pool, NULL);
    if (identity_tenant_find(&call, text, &found) == APR_SUCCESS) {
        *tenant = found.id;
        return CTL_OK;
    }
    return call.problem.code == MPX_P_NOT_FOUND ? ctl_fail("there is no tenant \"%s\"; see: meterplexctl tenant list", text)
                                                : ctl_fail_call(ctl, &call);
}

static void write_tenant(ctl_t *ctl, mpx_jsonw_t *json, const identity_tenant_t *t)
{
    mpx_jsonw_object(json);
    mpx_jsonw_member_string(json, "id", mpx_typeid_format(ctl->pool, "ten", &t->id));
    mpx_jsonw_member_string(json, "slug", t->slug);
    mpx_jsonw_member_string(json, "name", t->name);
    mpx_jsonw_member_string(json, "status", t->status);
    mpx_jsonw_member_bool(json, "platform", t->platform);
    mpx_jsonw_member_string(json, "created_at", mpx_time_text(ctl->pool, t->created_at));
    mpx_jsonw_end(json);
}

static void print_json(ctl_t *ctl, const identity_tenant_t *t)
{
    mpx_jsonw_t *json = mpx_jsonw_make(ctl->pool);
    write_tenant(ctl, json, t);
    ctl_print_json(json);
}

int ctl_tenant_create(ctl_t *ctl, int argc, const char *const *argv)
{
    const char *slug = NULL, *name = NULL, *detail = NULL;
    const ctl_option_t options[] = { { "slug", CTL_TEXT, &slug }, { "name", CTL_TEXT, &name }, { NULL, CTL_FLAG, NULL } };
    identity_tenant_t tenant;
    mpx_call_t call;
    int rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL);

    if (rv != CTL_OK) {
        return rv;
    }
    if (slug == NULL || strlen(slug) > 63 || identity_check_tenant_slug(slug, strlen(slug), &detail)) {
        return ctl_usage(ctl, "--slug is needed, of at most 63 characters: %s",
                         detail ? detail : "a to z, 0 to 9, _ and -");
    }
    name = name ? name : slug;
    if ((rv = ctl_check_name(ctl, name)) != CTL_OK || (rv = ctl_connect_to_work(ctl)) != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, NULL);
    if (identity_tenant_create(&call, name, slug, NULL, &tenant) != APR_SUCCESS) {
        return call.problem.code == MPX_P_CONFLICT
            ? ctl_fail("the slug \"%s\" cannot be had; choose another --slug: %s", slug, call.problem.detail)
            : ctl_fail_call(ctl, &call);
    }
    if (ctl->json) {
        print_json(ctl, &tenant);
    }
    else {
        printf("%s\n", mpx_typeid_format(ctl->pool, "ten", &tenant.id));
    }
    return CTL_OK;
}

static void print_tenant(ctl_t *ctl, mpx_jsonw_t *json, const identity_tenant_t *t)
{
    if (json) {
        write_tenant(ctl, json, t);
    }
    else {
        printf("%s  %-9s  %-24s  %s\n", mpx_typeid_format(ctl->pool, "ten", &t->id), t->status, t->slug, t->name);
    }
}

int ctl_tenant_list(ctl_t *ctl, int argc, const char *const *argv)
{
    mpx_page_t page = { .limit = PAGE };
    mpx_jsonw_t *json = NULL;
    apr_array_header_t *tenants;
    mpx_call_t call;
    char after[MPX_UUID_TEXT];
    int rv = ctl_options(ctl, NULL, argc, argv, 0, 0, NULL), i;

    if (rv != CTL_OK || (rv = ctl_connect_to_work(ctl)) != CTL_OK) {
        return rv;
    }
    if (ctl->json) {
        json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_array(json);
    }
    do {
        ctl_call(ctl, &call, ctl->pool, NULL);
        if (identity_tenant_list(&call, &page, &tenants) != APR_SUCCESS) {
            return ctl_fail_call(ctl, &call);
        }
        for (i = 0; i < tenants->nelts && i < PAGE; i++) {
            const identity_tenant_t *t = &APR_ARRAY_IDX(tenants, i, identity_tenant_t);
            print_tenant(ctl, json, t);
            page.after = mpx_uuid_format(&t->id, after);
        }
    } while (tenants->nelts > PAGE);
    if (json) {
        mpx_jsonw_end(json);
        ctl_print_json(json);
    }
    return CTL_OK;
}

static int set_status(ctl_t *ctl, int argc, const char *const *argv, const char *status)
{
    apr_array_header_t *rest;
    identity_tenant_t tenant;
    mpx_uuid_t id;
    mpx_call_t call;
    int rv = ctl_options(ctl, NULL, argc, argv, 1, 1, &rest);

    if (rv != CTL_OK || (rv = ctl_connect_to_work(ctl)) != CTL_OK
        || (rv = ctl_tenant(ctl, APR_ARRAY_IDX(rest, 0, const char *), &id)) != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, &id);
    if (identity_tenant_update(&call, NULL, NULL, NULL, NULL, status, &tenant) != APR_SUCCESS) {
        return ctl_fail_call(ctl, &call);
    }
    if (ctl->json) {
        print_json(ctl, &tenant);
    }
    else {
        printf("%s is %s\n", tenant.slug, tenant.status);
    }
    return CTL_OK;
}

int ctl_tenant_suspend(ctl_t *ctl, int argc, const char *const *argv)
{
    return set_status(ctl, argc, argv, "suspended");
}

int ctl_tenant_activate(ctl_t *ctl, int argc, const char *const *argv)
{
    return set_status(ctl, argc, argv, "active");
}

/* The administrator there is has no key that anybody could use: make another. */
static int bootstrap_again(ctl_t *ctl, identity_tenant_t *tenant, identity_key_t *key)
{
    mpx_call_t call;

    ctl_call(ctl, &call, ctl->pool, NULL);
    if (identity_tenant_find(&call, "platform", tenant) != APR_SUCCESS
        || identity_bootstrap_again(&call, &tenant->id, key) != APR_SUCCESS) {
        return ctl_fail_call(ctl, &call);
    }
    return CTL_OK;
}

int ctl_bootstrap(ctl_t *ctl, int argc, const char *const *argv)
{
    int new_rootkey = 0;
    const ctl_option_t options[] = { { "new-root-key", CTL_FLAG, &new_rootkey }, { NULL, CTL_FLAG, NULL } };
    identity_tenant_t tenant;
    identity_key_t key;
    mpx_call_t call;
    int rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL);

    if (rv != CTL_OK || (rv = ctl_rootkey(ctl)) != CTL_OK || (rv = ctl_connect_to_work(ctl)) != CTL_OK
        || (rv = new_rootkey ? ctl_rootkey_new(ctl) : ctl_rootkey_known(ctl)) != CTL_OK) {
        return rv;
    }
    ctl_call(ctl, &call, ctl->pool, NULL);
    if (identity_bootstrap(&call, new_rootkey, &tenant, &key) != APR_SUCCESS) {
        if (call.problem.code != MPX_P_CONFLICT) {
            return ctl_fail_call(ctl, &call);
        }
        if (!new_rootkey) {
            return ctl_fail("there is a platform administrator already; for another key: meterplexctl key create --tenant "
                            "platform --name NAME --scope platform:admin");
        }
        if ((rv = bootstrap_again(ctl, &tenant, &key)) != CTL_OK) {
            return rv;
        }
    }
    if (ctl->json) {
        mpx_jsonw_t *json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_object(json);
        mpx_jsonw_member_string(json, "tenant_id", mpx_typeid_format(ctl->pool, "ten", &tenant.id));
        mpx_jsonw_member_string(json, "key_id", mpx_typeid_format(ctl->pool, "key", &key.id));
        mpx_jsonw_member_string(json, "secret", key.secret);
        mpx_jsonw_end(json);
        ctl_print_json(json);
    }
    else {
        printf("%s\n", key.secret);
        ctl_note("this is the platform administrator's API key; it is shown this once");
    }
    return CTL_OK;
}
