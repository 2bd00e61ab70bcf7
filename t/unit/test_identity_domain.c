/* Rules of API keys: scopes, who may grant them, and when a key is good. */
#include "../../mod_meterplex/identity/identity_domain.h"
#include "tap.h"

#include <string.h>

#include <apr_strings.h>

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static apr_array_header_t *words(const char *text)
{
    apr_array_header_t *out = apr_array_make(pool, 4, sizeof(const char *));
    char *copy = apr_pstrdup(pool, text), *state = NULL, *word;

    for (word = apr_strtok(copy, " ", &state); word; word = apr_strtok(NULL, " ", &state)) {
        APR_ARRAY_PUSH(out, const char *) = word;
    }
    return out;
}

static const char *check(const char *scope)
{
    const char *detail;
    return identity_check_scope(scope, strlen(scope), &detail);
}

START_TEST(scopes_are_literal_words)
{
    ck_assert_ptr_null(check("weather:read"));
    ck_assert_ptr_null(check("a:b"));
    ck_assert_ptr_null(check("a.b-c_d:e:f"));
    ck_assert_ptr_null(check("a:23456789012345678901234567890123456789012345678901234567890123"));
    ck_assert_str_eq(check("a:234567890123456789012345678901234567890123456789012345678901234"), "length");
    ck_assert_str_eq(check("usage:*"), "pattern");
    ck_assert_str_eq(check("weather"), "pattern");
    ck_assert_str_eq(check("Weather:read"), "pattern");
    ck_assert_str_eq(check("a b:c"), "pattern");
    ck_assert_str_eq(check(""), "pattern");
}
END_TEST

START_TEST(scopes_are_sorted_each_once)
{
    apr_array_header_t *scopes = words("b:x a:x b:x a:x c:x a:x");

    identity_scopes_normalize(scopes);
    ck_assert_str_eq(apr_array_pstrcat(pool, scopes, ' '), "a:x b:x c:x");
    scopes = words("");
    identity_scopes_normalize(scopes);
    ck_assert_int_eq(scopes->nelts, 0);
}
END_TEST

/* Pointers of what may not be granted, joined. */
static const char *refused(mpx_principal_t by, int platform, const char *scopes, const char *held)
{
    apr_array_header_t *errors = apr_array_make(pool, 4, sizeof(mpx_field_error_t));
    const char *out = "";

    identity_scopes_grantable(pool, &by, platform, words(scopes), held, errors);
    for (int i = 0; i < errors->nelts; i++) {
        out = apr_pstrcat(pool, out, APR_ARRAY_IDX(errors, i, mpx_field_error_t).pointer, " ", NULL);
    }
    return out;
}

START_TEST(no_one_grants_what_they_do_not_hold)
{
    mpx_principal_t weak = { .kind = MPX_PRINCIPAL_API_KEY, .scopes = "api_keys:write usage:read" };
    mpx_principal_t admin = { .kind = MPX_PRINCIPAL_API_KEY, .scopes = "platform:admin", .platform_admin = 1 };
    mpx_principal_t system = { .kind = MPX_PRINCIPAL_SYSTEM, .scopes = "" };

    ck_assert_str_eq(refused(weak, 0, "usage:read weather:read api_keys:write", ""), "");
    ck_assert_str_eq(refused(weak, 0, "usage:write usage:read tenant:delete", ""), "/scopes/0 /scopes/2 ");
    /* what the key has already may stay; a name that only begins alike is another */
    ck_assert_str_eq(refused(weak, 0, "usage:write tenant:delete", "tenant:delete usage:writes"), "/scopes/0 ");
    ck_assert_str_eq(refused(weak, 1, "platform:admin", ""), "/scopes/0 ");
    ck_assert_str_eq(refused(admin, 0, "platform:admin tenant:delete", ""), "/scopes/0 ");
    ck_assert_str_eq(refused(admin, 1, "platform:admin tenant:delete", ""), "");
    ck_assert_str_eq(refused(admin, 1, "platform:anything", ""), "/scopes/0 ");
    ck_assert_str_eq(refused(system, 1, "platform:admin usage:write", ""), "");
    ck_assert_str_eq(refused(system, 0, "platform:admin", ""), "/scopes/0 ");
}
END_TEST

START_TEST(a_key_is_judged_in_order)
{
    identity_standing_t s = { .known = 1, .allowed_cidrs = "" };
    apr_time_t now = apr_time_from_sec(1000);

    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_NONE);
    s.key_expires = now + 1;
    s.secret_expires = now + 1;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_NONE);
    s.secret_expires = now;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_EXPIRED_API_KEY);
    s.secret_expires = 0;
    s.key_expires = now;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_EXPIRED_API_KEY);
    s.suspended = 1;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_EXPIRED_API_KEY);
    s.key_expires = 0;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_TENANT_SUSPENDED);
    s.revoked = 1;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_REVOKED_API_KEY);
    s.known = 0;
    ck_assert_int_eq(identity_judge(&s, now, NULL), MPX_P_INVALID_API_KEY);
}
END_TEST

START_TEST(addresses_are_matched_in_either_spelling)
{
    identity_standing_t s = { .known = 1, .allowed_cidrs = "10.0.0.0/8 2001:db8::/32 192.0.2.7" };

    ck_assert_int_eq(identity_judge(&s, 1, "10.255.0.1"), MPX_P_NONE);
    ck_assert_int_eq(identity_judge(&s, 1, "::ffff:10.1.2.3"), MPX_P_NONE);
    ck_assert_int_eq(identity_judge(&s, 1, "2001:db8:1::1"), MPX_P_NONE);
    ck_assert_int_eq(identity_judge(&s, 1, "192.0.2.7"), MPX_P_NONE);
    ck_assert_int_eq(identity_judge(&s, 1, "192.0.2.8"), MPX_P_FORBIDDEN);
    ck_assert_int_eq(identity_judge(&s, 1, "2001:db9::1"), MPX_P_FORBIDDEN);
    /* who cannot be placed is not let in */
    ck_assert_int_eq(identity_judge(&s, 1, NULL), MPX_P_FORBIDDEN);
    ck_assert_int_eq(identity_judge(&s, 1, "unix"), MPX_P_FORBIDDEN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("identity_domain");
    TCase *tcase = tcase_create("identity_domain");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, scopes_are_literal_words);
    tcase_add_test(tcase, scopes_are_sorted_each_once);
    tcase_add_test(tcase, no_one_grants_what_they_do_not_hold);
    tcase_add_test(tcase, a_key_is_judged_in_order);
    tcase_add_test(tcase, addresses_are_matched_in_either_spelling);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
