/* mpx_schema: each type of field, its rule and its error; all errors at once. */
#include <stddef.h>
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "tap.h"
#include "mpx_schema.h"

typedef struct limit_body {
    apr_uint64_t present;
    apr_int64_t rate;
    const char *per;
} limit_body_t;

static const char *const periods[] = { "second", "minute", NULL };
static const mpx_field_t limit_fields[] = {
    { "rate", MPX_FIELD_INT, MPX_FIELD_REQUIRED, 1, 1000, NULL, NULL, NULL, offsetof(limit_body_t, rate) },
    { "per", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 0, 0, NULL, periods, NULL, offsetof(limit_body_t, per) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 },
};

typedef struct body {
    apr_uint64_t present;
    const char *name, *slug, *amount;
    apr_int64_t count, any;
    int on;
    apr_time_t at;
    const mpx_json_t *meta;
    limit_body_t limit;
    apr_array_header_t *scopes;
    apr_table_t *labels;
} body_t;

/* bits of present */
#define NAME 0
#define SLUG 1
#define AT 5
#define LIMIT 8

static const mpx_field_t fields[] = {
    { "name", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 10, mpx_check_line, NULL, NULL, offsetof(body_t, name) },
    { "slug", MPX_FIELD_STRING, MPX_FIELD_NULLABLE, 1, 63, mpx_check_slug, NULL, NULL, offsetof(body_t, slug) },
    { "count", MPX_FIELD_INT, 0, -5, 5, NULL, NULL, NULL, offsetof(body_t, count) },
    { "any", MPX_FIELD_INT, 0, 0, 0, NULL, NULL, NULL, offsetof(body_t, any) },
    { "on", MPX_FIELD_BOOL, 0, 0, 0, NULL, NULL, NULL, offsetof(body_t, on) },
    { "at", MPX_FIELD_TIME, MPX_FIELD_NULLABLE, 0, 0, NULL, NULL, NULL, offsetof(body_t, at) },
    { "amount", MPX_FIELD_DECIMAL, 0, 0, 100, NULL, NULL, NULL, offsetof(body_t, amount) },
    { "meta", MPX_FIELD_OBJECT, 0, 2, 20, NULL, NULL, NULL, offsetof(body_t, meta) },
    { "limit", MPX_FIELD_OBJECT, MPX_FIELD_NULLABLE, 0, 0, NULL, NULL, limit_fields, offsetof(body_t, limit) },
    { "scopes", MPX_FIELD_STRINGS, 0, 1, 3, mpx_check_scope, NULL, NULL, offsetof(body_t, scopes) },
    { "labels", MPX_FIELD_STRING_MAP, 0, 1, 3, mpx_check_slug, NULL, NULL, offsetof(body_t, labels) },
    { NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0 },
};

static apr_pool_t *pool;
static body_t body;
static apr_array_header_t *errors;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

static int read_body(const char *text)
{
    mpx_json_limits_t limits = MPX_JSON_LIMITS_DEFAULT;
    mpx_json_error_t error;
    mpx_json_t *root;

    ck_assert_int_eq(mpx_json_parse(pool, text, strlen(text), &limits, &root, &error), APR_SUCCESS);
    memset(&body, 0, sizeof(body));
    body.present = ~(apr_uint64_t)0;
    body.slug = "preset";
    body.any = 77;
    errors = apr_array_make(pool, 1, sizeof(mpx_field_error_t));
    return mpx_schema_read(pool, root, "", fields, &body, errors);
}

static const mpx_field_error_t *nth(int i)
{
    return &APR_ARRAY_IDX(errors, i, mpx_field_error_t);
}

/* One bad field beside a good name: its pointer and code. */
static void wrong(const char *members, const char *pointer, const char *code)
{
    int n = read_body(apr_psprintf(pool, "{\"name\":\"x\",%s}", members));

    ck_assert_msg(n == 1, "%s: %d errors", members, n);
    ck_assert_int_eq(errors->nelts, 1);
    ck_assert_str_eq(nth(0)->pointer, pointer);
    ck_assert_msg(strcmp(nth(0)->code, code) == 0, "%s: %s (%s)", members, nth(0)->code, nth(0)->detail);
    ck_assert_uint_gt(strlen(nth(0)->detail), 5);
}

START_TEST(everything_right)
{
    static const char text[] = "{\"name\":\"Acme\",\"slug\":\"acme-1\",\"count\":-5,\"any\":9223372036854775807,\"on\":true,"
                               "\"at\":\"2026-11-20T23:18:00+01:00\",\"amount\":\"012.50\",\"meta\":{\"a\":[1]},"
                               "\"limit\":{\"per\":\"minute\",\"rate\":1000},\"scopes\":[\"usage:read\",\"a.b:c-d:*\"],"
                               "\"labels\":{\"env\":\"live\",\"tier\":\"\"}}";

    ck_assert_int_eq(read_body(text), 0);
    ck_assert_int_eq(errors->nelts, 0);
    ck_assert_str_eq(body.name, "Acme");
    ck_assert_str_eq(body.slug, "acme-1");
    ck_assert_int_eq(body.count, -5);
    ck_assert(body.any == APR_INT64_MAX);
    ck_assert_int_eq(body.on, 1);
    ck_assert(body.at == APR_TIME_C(1795213080000000));
    ck_assert_str_eq(body.amount, "12.5");
    ck_assert_uint_eq(body.meta->len, 9);
    ck_assert_int_eq(body.limit.rate, 1000);
    ck_assert_str_eq(body.limit.per, "minute");
    ck_assert_uint_eq(body.limit.present, 3);
    ck_assert_int_eq(body.scopes->nelts, 2);
    ck_assert_str_eq(APR_ARRAY_IDX(body.scopes, 1, const char *), "a.b:c-d:*");
    ck_assert_str_eq(apr_table_get(body.labels, "env"), "live");
    ck_assert_str_eq(apr_table_get(body.labels, "tier"), "");
    ck_assert_uint_eq(body.present, (1u << 11) - 1);
}
END_TEST

START_TEST(absent_and_null)
{
    ck_assert_int_eq(read_body("{\"name\":\"x\"}"), 0);
    ck_assert_uint_eq(body.present, 1u << NAME);
    ck_assert_str_eq(body.slug, "preset");
    ck_assert_int_eq(body.any, 77);
    ck_assert_int_eq(read_body("{\"slug\":null,\"name\":\"x\",\"at\":null,\"limit\":null}"), 0);
    ck_assert_uint_eq(body.present, 1u << NAME | 1u << SLUG | 1u << AT | 1u << LIMIT);
    ck_assert_str_eq(body.slug, "preset");
    wrong("\"count\":null", "/count", "type");
}
END_TEST

START_TEST(each_rule)
{
    wrong("\"slgu\":\"a\"", "/slgu", "unknown_field");
    wrong("\"a/b~\":1", "/a~1b~0", "unknown_field");
    wrong("\"Slug\":\"a\"", "/Slug", "unknown_field");
    wrong("\"slug\":7", "/slug", "type");
    wrong("\"slug\":\"\"", "/slug", "length");
    wrong("\"slug\":\"-a\"", "/slug", "pattern");
    wrong("\"count\":6", "/count", "range");
    wrong("\"count\":-6", "/count", "range");
    wrong("\"count\":\"1\"", "/count", "type");
    wrong("\"count\":1.0", "/count", "type");
    wrong("\"count\":1e0", "/count", "type");
    wrong("\"any\":9223372036854775808", "/any", "range");
    wrong("\"any\":-99999999999999999999999999", "/any", "range");
    wrong("\"on\":1", "/on", "type");
    wrong("\"on\":\"true\"", "/on", "type");
    wrong("\"at\":\"2026-11-20\"", "/at", "format");
    wrong("\"at\":1795213080", "/at", "type");
    wrong("\"amount\":12", "/amount", "type");
    wrong("\"amount\":\"1e3\"", "/amount", "format");
    wrong("\"amount\":\"NaN\"", "/amount", "format");
    wrong("\"amount\":\"-0.01\"", "/amount", "range");
    wrong("\"amount\":\"100.01\"", "/amount", "range");
    wrong("\"amount\":\"0.0000000000000000001\"", "/amount", "range");
    wrong("\"meta\":[]", "/meta", "type");
    wrong("\"meta\":{\"aaaaaaaa\":\"bbbbbbbb\"}", "/meta", "length");
    wrong("\"limit\":[]", "/limit", "type");
    wrong("\"limit\":{\"rate\":1}", "/limit/per", "required");
    wrong("\"limit\":{\"rate\":0,\"per\":\"second\"}", "/limit/rate", "range");
    wrong("\"limit\":{\"rate\":1,\"per\":\"hour\"}", "/limit/per", "choice");
    wrong("\"limit\":{\"rate\":1,\"per\":\"second\",\"burst\":1}", "/limit/burst", "unknown_field");
    wrong("\"scopes\":\"a:b\"", "/scopes", "type");
    wrong("\"scopes\":[]", "/scopes", "length");
    wrong("\"scopes\":[\"a:b\",\"a:b\",\"a:b\",\"a:b\"]", "/scopes", "length");
    wrong("\"scopes\":[\"a:b\",\"ab\"]", "/scopes/1", "pattern");
    wrong("\"scopes\":[\"a:b\",null]", "/scopes/1", "type");
    ck_assert_ptr_null(body.scopes);
    wrong("\"labels\":{}", "/labels", "length");
    wrong("\"labels\":{\"a\":1}", "/labels/a", "type");
    wrong("\"labels\":{\"a b/\":\"\"}", "/labels/a b~1", "pattern");
    ck_assert(body.labels && apr_is_empty_table(body.labels)); /* what holds is handed over, here nothing */
}
END_TEST

START_TEST(name_bounds)
{
    ck_assert_int_eq(read_body("{\"name\":\"0123456789\"}"), 0);
    ck_assert_int_eq(read_body("{\"name\":\"0123456789a\"}"), 1);
    ck_assert_str_eq(nth(0)->code, "length");
    ck_assert_int_eq(read_body("{\"name\":\"a\\tb\"}"), 1);
    ck_assert_str_eq(nth(0)->code, "pattern");
}
END_TEST

START_TEST(all_at_once)
{
    ck_assert_int_eq(read_body("{\"x\":1,\"count\":9,\"limit\":{\"y\":0},\"on\":0}"), 7);
    ck_assert_str_eq(nth(0)->pointer, "/x");
    ck_assert_str_eq(nth(1)->pointer, "/count");
    ck_assert_str_eq(nth(2)->pointer, "/limit/y");
    ck_assert_str_eq(nth(3)->pointer, "/limit/rate");
    ck_assert_str_eq(nth(3)->code, "required");
    ck_assert_str_eq(nth(4)->pointer, "/limit/per");
    ck_assert_str_eq(nth(5)->pointer, "/on");
    ck_assert_str_eq(nth(6)->pointer, "/name");
    ck_assert_str_eq(nth(6)->code, "required");
    ck_assert_int_eq(read_body("[]"), 1);
    ck_assert_str_eq(nth(0)->pointer, "");
    ck_assert_str_eq(nth(0)->code, "type");
}
END_TEST

START_TEST(many_errors)
{
    char *text = apr_palloc(pool, 8192), *p = text;
    int i;

    p += sprintf(p, "{\"name\":\"x\"");
    for (i = 0; i < 350; i++) {
        p += sprintf(p, ",\"u%d\":%d", i, i);
    }
    strcpy(p, "}");
    ck_assert_int_eq(read_body(text), 350);
    ck_assert_int_eq(errors->nelts, MPX_FIELD_ERRORS_MAX);
    ck_assert_str_eq(nth(99)->pointer, "/u99");
    ck_assert_ptr_nonnull(strstr(nth(99)->detail, "250 further errors"));
    ck_assert_ptr_null(strstr(nth(98)->detail, "further"));
}
END_TEST

static void verdict(mpx_field_check_fn *check, const char *text, const char *code)
{
    const char *detail = NULL, *got = check(text, strlen(text), &detail);

    ck_assert_msg(code ? got && strcmp(got, code) == 0 : !got, "%s: %s", text, got ? got : "accepted");
    ck_assert(!got || detail);
}

START_TEST(checks)
{
    static const char *const slugs[] = { "a", "0", "a-b", "a_b", "a--b", "acme-2" };
    static const char *const no_slugs[] = { "", "-", "a-", "_a", "A", "a b", "\xC3\xA9", "a.b" };
    static const char *const scopes[] = { "a:b", "weather:read", "usage:*", "a.b_c-d:e:f" };
    static const char *const no_scopes[] = { "", "a", ":", ":a", "a:", "A:b", "a b:c", "a:\xC3\xA9", "a:b\n", "a:\"" };
    unsigned i;

    for (i = 0; i < sizeof(slugs) / sizeof(slugs[0]); i++) {
        verdict(mpx_check_slug, slugs[i], NULL);
    }
    for (i = 0; i < sizeof(no_slugs) / sizeof(no_slugs[0]); i++) {
        verdict(mpx_check_slug, no_slugs[i], "pattern");
    }
    for (i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        verdict(mpx_check_scope, scopes[i], NULL);
    }
    for (i = 0; i < sizeof(no_scopes) / sizeof(no_scopes[0]); i++) {
        verdict(mpx_check_scope, no_scopes[i], "pattern");
    }
    verdict(mpx_check_text, "a\tb\nc \xC3\xA9\xC2\xA0", NULL);
    verdict(mpx_check_text, "a\rb", "pattern");
    verdict(mpx_check_text, "\x7F", "pattern");
    verdict(mpx_check_text, "a\xC2\x85", "pattern"); /* U+0085 */
    verdict(mpx_check_line, "a b \xE2\x82\xAC", NULL);
    verdict(mpx_check_line, "a\tb", "pattern");
    verdict(mpx_check_line, "a\nb", "pattern");
    verdict(mpx_check_line, "\x1B[31m", "pattern");
    verdict(mpx_check_line, "\xC2\x9F", "pattern");
    verdict(mpx_check_cidr, "192.0.2.0/24", NULL);
    verdict(mpx_check_cidr, "192.0.2.7", NULL);
    verdict(mpx_check_cidr, "2001:db8::/32", NULL);
    verdict(mpx_check_cidr, "192.0.2.0/33", "format");
    verdict(mpx_check_cidr, "192.0.2.1/24", "format");
    verdict(mpx_check_cidr, "localhost", "format");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mpx_schema");
    TCase *tcase = tcase_create("schema");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, everything_right);
    tcase_add_test(tcase, absent_and_null);
    tcase_add_test(tcase, each_rule);
    tcase_add_test(tcase, name_bounds);
    tcase_add_test(tcase, all_at_once);
    tcase_add_test(tcase, many_errors);
    tcase_add_test(tcase, checks);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
