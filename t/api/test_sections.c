/* What sections hand down, what they keep for themselves, and what of a request that was refused. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char conf[] =
    "MeterplexMeter serv.request prop=path:%{REQUEST_URI}\nMeterplexRateLimit key 1000/d name=server\n"
    "<Location \"/off\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  MeterplexMeter none\n  MeterplexRateLimit none\n</Location>\n"
    "<Location \"/off/own\">\n  MeterplexMeter ownn.request\n  MeterplexRateLimit key 500/d name=own\n</Location>\n"
    "<Location \"/alike\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  MeterplexRateLimit none\n"
    "  <If \"%{QUERY_STRING} == 'a'\">\n    MeterplexRateLimit key 2/d\n  </If>\n"
    "  <If \"%{QUERY_STRING} == 'b'\">\n    MeterplexRateLimit key 2/d\n  </If>\n</Location>\n"
    "<Location \"/page\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  ErrorDocument 429 /refused.html\n  MeterplexRateLimit key 1/d name=page\n</Location>\n"
    "<Location \"/text\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  ErrorDocument 401 \"log in, please\"\n</Location>\n"
    "<LocationMatch \"^/v1/meters/none\">\n  MeterplexMeter call.request\n  MeterplexRateLimit key 2/d name=calls\n"
    "</LocationMatch>\n"
    "<Location \"/who\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  <If \"%{METERPLEX_TENANT_ID} =~ /^ten_/\">\n    MeterplexRateLimit key 3/d name=known\n"
    "    MeterplexMeter know.request\n  </If>\n</Location>\n"
    "<Location \"/expr\">\n  AuthType Meterplex\n  Require expr %{METERPLEX_KEY_ID} =~ /^key_/\n"
    "  MeterplexMeter expr.request\n</Location>\n"
    "<Location \"/both\">\n  AuthType Meterplex\n  <RequireAll>\n    Require meterplex-scope demo:read\n"
    "    Require expr %{METERPLEX_TENANT_ID} =~ /^ten_/\n  </RequireAll>\n</Location>\n"
    "<Location \"/expr/html\">\n  MeterplexProblem Off\n</Location>\n"
    "<Location \"/far\">\n  AuthType Meterplex\n  Require ip 10.9.9.9\n"
    "  <If \"%{METERPLEX_TENANT_ID} == 'x'\">\n    MeterplexMeter none\n  </If>\n</Location>\n"
    "<Location \"/lost\">\n  AuthType Meterplex\n  Require all granted\n  ErrorDocument 404 /"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n</Location>\n"
    "<Location \"/anybody\">\n  <If \"-n %{METERPLEX_TENANT_ID}\">\n    Require all denied\n  </If>\n</Location>\n"
    "<Location \"/self\">\n  AuthType \"%{METERPLEX_KEY_ID}\"\n  Require valid-user\n</Location>\n"
    "RemoteIPHeader X-Real\nRemoteIPInternalProxy 127.0.0.1\n"
    "<Location \"/quantity\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  MeterplexMeter quan.request value=%{HTTP:X-Quantity}\n</Location>\n";

static void up(void)
{
    h_up(conf);
    h_file(h_format("httpd-%s/htdocs/refused.html", h_main_httpd->name), "too much\n");
}

static const char *fresh_tenant(void)
{
    static int n;
    return h_tenant(h_format("sections-%d-%d", (int)getpid(), n++));
}

static const char scopes[] = "demo:read usage:read meters:read meters:write";

static const char *value_of(const char *key, const char *type, const char *meter)
{
    h_post("/v1/meters", key,
           h_format("{\"key\":\"%.4s\",\"name\":\"m\",\"event_type\":\"%s\",%s}", type, type, meter)); /* the first time */
    return h_json_text(h_get(h_format("/v1/meters/%.4s/usage", type), key), "/data/0/value");
}

static int counted(const char *key, const char *type, const char *value)
{
    return strcmp(value_of(key, type, "\"aggregation\":\"count\""), value) == 0;
}

START_TEST(none_holds_for_what_lies_deeper)
{
    const char *key = h_key(fresh_tenant(), scopes, NULL, NULL);
    const h_response_t *r = h_get("/off/own/x", key);

    h_expect(r, 404);
    ck_assert_str_eq(h_header(r, "ratelimit-policy"), "\"own\";q=500;w=86400");
    h_expect(h_get("/off/x", key), 404);
    ck_assert_ptr_null(h_header(h_get("/off/x", key), "ratelimit-policy"));
    H_WAIT(3, counted(key, "ownn.request", "1"));
    H_WAIT(3, atoi(h_sql("SELECT count(*) FROM usage.events WHERE type = 'serv.request'")) > 0); /* the API's own */
    ck_assert_str_eq(h_sql("SELECT count(*) FROM usage.events WHERE type = 'serv.request' AND data->>'path' LIKE '/off%%'"),
                     "0");
}
END_TEST

START_TEST(sections_have_limits_of_their_own)
{
    const char *key = h_key(fresh_tenant(), scopes, NULL, NULL);

    for (int i = 0; i < 2; i++) {
        h_expect(h_get("/alike/x?a", key), 404);
    }
    h_expect_problem(h_get("/alike/x?a", key), 429, "rate_limited");
    for (int i = 0; i < 2; i++) {
        h_expect(h_get("/alike/x?b", key), 404);
    }
    h_httpd_graceful(h_main_httpd);
    h_expect_problem(h_get("/alike/x?b", key), 429, "rate_limited");
}
END_TEST

START_TEST(pages_of_the_administrators_keep_the_fields)
{
    const char *key = h_key(fresh_tenant(), scopes, NULL, NULL);
    const h_response_t *r;

    h_expect(h_get("/page/x", key), 404);
    r = h_get("/page/x", key);
    h_expect(r, 429);
    ck_assert_str_eq(r->body, "too much\n");
    ck_assert_ptr_nonnull(h_header(r, "retry-after"));
    r = h_get("/text/x", NULL);
    h_expect(r, 401);
    ck_assert_str_eq(r->body, "log in, please");
    ck_assert_ptr_nonnull(h_header(r, "www-authenticate"));
}
END_TEST

/* By scope or by limit: the meters of the section are known by then. */
START_TEST(refused_calls_of_the_api_are_not_counted)
{
    const char *tenant = fresh_tenant(), *key = h_key(tenant, scopes, NULL, NULL);
    const char *blind = h_key(tenant, "demo:read", NULL, NULL), *path = "/v1/meters/none";

    for (int i = 0; i < 3; i++) {
        h_expect_problem(h_get(path, blind), 403, "insufficient_scope");
    }
    h_expect(h_get(path, key), 404);
    h_expect(h_get(path, key), 404);
    h_expect_problem(h_get(path, key), 429, "rate_limited");
    H_WAIT(3, counted(key, "call.request", "2"));
}
END_TEST

START_TEST(a_quantity_out_of_range_is_no_other_quantity)
{
    static const char *const quantities[] = { "2.5", "999999999999999999999999999999999999999", "1e999",
                                              "12345678901234567890123456789012x" };
    const char *key = h_key(fresh_tenant(), scopes, NULL, NULL);
    const h_response_t *r;

    for (size_t i = 0; i < sizeof quantities / sizeof *quantities; i++) {
        const char *headers[] = { h_format("X-Quantity: %s", quantities[i]), NULL };
        h_request_t request = { .path = "/quantity/x", .key = key, .headers = headers };
        h_expect(h_send(&request), 404);
    }
    H_WAIT(3, atoi(h_sql("SELECT count(*) FROM usage.events WHERE type = 'quan.request'")) == 4);
    ck_assert_str_eq(value_of(key, "quan.request", "\"aggregation\":\"sum\",\"value_property\":\"$.value\""), "2.5");
    r = h_get("/v1/meters/quan", key);
    h_expect_json(r, "/status/invalid", "3");
}
END_TEST

/* <If> is judged before authentication. */
START_TEST(expressions_know_who_asks)
{
    const char *tenant = fresh_tenant(), *key = h_key(tenant, scopes, NULL, NULL);
    const char *near = h_key(tenant, "demo:read", "\"allowed_cidrs\":[\"192.0.2.0/24\"]", NULL);
    const char *headers[] = { "X-Real: 192.0.2.7", NULL };
    h_request_t from_there = { .path = "/who/x", .key = near, .headers = headers };
    const h_response_t *r;

    for (int i = 0; i < 2; i++) {
        r = h_get("/who/x", key);
        h_expect(r, 404);
        ck_assert_str_eq(h_header(r, "ratelimit-policy"), "\"server\";q=1000;w=86400, \"known\";q=3;w=86400");
    }
    h_expect_problem(h_get("/who/x", near), 403, "forbidden");
    h_expect(h_send(&from_there), 404); /* the address is known by then, too */
    H_WAIT(3, counted(key, "know.request", "3"));
    h_expect_problem(h_get("/who/x", NULL), 401, "unauthenticated");
    h_expect_problem(h_get("/who/x", "mpx_live_x"), 401, "invalid_api_key");
    h_expect_problem(h_get("/expr/x", NULL), 401, "unauthenticated");
    h_expect_problem(h_get("/expr/x", "mpx_live_x"), 401, "invalid_api_key");
    h_expect_header(h_get("/expr/x", NULL), "www-authenticate", "Bearer realm=\"meterplex\"");
    h_expect_problem(h_get("/both/x", NULL), 401, "unauthenticated");
    h_expect_problem(h_get("/both/x", "mpx_live_x"), 401, "invalid_api_key");
    h_expect(h_get("/both/x", key), 404);
    h_expect(h_get("/expr/html/x", NULL), 403);                        /* httpd's own page says what the status says */
    h_expect_problem(h_get("/far/x", "mpx_live_x"), 403, "forbidden"); /* <If> has asked, and nobody was refused for it */
    h_expect_problem(h_get("/lost/x", NULL), 404, "not_found");        /* its error document fails before it has a place */
    h_expect(h_get("/expr/x", key), 404);
    H_WAIT(3, counted(key, "expr.request", "1"));
    h_expect(h_get("/anybody/x", key), 404); /* nobody is asked there */
    h_expect(h_get("/self/x", key), 500);    /* asks for its own answer */
}
END_TEST

static const char *refusal(const char *lines)
{
    h_output_t output;

    h_httpd_configure(h_main_httpd, h_format("%s%s", conf, lines));
    output = h_httpd_test(h_main_httpd);
    h_httpd_configure(h_main_httpd, conf);
    return output.status ? output.error : "";
}

START_TEST(a_cache_may_not_answer_before_the_key_is_asked_for)
{
    ck_assert_ptr_nonnull(strstr(refusal("CacheEnable disk /\n"), "set \"CacheQuickHandler off\""));
    ck_assert_ptr_nonnull(strstr(refusal("CacheQuickHandler on\nCacheEnable disk /\n"), "set \"CacheQuickHandler off\""));
    ck_assert_ptr_nonnull(strstr(refusal("CacheQuickHandler \"on\"\nCacheEnable disk /\n"), "CacheQuickHandler"));
    ck_assert_str_eq(refusal("CacheQuickHandler \"off\"\nCacheEnable disk /\n"), "");
    ck_assert_str_eq(refusal("CacheQuickHandler off\nCacheEnable disk /\n"), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sections");
    TCase *tcase = tcase_create("sections");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, none_holds_for_what_lies_deeper);
    tcase_add_test(tcase, sections_have_limits_of_their_own);
    tcase_add_test(tcase, pages_of_the_administrators_keep_the_fields);
    tcase_add_test(tcase, refused_calls_of_the_api_are_not_counted);
    tcase_add_test(tcase, a_quantity_out_of_range_is_no_other_quantity);
    tcase_add_test(tcase, expressions_know_who_asks);
    tcase_add_test(tcase, a_cache_may_not_answer_before_the_key_is_asked_for);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
